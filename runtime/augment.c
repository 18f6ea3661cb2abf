/* augment -- random changes of training samples, in place on the gathered row, and of
 * batches where two samples are mixed.  Every draw is a function of (seed, draw, set,
 * sample, number of the augmentation): the fields of one sample share theirs, resuming
 * repeats them.  host/augment.def has the rows, here is what they do. */
#include "runtime/trainer.h"

#include <math.h>
#include <string.h>

/* One application: v are the row's values in the table's order. */
struct change {
	struct augmenter *a;
	const struct cfg_augment *x;
	const struct cfg_field *f;
	const double *v;
	uint64_t key;
	struct rt_planes g; /* tokens: [1,1,T] */
};

bool
augmenter_open(
    struct augmenter *a, const struct config *c, uint64_t seed, struct region *r, struct rt_msg *m)
{
	size_t most = 1, room = 1;

	for (int s = 0; s < c->nsets; s++)
		for (int f = 0; f < c->sets[s].nfields; f++) {
			const struct cfg_field *x = &c->sets[s].fields[f];
			struct rt_planes g = {.h = x->rank > 1 ? x->dims[x->rank - 2] : 1,
			    .w = x->rank > 0 ? x->dims[x->rank - 1] : 1};
			size_t n = (size_t)x->row_bytes, k = rt_resample_room(&g, &g);

			most = n > most ? n : most;
			room = k > room ? k : room;
		}
	*a = (struct augmenter){c, rt_mix(seed ^ 0x6175676d656e7473u), region_alloc(r, most),
	    region_alloc(r, room)};
	return (a->scratch && a->room) || rt_fail(m, RT_INTERNAL, "out of memory");
}

static double
uniform(uint64_t key, uint64_t counter)
{
	return (double)(rt_draw(key, counter) >> 11) * 0x1p-53;
}

static double
between(const double *range, uint64_t key, uint64_t counter)
{
	return range[0] + (range[1] - range[0]) * uniform(key, counter);
}

/* Box and Muller */
static double
normal(uint64_t key, uint64_t counter)
{
	return sqrt(-2 * log(1 - uniform(key, 2 * counter))) *
	       cos(2 * M_PI * uniform(key, 2 * counter + 1));
}

static bool
is_mask(const struct cfg_field *f)
{
	return f->has_classes;
}

/* What comes in from outside: in a label map the label that is ignored. */
static double
outside(const struct change *c, double fill)
{
	return !is_mask(c->f) ? fill : c->f->has_ignore ? (double)c->f->ignore : 0;
}

static size_t
plane_bytes(const struct rt_planes *g)
{
	return (size_t)(g->c * g->h * g->w * rt_dtype_bytes(g->dtype));
}

/* ---- flips and crops: bytes move, any dtype */
static void
flip_h(const struct change *c)
{
	const struct rt_planes *g = &c->g;
	unsigned char t[8];
	int n = rt_dtype_bytes(g->dtype);

	for (int64_t y = 0; y < g->c * g->h; y++) {
		unsigned char *a = g->p + y * g->w * n, *b = a + (g->w - 1) * n;

		for (; n == 1 && a < b; a++, b--) { /* bytes: most images */
			unsigned char u = *a;

			*a = *b;
			*b = u;
		}
		for (; a < b; a += n, b -= n) {
			memcpy(t, a, (size_t)n);
			memcpy(a, b, (size_t)n);
			memcpy(b, t, (size_t)n);
		}
	}
}

static void
flip_v(const struct change *c)
{
	const struct rt_planes *g = &c->g;
	size_t line = (size_t)(g->w * rt_dtype_bytes(g->dtype));

	for (int64_t k = 0; k < g->c; k++)
		for (int64_t y = 0; y < g->h / 2; y++) {
			unsigned char *a = g->p + (size_t)(k * g->h + y) * line;
			unsigned char *b = g->p + (size_t)(k * g->h + g->h - 1 - y) * line;

			memcpy(c->a->scratch, a, line);
			memcpy(a, b, line);
			memcpy(b, c->a->scratch, line);
		}
}

/* i reflected into 0..n-1 without repeating the edge, as often as it takes */
static int64_t
reflect(int64_t i, int64_t n)
{
	int64_t period = 2 * (n - 1);

	if (n == 1)
		return 0;
	i %= period;
	i = i < 0 ? i + period : i;
	return i < n ? i : period - i;
}

static void
fill_all(const struct change *c, double x)
{
	int64_t n = c->g.c * c->g.h * c->g.w;

	if (x == 0)
		memset(c->g.p, 0, plane_bytes(&c->g));
	else
		for (int64_t i = 0; i < n; i++)
			rt_set_element(c->g.dtype, c->g.p, i, x);
}

/* The window shifted by (dy, dx) in -pad..pad. */
static void
crop(const struct change *c)
{
	const struct rt_planes *g = &c->g;
	int64_t pad = (int64_t)c->v[0], size = rt_dtype_bytes(g->dtype);
	int64_t dy = (int64_t)(uniform(c->key, 0) * (double)(2 * pad + 1)) - pad,
		dx = (int64_t)(uniform(c->key, 1) * (double)(2 * pad + 1)) - pad;
	int64_t keep = g->w - (dx < 0 ? -dx : dx), to = dx < 0 ? -dx : 0, from = dx > 0 ? dx : 0;
	bool mirror = c->v[1] == 1;
	unsigned char *old = c->a->scratch;

	memcpy(old, g->p, plane_bytes(g));
	if (!mirror)
		fill_all(c, outside(c, 0));
	for (int64_t y = 0; y < g->c * g->h; y++) {
		int64_t row = y % g->h + dy, plane = y / g->h * g->h;

		if (mirror)
			row = reflect(row, g->h);
		if (row < 0 || row >= g->h)
			continue;
		if (keep > 0)
			memcpy(g->p + (y * g->w + to) * size,
			    old + ((plane + row) * g->w + from) * size, (size_t)(keep * size));
		for (int64_t x = 0; mirror && x < g->w; x++)
			if (x < to || x >= to + keep)
				memcpy(g->p + (y * g->w + x) * size,
				    old + ((plane + row) * g->w + reflect(x + dx, g->w)) * size,
				    (size_t)size);
	}
}

/* A window of a share `scale` of the area and a log-uniform ratio of sides, brought back
 * to the old size (Szegedy et al. 2015; ten tries, then the whole image's middle). */
static void
random_resized_crop(const struct change *c)
{
	const struct rt_planes *g = &c->g;
	struct rt_planes old = *g;
	double ratios[2] = {log(c->v[2]), log(c->v[3])}, whole = (double)g->w / (double)g->h;
	int64_t win[4], w = 0, h = 0;
	int i;

	for (i = 0; i < 10; i++) {
		double area = (double)(g->h * g->w) * between(c->v, c->key, 4 * (uint64_t)i),
		       ratio = exp(between(ratios, c->key, 4 * (uint64_t)i + 1));

		w = (int64_t)llround(sqrt(area * ratio));
		h = (int64_t)llround(sqrt(area / ratio));
		if (w > 0 && w <= g->w && h > 0 && h <= g->h)
			break;
	}
	if (i == 10) {
		w = whole > c->v[3] ? (int64_t)llround((double)g->h * c->v[3]) : g->w;
		h = whole < c->v[2] ? (int64_t)llround((double)g->w / c->v[2]) : g->h;
		win[0] = (g->h - h) / 2;
		win[1] = (g->w - w) / 2;
	} else {
		win[0] = (int64_t)(uniform(c->key, 4 * (uint64_t)i + 2) * (double)(g->h - h + 1));
		win[1] = (int64_t)(uniform(c->key, 4 * (uint64_t)i + 3) * (double)(g->w - w + 1));
	}
	win[2] = h;
	win[3] = w;
	old.p = c->a->scratch;
	memcpy(old.p, g->p, plane_bytes(g));
	rt_resample(&old, win, g, is_mask(c->f), c->a->room);
}

/* ---- rotation about the centre, counter-clockwise: output (x, y) looks at
 *   x' = cos a * x - sin a * y,  y' = sin a * x + cos a * y
 * with both from the centre, y downwards; bilinear, or nearest for label maps (ties to even). */
static double
blended(const struct rt_planes *g, int64_t plane, double y, double x, double fill)
{
	double fy = floor(y), fx = floor(x), sum = 0;

	for (int k = 0; k < 4; k++) {
		double yy = fy + k / 2, xx = fx + k % 2,
		       w = (1 - fabs(y - yy)) * (1 - fabs(x - xx));
		bool in = yy >= 0 && yy < (double)g->h && xx >= 0 && xx < (double)g->w;

		sum += w * (in ? rt_pixel(g, (plane * g->h + (int64_t)yy) * g->w + (int64_t)xx) : fill);
	}
	return sum;
}

static void
rotate(const struct change *c)
{
	const struct rt_planes *g = &c->g;
	struct rt_planes old = *g;
	double a = between(c->v, c->key, 0) * M_PI / 180, cy = (double)(g->h - 1) / 2,
	       cx = (double)(g->w - 1) / 2, fill = outside(c, c->v[2]);
	int64_t size = rt_dtype_bytes(g->dtype);

	old.p = c->a->scratch;
	memcpy(old.p, g->p, plane_bytes(g));
	for (int64_t i = 0; i < g->h * g->w; i++) {
		double y = (double)(i / g->w) - cy, x = (double)(i % g->w) - cx;
		double sx = cos(a) * x - sin(a) * y + cx, sy = sin(a) * x + cos(a) * y + cy;
		double ny = nearbyint(sy), nx = nearbyint(sx);
		bool in = ny >= 0 && ny < (double)g->h && nx >= 0 && nx < (double)g->w;

		for (int64_t k = 0; k < g->c; k++) {
			int64_t to = k * g->h * g->w + i;

			if (!is_mask(c->f))
				rt_put_pixel(g, to, blended(&old, k, sy, sx, fill));
			else if (in)
				memcpy(g->p + to * size,
				    old.p + ((k * g->h + (int64_t)ny) * g->w + (int64_t)nx) * size,
				    (size_t)size);
			else
				rt_set_element(g->dtype, g->p, to, fill);
		}
	}
}

/* ---- colours, as torchvision computes them: f32, u8 cut to whole numbers after each
 * step; f32 images lie in 0..1.  Luma is 0.2989 R + 0.587 G + 0.114 B. */
static float
top(const struct rt_planes *g)
{
	return g->dtype == RT_U8 ? 255 : 1;
}

static void
put_cut(const struct rt_planes *g, int64_t i, float x)
{
	x = x < 0 ? 0 : x > top(g) ? top(g) : x;
	if (g->dtype == RT_U8)
		g->p[i] = (unsigned char)x;
	else
		memcpy(g->p + 4 * i, &x, 4);
}

static float
luma(const struct rt_planes *g, int64_t i)
{
	int64_t n = g->h * g->w;
	float y;

	if (g->c == 1)
		return (float)rt_pixel(g, i);
	y = 0.2989f * (float)rt_pixel(g, i) + 0.587f * (float)rt_pixel(g, i + n) +
	    0.114f * (float)rt_pixel(g, i + 2 * n);
	return g->dtype == RT_U8 ? floorf(y) : y;
}

static void
brightness(const struct rt_planes *g, float f)
{
	for (int64_t i = 0; i < g->c * g->h * g->w; i++)
		put_cut(g, i, f * (float)rt_pixel(g, i));
}

static void
contrast(const struct rt_planes *g, float f)
{
	double sum = 0;
	float mean;

	for (int64_t i = 0; i < g->h * g->w; i++)
		sum += luma(g, i);
	mean = (float)(sum / (double)(g->h * g->w));
	for (int64_t i = 0; i < g->c * g->h * g->w; i++)
		put_cut(g, i, f * (float)rt_pixel(g, i) + (1 - f) * mean);
}

static void
saturation(const struct rt_planes *g, float f)
{
	int64_t n = g->h * g->w;

	for (int64_t i = 0; g->c == 3 && i < n; i++) {
		float y = luma(g, i);

		for (int64_t k = i; k < 3 * n; k += n)
			put_cut(g, k, f * (float)rt_pixel(g, k) + (1 - f) * y);
	}
}

/* RGB to HSV, hue shifted by f turns, and back (Smith 1978) */
static void
hue(const struct rt_planes *g, float f)
{
	int64_t n = g->h * g->w;

	for (int64_t i = 0; g->c == 3 && i < n; i++) {
		float rgb[3], most, least, cr, s, h, div;

		for (int k = 0; k < 3; k++)
			rgb[k] = (float)rt_pixel(g, i + k * n) / top(g);
		most = fmaxf(rgb[0], fmaxf(rgb[1], rgb[2]));
		least = fminf(rgb[0], fminf(rgb[1], rgb[2]));
		cr = most - least;
		s = cr / (most == least ? 1 : most);
		div = most == least ? 1 : cr;

		float rc = (most - rgb[0]) / div, gc = (most - rgb[1]) / div,
		      bc = (most - rgb[2]) / div;

		h = most == rgb[0] ? bc - gc : most == rgb[1] ? 2 + rc - bc : 4 + gc - rc;
		h = fmodf(h / 6 + 1, 1);
		h = fmodf(h + f, 1);
		h = h < 0 ? h + 1 : h;

		float part = floorf(h * 6), x = h * 6 - part;
		float p = most * (1 - s), q = most * (1 - s * x), t = most * (1 - s * (1 - x));
		const float out[6][3] = {{most, t, p}, {q, most, p}, {p, most, t}, {p, q, most},
		    {t, p, most}, {most, p, q}};

		for (int k = 0; k < 3; k++) {
			float y = out[(int)part % 6][k];

			y = y < 0 ? 0 : y > 1 ? 1 : y;
			put_cut(g, i + k * n, g->dtype == RT_U8 ? y * 255.999f : y);
		}
	}
}

/* The four in a drawn order, each by a drawn factor. */
static void
color_jitter(const struct change *c)
{
	static void (*const step[4])(const struct rt_planes *, float) = {
	    brightness, contrast, saturation, hue};
	int order[4] = {0, 1, 2, 3};

	for (int i = 3; i > 0; i--) {
		int j = (int)(uniform(c->key, 8 + (uint64_t)i) * (i + 1)), t = order[i];

		order[i] = order[j];
		order[j] = t;
	}
	for (int i = 0; i < 4; i++) {
		const double *range = c->v + 2 * order[i];

		if (range[0] != range[1] || range[0] != (order[i] < 3))
			step[order[i]](&c->g, (float)between(range, c->key, (uint64_t)order[i]));
	}
}

/* ---- holes */
static void
rectangle(const struct change *c, int64_t y0, int64_t y1, int64_t x0, int64_t x1, double fill)
{
	const struct rt_planes *g = &c->g;

	y0 = y0 < 0 ? 0 : y0, x0 = x0 < 0 ? 0 : x0;
	y1 = y1 > g->h ? g->h : y1, x1 = x1 > g->w ? g->w : x1;
	for (int64_t k = 0; k < g->c; k++)
		for (int64_t y = y0; y < y1; y++)
			for (int64_t x = x0; x < x1; x++)
				rt_set_element(g->dtype, g->p, (k * g->h + y) * g->w + x, fill);
}

static void
cutout(const struct change *c)
{
	int64_t n = (int64_t)c->v[0], y = (int64_t)(uniform(c->key, 0) * (double)c->g.h) - n / 2,
		x = (int64_t)(uniform(c->key, 1) * (double)c->g.w) - n / 2;

	rectangle(c, y, y + n, x, x + n, c->v[1]);
}

/* SpecAugment (Park et al. 2019): a width w in 0..width, a start in 0..size-w */
static void
stripes(const struct change *c)
{
	bool last = c->v[3] == -1;
	int64_t size = last ? c->g.w : c->g.h, most = (int64_t)c->v[0];

	most = most > size ? size : most;
	for (int i = 0; i < (int)c->v[1]; i++) {
		int64_t w = (int64_t)(uniform(c->key, 2 * (uint64_t)i) * (double)(most + 1)),
			at = (int64_t)(uniform(c->key, 2 * (uint64_t)i + 1) * (double)(size - w + 1));

		if (last)
			rectangle(c, 0, c->g.h, at, at + w, c->v[2]);
		else
			rectangle(c, at, at + w, 0, c->g.w, c->v[2]);
	}
}

static void
time_mask(const struct change *c)
{
	stripes(c);
}

static void
freq_mask(const struct change *c)
{
	stripes(c);
}

static void
noise(const struct change *c)
{
	for (int64_t i = 0; i < c->g.c * c->g.h * c->g.w; i++)
		rt_put_pixel(&c->g, i, rt_pixel(&c->g, i) + c->v[0] * normal(c->key, (uint64_t)i));
}

static void
token_dropout(const struct change *c)
{
	for (int64_t i = 0; i < c->g.w; i++) {
		double id = rt_element(c->g.dtype, c->g.p, i);
		bool keep = uniform(c->key, (uint64_t)i) >= c->v[0];

		for (int k = 0; k < c->x->nlist; k++)
			keep |= id == c->x->list[k];
		if (!keep)
			rt_set_element(c->g.dtype, c->g.p, i, c->v[1]);
	}
}

/* ---- pairs of a batch: see augment_batch */
static void
mixup(const struct change *c)
{
	(void)c;
}

static void
cutmix(const struct change *c)
{
	(void)c;
}

static bool
acts_on(const struct cfg_augment *x, const struct cfg_field *f)
{
	struct augment_field v = {f->dtype, f->rank, f->dims, f->has_classes, f->target};
	bool named = x->nfields == 0;

	for (int i = 0; i < x->nfields; i++)
		named |= strcmp(x->fields[i], f->name) == 0;
	return named && !f->recorded && !augment_refuses(x->kind, &v);
}

static struct rt_planes
planes(const struct cfg_field *f, void *row)
{
	struct rt_planes g = {f->dtype, 1, 1, 1, row};

	if (f->rank > 0)
		g.w = f->dims[f->rank - 1];
	if (f->rank > 1)
		g.h = f->dims[f->rank - 2];
	for (int i = 0; i < f->rank - 2; i++)
		g.c *= f->dims[i];
	return g;
}

void
augment_row(struct augmenter *a, const struct cfg_field *f, void *row, int64_t draw, int set,
    int64_t sample)
{
	static void (*const apply[NAUGMENTS])(const struct change *) = {
#define AUGMENT(id, acts, ...) [AUG_##id] = id,
#include "host/augment.def"
	};
	uint64_t key = rt_mix(rt_mix(a->seed + (uint64_t)draw) +
			      (uint64_t)set * 0x9e3779b97f4a7c15u + (uint64_t)f->view * 0xd1342543de82ef95u +
			      (uint64_t)sample);

	for (int i = 0; i < a->cfg->naugments; i++) {
		const struct cfg_augment *x = &a->cfg->augments[i];
		struct change c = {.a = a, .x = x, .f = f, .v = x->v};

		if (augment_table[x->kind].acts & ACT_BATCH || !acts_on(x, f))
			continue;
		c.key = rt_draw(key, (uint64_t)i);
		c.g = planes(f, row);
		/* flips are p themselves */
		if (x->kind == AUG_flip_h || x->kind == AUG_flip_v ? uniform(c.key, 0) < x->v[0]
								   : uniform(c.key, 1u << 30) < x->v[AUG_VALUES - 1])
			apply[x->kind](&c);
	}
}

/* ---- mixing: row i with row i+1 of the set's rows, the last with the first.  One
 * share and one box for a batch (Zhang et al. 2018, Yun et al. 2019). */

/* Marsaglia and Tsang 2000, alpha < 1 by the power of a uniform number */
static double
gamma_draw(double alpha, uint64_t key)
{
	double d = (alpha < 1 ? alpha + 1 : alpha) - 1.0 / 3, c = 1 / sqrt(9 * d);

	for (uint64_t i = 0;; i++) {
		double x = normal(key, 4 * i), v = 1 + c * x, u = uniform(key, 8 * i + 7);

		v = v * v * v;
		if (v > 0 && log(1 - u) < 0.5 * x * x + d - d * v + d * log(v))
			return d * v *
			       (alpha < 1 ? pow(1 - uniform(key, UINT64_MAX), 1 / alpha) : 1);
	}
}

static double
beta_draw(double alpha, uint64_t key)
{
	double a = gamma_draw(alpha, rt_mix(key)), b = gamma_draw(alpha, rt_mix(key + 1));

	return a + b > 0 ? a / (a + b) : 0.5;
}

/* What is mixed in this batch of the set; -1: nothing.  Of several one is drawn. */
static int
mixing(const struct augmenter *a, uint64_t key)
{
	int n = 0, which[MAX_AUGMENTS];

	for (int i = 0; i < a->cfg->naugments; i++)
		if (augment_table[a->cfg->augments[i].kind].acts & ACT_BATCH)
			which[n++] = i;
	if (n == 0)
		return -1;
	n = which[(int)(uniform(key, 0) * n)];
	return uniform(key, 1) < a->cfg->augments[n].v[AUG_VALUES - 1] ? n : -1;
}

struct mix {
	int which;
	double share; /* of the row itself, before the box is cut off at the edges */
	double cy, cx;
};

static struct mix
mix_of(const struct augmenter *a, int set, int64_t step)
{
	uint64_t key = rt_mix(rt_mix(a->seed ^ 0x6d6978u) + (uint64_t)step) + (uint64_t)set;
	struct mix x = {.which = mixing(a, key), .share = 1};

	if (x.which >= 0) {
		x.share = beta_draw(a->cfg->augments[x.which].v[0], rt_draw(key, 2));
		x.cy = uniform(key, 3);
		x.cx = uniform(key, 4);
	}
	return x;
}

/* Sides of sqrt(1 - share) around a drawn centre, cut off at the edges. */
static void
box(const struct mix *x, int64_t h, int64_t w, int64_t *b)
{
	double r = sqrt(1 - x->share);
	int64_t bh = (int64_t)((double)h * r), bw = (int64_t)((double)w * r),
		y = (int64_t)(x->cy * (double)h), z = (int64_t)(x->cx * (double)w);

	b[0] = y - bh / 2 < 0 ? 0 : y - bh / 2;
	b[1] = y + bh / 2 > h ? h : y + bh / 2;
	b[2] = z - bw / 2 < 0 ? 0 : z - bw / 2;
	b[3] = z + bw / 2 > w ? w : z + bw / 2;
}

double
augment_share(const struct augmenter *a, int set, int64_t step)
{
	const struct cfg_set *s = &a->cfg->sets[set];
	struct mix x = mix_of(a, set, step);
	const struct cfg_augment *g = x.which < 0 ? NULL : &a->cfg->augments[x.which];
	int64_t b[4];

	/* the box covers its share of the first field it acts on */
	for (int i = 0; g && g->kind == AUG_cutmix && i < s->nfields; i++)
		if (acts_on(g, &s->fields[i])) {
			struct rt_planes p = planes(&s->fields[i], NULL);

			box(&x, p.h, p.w, b);
			return 1 - (double)((b[1] - b[0]) * (b[3] - b[2])) / (double)(p.h * p.w);
		}
	return x.share;
}

void
augment_batch(struct augmenter *a, const struct cfg_field *f, void *rows, int64_t n, int set,
    int64_t step)
{
	struct mix x = mix_of(a, set, step);
	const struct cfg_augment *g = x.which < 0 ? NULL : &a->cfg->augments[x.which];
	unsigned char *first = a->scratch;
	int64_t b[4], size = rt_dtype_bytes(f->dtype);

	if (!g || !acts_on(g, f))
		return;
	memcpy(first, rows, (size_t)f->row_bytes);
	for (int64_t i = 0; i < n; i++) {
		struct rt_planes to = planes(f, (unsigned char *)rows + i * f->row_bytes), from = to;

		from.p = i + 1 < n ? to.p + f->row_bytes : first;
		if (g->kind == AUG_mixup) {
			for (int64_t k = 0; k < f->row_bytes / size; k++)
				rt_put_pixel(&to, k,
				    x.share * rt_pixel(&to, k) + (1 - x.share) * rt_pixel(&from, k));
			continue;
		}
		box(&x, to.h, to.w, b);
		for (int64_t y = 0; y < to.c * to.h; y++)
			if (y % to.h >= b[0] && y % to.h < b[1])
				memcpy(to.p + (y * to.w + b[2]) * size,
				    from.p + (y * to.w + b[2]) * size,
				    (size_t)((b[3] - b[2]) * size));
	}
}

bool
augment_mixes_field(const struct augmenter *a, const struct cfg_field *f, int set, int64_t step)
{
	int i = mix_of(a, set, step).which;

	return i >= 0 && acts_on(&a->cfg->augments[i], f);
}

bool
augment_mixes(const struct config *c)
{
	for (int i = 0; i < c->naugments; i++)
		if (augment_table[c->augments[i].kind].acts & ACT_BATCH)
			return true;
	return false;
}
