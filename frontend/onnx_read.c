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
	v = state ? graph_state(im->g, loc.name, t, !onnx_is_running(op, i))
		  : graph_const(im->g, loc.name, t);
	v->loc = loc;
	*(setting ? &b->setting : &b->v) = v;
	map_put(im->g->by_name, loc.name, v);
	return v;
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
		b = bind_new(im, s, name);
		b->init = t;
		b->sparse = sp;
	}
	return true;
}

/* ---- the order of nodes */
struct frame {
	int node, base;
};
struct order {
	struct import *im;
	Onnx__NodeProto **nodes;
	struct map *maker; /* value name -> node index + 1 */
	char *state;	   /* 0 new, 1 open, 2 done */
	VEC(int) list;
	VEC(int) deps; /* stack of dependencies still to visit */
};

/* Pushes the nodes that n reads from, also through graphs in its attributes. */
static void
push_deps(struct order *o, const Onnx__NodeProto *n, int depth)
{
	size_t i, k, j;

	for (i = 0; i < n->n_input; i++) {
		intptr_t at = (intptr_t)map_get(o->maker, n->input[i]);

		if (at && *n->input[i])
			vec_push(o->im->f.own, &o->deps, (int)at - 1);
	}
	if (depth > ONNX_DEPTH)
		return;
	for (k = 0; k < n->n_attribute; k++) {
		const Onnx__AttributeProto *a = n->attribute[k];

		for (i = 0; i < (a->g ? 1 : 0) + a->n_graphs; i++) {
			const Onnx__GraphProto *g =
			    a->g && i == 0 ? a->g : a->graphs[i - (a->g ? 1 : 0)];

			for (j = 0; j < g->n_node; j++)
				push_deps(o, g->node[j], depth + 1);
			for (j = 0; j < g->n_output; j++) {
				intptr_t at =
				    (intptr_t)map_get(o->maker, onnx_str(g->output[j]->name));

				if (at)
					vec_push(o->im->f.own, &o->deps, (int)at - 1);
			}
		}
	}
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
		if (o->state[dep] == 1)
			return diag_invalid(o->im->d, onnx_node_loc(&o->im->f, o->nodes[dep], dep),
			    "depends on its own output: the graph has a cycle");
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

	if (n > INT32_MAX || !order_nodes(im, s, &o, n))
		return false;
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

bool
import_is_special(const char *op)
{
	static const char *const ops[] = {
	    "Constant", "Identity", "If", "Dropout", "Upsample", "Scatter"};
	size_t i;

	for (i = 0; i < sizeof ops / sizeof *ops; i++)
		if (strcmp(ops[i], op) == 0)
			return true;
	return false;
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
			if (!map_get(sv->seen, key)) {
				map_put(sv->seen, key, sv);
				survey(sv, callee, callee->n_node, callee->node, depth + 1);
			}
			continue;
		}
		if (onnx_is_removed(node) || op_from_onnx(domain, op) != OP_none ||
		    (!*domain && import_is_special(op)))
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

/* ---- sizes of the inputs */
struct dims_in {
	struct import *im;
	struct map *given; /* symbol -> size + 1, from the shapes of inputs */
	struct map *noted; /* symbols met */
	VEC(const char *) symbols;
};

static const struct input_shape *
shape_given(const struct import *im, const char *input)
{
	int i;

	for (i = 0; i < im->opts->nshapes; i++)
		if (strcmp(im->opts->shapes[i].input, input) == 0)
			return &im->opts->shapes[i];
	return NULL;
}

static int64_t
given_dim(const struct input_shape *s, int axis)
{
	return s && axis < s->rank ? s->dims[axis] : -1;
}

static const Onnx__TypeProto__Tensor *
tensor_type(const Onnx__ValueInfoProto *v)
{
	return v->type && v->type->value_case == ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE
		   ? v->type->tensor_type
		   : NULL;
}

/* A given size of a symbolic axis holds wherever the symbol stands. */
static bool
learn_symbols(struct dims_in *di, const Onnx__ValueInfoProto *v)
{
	const Onnx__TypeProto__Tensor *t = tensor_type(v);
	const struct input_shape *s = shape_given(di->im, v->name);
	struct loc loc = LOC_FILE(di->im->f.name);
	size_t i;

	loc.name = v->name;
	if (!t || !t->shape || !s)
		return true;
	if ((size_t)s->rank > t->shape->n_dim)
		return diag_invalid(di->im->d, loc, "is given %d axes, the model's input has %zu",
		    s->rank, t->shape->n_dim);
	for (i = 0; i < t->shape->n_dim; i++) {
		const Onnx__TensorShapeProto__Dimension *dim = t->shape->dim[i];
		int64_t size = given_dim(s, (int)i);
		intptr_t before;

		if (size < 0 ||
		    dim->value_case != ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_PARAM ||
		    !*onnx_str(dim->dim_param))
			continue;
		before = (intptr_t)map_get(di->given, dim->dim_param);
		if (before && before - 1 != size)
			return diag_invalid(di->im->d, loc,
			    "axis %zu is given size %lld, but \"%s\" is %lld in another input", i,
			    (long long)size, dim->dim_param, (long long)(before - 1));
		map_put(di->given, dim->dim_param, (void *)(intptr_t)(size + 1));
	}
	return true;
}

static int64_t
symbol_size(struct dims_in *di, const char *name)
{
	const struct import_opts *o = di->im->opts;
	intptr_t given = (intptr_t)map_get(di->given, name);
	bool met = map_get(di->noted, name);
	int i;

	if (!met) {
		map_put(di->noted, name, di);
		vec_push(di->im->f.own, &di->symbols, name);
	}
	if (given)
		return given - 1;
	for (i = 0; i < o->ndims; i++)
		if (strcmp(o->dims[i].name, name) == 0)
			return o->dims[i].lo == o->dims[i].hi
				   ? o->dims[i].lo
				   : dim_symbol(di->im->g, name, o->dims[i].lo, o->dims[i].hi);
	if (o->default_dim > 0) {
		if (!met)
			diag_note(di->im->d, LOC_FILE(di->im->f.name),
			    "symbolic dim \"%s\" taken as %lld; --dim %s=16 changes it", name,
			    (long long)o->default_dim, name);
		return o->default_dim;
	}
	return dim_symbol(di->im->g, name, 1, INT64_MAX);
}

/* An input with its value given is a constant of the graph. */
static bool
bound_input(struct import *im, struct scope *s, const char *name, const struct tensor *t, int elem)
{
	struct loc loc = LOC_FILE(im->f.name);
	struct value *v;

	loc.name = name;
	if (elem != dtype_info[t->dtype].onnx)
		return diag_invalid(im->d, loc, "takes element type %s, the given value is %s",
		    dtype_info[dtype_from_onnx(elem)].name, dtype_info[t->dtype].name);
	v = graph_const(im->g, name, t);
	import_bind(im, s, name, v);
	return true;
}

static const struct tensor *
value_given(const struct import *im, const char *input)
{
	int i;

	for (i = 0; i < im->opts->nvalues; i++)
		if (strcmp(im->opts->values[i].input, input) == 0)
			return im->opts->values[i].value;
	return NULL;
}

static bool
import_input(struct dims_in *di, struct scope *s, const Onnx__ValueInfoProto *v)
{
	struct import *im = di->im;
	const Onnx__TypeProto__Tensor *t = tensor_type(v);
	const struct input_shape *given = shape_given(im, v->name);
	struct loc loc = LOC_FILE(arena_strdup(im->g->arena, im->f.name));
	int64_t dims[MAX_RANK];
	enum dtype dtype;
	struct value *x;
	size_t i, rank;

	loc.name = intern(im->g->names, v->name);
	loc.op = "input";
	if (!t && v->type && v->type->value_case)
		return diag_unsupported(im->d, loc, "is not a plain tensor");
	if (!t)
		return diag_invalid(im->d, loc, "has no type");
	dtype = dtype_from_onnx(t->elem_type);
	if (dtype == DT_none)
		return diag_invalid(
		    im->d, loc, "has element type %d, which is not one of ONNX", t->elem_type);
	if (value_given(im, v->name))
		return bound_input(im, s, v->name, value_given(im, v->name), t->elem_type);
	if (!t->shape && !given)
		return diag_unsupported(im->d, loc,
		    "has no shape in the file; give it with --dim %s:0=1 and so on", v->name);
	rank = t->shape ? t->shape->n_dim : (size_t)given->rank;
	if (rank > MAX_RANK)
		return diag_unsupported(
		    im->d, loc, "has %zu axes, at most %d are supported", rank, MAX_RANK);
	for (i = 0; i < rank; i++) {
		const Onnx__TensorShapeProto__Dimension *dim = t->shape ? t->shape->dim[i] : NULL;
		int64_t size = given_dim(given, (int)i);

		if (size >= 0) {
			dims[i] = size;
			if (dim &&
			    dim->value_case ==
				ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_PARAM &&
			    *onnx_str(dim->dim_param))
				symbol_size(di, dim->dim_param);
		} else if (dim &&
			   dim->value_case ==
			       ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE &&
			   dim->dim_value >= 0) {
			dims[i] = dim->dim_value;
		} else if (dim &&
			   dim->value_case ==
			       ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_PARAM &&
			   *onnx_str(dim->dim_param)) {
			dims[i] = symbol_size(di, dim->dim_param);
		} else {
			dims[i] = symbol_size(di, arena_printf(im->f.own, "%s_%zu", v->name, i));
		}
	}
	x = graph_input(im->g, v->name, dtype, (int)rank, dims);
	x->loc = loc;
	import_bind(im, s, v->name, x);
	return true;
}

/* Sizes given for inputs or symbols that the model does not have are mistakes. */
static bool
check_given(struct dims_in *di)
{
	struct import *im = di->im;
	const char **names = arena_array(im->f.own, const char *, im->g->inputs.n + 1), *near;
	bool ok = true;
	int i, k;

	for (k = 0; k < im->g->inputs.n; k++)
		names[k] = im->g->inputs.v[k]->name;
	for (i = 0; i < im->opts->nshapes; i++) {
		const char *want = im->opts->shapes[i].input;

		for (k = 0; k < im->g->inputs.n && strcmp(names[k], want) != 0; k++)
			;
		if (k < im->g->inputs.n)
			continue;
		near = str_nearest(want, names, im->g->inputs.n);
		ok = diag_invalid(im->d, LOC_FILE(im->f.name), "has no input \"%s\"; %s \"%s\"",
		    want, near ? "did you mean" : "its first is",
		    near	      ? near
		    : im->g->inputs.n ? names[0]
				      : "");
	}
	for (i = 0; i < im->opts->ndims; i++) {
		const char *want = im->opts->dims[i].name;

		if (map_get(di->noted, want))
			continue;
		near = di->symbols.n ? str_nearest(want, di->symbols.v, di->symbols.n) : NULL;
		ok = diag_error(im->d, STATUS_USAGE, LOC_FILE(im->f.name),
		    "has no symbolic dim \"%s\"; %s%s%s%s", want,
		    near	    ? "did you mean \""
		    : di->symbols.n ? "its first is \""
				    : "its sizes are all fixed",
		    near	    ? near
		    : di->symbols.n ? di->symbols.v[0]
				    : "",
		    di->symbols.n ? "\"" : "", near ? "?" : "");
	}
	return ok;
}

static bool
import_inputs(struct import *im, struct scope *s)
{
	const Onnx__GraphProto *g = im->f.m->graph;
	struct dims_in di = {
	    .im = im, .given = map_create(im->f.own), .noted = map_create(im->f.own)};
	bool ok = true;
	size_t i;

	for (i = 0; i < g->n_input; i++) {
		struct loc loc = LOC_FILE(im->f.name);

		if (!*onnx_str(g->input[i]->name))
			return diag_invalid(im->d, loc, "graph input %zu has no name", i);
		if (!map_get(s->names, g->input[i]->name))
			ok &= learn_symbols(&di, g->input[i]);
	}
	for (i = 0; ok && i < g->n_input; i++) {
		struct bind *b = map_get(s->names, g->input[i]->name);

		if (b && (b->init || b->sparse))
			continue; /* an input with a default: the initializer */
		if (b)
			ok = diag_invalid(im->d, LOC_FILE(im->f.name),
			    "graph input \"%s\" is listed twice", b->name);
		else
			ok = import_input(&di, s, g->input[i]) || im->opts->keep_going;
	}
	return ok && check_given(&di);
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
		struct value *v;

		loc.name = name;
		loc.op = "output";
		if (!b) {
			near = nearest_value(im, name);
			ok = diag_invalid(im->d, loc, "no node makes it%s%s%s",
			    near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : "");
			continue;
		}
		v = import_value(im, b, "output", 0);
		if (v)
			graph_output(im->g, name, v);
		else
			ok = false;
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
	if (im->opts->states)
		onnx_own_parameters(&im->f, im->d);
	ok = check_operators(im);
	if (!ok && !im->opts->keep_going)
		return false;
	if (!import_initializers(im, &top, g) || !import_inputs(im, &top))
		return false;
	ok &= import_nodes(im, &top, g->n_node, g->node);
	if (ok || im->opts->keep_going)
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
