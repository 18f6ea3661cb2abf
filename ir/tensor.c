/* tensor -- constant data. */
#include "ir/ir.h"

#include <string.h>

int64_t
dims_count(int rank, const int64_t *dims)
{
	int64_t n = 1;
	int i;

	for (i = 0; i < rank; i++) {
		if (dims[i] < 0)
			return -1;
		if (dims[i] == 0)
			return 0;
	}
	for (i = 0; i < rank; i++)
		if (__builtin_mul_overflow(n, dims[i], &n))
			return -1;
	return n;
}

bool
dims_equal(int ra, const int64_t *a, int rb, const int64_t *b)
{
	return ra == rb && (ra <= 0 || memcmp(a, b, (size_t)ra * sizeof *a) == 0);
}

struct tensor *
tensor_new(struct arena *a, enum dtype dtype, int rank, const int64_t *dims)
{
	struct tensor *t = arena_new(a, struct tensor);
	int64_t n = dims_count(rank, dims);

	if (rank < 0 || rank > MAX_RANK || n < 0)
		die("tensor of rank %d without constant dims", rank);
	t->dtype = dtype;
	t->rank = rank;
	if (rank)
		memcpy(t->dims, dims, (size_t)rank * sizeof *dims);
	t->bytes = dtype_bytes(dtype, n);
	t->data = arena_alloc(a, t->bytes ? t->bytes : 1);
	return t;
}

int64_t
tensor_count(const struct tensor *t)
{
	return dims_count(t->rank, t->dims);
}
