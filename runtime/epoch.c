/* epoch -- what follows the last step of an epoch: the split evaluations, what is
 * best so far, early stopping, plateau, the line of the log, the cursor. */
#include "host/metric.h"
#include "runtime/trainer.h"

#include <math.h>
#include <string.h>

/* The stage's w-th weight as it is now.  What adapts to the training (dwa, val_metric) is
 * left out: losses of two epochs could not be compared. */
static double
term_weight(const struct run *r, int w)
{
	const struct stage_config *s = &r->stages[r->cur.stage];
	const char *task = s->weights[w].task;
	double weight = s->weights[w].weight, dial;
	char name[140];

	snprintf(name, sizeof name, "%s.weight", s->weights[w].term);
	dial = run_dial(r, name);
	if (dial_find(s, name))
		weight *= dial;
	if (task && s->task_method == TASK_CURVE) {
		snprintf(name, sizeof name, "$task.%s", task);
		if (dial_find(s, name))
			weight *= run_dial(r, name);
	}
	return weight;
}

/* A split's loss is the sum of its terms, each a mean over all the split's rows:
 * with several sets a batch's loss is no mean over rows.  Where a term has no weight in
 * the stage (another stage's terms), what the program says of the loss stands. */
static double
split_loss(const struct exec *e, const struct run *r, const struct meter *loss)
{
	const struct stage_config *s = &r->stages[r->cur.stage];
	double sum = 0;
	bool any = false;

	for (int i = 0; i < e->nmeters; i++) {
		const struct meter *m = &e->meters[i];
		int w = 0;

		if (strncmp(m->name, "term.", 5) != 0)
			continue;
		while (w < s->nweights && strcmp(s->weights[w].term, m->name + 5) != 0)
			w++;
		if (w == s->nweights)
			return meter_value(loss);
		if (m->sum_den != 0)
			sum += term_weight(r, w) * meter_value(m);
		any = true;
	}
	return any ? sum : meter_value(loss);
}

/* The loss first, then in the program's order. */
static bool
record_meters(struct record *x, const struct exec *e, const char *split, struct run *r)
{
	bool train = strcmp(split, "train") == 0;
	char key[120];
	double value;

	for (int k = 0; k < 2 * e->nmeters; k++) {
		const struct meter *m = &e->meters[k % e->nmeters];
		bool metric = strncmp(m->name, "metric.", 7) == 0;

		if ((strcmp(m->name, "loss") == 0) != (k < e->nmeters))
			continue;
		if (train && !metric)
			snprintf(key, sizeof key, "%s", m->name);
		else
			snprintf(key, sizeof key, "%s.%s", split, metric ? m->name + 7 : m->name);
		value = !train && k < e->nmeters ? split_loss(e, r, m)
						 : meter_value(m);
		if (!record_add(x, key, value))
			return rt_fail(&r->msg, RT_INTERNAL, "out of memory");
	}
	return true;
}

static bool
has_nan(const struct exec *e)
{
	for (int i = 0; i < e->nmeters; i++)
		if (isnan(exec_output(e, e->meters[i].num)))
			return true;
	return false;
}

/* The split's numbers with the given states; x NULL: only what the report shows. */
static bool
evaluate(struct run *r, enum split k, const unsigned char *states, struct record *x)
{
	int64_t steps = batches_eval_steps(&r->batches, k);

	r->eval.base[2] = (void *)(uintptr_t)states; /* read only */
	meters_reset(&r->eval);
	answers_begin(r, k, states);
	for (int64_t i = 0; i < steps; i++) {
		if (!loader_next(r, k, i, 0, 1))
			return false;
		batches_eval(&r->batches, k, i); /* whose samples answers and messages name */
		exec_run(&r->eval, r);
		if (!exec_check(&r->eval, r))
			return false;
		if (has_nan(&r->eval) && !trap_data(r, &r->eval, k))
			return false;
		meters_add(&r->eval);
		answers_batch(r);
	}
	return !x || (record_meters(x, &r->eval, split_names[k], r) && answers_record(r, x));
}

bool
epoch_exported(struct run *r, const unsigned char *states)
{
	const struct answers_all *a = &r->answers;
	enum split k = dataset_has(&r->data, SPLIT_TEST) ? SPLIT_TEST : SPLIT_VAL;

	if (!r->has_eval || a->n == 0 || !dataset_has(&r->data, k))
		return true;
	if (a->split == k && a->states == states && a->updates == r->cur.total_updates)
		return true;
	return evaluate(r, k, states, NULL);
}

static bool
has_key(const struct record *x, const char *key)
{
	for (int i = 0; i < x->n; i++)
		if (strcmp(x->v[i].key, key) == 0 && x->v[i].n == 0)
			return true;
	return false;
}

/* The key that decides what "best" is: the recipe's, or the first metric with an order. */
static void
monitor(const struct run *r, const struct record *x, char *key, size_t n)
{
	const char *first = "val.loss";

	if (r->cfg.monitor) {
		snprintf(key, n, "%s", r->cfg.monitor);
		return;
	}
	for (int t = 0; t < r->cfg.ntasks; t++)
		for (int i = 0; i < r->cfg.tasks[t].nmetrics; i++) {
			const struct cfg_metric *m = &r->cfg.tasks[t].metrics[i];

			snprintf(key, n, "val.%s.%s", r->cfg.tasks[t].name, m->name);
			if (metric_info[m->id].better && has_key(x, key))
				return;
		}
	for (int i = x->n - 1; i >= 0; i--) /* programs without a list of tasks */
		if (strncmp(x->v[i].key, "val.", 4) == 0 && strcmp(x->v[i].key, "val.loss") != 0 &&
		    strncmp(x->v[i].key, "val.term.", 9) != 0 && x->v[i].n == 0)
			first = x->v[i].key;
	snprintf(key, n, "%s", first);
}

/* 1: more of val.TASK.METRIC is better; losses and terms are better when they are less. */
static int
mode_of(const char *key)
{
	const char *task = strchr(key, '.'), *metric = task ? strchr(task + 1, '.') : NULL;
	int number,
	    id = metric ? metric_find(metric + 1, (int)strcspn(metric + 1, "."), &number) : -1;

	if (id >= 0 && strncmp(task, ".term.", 6) != 0)
		return metric_info[id].better;
	return strcmp(key, "loss") == 0 || strstr(key, ".loss") || strstr(key, "term.") ? -1 : 1;
}

/* 1: higher is better, -1: lower */
static int
direction(const struct run *r, const char *key)
{
	return r->cfg.mode ? r->cfg.mode : mode_of(key);
}

static bool
better(const struct run *r, const char *key, double v, double than, double delta)
{
	int mode = direction(r, key);

	if (isnan(v))
		return false;
	return isnan(than) || (mode > 0 ? v > than + delta : v < than - delta);
}

/* Keeps the states of the best epoch; true through *over when patience is spent. */
static bool
watch(struct run *r, const struct record *x, bool *over)
{
	char key[120];
	double v;

	monitor(r, x, key, sizeof key);
	v = record_get(x, key);
	if (!has_key(x, key))
		return rt_fail(&r->msg, RT_INVALID,
		    "there is no %s to monitor; this run has %s, %s...", key, x->v[0].key,
		    x->n > 1 ? x->v[x->n - 1].key : "no more");
	if (better(r, key, v, r->cur.best, 0)) {
		r->cur.best = v;
		r->cur.best_epoch = r->cur.total_epochs + 1;
		memcpy(r->best, run_weights(r), (size_t)r->states.bytes);
		r->has_best = r->best_dirty = true;
	}
	r->cur.bad_epochs++;
	if (better(r, key, v, r->cur.stop_best, r->cfg.min_delta)) {
		r->cur.stop_best = v;
		r->cur.bad_epochs = 0;
	}
	*over = r->cfg.patience > 0 && r->cur.bad_epochs >= r->cfg.patience;
	return true;
}

static void
plateau(struct run *r, const struct record *x)
{
	const struct stage_config *s = &r->stages[r->cur.stage];
	char key[120] = "loss";

	if (s->schedule.kind != SCH_plateau)
		return;
	if (dataset_has(&r->data, SPLIT_VAL) && r->has_eval)
		monitor(r, x, key, sizeof key);
	plateau_step(s, &r->cur.plateau, record_get(x, key), direction(r, key));
}

static void
print_epoch(struct run *r, const struct record *x)
{
	char text[2000];
	int n = snprintf(text, sizeof text, "epoch %lld/%lld", (long long)r->cur.epoch + 1,
	    (long long)r->stages[r->cur.stage].epochs);

	if (r->t->nstages > 1)
		n += snprintf(text + n, sizeof text - (size_t)n, " (%.40s)", x->stage);
	for (int i = 0; i < x->n && n < (int)sizeof text - 200; i++) {
		const char *key = x->v[i].key;

		if (x->v[i].n > 0 || strncmp(key, "val.term.", 9) == 0 ||
		    strncmp(key, "test.term.", 10) == 0)
			continue; /* the log has them */
		n += snprintf(text + n, sizeof text - (size_t)n, "  %s %.5g",
		    strncmp(key, "term.", 5) == 0 ? key + 5 : key, x->v[i].value);
	}
	snprintf(text + n, sizeof text - (size_t)n, "  lr %.3g  %.2f s", x->lr, x->seconds);
	progress_note(r, "%s", text);
}

static bool
test_due(const struct run *r, bool last)
{
	int64_t every = r->cfg.test_every;

	if (r->opt.no_test || !r->has_eval || !dataset_has(&r->data, SPLIT_TEST))
		return false;
	if (every < 0)
		every = dataset_has(&r->data, SPLIT_VAL) ? 0 : 1;
	return last || (every > 0 && (r->cur.total_epochs + 1) % every == 0);
}

/* After the last step of an epoch, or of the run: numbers, best, log, cursor. */
bool
epoch_end(struct run *r, double lr)
{
	struct exec *e = &r->train[r->cur.stage];
	const struct stage_config *s = &r->stages[r->cur.stage];
	bool last = (r->cur.stage + 1 == r->t->nstages && r->cur.epoch + 1 == s->epochs) ||
		    run_out_of_steps(r),
	     over = false;
	struct record x = {.epoch = r->cur.total_epochs + 1, .lr = lr, .stage = s->name};
	bool ok = record_meters(&x, e, "train", r);

	if (ok && r->has_eval && dataset_has(&r->data, SPLIT_VAL))
		ok = evaluate(r, SPLIT_VAL, run_weights(r), &x) && watch(r, &x, &over);
	last |= over && r->cur.stage + 1 == r->t->nstages;
	if (ok)
		plateau(r, &x);
	ok = ok && task_weights_epoch(r, &x) && shares_epoch(r, &x);
	/* the last line tells about the weights that are exported */
	if (ok && test_due(r, last))
		ok = evaluate(r, SPLIT_TEST, last && run_exports_best(r) ? r->best : run_weights(r), &x);
	x.seconds = run_elapsed(r) - r->cur.epoch_from;
	if (ok)
		ok = (record_add(&x, "data_wait", r->data_wait) &&
			 record_add(&x, "data_cpu", loader_cpu(r))) ||
		     rt_fail(&r->msg, RT_INTERNAL, "out of memory");
	r->data_wait = 0;
	if (ok && last && run_exports_best(r))
		ok = record_add(&x, "exported_epoch", (double)r->cur.best_epoch) ||
		     rt_fail(&r->msg, RT_INTERNAL, "out of memory");
	ok = ok && outputs_epoch(r, &x);
	if (ok) {
		print_epoch(r, &x);
		if (over) {
			char key[120];

			monitor(r, &x, key, sizeof key);
			progress_note(r,
			    "no better %s for %lld epochs: stopped; best %.5g in epoch %lld", key,
			    (long long)r->cfg.patience, r->cur.best, (long long)r->cur.best_epoch);
		}
		r->cur.epoch++;
		r->cur.total_epochs++;
		r->cur.step = 0;
		r->cur.stopped = over;
		r->cur.epoch_from = run_elapsed(r);
		meters_reset(e);
		ok = checkpoint_epoch(r);
	}
	record_free(&x);
	return ok;
}
