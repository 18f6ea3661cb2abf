/* image_bmp -- Windows bitmaps of 1, 4, 8, 16, 24 and 32 bits, uncompressed, and 8 and
 * 4 bits run-length encoded. */
#include "host/image.h"

#include <string.h>

struct bmp {
	struct image *im;
	const uint8_t *palette;
	int64_t colors, entry; /* entries, bytes of one */
	uint32_t mask[3];
	int bits;
	bool down; /* first row at the top */
};

static void
put(struct bmp *b, int64_t x, int64_t y, const uint8_t *rgb)
{
	image_put(b->im, x, b->down ? y : b->im->height - 1 - y, 1, rgb);
}

static void
indexed(struct bmp *b, int64_t x, int64_t y, int64_t i)
{
	uint8_t rgb[3] = {0};

	if (i < b->colors)
		for (int k = 0; k < 3; k++)
			rgb[k] = b->palette[i * b->entry + 2 - k];
	put(b, x, y, rgb);
}

static uint8_t
field(uint32_t v, uint32_t mask)
{
	uint32_t low = mask & (~mask + 1), most = low ? mask / low : 0;

	return most ? (uint8_t)(((v & mask) / low * UINT64_C(255) + most / 2) / most) : 0;
}

static void
row(struct bmp *b, int64_t y, const uint8_t *p)
{
	for (int64_t x = 0; x < b->im->width; x++) {
		uint8_t rgb[3];

		if (b->bits <= 8) {
			int per = 8 / b->bits;

			indexed(b, x, y,
			    p[x / per] >> (8 - b->bits * (int)(x % per + 1)) &
				((1 << b->bits) - 1));
			continue;
		}
		if (b->bits == 24) {
			rgb[0] = p[3 * x + 2];
			rgb[1] = p[3 * x + 1];
			rgb[2] = p[3 * x];
		} else {
			uint32_t v = b->bits == 16 ? image_u16(p + 2 * x, false)
						   : image_u32(p + 4 * x, false);

			for (int k = 0; k < 3; k++)
				rgb[k] = field(v, b->mask[k]);
		}
		put(b, x, y, rgb);
	}
}

/* Pairs of a count and an index; count 0: the end of a row (0) or of all (1), a move (2),
 * or so many indices as they are, filled up to two bytes. */
static bool
run_lengths(struct bmp *b, const uint8_t *p, const uint8_t *end)
{
	int64_t x = 0, y = 0;
	int half = b->bits == 4;

	while (end - p >= 2 && y < b->im->height) {
		int n = *p++, v = *p++;

		if (n) {
			for (int i = 0; i < n; i++)
				indexed(b, x++, y, half ? (i % 2 ? v & 15 : v >> 4) : v);
		} else if (v == 0) {
			x = 0;
			y++;
		} else if (v == 1) {
			return true;
		} else if (v == 2) {
			if (end - p < 2)
				return false;
			x += p[0];
			y += p[1];
			p += 2;
		} else {
			int bytes = half ? (v + 1) / 2 : v;

			if (end - p < bytes)
				return false;
			for (int i = 0; i < v; i++)
				indexed(b, x++, y,
				    half ? (i % 2 ? p[i / 2] & 15 : p[i / 2] >> 4) : p[i]);
			p += bytes + bytes % 2;
			if (p > end)
				return true;
		}
	}
	return true;
}

bool
image_bmp(struct image *im)
{
	struct bmp b = {.im = im};
	const uint8_t *h = im->bytes + 14;
	int64_t at, head, w, ht, used, line;
	uint32_t packing = 0;

	if (im->size < 26)
		return false;
	at = image_u32(im->bytes + 10, false);
	head = image_u32(h, false);
	if (head < 12 || (size_t)head > im->size - 14 || (head > 12 && head < 40))
		return false;
	if (head == 12) {
		w = image_u16(h + 4, false);
		ht = image_u16(h + 6, false);
		b.bits = (int)image_u16(h + 10, false);
		b.entry = 3;
		used = 0;
	} else {
		w = (int32_t)image_u32(h + 4, false);
		ht = (int32_t)image_u32(h + 8, false);
		b.bits = (int)image_u16(h + 14, false);
		packing = image_u32(h + 16, false);
		used = image_u32(h + 32, false);
		b.entry = 4;
	}
	b.down = ht < 0;
	if (!image_size(im, w, ht < 0 ? -ht : ht))
		return false;
	if (b.bits != 1 && b.bits != 4 && b.bits != 8 && b.bits != 16 && b.bits != 24 &&
	    b.bits != 32)
		return false;
	if (b.bits <= 8) {
		b.palette = h + head;
		b.colors = used && used < 1 << b.bits ? used : 1 << b.bits;
		if ((int64_t)im->size - 14 - head < b.colors * b.entry)
			b.colors = ((int64_t)im->size - 14 - head) / b.entry;
	}
	b.mask[0] = b.bits == 16 ? 0x7C00 : 0xFF0000;
	b.mask[1] = b.bits == 16 ? 0x3E0 : 0xFF00;
	b.mask[2] = b.bits == 16 ? 0x1F : 0xFF;
	if (packing == 3 || packing == 6) {
		if ((b.bits != 16 && b.bits != 32) || im->size < 14 + 52)
			return false;
		for (int k = 0; k < 3; k++)
			b.mask[k] = image_u32(h + 40 + 4 * k, false);
	} else if ((packing == 1 && b.bits == 8) || (packing == 2 && b.bits == 4)) {
		return (size_t)at <= im->size &&
		       run_lengths(&b, im->bytes + at, im->bytes + im->size);
	} else if (packing != 0) {
		return false;
	}
	line = (im->width * b.bits + 31) / 32 * 4;
	if ((size_t)at > im->size || line * im->height > (int64_t)im->size - at)
		return false;
	for (int64_t y = 0; y < im->height; y++)
		row(&b, y, im->bytes + at + y * line);
	return true;
}
