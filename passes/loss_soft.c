/* loss_soft -- losses of logits with labels and with softened classes.  z: logits
 * [N,C,d..], classes along axis 1; s, t: student, teacher; T: temperature; l = log_softmax;
 * p: the teachers' classes (distill_teacher.c):
 *
 *   ce         -(1-e) l(zs)[label] - e/C sum_c l(zs)_c, e: label_smoothing, weighted by the
 *              class as PyTorch does, over labels that count
 *   kd         Ts Tt sum_c p (log p - l(zs/Ts)) (Hinton et al. 2015)
 *   soft_ce    Ts Tt -sum_c p l(zs/Ts); without teachers p is the target field
 *   logit_mse  (zs/Ts - zt/Tt)^2 (Ba and Caruana 2014)
 *   bce        w p softplus(-z) + (1-p) softplus(z), z = zs/Ts, p = sigmoid(zt/Tt) or the
 *              target, w: pos_weight
 *   confidence sum_c q log q, q = softmax(zs/T): minus the entropy (Pereyra et al. 2017)
 *
 * Ts Tt only with tau_squared; it is T^2 where both are one.  Of maps each position is a
 * row.  reduction mean divides kd and soft_ce by C as well, as PyTorch's element-wise mean
 * does; sum is the sum over the batch, its scale grows with it. */
#include "passes/loss_soft.h"

#include <string.h>

static bool
reduces(const struct loss_in *in, const char *how)
{
	return in->term->reduction && strcmp(in->term->reduction, how) == 0;
}

/* ---- labels */

static struct value *
class_weights(const struct loss_in *in, struct value *z)
{
	const double *w = in->field->class_weights;
	int64_t dims[MAX_RANK];
	struct tensor *t;

	for (int i = 0; i < z->rank; i++)
		dims[i] = i == CLASS_AXIS ? z->dims[i] : 1;
	t = tensor_new(in->b->g->arena, DT_f32, z->rank, dims);
	for (int64_t i = 0; i < z->dims[CLASS_AXIS]; i++)
		dtype_put_f(DT_f32, t->data, i, w[i]);
	return graph_const(in->b->g, "class_weights", t);
}

/* The row's own part times 1-e, and what is spread over the classes, over w[label] as the
 * caller multiplies by that. */
static struct value *
smoothed(const struct loss_in *in, struct value *row, struct value *l, struct value *w)
{
	struct build *b = in->b;
	struct value *e = loss_dial(in, "label_smoothing"), *all = l;
	double v;

	if (loss_is_fixed(in, "label_smoothing", &v) && v == 0)
		return row;
	if (w)
		all = b_mul(b, l, class_weights(in, l));
	all = b_muls(b, b_sum_classes(b, all), -1 / (double)l->dims[CLASS_AXIS]);
	if (w)
		all = b_div(b, all, b_max(b, w, b_scalar(b, DT_f32, 1e-30)));
	return b_add(b, row, b_mul(b, e, b_sub(b, all, row)));
}

bool
loss_ce(const struct loss_in *in, struct loss *out)
{
	struct build *b = in->b;
	struct value *counted, *y = labels_of(in, &counted), *hot, *l, *zero, *w = NULL;

	if (!y)
		return false;
	hot = one_hot(b, in->student, y);
	zero = b_scalar(b, DT_f32, 0);
	l = b_log_softmax(b, tau_divide(b, in->student, tau_of(in, "temperature")), CLASS_AXIS);
	if (!l)
		return false;
	if (in->field->class_weights)
		w = b_sum_classes(b, b_select(b, hot, class_weights(in, in->student), zero));
	out->row = b_neg(b, b_sum_classes(b, b_select(b, hot, l, zero)));
	out->row = smoothed(in, out->row, l, w);
	out->weight = w && counted ? b_mul(b, w, counted) : w ? w : counted;
	return out->row != NULL;
}

/* ---- softened classes */

/* v [rows, C, d..] to the term's row, by the reduction. */
static bool
reduced(const struct loss_in *in, struct value *v, const struct soft *s, struct loss *out)
{
	if (v && !reduces(in, "mean"))
		v = sum_kept(in->b, v);
	v = tau_scale(in, v, s->ts, s->tt);
	if (v && reduces(in, "sum"))
		v = b_muls(in->b, v, (double)dims_count(v->rank, v->dims));
	out->row = v;
	out->weight = soft_weight(in, s);
	out->labels = s->hot != NULL;
	return v != NULL;
}

bool
loss_kd(const struct loss_in *in, struct loss *out)
{
	struct build *b = in->b;
	struct soft s;

	return soft_logits(in, 0, &s) &&
	       reduced(in, b_mul(b, s.p, b_sub(b, s.logp, s.ls)), &s, out);
}

bool
loss_soft_ce(const struct loss_in *in, struct loss *out)
{
	struct build *b = in->b;
	struct soft s = {0};

	if (in->nteachers == 0) {
		s.p = loss_float_target(in);
		s.ts = s.tt = tau_of(in, "temperature");
		if (!s.p || !has_classes(in))
			return false;
		s.ls = b_log_softmax(b, tau_divide(b, in->student, s.ts), CLASS_AXIS);
	} else if (!soft_logits(in, 0, &s)) {
		return false;
	}
	return reduced(in, b_neg(b, b_mul(b, s.p, s.ls)), &s, out);
}

bool
loss_logit_mse(const struct loss_in *in, struct loss *out)
{
	struct soft s;
	double l;

	if (!loss_is_fixed(in, "annealing", &l) || l != 0)
		return diag_invalid(in->b->diag, in->term->loc,
		    "logit_mse compares logits, annealing mixes classes; use kd");
	if (!soft_logits(in, SOFT_MEAN_LOGITS, &s))
		return false;
	if (s.merged)
		return diag_invalid(in->b->diag, in->term->loc,
		    "class_map sends several classes to one: their logits have no sum; use kd");
	out->row = b_square(in->b, b_sub(in->b, s.z, tau_divide(in->b, s.t, s.tt)));
	if (reduces(in, "sum") && out->row)
		out->row =
		    b_muls(in->b, out->row, (double)dims_count(out->row->rank, out->row->dims));
	out->weight = soft_weight(in, &s);
	out->labels = s.hot != NULL;
	return out->row != NULL;
}

bool
loss_confidence(const struct loss_in *in, struct loss *out)
{
	struct value *l;

	if (!has_classes(in))
		return false;
	l = tau_divide(in->b, in->student, tau_of(in, "temperature"));
	l = b_log_softmax(in->b, l, CLASS_AXIS);
	out->row = b_sum_classes(in->b, b_mul(in->b, b_exp(in->b, l), l));
	return out->row != NULL;
}

/* ---- a yes or no for each element */

/* The teachers' mean of sigmoid(z/T), by teacher_weights where given. */
static struct value *
answers(const struct loss_in *in, struct tau t)
{
	const double *w = in->term->teacher_weights;
	struct value *p = NULL;
	double sum = 0;

	for (int k = 0; k < in->nteachers; k++)
		sum += w ? w[k] : 1;
	for (int k = 0; k < in->nteachers; k++) {
		struct value *v = b1(in->b, OP_sigmoid, tau_divide(in->b, in->teachers[k], t));

		v = in->nteachers == 1 ? v : b_muls(in->b, v, (w ? w[k] : 1) / sum);
		p = p ? b_add(in->b, p, v) : v;
	}
	return p;
}

/* Where the target is not the one to ignore, in the shape of the student. */
static struct value *
known(const struct loss_in *in)
{
	struct build *b = in->b;
	struct value *y = in->target, *skip;

	if (in->nteachers || !in->field->has_ignore)
		return NULL;
	skip = b2(b, OP_eq, y, b_scalar_like(b, y, (double)in->field->ignore));
	skip = b_cast(b, b1(b, OP_not, skip), DT_f32);
	return b_reshape(b, skip, in->student->rank, in->student->dims);
}

bool
loss_bce(const struct loss_in *in, struct loss *out)
{
	struct build *b = in->b;
	struct tau ts = tau_of(in, "temperature"), tt = tau_of_teacher(in, ts);
	struct value *z = tau_divide(b, in->student, ts), *p, *soft, *part;
	double w;

	if (in->nteachers == 0)
		p = loss_float_target(in);
	else
		p = loss_same_shapes(in) ? answers(in, tt) : NULL;
	if (!p)
		return false;
	/* softplus(-z) + (1-p) z, and (w-1) p softplus(-z) */
	soft = b1(b, OP_log1p, b_exp(b, b_neg(b, b1(b, OP_abs, z))));
	out->row = b_add(b, b_sub(b, b_max(b, z, b_scalar(b, DT_f32, 0)), b_mul(b, z, p)), soft);
	if (!loss_is_fixed(in, "pos_weight", &w) || w != 1) {
		part = b_add(b, b_max(b, b_neg(b, z), b_scalar(b, DT_f32, 0)), soft);
		part = b_mul(b, b_mul(b, p, part), b_adds(b, loss_dial(in, "pos_weight"), -1));
		out->row = b_add(b, out->row, part);
	}
	out->row = tau_scale(in, out->row, ts, tt);
	out->weight = known(in);
	return out->row != NULL;
}
