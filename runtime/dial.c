/* dial -- numbers of a step that change in training: a term's weight or temperature, a
 * loss's setting, a task's weight.  Functions of how many epochs of the stage are done,
 * so that a resumed run sees the same ones (docs/trainer-config.md has the formulas). */
#include "runtime/trainer.h"

#include <math.h>
#include <string.h>

static const char *const curves[] = {"fixed", "linear", "cosine", "exponential", "step"};

bool
dial_curve(const char *word, enum curve *curve)
{
	for (size_t i = 0; i < sizeof curves / sizeof *curves; i++)
		if (strcmp(curves[i], word) == 0) {
			*curve = (enum curve)i;
			return true;
		}
	return false;
}

double
dial_value(const struct cfg_dial *d, double epochs)
{
	double x;

	if (d->curve == CURVE_FIXED || epochs < d->begin)
		return d->from;
	if (epochs >= d->end)
		return d->to;
	x = (epochs - d->begin) / (d->end - d->begin);
	switch (d->curve) {
	case CURVE_LINEAR:
		return d->from + (d->to - d->from) * x;
	case CURVE_COSINE:
		return d->from + (d->to - d->from) * (1 - cos(M_PI * x)) / 2;
	case CURVE_EXPONENTIAL:
		return d->from * pow(d->to / d->from, x);
	default:
		return d->from;
	}
}

const struct cfg_dial *
dial_find(const struct stage_config *s, const char *name)
{
	for (int i = 0; i < s->ndials; i++)
		if (strcmp(s->dials[i].name, name) == 0)
			return &s->dials[i];
	return NULL;
}

double
run_epochs(const struct run *r)
{
	return (double)r->cur.epoch + (double)r->cur.step / (double)r->batches.per_epoch;
}

/* The evaluation is the last stage's: what the stage at hand does not turn stands as that
 * stage will find it. */
double
run_dial(const struct run *r, const char *name)
{
	const struct cfg_dial *d = dial_find(&r->stages[r->cur.stage], name);

	if (d)
		return dial_value(d, run_epochs(r));
	for (int i = r->t->nstages - 1; i >= 0; i--)
		if ((d = dial_find(&r->stages[i], name)))
			return dial_value(d, i < r->cur.stage ? INFINITY : 0);
	return NAN;
}

bool
run_has_dial(const struct run *r, const char *name)
{
	for (int i = 0; i < r->t->nstages; i++)
		if (dial_find(&r->stages[i], name))
			return true;
	return false;
}
