/* vec -- growth of the VEC arrays. */
#include "base/base.h"

#include <stdlib.h>
#include <string.h>

void *
vec_grow(struct arena *a, void *v, int *cap, int need, size_t size)
{
	int old = *cap;
	int64_t n = old < 8 ? 8 : (int64_t)old + old / 2 + 8;
	void *p;

	if (n < need)
		n = need;
	if (n > INT32_MAX || need < 0)
		die("array of more than 2^31 elements");
	*cap = (int)n;
	if (!a)
		return xrealloc(v, (size_t)n * size);
	p = arena_alloc(a, (size_t)n * size);
	if (old)
		memcpy(p, v, (size_t)old * size);
	return p;
}
