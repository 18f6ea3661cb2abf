/* signal.c -- spectra: the discrete Fourier transform, its short-time form, mel
 * weights, windows.  Complex numbers are pairs along the last axis.
 *
 * A transform runs in double whatever its operands are: bins near zero are
 * differences of large sums.  Short lengths are one contraction with constant
 * twiddles; N = A*B is A-point transforms, a twiddle each, B-point transforms;
 * a large prime goes through a convolution of a power of two (Bluestein). */
#include <math.h>

#include "ir/ops/ops_int.h"

enum {
	DFT_MAX = 1 << 20,
	DFT_SHORT = 64,   /* at most: one contraction */
	DFT_FACTOR = 32,  /* largest A */
	DFT_PRIME = 256   /* primes up to here are one contraction too */
};

/* e^(sign 2 pi i k/n), k reduced first */
static void
root(int64_t k, int64_t n, int sign, double *re, double *im)
{
	double at = 2 * acos(-1) * (double)(k % n) / (double)n;

	*re = cos(at);
	*im = sign * sin(at);
}

/* [n,parts,k,2]: what input part p at i adds to the real and imaginary part of bin j */
static struct value *
dft_matrix(struct build *b, int64_t n, int64_t parts, int64_t bins, int sign)
{
	int64_t dims[4] = {n, parts, bins, 2};
	struct tensor *t = tensor_new(b->g->arena, DT_f64, 4, dims);
	double *w = t->data, re, im;

	for (int64_t i = 0; i < n; i++)
		for (int64_t p = 0; p < parts; p++)
			for (int64_t j = 0; j < bins; j++) {
				root(i * j, n, sign, &re, &im);
				*w++ = p ? -im : re;
				*w++ = p ? re : im;
			}
	return graph_const(b->g, NULL, t);
}

static struct value *
part(struct build *b, struct value *x, int64_t i)
{
	int64_t start[MAX_RANK] = {0}, count[MAX_RANK], step[MAX_RANK];

	if (!x)
		return NULL;
	memcpy(count, x->dims, sizeof count);
	for (int k = 0; k < x->rank; k++)
		step[k] = 1;
	start[x->rank - 1] = i;
	count[x->rank - 1] = 1;
	return b_slice(b, x, start, count, step);
}

/* x [...,2] times the constant t [...,2] elementwise, as complex numbers */
static struct value *
complex_mul(struct build *b, struct value *x, struct value *t)
{
	struct value *xr = part(b, x, 0), *xi = part(b, x, 1), *tr = part(b, t, 0), *ti = part(b, t, 1), *y[2];

	y[0] = b_sub(b, b_mul(b, xr, tr), b_mul(b, xi, ti));
	y[1] = b_add(b, b_mul(b, xr, ti), b_mul(b, xi, tr));
	return y[0] && y[1] ? b_concat(b, 2, y, x->rank - 1) : NULL;
}

static struct value *fft(struct build *, struct value *x, int sign);

/* i = B*a + c, k = d + A*e:  X[d + A e] = sum_c w_B^(c e) w_N^(c d) sum_a w_A^(a d) x[B a + c] */
static struct value *
fft_split(struct build *b, struct value *x, int64_t A, int sign)
{
	int64_t m = x->dims[0], n = x->dims[1], B = n / A, c[3] = {A, B, 2};
	struct tensor *t = tensor_new(b->g->arena, DT_f64, 3, c);
	double *w = t->data;

	for (int64_t d = 0; d < A; d++)
		for (int64_t i = 0; i < B; i++, w += 2)
			root(i * d, n, sign, &w[0], &w[1]);
	x = b_reshape(b, x, 4, (int64_t[]){m, A, B, x->dims[2]});
	x = b_contract(b, "macp,apdq->mdcq", x, x ? dft_matrix(b, A, x->dims[3], A, sign) : NULL);
	x = complex_mul(b, x, graph_const(b->g, NULL, t));
	x = b_reshape(b, x, 3, (int64_t[]){dim_mul(b->g, m, A), B, 2});
	x = x ? fft(b, x, sign) : NULL;
	x = b_reshape(b, x, 4, (int64_t[]){m, A, B, 2});
	x = x ? b_transpose(b, x, (int64_t[]){0, 2, 1, 3}) : NULL;
	return b_reshape(b, x, 3, (int64_t[]){m, n, 2});
}

/* In place, n a power of two: for the constants of Bluestein's convolution. */
static void
fft_const(double *x, int64_t n)
{
	for (int64_t i = 1, j = 0; i < n; i++) {
		int64_t bit = n >> 1;

		for (; j & bit; bit >>= 1)
			j ^= bit;
		j ^= bit;
		for (int k = 0; i < j && k < 2; k++) {
			double keep = x[2 * i + k];

			x[2 * i + k] = x[2 * j + k];
			x[2 * j + k] = keep;
		}
	}
	for (int64_t len = 2; len <= n; len *= 2)
		for (int64_t at = 0; at < n; at += len)
			for (int64_t k = 0; k < len / 2; k++) {
				double *u = x + 2 * (at + k), *v = u + len, re, im, vr, vi;

				root(k, len, -1, &re, &im);
				vr = v[0] * re - v[1] * im;
				vi = v[0] * im + v[1] * re;
				v[0] = u[0] - vr;
				v[1] = u[1] - vi;
				u[0] += vr;
				u[1] += vi;
			}
}

/* X[k] = u[k] sum_i (x[i] u[i]) conj(u[k-i]) with u[i] = e^(sign pi i i^2/N) */
static struct value *
fft_chirp(struct build *b, struct value *x, int sign)
{
	int64_t m = x->dims[0], n = x->dims[1], len = 1, dims[2] = {n, 2}, start[3] = {0}, step[3] = {1, 1, 1};
	struct tensor *u = tensor_new(b->g->arena, DT_f64, 2, dims), *h;
	struct value *chirp = graph_const(b->g, NULL, u), *y;
	double *w = u->data, *f;

	while (len < 2 * n - 1)
		len *= 2;
	dims[0] = len;
	h = tensor_new(b->g->arena, DT_f64, 2, dims);
	f = h->data;
	for (int64_t i = 0; i < n; i++) {
		root(i * i, 2 * n, sign, &w[2 * i], &w[2 * i + 1]);
		for (int side = 0; side < (i ? 2 : 1); side++) {
			double *at = f + 2 * (side ? len - i : i);

			at[0] = w[2 * i];
			at[1] = -w[2 * i + 1];
		}
	}
	fft_const(f, len);
	if (x->dims[2] == 1)
		x = b_pad(b, x, start, (int64_t[]){0, 0, 1}, 0);
	x = x ? complex_mul(b, x, chirp) : NULL;
	x = x ? b_pad(b, x, start, (int64_t[]){0, len - n, 0}, 0) : NULL;
	y = x ? fft(b, x, -1) : NULL;
	y = y ? complex_mul(b, y, graph_const(b->g, NULL, h)) : NULL;
	y = y ? fft(b, y, 1) : NULL;
	y = y ? b_slice(b, b_muls(b, y, 1 / (double)len), start, (int64_t[]){m, n, 2}, step) : NULL;
	return y ? complex_mul(b, y, chirp) : NULL;
}

/* x f64[M,N,1 or 2] to [M,N,2]; no scaling */
static struct value *
fft(struct build *b, struct value *x, int sign)
{
	int64_t n = x->dims[1], A = 1;

	for (int64_t k = 2; n > DFT_SHORT && k <= DFT_FACTOR; k++)
		A = n % k ? A : k;
	if (A > 1)
		return fft_split(b, x, A, sign);
	if (n > DFT_PRIME)
		return fft_chirp(b, x, sign);
	return b_contract(b, "mip,ipjq->mjq", x, dft_matrix(b, n, x->dims[2], n, sign));
}

/* The first `bins` bins of the forward transform of x f64[M,N,1 or 2]. */
static struct value *
forward(struct build *b, struct value *x, int64_t bins)
{
	int64_t start[3] = {0}, step[3] = {1, 1, 1};

	if (!x)
		return NULL;
	if (x->dims[1] <= DFT_SHORT)
		return b_contract(b, "mip,ipjq->mjq", x, dft_matrix(b, x->dims[1], x->dims[2], bins, -1));
	if (!(x = fft(b, x, -1)) || bins == x->dims[1])
		return x;
	return b_slice(b, x, start, (int64_t[]){x->dims[0], bins, 2}, step);
}

/* Bins 0..n/2 of a real signal's spectrum, completed: X[n-k] = conj X[k]. */
static struct value *
hermitian(struct build *b, struct value *x, int64_t n)
{
	int64_t half = n / 2 + 1, rest = n - half, start[3] = {0, rest, 0}, step[3] = {1, -1, 1};
	struct value *y[2] = {x, NULL};
	struct tensor *sign = tensor_new(b->g->arena, DT_f64, 1, (int64_t[]){2});

	if (!x || !rest)
		return x;
	dtype_put_f(DT_f64, sign->data, 0, 1);
	dtype_put_f(DT_f64, sign->data, 1, -1);
	y[1] = b_slice(b, x, start, (int64_t[]){x->dims[0], rest, 2}, step);
	y[1] = b_mul(b, y[1], graph_const(b->g, NULL, sign));
	return y[1] ? b_concat(b, 2, y, 1) : NULL;
}

/* x with axis 1 cut or filled with zeros to n */
static struct value *
fit(struct build *b, struct value *x, int64_t n)
{
	if (!x || x->dims[1] == n)
		return x;
	return b_pad(b, x, (int64_t[]){0, 0, 0}, (int64_t[]){0, n - x->dims[1], 0}, 0);
}

/* ---- DFT: input [...,1 or 2], dft_length?, axis? */
bool
expand_DFT(struct build *b, const struct node *n, struct value **outs)
{
	struct value *x = n->in[0], *y;
	int64_t at = -2, len, have, perm[MAX_RANK], back[MAX_RANK], dims[MAX_RANK], rows = 1, bins;
	bool inverse = attr_int(n, "inverse"), one = attr_int(n, "onesided"), given = ops_in(n, 1);
	int rank = x->rank, axis, k = 0;

	if (rank < 2 || !dtype_is_float(x->dtype) || (x->dims[rank - 1] != 1 && x->dims[rank - 1] != 2))
		return diag_invalid(b->diag, n->loc, "input %s of %s; real [...,1] or complex [...,2] is expected",
		    ops_dims_text(b->g, rank, x->dims), dtype_info[x->dtype].name);
	if (ops_in(n, 2) && !ops_int(b, n, 2, &at))
		return false;
	if ((axis = axis_normal(n, b->diag, at, rank)) < 0)
		return false;
	if (axis == rank - 1)
		return diag_invalid(b->diag, n->loc, "axis %d holds the real and imaginary parts", axis);
	have = x->dims[axis];
	if (!dim_const(have))
		return diag_unsupported(b->diag, n->loc, "a transform of symbolic length %s", dim_text(b->g, have));
	len = one && inverse ? 2 * (have - 1) : have;
	if (given && !ops_int(b, n, 1, &len))
		return false;
	if (len < 1 || len > DFT_MAX)
		return diag_invalid(b->diag, n->loc, "length %lld; 1 to %d is supported", (long long)len, DFT_MAX);
	if (one && !inverse && x->dims[rank - 1] != 1)
		return diag_invalid(b->diag, n->loc, "onesided is for real input; this one is complex");
	bins = len / 2 + 1;
	/* the axis second to last: [rows, have, parts] */
	for (int i = 0; i < rank - 1; i++)
		if (i != axis) {
			perm[k] = i;
			dims[k++] = x->dims[i];
			rows = dim_mul(b->g, rows, x->dims[i]);
		}
	perm[k] = axis;
	perm[k + 1] = rank - 1;
	for (int i = 0; i < rank; i++)
		back[perm[i]] = i;
	y = b_cast(b, b_transpose(b, x, perm), DT_f64);
	y = b_reshape(b, y, 3, (int64_t[]){rows, have, x->dims[rank - 1]});
	if (one && inverse) {
		y = fit(b, y, bins);
		if (y && y->dims[2] == 1)
			y = b_pad(b, y, (int64_t[]){0, 0, 0}, (int64_t[]){0, 0, 1}, 0);
		y = hermitian(b, y, len);
	} else
		y = fit(b, y, len);
	if (!y)
		return false;
	y = inverse ? b_muls(b, fft(b, y, 1), 1 / (double)len) : forward(b, y, one ? bins : len);
	if (one && inverse)
		y = part(b, y, 0);
	if (!y)
		return false;
	dims[rank - 2] = y->dims[1];
	dims[rank - 1] = y->dims[2];
	y = b_transpose(b, b_reshape(b, y, rank, dims), back);
	return y && (outs[0] = b_cast(b, y, x->dtype)) != NULL;
}

/* ---- STFT: signal [B,L,1 or 2], frame_step, window? [n], frame_length? = n */
bool
expand_STFT(struct build *b, const struct node *n, struct value **outs)
{
	struct value *x = n->in[0], *w = ops_in(n, 2), *y;
	int64_t step, len = -1, frames, dims[2], bins, *index;
	bool one = attr_int(n, "onesided");
	struct tensor *t;

	if (x->rank != 3 || !dtype_is_float(x->dtype) || (x->dims[2] != 1 && x->dims[2] != 2))
		return diag_invalid(b->diag, n->loc, "signal %s; [batch,length,1] or [batch,length,2] is expected",
		    ops_dims_text(b->g, x->rank, x->dims));
	if (!dim_const(x->dims[1]))
		return diag_unsupported(b->diag, n->loc, "a signal of symbolic length %s", dim_text(b->g, x->dims[1]));
	if (!ops_int(b, n, 1, &step) || (ops_in(n, 3) && !ops_int(b, n, 3, &len)))
		return false;
	if (w && (w->rank != 1 || (len >= 0 && w->dims[0] != len)))
		return diag_invalid(b->diag, n->loc, "window %s for frames of %lld", ops_dims_text(b->g, w->rank, w->dims),
		    (long long)len);
	if (len < 0 && !w)
		return diag_invalid(b->diag, n->loc, "needs a window or a frame_length");
	len = len < 0 ? w->dims[0] : len;
	if (step < 1 || len < 1 || len > x->dims[1])
		return diag_invalid(b->diag, n->loc, "frames of %lld every %lld samples of %lld", (long long)len,
		    (long long)step, (long long)x->dims[1]);
	if (one && x->dims[2] == 2)
		return diag_invalid(b->diag, n->loc, "onesided is for a real signal; this one is complex");
	frames = (x->dims[1] - len) / step + 1;
	if (len > DFT_MAX || frames > INT32_MAX / len)
		return diag_unsupported(b->diag, n->loc, "%lld frames of %lld", (long long)frames, (long long)len);
	dims[0] = frames;
	dims[1] = len;
	t = tensor_new(b->g->arena, DT_i64, 2, dims);
	index = t->data;
	for (int64_t i = 0; i < frames * len; i++)
		index[i] = i / len * step + i % len;
	y = b_gather(b, b_cast(b, x, DT_f64), graph_const(b->g, NULL, t), 1); /* [B,frames,len,parts] */
	if (w)
		y = b_mul(b, y, b_reshape(b, b_cast(b, w, DT_f64), 2, (int64_t[]){len, 1}));
	y = b_reshape(b, y, 3, (int64_t[]){dim_mul(b->g, x->dims[0], frames), len, x->dims[2]});
	bins = one ? len / 2 + 1 : len;
	y = b_reshape(b, forward(b, y, bins), 4, (int64_t[]){x->dims[0], frames, bins, 2});
	return y && (outs[0] = b_cast(b, y, x->dtype)) != NULL;
}

static bool
output_type(struct build *b, const struct node *n, enum dtype *t)
{
	int64_t to = attr_int(n, "output_datatype");

	*t = to < 0 || to > INT32_MAX ? DT_none : dtype_from_onnx((int)to);
	if ((!dtype_is_float(*t) && !dtype_is_int(*t)) || dtype_info[*t].bits < 8)
		return diag_unsupported(b->diag, n->loc, "output element type %lld", (long long)to);
	return true;
}

/* ---- MelWeightMatrix: bands, dft_length, sample_rate, lowest and highest frequency.
 * Edges are equally spaced in mel(f) = 2595 log10(1 + f/700), bands + 2 steps over
 * the range, and floored to bins; band i rises from edge i to i+1 and falls to i+2. */
bool
expand_MelWeightMatrix(struct build *b, const struct node *n, struct value **outs)
{
	int64_t bands, length, rate, dims[2], *edge;
	double lo, hi, *f, mel[2], at;
	struct tensor *t;
	enum dtype type;

	if (!output_type(b, n, &type) || !ops_int(b, n, 0, &bands) || !ops_int(b, n, 1, &length) ||
	    !ops_int(b, n, 2, &rate))
		return false;
	if (!value_number(ops_in(n, 3), &lo) || !value_number(ops_in(n, 4), &hi))
		return diag_unsupported(b->diag, n->loc, "its frequencies must be constant");
	if (bands < 1 || bands > 1 << 20 || length < 1 || length > DFT_MAX || rate < 1 || !(lo >= 0) || !(hi >= lo) ||
	    bands * (length / 2 + 1) > 1 << 26)
		return diag_invalid(b->diag, n->loc, "%lld bands from %g to %g Hz of a transform of %lld at %lld Hz",
		    (long long)bands, lo, hi, (long long)length, (long long)rate);
	dims[0] = length / 2 + 1;
	dims[1] = bands;
	t = tensor_new(b->g->arena, DT_f64, 2, dims);
	edge = arena_array(b->g->arena, int64_t, bands + 2);
	mel[0] = 2595 * log10(1 + lo / 700);
	mel[1] = 2595 * log10(1 + hi / 700);
	for (int64_t i = 0; i < bands + 2; i++) {
		at = mel[0] + (double)i * (mel[1] - mel[0]) / (double)(bands + 2);
		at = 700 * (pow(10, at / 2595) - 1);
		edge[i] = (int64_t)floor((double)(length + 1) * at / (double)rate);
	}
	f = t->data;
	for (int64_t i = 0; i < bands; i++) {
		int64_t low = edge[i], mid = edge[i + 1], high = edge[i + 2];

		for (int64_t k = low; k < high + (mid == high) && k < dims[0]; k++)
			f[k * bands + i] = k == mid ? 1
			                   : k < mid ? (double)(k - low) / (double)(mid - low)
			                             : (double)(high - k) / (double)(high - mid);
	}
	return (outs[0] = b_cast(b, graph_const(b->g, NULL, t), type)) != NULL;
}

/* ---- windows: c0 - c1 cos(2 pi i/N) + c2 cos(4 pi i/N), N the size, less 1 if symmetric */
static bool
window(struct build *b, const struct node *n, struct value **outs, double c0, double c1, double c2)
{
	int64_t size;
	struct tensor *w;
	enum dtype t;
	double last;

	if (!ops_int(b, n, 0, &size) || !output_type(b, n, &t))
		return false;
	if (size < 0 || size > 1 << 24)
		return diag_invalid(b->diag, n->loc, "a window of %lld", (long long)size);
	w = tensor_new(b->g->arena, t, 1, &size);
	last = attr_int(n, "periodic") ? (double)size : (double)(size - 1);
	for (int64_t i = 0; i < size; i++) {
		double at = last > 0 ? 2 * acos(-1) * (double)i / last : 0;

		dtype_put_f(t, w->data, i, c0 - c1 * cos(at) + c2 * cos(2 * at));
	}
	outs[0] = graph_const(b->g, NULL, w);
	return true;
}

bool
expand_HannWindow(struct build *b, const struct node *n, struct value **outs)
{
	return window(b, n, outs, 0.5, 0.5, 0);
}

bool
expand_HammingWindow(struct build *b, const struct node *n, struct value **outs)
{
	return window(b, n, outs, 25.0 / 46, 21.0 / 46, 0);
}

bool
expand_BlackmanWindow(struct build *b, const struct node *n, struct value **outs)
{
	return window(b, n, outs, 0.42, 0.5, 0.08);
}
