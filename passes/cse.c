/* cse -- one node for equal ones: same operator, operands, attributes and result
 * layout; one constant for equal bytes.  Operands of commutative operators are
 * put in order of their ids for the comparison only. */
#include "passes/passes.h"

#include <stdlib.h>
#include <string.h>

struct entry {
	uint64_t hash;
	struct node *node;
	struct value *value;
	struct entry *next;
};
struct table {
	struct arena *a;
	struct entry **bucket;
	size_t mask;
};

static uint64_t
mix(uint64_t h, const void *p, size_t n)
{
	const unsigned char *s = p;
	uint64_t word;

	for (; n >= 8; n -= 8, s += 8) {
		memcpy(&word, s, 8);
		h = (h ^ word) * 0x9e3779b97f4a7c15u;
		h ^= h >> 29;
	}
	for (; n; n--, s++)
		h = (h ^ *s) * 0x100000001b3u;
	return h ^ h >> 32;
}

static struct entry **
slot(struct table *t, uint64_t hash)
{
	return &t->bucket[hash & t->mask];
}

static void
put(struct table *t, uint64_t hash, struct node *n, struct value *v)
{
	struct entry *e = arena_new(t->a, struct entry);

	*e = (struct entry){hash, n, v, *slot(t, hash)};
	*slot(t, hash) = e;
}

static bool
commutes(enum op op)
{
	switch (op) {
	case OP_add:
	case OP_mul:
	case OP_max:
	case OP_min:
	case OP_and:
	case OP_or:
	case OP_xor:
	case OP_band:
	case OP_bor:
	case OP_bxor:
	case OP_eq:
		return true;
	default:
		return false;
	}
}

static bool
same_layout(const struct value *a, const struct value *b)
{
	if (!a->layout || !b->layout)
		return a->layout == b->layout;
	return layout_equal(a->layout, b->layout);
}

static bool
same_outputs(const struct node *a, const struct node *b)
{
	for (int i = 0; i < a->nout; i++) {
		if (!a->out[i] != !b->out[i])
			return false;
		if (a->out[i] && !same_layout(a->out[i], b->out[i]))
			return false;
	}
	return true;
}

/* Everything that decides a node's result, as bytes. */
static void
node_key(const struct node *n, struct str *key)
{
	int first = 0, second = 1;

	key->n = 0;
	str_addf(key, "%d %d %d:", (int)n->op, n->nin, n->nout);
	if (n->nin == 2 && commutes(n->op) && n->in[0]->id > n->in[1]->id)
		first = 1, second = 0;
	for (int i = 0; i < n->nin; i++) {
		const struct value *v = n->in[i == 0 ? first : i == 1 ? second : i];

		str_addf(key, " %d", v ? v->id : -1);
	}
	node_print_attrs(n, key);
}

static bool
has_graph(const struct node *n)
{
	for (int i = 0; i < n->nattr; i++)
		if (n->attr[i].kind == ATTR_GRAPH || n->attr[i].kind == ATTR_TENSOR)
			return true;
	return false;
}

/* Of large data a few places only: equal bytes are compared anyway. */
static uint64_t
data_hash(uint64_t h, const struct tensor *d)
{
	enum { PIECE = 256, PLACES = 16 };
	const char *bytes = d->data;

	if (d->bytes <= (size_t)PIECE * PLACES)
		return mix(h, bytes, d->bytes);
	for (size_t i = 0; i < PLACES; i++)
		h = mix(h, bytes + (d->bytes - PIECE) / (PLACES - 1) * i, PIECE);
	return h;
}

static void
merge_consts(struct graph *g, struct table *t, struct value **to)
{
	for (int i = 0; i < g->consts.n; i++) {
		struct value *v = g->consts.v[i];
		const struct tensor *d = v->data;
		uint64_t h = mix((uint64_t)d->dtype * 31 + (uint64_t)v->rank, v->dims,
		    sizeof v->dims[0] * (size_t)v->rank);
		struct entry *e;

		if (d->dtype == DT_str)
			continue;
		h = data_hash(h, d);
		for (e = *slot(t, h); e; e = e->next)
			if (e->hash == h && e->value->dtype == v->dtype &&
			    e->value->data->bytes == d->bytes &&
			    dims_equal(v->rank, v->dims, e->value->rank, e->value->dims) &&
			    same_layout(v, e->value) &&
			    memcmp(e->value->data->data, d->data, d->bytes) == 0)
				break;
		if (e)
			to[v->id] = e->value;
		else
			put(t, h, NULL, v);
	}
}

static void
merge_nodes(struct graph *g, struct table *t, struct value **to)
{
	struct str key = {0}, other = {0};

	for (int i = 0; i < g->nodes.n; i++) {
		struct node *n = g->nodes.v[i];
		struct entry *e;
		uint64_t h;

		if (n->dead)
			continue;
		for (int k = 0; k < n->nin; k++)
			if (n->in[k] && to[n->in[k]->id])
				n->in[k] = to[n->in[k]->id];
		if (has_graph(n))
			continue;
		node_key(n, &key);
		h = mix(0, key.s, key.n);
		for (e = *slot(t, h); e; e = e->next) {
			if (e->hash != h || !same_outputs(e->node, n))
				continue;
			node_key(e->node, &other);
			if (other.n == key.n && memcmp(other.s, key.s, key.n) == 0)
				break;
		}
		if (!e) {
			put(t, h, n, NULL);
			continue;
		}
		for (int o = 0; o < n->nout; o++)
			if (n->out[o])
				to[n->out[o]->id] = e->node->out[o];
		n->dead = true;
	}
	str_free(&key);
	str_free(&other);
}

bool
pass_cse(struct graph *g, struct pass_ctx *ctx)
{
	struct arena *a = arena_create();
	struct table consts = {.a = a}, nodes = {.a = a};
	struct value **to = arena_array(a, struct value *, g->nvalue + 1);
	size_t size = 64;

	(void)ctx;
	while (size < (size_t)(g->nodes.n + g->consts.n))
		size *= 2;
	consts.mask = nodes.mask = size - 1;
	consts.bucket = arena_array(a, struct entry *, size);
	nodes.bucket = arena_array(a, struct entry *, size);
	merge_consts(g, &consts, to);
	merge_nodes(g, &nodes, to);
	graph_replace_all(g, to, g->nvalue);
	graph_sweep(g);
	arena_destroy(a);
	return true;
}
