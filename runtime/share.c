/* share -- of each term the share of the gradient's norm, measured after an epoch on some of
 * its batches by a program that changes nothing; the norm of a term is its gradient's over
 * all parameters that train, by its weight and its task's as they are then. */
#include "runtime/trainer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define PREFIX "grad_share."
enum { SHARE_BATCHES = 4 };

static bool
oom(struct run *r)
{
	return rt_fail(&r->msg, RT_INTERNAL, "out of memory");
}

bool
shares_open(struct run *r)
{
	r->shares = region_alloc(&r->region, sizeof *r->shares * (size_t)r->t->nstages);
	if (!r->shares)
		return oom(r);
	for (int i = 0; i < r->t->nstages; i++) {
		struct share *s = &r->shares[i];
		const struct rt_program *p = r->t->stages[i].share;

		if (!p)
			continue;
		s->norm = region_alloc(&r->region, sizeof *s->norm * (size_t)(p->noutputs + 1));
		if (!s->norm)
			return oom(r);
		if (!exec_open(&s->e, p, r))
			return false;
		batches_train(&r->batches, 0); /* its buffers, before the first step */
		if (!exec_fill(&s->e, r, SPLIT_TRAIN, true))
			return false;
	}
	return true;
}

void
shares_close(struct run *r)
{
	for (int i = 0; r->shares && i < r->t->nstages; i++)
		exec_close(&r->shares[i].e);
}

/* The norms of the batch at this position of the training. */
static bool
measure(struct run *r, struct share *s, int64_t position)
{
	struct exec *e = &s->e;

	batches_train(&r->batches, position);
	if (!exec_fill(e, r, SPLIT_TRAIN, true))
		return false;
	exec_numbers(e, r, r->batches.valid, 0, r->cur.updates > 0 ? r->cur.updates : 1);
	exec_run(e, r);
	for (int i = 0; i < e->p->noutputs; i++)
		if (strncmp(e->p->outputs[i].name, PREFIX, strlen(PREFIX)) == 0)
			s->norm[i] += exec_output(e, i);
	return true;
}

bool
shares_epoch(struct run *r, struct record *x)
{
	struct share *s = &r->shares[r->cur.stage];
	int64_t per_epoch = r->batches.per_epoch,
		n = per_epoch < SHARE_BATCHES ? per_epoch : SHARE_BATCHES;
	const struct rt_program *p = s->e.p;
	double sum = 0;

	if (!p)
		return true;
	memset(s->norm, 0, sizeof *s->norm * (size_t)p->noutputs);
	s->e.base[2] = r->states.data;
	for (int64_t i = per_epoch - n; i < per_epoch; i++)
		if (!measure(r, s, r->cur.total_epochs * per_epoch + i))
			return false;
	for (int i = 0; i < p->noutputs; i++)
		sum += s->norm[i];
	for (int i = 0; i < p->noutputs; i++)
		if (strncmp(p->outputs[i].name, PREFIX, strlen(PREFIX)) == 0 &&
		    !record_add(x, p->outputs[i].name, s->norm[i] / sum))
			return oom(r);
	return true;
}
