/* onnx_export -- the student's file again, in inference form, self-contained, with
 * every parameter and running statistic as raw bytes at a known place, so that a
 * trainer without any ONNX code can write its weights into it. */
#include "frontend/onnx.h"

#include <string.h>

struct export
{
	struct onnx_file f;
	struct arena *a;
	struct diag *d;
	struct map *params; /* names of initializers that training changes */
	int ndropped;	    /* outputs that are not exported */
	const char *const *dropped;
};

/* ---- inference form */
static bool
core_op(const Onnx__NodeProto *n, const char *op)
{
	return !*onnx_domain(n->domain) && strcmp(onnx_str(n->op_type), op) == 0;
}

static void
drop_attr(Onnx__NodeProto *n, const char *name)
{
	size_t i, k = 0;

	for (i = 0; i < n->n_attribute; i++)
		if (strcmp(onnx_str(n->attribute[i]->name), name) != 0)
			n->attribute[k++] = n->attribute[i];
	n->n_attribute = k;
}

/* Before opset 7 test mode was an attribute. */
static void
set_test_mode(struct export *e, Onnx__NodeProto *n)
{
	Onnx__AttributeProto *a = arena_new(e->f.own, Onnx__AttributeProto);
	Onnx__AttributeProto **all =
	    arena_array(e->f.own, Onnx__AttributeProto *, n->n_attribute + 1);

	onnx__attribute_proto__init(a);
	a->name = arena_strdup(e->f.own, "is_test");
	a->has_type = 1;
	a->type = ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INT;
	a->has_i = 1;
	a->i = 1;
	if (n->n_attribute)
		memcpy(all, n->attribute, n->n_attribute * sizeof *all);
	all[n->n_attribute++] = a;
	n->attribute = all;
}

static void
infer_batchnorm(struct export *e, Onnx__NodeProto *n, int64_t opset)
{
	drop_attr(n, "training_mode");
	if (opset < 7) {
		drop_attr(n, "is_test");
		set_test_mode(e, n);
	}
	if (n->n_output > 1)
		n->n_output = 1;
}

/* A dropped node's output is its input: uses take the input, outputs of the graph
 * that were the node's stay as an Identity. */
static void
infer_dropout(Onnx__NodeProto *n)
{
	n->op_type = "Identity";
	n->n_attribute = 0;
	if (n->n_input > 1)
		n->n_input = 1;
	if (n->n_output > 1)
		n->n_output = 1;
}

static void
rename_inputs(const struct map *to, size_t n, Onnx__NodeProto **nodes, int depth)
{
	size_t i, k;
	char *name;

	for (i = 0; i < n && depth < ONNX_DEPTH; i++) {
		for (k = 0; k < nodes[i]->n_input; k++)
			if (*nodes[i]->input[k] && (name = map_get(to, nodes[i]->input[k])))
				nodes[i]->input[k] = name;
		for (k = 0; k < nodes[i]->n_attribute; k++)
			if (nodes[i]->attribute[k]->g)
				rename_inputs(to, nodes[i]->attribute[k]->g->n_node,
				    nodes[i]->attribute[k]->g->node, depth + 1);
	}
}

static bool
is_output(size_t n, char **names, const char *name)
{
	size_t i;

	for (i = 0; i < n; i++)
		if (strcmp(names[i], name) == 0)
			return true;
	return false;
}

static size_t
inference_form(struct export *e, const Onnx__FunctionProto *fn, size_t n, Onnx__NodeProto **nodes,
    size_t noutputs, char **outputs)
{
	struct map *to = map_create(e->f.own);
	int64_t opset = onnx_opset(e->f.m, fn, "");
	size_t i, kept = 0;

	for (i = 0; i < n; i++) {
		Onnx__NodeProto *x = nodes[i];

		if (onnx_is_removed(x))
			continue;
		if (core_op(x, "BatchNormalization"))
			infer_batchnorm(e, x, opset);
		if (core_op(x, "Dropout") && x->n_input && x->n_output) {
			infer_dropout(x);
			if (!is_output(noutputs, outputs, x->output[0])) {
				char *from = map_get(to, x->input[0]);

				map_put(to, x->output[0], from ? from : x->input[0]);
				continue;
			}
		}
		nodes[kept++] = x;
	}
	rename_inputs(to, kept, nodes, 0);
	return kept;
}

/* ---- parameters */
/* As the importer decides it: a float initializer that some node reads other than
 * as a setting.  Reads inside of functions count as reads of a plain operand. */
static void
find_params(struct export *e, size_t n, Onnx__NodeProto **nodes, int depth)
{
	size_t i, k;

	for (i = 0; i < n && depth < ONNX_DEPTH; i++) {
		const char *op = *onnx_domain(nodes[i]->domain) ? "" : onnx_str(nodes[i]->op_type);

		for (k = 0; k < nodes[i]->n_input; k++)
			if (!onnx_is_setting(op, (int)k))
				map_put(e->params, nodes[i]->input[k], e);
		for (k = 0; k < nodes[i]->n_attribute; k++)
			if (nodes[i]->attribute[k]->g)
				find_params(e, nodes[i]->attribute[k]->g->n_node,
				    nodes[i]->attribute[k]->g->node, depth + 1);
	}
}

/* Numbers become raw bytes in this file, wherever they were. */
static bool
make_raw(struct export *e, Onnx__TensorProto *t)
{
	struct loc loc = LOC_FILE(e->f.name);
	struct tensor *x;

	if (dtype_from_onnx(t->data_type) == DT_str)
		return true;
	loc.name = onnx_str(t->name);
	loc.op = "initializer";
	x = onnx_tensor(&e->f, t, loc, e->d);
	if (!x)
		return false;
	t->n_float_data = t->n_int32_data = t->n_int64_data = t->n_double_data = t->n_uint64_data =
	    0;
	t->n_external_data = 0;
	t->has_data_location = 0;
	t->has_raw_data = 1;
	t->raw_data.len = x->bytes;
	t->raw_data.data = x->data;
	return true;
}

/* What describes values that are gone goes too. */
static void
clean_value_info(struct export *e, Onnx__GraphProto *g)
{
	struct map *made = map_create(e->f.own);
	size_t i, k, kept = 0;

	for (i = 0; i < g->n_node; i++)
		for (k = 0; k < g->node[i]->n_output; k++)
			map_put(made, g->node[i]->output[k], e);
	for (i = 0; i < g->n_value_info; i++)
		if (map_get(made, onnx_str(g->value_info[i]->name)))
			g->value_info[kept++] = g->value_info[i];
	g->n_value_info = kept;
}

static void
count_name(struct map *m, const char *name, const void *self)
{
	if (!map_get(m, name))
		map_put(m, name, (void *)(uintptr_t)self);
}

/* Initializers that nothing reads any more (an original whose Identity became a
 * parameter of its own) are left out, unless they are inputs or outputs. */
static void
drop_unread(struct export *e, Onnx__GraphProto *g)
{
	struct map *read = map_create(e->f.own);
	size_t i, kept = 0;
	size_t n;

	find_params(e, g->n_node, g->node, 0);
	for (i = 0; i < g->n_node; i++)
		for (n = 0; n < g->node[i]->n_input; n++)
			count_name(read, g->node[i]->input[n], e);
	for (i = 0; i < g->n_input; i++)
		count_name(read, onnx_str(g->input[i]->name), e);
	for (i = 0; i < g->n_output; i++)
		count_name(read, onnx_str(g->output[i]->name), e);
	for (i = 0; i < g->n_initializer; i++)
		if (map_get(read, onnx_str(g->initializer[i]->name)) ||
		    map_get(e->params, onnx_str(g->initializer[i]->name)))
			g->initializer[kept++] = g->initializer[i];
	g->n_initializer = kept;
}

static bool
rewrite(struct export *e)
{
	Onnx__ModelProto *m = e->f.m;
	Onnx__GraphProto *g = m->graph;
	char **outputs;
	size_t i;
	bool ok = true;

	onnx_own_parameters(&e->f, e->d);
	onnx_drop_outputs(&e->f, e->ndropped, e->dropped);
	outputs = arena_array(e->f.own, char *, g->n_output + 1);
	for (i = 0; i < g->n_output; i++)
		outputs[i] = (char *)(uintptr_t)onnx_str(g->output[i]->name);
	g->n_node = inference_form(e, NULL, g->n_node, g->node, g->n_output, outputs);
	for (i = 0; i < m->n_functions; i++) {
		Onnx__FunctionProto *fn = m->functions[i];

		fn->n_node = inference_form(e, fn, fn->n_node, fn->node, fn->n_output, fn->output);
	}
	drop_unread(e, g);
	clean_value_info(e, g);
	for (i = 0; i < g->n_initializer; i++)
		ok = make_raw(e, g->initializer[i]) && ok;
	if (m->ir_version < 4)
		m->ir_version = 4; /* initializers need not be inputs any more */
	m->producer_name = arena_strdup(e->f.own, "retort");
	m->producer_version = arena_strdup(e->f.own, "0.1.0");
	m->n_training_info = 0;
	return ok;
}

/* ---- where the bytes are */
struct field {
	uint64_t id;
	int wire;
	const uint8_t *at, *end, *next;
};

static bool
next_field(const uint8_t *p, const uint8_t *end, struct field *f)
{
	uint64_t tag, v = 0;

	if (p >= end)
		return false;
	p = onnx_varint(p, end, &tag);
	require(p);
	f->id = tag >> 3;
	f->wire = (int)(tag & 7);
	switch (f->wire) {
	case 0:
		f->at = p;
		p = onnx_varint(p, end, &v);
		break;
	case 1:
		f->at = p;
		p += 8;
		break;
	case 2:
		p = onnx_varint(p, end, &v);
		f->at = p;
		p += v;
		break;
	case 5:
		f->at = p;
		p += 4;
		break;
	default:
		die("wire type %d in a file of our own", f->wire);
	}
	f->end = f->next = p;
	return true;
}

enum { MODEL_GRAPH = 7, GRAPH_INITIALIZER = 5, TENSOR_NAME = 8, TENSOR_RAW = 9 };

static void
patch_of(struct export *e, const uint8_t *start, const struct field *tensor, struct onnx_patch *p,
    int *n)
{
	struct field f;
	const uint8_t *at;
	const char *name = "";
	struct onnx_patch patch = {.offset = -1};

	for (at = tensor->at; next_field(at, tensor->end, &f); at = f.next) {
		if (f.id == TENSOR_NAME)
			name = arena_strndup(e->a, (const char *)f.at, (size_t)(f.end - f.at));
		if (f.id == TENSOR_RAW) {
			patch.offset = f.at - start;
			patch.bytes = f.end - f.at;
		}
	}
	patch.name = name;
	if (patch.offset >= 0 && map_get(e->params, name))
		p[(*n)++] = patch;
}

static bool
is_float(const Onnx__TensorProto *t)
{
	enum dtype dtype = dtype_from_onnx(t->data_type);

	return dtype != DT_none && dtype_is_float(dtype);
}

/* Walks the packed bytes: every float initializer among the parameters. */
static int
find_patches(struct export *e, const uint8_t *bytes, size_t size, struct onnx_patch *p)
{
	const Onnx__GraphProto *g = e->f.m->graph;
	struct field graph, init;
	const uint8_t *at, *in;
	size_t index = 0;
	int n = 0;

	for (at = bytes; next_field(at, bytes + size, &graph); at = graph.next) {
		if (graph.id != MODEL_GRAPH)
			continue;
		for (in = graph.at; next_field(in, graph.end, &init); in = init.next)
			if (init.id == GRAPH_INITIALIZER && is_float(g->initializer[index++]))
				patch_of(e, bytes, &init, p, &n);
	}
	return n;
}

bool
onnx_export_template(const char *path, struct arena *a, void **bytes, size_t *size, int *npatch,
    struct onnx_patch **patch, struct diag *d)
{
	return onnx_export_without(path, 0, NULL, a, bytes, size, npatch, patch, d);
}

bool
onnx_export_without(const char *path, int n, const char *const *outputs, struct arena *a,
    void **bytes, size_t *size, int *npatch, struct onnx_patch **patch, struct diag *d)
{
	struct export e = {.a = a, .d = d, .ndropped = n, .dropped = outputs};
	struct diag quiet;
	bool ok;

	if (!onnx_open(&e.f, a, path, NULL, d))
		return false;
	/* Notes on shared parameters were given when the student was imported. */
	diag_init(&quiet, NULL);
	quiet.quiet = true;
	e.d = &quiet;
	e.params = map_create(e.f.own);
	ok = rewrite(&e);
	if (!ok)
		diag_error(
		    d, quiet.status, LOC_FILE(e.f.name), "cannot be exported:\n%s", quiet.text.s);
	diag_free(&quiet);
	if (ok) {
		*patch = arena_array(a, struct onnx_patch, e.f.m->graph->n_initializer + 1);
		*bytes = onnx_pack(a, &e.f.m->base, size);
		*npatch = find_patches(&e, *bytes, *size, *patch);
	}
	onnx_close(&e.f);
	return ok;
}
