/* retort distill RECIPE.yaml -o DIR: the recipe's step, evaluation and teachers as
 * programs, one trainer executable out of them; then the trainer runs and its
 * student becomes a library. */
#include "driver/distill.h"

#include <dlfcn.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- the trainer */
static struct program *
compile_step(struct job *j, struct target *t, struct graph *g)
{
	struct program *p = g ? model_compile(j->d, t, g) : NULL;

	return p && opt_report(j->d, p, NULL) ? p : NULL;
}

/* The programs of each stage that take turns, the first of them apart; sharing: all. */
static bool
build_turns(struct job *j, struct target *t, struct trainer_image *image, const struct program **train, const char **config,
            struct program **sharing, int *nsharing)
{
	struct arena *a = j->d->arena;
	int n = j->r->nstages, turns = job_variants(j);
	const struct program **more = arena_array(a, const struct program *, n * turns);

	for (int k = 0; k < turns; k++) {
		struct job *v = job_variant(j, k);

		for (int i = 0; v && i < n; i++) {
			struct program *p = job_stage(v, &v->r->stages[i])
			                        ? compile_step(v, t, distill_train_graph(a, &v->dist, &j->d->diag))
			                        : NULL;

			if (!p) {
				diag_note(&j->d->diag, job_loc(j, 0), "this is about the %s", v->note);
				return false;
			}
			*(k == 0 ? &train[i] : &more[i * (turns - 1) + k - 1]) = p;
			sharing[k * n + i] = p;
		}
		if (!v)
			return false;
	}
	for (int i = 0; i < n; i++)
		config[i] = job_stage_config(j, &j->r->stages[i], train[i]);
	image->nmore = turns - 1;
	image->more = more;
	*nsharing = n * turns + 1;
	return job_stage(j, &j->r->stages[n - 1]);
}

/* The step with the terms of all stages: what is cached is for each of them. */
static struct distill
any_stage(struct job *j)
{
	VEC(struct distill_term) terms = {0};
	struct distill every;

	for (int i = 0; i < j->r->nstages; i++) {
		job_stage(j, &j->r->stages[i]);
		for (int k = 0; k < j->dist.nterms; k++)
			vec_push(j->d->arena, &terms, j->dist.terms[k]);
	}
	every = j->dist; /* of the last stage */
	every.terms = terms.v;
	every.nterms = terms.n;
	return every;
}

static bool
build_programs(struct job *j, struct target *t, struct trainer_image *image)
{
	struct arena *a = j->d->arena;
	struct distill every;
	struct diag *diag = &j->d->diag;
	int n = j->r->nstages;
	const struct program **train = arena_array(a, const struct program *, n);
	const struct program **cached = arena_array(a, const struct program *, j->dist.nteachers + 1);
	const char **key = arena_array(a, const char *, j->dist.nteachers + 1);
	struct program **sharing;
	const struct program **share = arena_array(a, const struct program *, n);
	struct program *norms;
	int nsharing = n + 1;
	const char **config = arena_array(a, const char *, n);

	sharing = arena_array(a, struct program *, n * (job_variants(j) + 1) + 2);
	image->share = share;
	for (int i = 0; i < n && job_variants(j) == 1; i++) {
		const struct recipe_stage *st = &j->r->stages[i];

		if (!job_stage(j, st))
			return false;
		train[i] = sharing[i] = compile_step(j, t, distill_train_graph(a, &j->dist, diag));
		if (!train[i])
			return false;
		config[i] = job_stage_config(j, st, train[i]);
	}
	if (job_variants(j) > 1 && !build_turns(j, t, image, train, config, sharing, &nsharing))
		return false;
	image->eval = sharing[nsharing - 1] = compile_step(j, t, distill_eval_graph(a, &j->dist, diag));
	if (!image->eval)
		return false;
	every = any_stage(j);
	for (int i = 0; i < j->dist.nteachers; i++)
		if (j->dist.teachers[i].cached) {
			struct graph *g = distill_teacher_graph(a, &every, i, diag);

			key[image->ncached] = g ? arena_printf(a, "%016" PRIx64, graph_hash(g)) : NULL;
			cached[image->ncached] = compile_step(j, t, g);
			if (!cached[image->ncached])
				return false;
			image->ncached++;
		}
	if (j->r->trainer_static || j->r->trainer_shared) {
		if (image->nmore)
			return diag_unsupported(diag, job_loc(j, 0), "sets that take turns and buckets have several steps, a trainer's library has one: leave out emit.trainer");
		j->infer = sharing[nsharing++] = compile_step(j, t, distill_infer_graph(a, &j->dist, diag));
		if (!j->infer)
			return false;
	}
	for (int i = 0; i < n && j->r->grad_share; i++) {
		if (job_variants(j) > 1)
			return diag_unsupported(diag, job_loc(j, j->r->log_line),
			                        "log: grad_share: sets that take turns and buckets have several steps; leave it out");
		if (!job_stage(j, &j->r->stages[i]) || !(norms = compile_step(j, t, distill_share_graph(a, &j->dist, diag))))
			return false;
		share[i] = sharing[nsharing++] = norms;
	}
	plan_share_states(sharing, nsharing);
	image->nstages = n;
	image->train = train;
	image->stage_config = config;
	image->cached = cached;
	image->cached_key = key;
	return true;
}

static bool
has_state(const struct program *p, const char *name)
{
	for (int i = 0; i < p->states.n; i++)
		if (strcmp(p->states.v[i].name, name) == 0)
			return true;
	return false;
}

static bool
in_a_program(const struct trainer_image *image, const char *state)
{
	bool in = has_state(image->eval, state);

	for (int k = 0; k < image->nstages; k++)
		in |= has_state(image->train[k], state);
	for (int k = 0; k < image->nstages * image->nmore; k++)
		in |= has_state(image->more[k], state);
	return in;
}

/* What training holds is written at the end; parameters that no program reads keep
 * their initial value, which may be another than the file's (init: kaiming). */
static int
fill_patches(struct job *j, const struct trainer_image *image, const struct distill_model *m, unsigned char *onnx, int n,
             const struct onnx_patch *patch, struct rt_patch *out)
{
	const struct graph *g = m->graph;
	struct arena *a = j->d->arena;
	int count = 0;

	for (int i = 0; i < n; i++) {
		const struct onnx_patch *p = &patch[i];
		const char *state = p->name;

		for (int k = 0; k < g->states.n; k++)
			if (strcmp(g->states.v[k]->name, p->name) == 0 && (int64_t)g->states.v[k]->data->bytes == p->bytes) {
				memcpy(onnx + p->offset, g->states.v[k]->data->data, (size_t)p->bytes);
				state = distill_state_name(a, m, g->states.v[k]);
			}
		if (in_a_program(image, state))
			out[count++] = (struct rt_patch){state, p->offset, p->bytes};
	}
	return count;
}

/* The files of what is exported, each with the places of its states. */
static bool
export_templates(struct job *j, struct trainer_image *image)
{
	struct arena *a = j->d->arena;
	int n = recipe_nmodels(j->r);
	struct rt_model *models = arena_array(a, struct rt_model, n);

	image->models = models;
	for (int i = 0; i < n; i++) {
		const struct recipe_model *m = recipe_model_at(j->r, i);
		struct rt_model *to = &models[image->nmodels];
		struct onnx_patch *patch;
		struct rt_patch *patches;
		const char *const *auxiliary = NULL;
		int nauxiliary;
		void *onnx;
		size_t bytes;

		if (!m->exported)
			continue;
		nauxiliary = i == 0 ? job_auxiliary(j, &auxiliary) : 0;
		if (!onnx_export_without(m->path, nauxiliary, auxiliary, a, &onnx, &bytes, &to->npatches, &patch, &j->d->diag))
			return false;
		to->name = m->name;
		to->onnx = onnx;
		to->onnx_bytes = (int64_t)bytes;
		to->patches = patches = arena_array(a, struct rt_patch, to->npatches + 1);
		to->npatches = fill_patches(j, image, distill_model_at(&j->dist, i), onnx, to->npatches, patch, patches);
		image->nmodels++;
	}
	return true;
}

/* ---- the trainer as a library */
/* --emit=exe,static,shared in place of what the recipe says; the executable is always made
 * where it is to be run. */
static bool
emit_words(struct job *j)
{
	static const char *const known[] = {"exe", "static", "shared"};
	struct recipe *r = j->r;
	const char *s = j->d->o.emit;

	j->trainer_exe = true;
	if (!s)
		return true;
	j->trainer_exe = !j->d->o.build_only;
	r->trainer_static = r->trainer_shared = false;
	for (size_t n; *s; s += n + (s[n] == ',')) {
		n = strcspn(s, ",");
		if (n == 3 && memcmp(s, "exe", 3) == 0)
			j->trainer_exe = true;
		else if (n == 6 && memcmp(s, "static", 6) == 0)
			r->trainer_static = true;
		else if (n == 6 && memcmp(s, "shared", 6) == 0)
			r->trainer_shared = true;
		else
			return diag_usage(&j->d->diag, "--emit=%s: the trainer as %s, %s or %s, or several of them; or logits", j->d->o.emit, known[0],
			                  known[1], known[2]);
	}
	return true;
}

/* Names for C: the recipe's may be anything. */
static bool
identifier(const char *s)
{
	size_t n = strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_");

	return n && !s[n] && !strchr("0123456789", s[0]);
}

/* emit.saliency in the place of the command line's words. */
static bool
saliency_of_recipe(struct job *j)
{
	const struct recipe_saliency *s = &j->r->saliency;
	struct options *o = &j->d->o;

	if (!s->method)
		return true;
	o->saliency = s->method;
	o->saliency_output = s->output;
	o->saliency_class = s->class;
	o->saliency_steps = s->steps ? s->steps : o->saliency_steps;
	o->saliency_noise = s->noise >= 0 ? s->noise : o->saliency_noise;
	if (!identifier(s->name))
		return diag_invalid(&j->d->diag, job_loc(j, s->line), "emit.saliency: name \"%s\" is not a C identifier", s->name);
	return saliency_known(j->d) || diag_invalid(&j->d->diag, job_loc(j, s->line), "emit.saliency names no known method");
}

static const char *
trainer_name(const struct job *j)
{
	return j->d->o.name ? j->d->o.name : j->r->trainer_name ? j->r->trainer_name
	     : arena_printf(j->d->arena, "%s_trainer", j->r->name);
}

static struct label_check *
label_checks(struct job *j, int *n)
{
	struct label_check *c = arena_array(j->d->arena, struct label_check, j->nfields + 1);

	*n = 0;
	for (int i = 0; i < j->nfields; i++)
		if (j->fields[i].classes)
			c[(*n)++] = (struct label_check){j->fields[i].name, j->fields[i].classes, j->fields[i].recipe->has_ignore,
			                                 j->fields[i].recipe->ignore};
	return c;
}

/* libNAME.a, libNAME.so and NAME.h of one stage's step. */
static bool
emit_trainer_as_library(struct job *j, struct target *t, const struct trainer_image *image)
{
	struct arena *a = j->d->arena;
	struct diag *d = &j->d->diag;
	struct recipe *r = j->r;
	struct trainer_library l = {.name = trainer_name(j), .stage = r->nstages - 1, .eval = image->eval, .ncached = image->ncached,
	                            .cached = image->cached, .nsets = j->nsets, .nweights = image->models->npatches, .weights = image->models->patches};
	const char **set = arena_array(a, const char *, j->nsets), **teacher = arena_array(a, const char *, image->ncached + 1);
	int64_t *rows = arena_array(a, int64_t, j->nsets);
	int n = 0;

	if (!r->trainer_static && !r->trainer_shared)
		return true;
	if (!identifier(l.name))
		return diag_invalid(d, job_loc(j, 0), "library name \"%s\" is not a C identifier; give one with emit.trainer.name or --name", l.name);
	for (int i = 0; r->trainer_stage && i < r->nstages; i++)
		if (strcmp(r->stages[i].name, r->trainer_stage) == 0)
			l.stage = i;
	l.train = image->train[l.stage];
	l.lr = r->stages[l.stage].update.optimizer.lr;
	l.accumulate = r->stages[l.stage].update.accumulate;
	for (int i = 0; i < j->nsets; i++) {
		set[i] = j->sets[i].name;
		rows[i] = j->sets[i].batch;
	}
	for (int i = 0; i < j->dist.nteachers; i++)
		if (j->dist.teachers[i].cached)
			teacher[n++] = j->dist.teachers[i].name;
	l.set = set;
	l.rows = rows;
	l.teacher = teacher;
	l.labels = label_checks(j, &l.nlabels);
	l.infer = j->infer;
	l.manifest = model_manifest(j->d, t, r->student.path, j->dist.student.graph);
	return (!r->trainer_static || emit_trainer_library(t, &l, EMIT_STATIC, arena_printf(a, "%s/lib%s.a", j->out, l.name), d)) &&
	       (!r->trainer_shared || emit_trainer_library(t, &l, EMIT_SHARED, arena_printf(a, "%s/lib%s.so", j->out, l.name), d)) &&
	       emit_trainer_header(&l, arena_printf(a, "%s/%s.h", j->out, l.name), d);
}

/* ---- all of it */
static bool
build_trainer(struct job *j, struct target *t, const char *path)
{
	struct trainer_image image = {0};
	int64_t start;

	if (!build_programs(j, t, &image) || !tune_nodes_seen(j->d))
		return false;
	if (!export_templates(j, &image))
		return false;
	image.config = job_config(j);
	start = now_ns();
	if ((j->trainer_exe && !emit_trainer(t, &image, path, &j->d->diag)) || !emit_trainer_as_library(j, t, &image))
		return false;
	if (j->d->o.verbose)
		diag_note(&j->d->diag, LOC_FILE(path), "emitted in %.1f ms", (double)(now_ns() - start) / 1e6);
	return true;
}

/* ---- running it: it has the terminal; what interrupts us interrupts it */
static volatile sig_atomic_t child_pid;

static void
forward(int sig)
{
	if (child_pid > 0)
		kill((pid_t)child_pid, sig);
}

/* argv: TRAINER --out DIR WORDS...; false: reported, it could not be run or ended by a signal. */
bool
trainer_run(struct driver *d, const char *path, const char *out, int n, const char *const *words, int *exit_status)
{
	const char **argv = arena_array(d->arena, const char *, n + 4);
	struct sigaction forward_it = {.sa_handler = forward}, ignore = {.sa_handler = SIG_IGN}, old_int, old_term;
	int status = 0;
	pid_t pid;

	argv[0] = path;
	argv[1] = "--out";
	argv[2] = out;
	for (int i = 0; i < n; i++)
		argv[3 + i] = words[i];
	fflush(stdout);
	fflush(stderr);
	pid = fork();
	if (pid < 0)
		return diag_io(&d->diag, LOC_FILE(path), "cannot fork: %s", strerror(errno));
	if (pid == 0) {
		execv(path, (char *const *)(uintptr_t)argv);
		fprintf(stderr, "%s: cannot be run: %s\n", path, strerror(errno));
		_exit(STATUS_IO);
	}
	child_pid = pid;
	sigaction(SIGINT, &ignore, &old_int); /* the terminal sends it to the trainer too */
	sigaction(SIGTERM, &forward_it, &old_term);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	sigaction(SIGINT, &old_int, NULL);
	sigaction(SIGTERM, &old_term, NULL);
	if (WIFSIGNALED(status))
		return diag_error(&d->diag, STATUS_INTERNAL, LOC_FILE(path), "the trainer ended by a signal: %s; --resume goes on from its last checkpoint",
		                  strsignal(WTERMSIG(status)));
	*exit_status = WEXITSTATUS(status);
	return true;
}

static bool
run_trainer(struct job *j, const char *path)
{
	int status;

	if (!trainer_run(j->d, path, j->out, j->d->o.pass_on.n, j->d->o.pass_on.v, &status))
		return false;
	j->d->exit_status = status; /* it has said why */
	return status == 0;
}

/* ---- the student's library */
struct emitted { const char *path; enum emit emit; bool wanted; };

/* NAME_run takes the tensors one by one: p[0..n) inputs then outputs. */
static int
call_run(void *f, int n, void **p, void *work, size_t size)
{
	typedef void *T;

	switch (n) {
	case 2:
		return ((int (*)(T, T, T, size_t))f)(p[0], p[1], work, size);
	case 3:
		return ((int (*)(T, T, T, T, size_t))f)(p[0], p[1], p[2], work, size);
	case 4:
		return ((int (*)(T, T, T, T, T, size_t))f)(p[0], p[1], p[2], p[3], work, size);
	case 5:
		return ((int (*)(T, T, T, T, T, T, size_t))f)(p[0], p[1], p[2], p[3], p[4], work, size);
	case 6:
		return ((int (*)(T, T, T, T, T, T, T, size_t))f)(p[0], p[1], p[2], p[3], p[4], p[5], work, size);
	default:
		return -1;
	}
}

/* The outputs of the library for the session's inputs, compared byte for byte. */
static bool
same_outputs(struct driver *d, struct session *s, void *so, const char *name)
{
	const struct rt_program *rt = s->rt;
	int n = rt->ninputs + rt->noutputs;
	size_t (*workspace_size)(void), size;
	void *run = dlsym(so, arena_printf(d->arena, "%s_run", name)), **p = arena_array(d->arena, void *, n + 1), *work;
	bool same;

	*(void **)&workspace_size = dlsym(so, arena_printf(d->arena, "%s_workspace_size", name));
	if (!workspace_size || !run)
		return false;
	size = workspace_size();
	work = rt_alloc(size + RT_ALIGN);
	memcpy(p, s->base + 3, sizeof *p * (size_t)n);
	for (int i = 0; i < rt->noutputs; i++)
		p[rt->ninputs + i] = rt_alloc((size_t)rt->outputs[i].bytes + RT_ALIGN);
	same = call_run(run, n, p, work, size) == 0;
	for (int i = rt->ninputs; i < n; i++) {
		same = same && memcmp(p[i], s->base[3 + i], (size_t)rt->outputs[i - rt->ninputs].bytes) == 0;
		rt_free(p[i]);
	}
	rt_free(work);
	return same;
}

/* The shared library must give what compiling in memory gives. */
static bool
check_library(struct job *j, const char *lib, const char *name, const char *onnx)
{
	struct driver *d = j->d;
	struct graph *g = model_import(d, onnx, 0, NULL, NULL);
	struct session s = {0};
	const char *real = lib[0] == '/' ? lib : arena_printf(d->arena, "./%s", lib);
	void *so = NULL;
	bool ok = g && session_open(d, &s, g, NULL);

	if (ok && s.rt->ninputs + s.rt->noutputs <= 6) {
		session_fill(&s);
		ok = session_run(d, &s);
		so = ok ? dlopen(real, RTLD_NOW | RTLD_LOCAL) : NULL;
		if (!ok)
			;
		else if (!so)
			ok = diag_error(&d->diag, STATUS_INTERNAL, LOC_FILE(lib), "cannot be loaded: %s", dlerror());
		else if (!same_outputs(d, &s, so, name))
			ok = diag_error(&d->diag, STATUS_INTERNAL, LOC_FILE(lib), "does not give what retort run gives for %s", onnx);
	}
	if (so)
		dlclose(so);
	session_close(&s);
	return ok;
}

/* The student and its maps (emit.saliency): a program, libraries and their header. */
static bool
emit_saliency(struct job *j, const char *onnx)
{
	struct driver *d = j->d;
	const char *name = j->r->saliency.name, *base = path_join(d->arena, j->out, ""), *manifest;
	const struct emitted e[] = {
		{arena_printf(d->arena, "%slib%s.a", base, name), EMIT_STATIC, true},
		{arena_printf(d->arena, "%slib%s.so", base, name), EMIT_SHARED, true},
		{arena_printf(d->arena, "%s%s", base, name), EMIT_EXE, true},
	};
	struct graph *g;
	struct target *t;
	struct program *p;
	bool ok;

	if (!j->r->saliency.method)
		return true;
	d->diag.quiet = true;
	g = model_import(d, onnx, 0, NULL, NULL);
	d->diag.quiet = d->o.quiet;
	t = g && model_explain(d, onnx, g) ? model_target(d) : NULL;
	if (!t)
		return false;
	manifest = model_manifest(d, t, onnx, g);
	p = model_compile(d, t, g);
	ok = p && emit_header(p, name, 1, arena_printf(d->arena, "%s%s.h", base, name), &d->diag);
	for (int i = 0; ok && i < 3; i++)
		ok = emit_library(t, p, name, manifest, e[i].emit, e[i].path, &d->diag);
	target_close(t);
	return ok;
}

static const char *
library_name(const struct job *j, const struct recipe_model *m)
{
	return m == &j->r->student && j->r->library_name ? j->r->library_name : m->name;
}

static bool
emit_model(struct job *j, const struct recipe_model *m)
{
	struct driver *d = j->d;
	struct recipe *r = j->r;
	struct arena *a = d->arena;
	const char *name = library_name(j, m);
	const char *onnx = arena_printf(a, "%s/%s.onnx", j->out, m->name), *manifest;
	struct emitted e[] = {
		{arena_printf(a, "%s/lib%s.a", j->out, name), EMIT_STATIC, r->emit_static},
		{arena_printf(a, "%s/lib%s.so", j->out, name), EMIT_SHARED, r->emit_shared},
		{arena_printf(a, "%s/%s", j->out, name), EMIT_EXE, r->emit_exe},
	};
	struct graph *g;
	struct target *t;
	struct program *p;
	bool ok;

	d->diag.quiet = true; /* advice on --dim is for who compiles it himself */
	g = model_import(d, onnx, 0, NULL, NULL);
	d->diag.quiet = d->o.quiet;
	t = g ? model_target(d) : NULL;
	if (!t)
		return false;
	manifest = model_manifest(d, t, onnx, g);
	p = model_compile(d, t, g);
	ok = p && opt_report(d, p, NULL) && emit_header(p, name, 1, arena_printf(a, "%s/%s.h", j->out, name), &d->diag);
	for (int i = 0; ok && i < 3; i++)
		if (e[i].wanted)
			ok = emit_library(t, p, name, manifest, e[i].emit, e[i].path, &d->diag);
	target_close(t);
	d->diag.quiet = true; /* the same notes again */
	if (ok && r->emit_shared && !d->o.target)
		ok = check_library(j, e[1].path, name, onnx);
	d->diag.quiet = d->o.quiet;
	ok = ok && (m != &r->student || emit_saliency(j, onnx));
	if (ok && !r->emit_onnx)
		unlink(onnx);
	return ok;
}

/* Where libraries are made, models are C identifiers. */
static bool
check_model_names(struct job *j)
{
	bool ok = true, made = j->r->emit_static || j->r->emit_shared || j->r->emit_exe;

	for (int i = 1; i < recipe_nmodels(j->r); i++) {
		const struct recipe_model *m = recipe_model_at(j->r, i);

		if (m->exported && made && !identifier(m->name))
			ok = diag_invalid(&j->d->diag, job_loc(j, m->line),
			                  "model \"%s\" is exported as a library: its name must be a C identifier, or say export: false", m->name);
	}
	return ok;
}

static bool
emit_models(struct job *j)
{
	bool ok = true;

	for (int i = 0; ok && i < recipe_nmodels(j->r); i++)
		if (recipe_model_at(j->r, i)->exported)
			ok = emit_model(j, recipe_model_at(j->r, i));
	return ok;
}

/* ---- the verb */
static bool
depfile(struct job *j, const char *trainer)
{
	const char **read = arena_array(j->d->arena, const char *, recipe_nmodels(j->r) + 1);
	int n = 0;

	read[n++] = j->r->path;
	for (int i = 0; i < recipe_nmodels(j->r); i++)
		if (!recipe_model_at(j->r, i)->of && recipe_model_at(j->r, i)->path)
			read[n++] = recipe_model_at(j->r, i)->path;
	if (!j->trainer_exe)
		trainer = arena_printf(j->d->arena, "%s/lib%s.%s", j->out, trainer_name(j), j->r->trainer_static ? "a" : "so");
	return model_depfile(j->d, trainer, n, read);
}

static void
say_what_is_where(struct job *j)
{
	if (j->d->o.quiet)
		return;
	printf("%s: train", j->out);
	for (int i = 0; i < recipe_nmodels(j->r); i++) {
		const struct recipe_model *m = recipe_model_at(j->r, i);
		const char *name = library_name(j, m);

		if (!m->exported)
			continue;
		if (j->r->emit_onnx)
			printf(" %s.onnx", m->name);
		printf(" %s.h", name);
		if (j->r->emit_static)
			printf(" lib%s.a", name);
		if (j->r->emit_shared)
			printf(" lib%s.so", name);
		if (j->r->emit_exe)
			printf(" %s", name);
	}
	if (j->r->saliency.method)
		printf(" %s %s.h lib%s.a lib%s.so", j->r->saliency.name, j->r->saliency.name, j->r->saliency.name, j->r->saliency.name);
	puts(" metrics.jsonl report.html checkpoints/");
}

static void
say_what_was_built(struct job *j, const char *trainer)
{
	if (j->trainer_exe)
		puts(trainer);
	if (j->r->trainer_static)
		printf("%s/lib%s.a\n", j->out, trainer_name(j));
	if (j->r->trainer_shared)
		printf("%s/lib%s.so\n", j->out, trainer_name(j));
	if (j->r->trainer_static || j->r->trainer_shared)
		printf("%s/%s.h\n", j->out, trainer_name(j));
}

static bool
prepare(struct job *j)
{
	const struct options *o = &j->d->o;

	if (!emit_words(j) || !saliency_of_recipe(j))
		return false;
	if (o->batch) {
		if (o->batch < 1 || j->r->nsets)
			return diag_usage(&j->d->diag, "--batch=%" PRId64 ": %s", o->batch,
			                  j->r->nsets ? "this recipe has several sets, each with its own batch" : "at least 1");
		j->r->batch = o->batch;
	}
	return check_model_names(j) && job_read_data(j) && job_import(j);
}

/* Samples as they are: what is recorded is used with every draw of them. */
static bool
prepare_logits(struct job *j)
{
	j->r->naugment = 0;
	return job_read_data(j) && job_import(j);
}

static bool
build(struct job *j, const char *trainer)
{
	struct target *t = prepare(j) ? model_target(j->d) : NULL;
	bool ok = t && dir_make(&j->d->diag, j->out) && build_trainer(j, t, trainer);

	target_close(t);
	return ok;
}

bool
trainer_make(struct driver *d, struct recipe *r, const char *out, const char *trainer)
{
	struct job j = {.d = d, .r = r, .out = out};

	r->trainer_static = r->trainer_shared = false;
	return build(&j, trainer);
}

bool
verb_distill(struct driver *d)
{
	const char *path = opts_one(d, "the recipe"), *trainer;
	struct job j = {.d = d};
	bool logits = d->o.emit && strcmp(d->o.emit, "logits") == 0;

	if (!path)
		return false;
	if (d->o.data) {
		vec_push(d->arena, &d->o.pass_on, "--data");
		vec_push(d->arena, &d->o.pass_on, d->o.data);
	}
	j.r = recipe_read(d->arena, path, d->o.data, &d->diag);
	if (!j.r)
		return false;
	j.out = d->o.outputs.n ? d->o.outputs.v[0] : arena_printf(d->arena, "%s.out", j.r->name);
	if (d->o.search_only && !j.r->search)
		return diag_usage(&d->diag, "--search-only: the recipe has no search");
	if (j.r->search && d->o.dry_run && !d->o.quiet)
		printf("search over %" PRId64 " points\n", j.r->search->npoints);
	if (j.r->search && !logits && !d->o.build_only && !d->o.no_search && !d->o.dry_run && !search_run(d, j.r, j.out, &j.r))
		return false;
	if (d->o.search_only)
		return true;
	if (logits)
		return prepare_logits(&j) && logits_write(&j);
	trainer = path_join(d->arena, j.out, "train");
	if (!strchr(trainer, '/'))
		trainer = arena_printf(d->arena, "./%s", trainer);
	if (!build(&j, trainer) || (d->o.depfile && !depfile(&j, trainer)))
		return false;
	if (d->o.build_only) {
		if (!d->o.quiet)
			say_what_was_built(&j, trainer);
		return true;
	}
	if (!run_trainer(&j, trainer))
		return false;
	if (d->o.dry_run)
		return true;
	if (!emit_models(&j))
		return false;
	say_what_is_where(&j);
	return true;
}
