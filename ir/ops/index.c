/* index.c -- gather, its adjoint, the scatters by other operations, and compact.
 * Indices below zero count from the end; one out of range is an error for the evaluator. */
#include <math.h>

#include "ir/ops/ops_int.h"

static bool
indexed_dims(const struct node *n, struct diag *d, int *rank, int64_t *dims, int *axis)
{
	const struct value *x = n->in[0], *ix = n->in[1];

	if (!dtype_is_int(ix->dtype))
		return diag_invalid(
		    d, n->loc, "indices are %s; an integer type is expected", dtype_info[ix->dtype].name);
	if ((*axis = axis_normal(n, d, attr_int(n, "axis"), x->rank)) < 0)
		return false;
	*rank = x->rank - 1 + ix->rank;
	if (*rank > MAX_RANK)
		return diag_unsupported(
		    d, n->loc, "result has rank %d; at most %d is supported", *rank, MAX_RANK);
	memcpy(dims, x->dims, sizeof *dims * (size_t)*axis);
	memcpy(dims + *axis, ix->dims, sizeof *dims * (size_t)ix->rank);
	memcpy(dims + *axis + ix->rank, x->dims + *axis + 1,
	    sizeof *dims * (size_t)(x->rank - *axis - 1));
	return true;
}

bool
infer_gather(struct graph *g, struct node *n, struct diag *d)
{
	int64_t dims[MAX_RANK];
	int rank, axis;

	(void)g;
	return ops_known(n, d) && indexed_dims(n, d, &rank, dims, &axis) &&
	    ops_set(n, d, 0, n->in[0]->dtype, rank, dims);
}

bool
grad_gather(struct build *b, const struct node *n, struct value *const *dout, struct value **din)
{
	struct attr a = attr_of_int("axis", attr_int(n, "axis"));
	struct value *in[3];

	if (!dout[0])
		return true;
	in[0] = b_zeros_like(b, n->in[0]);
	in[1] = n->in[1];
	in[2] = dout[0];
	din[0] = in[0] ? b_op(b, OP_scatter_add, 3, in, 1, &a) : NULL;
	return din[0] != NULL;
}

/* Rows of `inner` elements: outer x extent in the data, outer x index count in
 * the other.  The row of index k, or -1. */
static int64_t
row_of(const struct etensor *ix, int64_t k, int64_t extent)
{
	int64_t i = ix->i[k];

	if (i < 0 && ix->dtype != DT_u64)
		i += extent;
	return i >= 0 && i < extent ? i : -1;
}

static void
split(const struct etensor *x, int axis, int64_t *outer, int64_t *inner)
{
	*outer = *inner = 1;
	for (int i = 0; i < axis; i++)
		*outer *= x->dims[i];
	for (int i = axis + 1; i < x->rank; i++)
		*inner *= x->dims[i];
}

bool
eval_gather(const struct node *n, const struct etensor *const *in, struct etensor **out)
{
	const struct etensor *x = in[0], *ix = in[1];
	int axis = axis_normal(n, NULL, attr_int(n, "axis"), x->rank);
	int64_t outer, inner, o = 0;

	if (axis < 0)
		return false;
	split(x, axis, &outer, &inner);
	for (int64_t r = 0; r < outer; r++)
		for (int64_t k = 0; k < ix->count; k++) {
			int64_t row = row_of(ix, k, x->dims[axis]);

			if (row < 0)
				return false;
			for (int64_t i = 0; i < inner; i++)
				et_move(out[0], o++, x, (r * x->dims[axis] + row) * inner + i);
		}
	return true;
}

bool
infer_scatter_add(struct graph *g, struct node *n, struct diag *d)
{
	int64_t dims[MAX_RANK];
	int rank, axis;

	if (!ops_known(n, d) || !indexed_dims(n, d, &rank, dims, &axis))
		return false;
	if (n->in[2]->dtype != n->in[0]->dtype)
		return diag_invalid(d, n->loc, "updates are %s, data %s", dtype_info[n->in[2]->dtype].name,
		    dtype_info[n->in[0]->dtype].name);
	if (!dims_equal(rank, dims, n->in[2]->rank, n->in[2]->dims))
		return diag_invalid(d, n->loc, "updates are %s; data and indices ask for %s",
		    ops_dims_text(g, n->in[2]->rank, n->in[2]->dims), ops_dims_text(g, rank, dims));
	return ops_set(n, d, 0, n->in[0]->dtype, n->in[0]->rank, n->in[0]->dims);
}

bool
grad_scatter_add(
    struct build *b, const struct node *n, struct value *const *dout, struct value **din)
{
	int axis;

	if (!dout[0])
		return true;
	axis = axis_normal(n, b->diag, attr_int(n, "axis"), n->in[0]->rank);
	if (axis < 0)
		return false;
	din[0] = dout[0];
	din[2] = b_gather(b, dout[0], n->in[1], axis);
	return din[2] != NULL;
}

static struct value *
scatter_as(struct build *b, const struct node *n, enum op op, struct value *data, struct value *updates)
{
	struct attr a = attr_of_int("axis", attr_int(n, "axis"));
	struct value *in[3] = {data, n->in[1], updates};

	return data && updates ? b_op(b, op, 3, in, 1, &a) : NULL;
}

/* Places are expected to be named once: of several updates of one, all get its gradient. */
bool
grad_scatter_set(struct build *b, const struct node *n, struct value *const *dout, struct value **din)
{
	int axis = axis_normal(n, b->diag, attr_int(n, "axis"), n->in[0]->rank);

	if (!dout[0] || axis < 0)
		return axis >= 0;
	din[0] = scatter_as(b, n, OP_scatter_set, dout[0], b_zeros_like(b, n->in[2]));
	din[2] = b_gather(b, dout[0], n->in[1], axis);
	return din[0] && din[2];
}

/* Ties share the gradient evenly, as reduce_max's do. */
bool
grad_scatter_extreme(struct build *b, const struct node *n, struct value *const *dout, struct value **din)
{
	struct value *x = n->in[0], *u = n->in[2], *hit, *uhit, *share;
	int axis = axis_normal(n, b->diag, attr_int(n, "axis"), x->rank);

	if (!dout[0] || axis < 0)
		return axis >= 0;
	hit = b_cast(b, b2(b, OP_eq, x, n->out[0]), x->dtype);
	uhit = b_cast(b, b2(b, OP_eq, u, b_gather(b, n->out[0], n->in[1], axis)), x->dtype);
	share = b_div(b, dout[0], scatter_as(b, n, OP_scatter_add, hit, uhit));
	din[0] = b_mul(b, hit, share);
	din[2] = b_mul(b, uhit, share ? b_gather(b, share, n->in[1], axis) : NULL);
	return din[0] && din[2];
}

/* A factor's derivative is the product of the others: p over the factor, p the product
 * of what is not zero, where no factor is; p where it alone is; else 0. */
static struct value *
others(struct build *b, struct value *f, struct value *is0, struct value *p, struct value *zeros)
{
	struct value *zero = b_scalar_like(b, f, 0), *one = b_scalar_like(b, f, 1);

	return b_select(b, is0, b_select(b, b2(b, OP_eq, zeros, one), p, zero),
	    b_select(b, b2(b, OP_eq, zeros, zero), b_div(b, p, b_select(b, is0, one, f)), zero));
}

bool
grad_scatter_mul(struct build *b, const struct node *n, struct value *const *dout, struct value **din)
{
	struct value *x = n->in[0], *u = n->in[2], *x0, *u0, *p, *z, *one = b_scalar_like(b, x, 1);
	int axis = axis_normal(n, b->diag, attr_int(n, "axis"), x->rank);

	if (!dout[0] || axis < 0)
		return axis >= 0;
	x0 = b2(b, OP_eq, x, b_scalar_like(b, x, 0));
	u0 = b2(b, OP_eq, u, b_scalar_like(b, u, 0));
	p = scatter_as(b, n, OP_scatter_mul, b_select(b, x0, one, x), b_select(b, u0, one, u));
	z = scatter_as(b, n, OP_scatter_add, b_cast(b, x0, x->dtype), b_cast(b, u0, x->dtype));
	if (!p || !z)
		return false;
	din[0] = b_mul(b, dout[0], others(b, x, x0, p, z));
	din[2] = b_mul(b, b_gather(b, dout[0], n->in[1], axis),
	    others(b, u, u0, b_gather(b, p, n->in[1], axis), b_gather(b, z, n->in[1], axis)));
	return din[0] && din[2];
}

static double
combine_f(enum op op, double a, double u)
{
	switch (op) {
	case OP_scatter_add: return a + u;
	case OP_scatter_mul: return a * u;
	case OP_scatter_max: return isnan(a) || a > u ? a : u;
	case OP_scatter_min: return isnan(a) || a < u ? a : u;
	default: return u;
	}
}

static int64_t
combine_i(enum op op, enum dtype t, int64_t a, int64_t u)
{
	bool less = t == DT_u64 ? (uint64_t)a < (uint64_t)u : a < u;

	switch (op) {
	case OP_scatter_add: return int_wrap(t, (int64_t)((uint64_t)a + (uint64_t)u));
	case OP_scatter_mul: return int_wrap(t, (int64_t)((uint64_t)a * (uint64_t)u));
	case OP_scatter_max: return less ? u : a;
	case OP_scatter_min: return less ? a : u;
	default: return u;
	}
}

bool
eval_scatter_add(const struct node *n, const struct etensor *const *in, struct etensor **out)
{
	const struct etensor *x = in[0], *ix = in[1], *u = in[2];
	int axis = axis_normal(n, NULL, attr_int(n, "axis"), x->rank);
	int64_t outer, inner, at = 0;

	if (axis < 0 || (n->op != OP_scatter_set && (x->s || dtype_info[x->dtype].class == DC_COMPLEX)))
		return false;
	eval_copy(n, in, out);
	split(x, axis, &outer, &inner);
	for (int64_t r = 0; r < outer; r++)
		for (int64_t k = 0; k < ix->count; k++) {
			int64_t row = row_of(ix, k, x->dims[axis]), o;

			if (row < 0)
				return false;
			o = (r * x->dims[axis] + row) * inner;
			for (int64_t i = 0; i < inner; i++, o++, at++)
				if (n->op == OP_scatter_set)
					et_move(out[0], o, u, at);
				else if (x->f)
					out[0]->f[o] = combine_f(n->op, out[0]->f[o], u->f[at]);
				else
					out[0]->i[o] = combine_i(n->op, x->dtype, out[0]->i[o], u->i[at]);
		}
	return true;
}

/* ---- compact: the rows where keep, in order */
bool
infer_compact(struct graph *g, struct node *n, struct diag *d)
{
	const struct value *x = n->in[0], *keep = n->in[1];
	const int64_t *u;
	int64_t dims[MAX_RANK];

	if (!ops_known(n, d))
		return false;
	if (keep->dtype != DT_bool || keep->rank != 1 || x->rank < 1 || keep->dims[0] != x->dims[0])
		return diag_invalid(d, n->loc, "rows of %s are chosen by %s: a bool for each is expected",
		    value_type_text(g, x), value_type_text(g, keep));
	if (attr_ints(n, "dims", &u) != 1)
		return diag_invalid(d, n->loc, "dims must be the number of rows kept");
	memcpy(dims, x->dims, sizeof dims);
	dims[0] = u[0];
	return ops_set(n, d, 0, x->dtype, x->rank, dims);
}

/* Row k of dy belongs to the k-th row kept: dx = scatter of dy at their numbers. */
bool
grad_compact(struct build *b, const struct node *n, struct value *const *dout, struct value **din)
{
	struct attr axis = attr_of_int("axis", 0);
	struct value *in[3];

	if (!dout[0])
		return true;
	in[0] = b_zeros_like(b, n->in[0]);
	in[1] = b_compact(b, b_iota(b, DT_i64, 1, n->in[0]->dims, 0), n->in[1], n->out[0]->dims[0]);
	in[2] = dout[0];
	din[0] = in[0] ? b_op(b, OP_scatter_add, 3, in, 1, &axis) : NULL;
	return din[0] != NULL;
}

bool
eval_compact(const struct node *n, const struct etensor *const *in, struct etensor **out)
{
	const struct etensor *x = in[0], *keep = in[1];
	struct etensor *y = out[0];
	int64_t row = 1, made = 0;

	(void)n;
	for (int i = 1; i < x->rank; i++)
		row *= x->dims[i];
	for (int64_t r = 0; r < keep->count && made < y->dims[0]; r++) {
		if (!keep->i[r])
			continue;
		for (int64_t i = 0; i < row; i++)
			et_move(y, made * row + i, x, r * row + i);
		made++;
	}
	return made == y->dims[0];
}
