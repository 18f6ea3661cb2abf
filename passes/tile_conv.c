/* tile_conv -- convolution and its two gradients over blocked channels as tiles.
 * Groups of whole blocks are an outer loop around the sums below.
 *
 *   y [n,oc,p]  = sum ic,k  x[n,ic,p*s+k*d-lo]  w[oc,ic,k]     rows: pixels of y
 *   dx[n,ic,q]  = sum oc,k dy[n,oc,(q+lo-k*d)/s] w[oc,ic,k]    rows: pixels of one phase of dx
 *   dw[oc,ic,k] = sum n,p   x[n,ic,p*s+k*d-lo] dy[n,oc,p]      rows: taps and input channels
 *
 * Columns are always a block of channels.  Halos make every tap readable, so
 * there is no edge code.  The innermost two spatial dims are tiled; a third, and
 * the second where rows do not reach over it, are loops. */
#include "passes/tile_emit.h"

#include <string.h>

enum { FEW_PIECES = 16 };

struct conv {
	struct lower *lo;
	struct cluster *cl;
	struct node *n;
	struct conv_shape s;
	int64_t block;
	int last;                    /* the innermost spatial dim, 0-based */
};

/* Elements from one index to the next of spatial dim d (0-based). */
static int64_t
spatial_stride(const struct value *v, int d)
{
	return tile_stride(v, 2 + d, NULL);
}

int64_t
tile_halo(const struct value *v, int spatial)
{
	int64_t at = 0;

	for (int d = 0; d < spatial; d++)
		at += v->layout->lo[2 + d] * spatial_stride(v, d);
	return at;
}

/* Summed channels of operand A, `count` of a group: loops over blocks, then inside a block, or one
 * loop over unblocked planes.  outer = -1 where there is one block only. */
struct channels { int64_t blocks, inside, outer_stride, inner_stride; };
static struct channels
channels_of(const struct value *v, int64_t count, int64_t block)
{
	struct channels c = {1, count, 0, 0};

	c.outer_stride = tile_stride(v, 1, &c.inner_stride);
	if (!tile_dim_blocked(v, 1)) {
		c.inner_stride = c.outer_stride;
		c.outer_stride = 0;
		return c;
	}
	c.blocks = (count + block - 1) / block;
	c.inside = c.blocks > 1 ? block : count;
	return c;
}

static void
tile_k(struct tile *t, int64_t extent, int64_t a, int64_t b)
{
	if (extent == 1)
		return;
	t->k[t->nk] = extent;
	t->a.kstride[t->nk] = a;
	t->b.kstride[t->nk++] = b;
}

/* Groups that a kernel runs over: in and out channels of each, from the first block on. */
struct part { int64_t group, in, out, first_in, first_out; };

/* Result channels: group gvar (-1: the only one) of `blocks` blocks from `first` on, of which
 * pvar counts `groups` at a time, the columns of a tile. */
struct channel_loops { int gvar, pvar; int64_t blocks, groups, first; };

static void
channel_loops(struct emit *e, int64_t group, struct channel_loops *l)
{
	l->gvar = -1;
	if (group > 1)
		emit_for(e, FOR_PARALLEL, group, &l->gvar);
	emit_for(e, FOR_PARALLEL, l->blocks / l->groups, &l->pvar);
}

/* coef times the first block of the columns */
static void
add_columns(struct affine *a, const struct channel_loops *l, int64_t coef)
{
	if (l->gvar >= 0)
		affine_add(a, l->gvar, l->blocks * coef);
	affine_add(a, l->pvar, l->groups * coef);
}

/* Their index along the dim of channels. */
static struct index
channel_index(int64_t block, const struct channel_loops *l, const struct tile *t)
{
	struct index x = {.whole = AFFINE(l->first * block), .block = block, .outer = AFFINE(l->first), .inner = AFFINE(0)};

	add_columns(&x.outer, l, 1);
	affine_add(&x.outer, t->cblockvar, 1);
	affine_add(&x.inner, t->colvar, 1);
	add_columns(&x.whole, l, block);
	affine_add(&x.whole, t->cblockvar, block);
	affine_add(&x.whole, t->colvar, 1);
	return x;
}

/* ---- forward and data gradient: rows are pixels of the result */

/* One spatial dim of the result as the loops run it: `outputs` positions, at
 * stride*i + first of the result, reading A at astep*i + abase, taps as k. */
struct axis { int64_t outputs, first, stride, astep, abase, taps, atap, wfirst, wtap; };

struct pixels {
	struct conv *c;
	struct emit *e;
	struct value *a, *w, *r;
	struct axis ax[3];
	struct part part;
	struct channel_loops ch;
	int abuf, bbuf, nvar;
	bool flat;                   /* the two inner dims run as one */
	int64_t strips;              /* of as many pixels of a flat plane */
	bool rows_first;             /* pieces by rows or strips before channels */
	bool images_inside;          /* pieces by channels before images */
	int64_t tiles, across;       /* that share a panel of weights in a kernel; in a row of them */
};

static void
pixel_tile(struct pixels *p, const struct index *at, struct affine a, int64_t base0, int64_t h0, int var0,
           int64_t base1, int64_t h1, int var1, struct affine number)
{
	struct conv *c = p->c;
	struct emit *e = p->e;
	int d1 = c->last, d0 = c->last - 1;
	struct tile *t = tile_begin(e, DT_f32, h0, h1, p->ch.groups, c->block);
	struct channels ch = channels_of(p->a, p->part.in, c->block);
	const struct layout *wl = p->w->layout;
	int64_t strides[MAX_PHYS];
	struct index idx[MAX_RANK];
	struct affine b = AFFINE(0);

	memcpy(idx, at, sizeof idx);
	layout_strides(wl, strides);
	/* packed weights: [{phase of k..}]{out}{in blocks}{k..}[{in}]{out lanes} */
	int phases = 0;
	while (wl->phys[phases].dim >= 2)
		phases++;
	const int64_t *ws = strides + phases, *wk = &ws[2];
	bool stem = !tile_dim_blocked(p->w, wl->phys[phases + 1].dim);
	int64_t win = stem ? ws[1] : strides[wl->n - 2];

	a.c += p->part.first_in / c->block * ch.outer_stride;
	b.c += p->ch.first * ws[0];
	affine_add(&b, p->ch.pvar, p->ch.groups * ws[0]);
	if (p->ch.gvar >= 0) {
		affine_add(&a, p->ch.gvar, ch.blocks * ch.outer_stride);
		/* all results of a group come before the next group's, or all sums do */
		affine_add(&b, p->ch.gvar, c->n->op == OP_conv ? p->ch.blocks * ws[0] : ch.blocks * ws[1]);
	}
	int64_t wtap[3]; /* elements from a tap of this phase to the next */
	for (int d = 0, phase = 0; d <= d1; d++) {
		bool apart = wl->phys[phases + 2 + d].step > 1;

		b.c += p->ax[d].wfirst * (apart ? strides[phase++] : wk[d]);
		wtap[d] = (apart ? 1 : p->ax[d].wtap) * wk[d];
	}
	if (d0 >= 0) {
		a.c += base0 * p->ax[d0].astep * spatial_stride(p->a, d0);
		affine_add(&a, var0, h0 * p->ax[d0].astep * spatial_stride(p->a, d0));
	}
	a.c += base1 * p->ax[d1].astep * spatial_stride(p->a, d1);
	affine_add(&a, var1, h1 * p->ax[d1].astep * spatial_stride(p->a, d1));
	t->a = (struct tile_operand){.buf = p->abuf, .index = a};
	t->b = (struct tile_operand){.buf = p->bbuf, .index = b, .cstride = 1, .cbstride = ws[0]};
	t->a.rstride[0] = d0 >= 0 ? p->ax[d0].astep * spatial_stride(p->a, d0) : 0;
	t->a.rstride[1] = p->ax[d1].astep * spatial_stride(p->a, d1);
	tile_k(t, ch.blocks, ch.outer_stride, ws[1]);
	if (stem)
		tile_k(t, ch.inside, ch.inner_stride, win);
	for (int d = 0; d <= d1; d++)
		tile_k(t, p->ax[d].taps, p->ax[d].atap * spatial_stride(p->a, d), wtap[d]);
	if (!stem)
		tile_k(t, ch.inside, ch.inner_stride, win);
	if (!t->nk) { /* one product */
		t->nk = 1;
		t->k[0] = 1;
	}
	affine_add(&number, var1, 1);
	tile_fetch_ahead(&c->lo->ctx->opts->machine, t, p->ch.groups * ws[0], p->tiles, &number);
	idx[1] = channel_index(c->block, &p->ch, t);
	if (d0 >= 0 && !p->flat) {
		struct affine *x = &idx[2 + d0].whole;

		x->c += base0 * p->ax[d0].stride;
		affine_add(x, var0, h0 * p->ax[d0].stride);
		affine_add(x, t->rowvar[0], p->ax[d0].stride);
	}
	if (p->flat)
		tile_unranged(e, var1, t->rowvar[1]);
	struct affine *x = &idx[2 + d1].whole;
	x->c += base1 * p->ax[d1].stride;
	affine_add(x, var1, h1 * p->ax[d1].stride);
	affine_add(x, t->rowvar[1], p->ax[d1].stride);
	tile_epilogue(e, t, idx);
}

/* Tiles of one height h0 (rows of pixels) over the width, two widths; `first`: the rows of
 * tiles before those of var0. */
static void
pixel_rows(struct pixels *p, const struct index *at, struct affine a, int64_t base0, int64_t h0, int var0,
           struct split w, int64_t first)
{
	struct body *outer = p->e->body;
	struct affine number = AFFINE(first * p->across);
	int var;

	if (!p->rows_first)
		affine_add(&number, var0, p->across);
	if (p->images_inside)
		affine_add(&number, p->nvar, p->tiles / p->c->s.n);
	if (w.nhigh) {
		emit_for(p->e, FOR_SERIAL, w.nhigh, &var);
		pixel_tile(p, at, a, base0, h0, var0, 0, w.high, var, number);
		p->e->body = outer;
	}
	if (w.nlow) {
		emit_for(p->e, FOR_SERIAL, w.nlow, &var);
		number.c += w.nhigh;
		pixel_tile(p, at, a, base0, h0, var0, w.high * w.nhigh, w.low, var, number);
		p->e->body = outer;
	}
}

/* The pixels of the result: heights of tiles over the second-innermost dim, widths
 * over the innermost. */
struct grid { struct split h, w; };

/* part 0, 1: rows of tiles of one height, each a piece; 2: both heights, serially */
static void
pixel_kernel(struct pixels *p, struct grid g, int part)
{
	struct conv *c = p->c;
	struct emit *e = p->e = emit_begin(c->lo, c->cl, c->n->op == OP_conv ? "conv" : "conv_grad_data");
	struct body *top = e->body;
	struct index idx[MAX_RANK];
	struct affine a = AFFINE(tile_halo(p->a, c->s.spatial));
	int64_t rows = 0;
	int var0, vard;

	p->abuf = emit_buf(e, lower_buffer(c->lo, p->a), false);
	p->bbuf = emit_buf(e, lower_buffer(c->lo, p->w), false);
	for (int i = 0; i < MAX_RANK; i++)
		idx[i] = index_of(AFFINE(0));
	for (int d = 0; d <= c->last; d++) {
		a.c += p->ax[d].abase * spatial_stride(p->a, d);
		idx[2 + d].whole.c = p->ax[d].first;
	}
	if (p->images_inside)
		channel_loops(e, p->part.group, &p->ch);
	emit_for(e, FOR_PARALLEL, c->s.n, &p->nvar);
	affine_add(&a, p->nvar, tile_stride(p->a, 0, NULL));
	affine_add(&idx[0].whole, p->nvar, 1);
	if (p->strips > 1) {
		int64_t len = p->ax[c->last].outputs / p->strips;
		int var;

		emit_for(e, FOR_PARALLEL, p->strips, &var);
		tile_unranged(e, var, var);
		affine_add(&a, var, len * spatial_stride(p->a, c->last));
		affine_add(&idx[1 + c->s.spatial].whole, var, len);
	}
	if (!p->rows_first && !p->images_inside)
		channel_loops(e, p->part.group, &p->ch);
	for (int d = 0; d < c->last - 1; d++) { /* depth */
		emit_for(e, FOR_PARALLEL, p->ax[d].outputs, &vard);
		affine_add(&a, vard, p->ax[d].astep * spatial_stride(p->a, d));
		affine_add(&idx[2 + d].whole, vard, p->ax[d].stride);
	}
	p->across = g.w.nhigh + g.w.nlow;
	p->tiles = p->across;
	if (!p->rows_first)
		p->tiles *= (part == 2 ? g.h.nhigh + g.h.nlow : part ? g.h.nlow : g.h.nhigh);
	if (p->images_inside)
		p->tiles *= c->s.n;
	struct body *piece = e->body;
	for (int i = 0; i < 2; i++) {
		int64_t count = i ? g.h.nlow : g.h.nhigh, h = i ? g.h.low : g.h.high;

		if (!count || (part == 1 - i))
			continue;
		e->body = piece;
		emit_for(e, part == 2 ? FOR_SERIAL : FOR_PARALLEL, count, &var0);
		if (p->rows_first)
			channel_loops(e, p->part.group, &p->ch);
		pixel_rows(p, idx, a, i ? g.h.high * g.h.nhigh : 0, h, var0, g.w, part == 2 && i ? g.h.nhigh : 0);
		rows += count * h;
	}
	e->body = top;
	double taps = 1, outs = (double)((g.w.high * g.w.nhigh + g.w.low * g.w.nlow) * p->strips * rows);
	for (int d = 0; d <= c->last; d++)
		taps *= (double)p->ax[d].taps;
	for (int d = 0; d < c->last - 1; d++)
		outs *= (double)p->ax[d].outputs;
	e->k->flops = 2 * taps * outs * (double)(c->s.n * p->part.group * p->part.in * p->part.out);
	emit_end(e);
}

/* Strips of a plane of n pixels, a piece each, which take hardly more tiles of `most` than
 * the plane. */
static int64_t
strips_of(int64_t n, int64_t most)
{
	int64_t tiles = (n + most - 1) / most, best = 1;

	for (int64_t k = 2; k <= FEW_PIECES && 2 * k * most <= n; k++)
		if (n % k == 0 && k * ((n / k + most - 1) / most) <= tiles + tiles / 8)
			best = k;
	return best;
}

/* Whether a panel of weights had better serve all images before the next one comes: bytes
 * that pass through the second cache either way.  w, x: bytes of all weights, of an image. */
static bool
images_share(const struct machine *m, int64_t n, int64_t panels, int64_t w, int64_t x)
{
	int64_t each = w <= m->l2 / 2 ? w : n * w, together = n * x <= m->l2 / 2 ? n * x : panels * n * x;

	return together < each;
}

/* One phase (all of it, forward): the result's pixels that the axes describe. */
static void
phase_of(struct conv *c, const struct part *part, const struct axis *ax)
{
	struct value *a = c->n->in[0], *w = c->n->in[1], *r = c->n->out[0];
	struct pixels p = {.c = c, .a = a, .w = w, .r = r, .part = *part, .strips = 1};
	int64_t blocks = (part->out + c->block - 1) / c->block;
	/* weights that stay in the cache while rows go by: threads had better share rows, of
	 * which they made the inputs and will read the results */
	bool small = layout_count(w->layout) * 4 <= c->lo->ctx->opts->machine.l2 / 4;
	int d1 = c->last, d0 = c->last - 1;

	memcpy(p.ax, ax, sizeof p.ax);
	p.ch.blocks = blocks;
	p.ch.first = part->first_out / c->block;
	p.ch.groups = tile_groups(&c->lo->ctx->opts->machine, blocks);
	int64_t most = tile_rows(&c->lo->ctx->opts->machine, p.ch.groups);
	int64_t wide = p.ax[d1].outputs, tall = d0 >= 0 ? p.ax[d0].outputs : 1;
	int64_t pieces = c->s.n * part->group * (blocks / p.ch.groups);
	/* pointwise over whole planes: the plane is one row of pixels */
	if (d0 >= 0 && p.ax[d0].taps == 1 && p.ax[d1].taps == 1 && p.ax[d0].astep == 1 && p.ax[d1].astep == 1 &&
	    p.ax[d0].stride == 1 && p.ax[d1].stride == 1 &&
	    spatial_stride(a, d0) == spatial_stride(a, d1) * a->dims[2 + d1] && a->dims[2 + d1] == wide &&
	    wide == r->dims[2 + d1] && tile_mergeable(c->lo, c->cl, 2 + d0)) {
		int64_t plane = wide * tall, tiles = (plane + most - 1) / most;

		p.strips = small ? strips_of(plane, most) : 1;
		p.flat = p.strips > 1 || pieces >= FEW_PIECES || tiles < 4 ||
			 tall * ((wide + most - 1) / most) > tiles + tiles / 8;
		if (p.flat) {
			p.ax[d1].outputs = wide = plane;
			p.ax[d0].outputs = tall = 1;
		}
	}
	int64_t h = wide * 2 <= most ? most / wide : 1;
	struct grid g = {split_even(tall, h > tall ? tall : h), split_even(wide / p.strips, most)};
	for (int d = 0; d < d0; d++)
		pieces *= p.ax[d].outputs;
	/* an input that would pass the cache once for every panel of weights passes once */
	bool far = layout_count(a->layout) * 4 / c->s.n > c->lo->ctx->opts->machine.l2 / 2;
	p.rows_first = small && (pieces < FEW_PIECES || far) && g.h.nhigh + g.h.nlow > 1;
	p.images_inside = !p.rows_first && images_share(&c->lo->ctx->opts->machine, c->s.n, blocks / p.ch.groups,
	    layout_count(w->layout) * 4 / c->s.group, layout_count(a->layout) * 4 / (c->s.n * c->s.group));
	/* rows in a piece share its weights in cache; where that leaves too few pieces
	 * for the threads, rows are pieces */
	if (!p.rows_first && (pieces >= FEW_PIECES || g.h.nhigh + g.h.nlow == 1)) {
		pixel_kernel(&p, g, 2);
		return;
	}
	if (g.h.nhigh)
		pixel_kernel(&p, g, 0);
	if (g.h.nlow)
		pixel_kernel(&p, g, 1);
}

/* All groups, the last of its own where it has fewer channels. */
static void
pixel_phase(struct conv *c, const struct axis *ax)
{
	const struct conv_shape *s = &c->s;
	int64_t whole = s->ic / s->gin;

	if (c->n->op == OP_conv) {
		struct part most = {whole, s->gin, s->gout, 0, 0};
		struct part rest = {1, s->ic - whole * s->gin, s->oc - whole * s->gout, whole * s->gin, whole * s->gout};

		phase_of(c, &most, ax);
		if (rest.in)
			phase_of(c, &rest, ax);
	} else {
		phase_of(c, &(struct part){s->group, s->gout, s->gin, 0, 0}, ax);
	}
}

/* Phases that no tap reaches: zero through the epilogue. */
static void
zero_phase(struct conv *c, const struct axis *ax)
{
	struct emit *e = emit_begin(c->lo, c->cl, "conv_grad_data_zero");
	struct value *r = c->n->out[0];
	struct body *top = e->body;
	struct index idx[MAX_RANK];
	int64_t blocks = (r->dims[1] + c->block - 1) / c->block;
	int var, cb;

	emit_for(e, FOR_PARALLEL, c->s.n, &var);
	idx[0] = index_of(AFFINE(0));
	affine_add(&idx[0].whole, var, 1);
	emit_for(e, FOR_PARALLEL, blocks, &cb);
	for (int d = 0; d <= c->last; d++) {
		emit_for(e, d == 0 ? FOR_PARALLEL : FOR_SERIAL, ax[d].outputs, &var);
		idx[2 + d] = index_of(AFFINE(ax[d].first));
		affine_add(&idx[2 + d].whole, var, ax[d].stride);
	}
	emit_for(e, FOR_VECTOR, c->block, &var);
	idx[1] = (struct index){.whole = AFFINE(0), .block = c->block, .outer = AFFINE(0), .inner = AFFINE(0)};
	affine_add(&idx[1].outer, cb, 1);
	affine_add(&idx[1].inner, var, 1);
	affine_add(&idx[1].whole, cb, c->block);
	affine_add(&idx[1].whole, var, 1);
	emit_forget(e);
	emit_note(e, r, idx, emit_const(e, DT_f32, 0));
	emit_outputs(e, idx);
	e->body = top;
	emit_end(e);
}

/* A phase for each combination of the axes' spans. */
static bool
forward(struct conv *c)
{
	const struct conv_shape *s = &c->s;
	struct conv_span span[3][MAX_SPANS];
	int n[3] = {1, 1, 1}, phases = 1;

	for (int d = 0; d < s->spatial; d++)
		phases *= n[d] = conv_spans(s, d, span[d]);
	for (int f = 0; f < phases; f++) {
		struct axis ax[3] = {{.outputs = 1}};
		bool taps = true;
		int rest = f;

		for (int d = s->spatial - 1; d >= 0; d--) {
			const struct conv_span *p = &span[d][rest % n[d]];

			rest /= n[d];
			taps &= p->taps > 0;
			ax[d] = (struct axis){.outputs = p->count, .first = p->first, .stride = 1, .astep = s->stride[d],
			    .abase = p->first * s->stride[d] + p->tap * s->dilation[d] - s->lo[d], .taps = p->taps,
			    .atap = s->dilation[d], .wfirst = p->tap, .wtap = 1};
		}
		if (taps)
			pixel_phase(c, ax);
		else
			zero_phase(c, ax);
	}
	return true;
}

static bool
data_gradient(struct conv *c)
{
	const struct conv_shape *s = &c->s;
	int64_t phases = 1;

	for (int d = 0; d < s->spatial; d++)
		phases *= s->stride[d];
	for (int64_t f = 0; f < phases; f++) {
		struct axis ax[3] = {{.outputs = 1}};
		int64_t rest = f;
		bool taps = true, any = true;

		for (int d = s->spatial - 1; d >= 0; d--) {
			int64_t phase = rest % s->stride[d];
			struct conv_phase p = conv_phase(s, d, phase);

			rest /= s->stride[d];
			taps &= p.count > 0;
			any &= p.outputs > 0;
			ax[d] = (struct axis){.outputs = p.outputs, .first = phase, .stride = s->stride[d], .astep = 1,
			    .abase = p.offset, .taps = p.count, .atap = -p.back, .wfirst = p.first, .wtap = p.step};
		}
		if (any && taps)
			pixel_phase(c, ax);
		else if (any)
			zero_phase(c, ax);
	}
	return true;
}

/* ---- weight gradient: rows are taps of the innermost dim and input channels.
 * One image at a time, its sum kept in registers; dw accumulates in memory from
 * the second image (nvar counts them from 1, -1: the first) on. */
static void
weight_tile(struct conv *c, struct emit *e, const struct channel_loops *l, int64_t ics, int bvar, int nvar, const int *kvar,
            int cvar)
{
	const struct conv_shape *s = &c->s;
	struct value *x = c->n->in[0], *dy = c->n->in[1], *dw = c->n->out[0];
	struct channels ch = channels_of(x, s->gin, c->block);
	bool stem = !tile_dim_blocked(x, 1);
	int d1 = c->last;
	int64_t taps = kvar[d1] >= 0 ? 1 : s->kernel[d1];
	struct tile *t = tile_begin(e, DT_f32, taps, ics, l->groups, c->block);
	struct affine a = AFFINE(tile_halo(x, s->spatial)), b = AFFINE(tile_halo(dy, s->spatial));
	int64_t yinner, yblock = tile_stride(dy, 1, &yinner);
	struct index idx[MAX_RANK];

	if (nvar >= 0) {
		a.c += tile_stride(x, 0, NULL);
		b.c += tile_stride(dy, 0, NULL);
		affine_add(&a, nvar, tile_stride(x, 0, NULL));
		affine_add(&b, nvar, tile_stride(dy, 0, NULL));
	}
	add_columns(&b, l, yblock);
	if (l->gvar >= 0)
		affine_add(&a, l->gvar, ch.blocks * ch.outer_stride);
	if (bvar >= 0)
		affine_add(&a, bvar, ch.outer_stride);
	affine_add(&a, cvar, ics * ch.inner_stride);
	for (int i = 0; i < MAX_RANK; i++)
		idx[i] = index_of(AFFINE(0));
	for (int d = 0; d <= d1; d++) {
		a.c -= s->lo[d] * spatial_stride(x, d);
		if (kvar[d] < 0)
			continue;
		affine_add(&a, kvar[d], s->dilation[d] * spatial_stride(x, d));
		affine_add(&idx[2 + d].whole, kvar[d], 1);
	}
	if (taps > 1)
		affine_add(&idx[2 + d1].whole, t->rowvar[0], 1);
	t->a = (struct tile_operand){.buf = emit_buf(e, lower_buffer(c->lo, x), false), .index = a};
	t->b = (struct tile_operand){.buf = emit_buf(e, lower_buffer(c->lo, dy), false), .index = b, .cstride = 1,
	    .cbstride = yblock};
	t->a.rstride[0] = s->dilation[d1] * spatial_stride(x, d1);
	t->a.rstride[1] = ch.inner_stride;
	for (int d = 0; d <= d1; d++)
		tile_k(t, s->out[d], s->stride[d] * spatial_stride(x, d), spatial_stride(dy, d));
	if (!t->nk) {
		t->nk = 1;
		t->k[0] = 1;
	}
	idx[0] = channel_index(c->block, l, t);
	struct index *ci = &idx[1];
	if (!stem) {
		*ci = (struct index){.whole = AFFINE(0), .block = c->block, .outer = AFFINE(0), .inner = AFFINE(0)};
		affine_add(&ci->outer, bvar, 1);
		affine_add(&ci->inner, cvar, ics);
		affine_add(&ci->inner, t->rowvar[1], 1);
		affine_add(&ci->whole, bvar, c->block);
	}
	affine_add(&ci->whole, cvar, ics);
	affine_add(&ci->whole, t->rowvar[1], 1);

	struct body *outer = e->body;
	e->body = &t->epilogue;
	emit_forget(e);
	struct affine at = emit_address(e, dw, idx);
	int buf = emit_buf(e, lower_buffer(c->lo, dw), true), sum = t->acc;
	if (nvar >= 0) {
		struct stmt *ld = stmt_new(e->lo->a, e->body, S_LOAD);

		ld->dst = kernel_reg(e->lo->a, e->k, DT_f32);
		ld->type = DT_f32;
		ld->src[0] = -1;
		ld->buf = buf;
		ld->index = at;
		sum = emit_op(e, OP_add, DT_f32, ld->dst, t->acc, -1);
	}
	struct stmt *st = stmt_new(e->lo->a, e->body, S_STORE);
	st->type = DT_f32;
	st->src[0] = sum;
	st->buf = buf;
	st->index = at;
	e->body = outer;
	emit_forget(e);
}

int64_t
divisor_upto(int64_t n, int64_t most)
{
	int64_t d = most < n ? most : n;

	while (d > 1 && n % d)
		d--;
	return d < 1 ? 1 : d;
}

static bool
weight_gradient(struct conv *c)
{
	const struct conv_shape *s = &c->s;
	struct value *x = c->n->in[0];
	struct channel_loops l = {.blocks = (s->gout + c->block - 1) / c->block};
	l.groups = tile_groups(&c->lo->ctx->opts->machine, l.blocks);
	int64_t most = tile_rows(&c->lo->ctx->opts->machine, l.groups);
	int d1 = c->last, kvar[3] = {-1, -1, -1}, bvar = -1, cvar, nvar;
	struct channels ch = channels_of(x, s->gin, c->block);
	bool stem = !tile_dim_blocked(x, 1);

	if (c->cl->nodes.n != 1)
		return false; /* nothing may hang on a sum still in memory */
	/* lanes of a last, partial block are zero in x, so whole blocks may be summed */
	int64_t lanes = stem ? s->ic : c->block;
	bool loop_taps = s->kernel[d1] > most;
	int64_t ics = divisor_upto(lanes, loop_taps ? most : most / s->kernel[d1]);
	struct emit *e = emit_begin(c->lo, c->cl, "conv_grad_weight");
	struct body *top = e->body;
	channel_loops(e, s->group, &l);
	if (!stem)
		emit_for(e, FOR_PARALLEL, ch.blocks, &bvar);
	for (int d = 0; d < d1; d++)
		emit_for(e, FOR_PARALLEL, s->kernel[d], &kvar[d]);
	if (loop_taps)
		emit_for(e, FOR_PARALLEL, s->kernel[d1], &kvar[d1]);
	emit_for(e, FOR_PARALLEL, lanes / ics, &cvar);
	/* the first image stores, the others add */
	struct body *piece = e->body;
	weight_tile(c, e, &l, ics, bvar, -1, kvar, cvar);
	if (s->n > 1) {
		e->body = piece;
		emit_for(e, FOR_SERIAL, s->n - 1, &nvar);
		weight_tile(c, e, &l, ics, bvar, nvar, kvar, cvar);
	}
	e->body = top;
	e->k->flops = 2.0 * (double)s->n * (double)s->oc * (double)s->gin;
	for (int d = 0; d <= d1; d++)
		e->k->flops *= (double)(s->kernel[d] * s->out[d]);
	emit_end(e);
	return true;
}

bool
tile_conv_serves(struct lower *lo, const struct cluster *cl, struct conv_shape *s)
{
	const struct node *n = cl->anchor;

	if (!conv_tiled(n, tile_block(&lo->ctx->opts->machine), s))
		return false;
	return n->in[0]->layout && n->in[1]->layout && n->out[0]->layout;
}

void
tile_conv_rows(struct emit *e, int nvar, int pvar, int64_t groups, const struct affine *from, int64_t count)
{
	struct lower *lo = e->lo;
	struct conv c = {.lo = lo, .cl = e->cl, .n = e->cl->anchor, .block = tile_block(&lo->ctx->opts->machine), .last = 1};
	struct pixels p = {.c = &c, .e = e, .a = c.n->in[0], .w = c.n->in[1], .r = c.n->out[0], .nvar = nvar, .strips = 1};
	const struct conv_shape *s = &c.s;
	struct body *outer = e->body;
	struct index idx[MAX_RANK];
	int64_t most = tile_rows(&lo->ctx->opts->machine, groups), wide, h;
	int var;

	require(conv_tiled(c.n, c.block, &c.s));
	p.part = (struct part){1, s->ic, s->oc, 0, 0};
	wide = s->out[1];
	h = wide * 2 <= most ? most / wide : 1;
	struct split rows = split_even(count, h > count ? count : h), columns = split_even(wide, most);
	struct affine a = AFFINE(tile_halo(p.a, 2));

	p.ch = (struct channel_loops){.gvar = -1, .pvar = pvar, .blocks = (s->oc + c.block - 1) / c.block, .groups = groups};
	p.abuf = emit_buf(e, lower_buffer(lo, p.a), false);
	p.bbuf = emit_buf(e, lower_buffer(lo, p.w), false);
	for (int i = 0; i < MAX_RANK; i++)
		idx[i] = index_of(AFFINE(0));
	for (int d = 0; d < 2; d++) {
		p.ax[d] = (struct axis){.outputs = s->out[d], .stride = 1, .astep = s->stride[d], .taps = s->kernel[d], .atap = 1, .wtap = 1};
		a.c -= s->lo[d] * spatial_stride(p.a, d);
	}
	affine_add(&a, nvar, tile_stride(p.a, 0, NULL));
	affine_add(&idx[0].whole, nvar, 1);
	affine_plus(e, &a, from, s->stride[0] * spatial_stride(p.a, 0));
	idx[2].whole = *from;
	p.across = columns.nhigh + columns.nlow;
	p.tiles = p.across * (rows.nhigh + rows.nlow);
	for (int i = 0; i < 2; i++) {
		int64_t n = i ? rows.nlow : rows.nhigh;

		if (!n)
			continue;
		e->body = outer;
		emit_for(e, FOR_SERIAL, n, &var);
		pixel_rows(&p, idx, a, i ? rows.high * rows.nhigh : 0, i ? rows.low : rows.high, var, columns, i ? rows.nhigh : 0);
	}
	e->body = outer;
}

bool
lower_conv_tile(struct lower *lo, struct cluster *cl)
{
	struct conv c = {.lo = lo, .cl = cl, .n = cl->anchor, .block = tile_block(&lo->ctx->opts->machine)};

	if (!tile_conv_serves(lo, cl, &c.s))
		return false;
	c.last = c.s.spatial - 1;
	if (c.n->op == OP_conv)
		return forward(&c);
	if (c.n->op == OP_conv_grad_data)
		return data_gradient(&c);
	return weight_gradient(&c);
}
