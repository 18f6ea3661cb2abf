/* pool -- SPMD threads.  A run is a list of stages: a call of several pieces, or the
 * calls of one piece between two such.  Pieces do not depend on the number of threads,
 * so neither do results.
 *
 * A stage's pieces are cut into a slice for every thread, a slice into chunks of a half,
 * a quarter, an eighth ... of it.  A thread claims the chunks of its own slice, where its
 * cache has what the stage before left, then those that others have not come to.  Who
 * finishes the last chunk opens the next stage.  Nobody waits for a thread, only for
 * chunks that one has claimed: a thread without a core holds up nobody.
 *
 * Claims are ordered by the stage's number: once a stage is over all words of its slices
 * say so, and a thread that comes late claims nothing and reads nothing of the run.
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
#define CHUNKS 4	/* of a slice, at most */
#define SHORT_FLOPS 2e5 /* of a thread: some microsecond, one chunk */
#define GRACE 16	/* pauses before a thread takes chunks of others */
#define ORDINAL 16	/* bits below a stage's number in words */
#define SHORT 0x8000	/* of a stage: slices are of one chunk */
#define QUIT 0xffff

struct worker {
	struct rt_pool *pool;
	int id;
	pthread_t thread;
};

struct slice {
	_Alignas(
	    64) _Atomic uint64_t taken; /* stage's number, how many of its chunks are claimed */
};

struct rt_pool {
	int n;
	bool crowded; /* more threads than cores: yield at once */
	/* The open stage's number; its pieces, no more of them than tell how slices are cut;
	 * SHORT or not; 0: no stage is open. */
	_Alignas(64) _Atomic uint64_t stage;
	/* in the same line, for those who have claimed a chunk of it: calls, run */
	int32_t call, end;
	const struct rt_program *program;
	void *const *base;
	int64_t *sym;
	int64_t *ns, last;
	_Alignas(64) atomic_int unfinished; /* chunks */
	_Alignas(64) atomic_int sleepers;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	int started;
	struct worker *workers;
	struct slice *slice; /* [n] */
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

/* Until the stage is not `old` any more, or for ns at most; true: it is not. */
static bool
await(struct rt_pool *p, uint64_t old, int64_t ns)
{
	int64_t start = 0;
	bool yielding = p->crowded;

	for (unsigned i = 1;; i++) {
		if (atomic_load_explicit(&p->stage, memory_order_acquire) != old)
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

/* A single piece is thread 0's. */
static int64_t
slice_begin(int64_t pieces, int t, int threads)
{
	return (pieces * t + threads - 1) / threads;
}

/* Chunk k of m pieces begins where m/2^k are left. */
static int
slice_chunks(const struct rt_pool *p, uint64_t stage, int s)
{
	int64_t pieces = stage % SHORT;
	int n = 0;

	if (stage & SHORT)
		return s < pieces;
	if (pieces == (int64_t)p->n << (CHUNKS - 1))
		return CHUNKS;
	for (int64_t m = slice_begin(pieces, s + 1, p->n) - slice_begin(pieces, s, p->n); m;
	    m >>= 1)
		n++;
	return n < CHUNKS ? n : CHUNKS;
}

static void
lap(struct rt_pool *p, int32_t call)
{
	int64_t now;

	if (!p->ns)
		return;
	now = now_ns();
	p->ns[call] += now - p->last;
	p->last = now;
}

/* Opens the stage that begins with p->end, of number `number`. */
static void
open_stage(struct rt_pool *p, uint64_t number)
{
	const struct rt_program *g = p->program;
	int64_t pieces = 0, most = (int64_t)p->n << (CHUNKS - 1);
	uint64_t stage = number << ORDINAL;
	int chunks = 0;

	p->call = p->end;
	if (p->end < g->ncalls) {
		pieces = g->pieces[p->end++] > 1 ? g->pieces[p->call] : 1;
		while (pieces == 1 && p->end < g->ncalls && g->pieces[p->end] <= 1)
			p->end++;
		if (pieces > most) /* slices of CHUNKS chunks all the same */
			pieces = most;
		stage |= (uint64_t)pieces;
		if (g->flops && g->flops[p->call] > 0 && g->flops[p->call] < p->n * SHORT_FLOPS)
			stage |= SHORT;
		for (int s = 0; s < p->n; s++)
			chunks += slice_chunks(p, stage, s);
	}
	atomic_store_explicit(&p->unfinished, chunks, memory_order_relaxed);
	atomic_store(&p->stage, stage);
}

/* A chunk of slice s in this stage, of so many; -1: all are claimed. */
static int
claim(struct rt_pool *p, int s, uint64_t stage, int chunks)
{
	_Atomic uint64_t *word = &p->slice[s].taken;
	uint64_t v = atomic_load_explicit(word, memory_order_relaxed), k;

	do {
		k = v >> ORDINAL == stage >> ORDINAL ? v % (1 << ORDINAL) : 0;
		if (v >> ORDINAL > stage >> ORDINAL || k >= (uint64_t)chunks)
			return -1;
	} while (!atomic_compare_exchange_weak_explicit(word, &v,
	    (stage >> ORDINAL << ORDINAL) + k + 1, memory_order_acq_rel, memory_order_relaxed));
	return (int)k;
}

/* Chunk k of slice s, claimed; *slot: a piece of which this thread may have the memory. */
static void
run_chunk(struct rt_pool *p, int s, int k, int chunks, int64_t *slot)
{
	const struct rt_program *g = p->program;
	int64_t n = g->pieces[p->call], begin = slice_begin(n, s, p->n),
		end = slice_begin(n, s + 1, p->n), m = end - begin;

	if (n <= 1) {
		for (int32_t c = p->call; c < p->end; c++) {
			if (g->pieces[c] > 0)
				g->call(c, p->base, p->sym, 0, 1, 0);
			lap(p, c);
		}
		return;
	}
	begin += m - (m >> k);
	if (k + 1 < chunks)
		end -= m >> (k + 1);
	if (*slot < 0)
		*slot = begin;
	g->call(p->call, p->base, p->sym, begin, end, *slot);
}

/* The chunks of slice s that are left. */
static void
run_slice(struct rt_pool *p, int s, uint64_t stage, int64_t *slot)
{
	int chunks = slice_chunks(p, stage, s), done = 0, k;

	while ((k = claim(p, s, stage, chunks)) >= 0) {
		run_chunk(p, s, k, chunks, slot);
		done++;
	}
	if (done && atomic_fetch_sub_explicit(&p->unfinished, done, memory_order_acq_rel) == done) {
		if (p->program->pieces[p->call] > 1)
			lap(p, p->call);
		open_stage(p, (stage >> ORDINAL) + 1);
	}
}

/* Thread t's part of the stage: its slice, and what others have not come to. */
static void
take_part(struct rt_pool *p, int t, uint64_t stage)
{
	int64_t slot = -1;

	run_slice(p, t, stage, &slot);
	for (int i = 0; i < GRACE; i++) {
		if (atomic_load_explicit(&p->stage, memory_order_relaxed) != stage)
			return;
		relax();
	}
	for (int i = 1; i < p->n; i++)
		run_slice(p, (t + i) % p->n, stage, &slot);
}

static void *
work(void *arg)
{
	struct worker *w = arg;
	struct rt_pool *p = w->pool;
	uint64_t seen = 0;

	for (;;) {
		bool open = seen % (1 << ORDINAL) != 0;

		if (!await(p, seen, open ? 0 : IDLE_NS)) {
			pthread_mutex_lock(&p->lock);
			atomic_fetch_add(&p->sleepers, 1);
			while (atomic_load(&p->stage) == seen)
				pthread_cond_wait(&p->wake, &p->lock);
			atomic_fetch_sub(&p->sleepers, 1);
			pthread_mutex_unlock(&p->lock);
		}
		seen = atomic_load_explicit(&p->stage, memory_order_acquire);
		if (seen % (1 << ORDINAL) == QUIT)
			return NULL;
		take_part(p, w->id, seen);
	}
}

/* Wakes the workers for a new stage.  stage and sleepers are sequentially consistent:
 * either a worker sees the new number before it sleeps, or we see the sleeper. */
static void
wake(struct rt_pool *p)
{
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
	p->slice = rt_alloc((size_t)p->n * sizeof *p->slice);
	if (!p->workers || !p->slice) {
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
		atomic_store(&p->stage, ((p->stage >> ORDINAL) + 1) << ORDINAL | QUIT);
		wake(p);
		for (int i = 1; i <= p->started; i++)
			pthread_join(p->workers[i].thread, NULL);
	}
	free(p->workers);
	rt_free(p->slice);
	pthread_cond_destroy(&p->wake);
	pthread_mutex_destroy(&p->lock);
	rt_free(p);
}

int
rt_pool_threads(const struct rt_pool *p)
{
	return p ? p->n : 1;
}

/* One thread, no atomics. */
static void
walk_alone(const struct rt_program *g, void *const *base, int64_t *sym, int64_t *ns)
{
	int64_t last = ns ? now_ns() : 0;

	for (int32_t c = 0; c < g->ncalls; c++) {
		if (g->pieces[c] > 0)
			g->call(c, base, sym, 0, g->pieces[c], 0);
		if (ns) {
			int64_t now = now_ns();

			ns[c] += now - last;
			last = now;
		}
	}
}

void
rt_run_timed(
    struct rt_pool *p, const struct rt_program *g, void *const *base, int64_t *sym, int64_t *ns)
{
	if (!p || p->n == 1) {
		walk_alone(g, base, sym, ns);
		return;
	}
	if (g->ncalls <= 0)
		return;
	uint64_t stage = atomic_load_explicit(&p->stage, memory_order_relaxed);

	p->program = g;
	p->base = base;
	p->sym = sym;
	p->ns = ns;
	p->last = ns ? now_ns() : 0;
	p->end = 0;
	open_stage(p, (stage >> ORDINAL) + 1);
	wake(p);
	for (;;) {
		stage = atomic_load_explicit(&p->stage, memory_order_acquire);
		if (stage % (1 << ORDINAL) == 0)
			return;
		take_part(p, 0, stage);
		await(p, stage, 0);
	}
}

void
rt_run(struct rt_pool *p, const struct rt_program *g, void *const *base, int64_t *sym)
{
	rt_run_timed(p, g, base, sym, NULL);
}
