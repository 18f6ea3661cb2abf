/* resample -- images brought to another size.  Output pixel i of n looks at
 * (i + 1/2) * from/to of the input through a triangle of half-width max(1, from/to),
 * cut off at the edges and normalised: bilinear interpolation where it grows, and
 * without aliasing where it shrinks (what torchvision calls antialias).  Rows of
 * pixels first, then columns, in f32. */
#include "runtime/rt_int.h"

#include <math.h>
#include <string.h>

bool
rt_can_blend(int32_t dtype)
{
	return dtype == RT_U8 || dtype == RT_F32;
}

size_t
rt_resample_room(const struct rt_planes *from, const struct rt_planes *to)
{
	return sizeof(float) * (size_t)(from->h * to->w);
}

/* The taps of output i: from *first, so many; weights by weight(). */
struct taps {
	int64_t first, n;
	double centre, width, sum;
};

static double
triangle(const struct taps *t, int64_t k)
{
	double x = fabs(((double)(t->first + k) + 0.5 - t->centre) / t->width);

	return x < 1 ? 1 - x : 0;
}

static struct taps
taps(int64_t i, int64_t to, int64_t from)
{
	double scale = (double)from / (double)to;
	struct taps t = {.centre = ((double)i + 0.5) * scale, .width = scale > 1 ? scale : 1};
	int64_t last = (int64_t)floor(t.centre + t.width + 0.5);

	t.first = (int64_t)floor(t.centre - t.width + 0.5);
	t.first = t.first < 0 ? 0 : t.first;
	last = last > from ? from : last;
	t.n = last - t.first;
	for (int64_t k = 0; k < t.n; k++)
		t.sum += triangle(&t, k);
	return t;
}

double
rt_pixel(const struct rt_planes *g, int64_t i)
{
	float f;

	if (g->dtype == RT_U8)
		return g->p[i];
	memcpy(&f, g->p + 4 * i, 4);
	return f;
}

void
rt_put_pixel(const struct rt_planes *g, int64_t i, double x)
{
	float f = (float)x;

	if (g->dtype == RT_U8)
		g->p[i] = (unsigned char)(x <= 0 ? 0 : x > 254.5 ? 255 : nearbyint(x));
	else
		memcpy(g->p + 4 * i, &f, 4);
}

static void
nearest_pixel(const struct rt_planes *from, const int64_t *win, const struct rt_planes *to)
{
	size_t n = (size_t)rt_dtype_bytes(from->dtype);

	for (int64_t c = 0; c < to->c; c++)
		for (int64_t y = 0; y < to->h; y++)
			for (int64_t x = 0; x < to->w; x++) {
				int64_t sy = win[0] + (2 * y + 1) * win[2] / (2 * to->h),
					sx = win[1] + (2 * x + 1) * win[3] / (2 * to->w);

				memcpy(to->p + (size_t)((c * to->h + y) * to->w + x) * n,
				    from->p + (size_t)((c * from->h + sy) * from->w + sx) * n, n);
			}
}

void
rt_resample(const struct rt_planes *from, const int64_t window[4], const struct rt_planes *to,
    bool nearest, void *tmp)
{
	float *mid = tmp; /* [window h, to w] */
	int64_t y0 = window[0], x0 = window[1], h = window[2], w = window[3];

	if (nearest) {
		nearest_pixel(from, window, to);
		return;
	}
	for (int64_t c = 0; c < to->c; c++) {
		for (int64_t x = 0; x < to->w; x++) {
			struct taps t = taps(x, to->w, w);

			for (int64_t y = 0; y < h; y++) {
				int64_t row = (c * from->h + y0 + y) * from->w + x0 + t.first;
				double sum = 0;

				for (int64_t k = 0; k < t.n; k++)
					sum += triangle(&t, k) * rt_pixel(from, row + k);
				mid[y * to->w + x] = (float)(sum / t.sum);
			}
		}
		for (int64_t y = 0; y < to->h; y++) {
			struct taps t = taps(y, to->h, h);

			for (int64_t x = 0; x < to->w; x++) {
				double sum = 0;

				for (int64_t k = 0; k < t.n; k++)
					sum += triangle(&t, k) * mid[(t.first + k) * to->w + x];
				rt_put_pixel(to, (c * to->h + y) * to->w + x, sum / t.sum);
			}
		}
	}
}
