/* winograd -- chooses Winograd's algorithm for 3x3 convolutions of stride 1 where
 * the cost model finds it faster, and writes it:
 *   u = contract("pk,oik->pio", G (x) G, w)   folds where w is constant
 *   y = winograd_conv(x, u)
 * A data gradient is the convolution of dy with the kernel turned round, inputs
 * and outputs exchanged: the same two nodes, u = contract("pk,oik->poi", ...).
 * A weight gradient is
 *   dw = contract("pk,pio->oik", G (x) G, winograd_grad_weight(x, dy))
 *
 * The rms error of m = 2 is below that of a direct sum in single precision, that
 * of m = 4 three to four times above; --precise allows m = 2 only.
 *
 * requires: core operators, constant dims, before layout. */
#include "passes/tile.h"

#include <string.h>

/* ---- cost: nanoseconds of one core at 64 f32 operations a ns, for comparison only */
struct problem {
	int64_t n, ic, oc, out[2];
	bool constant; /* u is made while compiling */
};

static double
direct_cost(const struct problem *p)
{
	return 18.0 * (double)(p->n * p->ic * p->oc * p->out[0] * p->out[1]) / 64 +
	       36.0 * (double)(p->ic * p->oc) / 16; /* weights from memory, bytes per ns */
}

static int64_t
padded(int64_t n, int64_t to)
{
	return (n + to - 1) / to * to;
}

static double
winograd_cost(const struct problem *p, int m, int64_t block)
{
	double points = (m + 2) * (m + 2), ic = (double)padded(p->ic, block),
	       oc = (double)padded(p->oc, block);
	double tiles = (double)(p->n * ((p->out[0] + m - 1) / m) * ((p->out[1] + m - 1) / m));
	double gemm = 2 * points * tiles * (double)p->ic * oc / 64;
	/* the transforms: adds, and what they load and store through the second cache */
	double ops = m == 2 ? 2 : 4, transform = points * tiles * (ic + oc) * ops / 32;
	double weights = 4 * points * (double)p->ic * oc / 16;

	if (!p->constant)
		weights += points * 9 * 2 * (double)(p->ic * p->oc) / 32;
	return gemm * 1.1 + transform + weights;
}

/* 0: direct */
static int
choose(const struct problem *p, const struct pass_opts *o)
{
	int64_t block = tile_block(&o->machine);
	double best = direct_cost(p);
	int m = 0;

	if (p->ic < block / 2 || p->oc < block / 2)
		return 0;
	for (int t = 2; t <= (o->precise ? 2 : 4); t += 2) {
		double c = winograd_cost(p, t, block);

		if (c < best) {
			best = c;
			m = t;
		}
	}
	return m;
}

/* G (x) G: [(m+2)^2, 9]; turned: the kernel's taps in reverse */
static struct value *
kernel_transform(struct build *b, const struct winograd *w, bool turned)
{
	int64_t dims[2] = {w->n * w->n, 9};
	struct tensor *t = tensor_new(b->g->arena, DT_f32, 2, dims);

	for (int64_t p = 0; p < dims[0]; p++)
		for (int k = 0; k < 9; k++)
			dtype_put_f(DT_f32, t->data, p * 9 + (turned ? 8 - k : k),
			    w->g[p / w->n * 3 + k / 3] * w->g[p % w->n * 3 + k % 3]);
	return graph_const(b->g, "winograd.g", t);
}

/* x, w or dy -> the node's result through tiles of m x m */
static struct value *
transformed(struct build *b, const struct node *n, const struct conv_shape *s, int m)
{
	bool back = n->op == OP_conv_grad_data, weight = n->op == OP_conv_grad_weight;
	struct value *g = kernel_transform(b, winograd_of(m), back), *in[2] = {n->in[0], n->in[1]},
		     *r;
	int64_t flat[3] = {s->oc, s->ic, 9}, pads[4];

	for (int d = 0; d < 2; d++) {
		pads[d] = back ? 2 - s->lo[d] : s->lo[d];
		pads[2 + d] = back ? 2 - s->hi[d] : s->hi[d];
	}
	struct attr a[2] = {{.name = "pads", .kind = ATTR_INTS, .n = 4, .ints = pads},
	    {.name = "tile", .kind = ATTR_INT, .i = m}};
	if (!weight)
		in[1] = b_contract(
		    b, back ? "pk,oik->poi" : "pk,oik->pio", g, b_reshape(b, in[1], 3, flat));
	r = b_op(b, weight ? OP_winograd_grad_weight : OP_winograd_conv, 2, in, 2, a);
	if (!weight)
		return r;
	return b_reshape(b, b_contract(b, "pk,pio->oik", g, r), 4, n->out[0]->dims);
}

static bool
visit(struct rewrite *rw, struct node *n)
{
	struct pass_ctx *ctx = rw->ctx;
	struct conv_shape s;

	if (op_info[n->op].class != OC_conv ||
	    !conv_tiled(n, tile_block(&ctx->opts->machine), &s) || s.group > 1 || s.spatial != 2)
		return true;
	for (int d = 0; d < 2; d++)
		if (s.kernel[d] != 3 || s.stride[d] != 1 || s.dilation[d] != 1 || s.lo[d] > 2 ||
		    s.hi[d] > 2)
			return true;
	bool back = n->op == OP_conv_grad_data, weight = n->op == OP_conv_grad_weight;
	const int64_t *out = back ? s.in : s.out;
	struct problem p = {s.n, back ? s.oc : s.ic, back ? s.ic : s.oc, {out[0], out[1]},
	    !weight && n->in[1]->kind == VAL_CONST};
	int m = choose(&p, ctx->opts);
	struct value *r;

	if (!m)
		return true;
	r = transformed(&rw->b, n, &s, m);
	if (!r)
		return false;
	rewrite_node(rw, n, &r);
	return true;
}

bool
pass_winograd(struct graph *g, struct pass_ctx *ctx)
{
	/* blocks of eight lanes or more; a scalar machine gains little */
	if (ctx->opts->machine.vector_bits < 256 || ctx->opts->opt_level < 2)
		return true;
	return graph_rewrite(g, ctx->diag, "winograd", false, visit, ctx);
}
