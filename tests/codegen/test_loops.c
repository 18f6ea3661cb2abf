/* Kernels made by hand against plain C. */
#include "tests/codegen/hand.h"

#define AT hand_at

/* y = relu(a*x + b) over rows x odd sizes, every tail */
static void
elementwise(void **state)
{
	(void)state;
	for (int n = 1; n < 70; n += n < 20 ? 1 : 7) {
		struct hand h = hand_new();
		float x[3 * 70], y[3 * 70 + 1], z[3 * 70];
		int r, c, bx = hand_buf(&h, DT_f32, 3 * n, x), by = hand_buf(&h, DT_f32, 3 * n, y);

		for (int i = 0; i < 3 * n; i++)
			x[i] = (float)hand_random();
		hand_for(&h, FOR_PARALLEL, 3, &r);
		int k = hand_const(&h, DT_f32, 2), b = hand_const(&h, DT_f32, 0.25), zero = hand_const(&h, DT_f32, 0);

		hand_for(&h, FOR_VECTOR, n, &c);
		int v = hand_load(&h, bx, AT(0, r, n, c, 1));

		v = hand_op(&h, OP_add, DT_f32, hand_op(&h, OP_mul, DT_f32, v, k, -1), b, -1);
		hand_store(&h, by, AT(0, r, n, c, 1), hand_op(&h, OP_max, DT_f32, v, zero, -1));
		y[3 * n] = 77;
		hand_run(&h);
		for (int i = 0; i < 3 * n; i++) {
			z[i] = fmaxf(2 * x[i] + 0.25f, 0);
			assert_true(fabsf(y[i] - z[i]) <= 1e-6f);
		}
		assert_true(y[3 * n] == 77);
		hand_free(&h);
	}
}

/* rows of softmax: max, sum of exp, division; three loops over one row */
static void
softmax(void **state)
{
	(void)state;
	for (int n = 1; n < 400; n = n * 2 + 1) {
		struct hand h = hand_new();
		enum { ROWS = 5 };
		float *x = malloc(sizeof(float) * ROWS * (size_t)n), *y = malloc(sizeof(float) * ROWS * (size_t)n);
		int r, c, bx = hand_buf(&h, DT_f32, ROWS * n, x), by = hand_buf(&h, DT_f32, ROWS * n, y);
		struct body *row;

		for (int i = 0; i < ROWS * n; i++)
			x[i] = 10 * (float)hand_random();
		hand_for(&h, FOR_PARALLEL, ROWS, &r);
		int mx = hand_acc(&h, DT_f32, OP_max, -INFINITY), sum = hand_acc(&h, DT_f32, OP_add, 0);

		row = hand_for(&h, FOR_VECTOR, n, &c);
		hand_reduce(&h, OP_max, mx, hand_load(&h, bx, AT(0, r, n, c, 1)));
		h.body = row;
		row = hand_for(&h, FOR_VECTOR, n, &c);
		int e = hand_op(&h, OP_exp, DT_f32,
		    hand_op(&h, OP_sub, DT_f32, hand_load(&h, bx, AT(0, r, n, c, 1)), mx, -1), -1, -1);

		hand_reduce(&h, OP_add, sum, e);
		hand_store(&h, by, AT(0, r, n, c, 1), e);
		h.body = row;
		row = hand_for(&h, FOR_VECTOR, n, &c);
		hand_store(&h, by, AT(0, r, n, c, 1), hand_op(&h, OP_div, DT_f32, hand_load(&h, by, AT(0, r, n, c, 1)), sum, -1));
		hand_run(&h);
		for (int i = 0; i < ROWS; i++) {
			double m = -INFINITY, s = 0;

			for (int j = 0; j < n; j++)
				m = fmax(m, x[i * n + j]);
			for (int j = 0; j < n; j++)
				s += exp(x[i * n + j] - m);
			for (int j = 0; j < n; j++)
				assert_true(fabs(y[i * n + j] - exp(x[i * n + j] - m) / s) < 1e-6);
		}
		free(x);
		free(y);
		hand_free(&h);
	}
}

/* sums of rows of a 3-d array: a VECTOR loop inside a SERIAL one, hoisted partials;
 * integers wrap; max, min, mul, and, or */
static void
reductions(void **state)
{
	(void)state;
	for (int n = 3; n < 300; n = n * 3 + 2) {
		struct hand h = hand_new();
		enum { A = 4, B = 3 };
		float *x = malloc(sizeof(float) * A * B * (size_t)n), s[A];
		int32_t xi[A * B], prod[A];
		uint8_t flag[A * 300], any[A], all[A];
		double least[A];
		int a, b, c, bx = hand_buf(&h, DT_f32, A * B * n, x), bs = hand_buf(&h, DT_f32, A, s),
		    bi = hand_buf(&h, DT_i32, A * B, xi), bp = hand_buf(&h, DT_i32, A, prod),
		    bf = hand_buf(&h, DT_bool, A * n, flag), bany = hand_buf(&h, DT_bool, A, any),
		    ball = hand_buf(&h, DT_bool, A, all), bl = hand_buf(&h, DT_f64, A, least);
		struct body *row;

		for (int i = 0; i < A * B * n; i++)
			x[i] = (float)hand_random();
		for (int i = 0; i < A * B; i++)
			xi[i] = (int32_t)(hand_random() * 2e9);
		for (int i = 0; i < A * n; i++)
			flag[i] = hand_random() > (i / n % 2 ? 0.97 : -0.97);
		memset(flag, 0, (size_t)n);
		memset(flag + n, 1, (size_t)n);
		hand_for(&h, FOR_PARALLEL, A, &a);
		int sum = hand_acc(&h, DT_f32, OP_add, 1), mul = hand_acc(&h, DT_i32, OP_mul, 3),
		    or = hand_acc(&h, DT_bool, OP_or, 0), and = hand_acc(&h, DT_bool, OP_and, 1),
		    min = hand_acc(&h, DT_f64, OP_min, 0.5);

		row = hand_for(&h, FOR_SERIAL, B, &b);
		hand_for(&h, FOR_VECTOR, n, &c);
		struct affine at = AT(0, a, B * n, b, n);

		affine_add(&at, c, 1);
		int v = hand_load(&h, bx, at);

		hand_reduce(&h, OP_add, sum, v);
		hand_reduce(&h, OP_min, min, hand_cast(&h, DT_f64, v));
		h.body = row;
		row = hand_for(&h, FOR_VECTOR, B, &b);
		hand_reduce(&h, OP_mul, mul, hand_load(&h, bi, AT(0, a, B, b, 1)));
		h.body = row;
		row = hand_for(&h, FOR_VECTOR, n, &c);
		v = hand_load(&h, bf, AT(0, a, n, c, 1));
		hand_reduce(&h, OP_or, or, v);
		hand_reduce(&h, OP_and, and, v);
		h.body = row;
		hand_store(&h, bs, AT(0, a, 1, -1, 0), sum);
		hand_store(&h, bp, AT(0, a, 1, -1, 0), mul);
		hand_store(&h, bany, AT(0, a, 1, -1, 0), or);
		hand_store(&h, ball, AT(0, a, 1, -1, 0), and);
		hand_store(&h, bl, AT(0, a, 1, -1, 0), min);
		hand_run(&h);
		for (int i = 0; i < A; i++) {
			double w = 1, l = 0.5;
			uint32_t p = 3;
			int o = 0, d = 1;

			for (int j = 0; j < B * n; j++) {
				w += x[i * B * n + j];
				l = fmin(l, x[i * B * n + j]);
			}
			for (int j = 0; j < B; j++)
				p *= (uint32_t)xi[i * B + j];
			for (int j = 0; j < n; j++) {
				o |= flag[i * n + j];
				d &= flag[i * n + j];
			}
			assert_true(fabs(s[i] - w) < 1e-5 * n);
			assert_true(least[i] == l);
			assert_int_equal(prod[i], (int32_t)p);
			assert_int_equal(any[i], o);
			assert_int_equal(all[i], d);
		}
		free(x);
		hand_free(&h);
	}
}

/* a NaN anywhere survives max and min */
static void
nan_max(void **state)
{
	(void)state;
	for (int where = 0; where < 150; where += 13) {
		struct hand h = hand_new();
		enum { N = 150 };
		float x[N], y[2];
		int c, p, bx = hand_buf(&h, DT_f32, N, x), by = hand_buf(&h, DT_f32, 2, y);
		struct body *b;

		for (int i = 0; i < N; i++)
			x[i] = (float)hand_random();
		x[where] = NAN;
		hand_for(&h, FOR_PARALLEL, 1, &p);
		int mx = hand_acc(&h, DT_f32, OP_max, -INFINITY), mn = hand_acc(&h, DT_f32, OP_min, INFINITY);

		b = hand_for(&h, FOR_VECTOR, N, &c);
		int v = hand_load(&h, bx, AT(0, c, 1, -1, 0));

		hand_reduce(&h, OP_max, mx, v);
		hand_reduce(&h, OP_min, mn, v);
		h.body = b;
		hand_store(&h, by, AT(0, -1, 0, -1, 0), mx);
		hand_store(&h, by, AT(1, -1, 0, -1, 0), mn);
		hand_run(&h);
		assert_true(isnan(y[0]) && isnan(y[1]));
		hand_free(&h);
	}
}

/* zero padding on both dims, guards on the vector variable and on an outer one */
static void
padding(void **state)
{
	(void)state;
	for (int w = 1; w < 40; w += 6) {
		struct hand h = hand_new();
		enum { H = 4, P = 2 };
		float x[H * 40], y[(H + 2 * P) * 50];
		int i, j, ow = w + 2 * P, bx = hand_buf(&h, DT_f32, H * w, x), by = hand_buf(&h, DT_f32, (H + 2 * P) * ow, y);
		struct stmt *s;

		for (int k = 0; k < H * w; k++)
			x[k] = (float)hand_random();
		hand_for(&h, FOR_PARALLEL, H + 2 * P, &i);
		int fill = hand_const(&h, DT_f32, 5);

		hand_for(&h, FOR_VECTOR, ow, &j);
		s = hand_load_if(&h, bx, AT(-P * w - P, i, w, j, 1), AT(-P, i, 1, -1, 0), 0, H);
		s->guard[s->nguard++] = (struct guard){AT(-P, j, 1, -1, 0), 0, w};
		s->src[0] = fill;
		hand_store(&h, by, AT(0, i, ow, j, 1), s->dst);
		hand_run(&h);
		for (int a = 0; a < H + 2 * P; a++)
			for (int b = 0; b < ow; b++) {
				bool in = a >= P && a < H + P && b >= P && b < w + P;

				assert_true(y[a * ow + b] == (in ? x[(a - P) * w + b - P] : 5));
			}
		hand_free(&h);
	}
}

/* table[index[i]], index by lane and by row; strides 2, 3, -1; scatter to a stride */
static void
addresses(void **state)
{
	(void)state;
	for (int n = 1; n < 50; n += 8) {
		struct hand h = hand_new();
		float table[100], y[50], z[4 * 50], u[50];
		int64_t index[50];
		int j, bt = hand_buf(&h, DT_f32, 100, table), bi = hand_buf(&h, DT_i64, n, index),
		    by = hand_buf(&h, DT_f32, n, y), bz = hand_buf(&h, DT_f32, 4 * n, z), bu = hand_buf(&h, DT_f32, n, u);
		struct affine e = AFFINE(1);

		for (int k = 0; k < 100; k++)
			table[k] = (float)hand_random();
		for (int k = 0; k < n; k++)
			index[k] = (int64_t)((hand_random() + 1) * 49);
		memset(z, 0, sizeof z);
		hand_for(&h, FOR_VECTOR, n, &j);
		e.reg = hand_load(&h, bi, AT(0, j, 1, -1, 0));
		e.regcoef = 1;
		hand_store(&h, by, AT(0, j, 1, -1, 0), hand_load(&h, bt, e));
		hand_store(&h, bz, AT(0, j, 3, -1, 0), hand_load(&h, bt, AT(0, j, 2, -1, 0)));
		hand_store(&h, bu, AT(0, j, 1, -1, 0), hand_load(&h, bt, AT(99, j, -1, -1, 0)));
		hand_run(&h);
		for (int k = 0; k < n; k++) {
			assert_true(y[k] == table[1 + index[k]]);
			assert_true(z[3 * k] == table[2 * k] && z[3 * k + 1] == 0);
			assert_true(u[k] == table[99 - k]);
		}
		hand_free(&h);
	}
}

/* the integer operators' corners, by comparison with the same arithmetic in C */
static void
integers(void **state)
{
	enum { N = 9 };
	static const int32_t as[N] = {7, -7, INT32_MIN, INT32_MIN, 5, -1, 0, INT32_MAX, 12};
	static const int32_t bs[N] = {2, 2, -1, 0, 0, 31, 32, 1, -5};
	static const enum op ops[] = {OP_add, OP_sub, OP_mul, OP_div, OP_fmod, OP_shl, OP_shr, OP_max, OP_min, OP_bxor, OP_pow};
	enum { NOPS = sizeof ops / sizeof *ops };
	int32_t a[N], b[N], y[NOPS][N];
	struct hand h = hand_new();
	int j, ba = hand_buf(&h, DT_i32, N, a), bb = hand_buf(&h, DT_i32, N, b), by = hand_buf(&h, DT_i32, NOPS * N, y);

	(void)state;
	memcpy(a, as, sizeof a);
	memcpy(b, bs, sizeof b);
	hand_for(&h, FOR_VECTOR, N, &j);
	int x = hand_load(&h, ba, AT(0, j, 1, -1, 0)), w = hand_load(&h, bb, AT(0, j, 1, -1, 0));

	for (int o = 0; o < NOPS; o++)
		hand_store(&h, by, AT(o * N, j, 1, -1, 0), hand_op(&h, ops[o], DT_i32, x, w, -1));
	hand_run(&h);
	for (int i = 0; i < N; i++) {
		int64_t p = a[i], q = b[i], want[NOPS] = {p + q, p - q, p * q, q ? p / q : 0, q ? p % q : 0,
		    q < 0 || q > 31 ? 0 : (int64_t)((uint64_t)p << q), q < 0 || q > 31 ? (p < 0 ? -1 : 0) : p >> q,
		    p > q ? p : q, p < q ? p : q, p ^ q, 0};
		uint32_t pw = 1;

		for (int k = 0; k < q; k++)
			pw *= (uint32_t)p;
		want[NOPS - 1] = q >= 0 ? (int32_t)pw : p == 1 ? 1 : p == -1 ? (q % 2 ? -1 : 1) : 0;
		for (int o = 0; o < NOPS; o++)
			if (y[o][i] != (int32_t)want[o])
				fail_msg("%s(%d, %d) = %d, not %d", op_info[ops[o]].id, a[i], b[i], y[o][i], (int32_t)want[o]);
	}
	hand_free(&h);
}

/* casts: saturation, NaN, bool, bytes, halves */
static void
casts(void **state)
{
	enum { N = 12 };
	float x[N] = {0, -0.0f, 1.9f, -1.9f, 300, -300, 3e9f, -3e9f, NAN, INFINITY, 1e-8f, 65519};
	int8_t i8[N];
	uint8_t u8[N], bo[N];
	int64_t i64[N];
	uint16_t h16[N], b16[N];
	float back[N], bback[N];
	struct hand h = hand_new();
	int j, bx = hand_buf(&h, DT_f32, N, x), b8 = hand_buf(&h, DT_i8, N, i8), bu = hand_buf(&h, DT_u8, N, u8),
	    bb = hand_buf(&h, DT_bool, N, bo), b64 = hand_buf(&h, DT_i64, N, i64), bh = hand_buf(&h, DT_f16, N, h16),
	    bf = hand_buf(&h, DT_bf16, N, b16), bk = hand_buf(&h, DT_f32, N, back), bk2 = hand_buf(&h, DT_f32, N, bback);

	(void)state;
	hand_for(&h, FOR_VECTOR, N, &j);
	struct affine at = AT(0, j, 1, -1, 0);
	int v = hand_load(&h, bx, at), r;

	hand_store(&h, b8, at, hand_cast(&h, DT_i8, v));
	hand_store(&h, bu, at, hand_cast(&h, DT_u8, v));
	hand_store(&h, bb, at, hand_cast(&h, DT_bool, v));
	hand_store(&h, b64, at, hand_cast(&h, DT_i64, v));
	hand_store(&h, bh, at, r = hand_cast(&h, DT_f16, v));
	hand_store(&h, bk, at, hand_cast(&h, DT_f32, r));
	hand_store(&h, bf, at, r = hand_cast(&h, DT_bf16, v));
	hand_store(&h, bk2, at, hand_cast(&h, DT_f32, r));
	hand_run(&h);
	for (int i = 0; i < N; i++) {
		double t = trunc(x[i]);
		uint16_t want;

		assert_int_equal(i8[i], isnan(t) ? 0 : t > 127 ? 127 : t < -128 ? -128 : (int)t);
		assert_int_equal(u8[i], isnan(t) ? 0 : t > 255 ? 255 : t < 0 ? 0 : (int)t);
		assert_int_equal(bo[i], x[i] != 0);
		assert_true(i64[i] == (isnan(t) ? 0 : t > 9e18 ? INT64_MAX : (int64_t)t));
		dtype_put_f(DT_f16, &want, 0, x[i]);
		if (!isnan(x[i])) {
			assert_int_equal(h16[i], want);
			assert_true((double)back[i] == dtype_get_f(DT_f16, &want, 0));
			dtype_put_f(DT_bf16, &want, 0, x[i]);
			assert_int_equal(b16[i], want);
			assert_true((double)bback[i] == dtype_get_f(DT_bf16, &want, 0));
		} else
			assert_true(isnan(back[i]) && isnan(bback[i]));
	}
	hand_free(&h);
}

/* pieces in several dims, a SERIAL loop inside a VECTOR one with its own accumulator */
static void
column_sums(void **state)
{
	enum { A = 3, B = 5, K = 7, N = 37 };
	static float x[A * B * K * N], y[A * B * N];
	struct hand h = hand_new();
	int a, b, k, c, bx = hand_buf(&h, DT_f32, A * B * K * N, x), by = hand_buf(&h, DT_f32, A * B * N, y);
	struct body *in;

	(void)state;
	for (int i = 0; i < A * B * K * N; i++)
		x[i] = (float)hand_random();
	hand_for(&h, FOR_PARALLEL, A, &a);
	hand_for(&h, FOR_PARALLEL, B, &b);
	hand_for(&h, FOR_VECTOR, N, &c);
	int s = hand_acc(&h, DT_f32, OP_add, 0);

	in = hand_for(&h, FOR_SERIAL, K, &k);
	struct affine at = AT(0, a, B * K * N, b, K * N);

	affine_add(&at, k, N);
	affine_add(&at, c, 1);
	hand_reduce(&h, OP_add, s, hand_load(&h, bx, at));
	h.body = in;
	struct affine to = AT(0, a, B * N, b, N);

	affine_add(&to, c, 1);
	hand_store(&h, by, to, s);
	hand_run(&h);
	for (int i = 0; i < A * B; i++)
		for (int j = 0; j < N; j++) {
			float want = 0;

			for (int q = 0; q < K; q++)
				want += x[(i * K + q) * N + j];
			assert_true(y[i * N + j] == want);
		}
	hand_free(&h);
}

/* y[i,j] = 2*x[i,j] for i < N, j < (2*N+1)/3 known at run time only; rows are 40 apart */
static void
symbols(void **state)
{
	enum { MAX = 20, ROW = 40 };
	static float x[MAX * ROW], y[MAX * ROW];
	struct hand h = hand_new();
	int64_t n = dim_symbol(h.p.graph, "N", 1, MAX), m = dim_div(h.p.graph, dim_add(h.p.graph, dim_mul(h.p.graph, n, 2), 1), 3);
	int i, j, bx = hand_buf(&h, DT_f32, MAX * ROW, x), by = hand_buf(&h, DT_f32, MAX * ROW, y);

	(void)state;
	h.p.sym = &n;
	h.p.nsym = h.p.ngiven = 1;
	for (int k = 0; k < MAX * ROW; k++)
		x[k] = (float)hand_random();
	hand_for(&h, FOR_PARALLEL, n, &i);
	hand_for(&h, FOR_SERIAL, m, &j);
	int v = hand_load(&h, bx, AT(0, i, ROW, j, 1));

	hand_store(&h, by, AT(0, i, ROW, j, 1), hand_op(&h, OP_add, DT_f32, v, v, -1));
	hand_compile(&h);
	for (int64_t sym = 1; sym <= MAX; sym += 3) {
		const struct rt_program *p = jit_program(h.jit);
		int64_t cols = (2 * sym + 1) / 3;

		memset(y, 0, sizeof y);
		assert_int_equal(p->nsyms, 1);
		p->call(0, h.base, &sym, 0, MAX, 0);
		for (int k = 0; k < MAX * ROW; k++)
			assert_true(y[k] == (k / ROW < sym && k % ROW < cols ? 2 * x[k] : 0));
	}
	hand_free(&h);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(elementwise), cmocka_unit_test(softmax), cmocka_unit_test(reductions),
		cmocka_unit_test(nan_max), cmocka_unit_test(padding), cmocka_unit_test(addresses),
		cmocka_unit_test(integers), cmocka_unit_test(casts), cmocka_unit_test(column_sums),
		cmocka_unit_test(symbols),
	};

	return hand_main(sizeof tests / sizeof *tests, tests);
}
