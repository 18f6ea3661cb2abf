/* graph -- values, nodes, attributes; replacing and cloning. */
#include "ir/ir.h"

#include <string.h>

struct graph *
graph_create(struct arena *a, const char *name)
{
	struct graph *g = arena_new(a, struct graph);

	g->arena = a;
	g->names = intern_create(a);
	g->name = intern(g->names, name ? name : "graph");
	return g;
}

static struct value *
value_new(struct graph *g, enum value_kind kind, const char *name)
{
	struct value *v = arena_new(g->arena, struct value);

	v->id = g->nvalue++;
	v->kind = kind;
	v->rank = -1;
	v->name = name ? intern(g->names, name) : NULL;
	v->loc = LOC_NONE;
	return v;
}

void
value_set(struct value *v, enum dtype dtype, int rank, const int64_t *dims)
{
	if (!v)
		return;
	if (rank < 0 || rank > MAX_RANK)
		die("value of rank %d", rank);
	v->dtype = dtype;
	v->rank = rank;
	if (rank && dims != v->dims)
		memcpy(v->dims, dims, (size_t)rank * sizeof *dims);
}

struct value *
graph_input(struct graph *g, const char *name, enum dtype dtype, int rank, const int64_t *dims)
{
	struct value *v = value_new(g, VAL_INPUT, name);

	value_set(v, dtype, rank, dims);
	vec_push(g->arena, &g->inputs, v);
	return v;
}

struct value *
graph_const(struct graph *g, const char *name, const struct tensor *t)
{
	struct value *v = value_new(g, VAL_CONST, name);

	value_set(v, t->dtype, t->rank, t->dims);
	v->data = t;
	vec_push(g->arena, &g->consts, v);
	return v;
}

struct value *
graph_state(struct graph *g, const char *name, const struct tensor *init, bool trainable)
{
	struct value *v = value_new(g, VAL_STATE, name);

	value_set(v, init->dtype, init->rank, init->dims);
	v->data = init;
	v->trainable = trainable;
	vec_push(g->arena, &g->states, v);
	return v;
}

void
graph_output(struct graph *g, const char *name, struct value *v)
{
	vec_push(g->arena, &g->outputs, v);
	vec_push(g->arena, &g->output_names, intern(g->names, name));
}

/* ---- measured sizes */
static const char *
fresh_symbol(struct graph *g)
{
	const char *name;
	int i = g->sizes.n;

	do
		name = arena_printf(g->arena, "u%d", i++);
	while (dim_find(g, name));
	return name;
}

int64_t
graph_measure(struct graph *g, const char *name, struct value *value, int64_t lo, int64_t hi)
{
	int64_t d;
	int i;

	if (hi == INT64_MAX || lo < 0 || lo > hi)
		die("a measured size within %lld..%lld", (long long)lo, (long long)hi);
	d = dim_symbol(g, name ? name : fresh_symbol(g), lo, hi);
	if (dim_const(d) || !value)
		return d;
	for (i = 0; i < g->sizes.n; i++)
		if (g->sizes.v[i].dim == d) {
			g->sizes.v[i].value = value;
			return d;
		}
	vec_push(g->arena, &g->sizes, ((struct size){d, value}));
	return d;
}

struct value *
graph_size_of(const struct graph *g, int64_t dim)
{
	int i;

	for (i = 0; i < g->sizes.n; i++)
		if (g->sizes.v[i].dim == dim)
			return g->sizes.v[i].value;
	return NULL;
}

struct node *
graph_node(struct graph *g, enum op op, const char *name, struct loc loc, int nin,
    struct value *const *in, int nout)
{
	struct node *n = arena_new(g->arena, struct node);
	int i;

	n->id = g->nnode++;
	n->op = op;
	n->name = name ? intern(g->names, name) : NULL;
	n->loc = loc;
	n->nin = nin;
	n->nout = nout;
	n->in = arena_array(g->arena, struct value *, nin);
	if (nin)
		memcpy(n->in, in, (size_t)nin * sizeof *in);
	n->out = arena_array(g->arena, struct value *, nout);
	for (i = 0; i < nout; i++) {
		n->out[i] = value_new(g, VAL_NODE, NULL);
		n->out[i]->def = n;
		n->out[i]->out = i;
		n->out[i]->loc = loc;
	}
	vec_push(g->arena, &g->nodes, n);
	return n;
}

/* ---- replacing */
static struct value *
follow(struct value **to, int n, struct value *v)
{
	int steps = 0;

	while (v && v->id < n && to[v->id] && to[v->id] != v) {
		v = to[v->id];
		if (++steps > n)
			die("replacements of values form a cycle at %d", v->id);
	}
	return v;
}

void
graph_replace_all(struct graph *g, struct value **to, int n)
{
	int i, j;

	for (i = 0; i < g->nodes.n; i++)
		for (j = 0; j < g->nodes.v[i]->nin; j++)
			g->nodes.v[i]->in[j] = follow(to, n, g->nodes.v[i]->in[j]);
	for (i = 0; i < g->outputs.n; i++)
		g->outputs.v[i] = follow(to, n, g->outputs.v[i]);
	for (i = 0; i < g->updates.n; i++)
		g->updates.v[i].next = follow(to, n, g->updates.v[i].next);
	for (i = 0; i < g->sizes.n; i++)
		g->sizes.v[i].value = follow(to, n, g->sizes.v[i].value);
}

void
graph_replace(struct graph *g, struct value *from, struct value *to)
{
	int i, j;

	for (i = 0; i < g->nodes.n; i++)
		for (j = 0; j < g->nodes.v[i]->nin; j++)
			if (g->nodes.v[i]->in[j] == from)
				g->nodes.v[i]->in[j] = to;
	for (i = 0; i < g->outputs.n; i++)
		if (g->outputs.v[i] == from)
			g->outputs.v[i] = to;
	for (i = 0; i < g->updates.n; i++)
		if (g->updates.v[i].next == from)
			g->updates.v[i].next = to;
	for (i = 0; i < g->sizes.n; i++)
		if (g->sizes.v[i].value == from)
			g->sizes.v[i].value = to;
}

void
graph_sweep(struct graph *g)
{
	int i, n = 0;

	for (i = 0; i < g->nodes.n; i++)
		if (!g->nodes.v[i]->dead)
			g->nodes.v[n++] = g->nodes.v[i];
	g->nodes.n = n;
}

int *
graph_use_counts(struct arena *scratch, const struct graph *g)
{
	int *uses = arena_array(scratch, int, g->nvalue + 1), i, j;

	for (i = 0; i < g->nodes.n; i++) {
		if (g->nodes.v[i]->dead)
			continue;
		for (j = 0; j < g->nodes.v[i]->nin; j++)
			if (g->nodes.v[i]->in[j])
				uses[g->nodes.v[i]->in[j]->id]++;
	}
	for (i = 0; i < g->outputs.n; i++)
		uses[g->outputs.v[i]->id]++;
	for (i = 0; i < g->updates.n; i++)
		uses[g->updates.v[i].next->id]++;
	for (i = 0; i < g->sizes.n; i++)
		uses[g->sizes.v[i].value->id]++;
	return uses;
}

/* taken: name -> the next suffix to try */
static const char *
fresh(struct graph *g, struct map *taken, const char *name)
{
	intptr_t i = (intptr_t)map_get(taken, name);
	const char *next = name;

	if (i) {
		do
			next = arena_printf(g->arena, "%s.%d", name, (int)i++);
		while (map_get(taken, next));
		map_put(taken, name, (void *)i);
	}
	next = intern(g->names, next);
	map_put(taken, next, (void *)1);
	return next;
}

void
graph_unique_names(struct graph *g)
{
	struct map *values = map_create(g->arena), *nodes = map_create(g->arena);
	int i, j;

#define NAME(v) ((v)->name = fresh(g, values, (v)->name ? (v)->name : "v"))
	for (i = 0; i < g->inputs.n; i++)
		NAME(g->inputs.v[i]);
	for (i = 0; i < g->states.n; i++)
		NAME(g->states.v[i]);
	for (i = 0; i < g->nodes.n; i++) {
		struct node *n = g->nodes.v[i];

		if (n->dead)
			continue;
		n->name = fresh(g, nodes, n->name ? n->name : op_info[n->op].id);
		for (j = 0; j < n->nout; j++)
			if (n->out[j])
				NAME(n->out[j]);
	}
	for (i = 0; i < g->consts.n; i++)
		NAME(g->consts.v[i]);
#undef NAME
}

/* ---- cloning */
struct clone { struct graph *dst; const struct graph *src; struct value **map; const char *prefix; };

static const char *
prefixed(struct clone *c, const char *name)
{
	if (!name || !c->prefix || !*c->prefix)
		return name;
	return arena_printf(c->dst->arena, "%s%s", c->prefix, name);
}

static void
import_dims(struct clone *c, int rank, const int64_t *dims, int64_t *out)
{
	int i;

	for (i = 0; i < rank; i++)
		out[i] = dim_import(c->dst, c->src, dims[i]);
}

static struct value *
clone_value(struct clone *c, const struct value *v)
{
	struct value *w;
	int64_t dims[MAX_RANK];

	if (!v)
		return NULL;
	if (c->map[v->id])
		return c->map[v->id];
	switch (v->kind) {
	case VAL_INPUT:
		import_dims(c, v->rank, v->dims, dims);
		w = graph_input(c->dst, prefixed(c, v->name), v->dtype, v->rank, dims);
		break;
	case VAL_CONST:
		w = graph_const(c->dst, prefixed(c, v->name), v->data);
		break;
	case VAL_STATE:
		w = graph_state(c->dst, prefixed(c, v->name), v->data, v->trainable);
		break;
	default:
		die("value %d of graph %s is used before its definition", v->id, c->src->name);
	}
	w->layout = v->layout;
	w->loc = v->loc;
	return c->map[v->id] = w;
}

static void
clone_attr(struct clone *c, struct node *n, const struct attr *a)
{
	struct attr copy = *a;
	int64_t *dims;
	int i;

	if (a->kind == ATTR_INTS && attr_holds_dims(n->op, a->name) && c->dst != c->src) {
		dims = arena_array(c->dst->arena, int64_t, a->n);
		for (i = 0; i < a->n; i++)
			dims[i] = dim_import(c->dst, c->src, a->ints[i]);
		copy.ints = dims;
	}
	node_set_attr(c->dst, n, &copy);
}

static void
clone_node(struct clone *c, const struct node *n)
{
	struct value **in = arena_array(c->dst->arena, struct value *, n->nin);
	struct node *m;
	int i;

	for (i = 0; i < n->nin; i++)
		in[i] = clone_value(c, n->in[i]);
	m = graph_node(c->dst, n->op, prefixed(c, n->name), n->loc, n->nin, in, n->nout);
	for (i = 0; i < n->nattr; i++)
		clone_attr(c, m, &n->attr[i]);
	for (i = 0; i < n->nout; i++) {
		struct value *v = n->out[i], *w = m->out[i];

		if (!v) {
			m->out[i] = NULL;
			continue;
		}
		if (v->name)
			w->name = intern(c->dst->names, prefixed(c, v->name));
		w->dtype = v->dtype;
		w->rank = v->rank;
		import_dims(c, v->rank, v->dims, w->dims);
		w->layout = v->layout;
		w->loc = v->loc;
		c->map[v->id] = w;
	}
}

/* Symbols of sizes that src measures: another copy of src in dst measured its own. */
static void
own_symbol(struct clone *c, int64_t d)
{
	const char *text;
	int64_t was;

	if (dim_const(d) || c->dst == c->src || !dim_is_symbol(c->src, d))
		return;
	text = dim_text((struct graph *)(uintptr_t)c->src, d); /* a symbol's text is there already */
	if ((was = dim_find(c->dst, text)))
		dim_fix(c->dst, text, graph_measure(c->dst, NULL, NULL, dim_lo(c->src, d), dim_hi(c->src, d)));
}

static void
own_symbols(struct clone *c)
{
	const int64_t *v;
	int i, k, n;

	for (i = 0; i < c->src->sizes.n; i++)
		own_symbol(c, c->src->sizes.v[i].dim);
	for (i = 0; i < c->src->nodes.n; i++) {
		const struct node *m = c->src->nodes.v[i];

		if (m->dead || op_info[m->op].class != OC_composite || !op_attr(m->op, "measured"))
			continue;
		n = attr_ints(m, "measured", &v);
		for (k = 0; k < n; k++)
			own_symbol(c, v[k]);
	}
}

void
graph_clone_into(struct graph *dst, const struct graph *src, struct value **map, const char *prefix)
{
	struct clone c = {dst, src, map, prefix};
	int i;

	own_symbols(&c);
	for (i = 0; i < src->inputs.n; i++)
		clone_value(&c, src->inputs.v[i]);
	for (i = 0; i < src->states.n; i++)
		clone_value(&c, src->states.v[i]);
	for (i = 0; i < src->nodes.n; i++)
		if (!src->nodes.v[i]->dead)
			clone_node(&c, src->nodes.v[i]);
	for (i = 0; i < src->outputs.n; i++)
		clone_value(&c, src->outputs.v[i]);
	for (i = 0; i < src->updates.n; i++)
		clone_value(&c, src->updates.v[i].next);
	for (i = 0; i < src->sizes.n; i++) {
		const struct size *s = &src->sizes.v[i];
		int64_t d = dim_import(dst, src, s->dim);

		if (!dim_const(d))
			vec_push(dst->arena, &dst->sizes, ((struct size){d, clone_value(&c, s->value)}));
	}
}

struct graph *
graph_copy(struct graph *g)
{
	struct graph *c = graph_create(g->arena, g->name);
	struct value **map = arena_array(g->arena, struct value *, g->nvalue + 1);

	graph_clone_into(c, g, map, NULL);
	for (int i = 0; i < g->outputs.n; i++)
		graph_output(c, g->output_names.v[i], map[g->outputs.v[i]->id]);
	for (int i = 0; i < g->updates.n; i++)
		vec_push(c->arena, &c->updates, ((struct update){map[g->updates.v[i].state->id], map[g->updates.v[i].next->id]}));
	return c;
}

/* ---- attributes */
const struct attr *
attr_find(const struct node *n, const char *name)
{
	int i;

	for (i = 0; i < n->nattr; i++)
		if (n->attr[i].name == name || strcmp(n->attr[i].name, name) == 0)
			return &n->attr[i];
	return NULL;
}

bool
attr_has(const struct node *n, const char *name)
{
	return attr_find(n, name) != NULL;
}

/* The given attribute, or its row when that has a default; dies otherwise. */
static const struct attr *
given(const struct node *n, const char *name, enum attr_kind kind, const struct attr_info **row)
{
	const struct attr *a = attr_find(n, name);

	*row = NULL;
	if (a && a->kind != kind)
		die("attribute %s of %s has kind %d, wanted %d", name, op_info[n->op].id, a->kind, kind);
	if (!a) {
		*row = op_attr(n->op, name);
		if (!*row || !(*row)->has_def)
			die("attribute %s of %s was not given and has no default", name, op_info[n->op].id);
	}
	return a;
}

int64_t
attr_int(const struct node *n, const char *name)
{
	const struct attr_info *row;
	const struct attr *a = given(n, name, ATTR_INT, &row);

	return a ? a->i : (int64_t)row->def_num;
}

double
attr_float(const struct node *n, const char *name)
{
	const struct attr_info *row;
	const struct attr *a = given(n, name, ATTR_FLOAT, &row);

	return a ? a->f : row->def_num;
}

const char *
attr_string(const struct node *n, const char *name)
{
	const struct attr_info *row;
	const struct attr *a = given(n, name, ATTR_STRING, &row);

	return a ? a->s : row->def_str;
}

int
attr_ints(const struct node *n, const char *name, const int64_t **v)
{
	const struct attr *a = attr_find(n, name);

	*v = NULL;
	if (!a)
		return 0;
	if (a->kind != ATTR_INTS)
		die("attribute %s of %s is not a list of integers", name, op_info[n->op].id);
	*v = a->ints;
	return a->n;
}

int
attr_floats(const struct node *n, const char *name, const double **v)
{
	const struct attr *a = attr_find(n, name);

	*v = NULL;
	if (!a)
		return 0;
	if (a->kind != ATTR_FLOATS)
		die("attribute %s of %s is not a list of floats", name, op_info[n->op].id);
	*v = a->floats;
	return a->n;
}

void
node_set_attr(struct graph *g, struct node *n, const struct attr *a)
{
	const struct attr_info *row = op_attr(n->op, a->name);
	struct attr *to = NULL, *grown;
	const char **strings;
	int i;

	for (i = 0; i < n->nattr; i++)
		if (strcmp(n->attr[i].name, a->name) == 0)
			to = &n->attr[i];
	if (!to) {
		grown = arena_array(g->arena, struct attr, n->nattr + 1);
		if (n->nattr)
			memcpy(grown, n->attr, (size_t)n->nattr * sizeof *grown);
		n->attr = grown;
		to = &n->attr[n->nattr++];
	}
	*to = *a;
	to->name = row ? row->name : intern(g->names, a->name);
	if (a->s)
		to->s = intern(g->names, a->s);
	if (a->ints)
		to->ints = arena_dup(g->arena, a->ints, (size_t)a->n * sizeof *a->ints);
	if (a->floats)
		to->floats = arena_dup(g->arena, a->floats, (size_t)a->n * sizeof *a->floats);
	if (a->strings) {
		strings = arena_array(g->arena, const char *, a->n);
		for (i = 0; i < a->n; i++)
			strings[i] = intern(g->names, a->strings[i]);
		to->strings = strings;
	}
}

void
node_set_int(struct graph *g, struct node *n, const char *name, int64_t i)
{
	node_set_attr(g, n, &(struct attr){.name = name, .kind = ATTR_INT, .i = i});
}

void
node_set_float(struct graph *g, struct node *n, const char *name, double f)
{
	node_set_attr(g, n, &(struct attr){.name = name, .kind = ATTR_FLOAT, .f = f});
}

void
node_set_string(struct graph *g, struct node *n, const char *name, const char *s)
{
	node_set_attr(g, n, &(struct attr){.name = name, .kind = ATTR_STRING, .s = s});
}

void
node_set_ints(struct graph *g, struct node *n, const char *name, int count, const int64_t *v)
{
	node_set_attr(g, n, &(struct attr){.name = name, .kind = ATTR_INTS, .n = count, .ints = v});
}

void
node_set_floats(struct graph *g, struct node *n, const char *name, int count, const double *v)
{
	node_set_attr(g, n, &(struct attr){.name = name, .kind = ATTR_FLOATS, .n = count, .floats = v});
}
