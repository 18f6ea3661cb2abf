/* schedule -- the learning rate as a function of the update's number
 * (docs/trainer-config.md has the formulas).  Computed in double from t alone, so
 * that a resumed run sees the same rates. */
#include "runtime/config.h"

#include <math.h>

/* from a to b by a half cosine as x goes from 0 to 1 */
static double
ease(double a, double b, double x)
{
	return b + (a - b) * (1 + cos(M_PI * x)) / 2;
}

static double
onecycle(double most, int64_t t, int64_t total)
{
	double up = 0.3 * (double)total, x = (double)t;

	if (x < up)
		return ease(most / 25, most, x / up);
	return ease(most, most / 250000, (x - up) / ((double)total - up));
}

double
schedule_lr(const struct stage_config *s, int64_t t, int64_t total, int64_t per_epoch, double scale)
{
	int64_t warm = (int64_t)llround(s->warmup_epochs * (double)per_epoch);
	int64_t epoch = per_epoch > 0 ? t / per_epoch : 0;
	double x = total > warm ? (double)(t - warm) / (double)(total - warm) : 0, lr = s->lr;

	if (warm > total)
		warm = total;
	if (t < warm)
		return s->lr * (double)(t + 1) / (double)warm;
	switch (s->kind) {
	case SCH_CONSTANT:
		return lr;
	case SCH_STEP:
		return lr * pow(s->gamma, (double)(epoch / s->step_epochs));
	case SCH_MULTISTEP:
		for (int i = 0; i < s->nmilestones; i++)
			if (s->milestones[i] <= epoch)
				lr *= s->gamma;
		return lr;
	case SCH_COSINE:
		return ease(lr, s->min_lr, x);
	case SCH_LINEAR:
		return lr + (s->min_lr - lr) * x;
	case SCH_ONECYCLE:
		return onecycle(s->max_lr, t, total);
	case SCH_PLATEAU:
		return lr * scale;
	}
	return lr;
}
