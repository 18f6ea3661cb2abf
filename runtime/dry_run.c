/* dry_run -- --dry-run: what the run would be, after everything was read and checked. */
#include "runtime/trainer.h"

#include <math.h>
#include <string.h>

static void
print_flops(const struct run *r, int64_t stage)
{
	static const char *const names[NPHASES] = {
	    "teachers", "student forward", "losses", "backward", "update"};
	const struct stage_config *s = &r->stages[stage];
	double sum = 0;

	for (int i = 0; i < NPHASES; i++)
		sum += s->flops[i];
	printf("  FLOPs per step    %.4g\n", sum);
	for (int i = 0; i < NPHASES; i++)
		if (s->flops[i] > 0)
			printf("    %-15s %.4g (%.1f %%)\n", names[i], s->flops[i],
			    100 * s->flops[i] / sum);
}

static void
print_parameters(const struct run *r, int64_t stage)
{
	const struct stage_config *s = &r->stages[stage];
	int64_t all = parameter_count(r);

	printf("  parameters        %lld: %lld trained, %lld frozen, %lld running statistics\n",
	    (long long)all, (long long)s->trained, (long long)(all - s->trained - s->running),
	    (long long)s->running);
}

/* The learning rate at some epochs' begin, and of the last update. */
static void
print_schedule(const struct run *r, int64_t stage)
{
	enum { POINTS = 8 };
	const struct stage_config *s = &r->stages[stage];
	int64_t per_epoch = run_epoch_updates(r, stage), total = s->epochs * per_epoch, before = -1;

	printf("    lr at epoch      ");
	for (int i = 0; i <= POINTS; i++) {
		int64_t t = i == POINTS ? total - 1 : total * i / POINTS;

		if (i < POINTS && s->epochs >= POINTS)
			t -= t % per_epoch;
		if (t == before || t < 0)
			continue;
		before = t;
		printf("%s%.3g: %.3g", i ? "  " : "", (double)t / (double)per_epoch,
		    schedule_lr(s, t, total, per_epoch, 1));
	}
	printf("\n");
}

static void
print_stage(const struct run *r, int64_t stage)
{
	const struct stage_config *s = &r->stages[stage];

	printf("  stage %-11s %lld epochs, %lld updates\n", s->name, (long long)s->epochs,
	    (long long)(s->epochs * run_epoch_updates(r, stage)));
	if (s->accumulate > 1)
		printf("    of %lld batches each\n", (long long)s->accumulate);
	print_schedule(r, stage);
	for (int i = 0; i < s->nweights; i++)
		printf("    term %-12s weight %g\n", s->weights[i].term, s->weights[i].weight);
}

static void
print_data(const struct run *r)
{
	printf("  batch             %lld, %lld steps an epoch\n", (long long)r->cfg.batch,
	    (long long)r->batches.per_epoch);
	for (int s = 0; s < r->data.nsets; s++)
		for (int k = 0; k < NSPLITS; k++) {
			char name[64];

			snprintf(
			    name, sizeof name, "%.40s %s", r->cfg.sets[s].name, split_names[k]);
			if (r->data.sets[s].split[k].n > 0)
				printf("  %-17s %lld samples\n", name,
				    (long long)r->data.sets[s].split[k].n);
		}
}

/* Numbers of the evaluation, by the names that metrics.jsonl has. */
static void
print_metrics(const struct run *r)
{
	const struct rt_program *p = r->t->eval;
	bool any = false;

	for (int i = 0; p && i < p->noutputs; i++) {
		const char *name = p->outputs[i].name;
		size_t n = strlen(name);

		if (strncmp(name, "metric.", 7) != 0 ||
		    (n > 4 && strcmp(name + n - 4, ".den") == 0))
			continue;
		n -= n > 4 && strcmp(name + n - 4, ".num") == 0 ? 4 : 0;
		printf("%s%.*s", any ? ", " : "  metrics           ", (int)n - 7, name + 7);
		any = true;
	}
	if (any)
		printf("\n");
	if (dataset_has(&r->data, SPLIT_VAL))
		printf("  best by           %s%s\n",
		    r->cfg.monitor ? r->cfg.monitor : "the first metric of val, or val.loss",
		    r->cfg.restore_best ? "" : " (the last weights are exported)");
	if (r->cfg.patience > 0)
		printf("  early stop        after %lld epochs without a gain above %g\n",
		    (long long)r->cfg.patience, r->cfg.min_delta);
}

bool
dry_run(struct run *r)
{
	struct memory_plan plan;

	printf("%s: everything is in order\n", r->cfg.name);
	for (int i = 0; i < r->t->nstages; i++) {
		if (r->t->nstages > 1)
			printf("  in stage %s\n", r->stages[i].name);
		print_parameters(r, i);
		print_flops(r, i);
	}
	memory_settle(r);
	memory_plan(r, &plan);
	memory_print(stdout, &plan);
	print_data(r);
	for (int i = 0; i < r->t->nstages; i++)
		print_stage(r, i);
	print_metrics(r);
	return true;
}
