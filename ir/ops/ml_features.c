/* ml_features.c -- ai.onnx.ml: columns of features scaled, encoded, filled, gathered. */
#include <math.h>

#include "ir/ops/ops_ml.h"

struct value *
ml_floats(struct build *b, const struct node *n, const char *name, enum dtype t, int rank,
    const int64_t *dims)
{
	const double *v;
	int k = attr_floats(n, name, &v);
	struct tensor *to;

	if (!k)
		return NULL;
	if (dims_count(rank, dims) != k) {
		diag_invalid(b->diag, n->loc, "attribute \"%s\" has %d numbers, %s are expected", name, k,
		    ops_dims_text(b->g, rank, dims));
		return NULL;
	}
	to = tensor_new(b->g->arena, t, rank, dims);
	for (int i = 0; i < k; i++)
		dtype_put_f(t, to->data, i, v[i]);
	return ml_const(b, to);
}

struct value *
ml_vector(struct build *b, const struct node *n, const char *name, enum dtype t)
{
	const double *v;

	return ml_floats(b, n, name, t, 1, &(int64_t){attr_floats(n, name, &v)});
}

struct value *
ml_rows(struct build *b, const struct node *n, struct value *x, enum dtype t)
{
	if (x->rank != 1 && x->rank != 2) {
		diag_invalid(b->diag, n->loc, "input %s; [N,F] or [F] is expected",
		    ops_dims_text(b->g, x->rank, x->dims));
		return NULL;
	}
	x = b_cast(b, x, t);
	return x && x->rank == 1 ? b_unsqueeze(b, x, 0) : x;
}

/* Whole numbers are taken to f32, doubles stay: what the arithmetic is done in. */
static enum dtype
working(const struct value *x)
{
	return x->dtype == DT_f64 ? DT_f64 : DT_f32;
}

/* A list of one number, or of one per feature: the last axis of x. */
static struct value *
per_feature(struct build *b, const struct node *n, const char *name, enum dtype t, const struct value *x)
{
	struct value *v = ml_vector(b, n, name, t);
	int64_t f = x->rank ? x->dims[x->rank - 1] : 1;

	if (v && v->dims[0] != 1 && v->dims[0] != f) {
		diag_invalid(b->diag, n->loc, "attribute \"%s\" has %lld numbers for %s features", name,
		    (long long)v->dims[0], dim_text(b->g, f));
		return NULL;
	}
	return v;
}

/* (x - offset) * scale */
bool
expand_Scaler(struct build *b, const struct node *n, struct value **outs)
{
	struct value *x = b_cast(b, n->in[0], working(n->in[0]));

	if (x && ml_given(n, "offset"))
		x = b_sub(b, x, per_feature(b, n, "offset", x->dtype, x));
	if (x && ml_given(n, "scale"))
		x = b_mul(b, x, per_feature(b, n, "scale", x->dtype, x));
	return (outs[0] = x ? b_cast(b, x, DT_f32) : NULL) != NULL;
}

/* Each row by its maximum, the sum of its magnitudes, or its length; a row whose
 * divisor is 0 stays. */
bool
expand_Normalizer(struct build *b, const struct node *n, struct value **outs)
{
	struct value *x = b_cast(b, n->in[0], working(n->in[0])), *d, *one, *none;
	const char *how = attr_string(n, "norm");
	int64_t axis;

	if (!x || x->rank < 1)
		return diag_invalid(b->diag, n->loc, "input of rank 0; [N,C] or [C] is expected");
	axis = x->rank - 1;
	if (strcmp(how, "MAX") == 0)
		d = b_reduce(b, OP_reduce_max, x, 1, &axis, true);
	else if (strcmp(how, "L1") == 0)
		d = b_reduce(b, OP_reduce_sum, b1(b, OP_abs, x), 1, &axis, true);
	else if (strcmp(how, "L2") == 0)
		d = b_reduce(b, OP_reduce_sum, b_mul(b, x, x), 1, &axis, true);
	else
		return diag_invalid(b->diag, n->loc, "norm is \"%s\"; MAX, L1 or L2 is expected", how);
	if (!d)
		return false;
	one = b_scalar_like(b, d, 1);
	none = b2(b, OP_eq, d, b_scalar_like(b, d, 0));
	d = b_select(b, none, one, d);
	if (strcmp(how, "L2") == 0)
		d = b_sqrt(b, d);
	x = b_div(b, x, d);
	return (outs[0] = x ? b_cast(b, x, DT_f32) : NULL) != NULL;
}

/* x > threshold */
bool
expand_Binarizer(struct build *b, const struct node *n, struct value **outs)
{
	struct value *x = b_cast(b, n->in[0], working(n->in[0]));
	struct value *y = x ? b2(b, OP_lt, b_scalar_like(b, x, attr_float(n, "threshold")), x) : NULL;

	return (outs[0] = y ? b_cast(b, y, n->in[0]->dtype) : NULL) != NULL;
}

/* Z[..., k] = X[..., Y[k]]; a vector X gives one row. */
bool
expand_ArrayFeatureExtractor(struct build *b, const struct node *n, struct value **outs)
{
	struct value *x = n->in[0], *y = n->in[1];
	int64_t count = 1;

	if (x->rank < 1)
		return diag_invalid(b->diag, n->loc, "input X has no axis to select from");
	for (int i = 0; i < y->rank; i++)
		count = dim_mul(b->g, count, y->dims[i]);
	if (x->rank == 1)
		x = b_unsqueeze(b, x, 0);
	y = b_reshape(b, y, 1, &count);
	return (outs[0] = x && y ? b_gather(b, x, y, x->rank - 1) : NULL) != NULL;
}

/* x where it is not the replaced value (NaN equals NaN), else the imputed one of its feature */
bool
expand_Imputer(struct build *b, const struct node *n, struct value **outs)
{
	struct value *x = n->in[0], *fill, *from, *hit;
	const int64_t *ints;
	double was;
	int k;

	if (dtype_is_float(x->dtype)) {
		was = attr_float(n, "replaced_value_float");
		if (!ml_given(n, "imputed_value_floats"))
			return diag_invalid(b->diag, n->loc, "attribute \"imputed_value_floats\" is missing");
		if (!(fill = per_feature(b, n, "imputed_value_floats", x->dtype, x)))
			return false;
		from = b_scalar_like(b, x, dtype_get_f(DT_f32, &(float){(float)was}, 0));
		hit = isnan(was) ? b1(b, OP_isnan, x) : b2(b, OP_eq, x, from);
	} else {
		k = attr_ints(n, "imputed_value_int64s", &ints);
		if (k < 1 || (k != 1 && (x->rank < 1 || x->dims[x->rank - 1] != k)))
			return diag_invalid(b->diag, n->loc,
			    "attribute \"imputed_value_int64s\" has %d numbers for input %s", k,
			    ops_dims_text(b->g, x->rank, x->dims));
		fill = b_cast(b, b_ints(b, k, ints), x->dtype);
		from = b_ints(b, 1, &(int64_t){attr_int(n, "replaced_value_int64")});
		hit = b2(b, OP_eq, x, from ? b_cast(b, from, x->dtype) : NULL);
	}
	return (outs[0] = b_select(b, hit, fill, x)) != NULL;
}

/* Y[..., c] = 1 where X is category c.  A category that the list lacks gives zeros,
 * also with zeros = 0: compiled code has no way to refuse a value. */
bool
expand_OneHotEncoder(struct build *b, const struct node *n, struct value **outs)
{
	struct value *x = n->in[0], *cats = ml_labels(b, n, "cats_int64s", "cats_strings"), *y;

	if (!cats)
		return diag_invalid(b->diag, n->loc, "neither cats_int64s nor cats_strings is given");
	if ((x->dtype == DT_str) != (cats->dtype == DT_str))
		return diag_invalid(b->diag, n->loc, "categories of type %s for %s", dtype_info[cats->dtype].name,
		    dtype_info[x->dtype].name);
	if (x->dtype != DT_str)
		x = b_cast(b, x, DT_i64);
	y = x ? b2(b, OP_eq, b_unsqueeze(b, x, x->rank), cats) : NULL;
	return (outs[0] = y ? b_cast(b, y, DT_f32) : NULL) != NULL;
}

/* The inputs side by side, as f32, each cut or filled with zeros to its inputdimensions;
 * a vector is one row. */
bool
expand_FeatureVectorizer(struct build *b, const struct node *n, struct value **outs)
{
	struct value **v = arena_array(b->g->arena, struct value *, n->nin);
	int64_t lo[2] = {0}, hi[2] = {0};
	const int64_t *want;
	int k = attr_ints(n, "inputdimensions", &want);

	if (k && k != n->nin)
		return diag_invalid(b->diag, n->loc, "%d inputs, %d inputdimensions", n->nin, k);
	for (int i = 0; i < n->nin; i++) {
		if (!(v[i] = ml_rows(b, n, n->in[i], DT_f32)))
			return false;
		if (!k || v[i]->dims[1] == want[i])
			continue;
		if (want[i] < 0 || want[i] > INT32_MAX || !dim_const(v[i]->dims[1]))
			return diag_invalid(b->diag, n->loc, "input %d has %s features, inputdimensions says %lld", i,
			    dim_text(b->g, v[i]->dims[1]), (long long)want[i]);
		hi[1] = want[i] - v[i]->dims[1];
		v[i] = b_pad(b, v[i], lo, hi, 0);
	}
	return (outs[0] = b_concat(b, n->nin, v, 1)) != NULL;
}
