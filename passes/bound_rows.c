/* bound_rows -- each core operator at the upper bounds of its sizes: masks where it would
 * read beyond the size of a run into what counts. */
#include "passes/bound.h"

#include <math.h>
#include <string.h>

static struct value *
operand(struct bound *bd, const struct node *n, int i)
{
	return n->in[i] ? bd->map[n->in[i]->id] : NULL;
}

static int
axis_of(const struct node *n, int rank)
{
	int64_t a = attr_int(n, "axis");

	return (int)(a < 0 ? a + rank : a);
}

static struct value *
zero_of(struct bound *bd, const struct value *x)
{
	return b_scalar_like(&bd->b, x, 0);
}

/* Operand i with `fill` beyond the run's size along these axes. */
static struct value *
masked(struct bound *bd, const struct node *n, int i, int from, int to, struct value *fill)
{
	struct value *x = operand(bd, n, i);

	for (int k = from; k < to; k++)
		x = bound_mask(bd, x, k, n->in[i]->dims[k], fill);
	return x;
}

static struct value *
same(struct bound *bd, const struct node *n)
{
	struct value **in = arena_array(bd->tmp, struct value *, n->nin + 1);

	for (int i = 0; i < n->nin; i++)
		in[i] = operand(bd, n, i);
	return bound_same(bd, n, in);
}

/* ---- reductions: what lies beyond is the neutral element */
static struct value *
neutral(struct bound *bd, enum op op, const struct value *x)
{
	double most = dtype_is_float(x->dtype) ? INFINITY : 0x1p64;

	switch (op) {
	case OP_reduce_prod:
		return b_scalar_like(&bd->b, x, 1);
	case OP_reduce_max:
	case OP_argmax:
		return b_scalar_like(&bd->b, x, -most);
	case OP_reduce_min:
	case OP_argmin:
		return b_scalar_like(&bd->b, x, most);
	default:
		return zero_of(bd, x);
	}
}

static struct value *
reduce(struct bound *bd, const struct node *n)
{
	struct value *x = operand(bd, n, 0), *fill = neutral(bd, n->op, x);
	const int64_t *axes;
	int k = attr_ints(n, "axes", &axes), rank = n->in[0]->rank;

	if (!attr_has(n, "axes"))
		x = masked(bd, n, 0, 0, rank, fill);
	for (int i = 0; i < k; i++) {
		int a = (int)(axes[i] < 0 ? axes[i] + rank : axes[i]);

		x = bound_mask(bd, x, a, n->in[0]->dims[a], fill);
	}
	return bound_same(bd, n, &x);
}

/* The first of ties comes before what lies beyond; for the last of ties the axis is
 * looked at from its end in the run. */
static struct value *
argreduce(struct bound *bd, const struct node *n)
{
	int axis = axis_of(n, n->in[0]->rank);
	int64_t d = n->in[0]->dims[axis];
	struct value *x = masked(bd, n, 0, axis, axis + 1, neutral(bd, n->op, operand(bd, n, 0))), *last, *at;
	struct attr a[2] = {{.name = "axis", .kind = ATTR_INT, .i = axis},
	    {.name = "keep", .kind = ATTR_INT, .i = attr_int(n, "keep")}};

	if (!attr_int(n, "last") || !bound_varies(d) || !x)
		return bound_same(bd, n, &x);
	last = b_adds(&bd->b, bound_size(bd, d), -1);
	at = b_sub(&bd->b, last, b_iota(&bd->b, DT_i64, 1, &x->dims[axis], 0));
	/* places before the first of the run wrap around to what lies beyond */
	at = b_select(&bd->b, b2(&bd->b, OP_lt, at, b_dim(&bd->b, 0)), b_adds(&bd->b, at, (double)x->dims[axis]), at);
	x = b_gather(&bd->b, x, at, axis);
	return b_sub(&bd->b, last, b_op(&bd->b, n->op, 1, &x, 2, a));
}

/* ---- contraction: letters that are summed over */
static struct value *
contract(struct bound *bd, const struct node *n)
{
	const char *spec = attr_string(n, "spec"), *b = strchr(spec, ',') + 1, *y = strstr(spec, "->") + 2;
	struct value *in[2] = {operand(bd, n, 0), operand(bd, n, 1)};

	for (int k = 0; k < 2; k++)
		for (int i = 0; i < n->in[k]->rank; i++) {
			char c = (k ? b : spec)[i];

			if (!strchr(y, c))
				in[k] = bound_mask(bd, in[k], i, n->in[k]->dims[i], zero_of(bd, in[k]));
		}
	return bound_same(bd, n, in);
}

/* ---- windows: padding behind the axis lies within the bounds of a shorter one */
static bool
fixed_from(const struct value *v, int from, int to)
{
	for (int i = from; i < to; i++)
		if (bound_varies(v->dims[i]))
			return false;
	return true;
}

static struct value *
refuse(struct bound *bd, const struct node *n, const char *what)
{
	diag_unsupported(bd->b.diag, n->loc, "%s with %s whose size is known at run time only", op_info[n->op].id, what);
	return NULL;
}

static struct value *
conv(struct bound *bd, const struct node *n)
{
	bool data = n->op == OP_conv, weight = n->op == OP_conv_grad_weight;
	const struct value *x = n->in[0], *w = weight ? n->out[0] : n->in[1];
	struct value *in[2];

	if (!fixed_from(w, 2, w->rank))
		return refuse(bd, n, "a kernel");
	if (attr_int(n, "group") != 1 && (bound_varies(x->dims[1]) || !fixed_from(w, 0, 2)))
		return refuse(bd, n, "channels in groups");
	/* summed over: of conv the input channels; of its gradient by data the output
	 * channels, by weight the batch and the places */
	in[0] = masked(bd, n, 0, weight ? 0 : 1, x->rank, zero_of(bd, operand(bd, n, 0)));
	if (weight)
		in[1] = masked(bd, n, 1, 0, n->in[1]->rank, zero_of(bd, operand(bd, n, 1)));
	else
		in[1] = masked(bd, n, 1, data ? 1 : 0, data ? 2 : 1, zero_of(bd, operand(bd, n, 1)));
	return bound_same(bd, n, in);
}

static struct value *
pool(struct bound *bd, const struct node *n)
{
	struct value *in[3] = {0}, *x = operand(bd, n, 0);
	bool max = n->op == OP_max_pool || n->op == OP_max_pool_tap || n->op == OP_max_pool_grad;
	int rank = n->in[0]->rank;

	in[0] = masked(bd, n, 0, 2, rank, max ? neutral(bd, OP_reduce_max, x) : zero_of(bd, x));
	if (n->nin > 1)
		in[1] = operand(bd, n, 1);
	if (n->op == OP_max_pool_grad)
		in[2] = masked(bd, n, 2, 2, rank, zero_of(bd, operand(bd, n, 2)));
	return bound_same(bd, n, in);
}

/* ---- structure */
static struct value *
slice(struct bound *bd, const struct node *n)
{
	struct value *x = operand(bd, n, 0);
	const int64_t *v;
	int64_t start[MAX_RANK] = {0}, count[MAX_RANK], step[MAX_RANK];

	bound_most(bd, n->out[0]->rank, n->out[0]->dims, count);
	for (int i = 0; i < x->rank; i++)
		step[i] = 1;
	if (attr_ints(n, "start", &v))
		memcpy(start, v, sizeof *v * (size_t)x->rank);
	if (attr_ints(n, "step", &v))
		memcpy(step, v, sizeof *v * (size_t)x->rank);
	/* a bound of the count may be larger than what the bound of the axis has */
	for (int i = 0; i < x->rank; i++) {
		int64_t room = step[i] > 0 ? (start[i] < x->dims[i] ? (x->dims[i] - 1 - start[i]) / step[i] + 1 : 0)
		                           : start[i] / -step[i] + 1;

		count[i] = count[i] < room ? count[i] : room;
		if (count[i] == 0)
			start[i] = 0;
	}
	return b_slice(&bd->b, x, start, count, step);
}

static struct value *
pad(struct bound *bd, const struct node *n)
{
	struct value *x = operand(bd, n, 0), *y = same(bd, n);
	double fill = attr_float(n, "fill");
	const int64_t *lo, *hi;
	int nlo = attr_ints(n, "lo", &lo), nhi = attr_ints(n, "hi", &hi);

	for (int i = 0; y && i < x->rank; i++) {
		int64_t d = n->in[0]->dims[i], by = nlo ? lo[i] : 0;
		struct value *end;

		if (!bound_varies(d) || !nhi || hi[i] <= 0)
			continue;
		end = b_add(&bd->b, bound_size(bd, d), b_scalar(&bd->b, DT_i64, (double)by));
		y = b_select(&bd->b, bound_below(bd, y->dims[i], end, y->rank - i - 1), y,
		    x->dtype == DT_str ? bound_nothing(bd, DT_str) : b_scalar_like(&bd->b, x, fill));
	}
	return y;
}

/* Parts at their upper bounds one after the other; then, where a part before the
 * last one varies, the elements of the run moved together. */
static struct value *
concat(struct bound *bd, const struct node *n)
{
	struct value *y = same(bd, n), *at, *end = NULL;
	int axis = axis_of(n, n->out[0]->rank);
	int64_t begin = 0;
	bool moves = false;

	for (int i = 0; i + 1 < n->nin; i++)
		moves |= bound_varies(n->in[i]->dims[axis]);
	if (!y || !moves)
		return y;
	at = b_iota(&bd->b, DT_i64, 1, &y->dims[axis], 0);
	for (int i = 0; i < n->nin; i++) {
		struct value *size = bound_size(bd, n->in[i]->dims[axis]);

		/* end: where the part begins in the run; begin: where at the bounds */
		if (i > 0) {
			struct value *here = b_iota(&bd->b, DT_i64, 1, &y->dims[axis], 0);

			at = b_select(&bd->b, b2(&bd->b, OP_lt, here, end), at,
			    b_add(&bd->b, b_sub(&bd->b, here, end), b_scalar(&bd->b, DT_i64, (double)begin)));
		}
		end = end ? b_add(&bd->b, end, size) : size;
		begin += dim_hi(bd->g, n->in[i]->dims[axis]);
	}
	return b_gather(&bd->b, y, b_min(&bd->b, at, b_dim(&bd->b, y->dims[axis] ? y->dims[axis] - 1 : 0)), axis);
}

/* Numbers follow the order of the run's elements. */
static struct value *
rng(struct bound *bd, const struct node *n)
{
	const struct value *y = n->out[0];
	int64_t most[MAX_RANK], all;
	struct attr a[2] = {{.name = "dims", .kind = ATTR_INTS, .n = 1, .ints = &all},
	    {.name = "stream", .kind = ATTR_INT, .i = attr_int(n, "stream")}};
	struct value *in[2] = {operand(bd, n, 0), operand(bd, n, 1)};

	if (bound_dense(y->rank, y->dims))
		return same(bd, n);
	bound_most(bd, y->rank, y->dims, most);
	if ((all = dims_count(y->rank, most)) < 0)
		return refuse(bd, n, "a result");
	return bound_reshape(bd, b_op(&bd->b, OP_rng, 2, in, 2, a), -1, NULL, y->rank, y->dims);
}

/* ---- indices: below zero they count from the end in the run */
static struct value *
from_end(struct bound *bd, struct value *ix, int64_t d)
{
	if (!bound_varies(d) || dtype_info[ix->dtype].class == DC_UINT)
		return ix;
	ix = b_cast(&bd->b, ix, DT_i64);
	return b_select(&bd->b, b2(&bd->b, OP_lt, ix, b_dim(&bd->b, 0)), b_add(&bd->b, ix, bound_size(bd, d)), ix);
}

static struct value *
gather(struct bound *bd, const struct node *n)
{
	int axis = axis_of(n, n->in[0]->rank);
	struct value *x = operand(bd, n, 0), *ix = from_end(bd, operand(bd, n, 1), n->in[0]->dims[axis]);
	int64_t most = x->dims[axis];

	/* what lies beyond the run's indices is no index */
	if (!fixed_from(n->in[1], 0, n->in[1]->rank)) {
		ix = b_min(&bd->b, b_cast(&bd->b, ix, DT_i64), b_dim(&bd->b, most ? most - 1 : 0));
		ix = b_max(&bd->b, ix, b_scalar(&bd->b, DT_i64, (double)-most));
	}
	return b_gather(&bd->b, x, ix, axis);
}

/* Updates beyond the run's go to a row that is cut off again. */
static struct value *
scatter(struct bound *bd, const struct node *n)
{
	const struct value *ix = n->in[1];
	int axis = axis_of(n, n->in[0]->rank);
	struct value *in[3] = {operand(bd, n, 0), operand(bd, n, 1), operand(bd, n, 2)}, *y;
	int64_t none[MAX_RANK] = {0}, one[MAX_RANK] = {0}, step[MAX_RANK], row = in[0]->dims[axis];
	struct value *aside;

	in[1] = from_end(bd, in[1], n->in[0]->dims[axis]);
	if (fixed_from(ix, 0, ix->rank))
		return bound_same(bd, n, in);
	one[axis] = 1;
	for (int i = 0; i < MAX_RANK; i++)
		step[i] = 1;
	in[0] = b_pad(&bd->b, in[0], none, one, 0);
	in[1] = b_cast(&bd->b, in[1], DT_i64);
	/* a constant index from the end of a fixed axis must not see the row */
	if (!bound_varies(n->in[0]->dims[axis]) && dtype_info[ix->dtype].class != DC_UINT)
		in[1] = b_select(&bd->b, b2(&bd->b, OP_lt, in[1], b_dim(&bd->b, 0)), b_add(&bd->b, in[1], b_dim(&bd->b, row)), in[1]);
	aside = b_dim(&bd->b, row);
	for (int i = 0; i < ix->rank; i++)
		in[1] = bound_mask(bd, in[1], i, ix->dims[i], aside);
	y = bound_same(bd, n, in);
	return y ? b_slice(&bd->b, y, none, operand(bd, n, 0)->dims, step) : NULL;
}

/* x[n,...], keep[n] -> the first u rows kept.  Row i goes to place sum(keep[0..i]) - 1;
 * what is not kept, and what comes after u rows, to a place behind that is cut off. */
static struct value *
compact(struct bound *bd, const struct node *n)
{
	struct build *b = &bd->b;
	struct value *x = operand(bd, n, 0), *keep = masked(bd, n, 1, 0, 1, b_scalar(b, DT_bool, 0)), *in[3], *at, *last;
	int64_t rows = x->dims[0], u, room, start = 0, step = 1;
	struct attr axis = {.name = "axis", .kind = ATTR_INT, .i = 0};

	bound_most(bd, 1, n->out[0]->dims, &u);
	room = u + 1;
	last = b_dim(b, u);
	at = b_cast(b, keep, DT_i64);
	at = at ? b_adds(b, b_op(b, OP_running_sum, 1, &at, 1, &axis), -1) : NULL;
	at = b_select(b, keep, b_min(b, at, last), last);
	in[0] = b_expand(b, b_dim(b, 0), 1, &room);
	in[1] = at;
	in[2] = b_iota(b, DT_i64, 1, &rows, 0);
	at = at ? b_op(b, OP_scatter_set, 3, in, 1, &axis) : NULL;
	return b_gather(b, x, b_slice(b, at, &start, &u, &step), 0);
}

bool
bound_outputs(struct bound *bd, const struct node *n)
{
	struct value **in = arena_array(bd->tmp, struct value *, n->nin + 1);

	for (int i = 0; i < n->nin; i++) {
		if (n->in[i] && !fixed_from(n->in[i], 0, n->in[i]->rank))
			return refuse(bd, n, "an operand") != NULL;
		in[i] = operand(bd, n, i);
	}
	return bound_same_outputs(bd, n, n->nin, in);
}

struct value *
bound_node(struct bound *bd, const struct node *n)
{
	switch (n->op) {
	case OP_iota:
	case OP_expand:
	case OP_transpose:
	case OP_running_sum:
	case OP_sort: /* the rows' expansions have set apart what lies beyond */
	case OP_nms:
		return same(bd, n);
	case OP_bits:
		if (n->out[0]->rank == n->in[0]->rank &&
		    memcmp(n->out[0]->dims, n->in[0]->dims, sizeof *n->in[0]->dims * (size_t)n->in[0]->rank) == 0)
			return same(bd, n); /* element by element */
		break;
	case OP_reshape:
		return bound_reshape(bd, operand(bd, n, 0), n->in[0]->rank, n->in[0]->dims, n->out[0]->rank, n->out[0]->dims);
	case OP_slice:
		return slice(bd, n);
	case OP_pad:
		return pad(bd, n);
	case OP_concat:
		return concat(bd, n);
	case OP_extent:
		return bound_size(bd, attr_find(n, "dims")->ints[0]);
	case OP_rng:
		return rng(bd, n);
	case OP_gather:
		return gather(bd, n);
	case OP_scatter_add:
	case OP_scatter_set:
	case OP_scatter_max:
	case OP_scatter_min:
	case OP_scatter_mul:
		return scatter(bd, n);
	case OP_compact:
		return compact(bd, n);
	case OP_argmax:
	case OP_argmin:
		return argreduce(bd, n);
	case OP_contract:
		return contract(bd, n);
	default:
		break;
	}
	switch (op_info[n->op].class) {
	case OC_map:
		return same(bd, n);
	case OC_reduce:
		return reduce(bd, n);
	case OC_conv:
		return conv(bd, n);
	case OC_pool:
		return pool(bd, n);
	default:
		break;
	}
	/* nothing to do with sizes that vary */
	for (int i = 0; i < n->nin; i++)
		if (n->in[i] && !fixed_from(n->in[i], 0, n->in[i]->rank))
			return refuse(bd, n, "an operand");
	return fixed_from(n->out[0], 0, n->out[0]->rank) ? same(bd, n) : refuse(bd, n, "a result");
}
