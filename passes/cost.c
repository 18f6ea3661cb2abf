/* cost -- see cost.h.  Cycles of one core. */
#include "passes/cost.h"

#include <math.h>
#include <stdlib.h>

/* Fitted with bench/cost on Sapphire Rapids (AVX-512); cycles, and shares of 1. */
static const struct {
	double fma;          /* share of the peak that the k loop of a full tile reaches */
	double tile;         /* to begin and end a tile */
	double store;        /* each vector of accumulators: epilogue and store */
	double hidden, hidden_winograd; /* share of the lesser of computing and fetching that the greater hides */
	double transform;    /* each vector instruction of Winograd's transforms */
	double pack;         /* each element of weights that are packed at run time */
	double kernel, kernel_bytes; /* weights transformed at run time: each product of 9 taps, each byte moved */
	double move;         /* each element copied to another order, and back */
	double gradient;     /* share of the peak of a direct weight gradient */
	double op, slow_op;  /* each vector of an elementwise operator */
} fit = {
	.fma = 0.89, .tile = 4, .store = 1, .hidden = 0.88, .hidden_winograd = 0.5, .transform = 0.8,
	.pack = 1.5, .kernel = 0.5, .kernel_bytes = 4, .move = 4, .gradient = 0.8, .op = 0.5, .slow_op = 8,
};

const char *const residence_names[] = {"l2", "l3", "memory"};

enum residence
cost_residence(const struct machine *m, double bytes)
{
	return bytes <= (double)m->l2 ? IN_L2 : bytes <= (double)m->l3 ? IN_L3 : IN_MEMORY;
}

static double
bytes_of(const struct value *v)
{
	double n = dtype_info[v->dtype].bits / 8.0;

	for (int i = 0; i < v->rank; i++)
		n *= (double)v->dims[i];
	return n;
}

double
cost_working_set(struct arena *scratch, const struct graph *g)
{
	const int *uses = graph_use_counts(scratch, g);
	double total = 0, most = 0;

	for (int i = 0; i < g->consts.n; i++)
		total += uses[g->consts.v[i]->id] ? bytes_of(g->consts.v[i]) : 0;
	for (int i = 0; i < g->states.n; i++)
		total += bytes_of(g->states.v[i]);
	for (int i = 0; i < g->nodes.n; i++) {
		const struct node *n = g->nodes.v[i];
		double size = 0;

		if (op_info[n->op].class != OC_conv && op_info[n->op].class != OC_contract)
			continue;
		for (int k = 0; k < n->nin + n->nout; k++) {
			const struct value *v = k < n->nin ? n->in[k] : n->out[k - n->nin];

			size += v && v->kind == VAL_NODE ? bytes_of(v) : 0;
		}
		most = size > most ? size : most;
	}
	return total + most;
}

double
cost_rate(const struct machine *m, enum residence r)
{
	return r == IN_L2 ? m->l2_rate : r == IN_L3 ? m->l3_rate : m->memory_rate;
}

static double
larger(double a, double b)
{
	return a > b ? a : b;
}

static double
overlapped(double a, double b, double hidden)
{
	return larger(a, b) + (1 - hidden) * (a + b - larger(a, b));
}

/* Vectors of f32 in one group of columns. */
static double
vectors_of(const struct machine *m)
{
	return (double)tile_block(m) * 32 / m->vector_bits;
}

static int64_t
ceil_div(int64_t a, int64_t b)
{
	return (a + b - 1) / b;
}

/* One register tile of rows x v vectors over k steps; a panel of B that does not stay in
 * the first cache comes from the second. */
static double
tile_cycles(const struct machine *m, double rows, double v, double k)
{
	double lanes = m->vector_bits / 32.0, a_cycle = m->flops / (2 * lanes); /* multiply-adds */
	double step = larger(rows * v / a_cycle, (rows + v) / 2);

	if (k * v * lanes * 4 > (double)m->l1)
		step = larger(step, v * lanes * 4 / m->l2_rate);
	return k * step / fit.fma + fit.tile + rows * v * fit.store;
}

/* rows x cols blocks of columns, as tile.h cuts them */
static double
product_cycles(const struct machine *m, int64_t rows, int64_t most, int64_t groups, int64_t blocks, double k)
{
	int64_t tiles = ceil_div(rows, most), low = rows / tiles, high = ceil_div(rows, tiles), nhigh = rows - low * tiles;
	double v = (double)groups * vectors_of(m);

	return (double)blocks / (double)groups *
	       ((double)nhigh * tile_cycles(m, (double)high, v, k) + (double)(tiles - nhigh) * tile_cycles(m, (double)low, v, k));
}

/* ---- convolutions */
static double
taps_of(const struct conv_shape *s)
{
	double taps = 1;

	for (int d = 0; d < s->spatial; d++)
		taps *= (double)s->kernel[d];
	return taps;
}

static double
pixels_of(const struct conv_shape *s, const int64_t *size)
{
	double n = (double)s->n;

	for (int d = 0; d < s->spatial; d++)
		n *= (double)size[d];
	return n;
}

static int64_t
padded(int64_t n, int64_t to)
{
	return ceil_div(n, to) * to;
}

double
cost_direct(const struct machine *m, enum op op, const struct conv_shape *s, enum residence where, bool fixed)
{
	int64_t block = tile_block(m);
	bool back = op == OP_conv_grad_data;
	int64_t in = back ? s->oc : s->ic, out = back ? s->ic : s->oc, blocks = ceil_div(out, block);
	double taps = taps_of(s), in_padded = (double)(conv_stem(s, block) && !back ? in : padded(in, block));
	double count = taps * in_padded * (double)(blocks * block); /* of weights */

	if (op == OP_conv_grad_weight)
		return 2 * pixels_of(s, s->out) * count / m->flops / fit.gradient + fit.pack * count;
	/* rows of pixels, several short ones in a tile; those of a pointwise one are whole planes */
	const int64_t *size = back ? s->in : s->out;
	int64_t groups = tile_groups(m, blocks), most = tile_rows(m, groups), wide = size[s->spatial - 1];
	double stride = 1;
	for (int d = 0; d < s->spatial; d++)
		stride *= (double)s->stride[d];
	if (back)
		taps /= stride; /* of each phase */
	if (taps == 1 && stride == 1 && s->spatial > 1)
		wide *= size[s->spatial - 2];
	int64_t high = wide * 2 <= most && s->spatial > 1 && taps * stride > 1 ? most / wide : 1;
	double compute = pixels_of(s, size) / (double)(high * wide) *
	                 product_cycles(m, high * wide, most, groups, blocks, taps * in_padded);
	return overlapped(compute, 4 * count / cost_rate(m, where), fit.hidden) + (fixed ? 0 : fit.pack * count);
}

double
cost_winograd(const struct machine *m, enum op op, const struct conv_shape *s, int tile, enum residence where, bool fixed)
{
	/* loads, sums and stores of the two-dimensional transforms, by points a side */
	static const double in_ops[] = {[4] = 64, [5] = 70, [6] = 228}, out_ops[] = {[4] = 44, [5] = 57, [6] = 182};
	const struct winograd *w = winograd_of(tile, (int)s->stride[0]);
	int64_t lanes = tile_block(m);
	bool back = op == OP_conv_grad_data, gradient = op == OP_conv_grad_weight;
	const int64_t *size = back ? s->in : s->out;
	int64_t down = ceil_div(size[0], tile), across = ceil_div(size[1], tile), tiles = s->n * down * across;
	int64_t in = padded(back ? s->oc : s->ic, lanes), out = padded(back ? s->ic : s->oc, lanes);
	struct winograd_cut cut = winograd_cut(m, &(struct winograd_shape){.w = w, .n = s->n, .ic = in, .oc = out,
	    .out = {size[0], size[1]}, .tiles = {down, across}, .gradient = gradient});
	int64_t blocks = ceil_div(s->n, cut.images) * ceil_div(down, cut.rows), groups = tile_groups(m, out / lanes), most = tile_rows(m, groups);
	double points = w->n * w->n, u = 4 * points * (double)(in * out), v = vectors_of(m) / (double)lanes;
	double transforms = fit.transform * v * (double)tiles * ((double)in * in_ops[w->n] + (double)out * out_ops[w->n]);
	/* u, or the gradient of the weights, as a contraction that is packed: through memory a few times */
	double kernel = fixed ? 0 : fit.kernel * u / 4 + fit.kernel_bytes * u / cost_rate(m, cost_residence(m, 2 * u));

	if (gradient) { /* dU += V^T D: rows are input channels, the sum is over the tiles of a block; then over groups */
		double product = points * product_cycles(m, in, most, groups, out / lanes, (double)tiles / (double)blocks);
		double sums = 2 * u / cost_rate(m, cost_residence(m, 2 * u));

		return transforms + kernel + (double)blocks * overlapped(product, sums, fit.hidden_winograd) + (double)cut.groups * sums;
	}
	/* u comes from where it lies once; the blocks that follow find it as near as it fits */
	double block = points * product_cycles(m, ceil_div(tiles, blocks), most, groups, out / lanes, (double)in);
	double first = u / cost_rate(m, where), again = u / cost_rate(m, cost_residence(m, 2 * u));
	return transforms + kernel + overlapped(block, first, fit.hidden_winograd) +
	       (double)(blocks - 1) * overlapped(block, again, 2 * u <= (double)m->l2 ? 1 : fit.hidden_winograd);
}

double
cost_moved(const struct machine *m, const struct conv_shape *s)
{
	double bytes = 4 * ((double)s->ic * pixels_of(s, s->in) + (double)s->oc * pixels_of(s, s->out));

	return bytes / 4 * fit.move + 4 * bytes / cost_rate(m, cost_residence(m, 2 * bytes));
}

/* ---- kernels as they are */
static double
op_cycles(enum op op)
{
	switch (op) {
	case OP_exp:
	case OP_log:
	case OP_log1p:
	case OP_sin:
	case OP_cos:
	case OP_tanh:
	case OP_erf:
	case OP_sigmoid:
	case OP_sinh:
	case OP_cosh:
	case OP_pow:
	case OP_div:
	case OP_sqrt:
	case OP_rsqrt:
		return fit.slow_op;
	default:
		return fit.op;
	}
}

/* Of one kernel: cycles of its statements, and by buffer the bytes that loads and stores
 * move; tiles move all there is. */
struct pricing { const struct machine *m; const struct kernel *k; double cycles, *moved; };

/* b, run `turns` times; wide: inside a VECTOR loop */
static void
price(struct pricing *p, const struct body *b, double turns, bool wide)
{
	int64_t lanes = p->m->vector_bits / 32;

	for (int i = 0; i < b->s.n; i++) {
		const struct stmt *s = b->s.v[i];
		const struct tile *t = s->tile;
		double k = 1, rows, v, extent;

		switch (s->kind) {
		case S_FOR:
			extent = s->extent < 0 ? 1 : (double)s->extent; /* a size of the run: one */
			if (s->loop == FOR_VECTOR)
				extent = (double)ceil_div((int64_t)extent, lanes);
			price(p, &s->body, turns * extent, wide || s->loop == FOR_VECTOR);
			break;
		case S_TILE:
			for (int d = 0; d < t->nk; d++)
				k *= (double)t->k[d];
			rows = (double)(t->rows[0] * t->rows[1]);
			v = (double)t->cblocks * (double)ceil_div(t->cols * dtype_info[t->dtype].bits, p->m->vector_bits);
			p->cycles += turns * tile_cycles(p->m, rows, v, k);
			p->moved[t->a.buf] = p->moved[t->b.buf] = HUGE_VAL;
			price(p, &t->epilogue, turns * rows * v, true);
			break;
		case S_OP:
			p->cycles += turns * op_cycles(s->op);
			break;
		case S_LOAD:
		case S_STORE:
			p->moved[s->buf] += turns * dtype_info[p->k->buf_type[s->buf]].bits / 8.0 * (wide ? (double)lanes : 1);
			p->cycles += turns * fit.op;
			break;
		case S_REDUCE:
			p->cycles += turns * fit.op / 2; /* half of them are one with a product */
			break;
		default:
			break;
		}
	}
}

double
cost_calls(const struct machine *m, const struct call *call, int n, enum residence where)
{
	double memory = 0, compute = 0;

	for (int c = 0; c < n; c++) {
		const struct kernel *k = call[c].kernel;
		struct pricing p = {m, k, 0, xcalloc((size_t)k->nbuf + 1, sizeof *p.moved)};

		price(&p, &k->body, 1, false);
		compute += p.cycles;
		for (int i = 0; i < k->nbuf; i++) {
			const struct buffer *b = call[c].arg[i];
			double bytes = (double)b->bytes < p.moved[i] ? (double)b->bytes : p.moved[i];
			bool seen = k->buf_slot[i];

			for (int j = 0; j <= c && !seen; j++)
				for (int q = 0; q < (j < c ? call[j].kernel->nbuf : i) && !seen; q++)
					seen = call[j].arg[q] == b;
			if (!seen)
				memory += bytes / cost_rate(m, b->space == SPACE_WORK ? cost_residence(m, (double)b->bytes) : where);
		}
		free(p.moved);
	}
	return overlapped(compute, memory, fit.hidden);
}
