/* onnx_operators -- which operators a file's nodes have, without importing it, and
 * the versions of operators. */
#include "frontend/onnx.h"

#include <stdlib.h>
#include <string.h>

struct since {
	const char *op;
	int version[12]; /* ascending, then 0 */
};
static const struct since table[] = {
#define SINCE(op, ...) {op, {__VA_ARGS__}},
#include "frontend/onnx_since.def"
#undef SINCE
};

static int
by_op(const void *key, const void *row)
{
	return strcmp(key, ((const struct since *)row)->op);
}

int
onnx_versions(const char *op, const int **v)
{
	const struct since *s =
	    bsearch(op, table, sizeof table / sizeof *table, sizeof *table, by_op);
	int n = 0;

	*v = s ? s->version : NULL;
	while (s && n < (int)(sizeof s->version / sizeof *s->version) && s->version[n])
		n++;
	return n;
}

const char *
onnx_known(int i)
{
	return i < (int)(sizeof table / sizeof *table) ? table[i].op : NULL;
}

struct listing {
	struct arena *a;
	struct map *seen, *local;
	VEC(const char *) names;
};

static const char *
spelled(struct arena *a, const char *domain, const char *op)
{
	domain = onnx_domain(domain);
	return *domain ? arena_printf(a, "%s::%s", domain, onnx_str(op))
		       : arena_strdup(a, onnx_str(op));
}

static void
list_nodes(struct listing *l, size_t n, Onnx__NodeProto **nodes, int depth)
{
	size_t i, k, j;

	for (i = 0; i < n && depth < ONNX_DEPTH; i++) {
		const char *name = spelled(l->a, nodes[i]->domain, nodes[i]->op_type);

		for (k = 0; k < nodes[i]->n_attribute; k++) {
			const Onnx__AttributeProto *at = nodes[i]->attribute[k];

			if (at->g)
				list_nodes(l, at->g->n_node, at->g->node, depth + 1);
			for (j = 0; j < at->n_graphs; j++)
				list_nodes(
				    l, at->graphs[j]->n_node, at->graphs[j]->node, depth + 1);
		}
		if (map_get(l->local, name) || map_get(l->seen, name))
			continue;
		map_put(l->seen, name, l);
		vec_push(l->a, &l->names, name);
	}
}

bool
onnx_operators(const char *path, struct arena *a, int *n, const char *const **names, struct diag *d)
{
	struct listing l = {.a = a, .seen = map_create(a), .local = map_create(a)};
	struct onnx_file f;
	size_t i;

	if (!onnx_open(&f, a, path, NULL, d))
		return false;
	for (i = 0; i < f.m->n_functions; i++)
		map_put(
		    l.local, spelled(a, f.m->functions[i]->domain, f.m->functions[i]->name), &l);
	list_nodes(&l, f.m->graph->n_node, f.m->graph->node, 0);
	for (i = 0; i < f.m->n_functions; i++)
		list_nodes(&l, f.m->functions[i]->n_node, f.m->functions[i]->node, 0);
	onnx_close(&f);
	*n = l.names.n;
	*names = l.names.v;
	return true;
}
