/* ops_ml.h -- what the ai.onnx.ml operators share: attribute lists as constants,
 * rows of features, scores and labels.  Private to ir/ops/ml_*.c. */
#ifndef RETORT_OPS_ML_H
#define RETORT_OPS_ML_H

#include "ir/ops/ops_int.h"

/* ---- ml_features.c */
/* An attribute's floats as a constant of dims whose product is their count; NULL: absent. */
struct value *ml_floats(struct build *, const struct node *, const char *name, enum dtype, int rank,
    const int64_t *dims);
static inline struct value *
ml_const(struct build *b, struct tensor *t)
{
	struct value *v = graph_const(b->g, NULL, t);

	v->loc = b->loc;
	return v;
}
/* The attribute lists at least one number. */
static inline bool
ml_given(const struct node *n, const char *name)
{
	const double *v;

	return attr_floats(n, name, &v) > 0;
}
struct value *ml_vector(struct build *, const struct node *, const char *name, enum dtype);
/* X as [N,F] of type t; a vector is one row.  NULL: reported. */
struct value *ml_rows(struct build *, const struct node *, struct value *x, enum dtype t);

/* ---- ml_linear.c */
/* NONE, SOFTMAX, LOGISTIC, SOFTMAX_ZERO or PROBIT on scores [N,E].  A single score per
 * row only knows PROBIT. */
struct value *ml_transform(struct build *, const struct node *, const char *how, struct value *scores);
/* One score [N,1] of a classifier with two labels as two columns [N,2]: what ONNX
 * Runtime makes of it, which the specification leaves open.  symmetric: -s and s
 * (weights of both signs) instead of 1-s and s. */
struct value *ml_two_columns(struct build *, const struct node *, struct value *score, bool symmetric);
/* The labels of a classifier, i64 or str [E], from whichever attribute is given; NULL: neither. */
struct value *ml_labels(struct build *, const struct node *, const char *ints, const char *strings);
/* labels[i], i: [N] */
struct value *ml_pick(struct build *, struct value *labels, struct value *i);

/* ---- ml_forest.c: tests and leaves in any form of a tree ensemble */
enum tree_mode { LEQ, LT, GTE, GT, EQ, NEQ, MEMBER, LEAF };
/* A reference to a node: >= 0 a test, < 0 leaf ~ref. */
struct tree_test {
	enum tree_mode mode;
	int64_t feature, yes, no;
	double value;
	bool missing;        /* NaN takes yes, as it always does with NEQ */
	int nmember;
	const double *member; /* finite; any order */
};

struct forest {
	struct build *b;
	const struct node *n;
	enum dtype type;     /* of x and the thresholds: f32 or f64 */
	int64_t features, ntest, nleaf, nroot;
	struct tree_test *test;
	int64_t *root;       /* references */
	int64_t nout;
	double *weight;      /* [nleaf, nout] */
};
enum tree_aggregate { AVERAGE, SUM, MIN, MAX };
/* Room for the leaves' weights, none given yet; false: reported. */
bool forest_open(struct forest *);
void forest_weight(struct forest *, enum tree_aggregate, int64_t leaf, int64_t out, double);
/* [N, nout] of f->type: what the trees' leaves say, aggregated.  An output that no
 * leaf of a row has a weight for is 0. */
struct value *forest_scores(struct forest *, struct value *x, enum tree_aggregate);

#endif
