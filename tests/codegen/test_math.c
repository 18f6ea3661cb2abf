/* Elementary functions against libm in double: error in units in the last place,
 * over every region, and the special values exactly. */
#include "tests/codegen/hand.h"

#define AT hand_at
enum { N = 1 << 14 };

static double
sigmoid(double x)
{
	return x >= 0 ? 1 / (1 + exp(-x)) : exp(x) / (1 + exp(x));
}

static double
rsqrt(double x)
{
	return 1 / sqrt(x);
}

/* exp, and sigmoid made of it, may give 0 below the normal numbers */
static bool
flushes(enum op op)
{
	return op == OP_exp || op == OP_sigmoid;
}

static double
ulp(enum op op, float y, double want)
{
	float w = (float)want;
	double unit;
	int e;

	if (y == 0 && flushes(op) && fabs(want) <= 0x1p-126)
		return 0;
	if (isnan(want) || isnan(y))
		return isnan(want) && isnan(y) ? 0 : 1e30;
	if (isinf(w) || isinf(y))
		return w == y ? 0 : fabs(want) > 3.4028234e38 && fabsf(y) > 3.40282e38f ? 1 : 1e30;
	frexp(fabs(want), &e);
	unit = ldexp(1, e - 24);
	if (unit < 0x1p-149)
		unit = 0x1p-149;
	return fabs(y - want) / unit;
}

static const struct {
	enum op op;
	double (*f)(double);
	double lo, hi, bound;
} fns[] = {
	{OP_exp, exp, -110, 90, 1.6}, {OP_exp, exp, -1, 1, 1.1}, {OP_log, log, 0, 1e38, 1.5}, {OP_log, log, 0.5, 2, 1.5},
	{OP_log1p, log1p, -1, 1, 2}, {OP_log1p, log1p, -0.999, 1e6, 2}, {OP_tanh, tanh, -12, 12, 3.5},
	{OP_tanh, tanh, -0.5, 0.5, 3.5}, {OP_sigmoid, sigmoid, -100, 100, 3.5}, {OP_erf, erf, -5, 5, 6}, {OP_erf, erf, -0.5, 0.5, 5},
	{OP_sin, sin, -4000, 4000, 2.5}, {OP_cos, cos, -4000, 4000, 2.5}, {OP_sin, sin, -4, 4, 1.6}, {OP_cos, cos, -4, 4, 1.6},
	{OP_sin, sin, -1e9, 1e9, 1.5}, {OP_sinh, sinh, -88, 88, 4}, {OP_sinh, sinh, -1, 1, 4}, {OP_cosh, cosh, -89, 89, 3},
	{OP_sqrt, sqrt, 0, 1e30, 0.51}, {OP_rsqrt, rsqrt, 0, 1e30, 1.6}, {OP_tan, tan, -10, 10, 1}, {OP_asin, asin, -1, 1, 1},
	{OP_acos, acos, -1, 1, 1}, {OP_atan, atan, -10, 10, 1}, {OP_asinh, asinh, -10, 10, 2}, {OP_acosh, acosh, 1, 10, 2},
	{OP_atanh, atanh, -1, 1, 2},
};

static void
apply(enum op op, enum dtype t, int n, void *x, void *y)
{
	struct hand h = hand_new();
	int j, bx = hand_buf(&h, t, n, x), by = hand_buf(&h, t, n, y);

	hand_for(&h, FOR_VECTOR, n, &j);
	hand_store(&h, by, AT(0, j, 1, -1, 0), hand_op(&h, op, t, hand_load(&h, bx, AT(0, j, 1, -1, 0)), -1, -1));
	hand_run(&h);
	hand_free(&h);
}

static void
accuracy(void **state)
{
	static float x[N], y[N];

	(void)state;
	for (size_t f = 0; f < sizeof fns / sizeof *fns; f++) {
		double worst = 0;
		int at = 0;

		for (int i = 0; i < N; i++) {
			double u = (hand_random() + 1) / 2;

			x[i] = (float)(fns[f].lo + u * (fns[f].hi - fns[f].lo));
			if (i % 2) { /* all magnitudes */
				double m = fmin(fabs(fns[f].lo) > 0 ? fabs(fns[f].lo) : fns[f].hi, fabs(fns[f].hi));

				x[i] = (float)(m * exp2(-60 * u));
				if (fns[f].lo < 0 && i % 4 == 1)
					x[i] = -x[i];
				if (x[i] < fns[f].lo || x[i] > fns[f].hi)
					x[i] = (float)fns[f].hi;
			}
		}
		apply(fns[f].op, DT_f32, N, x, y);
		for (int i = 0; i < N; i++) {
			double e = ulp(fns[f].op, y[i], fns[f].f(x[i]));

			if (e > worst) {
				worst = e;
				at = i;
			}
		}
		if (getenv("HAND_SPEED"))
			printf("%s %-8s [%g, %g] %.2f ulp at %g\n", hand_cpu, op_info[fns[f].op].id, fns[f].lo, fns[f].hi, worst, x[at]);
		if (worst > fns[f].bound)
			fail_msg("%s(%.9g) = %.9g, not %.9g: %.2f ulp", op_info[fns[f].op].id, x[at], y[at], fns[f].f(x[at]), worst);
	}
}

static void
specials(void **state)
{
	float x[] = {0, -0.0f, INFINITY, -INFINITY, NAN, 0x1p-149f, -0x1p-149f, 0x1p-126f, 3.4e38f, -3.4e38f, 1, -1, 88.72f, 88.73f,
	    -87.4f, -103, -104, 1e10f, 1e-20f};
	enum { M = sizeof x / sizeof *x };
	float y[M];

	(void)state;
	for (size_t f = 0; f < sizeof fns / sizeof *fns; f++) {
		apply(fns[f].op, DT_f32, M, x, y);
		for (int i = 0; i < M; i++) {
			double want = fns[f].f(x[i]);

			if (ulp(fns[f].op, y[i], want) > 4 || (want == 0 && !signbit(want) != !signbit(y[i])))
				fail_msg("%s(%g) = %g, not %g", op_info[fns[f].op].id, x[i], y[i], want);
		}
	}
}

/* f64 goes to libm, lane by lane */
static void
doubles(void **state)
{
	double x[37], y[37];

	(void)state;
	for (int i = 0; i < 37; i++)
		x[i] = hand_random() * 5;
	apply(OP_exp, DT_f64, 37, x, y);
	for (int i = 0; i < 37; i++)
		assert_true(y[i] == exp(x[i]));
	apply(OP_sigmoid, DT_f64, 37, x, y);
	for (int i = 0; i < 37; i++)
		assert_true(fabs(y[i] - sigmoid(x[i])) < 1e-15);
}

/* x^c for constants with a road of their own, and by lane */
static void
powers(void **state)
{
	static const double es[] = {2, 3, 0.5, -1, 1, 1.7};
	float x[40], y[40];

	(void)state;
	for (int i = 0; i < 40; i++)
		x[i] = (float)hand_random() * 4;
	x[0] = -INFINITY;
	x[1] = -0.0f;
	x[2] = NAN;
	for (size_t e = 0; e < sizeof es / sizeof *es; e++) {
		struct hand h = hand_new();
		int j, bx = hand_buf(&h, DT_f32, 40, x), by = hand_buf(&h, DT_f32, 40, y);

		hand_for(&h, FOR_VECTOR, 40, &j);
		int c = hand_const(&h, DT_f32, es[e]);

		hand_store(&h, by, AT(0, j, 1, -1, 0),
		    hand_op(&h, OP_pow, DT_f32, hand_load(&h, bx, AT(0, j, 1, -1, 0)), c, -1));
		hand_run(&h);
		for (int i = 0; i < 40; i++)
			if (ulp(OP_pow, y[i], pow(x[i], (float)es[e])) > 1.6)
				fail_msg("%g^%g = %g, not %g", x[i], es[e], y[i], pow(x[i], es[e]));
		hand_free(&h);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(accuracy), cmocka_unit_test(specials), cmocka_unit_test(doubles), cmocka_unit_test(powers),
	};

	return hand_main(sizeof tests / sizeof *tests, tests);
}
