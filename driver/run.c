/* retort run M.onnx [NAME=]X.npy... [-o [NAME=]Y.npy]...: shapes come from the
 * tensors, the model is compiled in memory and run once. */
#include "driver/driver.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* "x.0" names an element of x, which is a sequence or optional. */
static bool
is_element(const char *name, const char *input, enum onnx_kind kind)
{
	size_t n = strlen(input);

	return kind != ONNX_TENSOR && strncmp(name, input, n) == 0 && name[n] == '.' && name[n + 1] >= '0' && name[n + 1] <= '9';
}

/* Gives every tensor the name of the model's input it is for: its own, else by place. */
static bool
name_inputs(struct driver *d, const char *path, int n, struct named *arg, const char **names)
{
	struct onnx_summary sum = {0};
	bool *taken;

	if (!onnx_summarize(path, d->arena, &sum, &d->diag))
		return false;
	taken = arena_array(d->arena, bool, sum.ninputs + 1);
	for (int i = 0; i < n; i++) {
		int index = -1;
		bool element = false;

		for (int k = 0; arg[i].name && k < sum.ninputs; k++)
			element |= is_element(arg[i].name, sum.inputs[k], sum.input_kind[k]);
		if (element) {
			names[i] = arg[i].name;
			continue;
		}
		for (int k = 0; k < sum.ninputs; k++)
			if (arg[i].name ? strcmp(arg[i].name, sum.inputs[k]) == 0 : index < 0 && !taken[k])
				index = k;
		if (index < 0 && arg[i].name) {
			const char *near = str_nearest(arg[i].name, sum.inputs, sum.ninputs);

			return diag_usage(&d->diag, "the model has no input \"%s\"%s%s%s", arg[i].name,
			                  near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : "");
		}
		if (index < 0)
			return diag_usage(&d->diag, "%s: the model has only %d input%s", arg[i].path, sum.ninputs,
			                  sum.ninputs == 1 ? "" : "s");
		if (taken[index])
			return diag_usage(&d->diag, "input \"%s\" is given twice", sum.inputs[index]);
		taken[index] = true;
		names[i] = sum.inputs[index];
	}
	return true;
}

static bool
any_bindable(int n, struct tensor *const *in)
{
	for (int i = 0; i < n; i++)
		if (model_binds(in[i], BIND_SHAPES))
			return true;
	return false;
}

/* values: those of integer inputs are constants of the model */
static bool
run_once(struct driver *d, int n, const struct named *arg, struct tensor *const *in, const char *const *names, bool values,
         struct session *s)
{
	const char *path = d->o.args.v[0];
	struct graph *g = model_import_as(d, path, n, in, names, (struct import_as){.bind = values ? BIND_SHAPES : BIND_NONE});

	if (!g)
		return false;
	for (int k = 0; k < g->inputs.n; k++) {
		bool given = false;

		for (int i = 0; i < n; i++)
			given |= strcmp(names[i], g->inputs.v[k]->name) == 0;
		if (!given)
			return diag_usage(&d->diag, "input \"%s\" %s is missing: give %s=FILE.npy", g->inputs.v[k]->name,
			                  value_text(d->arena, g, g->inputs.v[k]), g->inputs.v[k]->name);
	}
	if (!model_explain(d, path, g) || !session_open(d, s, g, NULL) || !opt_report(d, s->program, NULL))
		return false;
	for (int k = 0; k < s->rt->ninputs; k++)
		for (int i = 0; i < n; i++)
			if (strcmp(names[i], s->rt->inputs[k].name) == 0 && !session_input(d, s, k, in[i], arg[i].path))
				return false;
	return session_run(d, s);
}

static void
print_tensor(const char *name, struct arena *a, const struct tensor *t)
{
	int64_t n = tensor_count(t);

	printf("%s %s%s", name, dtype_info[t->dtype].name, shape_text(a, t->rank, t->dims));
	for (int64_t i = 0; i < n && i < 16; i++)
		if (t->dtype == DT_str) {
			struct str s = {0};

			str_json(&s, ((const char *const *)t->data)[i] ? ((const char *const *)t->data)[i] : "");
			printf(" %s", s.s);
			str_free(&s);
		} else if (dtype_is_float(t->dtype))
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
	struct session s = {0};
	struct diag held;
	bool ok, retry;

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
			}
	if (!name_inputs(d, d->o.args.v[0], n, arg, names))
		return false;
	held = diag_hold(d);
	ok = run_once(d, n, arg, in, names, false, &s);
	retry = !ok && d->diag.status == STATUS_UNSUPPORTED && any_bindable(n, in);
	diag_release(d, held, retry);
	if (retry) {
		session_close(&s);
		ok = run_once(d, n, arg, in, names, true, &s);
	}
	ok = ok && write_outputs(d, &s);
	session_close(&s);
	return ok;
}
