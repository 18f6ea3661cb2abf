/* hash -- what a graph computes, as a number: rows, attributes, types and data, but no
 * names of values and no places in files.  Not cryptographic. */
#include "ir/ir.h"

#include <stdlib.h>
#include <string.h>

static uint64_t
mix(uint64_t h, const void *data, size_t n)
{
	const unsigned char *p = data;

	h ^= n * 0x9e3779b97f4a7c15u;
	while (n > 0) {
		size_t k = n < 8 ? n : 8;
		uint64_t w = 0;

		memcpy(&w, p, k);
		h = (h ^ w) * 0xff51afd7ed558ccdu;
		h = h << 31 | h >> 33;
		p += k;
		n -= k;
	}
	return h;
}

static uint64_t
number(uint64_t h, int64_t v)
{
	return mix(h, &v, sizeof v);
}

static uint64_t
text(uint64_t h, const char *s)
{
	return s ? mix(h, s, strlen(s)) : number(h, -1);
}

static uint64_t
tensor_hash(uint64_t h, const struct tensor *t)
{
	h = number(number(h, t->dtype), t->rank);
	for (int i = 0; i < t->rank; i++)
		h = number(h, t->dims[i]);
	for (size_t i = 0; t->dtype == DT_str && i < t->bytes / sizeof(char *); i++)
		h = text(h, ((char *const *)t->data)[i]);
	return t->dtype == DT_str ? h : mix(h, t->data, t->bytes);
}

static uint64_t
attr_hash(uint64_t h, const struct attr *a)
{
	h = number(text(h, a->name), a->kind);
	h = number(mix(number(h, a->i), &a->f, sizeof a->f), a->n);
	h = a->kind == ATTR_STRING ? text(h, a->s) : h;
	for (int i = 0; i < a->n; i++) {
		if (a->kind == ATTR_INTS)
			h = number(h, a->ints[i]);
		if (a->kind == ATTR_FLOATS)
			h = mix(h, &a->floats[i], sizeof a->floats[i]);
		if (a->kind == ATTR_STRINGS)
			h = text(h, a->strings[i]);
	}
	if (a->kind == ATTR_TENSOR)
		h = tensor_hash(h, a->t);
	return a->kind == ATTR_GRAPH ? number(h, (int64_t)graph_hash(a->g)) : h;
}

/* Values are numbered where they are first seen. */
static uint64_t
value_hash(uint64_t h, const struct value *v, int64_t *seen, int64_t *n)
{
	if (!v)
		return number(h, 0);
	if (!seen[v->id]) {
		seen[v->id] = ++*n;
		h = number(number(number(h, v->kind), v->dtype), v->rank);
		for (int i = 0; i < v->rank; i++)
			h = number(h, v->dims[i]);
		if (v->kind == VAL_INPUT)
			h = text(h, v->name);
		if (v->data)
			h = tensor_hash(h, v->data);
	}
	return number(h, seen[v->id]);
}

uint64_t
graph_hash(const struct graph *g)
{
	int64_t *seen = xcalloc((size_t)g->nvalue + 1, sizeof *seen), n = 0;
	uint64_t h = 1;

	for (int i = 0; i < g->nodes.n; i++) {
		const struct node *x = g->nodes.v[i];

		if (x->dead)
			continue;
		h = text(number(number(h, x->nin), x->nout), op_info[x->op].id);
		for (int k = 0; k < x->nin; k++)
			h = value_hash(h, x->in[k], seen, &n);
		for (int k = 0; k < x->nout; k++)
			h = value_hash(h, x->out[k], seen, &n);
		for (int k = 0; k < x->nattr; k++)
			h = attr_hash(h, &x->attr[k]);
	}
	for (int i = 0; i < g->outputs.n; i++)
		h = value_hash(text(h, g->output_names.v[i]), g->outputs.v[i], seen, &n);
	for (int i = 0; i < g->updates.n; i++)
		h = value_hash(value_hash(h, g->updates.v[i].state, seen, &n), g->updates.v[i].next, seen, &n);
	free(seen);
	return h;
}
