/* loss_soft -- losses of logits with labels and with softened classes.  z: logits
 * [N,C,d..], classes along axis 1; s, t: student, teacher; T: temperature; l = log_softmax:
 *
 *   ce       -l(zs)[label], weighted by the class, over labels that count
 *   kd       T^2 sum_c p (log p - l(zs/T)),  p = softmax(zt/T), mean over teachers
 *   soft_ce  T^2 -sum_c p l(zs/T); without teachers p is the target field
 *   bce      max(z,0) - z p + log1p(exp(-|z|)),  z = zs/T, p = sigmoid(zt/T) or the target
 *
 * T^2 only with tau_squared.  reduction mean divides kd and soft_ce by C as well,
 * as PyTorch's element-wise mean does. */
#include "passes/loss.h"

#include <string.h>

static bool
is_mean(const struct loss_in *in)
{
	return in->term->reduction && strcmp(in->term->reduction, "mean") == 0;
}

/* z / T */
static struct value *
softened(const struct loss_in *in, struct value *z)
{
	double t;

	if (!loss_is_fixed(in, "temperature", &t))
		return b_div(in->b, z, loss_dial(in, "temperature"));
	return t == 1 ? z : b_muls(in->b, z, 1 / t);
}

/* v T^2 with tau_squared, else v */
static struct value *
by_tau_squared(const struct loss_in *in, struct value *v)
{
	double t;

	if (!in->term->tau_squared)
		return v;
	if (!loss_is_fixed(in, "temperature", &t))
		return b_mul(in->b, v, b_square(in->b, loss_dial(in, "temperature")));
	return t == 1 ? v : b_muls(in->b, v, t * t);
}

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

bool
loss_ce(const struct loss_in *in, struct loss *out)
{
	struct build *b = in->b;
	struct value *z = in->student, *counted, *y = labels_of(in, &counted), *hot, *l, *zero;

	if (!y)
		return false;
	hot = one_hot(b, z, y);
	zero = b_scalar(b, DT_f32, 0);
	l = b_log_softmax(b, softened(in, z), CLASS_AXIS);
	out->row = b_neg(b, b_sum_classes(b, b_select(b, hot, l, zero)));
	out->weight = counted;
	if (in->field->class_weights) {
		struct value *w = b_sum_classes(b, b_select(b, hot, class_weights(in, z), zero));

		out->weight = counted ? b_mul(b, w, counted) : w;
	}
	return out->row != NULL;
}

/* ---- several teachers: the mean of f of each */
static struct value *
classes_of(const struct loss_in *in, struct value *t)
{
	return b_softmax(in->b, softened(in, t), CLASS_AXIS);
}

static struct value *
sigmoid_of(const struct loss_in *in, struct value *t)
{
	return b1(in->b, OP_sigmoid, softened(in, t));
}

static struct value *
mean_of(const struct loss_in *in, struct value *(*f)(const struct loss_in *, struct value *))
{
	struct build *b = in->b;
	struct value *sum = NULL;
	int n = in->nteachers;

	for (int k = 0; k < n; k++) {
		struct value *v = f(in, in->teachers[k]);

		sum = sum ? b_add(b, sum, v) : v;
	}
	return n == 1 ? sum : b_muls(b, sum, 1.0 / n);
}

/* p and log p of the teachers' softened classes */
static void
soft_targets(const struct loss_in *in, struct value **p, struct value **logp)
{
	struct build *b = in->b;

	if (in->nteachers == 1) {
		*logp = b_log_softmax(b, softened(in, in->teachers[0]), CLASS_AXIS);
		*p = b_exp(b, *logp);
		return;
	}
	*p = mean_of(in, classes_of);
	*logp = b_log(b, b_max(b, *p, b_scalar(b, DT_f32, 1e-37)));
}

static bool
needs_classes(const struct loss_in *in)
{
	if (in->student->rank < 2)
		return diag_invalid(in->b->diag, in->term->loc, "%s is %s: it has no class axis",
		    in->student_name, dims_text(in->b->g->arena, in->student));
	return loss_same_shapes(in);
}

bool
loss_kd(const struct loss_in *in, struct loss *out)
{
	struct build *b = in->b;
	struct value *p, *logp, *ls;

	if (in->nteachers == 0)
		return diag_invalid(
		    b->diag, in->term->loc, "loss kd needs a teacher: teacher: NAME.OUTPUT");
	if (!needs_classes(in))
		return false;
	soft_targets(in, &p, &logp);
	ls = b_log_softmax(b, softened(in, in->student), CLASS_AXIS);
	out->row = b_mul(b, p, b_sub(b, logp, ls));
	if (!is_mean(in))
		out->row = b_sum_classes(b, out->row);
	out->row = by_tau_squared(in, out->row);
	return out->row != NULL;
}

bool
loss_soft_ce(const struct loss_in *in, struct loss *out)
{
	struct build *b = in->b;
	struct value *p, *unused;

	if (in->nteachers == 0) {
		p = loss_float_target(in);
	} else {
		if (!needs_classes(in))
			return false;
		soft_targets(in, &p, &unused);
	}
	if (!p || in->student->rank < 2)
		return p && needs_classes(in);
	out->row = b_mul(b, p, b_log_softmax(b, softened(in, in->student), CLASS_AXIS));
	if (!is_mean(in))
		out->row = b_sum_classes(b, out->row);
	out->row = b_neg(b, by_tau_squared(in, out->row));
	return out->row != NULL;
}

bool
loss_bce(const struct loss_in *in, struct loss *out)
{
	struct build *b = in->b;
	struct value *z = softened(in, in->student), *p, *soft;

	if (in->nteachers == 0) {
		p = loss_float_target(in);
	} else {
		if (!loss_same_shapes(in))
			return false;
		p = mean_of(in, sigmoid_of);
	}
	if (!p)
		return false;
	soft = b1(b, OP_log1p, b_exp(b, b_neg(b, b1(b, OP_abs, z))));
	out->row = b_add(b, b_sub(b, b_max(b, z, b_scalar(b, DT_f32, 0)), b_mul(b, z, p)), soft);
	out->row = by_tau_squared(in, out->row);
	return out->row != NULL;
}
