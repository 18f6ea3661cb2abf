/* recipe_train -- tasks:, terms: and train: of a recipe. */
#include "frontend/recipe_int.h"

#include "host/metric.h"

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

/* ---- tasks */
static int
metric_named(struct ydoc *y, ynode *at, const char *name)
{
	const char *names[NMETRICS];
	int number, id = metric_find(name, (int)strlen(name), &number);

	for (int i = 0; i < NMETRICS; i++)
		names[i] = metric_info[i].name;
	if (id < 0)
		yaml_bad(y, at, "no metric is called \"%s\"%s", name,
		    yaml_hint(y, name, NMETRICS, names));
	return id;
}

/* A name, or {name: TEACHER.OUTPUT} */
static bool
task_metric(struct ydoc *y, ynode *n, struct recipe_metric *m)
{
	*m = (struct recipe_metric){0};
	if (yaml_is_map(n) && yaml_count(n) == 1) {
		m->name = yaml_key(y, n, 0);
		m->teacher = yaml_string(y, n, m->name, NULL);
		n = yaml_key_node(y, n, 0);
	} else {
		m->name = yaml_text(y, n);
	}
	m->id = m->name ? metric_named(y, n, m->name) : -1;
	if (m->id >= 0 && m->teacher && metric_info[m->id].needs != METRIC_TEACHER)
		yaml_bad(y, n, "metric \"%s\" is about the target and takes no teacher", m->name);
	return m->id >= 0;
}

/* One that is listed for several teachers is called NAME.TEACHER.OUTPUT. */
static void
task_metrics(struct ydoc *y, ynode *task, struct recipe_task *t)
{
	ynode *n = yaml_get(y, task, "metrics");
	int count = yaml_count(n);

	if (n && yaml_is_map(n)) {
		yaml_bad(y, n, "\"metrics\" must be a list");
		return;
	}
	t->metrics = arena_array(y->arena, struct recipe_metric, count + 1);
	for (int i = 0; i < count; i++)
		if (task_metric(y, yaml_item(y, n, i), &t->metrics[t->nmetrics]))
			t->nmetrics++;
	for (int i = 0; i < t->nmetrics; i++) {
		struct recipe_metric *m = &t->metrics[i];
		int same = 0;

		for (int k = 0; k < t->nmetrics; k++)
			same += t->metrics[k].id == m->id && t->metrics[k].teacher;
		if (m->teacher && same > 1)
			m->name =
			    arena_printf(y->arena, "%s.%s", metric_info[m->id].name, m->teacher);
		for (int k = 0; k < i; k++)
			if (strcmp(t->metrics[k].name, m->name) == 0)
				yaml_bad(y, yaml_item(y, n, i), "metric \"%s\" is listed twice",
				    m->name);
	}
}

void
recipe_tasks(struct ydoc *y, ynode *root, struct recipe *r)
{
	ynode *map = yaml_get(y, root, "tasks");
	int i;

	if (!map)
		return;
	if (!yaml_is_map(map)) {
		yaml_bad(y, map, "\"tasks\" must be a mapping from a name of yours to a task");
		return;
	}
	r->tasks = arena_array(y->arena, struct recipe_task, yaml_count(map) + 1);
	for (i = 0; i < yaml_count(map); i++) {
		ynode *n = yaml_value(y, map, i);
		struct recipe_task *t = &r->tasks[r->ntasks++];
		const char *what;

		*t = (struct recipe_task){
		    .name = yaml_key(y, map, i), .line = yaml_line(yaml_key_node(y, map, i))};
		what = arena_printf(y->arena, "tasks.%s", t->name);
		if (!YAML_KEYS(y, n, what, "head", "target", "metrics", "weight", "data") &&
		    !yaml_is_map(n))
			continue;
		t->head = yaml_string(y, n, "head", NULL);
		if (!t->head)
			yaml_bad(y, n, "%s has no \"head\": student.OUTPUT", what);
		t->target = yaml_string(y, n, "target", NULL);
		t->weight = yaml_number(y, n, "weight", 1, 0, INFINITY);
		t->data = yaml_string(y, n, "data", NULL);
		task_metrics(y, n, t);
	}
}

/* ---- terms */
enum { NEEDS_TEACHER = 1, MAY_TEACHER = 2, NEEDS_TARGET = 4, SOFT = 8, FEATURE = 16 };
static const struct {
	const char *name;
	int traits;
} losses[] = {
    {"ce", NEEDS_TARGET},
    {"kd", NEEDS_TEACHER | SOFT},
    {"soft_ce", NEEDS_TEACHER | SOFT},
    {"mse", MAY_TEACHER | FEATURE},
    {"bce", MAY_TEACHER},
    {"cosine", MAY_TEACHER | FEATURE},
    {"hint", NEEDS_TEACHER | FEATURE},
};
enum { NLOSS = sizeof losses / sizeof *losses };

static int
loss_traits(struct ydoc *y, ynode *at, const char *loss)
{
	const char *names[NLOSS];
	int i;

	for (i = 0; i < NLOSS; i++) {
		names[i] = losses[i].name;
		if (strcmp(names[i], loss) == 0)
			return losses[i].traits;
	}
	yaml_bad(y, at, "no loss is called \"%s\"%s", loss, yaml_hint(y, loss, NLOSS, names));
	return -1;
}

static void
term_choice(
    struct ydoc *y, ynode *n, const char *key, const char **v, int nwords, const char *const *words)
{
	int i;

	*v = yaml_string(y, n, key, NULL);
	for (i = 0; *v && i < nwords; i++)
		if (strcmp(words[i], *v) == 0)
			return;
	if (*v)
		yaml_bad(y, yaml_get(y, n, key), "\"%s\" is \"%s\"%s", key, *v,
		    yaml_hint(y, *v, nwords, words));
	*v = NULL;
}

static void
term(struct ydoc *y, ynode *n, const char *name, int line, struct recipe_term *t)
{
	static const char *const adaptors[] = {"auto", "none", "linear", "conv1x1"};
	static const char *const reductions[] = {"batchmean", "mean"};
	const char *what = arena_printf(y->arena, "terms.%s", name);
	int traits;
	bool clean;

	*t = (struct recipe_term){.name = name, .line = line, .weight = 1, .temperature = 1};
	clean = YAML_KEYS(y, n, what, "task", "loss", "weight", "temperature", "tau_squared",
	    "teacher", "teachers", "student", "adaptor", "reduction");
	if (!yaml_is_map(n))
		return;
	t->loss = yaml_string(y, n, "loss", NULL);
	if (!t->loss) {
		yaml_bad(y, n, "%s has no \"loss\"", what);
		t->loss = "ce";
		return;
	}
	traits = loss_traits(y, yaml_get(y, n, "loss"), t->loss);
	t->task = yaml_string(y, n, "task", NULL);
	t->student = yaml_string(y, n, "student", NULL);
	if (t->student && str_starts(t->student, "student."))
		t->student += strlen("student.");
	t->weight = yaml_number(y, n, "weight", 1, 0, INFINITY);
	t->temperature =
	    yaml_number(y, n, "temperature", traits > 0 && traits & SOFT ? 4 : 1, 1e-6, INFINITY);
	t->tau_squared = yaml_bool(y, n, "tau_squared", true);
	term_choice(y, n, "adaptor", &t->adaptor, 4, adaptors);
	term_choice(y, n, "reduction", &t->reduction, 2, reductions);
	t->nteachers =
	    yaml_strings(y, n, yaml_get(y, n, "teachers") ? "teachers" : "teacher", &t->teachers);
	if (traits < 0 || !clean)
		return; /* what seems to be missing may be the key that is misspelt */
	if (yaml_get(y, n, "teacher") && yaml_get(y, n, "teachers"))
		yaml_bad(y, n, "%s has both \"teacher\" and \"teachers\"", what);
	if (traits & NEEDS_TEACHER && !t->nteachers)
		yaml_bad(y, n, "%s: loss \"%s\" needs a teacher: TEACHER.OUTPUT", what, t->loss);
	if (traits & NEEDS_TARGET && t->nteachers)
		yaml_bad(y, yaml_get(y, n, yaml_get(y, n, "teachers") ? "teachers" : "teacher"),
		    "%s: loss \"%s\" learns from labels; for a teacher's outputs use kd or soft_ce",
		    what, t->loss);
	if (!t->task && !t->student)
		yaml_bad(y, n, "%s has neither a \"task\" nor a \"student\" tensor", what);
	if (traits & NEEDS_TARGET && !t->task)
		yaml_bad(y, n, "%s: loss \"%s\" needs a \"task\" with labels", what, t->loss);
	if (t->adaptor && !(traits & FEATURE))
		yaml_bad(y, yaml_get(y, n, "adaptor"), "%s: loss \"%s\" takes no adaptor", what,
		    t->loss);
	if (traits > 0 && strcmp(t->loss, "hint") == 0 && !t->adaptor)
		t->adaptor = "auto";
}

/* A mapping of terms; in a stage also a list of names of the recipe's terms. */
int
recipe_terms(struct ydoc *y, ynode *n, const struct recipe *r, struct recipe_term **out)
{
	const char **known = arena_array(y->arena, const char *, r->nterms + 1);
	int i, k, count = 0;

	*out = arena_array(y->arena, struct recipe_term, yaml_count(n) + 1);
	for (k = 0; k < r->nterms; k++)
		known[k] = r->terms[k].name;
	if (yaml_is_map(n)) {
		for (i = 0; i < yaml_count(n); i++)
			term(y, yaml_value(y, n, i), yaml_key(y, n, i),
			    yaml_line(yaml_key_node(y, n, i)), &(*out)[count++]);
		return count;
	}
	for (i = 0; i < yaml_count(n); i++) {
		ynode *item = yaml_item(y, n, i);
		const char *name = yaml_text(y, item);

		if (!name)
			continue;
		for (k = 0; k < r->nterms && strcmp(known[k], name) != 0; k++)
			;
		if (k < r->nterms)
			(*out)[count++] = r->terms[k];
		else
			yaml_bad(y, item, "no term is called \"%s\"%s", name,
			    yaml_hint(y, name, r->nterms, known));
	}
	return count;
}

/* ---- optimizer and schedule */
static void
optimizer(struct ydoc *y, ynode *stage, struct recipe_optimizer *o)
{
	static const char *const kinds[] = {"sgd", "adam", "adamw"};
	ynode *n = yaml_get(y, stage, "optimizer"), *s;
	double *betas;
	int nbetas;

	*o = (struct recipe_optimizer){
	    .kind = "sgd", .lr = 0.01, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8};
	if (!n) {
		yaml_bad(y, stage, "a stage needs an \"optimizer\", such as {adam: {lr: 0.002}}");
		return;
	}
	o->line = yaml_line(n);
	s = kind_of(y, n, "optimizer", 3, kinds, &o->kind);
	if (!o->kind) {
		o->kind = "sgd";
		return;
	}
	if (s && o->kind == kinds[0]) {
		YAML_KEYS(y, s, "sgd", "lr", "momentum", "dampening", "nesterov", "weight_decay");
		o->momentum = yaml_number(y, s, "momentum", 0, 0, 1);
		o->dampening = yaml_number(y, s, "dampening", 0, 0, 1);
		o->nesterov = yaml_bool(y, s, "nesterov", false);
		if (o->nesterov && (o->momentum <= 0 || o->dampening > 0))
			yaml_bad(y, s, "nesterov needs a momentum above 0 and no dampening");
	} else if (s) {
		YAML_KEYS(y, s, o->kind, "lr", "betas", "beta1", "beta2", "eps", "weight_decay");
		nbetas = yaml_numbers(y, s, "betas", &betas);
		if (nbetas == 2) {
			o->beta1 = betas[0];
			o->beta2 = betas[1];
		} else if (nbetas) {
			yaml_bad(y, yaml_get(y, s, "betas"), "\"betas\" takes two numbers");
		}
		o->beta1 = yaml_number(y, s, "beta1", o->beta1, 0, 1);
		o->beta2 = yaml_number(y, s, "beta2", o->beta2, 0, 1);
		if (o->beta1 < 0 || o->beta1 >= 1 || o->beta2 < 0 || o->beta2 >= 1)
			yaml_bad(y, s, "betas %g and %g must lie in [0, 1)", o->beta1, o->beta2);
		o->eps = yaml_number(y, s, "eps", 1e-8, 0, 1);
	}
	if (!s || !yaml_get(y, s, "lr"))
		yaml_bad(y, n, "optimizer \"%s\" needs a learning rate, as {%s: {lr: 0.002}}",
		    o->kind, o->kind);
	else
		o->lr = yaml_number(y, s, "lr", 0.01, 0, INFINITY);
	o->weight_decay =
	    yaml_number(y, s, "weight_decay", o->kind == kinds[2] ? 0.01 : 0, 0, INFINITY);
}

static void
schedule(struct ydoc *y, ynode *stage, const struct recipe_optimizer *o, struct recipe_schedule *c)
{
	static const char *const kinds[] = {
	    "constant", "step", "multistep", "cosine", "linear", "onecycle", "plateau"};
	ynode *n = yaml_get(y, stage, "schedule"), *s;
	int i;

	*c = (struct recipe_schedule){.kind = "constant",
	    .gamma = 0.1,
	    .factor = 0.1,
	    .patience = 10,
	    .max_lr = o->lr,
	    .step_epochs = 1};
	if (!n)
		return;
	c->line = yaml_line(n);
	s = kind_of(y, n, "schedule", 7, kinds, &c->kind);
	if (!c->kind) {
		c->kind = "constant";
		return;
	}
	if (s && c->kind == kinds[1])
		YAML_KEYS(y, s, "step", "warmup_epochs", "step_epochs", "gamma");
	else if (s && c->kind == kinds[2])
		YAML_KEYS(y, s, "multistep", "warmup_epochs", "milestones", "gamma");
	else if (s && (c->kind == kinds[3] || c->kind == kinds[4]))
		YAML_KEYS(y, s, c->kind, "warmup_epochs", "min_lr");
	else if (s && c->kind == kinds[5])
		YAML_KEYS(y, s, "onecycle", "max_lr");
	else if (s && c->kind == kinds[6])
		YAML_KEYS(y, s, "plateau", "warmup_epochs", "factor", "patience");
	else if (s)
		YAML_KEYS(y, s, "constant", "warmup_epochs");
	c->warmup_epochs = yaml_number(y, s, "warmup_epochs", 0, 0, INFINITY);
	c->gamma = yaml_number(y, s, "gamma", 0.1, 0, INFINITY);
	c->min_lr = yaml_number(y, s, "min_lr", 0, 0, INFINITY);
	c->max_lr = yaml_number(y, s, "max_lr", o->lr, 0, INFINITY);
	c->factor = yaml_number(y, s, "factor", 0.1, 0, 1);
	c->patience = yaml_int(y, s, "patience", 10, 1, 1 << 20);
	c->step_epochs = yaml_int(y, s, "step_epochs", 1, 1, 1 << 20);
	c->nmilestones = yaml_ints(y, s, "milestones", &c->milestones, 1, 1 << 20);
	if (c->kind == kinds[1] && !yaml_get(y, s, "step_epochs"))
		yaml_bad(y, n, "schedule \"step\" needs \"step_epochs\"");
	if (c->kind == kinds[2] && !c->nmilestones)
		yaml_bad(y, n, "schedule \"multistep\" needs \"milestones\", a list of epochs");
	for (i = 1; i < c->nmilestones; i++)
		if (c->milestones[i] <= c->milestones[i - 1])
			yaml_bad(y, yaml_get(y, s, "milestones"),
			    "milestones must rise: %lld comes after %lld",
			    (long long)c->milestones[i], (long long)c->milestones[i - 1]);
}

/* ---- stages */
static void
early_stop(struct ydoc *y, ynode *stage, struct recipe *r)
{
	ynode *n = yaml_get(y, stage, "early_stop");

	if (!n)
		return;
	if (!YAML_KEYS(y, n, "early_stop", "patience", "monitor", "min_delta", "restore_best") && !yaml_is_map(n))
		return;
	if (!yaml_get(y, n, "patience"))
		yaml_bad(y, n, "early_stop needs \"patience\", in epochs");
	r->early_patience = (int)yaml_int(y, n, "patience", 1, 1, 1 << 20);
	r->early_monitor = yaml_string(y, n, "monitor", NULL);
	r->early_min_delta = yaml_number(y, n, "min_delta", 0, 0, 1e12);
	r->early_keeps_last = !yaml_bool(y, n, "restore_best", true);
}

static void
stage(struct ydoc *y, ynode *n, struct recipe *r, struct recipe_stage *st)
{
	const char *what = arena_printf(
		       y->arena, r->nstages > 1 ? "train[%d]" : "train", (int)(st - r->stages)),
		   *bn;
	ynode *terms;

	*st = (struct recipe_stage){.line = yaml_line(n)};
	if (!YAML_KEYS(y, n, what, "name", "epochs", "optimizer", "schedule", "terms", "frozen",
		"batch_norm", "early_stop") &&
	    !yaml_is_map(n))
		return;
	st->name = yaml_string(y, n, "name",
	    r->nstages > 1 ? arena_printf(y->arena, "stage%d", (int)(st - r->stages) + 1) : "main");
	if (!yaml_get(y, n, "epochs"))
		yaml_bad(y, n, "%s has no \"epochs\"", what);
	st->epochs = yaml_int(y, n, "epochs", 1, 1, 1 << 24);
	optimizer(y, n, &st->optimizer);
	schedule(y, n, &st->optimizer, &st->schedule);
	st->nfrozen = yaml_strings(y, n, "frozen", &st->frozen);
	bn = yaml_string(y, n, "batch_norm", "train");
	st->batch_norm_frozen = strcmp(bn, "frozen") == 0;
	if (!st->batch_norm_frozen && strcmp(bn, "train") != 0)
		yaml_bad(y, yaml_get(y, n, "batch_norm"),
		    "\"batch_norm\" is \"%s\"; it is train or frozen", bn);
	terms = yaml_get(y, n, "terms");
	if (terms)
		st->nterms = recipe_terms(y, terms, r, &st->terms);
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
