/* nest_pool -- windows over [N,C,spatial...], in any layout: max_pool, sum_pool,
 * their gradients, and which tap is the maximum.  Loops follow the result's memory, the window is written
 * out; taps outside do not count.  Gradients gather: an element of dx looks at
 * every window that covers it, for max_pool at which tap each has chosen. */
#include "passes/nest.h"

#include <string.h>

enum { MAX_TAPS = 64 };

void
nest_window_of(const struct node *n, int ns, const int64_t *kernel, struct nest_window *w)
{
	const int64_t *p;

	w->n = ns;
	for (int i = 0; i < ns; i++) {
		w->kernel[i] = kernel[i];
		w->stride[i] = attr_ints(n, "strides", &p) ? p[i] : 1;
		w->dilation[i] = attr_ints(n, "dilations", &p) ? p[i] : 1;
		w->lo[i] = attr_ints(n, "pads", &p) ? p[i] : 0;
	}
}

bool
nest_next_tap(const struct nest_window *w, int64_t *tap)
{
	for (int i = w->n - 1; i >= 0; i--) {
		if (++tap[i] < w->kernel[i])
			return true;
		tap[i] = 0;
	}
	return false;
}

struct pool {
	struct lower *lo;
	struct emit *e;
	struct node *n;
	struct nest_window w;
	struct nest_order o;
	int var[MAX_DIGITS];
	struct index idx[MAX_RANK];
	struct value *chosen; /* of max_pool_grad: a window's tap, like y */
};

/* Index of tap k of the window at output idx. */
static void
tap_index(
    const struct pool *p, int rank, const struct index *out, const int64_t *k, struct index *ix)
{
	ix[0] = out[0];
	ix[1] = out[1];
	for (int i = 0; i < p->w.n && i + 2 < rank; i++) {
		ix[i + 2] = index_of(affine_scaled(&out[i + 2].whole, p->w.stride[i]));
		ix[i + 2].whole.c += k[i] * p->w.dilation[i] - p->w.lo[i];
	}
}

static int
tap_load(struct pool *p, struct value *x, const struct index *out, const int64_t *k, int fill)
{
	struct index ix[MAX_RANK];

	tap_index(p, x->rank, out, k, ix);
	return emit_load(p->e, x, ix, fill);
}

static int64_t
taps(const struct nest_window *w)
{
	return dims_count(w->n, w->kernel);
}

/* Forward: written out if the window is small, else loops over it. */
static int
forward(struct pool *p)
{
	struct emit *e = p->e;
	struct value *x = p->n->in[0];
	enum op op = p->n->op == OP_max_pool ? OP_max : OP_add;
	int64_t tap[MAX_RANK] = {0};
	int acc = emit_acc(e, op, x->dtype),
	    fill = op == OP_max ? emit_identity(e, op, x->dtype) : -1;
	struct body *back = e->body;

	if (taps(&p->w) <= MAX_TAPS) {
		do
			emit_reduce(e, op, x->dtype, acc, tap_load(p, x, p->idx, tap, fill));
		while (nest_next_tap(&p->w, tap));
		return acc;
	}
	{
		struct index ix[MAX_RANK];

		tap_index(p, x->rank, p->idx, tap, ix);
		for (int i = 0; i < p->w.n; i++) {
			int var;

			emit_for(e, FOR_SERIAL, p->w.kernel[i], &var);
			affine_add(&ix[i + 2].whole, var, p->w.dilation[i]);
		}
		emit_reduce(e, op, x->dtype, acc, emit_load(e, x, ix, fill));
		e->body = back;
	}
	return acc;
}

/* The windows that cover input position idx: output position o with
 * o*stride - lo + k*dilation = idx for tap k.  The residue of idx modulo the
 * stride is known here, so which taps do is too. */
static bool
covering(const struct pool *p, const int64_t *residue, const int64_t *tap, struct index *out)
{
	out[0] = p->idx[0];
	out[1] = p->idx[1];
	for (int i = 0; i < p->w.n; i++) {
		int64_t s = p->w.stride[i], c = residue[i] + p->w.lo[i] - tap[i] * p->w.dilation[i];
		struct affine a = p->idx[i + 2].whole;

		if (c % s)
			return false;
		/* idx = s*q + residue */
		a.c -= residue[i];
		for (int t = 0; t < a.n; t++)
			a.t[t].coef /= s;
		a.c = a.c / s + c / s;
		out[i + 2] = index_of(a);
	}
	return true;
}

static void
backward(struct pool *p, const int64_t *residue)
{
	struct emit *e = p->e;
	struct value *dx = p->n->out[0], *dy = p->n->in[p->n->nin - 1];
	int64_t tap[MAX_RANK] = {0};
	int acc = emit_acc(e, OP_add, dx->dtype), t = 0;

	do {
		struct index out[MAX_RANK];
		int g;

		if (!covering(p, residue, tap, out))
			continue;
		g = emit_load(e, dy, out, -1); /* 0 from windows outside the output */
		if (p->chosen) {
			int here = emit_op(e, OP_eq, DT_i32, emit_load(e, p->chosen, out, -1),
			    emit_const_i(e, DT_i32, t), -1);

			g = emit_op(e, OP_select, dx->dtype, here, g, emit_const(e, dx->dtype, 0));
		}
		emit_reduce(e, OP_add, dx->dtype, acc, g);
	} while (t++, nest_next_tap(&p->w, tap));
	emit_store(e, dx, p->idx, acc);
}

/* x at tap index ix equals max and lies inside: a tap outside does not count, whatever
 * the maximum */
static int
is_max(struct pool *p, struct value *x, const struct index *ix, int max)
{
	struct emit *e = p->e;
	int64_t lo, hi;
	int eq = emit_op(e, OP_eq, x->dtype, emit_load(e, x, ix, emit_identity(e, OP_max, x->dtype)), max, -1);

	for (int d = 2; d < x->rank; d++)
		if (!emit_range(e, &ix[d].whole, &lo, &hi) || lo < 0 || hi >= x->dims[d])
			eq = emit_op(e, OP_and, DT_bool, eq, emit_within(e, ix[d].whole, 0, x->dims[d]), -1);
	return eq;
}

/* For every window, the number of its first tap that equals the maximum, else `none`.
 * Written out: from the last tap to the first. */
static void
choose_taps(struct pool *p, struct value *chosen, int none)
{
	struct value *x = p->n->in[0], *y = p->n->in[1];
	int64_t tap[MAX_RANK] = {0}, n = taps(&p->w);
	struct emit *e = p->e;
	int at = emit_const_i(e, DT_i32, none), max = emit_load(e, y, p->idx, -1), far;
	struct index ix[MAX_RANK];
	struct affine number = AFFINE(0);
	struct body *back = e->body;

	if (n <= MAX_TAPS) {
		for (int i = 0; i < p->w.n; i++)
			tap[i] = p->w.kernel[i] - 1;
		for (int64_t t = n - 1; t >= 0; t--) {
			tap_index(p, x->rank, p->idx, tap, ix);
			at = emit_op(e, OP_select, DT_i32, is_max(p, x, ix, max), emit_const_i(e, DT_i32, t), at);
			for (int i = p->w.n - 1; i >= 0 && --tap[i] < 0; i--)
				tap[i] = p->w.kernel[i] - 1;
		}
		emit_store(e, chosen, p->idx, at);
		return;
	}
	far = emit_acc(e, OP_min, DT_i32);
	tap_index(p, x->rank, p->idx, tap, ix);
	for (int i = 0; i < p->w.n; i++) {
		int64_t step = dims_count(p->w.n - i - 1, p->w.kernel + i + 1);
		int var;

		emit_for(e, FOR_SERIAL, p->w.kernel[i], &var);
		affine_add(&ix[i + 2].whole, var, p->w.dilation[i]);
		affine_add(&number, var, step);
	}
	emit_reduce(e, OP_min, DT_i32, far,
	    emit_op(e, OP_select, DT_i32, is_max(p, x, ix, max),
		emit_op(e, OP_cast, DT_i32, emit_index(e, number), -1, -1), emit_identity(e, OP_min, DT_i32)));
	e->body = back;
	at = emit_op(e, OP_select, DT_i32,
	    emit_op(e, OP_lt, DT_i32, far, emit_const_i(e, DT_i32, n), -1), far, at);
	emit_store(e, chosen, p->idx, at);
}

/* Every combination of residues of the position modulo the strides. */
static void
residues(struct pool *p, int i, int64_t *residue)
{
	if (i == p->w.n) {
		backward(p, residue);
		return;
	}
	for (int64_t r = 0; r < p->w.stride[i] && r < p->n->out[0]->dims[i + 2]; r++) {
		residue[i] = r;
		p->idx[i + 2].whole.c += r;
		residues(p, i + 1, residue);
		p->idx[i + 2].whole.c -= r;
	}
}

static void
open_loops(
    struct pool *p, const char *name, struct cluster *c, const struct value *over, bool strided)
{
	p->e = emit_begin(p->lo, c, name);
	memset(p->var, -1, sizeof p->var);
	nest_order_of(over, NULL, &p->o);
	for (int i = 0; strided && i < p->o.n; i++) {
		struct nest_digit *d = &p->o.d[i];

		if (d->axis < 2)
			continue;
		d->step = p->w.stride[d->axis - 2];
		d->extent = (d->extent + d->step - 1) / d->step;
	}
	nest_loops(p->e, &p->o, ~0u, p->var);
	nest_index(&p->o, p->var, over->rank, p->idx);
	for (int i = 2; strided && i < over->rank; i++)
		p->idx[i].block = 0;
}

static void
close_loops(struct pool *p, const struct value *over)
{
	shape_collapse(p->e, &p->e->k->body);
	shape_outer(p->e, p->o.n > 0, taps(&p->w));
	p->e->k->flops = (double)dims_count(over->rank, over->dims) * (double)taps(&p->w);
	emit_end(p->e);
}

void
nest_pool_at(struct emit *e, struct cluster *c, const struct index *idx)
{
	struct pool p = {.lo = e->lo, .e = e, .n = c->anchor};
	struct value *y = p.n->out[0];
	const int64_t *kernel;

	attr_ints(p.n, "kernel", &kernel);
	nest_window_of(p.n, y->rank - 2, kernel, &p.w);
	memcpy(p.idx, idx, sizeof *idx * (size_t)y->rank);
	emit_store(e, y, idx, forward(&p));
}

bool
lower_pool(struct lower *lo, struct cluster *c)
{
	struct pool p = {.lo = lo, .n = c->anchor};
	struct value *y = p.n->out[0];
	const int64_t *kernel;
	int64_t residue[MAX_RANK] = {0};

	if (attr_ints(p.n, "kernel", &kernel) != y->rank - 2)
		die("pooling without a kernel");
	nest_window_of(p.n, y->rank - 2, kernel, &p.w);
	if (p.n->op == OP_max_pool || p.n->op == OP_sum_pool) {
		open_loops(&p, op_info[p.n->op].id, c, y, false);
		emit_store(p.e, y, p.idx, forward(&p));
		close_loops(&p, y);
		return true;
	}
	if (p.n->op == OP_max_pool_tap) {
		open_loops(&p, "max_pool_tap", c, y, false);
		choose_taps(&p, y, 0);
		close_loops(&p, y);
		return true;
	}
	if (p.n->op == OP_max_pool_grad) {
		p.chosen = lower_fresh_like(lo, DT_i32, p.n->in[1]);
		open_loops(&p, "max_pool_choice", c, p.chosen, false);
		choose_taps(&p, p.chosen, -1);
		close_loops(&p, p.chosen);
	}
	open_loops(&p, op_info[p.n->op].id, c, y, true);
	residues(&p, 0, residue);
	close_loops(&p, y);
	return true;
}
