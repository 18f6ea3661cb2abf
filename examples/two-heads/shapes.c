/* shapes -- pictures of shapes with their masks, drawn and not downloaded.
 *
 *   shapes DIR TRAIN TEST [SEED]
 *
 * A picture has a large shape, which is its class, and up to two small ones, on a
 * coloured ramp with noise.  The mask says of every pixel: 0 background, 1 circle,
 * 2 square, 3 star, 4 triangle.  Writes what any folder of images with masks looks like:
 * DIR/{train,test}/{images,masks}/CLASS/0000.png. */
#include <errno.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { SIDE = 32, PIXELS = SIDE * SIDE, KINDS = 4 };

static const char *const kinds[KINDS] = {"circle", "square", "star", "triangle"};

struct shape { double x, y, radius, turn; int kind; unsigned char colour[3]; };

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

static int
below(int n)
{
	return (int)uniform(0, n);
}

/* ---- shapes */

/* Polygon of n corners whose edges are at distance r of the centre. */
static int
in_polygon(double angle, double distance, int n, double r)
{
	double sector = 6.283185307179586 / n;

	angle = fmod(fmod(angle, sector) + sector, sector) - sector / 2;
	return distance * cos(angle) < r;
}

static int
inside(const struct shape *s, double x, double y)
{
	double dx = x - s->x, dy = y - s->y, d = hypot(dx, dy), a = atan2(dy, dx) + s->turn;

	switch (s->kind) {
	case 0:
		return d < s->radius;
	case 1:
		return in_polygon(a, d, 4, 0.8 * s->radius);
	case 2:
		return d < s->radius * (0.75 + 0.4 * cos(5 * a));
	default:
		return in_polygon(a, d, 3, 0.65 * s->radius);
	}
}

static struct shape
some_shape(int kind, double radius)
{
	struct shape s = {.kind = kind, .radius = radius, .turn = uniform(-0.6, 0.6)};

	s.x = uniform(radius, SIDE - radius);
	s.y = uniform(radius, SIDE - radius);
	for (int c = 0; c < 3; c++)
		s.colour[c] = (unsigned char)uniform(0, 256);
	return s;
}

/* Returns the picture's class. */
static int
draw(unsigned char *image, unsigned char *mask)
{
	struct shape s[3];
	int n = 1 + below(3), kind = below(KINDS);
	double ramp[3][3], noise = uniform(3, 25);

	for (int i = 0; i + 1 < n; i++)
		s[i] = some_shape(below(KINDS), uniform(3, 5.5));
	s[n - 1] = some_shape(kind, uniform(8, 12));
	for (int c = 0; c < 3; c++)
		for (int k = 0; k < 3; k++)
			ramp[c][k] = k ? uniform(-3, 3) : uniform(60, 200);
	for (int y = 0; y < SIDE; y++)
		for (int x = 0; x < SIDE; x++) {
			int top = -1;

			for (int i = 0; i < n; i++)
				if (inside(&s[i], x + 0.5, y + 0.5))
					top = i;
			mask[y * SIDE + x] = (unsigned char)(top < 0 ? 0 : s[top].kind + 1);
			for (int c = 0; c < 3; c++) {
				double v = ramp[c][0] + ramp[c][1] * (x - 16) + ramp[c][2] * (y - 16);

				v = (top < 0 ? v : s[top].colour[c]) + noise * uniform(-1, 1);
				image[(y * SIDE + x) * 3 + c] = (unsigned char)(v < 0 ? 0 : v > 255 ? 255 : v);
			}
		}
	return kind;
}

/* ---- PNG, the pixels stored without compression (RFC 1950, 1951; PNG specification) */
struct bytes { unsigned char b[8192]; size_t n; };

static void
put(struct bytes *o, const void *data, size_t n)
{
	memcpy(o->b + o->n, data, n);
	o->n += n;
}

static void
put_be32(struct bytes *o, uint32_t v)
{
	put(o, (unsigned char[]){(unsigned char)(v >> 24), (unsigned char)(v >> 16), (unsigned char)(v >> 8), (unsigned char)v}, 4);
}

static uint32_t
crc32(const unsigned char *p, size_t n)
{
	uint32_t c = ~0u;

	while (n--) {
		c ^= *p++;
		for (int k = 0; k < 8; k++)
			c = c >> 1 ^ (c & 1 ? 0xedb88320u : 0);
	}
	return ~c;
}

static void
chunk(struct bytes *o, const char *type, const unsigned char *data, size_t n)
{
	size_t start;

	put_be32(o, (uint32_t)n);
	start = o->n;
	put(o, type, 4);
	if (n)
		put(o, data, n);
	put_be32(o, crc32(o->b + start, o->n - start));
}

/* A zlib stream of one stored block: rows, each after its filter byte 0. */
static void
stored(struct bytes *z, const unsigned char *pixels, size_t row)
{
	uint32_t a = 1, b = 0, n = (uint32_t)(SIDE * (row + 1));

	put(z, (unsigned char[]){0x78, 1, 1, (unsigned char)n, (unsigned char)(n >> 8), (unsigned char)~n, (unsigned char)(~n >> 8)}, 7);
	for (int y = 0; y < SIDE; y++) {
		put(z, "", 1);
		put(z, pixels + (size_t)y * row, row);
	}
	for (size_t i = 7; i < z->n; i++) {
		a = (a + z->b[i]) % 65521;
		b = (b + a) % 65521;
	}
	put_be32(z, b << 16 | a);
}

static int
write_png(const char *path, const unsigned char *pixels, int channels)
{
	struct bytes z = {.n = 0}, png = {.n = 0};
	unsigned char head[13] = {0, 0, 0, SIDE, 0, 0, 0, SIDE, 8, channels == 3 ? 2 : 0};
	FILE *f = fopen(path, "wb");
	int bad;

	if (!f) {
		perror(path);
		return 1;
	}
	put(&png, "\211PNG\r\n\032\n", 8);
	chunk(&png, "IHDR", head, sizeof head);
	stored(&z, pixels, (size_t)SIDE * (size_t)channels);
	chunk(&png, "IDAT", z.b, z.n);
	chunk(&png, "IEND", NULL, 0);
	bad = fwrite(png.b, 1, png.n, f) != png.n;
	return bad | fclose(f);
}

/* ---- folders */
static int
folder(const char *dir, const char *split, const char *what, const char *kind)
{
	const char *part[4] = {dir, split, what, kind};
	char path[4096] = "";
	size_t n = 0;

	for (int i = 0; i < 4; i++) {
		n += (size_t)snprintf(path + n, sizeof path - n, i ? "/%s" : "%s", part[i]);
		if (n >= sizeof path || (mkdir(path, 0777) && errno != EEXIST)) {
			perror(path);
			return 1;
		}
	}
	return 0;
}

static int
write_split(const char *dir, const char *split, int count)
{
	for (int k = 0; k < KINDS; k++)
		if (folder(dir, split, "images", kinds[k]) || folder(dir, split, "masks", kinds[k]))
			return 1;
	for (int i = 0; i < count; i++) {
		unsigned char image[PIXELS * 3], mask[PIXELS];
		int kind = draw(image, mask);
		char path[4200];

		snprintf(path, sizeof path, "%s/%s/images/%s/%05d.png", dir, split, kinds[kind], i);
		if (write_png(path, image, 3))
			return 1;
		snprintf(path, sizeof path, "%s/%s/masks/%s/%05d.png", dir, split, kinds[kind], i);
		if (write_png(path, mask, 1))
			return 1;
	}
	return 0;
}

int
main(int argc, char **argv)
{
	if (argc < 4) {
		fprintf(stderr, "usage: shapes DIR TRAIN TEST [SEED]\n");
		return 1;
	}
	state = argc > 4 ? strtoull(argv[4], NULL, 10) * 2 + 1 : 12345;
	for (int i = 0; i < 8; i++)
		uniform(0, 1);
	return write_split(argv[1], "train", atoi(argv[2])) || write_split(argv[1], "test", atoi(argv[3])) ? 4 : 0;
}
