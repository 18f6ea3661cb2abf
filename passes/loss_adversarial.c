/* loss_adversarial -- losses of generators and of those that judge them; s: the judge's
 * score, p: class distribution of a teacher's logits t for a made sample:
 *
 *                real               fake               generator
 *   gan          log(1 + exp(-s))   log(1 + exp(s))    log(1 + exp(-s))   Goodfellow et al. 2014,
 *                                                      the generator's form that does not saturate
 *   lsgan        (s - 1)^2 / 2      s^2 / 2            (s - 1)^2 / 2      Mao et al. 2017, eq. 9
 *   hinge        max(0, 1 - s)      max(0, 1 + s)      -s                 Lim and Ye 2017
 *
 * and of data-free distillation (DAFL, Chen et al. 2019):
 *   one_hot      -log p[argmax t]: made samples are of a class
 *   class_entropy  sum_c q_c log q_c, q: mean of p over the rows: all classes are made
 *   activation   -|f|: a teacher's features answer */
#include "passes/loss.h"

enum role { ROLE_REAL, ROLE_FAKE, ROLE_GENERATOR };

bool
loss_gan(const struct loss_in *in, struct loss *out)
{
	struct build *b = in->b;
	struct value *s = in->student, *zero = b_scalar(b, DT_f32, 0);

	if (loss_choice(in, "role") != ROLE_FAKE)
		s = b_neg(b, s);
	/* log(1 + exp(s)) = max(s, 0) + log(1 + exp(-|s|)) */
	out->row = b_add(b, b_max(b, s, zero), b1(b, OP_log1p, b_exp(b, b_neg(b, b1(b, OP_abs, s)))));
	return out->row != NULL;
}

bool
loss_lsgan(const struct loss_in *in, struct loss *out)
{
	struct build *b = in->b;
	struct value *s = in->student;

	if (loss_choice(in, "role") != ROLE_FAKE)
		s = b_adds(b, s, -1);
	out->row = b_muls(b, b_square(b, s), 0.5);
	return out->row != NULL;
}

bool
loss_hinge(const struct loss_in *in, struct loss *out)
{
	struct build *b = in->b;
	struct value *s = in->student;
	int role = loss_choice(in, "role");

	if (role != ROLE_FAKE)
		s = b_neg(b, s);
	out->row = role == ROLE_GENERATOR ? s : b_max(b, b_adds(b, s, 1), b_scalar(b, DT_f32, 0));
	return out->row != NULL;
}

/* ---- DAFL */
static bool
has_classes(const struct loss_in *in)
{
	const struct value *s = in->student;

	if (s->rank >= 2 && s->dims[CLASS_AXIS] >= 2)
		return true;
	return diag_invalid(in->b->diag, in->term->loc, "%s is %s: loss %s needs logits of several classes", in->student_name,
	    dims_text(in->b->g->arena, s), in->term->loss);
}

bool
loss_one_hot(const struct loss_in *in, struct loss *out)
{
	struct build *b = in->b;
	struct value *logp, *best;

	if (!has_classes(in))
		return false;
	logp = b_log_softmax(b, in->student, CLASS_AXIS);
	best = b_reduce(b, OP_reduce_max, logp, 1, (const int64_t[]){CLASS_AXIS}, true);
	out->row = b_neg(b, best);
	return out->row != NULL;
}

bool
loss_class_entropy(const struct loss_in *in, struct loss *out)
{
	struct build *b = in->b;
	int64_t dims[MAX_RANK], rows = in->student->dims[0];
	struct value *p, *q;
	double spots;

	if (!has_classes(in))
		return false;
	p = b_softmax(b, in->student, CLASS_AXIS);
	for (int i = 0; i < p->rank; i++)
		dims[i] = i == 0 ? rows : 1;
	if (in->valid)
		p = b_mul(b, p, b_reshape(b, in->valid, p->rank, dims));
	spots = (double)dims_count(in->student->rank, in->student->dims) / (double)(rows * in->student->dims[CLASS_AXIS]);
	for (int k = 0; k < in->student->rank - 1; k++) /* all axes but the classes' */
		p = b_reduce(b, OP_reduce_sum, p, 1, (const int64_t[]){k == 0 ? 0 : 1}, false);
	q = b_div(b, p, b_muls(b, b_max(b, loss_rows(in), b_scalar(b, DT_f32, 1)), spots));
	q = b_mul(b, q, b_log(b, b_max(b, q, b_scalar(b, DT_f32, 1e-30))));
	out->total = b_reduce_all(b, OP_reduce_sum, q);
	return out->total != NULL;
}

bool
loss_activation(const struct loss_in *in, struct loss *out)
{
	out->row = b_neg(in->b, b1(in->b, OP_abs, in->student));
	return out->row != NULL;
}
