/* recipe_record -- teachers that are known by what they said: outputs given as files
 * with a row for each sample, made by `retort distill --emit=logits` or elsewhere.  Each
 * file is one more field of the data, so it follows its samples through every order. */
#include "frontend/recipe_int.h"

static const char *const split_keys[] = {"train", "val", "test"};

bool
recipe_recorded(struct ydoc *y, ynode *model)
{
	ynode *outputs = yaml_get(y, model, "outputs");
	bool found = false;

	for (int i = 0; yaml_is_map(outputs) && i < yaml_count(outputs); i++)
		found |= yaml_is_map(yaml_value(y, outputs, i));
	return found && !yaml_get(y, model, "onnx");
}

/* The files of one split: as many as of the others. */
static void
files(struct ydoc *y, ynode *map, const char *key, int split, const char *root, const char *what, struct recipe_record *o)
{
	const char **v;
	int n = yaml_strings(y, map, key, &v);

	if (n == 0)
		return;
	if (o->nfiles && n != o->nfiles) {
		yaml_bad(y, yaml_get(y, map, key), "%s has %d files of %s and %d of %s", what, o->nfiles, split_keys[0], n,
		    split_keys[split]);
		return;
	}
	o->nfiles = n;
	o->file[split] = v;
	for (int i = 0; i < n; i++)
		v[i] = path_join(y->arena, root, v[i]);
}

/* Weights sum to one. */
static void
weights(struct ydoc *y, ynode *n, const char *what, struct recipe_record *o)
{
	ynode *at = yaml_get(y, n, "weights");
	int count = yaml_numbers(y, n, "weights", &o->weights);
	double sum = 0;

	if (!at) {
		o->weights = arena_array(y->arena, double, o->nfiles + 1);
		for (int i = 0; i < o->nfiles; i++)
			o->weights[i] = 1.0 / o->nfiles;
		return;
	}
	if (count != o->nfiles)
		yaml_bad(y, at, "%s has %d files and %d weights; give one for each file", what, o->nfiles, count);
	for (int i = 0; i < count; i++) {
		sum += o->weights[i];
		if (!(o->weights[i] >= 0) || isinf(o->weights[i]))
			yaml_bad(y, at, "%s: file %d weighs %g; weights are at least 0", what, i + 1, o->weights[i]);
	}
	if (count == o->nfiles && !(sum > 0))
		yaml_bad(y, at, "%s: the weights sum to %g", what, sum);
	for (int i = 0; i < count; i++)
		o->weights[i] /= sum;
}

/* {file: F}, {file: [F, G], weights: [1, 2]} or {file: {train: F, val: G, test: H}} */
static struct recipe_record
record(struct ydoc *y, ynode *n, const char *name, const char *what, const char *root)
{
	struct recipe_record o = {.name = name, .line = yaml_line(n)};
	ynode *file;

	if (!yaml_is_map(n)) {
		yaml_bad(y, n, "%s: a teacher without \"onnx\" has files for outputs: {file: NAME.npy}", what);
		return o;
	}
	if (!YAML_KEYS(y, n, what, "file", "weights", "probabilities"))
		return o;
	o.probabilities = yaml_bool(y, n, "probabilities", false);
	file = yaml_get(y, n, "file");
	if (yaml_is_map(file) && YAML_KEYS(y, file, arena_printf(y->arena, "%s.file", what), "train", "val", "test")) {
		for (int k = 0; k < 3; k++)
			files(y, file, split_keys[k], k, root, what, &o);
	} else if (file && !yaml_is_map(file)) {
		files(y, n, "file", 0, root, what, &o);
	}
	if (!o.file[0])
		yaml_bad(y, n, "%s names no \"file\" of the training samples", what);
	weights(y, n, what, &o);
	return o;
}

void
recipe_teacher_record(struct ydoc *y, ynode *n, const struct recipe *r, struct recipe_model *m)
{
	const char *what = arena_printf(y->arena, "models.teachers.%s", m->name);
	ynode *outputs = yaml_get(y, n, "outputs");
	int count = yaml_count(outputs);

	if (!YAML_KEYS(y, n, what, "outputs", "data", "with_augment"))
		return;
	m->data = yaml_string(y, n, "data", NULL);
	m->with_augment = yaml_bool(y, n, "with_augment", false);
	m->records = arena_array(y->arena, struct recipe_record, count + 1);
	m->outputs = arena_array(y->arena, struct recipe_name, count + 1);
	for (int i = 0; i < count; i++) {
		const char *name = yaml_key(y, outputs, i);

		if (strchr(name, '.')) {
			yaml_bad(y, yaml_key_node(y, outputs, i), "name \"%s\" holds a dot; dots separate model and name", name);
			continue;
		}
		m->records[m->nrecords++] = record(y, yaml_value(y, outputs, i), name,
		    arena_printf(y->arena, "%s.outputs.%s", what, name), r->data_root);
		m->outputs[m->noutputs++] = (struct recipe_name){name, NULL, yaml_line(yaml_key_node(y, outputs, i))};
	}
}

/* ---- as fields of the data */
const char *
recipe_record_field(struct arena *a, const struct recipe_model *m, const struct recipe_record *o, int file)
{
	return file ? arena_printf(a, "%s.%s.%d", m->name, o->name, file + 1) : arena_printf(a, "%s.%s", m->name, o->name);
}

static void
add_to(struct arena *a, struct recipe_split *s, int split, const struct recipe_model *m, const struct recipe_record *o, struct diag *d,
    struct loc loc)
{
	struct recipe_field *f;

	if (!s->n || !o->file[split])
		return;
	f = arena_array(a, struct recipe_field, s->n + o->nfiles);
	memcpy(f, s->fields, sizeof *f * (size_t)s->n);
	for (int i = 0; i < o->nfiles; i++)
		for (int k = 0; k < s->n; k++)
			if (strcmp(f[k].name, recipe_record_field(a, m, o, i)) == 0)
				diag_invalid(d, loc, "field \"%s\" of the data has the name of a teacher's output; rename one of them", f[k].name);
	for (int i = 0; i < o->nfiles; i++)
		f[s->n++] = (struct recipe_field){.name = recipe_record_field(a, m, o, i), .file = o->file[split][i],
		                                  .line = o->line, .recorded = true};
	s->fields = f;
}

static void
add_fields(struct arena *a, struct recipe *r, const struct recipe_model *m, struct recipe_split *const split[3], struct diag *d)
{
	struct loc loc = LOC_FILE(r->path);

	for (int i = 0; i < m->nrecords; i++)
		for (int k = 0; k < 3; k++) {
			const struct recipe_record *o = &m->records[i];

			loc.line = o->line;
			if (o->file[k] && !split[k]->n)
				diag_invalid(d, loc, "teacher output \"%s.%s\" has files for %s, and the data has no files of that split%s",
				    m->name, o->name, split_keys[k], split[k]->from ? "; val is taken from train, and so are the teacher's" : "");
			add_to(a, split[k], k, m, o, d, loc);
		}
}

/* The data set that teacher m is about; NULL: reported. */
static struct recipe_set *
set_of(struct recipe *r, const struct recipe_model *m, struct arena *a, struct diag *d)
{
	const char **names = arena_array(a, const char *, r->nsets + 1), *near;
	struct loc loc = LOC_FILE(r->path);

	loc.line = m->line;
	for (int i = 0; i < r->nsets; i++) {
		names[i] = r->sets[i].name;
		if (m->data && strcmp(names[i], m->data) == 0)
			return &r->sets[i];
	}
	near = m->data ? str_nearest(m->data, names, r->nsets) : NULL;
	if (!m->data)
		diag_invalid(d, loc, "teacher \"%s\" is given as files, and there are several data sets; say which one with \"data\"", m->name);
	else
		diag_invalid(d, loc, "teacher \"%s\": no data set is called \"%s\"%s%s%s", m->name, m->data,
		    near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : "");
	return NULL;
}

void
recipe_record_fields(struct arena *a, struct recipe *r, struct diag *d)
{
	struct loc loc = LOC_FILE(r->path);

	for (int i = 0; i < r->nteachers; i++) {
		const struct recipe_model *m = &r->teachers[i];
		struct recipe_set *s = NULL;

		if (!m->nrecords)
			continue;
		loc.line = m->line;
		if (m->data && !r->nsets)
			diag_invalid(d, loc, "teacher \"%s\": \"data\" names one of several data sets, and there is one only", m->name);
		if (r->nsets && !(s = set_of(r, m, a, d)))
			continue;
		add_fields(a, r, m, s ? (struct recipe_split *const[3]){&s->train, &s->val, &s->test}
		                      : (struct recipe_split *const[3]){&r->train, &r->val, &r->test}, d);
	}
}
