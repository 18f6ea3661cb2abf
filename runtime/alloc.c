/* alloc -- the memory that programs run in: aligned, zeroed, huge pages asked
 * for where it is large enough to gain from them. */
#include "runtime/abi.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define HUGE_BYTES ((size_t)2 << 20)

/* Before every allocation: what is to be given back. */
struct head { void *base; size_t mapped; /* 0: of malloc */ };

static struct head *
head_of(void *p)
{
	return (struct head *)((char *)p - RT_ALIGN);
}

/* Fresh pages are zero: what is never touched costs nothing. */
static void *
map(size_t bytes)
{
	size_t all = bytes + 2 * HUGE_BYTES;
	char *base = mmap(NULL, all, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), *p;

	if (base == MAP_FAILED)
		return NULL;
	p = base + RT_ALIGN + (HUGE_BYTES - ((uintptr_t)base + RT_ALIGN) % HUGE_BYTES) % HUGE_BYTES;
	madvise(p, bytes, MADV_HUGEPAGE);
	*head_of(p) = (struct head){base, all};
	return p;
}

void *
rt_alloc(size_t bytes)
{
	void *base;
	char *p;

	if (bytes > SIZE_MAX - 4 * HUGE_BYTES)
		return NULL;
	bytes = (bytes / RT_ALIGN + 1) * RT_ALIGN;
	if (bytes >= 2 * HUGE_BYTES)
		return map(bytes);
	if (posix_memalign(&base, RT_ALIGN, RT_ALIGN + bytes) != 0)
		return NULL;
	p = (char *)base + RT_ALIGN;
	memset(p, 0, bytes);
	*head_of(p) = (struct head){base, 0};
	return p;
}

void
rt_free(void *p)
{
	struct head h;

	if (!p)
		return;
	h = *head_of(p);
	if (h.mapped)
		munmap(h.base, h.mapped);
	else
		free(h.base);
}

/* Whole pages only: what else they hold may be needed. */
void
rt_unload(const void *p, size_t bytes)
{
	uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), from = ((uintptr_t)p + page - 1) / page * page,
	          to = ((uintptr_t)p + bytes) / page * page;

	if (p && from < to)
		madvise((void *)from, to - from, MADV_DONTNEED);
}
