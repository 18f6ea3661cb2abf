/* loss_module -- see loss_module.h. */
#include "passes/loss_module.h"

#include <math.h>
#include <string.h>

static const char *
named(const struct loss_in *in, const char *what, const char *part)
{
	return what[0] ? arena_printf(in->b->g->arena, "%s.%s", what, part) : part;
}

/* [c] as [1,c,1..] of rank; axis says where c is */
static struct value *
along(struct build *b, struct value *v, int rank, int axis)
{
	int64_t dims[MAX_RANK];

	if (!v)
		return NULL;
	for (int i = 0; i < rank; i++)
		dims[i] = i == axis ? v->dims[0] : 1;
	return b_reshape(b, v, rank, dims);
}

/* ---- layers */

struct value *
module_linear(const struct loss_in *in, const char *what, struct value *x, int axis, int64_t c)
{
	struct build *b = in->b;
	char xs[MAX_RANK + 1] = {0}, ys[MAX_RANK + 1] = {0};
	struct value *w, *bias;
	double bound;

	if (!x)
		return NULL;
	bound = 1 / sqrt((double)x->dims[axis]);
	w = loss_parameter(
	    in, named(in, what, "weight"), 2, (const int64_t[]){c, x->dims[axis]}, bound);
	bias = loss_parameter(in, named(in, what, "bias"), 1, &c, bound);
	for (int i = 0; i < x->rank; i++)
		xs[i] = ys[i] = (char)('a' + i);
	ys[axis] = 'z';
	x = b_contract(b, arena_printf(b->g->arena, "%s,z%c->%s", xs, xs[axis], ys), x, w);
	return x ? b_add(b, x, along(b, bias, x->rank, axis)) : NULL;
}

struct conv_form
conv_form(int64_t channels, int64_t kernel, int64_t stride, bool bias)
{
	struct conv_form f = {
	    .channels = channels, .stride = stride, .pad = (kernel - 1) / 2, .bias = bias};

	for (int i = 0; i < MAX_RANK; i++)
		f.kernel[i] = kernel;
	return f;
}

struct value *
module_conv(const struct loss_in *in, const char *what, struct value *x, const struct conv_form *f)
{
	struct build *b = in->b;
	int64_t wdims[MAX_RANK], ones[MAX_RANK], strides[MAX_RANK], pads[2 * MAX_RANK],
	    dims[MAX_RANK];
	int64_t fan;
	struct value *pair[2], *y;
	int sp;

	if (!x)
		return NULL;
	sp = x->rank - 2;
	struct attr attr[] = {
	    {.name = "strides", .kind = ATTR_INTS, .n = sp, .ints = strides},
	    {.name = "pads", .kind = ATTR_INTS, .n = 2 * sp, .ints = pads},
	    {.name = "dilations", .kind = ATTR_INTS, .n = sp, .ints = ones},
	    {.name = "group", .kind = ATTR_INT, .i = 1},
	    {.name = "dims", .kind = ATTR_INTS, .n = x->rank, .ints = dims},
	};

	wdims[0] = f->transposed ? x->dims[1] : f->channels;
	wdims[1] = f->transposed ? f->channels : x->dims[1];
	dims[0] = x->dims[0];
	dims[1] = f->channels;
	fan = wdims[1]; /* PyTorch counts fan in along axis 1 of either */
	for (int i = 0; i < sp; i++) {
		ones[i] = 1;
		strides[i] = f->stride;
		pads[i] = pads[sp + i] = f->pad;
		wdims[2 + i] = f->kernel[i];
		fan *= f->kernel[i];
		dims[2 + i] = (x->dims[2 + i] - 1) * f->stride + f->kernel[i] - 2 * f->pad;
	}
	pair[0] = x;
	pair[1] = loss_parameter(in, named(in, what, "weight"), x->rank, wdims,
	    f->bound > 0 ? f->bound : 1 / sqrt((double)fan));
	if (sp == 0)
		y = b_contract(b, f->transposed ? "nc,cm->nm" : "nc,mc->nm", x, pair[1]);
	else if (f->transposed)
		y = b_op(b, OP_conv_grad_data, 2, pair, 5, attr);
	else
		y = b_op(b, OP_conv, 2, pair, 4, attr);
	if (!y || !f->bias)
		return y;
	return b_add(b, y,
	    along(b,
		loss_parameter(in, named(in, what, "bias"), 1, &f->channels, 1 / sqrt((double)fan)),
		y->rank, 1));
}

static struct tensor *
filled(struct build *b, int64_t n, double v)
{
	struct tensor *t = tensor_new(b->g->arena, DT_f32, 1, &n);

	for (int64_t i = 0; i < n; i++)
		dtype_put_f(DT_f32, t->data, i, v);
	return t;
}

struct value *
module_norm(const struct loss_in *in, const char *what, struct value *x)
{
	struct build *b = in->b;
	struct value *op[5], *out[3] = {0};
	struct attr attr[] = {{.name = "training_mode", .kind = ATTR_INT, .i = 1},
	    {.name = "unbiased", .kind = ATTR_INT, .i = 1}};
	int64_t c;

	if (!x)
		return NULL;
	c = x->dims[1];
	op[0] = x;
	op[1] = loss_trained(in, named(in, what, "scale"), filled(b, c, 1));
	op[2] = loss_trained(in, named(in, what, "shift"), filled(b, c, 0));
	op[3] = loss_state(in, named(in, what, "mean"), filled(b, c, 0));
	op[4] = loss_state(in, named(in, what, "var"), filled(b, c, 1));
	if (!op[1] || !op[2] || !op[3] || !op[4])
		return NULL;
	if (in->eval)
		return b_op(b, OP_BatchNormalization, 5, op, 0, NULL);
	if (!b_ops(b, OP_BatchNormalization, 5, op, 3, out, 2, attr))
		return NULL;
	loss_update(in, op[3], out[1]);
	loss_update(in, op[4], out[2]);
	return out[0];
}

/* ---- without parameters */

struct value *
b_relu(struct build *b, struct value *v)
{
	return v ? b1(b, OP_Relu, v) : NULL;
}

struct value *
b_leaky_relu(struct build *b, struct value *v, double slope)
{
	struct attr a = {.name = "alpha", .kind = ATTR_FLOAT, .f = slope};

	return v ? b_op(b, OP_LeakyRelu, 1, &v, 1, &a) : NULL;
}

/* max(x,0) + log1p(exp(-|x|)) */
struct value *
b_softplus(struct build *b, struct value *v)
{
	struct value *rest;

	if (!v)
		return NULL;
	rest = b1(b, OP_log1p, b_exp(b, b_neg(b, b1(b, OP_abs, v))));
	return b_add(b, b_max(b, v, b_scalar_like(b, v, 0)), rest);
}

struct value *
b_power(struct build *b, struct value *v, double p)
{
	if (!v)
		return NULL;
	if (p == 2)
		return b_mul(b, v, v);
	v = b1(b, OP_abs, v);
	return p == 1 ? v : b2(b, OP_pow, v, b_scalar_like(b, v, p));
}

/* sqrt(max(sum x^2, 1e-24)): 1e-12 at least, and no gradient below it */
static struct value *
length(struct build *b, struct value *x, bool keep)
{
	struct value *sum;

	if (!x)
		return NULL;
	sum = b_reduce(b, OP_reduce_sum, b_mul(b, x, x), 1, (const int64_t[]){x->rank - 1}, keep);
	return sum ? b_sqrt(b, b_max(b, b_scalar_like(b, sum, 1e-24), sum)) : NULL;
}

struct value *
b_unit(struct build *b, struct value *x)
{
	return b_div(b, x, length(b, x, true));
}

struct value *
b_norm(struct build *b, struct value *x)
{
	return length(b, x, false);
}

/* ---- resolution: each axis by a constant [m,n] matrix */

static void
average_row(struct tensor *t, int64_t i, int64_t m, int64_t n)
{
	int64_t lo = i * n / m, hi = ((i + 1) * n + m - 1) / m;

	for (int64_t k = lo; k < hi; k++)
		dtype_put_f(DT_f32, t->data, i * n + k, 1 / (double)(hi - lo));
}

static void
linear_row(struct tensor *t, int64_t i, int64_t m, int64_t n)
{
	double at = fmax(0, ((double)i + 0.5) * (double)n / (double)m - 0.5);
	int64_t k = (int64_t)at;
	double f = k + 1 < n ? at - (double)k : 0;

	if (k > n - 1)
		k = n - 1;
	dtype_put_f(DT_f32, t->data, i * n + k, 1 - f);
	if (f > 0)
		dtype_put_f(DT_f32, t->data, i * n + k + 1, f);
}

struct value *
b_resize_axis(struct build *b, struct value *x, int axis, int64_t m, enum resize how)
{
	char xs[MAX_RANK + 1] = {0}, ys[MAX_RANK + 1] = {0};
	struct tensor *t;
	int64_t n;

	if (!x || x->dims[axis] == m)
		return x;
	n = x->dims[axis];
	t = tensor_new(b->g->arena, DT_f32, 2, (const int64_t[]){m, n});
	for (int64_t i = 0; i < m; i++) {
		if (how == RESIZE_NEAREST)
			dtype_put_f(DT_f32, t->data, i * n + i * n / m, 1);
		else if (how == RESIZE_BILINEAR)
			linear_row(t, i, m, n);
		else
			average_row(t, i, m, n);
	}
	for (int i = 0; i < x->rank; i++)
		xs[i] = ys[i] = (char)('a' + i);
	ys[axis] = 'z';
	return b_contract(b, arena_printf(b->g->arena, "%s,z%c->%s", xs, xs[axis], ys), x,
	    graph_const(b->g, "resize", t));
}

struct value *
b_resize_like(struct build *b, struct value *x, const struct value *like, enum resize how)
{
	for (int i = 2; x && i < x->rank; i++)
		x = b_resize_axis(b, x, i, like->dims[i], how);
	return x;
}

bool
b_same_sizes(struct build *b, struct value **s, struct value **t)
{
	for (int i = 2; *s && *t && i < (*s)->rank; i++) {
		if ((*s)->dims[i] > (*t)->dims[i])
			*s = b_resize_axis(b, *s, i, (*t)->dims[i], RESIZE_AVG);
		else
			*t = b_resize_axis(b, *t, i, (*s)->dims[i], RESIZE_AVG);
	}
	return *s && *t;
}
