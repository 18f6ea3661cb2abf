/* operand.c -- operands whose content decides a shape or the form of an expansion,
 * and the shape rule that most composites share. */
#include "ir/ops/ops_int.h"

enum { MAX_WALK = 2048, MAX_VECTOR = 4096 }; /* nodes looked at, elements */

/* The types of a composite's outputs are those that its expansion has: it is
 * built at the end of the graph and taken away again. */
bool
infer_built(struct graph *g, struct node *n, struct diag *d)
{
	int nodes = g->nodes.n, consts = g->consts.n, nvalue = g->nvalue, nnode = g->nnode, sizes = g->sizes.n;
	struct value *few[4] = {0}, **outs = few;
	struct build b = build_at(g, d, n->loc, NULL);
	bool ok;

	if (!ops_known(n, d))
		return false;
	if (n->nout > 4)
		outs = arena_array(g->arena, struct value *, n->nout);
	/* sizes that constants decide are constants from the start */
	b.fold = op_attr(n->op, "measured") && !attr_has(n, "measured");
	ok = op_info[n->op].expand(&b, n, outs);
	g->nodes.n = nodes;
	g->consts.n = consts;
	g->sizes.n = sizes;
	g->nvalue = nvalue;
	g->nnode = nnode;
	for (int i = 0; ok && i < n->nout; i++) {
		if (!n->out[i])
			continue;
		if (!outs[i])
			return diag_unsupported(d, n->loc, "output %d", i);
		ok = ops_set(n, d, i, outs[i]->dtype, outs[i]->rank, outs[i]->dims);
	}
	return ok;
}

/* The first expansion, by the shape rule, makes the symbol and notes it in the
 * attribute; every later one finds it there, so that the types stay the same. */
int64_t
ops_measure(struct build *b, const struct node *n, int i, struct value *v, int64_t hi)
{
	struct node *m = (struct node *)(uintptr_t)n;
	const int64_t *had;
	int k = attr_ints(n, "measured", &had);
	int64_t d, *all;

	if (!v)
		return 0;
	if (!op_attr(n->op, "measured"))
		die("row %s measures sizes but has no attribute for them", op_info[n->op].id);
	if (i > k)
		die("size %d of %s before size %d", i, op_info[n->op].id, k);
	if (i == k) {
		all = arena_array(b->g->arena, int64_t, k + 1);
		if (k)
			memcpy(all, had, (size_t)k * sizeof *all);
		all[k] = v->kind == VAL_CONST ? dtype_get_i(DT_i64, v->data->data, 0) : graph_measure(b->g, NULL, NULL, 0, hi);
		node_set_ints(b->g, m, "measured", k + 1, all);
		attr_ints(n, "measured", &had);
	}
	d = had[i];
	return dim_const(d) ? d : graph_measure(b->g, dim_text(b->g, d), v, dim_lo(b->g, d), dim_hi(b->g, d));
}

/* ---- whole numbers and dims through the operators that shape code is made of */
static int walk(struct graph *, const struct value *, struct sdim **, int *fuel);

static struct sdim
number(int64_t v)
{
	return (struct sdim){.v = v};
}

static struct sdim
from_dim(int64_t d)
{
	return (struct sdim){.v = d, .symbolic = !dim_const(d)};
}

static bool
arith(struct graph *g, enum op op, struct sdim a, struct sdim b, struct sdim *r)
{
	if (op == OP_eq && (a.symbolic || b.symbolic)) {
		int64_t alo = a.symbolic ? dim_lo(g, a.v) : a.v, ahi = a.symbolic ? dim_hi(g, a.v) : a.v;
		int64_t blo = b.symbolic ? dim_lo(g, b.v) : b.v, bhi = b.symbolic ? dim_hi(g, b.v) : b.v;

		*r = number(a.symbolic && b.symbolic && a.v == b.v);
		return r->v || ahi < blo || bhi < alo;
	}
	if (!a.symbolic && !b.symbolic) {
		switch (op) {
		case OP_eq: return *r = number(a.v == b.v), true;
		case OP_and: return *r = number(a.v && b.v), true;
		case OP_or: return *r = number(a.v || b.v), true;
		case OP_fmod: return b.v != 0 && b.v != -1 ? *r = number(a.v % b.v), true : false;
		case OP_add: return *r = number(0), !__builtin_add_overflow(a.v, b.v, &r->v);
		case OP_sub: return *r = number(0), !__builtin_sub_overflow(a.v, b.v, &r->v);
		case OP_mul: return *r = number(0), !__builtin_mul_overflow(a.v, b.v, &r->v);
		case OP_max: return *r = number(a.v > b.v ? a.v : b.v), true;
		case OP_min: return *r = number(a.v < b.v ? a.v : b.v), true;
		case OP_div:
			if (b.v == 0 || b.v == -1)
				return false;
			*r = number(a.v / b.v);
			return true;
		default: return false;
		}
	}
	/* dims stand for sizes: never below zero */
	if (op == OP_add && !a.symbolic && a.v < 0)
		return *r = from_dim(dim_sub(g, b.v, -a.v)), true;
	if (op == OP_add && !b.symbolic && b.v < 0)
		return *r = from_dim(dim_sub(g, a.v, -b.v)), true;
	if ((!a.symbolic && a.v < 0) || (!b.symbolic && b.v < 0))
		return false;
	switch (op) {
	case OP_add: *r = from_dim(dim_add(g, a.v, b.v)); return true;
	case OP_sub: *r = from_dim(dim_sub(g, a.v, b.v)); return true;
	case OP_mul: *r = from_dim(dim_mul(g, a.v, b.v)); return true;
	case OP_max: *r = from_dim(dim_max(g, a.v, b.v)); return true;
	case OP_min: *r = from_dim(dim_min(g, a.v, b.v)); return true;
	case OP_div:
		if (!b.symbolic && b.v == 0)
			return false;
		*r = from_dim(dim_div(g, a.v, b.v));
		return true;
	default: return false;
	}
}

static int
walk_two(struct graph *g, const struct node *n, struct sdim **out, int *fuel)
{
	struct sdim *a, *b;
	int na = walk(g, n->in[0], &a, fuel), nb = walk(g, n->in[1], &b, fuel), k;

	if (na < 0 || nb < 0 || (na != nb && na != 1 && nb != 1))
		return -1;
	k = na == 1 ? nb : na;
	*out = arena_array(g->arena, struct sdim, k + 1);
	for (int i = 0; i < k; i++)
		if (!arith(g, n->op, a[na == 1 ? 0 : i], b[nb == 1 ? 0 : i], &(*out)[i]))
			return -1;
	return k;
}

static int
walk_gather(struct graph *g, const struct node *n, struct sdim **out, int *fuel)
{
	struct sdim *a;
	int64_t *ix;
	int na = walk(g, n->in[0], &a, fuel), k = value_ints(n->in[1], g->arena, &ix);

	if (na < 0 || k < 0 || n->in[0]->rank != 1)
		return -1;
	*out = arena_array(g->arena, struct sdim, k + 1);
	for (int i = 0; i < k; i++) {
		int64_t at = ix[i] < 0 ? ix[i] + na : ix[i];

		if (at < 0 || at >= na)
			return -1;
		(*out)[i] = a[at];
	}
	return k;
}

static int
walk_slice(struct graph *g, const struct node *n, struct sdim **out, int *fuel)
{
	struct sdim *a;
	int na = walk(g, n->in[0], &a, fuel), k = 0;
	int64_t *start, *end, *step, from, to, by = 1;

	if (na < 0 || n->in[0]->rank != 1 || value_ints(n->in[1], g->arena, &start) != 1 ||
	    value_ints(n->in[2], g->arena, &end) != 1)
		return -1;
	if (ops_in(n, 4)) {
		if (value_ints(n->in[4], g->arena, &step) != 1)
			return -1;
		by = step[0];
	}
	if (by < 1)
		return -1;
	by = by > na ? na + 1 : by;
	from = start[0] < 0 ? start[0] + na : start[0];
	to = end[0] < 0 ? end[0] + na : end[0];
	from = from < 0 ? 0 : from;
	to = to > na ? na : to;
	*out = arena_array(g->arena, struct sdim, na + 1);
	for (int64_t i = from; i < to; i += by)
		(*out)[k++] = a[i];
	return k;
}

/* The core's slice, forwards or backwards, of a vector. */
static int
walk_strided(struct graph *g, const struct node *n, struct sdim **out, int *fuel)
{
	struct sdim *a;
	int na = walk(g, n->in[0], &a, fuel);
	const int64_t *start, *step;
	int64_t count = n->out[0]->rank == 1 ? n->out[0]->dims[0] : -1;

	if (na < 0 || !dim_const(count) || attr_ints(n, "start", &start) != 1 || attr_ints(n, "step", &step) != 1)
		return -1;
	*out = arena_array(g->arena, struct sdim, count + 1);
	for (int64_t i = 0, at = start[0]; i < count; i++, at += step[0]) {
		if (at < 0 || at >= na)
			return -1;
		(*out)[i] = a[at];
	}
	return (int)count;
}

/* Where the condition is known, or does not matter. */
static int
walk_select(struct graph *g, const struct node *n, struct sdim **out, int *fuel)
{
	struct sdim *c, *a, *b;
	int nc = walk(g, n->in[0], &c, fuel), na = walk(g, n->in[1], &a, fuel), nb = walk(g, n->in[2], &b, fuel), k;

	if (na < 0 || nb < 0)
		return -1;
	k = na == 1 ? nb : na;
	k = nc > k ? nc : k;
	if ((nc > 1 && nc != k) || (na != 1 && na != k) || (nb != 1 && nb != k))
		return -1;
	*out = arena_array(g->arena, struct sdim, k + 1);
	for (int i = 0; i < k; i++) {
		struct sdim x = a[na == 1 ? 0 : i], y = b[nb == 1 ? 0 : i];

		if (nc < 1 && (x.symbolic != y.symbolic || x.v != y.v))
			return -1;
		(*out)[i] = nc < 1 || c[nc == 1 ? 0 : i].v ? x : y;
	}
	return k;
}

static int
walk_shape(struct graph *g, const struct node *n, struct sdim **out)
{
	const struct value *x = n->in[0];
	int64_t from = attr_int(n, "start"), to = x->rank;
	int k = 0;

	if (attr_has(n, "end"))
		to = attr_int(n, "end");
	from = from < 0 ? from + x->rank : from;
	to = to < 0 ? to + x->rank : to;
	from = from < 0 ? 0 : from;
	to = to > x->rank ? x->rank : to;
	*out = arena_array(g->arena, struct sdim, x->rank + 1);
	for (int64_t i = from; i < to; i++)
		(*out)[k++] = from_dim(x->dims[i]);
	return k;
}

static int
walk(struct graph *g, const struct value *v, struct sdim **out, int *fuel)
{
	const struct node *n;
	int64_t *c;
	int k, total = 0;

	if (!v || (*fuel)-- <= 0 || v->rank < 0 || v->rank > 1)
		return -1;
	if (v->kind == VAL_CONST) {
		k = value_ints(v, g->arena, &c);
		if (k < 0 || k > MAX_VECTOR)
			return -1;
		*out = arena_array(g->arena, struct sdim, k + 1);
		for (int i = 0; i < k; i++)
			(*out)[i] = number(c[i]);
		return k;
	}
	if (v->kind != VAL_NODE || (!dtype_is_int(v->dtype) && v->dtype != DT_bool))
		return -1;
	n = v->def;
	switch (n->op) {
	case OP_Shape:
		return walk_shape(g, n, out);
	case OP_slice:
		return walk_strided(g, n, out, fuel);
	case OP_eq: case OP_and: case OP_or: case OP_fmod:
		return walk_two(g, n, out, fuel);
	case OP_not:
		if ((k = walk(g, n->in[0], out, fuel)) < 0)
			return -1;
		for (int i = 0; i < k; i++)
			(*out)[i].v = !(*out)[i].v;
		return k;
	case OP_select:
		return walk_select(g, n, out, fuel);
	case OP_ConstantOfShape: {
		const struct attr *a = attr_find(n, "value");
		struct sdim *len;

		if (walk(g, n->in[0], &len, fuel) != 1 || len[0].symbolic || len[0].v < 0 || len[0].v > MAX_VECTOR ||
		    !a || a->kind != ATTR_TENSOR || !dtype_is_int(a->t->dtype) || tensor_count(a->t) != 1)
			return -1;
		*out = arena_array(g->arena, struct sdim, len[0].v + 1);
		for (k = 0; k < len[0].v; k++)
			(*out)[k] = number(dtype_get_i(a->t->dtype, a->t->data, 0));
		return k;
	}
	case OP_neg:
		if ((k = walk(g, n->in[0], out, fuel)) < 0)
			return -1;
		for (int i = 0; i < k; i++) {
			if ((*out)[i].symbolic || (*out)[i].v == INT64_MIN)
				return -1;
			(*out)[i].v = -(*out)[i].v;
		}
		return k;
	case OP_expand: {
		struct sdim *one;

		if (!dim_const(v->rank ? v->dims[0] : 1) || (v->rank && v->dims[0] > MAX_VECTOR) ||
		    (k = walk(g, n->in[0], &one, fuel)) < 0 || (k != 1 && (v->rank == 0 || k != v->dims[0])))
			return -1;
		total = v->rank ? (int)v->dims[0] : 1;
		*out = arena_array(g->arena, struct sdim, total + 1);
		for (int i = 0; i < total; i++)
			(*out)[i] = one[k == 1 ? 0 : i];
		return total;
	}
	case OP_extent:
		*out = arena_array(g->arena, struct sdim, 1);
		(*out)[0] = from_dim(attr_find(n, "dims")->ints[0]);
		return 1;
	case OP_Size: {
		int64_t size = 1;

		for (int i = 0; i < n->in[0]->rank; i++)
			size = dim_mul(g, size, n->in[0]->dims[i]);
		*out = arena_array(g->arena, struct sdim, 1);
		(*out)[0] = from_dim(size);
		return 1;
	}
	case OP_add: case OP_sub: case OP_mul: case OP_div: case OP_max: case OP_min:
		return walk_two(g, n, out, fuel);
	case OP_gather:
		return walk_gather(g, n, out, fuel);
	case OP_Slice:
		return walk_slice(g, n, out, fuel);
	case OP_Identity: case OP_reshape: case OP_Squeeze: case OP_Unsqueeze: case OP_Reshape:
	case OP_Cast: case OP_cast:
		return walk(g, n->in[0], out, fuel);
	case OP_concat: {
		struct sdim *part;

		if (n->nin > MAX_VECTOR)
			return -1;
		*out = arena_array(g->arena, struct sdim, MAX_VECTOR);
		for (int i = 0; i < n->nin; i++) {
			if ((k = walk(g, n->in[i], &part, fuel)) < 0 || total + k > MAX_VECTOR)
				return -1;
			for (int j = 0; j < k; j++)
				(*out)[total++] = part[j];
		}
		return total;
	}
	default:
		return -1;
	}
}

int
value_sdims(struct graph *g, const struct value *v, struct sdim **out)
{
	int fuel = MAX_WALK;

	return walk(g, v, out, &fuel);
}

int
value_decided(struct graph *g, const struct value *v)
{
	struct sdim *s;

	if (v->kind == VAL_CONST && v->dtype == DT_bool && tensor_count(v->data) == 1)
		return dtype_get_i(DT_bool, v->data->data, 0) != 0;
	if (v->dtype != DT_bool || value_sdims(g, v, &s) != 1 || s[0].symbolic)
		return -1;
	return s[0].v != 0;
}

static int
not_constant(struct build *b, const struct node *n, int i)
{
	diag_unsupported(b->diag, n->loc, "operand %d (%s) must be constant", i,
	    ops_in(n, i) && n->in[i]->name ? n->in[i]->name : "unnamed");
	return -1;
}

int
ops_ints(struct build *b, const struct node *n, int i, int64_t **out)
{
	struct sdim *s;
	int k = value_ints(ops_in(n, i), b->g->arena, out);

	if (k >= 0)
		return k;
	k = value_sdims(b->g, ops_in(n, i), &s);
	if (k < 0)
		return not_constant(b, n, i);
	*out = arena_array(b->g->arena, int64_t, k + 1);
	for (int j = 0; j < k; j++) {
		if (s[j].symbolic)
			return not_constant(b, n, i);
		(*out)[j] = s[j].v;
	}
	return k;
}

bool
ops_int(struct build *b, const struct node *n, int i, int64_t *v)
{
	int64_t *list;
	int k = ops_ints(b, n, i, &list);

	if (k < 0)
		return false;
	if (k != 1)
		return diag_invalid(b->diag, n->loc, "operand %d has %d elements; one is expected", i, k);
	*v = list[0];
	return true;
}

int
ops_floats(struct build *b, const struct node *n, int i, double **out)
{
	const struct value *v = ops_in(n, i);
	int64_t k;

	if (!v || v->kind != VAL_CONST || !dtype_is_float(v->dtype))
		return not_constant(b, n, i);
	k = tensor_count(v->data);
	if (k > MAX_VECTOR)
		return not_constant(b, n, i);
	*out = arena_array(b->g->arena, double, k + 1);
	for (int64_t j = 0; j < k; j++)
		(*out)[j] = dtype_get_f(v->dtype, v->data->data, j);
	return (int)k;
}

bool
value_number(const struct value *v, double *out)
{
	if (!v || v->kind != VAL_CONST || tensor_count(v->data) != 1)
		return false;
	if (dtype_is_float(v->dtype))
		*out = dtype_get_f(v->dtype, v->data->data, 0);
	else if (dtype_is_int(v->dtype) || v->dtype == DT_bool)
		*out = (double)dtype_get_i(v->dtype, v->data->data, 0);
	else
		return false;
	return true;
}

bool
ops_axes_operand(
    struct build *b, const struct node *n, int i, int rank, bool *marked, bool *given)
{
	int64_t *v;
	int k = 0;

	for (int j = 0; j < rank; j++)
		marked[j] = false;
	if (ops_in(n, i) && (k = ops_ints(b, n, i, &v)) < 0)
		return false;
	*given = k > 0;
	for (int j = 0; j < k; j++) {
		int a = axis_normal(n, b->diag, v[j], rank);

		if (a < 0)
			return false;
		if (marked[a])
			return diag_invalid(b->diag, n->loc, "axis %d is named twice", a);
		marked[a] = true;
	}
	return true;
}
