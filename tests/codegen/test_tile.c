/* Register tiles against sums in double: GEMM, column tails, groups, convolution.
 * With HAND_SPEED set, also the rate of a large GEMM. */
#include "tests/codegen/hand.h"

#include <time.h>

#define AT hand_at

static struct tile *
tile_new(struct hand *h, int rows0, int rows1, int cols, int groups)
{
	struct stmt *s = stmt_new(h->a, h->body, S_TILE);
	struct tile *t = s->tile = arena_new(h->a, struct tile);

	*t = (struct tile){.rows = {rows0, rows1}, .cols = cols, .valid_cols = cols, .unroll = 1, .cblocks = groups,
	    .dtype = DT_f32};
	t->rowvar[0] = kernel_var(h->k);
	t->rowvar[1] = kernel_var(h->k);
	t->colvar = kernel_var(h->k);
	t->cblockvar = kernel_var(h->k);
	t->acc = kernel_reg(h->a, h->k, t->dtype);
	t->a.index = t->b.index = AFFINE(0);
	t->b.cstride = 1;
	return t;
}

/* C[M,N] = relu(A[M,K] * B[K,N] + bias[N]); B in panels of 16 lanes */
static void
gemm_case(int m, int rows, int n, int k, int groups, int unroll, bool speed)
{
	struct hand h = hand_new();
	int nb = (n + 15) / 16, pv, rv, lanes = 16;
	float *a = malloc(sizeof(float) * (size_t)(m * k + 16)), *b = malloc(sizeof(float) * (size_t)(nb * 16 * k)),
	    *c = calloc((size_t)(m * n), sizeof(float)), *bias = malloc(sizeof(float) * (size_t)n), *bp;
	int ba, bb, bc, bbias, tiles = m / rows;

	bp = malloc(sizeof(float) * (size_t)(nb * 16 * k));
	for (int i = 0; i < m * k; i++)
		a[i] = (float)hand_random();
	for (int i = 0; i < nb * 16 * k; i++)
		b[i] = (float)hand_random();
	for (int i = 0; i < n; i++)
		bias[i] = (float)hand_random();
	for (int j = 0; j < nb * 16; j++)
		for (int q = 0; q < k; q++)
			bp[j / 16 * 16 * k + q * 16 + j % 16] = j < n ? b[q * n + j] : 0;
	ba = hand_buf(&h, DT_f32, m * k, a);
	bb = hand_buf(&h, DT_f32, nb * 16 * k, bp);
	bc = hand_buf(&h, DT_f32, m * n, c);
	bbias = hand_buf(&h, DT_f32, n, bias);
	assert_true(m % rows == 0 && nb % groups == 0);
	hand_for(&h, FOR_PARALLEL, nb / groups, &pv);
	hand_for(&h, FOR_PARALLEL, tiles, &rv);
	struct tile *t = tile_new(&h, 1, rows, lanes, groups);

	t->unroll = unroll;
	if (n % 16)
		t->valid_cols = n % 16; /* one panel */
	t->a.buf = ba;
	t->b.buf = bb;
	affine_add(&t->a.index, rv, (int64_t)rows * k);
	affine_add(&t->b.index, pv, (int64_t)groups * 16 * k);
	t->a.rstride[1] = k;
	t->b.cbstride = 16 * k;
	t->nk = 1;
	t->k[0] = k;
	t->a.kstride[0] = 1;
	t->b.kstride[0] = 16;
	struct body *outer = h.body;

	h.body = &t->epilogue;
	struct affine at = AT(0, rv, (int64_t)rows * n, t->rowvar[1], n), col = AT(0, pv, groups * 16, -1, 0);

	affine_add(&col, t->colvar, 1);
	affine_add(&at, pv, groups * 16);
	if (groups > 1) { /* the variable of a single group is not open */
		affine_add(&at, t->cblockvar, 16);
		affine_add(&col, t->cblockvar, 16);
	}
	affine_add(&at, t->colvar, 1);
	int v = hand_op(&h, OP_add, DT_f32, t->acc, hand_load(&h, bbias, col), -1);

	hand_store(&h, bc, at, hand_op(&h, OP_max, DT_f32, v, hand_const(&h, DT_f32, 0), -1));
	h.body = outer;
	hand_run(&h);
	for (int i = 0; i < m; i += speed ? 17 : 1)
		for (int j = 0; j < n; j++) {
			double s = bias[j], abs = fabs(bias[j]);

			for (int q = 0; q < k; q++) {
				s += (double)a[i * k + q] * b[q * n + j];
				abs += fabs((double)a[i * k + q] * b[q * n + j]);
			}
			if (fabs(c[i * n + j] - fmax(s, 0)) > 1e-7 * (k + 4) * abs)
				fail_msg("[%d,%d] %g, not %g", i, j, c[i * n + j], fmax(s, 0));
		}
	if (speed) {
		double best = 1e9;

		for (int r = 0; r < 40; r++) {
			struct timespec t0, t1;

			clock_gettime(CLOCK_MONOTONIC, &t0);
			hand_run(&h);
			clock_gettime(CLOCK_MONOTONIC, &t1);
			best = fmin(best, (double)(t1.tv_sec - t0.tv_sec) + 1e-9 * (double)(t1.tv_nsec - t0.tv_nsec));
		}
		printf("%s: %dx%dx%d, tile %dx%d, unroll %d: %.1f GFLOP/s\n", hand_cpu, m, n, k, rows, groups * 16, unroll,
		    2e-9 * m * n * k / best);
	}
	free(a);
	free(b);
	free(bp);
	free(c);
	free(bias);
	hand_free(&h);
}

static void
gemm(void **state)
{
	(void)state;
	gemm_case(6, 3, 32, 5, 2, 1, false);
	gemm_case(6, 3, 32, 33, 1, 4, false);
	gemm_case(4, 1, 10, 20, 1, 4, false);
	gemm_case(4, 4, 16, 1, 1, 1, false);
	gemm_case(28, 14, 64, 50, 2, 2, false);
	for (int n = 1; n < 16; n++)
		gemm_case(4, 2, n, 9, 1, 1, false);
	if (getenv("HAND_SPEED")) {
		gemm_case(126, 14, 768, 768, 2, 1, true);
		gemm_case(126, 14, 768, 768, 2, 4, true);
		gemm_case(128, 8, 768, 768, 3, 1, true);
		gemm_case(126, 6, 768, 768, 4, 1, true);
		gemm_case(126, 6, 768, 768, 1, 1, true);
		gemm_case(128, 4, 768, 768, 1, 4, true);
	}
}

/* y[oc,h,w] = sum x[ic,h+kh,w+kw] w[oc,ic,kh,kw], channels blocked by 16: four k loops */
static void
convolution(void **state)
{
	enum { IB = 2, OB = 2, H = 6, W = 8, KH = 3, KW = 3, PH = H + 2, PW = W + 2 };
	static float x[IB * PH * PW * 16], w[OB * IB * KH * KW * 16 * 16], y[OB * H * W * 16];
	struct hand h = hand_new();
	int hv, wv, bx = hand_buf(&h, DT_f32, sizeof x / 4, x), bw = hand_buf(&h, DT_f32, sizeof w / 4, w),
	    by = hand_buf(&h, DT_f32, sizeof y / 4, y);

	(void)state;
	for (size_t i = 0; i < sizeof x / 4; i++)
		x[i] = (float)hand_random();
	for (size_t i = 0; i < sizeof w / 4; i++)
		w[i] = (float)hand_random();
	hand_for(&h, FOR_PARALLEL, H / 2, &hv);
	hand_for(&h, FOR_SERIAL, W / 4, &wv);
	struct tile *t = tile_new(&h, 2, 4, 16, OB); /* 2 x 4 pixels, both output blocks */

	t->a.buf = bx;
	t->b.buf = bw;
	t->a.index = AT(0, hv, 2 * PW * 16, wv, 4 * 16);
	t->a.rstride[0] = PW * 16;
	t->a.rstride[1] = 16;
	t->b.cbstride = IB * KH * KW * 256;
	t->nk = 4;
	memcpy(t->k, (int64_t[]){IB, KH, KW, 16}, 4 * sizeof *t->k);
	memcpy(t->a.kstride, (int64_t[]){PH * PW * 16, PW * 16, 16, 1}, 4 * sizeof *t->k);
	memcpy(t->b.kstride, (int64_t[]){KH * KW * 256, KW * 256, 256, 16}, 4 * sizeof *t->k);
	t->unroll = 4;
	h.body = &t->epilogue;
	struct affine at = AT(0, hv, 2 * W * 16, wv, 4 * 16);

	affine_add(&at, t->rowvar[0], W * 16);
	affine_add(&at, t->rowvar[1], 16);
	affine_add(&at, t->cblockvar, H * W * 16);
	affine_add(&at, t->colvar, 1);
	hand_store(&h, by, at, t->acc);
	hand_run(&h);
	for (int o = 0; o < OB * 16; o++)
		for (int i = 0; i < H * W; i++) {
			double s = 0;

			for (int c = 0; c < IB * 16; c++)
				for (int k = 0; k < KH * KW; k++)
					s += (double)x[((c / 16 * PH + i / W + k / KW) * PW + i % W + k % KW) * 16 + c % 16] *
					    w[((o / 16 * IB + c / 16) * KH * KW + k) * 256 + c % 16 * 16 + o % 16];
			assert_true(fabs(s - y[(o / 16 * H * W + i) * 16 + o % 16]) < 1e-4);
		}
	hand_free(&h);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(gemm), cmocka_unit_test(convolution)};

	return hand_main(sizeof tests / sizeof *tests, tests);
}
