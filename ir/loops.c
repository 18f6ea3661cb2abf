/* loops -- making, checking and printing kernels.  kernel_print says everything a
 * kernel does and nothing else (no name, no origin): equal text, equal code. */
#include "ir/loops.h"

#include <stdlib.h>
#include <string.h>

void
affine_add(struct affine *e, int var, int64_t coef)
{
	int i;

	if (!coef)
		return;
	for (i = 0; i < e->n; i++)
		if (e->t[i].var == var) {
			e->t[i].coef += coef;
			if (!e->t[i].coef)
				e->t[i] = e->t[--e->n];
			return;
		}
	if (e->n == (int)(sizeof e->t / sizeof *e->t))
		die("index expression of more than %d terms", e->n);
	e->t[e->n++] = (struct term){var, coef};
}

int64_t
affine_max(const struct affine *e, const int64_t *extent)
{
	int64_t max = e->c;
	int i;

	for (i = 0; i < e->n; i++)
		if (e->t[i].coef > 0)
			max += e->t[i].coef * (extent[e->t[i].var] - 1);
	return max;
}

struct kernel *
kernel_new(struct arena *a, const char *name, struct loc loc)
{
	struct kernel *k = arena_new(a, struct kernel);

	k->name = arena_strdup(a, name);
	k->loc = loc;
	return k;
}

/* Arrays of a kernel grow at powers of two, so no capacity is kept. */
static void *
grown(struct arena *a, void *v, int n, size_t size)
{
	void *p;

	if (n & (n - 1))
		return v;
	p = arena_alloc(a, (size_t)(n ? 2 * n : 1) * size);
	if (n)
		memcpy(p, v, (size_t)n * size);
	return p;
}

int
kernel_buf(struct arena *a, struct kernel *k, enum dtype dtype, bool written)
{
	k->buf_type = grown(a, k->buf_type, k->nbuf, sizeof *k->buf_type);
	k->buf_written = grown(a, k->buf_written, k->nbuf, sizeof *k->buf_written);
	k->buf_slot = grown(a, k->buf_slot, k->nbuf, sizeof *k->buf_slot);
	k->buf_type[k->nbuf] = dtype;
	k->buf_slot[k->nbuf] = 0;
	k->buf_written[k->nbuf] = written;
	return k->nbuf++;
}

int
kernel_var(struct kernel *k)
{
	return k->nvar++;
}

int
kernel_reg(struct arena *a, struct kernel *k, enum dtype dtype)
{
	k->reg_type = grown(a, k->reg_type, k->nreg, sizeof *k->reg_type);
	k->reg_type[k->nreg] = dtype;
	return k->nreg++;
}

struct stmt *
stmt_new(struct arena *a, struct body *b, enum stmt_kind kind)
{
	struct stmt *s = arena_new(a, struct stmt);

	s->kind = kind;
	s->dst = s->src[0] = s->src[1] = s->src[2] = s->var = s->buf = s->stop = -1;
	s->index = AFFINE(0);
	vec_push(a, &b->s, s);
	return s;
}

void
kernel_finish_sym(struct kernel *k, const struct graph *g)
{
	const struct body *b = &k->body;
	int64_t extent;

	k->pieces = 1;
	while (b->s.n == 1 && b->s.v[0]->kind == S_FOR && b->s.v[0]->loop == FOR_PARALLEL) {
		extent = b->s.v[0]->extent;
		if (extent < 0 && !g)
			die("kernel %s: a symbolic extent needs its graph", k->name);
		if (extent < 0)
			extent = dim_hi(g, extent);
		if (__builtin_mul_overflow(k->pieces, extent, &k->pieces))
			die("kernel %s: more than 2^63 pieces", k->name);
		b = &b->s.v[0]->body;
	}
}

void
kernel_finish(struct kernel *k)
{
	kernel_finish_sym(k, NULL);
}

/* ---- verify */
struct check {
	const struct kernel *k;
	char *var;   /* [nvar]: 0 closed, 1 open */
	char *reg;   /* [nreg]: 0 unset, 1 set, 2 accumulator, 3 out of scope */
	bool vector; /* a VECTOR loop is open */
};

#define bad(...) (dump(c->k), die(__VA_ARGS__))

static void
dump(const struct kernel *k)
{
	struct str s = {0};

	kernel_print(k, &s);
	fprintf(stderr, "%s:\n%s", k->name, s.s ? s.s : "");
	str_free(&s);
}

static void
read_reg(struct check *c, int r)
{
	if (r < 0 || r >= c->k->nreg)
		bad("register r%d of %d", r, c->k->nreg);
	if (c->reg[r] != 1 && c->reg[r] != 2)
		bad("register r%d is used %s", r, c->reg[r] ? "outside the loop that sets it" : "before it is set");
}

static void
set_reg(struct check *c, int r, char how)
{
	if (r < 0 || r >= c->k->nreg)
		bad("register r%d of %d", r, c->k->nreg);
	if (c->reg[r])
		bad("register r%d is set twice", r);
	c->reg[r] = how;
}

static void
check_affine(struct check *c, const struct affine *e)
{
	int i;

	for (i = 0; i < e->n; i++)
		if (e->t[i].var < 0 || e->t[i].var >= c->k->nvar || !c->var[e->t[i].var])
			bad("loop variable i%d is not open", e->t[i].var);
	if (e->reg >= 0) {
		read_reg(c, e->reg);
		if (c->k->reg_type[e->reg] != DT_i64)
			bad("index register r%d is %s", e->reg, dtype_info[c->k->reg_type[e->reg]].name);
	}
}

static void
check_buf(struct check *c, int b, bool written)
{
	if (b < 0 || b >= c->k->nbuf)
		bad("buffer b%d of %d", b, c->k->nbuf);
	if (written && !c->k->buf_written[b])
		bad("store to buffer b%d, which is not marked written", b);
}

static void
open_var(struct check *c, int v)
{
	if (v < 0 || v >= c->k->nvar)
		bad("loop variable i%d of %d", v, c->k->nvar);
	if (c->var[v])
		bad("loop variable i%d is opened twice", v);
	c->var[v] = 1;
}

static void check_body(struct check *, const struct body *, bool leading);

/* Registers set inside a loop are gone after it. */
static void
check_scope(struct check *c, const struct body *b, bool leading)
{
	char *before = xmalloc((size_t)c->k->nreg + 1);
	int i;

	memcpy(before, c->reg, (size_t)c->k->nreg);
	check_body(c, b, leading);
	for (i = 0; i < c->k->nreg; i++)
		if (!before[i] && c->reg[i])
			c->reg[i] = 3;
	free(before);
}

static bool
is_test(enum op op)
{
	return op == OP_eq || op == OP_lt || op == OP_le || op == OP_isnan;
}

static void
check_op(struct check *c, const struct stmt *s)
{
	const struct op_info *row = &op_info[s->op];
	int i;

	if (row->class != OC_map)
		bad("%s is not an instruction of loops", row->id ? row->id : "none");
	for (i = 0; i < row->in_max; i++) {
		read_reg(c, s->src[i]);
		if (s->op != OP_cast && !(s->op == OP_select && i == 0) &&
		    c->k->reg_type[s->src[i]] != s->type)
			bad("operand %d of r%d = %s is %s, wanted %s", i, s->dst, row->id,
			    dtype_info[c->k->reg_type[s->src[i]]].name, dtype_info[s->type].name);
	}
	set_reg(c, s->dst, 1);
	if (c->k->reg_type[s->dst] != (is_test(s->op) ? DT_bool : s->type))
		bad("r%d = %s.%s into a register of type %s", s->dst, row->id,
		    dtype_info[s->type].name, dtype_info[c->k->reg_type[s->dst]].name);
}

static void
check_tile(struct check *c, const struct tile *t)
{
	bool vector = c->vector, group;

	if (vector)
		bad("a tile inside a vector loop");
	if (!t || t->rows[0] < 1 || t->rows[1] < 1 || t->cols < 1 || t->nk < 0 || t->nk > 6 ||
	    t->cblocks < 1 || t->valid_cols < 1 || t->valid_cols > t->cols)
		bad("tile of impossible size");
	check_buf(c, t->a.buf, false);
	check_buf(c, t->b.buf, false);
	check_affine(c, &t->a.index);
	check_affine(c, &t->b.index);
	if (t->ahead_lines)
		check_affine(c, &t->ahead);
	if (t->b.cstride != 1 || t->a.cstride != 0 || t->b.rstride[0] || t->b.rstride[1])
		bad("tile operands vary the wrong way");
	open_var(c, t->rowvar[0]);
	open_var(c, t->rowvar[1]);
	open_var(c, t->colvar);
	group = t->cblocks > 1 ||
	    (t->cblockvar >= 0 && t->cblockvar < c->k->nvar && !c->var[t->cblockvar]);
	if (group) /* with one group it may be named all the same */
		open_var(c, t->cblockvar);
	set_reg(c, t->acc, 1);
	c->vector = true;
	check_scope(c, &t->epilogue, false);
	c->vector = vector;
	c->reg[t->acc] = 3;
	c->var[t->rowvar[0]] = c->var[t->rowvar[1]] = c->var[t->colvar] = 0;
	if (group)
		c->var[t->cblockvar] = 0;
}

static void
check_for(struct check *c, const struct stmt *s, bool leading)
{
	bool vector = c->vector;

	if (s->loop == FOR_PARALLEL && !leading)
		bad("parallel loop i%d is not among the leading ones", s->var);
	if (s->loop == FOR_VECTOR && vector)
		bad("vector loop i%d inside a vector loop", s->var);
	if (s->extent < 0 && (s->loop == FOR_VECTOR || s->loop == FOR_UNROLL))
		bad("loop i%d has a symbolic extent", s->var);
	open_var(c, s->var);
	c->vector |= s->loop == FOR_VECTOR;
	check_scope(c, &s->body, leading && s->loop == FOR_PARALLEL && s->body.s.n == 1);
	c->vector = vector;
	c->var[s->var] = 0;
	if (s->stop >= 0 && (s->loop != FOR_SERIAL || vector || s->stop >= c->k->nreg || !c->reg[s->stop] ||
	    c->k->reg_type[s->stop] != DT_bool))
		bad("loop i%d stops by r%d", s->var, s->stop);
}

static void
check_stmt(struct check *c, const struct stmt *s, bool leading)
{
	int i;

	if (s->nguard < 0 || s->nguard > (int)(sizeof s->guard / sizeof *s->guard))
		bad("%d guards", s->nguard);
	for (i = 0; i < s->nguard; i++)
		check_affine(c, &s->guard[i].e);
	switch (s->kind) {
	case S_FOR:
		check_for(c, s, leading);
		break;
	case S_CONST:
		set_reg(c, s->dst, 1);
		break;
	case S_INDEX:
		check_affine(c, &s->index);
		set_reg(c, s->dst, 1);
		break;
	case S_OP:
		check_op(c, s);
		break;
	case S_LOAD:
		check_buf(c, s->buf, false);
		check_affine(c, &s->index);
		if (s->src[0] >= 0)
			read_reg(c, s->src[0]);
		set_reg(c, s->dst, 1);
		break;
	case S_STORE:
		check_buf(c, s->buf, true);
		check_affine(c, &s->index);
		read_reg(c, s->src[0]);
		break;
	case S_ACC:
		set_reg(c, s->dst, 2);
		break;
	case S_REDUCE:
		read_reg(c, s->src[0]);
		read_reg(c, s->dst);
		if (c->reg[s->dst] != 2)
			bad("reduction into r%d, which is no accumulator", s->dst);
		break;
	case S_TILE:
		check_tile(c, s->tile);
		break;
	default:
		bad("statement of kind %d", (int)s->kind);
	}
}

static void
check_body(struct check *c, const struct body *b, bool leading)
{
	int i;

	for (i = 0; i < b->s.n; i++)
		check_stmt(c, b->s.v[i], leading && b->s.n == 1);
}

void
kernel_verify(const struct kernel *k)
{
	struct check c = {.k = k};

	c.var = xcalloc((size_t)k->nvar + 1, 1);
	c.reg = xcalloc((size_t)k->nreg + 1, 1);
	check_body(&c, &k->body, true);
	free(c.var);
	free(c.reg);
}

/* ---- print */
static void
print_affine(struct str *s, const struct affine *e)
{
	const char *plus = "";
	int i;

	for (i = 0; i < e->n; i++) {
		if (e->t[i].coef == 1)
			str_addf(s, "%si%d", plus, e->t[i].var);
		else
			str_addf(s, "%s%lld*i%d", plus, (long long)e->t[i].coef, e->t[i].var);
		plus = " + ";
	}
	if (e->reg >= 0) {
		str_addf(s, "%s%lld*r%d", plus, (long long)e->regcoef, e->reg);
		plus = " + ";
	}
	if (e->c || !*plus)
		str_addf(s, "%s%lld", plus, (long long)e->c);
}

static void
print_guards(struct str *s, const struct stmt *t)
{
	int i;

	for (i = 0; i < t->nguard; i++) {
		str_addf(s, "%s%lld <= ", i ? " & " : " if ", (long long)t->guard[i].lo);
		print_affine(s, &t->guard[i].e);
		str_addf(s, " < %lld", (long long)t->guard[i].hi);
	}
}

static void
print_number(struct str *s, enum dtype t, double f, int64_t i)
{
	if (dtype_is_float(t))
		str_addf(s, "%.17g", f);
	else
		str_addf(s, "%lld", (long long)i);
}

static void
print_operand(struct str *s, const struct tile *t, const struct tile_operand *o, const char *name)
{
	int i;

	str_addf(s, " %s=b%d[", name, o->buf);
	print_affine(s, &o->index);
	str_addf(s, "] rows %lld,%lld col %lld k", (long long)o->rstride[0], (long long)o->rstride[1],
	    (long long)o->cstride);
	for (i = 0; i < t->nk; i++)
		str_addf(s, "%c%lld", i ? ',' : ' ', (long long)o->kstride[i]);
	if (t->cblocks > 1)
		str_addf(s, " group %lld", (long long)o->cbstride);
}

static void print_body(const struct kernel *, struct str *, const struct body *, int);

static void
print_tile(const struct kernel *k, struct str *s, const struct tile *t, int depth)
{
	int i;

	str_addf(s, "r%d = tile.%s rows i%d:%lld i%d:%lld cols i%d:%lld", t->acc,
	    dtype_info[t->dtype].name, t->rowvar[0], (long long)t->rows[0], t->rowvar[1],
	    (long long)t->rows[1], t->colvar, (long long)t->cols);
	if (t->valid_cols != t->cols)
		str_addf(s, " valid %lld", (long long)t->valid_cols);
	if (t->cblocks > 1)
		str_addf(s, " groups i%d:%lld", t->cblockvar, (long long)t->cblocks);
	for (i = 0; i < t->nk; i++)
		str_addf(s, "%s%lld", i ? "," : " k ", (long long)t->k[i]);
	str_addf(s, " unroll %d", t->unroll);
	print_operand(s, t, &t->a, "a");
	print_operand(s, t, &t->b, "b");
	if (t->ahead_lines) {
		str_add(s, " ahead [");
		print_affine(s, &t->ahead);
		str_addf(s, "] step %lld lines %d", (long long)t->ahead_step, t->ahead_lines);
	}
	str_add(s, " {\n");
	print_body(k, s, &t->epilogue, depth + 1);
	str_addf(s, "%*s}\n", 2 * depth, "");
}

static void
print_stmt(const struct kernel *k, struct str *s, const struct stmt *t, int depth)
{
	static const char *const loop[] = {"parallel", "serial", "unroll", "vector"};
	int i;

	str_addf(s, "%*s", 2 * depth, "");
	switch (t->kind) {
	case S_FOR:
		str_addf(s, "%s i%d < %lld ", loop[t->loop], t->var, (long long)t->extent);
		if (t->stop >= 0)
			str_addf(s, "until r%d ", t->stop);
		str_add(s, "{\n");
		print_body(k, s, &t->body, depth + 1);
		str_addf(s, "%*s}\n", 2 * depth, "");
		return;
	case S_TILE:
		print_tile(k, s, t->tile, depth);
		return;
	case S_CONST:
		str_addf(s, "r%d = const.%s ", t->dst, dtype_info[k->reg_type[t->dst]].name);
		print_number(s, k->reg_type[t->dst], t->f, t->i);
		break;
	case S_INDEX:
		str_addf(s, "r%d = index ", t->dst);
		print_affine(s, &t->index);
		break;
	case S_OP:
		str_addf(s, "r%d = %s.%s", t->dst, op_info[t->op].id, dtype_info[t->type].name);
		for (i = 0; i < op_info[t->op].in_max && i < 3; i++)
			str_addf(s, "%s r%d", i ? "," : "", t->src[i]);
		if (t->op == OP_cast && t->src[0] >= 0 && t->src[0] < k->nreg)
			str_addf(s, " from %s", dtype_info[k->reg_type[t->src[0]]].name);
		break;
	case S_LOAD:
		str_addf(s, "r%d = b%d[", t->dst, t->buf);
		print_affine(s, &t->index);
		str_add(s, "]");
		print_guards(s, t);
		if (t->src[0] >= 0)
			str_addf(s, " else r%d", t->src[0]);
		break;
	case S_STORE:
		str_addf(s, "b%d[", t->buf);
		print_affine(s, &t->index);
		str_addf(s, "] = r%d", t->src[0]);
		print_guards(s, t);
		break;
	case S_ACC:
		str_addf(s, "r%d = acc.%s %s ", t->dst, dtype_info[k->reg_type[t->dst]].name,
		    op_info[t->op].id);
		print_number(s, k->reg_type[t->dst], t->f, t->i);
		break;
	case S_REDUCE:
		str_addf(s, "r%d %s= r%d", t->dst, op_info[t->op].id, t->src[0]);
		break;
	}
	str_add(s, "\n");
}

static void
print_body(const struct kernel *k, struct str *s, const struct body *b, int depth)
{
	int i;

	for (i = 0; i < b->s.n; i++)
		print_stmt(k, s, b->s.v[i], depth);
}

void
kernel_print(const struct kernel *k, struct str *s)
{
	int i;

	for (i = 0; i < k->nbuf; i++) {
		str_addf(s, "%sb%d:%s%s", i ? " " : "  ", i, dtype_info[k->buf_type[i]].name,
		    k->buf_written[i] ? "!" : "");
		if (k->buf_slot[i])
			str_addf(s, "*%lld", (long long)k->buf_slot[i]);
	}
	str_add(s, "\n");
	print_body(k, s, &k->body, 1);
}

static const char *
place(const struct buffer *b)
{
	static const char *const space[] = {"work", "const", "state", "io"};

	return space[b->space];
}

static void
print_call(const struct call *c, struct str *s)
{
	const struct blas_call *b = c->blas;
	int i, n = c->kernel ? c->kernel->nbuf : 3;

	str_addf(s, "call %s", c->provider_blas ? "blas.sgemm" : c->kernel->name);
	for (i = 0; i < n; i++)
		str_addf(s, "%s#%d", i ? ", " : " ", c->arg[i] ? c->arg[i]->id : -1);
	if (c->provider_blas && b)
		str_addf(s, " %s%s m %lld n %lld k %lld ld %lld,%lld,%lld batch %lld stride %lld,%lld,%lld",
		    b->ta ? "t" : "n", b->tb ? "t" : "n", (long long)b->m, (long long)b->n,
		    (long long)b->k, (long long)b->lda, (long long)b->ldb, (long long)b->ldc,
		    (long long)b->batch, (long long)b->sa, (long long)b->sb, (long long)b->sc);
	if (c->loc.name)
		str_addf(s, "  @ \"%s\"", c->loc.name);
	str_add(s, "\n");
}

static void
print_io(struct str *s, const char *what, const struct io *io)
{
	str_addf(s, "%s \"%s\" #%d\n", what, io->name ? io->name : "", io->buffer ? io->buffer->id : -1);
}

void
program_print(const struct program *p, struct str *s)
{
	int i, j;

	str_addf(s, "program %s\nwork %lld const %lld state %lld bytes\n", p->name,
	    (long long)p->work_bytes, (long long)p->const_bytes, (long long)p->state_bytes);
	for (i = 0; i < p->inputs.n; i++)
		print_io(s, "input", &p->inputs.v[i]);
	for (i = 0; i < p->outputs.n; i++)
		print_io(s, "output", &p->outputs.v[i]);
	for (i = 0; i < p->states.n; i++)
		print_io(s, "state", &p->states.v[i]);
	for (i = 0; i < p->buffers.n; i++) {
		const struct buffer *b = p->buffers.v[i];

		str_addf(s, "buffer #%d %s[%lld] %s+%lld", b->id, dtype_info[b->dtype].name,
		    (long long)b->count, place(b), (long long)b->offset);
		if (b->space == SPACE_WORK)
			str_addf(s, " calls %d..%d", b->first, b->last);
		if (b->alias)
			str_addf(s, " alias #%d", b->alias->id);
		if (b->value && b->value->name)
			str_addf(s, " \"%s\"", b->value->name);
		str_add(s, "\n");
	}
	for (i = 0; i < p->calls.n; i++)
		print_call(&p->calls.v[i], s);
	for (i = 0; i < p->calls.n; i++) {
		const struct kernel *k = p->calls.v[i].kernel;

		for (j = 0; j < i && p->calls.v[j].kernel != k; j++)
			;
		if (!k || j < i)
			continue;
		str_addf(s, "\nkernel %s, %lld pieces, %.6g flops\n", k->name, (long long)k->pieces, k->flops);
		kernel_print(k, s);
	}
}
