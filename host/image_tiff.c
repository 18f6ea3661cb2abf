/* image_tiff -- the first image of a file: gray, palette and RGB of 1 to 16 bits, in
 * strips or tiles, plain, PackBits, LZW or deflate, with horizontal differences or
 * without.  Samples past the third (alpha) are left aside. */
#include "host/image.h"

#include <stdlib.h>
#include <string.h>

#include <zlib.h>

struct tiff {
	struct image *im;
	bool big;
	int64_t width, height, rows, tile_w, tile_h, nblocks, nsizes, ncolors;
	uint32_t bits, packing, photometric, samples, planar, predictor;
	const uint8_t *blocks, *sizes, *colors; /* lists of numbers in the file */
	int block_type, size_type;
};

static uint32_t
value(const struct tiff *t, const uint8_t *p, int type, int64_t i)
{
	return type == 3   ? image_u16(p + 2 * i, t->big)
	       : type == 4 ? image_u32(p + 4 * i, t->big)
			   : p[i];
}

/* One entry of the directory: where its values are, NULL if they lie outside. */
static const uint8_t *
values(const struct tiff *t, const uint8_t *e, int *type, int64_t *n)
{
	static const int width[] = {0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8};
	int64_t at, bytes;

	*type = (int)image_u16(e + 2, t->big);
	*n = image_u32(e + 4, t->big);
	bytes = *type < 13 ? *n * width[*type] : 0;
	if (bytes <= 4)
		return bytes ? e + 8 : NULL;
	at = image_u32(e + 8, t->big);
	return at <= (int64_t)t->im->size && bytes <= (int64_t)t->im->size - at ? t->im->bytes + at
										: NULL;
}

static bool
directory(struct tiff *t)
{
	const uint8_t *b = t->im->bytes, *p;
	size_t at = image_u32(b + 4, t->big);
	int64_t n, count;
	int type;

	if (at > t->im->size - 2)
		return false;
	n = image_u16(b + at, t->big);
	if (n * 12 > (int64_t)(t->im->size - at - 2))
		return false;
	for (int64_t i = 0; i < n; i++) {
		const uint8_t *e = b + at + 2 + 12 * i;

		if (!(p = values(t, e, &type, &count)) || count < 1)
			continue;
		switch (image_u16(e, t->big)) {
		case 256:
			t->width = value(t, p, type, 0);
			break;
		case 257:
			t->height = value(t, p, type, 0);
			break;
		case 258:
			t->bits = value(t, p, type, 0);
			for (int64_t k = 1; k < count && k < 3; k++)
				if (value(t, p, type, k) != t->bits)
					return false;
			break;
		case 259:
			t->packing = value(t, p, type, 0);
			break;
		case 262:
			t->photometric = value(t, p, type, 0);
			break;
		case 277:
			t->samples = value(t, p, type, 0);
			break;
		case 278:
			t->rows = value(t, p, type, 0);
			break;
		case 284:
			t->planar = value(t, p, type, 0);
			break;
		case 317:
			t->predictor = value(t, p, type, 0);
			break;
		case 320:
			t->colors = type == 3 ? p : NULL;
			t->ncolors = count / 3;
			break;
		case 322:
			t->tile_w = value(t, p, type, 0);
			break;
		case 323:
			t->tile_h = value(t, p, type, 0);
			break;
		case 273:
		case 324:
			t->blocks = p;
			t->nblocks = count;
			t->block_type = type;
			break;
		case 279:
		case 325:
			t->sizes = p;
			t->nsizes = count;
			t->size_type = type;
			break;
		default:
			break;
		}
	}
	return true;
}

/* ---- what a strip or tile is packed with; false where it makes less than n bytes */
static bool
packbits(const uint8_t *p, size_t left, uint8_t *to, size_t n)
{
	size_t at = 0;

	while (at < n && left >= 2) {
		int c = (int8_t)*p++;
		size_t k = c < 0 ? (size_t)(1 - c) : (size_t)c + 1;

		left--;
		if (c == -128)
			continue;
		k = k > n - at ? n - at : k;
		if (c < 0) {
			memset(to + at, *p++, k);
			left--;
		} else {
			if (k > left)
				return false;
			memcpy(to + at, p, k);
			p += k;
			left -= k;
		}
		at += k;
	}
	return at == n;
}

/* Codes of 9 to 12 bits, high bits first; 256 clears the table, 257 ends. */
static bool
lzw(const uint8_t *p, size_t left, uint8_t *to, size_t n)
{
	struct {
		uint16_t before, length;
		uint8_t last, first;
	} *table = malloc(4097 * sizeof *table);
	size_t at = 0, bit = 0;
	int next = 258, width = 9, prev = -1;

	if (!table)
		return false;
	for (int i = 0; i < 256; i++) {
		table[i].length = 1;
		table[i].last = table[i].first = (uint8_t)i;
		table[i].before = 0;
	}
	while (at < n && bit + (size_t)width <= 8 * left) {
		int code = 0, from;
		size_t len;

		for (int i = 0; i < width; i++, bit++)
			code = code << 1 | (p[bit / 8] >> (7 - bit % 8) & 1);
		if (code == 257)
			break;
		if (code == 256) {
			next = 258;
			width = 9;
			prev = -1;
			continue;
		}
		if (prev < 0 ? code > 255 : code > next)
			break;
		if (prev >= 0 && next < 4096) {
			table[next].before = (uint16_t)prev;
			table[next].length = (uint16_t)(table[prev].length + 1);
			table[next].first = table[prev].first;
			table[next].last = code == next ? table[prev].first : table[code].first;
			next++;
		} else if (code >= next) {
			break;
		}
		len = table[code].length;
		from = code;
		for (size_t k = len; k-- > 0; from = table[from].before)
			if (at + k < n)
				to[at + k] = table[from].last;
		at += len;
		prev = code;
		width = next >= 2047 ? 12 : next >= 1023 ? 11 : next >= 511 ? 10 : 9;
	}
	free(table);
	return at >= n;
}

static bool
unpacked(const struct tiff *t, const uint8_t *p, size_t size, uint8_t *to, size_t n)
{
	uLongf made = n;

	switch (t->packing) {
	case 1:
		if (size < n)
			return false;
		memcpy(to, p, n);
		return true;
	case 5:
		return lzw(p, size, to, n);
	case 8:
	case 32946:
		return uncompress(to, &made, p, size) == Z_OK && made == n;
	case 32773:
		return packbits(p, size, to, n);
	default:
		return false;
	}
}

/* ---- samples */
static void
undo_differences(const struct tiff *t, uint8_t *row, int64_t w, int64_t per)
{
	if (t->bits == 8)
		for (int64_t i = per; i < w * per; i++)
			row[i] = (uint8_t)(row[i] + row[i - per]);
	for (int64_t i = per; t->bits == 16 && i < w * per; i++) {
		uint32_t v =
		    image_u16(row + 2 * i, t->big) + image_u16(row + 2 * (i - per), t->big);

		row[2 * i + t->big] = (uint8_t)v;
		row[2 * i + !t->big] = (uint8_t)(v >> 8);
	}
}

static uint32_t
sample(const struct tiff *t, const uint8_t *row, int64_t i)
{
	if (t->bits == 16)
		return image_u16(row + 2 * i, t->big);
	if (t->bits == 8)
		return row[i];
	return row[i * t->bits / 8] >> (8 - t->bits - i * t->bits % 8) & ((1u << t->bits) - 1);
}

/* Pixels of one row of a block; plane >= 0: that colour of the pixels only. */
static void
put_row(struct tiff *t, uint8_t *pixels, int64_t x0, int64_t y, int64_t w, const uint8_t *row,
    int64_t per, int plane)
{
	uint32_t most = (1u << t->bits) - 1;

	for (int64_t x = 0; x < w && x0 + x < t->width; x++) {
		uint8_t *to = pixels + 3 * (y * t->width + x0 + x);

		if (t->photometric == 2 && plane < 0)
			for (int k = 0; k < 3; k++)
				to[k] = (uint8_t)(t->bits == 16
						      ? sample(t, row, x * per + k) >> 8
						      : sample(t, row, x * per + k) * 255 / most);
		else if (t->photometric == 2)
			to[plane] = (uint8_t)(t->bits == 16 ? sample(t, row, x) >> 8
							    : sample(t, row, x) * 255 / most);
		else {
			uint32_t v = sample(t, row, x * per);

			for (int k = 0; k < 3; k++)
				to[k] =
				    t->photometric == 3
					? (uint8_t)(v < t->ncolors
							? image_u16(
							      t->colors + 2 * (k * t->ncolors + v),
							      t->big) >>
							      8
							: 0)
					: (uint8_t)((t->bits == 16 ? v >> 8 : v * 255 / most) ^
						    (t->photometric == 0 ? 255 : 0));
		}
	}
}

static bool
acceptable(const struct tiff *t)
{
	bool bits = t->bits == 8 || t->bits == 16 ||
		    (t->photometric != 2 && (t->bits == 1 || t->bits == 2 || t->bits == 4));

	return bits && t->photometric <= 3 && t->samples >= (t->photometric == 2 ? 3u : 1u) &&
	       t->samples <= 16 && (t->planar == 1 || t->planar == 2) && t->blocks && t->sizes &&
	       (t->photometric != 3 || t->colors) &&
	       (t->predictor == 1 || (t->predictor == 2 && t->bits >= 8)) && t->tile_w >= 0 &&
	       t->tile_h >= 0 && t->tile_w <= 1 << 20 && t->tile_h <= 1 << 20 &&
	       !t->tile_w == !t->tile_h;
}

bool
image_tiff(struct image *im)
{
	struct tiff t = {.im = im,
	    .bits = 1,
	    .packing = 1,
	    .samples = 1,
	    .planar = 1,
	    .predictor = 1,
	    .rows = INT32_MAX};
	int64_t bw, bh, across, down, per, line, planes;
	uint8_t *block = NULL, *pixels = NULL;
	bool ok = false;

	if (im->size < 8)
		return false;
	t.big = im->bytes[0] == 'M';
	if (!directory(&t) || !image_size(im, t.width, t.height) || !acceptable(&t))
		return false;
	bw = t.tile_w ? t.tile_w : t.width;
	bh = t.tile_h ? t.tile_h : t.rows < 1 || t.rows > t.height ? t.height : t.rows;
	across = (t.width + bw - 1) / bw;
	down = (t.height + bh - 1) / bh;
	per = t.planar == 1 ? t.samples : 1;
	planes = t.planar == 1 ? 1 : t.photometric == 2 ? 3 : 1;
	line = (bw * per * t.bits + 7) / 8;
	if (t.nblocks < across * down * planes || t.nsizes < across * down * planes ||
	    line * bh > INT64_C(1) << 31)
		return false;
	block = malloc((size_t)(line * bh));
	pixels = calloc((size_t)(t.width * t.height), 3);
	ok = block && pixels;
	for (int64_t i = 0; ok && i < across * down * planes; i++) {
		int64_t in = i % (across * down), x = in % across * bw, y = in / across * bh,
			rows = t.tile_h		   ? bh
			       : bh < t.height - y ? bh
						   : t.height - y;
		size_t at = value(&t, t.blocks, t.block_type, i),
		       size = value(&t, t.sizes, t.size_type, i);

		ok = at <= im->size && size <= im->size - at &&
		     unpacked(&t, im->bytes + at, size, block, (size_t)(line * rows));
		for (int64_t r = 0; ok && r < rows && y + r < t.height; r++) {
			if (t.predictor == 2)
				undo_differences(&t, block + r * line, bw, per);
			put_row(&t, pixels, x, y + r, bw, block + r * line, per,
			    planes > 1 ? (int)(i / (across * down)) : -1);
		}
	}
	for (int64_t y = 0; ok && y < t.height; y++)
		image_put(im, 0, y, t.width, pixels + 3 * y * t.width);
	free(block);
	free(pixels);
	return ok;
}
