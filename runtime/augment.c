/* augment -- random changes of training samples, in place on the gathered row.
 * Every draw is a function of (seed, epoch, set, sample, number of the
 * augmentation), so fields of one sample share theirs and resuming repeats them. */
#include "runtime/trainer.h"

#include <math.h>
#include <string.h>

struct image {
	int64_t c, h, w;
	int size;
	unsigned char *p;
};

bool
augmenter_open(
    struct augmenter *a, const struct config *c, uint64_t seed, struct region *r, struct rt_msg *m)
{
	int64_t most = 1;

	for (int s = 0; s < c->nsets; s++)
		for (int f = 0; f < c->sets[s].nfields; f++)
			if (c->sets[s].fields[f].row_bytes > most)
				most = c->sets[s].fields[f].row_bytes;
	*a = (struct augmenter){
	    c, rt_mix(seed ^ 0x6175676d656e7473u), region_alloc(r, (size_t)most)};
	return a->scratch || rt_fail(m, RT_INTERNAL, "out of memory");
}

static double
uniform(uint64_t key, uint64_t counter)
{
	return (double)(rt_draw(key, counter) >> 11) * 0x1p-53;
}

static void
flip_h(const struct image *g)
{
	unsigned char t[8];
	int n = g->size;

	for (int64_t y = 0; y < g->c * g->h; y++) {
		unsigned char *a = g->p + y * g->w * n, *b = a + (g->w - 1) * n;

		for (; a < b; a += n, b -= n) {
			memcpy(t, a, (size_t)n);
			memcpy(a, b, (size_t)n);
			memcpy(b, t, (size_t)n);
		}
	}
}

static void
flip_v(const struct image *g, unsigned char *scratch)
{
	size_t line = (size_t)(g->w * g->size);

	for (int64_t c = 0; c < g->c; c++)
		for (int64_t y = 0; y < g->h / 2; y++) {
			unsigned char *a = g->p + (size_t)(c * g->h + y) * line;
			unsigned char *b = g->p + (size_t)(c * g->h + g->h - 1 - y) * line;

			memcpy(scratch, a, line);
			memcpy(a, b, line);
			memcpy(b, scratch, line);
		}
}

/* The window shifted by (dy, dx) in -pad..pad; zeros come in. */
static void
shift(const struct image *g, int64_t dy, int64_t dx, unsigned char *scratch)
{
	size_t all = (size_t)(g->c * g->h * g->w * g->size);
	int64_t keep = g->w - (dx < 0 ? -dx : dx);

	memcpy(scratch, g->p, all);
	memset(g->p, 0, all);
	for (int64_t c = 0; keep > 0 && c < g->c; c++)
		for (int64_t y = 0; y < g->h; y++) {
			int64_t from = y + dy;

			if (from < 0 || from >= g->h)
				continue;
			memcpy(g->p + ((c * g->h + y) * g->w + (dx < 0 ? -dx : 0)) * g->size,
			    scratch + ((c * g->h + from) * g->w + (dx > 0 ? dx : 0)) * g->size,
			    (size_t)(keep * g->size));
		}
}

static void
cutout(const struct image *g, int64_t n, uint64_t key)
{
	int64_t cy = (int64_t)(uniform(key, 0) * (double)g->h),
		cx = (int64_t)(uniform(key, 1) * (double)g->w);
	int64_t y0 = cy - n / 2, x0 = cx - n / 2, y1 = y0 + n, x1 = x0 + n;

	y0 = y0 < 0 ? 0 : y0, x0 = x0 < 0 ? 0 : x0;
	y1 = y1 > g->h ? g->h : y1, x1 = x1 > g->w ? g->w : x1;
	for (int64_t c = 0; c < g->c; c++)
		for (int64_t y = y0; y < y1 && x0 < x1; y++)
			memset(g->p + ((c * g->h + y) * g->w + x0) * g->size, 0,
			    (size_t)((x1 - x0) * g->size));
}

/* Box and Muller; u8 rounds and saturates. */
static void
noise(const struct image *g, int32_t dtype, double sigma, uint64_t key)
{
	int64_t n = g->c * g->h * g->w;

	for (int64_t i = 0; i < n; i++) {
		double u = uniform(key, 2 * (uint64_t)i), v = uniform(key, 2 * (uint64_t)i + 1);
		double z = sigma * sqrt(-2 * log(1 - u)) * cos(2 * M_PI * v);

		if (dtype == RT_F32) {
			float f;

			memcpy(&f, g->p + 4 * i, 4);
			f += (float)z;
			memcpy(g->p + 4 * i, &f, 4);
		} else if (dtype == RT_U8) {
			double x = floor((double)g->p[i] + z + 0.5);

			g->p[i] = (unsigned char)(x < 0 ? 0 : x > 255 ? 255 : x);
		}
	}
}

void
augment_row(struct augmenter *a, const struct cfg_field *f, void *row, int64_t epoch, int set,
    int64_t sample)
{
	uint64_t key = rt_mix(rt_mix(a->seed + (uint64_t)epoch) +
			      (uint64_t)set * 0x9e3779b97f4a7c15u + (uint64_t)sample);
	struct image g = {1, 0, 0, rt_dtype_bytes(f->dtype), row};

	if (f->rank != 2 && (f->rank != 3 || f->has_classes))
		return;
	if (f->rank == 3)
		g.c = f->dims[0];
	g.h = f->dims[f->rank - 2];
	g.w = f->dims[f->rank - 1];
	for (int i = 0; i < a->cfg->naugments; i++) {
		const struct cfg_augment *x = &a->cfg->augments[i];
		uint64_t k = rt_draw(key, (uint64_t)i);
		double side = 2 * x->value + 1;

		switch (x->kind) {
		case AUG_FLIP_H:
			if (uniform(k, 0) < x->value)
				flip_h(&g);
			break;
		case AUG_FLIP_V:
			if (uniform(k, 0) < x->value)
				flip_v(&g, a->scratch);
			break;
		case AUG_CROP:
			shift(&g, (int64_t)(uniform(k, 0) * side) - (int64_t)x->value,
			    (int64_t)(uniform(k, 1) * side) - (int64_t)x->value, a->scratch);
			break;
		case AUG_CUTOUT:
			if (!f->has_classes)
				cutout(&g, (int64_t)x->value, k);
			break;
		case AUG_NOISE:
			if (!f->has_classes)
				noise(&g, f->dtype, x->value, k);
			break;
		}
	}
}
