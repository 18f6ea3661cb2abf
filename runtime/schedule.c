/* schedule -- the learning rate as a function of the update's number
 * (docs/trainer-config.md has the formulas).  Computed in double from t alone, so
 * that a resumed run sees the same rates.  One row of schedule.def, one rate_ID. */
#include "runtime/config.h"

#include <math.h>
#include <string.h>

/* Where an update is: numbers of updates, t < total, but where t stands at the epoch's
 * start (by epoch). */
struct place {
	double t, total, per_epoch, warm;
	double scale; /* plateau's */
};

/* from a to b by a half cosine as x goes from 0 to 1 */
static double
ease(double a, double b, double x)
{
	return b + (a - b) * (1 + cos(M_PI * x)) / 2;
}

static double
straight(double a, double b, double x)
{
	return a + (b - a) * x;
}

/* epochs done, or updates */
static double
counted(const struct schedule *s, const struct place *p, double from)
{
	double n = p->t > from ? p->t - from : 0;

	return s->by_epoch ? floor(n / p->per_epoch) : n;
}

/* from 0 to 1 between the end of the warm-up and the end of the stage */
static double
progress(const struct place *p)
{
	if (p->total <= p->warm || p->t <= p->warm)
		return 0;
	return (p->t - p->warm) / (p->total - p->warm);
}

static double
rate_constant(const struct schedule *s, double lr, const struct place *p)
{
	(void)s, (void)p;
	return lr;
}

static double
rate_step(const struct schedule *s, double lr, const struct place *p)
{
	return lr * pow(s->gamma, floor(counted(s, p, 0) / s->step_size));
}

static double
rate_multistep(const struct schedule *s, double lr, const struct place *p)
{
	double n = counted(s, p, 0);

	for (int i = 0; i < s->nmilestones; i++)
		if ((double)s->milestones[i] <= n)
			lr *= s->gamma;
	return lr;
}

static double
rate_exponential(const struct schedule *s, double lr, const struct place *p)
{
	return lr * pow(s->gamma, counted(s, p, p->warm));
}

/* Over the whole stage, or in cycles of cycle_epochs, each cycle_mult times as long as
 * the one before (torch.optim.lr_scheduler.CosineAnnealingWarmRestarts). */
static double
rate_cosine(const struct schedule *s, double lr, const struct place *p)
{
	double length = s->cycle_epochs * p->per_epoch, at = p->t - p->warm;

	if (length <= 0)
		return ease(lr, s->min_lr, progress(p));
	if (at < 0)
		at = 0;
	if (s->cycle_mult > 1) { /* sum of the first n lengths: length (m^n - 1)/(m - 1) */
		double m = s->cycle_mult, n = floor(log1p(at / length * (m - 1)) / log(m) + 1e-9);

		at -= length * (pow(m, n) - 1) / (m - 1);
		length *= pow(m, n);
	} else {
		at = fmod(at, length);
	}
	return ease(lr, s->min_lr, at < 0 ? 0 : at / length);
}

static double
rate_linear(const struct schedule *s, double lr, const struct place *p)
{
	return straight(lr, s->min_lr, progress(p));
}

static double
rate_polynomial(const struct schedule *s, double lr, const struct place *p)
{
	return s->min_lr + (lr - s->min_lr) * pow(1 - progress(p), s->power);
}

/* torch.optim.lr_scheduler.OneCycleLR: value[0..3], each phase from one to the next */
static double
cycled(const struct schedule *s, const double *value, double t, double total)
{
	double (*go)(double, double, double) = s->anneal_strategy > 0 ? straight : ease;
	double end[3] = {s->pct_start * total - 1, total - 1, total - 1}, from = 0;
	int phases = s->three_phase > 0 ? 3 : 2;

	if (phases == 3)
		end[1] = 2 * s->pct_start * total - 2;
	for (int i = 0; i < phases; i++) {
		if (t <= end[i] || i == phases - 1)
			return go(value[i], value[i + 1],
			    end[i] > from ? fmin((t - from) / (end[i] - from), 1) : 1);
		from = end[i];
	}
	return value[phases];
}

static double
rate_onecycle(const struct schedule *s, double lr, const struct place *p)
{
	double top = s->max_lr > 0 ? s->max_lr : lr, low = top / s->div_factor;
	double least = low / s->final_div_factor;
	double value[4] = {low, top, s->three_phase > 0 ? low : least, least};

	return cycled(s, value, p->t, p->total);
}

double
schedule_momentum(const struct stage_config *c, int64_t t, int64_t total)
{
	const struct schedule *s = &c->schedule;
	double value[4] = {s->max_momentum, s->base_momentum, s->max_momentum, s->max_momentum};

	return cycled(s, value, (double)t, (double)total);
}

static double
rate_plateau(const struct schedule *s, double lr, const struct place *p)
{
	(void)s;
	return lr * p->scale;
}

static double (*const rates[])(const struct schedule *, double lr, const struct place *) = {
#define SCHEDULE(id, counts) [SCH_##id] = rate_##id,
#include "runtime/schedule.def"
};

double
schedule_lr(const struct stage_config *c, int64_t t, int64_t total, int64_t per_epoch, double scale)
{
	const struct schedule *s = &c->schedule;
	struct place p = {
	    (double)t, (double)total, per_epoch > 0 ? (double)per_epoch : 1, 0, scale};

	p.warm = round(s->warmup_epochs * p.per_epoch) + s->warmup_steps;
	if (p.warm > p.total)
		p.warm = p.total;
	if (p.t < p.warm && s->warmup_start < 0)
		return c->lr * (p.t + 1) / p.warm;
	if (p.t < p.warm)
		return c->lr * straight(s->warmup_start, 1, p.t / p.warm);
	if (s->by_epoch)
		p.t = floor(p.t / p.per_epoch) * p.per_epoch;
	return rates[s->kind](s, c->lr, &p);
}

/* torch.optim.lr_scheduler.ReduceLROnPlateau; sign 1: higher is better, -1: lower */
void
plateau_step(const struct stage_config *c, struct plateau *p, double value, int sign)
{
	const struct schedule *s = &c->schedule;
	double margin = s->threshold_mode > 0 ? s->threshold : p->best * s->threshold, next;

	if (isnan(p->best) ? !isnan(value)
	    : sign > 0	   ? value > p->best + margin
			   : value < p->best - margin) {
		p->best = value;
		p->bad = 0;
	} else {
		p->bad++;
	}
	if (p->cooldown > 0) {
		p->cooldown--;
		p->bad = 0;
	}
	if ((double)p->bad <= s->patience)
		return;
	next = fmax(p->scale * s->factor, c->lr > 0 ? s->min_lr / c->lr : 0);
	if (c->lr * (p->scale - next) > s->eps)
		p->scale = next;
	p->cooldown = (int64_t)s->cooldown;
	p->bad = 0;
}

/* ---- the line */
static const struct {
	const char *name;
	enum schedule_kind kind;
	bool by_epoch;
} kinds[] = {
#define EPOCH true
#define STEP false
#define SCHEDULE(id, counts) {#id, SCH_##id, counts},
#include "runtime/schedule.def"
#undef EPOCH
#undef STEP
};

static const struct {
	const char *of, *key;
	double otherwise, least, most;
	size_t at;
} keys[] = {
#define KEY(id, key, otherwise, least, most, kind, words)                                          \
	{#id, #key, otherwise, least, most, offsetof(struct schedule, key)},
#include "runtime/schedule.def"
};

bool
schedule_set(struct schedule *s, const char *kind)
{
	for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
		if (strcmp(kinds[i].name, kind) != 0)
			continue;
		s->kind = kinds[i].kind;
		s->by_epoch = kinds[i].by_epoch;
		for (size_t k = 0; k < sizeof keys / sizeof *keys; k++)
			if (strcmp(keys[k].of, kind) == 0)
				*(double *)((char *)s + keys[k].at) = keys[k].otherwise;
		return true;
	}
	return false;
}

double *
schedule_key(struct schedule *s, const char *kind, const char *key, double *least, double *most)
{
	for (size_t k = 0; k < sizeof keys / sizeof *keys; k++)
		if (strcmp(keys[k].of, kind) == 0 && strcmp(keys[k].key, key) == 0) {
			*least = keys[k].least;
			*most = keys[k].most;
			return (double *)((char *)s + keys[k].at);
		}
	return NULL;
}

bool
schedule_complete(const struct schedule *s, const char *kind)
{
	for (size_t k = 0; k < sizeof keys / sizeof *keys; k++)
		if (strcmp(keys[k].of, kind) == 0 &&
		    isnan(*(const double *)((const char *)s + keys[k].at)))
			return false;
	return true;
}
