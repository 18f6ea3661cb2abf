/* recipe -- the recipe as a whole: what it keeps and emits, and the order in which
 * the parts are read.  docs/recipe.md is what this implements. */
#include "frontend/recipe_int.h"

/* ---- cache and emit */
static void
cache(struct ydoc *y, ynode *root, struct recipe *r)
{
	ynode *n = yaml_get(y, root, "cache");

	const char *dtype;

	if (!n || (!YAML_KEYS(y, n, "cache", "teachers", "path", "dtype", "variants", "what") && !yaml_is_map(n)))
		return;
	r->cache_line = yaml_line(n);
	r->ncached = yaml_strings(y, n, "teachers", &r->cached);
	r->cache_path = yaml_string(y, n, "path", NULL);
	r->cache_variants = yaml_int(y, n, "variants", 0, 1, 4096);
	r->ncache_what = yaml_strings(y, n, "what", &r->cache_what);
	dtype = yaml_string(y, n, "dtype", "f32");
	r->cache_f16 = strcmp(dtype, "f16") == 0;
	if (!r->cache_f16 && strcmp(dtype, "f32") != 0)
		yaml_bad(y, n, "cache: dtype \"%s\" is not known; it is f32 or f16", dtype);
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

static void
logged(struct ydoc *y, ynode *root, struct recipe *r)
{
	ynode *n = yaml_get(y, root, "log");

	if (!n || (!YAML_KEYS(y, n, "log", "grad_share", "agreement") && !yaml_is_map(n)))
		return;
	if (yaml_bool(y, n, "agreement", false))
		recipe_agreement(y->arena, r);
	r->log_line = yaml_line(n);
	r->grad_share = yaml_bool(y, n, "grad_share", false);
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

/* METHOD, or {method: M, steps: N, ...} */
static void
emit_saliency(struct ydoc *y, ynode *emit, struct recipe_saliency *s)
{
	ynode *n = yaml_get(y, emit, "saliency");

	*s = (struct recipe_saliency){.name = "saliency", .class = -1, .noise = -1, .line = n ? yaml_line(n) : 0};
	if (!n)
		return;
	if (yaml_is_scalar(n)) {
		s->method = yaml_text(y, n);
		return;
	}
	if (!YAML_KEYS(y, n, "emit.saliency", "method", "name", "output", "steps", "class", "noise") && !yaml_is_map(n))
		return;
	s->method = yaml_string(y, n, "method", NULL);
	s->name = yaml_string(y, n, "name", s->name);
	s->output = yaml_string(y, n, "output", NULL);
	s->steps = yaml_int(y, n, "steps", 0, 1, 4096);
	s->class = yaml_int(y, n, "class", -1, 0, 1 << 24);
	s->noise = yaml_number(y, n, "noise", -1, 0, 1e6);
	if (!s->method)
		yaml_bad(y, n, "emit.saliency has no \"method\": gradient, gradient_input, integrated or smoothgrad");
}

/* Without emit: everything but the trainer's library.  With it: what it names. */
static void
emit(struct ydoc *y, ynode *root, struct recipe *r)
{
	ynode *n = yaml_get(y, root, "emit"), *trainer;

	r->emit_static = r->emit_shared = r->emit_exe = r->emit_onnx = !n;
	if (!n || (!YAML_KEYS(y, n, "emit", "library", "executable", "onnx", "trainer", "saliency") && !yaml_is_map(n)))
		return;
	r->emit_exe = yaml_bool(y, n, "executable", false);
	r->emit_onnx = yaml_bool(y, n, "onnx", false);
	emit_saliency(y, n, &r->saliency);
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
		    "tasks", "terms", "train", "cache", "checkpoint", "emit", "log", "search");
		r->name = yaml_string(&y, root, "name", path_ident(a, path));
		r->seed = yaml_int(&y, root, "seed", 0, 0, INT64_MAX);
		recipe_data(&y, root, r, data_root ? arena_strdup(a, data_root) : NULL);
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
		logged(&y, root, r);
		emit(&y, root, r);
		recipe_folder_labels(a, r);
		recipe_views(a, r);
		recipe_record_fields(a, r, d);
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
