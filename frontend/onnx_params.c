/* onnx_params -- which initializers are parameters.  Works on the messages, so
 * that the importer (opts->states) and the exporter see the same names. */
#include "frontend/onnx.h"

#include <string.h>

bool
onnx_is_setting(const char *op, int i)
{
	static const struct {
		const char *op;
		unsigned inputs;
	} settings[] = {
	    {"Clip", 6},
	    {"Pad", 6},
	    {"Dropout", 6},
	    {"Resize", 14},
	    {"Upsample", 2},
	    {"OneHot", 6},
	    {"Range", 7},
	    {"Expand", 2},
	    {"Tile", 2},
	    {"TopK", 2},
	    {"ConstantOfShape", 1},
	    {"QuantizeLinear", 6},
	    {"DequantizeLinear", 6},
	    {"NonMaxSuppression", 28},
	    {"MelWeightMatrix", 24},
	    {"STFT", 4},
	};
	size_t k;

	for (k = 0; k < sizeof settings / sizeof *settings; k++)
		if (i < 8 && strcmp(settings[k].op, op) == 0)
			return settings[k].inputs >> i & 1;
	return false;
}

bool
onnx_is_running(const char *op, int i)
{
	return (i == 3 || i == 4) && strcmp(op, "BatchNormalization") == 0;
}

static bool
is_float(const Onnx__TensorProto *t)
{
	enum dtype dtype = dtype_from_onnx(t->data_type);

	return dtype != DT_none && dtype_is_float(dtype);
}

static bool
is_norm(const char *op)
{
	static const char *const ops[] = {"BatchNormalization", "InstanceNormalization",
	    "LayerNormalization", "GroupNormalization", "RMSNormalization"};
	size_t i;

	for (i = 0; i < sizeof ops / sizeof *ops; i++)
		if (strcmp(ops[i], op) == 0)
			return true;
	return false;
}

struct own {
	struct onnx_file *f;
	struct map *inits;   /* name -> TensorProto */
	struct map *readers; /* initializer name -> its first reading normalisation */
	VEC(Onnx__TensorProto *) made;
};

/* The same content under another name; the data is shared. */
static Onnx__TensorProto *
renamed(struct own *o, const Onnx__TensorProto *t, const char *name)
{
	Onnx__TensorProto *copy = arena_dup(o->f->own, t, sizeof *t);

	copy->name = arena_strdup(o->f->own, name);
	vec_push(o->f->own, &o->made, copy);
	map_put(o->inits, copy->name, copy);
	return copy;
}

static void
separate(struct own *o, Onnx__NodeProto *n, int index, struct diag *d)
{
	struct arena *a = o->f->own;
	const char *fresh;
	size_t i;
	int k;

	for (i = 1; i < n->n_input; i++) {
		const char *name = n->input[i];
		Onnx__TensorProto *t = map_get(o->inits, name);

		if (!t || !is_float(t))
			continue;
		if (!map_get(o->readers, name)) {
			map_put(o->readers, name, n);
			continue;
		}
		for (k = 1, fresh = name; map_get(o->inits, fresh); k++)
			fresh = arena_printf(a, "%s_%d", name, k);
		diag_note(d, onnx_node_loc(o->f, n, index),
		    "shares initializer \"%s\" with another normalisation; it trains a copy, "
		    "\"%s\"",
		    name, fresh);
		n->input[i] = renamed(o, t, fresh)->name;
		map_put(o->readers, n->input[i], n);
	}
}

void
onnx_own_parameters(struct onnx_file *f, struct diag *d)
{
	Onnx__GraphProto *g = f->m->graph;
	struct own o = {.f = f, .inits = map_create(f->own), .readers = map_create(f->own)};
	Onnx__TensorProto **all;
	size_t i;

	for (i = 0; i < g->n_initializer; i++)
		map_put(o.inits, onnx_str(g->initializer[i]->name), g->initializer[i]);
	for (i = 0; i < g->n_node; i++) {
		Onnx__NodeProto *n = g->node[i];
		Onnx__TensorProto *t = NULL;

		if (strcmp(onnx_str(n->op_type), "Identity") == 0 && !*onnx_domain(n->domain) &&
		    n->n_input == 1 && n->n_output == 1 && *n->output[0])
			t = map_get(o.inits, n->input[0]);
		if (t && is_float(t) && !map_get(o.inits, n->output[0]))
			renamed(&o, t, n->output[0]);
		else
			continue;
		n->n_input = n->n_output = 0; /* onnx_is_removed */
		n->op_type = "";
	}
	for (i = 0; i < g->n_node; i++)
		if (is_norm(onnx_str(g->node[i]->op_type)) && !*onnx_domain(g->node[i]->domain))
			separate(&o, g->node[i], (int)i, d);
	if (!o.made.n)
		return;
	all = arena_array(f->own, Onnx__TensorProto *, g->n_initializer + (size_t)o.made.n);
	if (g->n_initializer)
		memcpy(all, g->initializer, g->n_initializer * sizeof *all);
	memcpy(all + g->n_initializer, o.made.v, (size_t)o.made.n * sizeof *all);
	g->initializer = all;
	g->n_initializer += (size_t)o.made.n;
}
