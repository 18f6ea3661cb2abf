/* nest_depthwise -- the weight gradient of a depthwise convolution whose images
 * have channels innermost.  Lanes are channels; the taps' sums stay in registers
 * while a row of dy is walked, a row at a time for accuracy, and neighbours along
 * it share the elements of x.  Every image gives a partial sum [n, tap, c]; a
 * second kernel adds them up and runs the epilogue. */
#include "passes/nest.h"

#include <string.h>

enum { REGISTER_TAPS = 25, RUN = 4 };

struct depthwise {
	struct lower *lo;
	struct cluster *cl;
	struct emit *e;
	struct value *x, *dy, *dw, *part;
	struct nest_window win;
	int looped;		     /* kernel axes that loops run over */
	int64_t taps;		     /* of the other ones */
	struct affine tap[MAX_RANK]; /* along the looped axes */
	struct index n, c;
	struct nest_order order;
	int var[MAX_DIGITS];
};

static bool
channels_innermost(const struct value *v)
{
	struct nest_order o;

	nest_order_of(v, NULL, &o);
	return o.n && o.d[o.n - 1].axis == 1;
}

/* Row-major place of taps among all: looped axes, then t of the rest. */
static struct affine
tap_place(const struct depthwise *d, int64_t t)
{
	struct affine a = AFFINE(t);
	int64_t s = d->taps;

	for (int i = d->looped - 1; i >= 0; s *= d->win.kernel[i], i--)
		for (int k = 0; k < d->tap[i].n; k++)
			affine_add(&a, d->tap[i].t[k].var, s);
	return a;
}

/* acc[t] += dy*x for `run` neighbours of dy from yi on. */
static void
accumulate(struct depthwise *d, struct index *yi, int run, const int *acc)
{
	struct emit *e = d->e;
	int last = d->dy->rank - 1;
	int64_t k[MAX_RANK] = {0};

	for (int r = 0; r < run; r++) {
		struct index xi[MAX_RANK];
		int dy = emit_value(e, d->dy, yi);

		xi[0] = d->n;
		xi[1] = d->c;
		memset(k, 0, sizeof k);
		for (int64_t t = 0; t < d->taps; t++) {
			for (int i = 0; i < d->win.n; i++) {
				xi[i + 2] =
				    index_of(affine_scaled(&yi[i + 2].whole, d->win.stride[i]));
				xi[i + 2].whole.c -= d->win.lo[i];
				if (i < d->looped)
					affine_plus(
					    e, &xi[i + 2].whole, &d->tap[i], d->win.dilation[i]);
				else
					xi[i + 2].whole.c += k[i] * d->win.dilation[i];
			}
			emit_reduce(e, OP_add, d->dw->dtype, acc[t],
			    emit_op(e, OP_mul, d->dw->dtype, emit_tap(e, d->x, xi), dy, -1));
			for (int i = d->win.n - 1; i >= d->looped && ++k[i] == d->win.kernel[i];
			    i--)
				k[i] = 0;
		}
		yi[last].whole.c++;
	}
}

static void
new_accs(struct depthwise *d, int *acc)
{
	for (int64_t t = 0; t < d->taps; t++)
		acc[t] = emit_acc(d->e, OP_add, d->dw->dtype);
}

static void
partial_sums(struct depthwise *d)
{
	struct emit *e = d->e = emit_begin(d->lo, d->cl, "depthwise_grad_weight");
	struct index idx[MAX_RANK], yi[MAX_RANK], pi[3];
	struct body *inside;
	int acc[REGISTER_TAPS], row[REGISTER_TAPS], last = d->dy->rank - 1, run;
	struct affine a;

	memset(d->var, -1, sizeof d->var);
	for (int i = 0; i < d->order.n; i++)
		if (d->order.d[i].axis < 2 && i < d->order.n - 1)
			emit_for(e, FOR_SERIAL, d->order.d[i].extent, &d->var[i]);
	for (int i = 0; i < d->looped; i++)
		nest_loop_over(e, d->win.kernel[i], &d->tap[i]);
	emit_for(e, FOR_SERIAL, d->order.d[d->order.n - 1].extent, &d->var[d->order.n - 1]);
	nest_index(&d->order, d->var, d->dy->rank, idx);
	d->n = idx[0];
	d->c = idx[1];
	inside = e->body;
	new_accs(d, acc);
	yi[0] = d->n;
	yi[1] = d->c;
	for (int i = 2; i < last; i++) {
		nest_loop_over(e, d->dy->dims[i], &a);
		yi[i] = index_of(a);
	}
	run = (int)shape_divisor(d->dy->dims[last], RUN);
	new_accs(d, row);
	{
		struct body *mid = e->body;

		nest_loop_over(e, d->dy->dims[last] / run, &a);
		yi[last] = index_of(affine_scaled(&a, run));
		accumulate(d, yi, run, row);
		e->body = mid;
	}
	for (int64_t t = 0; t < d->taps; t++)
		emit_reduce(e, OP_add, d->dw->dtype, acc[t], row[t]);
	e->body = inside;
	pi[0] = d->n;
	pi[2] = d->c;
	for (int64_t t = 0; t < d->taps; t++) {
		pi[1] = index_of(tap_place(d, t));
		emit_store(e, d->part, pi, acc[t]);
	}
	shape_collapse(e, &e->k->body);
	shape_outer(e, true, dims_count(d->dy->rank - 2, d->dy->dims + 2) * d->taps);
	e->k->flops = 2.0 * (double)dims_count(d->dy->rank, d->dy->dims) *
		      (double)dims_count(d->win.n, d->win.kernel);
	emit_end(e);
}

static void
combine(struct depthwise *d)
{
	struct emit *e = d->e = emit_begin(d->lo, d->cl, "depthwise_grad_weight_sum");
	struct index wi[MAX_RANK], pi[3];
	struct affine a, n, place = AFFINE(0);
	struct body *inside;
	int acc;

	for (int i = 0; i < d->win.n; i++) {
		nest_loop_over(e, d->win.kernel[i], &a);
		wi[i + 2] = index_of(a);
		place = affine_scaled(&place, d->win.kernel[i]);
		affine_plus(e, &place, &a, 1);
	}
	nest_loop_over(e, d->dw->dims[0], &a);
	wi[0] = index_of(a);
	wi[1] = index_of(AFFINE(0));
	inside = e->body;
	acc = emit_acc(e, OP_add, d->dw->dtype);
	nest_loop_over(e, d->part->dims[0], &n);
	pi[0] = index_of(n);
	pi[1] = index_of(place);
	pi[2] = wi[0];
	emit_reduce(e, OP_add, d->dw->dtype, acc, emit_load(e, d->part, pi, -1));
	e->body = inside;
	emit_note(e, d->dw, wi, acc);
	emit_outputs(e, wi);
	shape_collapse(e, &e->k->body);
	shape_outer(e, d->dw->dims[0] > 1, d->part->dims[0]);
	emit_end(e);
}

bool
lower_depthwise_grad(struct lower *lo, struct cluster *cl)
{
	struct node *n = cl->anchor;
	struct depthwise d = {.lo = lo, .cl = cl, .x = n->in[0], .dy = n->in[1], .dw = n->out[0]};
	int64_t dims[3];

	if (attr_int(n, "group") != d.x->dims[1] || d.x->dims[1] != d.dy->dims[1] ||
	    d.x->dims[1] < 2 || !channels_innermost(d.x) || !channels_innermost(d.dy))
		return false;
	nest_window_of(n, d.x->rank - 2, d.dw->dims + 2, &d.win);
	d.taps = dims_count(d.win.n, d.win.kernel);
	while (d.taps > REGISTER_TAPS)
		d.taps /= d.win.kernel[d.looped++];
	nest_order_of(d.dy, NULL, &d.order);
	dims[0] = d.dy->dims[0];
	dims[1] = dims_count(d.win.n, d.win.kernel);
	dims[2] = d.dw->dims[0];
	d.part = lower_fresh(lo, d.dw->dtype, 3, dims);
	partial_sums(&d);
	combine(&d);
	return true;
}
