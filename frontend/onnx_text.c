/* onnx_text -- ONNX's textual syntax to messages (docs/onnx-text.md has the
 * grammar).  Recursive descent over characters; the first mistake ends it, with
 * its line and column.  A tensor that lists one value for many elements is filled
 * with it. */
#include "frontend/onnx_text.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const int64_t FILL_MAX = (int64_t)1 << 31; /* bytes of one tensor */

/* ---- characters */
bool
text_fail(struct text *t, const char *at, const char *fmt, ...)
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

void
text_skip(struct text *t)
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

char
text_peek(struct text *t)
{
	text_skip(t);
	return t->p < t->end ? *t->p : 0;
}

bool
text_take(struct text *t, char c)
{
	if (t->failed || text_peek(t) != c)
		return false;
	t->p++;
	return true;
}

bool
text_expect(struct text *t, char c, const char *where)
{
	if (text_take(t, c))
		return true;
	if (t->failed)
		return false;
	if (t->p == t->end)
		return text_fail(t, t->p, "the text ends where '%c' is expected %s", c, where);
	return text_fail(t, t->p, "'%c' is expected %s, not '%c'", c, where, *t->p);
}

static bool
is_word(char c)
{
	return isalnum((unsigned char)c) || c == '_' || c == '.';
}

bool
text_at_word(struct text *t)
{
	char c = text_peek(t);

	return isalpha((unsigned char)c) || c == '_';
}

char *
text_string(struct text *t)
{
	struct str s = {0};
	const char *at = t->p;
	char *out;

	if (!text_take(t, '"'))
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
		text_fail(t, at, "this string does not end");
		return NULL;
	}
	t->p++;
	out = arena_strndup(t->a, s.s ? s.s : "", s.n);
	str_free(&s);
	return out;
}

/* A name: a word, or any text in quotes.  NULL: none here. */
char *
text_name(struct text *t)
{
	const char *from;

	if (text_peek(t) == '"')
		return text_string(t);
	if (!text_at_word(t))
		return NULL;
	for (from = t->p; t->p < t->end && is_word(*t->p); t->p++)
		;
	return arena_strndup(t->a, from, (size_t)(t->p - from));
}

char *
text_need_name(struct text *t, const char *what)
{
	char *s = t->failed ? NULL : text_name(t);

	if (s)
		return s;
	text_fail(t, t->p, "%s is expected here", what);
	return arena_strdup(t->a, "");
}

/* ---- numbers */
bool
text_number(struct text *t, struct number *v)
{
	char buf[64], *stop;
	size_t n = 0;

	text_skip(t);
	*v = (struct number){.at = t->p};
	while (
	    t->p < t->end && n + 1 < sizeof buf && (is_word(*t->p) || *t->p == '-' || *t->p == '+'))
		buf[n++] = *t->p++;
	buf[n] = 0;
	if (!n)
		return text_fail(t, t->p, "a number is expected here");
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
		return text_fail(t, v->at, "\"%s\" is not a number", buf);
	return true;
}

int64_t
text_integer(struct text *t)
{
	struct number v;

	if (!text_number(t, &v))
		return 0;
	if (v.real)
		text_fail(t, v.at, "a whole number is expected here");
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

int
text_type_number(const char *s)
{
	int i;

	for (i = 0; i < NTYPES; i++)
		if (strcmp(types[i].name, s) == 0)
			return types[i].onnx;
	return 0;
}

void *
text_message(struct arena *a, size_t size, ProtobufCMessageInit init)
{
	void *m = arena_alloc(a, size);

	init(m);
	return m;
}

/* Appends to a protobuf list; lists grow by doubling at powers of two. */
void *
text_grow(struct text *t, void *list, size_t n, size_t width)
{
	void *more;

	if (n & (n - 1))
		return list;
	more = arena_alloc(t->a, (n ? 2 * n : 1) * width);
	if (n)
		memcpy(more, list, n * width);
	return more;
}

Onnx__TensorShapeProto *
text_shape(struct text *t)
{
	Onnx__TensorShapeProto *s = NEW(t, Onnx__TensorShapeProto, onnx__tensor_shape_proto__init);

	do {
		Onnx__TensorShapeProto__Dimension *d = NEW(t, Onnx__TensorShapeProto__Dimension,
		    onnx__tensor_shape_proto__dimension__init);
		char c = text_peek(t);

		if (c == '?') {
			t->p++;
		} else if (text_at_word(t) || c == '"') {
			d->value_case = ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_PARAM;
			d->dim_param = text_name(t);
		} else {
			d->value_case = ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE;
			d->dim_value = text_integer(t);
			if (d->dim_value < 0)
				text_fail(t, t->p, "a size cannot be negative");
		}
		PUSH(t, s, dim, d);
	} while (text_take(t, ','));
	text_expect(t, ']', "after the sizes");
	return s;
}

/* seq(T), optional(T), sparse_tensor(T): read so that the importer can say no. */
static bool
other_type(struct text *t, const char *word_, Onnx__TypeProto *out)
{
	Onnx__TypeProto *inner;

	if (strcmp(word_, "seq") != 0 && strcmp(word_, "optional") != 0)
		return false;
	if (++t->nest > NEST_MAX)
		return text_fail(t, t->p, "types nest deeper than %d", NEST_MAX);
	text_expect(t, '(', "before the element type");
	inner = text_type(t);
	text_expect(t, ')', "after the element type");
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
Onnx__TypeProto *
text_type(struct text *t)
{
	Onnx__TypeProto *out = NEW(t, Onnx__TypeProto, onnx__type_proto__init);
	const char *at, *s, *names[NTYPES], *near;
	int i, elem;

	text_skip(t);
	at = t->p;
	s = text_need_name(t, "a type, such as float[N,10],");
	if (t->failed || other_type(t, s, out))
		return out;
	elem = text_type_number(s);
	if (!elem) {
		for (i = 0; i < NTYPES; i++)
			names[i] = types[i].name;
		near = str_nearest(s, names, NTYPES);
		text_fail(t, at, "\"%s\" is not a type%s%s%s", s, near ? "; did you mean \"" : "",
		    near ? near : "", near ? "\"?" : "");
		return out;
	}
	out->value_case = ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE;
	out->tensor_type = NEW(t, Onnx__TypeProto__Tensor, onnx__type_proto__tensor__init);
	out->tensor_type->has_elem_type = 1;
	out->tensor_type->elem_type = elem;
	if (!text_take(t, '['))
		out->tensor_type->shape =
		    NEW(t, Onnx__TensorShapeProto, onnx__tensor_shape_proto__init);
	else if (!text_take(t, ']'))
		out->tensor_type->shape = text_shape(t);
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
		text_fail(t, v->at, "a whole number is expected in a tensor of %s",
		    dtype_info[dtype].name);
	dtype_put_i(dtype, data, i, v->i);
	if (dtype != DT_u64 && dtype_get_i(dtype, data, i) != v->i)
		text_fail(
		    t, v->at, "%lld does not fit in %s", (long long)v->i, dtype_info[dtype].name);
}

static void
tensor_strings(struct text *t, Onnx__TensorProto *p, int64_t count)
{
	const char *at = t->p;

	while (!t->failed && text_peek(t) == '"') {
		char *s = text_string(t);
		ProtobufCBinaryData b = {s ? strlen(s) : 0, (uint8_t *)s};

		PUSH(t, p, string_data, b);
		if (!text_take(t, ','))
			break;
	}
	text_expect(t, '}', "after the strings");
	if ((int64_t)p->n_string_data != count)
		text_fail(t, at, "%zu strings are given, the shape needs %lld", p->n_string_data,
		    (long long)count);
}

static void
tensor_numbers(struct text *t, Onnx__TensorProto *p, enum dtype dtype, int64_t count)
{
	const char *at = t->p;
	VEC(struct number) v = {0};
	struct number x;
	int64_t i, parts = dtype_info[dtype].class == DC_COMPLEX ? 2 * count : count;

	while (!t->failed && text_peek(t) != '}' && text_number(t, &x)) {
		vec_push(t->a, &v, x);
		if (!text_take(t, ','))
			break;
	}
	text_expect(t, '}', "after the numbers");
	if (t->failed)
		return;
	if (v.n != parts && !(v.n == 1 && dtype_info[dtype].class != DC_COMPLEX)) {
		text_fail(t, at, "%d number%s given, the shape needs %lld", v.n,
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

		e->key = text_need_name(t, "a key of external data");
		text_expect(t, ':', "after the key");
		e->value = text_string(t);
		if (!e->value)
			text_fail(t, t->p, "a value in quotes is expected here");
		PUSH(t, p, external_data, e);
	} while (text_take(t, ','));
	text_expect(t, ']', "after external data");
	p->has_data_location = 1;
	p->data_location = ONNX__TENSOR_PROTO__DATA_LOCATION__EXTERNAL;
}

/* After the type: {numbers}, {strings} or [external data]. */
Onnx__TensorProto *
text_tensor(struct text *t, const Onnx__TypeProto *ty, const char *at)
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
		text_fail(t, at, "a tensor with a shape is needed to hold values");
		return p;
	}
	p->has_data_type = 1;
	p->data_type = ty->tensor_type->elem_type;
	dtype = dtype_from_onnx(p->data_type);
	if (s->n_dim > MAX_RANK)
		text_fail(t, at, "%zu axes, at most %d are supported", s->n_dim, MAX_RANK);
	for (i = 0; i < s->n_dim && !t->failed; i++) {
		if (s->dim[i]->value_case != ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE)
			text_fail(t, at, "the size of axis %zu must be a number to hold values", i);
		dims[i] = s->dim[i]->dim_value;
		PUSH(t, p, dims, dims[i]);
	}
	if (t->failed)
		return p;
	count = dims_count((int)s->n_dim, dims);
	if (count < 0 || count > FILL_MAX / ((dtype_info[dtype].bits + 7) / 8)) {
		text_fail(t, at, "a tensor of more than 2 GB does not fit in a file");
		return p;
	}
	if (text_take(t, '['))
		tensor_external(t, p);
	else if (text_expect(t, '{', "before the values") && dtype == DT_str)
		tensor_strings(t, p, count);
	else if (!t->failed)
		tensor_numbers(t, p, dtype, count);
	return p;
}
