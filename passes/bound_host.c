/* bound_host -- host rows at the upper bounds of their sizes.  They follow pointers, so
 * beyond the run's size there must be strings; what counts elements is told how many
 * there are. */
#include "passes/bound.h"

struct value *
bound_nothing(struct bound *bd, enum dtype t)
{
	if (t == DT_str)
		return graph_const(bd->b.g, NULL, tensor_new(bd->b.g->arena, DT_str, 0, NULL));
	return b_scalar(&bd->b, t, 0);
}

static struct value *
padded(struct bound *bd, const struct node *n, int i)
{
	struct value *x = bd->map[n->in[i]->id], *fill;
	int first = 0;

	if (x && x->dtype == DT_str) {
		struct tensor *t = tensor_new(bd->b.g->arena, DT_str, 0, NULL);

		*(const char **)t->data = n->op == OP_str_to ? "0" : ""; /* a number of any type */
		fill = graph_const(bd->b.g, NULL, t);
	} else if (n->op == OP_ngrams) {
		/* rows beyond are not read, items beyond are no part of a gram */
		fill = b_scalar(&bd->b, DT_i64, -0x1p63);
		first = 1;
	} else {
		return x;
	}
	for (int k = first; k < n->in[i]->rank; k++)
		x = bound_mask(bd, x, k, n->in[i]->dims[k], fill);
	return x;
}

bool
bound_host(struct bound *bd, const struct node *n)
{
	struct value **in = arena_array(bd->tmp, struct value *, n->nin + 2), *out[8];
	int nin = n->nin;

	if (n->nout > 8)
		die("%s has %d outputs", op_info[n->op].id, n->nout);
	for (int i = 0; i < n->nin; i++)
		if (n->in[i] && !(in[i] = padded(bd, n, i)))
			return false;
	if ((n->op == OP_str_normalize || n->op == OP_image_decode) && nin == 1 &&
	    bound_varies(n->in[0]->dims[0]))
		if (!(in[nin++] = bound_size(bd, n->in[0]->dims[0])))
			return false;
	if (!b_ops(&bd->b, n->op, nin, in, n->nout, out, n->nattr, n->attr))
		return false;
	for (int i = 0; i < n->nout; i++) {
		int64_t most[MAX_RANK];

		if (!n->out[i])
			continue;
		bound_most(bd, n->out[i]->rank, n->out[i]->dims, most);
		if (!dims_equal(out[i]->rank, out[i]->dims, n->out[i]->rank, most))
			die("%s of other dims when bounded", op_info[n->op].id);
		if (!out[i]->name && out[i]->kind == VAL_NODE)
			out[i]->name = n->out[i]->name;
		bd->map[n->out[i]->id] = out[i];
	}
	return true;
}
