/* onnx_text -- ONNX's textual syntax to messages (docs/onnx-text.md has the
 * grammar).  Recursive descent over characters; the first mistake ends it, with
 * its line and column.  A tensor that lists one value for many elements is filled
 * with it. */
#include "frontend/onnx.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { NEST_MAX = 32 };
static const int64_t FILL_MAX = (int64_t)1 << 31; /* bytes of one tensor */

struct text {
	struct onnx_file *f;
	struct arena *a;
	struct diag *d;
	const char *start, *p, *end;
	const char *counted; /* lines up to here are in line */
	int line;
	bool failed;
	int nest;
};

/* ---- characters */
static bool fail_at(struct text *t, const char *at, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

static bool
fail_at(struct text *t, const char *at, const char *fmt, ...)
{
	struct loc loc = LOC_FILE(NULL);
	int line = 1, col = 1;
	const char *p;
	va_list ap;

	if (t->failed)
		return false;
	t->failed = true;
	for (p = t->start; p < at; p++) {
		col++;
		if (*p == '\n') {
			line++;
			col = 1;
		}
	}
	loc.file = arena_printf(t->f->keep, "%s:%d:%d", t->f->name, line, col);
	va_start(ap, fmt);
	diag_invalid(t->d, loc, "%s", arena_vprintf(t->a, fmt, ap));
	va_end(ap);
	return false;
}

static void
skip(struct text *t)
{
	while (t->p < t->end) {
		if (isspace((unsigned char)*t->p))
			t->p++;
		else if (*t->p == '#')
			while (t->p < t->end && *t->p != '\n')
				t->p++;
		else
			return;
	}
}

static char
peek(struct text *t)
{
	skip(t);
	return t->p < t->end ? *t->p : 0;
}

static bool
take(struct text *t, char c)
{
	if (t->failed || peek(t) != c)
		return false;
	t->p++;
	return true;
}

static bool
expect(struct text *t, char c, const char *where)
{
	if (take(t, c))
		return true;
	if (t->failed)
		return false;
	if (t->p == t->end)
		return fail_at(t, t->p, "the text ends where '%c' is expected %s", c, where);
	return fail_at(t, t->p, "'%c' is expected %s, not '%c'", c, where, *t->p);
}

static bool
is_word(char c)
{
	return isalnum((unsigned char)c) || c == '_' || c == '.';
}

static bool
at_word(struct text *t)
{
	char c = peek(t);

	return isalpha((unsigned char)c) || c == '_';
}

static char *
string(struct text *t)
{
	struct str s = {0};
	const char *at = t->p;
	char *out;

	if (!take(t, '"'))
		return NULL;
	str_add(&s, "");
	while (t->p < t->end && *t->p != '"') {
		char c = *t->p++;

		if (c == '\\' && t->p < t->end) {
			c = *t->p++;
			c = c == 'n' ? '\n' : c == 't' ? '\t' : c;
		}
		str_addn(&s, &c, 1);
	}
	if (t->p == t->end) {
		str_free(&s);
		fail_at(t, at, "this string does not end");
		return NULL;
	}
	t->p++;
	out = arena_strndup(t->a, s.s ? s.s : "", s.n);
	str_free(&s);
	return out;
}

/* A name: a word, or any text in quotes.  NULL: none here. */
static char *
name(struct text *t)
{
	const char *from;

	if (peek(t) == '"')
		return string(t);
	if (!at_word(t))
		return NULL;
	for (from = t->p; t->p < t->end && is_word(*t->p); t->p++)
		;
	return arena_strndup(t->a, from, (size_t)(t->p - from));
}

static char *
need_name(struct text *t, const char *what)
{
	char *s = t->failed ? NULL : name(t);

	if (s)
		return s;
	fail_at(t, t->p, "%s is expected here", what);
	return arena_strdup(t->a, "");
}

/* ---- numbers */
struct number {
	bool real;
	double f;
	int64_t i;
	const char *at;
};

static bool
number(struct text *t, struct number *v)
{
	char buf[64], *stop;
	size_t n = 0;

	skip(t);
	*v = (struct number){.at = t->p};
	while (
	    t->p < t->end && n + 1 < sizeof buf && (is_word(*t->p) || *t->p == '-' || *t->p == '+'))
		buf[n++] = *t->p++;
	buf[n] = 0;
	if (!n)
		return fail_at(t, t->p, "a number is expected here");
	errno = 0;
	if (strcmp(buf, "true") == 0 || strcmp(buf, "false") == 0) {
		v->i = buf[0] == 't';
		v->f = (double)v->i;
		return true;
	}
	v->i = strtoll(buf, &stop, 10);
	if (*stop == 0 && errno == ERANGE && buf[0] != '-') {
		errno = 0;
		v->i = (int64_t)strtoull(buf, &stop, 10);
	}
	if (*stop == 0 && !errno) {
		v->f = strtod(buf, NULL);
		return true;
	}
	v->real = true;
	v->f = strtod(buf, &stop);
	v->i = fabs(v->f) < 9e18 ? (int64_t)v->f : 0;
	if (*stop == 'f' && !stop[1] && stop != buf)
		stop++;
	if (*stop || stop == buf || strpbrk(buf, "xXpP"))
		return fail_at(t, v->at, "\"%s\" is not a number", buf);
	return true;
}

static int64_t
integer(struct text *t)
{
	struct number v;

	if (!number(t, &v))
		return 0;
	if (v.real)
		fail_at(t, v.at, "a whole number is expected here");
	return v.i;
}

/* ---- types */
static const struct {
	const char *name;
	int onnx;
} types[] = {
    {"float", 1},
    {"uint8", 2},
    {"int8", 3},
    {"uint16", 4},
    {"int16", 5},
    {"int32", 6},
    {"int64", 7},
    {"string", 8},
    {"bool", 9},
    {"float16", 10},
    {"double", 11},
    {"uint32", 12},
    {"uint64", 13},
    {"complex64", 14},
    {"complex128", 15},
    {"bfloat16", 16},
    {"float8e4m3fn", 17},
    {"float8e4m3fnuz", 18},
    {"float8e5m2", 19},
    {"float8e5m2fnuz", 20},
    {"uint4", 21},
    {"int4", 22},
    {"float4e2m1", 23},
    {"float8e8m0", 24},
    {"uint2", 25},
    {"int2", 26},
};
enum { NTYPES = sizeof types / sizeof *types };

static int
type_number(const char *s)
{
	int i;

	for (i = 0; i < NTYPES; i++)
		if (strcmp(types[i].name, s) == 0)
			return types[i].onnx;
	return 0;
}

#define NEW(t, T, init) new_message((t)->a, sizeof(T), (ProtobufCMessageInit)(init))
static void *
new_message(struct arena *a, size_t size, ProtobufCMessageInit init)
{
	void *m = arena_alloc(a, size);

	init(m);
	return m;
}

/* Appends to a protobuf list; lists grow by doubling at powers of two. */
static void *
grow(struct text *t, void *list, size_t n, size_t width)
{
	void *more;

	if (n & (n - 1))
		return list;
	more = arena_alloc(t->a, (n ? 2 * n : 1) * width);
	if (n)
		memcpy(more, list, n * width);
	return more;
}
#define PUSH(t, m, field, x)                                                                       \
	((m)->field = grow((t), (m)->field, (m)->n_##field, sizeof *(m)->field),                   \
	    (m)->field[(m)->n_##field++] = (x))

static Onnx__TensorShapeProto *
shape(struct text *t)
{
	Onnx__TensorShapeProto *s = NEW(t, Onnx__TensorShapeProto, onnx__tensor_shape_proto__init);

	do {
		Onnx__TensorShapeProto__Dimension *d = NEW(t, Onnx__TensorShapeProto__Dimension,
		    onnx__tensor_shape_proto__dimension__init);
		char c = peek(t);

		if (c == '?') {
			t->p++;
		} else if (at_word(t) || c == '"') {
			d->value_case = ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_PARAM;
			d->dim_param = name(t);
		} else {
			d->value_case = ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE;
			d->dim_value = integer(t);
			if (d->dim_value < 0)
				fail_at(t, t->p, "a size cannot be negative");
		}
		PUSH(t, s, dim, d);
	} while (take(t, ','));
	expect(t, ']', "after the sizes");
	return s;
}

static Onnx__TypeProto *type(struct text *);

/* seq(T), optional(T), sparse_tensor(T): read so that the importer can say no. */
static bool
other_type(struct text *t, const char *word_, Onnx__TypeProto *out)
{
	Onnx__TypeProto *inner;

	if (strcmp(word_, "seq") != 0 && strcmp(word_, "optional") != 0)
		return false;
	if (++t->nest > NEST_MAX)
		return fail_at(t, t->p, "types nest deeper than %d", NEST_MAX);
	expect(t, '(', "before the element type");
	inner = type(t);
	expect(t, ')', "after the element type");
	t->nest--;
	if (strcmp(word_, "seq") == 0) {
		out->value_case = ONNX__TYPE_PROTO__VALUE_SEQUENCE_TYPE;
		out->sequence_type =
		    NEW(t, Onnx__TypeProto__Sequence, onnx__type_proto__sequence__init);
		out->sequence_type->elem_type = inner;
	} else {
		out->value_case = ONNX__TYPE_PROTO__VALUE_OPTIONAL_TYPE;
		out->optional_type =
		    NEW(t, Onnx__TypeProto__Optional, onnx__type_proto__optional__init);
		out->optional_type->elem_type = inner;
	}
	return true;
}

/* float[N,3]; float is a scalar, float[] of any rank. */
static Onnx__TypeProto *
type(struct text *t)
{
	Onnx__TypeProto *out = NEW(t, Onnx__TypeProto, onnx__type_proto__init);
	const char *at, *s, *names[NTYPES], *near;
	int i, elem;

	skip(t);
	at = t->p;
	s = need_name(t, "a type, such as float[N,10],");
	if (t->failed || other_type(t, s, out))
		return out;
	elem = type_number(s);
	if (!elem) {
		for (i = 0; i < NTYPES; i++)
			names[i] = types[i].name;
		near = str_nearest(s, names, NTYPES);
		fail_at(t, at, "\"%s\" is not a type%s%s%s", s, near ? "; did you mean \"" : "",
		    near ? near : "", near ? "\"?" : "");
		return out;
	}
	out->value_case = ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE;
	out->tensor_type = NEW(t, Onnx__TypeProto__Tensor, onnx__type_proto__tensor__init);
	out->tensor_type->has_elem_type = 1;
	out->tensor_type->elem_type = elem;
	if (!take(t, '['))
		out->tensor_type->shape =
		    NEW(t, Onnx__TensorShapeProto, onnx__tensor_shape_proto__init);
	else if (!take(t, ']'))
		out->tensor_type->shape = shape(t);
	return out;
}

/* ---- tensors */
static void
put(struct text *t, enum dtype dtype, void *data, int64_t i, const struct number *v)
{
	if (dtype_is_float(dtype)) {
		dtype_put_f(dtype, data, i, v->f);
		return;
	}
	if (v->real)
		fail_at(t, v->at, "a whole number is expected in a tensor of %s",
		    dtype_info[dtype].name);
	dtype_put_i(dtype, data, i, v->i);
	if (dtype != DT_u64 && dtype_get_i(dtype, data, i) != v->i)
		fail_at(
		    t, v->at, "%lld does not fit in %s", (long long)v->i, dtype_info[dtype].name);
}

static void
tensor_strings(struct text *t, Onnx__TensorProto *p, int64_t count)
{
	const char *at = t->p;

	while (!t->failed && peek(t) == '"') {
		char *s = string(t);
		ProtobufCBinaryData b = {s ? strlen(s) : 0, (uint8_t *)s};

		PUSH(t, p, string_data, b);
		if (!take(t, ','))
			break;
	}
	expect(t, '}', "after the strings");
	if ((int64_t)p->n_string_data != count)
		fail_at(t, at, "%zu strings are given, the shape needs %lld", p->n_string_data,
		    (long long)count);
}

static void
tensor_numbers(struct text *t, Onnx__TensorProto *p, enum dtype dtype, int64_t count)
{
	const char *at = t->p;
	VEC(struct number) v = {0};
	struct number x;
	int64_t i, parts = dtype_info[dtype].class == DC_COMPLEX ? 2 * count : count;

	while (!t->failed && peek(t) != '}' && number(t, &x)) {
		vec_push(t->a, &v, x);
		if (!take(t, ','))
			break;
	}
	expect(t, '}', "after the numbers");
	if (t->failed)
		return;
	if (v.n != parts && !(v.n == 1 && dtype_info[dtype].class != DC_COMPLEX)) {
		fail_at(t, at, "%d number%s given, the shape needs %lld", v.n,
		    v.n == 1 ? " is" : "s are", (long long)parts);
		return;
	}
	p->has_raw_data = 1;
	p->raw_data.len = dtype_bytes(dtype, count);
	p->raw_data.data = arena_alloc(t->a, p->raw_data.len + 1);
	if (dtype_info[dtype].class == DC_COMPLEX)
		dtype = dtype == DT_c64 ? DT_f32 : DT_f64;
	for (i = 0; i < parts && !t->failed; i++)
		put(t, dtype, p->raw_data.data, i, &v.v[v.n == 1 ? 0 : i]);
}

/* ["location": "weights.bin", "offset": "0"] */
static void
tensor_external(struct text *t, Onnx__TensorProto *p)
{
	do {
		Onnx__StringStringEntryProto *e =
		    NEW(t, Onnx__StringStringEntryProto, onnx__string_string_entry_proto__init);

		e->key = need_name(t, "a key of external data");
		expect(t, ':', "after the key");
		e->value = string(t);
		if (!e->value)
			fail_at(t, t->p, "a value in quotes is expected here");
		PUSH(t, p, external_data, e);
	} while (take(t, ','));
	expect(t, ']', "after external data");
	p->has_data_location = 1;
	p->data_location = ONNX__TENSOR_PROTO__DATA_LOCATION__EXTERNAL;
}

/* After the type: {numbers}, {strings} or [external data]. */
static Onnx__TensorProto *
tensor(struct text *t, const Onnx__TypeProto *ty, const char *at)
{
	Onnx__TensorProto *p = NEW(t, Onnx__TensorProto, onnx__tensor_proto__init);
	const Onnx__TensorShapeProto *s;
	int64_t dims[MAX_RANK], count;
	enum dtype dtype;
	size_t i;

	if (t->failed)
		return p;
	if (ty->value_case != ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE ||
	    !(s = ty->tensor_type->shape)) {
		fail_at(t, at, "a tensor with a shape is needed to hold values");
		return p;
	}
	p->has_data_type = 1;
	p->data_type = ty->tensor_type->elem_type;
	dtype = dtype_from_onnx(p->data_type);
	if (s->n_dim > MAX_RANK)
		fail_at(t, at, "%zu axes, at most %d are supported", s->n_dim, MAX_RANK);
	for (i = 0; i < s->n_dim && !t->failed; i++) {
		if (s->dim[i]->value_case != ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE)
			fail_at(t, at, "the size of axis %zu must be a number to hold values", i);
		dims[i] = s->dim[i]->dim_value;
		PUSH(t, p, dims, dims[i]);
	}
	if (t->failed)
		return p;
	count = dims_count((int)s->n_dim, dims);
	if (count < 0 || count > FILL_MAX / ((dtype_info[dtype].bits + 7) / 8)) {
		fail_at(t, at, "a tensor of more than 2 GB does not fit in a file");
		return p;
	}
	if (take(t, '['))
		tensor_external(t, p);
	else if (expect(t, '{', "before the values") && dtype == DT_str)
		tensor_strings(t, p, count);
	else if (!t->failed)
		tensor_numbers(t, p, dtype, count);
	return p;
}

/* ---- attributes */
static Onnx__GraphProto *graph(struct text *);

/* in the order of the format's enumerators */
static const char *const kinds[] = {"", "float", "int", "string", "tensor", "graph", "floats",
    "ints", "strings", "tensors", "graphs", "sparse_tensor", "sparse_tensors", "type_proto",
    "type_protos"};

static void
attr_bytes(struct text *t, ProtobufCBinaryData *b)
{
	char *s = string(t);

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

	if (peek(t) == '"') {
		a->type = ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__STRINGS;
		do {
			ProtobufCBinaryData b = {0};

			attr_bytes(t, &b);
			PUSH(t, a, strings, b);
		} while (take(t, ','));
	} else if (peek(t) != ']') {
		do {
			if (!number(t, &x))
				return;
			real |= x.real;
			vec_push(t->a, &v, x);
		} while (take(t, ','));
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
		fail_at(t, t->p, "an empty list needs its type, as in  axes : ints = []");
	}
	expect(t, ']', "after the list");
}

static void
attr_word(struct text *t, Onnx__AttributeProto *a)
{
	const char *at = t->p;
	char *s = name(t);
	struct number v;

	if (s && type_number(s) && (peek(t) == '[' || peek(t) == '{')) {
		t->p = at;
		a->type = ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__TENSOR;
		a->t = tensor(t, type(t), at);
		return;
	}
	t->p = at;
	if (strcmp(s, "inf") == 0 || strcmp(s, "nan") == 0 || strcmp(s, "infinity") == 0) {
		number(t, &v);
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

	if (!number(t, &v))
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

	a->name = need_name(t, "the name of an attribute");
	if (take(t, ':')) {
		char *kind = need_name(t, "the type of the attribute");

		for (i = 1; i < (int)(sizeof kinds / sizeof *kinds) && strcmp(kinds[i], kind) != 0;
		    i++)
			;
		if (i < (int)(sizeof kinds / sizeof *kinds))
			wanted = i;
		else
			fail_at(t, t->p, "\"%s\" is not a type of attribute", kind);
	}
	expect(t, '=', "after the attribute's name");
	if (t->failed)
		return a;
	a->has_type = 1;
	skip(t);
	at = t->p;
	if (take(t, '@')) {
		a->ref_attr_name = need_name(t, "the name of an attribute of the function");
		a->type = (Onnx__AttributeProto__AttributeType)wanted;
		return a;
	}
	if (take(t, '['))
		attr_list(t, a, wanted);
	else if (peek(t) == '"') {
		a->type = ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__STRING;
		a->has_s = 1;
		attr_bytes(t, &a->s);
	} else if (at_word(t))
		attr_word(t, a);
	else
		attr_number(t, a, wanted);
	if (!t->failed && wanted && (int)a->type != wanted)
		fail_at(t, at, "attribute \"%s\" must be %s %s", a->name, wanted == 2 ? "an" : "a",
		    kinds[wanted]);
	return a;
}

/* ---- nodes */
static void
attributes(struct text *t, Onnx__NodeProto *n)
{
	if (!take(t, '<'))
		return;
	if (peek(t) != '>')
		do {
			Onnx__AttributeProto *a = attribute(t);

			PUSH(t, n, attribute, a);
		} while (!t->failed && take(t, ','));
	expect(t, '>', "after the attributes");
}

/* com.x.Foo: domain com.x, operator Foo; Foo:v2 is an overload of a function. */
static void
operator_name(struct text *t, Onnx__NodeProto *n)
{
	char *s = need_name(t, "an operator"), *dot = strrchr(s, '.');

	n->op_type = dot ? dot + 1 : s;
	if (dot) {
		*dot = 0;
		n->domain = s;
	}
	if (take(t, ':'))
		n->overload = need_name(t, "the overload's name");
}

static Onnx__NodeProto *
node(struct text *t)
{
	struct onnx_text_node *tn = arena_new(t->a, struct onnx_text_node);
	Onnx__NodeProto *n = &tn->node;
	char *s;

	onnx__node_proto__init(n);
	skip(t);
	for (; t->counted < t->p; t->counted++)
		t->line += *t->counted == '\n';
	tn->line = t->line;
	if (take(t, '[')) {
		n->name = need_name(t, "the node's name");
		expect(t, ']', "after the node's name");
	}
	do {
		s = name(t);
		if (!s)
			s = arena_strdup(t->a, "");
		PUSH(t, n, output, s);
	} while (!t->failed && take(t, ','));
	expect(t, '=', "after the outputs of a node");
	operator_name(t, n);
	attributes(t, n);
	expect(t, '(', "before the inputs of a node");
	if (!t->failed && peek(t) != ')')
		do {
			s = name(t);
			if (!s)
				s = arena_strdup(t->a, "");
			PUSH(t, n, input, s);
		} while (!t->failed && take(t, ','));
	expect(t, ')', "after the inputs of a node");
	attributes(t, n);
	take(t, ';');
	return n;
}

/* ---- graphs */
/* A typed name; with "= values" it is an initializer of g as well. */
static Onnx__ValueInfoProto *
value_info(struct text *t, Onnx__GraphProto *g, bool *init)
{
	Onnx__ValueInfoProto *v = NEW(t, Onnx__ValueInfoProto, onnx__value_info_proto__init);
	const char *at;

	skip(t);
	at = t->p;
	v->type = type(t);
	v->name = need_name(t, "a name");
	*init = g && take(t, '=');
	if (*init) {
		Onnx__TensorProto *p = tensor(t, v->type, at);

		p->name = v->name;
		PUSH(t, g, initializer, p);
	}
	return v;
}

static bool
arrow(struct text *t)
{
	if (take(t, '=') && t->p < t->end && *t->p == '>') {
		t->p++;
		return true;
	}
	return fail_at(t, t->p, "\"=>\" is expected between inputs and outputs");
}

static Onnx__GraphProto *
graph(struct text *t)
{
	Onnx__GraphProto *g = NEW(t, Onnx__GraphProto, onnx__graph_proto__init);
	Onnx__ValueInfoProto *v;
	bool init;

	if (++t->nest > NEST_MAX) {
		fail_at(t, t->p, "graphs nest deeper than %d", NEST_MAX);
		return g;
	}
	g->name = peek(t) == '(' ? arena_strdup(t->a, "graph") : need_name(t, "the graph's name");
	expect(t, '(', "before the graph's inputs");
	if (!t->failed && peek(t) != ')')
		do {
			v = value_info(t, g, &init);
			PUSH(t, g, input, v);
		} while (!t->failed && take(t, ','));
	expect(t, ')', "after the graph's inputs");
	if (t->failed || !arrow(t))
		return g;
	expect(t, '(', "before the graph's outputs");
	if (!t->failed && peek(t) != ')')
		do {
			v = value_info(t, NULL, &init);
			PUSH(t, g, output, v);
		} while (!t->failed && take(t, ','));
	expect(t, ')', "after the graph's outputs");
	if (take(t, '<')) {
		if (peek(t) != '>')
			do {
				v = value_info(t, g, &init);
				if (!init)
					PUSH(t, g, value_info, v);
			} while (!t->failed && take(t, ','));
		expect(t, '>', "after the initializers");
	}
	expect(t, '{', "before the nodes");
	while (!t->failed && peek(t) && peek(t) != '}') {
		Onnx__NodeProto *n = node(t);

		PUSH(t, g, node, n);
	}
	expect(t, '}', "after the nodes");
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

	expect(t, '[', "before the opsets");
	do {
		Onnx__OperatorSetIdProto *o =
		    NEW(t, Onnx__OperatorSetIdProto, onnx__operator_set_id_proto__init);

		o->domain = string(t);
		if (!o->domain)
			fail_at(t, t->p, "a domain in quotes is expected here, as in  [\"\" : 18]");
		expect(t, ':', "after the domain");
		o->has_version = 1;
		o->version = integer(t);
		PUSH(t, &m, v, o);
	} while (!t->failed && take(t, ','));
	expect(t, ']', "after the opsets");
	*n = m.n_v;
	*list = m.v;
}

static void
metadata(struct text *t, Onnx__ModelProto *m)
{
	expect(t, '[', "before the metadata");
	if (peek(t) != ']')
		do {
			Onnx__StringStringEntryProto *e = NEW(
			    t, Onnx__StringStringEntryProto, onnx__string_string_entry_proto__init);

			e->key = need_name(t, "a key");
			expect(t, ':', "after the key");
			e->value = string(t);
			PUSH(t, m, metadata_props, e);
		} while (!t->failed && take(t, ','));
	expect(t, ']', "after the metadata");
}

static char *
need_string(struct text *t)
{
	char *s = peek(t) == '"' ? string(t) : NULL;

	if (!s)
		fail_at(t, t->p, "text in quotes is expected here");
	return s;
}

static void
model_header(struct text *t, Onnx__ModelProto *m)
{
	static const char *const keys[] = {"ir_version", "opset_import", "producer_name",
	    "producer_version", "domain", "model_version", "doc_string", "metadata_props"};
	const char *at, *near;
	char *key;

	expect(t, '<', "to begin a model, as in  <ir_version: 8, opset_import: [\"\" : 18]>");
	do {
		skip(t);
		at = t->p;
		key = need_name(t, "a property of the model");
		expect(t, ':', "after the property's name");
		if (t->failed)
			return;
		if (strcmp(key, keys[0]) == 0) {
			m->has_ir_version = 1;
			m->ir_version = integer(t);
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
			m->model_version = integer(t);
		} else if (strcmp(key, keys[6]) == 0) {
			m->doc_string = need_string(t);
		} else if (strcmp(key, keys[7]) == 0) {
			metadata(t, m);
		} else {
			near = str_nearest(key, keys, 8);
			fail_at(t, at, "a model has no property \"%s\"%s%s%s", key,
			    near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : "");
		}
	} while (!t->failed && take(t, ','));
	expect(t, '>', "after the model's properties");
}

/* <alpha, beta : float = 1.0>: attributes that calls may give, and defaults */
static void
function_attributes(struct text *t, Onnx__FunctionProto *fn)
{
	if (!take(t, '<'))
		return;
	do {
		const char *at;
		char *s;

		skip(t);
		at = t->p;
		s = need_name(t, "the name of an attribute");
		if (peek(t) == ':' || peek(t) == '=') {
			Onnx__AttributeProto *a;

			t->p = at;
			a = attribute(t);
			PUSH(t, fn, attribute_proto, a);
		} else {
			PUSH(t, fn, attribute, s);
		}
	} while (!t->failed && take(t, ','));
	expect(t, '>', "after the function's attributes");
}

/* Formal inputs and outputs: a name, perhaps with a type before it. */
static char *
formal(struct text *t)
{
	char *s = need_name(t, "a name");

	if (t->failed || (peek(t) != '[' && !at_word(t)) || !type_number(s))
		return s;
	if (take(t, '[') && !take(t, ']'))
		shape(t);
	return need_name(t, "a name");
}

static void
function_header(struct text *t, Onnx__FunctionProto *fn)
{
	char *key;

	if (!take(t, '<'))
		return;
	do {
		key = need_name(t, "a property of the function");
		expect(t, ':', "after the property's name");
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
			fail_at(t, t->p, "a function has no property \"%s\"", key);
	} while (!t->failed && take(t, ','));
	expect(t, '>', "after the function's properties");
}

static Onnx__FunctionProto *
function(struct text *t)
{
	Onnx__FunctionProto *fn = NEW(t, Onnx__FunctionProto, onnx__function_proto__init);
	char *s;

	function_header(t, fn);
	fn->name = need_name(t, "the function's name");
	function_attributes(t, fn);
	expect(t, '(', "before the function's inputs");
	if (!t->failed && peek(t) != ')')
		do {
			s = formal(t);
			PUSH(t, fn, input, s);
		} while (!t->failed && take(t, ','));
	expect(t, ')', "after the function's inputs");
	if (t->failed || !arrow(t))
		return fn;
	expect(t, '(', "before the function's outputs");
	if (!t->failed && peek(t) != ')')
		do {
			s = formal(t);
			PUSH(t, fn, output, s);
		} while (!t->failed && take(t, ','));
	expect(t, ')', "after the function's outputs");
	expect(t, '{', "before the nodes");
	while (!t->failed && peek(t) && peek(t) != '}') {
		Onnx__NodeProto *n = node(t);

		PUSH(t, fn, node, n);
	}
	expect(t, '}', "after the nodes");
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
		fail_at(&t, t.p, "the model imports no opset; write  opset_import: [\"\" : 18]");
	if (!t.failed)
		m->graph = graph(&t);
	while (!t.failed && peek(&t)) {
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
