/* image_more -- WebP and JPEG 2000, where their libraries were there when this was built. */
#include "host/image.h"

#include <stdlib.h>
#include <string.h>

#ifdef RETORT_WEBP
#include <webp/decode.h>

bool
image_webp(struct image *im)
{
	int w, h;
	uint8_t *rgb;

	if (!WebPGetInfo(im->bytes, im->size, &w, &h) || !image_size(im, w, h))
		return false;
	if (!(rgb = WebPDecodeRGB(im->bytes, im->size, &w, &h)))
		return false;
	for (int64_t y = 0; y < h; y++)
		image_put(im, 0, y, w, rgb + 3 * y * w);
	WebPFree(rgb);
	return true;
}
#else
bool
image_webp(struct image *im)
{
	(void)im;
	return false;
}
#endif

#ifdef RETORT_JPEG2000
#include <openjpeg.h>

struct source {
	const uint8_t *p;
	size_t n, at;
};

static OPJ_SIZE_T
read_bytes(void *to, OPJ_SIZE_T n, void *user)
{
	struct source *s = user;

	if (s->at >= s->n)
		return (OPJ_SIZE_T)-1;
	n = n > s->n - s->at ? s->n - s->at : n;
	memcpy(to, s->p + s->at, n);
	s->at += n;
	return n;
}

static OPJ_OFF_T
skip_bytes(OPJ_OFF_T n, void *user)
{
	struct source *s = user;

	if (n < 0 || (size_t)n > s->n - s->at)
		return -1;
	s->at += (size_t)n;
	return n;
}

static OPJ_BOOL
seek_bytes(OPJ_OFF_T n, void *user)
{
	struct source *s = user;

	if (n < 0 || (size_t)n > s->n)
		return OPJ_FALSE;
	s->at = (size_t)n;
	return OPJ_TRUE;
}

static uint8_t
sample(const opj_image_comp_t *c, int64_t x, int64_t y)
{
	int64_t v = c->data[y / c->dy * (int64_t)c->w + x / c->dx],
		most = (INT64_C(1) << c->prec) - 1;

	v += c->sgnd ? INT64_C(1) << (c->prec - 1) : 0;
	v = v < 0 ? 0 : v > most ? most : v;
	return (uint8_t)(c->prec == 8 ? v : (v * 255 + most / 2) / most);
}

static bool
pixels(struct image *im, const opj_image_t *j)
{
	int colors = j->numcomps >= 3 ? 3 : 1;

	for (int k = 0; k < colors; k++) {
		const opj_image_comp_t *c = &j->comps[k];

		if (!c->data || c->dx < 1 || c->dy < 1 || c->prec < 1 || c->prec > 32 ||
		    (im->width - 1) / c->dx >= c->w || (im->height - 1) / c->dy >= c->h)
			return false;
	}
	for (int64_t y = 0; y < im->height; y++)
		for (int64_t x = 0; x < im->width; x++) {
			uint8_t s[3];

			for (int k = 0; k < 3; k++)
				s[k] = sample(&j->comps[colors == 3 ? k : 0], x, y);
			if (j->color_space == OPJ_CLRSPC_SYCC && colors == 3) {
				double c[3] = {s[0] + 1.402 * (s[2] - 128),
				    s[0] - 0.344136 * (s[1] - 128) - 0.714136 * (s[2] - 128),
				    s[0] + 1.772 * (s[1] - 128)};

				for (int k = 0; k < 3; k++)
					s[k] = (uint8_t)(c[k] < 0     ? 0
							 : c[k] > 255 ? 255
								      : c[k] + 0.5);
			}
			image_put(im, x, y, 1, s);
		}
	return true;
}

bool
image_jpeg2000(struct image *im)
{
	struct source s = {im->bytes, im->size, 0};
	opj_stream_t *stream = opj_stream_default_create(OPJ_TRUE);
	opj_codec_t *codec = opj_create_decompress(im->bytes[0] ? OPJ_CODEC_J2K : OPJ_CODEC_JP2);
	opj_dparameters_t how;
	opj_image_t *j = NULL;
	bool ok = false;

	opj_set_default_decoder_parameters(&how);
	if (stream && codec && opj_setup_decoder(codec, &how)) {
		opj_stream_set_read_function(stream, read_bytes);
		opj_stream_set_skip_function(stream, skip_bytes);
		opj_stream_set_seek_function(stream, seek_bytes);
		opj_stream_set_user_data(stream, &s, NULL);
		opj_stream_set_user_data_length(stream, im->size);
		ok = opj_read_header(stream, codec, &j) && j->numcomps > 0 && j->x1 > j->x0 &&
		     j->y1 > j->y0 &&
		     image_size(im, (int64_t)j->x1 - j->x0, (int64_t)j->y1 - j->y0) &&
		     opj_decode(codec, stream, j) && opj_end_decompress(codec, stream) &&
		     pixels(im, j);
	}
	if (j)
		opj_image_destroy(j);
	if (codec)
		opj_destroy_codec(codec);
	if (stream)
		opj_stream_destroy(stream);
	return ok;
}
#else
bool
image_jpeg2000(struct image *im)
{
	(void)im;
	return false;
}
#endif
