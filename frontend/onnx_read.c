/* onnx_read -- a model as a graph: inputs with their sizes bound, initializers
 * made when first read, nodes in topological order, outputs.  One node at a time
 * is onnx_node.c's business. */
#include "frontend/onnx_import.h"

#include <inttypes.h>

/* ---- names */
struct bind *
import_lookup(struct scope *s, const char *name)
{
	struct bind *b;

	for (; s; s = s->outer)
		if ((b = map_get(s->names, name)))
			return b;
	return NULL;
}

static struct bind *
bind_new(struct import *im, struct scope *s, const char *name)
{
	struct bind *b = arena_new(im->f.own, struct bind);

	b->name = name;
	map_put(s->names, name, b);
	return b;
}

static const char *
full_name(struct import *im, struct scope *s, const char *name)
{
	if (*s->prefix)
		name = arena_printf(im->f.own, "%s%s", s->prefix, name);
	return intern(im->g->names, name);
}

void
import_bind(struct import *im, struct scope *s, const char *name, struct value *v)
{
	struct bind *b = map_get(s->names, name);

	if (!b)
		b = bind_new(im, s, name);
	b->v = v;
	name = full_name(im, s, name);
	if (!v->name)
		v->name = name;
	map_put(im->g->by_name, name, v);
}

void
import_bind_item(struct import *im, struct scope *s, const char *name, struct item *it)
{
	struct bind *b;

	if (it->kind == ITEM_TENSOR) {
		import_bind(im, s, name, it->v);
		return;
	}
	b = map_get(s->names, name);
	if (!b)
		b = bind_new(im, s, name);
	b->item = it;
}

static struct tensor *
init_tensor(struct import *im, const struct bind *b, struct loc loc)
{
	return b->sparse ? onnx_sparse_tensor(&im->f, b->sparse, loc, im->d)
			 : onnx_tensor(&im->f, b->init, loc, im->d);
}

struct value *
import_value(struct import *im, struct bind *b, const char *op, int i)
{
	struct tensor *t;
	struct loc loc = LOC_FILE(im->f.name);
	struct value *v;
	bool state, setting;

	while (b->same)
		b = b->same;
	if (b->bad || b->absent)
		return NULL;
	if (b->item) {
		diag_invalid(im->d, im->b.loc, "\"%s\" is %s, it takes a tensor", b->name,
		    item_kind_name(b->item));
		return NULL;
	}
	setting = im->opts->states && onnx_is_setting(op, i);
	if (b->v && b->v->kind == VAL_STATE && onnx_is_running(op, i))
		b->v->trainable = false;
	if (!b->init && !b->sparse)
		return b->v;
	if (setting ? b->setting : b->v)
		return setting ? b->setting : b->v;
	loc.file = arena_strdup(im->g->arena, im->f.name);
	loc.name = intern(im->g->names, b->name);
	loc.op = "initializer";
	t = init_tensor(im, b, loc);
	if (!t) {
		b->bad = true;
		return NULL;
	}
	state = im->opts->states && !setting && dtype_is_float(t->dtype);
	if (state && b->inner) {
		diag_note(im->d, loc, "lies in a body of a node: it is not trained");
		state = false;
	}
	v = state ? graph_state(im->g, loc.name, t, !onnx_is_running(op, i))
		  : graph_const(im->g, loc.name, t);
	v->loc = loc;
	*(setting ? &b->setting : &b->v) = v;
	map_put(im->g->by_name, loc.name, v);
	return v;
}

struct item *
import_item(struct import *im, struct bind *b, const char *op, int i)
{
	struct value *v;

	while (b->same)
		b = b->same;
	if (b->item)
		return b->item;
	v = import_value(im, b, op, i);
	return v ? item_tensor(im, v) : NULL;
}

bool
import_initializers(struct import *im, struct scope *s, const Onnx__GraphProto *g)
{
	struct loc loc = LOC_FILE(im->f.name);
	struct bind *b;
	size_t i;

	for (i = 0; i < g->n_initializer + g->n_sparse_initializer; i++) {
		const Onnx__TensorProto *t = NULL;
		const Onnx__SparseTensorProto *sp = NULL;
		const char *name;

		if (i < g->n_initializer) {
			t = g->initializer[i];
			name = onnx_str(t->name);
		} else {
			sp = g->sparse_initializer[i - g->n_initializer];
			name = sp->values ? onnx_str(sp->values->name) : "";
		}
		loc.name = name;
		if (!*name)
			return diag_invalid(im->d, loc, "initializer %zu has no name", i);
		if (map_get(s->names, name))
			return diag_invalid(im->d, loc, "is an initializer twice");
		if (s->outer) { /* a body inlined many times has one weight, not many */
			const void *message = t ? (const void *)t : sp;
			const char *key = arena_printf(im->f.own, "%p", message);

			b = map_get(im->inner, key);
			if (b) {
				map_put(s->names, name, b);
				continue;
			}
			b = bind_new(im, s, name);
			b->inner = true;
			map_put(im->inner, key, b);
		} else {
			b = bind_new(im, s, name);
		}
		b->init = t;
		b->sparse = sp;
	}
	return true;
}

/* ---- the order of nodes */
struct frame {
	int node, base;
};
/* What the bodies around a node make, the nearest first. */
struct inner_names {
	struct map *names;
	const struct inner_names *outer;
};
struct order {
	struct import *im;
	const struct inner_names *inner;
	Onnx__NodeProto **nodes;
	struct map *maker; /* value name -> node index + 1 */
	char *state;	   /* 0 new, 1 open, 2 done */
	VEC(int) list;
	VEC(int) deps; /* stack of dependencies still to visit */
};

static void
push_name(struct order *o, const char *name)
{
	intptr_t at = *name ? (intptr_t)map_get(o->maker, name) : 0;
	const struct inner_names *in;

	for (in = o->inner; at && in; in = in->outer)
		if (map_get(in->names, name))
			return;
	if (at)
		vec_push(o->im->f.own, &o->deps, (int)at - 1);
}

static void push_graph(struct order *, const Onnx__GraphProto *, int depth);

/* Pushes the nodes that n reads from, also through graphs in its attributes. */
static void
push_deps(struct order *o, const Onnx__NodeProto *n, int depth)
{
	size_t i, k;

	for (i = 0; i < n->n_input; i++)
		push_name(o, n->input[i]);
	for (k = 0; k < n->n_attribute; k++) {
		const Onnx__AttributeProto *a = n->attribute[k];

		if (a->g)
			push_graph(o, a->g, depth + 1);
		for (i = 0; i < a->n_graphs; i++)
			push_graph(o, a->graphs[i], depth + 1);
	}
}

/* What a body reads from around it: names that it does not make itself. */
static void
push_graph(struct order *o, const Onnx__GraphProto *g, int depth)
{
	struct inner_names *own = arena_new(o->im->f.own, struct inner_names);
	size_t i, k;

	if (depth > ONNX_DEPTH)
		return;
	own->names = map_create(o->im->f.own);
	own->outer = o->inner;
	for (i = 0; i < g->n_input; i++)
		map_put(own->names, onnx_str(g->input[i]->name), own);
	for (i = 0; i < g->n_initializer; i++)
		map_put(own->names, onnx_str(g->initializer[i]->name), own);
	for (i = 0; i < g->n_node; i++)
		for (k = 0; k < g->node[i]->n_output; k++)
			map_put(own->names, g->node[i]->output[k], own);
	o->inner = own;
	for (i = 0; i < g->n_node; i++)
		push_deps(o, g->node[i], depth);
	for (i = 0; i < g->n_output; i++)
		push_name(o, onnx_str(g->output[i]->name));
	o->inner = own->outer;
}

/* Depth first with a stack of our own; frames are (node, where its deps start). */
static bool
visit(struct order *o, int root)
{
	VEC(struct frame) frames = {0};
	struct arena *a = o->im->f.own;

	if (o->state[root])
		return true;
	o->state[root] = 1;
	vec_push(a, &frames, (struct frame){root, o->deps.n});
	push_deps(o, o->nodes[root], 0);
	while (frames.n) {
		int node = frames.v[frames.n - 1].node, dep;

		if (o->deps.n == frames.v[frames.n - 1].base) {
			o->state[node] = 2;
			vec_push(a, &o->list, node);
			frames.n--;
			continue;
		}
		dep = o->deps.v[--o->deps.n];
		if (o->state[dep] == 2)
			continue;
		if (o->state[dep] == 1) {
			o->im->broken = true;
			return diag_invalid(o->im->d, onnx_node_loc(&o->im->f, o->nodes[dep], dep),
			    "depends on its own output: the graph has a cycle");
		}
		o->state[dep] = 1;
		vec_push(a, &frames, (struct frame){dep, o->deps.n});
		push_deps(o, o->nodes[dep], 0);
	}
	return true;
}

static bool
order_nodes(struct import *im, struct scope *s, struct order *o, size_t n)
{
	size_t i, k;
	bool ok = true;

	o->maker = map_create(im->f.own);
	o->state = arena_alloc(im->f.own, n + 1);
	for (i = 0; i < n; i++)
		for (k = 0; k < o->nodes[i]->n_output; k++) {
			const char *name = o->nodes[i]->output[k];
			intptr_t before = (intptr_t)map_get(o->maker, name);

			if (!*name)
				continue;
			if (before || map_get(s->names, name)) {
				im->broken = true;
				ok = diag_invalid(im->d, onnx_node_loc(&im->f, o->nodes[i], (int)i),
				    before ? "makes \"%s\", which node %d makes too"
					   : "makes \"%s\", which is an input or initializer",
				    name, (int)before - 1);
				continue;
			}
			map_put(o->maker, name, (void *)(intptr_t)(i + 1));
		}
	for (i = 0; ok && i < n; i++)
		ok = visit(o, (int)i);
	return ok;
}

bool
import_nodes(struct import *im, struct scope *s, size_t n, Onnx__NodeProto **nodes)
{
	struct order o = {.im = im, .nodes = nodes};
	bool ok = true;
	size_t k;
	int i;

	if (n > INT32_MAX || !order_nodes(im, s, &o, n)) {
		im->disordered |= !s->outer;
		return false;
	}
	for (i = 0; i < o.list.n; i++) {
		const Onnx__NodeProto *node = nodes[o.list.v[i]];

		if (onnx_is_removed(node))
			continue;
		if (import_node(im, s, node, o.list.v[i]))
			continue;
		ok = false;
		if (!im->opts->keep_going)
			return false;
		for (k = 0; k < node->n_output; k++)
			if (*node->output[k] && !map_get(s->names, node->output[k]))
				bind_new(im, s, node->output[k])->bad = true;
	}
	return ok;
}

/* ---- unknown operators: all of them, before anything is built */
const Onnx__FunctionProto *
import_function(struct import *im, const Onnx__NodeProto *n)
{
	const char *key;

	if (!im->functions)
		return NULL;
	key = arena_printf(im->f.own, "%s::%s:%s", onnx_domain(n->domain), onnx_str(n->op_type),
	    onnx_str(n->overload));
	return map_get(im->functions, key);
}

struct unknown {
	const Onnx__NodeProto *node;
	struct loc loc;
	int64_t opset;
	int count;
};
struct survey {
	struct import *im;
	struct map *ops, *seen; /* functions walked */
	VEC(struct unknown *) list;
};

static void
survey(
    struct survey *sv, const Onnx__FunctionProto *fn, size_t n, Onnx__NodeProto **nodes, int depth)
{
	size_t i, k, j;

	for (i = 0; i < n && depth <= ONNX_DEPTH; i++) {
		const Onnx__NodeProto *node = nodes[i];
		const char *domain = onnx_domain(node->domain), *op = onnx_str(node->op_type), *key;
		const Onnx__FunctionProto *callee = import_function(sv->im, node);
		struct unknown *u;

		for (k = 0; k < node->n_attribute; k++) {
			const Onnx__AttributeProto *a = node->attribute[k];

			if (a->g)
				survey(sv, fn, a->g->n_node, a->g->node, depth + 1);
			for (j = 0; j < a->n_graphs; j++)
				survey(sv, fn, a->graphs[j]->n_node, a->graphs[j]->node, depth + 1);
		}
		key = arena_printf(sv->im->f.own, "%s::%s", domain, op);
		if (callee) {
			const char *whole =
			    arena_printf(sv->im->f.own, "%s:%s", key, onnx_str(node->overload));

			if (!map_get(sv->seen, whole)) {
				map_put(sv->seen, whole, sv);
				survey(sv, callee, callee->n_node, callee->node, depth + 1);
			}
			continue;
		}
		if (onnx_is_removed(node) || op_from_onnx(domain, op) != OP_none ||
		    import_is_special(domain, op) || (!*domain && onnx_former(op)))
			continue;
		u = map_get(sv->ops, key);
		if (!u) {
			u = arena_new(sv->im->f.own, struct unknown);
			u->node = node;
			u->loc = onnx_node_loc(&sv->im->f, node, (int)i);
			u->opset = onnx_opset(sv->im->f.m, fn, domain);
			map_put(sv->ops, key, u);
			vec_push(sv->im->f.own, &sv->list, u);
		}
		u->count++;
	}
}

static const char *
nearest_op(struct import *im, const char *op)
{
	const char **names = arena_array(im->f.own, const char *, NOP);
	int i, n = 0;

	for (i = OP_none + 1; i < NOP; i++)
		if (op_info[i].onnx)
			names[n++] = op_info[i].onnx;
	return str_nearest(op, names, n);
}

static bool
check_operators(struct import *im)
{
	struct survey sv = {.im = im, .ops = map_create(im->f.own), .seen = map_create(im->f.own)};
	const Onnx__GraphProto *g = im->f.m->graph;
	int i;

	survey(&sv, NULL, g->n_node, g->node, 0);
	for (i = 0; i < (int)g->n_node; i++)
		im->b.fold &= strcmp(onnx_str(g->node[i]->op_type), "Gradient") != 0;
	im->unknown = sv.ops;
	for (i = 0; i < sv.list.n; i++) {
		const struct unknown *u = sv.list.v[i];
		const char *domain = onnx_domain(u->node->domain), *op = onnx_str(u->node->op_type);
		const char *near = !*domain && strlen(op) > 3 ? nearest_op(im, op) : NULL;
		struct str s = {0};

		if (u->count > 1)
			str_addf(
			    &s, ", also in %d other node%s", u->count - 1, u->count > 2 ? "s" : "");
		if (near)
			str_addf(&s, "; did you mean \"%s\"?", near);
		diag_unsupported(im->d, u->loc,
		    "operator \"%s\" of domain \"%s\", opset %" PRId64 ", is not supported%s", op,
		    *domain ? domain : "ai.onnx", u->opset, s.s ? s.s : "");
		str_free(&s);
	}
	return sv.list.n == 0;
}

/* ---- outputs */
static const char *
nearest_value(struct import *im, const char *name)
{
	const Onnx__GraphProto *g = im->f.m->graph;
	VEC(const char *) names = {0};
	size_t i, k;

	for (i = 0; i < g->n_node; i++)
		for (k = 0; k < g->node[i]->n_output; k++)
			if (*g->node[i]->output[k])
				vec_push(im->f.own, &names, g->node[i]->output[k]);
	return names.n ? str_nearest(name, names.v, names.n) : NULL;
}

/* An output of sequence or optional type leaves as its elements, x.0, x.1 ..., with
 * x.length (i64) where a run decides how many there are; an optional's content as
 * x itself, with x.has (bool) where a run decides. */
static bool
output_item(struct import *im, const char *name, const struct item *it)
{
	int i;

	if (it->kind == ITEM_TENSOR) {
		graph_output(im->g, name, it->v);
		return true;
	}
	for (i = 0; i < it->of.n; i++)
		if (!output_item(im,
			it->kind == ITEM_OPT
			    ? name
			    : intern(im->g->names, arena_printf(im->f.own, "%s.%d", name, i)),
			it->of.v[i]))
			return false;
	if (it->count && it->kind == ITEM_OPT)
		graph_output(im->g, intern(im->g->names, arena_printf(im->f.own, "%s.has", name)),
		    b_cast(&im->b, it->count, DT_bool));
	else if (it->count)
		graph_output(im->g,
		    intern(im->g->names, arena_printf(im->f.own, "%s.length", name)), it->count);
	return true;
}

/* What a file says of its outputs' element types is true. */
static bool
declared_type(struct import *im, const Onnx__ValueInfoProto *o, const struct item *it, struct loc loc)
{
	enum dtype said;

	if (it->kind != ITEM_TENSOR || !it->v || !o->type || o->type->value_case != ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE ||
	    !o->type->tensor_type->elem_type)
		return true;
	said = dtype_from_onnx(o->type->tensor_type->elem_type);
	if (said == it->v->dtype)
		return true;
	return diag_invalid(im->d, loc, "is declared with element type %s, its node makes %s",
	    said == DT_none ? "none of ONNX" : dtype_info[said].name, dtype_info[it->v->dtype].name);
}

static bool
import_outputs(struct import *im, struct scope *s)
{
	const Onnx__GraphProto *g = im->f.m->graph;
	struct loc loc = LOC_FILE(im->f.name);
	bool ok = true;
	size_t i;

	if (!g->n_output)
		return diag_invalid(im->d, loc, "the graph has no outputs");
	for (i = 0; i < g->n_output; i++) {
		const char *name = onnx_str(g->output[i]->name), *near;
		struct bind *b = import_lookup(s, name);
		struct item *it;

		loc.name = name;
		loc.op = "output";
		if (!b) {
			near = nearest_value(im, name);
			ok = diag_invalid(im->d, loc, "no node makes it%s%s%s",
			    near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : "");
			continue;
		}
		it = import_item(im, b, "output", 0);
		ok = it && declared_type(im, g->output[i], it, loc) && output_item(im, name, it) && ok;
	}
	return ok;
}

/* ---- the model */
static bool
import_header(struct import *im)
{
	const Onnx__ModelProto *m = im->f.m;
	struct loc loc = LOC_FILE(im->f.name);
	size_t i;

	if (m->ir_version > ONNX__VERSION__IR_VERSION)
		diag_warn(im->d, loc, "IR version %" PRId64 " is newer than %d, the newest known",
		    m->ir_version, ONNX__VERSION__IR_VERSION);
	if (m->n_functions)
		im->functions = map_create(im->f.own);
	for (i = 0; i < m->n_functions; i++) {
		const Onnx__FunctionProto *fn = m->functions[i];
		const char *key = arena_printf(im->f.own, "%s::%s:%s", onnx_domain(fn->domain),
		    onnx_str(fn->name), onnx_str(fn->overload));

		if (map_get(im->functions, key))
			return diag_invalid(
			    im->d, loc, "function \"%s\" is defined twice", onnx_str(fn->name));
		map_put(im->functions, key, (void *)(uintptr_t)fn);
	}
	return true;
}

static bool
import_model(struct import *im)
{
	const Onnx__GraphProto *g = im->f.m->graph;
	struct scope top = {.names = map_create(im->f.own), .prefix = ""};
	bool ok;

	if (!import_header(im))
		return false;
	im->inner = map_create(im->f.own);
	if (im->opts->states)
		onnx_own_parameters(&im->f, im->d);
	ok = check_operators(im);
	if (!onnx_check(im) || (!ok && !im->opts->keep_going))
		return false;
	if (!import_initializers(im, &top, g) || !import_inputs(im, &top))
		return false;
	ok &= import_nodes(im, &top, g->n_node, g->node);
	if ((ok || im->opts->keep_going) && !im->disordered)
		ok &= import_outputs(im, &top);
	return ok;
}

struct graph *
onnx_import(struct arena *a, const char *path, const struct import_opts *opts, struct diag *d)
{
	static const struct import_opts plain = {.default_dim = 0};
	struct import im = {.opts = opts ? opts : &plain, .d = d};
	int errors = d->errors;
	bool ok;

	if (!onnx_open(&im.f, a, path, im.opts->model_name, d))
		return NULL;
	im.g = graph_create(a, path_ident(a, path));
	im.g->by_name = map_create(a);
	im.b = (struct build){.g = im.g, .diag = d, .loc = LOC_FILE(im.f.name), .fold = true};
	ok = import_model(&im);
	onnx_close(&im.f);
	if (!ok && d->errors == errors)
		die("import of %s failed without a message", path);
	if (!ok || d->errors > errors)
		return NULL;
	graph_sweep(im.g);
	graph_unique_names(im.g);
	return im.g;
}

struct value *
graph_find(struct graph *g, const char *name)
{
	struct value *v = g->by_name ? map_get(g->by_name, name) : NULL;
	int i;

	for (i = 0; !v && i < g->outputs.n; i++)
		if (strcmp(g->output_names.v[i], name) == 0)
			v = g->outputs.v[i];
	return v;
}
