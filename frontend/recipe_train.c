/* recipe_train -- train: of a recipe. */
#include "frontend/recipe_int.h"


/* ---- one of several kinds, written {kind: {settings}} or just kind */
static ynode *
kind_of(struct ydoc *y, ynode *n, const char *what, int nkinds, const char *const *kinds,
    const char **kind)
{
	ynode *settings = NULL, *at = n;
	int i;

	*kind = NULL;
	if (yaml_is_scalar(n)) {
		*kind = yaml_text(y, n);
	} else if (yaml_is_map(n) && yaml_count(n) == 1) {
		*kind = yaml_key(y, n, 0);
		at = yaml_key_node(y, n, 0);
		settings = yaml_get(y, n, *kind);
		if (settings && !yaml_is_map(settings)) {
			yaml_bad(
			    y, settings, "settings of %s \"%s\" must be a mapping", what, *kind);
			settings = NULL;
		}
	} else {
		yaml_bad(y, n, "%s must be one of its kinds with its settings, as {%s: {...}}",
		    what, kinds[0]);
		return NULL;
	}
	for (i = 0; i < nkinds; i++)
		if (strcmp(kinds[i], *kind) == 0) {
			*kind = kinds[i];
			return settings;
		}
	yaml_bad(
	    y, at, "no %s is called \"%s\"%s", what, *kind, yaml_hint(y, *kind, nkinds, kinds));
	*kind = NULL;
	return NULL;
}

/* ---- settings: keys of a mapping as a table has them */
enum setting_kind { REAL, CHANCE, WHOLE, FLAG, WORD };
struct setting {
	const char *of, *key;
	double otherwise, least, most; /* otherwise NAN: must be given */
	enum setting_kind kind;
	const char *words; /* of WORD, one blank between */
	size_t at;
};
enum { MAX_KEYS = 48 };

/* The known keys of a kind, `extra` ones first. */
static int
keys_of(const char *of, int n, const struct setting *table, int nextra, const char *const *extra,
    const char **keys)
{
	int count = 0, i;

	for (i = 0; i < nextra; i++)
		keys[count++] = extra[i];
	for (i = 0; i < n; i++)
		if (strcmp(table[i].of, of) == 0)
			keys[count++] = table[i].key;
	return count;
}

static double
word(struct ydoc *y, ynode *map, const struct setting *s)
{
	const char *text = yaml_string(y, map, s->key, NULL), *known[8], *w = s->words;
	int n = 0, i;

	while (*w && n < 8) {
		size_t len = strcspn(w, " ");

		known[n++] = arena_strndup(y->arena, w, len);
		w += len + (w[len] == ' ');
	}
	for (i = 0; text && i < n; i++)
		if (strcmp(known[i], text) == 0)
			return i;
	if (text)
		yaml_bad(y, yaml_get(y, map, s->key), "\"%s\" is \"%s\"%s", s->key, text,
		    yaml_hint(y, text, n, known));
	return s->otherwise;
}

/* The value of a setting, or `otherwise` where the mapping does not have it. */
static double
setting(struct ydoc *y, ynode *map, const struct setting *s, double otherwise)
{
	double v;

	if (!yaml_get(y, map, s->key))
		return otherwise;
	switch (s->kind) {
	case FLAG:
		return yaml_bool(y, map, s->key, otherwise > 0);
	case WHOLE:
		return (double)yaml_int(
		    y, map, s->key, (int64_t)s->least, (int64_t)s->least, (int64_t)s->most);
	case WORD:
		return word(y, map, s);
	case REAL:
	case CHANCE:
		break;
	}
	v = yaml_number(y, map, s->key, otherwise, s->least, s->most);
	if (s->kind == CHANCE && v >= 1) {
		yaml_bad(
		    y, yaml_get(y, map, s->key), "\"%s\" is %g, must lie in [0, 1)", s->key, v);
		v = otherwise;
	}
	return v;
}

/* ---- optimizer */
static const char *const optimizers[] = {
#define OPTIMIZER(ID, id) #id,
#include "ir/optimizer.def"
};
static const struct setting optimizer_settings[] = {
#define SETTING(id, key, otherwise, least, most, kind)                                             \
	{#id, #key, otherwise, least, most, kind, NULL, offsetof(struct optimizer, key)},
#include "ir/optimizer.def"
};
enum { NSETTINGS = sizeof optimizer_settings / sizeof *optimizer_settings };

static double *
member(struct optimizer *o, const struct setting *s)
{
	return (double *)((char *)o + s->at);
}

/* What the mapping gives of the kind's settings; the rest stays. */
static void
optimizer_keys(struct ydoc *y, ynode *map, struct optimizer *o)
{
	const char *of = optimizers[o->kind];
	double *betas;
	int i, nbetas = yaml_numbers(y, map, "betas", &betas);

	if (nbetas && nbetas != 2)
		yaml_bad(y, yaml_get(y, map, "betas"), "\"betas\" takes two numbers");
	for (i = 0; i < NSETTINGS; i++) {
		const struct setting *s = &optimizer_settings[i];
		double *v = member(o, s);

		if (strcmp(s->of, of) != 0)
			continue;
		*v = setting(y, map, s, *v);
		if (nbetas != 2 || !str_starts(s->key, "beta"))
			continue;
		*v = betas[s->key[4] - '1'];
		if (!(*v >= 0 && *v < 1)) {
			yaml_bad(y, yaml_get(y, map, "betas"), "betas %g and %g must lie in [0, 1)",
			    betas[0], betas[1]);
			nbetas = 0;
		}
	}
	if (o->nesterov > 0 && (o->momentum <= 0 || o->dampening > 0))
		yaml_bad(y, map, "nesterov needs a momentum above 0 and no dampening");
}

static bool
has_betas(enum optimizer_kind kind)
{
	int i;

	for (i = 0; i < NSETTINGS; i++)
		if (strcmp(optimizer_settings[i].of, optimizers[kind]) == 0 &&
		    strcmp(optimizer_settings[i].key, "beta1") == 0)
			return true;
	return false;
}

static void
optimizer(struct ydoc *y, ynode *stage, struct optimizer *o)
{
	static const char *const extra[] = {"lr", "betas"};
	ynode *n = yaml_get(y, stage, "optimizer"), *s;
	const char *kind, *keys[MAX_KEYS];
	int i;

	*o = (struct optimizer){.kind = OPT_SGD, .lr = 0.01};
	if (!n) {
		yaml_bad(y, stage, "a stage needs an \"optimizer\", such as {adam: {lr: 0.002}}");
		return;
	}
	s = kind_of(y, n, "optimizer", NOPTIMIZER, optimizers, &kind);
	if (!kind)
		return;
	for (i = 0; optimizers[i] != kind; i++)
		;
	o->kind = (enum optimizer_kind)i;
	for (i = 0; i < NSETTINGS; i++)
		if (strcmp(optimizer_settings[i].of, kind) == 0)
			*member(o, &optimizer_settings[i]) = optimizer_settings[i].otherwise;
	if (s) {
		yaml_keys(y, s, kind,
		    keys_of(kind, NSETTINGS, optimizer_settings, has_betas(o->kind) ? 2 : 1, extra,
			keys),
		    keys);
		optimizer_keys(y, s, o);
	}
	if (!s || !yaml_get(y, s, "lr"))
		yaml_bad(y, n, "optimizer \"%s\" needs a learning rate, as {%s: {lr: 0.002}}", kind,
		    kind);
	else
		o->lr = yaml_number(y, s, "lr", 0.01, 0, INFINITY);
}

/* ---- groups, clip, ema, accumulate */
static void
group(struct ydoc *y, ynode *n, const struct optimizer *base, struct param_group *g)
{
	static const char *const extra[] = {
	    "match", "max_rank", "frozen", "lr", "lr_scale", "betas"};
	const char *keys[MAX_KEYS], **match;

	*g = (struct param_group){.max_rank = -1, .optimizer = *base, .loc = yaml_loc(y, n)};
	if (!yaml_keys(y, n, "groups",
		keys_of(optimizers[base->kind], NSETTINGS, optimizer_settings,
		    has_betas(base->kind) ? 6 : 5, extra, keys),
		keys) &&
	    !yaml_is_map(n))
		return;
	g->nmatch = yaml_strings(y, n, "match", &match);
	g->match = match;
	if (!g->nmatch && !yaml_get(y, n, "max_rank"))
		yaml_bad(y, n,
		    "a group needs \"match\", patterns of parameters' names, or "
		    "\"max_rank\", the most dims they have");
	if (yaml_get(y, n, "max_rank"))
		g->max_rank = (int)yaml_int(y, n, "max_rank", 1, 0, MAX_RANK);
	g->frozen = yaml_bool(y, n, "frozen", false);
	if (yaml_get(y, n, "lr") && yaml_get(y, n, "lr_scale"))
		yaml_bad(y, n, "a group has either \"lr\" or \"lr_scale\"");
	g->optimizer.lr = yaml_number(y, n, "lr", base->lr, 0, INFINITY) *
			  yaml_number(y, n, "lr_scale", 1, 0, INFINITY);
	if (g->optimizer.lr > 0 && base->lr <= 0)
		yaml_bad(y, yaml_get(y, n, "lr"),
		    "a group's rate goes with the optimizer's, which is 0");
	optimizer_keys(y, n, &g->optimizer);
}

/* dot_delta: momenta of labels and teachers apart */
static void
two_momenta(struct ydoc *y, ynode *stage, const struct update_rule *u)
{
	const struct optimizer *o = &u->optimizer;
	ynode *at = yaml_get(y, stage, "optimizer");

	for (int i = 0; i < u->ngroups; i++)
		if (u->groups[i].optimizer.dot_delta != o->dot_delta)
			yaml_bad(y, at, "dot_delta is of all groups or none");
	if (o->dot_delta <= 0)
		return;
	if (o->momentum - o->dot_delta < 0 || o->momentum + o->dot_delta >= 1)
		yaml_bad(y, at, "momentum - dot_delta and momentum + dot_delta, %g and %g, must lie in [0, 1)",
		    o->momentum - o->dot_delta, o->momentum + o->dot_delta);
	if (o->nesterov > 0 || o->dampening > 0 || u->clip_value > 0 || u->clip_norm > 0 || u->accumulate > 1)
		yaml_bad(y, at, "dot_delta goes without nesterov, dampening, clip and accumulate");
	if (yaml_get(y, stage, "task_gradients"))
		yaml_bad(y, at, "dot_delta tells labels and teachers apart and goes without task_gradients");
}

static void
update(struct ydoc *y, ynode *stage, struct update_rule *u)
{
	ynode *groups = yaml_get(y, stage, "groups"), *clip = yaml_get(y, stage, "clip"),
	      *ema = yaml_get(y, stage, "ema");
	int i;

	optimizer(y, stage, &u->optimizer);
	if (groups && !yaml_is_list(groups)) {
		yaml_bad(y, groups,
		    "\"groups\" must be a list, as [{match: \"*.bias\", "
		    "weight_decay: 0}]");
	} else if (groups) {
		u->ngroups = yaml_count(groups);
		u->groups = arena_array(y->arena, struct param_group, u->ngroups + 1);
		for (i = 0; i < u->ngroups; i++)
			group(y, yaml_item(y, groups, i), &u->optimizer, &u->groups[i]);
	}
	if (clip && YAML_KEYS(y, clip, "clip", "value", "norm")) {
		u->clip_value = yaml_number(y, clip, "value", 0, 1e-30, INFINITY);
		u->clip_norm = yaml_number(y, clip, "norm", 0, 1e-30, INFINITY);
		if (!yaml_get(y, clip, "value") && !yaml_get(y, clip, "norm"))
			yaml_bad(y, clip, "clip needs \"value\" or \"norm\"");
	}
	if (ema && YAML_KEYS(y, ema, "ema", "decay", "warmup")) {
		u->ema_decay = yaml_number(y, ema, "decay", 0, 0, 1);
		u->ema_warmup = yaml_bool(y, ema, "warmup", false);
		if (!yaml_get(y, ema, "decay"))
			yaml_bad(y, ema, "ema needs \"decay\", such as 0.999");
		else if (u->ema_decay <= 0 || u->ema_decay >= 1)
			yaml_bad(y, ema, "decay %g must lie between 0 and 1", u->ema_decay);
	}
	u->accumulate = yaml_int(y, stage, "accumulate", 1, 1, 1 << 20);
	two_momenta(y, stage, u);
}

/* ---- schedule */
static const char *const schedules[] = {
#define SCHEDULE(id, counts) #id,
#include "runtime/schedule.def"
};
static const struct setting schedule_keys[] = {
#define KEY(id, key, otherwise, least, most, kind, words)                                          \
	{#id, #key, otherwise, least, most, kind, words, 0},
#include "runtime/schedule.def"
};
enum {
	NSCHEDULES = sizeof schedules / sizeof *schedules,
	NSCHEDULE_KEYS = sizeof schedule_keys / sizeof *schedule_keys,
	MAX_MILESTONES = 1000
};

static void
milestones(struct ydoc *y, ynode *at, ynode *s, struct recipe_schedule *c)
{
	int i;

	c->nmilestones = yaml_ints(y, s, "milestones", &c->milestones, 1, INT32_MAX);
	if (!c->nmilestones)
		yaml_bad(y, at, "schedule \"multistep\" needs \"milestones\", a list of epochs");
	if (c->nmilestones > MAX_MILESTONES)
		yaml_bad(y, at, "%d milestones are more than %d", c->nmilestones, MAX_MILESTONES);
	for (i = 1; i < c->nmilestones; i++)
		if (c->milestones[i] <= c->milestones[i - 1])
			yaml_bad(y, yaml_get(y, s, "milestones"),
			    "milestones must rise: %lld comes after %lld",
			    (long long)c->milestones[i], (long long)c->milestones[i - 1]);
}

static void
warmup(struct ydoc *y, ynode *s, struct recipe_schedule *c)
{
	c->warmup_epochs = yaml_number(y, s, "warmup_epochs", 0, 0, 1e9);
	c->warmup_steps = (double)yaml_int(y, s, "warmup_steps", 0, 0, INT64_C(1) << 40);
	if (yaml_get(y, s, "warmup_epochs") && yaml_get(y, s, "warmup_steps"))
		yaml_bad(y, s, "a schedule has either \"warmup_epochs\" or \"warmup_steps\"");
	if (yaml_get(y, s, "warmup_start"))
		c->warmup_start = yaml_number(y, s, "warmup_start", 0, 0, 1);
	if (c->warmup_start >= 0 && c->warmup_epochs <= 0 && c->warmup_steps <= 0)
		yaml_bad(y, yaml_get(y, s, "warmup_start"),
		    "\"warmup_start\" needs \"warmup_epochs\" or \"warmup_steps\" above 0");
}

static void
schedule(struct ydoc *y, ynode *stage, struct recipe_schedule *c)
{
	static const char *const common[] = {
	    "by", "warmup_epochs", "warmup_steps", "warmup_start", "milestones", "step_epochs"};
	ynode *n = yaml_get(y, stage, "schedule"), *s;
	const char *keys[MAX_KEYS], *by, *kind;
	int i, nkeys;

	*c = (struct recipe_schedule){.kind = "constant", .by = -1, .warmup_start = -1};
	if (!n)
		return;
	c->line = yaml_line(n);
	s = kind_of(y, n, "schedule", NSCHEDULES, schedules, &kind);
	if (!kind)
		return;
	c->kind = kind;
	/* onecycle warms up itself; step_epochs is step_size by its older name */
	nkeys = strcmp(kind, "onecycle") == 0 ? 1 : strcmp(kind, "multistep") == 0 ? 5 : 4;
	nkeys = keys_of(kind, NSCHEDULE_KEYS, schedule_keys, nkeys, common, keys);
	if (strcmp(kind, "step") == 0)
		keys[nkeys++] = "step_epochs";
	if (s && !yaml_keys(y, s, kind, nkeys, keys))
		return; /* what seems to be missing may be the key that is misspelt */
	by = yaml_string(y, s, "by", NULL);
	if (by && strcmp(by, "epoch") != 0 && strcmp(by, "step") != 0)
		yaml_bad(y, yaml_get(y, s, "by"), "\"by\" is \"%s\"; it is epoch or step", by);
	else if (by)
		c->by = by[0] == 'e';
	warmup(y, s, c);
	if (strcmp(kind, "multistep") == 0)
		milestones(y, n, s, c);
	c->keys = arena_array(y->arena, struct recipe_key, NSCHEDULE_KEYS);
	for (i = 0; i < NSCHEDULE_KEYS; i++) {
		struct setting k = schedule_keys[i];
		double v;

		if (strcmp(k.of, kind) != 0)
			continue;
		if (strcmp(k.key, "step_size") == 0 && yaml_get(y, s, "step_epochs"))
			k.key = "step_epochs";
		v = setting(y, s, &k, k.otherwise);
		if (isnan(v))
			yaml_bad(y, n, "schedule \"%s\" needs \"%s\"", kind, k.key);
		c->keys[c->nkeys++] = (struct recipe_key){schedule_keys[i].key, v};
	}
}

/* A schedule that cycles momentum needs an optimiser that has one. */
static void
momentum(struct ydoc *y, ynode *stage, struct recipe_stage *st)
{
	const struct optimizer *o = &st->update.optimizer;
	int i;

	for (i = 0; i < st->schedule.nkeys; i++)
		if (strcmp(st->schedule.keys[i].key, "cycle_momentum") == 0)
			st->update.cycle_momentum = st->schedule.keys[i].value > 0;
	if (st->update.cycle_momentum && o->dot_delta > 0)
		yaml_bad(y, yaml_get(y, stage, "schedule"), "dot_delta goes without cycle_momentum");
	if (st->update.cycle_momentum && o->momentum <= 0 && !has_betas(o->kind))
		yaml_bad(y, yaml_get(y, stage, "schedule"),
		    "cycle_momentum needs an optimizer with a momentum above 0 or betas");
}

/* ---- stages */
static void
early_stop(struct ydoc *y, ynode *stage, struct recipe *r)
{
	ynode *n = yaml_get(y, stage, "early_stop");

	if (!n)
		return;
	if (!YAML_KEYS(y, n, "early_stop", "patience", "monitor", "min_delta", "restore_best") &&
	    !yaml_is_map(n))
		return;
	if (!yaml_get(y, n, "patience"))
		yaml_bad(y, n, "early_stop needs \"patience\", in epochs");
	r->early_patience = (int)yaml_int(y, n, "patience", 1, 1, 1 << 20);
	r->early_monitor = yaml_string(y, n, "monitor", NULL);
	r->early_min_delta = yaml_number(y, n, "min_delta", 0, 0, 1e12);
	r->early_keeps_last = !yaml_bool(y, n, "restore_best", true);
}

static void
known_models(struct ydoc *y, ynode *n, const struct recipe *r, int count, const char **list)
{
	const char **known = arena_array(y->arena, const char *, r->nstudents + 1);

	for (int i = 0; i <= r->nstudents; i++)
		known[i] = recipe_model_at(r, i)->name;
	for (int i = 0; i < count; i++) {
		int k = 0;

		while (k <= r->nstudents && strcmp(known[k], list[i]) != 0)
			k++;
		if (k > r->nstudents)
			yaml_bad(y, yaml_get(y, n, "trains"), "\"trains\": no student is called \"%s\"%s", list[i],
			    yaml_hint(y, list[i], r->nstudents + 1, known));
	}
}

/* The terms of all turns, each once, are the stage's. */
static void
add_terms(struct ydoc *y, struct recipe_stage *st, const struct recipe_turn *t)
{
	struct recipe_term *all = arena_array(y->arena, struct recipe_term, st->nterms + t->nterms + 1);
	int n = st->nterms;

	memcpy(all, st->terms, sizeof *all * (size_t)n);
	for (int i = 0; i < t->nterms; i++) {
		int k = 0;

		while (k < n && strcmp(all[k].name, t->terms[i].name) != 0)
			k++;
		if (k == n)
			all[n++] = t->terms[i];
	}
	st->terms = all;
	st->nterms = n;
}

static void
turns(struct ydoc *y, ynode *stage, const struct recipe *r, struct recipe_stage *st)
{
	ynode *n = yaml_get(y, stage, "turns");

	if (!n)
		return;
	if (!yaml_is_list(n) || !yaml_count(n)) {
		yaml_bad(y, n, "\"turns\" must be a list of {trains: [MODEL, ..], terms: [TERM, ..]}");
		return;
	}
	if (yaml_get(y, stage, "terms") || yaml_get(y, stage, "trains"))
		yaml_bad(y, n, "\"terms\" and \"trains\" are the turns' where a stage has \"turns\"");
	if (st->update.accumulate > 1)
		yaml_bad(y, n, "\"turns\" and \"accumulate\" cannot be had together: every turn is an update");
	if (yaml_get(y, stage, "task_weights") || yaml_get(y, stage, "task_gradients"))
		yaml_bad(y, n, "\"turns\" have no \"task_weights\" and no \"task_gradients\": a turn is the sum of its terms");
	st->nturns = yaml_count(n);
	st->turns = arena_array(y->arena, struct recipe_turn, st->nturns);
	for (int i = 0; i < st->nturns; i++) {
		ynode *t = yaml_item(y, n, i), *terms;
		const char *what = arena_printf(y->arena, "turns[%d]", i);
		struct recipe_turn *out = &st->turns[i];

		*out = (struct recipe_turn){.line = yaml_line(t), .times = 1};
		if (!YAML_KEYS(y, t, what, "trains", "terms", "times") && !yaml_is_map(t))
			continue;
		out->ntrains = yaml_strings(y, t, "trains", &out->trains);
		known_models(y, t, r, out->ntrains, out->trains);
		out->times = yaml_int(y, t, "times", 1, 1, 64);
		terms = yaml_get(y, t, "terms");
		if (terms)
			out->nterms = recipe_terms(y, terms, r, &out->terms);
		if (!out->nterms)
			yaml_bad(y, t, "%s has no \"terms\"", what);
		add_terms(y, st, out);
	}
}

static void
stage(struct ydoc *y, ynode *n, struct recipe *r, struct recipe_stage *st)
{
	const char *what = arena_printf(
		       y->arena, r->nstages > 1 ? "train[%d]" : "train", (int)(st - r->stages)),
		   *bn;
	ynode *terms;

	*st = (struct recipe_stage){.line = yaml_line(n)};
	if (!YAML_KEYS(y, n, what, "name", "epochs", "optimizer", "schedule", "terms", "trains", "turns", "frozen",
		"groups", "clip", "ema", "accumulate", "batch_norm", "early_stop", "task_weights", "task_gradients") &&
	    !yaml_is_map(n))
		return;
	st->name = yaml_string(y, n, "name",
	    r->nstages > 1 ? arena_printf(y->arena, "stage%d", (int)(st - r->stages) + 1) : "main");
	if (!yaml_get(y, n, "epochs"))
		yaml_bad(y, n, "%s has no \"epochs\"", what);
	st->epochs = yaml_int(y, n, "epochs", 1, 1, 1 << 24);
	update(y, n, &st->update);
	schedule(y, n, &st->schedule);
	momentum(y, n, st);
	st->nfrozen = yaml_strings(y, n, "frozen", &st->frozen);
	bn = yaml_string(y, n, "batch_norm", "train");
	st->batch_norm_frozen = strcmp(bn, "frozen") == 0;
	if (!st->batch_norm_frozen && strcmp(bn, "train") != 0)
		yaml_bad(y, yaml_get(y, n, "batch_norm"),
		    "\"batch_norm\" is \"%s\"; it is train or frozen", bn);
	terms = yaml_get(y, n, "terms");
	if (terms)
		st->nterms = recipe_terms(y, terms, r, &st->terms);
	recipe_balance(y, n, r, st);
	st->ntrains = yaml_strings(y, n, "trains", &st->trains);
	known_models(y, n, r, st->ntrains, st->trains);
	turns(y, n, r, st);
	early_stop(y, n, r);
}

void
recipe_train(struct ydoc *y, ynode *root, struct recipe *r)
{
	ynode *n = yaml_get(y, root, "train");
	int i;

	if (!n || (yaml_is_list(n) && !yaml_count(n))) {
		yaml_bad(
		    y, n ? n : root, "the recipe has no \"train\": {epochs: N, optimizer: {...}}");
		return;
	}
	r->nstages = yaml_is_list(n) ? yaml_count(n) : 1;
	r->stages = arena_array(y->arena, struct recipe_stage, r->nstages);
	for (i = 0; i < r->nstages; i++)
		stage(y, yaml_item(y, n, i), r, &r->stages[i]);
}
