/* The pool: pieces of a call all run, no call starts before what came before it
 * is done, and the bytes do not depend on the number of threads. */
#include "runtime/abi.h"
#include "tests/unit.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { N = 64, CALLS = 41 };

/* Call c reads all of column c and writes column c+1, piece by piece: a thread
 * that runs ahead or stays behind changes the result. */
static void
mix(int32_t c, void *const *base, int64_t *sym, int64_t begin, int64_t end, int64_t slot)
{
	(void)slot;
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

/* Pieces sum a row in the memory of their slot; no two threads may have one.  The first
 * piece is slow, as on a core that others use: its thread's other pieces are taken. */
enum { ROWS = 48, SLOW_NS = 2000000 };

static struct {
	atomic_int in_use[ROWS];
	atomic_int clashes;
	bool slow;
} shared;

static void
sum_rows(int32_t c, void *const *base, int64_t *sym, int64_t begin, int64_t end, int64_t slot)
{
	uint64_t *from = (uint64_t *)base[0] + (int64_t)c * ROWS, *to = from + ROWS,
		 *room = base[1];

	(void)sym;
	if (slot < 0 || slot >= ROWS || atomic_exchange(&shared.in_use[slot], 1))
		atomic_fetch_add(&shared.clashes, 1);
	room[slot] = 0;
	for (int64_t p = begin; p < end; p++) {
		if (shared.slow && p == 0 && c % 4 == 0)
			nanosleep(&(struct timespec){0, SLOW_NS}, NULL);
		for (int i = 0; i < ROWS; i++)
			room[slot] = room[slot] * 31 + from[i];
		to[p] = room[slot] ^ (uint64_t)p;
		room[slot] = 0;
	}
	atomic_store(&shared.in_use[slot], 0);
}

static void
thread_memory(void **s)
{
	enum { SUMS = 24 };
	int64_t pieces[SUMS];
	struct rt_program p = {
	    .abi = RT_ABI, .name = "sums", .ncalls = SUMS, .pieces = pieces, .call = sum_rows};
	size_t n = sizeof(uint64_t) * ROWS * (SUMS + 1);
	uint64_t *want = calloc(1, n), *got = calloc(1, n), *room = calloc(ROWS, sizeof *room);
	void *base[3] = {want, room, NULL};

	(void)s;
	for (int c = 0; c < SUMS; c++)
		pieces[c] = ROWS - c % 3 * 7;
	rt_run(NULL, &p, base, NULL);
	base[0] = got;
	for (int threads = 2; threads <= 5; threads++) {
		struct rt_pool *pool = rt_pool_create(threads);

		for (int i = 0; i < 40; i++) {
			shared.slow = i % 20 == 7;
			memset(got, 0, n);
			rt_run(pool, &p, base, NULL);
			assert_memory_equal(got, want, n);
		}
		rt_pool_destroy(pool);
	}
	assert_int_equal(shared.clashes, 0);
	free(want);
	free(got);
	free(room);
}

/* While one thread is held up in its first piece the other does all that is left. */
static atomic_int others;

static void
hold_up(int32_t c, void *const *base, int64_t *sym, int64_t begin, int64_t end, int64_t slot)
{
	int64_t n = *(int64_t *)base[0];

	(void)c, (void)sym, (void)slot;
	if (begin == 0) /* a chunk: a half of a slice */
		for (int i = 0; i < 2000 && atomic_load(&others) < n - n / 4; i++)
			nanosleep(&(struct timespec){0, 1000000}, NULL);
	else
		atomic_fetch_add(&others, (int)(end - begin));
}

static void
delayed_thread(void **s)
{
	int64_t n = 64, pieces[1] = {n};
	struct rt_program p = {
	    .abi = RT_ABI, .name = "hold", .ncalls = 1, .pieces = pieces, .call = hold_up};
	struct rt_pool *pool = rt_pool_create(2);
	void *base[3] = {&n, NULL, NULL};

	(void)s;
	for (int i = 0; i < 3; i++) {
		atomic_store(&others, 0);
		rt_run(pool, &p, base, NULL);
		assert_int_equal(atomic_load(&others), n - n / 4);
	}
	rt_pool_destroy(pool);
}

/* A program's memory may go once its run is over, whatever the workers do. */
static void
short_lived(void **s)
{
	struct rt_pool *pool = rt_pool_create(4);

	(void)s;
	for (int i = 0; i < 300; i++) {
		int calls = 1 + i % CALLS;
		struct rt_program *p = calloc(1, sizeof *p);
		int64_t *pieces = calloc((size_t)calls, sizeof *pieces);
		uint64_t *data = calloc((size_t)N * (size_t)(calls + 1), sizeof *data);
		void *base[3] = {data, NULL, NULL};

		for (int c = 0; c < calls; c++)
			pieces[c] = (c + i) % 9;
		*p = (struct rt_program){
		    .abi = RT_ABI, .name = "short", .ncalls = calls, .pieces = pieces, .call = mix};
		for (int c = 0; c < calls; c++)
			if (!pieces[c])
				pieces[c] = 1;
		rt_run(pool, p, base, pieces);
		memset(pieces, 0xff, (size_t)calls * sizeof *pieces);
		free(data);
		free(pieces);
		free(p);
	}
	rt_pool_destroy(pool);
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
	const struct CMUnitTest tests[] = {cmocka_unit_test(same_bytes),
	    cmocka_unit_test(thread_memory), cmocka_unit_test(delayed_thread),
	    cmocka_unit_test(short_lived), cmocka_unit_test(idle_pools), cmocka_unit_test(memory)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
