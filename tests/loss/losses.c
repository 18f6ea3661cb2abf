/* losses -- every row of the families' tables against its reference, see losses.h.
 *     losses GOLDEN [--bless] [NAME] */
#include "losses.h"

#include "passes/loss.h"
#include "tests/op/differences.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct arena *arena; /* of the case at hand */

struct problem {
	const struct loss_case *c;
	struct diag d;
	struct graph *g;
	struct distill_term term;
	struct distill_field field;
	struct loss_in in;
	struct value *loss;
	int nwrt;
	struct value *wrt[64];
	struct etensor **feed; /* by graph input */
	int keep;	       /* rows that count */
	bool failed;
};

static void __attribute__((format(printf, 2, 3)))
complain(struct problem *p, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fprintf(stderr, "%s: ", p->c->name);
	vfprintf(stderr, fmt, ap);
	fputc('\n', stderr);
	va_end(ap);
	p->failed = true;
}

/* ---- a row's settings */

/* The text after "KEY: ", or NULL. */
static const char *
said(const char *settings, const char *key, char *value, size_t size)
{
	size_t len = strlen(key);

	for (const char *s = settings; s && *s; s += strcspn(s, ","), s += strspn(s, ", ")) {
		if (strncmp(s, key, len) != 0 || s[len] != ':')
			continue;
		s += len + 1;
		s += strspn(s, " ");
		snprintf(value, size, "%.*s", (int)strcspn(s, ","), s);
		return value;
	}
	return NULL;
}

/* "~4" is 4, by an input of the step. */
static struct dial
dial_of(const char *s)
{
	struct dial d = {.from = strtod(s + (*s == '~'), NULL)};

	if (*s == '~')
		d = (struct dial){d.from, d.from, 0, 1, DIAL_LINEAR};
	return strcmp(s, "true") == 0 ? (struct dial){.from = 1} : d;
}

/* "1 0 2" as numbers, of "1 0 | 2 1" the part of that number, or the last; NULL: not there. */
static double *
part_of(const char *settings, const char *key, int part, int *n)
{
	double *v = arena_array(arena, double, 16);
	char s[64], *at = s, *end;

	*n = 0;
	if (!said(settings, key, s, sizeof s))
		return NULL;
	for (; part > 0 && strchr(at, '|'); part--)
		at = strchr(at, '|') + 1;
	for (v[0] = strtod(at, &end); end > at; v[++*n] = strtod(at, &end))
		at = end;
	return v;
}

static double *
numbers_of(const char *settings, const char *key, int *n)
{
	return part_of(settings, key, 0, n);
}

static void
set_maps(struct problem *p, const char *settings)
{
	struct distill_class_map *m = arena_array(arena, struct distill_class_map, MOST);

	for (int k = 0; k < MOST; k++) {
		int n;
		const double *map = part_of(settings, "class_map", k, &n);
		int64_t *to = arena_array(arena, int64_t, n + 1);

		for (int i = 0; i < n; i++)
			to[i] = (int64_t)map[i];
		m[k] = (struct distill_class_map){n, to};
	}
	p->term.maps = m;
}

static double
place_of(const char *word, const char *words)
{
	size_t len = strlen(word);

	for (int i = 0; *words; i++) {
		size_t n = strcspn(words, " ");

		if (n == len && strncmp(words, word, n) == 0)
			return i;
		words += n;
		words += strspn(words, " ");
	}
	die("no choice is called %s", word);
}

static double
said_number(const char *settings, const char *key, double otherwise)
{
	char s[64];

	return said(settings, key, s, sizeof s) ? dial_of(s).from : otherwise;
}

/* A word, or "declared" with the adaptor's keys beside it. */
static struct adaptor
adaptor_of(const char *settings, const char *word)
{
	struct adaptor a = {.kind = ADAPTOR_DECLARED};
	char s[64];

	for (int i = 0; adaptor_names[i]; i++)
		if (strcmp(word, adaptor_names[i]) == 0)
			return (struct adaptor){.kind = (enum adaptor_kind)(ADAPTOR_AUTO + i)};
	require(strcmp(word, "declared") == 0);
	a.kernel = (int64_t)said_number(settings, "conv", 0);
	a.stride = (int64_t)said_number(settings, "stride", 1);
	a.transposed = said_number(settings, "transpose", 0) != 0;
	a.bias = said_number(settings, "bias", 1) != 0;
	a.batch_norm = said_number(settings, "bn", 0) != 0;
	a.relu = said_number(settings, "relu", 0) != 0;
	a.tokens = said_number(settings, "tokens", 0) != 0;
	for (int i = 0; said(settings, "resize", s, sizeof s) && resize_names[i]; i++)
		if (strcmp(s, resize_names[i]) == 0)
			a.resize = (enum resize)i;
	return a;
}

static void
set_term(struct problem *p, const char *loss, const char *settings)
{
	const struct loss_info *l = &loss_info[loss_find(loss)];
	struct dial *values = arena_array(arena, struct dial, l->nsettings + 1);
	char word[64];
	int n;

	p->term =
	    (struct distill_term){.name = "t", .loss = loss, .values = values, .loc = LOC_NONE};
	p->term.weight.from = 1;
	p->term.temperature.from = l->temperature;
	p->term.tau_squared = !said(settings, "tau_squared", word, sizeof word);
	if (said(settings, "temperature", word, sizeof word))
		p->term.temperature = dial_of(word);
	p->term.teacher_weights = numbers_of(settings, "teacher_weights", &n);
	if (said(settings, "class_map", word, sizeof word))
		set_maps(p, settings);
	if (said(settings, "reduction", word, sizeof word))
		p->term.reduction = arena_strdup(arena, word);
	if (said(settings, "adaptor", word, sizeof word))
		p->term.adaptor = adaptor_of(settings, word);
	for (int i = 0; i < l->nsettings; i++) {
		const struct loss_setting *s = &l->settings[i];

		values[i].from = s->otherwise;
		if (said(settings, s->key, word, sizeof word))
			values[i] = s->kind == SETTING_CHOICE
					? (struct dial){.from = place_of(word, s->words)}
					: dial_of(word);
	}
}

double
number(const struct given *g, const char *key, double otherwise)
{
	char s[64];

	return said(g->c->settings, key, s, sizeof s) ? dial_of(s).from : otherwise;
}

int
numbers(const struct given *g, const char *key, int part, double *v, int most)
{
	int n;
	const double *all = part_of(g->c->settings, key, part, &n);

	for (int i = 0; i < n && i < most; i++)
		v[i] = all[i];
	return n;
}

bool
is_word(const struct given *g, const char *key, const char *is)
{
	char s[64];

	return said(g->c->settings, key, s, sizeof s) && strcmp(s, is) == 0;
}

/* ---- the graph of a row */

static int
operands(struct problem *p, char letter, const struct shape *shape, struct value ***v,
    const char ***names)
{
	int n = 0;

	*v = arena_array(arena, struct value *, MOST);
	*names = arena_array(arena, const char *, MOST);
	for (; n < MOST && shape[n].rank; n++) {
		(*names)[n] = arena_printf(arena, "%c%d", letter, n);
		(*v)[n] = graph_input(p->g, (*names)[n], DT_f32, shape[n].rank, shape[n].dims);
	}
	return n;
}

/* The teachers' tensors in a graph of theirs. */
static void
normed(struct problem *p)
{
	struct graph *g = graph_create(arena, "teacher");
	struct build b = build_at(g, &p->d, LOC_NONE, NULL);

	p->in.teacher_origins = arena_array(arena, const struct value *, MOST);
	for (int k = 0; k < p->in.nteachers; k++) {
		const struct value *t = p->in.teachers[k];
		struct value *op[5] = {graph_input(g, "x", DT_f32, t->rank, t->dims)};

		for (int i = 1; i < 5; i++) {
			struct tensor *v = tensor_new(arena, DT_f32, 1, &t->dims[1]);

			for (int64_t c = 0; c < t->dims[1]; c++)
				dtype_put_f(DT_f32, v->data, c, i < 3 ? noise(i == 1 ? "scale" : "shift", c) : 1);
			op[i] = graph_const(g, NULL, v);
		}
		p->in.teacher_origins[k] = b_op(&b, OP_BatchNormalization, 5, op, 0, NULL);
	}
}

static bool
build(struct problem *p, const struct loss_case *c, bool eval, struct loss *l)
{
	static struct build b;
	const struct shape *y = &c->target;
	int64_t rows = c->student[0].dims[0];
	int n;

	*p = (struct problem){.c = c, .keep = (int)rows - (eval ? 2 : 0)};
	diag_init(&p->d, NULL);
	p->g = graph_create(arena, c->name);
	set_term(p, c->loss, c->settings);
	b = build_at(p->g, &p->d, LOC_NONE, NULL);
	p->in = (struct loss_in){
	    .b = &b, .term = &p->term, .eval = eval, .seed = 5, .samples = c->samples};
	p->in.nstudents = operands(p, 's', c->student, &p->in.students, &p->in.student_names);
	p->in.nteachers = operands(p, 't', c->teacher, &p->in.teachers, &p->in.teacher_names);
	p->in.student = p->in.students[0];
	p->in.student_name = p->in.student_names[0];
	if (y->rank) {
		p->field = (struct distill_field){.name = "y",
		    .dtype = c->classes ? DT_i32 : DT_f32,
		    .rank = y->rank - 1,
		    .classes = c->classes,
		    .class_weights = numbers_of(c->settings, "class_weights", &n),
		    .has_ignore = c->ignore,
		    .ignore = 255};
		memcpy(p->field.dims, y->dims + 1, sizeof *y->dims * (size_t)(y->rank - 1));
		p->in.field = &p->field;
		p->in.target = graph_input(p->g, "y", p->field.dtype, y->rank, y->dims);
	}
	if (c->mask.rank)
		p->in.mask = graph_input(p->g, "mask", DT_f32, c->mask.rank, c->mask.dims);
	if (c->normed)
		normed(p);
	if (eval)
		p->in.valid = graph_input(p->g, "valid", DT_f32, 1, &rows);
	return loss_build(&p->in, l);
}

/* total, or the mean of row, weighted */
static struct value *
mean_of(struct problem *p, const struct loss *l)
{
	struct build *b = p->in.b;
	struct value *w = l->weight ? l->weight : b_scalar(b, DT_f32, 1);
	int64_t dims[MAX_RANK];

	if (l->total)
		return l->total;
	for (int i = 0; i < l->row->rank; i++)
		dims[i] = i == 0 ? l->row->dims[0] : 1;
	if (p->in.valid)
		w = b_mul(b, w, b_reshape(b, p->in.valid, l->row->rank, dims));
	w = b_expand(b, w, l->row->rank, l->row->dims);
	return b_div(b, b_reduce_all(b, OP_reduce_sum, b_mul(b, l->row, w)),
	    b_reduce_all(b, OP_reduce_sum, w));
}

/* States become inputs, so that they can be moved; what they would be next, outputs. */
static void
open_states(struct problem *p)
{
	struct graph *g = p->g;

	for (int i = 0; i < p->in.nstudents; i++)
		p->wrt[p->nwrt++] = p->in.students[i];
	for (int i = 0; i < g->updates.n; i++)
		graph_output(g, arena_printf(arena, "next.%s", g->updates.v[i].state->name),
		    g->updates.v[i].next);
	g->updates.n = 0;
	for (int i = 0; i < g->states.n; i++) {
		struct value *v = g->states.v[i],
			     *in = graph_input(g, v->name, v->dtype, v->rank, v->dims);

		in->data = v->data;
		graph_replace(g, v, in);
		require(p->nwrt < 64);
		if (v->trainable)
			p->wrt[p->nwrt++] = in;
	}
	g->states.n = 0;
}

double
noise(const char *name, int64_t i)
{
	uint64_t z = 1469598103934665603u;

	for (; *name; name++)
		z = (z ^ (unsigned char)*name) * 0x100000001b3u;
	z += (uint64_t)i * 0x9e3779b97f4a7c15u;
	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	z ^= z >> 31;
	return ((double)(z >> 11) + 0.5) * 0x1p-52 - 1;
}

static double
fed(const struct problem *p, const struct value *v, int64_t i)
{
	const struct loss_case *c = p->c;
	const char *dot = strrchr(v->name, '.');
	char s[64];

	if (v->data && c->start && dtype_get_f(v->dtype, v->data->data, i) == 0)
		return c->start(v->name, i);
	if (v->data)
		return dtype_get_f(v->dtype, v->data->data, i);
	if (strcmp(v->name, "valid") == 0)
		return i < p->keep;
	if (strcmp(v->name, "mask") == 0)
		return i * 5 % 3 != 0;
	if (strcmp(v->name, "y") == 0)
		return c->classes == 0		 ? 0.5 + 0.5 * noise("y", i)
		       : c->ignore && i % 3 == 1 ? 255
						 : (double)((i * i + 1) % c->classes);
	if (strcmp(v->name, "$index") == 0)
		return (double)((3 * i + 1) % c->samples);
	if (strcmp(v->name, "$step") == 0)
		return 4;
	if (strcmp(v->name, "$seed") == 0)
		return 9;
	if (str_starts(v->name, "$dial.") && said(c->settings, dot + 1, s, sizeof s))
		return dial_of(s).from;
	if (v->name[0] != 's' && v->name[0] != 't')
		die("input %s is fed by nothing", v->name);
	return (c->scale > 0 ? c->scale : 1) * noise(v->name, i);
}

static void
feed(struct problem *p)
{
	struct graph *g = p->g;

	p->feed = arena_array(arena, struct etensor *, g->inputs.n + 1);
	for (int k = 0; k < g->inputs.n; k++) {
		const struct value *v = g->inputs.v[k];

		p->feed[k] = etensor_new(arena, v->dtype, v->rank, v->dims);
		for (int64_t i = 0; i < p->feed[k]->count; i++)
			et_put(p->feed[k], i, fed(p, v, i));
	}
}

/* ---- what the reference sees */

struct dense
room(int rank, const int64_t *dims)
{
	struct dense d = {.rank = rank, .n = 1};

	for (int i = 0; i < rank; i++)
		d.n *= d.dims[i] = dims[i];
	d.v = arena_array(arena, double, d.n + 1);
	return d;
}

/* Input `name`, cut to so many rows (0: all). */
static struct dense
seen(const struct problem *p, const char *name, int rows)
{
	for (int k = 0; k < p->g->inputs.n; k++) {
		const struct etensor *t = p->feed[k];
		int64_t dims[MAX_RANK];
		struct dense d;

		if (strcmp(p->g->inputs.v[k]->name, name) != 0)
			continue;
		memcpy(dims, t->dims, sizeof dims);
		if (rows)
			dims[0] = rows;
		d = room(t->rank, dims);
		for (int64_t i = 0; i < d.n; i++)
			d.v[i] = et_get(t, i);
		return d;
	}
	return (struct dense){0};
}

static struct given
given_of(const struct problem *p)
{
	struct given g = {.c = p->c,
	    .ns = p->in.nstudents,
	    .nt = p->in.nteachers,
	    .rows = p->keep,
	    .training = !p->in.eval,
	    .seed = p->in.eval ? 0 : 9, /* draws of evaluations are always the same */
	    .step = p->in.eval ? 0 : 4};
	struct dense index = seen(p, "$index", 0);

	for (int i = 0; i < g.ns; i++)
		g.s[i] = seen(p, p->in.student_names[i], p->keep);
	for (int i = 0; i < g.nt; i++)
		g.t[i] = seen(p, p->in.teacher_names[i], p->keep);
	g.target = seen(p, "y", p->keep);
	g.mask = seen(p, "mask", p->keep);
	g.index = arena_array(arena, int64_t, index.n + 1);
	for (int64_t i = 0; i < index.n; i++)
		g.index[i] = (int64_t)index.v[i];
	g.states = arena_alloc(arena, sizeof *g.states * (size_t)(p->g->inputs.n + 1));
	for (int k = 0; k < p->g->inputs.n; k++) {
		const char *name = p->g->inputs.v[k]->name;

		if (str_starts(name, "adaptor.t.")) {
			g.states[g.nstates].name = name + strlen("adaptor.t.");
			g.states[g.nstates++].d = seen(p, name, 0);
		}
	}
	return g;
}

bool
has_state(const struct given *g, const char *name)
{
	for (int i = 0; i < g->nstates; i++)
		if (strcmp(g->states[i].name, name) == 0)
			return true;
	return false;
}

const struct dense *
trained(const struct given *g, const char *name)
{
	for (int i = 0; i < g->nstates; i++)
		if (strcmp(g->states[i].name, name) == 0)
			return &g->states[i].d;
	die("%s: the term has no state %s", g->c->name, name);
}

struct dense
linear(const struct given *g, const struct dense *x, const char *name)
{
	const struct dense *w = trained(g, arena_printf(arena, "%sweight", name));
	const struct dense *bias = trained(g, arena_printf(arena, "%sbias", name));
	int64_t in = w->dims[1], out = w->dims[0];
	struct dense y = room(2, (int64_t[]){x->dims[0], out});

	for (int64_t i = 0; i < x->dims[0]; i++)
		for (int64_t o = 0; o < out; o++) {
			y.v[i * out + o] = bias->v[o];
			for (int64_t k = 0; k < in; k++)
				y.v[i * out + o] += x->v[i * in + k] * w->v[o * in + k];
		}
	return y;
}

/* ---- the checks */

static struct etensor **
evaluated(struct problem *p)
{
	struct eval_opts opts = {.arena = arena};
	struct etensor **out = arena_array(arena, struct etensor *, p->g->outputs.n + 1);

	graph_verify(p->g, "loss");
	if (!eval_graph(&opts, p->g, p->feed, out, NULL, NULL, &p->d))
		die("%s: the evaluator failed: %s", p->c->name, p->d.text.s);
	return out;
}

static bool
golden(struct problem *p, const char *dir, bool bless)
{
	const char *path = path_join(arena, dir, arena_printf(arena, "%s.txt", p->c->name));
	struct str text = {0};
	char *want;
	size_t n;

	graph_print(p->g, &text, 8);
	if (bless)
		return file_write(&p->d, path, text.s, text.n);
	want = file_read(&p->d, path, &n);
	if (!want || strcmp(want, text.s) != 0)
		complain(p, "another graph than %s:\n%s", path, text.s);
	free(want);
	str_free(&text);
	return !p->failed;
}

static void
check_next(struct problem *p, const struct given *g, struct etensor **out)
{
	for (int i = 0; i < p->g->outputs.n && p->c->next; i++) {
		const char *name = p->g->output_names.v[i];
		struct dense d;

		if (!str_starts(name, "next.adaptor.t."))
			continue;
		name += strlen("next.adaptor.t.");
		d = *trained(g, name);
		if (!p->c->next(g, name, &d))
			complain(p, "state %s is updated", name);
		for (int64_t k = 0; k < d.n && !p->failed; k++)
			if (!(fabs(et_get(out[i], k) - d.v[k]) <= 1e-6 * (1 + fabs(d.v[k]))))
				complain(p, "state %s[%d] becomes %.9g, the reference says %.9g",
				    name, (int)k, et_get(out[i], k), d.v[k]);
	}
}

static void
check_value(struct problem *p, const char *form)
{
	struct given g = given_of(p);
	struct etensor **out = evaluated(p);
	double have = et_get(out[0], 0), want = p->c->want(&g);

	if (!(fabs(have - want) <= 1e-6 * fmax(fabs(want), 1e-3)))
		complain(p, "%s form: %.12g, the reference says %.12g", form, have, want);
	if (!p->in.eval)
		check_next(p, &g, out);
}

static int
input_of(const struct graph *g, const struct value *v)
{
	for (int k = 0; k < g->inputs.n; k++)
		if (g->inputs.v[k] == v)
			return k;
	die("no input");
}

/* What stop_gradient makes a constant stays what it is: an input of the value it has. */
static void
hold_stopped(struct problem *p)
{
	struct eval_opts opts = {.arena = arena};
	struct graph *g = p->g;
	int ninputs = g->inputs.n;
	struct etensor **out = arena_array(arena, struct etensor *, g->outputs.n + 1);
	struct etensor **all = arena_array(arena, struct etensor *, g->nvalue + 1);
	struct etensor **feed = arena_array(arena, struct etensor *, ninputs + g->nodes.n + 1);

	if (!eval_graph(&opts, g, p->feed, out, NULL, all, &p->d))
		die("%s: %s", p->c->name, p->d.text.s);
	memcpy(feed, p->feed, sizeof *feed * (size_t)ninputs);
	for (int i = 0; i < g->nodes.n; i++) {
		struct value *v = g->nodes.v[i]->out[0];

		if (g->nodes.v[i]->op != OP_StopGradient)
			continue;
		feed[g->inputs.n] = all[v->id];
		graph_replace(g, v, graph_input(g, arena_printf(arena, "held.%d", i), v->dtype, v->rank, v->dims));
	}
	p->feed = feed;
}

static void
check_gradients(struct problem *p)
{
	struct problem held = *p;
	struct value *grads[64];
	int first = p->g->outputs.n;
	struct etensor **out;

	held.g = graph_copy(p->g);
	hold_stopped(&held);
	if (!grad_build(p->g, p->loss, p->nwrt, p->wrt, grads, &p->d)) {
		complain(p, "%s", p->d.text.s);
		return;
	}
	for (int i = 0; i < p->nwrt; i++)
		graph_output(p->g, arena_printf(arena, "d.%d", i),
		    grads[i] ? grads[i] : b_zeros_like(p->in.b, p->wrt[i]));
	out = evaluated(p);
	for (int i = 0; i < p->nwrt; i++) {
		int k = input_of(p->g, p->wrt[i]);
		int64_t n = p->feed[k]->count, at;
		double *want = xcalloc((size_t)n, sizeof *want), worst;

		if (!differences(held.g, 0, held.feed, k, want, &p->d))
			die("%s: %s", p->c->name, p->d.text.s);
		worst = relative_error(n, out[first + i]->f, want, &at);
		/* where a kink lies within the step, a shorter one */
		for (int64_t last = -1; !(worst < 1e-6) && at != last;) {
			last = at;
			require(difference_at(held.g, 0, held.feed, k, at, 1.0 / 256, &want[at], &p->d));
			worst = relative_error(n, out[first + i]->f, want, &at);
		}
		if (!(worst < 1e-6))
			complain(p, "gradient of %s[%d] is %.9g, differences say %.9g",
			    p->wrt[i]->name, (int)at, out[first + i]->f[at], want[at]);
		free(want);
	}
}

/* The graph by other settings, for its text alone. */
static bool
shown(const struct loss_case *c, const char *dir, bool bless)
{
	struct loss_case other = *c;
	struct problem p;
	struct loss l;
	bool ok;

	other.settings = c->shown;
	ok = build(&p, &other, false, &l);
	if (ok)
		graph_output(p.g, "loss", mean_of(&p, &l));
	ok = ok && golden(&p, dir, bless);
	diag_free(&p.d);
	return ok;
}

static bool
run(const struct loss_case *c, const char *dir, bool bless)
{
	bool ok = true;

	arena = arena_create();
	for (int eval = 0; eval < 2; eval++) {
		struct problem p;
		struct loss l;

		if (eval && c->batch_only)
			break;
		if (!build(&p, c, eval, &l))
			complain(&p, "does not build: %s", p.d.text.s);
		else
			p.loss = mean_of(&p, &l);
		if (p.loss) {
			graph_output(p.g, "loss", p.loss);
			p.failed |= !eval && !(c->shown ? shown(c, dir, bless) : golden(&p, dir, bless));
			open_states(&p);
			p.loss = p.g->outputs.v[0];
			feed(&p);
			check_value(&p, eval ? "evaluation" : "training");
		}
		if (p.loss && !eval)
			check_gradients(&p);
		ok &= p.loss && !p.failed;
		diag_free(&p.d);
	}
	arena_destroy(arena);
	fprintf(stderr, "%s %s\n", ok ? "ok  " : "FAIL", c->name);
	return ok;
}

static bool
refused(const struct loss_refusal *r)
{
	struct loss_case c = {.name = r->loss,
	    .loss = r->loss,
	    .settings = r->settings,
	    .target = r->target,
	    .classes = r->classes};
	struct problem p;
	struct loss l;
	bool built, ok;

	memcpy(c.student, r->student, sizeof c.student);
	memcpy(c.teacher, r->teacher, sizeof c.teacher);
	arena = arena_create();
	built = build(&p, &c, false, &l);
	ok = !built && p.d.text.s && strstr(p.d.text.s, r->says);
	fprintf(stderr, "%s %s refuses: %s\n", ok ? "ok  " : "FAIL", r->loss, r->says);
	if (!ok)
		fprintf(stderr, "%s\n", built ? "it was built" : p.d.text.s);
	diag_free(&p.d);
	arena_destroy(arena);
	return ok;
}

int
main(int argc, char **argv)
{
	const struct loss_case *const families[] = {soft_cases, correlation_cases, relation_cases, gram_cases, memory_cases, feature_cases,
	    transfer_cases, transformer_cases, adversarial_cases};
	const struct loss_refusal *const refusals[] = {
	    soft_refusals, correlation_refusals, relation_refusals, gram_refusals, memory_refusals, feature_refusals, transfer_refusals,
	    transformer_refusals, adversarial_refusals};
	const char *only = NULL;
	bool bless = false;
	int ran = 0, failed = 0;

	for (int i = 2; i < argc; i++) {
		if (strcmp(argv[i], "--bless") == 0)
			bless = true;
		else
			only = argv[i];
	}
	require(argc > 1);
	for (int f = 0; f < (int)(sizeof families / sizeof *families); f++) {
		for (const struct loss_case *c = families[f]; c->name; c++)
			if (!only || strstr(c->name, only)) {
				ran++;
				failed += !run(c, argv[1], bless);
			}
		for (const struct loss_refusal *r = refusals[f]; r->loss; r++)
			if (!only || strstr(r->loss, only)) {
				ran++;
				failed += !refused(r);
			}
	}
	fprintf(stderr, "%d ran, %d failed\n", ran, failed);
	return failed || ran == 0;
}
