/* onnx_upgrade -- old forms of operators to the newest, the only one that rows of
 * ir/ops.def know.  One table: operator, the version that changed it, how a node
 * from before that version is rewritten.  Rows apply in order. */
#include "frontend/onnx.h"

#include <math.h>
#include <string.h>

struct attr *
onnx_attr(struct onnx_node *n, const char *name)
{
	int i;

	for (i = 0; i < n->attrs.n; i++)
		if (n->attrs.v[i].name && strcmp(n->attrs.v[i].name, name) == 0)
			return &n->attrs.v[i];
	return NULL;
}

static void
drop(struct onnx_node *n, const char *name)
{
	struct attr *a = onnx_attr(n, name);

	if (a)
		*a = n->attrs.v[--n->attrs.n];
}

static void
set(struct onnx_node *n, struct attr a)
{
	drop(n, a.name);
	vec_push(n->b->g->arena, &n->attrs, a);
}

static int64_t
get_int(struct onnx_node *n, const char *name, int64_t def)
{
	const struct attr *a = onnx_attr(n, name);

	return a && a->kind == ATTR_INT ? a->i : def;
}

static void
set_input(struct onnx_node *n, int i, struct value *v)
{
	while (n->in.n <= i)
		vec_push(n->b->g->arena, &n->in, NULL);
	n->in.v[i] = v;
}

static struct value *
input(const struct onnx_node *n, int i)
{
	return i < n->in.n ? n->in.v[i] : NULL;
}

/* Attribute `name` becomes integer vector input i. */
static bool
ints_to_input(struct onnx_node *n, const char *name, int i)
{
	const struct attr *a = onnx_attr(n, name);

	if (!a)
		return true;
	if (a->kind != ATTR_INTS)
		return diag_invalid(
		    n->b->diag, n->b->loc, "attribute \"%s\" must be a list of integers", name);
	set_input(n, i, b_ints(n->b, a->n, a->ints));
	drop(n, name);
	return true;
}

/* A float attribute becomes a scalar input of the type of input 0. */
static bool
float_to_input(struct onnx_node *n, const char *name, int i)
{
	const struct attr *a = onnx_attr(n, name);

	if (!a)
		return true;
	if (a->kind != ATTR_FLOAT)
		return diag_invalid(
		    n->b->diag, n->b->loc, "attribute \"%s\" must be a float", name);
	set_input(n, i, b_scalar_like(n->b, input(n, 0), a->f));
	drop(n, name);
	return true;
}

static bool
need_input(struct onnx_node *n)
{
	if (input(n, 0))
		return true;
	return diag_invalid(n->b->diag, n->b->loc, "input 0 is missing");
}

/* ---- elementwise with the broadcast attribute: y is aligned at axis */
static bool
up_broadcast(struct onnx_node *n)
{
	int64_t axis, dims[MAX_RANK];
	struct value *x = input(n, 0), *y = input(n, 1);
	bool aligned = onnx_attr(n, "axis") && get_int(n, "broadcast", 0);
	int i;

	axis = get_int(n, "axis", -1);
	drop(n, "axis");
	drop(n, "broadcast");
	if (!aligned || !x || !y)
		return true;
	if (axis < 0)
		axis += x->rank;
	if (axis < 0 || axis + y->rank > x->rank)
		return diag_invalid(n->b->diag, n->b->loc,
		    "broadcast along axis %lld: input 1 of rank %d does not fit in rank %d",
		    (long long)axis, y->rank, x->rank);
	for (i = 0; i < x->rank - (int)axis; i++)
		dims[i] = i < y->rank ? y->dims[i] : 1;
	n->in.v[1] = b_reshape(n->b, y, x->rank - (int)axis, dims);
	return n->in.v[1] != NULL;
}

static bool
up_prelu(struct onnx_node *n)
{
	struct value *x = input(n, 0), *s = input(n, 1);
	int64_t dims[MAX_RANK];
	int i;

	if (!x || !s || s->rank != 1 || x->rank < 3 || s->dims[0] == 1)
		return true;
	dims[0] = s->dims[0];
	for (i = 1; i < x->rank - 1; i++)
		dims[i] = 1;
	n->in.v[1] = b_reshape(n->b, s, x->rank - 1, dims);
	return n->in.v[1] != NULL;
}

static bool
up_gemm(struct onnx_node *n)
{
	drop(n, "broadcast");
	return true;
}

/* ---- attributes that became inputs */
static bool
up_reshape(struct onnx_node *n)
{
	return ints_to_input(n, "shape", 1);
}

static bool
up_slice(struct onnx_node *n)
{
	return ints_to_input(n, "starts", 1) && ints_to_input(n, "ends", 2) &&
	       ints_to_input(n, "axes", 3);
}

static bool
up_pad1(struct onnx_node *n)
{
	struct attr *a = onnx_attr(n, "paddings");

	if (a)
		a->name = "pads";
	return true;
}

static bool
up_pad(struct onnx_node *n)
{
	return need_input(n) && ints_to_input(n, "pads", 1) && float_to_input(n, "value", 2);
}

static bool
up_clip(struct onnx_node *n)
{
	return need_input(n) && float_to_input(n, "min", 1) && float_to_input(n, "max", 2);
}

static bool
up_axes(struct onnx_node *n)
{
	return ints_to_input(n, "axes", 1);
}

static bool
up_split(struct onnx_node *n)
{
	return ints_to_input(n, "split", 1);
}

static bool
up_split18(struct onnx_node *n)
{
	if (!input(n, 1))
		set(n, (struct attr){.name = "num_outputs", .kind = ATTR_INT, .i = n->nout});
	return true;
}

static bool
up_topk(struct onnx_node *n)
{
	int64_t k = get_int(n, "k", -1);

	if (k < 0)
		return diag_invalid(n->b->diag, n->b->loc, "attribute \"k\" is missing");
	set_input(n, 1, b_ints(n->b, 1, &k));
	drop(n, "k");
	return true;
}

/* The one element of a constant of any number type. */
static bool
constant_number(const struct value *v, double *x)
{
	const struct tensor *t = v->kind == VAL_CONST ? v->data : NULL;

	if (!t || t->dtype == DT_str || tensor_count(t) != 1)
		return false;
	*x = dtype_is_float(t->dtype) ? dtype_get_f(t->dtype, t->data, 0)
				      : (double)dtype_get_i(t->dtype, t->data, 0);
	return true;
}

/* One axis, both numbers of the data's own type. */
static bool
up_tile(struct onnx_node *n)
{
	struct value *x = input(n, 0), *tiles = input(n, 1), *axis = input(n, 2);
	int64_t dims[MAX_RANK];
	double t, ax;
	int i;

	if (!x || !tiles || !axis)
		return diag_invalid(n->b->diag, n->b->loc, "Tile of this version takes 3 inputs");
	if (!constant_number(tiles, &t) || !constant_number(axis, &ax) || ax < 0 || ax >= x->rank ||
	    t < 0 || t > INT32_MAX)
		return diag_unsupported(n->b->diag, n->b->loc,
		    "tiles and axis must be constants within rank %d", x->rank);
	for (i = 0; i < x->rank; i++)
		dims[i] = i == (int)ax ? (int64_t)t : 1;
	set_input(n, 1, b_ints(n->b, x->rank, dims));
	n->in.n = 2;
	return true;
}

/* ---- element types by name */
static bool
up_cast(struct onnx_node *n)
{
	static const struct {
		const char *name;
		int onnx;
	} names[] = {
	    {"FLOAT", 1},
	    {"UINT8", 2},
	    {"INT8", 3},
	    {"UINT16", 4},
	    {"INT16", 5},
	    {"INT32", 6},
	    {"INT64", 7},
	    {"STRING", 8},
	    {"BOOL", 9},
	    {"FLOAT16", 10},
	    {"DOUBLE", 11},
	    {"UINT32", 12},
	    {"UINT64", 13},
	    {"COMPLEX64", 14},
	    {"COMPLEX128", 15},
	    {"BFLOAT16", 16},
	};
	const struct attr *a = onnx_attr(n, "to");
	size_t i;

	if (!a || a->kind != ATTR_STRING)
		return true;
	for (i = 0; i < sizeof names / sizeof *names; i++)
		if (strcmp(names[i].name, a->s) == 0) {
			set(n, (struct attr){.name = "to", .kind = ATTR_INT, .i = names[i].onnx});
			return true;
		}
	return diag_invalid(n->b->diag, n->b->loc, "unknown element type \"%s\"", a->s);
}

static bool
up_concat(struct onnx_node *n)
{
	if (!onnx_attr(n, "axis"))
		set(n, (struct attr){.name = "axis", .kind = ATTR_INT, .i = 1});
	return true;
}

/* finish: output 0 takes the dims that input 0 had */
static bool
unflatten(struct onnx_node *n, struct value **outs)
{
	return (outs[0] = b_reshape(n->b, outs[0], n->rank, n->dims)) != NULL;
}

/* ---- softmax over all axes from `axis` on: as a matrix, and back */

static bool
up_softmax(struct onnx_node *n)
{
	struct value *x = input(n, 0);
	int64_t axis = get_int(n, "axis", 1), two[2] = {1, 1};
	int i;

	if (!need_input(n))
		return false;
	if (axis < 0)
		axis += x->rank;
	if (axis < 0 || axis > x->rank)
		return diag_invalid(n->b->diag, n->b->loc, "axis %lld is out of range for rank %d",
		    (long long)axis, x->rank);
	if (axis == x->rank - 1) { /* the last axis alone: the same thing */
		set(n, (struct attr){.name = "axis", .kind = ATTR_INT, .i = -1});
		return true;
	}
	for (i = 0; i < x->rank; i++)
		two[i >= axis] = dim_mul(n->b->g, two[i >= axis], x->dims[i]);
	n->rank = x->rank;
	memcpy(n->dims, x->dims, sizeof n->dims);
	n->finish = unflatten;
	set(n, (struct attr){.name = "axis", .kind = ATTR_INT, .i = -1});
	n->in.v[0] = b_reshape(n->b, x, 2, two);
	return n->in.v[0] != NULL;
}

/* ---- normalisations and dropout: how the importer wants them is set there */
/* spatial = 0: every element of [C,spatial...] has statistics of its own, it is a channel. */
static bool
per_element(struct onnx_node *n)
{
	struct value *x = input(n, 0);
	int64_t two[2] = {x->dims[0], 1};
	int i;

	for (i = 1; i < x->rank; i++)
		two[1] = dim_mul(n->b->g, two[1], x->dims[i]);
	n->rank = x->rank;
	memcpy(n->dims, x->dims, sizeof n->dims);
	n->finish = unflatten;
	n->in.v[0] = b_reshape(n->b, x, 2, two);
	for (i = 1; i < n->in.n && n->in.v[i]; i++)
		n->in.v[i] = b_reshape(n->b, n->in.v[i], 1, &two[1]);
	return n->in.v[0] && i == n->in.n;
}

static bool
up_batchnorm(struct onnx_node *n)
{
	bool spatial = get_int(n, "spatial", 1);

	drop(n, "spatial");
	drop(n, "is_test");
	if (n->nout > 3)
		n->nout = 3; /* saved_mean and saved_var never left training */
	if (spatial || !input(n, 0) || input(n, 0)->rank <= 2)
		return true;
	if (n->nout > 1)
		return diag_unsupported(
		    n->b->diag, n->b->loc, "training with statistics per element (spatial = 0)");
	return per_element(n);
}

static bool
up_dropout(struct onnx_node *n)
{
	drop(n, "is_test");
	return need_input(n) && float_to_input(n, "ratio", 1);
}

/* scale and bias per group, one value for all its channels */
static bool
up_groupnorm(struct onnx_node *n)
{
	struct value *x = input(n, 0);
	int64_t groups = get_int(n, "num_groups", 0), two[2], one[2] = {groups, 1};
	int i;

	if (!x || x->rank < 2 || groups < 1 || !dim_const(x->dims[1]) || x->dims[1] % groups)
		return true; /* the row reports it */
	two[0] = groups;
	two[1] = x->dims[1] / groups;
	for (i = 1; i <= 2; i++) {
		struct value *s = input(n, i);

		if (!s || s->rank != 1 || s->dims[0] != groups)
			continue;
		s = b_expand(n->b, b_reshape(n->b, s, 2, one), 2, two);
		n->in.v[i] = b_reshape(n->b, s, 1, &x->dims[1]);
		if (!n->in.v[i])
			return false;
	}
	return true;
}

/* ---- resizing */
/* Resize of x by asymmetric coordinates, for upgrades. */
static struct value *
resize_nearest(struct onnx_node *n, struct value *x, struct value *scales, const char *nearest)
{
	struct value *in[3] = {x, NULL, scales};
	struct attr a[3] = {
	    {.name = "mode", .kind = ATTR_STRING, .s = "nearest"},
	    {.name = "coordinate_transformation_mode", .kind = ATTR_STRING, .s = "asymmetric"},
	    {.name = "nearest_mode", .kind = ATTR_STRING, .s = nearest},
	};

	return b_op(n->b, OP_Resize, 3, in, 3, a);
}

/* Nearest took the element before along axes that grow and the one after along axes
 * that shrink (ONNX Runtime and the cases of that version agree; the text does not
 * say): those that shrink first, by a Resize of their own. */
static bool
shrink_first(struct onnx_node *n, struct value **scales)
{
	const struct tensor *t = (*scales)->kind == VAL_CONST ? (*scales)->data : NULL;
	struct tensor *part[2];
	int64_t i, count = t ? tensor_count(t) : 0;
	bool shrinks = false;

	if (!t || !dtype_is_float(t->dtype) || t->rank != 1)
		return true; /* the row reports it, or they grow */
	for (i = 0; i < 2; i++)
		part[i] = tensor_new(n->b->g->arena, t->dtype, 1, t->dims);
	for (i = 0; i < count; i++) {
		double s = dtype_get_f(t->dtype, t->data, i);

		shrinks |= s < 1;
		dtype_put_f(t->dtype, part[0]->data, i, s < 1 ? s : 1);
		dtype_put_f(t->dtype, part[1]->data, i, s < 1 ? 1 : s);
	}
	if (!shrinks)
		return true;
	n->in.v[0] = resize_nearest(n, input(n, 0), graph_const(n->b->g, NULL, part[0]), "ceil");
	*scales = graph_const(n->b->g, NULL, part[1]);
	return n->in.v[0] != NULL;
}

static bool
up_resize10(struct onnx_node *n)
{
	struct value *scales = input(n, 1);
	const struct attr *mode = onnx_attr(n, "mode");
	bool nearest = !mode || (mode->kind == ATTR_STRING && strcmp(mode->s, "nearest") == 0);

	if (nearest && input(n, 0) && scales && !shrink_first(n, &scales))
		return false;
	set_input(n, 1, NULL);
	set_input(n, 2, scales);
	set(n,
	    (struct attr){
		.name = "coordinate_transformation_mode", .kind = ATTR_STRING, .s = "asymmetric"});
	set(n, (struct attr){.name = "nearest_mode", .kind = ATTR_STRING, .s = "floor"});
	return true;
}

static bool
up_upsample1(struct onnx_node *n)
{
	const struct attr *h = onnx_attr(n, "height_scale"), *w = onnx_attr(n, "width_scale");
	double *scales = arena_array(n->b->g->arena, double, 4);

	if (!h || !w)
		return true;
	scales[0] = scales[1] = 1;
	scales[2] = h->f;
	scales[3] = w->f;
	drop(n, "height_scale");
	drop(n, "width_scale");
	set(n, (struct attr){.name = "scales", .kind = ATTR_FLOATS, .n = 4, .floats = scales});
	return true;
}

static bool
up_upsample(struct onnx_node *n)
{
	const struct attr *a = onnx_attr(n, "scales"), *mode = onnx_attr(n, "mode");
	struct tensor *t;
	int64_t count;
	int i;

	if (a && a->kind == ATTR_FLOATS) {
		count = a->n;
		t = tensor_new(n->b->g->arena, DT_f32, 1, &count);
		for (i = 0; i < a->n; i++)
			dtype_put_f(DT_f32, t->data, i, a->floats[i]);
		set_input(n, 1, graph_const(n->b->g, NULL, t));
		drop(n, "scales");
	}
	if (mode && mode->kind == ATTR_STRING && strcmp(mode->s, "bilinear") == 0)
		set(n, (struct attr){.name = "mode", .kind = ATTR_STRING, .s = "linear"});
	n->op = "Resize";
	n->version = 10;
	return true;
}

static bool
up_scatter(struct onnx_node *n)
{
	n->op = "ScatterElements";
	return true;
}

/* ---- experimental operators of opsets 1 to 9, which left with opset 10 */
/* The node becomes what was built for it. */
static bool
becomes(struct onnx_node *n, struct value *v)
{
	n->op = "Identity";
	n->attrs.n = 0;
	n->in.n = 0;
	set_input(n, 0, v);
	return v != NULL;
}

static double
get_float(struct onnx_node *n, const char *name, double def)
{
	const struct attr *a = onnx_attr(n, name);

	return a && a->kind == ATTR_FLOAT ? a->f : def;
}

static struct value *
scaled(struct onnx_node *n, struct value *x, double alpha)
{
	return x ? b_muls(n->b, x, alpha) : NULL;
}

/* alpha*x + beta */
static bool
up_affine(struct onnx_node *n)
{
	struct value *y;

	if (!need_input(n))
		return false;
	y = scaled(n, input(n, 0), get_float(n, "alpha", 1));
	return becomes(n, y ? b_adds(n->b, y, get_float(n, "beta", 0)) : NULL);
}

static bool
up_scale(struct onnx_node *n)
{
	return need_input(n) && becomes(n, scaled(n, input(n, 0), get_float(n, "scale", 1)));
}

/* scale*x + bias[c] over [N,C,H,W] */
static bool
up_imagescaler(struct onnx_node *n)
{
	const struct attr *bias = onnx_attr(n, "bias");
	struct value *x = input(n, 0), *y;
	int64_t dims[3] = {0, 1, 1};
	struct tensor *t;
	int i;

	if (!need_input(n))
		return false;
	y = scaled(n, x, get_float(n, "scale", 1));
	if (!bias)
		return becomes(n, y);
	if (bias->kind != ATTR_FLOATS || x->rank != 4)
		return diag_invalid(n->b->diag, n->b->loc,
		    "takes an image batch of rank 4 and a "
		    "bias for each of its channels");
	dims[0] = bias->n;
	t = tensor_new(n->b->g->arena, x->dtype, 3, dims);
	for (i = 0; i < bias->n; i++)
		dtype_put_f(x->dtype, t->data, i, bias->floats[i]);
	return becomes(n, y ? b_add(n->b, y, graph_const(n->b->g, NULL, t)) : NULL);
}

/* alpha*tanh(beta*x) */
static bool
up_scaledtanh(struct onnx_node *n)
{
	struct value *y;

	if (!need_input(n))
		return false;
	y = scaled(n, input(n, 0), get_float(n, "beta", 1));
	return becomes(n, y ? scaled(n, b1(n->b, OP_tanh, y), get_float(n, "alpha", 1)) : NULL);
}

/* alpha*log(1 + exp(beta*x)) */
static bool
up_softplus(struct onnx_node *n)
{
	struct value *y;

	if (!need_input(n))
		return false;
	y = scaled(n, input(n, 0), get_float(n, "beta", 1));
	return becomes(n, y ? scaled(n, b1(n->b, OP_Softplus, y), get_float(n, "alpha", 1)) : NULL);
}

/* border: left, top, right, bottom of [N,C,H,W]; scale: height and width instead of
 * what right and bottom leave */
static bool
up_crop(struct onnx_node *n)
{
	const struct attr *border = onnx_attr(n, "border"), *scale = onnx_attr(n, "scale");
	int64_t start[4] = {0}, count[4], step[4] = {1, 1, 1, 1};
	struct value *x = input(n, 0);
	int i;

	if (!need_input(n))
		return false;
	if (x->rank != 4 || !border || border->kind != ATTR_INTS || border->n != 4 ||
	    (scale && (scale->kind != ATTR_INTS || scale->n != 2)))
		return diag_invalid(n->b->diag, n->b->loc,
		    "takes an image batch of rank 4, four borders and no or two scales");
	for (i = 0; i < 4; i++) {
		count[i] = x->dims[i];
		if (i < 2)
			continue;
		start[i] = border->ints[3 - i];
		count[i] = scale ? scale->ints[i - 2] : x->dims[i] - start[i] - border->ints[5 - i];
		if (!dim_const(x->dims[i]) || start[i] < 0 || count[i] < 0 ||
		    start[i] > x->dims[i] || count[i] > x->dims[i] - start[i])
			return diag_invalid(n->b->diag, n->b->loc,
			    "cannot take %lld from %lld on along axis %d of size %s",
			    (long long)count[i], (long long)start[i], i,
			    dim_text(n->b->g, x->dims[i]));
	}
	return becomes(n, b_slice(n->b, x, start, count, step));
}

static bool
up_dynamicslice(struct onnx_node *n)
{
	n->op = "Slice";
	return true;
}

/* ---- indices and coordinates */
/* Indices below zero lay outside [0,depth) like those above. */
static bool
up_onehot(struct onnx_node *n)
{
	struct value *ix = input(n, 0), *depth = input(n, 1), *below;

	if (!ix || !depth)
		return true; /* the row reports it */
	ix = b_cast(n->b, ix, DT_i64);
	depth = b_reshape(n->b, b_cast(n->b, depth, DT_i64), 0, NULL);
	below = b2(n->b, OP_lt, ix, b_scalar(n->b, DT_i64, 0));
	n->in.v[0] = b_select(n->b, below, depth, ix);
	return n->in.v[0] != NULL;
}

/* Boxes were scaled without the shift by half a pixel. */
static bool
up_roialign(struct onnx_node *n)
{
	set(n, (struct attr){.name = "coordinate_transformation_mode",
		   .kind = ATTR_STRING,
		   .s = "output_half_pixel"});
	return true;
}

static bool
up_gridsample(struct onnx_node *n)
{
	struct attr *mode = onnx_attr(n, "mode");

	if (mode && mode->kind == ATTR_STRING && str_starts(mode->s, "bi"))
		mode->s += 2; /* bilinear, bicubic */
	return true;
}

/* The axis was an attribute, by default the first after the batch. */
static bool
up_dft(struct onnx_node *n)
{
	struct tensor *axis = tensor_new(n->b->g->arena, DT_i64, 0, NULL);

	*(int64_t *)axis->data = get_int(n, "axis", 1);
	drop(n, "axis");
	set_input(n, 2, graph_const(n->b->g, NULL, axis));
	return true;
}

/* ---- smaller changes */
static bool
up_selu(struct onnx_node *n)
{
	if (!onnx_attr(n, "alpha"))
		set(n, (struct attr){.name = "alpha", .kind = ATTR_FLOAT, .f = 1.6732});
	if (!onnx_attr(n, "gamma"))
		set(n, (struct attr){.name = "gamma", .kind = ATTR_FLOAT, .f = 1.0507});
	return true;
}

/* p was a float */
static bool
up_lp(struct onnx_node *n)
{
	const struct attr *a = onnx_attr(n, "p");

	if (a && a->kind == ATTR_FLOAT)
		set(n, (struct attr){.name = "p", .kind = ATTR_INT, .i = llrint(a->f)});
	return true;
}

static bool
up_rnn(struct onnx_node *n)
{
	drop(n, "output_sequence");
	return true;
}

static const struct upgrade {
	const char *op;
	int64_t before; /* applies to nodes of an older opset */
	bool (*run)(struct onnx_node *);
	bool left; /* and with that version the operator left ONNX */
} upgrades[] = {
    {"Upsample", 7, up_upsample1, false},
    {"Upsample", 10, up_upsample, true},
    {"Add", 7, up_broadcast, false},
    {"Sub", 7, up_broadcast, false},
    {"Mul", 7, up_broadcast, false},
    {"Div", 7, up_broadcast, false},
    {"Pow", 7, up_broadcast, false},
    {"And", 7, up_broadcast, false},
    {"Or", 7, up_broadcast, false},
    {"Xor", 7, up_broadcast, false},
    {"Less", 7, up_broadcast, false},
    {"Greater", 7, up_broadcast, false},
    {"Equal", 7, up_broadcast, false},
    {"PRelu", 7, up_prelu, false},
    {"Gemm", 7, up_gemm, false},
    {"Reshape", 5, up_reshape, false},
    {"Cast", 6, up_cast, false},
    {"Concat", 4, up_concat, false},
    {"Slice", 10, up_slice, false},
    {"Pad", 2, up_pad1, false},
    {"Pad", 11, up_pad, false},
    {"Clip", 11, up_clip, false},
    {"Squeeze", 13, up_axes, false},
    {"Unsqueeze", 13, up_axes, false},
    {"ReduceSum", 13, up_axes, false},
    {"ReduceMean", 18, up_axes, false},
    {"ReduceMax", 18, up_axes, false},
    {"ReduceMin", 18, up_axes, false},
    {"ReduceProd", 18, up_axes, false},
    {"ReduceL1", 18, up_axes, false},
    {"ReduceL2", 18, up_axes, false},
    {"ReduceLogSum", 18, up_axes, false},
    {"ReduceLogSumExp", 18, up_axes, false},
    {"ReduceSumSquare", 18, up_axes, false},
    {"Split", 13, up_split, false},
    {"Split", 18, up_split18, false},
    {"TopK", 10, up_topk, false},
    {"Tile", 6, up_tile, false},
    {"Softmax", 13, up_softmax, false},
    {"LogSoftmax", 13, up_softmax, false},
    {"Hardmax", 13, up_softmax, false},
    {"BatchNormalization", 14, up_batchnorm, false},
    {"GroupNormalization", 21, up_groupnorm, false},
    {"Dropout", 12, up_dropout, false},
    {"Resize", 11, up_resize10, false},
    {"DFT", 20, up_dft, false},
    {"Scatter", 11, up_scatter, true},
    {"Affine", 10, up_affine, true},
    {"Crop", 10, up_crop, true},
    {"DynamicSlice", 10, up_dynamicslice, true},
    {"ImageScaler", 10, up_imagescaler, true},
    {"ParametricSoftplus", 10, up_softplus, true},
    {"Scale", 10, up_scale, true},
    {"ScaledTanh", 10, up_scaledtanh, true},
    {"OneHot", 11, up_onehot, false},
    {"RoiAlign", 16, up_roialign, false},
    {"GridSample", 20, up_gridsample, false},
    {"Selu", 6, up_selu, false},
    {"GlobalLpPool", 2, up_lp, false},
    {"LpPool", 2, up_lp, false},
    {"LpNormalization", 2, up_lp, false},
    {"LSTM", 7, up_rnn, false},
    {"GRU", 7, up_rnn, false},
    {"RNN", 7, up_rnn, false},
};

int64_t
onnx_former(const char *op)
{
	size_t i;

	for (i = 0; i < sizeof upgrades / sizeof *upgrades; i++)
		if (upgrades[i].left && strcmp(upgrades[i].op, op) == 0)
			return upgrades[i].before;
	return 0;
}

bool
onnx_upgrade(struct onnx_node *n)
{
	size_t i;

	if (*n->domain)
		return true;
	drop(
	    n, "consumed_inputs"); /* of the first versions: said which inputs may be overwritten */
	for (i = 0; i < sizeof upgrades / sizeof *upgrades; i++)
		if (n->version < upgrades[i].before && strcmp(upgrades[i].op, n->op) == 0 &&
		    !upgrades[i].run(n))
			return false;
	return true;
}
