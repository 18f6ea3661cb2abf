/* image_png -- by libpng: every kind becomes 8 bits of red, green and blue; alpha and
 * gamma are left aside. */
#include "host/image.h"

#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

#include <png.h>

struct source {
	const uint8_t *p;
	size_t left;
};

static void
read_bytes(png_structp png, png_bytep to, png_size_t n)
{
	struct source *s = png_get_io_ptr(png);

	if (n > s->left)
		png_error(png, "ends too early");
	memcpy(to, s->p, n);
	s->p += n;
	s->left -= n;
}

static void
quiet(png_structp png, png_const_charp text)
{
	(void)png, (void)text;
}

static void
fail(png_structp png, png_const_charp text)
{
	(void)text;
	png_longjmp(png, 1);
}

static bool
header(struct image *im, png_structp png, png_infop info)
{
	png_read_info(png, info);
	if (!image_size(im, png_get_image_width(png, info), png_get_image_height(png, info)))
		return false;
	png_set_expand(png);
	png_set_scale_16(png);
	png_set_strip_alpha(png);
	png_set_gray_to_rgb(png);
	png_set_interlace_handling(png);
	png_read_update_info(png, info);
	return png_get_rowbytes(png, info) == 3 * (size_t)im->width;
}

bool
image_png(struct image *im)
{
	struct source s = {im->bytes, im->size};
	png_structp png = png_create_read_struct(PNG_LIBPNG_VER_STRING, NULL, fail, quiet);
	png_infop info = png ? png_create_info_struct(png) : NULL;
	png_bytep pixels = NULL;
	png_bytep *volatile rows = NULL;
	png_bytep volatile block = NULL;
	volatile bool ok = false;

	if (!info) {
		png_destroy_read_struct(&png, NULL, NULL);
		return false;
	}
	if (setjmp(png_jmpbuf(png)))
		goto done;
	png_set_read_fn(png, &s, read_bytes);
	if (!header(im, png, info))
		goto done;
	block = pixels = malloc((size_t)(3 * im->width * im->height));
	rows = malloc(sizeof *rows * (size_t)im->height);
	if (!pixels || !rows)
		goto done;
	for (int64_t y = 0; y < im->height; y++)
		rows[y] = pixels + 3 * im->width * y;
	png_read_image(png, rows);
	for (int64_t y = 0; y < im->height; y++)
		image_put(im, 0, y, im->width, rows[y]);
	ok = true;
done:
	free(block);
	free((void *)rows);
	png_destroy_read_struct(&png, &info, NULL);
	return ok;
}
