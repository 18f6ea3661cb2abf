/* retort inspect: what a model asks of a machine; the manifest that a library or an
 * executable carries, the configuration of a trainer, where a checkpoint is. */
#include "driver/driver.h"
#include "runtime/checkpoint.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

struct facts {
	double flops, params, param_bytes;
	double *node_flops;      /* by index of the file's node */
	int nfile_nodes;
	int64_t work, constants;
	int kernels;
};

static void
count_params(struct graph *g, struct facts *f)
{
	for (int i = 0; i < g->consts.n; i++)
		if (g->consts.v[i]->data && dtype_is_float(g->consts.v[i]->dtype)) {
			f->params += (double)tensor_count(g->consts.v[i]->data);
			f->param_bytes += (double)g->consts.v[i]->data->bytes;
		}
	for (int i = 0; i < g->nodes.n; i++)
		if (g->nodes.v[i]->loc.node >= f->nfile_nodes)
			f->nfile_nodes = g->nodes.v[i]->loc.node + 1;
}

/* Arithmetic of the expanded graph, booked on the nodes of the file. */
static bool
count_flops(struct driver *d, struct graph *g, struct facts *f)
{
	struct pass_opts o = model_pass_opts(d, NULL);
	struct pass_ctx ctx = {.arena = d->arena, .diag = &d->diag, .opts = &o};

	f->node_flops = arena_array(d->arena, double, f->nfile_nodes + 1);
	if (!passes_run_named(g, "expand", &ctx))
		return false;
	for (int i = 0; i < g->nodes.n; i++) {
		const struct node *n = g->nodes.v[i];
		double flops = n->dead ? 0 : node_flops(n);

		f->flops += flops;
		if (n->loc.node >= 0 && n->loc.node < f->nfile_nodes)
			f->node_flops[n->loc.node] += flops;
	}
	return true;
}

static void
print_values(struct driver *d, struct graph *g, const char *what, int n, struct value *const *v, const char *const *names)
{
	for (int i = 0; i < n; i++)
		printf("%-8s %-24s %s\n", what, names ? names[i] : v[i]->name, value_text(d->arena, g, v[i]));
}

static void
print_json(struct driver *d, const char *path, const struct graph *g, const struct onnx_summary *sum, const struct facts *f)
{
	struct str s = {0};
	const char *m = model_manifest(d, NULL, path, g);

	str_addn(&s, m, strlen(m) - 1);
	str_addf(&s, ",\"ir_version\":%" PRId64 ",\"opset\":%" PRId64 ",\"nodes\":%d,\"params\":%.0f,\"flops\":%.0f", sum->ir_version,
	         sum->opset, sum->nodes, f->params, f->flops);
	str_addf(&s, ",\"work_bytes\":%" PRId64 ",\"const_bytes\":%" PRId64 ",\"kernels\":%d}", f->work, f->constants, f->kernels);
	puts(s.s);
	str_free(&s);
}

struct listed_layer { const char *name, *op, *type; int node; };

static bool
inspect_model(struct driver *d, const char *path)
{
	struct onnx_summary sum = {0};
	struct facts f = {0};
	struct graph *g;
	struct program *p;
	struct listed_layer *layer;
	int nlayer = 0;

	if (!onnx_summarize(path, d->arena, &sum, &d->diag))
		return false;
	g = model_import(d, path, 0, NULL, NULL);
	if (!g || (d->o.svg && !graph_svg(d, g, d->o.svg)))
		return false;
	count_params(g, &f);
	if (!d->o.json) {
		printf("%s: IR version %" PRId64 ", opset %" PRId64 ", %s, %d nodes, %d initializers\n", path, sum.ir_version,
		       sum.opset, sum.producer && *sum.producer ? sum.producer : "producer unknown", sum.nodes, sum.initializers);
		print_values(d, g, "input", g->inputs.n, g->inputs.v, NULL);
		print_values(d, g, "output", g->outputs.n, g->outputs.v, g->output_names.v);
	}
	layer = arena_array(d->arena, struct listed_layer, g->nodes.n + 1);
	for (int i = 0; i < g->nodes.n; i++) {
		const struct node *n = g->nodes.v[i];

		if (n->dead || n->loc.node < 0 || (nlayer && layer[nlayer - 1].node == n->loc.node))
			continue;
		layer[nlayer++] = (struct listed_layer){n->loc.name ? n->loc.name : n->name, n->loc.op ? n->loc.op : op_info[n->op].id,
		                                 n->nout && n->out[0] ? value_text(d->arena, g, n->out[0]) : "", n->loc.node};
	}
	if (!count_flops(d, g, &f))
		return false;
	p = model_compile(d, NULL, g);
	if (!p)
		return false;
	f.work = p->work_bytes;
	f.constants = p->const_bytes;
	f.kernels = p->calls.n;
	if (d->o.json) {
		print_json(d, path, g, &sum, &f);
		return true;
	}
	printf("\n%5s %-20s %-32s %-22s %12s\n", "node", "operator", "name", "output", "MFLOP");
	for (int i = 0; i < nlayer; i++)
		printf("%5d %-20s %-32s %-22s %12.3f\n", layer[i].node, layer[i].op, layer[i].name ? layer[i].name : "",
		       layer[i].type, f.node_flops[layer[i].node] / 1e6);
	printf("\n%.0f parameters (%.2f MB), %.4g MFLOP, %d kernels, work %" PRId64 " bytes, constants %" PRId64 " bytes\n", f.params,
	       f.param_bytes / 1e6, f.flops / 1e6, f.kernels, f.work, f.constants);
	return true;
}

/* A trainer's configuration as docs/trainer-config.md has it, but for the recipe's text. */
static bool
print_trainer(const char *bytes, size_t size)
{
	static const char start[] = "retort_trainer 1\nname ";
	const char *p = memmem(bytes, size, start, sizeof start - 1), *end;

	if (!p || !memchr(p, 0, size - (size_t)(p - bytes)))
		return false;
	for (; *p; p = *end ? end + 1 : end) {
		end = strchr(p, '\n');
		if (!end)
			end = p + strlen(p);
		if (strncmp(p, "recipe ", 7) != 0)
			printf("%.*s\n", (int)(end - p), p);
	}
	return true;
}

static bool
inspect_checkpoint(struct driver *d, const char *path)
{
	struct cursor c;
	int64_t bytes;
	size_t size;
	void *file = file_read(&d->diag, path, &size);
	const char *wrong;

	if (!file)
		return false;
	wrong = checkpoint_read(file, size, &c, &bytes);
	free(file);
	if (wrong)
		return diag_invalid(&d->diag, LOC_FILE(path), "%s", wrong);
	if (d->o.json) {
		printf("{\"stage\":%" PRId64 ",\"epoch\":%" PRId64 ",\"step\":%" PRId64 ",\"total_epochs\":%" PRId64
		       ",\"total_updates\":%" PRId64 ",\"done\":%s,\"seconds\":%.6g,\"state_bytes\":%" PRId64,
		       c.stage, c.epoch, c.step, c.total_epochs, c.total_updates, c.done ? "true" : "false", c.seconds, bytes);
		if (!isnan(c.best))
			printf(",\"best\":%.9g,\"best_epoch\":%" PRId64, c.best, c.best_epoch);
		puts("}");
		return true;
	}
	printf("%s: checkpoint, checksum right\n", path);
	if (c.done)
		printf("%-10s training is over\n", "next");
	else
		printf("%-10s stage %" PRId64 ", epoch %" PRId64 ", step %" PRId64 "\n", "next", c.stage + 1, c.epoch + 1, c.step + 1);
	printf("%-10s %" PRId64 " epochs, %" PRId64 " updates, %.1f s\n", "so far", c.total_epochs, c.total_updates, c.seconds);
	if (!isnan(c.best))
		printf("%-10s %.6g in epoch %" PRId64 "\n", "best", c.best, c.best_epoch);
	printf("%-10s %" PRId64 " bytes of weights and optimiser states\n", "states", bytes);
	return true;
}

/* The JSON object that starts with {"retort": in any file of ours. */
static bool
inspect_binary(struct driver *d, const char *path)
{
	static const char start[] = "{\"retort\":";
	size_t size, found = 0;
	char *bytes = file_read(&d->diag, path, &size), *p, *end;

	if (!bytes)
		return false;
	end = bytes + size;
	for (p = bytes; (p = memmem(p, (size_t)(end - p), start, sizeof start - 1)); p++) {
		size_t n = strnlen(p, (size_t)(end - p));

		if (n > sizeof start && p[n - 1] == '}') {
			printf("%.*s\n", (int)n, p);
			found++;
		}
	}
	if (!found && !d->o.json && print_trainer(bytes, size))
		found++;
	free(bytes);
	if (!found)
		return diag_invalid(&d->diag, LOC_FILE(path), "carries no manifest of retort's: neither a model nor something retort made");
	return true;
}

bool
verb_inspect(struct driver *d)
{
	const char *path = d->o.taps ? NULL : opts_one(d, "a model, library, executable or checkpoint");
	unsigned char head[8] = {0};
	FILE *f;

	if (d->o.taps)
		return inspect_taps(d);
	if (!path)
		return false;
	f = fopen(path, "rb");
	if (!f)
		return diag_io(&d->diag, LOC_FILE(path), "cannot be read: no such file, or no permission");
	if (fread(head, 1, sizeof head, f) < 4)
		memset(head, 0, sizeof head);
	fclose(f);
	if (memcmp(head, "RTCKPT\r\n", 8) == 0)
		return inspect_checkpoint(d, path);
	if (memcmp(head, "\177ELF", 4) == 0 || memcmp(head, "!<arch>", 7) == 0)
		return inspect_binary(d, path);
	return inspect_model(d, path);
}
