/* nest_winograd -- winograd_conv and winograd_grad_weight (ir/ops/winograd.c) over
 * blocked channels.
 *
 * Tiles are taken in blocks of a few dozen (block_tiles), and a block goes through three phases:
 *   V[p][t][ic] = BT d B           lanes: channels; d read from x and its halo
 *   M[p][t][oc] = sum ic V u       register tiles: rows are tiles, columns channels
 *   y           = AT M A           lanes: channels; the maps that follow, stores
 * V and M of a block stay in the second cache: one kernel runs the phases of a
 * block one after the other, in memory of its own (buf_slot).  A layer of so few
 * tiles that it is one block or two has its phases as kernels, so that threads
 * can share them.
 *
 * The gradient of the weights transforms a block of x to V and of dy to D = A dY AT,
 * and adds dU[p][ic][oc] += sum t V[p][t][ic] D[p][t][oc] to a sum of its group of
 * images; how many groups there are depends on shapes only.  A second kernel adds
 * the groups' sums. */
#include "passes/tile_emit.h"

#include <string.h>

enum { BLOCK_TILES = 14, FEW_BLOCKS = 4, MANY_PIECES = 16, PAD = 16 };
/* Of the weights' gradient: V and D of a block; sums of all groups */
enum { GRADIENT_BYTES = 320 * 1024, SUM_BYTES = 4 << 20, MOST_GROUPS = 8 };

struct wino {
	struct lower *lo;
	struct cluster *cl;
	struct winograd_shape s;
	struct value *x, *u, *dy, *y;
	int64_t lanes, icb, ocb;
	/* the block at hand: `images` images from image0 on, `rows` rows of tiles from row0 on */
	int64_t images, image0, rows, row0;
	int64_t tiles;               /* images * rows * across */
	int64_t vpoint, mpoint;      /* elements from a point to the next in V, M */
	struct buffer *v, *m;
	struct emit *e;
	int nvar, rvar;              /* variables of the images' and the rows' blocks; -1: none */
	int gvar;                    /* of groups of `inside` images; -1: none */
	int64_t inside;
};

/* ---- the one-dimensional transforms of registers, odd and even parts shared */
static int
scaled(struct emit *e, double c, int a)
{
	return emit_op(e, OP_mul, DT_f32, emit_const(e, DT_f32, c), a, -1);
}

static int
plus(struct emit *e, int a, int b)
{
	return emit_op(e, OP_add, DT_f32, a, b, -1);
}

static int
minus(struct emit *e, int a, int b)
{
	return emit_op(e, OP_sub, DT_f32, a, b, -1);
}

static void
transform_in(struct emit *e, const struct winograd *w, const int *d, int *r)
{
	if (w->stride == 2) {
		r[0] = minus(e, d[0], d[2]);
		r[1] = d[2];
		r[2] = minus(e, d[4], d[2]);
		r[3] = d[1];
		r[4] = d[3];
		return;
	}
	if (w->m == 2) {
		r[0] = minus(e, d[0], d[2]);
		r[1] = plus(e, d[1], d[2]);
		r[2] = minus(e, d[2], d[1]);
		r[3] = minus(e, d[1], d[3]);
		return;
	}
	int even = minus(e, d[4], scaled(e, 4, d[2])), odd = minus(e, d[3], scaled(e, 4, d[1]));
	int far = minus(e, d[4], d[2]), twice = scaled(e, 2, minus(e, d[3], d[1]));

	r[0] = plus(e, minus(e, d[4], scaled(e, 5, d[2])), scaled(e, 4, d[0]));
	r[1] = plus(e, even, odd);
	r[2] = minus(e, even, odd);
	r[3] = plus(e, far, twice);
	r[4] = minus(e, far, twice);
	r[5] = plus(e, minus(e, d[5], scaled(e, 5, d[3])), scaled(e, 4, d[1]));
}

static void
transform_out(struct emit *e, const struct winograd *w, const int *d, int *r)
{
	if (w->stride == 2) {
		r[0] = plus(e, plus(e, d[0], d[1]), d[3]);
		r[1] = plus(e, plus(e, d[1], d[2]), d[4]);
		return;
	}
	int sum = plus(e, d[1], d[2]), diff = minus(e, d[1], d[2]);

	if (w->m == 2) {
		r[0] = plus(e, d[0], sum);
		r[1] = minus(e, diff, d[3]);
		return;
	}
	int sum2 = plus(e, d[3], d[4]), diff2 = minus(e, d[3], d[4]);

	r[0] = plus(e, plus(e, d[0], sum), sum2);
	r[1] = plus(e, diff, scaled(e, 2, diff2));
	r[2] = plus(e, sum, scaled(e, 4, sum2));
	r[3] = plus(e, plus(e, diff, scaled(e, 8, diff2)), d[5]);
}

/* r = A d: what the gradient of transform_out does */
static void
transform_gradient(struct emit *e, const struct winograd *w, const int *d, int *r)
{
	r[0] = d[0];
	if (w->m == 2) {
		r[1] = plus(e, d[0], d[1]);
		r[2] = minus(e, d[0], d[1]);
		r[3] = emit_op(e, OP_neg, DT_f32, d[1], -1, -1);
		return;
	}
	int even = plus(e, d[0], d[2]), odd = plus(e, d[1], d[3]);
	int even2 = plus(e, d[0], scaled(e, 4, d[2])), odd2 = plus(e, scaled(e, 2, d[1]), scaled(e, 8, d[3]));

	r[1] = plus(e, even, odd);
	r[2] = minus(e, even, odd);
	r[3] = plus(e, even2, odd2);
	r[4] = minus(e, even2, odd2);
	r[5] = d[3];
}

static int
load(struct emit *e, int buf, struct affine at, int64_t offset)
{
	struct stmt *s = stmt_new(e->lo->a, e->body, S_LOAD);

	s->dst = kernel_reg(e->lo->a, e->k, DT_f32);
	s->type = DT_f32;
	s->src[0] = -1;
	s->buf = buf;
	s->index = at;
	s->index.c += offset;
	return s->dst;
}

static void
store(struct emit *e, int buf, struct affine at, int64_t offset, int reg)
{
	struct stmt *s = stmt_new(e->lo->a, e->body, S_STORE);

	s->type = DT_f32;
	s->src[0] = reg;
	s->buf = buf;
	s->index = at;
	s->index.c += offset;
}

/* ---- phases.  at: channels' blocks are a loop of this kind, the innermost given */

/* The loops over the tiles of the block; var[0..2]: image, row, column. */
static void
tile_loops(struct wino *w, enum for_kind rows, int *var)
{
	emit_for(w->e, rows, w->images, &var[0]);
	emit_for(w->e, rows, w->rows, &var[1]);
	emit_for(w->e, FOR_SERIAL, w->s.tiles[1], &var[2]);
}

/* coef times the tile's number in the block */
static void
add_tile(const struct wino *w, struct affine *a, const int *var, int64_t coef)
{
	affine_add(a, var[0], coef * w->rows * w->s.tiles[1]);
	affine_add(a, var[1], coef * w->s.tiles[1]);
	affine_add(a, var[2], coef);
}

/* The image and the first of the rows of tiles, as index. */
static struct affine
image_of(const struct wino *w, const int *var)
{
	struct affine a = AFFINE(w->image0);

	if (w->gvar >= 0)
		affine_add(&a, w->gvar, w->inside);
	if (w->nvar >= 0)
		affine_add(&a, w->nvar, w->images);
	affine_add(&a, var[0], 1);
	return a;
}

static struct affine
row_of(const struct wino *w, const int *var)
{
	struct affine a = AFFINE(w->row0);

	if (w->rvar >= 0)
		affine_add(&a, w->rvar, w->rows);
	affine_add(&a, var[1], 1);
	return a;
}

/* Transforms what lies in blocked v: side x side elements a tile, `apart` from tile to tile,
 * the first at -lo, by columns and by rows, into points of memory `to`. */
struct transform {
	struct value *from;
	const int64_t *lo;
	int side, apart;
	void (*apply)(struct emit *, const struct winograd *, const int *, int *);
	struct buffer *to;
	int64_t blocks, point;       /* of channels; elements from a point to the next */
};

static void
phase_transform(struct wino *w, const struct transform *f, enum for_kind kind)
{
	struct emit *e = w->e;
	struct body *outer = e->body;
	const struct winograd *g = w->s.w;
	struct value *x = f->from;
	int64_t inner, block = tile_stride(x, 1, &inner), xs[2] = {tile_stride(x, 2, NULL), tile_stride(x, 3, NULL)};
	int var[3], cvar, lane, d[36], t[36];
	int xbuf = emit_buf(e, lower_buffer(w->lo, x), false), vbuf = emit_buf(e, f->to, true);
	struct affine at = AFFINE(tile_halo(x, 2)), to = AFFINE(0);

	emit_for(e, kind, f->blocks, &cvar);
	tile_loops(w, kind, var);
	emit_for(e, FOR_VECTOR, w->lanes, &lane);
	struct affine image = image_of(w, var), row = row_of(w, var);
	affine_plus(e, &at, &image, tile_stride(x, 0, NULL));
	affine_plus(e, &at, &row, f->apart * xs[0]);
	affine_add(&at, var[2], f->apart * xs[1]);
	affine_add(&at, cvar, block);
	affine_add(&at, lane, inner ? inner : 1);
	at.c -= f->lo[0] * xs[0] + f->lo[1] * xs[1];
	add_tile(w, &to, var, f->blocks * w->lanes);
	affine_add(&to, cvar, w->lanes);
	affine_add(&to, lane, 1);
	for (int c = 0; c < f->side; c++) {
		int col[6], r[6];

		for (int i = 0; i < f->side; i++)
			col[i] = load(e, xbuf, at, i * xs[0] + c * xs[1]);
		f->apply(e, g, col, r);
		for (int i = 0; i < g->n; i++)
			d[i * g->n + c] = r[i];
	}
	for (int i = 0; i < g->n; i++) {
		f->apply(e, g, d + i * g->n, t + i * g->n);
		for (int c = 0; c < g->n; c++)
			store(e, vbuf, to, (i * g->n + c) * f->point, t[i * g->n + c]);
	}
	e->body = outer;
}

static void
phase_in(struct wino *w, enum for_kind kind)
{
	const struct winograd *g = w->s.w;

	phase_transform(w, &(struct transform){w->x, w->s.lo, g->side, g->m * g->stride, transform_in, w->v, w->icb, w->vpoint}, kind);
}

static void
phase_multiply(struct wino *w, enum for_kind kind)
{
	struct emit *e = w->e;
	struct body *outer = e->body;
	const struct machine *mach = &w->lo->ctx->opts->machine;
	int64_t groups = tile_groups(mach, w->ocb), us[MAX_PHYS];
	struct split rows = split_even(w->tiles, tile_rows(mach, groups));
	int pvar, gvar, var;
	int vbuf = emit_buf(e, w->v, false), ubuf = emit_buf(e, lower_buffer(w->lo, w->u), false), mbuf = emit_buf(e, w->m, true);

	layout_strides(w->u->layout, us);
	emit_for(e, kind, w->s.w->n * w->s.w->n, &pvar);
	emit_for(e, kind, w->ocb / groups, &gvar);
	struct body *inside = e->body;
	for (int i = 0; i < 2; i++) {
		int64_t count = i ? rows.nlow : rows.nhigh, h = i ? rows.low : rows.high, base = i ? rows.high * rows.nhigh : 0;
		struct affine a = AFFINE(base * w->icb * w->lanes), b = AFFINE(0), c = AFFINE(base * w->ocb * w->lanes);

		if (!count)
			continue;
		e->body = inside;
		emit_for(e, FOR_SERIAL, count, &var);
		affine_add(&a, pvar, w->vpoint);
		affine_add(&a, var, h * w->icb * w->lanes);
		affine_add(&b, pvar, us[0]);
		affine_add(&b, gvar, groups * us[1]);
		struct tile *t = tile_begin(e, DT_f32, 1, h, groups, w->lanes);
		t->a = (struct tile_operand){.buf = vbuf, .index = a};
		t->a.rstride[1] = w->icb * w->lanes;
		t->b = (struct tile_operand){.buf = ubuf, .index = b, .cstride = 1, .cbstride = us[1]};
		t->nk = 1;
		t->k[0] = w->s.ic;
		t->a.kstride[0] = 1;
		t->b.kstride[0] = us[2];
		struct affine number = AFFINE(i ? rows.nhigh : 0);

		affine_add(&number, var, 1);
		tile_fetch_ahead(&w->lo->ctx->opts->machine, t, groups * us[1], rows.nhigh + rows.nlow, &number);
		affine_add(&c, pvar, w->mpoint);
		affine_add(&c, var, h * w->ocb * w->lanes);
		affine_add(&c, t->rowvar[1], w->ocb * w->lanes);
		affine_add(&c, gvar, groups * w->lanes);
		affine_add(&c, t->cblockvar, w->lanes);
		affine_add(&c, t->colvar, 1);
		e->body = &t->epilogue;
		store(e, mbuf, c, 0, t->acc);
	}
	e->body = outer;
}

static void
phase_out(struct wino *w, enum for_kind kind)
{
	struct emit *e = w->e;
	struct body *outer = e->body;
	const struct winograd *g = w->s.w;
	int var[3], cvar, lane, d[36], mbuf = emit_buf(e, w->m, false);
	struct affine from = AFFINE(0);
	struct index idx[MAX_RANK];

	emit_for(e, kind, w->ocb, &cvar);
	tile_loops(w, kind, var);
	emit_for(e, FOR_VECTOR, w->lanes, &lane);
	add_tile(w, &from, var, w->ocb * w->lanes);
	affine_add(&from, cvar, w->lanes);
	affine_add(&from, lane, 1);
	for (int c = 0; c < g->n; c++) {
		int col[6], r[4];

		for (int i = 0; i < g->n; i++)
			col[i] = load(e, mbuf, from, (i * g->n + c) * w->mpoint);
		transform_out(e, g, col, r);
		for (int i = 0; i < g->m; i++)
			d[i * g->n + c] = r[i];
	}
	idx[0] = index_of(image_of(w, var));
	idx[1] = (struct index){.whole = AFFINE(0), .block = w->lanes, .outer = AFFINE(0), .inner = AFFINE(0)};
	affine_add(&idx[1].outer, cvar, 1);
	affine_add(&idx[1].inner, lane, 1);
	affine_add(&idx[1].whole, cvar, w->lanes);
	affine_add(&idx[1].whole, lane, 1);
	for (int i = 0; i < g->m; i++) {
		int r[4];

		transform_out(e, g, d + i * g->n, r);
		for (int c = 0; c < g->m; c++) {
			struct affine row = row_of(w, var), at = AFFINE(i);

			affine_plus(e, &at, &row, g->m);
			idx[2] = index_of(at);
			idx[3] = index_of(AFFINE(c));
			affine_add(&idx[3].whole, var[2], g->m);
			emit_forget(e);
			emit_note(e, w->y, idx, r[c]);
			emit_outputs(e, idx);
		}
	}
	e->body = outer;
}

/* ---- kernels */
static void
begin(struct wino *w, const char *name)
{
	w->e = emit_begin(w->lo, w->cl, name);
}

static void
end(struct wino *w, struct body *top, double flops)
{
	w->e->body = top;
	w->e->k->flops = flops;
	emit_end(w->e);
}

static double
flops(const struct wino *w, double tiles)
{
	return tiles * (double)(w->s.w->m * w->s.w->m) * 18 * (double)(w->s.ic * w->s.oc);
}

/* A whole number of cache lines for every point of V or M. */
static int64_t
slot_of(const struct wino *w, int64_t point)
{
	return (w->s.w->n * w->s.w->n * point + PAD) / PAD * PAD;
}

/* `count` blocks of `rows` rows of tiles from row0 on, of `groups` times w->images images. */
static void
blocks(struct wino *w, int64_t groups, int64_t row0, int64_t rows, int64_t count)
{
	bool serial = groups >= MANY_PIECES;

	if (!count)
		return;
	w->row0 = row0;
	w->rows = rows;
	w->tiles = w->images * rows * w->s.tiles[1];
	w->vpoint = w->tiles * w->icb * w->lanes + PAD;
	w->mpoint = w->tiles * w->ocb * w->lanes + PAD;
	int64_t points = w->s.w->n * w->s.w->n, pieces = groups * (serial ? 1 : count);

	if (pieces < FEW_BLOCKS && count == 1 && groups == 1) {
		w->v = lower_scratch(w->lo, DT_f32, points * w->vpoint);
		w->m = lower_scratch(w->lo, DT_f32, points * w->mpoint);
		w->nvar = w->rvar = -1;
		begin(w, "winograd_in");
		struct body *top = w->e->body;
		phase_in(w, FOR_PARALLEL);
		end(w, top, 0);
		begin(w, "winograd");
		top = w->e->body;
		phase_multiply(w, FOR_PARALLEL);
		end(w, top, flops(w, (double)w->tiles));
		begin(w, "winograd_out");
		top = w->e->body;
		phase_out(w, FOR_PARALLEL);
		end(w, top, 0);
		return;
	}
	int64_t vslot = slot_of(w, w->vpoint), mslot = slot_of(w, w->mpoint);

	w->v = lower_scratch(w->lo, DT_f32, pieces * vslot);
	w->m = lower_scratch(w->lo, DT_f32, pieces * mslot);
	begin(w, "winograd");
	struct body *top = w->e->body;
	emit_for(w->e, FOR_PARALLEL, groups, &w->nvar);
	emit_for(w->e, serial ? FOR_SERIAL : FOR_PARALLEL, count, &w->rvar);
	int v = emit_buf(w->e, w->v, true), m = emit_buf(w->e, w->m, true);
	w->e->k->buf_slot[v] = vslot;
	w->e->k->buf_slot[m] = mslot;
	phase_in(w, FOR_SERIAL);
	phase_multiply(w, FOR_SERIAL);
	phase_out(w, FOR_SERIAL);
	end(w, top, flops(w, (double)(w->tiles * groups * count)));
}

/* ---- blocks */

/* How many tiles a block should have.  Weights that stay in the second cache from block to
 * block share it with V and M, which take as much as they, or a quarter: activations want
 * the rest.  Of larger ones each block is a pass over memory, so V and M take most of the cache. */
static int64_t
block_tiles(const struct machine *m, const struct winograd_shape *s, int64_t channels, int64_t u)
{
	int64_t most = m->l2 * 3 / 5 - u, wanted = u > m->l2 / 4 ? u : m->l2 / 4;
	int64_t room = u > m->l2 / 2 ? m->l2 * 4 / 5 : wanted < most ? wanted : most;
	int64_t tiles = room / (4 * s->w->n * s->w->n * channels);

	return tiles < BLOCK_TILES ? BLOCK_TILES : tiles;
}

struct winograd_cut
winograd_cut(const struct machine *m, const struct winograd_shape *s)
{
	int64_t lanes = tile_block(m), ic = (s->ic + lanes - 1) / lanes * lanes, oc = (s->oc + lanes - 1) / lanes * lanes;
	int64_t points = s->w->n * s->w->n, u = 4 * points * ic * oc, per = s->tiles[0] * s->tiles[1];
	struct winograd_cut c = {1, s->tiles[0], 1};

	if (s->gradient) {
		int64_t most = GRADIENT_BYTES / (4 * points * (ic + oc));

		c.groups = divisor_upto(s->n, u * MOST_GROUPS > SUM_BYTES ? MOST_GROUPS / 2 : MOST_GROUPS);
		c.images = per < most ? divisor_upto(s->n / c.groups, most / per) : 1;
		if (c.images == 1)
			c.rows = divisor_upto(s->tiles[0], most / s->tiles[1]);
		return c;
	}
	int64_t room = block_tiles(m, s, ic + oc, u), most = room / s->tiles[1];

	if (per <= room)
		c.images = room / per;
	else
		c.rows = most < 1 ? 1 : most;
	return c;
}

/* ---- the gradient of the weights */
static void
add_products(struct wino *w, struct buffer *sums)
{
	struct emit *e = w->e;
	struct body *outer = e->body;
	const struct machine *mach = &w->lo->ctx->opts->machine;
	int64_t groups = tile_groups(mach, w->ocb), ics = w->icb * w->lanes, ocs = w->ocb * w->lanes, points = w->s.w->n * w->s.w->n;
	struct split rows = split_even(ics, tile_rows(mach, groups));
	int pvar, ovar, var, vbuf = emit_buf(e, w->v, false), dbuf = emit_buf(e, w->m, false), sbuf = emit_buf(e, sums, true);

	emit_for(e, FOR_SERIAL, points, &pvar);
	emit_for(e, FOR_SERIAL, w->ocb / groups, &ovar);
	struct body *inside = e->body;
	for (int i = 0; i < 2; i++) {
		int64_t count = i ? rows.nlow : rows.nhigh, h = i ? rows.low : rows.high, base = i ? rows.high * rows.nhigh : 0;
		struct affine a = AFFINE(base), b = AFFINE(0), c = AFFINE(base * ocs);

		if (!count)
			continue;
		e->body = inside;
		emit_for(e, FOR_SERIAL, count, &var);
		affine_add(&a, pvar, w->vpoint);
		affine_add(&a, var, h);
		affine_add(&b, pvar, w->mpoint);
		affine_add(&b, ovar, groups * w->lanes);
		struct tile *t = tile_begin(e, DT_f32, 1, h, groups, w->lanes);
		t->a = (struct tile_operand){.buf = vbuf, .index = a};
		t->a.rstride[1] = 1;
		t->b = (struct tile_operand){.buf = dbuf, .index = b, .cstride = 1, .cbstride = w->lanes};
		t->nk = 1;
		t->k[0] = w->tiles;
		t->a.kstride[0] = ics;
		t->b.kstride[0] = ocs;
		affine_add(&c, w->gvar, points * ics * ocs);
		affine_add(&c, pvar, ics * ocs);
		affine_add(&c, var, h * ocs);
		affine_add(&c, t->rowvar[1], ocs);
		affine_add(&c, ovar, groups * w->lanes);
		affine_add(&c, t->cblockvar, w->lanes);
		affine_add(&c, t->colvar, 1);
		e->body = &t->epilogue;
		store(e, sbuf, c, 0, plus(e, load(e, sbuf, c, 0), t->acc));
	}
	e->body = outer;
}

static void
zero_sums(struct wino *w, struct buffer *sums, int64_t count)
{
	struct body *outer = w->e->body;
	struct affine at = AFFINE(0);
	int lane;

	emit_for(w->e, FOR_VECTOR, count, &lane);
	affine_add(&at, w->gvar, count);
	affine_add(&at, lane, 1);
	store(w->e, emit_buf(w->e, sums, true), at, 0, emit_const(w->e, DT_f32, 0));
	w->e->body = outer;
}

/* du and the maps that follow, from the sums of `groups` groups */
static void
add_groups(struct wino *w, struct buffer *sums, int64_t groups)
{
	int64_t points = w->s.w->n * w->s.w->n, ics = w->icb * w->lanes, ocs = w->ocb * w->lanes;
	struct affine at = AFFINE(0);
	struct index idx[3];
	int var[3], sum, buf;

	begin(w, "winograd_sum");
	struct body *top = w->e->body;
	emit_for(w->e, FOR_PARALLEL, points, &var[0]);
	emit_for(w->e, FOR_SERIAL, w->s.ic, &var[1]);
	emit_for(w->e, FOR_VECTOR, w->s.oc, &var[2]);
	affine_add(&at, var[0], ics * ocs);
	affine_add(&at, var[1], ocs);
	affine_add(&at, var[2], 1);
	buf = emit_buf(w->e, sums, false);
	sum = load(w->e, buf, at, 0);
	for (int64_t g = 1; g < groups; g++)
		sum = plus(w->e, sum, load(w->e, buf, at, g * points * ics * ocs));
	for (int d = 0; d < 3; d++) {
		idx[d] = index_of(AFFINE(0));
		affine_add(&idx[d].whole, var[d], 1);
	}
	emit_forget(w->e);
	emit_note(w->e, w->y, idx, sum);
	emit_outputs(w->e, idx);
	end(w, top, 0);
}

static void
weight_gradient(struct wino *w)
{
	static const int64_t none[2] = {0, 0};
	int64_t points = w->s.w->n * w->s.w->n, count = points * w->icb * w->ocb * w->lanes * w->lanes;
	struct winograd_cut cut = winograd_cut(&w->lo->ctx->opts->machine, &w->s);
	int64_t groups = cut.groups, inside = w->s.n / groups, per = w->s.tiles[0] * w->s.tiles[1];

	w->images = cut.images;
	w->rows = cut.rows;
	w->tiles = w->images * w->rows * w->s.tiles[1];
	w->vpoint = w->tiles * w->icb * w->lanes + PAD;
	w->mpoint = w->tiles * w->ocb * w->lanes + PAD;
	struct buffer *sums = lower_scratch(w->lo, DT_f32, groups * count);
	int64_t vslot = slot_of(w, w->vpoint), mslot = slot_of(w, w->mpoint);

	w->v = lower_scratch(w->lo, DT_f32, groups * vslot);
	w->m = lower_scratch(w->lo, DT_f32, groups * mslot);
	begin(w, "winograd_grad_weight");
	struct body *top = w->e->body;
	emit_for(w->e, FOR_PARALLEL, groups, &w->gvar);
	int v = emit_buf(w->e, w->v, true), m = emit_buf(w->e, w->m, true);
	w->e->k->buf_slot[v] = vslot;
	w->e->k->buf_slot[m] = mslot;
	zero_sums(w, sums, count);
	emit_for(w->e, FOR_SERIAL, inside / w->images, &w->nvar);
	emit_for(w->e, FOR_SERIAL, w->s.tiles[0] / w->rows, &w->rvar);
	w->inside = inside;
	phase_in(w, FOR_SERIAL);
	phase_transform(w, &(struct transform){w->dy, none, w->s.w->m, w->s.w->m, transform_gradient, w->m, w->ocb, w->mpoint}, FOR_SERIAL);
	add_products(w, sums);
	end(w, top, flops(w, (double)(w->s.n * per)));
	w->nvar = w->rvar = w->gvar = -1;
	add_groups(w, sums, groups);
}

bool
lower_winograd(struct lower *lo, struct cluster *cl)
{
	struct node *n = cl->anchor;
	struct wino w = {.lo = lo, .cl = cl, .x = n->in[0], .u = n->in[1], .dy = n->in[1], .y = n->out[0], .gvar = -1};

	if (!winograd_shape_of(n, &w.s))
		return false;
	if (!w.x->layout || !w.u->layout || (!w.s.gradient && !w.y->layout))
		die("%s without layouts", op_info[n->op].id);
	w.lanes = tile_block(&lo->ctx->opts->machine);
	w.icb = (w.s.ic + w.lanes - 1) / w.lanes;
	w.ocb = (w.s.oc + w.lanes - 1) / w.lanes;
	if (w.s.gradient) {
		weight_gradient(&w);
		return true;
	}
	/* a block: whole images if they are small, else rows of one */
	struct winograd_cut cut = winograd_cut(&lo->ctx->opts->machine, &w.s);
	struct split images = split_even(w.s.n, cut.images), rows = split_even(w.s.tiles[0], cut.rows);

	for (int i = 0; i < 2; i++) {
		int64_t groups = i ? images.nlow : images.nhigh;

		w.images = i ? images.low : images.high;
		blocks(&w, groups, 0, rows.high, groups ? rows.nhigh : 0);
		blocks(&w, groups, rows.high * rows.nhigh, rows.low, groups ? rows.nlow : 0);
		w.image0 += groups * w.images;
	}
	return true;
}
