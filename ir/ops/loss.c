/* loss.c -- the two losses of ONNX: log-probabilities [N,C,d...], labels [N,d...]. */
#include "ir/ops/ops_int.h"

/* loss = -w[label] * logp[label], 0 where the label is ignore_index; mean divides
 * by the sum of the weights that count. */
static struct value *
nll(struct build *b, const struct node *n, struct value *logp, struct value *label, struct value *weight)
{
	const char *how = attr_string(n, "reduction");
	struct value *zero, *hit, *loss, *w = NULL, *counts = NULL;
	int64_t thin[MAX_RANK], axis = 1;

	if (!logp)
		return NULL;
	if (logp->rank < 2 || label->rank != logp->rank - 1 || !dtype_is_int(label->dtype)) {
		diag_invalid(b->diag, n->loc, "scores %s, labels %s (%s)",
		    ops_dims_text(b->g, logp->rank, logp->dims), ops_dims_text(b->g, label->rank, label->dims),
		    dtype_info[label->dtype].name);
		return NULL;
	}
	zero = b_scalar_like(b, logp, 0);
	for (int i = 0; i < logp->rank; i++)
		thin[i] = i == 1 ? logp->dims[1] : 1;
	hit = b2(b, OP_eq, b_unsqueeze(b, label, 1), b_iota(b, label->dtype, logp->rank, thin, 1));
	if (attr_has(n, "ignore_index")) {
		counts = b2(b, OP_eq, label, b_scalar_like(b, label, (double)attr_int(n, "ignore_index")));
		counts = b1(b, OP_not, counts);
		hit = b2(b, OP_and, hit, counts ? b_unsqueeze(b, counts, 1) : NULL);
	}
	loss = b_neg(b, b_reduce(b, OP_reduce_sum, b_select(b, hit, logp, zero), 1, &axis, false));
	if (weight) {
		int64_t wide[MAX_RANK];

		if (weight->rank != 1 || weight->dims[0] != logp->dims[1]) {
			diag_invalid(b->diag, n->loc, "weights %s for %s classes",
			    ops_dims_text(b->g, weight->rank, weight->dims), dim_text(b->g, logp->dims[1]));
			return NULL;
		}
		for (int i = 0; i < logp->rank - 1; i++)
			wide[i] = i == 0 ? logp->dims[1] : 1;
		w = b_reshape(b, weight, logp->rank - 1, wide);
		w = b_reduce(b, OP_reduce_sum, b_select(b, hit, w, zero), 1, &axis, false);
		loss = b_mul(b, loss, w);
	} else if (counts)
		w = b_cast(b, counts, logp->dtype);
	if (!loss || strcmp(how, "none") == 0)
		return loss;
	if (strcmp(how, "sum") && strcmp(how, "mean")) {
		diag_invalid(b->diag, n->loc, "reduction \"%s\"", how);
		return NULL;
	}
	if (how[0] == 'm' && !w) {
		int64_t all[MAX_RANK];

		for (int i = 0; i < loss->rank; i++)
			all[i] = i;
		return b_mean(b, loss, loss->rank, all, false);
	}
	loss = b_reduce_all(b, OP_reduce_sum, loss);
	return how[0] == 'm' ? b_div(b, loss, b_reduce_all(b, OP_reduce_sum, w)) : loss;
}

bool
expand_NegativeLogLikelihoodLoss(struct build *b, const struct node *n, struct value **outs)
{
	return (outs[0] = nll(b, n, n->in[0], n->in[1], ops_in(n, 2))) != NULL;
}

bool
expand_SoftmaxCrossEntropyLoss(struct build *b, const struct node *n, struct value **outs)
{
	struct value *logp;

	if (n->in[0]->rank < 2)
		return diag_invalid(b->diag, n->loc, "scores of rank %d", n->in[0]->rank);
	logp = b_log_softmax(b, n->in[0], 1);
	if (ops_wants(n, 1))
		outs[1] = logp;
	return (outs[0] = nll(b, n, logp, n->in[1], ops_in(n, 2))) != NULL;
}
