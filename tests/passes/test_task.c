/* Gradients and weights of several tasks against computations in double written out here:
 * PCGrad by vectors, MGDA by the conditions of its minimum and for two tasks by its closed
 * form, uncertainty and GradNorm by a step of a student with two heads. */
#include "tests/unit.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "numeric.h"
#include "passes/distill.h"
#include "passes/task_gradient.h"

enum { PARAMS = 4, MOST = 8, WIDTH = 6 };

#define CLOSE(got, want, eps)                                                                      \
	do {                                                                                       \
		double got_ = (got), want_ = (want);                                               \
		if (!(fabs(got_ - want_) <= (eps) * (1 + fabs(want_))))                            \
			fail_msg("%s is %.12g, should be %.12g", #got, got_, want_);               \
	} while (0)

/* Task k reaches the first two parameters, parameter 2 if k is 0, parameter 3 from k = 1 on. */
static bool
reaches(int task, int param)
{
	return param < 2 || (param == 2) == (task == 0);
}

static bool
is_shared(int n, int param)
{
	return param < 2 || (param == 3 && n > 2);
}

struct mix {
	struct arena *a;
	struct diag d;
	struct graph *g;
	int n;
	double grad[MOST][PARAMS][WIDTH], out[PARAMS][WIDTH], c[MOST], against;
};

static void
mix_run(struct mix *x, struct mixing how, int n, uint64_t seed)
{
	struct eval_opts opts = {.arena = x->a = arena_create()};
	struct value *grads[MOST][PARAMS] = {{NULL}}, **rows[MOST], *c[MOST], *against,
		     *out[PARAMS];
	struct etensor *in[MOST * PARAMS], *res[MOST + PARAMS + 1];
	struct build b;
	int nin = 0, at = 0;

	diag_init(&x->d, NULL);
	x->g = graph_create(x->a, "mix");
	x->n = n;
	b = build_at(x->g, &x->d, LOC_NONE, NULL);
	for (int k = 0; k < n; k++) {
		rows[k] = grads[k];
		for (int p = 0; p < PARAMS; p++) {
			if (!reaches(k, p))
				continue;
			grads[k][p] = graph_input(x->g, arena_printf(x->a, "g%d.%d", k, p), DT_f64,
			    1, (const int64_t[]){WIDTH});
			in[nin] = etensor_new(x->a, DT_f64, 1, (const int64_t[]){WIDTH});
			for (int i = 0; i < WIDTH; i++)
				et_put(in[nin], i, x->grad[k][p][i] = noise(&seed) * (1 + k));
			nin++;
		}
	}
	assert_true(task_gradient(&b, &how, n, rows, PARAMS, c, &against, out));
	for (int k = 0; k < n; k++)
		graph_output(x->g, "c", c[k]);
	graph_output(x->g, "against", against);
	for (int p = 0; p < PARAMS; p++)
		if (out[p])
			graph_output(x->g, "out", out[p]);
	graph_verify(x->g, "task_gradient");
	assert_true(eval_graph(&opts, x->g, in, res, NULL, NULL, &x->d));
	for (int k = 0; k < n; k++)
		x->c[k] = et_get(res[at++], 0);
	x->against = et_get(res[at++], 0);
	for (int p = 0; p < PARAMS; p++)
		for (int i = 0; out[p] && i < WIDTH; i++)
			x->out[p][i] = et_get(res[at], i), at += i == WIDTH - 1;
	arena_destroy(x->a);
	diag_free(&x->d);
}

static double
dot(const struct mix *x, double (*u)[WIDTH], double (*v)[WIDTH])
{
	double sum = 0;

	for (int p = 0; p < PARAMS; p++)
		for (int i = 0; i < WIDTH && is_shared(x->n, p); i++)
			sum += u[p][i] * v[p][i];
	return sum;
}

/* Parameters of one task have its gradient. */
static void
check_own(const struct mix *x)
{
	for (int p = 0; p < PARAMS; p++)
		for (int k = 0; k < x->n; k++)
			for (int i = 0; i < WIDTH && !is_shared(x->n, p) && reaches(k, p); i++)
				CLOSE(x->out[p][i], x->grad[k][p][i], 1e-12);
}

static void
pcgrad(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed < 40; seed++) {
		struct mix x;
		double sum[PARAMS][WIDTH] = {{0}}, met = 0;
		int n = 2 + (int)(seed % 5);

		mix_run(&x, (struct mixing){.how = GRADIENTS_pcgrad}, n, seed);
		for (int i = 0; i < n; i++) {
			double p[PARAMS][WIDTH];

			memcpy(p, x.grad[i], sizeof p);
			for (int step = 1; step < n; step++) {
				int j = (i + step) % n;
				double d = dot(&x, p, x.grad[j]),
				       norm = dot(&x, x.grad[j], x.grad[j]);

				for (int q = 0; q < PARAMS && d < 0; q++)
					for (int e = 0; e < WIDTH; e++)
						p[q][e] -= d / norm * x.grad[j][q][e];
				met += dot(&x, x.grad[i], x.grad[j]) < 0;
			}
			for (int q = 0; q < PARAMS; q++)
				for (int e = 0; e < WIDTH; e++)
					sum[q][e] += p[q][e];
		}
		for (int q = 0; q < PARAMS; q++)
			for (int e = 0; e < WIDTH && is_shared(n, q); e++)
				CLOSE(x.out[q][e], sum[q][e], 1e-10);
		CLOSE(x.against, met / (n * (n - 1)), 1e-12);
		check_own(&x);
	}
}

static void
mgda(void **state)
{
	double slack[MOST + 1] = {0};

	(void)state;
	for (uint64_t seed = 1; seed < 120; seed++) {
		struct mix x;
		double sum = 0, norm, d[PARAMS][WIDTH] = {{0}};
		int n = 2 + (int)(seed % 7);

		mix_run(&x, (struct mixing){.how = GRADIENTS_mgda}, n, seed);
		for (int k = 0; k < n; k++) {
			sum += x.c[k];
			assert_true(x.c[k] >= 0);
			for (int p = 0; p < PARAMS; p++)
				for (int i = 0; i < WIDTH; i++)
					d[p][i] += x.c[k] * x.grad[k][p][i];
		}
		CLOSE(sum, 1, 1e-12);
		norm = dot(&x, d, d);
		/* d is shortest: no g_k is behind the plane through d across d */
		for (int k = 0; k < n; k++) {
			double behind =
			    (norm - dot(&x, d, x.grad[k])) / dot(&x, x.grad[k], x.grad[k]);

			slack[n] = fmax(slack[n], behind);
		}
		for (int p = 0; p < PARAMS; p++)
			for (int i = 0; i < WIDTH && is_shared(n, p); i++)
				CLOSE(x.out[p][i], d[p][i], 1e-10);
		if (n == 2) {
			double m = dot(&x, x.grad[0], x.grad[1]), a = dot(&x, x.grad[0], x.grad[0]),
			       c = dot(&x, x.grad[1], x.grad[1]), best = (c - m) / (a + c - 2 * m);

			CLOSE(x.c[0], best < 0 ? 0 : best > 1 ? 1 : best, 1e-12);
		}
		check_own(&x);
	}
	for (int n = 2; n <= MOST; n++)
		if (slack[n] > (n < 5 ? 1e-9 : 5e-3))
			fail_msg("MGDA of %d tasks stops %g short of the minimum", n, slack[n]);
}

static void
plain(void **state)
{
	struct mix x;

	(void)state;
	mix_run(&x, (struct mixing){.how = GRADIENTS_sum}, 3, 5);
	for (int i = 0; i < WIDTH; i++)
		CLOSE(x.out[0][i], x.grad[0][0][i] + x.grad[1][0][i] + x.grad[2][0][i], 1e-12);
	check_own(&x);
}

/* ---- a student with a trunk and two heads, on two targets */
enum { ROWS = 5, IN = 4, HIDDEN = 3 };
static const int classes[2] = {3, 4};

struct setup {
	struct arena *a;
	struct diag d;
	struct distill s;
	struct distill_input in;
	struct distill_name names[2];
	struct distill_field field[3];
	struct distill_task task[2];
	struct distill_term term[3];
	double lr;
	double v[2]; /* what $task.* is */
	struct graph *g;
	struct etensor **out, **next;
};

static void
set_up(struct setup *s)
{
	struct value *x, *h, *w[3];
	struct graph *g;
	struct build b;

	*s = (struct setup){.a = arena_create(), .lr = 0.25, .v = {1, 1}};
	diag_init(&s->d, NULL);
	g = graph_create(s->a, "student.onnx");
	b = build_at(g, &s->d, LOC_NONE, NULL);
	x = graph_input(g, "x", DT_f32, 2, (const int64_t[]){ROWS, IN});
	w[0] = graph_state(g, "trunk",
	    noise_tensor(s->a, DT_f32, 2, (const int64_t[]){HIDDEN, IN}, 3, 0, 0.9), true);
	h = b1(&b, OP_tanh, b_contract(&b, "mk,nk->mn", x, w[0]));
	for (int k = 0; k < 2; k++) {
		w[1 + k] = graph_state(g, k ? "head1" : "head0",
		    noise_tensor(s->a, DT_f32, 2, (const int64_t[]){classes[k], HIDDEN},
			7 + (uint64_t)k, 0, 1.3),
		    true);
		graph_output(g, k ? "z1" : "z0", b_contract(&b, "mk,nk->mn", h, w[1 + k]));
		s->names[k] = (struct distill_name){
		    .name = k ? "two" : "one", .onnx = k ? "z1" : "z0", .loc = LOC_NONE};
		s->field[1 + k] = (struct distill_field){
		    .name = k ? "label1" : "label0", .dtype = DT_u8, .classes = classes[k]};
		s->task[k] = (struct distill_task){.name = k ? "two" : "one",
		    .head = s->names[k].name,
		    .target = s->field[1 + k].name,
		    .weight = k ? 0.75 : 1.5,
		    .loc = LOC_NONE};
		s->term[k] = (struct distill_term){.name = k ? "t2" : "t1",
		    .task = s->task[k].name,
		    .loss = "ce",
		    .weight = {.from = k ? 2 : 0.5},
		    .loc = LOC_NONE};
	}
	s->field[0] = (struct distill_field){.name = "x", .dtype = DT_f32, .rank = 1, .dims = {IN}};
	s->in = (struct distill_input){.value = x, .field = "x", .scale = 1};
	s->s = (struct distill){.name = "t",
	    .batch = ROWS,
	    .nfields = 3,
	    .fields = s->field,
	    .ntasks = 2,
	    .tasks = s->task,
	    .nterms = 2,
	    .terms = s->term,
	    .update.optimizer = {.kind = OPT_SGD, .lr = 0.25}};
	s->s.student = (struct distill_model){.name = "student",
	    .graph = g,
	    .graph_eval = g,
	    .ninputs = 1,
	    .inputs = &s->in,
	    .nnames = 2,
	    .noutputs = 2,
	    .names = s->names};
}

static void
tear_down(struct setup *s)
{
	diag_free(&s->d);
	arena_destroy(s->a);
}

static double
x_at(int64_t i)
{
	return (float)sin(1.7 * (double)i + 0.3);
}

static int
label_at(int task, int64_t i)
{
	return (int)((i * 5 + task) % classes[task]);
}

/* s->g with its states as they are, in double. */
static void
evaluate(struct setup *s)
{
	struct eval_opts opts = {.arena = s->a};
	struct etensor **in;

	graph_verify(s->g, "distill");
	in = arena_array(s->a, struct etensor *, s->g->inputs.n + 1);
	s->out = arena_array(s->a, struct etensor *, s->g->outputs.n + 1);
	s->next = arena_array(s->a, struct etensor *, s->g->updates.n + 1);
	for (int i = 0; i < s->g->inputs.n; i++) {
		const struct value *v = s->g->inputs.v[i];

		in[i] = etensor_new(s->a, v->dtype, v->rank, v->dims);
		for (int64_t k = 0; k < in[i]->count; k++)
			et_put(in[i], k,
			    strcmp(v->name, "x") == 0		? x_at(k)
			    : strncmp(v->name, "label", 5) == 0 ? label_at(v->name[5] - '0', k)
			    : strcmp(v->name, "$lr") == 0	? s->lr
			    : strcmp(v->name, "$task.one") == 0 ? s->v[0]
			    : strcmp(v->name, "$task.two") == 0 ? s->v[1]
								: 1);
	}
	assert_true(eval_graph(&opts, s->g, in, s->out, s->next, NULL, &s->d));
}

static void
step(struct setup *s)
{
	s->g = distill_train_graph(s->a, &s->s, &s->d);
	if (!s->g)
		fail_msg("%s", s->d.text.s);
	evaluate(s);
}

static double
output(const struct setup *s, const char *name)
{
	for (int i = 0; i < s->g->outputs.n; i++)
		if (strcmp(s->g->output_names.v[i], name) == 0)
			return et_get(s->out[i], 0);
	fail_msg("no output %s", name);
	return 0;
}

static const struct etensor *
next_state(const struct setup *s, const char *name)
{
	for (int i = 0; i < s->g->updates.n; i++)
		if (strcmp(s->g->updates.v[i].state->name, name) == 0)
			return s->next[i];
	fail_msg("no update of %s", name);
	return NULL;
}

static double
weight_at(const struct setup *s, const char *name, int64_t i)
{
	const struct graph *g = s->s.student.graph;

	for (int k = 0; k < g->states.n; k++)
		if (strcmp(g->states.v[k]->name, name) == 0)
			return dtype_get_f(DT_f32, g->states.v[k]->data->data, i);
	fail_msg("no state %s", name);
	return 0;
}

/* Loss of task k (the term's weight and the task's), its gradients by trunk and head. */
struct truth {
	double loss, trunk[HIDDEN * IN], head[4 * HIDDEN];
};

static struct truth
truth(const struct setup *s, int k)
{
	const char *head = k ? "head1" : "head0";
	double scale = s->term[k].weight.from * s->task[k].weight / ROWS;
	struct truth t = {0};
	int C = classes[k];

	for (int r = 0; r < ROWS; r++) {
		double h[HIDDEN], z[4] = {0}, dh[HIDDEN] = {0}, sum = 0;

		for (int j = 0; j < HIDDEN; j++) {
			h[j] = 0;
			for (int i = 0; i < IN; i++)
				h[j] += weight_at(s, "trunk", j * IN + i) * x_at(r * IN + i);
			h[j] = tanh(h[j]);
		}
		for (int c = 0; c < C; c++) {
			for (int j = 0; j < HIDDEN; j++)
				z[c] += weight_at(s, head, c * HIDDEN + j) * h[j];
			sum += exp(z[c]);
		}
		t.loss -= scale * (z[label_at(k, r)] - log(sum));
		for (int c = 0; c < C; c++) {
			double dz = scale * (exp(z[c]) / sum - (c == label_at(k, r)));

			for (int j = 0; j < HIDDEN; j++) {
				t.head[c * HIDDEN + j] += dz * h[j];
				dh[j] += dz * weight_at(s, head, c * HIDDEN + j);
			}
		}
		for (int j = 0; j < HIDDEN; j++)
			for (int i = 0; i < IN; i++)
				t.trunk[j * IN + i] += dh[j] * (1 - h[j] * h[j]) * x_at(r * IN + i);
	}
	return t;
}

static double
norm_of(const double *v, int n)
{
	double sum = 0;

	for (int i = 0; i < n; i++)
		sum += v[i] * v[i];
	return sqrt(sum);
}

/* trunk -= lr (a g0 + c g1), head k -= lr b[k] g */
static void
check_step(const struct setup *s, double a, double c, double h0, double h1)
{
	struct truth t[2] = {truth(s, 0), truth(s, 1)};
	double h[2] = {h0, h1};

	for (int i = 0; i < HIDDEN * IN; i++)
		CLOSE(et_get(next_state(s, "trunk"), i),
		    weight_at(s, "trunk", i) - s->lr * (a * t[0].trunk[i] + c * t[1].trunk[i]),
		    1e-6);
	for (int k = 0; k < 2; k++)
		for (int i = 0; i < classes[k] * HIDDEN; i++)
			CLOSE(et_get(next_state(s, k ? "head1" : "head0"), i),
			    weight_at(s, k ? "head1" : "head0", i) - s->lr * h[k] * t[k].head[i],
			    1e-6);
}

static void
weights_given(void **state)
{
	struct setup s;

	(void)state;
	set_up(&s);
	step(&s);
	CLOSE(output(&s, "loss"), truth(&s, 0).loss + truth(&s, 1).loss, 1e-6);
	check_step(&s, 1, 1, 1, 1);
	s.s.balance.weights = TASKS_dwa;
	s.task[0].turned = s.task[1].turned = true;
	s.v[0] = 0.3;
	s.v[1] = 1.7;
	step(&s);
	CLOSE(output(&s, "loss"), 0.3 * truth(&s, 0).loss + 1.7 * truth(&s, 1).loss, 1e-6);
	CLOSE(output(&s, "task_loss.one"), truth(&s, 0).loss, 1e-6);
	CLOSE(output(&s, "task_loss.two"), truth(&s, 1).loss, 1e-6);
	check_step(&s, 0.3, 1.7, 0.3, 1.7);
	tear_down(&s);
}

static void
uncertainty(void **state)
{
	struct setup s;
	struct truth t[2];
	double s0 = -log(2 * 0.8), s1 = 0, v[2];

	(void)state;
	set_up(&s);
	s.s.balance = (struct task_balance){.weights = TASKS_uncertainty, .clamp = 10};
	s.task[0].initial = 0.8;
	step(&s);
	t[0] = truth(&s, 0);
	t[1] = truth(&s, 1);
	v[0] = exp(-s0) / 2;
	v[1] = exp(-s1) / 2;
	CLOSE(output(&s, "loss"), v[0] * t[0].loss + v[1] * t[1].loss + (s0 + s1) / 2, 1e-6);
	CLOSE(output(&s, "task_weight.one"), 0.8, 1e-6);
	check_step(&s, v[0], v[1], v[0], v[1]);
	CLOSE(et_get(next_state(&s, "task.one.log_variance"), 0),
	    s0 - s.lr * (0.5 - v[0] * t[0].loss), 1e-6);
	CLOSE(et_get(next_state(&s, "task.two.log_variance"), 0),
	    s1 - s.lr * (0.5 - v[1] * t[1].loss), 1e-6);
	s.s.balance.lr = 2; /* of its own; and kept within the bounds */
	s.s.balance.clamp = 0.25;
	step(&s);
	for (int k = 0; k < 2; k++) {
		double to = (k ? s1 : s0) - 2 * (0.5 - v[k] * t[k].loss);

		assert_true(k == 0 || fabs(to) > 0.25);
		CLOSE(et_get(
			  next_state(&s, k ? "task.two.log_variance" : "task.one.log_variance"), 0),
		    fmin(fmax(to, -0.25), 0.25), 1e-6);
	}
	tear_down(&s);
}

/* One step of Adam moves a number by lr against the sign of its gradient. */
static void
gradnorm(void **state)
{
	struct setup s;
	double w[2] = {0.6, 1.4}, G[2], mean, next[2], sum = 0;

	(void)state;
	set_up(&s);
	s.s.balance = (struct task_balance){.weights = TASKS_gradnorm, .alpha = 1.5, .lr = 0.1};
	for (int k = 0; k < 2; k++)
		s.task[k].initial = w[k];
	step(&s);
	for (int k = 0; k < 2; k++)
		G[k] = w[k] * norm_of(truth(&s, k).trunk, HIDDEN * IN);
	mean = (G[0] + G[1]) / 2; /* in the first step all r are 1 */
	for (int k = 0; k < 2; k++)
		sum += next[k] = w[k] - (G[k] > mean ? 0.1 : -0.1);
	CLOSE(output(&s, "loss"), w[0] * truth(&s, 0).loss + w[1] * truth(&s, 1).loss, 1e-6);
	check_step(&s, w[0], w[1], w[0], w[1]);
	CLOSE(et_get(next_state(&s, "task.one.weight"), 0), next[0] * 2 / sum, 1e-5);
	CLOSE(et_get(next_state(&s, "task.two.weight"), 0), next[1] * 2 / sum, 1e-5);
	for (int k = 0; k < 2; k++) {
		const char *name = k ? "task.two.weight" : "task.one.weight";
		struct truth t = truth(&s, k);
		double pull = (G[k] > mean ? 1 : -1) * norm_of(t.trunk, HIDDEN * IN);

		CLOSE(et_get(next_state(&s, arena_printf(s.a, "%s:first", name)), 0), t.loss, 1e-6);
		CLOSE(et_get(next_state(&s, arena_printf(s.a, "%s:m", name)), 0), 0.1 * pull, 1e-6);
		CLOSE(et_get(next_state(&s, arena_printf(s.a, "%s:v", name)), 0),
		    0.001 * pull * pull, 1e-6);
	}
	tear_down(&s);
}

/* What the weights follow from when the losses have moved: states of a later step. */
static void
gradnorm_later(void **state)
{
	static const double first[2] = {3.5, 0.4}, w[2] = {1.25, 0.75};
	struct setup s;
	double G[2], r[2], mean, alpha = 0.7;

	(void)state;
	set_up(&s);
	s.s.balance = (struct task_balance){
	    .weights = TASKS_gradnorm, .alpha = alpha, .lr = 0.1, .layer = "tr*"};
	step(&s);
	for (int i = 0; i < s.g->states.n; i++)
		for (int k = 0; k < 2; k++) {
			const char *name = arena_printf(s.a, "task.%s.weight", s.task[k].name);
			struct value *v = s.g->states.v[i];

			if (strcmp(v->name, name) == 0)
				dtype_put_f(DT_f32, v->data->data, 0, w[k]);
			if (strcmp(v->name, arena_printf(s.a, "%s:first", name)) == 0)
				dtype_put_f(DT_f32, v->data->data, 0, first[k]);
		}
	evaluate(&s);
	for (int k = 0; k < 2; k++) {
		struct truth t = truth(&s, k);

		G[k] = w[k] * norm_of(t.trunk, HIDDEN * IN);
		r[k] = t.loss / (float)first[k];
	}
	mean = (G[0] + G[1]) / 2;
	for (int k = 0; k < 2; k++) {
		double rate = r[k] / ((r[0] + r[1]) / 2), target = mean * pow(rate, alpha);
		double pull = (G[k] > target ? 1 : -1) * G[k] / w[k];

		CLOSE(et_get(
			  next_state(&s, arena_printf(s.a, "task.%s.weight:m", s.task[k].name)), 0),
		    0.1 * pull, 1e-6);
		CLOSE(et_get(
			  next_state(&s, arena_printf(s.a, "task.%s.weight:first", s.task[k].name)),
			  0),
		    (float)first[k], 1e-7);
	}
	tear_down(&s);
}

/* The whole step: the trunk along the mixed gradient, heads along their own. */
static void
steps_mixed(void **state)
{
	struct setup s;
	struct truth t[2];
	double m = 0, a = 0, c = 0, best, back0, back1;

	(void)state;
	set_up(&s);
	s.s.balance.gradients = GRADIENTS_pcgrad;
	t[0] = truth(&s, 0);
	t[1] = truth(&s, 1);
	for (int i = 0; i < HIDDEN * IN; i++) {
		m += t[0].trunk[i] * t[1].trunk[i];
		a += t[0].trunk[i] * t[0].trunk[i];
		c += t[1].trunk[i] * t[1].trunk[i];
	}
	step(&s);
	back0 = m < 0 ? -m / a : 0; /* what task two gives of task one's */
	back1 = m < 0 ? -m / c : 0;
	check_step(&s, 1 + back0, 1 + back1, 1, 1);
	CLOSE(output(&s, "task_conflict"), m < 0, 1e-12);
	s.s.balance.gradients = GRADIENTS_mgda;
	step(&s);
	best = (c - m) / (a + c - 2 * m);
	best = best < 0 ? 0 : best > 1 ? 1 : best;
	check_step(&s, best, 1 - best, 1, 1);
	CLOSE(output(&s, "task_factor.one"), best, 1e-6);
	s.s.balance.normalize = NORMALIZE_norm; /* of two equally long ones: half and half */
	step(&s);
	check_step(&s, 0.5, 0.5, 1, 1);
	s.s.balance.normalize = NORMALIZE_loss;
	step(&s);
	a /= t[0].loss * t[0].loss;
	c /= t[1].loss * t[1].loss;
	m /= t[0].loss * t[1].loss;
	best = fmin(fmax((c - m) / (a + c - 2 * m), 0), 1);
	check_step(&s, best, 1 - best, 1, 1);
	tear_down(&s);
}

/* Norms of the terms' gradients over all parameters, by the weights of the moment. */
static void
shares(void **state)
{
	struct setup s;

	(void)state;
	set_up(&s);
	s.s.balance.weights = TASKS_dwa;
	s.task[0].turned = s.task[1].turned = true;
	s.v[0] = 0.3;
	s.v[1] = 1.7;
	s.g = distill_share_graph(s.a, &s.s, &s.d);
	assert_non_null(s.g);
	assert_true(s.g->updates.n == 0 && s.g->outputs.n == 2);
	evaluate(&s);
	for (int k = 0; k < 2; k++) {
		struct truth t = truth(&s, k);
		double a = norm_of(t.trunk, HIDDEN * IN), b = norm_of(t.head, classes[k] * HIDDEN);

		CLOSE(output(&s, k ? "grad_share.t2" : "grad_share.t1"),
		    s.v[k] * sqrt(a * a + b * b), 1e-6);
	}
	tear_down(&s);
}

static void
refused(void **state)
{
	struct setup s;

	(void)state;
	set_up(&s);
	s.s.nterms = 1;
	s.s.balance.gradients = GRADIENTS_mgda;
	assert_null(distill_train_graph(s.a, &s.s, &s.d));
	assert_non_null(strstr(s.d.text.s, "the terms of 1 task;"));
	s.s.balance = (struct task_balance){.weights = TASKS_gradnorm};
	assert_null(distill_train_graph(s.a, &s.s, &s.d));
	s.s.nterms = 2;
	s.s.balance.layer = "head*";
	assert_null(distill_train_graph(s.a, &s.s, &s.d));
	assert_non_null(strstr(s.d.text.s, "none of them matches \"head*\""));
	tear_down(&s);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(plain), cmocka_unit_test(pcgrad),
	    cmocka_unit_test(mgda), cmocka_unit_test(weights_given), cmocka_unit_test(uncertainty),
	    cmocka_unit_test(gradnorm), cmocka_unit_test(gradnorm_later),
	    cmocka_unit_test(steps_mixed), cmocka_unit_test(shares), cmocka_unit_test(refused)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
