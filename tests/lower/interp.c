#include "interp.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct num {
	double f;
	int64_t i;
};
struct run {
	const struct program *p;
	const struct call *call;
	void *const *base;
	int64_t *var;
	struct num *reg;
	bool ok;
};

static int64_t
value_of(const struct run *r, const struct affine *a)
{
	int64_t x = a->c;

	for (int i = 0; i < a->n; i++)
		x += a->t[i].coef * r->var[a->t[i].var];
	if (a->reg >= 0)
		x += a->regcoef * r->reg[a->reg].i;
	return x;
}

static bool
allowed(const struct run *r, const struct stmt *s)
{
	for (int i = 0; i < s->nguard; i++) {
		int64_t x = value_of(r, &s->guard[i].e);

		if (x < s->guard[i].lo || x >= s->guard[i].hi)
			return false;
	}
	return true;
}

static void *
memory(const struct run *r, const struct buffer *b)
{
	switch (b->space) {
	case SPACE_WORK:
		return (char *)r->base[0] + b->offset;
	case SPACE_CONST:
		return (char *)r->base[1] + b->offset;
	case SPACE_STATE:
		return (char *)r->base[2] + b->offset;
	default:
		return r->base[3 + b->offset];
	}
}

static bool
in_bounds(struct run *r, int buf, int64_t at, const char *what)
{
	const struct buffer *b = r->call->arg[buf];

	if (at >= 0 && at < b->count)
		return true;
	if (r->ok)
		fprintf(stderr, "%s: %s of b%d at %lld of %lld\n", r->call->kernel->name, what, buf,
		    (long long)at, (long long)b->count);
	r->ok = false;
	return false;
}

static struct num
of_type(enum dtype t, struct num x)
{
	char mem[16] = {0};

	if (t == DT_f64 || t == DT_f32 || t == DT_i64 || t == DT_u64)
		return x;
	if (dtype_is_float(t)) {
		dtype_put_f(t, mem, 0, x.f);
		x.f = dtype_get_f(t, mem, 0);
	} else {
		dtype_put_i(t, mem, 0, x.i);
		x.i = dtype_get_i(t, mem, 0);
	}
	return x;
}

static double
fop(enum op op, double a, double b)
{
	switch (op) {
	case OP_neg:
		return -a;
	case OP_abs:
		return fabs(a);
	case OP_exp:
		return exp(a);
	case OP_log:
		return log(a);
	case OP_log1p:
		return log1p(a);
	case OP_sqrt:
		return sqrt(a);
	case OP_rsqrt:
		return 1 / sqrt(a);
	case OP_sin:
		return sin(a);
	case OP_cos:
		return cos(a);
	case OP_tan:
		return tan(a);
	case OP_asin:
		return asin(a);
	case OP_acos:
		return acos(a);
	case OP_atan:
		return atan(a);
	case OP_sinh:
		return sinh(a);
	case OP_cosh:
		return cosh(a);
	case OP_tanh:
		return tanh(a);
	case OP_asinh:
		return asinh(a);
	case OP_acosh:
		return acosh(a);
	case OP_atanh:
		return atanh(a);
	case OP_erf:
		return erf(a);
	case OP_sigmoid:
		return 1 / (1 + exp(-a));
	case OP_floor:
		return floor(a);
	case OP_ceil:
		return ceil(a);
	case OP_round:
		return nearbyint(a);
	case OP_sign:
		return (a > 0) - (a < 0);
	case OP_add:
		return a + b;
	case OP_sub:
		return a - b;
	case OP_mul:
		return a * b;
	case OP_div:
		return a / b;
	case OP_pow:
		return pow(a, b);
	case OP_max:
		return isnan(a) || isnan(b) ? NAN : a > b ? a : b;
	case OP_min:
		return isnan(a) || isnan(b) ? NAN : a < b ? a : b;
	case OP_fmod:
		return fmod(a, b);
	default:
		die("interp: %s of floats", op_info[op].id);
	}
}

static int64_t
iop(enum op op, enum dtype t, int64_t a, int64_t b)
{
	bool u = t == DT_u64;

	switch (op) {
	case OP_neg:
		return -a;
	case OP_abs:
		return a < 0 && !u ? -a : a;
	case OP_sign:
		return (a > 0) - (a < 0);
	case OP_not:
		return !a;
	case OP_bnot:
		return ~a;
	case OP_add:
		return (int64_t)((uint64_t)a + (uint64_t)b);
	case OP_sub:
		return (int64_t)((uint64_t)a - (uint64_t)b);
	case OP_mul:
		return (int64_t)((uint64_t)a * (uint64_t)b);
	case OP_div:
		return !b ? 0 : u ? (int64_t)((uint64_t)a / (uint64_t)b) : a / b;
	case OP_fmod:
		return !b ? 0 : a % b;
	case OP_max:
		return u ? ((uint64_t)a > (uint64_t)b ? a : b) : a > b ? a : b;
	case OP_min:
		return u ? ((uint64_t)a < (uint64_t)b ? a : b) : a < b ? a : b;
	case OP_and:
	case OP_band:
		return a & b;
	case OP_or:
	case OP_bor:
		return a | b;
	case OP_xor:
	case OP_bxor:
		return a ^ b;
	/* as the evaluator: shifts by the width or more leave nothing but a sign */
	case OP_shl:
		return b < 0 || b >= dtype_info[t].bits ? 0 : (int64_t)((uint64_t)a << b);
	case OP_shr:
		if (b < 0 || b >= dtype_info[t].bits)
			return !u && a < 0 ? -1 : 0;
		return u ? (int64_t)((uint64_t)a >> b) : a >> b;
	case OP_pow:
		return (int64_t)llround(pow((double)a, (double)b));
	default:
		die("interp: %s of integers", op_info[op].id);
	}
}

static struct num
combine(enum op op, enum dtype t, struct num a, struct num b)
{
	struct num r = {0};

	if (t == DT_bool && op == OP_max)
		op = OP_or;
	if (dtype_is_float(t))
		r.f = fop(op, a.f, b.f);
	else
		r.i = iop(op, t, a.i, b.i);
	return of_type(t, r);
}

static struct num
cast(enum dtype from, enum dtype to, struct num a)
{
	struct num r = {0};

	if (dtype_is_float(from) && dtype_is_float(to))
		r.f = a.f;
	else if (dtype_is_float(from)) {
		char mem[16];

		if (to == DT_bool)
			r.i = a.f != 0;
		else {
			dtype_put_f(to, mem, 0, trunc(a.f));
			r.i = dtype_get_i(to, mem, 0);
		}
	} else if (dtype_is_float(to))
		r.f = from == DT_u64 ? (double)(uint64_t)a.i : (double)a.i;
	else
		r.i = to == DT_bool ? a.i != 0 : a.i;
	return of_type(to, r);
}

static struct num
operate(const struct run *r, const struct stmt *s)
{
	const struct num *q = r->reg;
	struct num a = s->src[0] >= 0 ? q[s->src[0]] : (struct num){0};
	struct num b = s->src[1] >= 0 ? q[s->src[1]] : (struct num){0}, x = {0};
	bool f = dtype_is_float(s->type);

	switch (s->op) {
	case OP_cast:
		return cast(r->call->kernel->reg_type[s->src[0]], s->type, a);
	case OP_select:
		return a.i ? b : q[s->src[2]];
	case OP_eq:
		x.i = f ? a.f == b.f : a.i == b.i;
		return x;
	case OP_lt:
		x.i = f ? a.f < b.f : s->type == DT_u64 ? (uint64_t)a.i < (uint64_t)b.i : a.i < b.i;
		return x;
	case OP_le:
		x.i = f			  ? a.f <= b.f
		      : s->type == DT_u64 ? (uint64_t)a.i <= (uint64_t)b.i
					  : a.i <= b.i;
		return x;
	case OP_isnan:
		x.i = f && isnan(a.f);
		return x;
	default:
		return combine(s->op, s->type, a, b);
	}
}

static void body(struct run *, const struct body *);

static double
element(struct run *r, int buf, int64_t at)
{
	const struct buffer *b = r->call->arg[buf];

	return in_bounds(r, buf, at, "tile load") ? dtype_get_f(b->dtype, memory(r, b), at) : 0;
}

static void
tile(struct run *r, const struct tile *t)
{
	int64_t a0 = value_of(r, &t->a.index), b0 = value_of(r, &t->b.index), n = 1;

	for (int i = 0; i < t->nk; i++)
		n *= t->k[i];
	for (int64_t i = 0; i < t->rows[0]; i++)
		for (int64_t j = 0; j < t->rows[1]; j++)
			for (int64_t g = 0; g < t->cblocks; g++)
				for (int64_t c = 0; c < t->valid_cols; c++) {
					double sum = 0;

					for (int64_t k = 0; k < n; k++) {
						int64_t at =
						    a0 + i * t->a.rstride[0] + j * t->a.rstride[1];
						int64_t bt = b0 + c + g * t->b.cbstride, rest = k;

						for (int d = t->nk - 1; d >= 0; d--) {
							at += rest % t->k[d] * t->a.kstride[d];
							bt += rest % t->k[d] * t->b.kstride[d];
							rest /= t->k[d];
						}
						sum += element(r, t->a.buf, at) *
						       element(r, t->b.buf, bt);
					}
					r->var[t->rowvar[0]] = i;
					r->var[t->rowvar[1]] = j;
					r->var[t->colvar] = c;
					if (t->cblocks > 1)
						r->var[t->cblockvar] = g;
					r->reg[t->acc].f = sum;
					body(r, &t->epilogue);
				}
}

static void
statement(struct run *r, const struct stmt *s)
{
	const struct buffer *b = s->buf >= 0 ? r->call->arg[s->buf] : NULL;
	struct num x = {0};
	int64_t at;

	switch (s->kind) {
	case S_FOR:
		for (int64_t i = 0; i < s->extent; i++) {
			r->var[s->var] = i;
			body(r, &s->body);
		}
		break;
	case S_CONST:
		r->reg[s->dst] = (struct num){s->f, s->i};
		break;
	case S_INDEX:
		r->reg[s->dst].i = value_of(r, &s->index);
		break;
	case S_OP:
		r->reg[s->dst] = operate(r, s);
		break;
	case S_LOAD:
		if (!allowed(r, s)) {
			if (s->src[0] >= 0)
				x = r->reg[s->src[0]];
		} else if (at = value_of(r, &s->index), in_bounds(r, s->buf, at, "load")) {
			if (dtype_is_float(b->dtype))
				x.f = dtype_get_f(b->dtype, memory(r, b), at);
			else
				x.i = dtype_get_i(b->dtype, memory(r, b), at);
		}
		r->reg[s->dst] = x;
		break;
	case S_STORE:
		if (!allowed(r, s) ||
		    (at = value_of(r, &s->index), !in_bounds(r, s->buf, at, "store")))
			break;
		if (dtype_is_float(b->dtype))
			dtype_put_f(b->dtype, memory(r, b), at, r->reg[s->src[0]].f);
		else
			dtype_put_i(b->dtype, memory(r, b), at, r->reg[s->src[0]].i);
		break;
	case S_ACC:
		r->reg[s->dst] = (struct num){s->f, s->i};
		break;
	case S_REDUCE:
		r->reg[s->dst] = combine(s->op, s->type, r->reg[s->dst], r->reg[s->src[0]]);
		break;
	case S_TILE:
		tile(r, s->tile);
		break;
	}
}

static void
body(struct run *r, const struct body *b)
{
	for (int i = 0; i < b->s.n; i++)
		statement(r, b->s.v[i]);
}

bool
interp_run(const struct program *p, void *const *base)
{
	struct run r = {.p = p, .base = base, .ok = true};

	for (int c = 0; c < p->calls.n && r.ok; c++) {
		r.call = &p->calls.v[c];
		r.var = xcalloc((size_t)r.call->kernel->nvar + 1, sizeof *r.var);
		r.reg = xcalloc((size_t)r.call->kernel->nreg + 1, sizeof *r.reg);
		body(&r, &r.call->kernel->body);
		free(r.var);
		free(r.reg);
	}
	return r.ok;
}
