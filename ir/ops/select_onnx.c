/* select_onnx.c -- operators that pick elements by value or by a given order. */
#include <math.h>

#include "ir/ops/ops_int.h"

/* The least or greatest value of a type, NaN being above all numbers. */
struct value *
ops_extreme(struct build *b, enum dtype t, bool greatest)
{
	int bits = dtype_info[t].bits;
	struct tensor *c;

	if (dtype_is_float(t))
		return b_scalar(b, t, greatest ? NAN : -INFINITY);
	c = tensor_new(b->g->arena, t, 0, NULL);
	if (dtype_info[t].class == DC_INT)
		dtype_put_i(t, c->data, 0, greatest ? (int64_t)(UINT64_MAX >> (65 - bits)) : INT64_MIN >> (64 - bits));
	else
		dtype_put_i(t, c->data, 0, greatest ? -1 : 0);
	return graph_const(b->g, NULL, c);
}

/* Where the size of an axis is found while running, the elements past it are set apart,
 * so that they come last in the order. */
struct value *
ops_set_apart(struct build *b, struct value *x, int axis, bool descending)
{
	int64_t thin[MAX_RANK];

	if (!x || dim_const(x->dims[axis]))
		return x;
	for (int i = 0; i < x->rank; i++)
		thin[i] = i == axis ? x->dims[i] : 1;
	return b_select(b, b2(b, OP_lt, b_iota(b, DT_i64, x->rank, thin, axis), b_dim(b, x->dims[axis])), x,
	    ops_extreme(b, x->dtype, !descending));
}

struct value *
ops_sort(struct build *b, struct value *keys, bool descending, int64_t first)
{
	struct attr a[2] = {attr_of_int("descending", descending), attr_of_int("first", first)};

	keys = keys ? ops_set_apart(b, keys, keys->rank - 2, descending) : NULL;
	return keys ? b_op(b, OP_sort, 1, &keys, 2, a) : NULL;
}

/* ---- TopK: x, k; among equals the lower index comes first, sorted or not. */
static bool
topk_count(struct build *b, const struct node *n, int64_t dim, int64_t *k)
{
	struct sdim *s;
	int count = attr_has(n, "measured") ? -1 : value_sdims(b->g, n->in[1], &s); /* once measured, always */
	struct value *v;

	if (count >= 0) {
		if (count != 1 || (!s[0].symbolic && (s[0].v < 0 || (dim_const(dim) && s[0].v > dim))))
			return diag_invalid(b->diag, n->loc, "k is %lld (%d numbers), the axis has %s",
			    (long long)(count ? s[0].v : 0), count, dim_text(b->g, dim));
		*k = s[0].v;
		return true;
	}
	if (dim_hi(b->g, dim) == INT64_MAX)
		return diag_unsupported(b->diag, n->loc, "k found while running, of an axis without a bound");
	v = b_cast(b, b_reshape(b, n->in[1], 0, NULL), DT_i64);
	v = v ? b_min(b, b_max(b, v, b_scalar(b, DT_i64, 0)), b_dim(b, dim)) : NULL;
	*k = ops_measure(b, n, 0, v, dim_hi(b->g, dim));
	return v != NULL;
}

bool
expand_TopK(struct build *b, const struct node *n, struct value **outs)
{
	struct value *x = n->in[0], *index, *in[2];
	int axis = axis_normal(n, b->diag, attr_int(n, "axis"), x->rank), last = x->rank - 1;
	bool largest = attr_int(n, "largest");
	int64_t k = 0, perm[MAX_RANK], back[MAX_RANK], start[MAX_RANK] = {0}, count[MAX_RANK], step[MAX_RANK];
	struct attr a[2];

	if (axis < 0 || !topk_count(b, n, x->dims[axis], &k))
		return false;
	a[0] = attr_of_int("axis", axis);
	a[1] = attr_of_int("keep", 1);
	if (k == 1 && dim_const(x->dims[axis]))
		index = b_op(b, largest ? OP_argmax : OP_argmin, 1, &x, 2, a);
	else {
		for (int i = 0; i <= last; i++) {
			perm[i] = i == last ? axis : i >= axis ? i + 1 : i;
			back[i] = i == axis ? last : i > axis ? i - 1 : i;
			step[i] = 1;
		}
		x = b_transpose(b, x, perm);
		index = x ? ops_sort(b, b_unsqueeze(b, x, x->rank), largest, dim_hi(b->g, k)) : NULL;
		if (!index)
			return false;
		memcpy(count, x->dims, sizeof count);
		count[last] = k;
		index = b_transpose(b, b_slice(b, index, start, count, step), back);
	}
	in[0] = n->in[0];
	in[1] = index;
	if (!index)
		return false;
	if (last == 0)
		outs[0] = b_gather(b, in[0], index, 0);
	else
		outs[0] = b_op(b, OP_GatherElements, 2, in, 1, a);
	if (ops_wants(n, 1))
		outs[1] = index;
	return outs[0] != NULL;
}

/* ---- ReverseSequence: the first sequence_lens[b] elements along time_axis */
bool
expand_ReverseSequence(struct build *b, const struct node *n, struct value **outs)
{
	struct value *x = n->in[0], *len = n->in[1], *t, *in[2];
	int64_t ta = attr_int(n, "time_axis"), ba = attr_int(n, "batch_axis"), dims[MAX_RANK];
	struct attr a = attr_of_int("axis", ta);

	if (x->rank < 2 || ta < 0 || ta > 1 || ba < 0 || ba > 1 || ta == ba || len->rank != 1 ||
	    len->dims[0] != x->dims[ba] || !dtype_is_int(len->dtype))
		return diag_invalid(b->diag, n->loc, "input %s, sequence_lens %s, time_axis %lld, batch_axis %lld",
		    ops_dims_text(b->g, x->rank, x->dims), ops_dims_text(b->g, len->rank, len->dims),
		    (long long)ta, (long long)ba);
	for (int i = 0; i < x->rank; i++)
		dims[i] = i == ba ? x->dims[ba] : 1;
	len = b_reshape(b, b_cast(b, len, DT_i64), x->rank, dims);
	t = b_iota(b, DT_i64, x->rank, x->dims, (int)ta);
	in[0] = x;
	in[1] = b_select(b, b2(b, OP_lt, t, len), b_sub(b, b_adds(b, len, -1), t), t);
	return in[1] && (outs[0] = b_op(b, OP_GatherElements, 2, in, 1, &a)) != NULL;
}

/* Axis a, whose size is known at run time only, cut or padded about its middle. */
static struct value *
centered(struct build *b, struct value *x, int a, int64_t size)
{
	struct value *dim = b_dim(b, x->dims[a]), *want = b_dim(b, size), *two = b_dim(b, 2), *at, *in, *zero = b_dim(b, 0);
	int64_t thin[MAX_RANK];

	/* element o is x's o - lo; halves round down, of what is cut too */
	at = b_iota(b, DT_i64, 1, &size, 0);
	at = b_sub(b, at, b_select(b, b2(b, OP_le, dim, want), b_div(b, b_sub(b, want, dim), two),
	    b_neg(b, b_div(b, b_sub(b, dim, want), two))));
	in = at ? b2(b, OP_and, b2(b, OP_le, zero, at), b2(b, OP_lt, at, dim)) : NULL;
	for (int i = 0; i < x->rank; i++)
		thin[i] = i == a ? size : 1;
	at = in ? b_gather(b, x, b_max(b, b_min(b, at, b_adds(b, dim, -1)), zero), a) : NULL;
	return at ? b_select(b, b_reshape(b, in, x->rank, thin), at, b_scalar_like(b, x, 0)) : NULL;
}

/* ---- CenterCropPad: to given sizes of the axes, about the middle */
bool
expand_CenterCropPad(struct build *b, const struct node *n, struct value **outs)
{
	struct value *x = n->in[0];
	const int64_t *axes;
	int64_t *size, lo[MAX_RANK] = {0}, hi[MAX_RANK] = {0};
	int na = attr_ints(n, "axes", &axes), k = ops_ints(b, n, 1, &size);

	if (k < 0)
		return false;
	if (k != (na ? na : x->rank))
		return diag_invalid(b->diag, n->loc, "%d sizes for %d axes", k, na ? na : x->rank);
	for (int i = 0; i < k; i++) {
		int a = axis_normal(n, b->diag, na ? axes[i] : i, x->rank);
		int64_t by;

		if (a < 0)
			return false;
		if (size[i] < 0 || size[i] > INT32_MAX)
			return diag_invalid(b->diag, n->loc, "size %lld of axis %d", (long long)size[i], a);
		if (!dim_const(x->dims[a])) {
			if (!(x = centered(b, x, a, size[i])))
				return false;
			continue;
		}
		by = size[i] - x->dims[a];
		lo[a] = by >= 0 ? by / 2 : -(-by / 2);
		hi[a] = by - lo[a];
	}
	return (outs[0] = b_pad(b, x, lo, hi, 0)) != NULL;
}

/* ---- CumProd: element j is the product of those up to it, by a mask of [.., i, j] */
bool
expand_CumProd(struct build *b, const struct node *n, struct value **outs)
{
	struct value *x = n->in[0], *from, *to, *t, *wide;
	bool exclusive = attr_int(n, "exclusive"), reverse = attr_int(n, "reverse");
	int64_t axis, one[MAX_RANK], two[MAX_RANK], red;
	int a;

	if (!ops_int(b, n, 1, &axis) || (a = axis_normal(n, b->diag, axis, x->rank)) < 0)
		return false;
	if (x->rank >= MAX_RANK || !(wide = b_unsqueeze(b, x, a + 1)))
		return diag_unsupported(b->diag, n->loc, "rank %d", x->rank);
	for (int i = 0; i <= x->rank; i++) {
		one[i] = i == a ? x->dims[a] : 1;
		two[i] = i == a + 1 ? x->dims[a] : 1;
	}
	from = b_iota(b, DT_i64, x->rank + 1, one, a);
	to = b_iota(b, DT_i64, x->rank + 1, two, a + 1);
	t = reverse ? b2(b, exclusive ? OP_lt : OP_le, to, from) : b2(b, exclusive ? OP_lt : OP_le, from, to);
	red = a;
	outs[0] = b_reduce(b, OP_reduce_prod, b_select(b, t, wide, b_scalar_like(b, x, 1)), 1, &red, false);
	return outs[0] != NULL;
}
