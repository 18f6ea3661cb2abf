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

static struct recipe_input
model_input(struct ydoc *y, ynode *n, const char *onnx, const char *model)
{
	struct recipe_input in = {.onnx = onnx, .scale = 1, .line = yaml_line(n)};
	const char *what = arena_printf(y->arena, "%s.inputs.%s", model, onnx);

	if (yaml_is_scalar(n)) {
		in.field = yaml_text(y, n);
		return in;
	}
	if (!YAML_KEYS(y, n, what, "field", "scale", "offset", "normalize", "pad", "mask", "length",
		"resize", "channels", "layout") &&
	    !yaml_is_map(n))
		return in;
	in.field = yaml_string(y, n, "field", NULL);
	in.mask = yaml_get(y, n, "mask") != NULL;
	in.length = yaml_get(y, n, "length") != NULL;
	in.filler = yaml_number(y, n, in.mask ? "mask" : "length", 0, -1e15, 1e15);
	if (in.mask && in.length)
		yaml_bad(y, n, "%s is either the \"mask\" of the field or its \"length\"", what);
	if (!in.field)
		yaml_bad(y, n, "%s names no \"field\" of the data", what);
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
model(struct ydoc *y, ynode *n, const char *name, bool student, const struct recipe *r,
    struct recipe_model *m)
{
	static const char *const inits[] = {"onnx", "kaiming", "xavier"};
	const char *what = arena_printf(y->arena, "models.%s%s", student ? "" : "teachers.", name),
		   *path;
	int i;

	*m = (struct recipe_model){.name = name, .line = yaml_line(n), .init = "onnx"};
	if (!yaml_is_map(n)) {
		yaml_bad(
		    y, n, "%s must be a mapping with \"onnx\", \"inputs\" and \"outputs\"", what);
		return;
	}
	if (!student && recipe_recorded(y, n)) {
		recipe_teacher_record(y, n, r, m);
		return;
	}
	if (student)
		YAML_KEYS(y, n, what, "onnx", "inputs", "outputs", "taps", "frozen", "init");
	else
		YAML_KEYS(y, n, what, "onnx", "inputs", "outputs", "taps");
	path = yaml_string(y, n, "onnx", NULL);
	if (path)
		m->path = path_join(y->arena, r->dir, path);
	else
		yaml_bad(y, n, "%s names no \"onnx\" file", what);
	model_inputs(y, n, m);
	m->noutputs = names(y, n, "outputs", &m->outputs);
	m->ntaps = names(y, n, "taps", &m->taps);
	check_twice(y, m);
	if (m->noutputs + m->ntaps == 0 && !yaml_get(y, n, "outputs"))
		yaml_bad(y, n, "%s names no outputs: {NAME OF YOURS: ONNX OUTPUT}", what);
	if (!student)
		return;
	m->nfrozen = yaml_strings(y, n, "frozen", &m->frozen);
	m->init = yaml_string(y, n, "init", "onnx");
	for (i = 0; i < 3 && strcmp(inits[i], m->init) != 0; i++)
		;
	if (i == 3)
		yaml_bad(y, yaml_get(y, n, "init"), "\"init\" is \"%s\"%s", m->init,
		    yaml_hint(y, m->init, 3, inits));
}

bool
recipe_models(struct ydoc *y, ynode *root, struct recipe *r)
{
	ynode *models = yaml_get(y, root, "models"), *student, *teachers;
	int i, k;

	if (!models)
		return yaml_bad(y, root, "the recipe has no \"models\"");
	if (!YAML_KEYS(y, models, "models", "student", "teachers") && !yaml_is_map(models))
		return false;
	student = yaml_get(y, models, "student");
	if (student)
		model(y, student, "student", true, r, &r->student);
	else
		yaml_bad(y, models, "\"models\" has no \"student\"");
	teachers = yaml_get(y, models, "teachers");
	if (!teachers)
		return true;
	if (!yaml_is_map(teachers))
		return yaml_bad(
		    y, teachers, "\"teachers\" must be a mapping from a name of yours to a model");
	r->nteachers = yaml_count(teachers);
	r->teachers = arena_array(y->arena, struct recipe_model, r->nteachers + 1);
	for (i = 0; i < r->nteachers; i++) {
		const char *name = yaml_key(y, teachers, i);

		if (strchr(name, '.') || strcmp(name, "student") == 0)
			yaml_bad(y, yaml_key_node(y, teachers, i),
			    "a teacher cannot be called \"%s\"", name);
		for (k = 0; k < i; k++)
			if (strcmp(r->teachers[k].name, name) == 0)
				yaml_bad(y, yaml_key_node(y, teachers, i),
				    "teacher \"%s\" is given twice", name);
		model(y, yaml_value(y, teachers, i), name, false, r, &r->teachers[i]);
	}
	return true;
}
