/* --saliency: the maps of passes/saliency.c as outputs of what is compiled. */
#include "driver/driver.h"
#include "passes/saliency.h"

#include <inttypes.h>
#include <string.h>

static bool
method_of(struct driver *d, struct saliency *s)
{
	const char *near = str_nearest(d->o.saliency, saliency_names, NSALIENCY);

	for (int i = 0; i < NSALIENCY; i++)
		if (strcmp(saliency_names[i], d->o.saliency) == 0) {
			s->method = (enum saliency_method)i;
			return true;
		}
	return diag_usage(&d->diag, "--saliency=%s: gradient, gradient_input, integrated or smoothgrad%s%s%s", d->o.saliency,
	                  near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : "");
}

/* The same model for k times the batch, where its file leaves the batch open; else NULL. */
static struct graph *
wide(struct driver *d, const char *path, const struct graph *g, int64_t k)
{
	struct tensor **in = arena_array(d->arena, struct tensor *, g->inputs.n + 1);
	const char **names = arena_array(d->arena, const char *, g->inputs.n + 1);
	int ndims = d->o.dims.n;
	struct graph *w;
	struct diag held;
	bool fits = k > 1;

	for (int i = 0; i < g->inputs.n; i++) {
		const struct value *v = g->inputs.v[i];

		names[i] = v->name;
		in[i] = arena_new(d->arena, struct tensor);
		in[i]->dtype = v->dtype;
		in[i]->rank = v->rank;
		memcpy(in[i]->dims, v->dims, sizeof in[i]->dims);
		for (int a = 0; a < v->rank; a++)
			fits &= dim_const(v->dims[a]);
		fits &= v->rank > 0;
		if (v->rank > 0)
			in[i]->dims[0] *= k;
	}
	if (!fits)
		return NULL;
	held = diag_hold(d);
	d->o.dims.n = 0; /* the shapes say all */
	w = model_import(d, path, g->inputs.n, in, names);
	d->o.dims.n = ndims;
	for (int i = 0; w && i < w->outputs.n; i++) {
		const struct value *a = w->outputs.v[i], *b = g->outputs.v[i];

		fits &= a->rank == b->rank && a->rank > 0 && a->dims[0] == k * b->dims[0] && dims_equal(a->rank - 1, a->dims + 1, b->rank - 1, b->dims + 1);
	}
	diag_release(d, held, true);
	return fits ? w : NULL;
}

bool
saliency_known(struct driver *d)
{
	struct saliency s;

	return method_of(d, &s);
}

bool
model_explain(struct driver *d, const char *path, struct graph *g)
{
	struct saliency s = {.steps = d->o.saliency_steps, .noise = d->o.saliency_noise, .class = d->o.saliency_class,
	                     .output = d->o.saliency_output};

	if (!d->o.saliency) {
		if (d->o.saliency_output || d->o.saliency_class >= 0)
			return diag_usage(&d->diag, "--saliency-%s is about --saliency=METHOD, which is not given", d->o.saliency_output ? "output" : "class");
		return true;
	}
	if (!method_of(d, &s))
		return false;
	if (s.steps < 1 || s.steps > 4096)
		return diag_usage(&d->diag, "--saliency-steps=%" PRId64 ": 1 to 4096", s.steps);
	if (!(s.noise >= 0))
		return diag_usage(&d->diag, "--saliency-noise=%g: at least 0", s.noise);
	return saliency_build(g, wide(d, path, g, saliency_points(&s)), &s, &d->diag);
}
