/* loss_label -- a task's target as an operand: integer labels, or numbers. */
#include "passes/loss.h"

#include <string.h>

static bool
no_target(const struct loss_in *in)
{
	if (!in->term->task)
		return diag_invalid(in->b->diag, in->term->loc,
		    "loss %s needs labels here; give the term a task with a target field",
		    in->term->loss);
	return diag_invalid(in->b->diag, in->term->loc,
	    "loss %s needs a target; give task \"%s\" a target field", in->term->loss,
	    in->term->task);
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

struct value *
loss_float_target(const struct loss_in *in)
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
