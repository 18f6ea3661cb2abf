/* recipe_metric -- metrics that a recipe has without listing them. */
#include "frontend/recipe_int.h"

#include "host/metric.h"

/* Does the term compare the task's head with a teacher's logits? */
static bool
teaches(const struct recipe_term *t, const char *task)
{
	int loss = loss_find(t->loss);

	return t->task && strcmp(t->task, task) == 0 && t->nteachers > 0 && t->nstudents == 0 &&
	       loss >= 0 && !loss_info[loss].features;
}

static bool
is_taught(const struct recipe *r, const char *task)
{
	for (int i = 0; i < r->nterms; i++)
		if (teaches(&r->terms[i], task))
			return true;
	for (int s = 0; s < r->nstages; s++)
		for (int i = 0; i < r->stages[s].nterms; i++)
			if (teaches(&r->stages[s].terms[i], task))
				return true;
	return false;
}

void
recipe_agreement(struct arena *a, struct recipe *r)
{
	int number, id = metric_find("agreement", 9, &number);

	for (int i = 0; i < r->ntasks; i++) {
		struct recipe_task *t = &r->tasks[i];
		struct recipe_metric *m = arena_array(a, struct recipe_metric, t->nmetrics + 1);
		bool has = false;

		for (int k = 0; k < t->nmetrics; k++)
			has |= t->metrics[k].id == id;
		if (has || !is_taught(r, t->name))
			continue;
		if (t->nmetrics)
			memcpy(m, t->metrics, sizeof *m * (size_t)t->nmetrics);
		m[t->nmetrics++] = (struct recipe_metric){.name = "agreement", .id = id};
		t->metrics = m;
	}
}
