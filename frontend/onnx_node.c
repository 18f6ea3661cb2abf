/* onnx_node -- one ONNX node into the graph: its operands, its attributes typed
 * against the row, its upgrade, and the few operators that are no nodes at all
 * (constants, identities, calls of local functions, branches decided already). */
#include "frontend/onnx_import.h"

#include <inttypes.h>
#include <stdlib.h>

enum { FOLD_MAX = 4096 }; /* elements of an operand that decides shapes */

/* ---- operands */
static const char *
nearest_name(struct job *j, const char *name)
{
	const Onnx__GraphProto *g = j->im->f.m->graph;
	VEC(const char *) names = {0};
	size_t i, k;

	for (i = 0; i < g->n_initializer; i++)
		vec_push(j->im->f.own, &names, onnx_str(g->initializer[i]->name));
	for (i = 0; i < g->n_input; i++)
		vec_push(j->im->f.own, &names, onnx_str(g->input[i]->name));
	for (i = 0; i < g->n_node; i++)
		for (k = 0; k < g->node[i]->n_output; k++)
			vec_push(j->im->f.own, &names, g->node[i]->output[k]);
	return names.n ? str_nearest(name, names.v, names.n) : NULL;
}

static bool
find_bind(struct job *j, size_t i, struct bind **b)
{
	const char *name = j->np->input[i], *near;

	*b = NULL;
	if (!*name)
		return true;
	*b = import_lookup(j->s, name);
	if (*b)
		return true;
	near = nearest_name(j, name);
	j->im->broken = true;
	if (j->s->where)
		return diag_invalid(j->im->d, j->loc,
		    "input %zu is \"%s\", which nothing makes in %s nor around it%s%s%s", i, name,
		    j->s->where, near ? "; did you mean \"" : "", near ? near : "",
		    near ? "\"?" : "");
	return diag_invalid(j->im->d, j->loc, "input %zu is \"%s\", which nothing makes%s%s%s", i,
	    name, near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : "");
}

/* Whether the name stands for an optional input that nobody gave. */
static bool
left_out(const struct bind *b)
{
	while (b->same)
		b = b->same;
	return b->absent;
}

bool
job_operand(struct job *j, size_t i, struct value **v)
{
	struct bind *b;

	*v = NULL;
	if (i >= j->np->n_input)
		return true;
	if (!find_bind(j, i, &b))
		return false;
	if (!b)
		return true;
	*v = import_value(j->im, b, j->op, (int)i);
	return *v || left_out(b);
}

bool
job_item(struct job *j, size_t i, struct item **it)
{
	struct bind *b;

	*it = NULL;
	if (i >= j->np->n_input)
		return true;
	if (!find_bind(j, i, &b))
		return false;
	if (!b)
		return true;
	*it = import_item(j->im, b, j->op, (int)i);
	return *it || left_out(b);
}

bool
job_has(const struct job *j, size_t i)
{
	struct bind *b = i < j->np->n_input && *j->np->input[i]
			     ? import_lookup(j->s, j->np->input[i])
			     : NULL;

	while (b && b->same)
		b = b->same;
	return b ? !b->absent : i < j->np->n_input && *j->np->input[i];
}

void
job_bind(struct job *j, size_t output, struct item *it)
{
	if (output < j->np->n_output && *j->np->output[output])
		import_bind_item(j->im, j->s, j->np->output[output], it);
}

/* ---- attributes */
/* The attribute itself, or in a function what the caller gave for it; NULL: left out. */
static const Onnx__AttributeProto *
given(struct job *j, const Onnx__AttributeProto *a)
{
	if (!a->ref_attr_name || !*a->ref_attr_name)
		return a;
	return j->s->attrs ? map_get(j->s->attrs, a->ref_attr_name) : NULL;
}

const Onnx__AttributeProto *
job_attr(struct job *j, const char *name)
{
	size_t i;

	for (i = 0; i < j->np->n_attribute; i++)
		if (strcmp(onnx_str(j->np->attribute[i]->name), name) == 0)
			return given(j, j->np->attribute[i]);
	return NULL;
}

int64_t
job_attr_int(struct job *j, const char *name, int64_t otherwise)
{
	const Onnx__AttributeProto *a = job_attr(j, name);

	return a ? a->i : otherwise;
}

/* Files older than IR version 2 do not say which field is meant. */
static int
attr_type(const Onnx__AttributeProto *a)
{
	if (a->has_type && a->type)
		return a->type;
	return a->has_f	      ? ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOAT
	       : a->has_i     ? ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INT
	       : a->has_s     ? ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__STRING
	       : a->t	      ? ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__TENSOR
	       : a->g	      ? ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__GRAPH
	       : a->n_floats  ? ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOATS
	       : a->n_ints    ? ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INTS
	       : a->n_strings ? ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__STRINGS
			      : 0;
}

static const char *
bytes_text(struct job *j, ProtobufCBinaryData s)
{
	return arena_strndup(j->im->g->arena, s.len ? (const char *)s.data : "", s.len);
}

/* Attributes were decimal numbers before they were floats: 0.9 becomes the double
 * 0.9, not 0.899999976, so that 1 - momentum is 0.1.  The same float either way. */
static double
decimal(float f)
{
	char text[32];
	int digits;

	for (digits = 6; digits <= 9; digits++) {
		snprintf(text, sizeof text, "%.*g", digits, (double)f);
		if (strtof(text, NULL) == f)
			return strtod(text, NULL);
	}
	return (double)f;
}

static bool
convert(struct job *j, const char *name, const Onnx__AttributeProto *a, struct attr *out)
{
	struct arena *mem = j->im->g->arena;
	double *floats;
	const char **strings;
	size_t i;

	*out = (struct attr){.name = intern(j->im->g->names, name)};
	switch (attr_type(a)) {
	case ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOAT:
		out->kind = ATTR_FLOAT;
		out->f = decimal(a->f);
		return true;
	case ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INT:
		out->kind = ATTR_INT;
		out->i = a->i;
		return true;
	case ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__STRING:
		out->kind = ATTR_STRING;
		out->s = bytes_text(j, a->s);
		return true;
	case ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__TENSOR:
		out->kind = ATTR_TENSOR;
		if (!a->t)
			return diag_invalid(
			    j->im->d, j->loc, "attribute \"%s\" holds no tensor", name);
		out->t = onnx_tensor(&j->im->f, a->t, j->loc, j->im->d);
		return out->t != NULL;
	case ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INTS:
		out->kind = ATTR_INTS;
		out->n = (int)a->n_ints;
		out->ints = arena_dup(
		    mem, a->n_ints ? (const void *)a->ints : "", a->n_ints * sizeof *a->ints);
		return true;
	case ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOATS:
		floats = arena_array(mem, double, a->n_floats + 1);
		for (i = 0; i < a->n_floats; i++)
			floats[i] = decimal(a->floats[i]);
		out->kind = ATTR_FLOATS;
		out->n = (int)a->n_floats;
		out->floats = floats;
		return true;
	case ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__STRINGS:
		strings = arena_array(mem, const char *, a->n_strings + 1);
		for (i = 0; i < a->n_strings; i++)
			strings[i] = bytes_text(j, a->strings[i]);
		out->kind = ATTR_STRINGS;
		out->n = (int)a->n_strings;
		out->strings = strings;
		return true;
	case ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__GRAPH:
	case ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__GRAPHS:
		return diag_unsupported(j->im->d, j->loc, "graph in attribute \"%s\"", name);
	default:
		return diag_unsupported(
		    j->im->d, j->loc, "attribute \"%s\" has a type that no operator reads", name);
	}
}

/* ---- Constant */
static struct tensor *
numbers(struct job *j, enum dtype dtype, int rank, size_t n)
{
	return tensor_new(j->im->g->arena, dtype, rank, &(int64_t){(int64_t)n});
}

/* Is the attribute of the type its name says?  Old files give none. */
static bool
constant_typed(const char *name, const Onnx__AttributeProto *a)
{
	static const struct {
		const char *name;
		Onnx__AttributeProto__AttributeType type;
	} known[] = {
	    {"value", ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__TENSOR},
	    {"sparse_value", ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__SPARSE_TENSOR},
	    {"value_int", ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INT},
	    {"value_float", ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOAT},
	    {"value_ints", ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INTS},
	    {"value_floats", ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOATS},
	    {"value_string", ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__STRING},
	    {"value_strings", ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__STRINGS},
	};

	for (size_t i = 0; i < sizeof known / sizeof *known; i++)
		if (strcmp(known[i].name, name) == 0)
			return a->type == known[i].type ||
			       a->type == ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__UNDEFINED;
	return true;
}

static struct tensor *
constant(struct job *j, const char *name, const Onnx__AttributeProto *a)
{
	struct tensor *t = NULL;
	size_t i;

	if (!constant_typed(name, a)) {
		diag_invalid(j->im->d, j->loc, "attribute \"%s\" is of another type (%d); a float is written 2.0",
		    name, (int)a->type);
		return NULL;
	}
	if (strcmp(name, "value") == 0 && a->t)
		return onnx_tensor(&j->im->f, a->t, j->loc, j->im->d);
	if (strcmp(name, "sparse_value") == 0 && a->sparse_tensor)
		return onnx_sparse_tensor(&j->im->f, a->sparse_tensor, j->loc, j->im->d);
	if (strcmp(name, "value_int") == 0) {
		t = numbers(j, DT_i64, 0, 0);
		*(int64_t *)t->data = a->i;
	} else if (strcmp(name, "value_float") == 0) {
		t = numbers(j, DT_f32, 0, 0);
		*(float *)t->data = a->f;
	} else if (strcmp(name, "value_ints") == 0) {
		t = numbers(j, DT_i64, 1, a->n_ints);
		if (a->n_ints)
			memcpy(t->data, a->ints, a->n_ints * sizeof *a->ints);
	} else if (strcmp(name, "value_floats") == 0) {
		t = numbers(j, DT_f32, 1, a->n_floats);
		if (a->n_floats)
			memcpy(t->data, a->floats, a->n_floats * sizeof *a->floats);
	} else if (strcmp(name, "value_string") == 0) {
		t = numbers(j, DT_str, 0, 0);
		*(const char **)t->data = bytes_text(j, a->s);
	} else if (strcmp(name, "value_strings") == 0) {
		t = numbers(j, DT_str, 1, a->n_strings);
		for (i = 0; i < a->n_strings; i++)
			((const char **)t->data)[i] = bytes_text(j, a->strings[i]);
	}
	if (!t)
		diag_invalid(j->im->d, j->loc, "attribute \"%s\" does not hold a constant", name);
	return t;
}

static bool
import_constant(struct job *j)
{
	const Onnx__AttributeProto *a = NULL;
	const char *name = NULL, *key;
	struct tensor *t;
	struct value *v;
	size_t i;

	for (i = 0; i < j->np->n_attribute && !a; i++) {
		name = onnx_str(j->np->attribute[i]->name);
		a = given(j, j->np->attribute[i]);
	}
	if (!a || j->np->n_output != 1)
		return diag_invalid(j->im->d, j->loc, "needs one value and one output");
	/* one for all turns of a body */
	key = arena_printf(j->im->f.own, "%p", (const void *)a);
	v = j->s->outer ? map_get(j->im->inner, key) : NULL;
	if (!v) {
		t = constant(j, name, a);
		if (!t)
			return false;
		v = graph_const(j->im->g, NULL, t);
		v->loc = j->loc;
		map_put(j->im->inner, key, v);
	}
	import_bind(j->im, j->s, j->np->output[0], v);
	return true;
}

/* ---- names for what is there already */
static bool
same_as(struct job *j, struct scope *to, const char *name, struct bind *b)
{
	struct bind *alias = arena_new(j->im->f.own, struct bind);
	struct value *v;

	alias->name = name;
	alias->same = b;
	map_put(to->names, name, alias);
	while (b->same)
		b = b->same;
	/* Found by graph_find under this name too; weights that no node reads yet are not made. */
	v = b->v;
	if (v && !to->outer && !*to->prefix)
		map_put(j->im->g->by_name, intern(j->im->g->names, name), v);
	return true;
}

static bool
import_identity(struct job *j)
{
	struct bind *b;

	if (j->np->n_input < 1 || j->np->n_output < 1 || !*j->np->input[0])
		return diag_invalid(j->im->d, j->loc, "needs an input and an output");
	if (!find_bind(j, 0, &b))
		return false;
	return !*j->np->output[0] || same_as(j, j->s, j->np->output[0], b);
}

static bool
import_dropout_off(struct job *j)
{
	struct value *x, *yes;
	struct tensor *t;

	if (!import_identity(j))
		return false;
	if (j->np->n_output < 2 || !*j->np->output[1])
		return true;
	if (!job_operand(j, 0, &x) || !x)
		return false;
	/* a mask of the data's own type before opset 10 */
	t = tensor_new(j->im->g->arena,
	    onnx_opset(j->im->f.m, j->s->fn, "") < 10 ? x->dtype : DT_bool, 0, NULL);
	if (dtype_is_float(t->dtype))
		dtype_put_f(t->dtype, t->data, 0, 1);
	else
		dtype_put_i(t->dtype, t->data, 0, 1);
	yes = b_expand(&j->im->b, graph_const(j->im->g, NULL, t), x->rank, x->dims);
	if (!yes)
		return false;
	import_bind(j->im, j->s, j->np->output[1], yes);
	return true;
}

/* ---- calls and branches */
const char *
job_prefix(struct job *j)
{
	if (strlen(j->s->prefix) > 1024)
		return j->s->prefix; /* deep enough to be told apart otherwise */
	if (j->loc.name)
		return arena_printf(j->im->f.own, "%.256s/", j->loc.name); /* has the prefix */
	return arena_printf(j->im->f.own, "%s%s/", j->s->prefix, j->op);
}

bool
job_enter(struct job *j, size_t nodes)
{
	if (j->s->depth >= ONNX_DEPTH)
		return diag_invalid(j->im->d, j->loc,
		    "functions or branches nest deeper than %d; do they call "
		    "themselves?",
		    ONNX_DEPTH);
	if (nodes >= (size_t)(ONNX_INLINE_MAX - j->im->inlined))
		return diag_unsupported(
		    j->im->d, j->loc, "inlining makes more than %d nodes", ONNX_INLINE_MAX);
	j->im->inlined += (int)nodes + 1;
	return true;
}

static bool
leave(struct job *j, struct scope *inner, size_t n, char **outputs)
{
	size_t i;

	if (j->np->n_output > n)
		return diag_invalid(
		    j->im->d, j->loc, "has %zu outputs, its body makes %zu", j->np->n_output, n);
	for (i = 0; i < j->np->n_output; i++) {
		struct bind *b = import_lookup(inner, onnx_str(outputs[i]));

		if (!*j->np->output[i])
			continue;
		if (!b)
			return diag_invalid(j->im->d, j->loc,
			    "its body does not make output \"%s\"", onnx_str(outputs[i]));
		same_as(j, j->s, j->np->output[i], b);
	}
	return true;
}

static bool
import_call(struct job *j, const Onnx__FunctionProto *fn)
{
	struct scope inner = {.names = map_create(j->im->f.own),
	    .attrs = map_create(j->im->f.own),
	    .fn = fn,
	    .prefix = job_prefix(j),
	    .depth = j->s->depth + 1};
	struct bind *b;
	size_t i;

	if (!job_enter(j, fn->n_node))
		return false;
	if (j->np->n_input > fn->n_input)
		return diag_invalid(j->im->d, j->loc, "has %zu inputs, the function takes %zu",
		    j->np->n_input, fn->n_input);
	for (i = 0; i < fn->n_input; i++) {
		if (map_get(inner.names, fn->input[i]))
			return diag_invalid(
			    j->im->d, j->loc, "the function has input \"%s\" twice", fn->input[i]);
		b = NULL;
		if (i < j->np->n_input && !find_bind(j, i, &b))
			return false;
		if (!b) {
			b = arena_new(j->im->f.own, struct bind);
			b->absent = true;
		}
		same_as(j, &inner, fn->input[i], b);
	}
	for (i = 0; i < fn->n_attribute_proto; i++)
		map_put(
		    inner.attrs, onnx_str(fn->attribute_proto[i]->name), fn->attribute_proto[i]);
	for (i = 0; i < j->np->n_attribute; i++) {
		const Onnx__AttributeProto *a = given(j, j->np->attribute[i]);

		if (a)
			map_put(
			    inner.attrs, onnx_str(j->np->attribute[i]->name), (void *)(uintptr_t)a);
	}
	return import_nodes(j->im, &inner, fn->n_node, fn->node) &&
	       leave(j, &inner, fn->n_output, fn->output);
}

/* ---- nodes with a row */
static void
set_attr(struct onnx_node *n, struct attr a)
{
	struct attr *old = onnx_attr(n, a.name);

	if (old)
		*old = a;
	else
		vec_push(n->b->g->arena, &n->attrs, a);
}

/* Batch normalisation as opts want it: y alone by the running statistics, or y and
 * the new statistics by the batch's.  Before opset 14 a file says which by what it
 * takes from the node. */
static void
shape_batchnorm(struct job *j, struct onnx_node *n)
{
	bool training = j->im->opts->training;
	const struct attr *mode = onnx_attr(n, "training_mode");

	if (!training && j->im->opts->as_file) {
		training = n->version < 14 ? n->nout > 1 : mode && mode->kind == ATTR_INT && mode->i;
		set_attr(n, (struct attr){.name = "training_mode", .kind = ATTR_INT, .i = training});
		n->nout = training ? n->nout : 1;
		return;
	}

	set_attr(n, (struct attr){.name = "training_mode", .kind = ATTR_INT, .i = training});
	if (training && op_attr(op_from_onnx("", "BatchNormalization"), "unbiased"))
		set_attr(n, (struct attr){.name = "unbiased", .kind = ATTR_INT, .i = 1});
	n->nout = training ? 3 : 1;
}

static void
finish_batchnorm(struct job *j, const struct node *n)
{
	int i;

	for (i = 1; i <= 2 && i < n->nout; i++) {
		struct value *state = n->in[i + 2];

		if (state && state->kind == VAL_STATE && n->out[i])
			vec_push(
			    j->im->g->arena, &j->im->g->updates, (struct update){state, n->out[i]});
	}
}

/* An i64 scalar input of the step, made once. */
static struct value *
step_input(struct import *im, const char *name)
{
	int i;

	for (i = 0; i < im->g->inputs.n; i++)
		if (strcmp(im->g->inputs.v[i]->name, name) == 0)
			return im->g->inputs.v[i];
	return graph_input(im->g, name, DT_i64, 0, NULL);
}

/* Whether the node stays a dropout: in training, or where the file asks for it. */
static bool
dropout_active(struct job *j)
{
	if (j->im->opts->training || !j->im->opts->as_file)
		return j->im->opts->training;
	return onnx_opset(j->im->f.m, j->s->fn, "") >= 12 && j->np->n_input > 2 && *j->np->input[2];
}

/* Active: ratio, training_mode = true, and the row draws its mask from the seed
 * and the step of the run (inputs that runtime/abi.h names), each node its own
 * stream.  A seed attribute is replaced by the run's.  As the file says: its mode,
 * its seed, the first step. */
static void
shape_dropout(struct job *j, struct onnx_node *n)
{
	struct tensor *yes = tensor_new(j->im->g->arena, DT_bool, 0, NULL);
	const struct attr *seed = onnx_attr(n, "seed");
	int i;

	if (!j->im->opts->training) {
		while (n->in.n < 5)
			vec_push(j->im->g->arena, &n->in, NULL);
		n->in.v[3] = b_scalar(&j->im->b, DT_i64, seed && seed->kind == ATTR_INT ? (double)(int32_t)seed->i : 0);
		n->in.v[4] = b_scalar(&j->im->b, DT_i64, 0);
		return;
	}
	*(uint8_t *)yes->data = 1;
	while (n->in.n < 5)
		vec_push(j->im->g->arena, &n->in, NULL);
	n->in.v[2] = graph_const(j->im->g, NULL, yes);
	n->in.v[3] = step_input(j->im, "$seed");
	n->in.v[4] = step_input(j->im, "$step");
	for (i = 0; i < n->attrs.n; i++)
		if (strcmp(n->attrs.v[i].name, "seed") == 0)
			n->attrs.v[i--] = n->attrs.v[--n->attrs.n];
}

static bool
gather_node(struct job *j, struct onnx_node *n)
{
	struct value *v;
	struct attr a;
	size_t i;

	for (i = 0; i < j->np->n_input; i++) {
		if (!job_operand(j, i, &v))
			return false;
		vec_push(j->im->g->arena, &n->in, v);
	}
	while (n->in.n && !n->in.v[n->in.n - 1])
		n->in.n--;
	for (i = 0; i < j->np->n_attribute; i++) {
		const Onnx__AttributeProto *at = given(j, j->np->attribute[i]);

		if (!at)
			continue;
		if (!convert(j, onnx_str(j->np->attribute[i]->name), at, &a))
			return false;
		set_attr(n, a);
	}
	n->nout = (int)j->np->n_output;
	while (n->nout > 1 && !*j->np->output[n->nout - 1])
		n->nout--;
	return true;
}

static bool
check_operands(struct job *j, const struct onnx_node *n, enum op op)
{
	const struct op_info *row = &op_info[op];
	int i;

	for (i = 0; i < n->in.n; i++)
		if (!n->in.v[i] && (i < row->in_min || row->in_max < 0))
			return diag_invalid(
			    j->im->d, j->loc, "input %d is left out, but it is not optional", i);
	return true;
}

/* Several outputs of small constants (Split of a shape): evaluated at once. */
static bool
fold_all(struct job *j, struct node *n, struct value **outs)
{
	struct arena *scratch;
	struct eval_opts opts = {.round_each = true};
	const struct etensor **in;
	struct etensor **out;
	bool ok = true;
	int i;

	if (op_is_random(n->op) || !j->im->b.fold)
		return false;
	for (i = 0; i < n->nin; i++)
		if (n->in[i] && (n->in[i]->kind != VAL_CONST || n->in[i]->dtype == DT_str ||
				    tensor_count(n->in[i]->data) > FOLD_MAX))
			return false;
	for (i = 0; i < n->nout; i++)
		if (dims_count(n->out[i]->rank, n->out[i]->dims) < 0 ||
		    n->out[i]->dtype == DT_str ||
		    dims_count(n->out[i]->rank, n->out[i]->dims) > FOLD_MAX)
			return false;
	scratch = arena_create();
	opts.arena = scratch;
	in = arena_array(scratch, const struct etensor *, n->nin + 1);
	out = arena_array(scratch, struct etensor *, n->nout + 1);
	for (i = 0; i < n->nin; i++)
		in[i] = n->in[i] ? etensor_from(scratch, n->in[i]->data) : NULL;
	ok = eval_node(&opts, j->im->g, n, in, out);
	for (i = 0; ok && i < n->nout; i++)
		ok = out[i] != NULL;
	for (i = 0; ok && i < n->nout; i++) {
		outs[i] = graph_const(j->im->g, NULL, etensor_to(j->im->g->arena, out[i]));
		outs[i]->loc = j->loc;
	}
	arena_destroy(scratch);
	if (ok)
		n->dead = true;
	return ok;
}

/* Shape and Size of known dims fold only in their expansion. */
static bool
expand_now(struct job *j, struct node *n, struct value **outs)
{
	const char *id = op_info[n->op].id;
	int i;

	if (strcmp(id, "Shape") != 0 && strcmp(id, "Size") != 0)
		return false;
	for (i = 0; i < n->in[0]->rank; i++)
		if (!dim_const(n->in[0]->dims[i]))
			return false;
	if (!op_info[n->op].expand(&j->im->b, n, outs))
		return false;
	n->dead = true;
	return true;
}

static bool
import_row(struct job *j)
{
	struct import *im = j->im;
	struct onnx_node n = {.b = &im->b, .domain = onnx_domain(j->np->domain), .op = j->op};
	struct value **outs;
	struct node *made;
	enum op op;
	int i;

	if (map_get(im->unknown, arena_printf(im->f.own, "%s::%s", n.domain, j->op)))
		return false; /* reported with its kind */
	n.version = onnx_opset(im->f.m, j->s->fn, n.domain);
	if (n.version < 1)
		return diag_invalid(im->d, j->loc, "the file imports no opset of domain \"%s\"",
		    *n.domain ? n.domain : "ai.onnx");
	if (!gather_node(j, &n) || !onnx_upgrade(&n))
		return false;
	op = op_from_onnx(n.domain, n.op);
	if (op == OP_none && onnx_former(n.op))
		return diag_invalid(im->d, j->loc,
		    "operator \"%s\" left ONNX with opset %lld, the file is of opset %lld", n.op,
		    (long long)onnx_former(n.op), (long long)n.version);
	if (op == OP_none)
		return diag_unsupported(im->d, j->loc, "operator \"%s\" is not supported", n.op);
	for (i = 0; i < n.attrs.n; i++)
		if (attr_holds_dims(op, n.attrs.v[i].name)) /* the compiler's own, never a file's */
			return diag_invalid(im->d, j->loc, "%s has no attribute \"%s\"", n.op, n.attrs.v[i].name);
	if (strcmp(n.op, "BatchNormalization") == 0 && !*n.domain)
		shape_batchnorm(j, &n);
	if (strcmp(n.op, "Dropout") == 0 && !*n.domain)
		shape_dropout(j, &n);
	if (op_is_random(op))
		set_attr(&n, (struct attr){.name = "stream", .kind = ATTR_INT, .i = 1 + im->draws++});
	if (!check_operands(j, &n, op) || !op_types_fit(op, n.in.n, n.in.v, j->loc, im->d))
		return false;
	made = b_node(&im->b, op, n.in.n, n.in.v, n.nout, n.attrs.n, n.attrs.v);
	if (!made)
		return false;
	made->name = j->loc.name ? intern(im->g->names, j->loc.name) : NULL;
	outs = arena_array(im->f.own, struct value *, n.nout);
	for (i = 0; i < n.nout; i++)
		outs[i] = made->out[i];
	if (!fold_all(j, made, outs))
		expand_now(j, made, outs);
	if (!made->dead && strcmp(n.op, "BatchNormalization") == 0)
		finish_batchnorm(j, made);
	if (n.finish && !n.finish(&n, outs))
		return false;
	for (i = 0; i < (int)j->np->n_output; i++) {
		if (!*j->np->output[i]) {
			if (i < made->nout && i > 0 && !made->dead &&
			    strcmp(n.op, "BatchNormalization") != 0)
				made->out[i] = NULL;
		} else if (i < n.nout) {
			import_bind(im, j->s, j->np->output[i], outs[i]);
		} else if (i <= 2 && strcmp(n.op, "BatchNormalization") == 0 && n.in.n > i + 2) {
			/* inference form: the statistics leave as they came */
			struct bind *b;

			if (find_bind(j, (size_t)i + 2, &b) && b)
				same_as(j, j->s, j->np->output[i], b);
		}
	}
	return true;
}

/* ---- operators that need no row of their own, or do where they are not folded away */
static bool
import_dropout(struct job *j)
{
	return dropout_active(j) ? import_row(j) : import_dropout_off(j);
}

static const struct special {
	const char *op; /* with its domain, unless that is ai.onnx */
	bool (*run)(struct job *);
} specials[] = {
    {"Constant", import_constant},
    {"Identity", import_identity},
    {"Dropout", import_dropout},
    {"If", import_if},
    {"Loop", import_loop},
    {"Scan", import_scan},
    {"SequenceConstruct", import_sequence_construct},
    {"SequenceEmpty", import_sequence_empty},
    {"SequenceInsert", import_sequence_insert},
    {"SequenceErase", import_sequence_erase},
    {"SequenceAt", import_sequence_at},
    {"SequenceLength", import_sequence_length},
    {"SequenceMap", import_sequence_map},
    {"SplitToSequence", import_split_to_sequence},
    {"ConcatFromSequence", import_concat_from_sequence},
    {"Optional", import_optional},
    {"OptionalGetElement", import_optional_get},
    {"OptionalHasElement", import_optional_has},
    {"ai.onnx.preview::FlexAttention", import_flex_attention},
    {"ai.onnx.preview.training::Gradient", import_gradient},
};

static const struct special *
special_of(const char *domain, const char *op)
{
	size_t i, n;

	domain = onnx_domain(domain);
	n = strlen(domain);
	for (i = 0; i < sizeof specials / sizeof *specials; i++) {
		const char *s = specials[i].op;

		if (n == 0 ? strcmp(s, op) == 0
			   : strncmp(s, domain, n) == 0 && strncmp(s + n, "::", 2) == 0 &&
				     strcmp(s + n + 2, op) == 0)
			return &specials[i];
	}
	return NULL;
}

bool
import_is_special(const char *domain, const char *op)
{
	return special_of(domain, op);
}

bool
onnx_imports(const char *op)
{
	return op_from_onnx("", op) != OP_none || special_of("", op) || onnx_former(op);
}

bool
import_node(struct import *im, struct scope *s, const Onnx__NodeProto *np, int index)
{
	struct job j = {.im = im, .s = s, .np = np, .op = onnx_str(np->op_type)};
	const Onnx__FunctionProto *fn = import_function(im, np);
	const struct special *special = special_of(np->domain, j.op);
	int errors = im->d->errors;
	bool ok;

	j.loc = onnx_node_loc(&im->f, np, index);
	if (*s->prefix && j.loc.name)
		j.loc.name = arena_printf(im->g->arena, "%s%s", s->prefix, j.loc.name);
	im->b.loc = j.loc;
	if (fn)
		ok = import_call(&j, fn);
	else if (special)
		ok = special->run(&j);
	else
		ok = import_row(&j);
	if (!ok && im->d->errors == errors && !im->opts->keep_going)
		diag_unsupported(im->d, j.loc, "is not supported in this form");
	return ok;
}
