/* distill -- the graphs of a recipe:
 *
 *   fields ──► inputs (cast, scale, normalise, pad, concat) ──► teachers ──┐
 *                                                         └──► student ──►┤
 *                                              targets ──────────────────►┴─► terms ─► loss
 *   loss ─► gradients of the trainable states ─► updates
 *
 * Every model is cloned whole; what no term reads is dropped at the end.  A batch
 * may hold the rows of several data sets one after the other: each value knows
 * which rows it is about by the fields it depends on, and a term sees the rows
 * that all its operands have. */
#include "passes/distill_int.h"

#include <stdlib.h>
#include <string.h>

/* num/den, 0 where nothing counts */
static struct value *
ratio(struct build *b, struct value *num, struct value *den)
{
	return b_div(b, num, b_max(b, den, b_scalar(b, DT_f32, 1e-30)));
}

/* times the term's weight and its task's */
static struct value *
weighted(const struct operands *o, struct value *mean)
{
	double w, task = o->task ? o->task->weight : 1;

	if (loss_is_fixed(&o->in, "weight", &w))
		return b_muls(o->in.b, mean, w * task);
	return b_muls(o->in.b, b_mul(o->in.b, mean, loss_dial(&o->in, "weight")), task);
}

static bool
graph_has_output(const struct graph *g, const char *name)
{
	for (int i = 0; i < g->outputs.n; i++)
		if (strcmp(g->output_names.v[i], name) == 0)
			return true;
	return false;
}

/* Is the task's target the class that the loss is about? */
static bool
reads_labels(const struct distill_term *t)
{
	const struct loss_info *l = &loss_info[loss_find(t->loss)];

	return l->target == LOSS_MUST && !l->features;
}

static bool
build_term(struct distiller *x, const struct distill_term *t)
{
	struct build b = distill_build(x, t->loc);
	const char *name = arena_printf(x->g->arena, "term.%s", t->name);
	struct operands o;
	struct loss l;
	struct value *num, *den, *mean;

	if (!distill_operands(x, &b, t, &o) || !loss_build(&o.in, &l))
		return false;
	if (reads_labels(t) && !distill_check_labels(x, &o))
		return false;
	if (l.total) {
		mean = l.total;
		den = loss_rows(&o.in);
		num = b_mul(&b, mean, den);
	} else if (x->d->mixed && !x->eval && o.in.target &&
		   (o.in.nteachers == 0 || l.labels)) {
		if (!distill_mixed_sums(x, &b, &o, &l, &num, &den))
			return false;
		mean = ratio(&b, num, den);
	} else {
		distill_sums(x, &b, o.rows, &l, &num, &den);
		mean = l.weight || x->eval ? ratio(&b, num, den) : b_div(&b, num, den);
	}
	if (!mean || !num)
		return false;
	if (x->eval)
		distill_output_sums(x, name, num, den);
	else if (!graph_has_output(x->g, name)) /* an earlier turn's */
		graph_output(x->g, name, mean);
	return distill_add_term(x, &b, t, o.task, weighted(&o, mean));
}

/* ---- the graphs */

/* No model is cloned yet. */
static void
fresh_models(struct distiller *x)
{
	for (int i = 0; i < x->nmade; i++) {
		struct made *m = &x->made[i];

		*m = (struct made){.m = m->m, .src = m->src ? m->src : m->m->graph, .student = i <= x->d->nstudents, .trained = m->trained};
	}
}

/* What the stage trains runs in training form; the rest, and everything else's, in
 * inference form. */
static void
choose_forms(struct distiller *x)
{
	bool *trains = arena_array(x->scratch, bool, x->nmade);

	for (int i = 0; i < x->d->nturns || i == 0; i++)
		distill_trains(x, x->d->nturns ? &x->d->turns[i] : NULL, trains);
	for (int i = 0; i < x->nmade; i++) {
		struct made *m = &x->made[i], *holder = m->m->weights == WEIGHTS_SHARED ? distill_made(x, m->m->of->name) : m;

		m->trained = trains[holder - x->made];
		if ((x->eval || x->d->batch_norm_frozen || !m->trained) && m->m->graph_eval)
			m->src = m->m->graph_eval;
	}
}

static void
start(struct distiller *x, struct arena *a, const struct distill *d, const char *what, bool eval,
    struct diag *diag)
{
	*x = (struct distiller){.d = d, .diag = diag, .eval = eval, .scratch = arena_create()};
	x->g = graph_create(a, arena_printf(a, "%s.%s", d->name ? d->name : "distill", what));
	x->field = arena_array(x->scratch, struct value *, d->nfields + 1);
	x->nmade = 1 + d->nstudents + d->nteachers;
	x->made = arena_array(x->scratch, struct made, x->nmade);
	for (int i = 0; i < x->nmade; i++)
		x->made[i].m = i == 0 ? &d->student : i <= d->nstudents ? &d->students[i - 1] : &d->teachers[i - 1 - d->nstudents];
	fresh_models(x);
	choose_forms(x);
}

/* Drops what nothing reads, inputs too. */
static struct graph *
finish(struct distiller *x, bool ok)
{
	struct graph *g = x->g;
	int *uses, keep = 0;

	if (ok) {
		pass_dce(g, NULL);
		uses = graph_use_counts(x->scratch, g);
		for (int i = 0; i < g->inputs.n; i++)
			if (uses[g->inputs.v[i]->id])
				g->inputs.v[keep++] = g->inputs.v[i];
		g->inputs.n = keep;
		for (int i = 0; i < keep && ok; i++)
			if (str_starts(g->inputs.v[i]->name, "$unfed."))
				ok = diag_invalid(x->diag, g->inputs.v[i]->loc,
				    "the terms of this set depend on input \"%s\", which its data does not feed",
				    g->inputs.v[i]->name + strlen("$unfed."));
	}
	arena_destroy(x->scratch);
	return ok ? g : NULL;
}

/* The teachers that terms read come before the student: a teacher's activations die as
 * it goes, but for what terms read, while the student's stay for backward. */
static bool
clone_teachers(struct distiller *x)
{
	bool ok = true;

	for (int i = 0; i < x->d->nteachers; i++) {
		const struct distill_model *m = &x->d->teachers[i];
		size_t len = strlen(m->name);
		bool read = false;

		if (m->nrecords)
			continue;
		for (int t = 0; t < x->d->nterms; t++)
			for (int k = 0; k < x->d->terms[t].nteachers && distill_in_turn(x, &x->d->terms[t]); k++) {
				const char *name = x->d->terms[t].teachers[k];

				read |= strncmp(name, m->name, len) == 0 && name[len] == '.' &&
					!distill_cached(m, name + len + 1);
			}
		if (read)
			ok &= distill_clone(x, &x->made[1 + x->d->nstudents + i]);
	}
	return ok;
}

/* Is its head the student's? */
static bool
task_of_student(const struct distiller *x, const char *task)
{
	for (int i = 0; i < x->d->ntasks; i++)
		if (strcmp(x->d->tasks[i].name, task) == 0)
			return str_starts(x->d->tasks[i].head, "student.") || !strchr(x->d->tasks[i].head, '.');
	return false;
}

/* Then the student: the order of a step's inputs is that of its models, not of its terms. */
static bool
clone_student(struct distiller *x)
{
	bool read = false;

	for (int i = 0; i < x->d->nterms; i++) {
		const struct distill_term *t = &x->d->terms[i];

		read |= distill_in_turn(x, t) && t->task && t->nstudents == 0 && task_of_student(x, t->task);
		for (int k = 0; k < t->nstudents; k++)
			read |= distill_in_turn(x, t) && !strchr(t->students[k], '.');
	}
	return !read || distill_clone(x, &x->made[0]);
}

static bool
check_names(struct distiller *x)
{
	bool ok = true;

	for (int i = 0; i < x->nmade; i++)
		ok &= distill_check_names(x, &x->made[i]);
	if (x->d->nterms == 0)
		ok = diag_invalid(
		    x->diag, LOC_NONE, "the recipe has no terms: nothing to train for");
	return ok;
}

/* Has a term asked for the model of this head?  Training runs none for metrics alone. */
static bool
runs(struct distiller *x, const char *head)
{
	const struct made *m = strchr(head, '.') ? distill_made(x, head) : &x->made[0];

	return !m || m->map;
}

/* The weighted sum of the terms of the turn at hand; metrics: of the tasks too. */
static struct value *
build_losses(struct distiller *x, bool metrics)
{
	bool ok = clone_teachers(x) & clone_student(x);

	x->tasks = NULL;
	x->rest = NULL;
	x->terms.n = 0;
	for (int i = 0; i < x->d->nterms; i++) {
		const struct distill_term *t = &x->d->terms[i];

		if (!distill_in_turn(x, t))
			continue;
		if (!x->eval || distill_evaluated(x, t))
			ok &= build_term(x, t);
		else
			diag_note(x->diag, t->loc,
			    "term \"%s\" is no part of evaluations: the files of its teacher are not of every split",
			    t->name);
	}
	for (int i = 0; i < x->d->ntasks && metrics; i++)
		if (x->eval || runs(x, x->d->tasks[i].head))
			ok &= distill_metrics(x, &x->d->tasks[i]);
	return ok ? distill_total(x) : NULL;
}

static bool
frozen(const struct distill *d, const struct value *v)
{
	for (int i = 0; i < d->nfrozen; i++)
		if (str_glob(d->frozen[i], v->name))
			return true;
	return false;
}

/* What trains: trainable, not frozen by name or group, and not the forward pass's own to
 * update; with the groups. */
static bool
choose(struct distiller *x, struct value **params, int *group, int *n)
{
	struct graph *g = x->g;
	struct build b = build_at(g, x->diag, LOC_NONE, "update");
	const struct update_rule *u = &x->d->update;
	bool *trains = arena_array(x->scratch, bool, x->nmade);
	int all = 0;

	distill_trains(x, x->turn, trains);
	for (int i = 0; i < g->states.n; i++)
		if (g->states.v[i]->trainable && distill_trains_state(x, trains, g->states.v[i]))
			params[all++] = state_now(&b, g->states.v[i]);
	if (!update_groups(u, all, params, group, x->diag))
		return false;
	*n = 0;
	for (int i = 0; i < all; i++) {
		if (frozen(x->d, params[i]) ||
		    (group[i] < u->ngroups && u->groups[group[i]].frozen))
			continue;
		params[*n] = params[i];
		group[(*n)++] = group[i];
	}
	return true;
}

/* What should train and cannot, in one message. */
static void
warn_of_idle(struct distiller *x, int n, struct value *const *params, struct value *const *grads)
{
	const struct value *first = NULL;
	struct str s = {0};
	int idle = 0;

	for (int i = 0; i < n; i++) {
		if (grads[i])
			continue;
		first = first ? first : params[i];
		if (idle++ < 12)
			str_addf(&s, "%s\"%s\"", idle > 1 ? ", " : "", params[i]->name);
	}
	if (idle > 12)
		str_addf(&s, " and %d more", idle - 12);
	if (idle)
		diag_warn(x->diag, first->loc,
		    "parameter%s %s receive%s no gradient: no term depends on %s; `frozen` says that this is meant",
		    idle > 1 ? "s" : "", s.s, idle > 1 ? "" : "s", idle > 1 ? "them" : "it");
	str_free(&s);
}

static bool
train(struct distiller *x, struct value *loss)
{
	struct graph *g = x->g;
	int n = 0, total = g->states.n;
	struct value **params = arena_array(x->scratch, struct value *, total + 1);
	struct value **grads = arena_array(x->scratch, struct value *, total + 1);
	int *group = arena_array(x->scratch, int, total + 1);
	struct update_inputs in = {0};
	struct build at = build_at(g, x->diag, LOC_NONE, "update");
	bool any = false;

	if (!choose(x, params, group, &n) || !distill_gradients(x, loss, n, params, grads))
		return false;
	for (int i = 0; i < n; i++)
		any |= grads[i] != NULL;
	if (any && !x->d->partial)
		warn_of_idle(x, n, params, grads);
	if (!any)
		return diag_invalid(x->diag, LOC_NONE,
		    n ? "no term depends on any parameter of the student"
		      : "the student has no parameter to train");
	in.lr = distill_input(g, "$lr", DT_f32, 0, NULL);
	in.step = distill_input(g, "$step", DT_i64, 0, NULL);
	if (x->d->update.accumulate < 2)
		in.step = distill_step(x, &at, in.step);
	if (x->d->update.accumulate > 1) {
		struct build b = build_at(g, x->diag, LOC_NONE, "update");

		/* what this set's step does not move another one of the window may */
		for (int i = 0; i < n && x->d->partial; i++)
			grads[i] = grads[i] ? grads[i] : b_zeros_like(&b, params[i]);
		in.micro = distill_input(g, "$micro", DT_i64, 0, NULL);
		in.micros = distill_input(g, "$micros", DT_i64, 0, NULL);
	}
	if (x->d->update.cycle_momentum)
		in.momentum = distill_input(g, "$momentum", DT_f64, 0, NULL);
	if (x->d->update.optimizer.dot_delta > 0 &&
	    !(in.distilled = distill_from_teachers(x, n, params, grads)))
		return false;
	return update_build(g, &x->d->update, &in, n, params, group, grads, x->diag) &&
	       distill_task_updates(x, &in);
}

/* An output that later turns add to. */
static void
add_output(struct distiller *x, const char *name, struct value *v)
{
	struct build b = distill_build(x, LOC_NONE);

	for (int i = 0; i < x->g->outputs.n; i++)
		if (strcmp(x->g->output_names.v[i], name) == 0) {
			x->g->outputs.v[i] = b_add(&b, x->g->outputs.v[i], v);
			return;
		}
	graph_output(x->g, name, v);
}

/* One turn: the models as the turns before left them, its terms, its updates. */
static bool
take_turn(struct distiller *x, bool first)
{
	struct value *loss;

	fresh_models(x);
	x->outside = NULL;
	loss = build_losses(x, first);
	if (!loss)
		return false;
	if (x->outside)
		add_output(x, "check.labels", x->outside);
	if (x->repeat == 0)
		add_output(x, "loss", loss);
	return train(x, loss);
}

struct graph *
distill_train_graph(struct arena *a, const struct distill *d, struct diag *diag)
{
	struct distiller x;
	bool ok;

	start(&x, a, d, "train", false, diag);
	ok = check_names(&x);
	if (d->nturns == 0)
		ok = ok && take_turn(&x, true);
	for (int i = 0; i < d->nturns; i++) {
		x.turn = &d->turns[i];
		for (x.repeat = 0; ok && x.repeat < x.turn->times; x.repeat++)
			ok = take_turn(&x, i == 0 && x.repeat == 0);
	}
	ok = ok && distill_follow(&x, distill_input(x.g, "$step", DT_i64, 0, NULL));
	return finish(&x, ok);
}

struct graph *
distill_share_graph(struct arena *a, const struct distill *d, struct diag *diag)
{
	struct distiller x;
	struct value *loss, **params;
	int *group, n = 0;
	bool ok;

	start(&x, a, d, "share", false, diag);
	loss = check_names(&x) ? build_losses(&x, false) : NULL;
	params = arena_array(x.scratch, struct value *, x.g->states.n + 1);
	group = arena_array(x.scratch, int, x.g->states.n + 1);
	ok = loss && choose(&x, params, group, &n);
	x.g->outputs.n = x.g->output_names.n = 0;
	ok = ok && distill_shares(&x, loss, n, params);
	x.g->updates.n = 0;
	return finish(&x, ok);
}

struct graph *
distill_eval_graph(struct arena *a, const struct distill *d, struct diag *diag)
{
	struct distiller x;
	struct value *loss, *rows;
	bool ok;

	start(&x, a, d, "eval", true, diag);
	loss = check_names(&x) ? build_losses(&x, true) : NULL;
	if (loss && x.outside)
		graph_output(x.g, "check.labels", x.outside);
	if (loss) {
		struct build b = distill_build(&x, LOC_NONE);

		rows = b_reduce_all(&b, OP_reduce_sum, distill_valid(&x));
		loss = b_mul(&b, loss, rows);
		if (loss)
			distill_output_sums(&x, "loss", loss, rows);
	}
	ok = loss != NULL;
	return finish(&x, ok);
}

/* The teacher's output that `name` stands for, once; names of other teachers are passed by. */
static bool
teacher_output(struct distiller *x, struct made *m, const char *name, struct loc loc)
{
	struct build b = distill_build(x, loc);
	const char *out = arena_printf(x->g->arena, "$teacher.%s", name);
	size_t len = strlen(m->m->name);
	struct value *v;

	if (strncmp(name, m->m->name, len) != 0 || name[len] != '.' || !distill_cached(m->m, name + len + 1))
		return true;
	if (graph_has_output(x->g, out))
		return true;
	v = distill_named(x, m, name + len + 1, loc);
	if (v)
		graph_output(x->g, out, b_cast(&b, m->map[v->id], DT_f32));
	return v != NULL;
}

/* Is the output about auxiliary tasks only? */
static bool
auxiliary(const struct distill *d, const char *output)
{
	bool any = false;

	for (int i = 0; i < d->ntasks; i++) {
		const char *head = d->tasks[i].head;

		if (str_starts(head, "student."))
			head += strlen("student.");
		if (strcmp(head, output) != 0)
			continue;
		if (!d->tasks[i].auxiliary)
			return false;
		any = true;
	}
	return any;
}

struct graph *
distill_infer_graph(struct arena *a, const struct distill *d, struct diag *diag)
{
	struct distiller x;
	bool ok;

	start(&x, a, d, "infer", true, diag);
	ok = distill_clone(&x, &x.made[0]);
	for (int i = 0; ok && i < d->student.noutputs; i++) {
		const struct distill_name *n = &d->student.names[i];
		struct value *v = distill_named(&x, &x.made[0], n->name, n->loc);

		if (v && !auxiliary(d, n->name))
			graph_output(x.g, n->name, x.made[0].map[v->id]);
		ok = v != NULL;
	}
	return finish(&x, ok);
}

static struct made *
start_teacher(struct distiller *x, struct arena *a, const struct distill *d, int teacher, struct diag *diag)
{
	start(x, a, d, d->teachers[teacher].name, true, diag);
	return &x->made[1 + d->nstudents + teacher];
}

struct graph *
distill_outputs_graph(struct arena *a, const struct distill *d, int teacher, struct diag *diag)
{
	struct distiller x;
	struct made *m = start_teacher(&x, a, d, teacher, diag);
	bool ok = distill_clone(&x, m);

	for (int i = 0; ok && i < m->m->noutputs; i++) {
		const struct distill_name *n = &m->m->names[i];
		struct build b = distill_build(&x, n->loc);
		struct value *v = distill_named(&x, m, n->name, n->loc);

		if (v)
			graph_output(x.g, arena_printf(a, "%s.%s", m->m->name, n->name), b_cast(&b, m->map[v->id], DT_f32));
		ok = v != NULL;
	}
	return finish(&x, ok);
}

struct graph *
distill_teacher_graph(struct arena *a, const struct distill *d, int teacher, struct diag *diag)
{
	struct distiller x;
	struct made *m = start_teacher(&x, a, d, teacher, diag);
	bool ok = distill_clone(&x, m);

	for (int i = 0; ok && i < d->nterms; i++)
		for (int k = 0; ok && k < d->terms[i].nteachers; k++)
			ok = teacher_output(&x, m, d->terms[i].teachers[k], d->terms[i].loc);
	for (int i = 0; ok && i < d->ntasks; i++)
		for (int k = 0; ok && k < d->tasks[i].nmetrics; k++)
			if (d->tasks[i].metrics[k].teacher)
				ok = teacher_output(&x, m, d->tasks[i].metrics[k].teacher, d->tasks[i].loc);
	return finish(&x, ok);
}
