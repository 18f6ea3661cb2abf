/* onnx_prune -- a model without some of its outputs: they go, and the nodes that nothing
 * else needs. */
#include "frontend/onnx.h"

#include <string.h>

/* Names that the node reads, those of its subgraphs from outside among them. */
static void
mark_reads(struct map *needed, const Onnx__NodeProto *n, int depth)
{
	for (size_t i = 0; i < n->n_input; i++)
		if (*n->input[i] && !map_get(needed, n->input[i]))
			map_put(needed, n->input[i], needed);
	for (size_t i = 0; i < n->n_attribute; i++) {
		const Onnx__GraphProto *g = n->attribute[i]->g;

		for (size_t k = 0; g && k < g->n_node && depth < ONNX_DEPTH; k++)
			mark_reads(needed, g->node[k], depth + 1);
		for (size_t k = 0; g && k < g->n_output; k++)
			if (!map_get(needed, onnx_str(g->output[k]->name)))
				map_put(needed, onnx_str(g->output[k]->name), needed);
	}
}

static bool
is_needed(const struct map *needed, const Onnx__NodeProto *n)
{
	for (size_t i = 0; i < n->n_output; i++)
		if (*n->output[i] && map_get(needed, n->output[i]))
			return true;
	return false;
}

static bool
listed(const char *name, int n, const char *const *names)
{
	for (int i = 0; i < n; i++)
		if (strcmp(name, names[i]) == 0)
			return true;
	return false;
}

void
onnx_drop_outputs(struct onnx_file *f, int n, const char *const *names)
{
	Onnx__GraphProto *g = f->m->graph;
	struct map *needed = map_create(f->own);
	size_t kept = 0;

	for (size_t i = 0; i < g->n_output; i++)
		if (!listed(onnx_str(g->output[i]->name), n, names))
			g->output[kept++] = g->output[i];
	if (kept == g->n_output)
		return;
	g->n_output = kept;
	for (size_t i = 0; i < g->n_output; i++)
		map_put(needed, onnx_str(g->output[i]->name), f);
	for (size_t i = g->n_node; i-- > 0;) /* in topological order, as ONNX asks for */
		if (is_needed(needed, g->node[i]))
			mark_reads(needed, g->node[i], 0);
	kept = 0;
	for (size_t i = 0; i < g->n_node; i++)
		if (is_needed(needed, g->node[i]))
			g->node[kept++] = g->node[i];
	g->n_node = kept;
	kept = 0;
	for (size_t i = 0; i < g->n_input; i++)
		if (map_get(needed, onnx_str(g->input[i]->name)))
			g->input[kept++] = g->input[i];
	g->n_input = kept;
}
