/* image_pnm -- PBM, PGM and PPM, as text (P1 P2 P3) and binary (P4 P5 P6), and PAM (P7). */
#include "host/image.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

struct text {
	const uint8_t *p, *end;
};

static void
blanks(struct text *t)
{
	for (; t->p < t->end && (isspace(*t->p) || *t->p == '#'); t->p++)
		if (*t->p == '#')
			while (t->p + 1 < t->end && t->p[1] != '\n')
				t->p++;
}

static bool
number(struct text *t, int64_t *v)
{
	blanks(t);
	if (t->p == t->end || !isdigit(*t->p))
		return false;
	for (*v = 0; t->p < t->end && isdigit(*t->p) && *v < 1 << 24; t->p++)
		*v = *v * 10 + (*t->p - '0');
	return true;
}

/* WIDTH, HEIGHT, DEPTH, MAXVAL up to ENDHDR */
static bool
pam(struct text *t, int64_t *w, int64_t *h, int64_t *depth, int64_t *most)
{
	static const char *const key[] = {"WIDTH", "HEIGHT", "DEPTH", "MAXVAL"};
	int64_t *to[] = {w, h, depth, most};

	for (;;) {
		const uint8_t *line;
		size_t n;

		blanks(t);
		line = t->p;
		while (t->p < t->end && !isspace(*t->p))
			t->p++;
		n = (size_t)(t->p - line);
		if (n == 0)
			return false;
		if (n == 6 && memcmp(line, "ENDHDR", 6) == 0)
			return true;
		for (int i = 0; i < 4; i++)
			if (n == strlen(key[i]) && memcmp(line, key[i], n) == 0 &&
			    !number(t, to[i]))
				return false;
		while (t->p < t->end && *t->p != '\n')
			t->p++;
	}
}

static bool
sample(struct text *t, int kind, int64_t most, int64_t *v)
{
	if (kind == 1) { /* digits need no blanks between them */
		blanks(t);
		if (t->p == t->end || (*t->p != '0' && *t->p != '1'))
			return false;
		*v = *t->p++ == '0';
		return true;
	}
	if (kind < 4)
		return number(t, v);
	if (t->end - t->p < (most > 255 ? 2 : 1))
		return false;
	*v = *t->p++;
	if (most > 255)
		*v = *v << 8 | *t->p++;
	return true;
}

bool
image_pnm(struct image *im)
{
	struct text t = {im->bytes + 2, im->bytes + im->size};
	int kind = im->bytes[1] - '0';
	int64_t w = 0, h = 0, most = 1, depth = kind == 3 || kind == 6 ? 3 : 1, v;

	if (kind == 7 ? !pam(&t, &w, &h, &depth, &most)
		      : !number(&t, &w) || !number(&t, &h) ||
			    (kind != 1 && kind != 4 && !number(&t, &most)))
		return false;
	if (most < 1 || most > 65535 || depth < 1 || depth > 4 || !image_size(im, w, h))
		return false;
	if (kind >= 4)
		t.p += t.p < t.end; /* one blank */
	for (int64_t y = 0; y < h; y++) {
		const uint8_t *bits = t.p;

		if (kind == 4) {
			if (t.end - t.p < (w + 7) / 8)
				return false;
			t.p += (w + 7) / 8;
		}
		for (int64_t x = 0; x < w; x++) {
			uint8_t s[4] = {0};

			if (kind == 4) {
				s[0] = bits[x / 8] >> (7 - x % 8) & 1 ? 0 : 255;
			} else {
				for (int64_t k = 0; k < depth; k++) {
					if (!sample(&t, kind, most, &v))
						return false;
					s[k] = (uint8_t)(((v > most ? most : v) * 255 + most / 2) /
							 most);
				}
			}
			if (depth < 3)
				image_put_gray(im, x, y, 1, s);
			else
				image_put(im, x, y, 1, s);
		}
	}
	return true;
}
