/* The pool: pieces of a call all run, no call starts before what came before it
 * is done, and the bytes do not depend on the number of threads. */
#include "runtime/abi.h"
#include "tests/unit.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { N = 64, CALLS = 41 };

/* Call c reads all of column c and writes column c+1, piece by piece: a thread
 * that runs ahead or stays behind changes the result. */
static void
mix(int32_t c, void *const *base, int64_t *sym, int64_t begin, int64_t end)
{
	uint64_t *from = (uint64_t *)base[0] + (int64_t)c * N, *to = from + N, sum = 0;
	int64_t pieces = sym[c], width = (N + pieces - 1) / pieces;

	for (int i = 0; i < N; i++)
		sum = sum * 31 + from[i];
	for (int64_t p = begin; p < end; p++)
		for (int64_t i = p * width; i < (p + 1) * width && i < N; i++)
			to[i] = (sum ^ from[i]) * 0x9e3779b97f4a7c15u + (uint64_t)i;
}

static void
same_bytes(void **s)
{
	int64_t pieces[CALLS];
	struct rt_program p = {
	    .abi = RT_ABI, .name = "mix", .ncalls = CALLS, .pieces = pieces, .call = mix};
	size_t n = sizeof(uint64_t) * N * (CALLS + 1);
	uint64_t *want = calloc(1, n), *got = rt_alloc(n);
	void *base[3] = {want, NULL, NULL};
	int64_t ns[CALLS] = {0};

	(void)s;
	for (int c = 0; c < CALLS; c++)
		pieces[c] = c % 7 == 3 || c % 7 == 4 ? 1 : c % 5 == 0 ? 3 : 16;
	rt_run(NULL, &p, base, pieces);
	for (int threads = 1; threads <= 4; threads++) {
		struct rt_pool *pool = rt_pool_create(threads);
		int runs = threads <= 2 ? 2000 : 60;

		assert_non_null(pool);
		assert_int_equal(rt_pool_threads(pool), threads);
		base[0] = got;
		for (int i = 0; i < runs; i++) {
			memset(got, 0, n);
			rt_run(pool, &p, base, pieces);
			assert_memory_equal(got, want, n);
			if (i % 500 == 7) /* long enough for the workers to fall asleep */
				nanosleep(&(struct timespec){0, 3000000}, NULL);
		}
		rt_run_timed(pool, &p, base, pieces, ns);
		assert_memory_equal(got, want, n);
		rt_pool_destroy(pool);
	}
	for (int c = 0; c < CALLS; c++)
		assert_true(ns[c] > 0);
	free(want);
	rt_free(got);
}

static void
idle_pools(void **s)
{
	(void)s;
	for (int i = 0; i < 50; i++)
		rt_pool_destroy(rt_pool_create(1 + i % 4));
	rt_pool_destroy(NULL);
	assert_int_equal(rt_pool_threads(NULL), 1);
}

static void
memory(void **s)
{
	unsigned char *p = rt_alloc(5 << 20);

	(void)s;
	assert_int_equal((uintptr_t)p % RT_ALIGN, 0);
	for (int i = 0; i < 5 << 20; i += 4096)
		assert_int_equal(p[i], 0);
	rt_free(p);
	p = rt_alloc(0);
	assert_non_null(p);
	rt_free(p);
	assert_null(rt_alloc(SIZE_MAX - 8));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(same_bytes), cmocka_unit_test(idle_pools), cmocka_unit_test(memory)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
