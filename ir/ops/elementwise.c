/* elementwise.c -- the scalar functions of the core: types, gradients, values.
 * Operands broadcast as NumPy's do; a gradient is summed back to its operand. */
#include <math.h>

#include "ir/ops/ops_int.h"

static bool
broadcast(struct graph *g, struct node *n, struct diag *d, enum dtype t)
{
	int64_t dims[MAX_RANK];
	int rank;

	return infer_broadcast_dims(g, n, d, &rank, dims) && ops_set(n, d, 0, t, rank, dims);
}

static const char *
named(const struct value *v)
{
	return v->name ? v->name : "unnamed";
}

static bool
same_dtype(const struct node *n, struct diag *d, int first, int count)
{
	for (int i = first + 1; i < first + count; i++)
		if (n->in[i]->dtype != n->in[first]->dtype)
			return diag_invalid(d, n->loc, "operand types differ: %s (%s) and %s (%s)",
			    dtype_info[n->in[first]->dtype].name, named(n->in[first]),
			    dtype_info[n->in[i]->dtype].name, named(n->in[i]));
	return true;
}

/* What a row asks of its operands' element type. */
static bool
class_fits(const struct node *n, struct diag *d)
{
	enum dtype t = n->in[0]->dtype;
	enum dtype_class c = dtype_info[t].class;
	const char *want = NULL;

	switch (n->op) {
	case OP_and: case OP_or: case OP_xor: case OP_not:
		want = c == DC_BOOL ? NULL : "bool";
		break;
	case OP_band: case OP_bor: case OP_bxor: case OP_bnot: case OP_shl: case OP_shr:
		want = dtype_is_int(t) ? NULL : "an integer type";
		break;
	case OP_neg: case OP_abs: case OP_sign: case OP_add: case OP_sub: case OP_mul: case OP_div:
	case OP_pow: case OP_max: case OP_min: case OP_fmod:
		want = dtype_is_int(t) || c == DC_FLOAT ? NULL : "a number type";
		break;
	default:
		if (op_info[n->op].class == OC_map)
			want = c == DC_FLOAT ? NULL : "a float type";
		else
			want = dtype_is_int(t) || c == DC_FLOAT ? NULL : "a number type";
	}
	if (want)
		return diag_invalid(d, n->loc, "operand %s is %s; %s is expected", named(n->in[0]),
		    dtype_info[t].name, want);
	return true;
}

bool
infer_map(struct graph *g, struct node *n, struct diag *d)
{
	return ops_known(n, d) && class_fits(n, d) && same_dtype(n, d, 0, n->nin) &&
	    broadcast(g, n, d, n->in[0]->dtype);
}

bool
infer_map1(struct graph *g, struct node *n, struct diag *d)
{
	return ops_known(n, d) && class_fits(n, d) && broadcast(g, n, d, n->in[0]->dtype);
}

bool
infer_test(struct graph *g, struct node *n, struct diag *d)
{
	return ops_known(n, d) && same_dtype(n, d, 0, n->nin) && broadcast(g, n, d, DT_bool);
}

bool
infer_select(struct graph *g, struct node *n, struct diag *d)
{
	if (!ops_known(n, d) || !same_dtype(n, d, 1, 2))
		return false;
	if (n->in[0]->dtype != DT_bool)
		return diag_invalid(
		    d, n->loc, "condition is %s; bool is expected", dtype_info[n->in[0]->dtype].name);
	return broadcast(g, n, d, n->in[1]->dtype);
}

bool
infer_cast(struct graph *g, struct node *n, struct diag *d)
{
	int64_t to = attr_int(n, "to");

	(void)g;
	if (!ops_known(n, d))
		return false;
	if (to <= DT_none || to >= NDTYPE)
		return diag_invalid(d, n->loc, "cast to unknown element type %lld", (long long)to);
	return ops_set(n, d, 0, (enum dtype)to, n->in[0]->rank, n->in[0]->dims);
}

/* ---- gradients: d is what arrives, x the operand, y the result */
#define GRAD1(id, expr)                                                                            \
	bool grad_##id(struct build *b, const struct node *n, struct value *const *dout,               \
	    struct value **din)                                                                        \
	{                                                                                              \
		struct value *d = dout[0], *x = n->in[0], *y = n->out[0];                                  \
                                                                                                   \
		(void)x, (void)y;                                                                          \
		if (!d)                                                                                    \
			return true;                                                                           \
		din[0] = (expr);                                                                           \
		return din[0] != NULL;                                                                     \
	}

static struct value *
square(struct build *b, struct value *x)
{
	return b_mul(b, x, x);
}

static struct value *
one_minus(struct build *b, struct value *x)
{
	return b_sub(b, b_scalar_like(b, x, 1), x);
}

GRAD1(neg, b_neg(b, d))
GRAD1(abs, b_mul(b, d, b1(b, OP_sign, x))) /* 0 at 0 */
GRAD1(exp, b_mul(b, d, y))
GRAD1(log, b_div(b, d, x))
GRAD1(log1p, b_div(b, d, b_adds(b, x, 1)))
GRAD1(sqrt, b_div(b, b_muls(b, d, 0.5), y))
GRAD1(rsqrt, b_mul(b, b_muls(b, d, -0.5), b_mul(b, y, square(b, y))))
GRAD1(sin, b_mul(b, d, b1(b, OP_cos, x)))
GRAD1(cos, b_neg(b, b_mul(b, d, b1(b, OP_sin, x))))
GRAD1(tan, b_mul(b, d, b_adds(b, square(b, y), 1)))
GRAD1(asin, b_mul(b, d, b1(b, OP_rsqrt, one_minus(b, square(b, x)))))
GRAD1(acos, b_neg(b, b_mul(b, d, b1(b, OP_rsqrt, one_minus(b, square(b, x))))))
GRAD1(atan, b_div(b, d, b_adds(b, square(b, x), 1)))
GRAD1(sinh, b_mul(b, d, b1(b, OP_cosh, x)))
GRAD1(cosh, b_mul(b, d, b1(b, OP_sinh, x)))
GRAD1(tanh, b_mul(b, d, one_minus(b, square(b, y))))
GRAD1(asinh, b_mul(b, d, b1(b, OP_rsqrt, b_adds(b, square(b, x), 1))))
GRAD1(acosh, b_mul(b, d, b1(b, OP_rsqrt, b_adds(b, square(b, x), -1))))
GRAD1(atanh, b_div(b, d, one_minus(b, square(b, x))))
GRAD1(erf, b_mul(b, d, b_muls(b, b_exp(b, b_neg(b, square(b, x))), M_2_SQRTPI)))
GRAD1(sigmoid, b_mul(b, d, b_mul(b, y, one_minus(b, y))))

/* Piecewise constant: nothing flows. */
bool
grad_zero(struct build *b, const struct node *n, struct value *const *dout, struct value **din)
{
	(void)b, (void)n, (void)dout, (void)din;
	return true;
}

bool
grad_cast(struct build *b, const struct node *n, struct value *const *dout, struct value **din)
{
	if (!dout[0] || !dtype_is_float(n->in[0]->dtype) || !dtype_is_float(n->out[0]->dtype))
		return true;
	din[0] = b_cast(b, dout[0], n->in[0]->dtype);
	return din[0] != NULL;
}

/* din[0] = da summed to the first operand, din[1] = db to the second. */
static bool
give2(struct build *b, const struct node *n, struct value **din, struct value *da, struct value *db)
{
	if (!da || !db)
		return false;
	din[0] = b_unbroadcast(b, da, n->in[0]);
	din[1] = b_unbroadcast(b, db, n->in[1]);
	return din[0] && din[1];
}

bool
grad_add(struct build *b, const struct node *n, struct value *const *dout, struct value **din)
{
	return !dout[0] || give2(b, n, din, dout[0], dout[0]);
}

bool
grad_sub(struct build *b, const struct node *n, struct value *const *dout, struct value **din)
{
	struct value *db;

	if (!dout[0])
		return true;
	din[0] = b_unbroadcast(b, dout[0], n->in[0]);
	db = b_unbroadcast(b, dout[0], n->in[1]);
	din[1] = db ? b_neg(b, db) : NULL;
	return din[0] && din[1];
}

bool
grad_mul(struct build *b, const struct node *n, struct value *const *dout, struct value **din)
{
	struct value *d = dout[0];

	return !d || give2(b, n, din, b_mul(b, d, n->in[1]), b_mul(b, d, n->in[0]));
}

/* y = a/c: da = d/c, dc = -y*da */
bool
grad_div(struct build *b, const struct node *n, struct value *const *dout, struct value **din)
{
	struct value *da;

	if (!dout[0])
		return true;
	da = b_div(b, dout[0], n->in[1]);
	return give2(b, n, din, da, b_neg(b, b_mul(b, n->out[0], da)));
}

/* y = x^p: dx = d*p*x^(p-1), 0 where p = 0; dp = d*y*log(x), 0 where x <= 0. */
bool
grad_pow(struct build *b, const struct node *n, struct value *const *dout, struct value **din)
{
	struct value *d = dout[0], *x = n->in[0], *p = n->in[1], *zero, *dx, *dp;

	if (!d)
		return true;
	zero = b_scalar_like(b, x, 0);
	if (p->kind == VAL_CONST && tensor_count(p->data) == 1) {
		double e = dtype_is_float(p->dtype) ? dtype_get_f(p->dtype, p->data->data, 0)
		                                    : (double)dtype_get_i(p->dtype, p->data->data, 0);

		if (e == 0)
			return true;
		if (e == 1)
			dx = d;
		else if (e == 2)
			dx = b_mul(b, d, b_muls(b, x, 2));
		else if (e == 3)
			dx = b_mul(b, d, b_muls(b, square(b, x), 3));
		else if (e == -1)
			dx = b_neg(b, b_mul(b, d, square(b, n->out[0])));
		else if (e == 0.5)
			dx = b_div(b, b_muls(b, d, 0.5), n->out[0]);
		else
			dx = b_mul(b, d, b_muls(b, b2(b, OP_pow, x, b_scalar_like(b, x, e - 1)), e));
		din[0] = dx ? b_unbroadcast(b, dx, x) : NULL;
		return din[0] != NULL;
	}
	if (p->dtype != x->dtype)
		p = b_cast(b, p, x->dtype);
	dx = b_mul(b, d, b_mul(b, p, b2(b, OP_pow, x, b_adds(b, p, -1))));
	dx = b_select(b, b2(b, OP_eq, p, zero), zero, dx);
	if (!dtype_is_float(n->in[1]->dtype)) {
		din[0] = dx ? b_unbroadcast(b, dx, x) : NULL;
		return din[0] != NULL;
	}
	dp = b_select(b, b2(b, OP_lt, zero, x), b_mul(b, d, b_mul(b, n->out[0], b_log(b, x))), zero);
	if (!dx || !dp)
		return false;
	din[0] = b_unbroadcast(b, dx, x);
	dp = b_unbroadcast(b, dp, n->in[1]);
	din[1] = dp && dp->dtype != n->in[1]->dtype ? b_cast(b, dp, n->in[1]->dtype) : dp;
	return din[0] && din[1];
}

/* The first operand takes a tie: Clip(x) = min(max(x, lo), hi) then has slope 1
 * at its bounds, as torch.clamp. */
static bool
grad_pick(struct build *b, const struct node *n, struct value *d, struct value *first,
    struct value **din)
{
	struct value *zero = b_scalar_like(b, n->in[0], 0);

	return give2(b, n, din, b_select(b, first, d, zero), b_select(b, first, zero, d));
}

bool
grad_max(struct build *b, const struct node *n, struct value *const *dout, struct value **din)
{
	return !dout[0] || grad_pick(b, n, dout[0], b2(b, OP_le, n->in[1], n->in[0]), din);
}

bool
grad_min(struct build *b, const struct node *n, struct value *const *dout, struct value **din)
{
	return !dout[0] || grad_pick(b, n, dout[0], b2(b, OP_le, n->in[0], n->in[1]), din);
}

/* y = a - c*trunc(a/c) */
bool
grad_fmod(struct build *b, const struct node *n, struct value *const *dout, struct value **din)
{
	struct value *d = dout[0], *q, *t;

	if (!d)
		return true;
	q = b_div(b, n->in[0], n->in[1]);
	t = b_mul(b, b1(b, OP_sign, q), b1(b, OP_floor, b1(b, OP_abs, q)));
	return give2(b, n, din, d, b_neg(b, b_mul(b, d, t)));
}

bool
grad_select(struct build *b, const struct node *n, struct value *const *dout, struct value **din)
{
	struct value *d = dout[0], *c = n->in[0], *zero, *da, *db;

	if (!d)
		return true;
	zero = b_scalar_like(b, d, 0);
	da = b_select(b, c, d, zero);
	db = b_select(b, c, zero, d);
	if (!da || !db)
		return false;
	din[1] = b_unbroadcast(b, da, n->in[1]);
	din[2] = b_unbroadcast(b, db, n->in[2]);
	return din[1] && din[2];
}

/* ---- values */
static double
map_f(enum op op, double a, double b)
{
	switch (op) {
	case OP_neg: return -a;
	case OP_abs: return fabs(a);
	case OP_exp: return exp(a);
	case OP_log: return log(a);
	case OP_log1p: return log1p(a);
	case OP_sqrt: return sqrt(a);
	case OP_rsqrt: return 1 / sqrt(a);
	case OP_sin: return sin(a);
	case OP_cos: return cos(a);
	case OP_tan: return tan(a);
	case OP_asin: return asin(a);
	case OP_acos: return acos(a);
	case OP_atan: return atan(a);
	case OP_sinh: return sinh(a);
	case OP_cosh: return cosh(a);
	case OP_tanh: return tanh(a);
	case OP_asinh: return asinh(a);
	case OP_acosh: return acosh(a);
	case OP_atanh: return atanh(a);
	case OP_erf: return erf(a);
	case OP_sigmoid: return a >= 0 ? 1 / (1 + exp(-a)) : exp(a) / (1 + exp(a));
	case OP_floor: return floor(a);
	case OP_ceil: return ceil(a);
	case OP_round: return nearbyint(a);
	case OP_sign: return a > 0 ? 1 : a < 0 ? -1 : a;
	case OP_add: return a + b;
	case OP_sub: return a - b;
	case OP_mul: return a * b;
	case OP_div: return a / b;
	case OP_pow: return pow(a, b);
	case OP_max: return isnan(a) || a > b ? a : b;
	case OP_min: return isnan(a) || a < b ? a : b;
	case OP_fmod: return fmod(a, b);
	default: die("%s on floats", op_info[op].id);
	}
}

static int64_t
power_i(int64_t a, int64_t e)
{
	uint64_t r = 1, x = (uint64_t)a;

	if (e < 0)
		return a == 1 ? 1 : a == -1 ? (e % 2 ? -1 : 1) : 0;
	for (; e; e >>= 1, x *= x)
		if (e & 1)
			r *= x;
	return (int64_t)r;
}

/* False where the machine has no answer: division by zero. */
static bool
map_i(enum op op, enum dtype t, int64_t a, int64_t b, int64_t *r)
{
	bool uns = dtype_info[t].class == DC_UINT;
	int bits = dtype_info[t].bits;

	switch (op) {
	case OP_neg: *r = (int64_t)(0 - (uint64_t)a); break;
	case OP_abs: *r = a < 0 && !uns ? (int64_t)(0 - (uint64_t)a) : a; break;
	case OP_sign: *r = uns ? a != 0 : (a > 0) - (a < 0); break;
	case OP_not: *r = !a; break;
	case OP_bnot: *r = ~a; break;
	case OP_add: *r = (int64_t)((uint64_t)a + (uint64_t)b); break;
	case OP_sub: *r = (int64_t)((uint64_t)a - (uint64_t)b); break;
	case OP_mul: *r = (int64_t)((uint64_t)a * (uint64_t)b); break;
	case OP_pow: *r = power_i(a, b); break;
	case OP_div: case OP_fmod:
		if (b == 0) /* as compiled code: a branch that is not taken may divide by zero */
			*r = 0;
		else if (uns)
			*r = op == OP_div ? (int64_t)((uint64_t)a / (uint64_t)b)
			                  : (int64_t)((uint64_t)a % (uint64_t)b);
		else if (b == -1)
			*r = op == OP_div ? (int64_t)(0 - (uint64_t)a) : 0;
		else
			*r = op == OP_div ? a / b : a % b;
		break;
	case OP_max: *r = (uns ? (uint64_t)a > (uint64_t)b : a > b) ? a : b; break;
	case OP_min: *r = (uns ? (uint64_t)a < (uint64_t)b : a < b) ? a : b; break;
	case OP_and: case OP_band: *r = a & b; break;
	case OP_or: case OP_bor: *r = a | b; break;
	case OP_xor: case OP_bxor: *r = a ^ b; break;
	case OP_shl: *r = b < 0 || b >= bits ? 0 : (int64_t)((uint64_t)a << b); break;
	case OP_shr: *r = b < 0 || b >= bits ? (uns || a >= 0 ? 0 : -1)
		: uns ? (int64_t)((uint64_t)a >> b) : a >> b; break;
	default: die("%s on integers", op_info[op].id);
	}
	*r = int_wrap(t, *r);
	return true;
}

static bool
test(enum op op, const struct etensor *x, int64_t i, const struct etensor *y, int64_t j)
{
	if (op == OP_isnan)
		return isnan(x->f[i]);
	if (x->s)
		return op == OP_eq && strcmp(x->s[i], y->s[j]) == 0;
	if (x->f) {
		double a = x->f[i], b = y->f[j];

		return op == OP_eq ? a == b : op == OP_lt ? a < b : a <= b;
	}
	if (x->dtype == DT_u64) {
		uint64_t a = (uint64_t)x->i[i], b = (uint64_t)y->i[j];

		return op == OP_eq ? a == b : op == OP_lt ? a < b : a <= b;
	}
	return op == OP_eq ? x->i[i] == y->i[j] : op == OP_lt ? x->i[i] < y->i[j] : x->i[i] <= y->i[j];
}

static bool
cast(const struct etensor *x, int64_t i, struct etensor *y, int64_t o)
{
	if (x->s || y->s || dtype_info[x->dtype].class == DC_COMPLEX ||
	    dtype_info[y->dtype].class == DC_COMPLEX)
		return x->dtype == y->dtype && (et_move(y, o, x, i), true);
	if (y->f) {
		double v = et_get(x, i);
		uint64_t cell = 0;

		if (dtype_info[y->dtype].bits < 32) { /* a cast that narrows is there to round */
			dtype_put_f(y->dtype, &cell, 0, v);
			v = dtype_get_f(y->dtype, &cell, 0);
		}
		y->f[o] = v;
	} else if (y->dtype == DT_bool)
		y->i[o] = x->f ? x->f[i] != 0 : x->i[i] != 0;
	else if (x->f) {
		/* saturates as stored constants do; types below a byte wrap, as ONNX's cases say */
		enum dtype t = dtype_info[y->dtype].bits < 8 ? DT_i64 : y->dtype;
		uint64_t cell = 0;

		dtype_put_f(t, &cell, 0, trunc(x->f[i]));
		y->i[o] = int_wrap(y->dtype, dtype_get_i(t, &cell, 0));
	} else
		y->i[o] = int_wrap(y->dtype, x->i[i]);
	return true;
}

static bool
one(const struct node *n, const struct etensor *const *in, const int64_t *at, struct etensor *y,
    int64_t o)
{
	const struct etensor *a = in[0], *b = n->nin > 1 ? in[1] : in[0];
	int64_t i = at[0], j = n->nin > 1 ? at[1] : at[0];

	switch (n->op) {
	case OP_cast:
		return cast(a, i, y, o);
	case OP_eq: case OP_lt: case OP_le: case OP_isnan:
		y->i[o] = test(n->op, a, i, b, j);
		return true;
	case OP_select:
		if (a->i[i])
			et_move(y, o, b, j);
		else
			et_move(y, o, in[2], at[2]);
		return true;
	case OP_pow:
		if (y->f)
			y->f[o] = pow(a->f[i], et_get(b, j));
		else if (b->f)
			y->i[o] = int_wrap(y->dtype, (int64_t)pow((double)a->i[i], b->f[j]));
		else
			return map_i(n->op, y->dtype, a->i[i], b->i[j], &y->i[o]);
		return true;
	default:
		if (y->s || dtype_info[y->dtype].class == DC_COMPLEX)
			return false;
		if (!y->f)
			return map_i(n->op, y->dtype, a->i[i], b->i[j], &y->i[o]);
		y->f[o] = map_f(n->op, a->f[i], b->f[j]);
		return true;
	}
}

bool
eval_map(const struct node *n, const struct etensor *const *in, struct etensor **out)
{
	struct etensor *y = out[0];
	int64_t idx[MAX_RANK] = {0}, at[3] = {0}, stride[3][MAX_RANK] = {{0}};

	for (int k = 0; k < n->nin; k++) {
		int64_t s[MAX_RANK];
		int shift = y->rank - in[k]->rank;

		ops_strides(in[k]->rank, in[k]->dims, s);
		for (int i = 0; i < in[k]->rank; i++)
			stride[k][i + shift] = in[k]->dims[i] == 1 ? 0 : s[i];
	}
	for (int64_t o = 0; o < y->count; o++) {
		if (!one(n, in, at, y, o))
			return false;
		for (int i = y->rank - 1; i >= 0; i--) {
			for (int k = 0; k < n->nin; k++)
				at[k] += stride[k][i];
			if (++idx[i] < y->dims[i])
				break;
			for (int k = 0; k < n->nin; k++)
				at[k] -= stride[k][i] * y->dims[i];
			idx[i] = 0;
		}
	}
	return true;
}

/* ---- the same type as the first operand */
bool
infer_like0(struct graph *g, struct node *n, struct diag *d)
{
	(void)g;
	return ops_known(n, d) && ops_set(n, d, 0, n->in[0]->dtype, n->in[0]->rank, n->in[0]->dims);
}

bool
eval_copy(const struct node *n, const struct etensor *const *in, struct etensor **out)
{
	(void)n;
	for (int64_t i = 0; i < out[0]->count; i++)
		et_move(out[0], i, in[0], i);
	return true;
}
