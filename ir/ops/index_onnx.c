/* index_onnx.c -- the other gathers and scatters, as gather and scatter_add over
 * the data in one row: an index tuple becomes one number. */
#include "ir/ops/ops_int.h"

static bool
sized(struct build *b, const struct node *n, int k)
{
	for (int i = 0; i < k; i++)
		if (!ops_all_const(n->in[i]->rank, n->in[i]->dims))
			return diag_unsupported(b->diag, n->loc, "symbolic dims %s",
			    ops_dims_text(b->g, n->in[i]->rank, n->in[i]->dims));
	if (!dtype_is_int(n->in[1]->dtype))
		return diag_invalid(b->diag, n->loc, "indices are %s", dtype_info[n->in[1]->dtype].name);
	return true;
}

static struct value *
wrapped(struct build *b, struct value *ix, int64_t dim)
{
	struct value *low;

	if (!ix || !(ix = b_cast(b, ix, DT_i64)))
		return NULL;
	low = b2(b, OP_lt, ix, b_scalar(b, DT_i64, 0));
	return b_select(b, low, b_adds(b, ix, (double)dim), ix);
}

/* data in one row */
static struct value *
flat(struct build *b, struct value *x)
{
	int64_t size = x ? dims_count(x->rank, x->dims) : 0;

	return x ? b_reshape(b, x, 1, &size) : NULL;
}

/* For every element of ix (of data's rank) the place in the data whose index
 * along axis is that element, and elsewhere its own. */
static struct value *
element_places(struct build *b, const struct node *n, int axis)
{
	const struct value *x = n->in[0], *ix = n->in[1];
	int64_t stride[MAX_RANK];
	struct value *at;

	ops_strides(x->rank, x->dims, stride);
	at = b_muls(b, wrapped(b, n->in[1], x->dims[axis]), (double)stride[axis]);
	for (int i = 0; i < ix->rank; i++) {
		int64_t thin[MAX_RANK];

		if (i == axis || ix->dims[i] == 1)
			continue;
		for (int j = 0; j < ix->rank; j++)
			thin[j] = j == i ? ix->dims[j] : 1;
		at = b_add(b, at, b_muls(b, b_iota(b, DT_i64, ix->rank, thin, i), (double)stride[i]));
	}
	return at;
}

bool
expand_GatherElements(struct build *b, const struct node *n, struct value **outs)
{
	const struct value *x = n->in[0], *ix = n->in[1];
	int axis = axis_normal(n, b->diag, attr_int(n, "axis"), x->rank);

	if (axis < 0 || !sized(b, n, 2))
		return false;
	if (ix->rank != x->rank)
		return diag_invalid(b->diag, n->loc, "indices of rank %d for data of rank %d", ix->rank, x->rank);
	for (int i = 0; i < x->rank; i++)
		if (i != axis && ix->dims[i] > x->dims[i])
			return diag_invalid(b->diag, n->loc, "indices %s reach beyond data %s",
			    ops_dims_text(b->g, ix->rank, ix->dims), ops_dims_text(b->g, x->rank, x->dims));
	outs[0] = b_gather(b, flat(b, n->in[0]), element_places(b, n, axis), 0);
	return outs[0] != NULL;
}

/* Index tuples along the last axis of ix, of length k, into axes [batch, batch+k)
 * of the data: the number of the addressed block.  lead: product of the batch dims. */
static struct value *
tuple_places(struct build *b, const struct node *n, int batch, int64_t *inner)
{
	const struct value *x = n->in[0];
	struct value *ix = n->in[1], *at = NULL;
	int last = ix->rank - 1;
	int64_t k = ix->dims[last], start[MAX_RANK] = {0}, count[MAX_RANK], step[MAX_RANK], stride = 1;

	*inner = 1;
	for (int i = batch + (int)k; i < x->rank; i++)
		*inner *= x->dims[i];
	memcpy(count, ix->dims, sizeof count);
	count[last] = 1;
	for (int i = 0; i < MAX_RANK; i++)
		step[i] = 1;
	for (int j = (int)k - 1; j >= 0; j--) {
		struct value *one;

		start[last] = j;
		one = wrapped(b, b_slice(b, ix, start, count, step), x->dims[batch + j]);
		one = b_muls(b, one, (double)stride);
		at = at ? b_add(b, at, one) : one;
		stride *= x->dims[batch + j];
	}
	at = at ? b_reshape(b, at, last, ix->dims) : NULL;
	for (int i = batch - 1; i >= 0; i--) {
		int64_t thin[MAX_RANK];

		for (int j = 0; j < last; j++)
			thin[j] = j == i ? ix->dims[j] : 1;
		at = b_add(b, at, b_muls(b, b_iota(b, DT_i64, last, thin, i), (double)stride));
		stride *= x->dims[i];
	}
	return at;
}

static bool
tuples_fit(struct build *b, const struct node *n, int batch)
{
	const struct value *x = n->in[0], *ix = n->in[1];

	if (!sized(b, n, 2))
		return false;
	if (ix->rank < 1 || batch < 0 || batch >= ix->rank || batch >= x->rank ||
	    ix->dims[ix->rank - 1] < 1 || ix->dims[ix->rank - 1] > x->rank - batch)
		return diag_invalid(b->diag, n->loc, "indices %s for data %s, batch_dims %d",
		    ops_dims_text(b->g, ix->rank, ix->dims), ops_dims_text(b->g, x->rank, x->dims), batch);
	for (int i = 0; i < batch; i++)
		if (ix->dims[i] != x->dims[i])
			return diag_invalid(b->diag, n->loc, "batch dims of %s and %s differ",
			    ops_dims_text(b->g, ix->rank, ix->dims), ops_dims_text(b->g, x->rank, x->dims));
	return true;
}

bool
expand_GatherND(struct build *b, const struct node *n, struct value **outs)
{
	struct value *x = n->in[0], *ix = n->in[1], *at, *y;
	int64_t batch = attr_int(n, "batch_dims"), inner, dims[2 * MAX_RANK], two[2];
	int k = 0;

	if (batch < 0 || batch > MAX_RANK || !tuples_fit(b, n, (int)batch))
		return batch < 0 || batch > MAX_RANK
		    ? diag_invalid(b->diag, n->loc, "batch_dims %lld", (long long)batch) : false;
	at = tuple_places(b, n, (int)batch, &inner);
	two[1] = inner;
	two[0] = inner ? dims_count(x->rank, x->dims) / inner : 0;
	y = b_gather(b, b_reshape(b, x, 2, two), at, 0);
	for (int i = 0; i < ix->rank - 1; i++)
		dims[k++] = ix->dims[i];
	for (int i = (int)(batch + ix->dims[ix->rank - 1]); i < x->rank; i++)
		dims[k++] = x->dims[i];
	if (k > MAX_RANK)
		return diag_unsupported(b->diag, n->loc, "result has rank %d", k);
	return (outs[0] = b_reshape(b, y, k, dims)) != NULL;
}

/* y[block] = x[block] op every update placed there, op max, min or mul: all updates are
 * compared with all blocks, which a size limits. */
static struct value *
scatter_reduced(struct build *b, const struct node *n, struct value *at, int64_t inner, const char *how)
{
	struct value *x = n->in[0], *flat, *u, *hit, *y;
	int64_t count = dims_count(at->rank, at->dims), blocks = inner ? dims_count(x->rank, x->dims) / inner : 0;
	int64_t rows[3] = {count, 1, 1}, wide[3] = {1, blocks, inner}, upd[3] = {count, 1, inner}, axis = 0;
	int64_t two[2] = {blocks, inner};
	bool mul = !strcmp(how, "mul");
	enum op op = mul ? OP_reduce_prod : !strcmp(how, "max") ? OP_reduce_max : OP_reduce_min;

	if (!mul && strcmp(how, "max") && strcmp(how, "min")) {
		diag_invalid(b->diag, n->loc, "reduction \"%s\"", how);
		return NULL;
	}
	if (count == 0 || blocks == 0)
		return x;
	if (count > INT64_C(1) << 24 || blocks > (INT64_C(1) << 24) / count) {
		diag_unsupported(b->diag, n->loc, "reduction \"%s\" of %lld updates over %lld places", how,
		    (long long)count, (long long)blocks);
		return NULL;
	}
	wide[2] = 1;
	hit = b2(b, OP_eq, b_reshape(b, at, 3, rows), b_iota(b, DT_i64, 3, wide, 1));
	wide[2] = inner;
	u = b_reshape(b, n->in[2], 3, upd);
	flat = b_reshape(b, x, 3, wide);
	y = b_select(b, hit, u, mul ? b_scalar_like(b, x, 1) : flat);
	y = b_reduce(b, op, y, 1, &axis, false);
	flat = b_reshape(b, x, 2, two);
	y = mul ? b_mul(b, y, flat) : op == OP_reduce_max ? b_max(b, y, flat) : b_min(b, y, flat);
	return y ? b_reshape(b, y, x->rank, x->dims) : NULL;
}

/* Scatter rows `updates` [places..., inner] into data as [blocks, inner].  Without
 * a reduction the places are distinct, as ONNX requires: what is hit is replaced. */
static struct value *
scatter(struct build *b, const struct node *n, struct value *at, int64_t inner)
{
	struct value *x = n->in[0], *u = n->in[2], *in[3], *y, *hit;
	const char *how = attr_string(n, "reduction");
	struct attr axis = attr_of_int("axis", 0);
	int64_t two[2], udims[2], count;
	bool none = strcmp(how, "none") == 0;

	if (!at)
		return NULL;
	if (!none && strcmp(how, "add"))
		return scatter_reduced(b, n, at, inner, how);
	count = dims_count(at->rank, at->dims);
	two[0] = inner ? dims_count(x->rank, x->dims) / inner : 0;
	two[1] = udims[1] = inner;
	udims[0] = count;
	in[1] = b_reshape(b, at, 1, &count);
	in[2] = b_reshape(b, u, 2, udims);
	if (!none) {
		in[0] = b_reshape(b, x, 2, two);
		y = b_op(b, OP_scatter_add, 3, in, 1, &axis);
		return y ? b_reshape(b, y, x->rank, x->dims) : NULL;
	}
	in[0] = b_expand(b, b_scalar_like(b, x, 0), 2, two);
	y = b_op(b, OP_scatter_add, 3, in, 1, &axis);
	two[1] = udims[1] = 1;
	in[0] = b_expand(b, b_scalar(b, DT_i32, 0), 2, two);
	in[2] = b_expand(b, b_scalar(b, DT_i32, 1), 2, udims);
	hit = b_op(b, OP_scatter_add, 3, in, 1, &axis);
	hit = b2(b, OP_lt, b_scalar(b, DT_i32, 0), hit);
	two[1] = inner;
	y = b_select(b, hit, y, b_reshape(b, x, 2, two));
	return y ? b_reshape(b, y, x->rank, x->dims) : NULL;
}

bool
expand_ScatterND(struct build *b, const struct node *n, struct value **outs)
{
	struct value *at;
	int64_t inner;

	if (!tuples_fit(b, n, 0) || !sized(b, n, 3))
		return false;
	at = tuple_places(b, n, 0, &inner);
	return (outs[0] = scatter(b, n, at, inner)) != NULL;
}

bool
expand_ScatterElements(struct build *b, const struct node *n, struct value **outs)
{
	const struct value *x = n->in[0], *ix = n->in[1], *u = n->in[2];
	int axis = axis_normal(n, b->diag, attr_int(n, "axis"), x->rank);

	if (axis < 0 || !sized(b, n, 3))
		return false;
	if (ix->rank != x->rank || !dims_equal(ix->rank, ix->dims, u->rank, u->dims))
		return diag_invalid(b->diag, n->loc, "indices %s and updates %s for data %s",
		    ops_dims_text(b->g, ix->rank, ix->dims), ops_dims_text(b->g, u->rank, u->dims),
		    ops_dims_text(b->g, x->rank, x->dims));
	return (outs[0] = scatter(b, n, element_places(b, n, axis), 1)) != NULL;
}
