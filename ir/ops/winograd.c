/* winograd.c -- 3x3 convolution by Winograd's minimal filtering (Lavin and Gray, 2015):
 * tiles of m x m outputs, from side x side inputs d, as
 *   Y = AT [ U * V ] A,  U = G w G^T,  V = BT d B   (* by element)
 * so that the sum over channels is one product of matrices for each of the n x n points.
 * Stride 1: n = side = m + 2; points 0, 1, -1, infinity for m = 2; 2 and -2 too for m = 4.
 * Stride 2, m = 2: even inputs meet the outer taps, F(2,2) in three products; odd ones the
 * middle tap, one product each: n = side = 5. */
#include "ir/ops/ops_int.h"

static const double bt2[] = {1, 0, -1, 0, 0, 1, 1, 0, 0, -1, 1, 0, 0, 1, 0, -1};
static const double g2[] = {1, 0, 0, .5, .5, .5, .5, -.5, .5, 0, 0, 1};
static const double at2[] = {1, 1, 1, 0, 0, 1, -1, -1};
static const double bt4[] = {4, 0, -5, 0, 1, 0, 0, -4, -4, 1, 1, 0, 0, 4, -4, -1, 1, 0, 0, -2, -1, 2, 1, 0, 0, 2, -1, -2, 1,
    0, 0, 4, 0, -5, 0, 1};
static const double g4[] = {1. / 4, 0, 0, -1. / 6, -1. / 6, -1. / 6, -1. / 6, 1. / 6, -1. / 6, 1. / 24, 1. / 12, 1. / 6,
    1. / 24, -1. / 12, 1. / 6, 0, 0, 1};
static const double at4[] = {1, 1, 1, 1, 1, 0, 0, 1, -1, 2, -2, 0, 0, 1, 1, 4, 4, 0, 0, 1, -1, 8, -8, 1};

static const double bts[] = {1, 0, -1, 0, 0, 0, 0, 1, 0, 0, 0, 0, -1, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0, 1, 0};
static const double gs[] = {1, 0, 0, 1, 0, 1, 0, 0, 1, 0, 1, 0, 0, 1, 0};
static const double ats[] = {1, 1, 0, 1, 0, 0, 1, 1, 0, 1};

const struct winograd *
winograd_of(int m, int stride)
{
	static const struct winograd all[] = {{2, 1, 4, 4, bt2, g2, at2}, {4, 1, 6, 6, bt4, g4, at4}, {2, 2, 5, 5, bts, gs, ats}};

	for (size_t i = 0; i < sizeof all / sizeof *all; i++)
		if (all[i].m == m && all[i].stride == stride)
			return &all[i];
	return NULL;
}

static const struct winograd *
winograd_by(const struct node *n)
{
	bool strides = n->op == OP_winograd_conv;

	return winograd_of((int)attr_int(n, "tile"), strides ? (int)attr_int(n, "stride") : 1);
}

static bool
pads_of(const struct node *n, struct diag *d, int64_t *pads)
{
	return ops_list(n, d, "pads", 4, 0, pads);
}

/* What the two operators ask of x, and the spatial dims of y. */
static bool
window(const struct node *n, struct diag *d, int64_t *out)
{
	const struct winograd *w = winograd_by(n);
	const struct value *x = n->in[0];
	int64_t pads[4];

	if (!ops_known(n, d) || !pads_of(n, d, pads))
		return false;
	if (!w || x->rank != 4 || x->dtype != n->in[1]->dtype || !dtype_is_float(x->dtype) || !ops_all_const(4, x->dims))
		return diag_invalid(d, n->loc, "operands do not fit a tile of %lld", (long long)attr_int(n, "tile"));
	for (int i = 0; i < 2; i++) {
		out[i] = (x->dims[2 + i] + pads[i] + pads[2 + i] - 3) / w->stride + 1;
		if (pads[i] < 0 || pads[2 + i] < 0 || x->dims[2 + i] + pads[i] + pads[2 + i] < 3)
			return diag_invalid(d, n->loc, "a kernel of 3 on an axis of %lld", (long long)x->dims[2 + i]);
	}
	return true;
}

bool
infer_winograd_conv(struct graph *g, struct node *n, struct diag *d)
{
	const struct value *x = n->in[0], *u = n->in[1];
	int64_t out[4], points;

	(void)g;
	if (!window(n, d, out + 2))
		return false;
	points = winograd_by(n)->n;
	if (u->rank != 3 || u->dims[0] != points * points || u->dims[1] != x->dims[1])
		return diag_invalid(d, n->loc, "weights do not fit a tile of %lld", (long long)attr_int(n, "tile"));
	out[0] = x->dims[0];
	out[1] = u->dims[2];
	return ops_set(n, d, 0, x->dtype, 4, out);
}

bool
infer_winograd_grad_weight(struct graph *g, struct node *n, struct diag *d)
{
	const struct value *x = n->in[0], *dy = n->in[1];
	int64_t out[2], points = attr_int(n, "tile") + 2;

	(void)g;
	if (!window(n, d, out))
		return false;
	if (dy->rank != 4 || dy->dims[0] != x->dims[0] || dy->dims[2] != out[0] || dy->dims[3] != out[1])
		return diag_invalid(d, n->loc, "the gradient of a result of %lld by %lld is expected", (long long)out[0],
		    (long long)out[1]);
	return ops_set(n, d, 0, x->dtype, 3, (int64_t[]){points * points, x->dims[1], dy->dims[1]});
}

/* to[rows,cols] = l [rows,k] from [k,cols], all row-major */
static void
product(int rows, int k, int cols, const double *l, const double *from, double *to)
{
	for (int r = 0; r < rows; r++)
		for (int c = 0; c < cols; c++) {
			double sum = 0;

			for (int i = 0; i < k; i++)
				sum += l[r * k + i] * from[i * cols + c];
			to[r * cols + c] = sum;
		}
}

/* l from l^T for l [rows,k] and from [k,k], at most 6 each */
static void
both_sides(int rows, int k, const double *l, const double *from, double *to)
{
	double t[36], turned[36];

	for (int r = 0; r < rows; r++)
		for (int c = 0; c < k; c++)
			turned[c * rows + r] = l[r * k + c];
	product(rows, k, k, l, from, t);
	product(rows, k, rows, t, turned, to);
}

/* side x side elements of plane `at` of t from row h, column q on; zero outside */
static void
patch(const struct etensor *t, int64_t at, int64_t h, int64_t q, int side, double *d)
{
	int64_t rows = t->dims[2], cols = t->dims[3];

	for (int i = 0; i < side * side; i++) {
		int64_t r = h + i / side, c = q + i % side;

		d[i] = r < 0 || c < 0 || r >= rows || c >= cols ? 0 : t->f[(at * rows + r) * cols + c];
	}
}

/* V of the tile at (row, col) of one plane of x */
static void
input_tile(const struct winograd *w, const struct etensor *x, int64_t plane, const int64_t *pads, int64_t row, int64_t col,
    double *v)
{
	double d[36];

	patch(x, plane, row * w->m * w->stride - pads[0], col * w->m * w->stride - pads[1], w->side, d);
	both_sides(w->n, w->side, w->bt, d, v);
}

bool
eval_winograd_conv(const struct node *n, const struct etensor *const *in, struct etensor **out)
{
	const struct winograd *w = winograd_by(n);
	const struct etensor *x = in[0], *u = in[1];
	struct etensor *y = out[0];
	int64_t pads[4], tw = (y->dims[3] + w->m - 1) / w->m, th = (y->dims[2] + w->m - 1) / w->m;
	double v[36];

	if (!pads_of(n, NULL, pads))
		return false;
	for (int64_t at = 0; at < y->dims[0] * u->dims[2] * th * tw; at++) {
		int64_t col = at % tw, row = at / tw % th, oc = at / (tw * th) % u->dims[2], image = at / (tw * th) / u->dims[2];
		double sum[36] = {0};

		for (int64_t c = 0; c < x->dims[1]; c++) {
			input_tile(w, x, image * x->dims[1] + c, pads, row, col, v);
			for (int i = 0; i < w->n * w->n; i++)
				sum[i] += v[i] * u->f[((int64_t)i * u->dims[1] + c) * u->dims[2] + oc];
		}
		both_sides(w->m, w->n, w->at, sum, v);
		for (int i = 0; i < w->m * w->m; i++) {
			int64_t h = row * w->m + i / w->m, q = col * w->m + i % w->m;

			if (h < y->dims[2] && q < y->dims[3])
				y->f[((image * y->dims[1] + oc) * y->dims[2] + h) * y->dims[3] + q] = v[i];
		}
	}
	return true;
}

/* The adjoint in U: dU[p,i,o] = sum over tiles of V[p,i] (A dY AT)[p,o] */
bool
eval_winograd_grad_weight(const struct node *n, const struct etensor *const *in, struct etensor **out)
{
	const struct winograd *w = winograd_by(n);
	const struct etensor *x = in[0], *dy = in[1];
	struct etensor *du = out[0];
	int64_t pads[4], tw = (dy->dims[3] + w->m - 1) / w->m, th = (dy->dims[2] + w->m - 1) / w->m;
	double v[36], d[36], t[36], a[36];

	if (!pads_of(n, NULL, pads))
		return false;
	for (int r = 0; r < w->m; r++)
		for (int c = 0; c < w->n; c++)
			a[c * w->m + r] = w->at[r * w->n + c];
	for (int64_t i = 0; i < du->count; i++)
		du->f[i] = 0;
	for (int64_t at = 0; at < x->dims[0] * th * tw; at++)
		for (int64_t oc = 0; oc < dy->dims[1]; oc++) {
			int64_t col = at % tw, row = at / tw % th, image = at / (tw * th);

			patch(dy, image * dy->dims[1] + oc, row * w->m, col * w->m, w->m, d);
			both_sides(w->n, w->m, a, d, t);
			for (int64_t c = 0; c < x->dims[1]; c++) {
				input_tile(w, x, image * x->dims[1] + c, pads, row, col, v);
				for (int i = 0; i < w->n * w->n; i++)
					du->f[((int64_t)i * x->dims[1] + c) * dy->dims[1] + oc] += v[i] * t[i];
			}
		}
	return true;
}
