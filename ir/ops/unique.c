/* unique.c -- operators that data gives the size of their result: Compress, NonZero,
 * Unique, all by `compact`. */
#include <math.h>

#include "ir/ops/ops_int.h"

/* All elements in one row; the bound of their number must be finite. */
static struct value *
one_row(struct build *b, const struct node *n, struct value *x)
{
	int64_t size = 1;

	for (int i = 0; i < x->rank; i++)
		size = dim_mul(b->g, size, x->dims[i]);
	if (dim_hi(b->g, size) == INT64_MAX) {
		diag_unsupported(b->diag, n->loc, "the number of elements of %s has no bound; give one with --dim",
		    value_type_text(b->g, x));
		return NULL;
	}
	return b_reshape(b, x, 1, &size);
}

/* Axis to the front, and back. */
static struct value *
swapped(struct build *b, struct value *x, int axis)
{
	int64_t perm[MAX_RANK];

	if (!x || axis == 0)
		return x;
	for (int i = 0; i < x->rank; i++)
		perm[i] = i == 0 ? axis : i == axis ? 0 : i;
	return b_transpose(b, x, perm);
}

/* ---- Compress: slices along axis, or elements, where the condition, which may be
 * shorter, holds. */
bool
expand_Compress(struct build *b, const struct node *n, struct value **outs)
{
	struct value *x = n->in[0], *c = n->in[1];
	int64_t u;
	int axis = 0;

	if (c->dtype != DT_bool || c->rank != 1)
		return diag_invalid(b->diag, n->loc, "condition %s; a row of bool is expected", value_type_text(b->g, c));
	if (!attr_has(n, "axis"))
		x = one_row(b, n, x);
	else if ((axis = axis_normal(n, b->diag, attr_int(n, "axis"), x->rank)) < 0)
		return false;
	if (!x)
		return false;
	if (dim_hi(b->g, x->dims[axis]) == INT64_MAX)
		return diag_unsupported(b->diag, n->loc, "axis %d of %s has no bound", axis, value_type_text(b->g, x));
	if (dim_const(c->dims[0]) && dim_const(x->dims[axis]) && c->dims[0] > x->dims[axis])
		return diag_invalid(b->diag, n->loc, "the condition is longer than axis %d", axis);
	if (c->dims[0] == 0)
		c = b_expand(b, b_scalar(b, DT_bool, 0), 1, &x->dims[axis]);
	else if (c->dims[0] != x->dims[axis]) { /* nothing is kept behind it */
		struct value *at = b_iota(b, DT_i64, 1, &x->dims[axis], 0), *end = b_dim(b, c->dims[0]);

		c = b2(b, OP_and, b2(b, OP_lt, at, end), b_gather(b, c, b_min(b, at, b_adds(b, end, -1)), 0));
	}
	if (!c)
		return false;
	u = ops_measure(b, n, 0, b_kept(b, c), dim_hi(b->g, x->dims[axis]));
	return (outs[0] = swapped(b, b_compact(b, swapped(b, x, axis), c, u), axis)) != NULL;
}

/* ---- NonZero: [rank, how many], the indices in row-major order */
bool
expand_NonZero(struct build *b, const struct node *n, struct value **outs)
{
	struct value *x = n->in[0], *keep, *at, *row[MAX_RANK];
	int64_t u, one[2] = {1, 0};
	int rank = x->rank;

	if (x->dtype == DT_str || dtype_info[x->dtype].class == DC_COMPLEX)
		return diag_unsupported(b->diag, n->loc, "nonzero elements of %s", dtype_info[x->dtype].name);
	if (!(x = one_row(b, n, x)))
		return false;
	keep = x->dtype == DT_bool ? x : b1(b, OP_not, b2(b, OP_eq, x, b_scalar_like(b, x, 0)));
	if (!keep)
		return false;
	u = ops_measure(b, n, 0, b_kept(b, keep), dim_hi(b->g, x->dims[0]));
	if (rank == 0) { /* no axis to have an index on */
		one[0] = 0;
		one[1] = u;
		return (outs[0] = b_iota(b, DT_i64, 2, one, 0)) != NULL;
	}
	at = b_compact(b, b_iota(b, DT_i64, 1, x->dims, 0), keep, u);
	one[1] = u;
	for (int i = rank - 1; i >= 0; i--) { /* the digits of at, last first */
		struct value *rest = i ? b_div(b, at, b_max(b, b_dim(b, n->in[0]->dims[i]), b_scalar(b, DT_i64, 1))) : NULL;
		struct value *digit = i ? b_sub(b, at, b_mul(b, rest, b_dim(b, n->in[0]->dims[i]))) : at;

		if (!digit || !(row[i] = b_reshape(b, digit, 2, one)))
			return false;
		at = rest;
	}
	return (outs[0] = rank == 1 ? row[0] : b_concat(b, rank, row, 0)) != NULL;
}

/* ---- Unique: the keys (elements, or slices along axis) in order; of every run of
 * equal ones the first, which `sort` keeps first, stands for it.
 *
 * order[i]   which key is at place i        first[i]   place i begins a run
 * group[i]   the number of its run          head[g]    the first key of run g */
struct unique {
	int64_t n; /* dim: keys */
	struct value *keys, *order, *first, *group;
};

static struct value *
scattered(struct build *b, enum op op, struct value *to, struct value *at, struct value *u)
{
	struct value *in[3] = {to, at, u};
	struct attr a = attr_of_int("axis", 0);

	return to && at && u ? b_op(b, op, 3, in, 1, &a) : NULL;
}

static struct value *
running(struct build *b, struct value *flag)
{
	struct attr a = attr_of_int("axis", 0);
	struct value *v = b_cast(b, flag, DT_i64);

	return v ? b_adds(b, b_op(b, OP_running_sum, 1, &v, 1, &a), -1) : NULL;
}

static bool
find_runs(struct build *b, struct unique *q)
{
	struct value *sorted, *prev, *iota = b_iota(b, DT_i64, 1, &q->n, 0), *same;
	int64_t axis = 1;

	q->order = ops_sort(b, q->keys, false, -1);
	sorted = q->order ? b_gather(b, q->keys, q->order, 0) : NULL;
	prev = b_max(b, b_adds(b, iota, -1), b_scalar(b, DT_i64, 0));
	if (!sorted || !prev)
		return false;
	/* differing elements of neighbours, counted */
	same = b1(b, OP_not, b2(b, OP_eq, sorted, b_gather(b, sorted, prev, 0)));
	same = b_reduce(b, OP_reduce_sum, b_cast(b, same, DT_i32), 1, &axis, false);
	q->first = same ? b2(b, OP_or, b2(b, OP_lt, b_scalar(b, DT_i32, 0), same),
	    b2(b, OP_eq, iota, b_scalar(b, DT_i64, 0))) : NULL;
	if (!dim_const(q->n))
		q->first = b2(b, OP_and, q->first, b2(b, OP_lt, iota, b_dim(b, q->n)));
	q->group = q->first ? running(b, q->first) : NULL;
	return q->group != NULL;
}

/* In order of appearance: the runs get the ranks of their heads among all heads.
 * group becomes that; *keep: which keys are heads. */
static bool
by_appearance(struct build *b, struct unique *q, struct value **keep)
{
	struct value *far = b_expand(b, b_scalar(b, DT_i64, 0x1p62), 1, &q->n), *head;

	head = scattered(b, OP_scatter_min, far, q->group, q->order);
	head = head ? b_gather(b, head, q->group, 0) : NULL; /* of the run at each place */
	*keep = scattered(b, OP_scatter_set, b_expand(b, b_scalar(b, DT_bool, 0), 1, &q->n), q->order, q->first);
	q->group = *keep && head ? b_gather(b, running(b, *keep), head, 0) : NULL;
	return q->group != NULL;
}

bool
expand_Unique(struct build *b, const struct node *n, struct value **outs)
{
	struct value *x = n->in[0], *keep, *zeros, *ones, *counts, *rows, *which;
	bool whole = !attr_has(n, "axis"), sorted = attr_int(n, "sorted");
	int64_t two[2] = {0, 1}, u, start = 0, step = 1;
	struct unique q = {0};
	int axis = 0;

	if (!dtype_is_float(x->dtype) && !dtype_is_int(x->dtype) && x->dtype != DT_bool)
		return diag_unsupported(b->diag, n->loc, "unique elements of %s", dtype_info[x->dtype].name);
	if (!whole && (axis = axis_normal(n, b->diag, attr_int(n, "axis"), x->rank)) < 0)
		return false;
	rows = whole ? one_row(b, n, x) : swapped(b, x, axis);
	if (!rows)
		return false;
	q.n = two[0] = rows->dims[0];
	for (int i = 1; i < rows->rank; i++)
		two[1] = dim_mul(b->g, two[1], rows->dims[i]);
	if (dim_hi(b->g, q.n) == INT64_MAX || dim_hi(b->g, two[1]) == INT64_MAX)
		return diag_unsupported(b->diag, n->loc, "unique elements of %s", value_type_text(b->g, x));
	q.keys = b_reshape(b, x->dtype == DT_bool ? b_cast(b, rows, DT_u8) : rows, 2, two);
	q.keys = ops_set_apart(b, q.keys, 1, true); /* alike in all keys */
	if (!q.keys || !find_runs(b, &q))
		return false;
	u = ops_measure(b, n, 0, b_kept(b, q.first), dim_hi(b->g, q.n));
	keep = q.first;
	which = q.order;
	if (!sorted) {
		if (!by_appearance(b, &q, &keep))
			return false;
		which = b_iota(b, DT_i64, 1, &q.n, 0);
	} else
		rows = b_gather(b, rows, q.order, 0);
	outs[0] = swapped(b, b_compact(b, rows, keep, u), axis);
	if (ops_wants(n, 1))
		outs[1] = b_compact(b, which, keep, u);
	zeros = b_expand(b, b_scalar(b, DT_i64, 0), 1, &q.n);
	ones = b_expand(b, b_scalar(b, DT_i64, 1), 1, &q.n);
	if (ops_wants(n, 2))
		outs[2] = scattered(b, OP_scatter_set, zeros, q.order, q.group);
	if (ops_wants(n, 3)) {
		if (!dim_const(q.n))
			ones = b_select(b, b2(b, OP_lt, b_iota(b, DT_i64, 1, &q.n, 0), b_dim(b, q.n)), ones, zeros);
		counts = scattered(b, OP_scatter_add, zeros, q.group, ones);
		outs[3] = counts ? b_slice(b, counts, &start, &u, &step) : NULL;
	}
	for (int i = 0; i < 4; i++)
		if (ops_wants(n, i) && !outs[i])
			return false;
	return outs[0] != NULL;
}
