/* resize.c -- Resize, one axis at a time: nearest is a gather, linear and cubic are
 * products with a matrix [in,out].  Indices and matrix are constant where sizes and
 * region are, else computed while running (in f64, as the constants are). */
#include <math.h>
#include <stdlib.h>

#include "ir/ops/ops_int.h"

struct resize {
	const char *mode, *coord, *nearest;
	double cubic_a, extrapolation;
	bool exclude, antialias, crop; /* crop: tf_crop_and_resize */
};

/* One axis: out elements of in.  start, end: the region, in axis lengths. */
struct stretch {
	int axis;
	int64_t in, out;  /* dims */
	double scale;     /* 0: out/in, found while running */
	double start, end;
	struct value *vstart, *vend; /* the region as f64 scalars, where it is not constant */
	struct value *vscale;        /* the scale likewise, where it is not out/in */
};

static bool
running(const struct stretch *s)
{
	return s->vstart || !dim_const(s->in) || !dim_const(s->out);
}

/* Where output o lies on its axis; len = in*scale before rounding. */
static double
source(const struct resize *r, const struct stretch *s, double o)
{
	double in = (double)s->in, out = (double)s->out, scale = s->scale, len = in * scale;

	if (r->crop)
		return out > 1 ? s->start * (in - 1) + o * (s->end - s->start) * (in - 1) / (out - 1)
		               : 0.5 * (s->start + s->end) * (in - 1);
	if (!strcmp(r->coord, "half_pixel"))
		return (o + 0.5) / scale - 0.5;
	if (!strcmp(r->coord, "pytorch_half_pixel"))
		return out > 1 ? (o + 0.5) / scale - 0.5 : 0;
	if (!strcmp(r->coord, "half_pixel_symmetric"))
		return in / 2 * (1 - out / len) + (o + 0.5) / scale - 0.5;
	if (!strcmp(r->coord, "align_corners"))
		return len != 1 ? o * (in - 1) / (len - 1) : 0;
	if (!strcmp(r->coord, "tf_half_pixel_for_nn")) /* opset 11 and 12 */
		return (o + 0.5) / scale;
	return o / scale; /* asymmetric */
}

static int64_t
nearest(const struct resize *r, double x, int64_t in)
{
	double y;

	if (!strcmp(r->nearest, "round_prefer_ceil"))
		y = floor(x + 0.5);
	else if (!strcmp(r->nearest, "floor"))
		y = floor(x);
	else if (!strcmp(r->nearest, "ceil"))
		y = ceil(x);
	else
		y = ceil(x - 0.5);
	return y < 0 ? 0 : y > (double)(in - 1) ? in - 1 : (int64_t)y;
}

/* Keys' kernel with parameter a, or the triangle. */
static double
kernel(const struct resize *r, double d)
{
	double a = r->cubic_a;

	d = fabs(d);
	if (r->mode[0] == 'l')
		return d < 1 ? 1 - d : 0;
	if (d <= 1)
		return ((a + 2) * d - (a + 3)) * d * d + 1;
	return d < 2 ? ((a * d - 5 * a) * d + 8 * a) * d - 4 * a : 0;
}

/* Column o of the matrix holds the weights of output o; taps beyond the edge count
 * for the edge element, or with exclude_outside not at all. */
static struct value *
matrix(struct build *b, const struct resize *r, enum dtype t, const struct stretch *s)
{
	int64_t in = s->in, out = s->out;
	double scale = s->scale;
	struct tensor *m = tensor_new(b->g->arena, t, 2, (int64_t[]){in, out});
	double stretch = r->antialias && scale < 1 ? scale : 1;
	double reach = (r->mode[0] == 'l' ? 1 : 2) / stretch;
	double *col = xcalloc((size_t)in, sizeof *col);
	struct value *v;

	for (int64_t o = 0; o < out; o++) {
		double x = source(r, s, (double)o), sum = 0;
		int64_t from = (int64_t)ceil(x - reach), to = (int64_t)floor(x + reach);

		memset(col, 0, sizeof *col * (size_t)in);
		for (int64_t i = from; i <= to; i++) {
			double w = kernel(r, (x - (double)i) * stretch);

			if (r->exclude && (i < 0 || i >= in))
				continue;
			col[i < 0 ? 0 : i >= in ? in - 1 : i] += w;
			sum += w;
		}
		for (int64_t i = 0; i < in; i++)
			dtype_put_f(t, m->data, i * out + o, sum != 0 ? col[i] / sum : 0);
	}
	free(col);
	v = graph_const(b->g, NULL, m);
	v->loc = b->loc;
	return v;
}

/* ---- the same while running */
static struct value *
constant(struct build *b, double x)
{
	return b_scalar(b, DT_f64, x);
}

static struct value *
scale_of(struct build *b, const struct stretch *s, struct value *in, struct value *out)
{
	return s->vscale ? s->vscale : s->scale != 0 ? constant(b, s->scale) : b_div(b, out, in);
}

/* Where the outputs lie: f64 [out]. */
static struct value *
sources(struct build *b, const struct resize *r, const struct stretch *s, struct value *in, struct value *out)
{
	struct value *o = b_iota(b, DT_f64, 1, &s->out, 0), *scale, *len, *x, *one = constant(b, 1);

	if (r->crop) {
		struct value *from = s->vstart ? s->vstart : constant(b, s->start);
		struct value *to = s->vend ? s->vend : constant(b, s->end), *last = b_adds(b, in, -1);

		x = b_mul(b, b_mul(b, o, b_sub(b, to, from)), last);
		x = b_add(b, b_mul(b, from, last), b_div(b, x, b_max(b, b_adds(b, out, -1), one)));
		return b_select(b, b2(b, OP_lt, one, out), x, b_mul(b, b_muls(b, b_add(b, from, to), 0.5), last));
	}
	scale = scale_of(b, s, in, out);
	len = b_mul(b, in, scale);
	if (!strcmp(r->coord, "align_corners")) {
		x = b_div(b, b_mul(b, o, b_adds(b, in, -1)), b_adds(b, len, -1));
		return b_select(b, b2(b, OP_eq, len, one), constant(b, 0), x);
	}
	if (!strcmp(r->coord, "asymmetric"))
		return b_div(b, o, scale);
	x = b_div(b, b_adds(b, o, 0.5), scale);
	if (!strcmp(r->coord, "tf_half_pixel_for_nn"))
		return x;
	x = b_adds(b, x, -0.5);
	if (!strcmp(r->coord, "pytorch_half_pixel"))
		return b_select(b, b2(b, OP_lt, one, out), x, constant(b, 0));
	if (!strcmp(r->coord, "half_pixel_symmetric"))
		x = b_add(b, x, b_mul(b, b_muls(b, in, 0.5), b_sub(b, one, b_div(b, out, len))));
	return x;
}

/* Keys' kernel or the triangle at distance d, elementwise. */
static struct value *
kernels(struct build *b, const struct resize *r, struct value *d)
{
	struct value *near, *far, *zero = constant(b, 0), *one = constant(b, 1), *two = constant(b, 2);
	double a = r->cubic_a;

	d = d ? b1(b, OP_abs, d) : NULL;
	if (!d || r->mode[0] == 'l')
		return d ? b_max(b, b_sub(b, one, d), zero) : NULL;
	near = b_adds(b, b_mul(b, b_mul(b, b_adds(b, b_muls(b, d, a + 2), -(a + 3)), d), d), 1);
	far = b_adds(b, b_mul(b, b_adds(b, b_mul(b, b_adds(b, b_muls(b, d, a), -5 * a), d), 8 * a), d), -4 * a);
	return b_select(b, b2(b, OP_le, d, one), near, b_select(b, b2(b, OP_lt, d, two), far, zero));
}

enum { MAX_REACH = 64 };

/* [in,out] of places x: tap after tap from the lowest that may count. */
static struct value *
matrix_of(struct build *b, const struct node *n, const struct resize *r, const struct stretch *s, struct value *in,
    struct value *x)
{
	double least = s->scale, reach;
	int64_t rows[2] = {s->in, 1}, cols[2] = {1, s->out};
	struct value *m = NULL, *sum = NULL, *first, *row, *last = b_adds(b, in, -1), *stretch = constant(b, 1), *back;
	int taps;

	if (least == 0) /* by the dims' bounds */
		least = (double)dim_lo(b->g, s->out) / (double)dim_hi(b->g, s->in);
	reach = (r->mode[0] == 'l' ? 1 : 2) / (r->antialias && least < 1 ? least : 1);
	if (!(reach < MAX_REACH)) {
		diag_unsupported(b->diag, n->loc, "antialias by less than 1/%d", MAX_REACH);
		return NULL;
	}
	if (r->antialias)
		stretch = b_min(b, stretch, scale_of(b, s, in, b_cast(b, b_dim(b, s->out), DT_f64)));
	back = b_div(b, constant(b, r->mode[0] == 'l' ? 1 : 2), stretch);
	taps = 2 * (int)ceil(reach) + 1;
	x = b_reshape(b, x, 2, cols);
	first = x && back ? b_sub(b, b1(b, OP_floor, x), b1(b, OP_ceil, back)) : NULL;
	row = b_iota(b, DT_f64, 2, rows, 0);
	for (int t = 0; t < taps + 1 && first; t++) {
		struct value *at = b_adds(b, first, t), *w = kernels(b, r, b_mul(b, b_sub(b, x, at), stretch)), *in_bounds;
		struct value *edge = b_min(b, b_max(b, at, constant(b, 0)), last);

		in_bounds = r->exclude && edge ? b2(b, OP_eq, edge, at) : NULL;
		if (r->exclude)
			w = b_select(b, in_bounds, w, constant(b, 0));
		sum = sum ? b_add(b, sum, w) : w;
		w = edge ? b_select(b, b2(b, OP_eq, row, edge), w, constant(b, 0)) : NULL;
		m = m ? b_add(b, m, w) : w;
	}
	if (!m)
		return NULL;
	return b_select(b, b2(b, OP_eq, sum, constant(b, 0)), constant(b, 0), b_div(b, m, sum));
}

static struct value *
nearest_of(struct build *b, const struct resize *r, struct value *in, struct value *x)
{
	if (!x)
		return NULL;
	if (!strcmp(r->nearest, "round_prefer_ceil"))
		x = b1(b, OP_floor, b_adds(b, x, 0.5));
	else if (!strcmp(r->nearest, "floor"))
		x = b1(b, OP_floor, x);
	else if (!strcmp(r->nearest, "ceil"))
		x = b1(b, OP_ceil, x);
	else
		x = b1(b, OP_ceil, b_adds(b, x, -0.5));
	x = x ? b_min(b, b_max(b, x, constant(b, 0)), b_adds(b, in, -1)) : NULL;
	return b_cast(b, x, DT_i64);
}

/* "abc,bz->azc" for axis 1 */
static struct value *
times(struct build *b, struct value *x, int axis, struct value *m)
{
	static const char letter[] = "abcdefghijklmnopqrstuvwxy";
	const char *spec;

	if (!m)
		return NULL;
	spec = arena_printf(b->g->arena, "%.*s,%cz->%.*sz%s", x->rank, letter, letter[axis], axis, letter,
	    arena_strndup(b->g->arena, letter + axis + 1, (size_t)(x->rank - axis - 1)));
	return b_contract(b, spec, x, b_cast(b, m, x->dtype));
}

static struct value *
along_running(struct build *b, const struct node *n, const struct resize *r, struct value *x, const struct stretch *s)
{
	struct value *in = b_cast(b, b_dim(b, s->in), DT_f64), *out = b_cast(b, b_dim(b, s->out), DT_f64), *at;

	at = in && out ? sources(b, r, s, in, out) : NULL;
	if (r->mode[0] == 'n')
		return b_gather(b, x, nearest_of(b, r, in, at), s->axis);
	return at ? times(b, x, s->axis, matrix_of(b, n, r, s, in, at)) : NULL;
}

/* bool [out]: places beyond the axis, which get the extrapolation value; NULL: none do */
static struct value *
beyond(struct build *b, const struct resize *r, const struct stretch *s)
{
	struct value *in, *x, *v;
	struct tensor *t;
	bool any = false;

	if (!r->crop)
		return NULL;
	if (running(s)) {
		in = b_cast(b, b_dim(b, s->in), DT_f64);
		x = in ? sources(b, r, s, in, b_cast(b, b_dim(b, s->out), DT_f64)) : NULL;
		return x ? b2(b, OP_or, b2(b, OP_lt, x, constant(b, 0)), b2(b, OP_lt, b_adds(b, in, -1), x)) : NULL;
	}
	t = tensor_new(b->g->arena, DT_bool, 1, &s->out);
	for (int64_t o = 0; o < s->out; o++) {
		double at = source(r, s, (double)o);
		bool out = at < 0 || at > (double)(s->in - 1);

		any |= out;
		dtype_put_i(DT_bool, t->data, o, out);
	}
	if (!any)
		return NULL;
	v = graph_const(b->g, NULL, t);
	v->loc = b->loc;
	return v;
}

static struct value *
along(struct build *b, const struct resize *r, struct value *x, const struct stretch *s)
{
	int64_t in = s->in, out = s->out, *ix;
	int axis = s->axis;

	if (r->mode[0] == 'n') {
		ix = arena_array(b->g->arena, int64_t, out + 1);
		for (int64_t o = 0; o < out; o++)
			ix[o] = nearest(r, source(r, s, (double)o), in);
		/* a whole factor that repeats every element is a broadcast */
		if (in && out % in == 0 && x->rank < MAX_RANK) {
			int64_t f = out / in, thin[MAX_RANK], wide[MAX_RANK], dims[MAX_RANK], o = 0;

			while (o < out && ix[o] == o / f)
				o++;
			if (o == out) {
				for (int i = 0; i <= x->rank; i++) {
					thin[i] = i == axis + 1 ? 1 : x->dims[i - (i > axis)];
					wide[i] = i == axis + 1 ? f : thin[i];
				}
				memcpy(dims, x->dims, sizeof dims);
				dims[axis] = out;
				x = b_reshape(b, x, x->rank + 1, thin);
				return x ? b_reshape(b, b_expand(b, x, x->rank, wide), x->rank - 1, dims) : NULL;
			}
		}
		return b_gather(b, x, b_ints(b, (int)out, ix), axis);
	}
	if (x->dtype == DT_str) {
		diag_invalid(b->diag, b->loc, "strings cannot be interpolated; mode nearest moves them");
		return NULL;
	}
	return times(b, x, axis, matrix(b, r, x->dtype, s));
}

static bool
options(struct build *b, const struct node *n, struct resize *r)
{
	static const char *const coords[] = {
	    "half_pixel", "pytorch_half_pixel", "half_pixel_symmetric", "align_corners", "asymmetric",
	    "tf_half_pixel_for_nn", "tf_crop_and_resize"};
	size_t i = 0;

	r->mode = attr_string(n, "mode");
	r->coord = attr_string(n, "coordinate_transformation_mode");
	r->nearest = attr_string(n, "nearest_mode");
	r->cubic_a = attr_float(n, "cubic_coeff_a");
	r->exclude = attr_int(n, "exclude_outside");
	r->antialias = attr_int(n, "antialias");
	r->extrapolation = attr_float(n, "extrapolation_value");
	r->crop = !strcmp(r->coord, "tf_crop_and_resize");
	if (strcmp(r->mode, "nearest") && strcmp(r->mode, "linear") && strcmp(r->mode, "cubic"))
		return diag_invalid(b->diag, n->loc, "mode \"%s\"", r->mode);
	while (i < sizeof coords / sizeof *coords && strcmp(coords[i], r->coord))
		i++;
	if (i == sizeof coords / sizeof *coords)
		return diag_unsupported(b->diag, n->loc, "coordinate_transformation_mode \"%s\"", r->coord);
	return true;
}

/* The region of listed axis i of na. */
static bool
region(struct build *b, const struct node *n, int i, int na, struct stretch *s)
{
	struct value *roi = ops_in(n, 1), *part[2];
	int64_t step = 1, one = 1;

	if (!roi || roi->rank != 1 || roi->dims[0] != 2 * na || !dtype_is_float(roi->dtype))
		return diag_invalid(b->diag, n->loc, "tf_crop_and_resize wants a region of %d numbers", 2 * na);
	for (int k = 0; k < 2; k++) {
		int64_t at = k * na + i;

		if (roi->kind == VAL_CONST) {
			*(k ? &s->end : &s->start) = dtype_get_f(roi->dtype, roi->data->data, at);
			continue;
		}
		part[k] = b_cast(b, b_reshape(b, b_slice(b, roi, &at, &one, &step), 0, NULL), DT_f64);
		if (!part[k])
			return false;
		*(k ? &s->vend : &s->vstart) = part[k];
	}
	return true;
}

/* The size that a scale found while running, or of an axis of any size, gives. */
static int64_t
measured(struct build *b, const struct node *n, int *k, struct value *scale, const struct stretch *s, double plus, double most)
{
	struct value *size = b_mul(b, b_cast(b, b_dim(b, s->in), DT_f64), scale);

	size = size ? b1(b, OP_floor, b_adds(b, size, plus)) : NULL;
	return ops_measure(b, n, (*k)++, b_cast(b, size, DT_i64), most < 0x1p40 ? (int64_t)most : INT64_C(1) << 40);
}

/* One scale for all: the least (not_larger) or the greatest; sizes follow, rounded. */
static bool
keep_aspect(struct build *b, const struct node *n, struct stretch *s, int ns)
{
	const char *policy = attr_string(n, "keep_aspect_ratio_policy");
	bool larger = strcmp(policy, "not_larger") == 0, varies = false;
	struct value *all = NULL;
	double one = 0, most = 0;
	int k = 0;

	if (!strcmp(policy, "stretch"))
		return true;
	if (!larger && strcmp(policy, "not_smaller"))
		return diag_invalid(b->diag, n->loc, "keep_aspect_ratio_policy \"%s\"", policy);
	for (int i = 0; i < ns; i++)
		varies |= !dim_const(s[i].in) || !dim_const(s[i].out);
	for (int i = 0; i < ns; i++) {
		struct value *scale;
		double top = (double)dim_hi(b->g, s[i].out) / fmax(1, (double)dim_lo(b->g, s[i].in));

		if (i == 0 || (larger ? s[i].scale < one : s[i].scale > one))
			one = s[i].scale;
		most = fmax(most, top);
		if (!varies)
			continue;
		scale = b_div(b, b_cast(b, b_dim(b, s[i].out), DT_f64), b_cast(b, b_dim(b, s[i].in), DT_f64));
		all = !all ? scale : larger ? b_min(b, all, scale) : b_max(b, all, scale);
	}
	for (int i = 0; i < ns; i++) {
		if (varies) {
			double top = (double)dim_hi(b->g, s[i].in) * most + 1;

			if (!all)
				return false;
			s[i].scale = 0;
			s[i].vscale = all;
			s[i].out = measured(b, n, &k, all, &s[i], 0.5, larger ? fmin(top, (double)dim_hi(b->g, s[i].out)) : top);
			continue;
		}
		s[i].scale = one;
		s[i].out = (int64_t)floor((double)s[i].in * one + 0.5);
	}
	return true;
}

/* The axes to resize, with their sizes; count or -1. */
static int
stretches(struct build *b, const struct node *n, const struct resize *r, struct stretch *s)
{
	struct value *x = n->in[0];
	const int64_t *axes;
	struct sdim *sizes = NULL;
	double *scales = NULL;
	int na = attr_ints(n, "axes", &axes), k, count = 0, made = 0;
	bool touched[MAX_RANK] = {false};

	if (na == 0)
		na = x->rank;
	if (ops_in(n, 2) && n->in[2]->dims[0] != 0) {
		if ((k = ops_floats(b, n, 2, &scales)) < 0)
			return -1;
	} else if ((k = value_sdims(b->g, ops_in(n, 3), &sizes)) < 0) {
		diag_unsupported(b->diag, n->loc, "the scales or sizes must be constant");
		return -1;
	}
	if (k != na) {
		diag_invalid(b->diag, n->loc, "%d %s for %d axes", k, sizes ? "sizes" : "scales", na);
		return -1;
	}
	for (int i = 0; i < na; i++) {
		int a = axis_normal(n, b->diag, attr_has(n, "axes") ? axes[i] : i, x->rank);
		struct stretch *t = &s[count];

		if (a < 0)
			return -1;
		if (touched[a] || (scales ? !(scales[i] > 0 && scales[i] < 1e6)
		                          : !sizes[i].symbolic && (sizes[i].v < 1 || sizes[i].v > INT32_MAX))) {
			diag_invalid(b->diag, n->loc, touched[a] ? "axis %d is named twice" : "scale or size of axis %d is out of range", a);
			return -1;
		}
		touched[a] = true;
		if (x->dims[a] == 0)
			continue;
		*t = (struct stretch){.axis = a, .in = x->dims[a], .end = 1};
		if (r->crop && !region(b, n, i, na, t))
			return -1;
		if (sizes) {
			t->out = sizes[i].v;
			t->scale = dim_const(t->in) && dim_const(t->out) ? (double)t->out / (double)t->in : 0;
			if (!running(t) || t->out != t->in || t->vstart)
				count++;
			continue;
		}
		t->scale = scales[i];
		if (r->crop && t->vstart) {
			diag_unsupported(b->diag, n->loc, "a size that scale and region decide while running; give sizes");
			return -1;
		}
		if (dim_const(t->in))
			t->out = (int64_t)floor((double)t->in * (r->crop ? t->end - t->start : 1) * scales[i]);
		else if (scales[i] == 1)
			continue;
		else if (scales[i] == floor(scales[i]) && !r->crop)
			t->out = dim_mul(b->g, t->in, (int64_t)scales[i]);
		else if (1 / scales[i] == floor(1 / scales[i]) && !r->crop)
			t->out = dim_div(b->g, t->in, (int64_t)(1 / scales[i]));
		else {
			double by = scales[i] * (r->crop ? t->end - t->start : 1);

			if (dim_hi(b->g, t->in) == INT64_MAX) {
				diag_unsupported(b->diag, n->loc, "axis %d, whose size has no bound, by %g", a, by);
				return -1;
			}
			t->out = measured(b, n, &made, constant(b, by), t, 0, floor((double)dim_hi(b->g, t->in) * by));
		}
		count++;
	}
	return sizes && !keep_aspect(b, n, s, count) ? -1 : count;
}

/* X, roi?, scales?, sizes? */
bool
expand_Resize(struct build *b, const struct node *n, struct value **outs)
{
	struct value *x = n->in[0], *out = NULL;
	struct stretch s[MAX_RANK];
	struct resize r;
	int ns;

	if (!options(b, n, &r) || (ns = stretches(b, n, &r, s)) < 0)
		return false;
	for (int i = 0; i < ns && x; i++) {
		int64_t in = dim_hi(b->g, s[i].in), most = dim_hi(b->g, s[i].out), thin[MAX_RANK];
		struct value *off = beyond(b, &r, &s[i]);

		if (!running(&s[i]) && s[i].out == s[i].in && s[i].scale == 1 && (!r.crop || (s[i].start == 0 && s[i].end == 1)))
			continue;
		if (most < 1 || (r.mode[0] != 'n' && in > (INT64_C(1) << 26) / most))
			return diag_unsupported(b->diag, n->loc, "axis %d from %s to %s elements", s[i].axis,
			    dim_text(b->g, s[i].in), dim_text(b->g, s[i].out));
		x = running(&s[i]) ? along_running(b, n, &r, x, &s[i]) : along(b, &r, x, &s[i]);
		if (!off)
			continue;
		for (int k = 0; k < n->in[0]->rank; k++)
			thin[k] = k == s[i].axis ? s[i].out : 1;
		off = b_reshape(b, off, n->in[0]->rank, thin);
		out = out ? b2(b, OP_or, out, off) : off;
	}
	if (out && x)
		x = b_select(b, out, b_scalar_like(b, x, r.extrapolation), x);
	return (outs[0] = x) != NULL;
}
