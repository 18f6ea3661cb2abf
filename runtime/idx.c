/* idx -- the format of the MNIST files: two zero bytes, element type, rank, then
 * dims and elements big endian; possibly gzipped. */
#include "runtime/rt_int.h"

#include <string.h>

static void
swap(unsigned char *p, int64_t n, int size)
{
	for (int64_t i = 0; i < n; i++, p += size)
		for (int j = 0; j < size / 2; j++) {
			unsigned char t = p[j];

			p[j] = p[size - 1 - j];
			p[size - 1 - j] = t;
		}
}

bool
rt_open_idx(struct rt_array *a, const char *path, struct rt_msg *m)
{
	static const int32_t types[] = {RT_U8, RT_I8, 0, RT_I16, RT_I32, RT_F32, RT_F64};
	size_t n, head;
	unsigned char *p = rt_read_gz(path, &n, m);

	if (!p)
		return false;
	a->heap = p;
	if (n < 4 || p[0] || p[1])
		return rt_fail(m, RT_INVALID, "%s: not an IDX file", path);
	a->dtype = p[2] >= 8 && p[2] <= 14 ? types[p[2] - 8] : 0;
	a->rank = p[3];
	head = 4 + 4 * (size_t)a->rank;
	if (!a->dtype)
		return rt_fail(
		    m, RT_INVALID, "%s: IDX element type 0x%02x is not known", path, p[2]);
	if (a->rank < 1 || a->rank > RT_MAX_RANK || head > n)
		return rt_fail(m, RT_INVALID, "%s: IDX header is damaged: %d dims in %zu bytes",
		    path, a->rank, n);
	for (int i = 0; i < a->rank; i++) {
		const unsigned char *d = p + 4 + 4 * i;

		a->dims[i] = (int64_t)d[0] << 24 | d[1] << 16 | d[2] << 8 | d[3];
	}
	if (!rt_array_sizes(a, n - head, path, m))
		return false;
	/* elements to the front, where they are aligned */
	memmove(p, p + head, n - head);
	int size = rt_dtype_bytes(a->dtype);

	swap(p, a->rows * a->row_bytes / size, size);
	a->data = p;
	return true;
}
