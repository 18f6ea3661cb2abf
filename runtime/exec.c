/* exec -- a compiled program with its memory: inputs bound to data fields and to
 * the trainer's own numbers, outputs to meters; and the one block of states that
 * all programs share.  Everything is allocated here, before the first step. */
#include "host/host.h"
#include "host/metric.h"
#include "runtime/trainer.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static bool
starts(const char *s, const char *prefix)
{
	return strncmp(s, prefix, strlen(prefix)) == 0;
}

static bool
oom(struct run *r)
{
	return rt_fail(&r->msg, RT_INTERNAL, "out of memory");
}

/* ---- inputs */

/* May a program read a part of the field's samples?  In buckets the first so many of
 * their first axis. */
static bool
cut_fits(const struct cfg_field *c, int64_t row_bytes)
{
	int64_t step = c->rank > 0 ? c->row_bytes / c->dims[0] : 0;

	return row_bytes == c->row_bytes ||
	       (c->bucketed && row_bytes > 0 && row_bytes < c->row_bytes && row_bytes % step == 0);
}

/* The fields of that name, one part for each set the program is about. */
static bool
bind_field(struct feed *f, const struct rt_tensor *t, const char *name, const struct exec *e,
    struct run *r)
{
	int64_t rows = 0;

	f->parts = region_alloc(&r->region, sizeof *f->parts * (size_t)r->cfg.nsets);
	if (!f->parts)
		return oom(r);
	for (int s = 0; s < r->cfg.nsets; s++)
		for (int i = 0; i < r->cfg.sets[s].nfields; i++) {
			const struct cfg_field *c = &r->cfg.sets[s].fields[i];

			if (strcmp(c->name, name) != 0 || (e->set >= 0 && s != e->set))
				continue;
			if (c->dtype != t->dtype)
				return rt_fail(&r->msg, RT_INTERNAL,
				    "input %s is %s, field %s of set %s is %s", t->name,
				    rt_dtype_name(t->dtype), c->name, r->cfg.sets[s].name,
				    rt_dtype_name(c->dtype));
			f->parts[f->nparts++] = (struct part){s, i, r->cfg.sets[s].batch, rows};
			rows += r->cfg.sets[s].batch;
		}
	if (f->nparts == 0)
		return rt_fail(
		    &r->msg, RT_INTERNAL, "the program reads %s, which no data set has", t->name);
	f->row_bytes = t->bytes / rows;
	for (int i = 0; i < f->nparts; i++) {
		struct part *p = &f->parts[i];
		const struct cfg_field *c = &r->cfg.sets[p->set].fields[p->field];

		p->at *= f->row_bytes;
		if (f->row_bytes * rows != t->bytes || !cut_fits(c, f->row_bytes))
			return rt_fail(&r->msg, RT_INTERNAL,
			    "a batch of field %s has %lld bytes, the program reads %lld", t->name,
			    (long long)(rows * c->row_bytes), (long long)t->bytes);
	}
	return true;
}

/* $mix: of each row of the program's sets its own share */
static bool
bind_share(struct feed *f, const struct rt_tensor *t, const struct exec *e, struct run *r)
{
	int64_t rows = 0;

	f->kind = FEED_SHARE;
	f->set = e->set;
	for (int s = 0; s < r->cfg.nsets; s++)
		rows += e->set < 0 || e->set == s ? r->cfg.sets[s].batch : 0;
	return (t->dtype == RT_F32 && t->bytes == 4 * rows) ||
	       rt_fail(&r->msg, RT_INTERNAL, "input %s must be f32 [%lld]", t->name, (long long)rows);
}

/* $index: of each row of the program's sets */
static bool
bind_index(struct feed *f, const struct rt_tensor *t, const struct exec *e, struct run *r)
{
	int64_t rows = 0, samples = 0;

	f->kind = FEED_INDEX;
	f->set = e->set;
	for (int s = 0; s < r->cfg.nsets; s++) {
		rows += e->set < 0 || e->set == s ? r->cfg.sets[s].batch : 0;
		samples += r->data.sets[s].rows[SPLIT_TRAIN];
	}
	if (samples > r->cfg.samples)
		return rt_fail(&r->msg, RT_INVALID,
		    "a term remembers each of %lld training samples, the data has %lld; compile the recipe "
		    "with this data",
		    (long long)r->cfg.samples, (long long)samples);
	return (t->dtype == RT_I64 && t->bytes == 8 * rows) ||
	       rt_fail(&r->msg, RT_INTERNAL, "input %s must be i64 [%lld]", t->name, (long long)rows);
}

static bool
bind_teacher(struct feed *f, const struct rt_tensor *t, const struct exec *e, struct run *r)
{
	int64_t rows = 0;

	f->kind = FEED_TEACHER;
	for (f->cached = 0; f->cached < r->ncaches; f->cached++)
		if (strcmp(r->caches[f->cached].input, t->name) == 0)
			break;
	if (f->cached == r->ncaches)
		return rt_fail(&r->msg, RT_INTERNAL,
		    "the program reads %s, which no cached teacher makes", t->name);
	const struct cached *c = &r->caches[f->cached];

	f->row_bytes = c->row_bytes;
	f->set = e->set;
	for (int i = 0; i < c->nsets; i++)
		if (e->set < 0 || c->sets[i] == e->set)
			rows += r->cfg.sets[c->sets[i]].batch;
	if (rows * c->row_bytes != t->bytes)
		return rt_fail(&r->msg, RT_INTERNAL, "%s has %lld bytes, its teacher makes %lld",
		    t->name, (long long)t->bytes, (long long)(rows * c->row_bytes));
	return true;
}

static bool
scalar(struct feed *f, enum feed_kind kind, const struct rt_tensor *t, int32_t dtype, struct run *r)
{
	f->kind = kind;
	f->set = -1;
	if (t->dtype != dtype || t->bytes != rt_dtype_bytes(dtype))
		return rt_fail(
		    &r->msg, RT_INTERNAL, "input %s must be one %s", t->name, rt_dtype_name(dtype));
	return true;
}

/* $dial.TERM.KEY, $task.TASK */
static bool
bind_dial(struct feed *f, const struct rt_tensor *t, struct run *r)
{
	bool task = t->name[1] == 't';

	f->dial = task ? t->name : t->name + strlen("$dial.");
	if (!run_has_dial(r, f->dial))
		return rt_fail(&r->msg, RT_INTERNAL,
		    "the program reads %s, which no stage's configuration has", t->name);
	return scalar(f, task ? FEED_TASK : FEED_DIAL, t, RT_F32, r);
}

static bool
bind(struct feed *f, const struct rt_tensor *t, const struct exec *e, struct run *r)
{
	if (strcmp(t->name, "$lr") == 0)
		return scalar(f, FEED_LR, t, RT_F32, r);
	if (strcmp(t->name, "$step") == 0)
		return scalar(f, FEED_STEP, t, RT_I64, r);
	if (strcmp(t->name, "$micro") == 0)
		return scalar(f, FEED_MICRO, t, RT_I64, r);
	if (strcmp(t->name, "$micros") == 0)
		return scalar(f, FEED_MICROS, t, RT_I64, r);
	if (strcmp(t->name, "$momentum") == 0)
		return scalar(f, FEED_MOMENTUM, t, RT_F64, r);
	if (strcmp(t->name, "$seed") == 0)
		return scalar(f, FEED_SEED, t, RT_I64, r);
	if (strcmp(t->name, "$valid") == 0) {
		if (r->cfg.nsets > 1)
			return rt_fail(&r->msg, RT_INTERNAL,
			    "a program over several data sets reads $valid instead of $valid.SET");
		return scalar(f, FEED_VALID, t, RT_I64, r);
	}
	if (starts(t->name, "$valid.")) {
		for (int s = 0; s < r->cfg.nsets; s++)
			if (strcmp(r->cfg.sets[s].name, t->name + 7) == 0)
				return scalar(f, FEED_VALID, t, RT_I64, r) && (f->set = s, true);
		return rt_fail(&r->msg, RT_INTERNAL,
		    "the program reads %s; no data set has that name", t->name);
	}
	if (starts(t->name, "$dial.") || starts(t->name, "$task."))
		return bind_dial(f, t, r);
	if (starts(t->name, "$teacher."))
		return bind_teacher(f, t, e, r);
	if (strcmp(t->name, "$index") == 0)
		return bind_index(f, t, e, r);
	if (strcmp(t->name, "$mix") == 0)
		return bind_share(f, t, e, r);
	f->kind = starts(t->name, "$pair.") ? FEED_PAIR : FEED_FIELD;
	return bind_field(f, t, f->kind == FEED_PAIR ? t->name + 6 : t->name, e, r);
}

/* ---- outputs */
static int
find_output(const struct rt_program *p, const char *name, size_t len, const char *suffix)
{
	for (int i = 0; i < p->noutputs; i++) {
		const char *s = p->outputs[i].name;

		if (strncmp(s, name, len) == 0 && strcmp(s + len, suffix) == 0)
			return i;
	}
	return -1;
}

/* metric.TASK.NAME, NAME.TEACHER.OUTPUT where it is listed for several */
static int
metric_named(const char *name)
{
	const char *dot = starts(name, "metric.") ? strchr(name + 7, '.') : NULL;
	int number;

	return dot ? metric_find(dot + 1, (int)strcspn(dot + 1, "."), &number) : -1;
}

static bool
bind_outputs(struct exec *e, int more, struct run *r)
{
	const struct rt_program *p = e->p;

	e->check = e->norm = -1;
	e->meters = region_alloc(&r->region, sizeof *e->meters * ((size_t)(p->noutputs + more) + 1));
	if (!e->meters)
		return oom(r);
	for (int i = 0; i < p->noutputs; i++) {
		const char *name = p->outputs[i].name;
		size_t n = strlen(name);

		if (strcmp(name, "check.labels") == 0)
			e->check = i;
		if (strcmp(name, "grad_norm.num") == 0)
			e->norm = i;
		if (strcmp(name, "loss") != 0 && !starts(name, "loss.") && !starts(name, "term.") &&
		    !starts(name, "metric.") && !starts(name, "grad_norm.") &&
		    !starts(name, "task_"))
			continue;
		if (rt_count(p->outputs[i].dims, p->outputs[i].rank) != 1)
			return rt_fail(&r->msg, RT_INTERNAL, "output %s is not one number", name);
		if (n > 4 && strcmp(name + n - 4, ".den") == 0 &&
		    find_output(p, name, n - 4, ".num") >= 0)
			continue;
		struct meter *m = &e->meters[e->nmeters++];

		m->num = i;
		m->den = n > 4 && strcmp(name + n - 4, ".num") == 0
			     ? find_output(p, name, n - 4, ".den")
			     : -1;
		m->name =
		    m->den >= 0 ? region_printf(&r->region, "%.*s", (int)(n - 4), name) : name;
		if (!m->name)
			return oom(r);
		m->metric = metric_named(m->name);
		m->sum = m;
	}
	return true;
}

/* The numbers of an epoch are the first program's; it takes those of the others in. */
static void
join_meters(struct exec *first, struct exec *e)
{
	for (int i = 0; i < e->nmeters; i++) {
		int k = 0;

		while (k < first->nmeters && strcmp(first->meters[k].name, e->meters[i].name) != 0)
			k++;
		if (k == first->nmeters) {
			first->meters[first->nmeters++] =
			    (struct meter){.name = e->meters[i].name, .num = -1, .den = -1, .metric = e->meters[i].metric};
			first->meters[k].sum = &first->meters[k];
		}
		e->meters[i].sum = &first->meters[k];
	}
}

double
exec_output(const struct exec *e, int output)
{
	const struct rt_tensor *t = &e->p->outputs[output];
	const void *p = e->base[3 + e->p->ninputs + output];

	switch (t->dtype) {
	case RT_F32:
		return *(const float *)p;
	case RT_F64:
		return *(const double *)p;
	case RT_I32:
		return *(const int32_t *)p;
	case RT_U8:
	case RT_BOOL:
		return *(const uint8_t *)p;
	default:
		return (double)*(const int64_t *)p;
	}
}

void
meters_reset(struct exec *e)
{
	for (int i = 0; i < e->nmeters; i++)
		e->meters[i].sum_num = e->meters[i].sum_den = 0;
}

void
meters_add(struct exec *e)
{
	for (int i = 0; i < e->nmeters; i++) {
		const struct meter *m = &e->meters[i];

		if (m->num < 0)
			continue; /* another program's */
		m->sum->sum_num += exec_output(e, m->num);
		m->sum->sum_den += m->den < 0 ? 1 : exec_output(e, m->den);
	}
}

double
meter_value(const struct meter *m)
{
	return m->sum_den != 0 ? metric_of_mean(m->metric, m->sum_num / m->sum_den) : NAN;
}

bool
exec_check(const struct exec *e, struct run *r)
{
	int status = rt_status(e->p, e->base);

	if (status)
		return rt_fail(&r->msg, RT_INVALID, "a batch: %s", host_status_text(status));
	if (e->check < 0 || !(exec_output(e, e->check) > 0))
		return true;
	return rt_fail(&r->msg, RT_INVALID,
	    "%g labels of a batch are outside their classes; give the field its number of "
	    "`classes` in the recipe, and the data is checked before training",
	    exec_output(e, e->check));
}

/* ---- states */
static int
find_state(const struct states *s, const char *name, size_t len)
{
	for (int i = 0; i < s->n; i++)
		if (strlen(s->v[i].name) == len && strncmp(s->v[i].name, name, len) == 0)
			return i;
	return -1;
}

const struct state *
states_find(const struct states *s, const char *name)
{
	int i = find_state(s, name, strlen(name));

	return i < 0 ? NULL : &s->v[i];
}

/* Optimiser slots are named after the parameter they belong to: NAME:SLOT, where NAME is
 * a state and SLOT starts with a letter ("w:0" is TensorFlow's way to name a parameter). */
static void
mark_slots(struct states *s)
{
	for (int i = 0; i < s->n; i++) {
		const char *colon = strrchr(s->v[i].name, ':');

		if (!colon || !isalpha((unsigned char)colon[1]))
			continue;
		s->v[i].slot = find_state(s, s->v[i].name, (size_t)(colon - s->v[i].name)) >= 0;
	}
}

/* Every state of p is one of the table, at the same place. */
static bool
known(const struct states *s, const struct rt_program *p, struct rt_msg *m)
{
	for (int i = 0; i < p->nstates; i++) {
		const struct rt_tensor *t = &p->states[i];
		const struct state *u = states_find(s, t->name);

		if (!u || u->at != t->offset || u->bytes != t->bytes || u->dtype != t->dtype)
			return rt_fail(m, RT_INTERNAL,
			    "state %s of program %s is not the trainer's", t->name, p->name);
	}
	return true;
}

bool
states_open(struct states *s, const struct rt_trainer *t, struct region *r, struct rt_msg *m)
{
	s->v = region_alloc(r, sizeof *s->v * ((size_t)t->nstates + 1));
	s->data = rt_alloc((size_t)t->state_bytes);
	if (!s->v || !s->data)
		return rt_fail(m, RT_INTERNAL, "out of memory for %lld bytes of weights",
		    (long long)t->state_bytes);
	s->bytes = t->state_bytes;
	s->init = t->state_init;
	s->init_bytes = t->state_init_bytes;
	for (int i = 0; i < t->nstates; i++) {
		const struct rt_tensor *x = &t->states[i];

		if (x->offset < 0 || x->bytes < 0 || x->offset > s->bytes - x->bytes)
			return rt_fail(m, RT_INTERNAL, "state %s is outside its block", x->name);
		s->v[s->n++] =
		    (struct state){x->name, x->bytes, x->offset, x->dtype, false};
	}
	for (int i = 0; i < t->nstages; i++)
		for (int k = -1; k < t->stages[i].nmore; k++)
			if (!known(s, k < 0 ? t->stages[i].train : t->stages[i].more[k], m))
				return false;
	for (int i = 0; i < t->nstages; i++)
		if (t->stages[i].share && !known(s, t->stages[i].share, m))
			return false;
	if (t->eval && !known(s, t->eval, m))
		return false;
	mark_slots(s);
	states_initial(s);
	return true;
}

void
states_initial(struct states *s)
{
	if (s->init_bytes > 0)
		memcpy(s->data, s->init, (size_t)s->init_bytes);
	memset(s->data + s->init_bytes, 0, (size_t)(s->bytes - s->init_bytes));
	rt_unload(s->init, (size_t)s->init_bytes);
}

void
states_close(struct states *s)
{
	rt_free(s->data);
	s->data = NULL;
}

void
states_fresh_slots(struct states *s)
{
	for (int i = 0; i < s->n; i++) {
		const struct state *x = &s->v[i];
		int64_t given = s->init_bytes - x->at;

		if (!x->slot)
			continue;
		given = given < 0 ? 0 : given < x->bytes ? given : x->bytes;
		memcpy(s->data + x->at, (const char *)s->init + x->at, (size_t)given);
		memset(s->data + x->at + given, 0, (size_t)(x->bytes - given));
	}
}

/* NAME:ema: where its colon is; NULL: no such name */
static const char *
is_average(const char *name)
{
	const char *colon = strrchr(name, ':');

	return colon && strcmp(colon, ":ema") == 0 ? colon : NULL;
}

bool
states_averaged(const struct states *s)
{
	for (int i = 0; i < s->n; i++)
		if (is_average(s->v[i].name))
			return true;
	return false;
}

const unsigned char *
run_weights(struct run *r)
{
	const struct rt_program *p = r->t->stages[r->cur.stage].train;
	const struct states *s = &r->states;
	bool any = false;

	for (int i = 0; i < p->nstates; i++) {
		const char *name = p->states[i].name, *colon = is_average(name);
		int of = colon ? find_state(s, name, (size_t)(colon - name)) : -1;

		if (of < 0)
			continue;
		if (!any)
			memcpy(r->averaged, s->data, (size_t)s->bytes);
		any = true;
		memcpy(r->averaged + s->v[of].at, s->data + states_find(s, name)->at,
		    (size_t)s->v[of].bytes);
	}
	return any ? r->averaged : s->data;
}

const char *
states_not_finite(const struct states *s, const unsigned char *data)
{
	for (int i = 0; i < s->n; i++) {
		const float *f = (const float *)(data + s->v[i].at);

		for (int64_t k = 0; s->v[i].dtype == RT_F32 && k < s->v[i].bytes / 4; k++)
			if (!isfinite(f[k]))
				return s->v[i].name;
	}
	return NULL;
}

/* ---- all of it */
static bool
own(struct exec *e, int i)
{
	const struct rt_program *p = e->p;

	e->own[i] = rt_alloc(
	    (size_t)(i < p->ninputs ? p->inputs[i] : p->outputs[i - p->ninputs]).bytes);
	e->base[3 + i] = e->own[i];
	if (i < p->ninputs)
		e->feeds[i].buf = e->own[i];
	return e->own[i] != NULL;
}

bool
exec_open(struct exec *e, const struct rt_program *p, struct run *r)
{
	return exec_open_set(e, p, -1, 0, r);
}

/* Inputs of the data get memory of their own only where no loader fills them. */
bool
exec_open_set(struct exec *e, const struct rt_program *p, int set, int more, struct run *r)
{
	*e = (struct exec){.p = p, .set = set};
	if (p->abi != RT_ABI || p->nsyms > 0)
		return rt_fail(&r->msg, RT_INTERNAL,
		    "program %s was compiled for another runtime, or has symbolic dims", p->name);
	if (p->work_bytes > r->work_bytes)
		return rt_fail(&r->msg, RT_INTERNAL,
		    "program %s needs more work memory than was planned", p->name);
	e->base =
	    region_alloc(&r->region, sizeof *e->base * (size_t)(3 + p->ninputs + p->noutputs));
	e->own = region_alloc(&r->region, sizeof *e->own * (size_t)(p->ninputs + p->noutputs + 1));
	e->feeds = region_alloc(&r->region, sizeof *e->feeds * ((size_t)p->ninputs + 1));
	if (!e->base || !e->own || !e->feeds)
		return oom(r);
	e->base[0] = r->work;
	e->base[1] = (void *)p->constants;
	e->base[2] = r->states.data;
	for (int i = 0; i < p->ninputs; i++) {
		e->feeds[i].ring = -1;
		if (!bind(&e->feeds[i], &p->inputs[i], e, r))
			return false;
	}
	for (int i = 0; i < p->ninputs + p->noutputs; i++)
		if ((i >= p->ninputs || e->feeds[i].kind > FEED_NUMBERS) && !own(e, i))
			return oom(r);
	return bind_outputs(e, more, r);
}

/* The programs of a stage: of the first, and of its other buckets or sets. */
bool
exec_open_stage(struct exec *e, const struct rt_stage *s, struct run *r)
{
	bool sets = r->cfg.sets[0].share > 0;
	int want = sets ? r->cfg.nsets : r->cfg.sets[0].nbuckets, more = 0;

	if (s->nmore + 1 != (want ? want : 1))
		return rt_fail(&r->msg, RT_INTERNAL, "a stage has %d programs, its data needs %d",
		    s->nmore + 1, want);
	for (int i = 0; i < s->nmore; i++)
		more += s->more[i]->noutputs;
	if (!exec_open_set(e, s->train, sets ? 0 : -1, more, r))
		return false;
	e->more = region_alloc(&r->region, sizeof *e->more * (size_t)(s->nmore + 1));
	if (!e->more)
		return oom(r);
	for (; e->nmore < s->nmore; e->nmore++) {
		struct exec *x = &e->more[e->nmore];

		if (!exec_open_set(x, s->more[e->nmore], sets ? e->nmore + 1 : -1, 0, r))
			return false;
		join_meters(e, x);
	}
	return true;
}

void
exec_close(struct exec *e)
{
	for (int i = 0; i < e->nmore; i++)
		exec_close(&e->more[i]);
	for (int i = 0; e->p && e->own && i < e->p->ninputs + e->p->noutputs; i++)
		rt_free(e->own[i]);
	e->p = NULL;
	e->nmore = 0;
}

/* The numbers of the step. */
void
exec_numbers(struct exec *e, const struct run *r, const int64_t *valid, double lr, int64_t step)
{
	int64_t steps;

	for (int i = 0; i < e->p->ninputs; i++) {
		const struct feed *f = &e->feeds[i];

		switch (f->kind) {
		case FEED_LR:
			*(float *)f->buf = (float)lr;
			break;
		case FEED_STEP:
			*(int64_t *)f->buf = step;
			break;
		case FEED_MICRO:
			*(int64_t *)f->buf = run_window(r, &steps);
			break;
		case FEED_MICROS:
			run_window(r, &steps);
			*(int64_t *)f->buf = steps;
			break;
		case FEED_MOMENTUM:
			*(double *)f->buf = run_momentum(r, step - 1);
			break;
		case FEED_SEED:
			*(int64_t *)f->buf = (int64_t)(r->seed + ((uint64_t)r->cur.stage << 32));
			break;
		case FEED_DIAL:
			*(float *)f->buf = (float)run_dial(r, f->dial);
			break;
		case FEED_TASK:
			*(float *)f->buf = (float)task_weight(r, f->dial);
			break;
		case FEED_VALID:
			*(int64_t *)f->buf = valid[f->set < 0 ? 0 : f->set];
			break;
		default:
			break;
		}
	}
}

/* The batch that r->batches names, made here and now. */
bool
exec_fill(struct exec *e, struct run *r, enum split k, bool augment)
{
	struct maker m = {r, &r->batches, &r->aug, r->row, &r->msg};

	for (int i = 0; i < e->p->ninputs; i++) {
		if (e->feeds[i].kind > FEED_NUMBERS)
			continue;
		if (!e->own[i] && !own(e, i))
			return oom(r);
		e->base[3 + i] = e->feeds[i].buf = e->own[i];
		if (!feed_make(&m, &e->feeds[i], k, augment, e->own[i]))
			return false;
	}
	exec_numbers(e, r, r->batches.valid, 0, 1);
	return true;
}

void
exec_run(struct exec *e, struct run *r)
{
	rt_run(r->trial.alone ? NULL : r->pool, e->p, e->base, NULL);
}
