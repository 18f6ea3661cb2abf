/* recipe_balance -- task_weights: and task_gradients: of a stage. */
#include "frontend/recipe_int.h"

#include "host/metric.h"

#include <stddef.h>

static const char *const methods[] = {
#define TASK_WEIGHTS(id, by) #id,
#include "ir/task.def"
};
static const enum task_by by[] = {
#define TASK_WEIGHTS(id, by) TASK_BY_##by,
#include "ir/task.def"
};
static const char *const gradients[] = {
#define TASK_GRADIENTS(id) #id,
#include "ir/task.def"
};
static const struct {
	enum task_weights of;
	const char *key;
	double otherwise, least, most;
	size_t at;
} settings[] = {
#define TASK_SETTING(id, key, otherwise, least, most)                                              \
	{TASKS_##id, #key, otherwise, least, most, offsetof(struct task_balance, key)},
#include "ir/task.def"
};
enum { NSETTINGS = sizeof settings / sizeof *settings };

/* Its place among the known words; -1: reported, or no word. */
static int
choice(
    struct ydoc *y, ynode *at, const char *what, const char *word, int n, const char *const *known)
{
	for (int i = 0; word && i < n; i++)
		if (strcmp(known[i], word) == 0)
			return i;
	if (word)
		yaml_bad(
		    y, at, "no %s is called \"%s\"%s", what, word, yaml_hint(y, word, n, known));
	return -1;
}

/* Task by task: a number, or where the way allows it a curve. */
static void
numbers(struct ydoc *y, ynode *map, bool curves, const struct recipe *r, struct recipe_stage *st)
{
	const char **known = arena_array(y->arena, const char *, r->ntasks + 1);

	for (int i = 0; i < r->ntasks; i++)
		known[i] = r->tasks[i].name;
	if (!yaml_keys(y, map, "task_weights", r->ntasks, known))
		return;
	st->task_weights = arena_array(y->arena, struct recipe_task_weight, yaml_count(map) + 1);
	for (int i = 0; i < yaml_count(map); i++) {
		const char *task = yaml_key(y, map, i);
		struct recipe_task_weight *w = &st->task_weights[st->ntask_weights++];

		*w = (struct recipe_task_weight){
		    .task = task, .line = yaml_line(yaml_key_node(y, map, i))};
		if (curves)
			w->weight = recipe_dial(y, map, task, 1, 0, INFINITY);
		else
			w->weight.from = yaml_number(y, map, task, 1, 1e-6, INFINITY);
	}
}

static void
weights(struct ydoc *y, ynode *n, const struct recipe *r, struct recipe_stage *st)
{
	struct task_balance *b = &st->balance;
	bool map = yaml_is_map(n), given;
	const char *keys[16], *method;
	int nkeys = 0, which;

	method = map ? yaml_string(y, n, "method", NULL) : yaml_text(y, n);
	if (!method) {
		yaml_bad(y, n, "\"task_weights\" needs a \"method\", such as {method: dwa}");
		return;
	}
	which = choice(y, map ? yaml_get(y, n, "method") : n, "way to weigh tasks", method,
	    NTASK_WEIGHTS, methods);
	if (which < 0)
		return;
	b->weights = (enum task_weights)which;
	given = by[b->weights] == TASK_BY_NUMBER;
	keys[nkeys++] = "method";
	keys[nkeys++] = given ? "weights" : "init";
	if (b->weights == TASKS_gradnorm)
		keys[nkeys++] = "layer";
	for (int i = 0; i < NSETTINGS; i++) {
		double *v = (double *)((char *)b + settings[i].at);

		if (settings[i].of != b->weights)
			continue;
		keys[nkeys++] = settings[i].key;
		*v = yaml_number(y, n, settings[i].key, settings[i].otherwise, settings[i].least,
		    settings[i].most);
	}
	if (map && !yaml_keys(y, n, "task_weights", nkeys, keys))
		return;
	b->layer = map ? yaml_string(y, n, "layer", "last") : "last";
	if (map && yaml_get(y, n, keys[1]))
		numbers(y, yaml_get(y, n, keys[1]), given, r, st);
	else if (given)
		yaml_bad(y, n,
		    "task_weights: method \"%s\" needs \"weights\": {TASK: NUMBER OR CURVE, ...}",
		    method);
}

/* A word, or {method: mgda, normalize: norm} */
static void
joined(struct ydoc *y, ynode *n, struct task_balance *b)
{
	static const char *const by_what[] = {"none", "norm", "loss"};
	bool map = yaml_is_map(n);
	const char *method = map ? yaml_string(y, n, "method", NULL) : yaml_text(y, n);
	int which;

	if (!method) {
		yaml_bad(y, n,
		    "\"task_gradients\" needs a \"method\", such as {method: mgda, normalize: "
		    "norm}");
		return;
	}
	which = choice(y, map ? yaml_get(y, n, "method") : n, "way to join the tasks' gradients",
	    method, NTASK_GRADIENTS, gradients);
	if (which >= 0)
		b->gradients = (enum task_gradients)which;
	if (!map || which < 0)
		return;
	if (b->gradients == GRADIENTS_mgda)
		YAML_KEYS(y, n, "task_gradients", "method", "normalize");
	else
		YAML_KEYS(y, n, "task_gradients", "method");
	which = choice(y, yaml_get(y, n, "normalize"), "norm of gradients",
	    yaml_string(y, n, "normalize", "none"), 3, by_what);
	if (which >= 0)
		b->normalize = (enum task_normalize)which;
}

void
recipe_balance(struct ydoc *y, ynode *stage, const struct recipe *r, struct recipe_stage *st)
{
	ynode *w = yaml_get(y, stage, "task_weights"), *g = yaml_get(y, stage, "task_gradients");

	st->balance.loc = yaml_loc(y, w ? w : g ? g : stage);
	if (w)
		weights(y, w, r, st);
	if (g)
		joined(y, g, &st->balance);
}

/* ---- references */
static bool
has_terms(const struct recipe *r, const struct recipe_stage *st, const char *task)
{
	const struct recipe_term *terms = st->nterms ? st->terms : r->terms;
	int n = st->nterms ? st->nterms : r->nterms;

	for (int i = 0; i < n; i++)
		if (terms[i].task && strcmp(terms[i].task, task) == 0)
			return true;
	return false;
}

static bool
has_val(const struct recipe *r)
{
	bool any = r->val.n > 0 || r->val.from;

	for (int i = 0; i < r->nsets; i++)
		any |= r->sets[i].val.n > 0 || r->sets[i].val.from;
	return any;
}

static void
check_val_metric(const struct recipe *r, const struct recipe_stage *st, struct diag *d)
{
	if (!has_val(r))
		diag_invalid(d, st->balance.loc,
		    "task_weights: method \"val_metric\" needs a val split, such as val: {from: "
		    "train, fraction: 0.1}");
	for (int i = 0; i < r->ntasks; i++) {
		const struct recipe_task *t = &r->tasks[i];

		if (!has_terms(r, st, t->name) ||
		    (t->nmetrics && metric_info[t->metrics[0].id].better > 0))
			continue;
		diag_invalid(d, st->balance.loc,
		    "task_weights: method \"val_metric\" goes by the first metric of each task, "
		    "one of which more is "
		    "better, such as accuracy; task \"%s\" has %s%s",
		    t->name, t->nmetrics ? "" : "none", t->nmetrics ? t->metrics[0].name : "");
	}
}

/* 0 all through the stage? */
static bool
is_never(const struct dial *d, int64_t epochs)
{
	if (d->from != 0)
		return false;
	return d->curve == DIAL_FIXED || d->to == 0 || (double)epochs <= d->begin ||
	       (d->curve == DIAL_STEP && (double)epochs <= d->end);
}

static bool
task_is_never(const struct recipe *r, const struct recipe_stage *st, const char *task)
{
	bool given = by[st->balance.weights] == TASK_BY_NUMBER;

	for (int i = 0; i < r->ntasks; i++)
		if (strcmp(r->tasks[i].name, task) == 0 && r->tasks[i].weight == 0)
			return true;
	for (int i = 0; i < st->ntask_weights && given; i++)
		if (strcmp(st->task_weights[i].task, task) == 0 &&
		    is_never(&st->task_weights[i].weight, st->epochs))
			return true;
	return false;
}

/* Terms that are computed for nothing. */
static void
warn_of_zeros(const struct recipe *r, const struct recipe_stage *st, struct diag *d)
{
	const struct recipe_term *terms = st->nterms ? st->terms : r->terms;
	int n = st->nterms ? st->nterms : r->nterms;

	for (int i = 0; i < n; i++) {
		const struct recipe_term *t = &terms[i];
		struct loc at = {.file = r->path, .node = -1, .line = t->line};
		bool own = is_never(&t->weight, st->epochs);

		if (own || (t->task && task_is_never(r, st, t->task)))
			diag_warn(d, at,
			    "term \"%s\" never matters: %s is 0 in all epochs of stage \"%s\"",
			    t->name, own ? "its weight" : "the weight of its task", st->name);
	}
}

void
recipe_check_balance(const struct recipe *r, const struct recipe_stage *st, struct diag *d)
{
	const struct task_balance *b = &st->balance;
	bool compares = b->gradients != GRADIENTS_sum || b->weights == TASKS_gradnorm;

	warn_of_zeros(r, st, d);
	if (b->weights == TASKS_val_metric)
		check_val_metric(r, st, d);
	if (compares && r->interleaved)
		diag_invalid(d, b->loc,
		    "%s compares the gradients of the tasks of a step; with data.interleave a step "
		    "has those of one "
		    "set only",
		    b->weights == TASKS_gradnorm ? "gradnorm" : gradients[b->gradients]);
	for (int i = 0; i < st->ntask_weights; i++) {
		struct loc at = {.file = r->path, .node = -1, .line = st->task_weights[i].line};

		if (!has_terms(r, st, st->task_weights[i].task))
			diag_invalid(d, at,
			    "task_weights: no term of this stage is about task \"%s\"",
			    st->task_weights[i].task);
	}
}
