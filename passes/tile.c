/* tile -- register-tiled kernels: contractions (tile.c) and convolutions
 * (tile_conv.c) as S_TILE statements with the cluster's maps as epilogue.
 *
 * A tile's rows are broadcast scalars of A, its columns vectors of B; which
 * operand is which, and how B is packed, was settled by layout.c with the same
 * questions (tile.h).  Row tails are spread: M rows in ceil(M/most) tiles of two
 * heights that differ by one, so no tile is much smaller than the best. */
#include "passes/nest.h"
#include "passes/tile_emit.h"

#include <string.h>

struct split
split_even(int64_t n, int64_t most)
{
	if (n < 1 || most < 1) /* nothing to cut */
		return (struct split){.high = n, .nhigh = n > 0};

	int64_t tiles = (n + most - 1) / most;
	struct split s = {.high = (n + tiles - 1) / tiles, .low = n / tiles};

	s.nhigh = s.high == s.low ? tiles : n - s.low * tiles;
	s.nlow = tiles - s.nhigh;
	return s;
}

/* Stride in elements of one step along logical dim d, unblocked; -1 if blocked. */
int64_t
tile_stride(const struct value *v, int d, int64_t *inner)
{
	int64_t stride[MAX_PHYS], found = -1;

	if (inner)
		*inner = 0;
	if (!v->layout) {
		int64_t s = 1;

		for (int i = v->rank - 1; i > d; i--)
			s *= v->dims[i];
		return s;
	}
	layout_strides(v->layout, stride);
	for (int p = 0; p < v->layout->n; p++)
		if (v->layout->phys[p].dim == d) {
			if (found < 0)
				found = stride[p];
			else if (inner)
				*inner = stride[p];
		}
	return found;
}

bool
tile_dim_blocked(const struct value *v, int d)
{
	int digits = 0;

	if (v->layout)
		for (int p = 0; p < v->layout->n; p++)
			digits += v->layout->phys[p].dim == d;
	return digits > 1;
}

/* Whether v, broadcast against a result of rank `rank`, has axes d and d+1 both
 * absent or both whole and adjacent, so that one index can run over the two. */
static bool
runs_over(const struct value *v, const struct value *out, int d)
{
	int shift = out->rank - v->rank;
	int64_t a = d - shift >= 0 ? v->dims[d - shift] : 1;
	int64_t b = d + 1 - shift >= 0 ? v->dims[d + 1 - shift] : 1;

	if (a == 1 && b == 1)
		return true;
	if (a != out->dims[d] || b != out->dims[d + 1])
		return false;
	d -= shift;
	if (v->layout && (v->layout->lo[d] || v->layout->hi[d] || v->layout->lo[d + 1] || v->layout->hi[d + 1]))
		return false;
	if (tile_dim_blocked(v, d) || tile_dim_blocked(v, d + 1))
		return false;
	return tile_stride(v, d, NULL) == tile_stride(v, d + 1, NULL) * v->dims[d + 1];
}

/* The same of what v is computed from, where it is computed at the index it is read at:
 * a pad, slice or transpose would see the index of one axis run over two. */
static bool
runs_through(const struct lower *lo, const struct value *v, const struct value *out, int d)
{
	if (!runs_over(v, out, d))
		return false;
	if (v->kind != VAL_NODE || lo->cluster_of[v->def->id] || lo->alias[v->id])
		return true;
	if (op_info[v->def->op].class != OC_map && v->def->op != OP_expand && v->def->op != OP_relayout)
		return false;
	for (int k = 0; k < v->def->nin; k++)
		if (!runs_through(lo, v->def->in[k], out, d))
			return false;
	return true;
}

bool
tile_mergeable(const struct lower *lo, const struct cluster *cl, int d)
{
	const struct value *out = cl->anchor->out[0];

	if (out->dims[d + 1] == 1) /* indexes along dims of size 1 are taken as 0 */
		return false;
	for (int i = 0; i < cl->outputs.n; i++)
		if (cl->outputs.v[i]->rank != out->rank || !runs_over(cl->outputs.v[i], out, d))
			return false;
	for (int i = 0; i < cl->nodes.n; i++) {
		const struct node *n = cl->nodes.v[i];

		if (n == cl->anchor)
			continue;
		if (op_info[n->op].class != OC_map)
			return false;
		for (int k = 0; k < n->nin; k++) {
			if (!n->in[k])
				continue;
			/* values made inside the cluster are registers, but one that
			 * the anchor's shape does not cover has dims of its own */
			if (n->in[k] != out && !runs_through(lo, n->in[k], out, d))
				return false;
		}
	}
	return true;
}

void
tile_unranged(struct emit *e, int var, int rowvar)
{
	e->extent.v[var] = e->extent.v[rowvar] = 0;
}

/* The epilogue: the cluster's maps at idx, with the sum in tile->acc. */
void
tile_epilogue(struct emit *e, struct tile *t, const struct index *idx)
{
	struct body *outer = e->body;

	emit_forget(e);
	e->body = &t->epilogue;
	e->memo[e->cl->anchor->out[0]->id] = t->acc;
	emit_outputs(e, idx);
	e->body = outer;
	emit_forget(e);
}

struct tile *
tile_begin(struct emit *e, enum dtype type, int64_t rows0, int64_t rows1, int64_t groups, int64_t cols)
{
	struct stmt *s = stmt_new(e->lo->a, e->body, S_TILE);
	struct tile *t = arena_new(e->lo->a, struct tile);

	s->tile = t;
	t->dtype = type;
	t->rows[0] = rows0;
	t->rows[1] = rows1;
	t->cblocks = groups;
	t->cols = t->valid_cols = cols;
	t->unroll = rows0 * rows1 * groups < 8 ? 4 : 1;
	t->rowvar[0] = emit_var(e, rows0);
	t->rowvar[1] = emit_var(e, rows1);
	t->cblockvar = emit_var(e, groups);
	t->colvar = emit_var(e, cols);
	t->acc = kernel_reg(e->lo->a, e->k, type);
	t->a.index = t->b.index = AFFINE(0);
	return t;
}

void
tile_fetch_ahead(
    const struct machine *m, struct tile *t, int64_t panel, int64_t count, const struct affine *number)
{
	int64_t line = 64 * 8 / dtype_info[t->dtype].bits, steps = 1;

	if (panel * dtype_info[t->dtype].bits / 8 > m->l2 / 2)
		return; /* it would be gone when its turn comes */
	for (int i = 0; i < t->nk; i++)
		steps *= t->k[i];
	t->ahead_step = (panel + count * steps - 1) / (count * steps);
	t->ahead_lines = (int)((t->ahead_step * t->unroll + line - 1) / line);
	t->ahead = AFFINE(panel + number->c * steps * t->ahead_step);
	for (int i = 0; i < number->n; i++)
		affine_add(&t->ahead, number->t[i].var, number->t[i].coef * steps * t->ahead_step);
}

/* ---- contraction */

/* One letter of a contraction as the loops see it: strides in A, B and C's dim. */
struct letter {
	char c;
	int dim_c;
	int64_t size, stride_a, stride_b;
	struct { int dim; int64_t size, stride_a; } first; /* outermost of the letters merged */
};

struct gemm {
	struct lower *lo;
	struct cluster *cl;
	struct contract_roles r;
	struct value *a, *b, *c;
	struct letter rows[MAX_RANK], cols[MAX_RANK], batch[MAX_RANK], k[6];
	int nrows, ncols, nbatch, nk;
	int64_t block;
	int64_t step;                /* elements of B from one column group to the next */
	struct contract_blocks cut;
	int64_t part, part_step;     /* of k: number, elements of B */
	struct value *sums;          /* of the parts so far */
};

static int
position(const char *s, int n, char c)
{
	const char *at = memchr(s, c, (size_t)n);

	return at ? (int)(at - s) : -1;
}

static struct letter
letter(const struct gemm *g, char c)
{
	struct letter l = {.c = c, .size = g->r.size[(int)c]};
	int a = position(g->r.sa, g->r.na, c), b = position(g->r.sb, g->r.nb, c);
	int64_t inner = 0;

	l.dim_c = position(g->r.sc, g->r.nc, c);
	if (a >= 0)
		l.stride_a = tile_stride(g->a, a, NULL);
	if (b >= 0)
		l.stride_b = tile_stride(g->b, b, &inner);
	if (inner && c != g->r.col) /* parts of k; its size is that of one */
		l.stride_b = inner;
	l.first.dim = l.dim_c;
	l.first.size = l.size;
	l.first.stride_a = l.stride_a;
	return l;
}

/* Adjacent row letters that every tensor runs through as one become one: the
 * inner letter runs over both, the outer stays at zero. */
static void
merge_rows(struct gemm *g)
{
	/* a letter of one has nothing to run over; merged, its dim of 1 would hide the index */
	for (int i = g->nrows - 1; i >= 0 && g->nrows > 1; i--)
		if (g->rows[i].size == 1) {
			memmove(&g->rows[i], &g->rows[i + 1], sizeof *g->rows * (size_t)(g->nrows - i - 1));
			g->nrows--;
		}
	for (int i = g->nrows - 2; i >= 0; i--) {
		struct letter *x = &g->rows[i], *y = &g->rows[i + 1];

		if (x->dim_c + 1 != y->first.dim || x->stride_a != y->first.stride_a * y->first.size ||
		    !tile_mergeable(g->lo, g->cl, x->dim_c))
			continue;
		y->size *= x->size;
		y->first = x->first;
		memmove(x, y, sizeof *x * (size_t)(g->nrows - i - 1));
		g->nrows--;
	}
}

static void
merge_k(struct gemm *g)
{
	for (int i = g->nk - 2; i >= 0; i--) {
		struct letter *x = &g->k[i], *y = &g->k[i + 1];

		if (x->stride_a != y->stride_a * y->size || x->stride_b != y->stride_b * y->size)
			continue;
		y->size *= x->size;
		memmove(x, y, sizeof *x * (size_t)(g->nk - i - 1));
		g->nk--;
	}
}

/* A range of column groups: ntiles times `groups` of them from block0 on. The last
 * group of a width that is no multiple of the block is alone and `valid` wide. */
struct columns { int64_t block0, ntiles, groups, valid; };
/* Blocks of rows from `first` on, alike. */
struct rows { int64_t first, nblocks, size; };

/* The epilogue follows the last part of k. */
static void
gemm_epilogue(struct gemm *g, struct emit *e, struct tile *t, const struct index *idx)
{
	struct body *outer = e->body;
	int sum = t->acc;

	emit_forget(e);
	e->body = &t->epilogue;
	if (g->part > 0)
		sum = emit_op(e, OP_add, t->dtype, emit_load(e, g->sums, idx, -1), sum, -1);
	e->memo[g->c->id] = sum;
	if (g->part + 1 < g->cut.parts)
		emit_store(e, g->sums, idx, sum);
	else
		emit_outputs(e, idx);
	e->body = outer;
	emit_forget(e);
}

/* The tiles of one of the two heights, at the loops' place. */
static void
gemm_tiles(struct gemm *g, struct emit *e, const struct columns *col, const struct index *at, struct affine a,
           struct affine b, int abuf, int bbuf, struct split s, bool low, enum for_kind loop)
{
	struct letter one = {.size = 1, .dim_c = -1, .first = {.dim = -1}};
	struct letter *row = g->nrows ? &g->rows[g->nrows - 1] : &one;
	struct body *outer = e->body;
	struct index idx[MAX_RANK];
	int64_t count = low ? s.nlow : s.nhigh, height = low ? s.low : s.high, base = low ? s.high * s.nhigh : 0;
	int64_t k = 1;
	int coldim = position(g->r.sc, g->r.nc, g->r.col), var;

	memcpy(idx, at, sizeof idx);
	emit_for(e, loop, count, &var);
	a.c += base * row->stride_a;
	affine_add(&a, var, height * row->stride_a);
	struct tile *t = tile_begin(e, g->c->dtype, 1, height, col->groups, g->block);
	t->valid_cols = col->valid;
	t->a = (struct tile_operand){.buf = abuf, .index = a};
	t->a.rstride[1] = row->stride_a;
	t->b = (struct tile_operand){.buf = bbuf, .index = b, .cstride = 1, .cbstride = g->step};
	t->nk = g->nk;
	for (int i = 0; i < g->nk; i++) {
		t->k[i] = g->k[i].size / g->cut.parts;
		t->a.kstride[i] = g->k[i].stride_a;
		t->b.kstride[i] = g->k[i].stride_b;
		k *= t->k[i];
	}
	/* a panel that holds other columns too is not what the next tile reads */
	if (g->step > g->block && g->step == g->block * k) {
		struct affine number = AFFINE(low ? s.nhigh : 0);

		affine_add(&number, var, 1);
		tile_fetch_ahead(&g->lo->ctx->opts->machine, t, col->groups * g->step, s.nhigh + s.nlow, &number);
	}
	if (row->first.dim != row->dim_c) /* one index over several dims: leaves this one's range */
		tile_unranged(e, var, t->rowvar[1]);
	if (row->dim_c >= 0) {
		idx[row->dim_c].whole.c += base;
		affine_add(&idx[row->dim_c].whole, var, height);
		affine_add(&idx[row->dim_c].whole, t->rowvar[1], 1);
	}
	affine_add(&idx[coldim].whole, t->cblockvar, g->block);
	affine_add(&idx[coldim].whole, t->colvar, 1);
	gemm_epilogue(g, e, t, idx);
	e->body = outer;
}

static double
letters_size(const struct letter *l, int n, char but)
{
	double size = 1;

	for (int i = 0; i < n; i++)
		if (l[i].c != but)
			size *= (double)l[i].size;
	return size;
}

/* heights 0, 1: the tiles of one height, each a piece; 2: both, serially in a piece */
static void
gemm_kernel(struct gemm *g, const struct rows *rows, const struct columns *col, struct split s, int heights)
{
	const struct letter *row = g->nrows ? &g->rows[g->nrows - 1] : NULL;
	struct emit *e = emit_begin(g->lo, g->cl, "gemm");
	struct index idx[MAX_RANK];
	struct body *top = e->body;
	struct affine a = AFFINE(0), b = AFFINE(0);
	int coldim = position(g->r.sc, g->r.nc, g->r.col), var;

	for (int i = 0; i < MAX_RANK; i++)
		idx[i] = index_of(AFFINE(0));
	int abuf = emit_buf(e, lower_buffer(g->lo, g->a), false);
	int bbuf = emit_buf(e, lower_buffer(g->lo, g->b), false);
	for (int i = 0; i < g->nbatch; i++) {
		emit_for(e, FOR_PARALLEL, g->batch[i].size, &var);
		affine_add(&idx[g->batch[i].dim_c].whole, var, 1);
		affine_add(&a, var, g->batch[i].stride_a);
		affine_add(&b, var, g->batch[i].stride_b);
	}
	if (rows->first) {
		idx[row->dim_c].whole.c = rows->first;
		a.c = rows->first * row->stride_a;
	}
	if (rows->nblocks > 1) {
		emit_for(e, FOR_PARALLEL, rows->nblocks, &var);
		affine_add(&idx[row->dim_c].whole, var, rows->size);
		affine_add(&a, var, rows->size * row->stride_a);
	}
	a.c += g->part * (g->k[0].size / g->cut.parts) * g->k[0].stride_a;
	b.c += g->part * g->part_step;
	for (int i = 0; i + 1 < g->nrows; i++) { /* all but the last, the tiled one */
		emit_for(e, FOR_PARALLEL, g->rows[i].size, &var);
		if (g->rows[i].first.dim != g->rows[i].dim_c)
			tile_unranged(e, var, var);
		affine_add(&idx[g->rows[i].dim_c].whole, var, 1);
		affine_add(&a, var, g->rows[i].stride_a);
	}
	for (int i = 0; i < g->ncols; i++) {
		if (g->cols[i].c == g->r.col)
			continue;
		emit_for(e, FOR_PARALLEL, g->cols[i].size, &var);
		affine_add(&idx[g->cols[i].dim_c].whole, var, 1);
		affine_add(&b, var, g->cols[i].stride_b);
	}
	emit_for(e, FOR_PARALLEL, col->ntiles, &var);
	idx[coldim].whole.c = col->block0 * g->block;
	affine_add(&idx[coldim].whole, var, col->groups * g->block);
	b.c += col->block0 * g->step;
	affine_add(&b, var, col->groups * g->step);
	enum for_kind loop = heights == 2 ? FOR_SERIAL : FOR_PARALLEL;
	if (heights != 1 && s.nhigh)
		gemm_tiles(g, e, col, idx, a, b, abuf, bbuf, s, false, loop);
	if (heights != 0 && s.nlow)
		gemm_tiles(g, e, col, idx, a, b, abuf, bbuf, s, true, loop);
	e->body = top;
	double tiled = (double)((heights == 1 ? 0 : s.high * s.nhigh) + (heights == 0 ? 0 : s.low * s.nlow));
	e->k->flops = 2 * tiled * (double)rows->nblocks / (double)g->cut.parts * (double)(col->ntiles * col->groups * col->valid) * letters_size(g->batch, g->nbatch, 0) *
	              letters_size(g->rows, g->nrows - 1, 0) * letters_size(g->cols, g->ncols, g->r.col) *
	              letters_size(g->k, g->nk, 0);
	emit_end(e);
}

/* Few columns and many rows: the row tiles are the pieces. */
static void
gemm_rows(struct gemm *g, const struct rows *rows, const struct columns *col, int64_t most)
{
	struct split s = split_even(rows->size, most);
	double pieces = (double)(rows->nblocks * col->ntiles) * letters_size(g->batch, g->nbatch, 0) *
	                letters_size(g->rows, g->nrows - 1, 0) * letters_size(g->cols, g->ncols, g->r.col);

	if (pieces >= 16 || s.nhigh + s.nlow < 4) {
		gemm_kernel(g, rows, col, s, 2);
		return;
	}
	if (s.nhigh)
		gemm_kernel(g, rows, col, s, 0);
	if (s.nlow)
		gemm_kernel(g, rows, col, s, 1);
}

static void
gemm_columns(struct gemm *g, const struct columns *col)
{
	int64_t most = tile_rows(&g->lo->ctx->opts->machine, col->groups);
	int64_t rows = g->nrows ? g->rows[g->nrows - 1].size : 1, size = rows;

	if (rows == 0)
		return;
	if (g->c->dtype == DT_f64 && most > 1)
		most /= 2;
	if (rows > g->cut.rows + g->cut.rows / 4) { /* blocks of whole tiles, alike but the last */
		int64_t n = (rows + g->cut.rows - 1) / g->cut.rows;

		size = ((rows + n - 1) / n + most - 1) / most * most;
	}
	gemm_rows(g, &(struct rows){0, rows / size, size}, col, most);
	if (rows % size)
		gemm_rows(g, &(struct rows){rows / size * size, 1, rows % size}, col, most);
}

bool
lower_contract_tile(struct lower *lo, struct cluster *cl)
{
	struct gemm g = {.lo = lo, .cl = cl};
	struct node *n = cl->anchor;
	const struct machine *m = &lo->ctx->opts->machine;

	if (!contract_roles(n, &g.r))
		return false;
	g.a = n->in[g.r.a];
	g.b = n->in[g.r.b];
	g.c = n->out[0];
	if (g.a->layout || g.c->layout)
		return false;
	g.block = tile_block(m);
	int bdim = position(g.r.sb, g.r.nb, g.r.col);
	bool panels = g.b->layout != NULL;
	if (!panels && tile_stride(g.b, bdim, NULL) != 1)
		return false;
	g.step = panels ? tile_stride(g.b, bdim, NULL) : g.block;
	for (const char *s = g.r.batch; *s; s++)
		g.batch[g.nbatch++] = letter(&g, *s);
	for (const char *s = g.r.rows; *s; s++)
		g.rows[g.nrows++] = letter(&g, *s);
	for (const char *s = g.r.cols; *s; s++)
		g.cols[g.ncols++] = letter(&g, *s);
	for (const char *s = g.r.k; *s; s++)
		g.k[g.nk++] = letter(&g, *s);
	merge_rows(&g);
	merge_k(&g);
	/* the tiled row letter is the longest */
	for (int i = 0; i + 1 < g.nrows; i++)
		if (g.rows[i].size > g.rows[g.nrows - 1].size) {
			struct letter t = g.rows[i];

			g.rows[i] = g.rows[g.nrows - 1];
			g.rows[g.nrows - 1] = t;
		}
	g.cut = contract_blocks(m, &g.r);
	if (!panels) /* layout cuts k where it packs */
		g.cut.parts = 1;
	if (g.cut.parts > 1) {
		g.part_step = tile_stride(g.b, position(g.r.sb, g.r.nb, g.r.k[0]), NULL);
		g.sums = lower_fresh(lo, g.c->dtype, g.c->rank, g.c->dims);
	}
	int64_t width = g.r.size[(int)g.r.col], full = width / g.block;
	/* few rows need many groups for enough independent sums */
	int64_t rows = g.nrows ? g.rows[g.nrows - 1].size : 1, groups = tile_groups(m, full);
	if (rows <= tile_rows(m, 8))
		groups = 8;
	else if (groups == 1 && full > 2)
		groups = tile_groups(m, 2);
	if (groups > full)
		groups = full;
	for (g.part = 0; g.part < g.cut.parts; g.part++) {
		if (full)
			gemm_columns(&g, &(struct columns){0, full / groups, groups, g.block});
		if (full && full % groups)
			gemm_columns(&g, &(struct columns){full / groups * groups, 1, full % groups, g.block});
		if (width % g.block)
			gemm_columns(&g, &(struct columns){full, 1, 1, width % g.block});
	}
	return true;
}
