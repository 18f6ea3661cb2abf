/* gz -- inflating: whole .gz files, and raw deflate streams of known size. */
#include "runtime/rt_int.h"
#include "runtime/gz.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#define MAX_INFLATED ((size_t)64 << 30)

/* Reads what zlib's gzread delivers: files that are not gzip come out as they are. */
void *
rt_read_gz(const char *path, size_t *size, struct rt_msg *m)
{
	gzFile f = gzopen(path, "rbe");
	size_t cap = 1 << 20, n = 0;
	char *p = NULL;

	if (!f) {
		rt_fail(m, RT_IO, "%s: %s", path, strerror(errno));
		return NULL;
	}
	gzbuffer(f, 1 << 17);
	for (;;) {
		if (!p || cap - n < 2) {
			char *q = cap > MAX_INFLATED ? NULL : realloc(p, p ? cap * 2 : cap);

			if (!q) {
				rt_fail(
				    m, RT_INTERNAL, "%s: out of memory after %zu bytes", path, n);
				goto fail;
			}
			cap = p ? cap * 2 : cap;
			p = q;
		}
		size_t want = cap - n - 1;
		int k = gzread(f, p + n, want < (1u << 30) ? (unsigned)want : 1u << 30);

		if (k < 0)
			break;
		if (k == 0)
			break;
		n += (size_t)k;
	}
	int err;
	const char *why = gzerror(f, &err);

	if (err != Z_OK && err != Z_STREAM_END) {
		rt_fail(m, err == Z_ERRNO ? RT_IO : RT_INVALID, "%s: %s after %zu bytes", path,
		    err == Z_BUF_ERROR ? "truncated gzip file"
		    : err == Z_ERRNO   ? strerror(errno)
				       : why,
		    n);
		goto fail;
	}
	gzclose(f);
	p[n] = 0;
	*size = n;
	return p;
fail:
	gzclose(f);
	free(p);
	return NULL;
}

/* Exactly n bytes out of a raw deflate stream. */
bool
rt_inflate(void *out, size_t n, const void *in, size_t nin)
{
	z_stream z = {0};
	bool ok;

	if (n > UINT32_MAX || nin > UINT32_MAX || inflateInit2(&z, -15) != Z_OK)
		return false;
	z.next_in = (Bytef *)in;
	z.avail_in = (uInt)nin;
	z.next_out = out;
	z.avail_out = (uInt)n;
	ok = inflate(&z, Z_FINISH) == Z_STREAM_END && z.avail_out == 0;
	inflateEnd(&z);
	return ok;
}

uint32_t
rt_crc32(const void *p, size_t n)
{
	uLong c = crc32(0, NULL, 0);
	const unsigned char *s = p;

	while (n > 0) {
		uInt k = n < (1u << 30) ? (uInt)n : 1u << 30;

		c = crc32(c, s, k);
		s += k;
		n -= k;
	}
	return (uint32_t)c;
}
