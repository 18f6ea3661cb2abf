/* scalar -- the elementwise operators, on scalars and on vectors alike; their
 * meaning is the evaluator's (ir/ops/elementwise.c).  Registers of f16 and bf16 are
 * f32 values that their memory type can hold: every result is rounded. */
#include "codegen/gen.h"

#include <math.h>
#include <string.h>

static bool
is_vector(LLVMValueRef v)
{
	return LLVMGetTypeKind(LLVMTypeOf(v)) == LLVMVectorTypeKind;
}

/* The register type of t, as many lanes as `like`. */
static LLVMTypeRef
type_like(struct gen *g, enum dtype t, LLVMValueRef like)
{
	return gen_type(g, t, is_vector(like) ? (int)LLVMGetVectorSize(LLVMTypeOf(like)) : 0);
}

static LLVMValueRef
unary(struct gen *g, const char *name, LLVMValueRef x)
{
	LLVMTypeRef t = LLVMTypeOf(x);

	return gen_intrinsic(g, name, &t, 1, &x, 1);
}

static LLVMValueRef
binary(struct gen *g, const char *name, LLVMValueRef x, LLVMValueRef y)
{
	LLVMTypeRef t = LLVMTypeOf(x);

	return gen_intrinsic(g, name, &t, 1, (LLVMValueRef[]){x, y}, 2);
}

LLVMValueRef
gen_round(struct gen *g, enum dtype t, LLVMValueRef v)
{
	return t == DT_f16 || t == DT_bf16 ? gen_from_memory(g, t, gen_to_memory(g, t, v)) : v;
}

/* Products and sums may be fused where the machine has FMA. */
static LLVMValueRef
contract(struct gen *g, LLVMValueRef v)
{
	if (g->t->fma && LLVMIsAInstruction(v))
		LLVMSetFastMathFlags(v, LLVMFastMathAllowContract);
	return v;
}

static bool
real_const(LLVMValueRef v, double *d)
{
	LLVMBool loses;

	if (LLVMIsAConstantFP(v)) {
		*d = LLVMConstRealGetDouble(v, &loses);
		return *d == *d;
	}
	return false;
}

/* a > b ? a : b gives b where either is NaN; so the operand that may be NaN
 * stands second, or is chosen once more.  less: minimum. */
static LLVMValueRef
fmaxmin(struct gen *g, bool less, LLVMValueRef a, LLVMValueRef b, bool b_const, bool a_const)
{
	LLVMRealPredicate p = less ? LLVMRealOLT : LLVMRealOGT;
	LLVMValueRef m;

	if (b_const) {
		LLVMValueRef t = a;

		a = b;
		b = t;
		a_const = true;
	}
	m = LLVMBuildSelect(g->b, LLVMBuildFCmp(g->b, p, a, b, ""), a, b, "");
	if (a_const)
		return m;
	return LLVMBuildSelect(g->b, LLVMBuildFCmp(g->b, LLVMRealUNO, a, a, ""), a, m, "");
}

/* x / 0 = 0; the least number / -1 wraps. */
static LLVMValueRef
int_div(struct gen *g, enum op op, bool sg, LLVMValueRef a, LLVMValueRef b)
{
	LLVMBuilderRef l = g->b;
	LLVMTypeRef t = LLVMTypeOf(a);
	LLVMValueRef zero = LLVMConstNull(t), one = math_iconst(t, 1), z, m = NULL, d, r;

	z = LLVMBuildICmp(l, LLVMIntEQ, b, zero, "");
	d = LLVMBuildSelect(l, z, one, b, "");
	if (sg) {
		m = LLVMBuildICmp(l, LLVMIntEQ, b, LLVMConstAllOnes(t), "");
		d = LLVMBuildSelect(l, m, one, d, "");
	}
	if (op == OP_div) {
		r = sg ? LLVMBuildSDiv(l, a, d, "") : LLVMBuildUDiv(l, a, d, "");
		if (sg)
			r = LLVMBuildSelect(l, m, LLVMBuildSub(l, zero, a, ""), r, "");
	} else {
		r = sg ? LLVMBuildSRem(l, a, d, "") : LLVMBuildURem(l, a, d, "");
	}
	return LLVMBuildSelect(l, z, zero, r, "");
}

/* Shifts by the width or more leave nothing (a negative number's sign). */
static LLVMValueRef
shift(struct gen *g, enum op op, enum dtype type, LLVMValueRef a, LLVMValueRef n)
{
	LLVMBuilderRef l = g->b;
	LLVMTypeRef t = LLVMTypeOf(a);
	int bits = dtype_info[type].bits;
	LLVMValueRef in = LLVMBuildICmp(l, LLVMIntULT, n, math_iconst(t, bits), ""), r;

	n = LLVMBuildSelect(l, in, n, LLVMConstNull(t), "");
	if (op == OP_shl)
		return LLVMBuildSelect(l, in, LLVMBuildShl(l, a, n, ""), LLVMConstNull(t), "");
	if (dtype_info[type].class == DC_INT) {
		n = LLVMBuildSelect(l, in, n, math_iconst(t, bits - 1), "");
		return LLVMBuildAShr(l, a, n, "");
	}
	r = LLVMBuildLShr(l, a, n, "");
	return LLVMBuildSelect(l, in, r, LLVMConstNull(t), "");
}

/* Powers of integers, wrapping; one function for all widths, per lane. */
static LLVMValueRef
ipow_function(struct gen *g)
{
	struct module *m = g->m;
	LLVMValueRef f = LLVMGetNamedFunction(m->m, "retort.ipow"), x, e, r, x0, e0, one, zero, t, u;
	LLVMTypeRef ty;
	LLVMBuilderRef b;
	LLVMBasicBlockRef entry, loop, neg, exit;

	if (f)
		return f;
	ty = LLVMFunctionType(m->i64, (LLVMTypeRef[]){m->i64, m->i64}, 2, 0);
	f = module_function(m, "retort.ipow", ty, false);
	b = LLVMCreateBuilderInContext(m->c);
	entry = LLVMAppendBasicBlockInContext(m->c, f, "entry");
	neg = LLVMAppendBasicBlockInContext(m->c, f, "negative");
	loop = LLVMAppendBasicBlockInContext(m->c, f, "loop");
	exit = LLVMAppendBasicBlockInContext(m->c, f, "exit");
	one = LLVMConstInt(m->i64, 1, 0);
	zero = LLVMConstInt(m->i64, 0, 0);
	x0 = LLVMGetParam(f, 0);
	e0 = LLVMGetParam(f, 1);
	LLVMPositionBuilderAtEnd(b, entry);
	LLVMBuildCondBr(b, LLVMBuildICmp(b, LLVMIntSLT, e0, zero, ""), neg, loop);
	/* 1/x^n: 1 for 1, +-1 for -1, else 0 */
	LLVMPositionBuilderAtEnd(b, neg);
	t = LLVMBuildICmp(b, LLVMIntEQ, LLVMBuildAnd(b, e0, one, ""), one, "");
	u = LLVMBuildSelect(b, t, LLVMConstAllOnes(m->i64), one, "");
	u = LLVMBuildSelect(b, LLVMBuildICmp(b, LLVMIntEQ, x0, LLVMConstAllOnes(m->i64), ""), u, zero, "");
	u = LLVMBuildSelect(b, LLVMBuildICmp(b, LLVMIntEQ, x0, one, ""), one, u, "");
	LLVMBuildRet(b, u);
	LLVMPositionBuilderAtEnd(b, loop);
	x = LLVMBuildPhi(b, m->i64, "");
	e = LLVMBuildPhi(b, m->i64, "");
	r = LLVMBuildPhi(b, m->i64, "");
	LLVMAddIncoming(x, &x0, &entry, 1);
	LLVMAddIncoming(e, &e0, &entry, 1);
	LLVMAddIncoming(r, &one, &entry, 1);
	t = LLVMBuildICmp(b, LLVMIntEQ, LLVMBuildAnd(b, e, one, ""), one, "");
	u = LLVMBuildSelect(b, t, LLVMBuildMul(b, r, x, ""), r, "");
	LLVMAddIncoming(r, &u, &loop, 1);
	t = LLVMBuildMul(b, x, x, "");
	LLVMAddIncoming(x, &t, &loop, 1);
	t = LLVMBuildLShr(b, e, one, "");
	LLVMAddIncoming(e, &t, &loop, 1);
	LLVMBuildCondBr(b, LLVMBuildICmp(b, LLVMIntEQ, t, zero, ""), exit, loop);
	LLVMPositionBuilderAtEnd(b, exit);
	LLVMBuildRet(b, u);
	LLVMDisposeBuilder(b);
	return f;
}

static LLVMValueRef
int_pow(struct gen *g, bool sg, LLVMValueRef a, LLVMValueRef n)
{
	struct module *m = g->m;
	LLVMTypeRef t = LLVMTypeOf(a);
	int lanes = is_vector(a) ? (int)LLVMGetVectorSize(t) : 0;
	LLVMTypeRef wide = lanes ? LLVMVectorType(m->i64, (unsigned)lanes) : m->i64;
	LLVMValueRef f = ipow_function(g), r, arg[2];
	LLVMTypeRef ft = LLVMGlobalGetValueType(f);

	a = LLVMBuildIntCast2(g->b, a, wide, sg, "");
	n = LLVMBuildIntCast2(g->b, n, wide, sg, "");
	if (!lanes)
		r = LLVMBuildCall2(g->b, ft, f, (LLVMValueRef[]){a, n}, 2, "");
	else {
		r = LLVMGetPoison(wide);
		for (int i = 0; i < lanes; i++) {
			LLVMValueRef at = LLVMConstInt(m->i32, (unsigned)i, 0);

			arg[0] = LLVMBuildExtractElement(g->b, a, at, "");
			arg[1] = LLVMBuildExtractElement(g->b, n, at, "");
			r = LLVMBuildInsertElement(g->b, r, LLVMBuildCall2(g->b, ft, f, arg, 2, ""), at, "");
		}
	}
	return LLVMBuildIntCast2(g->b, r, t, sg, "");
}

/* ---- casts: floats to integers saturate and truncate, NaN is 0; integers wrap */
static LLVMValueRef
cast(struct gen *g, enum dtype to, enum dtype from, LLVMValueRef v)
{
	LLVMTypeRef t = type_like(g, to, v), over[2] = {t, LLVMTypeOf(v)};
	enum dtype_class cf = dtype_info[from].class, ct = dtype_info[to].class;

	if (to == from)
		return v;
	if (cf == DC_FLOAT && ct == DC_FLOAT) {
		if (from == DT_f64)
			v = LLVMBuildFPTrunc(g->b, v, t, "");
		else if (to == DT_f64)
			v = LLVMBuildFPExt(g->b, v, t, "");
		return gen_round(g, to, v);
	}
	if (ct == DC_BOOL)
		return cf == DC_FLOAT
		    ? LLVMBuildFCmp(g->b, LLVMRealUNE, v, LLVMConstNull(LLVMTypeOf(v)), "")
		    : LLVMBuildICmp(g->b, LLVMIntNE, v, LLVMConstNull(LLVMTypeOf(v)), "");
	if (cf == DC_FLOAT)
		return gen_intrinsic(g, ct == DC_INT ? "llvm.fptosi.sat" : "llvm.fptoui.sat", over, 2, &v, 1);
	if (ct == DC_FLOAT)
		return gen_round(g, to, cf == DC_INT ? LLVMBuildSIToFP(g->b, v, t, "") : LLVMBuildUIToFP(g->b, v, t, ""));
	return LLVMBuildIntCast2(g->b, v, t, cf == DC_INT, "");
}

/* ---- powers: small constant exponents by multiplication */
static LLVMValueRef
fpow(struct gen *g, enum dtype type, LLVMValueRef a, LLVMValueRef n, bool known, double e)
{
	LLVMBuilderRef l = g->b;
	LLVMTypeRef t = LLVMTypeOf(a);

	if (known && e == 1)
		return a;
	if (known && e == 2)
		return LLVMBuildFMul(l, a, a, "");
	if (known && e == 3)
		return LLVMBuildFMul(l, LLVMBuildFMul(l, a, a, ""), a, "");
	if (known && e == -1)
		return LLVMBuildFDiv(l, math_const(t, 1), a, "");
	if (known && e == 0.5) { /* unlike sqrt: +0 for -0, +inf for -inf */
		LLVMValueRef inf = LLVMBuildFCmp(l, LLVMRealOEQ, a, math_const(t, -INFINITY), "");
		LLVMValueRef r = unary(g, "llvm.sqrt", LLVMBuildFAdd(l, a, LLVMConstNull(t), ""));

		return LLVMBuildSelect(l, inf, math_const(t, INFINITY), r, "");
	}
	return math_libm(g, type == DT_f64 ? "pow" : "powf", a, n);
}

static LLVMValueRef
float_op(struct gen *g, enum op op, enum dtype type, LLVMValueRef a, LLVMValueRef b)
{
	static const struct { enum op op; const char *name; } libm[] = {
		{OP_exp, "exp"}, {OP_log, "log"}, {OP_log1p, "log1p"}, {OP_sin, "sin"}, {OP_cos, "cos"},
		{OP_tan, "tan"}, {OP_asin, "asin"}, {OP_acos, "acos"}, {OP_atan, "atan"}, {OP_sinh, "sinh"},
		{OP_cosh, "cosh"}, {OP_tanh, "tanh"}, {OP_asinh, "asinh"}, {OP_acosh, "acosh"},
		{OP_atanh, "atanh"}, {OP_erf, "erf"},
	};
	LLVMBuilderRef l = g->b;
	LLVMTypeRef t = LLVMTypeOf(a);
	LLVMValueRef r;
	char name[16];

	switch (op) {
	case OP_add: return contract(g, LLVMBuildFAdd(l, a, b, ""));
	case OP_sub: return contract(g, LLVMBuildFSub(l, a, b, ""));
	case OP_mul: return contract(g, LLVMBuildFMul(l, a, b, ""));
	case OP_div: return LLVMBuildFDiv(l, a, b, "");
	case OP_fmod: return LLVMBuildFRem(l, a, b, "");
	case OP_neg: return LLVMBuildFNeg(l, a, "");
	case OP_abs: return unary(g, "llvm.fabs", a);
	case OP_sqrt: return unary(g, "llvm.sqrt", a);
	case OP_rsqrt: return LLVMBuildFDiv(l, math_const(t, 1), unary(g, "llvm.sqrt", a), "");
	case OP_floor: return unary(g, "llvm.floor", a);
	case OP_ceil: return unary(g, "llvm.ceil", a);
	case OP_round: return unary(g, "llvm.roundeven", a);
	case OP_sign:
		r = binary(g, "llvm.copysign", math_const(t, 1), a);
		return LLVMBuildSelect(l, LLVMBuildFCmp(l, LLVMRealONE, a, LLVMConstNull(t), ""), r, a, "");
	default:
		break;
	}
	if (type != DT_f64 && (r = math_f32(g, op, a)))
		return r;
	if (op == OP_sigmoid) { /* f64: e = exp(-|x|), 1/(1+e) or e/(1+e) */
		LLVMValueRef e = float_op(g, OP_exp, type, LLVMBuildFNeg(l, unary(g, "llvm.fabs", a), ""), NULL);
		LLVMValueRef neg = LLVMBuildFCmp(l, LLVMRealOLT, a, LLVMConstNull(t), "");

		return LLVMBuildFDiv(l, LLVMBuildSelect(l, neg, e, math_const(t, 1), ""),
		    LLVMBuildFAdd(l, math_const(t, 1), e, ""), "");
	}
	for (size_t i = 0; i < sizeof libm / sizeof *libm; i++)
		if (libm[i].op == op) {
			snprintf(name, sizeof name, "%s%s", libm[i].name, type == DT_f64 ? "" : "f");
			return math_libm(g, name, a, NULL);
		}
	die("kernel %s: no %s on %s", g->k->name, op_info[op].id, dtype_info[type].name);
}

static LLVMValueRef
int_op(struct gen *g, enum op op, enum dtype type, LLVMValueRef a, LLVMValueRef b)
{
	LLVMBuilderRef l = g->b;
	LLVMTypeRef t = LLVMTypeOf(a);
	LLVMValueRef zero = LLVMConstNull(t), c;
	bool sg = dtype_info[type].class == DC_INT;

	switch (op) {
	case OP_add: return LLVMBuildAdd(l, a, b, "");
	case OP_sub: return LLVMBuildSub(l, a, b, "");
	case OP_mul: return LLVMBuildMul(l, a, b, "");
	case OP_div: case OP_fmod: return int_div(g, op, sg, a, b);
	case OP_pow: return int_pow(g, sg, a, b);
	case OP_neg: return LLVMBuildSub(l, zero, a, "");
	case OP_abs:
		if (!sg)
			return a;
		return LLVMBuildSelect(l, LLVMBuildICmp(l, LLVMIntSLT, a, zero, ""), LLVMBuildSub(l, zero, a, ""), a, "");
	case OP_sign:
		c = LLVMBuildZExt(l, LLVMBuildICmp(l, sg ? LLVMIntSGT : LLVMIntUGT, a, zero, ""), t, "");
		if (sg)
			c = LLVMBuildSub(l, c, LLVMBuildZExt(l, LLVMBuildICmp(l, LLVMIntSLT, a, zero, ""), t, ""), "");
		return c;
	case OP_max:
		return LLVMBuildSelect(l, LLVMBuildICmp(l, sg ? LLVMIntSGT : LLVMIntUGT, a, b, ""), a, b, "");
	case OP_min:
		return LLVMBuildSelect(l, LLVMBuildICmp(l, sg ? LLVMIntSLT : LLVMIntULT, a, b, ""), a, b, "");
	case OP_not: return LLVMBuildNot(l, a, "");
	case OP_bnot: return LLVMBuildNot(l, a, "");
	case OP_and: case OP_band: return LLVMBuildAnd(l, a, b, "");
	case OP_or: case OP_bor: return LLVMBuildOr(l, a, b, "");
	case OP_xor: case OP_bxor: return LLVMBuildXor(l, a, b, "");
	case OP_shl: case OP_shr: return shift(g, op, type, a, b);
	case OP_floor: case OP_ceil: case OP_round: return a;
	default: die("kernel %s: no %s on %s", g->k->name, op_info[op].id, dtype_info[type].name);
	}
}

static LLVMValueRef
compare(struct gen *g, enum op op, enum dtype type, LLVMValueRef a, LLVMValueRef b)
{
	bool sg = dtype_info[type].class == DC_INT;

	if (dtype_is_float(type))
		return LLVMBuildFCmp(g->b, op == OP_eq ? LLVMRealOEQ : op == OP_lt ? LLVMRealOLT : LLVMRealOLE, a, b, "");
	return LLVMBuildICmp(g->b, op == OP_eq ? LLVMIntEQ : op == OP_lt ? (sg ? LLVMIntSLT : LLVMIntULT)
	                                                                 : (sg ? LLVMIntSLE : LLVMIntULE), a, b, "");
}

/* dst type `type` (operands' for comparisons), source type `from` of casts; all
 * operands scalar, or all vectors of one length. */
LLVMValueRef
gen_op(struct gen *g, enum op op, enum dtype type, enum dtype from, LLVMValueRef a, LLVMValueRef b, LLVMValueRef c)
{
	switch (op) {
	case OP_cast: return cast(g, type, from, a);
	case OP_select: return LLVMBuildSelect(g->b, a, b, c, "");
	case OP_eq: case OP_lt: case OP_le: return compare(g, op, type, a, b);
	case OP_isnan:
		if (!dtype_is_float(type))
			return LLVMConstNull(type_like(g, DT_bool, a));
		return LLVMBuildFCmp(g->b, LLVMRealUNO, a, a, "");
	case OP_max: case OP_min:
		if (dtype_is_float(type))
			return fmaxmin(g, op == OP_min, a, b, false, false);
		break;
	default:
		break;
	}
	if (dtype_is_float(type))
		return gen_round(g, type, float_op(g, op, type, a, b));
	return int_op(g, op, type, a, b);
}

void
gen_sop(struct gen *g, const struct stmt *s)
{
	struct reg *d = &g->reg[s->dst];
	LLVMValueRef v[3] = {NULL, NULL, NULL}, r;
	enum dtype from = g->k->reg_type[s->src[0]], type = s->type;
	bool vec = false, known[3] = {false};
	double val[3] = {0};
	int n = op_info[s->op].in_max;

	for (int i = 0; i < n; i++) {
		struct reg *x = &g->reg[s->src[i]];

		require(x->v);
		vec |= x->vector;
		known[i] = (x->has_const && (val[i] = x->f) == x->f) || real_const(x->v, &val[i]);
	}
	for (int i = 0; i < n; i++)
		v[i] = vec && !(s->op == OP_select && i == 0) ? gen_vector(g, s->src[i]) : g->reg[s->src[i]].v;
	if (s->op == OP_isnan)
		type = from;
	if ((s->op == OP_max || s->op == OP_min) && dtype_is_float(type))
		r = fmaxmin(g, s->op == OP_min, v[0], v[1], known[1], known[0]);
	else if (s->op == OP_pow && dtype_is_float(type)) {
		enum dtype te = g->k->reg_type[s->src[1]];

		if (te != type)
			v[1] = cast(g, type, te, v[1]);
		r = gen_round(g, type, fpow(g, type, v[0], v[1], known[1], val[1]));
	} else if (s->op == OP_pow && dtype_is_float(g->k->reg_type[s->src[1]])) { /* an integer to a real power */
		enum dtype te = g->k->reg_type[s->src[1]];

		r = math_libm(g, "pow", cast(g, DT_f64, type, v[0]), cast(g, DT_f64, te, v[1]));
		r = cast(g, type, DT_f64, r);
	} else {
		if (s->op == OP_pow || s->op == OP_shl || s->op == OP_shr)
			v[1] = cast(g, type, g->k->reg_type[s->src[1]], v[1]);
		r = gen_op(g, s->op, type, from, v[0], v[1], v[2]);
	}
	*d = (struct reg){.v = r, .vector = vec};
}
