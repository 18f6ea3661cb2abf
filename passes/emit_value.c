/* emit_value -- the register that holds a value at an index: found, loaded, or
 * computed from its operands.  Views only change the index on the way. */
#include "passes/nest.h"

#include <stdlib.h>
#include <string.h>

static bool
affine_same(const struct affine *a, const struct affine *b)
{
	if (a->c != b->c || a->n != b->n || (a->reg < 0) != (b->reg < 0))
		return false;
	if (a->reg >= 0 && (a->reg != b->reg || a->regcoef != b->regcoef))
		return false;
	for (int i = 0; i < a->n; i++) {
		int j = 0;

		while (j < b->n && b->t[j].var != a->t[i].var)
			j++;
		if (j == b->n || b->t[j].coef != a->t[i].coef)
			return false;
	}
	return true;
}

/* Dims of size 1 have one index. */
static void
canonical(const struct value *v, const struct index *idx, struct index *ix)
{
	for (int d = 0; d < v->rank; d++)
		ix[d] = v->dims[d] == 1 ? index_of(AFFINE(0)) : idx[d];
}

static bool
scope_open(const struct emit *e, const struct body *b)
{
	const struct body *at = e->body;

	while (at && at != b) {
		const struct body *up = NULL;

		for (int i = e->scopes.n - 1; i >= 0; i--)
			if (e->scopes.v[i].body == at) {
				up = e->scopes.v[i].parent;
				break;
			}
		at = up;
	}
	return at != NULL;
}

static int
find(const struct emit *e, const struct value *v, const struct index *ix)
{
	for (int i = e->seen.n - 1; i >= 0; i--) {
		const struct seen *s = &e->seen.v[i];
		int d = 0;

		if (s->v != v || s->nguard > e->nguard)
			continue;
		while (d < v->rank && affine_same(&s->at[d].whole, &ix[d].whole))
			d++;
		if (d == v->rank && scope_open(e, s->body))
			return s->reg;
	}
	return -1;
}

void
emit_note(struct emit *e, struct value *v, const struct index *idx, int reg)
{
	struct index *ix = arena_array(e->lo->tmp, struct index, v->rank ? v->rank : 1);

	canonical(v, idx, ix);
	vec_push(e->lo->tmp, &e->seen, (struct seen){v, ix, reg, e->nguard, e->body});
}

bool
lower_in_memory(const struct lower *lo, const struct value *v, const struct cluster *reader)
{
	const struct cluster *c;

	while (lo->alias[v->id])
		v = lo->alias[v->id];
	if (v->kind != VAL_NODE)
		return true;
	c = lo->cluster_of[v->def->id];
	return c && c != reader;
}

static int
constant(struct emit *e, const struct value *v)
{
	if (dtype_is_float(v->dtype))
		return emit_const(e, v->dtype, dtype_get_f(v->dtype, v->data->data, 0));
	return emit_const_i(e, v->dtype, dtype_get_i(v->dtype, v->data->data, 0));
}

static int
map(struct emit *e, const struct node *n, const struct index *ix)
{
	struct value *out = n->out[0];
	enum dtype t = out->dtype;
	int r[3] = {-1, -1, -1};

	for (int i = 0; i < n->nin; i++) {
		struct value *v = n->in[i];
		struct index *sub = arena_array(e->lo->tmp, struct index, v->rank ? v->rank : 1);

		for (int d = 0; d < v->rank; d++)
			sub[d] = ix[d + out->rank - v->rank];
		r[i] = emit_value(e, v, sub);
	}
	if (n->op == OP_cast && n->in[0]->dtype == t)
		return r[0];
	if (n->op == OP_eq || n->op == OP_lt || n->op == OP_le || n->op == OP_isnan)
		t = n->in[0]->dtype;
	if (n->op == OP_pow && n->in[1]->dtype != t)
		r[1] = emit_op(e, OP_cast, t, r[1], -1, -1);
	return emit_op(e, n->op, t, r[0], r[1], r[2]);
}

/* Loads element `flat` (row-major count) of a plain value in memory. */
static int
load_flat(struct emit *e, struct value *v, struct affine flat)
{
	int64_t min, max, count = dims_count(v->rank, v->dims);
	struct guard own = {flat, 0, count};
	bool leaves = emit_range(e, &flat, &min, &max) && (min < 0 || max >= count);

	return emit_load_at(e, v, flat, -1, &own, leaves);
}

/* Maps idx over `to` dims to one over `from` dims, matching groups of dims with
 * equal products so that little has to be divided. */
static void
regroup(struct emit *e, int tr, const int64_t *to, const struct index *idx, int fr,
    const int64_t *from, struct index *ix)
{
	int t = 0, f = 0;

	for (int d = 0; d < fr; d++)
		ix[d] = index_of(AFFINE(0));
	while (t < tr || f < fr) {
		int t0, f0;
		int64_t pt = 1, pf = 1;
		struct affine flat = AFFINE(0);

		while (t < tr && to[t] == 1)
			t++;
		while (f < fr && from[f] == 1)
			f++;
		if (t == tr || f == fr)
			break;
		t0 = t;
		f0 = f;
		pt = to[t++];
		pf = from[f++];
		while (pt != pf) {
			if (pt < pf && t < tr)
				pt *= to[t++];
			else if (f < fr)
				pf *= from[f++];
			else
				break;
		}
		if (t - t0 == 1 && f - f0 == 1) {
			ix[f0] = idx[t0];
			continue;
		}
		for (int64_t d = t - 1, s = 1; d >= t0; s *= to[d], d--)
			affine_plus(e, &flat, &idx[d].whole, s);
		for (int d = f - 1; d >= f0; d--) {
			struct affine q = AFFINE(0), rem = flat;

			if (d > f0)
				emit_divide(e, &flat, from[d], &q, &rem);
			ix[d] = index_of(rem);
			flat = q;
		}
	}
}

/* What was loaded under the guards that go is not good elsewhere. */
static void
unguard(struct emit *e, int n)
{
	e->nguard = n;
	for (int i = 0; i < e->seen.n; i++)
		if (e->seen.v[i].nguard > n)
			e->seen.v[i].v = NULL;
}

static int
reshape(struct emit *e, const struct node *n, const struct index *idx)
{
	struct value *x = n->in[0], *y = n->out[0];
	struct index ix[MAX_RANK];
	int old = e->nguard, reg;

	if (!x->layout && lower_in_memory(e->lo, x, e->cl)) {
		struct affine flat = AFFINE(0);

		for (int64_t d = y->rank - 1, s = 1; d >= 0; s *= y->dims[d], d--)
			affine_plus(e, &flat, &idx[d].whole, s);
		return load_flat(e, x, flat);
	}
	/* spare lanes of y have no place in x */
	for (int d = 0; d < y->rank; d++) {
		int64_t min, max;

		if (emit_range(e, &idx[d].whole, &min, &max) && (min < 0 || max >= y->dims[d]))
			emit_guard(e, idx[d].whole, 0, y->dims[d]);
	}
	regroup(e, y->rank, y->dims, idx, x->rank, x->dims, ix);
	reg = emit_value(e, x, ix);
	unguard(e, old);
	return reg;
}

static int
fill_reg(struct emit *e, enum dtype t, double x)
{
	return dtype_is_float(t) ? emit_const(e, t, x) : emit_const_i(e, t, (int64_t)x);
}

static int
pad(struct emit *e, const struct node *n, const struct index *idx)
{
	struct value *x = n->in[0];
	struct index ix[MAX_RANK];
	const int64_t *lo;
	double fill = attr_float(n, "fill");
	int old = e->nguard, cond = -1, reg;
	bool stored = lower_in_memory(e->lo, x, e->cl);

	attr_ints(n, "lo", &lo);
	for (int d = 0; d < x->rank; d++) {
		int64_t min, max;

		ix[d] = idx[d];
		if (lo[d]) {
			ix[d] = index_of(idx[d].whole);
			ix[d].whole.c -= lo[d];
		}
		if (emit_range(e, &ix[d].whole, &min, &max) && min >= 0 && max < x->dims[d])
			continue;
		emit_guard(e, ix[d].whole, 0, x->dims[d]);
	}
	if (stored && e->memo[x->id] < 0) {
		reg = emit_load(e, x, ix, fill_reg(e, x->dtype, fill));
		unguard(e, old);
		return reg;
	}
	reg = emit_value(e, x, ix);
	for (int g = old; g < e->nguard; g++) {
		int c = emit_within(e, e->guard[g].e, e->guard[g].lo, e->guard[g].hi);

		cond = cond < 0 ? c : emit_op(e, OP_and, DT_bool, cond, c, -1);
	}
	unguard(e, old);
	if (cond < 0)
		return reg;
	return emit_op(e, OP_select, x->dtype, cond, reg, fill_reg(e, x->dtype, fill));
}

static int
axis_of(const struct node *n, int rank)
{
	int64_t a = attr_int(n, "axis");

	return (int)(a < 0 ? a + rank : a);
}

/* Every operand under its guard, then a chain of selects. */
static int
concat(struct emit *e, const struct node *n, const struct index *idx)
{
	struct value *y = n->out[0];
	int axis = axis_of(n, y->rank), reg = -1;
	int64_t off = y->dims[axis];
	struct index ix[MAX_RANK];

	memcpy(ix, idx, sizeof *ix * (size_t)y->rank);
	for (int i = n->nin - 1; i >= 0; i--) {
		struct value *x = n->in[i];
		int64_t len = x->dims[axis];
		int r;

		off -= len;
		if (!len)
			continue;
		ix[axis] = index_of(idx[axis].whole);
		ix[axis].whole.c -= off;
		emit_guard(e, ix[axis].whole, 0, len);
		r = emit_value(e, x, ix);
		unguard(e, e->nguard - 1);
		reg = reg < 0 ? r
			      : emit_op(e, OP_select, y->dtype,
				    emit_within(e, ix[axis].whole, INT64_MIN, len), r, reg);
	}
	return reg;
}

static int
slice(struct emit *e, const struct node *n, const struct index *idx)
{
	struct value *x = n->in[0];
	struct index ix[MAX_RANK];
	const int64_t *start, *step = NULL;

	attr_ints(n, "start", &start);
	attr_ints(n, "step", &step);
	for (int d = 0; d < x->rank; d++) {
		int64_t by = step ? step[d] : 1;

		ix[d] = idx[d];
		if (start[d] || by != 1) {
			ix[d] = index_of(affine_scaled(&idx[d].whole, by));
			ix[d].whole.c += start[d];
		}
	}
	return emit_value(e, x, ix);
}

int
emit_wrapped(struct emit *e, int reg, enum dtype t, int64_t n)
{
	int len = emit_const_i(e, DT_i64, n), zero = emit_const_i(e, DT_i64, 0);

	if (t != DT_i64)
		reg = emit_op(e, OP_cast, DT_i64, reg, -1, -1);
	reg = emit_op(e, OP_select, DT_i64, emit_op(e, OP_lt, DT_i64, reg, zero, -1),
	    emit_op(e, OP_add, DT_i64, reg, len, -1), reg);
	reg = emit_op(e, OP_min, DT_i64, reg, emit_const_i(e, DT_i64, n - 1), -1);
	return emit_op(e, OP_max, DT_i64, reg, zero, -1);
}

static int
gather(struct emit *e, const struct node *n, const struct index *idx)
{
	struct value *x = n->in[0], *at = n->in[1];
	int axis = axis_of(n, x->rank), r = at->rank;
	struct index ix[MAX_RANK];
	struct affine a = AFFINE(0);

	a.reg = emit_wrapped(e, emit_value(e, at, idx + axis), at->dtype, x->dims[axis]);
	a.regcoef = 1;
	for (int d = 0; d < x->rank; d++)
		ix[d] = d < axis ? idx[d] : d == axis ? index_of(a) : idx[d - 1 + r];
	return emit_value(e, x, ix);
}

static int
compute(struct emit *e, struct value *v, const struct index *ix)
{
	struct node *n = v->def;
	struct index sub[MAX_RANK];
	const int64_t *perm;
	struct value *x = n->nin ? n->in[0] : NULL;

	if (op_info[n->op].class == OC_map)
		return map(e, n, ix);
	switch (n->op) {
	case OP_iota: {
		int r = emit_index(e, ix[axis_of(n, v->rank)].whole);

		return v->dtype == DT_i64 ? r : emit_op(e, OP_cast, v->dtype, r, -1, -1);
	}
	case OP_expand:
		for (int d = 0; d < x->rank; d++)
			sub[d] = ix[d + v->rank - x->rank];
		return emit_value(e, x, sub);
	case OP_reshape:
		return reshape(e, n, ix);
	case OP_transpose:
		if (attr_ints(n, "perm", &perm))
			for (int d = 0; d < v->rank; d++)
				sub[perm[d]] = ix[d];
		else
			for (int d = 0; d < v->rank; d++)
				sub[v->rank - 1 - d] = ix[d];
		return emit_value(e, x, sub);
	case OP_slice:
		return slice(e, n, ix);
	case OP_pad:
		return pad(e, n, ix);
	case OP_concat:
		return concat(e, n, ix);
	case OP_gather:
		return gather(e, n, ix);
	case OP_relayout:
		return emit_value(e, x, ix);
	case OP_rng:
		return emit_rng(e, n, ix);
	default:
		die("%s of %s wanted at an index its kernel does not have", op_info[n->op].id,
		    v->name ? v->name : "a value");
	}
}

int
emit_value(struct emit *e, struct value *v, const struct index *idx)
{
	struct index *ix;
	int r;

	if (e->memo[v->id] >= 0)
		return e->memo[v->id];
	ix = arena_array(e->lo->tmp, struct index, v->rank ? v->rank : 1);
	canonical(v, idx, ix);
	r = find(e, v, ix);
	if (r >= 0)
		return r;
	if (v->kind == VAL_CONST && dims_count(v->rank, v->dims) == 1)
		r = constant(e, v);
	else if (lower_in_memory(e->lo, v, e->cl))
		r = emit_load(e, v, ix, -1);
	else
		r = compute(e, v, ix);
	vec_push(e->lo->tmp, &e->seen, (struct seen){v, ix, r, e->nguard, e->body});
	return r;
}

/* A tap of a window: its index may leave v's dims, also those of size 1. */
int
emit_tap(struct emit *e, struct value *v, const struct index *idx)
{
	struct index *ix = arena_array(e->lo->tmp, struct index, v->rank ? v->rank : 1);
	int r;

	memcpy(ix, idx, sizeof *ix * (size_t)v->rank);
	r = find(e, v, ix);
	if (r >= 0)
		return r;
	r = emit_load(e, v, ix, -1);
	vec_push(e->lo->tmp, &e->seen, (struct seen){v, ix, r, e->nguard, e->body});
	return r;
}

/* All are computed before the first is stored: one may be a state's new content,
 * another need the old. */
void
emit_outputs(struct emit *e, const struct index *idx)
{
	int *reg = arena_array(e->lo->tmp, int, e->cl->outputs.n + 1);

	for (int i = 0; i < e->cl->outputs.n; i++)
		reg[i] = emit_value(e, e->cl->outputs.v[i], idx);
	for (int i = 0; i < e->cl->outputs.n; i++)
		emit_store(e, e->cl->outputs.v[i], idx, reg[i]);
}
