/* groups -- merges narrow groups of a convolution, m at a time, until a group is whole
 * blocks of channels, which the register tiles take:
 *   w'[g,j,o,J,i,k] = w[g,j,o,i,k] where j = J, else 0
 * for j, J of the m groups that become one.  m times the products at many times the
 * speed of a plain nest, up to MOST.
 *
 * requires: core operators, constant dims, before winograd and layout.
 * leaves depthwise convolutions alone: they have lanes of channels. */
#include "passes/tile.h"

#include <string.h>

enum { MOST = 4 };

/* How many groups become one; 1: as it is. */
static int64_t
merged(const struct conv_shape *s, int64_t block)
{
	int64_t in = s->ic / s->group, out = s->oc / s->group;

	if (s->group == 1 || s->group == s->ic)
		return 1;
	for (int64_t m = 1; m <= MOST && m <= s->group; m++)
		if (s->group % m == 0 &&
		    (m == s->group || (m * in % block == 0 && m * out % block == 0)))
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

/* n with other operands and group; dims: of a weight gradient's result, else NULL. */
static struct value *
regrouped(struct build *b, const struct node *n, struct value *const *in, int64_t group,
    const struct attr *dims)
{
	struct attr *a = arena_array(b->g->arena, struct attr, n->nattr + 2);
	int k = 0;

	for (int i = 0; i < n->nattr; i++)
		if (strcmp(n->attr[i].name, "group") != 0 &&
		    (!dims || strcmp(n->attr[i].name, "dims") != 0))
			a[k++] = n->attr[i];
	a[k++] = (struct attr){.name = "group", .kind = ATTR_INT, .i = group};
	if (dims)
		a[k++] = *dims;
	return b_op(b, n->op, 2, in, k, a);
}

static bool
visit(struct rewrite *rw, struct node *n)
{
	const struct pass_ctx *ctx = rw->ctx;
	struct build *b = &rw->b;
	struct conv_shape s;

	if (op_info[n->op].class != OC_conv || n->out[0]->dtype != DT_f32 || !conv_shape_of(n, &s))
		return true;
	int64_t m = merged(&s, tile_block(&ctx->opts->machine)),
		taps = dims_count(s.spatial, s.kernel);
	if (m == 1)
		return true;
	bool weight = n->op == OP_conv_grad_weight;
	struct value *w = weight ? n->out[0] : n->in[1], *in[2] = {n->in[0], n->in[1]}, *r;
	int64_t apart[5] = {s.group / m, m, s.oc / s.group, s.ic / s.group, taps};
	int64_t merge[6] = {apart[0], m, apart[2], m, apart[3], taps}, dims[MAX_RANK];
	memcpy(dims, w->dims, sizeof dims);
	dims[1] *= m;
	if (!weight) {
		r = b_contract(b, "jJ,gjoik->gjoJik", identity(b, m), b_reshape(b, w, 5, apart));
		in[1] = b_reshape(b, r, w->rank, dims);
		r = regrouped(b, n, in, s.group / m, NULL);
	} else {
		struct attr a = {.name = "dims", .kind = ATTR_INTS, .n = w->rank, .ints = dims};

		r = b_reshape(b, regrouped(b, n, in, s.group / m, &a), 6, merge);
		r = b_reshape(
		    b, b_contract(b, "jJ,gjoJik->gjoik", identity(b, m), r), w->rank, w->dims);
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
