/* retort opt IN.rir --passes=a,b [-o OUT.rir]: named passes over textual IR. */
#include "driver/driver.h"

#include <stdlib.h>
#include <string.h>

bool
verb_opt(struct driver *d)
{
	const char *path = opts_one(d, "the input, IN.rir or -");
	const char *out = d->o.outputs.n ? d->o.outputs.v[d->o.outputs.n - 1] : "-";
	struct pass_opts o = model_pass_opts(d, NULL);
	struct pass_ctx ctx = {.arena = d->arena, .diag = &d->diag, .opts = &o};
	struct str text = {0};
	struct graph *g;
	char *bytes;
	size_t size;
	bool ok;

	if (!path)
		return false;
	if (str_ends(path, ".onnx") || str_ends(path, ".onnxtxt")) {
		g = model_import(d, path, 0, NULL, NULL);
	} else {
		bytes = file_read(&d->diag, strcmp(path, "-") == 0 ? "/dev/stdin" : path, &size);
		if (!bytes)
			return false;
		g = graph_parse(d->arena, bytes, path, &d->diag);
		free(bytes);
	}
	if (!g)
		return false;
	if (d->o.passes && *d->o.passes && !passes_run_named(g, d->o.passes, &ctx))
		return false;
	if (ctx.program)
		program_print(ctx.program, &text);
	else
		graph_print(g, &text, -1);
	if (strcmp(out, "-") == 0)
		ok = fwrite(text.s ? text.s : "", 1, text.n, stdout) == text.n;
	else
		ok = file_write(&d->diag, out, text.s ? text.s : "", text.n);
	str_free(&text);
	return ok;
}
