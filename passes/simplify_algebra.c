/* simplify_algebra -- identities of elementwise operators. */
#include "passes/simplify.h"

#include <math.h>
#include <string.h>

/* Operand k of n if it may stand for the whole result: no broadcasting, same type. */
static struct value *
operand(struct node *n, int k)
{
	struct value *v = n->in[k], *out = n->out[0];

	return v->dtype == out->dtype && same_dims(v, out) ? v : NULL;
}

static bool
uniform(const struct value *v, double x)
{
	double y;

	return is_uniform(v, &y) && y == x;
}

static bool
precise(struct rewrite *rw)
{
	const struct simplify *s = rw->ctx;

	return s->opts && s->opts->precise;
}

/* n again with other operands */
static struct value *
again(struct rewrite *rw, struct node *n, struct value **in)
{
	return b_op(&rw->b, n->op, n->nin, in, n->nattr, n->attr);
}

static struct value *
add_zero(struct rewrite *rw, struct node *n)
{
	(void)rw;
	if (uniform(n->in[1], 0))
		return operand(n, 0);
	return uniform(n->in[0], 0) ? operand(n, 1) : NULL;
}

static struct value *
sub_zero(struct rewrite *rw, struct node *n)
{
	if (uniform(n->in[1], 0))
		return operand(n, 0);
	if (uniform(n->in[0], 0) && dtype_is_float(n->out[0]->dtype) && operand(n, 1))
		return b_neg(&rw->b, n->in[1]);
	return NULL;
}

static struct value *
mul_one(struct rewrite *rw, struct node *n)
{
	for (int k = 0; k < 2; k++) {
		struct value *x = operand(n, 1 - k);

		if (!x || n->out[0]->dtype == DT_bool)
			continue;
		if (uniform(n->in[k], 1))
			return x;
		if (uniform(n->in[k], -1) && dtype_is_float(x->dtype))
			return b_neg(&rw->b, x);
	}
	return NULL;
}

static struct value *
div_one(struct rewrite *rw, struct node *n)
{
	(void)rw;
	return uniform(n->in[1], 1) ? operand(n, 0) : NULL;
}

/* The reciprocal of a power of two is exact; of others right to half an ulp. */
static struct value *
div_const(struct rewrite *rw, struct node *n)
{
	const struct value *c = n->in[1];
	double x;
	int e;

	if (!dtype_is_float(n->out[0]->dtype) || !is_uniform(c, &x) || x == 0 || !isfinite(x) ||
	    !operand(n, 0))
		return NULL;
	if ((precise(rw) || is_narrow(c)) && fabs(frexp(x, &e)) != 0.5)
		return NULL;
	if (fabs(x) < 0x1p-120 || fabs(x) > 0x1p120)
		return NULL;
	return b_muls(&rw->b, n->in[0], 1 / x);
}

/* One division per row instead of one per element. */
static struct value *
div_row(struct rewrite *rw, struct node *n)
{
	struct value *x = n->in[0], *y = n->in[1];
	int64_t nx, ny;

	if (precise(rw) || is_narrow(x) || !dtype_is_float(x->dtype) || is_constant(y) || !operand(n, 0))
		return NULL;
	nx = dims_count(x->rank, x->dims);
	ny = dims_count(y->rank, y->dims);
	if (nx < 8 || ny < 1 || ny > nx / 8)
		return NULL;
	if (is_node(y, OP_sqrt) && sole_use(rw, y))
		return b_mul(&rw->b, x, b1(&rw->b, OP_rsqrt, y->def->in[0]));
	return b_mul(&rw->b, x, b_div(&rw->b, b_scalar_like(&rw->b, y, 1), y));
}

static struct value *
div_sqrt(struct rewrite *rw, struct node *n)
{
	struct value *y = n->in[1];

	if (is_narrow(y) || !uniform(n->in[0], 1) || !is_node(y, OP_sqrt) || !operand(n, 1))
		return NULL;
	return b1(&rw->b, OP_rsqrt, y->def->in[0]);
}

static struct value *
pow_const(struct rewrite *rw, struct node *n)
{
	struct value *x = operand(n, 0);
	double e;

	if (!x || !dtype_is_float(x->dtype) || !is_uniform(n->in[1], &e))
		return NULL;
	if (e == 1)
		return x;
	if (e == 2)
		return b_mul(&rw->b, x, x);
	if (e == 3 && !is_narrow(x))
		return b_mul(&rw->b, b_mul(&rw->b, x, x), x);
	if (e == 0.5)
		return b_sqrt(&rw->b, x);
	if (e == -0.5 && !is_narrow(x))
		return b1(&rw->b, OP_rsqrt, x);
	if (e == -1)
		return b_div(&rw->b, b_scalar_like(&rw->b, x, 1), x);
	return NULL;
}

static struct value *
neg_neg(struct rewrite *rw, struct node *n)
{
	(void)rw;
	return is_node(n->in[0], OP_neg) ? n->in[0]->def->in[0] : NULL;
}

static bool
same_count(const struct value *a, const struct value *b)
{
	return dims_count(a->rank, a->dims) == dims_count(b->rank, b->dims);
}

/* Which operand is constant, the other not: 0, 1, or -1. */
static int
const_side(const struct node *n)
{
	bool a = is_constant(n->in[0]), b = is_constant(n->in[1]);

	return a == b ? -1 : a ? 0 : 1;
}

/* (x op a) op b with constants a and b, op associative and commutative; not
 * where a and b broadcast to something larger than both. */
static struct value *
regroup(struct rewrite *rw, struct node *n)
{
	int k = const_side(n), j;
	struct node *inner;
	struct value *c;

	if (k < 0 || is_narrow(n->out[0]) || !is_node(n->in[1 - k], n->op) || !sole_use(rw, n->in[1 - k]))
		return NULL;
	inner = n->in[1 - k]->def;
	j = const_side(inner);
	if (j < 0)
		return NULL;
	c = b2(&rw->b, n->op, inner->in[j], n->in[k]);
	if (!c || (!same_count(c, inner->in[j]) && !same_count(c, n->in[k])))
		return NULL;
	return b2(&rw->b, n->op, inner->in[1 - j], c);
}

static struct value *
sub_const(struct rewrite *rw, struct node *n)
{
	if (!dtype_is_float(n->out[0]->dtype) || const_side(n) != 1)
		return NULL;
	return b_add(&rw->b, n->in[0], b_neg(&rw->b, n->in[1]));
}

static struct value *
add_neg(struct rewrite *rw, struct node *n)
{
	for (int k = 0; k < 2; k++)
		if (is_node(n->in[k], OP_neg) && !is_constant(n->in[k]))
			return b_sub(&rw->b, n->in[1 - k], n->in[k]->def->in[0]);
	return NULL;
}

static struct value *
sub_neg(struct rewrite *rw, struct node *n)
{
	if (!is_node(n->in[1], OP_neg))
		return NULL;
	return b_add(&rw->b, n->in[0], n->in[1]->def->in[0]);
}

static struct value *
mul_neg(struct rewrite *rw, struct node *n)
{
	int k = const_side(n);

	if (k < 0 || !is_node(n->in[1 - k], OP_neg))
		return NULL;
	return b_mul(&rw->b, n->in[1 - k]->def->in[0], b_neg(&rw->b, n->in[k]));
}

/* max(max(x,a),a) = max(x,a) */
static struct value *
idempotent(struct rewrite *rw, struct node *n)
{
	(void)rw;
	for (int k = 0; k < 2; k++) {
		struct value *x = operand(n, k);
		double a, b;

		if (n->in[0] == n->in[1])
			return operand(n, 0);
		if (!x || !is_node(x, n->op) || !is_uniform(n->in[1 - k], &a))
			continue;
		for (int j = 0; j < 2; j++)
			if (is_uniform(x->def->in[j], &b) && a == b)
				return x;
	}
	return NULL;
}

static struct value *
select_const(struct rewrite *rw, struct node *n)
{
	double c;

	if (is_uniform(n->in[0], &c)) {
		struct value *x = n->in[c != 0 ? 1 : 2];

		return b_expand(&rw->b, x, n->out[0]->rank, n->out[0]->dims);
	}
	return n->in[1] == n->in[2] ? operand(n, 1) : NULL;
}

/* Does `to` hold every value of `from` exactly? */
static bool
widens(enum dtype from, enum dtype to)
{
	const struct dtype_info *a = &dtype_info[from], *b = &dtype_info[to];
	static const struct {
		enum dtype t;
		int digits;
	} mantissa[] = {{DT_f16, 11}, {DT_bf16, 8}, {DT_f32, 24}, {DT_f64, 53}};

	if (a->class == DC_BOOL)
		return b->class == DC_INT || b->class == DC_UINT || b->class == DC_FLOAT;
	if (from == to)
		return true;
	if (a->class == DC_FLOAT)
		return (to == DT_f64 && a->bits <= 32) || (to == DT_f32 && a->bits <= 16);
	if (a->class == DC_UINT && b->class == DC_UINT)
		return b->bits >= a->bits;
	if (dtype_is_int(from) && b->class == DC_INT)
		return b->bits > a->bits || (b->bits == a->bits && a->class == DC_INT);
	for (size_t i = 0; i < sizeof mantissa / sizeof mantissa[0]; i++)
		if (dtype_is_int(from) && mantissa[i].t == to)
			return a->bits <= mantissa[i].digits;
	return false;
}

static struct value *
cast_chain(struct rewrite *rw, struct node *n)
{
	struct value *x = n->in[0];

	if (x->dtype == n->out[0]->dtype)
		return x;
	if (is_node(x, OP_cast) && widens(x->def->in[0]->dtype, x->dtype))
		return b_cast(&rw->b, x->def->in[0], n->out[0]->dtype);
	return NULL;
}

/* Elementwise operators broadcast: an operand need not be expanded before, and
 * where all are, the result may be expanded instead. */
static struct value *
drop_expand(struct rewrite *rw, struct node *n)
{
	struct value *in[3], *v, *out = n->out[0];
	bool any = false;

	if (op_info[n->op].class != OC_map || n->nin > 3)
		return NULL;
	for (int k = 0; k < n->nin; k++) {
		in[k] = n->in[k];
		while (is_node(in[k], OP_expand)) {
			in[k] = in[k]->def->in[0];
			any = true;
		}
	}
	if (!any)
		return NULL;
	v = again(rw, n, in);
	if (!v || v->dtype != out->dtype)
		return NULL;
	return same_dims(v, out) ? v : b_expand(&rw->b, v, out->rank, out->dims);
}

static struct value *
first_element(struct rewrite *rw, const struct value *c)
{
	struct tensor *t = tensor_new(rw->g->arena, c->dtype, 0, NULL);

	if (dtype_info[c->dtype].bits < 8)
		return NULL;
	memcpy(t->data, c->data->data, t->bytes);
	return graph_const(rw->g, NULL, t);
}

/* A constant of equal elements is a number, where the other operands have the dims. */
static struct value *
uniform_operand(struct rewrite *rw, struct node *n)
{
	struct value *in[3], *v, *out = n->out[0];
	bool any = false;
	double x;

	if (op_info[n->op].class != OC_map || n->nin < 2 || n->nin > 3)
		return NULL;
	for (int k = 0; k < n->nin; k++) {
		in[k] = n->in[k];
		if (in[k]->kind != VAL_CONST || in[k]->rank == 0 || !is_uniform(in[k], &x))
			continue;
		in[k] = first_element(rw, in[k]);
		any = in[k] != NULL;
		if (!any)
			return NULL;
	}
	if (!any)
		return NULL;
	v = again(rw, n, in);
	return v && v->dtype == out->dtype && same_dims(v, out) ? v : NULL;
}

/* -(x * c) = x * -c */
static struct value *
neg_mul(struct rewrite *rw, struct node *n)
{
	struct value *y = n->in[0];

	if (!is_node(y, OP_mul) || !sole_use(rw, y))
		return NULL;
	for (int k = 0; k < 2; k++)
		if (is_constant(y->def->in[k]))
			return b_mul(&rw->b, y->def->in[1 - k], b_neg(&rw->b, y->def->in[k]));
	return NULL;
}

const struct simplify_rule simplify_algebra[] = {
    {OP_none, "op(expand x, y) = op(x, y), or expand of it", drop_expand},
    {OP_add, "x + 0 = x", add_zero},
    {OP_sub, "x - 0 = x, 0 - x = -x", sub_zero},
    {OP_mul, "x * 1 = x, x * -1 = -x", mul_one},
    {OP_div, "x / 1 = x", div_one},
    {OP_div, "x / c = x * (1/c)", div_const},
    {OP_div, "1 / sqrt(x) = rsqrt(x)", div_sqrt},
    {OP_div, "x / y = x * (1/y), y one per row", div_row},
    {OP_pow, "x^2 = x * x and so on", pow_const},
    {OP_none, "op(x, [c,c..]) = op(x, c)", uniform_operand},
    {OP_neg, "-(-x) = x", neg_neg},
    {OP_neg, "-(x * c) = x * -c", neg_mul},
    {OP_sub, "x - c = x + -c", sub_const},
    {OP_add, "x + -y = x - y", add_neg},
    {OP_sub, "x - -y = x + y", sub_neg},
    {OP_mul, "-x * c = x * -c", mul_neg},
    {OP_add, "(x + a) + b = x + (a + b)", regroup},
    {OP_mul, "(x * a) * b = x * (a * b)", regroup},
    {OP_max, "max(max(x, a), a) = max(x, a)", idempotent},
    {OP_min, "min(min(x, a), a) = min(x, a)", idempotent},
    {OP_select, "true ? x : y = x", select_const},
    {OP_cast, "cast(cast x) = cast x, the inner one exact", cast_chain},
    {0},
};
