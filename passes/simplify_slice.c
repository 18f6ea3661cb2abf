/* simplify_slice -- a slice moves up to where its elements come from, so that what
 * nobody reads is not computed: a classifier on the first token leaves one row of
 * the last layer.  What is sliced must have no other reader; readers that take the
 * same slice are one after CSE, which runs between the sweeps. */
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

static struct value *
through_transpose(struct rewrite *rw, struct node *y, const struct cut *c)
{
	const int64_t *given;
	int64_t perm[MAX_RANK];
	struct value *x = y->in[0], *v;
	struct cut own = {.rank = x->rank};
	int n = attr_ints(y, "perm", &given);

	for (int i = 0; i < x->rank; i++) {
		perm[i] = n == x->rank ? given[i] : x->rank - 1 - i;
		own.start[perm[i]] = c->start[i];
		own.count[perm[i]] = c->count[i];
		own.step[perm[i]] = c->step[i];
	}
	v = sliced(rw, x, &own);
	return v ? b_transpose(&rw->b, v, perm) : NULL;
}

/* An axis of the result is one of the operand if it has its extent and as many
 * elements inside it. */
static struct value *
through_reshape(struct rewrite *rw, struct node *y, const struct cut *c)
{
	struct value *x = y->in[0], *out = y->out[0], *v;
	struct cut own = {.rank = x->rank};
	int64_t inner = 1;

	for (int j = 0; j < x->rank; j++) {
		if (!dim_const(x->dims[j]))
			return NULL;
		own.count[j] = x->dims[j];
		own.step[j] = 1;
	}
	for (int i = out->rank - 1; i >= 0; inner *= out->dims[i--]) {
		int64_t inside = 1;
		int j = x->rank - 1;

		if (whole(c, out, i))
			continue;
		for (; j >= 0 && (inside != inner || x->dims[j] != out->dims[i]); j--)
			inside *= x->dims[j];
		if (j < 0)
			return NULL;
		own.start[j] = c->start[i];
		own.count[j] = c->count[i];
		own.step[j] = c->step[i];
	}
	v = sliced(rw, x, &own);
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

/* A contraction whose result is only taken in parts that do not overlap much. */
static bool
parted(struct rewrite *rw, const struct value *y, const struct value *part)
{
	const struct simplify *s = rw->ctx;
	int64_t all = dims_count(y->rank, y->dims), n = dims_count(part->rank, part->dims);

	return y->id < s->size && all > 0 && n > 0 && s->uses[y->id] > 0 &&
	       s->uses[y->id] <= all / n &&
	       (is_constant(y->def->in[0]) || is_constant(y->def->in[1]));
}

static struct value *
slice_early(struct rewrite *rw, struct node *n)
{
	struct value *y = n->in[0];
	struct cut c;

	if (y->kind != VAL_NODE || !cut_of(n, &c))
		return NULL;
	if (y->def->op == OP_contract && (sole_use(rw, y) || parted(rw, y, n->out[0])))
		return through_contract(rw, y->def, &c);
	if (!sole_use(rw, y))
		return NULL;
	if (op_info[y->def->op].class == OC_map)
		return through_map(rw, y->def, &c);
	if (op_info[y->def->op].class == OC_reduce)
		return through_reduce(rw, y->def, &c);
	if (y->def->op == OP_transpose)
		return through_transpose(rw, y->def, &c);
	if (y->def->op == OP_reshape)
		return through_reshape(rw, y->def, &c);
	return NULL;
}

const struct simplify_rule simplify_slice[] = {
    {OP_slice, "slice(f x) = f(slice x)", slice_early},
    {0},
};
