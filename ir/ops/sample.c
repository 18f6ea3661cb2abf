/* sample.c -- images read at places that data gives: AffineGrid, GridSample, DeformConv; Col2Im:
 * windows added back into their image. */
#include "ir/ops/ops_int.h"

struct grid {
	struct value *x, *rows; /* rows: [N*places, C] */
	int n;                  /* spatial axes */
	const int64_t *size;
	bool align, border, reflect;
	int taps;
	struct value *at[4][MAX_SPATIAL], *weight[4][MAX_SPATIAL]; /* by tap and axis */
};

/* Component i of the grid's last axis, which names the last spatial axis first. */
static struct value *
component(struct build *b, struct value *grid, int i)
{
	int64_t start[MAX_RANK] = {0}, step[MAX_RANK], count[MAX_RANK];
	int last = grid->rank - 1;

	for (int d = 0; d < grid->rank; d++) {
		count[d] = d == last ? 1 : grid->dims[d];
		step[d] = 1;
	}
	start[last] = i;
	return b_reshape(b, b_slice(b, grid, start, count, step), last, grid->dims);
}

/* An axis' size as a number of p's type, with something added. */
static struct value *
sized(struct build *b, const struct value *p, int64_t size, double plus)
{
	if (dim_const(size))
		return b_scalar_like(b, p, (double)size + plus);
	return b_adds(b, b_cast(b, b_dim(b, size), p->dtype), plus);
}

/* A triangle wave between the middles (align) or the edges of the end pixels. */
static struct value *
reflected(struct build *b, struct value *p, const struct grid *g, int64_t size)
{
	double lo = g->align ? 0 : -0.5;
	struct value *twice, *wave;

	if (!p || (g->align && size == 1))
		return p ? b_muls(b, p, 0) : NULL;
	twice = b_muls(b, sized(b, p, size, g->align ? -1 : 0), 2);
	if (!dim_const(size)) /* nothing to reflect about: all is 0 then */
		twice = b_max(b, twice, b_scalar_like(b, p, 1e-30));
	p = b1(b, OP_abs, b_adds(b, p, -lo));
	wave = p && twice ? b2(b, OP_fmod, p, twice) : NULL;
	return wave ? b_adds(b, b_min(b, wave, b_sub(b, twice, wave)), lo) : NULL;
}

static struct value *
clipped(struct build *b, struct value *p, int64_t size)
{
	if (!p)
		return NULL;
	return b_min(b, b_max(b, p, b_scalar_like(b, p, 0)), sized(b, p, size, -1));
}

/* Keys' kernel, a = -0.75, at distance d >= 0: within 1, or from 1 to 2 */
static struct value *
cubic(struct build *b, struct value *d, bool near)
{
	double a = -0.75;

	if (near)
		return b_adds(b, b_mul(b, b_mul(b, b_adds(b, b_muls(b, d, a + 2), -(a + 3)), d), d), 1);
	return b_adds(b, b_mul(b, b_adds(b, b_mul(b, b_adds(b, b_muls(b, d, a), -5 * a), d), 8 * a), d), -4 * a);
}

/* -1 to 1 as elements: of the middles of the end pixels, or of their edges */
static struct value *
pixels(struct build *b, const struct grid *g, struct value *p, int64_t size)
{
	if (!p)
		return NULL;
	p = b_mul(b, b_adds(b, p, 1), b_muls(b, sized(b, p, size, g->align ? -1 : 0), 0.5));
	return g->align ? p : b_adds(b, p, -0.5);
}

/* Which elements of the axis count for positions p, and how much. */
static bool
taps(struct build *b, struct grid *g, struct value *p, int axis, const char *mode)
{
	int64_t size = g->size[axis];
	struct value *floor, *frac;

	if (g->taps == 1)
		p = b1(b, OP_round, p);
	if (g->reflect)
		p = reflected(b, p, g, size);
	else if (g->border)
		p = clipped(b, p, size);
	floor = g->taps == 1 ? b1(b, OP_round, p) : b1(b, OP_floor, p);
	frac = b_sub(b, p, floor);
	for (int t = 0; t < g->taps; t++) {
		struct value *at = b_adds(b, floor, g->taps == 4 ? t - 1 : t), *w, *in;

		if (g->taps == 1)
			w = NULL;
		else if (mode[0] == 'l')
			w = t ? frac : b_adds(b, b_neg(b, frac), 1);
		else
			w = cubic(b, t < 2 ? b_adds(b, frac, 1 - t) : b_adds(b, b_neg(b, frac), t - 1), t == 1 || t == 2);
		if (g->reflect)
			at = b1(b, OP_round, reflected(b, at, g, size));
		in = clipped(b, at, size);
		if (!in)
			return false;
		if (!g->reflect && !g->border) {
			struct value *one = b_cast(b, b2(b, OP_eq, in, at), in->dtype);

			w = w ? b_mul(b, w, one) : one;
		}
		g->at[t][axis] = b_cast(b, in, DT_i64);
		g->weight[t][axis] = w;
		if (!g->at[t][axis])
			return false;
	}
	return true;
}

/* The sum over all combinations of the axes' taps, for positions of `rank` axes of
 * which the first is the image: [images, places..., C]. */
static struct value *
sampled(struct build *b, struct grid *g, int rank)
{
	int64_t dims[MAX_RANK];
	int which[MAX_SPATIAL] = {0};
	struct value *sum = NULL, *image;

	for (int i = 0; i < rank; i++)
		dims[i] = i ? 1 : g->x->dims[0];
	image = b_mul(b, b_iota(b, DT_i64, rank, dims, 0), b_count(b, g->n, g->size));
	for (;;) {
		struct value *at = image, *w = NULL, *v;
		int i;

		for (i = g->n - 1; i >= 0; i--) {
			struct value *wi = g->weight[which[i]][i];

			at = b_add(b, at, b_mul(b, g->at[which[i]][i], b_count(b, g->n - i - 1, g->size + i + 1)));
			w = !w ? wi : wi ? b_mul(b, w, wi) : w;
		}
		v = b_gather(b, g->rows, at, 0);
		if (w)
			v = b_mul(b, v, b_cast(b, b_unsqueeze(b, w, rank), g->x->dtype));
		sum = sum ? b_add(b, sum, v) : v;
		for (i = g->n - 1; i >= 0 && ++which[i] == g->taps; i--)
			which[i] = 0;
		if (i < 0 || !sum)
			return sum;
	}
}

/* [N,C,spatial...] as [N*places, C] */
static struct value *
pixel_rows(struct build *b, struct value *x)
{
	int64_t perm[MAX_RANK], two[2];

	if (!x)
		return NULL;
	perm[0] = 0;
	perm[x->rank - 1] = 1;
	for (int i = 2; i < x->rank; i++)
		perm[i - 1] = i;
	two[0] = x->dims[0];
	for (int i = 2; i < x->rank; i++)
		two[0] = dim_mul(b->g, two[0], x->dims[i]);
	two[1] = x->dims[1];
	return b_reshape(b, b_transpose(b, x, perm), 2, two);
}

bool
expand_GridSample(struct build *b, const struct node *n, struct value **outs)
{
	struct value *x = n->in[0], *grid = n->in[1], *y;
	const char *mode = attr_string(n, "mode"), *pad = attr_string(n, "padding_mode");
	struct grid g = {.x = x, .n = x->rank - 2, .size = x->dims + 2, .align = attr_int(n, "align_corners")};
	int64_t perm[MAX_RANK];

	g.taps = !strcmp(mode, "nearest") ? 1 : !strcmp(mode, "linear") ? 2 : !strcmp(mode, "cubic") ? 4 : 0;
	g.border = !strcmp(pad, "border");
	g.reflect = !strcmp(pad, "reflection");
	if (!g.taps || (!g.border && !g.reflect && strcmp(pad, "zeros")))
		return diag_invalid(b->diag, n->loc, "mode \"%s\", padding_mode \"%s\"", attr_string(n, "mode"), pad);
	if (g.n < 1 || g.n > MAX_SPATIAL || grid->rank != x->rank || (grid->dims[0] != x->dims[0] && dim_const(grid->dims[0]) && dim_const(x->dims[0])) ||
	    (grid->dims[grid->rank - 1] != g.n && dim_const(grid->dims[grid->rank - 1])) || !dtype_is_float(grid->dtype))
		return diag_invalid(b->diag, n->loc, "input %s, grid %s", ops_dims_text(b->g, x->rank, x->dims),
		    ops_dims_text(b->g, grid->rank, grid->dims));
	if (ops_all_const(x->rank, x->dims) && dims_count(x->rank, x->dims) < 1)
		return diag_unsupported(b->diag, n->loc, "input %s", ops_dims_text(b->g, x->rank, x->dims));
	for (int i = 0; i < g.n; i++)
		if (!taps(b, &g, pixels(b, &g, component(b, grid, g.n - 1 - i), g.size[i]), i, mode))
			return false;
	g.rows = pixel_rows(b, x);
	y = sampled(b, &g, grid->rank - 1);
	perm[0] = 0;
	perm[1] = x->rank - 1;
	for (int i = 2; i < x->rank; i++)
		perm[i] = i - 1;
	return (outs[0] = b_transpose(b, y, perm)) != NULL;
}

/* ---- DeformConv: x [N,C,spatial...], w [M,C/group,kernel...], offset
 * [N, offset_group*taps*n, out...], bias [M]?, mask [N, offset_group*taps, out...]?
 *
 * Tap k of output position o reads x at o*stride - pad + k*dilation + offset, linearly
 * between elements, zero outside; the result is a product with the filters. */
struct deform {
	struct window w;
	int64_t groups, taps, places; /* offset_group, of the kernel, of the output */
	int64_t out[MAX_SPATIAL];
};

static bool
deform_fits(struct build *b, const struct node *n, struct deform *d)
{
	const struct value *x = n->in[0], *w = n->in[1], *off = n->in[2], *bias = ops_in(n, 3), *mask = ops_in(n, 4);
	int64_t group = attr_int(n, "group"), want[MAX_RANK], kernel[MAX_SPATIAL];
	int ns = x->rank - 2;

	d->groups = attr_int(n, "offset_group");
	if (ns < 1 || ns > MAX_SPATIAL || w->rank != x->rank || off->rank != x->rank || !dtype_is_float(x->dtype))
		return diag_invalid(b->diag, n->loc, "input %s, filters %s, offsets %s", value_type_text(b->g, x),
		    value_type_text(b->g, w), value_type_text(b->g, off));
	for (int i = 0; i < n->nin; i++) /* a range of batches, and of filters in one group */
		if (n->in[i] && !ops_all_const(n->in[i]->rank - 1, n->in[i]->dims + 1))
			return diag_unsupported(b->diag, n->loc, "operand %d of %s", i, value_type_text(b->g, n->in[i]));
	if (!dim_const(w->dims[0]) && group != 1)
		return diag_unsupported(b->diag, n->loc, "filters %s in groups", value_type_text(b->g, w));
	if (!ops_window(n, b->diag, ns, &d->w))
		return false;
	memcpy(d->w.kernel, w->dims + 2, sizeof *kernel * (size_t)ns);
	if (attr_has(n, "kernel_shape") && (!ops_list(n, b->diag, "kernel_shape", ns, 1, kernel) ||
	    memcmp(kernel, d->w.kernel, sizeof *kernel * (size_t)ns)))
		return diag_invalid(b->diag, n->loc, "kernel_shape is not that of filters %s", value_type_text(b->g, w));
	if (!ops_window_out(b->g, n, b->diag, &d->w, x->dims + 2, d->out))
		return false;
	d->taps = dims_count(ns, d->w.kernel);
	d->places = dims_count(ns, d->out);
	if (group < 1 || d->groups < 1 || d->groups > x->dims[1] || x->dims[1] % d->groups || group > x->dims[1] ||
	    w->dims[1] != x->dims[1] / group || x->dims[1] % group || (group > 1 && w->dims[0] % group))
		return diag_invalid(b->diag, n->loc, "input %s, filters %s, group %lld, offset_group %lld",
		    value_type_text(b->g, x), value_type_text(b->g, w), (long long)group, (long long)d->groups);
	if (d->taps < 1 || d->taps > 1 << 16 || d->places < 0 || x->dims[0] == 0 || dims_count(x->rank - 1, x->dims + 1) < 1)
		return diag_unsupported(b->diag, n->loc, "input %s, filters %s", value_type_text(b->g, x), value_type_text(b->g, w));
	want[0] = x->dims[0];
	want[1] = d->groups * d->taps * ns;
	memcpy(want + 2, d->out, sizeof *want * (size_t)ns);
	if (!dims_equal(off->rank, off->dims, x->rank, want))
		return diag_invalid(b->diag, n->loc, "offsets %s; %s is expected", value_type_text(b->g, off),
		    ops_dims_text(b->g, x->rank, want));
	want[1] = d->groups * d->taps;
	if (mask && !dims_equal(mask->rank, mask->dims, x->rank, want))
		return diag_invalid(b->diag, n->loc, "mask %s; %s is expected", value_type_text(b->g, mask),
		    ops_dims_text(b->g, x->rank, want));
	if (bias && (bias->rank != 1 || bias->dims[0] != w->dims[0]))
		return diag_invalid(b->diag, n->loc, "bias %s for filters %s", value_type_text(b->g, bias), value_type_text(b->g, w));
	return true;
}

/* Positions along one axis: [N*offset_group, taps, out places] */
static struct value *
deformed(struct build *b, const struct deform *d, struct value *off, int axis)
{
	int64_t images = dim_mul(b->g, off->dims[0], d->groups), four[4] = {images, d->taps, d->w.n, d->places}, three[3];
	int64_t start[4] = {0, 0, axis, 0}, step[4] = {1, 1, 1, 1}, dims[2 * MAX_SPATIAL + 1], place[2 * MAX_SPATIAL + 1];
	struct value *at;

	for (int i = 0; i < 2 * d->w.n + 1; i++)
		place[i] = dims[i] = 1;
	for (int i = 0; i < d->w.n; i++) {
		place[1 + i] = d->w.kernel[i];
		place[1 + d->w.n + i] = d->out[i];
	}
	off = b_reshape(b, off, 4, four);
	four[2] = 1;
	off = b_slice(b, off, start, four, step);
	three[0] = images;
	three[1] = d->taps;
	three[2] = d->places;
	off = b_reshape(b, off, 3, three);
	if (!off)
		return NULL;
	/* the regular grid, [1, kernel..., out...] */
	dims[1 + axis] = d->w.kernel[axis];
	at = b_muls(b, b_iota(b, off->dtype, 2 * d->w.n + 1, dims, 1 + axis), (double)d->w.dilation[axis]);
	dims[1 + axis] = 1;
	dims[1 + d->w.n + axis] = d->out[axis];
	at = b_add(b, at, b_adds(b, b_muls(b, b_iota(b, off->dtype, 2 * d->w.n + 1, dims, 1 + d->w.n + axis),
	    (double)d->w.stride[axis]), (double)-d->w.lo[axis]));
	three[0] = 1;
	return b_add(b, off, b_reshape(b, b_expand(b, at, 2 * d->w.n + 1, place), 3, three));
}

bool
expand_DeformConv(struct build *b, const struct node *n, struct value **outs)
{
	struct value *x = n->in[0], *w = n->in[1], *bias = ops_in(n, 3), *mask = ops_in(n, 4), *y;
	int64_t dims[MAX_RANK], group = attr_int(n, "group"), four[4], three[3];
	struct deform d;
	struct grid g;

	if (!deform_fits(b, n, &d))
		return false;
	memcpy(dims, x->dims, sizeof dims);
	dims[0] = dim_mul(b->g, x->dims[0], d.groups);
	dims[1] = x->dims[1] / d.groups;
	x = b_reshape(b, x, x->rank, dims);
	if (!x || 2 * d.w.n + 1 > MAX_RANK)
		return x ? diag_unsupported(b->diag, n->loc, "rank %d", x->rank) : false;
	g = (struct grid){.x = x, .n = d.w.n, .size = x->dims + 2, .taps = 2};
	for (int i = 0; i < d.w.n; i++)
		if (!taps(b, &g, deformed(b, &d, n->in[2], i), i, "linear"))
			return false;
	g.rows = pixel_rows(b, x);
	y = sampled(b, &g, 3); /* [N*offset_group, taps, places, channels] */
	if (mask) {
		four[0] = x->dims[0];
		four[1] = d.taps;
		four[2] = d.places;
		four[3] = 1;
		y = b_mul(b, y, b_reshape(b, mask, 4, four));
	}
	y = b_transpose(b, y, (int64_t[]){0, 3, 1, 2});
	four[0] = n->in[0]->dims[0];
	four[1] = group;
	four[2] = n->in[0]->dims[1] / group * d.taps;
	four[3] = d.places;
	y = b_reshape(b, y, 4, four);
	three[0] = group;
	three[1] = group > 1 ? w->dims[0] / group : w->dims[0];
	three[2] = four[2];
	w = b_reshape(b, w, 3, three);
	y = y && w ? b_contract(b, "ngko,gmk->ngmo", y, w) : NULL;
	dims[0] = four[0];
	dims[1] = n->in[1]->dims[0];
	memcpy(dims + 2, d.out, sizeof *dims * (size_t)d.w.n);
	y = b_reshape(b, y, x->rank, dims);
	if (bias) {
		for (int i = 2; i < x->rank; i++)
			dims[i] = 1;
		dims[0] = 1;
		y = b_add(b, y, b_reshape(b, bias, x->rank, dims));
	}
	return (outs[0] = y) != NULL;
}

/* ---- Col2Im: the adjoint of taking windows, that is of a convolution whose
 * filters pick one tap each. */
bool
expand_Col2Im(struct build *b, const struct node *n, struct value **outs)
{
	struct value *x = n->in[0], *in[2];
	int64_t *image, *block, dims[MAX_RANK], out[MAX_SPATIAL], wdims[MAX_RANK], taps_n, channels;
	int ns = ops_ints(b, n, 1, &image), nb = ops_ints(b, n, 2, &block);
	struct attr a[5];
	struct window w;
	struct tensor *t;

	if (ns < 0 || nb < 0)
		return false;
	if (ns != nb || ns < 1 || ns > MAX_SPATIAL || x->rank != 3 || !ops_all_const(2, x->dims + 1))
		return diag_invalid(b->diag, n->loc, "input %s, image of %d axes, blocks of %d",
		    ops_dims_text(b->g, x->rank, x->dims), ns, nb);
	if (!ops_window(n, b->diag, ns, &w))
		return false;
	memcpy(w.kernel, block, sizeof *block * (size_t)ns);
	for (int i = 0; i < ns; i++)
		if (block[i] < 1 || image[i] < 1 || block[i] > INT32_MAX || image[i] > INT32_MAX)
			return diag_invalid(b->diag, n->loc, "image extent %lld, block extent %lld", (long long)image[i],
			    (long long)block[i]);
	if (!ops_window_out(b->g, n, b->diag, &w, image, out))
		return false;
	taps_n = dims_count(ns, block);
	if (taps_n < 1 || taps_n > 1 << 12 || x->dims[1] % taps_n || dims_count(ns, out) != x->dims[2])
		return diag_invalid(b->diag, n->loc, "input %s for blocks of %lld elements at %lld places",
		    ops_dims_text(b->g, 3, x->dims), (long long)taps_n, (long long)dims_count(ns, out));
	channels = x->dims[1] / taps_n;
	dims[0] = x->dims[0];
	dims[1] = x->dims[1];
	wdims[0] = x->dims[1];
	wdims[1] = 1;
	memcpy(dims + 2, out, sizeof *out * (size_t)ns);
	memcpy(wdims + 2, block, sizeof *block * (size_t)ns);
	t = tensor_new(b->g->arena, x->dtype, ns + 2, wdims);
	for (int64_t i = 0; i < wdims[0]; i++)
		dtype_put_f(x->dtype, t->data, i * taps_n + i % taps_n, 1);
	in[0] = b_reshape(b, x, ns + 2, dims);
	in[1] = graph_const(b->g, NULL, t);
	dims[1] = channels;
	memcpy(dims + 2, image, sizeof *image * (size_t)ns);
	ops_window_attrs(b, &w, a);
	a[3] = attr_of_int("group", channels);
	a[4] = attr_of_ints("dims", ns + 2, dims);
	return in[0] && (outs[0] = b_op(b, OP_conv_grad_data, 2, in, 5, a)) != NULL;
}

/* ---- AffineGrid: theta [N,n,n+1], size [N,C,spatial...] to [N,spatial...,n]: theta times
 * (x, y, (z,) 1) of every place, -1..1 over the middles (align_corners) or the edges of
 * the end pixels.  Components name the last spatial axis first. */
bool
expand_AffineGrid(struct build *b, const struct node *n, struct value **outs)
{
	struct value *theta = n->in[0], *y;
	int64_t *size, dims[MAX_SPATIAL + 2], idx[MAX_SPATIAL] = {0}, count = 1;
	int k = ops_ints(b, n, 1, &size), s = k - 2;
	bool align = attr_int(n, "align_corners");
	struct tensor *t;
	double *w;

	if (k < 0)
		return false;
	if ((s != 2 && s != 3) || theta->rank != 3 || theta->dims[0] != size[0] || theta->dims[1] != s ||
	    theta->dims[2] != s + 1)
		return diag_invalid(b->diag, n->loc, "theta %s for a size of %d numbers",
		    ops_dims_text(b->g, theta->rank, theta->dims), k);
	for (int i = 0; i < s; i++) {
		if (size[i + 2] < 1 || size[i + 2] > 1 << 20 || (count *= size[i + 2]) > 1 << 26)
			return diag_invalid(b->diag, n->loc, "size %s", ops_dims_text(b->g, k, size));
		dims[i] = size[i + 2];
	}
	dims[s] = s + 1;
	t = tensor_new(b->g->arena, DT_f64, s + 1, dims);
	w = t->data;
	for (int64_t i = 0; i < count; i++, ops_next(s, dims, idx)) {
		for (int c = s - 1; c >= 0; c--)
			*w++ = !align        ? (2 * (double)idx[c] + 1) / (double)dims[c] - 1
			       : dims[c] > 1 ? 2 * (double)idx[c] / (double)(dims[c] - 1) - 1
			                     : 0;
		*w++ = 1;
	}
	y = b_cast(b, graph_const(b->g, NULL, t), theta->dtype);
	y = b_contract(b, s == 2 ? "hwk,njk->nhwj" : "dhwk,njk->ndhwj", y, theta);
	return (outs[0] = y) != NULL;
}
