/* loader -- batches made ahead of the step: worker threads gather, decode, augment and
 * convert samples into the slots of two rings, one of training and one of evaluation,
 * and the programs' inputs point into a slot; the training thread copies nothing.
 *
 * What a slot holds is a function of its position alone (batch.c, augment.c), so
 * neither the number of threads nor their speed shows.  Training goes on across epochs;
 * an evaluation begins again after its last batch.  Whoever asks for another position
 * than the next (a stage, a resume, another split) has the ring start over there. */
#include "runtime/trainer.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define LEAST_SLOTS 4  /* one in use, two ahead, one being made */
#define MOST_SLOTS 16  /* of small batches: workers are woken less often */
#define SMALL_BYTES (4 << 20)

/* ---- one input of a batch */

/* A row where it can be read: in memory, or made into m->row. */
static const unsigned char *
row_of(struct maker *m, const struct rt_array *a, int64_t row)
{
	const unsigned char *p = rt_array_held(a, row);

	if (p)
		return p;
	return rt_array_row(a, row, m->row, m->msg) ? m->row : NULL;
}

/* Row j of a part, augmented; to may hold only its beginning. */
static bool
make_row(struct maker *m, const struct feed *f, const struct part *p, enum split k, bool augment,
    int64_t j, unsigned char *to)
{
	const struct dset *set = &m->run->data.sets[p->set];
	const struct cfg_field *c = &set->cfg->fields[p->field];
	int64_t row = m->batches->rows[p->set][j];
	const unsigned char *from = row_of(m, &set->arrays[set->split[k].source][p->field], row);
	bool whole = f->row_bytes == c->row_bytes;

	if (!from)
		return false;
	if (!augment) {
		memcpy(to, from, (size_t)f->row_bytes);
		return true;
	}
	if (from != m->row)
		memcpy(whole ? to : m->row, from, (size_t)c->row_bytes);
	else if (whole)
		memcpy(to, from, (size_t)c->row_bytes);
	augment_row(m->aug, c, whole ? to : m->row, m->batches->draws[p->set][j], p->set, row);
	if (!whole)
		memcpy(to, m->row, (size_t)f->row_bytes);
	return true;
}

static bool
make_field(struct maker *m, const struct feed *f, enum split k, bool augment, unsigned char *to)
{
	augment &= k == SPLIT_TRAIN && m->run->cfg.naugments > 0;
	for (int i = 0; i < f->nparts; i++) {
		const struct part *p = &f->parts[i];
		const struct cfg_field *c = &m->run->data.sets[p->set].cfg->fields[p->field];
		unsigned char *rows = to + p->at;
		/* the partner's own; but what is mixed is its own partner */
		bool next = f->kind == FEED_PAIR &&
			    !(augment && augment_mixes_field(m->aug, c, p->set, m->batches->step));

		for (int64_t j = 0; j < p->rows; j++)
			if (!make_row(m, f, p, k, augment, next ? (j + 1) % p->rows : j,
				rows + j * f->row_bytes))
				return false;
		if (augment && !next && f->row_bytes == c->row_bytes)
			augment_batch(m->aug, c, rows, p->rows, p->set, m->batches->step);
	}
	return true;
}

static void
make_share(struct maker *m, const struct feed *f, bool augment, float *to)
{
	const struct config *c = &m->run->cfg;

	for (int s = 0; s < c->nsets; s++)
		for (int64_t j = 0; (f->set < 0 || f->set == s) && j < c->sets[s].batch; j++)
			*to++ = augment ? (float)augment_share(m->aug, s, m->batches->step) : 1;
}

static void
make_index(struct maker *m, const struct feed *f, int64_t *to)
{
	const struct dataset *d = &m->run->data;
	int64_t first = 0;

	for (int s = 0; s < d->nsets; first += d->sets[s++].rows[SPLIT_TRAIN])
		for (int64_t j = 0; (f->set < 0 || f->set == s) && j < d->sets[s].cfg->batch; j++)
			*to++ = first + m->batches->rows[s][j];
}

static void
make_teacher(struct maker *m, const struct feed *f, enum split k, bool augment, unsigned char *to)
{
	const struct cached *c = &m->run->caches[f->cached];

	augment &= k == SPLIT_TRAIN && m->run->cfg.naugments > 0;

	for (int i = 0; i < c->nsets; i++) {
		const struct dset *set = &m->run->data.sets[c->sets[i]];
		int source = set->split[k].source;

		if (f->set >= 0 && c->sets[i] != f->set)
			continue;
		for (int64_t j = 0; j < set->cfg->batch; j++, to += f->row_bytes)
			cached_row(c, source, c->sets[i], m->batches->rows[c->sets[i]][j],
			    augment ? m->batches->draws[c->sets[i]][j] : c->versions[source] - 1, to);
	}
}

bool
feed_make(struct maker *m, const struct feed *f, enum split k, bool augment, void *to)
{
	switch (f->kind) {
	case FEED_FIELD:
	case FEED_PAIR:
		return make_field(m, f, k, augment, to);
	case FEED_TEACHER:
		make_teacher(m, f, k, augment, to);
		return true;
	case FEED_SHARE:
		make_share(m, f, augment, to);
		return true;
	case FEED_INDEX:
		make_index(m, f, to);
		return true;
	default:
		return true;
	}
}

/* ---- rings */
enum slot_state { EMPTY, MAKING, READY };
struct slot {
	enum slot_state state;
	int program;
	int64_t *valid; /* [sets] */
	void **buf;	/* by feed.ring */
	struct rt_msg msg;
};
struct ring {
	int n, ninputs;
	struct slot *slot;
	const char **name; /* [ninputs] */
	int64_t *bytes;
	enum split split;
	int64_t stage, from, cycle; /* batch i is step from+i, of cycle where that is not 0 */
	int64_t made, taken;	    /* batches since the start */
	bool on;
};
struct worker {
	struct run *run;
	struct batches batches;
	struct augmenter aug;
	unsigned char *row;
	pthread_t thread;
};
struct loader {
	struct ring ring[2]; /* training, evaluation */
	int nworkers, asleep;
	struct worker *workers;
	struct ring *first; /* the one that is being read */
	bool quit;
	double cpu; /* seconds that batches took to make since it was last asked */
	pthread_mutex_t lock;
	pthread_cond_t work, ready;
};

static bool
oom(struct run *r)
{
	return rt_fail(&r->msg, RT_INTERNAL, "out of memory for batches");
}

/* Inputs of one name in several programs are one buffer, as large as the largest. */
static bool
add_inputs(struct ring *g, struct exec *e, struct run *r)
{
	for (int i = 0; i < e->p->ninputs; i++) {
		const struct rt_tensor *t = &e->p->inputs[i];
		int k = 0;

		if (e->feeds[i].kind > FEED_NUMBERS)
			continue;
		while (k < g->ninputs && strcmp(g->name[k], t->name) != 0)
			k++;
		if (k == g->ninputs) {
			const char **name = region_alloc(&r->region, sizeof *name * (size_t)(k + 1));
			int64_t *bytes = region_alloc(&r->region, sizeof *bytes * (size_t)(k + 1));

			if (!name || !bytes)
				return oom(r);
			for (int j = 0; j < k; j++) {
				name[j] = g->name[j];
				bytes[j] = g->bytes[j];
			}
			g->name = name;
			g->bytes = bytes;
			g->name[k] = t->name;
			g->ninputs++;
		}
		if (t->bytes > g->bytes[k])
			g->bytes[k] = t->bytes;
		e->feeds[i].ring = k;
	}
	for (int i = 0; i < e->nmore; i++)
		if (!add_inputs(g, &e->more[i], r))
			return false;
	return true;
}

static bool
open_ring(struct ring *g, struct run *r)
{
	int64_t bytes = 1;

	for (int k = 0; k < g->ninputs; k++)
		bytes += g->bytes[k];
	g->n = (int)(SMALL_BYTES / bytes);
	g->n = g->n < LEAST_SLOTS ? LEAST_SLOTS : g->n > MOST_SLOTS ? MOST_SLOTS : g->n;
	g->n += r->loader->nworkers - 1;
	g->slot = region_alloc(&r->region, sizeof *g->slot * (size_t)g->n);
	if (!g->slot)
		return oom(r);
	for (int i = 0; i < g->n; i++) {
		struct slot *s = &g->slot[i];

		s->buf = region_alloc(&r->region, sizeof *s->buf * (size_t)(g->ninputs + 1));
		s->valid = region_alloc(&r->region, sizeof *s->valid * (size_t)r->cfg.nsets);
		if (!s->buf || !s->valid)
			return oom(r);
		for (int k = 0; k < g->ninputs; k++)
			if (!(s->buf[k] = rt_alloc((size_t)g->bytes[k])))
				return oom(r);
	}
	return true;
}

static struct exec *
program_of(struct run *r, const struct ring *g, int program)
{
	struct exec *e = g->split == SPLIT_TRAIN ? &r->train[g->stage] : &r->eval;

	return program > 0 ? &e->more[program - 1] : e;
}

/* ---- workers */
static bool
make(struct worker *w, const struct ring *g, struct slot *s, int64_t step)
{
	struct maker m = {w->run, &w->batches, &w->aug, w->row, &s->msg};
	const struct exec *e;
	bool train = g->split == SPLIT_TRAIN;

	if (train)
		batches_train(&w->batches, step);
	else
		batches_eval(&w->batches, g->split, step);
	s->program = w->batches.program;
	memcpy(s->valid, w->batches.valid, sizeof *s->valid * (size_t)w->run->cfg.nsets);
	e = program_of(w->run, g, s->program);
	for (int i = 0; i < e->p->ninputs; i++)
		if (e->feeds[i].ring >= 0 &&
		    !feed_make(&m, &e->feeds[i], g->split, train, s->buf[e->feeds[i].ring]))
			return false;
	return true;
}

/* The ring that needs a batch most: the one that is read, then the other. */
static struct ring *
hungry(struct loader *l)
{
	for (int i = 0; i < 2; i++) {
		struct ring *g = (l->first == &l->ring[1]) ^ i ? &l->ring[1] : &l->ring[0];

		if (g->on && g->slot[g->made % g->n].state == EMPTY)
			return g;
	}
	return NULL;
}

static double
cpu_seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void *
work(void *arg)
{
	struct worker *w = arg;
	struct loader *l = w->run->loader;

	pthread_mutex_lock(&l->lock);
	while (!l->quit) {
		struct ring *g = hungry(l);

		if (!g) {
			l->asleep++;
			pthread_cond_wait(&l->work, &l->lock);
			l->asleep--;
			continue;
		}
		struct slot *s = &g->slot[g->made % g->n];
		int64_t step = g->from + g->made++;

		if (g->cycle)
			step %= g->cycle;
		s->state = MAKING;
		s->msg.status = 0;
		pthread_mutex_unlock(&l->lock);
		double before = cpu_seconds();

		make(w, g, s, step);
		before = cpu_seconds() - before;
		pthread_mutex_lock(&l->lock);
		l->cpu += before;
		s->state = READY;
		pthread_cond_signal(&l->ready);
	}
	pthread_mutex_unlock(&l->lock);
	return NULL;
}

/* Signals are the training thread's. */
static bool
start_workers(struct run *r)
{
	struct loader *l = r->loader;
	sigset_t all, old;
	bool ok = true;

	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &old);
	for (int i = 0; ok && i < (int)r->cfg.workers; i++) {
		struct worker *w = &l->workers[i];

		w->run = r;
		w->row = region_alloc(&r->region, longest_row(&r->cfg));
		ok = (w->row || oom(r)) &&
		     batches_copy(&w->batches, &r->batches, &r->region, &r->msg) &&
		     augmenter_open(&w->aug, &r->cfg, r->seed, &r->region, &r->msg) &&
		     (pthread_create(&w->thread, NULL, work, w) == 0 ||
			 rt_fail(&r->msg, RT_INTERNAL, "no thread can be made to load data"));
		if (ok)
			l->nworkers++;
	}
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return ok;
}

bool
loader_open(struct run *r)
{
	struct loader *l = region_alloc(&r->region, sizeof *l);

	if (!l)
		return oom(r);
	r->loader = l;
	l->first = &l->ring[0];
	pthread_mutex_init(&l->lock, NULL);
	pthread_cond_init(&l->work, NULL);
	pthread_cond_init(&l->ready, NULL);
	l->workers = region_alloc(&r->region, sizeof *l->workers * (size_t)r->cfg.workers);
	if (!l->workers)
		return oom(r);
	for (int i = 0; i < r->t->nstages; i++)
		if (!add_inputs(&l->ring[0], &r->train[i], r))
			return false;
	if (r->has_eval && !add_inputs(&l->ring[1], &r->eval, r))
		return false;
	l->nworkers = (int)r->cfg.workers;
	if (!open_ring(&l->ring[0], r) || !open_ring(&l->ring[1], r))
		return false;
	l->nworkers = 0;
	return start_workers(r);
}

void
loader_close(struct run *r)
{
	struct loader *l = r->loader;

	if (!l)
		return;
	pthread_mutex_lock(&l->lock);
	l->quit = true;
	pthread_cond_broadcast(&l->work);
	pthread_mutex_unlock(&l->lock);
	for (int i = 0; i < l->nworkers; i++)
		pthread_join(l->workers[i].thread, NULL);
	for (int g = 0; g < 2; g++)
		for (int i = 0; l->ring[g].slot && i < l->ring[g].n; i++)
			for (int k = 0; l->ring[g].slot[i].buf && k < l->ring[g].ninputs; k++)
				rt_free(l->ring[g].slot[i].buf[k]);
	r->loader = NULL;
}

double
loader_cpu(struct run *r)
{
	double s;

	pthread_mutex_lock(&r->loader->lock);
	s = r->loader->cpu;
	r->loader->cpu = 0;
	pthread_mutex_unlock(&r->loader->lock);
	return s;
}

/* ---- reading */

/* Batches from `step` on; those on their way are waited for. */
static void
start_over(struct run *r, struct ring *g, enum split k, int64_t step)
{
	struct loader *l = r->loader;

	g->on = false;
	for (int i = 0; i < g->n; i++) {
		while (g->slot[i].state == MAKING)
			pthread_cond_wait(&l->ready, &l->lock);
		g->slot[i].state = EMPTY;
	}
	g->split = k;
	g->stage = r->cur.stage;
	g->from = step;
	g->cycle = k == SPLIT_TRAIN ? 0 : batches_eval_steps(&r->batches, k);
	g->made = g->taken = 0;
	g->on = true;
	pthread_cond_broadcast(&l->work);
}

static bool
follows(const struct run *r, const struct ring *g, enum split k, int64_t step)
{
	int64_t next = g->from + g->taken;

	if (!g->on || g->split != k || (k == SPLIT_TRAIN && g->stage != r->cur.stage))
		return false;
	return step == (g->cycle ? next % g->cycle : next);
}

/* The slot read last may be filled again; workers that sleep are woken for a quarter of
 * the ring at once. */
static void
release(struct loader *l, struct ring *g)
{
	if (g->taken == 0)
		return;
	g->slot[(g->taken - 1) % g->n].state = EMPTY;
	if (l->asleep && g->taken + g->n - g->made >= g->n / 4)
		pthread_cond_broadcast(&l->work);
}

struct exec *
loader_next(struct run *r, enum split k, int64_t step, double lr, int64_t update)
{
	struct loader *l = r->loader;
	struct ring *g = &l->ring[k != SPLIT_TRAIN];
	double start = 0;
	struct slot *s;
	struct exec *e;

	pthread_mutex_lock(&l->lock);
	l->first = g;
	if (follows(r, g, k, step))
		release(l, g);
	else
		start_over(r, g, k, step);
	s = &g->slot[g->taken % g->n];
	while (s->state != READY) {
		if (start == 0)
			start = rt_seconds();
		pthread_cond_wait(&l->ready, &l->lock);
	}
	g->taken++;
	pthread_mutex_unlock(&l->lock);
	if (start > 0)
		r->data_wait += rt_seconds() - start;
	if (s->msg.status) {
		rt_fail(&r->msg, s->msg.status, "%s", s->msg.text);
		return NULL;
	}
	e = program_of(r, g, s->program);
	for (int i = 0; i < e->p->ninputs; i++)
		if (e->feeds[i].ring >= 0)
			e->base[3 + i] = e->feeds[i].buf = s->buf[e->feeds[i].ring];
	exec_numbers(e, r, s->valid, lr, update);
	return e;
}
