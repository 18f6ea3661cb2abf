/* alloc -- the memory that programs run in: aligned, zeroed, huge pages asked
 * for where it is large enough to gain from them. */
#include "runtime/abi.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define HUGE_BYTES ((size_t)2 << 20)

void *
rt_alloc(size_t bytes)
{
	void *p;
	size_t align = bytes >= 2 * HUGE_BYTES ? HUGE_BYTES : RT_ALIGN;

	if (bytes == 0)
		bytes = 1;
	if (bytes > SIZE_MAX - align)
		return NULL;
	bytes = (bytes + RT_ALIGN - 1) / RT_ALIGN * RT_ALIGN;
	if (posix_memalign(&p, align, bytes) != 0)
		return NULL;
	if (align == HUGE_BYTES)
		madvise(p, bytes, MADV_HUGEPAGE);
	memset(p, 0, bytes);
	return p;
}

void
rt_free(void *p)
{
	free(p);
}
