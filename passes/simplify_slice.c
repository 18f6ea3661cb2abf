/* simplify_slice -- a slice moves up to where its elements come from, so that what
 * nobody reads is not computed: a classifier on the first token leaves one row of
 * the last layer.  What is sliced must have no other reader (readers that take the
 * same slice are one after CSE, which runs between the sweeps), or only slices of
 * parts that end in weights: one matrix for query, key and value becomes three. */
#include "passes/simplify.h"

#include <string.h>

struct cut {
	int rank;
	int64_t start[MAX_RANK], count[MAX_RANK], step[MAX_RANK];
};

static bool
cut_of(const struct node *n, struct cut *c)
{
	const int64_t *start, *step;
	struct value *x = n->in[0];

	c->rank = x->rank;
	if (attr_ints(n, "start", &start) != x->rank || attr_ints(n, "step", &step) != x->rank)
		return false;
	for (int i = 0; i < x->rank; i++) {
		c->start[i] = start[i];
		c->step[i] = step[i];
		c->count[i] = n->out[0]->dims[i];
		if (!dim_const(x->dims[i]) || !dim_const(c->count[i]) || c->count[i] == 0)
			return false; /* of nothing, axes of size 1 would not shrink with it */
	}
	return true;
}

static bool
whole(const struct cut *c, const struct value *v, int axis)
{
	return c->start[axis] == 0 && c->step[axis] == 1 && c->count[axis] == v->dims[axis];
}

static struct value *
sliced(struct rewrite *rw, struct value *v, const struct cut *c)
{
	for (int i = 0; i < v->rank; i++)
		if (!whole(c, v, i))
			return b_slice(&rw->b, v, c->start, c->count, c->step);
	return v;
}

/* n at its own place, with other operands */
static struct value *
again(struct rewrite *rw, const struct node *n, struct value **in)
{
	struct loc here = rw->b.loc;
	struct value *v;

	rw->b.loc = n->loc;
	v = b_op(&rw->b, n->op, n->nin, in, n->nattr, n->attr);
	rw->b.loc = here;
	return v;
}

static struct value *
through_map(struct rewrite *rw, struct node *y, const struct cut *c)
{
	struct value *in[3];

	if (y->nin > 3)
		return NULL;
	for (int k = 0; k < y->nin; k++) {
		struct value *x = y->in[k];
		struct cut own = {.rank = x->rank};

		for (int i = 0; i < x->rank; i++) {
			int a = i + c->rank - x->rank;
			bool repeated = x->dims[i] == 1;

			own.start[i] = repeated ? 0 : c->start[a];
			own.count[i] = repeated ? 1 : c->count[a];
			own.step[i] = repeated ? 1 : c->step[a];
		}
		in[k] = sliced(rw, x, &own);
		if (!in[k])
			return NULL;
	}
	return again(rw, y, in);
}

/* The cut of a transpose's operand that makes cut c of its result. */
static void
cut_transposed(const struct node *y, const struct cut *c, struct cut *own, int64_t *perm)
{
	const int64_t *given;
	int n = attr_ints(y, "perm", &given);

	own->rank = c->rank;
	for (int i = 0; i < c->rank; i++) {
		perm[i] = n == c->rank ? given[i] : c->rank - 1 - i;
		own->start[perm[i]] = c->start[i];
		own->count[perm[i]] = c->count[i];
		own->step[perm[i]] = c->step[i];
	}
}

static struct value *
through_transpose(struct rewrite *rw, struct node *y, const struct cut *c)
{
	int64_t perm[MAX_RANK];
	struct cut own;
	struct value *v;

	cut_transposed(y, c, &own, perm);
	v = sliced(rw, y->in[0], &own);
	return v ? b_transpose(&rw->b, v, perm) : NULL;
}

/* Likewise of a reshape: an axis of the result must be one of the operand, or the
 * leading digit of one (n of 3*n), with nothing else taken from that one. */
static bool
cut_reshaped(const struct node *y, const struct cut *c, struct cut *own)
{
	const struct value *x = y->in[0], *out = y->out[0];
	int64_t inner = 1;

	*own = (struct cut){.rank = x->rank};
	for (int j = 0; j < x->rank; j++) {
		if (!dim_const(x->dims[j]))
			return false;
		own->count[j] = x->dims[j];
		own->step[j] = 1;
	}
	for (int i = out->rank - 1; i >= 0; inner *= out->dims[i--]) {
		int64_t inside = 1, times;
		int j = x->rank - 1;

		if (whole(c, out, i))
			continue;
		while (j >= 0 && inside * x->dims[j] <= inner)
			inside *= x->dims[j--];
		if (j < 0 || inner % inside || x->dims[j] * inside != out->dims[i] * inner || !whole(own, x, j))
			return false;
		times = inner / inside;
		if (times > 1 && c->step[i] != 1)
			return false;
		own->start[j] = c->start[i] * times;
		own->count[j] = c->count[i] * times;
		own->step[j] = c->step[i];
	}
	return true;
}

static struct value *
through_reshape(struct rewrite *rw, struct node *y, const struct cut *c)
{
	struct value *v;
	struct cut own;

	if (!cut_reshaped(y, c, &own))
		return NULL;
	v = sliced(rw, y->in[0], &own);
	return v ? b_reshape(&rw->b, v, c->rank, c->count) : NULL;
}

static struct value *
through_reduce(struct rewrite *rw, struct node *y, const struct cut *c)
{
	struct value *x = y->in[0];
	struct cut own = {.rank = x->rank};
	const int64_t *axes;
	bool gone[MAX_RANK] = {0}, keep;
	int k = 0, n;

	if (y->op == OP_argmax || y->op == OP_argmin || !attr_has(y, "axes"))
		return NULL;
	keep = attr_int(y, "keep") != 0;
	n = attr_ints(y, "axes", &axes);
	for (int i = 0; i < n; i++)
		gone[axes[i] < 0 ? axes[i] + x->rank : axes[i]] = true;
	for (int i = 0; i < x->rank; i++) {
		own.start[i] = gone[i] ? 0 : c->start[k];
		own.count[i] = gone[i] ? x->dims[i] : c->count[k];
		own.step[i] = gone[i] ? 1 : c->step[k];
		k += !gone[i] || keep;
	}
	x = sliced(rw, x, &own);
	return x ? again(rw, y, &x) : NULL;
}

static struct value *
through_contract(struct rewrite *rw, struct node *y, const struct cut *c)
{
	const char *spec = attr_string(y, "spec"), *out = strchr(spec, '>') + 1;
	struct value *in[2];

	for (int k = 0; k < 2; k++) {
		const char *own = k ? strchr(spec, ',') + 1 : spec;
		struct value *x = y->in[k];
		struct cut cut = {.rank = x->rank};

		for (int i = 0; i < x->rank; i++) {
			const char *at = strchr(out, own[i]);

			if (!dim_const(x->dims[i]))
				return NULL;
			cut.start[i] = at ? c->start[at - out] : 0;
			cut.count[i] = at ? c->count[at - out] : x->dims[i];
			cut.step[i] = at ? c->step[at - out] : 1;
		}
		in[k] = sliced(rw, x, &cut);
		if (!in[k])
			return NULL;
	}
	return again(rw, y, in);
}

/* A row that stays whole until it is differentiated: its results along the axes before
 * `axis` do not depend on each other. */
static struct value *
through_rows(struct rewrite *rw, struct node *y, const struct cut *c)
{
	struct value *in[3] = {0}, *x = y->in[0];
	int64_t axis = attr_int(y, "axis");
	int last = y->op == OP_LayerNormalization ? x->rank : 0;

	axis += axis < 0 ? x->rank : 0;
	for (int i = (int)axis; i < (last ? last : (int)axis + 1); i++)
		if (!whole(c, x, i))
			return NULL;
	for (int k = 0; k < y->nin; k++)
		in[k] = y->in[k];
	in[0] = sliced(rw, x, c);
	return in[0] ? again(rw, y, in) : NULL;
}

/* Outputs at an edge that nobody reads: less padding there.  Channels: fewer rows of weights. */
static struct value *
through_conv(struct rewrite *rw, struct node *y, const struct cut *c)
{
	struct value *in[2] = {y->in[0], y->in[1]}, *x = in[0];
	int64_t pads[2 * MAX_RANK];
	const int64_t *stride, *dilation, *old;
	int sp = x->rank - 2, ns = attr_ints(y, "strides", &stride), nd = attr_ints(y, "dilations", &dilation);
	int np = attr_ints(y, "pads", &old);
	struct cut images = {.rank = x->rank}, rows = {.rank = x->rank};

	for (int i = 0; i < x->rank; i++) {
		if (!dim_const(x->dims[i]) || !dim_const(in[1]->dims[i]))
			return NULL;
		images.count[i] = x->dims[i];
		rows.count[i] = in[1]->dims[i];
		images.step[i] = rows.step[i] = 1;
	}
	for (int d = 0; d < sp; d++) {
		int64_t s = ns ? stride[d] : 1, reach = (nd ? dilation[d] : 1) * (in[1]->dims[d + 2] - 1);
		int64_t last = (c->start[d + 2] + c->count[d + 2] - 1) * s + reach; /* read, from the first of the padding */

		pads[d] = (np ? old[d] : 0) - c->start[d + 2] * s;
		pads[sp + d] = last - (np ? old[d] : 0) - (x->dims[d + 2] - 1);
		if (c->step[d + 2] != 1 || pads[d] < 0 || pads[sp + d] < 0)
			return NULL;
	}
	if (!whole(c, y->out[0], 1) && attr_int(y, "group") != 1)
		return NULL;
	images.start[0] = c->start[0];
	images.count[0] = c->count[0];
	images.step[0] = c->step[0];
	rows.start[0] = c->start[1];
	rows.count[0] = c->count[1];
	rows.step[0] = c->step[1];
	in[0] = sliced(rw, x, &images);
	in[1] = sliced(rw, in[1], &rows);
	return in[0] && in[1] ? with_pads(rw, y, in, 2 * sp, pads) : NULL;
}

/* y is read by slices only, which do not overlap much. */
static bool
in_parts(struct rewrite *rw, const struct value *y)
{
	const struct simplify *s = rw->ctx;

	return y->id < s->size && s->taken[y->id].slices == s->uses[y->id] &&
	       s->taken[y->id].elems <= dims_count(y->rank, y->dims);
}

/* Whether cut c of a contraction takes nothing from an operand that is not constant:
 * the steps of a sequence are rows of one product, columns are a constant's. */
static bool
cuts_constants(const struct node *y, const struct cut *c)
{
	const char *spec = attr_string(y, "spec"), *out = strchr(spec, '>') + 1;

	for (int k = 0; k < 2; k++) {
		const char *own = k ? strchr(spec, ',') + 1 : spec;

		for (int i = 0; i < y->in[k]->rank && !is_constant(y->in[k]); i++) {
			const char *at = strchr(out, own[i]);

			if (at && !whole(c, y->out[0], (int)(at - out)))
				return false;
		}
	}
	return true;
}

/* What maps with constants, transposes and reshapes made of a contraction with a
 * constant, so that cut c of it can be taken from that constant. */
static bool
from_weights(struct rewrite *rw, struct value *y, struct cut c)
{
	for (bool first = true; y->kind == VAL_NODE; first = false) {
		struct node *n = y->def;
		struct cut own = c;
		int64_t perm[MAX_RANK];

		if (!first && !sole_use(rw, y) && !in_parts(rw, y))
			return false;
		if (n->op == OP_contract)
			return cuts_constants(n, &c);
		if (n->op == OP_transpose) {
			cut_transposed(n, &c, &own, perm);
		} else if (n->op == OP_reshape) {
			if (!cut_reshaped(n, &c, &own))
				return false;
		} else if (op_info[n->op].class != OC_map || n->nin > 3) {
			return false;
		}
		struct value *x = NULL;
		for (int k = 0; k < n->nin; k++) {
			if (is_constant(n->in[k]))
				continue;
			if (x)
				return false;
			x = n->in[k];
		}
		if (!x || (op_info[n->op].class == OC_map && !same_dims(x, y)))
			return false;
		y = x;
		c = own;
	}
	return false;
}

static struct value *
slice_early(struct rewrite *rw, struct node *n)
{
	struct value *y = n->in[0];
	struct cut c;

	if (y->kind != VAL_NODE || !cut_of(n, &c))
		return NULL;
	if (!sole_use(rw, y) && !(in_parts(rw, y) && from_weights(rw, y, c)))
		return NULL;
	if (y->def->op == OP_contract)
		return through_contract(rw, y->def, &c);
	if (op_info[y->def->op].class == OC_map || y->def->op == OP_Relu)
		return through_map(rw, y->def, &c);
	if (y->def->op == OP_Softmax || y->def->op == OP_LogSoftmax || y->def->op == OP_LayerNormalization)
		return y->def->nout == 1 ? through_rows(rw, y->def, &c) : NULL;
	if (op_info[y->def->op].class == OC_reduce)
		return through_reduce(rw, y->def, &c);
	if (y->def->op == OP_conv)
		return through_conv(rw, y->def, &c);
	if (y->def->op == OP_transpose)
		return through_transpose(rw, y->def, &c);
	if (y->def->op == OP_reshape)
		return through_reshape(rw, y->def, &c);
	return NULL;
}

/* A constant index that counts up by a constant step is a slice. */
static struct value *
gather_slice(struct rewrite *rw, struct node *n)
{
	struct value *x = n->in[0], *index = n->in[1], *v;
	int64_t axis = attr_int(n, "axis"), start[MAX_RANK] = {0}, count[MAX_RANK], step[MAX_RANK];
	int64_t *i, k = 0, by = 1;

	if (index->kind != VAL_CONST || x->kind == VAL_CONST)
		return NULL;
	axis += axis < 0 ? x->rank : 0;
	int64_t size = x->dims[axis], n_index = dims_count(index->rank, index->dims);

	if (!dim_const(size) || n_index < 1 || n_index > 65536)
		return NULL;
	i = arena_array(rw->g->arena, int64_t, n_index);
	for (; k < n_index; k++) {
		i[k] = dtype_get_i(index->dtype, index->data->data, k);
		i[k] += i[k] < 0 ? size : 0;
		if (i[k] < 0 || i[k] >= size)
			return NULL;
		if (k == 1)
			by = i[1] - i[0];
		if (k > 0 && (by == 0 || i[k] - i[k - 1] != by))
			return NULL;
	}
	for (int d = 0; d < x->rank; d++) {
		count[d] = x->dims[d];
		step[d] = 1;
	}
	start[axis] = i[0];
	count[axis] = n_index;
	step[axis] = by;
	v = b_slice(&rw->b, x, start, count, step);
	return v ? b_reshape(&rw->b, v, n->out[0]->rank, n->out[0]->dims) : NULL;
}

const struct simplify_rule simplify_slice[] = {
    {OP_gather, "gather at known, evenly spaced places = slice", gather_slice},
    {OP_slice, "slice(f x) = f(slice x)", slice_early},
    {0},
};
