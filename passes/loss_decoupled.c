/* loss_decoupled -- losses of logits that take the label's class apart, or samples of one
 * label together.  p^T, q^T: softmax of the teachers' (as distill_teacher.c
 * fuses them) and the student's logits over T, y: the label.
 *
 *   dkd    T^2 [alpha KL(b_t || b_s) + beta KL(r_t || r_s)], b = (p_y, 1 - p_y), r: p over the
 *          other classes, p_c / (1 - p_y) (Zhao et al. 2022)
 *   wsld   T^2 (1 - exp(-CE_s / (CE_t + 1e-7))) H(p^T, q^T), CE against the label at T = 1,
 *          without gradient (Zhou et al. 2021)
 *   tf_kd  no teacher but u = correct at y, the rest equal (Yuan et al. 2020); mode label:
 *          T^2 KL(u || q^T); code: KL(softmax(u/T) || q^1), as the authors' program has it
 *   cs_kd  T^2 KL(p || q^T), p: the mean of the student's own softened classes for the batch's
 *          other samples of the label, without gradient; rows that have one (Yun et al. 2020)
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
	out->labels = true;
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
	out->labels = true;
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

/* ---- cs_kd */

/* f32 [rows, rows]: is j another sample of i's label that counts? */
static struct value *
alike(const struct loss_in *in, struct value *y, struct value *counted)
{
	struct build *b = in->b;
	int64_t n = in->student->dims[0], row[2] = {1, n}, square[2] = {n, n};
	struct value *m, *valid = in->valid;

	m = b_cast(b, b2(b, OP_eq, y, b_reshape(b, y, 2, row)), DT_f32);
	m = b_mul(b, m,
	    b_cast(b,
		b1(b, OP_not,
		    b2(b, OP_eq, b_iota(b, DT_i32, 2, square, 0), b_iota(b, DT_i32, 2, square, 1))),
		DT_f32));
	if (valid)
		m = b_mul(b, m, b_reshape(b, valid, 2, row));
	return counted ? b_mul(b, m, b_reshape(b, counted, 2, row)) : m;
}

bool
loss_cs_kd(const struct loss_in *in, struct loss *out)
{
	struct build *b = in->b;
	struct tau t = tau_of(in, "temperature");
	struct value *counted, *y = labels_of(in, &counted), *m, *n, *p, *l;

	if (!y)
		return false;
	if (in->student->rank != 2)
		return diag_invalid(b->diag, in->term->loc,
		    "%s is %s: cs_kd pairs samples, of logits [rows, classes]", in->student_name,
		    dims_text(b->g->arena, in->student));
	l = b_log_softmax(b, tau_divide(b, in->student, t), CLASS_AXIS);
	m = alike(in, y, counted);
	n = sum_kept(b, m);
	p = b_contract(b, "ij,jc->ic", m, b_stop_gradient(b, b_exp(b, l)));
	p = b_div(b, p, b_max(b, n, b_scalar(b, DT_f32, 1)));
	out->row = sum_kept(b, b_mul(b, p, b_sub(b, soft_log(b, p), l)));
	out->row = tau_scale(in, out->row, t, t);
	out->weight = b_min(b, n, b_scalar(b, DT_f32, 1));
	if (counted)
		out->weight = b_mul(
		    b, out->weight, b_reshape(b, counted, 2, (const int64_t[]){m->dims[0], 1}));
	return out->row && out->weight;
}
