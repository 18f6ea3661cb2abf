/* random.c -- numbers drawn while the program runs.  All come from `rng` with the
 * node's seed and its own stream (which the importer hands out), so that a run is
 * repeatable and no two nodes of a model draw the same numbers. */
#include <math.h>

#include "ir/ops/ops_int.h"

/* Uniform [0,1) of dims, f32. */
static struct value *
uniform(struct build *b, const struct node *n, int rank, const int64_t *dims)
{
	struct attr a[2] = {attr_of_ints("dims", rank, dims), attr_of_int("stream", attr_int(n, "stream"))};
	struct value *draw[2] = {NULL, b_scalar(b, DT_i64, 0)};
	float given = attr_has(n, "seed") ? (float)attr_float(n, "seed") : 0;
	struct tensor *t = tensor_new(b->g->arena, DT_i64, 0, NULL);
	uint32_t bits;

	memcpy(&bits, &given, sizeof bits);
	dtype_put_i(DT_i64, t->data, 0, (int64_t)bits);
	draw[0] = graph_const(b->g, NULL, t);
	return b_op(b, OP_rng, 2, draw, 2, a);
}

/* The attribute dtype, or `def` where it is left out. */
static bool
type_of(struct build *b, const struct node *n, enum dtype def, enum dtype *t)
{
	int64_t to = attr_has(n, "dtype") ? attr_int(n, "dtype") : -1;

	*t = to < 0 ? def : to > INT32_MAX ? DT_none : dtype_from_onnx((int)to);
	if (*t == DT_none || (!dtype_is_float(*t) && !dtype_is_int(*t) && *t != DT_bool))
		return diag_invalid(b->diag, n->loc, "dtype %lld is not a number type", (long long)to);
	return true;
}

static enum dtype
wide(enum dtype t)
{
	return t == DT_f64 ? DT_f64 : DT_f32;
}

/* low + (high - low) u */
static bool
random_uniform(struct build *b, const struct node *n, enum dtype t, int rank, const int64_t *dims, struct value **outs)
{
	double low = attr_float(n, "low"), high = attr_float(n, "high");
	struct value *u = b_cast(b, uniform(b, n, rank, dims), wide(t));

	u = b_adds(b, b_muls(b, u, high - low), low);
	return u && (outs[0] = b_cast(b, u, t)) != NULL;
}

/* mean + scale sqrt(-2 log(1 - u)) cos(2 pi v), Box and Muller */
static bool
random_normal(struct build *b, const struct node *n, enum dtype t, int rank, const int64_t *dims, struct value **outs)
{
	int64_t two[MAX_RANK] = {2}, start[MAX_RANK] = {0}, one[MAX_RANK], count[MAX_RANK] = {1};
	struct value *u, *part[2], *r;

	if (rank >= MAX_RANK)
		return diag_unsupported(b->diag, n->loc, "rank %d", rank);
	for (int i = 0; i <= rank; i++)
		one[i] = 1;
	for (int i = 0; i < rank; i++)
		two[i + 1] = count[i + 1] = dims[i];
	u = b_cast(b, uniform(b, n, rank + 1, two), wide(t));
	for (int i = 0; i < 2 && u; i++) {
		start[0] = i;
		part[i] = b_reshape(b, b_slice(b, u, start, count, one), rank, dims);
	}
	if (!u || !part[0] || !part[1])
		return false;
	r = b_sqrt(b, b_muls(b, b_log(b, b_sub(b, b_scalar_like(b, u, 1), part[0])), -2));
	r = b_mul(b, r, b1(b, OP_cos, b_muls(b, part[1], 2 * acos(-1))));
	r = b_adds(b, b_muls(b, r, attr_float(n, "scale")), attr_float(n, "mean"));
	return r && (outs[0] = b_cast(b, r, t)) != NULL;
}

static bool
shape_of(struct build *b, const struct node *n, int *rank, const int64_t **dims)
{
	*rank = attr_ints(n, "shape", dims);
	if (*rank > MAX_RANK)
		return diag_unsupported(b->diag, n->loc, "rank %d", *rank);
	for (int i = 0; i < *rank; i++)
		if ((*dims)[i] < 0)
			return diag_invalid(b->diag, n->loc, "dimension %d of shape is %lld", i, (long long)(*dims)[i]);
	return true;
}

bool
expand_RandomUniform(struct build *b, const struct node *n, struct value **outs)
{
	const int64_t *dims;
	enum dtype t;
	int rank;

	return type_of(b, n, DT_f32, &t) && shape_of(b, n, &rank, &dims) && random_uniform(b, n, t, rank, dims, outs);
}

bool
expand_RandomUniformLike(struct build *b, const struct node *n, struct value **outs)
{
	enum dtype t;

	return type_of(b, n, n->in[0]->dtype, &t) &&
	       random_uniform(b, n, t, n->in[0]->rank, n->in[0]->dims, outs);
}

bool
expand_RandomNormal(struct build *b, const struct node *n, struct value **outs)
{
	const int64_t *dims;
	enum dtype t;
	int rank;

	return type_of(b, n, DT_f32, &t) && shape_of(b, n, &rank, &dims) && random_normal(b, n, t, rank, dims, outs);
}

bool
expand_RandomNormalLike(struct build *b, const struct node *n, struct value **outs)
{
	enum dtype t;

	return type_of(b, n, n->in[0]->dtype, &t) &&
	       random_normal(b, n, t, n->in[0]->rank, n->in[0]->dims, outs);
}

/* ---- Bernoulli: 1 where u < p */
bool
expand_Bernoulli(struct build *b, const struct node *n, struct value **outs)
{
	struct value *p = n->in[0], *u;
	enum dtype t;

	if (!type_of(b, n, p->dtype, &t))
		return false;
	u = b_cast(b, uniform(b, n, p->rank, p->dims), wide(p->dtype));
	u = b2(b, OP_lt, u, b_cast(b, p, wide(p->dtype)));
	return u && (outs[0] = b_cast(b, u, t)) != NULL;
}

/* ---- Multinomial: input [B,C] of logarithms; the largest of log p - log(-log u) is
 * class c with probability p_c / sum p (Gumbel's trick) */
bool
expand_Multinomial(struct build *b, const struct node *n, struct value **outs)
{
	struct value *x = n->in[0], *u, *y;
	int64_t count = attr_int(n, "sample_size"), dims[3];
	struct attr a[2] = {attr_of_int("axis", 2), attr_of_int("keep", 0)};
	enum dtype t;

	if (!type_of(b, n, DT_i32, &t))
		return false;
	if (x->rank != 2 || count < 1 || count > INT32_MAX || !dtype_is_int(t))
		return diag_invalid(b->diag, n->loc, "%lld samples as %s from input %s; [batch,class] is expected",
		    (long long)count, dtype_info[t].name, ops_dims_text(b->g, x->rank, x->dims));
	dims[0] = x->dims[0];
	dims[1] = count;
	dims[2] = x->dims[1];
	u = b_adds(b, uniform(b, n, 3, dims), 0x1p-25); /* above 0 */
	u = b_neg(b, b_log(b, b_neg(b, b_log(b, u))));
	y = b_add(b, b_cast(b, b_unsqueeze(b, x, 1), DT_f32), u);
	y = y ? b_op(b, OP_argmax, 1, &y, 2, a) : NULL;
	return y && (outs[0] = b_cast(b, y, t)) != NULL;
}
