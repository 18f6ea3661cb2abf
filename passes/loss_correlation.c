/* loss_correlation -- losses that hold whole rows, columns and maps against each other; p, q:
 * softmax of the teachers' (as distill_teacher.c fuses them) and the student's logits over T,
 * r: Pearson's correlation, n2(x) = x / |x|_2 of a row.
 *
 *   dist      T^2 [beta (1 - mean_i r(p_i., q_i.)) + gamma (1 - mean_c r(p_.c, q_.c))], along a
 *             row and along the batch (Huang et al. 2022)
 *   dist_map  channel (1 - mean r(s, t) of a channel's positions) + spatial (1 - mean r(s, t) of
 *             a position's channels), of features after the adaptor; with dist it is DIST+
 *   srd       2 log sum |bn(s) - bn(t)|^exponent of features [rows, channels], bn: by the mean
 *             and variance of the batch (Miles and Mikolajczyk 2024)
 *   skd       mean_i sqrt(D_i' (cov(D) + ridge I)^-1 D_i), D = G(s) - G(t), G: n2(z) n2(z)' / C,
 *             as its authors' program has it; with kd it is SKD */
#include "passes/loss_soft.h"

#include <math.h>

/* ---- dist */

/* 1 where a row [rows, 1, d..] counts, else 0; NULL: all do. */
static struct value *
counting(const struct loss_in *in, const struct soft *s)
{
	struct build *b = in->b;
	struct value *w = soft_weight(in, s), *v = in->valid;
	int64_t dims[MAX_RANK];

	if (!v)
		return w;
	for (int i = 0; i < in->student->rank; i++)
		dims[i] = i == 0 ? in->student->dims[0] : 1;
	v = b_reshape(b, v, in->student->rank, dims);
	return w ? b_mul(b, w, v) : v;
}

/* Sums of v over axes, of the elements that count (w broadcasts; NULL: all), axes kept. */
struct along {
	struct build *b;
	int n;
	int64_t axes[MAX_RANK];
	struct value *w, *count; /* how many they are, rank 0 or of the sums' dims */
};

static struct value *
summed(const struct along *x, struct value *v)
{
	return b_reduce(x->b, OP_reduce_sum, x->w ? b_mul(x->b, v, x->w) : v, x->n, x->axes, true);
}

static struct value *
centred(const struct along *x, struct value *v)
{
	return b_sub(x->b, v, b_div(x->b, summed(x, v), x->count));
}

/* Pearson's correlation, <p,q> / (|p| |q| + 1e-8) of the centred. */
static struct value *
correlation(const struct along *x, struct value *p, struct value *q)
{
	struct build *b = x->b;
	struct value *tiny = b_scalar(b, DT_f32, 1e-24), *n;

	p = centred(x, p);
	q = centred(x, q);
	n = b_mul(b, b_sqrt(b, b_max(b, summed(x, b_square(b, p)), tiny)),
	    b_sqrt(b, b_max(b, summed(x, b_square(b, q)), tiny)));
	return b_div(b, summed(x, b_mul(b, p, q)), b_adds(b, n, 1e-8));
}

/* 1 - mean of r, of those that count */
static struct value *
lack(struct build *b, struct value *r, struct value *w)
{
	struct value *n;

	if (!r)
		return NULL;
	if (w) {
		n = b_max(b, b_reduce_all(b, OP_reduce_sum, w), b_scalar(b, DT_f32, 1));
		r = b_div(b, b_reduce_all(b, OP_reduce_sum, b_mul(b, r, w)), n);
	} else {
		r = b_muls(
		    b, b_reduce_all(b, OP_reduce_sum, r), 1 / (double)dims_count(r->rank, r->dims));
	}
	return b_sub(b, b_scalar(b, DT_f32, 1), r);
}

bool
loss_dist(const struct loss_in *in, struct loss *out)
{
	struct build *b = in->b;
	struct along row = {.b = b, .n = 1, .axes = {CLASS_AXIS}}, column = {.b = b};
	struct soft s;
	struct value *w, *q, *v, *has;
	int64_t rows = 1;

	if (!soft_logits(in, 0, &s))
		return false;
	if (s.ts.v && s.ts.v->rank)
		return diag_invalid(b->diag, in->term->loc,
		    "dist holds columns of the batch against each other, which dynamic_temperature "
		    "would soften row by row");
	w = counting(in, &s);
	has = s.c.has ? b_cast(b, s.c.has, DT_f32) : NULL;
	for (int i = 0; i < in->student->rank; i++)
		if (i != CLASS_AXIS) {
			column.axes[column.n++] = i;
			rows *= in->student->dims[i];
		}
	row.count = b_scalar(b, DT_f32, (double)s.c.n);
	row.w = has;
	column.w = w;
	column.count = w ? b_max(b, b_reduce_all(b, OP_reduce_sum, w), b_scalar(b, DT_f32, 1))
			 : b_scalar(b, DT_f32, (double)rows);
	q = b_exp(b, s.ls);
	v = b_mul(b, lack(b, correlation(&row, s.p, q), w), loss_dial(in, "beta"));
	q = lack(b, correlation(&column, s.p, q), has);
	v = b_add(b, v, b_mul(b, q, loss_dial(in, "gamma")));
	out->total = v ? tau_scale(in, v, s.ts, s.tt) : NULL;
	return out->total != NULL;
}

/* ---- dist_map */

/* The features of one layer in one shape; with pool their means over positions. */
static bool
feature_pair(const struct loss_in *in, bool pool, struct value **s, struct value **t)
{
	struct loss_in one = *in;
	struct value *v[2] = {in->student, loss_mean_teacher(in)};

	if (!v[1])
		return false;
	if (in->nstudents > 1)
		return diag_invalid(in->b->diag, in->term->loc,
		    "loss %s is about one tensor of the student, not %d", in->term->loss,
		    in->nstudents);
	for (int i = 0; i < 2 && pool; i++) {
		int64_t axes[MAX_RANK];

		for (int k = 2; k < v[i]->rank; k++)
			axes[k - 2] = k;
		if (v[i]->rank > 2)
			v[i] = b_mean(in->b, v[i], v[i]->rank - 2, axes, false);
		if (!v[i])
			return false;
	}
	one.student = v[0];
	return adapt(&one, v[1], s, t);
}

/* [rows, 1..] of v's rank: which rows count; NULL: all */
static struct value *
rows_that_count(const struct loss_in *in, const struct value *v)
{
	int64_t dims[MAX_RANK];

	for (int i = 0; i < v->rank; i++)
		dims[i] = i == 0 ? v->dims[0] : 1;
	return in->valid ? b_reshape(in->b, in->valid, v->rank, dims) : NULL;
}

bool
loss_dist_map(const struct loss_in *in, struct loss *out)
{
	struct build *b = in->b;
	struct along channel = {.b = b}, position = {.b = b, .n = 1, .axes = {CLASS_AXIS}};
	struct value *s, *t, *v, *zero = b_scalar(b, DT_f32, 1);

	if (!feature_pair(in, false, &s, &t))
		return false;
	if (s->rank < 3)
		return diag_invalid(b->diag, in->term->loc,
		    "%s is %s: dist_map compares maps [rows, channels, positions..]",
		    in->student_name, dims_text(b->g->arena, in->student));
	for (int i = 2; i < s->rank; i++)
		channel.axes[channel.n++] = i;
	channel.count = b_scalar(b, DT_f32, (double)dims_count(s->rank - 2, s->dims + 2));
	position.count = b_scalar(b, DT_f32, (double)s->dims[1]);
	v = b_sub(b, zero, loss_mean(in, correlation(&channel, t, s)));
	v = b_mul(b, v, loss_dial(in, "channel"));
	t = b_sub(b, zero, loss_mean(in, correlation(&position, t, s)));
	out->total = b_add(b, v, b_mul(b, t, loss_dial(in, "spatial")));
	return out->total != NULL;
}

/* ---- srd */

/* (x - mean) / sqrt(var + 1e-4) along the batch */
static struct value *
normalised(const struct along *x, struct value *v)
{
	struct value *d = centred(x, v), *var;

	var = b_div(x->b, summed(x, b_square(x->b, d)), x->count);
	return b_div(x->b, d, b_sqrt(x->b, b_adds(x->b, var, 1e-4)));
}

bool
loss_srd(const struct loss_in *in, struct loss *out)
{
	struct build *b = in->b;
	struct along batch = {.b = b, .n = 1, .axes = {0}, .count = loss_rows(in)};
	struct value *s, *t, *d;

	if (!feature_pair(in, true, &s, &t))
		return false;
	batch.w = rows_that_count(in, s);
	d = b1(b, OP_abs, b_sub(b, normalised(&batch, s), normalised(&batch, t)));
	d = b2(b, OP_pow, d, loss_dial(in, "exponent"));
	d = b_reduce_all(b, OP_reduce_sum, batch.w ? b_mul(b, d, batch.w) : d);
	d = b_log(b, b_max(b, d, b_scalar(b, DT_f32, 1e-30)));
	out->total = d ? b_muls(b, d, 2) : NULL;
	return out->total != NULL;
}

/* ---- skd */

/* n2(z) n2(z)' / C, 0 in rows and columns that do not count */
static struct value *
gram(const struct loss_in *in, struct value *z)
{
	struct build *b = in->b;
	struct value *n = sum_kept(b, b_square(b, z)), *w = rows_that_count(in, z);

	z = b_div(b, z, b_sqrt(b, b_max(b, n, b_scalar(b, DT_f32, 1e-24))));
	z = w ? b_mul(b, z, w) : z;
	z = b_muls(b, z, 1 / sqrt((double)z->dims[CLASS_AXIS]));
	return b_contract(b, "ic,jc->ij", z, z);
}

/* Rows y_i = a^-1 d_i of the symmetric, positive a [n,n]: X <- X (2 I - a X) from
 * I / |a|_F doubles the right digits each time (Schulz 1933); 24 of them reach eigenvalues of 1e-6 of
 * the largest. */
static struct value *
solved(struct build *b, struct value *a, struct value *d)
{
	enum { TIMES = 24 };
	int64_t n = a->dims[0], dims[2] = {n, n};
	struct value *eye = b_cast(
	    b, b2(b, OP_eq, b_iota(b, DT_i32, 2, dims, 0), b_iota(b, DT_i32, 2, dims, 1)), DT_f32);
	struct value *two = b_muls(b, eye, 2), *x;

	x = b_div(b, eye, b_sqrt(b, b_reduce_all(b, OP_reduce_sum, b_square(b, a))));
	for (int i = 0; i < TIMES; i++)
		x = b_contract(b, "ik,kj->ij", x, b_sub(b, two, b_contract(b, "ik,kj->ij", a, x)));
	return b_contract(b, "ik,kj->ij", d, x);
}

bool
loss_skd(const struct loss_in *in, struct loss *out)
{
	struct build *b = in->b;
	struct along column = {.b = b, .n = 1, .axes = {1}, .count = loss_rows(in)};
	int64_t n = in->student->dims[0], dims[2] = {n, n}, row[2] = {1, n};
	struct soft s;
	struct value *d, *c, *a, *y, *q;

	if (!soft_logits(in, SOFT_MEAN_LOGITS, &s))
		return false;
	if (in->student->rank != 2)
		return diag_invalid(b->diag, in->term->loc,
		    "%s is %s: skd is about logits [rows, classes]", in->student_name,
		    dims_text(b->g->arena, in->student));
	d = b_sub(
	    b, gram(in, classes_only(b, &s.c, s.z, 0)), gram(in, classes_only(b, &s.c, s.t, 0)));
	column.w = in->valid ? b_reshape(b, in->valid, 2, row) : NULL;
	c = centred(&column, d);
	if (column.w)
		c = b_mul(
		    b, b_mul(b, c, column.w), b_reshape(b, in->valid, 2, (const int64_t[]){n, 1}));
	a = b_contract(b, "ik,jk->ij", c, c);
	a = b_div(b, a, b_max(b, b_adds(b, column.count, -1), b_scalar(b, DT_f32, 1)));
	y = b_cast(
	    b, b2(b, OP_eq, b_iota(b, DT_i32, 2, dims, 0), b_iota(b, DT_i32, 2, dims, 1)), DT_f32);
	a = b_add(b, a, b_muls(b, y, loss_number(in, "ridge")));
	/* D'A^-1 D = 2 D'y - y'A y at y = A^-1 D, where its gradient is that of y held still */
	y = b_stop_gradient(b, solved(b, a, d));
	q = b_sub(b, b_muls(b, b_mul(b, d, y), 2), b_mul(b, y, b_contract(b, "ik,kj->ij", y, a)));
	out->row = b_sqrt(b, b_max(b, sum_kept(b, q), b_scalar(b, DT_f32, 1e-12)));
	return out->row != NULL;
}
