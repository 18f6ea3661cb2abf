/* trainer -- the main of every trainer executable: sets the run up, walks stages,
 * epochs and steps, evaluates, keeps the best, leaves what a user came for.
 *
 * Everything random is a function of seed and position, everything summed is
 * summed in order, and the cursor is all the position there is: a resumed run
 * ends with the bytes of an uninterrupted one. */
#include "runtime/trainer.h"

#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

/* Epochs shorter than this share a checkpoint. */
#define EPOCH_CHECKPOINT_SECONDS 1.0
#define TRIAL_STEPS 8
#define TRIAL_SECONDS 10.0

static volatile sig_atomic_t stop;

/* The first signal asks, the second one kills. */
static void
on_signal(int s)
{
	stop = 1;
	signal(s, SIG_DFL);
}

bool
run_stopping(void)
{
	return stop;
}

static bool
oom(struct run *r)
{
	return rt_fail(&r->msg, RT_INTERNAL, "out of memory");
}

/* ---- setting up */
static bool
read_config(struct run *r)
{
	const struct rt_trainer *t = r->t;

	if (t->abi != RT_ABI || t->nstages < 1)
		return rt_fail(
		    &r->msg, RT_INTERNAL, "compiled for runtime %u, this is %u", t->abi, RT_ABI);
	if (!config_parse(&r->cfg, t->config, &r->region, &r->msg))
		return false;
	if (r->opt.batch > 0 && r->opt.batch != r->cfg.batch)
		return rt_fail(&r->msg, RT_USAGE,
		    "--batch %lld: this trainer was compiled for a batch of %lld; change `batch` "
		    "in the "
		    "recipe and compile again",
		    (long long)r->opt.batch, (long long)r->cfg.batch);
	r->stages = region_alloc(&r->region, sizeof *r->stages * (size_t)t->nstages);
	r->train = region_alloc(&r->region, sizeof *r->train * (size_t)t->nstages);
	if (!r->stages || !r->train)
		return oom(r);
	for (int i = 0; i < t->nstages; i++) {
		struct stage_config *s = &r->stages[i];

		if (!stage_config_parse(s, t->stages[i].config, &r->region, &r->msg))
			return false;
		if (r->opt.epochs > 0)
			s->epochs = r->opt.epochs;
		if (r->opt.lr >= 0) {
			s->schedule.max_lr *= s->lr > 0 ? r->opt.lr / s->lr : 1;
			s->lr = r->opt.lr;
		}
	}
	task_weights_begin(r);
	r->seed = (uint64_t)(r->opt.has_seed ? r->opt.seed : r->cfg.seed);
	r->out = r->opt.out ? r->opt.out : ".";
	r->checkpoints = r->opt.checkpoints ? r->opt.checkpoints
					    : region_printf(&r->region, "%s/checkpoints", r->out);
	r->cache_dir = r->opt.cache	   ? r->opt.cache
		       : r->cfg.cache_path ? r->cfg.cache_path
					   : region_printf(&r->region, "%s/cache", r->out);
	return (r->checkpoints && r->cache_dir) || oom(r);
}

static double
program_flops(const struct rt_program *p)
{
	double sum = 0;

	for (int i = 0; p->flops && i < p->ncalls; i++)
		sum += p->flops[i];
	return sum;
}

static void
plan_work(struct run *r)
{
	const struct rt_trainer *t = r->t;

	for (int i = 0; i < t->nstages; i++)
		for (int k = -2; k < t->stages[i].nmore; k++) {
			const struct rt_program *p = k == -2 ? t->stages[i].share
						   : k == -1 ? t->stages[i].train
							     : t->stages[i].more[k];

			if (p && p->work_bytes > r->work_bytes)
				r->work_bytes = p->work_bytes;
		}
	for (int i = 0; i < t->ncached; i++)
		if (t->cached[i]->work_bytes > r->work_bytes)
			r->work_bytes = t->cached[i]->work_bytes;
	if (t->eval && t->eval->work_bytes > r->work_bytes)
		r->work_bytes = t->eval->work_bytes;
}

static bool
load_data(struct run *r)
{
	bool shuffle = r->cfg.shuffle && !r->opt.no_shuffle;

	if (!dataset_open(&r->data, &r->cfg, r->opt.data, &r->region, &r->msg))
		return false;
	if (r->cfg.patience > 0 && !dataset_has(&r->data, SPLIT_VAL))
		return rt_fail(&r->msg, RT_INVALID,
		    "early stopping needs a val split: add `val: {from: train, fraction: 0.1}` to "
		    "the recipe");
	if (!batches_open(&r->batches, &r->data, r->seed, shuffle, r->cfg.drop_last, &r->region, &r->msg))
		return false;
	r->batches.variants = r->cfg.cache_variants;
	return augmenter_open(&r->aug, &r->cfg, r->seed, &r->region, &r->msg) &&
	       ((r->row = region_alloc(&r->region, longest_row(&r->cfg))) || oom(r));
}

static bool
open_programs(struct run *r)
{
	r->work = rt_alloc((size_t)r->work_bytes);
	r->pool = rt_pool_create(
	    r->opt.threads > 0 ? (int)(r->opt.threads < 256 ? r->opt.threads : 256) : rt_cpus());
	r->trial.on = r->opt.threads < 0 && r->pool && rt_pool_threads(r->pool) > 1;
	if (dataset_has(&r->data, SPLIT_VAL))
		r->best = rt_alloc((size_t)r->states.bytes);
	if (states_averaged(&r->states))
		r->averaged = rt_alloc((size_t)r->states.bytes);
	if (!r->work || !r->pool || (dataset_has(&r->data, SPLIT_VAL) && !r->best) ||
	    (states_averaged(&r->states) && !r->averaged))
		return rt_fail(&r->msg, RT_INTERNAL,
		    "out of memory: the step needs %lld bytes, the weights %lld",
		    (long long)r->work_bytes, (long long)r->states.bytes);
	if (!cache_open(r))
		return false;
	for (int i = 0; i < r->t->nstages; i++)
		if (!exec_open_stage(&r->train[i], &r->t->stages[i], r))
			return false;
	r->has_eval = r->t->eval != NULL;
	if (r->has_eval && !(exec_open(&r->eval, r->t->eval, r) && answers_open(r)))
		return false;
	if (!shares_open(r))
		return false;
	memory_settle(r);
	return r->opt.bench_steps > 0 || loader_open(r);
}

static void
close_run(struct run *r)
{
	loader_close(r);
	for (int i = 0; r->train && i < r->t->nstages; i++)
		exec_close(&r->train[i]);
	exec_close(&r->eval);
	shares_close(r);
	outputs_close(r);
	progress_close(r);
	cache_close(r);
	rt_pool_destroy(r->pool);
	rt_free(r->work);
	rt_free(r->best);
	rt_free(r->averaged);
	states_close(&r->states);
	dataset_close(&r->data);
	free(r->begun);
	region_free(&r->region);
}

/* ---- --bench-steps */
static int
by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

struct cost {
	double ms;
	int call;
};

static int
dearer(const void *a, const void *b)
{
	double x = ((const struct cost *)a)->ms, y = ((const struct cost *)b)->ms;

	return (x < y) - (x > y);
}

/* The least time of every kernel in n steps. */
static bool
profile(struct run *r, struct exec *e, int64_t n)
{
	int64_t *ns = calloc((size_t)e->p->ncalls + 1, sizeof *ns);
	struct cost *c = calloc((size_t)e->p->ncalls + 1, sizeof *c);

	for (int64_t i = 0; ns && c && i < n; i++) {
		memset(ns, 0, sizeof *ns * (size_t)e->p->ncalls);
		rt_run_timed(r->pool, e->p, e->base, NULL, ns);
		for (int j = 0; j < e->p->ncalls; j++)
			if (i == 0 || (double)ns[j] / 1e6 < c[j].ms)
				c[j] = (struct cost){(double)ns[j] / 1e6, j};
	}
	if (ns && c) {
		qsort(c, (size_t)e->p->ncalls, sizeof *c, dearer);
		for (int i = 0; i < e->p->ncalls; i++)
			printf("%9.4f %8.1f  %s\n", c[i].ms,
			    c[i].ms > 0 ? e->p->flops[c[i].call] / 1e6 / c[i].ms : 0,
			    e->p->call_names[c[i].call]);
	}
	bool ok = ns && c;
	free(ns);
	free(c);
	return ok || oom(r);
}

static bool
bench(struct run *r)
{
	int64_t n = r->opt.bench_steps < 10000000 ? r->opt.bench_steps : 10000000;
	double *ms = malloc(sizeof *ms * (size_t)n);
	struct exec *e = &r->train[0];
	struct memory_plan plan;

	if (!ms)
		return oom(r);
	memory_plan(r, &plan);
	batches_train(&r->batches, 0);
	if (r->batches.program > 0)
		e = &e->more[r->batches.program - 1];
	if (!exec_fill(e, r, SPLIT_TRAIN, true))
		return false;
	exec_numbers(e, r, r->batches.valid, schedule_lr(&r->stages[0], 0, 1, 1, 1), 1);
	for (int i = 0; i < 3; i++)
		exec_run(e, r);
	for (int64_t i = 0; i < n; i++) {
		double t = rt_seconds();

		exec_run(e, r);
		ms[i] = 1e3 * (rt_seconds() - t);
	}
	qsort(ms, (size_t)n, sizeof *ms, by_value);
	printf("{\"step_ms_min\": %.6g, \"step_ms_median\": %.6g, \"threads\": %d, "
	       "\"arena_bytes\": %lld, \"steps\": %lld, "
	       "\"batch\": %lld, \"flops\": %.6g, ",
	    ms[0], ms[n / 2], rt_pool_threads(r->pool),
	    (long long)(r->work_bytes + r->states.bytes), (long long)n, (long long)r->cfg.batch,
	    program_flops(e->p));
	memory_json(stdout, &plan);
	puts("}");
	free(ms);
	return !r->opt.profile || profile(r, e, n);
}

/* ---- steps */
bool
run_out_of_steps(const struct run *r)
{
	return (r->opt.steps > 0 && r->cur.total_updates >= r->opt.steps) ||
	       (r->opt.until > 0 &&
		   r->cur.total_epochs + (r->cur.step == r->batches.per_epoch) >= r->opt.until);
}

bool
run_exports_best(const struct run *r)
{
	return r->has_best && r->cfg.restore_best;
}

double
run_elapsed(const struct run *r)
{
	return r->resumed_seconds + rt_seconds() - r->resumed_at;
}

static double
unsigned_nan(double v)
{
	return isnan(v) ? fabs(v) : v;
}

/* Steps of all epochs of all stages. */
static int64_t
position(const struct run *r)
{
	return r->cur.total_epochs * r->batches.per_epoch + r->cur.step;
}

/* Over a step whose loss, or with the trap set a weight, is not finite. */
static bool
diverged(struct run *r, const struct exec *e, const char *what)
{
	char terms[200] = "", first[700];
	int n = 0;

	batches_train(&r->batches, position(r)); /* whose samples the message names */
	if (!trap_data(r, e, SPLIT_TRAIN))
		return false;
	trap_text(r, e, first, sizeof first);
	for (int i = 0; i < e->nmeters && n < (int)sizeof terms - 80; i++)
		if (e->meters[i].num >= 0 && strncmp(e->meters[i].name, "term.", 5) == 0)
			n += snprintf(terms + n, sizeof terms - (size_t)n, " %.60s %g",
			    e->meters[i].name + 5, unsigned_nan(exec_output(e, e->meters[i].num)));
	return rt_fail(&r->msg, RT_DIVERGED,
	    "%.60s is not finite at epoch %lld step %lld (update %lld)%s%s%s; try a "
	    "lower learning rate or a warm-up; checkpoints are as they were",
	    what, (long long)r->cur.epoch + 1, (long long)r->cur.step + 1,
	    (long long)r->cur.total_updates + 1, n ? "; terms:" : "", terms, first);
}

/* The window of accumulation that the next step belongs to: which of its *steps, from
 * 0.  An epoch's last window has what is left. */
int64_t
run_window(const struct run *r, int64_t *steps)
{
	int64_t k = r->stages[r->cur.stage].accumulate, at = r->cur.step % k;
	int64_t left = r->batches.per_epoch - (r->cur.step - at);

	*steps = left < k ? left : k;
	return at;
}

int64_t
run_epoch_updates(const struct run *r, int64_t stage)
{
	int64_t k = r->stages[stage].accumulate;

	return (r->batches.per_epoch + k - 1) / k;
}

double
run_momentum(const struct run *r, int64_t update)
{
	const struct stage_config *s = &r->stages[r->cur.stage];

	return schedule_momentum(s, update, s->epochs * run_epoch_updates(r, r->cur.stage));
}

/* The step's rate is a function of its number alone, but for plateau's factor. */
static double
rate(const struct run *r, int64_t update)
{
	const struct stage_config *s = &r->stages[r->cur.stage];
	int64_t per_epoch = run_epoch_updates(r, r->cur.stage);

	return schedule_lr(s, update, s->epochs * per_epoch, per_epoch, r->cur.plateau.scale);
}

/* Without --threads: some steps on all threads, some on one, the faster way from
 * then on, and the same again now and then, since other programs come and go. */
static void
run_step(struct run *r, struct exec *e)
{
	struct trial *t = &r->trial;
	double start = rt_seconds(), s;

	if (!t->on && t->next > 0 && start > t->next)
		*t = (struct trial){.on = true};
	if (t->on)
		t->alone = t->n >= TRIAL_STEPS;
	exec_run(e, r);
	if (!t->on)
		return;
	s = rt_seconds() - start;
	t->seconds[t->alone] += s;
	t->most[t->alone] = fmax(t->most[t->alone], s);
	if (++t->n < 2 * TRIAL_STEPS)
		return;
	t->on = false;
	t->alone = t->seconds[1] - t->most[1] < t->seconds[0] - t->most[0];
	t->next = rt_seconds() + TRIAL_SECONDS;
}

static bool find_first(struct run *);

/* What a run without a checkpoint begins with. */
static bool
initial_weights(struct run *r)
{
	states_initial(&r->states);
	return !r->opt.init_from || warm_start(r, r->opt.init_from);
}

static void
begin_stage(struct run *r, int64_t stage)
{
	r->cur.stage = stage;
	r->cur.epoch = r->cur.step = r->cur.updates = r->cur.stopped = 0;
	r->cur.best = r->cur.stop_best = NAN;
	r->cur.bad_epochs = r->cur.best_epoch = 0;
	r->cur.plateau = (struct plateau){.best = NAN, .scale = 1};
	task_weights_begin(r);
	r->has_best = r->best_dirty = false;
	meters_reset(&r->train[stage]);
	states_fresh_slots(&r->states);
	trap_begin(r);
}

/* What of the step's results is not finite, or NULL; the weights only with the trap set. */
static const char *
not_finite(struct run *r, const struct exec *e)
{
	const char *name;

	for (int i = 0; i < e->nmeters; i++)
		if (e->meters[i].num >= 0 && strcmp(e->meters[i].name, "loss") == 0 && !isfinite(exec_output(e, e->meters[i].num)))
			return "the loss";
	if (e->norm >= 0 && !isfinite(exec_output(e, e->norm)))
		return "the norm of the gradients";
	if (!r->trap)
		return NULL;
	name = states_not_finite(&r->states, r->states.data);
	return name ? region_printf(&r->region, "parameter \"%s\"", name) : NULL;
}

static bool
step(struct run *r, double lr)
{
	struct exec *e;
	const char *bad;
	int64_t steps;

	e = loader_next(r, SPLIT_TRAIN, position(r), lr, r->cur.updates + 1);
	if (!e)
		return false;
	if (r->trap)
		trap_run(r, e);
	else
		run_step(r, e);
	if (!exec_check(e, r))
		return false;
	bad = not_finite(r, e);
	if (bad)
		return find_first(r) || diverged(r, e, bad);
	trap_healthy(r, e->p);
	meters_add(e);
	if (run_window(r, &steps) == steps - 1) {
		r->cur.updates++;
		r->cur.total_updates++;
	}
	r->cur.step++;
	return r->trap || outputs_step(r, e, lr);
}

/* The stage's last epoch may lie behind a checkpoint. */
static void
next_stage(struct run *r)
{
	const struct stage_config *s = &r->stages[r->cur.stage];

	if (r->cur.stage + 1 < r->t->nstages && (r->cur.epoch >= s->epochs || r->cur.stopped))
		begin_stage(r, r->cur.stage + 1);
}

/* The epoch at hand as it once began. */
static void
begin_again(struct run *r)
{
	const double *v = r->begun + r->cur.total_epochs * (1 + r->cfg.ntasks);

	if (r->cur.total_epochs >= r->nbegun)
		return;
	r->cur.plateau.scale = v[0];
	for (int i = 0; i < r->cfg.ntasks; i++)
		r->cur.tasks[i].weight = v[1 + i];
}

/* Back to the last checkpoint, or to the start, and the same way again with the trap set:
 * false, and reported, where it found the step and the operator; as it does unless memory
 * is short or data has changed meanwhile. */
static bool
find_first(struct run *r)
{
	int64_t until = r->cur.total_updates;
	bool found = false;

	if (r->trap)
		return false;
	progress_note(r, "a number is not finite by update %lld: going back to %s to find the first one",
	    (long long)until + 1, r->saved ? "the last checkpoint" : "the start");
	if (!trap_open(r) || (r->saved && !checkpoint_load(r, &found)))
		return false;
	if (found) {
		next_stage(r);
	} else {
		r->cur.total_epochs = r->cur.total_updates = 0;
		if (!initial_weights(r))
			return false;
		begin_stage(r, 0);
	}
	trap_begin(r);
	while (r->cur.total_updates <= until && !stop) {
		if (r->cur.step == r->batches.per_epoch) {
			r->cur.step = 0;
			r->cur.epoch++;
			r->cur.total_epochs++;
			begin_again(r);
			next_stage(r);
		}
		if (!step(r, rate(r, r->cur.updates)))
			return false;
	}
	return false;
}

static bool
save(struct run *r)
{
	const char *name;

	name = states_not_finite(&r->states, r->states.data);
	if (name)
		return find_first(r) ||
		       rt_fail(&r->msg, RT_DIVERGED,
			   "%s holds numbers that are not finite after update %lld; try a lower "
			   "learning rate; checkpoints are as they were",
			   name, (long long)r->cur.total_updates);
	r->saved = true;
	return checkpoint_save(r);
}

/* Tells how to go on: the same command, and --resume if it was not there. */
static bool
interrupted(struct run *r)
{
	if (!save(r))
		return false;
	return rt_fail(&r->msg, RT_STOPPED,
	    "stopped after epoch %lld step %lld of %lld; checkpoint in %s. To go on, give the same "
	    "command%s",
	    (long long)r->cur.epoch + (r->cur.step > 0), (long long)r->cur.step,
	    (long long)r->batches.per_epoch, r->checkpoints, r->opt.resume ? "" : " with --resume");
}

/* What an epoch begins with besides the weights, kept. */
static bool
keep_beginning(struct run *r)
{
	int64_t row = 1 + r->cfg.ntasks;

	if (r->cur.total_epochs >= r->cap_begun) {
		int64_t cap = 2 * r->cur.total_epochs + 64;
		double *v = realloc(r->begun, sizeof *v * (size_t)(cap * row));

		if (!v)
			return oom(r);
		r->begun = v;
		r->cap_begun = cap;
	}
	for (; r->nbegun <= r->cur.total_epochs; r->nbegun++) {
		double *v = r->begun + r->nbegun * row;

		v[0] = r->cur.plateau.scale;
		for (int i = 0; i < r->cfg.ntasks; i++)
			v[1 + i] = r->cur.tasks[i].weight;
	}
	return true;
}

static bool
run_epoch(struct run *r)
{
	const struct stage_config *s = &r->stages[r->cur.stage];

	while (r->cur.step < r->batches.per_epoch && !run_out_of_steps(r)) {
		double lr = rate(r, r->cur.updates);

		if (!step(r, lr))
			return false;
		progress_step(r, &r->train[r->cur.stage], lr);
		if (stop)
			return interrupted(r);
		if (checkpoint_due(r, r->cfg.checkpoint_seconds) &&
		    r->cur.step < r->batches.per_epoch && !save(r))
			return false;
	}
	/* cut short by --steps: a later run with more steps goes on from here */
	bool cut = r->cur.step < r->batches.per_epoch;

	if (cut && !save(r))
		return false;
	if (!epoch_end(r, rate(r, r->cur.updates - 1)) || !keep_beginning(r))
		return false;
	bool last = r->cur.epoch == s->epochs || r->cur.stopped || run_out_of_steps(r);

	if (!cut && (last || checkpoint_due(r, EPOCH_CHECKPOINT_SECONDS) || stop) && !save(r))
		return false;
	return !stop || interrupted(r);
}

static bool
train(struct run *r)
{
	for (;;) {
		const struct stage_config *s = &r->stages[r->cur.stage];

		/* step > 0: an epoch that --steps cut short still has to be ended */
		while (r->cur.epoch < s->epochs && !r->cur.stopped &&
		       (!run_out_of_steps(r) || r->cur.step > 0))
			if (!run_epoch(r))
				return false;
		if (r->cur.stage + 1 == r->t->nstages || run_out_of_steps(r))
			return true;
		if (r->cur.stopped && run_exports_best(r))
			memcpy(r->states.data, r->best, (size_t)r->states.bytes);
		begin_stage(r, r->cur.stage + 1);
	}
}

static bool
begin(struct run *r)
{
	bool found = false;

	r->fingerprint = run_fingerprint(r);
	if (!checkpoint_names(r))
		return false;
	if (r->opt.resume && !checkpoint_load(r, &found))
		return false;
	if (!found) {
		if (r->opt.init_from && !initial_weights(r))
			return false;
		begin_stage(r, 0);
	}
	r->saved = found;
	if (r->opt.trap && !trap_open(r))
		return false;
	r->resumed_at = r->last_checkpoint = rt_seconds();
	r->resumed_seconds = r->cur.seconds;
	if (!outputs_open(r))
		return false;
	if (found)
		progress_note(r, "resuming at epoch %lld step %lld", (long long)r->cur.epoch + 1,
		    (long long)r->cur.step + 1);
	else if (r->opt.resume)
		progress_note(
		    r, "no checkpoint in %s: starting from the beginning", r->checkpoints);
	return true;
}

static bool
finish(struct run *r)
{
	const unsigned char *weights = run_exports_best(r) ? r->best : run_weights(r);
	const char *path =
	    r->opt.export ? r->opt.export : region_printf(&r->region, "%s/student.onnx", r->out);

	if (!path)
		return oom(r);
	if (!r->has_best && !checkpoint_best(r, weights))
		return false;
	if (!export_models(r, weights, path))
		return false;
	if (!epoch_exported(r, weights) || !report_write(r))
		return false;
	progress_note(r, "%lld updates in %.1f s; student in %s%s", (long long)r->cur.total_updates,
	    run_elapsed(r), path, run_exports_best(r) ? " (best epoch)" : "");
	return true;
}

static bool
run(struct run *r, int argc, char **argv)
{
	if (!options_parse(&r->opt, argc, argv, &r->msg))
		return false;
	if (r->opt.help)
		return options_help(
			   stdout, r->opt.exe, r->t->config ? "a compiled recipe" : "nothing"),
		       true;
	if (!read_config(r) || !load_data(r) || !states_open(&r->states, r->t, &r->region, &r->msg))
		return false;
	plan_work(r);
	if (r->opt.dry_run)
		return dry_run(r);
	if (!progress_open(r))
		return false;
	if (r->opt.bench_steps > 0) {
		r->opt.quiet = true;
		return open_programs(r) && bench(r);
	}
	signal(SIGINT, on_signal);
	signal(SIGTERM, on_signal);
	signal(SIGXFSZ, SIG_IGN);
	signal(SIGPIPE, SIG_IGN); /* whoever watched has left; the training goes on */
	if (!rt_make_dirs(r->out, &r->msg) || !rt_make_dirs(r->checkpoints, &r->msg) ||
	    !open_programs(r) || !begin(r))
		return false;
	return train(r) && finish(r);
}

int
rt_trainer_main(const struct rt_trainer *t, int argc, char **argv)
{
	struct run r = {.t = t};
	int status;

	r.cur.best = r.cur.stop_best = NAN;
	r.cur.plateau = (struct plateau){.best = NAN, .scale = 1};
	if (!run(&r, argc, argv)) {
		progress_close(&r);
		if (!r.msg.status)
			r.msg.status = RT_INTERNAL;
		fprintf(stderr, "%s: %s%s\n", r.cfg.name ? r.cfg.name : "trainer",
		    r.msg.status == RT_STOPPED ? "" : "error: ", r.msg.text);
	}
	status = r.msg.status;
	close_run(&r);
	return status;
}
