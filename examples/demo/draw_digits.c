/* draw_digits -- handwritten-like digits for the demo, drawn and not downloaded.
 *
 *   draw_digits DIR TRAIN TEST [SEED]
 *
 * Every digit is a few strokes: arcs and lines in the unit square.  A sample bends
 * them a little, turns, shears and scales the whole, then inks every pixel by its
 * distance to the nearest stroke, with a pen of random width, and adds noise.
 * Writes 28x28 IDX files: {train,test}-{images-idx3,labels-idx1}-ubyte. */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SIDE = 28, MAX_POINTS = 160 };

struct point { float x, y; };
struct stroke_path { struct point p[MAX_POINTS]; int n, start[8], strokes; };

/* ---- random numbers: xorshift64*, the same on every machine */
static uint64_t state = 1;

static double
uniform(double lo, double hi)
{
	state ^= state >> 12;
	state ^= state << 25;
	state ^= state >> 27;
	return lo + (hi - lo) * (double)((state * 2685821657736338717u) >> 11) / 9007199254740992.0;
}

static double
normal(void)
{
	double u = uniform(1e-12, 1), v = uniform(0, 6.283185307179586);

	return sqrt(-2 * log(u)) * cos(v);
}

/* ---- strokes: y grows downwards, the digit fills [0,1] x [0,1] */
static void
pen_down(struct stroke_path *s)
{
	s->start[s->strokes++] = s->n;
}

static void
to(struct stroke_path *s, double x, double y)
{
	s->p[s->n++] = (struct point){(float)x, (float)y};
}

/* Elliptic arc about (cx,cy), angles in turns, 0 = right, 0.25 = down. */
static void
arc(struct stroke_path *s, double cx, double cy, double rx, double ry, double from, double until)
{
	enum { STEPS = 14 };

	for (int i = 0; i <= STEPS; i++) {
		double t = 6.283185307179586 * (from + (until - from) * i / STEPS);

		to(s, cx + rx * cos(t), cy + ry * sin(t));
	}
}

static void
draw_digit(struct stroke_path *s, int digit)
{
	double w = uniform(0.22, 0.34); /* half width of round parts */

	s->n = s->strokes = 0;
	pen_down(s);
	switch (digit) {
	case 0:
		arc(s, 0.5, 0.5, w, 0.45, -0.25, 0.78);
		break;
	case 1:
		if (uniform(0, 1) < 0.6)
			to(s, 0.5 - w * uniform(0.3, 0.9), uniform(0.18, 0.32));
		to(s, 0.52, 0.05);
		to(s, 0.5, 0.95);
		if (uniform(0, 1) < 0.25) {
			pen_down(s);
			to(s, 0.5 - w, 0.95);
			to(s, 0.5 + w, 0.95);
		}
		break;
	case 2:
		arc(s, 0.5, 0.3, w, 0.25, 0.5, 1.1);
		to(s, 0.5 - w, 0.93);
		to(s, 0.5 + w * 1.1, 0.93);
		break;
	case 3:
		arc(s, 0.48, 0.28, w * 0.9, 0.23, 0.55, 1.2);
		pen_down(s);
		arc(s, 0.48, 0.71, w, 0.24, -0.22, 0.45);
		break;
	case 4:
		to(s, 0.5 + w * uniform(0, 0.4), 0.06);
		to(s, 0.5 - w, 0.62);
		to(s, 0.5 + w * 1.2, 0.62);
		pen_down(s);
		to(s, 0.5 + w * 0.5, uniform(0.3, 0.45));
		to(s, 0.5 + w * 0.45, 0.96);
		break;
	case 5:
		to(s, 0.5 + w, 0.07);
		to(s, 0.5 - w * 0.8, 0.07);
		to(s, 0.5 - w * 0.85, 0.46);
		arc(s, 0.48, 0.66, w, 0.27, -0.33, 0.42);
		break;
	case 6:
		to(s, 0.5 + w * 0.7, 0.06);
		to(s, 0.5 - w * 0.5, 0.38);
		arc(s, 0.5, 0.7, w * 0.9, 0.24, 0.5, 1.5);
		break;
	case 7:
		to(s, 0.5 - w, 0.08);
		to(s, 0.5 + w, 0.08);
		to(s, 0.5 - w * uniform(0, 0.5), 0.95);
		if (uniform(0, 1) < 0.35) {
			pen_down(s);
			to(s, 0.5 - w * 0.5, 0.5);
			to(s, 0.5 + w * 0.7, 0.5);
		}
		break;
	case 8:
		arc(s, 0.5, 0.28, w * 0.8, 0.22, 0.25, 1.25);
		pen_down(s);
		arc(s, 0.5, 0.72, w, 0.23, -0.25, 0.75);
		break;
	default:
		arc(s, 0.5, 0.3, w * 0.9, 0.24, 0, 1);
		pen_down(s);
		to(s, 0.5 + w * 0.9, 0.3);
		to(s, 0.5 + w * uniform(0.2, 0.9), 0.95);
		break;
	}
}

/* Turn, shear, scale, wobble; from the unit square to pixels. */
static void
distort(struct stroke_path *s)
{
	double turn = uniform(-0.3, 0.3), shear = uniform(-0.3, 0.3), height = uniform(15, 21);
	double width = height * uniform(0.75, 1.15), dx = uniform(-2.2, 2.2), dy = uniform(-2.2, 2.2);
	double wave = uniform(0, 0.05), phase = uniform(0, 6.3), c = cos(turn), sn = sin(turn);

	for (int i = 0; i < s->n; i++) {
		double y = s->p[i].y - 0.5, x = s->p[i].x - 0.5 - shear * y + wave * sin(7 * y + phase);

		x = x * width + normal() * 0.12;
		y = y * height + normal() * 0.12;
		s->p[i] = (struct point){(float)(SIDE / 2.0 + dx + c * x - sn * y), (float)(SIDE / 2.0 + dy + sn * x + c * y)};
	}
}

static double
distance(double x, double y, struct point a, struct point b)
{
	double ux = b.x - a.x, uy = b.y - a.y, len = ux * ux + uy * uy;
	double t = len > 0 ? ((x - a.x) * ux + (y - a.y) * uy) / len : 0;

	t = t < 0 ? 0 : t > 1 ? 1 : t;
	return hypot(x - a.x - t * ux, y - a.y - t * uy);
}

static void
ink(const struct stroke_path *s, unsigned char *image)
{
	double pen = uniform(0.6, 1.7), grain = uniform(0, 22), dark = uniform(190, 255);

	for (int y = 0; y < SIDE; y++)
		for (int x = 0; x < SIDE; x++) {
			double near = 1e9, v;

			for (int k = 0; k < s->strokes; k++) {
				int end = k + 1 < s->strokes ? s->start[k + 1] : s->n;

				for (int i = s->start[k]; i + 1 < end; i++) {
					double d = distance(x + 0.5, y + 0.5, s->p[i], s->p[i + 1]);

					if (d < near)
						near = d;
				}
			}
			v = dark / (1 + exp((near - pen) * 3.5)) + grain * normal();
			image[y * SIDE + x] = (unsigned char)(v < 0 ? 0 : v > 255 ? 255 : v);
		}
}

/* ---- files */
static void
put_be32(FILE *f, uint32_t v)
{
	for (int shift = 24; shift >= 0; shift -= 8)
		fputc((int)(v >> shift & 255), f);
}

static FILE *
create(const char *dir, const char *split, const char *kind)
{
	char path[4096];
	FILE *f;

	snprintf(path, sizeof path, "%s/%s-%s-ubyte", dir, split, kind);
	f = fopen(path, "wb");
	if (!f)
		fprintf(stderr, "%s: cannot be written\n", path);
	return f;
}

static int
write_split(const char *dir, const char *split, int count)
{
	FILE *images = create(dir, split, "images-idx3"), *labels = create(dir, split, "labels-idx1");
	int bad;

	if (!images || !labels)
		return 1;
	put_be32(images, 0x803);
	put_be32(images, (uint32_t)count);
	put_be32(images, SIDE);
	put_be32(images, SIDE);
	put_be32(labels, 0x801);
	put_be32(labels, (uint32_t)count);
	for (int i = 0; i < count; i++) {
		unsigned char image[SIDE * SIDE];
		struct stroke_path s;
		int digit = (int)uniform(0, 10);

		draw_digit(&s, digit);
		distort(&s);
		ink(&s, image);
		fwrite(image, 1, sizeof image, images);
		fputc(digit, labels);
	}
	bad = ferror(images) | ferror(labels);
	bad |= fclose(images) | fclose(labels);
	if (bad)
		fprintf(stderr, "%s: writing %s failed\n", dir, split);
	return bad != 0;
}

int
main(int argc, char **argv)
{
	if (argc < 4) {
		fprintf(stderr, "usage: draw_digits DIR TRAIN TEST [SEED]\n");
		return 1;
	}
	state = argc > 4 ? strtoull(argv[4], NULL, 10) * 2 + 1 : 12345;
	for (int i = 0; i < 8; i++)
		uniform(0, 1);
	return write_split(argv[1], "train", atoi(argv[2])) || write_split(argv[1], "test", atoi(argv[3])) ? 4 : 0;
}
