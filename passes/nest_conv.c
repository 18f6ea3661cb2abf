/* nest_conv -- contractions and convolutions as plain nests: any letters, rank,
 * group, dilation and layout.  What tile.c does not take comes here; depthwise
 * convolution is at home here: its lanes are channels, a run of outputs along
 * the last axis shares the weights in registers. */
#include "passes/nest.h"

#include <string.h>

enum { MAX_TAPS = 32, MAX_RUN = 8, MANY_BLOCKS = 32, BANDS = 8, BAND = 4 };

struct conv {
	struct lower *lo;
	struct cluster *cl;
	struct emit *e;
	struct node *n;
	struct value *x, *w, *y; /* image side, weights, the other side; whichever are operands */
	struct nest_window win;
	int64_t group, cin, cout; /* channels of x and of y, per group */
	struct nest_order o;
	int var[MAX_DIGITS];
	struct index idx[MAX_RANK]; /* of the result */
};

/* Stores the cluster's outputs where the anchor's value is in reg. */
static void
finish(struct emit *e, struct cluster *cl, const struct index *idx, int reg)
{
	emit_note(e, cl->anchor->out[0], idx, reg);
	emit_outputs(e, idx);
}

static void
begin(struct conv *c)
{
	struct str s = {0};

	for (int i = 0; i < c->cl->nodes.n && i < 3; i++)
		str_addf(&s, "%s%s", i ? "_" : "", op_info[c->cl->nodes.v[i]->op].id);
	c->e = emit_begin(c->lo, c->cl, s.s);
	str_free(&s);
	memset(c->var, -1, sizeof c->var);
}

/* ---- contract */
static const char *
result_letters(const char *spec)
{
	const char *p = strstr(spec, "->");

	return p ? p + 2 : NULL;
}

static int
place_of(const char *letters, int n, char c)
{
	for (int i = 0; i < n; i++)
		if (letters[i] == c)
			return i;
	return -1;
}

bool
lower_contract_nest(struct lower *lo, struct cluster *cl)
{
	struct conv c = {.lo = lo, .cl = cl, .n = cl->anchor};
	const char *spec = attr_string(c.n, "spec"), *comma = strchr(spec, ','),
		   *res = result_letters(spec);
	struct value *a = c.n->in[0], *b = c.n->in[1], *y = c.n->out[0];
	const char *la = spec, *lb = comma + 1;
	struct index ia[MAX_RANK], ib[MAX_RANK];
	struct index sum[26 + 26];
	char letters[MAX_RANK * 2];
	struct body *inside;
	int nsum = 0, acc;
	int64_t k = 1;
	bool lanes = true;

	for (int i = 0; i < a->rank; i++)
		if (place_of(res, y->rank, la[i]) < 0)
			letters[nsum++] = la[i];
	begin(&c);
	nest_order_of(y, NULL, &c.o);
	nest_loops(c.e, &c.o, ~0u, c.var);
	nest_index(&c.o, c.var, y->rank, c.idx);
	if (nsum && la[a->rank - 1] == lb[b->rank - 1] && la[a->rank - 1] == letters[nsum - 1])
		lanes = false; /* both contiguous along the sum */
	if (!c.o.n)
		lanes = false;
	inside = c.e->body;
	acc = emit_acc(c.e, OP_add, y->dtype);
	for (int i = 0; i < nsum; i++) {
		int var, at = place_of(la, a->rank, letters[i]);

		sum[i] = index_of(AFFINE(0));
		k *= a->dims[at];
		if (a->dims[at] == 1)
			continue;
		emit_for(c.e, FOR_SERIAL, a->dims[at], &var);
		affine_add(&sum[i].whole, var, 1);
	}
	for (int i = 0; i < a->rank; i++) {
		int at = place_of(res, y->rank, la[i]);

		ia[i] = at >= 0 ? c.idx[at] : sum[place_of(letters, nsum, la[i])];
	}
	for (int i = 0; i < b->rank; i++) {
		int at = place_of(res, y->rank, lb[i]);

		ib[i] = at >= 0 ? c.idx[at] : sum[place_of(letters, nsum, lb[i])];
	}
	emit_reduce(c.e, OP_add, y->dtype, acc,
	    emit_op(c.e, OP_mul, y->dtype, emit_value(c.e, a, ia), emit_value(c.e, b, ib), -1));
	c.e->body = inside;
	finish(c.e, cl, c.idx, acc);
	shape_collapse(c.e, &c.e->k->body);
	shape_outer(c.e, lanes, k);
	if (!lanes)
		shape_inner_vector(&c.e->k->body);
	c.e->k->flops = 2.0 * (double)dims_count(y->rank, y->dims) * (double)k;
	emit_end(c.e);
	return true;
}

/* ---- what the three convolutions share */
static void
open_conv(struct conv *c)
{
	struct node *n = c->n;
	int ns;

	c->x = n->op == OP_conv_grad_data ? n->out[0] : n->in[0];
	c->w = n->op == OP_conv_grad_weight ? n->out[0] : n->in[1];
	c->y = n->op == OP_conv ? n->out[0] : n->op == OP_conv_grad_data ? n->in[0] : n->in[1];
	ns = c->x->rank - 2;
	nest_window_of(n, ns, c->w->dims + 2, &c->win);
	c->group = attr_int(n, "group");
	c->cin = c->x->dims[1] / c->group;
	c->cout = c->y->dims[1] / c->group;
}

static int64_t
taps(const struct conv *c)
{
	return dims_count(c->win.n, c->win.kernel);
}

/* The group of a channel and its place in it. */
static void
split_channel(
    struct conv *c, const struct index *ch, int64_t per, struct affine *group, struct affine *at)
{
	if (c->group == 1) {
		*group = AFFINE(0);
		*at = ch->whole;
	} else if (per == 1) {
		*group = ch->whole;
		*at = AFFINE(0);
	} else {
		emit_divide(c->e, &ch->whole, per, group, at);
	}
}

/* group*per + at; the channel itself where a group is one channel on both sides */
static struct index
channel(struct conv *c, const struct index *other, const struct affine *group, int64_t per,
    struct affine at)
{
	if (c->cin == 1 && c->cout == 1 && c->group > 1)
		return *other;
	affine_plus(c->e, &at, group, per);
	return index_of(at);
}

void
nest_loop_over(struct emit *e, int64_t extent, struct affine *a)
{
	int var;

	*a = AFFINE(0);
	if (extent == 1)
		return;
	emit_for(e, FOR_SERIAL, extent, &var);
	affine_add(a, var, 1);
}

static void
done(struct conv *c, bool lanes, int64_t inside)
{
	shape_collapse(c->e, &c->e->k->body);
	shape_outer(c->e, lanes, inside);
	if (!lanes)
		shape_inner_vector(&c->e->k->body);
	c->e->k->flops =
	    2.0 * (double)dims_count(c->y->rank, c->y->dims) * (double)c->cin * (double)taps(c);
	emit_end(c->e);
}

/* ---- forward */
static void
image_index(const struct conv *c, const struct index *out, const int64_t *tap, struct index *ix)
{
	for (int i = 0; i < c->win.n; i++) {
		ix[i + 2] = index_of(affine_scaled(&out[i + 2].whole, c->win.stride[i]));
		ix[i + 2].whole.c += (tap ? tap[i] * c->win.dilation[i] : 0) - c->win.lo[i];
	}
}

static int
product(struct emit *e, enum dtype t, int a, int b)
{
	return emit_op(e, OP_mul, t, a, b, -1);
}

/* Sums of `run` outputs, `idx` apart along the last axis by one, into acc[]. */
static void
forward_taps(struct conv *c, int run, const int *acc)
{
	struct index xi[MAX_RANK], wi[MAX_RANK], out[MAX_RANK];
	struct affine group, at, ic;
	int64_t tap[MAX_RANK] = {0};
	int last = c->y->rank - 1;
	struct emit *e = c->e;

	split_channel(c, &c->idx[1], c->cout, &group, &at);
	nest_loop_over(e, c->cin, &ic);
	xi[0] = c->idx[0];
	xi[1] = channel(c, &c->idx[1], &group, c->cin, ic);
	wi[0] = c->idx[1];
	wi[1] = index_of(ic);
	memcpy(out, c->idx, sizeof out);
	if (taps(c) > MAX_TAPS) {
		image_index(c, out, NULL, xi);
		for (int i = 0; i < c->win.n; i++) {
			nest_loop_over(e, c->win.kernel[i], &wi[i + 2].whole);
			wi[i + 2] = index_of(wi[i + 2].whole);
			affine_plus(e, &xi[i + 2].whole, &wi[i + 2].whole, c->win.dilation[i]);
		}
		for (int r = 0; r < run; r++) {
			emit_reduce(e, OP_add, c->y->dtype, acc[r],
			    product(
				e, c->y->dtype, emit_tap(e, c->x, xi), emit_value(e, c->w, wi)));
			xi[last].whole.c += c->win.stride[last - 2];
		}
		return;
	}
	do {
		int w;

		for (int i = 0; i < c->win.n; i++)
			wi[i + 2] = index_of(AFFINE(tap[i]));
		w = emit_value(e, c->w, wi);
		for (int r = 0; r < run; r++) {
			out[last] = c->idx[last];
			out[last].whole.c += r;
			image_index(c, out, tap, xi);
			emit_reduce(e, OP_add, c->y->dtype, acc[r],
			    product(e, c->y->dtype, emit_tap(e, c->x, xi), w));
		}
	} while (nest_next_tap(&c->win, tap));
}

/* The outputs at c->idx and run - 1 behind it. */
static void
forward_run(struct conv *c, int run)
{
	int last = c->y->rank - 1, acc[MAX_RUN] = {0};
	struct body *inside = c->e->body;

	for (int r = 0; r < run; r++)
		acc[r] = emit_acc(c->e, OP_add, c->y->dtype);
	forward_taps(c, run, acc);
	c->e->body = inside;
	for (int r = 0; r < run; r++) {
		finish(c->e, c->cl, c->idx, acc[r]);
		c->idx[last].whole.c++;
	}
}

/* Few channel blocks: bands of rows are the outermost loop, for the tiled convolutions
 * around take such layers by rows, too (tile_conv.c). */
static void
rows_outermost(struct nest_order *o, int64_t images)
{
	int at = -1;
	int64_t blocks = images, bands;

	for (int i = 0; i < o->n - 1; i++) {
		if (o->d[i].axis == 1)
			blocks *= o->d[i].extent;
		if (o->d[i].axis == 2 && o->d[i].step == 1)
			at = i;
	}
	if (at < 0 || blocks >= MANY_BLOCKS || o->n == MAX_DIGITS || o->d[o->n - 1].axis != 1)
		return;
	bands = shape_divisor(o->d[at].extent, o->d[at].extent / BAND < BANDS ? o->d[at].extent / BAND : BANDS);
	if (bands <= 1)
		return;
	o->d[at].extent /= bands;
	memmove(o->d + 1, o->d, sizeof *o->d * (size_t)o->n++);
	o->d[0] = (struct nest_digit){2, bands, o->d[at + 1].extent};
}

static bool
lower_forward(struct conv *c)
{
	int last = c->y->rank - 1, run = 1;
	bool lanes;

	nest_order_of(c->y, NULL, &c->o);
	lanes = c->o.n > 0;
	/* lanes over channels: neighbours along the last axis share the weights */
	for (int i = 0; i < c->o.n; i++)
		if (lanes && c->o.d[c->o.n - 1].axis == 1 && c->o.d[i].axis == last &&
		    c->o.d[i].step == 1 && last > 1) {
			run = (int)shape_divisor(c->o.d[i].extent, MAX_RUN);
			c->o.d[i].extent /= run;
			c->o.d[i].step = run;
		}
	if (last > 2)
		rows_outermost(&c->o, c->y->dims[0]);
	nest_loops(c->e, &c->o, ~0u, c->var);
	nest_index(&c->o, c->var, c->y->rank, c->idx);
	if (run > 1)
		c->idx[last].block = 0;
	forward_run(c, run);
	done(c, lanes, c->cin * taps(c) * run);
	return true;
}

void
nest_depthwise_at(struct emit *e, struct cluster *cl, const struct index *idx, int run)
{
	struct conv c = {.lo = e->lo, .cl = cl, .n = cl->anchor, .e = e};

	open_conv(&c);
	memcpy(c.idx, idx, sizeof *idx * (size_t)c.y->rank);
	forward_run(&c, run);
}

/* ---- gradient of the image: dx[i] = sum of dy[o]*w[k] where o*stride - lo + k*dilation = i */
static bool
covering(const struct conv *c, const int64_t *residue, const int64_t *tap, struct index *out)
{
	for (int i = 0; i < c->win.n; i++) {
		int64_t s = c->win.stride[i],
			k = residue[i] + c->win.lo[i] - tap[i] * c->win.dilation[i];
		struct affine a = c->idx[i + 2].whole;

		if (k % s)
			return false;
		for (int t = 0; t < a.n; t++)
			a.t[t].coef /= s;
		a.c = (a.c - residue[i]) / s + k / s;
		out[i + 2] = index_of(a);
	}
	return true;
}

/* `run` elements of dx, a stride apart along the last axis, of one residue. */
static void
image_gradient(struct conv *c, const int64_t *residue, int run)
{
	struct emit *e = c->e;
	struct index yi[MAX_RANK], wi[MAX_RANK];
	struct affine group, at, oc;
	int64_t tap[MAX_RANK] = {0};
	struct body *inside = e->body;
	int acc[MAX_RUN], last = c->x->rank - 1;

	for (int r = 0; r < run; r++)
		acc[r] = emit_acc(e, OP_add, c->x->dtype);
	split_channel(c, &c->idx[1], c->cin, &group, &at);
	nest_loop_over(e, c->cout, &oc);
	yi[0] = c->idx[0];
	yi[1] = channel(c, &c->idx[1], &group, c->cout, oc);
	wi[0] = yi[1];
	wi[1] = index_of(at);
	do {
		int w;

		if (!covering(c, residue, tap, yi))
			continue;
		for (int i = 0; i < c->win.n; i++)
			wi[i + 2] = index_of(AFFINE(tap[i]));
		w = emit_value(e, c->w, wi);
		for (int r = 0; r < run; r++) {
			emit_reduce(e, OP_add, c->x->dtype, acc[r],
			    product(e, c->x->dtype, emit_tap(e, c->y, yi), w));
			yi[last].whole.c++;
		}
	} while (nest_next_tap(&c->win, tap));
	e->body = inside;
	for (int r = 0; r < run; r++) {
		finish(e, c->cl, c->idx, acc[r]);
		c->idx[last].whole.c += c->win.stride[last - 2];
	}
	c->idx[last].whole.c -= run * c->win.stride[last - 2];
}

static void
residues(struct conv *c, int i, int64_t *residue, int run)
{
	if (i == c->win.n) {
		image_gradient(c, residue, run);
		return;
	}
	for (int64_t r = 0; r < c->win.stride[i] && r < c->x->dims[i + 2]; r++) {
		residue[i] = r;
		c->idx[i + 2].whole.c += r;
		residues(c, i + 1, residue, run);
		c->idx[i + 2].whole.c -= r;
	}
}

static bool
lower_image_gradient(struct conv *c)
{
	int64_t residue[MAX_RANK] = {0};
	int run = 1, last = c->x->rank - 1;

	nest_order_of(c->x, NULL, &c->o);
	for (int i = 0; i < c->o.n; i++) {
		struct nest_digit *d = &c->o.d[i];

		if (d->axis < 2)
			continue;
		d->step = c->win.stride[d->axis - 2];
		d->extent = (d->extent + d->step - 1) / d->step;
		if (d->axis == last && c->o.d[c->o.n - 1].axis == 1) {
			run = (int)shape_divisor(d->extent, MAX_RUN);
			d->extent /= run;
			d->step *= run;
		}
	}
	nest_loops(c->e, &c->o, ~0u, c->var);
	nest_index(&c->o, c->var, c->x->rank, c->idx);
	for (int i = 2; i < c->x->rank; i++)
		c->idx[i].block = 0;
	residues(c, 0, residue, run);
	done(c, c->o.n > 0, c->cout * taps(c) * run);
	return true;
}

/* ---- gradient of the weights: lanes over channels where the weights lie so,
 * else along the last axis of the output */
static bool
lower_weight_gradient(struct conv *c)
{
	struct emit *e = c->e;
	struct index xi[MAX_RANK], yi[MAX_RANK];
	struct affine group, at, a;
	struct body *inside, *mid;
	int acc, inner;
	bool lanes;

	nest_order_of(c->w, NULL, &c->o);
	lanes = c->o.n && c->o.d[c->o.n - 1].axis == 0;
	nest_loops(e, &c->o, ~0u, c->var);
	nest_index(&c->o, c->var, c->w->rank, c->idx);
	inside = e->body;
	acc = emit_acc(e, OP_add, c->w->dtype);
	split_channel(c, &c->idx[0], c->cout, &group, &at);
	nest_loop_over(e, c->y->dims[0], &a);
	yi[0] = xi[0] = index_of(a);
	yi[1] = c->idx[0];
	xi[1] = channel(c, &c->idx[0], &group, c->cin, c->idx[1].whole);
	mid = e->body;
	inner = acc;
	for (int i = 2; i < c->y->rank; i++) {
		if (i == c->y->rank - 1 && e->body != inside && lanes) {
			inner = emit_acc(e, OP_add, c->w->dtype);
			mid = e->body;
		}
		nest_loop_over(e, c->y->dims[i], &a);
		yi[i] = index_of(a);
		xi[i] = index_of(affine_scaled(&a, c->win.stride[i - 2]));
		xi[i].whole.c -= c->win.lo[i - 2];
		affine_plus(e, &xi[i].whole, &c->idx[i].whole, c->win.dilation[i - 2]);
	}
	emit_reduce(e, OP_add, c->w->dtype, inner,
	    product(e, c->w->dtype, emit_tap(e, c->x, xi), emit_tap(e, c->y, yi)));
	if (inner != acc) {
		e->body = mid;
		emit_reduce(e, OP_add, c->w->dtype, acc, inner);
	}
	e->body = inside;
	finish(e, c->cl, c->idx, acc);
	done(c, lanes, dims_count(c->y->rank, c->y->dims) / c->y->dims[1]);
	return true;
}

bool
lower_conv_nest(struct lower *lo, struct cluster *cl)
{
	struct conv c = {.lo = lo, .cl = cl, .n = cl->anchor};

	if (c.n->op == OP_conv_grad_weight && lower_depthwise_grad(lo, cl))
		return true;
	if (c.n->op == OP_conv && attr_int(c.n, "merge") != 1)
		die("merged groups that are not tiled");
	open_conv(&c);
	begin(&c);
	switch (c.n->op) {
	case OP_conv:
		return lower_forward(&c);
	case OP_conv_grad_data:
		return lower_image_gradient(&c);
	default:
		return lower_weight_gradient(&c);
	}
}
