/* loss_feature -- losses of features and of numbers; s, t: student, teacher or target,
 * T: temperature:
 *
 *   mse      (s/T - t/T)^2 over all elements
 *   cosine   1 - <s,t> / (|s||t|) of the flattened sample
 *   hint     mse after an adaptor (Romero et al. 2015) */
#include "passes/loss.h"

bool
loss_hint(const struct loss_in *in, struct loss *out)
{
	struct value *t = loss_mean_teacher(in), *s;

	if (!t || !adapt(in, t, &s, &t))
		return false;
	out->row = b_square(in->b, b_sub(in->b, s, t));
	return out->row != NULL;
}

bool
loss_mse(const struct loss_in *in, struct loss *out)
{
	struct build *b = in->b;
	struct value *s = in->student, *t;
	double temperature;

	if (in->nteachers == 0)
		t = loss_float_target(in);
	else if (in->term->adaptor)
		return loss_hint(in, out);
	else
		t = loss_same_shapes(in) ? loss_mean_teacher(in) : NULL;
	if (!t)
		return false;
	out->row = b_square(b, b_sub(b, s, t));
	if (!loss_is_fixed(in, "temperature", &temperature))
		out->row = b_div(b, out->row, b_square(b, loss_dial(in, "temperature")));
	else if (temperature != 1)
		out->row = b_muls(b, out->row, 1 / (temperature * temperature));
	return out->row != NULL;
}

bool
loss_cosine(const struct loss_in *in, struct loss *out)
{
	struct build *b = in->b;
	struct value *s = in->student, *t, *st, *ss, *tt, *norm;

	if (in->nteachers == 0) {
		t = loss_float_target(in);
	} else {
		t = loss_mean_teacher(in);
		if (t && in->term->adaptor && !adapt(in, t, &s, &t))
			return false;
		if (t && !in->term->adaptor && !loss_same_shapes(in))
			return false;
	}
	if (!t)
		return false;
	s = b_rows_flat(b, s);
	t = b_rows_flat(b, t);
	st = b_sum_classes(b, b_mul(b, s, t));
	ss = b_sum_classes(b, b_mul(b, s, s));
	tt = b_sum_classes(b, b_mul(b, t, t));
	norm = b_sqrt(b, b_max(b, b_mul(b, ss, tt), b_scalar(b, DT_f32, 1e-24)));
	out->row = b_sub(b, b_scalar(b, DT_f32, 1), b_div(b, st, norm));
	return out->row != NULL;
}
