/* math -- elementary functions inline, as polynomials over any number of lanes, for
 * f32.  Coefficients are minimax fits (Lawson's iteration) made for this file; the
 * errors stated were measured over the whole range against libm in double.
 * Constant splits (Cody-Waite) have few bits, so products are exact without FMA. */
#include "codegen/gen.h"

#include <math.h>
#include <string.h>

LLVMValueRef
math_const(LLVMTypeRef t, double v)
{
	LLVMValueRef e[64];
	unsigned n;

	if (LLVMGetTypeKind(t) != LLVMVectorTypeKind)
		return LLVMConstReal(t, v);
	n = LLVMGetVectorSize(t);
	e[0] = LLVMConstReal(LLVMGetElementType(t), v);
	for (unsigned i = 1; i < n; i++)
		e[i] = e[0];
	return LLVMConstVector(e, n);
}

LLVMValueRef
math_iconst(LLVMTypeRef t, int64_t v)
{
	LLVMValueRef e[64];
	unsigned n;

	if (LLVMGetTypeKind(t) != LLVMVectorTypeKind)
		return LLVMConstInt(t, (unsigned long long)v, 1);
	n = LLVMGetVectorSize(t);
	e[0] = LLVMConstInt(LLVMGetElementType(t), (unsigned long long)v, 1);
	for (unsigned i = 1; i < n; i++)
		e[i] = e[0];
	return LLVMConstVector(e, n);
}

LLVMValueRef
math_mad(struct gen *g, LLVMValueRef a, LLVMValueRef b, LLVMValueRef c)
{
	LLVMTypeRef t = LLVMTypeOf(a);

	if (!g->t->fma)
		return LLVMBuildFAdd(g->b, LLVMBuildFMul(g->b, a, b, ""), c, "");
	return gen_intrinsic(g, "llvm.fma", &t, 1, (LLVMValueRef[]){a, b, c}, 3);
}

/* A function of libm, lane by lane. */
LLVMValueRef
math_libm(struct gen *g, const char *name, LLVMValueRef x, LLVMValueRef y)
{
	LLVMTypeRef t = LLVMTypeOf(x), e = t, ft;
	LLVMValueRef f = LLVMGetNamedFunction(g->m->m, name), r, arg[2] = {x, y};
	bool vec = LLVMGetTypeKind(t) == LLVMVectorTypeKind;
	unsigned n = y ? 2 : 1;

	if (vec)
		e = LLVMGetElementType(t);
	ft = LLVMFunctionType(e, (LLVMTypeRef[]){e, e}, n, 0);
	if (!f)
		f = LLVMAddFunction(g->m->m, name, ft);
	if (!vec)
		return LLVMBuildCall2(g->b, ft, f, arg, n, "");
	r = LLVMConstNull(t);
	for (int i = 0; i < g->active && i < (int)LLVMGetVectorSize(t); i++) {
		LLVMValueRef at = LLVMConstInt(g->m->i32, (unsigned)i, 0);

		arg[0] = LLVMBuildExtractElement(g->b, x, at, "");
		if (y)
			arg[1] = LLVMBuildExtractElement(g->b, y, at, "");
		r = LLVMBuildInsertElement(g->b, r, LLVMBuildCall2(g->b, ft, f, arg, n, ""), at, "");
	}
	return r;
}

/* ---- a small language: x is always the f32 type at hand */
struct m { struct gen *g; LLVMBuilderRef b; LLVMTypeRef f, i; };

static struct m
m_of(struct gen *g, LLVMValueRef x)
{
	LLVMTypeRef t = LLVMTypeOf(x);
	bool vec = LLVMGetTypeKind(t) == LLVMVectorTypeKind;

	return (struct m){g, g->b, t, vec ? LLVMVectorType(g->m->i32, LLVMGetVectorSize(t)) : g->m->i32};
}

#define V LLVMValueRef
static V K(struct m *m, double v) { return math_const(m->f, v); }
static V I(struct m *m, int64_t v) { return math_iconst(m->i, v); }
static V add(struct m *m, V a, V b) { return LLVMBuildFAdd(m->b, a, b, ""); }
static V sub(struct m *m, V a, V b) { return LLVMBuildFSub(m->b, a, b, ""); }
static V mul(struct m *m, V a, V b) { return LLVMBuildFMul(m->b, a, b, ""); }
static V quo(struct m *m, V a, V b) { return LLVMBuildFDiv(m->b, a, b, ""); }
static V mad(struct m *m, V a, V b, V c) { return math_mad(m->g, a, b, c); }
static V sel(struct m *m, V c, V a, V b) { return LLVMBuildSelect(m->b, c, a, b, ""); }
static V lt(struct m *m, V a, V b) { return LLVMBuildFCmp(m->b, LLVMRealOLT, a, b, ""); }
static V gt(struct m *m, V a, V b) { return LLVMBuildFCmp(m->b, LLVMRealOGT, a, b, ""); }
static V eq(struct m *m, V a, V b) { return LLVMBuildFCmp(m->b, LLVMRealOEQ, a, b, ""); }
static V bits(struct m *m, V a) { return LLVMBuildBitCast(m->b, a, m->i, ""); }
static V real(struct m *m, V a) { return LLVMBuildBitCast(m->b, a, m->f, ""); }
static V iadd(struct m *m, V a, V b) { return LLVMBuildAdd(m->b, a, b, ""); }
static V isub(struct m *m, V a, V b) { return LLVMBuildSub(m->b, a, b, ""); }
static V iand(struct m *m, V a, int64_t b) { return LLVMBuildAnd(m->b, a, I(m, b), ""); }
static V shl(struct m *m, V a, int n) { return LLVMBuildShl(m->b, a, I(m, n), ""); }
static V sar(struct m *m, V a, int n) { return LLVMBuildAShr(m->b, a, I(m, n), ""); }
static V one(struct m *m, const char *name, V a) { return gen_intrinsic(m->g, name, &m->f, 1, &a, 1); }
static V fabs_(struct m *m, V a) { return one(m, "llvm.fabs", a); }
static V sign_of(struct m *m, V mag, V s)
{
	return gen_intrinsic(m->g, "llvm.copysign", &m->f, 1, (V[]){mag, s}, 2);
}

/* c[0] + c[1]*x + ... by Horner */
static V
poly(struct m *m, V x, const double *c, int n)
{
	V r = K(m, c[n - 1]);

	for (int i = n - 2; i >= 0; i--)
		r = mad(m, r, x, K(m, c[i]));
	return r;
}
#define POLY(m, x, c) poly((m), (x), (c), sizeof (c) / sizeof *(c))

/* lo <= x <= hi; NaN stays */
static V
clamp(struct m *m, V x, double lo, double hi)
{
	x = sel(m, lt(m, x, K(m, lo)), K(m, lo), x);
	return sel(m, gt(m, x, K(m, hi)), K(m, hi), x);
}

/* a whole register of AVX-512 */
static bool
wide(struct m *m)
{
	return m->g->t->avx512 && LLVMGetTypeKind(m->f) == LLVMVectorTypeKind && LLVMGetVectorSize(m->f) == 16;
}

/* x = n*ln2 + r, |r| <= ln2/2; the nearest integer by the sum with 1.5*2^23 */
static const double TINY_EXP = -87.33654;
static const double LOG2E = 1.4426950408889634, LN2_HI = 0.693359375, LN2_LO = -2.12194440054690583e-4;

struct reduced { V n, ni, r; };
static struct reduced
reduce_ln2(struct m *m, V x)
{
	V magic = K(m, 12582912.0), t = mad(m, x, K(m, LOG2E), magic);
	struct reduced q;

	q.ni = isub(m, bits(m, t), I(m, 0x4b400000));
	q.n = sub(m, t, magic);
	q.r = mad(m, q.n, K(m, -LN2_HI), x);
	q.r = mad(m, q.n, K(m, -LN2_LO), q.r);
	return q;
}

/* p * 2^n for |n| < 250, rounding once into the subnormals */
static V
scale(struct m *m, V p, V n, V ni)
{
	V a, b;

	if (wide(m)) {
		V arg[] = {p, n, LLVMConstNull(m->f), LLVMConstAllOnes(m->g->m->i16), LLVMConstInt(m->g->m->i32, 4, 0)};

		return gen_intrinsic(m->g, "llvm.x86.avx512.mask.scalef.ps.512", NULL, 0, arg, 5);
	}
	a = sar(m, ni, 1);
	b = isub(m, ni, a);
	p = mul(m, p, real(m, shl(m, iadd(m, a, I(m, 127)), 23)));
	return mul(m, p, real(m, shl(m, iadd(m, b, I(m, 127)), 23)));
}

/* exp(x) * 2^bias for |x| < 90: 1 + r + r^2 q(r), relative error of q 3e-9 */
static V
exp_in(struct m *m, V x, int bias)
{
	static const double q[] = {
		0.4999999403953552, 0.1666651964187622, 0.04166840761899948, 0.008368914015591145, 0.001381418900564313,
	};
	struct reduced k = reduce_ln2(m, x);
	V p = mad(m, mul(m, k.r, k.r), POLY(m, k.r, q), k.r);

	p = add(m, p, K(m, 1));
	if (bias) {
		k.n = add(m, k.n, K(m, bias));
		k.ni = iadd(m, k.ni, I(m, bias));
	}
	return scale(m, p, k.n, k.ni);
}

/* Zero where exp(x) is below the normal numbers: arithmetic on subnormals takes a
 * hundred times as long, and masks of attention make many. */
static V
exp_(struct m *m, V x, int bias)
{
	V tiny = lt(m, x, K(m, TINY_EXP));

	x = sel(m, tiny, K(m, -87), x);
	x = sel(m, gt(m, x, K(m, 90)), K(m, 90), x);
	return sel(m, tiny, K(m, 0), exp_in(m, x, bias));
}

/* exp(x) - 1 for |x| < 60, small relative error everywhere */
static V
expm1_(struct m *m, V x)
{
	static const double q[] = {
		0.4999999701976776, 0.16666541993618011, 0.04166720435023308, 0.008366705849766731, 0.0013882480561733246,
	};
	struct reduced k = reduce_ln2(m, x);
	V s = real(m, shl(m, iadd(m, k.ni, I(m, 127)), 23)), p;

	p = mad(m, mul(m, k.r, k.r), POLY(m, k.r, q), k.r);
	return mad(m, p, s, sub(m, s, K(m, 1)));
}

/* log(u * (1 + c)), c tiny; u = 2^e * (1 + f), 1+f in [sqrt(1/2), sqrt 2) */
static V
log_(struct m *m, V u, V c)
{
	static const double q[] = {
		0.3333331048488617, -0.25000008940696716, 0.2000216692686081, -0.16668090224266052, 0.1421855241060257,
		-0.12403086572885513, 0.1189352497458458, -0.11694324761629105, 0.06757530570030212,
	};
	V tiny = lt(m, u, K(m, 0x1p-126)), x = sel(m, tiny, mul(m, u, K(m, 0x1p23)), u), i = bits(m, x), ei, e, f, z, y, r;

	ei = sar(m, isub(m, i, I(m, 0x3f3504f3)), 23);
	f = sub(m, real(m, isub(m, i, shl(m, ei, 23))), K(m, 1));
	e = LLVMBuildSIToFP(m->b, isub(m, ei, LLVMBuildSelect(m->b, tiny, I(m, 23), I(m, 0), "")), m->f, "");
	z = mul(m, f, f);
	y = mul(m, mul(m, z, f), POLY(m, f, q));
	y = mad(m, e, K(m, LN2_LO), y);
	if (c)
		y = add(m, y, c);
	y = mad(m, z, K(m, -0.5), y);
	r = mad(m, e, K(m, LN2_HI), add(m, f, y));
	/* log 0 = -inf, of inf = inf, below 0 and of NaN: NaN */
	r = sel(m, lt(m, u, K(m, INFINITY)), r, u);
	r = sel(m, eq(m, u, K(m, 0)), K(m, -INFINITY), r);
	return sel(m, lt(m, u, K(m, 0)), K(m, NAN), r);
}

static V
log1p_(struct m *m, V x)
{
	V u = add(m, K(m, 1), x), d = sub(m, u, K(m, 1)), c, r;

	/* what rounding 1+x lost, of the smaller part */
	c = sel(m, lt(m, fabs_(m, x), K(m, 1)), sub(m, x, d), sub(m, K(m, 1), sub(m, u, x)));
	c = quo(m, c, u);
	c = sel(m, lt(m, fabs_(m, c), K(m, 1)), c, K(m, 0)); /* u of 0, inf */
	r = log_(m, u, c);
	return sel(m, lt(m, fabs_(m, x), K(m, 1e-7)), x, r); /* -0 too */
}

/* 1/d for 1 <= d < 2^126: an estimate of 14 bits and a step of Newton's */
static V
reciprocal(struct m *m, V d)
{
	V r;

	if (!wide(m))
		return quo(m, K(m, 1), d);
	r = gen_intrinsic(m->g, "llvm.x86.avx512.rcp14.ps.512", NULL, 0,
	    (V[]){d, LLVMConstNull(m->f), LLVMConstAllOnes(m->g->m->i16)}, 3);
	return mad(m, r, mad(m, LLVMBuildFNeg(m->b, d, ""), r, K(m, 1)), r);
}

/* 1 / (1 + exp(-x)), 0 below the normal numbers */
static V
sigmoid_(struct m *m, V x)
{
	V tiny = lt(m, x, K(m, TINY_EXP)), e;

	x = sel(m, gt(m, x, K(m, 87)), K(m, 87), x);
	e = exp_in(m, LLVMBuildFNeg(m->b, x, ""), 0);
	return sel(m, tiny, K(m, 0), reciprocal(m, add(m, K(m, 1), e)));
}

/* (e^2x - 1) / (e^2x + 1) */
static V
tanh_(struct m *m, V x)
{
	V a = fabs_(m, x), e;

	a = sel(m, gt(m, a, K(m, 10)), K(m, 10), a);
	e = expm1_(m, add(m, a, a));
	return sign_of(m, mul(m, e, reciprocal(m, add(m, e, K(m, 2)))), x);
}

static V
sinh_(struct m *m, V x)
{
	V a = fabs_(m, x), small = lt(m, a, K(m, 2)), e, h, r;

	e = expm1_(m, sel(m, small, a, K(m, 2)));
	e = mul(m, K(m, 0.5), add(m, e, quo(m, e, add(m, e, K(m, 1)))));
	h = exp_(m, a, -1);
	r = sel(m, small, e, sub(m, h, quo(m, K(m, 0.25), h)));
	return sign_of(m, sel(m, LLVMBuildFCmp(m->b, LLVMRealUNO, x, x, ""), x, r), x);
}

static V
cosh_(struct m *m, V x)
{
	V h = exp_(m, fabs_(m, x), -1);

	return add(m, h, quo(m, K(m, 0.25), h));
}

/* erf(t)/t about n/8 for n < 32 by powers of t - n/8: the coefficients of 16 lanes are
 * picked from two registers each */
static V
erf_by_table(struct m *m, V x)
{
	static const float c[5][32] = {
		{1.12837923, 1.12252963, 1.10530555, 1.07764506, 1.04099977, 0.997185409, 0.948207498, 0.896085799,
		    0.842700779, 0.789678454, 0.738320112, 0.689578235, 0.644070089, 0.602119207, 0.563812375,
		    0.529061377, 0.497661144, 0.469339281, 0.44379434, 0.420722961, 0.399837226, 0.380874157,
		    0.363599777, 0.347809434, 0.333325982, 0.319996834, 0.307690978, 0.296295762, 0.28571406,
		    0.275861979, 0.266666651, 0.258064508},
		{2.6581175e-15, -0.0931548551, -0.181165561, -0.259445876, -0.324434102, -0.373897165, -0.407035083,
		    -0.424389303, -0.427593231, -0.419026196, -0.40143922, -0.377613485, -0.350093275, -0.3210136,
		    -0.292021424, -0.264275014, -0.238497123, -0.215058133, -0.194067582, -0.175459579, -0.159063578,
		    -0.144657627, -0.132004902, -0.120876245, -0.111062236, -0.102378257, -0.0946651623,
		    -0.0877875537, -0.0816310495, -0.0760992467, -0.071110867, -0.0665972009},
		{-0.37612617, -0.365645468, -0.33535108, -0.288496494, -0.229913875, -0.165263772, -0.100217521,
		    -0.0397287197, 0.0124856513, 0.0541936494, 0.0846301392, 0.104268126, 0.11446517, 0.117074534,
		    0.114094384, 0.107400849, 0.0985815898, 0.0888630226, 0.0791099593, 0.0698712543, 0.0614471547,
		    0.0539597981, 0.0474155098, 0.0417536832, 0.0368814915, 0.0326962844, 0.0290985536, 0.0259983744,
		    0.0233177561, 0.020990679, 0.0189620163, 0.0171860345},
		{-1.35844396e-12, 0.0552828498, 0.104546487, 0.142760754, 0.166655943, 0.175119057, 0.169156983,
		    0.151477456, 0.125822365, 0.0962269232, 0.0663665608, 0.0391031802, 0.0162746627, -0.00129178539,
		    -0.0136049874, -0.0212529134, -0.0251360182, -0.0262420382, -0.0254876595, -0.0236300845,
		    -0.0212367158, -0.0186946448, -0.016241705, -0.014004644, -0.0120351017, -0.0103387916,
		    -0.00889665913, -0.0076787835, -0.00665264158, -0.00578746619, -0.00505613908, -0.00443568733},
		{0.112680636, 0.106485598, 0.0889286548, 0.0628658906, 0.0323592871, 0.00183084724, -0.0247873422,
		    -0.0447047912, -0.0565986745, -0.0605885834, -0.0579277724, -0.050536871, -0.0405180156,
		    -0.0297595132, -0.0196910556, -0.0111971535, -0.00465743989, -6.36204786e-05, 0.0028372847,
		    0.00441137562, 0.00503901113, 0.00505428435, 0.00471802661, 0.00421462581, 0.00366241182,
		    0.00312939566, 0.00264899852, 0.00223307684, 0.0018814198, 0.00158799521, 0.00134467473,
		    0.00114322267},
	};
	V magic = K(m, 12582912.0), a = fabs_(m, x), t, n, u, p = NULL, far;

	far = gt(m, a, K(m, 3.92));
	t = sel(m, far, K(m, 3.92), a);
	n = mad(m, t, K(m, 8), magic);
	u = mad(m, sub(m, n, magic), K(m, -0.125), t);
	for (int k = 4; k >= 0; k--) {
		V half[2], e[16];

		for (int h = 0; h < 2; h++) {
			for (int i = 0; i < 16; i++)
				e[i] = LLVMConstReal(LLVMGetElementType(m->f), (double)c[k][16 * h + i]);
			half[h] = LLVMConstVector(e, 16);
		}
		V ck = gen_intrinsic(m->g, "llvm.x86.avx512.vpermi2var.ps.512", NULL, 0, (V[]){half[0], bits(m, n), half[1]}, 3);

		p = p ? mad(m, p, u, ck) : ck;
	}
	return sign_of(m, sel(m, far, K(m, 1), mul(m, p, t)), x);
}

/* x P(x^2)/Q(x^2) on [-3.95, 3.95], 1 beyond: relative error of the fraction 2e-9 */
static V
erf_(struct m *m, V x)
{
	if (wide(m))
		return erf_by_table(m, x);

	static const double p[] = {
		1.128379225730896, 0.1851695030927658, 0.05427483841776848, 0.003843391314148903, 0.0003779378021135926,
		4.640444785763975e-06, -1.2967126927776462e-08,
	};
	static const double q[] = {
		1, 0.497435599565506, 0.11391119658946991, 0.015443761833012104, 0.0013040682533755898, 6.269261939451098e-05,
	};
	V a = clamp(m, x, -3.95, 3.95), z = mul(m, a, a), r = quo(m, mul(m, a, POLY(m, z, p)), POLY(m, z, q));

	r = sel(m, gt(m, fabs_(m, r), K(m, 1)), sign_of(m, K(m, 1), x), r);
	return sel(m, gt(m, fabs_(m, x), K(m, 3.92)), sign_of(m, K(m, 1), x), r);
}

/* pi/2 in parts of 8, 11 and 11 bits and the rest: n times a part is exact below 2^13 */
static V
sincos_(struct m *m, V x, bool cosine)
{
	static const double s[] = {-0.1666666716337204, 0.008333329111337662, -0.0001983921101782471, 2.7171602141606854e-06};
	static const double c[] = {0.04166664555668831, -0.001388723379932344, 2.442362529109232e-05};
	static const double pi2[] = {1.5703125, 4.837512969970703125e-4, 7.549533620476722717e-8, 2.563282919700128e-12};
	LLVMBasicBlockRef pre, slow, join;
	V magic = K(m, 12582912.0), t = mad(m, x, K(m, 0.63661977236758134), magic), n = sub(m, t, magic), q, r = x, z, ys, yc, y, big, any, phi;

	for (int i = 0; i < 4; i++)
		r = mad(m, n, K(m, -pi2[i]), r);
	q = bits(m, t);
	if (cosine)
		q = iadd(m, q, I(m, 1));
	z = mul(m, r, r);
	ys = mad(m, mul(m, z, r), POLY(m, z, s), r);
	yc = mad(m, mul(m, z, z), POLY(m, z, c), mad(m, z, K(m, -0.5), K(m, 1)));
	y = sel(m, LLVMBuildICmp(m->b, LLVMIntEQ, iand(m, q, 1), I(m, 0), ""), ys, yc);
	y = real(m, LLVMBuildXor(m->b, bits(m, y), shl(m, iand(m, q, 2), 30), ""));
	if (!cosine) /* -0 */
		y = sel(m, eq(m, x, K(m, 0)), x, y);
	/* beyond 2^12, and for inf and NaN, libm */
	big = LLVMBuildNot(m->b, lt(m, fabs_(m, x), K(m, 4096)), "");
	any = big;
	if (LLVMGetTypeKind(m->f) == LLVMVectorTypeKind) {
		LLVMTypeRef mt = LLVMTypeOf(big);

		any = gen_intrinsic(m->g, "llvm.vector.reduce.or", &mt, 1, &big, 1);
	}
	pre = LLVMGetInsertBlock(m->b);
	slow = gen_block(m->g, "huge");
	join = gen_block(m->g, "join");
	LLVMBuildCondBr(m->b, any, slow, join);
	LLVMPositionBuilderAtEnd(m->b, slow);
	z = sel(m, big, math_libm(m->g, cosine ? "cosf" : "sinf", x, NULL), y);
	slow = LLVMGetInsertBlock(m->b);
	LLVMBuildBr(m->b, join);
	LLVMPositionBuilderAtEnd(m->b, join);
	phi = LLVMBuildPhi(m->b, m->f, "");
	LLVMAddIncoming(phi, &y, &pre, 1);
	LLVMAddIncoming(phi, &z, &slow, 1);
	return phi;
}
#undef V

LLVMValueRef
math_f32(struct gen *g, enum op op, LLVMValueRef x)
{
	struct m m = m_of(g, x);

	switch (op) {
	case OP_exp: return exp_(&m, x, 0);
	case OP_log: return log_(&m, x, NULL);
	case OP_log1p: return log1p_(&m, x);
	case OP_sigmoid: return sigmoid_(&m, x);
	case OP_tanh: return tanh_(&m, x);
	case OP_sinh: return sinh_(&m, x);
	case OP_cosh: return cosh_(&m, x);
	case OP_erf: return erf_(&m, x);
	case OP_sin: return sincos_(&m, x, false);
	case OP_cos: return sincos_(&m, x, true);
	default: return NULL;
	}
}
