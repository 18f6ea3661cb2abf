/* winograd -- writes a 3x3 convolution by Winograd's algorithm:
 *   u = contract("pk,oik->pio", G (x) G, w)   folds where w is constant
 *   y = winograd_conv(x, u)
 * A data gradient is the convolution of dy with the kernel turned round, inputs
 * and outputs exchanged: the same two nodes, u = contract("pk,oik->poi", ...).
 * A weight gradient is
 *   dw = contract("pk,pio->oik", G (x) G, winograd_grad_weight(x, dy))
 *
 * A dilated convolution is one of the images that its dilation takes apart.
 * Only a forward convolution may have stride 2, with m = 2.
 *
 * The rms error of m = 2 is below that of a direct sum in single precision, that
 * of m = 4 three to four times above. */
#include "passes/algorithm.h"

/* G (x) G: [n^2, 9]; turned: the kernel's taps in reverse */
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

/* Enough channels to fill half a block on both sides; padding within the kernel. */
static bool
serves(const struct conv_layer *l, const struct conv_shape *s, const struct machine *m, int tile)
{
	int64_t block = tile_block(m);

	if (!conv_tiled(l->n, block, &(struct conv_shape){0}) || s->group > 1 || s->spatial != 2 || s->ic < block / 2 || s->oc < block / 2)
		return false;
	for (int d = 0; d < 2; d++)
		if (s->kernel[d] != 3 || s->stride[d] != s->stride[0] || s->dilation[d] != 1 || s->lo[d] > 2 || s->hi[d] > 2)
			return false;
	return winograd_of(tile, (int)s->stride[0]) && (s->stride[0] == 1 || l->n->op == OP_conv);
}

bool
winograd_serves(const struct conv_layer *l, const struct machine *m, int tile)
{
	return serves(l, &l->s, m, tile);
}

struct value *
winograd_write(struct build *b, const struct conv_layer *l, int m, const struct node **made)
{
	const struct node *n = l->n;
	const struct conv_shape *s = &l->s;
	bool back = n->op == OP_conv_grad_data, weight = n->op == OP_conv_grad_weight;
	struct value *g = kernel_transform(b, winograd_of(m, (int)s->stride[0]), back), *in[2] = {n->in[0], n->in[1]},
		     *r;
	int64_t flat[3] = {s->oc, s->ic, 9}, pads[4];

	for (int d = 0; d < 2; d++) {
		pads[d] = back ? 2 - s->lo[d] : s->lo[d];
		pads[2 + d] = back ? 2 - s->hi[d] : s->hi[d];
	}
	struct attr a[3] = {{.name = "pads", .kind = ATTR_INTS, .n = 4, .ints = pads},
	    {.name = "tile", .kind = ATTR_INT, .i = m}, {.name = "stride", .kind = ATTR_INT, .i = s->stride[0]}};
	if (!weight)
		in[1] = b_contract(
		    b, back ? "pk,oik->poi" : "pk,oik->pio", g, b_reshape(b, in[1], 3, flat));
	r = b_op(b, weight ? OP_winograd_grad_weight : OP_winograd_conv, 2, in, s->stride[0] > 1 ? 3 : 2, a);
	*made = r ? r->def : NULL;
	return weight ? b_reshape(b, b_contract(b, "pk,pio->oik", g, r), 4, n->out[0]->dims) : r;
}

/* ---- dilation: x[p + d*k - lo] stays among the pixels that p is of by p % d.  Each such
 * part is an image [h, w] = [H/d, W/d], rounded up, of a convolution without dilation.
 * Where lo is no multiple of d, parts would go over into one another. */
struct conv_shape
dilated_parts(const struct conv_shape *s)
{
	struct conv_shape p = *s;

	for (int d = 0; d < s->spatial; d++) {
		int64_t by = s->dilation[d];

		p.n *= by;
		p.in[d] = (s->in[d] + by - 1) / by;
		p.lo[d] = s->lo[d] / by;
		p.hi[d] = s->hi[d] / by;
		p.out[d] = p.in[d] + p.lo[d] + p.hi[d] - s->kernel[d] + 1;
		p.dilation[d] = 1;
	}
	return p;
}

bool
dilated_serves(const struct conv_layer *l, const struct machine *m, int tile)
{
	const struct conv_shape *s = &l->s;
	struct conv_shape p = dilated_parts(s);

	for (int d = 0; d < s->spatial; d++)
		if (s->stride[d] > 1 || s->lo[d] % s->dilation[d] || s->hi[d] % s->dilation[d] || p.out[d] < 1 || p.out[d] * s->dilation[d] < s->out[d])
			return false;
	return l->n->op == OP_conv && p.n > s->n && serves(l, &p, m, tile);
}

struct value *
dilated_write(struct build *b, const struct conv_layer *l, int m, const struct node **made)
{
	const struct conv_shape *s = &l->s;
	struct conv_shape p = dilated_parts(s);
	int64_t dh = s->dilation[0], dw = s->dilation[1], none[4] = {0}, one[4] = {1, 1, 1, 1};
	int64_t more[4] = {0, 0, p.in[0] * dh - s->in[0], p.in[1] * dw - s->in[1]};
	int64_t apart[6] = {s->n, s->ic, p.in[0], dh, p.in[1], dw}, images[4] = {p.n, s->ic, p.in[0], p.in[1]};
	int64_t results[6] = {s->n, dh, dw, s->oc, p.out[0], p.out[1]};
	int64_t whole[4] = {s->n, s->oc, p.out[0] * dh, p.out[1] * dw};
	struct node like = *l->n;
	struct value *x = l->n->in[0], *in[2] = {NULL, l->n->in[1]};
	struct conv_layer inner = {.n = &like, .s = p, .fixed = l->fixed, .where = l->where};

	if (more[2] || more[3])
		x = b_pad(b, x, none, more, 0);
	x = b_transpose(b, b_reshape(b, x, 6, apart), (int64_t[]){0, 3, 5, 1, 2, 4});
	in[0] = b_reshape(b, x, 4, images);
	like.in = in;
	x = in[0] ? winograd_write(b, &inner, m, made) : NULL;
	x = b_transpose(b, b_reshape(b, x, 6, results), (int64_t[]){0, 3, 4, 1, 5, 2});
	return b_slice(b, b_reshape(b, x, 4, whole), none, l->n->out[0]->dims, one);
}
