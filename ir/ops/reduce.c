/* reduce.c -- sum, product, maximum, minimum over axes, and the index of an extreme. */
#include <math.h>

#include "ir/ops/ops_int.h"

bool
infer_reduce(struct graph *g, struct node *n, struct diag *d)
{
	const struct value *x = n->in[0];
	int64_t dims[MAX_RANK];
	bool gone[MAX_RANK], keep = attr_int(n, "keep");
	int rank = 0;

	(void)g;
	if (!ops_known(n, d))
		return false;
	if (!dtype_is_float(x->dtype) && !dtype_is_int(x->dtype) && x->dtype != DT_bool)
		return diag_invalid(d, n->loc, "reduction of %s", dtype_info[x->dtype].name);
	if (!ops_axes(n, d, x->rank, gone))
		return false;
	for (int i = 0; i < x->rank; i++)
		if (!gone[i] || keep)
			dims[rank++] = gone[i] ? 1 : x->dims[i];
	return ops_set(n, d, 0, x->dtype, rank, dims);
}

/* v, of the result's dims, with the reduced axes back as 1. */
static struct value *
keep_axes(struct build *b, const struct node *n, struct value *v)
{
	const struct value *x = n->in[0];
	int64_t dims[MAX_RANK];
	bool gone[MAX_RANK];

	if (!v || !ops_axes(n, b->diag, x->rank, gone))
		return NULL;
	if (attr_int(n, "keep"))
		return v;
	for (int i = 0; i < x->rank; i++)
		dims[i] = gone[i] ? 1 : x->dims[i];
	return b_reshape(b, v, x->rank, dims);
}

/* The same reduction of another tensor, axes kept. */
static struct value *
again(struct build *b, const struct node *n, enum op op, struct value *x)
{
	int64_t axes[MAX_RANK];
	bool gone[MAX_RANK];
	int k = 0;

	if (!x || !ops_axes(n, b->diag, x->rank, gone))
		return NULL;
	for (int i = 0; i < x->rank; i++)
		if (gone[i])
			axes[k++] = i;
	return b_reduce(b, op, x, k, axes, true);
}

bool
grad_reduce_sum(struct build *b, const struct node *n, struct value *const *dout, struct value **din)
{
	const struct value *x = n->in[0];

	if (!dout[0])
		return true;
	din[0] = b_expand(b, keep_axes(b, n, dout[0]), x->rank, x->dims);
	return din[0] != NULL;
}

/* dx_i = dy * product of the others.  With p the product of the nonzero elements
 * and z the number of zeros: p/x_i where z = 0; p at the only zero where z = 1. */
bool
grad_reduce_prod(
    struct build *b, const struct node *n, struct value *const *dout, struct value **din)
{
	struct value *x = n->in[0], *zero, *one, *is0, *safe, *p, *z, *g;

	if (!dout[0])
		return true;
	zero = b_scalar_like(b, x, 0);
	one = b_scalar_like(b, x, 1);
	is0 = b2(b, OP_eq, x, zero);
	safe = b_select(b, is0, one, x);
	p = again(b, n, OP_reduce_prod, safe);
	z = again(b, n, OP_reduce_sum, is0 ? b_cast(b, is0, x->dtype) : NULL);
	g = b_select(b, is0, b_select(b, b2(b, OP_eq, z, one), p, zero),
	    b_select(b, b2(b, OP_eq, z, zero), b_div(b, p, safe), zero));
	din[0] = b_mul(b, keep_axes(b, n, dout[0]), g);
	return din[0] != NULL;
}

/* Ties share the gradient evenly, as torch.amax and amin. */
static bool
grad_extreme(struct build *b, const struct node *n, struct value *const *dout, struct value **din)
{
	struct value *x = n->in[0], *mask, *share;

	if (!dout[0])
		return true;
	mask = b_cast(b, b2(b, OP_eq, x, keep_axes(b, n, n->out[0])), x->dtype);
	share = b_div(b, keep_axes(b, n, dout[0]), again(b, n, OP_reduce_sum, mask));
	din[0] = b_mul(b, mask, share);
	return din[0] != NULL;
}

bool
grad_reduce_max(struct build *b, const struct node *n, struct value *const *dout, struct value **din)
{
	return grad_extreme(b, n, dout, din);
}

bool
grad_reduce_min(struct build *b, const struct node *n, struct value *const *dout, struct value **din)
{
	return grad_extreme(b, n, dout, din);
}

static int64_t
reduce_i(enum op op, enum dtype t, int64_t a, int64_t b)
{
	bool less = t == DT_u64 ? (uint64_t)a < (uint64_t)b : a < b;

	switch (op) {
	case OP_reduce_sum: return int_wrap(t, (int64_t)((uint64_t)a + (uint64_t)b));
	case OP_reduce_prod: return int_wrap(t, (int64_t)((uint64_t)a * (uint64_t)b));
	case OP_reduce_max: return less ? b : a;
	default: return less ? a : b;
	}
}

static double
reduce_f(enum op op, double a, double b)
{
	switch (op) {
	case OP_reduce_sum: return a + b;
	case OP_reduce_prod: return a * b;
	case OP_reduce_max: return isnan(a) || a > b ? a : b;
	default: return isnan(a) || a < b ? a : b;
	}
}

static void
start_i(enum op op, struct etensor *y)
{
	int bits = dtype_info[y->dtype].bits;
	bool uns = dtype_info[y->dtype].class != DC_INT;
	int64_t lo = uns ? 0 : bits == 64 ? INT64_MIN : -(INT64_C(1) << (bits - 1));
	int64_t hi = y->dtype == DT_bool ? 1
	    : bits == 64                 ? (uns ? -1 : INT64_MAX)
	    : uns                        ? (INT64_C(1) << bits) - 1
	                                 : (INT64_C(1) << (bits - 1)) - 1;

	for (int64_t i = 0; i < y->count; i++)
		y->i[i] = op == OP_reduce_sum ? 0 : op == OP_reduce_prod ? 1 : op == OP_reduce_max ? lo : hi;
}

bool
eval_reduce(const struct node *n, const struct etensor *const *in, struct etensor **out)
{
	const struct etensor *x = in[0];
	struct etensor *y = out[0];
	int64_t idx[MAX_RANK] = {0}, stride[MAX_RANK] = {0}, s = 1;
	bool gone[MAX_RANK];

	if (!ops_axes(n, NULL, x->rank, gone))
		return false;
	for (int i = x->rank - 1; i >= 0; i--)
		if (!gone[i]) {
			stride[i] = s;
			s *= x->dims[i];
		}
	if (y->f)
		for (int64_t i = 0; i < y->count; i++)
			y->f[i] = n->op == OP_reduce_sum ? 0
			    : n->op == OP_reduce_prod    ? 1
			    : n->op == OP_reduce_max     ? -INFINITY
			                                 : INFINITY;
	else
		start_i(n->op, y);
	for (int64_t k = 0; k < x->count; k++) {
		int64_t o = 0;

		for (int i = 0; i < x->rank; i++)
			o += stride[i] * idx[i];
		if (y->f)
			y->f[o] = reduce_f(n->op, y->f[o], x->f[k]);
		else
			y->i[o] = reduce_i(n->op, y->dtype, y->i[o], x->i[k]);
		ops_next(x->rank, x->dims, idx);
	}
	return true;
}

bool
infer_argreduce(struct graph *g, struct node *n, struct diag *d)
{
	const struct value *x = n->in[0];
	int64_t dims[MAX_RANK];
	int rank = 0, axis;

	(void)g;
	if (!ops_known(n, d) || (axis = axis_normal(n, d, attr_int(n, "axis"), x->rank)) < 0)
		return false;
	if (!dtype_is_float(x->dtype) && !dtype_is_int(x->dtype))
		return diag_invalid(d, n->loc, "reduction of %s", dtype_info[x->dtype].name);
	if (x->dims[axis] == 0)
		return diag_invalid(d, n->loc, "axis %d is empty: no index to give", axis);
	for (int i = 0; i < x->rank; i++)
		if (i != axis || attr_int(n, "keep"))
			dims[rank++] = i == axis ? 1 : x->dims[i];
	return ops_set(n, d, 0, DT_i64, rank, dims);
}

bool
eval_argreduce(const struct node *n, const struct etensor *const *in, struct etensor **out)
{
	const struct etensor *x = in[0];
	int axis = axis_normal(n, NULL, attr_int(n, "axis"), x->rank);
	bool last = attr_int(n, "last");
	int64_t outer = 1, inner = 1;

	if (axis < 0)
		return false;
	for (int i = 0; i < axis; i++)
		outer *= x->dims[i];
	for (int i = axis + 1; i < x->rank; i++)
		inner *= x->dims[i];
	for (int64_t r = 0; r < outer; r++)
		for (int64_t c = 0; c < inner; c++) {
			int64_t best = 0;

			for (int64_t k = 1; k < x->dims[axis]; k++) {
				int64_t p = (r * x->dims[axis] + k) * inner + c;
				int64_t q = (r * x->dims[axis] + best) * inner + c;
				bool more, equal;

				if (x->f) {
					more = x->f[p] > x->f[q];
					equal = x->f[p] == x->f[q];
				} else {
					more = x->dtype == DT_u64 ? (uint64_t)x->i[p] > (uint64_t)x->i[q]
					                          : x->i[p] > x->i[q];
					equal = x->i[p] == x->i[q];
				}
				if (equal ? last : (n->op == OP_argmax) == more)
					best = k;
			}
			out[0]->i[r * inner + c] = best;
		}
	return true;
}
