/* retort ops, passes, targets: what is known, straight from the tables
 * (ops --markdown: ops_markdown.c). */
#include "driver/driver.h"

#include <string.h>

const char *
ops_class_name(const struct op_info *o)
{
	static const char *const name[] = {
		[OC_composite] = "composite", [OC_map] = "elementwise", [OC_view] = "view",   [OC_reduce] = "reduction",
		[OC_contract] = "contraction", [OC_conv] = "convolution", [OC_pool] = "pooling", [OC_index] = "index", [OC_host] = "host",
		[OC_other] = "other",
	};

	return name[o->class];
}

const char *
ops_grad_name(const struct op_info *o)
{
	return op_not_differentiable((enum op)(o - op_info)) ? "none" : o->grad == grad_expand ? "of its expansion" : "own";
}

const char *
ops_arity(struct arena *a, int lo, int hi)
{
	return hi < 0 ? arena_printf(a, "%d+", lo) : lo == hi ? arena_printf(a, "%d", lo) : arena_printf(a, "%d-%d", lo, hi);
}

static void
ops_table(struct driver *d, struct str *s)
{
	int onnx = 0;

	str_addf(s, "%-18s %-32s %5s %4s %4s  %-12s %s\n", "operator", "ONNX", "since", "in", "out", "kind", "gradient");
	for (int i = OP_none + 1; i < NOP; i++) {
		const struct op_info *o = &op_info[i];

		onnx += o->onnx != NULL;
		str_addf(s, "%-18s %-32s %5s %4s %4s  %-12s %s\n", o->id, o->onnx ? o->onnx : "",
		         o->onnx ? arena_printf(d->arena, "%d", o->since) : "", ops_arity(d->arena, o->in_min, o->in_max),
		         ops_arity(d->arena, o->out_min, o->out_max), ops_class_name(o), ops_grad_name(o));
	}
	str_addf(s, "%d operators, %d of them ONNX's\n", NOP - 1, onnx);
}

static bool
put(struct driver *d, struct str *s)
{
	bool ok = true;

	if (d->o.outputs.n)
		ok = file_write(&d->diag, d->o.outputs.v[0], s->s, s->n);
	else
		fwrite(s->s, 1, s->n, stdout);
	str_free(s);
	return ok;
}

bool
verb_ops(struct driver *d)
{
	struct str s = {0};

	if (d->o.args.n && !d->o.markdown)
		return diag_usage(&d->diag, "retort ops takes no argument \"%s\"", d->o.args.v[0]);
	if (!d->o.markdown)
		ops_table(d, &s);
	else if (!ops_markdown(d, &s)) {
		str_free(&s);
		return false;
	}
	return put(d, &s);
}

bool
verb_passes(struct driver *d)
{
	(void)d;
	for (int i = 0; i < npasses; i++)
		printf("%-12s %s\n", passes[i].name, passes[i].help);
	return true;
}

bool
verb_targets(struct driver *d)
{
	(void)d;
	targets_print(stdout);
	return true;
}
