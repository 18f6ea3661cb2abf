/* nest_tree -- the walk of tree_leaf (ir/ops/ml_forest.c): per step, one gather from
 * each table, the node of every lane kept in the result.  Lanes are trees, or rows
 * where there are few trees. */
#include "passes/nest.h"

enum { FEW_TREES = 8, ROW_BLOCK = 512 };

static struct affine
from_data(int reg, int64_t coef)
{
	struct affine a = AFFINE(0);

	a.reg = reg;
	a.regcoef = coef;
	return a;
}

static int
table(struct emit *e, struct value *v, struct affine at)
{
	return emit_load_at(e, v, at, -1, NULL, 0);
}

static int
whole(struct emit *e, int reg)
{
	return emit_op(e, OP_cast, DT_i64, reg, -1, -1);
}

/* The node after `at` for the row of x that begins at `row`. */
static int
step(struct emit *e, const struct node *n, struct affine row, int at)
{
	struct value *x = n->in[0];
	int feature = whole(e, table(e, n->in[1], from_data(at, 1))), nan = -1, v, first, to;
	int one = emit_const_i(e, DT_i64, 1);

	row.reg = emit_op(e, OP_shr, DT_i64, feature, one, -1);
	row.regcoef = 1;
	v = table(e, x, row);
	first = emit_op(e, OP_le, x->dtype, v, table(e, n->in[2], from_data(at, 1)), -1);
	nan = emit_op(e, OP_eq, DT_i64, emit_op(e, OP_band, DT_i64, feature, one, -1), one, -1);
	nan = emit_op(e, OP_and, DT_bool, emit_op(e, OP_isnan, x->dtype, v, -1, -1), nan, -1);
	first = emit_op(e, OP_or, DT_bool, first, nan, -1);
	to = emit_op(e, OP_add, DT_i64, at, at, -1);
	to = emit_op(e, OP_select, DT_i64, first, to, emit_op(e, OP_add, DT_i64, to, one, -1));
	return table(e, n->in[3], from_data(to, 1));
}

bool
lower_tree_leaf(struct lower *lo, struct cluster *c)
{
	struct node *n = c->anchor;
	struct value *x = n->in[0], *y = n->out[0];
	int64_t rows = y->dims[0], trees = y->dims[1], depth = attr_int(n, "depth"), block = 1;
	struct emit *e;
	struct body *inside;
	struct index idx[2] = {index_of(AFFINE(0)), index_of(AFFINE(0))};
	int outer = -1, lane, var;
	bool across;

	if (rows * trees == 0)
		return true;
	if (trees < FEW_TREES)
		block = shape_divisor(rows, ROW_BLOCK);
	across = block >= FEW_TREES || (block == rows && trees == 1);
	e = emit_begin(lo, c, "tree_leaf");
	if (!across)
		block = 1;
	/* rows in blocks; trees one by one, or rows one by one and trees as lanes */
	if (rows / block > 1) {
		emit_for(e, FOR_PARALLEL, rows / block, &outer);
		affine_add(&idx[0].whole, outer, block);
	}
	if (across && trees > 1) {
		emit_for(e, FOR_SERIAL, trees, &var);
		affine_add(&idx[1].whole, var, 1);
	}
	inside = e->body;
	for (int walk = 0; walk < 2; walk++) {
		struct index at[2] = {idx[0], idx[1]};
		struct affine row = AFFINE(0);
		int reg;

		e->body = inside;
		emit_forget(e);
		if (walk && depth > 1)
			emit_for(e, FOR_SERIAL, depth, &var);
		emit_for(e, FOR_VECTOR, across ? block : trees, &lane);
		affine_add(&at[!across].whole, lane, 1);
		if (!walk) {
			reg = emit_load(e, n->in[4], &at[1], -1);
		} else {
			for (int i = 0; i < at[0].whole.n; i++)
				affine_add(&row, at[0].whole.t[i].var, at[0].whole.t[i].coef * x->dims[1]);
			reg = step(e, n, row, whole(e, emit_load(e, y, at, -1)));
		}
		emit_store(e, y, at, reg);
		if (depth == 0)
			break;
	}
	emit_end(e);
	return true;
}
