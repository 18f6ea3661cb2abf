/* distill_turn -- which models a turn of the step trains, and the models that follow
 * others: averages of their weights, and what they were at the end of a stage. */
#include "passes/distill_int.h"

#include <string.h>

/* ---- what a turn trains */

/* The model that holds the weights. */
static struct made *
holder(struct distiller *x, struct made *m)
{
	return m->m->weights == WEIGHTS_SHARED ? distill_made(x, m->m->of->name) : m;
}

/* Gradients of a tensor of m reach its weights and what feeds it. */
static void
reach(struct distiller *x, struct made *m, bool *trains)
{
	if (!m)
		return; /* reported where the name is used */
	if (m->student)
		trains[holder(x, m) - x->made] = true;
	for (int i = 0; i < m->m->ninputs; i++)
		if (m->m->inputs[i].from && !m->m->inputs[i].detach)
			reach(x, distill_made(x, m->m->inputs[i].from), trains);
}

static void
reach_named(struct distiller *x, const char *name, bool *trains)
{
	reach(x, strchr(name, '.') ? distill_made(x, name) : &x->made[0], trains);
}

static bool
listed(const char *name, int n, const char *const *list)
{
	for (int i = 0; i < n; i++)
		if (strcmp(list[i], name) == 0)
			return true;
	return n == 0;
}

static void
reached(struct distiller *x, const struct distill_turn *turn, bool *trains)
{
	for (int i = 0; i < x->d->nterms; i++) {
		const struct distill_term *t = &x->d->terms[i];

		if (turn && !listed(t->name, turn->nterms, turn->terms))
			continue;
		for (int k = 0; k < t->nstudents; k++)
			reach_named(x, t->students[k], trains);
		for (int k = 0; t->through && k < t->nteachers; k++)
			reach_named(x, t->teachers[k], trains);
		for (int k = 0; k < x->d->ntasks && !t->nstudents && t->task; k++)
			if (strcmp(x->d->tasks[k].name, t->task) == 0)
				reach_named(x, x->d->tasks[k].head, trains);
	}
}

/* By model; those named, or those that the terms' student tensors depend on. */
void
distill_trains(struct distiller *x, const struct distill_turn *turn, bool *trains)
{
	int n = turn && turn->ntrains ? turn->ntrains : x->d->ntrains;
	const char *const *names = turn && turn->ntrains ? turn->trains : x->d->trains;

	if (n == 0)
		reached(x, turn, trains);
	for (int i = 0; i < n; i++) {
		struct made *m = distill_made(x, names[i]);

		if (m && m->student)
			trains[holder(x, m) - x->made] = true;
	}
}

bool
distill_in_turn(const struct distiller *x, const struct distill_term *t)
{
	return !x->turn || listed(t->name, x->turn->nterms, x->turn->terms);
}

/* Is the state named NAME the model's? */
static bool
has_state(struct distiller *x, const struct made *m, const char *name)
{
	size_t n = m->m->prefix ? strlen(m->m->prefix) : 0;

	if (!m->student || strncmp(name, m->m->prefix ? m->m->prefix : "", n) != 0)
		return false;
	for (int i = 0; i < m->src->states.n; i++)
		if (strcmp(distill_state_name(x->scratch, m->m, m->src->states.v[i]), name) == 0)
			return true;
	return false;
}

/* A model's states train with it; what a term owns, in that term's turns; others always. */
bool
distill_trains_state(struct distiller *x, const bool *trains, const struct value *state)
{
	bool others = false;

	for (int i = 0; i < x->nmade; i++)
		if (has_state(x, &x->made[i], state->name))
			return trains[holder(x, &x->made[i]) - x->made];
	for (int i = 0; i < x->d->nterms; i++) {
		const struct distill_term *t = &x->d->terms[i];
		const char *own = arena_printf(x->scratch, "adaptor.%s.", t->modules ? t->modules : t->name);

		if (str_starts(state->name, own) && distill_in_turn(x, t))
			return true;
		others |= str_starts(state->name, own);
	}
	return !others;
}

/* ---- models that follow others */

/* The state of the model at hand that stands for v, made where it is not there yet. */
static struct value *
own_state(struct distiller *x, const struct made *m, const struct value *v)
{
	const char *name = distill_state_name(x->g->arena, m->m, v);
	struct value *s = graph_state_find(x->g, name);

	if (!s) {
		s = graph_state(x->g, name, v->data, false);
		s->loc = v->loc;
	}
	return s;
}

/* e = D e + (1-D) w after each update, as the stage's averaged weights (passes/update.c):
 * with warm-up D is min(decay, (1+t)/(10+t)). */
static struct value *
averaged(struct build *b, const struct distill_model *m, struct value *step, struct value *e, struct value *w)
{
	struct value *rest = b_scalar(b, DT_f64, 1 - m->decay);

	if (m->warmup) /* 1 - (1+t)/(10+t) = 9/(10+t) */
		rest = b_max(b, rest, b_div(b, b_scalar(b, DT_f64, 9), b_adds(b, b_cast(b, step, DT_f64), 10)));
	return b_sub(b, e, b_mul(b, b_cast(b, rest, e->dtype), b_sub(b, e, w)));
}

static bool
follow(struct distiller *x, const struct made *m, struct value *step)
{
	struct build b = build_at(x->g, x->diag, LOC_NONE, "update");
	const struct distill_model *of = m->m->of;

	for (int i = 0; i < m->src->states.n; i++) {
		const struct value *v = m->src->states.v[i];
		struct value *base = graph_state_find(x->g, distill_state_name(x->scratch, of, v)), *mine, *now;

		if (!base || (m->m->weights == WEIGHTS_AVERAGE && !v->trainable))
			continue; /* this step has nothing to do with it; or the running statistics: theirs */
		mine = own_state(x, m, v);
		now = state_now(&b, base);
		if (m->m->weights == WEIGHTS_AVERAGE)
			now = averaged(&b, m->m, step, mine, now);
		if (!now)
			return false;
		if (now != mine)
			state_move(x->g, mine, now);
	}
	return true;
}

/* After the last turn. */
bool
distill_follow(struct distiller *x, struct value *step)
{
	bool ok = true;

	for (int i = 0; i < x->nmade; i++) {
		const struct distill_model *m = x->made[i].m;

		if (m->weights == WEIGHTS_AVERAGE || (m->weights == WEIGHTS_KEPT && m->keeps))
			ok &= follow(x, &x->made[i], step);
	}
	return ok;
}
