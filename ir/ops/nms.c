/* nms.c -- NonMaxSuppression: boxes [B,n,4], scores [B,C,n], then, each a scalar that
 * may be left out, max_output_boxes_per_class (0), iou_threshold (0), score_threshold.
 * Rows (batch, class, box) of what is kept, class after class, the best first. */
#include <math.h>

#include "ir/ops/ops_int.h"

static struct value *
plane(struct build *b, struct value *boxes, int k)
{
	int64_t start[3] = {0, 0, k}, count[3] = {boxes->dims[0], boxes->dims[1], 1}, step[3] = {1, 1, 1};
	int64_t row[3] = {boxes->dims[0], 1, boxes->dims[1]};

	return b_reshape(b, b_slice(b, boxes, start, count, step), 3, row);
}

/* [B,5,n]: the corners y x y x, the lower first, and the area.  Corners come in either
 * order; with center_point_box a box is x, y of its middle, width, height. */
static struct value *
corners(struct build *b, struct value *boxes, bool center)
{
	struct value *p[5], *q[4];

	for (int k = 0; k < 4; k++)
		if (!(q[k] = plane(b, boxes, k)))
			return NULL;
	for (int k = 0; k < 2; k++) {
		if (center) {
			struct value *half = b_muls(b, q[3 - k], 0.5);

			p[k] = b_sub(b, q[1 - k], half);
			p[k + 2] = b_add(b, q[1 - k], half);
		} else {
			p[k] = b_min(b, q[k], q[k + 2]);
			p[k + 2] = b_max(b, q[k], q[k + 2]);
		}
	}
	p[4] = b_mul(b, b_sub(b, p[2], p[0]), b_sub(b, p[3], p[1]));
	return b_concat(b, 5, p, 1);
}

/* Operand i as a scalar of type t; `otherwise` where it is left out. */
static struct value *
option(struct build *b, const struct node *n, int i, enum dtype t, double otherwise)
{
	struct value *v = ops_in(n, i);

	return v ? b_cast(b, b_reshape(b, v, 0, NULL), t) : b_scalar(b, t, otherwise);
}

/* Sizes that are known, and not the same. */
static bool
differ(int64_t a, int64_t b)
{
	return a != b && dim_const(a) && dim_const(b);
}

bool
expand_NonMaxSuppression(struct build *b, const struct node *n, struct value **outs)
{
	struct value *boxes = n->in[0], *scores = n->in[1], *low, *left, *in[4], *picks, *part[3], *keep;
	int64_t center = attr_int(n, "center_point_box"), size, most, *given, dims[4], u, rows;
	struct attr a;
	int k;

	if (boxes->rank != 3 || scores->rank != 3 || differ(boxes->dims[2], 4) ||
	    differ(boxes->dims[0], scores->dims[0]) || differ(boxes->dims[1], scores->dims[2]) || !dtype_is_float(boxes->dtype) || !dtype_is_float(scores->dtype))
		return diag_invalid(b->diag, n->loc, "boxes %s, scores %s; [B,n,4] and [B,C,n] are expected",
		    value_type_text(b->g, boxes), value_type_text(b->g, scores));
	if (center != 0 && center != 1)
		return diag_invalid(b->diag, n->loc, "center_point_box is %lld", (long long)center);
	for (int i = 2; i < n->nin; i++) {
		struct value *v = n->in[i];

		if (v && (v->rank > 1 || (v->rank == 1 && v->dims[0] != 1)))
			return diag_invalid(b->diag, n->loc, "operand %d is %s; one number is expected", i, value_type_text(b->g, v));
	}
	size = scores->dims[2];
	most = dim_hi(b->g, size);
	rows = dim_mul(b->g, scores->dims[0], scores->dims[1]);
	if (most == INT64_MAX || dim_hi(b->g, rows) == INT64_MAX)
		return diag_unsupported(b->diag, n->loc, "scores %s", value_type_text(b->g, scores));
	if (!ops_in(n, 2))
		most = 0;
	else if ((k = value_ints(n->in[2], b->g->arena, &given)) > 0 && given[0] < most)
		most = given[0] < 0 ? 0 : given[0];
	if (most == 0 || rows == 0)
		return (outs[0] = b_iota(b, DT_i64, 2, (int64_t[]){0, 3}, 0)) != NULL;
	low = b_scalar(b, DT_f32, -INFINITY);
	left = b_cast(b, scores, DT_f32);
	if (ops_in(n, 4)) /* what is not above the threshold, NaN too, is out */
		keep = left ? b2(b, OP_lt, option(b, n, 4, DT_f32, 0), left) : NULL;
	else
		keep = left ? b2(b, OP_eq, left, left) : NULL;
	if (!dim_const(size)) {
		int64_t thin[3] = {1, 1, size};

		keep = keep ? b2(b, OP_and, keep, b2(b, OP_lt, b_iota(b, DT_i64, 3, thin, 2), b_dim(b, size))) : NULL;
	}
	in[0] = corners(b, b_cast(b, boxes, DT_f32), center);
	in[1] = b_select(b, keep, left, low);
	in[2] = option(b, n, 2, DT_i64, 0);
	in[3] = option(b, n, 3, DT_f32, 0);
	a = attr_of_int("most", most);
	if (!in[0] || !in[1] || !in[2] || !in[3] || !(picks = b_op(b, OP_nms, 4, in, 1, &a)))
		return false;
	dims[0] = scores->dims[0];
	dims[1] = scores->dims[1];
	dims[2] = most;
	dims[3] = 1;
	rows = dim_mul(b->g, rows, most);
	part[0] = b_iota(b, DT_i64, 4, dims, 0);
	part[1] = b_iota(b, DT_i64, 4, dims, 1);
	part[2] = b_reshape(b, picks, 4, dims);
	picks = b_reshape(b, picks, 1, &rows);
	keep = picks ? b2(b, OP_le, b_scalar(b, DT_i64, 0), picks) : NULL;
	if (!keep || !part[2])
		return false;
	u = ops_measure(b, n, 0, b_kept(b, keep), dim_hi(b->g, rows));
	dims[0] = rows;
	dims[1] = 3;
	return (outs[0] = b_compact(b, b_reshape(b, b_concat(b, 3, part, 3), 2, dims), keep, u)) != NULL;
}
