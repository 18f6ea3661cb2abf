/* pool_onnx.c -- the windows of ONNX: auto_pad, ceil_mode, averages. */
#include <math.h>

#include "ir/ops/ops_int.h"

/* strides, dilations, and pads (given, or what auto_pad asks for) */
bool
ops_window_onnx(struct build *b, const struct node *n, int ns, const int64_t *in,
    const int64_t *kernel, struct window *w)
{
	const char *pad = attr_string(n, "auto_pad");
	bool upper = strcmp(pad, "SAME_UPPER") == 0, lower = strcmp(pad, "SAME_LOWER") == 0;

	if (!ops_window(n, b->diag, ns, w))
		return false;
	memcpy(w->kernel, kernel, sizeof *kernel * (size_t)ns);
	for (int i = 0; i < ns; i++)
		if (kernel[i] < 1 || kernel[i] > INT32_MAX)
			return diag_invalid(b->diag, n->loc, "kernel extent %lld", (long long)kernel[i]);
	if (strcmp(pad, "NOTSET") == 0 || !*pad)
		return true;
	if (!upper && !lower && strcmp(pad, "VALID"))
		return diag_invalid(b->diag, n->loc, "auto_pad \"%s\"", pad);
	for (int i = 0; i < ns; i++) {
		int64_t total, out;

		w->lo[i] = w->hi[i] = 0;
		if (!upper && !lower)
			continue;
		if (!dim_const(in[i])) {
			if (w->stride[i] != 1)
				return diag_unsupported(b->diag, n->loc, "auto_pad of a symbolic size with a stride");
			out = in[i];
			total = w->dilation[i] * (w->kernel[i] - 1);
		} else {
			out = (in[i] + w->stride[i] - 1) / w->stride[i];
			total = (out - 1) * w->stride[i] + w->dilation[i] * (w->kernel[i] - 1) + 1 - in[i];
		}
		if (total < 0)
			total = 0;
		w->lo[i] = upper ? total / 2 : total - total / 2;
		w->hi[i] = total - w->lo[i];
	}
	return true;
}

/* The window, with hi enlarged where ceil_mode adds a last position.  Whether it does
 * is not known of a size that is not: there is always room for one, and only `keep`
 * positions count. */
struct geometry {
	struct window w;
	int64_t hi0[MAX_SPATIAL];  /* hi as given */
	int64_t keep[MAX_SPATIAL]; /* dims; 0: all */
};

static bool
pool_geometry(struct build *b, const struct node *n, struct geometry *g)
{
	struct window *w = &g->w;
	const struct value *x = n->in[0];
	const int64_t *kernel;
	int nk = attr_ints(n, "kernel_shape", &kernel);

	if (x->rank < 3 || nk != x->rank - 2)
		return diag_invalid(b->diag, n->loc, "kernel_shape has %d entries for input %s", nk,
		    ops_dims_text(b->g, x->rank, x->dims));
	if (!ops_window_onnx(b, n, nk, x->dims + 2, kernel, w))
		return false;
	memcpy(g->hi0, w->hi, sizeof w->hi);
	memset(g->keep, 0, sizeof g->keep);
	for (int i = 0; attr_int(n, "ceil_mode") && i < nk; i++) {
		int64_t size = x->dims[2 + i], room, out;

		if (!dim_const(size)) {
			int64_t reach = w->dilation[i] * (w->kernel[i] - 1) + 1, pad = w->lo[i] + w->hi[i] + w->stride[i] - 1;

			out = pad >= reach ? dim_add(b->g, size, pad - reach) : dim_sub(b->g, size, reach - pad);
			out = dim_min(b->g, dim_div(b->g, out, w->stride[i]),
			    dim_div(b->g, dim_sub(b->g, dim_add(b->g, size, w->lo[i]), 1), w->stride[i]));
			g->keep[i] = dim_add(b->g, out, 1);
			w->hi[i] += w->stride[i] - 1;
			continue;
		}
		room = size + w->lo[i] + w->hi[i] - w->dilation[i] * (w->kernel[i] - 1) - 1;
		if (room < 0)
			continue; /* reported by the core's rule */
		out = (room + w->stride[i] - 1) / w->stride[i] + 1;
		/* the last window starts inside the input or its leading padding */
		if ((out - 1) * w->stride[i] >= size + w->lo[i])
			out--;
		if ((out - 1) * w->stride[i] > room)
			w->hi[i] += (out - 1) * w->stride[i] - room;
	}
	return true;
}

static struct value *
pool_core(struct build *b, enum op op, struct value *x, const struct window *w)
{
	struct attr a[4];

	ops_window_attrs(b, w, a);
	a[3] = attr_of_ints("kernel", w->n, w->kernel);
	return b_op(b, op, 1, &x, 4, a);
}

/* The positions that count. */
static struct value *
trimmed(struct build *b, struct value *y, const struct geometry *g)
{
	int64_t start[MAX_RANK] = {0}, count[MAX_RANK], step[MAX_RANK];
	bool all = true;

	if (!y)
		return NULL;
	memcpy(count, y->dims, sizeof count);
	for (int i = 0; i < MAX_RANK; i++)
		step[i] = 1;
	for (int i = 0; i < g->w.n; i++)
		if (g->keep[i]) {
			count[i + 2] = g->keep[i];
			all = false;
		}
	return all ? y : b_slice(b, y, start, count, step);
}

struct value *
ops_max_places(struct build *b, struct value *x, struct value *y, const struct window *w,
    bool column)
{
	struct value *in[2] = {x, y}, *tap, *at;
	int64_t thin[MAX_RANK];
	struct attr a[4];

	ops_window_attrs(b, w, a);
	a[3] = attr_of_ints("kernel", w->n, w->kernel);
	tap = b_cast(b, b_op(b, OP_max_pool_tap, 2, in, 4, a), DT_i64);
	for (int i = 0; i < y->rank; i++)
		thin[i] = 1;
	thin[0] = x->dims[0];
	at = b_mul(b, b_iota(b, DT_i64, y->rank, thin, 0), b_count(b, x->rank - 1, x->dims + 1));
	thin[0] = 1;
	thin[1] = x->dims[1];
	at = b_add(b, at, b_mul(b, b_iota(b, DT_i64, y->rank, thin, 1), b_count(b, w->n, x->dims + 2)));
	thin[1] = 1;
	for (int i = w->n - 1; i >= 0; i--) {
		struct value *here = tap, *from;
		struct value *stride = column ? b_count(b, i, x->dims + 2) : b_count(b, w->n - i - 1, x->dims + i + 3);

		thin[i + 2] = y->dims[i + 2];
		if (i > 0) { /* the last digit of what is left */
			tap = b_div(b, here, b_scalar(b, DT_i64, (double)w->kernel[i]));
			here = b_sub(b, here, b_muls(b, tap, (double)w->kernel[i]));
		}
		from = b_adds(b, b_muls(b, b_iota(b, DT_i64, y->rank, thin, i + 2), (double)w->stride[i]), (double)-w->lo[i]);
		here = b_add(b, from, b_muls(b, here, (double)w->dilation[i]));
		at = b_add(b, at, b_mul(b, here, stride));
		thin[i + 2] = 1;
	}
	return at;
}

bool
expand_MaxPool(struct build *b, const struct node *n, struct value **outs)
{
	struct geometry g;
	struct value *y;

	if (!pool_geometry(b, n, &g) || !(y = pool_core(b, OP_max_pool, n->in[0], &g.w)))
		return false;
	if (ops_wants(n, 1) && !(outs[1] = trimmed(b, ops_max_places(b, n->in[0], y, &g.w, attr_int(n, "storage_order")), &g)))
		return false;
	return (outs[0] = trimmed(b, y, &g)) != NULL;
}

/* Zeros behind an axis whose size is known at run time only. */
static struct value *
lengthened(struct build *b, struct value *y, int axis, int64_t want)
{
	struct value *at = b_iota(b, DT_i64, 1, &want, 0), *dim, *in;
	int64_t thin[MAX_RANK];

	if (!y || y->dims[axis] == want)
		return y;
	dim = b_dim(b, y->dims[axis]);
	in = b2(b, OP_lt, at, dim);
	for (int i = 0; i < y->rank; i++)
		thin[i] = i == axis ? want : 1;
	y = b_gather(b, y, b_max(b, b_min(b, at, b_adds(b, dim, -1)), b_dim(b, 0)), axis);
	return y ? b_select(b, b_reshape(b, in, y->rank, thin), y, b_scalar_like(b, y, 0)) : NULL;
}

/* ---- MaxUnpool: x, indices into the whole result, output_shape?.  The indices count
 * in the shape that kernel, strides and pads give; output_shape adds zeros behind it. */
bool
expand_MaxUnpool(struct build *b, const struct node *n, struct value **outs)
{
	struct value *x = n->in[0], *ix = n->in[1], *in[3], *y;
	int64_t stride[MAX_SPATIAL], pad[2 * MAX_SPATIAL], dims[MAX_RANK], total, count, *want;
	int64_t lo[MAX_RANK] = {0}, hi[MAX_RANK];
	struct attr axis = attr_of_int("axis", 0);
	const int64_t *kernel;
	int ns = x->rank - 2, nk = attr_ints(n, "kernel_shape", &kernel);

	if (ns < 1 || ns > MAX_SPATIAL || nk != ns || !dtype_is_int(ix->dtype) || x->rank != ix->rank)
		return diag_invalid(b->diag, n->loc, "input %s, indices %s, %d kernel extents",
		    ops_dims_text(b->g, x->rank, x->dims), ops_dims_text(b->g, ix->rank, ix->dims), nk);
	for (int i = 0; i < x->rank; i++)
		if (dim_const(x->dims[i]) && dim_const(ix->dims[i]) && x->dims[i] != ix->dims[i])
			return diag_invalid(b->diag, n->loc, "input %s, indices %s", ops_dims_text(b->g, x->rank, x->dims),
			    ops_dims_text(b->g, ix->rank, ix->dims));
	if (!ops_list(n, b->diag, "strides", ns, 1, stride) || !ops_list(n, b->diag, "pads", 2 * ns, 0, pad))
		return false;
	memcpy(dims, x->dims, sizeof dims);
	for (int i = 0; i < ns; i++) {
		if (stride[i] < 1 || stride[i] > INT32_MAX || kernel[i] < 1 || kernel[i] > INT32_MAX || pad[i] < 0 ||
		    pad[ns + i] < 0 || (dim_const(dims[i + 2]) && dims[i + 2] > INT32_MAX))
			return diag_invalid(b->diag, n->loc, "kernel %lld, stride %lld, pads %lld, %lld",
			    (long long)kernel[i], (long long)stride[i], (long long)pad[i], (long long)pad[ns + i]);
		if (!dim_const(dims[i + 2])) {
			dims[i + 2] = dim_mul(b->g, dim_sub(b->g, dims[i + 2], 1), stride[i]);
			dims[i + 2] = dim_sub(b->g, dim_add(b->g, dims[i + 2], kernel[i]), pad[i] + pad[ns + i]);
			continue;
		}
		dims[i + 2] = (dims[i + 2] - 1) * stride[i] + kernel[i];
		if (pad[i] >= dims[i + 2] || pad[ns + i] >= dims[i + 2] - pad[i])
			return diag_invalid(b->diag, n->loc, "nothing is left of axis %d", i + 2);
		dims[i + 2] -= pad[i] + pad[ns + i];
	}
	if (ops_all_const(x->rank, dims) && (dims_count(x->rank, dims) < 0 || dims_count(x->rank, dims) > INT64_MAX / 64))
		return diag_invalid(b->diag, n->loc, "the result's size overflows");
	total = count = 1;
	for (int i = 0; i < x->rank; i++) {
		total = dim_mul(b->g, total, dims[i]);
		count = dim_mul(b->g, count, x->dims[i]);
	}
	in[0] = b_expand(b, b_scalar_like(b, x, 0), 1, &total);
	in[1] = b_reshape(b, ix, 1, &count);
	in[2] = b_reshape(b, x, 1, &count);
	y = in[0] && in[1] && in[2] ? b_op(b, OP_scatter_set, 3, in, 1, &axis) : NULL;
	y = b_reshape(b, y, x->rank, dims);
	if (ops_in(n, 2)) {
		int k = ops_ints(b, n, 2, &want);

		if (k < 0)
			return false;
		if (k != x->rank)
			return diag_invalid(b->diag, n->loc, "output_shape has %d entries for rank %d", k, x->rank);
		for (int i = 0; i < k; i++) {
			hi[i] = 0;
			if (!dim_const(dims[i])) {
				y = lengthened(b, y, i, want[i]);
				continue;
			}
			if (want[i] < dims[i] || want[i] > INT32_MAX)
				return diag_invalid(b->diag, n->loc, "output_shape %lld of axis %d, which needs %lld",
				    (long long)want[i], i, (long long)dims[i]);
			hi[i] = want[i] - dims[i];
		}
		y = y ? b_pad(b, y, lo, hi, 0) : NULL;
	}
	return (outs[0] = y) != NULL;
}

/* The same where sizes are known at run time only: ones are summed.  hi0: padding counts. */
static struct value *
counted_weights(struct build *b, const struct value *x, const struct window *w, const int64_t *hi0)
{
	struct window over = *w;
	int64_t dims[MAX_RANK] = {1, 1};
	struct value *one = b_scalar_like(b, x, 1), *count;

	for (int i = 0; i < w->n; i++) {
		dims[2 + i] = x->dims[2 + i];
		if (!hi0)
			continue;
		dims[2 + i] = dim_add(b->g, dims[2 + i], w->lo[i] + hi0[i]);
		over.lo[i] = 0;
		over.hi[i] -= hi0[i];
	}
	count = pool_core(b, OP_sum_pool, b_expand(b, one, 2 + w->n, dims), &over);
	return count ? b_div(b, one, b_max(b, count, one)) : NULL;
}

/* The same by pooling ones, for sizes that are not known. */
static struct value *
pool_counts(struct build *b, const struct node *n, const struct geometry *g)
{
	const struct value *x = n->in[0];
	int64_t dims[MAX_RANK], lo[MAX_RANK] = {0}, hi[MAX_RANK] = {0};
	struct window w = g->w;
	struct value *ones;

	memcpy(dims, x->dims, sizeof dims);
	dims[0] = dims[1] = 1;
	ones = b_expand(b, b_scalar_like(b, x, 1), x->rank, dims);
	if (attr_int(n, "count_include_pad")) { /* padding counts, what ceil_mode adds does not */
		for (int i = 0; i < w.n; i++) {
			lo[i + 2] = w.lo[i];
			hi[i + 2] = g->hi0[i];
			w.hi[i] -= g->hi0[i];
			w.lo[i] = 0;
		}
		ones = b_pad(b, ones, lo, hi, 1);
	}
	ones = ones ? pool_core(b, OP_sum_pool, ones, &w) : NULL;
	return ones ? b_div(b, b_scalar_like(b, x, 1), b_max(b, ones, b_scalar_like(b, x, 1))) : NULL;
}

/* 1/number of taps that count at every output position, as [1,1,out...]; or one
 * scalar where it is everywhere the same. */
static struct value *
pool_weights(struct build *b, const struct node *n, const struct value *y, const struct geometry *g)
{
	const struct window *w = &g->w;
	const int64_t *hi0 = g->hi0;
	const struct value *x = n->in[0];
	bool padded = attr_int(n, "count_include_pad"), uniform = true, known = true;
	int64_t dims[MAX_RANK], idx[MAX_RANK] = {0}, full = 1;
	struct tensor *t;
	struct value *v;

	for (int i = 0; i < w->n; i++) {
		full *= w->kernel[i];
		known &= dim_const(x->dims[2 + i]);
		uniform &= (w->lo[i] == 0 && w->hi[i] == 0) || (padded && w->hi[i] == hi0[i]);
	}
	if (!uniform && !known)
		return pool_counts(b, n, g);
	if (uniform)
		return b_scalar_like(b, x, 1.0 / (double)full);
	dims[0] = dims[1] = 1;
	memcpy(dims + 2, y->dims + 2, sizeof *dims * (size_t)w->n);
	if (!ops_all_const(y->rank, dims))
		return counted_weights(b, x, w, padded ? hi0 : NULL);
	if (dims_count(y->rank, dims) > INT64_C(1) << 28) {
		diag_unsupported(b->diag, n->loc, "padded average of a huge size");
		return NULL;
	}
	t = tensor_new(b->g->arena, x->dtype, y->rank, dims);
	for (int64_t o = 0, total = tensor_count(t); o < total; o++) {
		double count = 1;

		for (int i = 0; i < w->n; i++) {
			int64_t from = padded ? -w->lo[i] : 0, k = 0;
			int64_t to = x->dims[2 + i] + (padded ? hi0[i] : 0);

			for (int64_t tap = 0; tap < w->kernel[i]; tap++) {
				int64_t p = idx[2 + i] * w->stride[i] + tap * w->dilation[i] - w->lo[i];

				k += p >= from && p < to;
			}
			count *= (double)k;
		}
		dtype_put_f(x->dtype, t->data, o, count > 0 ? 1 / count : 0);
		ops_next(y->rank, dims, idx);
	}
	v = graph_const(b->g, NULL, t);
	v->loc = b->loc;
	return v;
}

bool
expand_AveragePool(struct build *b, const struct node *n, struct value **outs)
{
	struct geometry g;
	struct value *y;

	if (!pool_geometry(b, n, &g))
		return false;
	y = pool_core(b, OP_sum_pool, n->in[0], &g.w);
	if (!y)
		return false;
	return (outs[0] = trimmed(b, b_mul(b, y, pool_weights(b, n, y, &g)), &g)) != NULL;
}

/* s^(1/p) for s >= 0, with slope 0 at 0, where it is infinite and meets the 0 of |x|^p. */
static struct value *
root(struct build *b, struct value *s, double p)
{
	struct value *zero, *some;

	if (!s)
		return NULL;
	zero = b_scalar_like(b, s, 0);
	some = b2(b, OP_lt, zero, s);
	s = b_select(b, some, s, b_scalar_like(b, s, 1));
	return b_select(b, some, p == 2 ? b_sqrt(b, s) : b2(b, OP_pow, s, b_scalar_like(b, zero, 1 / p)), zero);
}

/* (sum |x|^p)^(1/p) over windows */
bool
expand_LpPool(struct build *b, const struct node *n, struct value **outs)
{
	struct geometry g;
	struct value *x = n->in[0], *s;
	double p = (double)attr_int(n, "p");

	if (!pool_geometry(b, n, &g))
		return false;
	if (p == 2)
		s = b_mul(b, x, x);
	else
		s = b2(b, OP_pow, b1(b, OP_abs, x), b_scalar_like(b, x, p));
	s = s ? trimmed(b, pool_core(b, OP_sum_pool, s, &g.w), &g) : NULL;
	return (outs[0] = root(b, s, p)) != NULL;
}

static int
spatial_axes(struct build *b, const struct node *n, int64_t *axes)
{
	int rank = n->in[0]->rank;

	if (rank < 3) {
		diag_invalid(b->diag, n->loc, "pooling of rank %d; [N,C,spatial...] is expected", rank);
		return -1;
	}
	for (int i = 2; i < rank; i++)
		axes[i - 2] = i;
	return rank - 2;
}

bool
expand_GlobalAveragePool(struct build *b, const struct node *n, struct value **outs)
{
	int64_t axes[MAX_RANK];
	int k = spatial_axes(b, n, axes);

	return k > 0 && (outs[0] = b_mean(b, n->in[0], k, axes, true)) != NULL;
}

bool
expand_GlobalMaxPool(struct build *b, const struct node *n, struct value **outs)
{
	int64_t axes[MAX_RANK];
	int k = spatial_axes(b, n, axes);

	return k > 0 && (outs[0] = b_reduce(b, OP_reduce_max, n->in[0], k, axes, true)) != NULL;
}

bool
expand_GlobalLpPool(struct build *b, const struct node *n, struct value **outs)
{
	int64_t axes[MAX_RANK];
	int k = spatial_axes(b, n, axes);
	struct value *x = n->in[0], *s;
	double p = (double)attr_int(n, "p");

	if (k < 0)
		return false;
	s = p == 2 ? b_mul(b, x, x) : b2(b, OP_pow, b1(b, OP_abs, x), b_scalar_like(b, x, p));
	s = b_reduce(b, OP_reduce_sum, s, k, axes, true);
	return (outs[0] = root(b, s, p)) != NULL;
}
