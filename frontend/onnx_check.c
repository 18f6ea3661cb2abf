/* onnx_check -- what the specification asks of a file's structure and the importer
 * cannot see while it builds: bodies of branches, loops and functions that are never
 * entered, attributes given twice, operators newer than the opset, functions that
 * call themselves.  All of it is reported, not the first alone. */
#include "frontend/onnx_import.h"

#include <inttypes.h>

/* The names that nodes of one graph see. */
struct names {
	const struct names *outer;
	struct map *map;
};
struct check {
	struct import *im;
	struct map *open, *done; /* functions being walked, and walked */
	bool ok;
};
/* Where nodes stand. */
struct place {
	const Onnx__FunctionProto *fn;
	const char *what; /* "its then_branch", "function \"f\""; NULL: the model's graph */
	int depth;
};

static bool
seen(const struct names *n, const char *name)
{
	for (; n; n = n->outer)
		if (map_get(n->map, name))
			return true;
	return false;
}

static void
wrong(struct check *c, bool ok)
{
	c->ok &= ok;
}

static void
check_attributes(struct check *c, const struct place *p, const Onnx__NodeProto *n, struct loc loc)
{
	size_t i, k;

	for (i = 0; i < n->n_attribute; i++) {
		const Onnx__AttributeProto *a = n->attribute[i];
		const char *name = onnx_str(a->name);

		if (!*name)
			wrong(c, diag_invalid(c->im->d, loc, "attribute %zu has no name", i));
		for (k = 0; k < i; k++)
			if (*name && strcmp(name, onnx_str(n->attribute[k]->name)) == 0)
				break;
		if (k < i)
			wrong(c, diag_invalid(c->im->d, loc, "attribute \"%s\" is given twice", name));
		if (!p->fn && *onnx_str(a->ref_attr_name))
			wrong(c, diag_invalid(c->im->d, loc,
			    "attribute \"%s\" refers to \"%s\" of a function, but stands in none", name, a->ref_attr_name));
	}
}

/* The operator is in the opset that the file, or the function, imports. */
static void
check_version(struct check *c, const struct place *p, const Onnx__NodeProto *n, struct loc loc)
{
	const char *domain = onnx_domain(n->domain), *op = onnx_str(n->op_type);
	const char *spelled = *domain ? arena_printf(c->im->f.own, "%s::%s", domain, op) : op;
	int64_t opset = onnx_opset(c->im->f.m, p->fn, domain);
	const int *v;

	if (onnx_versions(spelled, &v) > 0 && opset > 0 && opset < v[0])
		wrong(c, diag_invalid(c->im->d, loc,
		    "operator \"%s\" is in ONNX since opset %d, the %s imports opset %" PRId64, op, v[0],
		    p->fn ? "function" : "file", opset));
}

/* An attribute that the operator does not have.  Where the file's version of it is the
 * row's: older ones are for onnx_upgrade.c to say. */
static void
check_attribute_names(struct check *c, const struct place *p, const Onnx__NodeProto *n, struct loc loc)
{
	const char *domain = onnx_domain(n->domain), *op = onnx_str(n->op_type), *names[64], *near;
	enum op row = op_from_onnx(domain, op);
	const int *v;
	int k, nv = *domain ? 0 : onnx_versions(op, &v);
	size_t i;

	if (row == OP_none || !nv || v[nv - 1] > onnx_opset(c->im->f.m, p->fn, domain) || import_is_special(domain, op))
		return;
	for (i = 0; i < n->n_attribute; i++) {
		const char *name = onnx_str(n->attribute[i]->name);

		if (op_attr(row, name))
			continue;
		for (k = 0; k < op_info[row].nattr && k < 64; k++)
			names[k] = op_info[row].attrs[k].name;
		near = str_nearest(name, names, k);
		wrong(c, diag_invalid(c->im->d, loc, "%s has no attribute \"%s\"%s%s%s", op, name,
		    near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : ""));
	}
}

/* Names that node outputs of one graph make; reported here where the importer, which
 * has its own word for the model's graph, may never come. */
static void
add_outputs(struct check *c, const struct place *p, struct names *in, size_t n, Onnx__NodeProto **nodes)
{
	size_t i, k;

	for (i = 0; i < n; i++)
		for (k = 0; k < nodes[i]->n_output; k++) {
			const char *name = nodes[i]->output[k];

			if (!*name)
				continue;
			if (p->what && map_get(in->map, name))
				wrong(c, diag_invalid(c->im->d, onnx_node_loc(&c->im->f, nodes[i], (int)i),
				    "makes \"%s\", which %s has already: every name is given once", name, p->what));
			map_put(in->map, name, c);
		}
}

static void check_nodes(struct check *, const struct place *, const struct names *, size_t, Onnx__NodeProto **);

static void
check_graph(struct check *c, const struct place *outer, const struct names *around, const Onnx__GraphProto *g,
    const char *what, struct loc loc)
{
	struct names in = {around, map_create(c->im->f.own)};
	struct place p = {outer->fn, what, outer->depth + 1};
	size_t i;

	if (p.depth > ONNX_DEPTH)
		return; /* the importer says so */
	for (i = 0; i < g->n_input; i++) {
		const char *name = onnx_str(g->input[i]->name);

		if (map_get(in.map, name))
			wrong(c, diag_invalid(c->im->d, loc, "%s has input \"%s\" twice", what, name));
		map_put(in.map, name, c);
	}
	for (i = 0; i < g->n_initializer; i++)
		map_put(in.map, onnx_str(g->initializer[i]->name), c);
	for (i = 0; i < g->n_sparse_initializer; i++)
		if (g->sparse_initializer[i]->values)
			map_put(in.map, onnx_str(g->sparse_initializer[i]->values->name), c);
	add_outputs(c, &p, &in, g->n_node, g->node);
	check_nodes(c, &p, &in, g->n_node, g->node);
	for (i = 0; i < g->n_output; i++)
		if (!seen(&in, onnx_str(g->output[i]->name)))
			wrong(c, diag_invalid(c->im->d, loc, "%s does not make its output \"%s\"", what,
			    onnx_str(g->output[i]->name)));
}

static void
check_function(struct check *c, const Onnx__FunctionProto *fn, int depth)
{
	struct names in = {NULL, map_create(c->im->f.own)};
	struct place p = {fn, arena_printf(c->im->f.own, "function \"%s\"", onnx_str(fn->name)), depth + 1};
	const char *key = arena_printf(c->im->f.own, "%p", (const void *)fn);
	size_t i;

	if (depth > ONNX_DEPTH || map_get(c->done, key))
		return;
	map_put(c->open, key, c);
	map_put(c->done, key, c);
	for (i = 0; i < fn->n_input; i++)
		map_put(in.map, fn->input[i], c);
	add_outputs(c, &p, &in, fn->n_node, fn->node);
	check_nodes(c, &p, &in, fn->n_node, fn->node);
	map_put(c->open, key, NULL);
}

static void
check_call(struct check *c, const struct place *p, const Onnx__NodeProto *n, struct loc loc)
{
	const Onnx__FunctionProto *fn = import_function(c->im, n);

	if (!fn) {
		check_version(c, p, n, loc);
		check_attribute_names(c, p, n, loc);
		return;
	}
	if (map_get(c->open, arena_printf(c->im->f.own, "%p", (const void *)fn)))
		wrong(c, diag_invalid(c->im->d, loc, "function \"%s\" calls itself", onnx_str(fn->name)));
	else
		check_function(c, fn, p->depth);
}

static void
check_nodes(struct check *c, const struct place *p, const struct names *in, size_t n, Onnx__NodeProto **nodes)
{
	size_t i, k, j;

	for (i = 0; i < n; i++) {
		const Onnx__NodeProto *node = nodes[i];
		struct loc loc = onnx_node_loc(&c->im->f, node, (int)i);

		if (onnx_is_removed(node))
			continue;
		check_attributes(c, p, node, loc);
		check_call(c, p, node, loc);
		for (k = 0; p->what && k < node->n_input; k++)
			if (*node->input[k] && !seen(in, node->input[k]))
				wrong(c, diag_invalid(c->im->d, loc, "input %zu is \"%s\", which nothing makes in %s%s", k,
				    node->input[k], p->what, in->outer ? " nor around it" : ""));
		for (k = 0; k < node->n_attribute; k++) {
			const Onnx__AttributeProto *a = node->attribute[k];
			const char *what = arena_printf(c->im->f.own, "its %s", onnx_str(a->name));

			if (a->g)
				check_graph(c, p, in, a->g, what, loc);
			for (j = 0; j < a->n_graphs; j++)
				check_graph(c, p, in, a->graphs[j], what, loc);
			if (a->g && strcmp(onnx_str(node->op_type), "If") == 0 && a->g->n_output != node->n_output)
				wrong(c, diag_invalid(c->im->d, loc, "%s has %zu outputs, the node %zu", what,
				    a->g->n_output, node->n_output));
		}
	}
}

/* ---- what the file imports */
static bool
check_opsets(struct import *im)
{
	static const struct {
		const char *domain;
		int newest;
	} known[] = {{"", 28}, {"ai.onnx.ml", 5}, {"ai.onnx.preview.training", 1}};
	const Onnx__ModelProto *m = im->f.m;
	struct loc loc = LOC_FILE(im->f.name);
	bool ok = true;
	size_t i, k;

	for (i = 0; i < m->n_opset_import; i++) {
		const char *domain = onnx_domain(m->opset_import[i]->domain), *name = *domain ? domain : "ai.onnx";
		int64_t version = m->opset_import[i]->version;

		if (version < 1)
			ok = diag_invalid(im->d, loc, "imports opset %" PRId64 " of domain \"%s\"; they count from 1", version, name);
		for (k = 0; k < i; k++)
			if (strcmp(onnx_domain(m->opset_import[k]->domain), domain) == 0)
				ok = diag_invalid(im->d, loc, "imports domain \"%s\" twice", name);
		for (k = 0; k < sizeof known / sizeof *known; k++)
			if (strcmp(known[k].domain, domain) == 0 && version > known[k].newest)
				ok = diag_unsupported(im->d, loc,
				    "imports opset %" PRId64 " of domain \"%s\", newer than %d, the newest known", version, name,
				    known[k].newest);
	}
	return ok;
}

bool
onnx_check(struct import *im)
{
	struct check c = {.im = im, .open = map_create(im->f.own), .done = map_create(im->f.own), .ok = true};
	const Onnx__GraphProto *g = im->f.m->graph;
	struct names top = {NULL, map_create(im->f.own)};
	struct place p = {0};
	size_t i;

	if (!check_opsets(im))
		return false;
	for (i = 0; i < g->n_input; i++)
		map_put(top.map, onnx_str(g->input[i]->name), &c);
	for (i = 0; i < g->n_initializer; i++)
		map_put(top.map, onnx_str(g->initializer[i]->name), &c);
	for (i = 0; i < g->n_sparse_initializer; i++)
		if (g->sparse_initializer[i]->values)
			map_put(top.map, onnx_str(g->sparse_initializer[i]->values->name), &c);
	add_outputs(&c, &p, &top, g->n_node, g->node);
	check_nodes(&c, &p, &top, g->n_node, g->node);
	for (i = 0; i < im->f.m->n_functions; i++)
		check_function(&c, im->f.m->functions[i], 0);
	return c.ok;
}
