/* config_stage -- parses the configuration of a stage. */
#include "runtime/config_line.h"

#include <string.h>

static bool
parse_schedule(struct line *l, struct schedule *s)
{
	double least, most, *v;

	if (l->n < 2 || !schedule_set(s, l->w[1]))
		return line_bad(l, "unknown schedule");
	for (int i = 2; i < l->n; i += 2) {
		v = schedule_key(s, l->w[1], l->w[i], &least, &most);
		if (!v)
			return line_bad(l, "the schedule has no such key");
		if (!line_real(l, i + 1, least, most, v))
			return false;
	}
	return schedule_complete(s, l->w[1]) || line_bad(l, "a key of the schedule is missing");
}

static bool
parse_milestones(struct line *l, struct schedule *s)
{
	if (l->n - 1 > MAX_MILESTONES)
		return line_bad(l, "too many milestones");
	s->nmilestones = 0;
	for (int i = 1; i < l->n; i++)
		if (!line_integer(l, i, 0, INT32_MAX, &s->milestones[s->nmilestones++]))
			return false;
	return true;
}

static bool
parse_by(struct line *l, struct schedule *s)
{
	if (!line_words(l, 1) || (strcmp(l->w[1], "epoch") != 0 && strcmp(l->w[1], "step") != 0))
		return line_bad(l, "expected epoch or step");
	s->by_epoch = l->w[1][0] == 'e';
	return true;
}

/* dial NAME FROM TO BEGIN END CURVE */
static bool
parse_dial(struct line *l, struct stage_config *s)
{
	struct cfg_dial *d = &s->dials[s->ndials];

	if (s->ndials == MAX_DIALS)
		return line_bad(l, "too many dials");
	if (!line_words(l, 6) || !line_real(l, 2, -1e30, 1e30, &d->from) ||
	    !line_real(l, 3, -1e30, 1e30, &d->to) || !line_real(l, 4, 0, 1e12, &d->begin) ||
	    !line_real(l, 5, d->begin, 1e12, &d->end))
		return false;
	d->name = l->w[1];
	if (!dial_curve(l->w[6], &d->curve))
		return line_bad(l, "unknown curve");
	if (d->curve == CURVE_EXPONENTIAL && !(d->from > 0 && d->to > 0))
		return line_bad(l, "an exponential goes between positive numbers");
	s->ndials++;
	return true;
}

/* task_weights dwa T | val_metric GAMMA */
static bool
parse_task_weights(struct line *l, struct stage_config *s)
{
	if (!line_words(l, 2) ||
	    !line_real(l, 2, strcmp(l->w[1], "dwa") == 0 ? 1e-6 : 0, 1e6, &s->task_setting))
		return false;
	if (strcmp(l->w[1], "dwa") == 0)
		s->task_method = TASK_DWA;
	else if (strcmp(l->w[1], "val_metric") == 0)
		s->task_method = TASK_VAL_METRIC;
	else
		return line_bad(l, "expected dwa or val_metric");
	return true;
}

/* weight TERM WEIGHT [TASK] */
static bool
parse_weight(struct line *l, struct stage_config *s)
{
	if (s->nweights == 64)
		return true;
	if ((l->n != 4 && !line_words(l, 2)) ||
	    !line_real(l, 2, -1e12, 1e12, &s->weights[s->nweights].weight))
		return false;
	s->weights[s->nweights].term = l->w[1];
	s->weights[s->nweights++].task = l->n == 4 ? l->w[3] : NULL;
	return true;
}

static bool
stage_entry(struct line *l, struct stage_config *s)
{
	struct schedule *c = &s->schedule;
	const char *key = l->w[0];

	if (strcmp(key, "name") == 0)
		return line_string(l, &s->name);
	if (strcmp(key, "epochs") == 0)
		return line_words(l, 1) && line_integer(l, 1, 0, INT32_MAX, &s->epochs);
	if (strcmp(key, "lr") == 0)
		return line_words(l, 1) && line_real(l, 1, 0, 1e6, &s->lr);
	if (strcmp(key, "flops") == 0) {
		for (int i = 0; i < NPHASES; i++)
			if (!line_real(l, 1 + i, 0, 1e30, &s->flops[i]))
				return false;
		return line_words(l, NPHASES);
	}
	if (strcmp(key, "parameters") == 0)
		return line_words(l, 2) && line_integer(l, 1, 0, INT64_MAX, &s->trained) &&
		       line_integer(l, 2, 0, INT64_MAX, &s->running);
	if (strcmp(key, "accumulate") == 0)
		return line_words(l, 1) && line_integer(l, 1, 1, INT32_MAX, &s->accumulate);
	if (strcmp(key, "warmup_epochs") == 0)
		return line_words(l, 1) && line_real(l, 1, 0, 1e9, &c->warmup_epochs);
	if (strcmp(key, "warmup_steps") == 0)
		return line_words(l, 1) && line_real(l, 1, 0, 1e15, &c->warmup_steps);
	if (strcmp(key, "warmup_start") == 0)
		return line_words(l, 1) && line_real(l, 1, 0, 1e6, &c->warmup_start);
	if (strcmp(key, "schedule") == 0)
		return parse_schedule(l, c);
	if (strcmp(key, "milestones") == 0)
		return parse_milestones(l, c);
	if (strcmp(key, "by") == 0)
		return parse_by(l, c);
	if (strcmp(key, "weight") == 0)
		return parse_weight(l, s);
	if (strcmp(key, "dial") == 0)
		return parse_dial(l, s);
	if (strcmp(key, "task_weights") == 0)
		return parse_task_weights(l, s);
	return line_bad(l, "unknown key");
}

bool
stage_config_parse(struct stage_config *s, const char *text, struct region *r, struct rt_msg *m)
{
	struct line l = {.m = m, .what = "stage config"};
	char *p = line_text(text, r, m);

	*s = (struct stage_config){.name = "main",
	    .epochs = 1,
	    .lr = 0.001,
	    .accumulate = 1,
	    .schedule = {.warmup_start = -1}};
	if (!p)
		return false;
	while (line_next(&l, &p))
		if (!stage_entry(&l, s))
			return false;
	return !m->status;
}
