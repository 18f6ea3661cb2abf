/* select_onnx.c -- operators that pick elements by value or by a given order. */
#include <math.h>

#include "ir/ops/ops_int.h"

enum { MAX_TOPK = 256 };

/* ---- TopK: x, k; the best one, k times over, taking out what was found.  Among
 * equals the lower index comes first, sorted or not. */
bool
expand_TopK(struct build *b, const struct node *n, struct value **outs)
{
	struct value *x = n->in[0], *left = n->in[0], *at[MAX_TOPK], *index, *in[2], *where;
	int axis = axis_normal(n, b->diag, attr_int(n, "axis"), x->rank);
	bool largest = attr_int(n, "largest");
	struct attr a[2];
	int64_t k;

	if (axis < 0 || !ops_int(b, n, 1, &k))
		return false;
	if (k < 0 || (dim_const(x->dims[axis]) && k > x->dims[axis]))
		return diag_invalid(b->diag, n->loc, "k is %lld, axis %d has %s", (long long)k, axis,
		    dim_text(b->g, x->dims[axis]));
	if (k < 1 || k > MAX_TOPK)
		return diag_unsupported(b->diag, n->loc, "k is %lld; 1 to %d is supported", (long long)k, MAX_TOPK);
	if (!dtype_is_float(x->dtype)) /* a value below all others is needed */
		left = b_cast(b, x, DT_f64);
	if (!left)
		return false;
	where = b_iota(b, DT_i64, x->rank, x->dims, axis);
	a[0] = attr_of_int("axis", axis);
	a[1] = attr_of_int("keep", 1);
	for (int64_t i = 0; i < k; i++) {
		if (!left || !(at[i] = b_op(b, largest ? OP_argmax : OP_argmin, 1, &left, 2, a)))
			return false;
		left = b_select(b, b2(b, OP_eq, where, at[i]),
		    b_scalar_like(b, left, largest ? -INFINITY : INFINITY), left);
	}
	index = k == 1 ? at[0] : b_concat(b, (int)k, at, axis);
	in[0] = x;
	in[1] = index;
	if (!index)
		return false;
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
		if (!dim_const(x->dims[a]) || size[i] < 0 || size[i] > INT32_MAX)
			return diag_unsupported(b->diag, n->loc, "size %lld of axis %d", (long long)size[i], a);
		by = size[i] - x->dims[a];
		lo[a] = by >= 0 ? by / 2 : -(-by / 2);
		hi[a] = by - lo[a];
	}
	return (outs[0] = b_pad(b, x, lo, hi, 0)) != NULL;
}

/* ---- Compress, NonZero: what a constant says */
bool
expand_Compress(struct build *b, const struct node *n, struct value **outs)
{
	struct value *x = n->in[0], *c = n->in[1];
	int64_t *ix, count, total, axis = 0;
	int k = 0;

	if (c->kind != VAL_CONST || c->dtype != DT_bool || c->rank != 1)
		return diag_unsupported(b->diag, n->loc, "the condition must be constant");
	if (!attr_has(n, "axis")) {
		total = dims_count(x->rank, x->dims);
		if (!ops_all_const(x->rank, x->dims))
			return diag_unsupported(b->diag, n->loc, "symbolic dims");
		x = b_reshape(b, x, 1, &total);
	} else if ((axis = axis_normal(n, b->diag, attr_int(n, "axis"), x->rank)) < 0)
		return false;
	if (!x || (dim_const(x->dims[axis]) && c->dims[0] > x->dims[axis]))
		return diag_invalid(b->diag, n->loc, "the condition is longer than axis %d", (int)axis);
	count = tensor_count(c->data);
	ix = arena_array(b->g->arena, int64_t, count + 1);
	for (int64_t i = 0; i < count; i++)
		if (dtype_get_i(DT_bool, c->data->data, i))
			ix[k++] = i;
	return (outs[0] = b_gather(b, x, b_ints(b, k, ix), (int)axis)) != NULL;
}

bool
expand_NonZero(struct build *b, const struct node *n, struct value **outs)
{
	struct value *x = n->in[0];
	int64_t idx[MAX_RANK] = {0}, total, count = 0, at = 0, dims[2];
	struct tensor *t;

	if (x->kind != VAL_CONST || x->dtype == DT_str || dtype_info[x->dtype].class == DC_COMPLEX)
		return diag_unsupported(b->diag, n->loc,
		    "the number of nonzero elements of \"%s\" is not known while compiling", x->name ? x->name : "");
	total = tensor_count(x->data);
	for (int64_t i = 0; i < total; i++)
		count += dtype_get_f(x->dtype, x->data->data, i) != 0;
	dims[0] = x->rank;
	dims[1] = count;
	t = tensor_new(b->g->arena, DT_i64, 2, dims);
	for (int64_t i = 0; i < total; i++) {
		if (dtype_get_f(x->dtype, x->data->data, i) != 0) {
			for (int r = 0; r < x->rank; r++)
				dtype_put_i(DT_i64, t->data, r * count + at, idx[r]);
			at++;
		}
		ops_next(x->rank, x->dims, idx);
	}
	outs[0] = graph_const(b->g, NULL, t);
	outs[0]->loc = b->loc;
	return true;
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
