/* array -- element types, and the one place where a file's shape meets its size. */
#include "runtime/rt_int.h"

static const struct {
	int32_t dtype;
	int bytes;
	const char *name;
} dtypes[] = {
    {RT_F32, 4, "f32"},
    {RT_U8, 1, "u8"},
    {RT_I8, 1, "i8"},
    {RT_U16, 2, "u16"},
    {RT_I16, 2, "i16"},
    {RT_I32, 4, "i32"},
    {RT_I64, 8, "i64"},
    {RT_BOOL, 1, "bool"},
    {RT_F16, 2, "f16"},
    {RT_F64, 8, "f64"},
    {RT_U32, 4, "u32"},
    {RT_U64, 8, "u64"},
};
#define NDTYPES ((int)(sizeof dtypes / sizeof *dtypes))

int
rt_dtype_bytes(int32_t dtype)
{
	for (int i = 0; i < NDTYPES; i++)
		if (dtypes[i].dtype == dtype)
			return dtypes[i].bytes;
	return 0;
}

const char *
rt_dtype_name(int32_t dtype)
{
	for (int i = 0; i < NDTYPES; i++)
		if (dtypes[i].dtype == dtype)
			return dtypes[i].name;
	return "unknown";
}

int64_t
rt_count(const int64_t *dims, int rank)
{
	int64_t n = 1;

	for (int i = 0; i < rank; i++)
		if (dims[i] < 0 || __builtin_mul_overflow(n, dims[i], &n))
			return -1;
	return n;
}

bool
rt_array_sizes(struct rt_array *a, uint64_t avail, const char *name, struct rt_msg *m)
{
	int64_t n;

	if (a->rank < 1)
		return rt_fail(
		    m, RT_INVALID, "%s: a single number; the first dim must be the samples", name);
	a->rows = a->dims[0];
	n = rt_count(a->dims + 1, a->rank - 1);
	if (n < 0 || __builtin_mul_overflow(n, rt_dtype_bytes(a->dtype), &a->row_bytes) ||
	    rt_count((int64_t[]){a->rows, a->row_bytes}, 2) < 0)
		return rt_fail(m, RT_INVALID, "%s: its shape is too large", name);
	if ((uint64_t)(a->rows * a->row_bytes) > avail)
		return rt_fail(m, RT_INVALID,
		    "%s: truncated: %lld samples of %lld bytes promised, %llu bytes there", name,
		    (long long)a->rows, (long long)a->row_bytes, (unsigned long long)avail);
	if (a->row_bytes == 0)
		return rt_fail(m, RT_INVALID, "%s: a sample has no elements", name);
	return true;
}
