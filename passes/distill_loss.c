/* distill_loss -- the terms' formulas.  z: logits [N,C,d..], classes along axis 1;
 * s, t: student, teacher; T: temperature; l = log_softmax.  Every term is a mean:
 *
 *   ce       -l(zs)[label], weighted by the class, over labels that count
 *   kd       T^2 sum_c p (log p - l(zs/T)),  p = softmax(zt/T), mean over teachers
 *   soft_ce  T^2 -sum_c p l(zs/T); without teachers p is the target field
 *   mse      (s/T - t/T)^2 over all elements; without teachers t is the target
 *   bce      max(z,0) - z p + log1p(exp(-|z|)),  z = zs/T, p = sigmoid(zt/T) or the target
 *   cosine   1 - <s,t> / (|s||t|) of the flattened sample
 *   hint     mse after an adaptor
 *
 * T^2 only with tau_squared.  reduction mean divides kd and soft_ce by C as well,
 * as PyTorch's element-wise mean does. */
#include "passes/distill_int.h"

#include <string.h>

const char *const loss_names[] = {"ce", "kd", "soft_ce", "mse", "bce", "cosine", "hint"};
const int nloss_names = sizeof loss_names / sizeof loss_names[0];

enum { CLASS_AXIS = 1 };

static bool
is_mean(const struct loss_in *in)
{
	return in->term->reduction && strcmp(in->term->reduction, "mean") == 0;
}

static double
temperature(const struct loss_in *in)
{
	return in->term->temperature > 0 ? in->term->temperature : 1;
}

static double
tau_squared(const struct loss_in *in)
{
	double t = temperature(in);

	return in->term->tau_squared ? t * t : 1;
}

static struct value *
softened(const struct loss_in *in, struct value *z)
{
	return temperature(in) == 1 ? z : b_muls(in->b, z, 1 / temperature(in));
}

static struct value *
sum_classes(struct build *b, struct value *v)
{
	return b_reduce(b, OP_reduce_sum, v, 1, (const int64_t[]){CLASS_AXIS}, false);
}

/* ---- labels */

static bool
no_target(const struct loss_in *in)
{
	return diag_invalid(in->b->diag, in->term->loc,
	    "loss %s needs a target; give task \"%s\" a target field", in->term->loss,
	    in->term->task ? in->term->task : "");
}

/* The field as [rows, d...] for logits [rows, C, d...]; NULL: reported. */
static struct value *
fitted(const struct loss_in *in)
{
	struct arena *a = in->b->g->arena;
	struct value *z = in->student, *y = in->target;
	int64_t dims[MAX_RANK];

	if (!y)
		return no_target(in) ? y : NULL;
	if (!dtype_is_int(y->dtype) && y->dtype != DT_bool) {
		diag_invalid(in->b->diag, in->term->loc,
		    "loss %s needs integer class labels, field \"%s\" is %s; use soft_ce, mse or "
		    "bce",
		    in->term->loss, in->field->name, dtype_info[y->dtype].name);
		return NULL;
	}
	if (z->rank < 2) {
		diag_invalid(in->b->diag, in->term->loc, "%s is %s: it has no class axis",
		    in->student_name, dims_text(a, z));
		return NULL;
	}
	if (in->field->classes > 0 && in->field->classes != z->dims[CLASS_AXIS]) {
		diag_invalid(in->b->diag, in->term->loc,
		    "field \"%s\" has %lld classes, %s has %lld", in->field->name,
		    (long long)in->field->classes, in->student_name,
		    (long long)z->dims[CLASS_AXIS]);
		return NULL;
	}
	dims[0] = z->dims[0];
	for (int i = 2; i < z->rank; i++)
		dims[i - 1] = z->dims[i];
	if (dims_count(y->rank, y->dims) != dims_count(z->rank - 1, dims)) {
		diag_invalid(in->b->diag, in->term->loc,
		    "labels \"%s\" are %s, %s is %s: one label for each %s expected",
		    in->field->name, dims_text(a, y), in->student_name, dims_text(a, z),
		    z->rank == 2 ? "row" : "position");
		return NULL;
	}
	return b_reshape(in->b, y, z->rank - 1, dims);
}

struct value *
labels_of(const struct loss_in *in, struct value **counted)
{
	struct build *b = in->b;
	struct value *y = fitted(in);

	*counted = NULL;
	if (!y)
		return NULL;
	if (in->field->has_ignore) {
		struct value *skip =
		    b2(b, OP_eq, y, b_scalar_like(b, y, (double)in->field->ignore));

		*counted = b_cast(b, b1(b, OP_not, skip), DT_f32);
	}
	return b_unsqueeze(b, b_cast(b, y, DT_i32), CLASS_AXIS);
}

struct value *
one_hot(struct build *b, struct value *z, struct value *labels)
{
	int64_t dims[MAX_RANK];

	for (int i = 0; i < z->rank; i++)
		dims[i] = i == CLASS_AXIS ? z->dims[i] : 1;
	return b2(b, OP_eq, b_iota(b, DT_i32, z->rank, dims, CLASS_AXIS), labels);
}

struct value *
labels_outside(const struct loss_in *in)
{
	struct build *b = in->b;
	struct value *y = fitted(in), *bad;

	if (!y)
		return NULL;
	y = b_cast(b, y, DT_i64);
	bad = b2(b, OP_or, b2(b, OP_lt, y, b_scalar(b, DT_i64, 0)),
	    b2(b, OP_le, b_scalar(b, DT_i64, (double)in->student->dims[CLASS_AXIS]), y));
	if (in->field->has_ignore)
		bad = b2(b, OP_and, bad,
		    b1(b, OP_not, b2(b, OP_eq, y, b_scalar(b, DT_i64, (double)in->field->ignore))));
	return b_reduce_all(b, OP_reduce_sum, b_cast(b, bad, DT_f32));
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

static bool
ce(const struct loss_in *in, struct loss *out)
{
	struct build *b = in->b;
	struct value *z = in->student, *counted, *y = labels_of(in, &counted), *hot, *l, *zero;

	if (!y)
		return false;
	hot = one_hot(b, z, y);
	zero = b_scalar(b, DT_f32, 0);
	l = b_log_softmax(b, softened(in, z), CLASS_AXIS);
	out->row = b_neg(b, sum_classes(b, b_select(b, hot, l, zero)));
	out->weight = counted;
	if (in->field->class_weights) {
		struct value *w = sum_classes(b, b_select(b, hot, class_weights(in, z), zero));

		out->weight = counted ? b_mul(b, w, counted) : w;
	}
	return out->row != NULL;
}

/* ---- several teachers, equal shapes */

static bool
same_classes(const struct loss_in *in)
{
	struct arena *a = in->b->g->arena;
	const struct value *s = in->student;

	for (int k = 0; k < in->nteachers; k++) {
		const struct value *t = in->teachers[k];

		if (dims_equal(s->rank, s->dims, t->rank, t->dims))
			continue;
		if (s->rank >= 2 && t->rank == s->rank && s->dims[1] != t->dims[1])
			return diag_invalid(in->b->diag, in->term->loc,
			    "%s has %lld classes, %s has %lld: loss %s compares class by class",
			    in->teacher_names[k], (long long)t->dims[1], in->student_name,
			    (long long)s->dims[1], in->term->loss);
		return diag_invalid(in->b->diag, in->term->loc,
		    "%s is %s, %s is %s: loss %s needs equal shapes%s", in->teacher_names[k],
		    dims_text(a, t), in->student_name, dims_text(a, s), in->term->loss,
		    strcmp(in->term->loss, "ce") == 0 ? "" : " (or a hint with adaptor: auto)");
	}
	return true;
}

/* Of a teacher's output: itself, its softened classes and logits. */
static struct value *
plain_output(const struct loss_in *in, struct value *t)
{
	(void)in;
	return t;
}

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

static struct value *
mean_teacher(const struct loss_in *in)
{
	return mean_of(in, plain_output);
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
	return same_classes(in);
}

static bool
kd(const struct loss_in *in, struct loss *out)
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
		out->row = sum_classes(b, out->row);
	out->row = b_muls(b, out->row, tau_squared(in));
	return out->row != NULL;
}

/* The target field in the shape of the student, as float; NULL: reported. */
static struct value *
float_target(const struct loss_in *in)
{
	struct value *s = in->student, *t = in->target;

	if (!t)
		return no_target(in) ? t : NULL;
	if (dims_count(t->rank, t->dims) != dims_count(s->rank, s->dims) ||
	    t->dims[0] != s->dims[0]) {
		diag_invalid(in->b->diag, in->term->loc,
		    "field \"%s\" is %s, %s is %s: loss %s needs equal shapes", in->field->name,
		    dims_text(in->b->g->arena, t), in->student_name, dims_text(in->b->g->arena, s),
		    in->term->loss);
		return NULL;
	}
	return b_reshape(in->b, b_cast(in->b, t, DT_f32), s->rank, s->dims);
}

static bool
soft_ce(const struct loss_in *in, struct loss *out)
{
	struct build *b = in->b;
	struct value *p, *unused;

	if (in->nteachers == 0) {
		p = float_target(in);
	} else {
		if (!needs_classes(in))
			return false;
		soft_targets(in, &p, &unused);
	}
	if (!p || in->student->rank < 2)
		return p && needs_classes(in);
	out->row = b_mul(b, p, b_log_softmax(b, softened(in, in->student), CLASS_AXIS));
	if (!is_mean(in))
		out->row = sum_classes(b, out->row);
	out->row = b_muls(b, out->row, -tau_squared(in));
	return out->row != NULL;
}

static struct value *
square(struct build *b, struct value *v)
{
	return b_mul(b, v, v);
}

static bool
bce(const struct loss_in *in, struct loss *out)
{
	struct build *b = in->b;
	struct value *z = softened(in, in->student), *p, *soft;

	if (in->nteachers == 0) {
		p = float_target(in);
	} else {
		if (!same_classes(in))
			return false;
		p = mean_of(in, sigmoid_of);
	}
	if (!p)
		return false;
	soft = b1(b, OP_log1p, b_exp(b, b_neg(b, b1(b, OP_abs, z))));
	out->row = b_add(b, b_sub(b, b_max(b, z, b_scalar(b, DT_f32, 0)), b_mul(b, z, p)), soft);
	if (in->term->tau_squared && temperature(in) != 1)
		out->row = b_muls(b, out->row, tau_squared(in));
	return out->row != NULL;
}

/* Teachers' mean feature, checked to have one shape among themselves. */
static struct value *
mean_feature(const struct loss_in *in)
{
	struct arena *a = in->b->g->arena;
	const struct value *t = in->nteachers ? in->teachers[0] : NULL;

	if (!t) {
		diag_invalid(in->b->diag, in->term->loc,
		    "loss %s needs a teacher: teacher: NAME.TAP", in->term->loss);
		return NULL;
	}
	for (int k = 1; k < in->nteachers; k++)
		if (!dims_equal(t->rank, t->dims, in->teachers[k]->rank, in->teachers[k]->dims)) {
			diag_invalid(in->b->diag, in->term->loc,
			    "%s is %s, %s is %s: the mean of teachers needs equal shapes",
			    in->teacher_names[0], dims_text(a, t), in->teacher_names[k],
			    dims_text(a, in->teachers[k]));
			return NULL;
		}
	return mean_teacher(in);
}

static bool
hint(const struct loss_in *in, struct loss *out)
{
	struct value *t = mean_feature(in), *s;

	if (!t || !adapt(in, t, &s, &t))
		return false;
	out->row = square(in->b, b_sub(in->b, s, t));
	return out->row != NULL;
}

static bool
mse(const struct loss_in *in, struct loss *out)
{
	struct build *b = in->b;
	struct value *s = in->student, *t;
	double scale = 1 / temperature(in);

	if (in->nteachers == 0)
		t = float_target(in);
	else if (in->term->adaptor)
		return hint(in, out);
	else
		t = same_classes(in) ? mean_teacher(in) : NULL;
	if (!t)
		return false;
	out->row = square(b, b_sub(b, s, t));
	if (scale != 1)
		out->row = b_muls(b, out->row, scale * scale);
	return out->row != NULL;
}

static struct value *
flat(struct build *b, struct value *v)
{
	int64_t dims[2] = {v->dims[0], v->dims[0] ? dims_count(v->rank, v->dims) / v->dims[0] : 0};

	return b_reshape(b, v, 2, dims);
}

static bool
cosine(const struct loss_in *in, struct loss *out)
{
	struct build *b = in->b;
	struct value *s = in->student, *t, *st, *ss, *tt, *norm;

	if (in->nteachers == 0) {
		t = float_target(in);
	} else {
		t = mean_feature(in);
		if (t && in->term->adaptor && !adapt(in, t, &s, &t))
			return false;
		if (t && !in->term->adaptor && !same_classes(in))
			return false;
	}
	if (!t)
		return false;
	s = flat(b, s);
	t = flat(b, t);
	st = sum_classes(b, b_mul(b, s, t));
	ss = sum_classes(b, b_mul(b, s, s));
	tt = sum_classes(b, b_mul(b, t, t));
	norm = b_sqrt(b, b_max(b, b_mul(b, ss, tt), b_scalar(b, DT_f32, 1e-24)));
	out->row = b_sub(b, b_scalar(b, DT_f32, 1), b_div(b, st, norm));
	return out->row != NULL;
}

bool
loss_build(const struct loss_in *in, struct loss *out)
{
	static bool (*const build[])(const struct loss_in *, struct loss *) = {
	    ce, kd, soft_ce, mse, bce, cosine, hint};
	const char *near;

	_Static_assert(sizeof build / sizeof build[0] == sizeof loss_names / sizeof loss_names[0],
	    "one function for each name");
	*out = (struct loss){0};
	for (int i = 0; i < nloss_names; i++)
		if (strcmp(in->term->loss, loss_names[i]) == 0)
			return build[i](in, out);
	near = str_nearest(in->term->loss, loss_names, nloss_names);
	return diag_invalid(in->b->diag, in->term->loc,
	    "no loss is called \"%s\"%s%s%s; there are ce, kd, soft_ce, mse, bce, cosine and hint",
	    in->term->loss, near ? "; did you mean \"" : "", near ? near : "", near ? "\"" : "");
}
