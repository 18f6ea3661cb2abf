/* update -- from gradients to parameters, as graph updates: accumulate over the
 * window, clip, the optimiser's rule of the parameter's group, average (ir/optimizer.h).
 *
 * A rule is update_ID, named by ir/optimizer.def.  It pushes the updates of its slots,
 * states NAME:SLOT that start as zeros, anew in every stage, and returns the
 * parameter's next content.  Everything is elementwise, so that a step reads and writes
 * each parameter once, but for the sums that LAMB and the global norm need.  Bias
 * corrections are computed once per group in double, so that 1 - beta^t keeps its
 * digits.  g gradient, w parameter, t the number of the update from 1. */
#include "passes/passes.h"

#include <string.h>

struct window {			    /* of gradient accumulation */
	struct value *first, *last; /* bool; last NULL: every step updates */
	struct value *share;	    /* f64: 1 / steps of the window */
};

struct rule {
	struct build *b;
	const struct optimizer *o;
	const struct window *window;
	struct value *lr;		   /* f32, the group's */
	struct value *step, *t;		   /* i64, f64 */
	struct value *first;		   /* bool: t == 1 */
	struct value *correct1, *correct2; /* f64: 1 - beta1^t, sqrt(1 - beta2^t) */
	struct value *
	    momentum; /* f64: stands for momentum and beta1 in this update; NULL: the settings do */
	struct value *distilled; /* the parameter's gradient from teachers; NULL: none */
	struct value *owner;   /* the group's first parameter: names slots of the whole group */
	struct value *product; /* f64: NAdam's product of mu, this update's included */
};

/* ---- states */
struct value *
graph_state_find(const struct graph *g, const char *name)
{
	for (int i = 0; i < g->states.n; i++)
		if (strcmp(g->states.v[i]->name, name) == 0)
			return g->states.v[i];
	return NULL;
}

static struct update *
move_of(struct graph *g, const struct value *state)
{
	for (int i = 0; i < g->updates.n; i++)
		if (g->updates.v[i].state == state)
			return &g->updates.v[i];
	return NULL;
}

struct value *
state_now(struct build *b, struct value *state)
{
	const struct update *u = move_of(b->g, state);
	struct value *now;

	if (!u)
		return state;
	for (int i = 0; i < b->g->nodes.n; i++) {
		const struct node *n = b->g->nodes.v[i];

		if (n->op == OP_StopGradient && !n->dead && n->in[0] == u->next && n->out[0]->name &&
		    strcmp(n->out[0]->name, state->name) == 0)
			return n->out[0];
	}
	now = b1(b, OP_StopGradient, u->next);
	if (now)
		now->name = state->name;
	return now;
}

void
state_move(struct graph *g, struct value *state, struct value *next)
{
	struct value *s = state->kind == VAL_STATE ? state : graph_state_find(g, state->name);
	struct update *u;

	require(s != NULL);
	u = move_of(g, s);
	if (u)
		u->next = next;
	else
		vec_push(g->arena, &g->updates, (struct update){s, next});
}

static struct value *
slot_of(struct rule *r, struct value *p, const char *suffix, enum dtype t, int rank)
{
	struct graph *g = r->b->g;
	const char *name = arena_printf(g->arena, "%s:%s", p->name, suffix);
	struct value *s = graph_state_find(g, name);

	if (s)
		return state_now(r->b, s);
	return graph_state(g, name, tensor_new(g->arena, t, rank, p->dims), false);
}

static struct value *
slot(struct rule *r, struct value *p, const char *suffix)
{
	return slot_of(r, p, suffix, p->dtype, p->rank);
}

/* The state's next content, where the step ends its window. */
static void
update_to(struct build *b, const struct window *w, struct value *state, struct value *next)
{
	if (w->last)
		next = b_select(b, w->last, next, state);
	if (next)
		state_move(b->g, state, next);
}

static struct value *
kept(struct rule *r, struct value *state, struct value *next)
{
	update_to(r->b, r->window, state, next);
	return next;
}

/* ---- small formulas */
static struct value *
square(struct build *b, struct value *x)
{
	return b_mul(b, x, x);
}

/* k*x + (1-k)*y */
static struct value *
blend(struct build *b, double k, struct value *x, struct value *y)
{
	return b_add(b, b_muls(b, x, k), b_muls(b, y, 1 - k));
}

/* k*x, and k*x + (1-k)*y, for a k (momentum or beta1) that the schedule may cycle */
static struct value *
carried(struct rule *r, double k, struct value *x)
{
	if (!r->momentum)
		return b_muls(r->b, x, k);
	return b_mul(r->b, x, b_cast(r->b, r->momentum, x->dtype));
}

static struct value *
blend_first(struct rule *r, double k, struct value *x, struct value *y)
{
	struct build *b = r->b;
	struct value *rest;

	if (!r->momentum)
		return blend(b, k, x, y);
	rest = b_cast(b, b_sub(b, b_scalar(b, DT_f64, 1), r->momentum), y->dtype);
	return b_add(b, carried(r, k, x), b_mul(b, y, rest));
}

static struct value *
power(struct build *b, double base, struct value *t)
{
	return b2(b, OP_pow, b_scalar(b, DT_f64, base), t);
}

/* g + wd*w */
static struct value *
decayed(struct rule *r, struct value *p, struct value *g)
{
	double wd = r->o->weight_decay;

	return wd != 0 ? b_add(r->b, g, b_muls(r->b, p, wd)) : g;
}

/* w * (1 - lr*wd) */
static struct value *
shrunk(struct rule *r, struct value *p)
{
	struct build *b = r->b;
	struct value *lr = b_cast(b, r->lr, DT_f64);

	if (r->o->weight_decay == 0)
		return p;
	lr = b_sub(b, b_scalar(b, DT_f64, 1), b_muls(b, lr, r->o->weight_decay));
	return b_mul(b, p, b_cast(b, lr, p->dtype));
}

/* w - rate*x, rate a scalar of any float type */
static struct value *
stepped(struct rule *r, struct value *w, struct value *rate, struct value *x)
{
	return b_sub(r->b, w, b_mul(r->b, b_cast(r->b, rate, w->dtype), x));
}

static struct value *
lr_over(struct rule *r, struct value *f64)
{
	return b_div(r->b, b_cast(r->b, r->lr, DT_f64), f64);
}

/* ---- the rules */

/* Zhao et al. 2022, DOT: two momenta, v = (mu-delta)*v + g of the labels and u = (mu+delta)*u
 * + d of the teachers;  w -= lr * (v + u) */
static struct value *
apart(struct rule *r, struct value *p, struct value *g)
{
	struct build *b = r->b;
	const struct optimizer *o = r->o;
	struct value *v = slot(r, p, "momentum"), *u = slot(r, p, "momentum_kd");
	struct value *d = r->distilled ? r->distilled : b_zeros_like(b, p);

	v = kept(r, v, b_add(b, b_muls(b, v, o->momentum - o->dot_delta), g));
	u = kept(r, u, b_add(b, b_muls(b, u, o->momentum + o->dot_delta), d));
	return stepped(r, p, r->lr, b_add(b, v, u));
}

/* torch.optim.SGD: g += wd*w;  u = mu*u + (1-dampening)*g, the first time u = g;
 * w -= lr * (nesterov ? g + mu*u : u) */
static struct value *
update_sgd(struct rule *r, struct value *p, struct value *g)
{
	struct build *b = r->b;
	const struct optimizer *o = r->o;

	g = decayed(r, p, g);
	if (o->dot_delta > 0)
		return apart(r, p, g);
	if (o->momentum != 0) {
		struct value *u = slot(r, p, "momentum");
		struct value *now =
		    b_add(b, carried(r, o->momentum, u), b_muls(b, g, 1 - o->dampening));

		if (o->dampening != 0)
			now = b_select(b, r->first, g, now);
		kept(r, u, now);
		g = o->nesterov ? b_add(b, g, carried(r, o->momentum, now)) : now;
	}
	return stepped(r, p, r->lr, g);
}

/* torch.optim.Adam and AdamW: m = b1*m + (1-b1)*g;  v = b2*v + (1-b2)*g*g;
 * w -= lr/(1-b1^t) * m / (sqrt(v)/sqrt(1-b2^t) + eps); amsgrad: the largest v so far;
 * Adam adds wd*w to g, AdamW first scales w by 1 - lr*wd. */
static struct value *
moments(struct rule *r, struct value *p, struct value *w, struct value *g)
{
	struct build *b = r->b;
	const struct optimizer *o = r->o;
	struct value *m = slot(r, p, "m"), *v = slot(r, p, "v"), *scale;

	m = kept(r, m, blend_first(r, o->beta1, m, g));
	v = kept(r, v, blend(b, o->beta2, v, square(b, g)));
	if (o->amsgrad) {
		struct value *most = slot(r, p, "vmax");

		v = kept(r, most, b_max(b, most, v));
	}
	scale = b_cast(b, b_div(b, b_scalar(b, DT_f64, 1), r->correct2), p->dtype);
	v = b_adds(b, b_mul(b, b_sqrt(b, v), scale), o->eps);
	return stepped(r, w, lr_over(r, r->correct1), b_div(b, m, v));
}

static struct value *
update_adam(struct rule *r, struct value *p, struct value *g)
{
	return moments(r, p, p, decayed(r, p, g));
}

static struct value *
update_adamw(struct rule *r, struct value *p, struct value *g)
{
	return moments(r, p, shrunk(r, p), g);
}

/* mu_t = b1 * (1 - 0.96^(t*momentum_decay)/2) */
static struct value *
nadam_mu(struct rule *r, double ahead)
{
	struct build *b = r->b;
	struct value *t = b_muls(b, b_adds(b, r->t, ahead), r->o->momentum_decay);

	return carried(r, r->o->beta1, b_adds(b, b_muls(b, power(b, 0.96, t), -0.5), 1));
}

/* torch.optim.NAdam (foreach): g += wd*w; m, v as Adam; P_t = mu_1 ... mu_t;
 * w -= (lr (1-mu_t)/(1-P_t) g + lr mu_(t+1)/(1-P_t mu_(t+1)) m) / (sqrt(v/(1-b2^t)) + eps) */
static struct value *
update_nadam(struct rule *r, struct value *p, struct value *g)
{
	struct build *b = r->b;
	const struct optimizer *o = r->o;
	struct value *m = slot(r, p, "m"), *v = slot(r, p, "v"), *one = b_scalar(b, DT_f64, 1);
	struct value *mu = nadam_mu(r, 0), *next = nadam_mu(r, 1), *scale, *w;

	if (!r->product) { /* one for the group; its slot is 1 - P, which starts at 0 */
		struct value *s = slot_of(r, r->owner, "mu", DT_f64, 0);

		r->product = b_mul(b, b_sub(b, one, s), mu);
		kept(r, s, b_sub(b, one, r->product));
	}
	g = decayed(r, p, g);
	m = kept(r, m, blend_first(r, o->beta1, m, g));
	v = kept(r, v, blend(b, o->beta2, v, square(b, g)));
	scale = b_cast(b, b_div(b, one, r->correct2), p->dtype);
	v = b_adds(b, b_mul(b, b_sqrt(b, v), scale), o->eps);
	mu = b_div(b, b_sub(b, one, mu), b_sub(b, one, r->product));
	next = b_div(b, next, b_sub(b, one, b_mul(b, r->product, next)));
	w = stepped(r, p, b_mul(b, b_cast(b, r->lr, DT_f64), mu), b_div(b, g, v));
	return stepped(r, w, b_mul(b, b_cast(b, r->lr, DT_f64), next), b_div(b, m, v));
}

/* torch.optim.RAdam: g += wd*w; m, v as Adam; n = 2/(1-b2) - 1,
 * q = n - 2 t b2^t/(1-b2^t);  where q > 5
 * w -= lr/(1-b1^t) sqrt((q-4)(q-2)n / ((n-4)(n-2)q)) m sqrt(1-b2^t)/(sqrt(v)+eps),
 * else w -= lr/(1-b1^t) m */
static struct value *
update_radam(struct rule *r, struct value *p, struct value *g)
{
	struct build *b = r->b;
	const struct optimizer *o = r->o;
	struct value *m = slot(r, p, "m"), *v = slot(r, p, "v"), *q, *far, *rate, *rect;
	double n = 2 / (1 - o->beta2) - 1;

	g = decayed(r, p, g);
	m = kept(r, m, blend_first(r, o->beta1, m, g));
	v = kept(r, v, blend(b, o->beta2, v, square(b, g)));
	q = b_div(b, b_mul(b, r->t, power(b, o->beta2, r->t)), square(b, r->correct2));
	q = b_adds(b, b_muls(b, q, -2), n);
	far = b2(b, OP_lt, b_scalar(b, DT_f64, 5), q);
	rect = b_div(b, b_mul(b, b_adds(b, q, -4), b_adds(b, q, -2)), q);
	rect = b_max(b, b_muls(b, rect, n / ((n - 4) * (n - 2))), b_scalar(b, DT_f64, 0));
	rate = lr_over(r, r->correct1);
	rate = b_select(b, far, b_mul(b, rate, b_mul(b, b_sqrt(b, rect), r->correct2)), rate);
	v = b_select(b, far, b_adds(b, b_sqrt(b, v), o->eps), b_scalar_like(b, v, 1));
	return stepped(r, p, rate, b_div(b, m, v));
}

/* torch.optim.RMSprop: g += wd*w;  v = a*v + (1-a)*g*g;  centered: h = a*h + (1-a)*g,
 * d = sqrt(v - h*h) + eps, else d = sqrt(v) + eps;
 * momentum: u = mu*u + g/d, w -= lr*u;  else w -= lr*g/d */
static struct value *
update_rmsprop(struct rule *r, struct value *p, struct value *g)
{
	struct build *b = r->b;
	const struct optimizer *o = r->o;
	struct value *v = slot(r, p, "v");

	g = decayed(r, p, g);
	v = kept(r, v, blend(b, o->alpha, v, square(b, g)));
	if (o->centered) {
		struct value *h = slot(r, p, "mean");

		h = kept(r, h, blend(b, o->alpha, h, g));
		v = b_sub(b, v, square(b, h));
	}
	g = b_div(b, g, b_adds(b, b_sqrt(b, v), o->eps));
	if (o->momentum != 0) {
		struct value *u = slot(r, p, "momentum");

		g = kept(r, u, b_add(b, carried(r, o->momentum, u), g));
	}
	return stepped(r, p, r->lr, g);
}

/* torch.optim.Adagrad: g += wd*w;  s += g*g, from initial_accumulator_value (while s is 0);
 * w -= lr/(1 + (t-1)*lr_decay) * g / (sqrt(s) + eps) */
static struct value *
update_adagrad(struct rule *r, struct value *p, struct value *g)
{
	struct build *b = r->b;
	const struct optimizer *o = r->o;
	struct value *s = slot(r, p, "sum"), *sum;
	struct value *rate = lr_over(r, b_adds(b, b_muls(b, b_adds(b, r->t, -1), o->lr_decay), 1));

	g = decayed(r, p, g);
	sum = s;
	if (o->initial_accumulator_value > 0) {
		struct value *zero = b_scalar(b, p->dtype, 0);

		sum = b_scalar(b, p->dtype, o->initial_accumulator_value);
		sum = b_select(b, b2(b, OP_eq, s, zero), sum, s);
	}
	sum = kept(r, s, b_add(b, sum, square(b, g)));
	return stepped(r, p, rate, b_div(b, g, b_adds(b, b_sqrt(b, sum), o->eps)));
}

/* torch.optim.Adadelta: g += wd*w;  v = rho*v + (1-rho)*g*g;
 * d = sqrt(a+eps)/sqrt(v+eps) * g;  a = rho*a + (1-rho)*d*d;  w -= lr*d */
static struct value *
update_adadelta(struct rule *r, struct value *p, struct value *g)
{
	struct build *b = r->b;
	const struct optimizer *o = r->o;
	struct value *v = slot(r, p, "v"), *a = slot(r, p, "delta"), *d;

	g = decayed(r, p, g);
	v = kept(r, v, blend(b, o->rho, v, square(b, g)));
	d = b_div(b, b_sqrt(b, b_adds(b, a, o->eps)), b_sqrt(b, b_adds(b, v, o->eps)));
	d = b_mul(b, d, g);
	kept(r, a, blend(b, o->rho, a, square(b, d)));
	return stepped(r, p, r->lr, d);
}

static struct value *
norm(struct build *b, struct value *x)
{
	return b_sqrt(b, b_reduce_all(b, OP_reduce_sum, square(b, x)));
}

/* You et al., Large Batch Optimization for Deep Learning, algorithm 2, phi(x) = x:
 * m, v as Adam, both corrected;  u = m/(sqrt(v) + eps) + wd*w;
 * w -= lr * |w|/|u| * u, norms of the whole tensor, the ratio 1 where either is 0 */
static struct value *
update_lamb(struct rule *r, struct value *p, struct value *g)
{
	struct build *b = r->b;
	const struct optimizer *o = r->o;
	struct value *m = slot(r, p, "m"), *v = slot(r, p, "v"), *one = b_scalar(b, DT_f64, 1);
	struct value *u, *wn, *un, *zero, *some, *trust;

	m = kept(r, m, blend_first(r, o->beta1, m, g));
	v = kept(r, v, blend(b, o->beta2, v, square(b, g)));
	v = b_mul(b, b_sqrt(b, v), b_cast(b, b_div(b, one, r->correct2), p->dtype));
	u = b_mul(b, m, b_cast(b, b_div(b, one, r->correct1), p->dtype));
	u = decayed(r, p, b_div(b, u, b_adds(b, v, o->eps)));
	wn = norm(b, p);
	un = norm(b, u);
	zero = b_scalar(b, p->dtype, 0);
	some = b2(b, OP_and, b2(b, OP_lt, zero, wn), b2(b, OP_lt, zero, un));
	trust = b_select(b, some, b_div(b, wn, un), b_scalar(b, p->dtype, 1));
	return stepped(r, p, b_mul(b, b_cast(b, r->lr, p->dtype), trust), u);
}

/* Chen et al., Symbolic Discovery of Optimization Algorithms, algorithm 2:
 * c = b1*m + (1-b1)*g;  w -= lr * (sign(c) + wd*w);  m = b2*m + (1-b2)*g */
static struct value *
update_lion(struct rule *r, struct value *p, struct value *g)
{
	struct build *b = r->b;
	const struct optimizer *o = r->o;
	struct value *m = slot(r, p, "m"), *c = blend_first(r, o->beta1, m, g);

	kept(r, m, blend(b, o->beta2, m, g));
	return stepped(r, shrunk(r, p), r->lr, b1(b, OP_sign, c));
}

static struct value *(*const rules[])(struct rule *, struct value *p, struct value *g) = {
#define OPTIMIZER(ID, id) [OPT_##ID] = update_##id,
#include "ir/optimizer.def"
};

/* ---- groups */
static bool
in_group(const struct param_group *k, const struct value *p)
{
	bool named = k->nmatch == 0;

	for (int i = 0; i < k->nmatch; i++)
		named |= str_glob(k->match[i], p->name);
	return named && (k->max_rank < 0 || p->rank <= k->max_rank);
}

static bool
unmatched(struct arena *a, const struct loc loc, const char *pattern, int n,
    struct value *const *params, struct diag *d)
{
	const char **names = arena_array(a, const char *, n + 1), *near;

	for (int i = 0; i < n; i++) {
		names[i] = params[i]->name;
		if (str_glob(pattern, names[i]))
			return true;
	}
	near = str_nearest(pattern, names, n);
	if (near)
		return diag_invalid(d, loc,
		    "groups: no parameter matches \"%s\"; did you mean \"%s\"?", pattern, near);
	return diag_invalid(d, loc, "groups: no parameter matches \"%s\"; there are %s%s%s%s%s",
	    pattern, n > 0 ? names[0] : "none", n > 1 ? ", " : "", n > 1 ? names[1] : "",
	    n > 2 ? ", " : "",
	    n > 3   ? "..."
	    : n > 2 ? names[2]
		    : "");
}

bool
update_groups(
    const struct update_rule *u, int n, struct value *const *params, int *group, struct diag *d)
{
	struct arena *tmp = arena_create();
	int before = d->errors;

	for (int k = 0; k < u->ngroups; k++)
		for (int m = 0; m < u->groups[k].nmatch; m++)
			unmatched(tmp, u->groups[k].loc, u->groups[k].match[m], n, params, d);
	for (int i = 0; i < n; i++) {
		group[i] = 0;
		while (group[i] < u->ngroups && !in_group(&u->groups[group[i]], params[i]))
			group[i]++;
	}
	arena_destroy(tmp);
	return d->errors == before;
}

/* ---- before the rule */
static void
open_window(
    struct build *b, const struct update_rule *u, const struct update_inputs *in, struct window *w)
{
	struct value *one;

	*w = (struct window){0};
	if (u->accumulate < 2)
		return;
	one = b_scalar(b, DT_i64, 1);
	w->first = b2(b, OP_eq, in->micro, b_scalar(b, DT_i64, 0));
	w->last = b2(b, OP_eq, b_add(b, in->micro, one), in->micros);
	w->share = b_div(b, b_scalar(b, DT_f64, 1), b_cast(b, in->micros, DT_f64));
}

/* The window's mean so far: sum += g/steps, from 0 at its first step. */
static struct value *
accumulated(struct rule *r, struct value *p, struct value *g)
{
	struct build *b = r->b;
	struct value *sum;

	if (!r->window->last)
		return g;
	sum = slot(r, p, "accumulated");
	g = b_mul(b, g, b_cast(b, r->window->share, p->dtype));
	g = b_add(b, b_select(b, r->window->first, b_scalar(b, p->dtype, 0), sum), g);
	if (g)
		state_move(b->g, sum, g);
	return g;
}

static struct value *
clipped(struct build *b, struct value *g, double most)
{
	g = b_max(b, g, b_scalar(b, g->dtype, -most));
	return g ? b_min(b, g, b_scalar(b, g->dtype, most)) : NULL;
}

/* torch.nn.utils.clip_grad_norm_: all gradients times min(1, max_norm/(total + 1e-6)),
 * total the norm of all of them together.  Leaves it in output grad_norm (.num, .den 1
 * where the step updates). */
static void
clip_norm(struct build *b, const struct window *w, double most, int n, struct value **grads)
{
	struct value *sum = NULL, *one = b_scalar(b, DT_f64, 1), *zero = b_scalar(b, DT_f64, 0),
		     *scale;

	for (int i = 0; i < n; i++)
		if (grads[i]) {
			struct value *s = b_reduce_all(b, OP_reduce_sum, square(b, grads[i]));

			s = b_cast(b, s, DT_f64);
			sum = sum ? b_add(b, sum, s) : s;
		}
	if (!sum)
		return;
	sum = b_sqrt(b, sum);
	scale = b_div(b, b_scalar(b, DT_f64, most), b_adds(b, sum, 1e-6));
	scale = b_min(b, scale, one);
	for (int i = 0; i < n; i++)
		if (grads[i])
			grads[i] = b_mul(b, grads[i], b_cast(b, scale, grads[i]->dtype));
	for (int i = 0; i < b->g->outputs.n; i++) /* an earlier turn's: of all together */
		if (strcmp(b->g->output_names.v[i], "grad_norm.num") == 0) {
			b->g->outputs.v[i] = b_sqrt(b, b_add(b, square(b, b->g->outputs.v[i]), square(b, sum)));
			return;
		}
	graph_output(b->g, "grad_norm.num", w->last ? b_select(b, w->last, sum, zero) : sum);
	graph_output(b->g, "grad_norm.den", w->last ? b_select(b, w->last, one, zero) : one);
}

/* ---- after it */

/* e -= (1-d)*(e - w), from the w before the first update; d = ema_decay, with warm-up
 * min(ema_decay, (1+t)/(10+t)) */
static void
average(struct rule *r, const struct update_rule *u, struct value *p, struct value *next)
{
	struct build *b = r->b;
	struct value *e = slot(r, p, "ema"), *from = b_select(b, r->first, p, e);
	struct value *rest = b_scalar(b, DT_f64, 1 - u->ema_decay);

	if (u->ema_warmup) /* 1 - (1+t)/(10+t) = 9/(10+t) */
		rest = b_max(b, rest, b_div(b, b_scalar(b, DT_f64, 9), b_adds(b, r->t, 10)));
	kept(r, e, stepped(r, from, rest, b_sub(b, from, next)));
}

static void
open_rule(struct rule *r, struct build *b, const struct update_rule *u, const struct optimizer *o,
    const struct update_inputs *in, const struct window *w)
{
	struct value *one = b_scalar(b, DT_f64, 1);
	double scale = u->optimizer.lr > 0 ? o->lr / u->optimizer.lr : 1;

	*r = (struct rule){.b = b, .o = o, .window = w, .lr = in->lr, .step = in->step};
	if (scale != 1)
		r->lr = b_muls(b, r->lr, scale);
	r->t = b_cast(b, r->step, DT_f64);
	r->first = b2(b, OP_eq, r->step, b_scalar_like(b, r->step, 1));
	r->momentum = in->momentum;
	r->correct1 = r->momentum ? b2(b, OP_pow, r->momentum, r->t) : power(b, o->beta1, r->t);
	r->correct1 = b_sub(b, one, r->correct1);
	r->correct2 = b_sqrt(b, b_sub(b, one, power(b, o->beta2, r->t)));
}

bool
update_build(struct graph *g, const struct update_rule *u, const struct update_inputs *in, int n,
    struct value *const *params, const int *group, struct value **grads, struct diag *d)
{
	struct arena *tmp = arena_create();
	struct build b = build_at(g, d, LOC_NONE, "update");
	struct rule *rule = arena_array(tmp, struct rule, u->ngroups + 1);
	struct window w;
	int before = d->errors;

	open_window(&b, u, in, &w);
	for (int k = 0; k <= u->ngroups; k++)
		open_rule(&rule[k], &b, u, k < u->ngroups ? &u->groups[k].optimizer : &u->optimizer,
		    in, &w);
	for (int i = 0; i < n; i++) {
		if (!grads[i])
			continue;
		require(params[i]->name != NULL);
		require(grads[i]->dtype == params[i]->dtype);
		require(
		    dims_equal(grads[i]->rank, grads[i]->dims, params[i]->rank, params[i]->dims));
		grads[i] = accumulated(&rule[u->ngroups], params[i], grads[i]);
		if (grads[i] && u->clip_value > 0)
			grads[i] = clipped(&b, grads[i], u->clip_value);
	}
	if (u->clip_norm > 0)
		clip_norm(&b, &w, u->clip_norm, n, grads);
	for (int i = 0; i < n; i++) {
		struct rule *r = &rule[group ? group[i] : u->ngroups];
		struct value *next = params[i];

		b.loc = params[i]->loc;
		b.loc.maker = "update";
		if (!r->owner)
			r->owner = params[i];
		r->distilled = in->distilled ? in->distilled[i] : NULL;
		if (grads[i]) {
			next = rules[r->o->kind](r, params[i], grads[i]);
			update_to(&b, &w, params[i], next);
		}
		if (u->ema_decay > 0) /* without a gradient too: another program may give it one */
			average(r, u, params[i], next);
	}
	arena_destroy(tmp);
	return d->errors == before;
}
