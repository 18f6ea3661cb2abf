/* distill_metric -- what is counted beside the losses: the sums of means (MEAN rows of
 * host/metric.def), and for the evaluation the rows that everything else is made of:
 *
 *   rows.TASK.scores   f32 [rows, C, d...]: the head
 *   rows.TASK.labels   i32 [rows, d...], -1 where ignored, or
 *   rows.TASK.values   f32 as scores: 0 or 1 of each logit, or what a regression is after
 *   rows.TASK.teacher  f32 as scores: its teacher's answer
 *   rows.TASK.valid    f32 [rows]: 1 for rows that count */
#include "passes/distill_int.h"
#include "passes/loss_soft.h"

#include "host/metric.h"

#include <string.h>

/* Heads of more classes are shown to the report only where a metric asks for rows. */
enum { REPORT_CLASSES = 1024 };

struct metric_in {
	struct distiller *x;
	struct operands *o;
	int number; /* of topN */
};

/* A target for each of the head's numbers, not for each row or position. */
static bool
is_values(const struct value *t, const struct value *z)
{
	return t && dims_count(t->rank, t->dims) == dims_count(z->rank, z->dims);
}

static struct value *
constant(struct build *b, double v)
{
	return b_scalar(b, DT_f32, v);
}

static struct value *
over_classes(struct build *b, struct value *v)
{
	return b_reduce(b, OP_reduce_sum, v, 1, (const int64_t[]){1}, false);
}

static struct value *
values_of(const struct loss_in *in)
{
	const struct value *z = in->student;

	return b_reshape(in->b, b_cast(in->b, in->target, DT_f32), z->rank, z->dims);
}

/* ---- the sums */

/* i32 [rows,1,d..]: the largest logit, the first of ties */
static struct value *
answer(struct build *b, struct value *z)
{
	struct attr a[2] = {
	    {.name = "axis", .kind = ATTR_INT, .i = 1}, {.name = "keep", .kind = ATTR_INT, .i = 1}};

	return b_cast(b, b_op(b, OP_argmax, 1, &z, 2, a), DT_i32);
}

static struct value *
is_above(struct build *b, struct value *v, double bound)
{
	return b2(b, OP_lt, constant(b, bound), v);
}

static struct value *
is_same(struct build *b, struct value *p, struct value *q)
{
	return b_cast(b, b1(b, OP_not, b2(b, OP_xor, p, q)), DT_f32);
}

static bool
of_labels(
    struct metric_in *m, struct value *(*f)(struct metric_in *, struct value *), struct loss *l)
{
	struct value *labels = labels_of(&m->o->in, &l->weight);

	l->row = labels ? over_classes(m->o->in.b, f(m, labels)) : NULL;
	return l->row && distill_check_labels(m->x, m->o);
}

static struct value *
correct(struct metric_in *m, struct value *labels)
{
	struct build *b = m->o->in.b;

	return b_cast(b, b2(b, OP_eq, answer(b, m->o->in.student), labels), DT_f32);
}

/* 1 where fewer than `number` logits are larger than the label's */
static struct value *
among_best(struct metric_in *m, struct value *labels)
{
	struct build *b = m->o->in.b;
	struct value *z = m->o->in.student;
	struct value *own = b_select(b, one_hot(b, z, labels), z, constant(b, 0)), *above;
	int64_t axis = 1;

	own = b_reduce(b, OP_reduce_sum, own, 1, &axis, true);
	above = b_cast(b, b2(b, OP_lt, own, z), DT_f32);
	above = b_reduce(b, OP_reduce_sum, above, 1, &axis, true);
	return b_cast(b, b2(b, OP_lt, above, constant(b, m->number - 0.5)), DT_f32);
}

/* Of several labels a row: signs of logits against targets above one half. */
static bool
sum_accuracy(struct metric_in *m, struct loss *l)
{
	const struct loss_in *in = &m->o->in;

	if (!is_values(in->target, in->student))
		return of_labels(m, correct, l);
	l->row =
	    is_same(in->b, is_above(in->b, in->student, 0), is_above(in->b, values_of(in), 0.5));
	return l->row != NULL;
}

static bool
sum_top(struct metric_in *m, struct loss *l)
{
	return of_labels(m, among_best, l);
}

/* The first term that compares the task's head with its target; ce without one. */
static bool
sum_loss(struct metric_in *m, struct loss *l)
{
	struct distill_term own = *m->o->in.term;
	const char *task = own.name;
	struct loss_in in = m->o->in;

	for (int i = m->x->d->nterms - 1; i >= 0; i--) {
		const struct distill_term *t = &m->x->d->terms[i];

		if (t->task && strcmp(t->task, task) == 0 && t->nteachers == 0 &&
		    t->nstudents == 0 && loss_info[loss_find(t->loss)].target != LOSS_NO)
			own = *t;
	}
	in.term = &own;
	return loss_build(&in, l);
}

/* -log p of the label, whatever the classes weigh */
static bool
sum_surprise(struct metric_in *m, struct loss *l)
{
	struct loss_in in = m->o->in;
	struct distill_field plain = *in.field;

	plain.class_weights = NULL;
	in.field = &plain;
	return loss_build(&in, l) && distill_check_labels(m->x, m->o);
}

static struct value *
difference(const struct loss_in *in)
{
	return b_sub(in->b, in->student, values_of(in));
}

static bool
sum_squares(struct metric_in *m, struct loss *l)
{
	struct value *d = difference(&m->o->in);

	l->row = b_mul(m->o->in.b, d, d);
	return l->row != NULL;
}

static bool
sum_distances(struct metric_in *m, struct loss *l)
{
	l->row = b1(m->o->in.b, OP_abs, difference(&m->o->in));
	return l->row != NULL;
}

/* ---- against teachers: with several the mean of their logits */

static struct value *
teacher(const struct loss_in *in)
{
	struct value *sum = in->teachers[0];

	for (int k = 1; k < in->nteachers; k++)
		sum = b_add(in->b, sum, in->teachers[k]);
	return in->nteachers == 1 ? sum : b_muls(in->b, sum, 1.0 / in->nteachers);
}

static bool
several_labels(const struct metric_in *m)
{
	const struct loss_in *in = &m->o->in;

	return in->student->rank < 2 || is_values(in->target, in->student);
}

static bool
sum_agreement(struct metric_in *m, struct loss *l)
{
	struct build *b = m->o->in.b;
	struct value *s = m->o->in.student, *t = teacher(&m->o->in);

	if (several_labels(m))
		l->row = is_same(b, is_above(b, s, 0), is_above(b, t, 0));
	else
		l->row =
		    over_classes(b, b_cast(b, b2(b, OP_eq, answer(b, s), answer(b, t)), DT_f32));
	return l->row != NULL;
}

static struct value *
softplus(struct build *b, struct value *z)
{
	struct value *tail = b1(b, OP_log1p, b_exp(b, b_neg(b, b1(b, OP_abs, z))));

	return b_add(b, b_max(b, z, constant(b, 0)), tail);
}

/* KL(teacher / student) at temperature 1: of the classes, or of each of several labels
 *   p (zt - zs) + softplus(zs) - softplus(zt),  p = sigmoid(zt) */
static bool
sum_kl(struct metric_in *m, struct loss *l)
{
	struct build *b = m->o->in.b;
	struct value *s = m->o->in.student, *t = teacher(&m->o->in), *ls, *lt;

	if (several_labels(m)) {
		l->row = b_mul(b, b1(b, OP_sigmoid, t), b_sub(b, t, s));
		l->row = b_add(b, l->row, b_sub(b, softplus(b, s), softplus(b, t)));
		return l->row != NULL;
	}
	ls = b_log_softmax(b, s, 1);
	lt = b_log_softmax(b, t, 1);
	l->row = over_classes(b, b_mul(b, b_exp(b, lt), b_sub(b, lt, ls)));
	return l->row != NULL;
}

static bool (*const sums[NMETRICS])(struct metric_in *, struct loss *) = {
#define MEAN(id, better, needs, sums, ...) [METRIC_##id] = sums,
#include "host/metric.def"
};

/* ---- operands */

static int
find(struct distiller *x, const struct distill_task *task, const struct distill_metric *m,
    int *number)
{
	const char *names[NMETRICS], *near;
	int id = metric_find(m->name, (int)strcspn(m->name, "."), number);

	if (id >= 0)
		return id;
	for (int i = 0; i < NMETRICS; i++)
		names[i] = metric_info[i].name;
	near = str_nearest(m->name, names, NMETRICS);
	diag_invalid(x->diag, task->loc, "no metric is called \"%s\"%s%s%s", m->name,
	    near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : "");
	return -1;
}

/* The teachers whose classes a term of this task imitates; NULL: there is none. */
static const struct distill_term *
imitation(const struct distiller *x, const struct distill_task *task)
{
	for (int i = 0; i < x->d->nterms; i++) {
		const struct distill_term *t = &x->d->terms[i];

		if (t->task && strcmp(t->task, task->name) == 0 && t->nteachers > 0 &&
		    t->nstudents == 0 && t->adaptor.kind == ADAPTOR_UNSAID && (!x->eval || distill_evaluated(x, t)))
			return t;
	}
	return NULL;
}

/* The teachers as that term compares them with the student: classes mapped, maps resized. */
static bool
as_compared(const struct distill_term *from, struct operands *o)
{
	struct loss_in in = o->in;
	struct classes c;

	if (loss_setting_find(&loss_info[loss_find(from->loss)], "resize") < 0 || in.student->rank < 2)
		return true;
	if (in.b->diag->errors)
		return false; /* which the term itself may have reported */
	in.term = from;
	for (int k = 0; k < in.nteachers; k++)
		if (!(o->in.teachers[k] = class_mapped(&in, k, &c)))
			return false;
	return true;
}

/* from: the term whose teachers they are; NULL: none of a term */
static bool
operands(struct distiller *x, struct build *b, const struct distill_task *task, int nteachers,
    const char *const *teachers, const struct distill_term *from, struct distill_term *t,
    struct operands *o)
{
	*t = (struct distill_term){.name = task->name,
	    .task = task->name,
	    .loss = "ce",
	    .weight = {.from = 1},
	    .temperature = {.from = 1},
	    .nteachers = nteachers,
	    .teachers = teachers,
	    .loc = task->loc};
	return distill_operands(x, b, t, o) && (!from || nteachers == 0 || as_compared(from, o));
}

static bool
teachers_fit(const struct operands *o)
{
	const struct value *s = o->in.student;

	for (int k = 0; k < o->in.nteachers; k++) {
		const struct value *t = o->in.teachers[k];

		if (!dims_equal(s->rank, s->dims, t->rank, t->dims))
			return false;
	}
	return o->in.nteachers > 0;
}

/* Whether the task has what the metric needs. */
static bool
has_needs(struct distiller *x, const struct operands *o, const char *name, enum metric_needs needs)
{
	const struct loss_in *in = &o->in;
	const struct value *t = in->target, *z = in->student;

	if (needs == METRIC_TEACHER)
		return teachers_fit(o) ||
		       diag_invalid(x->diag, o->task->loc,
			   "metric %s of task \"%s\": %s is %s, %s is %s", name, o->task->name,
			   in->teacher_names[0], dims_text(x->g->arena, in->teachers[0]),
			   in->student_name, dims_text(x->g->arena, z));
	if (!t)
		return diag_invalid(
		    x->diag, o->task->loc, "task \"%s\" has metrics but no target", o->task->name);
	if (needs == METRIC_VALUES && !is_values(t, z))
		return diag_invalid(x->diag, o->task->loc,
		    "metric %s of task \"%s\": its target does not have the shape of its head",
		    name, o->task->name);
	return true;
}

/* Does the step run this teacher anyway, or read its outputs from a file? */
static bool
at_hand(const struct distiller *x, const char *teacher)
{
	size_t n = strcspn(teacher, ".");

	for (int i = 0; i < x->d->nteachers; i++)
		if ((x->d->teachers[i].cached || x->d->teachers[i].nrecords) && strlen(x->d->teachers[i].name) == n &&
		    strncmp(x->d->teachers[i].name, teacher, n) == 0)
			return true;
	for (int i = 0; i < x->d->nterms; i++)
		for (int k = 0; k < x->d->terms[i].nteachers; k++)
			if (strncmp(x->d->terms[i].teachers[k], teacher, n + 1) == 0)
				return true;
	return false;
}

/* Has the task a teacher whose files are not of every split? */
static bool
is_recorded(const struct distiller *x, const struct distill_task *task)
{
	for (int i = 0; i < x->d->nterms; i++) {
		const struct distill_term *t = &x->d->terms[i];

		if (t->task && strcmp(t->task, task->name) == 0 && !distill_evaluated(x, t))
			return true;
	}
	return false;
}

/* num and den of a mean; false: reported. */
static bool
mean(struct distiller *x, const struct distill_task *task, const struct distill_metric *m, int id,
    int number)
{
	struct build b = distill_build(x, task->loc);
	const char *name = arena_printf(x->g->arena, "metric.%s.%s", task->name, m->name);
	bool taught = metric_info[id].needs == METRIC_TEACHER;
	const struct distill_term *from = taught && !m->teacher ? imitation(x, task) : NULL;
	struct distill_term t;
	struct operands o;
	struct metric_in in = {x, &o, number};
	struct value *num, *den;
	struct loss l = {0};

	if (taught && !m->teacher && !from) {
		/* a stage without this teacher has no such number, nor an evaluation without its files */
		return !x->eval || is_recorded(x, task) || diag_invalid(x->diag, task->loc,
				       "metric %s of task \"%s\": no term of it has a teacher for "
				       "the head; write "
				       "{%s: TEACHER.OUTPUT}",
				       m->name, task->name, metric_info[id].name);
	}
	if (m->teacher && !x->eval && !at_hand(x, m->teacher))
		return true; /* training does not run a teacher to be compared with it */
	if (!operands(x, &b, task, taught ? m->teacher ? 1 : from->nteachers : 0,
		m->teacher ? &m->teacher
		: from	   ? from->teachers
			   : NULL,
		taught && !m->teacher ? from : NULL, &t, &o) ||
	    !has_needs(x, &o, m->name, metric_info[id].needs) || !sums[id](&in, &l))
		return false;
	distill_sums(x, &b, o.rows, &l, &num, &den);
	if (!num || !den)
		return false;
	distill_output_sums(x, name, num, den);
	return true;
}

/* ---- the rows */

static void
output(struct distiller *x, const struct distill_task *task, const char *what, struct value *v)
{
	if (v)
		graph_output(x->g, arena_printf(x->g->arena, "rows.%s.%s", task->name, what), v);
}

/* [rows, 1, d...] of -1 for labels that are ignored, without the class axis */
static bool
label_rows(struct distiller *x, struct operands *o)
{
	struct build *b = o->in.b;
	struct value *counted, *y = labels_of(&o->in, &counted);
	const struct value *z = o->in.student;
	int64_t dims[MAX_RANK];

	if (!y)
		return false;
	dims[0] = z->dims[0];
	for (int i = 2; i < z->rank; i++)
		dims[i - 1] = z->dims[i];
	y = b_reshape(b, y, z->rank - 1, dims);
	if (y && counted)
		y = b_select(b, is_above(b, counted, 0.5), y, b_scalar(b, DT_i32, -1));
	output(x, o->task, "labels", y);
	return y && distill_check_labels(x, o);
}

/* What the split's rows are counted from: where a metric asks, and what the report shows. */
static bool
task_rows(struct distiller *x, const struct distill_task *task)
{
	struct build b = distill_build(x, task->loc);
	const struct distill_term *from = imitation(x, task);
	struct distill_term t;
	struct operands o, taught;
	const struct value *z;
	bool asked = false;

	if (!task->target)
		return true;
	if (!operands(x, &b, task, 0, NULL, NULL, &t, &o))
		return false;
	for (int i = 0, number; i < task->nmetrics; i++) {
		const struct metric_info *m =
		    &metric_info[find(x, task, &task->metrics[i], &number)];

		if (m->rows && !has_needs(x, &o, m->name, m->needs))
			return false;
		asked |= m->rows;
	}
	z = o.in.student;
	if (!asked &&
	    (z->rank != 2 || z->dims[1] > REPORT_CLASSES || dtype_is_float(o.in.target->dtype)))
		return true;
	if (is_values(o.in.target, z))
		output(x, task, "values", values_of(&o.in));
	else if (!label_rows(x, &o))
		return false;
	output(x, task, "scores", o.in.student);
	output(x, task, "valid", distill_valid_rows(x, &b, o.rows));
	if (from &&
	    operands(x, &b, task, from->nteachers, from->teachers, from, &t, &taught) &&
	    teachers_fit(&taught) && taught.rows.first == o.rows.first &&
	    taught.rows.end == o.rows.end)
		output(x, task, "teacher", teacher(&taught.in));
	return true;
}

bool
distill_metrics(struct distiller *x, const struct distill_task *task)
{
	bool ok = true;

	for (int i = 0; i < task->nmetrics; i++) {
		const struct distill_metric *m = &task->metrics[i];
		int number, id = find(x, task, m, &number);

		if (id < 0)
			ok = false;
		else if (metric_info[id].needs != METRIC_TEACHER && !task->target)
			ok = diag_invalid(x->diag, task->loc,
			    "task \"%s\" has metrics but no target", task->name);
		else if (!metric_info[id].rows)
			ok &= mean(x, task, m, id, number);
	}
	return ok && (!x->eval || task_rows(x, task));
}
