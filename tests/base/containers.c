/* VEC, map, intern. */
#include "base/base.h"
#include "tests/unit.h"

#include <stdlib.h>

static void
vec_on_heap_and_arena(void **state)
{
	struct arena *arenas[] = {NULL, arena_create()};
	int i, k;

	(void)state;
	for (k = 0; k < 2; k++) {
		VEC(int64_t) v = {0};

		for (i = 0; i < 10000; i++)
			vec_push(arenas[k], &v, (int64_t)i * i);
		assert_int_equal(v.n, 10000);
		for (i = 0; i < 10000; i++)
			assert_int_equal(v.v[i], (int64_t)i * i);
		if (!arenas[k])
			vec_free(&v);
	}
	arena_destroy(arenas[1]);
}

static void
vec_of_structs(void **state)
{
	struct pair { int a; const char *b; };
	VEC(struct pair) v = {0};

	(void)state;
	vec_push(NULL, &v, (struct pair){1, "one"});
	vec_push(NULL, &v, (struct pair){2, "two"});
	assert_int_equal(v.v[1].a, 2);
	assert_string_equal(v.v[0].b, "one");
	vec_free(&v);
	assert_null(v.v);
}

static void
map_holds_many(void **state)
{
	struct arena *a = arena_create();
	struct map *m = map_create(a);
	intptr_t i;

	(void)state;
	assert_null(map_get(m, ""));
	map_put(m, "", (void *)1);
	for (i = 0; i < 5000; i++)
		map_put(m, arena_printf(a, "key%d", (int)i), (void *)(i + 1));
	for (i = 0; i < 5000; i++)
		assert_int_equal((intptr_t)map_get(m, arena_printf(a, "key%d", (int)i)), i + 1);
	map_put(m, "key7", (void *)99);
	assert_int_equal((intptr_t)map_get(m, "key7"), 99);
	assert_null(map_get(m, "key5000"));
	assert_int_equal((intptr_t)map_get(m, ""), 1);
	arena_destroy(a);
}

static void
intern_gives_one_pointer(void **state)
{
	struct arena *a = arena_create();
	struct intern *in = intern_create(a);
	const char *p[200];
	char text[16];
	int i;

	(void)state;
	for (i = 0; i < 200; i++) {
		snprintf(text, sizeof text, "s%d", i);
		p[i] = intern(in, text);
	}
	for (i = 0; i < 200; i++) {
		snprintf(text, sizeof text, "s%d", i);
		assert_ptr_equal(intern(in, text), p[i]);
		assert_string_equal(p[i], text);
	}
	arena_destroy(a);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(vec_on_heap_and_arena),
	    cmocka_unit_test(vec_of_structs),
	    cmocka_unit_test(map_holds_many),
	    cmocka_unit_test(intern_gives_one_pointer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
