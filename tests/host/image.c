/* Images of every kind that is read without a library of its own, made here byte by
 * byte, JPEG and PNG as their libraries write them; and all of them broken. */
#include "tests/host/call.h"

#include <setjmp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jpeglib.h>
#include <png.h>

enum { W = 5, H = 4 };

struct file {
	uint8_t b[4096];
	int64_t n;
};

static void
put(struct file *f, const void *p, size_t n)
{
	memcpy(f->b + f->n, p, n);
	f->n += (int64_t)n;
}

static void
put_int(struct file *f, uint32_t v, int bytes, bool big)
{
	for (int i = 0; i < bytes; i++)
		f->b[f->n++] = (uint8_t)(v >> 8 * (big ? bytes - 1 - i : i));
}

static uint8_t
pixel(int x, int y, int k)
{
	return (uint8_t)(40 * x + 10 * y + 80 * k);
}

/* Decoded into a frame of frame_w columns and 16 rows, exactly sized on the heap. */
static int
decode(const struct file *f, int format, int64_t frame_w, int64_t *h, int64_t *w, uint8_t **out)
{
	int64_t frame[3] = {16, frame_w, format == 2 ? 1 : 3}, kind = format;
	uint8_t *bytes = malloc((size_t)f->n + !f->n);

	*out = malloc((size_t)(frame[0] * frame[1] * frame[2]));
	memcpy(bytes, f->b, (size_t)f->n);
	open_room(0);
	rt_host_image_decode(
	    &room.head, (struct rt_operand[]){vector(bytes, 2, &f->n), {0}, {*out, frame, 2, 3},
			    {h, NULL, 7, 0}, {w, NULL, 7, 0}, {&kind, NULL, 7, 0}});
	free(bytes);
	return room.head.status;
}

static void
expect(const struct file *f, int tolerance, uint8_t (*want)(int, int, int))
{
	int64_t h, w;
	uint8_t *out;

	for (int bgr = 0; bgr < 2; bgr++) {
		assert_int_equal(decode(f, bgr, 8, &h, &w, &out), 0);
		assert_int_equal(h, H);
		assert_int_equal(w, W);
		for (int y = 0; y < H; y++)
			for (int x = 0; x < W; x++)
				for (int k = 0; k < 3; k++)
					if (abs(out[3 * (8 * y + x) + (bgr ? 2 - k : k)] -
						want(x, y, k)) > tolerance)
						fail_msg("pixel %d,%d.%d is %d, not %d", x, y, k,
						    out[3 * (8 * y + x) + (bgr ? 2 - k : k)],
						    want(x, y, k));
		for (int k = 3 * W; k < 3 * 8; k++)
			assert_int_equal(out[k], 0);
		free(out);
	}
	assert_int_equal(decode(f, 0, W - 1, &h, &w, &out), RT_HOST_WIDE);
	assert_int_equal(h, 0);
	free(out);
}

/* ---- files */
static struct file
ppm(void)
{
	struct file f = {0};

	put(&f, "P6 # a comment\n5 4\n255\n", 23);
	for (int i = 0; i < W * H * 3; i++)
		put_int(&f, pixel(i / 3 % W, i / 3 / W, i % 3), 1, true);
	return f;
}

static struct file
bmp24(void)
{
	struct file f = {0};

	put(&f, "BM", 2);
	put_int(&f, 54 + 16 * H, 4, false);
	put_int(&f, 0, 4, false);
	put_int(&f, 54, 4, false);
	put_int(&f, 40, 4, false);
	put_int(&f, W, 4, false);
	put_int(&f, H, 4, false);
	put_int(&f, 1, 2, false);
	put_int(&f, 24, 2, false);
	for (int i = 0; i < 6; i++)
		put_int(&f, 0, 4, false);
	for (int y = H - 1; y >= 0; y--) {
		for (int i = 0; i < W * 3; i++)
			put_int(&f, pixel(i / 3, y, 2 - i % 3), 1, true);
		put_int(&f, 0, 1, true);
	}
	return f;
}

/* packing 1 plain, 5 LZW (single codes of 9 bits with the table cleared in between),
 * 32773 PackBits; predictor 2: differences */
static struct file
tiff(bool big, int packing, int predictor)
{
	static const int tags[][2] = {{256, W}, {257, H}, {258, 8}, {259, 0}, {262, 2}, {273, 0},
	    {277, 3}, {278, 2}, {279, 0}, {317, 0}};
	struct file f = {0}, strip[2] = {0};
	int at = 8 + 2 + 12 * 10 + 4 + 16;

	for (int s = 0; s < 2; s++) {
		unsigned bits = 0;
		int have = 0;

		if (packing == 32773)
			put_int(&strip[s], W * 2 * 3 - 1, 1, true);
		for (int i = 0; i < W * 2 * 3; i++) {
			int x = i / 3 % W, y = 2 * s + i / 3 / W, k = i % 3;
			uint8_t v = predictor == 2 && x
					? (uint8_t)(pixel(x, y, k) - pixel(x - 1, y, k))
					: pixel(x, y, k);

			if (packing != 5) {
				put_int(&strip[s], v, 1, true);
				continue;
			}
			for (int code = 0; code < 2; code++) {
				bits = bits << 9 | (code ? v : 256);
				for (have += 9; have >= 8; have -= 8)
					put_int(&strip[s], bits >> (have - 8) & 255, 1, true);
			}
		}
		if (packing == 5) {
			bits = bits << 9 | 257;
			for (have += 9; have >= 8; have -= 8)
				put_int(&strip[s], bits >> (have - 8) & 255, 1, true);
			put_int(&strip[s], bits << (8 - have) & 255, 1, true);
		}
	}
	put(&f, big ? "MM\0*" : "II*\0", 4);
	put_int(&f, 8, 4, big);
	put_int(&f, 10, 2, big);
	for (int i = 0; i < 10; i++) {
		int tag = tags[i][0], two = tag == 273 || tag == 279;
		int v = tag == 259   ? packing
			: tag == 317 ? predictor
			: tag == 273 ? at - 16
			: tag == 279 ? at - 8
				     : tags[i][1];

		put_int(&f, (uint32_t)tag, 2, big);
		put_int(&f, two ? 4 : 3, 2, big);
		put_int(&f, two ? 2 : 1, 4, big);
		if (two) {
			put_int(&f, (uint32_t)v, 4, big);
		} else {
			put_int(&f, (uint32_t)v, 2, big);
			put_int(&f, 0, 2, big);
		}
	}
	put_int(&f, 0, 4, big);
	put_int(&f, (uint32_t)at, 4, big);
	put_int(&f, (uint32_t)(at + strip[0].n), 4, big);
	put_int(&f, (uint32_t)strip[0].n, 4, big);
	put_int(&f, (uint32_t)strip[1].n, 4, big);
	put(&f, strip[0].b, (size_t)strip[0].n);
	put(&f, strip[1].b, (size_t)strip[1].n);
	return f;
}

static struct file
png(void)
{
	struct file f = {0};
	png_image im = {
	    .version = PNG_IMAGE_VERSION, .width = W, .height = H, .format = PNG_FORMAT_RGB};
	png_alloc_size_t n = sizeof f.b;
	uint8_t rgb[W * H * 3];

	for (int i = 0; i < W * H * 3; i++)
		rgb[i] = pixel(i / 3 % W, i / 3 / W, i % 3);
	assert_true(png_image_write_to_memory(&im, f.b, &n, 0, rgb, 0, NULL));
	f.n = (int64_t)n;
	return f;
}

static uint8_t
flat(int x, int y, int k)
{
	(void)x, (void)y;
	return (uint8_t)(60 + 50 * k);
}

static struct file
jpeg(void)
{
	struct file f = {0};
	struct jpeg_compress_struct c;
	struct jpeg_error_mgr err;
	unsigned char *mem = NULL;
	unsigned long n = 0;

	c.err = jpeg_std_error(&err);
	jpeg_create_compress(&c);
	jpeg_mem_dest(&c, &mem, &n);
	c.image_width = W;
	c.image_height = H;
	c.input_components = 3;
	c.in_color_space = JCS_RGB;
	jpeg_set_defaults(&c);
	jpeg_set_quality(&c, 100, TRUE);
	jpeg_start_compress(&c, TRUE);
	for (int y = 0; y < H; y++) {
		uint8_t row[W * 3];
		JSAMPROW p = row;

		for (int i = 0; i < W * 3; i++)
			row[i] = flat(0, 0, i % 3);
		jpeg_write_scanlines(&c, &p, 1);
	}
	jpeg_finish_compress(&c);
	jpeg_destroy_compress(&c);
	put(&f, mem, n);
	free(mem);
	return f;
}

/* ---- tests */
static void
colours(void **state)
{
	struct file f;

	(void)state;
	f = ppm();
	expect(&f, 0, pixel);
	f = bmp24();
	expect(&f, 0, pixel);
	f = png();
	expect(&f, 0, pixel);
	f = jpeg();
	expect(&f, 3, flat);
	for (int big = 0; big < 2; big++)
		for (int predictor = 1; predictor <= 2; predictor++) {
			f = tiff(big, 1, predictor);
			expect(&f, 0, pixel);
			f = tiff(big, 5, predictor);
			expect(&f, 0, pixel);
			f = tiff(big, 32773, predictor);
			expect(&f, 0, pixel);
		}
}

static void
gray_and_bits(void **state)
{
	struct file f = {0};
	int64_t h, w;
	uint8_t *out;

	(void)state;
	put(&f, "P1 3 2 101\n0 1 0", 16);
	assert_int_equal(decode(&f, 2, 4, &h, &w, &out), 0);
	assert_memory_equal(out, ((uint8_t[]){0, 255, 0, 0, 255, 0, 255, 0}), 8);
	free(out);
	f = (struct file){0};
	put(&f, "P4 9 1 \xAA\x80", 9);
	assert_int_equal(decode(&f, 2, 9, &h, &w, &out), 0);
	assert_memory_equal(out, ((uint8_t[]){0, 255, 0, 255, 0, 255, 0, 255, 0}), 9);
	free(out);
	f = (struct file){0};
	put(&f,
	    "P7\nWIDTH 2\nHEIGHT 1\nDEPTH 4\nMAXVAL 255\nTUPLTYPE "
	    "RGB_ALPHA\nENDHDR\n\x01\x02\x03\xFF\x04\x05\x06\x80",
	    74);
	assert_int_equal(decode(&f, 0, 2, &h, &w, &out), 0);
	assert_int_equal(w, 2);
	assert_memory_equal(out, "\x01\x02\x03\x04\x05\x06", 6);
	free(out);
	f = (struct file){0};
	put(&f, "P5 1 1 1023\n\x03\xFF", 14);
	assert_int_equal(decode(&f, 2, 1, &h, &w, &out), 0);
	assert_int_equal(out[0], 255);
	free(out);
}

/* Cut short, and with bytes changed: an image of no pixels or any other image, no
 * access outside the file or the frame (which a sanitizer would tell). */
static void
broken(void **state)
{
	struct file all[] = {ppm(), bmp24(), png(), jpeg(), tiff(false, 1, 1), tiff(true, 5, 2),
	    tiff(false, 32773, 1),
	    {.b = "RIFF\x20\0\0\0WEBPVP8 \x14\0\0\0P\r\0\x9d\x01* \0 \0>m.", .n = 40},
	    {.b = "\0\0\0\x0CjP  \r\n\x87\n\0\0\0\x14"
		  "ftypjp2 \0\0\0\0jp2 \0\0\0-jp2h\0\0\0\x16ihdr",
		.n = 60}};
	uint64_t seed = 3;
	int64_t h, w;
	uint8_t *out;

	(void)state;
	for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
		for (int64_t n = 0; n < all[i].n; n++) {
			struct file f = all[i];

			f.n = n;
			decode(&f, (int)(n % 3), 8, &h, &w, &out);
			assert_true(h >= 0 && h <= 16 && w >= 0 && w <= 8);
			free(out);
		}
		for (int k = 0; k < 3000; k++) {
			struct file f = all[i];

			for (uint32_t c = 1 + next_random(&seed) % 4; c; c--)
				f.b[next_random(&seed) % (uint32_t)f.n] =
				    (uint8_t)(next_random(&seed) % 3 ? next_random(&seed) : 255);
			decode(&f, k % 3, 8, &h, &w, &out);
			assert_true(h >= 0 && h <= 16 && w >= 0 && w <= 8);
			free(out);
		}
	}
}

static void
sizes(void **state)
{
	struct file f = png();
	int64_t w, h;

	(void)state;
	assert_true(host_image_size(f.b, f.n, &w, &h));
	assert_int_equal(w, W);
	assert_int_equal(h, H);
	assert_false(host_image_size("hello", 5, &w, &h));
	assert_false(host_image_size("P5 99999999 99999999 255 ", 25, &w, &h));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(colours),
	    cmocka_unit_test(gray_and_bits),
	    cmocka_unit_test(broken),
	    cmocka_unit_test(sizes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
