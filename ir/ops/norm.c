/* norm.c -- normalisations.  Statistics of a row by two passes: mean, then the mean of
 * squared differences; of a batch by one over differences from an element of each channel.
 * The gradients of batch and layer norm recompute them from the operands by the same
 * expressions, so that CSE leaves one copy. */
#include "ir/ops/ops_int.h"

/* All axes but the channel's. */
static int
batch_axes(int rank, int64_t *axes)
{
	int k = 0;

	for (int i = 0; i < rank; i++)
		if (i != 1)
			axes[k++] = i;
	return k;
}

/* v [C] as [C,1,1...], to broadcast with [N,C,...] */
static struct value *
per_channel(struct build *b, struct value *v, int rank)
{
	int64_t dims[MAX_RANK];

	if (!v)
		return NULL;
	dims[0] = v->dims[0];
	for (int i = 1; i < rank - 1; i++)
		dims[i] = 1;
	return b_reshape(b, v, rank > 1 ? rank - 1 : 1, dims);
}

struct moments {
	struct value *mean, *centred, *var, *rstd; /* centred = x - mean */
};

static bool
moments(struct build *b, struct value *x, int naxes, const int64_t *axes, double eps,
    struct moments *m)
{
	m->mean = b_mean(b, x, naxes, axes, true);
	m->centred = b_sub(b, x, m->mean);
	m->var = b_mean(b, b_mul(b, m->centred, m->centred), naxes, axes, true);
	m->rstd = b1(b, OP_rsqrt, b_adds(b, m->var, eps));
	return m->rstd != NULL;
}

/* One element of each channel, from the middle of the first item: what a border of zeroes does
 * not reach.  NULL: there is none. */
static struct value *
sample(struct build *b, struct value *x)
{
	int64_t start[MAX_RANK] = {0}, count[MAX_RANK], step[MAX_RANK];

	for (int i = 0; i < x->rank; i++) {
		step[i] = 1;
		if (x->dims[i] == 0)
			return NULL;
		start[i] = i >= 2 && dim_const(x->dims[i]) ? x->dims[i] / 2 : 0;
		count[i] = i == 1 ? x->dims[i] : 1;
	}
	return b_slice(b, x, start, count, step);
}

/* Over everything but channels.  With d = x - k for an element k of the channel,
 *   mean = k + mean(d), var = mean(d^2) - mean(d)^2
 * loses log2(1 + (mean - k)^2/var) bits of the variance: a few for any k that x has often, where
 * mean(x^2) - mean(x)^2 may lose them all.  Chan, Golub, LeVeque, "Algorithms for computing the
 * sample variance", 1983. */
static bool
batch_moments(struct build *b, struct value *x, int naxes, const int64_t *axes, double eps, struct moments *m)
{
	struct value *k = x->dtype == DT_f32 ? sample(b, x) : NULL, *d, *s, *q;

	if (!k)
		return moments(b, x, naxes, axes, eps, m);
	d = b_sub(b, x, k);
	s = b_mean(b, d, naxes, axes, true);
	q = b_mean(b, b_mul(b, d, d), naxes, axes, true);
	m->mean = b_add(b, k, s);
	m->centred = b_sub(b, x, m->mean);
	m->var = b_max(b, b_sub(b, q, b_mul(b, s, s)), b_scalar_like(b, q, 0));
	m->rstd = b1(b, OP_rsqrt, b_adds(b, m->var, eps));
	return m->rstd != NULL;
}

/* dx of statistics over count elements: dmean/count + dvar*2*centred/count; each may be NULL. */
static struct value *
moments_grad(struct build *b, const struct moments *m, int64_t count, struct value *dmean, struct value *dvar)
{
	struct value *dx = NULL, *t;

	if (dmean)
		dx = b_expand(b, b_muls(b, dmean, 1.0 / (double)count), m->centred->rank, m->centred->dims);
	if (dvar) {
		t = b_mul(b, m->centred, b_muls(b, dvar, 2.0 / (double)count));
		dx = dx ? b_add(b, dx, t) : t;
	}
	return dx;
}

/* elements that the axes hold together; -1: reported, a size is not known */
static int64_t
counted(struct build *b, const struct node *n, int naxes, const int64_t *axes)
{
	int64_t count = 1;

	for (int i = 0; i < naxes; i++) {
		if (!dim_const(n->in[0]->dims[axes[i]])) {
			diag_unsupported(b->diag, n->loc, "gradient through the statistics of a symbolic size");
			return -1;
		}
		count *= n->in[0]->dims[axes[i]];
	}
	return count ? count : 1;
}

/* ---- BatchNormalization: X, scale, B, mean, var */
static bool
bn_check(struct build *b, const struct node *n)
{
	const struct value *x = n->in[0];

	if (x->rank < 2)
		return diag_invalid(b->diag, n->loc, "input of rank %d; [N,C,...] is expected", x->rank);
	for (int i = 1; i < 5; i++)
		if (n->in[i]->rank != 1 || n->in[i]->dims[0] != x->dims[1])
			return diag_invalid(b->diag, n->loc, "operand %d is %s for %s channels", i,
			    ops_dims_text(b->g, n->in[i]->rank, n->in[i]->dims), dim_text(b->g, x->dims[1]));
	return true;
}

static struct value *
as_type(struct build *b, struct value *v, const struct value *like)
{
	return v ? b_cast(b, v, like->dtype) : NULL;
}

/* old*momentum + now*(1 - momentum) */
static struct value *
running(struct build *b, struct value *old, struct value *now, double momentum)
{
	return b_add(b, b_muls(b, old, momentum), b_muls(b, now, 1 - momentum));
}

/* Inference is one multiply and add per element: x*s + (B - mean*s), s = scale/sqrt(var + eps). */
bool
expand_BatchNormalization(struct build *b, const struct node *n, struct value **outs)
{
	struct value *x = n->in[0], *scale, *bias, *s, *t;
	double eps = attr_float(n, "epsilon"), momentum = attr_float(n, "momentum");
	int64_t axes[MAX_RANK], count = 1;
	struct moments m;
	int k;

	if (!bn_check(b, n))
		return false;
	scale = as_type(b, n->in[1], x);
	bias = as_type(b, n->in[2], x);
	if (!attr_int(n, "training_mode")) {
		if (ops_wants(n, 1) || ops_wants(n, 2))
			return diag_invalid(b->diag, n->loc, "running statistics are outputs of training mode only");
		s = b_mul(b, scale, b1(b, OP_rsqrt, b_adds(b, as_type(b, n->in[4], x), eps)));
		t = b_sub(b, bias, b_mul(b, as_type(b, n->in[3], x), s));
		outs[0] = b_add(b, b_mul(b, x, per_channel(b, s, x->rank)), per_channel(b, t, x->rank));
		return outs[0] != NULL;
	}
	k = batch_axes(x->rank, axes);
	if (!batch_moments(b, x, k, axes, eps, &m))
		return false;
	outs[0] = b_add(b,
	    b_mul(b, m.centred, b_mul(b, m.rstd, per_channel(b, scale, x->rank))),
	    per_channel(b, bias, x->rank));
	for (int i = 0; i < k; i++)
		count = dim_mul(b->g, count, x->dims[axes[i]]);
	for (int o = 1; o < 3; o++) {
		struct value *old = n->in[2 + o], *now = o == 1 ? m.mean : m.var;

		if (!ops_wants(n, o))
			continue;
		if (o == 2 && attr_int(n, "unbiased")) {
			if (!dim_const(count))
				return diag_unsupported(b->diag, n->loc, "unbiased variance of a symbolic batch");
			now = b_muls(b, now, count > 1 ? (double)count / (double)(count - 1) : 1);
		}
		now = as_type(b, now ? b_reshape(b, now, 1, old->dims) : NULL, old);
		if (!(outs[o] = running(b, old, now, momentum)))
			return false;
	}
	return outs[0] != NULL;
}

/* Inference, with r = 1/sqrt(var + eps), xc = x - mean, g = scale:
 *   dx = dy*g*r, dg = r*sum(dy*xc), dB = sum(dy), dmean = -g*r*dB, dvar = -g*r^3/2 * sum(dy*xc) */
static bool
grad_bn_inference(struct build *b, const struct node *n, struct value *d, struct value **din)
{
	struct value *x = n->in[0], *g, *r, *gr, *sum, *dot;
	int64_t axes[MAX_RANK];
	int k = batch_axes(x->rank, axes);

	g = as_type(b, n->in[1], x);
	r = b1(b, OP_rsqrt, b_adds(b, as_type(b, n->in[4], x), attr_float(n, "epsilon")));
	gr = b_mul(b, g, r);
	sum = b_reduce(b, OP_reduce_sum, d, k, axes, false);
	dot = b_sub(b, x, per_channel(b, as_type(b, n->in[3], x), x->rank));
	dot = b_reduce(b, OP_reduce_sum, b_mul(b, d, dot), k, axes, false);
	din[0] = b_mul(b, d, per_channel(b, gr, x->rank));
	din[1] = as_type(b, b_mul(b, dot, r), n->in[1]);
	din[2] = as_type(b, sum, n->in[2]);
	din[3] = as_type(b, b_neg(b, b_mul(b, gr, sum)), n->in[3]);
	din[4] = as_type(
	    b, b_muls(b, b_mul(b, b_mul(b, gr, b_mul(b, r, r)), dot), -0.5), n->in[4]);
	return din[0] && din[1] && din[2] && din[3] && din[4];
}

/* Training: dB = sum(dy), dg = sum(dy*xh), dx = g*r*(dy - dB/m - xh*dg/m).
 * Nothing flows from the running statistics. */
/* The running statistics: old*momentum + batch's*(1 - momentum). */
static bool
grad_bn_running(struct build *b, const struct node *n, const struct moments *m, struct value *const *dout,
    struct value **din)
{
	double momentum = attr_float(n, "momentum"), factor = 1 - momentum;
	struct value *now[3] = {0}, *dx;
	int64_t axes[MAX_RANK], count = counted(b, n, batch_axes(n->in[0]->rank, axes), axes);

	if (count < 0)
		return false;
	for (int o = 1; o < 3 && o < n->nout; o++) {
		if (!n->out[o] || !dout[o])
			continue;
		if (o == 2 && attr_int(n, "unbiased") && count > 1)
			factor *= (double)count / (double)(count - 1);
		now[o] = b_reshape(b, as_type(b, b_muls(b, dout[o], factor), n->in[0]), m->mean->rank, m->mean->dims);
		din[2 + o] = b_muls(b, dout[o], momentum);
		if (!now[o] || !din[2 + o])
			return false;
	}
	dx = moments_grad(b, m, count, now[1], now[2]);
	din[0] = din[0] && dx ? b_add(b, din[0], dx) : dx ? dx : din[0];
	return din[0] != NULL;
}

bool
grad_BatchNormalization(
    struct build *b, const struct node *n, struct value *const *dout, struct value **din)
{
	struct value *x = n->in[0], *d = dout[0], *xh, *db, *dg, *inner;
	int64_t axes[MAX_RANK];
	struct moments m;
	int k;

	if (!attr_int(n, "training_mode"))
		return !d || grad_bn_inference(b, n, d, din);
	k = batch_axes(x->rank, axes);
	if (!batch_moments(b, x, k, axes, attr_float(n, "epsilon"), &m))
		return false;
	if (!d)
		return grad_bn_running(b, n, &m, dout, din);
	xh = b_mul(b, m.centred, m.rstd);
	db = b_reduce(b, OP_reduce_sum, d, k, axes, true);
	dg = b_reduce(b, OP_reduce_sum, b_mul(b, d, xh), k, axes, true);
	if (ops_all_const(x->rank, x->dims)) {
		double count = (double)dims_count(x->rank, x->dims) / (double)x->dims[1];

		inner = b_add(b, b_muls(b, db, 1 / count), b_mul(b, xh, b_muls(b, dg, 1 / count)));
	} else
		inner = b_add(b, b_mean(b, d, k, axes, true),
		    b_mul(b, xh, b_mean(b, b_mul(b, d, xh), k, axes, true)));
	din[0] = b_mul(b, b_mul(b, per_channel(b, as_type(b, n->in[1], x), x->rank), m.rstd),
	    b_sub(b, d, inner));
	if (!db || !dg)
		return false;
	din[1] = as_type(b, b_reshape(b, dg, 1, n->in[1]->dims), n->in[1]);
	din[2] = as_type(b, b_reshape(b, db, 1, n->in[2]->dims), n->in[2]);
	for (int o = 1; o < n->nout; o++)
		if (n->out[o] && dout[o])
			return din[0] && din[1] && din[2] && grad_bn_running(b, n, &m, dout, din);
	return din[0] && din[1] && din[2];
}

/* ---- LayerNormalization: X, Scale, B?; over axis and what follows it */
static int
layer_axes(struct build *b, const struct node *n, int64_t *axes)
{
	int rank = n->in[0]->rank, a = axis_normal(n, b->diag, attr_int(n, "axis"), rank), k = 0;

	if (a < 0)
		return -1;
	for (int i = a; i < rank; i++)
		axes[k++] = i;
	return k;
}

/* The type of the statistics that leave. */
static bool
stash_type(struct build *b, const struct node *n, enum dtype *t)
{
	int64_t to = attr_int(n, "stash_type");

	*t = to < 0 || to > INT32_MAX ? DT_none : dtype_from_onnx((int)to);
	return dtype_is_float(*t) || diag_invalid(b->diag, n->loc, "stash_type %lld is no float type", (long long)to);
}

bool
expand_LayerNormalization(struct build *b, const struct node *n, struct value **outs)
{
	struct value *x = n->in[0], *y;
	int64_t axes[MAX_RANK];
	enum dtype stash;
	struct moments m;
	int k = layer_axes(b, n, axes);

	if (k < 0 || !moments(b, x, k, axes, attr_float(n, "epsilon"), &m))
		return false;
	y = b_mul(b, b_mul(b, m.centred, m.rstd), n->in[1]);
	if (ops_in(n, 2))
		y = b_add(b, y, n->in[2]);
	if (y && !dims_equal(y->rank, y->dims, x->rank, x->dims))
		return diag_invalid(b->diag, n->loc, "scale or bias does not broadcast to %s",
		    ops_dims_text(b->g, x->rank, x->dims));
	outs[0] = y;
	if (!stash_type(b, n, &stash))
		return false;
	if (ops_wants(n, 1))
		outs[1] = b_cast(b, m.mean, stash);
	if (ops_wants(n, 2))
		outs[2] = b_cast(b, m.rstd, stash);
	return y != NULL;
}

/* g = dy*scale: dx = rstd*(g - mean(g) - xh*mean(g*xh)) */
/* Outputs 1 and 2: the mean, and r = 1/sqrt(var + eps) with dvar = -r^3/2 * dr. */
static bool
grad_ln_statistics(struct build *b, const struct node *n, const struct moments *m, int naxes, const int64_t *axes,
    struct value *const *dout, struct value **din)
{
	struct value *dmean = n->nout > 1 && n->out[1] ? dout[1] : NULL;
	struct value *dr = n->nout > 2 && n->out[2] ? dout[2] : NULL, *dvar = NULL, *dx;
	int64_t count;

	if (!dmean && !dr)
		return true;
	if ((count = counted(b, n, naxes, axes)) < 0)
		return false;
	dmean = as_type(b, dmean, n->in[0]);
	if (dr)
		dvar = b_muls(b, b_mul(b, as_type(b, dr, n->in[0]), b_mul(b, m->rstd, b_mul(b, m->rstd, m->rstd))), -0.5);
	dx = moments_grad(b, m, count, dmean, dvar);
	din[0] = din[0] && dx ? b_add(b, din[0], dx) : dx;
	return din[0] != NULL;
}

bool
grad_LayerNormalization(
    struct build *b, const struct node *n, struct value *const *dout, struct value **din)
{
	struct value *x = n->in[0], *d = dout[0], *xh, *g;
	int64_t axes[MAX_RANK];
	struct moments m;
	int k;

	if ((k = layer_axes(b, n, axes)) < 0 ||
	    !moments(b, x, k, axes, attr_float(n, "epsilon"), &m))
		return false;
	if (d) {
		xh = b_mul(b, m.centred, m.rstd);
		g = b_mul(b, d, n->in[1]);
		din[0] = b_mul(b, m.rstd,
		    b_sub(b, b_sub(b, g, b_mean(b, g, k, axes, true)),
		        b_mul(b, xh, b_mean(b, b_mul(b, g, xh), k, axes, true))));
		din[1] = b_unbroadcast(b, b_mul(b, d, xh), n->in[1]);
		if (ops_in(n, 2))
			din[2] = b_unbroadcast(b, d, n->in[2]);
		if (!din[0] || !din[1])
			return false;
	}
	return grad_ln_statistics(b, n, &m, k, axes, dout, din);
}

/* ---- RMSNormalization: x / sqrt(mean(x^2) + eps) * scale, of the scale's type */
bool
expand_RMSNormalization(struct build *b, const struct node *n, struct value **outs)
{
	struct value *x = n->in[0], *r;
	int64_t axes[MAX_RANK];
	int k = layer_axes(b, n, axes);

	if (k < 0)
		return false;
	r = b_adds(b, b_mean(b, b_mul(b, x, x), k, axes, true), attr_float(n, "epsilon"));
	outs[0] = b_mul(b, as_type(b, b_mul(b, x, b1(b, OP_rsqrt, r)), n->in[1]), n->in[1]);
	return outs[0] != NULL;
}

/* ---- InstanceNormalization: per image and channel over the spatial axes */
bool
expand_InstanceNormalization(struct build *b, const struct node *n, struct value **outs)
{
	struct value *x = n->in[0];
	int64_t axes[MAX_RANK];
	struct moments m;

	if (x->rank < 3)
		return diag_invalid(b->diag, n->loc, "input of rank %d; [N,C,spatial...] is expected", x->rank);
	for (int i = 1; i < 3; i++)
		if (n->in[i]->rank != 1 || n->in[i]->dims[0] != x->dims[1])
			return diag_invalid(b->diag, n->loc, "operand %d is %s for %s channels", i,
			    ops_dims_text(b->g, n->in[i]->rank, n->in[i]->dims), dim_text(b->g, x->dims[1]));
	for (int i = 2; i < x->rank; i++)
		axes[i - 2] = i;
	if (!moments(b, x, x->rank - 2, axes, attr_float(n, "epsilon"), &m))
		return false;
	outs[0] = b_add(b,
	    b_mul(b, b_mul(b, m.centred, m.rstd), per_channel(b, n->in[1], x->rank)),
	    per_channel(b, n->in[2], x->rank));
	return outs[0] != NULL;
}

/* ---- GroupNormalization: [N,G,C/G,...]; scale and bias per channel, or per group (before opset 21) */
static struct value *
group_affine(struct build *b, const struct node *n, int i, int64_t groups)
{
	struct value *v = n->in[i];
	int64_t channels = n->in[0]->dims[1], dims[2] = {groups, 1}, wide[2];

	if (v->rank == 1 && v->dims[0] == channels)
		return per_channel(b, v, n->in[0]->rank);
	if (v->rank != 1 || v->dims[0] != groups) {
		diag_invalid(b->diag, n->loc, "operand %d is %s for %lld channels in %lld groups", i,
		    ops_dims_text(b->g, v->rank, v->dims), (long long)channels, (long long)groups);
		return NULL;
	}
	wide[0] = groups;
	wide[1] = channels / groups;
	v = b_expand(b, b_reshape(b, v, 2, dims), 2, wide);
	return per_channel(b, b_reshape(b, v, 1, &channels), n->in[0]->rank);
}

bool
expand_GroupNormalization(struct build *b, const struct node *n, struct value **outs)
{
	struct value *x = n->in[0], *y;
	int64_t groups = attr_int(n, "num_groups"), axes[MAX_RANK], dims[MAX_RANK + 1];
	struct moments m;

	if (x->rank < 2 || x->rank >= MAX_RANK || !dim_const(x->dims[1]))
		return diag_unsupported(b->diag, n->loc, "input %s", ops_dims_text(b->g, x->rank, x->dims));
	if (groups < 1 || x->dims[1] % groups)
		return diag_invalid(b->diag, n->loc, "%lld channels in %lld groups", (long long)x->dims[1],
		    (long long)groups);
	dims[0] = x->dims[0];
	dims[1] = groups;
	dims[2] = x->dims[1] / groups;
	for (int i = 2; i < x->rank; i++)
		dims[i + 1] = x->dims[i];
	for (int i = 2; i <= x->rank; i++)
		axes[i - 2] = i;
	if (!moments(b, b_reshape(b, x, x->rank + 1, dims), x->rank - 1, axes, attr_float(n, "epsilon"), &m))
		return false;
	y = b_reshape(b, b_mul(b, m.centred, m.rstd), x->rank, x->dims);
	outs[0] = b_add(b, b_mul(b, y, group_affine(b, n, 1, groups)), group_affine(b, n, 2, groups));
	return outs[0] != NULL;
}

/* ---- LpNormalization: x / |x|_p along axis, 0 where the norm is 0 */
bool
expand_LpNormalization(struct build *b, const struct node *n, struct value **outs)
{
	struct value *x = n->in[0], *s;
	int64_t p = attr_int(n, "p"), axis = axis_normal(n, b->diag, attr_int(n, "axis"), x->rank);

	if (axis < 0)
		return false;
	if (p != 1 && p != 2)
		return diag_invalid(b->diag, n->loc, "p is %lld; 1 or 2 is expected", (long long)p);
	s = b_reduce(b, OP_reduce_sum, p == 1 ? b1(b, OP_abs, x) : b_mul(b, x, x), 1, &axis, true);
	s = b_select(b, b2(b, OP_eq, s, b_scalar_like(b, x, 0)), b_scalar_like(b, x, 1), s);
	outs[0] = b_div(b, x, p == 1 ? s : b_sqrt(b, s));
	return outs[0] != NULL;
}

/* ---- LRN: x / (bias + alpha/size * sum of x^2 over `size` neighbouring channels)^beta.
 * The channels are the first spatial axis of a pooling window. */
bool
expand_LRN(struct build *b, const struct node *n, struct value **outs)
{
	struct value *x = n->in[0], *s;
	int64_t size = attr_int(n, "size"), dims[MAX_RANK];
	struct window w = {0};
	struct attr a[4];

	if (x->rank < 2 || x->rank - 1 > MAX_SPATIAL)
		return diag_unsupported(b->diag, n->loc, "input of rank %d", x->rank);
	if (size < 1 || size > INT32_MAX)
		return diag_invalid(b->diag, n->loc, "size %lld", (long long)size);
	dims[0] = x->dims[0];
	dims[1] = 1;
	for (int i = 1; i < x->rank; i++)
		dims[i + 1] = x->dims[i];
	w.n = x->rank - 1;
	for (int i = 0; i < w.n; i++)
		w.kernel[i] = w.stride[i] = w.dilation[i] = 1;
	w.kernel[0] = size;
	w.lo[0] = (size - 1) / 2;
	w.hi[0] = size - 1 - w.lo[0];
	ops_window_attrs(b, &w, a);
	a[3] = attr_of_ints("kernel", w.n, w.kernel);
	s = b_reshape(b, b_mul(b, x, x), x->rank + 1, dims);
	s = s ? b_op(b, OP_sum_pool, 1, &s, 4, a) : NULL;
	s = b_reshape(b, s, x->rank, x->dims);
	s = b_adds(b, b_muls(b, s, attr_float(n, "alpha") / (double)size), attr_float(n, "bias"));
	outs[0] = b_div(b, x, b2(b, OP_pow, s, b_scalar_like(b, x, attr_float(n, "beta"))));
	return outs[0] != NULL;
}

/* ---- MeanVarianceNormalization: (x - mean) / (sqrt(var) + 1e-9) */
bool
expand_MeanVarianceNormalization(struct build *b, const struct node *n, struct value **outs)
{
	struct value *x = n->in[0];
	const int64_t *given;
	int64_t axes[MAX_RANK], usual[3] = {0, 2, 3};
	int k = attr_ints(n, "axes", &given);
	struct moments m;

	if (k == 0) {
		given = usual;
		k = 3;
	}
	if (k > MAX_RANK)
		return diag_invalid(b->diag, n->loc, "%d axes", k);
	for (int i = 0; i < k; i++)
		if ((axes[i] = axis_normal(n, b->diag, given[i], x->rank)) < 0)
			return false;
	if (!moments(b, x, k, axes, 0, &m))
		return false;
	outs[0] = b_div(b, m.centred, b_adds(b, b_sqrt(b, m.var), 1e-9));
	return outs[0] != NULL;
}
