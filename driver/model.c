/* model -- what the verbs share: a model file to a graph, a graph to a program,
 * a program with memory around it. */
#include "driver/driver.h"
#include "host/host.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

int64_t
now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

struct named
named_split(struct arena *a, const char *arg)
{
	const char *eq = strchr(arg, '=');

	if (!eq || eq == arg)
		return (struct named){NULL, arg};
	return (struct named){arena_strndup(a, arg, (size_t)(eq - arg)), eq + 1};
}

struct tensor *
tensor_read(struct driver *d, const char *path, const char **name)
{
	if (str_ends(path, ".pb"))
		return onnx_tensor_read(d->arena, path, name, &d->diag);
	return npy_read(d->arena, path, &d->diag);
}

/* ---- --dim */
static bool
parse_range(const char *s, int64_t *lo, int64_t *hi)
{
	char *end;

	*lo = *hi = strtoll(s, &end, 10);
	if (end == s)
		return false;
	if (end[0] == '.' && end[1] == '.') {
		s = end + 2;
		*hi = strtoll(s, &end, 10);
		if (end == s)
			return false;
	}
	return !*end && *lo >= 1 && *hi >= *lo;
}

/* N=16, N=1..64 to binds; x:0=16 to shapes (an axis at a time, -1: as the file says). */
static bool
parse_dims(struct driver *d, struct import_opts *io, struct dim_bind *binds, struct input_shape *shapes)
{
	for (int i = 0; i < d->o.dims.n; i++) {
		const char *arg = d->o.dims.v[i], *eq = strchr(arg, '='), *colon = strchr(arg, ':');
		int64_t lo, hi, axis;
		char *name;

		if (!eq || eq == arg || !parse_range(eq + 1, &lo, &hi))
			return diag_usage(&d->diag, "--dim \"%s\": write N=16, N=1..64 or INPUT:AXIS=16", arg);
		if (!colon || colon > eq) {
			name = arena_strndup(d->arena, arg, (size_t)(eq - arg));
			binds[io->ndims++] = (struct dim_bind){name, lo, hi};
			continue;
		}
		name = arena_strndup(d->arena, arg, (size_t)(colon - arg));
		axis = strtoll(colon + 1, NULL, 10);
		if (lo != hi || axis < 0 || axis >= MAX_RANK)
			return diag_usage(&d->diag, "--dim \"%s\": an axis takes one value, INPUT:AXIS=16", arg);
		{
			struct input_shape *s = NULL;

			for (int k = 0; k < io->nshapes; k++)
				if (strcmp(shapes[k].input, name) == 0)
					s = &shapes[k];
			if (!s) {
				s = &shapes[io->nshapes++];
				*s = (struct input_shape){.input = name};
			}
			for (; s->rank <= axis; s->rank++)
				s->dims[s->rank] = -1;
			s->dims[axis] = lo;
		}
	}
	io->dims = binds;
	io->shapes = shapes;
	return true;
}

bool
model_binds(const struct tensor *t, enum bind bind)
{
	if (bind != BIND_SHAPES)
		return bind == BIND_ALL;
	if (dtype_is_float(t->dtype))
		return t->rank <= 1 && tensor_count(t) <= 8;
	return dtype_is_int(t->dtype) || dtype_info[t->dtype].class == DC_BOOL || t->dtype == DT_str;
}

struct graph *
model_import_as(struct driver *d, const char *path, int n, struct tensor *const *in, const char *const *names,
                struct import_as as)
{
	struct import_opts io = {.default_dim = 1, .as_file = d->as_file, .symbolic = as.symbolic, .gradient = grad_build};
	struct dim_bind *binds = arena_array(d->arena, struct dim_bind, d->o.dims.n + 1);
	struct input_shape *shapes = arena_array(d->arena, struct input_shape, d->o.dims.n + n + 1);
	struct input_value *value = arena_array(d->arena, struct input_value, n + 1);
	bool range = false;
	struct graph *g;
	int64_t start = now_ns();

	if (!parse_dims(d, &io, binds, shapes))
		return NULL;
	for (int i = 0; i < io.ndims; i++)
		range |= binds[i].lo != binds[i].hi;
	for (int i = 0; i < n; i++) {
		struct input_shape *s;

		if (!in[i] || !names[i])
			continue;
		if (model_binds(in[i], as.bind)) {
			value[io.nvalues++] = (struct input_value){names[i], in[i]};
			continue;
		}
		if (range) /* the sizes are those of the run */
			continue;
		s = &shapes[io.nshapes++];
		*s = (struct input_shape){.input = names[i], .rank = in[i]->rank};
		memcpy(s->dims, in[i]->dims, sizeof s->dims);
	}
	io.values = value;
	io.nlists = d->nlists;
	io.lists = d->lists;
	io.max_trips = d->o.max_trips;
	g = onnx_import(d->arena, path, &io, &d->diag);
	if (g && d->o.verbose)
		diag_note(&d->diag, LOC_FILE(path), "imported in %.1f ms: %d nodes, %d inputs, %d outputs",
		          (double)(now_ns() - start) / 1e6, g->nodes.n, g->inputs.n, g->outputs.n);
	return g;
}

struct graph *
model_import(struct driver *d, const char *path, int n, struct tensor *const *in, const char *const *names)
{
	return model_import_as(d, path, n, in, names, (struct import_as){0});
}

struct diag
diag_hold(struct driver *d)
{
	struct diag held = d->diag;

	diag_init(&d->diag, NULL);
	d->diag.quiet = held.quiet;
	return held;
}

void
diag_release(struct driver *d, struct diag held, bool drop)
{
	struct diag tried = d->diag;

	d->diag = held;
	if (!drop) {
		if (held.out && tried.text.n)
			fwrite(tried.text.s, 1, tried.text.n, held.out);
		str_addn(&d->diag.text, tried.text.s ? tried.text.s : "", tried.text.n);
		d->diag.errors += tried.errors;
		d->diag.warnings += tried.warnings;
		if (d->diag.status == STATUS_OK)
			d->diag.status = tried.status;
	}
	diag_free(&tried);
}

struct graph *
model_import_for(struct driver *d, const char *path, bool keep_going, bool training)
{
	struct import_opts io = {.default_dim = 1, .keep_going = keep_going, .states = training, .training = training, .gradient = grad_build};
	struct dim_bind *binds = arena_array(d->arena, struct dim_bind, d->o.dims.n + 1);
	struct input_shape *shapes = arena_array(d->arena, struct input_shape, d->o.dims.n + 1);

	if (!parse_dims(d, &io, binds, shapes))
		return NULL;
	io.max_trips = d->o.max_trips;
	return onnx_import(d->arena, path, &io, &d->diag);
}

struct target *
model_target(struct driver *d)
{
	if (d->o.cpu && strchr(d->o.cpu, ',')) {
		diag_usage(&d->diag, "--cpu=%s: several CPUs are for retort compile", d->o.cpu);
		return NULL;
	}
	return model_target_for(d, d->o.cpu);
}

struct target *
model_target_for(struct driver *d, const char *cpu)
{
	struct target_opts t = {
		.triple = d->o.target,
		.cpu = cpu,
		.opt_level = (int)d->o.opt_level,
		.time = d->o.time_passes,
		.keep_temps = d->o.save_temps,
	};

	if (d->o.save_temps && d->o.outputs.n)
		t.dump_llvm = arena_printf(d->arena, "%s.ll", d->o.outputs.v[d->o.outputs.n - 1]);
	return target_open(&t, &d->diag);
}

struct pass_opts
model_pass_opts(struct driver *d, const struct target *t)
{
	struct pass_opts o = {
		.opt_level = (int)d->o.opt_level,
		.blas = !d->o.blas || strcmp(d->o.blas, "never") == 0 ? BLAS_NEVER
		        : strcmp(d->o.blas, "auto") == 0              ? BLAS_AUTO
		                                                      : BLAS_ALWAYS,
		.verify_each = d->o.verify_each,
		.time_passes = d->o.time_passes,
		.precise = d->o.precise,
		.machine = t ? *target_machine(t) : machine_usual(),
		.dump = d->o.dump,
		.stop_after = d->o.stop_after,
		.memory_budget = d->o.memory_budget,
		.string_bytes = d->o.string_bytes,
	};

	return o;
}

struct program *
model_compile(struct driver *d, const struct target *t, struct graph *g)
{
	struct pass_opts o = model_pass_opts(d, t);
	struct pass_ctx ctx = {.arena = d->arena, .diag = &d->diag, .opts = &o};
	struct program *p;
	int64_t start = now_ns();

	if (!tune_open(d, t, &o.choices))
		return NULL;
	p = compile_graph(g, &ctx);
	if (!tune_done(d) || !p)
		return NULL;
	if (d->o.verbose)
		diag_note(&d->diag, LOC_FILE(g->name), "planned in %.1f ms: %d kernels, work %" PRId64 " bytes, constants %" PRId64 " bytes",
		          (double)(now_ns() - start) / 1e6, p->calls.n, p->work_bytes, p->const_bytes);
	if (d->o.print_plan)
		model_print_plan(d, p);
	return p;
}

void
model_print_plan(struct driver *d, const struct program *p)
{
	static const char *const space[] = {"work", "const", "state", "io"};

	(void)d;
	printf("%-6s %12s %12s  %-11s %s\n", "space", "offset", "bytes", "calls", "value");
	for (int i = 0; i < p->buffers.n; i++) {
		const struct buffer *b = p->buffers.v[i];
		char life[32] = "";

		if (b->alias)
			continue;
		if (b->space == SPACE_WORK)
			snprintf(life, sizeof life, "%d..%d", b->first, b->last);
		printf("%-6s %12" PRId64 " %12" PRId64 "  %-11s %s\n", space[b->space], b->offset, b->bytes, life,
		       b->value && b->value->name ? b->value->name : "scratch");
	}
	printf("peak: work %" PRId64 " bytes, constants %" PRId64 " bytes, state %" PRId64 " bytes\n", p->work_bytes,
	       p->const_bytes, p->state_bytes);
}

/* ---- texts */
const char *
shape_text(struct arena *a, int rank, const int64_t *dims)
{
	struct str s = {0};
	char *text;

	str_add(&s, "[");
	for (int i = 0; i < rank; i++)
		str_addf(&s, "%s%" PRId64, i ? "," : "", dims[i]);
	str_add(&s, "]");
	text = arena_strdup(a, s.s);
	str_free(&s);
	return text;
}

const char *
value_text(struct arena *a, struct graph *g, const struct value *v)
{
	struct str s = {0};
	char *text;

	str_addf(&s, "%s[", dtype_info[v->dtype].name);
	for (int i = 0; i < v->rank; i++)
		str_addf(&s, "%s%s", i ? "," : "", dim_text(g, v->dims[i]));
	str_add(&s, v->rank < 0 ? "?]" : "]");
	text = arena_strdup(a, s.s);
	str_free(&s);
	return text;
}

static void
manifest_io(struct driver *d, struct str *s, const char *key, struct graph *g, struct value *const *v,
            const char *const *names, int n)
{
	str_addf(s, ",\"%s\":[", key);
	for (int i = 0; i < n; i++) {
		str_add(s, i ? ",{\"name\":" : "{\"name\":");
		str_json(s, names ? names[i] : v[i]->name);
		str_addf(s, ",\"dtype\":\"%s\",\"dims\":[", dtype_info[v[i]->dtype].name);
		for (int k = 0; k < v[i]->rank; k++) {
			str_add(s, k ? "," : "");
			if (dim_const(v[i]->dims[k]))
				str_addf(s, "%" PRId64, v[i]->dims[k]);
			else
				str_json(s, dim_text(g, v[i]->dims[k]));
		}
		str_add(s, "]}");
	}
	str_add(s, "]");
	(void)d;
}

const char *
model_manifest(struct driver *d, const struct target *t, const char *path, const struct graph *g)
{
	struct graph *gg = (struct graph *)(uintptr_t)g; /* dim_text interns its text */
	struct str s = {0};
	char hex[65] = "", *text;
	size_t size;
	void *bytes = file_exists(path) ? file_read(&d->diag, path, &size) : NULL;

	if (bytes)
		sha256_hex(bytes, size, hex);
	free(bytes);
	str_add(&s, "{\"retort\":\"" RETORT_VERSION "\",\"model\":");
	str_json(&s, path_base(path));
	str_addf(&s, ",\"sha256\":\"%s\"", hex);
	manifest_io(d, &s, "inputs", gg, g->inputs.v, NULL, g->inputs.n);
	manifest_io(d, &s, "outputs", gg, g->outputs.v, g->output_names.v, g->outputs.n);
	if (t) {
		str_add(&s, ",\"target\":");
		str_json(&s, target_triple(t));
		str_add(&s, ",\"cpu\":");
		str_json(&s, target_cpu(t));
	}
	str_addf(&s, ",\"opt\":%" PRId64 ",\"blas\":\"%s\"}", d->o.opt_level, d->o.blas ? d->o.blas : "never");
	text = arena_strdup(d->arena, s.s);
	str_free(&s);
	return text;
}

static void
make_word(struct str *s, const char *word)
{
	for (; *word; word++) {
		if (*word == ' ' || *word == '#' || *word == '$')
			str_addn(s, *word == '$' ? "$" : "\\", 1);
		str_addn(s, word, 1);
	}
}

bool
model_depfile(struct driver *d, const char *out, int n, const char *const *read)
{
	struct str s = {0};
	bool ok;

	make_word(&s, out);
	str_add(&s, ":");
	for (int i = 0; i < n; i++) {
		str_add(&s, " ");
		make_word(&s, read[i]);
	}
	str_add(&s, "\n");
	ok = file_write(&d->diag, d->o.depfile, s.s, s.n);
	str_free(&s);
	return ok;
}

/* ---- sessions */
bool
session_open(struct driver *d, struct session *s, struct graph *g, const char *path)
{
	struct program *p;
	const struct rt_program *rt;
	int64_t start;

	*s = (struct session){0};
	s->target = model_target(d);
	if (!s->target)
		return false;
	s->program = p = model_compile(d, s->target, g);
	if (!p || !tune_nodes_seen(d))
		return false;
	start = now_ns();
	s->jit = jit_open(s->target, p, path ? model_manifest(d, s->target, path, g) : "{}", &d->diag);
	if (!s->jit)
		return false;
	if (d->o.verbose)
		diag_note(&d->diag, LOC_FILE(g->name), "code in %.1f ms", (double)(now_ns() - start) / 1e6);
	rt = s->rt = jit_program(s->jit);
	s->base = arena_array(d->arena, void *, 3 + rt->ninputs + rt->noutputs);
	s->g = g;
	s->sym = arena_array(d->arena, int64_t, rt->nsyms + 1);
	s->sym_bound = arena_array(d->arena, bool, rt->nsyms + 1);
	for (int i = 0; i < rt->nsyms; i++)
		s->sym[i] = rt->syms[i].hi;
	s->base[0] = rt_alloc((size_t)rt->work_bytes + RT_ALIGN);
	s->base[1] = (void *)(uintptr_t)rt->constants;
	s->base[2] = rt_alloc((size_t)rt->state_bytes + RT_ALIGN);
	if (!s->base[0] || !s->base[2])
		return diag_error(&d->diag, STATUS_IO, LOC_FILE(g->name), "out of memory: the run needs %" PRId64 " bytes",
		                  rt->work_bytes + rt->state_bytes);
	if (rt->state_bytes && rt->state_init)
		memcpy(s->base[2], rt->state_init, (size_t)rt->state_bytes);
	for (int i = 0; i < rt->ninputs + rt->noutputs; i++) {
		const struct rt_tensor *t = i < rt->ninputs ? &rt->inputs[i] : &rt->outputs[i - rt->ninputs];

		s->base[3 + i] = rt_alloc((size_t)t->bytes + RT_ALIGN);
		if (!s->base[3 + i])
			return diag_error(&d->diag, STATUS_IO, LOC_FILE(g->name), "out of memory: %s needs %" PRId64 " bytes",
			                  t->name, t->bytes);
	}
	if (d->o.threads > 1)
		s->pool = rt_pool_create((int)d->o.threads);
	return true;
}

void
session_close(struct session *s)
{
	if (s->pool)
		rt_pool_destroy(s->pool);
	if (s->base) {
		rt_free(s->base[0]);
		rt_free(s->base[2]);
		for (int i = 0; i < s->rt->ninputs + s->rt->noutputs; i++)
			rt_free(s->base[3 + i]);
	}
	if (s->jit)
		jit_close(s->jit);
	if (s->target)
		target_close(s->target);
	*s = (struct session){0};
}

static enum dtype
rt_to_dtype(int32_t t)
{
	return dtype_from_onnx(t);
}

/* What a symbol is in this run, for dim_eval. */
static int64_t
symbol_value(void *session, const char *name, int64_t handle)
{
	const struct session *s = session;

	(void)handle;
	for (int i = 0; i < s->rt->nsyms; i++)
		if (strcmp(s->rt->syms[i].name, name) == 0)
			return s->sym[i];
	die("%s has no symbol %s", s->g->name, name);
}

/* Dims of input i or output i in this run. */
static void
session_dims(struct session *s, const struct value *v, int64_t *dims)
{
	for (int k = 0; k < v->rank; k++)
		dims[k] = dim_eval(s->g, v->dims[k], symbol_value, s);
}

/* Takes the symbols of input i from the dims of what is given for it. */
static bool
bind_symbols(struct driver *d, struct session *s, int i, const struct tensor *t, const char *file)
{
	const struct value *v = s->g->inputs.v[i];
	const struct rt_sym *y = s->rt->syms;

	for (int k = 0; k < v->rank && k < t->rank; k++)
		for (int j = 0; j < s->rt->nsyms; j++) {
			if (dim_const(v->dims[k]) || strcmp(dim_text(s->g, v->dims[k]), y[j].name) != 0)
				continue;
			if (t->dims[k] < y[j].lo || t->dims[k] > y[j].hi)
				return diag_invalid(&d->diag, LOC_FILE(file), "input \"%s\": axis %d has size %" PRId64 ", but %s is %" PRId64 " to %" PRId64,
				                    v->name, k, t->dims[k], y[j].name, y[j].lo, y[j].hi);
			if (s->sym_bound[j] && s->sym[j] != t->dims[k])
				return diag_invalid(&d->diag, LOC_FILE(file), "input \"%s\": axis %d has size %" PRId64 ", but %s is %" PRId64 " in another input",
				                    v->name, k, t->dims[k], y[j].name, s->sym[j]);
			s->sym[j] = t->dims[k];
			s->sym_bound[j] = true;
		}
	return true;
}

bool
session_input(struct driver *d, struct session *s, int i, const struct tensor *t, const char *file)
{
	const struct rt_tensor *want = &s->rt->inputs[i];
	int64_t dims[MAX_RANK];

	if (t->dtype != rt_to_dtype(want->dtype))
		return diag_invalid(&d->diag, LOC_FILE(file), "holds %s but input \"%s\" takes %s; convert the file",
		                    dtype_info[t->dtype].name, want->name, dtype_info[rt_to_dtype(want->dtype)].name);
	if (s->rt->nsyms > 0 && !bind_symbols(d, s, i, t, file))
		return false;
	session_dims(s, s->g->inputs.v[i], dims);
	if (!dims_equal(t->rank, t->dims, want->rank, dims))
		return diag_invalid(&d->diag, LOC_FILE(file), "has shape %s but input \"%s\" takes %s",
		                    shape_text(d->arena, t->rank, t->dims), want->name,
		                    shape_text(d->arena, want->rank, dims));
	size_t bytes = dtype_bytes(rt_to_dtype(want->dtype), dims_count(want->rank, dims));
	if (t->bytes < bytes)
		return diag_invalid(&d->diag, LOC_FILE(file), "holds %zu bytes but input \"%s\" takes %zu", t->bytes, want->name, bytes);
	memcpy(s->base[3 + i], t->data, bytes);
	return true;
}

static uint64_t
next_random(uint64_t *s)
{
	*s ^= *s << 13;
	*s ^= *s >> 7;
	*s ^= *s << 17;
	return *s;
}

void
session_fill(struct session *s)
{
	uint64_t seed = 0x9e3779b97f4a7c15u;

	for (int i = 0; i < s->rt->ninputs; i++) {
		const struct rt_tensor *t = &s->rt->inputs[i];
		enum dtype type = dtype_from_onnx(t->dtype);
		int64_t n = t->bytes / (dtype_info[type].bits / 8);

		if (dtype_is_float(type))
			for (int64_t k = 0; k < n; k++)
				dtype_put_f(type, s->base[3 + i], k, (double)(next_random(&seed) >> 40) / (1 << 23) - 1);
	}
}

bool
session_run(struct driver *d, struct session *s)
{
	int status;

	rt_run(s->pool, s->rt, s->base, s->rt->nsyms ? s->sym : NULL);
	status = rt_status(s->rt, s->base);
	return !status || diag_invalid(&d->diag, LOC_FILE(s->g->name), "the run: %s", host_status_text(status));
}

struct tensor *
session_output(struct driver *d, struct session *s, int i)
{
	const struct rt_tensor *o = &s->rt->outputs[i];
	struct tensor *t = arena_new(d->arena, struct tensor);

	t->dtype = rt_to_dtype(o->dtype);
	t->rank = o->rank;
	session_dims(s, s->g->outputs.v[i], t->dims);
	t->data = s->base[3 + s->rt->ninputs + i];
	t->bytes = dtype_bytes(t->dtype, dims_count(t->rank, t->dims));
	return t;
}
