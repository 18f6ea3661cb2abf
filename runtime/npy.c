/* npy -- NumPy's array file, versions 1 to 3: magic, a Python dict as text, the
 * elements.  Read with every size checked, written as version 1. */
#include "runtime/rt_int.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct kind {
	const char *descr;
	int32_t dtype;
} kinds[] = {
    {"<f4", RT_F32},
    {"|u1", RT_U8},
    {"|i1", RT_I8},
    {"<u2", RT_U16},
    {"<i2", RT_I16},
    {"<i4", RT_I32},
    {"<i8", RT_I64},
    {"|b1", RT_BOOL},
    {"<f2", RT_F16},
    {"<f8", RT_F64},
    {"<u4", RT_U32},
    {"<u8", RT_U64},
};
#define NKINDS ((int)(sizeof kinds / sizeof *kinds))

/* The text after `'key':`, blanks skipped; NULL: no such key. */
static const char *
find_key(const char *text, const char *key)
{
	const char *p = strstr(text, key);

	if (!p)
		return NULL;
	p += strlen(key);
	while (*p == ' ')
		p++;
	if (*p != ':')
		return NULL;
	p++;
	while (*p == ' ')
		p++;
	return p;
}

static bool
parse_shape(struct rt_npy *a, const char *p)
{
	if (*p++ != '(')
		return false;
	a->rank = 0;
	for (;;) {
		while (*p == ' ' || *p == ',')
			p++;
		if (*p == ')')
			break;
		if (!isdigit((unsigned char)*p) || a->rank == RT_MAX_RANK)
			return false;
		char *end;

		errno = 0;
		long long d = strtoll(p, &end, 10);
		if (errno || d < 0)
			return false;
		a->dims[a->rank++] = d;
		p = *end == 'L' ? end + 1 : end;
	}
	a->count = rt_count(a->dims, a->rank);
	return a->count >= 0;
}

static bool
parse_text(struct rt_npy *a, const char *text, const char *name, struct rt_msg *m)
{
	const char *descr = find_key(text, "'descr'");
	const char *order = find_key(text, "'fortran_order'");
	const char *shape = find_key(text, "'shape'");

	if (!descr || !order || !shape || *descr != '\'')
		return rt_fail(m, RT_INVALID, "%s: the .npy header is damaged", name);
	descr++;
	a->dtype = 0;
	for (int i = 0; i < NKINDS; i++)
		if (strncmp(descr, kinds[i].descr, 3) == 0 && descr[3] == '\'')
			a->dtype = kinds[i].dtype;
	if (!a->dtype)
		return rt_fail(m, RT_INVALID,
		    "%s: element type '%.*s' is not supported (little endian f2 f4 f8, i1..i8, "
		    "u1..u8, b1 are)",
		    name, (int)strcspn(descr, "'"), descr);
	if (strncmp(order, "False", 5) != 0)
		return rt_fail(m, RT_INVALID,
		    "%s: stored in Fortran order; save it with numpy.ascontiguousarray", name);
	if (!parse_shape(a, shape))
		return rt_fail(m, RT_INVALID,
		    "%s: the shape in the .npy header is damaged or has more than %d dims", name,
		    RT_MAX_RANK);
	return true;
}

bool
rt_npy_parse(struct rt_npy *a, const void *data, size_t n, const char *name, struct rt_msg *m)
{
	const unsigned char *p = data;
	size_t head, len;
	char *text;
	bool ok;

	memset(a, 0, sizeof *a);
	if (n < 10 || memcmp(p, "\x93NUMPY", 6) != 0)
		return rt_fail(m, RT_INVALID, "%s: not a .npy file", name);
	if (p[6] == 1) {
		head = 10;
		len = p[8] | (size_t)p[9] << 8;
	} else if ((p[6] == 2 || p[6] == 3) && n >= 12) {
		head = 12;
		len = p[8] | (size_t)p[9] << 8 | (size_t)p[10] << 16 | (size_t)p[11] << 24;
	} else {
		return rt_fail(m, RT_INVALID, "%s: .npy version %d is not known", name, p[6]);
	}
	if (len > n - head || len > 1 << 20)
		return rt_fail(m, RT_INVALID, "%s: truncated in the .npy header", name);
	text = malloc(len + 1);
	if (!text)
		return rt_fail(m, RT_INTERNAL, "%s: out of memory", name);
	memcpy(text, p + head, len);
	text[len] = 0;
	ok = parse_text(a, text, name, m);
	free(text);
	if (!ok)
		return false;
	a->offset = head + len;
	uint64_t have = n - a->offset, size = (uint64_t)rt_dtype_bytes(a->dtype);
	if ((uint64_t)a->count > have / size)
		return rt_fail(m, RT_INVALID,
		    "%s: truncated: the header promises %lld elements of %d bytes, the file holds "
		    "%llu bytes",
		    name, (long long)a->count, (int)size, (unsigned long long)have);
	return true;
}

/* The header's length makes the elements start at a multiple of 64. */
bool
rt_npy_write(const char *path, int32_t dtype, int rank, const int64_t *dims, const void *data,
    struct rt_msg *m)
{
	char head[512], *dict = head + 10;
	const char *descr = NULL;
	size_t n, total, room = sizeof head - 10;
	int64_t count = rt_count(dims, rank);

	for (int i = 0; i < NKINDS; i++)
		if (kinds[i].dtype == dtype)
			descr = kinds[i].descr;
	if (!descr || count < 0 || rank > RT_MAX_RANK)
		return rt_fail(
		    m, RT_INTERNAL, "%s: dtype %d or shape cannot be written as .npy", path, dtype);
	n = (size_t)snprintf(
	    dict, room, "{'descr': '%s', 'fortran_order': False, 'shape': (", descr);
	for (int i = 0; i < rank; i++)
		n += (size_t)snprintf(dict + n, room - n, "%lld%s", (long long)dims[i],
		    i + 1 < rank ? ", "
		    : rank == 1	 ? ","
				 : "");
	n += (size_t)snprintf(dict + n, room - n, "), }");
	total = (10 + n + 1 + 63) / 64 * 64;
	memset(dict + n, ' ', total - 10 - n);
	head[total - 1] = '\n';
	memcpy(head, "\x93NUMPY\x01\x00", 8);
	head[8] = (char)((total - 10) & 255);
	head[9] = (char)((total - 10) >> 8);

	struct rt_iov iov[2] = {
	    {head, total}, {data, (size_t)count * (size_t)rt_dtype_bytes(dtype)}};
	return rt_write_file(path, iov, 2, false, m);
}

/* Mapped, not read: a data set may be larger than memory. */
bool
rt_open_npy(struct rt_array *a, const char *path, struct rt_msg *m)
{
	struct stat st;
	struct rt_npy h;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || fstat(fd, &st) != 0) {
		rt_fail(m, RT_IO, "%s: %s", path, strerror(errno));
		if (fd >= 0)
			close(fd);
		return false;
	}
	if (!S_ISREG(st.st_mode) || st.st_size < 10) {
		close(fd);
		return rt_fail(m, RT_INVALID, "%s: not a .npy file", path);
	}
	a->map_bytes = (size_t)st.st_size;
	a->map = mmap(NULL, a->map_bytes, PROT_READ, MAP_PRIVATE, fd, 0);
	close(fd);
	if (a->map == MAP_FAILED) {
		a->map = NULL;
		return rt_fail(m, RT_IO, "%s: cannot be mapped: %s", path, strerror(errno));
	}
	if (!rt_npy_parse(&h, a->map, a->map_bytes, path, m))
		return false;
	a->dtype = h.dtype;
	a->rank = h.rank;
	memcpy(a->dims, h.dims, sizeof h.dims);
	a->data = (const unsigned char *)a->map + h.offset;
	return rt_array_sizes(a, a->map_bytes - h.offset, path, m);
}
