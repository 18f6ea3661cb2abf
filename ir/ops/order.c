/* order.c -- core rows whose steps depend on one another along an axis: running sums,
 * sorting, and the suppression of overlapping boxes. */
#include <math.h>
#include <stdlib.h>

#include "ir/ops/ops_int.h"

/* ---- running_sum: y[i] = x[0] + ... + x[i] along axis */
bool
infer_running_sum(struct graph *g, struct node *n, struct diag *d)
{
	const struct value *x = n->in[0];

	(void)g;
	if (!ops_known(n, d) || axis_normal(n, d, attr_int(n, "axis"), x->rank) < 0)
		return false;
	if (!dtype_is_float(x->dtype) && !dtype_is_int(x->dtype))
		return diag_invalid(d, n->loc, "running sum of %s", dtype_info[x->dtype].name);
	return ops_set(n, d, 0, x->dtype, x->rank, x->dims);
}

static struct value *
reversed(struct build *b, struct value *x, int axis)
{
	int64_t start[MAX_RANK] = {0}, step[MAX_RANK];

	for (int i = 0; i < MAX_RANK; i++)
		step[i] = 1;
	start[axis] = x->dims[axis] - 1;
	step[axis] = -1;
	return x->dims[axis] > 0 ? b_slice(b, x, start, x->dims, step) : x;
}

/* x[i] is in all sums from i on: dx is the running sum from the end. */
bool
grad_running_sum(struct build *b, const struct node *n, struct value *const *dout, struct value **din)
{
	int axis = axis_normal(n, b->diag, attr_int(n, "axis"), n->in[0]->rank);
	struct attr a = attr_of_int("axis", axis);
	struct value *dy = dout[0];

	if (!dy || axis < 0)
		return axis >= 0;
	if (!dim_const(dy->dims[axis]))
		return diag_unsupported(b->diag, n->loc, "gradient of a sum along symbolic axis %d", axis);
	dy = reversed(b, dy, axis);
	dy = dy ? b_op(b, OP_running_sum, 1, &dy, 1, &a) : NULL;
	return dy && (din[0] = reversed(b, dy, axis)) != NULL;
}

bool
eval_running_sum(const struct node *n, const struct etensor *const *in, struct etensor **out)
{
	const struct etensor *x = in[0];
	int axis = axis_normal(n, NULL, attr_int(n, "axis"), x->rank);
	int64_t inner, size;

	if (axis < 0)
		return false;
	inner = dims_count(x->rank - axis - 1, x->dims + axis + 1);
	size = x->dims[axis];
	for (int64_t i = 0; i < x->count; i++) {
		bool first = i / inner % size == 0;

		if (x->f)
			out[0]->f[i] = x->f[i] + (first ? 0 : out[0]->f[i - inner]);
		else
			out[0]->i[i] = int_wrap(x->dtype,
			    (int64_t)((uint64_t)x->i[i] + (uint64_t)(first ? 0 : out[0]->i[i - inner])));
	}
	return true;
}

/* ---- sort: x [...,n,m], n keys of m elements each that compare one after the other:
 * their numbers in order, or the first `first` of them.  Equal keys stay in order; NaN is
 * above all numbers. */
bool
infer_sort(struct graph *g, struct node *n, struct diag *d)
{
	const struct value *x = n->in[0];
	int64_t dims[MAX_RANK], first = attr_int(n, "first");

	if (!ops_known(n, d))
		return false;
	if (x->rank < 2 || (!dtype_is_float(x->dtype) && !dtype_is_int(x->dtype)))
		return diag_invalid(d, n->loc, "sorting %s; [...,n,m] of numbers is expected", value_type_text(g, x));
	memcpy(dims, x->dims, sizeof dims);
	if (first >= 0)
		dims[x->rank - 2] = dim_min(g, dims[x->rank - 2], first);
	return ops_set(n, d, 0, DT_i64, x->rank - 1, dims);
}

static int
compare(const struct etensor *x, int64_t a, int64_t b)
{
	if (x->f) {
		if (isnan(x->f[a]) || isnan(x->f[b]))
			return (isnan(x->f[a]) != 0) - (isnan(x->f[b]) != 0);
		return (x->f[a] > x->f[b]) - (x->f[a] < x->f[b]);
	}
	if (x->dtype == DT_u64)
		return ((uint64_t)x->i[a] > (uint64_t)x->i[b]) - ((uint64_t)x->i[a] < (uint64_t)x->i[b]);
	return (x->i[a] > x->i[b]) - (x->i[a] < x->i[b]);
}

/* Whether key b must stand before key a, which has the lower number. */
static bool
before(const struct etensor *x, int64_t base, int64_t m, int64_t b, int64_t a, bool descending)
{
	for (int64_t q = 0; q < m; q++) {
		int c = compare(x, base + b * m + q, base + a * m + q);

		if (c)
			return descending ? c > 0 : c < 0;
	}
	return false;
}

bool
eval_sort(const struct node *n, const struct etensor *const *in, struct etensor **out)
{
	const struct etensor *x = in[0];
	int64_t size = x->dims[x->rank - 2], m = x->dims[x->rank - 1], first = out[0]->dims[x->rank - 2];
	int64_t *from = xcalloc((size_t)size + 1, sizeof *from), *to = xcalloc((size_t)size + 1, sizeof *to), *swap;
	bool descending = attr_int(n, "descending");

	for (int64_t row = 0; first && row < out[0]->count / first; row++) {
		for (int64_t i = 0; i < size; i++)
			from[i] = i;
		for (int64_t w = 1; w < size; w *= 2) {
			for (int64_t lo = 0; lo < size; lo += 2 * w) {
				int64_t mid = lo + w < size ? lo + w : size, hi = mid + w < size ? mid + w : size;

				for (int64_t a = lo, b = mid, k = lo; k < hi; k++) {
					bool second = b < hi && (a == mid ||
					    before(x, row * size * m, m, from[b], from[a], descending));

					to[k] = second ? from[b++] : from[a++];
				}
			}
			swap = from;
			from = to;
			to = swap;
		}
		memcpy(out[0]->i + row * first, from, (size_t)first * sizeof *from);
	}
	free(from);
	free(to);
	return true;
}

/* ---- nms: boxes [B,5,n] (two corners, the lower first, as y x y x, and their area),
 * scores [B,C,n], limit (i64), overlap (f32): for each class the numbers of the boxes
 * kept, [B,C,most], and -1 behind them.  Again and again the best one left (the first
 * of equals) is kept and takes away those whose intersection over union with it is
 * above `overlap`; scores of -inf count as taken. */
bool
infer_nms(struct graph *g, struct node *n, struct diag *d)
{
	const struct value *boxes = n->in[0], *scores = n->in[1];
	int64_t dims[3], most = attr_int(n, "most");

	if (!ops_known(n, d))
		return false;
	if (boxes->rank != 3 || scores->rank != 3 || boxes->dims[1] != 5 || boxes->dims[0] != scores->dims[0] ||
	    boxes->dims[2] != scores->dims[2] || boxes->dtype != DT_f32 || scores->dtype != DT_f32 ||
	    n->in[2]->rank != 0 || n->in[2]->dtype != DT_i64 || n->in[3]->rank != 0 || n->in[3]->dtype != DT_f32 || most < 0)
		return diag_invalid(d, n->loc, "boxes %s, scores %s, limit %s, overlap %s", value_type_text(g, boxes),
		    value_type_text(g, scores), value_type_text(g, n->in[2]), value_type_text(g, n->in[3]));
	dims[0] = scores->dims[0];
	dims[1] = scores->dims[1];
	dims[2] = most;
	return ops_set(n, d, 0, DT_i64, 3, dims);
}

static bool
overlaps(const double *box, int64_t n, int64_t a, int64_t b, double limit)
{
	double h = fmin(box[2 * n + a], box[2 * n + b]) - fmax(box[a], box[b]);
	double w = fmin(box[3 * n + a], box[3 * n + b]) - fmax(box[n + a], box[n + b]);
	double sa = box[4 * n + a], sb = box[4 * n + b], both = h * w;

	return h > 0 && w > 0 && sa > 0 && sb > 0 && both / (sa + sb - both) > limit;
}

bool
eval_nms(const struct node *n, const struct etensor *const *in, struct etensor **out)
{
	const struct etensor *boxes = in[0], *scores = in[1];
	int64_t classes = scores->dims[1], size = scores->dims[2], most = attr_int(n, "most"), limit = in[2]->i[0];
	double *left = xcalloc((size_t)size + 1, sizeof *left);

	for (int64_t row = 0; row < scores->dims[0] * classes; row++) {
		const double *box = boxes->f + row / classes * 5 * size;
		bool found = true;

		memcpy(left, scores->f + row * size, (size_t)size * sizeof *left);
		for (int64_t t = 0; t < most; t++) {
			int64_t best = 0;

			for (int64_t i = 1; found && i < size; i++)
				if (left[i] > left[best])
					best = i;
			found = found && t < limit && size && left[best] > -INFINITY;
			out[0]->i[row * most + t] = found ? best : -1;
			for (int64_t i = 0; found && i < size; i++)
				if (i == best || overlaps(box, size, best, i, in[3]->f[0]))
					left[i] = -INFINITY;
		}
	}
	free(left);
	return true;
}
