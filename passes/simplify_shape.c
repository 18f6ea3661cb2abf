/* simplify_shape -- identities of operators that only move elements, and of
 * reductions and contractions around them. */
#include "passes/simplify.h"

#include <string.h>

static struct value *
reshape_chain(struct rewrite *rw, struct node *n)
{
	struct value *x = n->in[0], *out = n->out[0];

	if (same_dims(x, out))
		return x;
	if (is_node(x, OP_reshape))
		return b_reshape(&rw->b, x->def->in[0], out->rank, out->dims);
	return NULL;
}

/* perm of a transpose node, reversal if absent */
static void
perm_of(const struct node *n, int64_t *perm)
{
	const int64_t *given;
	int r = n->in[0]->rank, k = attr_ints(n, "perm", &given);

	for (int i = 0; i < r; i++)
		perm[i] = k == r ? given[i] : r - 1 - i;
}

/* One that moves axes of size 1 only is a reshape; two are one. */
static struct value *
transpose_chain(struct rewrite *rw, struct node *n)
{
	struct value *x = n->in[0], *out = n->out[0];
	int64_t perm[MAX_RANK], inner[MAX_RANK], last = -1;
	bool moves = false;

	perm_of(n, perm);
	for (int i = 0; i < out->rank; i++) {
		if (out->dims[i] == 1)
			continue;
		moves |= perm[i] < last;
		last = perm[i];
	}
	if (!moves)
		return same_dims(x, out) ? x : b_reshape(&rw->b, x, out->rank, out->dims);
	if (!is_node(x, OP_transpose))
		return NULL;
	perm_of(x->def, inner);
	for (int i = 0; i < out->rank; i++)
		perm[i] = inner[perm[i]];
	return b_transpose(&rw->b, x->def->in[0], perm);
}

static struct value *
expand_chain(struct rewrite *rw, struct node *n)
{
	struct value *x = n->in[0], *out = n->out[0];

	if (same_dims(x, out))
		return x;
	if (is_node(x, OP_expand))
		return b_expand(&rw->b, x->def->in[0], out->rank, out->dims);
	return NULL;
}

static struct value *
slice_all(struct rewrite *rw, struct node *n)
{
	const int64_t *step;
	int k = attr_ints(n, "step", &step);

	(void)rw;
	for (int i = 0; i < k; i++)
		if (step[i] != 1 && n->out[0]->dims[i] != 1)
			return NULL;
	return same_dims(n->in[0], n->out[0]) ? n->in[0] : NULL;
}

/* Element i of the outer axis is element start + i*step of the inner result. */
static struct value *
slice_slice(struct rewrite *rw, struct node *n)
{
	const int64_t *s1, *t1, *s2, *t2;
	int64_t start[MAX_RANK], step[MAX_RANK];
	struct value *x = n->in[0];
	int r = x->rank;

	if (!is_node(x, OP_slice) || attr_ints(n, "start", &s2) != r ||
	    attr_ints(n, "step", &t2) != r || attr_ints(x->def, "start", &s1) != r ||
	    attr_ints(x->def, "step", &t1) != r)
		return NULL;
	for (int i = 0; i < r; i++) {
		start[i] = s1[i] + s2[i] * t1[i];
		step[i] = t1[i] * t2[i];
	}
	return b_slice(&rw->b, x->def->in[0], start, n->out[0]->dims, step);
}

static struct value *
pad_none(struct rewrite *rw, struct node *n)
{
	const int64_t *p;

	(void)rw;
	for (int side = 0; side < 2; side++)
		for (int i = attr_ints(n, side ? "hi" : "lo", &p) - 1; i >= 0; i--)
			if (p[i] != 0)
				return NULL;
	return n->in[0];
}

/* Pads with the same fill add up, as long as none crops. */
static struct value *
pad_pad(struct rewrite *rw, struct node *n)
{
	struct value *y = n->in[0];
	const int64_t *a[2], *b[2];
	int64_t sum[2][MAX_RANK];

	if (!is_node(y, OP_pad) || !sole_use(rw, y) ||
	    attr_float(n, "fill") != attr_float(y->def, "fill"))
		return NULL;
	for (int side = 0; side < 2; side++) {
		const char *name = side ? "hi" : "lo";

		if (attr_ints(n, name, &a[side]) != y->rank ||
		    attr_ints(y->def, name, &b[side]) != y->rank)
			return NULL;
		for (int i = 0; i < y->rank; i++) {
			if (a[side][i] < 0 || b[side][i] < 0)
				return NULL;
			sum[side][i] = a[side][i] + b[side][i];
		}
	}
	return b_pad(&rw->b, y->def->in[0], sum[0], sum[1], attr_float(n, "fill"));
}

/* One part is itself; a part that is a concat along the same axis is its parts. */
static struct value *
concat_flat(struct rewrite *rw, struct node *n)
{
	VEC(struct value *) parts = {0};
	struct value *v;
	int64_t axis = attr_int(n, "axis");
	bool any = false;

	if (n->nin == 1)
		return n->in[0];
	if (axis < 0)
		axis += n->out[0]->rank;
	for (int i = 0; i < n->nin; i++) {
		struct value *x = n->in[i];
		int64_t a = is_node(x, OP_concat) ? attr_int(x->def, "axis") : -1;

		if (is_node(x, OP_concat) && sole_use(rw, x) && (a < 0 ? a + x->rank : a) == axis) {
			any = true;
			for (int k = 0; k < x->def->nin; k++)
				vec_push(rw->g->arena, &parts, x->def->in[k]);
		} else {
			vec_push(rw->g->arena, &parts, x);
		}
	}
	if (!any)
		return NULL;
	v = b_concat(&rw->b, parts.n, parts.v, (int)axis);
	return v;
}

/* axes[i]: does the reduction take axis i of its operand? False: not known. */
static bool
reduced_axes(const struct node *n, bool *axes)
{
	const int64_t *given;
	int r = n->in[0]->rank, k;

	memset(axes, 0, sizeof *axes * MAX_RANK);
	if (!attr_has(n, "axes"))
		return false;
	k = attr_ints(n, "axes", &given);
	for (int i = 0; i < k; i++)
		axes[given[i] < 0 ? given[i] + r : given[i]] = true;
	return true;
}

static struct value *
reduce_ones(struct rewrite *rw, struct node *n)
{
	bool axes[MAX_RANK];
	struct value *x = n->in[0], *out = n->out[0];

	if (!reduced_axes(n, axes) || x->dtype != out->dtype)
		return NULL;
	for (int i = 0; i < x->rank; i++)
		if (axes[i] && x->dims[i] != 1)
			return NULL;
	return same_dims(x, out) ? x : b_reshape(&rw->b, x, out->rank, out->dims);
}

static struct value *
reduce_with(struct rewrite *rw, struct node *n, struct value *x, const bool *axes)
{
	struct value *out = n->out[0], *v;
	int64_t list[MAX_RANK];
	int k = 0;

	for (int i = 0; i < x->rank; i++)
		if (axes[i])
			list[k++] = i;
	v = b_reduce(&rw->b, n->op, x, k, list, false);
	return v && !same_dims(v, out) ? b_reshape(&rw->b, v, out->rank, out->dims) : v;
}

/* reduce(reduce x) over the axes of both */
static struct value *
reduce_reduce(struct rewrite *rw, struct node *n)
{
	bool outer[MAX_RANK], axes[MAX_RANK];
	struct value *y = n->in[0];
	int k = 0;

	if (!is_node(y, n->op) || is_narrow(y) || !sole_use(rw, y) || !reduced_axes(n, outer) ||
	    !reduced_axes(y->def, axes))
		return NULL;
	bool keep = attr_int(y->def, "keep") != 0;
	struct value *x = y->def->in[0];
	bool both[MAX_RANK];

	for (int i = 0; i < x->rank; i++) {
		both[i] = axes[i];
		if (axes[i] && !keep)
			continue;
		both[i] |= outer[k++];
	}
	return reduce_with(rw, n, x, both);
}

/* A sum over all axes does not see the shape or the order. */
static struct value *
reduce_moved(struct rewrite *rw, struct node *n)
{
	bool axes[MAX_RANK], all[MAX_RANK];
	struct value *y = n->in[0];
	struct value *x;

	if ((!is_node(y, OP_reshape) && !is_node(y, OP_transpose)) || !reduced_axes(n, axes))
		return NULL;
	for (int i = 0; i < y->rank; i++)
		if (!axes[i] && y->dims[i] != 1)
			return NULL;
	x = y->def->in[0];
	for (int i = 0; i < x->rank; i++)
		all[i] = true;
	return reduce_with(rw, n, x, all);
}

/* Sum over axes that were only repeated: times their extent. */
static struct value *
sum_expand(struct rewrite *rw, struct node *n)
{
	bool axes[MAX_RANK], left[MAX_RANK] = {0};
	struct value *y = n->in[0], *x, *v, *out = n->out[0];
	int64_t times = 1, list[MAX_RANK];
	int shift, k = 0;

	if (!is_node(y, OP_expand) || !reduced_axes(n, axes) || !dtype_is_float(y->dtype) ||
	    is_narrow(y))
		return NULL;
	x = y->def->in[0];
	shift = y->rank - x->rank;
	for (int i = 0; i < y->rank; i++) {
		bool repeated = i < shift || (x->dims[i - shift] == 1 && y->dims[i] != 1);

		if (!axes[i])
			continue;
		if (!dim_const(y->dims[i]))
			return NULL;
		if (repeated)
			times *= y->dims[i];
		else
			left[i - shift] = true;
	}
	if (times == 1)
		return NULL;
	/* the axes summed in x stay as 1, so that the rest still broadcasts */
	for (int i = 0; i < x->rank; i++)
		if (left[i])
			list[k++] = i;
	v = k ? b_reduce(&rw->b, OP_reduce_sum, x, k, list, true) : x;
	v = b_muls(&rw->b, v, (double)times);
	if (!v)
		return NULL;
	/* what was summed has one element along its axis now: drop or keep those */
	int64_t dims[MAX_RANK], count = dims_count(v->rank, v->dims);

	if (count < 0)
		return NULL;
	if (count == dims_count(out->rank, out->dims))
		return b_reshape(&rw->b, v, out->rank, out->dims);
	/* some repeated axis is not summed: shape with the summed axes as 1, then expand */
	for (int i = 0; i < y->rank; i++)
		dims[i] = axes[i] || i < shift ? 1 : v->dims[i - shift];
	v = b_reshape(&rw->b, v, y->rank, dims);
	for (int i = 0; i < y->rank; i++)
		dims[i] = axes[i] ? 1 : y->dims[i];
	v = b_expand(&rw->b, v, y->rank, dims);
	return v && !same_dims(v, out) ? b_reshape(&rw->b, v, out->rank, out->dims) : v;
}

/* spec split in its three parts; false if longer than a rank allows */
struct spec {
	char part[3][MAX_RANK + 1];
};

static bool
spec_split(const char *s, struct spec *out)
{
	for (int k = 0; k < 3; k++) {
		size_t n = strcspn(s, ",-");

		if (n > MAX_RANK)
			return false;
		memcpy(out->part[k], s, n);
		out->part[k][n] = 0;
		s += n;
		s += *s == ',' ? 1 : *s == '-' ? 2 : 0;
	}
	return true;
}

/* Contract n again with another spec, at its own place in the model's file. */
static struct value *
contract_of(struct rewrite *rw, const struct node *n, const struct spec *s, struct value *a,
    struct value *b)
{
	const char *text =
	    arena_printf(rw->g->arena, "%s,%s->%s", s->part[0], s->part[1], s->part[2]);
	struct loc here = rw->b.loc;
	struct value *v;

	rw->b.loc = n->loc;
	v = b_contract(&rw->b, text, a, b);
	rw->b.loc = here;
	return v;
}

/* contract(transpose a, b): other letters */
static struct value *
contract_transposed(struct rewrite *rw, struct node *n)
{
	struct spec s;
	struct value *in[2] = {n->in[0], n->in[1]};
	bool any = false;

	if (!spec_split(attr_string(n, "spec"), &s))
		return NULL;
	for (int k = 0; k < 2; k++) {
		int64_t perm[MAX_RANK];
		char old[MAX_RANK + 1];

		if (!is_node(in[k], OP_transpose))
			continue;
		any = true;
		perm_of(in[k]->def, perm);
		memcpy(old, s.part[k], sizeof old);
		for (int i = 0; i < in[k]->rank; i++)
			s.part[k][perm[i]] = old[i];
		in[k] = in[k]->def->in[0];
	}
	return any ? contract_of(rw, n, &s, in[0], in[1]) : NULL;
}

/* The columns of constant weights, packed once, stay innermost: with rows of the
 * other operand there, that one would be packed in every run. */
static bool
columns_move(const struct node *y, const struct spec *s, char last)
{
	int rank = y->out[0]->rank;
	char was = rank ? s->part[2][rank - 1] : 0;

	for (int k = 0; k < 2 && was != last; k++)
		if (is_constant(y->in[k]) && strchr(s->part[k], was) && !strchr(s->part[k], last))
			return true;
	return false;
}

static struct value *
transpose_contract(struct rewrite *rw, struct node *n)
{
	struct value *y = n->in[0];
	int64_t perm[MAX_RANK];
	char old[MAX_RANK + 1];
	struct spec s;

	if (!is_node(y, OP_contract) || !sole_use(rw, y) ||
	    !spec_split(attr_string(y->def, "spec"), &s))
		return NULL;
	perm_of(n, perm);
	memcpy(old, s.part[2], sizeof old);
	if (y->rank && columns_move(y->def, &s, old[perm[y->rank - 1]]))
		return NULL;
	for (int i = 0; i < y->rank; i++)
		s.part[2][i] = old[perm[i]];
	return contract_of(rw, y->def, &s, y->def->in[0], y->def->in[1]);
}

/* Dropping the axes that a reduction kept as 1, or putting them back. */
static struct value *
reshape_reduce(struct rewrite *rw, struct node *n)
{
	struct value *y = n->in[0], *out = n->out[0], *v;
	bool axes[MAX_RANK];
	int64_t list[MAX_RANK], dims[MAX_RANK];
	int k = 0, r = 0;

	if (y->kind != VAL_NODE || op_info[y->def->op].class != OC_reduce || !sole_use(rw, y) ||
	    y->def->op == OP_argmax || y->def->op == OP_argmin || !reduced_axes(y->def, axes))
		return NULL;
	bool keep = attr_int(y->def, "keep") != 0;
	struct value *x = y->def->in[0];

	for (int i = 0; i < x->rank; i++) {
		if (axes[i])
			list[k++] = i;
		if (!axes[i] || !keep)
			dims[r++] = axes[i] ? 1 : x->dims[i];
	}
	if (k == 0 || !dims_equal(r, dims, out->rank, out->dims))
		return NULL;
	v = b_reduce(&rw->b, y->def->op, x, k, list, !keep);
	return v;
}

const struct simplify_rule simplify_shape[] = {
    {OP_reshape, "reshape(reshape x) = reshape x", reshape_chain},
    {OP_reshape, "reshape(reduce x) = reduce x, axes kept or not", reshape_reduce},
    {OP_transpose, "transpose(transpose x) = transpose x", transpose_chain},
    {OP_transpose, "transpose(contract) = contract with another spec", transpose_contract},
    {OP_expand, "expand(expand x) = expand x", expand_chain},
    {OP_slice, "slice of everything = x", slice_all},
    {OP_slice, "slice(slice x) = slice x", slice_slice},
    {OP_pad, "pad by nothing = x", pad_none},
    {OP_pad, "pad(pad x) = pad x", pad_pad},
    {OP_concat, "concat x = x, concat(concat) = concat", concat_flat},
    {OP_reduce_sum, "sum over axes of 1 = reshape", reduce_ones},
    {OP_reduce_prod, "product over axes of 1 = reshape", reduce_ones},
    {OP_reduce_max, "maximum over axes of 1 = reshape", reduce_ones},
    {OP_reduce_min, "minimum over axes of 1 = reshape", reduce_ones},
    {OP_reduce_sum, "sum(sum x) = sum x", reduce_reduce},
    {OP_reduce_max, "max(max x) = max x", reduce_reduce},
    {OP_reduce_min, "min(min x) = min x", reduce_reduce},
    {OP_reduce_sum, "sum of what is repeated = times", sum_expand},
    {OP_reduce_sum, "sum of all, reshaped = sum of all", reduce_moved},
    {OP_reduce_max, "max of all, reshaped = max of all", reduce_moved},
    {OP_contract, "contract(transpose x) = contract with another spec", contract_transposed},
    {0},
};
