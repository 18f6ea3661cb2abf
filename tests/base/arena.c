/* arenas: alignment, zeroed memory, marks that give memory back. */
#include "base/base.h"
#include "tests/unit.h"

#include <string.h>

static void
aligned_and_zeroed(void **state)
{
	struct arena *a = arena_create();
	size_t sizes[] = {0, 1, 3, 16, 63, 64, 65, 1000, 100000, 5000000}, i, j;

	(void)state;
	for (i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		unsigned char *p = arena_alloc(a, sizes[i]);

		assert_int_equal((uintptr_t)p % (sizes[i] >= 64 ? 64 : 16), 0);
		for (j = 0; j < sizes[i]; j++)
			assert_int_equal(p[j], 0);
		memset(p, 0xff, sizes[i]);
	}
	assert_true(arena_bytes(a) >= 5101212);
	arena_destroy(a);
}

static void
reset_gives_zeroed_memory_back(void **state)
{
	struct arena *a = arena_create();
	char *keep = arena_strdup(a, "kept"), *p, *q;
	struct mark m = arena_mark(a);
	size_t before = arena_bytes(a);
	int i;

	(void)state;
	p = arena_alloc(a, 100);
	memset(p, 0xff, 100);
	for (i = 0; i < 100; i++)
		memset(arena_alloc(a, 50000), 0xff, 50000);
	assert_true(arena_bytes(a) > before);
	arena_reset(a, m);
	assert_int_equal(arena_bytes(a), before);
	assert_string_equal(keep, "kept");
	q = arena_alloc(a, 100);
	assert_ptr_equal(p, q);
	for (i = 0; i < 100; i++)
		assert_int_equal(q[i], 0);
	arena_destroy(a);
}

static void
mark_of_an_empty_arena(void **state)
{
	struct arena *a = arena_create();
	struct mark m = arena_mark(a);

	(void)state;
	arena_alloc(a, 10);
	arena_reset(a, m);
	assert_int_equal(arena_bytes(a), 0);
	arena_alloc(a, 10);
	arena_destroy(a);
	arena_destroy(NULL);
}

static void
strings(void **state)
{
	struct arena *a = arena_create();

	(void)state;
	assert_null(arena_strdup(a, NULL));
	assert_string_equal(arena_strndup(a, "abcdef", 3), "abc");
	assert_string_equal(arena_printf(a, "%d-%s", 7, "x"), "7-x");
	assert_memory_equal(arena_dup(a, "a\0b", 3), "a\0b", 3);
	arena_destroy(a);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(aligned_and_zeroed),
	    cmocka_unit_test(reset_gives_zeroed_memory_back),
	    cmocka_unit_test(mark_of_an_empty_arena),
	    cmocka_unit_test(strings),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
