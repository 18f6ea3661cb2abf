/* shape_onnx.c -- ONNX operators that only decide where elements go.  Shapes given
 * as operands are read while compiling; they may hold symbolic dims. */
#include <math.h>

#include "ir/ops/ops_int.h"

/* Operand i as dims: whole numbers >= 0 or symbols; -1: reported. */
static int
shape_operand(struct build *b, const struct node *n, int i, struct sdim **s)
{
	int k = value_sdims(b->g, ops_in(n, i), s);

	if (k < 0) {
		diag_unsupported(b->diag, n->loc, "the shape in operand %d (%s) must be constant", i,
		    ops_in(n, i) && n->in[i]->name ? n->in[i]->name : "unnamed");
		return -1;
	}
	if (k > MAX_RANK) {
		diag_unsupported(b->diag, n->loc, "result has rank %d; at most %d is supported", k, MAX_RANK);
		return -1;
	}
	return k;
}

bool
expand_Flatten(struct build *b, const struct node *n, struct value **outs)
{
	struct value *x = n->in[0];
	int64_t axis = attr_int(n, "axis"), dims[2] = {1, 1};

	if (axis < -x->rank || axis > x->rank)
		return diag_invalid(
		    b->diag, n->loc, "axis %lld is out of range for rank %d", (long long)axis, x->rank);
	if (axis < 0)
		axis += x->rank;
	for (int i = 0; i < x->rank; i++)
		dims[i >= axis] = dim_mul(b->g, dims[i >= axis], x->dims[i]);
	return (outs[0] = b_reshape(b, x, 2, dims)) != NULL;
}

/* 0 copies the input's dim (unless allowzero), -1 takes what remains. */
bool
expand_Reshape(struct build *b, const struct node *n, struct value **outs)
{
	struct value *x = n->in[0];
	struct sdim *s;
	int64_t dims[MAX_RANK], rest = 1, total = 1;
	bool used[MAX_RANK] = {false};
	int k = shape_operand(b, n, 1, &s), free_axis = -1;

	if (k < 0)
		return false;
	for (int i = 0; i < k; i++) {
		if (!s[i].symbolic && s[i].v == -1) {
			if (free_axis >= 0)
				return diag_invalid(b->diag, n->loc, "two of the new dims are -1");
			free_axis = i;
			continue;
		}
		if (!s[i].symbolic && s[i].v < 0)
			return diag_invalid(b->diag, n->loc, "new dim %d is %lld", i, (long long)s[i].v);
		dims[i] = s[i].v;
		if (!s[i].symbolic && s[i].v == 0 && !attr_int(n, "allowzero")) {
			if (i >= x->rank)
				return diag_invalid(b->diag, n->loc, "new dim %d copies an axis that %s lacks", i,
				    ops_dims_text(b->g, x->rank, x->dims));
			dims[i] = x->dims[i];
		}
	}
	if (free_axis >= 0) {
		/* equal dims cancel first, which keeps symbolic sizes simple */
		for (int i = 0; i < k; i++) {
			int j = 0;

			if (i == free_axis)
				continue;
			while (j < x->rank && (used[j] || x->dims[j] != dims[i] || dims[i] == 0))
				j++;
			if (j < x->rank)
				used[j] = true;
			else
				rest = dim_mul(b->g, rest, dims[i]);
		}
		for (int j = 0; j < x->rank; j++)
			if (!used[j])
				total = dim_mul(b->g, total, x->dims[j]);
		if (rest == 0 || (dim_const(rest) && dim_const(total) && total % rest))
			return diag_invalid(b->diag, n->loc, "%s does not divide into the new dims",
			    ops_dims_text(b->g, x->rank, x->dims));
		dims[free_axis] = dim_div(b->g, total, rest);
	}
	return (outs[0] = b_reshape(b, x, k, dims)) != NULL;
}

bool
expand_Squeeze(struct build *b, const struct node *n, struct value **outs)
{
	struct value *x = n->in[0];
	int64_t dims[MAX_RANK];
	bool marked[MAX_RANK], given;
	int k = 0;

	if (!ops_axes_operand(b, n, 1, x->rank, marked, &given))
		return false;
	for (int i = 0; i < x->rank; i++) {
		if (given && marked[i] && x->dims[i] != 1)
			return diag_invalid(b->diag, n->loc, "axis %d of %s is not 1", i,
			    ops_dims_text(b->g, x->rank, x->dims));
		if (given ? !marked[i] : x->dims[i] != 1)
			dims[k++] = x->dims[i];
	}
	return (outs[0] = b_reshape(b, x, k, dims)) != NULL;
}

bool
expand_Unsqueeze(struct build *b, const struct node *n, struct value **outs)
{
	struct value *x = n->in[0];
	int64_t *axes, dims[MAX_RANK];
	int na = ops_ints(b, n, 1, &axes), rank, k = 0;
	bool marked[MAX_RANK], given;

	if (na < 0)
		return false;
	rank = x->rank + na;
	if (na > MAX_RANK || rank > MAX_RANK)
		return diag_unsupported(b->diag, n->loc, "result has rank %d; at most %d is supported", rank, MAX_RANK);
	if (!ops_axes_operand(b, n, 1, rank, marked, &given))
		return false;
	for (int i = 0; i < rank; i++)
		dims[i] = marked[i] ? 1 : x->dims[k++];
	return (outs[0] = b_reshape(b, x, rank, dims)) != NULL;
}

/* Along axis `count` elements, the first at `first` - less (dims), then every step-th. */
static struct value *
take(struct build *b, struct value *x, int axis, int64_t first, int64_t less, int64_t count, int64_t step)
{
	int64_t start[MAX_RANK] = {0}, counts[MAX_RANK], steps[MAX_RANK];
	struct value *ix;

	if (!x)
		return NULL;
	if (dim_const(first) || count == 0) {
		memcpy(counts, x->dims, sizeof counts);
		for (int i = 0; i < MAX_RANK; i++)
			steps[i] = 1;
		start[axis] = count == 0 ? 0 : first - less;
		counts[axis] = count;
		steps[axis] = count == 0 ? 1 : step;
		return b_slice(b, x, start, counts, steps);
	}
	ix = b_muls(b, b_iota(b, DT_i64, 1, &count, 0), (double)step);
	return b_gather(b, x, b_add(b, ix, b_adds(b, b_dim(b, first), (double)-less)), axis);
}

/* ---- bounds that only a run knows: the size is measured, the elements are gathered */
/* Element i of an integer vector (or scalar), as i64. */
static struct value *
number_at(struct build *b, struct value *v, int64_t i)
{
	int64_t one = 1;

	if (v && v->rank == 1)
		v = b_slice(b, v, &i, &one, &one);
	return v ? b_cast(b, b_reshape(b, v, 0, NULL), DT_i64) : NULL;
}

static struct value *
clamped(struct build *b, struct value *v, struct value *lo, struct value *hi)
{
	return b_max(b, b_min(b, v, hi), lo);
}

/* Along axis the measured `size` elements, the first at `first`, then every step-th. */
static struct value *
take_at(struct build *b, struct value *x, int axis, struct value *first, int64_t size, int64_t step)
{
	return x && first ? b_gather(b, x, b_add(b, b_muls(b, b_iota(b, DT_i64, 1, &size, 0), (double)step), first), axis) : NULL;
}

static bool
slice_measured(struct build *b, const struct node *n, struct value **outs)
{
	struct value *x = n->in[0], *from = n->in[1], *to = n->in[2];
	int64_t *axes = NULL, *steps = NULL, k = from->rank == 1 ? from->dims[0] : -1;
	bool seen[MAX_RANK] = {false};

	if (k < 0 || k > x->rank || to->rank != 1 || to->dims[0] != k || !dtype_is_int(from->dtype) || !dtype_is_int(to->dtype))
		return diag_invalid(b->diag, n->loc, "starts %s and ends %s for rank %d", value_type_text(b->g, from),
		    value_type_text(b->g, to), x->rank);
	if ((ops_in(n, 3) && ops_ints(b, n, 3, &axes) != k) || (ops_in(n, 4) && ops_ints(b, n, 4, &steps) != k))
		return diag_invalid(b->diag, n->loc, "axes or steps and starts differ in number, or are not constant");
	for (int i = 0; i < k; i++) {
		int a = axis_normal(n, b->diag, axes ? axes[i] : i, x->rank);
		int64_t by = steps ? steps[i] : 1, most, size;
		struct value *dim, *zero = b_dim(b, 0), *last, *s, *e, *count;

		if (a < 0)
			return false;
		if (seen[a] || by == 0 || by > INT32_MAX || by < -INT32_MAX)
			return diag_invalid(b->diag, n->loc, seen[a] ? "axis %d is named twice" : "step of axis %d", a);
		seen[a] = true;
		most = dim_hi(b->g, x->dims[a]);
		if (most == INT64_MAX)
			return diag_unsupported(b->diag, n->loc, "axis %d, whose size has no bound", a);
		dim = b_dim(b, x->dims[a]);
		last = b_adds(b, dim, -1);
		s = number_at(b, from, i);
		e = number_at(b, to, i);
		if (!s || !e)
			return false;
		s = b_select(b, b2(b, OP_lt, s, zero), b_add(b, s, dim), s);
		e = b_select(b, b2(b, OP_lt, e, zero), b_add(b, e, dim), e);
		s = clamped(b, s, zero, by > 0 ? dim : last);
		e = by > 0 ? clamped(b, e, zero, dim) : clamped(b, e, b_scalar(b, DT_i64, -1), last);
		count = by > 0 ? b_sub(b, e, s) : b_sub(b, s, e);
		count = count ? b_max(b, count, zero) : NULL;
		by = by > 0 ? by : -by;
		count = b_div(b, b_adds(b, count, (double)(by - 1)), b_dim(b, by));
		size = ops_measure(b, n, i, count, (most + by - 1) / by);
		if (!count || !(x = take_at(b, x, a, s, size, steps ? steps[i] : 1)))
			return false;
	}
	outs[0] = x;
	return true;
}

static bool
split_measured(struct build *b, const struct node *n, int axis, struct value **outs)
{
	struct value *x = n->in[0], *sizes = n->in[1], *start = b_dim(b, 0);
	int64_t most = dim_hi(b->g, x->dims[axis]);

	if (sizes->rank != 1 || sizes->dims[0] != n->nout || !dtype_is_int(sizes->dtype))
		return diag_invalid(b->diag, n->loc, "sizes %s for %d outputs", value_type_text(b->g, sizes), n->nout);
	if (most == INT64_MAX)
		return diag_unsupported(b->diag, n->loc, "axis %d, whose size has no bound", axis);
	for (int i = 0; i < n->nout; i++) {
		struct value *size = number_at(b, sizes, i);
		int64_t u = ops_measure(b, n, i, size ? clamped(b, size, b_dim(b, 0), b_dim(b, x->dims[axis])) : NULL, most);

		if (!size || (n->out[i] && !(outs[i] = take_at(b, x, axis, start, u, 1))))
			return false;
		start = b_add(b, start, size);
	}
	return true;
}

/* ---- Split: sizes from the operand, or num_outputs (outputs) even pieces, the last smaller */
static bool
split_sizes(struct build *b, const struct node *n, int axis, int64_t *size)
{
	int64_t dim = n->in[0]->dims[axis], sum = 0;
	struct sdim *given;
	int k;

	if (ops_in(n, 1)) {
		if ((k = value_sdims(b->g, n->in[1], &given)) < 0)
			return diag_unsupported(b->diag, n->loc, "the sizes in operand 1 must be constant");
		if (k != n->nout)
			return diag_invalid(b->diag, n->loc, "%d sizes for %d outputs", k, n->nout);
		for (int i = 0; i < k; i++) {
			if (!given[i].symbolic && given[i].v < 0)
				return diag_invalid(b->diag, n->loc, "size %lld of output %d", (long long)given[i].v, i);
			size[i] = given[i].v;
			sum = dim_add(b->g, sum, size[i]);
		}
	} else {
		int64_t parts = attr_has(n, "num_outputs") ? attr_int(n, "num_outputs") : n->nout, each;

		if (parts != n->nout)
			return diag_invalid(b->diag, n->loc, "num_outputs is %lld, there are %d outputs",
			    (long long)parts, n->nout);
		each = dim_ceildiv(b->g, dim, parts);
		for (int i = 0; i < n->nout; i++) {
			int64_t left = dim_max(b->g, dim_sub(b->g, dim, sum), 0);

			size[i] = dim_min(b->g, left, each);
			sum = dim_add(b->g, sum, size[i]);
		}
		return true;
	}
	if (dim_const(dim) && dim_const(sum) && sum != dim)
		return diag_invalid(b->diag, n->loc, "the pieces add up to %lld, axis %d has %lld",
		    (long long)sum, axis, (long long)dim);
	return true;
}

bool
expand_Split(struct build *b, const struct node *n, struct value **outs)
{
	struct value *x = n->in[0];
	int axis = axis_normal(n, b->diag, attr_int(n, "axis"), x->rank);
	int64_t *size = arena_array(b->g->arena, int64_t, n->nout + 1), start = 0;
	struct sdim *given;

	if (axis >= 0 && ops_in(n, 1) && (attr_has(n, "measured") || value_sdims(b->g, n->in[1], &given) < 0))
		return split_measured(b, n, axis, outs);
	if (axis < 0 || !split_sizes(b, n, axis, size))
		return false;
	for (int i = 0; i < n->nout; i++) {
		if (n->out[i] && !(outs[i] = take(b, x, axis, start, 0, size[i], 1)))
			return false;
		start = dim_add(b->g, start, size[i]);
	}
	return true;
}

/* The pieces' gradients side by side; zeros where none arrives. */
bool
grad_Split(struct build *b, const struct node *n, struct value *const *dout, struct value **din)
{
	struct value *x = n->in[0], **part = arena_array(b->g->arena, struct value *, n->nout + 1);
	int axis = axis_normal(n, b->diag, attr_int(n, "axis"), x->rank);
	int64_t *size = arena_array(b->g->arena, int64_t, n->nout + 1), dims[MAX_RANK];
	bool any = false;

	if (axis < 0 || !split_sizes(b, n, axis, size))
		return false;
	memcpy(dims, x->dims, sizeof dims);
	for (int i = 0; i < n->nout; i++) {
		dims[axis] = size[i];
		any |= dout[i] != NULL;
		part[i] = dout[i] ? dout[i] : b_expand(b, b_scalar_like(b, x, 0), x->rank, dims);
	}
	if (!any)
		return true;
	return (din[0] = b_concat(b, n->nout, part, axis)) != NULL;
}

/* ---- Slice: data, starts, ends, axes?, steps? */
static int64_t
clamp(int64_t v, int64_t lo, int64_t hi)
{
	return v < lo ? lo : v > hi ? hi : v;
}

/* A bound of a slice plus `more` (0 or 1) as a dim of 0..dim: from the end where it is
 * negative. */
static int64_t
slice_bound(struct graph *g, struct sdim s, int64_t dim, int64_t more)
{
	int64_t at;

	if (!s.symbolic && s.v >= INT32_MAX && !dim_const(dim))
		return dim;
	if (s.symbolic || s.v >= 0)
		at = dim_add(g, s.v, s.symbolic || s.v < INT64_MAX ? more : 0);
	else if (s.v <= -INT64_MAX + 1)
		return 0;
	else if (-s.v - more >= 0)
		at = dim_max(g, dim_sub(g, dim, -s.v - more), 0);
	else
		at = dim;
	return dim_min(g, at, dim);
}

bool
expand_Slice(struct build *b, const struct node *n, struct value **outs)
{
	struct value *x = n->in[0];
	int64_t *axes = NULL, *steps = NULL;
	struct sdim *from, *to;
	int k = value_sdims(b->g, n->in[1], &from), kt = value_sdims(b->g, n->in[2], &to);
	bool seen[MAX_RANK] = {false};

	if (k < 0 || kt < 0 || attr_has(n, "measured")) /* once measured, always */
		return slice_measured(b, n, outs);
	if (kt != k || k > x->rank)
		return diag_invalid(b->diag, n->loc, "%d starts and %d ends for rank %d", k, kt, x->rank);
	if (ops_in(n, 3) && ops_ints(b, n, 3, &axes) != k)
		return diag_invalid(b->diag, n->loc, "axes and starts differ in number");
	if (ops_in(n, 4) && ops_ints(b, n, 4, &steps) != k)
		return diag_invalid(b->diag, n->loc, "steps and starts differ in number");
	for (int i = 0; i < k; i++) {
		int a = axis_normal(n, b->diag, axes ? axes[i] : i, x->rank);
		int64_t by = steps ? steps[i] : 1, dim, s, e, count;

		if (a < 0)
			return false;
		if (seen[a])
			return diag_invalid(b->diag, n->loc, "axis %d is named twice", a);
		seen[a] = true;
		if (by == 0)
			return diag_invalid(b->diag, n->loc, "step 0 on axis %d", a);
		if (by == INT64_MIN)
			by++;
		dim = x->dims[a];
		/* backwards the bounds are those of the element behind: never below 0 */
		s = slice_bound(b->g, from[i], dim, by < 0);
		e = slice_bound(b->g, to[i], dim, by < 0);
		count = by > 0 ? dim_sub(b->g, e, s) : dim_sub(b->g, s, e);
		count = dim_ceildiv(b->g, dim_max(b->g, count, 0), by > 0 ? by : -by);
		if (!(x = take(b, x, a, s, by < 0, count, by)))
			return false;
	}
	outs[0] = x;
	return true;
}

/* ---- Pad: data, pads, value?, axes? */
/* Reflected (about the edge element) or wrapped borders of one axis. */
static struct value *
border(struct build *b, struct value *x, int axis, int64_t n, bool front, const char *mode)
{
	int64_t start[MAX_RANK] = {0}, count[MAX_RANK], step[MAX_RANK], dim = x->dims[axis];

	memcpy(count, x->dims, sizeof count);
	for (int i = 0; i < MAX_RANK; i++)
		step[i] = 1;
	count[axis] = n;
	if (strcmp(mode, "edge") == 0) {
		count[axis] = 1;
		start[axis] = front ? 0 : dim - 1;
		x = b_slice(b, x, start, count, step);
		count[axis] = n;
		return b_expand(b, x, x ? x->rank : 0, count);
	}
	if (n > dim - (strcmp(mode, "reflect") == 0)) {
		diag_unsupported(b->diag, b->loc, "%s padding of %lld on an axis of %lld", mode,
		    (long long)n, (long long)dim);
		return NULL;
	}
	if (strcmp(mode, "wrap") == 0)
		start[axis] = front ? dim - n : 0;
	else {
		start[axis] = front ? n : dim - 2;
		step[axis] = -1;
	}
	return b_slice(b, x, start, count, step);
}

bool
expand_Pad(struct build *b, const struct node *n, struct value **outs)
{
	struct value *x = n->in[0], *fill = ops_in(n, 2);
	const char *mode = attr_string(n, "mode");
	int64_t *pads, *axes = NULL, lo[MAX_RANK] = {0}, hi[MAX_RANK] = {0};
	int k = ops_ints(b, n, 1, &pads), na = x->rank;
	double value = 0;
	bool known = !fill || value_number(fill, &value);

	if (k < 0)
		return false;
	if (ops_in(n, 3) && (na = ops_ints(b, n, 3, &axes)) < 0)
		return false;
	if (k != 2 * na || na > x->rank)
		return diag_invalid(b->diag, n->loc, "%d pads for %d axes", k, na);
	for (int i = 0; i < na; i++) {
		int a = axis_normal(n, b->diag, axes ? axes[i] : i, x->rank);

		if (a < 0)
			return false;
		lo[a] = pads[i];
		hi[a] = pads[na + i];
		if (lo[a] > INT32_MAX || lo[a] < -INT32_MAX || hi[a] > INT32_MAX || hi[a] < -INT32_MAX)
			return diag_invalid(b->diag, n->loc, "pads %lld, %lld", (long long)lo[a], (long long)hi[a]);
	}
	if (strcmp(mode, "constant") == 0 && !known) {
		struct value *inside = b_expand(b, b_scalar(b, DT_bool, 1), x->rank, x->dims);

		fill = b_reshape(b, fill, 0, NULL);
		outs[0] = b_select(b, b_pad(b, inside, lo, hi, 0), b_pad(b, x, lo, hi, 0), fill);
		return outs[0] != NULL;
	}
	if (strcmp(mode, "constant") == 0)
		return (outs[0] = b_pad(b, x, lo, hi, value)) != NULL;
	if (strcmp(mode, "edge") && strcmp(mode, "reflect") && strcmp(mode, "wrap"))
		return diag_invalid(b->diag, n->loc, "mode \"%s\"", mode);
	for (int a = 0; a < n->in[0]->rank && x; a++) {
		struct value *part[3];
		int64_t cut_lo[MAX_RANK] = {0}, cut_hi[MAX_RANK] = {0};
		int np = 0;

		if (lo[a] == 0 && hi[a] == 0)
			continue;
		cut_lo[a] = lo[a] < 0 ? lo[a] : 0;
		cut_hi[a] = hi[a] < 0 ? hi[a] : 0;
		x = b_pad(b, x, cut_lo, cut_hi, 0);
		if (!x || !dim_const(x->dims[a]) || x->dims[a] == 0)
			return x ? diag_unsupported(b->diag, n->loc, "%s padding of axis %d", mode, a) : false;
		if (lo[a] > 0)
			part[np++] = border(b, x, a, lo[a], true, mode);
		part[np++] = x;
		if (hi[a] > 0)
			part[np++] = border(b, x, a, hi[a], false, mode);
		x = np == 1 ? x : b_concat(b, np, part, a);
	}
	return (outs[0] = x) != NULL;
}

/* ---- Expand: both ways; Tile */
bool
expand_Expand(struct build *b, const struct node *n, struct value **outs)
{
	struct value *x = n->in[0];
	struct sdim *s;
	int64_t dims[MAX_RANK];
	int k = shape_operand(b, n, 1, &s), rank;

	if (k < 0)
		return false;
	rank = k > x->rank ? k : x->rank;
	for (int i = 0; i < rank; i++) {
		int at = i - (rank - k), mine = i - (rank - x->rank);
		int64_t want = at >= 0 ? s[at].v : 1, have = mine >= 0 ? x->dims[mine] : 1;

		if (at >= 0 && !s[at].symbolic && want < 0)
			return diag_invalid(b->diag, n->loc, "new dim %d is %lld", at, (long long)want);
		dims[i] = want == 1 ? have : want;
	}
	return (outs[0] = b_expand(b, x, rank, dims)) != NULL;
}

/* [a,b] tiled r,s times is [r,a,s,b] of a broadcast [1,a,1,b] */
bool
expand_Tile(struct build *b, const struct node *n, struct value **outs)
{
	struct value *x = n->in[0];
	int64_t *reps, thin[MAX_RANK], wide[MAX_RANK], dims[MAX_RANK];
	int k = ops_ints(b, n, 1, &reps), r = 0;

	if (k < 0)
		return false;
	if (k != x->rank)
		return diag_invalid(b->diag, n->loc, "%d repeats for rank %d", k, x->rank);
	for (int i = 0; i < k; i++) {
		if (reps[i] < 0 || (dim_const(x->dims[i]) && x->dims[i] && reps[i] > INT64_MAX / x->dims[i]))
			return diag_invalid(b->diag, n->loc, "axis %d is repeated %lld times", i, (long long)reps[i]);
		dims[i] = dim_mul(b->g, x->dims[i], reps[i]);
		if (r + 2 > MAX_RANK)
			return diag_unsupported(b->diag, n->loc, "tiling rank %d", k);
		if (reps[i] != 1 && x->dims[i] == 1) {
			thin[r] = 1;
			wide[r++] = reps[i];
			continue;
		}
		if (reps[i] != 1) {
			thin[r] = 1;
			wide[r++] = reps[i];
		}
		thin[r] = wide[r] = x->dims[i];
		r++;
	}
	x = b_expand(b, b_reshape(b, x, r, thin), r, wide);
	return (outs[0] = b_reshape(b, x, k, dims)) != NULL;
}

/* ---- Shape, Size: constant where the dims are */
static int
shape_range(const struct node *n, int *from)
{
	int rank = n->in[0]->rank;
	int64_t s = attr_int(n, "start"), e = attr_has(n, "end") ? attr_int(n, "end") : rank;

	s = clamp(s < 0 ? s + rank : s, 0, rank);
	e = clamp(e < 0 ? e + rank : e, 0, rank);
	*from = (int)s;
	return e > s ? (int)(e - s) : 0;
}

bool
infer_Shape(struct graph *g, struct node *n, struct diag *d)
{
	int64_t count;
	int from;

	(void)g;
	if (!ops_known(n, d))
		return false;
	count = shape_range(n, &from);
	return ops_set(n, d, 0, DT_i64, 1, &count);
}

bool
expand_Shape(struct build *b, const struct node *n, struct value **outs)
{
	const struct value *x = n->in[0];
	struct value *part[MAX_RANK];
	int from, k = shape_range(n, &from);

	if (ops_all_const(k, x->dims + from))
		return (outs[0] = b_ints(b, k, x->dims + from)) != NULL;
	for (int i = 0; i < k; i++)
		part[i] = b_reshape(b, b_dim(b, x->dims[from + i]), 1, &(int64_t){1});
	return (outs[0] = b_concat(b, k, part, 0)) != NULL;
}

bool
infer_Size(struct graph *g, struct node *n, struct diag *d)
{
	(void)g;
	return ops_known(n, d) && ops_set(n, d, 0, DT_i64, 0, NULL);
}

bool
expand_Size(struct build *b, const struct node *n, struct value **outs)
{
	const struct value *x = n->in[0];

	return (outs[0] = b_count(b, x->rank, x->dims)) != NULL;
}

/* ---- constants */
static struct value *
constant(struct build *b, const struct tensor *t)
{
	struct value *v = graph_const(b->g, NULL, t);

	v->loc = b->loc;
	return v;
}

bool
expand_Constant(struct build *b, const struct node *n, struct value **outs)
{
	const struct attr *a = NULL;
	struct tensor *t = NULL;
	int64_t count;

	for (int i = 0; i < n->nattr; i++)
		if (n->attr[i].kind != ATTR_NONE)
			a = &n->attr[i];
	if (!a)
		return diag_invalid(b->diag, n->loc, "no value");
	count = a->n;
	switch (a->kind) {
	case ATTR_TENSOR:
		return (outs[0] = constant(b, a->t)) != NULL;
	case ATTR_INT:
	case ATTR_INTS:
		t = tensor_new(b->g->arena, DT_i64, a->kind == ATTR_INTS, &count);
		for (int64_t i = 0; i < tensor_count(t); i++)
			dtype_put_i(DT_i64, t->data, i, a->kind == ATTR_INTS ? a->ints[i] : a->i);
		break;
	case ATTR_FLOAT:
	case ATTR_FLOATS:
		t = tensor_new(b->g->arena, DT_f32, a->kind == ATTR_FLOATS, &count);
		for (int64_t i = 0; i < tensor_count(t); i++)
			dtype_put_f(DT_f32, t->data, i, a->kind == ATTR_FLOATS ? a->floats[i] : a->f);
		break;
	case ATTR_STRING:
	case ATTR_STRINGS:
		t = tensor_new(b->g->arena, DT_str, a->kind == ATTR_STRINGS, &count);
		for (int64_t i = 0; i < tensor_count(t); i++)
			((char **)t->data)[i] =
			    arena_strdup(b->g->arena, a->kind == ATTR_STRINGS ? a->strings[i] : a->s);
		break;
	default:
		return diag_unsupported(b->diag, n->loc, "constant \"%s\"", a->name);
	}
	return (outs[0] = constant(b, t)) != NULL;
}

bool
expand_ConstantOfShape(struct build *b, const struct node *n, struct value **outs)
{
	const struct attr *a = attr_find(n, "value");
	struct sdim *s;
	int64_t dims[MAX_RANK];
	struct value *v;
	int k = shape_operand(b, n, 0, &s);

	if (k < 0)
		return false;
	for (int i = 0; i < k; i++) {
		if (!s[i].symbolic && s[i].v < 0)
			return diag_invalid(b->diag, n->loc, "dim %d is %lld", i, (long long)s[i].v);
		dims[i] = s[i].v;
	}
	if (a && a->kind == ATTR_TENSOR) {
		if (tensor_count(a->t) != 1)
			return diag_invalid(b->diag, n->loc, "value has more than one element");
		v = b_reshape(b, constant(b, a->t), 0, NULL);
	} else
		v = b_scalar(b, DT_f32, 0);
	return (outs[0] = b_expand(b, v, k, dims)) != NULL;
}

/* a - b, at least 0, where one of them is a size or both are */
static int64_t
distance(struct graph *g, struct sdim a, struct sdim b)
{
	if (!b.symbolic && b.v < 0)
		return dim_add(g, a.v, b.v > -INT32_MAX ? -b.v : INT32_MAX);
	return !a.symbolic && a.v < 0 ? 0 : dim_max(g, dim_sub(g, a.v, b.v), 0);
}

/* Between sizes that a run knows, by a constant step. */
static bool
range_of_sizes(struct build *b, const struct node *n, int first, struct value **outs)
{
	struct sdim *from, *to, *step;
	int64_t count, by;
	enum dtype t = n->in[0]->dtype;

	if (!dtype_is_int(t) || value_sdims(b->g, n->in[0], &from) != 1 || value_sdims(b->g, n->in[1], &to) != 1 ||
	    value_sdims(b->g, n->in[2], &step) != 1 || step[0].symbolic)
		return diag_unsupported(b->diag, n->loc, "operand %d must be a constant number, or whole and made of sizes", first);
	by = step[0].v;
	if (by == 0 || by > INT32_MAX || by < -INT32_MAX)
		return diag_invalid(b->diag, n->loc, "delta is %lld", (long long)by);
	count = by > 0 ? distance(b->g, to[0], from[0]) : distance(b->g, from[0], to[0]);
	count = dim_ceildiv(b->g, count, by > 0 ? by : -by);
	outs[0] = b_add(b, b_muls(b, b_iota(b, t, 1, &count, 0), (double)by), b_reshape(b, n->in[0], 0, NULL));
	return outs[0] != NULL;
}

bool
expand_Range(struct build *b, const struct node *n, struct value **outs)
{
	double v[3], count;
	enum dtype t = n->in[0]->dtype;
	struct tensor *out;
	int64_t k;

	for (int i = 0; i < 3; i++)
		if (!value_number(n->in[i], &v[i]))
			return range_of_sizes(b, n, i, outs);
	if (v[2] == 0)
		return diag_invalid(b->diag, n->loc, "delta is 0");
	count = (v[1] - v[0]) / v[2];
	count = count > 0 ? ceil(count) : 0;
	if (!(count < 1e9) || (!dtype_is_float(t) && (fabs(v[0]) > 9e15 || fabs(v[2]) > 9e15)))
		return diag_unsupported(b->diag, n->loc, "a range of %g elements", count);
	k = (int64_t)count;
	out = tensor_new(b->g->arena, t, 1, &k);
	for (int64_t i = 0; i < k; i++) {
		if (dtype_is_float(t))
			dtype_put_f(t, out->data, i, v[0] + (double)i * v[2]);
		else
			dtype_put_i(t, out->data, i, (int64_t)v[0] + i * (int64_t)v[2]);
	}
	return (outs[0] = constant(b, out)) != NULL;
}

/* ---- masks from indices */
/* index along axis of a [..] tensor of x's dims with all other axes 1 */
static struct value *
position(struct build *b, const struct value *x, int axis)
{
	int64_t dims[MAX_RANK];
	int k = 0;

	for (int i = axis; i < x->rank; i++)
		dims[k++] = i == axis ? x->dims[i] : 1;
	return b_iota(b, DT_i64, k, dims, 0);
}

bool
expand_Trilu(struct build *b, const struct node *n, struct value **outs)
{
	struct value *x = n->in[0], *row, *col, *keep, *k = ops_in(n, 1);

	if (x->rank < 2)
		return diag_invalid(b->diag, n->loc, "input of rank %d; matrices are expected", x->rank);
	if (k && (k->rank > 1 || (k->rank == 1 && k->dims[0] != 1) || !dtype_is_int(k->dtype)))
		return diag_invalid(b->diag, n->loc, "k is %s; one whole number is expected", value_type_text(b->g, k));
	k = k ? b_cast(b, b_reshape(b, k, 0, NULL), DT_i64) : b_dim(b, 0);
	row = b_add(b, position(b, x, x->rank - 2), k);
	col = position(b, x, x->rank - 1);
	keep = attr_int(n, "upper") ? b2(b, OP_le, row, col) : b2(b, OP_le, col, row);
	if (x->dtype == DT_bool)
		outs[0] = b2(b, OP_and, x, keep);
	else
		outs[0] = b_select(b, keep, x, b_scalar_like(b, x, 0));
	return outs[0] != NULL;
}

bool
expand_EyeLike(struct build *b, const struct node *n, struct value **outs)
{
	struct value *x = n->in[0], *row, *col;
	enum dtype t = attr_has(n, "dtype") ? dtype_from_onnx((int)attr_int(n, "dtype")) : x->dtype;

	if (x->rank != 2 || t == DT_none)
		return diag_invalid(b->diag, n->loc, "a matrix and a number type are expected");
	row = b_add(b, position(b, x, 0), b_scalar(b, DT_i64, (double)attr_int(n, "k")));
	col = position(b, x, 1);
	row = b2(b, OP_eq, row, col);
	return (outs[0] = row ? b_cast(b, row, t) : NULL) != NULL;
}

/* indices, depth, values [off, on]; axis of the new dim */
bool
expand_OneHot(struct build *b, const struct node *n, struct value **outs)
{
	struct value *ix = n->in[0], *v = n->in[2], *hit, *part[2];
	int64_t start = 0, one = 1, axis = attr_int(n, "axis"), dims[MAX_RANK];
	double depth;

	if (!value_number(n->in[1], &depth) || depth < 1 || depth > INT32_MAX)
		return diag_unsupported(b->diag, n->loc, "depth must be a constant of at least 1");
	if (axis < -ix->rank - 1 || axis > ix->rank)
		return diag_invalid(b->diag, n->loc, "axis %lld is out of range for rank %d", (long long)axis,
		    ix->rank + 1);
	if (v->rank != 1 || v->dims[0] != 2)
		return diag_invalid(b->diag, n->loc, "values must be [off, on]");
	if (axis < 0)
		axis += ix->rank + 1;
	ix = b_cast(b, ix, DT_i64);
	if (ix) /* negative ones count from the end */
		ix = b_select(b, b2(b, OP_lt, ix, b_scalar(b, DT_i64, 0)), b_adds(b, ix, depth), ix);
	if (!(ix = b_unsqueeze(b, ix, (int)axis)))
		return false;
	for (int i = 0; i < ix->rank; i++)
		dims[i] = i == axis ? (int64_t)depth : 1;
	hit = b2(b, OP_eq, ix, b_iota(b, DT_i64, ix->rank, dims, (int)axis));
	for (int i = 0; i < 2; i++) {
		start = i;
		part[i] = b_reshape(b, b_slice(b, v, &start, &one, &one), 0, NULL);
	}
	return (outs[0] = b_select(b, hit, part[1], part[0])) != NULL;
}

/* ---- blocks of space and depth, [N,C,H,W] */
static bool
blocks(struct build *b, const struct node *n, int64_t *bs)
{
	const struct value *x = n->in[0];

	*bs = attr_int(n, "blocksize");
	if (x->rank != 4 || *bs < 1 || *bs > INT32_MAX)
		return diag_invalid(b->diag, n->loc, "input %s, blocksize %lld",
		    ops_dims_text(b->g, x->rank, x->dims), (long long)*bs);
	if (!dim_const(x->dims[1]))
		return diag_unsupported(b->diag, n->loc, "symbolic channels %s",
		    ops_dims_text(b->g, x->rank, x->dims));
	return true;
}

bool
expand_DepthToSpace(struct build *b, const struct node *n, struct value **outs)
{
	struct value *x = n->in[0];
	const int64_t *d = x->dims;
	bool crd = strcmp(attr_string(n, "mode"), "CRD") == 0;
	int64_t bs, c;

	if (!blocks(b, n, &bs))
		return false;
	if (d[1] % (bs * bs))
		return diag_invalid(b->diag, n->loc, "%lld channels in blocks of %lld", (long long)d[1], (long long)bs);
	c = d[1] / (bs * bs);
	x = b_reshape(b, x, 6,
	    crd ? (int64_t[]){d[0], c, bs, bs, d[2], d[3]} : (int64_t[]){d[0], bs, bs, c, d[2], d[3]});
	x = b_transpose(b, x, crd ? (int64_t[]){0, 1, 4, 2, 5, 3} : (int64_t[]){0, 3, 4, 1, 5, 2});
	return (outs[0] = b_reshape(b, x, 4, (int64_t[]){d[0], c, dim_mul(b->g, d[2], bs), dim_mul(b->g, d[3], bs)})) != NULL;
}

bool
expand_SpaceToDepth(struct build *b, const struct node *n, struct value **outs)
{
	struct value *x = n->in[0];
	const int64_t *d = x->dims;
	int64_t bs, h, w;

	if (!blocks(b, n, &bs))
		return false;
	h = dim_div(b->g, d[2], bs);
	w = dim_div(b->g, d[3], bs);
	if ((dim_const(d[2]) && d[2] % bs) || (dim_const(d[3]) && d[3] % bs))
		return diag_invalid(b->diag, n->loc, "%s in blocks of %lld", ops_dims_text(b->g, 4, d), (long long)bs);
	x = b_reshape(b, x, 6, (int64_t[]){d[0], d[1], h, bs, w, bs});
	x = b_transpose(b, x, (int64_t[]){0, 3, 5, 1, 2, 4});
	return (outs[0] = b_reshape(b, x, 4, (int64_t[]){d[0], d[1] * bs * bs, h, w})) != NULL;
}

/* ---- Dropout: data, ratio?, training_mode?, then retort's seed and step (i64
 * scalars).  Identity unless training with a seed and a step to draw from; then
 * y = x/(1-ratio) where rng >= ratio, else 0. */
bool
expand_Dropout(struct build *b, const struct node *n, struct value **outs)
{
	struct value *x = n->in[0], *ratio = ops_in(n, 1), *draw[2] = {ops_in(n, 3), ops_in(n, 4)}, *keep;
	struct attr a[2];
	double training = 0;

	if (ops_in(n, 2) && !value_number(n->in[2], &training))
		return diag_unsupported(b->diag, n->loc, "training_mode must be constant");
	if (training == 0 || !draw[0] || !draw[1]) {
		outs[0] = x;
		if (ops_wants(n, 1))
			outs[1] = b_expand(b, b_scalar(b, DT_bool, 1), x->rank, x->dims);
		return true;
	}
	ratio = ratio ? b_cast(b, ratio, x->dtype) : b_scalar_like(b, x, 0.5);
	a[0] = attr_of_ints("dims", x->rank, x->dims);
	a[1] = attr_of_int("stream", attr_int(n, "stream"));
	keep = b_op(b, OP_rng, 2, draw, 2, a);
	keep = ratio && keep ? b2(b, OP_le, ratio, b_cast(b, keep, x->dtype)) : NULL;
	outs[0] = b_select(b, keep,
	    b_mul(b, x, b_div(b, b_scalar_like(b, x, 1), b_sub(b, b_scalar_like(b, x, 1), ratio))),
	    b_scalar_like(b, x, 0));
	if (ops_wants(n, 1))
		outs[1] = keep;
	return outs[0] != NULL;
}
