/* winograd -- writes a 3x3 convolution of stride 1 by Winograd's algorithm:
 *   u = contract("pk,oik->pio", G (x) G, w)   folds where w is constant
 *   y = winograd_conv(x, u)
 * A data gradient is the convolution of dy with the kernel turned round, inputs
 * and outputs exchanged: the same two nodes, u = contract("pk,oik->poi", ...).
 * A weight gradient is
 *   dw = contract("pk,pio->oik", G (x) G, winograd_grad_weight(x, dy))
 *
 * The rms error of m = 2 is below that of a direct sum in single precision, that
 * of m = 4 three to four times above. */
#include "passes/algorithm.h"

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

/* Enough channels to fill half a block on both sides. */
bool
winograd_serves(const struct conv_layer *l, const struct machine *m)
{
	const struct conv_shape *s = &l->s;
	int64_t block = tile_block(m);

	if (!conv_tiled(l->n, block, &(struct conv_shape){0}) || s->group > 1 || s->spatial != 2 || s->ic < block / 2 || s->oc < block / 2)
		return false;
	for (int d = 0; d < 2; d++)
		if (s->kernel[d] != 3 || s->stride[d] != 1 || s->dilation[d] != 1 || s->lo[d] > 2 || s->hi[d] > 2)
			return false;
	return true;
}

struct value *
winograd_write(struct build *b, const struct conv_layer *l, int m, const struct node **made)
{
	const struct node *n = l->n;
	const struct conv_shape *s = &l->s;
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
	*made = r ? r->def : NULL;
	return weight ? b_reshape(b, b_contract(b, "pk,pio->oik", g, r), 4, n->out[0]->dims) : r;
}
