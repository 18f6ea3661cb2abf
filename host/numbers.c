/* numbers -- strings made of numbers and numbers read from strings. */
#include "host/host_int.h"

#include <ctype.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { TEXT = 64 };

/* v rounded to a float of `digits` bits whose least exponent is 2^least */
static double
rounded(double v, int digits, int least, double most)
{
	int e;

	if (v == 0 || !isfinite(v))
		return v;
	frexp(v, &e);
	e = e - digits < least ? least : e - digits;
	v = ldexp(nearbyint(ldexp(v, -e)), e);
	return fabs(v) > most ? copysign(INFINITY, v) : v;
}

static double
as_type(double v, int32_t t)
{
	switch (t) {
	case ELEM_F32:
		return (double)(float)v;
	case ELEM_F16:
		return rounded(v, 11, -24, 65504);
	case ELEM_BF16:
		return rounded(v, 8, -133, 0x1.FEp127);
	default:
		return v;
	}
}

static double
get_half(uint16_t h)
{
	int e = h >> 10 & 31, m = h & 1023;
	double v = e == 31 ? (m ? NAN : INFINITY) : e ? ldexp(1024 + m, e - 25) : ldexp(m, -24);

	return h & 0x8000 ? -v : v;
}

static uint16_t
put_half(double v)
{
	uint16_t s = signbit(v) ? 0x8000 : 0;
	int e;

	v = fabs(rounded(v, 11, -24, 65504));
	if (isnan(v))
		return 0x7E00;
	if (isinf(v))
		return s | 0x7C00;
	if (v < 0x1p-14)
		return (uint16_t)(s | (int)ldexp(v, 24));
	frexp(v, &e);
	return (uint16_t)(s | (e + 14) << 10 | ((int)ldexp(v, 11 - e) & 1023));
}

static double
get_bf16(uint16_t h)
{
	uint32_t w = (uint32_t)h << 16;
	float f;

	memcpy(&f, &w, sizeof f);
	return (double)f;
}

static uint16_t
put_bf16(double v)
{
	float f = (float)rounded(v, 8, -133, 0x1.FEp127);
	uint32_t w;

	memcpy(&w, &f, sizeof w);
	return isnan(v) ? 0x7FC0 : (uint16_t)(w >> 16);
}

/* The shortest digits that read back as v: as they are from 1e-4 up to 1e16, else
 * with an exponent; always with a point or one. */
static int
float_text(char *to, double v, int32_t t)
{
	char digits[TEXT];
	int n, e, len = 0, nd = 0;

	if (isnan(v))
		return snprintf(to, TEXT, "nan");
	if (isinf(v))
		return snprintf(to, TEXT, v < 0 ? "-inf" : "inf");
	for (n = 0; n < 17; n++) {
		snprintf(digits, sizeof digits, "%.*e", n, fabs(v));
		if (as_type(strtod(digits, NULL), t) == fabs(v))
			break;
	}
	e = atoi(strchr(digits, 'e') + 1);
	for (const char *p = digits; *p != 'e'; p++) /* the point is the locale's */
		if (isdigit((unsigned char)*p))
			digits[nd++] = *p;
	while (nd > 1 && digits[nd - 1] == '0')
		nd--;
	if (signbit(v))
		to[len++] = '-';
	if (v != 0 && (e < -4 || e >= 16)) {
		to[len++] = digits[0];
		if (nd > 1)
			to[len++] = '.';
		memcpy(to + len, digits + 1, (size_t)nd - 1);
		return len + nd - 1 +
		       snprintf(to + len + nd - 1, 8, "e%c%02d", e < 0 ? '-' : '+', abs(e));
	}
	if (e < 0) {
		to[len++] = '0';
		to[len++] = '.';
		for (int i = -1; i > e; i--)
			to[len++] = '0';
	}
	for (int i = 0; i < nd || i <= e; i++) {
		to[len++] = i < nd ? digits[i] : '0';
		if (i == e)
			to[len++] = '.';
	}
	if (to[len - 1] == '.')
		to[len++] = '0';
	to[len] = 0;
	return len;
}

static int
text_of(char *to, const struct rt_operand *x, int64_t i)
{
	switch (x->dtype) {
	case ELEM_BOOL:
		return snprintf(to, TEXT, ((const uint8_t *)x->data)[i] ? "True" : "False");
	case ELEM_U8:
		return snprintf(to, TEXT, "%u", ((const uint8_t *)x->data)[i]);
	case ELEM_I8:
		return snprintf(to, TEXT, "%d", ((const int8_t *)x->data)[i]);
	case ELEM_U16:
		return snprintf(to, TEXT, "%u", ((const uint16_t *)x->data)[i]);
	case ELEM_I16:
		return snprintf(to, TEXT, "%d", ((const int16_t *)x->data)[i]);
	case ELEM_U32:
		return snprintf(to, TEXT, "%u", ((const uint32_t *)x->data)[i]);
	case ELEM_I32:
		return snprintf(to, TEXT, "%d", ((const int32_t *)x->data)[i]);
	case ELEM_U64:
		return snprintf(
		    to, TEXT, "%llu", (unsigned long long)((const uint64_t *)x->data)[i]);
	case ELEM_I64:
		return snprintf(to, TEXT, "%lld", (long long)((const int64_t *)x->data)[i]);
	case ELEM_F16:
		return float_text(to, get_half(((const uint16_t *)x->data)[i]), x->dtype);
	case ELEM_BF16:
		return float_text(to, get_bf16(((const uint16_t *)x->data)[i]), x->dtype);
	case ELEM_F32:
		return float_text(to, (double)((const float *)x->data)[i], x->dtype);
	case ELEM_F64:
		return float_text(to, ((const double *)x->data)[i], x->dtype);
	default:
		return snprintf(to, TEXT, "?");
	}
}

/* x of numbers; out */
void
rt_host_str_from(struct rt_bytes *b, const struct rt_operand *arg)
{
	int64_t n = op_count(&arg[0]);
	char text[TEXT], *to;

	for (int64_t i = 0; i < n; i++) {
		int len = text_of(text, &arg[0], i);

		if ((to = bytes_take(b, len + 1)))
			memcpy(to, text, (size_t)len + 1);
		op_put(&arg[1], i, to ? to : "");
	}
}

/* ---- reading */
static const char *
trimmed(const char *s, size_t *n)
{
	while (isspace((unsigned char)*s))
		s++;
	*n = strlen(s);
	while (*n && isspace((unsigned char)s[*n - 1]))
		--*n;
	return s;
}

/* plain, scientific, or one of inf, +inf, -inf, nan in any case; not hexadecimal */
static bool
float_of(const char *s, double *v)
{
	char copy[512], *end;
	size_t n;
	double f;
	bool number;

	s = trimmed(s, &n);
	if (n == 0 || n >= sizeof copy)
		return false;
	memcpy(copy, s, n);
	copy[n] = 0;
	number = strspn(copy, "+-.0123456789eE") == n;
	if (!number && strcasecmp(copy + (*copy == '+' || *copy == '-'), "inf") != 0 &&
	    strcasecmp(copy + (*copy == '+' || *copy == '-'), "infinity") != 0 &&
	    strcasecmp(copy + (*copy == '+' || *copy == '-'), "nan") != 0)
		return false;
	for (size_t i = 0; number && i < n; i++)
		if (copy[i] == '.')
			copy[i] = localeconv()->decimal_point[0];
	f = strtod(copy, &end);
	if (end == copy || *end)
		return false;
	*v = f;
	return true;
}

/* A whole number exactly; else a float, cut off towards zero. */
static bool
int_of(const char *s, bool negative, uint64_t *v)
{
	uint64_t r = 0;
	const char *p;
	double f;
	size_t n, i = 0;

	p = trimmed(s, &n);
	i = n && (*p == '+' || *p == '-');
	if (i == n)
		return false;
	for (; i < n && isdigit((unsigned char)p[i]); i++)
		if (__builtin_mul_overflow(r, 10, &r) ||
		    __builtin_add_overflow(r, (uint64_t)(p[i] - '0'), &r))
			return false;
	if (i == n) {
		*v = *p == '-' ? 0 - r : r;
		return true;
	}
	if (!float_of(s, &f) || isnan(f))
		return false;
	if (negative)
		*v = (uint64_t)(f >= 0x1p63 ? INT64_MAX : f < -0x1p63 ? INT64_MIN : (int64_t)f);
	else
		*v = f >= 0x1p64 ? UINT64_MAX : f <= 0 ? 0 : (uint64_t)f;
	return true;
}

/* x of strings; out of any number type; to (only the compiler reads it).  What is
 * no number becomes 0 and is reported. */
void
rt_host_str_to(struct rt_bytes *b, const struct rt_operand *arg)
{
	int64_t n = op_count(&arg[0]);
	int32_t t = arg[1].dtype;
	void *out = arg[1].data;
	bool real = t == ELEM_F32 || t == ELEM_F64 || t == ELEM_F16 || t == ELEM_BF16 ||
		    t == ELEM_BOOL,
	     ok;

	for (int64_t i = 0; i < n; i++) {
		const char *s = op_str(&arg[0], i);
		uint64_t v = 0;
		double f = 0;

		if (t == ELEM_BOOL && (strcasecmp(s, "true") == 0 || strcasecmp(s, "false") == 0)) {
			f = *s == 't' || *s == 'T';
			ok = true;
		} else {
			ok = real ? float_of(s, &f) : int_of(s, t != ELEM_U64, &v);
		}
		if (!ok)
			bytes_fail(b, RT_HOST_NUMBER);
		switch (t) {
		case ELEM_F32:
			((float *)out)[i] = (float)f;
			break;
		case ELEM_F64:
			((double *)out)[i] = f;
			break;
		case ELEM_F16:
			((uint16_t *)out)[i] = put_half(f);
			break;
		case ELEM_BF16:
			((uint16_t *)out)[i] = put_bf16(f);
			break;
		case ELEM_BOOL:
			((uint8_t *)out)[i] = f != 0;
			break;
		case ELEM_U8:
		case ELEM_I8:
			((uint8_t *)out)[i] = (uint8_t)v;
			break;
		case ELEM_U16:
		case ELEM_I16:
			((uint16_t *)out)[i] = (uint16_t)v;
			break;
		case ELEM_U32:
		case ELEM_I32:
			((uint32_t *)out)[i] = (uint32_t)v;
			break;
		default:
			((uint64_t *)out)[i] = v;
			break;
		}
	}
}
