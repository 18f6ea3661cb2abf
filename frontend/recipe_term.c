/* recipe_term -- tasks: and terms: of a recipe.  The losses and their settings are the
 * rows of ir/loss.def. */
#include "frontend/recipe_int.h"

#include "host/metric.h"

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
		if (!YAML_KEYS(y, n, what, "head", "target", "metrics", "weight", "data", "auxiliary") &&
		    !yaml_is_map(n))
			continue;
		t->head = yaml_string(y, n, "head", NULL);
		if (!t->head)
			yaml_bad(y, n, "%s has no \"head\": student.OUTPUT", what);
		t->target = yaml_string(y, n, "target", NULL);
		t->weight = yaml_number(y, n, "weight", 1, 0, INFINITY);
		t->data = yaml_string(y, n, "data", NULL);
		t->auxiliary = yaml_bool(y, n, "auxiliary", false);
		task_metrics(y, n, t);
	}
}

/* ---- terms */
/* A number, or {from: A, to: B, over: [E0, E1], curve: linear}: a curve over epochs of the
 * stage. */
struct dial
recipe_dial(struct ydoc *y, ynode *map, const char *key, double otherwise, double least, double most)
{
	struct dial d = {.from = otherwise};
	ynode *n = yaml_get(y, map, key);
	const char *curve;
	double *over;
	int count, known = 0;

	if (!yaml_is_map(n)) {
		d.from = yaml_number(y, map, key, otherwise, least, most);
		return d;
	}
	if (!YAML_KEYS(y, n, key, "from", "to", "over", "curve"))
		return d;
	for (int i = 0; i < 3; i++) {
		static const char *const needed[] = {"from", "to", "over"};

		if (!yaml_get(y, n, needed[i])) {
			yaml_bad(y, n,
			    "\"%s\" that changes has no \"%s\"; write {from: A, to: B, over: "
			    "[FIRST, LAST EPOCH]}",
			    key, needed[i]);
			return d;
		}
	}
	d.from = yaml_number(y, n, "from", otherwise, least, most);
	d.to = yaml_number(y, n, "to", otherwise, least, most);
	count = yaml_numbers(y, n, "over", &over);
	if (count != 2 || !(over[0] >= 0) || !(over[1] >= over[0]) || isinf(over[1])) {
		yaml_bad(y, yaml_get(y, n, "over"),
		    "\"over\" must be two epochs of the stage, the first not after the last");
		return d;
	}
	d.begin = over[0];
	d.end = over[1];
	curve = yaml_string(y, n, "curve", "linear");
	for (int i = 1; dial_curve_names[i]; i++, known++)
		if (strcmp(dial_curve_names[i], curve) == 0)
			d.curve = (enum dial_curve)i;
	if (d.curve == DIAL_FIXED)
		yaml_bad(y, yaml_get(y, n, "curve"), "no curve is called \"%s\"%s", curve,
		    yaml_hint(y, curve, known, dial_curve_names + 1));
	if (d.curve == DIAL_EXPONENTIAL && (d.from <= 0 || d.to <= 0))
		yaml_bad(y, n, "\"%s\" along an exponential must be above 0 at both ends", key);
	return d;
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

/* The value of a setting; `otherwise` where the mapping does not have it. */
static struct dial
loss_value(struct ydoc *y, ynode *map, const struct loss_setting *s)
{
	struct dial d = {.from = s->otherwise};
	const char *known[16], *w, *text;
	int n = 0;

	if (!yaml_get(y, map, s->key))
		return d;
	switch (s->kind) {
	case SETTING_REAL:
		return recipe_dial(y, map, s->key, s->otherwise, s->least, s->most);
	case SETTING_FIXED:
		d.from = yaml_number(y, map, s->key, s->otherwise, s->least, s->most);
		return d;
	case SETTING_COUNT:
		d.from = (double)yaml_int(y, map, s->key, (int64_t)s->otherwise, (int64_t)s->least,
		    s->most < 0x1p62 ? (int64_t)s->most : INT64_MAX);
		return d;
	case SETTING_FLAG:
		d.from = yaml_bool(y, map, s->key, s->otherwise != 0);
		return d;
	case SETTING_CHOICE:
		break;
	}
	for (w = s->words; *w && n < 16; w += strspn(w, " ")) {
		size_t len = strcspn(w, " ");

		known[n++] = arena_strndup(y->arena, w, len);
		w += len;
	}
	text = yaml_string(y, map, s->key, known[(int)s->otherwise]);
	for (int i = 0; i < n; i++)
		if (strcmp(known[i], text) == 0) {
			d.from = i;
			return d;
		}
	yaml_bad(y, yaml_get(y, map, s->key), "\"%s\" is \"%s\"%s", s->key, text,
	    yaml_hint(y, text, n, known));
	return d;
}

/* Settings are keys of the term, or of its kwargs. */
static void
loss_values(
    struct ydoc *y, ynode *n, const char *what, const struct loss_info *l, struct recipe_term *t)
{
	ynode *kwargs = yaml_get(y, n, "kwargs");
	const char **keys = arena_array(y->arena, const char *, l->nsettings + 1);

	t->values = arena_array(y->arena, struct dial, l->nsettings + 1);
	for (int i = 0; i < l->nsettings; i++)
		keys[i] = l->settings[i].key;
	if (kwargs &&
	    !yaml_keys(y, kwargs, arena_printf(y->arena, "%s.kwargs", what), l->nsettings, keys))
		kwargs = NULL;
	for (int i = 0; i < l->nsettings; i++) {
		const struct loss_setting *s = &l->settings[i];
		bool inside = kwargs && yaml_get(y, kwargs, s->key);

		if (inside && yaml_get(y, n, s->key))
			yaml_bad(y, yaml_get(y, kwargs, s->key),
			    "%s: \"%s\" is given twice, in kwargs and beside them", what, s->key);
		t->values[i] = loss_value(y, inside ? kwargs : n, s);
	}
}

/* "teacher" or "teachers", "student" or "students" */
static int
tensors(struct ydoc *y, ynode *n, const char *what, const char *one, const char *many,
    const char ***names)
{
	if (yaml_get(y, n, one) && yaml_get(y, n, many))
		yaml_bad(y, n, "%s has both \"%s\" and \"%s\"", what, one, many);
	return yaml_strings(y, n, yaml_get(y, n, many) ? many : one, names);
}

/* The keys that every term has, then those of its loss. */
static bool
term_keys(struct ydoc *y, ynode *n, const char *what, const struct loss_info *l)
{
	static const char *const common[] = {"task", "loss", "weight", "temperature", "tau_squared",
	    "teacher", "teachers", "teacher_gradient", "student", "students", "adaptor", "modules", "mask", "reduction",
	    "kwargs", "teacher_weights", "class_map"};
	enum { NCOMMON = sizeof common / sizeof *common };
	int count = NCOMMON;
	const char **keys = arena_array(y->arena, const char *, NCOMMON + (l ? l->nsettings : 0));

	memcpy(keys, common, sizeof common);
	for (int i = 0; l && i < l->nsettings; i++)
		keys[count++] = l->settings[i].key;
	return yaml_keys(y, n, what, count, keys);
}

static const struct loss_info *
loss_named(struct ydoc *y, ynode *n, const char *what, const char **name)
{
	const char *names[NLOSSES];
	int i;

	*name = yaml_string(y, n, "loss", NULL);
	if (!*name) {
		yaml_bad(y, n, "%s has no \"loss\"", what);
		*name = "ce";
		return NULL;
	}
	i = loss_find(*name);
	if (i >= 0)
		return &loss_info[i];
	for (i = 0; i < NLOSSES; i++)
		names[i] = loss_info[i].name;
	yaml_bad(y, yaml_get(y, n, "loss"), "no loss is called \"%s\"%s", *name,
	    yaml_hint(y, *name, NLOSSES, names));
	return NULL;
}

/* ---- about each teacher of a term */

/* The teacher that item i of a mapping is about; -1: reported. */
static int
teacher_at(struct ydoc *y, ynode *map, int i, const char *what, const struct recipe_term *t)
{
	const char *name = yaml_key(y, map, i);

	for (int k = 0; k < t->nteachers; k++)
		if (name && strcmp(t->teachers[k], name) == 0)
			return k;
	yaml_bad(y, yaml_key_node(y, map, i), "%s: \"%s\" is no teacher of this term%s", what,
	    name ? name : "", yaml_hint(y, name ? name : "", t->nteachers, t->teachers));
	return -1;
}

/* [1, 3], in the order of the teachers, or {big.y: 1, other.y: 3}, where others count 0. */
static void
teacher_weights(
    struct ydoc *y, ynode *n, const char *what, const struct loss_info *l, struct recipe_term *t)
{
	ynode *w = yaml_get(y, n, "teacher_weights");
	int fusion = loss_setting_find(l, "fusion"), count = t->nteachers;
	double *v, sum = 0;

	if (!w)
		return;
	what = arena_printf(y->arena, "%s.teacher_weights", what);
	if (loss_setting_find(l, "teacher_temperature") < 0 && (!l->features || t->nstudents > 1)) {
		yaml_bad(y, w, "%s: loss \"%s\" weighs no teachers", what, t->loss);
		return;
	}
	if (fusion >= 0 && t->values[fusion].from != l->settings[fusion].otherwise)
		yaml_bad(y, w, "%s: \"fusion\" weighs the teachers already", what);
	if (yaml_is_map(w)) {
		v = arena_array(y->arena, double, t->nteachers + 1);
		for (int i = 0; i < yaml_count(w); i++) {
			int k = teacher_at(y, w, i, what, t);

			if (k < 0 || !yaml_scalar_number(y, yaml_value(y, w, i), &v[k]))
				return;
		}
	} else {
		count = yaml_number_list(y, w, &v);
	}
	if (count != t->nteachers) {
		yaml_bad(y, w, "%s has %d numbers for %d teachers", what, count, t->nteachers);
		return;
	}
	for (int k = 0; k < count; k++) {
		if (!(v[k] >= 0) || isinf(v[k]))
			yaml_bad(y, w, "%s: %g is no weight", what, v[k]);
		sum += v[k];
	}
	if (sum > 0)
		t->teacher_weights = v;
	else
		yaml_bad(y, w, "%s must not all be 0", what);
}

/* [2, 0, -1]: the student's class for each class of the teacher, -1: none; of every teacher,
 * or {big.y: [..]}. */
static void
class_maps(
    struct ydoc *y, ynode *n, const char *what, const struct loss_info *l, struct recipe_term *t)
{
	ynode *map = yaml_get(y, n, "class_map");
	struct recipe_class_map one = {0};

	if (!map)
		return;
	what = arena_printf(y->arena, "%s.class_map", what);
	if (loss_setting_find(l, "fusion") < 0) {
		yaml_bad(y, map, "%s: loss \"%s\" does not compare classes with a teacher's", what,
		    t->loss);
		return;
	}
	t->maps = arena_array(y->arena, struct recipe_class_map, t->nteachers + 1);
	if (yaml_is_map(map)) {
		for (int i = 0; i < yaml_count(map); i++) {
			int k = teacher_at(y, map, i, what, t);

			if (k >= 0)
				t->maps[k].n = yaml_int_list(
				    y, yaml_value(y, map, i), &t->maps[k].to, -1, INT32_MAX);
		}
		return;
	}
	one.n = yaml_int_list(y, map, &one.to, -1, INT32_MAX);
	for (int k = 0; k < t->nteachers; k++)
		t->maps[k] = one;
}

/* What the loss needs and the term has not, or the reverse. */
static void
term_needs(struct ydoc *y, ynode *n, const char *what, const struct loss_info *l,
    const struct recipe_term *t)
{
	ynode *teacher = yaml_get(y, n, yaml_get(y, n, "teachers") ? "teachers" : "teacher");

	if (l->teachers == LOSS_MUST && !t->nteachers)
		yaml_bad(y, n, "%s: loss \"%s\" needs a teacher: TEACHER.OUTPUT", what, t->loss);
	if (l->teachers == LOSS_NO && t->nteachers)
		yaml_bad(y, teacher,
		    l->target == LOSS_MUST ? "%s: loss \"%s\" learns from labels; for a teacher's "
					     "outputs use kd or soft_ce"
					   : "%s: loss \"%s\" takes no teacher",
		    what, t->loss);
	if (!t->task && !t->nstudents && l->features != 3)
		yaml_bad(y, n, "%s has neither a \"task\" nor a \"student\" tensor", what);
	if (l->target == LOSS_MUST && !t->task)
		yaml_bad(y, n, "%s: loss \"%s\" needs a \"task\" with labels", what, t->loss);
	if (t->adaptor.kind && l->features != 1)
		yaml_bad(y, yaml_get(y, n, "adaptor"), "%s: loss \"%s\" takes no adaptor", what,
		    t->loss);
	if (t->nstudents > 1 && !l->features)
		yaml_bad(y, n, "%s: loss \"%s\" is about one tensor of the student, not %d", what,
		    t->loss, t->nstudents);
}

static void
term(struct ydoc *y, ynode *n, const char *name, int line, struct recipe_term *t)
{
	static const char *const reductions[] = {"batchmean", "mean", "sum"};
	const char *what = arena_printf(y->arena, "terms.%s", name);
	const struct loss_info *l;

	*t = (struct recipe_term){
	    .name = name, .line = line, .weight = {.from = 1}, .temperature = {.from = 1}};
	if (!yaml_is_map(n)) {
		term_keys(y, n, what, NULL);
		t->loss = "ce";
		return;
	}
	l = loss_named(y, n, what, &t->loss);
	if (!l)
		return; /* whose keys are not known */
	t->task = yaml_string(y, n, "task", NULL);
	t->nstudents = tensors(y, n, what, "student", "students", &t->students);
	for (int i = 0; i < t->nstudents; i++)
		if (str_starts(t->students[i], "student."))
			t->students[i] += strlen("student.");
	t->nteachers = tensors(y, n, what, "teacher", "teachers", &t->teachers);
	t->through = yaml_bool(y, n, "teacher_gradient", false);
	t->weight = recipe_dial(y, n, "weight", 1, -INFINITY, INFINITY);
	t->temperature = recipe_dial(y, n, "temperature", l->temperature, 1e-6, INFINITY);
	t->tau_squared = yaml_bool(y, n, "tau_squared", true);
	term_choice(y, n, "reduction", &t->reduction, 3, reductions);
	recipe_adaptor(y, n, what, t);
	loss_values(y, n, what, l, t);
	teacher_weights(y, n, what, l, t);
	class_maps(y, n, what, l, t);
	if (term_keys(y, n, what, l)) /* else what seems to be missing may be misspelt */
		term_needs(y, n, what, l, t);
	if (strcmp(t->loss, "hint") == 0 && !t->adaptor.kind)
		t->adaptor.kind = ADAPTOR_AUTO;
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
