/* recipe_check -- references between the parts of a recipe: fields, heads,
 * outputs and taps, tasks, teachers, data sets.  All that dangle are reported. */
#include "frontend/recipe_int.h"

#include "host/metric.h"

struct check {
	const struct recipe *r;
	struct arena *a;
	struct diag *d;
};

struct names {
	VEC(const char *) list;
};

static struct loc
at(const struct check *c, int line)
{
	struct loc loc = LOC_FILE(c->r->path);

	loc.line = line;
	return loc;
}

static bool
known(const struct names *n, const char *name)
{
	int i;

	for (i = 0; i < n->list.n; i++)
		if (strcmp(n->list.v[i], name) == 0)
			return true;
	return false;
}

/* "; did you mean "x"?" or what there is */
static const char *
hint(const struct check *c, const struct names *n, const char *name)
{
	const char *near = str_nearest(name, n->list.v, n->list.n);
	struct str s = {0};
	char *text;
	int i;

	if (near)
		return arena_printf(c->a, "; did you mean \"%s\"?", near);
	if (!n->list.n)
		return "; there are none";
	str_add(&s, "; there ");
	str_add(&s, n->list.n == 1 ? "is " : "are ");
	for (i = 0; i < n->list.n && i < 12; i++)
		str_addf(&s, "%s%s", i ? ", " : "", n->list.v[i]);
	if (n->list.n > 12)
		str_add(&s, ", ...");
	text = arena_strdup(c->a, s.s);
	str_free(&s);
	return text;
}

/* ---- fields */
static void
add_fields(const struct check *c, struct names *n, const struct recipe_split *s)
{
	int i;

	for (i = 0; i < s->n; i++)
		if (!s->fields[i].recorded && !known(n, s->fields[i].name))
			vec_push(c->a, &n->list, s->fields[i].name);
}

static struct names
fields(const struct check *c)
{
	struct names n = {0};
	int i;

	add_fields(c, &n, &c->r->train);
	for (i = 0; i < c->r->nsets; i++)
		add_fields(c, &n, &c->r->sets[i].train);
	return n;
}

/* Every field of train must be in val and test too, where these have files. */
static void
check_split(const struct check *c, const struct recipe_split *train, const struct recipe_split *s,
    const char *what)
{
	struct names have = {0};
	int i;

	if (!s->n)
		return;
	add_fields(c, &have, s);
	for (i = 0; i < train->n; i++)
		if (!train->fields[i].recorded && !known(&have, train->fields[i].name))
			diag_invalid(c->d, at(c, s->line),
			    "data.%s lacks field \"%s\", which data.train has%s", what,
			    train->fields[i].name, hint(c, &have, train->fields[i].name));
}

static void
check_inputs(const struct check *c, const struct recipe_model *m, const struct names *have)
{
	int i;

	for (i = 0; i < m->ninputs; i++)
		if (m->inputs[i].field && !known(have, m->inputs[i].field))
			diag_invalid(c->d, at(c, m->inputs[i].line),
			    "input \"%s\" of %s reads field \"%s\", which the data does not have%s",
			    m->inputs[i].onnx, m->name, m->inputs[i].field,
			    hint(c, have, m->inputs[i].field));
}

/* ---- tensors of models */
static struct names
tensors(const struct check *c, const struct recipe_model *m)
{
	struct names n = {0};
	int i;

	for (i = 0; i < m->noutputs; i++)
		vec_push(c->a, &n.list, m->outputs[i].name);
	for (i = 0; i < m->ntaps; i++)
		vec_push(c->a, &n.list, m->taps[i].name);
	return n;
}

/* "MODEL.NAME" */
static void
check_tensor(const struct check *c, const char *name, int line, const char *what, const char *kind)
{
	const char *dot = strchr(name, '.'), *model = dot ? arena_strndup(c->a, name, (size_t)(dot - name)) : name;
	const struct recipe_model *m = recipe_model_find(c->r, model, strlen(model));
	struct names models = {0}, have;
	int i;

	if (!m) {
		for (i = 0; i < recipe_nmodels(c->r); i++)
			if (i > c->r->nstudents || strcmp(kind, "teacher") != 0)
				vec_push(c->a, &models.list, recipe_model_at(c->r, i)->name);
		diag_invalid(c->d, at(c, line), "%s: no %s is called \"%s\"%s", what, kind, model,
		    hint(c, &models, model));
		return;
	}
	kind = m == &c->r->student ? "the student" : arena_printf(c->a, "%s \"%s\"", kind, m->name);
	have = tensors(c, m);
	if (!dot)
		diag_invalid(c->d, at(c, line), "%s: write which output of %s: %s.%s",
		    what, kind, model, have.list.n ? have.list.v[0] : "OUTPUT");
	else if (!known(&have, dot + 1))
		diag_invalid(c->d, at(c, line), "%s: %s has no output or tap \"%s\"%s",
		    what, kind, dot + 1, hint(c, &have, dot + 1));
}

static void
check_teacher(const struct check *c, const char *name, int line, const char *what)
{
	check_tensor(c, name, line, what, "teacher");
}

/* "student.NAME", "NAME" of the student, or another model's */
static void
check_student(const struct check *c, const char *name, int line, const char *what)
{
	if (!strchr(name, '.'))
		name = arena_printf(c->a, "student.%s", name);
	check_tensor(c, name, line, what, "model");
}

/* ---- models that feed each other */
static const struct recipe_model *
source(const struct check *c, const struct recipe_input *in)
{
	return in->from && strchr(in->from, '.') ? recipe_model_find(c->r, in->from, strcspn(in->from, ".")) : NULL;
}

/* Is `to` among what feeds m?  path: how, for the message. */
static bool
leads_back(const struct check *c, const struct recipe_model *m, const struct recipe_model *to, int depth, const char **path)
{
	for (int i = 0; i < m->ninputs && depth < recipe_nmodels(c->r); i++) {
		const struct recipe_model *s = source(c, &m->inputs[i]);

		if (s && (s == to || leads_back(c, s, to, depth + 1, path))) {
			*path = arena_printf(c->a, "%s reads %s%s%s", m->name, m->inputs[i].from, s == to ? "" : ", ", s == to ? "" : *path);
			return true;
		}
	}
	return false;
}

static void
check_sources(const struct check *c)
{
	bool told = false;

	for (int k = 0; k < recipe_nmodels(c->r); k++) {
		const struct recipe_model *m = recipe_model_at(c->r, k);
		const char *path = NULL;

		for (int i = 0; i < m->ninputs; i++)
			if (m->inputs[i].from)
				check_tensor(c, m->inputs[i].from, m->inputs[i].line,
				    arena_printf(c->a, "input \"%s\" of %s", m->inputs[i].onnx, m->name), "model");
		if (!told && leads_back(c, m, m, 0, &path))
			told = !diag_invalid(c->d, at(c, m->line), "models: the inputs go round in a circle: %s", path);
	}
}

/* What a stage leaves is not there in that stage, nor before. */
static void
check_too_early(const struct check *c, const struct recipe_model *m, const struct recipe_stage *st)
{
	const struct recipe_term *terms = st->nterms ? st->terms : c->r->terms;
	int n = st->nterms ? st->nterms : c->r->nterms;

	for (int i = 0; i < n; i++)
		for (int k = 0; k < terms[i].nteachers; k++)
			if (recipe_model_find(c->r, terms[i].teachers[k], strcspn(terms[i].teachers[k], ".")) == m)
				diag_invalid(c->d, at(c, terms[i].line),
				    "term \"%s\" of stage \"%s\" has teacher \"%s\", which is there after stage \"%s\"", terms[i].name,
				    st->name, m->name, m->stage);
}

/* A teacher is the student as a stage left it: that of a later stage's terms. */
static void
check_snapshots(const struct check *c)
{
	struct names stages = {0};

	for (int i = 0; i < c->r->nstages; i++)
		vec_push(c->a, &stages.list, c->r->stages[i].name);
	for (int i = 0; i < c->r->nteachers; i++) {
		const struct recipe_model *m = &c->r->teachers[i];

		if (m->stage && !known(&stages, m->stage))
			diag_invalid(c->d, at(c, m->line), "teacher \"%s\": no stage is called \"%s\"%s", m->name, m->stage,
			    hint(c, &stages, m->stage));
		for (int s = 0; m->stage && s < c->r->nstages; s++) {
			check_too_early(c, m, &c->r->stages[s]);
			if (strcmp(c->r->stages[s].name, m->stage) == 0)
				break;
		}
	}
}

/* ---- tasks and terms */
static bool
has_teacher(const struct recipe *r, const struct recipe_task *t)
{
	bool found = false;

	for (int i = 0; i < r->nterms; i++)
		found |= r->terms[i].task && strcmp(r->terms[i].task, t->name) == 0 &&
			 r->terms[i].nteachers > 0;
	for (int s = 0; s < r->nstages; s++)
		for (int i = 0; i < r->stages[s].nterms; i++) {
			const struct recipe_term *term = &r->stages[s].terms[i];

			found |=
			    term->task && strcmp(term->task, t->name) == 0 && term->nteachers > 0;
		}
	return found;
}

static void
check_metrics(const struct check *c, const struct recipe_task *t, const char *what)
{
	bool told = false;

	for (int i = 0; i < t->nmetrics; i++) {
		const struct recipe_metric *m = &t->metrics[i];
		bool taught = metric_info[m->id].needs == METRIC_TEACHER;

		if (!taught && !t->target && !told)
			told = !diag_invalid(c->d, at(c, t->line),
			    "%s has metrics but no \"target\" to compare with", what);
		if (m->teacher)
			check_teacher(c, m->teacher, t->line, what);
		else if (taught && !has_teacher(c->r, t))
			diag_invalid(c->d, at(c, t->line),
			    "%s: metric \"%s\" compares with a teacher, and no term of the task "
			    "has one; write {%s: TEACHER.OUTPUT}",
			    what, m->name, m->name);
	}
}

static void
check_tasks(const struct check *c, const struct names *have)
{
	struct names sets = {0};
	int i, k;

	for (i = 0; i < c->r->nsets; i++)
		vec_push(c->a, &sets.list, c->r->sets[i].name);
	for (i = 0, k = 0; i < c->r->ntasks; i++)
		k += !c->r->tasks[i].auxiliary;
	if (c->r->ntasks && !k)
		diag_invalid(c->d, at(c, c->r->tasks[0].line), "all tasks are auxiliary: nothing would be exported");
	for (i = 0; i < c->r->ntasks; i++) {
		const struct recipe_task *t = &c->r->tasks[i];
		const char *what = arena_printf(c->a, "task \"%s\"", t->name);

		if (t->head)
			check_student(c, t->head, t->line, what);
		if (t->target && !known(have, t->target))
			diag_invalid(c->d, at(c, t->line),
			    "%s: target \"%s\" is no field of the data%s", what, t->target,
			    hint(c, have, t->target));
		check_metrics(c, t, what);
		if (t->data && !known(&sets, t->data))
			diag_invalid(c->d, at(c, t->line), "%s: no data set is called \"%s\"%s",
			    what, t->data, hint(c, &sets, t->data));
	}
}

static void
check_terms(const struct check *c, int n, const struct recipe_term *terms)
{
	struct names tasks = {0};
	int i, k;

	for (i = 0; i < c->r->ntasks; i++)
		vec_push(c->a, &tasks.list, c->r->tasks[i].name);
	for (i = 0; i < n; i++) {
		const struct recipe_term *t = &terms[i];
		const char *what = arena_printf(c->a, "term \"%s\"", t->name);

		if (t->task && !known(&tasks, t->task))
			diag_invalid(c->d, at(c, t->line), "%s: no task is called \"%s\"%s", what,
			    t->task, hint(c, &tasks, t->task));
		for (k = 0; t->task && k < c->r->ntasks; k++)
			if (strcmp(c->r->tasks[k].name, t->task) == 0 && !c->r->tasks[k].target &&
			    !t->nteachers)
				diag_invalid(c->d, at(c, t->line),
				    "%s: task \"%s\" has no \"target\" to learn from", what,
				    t->task);
		for (k = 0; k < t->nstudents; k++)
			check_student(c, t->students[k], t->line, what);
		for (k = 0; k < t->nteachers; k++)
			check_teacher(c, t->teachers[k], t->line, what);
	}
}

static void
check_monitor(const struct check *c)
{
	const char *m = c->r->early_monitor;
	struct names have = {0};
	int i, k;

	if (!m)
		return;
	vec_push(c->a, &have.list, "val.loss");
	for (i = 0; i < c->r->ntasks; i++)
		for (k = 0; k < c->r->tasks[i].nmetrics; k++)
			if (metric_info[c->r->tasks[i].metrics[k].id].better)
				vec_push(c->a, &have.list,
				    arena_printf(c->a, "val.%s.%s", c->r->tasks[i].name,
					c->r->tasks[i].metrics[k].name));
	for (i = 0; i < c->r->nterms; i++)
		vec_push(c->a, &have.list, arena_printf(c->a, "val.term.%s", c->r->terms[i].name));
	if (!known(&have, m))
		diag_invalid(c->d, at(c, 0),
		    "early_stop: there is nothing called \"%s\" to monitor%s", m,
		    hint(c, &have, m));
}

static void
check_field(const struct check *c, const struct names *have, const char *name, int line, const char *what)
{
	if (name && !known(have, name))
		diag_invalid(c->d, at(c, line), "%s: \"%s\" is no field of the data%s", what, name, hint(c, have, name));
}

/* What augmentations, samplers and buckets name. */
static void
check_data(const struct check *c, const struct names *have)
{
	const struct recipe *r = c->r;

	for (int i = 0; i < r->naugment; i++)
		for (int k = 0; k < r->augments[i].nfields; k++)
			check_field(c, have, r->augments[i].fields[k], r->augments[i].line,
			    arena_printf(c->a, "augment %s", augment_table[r->augments[i].kind].name));
	check_field(c, have, r->sampler.field, r->sampler.line, "data.sampler");
	for (int i = 0; i < r->nsets; i++) {
		struct names own = {0};

		add_fields(c, &own, &r->sets[i].train);
		check_field(c, &own, r->sets[i].sampler.field, r->sets[i].sampler.line,
		    arena_printf(c->a, "data.sets.%s.sampler", r->sets[i].name));
	}
	check_field(c, have, r->buckets.field, r->buckets.line, "data.buckets");
	for (int i = 0; i < r->buckets.nfields; i++)
		check_field(c, have, r->buckets.fields[i], r->buckets.line, "data.buckets.fields");
}

/* A stage has terms of its own, or lists some of the recipe's, checked already. */
static bool
listed(const struct recipe *r, const struct recipe_term *t)
{
	int i;

	for (i = 0; i < r->nterms; i++)
		if (r->terms[i].name == t->name)
			return true;
	return false;
}

/* Random augmentation shows a teacher other samples every epoch, but for a few fixed
 * draws of each. */
static void
check_cache(struct check *c)
{
	const struct recipe *r = c->r;
	struct loc loc = at(c, r->cache_line);

	if (r->ncached && r->naugment && !r->cache_variants)
		diag_invalid(c->d, loc,
		    "cache: augmentation shows a teacher other samples every epoch; give \"variants: K\", and each "
		    "sample has K fixed draws, one after the other by epoch, or take cache or augment out");
	if (r->cache_variants && !r->naugment)
		diag_invalid(c->d, loc, "cache: \"variants\" are draws of data.augment, which is missing");
	for (int i = 0; i < r->ncache_what; i++) {
		const char *what = r->cache_what[i], *dot = strchr(what, '.');
		bool ours = false;

		for (int k = 0; dot && k < r->ncached; k++)
			ours |= strncmp(r->cached[k], what, (size_t)(dot - what)) == 0 && !r->cached[k][dot - what];
		if (!ours)
			diag_invalid(c->d, loc, "cache: \"what\" lists TEACHER.NAME of cached teachers; \"%s\" is none", what);
	}
}

/* What a teacher said of a sample is no answer for another picture of it. */
static void
check_records(struct check *c)
{
	const struct recipe *r = c->r;
	bool mixes = false;

	for (int i = 0; i < r->naugment; i++)
		mixes |= augment_table[r->augments[i].kind].acts & ACT_BATCH;
	for (int i = 0; i < r->nteachers; i++) {
		const struct recipe_model *m = &r->teachers[i];

		if (!m->nrecords)
			continue;
		if (mixes)
			diag_invalid(c->d, at(c, m->line),
			    "teacher \"%s\" is given as files, which say nothing of mixed samples; take mixup and cutmix out",
			    m->name);
		else if (r->naugment && !m->with_augment)
			diag_invalid(c->d, at(c, m->line),
			    "teacher \"%s\" is given as files, which know the samples as they are, and data.augment changes them; "
			    "\"with_augment: true\" learns the same answer for every draw",
			    m->name);
		for (int k = 0; k < r->ncached; k++)
			if (strcmp(r->cached[k], m->name) == 0)
				diag_invalid(c->d, at(c, r->cache_line),
				    "cache: teacher \"%s\" is given as files already; take it out of \"teachers\"", m->name);
	}
}

void
recipe_check(const struct recipe *r, struct arena *a, struct diag *d)
{
	struct check c = {r, a, d};
	struct names have = fields(&c), teachers = {0};
	int i, any = r->nterms;

	check_split(&c, &r->train, &r->val, "val");
	check_split(&c, &r->train, &r->test, "test");
	for (i = 0; i < r->nsets; i++) {
		check_split(&c, &r->sets[i].train, &r->sets[i].val,
		    arena_printf(a, "sets.%s.val", r->sets[i].name));
		check_split(&c, &r->sets[i].train, &r->sets[i].test,
		    arena_printf(a, "sets.%s.test", r->sets[i].name));
	}
	check_data(&c, &have);
	for (i = 0; i < recipe_nmodels(r); i++)
		check_inputs(&c, recipe_model_at(r, i), &have);
	for (i = 0; i < r->nteachers; i++)
		vec_push(a, &teachers.list, r->teachers[i].name);
	check_sources(&c);
	check_snapshots(&c);
	check_tasks(&c, &have);
	check_terms(&c, r->nterms, r->terms);
	for (i = 0; i < r->nstages; i++) {
		any += r->stages[i].nterms;
		recipe_check_balance(r, &r->stages[i], d);
		if (r->stages[i].nterms && !listed(r, &r->stages[i].terms[0]))
			check_terms(&c, r->stages[i].nterms, r->stages[i].terms);
	}
	if (!any)
		diag_invalid(d, at(&c, 0), "the recipe has no \"terms\": nothing to train for");
	check_records(&c);
	for (i = 0; i < r->ncached; i++)
		if (!known(&teachers, r->cached[i]))
			diag_invalid(d, at(&c, 0), "cache: no teacher is called \"%s\"%s",
			    r->cached[i], hint(&c, &teachers, r->cached[i]));
	check_cache(&c);
	recipe_check_modules(r, d);
	check_monitor(&c);
}
