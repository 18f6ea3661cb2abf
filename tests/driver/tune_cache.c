/* The file of --tune: what it holds is believed only where it reads well. */
#include "driver/tune_cache.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/unit.h"

struct test { struct arena *a; struct diag d; char path[64]; };

static int
setup(void **state)
{
	struct test *t = calloc(1, sizeof *t);

	t->a = arena_create();
	diag_init(&t->d, NULL);
	snprintf(t->path, sizeof t->path, "/tmp/retort-tune-XXXXXX");
	close(mkstemp(t->path));
	*state = t;
	return 0;
}

static int
teardown(void **state)
{
	struct test *t = *state;

	unlink(t->path);
	diag_free(&t->d);
	arena_destroy(t->a);
	free(t);
	return 0;
}

static struct tune_cache *
holding(struct test *t, const char *text)
{
	assert_true(file_write(&t->d, t->path, text, strlen(text)));
	return tune_cache_read(t->a, t->path, &t->d);
}

static void
times(void **state)
{
	static const char *const names[] = {"direct", "winograd2"};
	double ns[2];

	(void)state;
	assert_true(tune_times("direct=12 winograd2=9", 2, names, ns));
	assert_true(ns[0] == 12 && ns[1] == 9);
	assert_true(tune_times("x=1 winograd2=9 direct=12", 2, names, ns));
	assert_true(tune_times("direct=12", 1, names, ns));
	static const char *const bad[] = {"", "direct=12", "direct=12 winograd2=", "direct=0 winograd2=9", "direct=-3 winograd2=9",
	    "direct=1e3 winograd2=9", "direct=nan winograd2=9", "direct=9999999999999 winograd2=9", "direct winograd2=9",
	    "direct=12winograd2=9", "directs=12 winograd2=9", "direct=1.5 winograd2=9"};
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		assert_false(tune_times(bad[i], 2, names, ns));
}

static void
reads(void **state)
{
	struct test *t = *state;
	struct tune_cache *c = holding(t, "# remark\n1 cpu a direct=5\n\n1 cpu b direct=6 x=7");

	assert_non_null(c);
	assert_string_equal(tune_cache_get(c, "1 cpu a"), "direct=5");
	assert_string_equal(tune_cache_get(c, "1 cpu b"), "direct=6 x=7");
	assert_null(tune_cache_get(c, "1 cpu c"));
	assert_null(tune_cache_get(c, "2 cpu a"));
	assert_int_equal(t->d.warnings, 0);
}

static void
corrupt(void **state)
{
	struct test *t = *state;
	char long_line[5000];

	memset(long_line, 'a', sizeof long_line - 1);
	long_line[sizeof long_line - 1] = 0;
	memcpy(long_line, "1 cpu l direct=5 ", 17);
	const char *const bad[] = {"1 cpu a", "1 cpu a ", "1  cpu a direct=5", "1 cpu a direct=5 ", " 1 cpu a direct=5",
	    "1 cpu a direct", "1 cpu a =5", "1 cpu a direct=x", "1 cpu \x01 direct=5", "1 cpu \xff direct=5", "1 cpu a direct=5\r", long_line};
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		int before = t->d.warnings;
		struct tune_cache *c = holding(t, arena_printf(t->a, "1 cpu good direct=1\n%s\n1 cpu more direct=2\n", bad[i]));

		assert_non_null(c);
		assert_int_equal(t->d.warnings, before + 1);
		assert_null(tune_cache_get(c, "1 cpu a"));
		assert_null(tune_cache_get(c, "1 cpu l"));
		assert_string_equal(tune_cache_get(c, "1 cpu good"), "direct=1");
		assert_string_equal(tune_cache_get(c, "1 cpu more"), "direct=2");
	}
	assert_int_equal(t->d.errors, 0);
}

/* Bytes at random, zeros among them, are read without harm. */
static void
noise(void **state)
{
	struct test *t = *state;
	uint32_t x = 1;

	for (int round = 0; round < 200; round++) {
		char text[400];

		for (size_t i = 0; i < sizeof text; i++) {
			x = x * 1664525 + 1013904223;
			text[i] = " =\n1a#d\0"[x >> 29];
			if (!(x >> 8 & 15))
				text[i] = (char)(x >> 16);
		}
		assert_true(file_write(&t->d, t->path, text, sizeof text));
		assert_non_null(tune_cache_read(t->a, t->path, &t->d));
	}
}

static void
writes(void **state)
{
	struct test *t = *state;
	struct tune_cache *c, *other;
	size_t n;
	char *text;

	unlink(t->path);
	c = tune_cache_read(t->a, t->path, &t->d);
	assert_non_null(c);
	assert_true(tune_cache_write(c, &t->d)); /* nothing was put */
	assert_false(file_exists(t->path));
	tune_cache_put(c, "1 cpu a", "direct=5");
	assert_true(tune_cache_write(c, &t->d));
	/* two compilers at once: neither loses what it has measured */
	other = tune_cache_read(t->a, t->path, &t->d);
	tune_cache_put(c, "1 cpu b", "direct=6");
	tune_cache_put(other, "1 cpu a", "direct=7");
	assert_true(tune_cache_write(c, &t->d));
	assert_true(tune_cache_write(other, &t->d));
	text = file_read(&t->d, t->path, &n);
	assert_non_null(text);
	assert_non_null(strstr(text, "1 cpu a direct=7\n"));
	assert_non_null(strstr(text, "1 cpu b direct=6\n"));
	free(text);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(times),
		cmocka_unit_test_setup_teardown(reads, setup, teardown),
		cmocka_unit_test_setup_teardown(corrupt, setup, teardown),
		cmocka_unit_test_setup_teardown(noise, setup, teardown),
		cmocka_unit_test_setup_teardown(writes, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
