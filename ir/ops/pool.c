/* pool.c -- windows over [N,C,spatial...].  Taps that fall outside do not count:
 * they are -inf for the maximum and 0 for the sum. */
#include <math.h>

#include "ir/ops/ops_int.h"

static bool
pool_window(const struct node *n, struct diag *d, int rank, struct window *w)
{
	if (rank < 3)
		return diag_invalid(d, n->loc, "pooling of rank %d; [N,C,spatial...] is expected", rank);
	return ops_window(n, d, rank - 2, w) &&
	    ops_list(n, d, "kernel", rank - 2, 1, w->kernel);
}

bool
infer_pool(struct graph *g, struct node *n, struct diag *d)
{
	const struct value *x = n->in[0];
	int64_t dims[MAX_RANK];
	struct window w;

	if (!ops_known(n, d))
		return false;
	if (!dtype_is_float(x->dtype) && !dtype_is_int(x->dtype))
		return diag_invalid(d, n->loc, "pooling of %s", dtype_info[x->dtype].name);
	if (!pool_window(n, d, x->rank, &w))
		return false;
	dims[0] = x->dims[0];
	dims[1] = x->dims[1];
	return ops_window_out(g, n, d, &w, x->dims + 2, dims + 2) &&
	    ops_set(n, d, 0, x->dtype, x->rank, dims);
}

/* Whether operands first..last-1 are what pooling x gives. */
static bool
pooled(struct graph *g, const struct node *n, struct diag *d, int first, int last)
{
	const struct value *x = n->in[0];
	int64_t out[MAX_RANK];
	struct window w;

	if (!ops_known(n, d) || !pool_window(n, d, x->rank, &w) ||
	    !ops_window_out(g, n, d, &w, x->dims + 2, out + 2))
		return false;
	out[0] = x->dims[0];
	out[1] = x->dims[1];
	for (int i = first; i < last; i++)
		if (n->in[i]->dtype != x->dtype || !dims_equal(x->rank, out, n->in[i]->rank, n->in[i]->dims))
			return diag_invalid(d, n->loc, "pooling of %s gives %s, not %s",
			    ops_dims_text(g, x->rank, x->dims), ops_dims_text(g, x->rank, out),
			    ops_dims_text(g, n->in[i]->rank, n->in[i]->dims));
	return true;
}

bool
infer_max_pool_tap(struct graph *g, struct node *n, struct diag *d)
{
	return pooled(g, n, d, 1, 2) && ops_set(n, d, 0, DT_i32, n->in[1]->rank, n->in[1]->dims);
}

bool
infer_max_pool_grad(struct graph *g, struct node *n, struct diag *d)
{
	return pooled(g, n, d, 1, 3) && ops_set(n, d, 0, n->in[0]->dtype, n->in[0]->rank, n->in[0]->dims);
}

bool
infer_sum_pool_grad(struct graph *g, struct node *n, struct diag *d)
{
	const struct value *dy = n->in[0];
	const int64_t *dims;
	int64_t out[MAX_RANK];
	struct window w;

	if (!ops_known(n, d))
		return false;
	if (attr_ints(n, "dims", &dims) != dy->rank)
		return diag_invalid(d, n->loc, "dims does not have rank %d", dy->rank);
	if (!pool_window(n, d, dy->rank, &w) ||
	    !ops_window_out(g, n, d, &w, dims + 2, out + 2))
		return false;
	out[0] = dims[0];
	out[1] = dims[1];
	if (!dims_equal(dy->rank, out, dy->rank, dy->dims))
		return diag_invalid(d, n->loc, "pooling of %s gives %s, not %s",
		    ops_dims_text(g, dy->rank, dims), ops_dims_text(g, dy->rank, out),
		    ops_dims_text(g, dy->rank, dy->dims));
	return ops_set(n, d, 0, dy->dtype, dy->rank, dims);
}

static struct value *
pool_as(struct build *b, enum op op, const struct node *n, int nin, struct value **in,
    const struct value *like)
{
	struct window w;
	struct attr a[5];
	int na = 4;

	if (!pool_window(n, b->diag, n->in[0]->rank, &w))
		return NULL;
	ops_window_attrs(b, &w, a);
	a[3] = attr_of_ints("kernel", w.n, w.kernel);
	if (like)
		a[na++] = attr_of_ints("dims", like->rank, like->dims);
	return b_op(b, op, nin, in, na, a);
}

bool
grad_max_pool(struct build *b, const struct node *n, struct value *const *dout, struct value **din)
{
	struct value *in[3] = {n->in[0], n->out[0], dout[0]};

	if (!dout[0])
		return true;
	din[0] = pool_as(b, OP_max_pool_grad, n, 3, in, NULL);
	return din[0] != NULL;
}

/* Linear in dy: what arrives at x is read at the maxima. */
bool
grad_max_pool_grad(
    struct build *b, const struct node *n, struct value *const *dout, struct value **din)
{
	struct value *x = n->in[0], *y = n->in[1], *at, *flat;
	struct window w;
	int64_t count;

	if (!dout[0])
		return true;
	if (!pool_window(n, b->diag, x->rank, &w))
		return false;
	if (!ops_all_const(x->rank, x->dims))
		return diag_unsupported(b->diag, n->loc, "the second derivative of max pooling over %s",
		    ops_dims_text(b->g, x->rank, x->dims));
	at = ops_max_places(b, x, y, &w, false);
	if (!at)
		return false;
	count = dims_count(x->rank, x->dims);
	flat = b_reshape(b, dout[0], 1, &count);
	return (din[2] = b_gather(b, flat, at, 0)) != NULL;
}

bool
grad_sum_pool(struct build *b, const struct node *n, struct value *const *dout, struct value **din)
{
	struct value *in[1] = {dout[0]};

	if (!dout[0])
		return true;
	din[0] = pool_as(b, OP_sum_pool_grad, n, 1, in, n->in[0]);
	return din[0] != NULL;
}

bool
grad_sum_pool_grad(
    struct build *b, const struct node *n, struct value *const *dout, struct value **din)
{
	struct value *in[1] = {dout[0]};

	if (!dout[0])
		return true;
	din[0] = pool_as(b, OP_sum_pool, n, 1, in, NULL);
	return din[0] != NULL;
}

/* Calls for every tap inside the plane, in tap order: at is its offset. */
struct taps {
	struct window w;
	const int64_t *x; /* spatial dims */
	int64_t tap[MAX_SPATIAL], at;
	bool fresh;
};

static bool
next_tap(struct taps *t, const int64_t *pos)
{
	for (;;) {
		bool inside = true;

		if (t->fresh)
			t->fresh = false;
		else if (!ops_next(t->w.n, t->w.kernel, t->tap))
			return false;
		t->at = 0;
		for (int i = 0; i < t->w.n; i++) {
			int64_t p = pos[i] * t->w.stride[i] + t->tap[i] * t->w.dilation[i] - t->w.lo[i];

			inside &= p >= 0 && p < t->x[i];
			t->at = t->at * t->x[i] + p;
		}
		if (inside)
			return true;
	}
}

enum pool_do { POOL_MAX, POOL_SUM, POOL_MAX_GRAD, POOL_SUM_GRAD };

/* x: the large side, y: the small one (of POOL_MAX_GRAD also dy). */
static bool
pool_run(const struct node *n, enum pool_do what, const struct etensor *x, struct etensor *dx,
    const struct etensor *y, struct etensor *yo, const struct etensor *dy)
{
	const struct etensor *big = x ? x : dx, *small = y ? y : yo ? yo : dy;
	struct taps t = {.x = big->dims + 2};
	int64_t pos[MAX_SPATIAL] = {0}, xp = 1, yp = 1;

	if (!pool_window(n, NULL, big->rank, &t.w))
		return false;
	for (int i = 2; i < big->rank; i++) {
		xp *= big->dims[i];
		yp *= small->dims[i];
	}
	for (int64_t o = 0; o < small->count; o++) {
		int64_t base = o / yp * xp, k;
		double f = what == POOL_MAX ? -INFINITY : 0;
		int64_t acc = INT64_MIN;

		t.fresh = true;
		memset(t.tap, 0, sizeof t.tap);
		while (next_tap(&t, pos)) {
			k = base + t.at;
			if (what == POOL_MAX && x->f)
				f = isnan(f) || f > x->f[k] ? f : x->f[k];
			else if (what == POOL_MAX)
				acc = acc > x->i[k] ? acc : x->i[k];
			else if (what == POOL_SUM)
				f += et_get(x, k);
			else if (what == POOL_SUM_GRAD)
				dx->f[k] += dy->f[o];
			else if (x->f[k] == y->f[o]) {
				dx->f[k] += dy->f[o];
				break;
			}
		}
		if (yo && yo->f)
			yo->f[o] = f;
		else if (yo)
			yo->i[o] = what == POOL_MAX ? int_wrap(yo->dtype, acc) : int_wrap(yo->dtype, (int64_t)f);
		ops_next(t.w.n, small->dims + 2, pos);
	}
	return true;
}

bool
eval_max_pool_tap(const struct node *n, const struct etensor *const *in, struct etensor **out)
{
	const struct etensor *x = in[0], *y = in[1];
	struct taps t = {.x = x->dims + 2};
	int64_t pos[MAX_SPATIAL] = {0}, xp = dims_count(x->rank - 2, x->dims + 2), yp = dims_count(y->rank - 2, y->dims + 2);

	if (!pool_window(n, NULL, x->rank, &t.w))
		return false;
	for (int64_t o = 0; o < y->count; o++) {
		t.fresh = true;
		memset(t.tap, 0, sizeof t.tap);
		while (next_tap(&t, pos)) {
			int64_t k = o / yp * xp + t.at, tap = 0;

			if (x->f ? x->f[k] != y->f[o] : x->i[k] != y->i[o])
				continue;
			for (int i = 0; i < t.w.n; i++)
				tap = tap * t.w.kernel[i] + t.tap[i];
			out[0]->i[o] = tap;
			break;
		}
		ops_next(t.w.n, y->dims + 2, pos);
	}
	return true;
}

bool
eval_max_pool(const struct node *n, const struct etensor *const *in, struct etensor **out)
{
	return pool_run(n, POOL_MAX, in[0], NULL, NULL, out[0], NULL);
}

bool
eval_max_pool_grad(const struct node *n, const struct etensor *const *in, struct etensor **out)
{
	return in[0]->f && pool_run(n, POOL_MAX_GRAD, in[0], out[0], in[1], NULL, in[2]);
}

bool
eval_sum_pool(const struct node *n, const struct etensor *const *in, struct etensor **out)
{
	return pool_run(n, POOL_SUM, in[0], NULL, NULL, out[0], NULL);
}

bool
eval_sum_pool_grad(const struct node *n, const struct etensor *const *in, struct etensor **out)
{
	return in[0]->f && pool_run(n, POOL_SUM_GRAD, NULL, out[0], NULL, NULL, in[0]);
}
