/* reduce_onnx.c -- reductions of ONNX: axes as an operand, and what is reduced. */
#include "ir/ops/ops_int.h"

struct over {
	int64_t axes[MAX_RANK];
	int n;
	bool keep, noop;
};

/* Which axes: the operand's; all without one, or none under noop_with_empty_axes. */
static bool
over(struct build *b, const struct node *n, struct over *o)
{
	int rank = n->in[0]->rank;
	bool marked[MAX_RANK], given;

	if (!ops_axes_operand(b, n, 1, rank, marked, &given))
		return false;
	o->n = 0;
	o->keep = attr_int(n, "keepdims");
	o->noop = !given && attr_int(n, "noop_with_empty_axes");
	for (int i = 0; i < rank && !o->noop; i++)
		if (marked[i] || !given)
			o->axes[o->n++] = i;
	return true;
}

static struct value *
reduce(struct build *b, enum op op, struct value *x, const struct over *o)
{
	return o->noop ? x : b_reduce(b, op, x, o->n, o->axes, o->keep);
}

static bool
simple(struct build *b, const struct node *n, struct value **outs, enum op op)
{
	struct over o;

	return over(b, n, &o) && (outs[0] = reduce(b, op, n->in[0], &o)) != NULL;
}

bool
expand_ReduceSum(struct build *b, const struct node *n, struct value **outs)
{
	return simple(b, n, outs, OP_reduce_sum);
}

bool
expand_ReduceProd(struct build *b, const struct node *n, struct value **outs)
{
	return simple(b, n, outs, OP_reduce_prod);
}

bool
expand_ReduceMax(struct build *b, const struct node *n, struct value **outs)
{
	return simple(b, n, outs, OP_reduce_max);
}

bool
expand_ReduceMin(struct build *b, const struct node *n, struct value **outs)
{
	return simple(b, n, outs, OP_reduce_min);
}

bool
expand_ReduceMean(struct build *b, const struct node *n, struct value **outs)
{
	struct over o;

	if (!over(b, n, &o))
		return false;
	outs[0] = o.noop ? n->in[0] : b_mean(b, n->in[0], o.n, o.axes, o.keep);
	return outs[0] != NULL;
}

bool
expand_ReduceL1(struct build *b, const struct node *n, struct value **outs)
{
	struct over o;

	return over(b, n, &o) &&
	    (outs[0] = reduce(b, OP_reduce_sum, b1(b, OP_abs, n->in[0]), &o)) != NULL;
}

bool
expand_ReduceSumSquare(struct build *b, const struct node *n, struct value **outs)
{
	struct value *x = n->in[0];
	struct over o;

	return over(b, n, &o) && (outs[0] = reduce(b, OP_reduce_sum, b_mul(b, x, x), &o)) != NULL;
}

/* sqrt(sum x^2); the derivative at 0 is 0*inf: undefined, as it is. */
bool
expand_ReduceL2(struct build *b, const struct node *n, struct value **outs)
{
	if (!expand_ReduceSumSquare(b, n, outs))
		return false;
	return (outs[0] = b_sqrt(b, outs[0])) != NULL;
}

bool
expand_ReduceLogSum(struct build *b, const struct node *n, struct value **outs)
{
	return simple(b, n, outs, OP_reduce_sum) && (outs[0] = b_log(b, outs[0])) != NULL;
}

/* m + log(sum(exp(x - m))) with m the maximum, or 0 where that is infinite */
bool
expand_ReduceLogSumExp(struct build *b, const struct node *n, struct value **outs)
{
	struct value *x = n->in[0], *m, *finite, *y;
	struct over o;

	if (!over(b, n, &o))
		return false;
	if (o.noop || o.n == 0)
		return (outs[0] = x) != NULL;
	m = b_reduce(b, OP_reduce_max, x, o.n, o.axes, true);
	finite = b2(b, OP_eq, b_sub(b, m, m), b_scalar_like(b, x, 0));
	m = b_select(b, finite, m, b_scalar_like(b, x, 0));
	y = b_reduce(b, OP_reduce_sum, b_exp(b, b_sub(b, x, m)), o.n, o.axes, true);
	y = b_add(b, b_log(b, y), m);
	if (y && !o.keep) {
		int64_t dims[MAX_RANK];
		int k = 0, a = 0;

		for (int i = 0; i < x->rank; i++) {
			if (a < o.n && o.axes[a] == i)
				a++;
			else
				dims[k++] = x->dims[i];
		}
		y = b_reshape(b, y, k, dims);
	}
	return (outs[0] = y) != NULL;
}

/* exp(x - y) * dy */
/* The result and its gradient with the reduced axes as 1, to stand beside the operand. */
static bool
beside(struct build *b, const struct node *n, struct value **y, struct value **d)
{
	struct value *x = n->in[0];
	int64_t dims[MAX_RANK];
	struct over o;
	int a = 0;

	if (!over(b, n, &o))
		return false;
	for (int i = 0; i < x->rank; i++) {
		bool gone = a < o.n && o.axes[a] == i;

		a += gone;
		dims[i] = gone ? 1 : x->dims[i];
	}
	*y = b_reshape(b, n->out[0], x->rank, dims);
	*d = b_reshape(b, *d, x->rank, dims);
	return *y && *d;
}

/* dx = x*d/y, and 0 where y is 0, as torch.norm */
bool
grad_ReduceL2(struct build *b, const struct node *n, struct value *const *dout, struct value **din)
{
	struct value *y, *d = dout[0], *zero;

	if (!d)
		return true;
	if (!beside(b, n, &y, &d))
		return false;
	zero = b_scalar_like(b, y, 0);
	y = b_select(b, b2(b, OP_eq, y, zero), b_scalar_like(b, y, 1), y);
	din[0] = b_mul(b, n->in[0], b_div(b, d, y));
	return din[0] != NULL;
}

bool
grad_ReduceLogSumExp(
    struct build *b, const struct node *n, struct value *const *dout, struct value **din)
{
	struct value *x = n->in[0], *y, *d = dout[0];

	if (!d)
		return true;
	if (!beside(b, n, &y, &d))
		return false;
	din[0] = b_mul(b, b_exp(b, b_sub(b, x, y)), d);
	return din[0] != NULL;
}

static bool
arg(struct build *b, const struct node *n, struct value **outs, enum op op)
{
	struct value *x = n->in[0];
	int axis = axis_normal(n, b->diag, attr_int(n, "axis"), x->rank);
	struct attr a[3];

	if (axis < 0)
		return false;
	a[0] = attr_of_int("axis", axis);
	a[1] = attr_of_int("keep", attr_int(n, "keepdims"));
	a[2] = attr_of_int("last", attr_int(n, "select_last_index"));
	return (outs[0] = b_op(b, op, 1, &x, 3, a)) != NULL;
}

bool
expand_ArgMax(struct build *b, const struct node *n, struct value **outs)
{
	return arg(b, n, outs, OP_argmax);
}

bool
expand_ArgMin(struct build *b, const struct node *n, struct value **outs)
{
	return arg(b, n, outs, OP_argmin);
}
