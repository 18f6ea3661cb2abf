/* retort check M.onnx [--grad]: every problem of a model at once, and with --grad
 * every node that a gradient would have to pass but cannot. */
#include "driver/driver.h"

#include <string.h>

/* Does v carry what a gradient could flow into? */
static bool
differentiable(const struct value *v)
{
	return v && dtype_is_float(v->dtype);
}

static int
check_grad(struct driver *d, struct graph *g)
{
	bool *carries = arena_array(d->arena, bool, g->nvalue + 1);
	int missing = 0;

	for (int i = 0; i < g->states.n; i++)
		carries[g->states.v[i]->id] = g->states.v[i]->trainable;
	for (int i = 0; i < g->nodes.n; i++) {
		struct node *n = g->nodes.v[i];
		bool reached = false;

		if (n->dead)
			continue;
		for (int k = 0; k < n->nin; k++)
			reached |= differentiable(n->in[k]) && carries[n->in[k]->id];
		if (!reached)
			continue;
		for (int k = 0; k < n->nout; k++)
			if (differentiable(n->out[k]))
				carries[n->out[k]->id] = true;
		if (op_not_differentiable(n->op) && differentiable(n->out[0])) {
			diag_unsupported(&d->diag, n->loc, "has no gradient (%s); freeze what lies before it or leave it out",
			    op_not_differentiable(n->op));
			missing++;
		}
	}
	return missing;
}

bool
verb_check(struct driver *d)
{
	const char *path = opts_one(d, "the model");
	struct pass_opts o = model_pass_opts(d, NULL);
	struct pass_ctx ctx = {.arena = d->arena, .diag = &d->diag, .opts = &o};
	struct graph *g;

	if (!path)
		return false;
	g = model_import_for(d, path, true, d->o.grad);
	if (g && d->diag.errors == 0 && d->o.grad)
		check_grad(d, g);
	if (g && d->diag.errors == 0)
		passes_run_named(g, "expand", &ctx);
	if (d->diag.errors) {
		printf("%s: %d problem%s\n", path, d->diag.errors, d->diag.errors == 1 ? "" : "s");
		return false;
	}
	if (!g)
		return false;
	printf("%s: ok, %d nodes%s\n", path, g->nodes.n, d->o.grad ? ", every gradient is there" : "");
	return true;
}
