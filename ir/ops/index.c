/* index.c -- gather and its adjoint.  Indices below zero count from the end;
 * one out of range is an error for the evaluator. */
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

bool
eval_scatter_add(const struct node *n, const struct etensor *const *in, struct etensor **out)
{
	const struct etensor *x = in[0], *ix = in[1], *u = in[2];
	int axis = axis_normal(n, NULL, attr_int(n, "axis"), x->rank);
	int64_t outer, inner, at = 0;

	if (axis < 0 || x->s || dtype_info[x->dtype].class == DC_COMPLEX)
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
				if (x->f)
					out[0]->f[o] += u->f[at];
				else
					out[0]->i[o] = int_wrap(
					    x->dtype, (int64_t)((uint64_t)out[0]->i[o] + (uint64_t)u->i[at]));
		}
	return true;
}
