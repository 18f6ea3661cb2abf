/* The optimisers, clipping, accumulation and averages against PyTorch 1.13 in double.
 *
 * The problem: three tensors of 3x5, 7 and 2x3x2, together elements i = 0..33 that start
 * at 0.9 sin(1.3 i + 0.4); the gradient of update t is w (0.5 + 0.25 (i mod 5)) + 0.3 sin(0.7 i
 * + t).  The numbers are elements 7 of the first, 3 of the second and 11 of the third tensor
 * after 1, 4 and 12 updates, and the sum of all squares after 12, as a script printed them
 * that ran the same with torch.optim (NAdam: its foreach form, whose
 * formula is the documented one) on float64 and, the last column, float32. */
#include "tests/unit.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "numeric.h"

enum { NPARAM = 3, UPDATES = 12, NPROBE = 3 };
#define BETAS .beta1 = 0.9, .beta2 = 0.999

static const int ranks[NPARAM] = {2, 1, 3};
static const int64_t dims[NPARAM][3] = {{3, 5}, {7}, {2, 3, 2}};
static const int64_t probe[NPARAM] = {7, 3, 11};
static const char *const names[NPARAM] = {"a.weight", "a.bias", "b.weight"};

static const struct expected {
	struct optimizer o;
	double at[3 * NPROBE], squares, squares32;
} torch[] = {
    {{.kind = OPT_SGD, .lr = 0.0625},
	{-0.0563985704240847, -0.822398306981671, -0.507081566979742, -0.0829570404457809,
	    -0.645841830393758, -0.428282894870287, -0.0338731389932224, -0.315521096089468,
	    -0.223576374020914},
	3.78713937742155, 3.78713933},
    {{.kind = OPT_SGD, .lr = 0.0625, .momentum = 0.9},
	{-0.0563985704240847, -0.822398306981671, -0.507081566979742, -0.0832911742962612,
	    -0.401633543124992, -0.211794713702861, 0.0110419537100473, 0.486620226921097,
	    0.26333999206154},
	2.44884743862187, 2.44884618},
    {{.kind = OPT_SGD, .lr = 0.0625, .momentum = 0.9, .dampening = 0.3, .weight_decay = 0.05},
	{-0.0561872078977858, -0.819665123853016, -0.505308067578798, -0.0662740583773558,
	    -0.468926448429893, -0.24296965768228, 0.00506189523706345, 0.456077856666044,
	    0.27147982174581},
	1.975673561725, 1.97567269},
    {{.kind = OPT_SGD, .lr = 0.0625, .momentum = 0.8, .nesterov = 1, .weight_decay = 0.05},
	{-0.0470281674835118, -0.775702341999848, -0.455538674999999, -0.0966058719866523,
	    -0.327557807875647, -0.207790623092242, 0.00108763899808953, 0.18090031957484,
	    0.060215014127964},
	0.223316478080748, 0.22331651},
    {{.kind = OPT_ADAM, .lr = 0.0625, BETAS, .eps = 1e-8},
	{-0.00513601189173191, -0.81211860191751, -0.505019808948616, -0.0723559508545134,
	    -0.624656697643294, -0.33780487719298, -0.017398071775702, -0.170249975992323,
	    0.0264700987716499},
	0.632028512476044, 0.63202858},
    {{.kind = OPT_ADAM,
	 .lr = 0.0625,
	 .beta1 = 0.8,
	 .beta2 = 0.95,
	 .eps = 1e-3,
	 .weight_decay = 0.1},
	{-0.0054692304817486, -0.812186242845475, -0.505080797963951, -0.0805950362149369,
	    -0.624388022313876, -0.340515280671313, -0.00957287728686125, -0.184961057091257,
	    -0.00283130556824814},
	0.625103497683609, 0.625103251},
    {{.kind = OPT_ADAM, .lr = 0.0625, .beta1 = 0.7, .beta2 = 0.6, .eps = 1e-8, .amsgrad = 1},
	{-0.00513601189173189, -0.81211860191751, -0.505019808948616, -0.0871071193813606,
	    -0.626862051418236, -0.353356469895718, -0.0184280484524534, -0.271010672679082,
	    -0.0838971587360876},
	1.45808173836826, 1.45808147},
    {{.kind = OPT_ADAMW, .lr = 0.0625, BETAS, .eps = 1e-8, .weight_decay = 0.01},
	{-0.00509373938647215, -0.811571965291779, -0.504665109068427, -0.0722996651368831,
	    -0.622712073550078, -0.336680613710436, -0.0172824300844348, -0.166731246428419,
	    0.0276254174806005},
	0.613317417943122, 0.61331723},
    {{.kind = OPT_ADAMW,
	 .lr = 0.0625,
	 .beta1 = 0.7,
	 .beta2 = 0.6,
	 .eps = 1e-6,
	 .weight_decay = 0.2,
	 .amsgrad = 1},
	{-0.00429090591887165, -0.801185943458063, -0.497925875330542, -0.0857109697563439,
	    -0.588312625315101, -0.331868996165399, -0.0166042091546362, -0.208710211826285,
	    -0.0639045848430169},
	0.937784720191703, 0.937785101},
    {{.kind = OPT_NADAM, .lr = 0.0625, BETAS, .eps = 1e-8, .momentum_decay = 4e-3},
	{-0.00160777512953976, -0.808590365001313, -0.501491572026678, -0.110342923497712,
	    -0.658830869671208, -0.413164006626194, 0.00682156515479703, -0.316630151855851,
	    -0.138885283700799},
	1.97642318567468, 1.97642337},
    {{.kind = OPT_NADAM,
	 .lr = 0.0625,
	 .beta1 = 0.8,
	 .beta2 = 0.9,
	 .eps = 1e-6,
	 .momentum_decay = 0.1,
	 .weight_decay = 0.1},
	{0.000878424521221319, -0.806103875217852, -0.499005075043471, -0.114351588873295,
	    -0.638571454733084, -0.392000110457341, 0.0114553051153461, -0.253192824685319,
	    -0.0917042335374571},
	1.27601200550287, 1.27601158},
    {{.kind = OPT_RADAM, .lr = 0.0625, BETAS, .eps = 1e-8},
	{-0.0563985704240847, -0.822398306981671, -0.507081566979742, -0.0646389717581067,
	    -0.661658032855739, -0.386297009514803, -0.0611971983903563, -0.582832717889439,
	    -0.339244946086084},
	7.00903710602662, 7.00903689},
    {{.kind = OPT_RADAM,
	 .lr = 0.0625,
	 .beta1 = 0.8,
	 .beta2 = 0.9,
	 .eps = 1e-6,
	 .weight_decay = 0.1},
	{-0.055975845371487, -0.816931940724362, -0.503534568177853, -0.0653879619457543,
	    -0.641280748385828, -0.378502994449818, -0.0270166965511085, -0.400504996232899,
	    -0.19194028219547},
	3.40789552533955, 3.40789504},
    {{.kind = OPT_RMSPROP, .lr = 0.0625, .alpha = 0.99, .eps = 1e-8},
	{0.557363643974193, -0.249618675972762, 0.0574801270656189, -0.170770174200018,
	    0.15531018621028, -0.206308680663256, 0.153701135512309, 0.141140037366845,
	    0.04031039926635},
	0.874289560319353, 0.874289602},
    {{.kind = OPT_RMSPROP,
	 .lr = 0.0625,
	 .alpha = 0.9,
	 .eps = 1e-4,
	 .momentum = 0.5,
	 .weight_decay = 0.1},
	{0.129671904050312, -0.677043939178485, -0.369938484925865, -0.219717842843145,
	    -0.0617973428286872, -0.0698489993289183, -0.0250943769871604, 0.0773962595105562,
	    -0.0838531063573577},
	0.18995108549384, 0.189951131},
    {{.kind = OPT_RMSPROP, .lr = 0.0625, .alpha = 0.9, .eps = 1e-2, .momentum = 0.5, .centered = 1},
	{0.108114543696379, -0.674277878967119, -0.366128523056628, -0.230266126686411,
	    -0.0105961647974646, -0.0716441805450064, -0.0240803795926648, 0.0749343707989397,
	    -0.0832272087640645},
	0.18726060184654, 0.187260634},
    {{.kind = OPT_ADAGRAD, .lr = 0.0625, .eps = 1e-10},
	{-0.00513600845038942, -0.812118601176957, -0.505019808308758, -0.102651593799,
	    -0.691878335211328, -0.438312599768866, -0.0200919706917976, -0.531986022181888,
	    -0.298713665990272},
	5.06223740813003, 5.06223745},
    {{.kind = OPT_ADAGRAD,
	 .lr = 0.0625,
	 .eps = 1e-6,
	 .lr_decay = 0.1,
	 .initial_accumulator_value = 0.5,
	 .weight_decay = 0.1},
	{-0.0516916865271602, -0.825004849887185, -0.51609401319092, -0.0803705575443159,
	    -0.733261377261735, -0.462252801530259, -0.043280262026527, -0.636912017967218,
	    -0.376469605549539},
	7.44383993258525, 7.44383923},
    {{.kind = OPT_ADADELTA, .lr = 0.0625, .rho = 0.9, .eps = 1e-6},
	{-0.0674383966233701, -0.874420960231271, -0.567322167005311, -0.0679322753741455,
	    -0.873708785070452, -0.566906107901429, -0.0670983179467559, -0.871721071287223,
	    -0.565449558516481},
	13.5946899892193, 13.5946893},
    {{.kind = OPT_ADADELTA, .lr = 1, .rho = 0.8, .eps = 1e-3, .weight_decay = 0.1},
	{-0.00151530231243534, -0.804114521782505, -0.49697719428198, -0.142383436395375,
	    -0.564246581410929, -0.372462923605927, 0.0529180156470982, -0.142097840882926,
	    -0.100986296928297},
	0.981205516167424, 0.981205404},
};

/* ---- a graph whose inputs are the gradients */
struct problem {
	struct arena *a;
	struct diag d;
	struct graph *g;
	struct value *param[NPARAM], *grad[NPARAM];
	int group[NPARAM];
	struct update_rule rule;
	struct update_inputs in;
	struct etensor **out;
};

static void
set_up(struct problem *p, enum dtype t)
{
	int64_t i = 0;

	*p = (struct problem){.a = arena_create()};
	diag_init(&p->d, NULL);
	p->g = graph_create(p->a, "problem");
	p->in.lr = graph_input(p->g, "$lr", DT_f32, 0, NULL);
	p->in.step = graph_input(p->g, "$step", DT_i64, 0, NULL);
	for (int k = 0; k < NPARAM; k++) {
		struct tensor *w = tensor_new(p->a, t, ranks[k], dims[k]);

		for (int64_t j = 0; j < tensor_count(w); j++, i++)
			dtype_put_f(t, w->data, j, 0.9 * sin(1.3 * (double)i + 0.4));
		p->param[k] = graph_state(p->g, names[k], w, true);
		p->grad[k] = graph_input(p->g, arena_printf(p->a, "g%d", k), t, ranks[k], dims[k]);
	}
}

static void
build(struct problem *p)
{
	struct value *grads[NPARAM];

	memcpy(grads, p->grad, sizeof grads);
	if (p->rule.accumulate > 1) {
		p->in.micro = graph_input(p->g, "$micro", DT_i64, 0, NULL);
		p->in.micros = graph_input(p->g, "$micros", DT_i64, 0, NULL);
	}
	if (!update_groups(&p->rule, NPARAM, p->param, p->group, &p->d) ||
	    !update_build(p->g, &p->rule, &p->in, NPARAM, p->param, p->group, grads, &p->d))
		fail_msg("%s", p->d.text.s);
	graph_verify(p->g, "update");
}

static void
tear_down(struct problem *p)
{
	diag_free(&p->d);
	arena_destroy(p->a);
}

static double
weight(const struct problem *p, int k, int64_t j)
{
	return dtype_get_f(p->param[k]->dtype, p->param[k]->data->data, j);
}

static double
gradient(const struct problem *p, int k, int64_t j, int t)
{
	int64_t i = j;

	for (int m = 0; m < k; m++)
		i += dims_count(ranks[m], dims[m]);
	return weight(p, k, j) * (0.5 + 0.25 * (double)(i % 5)) + 0.3 * sin(0.7 * (double)i + t);
}

/* One step: gradients of update t times `share`; the states take their next content. */
static void
step(struct problem *p, int t, int64_t micro, int64_t micros, double share)
{
	struct eval_opts opts = {.arena = p->a, .round_each = p->param[0]->dtype == DT_f32};
	struct etensor **in = arena_array(p->a, struct etensor *, p->g->inputs.n);
	struct etensor **next = arena_array(p->a, struct etensor *, p->g->updates.n + 1);

	p->out = arena_array(p->a, struct etensor *, p->g->outputs.n + 1);
	for (int i = 0; i < p->g->inputs.n; i++) {
		struct value *v = p->g->inputs.v[i];

		in[i] = etensor_new(p->a, v->dtype, v->rank, v->dims);
		if (v == p->in.lr)
			et_put(in[i], 0, p->rule.optimizer.lr);
		else if (v == p->in.step)
			et_put(in[i], 0, t);
		else if (v == p->in.micro)
			et_put(in[i], 0, (double)micro);
		else if (v == p->in.micros)
			et_put(in[i], 0, (double)micros);
		for (int k = 0; k < NPARAM; k++)
			for (int64_t j = 0; v == p->grad[k] && j < in[i]->count; j++)
				et_put(in[i], j, share * gradient(p, k, j, t));
	}
	assert_true(eval_graph(&opts, p->g, in, p->out, next, NULL, &p->d));
	for (int i = 0; i < p->g->updates.n; i++)
		p->g->updates.v[i].state->data = etensor_to(p->a, next[i]);
}

static double
squares(const struct problem *p)
{
	double sum = 0;

	for (int k = 0; k < NPARAM; k++)
		for (int64_t j = 0; j < tensor_count(p->param[k]->data); j++)
			sum += weight(p, k, j) * weight(p, k, j);
	return sum;
}

static void
near(const char *what, double got, double want, double limit)
{
	if (!(fabs(got - want) <= limit * (1 + fabs(want))))
		fail_msg("%s: %.15g, should be %.15g", what, got, want);
}

/* at: three elements after 1, 4 and 12 updates */
static void
follows(struct problem *p, const char *what, const double *at, double sum, double limit)
{
	for (int t = 1; t <= UPDATES; t++) {
		step(p, t, 0, 1, 1);
		if (t == 1 || t == 4 || t == UPDATES)
			for (int k = 0; k < NPARAM; k++)
				near(what, weight(p, k, probe[k]), *at++, limit);
	}
	near(what, squares(p), sum, limit);
}

static void
optimizers(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof torch / sizeof *torch; i++)
		for (int f = 0; f < 2; f++) {
			struct problem p;
			/* PyTorch has NAdam's product of mu as float32 */
			double exact = torch[i].o.kind == OPT_NADAM ? 2e-8 : 2e-13;
			char what[40];

			snprintf(what, sizeof what, "row %zu, %s", i, f ? "float" : "double");
			set_up(&p, f ? DT_f32 : DT_f64);
			p.rule.optimizer = torch[i].o;
			build(&p);
			follows(&p, what, torch[i].at, f ? torch[i].squares32 : torch[i].squares,
			    f ? 2e-6 : exact);
			tear_down(&p);
		}
}

/* ---- DOT: the gradient of teachers is 0.4 of the test's, that of labels the rest */
static void
dot_apart(void **state)
{
	struct problem p;
	double w[15], v[15] = {0}, u[15] = {0};
	struct value *grads[NPARAM], *taught[NPARAM];
	struct build b;

	(void)state;
	set_up(&p, DT_f64);
	p.rule.optimizer = (struct optimizer){.kind = OPT_SGD, .lr = 0.03125, .momentum = 0.75, .dot_delta = 0.125, .weight_decay = 0.25};
	b = build_at(p.g, &p.d, LOC_NONE, NULL);
	for (int k = 0; k < NPARAM; k++) {
		taught[k] = b_muls(&b, p.grad[k], 0.4);
		grads[k] = b_muls(&b, p.grad[k], 0.6);
	}
	p.in.distilled = taught;
	assert_true(update_build(p.g, &p.rule, &p.in, NPARAM, p.param, NULL, grads, &p.d));
	for (int64_t j = 0; j < 15; j++)
		w[j] = weight(&p, 0, j);
	for (int t = 1; t <= 5; t++) {
		for (int64_t j = 0; j < 15; j++) {
			double g = gradient(&p, 0, j, t);

			v[j] = (0.75 - 0.125) * v[j] + 0.6 * g + 0.25 * w[j];
			u[j] = (0.75 + 0.125) * u[j] + 0.4 * g;
			w[j] -= 0.03125 * (v[j] + u[j]);
		}
		step(&p, t, 0, 1, 1);
		for (int64_t j = 0; j < 15; j++)
			near("DOT", weight(&p, 0, j), w[j], 1e-13);
	}
	tear_down(&p);
}

/* ---- LAMB and Lion: their papers' algorithms, written out */
static void
lamb_by_hand(const struct problem *p, int k, int t, double *w, double *m, double *v)
{
	const struct optimizer *o = &p->rule.optimizer;
	int64_t n = dims_count(ranks[k], dims[k]);
	double u[15], ww = 0, uu = 0;

	for (int64_t j = 0; j < n; j++) {
		double g = gradient(p, k, j, t);

		m[j] = o->beta1 * m[j] + (1 - o->beta1) * g;
		v[j] = o->beta2 * v[j] + (1 - o->beta2) * g * g;
		u[j] =
		    m[j] / (1 - pow(o->beta1, t)) / (sqrt(v[j] / (1 - pow(o->beta2, t))) + o->eps);
		u[j] += o->weight_decay * w[j];
		ww += w[j] * w[j];
		uu += u[j] * u[j];
	}
	for (int64_t j = 0; j < n; j++)
		w[j] -= o->lr * sqrt(ww / uu) * u[j];
}

static void
lion_by_hand(const struct problem *p, int k, int t, double *w, double *m, double *v)
{
	const struct optimizer *o = &p->rule.optimizer;

	(void)v;
	for (int64_t j = 0; j < dims_count(ranks[k], dims[k]); j++) {
		double g = gradient(p, k, j, t), c = o->beta1 * m[j] + (1 - o->beta1) * g;

		w[j] -= o->lr * ((c > 0) - (c < 0) + o->weight_decay * w[j]);
		m[j] = o->beta2 * m[j] + (1 - o->beta2) * g;
	}
}

static void
by_hand(const struct optimizer *o,
    void (*rule)(const struct problem *, int, int, double *, double *, double *))
{
	struct problem p;
	double w[NPARAM][15], m[NPARAM][15] = {{0}}, v[NPARAM][15] = {{0}};

	set_up(&p, DT_f64);
	p.rule.optimizer = *o;
	build(&p);
	for (int k = 0; k < NPARAM; k++)
		for (int64_t j = 0; j < dims_count(ranks[k], dims[k]); j++)
			w[k][j] = weight(&p, k, j);
	for (int t = 1; t <= UPDATES; t++) {
		for (int k = 0; k < NPARAM; k++)
			rule(&p, k, t, w[k], m[k], v[k]);
		step(&p, t, 0, 1, 1);
		for (int k = 0; k < NPARAM; k++)
			for (int64_t j = 0; j < dims_count(ranks[k], dims[k]); j++)
				near("element", weight(&p, k, j), w[k][j], 1e-13);
	}
	tear_down(&p);
}

static void
lamb_and_lion(void **state)
{
	struct optimizer lamb = {
	    .kind = OPT_LAMB, .lr = 0.0625, BETAS, .eps = 1e-6, .weight_decay = 0.1};
	struct optimizer lion = {
	    .kind = OPT_LION, .lr = 0.0625, .beta1 = 0.9, .beta2 = 0.99, .weight_decay = 0.1};

	(void)state;
	by_hand(&lamb, lamb_by_hand);
	lamb.weight_decay = 0;
	by_hand(&lamb, lamb_by_hand);
	by_hand(&lion, lion_by_hand);
}

/* A tensor of zeros has no norm: the ratio is 1, not 0 and not NaN. */
static void
lamb_of_zeros(void **state)
{
	struct problem p;

	(void)state;
	set_up(&p, DT_f64);
	p.rule.optimizer = (struct optimizer){.kind = OPT_LAMB, .lr = 0.0625, BETAS, .eps = 1e-6};
	p.param[1]->data = tensor_new(p.a, DT_f64, ranks[1], dims[1]);
	build(&p);
	step(&p, 1, 0, 1, 1);
	for (int64_t j = 0; j < 7; j++) {
		double g = 0.3 * sin(0.7 * (double)(15 + j) + 1);

		near("element", weight(&p, 1, j), -0.0625 * g / (fabs(g) + 1e-6), 1e-12);
	}
	tear_down(&p);
}

/* ---- clipping */
static double
output(const struct problem *p, const char *name)
{
	for (int i = 0; i < p->g->outputs.n; i++)
		if (strcmp(p->g->output_names.v[i], name) == 0)
			return et_get(p->out[i], 0);
	fail_msg("no output %s", name);
	return 0;
}

static void
clipping(void **state)
{
	/* clip_grad_norm_ to 0.5 and to 100, clip_grad_value_ to 0.2 before sgd with momentum
	 * 0.9; the last norm as clip_grad_norm_ returned it */
	static const struct {
		double value, norm, at[3 * NPROBE], squares, last;
	} want[] = {
	    {0, 0.5,
		{-0.0662049430723634, -0.867968450727401, -0.559823118662746, -0.0695828700349995,
		    -0.805776460714349, -0.514946558335904, -0.0499395164037834, -0.401548553283547,
		    -0.26340049929848},
		4.9671262653806, 2.41842764112983},
	    {0, 100,
		{-0.0563985704240847, -0.822398306981671, -0.507081566979742, -0.0832911742962612,
		    -0.401633543124992, -0.211794713702861, 0.0110419537100473, 0.486620226921097,
		    0.26333999206154},
		2.44884743862187, 2.28984469544524},
	    {0.2, 0,
		{-0.0563985704240847, -0.862118601169477, -0.555019808302295, -0.0779995542695026,
		    -0.761506101169477, -0.454407308302295, -0.0239699488876515, -0.181885372628352,
		    0.015904819917045},
		0.737690518048384, 0},
	};

	(void)state;
	for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
		struct problem p;

		set_up(&p, DT_f64);
		p.rule = (struct update_rule){
		    .optimizer = {.kind = OPT_SGD, .lr = 0.0625, .momentum = 0.9},
		    .clip_value = want[i].value,
		    .clip_norm = want[i].norm};
		build(&p);
		follows(&p, "clipped", want[i].at, want[i].squares, 2e-13);
		if (want[i].norm > 0)
			near("norm", output(&p, "grad_norm.num"), want[i].last, 1e-12);
		tear_down(&p);
	}
}

/* ---- groups */
static void
groups(void **state)
{
	/* AdamW with weight decay 0.2; none for rank 1; a quarter of the rate and betas of its
	 * own for the third */
	static const double at[] = {-0.00429056178653656, -0.81211860191751, -0.550121309062931,
	    -0.0712551379287341, -0.624656697643294, -0.506139702103393, -0.0152567017994166,
	    -0.170249975992323, -0.386398006470749};
	static const char *const third[] = {"zzz*", "b.*"}, *const misspelt[] = {"a.wieght"};
	struct param_group g[2];
	struct problem p;

	(void)state;
	set_up(&p, DT_f64);
	p.rule.optimizer = (struct optimizer){
	    .kind = OPT_ADAMW, .lr = 0.0625, BETAS, .eps = 1e-8, .weight_decay = 0.2};
	g[0] = (struct param_group){.max_rank = 1, .optimizer = p.rule.optimizer, .loc = LOC_NONE};
	g[0].optimizer.weight_decay = 0;
	g[1] = (struct param_group){.nmatch = 1,
	    .match = third + 1,
	    .max_rank = -1,
	    .optimizer = p.rule.optimizer,
	    .loc = LOC_NONE};
	g[1].optimizer.lr /= 4;
	g[1].optimizer.beta1 = 0.5;
	g[1].optimizer.beta2 = 0.9;
	p.rule.ngroups = 2;
	p.rule.groups = g;
	build(&p);
	assert_true(p.group[0] == 2 && p.group[1] == 0 && p.group[2] == 1);
	follows(&p, "group", at, 2.959986904704, 2e-13);
	tear_down(&p);

	set_up(&p, DT_f64);
	g[1].match = third;
	p.rule.ngroups = 2;
	p.rule.groups = g;
	assert_false(update_groups(&p.rule, NPARAM, p.param, p.group, &p.d));
	assert_non_null(strstr(p.d.text.s, "no parameter matches \"zzz*\""));
	g[1].match = misspelt;
	assert_false(update_groups(&p.rule, NPARAM, p.param, p.group, &p.d));
	assert_non_null(strstr(p.d.text.s, "did you mean \"a.weight\"?"));
	tear_down(&p);
}

/* ---- averages */
static void
averages(void **state)
{
	/* e = d e + (1-d) w beside sgd with momentum 0.9 */
	static const struct {
		double decay;
		bool warmup;
		double at[NPROBE], squares;
	} want[] = {
	    {0.9, false, {-0.0361840612418144, -0.151120516144641, -0.0949842594307916},
		1.46924391871297},
	    {0.99, true, {0.00231428684689935, 0.448782856802131, 0.267710133677445},
		1.98667584877079},
	};

	(void)state;
	for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
		struct problem p;
		double sum = 0;

		set_up(&p, DT_f64);
		p.rule = (struct update_rule){
		    .optimizer = {.kind = OPT_SGD, .lr = 0.0625, .momentum = 0.9},
		    .ema_decay = want[i].decay,
		    .ema_warmup = want[i].warmup};
		build(&p);
		for (int t = 1; t <= UPDATES; t++)
			step(&p, t, 0, 1, 1);
		for (int s = 0; s < p.g->states.n; s++) {
			const struct tensor *e = p.g->states.v[s]->data;

			if (!strstr(p.g->states.v[s]->name, ":ema"))
				continue;
			for (int64_t j = 0; j < tensor_count(e); j++)
				sum += pow(dtype_get_f(e->dtype, e->data, j), 2);
			for (int k = 0; k < NPARAM; k++)
				if (str_starts(p.g->states.v[s]->name, names[k]))
					near("average", dtype_get_f(e->dtype, e->data, probe[k]),
					    want[i].at[k], 1e-13);
		}
		near("averages", sum, want[i].squares, 1e-13);
		tear_down(&p);
	}
}

/* ---- accumulation: three steps whose gradients have the update's as their mean, then a
 * window of two, do what two updates do; in between nothing but the sum moves. */
static void
accumulation(void **state)
{
	(void)state;
	for (int kind = 0; kind < NOPTIMIZER; kind++) {
		struct problem whole, cut;
		struct problem *both[2] = {&whole, &cut};

		for (int k = 0; k < 2; k++) {
			set_up(both[k], DT_f64);
			both[k]->rule =
			    (struct update_rule){.optimizer = {.kind = (enum optimizer_kind)kind,
						     .lr = 0.0625,
						     BETAS,
						     .eps = 1e-6,
						     .momentum = 0.9,
						     .dampening = 0.5,
						     .weight_decay = 0.1,
						     .alpha = 0.9,
						     .rho = 0.9,
						     .momentum_decay = 0.01},
				.accumulate = k ? 3 : 1,
				.clip_value = 0.4,
				.clip_norm = 1,
				.ema_decay = 0.9};
			build(both[k]);
		}
		for (int t = 1; t <= 2; t++) {
			int64_t n = t == 1 ? 3 : 2;
			double before = squares(&cut);

			for (int64_t i = 0; i < n; i++) {
				assert_true(squares(&cut) == before);
				assert_true(i == 0 || output(&cut, "grad_norm.den") == 0);
				step(&cut, t, i, n, 2 * (double)(i + 1) / (double)(n + 1));
			}
			assert_true(output(&cut, "grad_norm.den") == 1);
			step(&whole, t, 0, 1, 1);
		}
		for (int s = 0; s < whole.g->states.n; s++)
			for (int c = 0; c < cut.g->states.n; c++) {
				const struct value *a = whole.g->states.v[s],
						   *b = cut.g->states.v[c];

				for (int64_t j = 0;
				    strcmp(a->name, b->name) == 0 && j < tensor_count(a->data); j++)
					near(a->name, dtype_get_f(b->dtype, b->data->data, j),
					    dtype_get_f(a->dtype, a->data->data, j), 1e-12);
			}
		assert_int_equal(cut.g->states.n, whole.g->states.n + NPARAM);
		tear_down(&whole);
		tear_down(&cut);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(optimizers), cmocka_unit_test(dot_apart),
	    cmocka_unit_test(lamb_and_lion),
	    cmocka_unit_test(lamb_of_zeros),
	    cmocka_unit_test(clipping),
	    cmocka_unit_test(groups),
	    cmocka_unit_test(averages),
	    cmocka_unit_test(accumulation),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
