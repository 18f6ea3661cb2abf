/* loss_relation -- how the samples of a batch relate to each other in the teacher and in
 * the student, whose features may be of any width.  n: rows that count; x: a sample's
 * feature, of maps their mean over positions (pool: avg) or all of it (pool: none):
 *
 *   sp    G = F F^T of whole features, rows divided by their length:
 *         |Gt - Gs|^2 / n^2                       Tung, Mori 2019, as RepDistiller
 *   rkd   distance: D_ij = |x_i - x_j| / their mean over i != j;   Park et al. 2019
 *         angle: A_ijk = <u_ij, u_ik>, u_ij = (x_j - x_i) / |x_j - x_i|;
 *         distance mean SL1(Ds - Dt) + angle mean SL1(As - At), SL1(d) = d^2/2 below 1
 *   pkt   K_ij = (1 + cos(x_i, x_j)) / 2, rows divided by their sum:
 *         mean_ij Kt log((Kt + e) / (Ks + e)), e = 1e-7     Passalis, Tefas 2018
 *   cc    e = linear(x), of width dim, both sides trained; d_i = |es_i - et_i|:
 *         mean_{i<n} sum d_i d_{i+1}              Peng et al. 2019, as RepDistiller
 *   cckd  K_ij of e: <e_i, e_j>, or exp(-2g) sum_{p<=degree} (2g)^p/p! <e_i, e_j>^p:
 *         |Ks - Kt| / n^2                         Peng et al. 2019, as torchdistill
 *
 *   hard_pairs  c_ij = cos(x_i, x_j): mean (cs - ct)^2 of the `share` n pairs i < j (one at
 *         least) of which it is largest           PaddleSlim's mining of hard pairs
 *
 * Layer i goes with layer i, their terms are added; of one student tensor with several
 * teachers the mean over teachers.  Rows that do not count are multiplied by 0. */
#include "passes/loss.h"

#include <math.h>

bool
loss_each_pair(const struct loss_in *in, struct loss *out,
    struct value *(*f)(const struct loss_in *, int, struct value *, struct value *))
{
	struct build *b = in->b;
	int n = in->nteachers;
	struct value *sum = NULL;

	if (in->nstudents > 1 && in->nstudents != n)
		return diag_invalid(b->diag, in->term->loc,
		    "term \"%s\" compares %d tensors of the student with %d of the teacher: layer "
		    "i goes with layer i",
		    in->term->name, in->nstudents, n);
	for (int i = 0; i < n; i++) {
		struct value *v =
		    f(in, i, in->students[in->nstudents > 1 ? i : 0], in->teachers[i]);

		if (!v)
			return false;
		sum = sum ? b_add(b, sum, v) : v;
	}
	out->total = n > 1 && in->nstudents == 1 ? b_muls(b, sum, 1.0 / n) : sum;
	return out->total != NULL;
}

/* ---- features and masks */

struct value *
loss_pooled(const struct loss_in *in, struct value *v)
{
	int64_t axes[MAX_RANK];
	int n = 0;

	if (v->rank > 2 && loss_choice(in, "pool") == 0) {
		for (int i = v->rank == 3 ? 1 : 2; i < (v->rank == 3 ? 2 : v->rank); i++)
			axes[n++] = i;
		v = b_mean(in->b, v, n, axes, false);
	}
	return v ? b_rows_flat(in->b, v) : NULL;
}

/* v as [rows,1] or [1,rows] */
static struct value *
column(struct build *b, struct value *v)
{
	return v ? b_reshape(b, v, 2, (int64_t[]){v->dims[0], 1}) : NULL;
}

static struct value *
row(struct build *b, struct value *v)
{
	return v ? b_reshape(b, v, 2, (int64_t[]){1, v->dims[0]}) : NULL;
}

/* 0 in the columns (and rows) of samples that do not count */
static struct value *
count_columns(const struct loss_in *in, struct value *m)
{
	return in->valid ? b_mul(in->b, m, row(in->b, in->valid)) : m;
}

static struct value *
count_pairs(const struct loss_in *in, struct value *m)
{
	m = count_columns(in, m);
	return in->valid ? b_mul(in->b, m, column(in->b, in->valid)) : m;
}

/* sum / n^power, or of `fewer` rows */
static struct value *
per_rows(const struct loss_in *in, struct value *sum, int power, int fewer)
{
	struct build *b = in->b;
	double rows = (double)in->student->dims[0];
	struct value *one = b_scalar(b, DT_f32, 1), *n;

	if (!in->valid) {
		double d = power == 3 ? rows * rows * rows : rows * fmax(rows - fewer, 1);

		return b_muls(b, sum, 1 / d);
	}
	n = b_max(b, loss_rows(in), one);
	sum = b_div(b, sum, n);
	sum = b_div(b, sum, fewer ? b_max(b, b_adds(b, n, -fewer), one) : n);
	return power == 3 ? b_div(b, sum, n) : sum;
}

static struct value *
mean_pairs(const struct loss_in *in, struct value *m)
{
	return per_rows(in, b_reduce_all(in->b, OP_reduce_sum, count_pairs(in, m)), 2, 0);
}

static struct value *
gram(struct build *b, struct value *x)
{
	return b_contract(b, "id,jd->ij", x, x);
}

static struct value *
sum_rows(struct build *b, struct value *m, bool keep)
{
	return b_reduce(b, OP_reduce_sum, m, 1, (const int64_t[]){1}, keep);
}

struct value *
b_unit_rows(struct build *b, struct value *m, double least)
{
	struct value *sq = sum_rows(b, b_square(b, m), true);

	return b_mul(b, m, b1(b, OP_rsqrt, b_max(b, sq, b_scalar(b, DT_f32, least * least))));
}

/* ---- sp */

static struct value *
similarities(const struct loss_in *in, struct value *f)
{
	return b_unit_rows(in->b, count_columns(in, gram(in->b, b_rows_flat(in->b, f))), 1e-12);
}

static struct value *
sp(const struct loss_in *in, int i, struct value *s, struct value *t)
{
	(void)i;
	return mean_pairs(
	    in, b_square(in->b, b_sub(in->b, similarities(in, t), similarities(in, s))));
}

bool
loss_sp(const struct loss_in *in, struct loss *out)
{
	return loss_each_pair(in, out, sp);
}

/* ---- rkd */

/* [rows,rows]: |x_i - x_j|^2 by the Gram of centred samples (a shift changes nothing, and
 * cancels less); its root and 1 / root, both 0 on the diagonal and where two samples are one:
 * their distance is below what rounding leaves of it. */
struct distances {
	struct value *gram, *root, *inverse;
};

static struct distances
distances(const struct loss_in *in, struct value *x)
{
	struct build *b = in->b;
	int64_t n = x->dims[0], dims[2] = {n, 1};
	struct value *mean = b_mean(b, x, 1, (const int64_t[]){0}, true), *sizes, *sq, *apart;
	struct value *i = b_iota(b, DT_i32, 2, dims, 0), *j = row(b, b_iota(b, DT_i32, 1, &n, 0));
	struct distances d;

	x = b_sub(b, x, mean);
	d.gram = gram(b, x);
	sizes = sum_rows(b, b_square(b, x), false);
	sizes = b_add(b, column(b, sizes), row(b, sizes));
	sq = b_sub(b, sizes, b_muls(b, d.gram, 2));
	apart = b2(b, OP_lt, b_muls(b, sizes, 1e-6), sq);
	apart = b2(b, OP_and, apart, b1(b, OP_not, b2(b, OP_eq, i, j)));
	sq = b_max(b, sq, b_scalar(b, DT_f32, 1e-12));
	d.inverse = b_select(b, apart, b1(b, OP_rsqrt, sq), b_scalar(b, DT_f32, 0));
	d.inverse = count_pairs(in, d.inverse);
	d.root = b_mul(b, sq, d.inverse);
	return d;
}

/* d^2/2 where |d| < 1, else |d| - 1/2:  m (|d| - m/2), m = min(|d|, 1) */
static struct value *
smooth_l1(struct build *b, struct value *d)
{
	struct value *size = b1(b, OP_abs, d), *m = b_min(b, size, b_scalar(b, DT_f32, 1));

	return b_mul(b, m, b_sub(b, size, b_muls(b, m, 0.5)));
}

static struct value *
relative(const struct loss_in *in, const struct distances *d)
{
	struct build *b = in->b;
	struct value *mean = per_rows(in, b_reduce_all(b, OP_reduce_sum, d->root), 2, 1);

	return b_div(b, d->root, b_max(b, mean, b_scalar(b, DT_f32, 1e-12)));
}

/* m with a unit axis put in */
static struct value *
cube(struct build *b, struct value *m, int axis)
{
	return m ? b_unsqueeze(b, m, axis) : NULL;
}

/* What an angle is made of, all [rows,rows]:
 *   A_ijk = N_ijk r_ij r_ik,  N_ijk = G_jk + H_ij + H_ik,  H_ij = G_ii/2 - G_ij,  r = 1/|x_i - x_j|
 * ht is H^T; G and r are symmetric. */
struct angles {
	struct value *g, *h, *ht, *r;
};

static struct angles
angles_of(struct build *b, struct value *g, struct value *r)
{
	int64_t n = g->dims[0], dims[2] = {n, n};
	struct value *same =
	    b2(b, OP_eq, b_iota(b, DT_i32, 2, dims, 0), b_iota(b, DT_i32, 2, dims, 1));
	struct value *own = sum_rows(b, b_select(b, same, g, b_scalar(b, DT_f32, 0)), false);

	own = b_muls(b, own, 0.5);
	return (struct angles){g, b_sub(b, column(b, own), g), b_sub(b, row(b, own), g), r};
}

/* Axes in these orders; no two passes over the cube read the same expression, else it would be
 * kept in memory between them. */
enum order { IJK, JIK, JKI };

static struct value *
numerators(struct build *b, const struct angles *a, enum order o)
{
	static const struct {
		int g, first, second;
		bool first_t, second_t;
	} at[] = {[IJK] = {0, 2, 1, false, false},
	    [JIK] = {1, 2, 0, true, false},
	    [JKI] = {2, 1, 0, true, true}};
	struct value *first = cube(b, at[o].first_t ? a->ht : a->h, at[o].first);
	struct value *second = cube(b, at[o].second_t ? a->ht : a->h, at[o].second);

	return b_add(b, cube(b, a->g, at[o].g), b_add(b, first, second));
}

static struct value *
inverses(struct build *b, const struct angles *a, enum order o)
{
	int first = o == JKI ? 1 : 2, second = o == IJK ? 1 : 0;

	return b_mul(b, cube(b, a->r, first), cube(b, a->r, second));
}

static struct value *
differences(struct build *b, const struct angles *s, const struct angles *t, enum order o)
{
	struct value *as = b_mul(b, numerators(b, s, o), inverses(b, s, o));

	return b_sub(b, as, b_mul(b, numerators(b, t, o), inverses(b, t, o)));
}

static struct value *
clipped(struct build *b, struct value *d)
{
	return b_max(b, b_min(b, d, b_scalar(b, DT_f32, 1)), b_scalar(b, DT_f32, -1));
}

/* The angles' gradient, P = SL1'(As - At):
 *   dG_jk = sum_i P r_ij r_ik,  dH_ij = 2 r_ij sum_k P r_ik,  dr_ij = 2 sum_k P N_ijk r_ik
 * by two passes over the cube instead of cubes in memory: a sum that is 0 and has it. */
static struct value *
slopes(struct build *b, const struct angles *s, const struct angles *t)
{
	struct angles fixed =
	    angles_of(b, b1(b, OP_StopGradient, s->g), b1(b, OP_StopGradient, s->r));
	struct value *p = clipped(b, differences(b, &fixed, t, JKI)), *dg, *dh, *dr, *sum;
	const int64_t last = 2;

	dg = b_reduce(b, OP_reduce_sum, b_mul(b, p, inverses(b, &fixed, JKI)), 1, &last, false);
	p = b_mul(b, clipped(b, differences(b, &fixed, t, IJK)), cube(b, fixed.r, 1));
	dh = b_mul(b, b_reduce(b, OP_reduce_sum, p, 1, &last, false), fixed.r);
	dr = b_reduce(b, OP_reduce_sum, b_mul(b, p, numerators(b, &fixed, IJK)), 1, &last, false);
	sum = b_mul(b, dg, b_sub(b, s->g, fixed.g));
	sum = b_add(b, sum, b_muls(b, b_mul(b, dh, b_sub(b, s->h, fixed.h)), 2));
	sum = b_add(b, sum, b_muls(b, b_mul(b, dr, b_sub(b, s->r, fixed.r)), 2));
	return b_reduce_all(b, OP_reduce_sum, sum);
}

static bool
is_zero(const struct loss_in *in, const char *key)
{
	double v;

	return loss_is_fixed(in, key, &v) && v == 0;
}

static struct value *
rkd(const struct loss_in *in, int i, struct value *s, struct value *t)
{
	struct build *b = in->b;
	struct distances ds = distances(in, loss_pooled(in, s)),
			 dt = distances(in, loss_pooled(in, t));
	struct value *d = smooth_l1(b, b_sub(b, relative(in, &ds), relative(in, &dt))), *a;

	struct angles as, at;

	(void)i;
	d = b_mul(b, mean_pairs(in, d), loss_dial(in, "distance"));
	if (is_zero(in, "angle"))
		return d;
	as = angles_of(b, ds.gram, ds.inverse);
	at = angles_of(b, dt.gram, dt.inverse);
	a = b_reduce_all(b, OP_reduce_sum, smooth_l1(b, differences(b, &as, &at, JIK)));
	if (!in->eval)
		a = b_add(b, b1(b, OP_StopGradient, a), slopes(b, &as, &at));
	a = per_rows(in, a, 3, 0);
	a = b_mul(b, a, loss_dial(in, "angle"));
	return is_zero(in, "distance") ? a : b_add(b, d, a);
}

bool
loss_rkd(const struct loss_in *in, struct loss *out)
{
	return loss_each_pair(in, out, rkd);
}

/* ---- pkt */

static const double pkt_least = 1e-7;

static struct value *
probabilities(const struct loss_in *in, struct value *v)
{
	struct build *b = in->b;
	struct value *k = gram(b, b_unit_rows(b, loss_pooled(in, v), pkt_least));

	k = count_columns(in, b_muls(b, b_adds(b, k, 1), 0.5));
	return b_div(b, k, b_max(b, sum_rows(b, k, true), b_scalar(b, DT_f32, pkt_least)));
}

static struct value *
pkt(const struct loss_in *in, int i, struct value *s, struct value *t)
{
	struct build *b = in->b;
	struct value *ks = probabilities(in, s), *kt = probabilities(in, t);
	struct value *log =
	    b_sub(b, b_log(b, b_adds(b, kt, pkt_least)), b_log(b, b_adds(b, ks, pkt_least)));

	(void)i;
	return mean_pairs(in, b_mul(b, kt, log));
}

bool
loss_pkt(const struct loss_in *in, struct loss *out)
{
	return loss_each_pair(in, out, pkt);
}

/* ---- hard_pairs */

/* The differences of pairs i < j of rows that count in a column, -1 elsewhere. */
static struct value *
pairs_of(const struct loss_in *in, struct value *d)
{
	struct build *b = in->b;
	int64_t n = d->dims[0], dims[2] = {n, n};
	struct value *i = b_iota(b, DT_i32, 2, dims, 0), *j = b_iota(b, DT_i32, 2, dims, 1);
	struct value *pair = count_pairs(in, b_cast(b, b2(b, OP_lt, i, j), DT_f32));

	pair = b2(b, OP_lt, b_scalar(b, DT_f32, 0), pair);
	d = b_select(b, pair, b_square(b, d), b_scalar(b, DT_f32, -1));
	return b_reshape(b, d, 2, (const int64_t[]){n * n, 1});
}

static struct value *
hard_pairs(const struct loss_in *in, int i, struct value *s, struct value *t)
{
	struct build *b = in->b;
	double share = loss_number(in, "share"), n = (double)s->dims[0];
	int64_t most = (int64_t)fmin(fmax(floor(share * n), 1), n * n);
	struct attr attr[2] = {{.name = "descending", .kind = ATTR_INT, .i = 1},
	    {.name = "first", .kind = ATTR_INT, .i = most}};
	struct value *d, *worst, *count;

	(void)i;
	s = gram(b, b_unit_rows(b, loss_pooled(in, s), 1e-12));
	t = gram(b, b_unit_rows(b, loss_pooled(in, t), 1e-12));
	d = pairs_of(in, b_sub(b, s, t));
	if (!d)
		return NULL;
	worst = b_gather(b, b_reshape(b, d, 1, (const int64_t[]){d->dims[0]}),
	    b_op(b, OP_sort, 1, &d, 2, attr), 0);
	worst = b_max(b, b_scalar(b, DT_f32, 0), worst);
	count = b1(b, OP_floor, b_muls(b, loss_rows(in), share));
	count =
	    b_min(b, b_max(b, count, b_scalar(b, DT_f32, 1)), b_scalar(b, DT_f32, (double)most));
	if (in->valid)
		worst = b_mul(b, worst,
		    b_cast(b, b2(b, OP_lt, b_iota(b, DT_f32, 1, &most, 0), count), DT_f32));
	return b_div(b, b_reduce_all(b, OP_reduce_sum, worst), count);
}

bool
loss_hard_pairs(const struct loss_in *in, struct loss *out)
{
	return loss_each_pair(in, out, hard_pairs);
}

/* ---- cc, cckd */

struct value *
loss_embedding(const struct loss_in *in, const char *side, int layer, struct value *x)
{
	struct arena *a = in->b->g->arena;
	int64_t width = x->dims[1], dim = (int64_t)loss_number(in, "dim"), dims[2] = {dim, width};
	const char *what = layer ? arena_printf(a, "%s%d", side, layer) : side;
	double bound = 1 / sqrt((double)width);
	struct value *w = loss_parameter(in, arena_printf(a, "%s.weight", what), 2, dims, bound);
	struct value *bias = loss_parameter(in, arena_printf(a, "%s.bias", what), 1, &dim, bound);

	return b_add(in->b, b_contract(in->b, "nd,ed->ne", x, w), row(in->b, bias));
}

static struct value *
cc(const struct loss_in *in, int i, struct value *s, struct value *t)
{
	struct build *b = in->b;
	struct value *es = loss_embedding(in, "student", i, loss_pooled(in, s));
	struct value *et = loss_embedding(in, "teacher", i, loss_pooled(in, t));
	struct value *d = b1(b, OP_abs, b_sub(b, es, et)), *v = in->valid, *counted;
	int64_t n = s->dims[0], start[2] = {0, 0}, next[2] = {1, 0}, step[2] = {1, 1};
	int64_t count[2] = {n - 1, d ? d->dims[1] : 0}, one = 1;

	if (n < 2 || !d)
		return d ? b_scalar(b, DT_f32, 0) : NULL;
	d = sum_rows(b,
	    b_mul(b, b_slice(b, d, start, count, step), b_slice(b, d, next, count, step)), false);
	if (!v)
		return b_muls(b, b_reduce_all(b, OP_reduce_sum, d), 1 / (double)(n - 1));
	v = b_mul(b, b_slice(b, v, start, count, &one), b_slice(b, v, next, count, &one));
	counted = b_max(b, b_reduce_all(b, OP_reduce_sum, v), b_scalar(b, DT_f32, 1));
	return b_div(b, b_reduce_all(b, OP_reduce_sum, b_mul(b, d, v)), counted);
}

bool
loss_cc(const struct loss_in *in, struct loss *out)
{
	return loss_each_pair(in, out, cc);
}

/* The series in Horner's form: 1 + c x (1 + c x/2 (1 + c x/3 ...)), c = 2 gamma. */
static struct value *
correlations(const struct loss_in *in, const char *side, int layer, struct value *v)
{
	struct build *b = in->b;
	double c = 2 * loss_number(in, "gamma");
	struct value *x = loss_pooled(in, v), *k, *series;

	if (loss_number(in, "dim") > 0)
		x = loss_embedding(in, side, layer, x);
	k = gram(b, x);
	if (loss_choice(in, "kernel") == 1)
		return k;
	series = b_scalar(b, DT_f32, 1);
	for (int p = (int)loss_number(in, "degree"); p > 0; p--)
		series = b_adds(b, b_muls(b, b_mul(b, k, series), c / p), 1);
	return b_muls(b, series, exp(-c));
}

static struct value *
cckd(const struct loss_in *in, int i, struct value *s, struct value *t)
{
	struct build *b = in->b;
	struct value *d =
	    b_sub(b, correlations(in, "student", i, s), correlations(in, "teacher", i, t));
	struct value *sum = b_reduce_all(b, OP_reduce_sum, count_pairs(in, b_square(b, d)));

	return per_rows(in, b_sqrt(b, b_max(b, sum, b_scalar(b, DT_f32, 1e-24))), 2, 0);
}

bool
loss_cckd(const struct loss_in *in, struct loss *out)
{
	return loss_each_pair(in, out, cckd);
}
