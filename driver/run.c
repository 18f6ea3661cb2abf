/* retort run M.onnx [NAME=]X.npy... [-o [NAME=]Y.npy]...: shapes come from the
 * tensors, the model is compiled in memory and run once. */
#include "driver/driver.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Which graph input each tensor is for: by name, else by position. */
static bool
match_inputs(struct driver *d, const struct graph *g, int n, const struct named *arg, int *index)
{
	bool *taken = arena_array(d->arena, bool, g->inputs.n + 1);

	for (int i = 0; i < n; i++) {
		const char **names = arena_array(d->arena, const char *, g->inputs.n + 1);

		index[i] = -1;
		for (int k = 0; k < g->inputs.n; k++) {
			names[k] = g->inputs.v[k]->name;
			if (arg[i].name ? strcmp(arg[i].name, names[k]) == 0 : index[i] < 0 && !taken[k])
				index[i] = k;
		}
		if (index[i] < 0 && arg[i].name) {
			const char *near = str_nearest(arg[i].name, names, g->inputs.n);

			return diag_usage(&d->diag, "the model has no input \"%s\"%s%s%s", arg[i].name,
			                  near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : "");
		}
		if (index[i] < 0)
			return diag_usage(&d->diag, "%s: the model has only %d input%s", arg[i].path, g->inputs.n,
			                  g->inputs.n == 1 ? "" : "s");
		if (taken[index[i]])
			return diag_usage(&d->diag, "input \"%s\" is given twice", g->inputs.v[index[i]]->name);
		taken[index[i]] = true;
	}
	for (int k = 0; k < g->inputs.n; k++)
		if (!taken[k])
			return diag_usage(&d->diag, "input \"%s\" %s is missing: give %s=FILE.npy", g->inputs.v[k]->name,
			                  value_text(d->arena, (struct graph *)(uintptr_t)g, g->inputs.v[k]), g->inputs.v[k]->name);
	return true;
}

static void
print_tensor(const char *name, struct arena *a, const struct tensor *t)
{
	int64_t n = tensor_count(t);

	printf("%s %s%s", name, dtype_info[t->dtype].name, shape_text(a, t->rank, t->dims));
	for (int64_t i = 0; i < n && i < 16; i++)
		if (dtype_is_float(t->dtype))
			printf(" %.9g", dtype_get_f(t->dtype, t->data, i));
		else
			printf(" %" PRId64, dtype_get_i(t->dtype, t->data, i));
	puts(n > 16 ? " ..." : "");
}

static bool
write_outputs(struct driver *d, struct session *s)
{
	const struct rt_program *rt = s->rt;

	if (d->o.outputs.n == 0)
		for (int i = 0; i < rt->noutputs; i++)
			print_tensor(rt->outputs[i].name, d->arena, session_output(d, s, i));
	for (int k = 0; k < d->o.outputs.n; k++) {
		struct named o = named_split(d->arena, d->o.outputs.v[k]);
		int index = -1;

		for (int i = 0; i < rt->noutputs; i++)
			if (o.name && strcmp(o.name, rt->outputs[i].name) == 0)
				index = i;
		if (!o.name)
			index = k;
		if (index < 0 || index >= rt->noutputs)
			return diag_usage(&d->diag, "-o %s: the model has no such output; its first is \"%s\"", d->o.outputs.v[k],
			                  rt->noutputs ? rt->outputs[0].name : "");
		if (!npy_write(o.path, session_output(d, s, index), &d->diag))
			return false;
	}
	return true;
}

bool
verb_run(struct driver *d)
{
	int n = d->o.args.n - 1;
	struct named *arg = arena_array(d->arena, struct named, n + 1);
	struct tensor **in = arena_array(d->arena, struct tensor *, n + 1);
	const char **names = arena_array(d->arena, const char *, n + 1);
	int *index = arena_array(d->arena, int, n + 1);
	struct session s = {0};
	struct graph *g;
	bool ok;

	if (n < 0)
		return diag_usage(&d->diag, "the model is missing: retort run M.onnx x=x.npy -o y=y.npy");
	for (int i = 0; i < n; i++) {
		const char *inner = NULL;

		arg[i] = named_split(d->arena, d->o.args.v[i + 1]);
		in[i] = tensor_read(d, arg[i].path, &inner);
		if (!in[i])
			return false;
		if (!arg[i].name)
			arg[i].name = inner;
		names[i] = arg[i].name;
	}
	/* a tensor without a name is for the input at its place: learn the names first */
	for (int i = 0; i < n; i++)
		if (!names[i]) {
			g = model_import(d, d->o.args.v[0], 0, NULL, NULL);
			if (!g || !match_inputs(d, g, n, arg, index))
				return false;
			for (int k = 0; k < n; k++)
				arg[k].name = names[k] = g->inputs.v[index[k]]->name;
		}
	g = model_import(d, d->o.args.v[0], n, in, names);
	if (!g || !match_inputs(d, g, n, arg, index))
		return false;
	ok = session_open(d, &s, g, NULL);
	for (int i = 0; ok && i < n; i++)
		ok = session_input(d, &s, index[i], in[i], arg[i].path);
	if (ok) {
		session_run(&s);
		ok = write_outputs(d, &s);
	}
	session_close(&s);
	return ok;
}
