/* distill_metric -- what is counted beside the losses, as sums. */
#include "passes/distill_int.h"

#include <string.h>

static const char *const metric_names[] = {"accuracy", "top5", "loss", "mse", "mae"};
enum { NMETRIC = sizeof metric_names / sizeof metric_names[0] };

/* 1 where the largest logit (first of ties) is the label's */
static struct value *
correct(struct build *b, struct value *z, struct value *labels)
{
	struct attr a[2] = {
	    {.name = "axis", .kind = ATTR_INT, .i = 1}, {.name = "keep", .kind = ATTR_INT, .i = 1}};
	struct value *best = b_op(b, OP_argmax, 1, &z, 2, a);

	return b_cast(b, b2(b, OP_eq, b_cast(b, best, DT_i32), labels), DT_f32);
}

/* 1 where fewer than five logits are larger than the label's */
static struct value *
in_top5(struct build *b, struct value *z, struct value *labels)
{
	int64_t axis = 1;
	struct value *own = b_select(b, one_hot(b, z, labels), z, b_scalar(b, DT_f32, 0));
	struct value *above;

	own = b_reduce(b, OP_reduce_sum, own, 1, &axis, true);
	above = b_cast(b, b2(b, OP_lt, own, z), DT_f32);
	above = b_reduce(b, OP_reduce_sum, above, 1, &axis, true);
	return b_cast(b, b2(b, OP_lt, above, b_scalar(b, DT_f32, 4.5)), DT_f32);
}

/* Multi-label accuracy: signs of logits against targets above one half. */
static struct value *
signs_agree(struct build *b, struct value *z, struct value *t)
{
	struct value *a = b2(b, OP_lt, b_scalar(b, DT_f32, 0), z);
	struct value *c = b2(b, OP_lt, b_scalar(b, DT_f32, 0.5), b_cast(b, t, DT_f32));

	return b_cast(b, b1(b, OP_not, b2(b, OP_xor, a, c)), DT_f32);
}

static bool
is_labels(const struct value *t, const struct value *z)
{
	return dtype_is_int(t->dtype) &&
	       dims_count(t->rank, t->dims) != dims_count(z->rank, z->dims);
}

static bool
metric_loss(struct distiller *x, struct operands *o, const char *name, struct loss *l)
{
	struct build *b = o->in.b;
	struct value *z = o->in.student, *t = o->in.target, *counted = NULL, *labels, *d;
	int64_t axis = 1;
	int kind = 0;

	while (kind < NMETRIC && strcmp(metric_names[kind], name) != 0)
		kind++;
	if (kind == NMETRIC) {
		const char *near = str_nearest(name, metric_names, NMETRIC);

		return diag_invalid(x->diag, o->task->loc,
		    "no metric is called \"%s\"%s%s%s; there are accuracy, top5, loss, mse and mae",
		    name, near ? "; did you mean \"" : "", near ? near : "", near ? "\"" : "");
	}
	*l = (struct loss){0};
	if (kind == 2)
		return loss_build(&o->in, l);
	if (kind >= 3 || (kind == 0 && t && !is_labels(t, z))) {
		if (!t || dims_count(t->rank, t->dims) != dims_count(z->rank, z->dims))
			return diag_invalid(x->diag, o->task->loc,
			    "metric %s of task \"%s\": its target does not have the shape of its "
			    "head",
			    name, o->task->name);
		t = b_reshape(b, t, z->rank, z->dims);
		d = b_sub(b, z, b_cast(b, t, DT_f32));
		l->row = kind == 0   ? signs_agree(b, z, t)
			 : kind == 3 ? b_mul(b, d, d)
				     : b1(b, OP_abs, d);
		return l->row != NULL;
	}
	labels = labels_of(&o->in, &counted);
	if (!labels)
		return false;
	l->row = kind == 0 ? correct(b, z, labels) : in_top5(b, z, labels);
	l->row = b_reduce(b, OP_reduce_sum, l->row, 1, &axis, false);
	l->weight = counted;
	return l->row && distill_check_labels(x, o);
}

bool
distill_metrics(struct distiller *x, const struct distill_task *task)
{
	struct build b = distill_build(x, task->loc);
	struct distill_term t = {.name = task->name,
	    .task = task->name,
	    .loss = "ce",
	    .weight = 1,
	    .temperature = 1,
	    .loc = task->loc};
	struct operands o;
	bool ok = true;

	if (task->nmetrics == 0)
		return true;
	if (!task->target)
		return diag_invalid(
		    x->diag, task->loc, "task \"%s\" has metrics but no target", task->name);
	if (!distill_operands(x, &b, &t, &o))
		return false;
	for (int i = 0; i < task->nmetrics; i++) {
		const char *name =
		    arena_printf(x->g->arena, "metric.%s.%s", task->name, task->metrics[i]);
		struct value *num, *den;
		struct loss l;

		if (!metric_loss(x, &o, task->metrics[i], &l)) {
			ok = false;
			continue;
		}
		distill_sums(x, &b, o.rows, &l, &num, &den);
		if (!num || !den)
			return false;
		distill_output_sums(x, name, num, den);
	}
	return ok;
}
