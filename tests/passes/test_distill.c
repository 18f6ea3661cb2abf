/* The terms of a distillation against their formulas written out here, its
 * evaluation form, several data sets in one batch, and what a wrong recipe is told. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "numeric.h"
#include "passes/distill.h"

enum { ROWS = 6, IN = 5, CLASSES = 7, HIDDEN = 4, HIDDEN_T = 3 };

#define DIMS(...) (int)(sizeof((int64_t[]){__VA_ARGS__}) / 8), (int64_t[]){__VA_ARGS__}

/* A student x -> hidden -> logits and two teachers, over u8 data. */
struct setup {
	struct arena *a;
	struct diag d;
	struct distill s;
	struct distill_model teacher[2];
	struct distill_input in[3];
	struct distill_name names[3][2];
	struct distill_field field[3];
	struct distill_task task;
	struct distill_term term[4];
	const char *teachers[2];
	struct distill_metric metrics[8];
	double class_weights[CLASSES], lr;
};

static struct graph *
model(struct setup *s, const char *name, uint64_t seed, bool state, int64_t hidden, int64_t rows,
    struct distill_input *in, struct value **w)
{
	struct graph *g = graph_create(s->a, name);
	struct build b = build_at(g, &s->d, LOC_NONE, NULL);
	struct tensor *t1 = noise_tensor(s->a, DT_f32, DIMS(hidden, IN), seed, 0, 0.8);
	struct tensor *t2 = noise_tensor(s->a, DT_f32, DIMS(CLASSES, hidden), seed + 1, 0, 1.5);
	struct value *x = graph_input(g, "x", DT_f32, DIMS(rows, IN)), *h, *z;

	w[0] = state ? graph_state(g, "w1", t1, true) : graph_const(g, "w1", t1);
	w[1] = state ? graph_state(g, "w2", t2, true) : graph_const(g, "w2", t2);
	h = b1(&b, OP_tanh, b_contract(&b, "mk,nk->mn", x, w[0]));
	h->name = "hidden_out";
	z = b_contract(&b, "mk,nk->mn", h, w[1]);
	graph_output(g, "logits", z);
	*in = (struct distill_input){.value = x, .field = "data", .scale = 1 / 255.0};
	return g;
}

static void
set_up(struct setup *s)
{
	struct value *w[2];

	*s = (struct setup){.a = arena_create()};
	diag_init(&s->d, NULL);
	s->s = (struct distill){.name = "t", .batch = ROWS, .seed = 3, .nfields = 2, .fields = s->field,
	    .nteachers = 2, .teachers = s->teacher, .ntasks = 1, .tasks = &s->task, .nterms = 1, .terms = s->term,
	    .update.optimizer = {.kind = OPT_SGD}};
	s->field[0] = (struct distill_field){.name = "data", .dtype = DT_u8, .rank = 1, .dims = {IN}};
	s->field[1] = (struct distill_field){.name = "label", .dtype = DT_u8, .classes = CLASSES};
	s->field[2] = (struct distill_field){.name = "soft", .dtype = DT_f32, .rank = 1, .dims = {CLASSES}};
	s->s.student = (struct distill_model){.name = "student", .ninputs = 1, .inputs = &s->in[0], .nnames = 2, .names = s->names[0]};
	s->s.student.graph = s->s.student.graph_eval = model(s, "student.onnx", 11, true, HIDDEN, ROWS, &s->in[0], w);
	for (int k = 0; k < 2; k++) {
		s->teacher[k] = (struct distill_model){.name = k ? "other" : "big", .ninputs = 1, .inputs = &s->in[1 + k], .nnames = 2, .names = s->names[1 + k]};
		s->teacher[k].graph = model(s, "teacher.onnx", 40 + 10 * (uint64_t)k, false, HIDDEN_T, ROWS, &s->in[1 + k], w);
	}
	for (int k = 0; k < 3; k++) {
		s->names[k][0] = (struct distill_name){.name = "y", .onnx = "logits"};
		s->names[k][1] = (struct distill_name){.name = "mid", .onnx = "hidden_out"};
	}
	s->teachers[0] = "big.y";
	s->teachers[1] = "other.y";
	s->task = (struct distill_task){.name = "cls", .head = "student.y", .target = "label", .weight = 1, .loc = LOC_NONE};
	s->term[0] = (struct distill_term){.name = "a", .task = "cls", .loss = "ce", .weight = {.from = 1}, .temperature = {.from = 1}, .tau_squared = true, .teachers = s->teachers, .loc = LOC_NONE};
	for (int i = 0; i < 4; i++)
		s->term[i] = s->term[0];
	s->s.update.optimizer.lr = 0.1;
}

static void
tear_down(struct setup *s)
{
	diag_free(&s->d);
	arena_destroy(s->a);
}

static int
data_at(int64_t i)
{
	return (int)(i * 37 % 251);
}

static int
label_at(int64_t i)
{
	return (int)(i * 5 % CLASSES);
}

static struct etensor *
feed(struct arena *a, const struct value *v, int64_t valid, double lr)
{
	struct etensor *t = etensor_new(a, v->dtype, v->rank, v->dims);
	uint64_t seed = 77;

	for (int64_t i = 0; i < t->count; i++) {
		if (strcmp(v->name, "data") == 0)
			et_put(t, i, data_at(i));
		else if (strncmp(v->name, "label", 5) == 0)
			et_put(t, i, label_at(i));
		else if (strcmp(v->name, "$pair.label") == 0)
			et_put(t, i, label_at((i + 1) % t->count));
		else if (strcmp(v->name, "$mix") == 0)
			et_put(t, i, 0.25 + 0.125 * (double)(i % 4));
		else if (strcmp(v->name, "soft") == 0)
			et_put(t, i, (float)(0.5 + 0.4 * noise(&seed)));
		else
			et_put(t, i, v->name[1] == 'v' ? (double)valid : v->name[1] == 'l' ? lr : 1);
	}
	return t;
}

struct results { struct graph *g; struct etensor **out, **next; };

static struct results
evaluate(struct setup *s, struct graph *g, int64_t valid)
{
	struct eval_opts opts = {.arena = s->a};
	struct etensor **in = arena_array(s->a, struct etensor *, g->inputs.n + 1);
	struct results r = {g, arena_array(s->a, struct etensor *, g->outputs.n + 1),
	    arena_array(s->a, struct etensor *, g->updates.n + 1)};

	graph_verify(g, "distill");
	for (int i = 0; i < g->inputs.n; i++)
		in[i] = feed(s->a, g->inputs.v[i], valid, s->lr);
	assert_true(eval_graph(&opts, g, in, r.out, r.next, NULL, &s->d));
	return r;
}

static double
output(const struct results *r, const char *name)
{
	for (int i = 0; i < r->g->outputs.n; i++)
		if (strcmp(r->g->output_names.v[i], name) == 0)
			return et_get(r->out[i], 0);
	fail_msg("no output %s", name);
	return 0;
}

/* ---- the formulas */
struct mat { int n, m; double v[ROWS * 8]; };

static struct mat
dense(const struct mat *x, const struct value *w, bool squash)
{
	struct mat y = {.n = x->n, .m = (int)w->dims[0]};

	for (int i = 0; i < y.n; i++)
		for (int j = 0; j < y.m; j++) {
			double sum = 0;

			for (int k = 0; k < x->m; k++)
				sum += x->v[i * x->m + k] * dtype_get_f(DT_f32, w->data->data, j * x->m + k);
			y.v[i * y.m + j] = squash ? tanh(sum) : sum;
		}
	return y;
}

static const struct value *
weight(const struct graph *g, const char *name)
{
	for (int i = 0; i < g->states.n; i++)
		if (strcmp(g->states.v[i]->name, name) == 0)
			return g->states.v[i];
	for (int i = 0; i < g->consts.n; i++)
		if (g->consts.v[i]->name && strcmp(g->consts.v[i]->name, name) == 0)
			return g->consts.v[i];
	fail_msg("no weight %s", name);
	return NULL;
}

static struct mat
hidden(const struct graph *g)
{
	struct mat x = {.n = ROWS, .m = IN};

	for (int i = 0; i < ROWS * IN; i++)
		x.v[i] = data_at(i) * (double)(float)(1 / 255.0);
	return dense(&x, weight(g, "w1"), true);
}

static struct mat
logits(const struct graph *g)
{
	struct mat h = hidden(g);

	return dense(&h, weight(g, "w2"), false);
}

static void
log_softmax(const double *z, double tau, double *l)
{
	double sum = 0;

	for (int c = 0; c < CLASSES; c++)
		sum += exp(z[c] / tau);
	for (int c = 0; c < CLASSES; c++)
		l[c] = z[c] / tau - log(sum);
}

#define CLOSE(got, want)                                                                           \
	do {                                                                                       \
		double got_ = (got), want_ = (want);                                               \
		if (!(fabs(got_ - want_) <= 2e-6 * (1 + fabs(want_))))                             \
			fail_msg("%s is %.9g, should be %.9g", #got, got_, want_);                 \
	} while (0)

static double
train_term(struct setup *s)
{
	struct graph *g = distill_train_graph(s->a, &s->s, &s->d);
	struct results r;

	if (!g)
		fail_msg("%s", s->d.text.s);
	r = evaluate(s, g, 0);
	CLOSE(output(&r, "loss"), output(&r, "term.a") * s->term[0].weight.from);
	return output(&r, "term.a");
}

/* the term from evaluation sums over the first `valid` rows */
static double
eval_term(struct setup *s, int64_t valid)
{
	struct graph *g = distill_eval_graph(s->a, &s->s, &s->d);
	struct results r;

	if (!g)
		fail_msg("%s", s->d.text.s);
	r = evaluate(s, g, valid);
	CLOSE(output(&r, "loss.num") / output(&r, "loss.den"),
	    s->term[0].weight.from * output(&r, "term.a.num") / output(&r, "term.a.den"));
	assert_true(output(&r, "loss.den") == (double)valid);
	return output(&r, "term.a.num") / output(&r, "term.a.den");
}

static double
ce_of(struct setup *s, int rows, int ignore)
{
	struct mat z = logits(s->s.student.graph);
	double num = 0, den = 0, l[CLASSES];

	for (int i = 0; i < rows; i++) {
		double w = s->field[1].class_weights ? s->class_weights[label_at(i)] : 1;

		if (label_at(i) == ignore)
			continue;
		log_softmax(&z.v[i * CLASSES], 1, l);
		num -= w * l[label_at(i)];
		den += w;
	}
	return num / den;
}

/* Rows that are mixtures: share s of the own label's weighted loss, 1-s of the next one's. */
static double
mixed_of(struct setup *s, int ignore)
{
	struct mat z = logits(s->s.student.graph);
	double num = 0, den = 0;

	for (int i = 0; i < ROWS; i++)
		for (int k = 0; k < 2; k++) {
			int y = label_at((i + k) % ROWS);
			double l[CLASSES], share = (float)(0.25 + 0.125 * (i % 4)), w;

			log_softmax(&z.v[i * CLASSES], 1, l);
			w = (y == ignore ? 0 : k ? 1 - share : share) * (s->field[1].class_weights ? s->class_weights[y] : 1);
			num -= w * l[y];
			den += w;
		}
	return num / den;
}

/* wsld at T of rows that are mixtures: the share of either label's weight. */
static double
mixed_wsld_of(struct setup *s, double tau)
{
	struct mat z = logits(s->s.student.graph), t = logits(s->teacher[0].graph);
	double sum = 0;

	for (int i = 0; i < ROWS; i++)
		for (int k = 0; k < 2; k++) {
			int y = label_at((i + k) % ROWS);
			double share = (float)(0.25 + 0.125 * (i % 4)), l[CLASSES], lt[CLASSES], h = 0, w;

			log_softmax(&z.v[i * CLASSES], 1, l);
			log_softmax(&t.v[i * CLASSES], 1, lt);
			w = 1 - exp(-l[y] / (lt[y] - 1e-7));
			log_softmax(&z.v[i * CLASSES], tau, l);
			log_softmax(&t.v[i * CLASSES], tau, lt);
			for (int c = 0; c < CLASSES; c++)
				h -= exp(lt[c]) * l[c];
			sum += (k ? 1 - share : share) * w * h * tau * tau;
		}
	return sum / ROWS;
}

static void
term_mixed(void **state)
{
	struct setup s;

	(void)state;
	set_up(&s);
	s.s.mixed = true;
	CLOSE(train_term(&s), mixed_of(&s, -1));
	CLOSE(eval_term(&s, 4), ce_of(&s, 4, -1)); /* evaluation mixes nothing */
	s.field[1].has_ignore = true;
	s.field[1].ignore = label_at(2);
	for (int c = 0; c < CLASSES; c++)
		s.class_weights[c] = 0.5 + c;
	s.field[1].class_weights = s.class_weights;
	CLOSE(train_term(&s), mixed_of(&s, label_at(2)));
	tear_down(&s);
}

static void
term_ce(void **state)
{
	struct setup s;

	(void)state;
	set_up(&s);
	CLOSE(train_term(&s), ce_of(&s, ROWS, -1));
	CLOSE(eval_term(&s, 4), ce_of(&s, 4, -1));
	s.field[1].has_ignore = true;
	s.field[1].ignore = label_at(2);
	CLOSE(train_term(&s), ce_of(&s, ROWS, label_at(2)));
	for (int c = 0; c < CLASSES; c++)
		s.class_weights[c] = 0.5 + c;
	s.field[1].class_weights = s.class_weights;
	CLOSE(train_term(&s), ce_of(&s, ROWS, label_at(2)));
	CLOSE(eval_term(&s, 5), ce_of(&s, 5, label_at(2)));
	tear_down(&s);
}

static double
kd_of(struct setup *s, int rows, int nteachers, double tau, bool cross_only)
{
	struct mat z = logits(s->s.student.graph);
	double sum = 0;

	for (int i = 0; i < rows; i++) {
		double p[CLASSES] = {0}, l[CLASSES];

		for (int k = 0; k < nteachers; k++) {
			struct mat t = logits(s->teacher[k].graph);

			log_softmax(&t.v[i * CLASSES], tau, l);
			for (int c = 0; c < CLASSES; c++)
				p[c] += exp(l[c]) / nteachers;
		}
		log_softmax(&z.v[i * CLASSES], tau, l);
		for (int c = 0; c < CLASSES; c++)
			sum += p[c] * ((cross_only ? 0 : log(p[c])) - l[c]);
	}
	return tau * tau * sum / rows;
}

/* Terms with teachers that read labels too: mixed as those without. */
static void
term_mixed_soft(void **state)
{
	struct setup s;

	(void)state;
	set_up(&s);
	s.s.mixed = true;
	s.term[0].loss = "wsld";
	s.term[0].temperature.from = 2;
	s.term[0].nteachers = 1;
	CLOSE(train_term(&s), mixed_wsld_of(&s, 2));
	s.term[0].loss = "kd"; /* no label: as it is */
	CLOSE(train_term(&s), kd_of(&s, ROWS, 1, 2, false));
	tear_down(&s);
}

static void
term_kd(void **state)
{
	struct setup s;

	(void)state;
	set_up(&s);
	s.term[0].loss = "kd";
	s.term[0].temperature.from = 4;
	s.term[0].weight.from = 0.9;
	s.term[0].nteachers = 1;
	CLOSE(train_term(&s), kd_of(&s, ROWS, 1, 4, false));
	CLOSE(eval_term(&s, 3), kd_of(&s, 3, 1, 4, false));
	s.term[0].nteachers = 2;
	CLOSE(train_term(&s), kd_of(&s, ROWS, 2, 4, false));
	s.term[0].loss = "soft_ce";
	CLOSE(train_term(&s), kd_of(&s, ROWS, 2, 4, true));
	s.term[0].tau_squared = false;
	CLOSE(train_term(&s), kd_of(&s, ROWS, 2, 4, true) / 16);
	s.term[0].reduction = "mean";
	CLOSE(train_term(&s), kd_of(&s, ROWS, 2, 4, true) / 16 / CLASSES);
	CLOSE(eval_term(&s, 2), kd_of(&s, 2, 2, 4, true) / 16 / CLASSES);
	tear_down(&s);
}

static void
term_mse_bce_cosine(void **state)
{
	struct setup s;
	struct mat z, t;
	double mse = 0, bce = 0, cosine = 0;

	(void)state;
	set_up(&s);
	z = logits(s.s.student.graph);
	t = logits(s.teacher[0].graph);
	for (int i = 0; i < ROWS; i++) {
		double st = 0, ss = 0, tt = 0;

		for (int c = i * CLASSES; c < (i + 1) * CLASSES; c++) {
			double p = 1 / (1 + exp(-t.v[c])), q = 1 / (1 + exp(-z.v[c]));

			mse += (z.v[c] - t.v[c]) * (z.v[c] - t.v[c]) / (ROWS * CLASSES);
			bce -= (p * log(q) + (1 - p) * log(1 - q)) / (ROWS * CLASSES);
			st += z.v[c] * t.v[c];
			ss += z.v[c] * z.v[c];
			tt += t.v[c] * t.v[c];
		}
		cosine += (1 - st / sqrt(ss * tt)) / ROWS;
	}
	s.term[0].nteachers = 1;
	s.term[0].loss = "mse";
	CLOSE(train_term(&s), mse);
	CLOSE(eval_term(&s, ROWS), mse);
	s.term[0].loss = "bce";
	CLOSE(train_term(&s), bce);
	CLOSE(eval_term(&s, ROWS), bce);
	s.term[0].loss = "cosine";
	CLOSE(train_term(&s), cosine);
	CLOSE(eval_term(&s, ROWS), cosine);
	tear_down(&s);
}

/* A hint with a linear adaptor, which trains and appears in both forms alike. */
static void
term_hint(void **state)
{
	struct setup s;
	struct graph *g;
	struct mat h, t, a;
	double want = 0;

	(void)state;
	set_up(&s);
	s.term[0] = (struct distill_term){.name = "a", .loss = "hint", .nstudents = 1, .students = (const char *const[]){"mid"}, .weight = {.from = 100}, .temperature = {.from = 1}, .nteachers = 1, .teachers = s.teachers, .loc = LOC_NONE};
	s.teachers[0] = "big.mid";
	s.s.ntasks = 0;
	g = distill_train_graph(s.a, &s.s, &s.d);
	assert_non_null(g);
	h = hidden(s.s.student.graph);
	t = hidden(s.teacher[0].graph);
	a = dense(&h, weight(g, "adaptor.a.weight"), false);
	for (int i = 0; i < ROWS * HIDDEN_T; i++) {
		double bias = dtype_get_f(DT_f32, weight(g, "adaptor.a.bias")->data->data, i % HIDDEN_T);

		want += pow(a.v[i] + bias - t.v[i], 2) / (ROWS * HIDDEN_T);
	}
	CLOSE(train_term(&s), want);
	CLOSE(eval_term(&s, ROWS), want);
	assert_true(g->updates.n == 3); /* w1, adaptor's weight and bias; w2 gets none */
	assert_non_null(strstr(s.d.text.s, "\"w2\" receives no gradient"));
	tear_down(&s);
}

/* With a rate of 1 and no momentum the step is the gradient: against central
 * differences of the loss, for a few elements of every parameter. */
static void
check_gradient(struct setup *s)
{
	struct graph *g = distill_train_graph(s->a, &s->s, &s->d);
	struct results r;
	const double h = 0x1p-10;

	if (!g)
		fail_msg("%s", s->d.text.s);
	s->lr = 1;
	r = evaluate(s, g, 0);
	for (int i = 0; i < g->updates.n; i++) {
		const struct tensor *t = g->updates.v[i].state->data;
		int64_t n = tensor_count(t);

		for (int64_t k = 0; k < n; k += n / 7 + 1) {
			float *w = (float *)t->data + k, old = *w, up = old + (float)h, down = old - (float)h;
			double want, got = (double)old - et_get(r.next[i], k);
			struct results at;

			*w = up;
			at = evaluate(s, g, 0);
			want = output(&at, "loss");
			*w = down;
			at = evaluate(s, g, 0);
			want = (want - output(&at, "loss")) / ((double)up - (double)down);
			*w = old;
			if (!(fabs(got - want) <= 2e-5 * (1 + fabs(want))))
				fail_msg("%s: %s[%d]: gradient %.9g, differences say %.9g", s->term[0].loss,
				    g->updates.v[i].state->name, (int)k, got, want);
		}
	}
}

static void
gradients(void **state)
{
	static const char *const losses[] = {"ce", "kd", "soft_ce", "mse", "bce", "cosine"};

	(void)state;
	for (size_t i = 0; i < sizeof losses / sizeof losses[0]; i++) {
		struct setup s;

		set_up(&s);
		s.term[0].loss = losses[i];
		s.term[0].nteachers = i == 0 ? 0 : 1 + i % 2;
		s.term[0].temperature.from = i == 0 ? 1 : 2;
		check_gradient(&s);
		tear_down(&s);
	}
}

/* Maps of other channels and sizes: pooled to the smaller, 1x1 convolution. */
static struct graph *
maps(struct setup *s, bool state, int64_t channels, int64_t kernel, struct distill_input *in)
{
	int64_t one[2] = {1, 1}, none[4] = {0};
	struct attr attr[4] = {{.name = "strides", .kind = ATTR_INTS, .n = 2, .ints = one},
	    {.name = "pads", .kind = ATTR_INTS, .n = 4, .ints = none},
	    {.name = "dilations", .kind = ATTR_INTS, .n = 2, .ints = one},
	    {.name = "group", .kind = ATTR_INT, .i = 1}};
	struct graph *g = graph_create(s->a, state ? "student.onnx" : "teacher.onnx");
	struct build b = build_at(g, &s->d, LOC_NONE, NULL);
	struct tensor *t = noise_tensor(s->a, DT_f32, DIMS(channels, 2, kernel, kernel), (uint64_t)channels, 0, 0.7);
	struct value *pair[2] = {graph_input(g, "x", DT_f32, DIMS(ROWS, 2, 7, 7)), NULL}, *y;

	pair[1] = state ? graph_state(g, "w", t, true) : graph_const(g, "w", t);
	y = b1(&b, OP_tanh, b_op(&b, OP_conv, 2, pair, 4, attr));
	y->name = "map";
	graph_output(g, "map", y);
	*in = (struct distill_input){.value = pair[0], .field = "data", .scale = 1 / 255.0};
	return g;
}

static void
hint_maps(void **state)
{
	struct distill_name name = {.name = "m", .onnx = "map"};
	const char *teacher = "big.m";

	(void)state;
	for (int k = 0; k < 2; k++) { /* the student's map larger, the teacher's larger */
		struct setup s;
		struct graph *g;

		set_up(&s);
		s.field[0].rank = 3;
		s.field[0].dims[0] = 2;
		s.field[0].dims[1] = s.field[0].dims[2] = 7;
		s.s.student.graph = s.s.student.graph_eval = maps(&s, true, 3, k ? 4 : 2, &s.in[0]);
		s.teacher[0].graph = maps(&s, false, 5, k ? 2 : 4, &s.in[1]);
		s.s.student.names = s.teacher[0].names = &name;
		s.s.student.nnames = s.teacher[0].nnames = 1;
		s.s.nteachers = 1;
		s.s.ntasks = 0;
		s.term[0] = (struct distill_term){.name = "a", .loss = "hint", .nstudents = 1, .students = (const char *const[]){"m"}, .weight = {.from = 1}, .temperature = {.from = 1}, .nteachers = 1, .teachers = &teacher, .loc = LOC_NONE};
		check_gradient(&s);
		g = distill_train_graph(s.a, &s.s, &s.d);
		assert_true(weight(g, "adaptor.a.weight")->rank == 4);
		assert_true(weight(g, "adaptor.a.weight")->dims[0] == 5);
		CLOSE(train_term(&s), eval_term(&s, ROWS));
		tear_down(&s);
	}
}

static void
metrics(void **state)
{
	struct setup s;
	struct results r;
	struct mat z;
	int right = 0, top = 0;

	(void)state;
	set_up(&s);
	s.task.nmetrics = 3;
	s.task.metrics = s.metrics;
	s.metrics[0].name = "accuracy";
	s.metrics[1].name = "top5";
	s.metrics[2].name = "loss";
	z = logits(s.s.student.graph);
	for (int i = 0; i < 5; i++) {
		int above = 0;

		for (int c = 0; c < CLASSES; c++)
			above += z.v[i * CLASSES + c] > z.v[i * CLASSES + label_at(i)];
		right += above == 0;
		top += above < 5;
	}
	r = evaluate(&s, distill_eval_graph(s.a, &s.s, &s.d), 5);
	CLOSE(output(&r, "metric.cls.accuracy.num"), right);
	CLOSE(output(&r, "metric.cls.accuracy.den"), 5);
	CLOSE(output(&r, "metric.cls.top5.num"), top);
	CLOSE(output(&r, "metric.cls.loss.num") / output(&r, "metric.cls.loss.den"), ce_of(&s, 5, -1));
	CLOSE(output(&r, "check.labels"), 0);
	s.field[1].classes = 0;
	s.metrics[0].name = "acuracy";
	assert_null(distill_train_graph(s.a, &s.s, &s.d));
	assert_non_null(strstr(s.d.text.s, "did you mean \"accuracy\""));
	tear_down(&s);
}

static const struct etensor *
tensor_output(const struct results *r, const char *name)
{
	for (int i = 0; i < r->g->outputs.n; i++)
		if (strcmp(r->g->output_names.v[i], name) == 0)
			return r->out[i];
	return NULL;
}

/* Agreement and divergence by their formulas, with the teacher of a term and with one
 * that is named; the rows that the runtime counts. */
static void
metrics_of_rows(void **state)
{
	static const char *const names[] = {"agreement", "kl.other.y", "perplexity", "f1_macro"};
	struct setup s;
	struct results r;
	struct mat z, t[2];
	double agree = 0, kl = 0, surprise = 0, l[CLASSES], lt[CLASSES];

	(void)state;
	set_up(&s);
	s.term[0].loss = "kd";
	s.term[0].nteachers = 1;
	s.task.nmetrics = 4;
	s.task.metrics = s.metrics;
	for (int i = 0; i < 4; i++)
		s.metrics[i].name = names[i];
	s.metrics[1].teacher = "other.y";
	s.field[1].has_ignore = true;
	s.field[1].ignore = label_at(2);
	s.field[1].class_weights = s.class_weights;
	for (int c = 0; c < CLASSES; c++)
		s.class_weights[c] = 1 + c; /* of losses, not of metrics */
	z = logits(s.s.student.graph);
	for (int k = 0; k < 2; k++)
		t[k] = logits(s.teacher[k].graph);
	for (int i = 0; i < 5; i++) {
		int a = 0, b = 0;

		for (int c = 1; c < CLASSES; c++) {
			a = z.v[i * CLASSES + c] > z.v[i * CLASSES + a] ? c : a;
			b = t[0].v[i * CLASSES + c] > t[0].v[i * CLASSES + b] ? c : b;
		}
		agree += a == b;
		log_softmax(z.v + i * CLASSES, 1, l);
		log_softmax(t[1].v + i * CLASSES, 1, lt);
		for (int c = 0; c < CLASSES; c++)
			kl += exp(lt[c]) * (lt[c] - l[c]);
		if (label_at(i) != label_at(2))
			surprise -= l[label_at(i)];
	}
	r = evaluate(&s, distill_eval_graph(s.a, &s.s, &s.d), 5);
	CLOSE(output(&r, "metric.cls.agreement.num"), agree);
	CLOSE(output(&r, "metric.cls.agreement.den"), 5);
	CLOSE(output(&r, "metric.cls.kl.other.y.num"), kl);
	CLOSE(output(&r, "metric.cls.perplexity.num"), surprise);
	CLOSE(output(&r, "metric.cls.perplexity.den"), 4);
	assert_null(tensor_output(&r, "metric.cls.f1_macro.num"));
	assert_int_equal(tensor_output(&r, "rows.cls.labels")->count, ROWS);
	assert_null(tensor_output(&r, "rows.cls.values"));
	for (int i = 0; i < ROWS; i++) {
		assert_true(et_get(tensor_output(&r, "rows.cls.valid"), i) == (i < 5));
		assert_true(et_get(tensor_output(&r, "rows.cls.labels"), i) == (i == 2 ? -1 : label_at(i)));
		CLOSE(et_get(tensor_output(&r, "rows.cls.scores"), i * CLASSES + 3), z.v[i * CLASSES + 3]);
		CLOSE(et_get(tensor_output(&r, "rows.cls.teacher"), i * CLASSES + 3), t[0].v[i * CLASSES + 3]);
	}
	/* a teacher that no term reads is not run to train */
	r.g = distill_train_graph(s.a, &s.s, &s.d);
	assert_non_null(r.g);
	for (int i = 0; i < r.g->outputs.n; i++)
		assert_null(strstr(r.g->output_names.v[i], "other"));
	for (int i = 0; i < r.g->consts.n; i++)
		assert_null(r.g->consts.v[i]->name ? strstr(r.g->consts.v[i]->name, "other/") : NULL);
	/* training has the sums alone; without a term's teacher a stage has no agreement */
	s.term[0].loss = "ce";
	s.term[0].nteachers = 0;
	r.g = distill_train_graph(s.a, &s.s, &s.d);
	assert_non_null(r.g);
	for (int i = 0; i < r.g->outputs.n; i++) {
		assert_null(strstr(r.g->output_names.v[i], "rows."));
		assert_null(strstr(r.g->output_names.v[i], "agreement"));
	}
	assert_null(distill_eval_graph(s.a, &s.s, &s.d));
	assert_non_null(strstr(s.d.text.s, "write {agreement: TEACHER.OUTPUT}"));
	tear_down(&s);
}

/* A teacher whose classes have other places agrees where the map says the same. */
static void
metrics_of_other_classes(void **state)
{
	static const int64_t to[CLASSES] = {3, 0, 1, 6, -1, 2, 5};
	struct distill_class_map map = {CLASSES, to};
	struct setup s;
	struct results r;
	struct mat z, t;
	double agree = 0;

	(void)state;
	set_up(&s);
	s.term[0].loss = "kd";
	s.term[0].nteachers = 1;
	s.term[0].maps = &map;
	s.task.nmetrics = 1;
	s.task.metrics = s.metrics;
	s.metrics[0].name = "agreement";
	z = logits(s.s.student.graph);
	t = logits(s.teacher[0].graph);
	for (int i = 0; i < ROWS; i++) {
		int a = 0, b = 0;

		for (int c = 1; c < CLASSES; c++) {
			a = z.v[i * CLASSES + c] > z.v[i * CLASSES + a] ? c : a;
			b = to[c] >= 0 && t.v[i * CLASSES + c] > t.v[i * CLASSES + b] ? c : b;
		}
		agree += a == to[b];
	}
	r = evaluate(&s, distill_eval_graph(s.a, &s.s, &s.d), ROWS);
	CLOSE(output(&r, "metric.cls.agreement.num"), agree);
	for (int i = 0; i < ROWS; i++)
		for (int c = 0; c < CLASSES; c++)
			if (to[c] >= 0)
				CLOSE(et_get(tensor_output(&r, "rows.cls.teacher"), i * CLASSES + to[c]), t.v[i * CLASSES + c]);
	tear_down(&s);
}

/* Values in the head's shape: several labels a row, and a regression. */
static void
metrics_of_values(void **state)
{
	static const char *const names[] = {"rmse", "mae", "accuracy", "agreement", "kl", "r2"};
	struct setup s;
	struct results r;
	struct mat z, t;
	double squares = 0, distances = 0, right = 0, agree = 0, kl = 0;

	(void)state;
	set_up(&s);
	s.s.nfields = 3;
	s.task.target = "soft";
	s.term[0].loss = "bce";
	s.term[1].loss = "bce";
	s.term[1].name = "b";
	s.term[1].nteachers = 1;
	s.s.nterms = 2;
	s.task.nmetrics = 6;
	s.task.metrics = s.metrics;
	for (int i = 0; i < 6; i++)
		s.metrics[i].name = names[i];
	z = logits(s.s.student.graph);
	t = logits(s.teacher[0].graph);
	r = evaluate(&s, distill_eval_graph(s.a, &s.s, &s.d), 4);
	for (int i = 0; i < 4 * CLASSES; i++) {
		double v = et_get(tensor_output(&r, "rows.cls.values"), i), p = 1 / (1 + exp(-t.v[i])), q = 1 / (1 + exp(-z.v[i]));

		assert_true(v >= 0.1 && v <= 0.9);
		squares += (z.v[i] - v) * (z.v[i] - v);
		distances += fabs(z.v[i] - v);
		right += (z.v[i] > 0) == (v > 0.5);
		agree += (z.v[i] > 0) == (t.v[i] > 0);
		kl += p * log(p / q) + (1 - p) * log((1 - p) / (1 - q));
	}
	CLOSE(output(&r, "metric.cls.rmse.num"), squares);
	CLOSE(output(&r, "metric.cls.rmse.den"), 4 * CLASSES);
	CLOSE(output(&r, "metric.cls.mae.num"), distances);
	CLOSE(output(&r, "metric.cls.accuracy.num"), right);
	CLOSE(output(&r, "metric.cls.agreement.num"), agree);
	CLOSE(output(&r, "metric.cls.kl.num"), kl);
	assert_null(tensor_output(&r, "rows.cls.labels"));
	s.task.target = "label";
	s.term[0].loss = "ce";
	assert_null(distill_eval_graph(s.a, &s.s, &s.d));
	assert_non_null(strstr(s.d.text.s, "does not have the shape of its head"));
	tear_down(&s);
}

/* Four rows of one set, two of another: the student sees all, each term its own. */
static void
several_sets(void **state)
{
	struct distill_set sets[2] = {{"first", 0, 4, 0, 0}, {"second", 4, 2, 0, 0}};
	struct distill_field field[4];
	struct distill_input in[3];
	struct distill_task task[2];
	struct setup s;
	struct results r;
	struct mat z;
	struct value *w[2];
	double l[CLASSES], want = 0;
	const char *teacher = "big.y";

	(void)state;
	set_up(&s);
	s.s.nsets = 2;
	s.s.sets = sets;
	for (int k = 0; k < 2; k++) {
		field[k] = s.field[0];
		field[2 + k] = s.field[1];
		field[k].first_row = field[2 + k].first_row = sets[k].first_row;
		field[k].rows = field[2 + k].rows = sets[k].rows;
		task[k] = s.task;
		s.term[k].name = k ? "b" : "a";
		s.term[k].task = task[k].name = k ? "two" : "one";
	}
	field[0].name = "data";
	field[1].name = "data2";
	field[2].name = "label";
	task[0].target = "label";
	field[3].name = "label2";
	task[1].target = "label2";
	s.s.nfields = 4;
	s.s.fields = field;
	s.s.ntasks = 2;
	s.s.tasks = task;
	in[0] = in[1] = s.in[0];
	in[1].field = "data2";
	s.s.student.inputs = in;
	s.s.student.ninputs = 2;
	/* the teacher knows the second set only */
	s.teacher[0].graph = model(&s, "teacher.onnx", 40, false, HIDDEN_T, 2, &in[2], w);
	in[2].field = "data2";
	s.teacher[0].inputs = &in[2];
	s.s.nteachers = 1;
	s.s.nterms = 3;
	s.term[2] = s.term[1];
	s.term[2].name = "c";
	s.term[2].loss = "kd";
	s.term[2].nteachers = 1;
	s.term[2].teachers = &teacher;
	r = evaluate(&s, distill_train_graph(s.a, &s.s, &s.d), 0);
	z = logits(s.s.student.graph);
	for (int i = 0; i < 4; i++) {
		log_softmax(&z.v[i * CLASSES], 1, l);
		want -= l[label_at(i)] / 4;
	}
	CLOSE(output(&r, "term.a"), want);
	CLOSE(output(&r, "loss"), output(&r, "term.a") + output(&r, "term.b") + output(&r, "term.c"));
	r = evaluate(&s, distill_eval_graph(s.a, &s.s, &s.d), 1);
	CLOSE(output(&r, "term.a.den"), 1);
	CLOSE(output(&r, "term.b.den"), 1);
	CLOSE(output(&r, "loss.den"), 2);
	tear_down(&s);
}

/* A cached teacher leaves the step: its outputs come in, its own graph makes them. */
static void
cached_teacher(void **state)
{
	struct setup s;
	struct graph *g;
	struct results r;

	(void)state;
	set_up(&s);
	s.term[0].loss = "kd";
	s.term[0].nteachers = 1;
	s.teacher[0].cached = true;
	g = distill_train_graph(s.a, &s.s, &s.d);
	assert_non_null(g);
	assert_string_equal(g->inputs.v[1]->name, "$teacher.big.y");
	r = evaluate(&s, distill_teacher_graph(s.a, &s.s, 0, &s.d), 0);
	assert_string_equal(r.g->output_names.v[0], "$teacher.big.y");
	CLOSE(et_get(r.out[0], 9), logits(s.teacher[0].graph).v[9]);
	tear_down(&s);
}

/* One wrong thing at a time, and what must be in the message. */
static void
wrong(const char *want, void (*spoil)(struct setup *))
{
	struct setup s;

	set_up(&s);
	s.term[0].nteachers = 1;
	s.term[0].loss = "kd";
	spoil(&s);
	assert_null(distill_train_graph(s.a, &s.s, &s.d));
	if (!s.d.text.s || !strstr(s.d.text.s, want))
		fail_msg("message should hold \"%s\": %s", want, s.d.text.s ? s.d.text.s : "");
	tear_down(&s);
}

static void
spoil_classes(struct setup *s)
{
	s->teachers[0] = "big.mid";
}

static void
spoil_tap(struct setup *s)
{
	s->names[1][1].onnx = "hiden_out";
}

static void
spoil_teacher(struct setup *s)
{
	s->teachers[0] = "bigg.y";
}

static void
spoil_output(struct setup *s)
{
	s->teachers[0] = "big.midd";
}

static void
spoil_labels(struct setup *s)
{
	s->term[0].loss = "ce";
	s->field[1].dtype = DT_f32;
}

static void
spoil_head(struct setup *s)
{
	s->term[0].loss = "ce";
	s->field[1].classes = 10;
}

static void
spoil_loss(struct setup *s)
{
	s->term[0].loss = "kdd";
}

static void
spoil_field(struct setup *s)
{
	s->in[0].field = "dat";
}

static void
spoil_input(struct setup *s)
{
	s->field[0].dims[0] = IN + 1;
}

static void
spoil_frozen(struct setup *s)
{
	static const char *all[] = {"w*"};

	s->s.frozen = all;
	s->s.nfrozen = 1;
}

static void
wrong_recipes(void **state)
{
	(void)state;
	wrong("teacher output \"big.mid\" has 3 classes, student output \"y\" has 7", spoil_classes);
	wrong("did you mean \"hidden_out\"", spoil_tap);
	wrong("no teacher is called \"bigg\"; did you mean \"big\"", spoil_teacher);
	wrong("no output or tap \"midd\"; did you mean \"mid\"", spoil_output);
	wrong("field \"label\" is f32", spoil_labels);
	wrong("field \"label\" has 10 classes, student output \"y\" has 7", spoil_head);
	wrong("no loss is called \"kdd\"; did you mean \"kd\"", spoil_loss);
	wrong("no data field is called \"dat\"; did you mean \"data\"", spoil_field);
	wrong("input \"x\" of the student is [6,5], its data is [6,6]", spoil_input);
	wrong("no parameter to train", spoil_frozen);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(term_ce),
	    cmocka_unit_test(term_mixed),
	    cmocka_unit_test(term_mixed_soft),
	    cmocka_unit_test(term_kd),
	    cmocka_unit_test(term_mse_bce_cosine),
	    cmocka_unit_test(term_hint),
	    cmocka_unit_test(gradients),
	    cmocka_unit_test(hint_maps),
	    cmocka_unit_test(metrics),
	    cmocka_unit_test(metrics_of_rows),
	    cmocka_unit_test(metrics_of_other_classes),
	    cmocka_unit_test(metrics_of_values),
	    cmocka_unit_test(several_sets),
	    cmocka_unit_test(cached_teacher),
	    cmocka_unit_test(wrong_recipes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
