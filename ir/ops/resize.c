/* resize.c -- Resize, one axis at a time: nearest is a gather with constant
 * indices, linear and cubic are products with a constant matrix [in,out]. */
#include <math.h>
#include <stdlib.h>

#include "ir/ops/ops_int.h"

struct resize {
	const char *mode, *coord, *nearest;
	double cubic_a;
	bool exclude, antialias;
};

/* Where output o of `out` lies on an axis of `in`; len = in*scale before rounding. */
static double
source(const struct resize *r, double o, double in, double out, double scale)
{
	double len = in * scale;

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
matrix(struct build *b, const struct resize *r, enum dtype t, int64_t in, int64_t out, double scale)
{
	struct tensor *m = tensor_new(b->g->arena, t, 2, (int64_t[]){in, out});
	double stretch = r->antialias && scale < 1 ? scale : 1;
	double reach = (r->mode[0] == 'l' ? 1 : 2) / stretch;
	double *col = xcalloc((size_t)in, sizeof *col);
	struct value *v;

	for (int64_t o = 0; o < out; o++) {
		double x = source(r, (double)o, (double)in, (double)out, scale), sum = 0;
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

static struct value *
along(struct build *b, const struct resize *r, struct value *x, int axis, int64_t out, double scale)
{
	int64_t in = x->dims[axis], *ix;
	char spec[3 * MAX_RANK];
	int k = 0;

	if (r->mode[0] == 'n') {
		ix = arena_array(b->g->arena, int64_t, out + 1);
		for (int64_t o = 0; o < out; o++)
			ix[o] = nearest(r, source(r, (double)o, (double)in, (double)out, scale), in);
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
	for (int i = 0; i < x->rank; i++)
		spec[k++] = (char)('a' + i);
	k += sprintf(spec + k, ",%cz->", 'a' + axis);
	for (int i = 0; i < x->rank; i++)
		spec[k++] = i == axis ? 'z' : (char)('a' + i);
	spec[k] = 0;
	return b_contract(b, spec, x, matrix(b, r, x->dtype, in, out, scale));
}

static bool
options(struct build *b, const struct node *n, struct resize *r)
{
	static const char *const coords[] = {
	    "half_pixel", "pytorch_half_pixel", "half_pixel_symmetric", "align_corners", "asymmetric",
	    "tf_half_pixel_for_nn"};
	size_t i = 0;

	r->mode = attr_string(n, "mode");
	r->coord = attr_string(n, "coordinate_transformation_mode");
	r->nearest = attr_string(n, "nearest_mode");
	r->cubic_a = attr_float(n, "cubic_coeff_a");
	r->exclude = attr_int(n, "exclude_outside");
	r->antialias = attr_int(n, "antialias");
	if (strcmp(r->mode, "nearest") && strcmp(r->mode, "linear") && strcmp(r->mode, "cubic"))
		return diag_invalid(b->diag, n->loc, "mode \"%s\"", r->mode);
	while (i < sizeof coords / sizeof *coords && strcmp(coords[i], r->coord))
		i++;
	if (i == sizeof coords / sizeof *coords)
		return diag_unsupported(b->diag, n->loc, "coordinate_transformation_mode \"%s\"", r->coord);
	return true;
}

/* X, roi?, scales?, sizes? */
bool
expand_Resize(struct build *b, const struct node *n, struct value **outs)
{
	struct value *x = n->in[0];
	const char *policy = attr_string(n, "keep_aspect_ratio_policy");
	const int64_t *axes;
	int64_t out[MAX_RANK];
	struct sdim *sizes = NULL;
	double *scales = NULL, scale[MAX_RANK];
	int na = attr_ints(n, "axes", &axes), k;
	struct resize r;
	bool touched[MAX_RANK] = {false};

	if (!options(b, n, &r))
		return false;
	if (na == 0)
		na = x->rank;
	if (ops_in(n, 2) && n->in[2]->dims[0] != 0) {
		if ((k = ops_floats(b, n, 2, &scales)) < 0)
			return false;
	} else if ((k = value_sdims(b->g, ops_in(n, 3), &sizes)) < 0)
		return diag_unsupported(b->diag, n->loc, "the scales or sizes must be constant");
	if (k != na)
		return diag_invalid(b->diag, n->loc, "%d %s for %d axes", k, sizes ? "sizes" : "scales", na);
	for (int i = 0; i < na; i++) {
		int a = axis_normal(n, b->diag, attr_has(n, "axes") ? axes[i] : i, x->rank);
		int64_t in;

		if (a < 0)
			return false;
		in = x->dims[a];
		if (!dim_const(in)) {
			if (scales ? scales[i] == 1 : sizes[i].v == in)
				continue;
			return diag_unsupported(b->diag, n->loc, "resizing symbolic axis %d", a);
		}
		if (scales ? !(scales[i] > 0 && scales[i] < 1e6) : sizes[i].v < 1 || sizes[i].v > INT32_MAX)
			return diag_invalid(b->diag, n->loc, "scale or size of axis %d is out of range", a);
		if (in == 0)
			continue;
		touched[a] = true;
		scale[a] = scales ? scales[i] : (double)sizes[i].v / (double)in;
		out[a] = scales ? (int64_t)floor((double)in * scales[i]) : sizes[i].v;
	}
	if (sizes && strcmp(policy, "stretch")) {
		bool larger = strcmp(policy, "not_larger") == 0;
		double one = 0;

		for (int a = 0; a < x->rank; a++)
			if (touched[a] && (one == 0 || (larger ? scale[a] < one : scale[a] > one)))
				one = scale[a];
		for (int a = 0; a < x->rank; a++)
			if (touched[a]) {
				scale[a] = one;
				out[a] = (int64_t)floor((double)x->dims[a] * one + 0.5);
			}
	}
	for (int a = 0, rank = x->rank; a < rank && x; a++) {
		if (!touched[a] || (out[a] == x->dims[a] && scale[a] == 1))
			continue;
		if (out[a] < 1 || (r.mode[0] != 'n' && x->dims[a] > (INT64_C(1) << 26) / out[a]))
			return diag_unsupported(b->diag, n->loc, "axis %d from %lld to %lld elements", a,
			    (long long)x->dims[a], (long long)out[a]);
		x = along(b, &r, x, a, out[a], scale[a]);
	}
	return (outs[0] = x) != NULL;
}
