/* groups -- merges narrow groups of a convolution, m at a time, until a group is whole
 * blocks of channels, which the register tiles take:
 *   w'[g,j,o,J,i,k] = w[g,j,o,i,k] where j = J, else 0
 * for j, J of the m groups that become one.  m times the products at many times the
 * speed of a plain nest, up to MOST.  Where m does not divide the groups, those left
 * are one narrower group (conv's `merge`); of the gradients such stay as they are.
 *
 * requires: core operators, constant dims, before algorithm and layout; gradients are made.
 * leaves depthwise convolutions alone: they have lanes of channels. */
#include "passes/tile.h"

#include <string.h>

enum { MOST = 4 };

/* How many groups become one; 1: as it is. */
static int64_t
merged(const struct node *n, const struct conv_shape *s, int64_t block)
{
	int64_t in = s->gin, out = s->gout;

	if (s->group == 1 || s->group == s->ic || (n->op == OP_conv && attr_int(n, "merge") != 1))
		return 1;
	for (int64_t m = 1; m <= MOST && m <= s->group; m++)
		if (m == s->group || (m * in % block == 0 && m * out % block == 0 &&
					 (n->op == OP_conv || s->group % m == 0)))
			return m;
	return 1;
}

static struct value *
identity(struct build *b, int64_t n)
{
	int64_t dims[2] = {n, n};
	struct tensor *t = tensor_new(b->g->arena, DT_f32, 2, dims);

	for (int64_t i = 0; i < n * n; i++)
		dtype_put_f(DT_f32, t->data, i, i / n == i % n);
	return graph_const(b->g, "groups.identity", t);
}

/* n with other operands and these attributes */
static struct value *
again(struct build *b, const struct node *n, struct value *const *in, int nattr,
    const struct attr *attr)
{
	struct attr *a = arena_array(b->g->arena, struct attr, n->nattr + nattr);

	/* those that come later win */
	memcpy(a, n->attr, sizeof *a * (size_t)n->nattr);
	memcpy(a + n->nattr, attr, sizeof *a * (size_t)nattr);
	return b_op(b, n->op, 2, in, n->nattr + nattr, a);
}

static bool
visit(struct rewrite *rw, struct node *n)
{
	const struct pass_ctx *ctx = rw->ctx;
	struct build *b = &rw->b;
	struct conv_shape s;

	if (op_info[n->op].class != OC_conv || n->out[0]->dtype != DT_f32 || !conv_shape_of(n, &s))
		return true;
	int64_t m = merged(n, &s, tile_block(&ctx->opts->machine)),
		taps = dims_count(s.spatial, s.kernel);
	if (m == 1)
		return true;
	bool weight = n->op == OP_conv_grad_weight;
	struct value *w = weight ? n->out[0] : n->in[1], *in[2] = {n->in[0], n->in[1]}, *r;
	int64_t wide = (s.group + m - 1) / m,
		more = wide * m - s.group; /* groups that the last is short of */
	int64_t apart[5] = {wide, m, s.gout, s.gin, taps},
		merge[6] = {wide, m, s.gout, m, s.gin, taps};
	int64_t dims[MAX_RANK], none[MAX_RANK] = {0}, one[MAX_RANK],
				rows[MAX_RANK] = {more * s.gout};
	struct attr attr[2] = {{.name = "group", .kind = ATTR_INT, .i = wide},
	    {.name = "dims", .kind = ATTR_INTS, .n = w->rank, .ints = dims}};
	for (int i = 0; i < MAX_RANK; i++)
		one[i] = 1;
	memcpy(dims, w->dims, sizeof dims);
	dims[0] += rows[0];
	dims[1] *= m;
	if (weight) {
		r = b_reshape(b, again(b, n, in, 2, attr), 6, merge);
		r = b_reshape(
		    b, b_contract(b, "jJ,gjoJik->gjoik", identity(b, m), r), w->rank, w->dims);
	} else {
		r = b_reshape(b, more ? b_pad(b, w, none, rows, 0) : w, 5, apart);
		r = b_reshape(
		    b, b_contract(b, "jJ,gjoik->gjoJik", identity(b, m), r), w->rank, dims);
		dims[0] = w->dims[0];
		in[1] = more ? b_slice(b, r, none, dims, one) : r;
		if (more)
			attr[0] = (struct attr){.name = "merge", .kind = ATTR_INT, .i = m};
		r = again(b, n, in, 1, attr);
	}
	if (!r)
		return false;
	rewrite_node(rw, n, &r);
	return true;
}

bool
pass_groups(struct graph *g, struct pass_ctx *ctx)
{
	if (ctx->opts->opt_level < 2)
		return true;
	return graph_rewrite(g, ctx->diag, "groups", false, visit, ctx);
}
