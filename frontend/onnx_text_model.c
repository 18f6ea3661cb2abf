/* onnx_text_model -- ONNX text: attributes, nodes, graphs, functions, models. */
#include "frontend/onnx_text.h"

#include <stdlib.h>
#include <string.h>

/* ---- attributes */
static Onnx__GraphProto *graph(struct text *);

/* in the order of the format's enumerators */
static const char *const kinds[] = {"", "float", "int", "string", "tensor", "graph", "floats",
    "ints", "strings", "tensors", "graphs", "sparse_tensor", "sparse_tensors", "type_proto",
    "type_protos"};

static void
attr_bytes(struct text *t, ProtobufCBinaryData *b)
{
	char *s = text_string(t);

	if (s)
		*b = (ProtobufCBinaryData){strlen(s), (uint8_t *)s};
}

static void
attr_list(struct text *t, Onnx__AttributeProto *a, int wanted)
{
	VEC(struct number) v = {0};
	struct number x;
	bool real = wanted == 6;
	int i;

	if (text_peek(t) == '"') {
		a->type = ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__STRINGS;
		do {
			ProtobufCBinaryData b = {0};

			attr_bytes(t, &b);
			PUSH(t, a, strings, b);
		} while (text_take(t, ','));
	} else if (text_peek(t) != ']') {
		do {
			if (!text_number(t, &x))
				return;
			real |= x.real;
			vec_push(t->a, &v, x);
		} while (text_take(t, ','));
		a->type = real ? ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOATS
			       : ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INTS;
		for (i = 0; i < v.n; i++) {
			if (real)
				PUSH(t, a, floats, (float)v.v[i].f);
			else
				PUSH(t, a, ints, v.v[i].i);
		}
	} else if (wanted) {
		a->type = (Onnx__AttributeProto__AttributeType)wanted;
	} else {
		text_fail(t, t->p, "an empty list needs its type, as in  axes : ints = []");
	}
	text_expect(t, ']', "after the list");
}

static void
attr_word(struct text *t, Onnx__AttributeProto *a)
{
	const char *at = t->p;
	char *s = text_name(t);
	struct number v;

	if (s && text_type_number(s) ? strchr("[{,>", text_peek(t)) != NULL
				     : s && (strcmp(s, "seq") == 0 || strcmp(s, "optional") == 0)) {
		Onnx__TypeProto *type;

		t->p = at;
		type = text_type(t);
		if (text_peek(t) == ',' || text_peek(t) == '>') {
			a->type = ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__TYPE_PROTO;
			a->tp = type;
			return;
		}
		a->type = ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__TENSOR;
		a->t = text_tensor(t, type, at);
		return;
	}
	t->p = at;
	if (strcmp(s, "inf") == 0 || strcmp(s, "nan") == 0 || strcmp(s, "infinity") == 0) {
		text_number(t, &v);
		a->type = ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOAT;
		a->has_f = 1;
		a->f = (float)v.f;
		return;
	}
	a->type = ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__GRAPH;
	a->g = graph(t);
}

static void
attr_number(struct text *t, Onnx__AttributeProto *a, int wanted)
{
	struct number v;

	if (!text_number(t, &v))
		return;
	if (v.real || wanted == 1) {
		a->type = ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOAT;
		a->has_f = 1;
		a->f = (float)v.f;
	} else {
		a->type = ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INT;
		a->has_i = 1;
		a->i = v.i;
	}
}

static Onnx__AttributeProto *
attribute(struct text *t)
{
	Onnx__AttributeProto *a = NEW(t, Onnx__AttributeProto, onnx__attribute_proto__init);
	const char *at;
	int wanted = 0, i;

	a->name = text_need_name(t, "the name of an attribute");
	if (text_take(t, ':')) {
		char *kind = text_need_name(t, "the type of the attribute");

		for (i = 1; i < (int)(sizeof kinds / sizeof *kinds) && strcmp(kinds[i], kind) != 0;
		    i++)
			;
		if (i < (int)(sizeof kinds / sizeof *kinds))
			wanted = i;
		else
			text_fail(t, t->p, "\"%s\" is not a type of attribute", kind);
	}
	text_expect(t, '=', "after the attribute's name");
	if (t->failed)
		return a;
	a->has_type = 1;
	text_skip(t);
	at = t->p;
	if (text_take(t, '@')) {
		a->ref_attr_name = text_need_name(t, "the name of an attribute of the function");
		a->type = (Onnx__AttributeProto__AttributeType)wanted;
		return a;
	}
	if (text_take(t, '['))
		attr_list(t, a, wanted);
	else if (text_peek(t) == '"') {
		a->type = ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__STRING;
		a->has_s = 1;
		attr_bytes(t, &a->s);
	} else if (text_at_word(t))
		attr_word(t, a);
	else
		attr_number(t, a, wanted);
	if (!t->failed && wanted && (int)a->type != wanted)
		text_fail(t, at, "attribute \"%s\" must be %s %s", a->name,
		    wanted == 2 ? "an" : "a", kinds[wanted]);
	return a;
}

/* ---- nodes */
static void
attributes(struct text *t, Onnx__NodeProto *n)
{
	if (!text_take(t, '<'))
		return;
	if (text_peek(t) != '>')
		do {
			Onnx__AttributeProto *a = attribute(t);

			PUSH(t, n, attribute, a);
		} while (!t->failed && text_take(t, ','));
	text_expect(t, '>', "after the attributes");
}

/* com.x.Foo: domain com.x, operator Foo; Foo:v2 is an overload of a function. */
static void
operator_name(struct text *t, Onnx__NodeProto *n)
{
	char *s = text_need_name(t, "an operator"), *dot = strrchr(s, '.');

	n->op_type = dot ? dot + 1 : s;
	if (dot) {
		*dot = 0;
		n->domain = s;
	}
	if (text_take(t, ':'))
		n->overload = text_need_name(t, "the overload's name");
}

static Onnx__NodeProto *
node(struct text *t)
{
	struct onnx_text_node *tn = arena_new(t->a, struct onnx_text_node);
	Onnx__NodeProto *n = &tn->node;
	char *s;

	onnx__node_proto__init(n);
	text_skip(t);
	for (; t->counted < t->p; t->counted++)
		t->line += *t->counted == '\n';
	tn->line = t->line;
	if (text_take(t, '[')) {
		n->name = text_need_name(t, "the node's name");
		text_expect(t, ']', "after the node's name");
	}
	do {
		s = text_name(t);
		if (!s)
			s = arena_strdup(t->a, "");
		PUSH(t, n, output, s);
	} while (!t->failed && text_take(t, ','));
	text_expect(t, '=', "after the outputs of a node");
	operator_name(t, n);
	attributes(t, n);
	text_expect(t, '(', "before the inputs of a node");
	if (!t->failed && text_peek(t) != ')')
		do {
			s = text_name(t);
			if (!s)
				s = arena_strdup(t->a, "");
			PUSH(t, n, input, s);
		} while (!t->failed && text_take(t, ','));
	text_expect(t, ')', "after the inputs of a node");
	attributes(t, n);
	text_take(t, ';');
	return n;
}

/* ---- graphs */
/* A typed name; with "= values" it is an initializer of g as well. */
static Onnx__ValueInfoProto *
value_info(struct text *t, Onnx__GraphProto *g, bool *init)
{
	Onnx__ValueInfoProto *v = NEW(t, Onnx__ValueInfoProto, onnx__value_info_proto__init);
	const char *at;

	text_skip(t);
	at = t->p;
	v->type = text_type(t);
	v->name = text_need_name(t, "a name");
	*init = g && text_take(t, '=');
	if (*init) {
		Onnx__TensorProto *p = text_tensor(t, v->type, at);

		p->name = v->name;
		PUSH(t, g, initializer, p);
	}
	return v;
}

static bool
arrow(struct text *t)
{
	if (text_take(t, '=') && t->p < t->end && *t->p == '>') {
		t->p++;
		return true;
	}
	return text_fail(t, t->p, "\"=>\" is expected between inputs and outputs");
}

static Onnx__GraphProto *
graph(struct text *t)
{
	Onnx__GraphProto *g = NEW(t, Onnx__GraphProto, onnx__graph_proto__init);
	Onnx__ValueInfoProto *v;
	bool init;

	if (++t->nest > NEST_MAX) {
		text_fail(t, t->p, "graphs nest deeper than %d", NEST_MAX);
		return g;
	}
	g->name = text_peek(t) == '(' ? arena_strdup(t->a, "graph")
				      : text_need_name(t, "the graph's name");
	text_expect(t, '(', "before the graph's inputs");
	if (!t->failed && text_peek(t) != ')')
		do {
			v = value_info(t, g, &init);
			PUSH(t, g, input, v);
		} while (!t->failed && text_take(t, ','));
	text_expect(t, ')', "after the graph's inputs");
	if (t->failed || !arrow(t))
		return g;
	text_expect(t, '(', "before the graph's outputs");
	if (!t->failed && text_peek(t) != ')')
		do {
			v = value_info(t, NULL, &init);
			PUSH(t, g, output, v);
		} while (!t->failed && text_take(t, ','));
	text_expect(t, ')', "after the graph's outputs");
	if (text_take(t, '<')) {
		if (text_peek(t) != '>')
			do {
				v = value_info(t, g, &init);
				if (!init)
					PUSH(t, g, value_info, v);
			} while (!t->failed && text_take(t, ','));
		text_expect(t, '>', "after the initializers");
	}
	text_expect(t, '{', "before the nodes");
	while (!t->failed && text_peek(t) && text_peek(t) != '}') {
		Onnx__NodeProto *n = node(t);

		PUSH(t, g, node, n);
	}
	text_expect(t, '}', "after the nodes");
	t->nest--;
	return g;
}

/* ---- the model */
static void
opset(struct text *t, size_t *n, Onnx__OperatorSetIdProto ***list)
{
	struct {
		size_t n_v;
		Onnx__OperatorSetIdProto **v;
	} m = {*n, *list};

	text_expect(t, '[', "before the opsets");
	do {
		Onnx__OperatorSetIdProto *o =
		    NEW(t, Onnx__OperatorSetIdProto, onnx__operator_set_id_proto__init);

		o->domain = text_string(t);
		if (!o->domain)
			text_fail(
			    t, t->p, "a domain in quotes is expected here, as in  [\"\" : 18]");
		text_expect(t, ':', "after the domain");
		o->has_version = 1;
		o->version = text_integer(t);
		PUSH(t, &m, v, o);
	} while (!t->failed && text_take(t, ','));
	text_expect(t, ']', "after the opsets");
	*n = m.n_v;
	*list = m.v;
}

static void
metadata(struct text *t, Onnx__ModelProto *m)
{
	text_expect(t, '[', "before the metadata");
	if (text_peek(t) != ']')
		do {
			Onnx__StringStringEntryProto *e = NEW(
			    t, Onnx__StringStringEntryProto, onnx__string_string_entry_proto__init);

			e->key = text_need_name(t, "a key");
			text_expect(t, ':', "after the key");
			e->value = text_string(t);
			PUSH(t, m, metadata_props, e);
		} while (!t->failed && text_take(t, ','));
	text_expect(t, ']', "after the metadata");
}

static char *
need_string(struct text *t)
{
	char *s = text_peek(t) == '"' ? text_string(t) : NULL;

	if (!s)
		text_fail(t, t->p, "text in quotes is expected here");
	return s;
}

static void
model_header(struct text *t, Onnx__ModelProto *m)
{
	static const char *const keys[] = {"ir_version", "opset_import", "producer_name",
	    "producer_version", "domain", "model_version", "doc_string", "metadata_props"};
	const char *at, *near;
	char *key;

	text_expect(t, '<', "to begin a model, as in  <ir_version: 8, opset_import: [\"\" : 18]>");
	do {
		text_skip(t);
		at = t->p;
		key = text_need_name(t, "a property of the model");
		text_expect(t, ':', "after the property's name");
		if (t->failed)
			return;
		if (strcmp(key, keys[0]) == 0) {
			m->has_ir_version = 1;
			m->ir_version = text_integer(t);
		} else if (strcmp(key, keys[1]) == 0) {
			opset(t, &m->n_opset_import, &m->opset_import);
		} else if (strcmp(key, keys[2]) == 0) {
			m->producer_name = need_string(t);
		} else if (strcmp(key, keys[3]) == 0) {
			m->producer_version = need_string(t);
		} else if (strcmp(key, keys[4]) == 0) {
			m->domain = need_string(t);
		} else if (strcmp(key, keys[5]) == 0) {
			m->has_model_version = 1;
			m->model_version = text_integer(t);
		} else if (strcmp(key, keys[6]) == 0) {
			m->doc_string = need_string(t);
		} else if (strcmp(key, keys[7]) == 0) {
			metadata(t, m);
		} else {
			near = str_nearest(key, keys, 8);
			text_fail(t, at, "a model has no property \"%s\"%s%s%s", key,
			    near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : "");
		}
	} while (!t->failed && text_take(t, ','));
	text_expect(t, '>', "after the model's properties");
}

/* <alpha, beta : float = 1.0>: attributes that calls may give, and defaults */
static void
function_attributes(struct text *t, Onnx__FunctionProto *fn)
{
	if (!text_take(t, '<'))
		return;
	do {
		const char *at;
		char *s;

		text_skip(t);
		at = t->p;
		s = text_need_name(t, "the name of an attribute");
		if (text_peek(t) == ':' || text_peek(t) == '=') {
			Onnx__AttributeProto *a;

			t->p = at;
			a = attribute(t);
			PUSH(t, fn, attribute_proto, a);
		} else {
			PUSH(t, fn, attribute, s);
		}
	} while (!t->failed && text_take(t, ','));
	text_expect(t, '>', "after the function's attributes");
}

/* Formal inputs and outputs: a name, perhaps with a type before it. */
static char *
formal(struct text *t)
{
	char *s = text_need_name(t, "a name");

	if (t->failed || (text_peek(t) != '[' && !text_at_word(t)) || !text_type_number(s))
		return s;
	if (text_take(t, '[') && !text_take(t, ']'))
		text_shape(t);
	return text_need_name(t, "a name");
}

static void
function_header(struct text *t, Onnx__FunctionProto *fn)
{
	char *key;

	if (!text_take(t, '<'))
		return;
	do {
		key = text_need_name(t, "a property of the function");
		text_expect(t, ':', "after the property's name");
		if (t->failed)
			return;
		if (strcmp(key, "opset_import") == 0)
			opset(t, &fn->n_opset_import, &fn->opset_import);
		else if (strcmp(key, "domain") == 0)
			fn->domain = need_string(t);
		else if (strcmp(key, "overload") == 0)
			fn->overload = need_string(t);
		else if (strcmp(key, "doc_string") == 0)
			fn->doc_string = need_string(t);
		else
			text_fail(t, t->p, "a function has no property \"%s\"", key);
	} while (!t->failed && text_take(t, ','));
	text_expect(t, '>', "after the function's properties");
}

static Onnx__FunctionProto *
function(struct text *t)
{
	Onnx__FunctionProto *fn = NEW(t, Onnx__FunctionProto, onnx__function_proto__init);
	char *s;

	function_header(t, fn);
	fn->name = text_need_name(t, "the function's name");
	function_attributes(t, fn);
	text_expect(t, '(', "before the function's inputs");
	if (!t->failed && text_peek(t) != ')')
		do {
			s = formal(t);
			PUSH(t, fn, input, s);
		} while (!t->failed && text_take(t, ','));
	text_expect(t, ')', "after the function's inputs");
	if (t->failed || !arrow(t))
		return fn;
	text_expect(t, '(', "before the function's outputs");
	if (!t->failed && text_peek(t) != ')')
		do {
			s = formal(t);
			PUSH(t, fn, output, s);
		} while (!t->failed && text_take(t, ','));
	text_expect(t, ')', "after the function's outputs");
	text_expect(t, '{', "before the nodes");
	while (!t->failed && text_peek(t) && text_peek(t) != '}') {
		Onnx__NodeProto *n = node(t);

		PUSH(t, fn, node, n);
	}
	text_expect(t, '}', "after the nodes");
	return fn;
}

bool
onnx_text_parse(struct onnx_file *f, const char *text, size_t size, struct diag *d)
{
	struct text t = {.f = f,
	    .a = f->own,
	    .d = d,
	    .start = text,
	    .p = text,
	    .end = text + size,
	    .counted = text,
	    .line = 1};
	Onnx__ModelProto *m = NEW(&t, Onnx__ModelProto, onnx__model_proto__init);

	model_header(&t, m);
	if (!t.failed && !m->n_opset_import)
		text_fail(&t, t.p, "the model imports no opset; write  opset_import: [\"\" : 18]");
	if (!t.failed)
		m->graph = graph(&t);
	while (!t.failed && text_peek(&t)) {
		Onnx__FunctionProto *fn = function(&t);

		PUSH(&t, m, functions, fn);
	}
	f->m = m;
	return !t.failed;
}

bool
onnx_text_to_binary(const char *in, const char *out, struct diag *d)
{
	struct arena *a = arena_create();
	struct onnx_file f;
	size_t size;
	void *bytes;
	bool ok = onnx_open(&f, a, in, NULL, d);

	if (ok) {
		bytes = onnx_pack(a, &f.m->base, &size);
		ok = file_write(d, out, bytes, size);
		onnx_close(&f);
	}
	arena_destroy(a);
	return ok;
}
