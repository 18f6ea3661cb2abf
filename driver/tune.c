/* tune -- what decides algorithms besides the cost model: --conv from the command
 * line, and --tune: every algorithm that could compute a layer is compiled for that
 * layer alone, run in this process and timed, the candidates in turn so that all see
 * the same clock.  The weights lie as far away as in the model: where those do not fit
 * a cache, a run takes another copy of them.  Times are remembered (tune_cache.h). */
#include "driver/driver.h"
#include "driver/tune_cache.h"
#include "passes/algorithm.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { ROUNDS = 6, ROUND_NS = 3000000, MAX_COPIES = 4096 };

struct tuner {
	struct driver *d;
	const struct target *target;
	struct choices choices;
	struct tune_cache *cache;    /* NULL: no --tune */
	bool failed;                 /* and it was reported */
};

/* ---- the layer alone */
struct trial {
	struct arena *a;
	struct program *p;
	struct jit *jit;
	const struct rt_program *rt;
	void **base;
	unsigned char *constants, *states; /* `copies` of each */
	int copies, turn;
	int64_t *ns;                 /* by call */
	double best;
};

/* in [-1, 1), never the same twice in a row, no denormals */
static void
fill(void *data, enum dtype t, int64_t n)
{
	uint32_t x = 2463534242u;

	for (int64_t i = 0; i < n; i++) {
		x = x * 1664525 + 1013904223;
		dtype_put_f(t, data, i, (double)(x >> 8) / (1 << 23) - 1);
	}
}

/* An operand of the layer: weights as a constant or state, the rest as inputs. */
static struct value *
operand(struct graph *g, const struct conv_layer *l, int k)
{
	const struct value *v = l->n->in[k];
	struct value *made;

	if (k == 1 && l->n->op != OP_conv_grad_weight) {
		struct tensor *t = tensor_new(g->arena, v->dtype, v->rank, v->dims);

		fill(t->data, t->dtype, tensor_count(t));
		made = l->fixed ? graph_const(g, "weights", t) : graph_state(g, "weights", t, false);
		made->loc = (struct loc){.node = -1, .name = "weights"};
	} else {
		made = graph_input(g, k ? "dy" : "x", v->dtype, v->rank, v->dims);
		made->loc = (struct loc){.node = -1, .name = "input"};
	}
	return made;
}

static struct program *
trial_program(struct tuner *t, const struct conv_layer *l, int algorithm, struct arena *a)
{
	struct pass_opts o = model_pass_opts(t->d, t->target);
	struct choices forced = {.nforced = 1, .forced = &(struct forced){.node = "layer", .algorithm = algorithm}};
	struct pass_ctx ctx = {.arena = a, .diag = &t->d->diag, .opts = &o};
	struct graph *g = graph_create(a, "layer");
	struct value *in[2] = {operand(g, l, 0), operand(g, l, 1)};
	struct node *n = graph_node(g, l->n->op, "layer", (struct loc){.node = -1, .name = "layer"}, 2, in, 1);

	for (int i = 0; i < l->n->nattr; i++)
		node_set_attr(g, n, &l->n->attr[i]);
	if (!node_infer(g, n, &t->d->diag))
		return NULL;
	graph_output(g, "y", n->out[0]);
	o.choices = &forced;
	o.dump = o.stop_after = NULL;
	o.time_passes = false;
	return compile_graph(g, &ctx);
}

/* Copies of the blob one behind the other, as the layers of a model have theirs. */
static unsigned char *
copies_of(const void *blob, int64_t bytes, int n)
{
	unsigned char *to = rt_alloc((size_t)(bytes * n) + RT_ALIGN);

	for (int i = 0; to && blob && i < n; i++)
		memcpy(to + bytes * i, blob, (size_t)bytes);
	return to;
}

static int64_t
aligned(int64_t bytes)
{
	return (bytes + RT_ALIGN - 1) / RT_ALIGN * RT_ALIGN;
}

static bool
trial_open(struct tuner *t, const struct conv_layer *l, int algorithm, struct trial *r)
{
	const struct machine *m = target_machine(t->target);
	struct target *target = (struct target *)(uintptr_t)t->target; /* as jit_open has it */
	double far = l->where == IN_L2 ? 0 : l->where == IN_L3 ? (double)(m->l2 + m->l3) / 2 : 2 * (double)m->l3;
	int64_t bytes;

	*r = (struct trial){.a = arena_create(), .best = -1};
	if (!(r->p = trial_program(t, l, algorithm, r->a)) || !(r->jit = jit_open(target, r->p, "{}", &t->d->diag)))
		return false;
	r->rt = jit_program(r->jit);
	bytes = aligned(r->rt->const_bytes) + aligned(r->rt->state_bytes);
	r->copies = far <= (double)bytes ? 1 : far / (double)bytes < MAX_COPIES ? (int)(far / (double)bytes) + 1 : MAX_COPIES;
	r->base = arena_array(r->a, void *, 3 + r->rt->ninputs + r->rt->noutputs);
	r->ns = arena_array(r->a, int64_t, r->rt->ncalls + 1);
	r->base[0] = rt_alloc((size_t)r->rt->work_bytes + RT_ALIGN);
	r->constants = copies_of(r->rt->constants, aligned(r->rt->const_bytes), r->copies);
	r->states = copies_of(r->rt->state_init, aligned(r->rt->state_bytes), r->copies);
	for (int i = 0; i < r->rt->ninputs + r->rt->noutputs; i++) {
		const struct rt_tensor *x = i < r->rt->ninputs ? &r->rt->inputs[i] : &r->rt->outputs[i - r->rt->ninputs];

		r->base[3 + i] = rt_alloc((size_t)x->bytes + RT_ALIGN);
		if (r->base[3 + i] && i < r->rt->ninputs)
			fill(r->base[3 + i], dtype_from_onnx(x->dtype), dims_count(x->rank, x->dims));
		if (!r->base[3 + i])
			return diag_error(&t->d->diag, STATUS_IO, LOC_NONE, "--tune: out of memory");
	}
	return (r->base[0] && r->constants && r->states) || diag_error(&t->d->diag, STATUS_IO, LOC_NONE, "--tune: out of memory");
}

static void
trial_close(struct trial *r)
{
	for (int i = 0; r->base && i < r->rt->ninputs + r->rt->noutputs; i++)
		rt_free(r->base[3 + i]);
	if (r->base)
		rt_free(r->base[0]);
	rt_free(r->constants);
	rt_free(r->states);
	jit_close(r->jit);
	if (r->a)
		arena_destroy(r->a);
}

/* Whether the call is part of the layer, and not a copy of its input or output between
 * the caller's memory and the layout that its neighbours would share. */
static bool
counts(const struct program *p, int call)
{
	const struct call *c = &p->calls.v[call];
	const struct loc *l = c->layer ? &p->layers.v[c->layer - 1].loc : NULL;
	bool copy = l && l->maker && strcmp(l->maker, "layout") == 0, io = false;

	for (int i = 0; i < c->kernel->nbuf; i++)
		io |= c->arg[i]->space == SPACE_IO;
	return l && l->name && (strcmp(l->name, "weights") == 0 || strcmp(l->name, "layer") == 0) && !(copy && io);
}

/* Runs for about ROUND_NS and keeps the least time of a run. */
static void
trial_round(struct trial *r)
{
	const struct rt_program *rt = r->rt;

	for (int64_t start = now_ns(), runs = 0; runs < 2 || now_ns() - start < ROUND_NS; runs++) {
		double total = 0;

		r->turn = (r->turn + 1) % r->copies;
		r->base[1] = r->constants + aligned(rt->const_bytes) * r->turn;
		r->base[2] = r->states + aligned(rt->state_bytes) * r->turn;
		memset(r->ns, 0, sizeof *r->ns * (size_t)rt->ncalls);
		rt_run_timed(NULL, rt, r->base, NULL, r->ns);
		for (int i = 0; i < rt->ncalls; i++)
			total += counts(r->p, i) ? (double)r->ns[i] : 0;
		if (r->best < 0 || total < r->best)
			r->best = total;
	}
}

static bool
time_candidates(struct tuner *t, const struct conv_layer *l, unsigned possible, double *ns)
{
	struct trial trial[MAX_ALGORITHMS] = {{0}};
	bool ok = true;

	for (int i = 0; i < nalgorithms && ok; i++)
		if (possible & 1u << i)
			ok = trial_open(t, l, i, &trial[i]);
	for (int round = 0; round < ROUNDS && ok; round++)
		for (int i = 0; i < nalgorithms; i++)
			if (possible & 1u << i)
				trial_round(&trial[i]);
	for (int i = 0; i < nalgorithms; i++) {
		ns[i] = trial[i].best < 1 ? 1 : (double)(int64_t)trial[i].best;
		trial_close(&trial[i]);
	}
	return ok;
}

/* ---- what the pass asks */
static bool
measure(void *ctx, const struct conv_layer *l, unsigned possible, double *ns)
{
	struct tuner *t = ctx;
	const char *name[MAX_ALGORITHMS], *known;
	double least[MAX_ALGORITHMS];
	int n = 0, which[MAX_ALGORITHMS];
	struct str key = {0}, times = {0};
	bool ok;

	if (t->failed)
		return false;
	for (int i = 0; i < nalgorithms; i++)
		if (possible & 1u << i) {
			which[n] = i;
			name[n++] = algorithms[i].name;
		}
	str_addf(&key, RETORT_VERSION " %s-%d ", target_cpu(t->target), target_machine(t->target)->vector_bits);
	conv_layer_key(l, &key);
	known = tune_cache_get(t->cache, key.s);
	ok = known && tune_times(known, n, name, least);
	if (ok) {
		for (int i = 0; i < n; i++)
			ns[which[i]] = least[i];
	} else {
		ok = time_candidates(t, l, possible, ns);
		t->failed = !ok;
		for (int i = 0; i < n && ok; i++)
			str_addf(&times, "%s%s=%" PRId64, i ? " " : "", name[i], (int64_t)ns[which[i]]);
		if (ok)
			tune_cache_put(t->cache, key.s, times.s);
		if (ok && t->d->o.verbose)
			diag_note(&t->d->diag, l->n->loc, "%s", times.s);
	}
	str_free(&key);
	str_free(&times);
	return ok;
}

static const char *
cache_path(struct driver *d)
{
	const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");

	if (*d->o.tune)
		return d->o.tune;
	if (cache && *cache == '/')
		return path_join(d->arena, cache, "retort/tune");
	if (home && *home)
		return path_join(d->arena, home, ".cache/retort/tune");
	diag_usage(&d->diag, "--tune: neither XDG_CACHE_HOME nor HOME is set; give --tune=FILE");
	return NULL;
}

/* "NODE=direct": names of nodes may hold '='. */
static bool
parse_forced(struct driver *d, const char *arg, struct forced *f)
{
	const char *eq = strrchr(arg, '='), *names[MAX_ALGORITHMS], *near;
	struct str list = {0};

	for (int i = 0; i < nalgorithms; i++) {
		names[i] = algorithms[i].name;
		str_addf(&list, "%s%s", i ? ", " : "", names[i]);
	}
	*f = (struct forced){.algorithm = eq ? algorithm_find(eq + 1) : -1};
	if (eq && eq > arg && f->algorithm >= 0)
		f->node = arena_strndup(d->arena, arg, (size_t)(eq - arg));
	else if (!eq || eq == arg)
		diag_usage(&d->diag, "--conv %s: write NODE=ALGORITHM, one of %s", arg, list.s);
	else if ((near = str_nearest(eq + 1, names, nalgorithms)))
		diag_usage(&d->diag, "--conv %s: no such algorithm; did you mean %s? there are %s", arg, near, list.s);
	else
		diag_usage(&d->diag, "--conv %s: no such algorithm; there are %s", arg, list.s);
	str_free(&list);
	return f->node != NULL;
}

bool
tune_open(struct driver *d, const struct target *target, struct choices **choices)
{
	struct tuner *t = d->tuner;

	*choices = NULL;
	if (!d->o.tune && !d->o.conv.n)
		return true;
	if (!t) {
		const char *path;

		t = arena_new(d->arena, struct tuner);
		t->d = d;
		t->choices = (struct choices){.arena = d->arena, .forced = arena_array(d->arena, struct forced, d->o.conv.n)};
		for (int i = 0; i < d->o.conv.n; i++)
			if (!parse_forced(d, d->o.conv.v[i], &t->choices.forced[t->choices.nforced++]))
				return false;
		if (d->o.tune) {
			if (!(path = cache_path(d)) || !(t->cache = tune_cache_read(d->arena, path, &d->diag)))
				return false;
			t->choices.measure = measure;
			t->choices.ctx = t;
		}
		d->tuner = t;
	}
	t->target = target;
	*choices = &t->choices;
	return true;
}

bool
tune_done(struct driver *d)
{
	struct tuner *t = d->tuner;

	return !t || (!t->failed && (!t->cache || tune_cache_write(t->cache, &d->diag)));
}

bool
tune_nodes_seen(struct driver *d)
{
	struct tuner *t = d->tuner;

	for (int i = 0; t && i < t->choices.nforced; i++) {
		const char *node = t->choices.forced[i].node, *near;
		struct str list = {0};

		if (t->choices.forced[i].seen)
			continue;
		near = str_nearest(node, t->choices.nodes.v, t->choices.nodes.n);
		for (int k = 0; k < t->choices.nodes.n && k < 12; k++)
			str_addf(&list, "%s%s", k ? ", " : "", t->choices.nodes.v[k]);
		if (t->choices.nodes.n > 12)
			str_addf(&list, " and %d more", t->choices.nodes.n - 12);
		if (near)
			diag_usage(&d->diag, "--conv %s: no convolution of that name; did you mean %s?", node, near);
		else
			diag_usage(&d->diag, "--conv %s: no convolution of that name; there %s", node,
			    list.n ? arena_printf(d->arena, "are %s", list.s) : "is none");
		str_free(&list);
		return false;
	}
	return true;
}
