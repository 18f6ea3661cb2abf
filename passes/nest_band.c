/* nest_band -- a convolution and the window operator that reads it, depthwise or
 * pooling, as one kernel, where the image between them would not stay in the second
 * cache.  Pieces are bands of the result's rows by column groups; a piece computes
 * the rows of the image that its windows read into its thread's memory,
 *
 *   t[block][row][column][lane]    rows of the band and of the windows' overlap, halo included
 *
 * and then its rows of the result.  Rows that two bands need are computed twice; a
 * band is chosen so that they are few.  The first and the last band compute rows inside
 * of the image instead of those outside, which they fill. */
#include "passes/nest.h"
#include "passes/tile_emit.h"

enum { OVERLAP = 6, MAX_RUN = 8 }; /* rows computed twice: one of six at most */

struct band {
	struct lower *lo;
	struct cluster *a, *b; /* of the convolution and of its reader */
	struct value *v, *y;   /* between them; the reader's result */
	struct nest_window win;
	int64_t lanes, blocks, groups;
	int64_t hi;	     /* halo behind a row of v */
	int64_t rows, count; /* of y in a band, the last may go beyond; bands */
};

static int64_t
rows_read(const struct band *b, int64_t rows)
{
	return (rows - 1) * b->win.stride[0] + (b->win.kernel[0] - 1) * b->win.dilation[0] + 1;
}

static int64_t
width(const struct band *b)
{
	return b->win.lo[1] + b->v->dims[3] + b->hi;
}

/* Rows that the last band computes before the first one it reads. */
static int64_t
before(const struct band *b)
{
	int64_t over = (b->count - 1) * b->rows * b->win.stride[0] - b->win.lo[0] +
		       rows_read(b, b->rows) - b->v->dims[2];

	return over > 0 && b->count > 1 ? over : 0;
}

static int64_t
rows_held(const struct band *b)
{
	return before(b) + rows_read(b, b->rows) + b->win.lo[0];
}

/* Elements of a thread's memory. */
static int64_t
room(const struct band *b)
{
	return b->groups * rows_held(b) * width(b) * b->lanes;
}

static bool
window_of(struct band *b)
{
	struct node *n = b->b->anchor;
	const int64_t *kernel;

	if (!n || !n->nin || n->in[0]->rank != 4 || n->out[0]->dtype != DT_f32)
		return false;
	if (n->op == OP_conv) {
		if (attr_int(n, "group") != n->in[0]->dims[1] ||
		    n->in[1]->dims[0] != n->in[0]->dims[1])
			return false;
		kernel = n->in[1]->dims + 2;
	} else if (n->op != OP_max_pool && n->op != OP_sum_pool) {
		return false;
	} else if (attr_ints(n, "kernel", &kernel) != 2) {
		return false;
	}
	for (int d = 0; d < 4; d++)
		if (!dim_const(n->in[0]->dims[d]) || !dim_const(n->out[0]->dims[d]))
			return false;
	nest_window_of(n, 2, kernel, &b->win);
	return b->win.lo[0] >= 0 && b->win.lo[1] >= 0;
}

/* The convolution whose only reader is cluster b, if the two are better one. */
static bool
band_of(struct lower *lo, struct cluster *b, struct band *r)
{
	const struct machine *m = &lo->ctx->opts->machine;
	struct conv_span span[MAX_SPANS];
	struct conv_shape s;
	int64_t out, height;

	*r = (struct band){.lo = lo, .b = b, .lanes = tile_block(m)};
	if (lo->p->states.n || !window_of(r))
		return false;
	r->v = b->anchor->in[0];
	r->y = b->anchor->out[0];
	if (r->v->kind != VAL_NODE || lo->uses[r->v->id] != 1 || lo->alias[r->v->id])
		return false;
	r->a = lo->cluster_of[r->v->def->id];
	if (!r->a || r->a == b || r->a->kind != CL_CONV || r->a->anchor->op != OP_conv ||
	    r->a->outputs.n != 1 || r->a->outputs.v[0] != r->v)
		return false;
	if (!tile_conv_serves(lo, r->a, &s) || s.spatial != 2 || s.group != 1 ||
	    s.dilation[0] != 1 || s.dilation[1] != 1 || conv_spans(&s, 0, span) != 1 ||
	    conv_spans(&s, 1, span) != 1 || !tile_dim_blocked(r->v, 1) ||
	    !tile_dim_blocked(r->y, 1))
		return false;
	if (layout_count(r->v->layout) * 4 <= m->l2 / 2)
		return false;
	out = r->y->dims[2];
	height = r->v->dims[2];
	r->blocks = (r->v->dims[1] + r->lanes - 1) / r->lanes;
	r->groups = tile_groups(m, r->blocks);
	r->hi = (r->y->dims[3] - 1) * r->win.stride[1] +
		(r->win.kernel[1] - 1) * r->win.dilation[1] - r->win.lo[1] - (r->v->dims[3] - 1);
	if (r->hi < 0)
		r->hi = 0;
	for (r->count = 1; r->count <= out; r->count++) {
		r->rows = (out + r->count - 1) / r->count;
		if (room(r) * 4 <= m->l2 / 4)
			break;
	}
	r->count = (out + r->rows - 1) / r->rows;
	return r->count == 1 || (r->count * rows_read(r, r->rows) - height) * OVERLAP <= height;
}

static struct stmt *
fill(struct emit *e, int buf, struct affine at, int64_t n, int reg)
{
	struct body *outer = e->body;
	struct stmt *s;
	int var;

	if (!n)
		return NULL;
	emit_for(e, FOR_VECTOR, n, &var);
	affine_add(&at, var, 1);
	s = stmt_new(e->lo->a, e->body, S_STORE);
	s->type = DT_f32;
	s->src[0] = reg;
	s->buf = buf;
	s->index = at;
	e->body = outer;
	return s;
}

/* Row `row` of the image, of which the memory holds row `at`, zero (what a maximum does not
 * see) if it lies outside. */
static void
fill_outside(struct band *b, struct emit *e, int buf, const struct affine *row, struct affine at,
    int reg, int64_t lo, int64_t hi)
{
	struct stmt *s = fill(e, buf, at, width(b) * b->lanes, reg);

	s->guard[s->nguard++] = (struct guard){*row, lo, hi};
}

/* What windows read outside of the image: halos of columns, rows before the first and
 * after the last. */
static void
fill_halo(struct band *b, struct emit *e, int buf, const struct affine *from)
{
	int64_t line = width(b) * b->lanes, height = b->v->dims[2], read = rows_read(b, b->rows);
	int64_t beyond = height - (b->count - 1) * b->rows * b->win.stride[0] +
			 b->win.lo[0]; /* of the last band */
	struct body *outer = e->body, *inner;
	struct affine at = AFFINE(0), next = AFFINE(0), image;
	int blk, row,
	    reg = b->b->anchor->op == OP_max_pool ? emit_identity(e, OP_max, DT_f32)
						  : emit_const(e, DT_f32, 0);

	emit_for(e, FOR_SERIAL, b->groups, &blk);
	affine_add(&at, blk, rows_held(b) * line);
	inner = e->body;
	if (b->win.lo[1] + b->hi) {
		emit_for(e, FOR_SERIAL, rows_held(b), &row);
		next = at;
		affine_add(&next, row, line);
		fill(e, buf, next, b->win.lo[1] * b->lanes, reg);
		next.c += line - b->hi * b->lanes;
		fill(e, buf, next, b->hi * b->lanes, reg);
	}
	for (int end = 0; end < 2; end++) {
		int64_t first = end ? beyond : 0, n = end ? read - beyond : b->win.lo[0];

		if (n <= 0)
			continue;
		e->body = inner;
		emit_for(e, FOR_SERIAL, n, &row);
		next = at;
		next.c += (before(b) + first) * line;
		affine_add(&next, row, line);
		image = *from;
		image.c += first;
		affine_add(&image, row, 1);
		fill_outside(b, e, buf, &image, next, reg, end ? height : INT64_MIN / 2,
		    end ? INT64_MAX / 2 : 0);
	}
	e->body = outer;
}

static int
held_within(struct emit *e, int i, int64_t lo, int64_t hi)
{
	i = emit_op(e, OP_max, DT_i64, i, emit_const_i(e, DT_i64, lo), -1);
	return emit_op(e, OP_min, DT_i64, i, emit_const_i(e, DT_i64, hi), -1);
}

bool
lower_band(struct lower *lo, struct cluster *c)
{
	struct band b;

	if (!band_of(lo, c, &b))
		return false;
	bool conv = c->anchor->op == OP_conv;
	struct emit *e = emit_begin(lo, c, conv ? "conv_depthwise" : "conv_pool");
	struct body *top = e->body, *piece;
	int64_t read = rows_read(&b, b.rows), step = b.rows * b.win.stride[0], slot = room(&b);
	int64_t run = conv ? shape_divisor(b.y->dims[3], MAX_RUN) : 1;
	struct affine from = AFFINE(-b.win.lo[0]), rows = AFFINE(0);
	struct index idx[MAX_RANK] = {0};
	struct conv_shape s;
	int nvar, bvar, pvar, blk, lane, row, col, buf;

	emit_for(e, FOR_PARALLEL, b.v->dims[0], &nvar);
	emit_for(e, FOR_PARALLEL, b.count, &bvar);
	emit_for(e, FOR_PARALLEL, b.blocks / b.groups, &pvar);
	piece = e->body;
	affine_add(&from, bvar, step);
	buf = emit_buf(e,
	    lower_scratch(lo, DT_f32, b.v->dims[0] * b.count * (b.blocks / b.groups) * slot), true);
	e->k->buf_slot[buf] = slot;
	e->held = (struct held){.v = b.v,
	    .buf = buf,
	    .first = from,
	    .lo = b.win.lo[1],
	    .lanes = b.lanes,
	    .row = width(&b) * b.lanes,
	    .block = rows_held(&b) * width(&b) * b.lanes,
	    .pvar = pvar,
	    .groups = b.groups};
	e->held.first.c -= before(&b);
	fill_halo(&b, e, buf, &from);
	/* the image: as many rows in every band, all inside */
	if (read < b.v->dims[2]) {
		rows.reg = held_within(e, emit_index(e, from), 0, b.v->dims[2] - read);
		rows.regcoef = 1;
	} else {
		read = b.v->dims[2];
	}
	e->cl = b.a;
	tile_conv_rows(e, nvar, pvar, b.groups, &rows, read);
	/* what reads it */
	e->cl = c;
	e->body = piece;
	emit_forget(e);
	emit_for(e, FOR_SERIAL, b.groups, &blk);
	emit_for(e, FOR_VECTOR, b.lanes, &lane);
	emit_for(e, FOR_SERIAL, b.rows, &row);
	emit_for(e, FOR_SERIAL, b.y->dims[3] / run, &col);
	for (int d = 0; d < 4; d++)
		idx[d] = index_of(AFFINE(0));
	affine_add(&idx[0].whole, nvar, 1);
	idx[1] = (struct index){
	    .whole = AFFINE(0), .block = b.lanes, .outer = AFFINE(0), .inner = AFFINE(0)};
	affine_add(&idx[1].outer, pvar, b.groups);
	affine_add(&idx[1].outer, blk, 1);
	affine_add(&idx[1].inner, lane, 1);
	idx[1].whole = affine_scaled(&idx[1].outer, b.lanes);
	affine_add(&idx[1].whole, lane, 1);
	affine_add(&idx[2].whole, bvar, b.rows);
	affine_add(&idx[2].whole, row, 1);
	affine_add(&idx[3].whole, col, run);
	if (conv)
		nest_depthwise_at(e, c, idx, (int)run);
	else
		nest_pool_at(e, c, idx);
	e->body = top;
	require(conv_shape_of(b.a->anchor, &s));
	e->k->flops =
	    2 * ((double)(s.ic * s.kernel[0] * s.kernel[1]) * (double)dims_count(4, b.v->dims) +
		    (double)dims_count(2, b.win.kernel) * (double)dims_count(4, b.y->dims));
	emit_end(e);
	return true;
}

bool
band_joins_reader(struct lower *lo, struct cluster *a)
{
	struct value *v = a->outputs.n == 1 ? a->outputs.v[0] : NULL;
	struct cluster *reader;
	struct band b;

	if (a->kind != CL_CONV || !v || lo->users[v->id].n != 1)
		return false;
	reader = lo->cluster_of[lo->users[v->id].v[0]->id];
	return reader && reader != a && band_of(lo, reader, &b) && b.a == a;
}
