/* simplify_move -- operators that only move elements past others, towards those
 * that take them for free: transposes past elementwise work to contractions and
 * to each other, indices that are known to slices. */
#include "passes/simplify.h"

#include <string.h>

static bool
perm_of(const struct value *v, int64_t *perm)
{
	const int64_t *given;

	if (!is_node(v, OP_transpose))
		return false;
	int k = attr_ints(v->def, "perm", &given);

	for (int i = 0; i < v->rank; i++)
		perm[i] = k == v->rank ? given[i] : v->rank - 1 - i;
	return true;
}

static bool
single(const struct value *v)
{
	return dims_count(v->rank, v->dims) == 1;
}

/* A constant as it stands before the transpose: its dims by the inverse. */
static struct value *
before(struct rewrite *rw, struct value *c, int rank, const int64_t *perm)
{
	int64_t dims[MAX_RANK], inverse[MAX_RANK];

	if (single(c))
		return c->rank == 0 ? c : b_reshape(&rw->b, c, 0, NULL);
	for (int i = 0; i < rank; i++) {
		dims[i] = i < rank - c->rank ? 1 : c->dims[i - (rank - c->rank)];
		inverse[perm[i]] = i;
	}
	return b_transpose(&rw->b, b_reshape(&rw->b, c, rank, dims), inverse);
}

/* op(transpose x, c) = transpose(op(x, c)), c constant or moved alike */
static struct value *
transpose_late(struct rewrite *rw, struct node *n)
{
	struct value *in[3], *out = n->out[0], *v;
	int64_t perm[MAX_RANK], other[MAX_RANK];
	bool any = false;

	if (op_info[n->op].class != OC_map || n->nin > 3)
		return NULL;
	for (int k = 0; k < n->nin && !any; k++)
		any = n->in[k]->rank == out->rank && perm_of(n->in[k], perm);
	if (!any)
		return NULL;
	for (int k = 0; k < n->nin; k++) {
		struct value *x = n->in[k];

		if (x->rank == out->rank && perm_of(x, other)) {
			if (memcmp(perm, other, sizeof perm[0] * (size_t)out->rank) != 0 ||
			    !sole_use(rw, x))
				return NULL;
			in[k] = x->def->in[0];
		} else if (single(x) || is_constant(x)) {
			in[k] = before(rw, x, out->rank, perm);
		} else {
			return NULL;
		}
	}
	v = b_op(&rw->b, n->op, n->nin, in, n->nattr, n->attr);
	return v && v->rank == out->rank ? b_transpose(&rw->b, v, perm) : NULL;
}

/* op(reshape x, c) = reshape(op(x, c)), c a constant of one element: an attention's
 * scale reaches the weights of its query */
static struct value *
reshape_late(struct rewrite *rw, struct node *n)
{
	struct value *in[3], *out = n->out[0], *x = NULL, *v;

	if (op_info[n->op].class != OC_map || n->nin > 3)
		return NULL;
	for (int k = 0; k < n->nin; k++) {
		in[k] = n->in[k];
		if (!x && is_node(in[k], OP_reshape) && sole_use(rw, in[k]) && !is_constant(in[k]) && same_dims(in[k], out))
			x = in[k] = in[k]->def->in[0];
		else if (!single(in[k]) || !is_constant(in[k]))
			return NULL;
		else if (in[k]->rank)
			in[k] = b_reshape(&rw->b, in[k], 0, NULL);
	}
	if (!x || single(x))
		return NULL;
	v = b_op(&rw->b, n->op, n->nin, in, n->nattr, n->attr);
	return v ? b_reshape(&rw->b, v, out->rank, out->dims) : NULL;
}

/* reshape(transpose x), axes of 1 dropped = transpose(reshape x) */
static struct value *
drop_ones_early(struct rewrite *rw, struct node *n)
{
	struct value *y = n->in[0], *out = n->out[0], *x, *v;
	int64_t perm[MAX_RANK], dims[MAX_RANK], next[MAX_RANK];
	int place[MAX_RANK], r = 0, k = 0;
	bool kept[MAX_RANK] = {0};

	if (!perm_of(y, perm) || !sole_use(rw, y) || out->rank >= y->rank)
		return NULL;
	for (int i = 0; i < y->rank; i++) {
		if (k < out->rank && y->dims[i] == out->dims[k] && (y->dims[i] != 1 || y->rank - i <= out->rank - k))
			kept[perm[i]] = true, k++;
		else if (y->dims[i] != 1)
			return NULL;
	}
	if (k < out->rank)
		return NULL;
	x = y->def->in[0];
	for (int i = 0; i < x->rank; i++)
		if (kept[i]) {
			place[i] = r;
			dims[r++] = x->dims[i];
		}
	k = 0;
	for (int i = 0; i < y->rank; i++)
		if (kept[perm[i]])
			next[k++] = place[perm[i]];
	v = b_reshape(&rw->b, x, r, dims);
	return v ? b_transpose(&rw->b, v, next) : NULL;
}

/* reshape(transpose x) that takes the innermost axis to place 1 and regroups what is
 * behind: regrouped with the channels innermost, where moves are of whole rows */
static struct value *
channels_late(struct rewrite *rw, struct node *n)
{
	struct value *y = n->in[0], *out = n->out[0], *v;
	int64_t perm[MAX_RANK], dims[MAX_RANK];
	int r = y->rank, k = 0;

	if (!perm_of(y, perm) || !sole_use(rw, y) || r < 3 || out->rank < 3 || perm[1] != r - 1 || perm[0] != 0 ||
	    y->dims[0] != out->dims[0] || y->dims[1] != out->dims[1])
		return NULL;
	memmove(perm + 1, perm + 2, sizeof *perm * (size_t)(r - 2));
	perm[r - 1] = r - 1;
	v = b_transpose(&rw->b, y->def->in[0], perm);
	for (int i = 0; i < out->rank; i++)
		if (i != 1)
			dims[k++] = out->dims[i];
	dims[k] = out->dims[1];
	v = b_reshape(&rw->b, v, out->rank, dims);
	for (int i = 0; i < out->rank; i++)
		perm[i] = i == 0 ? 0 : i == 1 ? out->rank - 1 : i - 1;
	return b_transpose(&rw->b, v, perm);
}

/* contract(expand x, w): a letter that x only repeats along, and that w and the
 * result have, may go from x. */
static struct value *
contract_repeated(struct rewrite *rw, struct node *n)
{
	const char *spec = attr_string(n, "spec"), *comma = strchr(spec, ','),
		   *arrow = strchr(spec, '-');
	char part[3][MAX_RANK + 1] = {0};
	size_t len[3] = {(size_t)(comma - spec), (size_t)(arrow - comma - 1), strlen(arrow + 2)};
	const char *from[3] = {spec, comma + 1, arrow + 2};

	for (int k = 0; k < 3; k++) {
		if (len[k] > MAX_RANK)
			return NULL;
		memcpy(part[k], from[k], len[k]);
	}
	for (int k = 0; k < 2; k++) {
		struct value *y = n->in[k], *x, *in[2] = {n->in[0], n->in[1]};
		int64_t dims[MAX_RANK];
		char left[MAX_RANK + 1] = {0};
		int r = 0, shift;
		bool ok = true;

		if (!is_node(y, OP_expand))
			continue;
		x = y->def->in[0];
		shift = y->rank - x->rank;
		for (int i = 0; i < y->rank; i++) {
			char c = part[k][i];
			bool repeated = i < shift || (x->dims[i - shift] == 1 && y->dims[i] != 1);

			if (repeated && strchr(part[1 - k], c) && strchr(part[2], c))
				continue;
			ok &= !repeated;
			left[r] = c;
			dims[r++] = repeated ? 1 : x->dims[i - shift];
		}
		if (!ok || r == 0 || r == y->rank)
			continue;
		in[k] = b_reshape(&rw->b, x, r, dims);
		memcpy(part[k], left, sizeof left);
		return b_contract(&rw->b,
		    arena_printf(rw->g->arena, "%s,%s->%s", part[0], part[1], part[2]), in[0],
		    in[1]);
	}
	return NULL;
}

const struct simplify_rule simplify_move[] = {
    {OP_none, "op(transpose x, c) = transpose(op(x, c))", transpose_late},
    {OP_none, "op(reshape x, c) = reshape(op(x, c)), c one number", reshape_late},
    {OP_reshape, "reshape(transpose x) without axes of 1 = transpose(reshape x)", drop_ones_early},
    {OP_reshape, "reshape(transpose x), channels to the front = transpose(reshape(transpose x))", channels_late},
    {OP_contract, "contract(expand x, w) = contract(x, w)", contract_repeated},
    {0},
};
