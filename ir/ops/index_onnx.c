/* index_onnx.c -- the other gathers and scatters, as gather and scatter_add over
 * the data in one row: an index tuple becomes one number. */
#include "ir/ops/ops_int.h"

static bool
indexed(struct build *b, const struct node *n)
{
	return dtype_is_int(n->in[1]->dtype) ||
	    diag_invalid(b->diag, n->loc, "indices are %s", dtype_info[n->in[1]->dtype].name);
}

static struct value *
wrapped(struct build *b, struct value *ix, int64_t dim)
{
	struct value *low;

	if (!ix || !(ix = b_cast(b, ix, DT_i64)))
		return NULL;
	low = b2(b, OP_lt, ix, b_scalar(b, DT_i64, 0));
	return b_select(b, low, b_add(b, ix, b_dim(b, dim)), ix);
}

static int64_t
product(struct build *b, int n, const int64_t *dims)
{
	int64_t p = 1;

	for (int i = 0; i < n; i++)
		p = dim_mul(b->g, p, dims[i]);
	return p;
}

/* v times the number of elements of these dims */
static struct value *
strided(struct build *b, struct value *v, int n, const int64_t *dims)
{
	return b_mul(b, v, b_count(b, n, dims));
}

/* data in one row */
static struct value *
flat(struct build *b, struct value *x)
{
	int64_t size = x ? product(b, x->rank, x->dims) : 0;

	return x ? b_reshape(b, x, 1, &size) : NULL;
}

/* For every element of ix (of data's rank) the place in the data whose index
 * along axis is that element, and elsewhere its own. */
static struct value *
element_places(struct build *b, const struct node *n, int axis)
{
	const struct value *x = n->in[0], *ix = n->in[1];
	struct value *at;

	at = strided(b, wrapped(b, n->in[1], x->dims[axis]), x->rank - axis - 1, x->dims + axis + 1);
	for (int i = 0; i < ix->rank; i++) {
		int64_t thin[MAX_RANK];

		if (i == axis || ix->dims[i] == 1)
			continue;
		for (int j = 0; j < ix->rank; j++)
			thin[j] = j == i ? ix->dims[j] : 1;
		at = b_add(b, at, strided(b, b_iota(b, DT_i64, ix->rank, thin, i), x->rank - i - 1, x->dims + i + 1));
	}
	return at;
}

bool
expand_GatherElements(struct build *b, const struct node *n, struct value **outs)
{
	const struct value *x = n->in[0], *ix = n->in[1];
	int axis = axis_normal(n, b->diag, attr_int(n, "axis"), x->rank);

	if (axis < 0 || !indexed(b, n))
		return false;
	if (ix->rank != x->rank)
		return diag_invalid(b->diag, n->loc, "indices of rank %d for data of rank %d", ix->rank, x->rank);
	for (int i = 0; i < x->rank; i++)
		if (i != axis && dim_const(x->dims[i]) && dim_lo(b->g, ix->dims[i]) > x->dims[i])
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
	int last = ix->rank - 1, k = (int)ix->dims[last];
	int64_t start[MAX_RANK] = {0}, count[MAX_RANK], step[MAX_RANK];

	*inner = product(b, x->rank - batch - k, x->dims + batch + k);
	memcpy(count, ix->dims, sizeof count);
	count[last] = 1;
	for (int i = 0; i < MAX_RANK; i++)
		step[i] = 1;
	for (int j = k - 1; j >= 0; j--) {
		struct value *one;

		start[last] = j;
		one = wrapped(b, b_slice(b, ix, start, count, step), x->dims[batch + j]);
		one = strided(b, one, k - j - 1, x->dims + batch + j + 1);
		at = at ? b_add(b, at, one) : one;
	}
	at = at ? b_reshape(b, at, last, ix->dims) : NULL;
	for (int i = batch - 1; i >= 0; i--) {
		int64_t thin[MAX_RANK];

		for (int j = 0; j < last; j++)
			thin[j] = j == i ? ix->dims[j] : 1;
		at = b_add(b, at, strided(b, b_iota(b, DT_i64, last, thin, i), batch + k - i - 1, x->dims + i + 1));
	}
	return at;
}

static bool
tuples_fit(struct build *b, const struct node *n, int batch)
{
	const struct value *x = n->in[0], *ix = n->in[1];

	if (!indexed(b, n))
		return false;
	if (ix->rank < 1 || batch < 0 || batch >= ix->rank || batch >= x->rank ||
	    !dim_const(ix->dims[ix->rank - 1]) || ix->dims[ix->rank - 1] < 1 || ix->dims[ix->rank - 1] > x->rank - batch)
		return diag_invalid(b->diag, n->loc, "indices %s for data %s, batch_dims %d",
		    ops_dims_text(b->g, ix->rank, ix->dims), ops_dims_text(b->g, x->rank, x->dims), batch);
	for (int i = 0; i < batch; i++)
		if (ix->dims[i] != x->dims[i] && dim_const(ix->dims[i]) && dim_const(x->dims[i]))
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
	two[0] = product(b, (int)(batch + ix->dims[ix->rank - 1]), x->dims);
	y = b_gather(b, b_reshape(b, x, 2, two), at, 0);
	for (int i = 0; i < ix->rank - 1; i++)
		dims[k++] = ix->dims[i];
	for (int i = (int)(batch + ix->dims[ix->rank - 1]); i < x->rank; i++)
		dims[k++] = x->dims[i];
	if (k > MAX_RANK)
		return diag_unsupported(b->diag, n->loc, "result has rank %d", k);
	return (outs[0] = b_reshape(b, y, k, dims)) != NULL;
}

/* Scatter rows `updates` [places..., inner] into data as [blocks, inner]. */
static struct value *
scatter(struct build *b, const struct node *n, struct value *at, int64_t blocks, int64_t inner)
{
	static const struct { const char *name; enum op op; } how[] = {{"none", OP_scatter_set},
	    {"add", OP_scatter_add}, {"mul", OP_scatter_mul}, {"max", OP_scatter_max}, {"min", OP_scatter_min}};
	struct value *x = n->in[0], *in[3], *y;
	const char *name = attr_string(n, "reduction");
	struct attr axis = attr_of_int("axis", 0);
	int64_t two[2], udims[2], count;
	size_t i = 0;

	if (!at)
		return NULL;
	while (i < sizeof how / sizeof *how && strcmp(how[i].name, name))
		i++;
	if (i == sizeof how / sizeof *how) {
		diag_invalid(b->diag, n->loc, "reduction \"%s\"", name);
		return NULL;
	}
	count = product(b, at->rank, at->dims);
	two[0] = blocks;
	two[1] = udims[1] = inner;
	udims[0] = count;
	in[0] = b_reshape(b, x, 2, two);
	in[1] = b_reshape(b, at, 1, &count);
	in[2] = b_reshape(b, n->in[2], 2, udims);
	y = in[0] && in[1] && in[2] ? b_op(b, how[i].op, 3, in, 1, &axis) : NULL;
	return y ? b_reshape(b, y, x->rank, x->dims) : NULL;
}

bool
expand_ScatterND(struct build *b, const struct node *n, struct value **outs)
{
	struct value *at;
	int64_t inner;

	if (!tuples_fit(b, n, 0))
		return false;
	at = tuple_places(b, n, 0, &inner);
	return (outs[0] = scatter(b, n, at, product(b, (int)n->in[1]->dims[n->in[1]->rank - 1], n->in[0]->dims), inner)) != NULL;
}

bool
expand_ScatterElements(struct build *b, const struct node *n, struct value **outs)
{
	const struct value *x = n->in[0], *ix = n->in[1], *u = n->in[2];
	int axis = axis_normal(n, b->diag, attr_int(n, "axis"), x->rank);

	if (axis < 0 || !indexed(b, n))
		return false;
	if (ix->rank != x->rank || !dims_equal(ix->rank, ix->dims, u->rank, u->dims))
		return diag_invalid(b->diag, n->loc, "indices %s and updates %s for data %s",
		    ops_dims_text(b->g, ix->rank, ix->dims), ops_dims_text(b->g, u->rank, u->dims),
		    ops_dims_text(b->g, x->rank, x->dims));
	return (outs[0] = scatter(b, n, element_places(b, n, axis), product(b, x->rank, x->dims), 1)) != NULL;
}

/* ---- TensorScatter: past_cache [batch,...,sequence,...], update of the same but for
 * the sequence axis, write_indices [batch]? (0): where each update begins. */
bool
expand_TensorScatter(struct build *b, const struct node *n, struct value **outs)
{
	struct value *x = n->in[0], *u = n->in[1], *start = ops_in(n, 2), *in[3], *at, *y;
	int axis = axis_normal(n, b->diag, attr_int(n, "axis"), x->rank);
	bool circular = !strcmp(attr_string(n, "mode"), "circular");
	int64_t three[3], places[3], two[2], lead, inner, room, many;
	struct attr first = attr_of_int("axis", 0);

	if (axis < 0)
		return false;
	if (!circular && strcmp(attr_string(n, "mode"), "linear"))
		return diag_invalid(b->diag, n->loc, "mode \"%s\"", attr_string(n, "mode"));
	if (axis == 0 || u->rank != x->rank || u->dtype != x->dtype)
		return diag_invalid(b->diag, n->loc, "axis %d of cache %s, update %s", axis,
		    ops_dims_text(b->g, x->rank, x->dims), ops_dims_text(b->g, u->rank, u->dims));
	for (int i = 0; i < x->rank; i++)
		if (i != axis && x->dims[i] != u->dims[i] && dim_const(x->dims[i]) && dim_const(u->dims[i]))
			return diag_invalid(b->diag, n->loc, "update %s for cache %s",
			    ops_dims_text(b->g, u->rank, u->dims), ops_dims_text(b->g, x->rank, x->dims));
	if (dim_const(u->dims[axis]) && dim_const(x->dims[axis]) && u->dims[axis] > x->dims[axis])
		return diag_invalid(b->diag, n->loc, "an update of %lld for a cache of %lld",
		    (long long)u->dims[axis], (long long)x->dims[axis]);
	if (start && (start->rank != 1 || (start->dims[0] != x->dims[0] && dim_const(start->dims[0]) && dim_const(x->dims[0])) || !dtype_is_int(start->dtype)))
		return diag_invalid(b->diag, n->loc, "write_indices %s for %lld sequences",
		    ops_dims_text(b->g, start->rank, start->dims), (long long)x->dims[0]);
	room = x->dims[axis];
	many = u->dims[axis];
	lead = product(b, axis - 1, x->dims + 1);
	inner = product(b, x->rank - axis - 1, x->dims + axis + 1);
	places[0] = x->dims[0];
	places[1] = lead;
	places[2] = room;
	/* [batch, lead, sequence] */
	at = b_iota(b, DT_i64, 3, (int64_t[]){1, 1, many}, 2);
	if (start)
		at = b_add(b, at, b_reshape(b, b_cast(b, start, DT_i64), 3, (int64_t[]){x->dims[0], 1, 1}));
	if (circular && room)
		at = b_sub(b, at, b_mul(b, b_div(b, at, b_dim(b, room)), b_dim(b, room)));
	three[0] = x->dims[0];
	three[1] = three[2] = 1;
	at = b_add(b, at, strided(b, b_iota(b, DT_i64, 3, three, 0), 2, places + 1));
	three[0] = 1;
	three[1] = lead;
	at = b_add(b, at, strided(b, b_iota(b, DT_i64, 3, three, 1), 1, places + 2));
	two[0] = product(b, 3, places);
	two[1] = inner;
	in[0] = b_reshape(b, x, 2, two);
	places[2] = many;
	two[0] = product(b, 3, places);
	in[1] = b_reshape(b, b_expand(b, at, 3, places), 1, two);
	in[2] = b_reshape(b, u, 2, two);
	y = in[0] && in[1] && in[2] ? b_op(b, OP_scatter_set, 3, in, 1, &first) : NULL;
	return (outs[0] = b_reshape(b, y, x->rank, x->dims)) != NULL;
}
