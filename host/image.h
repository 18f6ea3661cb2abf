/* image -- decoders of encoded images, one file each, into the pixels of image_decode. */
#ifndef RETORT_HOST_IMAGE_H
#define RETORT_HOST_IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PIXEL_RGB, PIXEL_BGR, PIXEL_GRAY };

struct image {
	const uint8_t *bytes; /* the file */
	size_t size;
	int64_t width, height; /* set by image_size */
	/* where it goes: rows of `stride` bytes for at most max_height rows of max_width
	 * pixels; out NULL: only the size is wanted */
	uint8_t *out;
	int64_t stride, max_width, max_height;
	int format;
	bool large; /* it does not fit */
};

/* Says how large the image is, before any row; false: stop, there is nowhere to put
 * it, or its size was all that was wanted. */
bool image_size(struct image *, int64_t width, int64_t height);
/* n pixels of row y from x on, as R G B. */
void image_put(struct image *, int64_t x, int64_t y, int64_t n, const uint8_t *rgb);
/* The same from gray values. */
void image_put_gray(struct image *, int64_t x, int64_t y, int64_t n, const uint8_t *gray);

/* False: the bytes cannot be read.  They may call image_put before they find out. */
bool image_jpeg(struct image *);
bool image_png(struct image *);
bool image_bmp(struct image *);
bool image_pnm(struct image *);
bool image_tiff(struct image *);
bool image_webp(struct image *);
bool image_jpeg2000(struct image *);

static inline uint32_t
image_u16(const uint8_t *p, bool big)
{
	return big ? (uint32_t)(p[0] << 8 | p[1]) : (uint32_t)(p[1] << 8 | p[0]);
}

static inline uint32_t
image_u32(const uint8_t *p, bool big)
{
	return big ? image_u16(p, true) << 16 | image_u16(p + 2, true)
		   : image_u16(p + 2, false) << 16 | image_u16(p, false);
}

#endif
