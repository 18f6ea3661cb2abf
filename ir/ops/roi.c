/* roi.c -- pooling over regions of interest: RoiAlign reads each region at places
 * between the elements, MaxRoiPool rounds it to whole elements. */
#include <math.h>

#include "ir/ops/ops_int.h"

/* Element k of the last axis of rois [R,n], as [R,1,1]. */
static struct value *
corner(struct build *b, struct value *rois, int k)
{
	int64_t start[2] = {0, k}, count[2] = {rois->dims[0], 1}, step[2] = {1, 1};

	return b_reshape(b, b_slice(b, rois, start, count, step), 3, (int64_t[]){rois->dims[0], 1, 1});
}

static bool
rois_fit(struct build *b, const struct node *n, int64_t width)
{
	const struct value *x = n->in[0], *rois = n->in[1];

	if (x->rank != 4 || rois->rank != 2 || (rois->dims[1] != width && dim_const(rois->dims[1])) || !dtype_is_float(x->dtype) ||
	    rois->dtype != x->dtype)
		return diag_invalid(b->diag, n->loc, "input %s, regions %s; [N,C,H,W] and [R,%lld] of one type are expected",
		    value_type_text(b->g, x), value_type_text(b->g, rois), (long long)width);
	if (dim_hi(b->g, x->dims[2]) > INT32_MAX || dim_hi(b->g, x->dims[3]) > INT32_MAX || x->dims[2] == 0 || x->dims[3] == 0)
		return diag_unsupported(b->diag, n->loc, "input %s", ops_dims_text(b->g, 4, x->dims));
	return true;
}

/* ---- RoiAlign
 *
 * Along an axis of `size` elements region r has `bins` bins of g samples, in the
 * middles of g equal parts of the bin.  A sample beyond [-1, size] counts as zero,
 * within that the image's edge elements go on outside.  g is sampling_ratio, or
 * (0) ceil(bin), which data decides: then `most` samples are made and those from g
 * on are left out.  most allows for regions as large as the image; a larger one
 * is sampled by that many. */
struct axis_samples {
	int64_t size, bins, most; /* size: a dim */
	struct value *low, *high;   /* [R,bins,most] i64 */
	struct value *wlow, *whigh; /* weights; zero outside the image */
	struct value *counts;       /* bool: sample < g; NULL: all do */
	struct value *g;            /* [R,1,1] samples per bin, at least 0; NULL: most */
};

/* The greatest ceil(bin) of constant regions, or -1. */
static int64_t
most_samples(const struct value *rois, int k, double scale, bool half, int64_t bins)
{
	int64_t most = 0;

	if (rois->kind != VAL_CONST || !dim_const(rois->dims[0]))
		return -1;
	for (int64_t r = 0; r < rois->dims[0]; r++) {
		double lo = dtype_get_f(rois->dtype, rois->data->data, 4 * r + k) * scale;
		double hi = dtype_get_f(rois->dtype, rois->data->data, 4 * r + k + 2) * scale;
		double g = ceil((hi - lo < 1 && !half ? 1 : hi - lo) / (double)bins * (1 + 1e-6));

		if (!(g < 1 << 16))
			return -1;
		most = g > (double)most ? (int64_t)g : most;
	}
	return most;
}

static bool
axis_samples(struct build *b, const struct node *n, int k, struct axis_samples *s)
{
	struct value *rois = n->in[1], *start, *len, *bin, *at, *inside, *size;
	double scale = attr_float(n, "spatial_scale");
	int64_t ratio = attr_int(n, "sampling_ratio"), thin[3] = {1, 1, 1};
	bool half = !strcmp(attr_string(n, "coordinate_transformation_mode"), "half_pixel");
	enum dtype t = n->in[0]->dtype;

	s->most = ratio ? ratio : most_samples(rois, k, scale, half, s->bins);
	if (s->most < 0)
		s->most = (dim_hi(b->g, s->size) + s->bins - 1) / s->bins + 1;
	if (s->most == 0)
		s->most = 1;
	start = b_muls(b, corner(b, rois, k), scale);
	len = b_sub(b, b_muls(b, corner(b, rois, k + 2), scale), start);
	if (half)
		start = b_adds(b, start, -0.5);
	else
		len = len ? b_max(b, len, b_scalar_like(b, len, 1)) : NULL;
	bin = b_muls(b, len, 1.0 / (double)s->bins);
	if (!bin)
		return false;
	thin[2] = s->most;
	at = b_adds(b, b_iota(b, t, 3, thin, 2), 0.5);
	if (ratio)
		at = b_muls(b, at, 1.0 / (double)ratio);
	else {
		struct value *g = b1(b, OP_ceil, b_muls(b, len, 1.0 / (double)s->bins));

		s->g = b_min(b, b_max(b, g, b_scalar_like(b, bin, 0)), b_scalar_like(b, bin, (double)s->most));
		at = b_div(b, at, s->g ? b_max(b, s->g, b_scalar_like(b, bin, 1)) : NULL);
		s->counts = s->g ? b2(b, OP_lt, b_iota(b, t, 3, thin, 2), s->g) : NULL;
		if (!s->counts)
			return false;
	}
	thin[2] = 1;
	thin[1] = s->bins;
	at = b_add(b, start, b_mul(b, b_add(b, b_iota(b, t, 3, thin, 1), at), bin));
	if (!at)
		return false;
	size = b_cast(b, b_dim(b, s->size), t);
	inside = b2(b, OP_and, b2(b, OP_le, b_scalar_like(b, at, -1), at), b2(b, OP_le, at, size));
	if (s->counts)
		inside = b2(b, OP_and, inside, s->counts);
	at = b_min(b, b_max(b, at, b_scalar_like(b, at, 0)), b_adds(b, size, -1));
	if (at && inside) {
		struct value *low = b1(b, OP_floor, at), *one = b_cast(b, inside, t);

		s->whigh = b_mul(b, b_sub(b, at, low), one);
		s->wlow = b_sub(b, one, s->whigh);
		s->low = b_cast(b, low, DT_i64);
		s->high = b_min(b, b_adds(b, s->low, 1), b_adds(b, b_dim(b, s->size), -1));
	}
	return s->high != NULL;
}

/* [R,bins,most] as [R,bins,1,most,1] (y) or [R,1,bins,1,most] (x) */
static struct value *
spread(struct build *b, struct value *v, bool x)
{
	int64_t d[5];

	if (!v)
		return NULL;
	d[0] = v->dims[0];
	d[1] = x ? 1 : v->dims[1];
	d[2] = x ? v->dims[1] : 1;
	d[3] = x ? 1 : v->dims[2];
	d[4] = x ? v->dims[2] : 1;
	return b_reshape(b, v, 5, d);
}

bool
expand_RoiAlign(struct build *b, const struct node *n, struct value **outs)
{
	struct value *x = n->in[0], *batch = n->in[2], *rows, *y = NULL, *image;
	const char *mode = attr_string(n, "mode"), *coord = attr_string(n, "coordinate_transformation_mode");
	struct axis_samples v = {.bins = attr_int(n, "output_height")}, h = {.bins = attr_int(n, "output_width")};
	int64_t ratio = attr_int(n, "sampling_ratio"), two[2], one[5] = {1, 1, 1, 1, 1}, regions = n->in[1]->dims[0];
	int64_t over[2] = {3, 4};
	bool max = !strcmp(mode, "max");

	if (!rois_fit(b, n, 4))
		return false;
	if ((!max && strcmp(mode, "avg")) || (strcmp(coord, "half_pixel") && strcmp(coord, "output_half_pixel")))
		return diag_invalid(b->diag, n->loc, "mode \"%s\", coordinate_transformation_mode \"%s\"", mode, coord);
	if (v.bins < 1 || h.bins < 1 || v.bins > 1 << 16 || h.bins > 1 << 16 || ratio < 0 || ratio > 1 << 12)
		return diag_invalid(b->diag, n->loc, "output %lldx%lld, sampling_ratio %lld", (long long)v.bins,
		    (long long)h.bins, (long long)ratio);
	if (batch->rank != 1 || (batch->dims[0] != regions && dim_const(regions) && dim_const(batch->dims[0])) || !dtype_is_int(batch->dtype))
		return diag_invalid(b->diag, n->loc, "batch_indices %s for regions %s", value_type_text(b->g, batch),
		    ops_dims_text(b->g, 2, n->in[1]->dims));
	v.size = x->dims[2];
	h.size = x->dims[3];
	if (!axis_samples(b, n, 1, &v) || !axis_samples(b, n, 0, &h))
		return false;
	two[0] = dim_mul(b->g, x->dims[0], dim_mul(b->g, x->dims[2], x->dims[3]));
	two[1] = x->dims[1];
	rows = b_reshape(b, b_transpose(b, x, (int64_t[]){0, 2, 3, 1}), 2, two);
	one[0] = regions;
	image = b_mul(b, b_reshape(b, b_cast(b, batch, DT_i64), 5, one), b_count(b, 2, x->dims + 2));
	for (int c = 0; c < 4; c++) {
		struct value *at = b_mul(b, spread(b, c & 2 ? v.high : v.low, false), b_dim(b, h.size));
		struct value *w = b_mul(b, spread(b, c & 2 ? v.whigh : v.wlow, false),
		    spread(b, c & 1 ? h.whigh : h.wlow, true)), *one_of;

		at = b_add(b, b_add(b, at, spread(b, c & 1 ? h.high : h.low, true)), image);
		one_of = b_mul(b, b_gather(b, rows, at, 0), w ? b_unsqueeze(b, w, 5) : NULL);
		y = !y ? one_of : max ? b_max(b, y, one_of) : b_add(b, y, one_of);
	}
	if (max && v.g) { /* a region without samples gives 0 */
		struct value *counts = b2(b, OP_and, spread(b, v.counts, false), spread(b, h.counts, true));

		y = b_select(b, counts ? b_unsqueeze(b, counts, 5) : NULL, y, b_scalar_like(b, x, -INFINITY));
	}
	y = y ? b_reduce(b, max ? OP_reduce_max : OP_reduce_sum, y, 2, over, false) : NULL;
	if (v.g) {
		struct value *g = b_mul(b, v.g, h.g);

		one[0] = regions;
		g = g ? b_reshape(b, g, 4, one) : NULL;
		if (max)
			y = b_select(b, b2(b, OP_lt, b_scalar_like(b, x, 0), g), y, b_scalar_like(b, x, 0));
		else
			y = b_div(b, y, b_max(b, g, b_scalar_like(b, x, 1)));
	} else if (!max)
		y = b_muls(b, y, 1.0 / (double)(ratio * ratio));
	return (outs[0] = b_transpose(b, y, (int64_t[]){0, 3, 1, 2})) != NULL;
}

/* ---- MaxRoiPool: corners rounded to whole elements, both ends within; bin i of k
 * goes from floor(i*len/k) up to ceil((i+1)*len/k), bins share elements.  An empty
 * bin is 0. */

/* bool [R,1,bins,1,size] or so: whether element e is in bin i; shape: where bins and size go */
static struct value *
bin_mask(struct build *b, const struct node *n, int k, int64_t bins, int64_t size, const int *shape)
{
	struct value *rois = n->in[1], *lo, *hi, *len, *bin, *from, *to, *e;
	double scale = attr_float(n, "spatial_scale");
	int64_t d[5] = {1, 1, 1, 1, 1}, regions[5] = {rois->dims[0], 1, 1, 1, 1};

	/* half away from zero, as C's round */
	lo = b_muls(b, b_reshape(b, corner(b, rois, k), 5, regions), scale);
	hi = b_muls(b, b_reshape(b, corner(b, rois, k + 2), 5, regions), scale);
	if (!lo || !hi)
		return NULL;
	lo = b_mul(b, b1(b, OP_sign, lo), b1(b, OP_floor, b_adds(b, b1(b, OP_abs, lo), 0.5)));
	hi = b_mul(b, b1(b, OP_sign, hi), b1(b, OP_floor, b_adds(b, b1(b, OP_abs, hi), 0.5)));
	len = b_adds(b, b_sub(b, hi, lo), 1);
	len = len ? b_max(b, len, b_scalar_like(b, len, 1)) : NULL;
	bin = len ? b_div(b, len, b_scalar_like(b, len, (double)bins)) : NULL;
	d[shape[0]] = bins;
	from = b_iota(b, rois->dtype, 5, d, shape[0]);
	to = b_mul(b, b_adds(b, from, 1), bin);
	from = b_mul(b, from, bin);
	if (!from || !to)
		return NULL;
	from = b_add(b, b1(b, OP_floor, from), lo);
	to = b_add(b, b1(b, OP_ceil, to), lo);
	d[shape[0]] = 1;
	d[shape[1]] = size;
	e = b_iota(b, rois->dtype, 5, d, shape[1]);
	return from && to ? b2(b, OP_and, b2(b, OP_le, from, e), b2(b, OP_lt, e, to)) : NULL;
}

bool
expand_MaxRoiPool(struct build *b, const struct node *n, struct value **outs)
{
	struct value *x = n->in[0], *y, *image, *mask, *low;
	int64_t bins[2], regions, d[5], axis, count[2] = {n->in[1]->dims[0], 1};
	static const int across[2] = {3, 4}, down[2] = {2, 3};

	if (!rois_fit(b, n, 5))
		return false;
	if (!attr_has(n, "pooled_shape"))
		return diag_invalid(b->diag, n->loc, "pooled_shape is missing");
	if (!ops_list(n, b->diag, "pooled_shape", 2, 1, bins))
		return false;
	if (bins[0] < 1 || bins[1] < 1 || bins[0] > 1 << 16 || bins[1] > 1 << 16)
		return diag_invalid(b->diag, n->loc, "pooled_shape %lld, %lld", (long long)bins[0], (long long)bins[1]);
	regions = n->in[1]->dims[0];
	image = b_slice(b, n->in[1], (int64_t[]){0, 0}, count, (int64_t[]){1, 1});
	image = image ? b_cast(b, b_reshape(b, image, 1, &regions), DT_i64) : NULL;
	low = b_scalar_like(b, x, -INFINITY);
	/* [R,C,H,1,W] to [R,C,H,bins] */
	d[0] = regions;
	memcpy(d + 1, x->dims + 1, 2 * sizeof *d);
	d[3] = 1;
	d[4] = x->dims[3];
	y = b_reshape(b, b_gather(b, x, image, 0), 5, d);
	mask = bin_mask(b, n, 1, bins[1], x->dims[3], across);
	axis = 4;
	y = y && mask ? b_reduce(b, OP_reduce_max, b_select(b, mask, y, low), 1, &axis, false) : NULL;
	/* [R,C,1,H,bins] to [R,C,bins,bins] */
	d[2] = 1;
	d[3] = x->dims[2];
	d[4] = bins[1];
	y = b_reshape(b, y, 5, d);
	mask = bin_mask(b, n, 2, bins[0], x->dims[2], down);
	axis = 3;
	y = y && mask ? b_reduce(b, OP_reduce_max, b_select(b, mask, y, low), 1, &axis, false) : NULL;
	y = b_select(b, y ? b2(b, OP_eq, y, low) : NULL, b_scalar_like(b, x, 0), y);
	return (outs[0] = y) != NULL;
}
