/* update -- the optimiser as graph updates, in PyTorch's formulas.  Every slot is
 * a state of its parameter's type that starts at zero; bias corrections are
 * computed once per step in double, so that 1 - beta^t keeps its digits. */
#include "passes/passes.h"

#include <string.h>

struct rule {
	struct build *b;
	const struct optimizer *o;
	struct value *lr, *step;
	struct value *correct1, *correct2; /* f64: 1 - beta1^t, sqrt(1 - beta2^t) */
	struct value *first;		   /* bool: step == 1 */
};

static struct value *
slot(struct graph *g, struct value *p, const char *suffix)
{
	struct tensor *zero = tensor_new(g->arena, p->dtype, p->rank, p->dims);

	return graph_state(g, arena_printf(g->arena, "%s:%s", p->name, suffix), zero, false);
}

static void
update_to(struct graph *g, struct value *state, struct value *next)
{
	vec_push(g->arena, &g->updates, (struct update){state, next});
}

/* g += wd*w;  u = mu*u + (1 - dampening)*g, the first step u = g;
 * w -= lr * (nesterov ? g + mu*u : u) */
static void
sgd(struct rule *r, struct value *p, struct value *grad)
{
	struct build *b = r->b;
	const struct optimizer *o = r->o;
	struct value *lr = b_cast(b, r->lr, p->dtype);

	if (o->weight_decay != 0)
		grad = b_add(b, grad, b_muls(b, p, o->weight_decay));
	if (o->momentum != 0) {
		struct value *u = slot(b->g, p, "momentum");
		struct value *now =
		    b_add(b, b_muls(b, u, o->momentum), b_muls(b, grad, 1 - o->dampening));

		if (o->dampening != 0)
			now = b_select(b, r->first, grad, now);
		if (!now)
			return;
		update_to(b->g, u, now);
		grad = o->nesterov ? b_add(b, grad, b_muls(b, now, o->momentum)) : now;
	}
	struct value *next = b_sub(b, p, b_mul(b, lr, grad));

	if (next)
		update_to(b->g, p, next);
}

/* m = b1*m + (1-b1)*g;  v = b2*v + (1-b2)*g*g;
 * w -= lr/(1-b1^t) * m / (sqrt(v)/sqrt(1-b2^t) + eps);
 * Adam adds wd*w to g, AdamW first scales w by 1 - lr*wd. */
static void
adam(struct rule *r, struct value *p, struct value *grad)
{
	struct build *b = r->b;
	const struct optimizer *o = r->o;
	struct value *m = slot(b->g, p, "m"), *v = slot(b->g, p, "v");
	struct value *w = p, *m1, *v1, *rate, *scale, *next;

	if (o->kind == OPT_ADAM && o->weight_decay != 0)
		grad = b_add(b, grad, b_muls(b, p, o->weight_decay));
	m1 = b_add(b, b_muls(b, m, o->beta1), b_muls(b, grad, 1 - o->beta1));
	v1 = b_add(b, b_muls(b, v, o->beta2), b_muls(b, b_mul(b, grad, grad), 1 - o->beta2));
	rate = b_cast(b, b_div(b, b_cast(b, r->lr, DT_f64), r->correct1), p->dtype);
	scale = b_cast(b, b_div(b, b_scalar(b, DT_f64, 1), r->correct2), p->dtype);
	if (o->kind == OPT_ADAMW && o->weight_decay != 0) {
		struct value *lr = b_cast(b, r->lr, DT_f64);
		struct value *decay =
		    b_sub(b, b_scalar(b, DT_f64, 1), b_muls(b, lr, o->weight_decay));

		w = b_mul(b, w, b_cast(b, decay, p->dtype));
	}
	next = b_div(b, m1, b_adds(b, b_mul(b, b_sqrt(b, v1), scale), o->eps));
	next = b_sub(b, w, b_mul(b, rate, next));
	if (!m1 || !v1 || !next)
		return;
	update_to(b->g, m, m1);
	update_to(b->g, v, v1);
	update_to(b->g, p, next);
}

static struct value *
power(struct build *b, double base, struct value *t)
{
	return b2(b, OP_pow, b_scalar(b, DT_f64, base), t);
}

static void
prepare(struct rule *r)
{
	struct build *b = r->b;
	struct value *one = b_scalar(b, DT_f64, 1);

	if (r->o->kind == OPT_SGD) {
		if (r->o->momentum != 0 && r->o->dampening != 0)
			r->first = b2(b, OP_eq, r->step, b_scalar_like(b, r->step, 1));
		return;
	}
	struct value *t = b_cast(b, r->step, DT_f64);

	r->correct1 = b_sub(b, one, power(b, r->o->beta1, t));
	r->correct2 = b_sqrt(b, b_sub(b, one, power(b, r->o->beta2, t)));
}

bool
update_build(struct graph *g, const struct optimizer *o, struct value *lr, struct value *step,
    int n, struct value *const *params, struct value *const *grads, struct diag *d)
{
	struct build b = build_at(g, d, LOC_NONE, "update");
	struct rule r = {.b = &b, .o = o, .lr = lr, .step = step};
	int before = d->errors;

	prepare(&r);
	for (int i = 0; i < n; i++) {
		if (!grads[i])
			continue;
		require(params[i]->kind == VAL_STATE);
		require(grads[i]->dtype == params[i]->dtype);
		require(
		    dims_equal(grads[i]->rank, grads[i]->dims, params[i]->rank, params[i]->dims));
		b.loc = params[i]->loc;
		b.loc.maker = "update";
		if (o->kind == OPT_SGD)
			sgd(&r, params[i], grads[i]);
		else
			adam(&r, params[i], grads[i]);
	}
	return d->errors == before;
}
