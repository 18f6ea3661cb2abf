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

/* The window, with hi enlarged where ceil_mode adds a last position; hi0: before. */
static bool
pool_geometry(struct build *b, const struct node *n, struct window *w, int64_t *hi0)
{
	const struct value *x = n->in[0];
	const int64_t *kernel;
	int nk = attr_ints(n, "kernel_shape", &kernel);

	if (x->rank < 3 || nk != x->rank - 2)
		return diag_invalid(b->diag, n->loc, "kernel_shape has %d entries for input %s", nk,
		    ops_dims_text(b->g, x->rank, x->dims));
	if (!ops_window_onnx(b, n, nk, x->dims + 2, kernel, w))
		return false;
	memcpy(hi0, w->hi, sizeof w->hi);
	for (int i = 0; attr_int(n, "ceil_mode") && i < nk; i++) {
		int64_t size = x->dims[2 + i], room, out;

		if (!dim_const(size))
			return diag_unsupported(b->diag, n->loc, "ceil_mode with a symbolic size");
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

bool
expand_MaxPool(struct build *b, const struct node *n, struct value **outs)
{
	struct window w;
	int64_t hi0[MAX_SPATIAL];

	if (ops_wants(n, 1))
		return diag_unsupported(b->diag, n->loc, "the Indices output of MaxPool");
	if (!pool_geometry(b, n, &w, hi0))
		return false;
	return (outs[0] = pool_core(b, OP_max_pool, n->in[0], &w)) != NULL;
}

/* 1/number of taps that count at every output position, as [1,1,out...]; or one
 * scalar where it is everywhere the same. */
static struct value *
pool_weights(struct build *b, const struct node *n, const struct value *y, const struct window *w,
    const int64_t *hi0)
{
	const struct value *x = n->in[0];
	bool padded = attr_int(n, "count_include_pad"), uniform = true;
	int64_t dims[MAX_RANK], idx[MAX_RANK] = {0}, full = 1;
	struct tensor *t;
	struct value *v;

	for (int i = 0; i < w->n; i++) {
		full *= w->kernel[i];
		if (!dim_const(x->dims[2 + i])) {
			if ((w->lo[i] || w->hi[i]) && !padded) {
				diag_unsupported(b->diag, n->loc, "padded average of a symbolic size");
				return NULL;
			}
			continue;
		}
		uniform &= (w->lo[i] == 0 && w->hi[i] == 0) || (padded && w->hi[i] == hi0[i]);
	}
	if (uniform)
		return b_scalar_like(b, x, 1.0 / (double)full);
	dims[0] = dims[1] = 1;
	memcpy(dims + 2, y->dims + 2, sizeof *dims * (size_t)w->n);
	if (!ops_all_const(y->rank, dims) || dims_count(y->rank, dims) > INT64_C(1) << 28) {
		diag_unsupported(b->diag, n->loc, "padded average of a symbolic or huge size");
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
	struct window w;
	int64_t hi0[MAX_SPATIAL];
	struct value *y;

	if (!pool_geometry(b, n, &w, hi0))
		return false;
	y = pool_core(b, OP_sum_pool, n->in[0], &w);
	if (!y)
		return false;
	return (outs[0] = b_mul(b, y, pool_weights(b, n, y, &w, hi0))) != NULL;
}

/* (sum |x|^p)^(1/p) over windows */
bool
expand_LpPool(struct build *b, const struct node *n, struct value **outs)
{
	struct window w;
	int64_t hi0[MAX_SPATIAL];
	struct value *x = n->in[0], *s;
	double p = (double)attr_int(n, "p");

	if (!pool_geometry(b, n, &w, hi0))
		return false;
	if (p == 2)
		s = b_mul(b, x, x);
	else
		s = b2(b, OP_pow, b1(b, OP_abs, x), b_scalar_like(b, x, p));
	s = s ? pool_core(b, OP_sum_pool, s, &w) : NULL;
	outs[0] = p == 2 ? b_sqrt(b, s) : b2(b, OP_pow, s, b_scalar_like(b, x, 1 / p));
	return outs[0] != NULL;
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
	outs[0] = p == 2 ? b_sqrt(b, s) : b2(b, OP_pow, s, b_scalar_like(b, x, 1 / p));
	return outs[0] != NULL;
}
