/* compare -- how far a result is from its reference: absolute, relative, in units
 * in the last place of the reference's type.  Integers must be equal.
 *
 * Where terms cancel, a small element carries the rounding of large ones: elements
 * below a thousandth of the largest are measured in units of that thousandth. */
#include "driver/driver.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

/* Size of one unit in the last place at x, for the mantissa of the type. */
static double
ulp_at(enum dtype t, double x)
{
	int mantissa = 24, least = -149, e;

	if (t == DT_f64)
		mantissa = 53, least = -1074;
	else if (t == DT_f16)
		mantissa = 11, least = -24;
	else if (t == DT_bf16)
		mantissa = 8, least = -133;
	if (x == 0 || !isfinite(x))
		return ldexp(1, least);
	frexp(x, &e);
	e -= mantissa;
	return ldexp(1, e < least ? least : e);
}

static void
note(struct difference *r, int64_t i, double got, double want, double err, bool bad)
{
	if (bad)
		r->bad++;
	if (err > r->max_abs || (bad && r->bad == 1)) {
		if (err > r->max_abs)
			r->max_abs = err;
		r->worst = i;
		r->got = got;
		r->want = want;
	}
}

bool
tensor_compare(struct arena *a, const struct tensor *got, const struct tensor *want, double rtol, double atol,
               struct difference *r, const char **why)
{
	*r = (struct difference){.count = tensor_count(want)};
	if (got->dtype != want->dtype) {
		*why = arena_printf(a, "type %s where %s is expected", dtype_info[got->dtype].name, dtype_info[want->dtype].name);
		return false;
	}
	if (!dims_equal(got->rank, got->dims, want->rank, want->dims)) {
		*why = arena_printf(a, "shape %s where %s is expected", shape_text(a, got->rank, got->dims),
		                    shape_text(a, want->rank, want->dims));
		return false;
	}
	for (int64_t i = 0; i < r->count && dtype_is_float(want->dtype); i++) {
		double y = fabs(dtype_get_f(want->dtype, want->data, i));

		if (isfinite(y) && y > r->max_ref)
			r->max_ref = y;
	}
	for (int64_t i = 0; i < r->count; i++) {
		double x, y, err, ulp;

		if (want->dtype == DT_str) {
			const char *const *sx = got->data, *const *sy = want->data;

			if (strcmp(sx[i] ? sx[i] : "", sy[i]) != 0) {
				*why = arena_printf(a, "element %" PRId64 " is \"%.60s\", \"%.60s\" is expected", i, sx[i] ? sx[i] : "", sy[i]);
				return false;
			}
			continue;
		}
		if (!dtype_is_float(want->dtype)) {
			int64_t ix = dtype_get_i(got->dtype, got->data, i), iy = dtype_get_i(want->dtype, want->data, i);

			if (ix != iy)
				note(r, i, (double)ix, (double)iy, fabs((double)ix - (double)iy), true);
			continue;
		}
		x = dtype_get_f(got->dtype, got->data, i);
		y = dtype_get_f(want->dtype, want->data, i);
		if (x == y || (isnan(x) && isnan(y)))
			continue;
		if (!isfinite(x) || !isfinite(y)) {
			note(r, i, x, y, INFINITY, true);
			continue;
		}
		err = fabs(x - y);
		note(r, i, x, y, err, err > atol + rtol * fabs(y));
		if (y != 0 && err / fabs(y) > r->max_rel)
			r->max_rel = err / fabs(y);
		ulp = err / ulp_at(want->dtype, fmax(fabs(y), r->max_ref / 1000));
		if (ulp > r->max_ulp)
			r->max_ulp = ulp;
	}
	return true;
}
