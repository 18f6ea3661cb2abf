/* matrix.c -- what is done to whole square matrices. */
#include "ir/ops/ops_int.h"

enum { DET_MAX = 256 };

static struct value *
block(struct build *b, struct value *x, int64_t r, int64_t nr, int64_t c, int64_t nc)
{
	return x ? b_slice(b, x, (int64_t[]){0, r, c}, (int64_t[]){x->dims[0], nr, nc}, (int64_t[]){1, 1, 1}) : NULL;
}

/* ---- Det: Gaussian elimination with the largest pivot of each column, written out.
 * What is left after k columns is a matrix [rows,m-k,m-k]; the pivot's row changes
 * places with its first row, which turns the sign. */
bool
expand_Det(struct build *b, const struct node *n, struct value **outs)
{
	struct value *x = n->in[0], *det = NULL;
	int64_t m, rows = 1, axis = 1;
	int rank = x->rank;

	if (rank < 2 || x->dims[rank - 1] != x->dims[rank - 2] || !dtype_is_float(x->dtype))
		return diag_invalid(b->diag, n->loc, "input %s; square matrices [...,M,M] are expected",
		    ops_dims_text(b->g, rank, x->dims));
	m = x->dims[rank - 1];
	if (!dim_const(m) || m > DET_MAX)
		return diag_unsupported(b->diag, n->loc, "matrices of %s rows; a constant of at most %d is needed",
		    dim_text(b->g, m), DET_MAX);
	for (int i = 0; i < rank - 2; i++)
		rows = dim_mul(b->g, rows, x->dims[i]);
	if (m == 0)
		det = b_expand(b, b_scalar_like(b, x, 1), 1, &rows);
	x = m ? b_reshape(b, x, 3, (int64_t[]){rows, m, m}) : NULL;
	for (int64_t k = m; x && k > 0; k--) {
		struct value *col = block(b, x, 0, k, 0, 1), *at, *is, *row, *zero = b_scalar_like(b, x, 0), *pivot, *swap;
		struct value *one = b_scalar_like(b, x, 1), *safe, *rest;
		struct attr a[2] = {attr_of_int("axis", 1), attr_of_int("keep", 1)};

		if (k == 1) {
			pivot = col;
			det = det ? b_mul(b, det, pivot) : pivot;
			break;
		}
		at = b1(b, OP_abs, col);
		at = at ? b_op(b, OP_argmax, 1, &at, 2, a) : NULL; /* [rows,1,1] */
		is = b2(b, OP_eq, b_iota(b, DT_i64, 3, (int64_t[]){1, k, 1}, 1), at);
		row = b_reduce(b, OP_reduce_sum, b_select(b, is, x, zero), 1, &axis, true); /* [rows,1,k] */
		pivot = block(b, row, 0, 1, 0, 1);
		swap = b_select(b, b2(b, OP_eq, at, b_scalar(b, DT_i64, 0)), one, b_scalar_like(b, x, -1));
		det = det ? b_mul(b, det, b_mul(b, pivot, swap)) : b_mul(b, pivot, swap);
		rest = block(b, b_select(b, is, block(b, x, 0, 1, 0, k), x), 1, k - 1, 0, k);
		safe = b_select(b, b2(b, OP_eq, pivot, zero), one, pivot);
		x = b_sub(b, block(b, rest, 0, k - 1, 1, k - 1),
		    b_mul(b, b_div(b, block(b, rest, 0, k - 1, 0, 1), safe), block(b, row, 0, 1, 1, k - 1)));
	}
	return det && (outs[0] = b_reshape(b, det, rank - 2, n->in[0]->dims)) != NULL;
}
