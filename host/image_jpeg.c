/* image_jpeg -- by libjpeg, with the smooth chroma upsampling that is its default. */
#include "host/image.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>

#include <jpeglib.h>

struct reader {
	struct jpeg_error_mgr err;
	jmp_buf failed;
};

static void
fail(j_common_ptr c)
{
	longjmp(((struct reader *)c->err)->failed, 1);
}

static void
quiet(j_common_ptr c)
{
	(void)c;
}

/* Adobe writes CMYK inverted; K is how much of each colour is left. */
static void
from_cmyk(uint8_t *row, int64_t n)
{
	for (int64_t i = 0; i < n; i++)
		for (int k = 0; k < 3; k++)
			row[3 * i + k] = (uint8_t)(row[4 * i + k] * row[4 * i + 3] / 255);
}

bool
image_jpeg(struct image *im)
{
	struct jpeg_decompress_struct c;
	struct reader r;
	JSAMPARRAY row;
	bool cmyk;

	c.err = jpeg_std_error(&r.err);
	r.err.error_exit = fail;
	r.err.output_message = quiet;
	if (setjmp(r.failed)) {
		jpeg_destroy_decompress(&c);
		return false;
	}
	jpeg_create_decompress(&c);
	jpeg_mem_src(&c, im->bytes, (unsigned long)im->size);
	jpeg_read_header(&c, TRUE);
	if (!image_size(im, c.image_width, c.image_height)) {
		jpeg_destroy_decompress(&c);
		return false;
	}
	cmyk = c.jpeg_color_space == JCS_CMYK || c.jpeg_color_space == JCS_YCCK;
	c.out_color_space = cmyk ? JCS_CMYK : JCS_RGB;
	jpeg_start_decompress(&c);
	row = c.mem->alloc_sarray((j_common_ptr)&c, JPOOL_IMAGE, c.output_width * 4, 1);
	while (c.output_scanline < c.output_height) {
		JDIMENSION y = c.output_scanline;

		jpeg_read_scanlines(&c, row, 1);
		if (cmyk)
			from_cmyk(row[0], c.output_width);
		image_put(im, 0, y, c.output_width, row[0]);
	}
	jpeg_finish_decompress(&c);
	jpeg_destroy_decompress(&c);
	return true;
}
