/* picture -- see report.h.  PNG (RFC 2083): signature, IHDR, IDAT, IEND, each chunk
 * with its length and CRC. */
#include "runtime/report.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

/* ---- from a sample */
static double
number(const void *p, int32_t dtype, int64_t i)
{
	switch (dtype) {
	case RT_F32:
		return ((const float *)p)[i];
	case RT_F64:
		return ((const double *)p)[i];
	case RT_U8:
	case RT_BOOL:
		return ((const uint8_t *)p)[i];
	case RT_I8:
		return ((const int8_t *)p)[i];
	case RT_U16:
		return ((const uint16_t *)p)[i];
	case RT_I16:
		return ((const int16_t *)p)[i];
	case RT_I32:
		return ((const int32_t *)p)[i];
	case RT_I64:
		return (double)((const int64_t *)p)[i];
	default:
		return NAN;
	}
}

struct view { /* of the sample: element (c, y, x) is at c*dc + y*dy + x*dx */
	int64_t c, h, w, dc, dy, dx;
};

static bool
view_of(const struct cfg_field *f, struct view *v)
{
	const int64_t *d = f->dims;

	if (f->rank == 2)
		*v = (struct view){1, d[0], d[1], 0, d[1], 1};
	else if (f->rank == 3 && (d[0] == 1 || d[0] == 3))
		*v = (struct view){d[0], d[1], d[2], d[1] * d[2], d[2], 1};
	else if (f->rank == 3 && (d[2] == 1 || d[2] == 3))
		*v = (struct view){d[2], d[0], d[1], 1, d[1] * d[2], d[2]};
	else
		return false;
	return v->h > 0 && v->w > 0 && v->h < 1 << 14 && v->w < 1 << 14;
}

static double
mean(const struct view *v, const struct cfg_field *f, const void *row, int64_t c, int64_t y,
    int64_t x, int64_t k)
{
	double sum = 0, n = 0;

	for (int64_t i = y * k; i < (y + 1) * k && i < v->h; i++)
		for (int64_t j = x * k; j < (x + 1) * k && j < v->w; j++) {
			sum += number(row, f->dtype, c * v->dc + i * v->dy + j * v->dx);
			n++;
		}
	return sum / n;
}

struct picture
picture_of(const struct cfg_field *f, const unsigned char *row, int64_t side)
{
	struct picture p = {0};
	double lo = INFINITY, hi = -INFINITY;
	int64_t k, n = 0;
	struct view v;

	if (!view_of(f, &v))
		return p;
	for (int64_t i = 0; i < v.c * v.h * v.w; i++) {
		lo = fmin(lo, number(row, f->dtype, i));
		hi = fmax(hi, number(row, f->dtype, i));
	}
	if (f->dtype == RT_U8) {
		lo = 0;
		hi = 255;
	}
	if (!isfinite(lo) || !isfinite(hi))
		return p;
	k = ((v.h > v.w ? v.h : v.w) + side - 1) / side;
	p = (struct picture){(v.h + k - 1) / k, (v.w + k - 1) / k, v.c, NULL};
	p.p = malloc((size_t)(p.h * p.w * p.channels));
	for (int64_t y = 0; p.p && y < p.h; y++)
		for (int64_t x = 0; x < p.w; x++)
			for (int64_t c = 0; c < p.channels; c++) {
				double t =
				    hi > lo ? (mean(&v, f, row, c, y, x, k) - lo) / (hi - lo) : 0.5;

				p.p[n++] = (unsigned char)(255 * fmin(1, fmax(0, t)) + 0.5);
			}
	return p;
}

/* ---- as text */
struct base64 {
	FILE *f;
	unsigned char group[3];
	int n;
};

static void
flush(struct base64 *b)
{
	static const char digit[] =
	    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const unsigned char *g = b->group;

	if (b->n == 0)
		return;
	fputc(digit[g[0] >> 2], b->f);
	fputc(digit[(g[0] & 3) << 4 | g[1] >> 4], b->f);
	fputc(b->n > 1 ? digit[(g[1] & 15) << 2 | g[2] >> 6] : '=', b->f);
	fputc(b->n > 2 ? digit[g[2] & 63] : '=', b->f);
	memset(b->group, 0, 3);
	b->n = 0;
}

static void
put(struct base64 *b, const void *p, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		b->group[b->n++] = ((const unsigned char *)p)[i];
		if (b->n == 3)
			flush(b);
	}
}

static void
big_endian(unsigned char *out, uint32_t v)
{
	for (int i = 0; i < 4; i++)
		out[i] = (unsigned char)(v >> (24 - 8 * i));
}

static void
chunk(struct base64 *b, const char *type, const unsigned char *data, size_t n)
{
	unsigned char word[4];
	uLong crc = crc32(crc32(0, NULL, 0), (const Bytef *)type, 4);

	if (n > 0)
		crc = crc32(crc, data, (uInt)n);
	big_endian(word, (uint32_t)n);
	put(b, word, 4);
	put(b, type, 4);
	put(b, data, n);
	big_endian(word, (uint32_t)crc);
	put(b, word, 4);
}

bool
picture_write(FILE *f, const struct picture *p)
{
	struct base64 b = {.f = f};
	size_t line = (size_t)(p->w * p->channels), raw = (line + 1) * (size_t)p->h;
	uLongf n = compressBound((uLong)raw);
	unsigned char *rows = calloc(1, raw), *packed = malloc(n), head[13] = {0};
	bool ok = rows && packed;

	for (int64_t y = 0; ok && y < p->h; y++) /* filter 0 before each line */
		memcpy(rows + (size_t)y * (line + 1) + 1, p->p + (size_t)y * line, line);
	ok = ok && compress2(packed, &n, rows, (uLong)raw, 9) == Z_OK;
	if (ok) {
		big_endian(head, (uint32_t)p->w);
		big_endian(head + 4, (uint32_t)p->h);
		head[8] = 8;
		head[9] = p->channels == 3 ? 2 : 0;
		fputs("data:image/png;base64,", f);
		put(&b, "\x89PNG\r\n\x1a\n", 8);
		chunk(&b, "IHDR", head, 13);
		chunk(&b, "IDAT", packed, n);
		chunk(&b, "IEND", NULL, 0);
		flush(&b);
	}
	free(rows);
	free(packed);
	return ok;
}
