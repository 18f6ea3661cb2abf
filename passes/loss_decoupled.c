/* loss_decoupled -- losses of logits that take the label's class apart, or hold whole rows
 * and columns against each other.  p^T, q^T: softmax of the teachers' (as distill_teacher.c
 * fuses them) and the student's logits over T, y: the label.
 *
 *   dkd    T^2 [alpha KL(b_t || b_s) + beta KL(r_t || r_s)], b = (p_y, 1 - p_y), r: p over the
 *          other classes, p_c / (1 - p_y) (Zhao et al. 2022)
 *   wsld   T^2 (1 - exp(-CE_s / (CE_t + 1e-7))) H(p^T, q^T), CE against the label at T = 1,
 *          without gradient (Zhou et al. 2021)
 *   tf_kd  no teacher but u = correct at y, the rest equal (Yuan et al. 2020); mode label:
 *          T^2 KL(u || q^T); code: KL(softmax(u/T) || q^1), as the authors' program has it
 *   dist   T^2 [beta (1 - mean_i r(p_i., q_i.)) + gamma (1 - mean_c r(p_.c, q_.c))], r: Pearson's
 *          correlation, along a row and along the batch (Huang et al. 2022)
 *
 * Labels to ignore leave their rows out. */
#include "passes/loss_soft.h"

/* ---- dkd */

/* sum_c a (log a - log b) of the two classes "the label" and "another" */
static struct value *
target_part(struct build *b, const struct soft *s)
{
	struct value *zero = b_scalar(b, DT_f32, 0), *lt, *ls, *qt, *qs;

	lt = sum_kept(b, b_select(b, s->hot, s->logp, zero));
	ls = sum_kept(b, b_select(b, s->hot, s->ls, zero));
	qt = sum_kept(b, b_select(b, s->hot, zero, s->p));
	qs = sum_kept(b, b_select(b, s->hot, zero, b_exp(b, s->ls)));
	lt = b_mul(b, b_exp(b, lt), b_sub(b, lt, ls));
	return b_add(b, lt, b_mul(b, qt, b_sub(b, soft_log(b, qt), soft_log(b, qs))));
}

/* The same of the other classes among themselves: the label's logit taken down by 1000. */
static struct value *
others_part(struct build *b, const struct soft *s)
{
	struct value *down = b_muls(b, b_cast(b, s->hot, DT_f32), -1000), *lt, *ls;

	lt = b_log_softmax(b, b_add(b, s->logp, down), CLASS_AXIS);
	ls = b_log_softmax(b, b_add(b, s->ls, down), CLASS_AXIS);
	return sum_kept(b, b_mul(b, b_exp(b, lt), b_sub(b, lt, ls)));
}

bool
loss_dkd(const struct loss_in *in, struct loss *out)
{
	struct build *b = in->b;
	struct soft s;
	struct value *v;

	if (!soft_logits(in, SOFT_LABELS, &s))
		return false;
	if (s.c.n < 3)
		return diag_invalid(b->diag, in->term->loc,
		    "%s has %lld classes: dkd needs at least 3, as of the classes that are not the "
		    "label's there must be several to compare; use kd",
		    in->student_name, (long long)s.c.n);
	v = b_mul(b, target_part(b, &s), loss_dial(in, "alpha"));
	v = b_add(b, v, b_mul(b, others_part(b, &s), loss_dial(in, "beta")));
	out->row = tau_scale(in, v, s.ts, s.tt);
	out->weight = s.counted;
	return out->row != NULL;
}

/* ---- wsld */

/* -log softmax(z)[label], [rows, 1, d..] */
static struct value *
label_ce(struct build *b, const struct soft *s, struct value *z)
{
	struct value *l = b_log_softmax(b, z, CLASS_AXIS);

	return b_neg(b, sum_kept(b, b_select(b, s->hot, l, b_scalar(b, DT_f32, 0))));
}

bool
loss_wsld(const struct loss_in *in, struct loss *out)
{
	struct build *b = in->b;
	struct soft s;
	struct value *w;

	if (!soft_logits(in, SOFT_LABELS, &s))
		return false;
	w = label_ce(b, &s, b_stop_gradient(b, in->student));
	w = b_div(b, w, b_adds(b, label_ce(b, &s, s.t), 1e-7));
	w = b_sub(b, b_scalar(b, DT_f32, 1), b_exp(b, b_neg(b, w)));
	out->row = b_mul(b, w, b_neg(b, sum_kept(b, b_mul(b, s.p, s.ls))));
	out->row = tau_scale(in, out->row, s.ts, s.tt);
	out->weight = s.counted;
	return out->row != NULL;
}

/* ---- tf_kd */

bool
loss_tf_kd(const struct loss_in *in, struct loss *out)
{
	enum { LABEL, CODE };
	struct build *b = in->b;
	struct soft s = {.ts = tau_of(in, "temperature")};
	bool code = loss_choice(in, "mode") == CODE;
	struct value *a = loss_dial(in, "correct"), *rest, *z = in->student;

	if (!soft_labels(in, &s))
		return false;
	if (z->dims[CLASS_AXIS] < 2)
		return diag_invalid(b->diag, in->term->loc,
		    "%s is %s: tf_kd needs at least 2 classes", in->student_name,
		    dims_text(b->g->arena, z));
	rest = b_sub(b, b_scalar(b, DT_f32, 1), a);
	rest = b_muls(b, rest, 1 / (double)(z->dims[CLASS_AXIS] - 1));
	s.p = b_select(b, s.hot, a, rest);
	if (code) {
		s.logp = b_log_softmax(b, tau_divide(b, s.p, s.ts), CLASS_AXIS);
		s.p = b_exp(b, s.logp);
	} else {
		s.logp = soft_log(b, s.p);
	}
	s.ls = b_log_softmax(b, code ? z : tau_divide(b, z, s.ts), CLASS_AXIS);
	out->row = sum_kept(b, b_mul(b, s.p, b_sub(b, s.logp, s.ls)));
	if (!code)
		out->row = tau_scale(in, out->row, s.ts, s.ts);
	out->weight = s.counted;
	return out->row != NULL;
}

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
