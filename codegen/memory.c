/* memory -- loads and stores.  A guard that does not vary by lane becomes a
 * branch, one that does a mask; nothing is touched where a guard fails.  Vector
 * accesses assume the element's alignment only. */
#include "codegen/gen.h"

#include <string.h>

/* ---- forms in memory: bool is a byte, f16 and bf16 are 16 bits */
static LLVMTypeRef
same_lanes(LLVMTypeRef elem, LLVMValueRef like)
{
	LLVMTypeRef t = LLVMTypeOf(like);

	return LLVMGetTypeKind(t) == LLVMVectorTypeKind ? LLVMVectorType(elem, LLVMGetVectorSize(t)) : elem;
}

/* f16 without machine support: the exponent moved by multiplication, which also
 * makes subnormals; infinities and NaN by their exponent */
static LLVMValueRef
half_to_float(struct gen *g, LLVMValueRef h)
{
	LLVMBuilderRef b = g->b;
	LLVMTypeRef it = same_lanes(g->m->i32, h), ft = same_lanes(g->m->f32, h);
	LLVMValueRef x = LLVMBuildZExt(b, h, it, ""), mag, f, big, sign;

	mag = LLVMBuildShl(b, LLVMBuildAnd(b, x, math_iconst(it, 0x7fff), ""), math_iconst(it, 13), "");
	f = LLVMBuildFMul(b, LLVMBuildBitCast(b, mag, ft, ""), math_const(ft, 0x1p112), "");
	big = LLVMBuildICmp(b, LLVMIntUGE, mag, math_iconst(it, 0x7c00 << 13), "");
	mag = LLVMBuildSelect(b, big, LLVMBuildOr(b, mag, math_iconst(it, 0x7f800000), ""),
	    LLVMBuildBitCast(b, f, it, ""), "");
	sign = LLVMBuildShl(b, LLVMBuildAnd(b, x, math_iconst(it, 0x8000), ""), math_iconst(it, 16), "");
	return LLVMBuildBitCast(b, LLVMBuildOr(b, mag, sign, ""), ft, "");
}

/* Round to nearest even by adding a magic number whose unit in the last place is
 * that of the half. */
static LLVMValueRef
float_to_half(struct gen *g, LLVMValueRef f)
{
	LLVMBuilderRef b = g->b;
	LLVMTypeRef it = same_lanes(g->m->i32, f), ft = same_lanes(g->m->f32, f);
	LLVMValueRef x = LLVMBuildBitCast(b, f, it, ""), sign, mag, sub, norm, odd, r, nan, big;

	sign = LLVMBuildAnd(b, x, math_iconst(it, 0x80000000), "");
	mag = LLVMBuildXor(b, x, sign, "");
	/* subnormal halves: 0.5 has the unit 2^-24 */
	sub = LLVMBuildFAdd(b, LLVMBuildBitCast(b, mag, ft, ""), math_const(ft, 0.5), "");
	sub = LLVMBuildSub(b, LLVMBuildBitCast(b, sub, it, ""), math_iconst(it, 0x3f000000), "");
	odd = LLVMBuildAnd(b, LLVMBuildLShr(b, mag, math_iconst(it, 13), ""), math_iconst(it, 1), "");
	norm = LLVMBuildAdd(b, LLVMBuildAdd(b, mag, math_iconst(it, (int64_t)0xc8000fff), ""), odd, "");
	norm = LLVMBuildLShr(b, norm, math_iconst(it, 13), "");
	r = LLVMBuildSelect(b, LLVMBuildICmp(b, LLVMIntULT, mag, math_iconst(it, 113 << 23), ""), sub, norm, "");
	nan = LLVMBuildICmp(b, LLVMIntUGT, mag, math_iconst(it, 0x7f800000), "");
	big = LLVMBuildICmp(b, LLVMIntUGE, mag, math_iconst(it, 143 << 23), "");
	r = LLVMBuildSelect(b, big, LLVMBuildSelect(b, nan, math_iconst(it, 0x7e00), math_iconst(it, 0x7c00), ""), r, "");
	r = LLVMBuildOr(b, r, LLVMBuildLShr(b, sign, math_iconst(it, 16), ""), "");
	return LLVMBuildTrunc(b, r, same_lanes(g->m->i16, f), "");
}

static LLVMValueRef
bf16_to_float(struct gen *g, LLVMValueRef h)
{
	LLVMTypeRef it = same_lanes(g->m->i32, h);
	LLVMValueRef x = LLVMBuildShl(g->b, LLVMBuildZExt(g->b, h, it, ""), math_iconst(it, 16), "");

	return LLVMBuildBitCast(g->b, x, same_lanes(g->m->f32, h), "");
}

static LLVMValueRef
float_to_bf16(struct gen *g, LLVMValueRef f)
{
	LLVMBuilderRef b = g->b;
	LLVMTypeRef it = same_lanes(g->m->i32, f);
	LLVMValueRef x = LLVMBuildBitCast(b, f, it, ""), odd, r, nan;

	odd = LLVMBuildAnd(b, LLVMBuildLShr(b, x, math_iconst(it, 16), ""), math_iconst(it, 1), "");
	r = LLVMBuildAdd(b, LLVMBuildAdd(b, x, math_iconst(it, 0x7fff), ""), odd, "");
	nan = LLVMBuildFCmp(b, LLVMRealUNO, f, f, "");
	r = LLVMBuildSelect(b, nan, LLVMBuildOr(b, x, math_iconst(it, 0x400000), ""), r, "");
	return LLVMBuildTrunc(b, LLVMBuildLShr(b, r, math_iconst(it, 16), ""), same_lanes(g->m->i16, f), "");
}

LLVMValueRef
gen_from_memory(struct gen *g, enum dtype t, LLVMValueRef v)
{
	LLVMTypeRef ft;

	switch (t) {
	case DT_bool:
		return LLVMBuildICmp(g->b, LLVMIntNE, v, LLVMConstNull(LLVMTypeOf(v)), "");
	case DT_f16:
		if (!g->t->f16c)
			return half_to_float(g, v);
		ft = same_lanes(g->m->f32, v);
		return LLVMBuildFPExt(g->b, LLVMBuildBitCast(g->b, v, same_lanes(g->m->f16, v), ""), ft, "");
	case DT_bf16:
		return bf16_to_float(g, v);
	default:
		return v;
	}
}

LLVMValueRef
gen_to_memory(struct gen *g, enum dtype t, LLVMValueRef v)
{
	switch (t) {
	case DT_bool:
		return LLVMBuildZExt(g->b, v, same_lanes(g->m->i8, v), "");
	case DT_f16:
		if (!g->t->f16c)
			return float_to_half(g, v);
		return LLVMBuildBitCast(g->b, LLVMBuildFPTrunc(g->b, v, same_lanes(g->m->f16, v), ""),
		    same_lanes(g->m->i16, v), "");
	case DT_bf16:
		return float_to_bf16(g, v);
	default:
		return v;
	}
}

/* ---- guards */
static LLVMValueRef
lane_numbers(struct gen *g, LLVMTypeRef elem, int64_t coef)
{
	LLVMValueRef v[64];

	for (int i = 0; i < g->lanes; i++)
		v[i] = LLVMConstInt(elem, (unsigned long long)(coef * i), 1);
	return LLVMConstVector(v, (unsigned)g->lanes);
}

/* base + c + coef*lane + vec in every lane, i64 */
LLVMValueRef
gen_lane_index(struct gen *g, const struct addr *a)
{
	LLVMValueRef base = LLVMBuildAdd(g->b, a->base, gen_i64(g, a->c), ""), v = gen_splat(g, base, g->lanes);

	if (a->coef)
		v = LLVMBuildAdd(g->b, v, lane_numbers(g, g->m->i64, a->coef), "");
	return a->vec ? LLVMBuildAdd(g->b, v, a->vec, "") : v;
}

/* |e| < 2^30 over the open loops' extents: 32-bit lanes will do */
static bool
fits_i32(struct gen *g, const struct guard *q)
{
	int64_t lim = INT64_C(1) << 30, sum = q->e.c < 0 ? -q->e.c : q->e.c;

	if (q->lo < -lim || q->hi > lim || (q->e.reg >= 0 && q->e.regcoef))
		return false;
	for (int i = 0; i < q->e.n; i++) {
		int64_t n = g->extent[q->e.t[i].var], c = q->e.t[i].coef;

		c = c < 0 ? -c : c;
		if (n < 0 || n > lim || c > lim)
			return false;
		sum += c * n;
		if (sum > lim)
			return false;
	}
	return sum < lim;
}

/* The guards of s: *cond, a scalar, and *mask, per lane; NULL: always true.
 * False: never true. */
static bool
guards(struct gen *g, const struct stmt *s, LLVMValueRef *cond, LLVMValueRef *mask)
{
	LLVMBuilderRef b = g->b;

	*cond = *mask = NULL;
	for (int i = 0; i < s->nguard; i++) {
		const struct guard *q = &s->guard[i];
		struct addr a = gen_affine(g, &q->e);
		LLVMValueRef t, x;

		if (q->hi <= q->lo)
			return false;
		a.c -= q->lo;
		if (!a.coef && !a.vec) {
			x = LLVMBuildAdd(b, a.base, gen_i64(g, a.c), "");
			t = LLVMBuildICmp(b, LLVMIntULT, x, gen_i64(g, q->hi - q->lo), "");
			if (LLVMIsAConstantInt(t)) {
				if (!LLVMConstIntGetZExtValue(t))
					return false;
				continue;
			}
			*cond = *cond ? LLVMBuildAnd(b, *cond, t, "") : t;
			continue;
		}
		if (!a.vec && fits_i32(g, q)) {
			x = LLVMBuildTrunc(b, LLVMBuildAdd(b, a.base, gen_i64(g, a.c), ""), g->m->i32, "");
			x = LLVMBuildAdd(b, gen_splat(g, x, g->lanes), lane_numbers(g, g->m->i32, a.coef), "");
		} else
			x = gen_lane_index(g, &a);
		t = LLVMBuildICmp(b, LLVMIntULT, x, math_iconst(LLVMTypeOf(x), q->hi - q->lo), "");
		*mask = *mask ? LLVMBuildAnd(b, *mask, t, "") : t;
	}
	return true;
}

/* ---- loads */
static unsigned
align_of(enum dtype t)
{
	int bits = dtype_info[t].bits;

	return bits < 8 ? 1 : (unsigned)bits / 8;
}

static LLVMValueRef
all_lanes(struct gen *g)
{
	return LLVMConstAllOnes(LLVMVectorType(g->m->i1, (unsigned)g->lanes));
}

static LLVMValueRef
and_active(struct gen *g, LLVMValueRef mask)
{
	LLVMValueRef tail = gen_mask(g, g->lanes, g->active);

	return !tail ? mask : !mask ? tail : LLVMBuildAnd(g->b, mask, tail, "");
}

static LLVMValueRef
scalar_load(struct gen *g, enum dtype t, LLVMValueRef p)
{
	LLVMValueRef v = LLVMBuildLoad2(g->b, gen_memory_type(g, t, 0), p, "");

	LLVMSetAlignment(v, align_of(t));
	return v;
}

static LLVMValueRef
pointers(struct gen *g, int buf, const struct addr *a)
{
	LLVMValueRef i = gen_lane_index(g, a);

	return LLVMBuildGEP2(g->b, gen_memory_type(g, g->k->buf_type[buf], 0), g->buf[buf], &i, 1, "");
}

static LLVMValueRef
reversed(struct gen *g, LLVMValueRef v)
{
	LLVMValueRef idx[64];

	for (int i = 0; i < g->lanes; i++)
		idx[i] = LLVMConstInt(g->m->i32, (unsigned)(g->lanes - 1 - i), 0);
	return LLVMBuildShuffleVector(g->b, v, v, LLVMConstVector(idx, (unsigned)g->lanes), "");
}

/* In memory form; mask: lanes that may be read (NULL: the active ones), others are 0. */
static LLVMValueRef
vector_load(struct gen *g, int buf, const struct addr *a, LLVMValueRef mask)
{
	enum dtype t = g->k->buf_type[buf];
	LLVMTypeRef vt = gen_memory_type(g, t, g->lanes), over[2] = {vt};
	LLVMValueRef v, i32 = LLVMConstInt(g->m->i32, align_of(t), 0), m;

	if (a->vec || (mask && a->coef != 1)) {
		LLVMValueRef p = pointers(g, buf, a);

		m = and_active(g, mask);
		over[1] = LLVMTypeOf(p);
		return gen_intrinsic(g, "llvm.masked.gather", over, 2,
		    (LLVMValueRef[]){p, i32, m ? m : all_lanes(g), LLVMConstNull(vt)}, 4);
	}
	if (a->coef == 1) {
		LLVMValueRef p = gen_pointer(g, buf, a->base, a->c);

		m = and_active(g, mask);
		if (!m) {
			v = LLVMBuildLoad2(g->b, vt, p, "");
			LLVMSetAlignment(v, align_of(t));
			return v;
		}
		over[1] = g->m->ptr;
		return gen_intrinsic(g, "llvm.masked.load", over, 2,
		    (LLVMValueRef[]){p, i32, m, LLVMConstNull(vt)}, 4);
	}
	if (a->coef == -1 && g->active == g->lanes) {
		v = LLVMBuildLoad2(g->b, vt, gen_pointer(g, buf, a->base, a->c - (g->lanes - 1)), "");
		LLVMSetAlignment(v, align_of(t));
		return reversed(g, v);
	}
	v = LLVMConstNull(vt);
	for (int i = 0; i < g->active; i++)
		v = LLVMBuildInsertElement(g->b, v,
		    scalar_load(g, t, gen_pointer(g, buf, a->base, a->c + a->coef * i)),
		    LLVMConstInt(g->m->i32, (unsigned)i, 0), "");
	return v;
}

void
gen_load(struct gen *g, const struct stmt *s)
{
	struct reg *d = &g->reg[s->dst];
	enum dtype t = g->k->buf_type[s->buf];
	struct addr a = gen_affine(g, &s->index);
	LLVMValueRef cond, mask, v, other = NULL;
	LLVMBasicBlockRef pre = NULL, then, join = NULL;
	bool vec, possible = guards(g, s, &cond, &mask);

	if (s->nguard && s->src[0] >= 0)
		other = g->reg[s->src[0]].v;
	vec = a.coef || a.vec || mask || (other && g->reg[s->src[0]].vector);
	if (other && vec)
		other = gen_vector(g, s->src[0]);
	if (!other)
		other = LLVMConstNull(gen_type(g, t, vec ? g->lanes : 0));
	if (!possible) {
		*d = (struct reg){.v = other, .vector = vec};
		return;
	}
	if (cond) {
		pre = LLVMGetInsertBlock(g->b);
		then = gen_block(g, "in");
		join = gen_block(g, "join");
		LLVMBuildCondBr(g->b, cond, then, join);
		LLVMPositionBuilderAtEnd(g->b, then);
	}
	if (a.coef || a.vec || mask) {
		v = gen_from_memory(g, t, vector_load(g, s->buf, &a, mask));
		if (mask && s->src[0] >= 0)
			v = LLVMBuildSelect(g->b, mask, v, other, "");
	} else {
		v = gen_from_memory(g, t, scalar_load(g, t, gen_pointer(g, s->buf, a.base, a.c)));
		if (vec)
			v = gen_splat(g, v, g->lanes);
	}
	if (cond) {
		LLVMBasicBlockRef end = LLVMGetInsertBlock(g->b);
		LLVMValueRef phi;

		LLVMBuildBr(g->b, join);
		LLVMPositionBuilderAtEnd(g->b, join);
		phi = LLVMBuildPhi(g->b, LLVMTypeOf(v), "");
		LLVMAddIncoming(phi, &v, &end, 1);
		LLVMAddIncoming(phi, &other, &pre, 1);
		v = phi;
	}
	*d = (struct reg){.v = v, .vector = vec};
}

/* ---- stores */
static void
scalar_store(struct gen *g, enum dtype t, LLVMValueRef v, LLVMValueRef p)
{
	LLVMSetAlignment(LLVMBuildStore(g->b, v, p), align_of(t));
}

static void
vector_store(struct gen *g, int buf, const struct addr *a, LLVMValueRef v, LLVMValueRef mask)
{
	enum dtype t = g->k->buf_type[buf];
	LLVMTypeRef vt = LLVMTypeOf(v), over[2] = {vt};
	LLVMValueRef i32 = LLVMConstInt(g->m->i32, align_of(t), 0), m, p;

	if (a->vec || (mask && a->coef != 1)) {
		p = pointers(g, buf, a);
		m = and_active(g, mask);
		over[1] = LLVMTypeOf(p);
		gen_intrinsic(g, "llvm.masked.scatter", over, 2, (LLVMValueRef[]){v, p, i32, m ? m : all_lanes(g)}, 4);
	} else if (a->coef == 1) {
		p = gen_pointer(g, buf, a->base, a->c);
		m = and_active(g, mask);
		over[1] = g->m->ptr;
		if (m)
			gen_intrinsic(g, "llvm.masked.store", over, 2, (LLVMValueRef[]){v, p, i32, m}, 4);
		else
			scalar_store(g, t, v, p);
	} else
		for (int i = a->coef ? 0 : g->active - 1; i < g->active; i++)
			scalar_store(g, t, LLVMBuildExtractElement(g->b, v, LLVMConstInt(g->m->i32, (unsigned)i, 0), ""),
			    gen_pointer(g, buf, a->base, a->c + a->coef * i));
}

void
gen_store(struct gen *g, const struct stmt *s)
{
	enum dtype t = g->k->buf_type[s->buf];
	struct addr a = gen_affine(g, &s->index);
	struct reg *x = &g->reg[s->src[0]];
	LLVMValueRef cond, mask;
	LLVMBasicBlockRef then, join = NULL;

	require(x->v);
	if (!guards(g, s, &cond, &mask))
		return;
	if (cond) {
		then = gen_block(g, "in");
		join = gen_block(g, "join");
		LLVMBuildCondBr(g->b, cond, then, join);
		LLVMPositionBuilderAtEnd(g->b, then);
	}
	if (a.coef || a.vec || mask || x->vector)
		vector_store(g, s->buf, &a, gen_to_memory(g, t, gen_vector(g, s->src[0])), mask);
	else
		scalar_store(g, t, gen_to_memory(g, t, x->v), gen_pointer(g, s->buf, a.base, a.c));
	if (cond) {
		LLVMBuildBr(g->b, join);
		LLVMPositionBuilderAtEnd(g->b, join);
	}
}
