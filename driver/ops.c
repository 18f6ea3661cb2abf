/* retort ops, passes, targets: what is known, straight from the tables. */
#include "driver/driver.h"

#include <string.h>

static const char *
class_name(const struct op_info *o)
{
	static const char *const name[] = {
		[OC_composite] = "composite", [OC_map] = "elementwise", [OC_view] = "view",   [OC_reduce] = "reduction",
		[OC_contract] = "contraction", [OC_conv] = "convolution", [OC_pool] = "pooling", [OC_index] = "index", [OC_host] = "host",
		[OC_other] = "other",
	};

	return name[o->class];
}

static const char *
grad_name(const struct op_info *o)
{
	return o->grad == grad_none ? "none" : o->grad == grad_expand ? "of its expansion" : "own";
}

static void
arity(char *s, size_t n, int lo, int hi)
{
	if (hi < 0)
		snprintf(s, n, "%d+", lo);
	else if (lo == hi)
		snprintf(s, n, "%d", lo);
	else
		snprintf(s, n, "%d-%d", lo, hi);
}

static void
ops_table(struct str *s, bool markdown)
{
	int onnx = 0, total = 0;

	for (int i = OP_none + 1; i < NOP; i++) {
		total++;
		onnx += op_info[i].onnx != NULL;
	}
	if (markdown)
		str_addf(s,
		         "# Operators\n\nWritten by `retort ops --markdown` from ir/ops.def: %d operators, %d of them ONNX's.\n"
		         "*since*: the newest ONNX version of the operator that the row implements; older ones are upgraded on import.\n\n"
		         "| operator | ONNX | since | in | out | kind | gradient | attributes |\n|---|---|---|---|---|---|---|---|\n",
		         total, onnx);
	else
		str_addf(s, "%-18s %-32s %5s %4s %4s  %-12s %s\n", "operator", "ONNX", "since", "in", "out", "kind", "gradient");
	for (int i = OP_none + 1; i < NOP; i++) {
		const struct op_info *o = &op_info[i];
		char in[24], out[24], since[16] = "";

		arity(in, sizeof in, o->in_min, o->in_max);
		arity(out, sizeof out, o->out_min, o->out_max);
		if (o->onnx)
			snprintf(since, sizeof since, "%d", o->since);
		if (!markdown) {
			str_addf(s, "%-18s %-32s %5s %4s %4s  %-12s %s\n", o->id, o->onnx ? o->onnx : "", since, in, out,
			         class_name(o), grad_name(o));
			continue;
		}
		str_addf(s, "| `%s` | %s | %s | %s | %s | %s | %s | ", o->id, o->onnx ? o->onnx : "", since, in, out,
		         class_name(o), grad_name(o));
		for (int k = 0; k < o->nattr; k++)
			str_addf(s, "%s%s", k ? ", " : "", o->attrs[k].name);
		str_add(s, " |\n");
	}
	if (!markdown)
		str_addf(s, "%d operators, %d of them ONNX's\n", total, onnx);
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

	if (d->o.args.n)
		return diag_usage(&d->diag, "retort ops takes no argument \"%s\"", d->o.args.v[0]);
	ops_table(&s, d->o.markdown);
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
