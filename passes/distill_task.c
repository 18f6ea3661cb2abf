/* distill_task -- terms into tasks, tasks into the loss and its gradients.
 *
 * L_k is the sum of the terms of task k by their weights, v_k what multiplies it (ir/task.def);
 * terms without a task are added as they are.  Of v_k that the step finds itself, s_k and w_k
 * are states task.NAME.log_variance and task.NAME.weight:
 *
 *   uncertainty  v_k = exp(-s_k)/2, the loss has + s_k/2, s_k learns with the rest and stays
 *                within +-clamp (Kendall, Gal, Cipolla 2018, with s = log sigma^2)
 *   gradnorm     v_k = w_k, which goes against sign(G_k - mean(G) r_k^alpha) |grad L_k|:
 *                G_k = w_k |grad L_k| by the layer's parameters, r_k = (L_k/L_k0) / their mean,
 *                L_k0 the first loss of the stage; the sum of w stays (Chen et al. 2018) */
#include "passes/distill_int.h"
#include "passes/task_gradient.h"

#include <math.h>
#include <string.h>

static struct value *
plus(struct build *b, struct value *sum, struct value *v)
{
	return sum ? b_add(b, sum, v) : v;
}

static struct value *
times(struct build *b, struct value *v, struct value *weight)
{
	return weight ? b_mul(b, v, weight) : v;
}

bool
distill_add_term(struct distiller *x, struct build *b, const struct distill_term *t,
    const struct distill_task *task, struct value *loss)
{
	struct weighed_term w = {t, task ? (int)(task - x->d->tasks) : -1, loss};
	struct value **sum;

	if (!loss)
		return false;
	if (!x->tasks)
		x->tasks = arena_array(x->scratch, struct task_part, x->d->ntasks + 1);
	vec_push(x->scratch, &x->terms, w);
	sum = task ? &x->tasks[w.task].loss : &x->rest;
	*sum = plus(b, *sum, loss);
	return *sum != NULL;
}

static struct value *
task_output(struct distiller *x, const char *what, int task, struct value *v)
{
	graph_output(x->g, arena_printf(x->g->arena, "%s.%s", what, x->d->tasks[task].name), v);
	return v;
}

static struct value *
task_state(struct distiller *x, int task, const char *what, double v)
{
	struct tensor *t = tensor_new(x->g->arena, DT_f32, 0, NULL);

	dtype_put_f(DT_f32, t->data, 0, v);
	return graph_state(
	    x->g, arena_printf(x->g->arena, "task.%s.%s", x->d->tasks[task].name, what), t, false);
}

/* ---- weights: of a task that has a loss; v_k, or NULL for 1 */

static void
weigh_input(struct distiller *x, struct build *b, int k)
{
	const struct distill_task *t = &x->d->tasks[k];
	bool held =
	    x->eval && x->d->balance.weights != TASKS_curve && x->d->balance.weights != TASKS_fixed;

	(void)b;
	if (t->turned && !held)
		x->tasks[k].weight = distill_input(
		    x->g, arena_printf(x->g->arena, "$task.%s", t->name), DT_f32, 0, NULL);
}

static void
weigh_uncertainty(struct distiller *x, struct build *b, int k)
{
	double init = x->d->tasks[k].initial;
	struct task_part *p = &x->tasks[k];

	if (x->eval)
		return;
	p->state = task_state(x, k, "log_variance", init > 0 ? -log(2 * init) : 0);
	p->weight = b_muls(b, b_exp(b, b_neg(b, p->state)), 0.5);
	x->rest = plus(b, x->rest, b_muls(b, p->state, 0.5));
}

static void
weigh_gradnorm(struct distiller *x, struct build *b, int k)
{
	double init = x->d->tasks[k].initial;

	(void)b;
	if (!x->eval)
		x->tasks[k].weight = x->tasks[k].state =
		    task_state(x, k, "weight", init > 0 ? init : 1);
}

static void (*const weigh[])(struct distiller *, struct build *, int) = {
#define WEIGH_NUMBER(id) weigh_input
#define WEIGH_EPOCH(id) weigh_input
#define WEIGH_STEP(id) weigh_##id
#define TASK_WEIGHTS(id, by) [TASKS_##id] = WEIGH_##by(id),
#include "ir/task.def"
};

struct value *
distill_total(struct distiller *x)
{
	struct build b = distill_build(x, LOC_NONE);
	bool says = !x->eval && x->d->balance.weights != TASKS_fixed;
	struct value *total;

	if (!x->terms.n) /* an evaluation that no term is part of */
		return b_scalar(&b, DT_f32, 0);
	for (int k = 0; k < x->d->ntasks; k++) {
		struct task_part *p = &x->tasks[k];

		if (!p->loss)
			continue;
		weigh[x->d->balance.weights](x, &b, k);
		if (says)
			task_output(x, "task_loss", k, p->loss);
		if (p->state)
			task_output(x, "task_weight", k, p->weight);
	}
	total = x->rest;
	for (int k = 0; k < x->d->ntasks; k++)
		if (x->tasks[k].loss)
			total = plus(&b, total, times(&b, x->tasks[k].loss, x->tasks[k].weight));
	return total;
}

/* ---- gradients */

/* What a loss depends on, by value id. */
static bool *
needs(struct distiller *x, const struct value *loss)
{
	const struct graph *g = x->g;
	bool *need = arena_array(x->scratch, bool, g->nvalue + 1);

	need[loss->id] = true;
	for (int i = g->nodes.n - 1; i >= 0; i--) {
		const struct node *n = g->nodes.v[i];
		bool any = false;

		for (int o = 0; o < n->nout && !n->dead; o++)
			any |= n->out[o] && need[n->out[o]->id];
		for (int k = 0; any && k < n->nin; k++)
			if (n->in[k])
				need[n->in[k]->id] = true;
	}
	return need;
}

static struct loc
balance_loc(const struct distiller *x)
{
	return x->d->balance.loc;
}

/* The terms that learn from teachers, by all their weights; NULL: none. */
static struct value *
taught(struct distiller *x)
{
	struct build b = distill_build(x, LOC_NONE);
	struct value *sum = NULL;

	for (int i = 0; i < x->terms.n; i++) {
		const struct weighed_term *t = &x->terms.v[i];

		if (t->term->nteachers > 0)
			sum = plus(&b, sum,
			    times(&b, t->loss, t->task < 0 ? NULL : x->tasks[t->task].weight));
	}
	return sum;
}

/* The losses that a step differentiates apart: of each task, plain and weighted, and
 * what belongs to none; they stand as outputs while the graph is rewritten. */
struct apart {
	int n;
	int *task;
	struct value **loss, **weighted, *total, *rest, *taught; /* the last two may be NULL */
};

static void
take_apart(struct distiller *x, struct value *total, struct apart *a)
{
	struct build b = distill_build(x, LOC_NONE);

	*a = (struct apart){.rest = x->rest, .total = total};
	a->task = arena_array(x->scratch, int, x->d->ntasks + 1);
	a->loss = arena_array(x->scratch, struct value *, x->d->ntasks + 1);
	a->weighted = arena_array(x->scratch, struct value *, x->d->ntasks + 1);
	for (int k = 0; k < x->d->ntasks; k++) {
		struct task_part *p = &x->tasks[k];

		if (!p->loss)
			continue;
		a->task[a->n] = k;
		a->loss[a->n] = p->loss;
		a->weighted[a->n++] = times(&b, p->loss, p->weight);
	}
}

static struct value **
held(struct apart *a, int i)
{
	if (i < 2 * a->n)
		return i < a->n ? &a->loss[i] : &a->weighted[i - a->n];
	i -= 2 * a->n;
	if (i > 0 && !a->rest)
		i++;
	return i == 0 ? &a->total : i == 1 ? &a->rest : i == 2 && a->taught ? &a->taught : NULL;
}

/* What no term reads of the student is not differentiated either. */
static bool
narrow(struct distiller *x, struct apart *a, int n, struct value **params)
{
	struct graph *g = x->g;
	int first = g->outputs.n;
	bool ok;

	for (int i = 0; held(a, i); i++)
		graph_output(g, "$held", *held(a, i));
	ok = grad_expand_path(g, &a->total, n, params, x->diag) && simplify_slices(g, x->diag);
	for (int i = 0; held(a, i); i++)
		*held(a, i) = g->outputs.v[first + i];
	g->outputs.n = g->output_names.n = first;
	return ok;
}

/* Of each task on its own, then together (task_gradient.c); what belongs to no task is
 * added. */
static bool
mixed(struct distiller *x, struct apart *a, int n, struct value **params, struct value **grads)
{
	struct build b = build_at(x->g, x->diag, LOC_NONE, "grad");
	struct mixing how = {x->d->balance.gradients, x->d->balance.normalize, a->weighted};
	struct value ***each = arena_array(x->scratch, struct value **, a->n + 1), *c[MAX_MIXED],
		     *against;

	if (a->n < 2 || a->n > MAX_MIXED)
		return diag_invalid(x->diag, balance_loc(x),
		    "task_gradients: a step has the terms of %d task%s; two tasks at least (and %d "
		    "at "
		    "most) have gradients to compare",
		    a->n, a->n == 1 ? "" : "s", MAX_MIXED);
	for (int k = 0; k < a->n; k++) {
		each[k] = arena_array(x->scratch, struct value *, n + 1);
		if (!grad_build(x->g, a->weighted[k], n, params, each[k], x->diag))
			return false;
	}
	if (!task_gradient(&b, &how, a->n, each, n, c, &against, grads))
		return false;
	for (int k = 0; k < a->n; k++)
		task_output(x, "task_factor", a->task[k], b_cast(&b, c[k], DT_f32));
	graph_output(x->g, "task_conflict", b_cast(&b, against, DT_f32));
	if (!a->rest)
		return true;
	each[0] = arena_array(x->scratch, struct value *, n + 1);
	if (!grad_build(x->g, a->rest, n, params, each[0], x->diag))
		return false;
	for (int i = 0; i < n; i++)
		if (each[0][i])
			grads[i] = plus(&b, grads[i], each[0][i]);
	return true;
}

/* The node that reads v first; -1: none. */
static int
first_reader(const struct graph *g, const struct value *v)
{
	for (int i = 0; i < g->nodes.n; i++)
		for (int k = 0; k < g->nodes.v[i]->nin && !g->nodes.v[i]->dead; k++)
			if (g->nodes.v[i]->in[k] == v)
				return i;
	return -1;
}

/* gradnorm's layer: parameters that all tasks reach, by name, all of them, or the matrix
 * (where there is any) that is read last. */
static int
norm_layer(
    struct distiller *x, const struct apart *a, int n, struct value **params, struct value **out)
{
	const char *layer = x->d->balance.layer ? x->d->balance.layer : "last";
	bool last = strcmp(layer, "last") == 0, any = last || strcmp(layer, "all") == 0;
	int count = 0, best = -1, at = -1;

	for (int i = 0; i < n; i++) {
		bool all = any || str_glob(layer, params[i]->name);

		for (int k = 0; k < a->n && all; k++)
			all = needs(x, a->loss[k])[params[i]->id];
		if (all)
			out[count++] = params[i];
	}
	for (int matrix = 1; last && matrix >= 0 && best < 0; matrix--)
		for (int i = 0; i < count; i++)
			if (out[i]->rank > matrix && first_reader(x->g, out[i]) > at) {
				best = i;
				at = first_reader(x->g, out[i]);
			}
	if (best >= 0)
		out[0] = out[best];
	if (count == 0)
		diag_invalid(x->diag, balance_loc(x),
		    "task_weights: gradnorm compares gradients of parameters that all tasks reach; "
		    "%s%s%s",
		    any ? "there is none" : "none of them matches \"", any ? "" : layer,
		    any ? "" : "\"");
	return best >= 0 ? 1 : count;
}

static struct value *
norm_of(struct build *b, int n, struct value **grads)
{
	struct value *sum = NULL;

	for (int i = 0; i < n; i++)
		if (grads[i])
			sum = plus(
			    b, sum, b_reduce_all(b, OP_reduce_sum, b_mul(b, grads[i], grads[i])));
	return sum ? b_sqrt(b, sum) : b_scalar(b, DT_f32, 0);
}

/* L_k by the stage's first one */
static struct value *
progress(struct distiller *x, struct build *b, int task, struct value *loss)
{
	struct value *zero = b_scalar(b, DT_f32, 0),
		     *first = task_state(x, task, "weight:first", 0), *from;
	struct update u = {first, NULL};

	from = u.next = b_select(b, b2(b, OP_eq, first, zero), loss, first);
	if (from)
		vec_push(x->g->arena, &x->g->updates, u);
	return b_div(b, loss, b_max(b, from, b_scalar(b, DT_f32, 1e-30)));
}

static bool
gradnorm(struct distiller *x, struct apart *a, int n, struct value **params)
{
	struct build b = build_at(x->g, x->diag, LOC_NONE, "grad");
	struct value **layer = arena_array(x->scratch, struct value *, n + 1);
	struct value **grads = arena_array(x->scratch, struct value *, n + 1), *mean = NULL,
		     *rate = NULL;
	struct value *norm[MAX_MIXED], *speed[MAX_MIXED];
	int count;

	if (a->n < 2 || a->n > MAX_MIXED)
		return diag_invalid(x->diag, balance_loc(x),
		    "task_weights: gradnorm compares the tasks of a step, which has the terms of "
		    "%d",
		    a->n);
	count = norm_layer(x, a, n, params, layer);
	for (int k = 0; k < a->n && count; k++) {
		if (!grad_build(x->g, a->loss[k], count, layer, grads, x->diag))
			return false;
		norm[k] = norm_of(&b, count, grads);
		speed[k] = progress(x, &b, a->task[k], a->loss[k]);
		rate = plus(&b, rate, speed[k]);
		mean = plus(&b, mean, b_mul(&b, norm[k], x->tasks[a->task[k]].weight));
	}
	if (!count)
		return false;
	rate = b_max(&b, b_muls(&b, rate, 1.0 / a->n), b_scalar(&b, DT_f32, 1e-30));
	mean = b_muls(&b, mean, 1.0 / a->n);
	for (int k = 0; k < a->n; k++) {
		struct task_part *p = &x->tasks[a->task[k]];
		struct value *target = b2(&b, OP_pow, b_div(&b, speed[k], rate),
		    b_scalar(&b, DT_f32, x->d->balance.alpha));

		target = b_mul(&b, mean, target);
		target = b1(&b, OP_sign, b_sub(&b, b_mul(&b, norm[k], p->weight), target));
		p->gradient = b_mul(&b, target, norm[k]);
		if (!p->gradient)
			return false;
	}
	return true;
}

/* A term that none of the parameters has a part in. */
static void
warn_of_idle(struct distiller *x, int n, struct value *const *params)
{
	for (int i = 0; i < x->terms.n; i++) {
		const struct distill_term *t = x->terms.v[i].term;
		const bool *need = needs(x, x->terms.v[i].loss);
		bool any = false;

		for (int k = 0; k < n; k++)
			any |= need[params[k]->id];
		if (!any)
			diag_warn(x->diag, t->loc,
			    "term \"%s\" never matters: it depends on no parameter that trains",
			    t->name);
	}
}

bool
distill_gradients(
    struct distiller *x, struct value *total, int n, struct value **params, struct value **grads)
{
	bool learned = x->d->balance.weights == TASKS_uncertainty, ok;
	int all = n;
	struct value **p = arena_array(x->scratch, struct value *, n + x->d->ntasks + 1);
	struct value **dp = arena_array(x->scratch, struct value *, n + x->d->ntasks + 1);
	struct apart a;

	warn_of_idle(x, n, params);
	memcpy(p, params, sizeof *p * (size_t)n);
	for (int k = 0; k < x->d->ntasks; k++)
		if (learned && x->tasks[k].state)
			p[all++] = x->tasks[k].state;
	take_apart(x, total, &a);
	if (x->d->update.optimizer.dot_delta > 0)
		a.taught = taught(x);
	if (!narrow(x, &a, all, p))
		return false;
	if (x->d->balance.gradients == GRADIENTS_sum)
		ok = grad_build(x->g, a.total, all, p, dp, x->diag);
	else
		ok = mixed(x, &a, all, p, dp);
	if (ok && x->d->balance.weights == TASKS_gradnorm)
		ok = gradnorm(x, &a, n, p);
	x->taught = a.taught;
	memcpy(params, p, sizeof *p * (size_t)n);
	memcpy(grads, dp, sizeof *dp * (size_t)n);
	for (int k = 0, i = n; k < x->d->ntasks && ok; k++)
		if (learned && x->tasks[k].state) {
			x->tasks[k].state = p[i];
			x->tasks[k].gradient = dp[i++];
		}
	return ok;
}

struct value **
distill_from_teachers(struct distiller *x, int n, struct value **params, struct value **grads)
{
	struct build b = build_at(x->g, x->diag, LOC_NONE, "grad");
	struct value **d = arena_array(x->scratch, struct value *, n + 1);

	if (x->taught && !grad_build(x->g, x->taught, n, params, d, x->diag))
		return NULL;
	for (int i = 0; i < n; i++)
		if (d[i])
			grads[i] = b_sub(&b, grads[i], d[i]);
	return d;
}

/* ---- the terms' shares */
bool
distill_shares(struct distiller *x, struct value *total, int n, struct value **params)
{
	struct build b = build_at(x->g, x->diag, LOC_NONE, "grad");
	struct value **grads = arena_array(x->scratch, struct value *, n + 1);
	struct apart a = {.n = x->terms.n, .total = total};

	a.loss = arena_array(x->scratch, struct value *, a.n + 1);
	a.weighted = arena_array(x->scratch, struct value *, a.n + 1);
	for (int i = 0; i < a.n; i++) {
		const struct weighed_term *t = &x->terms.v[i];

		a.loss[i] = times(&b, t->loss, t->task < 0 ? NULL : x->tasks[t->task].weight);
		a.weighted[i] = a.loss[i];
	}
	if (!narrow(x, &a, n, params))
		return false;
	for (int i = 0; i < a.n; i++) {
		const char *name = x->terms.v[i].term->name;

		if (!grad_build(x->g, a.loss[i], n, params, grads, x->diag))
			return false;
		graph_output(
		    x->g, arena_printf(x->g->arena, "grad_share.%s", name), norm_of(&b, n, grads));
	}
	return true;
}

/* ---- updates of the tasks' states */

static struct value **
next_of(struct graph *g, const struct value *state)
{
	for (int i = 0; i < g->updates.n; i++)
		if (g->updates.v[i].state == state)
			return &g->updates.v[i].next;
	return NULL;
}

/* uncertainty: by the recipe's optimiser without decay; gradnorm: by Adam. */
static struct update_rule
task_rule(const struct distiller *x)
{
	struct update_rule u = {
	    .optimizer = x->d->update.optimizer, .accumulate = x->d->update.accumulate};

	u.optimizer.weight_decay = 0;
	if (x->d->balance.weights == TASKS_gradnorm)
		u.optimizer =
		    (struct optimizer){.kind = OPT_ADAM, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8};
	return u;
}

/* The rate goes with the optimiser's. */
static struct value *
task_rate(struct distiller *x, struct build *b, struct value *lr)
{
	double base = x->d->update.optimizer.lr, own = x->d->balance.lr;

	if (own <= 0)
		return lr;
	return base > 0 ? b_muls(b, lr, own / base) : b_scalar(b, DT_f32, own);
}

/* s within +-clamp; w above 0, with the sum that they began with */
static bool
bring_back(struct distiller *x, struct build *b, int n, const int *task)
{
	double most = x->d->balance.clamp, whole = 0;
	struct value *sum = NULL, **next;

	for (int i = 0; i < n; i++) {
		struct task_part *p = &x->tasks[task[i]];

		next = next_of(x->g, p->state);
		if (x->d->balance.weights == TASKS_uncertainty) {
			*next = b_max(b, *next, b_scalar(b, DT_f32, -most));
			*next = b_min(b, *next, b_scalar(b, DT_f32, most));
			continue;
		}
		*next = b_max(b, *next, b_scalar(b, DT_f32, 1e-3));
		sum = plus(b, sum, *next);
		whole += dtype_get_f(DT_f32, p->state->data->data, 0);
	}
	for (int i = 0; i < n && sum; i++) {
		next = next_of(x->g, x->tasks[task[i]].state);
		*next = b_mul(b, *next, b_div(b, b_scalar(b, DT_f32, whole), sum));
	}
	return n == 0 || *next_of(x->g, x->tasks[task[0]].state);
}

bool
distill_task_updates(struct distiller *x, const struct update_inputs *in)
{
	struct build b = build_at(x->g, x->diag, LOC_NONE, "update");
	struct value **params = arena_array(x->scratch, struct value *, x->d->ntasks + 1);
	struct value **grads = arena_array(x->scratch, struct value *, x->d->ntasks + 1);
	int *task = arena_array(x->scratch, int, x->d->ntasks + 1), n = 0;
	struct update_rule rule = task_rule(x);
	struct update_inputs own = *in;

	for (int k = 0; k < x->d->ntasks; k++)
		if (x->tasks[k].state && x->tasks[k].gradient) {
			params[n] = x->tasks[k].state;
			grads[n] = x->tasks[k].gradient;
			task[n++] = k;
		}
	if (n == 0)
		return true;
	own.lr = task_rate(x, &b, in->lr);
	own.momentum = NULL;
	return update_build(x->g, &rule, &own, n, params, NULL, grads, x->diag) &&
	       bring_back(x, &b, n, task);
}
