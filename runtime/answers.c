/* answers -- the rows of an evaluation (outputs rows.TASK.* of its program): counted
 * for the metrics of the task, and some of them kept to be shown: the mistakes that
 * the student is surest of, and the first that are right. */
#include "runtime/trainer.h"

#include "host/metric.h"

#include <math.h>
#include <string.h>

static int
output(const struct exec *e, const char *task, const char *what)
{
	char name[200];

	snprintf(name, sizeof name, "rows.%s.%s", task, what);
	for (int i = 0; i < e->p->noutputs; i++)
		if (strcmp(e->p->outputs[i].name, name) == 0)
			return i;
	return -1;
}

static const void *
data_of(const struct run *r, int i)
{
	return i < 0 ? NULL : r->eval.base[3 + r->eval.p->ninputs + i];
}

/* [H,W], [1 or 3,H,W] or [H,W,1 or 3] */
static bool
is_picture(const struct cfg_field *f)
{
	int64_t c = f->rank == 3 ? f->dims[f->dims[0] == 1 || f->dims[0] == 3 ? 0 : 2] : 1;

	return (f->rank == 2 || f->rank == 3) && (c == 1 || c == 3) && f->dims[0] > 0 &&
	       f->dims[1] > 0 && f->row_bytes < 1 << 24 && rt_dtype_bytes(f->dtype) > 0;
}

static void
find_picture(struct task_answers *t, const struct run *r)
{
	t->set = t->field = -1;
	for (int s = 0; s < r->cfg.nsets; s++) {
		const struct cfg_set *set = &r->cfg.sets[s];

		if (strcmp(set->name, t->cfg->set) != 0)
			continue;
		t->set = s;
		for (int i = 0; i < set->nfields && t->field < 0; i++)
			if (strcmp(set->fields[i].name, t->cfg->target) != 0 &&
			    is_picture(&set->fields[i]))
				t->field = i;
	}
}

static bool
damaged(struct run *r, const char *task)
{
	return rt_fail(&r->msg, RT_INTERNAL, "the evaluation's rows of task %s do not fit", task);
}

/* Sizes of the outputs against those of the scores. */
static bool
fits(const struct run *r, const struct task_answers *t)
{
	const struct rt_tensor *o = r->eval.p->outputs, *s = &o[t->scores];
	int64_t rows = s->rank > 0 ? s->dims[0] : 0, n = rt_count(s->dims, s->rank);
	int64_t labels = rows * t->tally.positions;

	if (s->dtype != RT_F32 || rows < 1 || n < 1 || (t->labels < 0) == (t->values < 0))
		return false;
	if (t->labels >= 0 && (o[t->labels].dtype != RT_I32 || o[t->labels].bytes != 4 * labels))
		return false;
	if (t->values >= 0 && (o[t->values].dtype != RT_F32 || o[t->values].bytes != 4 * n))
		return false;
	if (t->teacher >= 0 && (o[t->teacher].dtype != RT_F32 || o[t->teacher].bytes != 4 * n))
		return false;
	return t->valid < 0 || (o[t->valid].dtype == RT_F32 && o[t->valid].bytes == 4 * rows);
}

static bool
open_task(struct run *r, struct task_answers *t, const struct cfg_task *cfg)
{
	const struct exec *e = &r->eval;
	int ids[MAX_METRICS], n = 0;
	int64_t most = 0;

	*t = (struct task_answers){.cfg = cfg,
	    .scores = output(e, cfg->name, "scores"),
	    .labels = output(e, cfg->name, "labels"),
	    .values = output(e, cfg->name, "values"),
	    .valid = output(e, cfg->name, "valid"),
	    .teacher = output(e, cfg->name, "teacher")};
	for (int i = 0; i < cfg->nmetrics; i++)
		if (metric_info[cfg->metrics[i].id].rows)
			ids[n++] = cfg->metrics[i].id;
	if (t->scores < 0)
		return n == 0 || damaged(r, cfg->name);
	const struct rt_tensor *s = &e->p->outputs[t->scores];

	t->tally = (struct tally){
	    .name = cfg->name, .labels = t->labels >= 0, .classes = s->rank > 1 ? s->dims[1] : 1};
	t->tally.positions = s->rank > 2 ? rt_count(s->dims + 2, s->rank - 2) : 1;
	if (!fits(r, t))
		return damaged(r, cfg->name);
	find_picture(t, r);
	for (int k = SPLIT_VAL; k < NSPLITS; k++) {
		int64_t rows = batches_eval_steps(&r->batches, k) * s->dims[0];

		most = rows > most ? rows : most;
	}
	return tally_open(&t->tally, n, ids, most * t->tally.positions, &r->region, &r->msg);
}

bool
answers_open(struct run *r)
{
	struct answers_all *a = &r->answers;
	int64_t most = 1;

	a->updates = -1;
	a->v = region_alloc(&r->region, sizeof *a->v * (size_t)(r->cfg.ntasks + 1));
	for (int i = 0; a->v && i < r->cfg.ntasks; i++) {
		struct task_answers *t = &a->v[a->n];

		if (!open_task(r, t, &r->cfg.tasks[i]))
			return false;
		a->n += t->scores >= 0;
		for (int k = 0; t->scores >= 0 && k < t->cfg->nmetrics; k++) {
			int64_t columns,
			    n = metric_info[t->cfg->metrics[k].id].rows
				    ? tally_size(&t->tally, t->cfg->metrics[k].id, &columns)
				    : 1;

			most = n > most ? n : most;
		}
	}
	a->list = region_alloc(&r->region, sizeof *a->list * (size_t)most);
	return (a->v && a->list) || rt_fail(&r->msg, RT_INTERNAL, "out of memory");
}

void
answers_begin(struct run *r, enum split k, const unsigned char *states)
{
	struct answers_all *a = &r->answers;

	a->split = k;
	a->states = states;
	a->updates = r->cur.total_updates;
	for (int i = 0; i < a->n; i++) {
		tally_reset(&a->v[i].tally);
		a->v[i].nwrong = a->v[i].nright = 0;
	}
}

/* ---- what is shown */
static int64_t
best(const float *z, int64_t n)
{
	int64_t k = 0;

	for (int64_t c = 1; c < n; c++)
		if (z[c] > z[k])
			k = c;
	return k;
}

/* Mistakes by confidence, the first of equal ones first. */
static void
show(struct task_answers *t, const struct sample *s)
{
	int at;

	if (s->label == s->answer) {
		if (t->nright < SHOWN_RIGHT)
			t->right[t->nright++] = *s;
		return;
	}
	for (at = t->nwrong; at > 0 && s->confidence > t->wrong[at - 1].confidence; at--)
		;
	if (at == SHOWN_MISTAKES)
		return;
	t->nwrong += t->nwrong < SHOWN_MISTAKES;
	memmove(&t->wrong[at + 1], &t->wrong[at], sizeof *t->wrong * (size_t)(t->nwrong - 1 - at));
	t->wrong[at] = *s;
}

static void
show_batch(struct run *r, struct task_answers *t, const struct answers *a)
{
	const float *taught = data_of(r, t->teacher);
	int64_t classes = t->tally.classes;

	if (t->set < 0 || t->field < 0 || !t->tally.labels || t->tally.positions != 1 ||
	    a->rows != r->cfg.sets[t->set].batch)
		return;
	for (int64_t i = 0; i < a->rows; i++) {
		const float *z = a->scores + i * classes;
		struct sample s = {
		    .row = r->batches.rows[t->set][i], .label = a->labels[i], .teacher = -1};
		double sum = 0;

		if (s.label < 0 || (a->valid && !(a->valid[i] > 0)))
			continue;
		s.answer = (int32_t)best(z, classes);
		if (s.label == s.answer && t->nright == SHOWN_RIGHT)
			continue;
		if (taught)
			s.teacher = (int32_t)best(taught + i * classes, classes);
		for (int64_t c = 0; c < classes; c++)
			sum += exp((double)z[c] - z[s.answer]);
		s.confidence = 1 / sum;
		show(t, &s);
	}
}

void
answers_batch(struct run *r)
{
	for (int i = 0; i < r->answers.n; i++) {
		struct task_answers *t = &r->answers.v[i];
		struct answers a = {.scores = data_of(r, t->scores),
		    .labels = data_of(r, t->labels),
		    .values = data_of(r, t->values),
		    .valid = data_of(r, t->valid),
		    .rows = r->eval.p->outputs[t->scores].dims[0]};

		tally_add(&t->tally, &a);
		show_batch(r, t, &a);
	}
}

bool
answers_record(struct run *r, struct record *x)
{
	for (int i = 0; i < r->answers.n; i++) {
		struct task_answers *t = &r->answers.v[i];
		double *list = r->answers.list;

		for (int k = 0; k < t->cfg->nmetrics; k++) {
			const struct cfg_metric *m = &t->cfg->metrics[k];
			int64_t columns, n;
			char key[120];

			if (!metric_info[m->id].rows)
				continue;
			snprintf(key, sizeof key, "%s.%s.%s", split_names[r->answers.split],
			    t->cfg->name, m->name);
			n = tally_size(&t->tally, m->id, &columns);
			tally_value(&t->tally, m->id, list);
			if (!(metric_info[m->id].better
				    ? record_add(x, key, *list)
				    : record_add_list(x, key, list, n, columns)))
				return rt_fail(&r->msg, RT_INTERNAL, "out of memory");
		}
	}
	return true;
}
