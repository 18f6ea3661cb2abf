/* trainer_library -- a trainer's step, evaluation and inference as C entry points for
 * training where the data is: nothing is allocated, no global is written, nothing but
 * libm is called.  All that lasts lies in the caller's work memory; trainer_header.c
 * declares what is made here.
 *
 * Status: 0 OK, 1 a NULL pointer, 2 a number of rows out of range, 3 work memory too
 * small, 4 not aligned, 5 a label outside its classes, 6 the loss is not finite, 7 not
 * initialised or another library's, 8 no such weight, 9 wrong size, 10 damaged. */
#include "codegen/trainer_library.h"

#include <stdlib.h>
#include <string.h>

enum { E_NULL = 1, E_ROWS, E_WORK, E_ALIGN, E_LABEL, E_LOSS, E_STATE, E_NAME, E_SIZE, E_DAMAGED };

/* ---- small pieces of code */
struct lib {
	struct entry e; /* of the program at hand, or of none */
	const struct trainer_library *l;
	struct module *m;
	struct work_plan w;
	LLVMValueRef copy, hash, find, names, places, reads, sizes,
	    initial; /* initial NULL: all zeros */
	int64_t initial_bytes;
};

static LLVMValueRef
at(struct lib *x, LLVMValueRef p, LLVMValueRef off)
{
	return LLVMBuildInBoundsGEP2(x->m->b, x->m->i8, p, &off, 1, "");
}

static LLVMValueRef
at_n(struct lib *x, LLVMValueRef p, int64_t off)
{
	return at(x, p, n64(x->m, off));
}

static LLVMValueRef
arg(struct lib *x, int i)
{
	return LLVMGetParam(x->e.f, (unsigned)i);
}

static LLVMValueRef
load(struct lib *x, LLVMTypeRef t, LLVMValueRef p)
{
	LLVMValueRef v = LLVMBuildLoad2(x->m->b, t, p, "");

	LLVMSetAlignment(v, 1);
	return v;
}

static void
store(struct lib *x, LLVMValueRef v, LLVMValueRef p)
{
	LLVMSetAlignment(LLVMBuildStore(x->m->b, v, p), 1);
}

static LLVMValueRef
entry_of(struct lib *x, LLVMValueRef table, LLVMTypeRef t, LLVMValueRef i)
{
	return LLVMBuildLoad2(x->m->b, t, LLVMBuildInBoundsGEP2(x->m->b, t, table, &i, 1, ""), "");
}

static LLVMValueRef
not_null(struct lib *x, LLVMValueRef p)
{
	return LLVMBuildICmp(x->m->b, LLVMIntNE, p, LLVMConstNull(x->m->ptr), "");
}

static void
begin(struct lib *x, const char *suffix, LLVMTypeRef ret, LLVMTypeRef *args, int n, bool exported)
{
	entry_begin(&x->e, suffix, ret, args, n, exported);
}

static void
ok(struct lib *x)
{
	LLVMBuildRet(x->m->b, LLVMConstInt(x->m->i32, 0, 0));
}

/* Work memory that NAME_init has made. */
static void
demand_work(struct lib *x, LLVMValueRef work)
{
	struct module *m = x->m;

	entry_demand(&x->e, not_null(x, work), E_NULL);
	entry_demand(&x->e,
	    LLVMBuildICmp(m->b, LLVMIntEQ, load(x, m->i64, at_n(x, work, AT_MAGIC)),
		n64(m, (int64_t)x->w.magic), ""),
	    E_STATE);
}

/* for (i = 0; i < n; i += step) */
struct turn {
	LLVMBasicBlockRef head, done;
	LLVMValueRef i;
	int64_t step;
};

static struct turn
loop(struct lib *x, LLVMValueRef n, int64_t step)
{
	struct module *m = x->m;
	LLVMBasicBlockRef pre = LLVMGetInsertBlock(m->b), body;
	struct turn t = {entry_block(&x->e, "head"), NULL, NULL, step};
	LLVMValueRef zero = n64(m, 0);

	body = entry_block(&x->e, "body");
	t.done = entry_block(&x->e, "end");
	LLVMBuildBr(m->b, t.head);
	LLVMPositionBuilderAtEnd(m->b, t.head);
	t.i = LLVMBuildPhi(m->b, m->i64, "i");
	LLVMAddIncoming(t.i, &zero, &pre, 1);
	LLVMBuildCondBr(m->b, LLVMBuildICmp(m->b, LLVMIntSLT, t.i, n, ""), body, t.done);
	LLVMPositionBuilderAtEnd(m->b, body);
	return t;
}

static void
again(struct lib *x, struct turn t)
{
	LLVMValueRef next = LLVMBuildAdd(x->m->b, t.i, n64(x->m, t.step), "");
	LLVMBasicBlockRef from = LLVMGetInsertBlock(x->m->b);

	LLVMAddIncoming(t.i, &next, &from, 1);
	LLVMBuildBr(x->m->b, t.head);
	LLVMPositionBuilderAtEnd(x->m->b, t.done);
}

/* return v where cond */
static void
leave(struct lib *x, LLVMValueRef cond, LLVMValueRef v)
{
	LLVMBasicBlockRef out = entry_block(&x->e, "out"), on = entry_block(&x->e, "on");

	LLVMBuildCondBr(x->m->b, cond, out, on);
	LLVMPositionBuilderAtEnd(x->m->b, out);
	LLVMBuildRet(x->m->b, v);
	LLVMPositionBuilderAtEnd(x->m->b, on);
}

/* copy(to, from, n): by words, then what is left; no alignment is asked for */
static void
make_copy(struct lib *x)
{
	struct module *m = x->m;
	LLVMValueRef words, rest;
	struct turn t;

	begin(x, "copy", m->void_, (LLVMTypeRef[]){m->ptr, m->ptr, m->i64}, 3, false);
	x->copy = x->e.f;
	words = LLVMBuildAnd(m->b, arg(x, 2), n64(m, -8), "");
	rest = LLVMBuildSub(m->b, arg(x, 2), words, "");
	t = loop(x, words, 8);
	store(x, load(x, m->i64, at(x, arg(x, 1), t.i)), at(x, arg(x, 0), t.i));
	again(x, t);
	t = loop(x, rest, 1);
	words = LLVMBuildAdd(m->b, words, t.i, "");
	store(x, load(x, m->i8, at(x, arg(x, 1), words)), at(x, arg(x, 0), words));
	again(x, t);
	LLVMBuildRetVoid(m->b);
}

static void
copy(struct lib *x, LLVMValueRef to, LLVMValueRef from, LLVMValueRef n)
{
	LLVMTypeRef t =
	    LLVMFunctionType(x->m->void_, (LLVMTypeRef[]){x->m->ptr, x->m->ptr, x->m->i64}, 3, 0);

	LLVMBuildCall2(x->m->b, t, x->copy, (LLVMValueRef[]){to, from, n}, 3, "");
}

/* hash(p, h, n): FNV-1a by words of eight bytes, n a multiple of them */
static void
make_hash(struct lib *x)
{
	struct module *m = x->m;
	LLVMValueRef h;
	struct turn t;

	begin(x, "hash", m->i64, (LLVMTypeRef[]){m->ptr, m->i64, m->i64}, 3, false);
	x->hash = x->e.f;
	h = LLVMBuildAlloca(m->b, m->i64, "h");
	LLVMBuildStore(m->b, arg(x, 1), h);
	t = loop(x, arg(x, 2), 8);
	LLVMBuildStore(m->b,
	    LLVMBuildMul(m->b,
		LLVMBuildXor(m->b, LLVMBuildLoad2(m->b, m->i64, h, ""),
		    load(x, m->i64, at(x, arg(x, 0), t.i)), ""),
		n64(m, 0x100000001b3), ""),
	    h);
	again(x, t);
	LLVMBuildRet(m->b, LLVMBuildLoad2(m->b, m->i64, h, ""));
}

static LLVMValueRef
hash(struct lib *x, LLVMValueRef p, LLVMValueRef h, int64_t n)
{
	LLVMTypeRef t =
	    LLVMFunctionType(x->m->i64, (LLVMTypeRef[]){x->m->ptr, x->m->i64, x->m->i64}, 3, 0);

	return LLVMBuildCall2(x->m->b, t, x->hash, (LLVMValueRef[]){p, h, n64(x->m, n)}, 3, "");
}

/* find(name): the index of a weight, or -1 */
static void
make_find(struct lib *x)
{
	struct module *m = x->m;
	LLVMBasicBlockRef same, differ;
	LLVMValueRef s, a, b;
	struct turn t, c;

	begin(x, "find", m->i64, (LLVMTypeRef[]){m->ptr}, 1, false);
	x->find = x->e.f;
	t = loop(x, n64(m, x->l->nweights), 1);
	s = entry_of(x, x->names, m->ptr, t.i);
	same = entry_block(&x->e, "same");
	differ = entry_block(&x->e, "differ");
	c = loop(x, n64(m, INT64_MAX), 1);
	a = load(x, m->i8, at(x, s, c.i));
	b = load(x, m->i8, at(x, arg(x, 0), c.i));
	LLVMBuildCondBr(m->b, LLVMBuildICmp(m->b, LLVMIntEQ, a, b, ""), same, differ);
	LLVMPositionBuilderAtEnd(m->b, same);
	leave(x, LLVMBuildICmp(m->b, LLVMIntEQ, a, LLVMConstInt(m->i8, 0, 0), ""), t.i);
	again(x, c);
	LLVMBuildBr(m->b, differ);
	LLVMPositionBuilderAtEnd(m->b, differ);
	again(x, t);
	LLVMBuildRet(m->b, n64(m, -1));
}

/* ---- init */
static void
make_init(struct lib *x)
{
	struct module *m = x->m;
	LLVMValueRef low, work;
	struct turn t;

	begin(x, "workspace_size", m->i64, NULL, 0, true);
	LLVMBuildRet(m->b, n64(m, x->w.total));
	begin(x, "init", m->i32, (LLVMTypeRef[]){m->ptr, m->i64, m->i64}, 3, true);
	work = arg(x, 0);
	entry_demand(&x->e, not_null(x, work), E_NULL);
	entry_demand(
	    &x->e, LLVMBuildICmp(m->b, LLVMIntUGE, arg(x, 1), n64(m, x->w.total), ""), E_WORK);
	low =
	    LLVMBuildAnd(m->b, LLVMBuildPtrToInt(m->b, work, m->i64, ""), n64(m, RT_ALIGN - 1), "");
	entry_demand(&x->e, LLVMBuildICmp(m->b, LLVMIntEQ, low, n64(m, 0), ""), E_ALIGN);
	t = loop(x, n64(m, x->w.arena), 8);
	store(x, n64(m, 0), at(x, work, t.i));
	again(x, t);
	if (x->initial)
		copy(x, at_n(x, work, x->w.states), x->initial, n64(m, x->initial_bytes));
	store(x, LLVMBuildAdd(m->b, arg(x, 2), n64(m, x->l->stage << 32), ""),
	    at_n(x, work, AT_SEED));
	store(x, n64(m, (int64_t)x->w.magic), at_n(x, work, AT_MAGIC));
	ok(x);
}

/* ---- running a program */
/* Labels that no class has would be read beyond the logits: none may be there. */
static void
check_labels(struct lib *x, const struct io *in, LLVMValueRef p, LLVMValueRef rows)
{
	struct module *m = x->m;

	for (int i = 0; i < x->l->nlabels; i++) {
		const struct label_check *c = &x->l->labels[i];
		enum dtype type = in->buffer->dtype;
		LLVMTypeRef t = LLVMIntTypeInContext(m->c, (unsigned)dtype_info[type].bits);
		LLVMValueRef v, good, n = n64(m, in->buffer->count);
		struct turn turn;

		if (strcmp(c->field, in->name) != 0 || !dtype_is_int(type))
			continue;
		if (rows && in->value->rank > 0)
			n = LLVMBuildMul(
			    m->b, rows, n64(m, in->buffer->count / in->value->dims[0]), "");
		turn = loop(x, n, 1);
		v = LLVMBuildInBoundsGEP2(m->b, t, p, &turn.i, 1, "");
		v = dtype_info[type].class == DC_INT
			? LLVMBuildSExt(m->b, load(x, t, v), m->i64, "")
			: LLVMBuildZExt(m->b, load(x, t, v), m->i64, "");
		good = LLVMBuildICmp(m->b, LLVMIntULT, v, n64(m, c->classes), "");
		if (c->has_ignore)
			good = LLVMBuildOr(m->b, good,
			    LLVMBuildICmp(m->b, LLVMIntEQ, v, n64(m, c->ignore), ""), "");
		leave(x, LLVMBuildNot(m->b, good, ""), LLVMConstInt(m->i32, E_LABEL, 0));
		again(x, turn);
	}
}

static LLVMValueRef
not_finite(struct lib *x, LLVMValueRef f)
{
	struct module *m = x->m;
	LLVMValueRef e = LLVMConstInt(m->i32, 0x7f800000, 0);

	return LLVMBuildICmp(m->b, LLVMIntEQ,
	    LLVMBuildAnd(m->b, LLVMBuildBitCast(m->b, f, m->i32, ""), e, ""), e, "");
}

static LLVMValueRef
value_of(struct lib *x, LLVMValueRef work, const struct trainer_value *v)
{
	struct module *m = x->m;
	LLVMValueRef num = load(x, m->f32, at_n(x, work, v->num)), den;

	if (v->den < 0)
		return num;
	den = load(x, m->f32, at_n(x, work, v->den));
	return LLVMBuildFDiv(m->b, num, den, "");
}

/* The loss to the caller, who may not want it; 0, or E_LOSS. */
static void
end_with_loss(struct lib *x, LLVMValueRef work, LLVMValueRef to, const char *name)
{
	struct module *m = x->m;
	struct trainer_value *v;
	int n = trainer_values(x->l, m->a, &v), i = 0;
	LLVMBasicBlockRef wanted = entry_block(&x->e, "wanted"), end = entry_block(&x->e, "end");
	LLVMValueRef loss;

	while (i < n && strcmp(v[i].name, name) != 0)
		i++;
	require(i < n);
	loss = value_of(x, work, &v[i]);
	LLVMBuildCondBr(m->b, not_null(x, to), wanted, end);
	LLVMPositionBuilderAtEnd(m->b, wanted);
	store(x, loss, to);
	LLVMBuildBr(m->b, end);
	LLVMPositionBuilderAtEnd(m->b, end);
	LLVMBuildRet(m->b, LLVMBuildSelect(m->b, not_finite(x, loss),
			       LLVMConstInt(m->i32, E_LOSS, 0), LLVMConstInt(m->i32, 0, 0), ""));
}

/* Rows of each set that count: the caller's for an evaluation, all of them for a step. */
static LLVMValueRef
set_rows(struct lib *x, LLVMValueRef work, int first, bool eval)
{
	struct module *m = x->m;

	for (int i = 0; i < x->l->nsets; i++) {
		LLVMValueRef rows = n64(m, x->l->rows[i]);

		if (eval) {
			LLVMValueRef past =
			    LLVMBuildSub(m->b, arg(x, first + i), n64(m, x->l->nsets == 1), "");

			entry_demand(&x->e,
			    LLVMBuildICmp(m->b, LLVMIntULE, past,
				n64(m, x->l->rows[i] - (x->l->nsets == 1)), ""),
			    E_ROWS);
			rows = arg(x, first + i);
		}
		store(x, rows, at_n(x, work, AT_VALID + 8 * i));
	}
	return eval && x->l->nsets == 1 ? arg(x, first) : NULL;
}

static void
begin_step(struct lib *x, LLVMValueRef work, LLVMValueRef lr)
{
	struct module *m = x->m;

	store(x, LLVMBuildAdd(m->b, load(x, m->i64, at_n(x, work, AT_DONE)), n64(m, 1), ""),
	    at_n(x, work, AT_STEP));
	store(x, n64(m, x->l->accumulate), at_n(x, work, AT_MICROS));
	store(x, lr, at_n(x, work, AT_LR));
}

/* A window's last step is the update. */
static void
end_step(struct lib *x, LLVMValueRef work)
{
	struct module *m = x->m;
	LLVMValueRef micro = LLVMBuildAdd(
			 m->b, load(x, m->i64, at_n(x, work, AT_MICRO)), n64(m, 1), ""),
		     done = load(x, m->i64, at_n(x, work, AT_DONE)), full;

	full = LLVMBuildICmp(m->b, LLVMIntSGE, micro, n64(m, x->l->accumulate), "");
	store(x, LLVMBuildSelect(m->b, full, n64(m, 0), micro, ""), at_n(x, work, AT_MICRO));
	store(x, LLVMBuildAdd(m->b, done, LLVMBuildZExt(m->b, full, m->i64, ""), ""),
	    at_n(x, work, AT_DONE));
}

/* NAME_SUFFIX(work, inputs.., [outputs..,] [rows..,] [lr,] [loss], [pf, ctx]) */
static void
make_run(struct lib *x, const struct trainer_entry *r, bool mt)
{
	struct module *m = x->m;
	const struct program *p = r->p;
	bool step = r->kind == RUN_STEP, eval = r->kind == RUN_EVAL, plain = !step && !eval;
	int nio = p->inputs.n + p->outputs.n, n = 0, tensors = 1, extra;
	LLVMTypeRef *t = arena_array(m->a, LLVMTypeRef, nio + x->l->nsets + 8);
	LLVMValueRef base, job = NULL, work, good, rows;
	int64_t slot;

	t[n++] = m->ptr;
	for (int i = 0; i < nio; i++)
		if (i < p->inputs.n ? trainer_feed(x->l, p->inputs.v[i].name, &slot) == FEED_POINTER
				    : plain)
			t[n++] = m->ptr;
	extra = n;
	for (int i = 0; eval && i < x->l->nsets; i++)
		t[n++] = m->i64;
	if (step)
		t[n++] = m->f32;
	if (step && trainer_has_momentum(x->l))
		t[n++] = m->f64;
	if (!plain)
		t[n++] = m->ptr;
	if (mt)
		t[n++] = m->ptr, t[n++] = m->ptr;
	begin(x, mt ? arena_printf(m->a, "%s_mt", r->suffix) : r->suffix, m->i32, t, n, true);
	work = arg(x, 0);
	base = LLVMBuildArrayAlloca(m->b, m->ptr, n64(m, 3 + nio), "base");
	if (mt)
		job = LLVMBuildAlloca(m->b, entry_job_type(m), "job");
	good = not_null(x, work);
	for (int i = 1; i < extra; i++)
		good = LLVMBuildAnd(m->b, good, not_null(x, arg(x, i)), "");
	if (mt)
		good = LLVMBuildAnd(m->b, good, not_null(x, arg(x, n - 2)), "");
	entry_demand(&x->e, good, E_NULL);
	demand_work(x, work);
	entry_put(m, base, m->ptr, 0, at_n(x, work, x->w.arena));
	entry_put(m, base, m->ptr, 1, x->e.constants ? x->e.constants : LLVMConstNull(m->ptr));
	entry_put(m, base, m->ptr, 2, at_n(x, work, x->w.states));
	rows = set_rows(x, work, extra, eval);
	for (int i = 0; i < nio; i++) {
		LLVMValueRef v;

		if (i < p->inputs.n && trainer_feed(x->l, p->inputs.v[i].name, &slot) == FEED_SLOT)
			v = at_n(x, work, slot);
		else if (i < p->inputs.n || plain)
			v = arg(x, tensors++);
		else
			v = at_n(x, work, trainer_output_at(x->l, eval, i - p->inputs.n));
		if (i < p->inputs.n && (step || eval))
			check_labels(x, &p->inputs.v[i], v, rows);
		entry_put(m, base, m->ptr, 3 + i, v);
	}
	if (step)
		begin_step(x, work, arg(x, extra));
	if (step && trainer_has_momentum(x->l))
		store(x, arg(x, extra + 1), at_n(x, work, AT_MOMENTUM));
	entry_calls(&x->e, base, LLVMConstNull(m->ptr), job, mt ? arg(x, n - 2) : NULL,
	    mt ? arg(x, n - 1) : NULL);
	if (step)
		end_step(x, work);
	if (plain)
		ok(x);
	else
		end_with_loss(x, work, arg(x, n - (mt ? 3 : 1)), eval ? "eval.loss" : "loss");
}

/* ---- weights */
/* Where the weight is, and where what evaluations read is; they differ with averages. */
static void
weight_at(const struct lib *x, int i, int64_t *bytes, int64_t *state, int64_t *read)
{
	const struct program *p[3];
	const char *name = x->l->weights[i].state;
	const struct io *s = NULL, *e = trainer_average(x->l, name);

	for (int k = 0, n = trainer_programs(x->l, p); k < n && !s; k++)
		s = trainer_io(p[k]->states.v, p[k]->states.n, name);
	if (!s)
		die("no program of the trainer has the weight \"%s\"", name);
	*bytes = s->buffer->bytes;
	*state = x->w.states + s->buffer->offset;
	*read = e ? x->w.states + e->buffer->offset : *state;
}

static int64_t
make_tables(struct lib *x)
{
	struct module *m = x->m;
	int n = x->l->nweights;
	LLVMValueRef *name = arena_array(m->a, LLVMValueRef, n + 1);
	int64_t *place = arena_array(m->a, int64_t, n + 1),
		*size = arena_array(m->a, int64_t, n + 1),
		*read = arena_array(m->a, int64_t, n + 1), total = 0;

	for (int i = 0; i < n; i++) {
		name[i] = module_string(m, x->l->weights[i].state);
		weight_at(x, i, &size[i], &place[i], &read[i]);
		total += size[i];
	}
	x->names = module_array(m, m->ptr, name, n, "weights");
	x->places = module_i64s(m, place, n, "places");
	x->reads = module_i64s(m, read, n, "reads");
	x->sizes = module_i64s(m, size, n, "sizes");
	return total;
}

/* Weight i of work memory from, or to, the caller's; set: the average too. */
static void
move_weight(struct lib *x, LLVMValueRef work, LLVMValueRef i, LLVMValueRef theirs,
    LLVMValueRef size, bool set)
{
	struct module *m = x->m;
	LLVMValueRef read = at(x, work, entry_of(x, x->reads, m->i64, i));

	copy(x, set ? read : theirs, set ? theirs : read, size);
	if (set)
		copy(x, at(x, work, entry_of(x, x->places, m->i64, i)), theirs, size);
}

/* NAME_weights_get(work, to, size), NAME_weights_set(work, from, size): all, one after the other */
static void
make_all_weights(struct lib *x, int64_t total, bool set)
{
	struct module *m = x->m;
	LLVMValueRef sum, size, theirs;
	struct turn t;

	begin(x, set ? "weights_set" : "weights_get", m->i32,
	    (LLVMTypeRef[]){m->ptr, m->ptr, m->i64}, 3, true);
	entry_demand(&x->e, not_null(x, arg(x, 1)), E_NULL);
	demand_work(x, arg(x, 0));
	entry_demand(&x->e, LLVMBuildICmp(m->b, LLVMIntEQ, arg(x, 2), n64(m, total), ""), E_SIZE);
	sum = LLVMBuildAlloca(m->b, m->i64, "sum");
	LLVMBuildStore(m->b, n64(m, 0), sum);
	t = loop(x, n64(m, x->l->nweights), 1);
	size = entry_of(x, x->sizes, m->i64, t.i);
	theirs = at(x, arg(x, 1), LLVMBuildLoad2(m->b, m->i64, sum, ""));
	move_weight(x, arg(x, 0), t.i, theirs, size, set);
	LLVMBuildStore(
	    m->b, LLVMBuildAdd(m->b, LLVMBuildLoad2(m->b, m->i64, sum, ""), size, ""), sum);
	again(x, t);
	ok(x);
}

static void
make_one_weight(struct lib *x, bool set)
{
	struct module *m = x->m;
	LLVMTypeRef t = LLVMFunctionType(m->i64, (LLVMTypeRef[]){m->ptr}, 1, 0);
	LLVMValueRef i, name;

	begin(x, set ? "weight_set" : "weight_get", m->i32,
	    (LLVMTypeRef[]){m->ptr, m->ptr, m->ptr, m->i64}, 4, true);
	entry_demand(
	    &x->e, LLVMBuildAnd(m->b, not_null(x, arg(x, 1)), not_null(x, arg(x, 2)), ""), E_NULL);
	demand_work(x, arg(x, 0));
	name = arg(x, 1);
	i = LLVMBuildCall2(m->b, t, x->find, &name, 1, "");
	entry_demand(&x->e, LLVMBuildICmp(m->b, LLVMIntSGE, i, n64(m, 0), ""), E_NAME);
	entry_demand(&x->e,
	    LLVMBuildICmp(m->b, LLVMIntEQ, arg(x, 3), entry_of(x, x->sizes, m->i64, i), ""),
	    E_SIZE);
	move_weight(x, arg(x, 0), i, arg(x, 2), arg(x, 3), set);
	ok(x);
}

/* SUFFIX(int i): table[i], or `none` where i is no index */
static void
make_lookup(
    struct lib *x, const char *suffix, LLVMValueRef table, int n, LLVMTypeRef t, LLVMValueRef none)
{
	struct module *m = x->m;
	LLVMValueRef i;

	begin(x, suffix, t, (LLVMTypeRef[]){m->i32}, 1, true);
	i = LLVMBuildZExt(m->b, arg(x, 0), m->i64, "");
	leave(x, LLVMBuildICmp(m->b, LLVMIntUGE, i, n64(m, n), ""), none);
	LLVMBuildRet(m->b, n ? entry_of(x, table, t, i) : none);
}

static void
make_number(struct lib *x, const char *suffix, LLVMTypeRef t, int64_t v)
{
	begin(x, suffix, t, NULL, 0, true);
	LLVMBuildRet(x->m->b, LLVMConstInt(t, (unsigned long long)v, 0));
}

static void
make_weights(struct lib *x)
{
	struct module *m = x->m;
	int64_t total = make_tables(x);

	make_find(x);
	make_number(x, "weights_count", m->i32, x->l->nweights);
	make_number(x, "weights_size", m->i64, total);
	make_lookup(x, "weight_name", x->names, x->l->nweights, m->ptr, LLVMConstNull(m->ptr));
	make_lookup(x, "weight_size", x->sizes, x->l->nweights, m->i64, n64(m, 0));
	for (int set = 0; set < 2; set++) {
		make_all_weights(x, total, set);
		make_one_weight(x, set);
	}
}

/* ---- everything that lasts: head (magic, steps done, seed, hash), then all states */
static void
make_state(struct lib *x)
{
	struct module *m = x->m;
	int64_t size = SAVED_HEAD + x->w.state_bytes;
	LLVMTypeRef t[] = {m->ptr, m->ptr, m->i64};
	LLVMValueRef h;
	struct turn l;

	make_number(x, "state_size", m->i64, size);
	begin(x, "state_save", m->i32, t, 3, true);
	entry_demand(&x->e, not_null(x, arg(x, 1)), E_NULL);
	demand_work(x, arg(x, 0));
	entry_demand(&x->e, LLVMBuildICmp(m->b, LLVMIntEQ, arg(x, 2), n64(m, size), ""), E_SIZE);
	l = loop(x, n64(m, SAVED_HEAD), 8);
	store(x, n64(m, 0), at(x, arg(x, 1), l.i));
	again(x, l);
	copy(x, arg(x, 1), arg(x, 0), n64(m, LASTING));
	copy(x, at_n(x, arg(x, 1), SAVED_HEAD), at_n(x, arg(x, 0), x->w.states),
	    n64(m, x->w.state_bytes));
	h = hash(x, arg(x, 1), n64(m, 0), LASTING);
	store(x, hash(x, at_n(x, arg(x, 1), SAVED_HEAD), h, x->w.state_bytes),
	    at_n(x, arg(x, 1), LASTING));
	ok(x);

	begin(x, "state_load", m->i32, t, 3, true);
	entry_demand(&x->e, not_null(x, arg(x, 1)), E_NULL);
	demand_work(x, arg(x, 0));
	entry_demand(&x->e, LLVMBuildICmp(m->b, LLVMIntEQ, arg(x, 2), n64(m, size), ""), E_SIZE);
	entry_demand(&x->e,
	    LLVMBuildICmp(
		m->b, LLVMIntEQ, load(x, m->i64, arg(x, 1)), n64(m, (int64_t)x->w.magic), ""),
	    E_STATE);
	h = hash(x, arg(x, 1), n64(m, 0), LASTING);
	h = hash(x, at_n(x, arg(x, 1), SAVED_HEAD), h, x->w.state_bytes);
	entry_demand(&x->e,
	    LLVMBuildICmp(m->b, LLVMIntEQ, load(x, m->i64, at_n(x, arg(x, 1), LASTING)), h, ""),
	    E_DAMAGED);
	copy(x, arg(x, 0), arg(x, 1), n64(m, LASTING));
	copy(x, at_n(x, arg(x, 0), x->w.states), at_n(x, arg(x, 1), SAVED_HEAD),
	    n64(m, x->w.state_bytes));
	ok(x);

	begin(x, "steps_done", m->i64, (LLVMTypeRef[]){m->ptr}, 1, true);
	LLVMBuildRet(m->b, load(x, m->i64, at_n(x, arg(x, 0), AT_DONE)));
}

/* ---- what a step says besides its loss */
static void
make_values(struct lib *x)
{
	struct module *m = x->m;
	struct trainer_value *v;
	int n = trainer_values(x->l, m->a, &v);
	LLVMValueRef *name = arena_array(m->a, LLVMValueRef, n + 1),
		     nan = LLVMConstReal(m->f32, __builtin_nan(""));
	LLVMBasicBlockRef none;
	LLVMValueRef sw;

	for (int i = 0; i < n; i++)
		name[i] = module_string(m, v[i].name);
	make_number(x, "values_count", m->i32, n);
	make_lookup(x, "value_name", module_array(m, m->ptr, name, n, "values"), n, m->ptr,
	    LLVMConstNull(m->ptr));
	begin(x, "value", m->f32, (LLVMTypeRef[]){m->ptr, m->i32}, 2, true);
	none = entry_block(&x->e, "none");
	sw = LLVMBuildSwitch(m->b, arg(x, 1), none, (unsigned)n);
	for (int i = 0; i < n; i++) {
		LLVMBasicBlockRef b = entry_block(&x->e, "value");

		LLVMAddCase(sw, LLVMConstInt(m->i32, (unsigned)i, 0), b);
		LLVMPositionBuilderAtEnd(m->b, b);
		LLVMBuildRet(m->b, value_of(x, arg(x, 0), &v[i]));
	}
	LLVMPositionBuilderAtEnd(m->b, none);
	LLVMBuildRet(m->b, nan);
}

static void
make_texts(struct lib *x)
{
	static const char *const text[] = {
	    "ok",
	    "a pointer is NULL",
	    "a number of rows is out of range",
	    "the work memory is too small",
	    "the work memory is not aligned",
	    "a label is outside its classes",
	    "the loss is not finite",
	    "the work memory was not initialised, or by another library",
	    "no weight has this name",
	    "the size is another",
	    "the saved state is damaged",
	    "unknown status",
	};
	enum { N = sizeof text / sizeof *text };
	struct module *m = x->m;
	LLVMValueRef s[N];

	for (int i = 0; i < N; i++)
		s[i] = module_string(m, text[i]);
	make_lookup(x, "strerror", module_array(m, m->ptr, s, N, "status"), N, m->ptr, s[N - 1]);
	begin(x, "manifest", m->ptr, NULL, 0, true);
	LLVMBuildRet(m->b, module_string(m, x->l->manifest ? x->l->manifest : "{}"));
}

/* ---- all of it */
/* The states of all programs as they are at first, without the zeros at the end. */
static void
initial_states(struct lib *x, struct blobs *b)
{
	const struct program *p[3];
	unsigned char *data = arena_array(x->m->a, unsigned char, x->w.state_bytes + 1);

	for (int i = trainer_programs(x->l, p) - 1; i >= 0; i--)
		for (int k = 0; k < p[i]->states.n; k++)
			if (p[i]->states.v[k].buffer->data &&
			    !str_ends(p[i]->states.v[k].name, ":ema"))
				buffer_content(p[i]->states.v[k].buffer,
				    data + p[i]->states.v[k].buffer->offset);
	x->initial_bytes = x->w.state_bytes;
	while (x->initial_bytes && !data[x->initial_bytes - 1])
		x->initial_bytes--;
	x->initial_bytes = trainer_aligned(x->initial_bytes);
	x->initial = blobs_add(
	    b, x->m, arena_printf(x->m->a, "%s_initial", x->l->name), data, x->initial_bytes);
}

static void
build(struct lib *x, struct blobs *b)
{
	struct trainer_entry *r;
	struct module *m = x->m;
	int n = trainer_entries(x->l, m->a, &r);
	struct placed *at_ = arena_array(m->a, struct placed, n);
	LLVMValueRef constants;

	for (int i = 0; i < n; i++)
		at_[i] = entry_place(b, r[i].p);
	constants = blobs_shared(b, m, arena_printf(m->a, "%s_constants", x->l->name));
	initial_states(x, b);
	entry_open(&x->e, m, r[0].p, x->l->name);
	make_copy(x);
	make_hash(x);
	make_init(x);
	make_weights(x);
	make_state(x);
	make_values(x);
	make_texts(x);
	for (int i = 0; i < n; i++) {
		m->const_at = at_[i].at;
		m->const_bytes = at_[i].end;
		entry_open(&x->e, m, r[i].p, x->l->name);
		x->e.constants = constants;
		x->e.call = module_call(
		    m, r[i].p, arena_printf(m->a, "%s_%s_call", x->l->name, r[i].suffix), false);
		x->e.body = entry_task(&x->e);
		make_run(x, &r[i], false);
		make_run(x, &r[i], true);
	}
	m->const_at = NULL;
}

/* What a library cannot do or cannot be given. */
static bool
emittable(const struct trainer_library *l, struct arena *a, const char *path, struct diag *d)
{
	struct trainer_entry *r;
	int n = trainer_entries(l, a, &r);
	int64_t slot;

	if (AT_VALID + 8 * l->nsets > HEAD)
		return diag_unsupported(d, LOC_FILE(path),
		    "%d data sets in one step; a trainer library takes %d", l->nsets,
		    (HEAD - AT_VALID) / 8);
	for (int i = 0; i < n; i++) {
		const struct program *p = r[i].p;

		if (program_uses_blas(p))
			return diag_unsupported(d, LOC_FILE(path),
			    "libraries need nothing but libm: compile without --blas");
		if (p->nsym || program_host(p))
			return diag_unsupported(d, LOC_FILE(path),
			    "a step with strings, images or sizes known at run time only is no "
			    "library");
		for (int k = 0; k < p->inputs.n; k++)
			if (trainer_feed(l, p->inputs.v[k].name, &slot) == FEED_UNKNOWN)
				return diag_unsupported(d, LOC_FILE(path),
				    "the step reads \"%s\", which a library cannot give it",
				    p->inputs.v[k].name);
	}
	return true;
}

bool
emit_trainer_library(struct target *t, const struct trainer_library *l, enum emit kind,
    const char *path, struct diag *d)
{
	struct module *m = module_open(t, l->name);
	struct lib x = {.l = l, .m = m};
	const char *object = arena_printf(m->a, "%s/%s.retort-so.o", path_dir(m->a, path), l->name);
	bool good = emittable(l, m->a, path, d);
	struct blobs b;

	if (good) {
		trainer_read_averages(l, l->eval);
		trainer_read_averages(l, l->infer);
		x.w = trainer_work(l);
		blobs_open(&b, kind, path);
		build(&x, &b);
		good = blobs_ready(&b, m, d);
		if (good && kind == EMIT_STATIC)
			good = link_static(t, m, &b, arena_printf(m->a, "%s.retort.o", l->name),
			    path, HOST_NONE, d);
		else if (good)
			good = module_write(m, &b, EMIT_OBJECT, NULL, NULL, object, d) &&
			       link_shared(t, object, path, HOST_NONE, d);
		blobs_close(&b, good);
		if (kind == EMIT_SHARED && !t->keep_temps)
			remove(object);
	}
	module_close(m);
	return good;
}
