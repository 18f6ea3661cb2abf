/* kernel -- statements of the loop IR to LLVM.
 *
 * A register is one LLVM value: a scalar, or, in an open VECTOR loop, a vector of
 * g->lanes.  What does not depend on the vector variable stays scalar and is
 * splatted where a vector meets it.  Accumulators are stack slots, which SROA
 * turns into phis.  A VECTOR loop is emitted twice: full vectors, then a tail of
 * constant size, narrower and, where the machine has masks, rounded up to a power
 * of two. */
#include "codegen/gen.h"

#include <math.h>
#include <string.h>

/* ---- small things */
LLVMValueRef
gen_i64(struct gen *g, int64_t v)
{
	return LLVMConstInt(g->m->i64, (unsigned long long)v, 1);
}

LLVMBasicBlockRef
gen_block(struct gen *g, const char *name)
{
	return LLVMAppendBasicBlockInContext(g->m->c, g->fn, name);
}

LLVMValueRef
gen_alloca(struct gen *g, LLVMTypeRef t, const char *name)
{
	return LLVMBuildAlloca(g->entry, t, name);
}

static LLVMTypeRef
lanes_of(LLVMTypeRef t, int lanes)
{
	return lanes ? LLVMVectorType(t, (unsigned)lanes) : t;
}

LLVMTypeRef
gen_type(struct gen *g, enum dtype t, int lanes)
{
	struct module *m = g->m;

	switch (t) {
	case DT_f32: case DT_f16: case DT_bf16: return lanes_of(m->f32, lanes);
	case DT_f64: return lanes_of(m->f64, lanes);
	case DT_bool: return lanes_of(m->i1, lanes);
	case DT_u8: case DT_i8: return lanes_of(m->i8, lanes);
	case DT_u16: case DT_i16: return lanes_of(m->i16, lanes);
	case DT_u32: case DT_i32: return lanes_of(m->i32, lanes);
	case DT_u64: case DT_i64: case DT_str: return lanes_of(m->i64, lanes);
	default: die("no register of type %s", dtype_info[t].name);
	}
}

LLVMTypeRef
gen_memory_type(struct gen *g, enum dtype t, int lanes)
{
	struct module *m = g->m;

	switch (t) {
	case DT_bool: return lanes_of(m->i8, lanes);
	case DT_f16: case DT_bf16: return lanes_of(m->i16, lanes);
	default: return gen_type(g, t, lanes);
	}
}

LLVMValueRef
gen_splat(struct gen *g, LLVMValueRef v, int lanes)
{
	LLVMTypeRef t = LLVMVectorType(LLVMTypeOf(v), (unsigned)lanes);
	LLVMValueRef one = LLVMBuildInsertElement(g->b, LLVMGetPoison(t), v, LLVMConstInt(g->m->i32, 0, 0), "");

	return LLVMBuildShuffleVector(g->b, one, LLVMGetPoison(t),
	    LLVMConstNull(LLVMVectorType(g->m->i32, (unsigned)lanes)), "");
}

LLVMValueRef
gen_vector(struct gen *g, int r)
{
	struct reg *x = &g->reg[r];

	require(x->v);
	return x->vector ? x->v : gen_splat(g, x->v, g->lanes);
}

LLVMValueRef
gen_intrinsic(struct gen *g, const char *name, LLVMTypeRef *over, int nover, LLVMValueRef *arg, int narg)
{
	unsigned id = LLVMLookupIntrinsicID(name, strlen(name));
	LLVMValueRef f;

	if (!id)
		die("LLVM has no %s", name);
	f = LLVMGetIntrinsicDeclaration(g->m->m, id, over, (size_t)nover);
	return LLVMBuildCall2(g->b, LLVMGlobalGetValueType(f), f, arg, (unsigned)narg, "");
}

LLVMValueRef
gen_mask(struct gen *g, int lanes, int active)
{
	LLVMValueRef v[64];

	if (active >= lanes)
		return NULL;
	for (int i = 0; i < lanes; i++)
		v[i] = LLVMConstInt(g->m->i1, i < active, 0);
	return LLVMConstVector(v, (unsigned)lanes);
}

/* ---- addresses */
struct addr
gen_affine(struct gen *g, const struct affine *e)
{
	struct addr a = {.c = e->c};
	LLVMValueRef x;

	for (int i = 0; i < e->n; i++) {
		LLVMValueRef v = g->var[e->t[i].var];
		int64_t coef = e->t[i].coef;

		if (!v)
			die("kernel %s: variable %d is not bound", g->k->name, e->t[i].var);
		if (!coef)
			continue;
		if (e->t[i].var == g->vvar)
			a.coef += coef;
		if (LLVMIsAConstantInt(v)) {
			a.c += coef * LLVMConstIntGetSExtValue(v);
			continue;
		}
		x = coef == 1 ? v : LLVMBuildMul(g->b, v, gen_i64(g, coef), "");
		a.base = a.base ? LLVMBuildAdd(g->b, a.base, x, "") : x;
	}
	if (e->reg >= 0 && e->regcoef) {
		struct reg *r = &g->reg[e->reg];

		require(r->v);
		x = r->v;
		if (e->regcoef != 1)
			x = LLVMBuildMul(g->b, x, r->vector ? gen_splat(g, gen_i64(g, e->regcoef), g->lanes)
			                                    : gen_i64(g, e->regcoef), "");
		if (r->vector)
			a.vec = x;
		else
			a.base = a.base ? LLVMBuildAdd(g->b, a.base, x, "") : x;
	}
	if (!a.base)
		a.base = gen_i64(g, 0);
	return a;
}

LLVMValueRef
gen_pointer(struct gen *g, int buf, LLVMValueRef base, int64_t c)
{
	LLVMTypeRef t = gen_memory_type(g, g->k->buf_type[buf], 0);
	LLVMValueRef p = g->buf[buf], i;

	if (!LLVMIsAConstantInt(base))
		p = LLVMBuildGEP2(g->b, t, p, &base, 1, "");
	else
		c += LLVMConstIntGetSExtValue(base);
	if (!c)
		return p;
	i = gen_i64(g, c);
	return LLVMBuildGEP2(g->b, t, p, &i, 1, "");
}

/* ---- loops */
struct loop
gen_loop(struct gen *g, LLVMValueRef n, int64_t step)
{
	struct loop l = {.n = n, .step = step};
	LLVMBasicBlockRef pre = LLVMGetInsertBlock(g->b);
	LLVMValueRef zero = gen_i64(g, 0);

	l.head = gen_block(g, "loop");
	l.exit = gen_block(g, "end");
	if (LLVMIsAConstantInt(n)) {
		require(LLVMConstIntGetSExtValue(n) > 0);
		LLVMBuildBr(g->b, l.head);
	} else
		LLVMBuildCondBr(g->b, LLVMBuildICmp(g->b, LLVMIntSGT, n, zero, ""), l.head, l.exit);
	LLVMPositionBuilderAtEnd(g->b, l.head);
	l.i = LLVMBuildPhi(g->b, g->m->i64, "i");
	LLVMAddIncoming(l.i, &zero, &pre, 1);
	return l;
}

/* stop: the last turn, whatever is left; or NULL */
static void
loop_end(struct gen *g, struct loop *l, LLVMValueRef stop)
{
	LLVMBasicBlockRef latch = LLVMGetInsertBlock(g->b);
	LLVMValueRef next = LLVMBuildNSWAdd(g->b, l->i, gen_i64(g, l->step), "");
	LLVMValueRef more = LLVMBuildICmp(g->b, LLVMIntSLT, next, l->n, "");

	LLVMAddIncoming(l->i, &next, &latch, 1);
	if (stop)
		more = LLVMBuildAnd(g->b, more, LLVMBuildNot(g->b, stop, ""), "");
	LLVMBuildCondBr(g->b, more, l->head, l->exit);
	LLVMPositionBuilderAtEnd(g->b, l->exit);
}

void
gen_loop_end(struct gen *g, struct loop *l)
{
	loop_end(g, l, NULL);
}

static LLVMValueRef
extent(struct gen *g, int64_t e)
{
	return dim_const(e) ? gen_i64(g, e) : module_dim(g->m, g->entry, g->sym, e);
}

static int64_t
extent_hi(struct gen *g, int64_t e)
{
	return dim_const(e) ? e : dim_hi(g->m->program->graph, e);
}

static void
serial(struct gen *g, const struct stmt *s)
{
	struct loop l;

	g->extent[s->var] = extent_hi(g, s->extent);
	if (s->extent == 0)
		return;
	if (s->extent == 1) {
		g->var[s->var] = gen_i64(g, 0);
		gen_body(g, &s->body);
		return;
	}
	l = gen_loop(g, extent(g, s->extent), 1);
	g->var[s->var] = l.i;
	gen_body(g, &s->body);
	loop_end(g, &l, s->stop >= 0 ? g->reg[s->stop].v : NULL);
}

static void
unroll(struct gen *g, const struct stmt *s)
{
	g->extent[s->var] = s->extent;
	for (int64_t i = 0; i < s->extent; i++) {
		g->var[s->var] = gen_i64(g, i);
		gen_body(g, &s->body);
	}
}

/* ---- accumulators */
LLVMValueRef
gen_identity(struct gen *g, enum op op, enum dtype t, int lanes)
{
	LLVMTypeRef e = gen_type(g, t, 0);
	LLVMValueRef v;
	int bits = dtype_info[t].bits;
	bool sg = dtype_info[t].class == DC_INT, fl = dtype_is_float(t);

	switch (op) {
	case OP_add: case OP_or: case OP_bor: v = LLVMConstNull(e); break;
	case OP_mul: v = fl ? LLVMConstReal(e, 1) : LLVMConstInt(e, 1, 0); break;
	case OP_and: case OP_band: v = LLVMConstAllOnes(e); break;
	case OP_max:
		v = fl ? LLVMConstReal(e, -INFINITY)
		    : LLVMConstInt(e, sg ? UINT64_C(1) << (bits - 1) : 0, 0);
		break;
	case OP_min:
		v = fl ? LLVMConstReal(e, INFINITY)
		    : sg ? LLVMConstInt(e, (UINT64_C(1) << (bits - 1)) - 1, 0) : LLVMConstAllOnes(e);
		break;
	default: die("kernel %s: no reduction by %s", g->k->name, op_info[op].id);
	}
	return lanes ? gen_splat(g, v, lanes) : v;
}

LLVMValueRef
gen_tree(struct gen *g, enum op op, enum dtype t, LLVMValueRef v, int lanes)
{
	while (lanes > 1) {
		LLVMValueRef lo[64], hi[64], a, b;
		int half = lanes / 2;

		require(lanes % 2 == 0);
		for (int i = 0; i < half; i++) {
			lo[i] = LLVMConstInt(g->m->i32, (unsigned)i, 0);
			hi[i] = LLVMConstInt(g->m->i32, (unsigned)(i + half), 0);
		}
		a = LLVMBuildShuffleVector(g->b, v, v, LLVMConstVector(lo, (unsigned)half), "");
		b = LLVMBuildShuffleVector(g->b, v, v, LLVMConstVector(hi, (unsigned)half), "");
		v = gen_op(g, op, t, t, a, b, NULL);
		lanes = half;
	}
	return LLVMBuildExtractElement(g->b, v, LLVMConstInt(g->m->i32, 0, 0), "");
}

static bool
affine_reads(const struct affine *e, int r)
{
	return e->reg == r && e->regcoef;
}

/* How the loop nest uses accumulator r: *in_vec, it is reduced inside VECTOR loops;
 * *other, it is read, or reduced outside of them. */
static void
uses(const struct body *b, int r, bool in_vec, bool *vec, bool *other)
{
	for (int i = 0; i < b->s.n; i++) {
		const struct stmt *s = b->s.v[i];
		bool src = false;

		switch (s->kind) {
		case S_FOR:
			uses(&s->body, r, in_vec || s->loop == FOR_VECTOR, vec, other);
			break;
		case S_OP:
			for (int j = 0; j < 3; j++)
				src |= s->src[j] == r && j < op_info[s->op].in_max;
			break;
		case S_STORE: case S_LOAD:
			src = s->src[0] == r && (s->kind == S_STORE || s->nguard);
			src |= affine_reads(&s->index, r);
			for (int j = 0; j < s->nguard; j++)
				src |= affine_reads(&s->guard[j].e, r);
			break;
		case S_INDEX:
			src = affine_reads(&s->index, r);
			break;
		case S_REDUCE:
			src = s->src[0] == r || (s->dst == r && !in_vec);
			if (s->dst == r && in_vec)
				*vec = true;
			break;
		case S_TILE: {
			bool v = false;

			uses(&s->tile->epilogue, r, false, &v, other);
			break;
		}
		case S_CONST: case S_ACC:
			break;
		}
		*other |= src;
	}
}

/* Copies of a VECTOR loop's body per iteration: 4 where it sums over many vectors
 * and is straight and short, else 1. */
static int
interleave(struct gen *g, const struct stmt *s)
{
	bool reduces = false;

	if (s->extent < 8 * g->width || s->body.s.n > 24)
		return 1;
	for (int i = 0; i < s->body.s.n; i++) {
		const struct stmt *x = s->body.s.v[i];

		if (x->kind == S_FOR || x->kind == S_TILE || x->kind == S_ACC)
			return 1;
		reduces |= x->kind == S_REDUCE;
	}
	return reduces ? 4 : 1;
}

static int
parts_wanted(struct gen *g, const struct stmt *s)
{
	int n = 1;

	if (s->kind != S_FOR)
		return 1;
	if (s->loop == FOR_VECTOR)
		return interleave(g, s);
	for (int i = 0; i < s->body.s.n; i++) {
		int m = parts_wanted(g, s->body.s.v[i]);

		n = m > n ? m : n;
	}
	return n;
}

/* Before statement s: accumulators that s sums per lane get their partials.
 * Returns which, as a list of registers; they are combined after s. */
static int
partials_open(struct gen *g, const struct stmt *s, int *list)
{
	int n = 0, parts = parts_wanted(g, s);

	if (g->vvar >= 0)
		return 0;
	for (int r = 0; r < g->k->nreg; r++) {
		struct reg *x = &g->reg[r];
		bool vec = false, other = false;

		if (!x->slot || x->lanes || x->npart)
			continue;
		uses(&s->body, r, s->loop == FOR_VECTOR, &vec, &other);
		if (!vec)
			continue;
		if (other) {
			if (s->loop == FOR_VECTOR)
				die("kernel %s: accumulator %d is read where it is summed", g->k->name, r);
			continue;
		}
		x->npart = parts;
		for (int p = 0; p < parts; p++) {
			x->part[p] = gen_alloca(g, gen_type(g, g->k->reg_type[r], g->width), "part");
			LLVMBuildStore(g->b, gen_identity(g, x->op, g->k->reg_type[r], g->width), x->part[p]);
		}
		list[n++] = r;
	}
	return n;
}

static void
partials_close(struct gen *g, const int *list, int n)
{
	for (int i = 0; i < n; i++) {
		struct reg *x = &g->reg[list[i]];
		enum dtype t = g->k->reg_type[list[i]];
		LLVMTypeRef vt = gen_type(g, t, g->width);
		LLVMValueRef v[4], h;
		int k = x->npart;

		for (int p = 0; p < k; p++)
			v[p] = LLVMBuildLoad2(g->b, vt, x->part[p], "");
		for (; k > 1; k /= 2)
			for (int p = 0; p < k / 2; p++)
				v[p] = gen_op(g, x->op, t, t, v[p], v[p + k / 2], NULL);
		h = gen_tree(g, x->op, t, v[0], g->width);
		x->v = gen_op(g, x->op, t, t, LLVMBuildLoad2(g->b, gen_type(g, t, 0), x->slot, ""), h, NULL);
		LLVMBuildStore(g->b, x->v, x->slot);
		x->npart = 0;
	}
}

static LLVMValueRef
constant(struct gen *g, enum dtype t, const struct stmt *s)
{
	LLVMTypeRef ty = gen_type(g, t, 0);

	if (dtype_is_float(t)) {
		uint64_t bits = 0;

		/* what memory of that type can hold */
		if (t == DT_f16 || t == DT_bf16) {
			dtype_put_f(t, &bits, 0, s->f);
			return LLVMConstReal(ty, dtype_get_f(t, &bits, 0));
		}
		return LLVMConstReal(ty, s->f);
	}
	return LLVMConstInt(ty, (unsigned long long)s->i, 1);
}

static void
acc(struct gen *g, const struct stmt *s)
{
	struct reg *x = &g->reg[s->dst];
	enum dtype t = g->k->reg_type[s->dst];
	LLVMValueRef v = constant(g, t, s);

	x->lanes = g->vvar >= 0 ? g->lanes : 0;
	x->op = s->op;
	x->npart = 0;
	x->has_const = false;
	x->slot = gen_alloca(g, gen_type(g, t, x->lanes), "acc");
	LLVMBuildStore(g->b, x->lanes ? gen_splat(g, v, x->lanes) : v, x->slot);
}

/* dst = op(dst, src): max and min take the newcomer first, so that one machine
 * instruction keeps a NaN already there */
static LLVMValueRef
combine(struct gen *g, const struct stmt *s, LLVMValueRef a, LLVMValueRef v)
{
	enum dtype t = g->k->reg_type[s->dst];

	if (s->op == OP_max || s->op == OP_min)
		return gen_op(g, s->op, t, t, v, a, NULL);
	return gen_op(g, s->op, t, t, a, v, NULL);
}

/* Lanes lo.. of a wider vector, n of them. */
static LLVMValueRef
sub_vector(struct gen *g, LLVMValueRef v, int n)
{
	LLVMValueRef idx[64];

	for (int i = 0; i < n; i++)
		idx[i] = LLVMConstInt(g->m->i32, (unsigned)i, 0);
	return LLVMBuildShuffleVector(g->b, v, v, LLVMConstVector(idx, (unsigned)n), "");
}

/* part with its first n lanes from v */
static LLVMValueRef
put_sub(struct gen *g, LLVMValueRef part, int width, LLVMValueRef v, int n)
{
	LLVMValueRef idx[64], wide;

	for (int i = 0; i < width; i++)
		idx[i] = i < n ? LLVMConstInt(g->m->i32, (unsigned)i, 0) : LLVMGetPoison(g->m->i32);
	wide = LLVMBuildShuffleVector(g->b, v, v, LLVMConstVector(idx, (unsigned)width), "");
	for (int i = 0; i < width; i++)
		idx[i] = LLVMConstInt(g->m->i32, (unsigned)(i < n ? i : width + i), 0);
	return LLVMBuildShuffleVector(g->b, wide, part, LLVMConstVector(idx, (unsigned)width), "");
}

static void
reduce(struct gen *g, const struct stmt *s)
{
	struct reg *x = &g->reg[s->dst];
	enum dtype t = g->k->reg_type[s->dst];
	LLVMTypeRef ty;
	LLVMValueRef slot, old, v, new, mask;
	bool vec = g->vvar >= 0;

	if (!x->slot)
		die("kernel %s: register %d is no accumulator", g->k->name, s->dst);
	if (vec && x->npart) {
		slot = x->part[g->copy % x->npart];
		ty = gen_type(g, t, g->width);
		old = LLVMBuildLoad2(g->b, ty, slot, "");
		v = gen_vector(g, s->src[0]);
		if (g->active < g->width) { /* as many lanes as there are */
			LLVMValueRef first = sub_vector(g, old, g->lanes);

			new = combine(g, s, first, v);
			mask = gen_mask(g, g->lanes, g->active);
			if (mask)
				new = LLVMBuildSelect(g->b, mask, new, first, "");
			new = put_sub(g, old, g->width, new, g->lanes);
		} else
			new = combine(g, s, old, v);
		LLVMBuildStore(g->b, new, slot);
		return;
	}
	if (vec != (x->lanes > 0) || (vec && x->lanes != g->lanes))
		die("kernel %s: accumulator %d is summed across lanes that are not its own", g->k->name, s->dst);
	v = vec ? gen_vector(g, s->src[0]) : g->reg[s->src[0]].v;
	ty = gen_type(g, t, x->lanes);
	new = combine(g, s, LLVMBuildLoad2(g->b, ty, x->slot, ""), v);
	LLVMBuildStore(g->b, new, x->slot);
}

/* An accumulator as a value, where it is read. */
static void
refresh(struct gen *g, int r)
{
	struct reg *x;

	if (r < 0 || !(x = &g->reg[r])->slot)
		return;
	if (x->npart)
		die("kernel %s: accumulator %d is read where it is summed", g->k->name, r);
	x->v = LLVMBuildLoad2(g->b, gen_type(g, g->k->reg_type[r], x->lanes), x->slot, "");
	x->vector = x->lanes > 0;
}

static void
refresh_affine(struct gen *g, const struct affine *e)
{
	if (e->regcoef)
		refresh(g, e->reg);
}

/* ---- VECTOR */
static void
vector_piece(struct gen *g, const struct stmt *s, LLVMValueRef at, int lanes, int active, int copy)
{
	g->vvar = s->var;
	g->var[s->var] = at;
	g->lanes = lanes;
	g->active = active;
	g->copy = copy;
	gen_body(g, &s->body);
	g->vvar = -1;
	g->copy = 0;
}

static void
vector_loop(struct gen *g, const struct stmt *s)
{
	int w = g->width, u = interleave(g, s), rem = (int)(s->extent % w), lanes;
	int64_t full = s->extent / w, groups = full / u, v;

	if (g->vvar >= 0)
		die("kernel %s: a VECTOR loop inside another", g->k->name);
	if (!dim_const(s->extent))
		die("kernel %s: a VECTOR loop of symbolic extent", g->k->name);
	g->extent[s->var] = s->extent;
	if (groups > 1) {
		struct loop l = gen_loop(g, gen_i64(g, groups * u * w), (int64_t)u * w);

		for (int i = 0; i < u; i++)
			vector_piece(g, s, i ? LLVMBuildAdd(g->b, l.i, gen_i64(g, i * w), "") : l.i, w, w, i);
		gen_loop_end(g, &l);
	}
	for (v = groups > 1 ? groups * u : 0; v < full; v++)
		vector_piece(g, s, gen_i64(g, v * w), w, w, (int)(v % u));
	if (!rem)
		return;
	lanes = rem;
	if (g->t->machine.masked)
		for (lanes = 1; lanes < rem; lanes *= 2)
			;
	vector_piece(g, s, gen_i64(g, full * w), lanes, rem, 0);
}

/* ---- statements */
static void
statement(struct gen *g, const struct stmt *s)
{
	struct reg *d = s->dst >= 0 && s->dst < g->k->nreg ? &g->reg[s->dst] : NULL;

	switch (s->kind) {
	case S_FOR: {
		int *list = arena_array(g->m->a, int, g->k->nreg + 1), n = partials_open(g, s, list);

		switch (s->loop) {
		case FOR_PARALLEL: case FOR_SERIAL: serial(g, s); break;
		case FOR_UNROLL: unroll(g, s); break;
		case FOR_VECTOR: vector_loop(g, s); break;
		}
		g->var[s->var] = NULL;
		partials_close(g, list, n);
		break;
	}
	case S_CONST:
		*d = (struct reg){.v = constant(g, g->k->reg_type[s->dst], s), .has_const = true,
		    .f = dtype_is_float(g->k->reg_type[s->dst]) ? s->f : (double)s->i};
		break;
	case S_INDEX: {
		struct addr a;

		refresh_affine(g, &s->index);
		a = gen_affine(g, &s->index);
		*d = (struct reg){.vector = a.coef || a.vec};
		d->v = d->vector ? gen_lane_index(g, &a) : LLVMBuildAdd(g->b, a.base, gen_i64(g, a.c), "");
		break;
	}
	case S_OP:
		for (int i = 0; i < op_info[s->op].in_max; i++)
			refresh(g, s->src[i]);
		gen_sop(g, s);
		break;
	case S_LOAD: case S_STORE:
		refresh_affine(g, &s->index);
		for (int i = 0; i < s->nguard; i++)
			refresh_affine(g, &s->guard[i].e);
		if (s->kind == S_STORE || s->nguard)
			refresh(g, s->src[0]);
		if (s->kind == S_LOAD)
			gen_load(g, s);
		else
			gen_store(g, s);
		break;
	case S_ACC:
		acc(g, s);
		break;
	case S_REDUCE:
		refresh(g, s->src[0]);
		reduce(g, s);
		break;
	case S_TILE:
		gen_tile(g, s->tile);
		break;
	}
}

void
gen_body(struct gen *g, const struct body *b)
{
	for (int i = 0; i < b->s.n; i++)
		statement(g, b->s.v[i]);
}

/* ---- pieces */
/* The kernel's leading PARALLEL loops, and what they enclose. */
static int
piece_loops(const struct kernel *k, const struct stmt **loop, const struct body **inner)
{
	const struct body *b = &k->body;
	int n = 0;

	while (n < 16 && b->s.n == 1 && b->s.v[0]->kind == S_FOR && b->s.v[0]->loop == FOR_PARALLEL) {
		loop[n++] = b->s.v[0];
		b = &b->s.v[0]->body;
	}
	*inner = b;
	return n;
}

/* for (p = begin; p < end; p++): the loop variables are the digits of p, found by
 * division once, then counted up with carry. */
static void
pieces(struct gen *g, LLVMValueRef begin, LLVMValueRef end)
{
	const struct stmt *loop[16];
	const struct body *inner;
	LLVMValueRef ext[16], digit[16], phi[16], p, q = begin, carry = NULL, next, total = NULL;
	bool symbolic = false;
	LLVMBasicBlockRef pre, head = gen_block(g, "piece"), exit = gen_block(g, "done"), latch;
	int n = piece_loops(g->k, loop, &inner), i;

	for (i = n - 1; i >= 0; i--) {
		ext[i] = extent(g, loop[i]->extent);
		total = total ? LLVMBuildMul(g->b, total, ext[i], "") : ext[i];
		symbolic |= !dim_const(loop[i]->extent);
		g->extent[loop[i]->var] = extent_hi(g, loop[i]->extent);
		digit[i] = i ? LLVMBuildURem(g->b, q, ext[i], "") : q;
		q = i ? LLVMBuildUDiv(g->b, q, ext[i], "") : q;
	}
	if (symbolic) /* callers count pieces at the symbols' bounds */
		end = LLVMBuildSelect(g->b, LLVMBuildICmp(g->b, LLVMIntSLT, end, total, ""), end, total, "");
	pre = LLVMGetInsertBlock(g->b);
	LLVMBuildCondBr(g->b, LLVMBuildICmp(g->b, LLVMIntSLT, begin, end, ""), head, exit);
	LLVMPositionBuilderAtEnd(g->b, head);
	p = LLVMBuildPhi(g->b, g->m->i64, "p");
	LLVMAddIncoming(p, &begin, &pre, 1);
	for (i = 0; i < n; i++) {
		phi[i] = n == 1 ? p : LLVMBuildPhi(g->b, g->m->i64, "");
		if (n > 1)
			LLVMAddIncoming(phi[i], &digit[i], &pre, 1);
		g->var[loop[i]->var] = phi[i];
		if (loop[i]->extent == 1)
			g->var[loop[i]->var] = gen_i64(g, 0);
	}
	gen_body(g, inner);
	latch = LLVMGetInsertBlock(g->b);
	for (i = n - 1; n > 1 && i >= 0; i--) {
		LLVMValueRef up = LLVMBuildAdd(g->b, phi[i], carry ? carry : gen_i64(g, 1), "");

		if (i) {
			LLVMValueRef over = LLVMBuildICmp(g->b, LLVMIntEQ, up, ext[i], "");

			carry = LLVMBuildZExt(g->b, over, g->m->i64, "");
			up = LLVMBuildSelect(g->b, over, gen_i64(g, 0), up, "");
		}
		LLVMAddIncoming(phi[i], &up, &latch, 1);
	}
	next = LLVMBuildNSWAdd(g->b, p, gen_i64(g, 1), "");
	LLVMAddIncoming(p, &next, &latch, 1);
	LLVMBuildCondBr(g->b, LLVMBuildICmp(g->b, LLVMIntSLT, next, end, ""), head, exit);
	LLVMPositionBuilderAtEnd(g->b, exit);
	LLVMBuildRetVoid(g->b);
}

/* void NAME(void *const *arg, const int64_t *sym, int64_t begin, int64_t end, int64_t slot) */
LLVMValueRef
kernel_emit(struct module *m, const struct kernel *k, const char *name)
{
	struct gen g = {.m = m, .t = m->t, .k = k, .vvar = -1, .width = m->t->machine.vector_bits / 32};
	struct mark mark = arena_mark(m->a);
	LLVMBasicBlockRef entry, body;

	g.fn = module_function(m, name, m->kernel_type, false);
	g.sym = LLVMGetParam(g.fn, 1);
	g.buf = arena_array(m->a, LLVMValueRef, k->nbuf + 1);
	g.var = arena_array(m->a, LLVMValueRef, k->nvar + 1);
	g.extent = arena_array(m->a, int64_t, k->nvar + 1);
	g.reg = arena_array(m->a, struct reg, k->nreg + 1);
	g.b = LLVMCreateBuilderInContext(m->c);
	g.entry = LLVMCreateBuilderInContext(m->c);
	entry = gen_block(&g, "entry");
	body = gen_block(&g, "body");
	LLVMPositionBuilderAtEnd(g.entry, entry);
	for (int i = 0; i < k->nbuf; i++) {
		LLVMValueRef at = gen_i64(&g, i);

		g.buf[i] = LLVMBuildLoad2(g.entry, m->ptr,
		    LLVMBuildInBoundsGEP2(g.entry, m->ptr, LLVMGetParam(g.fn, 0), &at, 1, ""), "buf");
		if (k->buf_slot[i]) {
			at = LLVMBuildMul(g.entry, LLVMGetParam(g.fn, 4),
			    gen_i64(&g, (int64_t)dtype_bytes(k->buf_type[i], k->buf_slot[i])), "");
			g.buf[i] = LLVMBuildInBoundsGEP2(
			    g.entry, LLVMInt8TypeInContext(m->c), g.buf[i], &at, 1, "slot");
		}
	}
	LLVMPositionBuilderAtEnd(g.b, body);
	pieces(&g, LLVMGetParam(g.fn, 2), LLVMGetParam(g.fn, 3));
	LLVMBuildBr(g.entry, body);
	LLVMDisposeBuilder(g.b);
	LLVMDisposeBuilder(g.entry);
	arena_reset(m->a, mark);
	return g.fn;
}
