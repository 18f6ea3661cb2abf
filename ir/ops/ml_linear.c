/* ml_linear.c -- ai.onnx.ml: linear models, and how scores become probabilities and
 * labels.  The specification names the transforms only; the formulas are those of
 * ONNX Runtime (core/providers/cpu/ml). */
#include <math.h>

#include "ir/ops/ops_ml.h"

/* ---- post_transform */
/* exp(s - max) / sum over the row */
static struct value *
softmax(struct build *b, struct value *s)
{
	return b_softmax(b, s, 1);
}

static struct value *
logistic(struct build *b, struct value *s)
{
	return b1(b, OP_sigmoid, s);
}

/* Scores of 0 stay 0 and take no part in the sum. */
static struct value *
softmax_zero(struct build *b, struct value *s)
{
	int64_t axis = 1;
	struct value *max = b_reduce(b, OP_reduce_max, s, 1, &axis, true);
	struct value *big = b2(b, OP_lt, b_scalar_like(b, s, 1e-7), b1(b, OP_abs, s)), *e;

	e = b_select(b, big, b_exp(b, b_sub(b, s, max)), b_scalar_like(b, s, 0));
	s = b_select(b, big, e, b_mul(b, s, b_exp(b, b_neg(b, max))));
	return b_div(b, s, b_reduce(b, OP_reduce_sum, e, 1, &axis, true));
}

/* sqrt(2) * erfinv(2s - 1), erfinv by Winitzki's formula:
 * sign(x) * sqrt(sqrt(v^2 - w) - v), v = 2/(pi a) + ln(1-x^2)/2, w = ln(1-x^2)/a, a = 0.147 */
static struct value *
probit(struct build *b, struct value *s)
{
	struct value *x = b_adds(b, b_muls(b, s, 2), -1), *one = b_scalar_like(b, x, 1), *l, *v;

	l = b_log(b, b_mul(b, b_sub(b, one, x), b_adds(b, x, 1)));
	v = b_adds(b, b_muls(b, l, 0.5), 2 / (3.14159 * 0.147));
	v = b_sub(b, b_sqrt(b, b_sub(b, b_mul(b, v, v), b_muls(b, l, 1 / 0.147))), v);
	one = b_select(b, b2(b, OP_lt, x, b_scalar_like(b, x, 0)), b_scalar_like(b, x, -1), one);
	return b_muls(b, b_mul(b, one, b_sqrt(b, v)), 1.41421356);
}

struct value *
ml_transform(struct build *b, const struct node *n, const char *how, struct value *s)
{

	static const struct { const char *name; struct value *(*f)(struct build *, struct value *); } kinds[] = {
	    {"NONE", NULL}, {"SOFTMAX", softmax}, {"LOGISTIC", logistic}, {"SOFTMAX_ZERO", softmax_zero},
	    {"PROBIT", probit}};

	if (!s)
		return NULL;
	for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
		if (strcmp(how, kinds[i].name) == 0)
			return !kinds[i].f || (s->dims[1] == 1 && kinds[i].f != probit) ? s : kinds[i].f(b, s);
	diag_invalid(b->diag, n->loc,
	    "post_transform is \"%s\"; NONE, SOFTMAX, LOGISTIC, SOFTMAX_ZERO or PROBIT is expected", how);
	return NULL;
}

struct value *
ml_two_columns(struct build *b, const struct node *n, struct value *s, bool symmetric)
{
	struct value *other;

	if (strcmp(attr_string(n, "post_transform"), "LOGISTIC") == 0) {
		other = b1(b, OP_sigmoid, b_neg(b, s));
		s = b1(b, OP_sigmoid, s);
	} else
		other = symmetric ? b_neg(b, s) : b_sub(b, b_scalar_like(b, s, 1), s);
	s = b_concat(b, 2, (struct value *[]){other, s}, 1);
	return s && strcmp(attr_string(n, "post_transform"), "PROBIT") == 0 ? probit(b, s) : s;
}

/* ---- labels */
struct value *
ml_labels(struct build *b, const struct node *n, const char *ints, const char *strings)
{
	const struct attr *a = attr_find(n, strings);
	struct tensor *t;
	const int64_t *v;
	int k = attr_ints(n, ints, &v);

	if (k)
		return b_ints(b, k, v);
	if (!a || a->n < 1)
		return NULL;
	t = tensor_new(b->g->arena, DT_str, 1, &(int64_t){a->n});
	for (int i = 0; i < a->n; i++)
		((const char **)t->data)[i] = arena_strdup(b->g->arena, a->strings[i]);
	return ml_const(b, t);
}

struct value *
ml_pick(struct build *b, struct value *labels, struct value *i)
{
	return labels && i ? b_gather(b, labels, i, 0) : NULL;
}

/* ---- the models */
/* X [N,F] times coefficients [E,F] plus intercepts [E] */
static struct value *
scores(struct build *b, const struct node *n, int64_t outputs)
{
	struct value *x = ml_rows(b, n, n->in[0], DT_f32), *w, *y;

	if (!x)
		return NULL;
	if (!dim_const(x->dims[1])) {
		diag_unsupported(b->diag, n->loc, "a symbolic number of features");
		return NULL;
	}
	if (!ml_given(n, "coefficients")) {
		diag_invalid(b->diag, n->loc, "attribute \"coefficients\" is empty");
		return NULL;
	}
	w = ml_floats(b, n, "coefficients", DT_f32, 2, (int64_t[]){outputs, x->dims[1]});
	y = b_contract(b, "nf,ef->ne", x, w);
	if (ml_given(n, "intercepts"))
		y = b_add(b, y, ml_floats(b, n, "intercepts", DT_f32, 1, &outputs));
	return y;
}

bool
expand_LinearRegressor(struct build *b, const struct node *n, struct value **outs)
{
	int64_t targets = attr_int(n, "targets");

	if (targets < 1)
		return diag_invalid(b->diag, n->loc, "targets is %lld", (long long)targets);
	return (outs[0] = ml_transform(b, n, attr_string(n, "post_transform"), scores(b, n, targets))) != NULL;
}

/* The class with the largest score; a single score says whether the second class is meant. */
bool
expand_LinearClassifier(struct build *b, const struct node *n, struct value **outs)
{
	const double *v;
	int k = attr_floats(n, "intercepts", &v);
	struct value *labels = ml_labels(b, n, "classlabels_ints", "classlabels_strings"), *s, *at;
	struct attr a = attr_of_int("axis", 1);
	bool two;

	if (!labels)
		return diag_invalid(b->diag, n->loc, "neither classlabels_ints nor classlabels_strings is given");
	if (!k)
		k = (int)labels->dims[0];
	two = k == 1 && labels->dims[0] == 2;
	if (!two && k != labels->dims[0])
		return diag_invalid(b->diag, n->loc, "%d intercepts for %lld classes", k, (long long)labels->dims[0]);
	if (!(s = scores(b, n, k)))
		return false;
	if (two)
		at = b_cast(b, b2(b, OP_lt, b_scalar_like(b, s, 0), b_reshape(b, s, 1, s->dims)), DT_i64);
	else
		at = b_op(b, OP_argmax, 1, &s, 1, &a);
	outs[0] = ml_pick(b, labels, at);
	if (ops_wants(n, 1))
		outs[1] = two ? ml_two_columns(b, n, s, false) : ml_transform(b, n, attr_string(n, "post_transform"), s);
	return outs[0] && (!ops_wants(n, 1) || outs[1]);
}
