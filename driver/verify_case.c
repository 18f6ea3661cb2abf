/* verify_case -- one case of retort verify: its tensors read, the model imported for
 * them, compiled and run, the outputs compared. */
#include "driver/verify.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* ---- one data set */
struct dataset {
	int nin, nout;               /* tensors: elements of sequences stand by themselves */
	const char **in_file, **in_name, **out_file, **out_name;
	struct tensor **in, **out;
	int nin_list, nout_list;     /* the sequences and optionals and how long they are */
	const struct input_list *in_list, *out_list;
};

static void
report_difference(const char *what, const char *name, const struct difference *r)
{
	printf("  %s %s: max abs %.3g, rel %.3g, %.3g ulp, reference up to %.3g", what, name, r->max_abs, r->max_rel,
	       r->max_ulp, r->max_ref);
	if (r->bad)
		printf("; %" PRId64 " of %" PRId64 " outside, worst at %" PRId64 ": %.9g, expected %.9g", r->bad, r->count, r->worst,
		       r->got, r->want);
	putchar('\n');
}

static int
find_output(const struct session *s, const char *name)
{
	for (int k = 0; k < s->rt->noutputs; k++)
		if (strcmp(name, s->rt->outputs[k].name) == 0)
			return k;
	return -1;
}

/* How many elements output `name` has in this run; an optional's content is it, -1: none. */
static int
list_length(struct driver *d, struct session *s, const char *name)
{
	int at = find_output(s, arena_printf(d->arena, "%s.length", name)), n = -1;
	size_t len = strlen(name);

	if (at >= 0)
		return (int)dtype_get_i(DT_i64, session_output(d, s, at)->data, 0);
	at = find_output(s, arena_printf(d->arena, "%s.has", name));
	if (at >= 0 && !*(const uint8_t *)session_output(d, s, at)->data)
		return -1;
	for (int k = 0; k < s->rt->noutputs; k++) {
		const char *o = s->rt->outputs[k].name;

		if (strcmp(o, name) == 0)
			n = n < 1 ? 1 : n;
		else if (strncmp(o, name, len) == 0 && o[len] == '.' && o[len + 1] >= '0' && o[len + 1] <= '9' &&
		         atoi(o + len + 1) >= n)
			n = atoi(o + len + 1) + 1;
	}
	return n;
}

/* ---- outputs that hang on random numbers: their type and dims can be compared only */
static bool
draws(const struct node *n)
{
	double mode = 0, ratio = 0.5;

	if (n->op != OP_Dropout)
		return op_is_random(n->op);
	if (n->nin > 1 && n->in[1])
		value_number(n->in[1], &ratio);
	if (n->nin > 2 && n->in[2])
		value_number(n->in[2], &mode);
	return mode != 0 && ratio != 0;
}

/* Which outputs of g do, by place. */
static bool *
random_outputs(struct arena *a, const struct graph *g)
{
	bool *by_value = arena_array(a, bool, g->nvalue + 1), *by_place = arena_array(a, bool, g->outputs.n + 1);

	for (int i = 0; i < g->nodes.n; i++) {
		const struct node *n = g->nodes.v[i];
		bool random = !n->dead && draws(n);

		for (int k = 0; k < n->nin && !n->dead; k++)
			random |= n->in[k] && by_value[n->in[k]->id];
		for (int k = 0; k < n->nout; k++)
			if (n->out[k] && random)
				by_value[n->out[k]->id] = true;
	}
	for (int i = 0; i < g->outputs.n; i++)
		by_place[i] = by_value[g->outputs.v[i]->id];
	return by_place;
}

/* ONNX's own tolerance: its reference of the transforms in f32 is that far from exact. */
static double
absolute_tolerance(const struct driver *d, const struct case_result *res, enum dtype t)
{
	if (d->o.atol >= 0)
		return d->o.atol;
	return t == DT_f32 && (strstr(res->ops, " DFT ") || strstr(res->ops, " STFT ")) ? 1e-3 : 1e-7;
}

/* The numpy of ONNX 1.12's writer knew no bfloat16; its files hold the bits as u16. */
static struct tensor *
as_bf16(struct driver *d, struct tensor *t, enum dtype want)
{
	struct tensor *bits = t;

	if (want == DT_bf16 && t->dtype == DT_u16) {
		bits = arena_dup(d->arena, t, sizeof *t);
		bits->dtype = DT_bf16;
	}
	return bits;
}

static bool
compare_outputs(struct driver *d, struct session *s, const struct dataset *ds, const bool *random,
                struct case_result *res)
{
	for (int i = 0; i < ds->nout_list; i++) {
		int want = ds->out_list[i].count, got = list_length(d, s, ds->out_list[i].input);

		if (got != want && !(want == 0 && got < 0)) {
			printf("  output %s: has %d elements, expected %d\n", ds->out_list[i].input, got, want);
			res->same = false;
		}
	}
	for (int i = 0; i < ds->nout; i++) {
		struct difference r;
		struct tensor *got;
		const char *why = "";
		int index = ds->out_name[i] ? -1 : i;

		if (ds->out_name[i])
			index = find_output(s, ds->out_name[i]);
		if (index < 0 && i < s->rt->noutputs && str_ends(ds->out_file[i], ".pb"))
			index = i; /* in the test layout the place counts */
		if (index < 0 || index >= s->rt->noutputs)
			return diag_invalid(&d->diag, LOC_FILE(ds->out_file[i]), "the model has no output \"%s\"",
			                    ds->out_name[i] ? ds->out_name[i] : "");
		got = session_output(d, s, index);
		if (!tensor_compare(d->arena, got, as_bf16(d, ds->out[i], got->dtype), d->o.rtol,
		                    absolute_tolerance(d, res, got->dtype), &r, &why)) {
			printf("  output %s: %s\n", s->rt->outputs[index].name, why);
			res->same = false;
			continue;
		}
		if (random[index]) {
			printf("  output %s: random, type and dims compared only\n", s->rt->outputs[index].name);
			continue;
		}
		if (r.bad)
			res->same = false;
		if (r.max_ulp > res->max_ulp)
			res->max_ulp = r.max_ulp;
		if (r.bad || d->o.verbose || d->o.args.n == 1)
			report_difference("output", s->rt->outputs[index].name, &r);
	}
	return true;
}

/* ---- --per-node: every value of the imported graph becomes an output */
static void
per_node_report(struct driver *d, struct session *s, struct graph *evaluated, const struct dataset *ds, int ntap,
                const int *value_id, const struct node *const *node)
{
	struct eval_opts eo = {.arena = d->arena};
	struct etensor **in = arena_array(d->arena, struct etensor *, evaluated->inputs.n + 1);
	struct etensor **out = arena_array(d->arena, struct etensor *, evaluated->outputs.n + 1);
	struct etensor **all = arena_array(d->arena, struct etensor *, evaluated->nvalue + 1);

	for (int i = 0; i < evaluated->inputs.n; i++)
		for (int k = 0; k < ds->nin; k++)
			if (strcmp(ds->in_name[k], evaluated->inputs.v[i]->name) == 0)
				in[i] = etensor_from(d->arena, ds->in[k]);
	if (!eval_graph(&eo, evaluated, in, out, NULL, all, &d->diag))
		return;
	const struct node *first = NULL;

	printf("  %5s %-16s %-28s %10s %10s %10s\n", "node", "operator", "name", "max abs", "max rel", "ulp");
	for (int i = 0; i < ntap; i++) {
		int k = s->rt->noutputs - ntap + i;
		const struct etensor *e = all[value_id[i]];
		struct difference r;
		const char *why = "";

		if (!e)
			continue;
		if (!tensor_compare(d->arena, session_output(d, s, k), etensor_to(d->arena, e), d->o.rtol, d->o.atol < 0 ? 1e-7 : d->o.atol, &r,
		                    &why)) {
			printf("  %5d %-16s %-28s %s\n", node[i]->loc.node, op_info[node[i]->op].id, node[i]->name ? node[i]->name : "", why);
			continue;
		}
		printf("  %5d %-16s %-28s %10.3g %10.3g %10.3g%s\n", node[i]->loc.node,
		       node[i]->loc.op ? node[i]->loc.op : op_info[node[i]->op].id, node[i]->loc.name ? node[i]->loc.name : "",
		       r.max_abs, r.max_rel, r.max_ulp, r.bad ? "  <- outside" : "");
		if (r.bad && !first)
			first = node[i];
	}
	if (first)
		printf("  first outside: node %d \"%s\" (%s)\n", first->loc.node, first->loc.name ? first->loc.name : "",
		       first->loc.op ? first->loc.op : op_info[first->op].id);
}

static bool
try_dataset(struct driver *d, const char *model, struct dataset *ds, struct import_as as, struct case_result *res)
{
	struct graph *g = model_import_as(d, model, ds->nin, ds->in, ds->in_name, as), *oracle = NULL;
	struct session s;
	int ntap = 0, *value_id = NULL;
	const struct node **node = NULL;
	bool ok, *random;

	if (!g)
		return false;
	random = random_outputs(d->arena, g);
	if (d->o.per_node) {
		oracle = model_import_as(d, model, ds->nin, ds->in, ds->in_name, as);
		value_id = arena_array(d->arena, int, g->nodes.n + 1);
		node = arena_array(d->arena, const struct node *, g->nodes.n + 1);
		for (int i = 0; oracle && i < g->nodes.n; i++)
			if (!g->nodes.v[i]->dead && g->nodes.v[i]->nout && g->nodes.v[i]->out[0]) {
				value_id[ntap] = g->nodes.v[i]->out[0]->id;
				node[ntap] = oracle->nodes.v[i];
				graph_output(g, arena_printf(d->arena, "$node.%d", ntap), g->nodes.v[i]->out[0]);
				ntap++;
			}
	}
	ok = session_open(d, &s, g, NULL);
	for (int i = 0; ok && i < s.rt->ninputs; i++) {
		int k = 0;

		while (k < ds->nin && (!ds->in_name[k] || strcmp(ds->in_name[k], s.rt->inputs[i].name) != 0))
			k++;
		ok = k < ds->nin ? session_input(d, &s, i, as_bf16(d, ds->in[k], g->inputs.v[i]->dtype), ds->in_file[k])
		                 : diag_invalid(&d->diag, LOC_FILE(model), "input \"%s\" has no data", s.rt->inputs[i].name);
	}
	if (ok) {
		ok = session_run(d, &s) && compare_outputs(d, &s, ds, random, res);
	}
	if (ok && oracle)
		per_node_report(d, &s, oracle, ds, ntap, value_id, node);
	session_close(&s);
	return ok;
}

/* The names of what is bound, for the report. */
static void
note_bound(const struct dataset *ds, enum bind bind, struct case_result *res)
{
	size_t n = 0;

	for (int i = 0; i < ds->nin; i++)
		if (model_binds(ds->in[i], bind) && n < sizeof res->bound)
			n += (size_t)snprintf(res->bound + n, sizeof res->bound - n, "%s%s", n ? ", " : "",
			                      ds->in_name[i] ? ds->in_name[i] : "?");
}

/* Where a shape hangs on an input's value, once more with such inputs as constants. */
static bool
try_binding(struct driver *d, const char *model, struct dataset *ds, int symbolic, struct case_result *res)
{
	struct import_as as = {.symbolic = symbolic};
	struct diag held = diag_hold(d);
	bool ok = try_dataset(d, model, ds, as, res), retry = false;

	for (int i = 0; i < ds->nin; i++)
		retry |= !ok && d->diag.status == STATUS_UNSUPPORTED && model_binds(ds->in[i], BIND_SHAPES);
	diag_release(d, held, retry);
	if (!retry)
		return ok;
	note_bound(ds, BIND_SHAPES, res);
	as.bind = BIND_SHAPES;
	return try_dataset(d, model, ds, as, res);
}

/* As many sizes as can be symbols: a model may hold some of them fixed (a constant's
 * dims, an attribute), and says so. */
static bool
try_symbolic(struct driver *d, const char *model, struct dataset *ds, struct case_result *res)
{
	static const struct { int sizes; const char *text; } steps[] = {
		{SIZES_ALL, "all"}, {SIZES_FIRST, "those of the first input"}, {SIZES_OUTER, "the outermost"},
	};
	enum { NSTEP = sizeof steps / sizeof *steps };

	for (int i = 0; i < NSTEP; i++) {
		struct diag held = diag_hold(d);
		bool ok = try_binding(d, model, ds, steps[i].sizes, res);

		if (!ok && i == NSTEP - 1)
			d->diag.status = STATUS_UNSUPPORTED;
		diag_release(d, held, !ok && i < NSTEP - 1);
		if (ok) {
			printf("  symbolic sizes: %s\n", steps[i].text);
			return true;
		}
	}
	return false;
}

static void
note_types(int n, struct tensor *const *t, struct case_result *res)
{
	char word[32];

	if (!*res->types)
		strcpy(res->types, " ");
	for (int i = 0; i < n; i++) {
		size_t used = strlen(res->types);

		snprintf(word, sizeof word, " %s ", dtype_info[t[i]->dtype].name);
		if (!strstr(res->types, word))
			snprintf(res->types + used, sizeof res->types - used, "%s", word + 1);
	}
}

static bool
run_dataset(struct driver *d, const char *model, struct dataset *ds, enum form form, struct case_result *res)
{
	d->nlists = ds->nin_list;
	d->lists = ds->in_list;
	note_types(ds->nin, ds->in, res);
	note_types(ds->nout, ds->out, res);
	switch (form) {
	case FORM_SYMBOLIC:
		return try_symbolic(d, model, ds, res);
	case FORM_CONSTANTS:
		return try_dataset(d, model, ds, (struct import_as){.bind = BIND_ALL}, res);
	default:
		return try_binding(d, model, ds, SIZES_FIXED, res);
	}
}

static void
note_operators(struct driver *d, const char *model, struct case_result *res)
{
	const char *const *op;
	size_t n = 1;
	int nop = 0;

	strcpy(res->ops, " ");
	if (!onnx_operators(model, d->arena, &nop, &op, &d->diag))
		return;
	for (int i = 0; i < nop && n < sizeof res->ops; i++)
		n += (size_t)snprintf(res->ops + n, sizeof res->ops - n, "%s ", op[i]);
}

/* ---- reading a case */
static int
count_files(struct arena *a, const char *dir, const char *stem)
{
	int n = 0;

	while (file_exists(arena_printf(a, "%s/%s_%d.pb", dir, stem, n)))
		n++;
	return n;
}

/* Files of the test layout belong to inputs and outputs by place, whatever the
 * tensors in them are called. */
static bool
read_values(struct driver *d, const char *dir, const char *stem, int known, const char *const *names,
            const enum onnx_kind *kinds, const char ***file, struct onnx_values *v)
{
	VEC(const char *) from = {0};
	int n = count_files(d->arena, dir, stem);

	for (int i = 0; i < n; i++) {
		const char *path = arena_printf(d->arena, "%s/%s_%d.pb", dir, stem, i);

		if (!onnx_value_read(d->arena, path, i < known ? kinds[i] : ONNX_TENSOR, i < known ? names[i] : path, v,
		                     &d->diag))
			return false;
		while (from.n < v->t.n)
			vec_push(d->arena, &from, path);
	}
	*file = from.v;
	return true;
}

static bool
read_dataset(struct driver *d, const char *set, const struct onnx_summary *sum, struct dataset *ds)
{
	struct onnx_values in = {0}, out = {0};

	if (!read_values(d, set, "input", sum->ninputs, sum->inputs, sum->input_kind, &ds->in_file, &in) ||
	    !read_values(d, set, "output", sum->noutputs, sum->outputs, sum->output_kind, &ds->out_file, &out))
		return false;
	ds->nin = in.t.n;
	ds->in = in.t.v;
	ds->in_name = in.name.v;
	ds->nin_list = in.lists.n;
	ds->in_list = in.lists.v;
	ds->nout = out.t.n;
	ds->out = out.t.v;
	ds->out_name = out.name.v;
	ds->nout_list = out.lists.n;
	ds->out_list = out.lists.v;
	return true;
}

bool
verify_folder(struct driver *d, const char *dir, enum form form, struct case_result *res)
{
	const char *model = arena_printf(d->arena, "%s/model.onnx", dir);
	struct onnx_summary sum = {0};
	int sets = 0;

	note_operators(d, model, res);
	if (!onnx_summarize(model, d->arena, &sum, &d->diag))
		return false;
	for (int i = 0;; i++) {
		const char *set = arena_printf(d->arena, "%s/test_data_set_%d", dir, i);
		struct dataset ds = {0};

		if (!file_exists(set))
			break;
		sets++;
		if (!read_dataset(d, set, &sum, &ds) || !run_dataset(d, model, &ds, form, res))
			return false;
	}
	if (!sets)
		return diag_invalid(&d->diag, LOC_FILE(dir), "has no test_data_set_0/");
	return true;
}

static bool
read_named(struct driver *d, int n, const char *const *args, const char ***file, const char ***name, struct tensor ***t)
{
	*file = arena_array(d->arena, const char *, n + 1);
	*name = arena_array(d->arena, const char *, n + 1);
	*t = arena_array(d->arena, struct tensor *, n + 1);
	for (int i = 0; i < n; i++) {
		struct named arg = named_split(d->arena, args[i]);
		const char *inner = NULL;

		(*file)[i] = arg.path;
		(*t)[i] = tensor_read(d, arg.path, &inner);
		(*name)[i] = arg.name ? arg.name : inner;
		if (!(*t)[i])
			return false;
	}
	return true;
}

bool
verify_model(struct driver *d, enum form form, struct case_result *res)
{
	struct dataset ds = {.nin = d->o.args.n - 1, .nout = d->o.refs.n};
	struct onnx_summary sum = {0};

	note_operators(d, d->o.args.v[0], res);
	if (!onnx_summarize(d->o.args.v[0], d->arena, &sum, &d->diag) ||
	    !read_named(d, ds.nin, d->o.args.v + 1, &ds.in_file, &ds.in_name, &ds.in) ||
	    !read_named(d, ds.nout, d->o.refs.v, &ds.out_file, &ds.out_name, &ds.out))
		return false;
	for (int i = 0; i < ds.nin && i < sum.ninputs; i++)
		if (!ds.in_name[i] || str_ends(ds.in_file[i], ".pb"))
			ds.in_name[i] = sum.inputs[i];
	return run_dataset(d, d->o.args.v[0], &ds, form, res);
}
