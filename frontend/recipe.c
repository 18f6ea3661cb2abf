/* recipe -- the recipe as a whole: its data, what it emits, and the order in which
 * the parts are read.  docs/recipe.md is what this implements. */
#include "frontend/recipe_int.h"

/* ---- data */
/* data.train and so on: {field: file} or {field: {file: F, classes: N, ...}} */
static struct recipe_field
field(struct ydoc *y, ynode *n, const char *name, const char *split, const char *root)
{
	struct recipe_field f = {.name = name, .line = yaml_line(n)};
	const char *what = arena_printf(y->arena, "data.%s.%s", split, name), *file = NULL;
	ynode *ignore;

	if (yaml_is_scalar(n)) {
		file = yaml_text(y, n);
	} else if (YAML_KEYS(y, n, what, "file", "classes", "ignore", "balance") ||
		   yaml_is_map(n)) {
		file = yaml_string(y, n, "file", NULL);
		if (!file)
			yaml_bad(y, n, "%s names no \"file\"", what);
		f.classes = yaml_int(y, n, "classes", 0, 1, 1 << 24);
		ignore = yaml_get(y, n, "ignore");
		f.has_ignore = ignore && yaml_scalar_int(y, ignore, &f.ignore);
		f.balance = yaml_string(y, n, "balance", NULL);
		if (f.balance && strcmp(f.balance, "none") == 0)
			f.balance = NULL;
		if (f.balance && strcmp(f.balance, "inverse_freq") != 0)
			yaml_bad(y, yaml_get(y, n, "balance"),
			    "\"balance\" is \"%s\"; it is inverse_freq or none", f.balance);
	}
	f.file = path_join(y->arena, root, file ? file : "");
	return f;
}

static bool
takes_from(struct ydoc *y, ynode *n, const char *what, struct recipe_split *s)
{
	if (!yaml_is_map(n) || !yaml_get(y, n, "from") || !yaml_is_scalar(yaml_get(y, n, "from")))
		return false;
	if (!yaml_get(y, n, "fraction"))
		return false; /* a field called from */
	YAML_KEYS(y, n, what, "from", "fraction");
	s->from = yaml_string(y, n, "from", NULL);
	s->fraction = yaml_number(y, n, "fraction", 0.1, 0, 1);
	if (s->from && strcmp(s->from, "train") != 0)
		yaml_bad(y, yaml_get(y, n, "from"),
		    "%s is taken from \"%s\"; only train can be divided", what, s->from);
	if (s->fraction <= 0 || s->fraction >= 1)
		yaml_bad(y, yaml_get(y, n, "fraction"),
		    "\"fraction\" is %g, must lie between 0 and 1", s->fraction);
	return true;
}

static void
split(struct ydoc *y, ynode *data, const char *name, const char *root, struct recipe_split *s)
{
	ynode *n = yaml_get(y, data, name);
	int i, k;

	if (!n)
		return;
	s->line = yaml_line(n);
	if (!yaml_is_map(n)) {
		yaml_bad(y, n, "data.%s must be a mapping from fields to files", name);
		return;
	}
	if (takes_from(y, n, arena_printf(y->arena, "data.%s", name), s))
		return;
	s->fields = arena_array(y->arena, struct recipe_field, yaml_count(n) + 1);
	for (i = 0; i < yaml_count(n); i++) {
		s->fields[i] = field(y, yaml_value(y, n, i), yaml_key(y, n, i), name, root);
		if (s->fields[i].name[0] == '$')
			yaml_bad(y, yaml_key_node(y, n, i), "names of fields do not start with $");
		for (k = 0; k < i; k++)
			if (strcmp(s->fields[k].name, s->fields[i].name) == 0)
				yaml_bad(y, yaml_key_node(y, n, i), "field \"%s\" is given twice",
				    s->fields[i].name);
	}
	s->n = yaml_count(n);
}

static void
splits(struct ydoc *y, ynode *n, const char *root, struct recipe_split *train,
    struct recipe_split *val, struct recipe_split *test)
{
	split(y, n, "train", root, train);
	split(y, n, "val", root, val);
	split(y, n, "test", root, test);
	if (!train->n)
		yaml_bad(y, n, "the data has no \"train\": {FIELD: FILE}");
}

static void
data_sets(struct ydoc *y, ynode *map, struct recipe *r, const char *root)
{
	int i;

	if (!yaml_is_map(map) || !yaml_count(map)) {
		yaml_bad(y, map, "\"sets\" must be a mapping from a name of yours to a data set");
		return;
	}
	r->nsets = yaml_count(map);
	r->sets = arena_array(y->arena, struct recipe_set, r->nsets);
	for (i = 0; i < r->nsets; i++) {
		struct recipe_set *s = &r->sets[i];
		ynode *n = yaml_value(y, map, i);
		const char *what;

		*s = (struct recipe_set){
		    .name = yaml_key(y, map, i), .line = yaml_line(yaml_key_node(y, map, i))};
		what = arena_printf(y->arena, "data.sets.%s", s->name);
		if (!YAML_KEYS(y, n, what, "root", "train", "val", "test", "batch", "limit") &&
		    !yaml_is_map(n))
			continue;
		splits(y, n, path_join(y->arena, root, yaml_string(y, n, "root", ".")), &s->train,
		    &s->val, &s->test);
		if (!yaml_get(y, n, "batch"))
			yaml_bad(y, n, "%s has no \"batch\"", what);
		s->batch = yaml_int(y, n, "batch", 1, 1, 1 << 20);
		s->limit = yaml_int(y, n, "limit", 0, 1, INT64_MAX);
	}
}

/* [{flip_h: 0.5}, {crop: {pad: 4}}, {cutout: 8}, ...] */
static void
augment(struct ydoc *y, ynode *data, struct recipe *r)
{
	static const char *const kinds[] = {"flip_h", "flip_v", "crop", "cutout", "noise"};
	ynode *list = yaml_get(y, data, "augment");
	int i, k;

	if (!list)
		return;
	r->augments = arena_array(y->arena, struct recipe_augment, yaml_count(list) + 1);
	for (i = 0; i < yaml_count(list); i++) {
		ynode *n = yaml_item(y, list, i), *v;
		struct recipe_augment *g = &r->augments[r->naugment];

		if (!yaml_is_map(n) || yaml_count(n) != 1) {
			yaml_bad(
			    y, n, "an augmentation is written {flip_h: 0.5} or {crop: {pad: 4}}");
			continue;
		}
		*g = (struct recipe_augment){.kind = yaml_key(y, n, 0), .line = yaml_line(n)};
		for (k = 0; k < 5 && strcmp(kinds[k], g->kind) != 0; k++)
			;
		v = yaml_value(y, n, 0);
		if (k == 5) {
			yaml_bad(y, n, "no augmentation is called \"%s\"%s", g->kind,
			    yaml_hint(y, g->kind, 5, kinds));
			continue;
		}
		if (k == 2 && yaml_is_map(v)) {
			YAML_KEYS(y, v, "crop", "pad");
			g->n = yaml_int(y, v, "pad", 4, 0, 1 << 16);
		} else if (k == 2 || k == 3) {
			if (yaml_scalar_int(y, v, &g->n) && g->n < 0)
				yaml_bad(y, v, "%s of %lld pixels", g->kind, (long long)g->n);
		} else if (yaml_scalar_number(y, v, &g->p) && (g->p < 0 || (k < 2 && g->p > 1))) {
			yaml_bad(y, v, "%s of %g: %s", g->kind, g->p,
			    k < 2 ? "a chance lies between 0 and 1" : "must be positive");
		}
		r->naugment++;
	}
}

static void
data(struct ydoc *y, ynode *root, struct recipe *r, const char *data_root)
{
	ynode *n = yaml_get(y, root, "data"), *sets;

	if (!n) {
		yaml_bad(y, root, "the recipe has no \"data\"");
		return;
	}
	if (!YAML_KEYS(y, n, "data", "root", "train", "val", "test", "sets", "batch", "shuffle",
		"drop_last", "augment") &&
	    !yaml_is_map(n))
		return;
	r->data_root =
	    data_root ? data_root : path_join(y->arena, r->dir, yaml_string(y, n, "root", "."));
	r->shuffle = yaml_bool(y, n, "shuffle", true);
	r->drop_last = yaml_bool(y, n, "drop_last", true);
	augment(y, n, r);
	sets = yaml_get(y, n, "sets");
	if (sets) {
		data_sets(y, sets, r, r->data_root);
		if (yaml_get(y, n, "train") || yaml_get(y, n, "val") || yaml_get(y, n, "test") ||
		    yaml_get(y, n, "batch"))
			yaml_bad(
			    y, n, "with \"sets\", train, val, test and batch belong into each set");
		return;
	}
	splits(y, n, r->data_root, &r->train, &r->val, &r->test);
	if (!yaml_get(y, n, "batch"))
		yaml_bad(y, n, "data has no \"batch\"");
	r->batch = yaml_int(y, n, "batch", 1, 1, 1 << 20);
}

/* ---- cache and emit */
static void
cache(struct ydoc *y, ynode *root, struct recipe *r)
{
	ynode *n = yaml_get(y, root, "cache");

	if (!n || (!YAML_KEYS(y, n, "cache", "teachers") && !yaml_is_map(n)))
		return;
	r->ncached = yaml_strings(y, n, "teachers", &r->cached);
}

static void
checkpoint(struct ydoc *y, ynode *root, struct recipe *r)
{
	ynode *n = yaml_get(y, root, "checkpoint");

	r->checkpoint_seconds = -1;
	if (!n || (!YAML_KEYS(y, n, "checkpoint", "every_epochs", "keep", "seconds") && !yaml_is_map(n)))
		return;
	r->checkpoint_every = yaml_int(y, n, "every_epochs", 0, 1, 1 << 24);
	r->checkpoint_keep = yaml_int(y, n, "keep", 0, 1, 1 << 24);
	r->checkpoint_seconds = yaml_number(y, n, "seconds", -1, 0, 1e9);
	if (yaml_get(y, n, "keep") && !yaml_get(y, n, "every_epochs"))
		yaml_bad(y, n, "\"keep\" is about the files of \"every_epochs\", which is missing");
}

/* {kind: [static, shared], name: C identifier}, or true; both kinds where none is named */
static void
emit_library(struct ydoc *y, ynode *emit, const char *key, const char **name, bool *is_static, bool *is_shared)
{
	static const char *const known[] = {"static", "shared"};
	ynode *lib = yaml_get(y, emit, key);
	const char **kinds, *what = arena_printf(y->arena, "emit.%s", key);
	int count;

	if (yaml_is_scalar(lib)) {
		*is_static = *is_shared = yaml_bool(y, emit, key, false);
		return;
	}
	if (!lib)
		return;
	if (strcmp(key, "trainer") == 0 ? !YAML_KEYS(y, lib, what, "kind", "name", "stage") && !yaml_is_map(lib)
	                                : !YAML_KEYS(y, lib, what, "kind", "name") && !yaml_is_map(lib))
		return;
	*name = yaml_string(y, lib, "name", NULL);
	if (*name) {
		size_t len = strspn(*name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_");

		if (!len || (*name)[len] || strchr("0123456789", **name))
			yaml_bad(y, yaml_get(y, lib, "name"), "library name \"%s\" is not a C identifier", *name);
	}
	count = yaml_strings(y, lib, "kind", &kinds);
	*is_static = *is_shared = !yaml_get(y, lib, "kind");
	for (int i = 0; i < count; i++) {
		if (strcmp(kinds[i], "static") == 0)
			*is_static = true;
		else if (strcmp(kinds[i], "shared") == 0)
			*is_shared = true;
		else
			yaml_bad(y, yaml_get(y, lib, "kind"), "no kind of library is called \"%s\"%s", kinds[i],
			    yaml_hint(y, kinds[i], 2, known));
	}
}

/* Without emit: everything but the trainer's library.  With it: what it names. */
static void
emit(struct ydoc *y, ynode *root, struct recipe *r)
{
	ynode *n = yaml_get(y, root, "emit"), *trainer;

	r->emit_static = r->emit_shared = r->emit_exe = r->emit_onnx = !n;
	if (!n || (!YAML_KEYS(y, n, "emit", "library", "executable", "onnx", "trainer") && !yaml_is_map(n)))
		return;
	r->emit_exe = yaml_bool(y, n, "executable", false);
	r->emit_onnx = yaml_bool(y, n, "onnx", false);
	emit_library(y, n, "library", &r->library_name, &r->emit_static, &r->emit_shared);
	emit_library(y, n, "trainer", &r->trainer_name, &r->trainer_static, &r->trainer_shared);
	trainer = yaml_get(y, n, "trainer");
	if (yaml_is_map(trainer))
		r->trainer_stage = yaml_string(y, trainer, "stage", NULL);
	for (int i = 0; r->trainer_stage && i <= r->nstages; i++) {
		if (i == r->nstages)
			yaml_bad(y, yaml_get(y, trainer, "stage"), "no stage is called \"%s\"", r->trainer_stage);
		else if (strcmp(r->stages[i].name, r->trainer_stage) == 0)
			break;
	}
}

/* ---- the whole */
static bool
version(struct ydoc *y, ynode *root)
{
	int64_t v = 0;
	ynode *n = yaml_get(y, root, "retort");

	if (!n)
		return yaml_bad(
		    y, root, "the recipe does not say its version; start it with \"retort: 1\"");
	if (!yaml_scalar_int(y, n, &v))
		return false;
	return v == 1 ||
	       yaml_bad(y, n, "recipe version %lld is not known; this retort reads version 1",
		   (long long)v);
}

/* ---- image folders give images and, as classes, labels */
static bool
image_folder(const char *file)
{
	static const char *const suffix[] = {"-ubyte", "-ubyte.gz", ".idx", ".idx.gz", ".npy", ".npz", ".csv"};

	if (strchr(path_base(file), '#') || strstr(file, ".npz:") || strstr(file, ".csv:"))
		return false;
	for (size_t i = 0; i < sizeof suffix / sizeof *suffix; i++)
		if (str_ends(file, suffix[i]))
			return false;
	return file[0] != 0;
}

/* A field that is some task's target takes the class half of an image folder; where
 * it is not listed and the split has one folder, that folder's classes are meant. */
static void
folder_labels(struct arena *a, const struct recipe *r, struct recipe_split *s)
{
	for (int t = 0; t < r->ntasks; t++) {
		const char *target = r->tasks[t].target;
		int folder = -1, folders = 0, have = -1;

		for (int i = 0; target && i < s->n; i++) {
			if (strcmp(s->fields[i].name, target) == 0)
				have = i;
			else if (image_folder(s->fields[i].file)) {
				folder = i;
				folders++;
			}
		}
		if (have < 0 && folders == 1) {
			struct recipe_field *f = arena_array(a, struct recipe_field, s->n + 1);

			memcpy(f, s->fields, sizeof *f * (size_t)s->n);
			have = s->n++;
			f[have] = (struct recipe_field){.name = target, .file = f[folder].file, .line = f[folder].line};
			s->fields = f;
		}
		if (have >= 0 && image_folder(s->fields[have].file))
			s->fields[have].file = arena_printf(a, "%s#labels", s->fields[have].file);
	}
}

static struct recipe *
read_recipe(struct arena *a, const char *path, const char *data_root, const int *choice, struct diag *d)
{
	struct ydoc y;
	ynode *root = yaml_open(&y, a, path, d), *terms;
	struct recipe *r;
	int errors = d->errors;

	if (!root)
		return NULL;
	if (choice && !recipe_choose(&y, choice)) {
		yaml_close(&y);
		return NULL;
	}
	root = yaml_document_get_root_node(&y.doc); /* nodes may have moved */
	r = arena_new(a, struct recipe);
	r->path = arena_strdup(a, path);
	r->dir = path_dir(a, path);
	if (version(&y, root)) {
		YAML_KEYS(&y, root, "the recipe", "retort", "name", "seed", "data", "models",
		    "tasks", "terms", "train", "cache", "checkpoint", "emit", "search");
		r->name = yaml_string(&y, root, "name", path_ident(a, path));
		r->seed = yaml_int(&y, root, "seed", 0, 0, INT64_MAX);
		data(&y, root, r, data_root ? arena_strdup(a, data_root) : NULL);
		recipe_models(&y, root, r);
		recipe_tasks(&y, root, r);
		terms = yaml_get(&y, root, "terms");
		if (terms && !yaml_is_map(terms))
			yaml_bad(&y, terms,
			    "\"terms\" must be a mapping from a name of yours to a term");
		else if (terms)
			r->nterms = recipe_terms(&y, terms, &(struct recipe){0}, &r->terms);
		recipe_train(&y, root, r);
		cache(&y, root, r);
		checkpoint(&y, root, r);
		emit(&y, root, r);
		folder_labels(a, r, &r->train);
		folder_labels(a, r, &r->val);
		folder_labels(a, r, &r->test);
		for (int i = 0; i < r->nsets; i++) {
			folder_labels(a, r, &r->sets[i].train);
			folder_labels(a, r, &r->sets[i].val);
			folder_labels(a, r, &r->sets[i].test);
		}
		recipe_search(&y, root, r);
		if (choice)
			r->search = NULL;
		recipe_check(r, a, d);
	}
	yaml_close(&y);
	return d->errors > errors ? NULL : r;
}

struct recipe *
recipe_read(struct arena *a, const char *path, const char *data_root, struct diag *d)
{
	return read_recipe(a, path, data_root, NULL, d);
}

struct recipe *
recipe_read_point(struct arena *a, const char *path, const char *data_root, const int *choice, struct diag *d)
{
	return read_recipe(a, path, data_root, choice, d);
}
