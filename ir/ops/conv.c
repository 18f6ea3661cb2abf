/* conv.c -- convolution and its two gradients over x [N,C,spatial...] and
 * w [M,C/group,kernel...], y [N,M,spatial...]:
 *   y[n,m,o] = sum over c,k of x[n, g*C/group + c, o*stride + k*dilation - lo] * w[m,c,k]
 * with g = m / (M/group).  The three are adjoints of one trilinear form, so the
 * gradients of each are the other two.  A conv may take `merge` groups as one, with
 * weights [M,merge*C/group,kernel...] of which those between groups are zero. */
#include "ir/ops/ops_int.h"

static int64_t
merge_of(const struct node *n)
{
	return n->op == OP_conv ? attr_int(n, "merge") : 1;
}

/* Checks x, w, y against each other; xs etc. are dims.  y may be NULL: computed. */
static bool
conv_shape(struct graph *g, struct node *n, struct diag *d, int rank, const int64_t *x,
    const int64_t *w, int64_t *y, bool check)
{
	int64_t group = attr_int(n, "group"), merge = merge_of(n), out[MAX_RANK];
	struct window win;

	if (rank < 3 || rank > MAX_RANK)
		return diag_invalid(d, n->loc, "convolution of rank %d; [N,C,spatial...] is expected", rank);
	if (!ops_window(n, d, rank - 2, &win))
		return false;
	if (!ops_all_const(rank, w))
		return diag_unsupported(d, n->loc, "convolution weights with symbolic dims %s",
		    ops_dims_text(g, rank, w));
	memcpy(win.kernel, w + 2, sizeof *w * (size_t)(rank - 2));
	if (merge < 1 || w[1] % merge)
		return diag_invalid(d, n->loc, "%s of %lld merged groups", ops_dims_text(g, rank, w), (long long)merge);
	if (group < 1 || group > INT32_MAX || w[0] % group || !dim_const(x[1]) ||
	    (w[1] > 0 && group > INT64_MAX / w[1]) || x[1] != w[1] / merge * group)
		return diag_invalid(d, n->loc,
		    "input %s and weights %s do not fit in %lld groups: %s channels, %s expected",
		    ops_dims_text(g, rank, x), ops_dims_text(g, rank, w), (long long)group,
		    dim_text(g, x[1]), dim_text(g, dim_mul(g, w[1] / merge, group > 0 ? group : 0)));
	out[0] = x[0];
	out[1] = w[0];
	if (!ops_window_out(g, n, d, &win, x + 2, out + 2))
		return false;
	if (check && !dims_equal(rank, out, rank, y))
		return diag_invalid(d, n->loc, "convolution of %s with %s gives %s, not %s",
		    ops_dims_text(g, rank, x), ops_dims_text(g, rank, w), ops_dims_text(g, rank, out),
		    ops_dims_text(g, rank, y));
	memcpy(y, out, sizeof *y * (size_t)rank);
	return true;
}

static bool
operands(struct graph *g, struct node *n, struct diag *d)
{
	const struct value *a, *b;

	if (!ops_known(n, d))
		return false;
	a = n->in[0];
	b = n->in[1];
	if (a->rank != b->rank)
		return diag_invalid(d, n->loc, "operands %s and %s differ in rank",
		    ops_dims_text(g, a->rank, a->dims), ops_dims_text(g, b->rank, b->dims));
	if (a->dtype != b->dtype || !dtype_is_float(a->dtype))
		return diag_invalid(d, n->loc, "operands are %s and %s; one float type is expected",
		    dtype_info[a->dtype].name, dtype_info[b->dtype].name);
	return true;
}

bool
infer_conv(struct graph *g, struct node *n, struct diag *d)
{
	int64_t y[MAX_RANK];

	return operands(g, n, d) &&
	    conv_shape(g, n, d, n->in[0]->rank, n->in[0]->dims, n->in[1]->dims, y, false) &&
	    ops_set(n, d, 0, n->in[0]->dtype, n->in[0]->rank, y);
}

static bool
want_dims(struct node *n, struct diag *d, const int64_t **dims)
{
	int k = attr_ints(n, "dims", dims);

	if (k != n->in[0]->rank)
		return diag_invalid(d, n->loc, "dims has %d entries, %d expected", k, n->in[0]->rank);
	return true;
}

bool
infer_conv_grad_data(struct graph *g, struct node *n, struct diag *d)
{
	const int64_t *dims;
	int64_t y[MAX_RANK];

	if (!operands(g, n, d) || !want_dims(n, d, &dims))
		return false;
	memcpy(y, n->in[0]->dims, sizeof y);
	return conv_shape(g, n, d, n->in[0]->rank, dims, n->in[1]->dims, y, true) &&
	    ops_set(n, d, 0, n->in[0]->dtype, n->in[0]->rank, dims);
}

bool
infer_conv_grad_weight(struct graph *g, struct node *n, struct diag *d)
{
	const int64_t *dims;
	int64_t y[MAX_RANK];

	if (!operands(g, n, d) || !want_dims(n, d, &dims))
		return false;
	memcpy(y, n->in[1]->dims, sizeof y);
	return conv_shape(g, n, d, n->in[0]->rank, n->in[0]->dims, dims, y, true) &&
	    ops_set(n, d, 0, n->in[0]->dtype, n->in[0]->rank, dims);
}

/* Another of the three with this node's window; like: whose dims the result has. */
static struct value *
conv_as(struct build *b, enum op op, const struct node *n, struct value *p, struct value *q,
    const struct value *like)
{
	struct value *in[2] = {p, q};
	struct window win;
	struct attr a[5];
	int na = 4;

	if (!ops_window(n, b->diag, n->in[0]->rank - 2, &win))
		return NULL;
	ops_window_attrs(b, &win, a);
	a[3] = attr_of_int("group", attr_int(n, "group"));
	if (like)
		a[na++] = attr_of_ints("dims", like->rank, like->dims);
	return b_op(b, op, 2, in, na, a);
}

bool
grad_conv(struct build *b, const struct node *n, struct value *const *dout, struct value **din)
{
	if (!dout[0])
		return true;
	din[0] = conv_as(b, OP_conv_grad_data, n, dout[0], n->in[1], n->in[0]);
	din[1] = conv_as(b, OP_conv_grad_weight, n, n->in[0], dout[0], n->in[1]);
	return din[0] && din[1];
}

bool
grad_conv_grad_data(
    struct build *b, const struct node *n, struct value *const *dout, struct value **din)
{
	if (!dout[0])
		return true;
	din[0] = conv_as(b, OP_conv, n, dout[0], n->in[1], NULL);
	din[1] = conv_as(b, OP_conv_grad_weight, n, dout[0], n->in[0], n->in[1]);
	return din[0] && din[1];
}

bool
grad_conv_grad_weight(
    struct build *b, const struct node *n, struct value *const *dout, struct value **din)
{
	if (!dout[0])
		return true;
	din[0] = conv_as(b, OP_conv_grad_data, n, n->in[1], dout[0], n->in[0]);
	din[1] = conv_as(b, OP_conv, n, n->in[0], dout[0], NULL);
	return din[0] && din[1];
}

/* ---- values: one walk over every product of the trilinear form */
struct form {
	int rank;
	int64_t x[MAX_RANK], w[MAX_RANK], y[MAX_RANK]; /* dims */
	struct window win;
	int64_t group;
	double *xd, *wd, *yd;
	enum op into; /* conv: into y, conv_grad_data: into x, conv_grad_weight: into w */
};

/* All taps and output positions of one (image, output channel, input channel);
 * rows along the last spatial axis. */
static void
plane(struct form *f, double *x, double *w, double *y)
{
	int ns = f->win.n, last = ns - 1;
	int64_t tap[MAX_SPATIAL] = {0}, xs[MAX_SPATIAL], ys[MAX_SPATIAL], t = 0;

	ops_strides(ns, f->x + 2, xs);
	ops_strides(ns, f->y + 2, ys);
	do {
		int64_t pos[MAX_SPATIAL] = {0};
		double sum = 0;

		do {
			int64_t xo = 0, yo = 0, step = f->win.stride[last], from, wd = f->x[2 + last];
			bool inside = true;

			for (int i = 0; i < last; i++) {
				int64_t p = pos[i] * f->win.stride[i] + tap[i] * f->win.dilation[i] - f->win.lo[i];

				inside &= p >= 0 && p < f->x[2 + i];
				xo += p * xs[i];
				yo += pos[i] * ys[i];
			}
			if (!inside)
				continue;
			from = tap[last] * f->win.dilation[last] - f->win.lo[last];
			for (int64_t o = 0, p = from; o < f->y[2 + last]; o++, p += step) {
				if (p < 0 || p >= wd)
					continue;
				if (f->into == OP_conv)
					y[yo + o] += x[xo + p] * w[t];
				else if (f->into == OP_conv_grad_data)
					x[xo + p] += y[yo + o] * w[t];
				else
					sum += x[xo + p] * y[yo + o];
			}
		} while (ops_next(last, f->y + 2, pos));
		if (f->into == OP_conv_grad_weight)
			w[t] += sum;
		t++;
	} while (ops_next(ns, f->w + 2, tap));
}

static bool
run(struct form *f, const struct node *n)
{
	int64_t xp = 1, wp = 1, yp = 1, per;

	f->group = attr_int(n, "group");
	if (!ops_window(n, NULL, f->rank - 2, &f->win))
		return false;
	for (int i = 2; i < f->rank; i++) {
		xp *= f->x[i];
		wp *= f->w[i];
		yp *= f->y[i];
	}
	if (!xp || !wp || !yp)
		return true;
	per = f->w[0] / f->group * merge_of(n);
	for (int64_t b = 0; b < f->x[0]; b++)
		for (int64_t m = 0; m < f->w[0]; m++)
			for (int64_t c = 0, first = m / per * f->w[1]; c < f->w[1] && first + c < f->x[1]; c++)
				plane(f, f->xd + (b * f->x[1] + first + c) * xp, f->wd + (m * f->w[1] + c) * wp,
				    f->yd + (b * f->y[1] + m) * yp);
	return true;
}

static double *
place(int64_t *dims, const struct etensor *t)
{
	memcpy(dims, t->dims, sizeof t->dims);
	return t->f;
}

bool
eval_conv(const struct node *n, const struct etensor *const *in, struct etensor **out)
{
	struct form f = {.rank = in[0]->rank, .into = OP_conv};

	f.xd = place(f.x, in[0]);
	f.wd = place(f.w, in[1]);
	f.yd = place(f.y, out[0]);
	return run(&f, n);
}

bool
eval_conv_grad_data(const struct node *n, const struct etensor *const *in, struct etensor **out)
{
	struct form f = {.rank = in[0]->rank, .into = OP_conv_grad_data};

	f.yd = place(f.y, in[0]);
	f.wd = place(f.w, in[1]);
	f.xd = place(f.x, out[0]);
	return run(&f, n);
}

bool
eval_conv_grad_weight(const struct node *n, const struct etensor *const *in, struct etensor **out)
{
	struct form f = {.rank = in[0]->rank, .into = OP_conv_grad_weight};

	f.xd = place(f.x, in[0]);
	f.yd = place(f.y, in[1]);
	f.wd = place(f.w, out[0]);
	return run(&f, n);
}
