/* build -- making nodes with their types inferred, and folding and simplifying
 * what is free to simplify at that moment. */
#include "ir/ir.h"

#include <string.h>

/* elements of a constant worth making at build time, and steps to spend on it */
enum { FOLD_MAX = 65536, FOLD_WORK = 1 << 22 };

struct build
build_at(struct graph *g, struct diag *d, struct loc loc, const char *maker)
{
	if (maker)
		loc.maker = maker;
	return (struct build){.g = g, .diag = d, .loc = loc, .fold = true};
}

struct node *
b_node(struct build *b, enum op op, int nin, struct value *const *in, int nout, int nattr,
    const struct attr *attrs)
{
	struct node *n;
	int i;

	for (i = 0; i < nin && (i < op_info[op].in_min || op_info[op].in_max < 0); i++)
		if (!in[i])
			return NULL;
	n = graph_node(b->g, op, NULL, b->loc, nin, in, nout);
	for (i = 0; i < nattr; i++)
		if (attrs[i].name && attrs[i].kind != ATTR_NONE)
			node_set_attr(b->g, n, &attrs[i]);
	if (node_infer(b->g, n, b->diag))
		return n;
	n->dead = true;
	if (b->g->nodes.n && b->g->nodes.v[b->g->nodes.n - 1] == n)
		b->g->nodes.n--;
	return NULL;
}

static bool
small_const(const struct value *v)
{
	return v->kind == VAL_CONST && dims_count(v->rank, v->dims) <= FOLD_MAX;
}

/* Multiply-adds of a contraction, convolution or pooling over constants; other
 * operators cost about as many steps as they have elements. */
static int64_t
work(const struct node *n, int64_t count)
{
	const int64_t *kernel;
	int64_t per = 1;
	int k = 0;

	if (op_info[n->op].class == OC_contract || op_info[n->op].class == OC_conv)
		per = tensor_count(n->in[1]->data);
	else if (op_info[n->op].class == OC_pool && (k = attr_ints(n, "kernel", &kernel)))
		per = dims_count(k, kernel);
	return per < 0 || __builtin_mul_overflow(per, count, &per) ? INT64_MAX : per;
}

/* Evaluates n, whose operands are small constants, into outs; false: left as it is. */
static bool
fold(struct build *b, struct node *n, struct value **outs)
{
	struct arena *scratch;
	struct eval_opts opts = {.round_each = true};
	const struct etensor **in;
	struct etensor **out;
	int64_t count = -1;
	bool ok;
	int i, k;

	for (k = 0; k < n->nout; k++) {
		for (i = 0; i < n->out[k]->rank && dim_const(n->out[k]->dims[i]); i++)
			;
		count = i == n->out[k]->rank ? dims_count(i, n->out[k]->dims) : -1;
		if (count < 0 || count > FOLD_MAX || op_is_random(n->op))
			return false;
	}
	/* free inside a loop nest, and rules look for them */
	if ((n->op == OP_expand || n->op == OP_iota) && count > 16 && dtype_is_float(n->out[0]->dtype))
		return false;
	for (i = 0; i < n->nin; i++)
		if (n->in[i] && !small_const(n->in[i]))
			return false;
	if (work(n, count) > FOLD_WORK)
		return false;
	scratch = arena_create();
	opts.arena = scratch;
	in = arena_array(scratch, const struct etensor *, n->nin + 1);
	out = arena_array(scratch, struct etensor *, n->nout);
	for (i = 0; i < n->nin; i++)
		in[i] = n->in[i] ? etensor_from(scratch, n->in[i]->data) : NULL;
	ok = eval_node(&opts, b->g, n, in, out);
	for (k = 0; ok && k < n->nout; k++)
		ok = out[k] != NULL;
	for (k = 0; ok && k < n->nout; k++) {
		outs[k] = graph_const(b->g, NULL, etensor_to(b->g->arena, out[k]));
		outs[k]->loc = b->loc;
	}
	arena_destroy(scratch);
	return ok;
}

/* ---- what needs no node: x+0, x*1 and the like */
static bool
is_splat(const struct value *v, double want)
{
	int64_t i, n;

	if (v->kind == VAL_NODE && v->def->op == OP_expand)
		v = v->def->in[0];
	if (v->kind != VAL_CONST || dtype_info[v->dtype].class == DC_COMPLEX || v->dtype == DT_str)
		return false;
	n = tensor_count(v->data);
	if (n < 1 || n > 4096)
		return false;
	for (i = 0; i < n; i++)
		if (dtype_get_f(v->dtype, v->data->data, i) != want)
			return false;
	return true;
}

/* Broadcasting y does not change the dims of x. */
static bool
within(const struct value *y, const struct value *x)
{
	int i;

	if (y->rank > x->rank)
		return false;
	for (i = 0; i < y->rank; i++)
		if (y->dims[i] != 1 && y->dims[i] != x->dims[x->rank - y->rank + i])
			return false;
	return true;
}

static struct value *
identity(enum op op, int nin, struct value *const *in)
{
	struct value *x = in[0], *y = nin > 1 ? in[1] : NULL;

	if (nin != 2 || x->dtype != y->dtype)
		return NULL;
	switch (op) {
	case OP_add:
		if (is_splat(x, 0) && within(x, y))
			return y;
		return is_splat(y, 0) && within(y, x) ? x : NULL;
	case OP_sub:
		return is_splat(y, 0) && within(y, x) ? x : NULL;
	case OP_mul:
		if (is_splat(x, 1) && within(x, y))
			return y;
		return is_splat(y, 1) && within(y, x) ? x : NULL;
	case OP_div:
		return is_splat(y, 1) && within(y, x) ? x : NULL;
	case OP_pow:
		return is_splat(y, 1) && within(y, x) ? x : NULL;
	default:
		return NULL;
	}
}

struct value *
b_op(struct build *b, enum op op, int nin, struct value *const *in, int nattr,
    const struct attr *attrs)
{
	struct value *v;
	int i;

	for (i = 0; i < nin && (i < op_info[op].in_min || op_info[op].in_max < 0); i++)
		if (!in[i])
			return NULL;
	if (nin == 2 && (v = identity(op, nin, in)))
		return v;
	return b_ops(b, op, nin, in, 1, &v, nattr, attrs) ? v : NULL;
}

bool
b_ops(struct build *b, enum op op, int nin, struct value *const *in, int nout, struct value **outs, int nattr,
    const struct attr *attrs)
{
	struct node *n = b_node(b, op, nin, in, nout, nattr, attrs);
	int i;

	if (!n)
		return false;
	for (i = 0; i < nout; i++)
		outs[i] = n->out[i];
	if (b->fold && fold(b, n, outs)) {
		n->dead = true;
		if (b->g->nodes.v[b->g->nodes.n - 1] == n)
			b->g->nodes.n--;
	}
	return true;
}

struct value *
b1(struct build *b, enum op op, struct value *x)
{
	return b_op(b, op, 1, (struct value *[]){x}, 0, NULL);
}

struct value *
b2(struct build *b, enum op op, struct value *x, struct value *y)
{
	return b_op(b, op, 2, (struct value *[]){x, y}, 0, NULL);
}

struct value *
b3(struct build *b, enum op op, struct value *x, struct value *y, struct value *z)
{
	return b_op(b, op, 3, (struct value *[]){x, y, z}, 0, NULL);
}

struct value *
b_scalar(struct build *b, enum dtype dtype, double v)
{
	struct tensor *t;
	struct value *c;

	if (dtype == DT_str || dtype == DT_none) {
		diag_unsupported(b->diag, b->loc, "arithmetic on strings");
		return NULL;
	}
	t = tensor_new(b->g->arena, dtype, 0, NULL);
	dtype_put_f(dtype, t->data, 0, v);
	c = graph_const(b->g, NULL, t);
	c->loc = b->loc;
	return c;
}

struct value *
b_scalar_like(struct build *b, const struct value *x, double v)
{
	return x ? b_scalar(b, x->dtype, v) : NULL;
}

struct value *
b_ints(struct build *b, int n, const int64_t *v)
{
	struct tensor *t = tensor_new(b->g->arena, DT_i64, 1, &(int64_t){n});
	struct value *c;

	if (n)
		memcpy(t->data, v, (size_t)n * sizeof *v);
	c = graph_const(b->g, NULL, t);
	c->loc = b->loc;
	return c;
}

struct value *
b_zeros_like(struct build *b, const struct value *x)
{
	return x ? b_expand(b, b_scalar(b, x->dtype, 0), x->rank, x->dims) : NULL;
}

struct value *
b_add(struct build *b, struct value *x, struct value *y)
{
	return b2(b, OP_add, x, y);
}

struct value *
b_sub(struct build *b, struct value *x, struct value *y)
{
	return b2(b, OP_sub, x, y);
}

struct value *
b_mul(struct build *b, struct value *x, struct value *y)
{
	return b2(b, OP_mul, x, y);
}

struct value *
b_div(struct build *b, struct value *x, struct value *y)
{
	return b2(b, OP_div, x, y);
}

struct value *
b_max(struct build *b, struct value *x, struct value *y)
{
	return b2(b, OP_max, x, y);
}

struct value *
b_min(struct build *b, struct value *x, struct value *y)
{
	return b2(b, OP_min, x, y);
}

struct value *
b_neg(struct build *b, struct value *x)
{
	return b1(b, OP_neg, x);
}

struct value *
b_exp(struct build *b, struct value *x)
{
	return b1(b, OP_exp, x);
}

struct value *
b_log(struct build *b, struct value *x)
{
	return b1(b, OP_log, x);
}

struct value *
b_sqrt(struct build *b, struct value *x)
{
	return b1(b, OP_sqrt, x);
}

struct value *
b_muls(struct build *b, struct value *x, double s)
{
	if (!x || s == 1)
		return x;
	return b_mul(b, x, b_scalar(b, x->dtype, s));
}

struct value *
b_adds(struct build *b, struct value *x, double s)
{
	if (!x || s == 0)
		return x;
	return b_add(b, x, b_scalar(b, x->dtype, s));
}

struct value *
b_select(struct build *b, struct value *cond, struct value *x, struct value *y)
{
	return b3(b, OP_select, cond, x, y);
}

struct value *
b_cast(struct build *b, struct value *x, enum dtype to)
{
	if (!x || x->dtype == to)
		return x;
	return b_op(b, OP_cast, 1, &x, 1, &(struct attr){.name = "to", .kind = ATTR_INT, .i = to});
}

static struct attr
ints(const char *name, int n, const int64_t *v)
{
	return (struct attr){.name = name, .kind = ATTR_INTS, .n = n, .ints = v};
}

static struct attr
one_int(const char *name, int64_t i)
{
	return (struct attr){.name = name, .kind = ATTR_INT, .i = i};
}

struct value *
b_reshape(struct build *b, struct value *x, int rank, const int64_t *dims)
{
	struct attr a = ints("dims", rank, dims);

	if (!x || dims_equal(x->rank, x->dims, rank, dims))
		return x;
	/* a reshape of a reshape needs the outer one only */
	if (x->kind == VAL_NODE && x->def->op == OP_reshape) {
		x = x->def->in[0];
		if (dims_equal(x->rank, x->dims, rank, dims))
			return x;
	}
	return b_op(b, OP_reshape, 1, &x, 1, &a);
}

struct value *
b_expand(struct build *b, struct value *x, int rank, const int64_t *dims)
{
	struct attr a = ints("dims", rank, dims);

	if (!x || dims_equal(x->rank, x->dims, rank, dims))
		return x;
	return b_op(b, OP_expand, 1, &x, 1, &a);
}

struct value *
b_transpose(struct build *b, struct value *x, const int64_t *perm)
{
	struct attr a;
	int i;

	if (!x)
		return NULL;
	for (i = 0; i < x->rank && perm[i] == i; i++)
		;
	if (i == x->rank)
		return x;
	a = ints("perm", x->rank, perm);
	return b_op(b, OP_transpose, 1, &x, 1, &a);
}

struct value *
b_unsqueeze(struct build *b, struct value *x, int axis)
{
	int64_t dims[MAX_RANK];
	int i;

	if (!x)
		return NULL;
	if (x->rank >= MAX_RANK || axis < 0 || axis > x->rank) {
		diag_unsupported(b->diag, b->loc, "axis %d cannot be added to a tensor of rank %d (at most %d)",
		    axis, x->rank, MAX_RANK);
		return NULL;
	}
	for (i = 0; i <= x->rank; i++)
		dims[i] = i == axis ? 1 : x->dims[i - (i > axis)];
	return b_reshape(b, x, x->rank + 1, dims);
}

struct value *
b_slice(struct build *b, struct value *x, const int64_t *start, const int64_t *count,
    const int64_t *step)
{
	struct attr a[3];
	int i;

	if (!x)
		return NULL;
	for (i = 0; i < x->rank; i++)
		if (start[i] != 0 || count[i] != x->dims[i] || step[i] != 1)
			break;
	if (i == x->rank)
		return x;
	a[0] = ints("start", x->rank, start);
	a[1] = ints("count", x->rank, count);
	a[2] = ints("step", x->rank, step);
	return b_op(b, OP_slice, 1, &x, 3, a);
}

struct value *
b_pad(struct build *b, struct value *x, const int64_t *lo, const int64_t *hi, double fill)
{
	struct attr a[3];
	int i;

	if (!x)
		return NULL;
	for (i = 0; i < x->rank; i++)
		if (lo[i] || hi[i])
			break;
	if (i == x->rank)
		return x;
	a[0] = ints("lo", x->rank, lo);
	a[1] = ints("hi", x->rank, hi);
	a[2] = (struct attr){.name = "fill", .kind = ATTR_FLOAT, .f = fill};
	return b_op(b, OP_pad, 1, &x, 3, a);
}

struct value *
b_concat(struct build *b, int n, struct value *const *in, int axis)
{
	struct attr a = one_int("axis", axis);

	if (n == 1)
		return in[0];
	return b_op(b, OP_concat, n, in, 1, &a);
}

struct value *
b_gather(struct build *b, struct value *data, struct value *index, int axis)
{
	struct attr a = one_int("axis", axis);

	return b_op(b, OP_gather, 2, (struct value *[]){data, index}, 1, &a);
}

struct value *
b_iota(struct build *b, enum dtype dtype, int rank, const int64_t *dims, int axis)
{
	struct attr a[3] = {one_int("to", dtype), ints("dims", rank, dims), one_int("axis", axis)};

	return b_op(b, OP_iota, 0, NULL, 3, a);
}

struct value *
b_reduce(struct build *b, enum op op, struct value *x, int naxes, const int64_t *axes, bool keep)
{
	struct attr a[2] = {ints("axes", naxes, axes), one_int("keep", keep)};

	if (!x || naxes == 0)
		return x;
	return b_op(b, op, 1, &x, 2, a);
}

struct value *
b_reduce_all(struct build *b, enum op op, struct value *x)
{
	int64_t axes[MAX_RANK];
	int i;

	if (!x)
		return NULL;
	for (i = 0; i < x->rank; i++)
		axes[i] = i;
	return b_reduce(b, op, x, x->rank, axes, false);
}

struct value *
b_mean(struct build *b, struct value *x, int naxes, const int64_t *axes, bool keep)
{
	struct value *sum = b_reduce(b, OP_reduce_sum, x, naxes, axes, keep), *count;
	int64_t n = 1, dims[MAX_RANK];
	int i;

	if (!sum || naxes == 0)
		return sum;
	for (i = 0; i < naxes; i++) {
		dims[i] = x->dims[axes[i] < 0 ? axes[i] + x->rank : axes[i]];
		n = dim_mul(b->g, n, dims[i]);
	}
	if (dim_const(n))
		return b_div(b, sum, b_scalar(b, x->dtype, (double)n));
	/* a size known only at run time: count by summing ones */
	count = b_reduce_all(b, OP_reduce_sum, b_expand(b, b_scalar(b, x->dtype, 1), naxes, dims));
	return b_div(b, sum, count);
}

struct value *
b_dim(struct build *b, int64_t dim)
{
	struct attr a = ints("dims", 1, &dim);

	struct tensor *t;

	if (!dim_const(dim))
		return b_op(b, OP_extent, 0, NULL, 1, &a);
	t = tensor_new(b->g->arena, DT_i64, 0, NULL);
	dtype_put_i(DT_i64, t->data, 0, dim);
	return graph_const(b->g, NULL, t);
}

struct value *
b_count(struct build *b, int n, const int64_t *dims)
{
	int64_t d = 1;

	while (n-- > 0)
		d = dim_mul(b->g, d, dims[n]);
	return b_dim(b, d);
}

int64_t
b_measure(struct build *b, struct value *v, int64_t lo, int64_t hi)
{
	if (!v)
		return 0;
	if (v->kind == VAL_CONST) {
		int64_t d = dtype_get_i(DT_i64, v->data->data, 0);

		return d < lo ? lo : d > hi ? hi : d;
	}
	v = b_max(b, b_min(b, v, b_dim(b, hi)), b_dim(b, lo));
	return v ? graph_measure(b->g, NULL, v, lo, hi) : 0;
}

struct value *
b_kept(struct build *b, struct value *keep)
{
	return b_reduce_all(b, OP_reduce_sum, b_cast(b, keep, DT_i64));
}

struct value *
b_compact(struct build *b, struct value *x, struct value *keep, int64_t u)
{
	struct attr a = ints("dims", 1, &u);

	return b_op(b, OP_compact, 2, (struct value *[]){x, keep}, 1, &a);
}

struct value *
b_unbroadcast(struct build *b, struct value *dy, const struct value *like)
{
	int64_t axes[MAX_RANK];
	int i, n = 0, lead;

	if (!dy)
		return NULL;
	lead = dy->rank - like->rank;
	if (lead < 0) {
		diag_invalid(b->diag, b->loc, "a gradient of rank %d does not fit a value of rank %d",
		    dy->rank, like->rank);
		return NULL;
	}
	for (i = 0; i < dy->rank; i++)
		if (i < lead || (like->dims[i - lead] == 1 && dy->dims[i] != 1))
			axes[n++] = i;
	dy = b_reduce(b, OP_reduce_sum, dy, n, axes, true);
	return dy ? b_reshape(b, dy, like->rank, like->dims) : NULL;
}

struct value *
b_contract(struct build *b, const char *spec, struct value *x, struct value *y)
{
	struct attr a = {.name = "spec", .kind = ATTR_STRING, .s = spec};
	enum dtype t = x ? x->dtype : DT_none;

	/* narrow floats are summed in f32 */
	if (x && y && y->dtype == t && (t == DT_f16 || t == DT_bf16)) {
		x = b_contract(b, spec, b_cast(b, x, DT_f32), b_cast(b, y, DT_f32));
		return x ? b_cast(b, x, t) : NULL;
	}
	return b_op(b, OP_contract, 2, (struct value *[]){x, y}, 1, &a);
}

struct value *
b_softmax(struct build *b, struct value *x, int axis)
{
	struct attr a = one_int("axis", axis);

	return b_op(b, OP_Softmax, 1, &x, 1, &a);
}

struct value *
b_stop_gradient(struct build *b, struct value *x)
{
	return b1(b, OP_StopGradient, x);
}

struct value *
b_log_softmax(struct build *b, struct value *x, int axis)
{
	struct attr a = one_int("axis", axis);

	return b_op(b, OP_LogSoftmax, 1, &x, 1, &a);
}
