/* task -- weights of tasks that follow from the epochs before.  They are part of the
 * cursor, so that a resumed run goes on with the same ones.  K tasks of the stage have a
 * dial $task.NAME, whose value the first epochs take.
 *
 *   dwa         v_k = K exp(r_k/T) / sum exp(r/T), r_k = L_k(last epoch) / L_k(the one before)
 *               (Liu, Johns, Davison 2019, Dynamic Weight Average)
 *   val_metric  v_k ~ -(1-m_k)^gamma log m_k, sum K; m_k the first metric of the task on val
 *               (Guo et al. 2018, Dynamic Task Prioritization) */
#include "runtime/trainer.h"

#include "host/metric.h"

#include <math.h>
#include <string.h>

#define DIAL "$task."

static int
task_of(const struct run *r, const char *dial)
{
	for (int i = 0; i < r->cfg.ntasks; i++)
		if (strcmp(r->cfg.tasks[i].name, dial + strlen(DIAL)) == 0)
			return i;
	return -1;
}

double
task_weight(const struct run *r, const char *dial)
{
	const struct stage_config *s = &r->stages[r->cur.stage];
	int i = task_of(r, dial);

	if (s->task_method == TASK_CURVE || i < 0 || !dial_find(s, dial))
		return run_dial(r, dial);
	return r->cur.tasks[i].weight;
}

void
task_weights_begin(struct run *r)
{
	const struct stage_config *s = &r->stages[r->cur.stage];

	for (int i = 0; i < MAX_TASKS; i++)
		r->cur.tasks[i] = (struct task_weight){1, NAN, NAN};
	for (int i = 0; i < s->ndials; i++) {
		const struct cfg_dial *d = &s->dials[i];
		int k = strncmp(d->name, DIAL, strlen(DIAL)) == 0 ? task_of(r, d->name) : -1;

		if (k >= 0)
			r->cur.tasks[k].weight = d->from;
	}
}

/* What v_k is proportional to; NAN: not known yet. */
static double
dwa(struct run *r, int k, const struct record *x)
{
	struct task_weight *t = &r->cur.tasks[k];
	const struct stage_config *s = &r->stages[r->cur.stage];
	char key[140];

	snprintf(key, sizeof key, "task_loss.%s", r->cfg.tasks[k].name);
	t->before = t->loss;
	t->loss = record_get(x, key);
	return t->before > 0 ? exp(t->loss / t->before / s->task_setting) : NAN;
}

static double
val_metric(struct run *r, int k, const struct record *x)
{
	const struct cfg_task *t = &r->cfg.tasks[k];
	double gamma = r->stages[r->cur.stage].task_setting, m;
	char key[140];

	snprintf(key, sizeof key, "val.%s.%s", t->name, t->nmetrics ? t->metrics[0].name : "");
	m = record_get(x, key);
	if (isnan(m))
		return NAN;
	m = fmin(fmax(m, 1e-3), 1 - 1e-3);
	return -pow(1 - m, gamma) * log(m);
}

static int
task_dials(const struct run *r, int *task)
{
	const struct stage_config *s = &r->stages[r->cur.stage];
	int n = 0;

	for (int i = 0; i < s->ndials; i++) {
		int k = strncmp(s->dials[i].name, DIAL, strlen(DIAL)) == 0
			    ? task_of(r, s->dials[i].name)
			    : -1;

		if (k >= 0 && n < MAX_TASKS)
			task[n++] = k;
	}
	return n;
}

bool
task_weights_epoch(struct run *r, struct record *x)
{
	const struct stage_config *s = &r->stages[r->cur.stage];
	int task[MAX_TASKS], n = task_dials(r, task);
	double part[MAX_TASKS], sum = 0;
	char key[140];

	for (int i = 0; i < n; i++) {
		snprintf(key, sizeof key, DIAL "%s", r->cfg.tasks[task[i]].name);
		part[i] = task_weight(r, key);
		snprintf(key, sizeof key, "task_weight.%s", r->cfg.tasks[task[i]].name);
		if (!record_add(x, key, part[i]))
			return rt_fail(&r->msg, RT_INTERNAL, "out of memory");
	}
	if (s->task_method == TASK_CURVE)
		return true;
	for (int i = 0; i < n; i++) {
		part[i] =
		    s->task_method == TASK_DWA ? dwa(r, task[i], x) : val_metric(r, task[i], x);
		sum += part[i];
	}
	for (int i = 0; i < n && sum > 0 && isfinite(sum); i++)
		r->cur.tasks[task[i]].weight = n * part[i] / sum;
	return true;
}
