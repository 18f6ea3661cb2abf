/* pool -- SPMD threads.  One fork per run: every thread walks the same list of
 * calls, takes the slice of each call's pieces that its number gives it, and
 * meets the others at a spin barrier where data crosses.  Pieces do not depend
 * on the number of threads, so neither do results.
 *
 * A call with one piece is thread 0's.  Between two such calls no barrier is
 * needed: program order of thread 0 is the order.
 *
 * Waiting: spin with pause, after SPIN_NS yield (a preempted partner must get a
 * core).  Between runs workers spin for IDLE_NS, then sleep on a condition
 * variable; waking costs some 40 us, so a busy caller never pays it. */
#include "runtime/abi.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define SPIN_NS 30000
#define IDLE_NS 1000000
#define MAX_THREADS 256

struct worker {
	struct rt_pool *pool;
	int id;
	pthread_t thread;
};

struct rt_pool {
	int n;
	bool crowded; /* more threads than cores: yield at once */
	/* the run in progress, written by thread 0 before `run` moves */
	const struct rt_program *program;
	void *const *base;
	int64_t *sym;
	int64_t *ns;
	bool quit;
	_Alignas(64) atomic_uint run; /* number of the run */
	_Alignas(64) atomic_uint arrived;
	_Alignas(64) atomic_uint phase; /* number of the barrier */
	_Alignas(64) atomic_int sleepers;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	int started;
	struct worker *workers;
};

static inline void
relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield");
#endif
}

static int64_t
now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* Until *word differs from old, or for ns at most; true: it differs. */
static bool
await(const struct rt_pool *p, atomic_uint *word, unsigned old, int64_t ns)
{
	int64_t start = 0;
	bool yielding = p->crowded;

	for (unsigned i = 1;; i++) {
		if (atomic_load_explicit(word, memory_order_acquire) != old)
			return true;
		relax();
		if (yielding)
			sched_yield();
		if (i % (yielding ? 8 : 256))
			continue;
		int64_t t = now_ns();

		if (!start)
			start = t;
		if (t - start > SPIN_NS)
			yielding = true;
		if (ns && t - start > ns)
			return false;
	}
}

static void
barrier(struct rt_pool *p)
{
	unsigned phase = atomic_load_explicit(&p->phase, memory_order_relaxed);

	if (atomic_fetch_add_explicit(&p->arrived, 1, memory_order_acq_rel) + 1 == (unsigned)p->n) {
		atomic_store_explicit(&p->arrived, 0, memory_order_relaxed);
		atomic_store_explicit(&p->phase, phase + 1, memory_order_release);
		return;
	}
	await(p, &p->phase, phase, 0);
}

/* Thread t's part of one run.  The last barrier is the caller's sign that all
 * threads are done with the caller's memory and with the fields of the run: past
 * it nothing of p is read but by the next run. */
static void
walk(struct rt_pool *p, int t)
{
	const struct rt_program *g = p->program;
	void *const *base = p->base;
	int64_t *sym = p->sym;
	int64_t *ns = t == 0 ? p->ns : NULL, last = ns ? now_ns() : 0;
	int threads = p->n;
	int32_t ncalls = g->ncalls;

	for (int32_t c = 0; c < ncalls; c++) {
		int64_t n = g->pieces[c];
		int64_t begin = n * t / threads, end = n * (t + 1) / threads;

		if (n <= 1) {
			begin = 0;
			end = t == 0 ? n : 0;
		}
		if (begin < end)
			g->call(c, base, sym, begin, end);
		if (n > 1 || c + 1 == ncalls || g->pieces[c + 1] > 1)
			barrier(p);
		if (ns) {
			int64_t now = now_ns();

			ns[c] += now - last;
			last = now;
		}
	}
}

static void *
work(void *arg)
{
	struct worker *w = arg;
	struct rt_pool *p = w->pool;
	unsigned seen = 0;

	for (;;) {
		if (!await(p, &p->run, seen, IDLE_NS)) {
			pthread_mutex_lock(&p->lock);
			atomic_fetch_add(&p->sleepers, 1);
			while (atomic_load(&p->run) == seen)
				pthread_cond_wait(&p->wake, &p->lock);
			atomic_fetch_sub(&p->sleepers, 1);
			pthread_mutex_unlock(&p->lock);
		}
		seen++;
		if (p->quit)
			return NULL;
		walk(p, w->id);
	}
}

/* Lets the workers go.  run and sleepers are sequentially consistent: either
 * the worker sees the new number before it sleeps, or we see the sleeper. */
static void
release(struct rt_pool *p)
{
	atomic_fetch_add(&p->run, 1);
	if (atomic_load(&p->sleepers) > 0) {
		pthread_mutex_lock(&p->lock);
		pthread_cond_broadcast(&p->wake);
		pthread_mutex_unlock(&p->lock);
	}
}

struct rt_pool *
rt_pool_create(int threads)
{
	struct rt_pool *p = rt_alloc(sizeof *p);
	cpu_set_t set;

	if (!p)
		return NULL;
	p->n = threads < 1 ? 1 : threads > MAX_THREADS ? MAX_THREADS : threads;
	if (sched_getaffinity(0, sizeof set, &set) == 0)
		p->crowded = p->n > CPU_COUNT(&set);
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->wake, NULL);
	if (p->n == 1)
		return p;
	p->workers = calloc((size_t)p->n, sizeof *p->workers);
	if (!p->workers) {
		p->n = 1;
		rt_pool_destroy(p);
		return NULL;
	}
	for (int i = 1; i < p->n; i++) {
		struct worker *w = &p->workers[i];

		w->pool = p;
		w->id = i;
		if (pthread_create(&w->thread, NULL, work, w) != 0) {
			rt_pool_destroy(p);
			return NULL;
		}
		p->started = i;
	}
	return p;
}

void
rt_pool_destroy(struct rt_pool *p)
{
	if (!p)
		return;
	if (p->started) {
		p->quit = true;
		release(p);
		for (int i = 1; i <= p->started; i++)
			pthread_join(p->workers[i].thread, NULL);
	}
	free(p->workers);
	pthread_cond_destroy(&p->wake);
	pthread_mutex_destroy(&p->lock);
	rt_free(p);
}

int
rt_pool_threads(const struct rt_pool *p)
{
	return p ? p->n : 1;
}

/* One thread, no atomics; p may be NULL. */
static void
walk_alone(const struct rt_program *g, void *const *base, int64_t *sym, int64_t *ns)
{
	int64_t last = ns ? now_ns() : 0;

	for (int32_t c = 0; c < g->ncalls; c++) {
		if (g->pieces[c] > 0)
			g->call(c, base, sym, 0, g->pieces[c]);
		if (ns) {
			int64_t now = now_ns();

			ns[c] += now - last;
			last = now;
		}
	}
}

void
rt_run_timed(struct rt_pool *p, const struct rt_program *g, void *const *base, int64_t *sym,
    int64_t *ns)
{
	if (!p || p->n == 1) {
		walk_alone(g, base, sym, ns);
		return;
	}
	if (g->ncalls <= 0)
		return;
	p->program = g;
	p->base = base;
	p->sym = sym;
	p->ns = ns;
	release(p);
	walk(p, 0);
}

void
rt_run(struct rt_pool *p, const struct rt_program *g, void *const *base, int64_t *sym)
{
	rt_run_timed(p, g, base, sym, NULL);
}
