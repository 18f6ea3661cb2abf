/* ml_svm.c -- ai.onnx.ml: support vector machines.  K(x, s) by kernel_type with
 * gamma, coef0, degree = kernel_params:
 *   LINEAR x.s   POLY (gamma x.s + coef0)^degree   RBF exp(-gamma |x-s|^2)
 *   SIGMOID tanh(gamma x.s + coef0)
 * The classifier is libsvm's: one decision per pair of classes, votes, and Wu, Lin and
 * Weng's second method (JMLR 5, 2004) for probabilities. */
#include <math.h>

#include "ir/ops/ops_ml.h"

enum { MAX_CLASSES = 64, STEPS = 30 };

static int
count_of(const struct node *n, const char *name)
{
	const double *v;

	return attr_floats(n, name, &v);
}

/* x [N,F] against s [V,F]: [N,V]; linear where `plain` */
static struct value *
kernel(struct build *b, const struct node *n, struct value *x, struct value *s, bool plain)
{
	const char *type = attr_string(n, "kernel_type");
	const double *p;
	int k = attr_floats(n, "kernel_params", &p);
	double gamma = k > 0 ? p[0] : 0, coef0 = k > 1 ? p[1] : 0, degree = k > 2 ? p[2] : 0;
	int64_t axis = 2;
	struct value *y;

	if (strcmp(type, "RBF") == 0 && !plain) {
		y = b_sub(b, b_unsqueeze(b, x, 1), s);
		y = b_reduce(b, OP_reduce_sum, b_mul(b, y, y), 1, &axis, false);
		return b_exp(b, b_muls(b, y, -gamma));
	}
	y = b_contract(b, "nf,vf->nv", x, s);
	if (plain || strcmp(type, "LINEAR") == 0)
		return y;
	y = b_adds(b, b_muls(b, y, gamma), coef0);
	if (strcmp(type, "SIGMOID") == 0)
		return b1(b, OP_tanh, y);
	if (strcmp(type, "POLY") == 0)
		return y ? b2(b, OP_pow, y, b_scalar_like(b, y, degree)) : NULL;
	diag_invalid(b->diag, n->loc, "kernel_type is \"%s\"; LINEAR, POLY, RBF or SIGMOID is expected", type);
	return NULL;
}

/* X as rows with a known number of features */
static struct value *
features(struct build *b, const struct node *n)
{
	struct value *x = ml_rows(b, n, n->in[0], DT_f32);

	if (x && !dim_const(x->dims[1])) {
		diag_unsupported(b->diag, n->loc, "a symbolic number of features");
		return NULL;
	}
	return x;
}

static struct value *
given(struct build *b, const struct node *n, const char *name, int64_t rows, int64_t columns)
{
	if (!ml_given(n, name)) {
		diag_invalid(b->diag, n->loc, "attribute \"%s\" is missing", name);
		return NULL;
	}
	return ml_floats(b, n, name, DT_f32, columns < 0 ? 1 : 2, (int64_t[]){rows, columns});
}

/* sum of coefficient * K(x, vector) + rho; one_class: its sign */
bool
expand_SVMRegressor(struct build *b, const struct node *n, struct value **outs)
{
	int64_t vectors = attr_int(n, "n_supports");
	struct value *x = features(b, n), *k, *rho = given(b, n, "rho", count_of(n, "rho"), -1), *y;

	if (!x || !rho)
		return false;
	if (vectors > 0) {
		k = kernel(b, n, x, given(b, n, "support_vectors", vectors, x->dims[1]), false);
		y = b_contract(b, "nv,ev->ne", k, given(b, n, "coefficients", 1, vectors));
	} else {
		y = kernel(b, n, x, given(b, n, "coefficients", 1, x->dims[1]), true);
	}
	y = b_add(b, y, b_slice(b, rho, (int64_t[]){0}, (int64_t[]){1}, (int64_t[]){1}));
	if (y && attr_int(n, "one_class"))
		y = b_select(b, b2(b, OP_lt, b_scalar_like(b, y, 0), y), b_scalar_like(b, y, 1), b_scalar_like(b, y, -1));
	return (outs[0] = ml_transform(b, n, attr_string(n, "post_transform"), y)) != NULL;
}

/* ---- the classifier */
struct svc {
	struct build *b;
	const struct node *n;
	int classes, pairs, vectors;
	int start[MAX_CLASSES + 1];
};

static struct value *
column(struct build *b, struct value *x, int64_t i)
{
	return x ? b_slice(b, x, (int64_t[]){0, i}, (int64_t[]){x->dims[0], 1}, (int64_t[]){1, 1}) : NULL;
}

/* Decisions [N,pairs] of classes i < j: > 0 for i.  Row j-1 of the coefficients holds
 * those of class i's vectors, row i those of class j's: one matrix [pairs,vectors]. */
static struct value *
decisions(const struct svc *s, struct value *x)
{
	struct build *b = s->b;
	struct tensor *t = tensor_new(b->g->arena, DT_f32, 2, (int64_t[]){s->pairs, s->vectors});
	struct value *c, *k;
	const double *coef;
	int64_t pair = 0;

	attr_floats(s->n, "coefficients", &coef);
	for (int i = 0; i < s->classes; i++)
		for (int j = i + 1; j < s->classes; j++, pair++) {
			for (int v = s->start[i]; v < s->start[i + 1]; v++)
				dtype_put_f(DT_f32, t->data, pair * s->vectors + v, coef[(j - 1) * s->vectors + v]);
			for (int v = s->start[j]; v < s->start[j + 1]; v++)
				dtype_put_f(DT_f32, t->data, pair * s->vectors + v, coef[i * s->vectors + v]);
		}
	c = ml_const(b, t);
	k = kernel(b, s->n, x, given(b, s->n, "support_vectors", s->vectors, x->dims[1]), false);
	return b_add(b, b_contract(b, "nv,pv->np", k, c), given(b, s->n, "rho", s->pairs, -1));
}

/* The class with the most votes, the first of several: i64 [N]. */
static struct value *
voted(const struct svc *s, struct value *d)
{
	struct build *b = s->b;
	struct value *won = b_cast(b, b2(b, OP_lt, b_scalar_like(b, d, 0), d), DT_f32), *lost, *votes;
	struct tensor *t[2];
	struct attr a = attr_of_int("axis", 1);
	int64_t pair = 0;

	for (int side = 0; side < 2; side++) { /* [pairs,classes]: who gets the vote */
		t[side] = tensor_new(b->g->arena, DT_f32, 2, (int64_t[]){s->pairs, s->classes});
		pair = 0;
		for (int i = 0; i < s->classes; i++)
			for (int j = i + 1; j < s->classes; j++, pair++)
				dtype_put_f(DT_f32, t[side]->data, pair * s->classes + (side ? j : i), 1);
	}
	lost = b_sub(b, b_scalar_like(b, d, 1), won);
	votes = b_add(b, b_contract(b, "np,pc->nc", won, ml_const(b, t[0])),
	    b_contract(b, "np,pc->nc", lost, ml_const(b, t[1])));
	return votes ? b_op(b, OP_argmax, 1, &votes, 1, &a) : NULL;
}

/* p [N,classes] that minimises sum (r_ji p_i - r_ij p_j)^2 with r_ij the probability of i
 * against j: coordinate by coordinate, each row until its error is below 0.005/classes. */
static struct value *
coupled(const struct svc *s, struct value *r[MAX_CLASSES][MAX_CLASSES])
{
	struct build *b = s->b;
	struct value *q[MAX_CLASSES][MAX_CLASSES] = {{NULL}}, *p[MAX_CLASSES], *qp[MAX_CLASSES], *pqp, *err, *go = NULL;
	int k = s->classes;

	for (int i = 0; i < k; i++) {
		for (int j = 0; j < k; j++) {
			if (j == i)
				continue;
			q[i][i] = q[i][i] ? b_add(b, q[i][i], b_mul(b, r[j][i], r[j][i])) : b_mul(b, r[j][i], r[j][i]);
			q[i][j] = b_neg(b, b_mul(b, r[j][i], r[i][j]));
		}
		p[i] = q[i][i] ? b_expand(b, b_scalar_like(b, q[i][i], 1.0 / k), 2, q[i][i]->dims) : NULL;
	}
	for (int step = 0; step < STEPS; step++) {
		pqp = err = NULL;
		for (int i = 0; i < k; i++) {
			qp[i] = NULL;
			for (int j = 0; j < k; j++)
				qp[i] = qp[i] ? b_add(b, qp[i], b_mul(b, q[i][j], p[j])) : b_mul(b, q[i][j], p[j]);
			pqp = pqp ? b_add(b, pqp, b_mul(b, p[i], qp[i])) : b_mul(b, p[i], qp[i]);
		}
		for (int i = 0; i < k; i++) {
			struct value *e = b1(b, OP_abs, b_sub(b, qp[i], pqp));

			err = err ? b_max(b, err, e) : e;
		}
		if (!err)
			return NULL;
		err = b2(b, OP_le, b_scalar_like(b, err, 0.005 / k), err);
		go = go ? b2(b, OP_and, go, err) : err;
		for (int t = 0; t < k; t++) {
			struct value *diff = b_div(b, b_sub(b, pqp, qp[t]), q[t][t]), *one, *to;

			if (!diff || !go)
				return NULL;
			diff = b_select(b, go, diff, b_scalar_like(b, diff, 0));
			one = b_adds(b, diff, 1);
			to = b_add(b, b_mul(b, diff, q[t][t]), b_muls(b, qp[t], 2));
			pqp = b_div(b, b_div(b, b_add(b, pqp, b_mul(b, diff, to)), one), one);
			p[t] = b_add(b, p[t], diff);
			for (int j = 0; j < k; j++) {
				qp[j] = b_div(b, b_add(b, qp[j], b_mul(b, diff, q[t][j])), one);
				p[j] = b_div(b, p[j], one);
			}
		}
	}
	return b_concat(b, k, p, 1);
}

/* probabilities [N,classes] of the decisions: r_ij = 1/(1 + exp(a d + b)) within 1e-7 of 0 and 1 */
static struct value *
probabilities(const struct svc *s, struct value *d)
{
	struct build *b = s->b;
	struct value *r[MAX_CLASSES][MAX_CLASSES] = {{NULL}}, *z;
	int64_t pair = 0;

	z = b_add(b, b_mul(b, d, given(b, s->n, "prob_a", s->pairs, -1)), given(b, s->n, "prob_b", s->pairs, -1));
	z = b1(b, OP_sigmoid, b_neg(b, z));
	if (!z)
		return NULL;
	z = b_min(b, b_max(b, z, b_scalar_like(b, z, 1e-7)), b_scalar_like(b, z, 1 - 1e-7));
	for (int i = 0; i < s->classes; i++)
		for (int j = i + 1; j < s->classes; j++, pair++) {
			r[i][j] = column(b, z, pair);
			r[j][i] = r[i][j] ? b_sub(b, b_scalar_like(b, z, 1), r[i][j]) : NULL;
		}
	return coupled(s, r);
}

/* Without support vectors: a linear score per class. */
static bool
linear(struct build *b, const struct node *n, struct value *labels, struct value **outs)
{
	struct value *x = features(b, n), *y, *rho = given(b, n, "rho", count_of(n, "rho"), -1);
	struct attr a = attr_of_int("axis", 1);

	if (!x || !rho)
		return false;
	y = kernel(b, n, x, given(b, n, "coefficients", labels->dims[0], x->dims[1]), true);
	y = b_add(b, y, b_slice(b, rho, (int64_t[]){0}, (int64_t[]){1}, (int64_t[]){1}));
	outs[0] = ml_pick(b, labels, y ? b_op(b, OP_argmax, 1, &y, 1, &a) : NULL);
	if (ops_wants(n, 1))
		outs[1] = ml_transform(b, n, attr_string(n, "post_transform"), y);
	return outs[0] && (!ops_wants(n, 1) || outs[1]);
}

bool
expand_SVMClassifier(struct build *b, const struct node *n, struct value **outs)
{
	struct value *labels = ml_labels(b, n, "classlabels_ints", "classlabels_strings"), *x, *d;
	const char *post = attr_string(n, "post_transform");
	struct svc s = {.b = b, .n = n};
	const int64_t *per;

	s.classes = attr_ints(n, "vectors_per_class", &per);
	if (!labels)
		return diag_invalid(b->diag, n->loc, "neither classlabels_ints nor classlabels_strings is given");
	if (!s.classes)
		return linear(b, n, labels, outs);
	if (s.classes > MAX_CLASSES)
		return diag_unsupported(b->diag, n->loc, "%d classes; at most %d", s.classes, MAX_CLASSES);
	for (int i = 0; i < s.classes; i++) {
		if (per[i] < 0 || per[i] > INT32_MAX - s.start[i])
			return diag_invalid(b->diag, n->loc, "vectors_per_class holds %lld", (long long)per[i]);
		s.start[i + 1] = s.start[i] + (int)per[i];
	}
	s.vectors = s.start[s.classes];
	s.pairs = s.classes * (s.classes - 1) / 2;
	if (s.classes < 2 || labels->dims[0] != s.classes || s.vectors < 1 ||
	    (int64_t)count_of(n, "coefficients") != (int64_t)(s.classes - 1) * s.vectors)
		return diag_invalid(b->diag, n->loc, "%lld labels, %d classes, %d vectors, %d coefficients",
		    (long long)labels->dims[0], s.classes, s.vectors, count_of(n, "coefficients"));
	if (!(x = features(b, n)) || !(d = decisions(&s, x)) || !(outs[0] = ml_pick(b, labels, voted(&s, d))))
		return false;
	if (!ops_wants(n, 1))
		return true;
	if (ml_given(n, "prob_a"))
		outs[1] = ml_transform(b, n, post, probabilities(&s, d));
	else if (s.classes == 2)
		outs[1] = ml_two_columns(b, n, d, strcmp(post, "NONE") == 0);
	else
		outs[1] = ml_transform(b, n, post, d);
	return outs[1] != NULL;
}
