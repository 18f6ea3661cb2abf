/* emit -- making one kernel: loops, registers, addresses through layouts, loads
 * and stores.  What a value is computed from is emit_value.c's.
 *
 * A load or store whose index may leave its value's dims, by the extents of the
 * loop variables, gets a guard by itself; so loops may overrun (blocked lanes,
 * ragged splits, taps outside an image) without their author saying so. */
#include "passes/nest.h"

#include <string.h>

struct affine
affine_scaled(const struct affine *e, int64_t by)
{
	struct affine r = *e;

	if (!by)
		return AFFINE(0);
	r.c *= by;
	r.regcoef *= by;
	for (int i = 0; i < r.n; i++)
		r.t[i].coef *= by;
	return r;
}

struct emit *
emit_begin(struct lower *lo, struct cluster *cl, const char *name)
{
	struct emit *e = arena_new(lo->tmp, struct emit);
	struct loc loc = LOC_NONE;

	if (cl && cl->anchor)
		loc = cl->anchor->loc;
	else if (cl && cl->nodes.n)
		loc = cl->nodes.v[0]->loc;
	e->lo = lo;
	e->cl = cl;
	e->k = kernel_new(lo->a, name, loc);
	e->body = &e->k->body;
	e->memo = lo->memo;
	for (int i = 0; i < lo->g->nvalue; i++)
		e->memo[i] = -1;
	vec_push(lo->tmp, &e->scopes, (struct scope){e->body, NULL});
	return e;
}

void
emit_end(struct emit *e)
{
	struct lower *lo = e->lo;

	shape_hoist(e);
	kernel_finish(e->k);
	for (int i = 0; i < e->written.n; i++)
		lower_zero_halo(lo, e->written.v[i]);
	for (int i = 0; i < e->spare.n; i++)
		lower_zero_spare(lo, e->spare.v[i]);
	lower_call(lo, e->k, e->args.v);
}

int
emit_buf(struct emit *e, struct buffer *b, bool written)
{
	for (int i = 0; i < e->args.n; i++)
		if (e->args.v[i] == b) {
			e->k->buf_written[i] |= written;
			return i;
		}
	vec_push(e->lo->tmp, &e->args, b);
	return kernel_buf(e->lo->a, e->k, b->dtype, written);
}

int
emit_var(struct emit *e, int64_t extent)
{
	int var = kernel_var(e->k);

	while (e->extent.n <= var)
		vec_push(e->lo->tmp, &e->extent, 0);
	e->extent.v[var] = extent;
	return var;
}

struct stmt *
emit_for(struct emit *e, enum for_kind kind, int64_t extent, int *var)
{
	struct stmt *s = stmt_new(e->lo->a, e->body, S_FOR);

	s->loop = kind;
	s->extent = extent;
	s->var = *var = emit_var(e, extent);
	vec_push(e->lo->tmp, &e->scopes, (struct scope){&s->body, e->body});
	e->body = &s->body;
	return s;
}

int
emit_const(struct emit *e, enum dtype t, double x)
{
	struct stmt *s = stmt_new(e->lo->a, e->body, S_CONST);

	s->type = t;
	s->f = x;
	s->i = dtype_is_float(t) ? 0 : (int64_t)x;
	return s->dst = kernel_reg(e->lo->a, e->k, t);
}

int
emit_const_i(struct emit *e, enum dtype t, int64_t x)
{
	struct stmt *s = stmt_new(e->lo->a, e->body, S_CONST);

	s->type = t;
	s->i = x;
	s->f = (double)x;
	return s->dst = kernel_reg(e->lo->a, e->k, t);
}

static bool
is_test(enum op op)
{
	return op == OP_eq || op == OP_lt || op == OP_le || op == OP_isnan;
}

int
emit_op(struct emit *e, enum op op, enum dtype t, int a, int b, int c)
{
	struct stmt *s = stmt_new(e->lo->a, e->body, S_OP);

	s->op = op;
	s->type = t;
	s->src[0] = a;
	s->src[1] = b;
	s->src[2] = c;
	return s->dst = kernel_reg(e->lo->a, e->k, is_test(op) ? DT_bool : t);
}

int
emit_index(struct emit *e, struct affine x)
{
	struct stmt *s;

	if (x.reg >= 0 && x.regcoef == 1 && !x.n && !x.c)
		return x.reg;
	s = stmt_new(e->lo->a, e->body, S_INDEX);
	s->type = DT_i64;
	s->index = x;
	return s->dst = kernel_reg(e->lo->a, e->k, DT_i64);
}

/* The identity of a reduction, as a constant of its type. */
static void
identity(enum op op, enum dtype t, double *f, int64_t *i)
{
	static const struct {
		int64_t lo, hi;
	} bound[NDTYPE] = {[DT_bool] = {0, 1},
	    [DT_u8] = {0, UINT8_MAX},
	    [DT_i8] = {INT8_MIN, INT8_MAX},
	    [DT_u16] = {0, UINT16_MAX},
	    [DT_i16] = {INT16_MIN, INT16_MAX},
	    [DT_i32] = {INT32_MIN, INT32_MAX},
	    [DT_u32] = {0, UINT32_MAX},
	    [DT_i64] = {INT64_MIN, INT64_MAX},
	    [DT_u64] = {0, -1}};

	*f = 0;
	*i = 0;
	if (op == OP_mul || op == OP_and) {
		*f = 1;
		*i = 1;
	} else if (op == OP_max || op == OP_min) {
		*f = op == OP_max ? -__builtin_inf() : __builtin_inf();
		*i = op == OP_max ? bound[t].lo : bound[t].hi;
	}
}

int
emit_acc(struct emit *e, enum op op, enum dtype t)
{
	struct stmt *s = stmt_new(e->lo->a, e->body, S_ACC);

	s->op = op;
	s->type = t;
	identity(op, t, &s->f, &s->i);
	return s->dst = kernel_reg(e->lo->a, e->k, t);
}

void
emit_reduce(struct emit *e, enum op op, enum dtype t, int acc, int reg)
{
	struct stmt *s = stmt_new(e->lo->a, e->body, S_REDUCE);

	s->op = op;
	s->type = t;
	s->dst = acc;
	s->src[0] = reg;
}

int
emit_identity(struct emit *e, enum op op, enum dtype t)
{
	double f;
	int64_t i;

	identity(op, t, &f, &i);
	return dtype_is_float(t) ? emit_const(e, t, f) : emit_const_i(e, t, i);
}

bool
emit_range(const struct emit *e, const struct affine *x, int64_t *min, int64_t *max)
{
	*min = *max = x->c;
	if (x->reg >= 0 && x->regcoef)
		return false;
	for (int i = 0; i < x->n; i++) {
		int64_t c = x->t[i].coef, n = 0;

		if (x->t[i].var < e->extent.n)
			n = e->extent.v[x->t[i].var];
		if (n <= 0)
			return false;
		if (c > 0)
			*max += c * (n - 1);
		else
			*min += c * (n - 1);
	}
	return true;
}

int
emit_within(struct emit *e, struct affine x, int64_t lo, int64_t hi)
{
	int64_t min, max;
	int i = emit_index(e, x), below = -1, above = -1;

	if (!emit_range(e, &x, &min, &max)) {
		min = INT64_MIN;
		max = INT64_MAX;
	}
	if (min < lo)
		below = emit_op(e, OP_le, DT_i64, emit_const_i(e, DT_i64, lo), i, -1);
	if (max >= hi)
		above = emit_op(e, OP_lt, DT_i64, i, emit_const_i(e, DT_i64, hi), -1);
	if (below >= 0 && above >= 0)
		return emit_op(e, OP_and, DT_bool, below, above, -1);
	if (below >= 0 || above >= 0)
		return below >= 0 ? below : above;
	return emit_const_i(e, DT_bool, 1);
}

/* to += by*x; two registers are summed into one */
void
affine_plus(struct emit *e, struct affine *to, const struct affine *x, int64_t by)
{
	to->c += by * x->c;
	for (int i = 0; i < x->n; i++)
		affine_add(to, x->t[i].var, by * x->t[i].coef);
	if (x->reg < 0 || !x->regcoef || !by)
		return;
	if (to->reg < 0) {
		to->reg = x->reg;
		to->regcoef = by * x->regcoef;
		return;
	}
	if (to->reg == x->reg) {
		to->regcoef += by * x->regcoef;
		return;
	}
	{
		struct affine a = AFFINE(0), b = AFFINE(0);

		a.reg = to->reg;
		a.regcoef = to->regcoef;
		b.reg = x->reg;
		b.regcoef = by * x->regcoef;
		to->reg = emit_op(e, OP_add, DT_i64, emit_index(e, a), emit_index(e, b), -1);
		to->regcoef = 1;
	}
}

static int64_t
floordiv(int64_t a, int64_t b)
{
	return a / b - (a % b < 0);
}

static struct affine
of_reg(int reg)
{
	struct affine r = AFFINE(0);

	r.reg = reg;
	r.regcoef = 1;
	return r;
}

/* x = q*step + rem with 0 <= rem < step.  Exact on the terms where the loops
 * allow it, else by integer instructions (x is not negative there). */
void
emit_divide(
    struct emit *e, const struct affine *x, int64_t step, struct affine *q, struct affine *rem)
{
	int64_t min, max;
	int whole, quot;

	*q = AFFINE(floordiv(x->c, step));
	*rem = AFFINE(x->c - q->c * step);
	for (int i = 0; i < x->n; i++) {
		int64_t cq = x->t[i].coef / step, cr = x->t[i].coef % step;

		if (cr) /* the whole term stays below, or nothing does */
			affine_add(rem, x->t[i].var, x->t[i].coef);
		else if (cq)
			affine_add(q, x->t[i].var, cq);
	}
	if (x->reg < 0 || !x->regcoef) {
		if (emit_range(e, rem, &min, &max) && min >= 0 && max < step)
			return;
	} else if (x->regcoef % step == 0 && emit_range(e, rem, &min, &max) && min >= 0 &&
		   max < step) {
		q->reg = x->reg;
		q->regcoef = x->regcoef / step;
		return;
	}
	whole = emit_index(e, *x);
	if ((step & (step - 1)) == 0) {
		quot = emit_op(e, OP_shr, DT_i64, whole,
		    emit_const_i(e, DT_i64, __builtin_ctzll((uint64_t)step)), -1);
		*rem = of_reg(
		    emit_op(e, OP_band, DT_i64, whole, emit_const_i(e, DT_i64, step - 1), -1));
	} else {
		int d = emit_const_i(e, DT_i64, step);

		quot = emit_op(e, OP_div, DT_i64, whole, d, -1);
		*rem = of_reg(
		    emit_op(e, OP_sub, DT_i64, whole, emit_op(e, OP_mul, DT_i64, quot, d, -1), -1));
	}
	*q = of_reg(quot);
}

/* Digits of dim d of a layout; *first its outermost, which is not reduced modulo. */
static int
digits_of(const struct layout *l, int d, int *first)
{
	int n = 0;

	*first = -1;
	for (int p = 0; p < l->n; p++)
		if (l->phys[p].dim == d) {
			if (*first < 0 || l->phys[p].step > l->phys[*first].step)
				*first = p;
			n++;
		}
	return n;
}

static struct affine
digit(struct emit *e, const struct layout *l, int p, const struct index *idx)
{
	const struct phys *ph = &l->phys[p];
	struct affine q, rem;
	int first, n = digits_of(l, ph->dim, &first);
	const struct index *ix = &idx[ph->dim];

	if (n == 1 && ph->step == 1) {
		q = ix->whole;
		q.c += l->lo[ph->dim];
		return q;
	}
	if (n == 2 && ix->block) {
		if (ph->step == ix->block && p == first)
			return ix->outer;
		if (ph->step == 1 && ph->extent == ix->block)
			return ix->inner;
	}
	q = ix->whole;
	if (ph->step > 1)
		emit_divide(e, &ix->whole, ph->step, &q, &rem);
	if (p == first)
		return q;
	{
		struct affine x = q;

		emit_divide(e, &x, ph->extent, &q, &rem);
	}
	return rem;
}

struct affine
emit_address(struct emit *e, const struct value *v, const struct index *idx)
{
	struct affine r = AFFINE(0);
	int64_t stride[MAX_PHYS], s = 1;

	if (!v->layout) {
		int64_t st[MAX_RANK];

		for (int d = v->rank - 1; d >= 0; d--) {
			st[d] = s;
			s *= v->dims[d];
		}
		for (int d = 0; d < v->rank; d++)
			if (v->dims[d] != 1)
				affine_plus(e, &r, &idx[d].whole, st[d]);
		return r;
	}
	layout_strides(v->layout, stride);
	for (int p = 0; p < v->layout->n; p++) {
		struct affine x;

		if (v->layout->phys[p].extent == 1)
			continue;
		x = digit(e, v->layout, p, idx);
		affine_plus(e, &r, &x, stride[p]);
	}
	return r;
}

/* How far indexes along dim d may go and still lie in the buffer. */
static void
room(const struct value *v, int d, int64_t *lo, int64_t *hi)
{
	const struct layout *l = v->layout;
	int first, n;

	*lo = 0;
	*hi = v->dims[d];
	if (!l)
		return;
	n = digits_of(l, d, &first);
	if (n > 1)
		*hi = l->phys[first].extent * l->phys[first].step;
	else if (n == 1) {
		*lo = -l->lo[d];
		*hi = v->dims[d] + l->hi[d];
	}
}

/* Room for the two that splitting loops may add. */
enum { MAX_GUARDS = 8, MAX_LISTED = 32 + MAX_RANK };

static void
add_guard(struct guard *list, int *n, const struct affine *x, int64_t lo, int64_t hi)
{
	for (int i = 0; i < *n; i++)
		if (list[i].lo == lo && list[i].hi == hi && !memcmp(&list[i].e, x, sizeof *x))
			return;
	list[(*n)++] = (struct guard){*x, lo, hi};
}

/* Those in force; what always holds is left out. */
static int
list_in_force(const struct emit *e, struct guard *list)
{
	int64_t min, max;
	int n = 0;

	for (int i = 0; i < e->nguard; i++)
		if (!emit_range(e, &e->guard[i].e, &min, &max) || min < e->guard[i].lo ||
		    max >= e->guard[i].hi)
			add_guard(list, &n, &e->guard[i].e, e->guard[i].lo, e->guard[i].hi);
	return n;
}

/* More than a statement holds become one, of a register that is their conjunction. */
static int
compacted(struct emit *e, struct guard *list, int n)
{
	int all = -1;

	if (n <= MAX_GUARDS)
		return n;
	while (n > MAX_GUARDS - 1) {
		const struct guard *g = &list[--n];
		int c = emit_within(e, g->e, g->lo, g->hi);

		all = all < 0 ? c : emit_op(e, OP_and, DT_bool, all, c, -1);
	}
	list[n++] = (struct guard){of_reg(emit_op(e, OP_cast, DT_i64, all, -1, -1)), 1, 2};
	return n;
}

static void
set_guards(struct stmt *s, const struct guard *list, int n)
{
	memcpy(s->guard, list, sizeof *list * (size_t)n);
	s->nguard = n;
}

void
emit_guard(struct emit *e, struct affine x, int64_t lo, int64_t hi)
{
	if (e->nguard == (int)(sizeof e->guard / sizeof *e->guard))
		die("guards nested too deep");
	e->guard[e->nguard++] = (struct guard){x, lo, hi};
}

int
emit_load_at(struct emit *e, struct value *v, struct affine at, int fill, const struct guard *extra,
    int nextra)
{
	struct guard list[MAX_LISTED];
	int n = list_in_force(e, list);
	struct stmt *s;

	for (int i = 0; i < nextra; i++)
		add_guard(list, &n, &extra[i].e, extra[i].lo, extra[i].hi);
	n = compacted(e, list, n);
	s = stmt_new(e->lo->a, e->body, S_LOAD);
	s->buf = emit_buf(e, lower_buffer(e->lo, v), false);
	s->type = v->dtype;
	s->index = at;
	s->src[0] = fill;
	set_guards(s, list, n);
	return s->dst = kernel_reg(e->lo->a, e->k, v->dtype);
}

/* An element of the value that is held. */
static struct affine
held_at(struct emit *e, const struct index *idx)
{
	const struct held *h = &e->held;
	struct affine at = AFFINE(h->lo * h->lanes), block = idx[1].outer;

	affine_add(&block, h->pvar, -h->groups);
	affine_plus(e, &at, &block, h->block);
	affine_plus(e, &at, &idx[1].inner, 1);
	affine_plus(e, &at, &idx[2].whole, h->row);
	affine_plus(e, &at, &h->first, -h->row);
	affine_plus(e, &at, &idx[3].whole, h->lanes);
	return at;
}

static struct stmt *
held_stmt(struct emit *e, enum stmt_kind kind, const struct index *idx)
{
	struct affine at = held_at(e, idx);
	struct stmt *s = stmt_new(e->lo->a, e->body, kind);

	s->buf = e->held.buf;
	s->type = e->held.v->dtype;
	s->index = at;
	s->src[0] = -1;
	return s;
}

/* Guards of v's own dims: anywhere within the buffer when loads may read the
 * zeroes of halos and spare lanes. */
int
emit_load(struct emit *e, struct value *v, const struct index *idx, int fill)
{
	struct guard own[MAX_RANK];
	struct affine at;
	int n = 0;

	if (v == e->held.v)
		return held_stmt(e, S_LOAD, idx)->dst = kernel_reg(e->lo->a, e->k, v->dtype);
	at = emit_address(e, v, idx);

	for (int d = 0; d < v->rank; d++) {
		int64_t min, max, lo = 0, hi = v->dims[d];

		if (!emit_range(e, &idx[d].whole, &min, &max))
			continue;
		if (fill < 0)
			room(v, d, &lo, &hi);
		if (min < lo || max >= hi)
			own[n++] = (struct guard){idx[d].whole, 0, v->dims[d]};
	}
	return emit_load_at(e, v, at, fill, own, n);
}

void
emit_store(struct emit *e, struct value *v, const struct index *idx, int reg)
{
	struct index ix[MAX_RANK];
	struct guard list[MAX_LISTED];
	struct affine at;
	struct stmt *s;
	int n;

	if (v == e->held.v) {
		held_stmt(e, S_STORE, idx)->src[0] = reg;
		return;
	}
	memcpy(ix, idx, sizeof *ix * (size_t)v->rank);
	for (int d = 0; d < v->rank; d++) {
		int64_t min, max;
		int first;

		if (v->dims[d] == 1 && !(v->layout && digits_of(v->layout, d, &first) > 1))
			ix[d] = index_of(AFFINE(0));
		if (!v->layout || digits_of(v->layout, d, &first) < 2 ||
		    !emit_range(e, &ix[d].whole, &min, &max) || max < v->dims[d])
			continue;
		reg =
		    emit_op(e, OP_select, v->dtype, emit_within(e, ix[d].whole, 0, v->dims[d]), reg,
			dtype_is_float(v->dtype) ? emit_const(e, v->dtype, 0)
						 : emit_const_i(e, v->dtype, 0));
	}
	at = emit_address(e, v, ix);
	n = list_in_force(e, list);
	for (int d = 0; d < v->rank; d++) {
		int64_t min, max, lo = 0, hi = v->dims[d];
		int first;

		if (v->layout && digits_of(v->layout, d, &first) > 1)
			room(v, d, &lo, &hi);
		if (emit_range(e, &ix[d].whole, &min, &max) && (min < lo || max >= hi))
			add_guard(list, &n, &ix[d].whole, lo, hi);
		/* a run that ends at the dim, not at the last lane; or not known to end there */
		if (hi > v->dims[d] && lo == 0 &&
		    (!emit_range(e, &ix[d].whole, &min, &max) ? ix[d].whole.reg >= 0
							      : max + 1 < hi))
			vec_push(e->lo->tmp, &e->spare, v);
	}
	n = compacted(e, list, n);
	s = stmt_new(e->lo->a, e->body, S_STORE);
	s->buf = emit_buf(e, lower_buffer(e->lo, v), true);
	s->type = v->dtype;
	s->index = at;
	s->src[0] = reg;
	set_guards(s, list, n);
	for (int i = 0; i < e->written.n; i++)
		if (e->written.v[i] == v)
			return;
	vec_push(e->lo->tmp, &e->written, v);
}

void
emit_forget(struct emit *e)
{
	for (int i = 0; i < e->lo->g->nvalue; i++)
		e->memo[i] = -1;
	e->seen.n = 0;
}
