/* npz -- members of a zip archive that are .npy files: stored or deflated, with
 * zip64 sizes.  The central directory is believed only as far as it fits the file. */
#include "runtime/rt_int.h"
#include "runtime/gz.h"

#include <stdlib.h>
#include <string.h>

struct zip {
	const unsigned char *p;
	size_t n;
};
struct member {
	const char *name;
	size_t name_len;
	int method;
	uint64_t packed, size, at;
	uint32_t crc;
};

static uint32_t
le(const unsigned char *p, int n)
{
	uint32_t v = 0;

	for (int i = n; i-- > 0;)
		v = v << 8 | p[i];
	return v;
}

static uint64_t
le64(const unsigned char *p)
{
	return le(p, 4) | (uint64_t)le(p + 4, 4) << 32;
}

/* Where the central directory is and how many entries; false: no zip file. */
static bool
directory(const struct zip *z, uint64_t *at, uint64_t *count)
{
	if (z->n < 22)
		return false;
	size_t stop = z->n - 22 > 65535 ? z->n - 22 - 65535 : 0;

	for (size_t i = z->n - 22 + 1; i-- > stop;) {
		const unsigned char *e = z->p + i;

		if (le(e, 4) != 0x06054b50)
			continue;
		*count = le(e + 10, 2);
		*at = le(e + 16, 4);
		if (*at == 0xffffffffu && i >= 20 && le(e - 20, 4) == 0x07064b50) {
			uint64_t far = le64(e - 20 + 8);

			if (far > z->n || z->n - far < 56 || le(z->p + far, 4) != 0x06064b50)
				return false;
			*count = le64(z->p + far + 32);
			*at = le64(z->p + far + 48);
		}
		return *at <= z->n;
	}
	return false;
}

/* zip64 extra field: the sizes that did not fit, in a fixed order */
static bool
far_sizes(struct member *f, const unsigned char *x, size_t n)
{
	while (n >= 4) {
		size_t len = le(x + 2, 2);
		const unsigned char *p = x + 4, *end = p + len;

		if (len > n - 4)
			return false;
		if (le(x, 2) == 1) {
			uint64_t *want[] = {&f->size, &f->packed, &f->at};

			for (int i = 0; i < 3; i++) {
				if (*want[i] != 0xffffffffu)
					continue;
				if (end - p < 8)
					return false;
				*want[i] = le64(p);
				p += 8;
			}
		}
		x = end;
		n -= 4 + len;
	}
	return true;
}

/* Entry at *at; moves on. */
static bool
entry(const struct zip *z, uint64_t *at, struct member *f)
{
	const unsigned char *e = z->p + *at;

	if (*at > z->n || z->n - *at < 46 || le(e, 4) != 0x02014b50)
		return false;
	size_t name = le(e + 28, 2), extra = le(e + 30, 2), comment = le(e + 32, 2);

	if (z->n - *at - 46 < name + extra + comment)
		return false;
	*f = (struct member){(const char *)e + 46, name, (int)le(e + 10, 2), le(e + 20, 4),
	    le(e + 24, 4), le(e + 42, 4), le(e + 16, 4)};
	*at += 46 + name + extra + comment;
	return far_sizes(f, e + 46 + name, extra);
}

static bool
called(const struct member *f, const char *name)
{
	size_t n = strlen(name);

	return (f->name_len == n && memcmp(f->name, name, n) == 0) ||
	       (f->name_len == n + 4 && memcmp(f->name, name, n) == 0 &&
		   memcmp(f->name + n, ".npy", 4) == 0);
}

/* The member's bytes, checked by its CRC; caller frees. */
static void *
extract(const struct zip *z, const struct member *f, const char *path, struct rt_msg *m)
{
	if (f->at > z->n || z->n - f->at < 30 || le(z->p + f->at, 4) != 0x04034b50)
		goto damaged;
	uint64_t data = f->at + 30 + le(z->p + f->at + 26, 2) + le(z->p + f->at + 28, 2);

	if (data > z->n || f->packed > z->n - data || (f->method == 0 && f->packed != f->size) ||
	    (f->method == 8 && f->size / 1100 > f->packed))
		goto damaged;
	if (f->method != 0 && f->method != 8) {
		rt_fail(m, RT_INVALID,
		    "%s: member %.*s is compressed with method %d (stored and deflated are read)",
		    path, (int)f->name_len, f->name, f->method);
		return NULL;
	}
	unsigned char *out = malloc(f->size + 1);

	if (!out) {
		rt_fail(m, RT_INTERNAL, "%s: out of memory", path);
		return NULL;
	}
	if (f->method == 0)
		memcpy(out, z->p + data, f->size);
	if ((f->method == 8 && !rt_inflate(out, f->size, z->p + data, f->packed)) ||
	    rt_crc32(out, f->size) != f->crc) {
		free(out);
		goto damaged;
	}
	return out;
damaged:
	rt_fail(m, RT_INVALID, "%s: member %.*s is damaged or truncated", path, (int)f->name_len,
	    f->name);
	return NULL;
}

static bool
take(struct rt_array *a, const struct zip *z, const struct member *f, const char *path,
    struct rt_msg *m)
{
	struct rt_npy h;
	char name[600];
	unsigned char *p = extract(z, f, path, m);

	if (!p)
		return false;
	a->heap = p;
	snprintf(name, sizeof name, "%s:%.*s", path, (int)f->name_len, f->name);
	if (!rt_npy_parse(&h, p, f->size, name, m))
		return false;
	a->dtype = h.dtype;
	a->rank = h.rank;
	memcpy(a->dims, h.dims, sizeof h.dims);
	memmove(p, p + h.offset, f->size - h.offset);
	a->data = p;
	return rt_array_sizes(a, f->size - h.offset, name, m);
}

bool
rt_open_npz(struct rt_array *a, const char *path, const char *want, struct rt_msg *m)
{
	struct zip z;
	void *bytes = rt_read_file(path, &z.n, m);
	uint64_t at, count;
	char names[400] = "";
	struct member f, only;
	bool ok = false;

	if (!bytes)
		return false;
	z.p = bytes;
	if (!directory(&z, &at, &count)) {
		rt_fail(m, RT_INVALID, "%s: not a zip file, or truncated", path);
		goto out;
	}
	for (uint64_t i = 0; i < count; i++) {
		if (!entry(&z, &at, &f)) {
			rt_fail(m, RT_INVALID,
			    "%s: the directory of the archive is damaged at entry %llu", path,
			    (unsigned long long)i);
			goto out;
		}
		only = f;
		if (want && called(&f, want)) {
			ok = take(a, &z, &f, path, m);
			goto out;
		}
		size_t k = strlen(names);

		snprintf(names + k, sizeof names - k, " %.*s",
		    (int)(f.name_len > 80 ? 80 : f.name_len), f.name);
	}
	if (!want && count == 1)
		ok = take(a, &z, &only, path, m);
	else if (!want)
		rt_fail(m, RT_INVALID, "%s: say which member, as %s:MEMBER; there are:%s", path,
		    path, names);
	else
		rt_fail(m, RT_INVALID, "%s: has no member %s; there are:%s", path, want, names);
out:
	free(bytes);
	return ok;
}
