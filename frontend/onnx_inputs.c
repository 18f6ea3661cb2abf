/* onnx_inputs -- the graph's inputs with their sizes: from the options, from the
 * tensors at hand, from the symbols the file shares between them. */
#include "frontend/onnx_import.h"

#include <stdlib.h>

struct dims_in {
	struct import *im;
	struct map *given; /* symbol -> size + 1, from the shapes of inputs */
	struct map *noted; /* symbols met */
	VEC(const char *) symbols;
	bool chosen;         /* the sizes that become symbols are known */
	int64_t size[MAX_RANK];
	int nsize;
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
tensor_type(const Onnx__TypeProto *t)
{
	return t && t->value_case == ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE ? t->tensor_type : NULL;
}

/* A given size of a symbolic axis holds wherever the symbol stands. */
static bool
learn_symbols(struct dims_in *di, const Onnx__ValueInfoProto *v)
{
	const Onnx__TypeProto__Tensor *t = tensor_type(v->type);
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
		if (before && before - 1 != size && i == 0 && di->im->opts->own_batches)
			continue;
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

/* An input with its value given is a constant of the graph.  Writers whose arrays know
 * no bfloat16 hold its bits as u16. */
static struct value *
bound_input(struct import *im, struct loc loc, const struct tensor *t, int elem)
{
	if (elem == dtype_info[DT_bf16].onnx && t->dtype == DT_u16) {
		struct tensor *bits = arena_dup(im->g->arena, t, sizeof *t);

		bits->dtype = DT_bf16;
		t = bits;
	}
	if (elem != dtype_info[t->dtype].onnx) {
		diag_invalid(im->d, loc, "takes element type %s, the given value is %s",
		    dtype_info[dtype_from_onnx(elem)].name, dtype_info[t->dtype].name);
		return NULL;
	}
	return graph_const(im->g, loc.name, t);
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

/* opts->symbolic: sizes into symbols. */
static void
make_symbolic(struct dims_in *di, int rank, int64_t *dims)
{
	int k;

	for (int i = 0; !di->chosen && i < rank; i++)
		if (dim_const(dims[i]) && dims[i] > 1 &&
		    (di->im->opts->symbolic != SIZES_OUTER || di->nsize == 0))
			di->size[di->nsize++] = dims[i];
	di->chosen |= rank > 0;
	for (int i = 0; i < rank; i++) {
		if (!dim_const(dims[i]) || dims[i] < 2 || dims[i] > INT32_MAX)
			continue;
		for (k = 0; k < di->nsize && di->size[k] != dims[i]; k++)
			;
		if (k < di->nsize || di->im->opts->symbolic == SIZES_ALL)
			dims[i] = dim_symbol(di->im->g, arena_printf(di->im->f.own, "s%lld", (long long)dims[i]), 1,
			    2 * dims[i]);
	}
}

static struct value *
bad_input(bool reported)
{
	(void)reported;
	return NULL;
}

static struct value *
tensor_input(struct dims_in *di, const char *name, const Onnx__TypeProto *type)
{
	struct import *im = di->im;
	const Onnx__TypeProto__Tensor *t = tensor_type(type);
	const struct input_shape *given = shape_given(im, name);
	struct loc loc = LOC_FILE(arena_strdup(im->g->arena, im->f.name));
	int64_t dims[MAX_RANK];
	enum dtype dtype;
	struct value *x;
	size_t i, rank;

	loc.name = intern(im->g->names, name);
	loc.op = "input";
	if (!t && type && type->value_case)
		return bad_input(diag_unsupported(im->d, loc, "is a map or sparse tensor"));
	if (!t)
		return bad_input(diag_invalid(im->d, loc, "has no type"));
	dtype = dtype_from_onnx(t->elem_type);
	if (dtype == DT_none)
		return bad_input(diag_invalid(
		    im->d, loc, "has element type %d, which is not one of ONNX", t->elem_type));
	if (value_given(im, name))
		return bound_input(im, loc, value_given(im, name), t->elem_type);
	if (!t->shape && !given)
		return bad_input(diag_unsupported(im->d, loc,
		    "has no shape in the file; give it with --dim %s:0=1 and so on", name));
	rank = t->shape ? t->shape->n_dim : (size_t)given->rank;
	if (rank > MAX_RANK)
		return bad_input(diag_unsupported(
		    im->d, loc, "has %zu axes, at most %d are supported", rank, MAX_RANK));
	for (i = 0; i < rank; i++) {
		const Onnx__TensorShapeProto__Dimension *dim = t->shape ? t->shape->dim[i] : NULL;
		int64_t size = given_dim(given, (int)i);

		/* old exporters write -1 where they do not know */
		if (dim && dim->value_case == ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE &&
		    dim->dim_value < -1)
			return bad_input(diag_invalid(im->d, loc, "axis %zu has size %lld: sizes are not negative",
			    i, (long long)dim->dim_value));
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
			dims[i] = symbol_size(di, arena_printf(im->f.own, "%s_%zu", name, i));
		}
	}
	if (im->opts->symbolic)
		make_symbolic(di, (int)rank, dims);
	for (i = 0; i < rank && dim_const(dims[i]); i++)
		;
	if (i == rank && dims_count((int)rank, dims) < 0)
		return bad_input(diag_invalid(im->d, loc, "the product of its sizes overflows"));
	x = graph_input(im->g, loc.name, dtype, (int)rank, dims);
	x->loc = loc;
	return x;
}

/* ---- sequences and optionals: their elements are inputs of their own */
/* "x.3" is element 3 of x: its index; -1 for other names. */
static int
element_index(const char *name, const char *list)
{
	size_t n = strlen(list);
	long k;
	char *end;

	if (strncmp(name, list, n) != 0 || name[n] != '.' || name[n + 1] < '0' || name[n + 1] > '9')
		return -1;
	k = strtol(name + n + 1, &end, 10);
	return (*end && *end != '.') || k >= ONNX_LIST_MAX ? -1 : (int)k;
}

/* How many elements the list has; -1: nothing says so. */
static int
list_count(struct dims_in *di, const char *name)
{
	const struct import_opts *o = di->im->opts;
	int i, k, n = -1;

	for (i = 0; i < o->nlists; i++)
		if (strcmp(o->lists[i].input, name) == 0)
			return o->lists[i].count;
	for (i = 0; i < o->ndims; i++)
		if (strcmp(o->dims[i].name, name) == 0 && o->dims[i].lo == o->dims[i].hi) {
			map_put(di->noted, name, di);
			return o->dims[i].lo < ONNX_LIST_MAX ? (int)o->dims[i].lo : ONNX_LIST_MAX;
		}
	for (i = 0; i < o->nshapes; i++)
		if ((k = element_index(o->shapes[i].input, name)) >= n)
			n = k + 1 > 0 ? k + 1 : n;
	for (i = 0; i < o->nvalues; i++)
		if ((k = element_index(o->values[i].input, name)) >= n)
			n = k + 1 > 0 ? k + 1 : n;
	return n;
}

static bool
content_given(const struct import *im, const char *name)
{
	return shape_given(im, name) || value_given(im, name);
}

static struct item *
input_item(struct dims_in *di, const char *name, const Onnx__TypeProto *t, int depth)
{
	struct import *im = di->im;
	struct loc loc = LOC_FILE(im->f.name);
	const Onnx__TypeProto *inner;
	struct item *it, *one;
	struct value *v;
	int i, n;
	bool seq = t && t->value_case == ONNX__TYPE_PROTO__VALUE_SEQUENCE_TYPE;

	if (!seq && !(t && t->value_case == ONNX__TYPE_PROTO__VALUE_OPTIONAL_TYPE)) {
		v = tensor_input(di, name, t);
		if (v)
			map_put(im->g->by_name, v->name, v);
		return v ? item_tensor(im, v) : NULL;
	}
	loc.name = name;
	loc.op = "input";
	if (depth > ONNX_DEPTH) {
		diag_invalid(im->d, loc, "its type nests deeper than %d", ONNX_DEPTH);
		return NULL;
	}
	inner = seq ? t->sequence_type->elem_type : t->optional_type->elem_type;
	n = list_count(di, name);
	if (!seq) {
		it = item_list(im, ITEM_OPT);
		if (n < 0 && !content_given(im, name))
			return it;
		if (n == 0 && tensor_type(inner))
			return it;
		one = input_item(di, name, inner, depth + 1);
		if (!one)
			return NULL;
		item_push(im, it, one);
		return it;
	}
	it = item_list(im, ITEM_SEQ);
	if (n < 0) {
		diag_unsupported(im->d, loc,
		    "is a sequence of unknown length; --dim %s=3 gives it three elements, inputs "
		    "\"%s.0\" and so on",
		    name, name);
		return NULL;
	}
	for (i = 0; i < n; i++) {
		one = input_item(di, intern(im->g->names, arena_printf(im->f.own, "%s.%d", name, i)),
		    inner, depth + 1);
		if (!one)
			return NULL;
		item_push(im, it, one);
	}
	return it;
}

static bool
import_input(struct dims_in *di, struct scope *s, const Onnx__ValueInfoProto *v)
{
	struct item *it = input_item(di, v->name, v->type, 0);
	struct bind *bad;

	if (!it) {
		bad = arena_new(di->im->f.own, struct bind);
		bad->name = v->name;
		bad->bad = true;
		map_put(s->names, v->name, bad);
		return false;
	}
	import_bind_item(di->im, s, v->name, it);
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

bool
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
