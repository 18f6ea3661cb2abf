/* image -- the row image_decode: which format it is, and the pixels in the order that
 * is asked for.  What cannot be decoded is an image of no pixels, as ONNX says. */
#include "host/host_int.h"
#include "host/image.h"

#include <string.h>

enum { MOST_SIZE = 1 << 20 };

bool
image_size(struct image *im, int64_t width, int64_t height)
{
	if (width < 1 || height < 1 || width > MOST_SIZE || height > MOST_SIZE ||
	    width * height > INT64_C(1) << 32)
		return false;
	im->width = width;
	im->height = height;
	if (!im->out)
		return false;
	if (width > im->max_width || height > im->max_height) {
		im->large = true;
		return false;
	}
	return true;
}

/* ITU-R 601-2 luma in 16 bits: 0.299 R + 0.587 G + 0.114 B */
static uint8_t
luma(const uint8_t *p)
{
	return (uint8_t)((p[0] * 19595u + p[1] * 38470u + p[2] * 7471u + 0x8000u) >> 16);
}

void
image_put(struct image *im, int64_t x, int64_t y, int64_t n, const uint8_t *rgb)
{
	uint8_t *to;

	if (y < 0 || y >= im->height || x < 0 || x >= im->width)
		return;
	n = n > im->width - x ? im->width - x : n;
	if (im->format == PIXEL_GRAY) {
		to = im->out + y * im->stride + x;
		for (int64_t i = 0; i < n; i++)
			to[i] = luma(rgb + 3 * i);
		return;
	}
	to = im->out + y * im->stride + 3 * x;
	for (int64_t i = 0; i < n; i++) {
		to[3 * i] = rgb[3 * i + (im->format == PIXEL_BGR ? 2 : 0)];
		to[3 * i + 1] = rgb[3 * i + 1];
		to[3 * i + 2] = rgb[3 * i + (im->format == PIXEL_BGR ? 0 : 2)];
	}
}

void
image_put_gray(struct image *im, int64_t x, int64_t y, int64_t n, const uint8_t *gray)
{
	for (int64_t i = 0; i < n; i++) {
		uint8_t rgb[3] = {gray[i], gray[i], gray[i]};

		image_put(im, x + i, y, 1, rgb);
	}
}

static bool
begins(const struct image *im, const char *magic, size_t n, size_t at)
{
	return im->size >= at + n && memcmp(im->bytes + at, magic, n) == 0;
}

static bool
decode(struct image *im)
{
	if (begins(im, "\xFF\xD8\xFF", 3, 0))
		return image_jpeg(im);
	if (begins(im, "\x89PNG\r\n\x1A\n", 8, 0))
		return image_png(im);
	if (begins(im, "BM", 2, 0))
		return image_bmp(im);
	if (begins(im, "II*\0", 4, 0) || begins(im, "MM\0*", 4, 0))
		return image_tiff(im);
	if (begins(im, "RIFF", 4, 0) && begins(im, "WEBP", 4, 8))
		return image_webp(im);
	if (begins(im, "\0\0\0\x0CjP  \r\n\x87\n", 12, 0) || begins(im, "\xFF\x4F\xFF\x51", 4, 0))
		return image_jpeg2000(im);
	if (im->size > 2 && im->bytes[0] == 'P' && im->bytes[1] >= '1' && im->bytes[1] <= '7')
		return image_pnm(im);
	return false;
}

bool
host_image_size(const void *bytes, int64_t size, int64_t *width, int64_t *height)
{
	struct image im = {.bytes = bytes, .size = (size_t)size};

	decode(&im);
	*width = im.width;
	*height = im.height;
	return im.width > 0;
}

/* x u8 [n]; size i64 or left out: how many of x; out u8 [height, width, channels] with the image in
 * its upper left corner and zeros around; its height and its width, i64; format */
void
rt_host_image_decode(struct rt_bytes *b, const struct rt_operand *arg)
{
	struct image im = {.bytes = arg[0].data,
	    .size = (size_t)op_limit(&arg[1], op_count(&arg[0])),
	    .out = arg[2].data,
	    .stride = arg[2].dims[1] * arg[2].dims[2],
	    .max_width = arg[2].dims[1],
	    .max_height = arg[2].dims[0],
	    .format = (int)op_int(&arg[5])};
	size_t all = (size_t)op_count(&arg[2]);
	bool ok;

	memset(im.out, 0, all);
	ok = decode(&im);
	if (im.large)
		bytes_fail(b, RT_HOST_WIDE);
	if (!ok) {
		memset(im.out, 0, all);
		im.width = im.height = 0;
	}
	if (arg[3].data)
		*(int64_t *)arg[3].data = im.height;
	if (arg[4].data)
		*(int64_t *)arg[4].data = im.width;
}
