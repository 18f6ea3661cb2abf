/* ml_forest.c -- the core row tree_leaf: rows of features walked through binary
 * trees.  A node has one test, x[feature] <= threshold; a test with NaN goes where
 * the node says.  Leaves are nodes whose children are themselves, so that every
 * tree takes `depth` steps and rows need no branches.
 *
 *   x         [N,F] f32 or f64
 *   feature   [M] i32: 2*f, plus 1 where a NaN takes the first child
 *   threshold [M] of x's type
 *   child     [M,2] i32: where the test holds, where not
 *   root      [T] i32
 *   result    [N,T] i32: the node after `depth` steps
 *
 * The tables are constants, checked here, so that compiled code need not clamp. */
#include <math.h>

#include "ir/ops/ops_int.h"

static bool
table(const struct node *n, struct diag *d, int i, enum dtype t, int rank, int64_t lo, int64_t hi)
{
	const struct value *v = n->in[i];
	int64_t count;

	if (v->kind != VAL_CONST || v->dtype != t || v->rank != rank || (rank == 2 && v->dims[1] != 2))
		return diag_invalid(d, n->loc, "operand %d must be a constant %s of rank %d", i,
		    dtype_info[t].name, rank);
	count = dtype_is_int(t) ? tensor_count(v->data) : 0;
	for (int64_t k = 0; k < count; k++) {
		int64_t x = dtype_get_i(t, v->data->data, k);

		if (x < lo || x >= hi)
			return diag_invalid(d, n->loc, "operand %d holds %lld, must be within %lld..%lld", i,
			    (long long)x, (long long)lo, (long long)hi - 1);
	}
	return true;
}

bool
infer_tree_leaf(struct graph *g, struct node *n, struct diag *d)
{
	const struct value *x = n->in[0];
	int64_t m;

	(void)g;
	if (!ops_known(n, d))
		return false;
	if (x->rank != 2 || (x->dtype != DT_f32 && x->dtype != DT_f64) || !dim_const(x->dims[1]))
		return diag_invalid(d, n->loc, "operand 0 must be f32 or f64 of [N,F]");
	m = n->in[1]->rank == 1 ? n->in[1]->dims[0] : -1;
	if (attr_int(n, "depth") < 0 || attr_int(n, "depth") > INT32_MAX)
		return diag_invalid(d, n->loc, "depth %lld", (long long)attr_int(n, "depth"));
	if (!table(n, d, 1, DT_i32, 1, 0, 2 * x->dims[1]) || !table(n, d, 2, x->dtype, 1, 0, 0) ||
	    !table(n, d, 3, DT_i32, 2, 0, m) || !table(n, d, 4, DT_i32, 1, 0, m))
		return false;
	if (n->in[2]->dims[0] != m || n->in[3]->dims[0] != m)
		return diag_invalid(d, n->loc, "tables of %lld, %lld and %lld nodes", (long long)m,
		    (long long)n->in[2]->dims[0], (long long)n->in[3]->dims[0]);
	return ops_set(n, d, 0, DT_i32, 2, (int64_t[]){x->dims[0], n->in[4]->dims[0]});
}

bool
eval_tree_leaf(const struct node *n, const struct etensor *const *in, struct etensor **out)
{
	const struct etensor *x = in[0];
	int64_t depth = attr_int(n, "depth"), f = x->dims[1], trees = in[4]->count;

	for (int64_t i = 0; i < out[0]->count; i++) {
		int64_t at = in[4]->i[i % trees];

		for (int64_t k = 0; k < depth; k++) {
			double v = x->f[i / trees * f + in[1]->i[at] / 2];
			bool first = isnan(v) ? in[1]->i[at] & 1 : v <= in[2]->f[at];

			at = in[3]->i[2 * at + !first];
		}
		out[0]->i[i] = at;
	}
	return true;
}
