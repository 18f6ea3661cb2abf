/* layers -- see layers.h. */
#include "layers.h"

#include <stdio.h>
#include <string.h>

static const struct dense *
state(const struct given *g, const char *name, const char *part)
{
	char s[128];

	snprintf(s, sizeof s, "%s%s", name, part);
	return trained(g, s);
}

static bool
has(const struct given *g, const char *name, const char *part)
{
	char s[128];

	snprintf(s, sizeof s, "%s%s", name, part);
	return has_state(g, s);
}

/* [N,C] as [N,C,1,1] */
static struct dense
map(struct dense x)
{
	for (int i = x.rank; i < 4; i++)
		x.dims[i] = 1;
	return x;
}

static double *
at(struct dense *x, int64_t n, int64_t c, int64_t h, int64_t w)
{
	return &x->v[((n * x->dims[1] + c) * x->dims[2] + h) * x->dims[3] + w];
}

/* A sample's numbers scattered (transposed) or gathered through the same trilinear form. */
static struct dense
swept(const struct given *g, struct dense x, const char *name, int stride, int pad, bool transposed)
{
	struct dense w = map(*state(g, name, "weight")), y;
	int rank = x.rank;
	int64_t kh = w.dims[2], kw = w.dims[3], dims[4], nc = transposed ? w.dims[1] : w.dims[0];

	x = map(x);
	dims[0] = x.dims[0];
	dims[1] = nc;
	dims[2] = transposed ? (x.dims[2] - 1) * stride + kh - 2 * pad
			     : (x.dims[2] + 2 * pad - kh) / stride + 1;
	dims[3] = transposed ? (x.dims[3] - 1) * stride + kw - 2 * pad
			     : (x.dims[3] + 2 * pad - kw) / stride + 1;
	y = room(4, dims);
	for (int64_t n = 0; n < dims[0]; n++)
		for (int64_t o = 0; o < nc; o++)
			for (int64_t c = 0; c < x.dims[1]; c++)
				for (int64_t i = 0; i < kh; i++)
					for (int64_t j = 0; j < kw; j++) {
						double v = transposed ? *at(&w, c, o, i, j)
								      : *at(&w, o, c, i, j);
						const struct dense *small = transposed ? &x : &y,
								   *big = transposed ? &y : &x;

						for (int64_t h = 0; h < small->dims[2]; h++)
							for (int64_t q = 0; q < small->dims[3];
							    q++) {
								int64_t bh = h * stride + i - pad,
									bw = q * stride + j - pad;

								if (bh < 0 || bw < 0 ||
								    bh >= big->dims[2] ||
								    bw >= big->dims[3])
									continue;
								if (transposed)
									*at(&y, n, o, bh, bw) +=
									    v * *at(&x, n, c, h, q);
								else
									*at(&y, n, o, h, q) +=
									    v *
									    *at(&x, n, c, bh, bw);
							}
					}
	if (has(g, name, "bias"))
		for (int64_t i = 0; i < y.n; i++)
			y.v[i] += state(g, name, "bias")->v[i / (dims[2] * dims[3]) % nc];
	y.rank = rank;
	return y;
}

struct dense
convolved(const struct given *g, struct dense x, const char *name, int stride, int pad)
{
	return swept(g, x, name, stride, pad, false);
}

struct dense
deconvolved(const struct given *g, struct dense x, const char *name, int stride, int pad)
{
	return swept(g, x, name, stride, pad, true);
}

static int64_t
inner(const struct dense *x)
{
	return x->n / x->dims[0] / x->dims[1];
}

/* of a channel of the batch */
static void
moments(const struct dense *x, int64_t c, double *mean, double *var)
{
	int64_t in = inner(x), count = x->dims[0] * in;

	*mean = *var = 0;
	for (int pass = 0; pass < 2; pass++)
		for (int64_t i = 0; i < x->n; i++) {
			if (i / in % x->dims[1] != c)
				continue;
			if (pass == 0)
				*mean += x->v[i] / (double)count;
			else
				*var += (x->v[i] - *mean) * (x->v[i] - *mean) / (double)count;
		}
}

struct dense
normalized(const struct given *g, struct dense x, const char *name)
{
	struct dense y = room(x.rank, x.dims);

	for (int64_t c = 0; c < x.dims[1]; c++) {
		double mean = state(g, name, "mean")->v[c], var = state(g, name, "var")->v[c];

		if (g->training)
			moments(&x, c, &mean, &var);
		for (int64_t i = 0; i < x.n; i++)
			if (i / inner(&x) % x.dims[1] == c)
				y.v[i] = (x.v[i] - mean) / sqrt(var + 1e-5) *
					     state(g, name, "scale")->v[c] +
					 state(g, name, "shift")->v[c];
	}
	return y;
}

bool
running(const struct given *g, struct dense x, const char *name, const char *which, struct dense *d)
{
	double count = (double)(x.n / x.dims[1]), v[2];

	(void)g;
	if (strncmp(which, name, strlen(name)) != 0)
		return false;
	which += strlen(name);
	if (strcmp(which, "mean") != 0 && strcmp(which, "var") != 0)
		return false;
	for (int64_t c = 0; c < x.dims[1]; c++) {
		moments(&x, c, &v[0], &v[1]);
		d->v[c] = 0.9 * d->v[c] + 0.1 * (*which == 'm' ? v[0] : v[1] * count / (count - 1));
	}
	return true;
}

struct dense
leaky(struct dense x, double slope)
{
	struct dense y = room(x.rank, x.dims);

	for (int64_t i = 0; i < x.n; i++)
		y.v[i] = x.v[i] > 0 ? x.v[i] : slope * x.v[i];
	return y;
}

/* How much of element k of n is in element i of m. */
static double
part(int64_t i, int64_t m, int64_t k, int64_t n, char how)
{
	double at_k = fmin(fmax(((double)i + 0.5) * (double)n / (double)m - 0.5, 0), (double)n - 1);
	int64_t lo = i * n / m, hi = ((i + 1) * n + m - 1) / m;

	if (how == 'n')
		return k == i * n / m;
	if (how == 'b')
		return fmax(0, 1 - fabs(at_k - (double)k));
	return k >= lo && k < hi ? 1 / (double)(hi - lo) : 0;
}

struct dense
resized(struct dense x, int64_t h, int64_t w, char how)
{
	struct dense y = room(4, (int64_t[]){x.dims[0], x.dims[1], h, w});

	if (x.dims[2] == h && x.dims[3] == w)
		return x;
	for (int64_t n = 0; n < y.n; n++) {
		int64_t i = n / w % h, j = n % w;

		for (int64_t k = 0; k < x.dims[2]; k++)
			for (int64_t l = 0; l < x.dims[3]; l++)
				y.v[n] += part(i, h, k, x.dims[2], how) *
					  part(j, w, l, x.dims[3], how) *
					  x.v[(n / w / h * x.dims[2] + k) * x.dims[3] + l];
	}
	return y;
}

void
same_size(struct dense *a, struct dense *b)
{
	if (a->rank < 4)
		return;
	if (a->dims[2] > b->dims[2])
		*a = resized(*a, b->dims[2], b->dims[3], 'a');
	else
		*b = resized(*b, a->dims[2], a->dims[3], 'a');
}

double
squared_distance(struct dense a, struct dense b)
{
	double sum = 0;

	for (int64_t i = 0; i < a.n; i++)
		sum += (a.v[i] - b.v[i]) * (a.v[i] - b.v[i]);
	return sum;
}

double
mean_square(struct dense a, struct dense b)
{
	return squared_distance(a, b) / (double)a.n;
}

struct dense
unit(struct dense x)
{
	struct dense y = room(x.rank, x.dims);
	int64_t d = x.n / x.dims[0];

	for (int64_t n = 0; n < x.dims[0]; n++) {
		double sum = 0;

		for (int64_t i = 0; i < d; i++)
			sum += x.v[n * d + i] * x.v[n * d + i];
		for (int64_t i = 0; i < d; i++)
			y.v[n * d + i] = x.v[n * d + i] / sqrt(sum);
	}
	return y;
}

struct dense
cut(struct dense x, int64_t from, int64_t to)
{
	int64_t dims[AXES], in = inner(&x);
	struct dense y;

	memcpy(dims, x.dims, sizeof dims);
	dims[1] = to - from;
	y = room(x.rank, dims);
	for (int64_t i = 0; i < y.n; i++)
		y.v[i] =
		    x.v[(i / in / dims[1] * x.dims[1] + from + i / in % dims[1]) * in + i % in];
	return y;
}
