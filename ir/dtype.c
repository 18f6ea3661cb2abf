/* dtype -- element types: names, sizes, and one element to and from the
 * evaluator's double and int64.  All small floats go through one description. */
#include "ir/ir.h"

#include <math.h>
#include <string.h>

const struct dtype_info dtype_info[NDTYPE] = {
    [DT_none] = {"none", 0, 0, DC_NONE},
#define T(id, onnx, bits, class) [DT_##id] = {#id, onnx, bits, DC_##class},
#include "ir/dtype.def"
};

enum dtype
dtype_from_onnx(int onnx)
{
	int t;

	for (t = DT_none + 1; t < NDTYPE; t++)
		if (dtype_info[t].onnx == onnx)
			return (enum dtype)t;
	return DT_none;
}

enum dtype
dtype_from_name(const char *name)
{
	int t;

	for (t = DT_none + 1; t < NDTYPE; t++)
		if (strcmp(dtype_info[t].name, name) == 0)
			return (enum dtype)t;
	return DT_none;
}

size_t
dtype_bytes(enum dtype t, int64_t count)
{
	int bits = dtype_info[t].bits;

	if (count < 0 || (bits >= 8 && count > INT64_MAX / (bits / 8)))
		die("%lld elements of %s", (long long)count, dtype_info[t].name);
	if (bits >= 8)
		return (size_t)count * (size_t)(bits / 8);
	return ((size_t)count * (size_t)bits + 7) / 8;
}

/* ---- small floats: sign, exponent, mantissa of mbits; subnormals; `max` is the
 * code of the largest finite value, inf and nan codes or -1.  Without an infinity
 * (or with sat) overflow saturates, as ONNX casts do by default; fnuz types have
 * one NaN at 0x80 and no negative zero.  Without a NaN it becomes -0. */
struct mini { int bits, mbits, bias, max, inf, nan; bool sat, fnuz; };

static const struct mini *
mini_of(enum dtype t)
{
	static const struct mini f16 = {16, 10, 15, 0x7bff, 0x7c00, 0x7e00, false, false};
	static const struct mini bf16 = {16, 7, 127, 0x7f7f, 0x7f80, 0x7fc0, false, false};
	static const struct mini e4m3fn = {8, 3, 7, 0x7e, -1, 0x7f, true, false};
	static const struct mini e4m3fnuz = {8, 3, 8, 0x7f, -1, 0x80, true, true};
	static const struct mini e5m2 = {8, 2, 15, 0x7b, 0x7c, 0x7f, true, false};
	static const struct mini e5m2fnuz = {8, 2, 16, 0x7f, -1, 0x80, true, true};
	static const struct mini e2m1 = {4, 1, 1, 7, -1, -1, true, false};

	switch (t) {
	case DT_f16:
		return &f16;
	case DT_bf16:
		return &bf16;
	case DT_f8e4m3fn:
		return &e4m3fn;
	case DT_f8e4m3fnuz:
		return &e4m3fnuz;
	case DT_f8e5m2:
		return &e5m2;
	case DT_f8e5m2fnuz:
		return &e5m2fnuz;
	case DT_f4e2m1:
		return &e2m1;
	default:
		return NULL;
	}
}

static unsigned
mini_put(const struct mini *m, double v)
{
	unsigned sign = signbit(v) ? 1u << (m->bits - 1) : 0;
	double a = fabs(v);
	int e, emin = 1 - m->bias;
	int64_t code;

	if (isnan(v))
		return m->nan < 0 ? 1u << (m->bits - 1) : m->fnuz ? (unsigned)m->nan : (unsigned)m->nan | sign;
	if (isinf(v))
		return (unsigned)(m->inf < 0 ? m->max : m->inf) | sign; /* infinity stays where there is one */
	if (a == 0)
		return m->fnuz ? 0 : sign;
	frexp(a, &e);
	e = e - 1 < emin ? emin : e - 1;
	if (e > emin + (1 << (m->bits - 1 - m->mbits)))
		code = (int64_t)m->max + 1;
	else /* nearbyint rounds half to even; a carry moves into the exponent by itself */
		code = (int64_t)nearbyint(ldexp(a, m->mbits - e)) + ((int64_t)(e - emin) << m->mbits);
	if (code > m->max)
		code = m->sat || m->inf < 0 ? m->max : m->inf;
	if (code == 0 && m->fnuz)
		return 0;
	return (unsigned)code | sign;
}

static double
mini_get(const struct mini *m, unsigned c)
{
	unsigned sign = c >> (m->bits - 1) & 1, mag = c & ((1u << (m->bits - 1)) - 1);
	int e = (int)(mag >> m->mbits);
	double v, frac = (double)(mag & ((1u << m->mbits) - 1));

	if (m->fnuz && c == 0x80)
		return NAN;
	if ((int)mag > m->max)
		v = m->inf >= 0 && (int)mag == m->inf ? INFINITY : NAN;
	else if (e == 0)
		v = ldexp(frac, 1 - m->bias - m->mbits);
	else
		v = ldexp(frac + (double)(1u << m->mbits), e - m->bias - m->mbits);
	return sign ? -v : v;
}

/* ---- raw codes; sub-byte elements lie low bits first */
static uint64_t
code_get(enum dtype t, const void *data, int64_t i)
{
	const unsigned char *p = data;
	int bits = dtype_info[t].bits;
	uint64_t v = 0;

	if (bits < 8) {
		int per = 8 / bits;

		return p[i / per] >> (int)(i % per) * bits & ((1u << bits) - 1);
	}
	memcpy(&v, p + i * (bits / 8), (size_t)(bits / 8));
	return v;
}

static void
code_put(enum dtype t, void *data, int64_t i, uint64_t v)
{
	unsigned char *p = data;
	int bits = dtype_info[t].bits;

	if (bits < 8) {
		int per = 8 / bits, at = (int)(i % per) * bits;
		unsigned mask = ((1u << bits) - 1) << at;

		p[i / per] = (unsigned char)((p[i / per] & ~mask) | ((unsigned)v << at & mask));
		return;
	}
	memcpy(p + i * (bits / 8), &v, (size_t)(bits / 8));
}

int64_t
dtype_get_i(enum dtype t, const void *data, int64_t i)
{
	int shift = 64 - dtype_info[t].bits;

	switch (dtype_info[t].class) {
	case DC_INT:
		return (int64_t)(code_get(t, data, i) << shift) >> shift;
	case DC_UINT:
		return (int64_t)code_get(t, data, i);
	case DC_BOOL:
		return code_get(t, data, i) != 0;
	default:
		return (int64_t)dtype_get_f(t, data, i);
	}
}

double
dtype_get_f(enum dtype t, const void *data, int64_t i)
{
	const struct mini *m;

	switch (t) {
	case DT_f32:
		return ((const float *)data)[i];
	case DT_f64:
		return ((const double *)data)[i];
	case DT_c64: /* complex: i counts parts */
		return ((const float *)data)[i];
	case DT_c128:
		return ((const double *)data)[i];
	case DT_u64:
		return (double)code_get(t, data, i);
	case DT_f8e8m0: {
		int c = (int)code_get(t, data, i);

		return c == 255 ? NAN : ldexp(1, c - 127);
	}
	default:
		m = mini_of(t);
		return m ? mini_get(m, (unsigned)code_get(t, data, i)) : (double)dtype_get_i(t, data, i);
	}
}

void
dtype_put_i(enum dtype t, void *data, int64_t i, int64_t v)
{
	switch (dtype_info[t].class) {
	case DC_INT:
	case DC_UINT:
		code_put(t, data, i, (uint64_t)v);
		break;
	case DC_BOOL:
		code_put(t, data, i, v != 0);
		break;
	default:
		dtype_put_f(t, data, i, (double)v);
	}
}

/* Toward zero, as C and ONNX cast floats to integers; saturates; NaN is 0. */
static int64_t
to_int(enum dtype t, double v)
{
	int bits = dtype_info[t].bits;
	bool uns = dtype_info[t].class == DC_UINT;
	double hi = ldexp(1, uns ? bits : bits - 1), lo = uns ? 0 : -hi;

	if (isnan(v))
		return 0;
	v = trunc(v);
	if (v >= hi)
		return uns ? (int64_t)(bits == 64 ? UINT64_MAX : (UINT64_C(1) << bits) - 1)
		           : (int64_t)((UINT64_C(1) << (bits - 1)) - 1);
	if (v <= lo)
		return uns ? 0 : -(int64_t)((UINT64_C(1) << (bits - 1)) - 1) - 1;
	return uns ? (int64_t)(uint64_t)v : (int64_t)v;
}

/* E8M0 holds powers of two only and rounds up, as ONNX's Cast does by default. */
static unsigned
put_e8m0(double v)
{
	int e;
	double f;

	if (isnan(v) || v < 0)
		return 255;
	if (v == 0)
		return 0;
	if (isinf(v))
		return 254;
	f = frexp(v, &e);
	e = f == 0.5 ? e - 1 : e;
	return (unsigned)(e + 127 < 0 ? 0 : e + 127 > 254 ? 254 : e + 127);
}

void
dtype_put_f(enum dtype t, void *data, int64_t i, double v)
{
	const struct mini *m;

	switch (t) {
	case DT_f32:
	case DT_c64:
		((float *)data)[i] = (float)v;
		return;
	case DT_f64:
	case DT_c128:
		((double *)data)[i] = v;
		return;
	case DT_f8e8m0:
		code_put(t, data, i, put_e8m0(v));
		return;
	case DT_bool:
		code_put(t, data, i, v != 0);
		return;
	case DT_str:
	case DT_none:
		die("a number put into a tensor of type %s", dtype_info[t].name);
	default:
		m = mini_of(t);
		code_put(t, data, i, m ? mini_put(m, v) : (uint64_t)to_int(t, v));
	}
}
