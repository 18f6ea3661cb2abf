/* arena -- memory that dies by region.  A list of chunks, newest first; a mark is
 * a place in that list, and reset frees what is newer.  Free memory of a chunk is
 * kept zero, so allocation need not clear.  Under AddressSanitizer the free part
 * is poisoned and allocations are kept apart by a red zone. */
#include "base/base.h"

#include <stdlib.h>
#include <string.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ASAN 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define ASAN 1
#endif
#ifdef ASAN
#include <sanitizer/asan_interface.h>
#define poison(p, n) ASAN_POISON_MEMORY_REGION(p, n)
#define unpoison(p, n) ASAN_UNPOISON_MEMORY_REGION(p, n)
enum { REDZONE = 16 };
#else
#define poison(p, n) ((void)0)
#define unpoison(p, n) ((void)0)
enum { REDZONE = 0 };
#endif

enum { CHUNK_MIN = 64 << 10, CHUNK_MAX = 4 << 20 };

struct chunk {
	struct chunk *older;
	char *data;  /* 64-byte aligned start */
	size_t size; /* usable bytes at data */
	size_t used;
};

struct arena {
	struct chunk *chunk;
	size_t next; /* size of the next chunk */
	size_t held;
};

struct arena *
arena_create(void)
{
	struct arena *a = xcalloc(1, sizeof *a);

	a->next = CHUNK_MIN;
	return a;
}

static void
drop(struct arena *a, struct chunk *c)
{
	unpoison(c->data, c->size);
	a->held -= c->size;
	free(c);
}

void
arena_destroy(struct arena *a)
{
	struct chunk *c, *older;

	if (!a)
		return;
	for (c = a->chunk; c; c = older) {
		older = c->older;
		drop(a, c);
	}
	free(a);
}

static void
push(struct arena *a, size_t need)
{
	size_t size = a->next > need + 64 ? a->next : need + 64;
	struct chunk *c = xcalloc(1, sizeof *c + size + 64);

	c->data = (char *)(((uintptr_t)(c + 1) + 63) & ~(uintptr_t)63);
	c->size = size;
	c->older = a->chunk;
	poison(c->data, c->size);
	a->chunk = c;
	a->held += size;
	if (a->next < CHUNK_MAX)
		a->next *= 2;
}

void *
arena_alloc(struct arena *a, size_t n)
{
	size_t align = n >= 64 ? 64 : 16, at = 0;
	char *p;

	if (n > PTRDIFF_MAX / 2)
		die("arena allocation of %zu bytes", n);
	if (a->chunk)
		at = (a->chunk->used + align - 1) & ~(align - 1);
	if (!a->chunk || at + n + REDZONE > a->chunk->size) {
		push(a, n + REDZONE);
		at = 0;
	}
	p = a->chunk->data + at;
	a->chunk->used = at + n + REDZONE;
	unpoison(p, n);
	return p;
}

char *
arena_strndup(struct arena *a, const char *s, size_t n)
{
	char *p = arena_alloc(a, n + 1);

	if (n)
		memcpy(p, s, n);
	return p;
}

char *
arena_strdup(struct arena *a, const char *s)
{
	return s ? arena_strndup(a, s, strlen(s)) : NULL;
}

char *
arena_vprintf(struct arena *a, const char *fmt, va_list ap)
{
	va_list again;
	int n;
	char *p;

	va_copy(again, ap);
	n = vsnprintf(NULL, 0, fmt, ap);
	if (n < 0)
		die("bad format: %s", fmt);
	p = arena_alloc(a, (size_t)n + 1);
	vsnprintf(p, (size_t)n + 1, fmt, again);
	va_end(again);
	return p;
}

char *
arena_printf(struct arena *a, const char *fmt, ...)
{
	va_list ap;
	char *p;

	va_start(ap, fmt);
	p = arena_vprintf(a, fmt, ap);
	va_end(ap);
	return p;
}

void *
arena_dup(struct arena *a, const void *p, size_t n)
{
	void *q = arena_alloc(a, n);

	if (n)
		memcpy(q, p, n);
	return q;
}

size_t
arena_bytes(const struct arena *a)
{
	return a->held;
}

struct mark
arena_mark(struct arena *a)
{
	return (struct mark){a->chunk, a->chunk ? a->chunk->used : 0};
}

void
arena_reset(struct arena *a, struct mark m)
{
	struct chunk *c;

	while (a->chunk != m.chunk) {
		c = a->chunk;
		if (!c)
			die("arena_reset to a mark that is gone");
		a->chunk = c->older;
		drop(a, c);
	}
	c = a->chunk;
	if (c && c->used > m.used) {
		unpoison(c->data + m.used, c->used - m.used);
		memset(c->data + m.used, 0, c->used - m.used);
		poison(c->data + m.used, c->size - m.used);
		c->used = m.used;
	}
}
