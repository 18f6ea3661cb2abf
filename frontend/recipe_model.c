/* recipe_model -- models: of a recipe: where the files are, what feeds their
 * inputs, which of their tensors have names. */
#include "frontend/recipe_int.h"

/* ---- inputs */
/* pad: zeros around the last axes of a sample: lo of each, then hi of each. */
static void
input_pad(struct ydoc *y, ynode *n, struct recipe_input *in)
{
	in->npad = yaml_ints(y, n, "pad", &in->pad, 0, 1 << 20);
	if (in->npad % 2) {
		yaml_bad(y, yaml_get(y, n, "pad"),
		    "\"pad\" has %d numbers; it takes the zeros before each axis, then those after "
		    "each",
		    in->npad);
		in->npad = 0;
	}
}

static void
input_normalize(struct ydoc *y, ynode *n, struct recipe_input *in)
{
	ynode *norm = yaml_get(y, n, "normalize");
	int nstd, i;

	if (!norm || !YAML_KEYS(y, norm, "normalize", "mean", "std"))
		return;
	in->nnorm = yaml_numbers(y, norm, "mean", &in->mean);
	nstd = yaml_numbers(y, norm, "std", &in->std);
	if (in->nnorm != nstd || nstd == 0)
		yaml_bad(y, norm,
		    "\"mean\" has %d numbers and \"std\" has %d; both take one for each channel",
		    in->nnorm, nstd);
	for (i = 0; i < nstd; i++)
		if (!(in->std[i] > 0))
			yaml_bad(y, norm, "\"std\" holds %g, must be above 0", in->std[i]);
	if (in->nnorm != nstd)
		in->nnorm = 0;
}

static void
input_picture(struct ydoc *y, ynode *n, const char *what, struct recipe_input *in)
{
	static const char *const kinds[] = {"grey", "rgb", "bgr"}, *const layouts[] = {"chw", "hwc"};
	const char *channels = yaml_string(y, n, "channels", NULL), *layout = yaml_string(y, n, "layout", "chw");

	recipe_resize(y, yaml_get(y, n, "resize"), arena_printf(y->arena, "%s.resize", what), in->resize);
	in->hwc = strcmp(layout, "hwc") == 0;
	if (!in->hwc && strcmp(layout, "chw") != 0)
		yaml_bad(y, yaml_get(y, n, "layout"), "%s: \"layout\" is \"%s\"%s", what, layout,
		    yaml_hint(y, layout, 2, layouts));
	if (!channels)
		return;
	in->bgr = strcmp(channels, "bgr") == 0;
	in->channels = strcmp(channels, "rgb") == 0 || in->bgr ? 3 : 1;
	if (in->channels == 1 && strcmp(channels, "grey") != 0 && strcmp(channels, "gray") != 0)
		yaml_bad(y, yaml_get(y, n, "channels"), "%s: \"channels\" is \"%s\"%s", what, channels,
		    yaml_hint(y, channels, 3, kinds));
}

/* field, from or noise: where the numbers come from */
static void
input_source(struct ydoc *y, ynode *n, const char *what, struct recipe_input *in)
{
	static const char *const noises[] = {"normal", "uniform"};
	int i;

	in->field = yaml_string(y, n, "field", NULL);
	in->from = yaml_string(y, n, "from", NULL);
	in->noise = yaml_string(y, n, "noise", NULL);
	if ((in->field != NULL) + (in->from != NULL) + (in->noise != NULL) != 1)
		yaml_bad(y, n, "%s names %s: a \"field\" of the data, \"from\": MODEL.NAME, or \"noise\": normal or uniform",
		    what, in->field || in->from || in->noise ? "several sources where one is needed" : "no \"field\" or other source");
	if (in->from && !strchr(in->from, '.'))
		yaml_bad(y, yaml_get(y, n, "from"), "%s: \"from\" is \"%s\"; write MODEL.NAME, as student.%s", what, in->from, in->from);
	for (i = 0; in->noise && i < 2 && strcmp(in->noise, noises[i]) != 0; i++)
		;
	if (i == 2)
		yaml_bad(y, yaml_get(y, n, "noise"), "\"noise\" is \"%s\"%s", in->noise, yaml_hint(y, in->noise, 2, noises));
	in->detach = yaml_bool(y, n, "detach", false);
	if (yaml_get(y, n, "detach") && !in->from)
		yaml_bad(y, yaml_get(y, n, "detach"), "%s: \"detach\" is of \"from\"", what);
	if (yaml_get(y, n, "shape") && !in->noise)
		yaml_bad(y, yaml_get(y, n, "shape"), "%s: \"shape\" is of noise", what);
	in->nshape = yaml_ints(y, n, "shape", &in->shape, 1, 1 << 24);
	if (in->nshape >= MAX_RANK)
		yaml_bad(y, yaml_get(y, n, "shape"), "%s: \"shape\" has %d axes, at most %d are possible", what, in->nshape, MAX_RANK - 1);
}

static struct recipe_input
model_input(struct ydoc *y, ynode *n, const char *onnx, const char *model)
{
	struct recipe_input in = {.onnx = onnx, .scale = 1, .line = yaml_line(n)};
	const char *what = arena_printf(y->arena, "%s.inputs.%s", model, onnx);

	if (yaml_is_scalar(n)) {
		in.field = yaml_text(y, n);
		return in;
	}
	if (!YAML_KEYS(y, n, what, "field", "from", "detach", "noise", "shape", "scale", "offset", "normalize", "pad", "mask",
		"length", "resize", "channels", "layout") &&
	    !yaml_is_map(n))
		return in;
	input_source(y, n, what, &in);
	in.draw = arena_printf(y->arena, "%s.%s", model, onnx);
	in.mask = yaml_get(y, n, "mask") != NULL;
	in.length = yaml_get(y, n, "length") != NULL;
	in.filler = yaml_number(y, n, in.mask ? "mask" : "length", 0, -1e15, 1e15);
	if (in.mask && in.length)
		yaml_bad(y, n, "%s is either the \"mask\" of the field or its \"length\"", what);
	if ((in.mask || in.length) && !in.field)
		yaml_bad(y, n, "%s: \"mask\" and \"length\" are of a \"field\"", what);
	in.scale = yaml_number(y, n, "scale", 1, -INFINITY, INFINITY);
	in.offset = yaml_number(y, n, "offset", 0, -INFINITY, INFINITY);
	input_normalize(y, n, &in);
	input_pad(y, n, &in);
	input_picture(y, n, what, &in);
	return in;
}

static void
model_inputs(struct ydoc *y, ynode *model, struct recipe_model *m)
{
	ynode *map = yaml_get(y, model, "inputs");
	VEC(struct recipe_input) list = {0};
	int i, k;

	if (!map || !yaml_is_map(map)) {
		yaml_bad(y, map ? map : model, "%s needs \"inputs\": {ONNX INPUT: {field: NAME}}",
		    m->name);
		return;
	}
	for (i = 0; i < yaml_count(map); i++) {
		ynode *n = yaml_value(y, map, i);

		for (k = 0; k < yaml_count(n) && (yaml_is_list(n) || k == 0); k++)
			vec_push(y->arena, &list,
			    model_input(y, yaml_item(y, n, k), yaml_key(y, map, i), m->name));
	}
	m->ninputs = list.n;
	m->inputs = list.v;
}

/* ---- names */
static int
names(struct ydoc *y, ynode *model, const char *key, struct recipe_name **v)
{
	ynode *map = yaml_get(y, model, key);
	int i, k = 0;

	*v = NULL;
	if (!map)
		return 0;
	if (!yaml_is_map(map)) {
		yaml_bad(
		    y, map, "\"%s\" must be a mapping from a name of yours to an ONNX name", key);
		return 0;
	}
	*v = arena_array(y->arena, struct recipe_name, yaml_count(map) + 1);
	for (i = 0; i < yaml_count(map); i++) {
		const char *onnx = yaml_text(y, yaml_value(y, map, i)), *name = yaml_key(y, map, i);

		if (strchr(name, '.'))
			yaml_bad(y, yaml_key_node(y, map, i),
			    "name \"%s\" holds a dot; dots separate model and name", name);
		else if (onnx)
			(*v)[k++] =
			    (struct recipe_name){name, onnx, yaml_line(yaml_key_node(y, map, i))};
	}
	return k;
}

static void
check_twice(struct ydoc *y, const struct recipe_model *m)
{
	int i, k;

	for (i = 0; i < m->ntaps; i++)
		for (k = 0; k < m->noutputs; k++)
			if (strcmp(m->taps[i].name, m->outputs[k].name) == 0) {
				struct loc loc = LOC_FILE(y->path);

				loc.line = m->taps[i].line;
				diag_invalid(y->diag, loc,
				    "tap \"%s\" of %s has the name of an output", m->taps[i].name,
				    m->name);
			}
}

/* ---- models */
static void
weights(struct ydoc *y, ynode *n, const struct recipe *r, const char *what, struct recipe_model *m)
{
	const char *path = yaml_string(y, n, "onnx", NULL), *whose = m->shares ? "shares" : m->ema_of ? "ema_of" : "stage";

	if (m->of && path)
		yaml_bad(y, yaml_get(y, n, "onnx"), "%s has both \"onnx\" and \"%s\"", what, whose);
	else if (path)
		m->path = path_join(y->arena, r->dir, path);
	else if (!m->of)
		yaml_bad(y, n, "%s names no \"onnx\" file", what);
}

static void
initial(struct ydoc *y, ynode *n, struct recipe_model *m)
{
	static const char *const inits[] = {"onnx", "kaiming", "xavier"};
	int i;

	m->init = yaml_string(y, n, "init", "onnx");
	for (i = 0; i < 3 && strcmp(inits[i], m->init) != 0; i++)
		;
	if (i == 3)
		yaml_bad(y, yaml_get(y, n, "init"), "\"init\" is \"%s\"%s", m->init,
		    yaml_hint(y, m->init, 3, inits));
	m->nfrozen = yaml_strings(y, n, "frozen", &m->frozen);
}

static bool
model_keys(struct ydoc *y, ynode *n, const char *what, const char *group)
{
	if (!group)
		return YAML_KEYS(y, n, what, "onnx", "inputs", "outputs", "taps", "frozen", "init");
	if (strcmp(group, "students") == 0)
		return YAML_KEYS(y, n, what, "onnx", "shares", "inputs", "outputs", "taps", "frozen", "init", "export");
	return YAML_KEYS(y, n, what, "onnx", "ema_of", "decay", "warmup", "stage", "of", "inputs", "outputs", "taps", "export");
}

/* group: "students", "teachers"; NULL: the student */
static void
model(struct ydoc *y, ynode *n, const char *name, const char *group, const struct recipe *r, struct recipe_model *m)
{
	const char *what = arena_printf(y->arena, "models.%s%s%s", group ? group : "", group ? "." : "", name);

	*m = (struct recipe_model){.name = name, .line = yaml_line(n), .init = "onnx"};
	if (!yaml_is_map(n)) {
		yaml_bad(
		    y, n, "%s must be a mapping with \"onnx\", \"inputs\" and \"outputs\"", what);
		return;
	}
	if (group && strcmp(group, "teachers") == 0 && recipe_recorded(y, n)) {
		recipe_teacher_record(y, n, r, m);
		return;
	}
	model_keys(y, n, what, group);
	m->shares = yaml_string(y, n, "shares", NULL);
	m->ema_of = yaml_string(y, n, "ema_of", NULL);
	m->stage = yaml_string(y, n, "stage", NULL);
	m->of = m->shares ? m->shares : m->ema_of ? m->ema_of : m->stage ? yaml_string(y, n, "of", "student") : NULL;
	if (m->ema_of && m->stage)
		yaml_bad(y, n, "%s is either an average (\"ema_of\") or what a stage left (\"stage\")", what);
	if (!m->ema_of && (yaml_get(y, n, "decay") || yaml_get(y, n, "warmup")))
		yaml_bad(y, n, "%s: \"decay\" and \"warmup\" are of \"ema_of\"", what);
	m->decay = yaml_number(y, n, "decay", 0.999, 0, 1);
	m->warmup = yaml_bool(y, n, "warmup", false);
	weights(y, n, r, what, m);
	m->exported = yaml_bool(y, n, "export", !group || (strcmp(group, "students") == 0 && !m->shares));
	if (m->shares && m->exported)
		yaml_bad(y, n, "%s has the weights of \"%s\", which is exported", what, m->shares);
	if (m->exported && group && strcmp(group, "teachers") == 0 && !m->of)
		yaml_bad(y, n, "%s: a teacher that stays as it is cannot be exported", what);
	if (!m->of || yaml_get(y, n, "inputs"))
		model_inputs(y, n, m);
	m->noutputs = names(y, n, "outputs", &m->outputs);
	m->ntaps = names(y, n, "taps", &m->taps);
	check_twice(y, m);
	initial(y, n, m);
	if (m->noutputs + m->ntaps == 0 && !yaml_get(y, n, "outputs") && !m->of)
		yaml_bad(y, n, "%s names no outputs: {NAME OF YOURS: ONNX OUTPUT}", what);
}

int
recipe_nmodels(const struct recipe *r)
{
	return 1 + r->nstudents + r->nteachers;
}

struct recipe_model *
recipe_model_at(const struct recipe *r, int i)
{
	struct recipe *w = (struct recipe *)(uintptr_t)r;

	return i == 0 ? &w->student : i <= r->nstudents ? &w->students[i - 1] : &w->teachers[i - 1 - r->nstudents];
}

struct recipe_model *
recipe_model_find(const struct recipe *r, const char *name, size_t len)
{
	for (int i = 0; i < recipe_nmodels(r); i++) {
		struct recipe_model *m = recipe_model_at(r, i);

		if (m->name && strncmp(m->name, name, len) == 0 && !m->name[len])
			return m;
	}
	return NULL;
}

static struct recipe_model *
group_of_models(struct ydoc *y, ynode *models, const char *key, struct recipe *r, int *n)
{
	ynode *map = yaml_get(y, models, key);
	struct recipe_model *list;

	*n = 0;
	if (!map)
		return NULL;
	if (!yaml_is_map(map)) {
		yaml_bad(y, map, "\"%s\" must be a mapping from a name of yours to a model", key);
		return NULL;
	}
	list = arena_array(y->arena, struct recipe_model, yaml_count(map) + 1);
	for (int i = 0; i < yaml_count(map); i++) {
		const char *name = yaml_key(y, map, i);

		if (!*name || strpbrk(name, "./") || strcmp(name, "student") == 0)
			yaml_bad(y, yaml_key_node(y, map, i), "a %.*s cannot be called \"%s\"", (int)strlen(key) - 1, key, name);
		model(y, yaml_value(y, map, i), name, key, r, &list[i]);
		for (int k = 0; k < i; k++)
			if (strcmp(list[k].name, name) == 0)
				yaml_bad(y, yaml_key_node(y, map, i), "%.*s \"%s\" is given twice", (int)strlen(key) - 1, key, name);
	}
	*n = yaml_count(map);
	return list;
}

/* What a model with the weights of another takes from it: file, names, and inputs that it
 * has none of its own for. */
static void
inherit(struct ydoc *y, const struct recipe *r, struct recipe_model *m)
{
	const char *key = m->shares ? "shares" : m->ema_of ? "ema_of" : "of", *names_of[64], *near;
	struct recipe_model *base = recipe_model_find(r, m->of, strlen(m->of));
	struct loc loc = LOC_FILE(y->path);
	int n = 0;

	loc.line = m->line;
	for (int i = 0; i <= r->nstudents && n < 64; i++)
		if (recipe_model_at(r, i) != m && !recipe_model_at(r, i)->of)
			names_of[n++] = recipe_model_at(r, i)->name;
	for (int i = 0; i < r->nteachers; i++)
		if (base == &r->teachers[i])
			base = NULL;
	if (!base || base->of || base == m) {
		near = str_nearest(m->of, names_of, n);
		diag_invalid(y->diag, loc, "models: \"%s\" of %s is \"%s\", which is no student%s%s%s", key, m->name, m->of,
		    near ? "; did you mean \"" : n ? "; there is \"" : "", near ? near : n ? names_of[0] : "", near || n ? "\"" : "");
		return;
	}
	m->path = base->path;
	m->init = base->init;
	if (!m->ninputs) {
		m->ninputs = base->ninputs;
		m->inputs = base->inputs;
	}
	if (!m->noutputs && !m->ntaps) {
		m->noutputs = base->noutputs;
		m->outputs = base->outputs;
		m->ntaps = base->ntaps;
		m->taps = base->taps;
	}
}

bool
recipe_models(struct ydoc *y, ynode *root, struct recipe *r)
{
	ynode *models = yaml_get(y, root, "models"), *student;

	if (!models)
		return yaml_bad(y, root, "the recipe has no \"models\"");
	if (!YAML_KEYS(y, models, "models", "student", "students", "teachers") && !yaml_is_map(models))
		return false;
	r->student.name = "student";
	student = yaml_get(y, models, "student");
	if (student)
		model(y, student, "student", NULL, r, &r->student);
	else
		yaml_bad(y, models, "\"models\" has no \"student\"");
	r->students = group_of_models(y, models, "students", r, &r->nstudents);
	r->teachers = group_of_models(y, models, "teachers", r, &r->nteachers);
	for (int i = 0; i < r->nteachers; i++) {
		const char *name = r->teachers[i].name;
		const struct recipe_model *first = recipe_model_find(r, name, strlen(name));

		if (first && first != &r->teachers[i])
			yaml_bad(y, yaml_get(y, models, "teachers"), "\"%s\" is the name of a student and of a teacher", name);
	}
	for (int i = 1; i < recipe_nmodels(r); i++)
		if (recipe_model_at(r, i)->of)
			inherit(y, r, recipe_model_at(r, i));
	return true;
}
