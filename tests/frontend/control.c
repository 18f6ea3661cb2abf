/* control: If, Loop, Scan, sequences, optionals and functions by what they compute, in
 * the fp64 evaluator and as compiled code; their gradients against differences. */
#include "tests/frontend/help.h"

#include <math.h>

#include "codegen/codegen.h"
#include "passes/passes.h"
#include "tests/op/differences.h"

#define HEAD "<ir_version: 8, opset_import: [\"\" : 18]>\n"
#define HEAD9 "<ir_version: 4, opset_import: [\"\" : 9]>\n"
#define HEAD8 "<ir_version: 3, opset_import: [\"\" : 8]>\n"

static struct target *target;

/* ---- data from text: "1 2; 3" is two tensors */
static const char *
next_list(const char *s, double *v, int *n)
{
	char *end;

	for (*n = 0; *s && *s != ';'; s = end) {
		double x = strtod(s, &end);

		if (end == s)
			end = (char *)(uintptr_t)s + 1;
		else
			v[(*n)++] = x;
	}
	return *s ? s + 1 : s;
}

static void
feed_inputs(struct graph *g, const char *text, struct etensor **in)
{
	double v[256];
	int n;

	for (int i = 0; i < g->inputs.n; i++) {
		struct value *x = g->inputs.v[i];

		text = next_list(text, v, &n);
		in[i] = etensor_new(arena, x->dtype, x->rank, x->dims);
		assert_int_equal(in[i]->count, n);
		for (int k = 0; k < n; k++)
			et_put(in[i], k, v[k]);
	}
}

static void
expect(const char *what, struct graph *g, struct etensor *const *out, const char *text)
{
	double v[256];
	int n;

	for (int i = 0; i < g->outputs.n; i++) {
		text = next_list(text, v, &n);
		if (n != out[i]->count)
			fail_msg("%s: output %s has %d elements, expected %d", what,
			    g->output_names.v[i], (int)out[i]->count, n);
		for (int k = 0; k < n; k++)
			if (fabs(et_get(out[i], k) - v[k]) > 1e-5 * (1 + fabs(v[k])))
				fail_msg("%s: output %s, element %d: %g, expected %g", what,
				    g->output_names.v[i], k, et_get(out[i], k), v[k]);
	}
	assert_int_equal(*text, '\0');
}

/* What a symbol is in this run, for dim_eval. */
struct sizes {
	const struct rt_program *rt;
	const int64_t *sym;
};

static int64_t
size_of(void *ctx, const char *name, int64_t handle)
{
	const struct sizes *s = ctx;

	(void)handle;
	for (int i = 0; i < s->rt->nsyms; i++)
		if (strcmp(s->rt->syms[i].name, name) == 0)
			return s->sym[i];
	fail_msg("no symbol %s", name);
	return 0;
}

static void
run_compiled(struct graph *g, struct etensor *const *in, const char *want)
{
	struct pass_opts opts = {.machine = *target_machine(target), .opt_level = 2, .verify_each = true};
	struct pass_ctx ctx = {.arena = arena, .diag = &diag, .opts = &opts};
	struct etensor **out = arena_array(arena, struct etensor *, g->outputs.n + 1);
	struct program *p = compile_graph(g, &ctx);
	struct jit *j = p ? jit_open(target, p, "{}", &diag) : NULL;
	const struct rt_program *rt;
	struct sizes sizes;
	int64_t sym[16];
	void **base;

	if (!j)
		fail_msg("not compiled: %s", diag.text.s);
	rt = jit_program(j);
	base = arena_array(arena, void *, 3 + rt->ninputs + rt->noutputs);
	base[0] = rt_alloc((size_t)rt->work_bytes + RT_ALIGN);
	base[1] = (void *)(uintptr_t)rt->constants;
	base[2] = rt_alloc((size_t)rt->state_bytes + RT_ALIGN);
	for (int i = 0; i < rt->ninputs; i++) {
		struct tensor *t = etensor_to(arena, in[i]);

		base[3 + i] = rt_alloc((size_t)rt->inputs[i].bytes + RT_ALIGN);
		memcpy(base[3 + i], t->data, t->bytes);
	}
	for (int i = 0; i < rt->noutputs; i++)
		base[3 + rt->ninputs + i] = rt_alloc((size_t)rt->outputs[i].bytes + RT_ALIGN);
	assert_true(rt->nsyms <= 16);
	for (int i = 0; i < rt->nsyms; i++)
		sym[i] = rt->syms[i].hi;
	sizes = (struct sizes){rt, sym};
	rt_run(NULL, rt, base, rt->nsyms ? sym : NULL);
	for (int i = 0; i < rt->noutputs; i++) {
		struct value *v = g->outputs.v[i];
		int64_t dims[MAX_RANK];
		struct tensor *t;

		for (int k = 0; k < v->rank; k++)
			dims[k] = dim_eval(g, v->dims[k], size_of, &sizes);
		t = tensor_new(arena, v->dtype, v->rank, dims);
		memcpy(t->data, base[3 + rt->ninputs + i], t->bytes);
		out[i] = etensor_from(arena, t);
	}
	expect("compiled", g, out, want);
	for (int i = 0; i < 3 + rt->ninputs + rt->noutputs; i++)
		if (i != 1)
			rt_free(base[i]);
	jit_close(j);
}

static struct graph *
imported(const char *model, const struct import_opts *o)
{
	struct graph *g = import_text(model, o);

	if (!g)
		fail_msg("%s\n%s", model, diag.text.s);
	graph_verify(g, "import");
	return g;
}

/* in and out: pairs of what goes in and what comes out, one for each run. */
static void
computes_with(const struct import_opts *o, const char *model, int runs, const char *const *in_out)
{
	for (int r = 0; r < runs; r++) {
		struct graph *g = imported(model, o);
		struct etensor **in = arena_array(arena, struct etensor *, g->inputs.n + 1);
		struct etensor **out = arena_array(arena, struct etensor *, g->outputs.n + 1);
		struct eval_opts eo = {.arena = arena};

		feed_inputs(g, in_out[2 * r], in);
		if (!eval_graph(&eo, g, in, out, NULL, NULL, &diag))
			fail_msg("%s\n%s", model, diag.text.s ? diag.text.s : "not evaluated");
		expect("evaluated", g, out, in_out[2 * r + 1]);
		run_compiled(g, in, in_out[2 * r + 1]);
	}
}

static void
computes(const char *model, const char *in, const char *out)
{
	struct import_opts o = {0};

	computes_with(&o, model, 1, (const char *const[]){in, out});
}

static void
computes2(const char *model, const char *in, const char *out, const char *in2, const char *out2)
{
	struct import_opts o = {0};

	computes_with(&o, model, 2, (const char *const[]){in, out, in2, out2});
}

/* The gradient of a weighted sum of the outputs is that of differences. */
static void
differentiates(const char *model, const char *in)
{
	struct import_opts o = {0};
	struct graph *g = imported(model, &o);
	struct etensor **feed = arena_array(arena, struct etensor *, g->inputs.n + 1);
	struct etensor **out;
	struct eval_opts eo = {.arena = arena};
	int nout = g->outputs.n;

	feed_inputs(g, in, feed);
	for (int i = 0; i < g->inputs.n; i++) {
		struct value *x = g->inputs.v[i], *dx, *loss;
		double want[256];
		int64_t at;

		if (!dtype_is_float(x->dtype))
			continue;
		loss = weighed_outputs(g, &diag, nout);
		graph_output(g, "loss", loss);
		if (!grad_build(g, loss, 1, &x, &dx, &diag) || !dx)
			fail_msg("no gradient: %s", diag.text.s);
		graph_output(g, "dx", dx);
		out = arena_array(arena, struct etensor *, g->outputs.n + 1);
		assert_true(eval_graph(&eo, g, feed, out, NULL, NULL, &diag));
		assert_true(differences(g, g->outputs.n - 2, feed, i, want, &diag));
		if (relative_error(feed[i]->count, out[g->outputs.n - 1]->f, want, &at) > 1e-6)
			fail_msg("%s: d %s[%d] is %.9g, by differences %.9g", model, x->name,
			    (int)at, out[g->outputs.n - 1]->f[at], want[at]);
	}
}

/* ---- If */
static void
branches(void **state)
{
	(void)state;
	computes2(HEAD
	    "g (bool c, float[2] x) => (float[2] y, float[2] z) {\n"
	    "  a = Abs(x)\n"
	    "  y, z = If <then_branch = t () => (float[2] r, float[2] a) { r = Neg(a) }, "
	    "else_branch = e () => (float[2] r, float[2] s) { r = Add(x, x) s = Mul(r, a) }> "
	    "(c)\n}",
	    "1; -1 2", "-1 -2; 1 2", "0; -1 2", "-2 4; -2 8");
	/* nested, on an integer; the branch not taken divides by zero; names shadow */
	computes2(HEAD
	    "g (int64 n, int64[2] x) => (int64[2] y) {\n"
	    "  zero = Constant <value_int = 0> ()\n  big = Greater(n, zero)\n"
	    "  y = If <then_branch = t () => (int64[2] y) { y = Div(x, n) }, else_branch = e () => "
	    "(int64[2] y) {\n"
	    "    low = Less(n, zero)\n"
	    "    y = If <then_branch = t () => (int64[2] y) { zero = Neg(x) y = Mod(zero, n) }, "
	    "else_branch = e () => (int64[2] y) { y = Add(x, zero) }> (low) }> (big)\n}",
	    "2; 7 -9", "3 -4", "0; 7 -9", "7 -9");
}

static void
branches_of_other_sizes(void **state)
{
	(void)state;
	computes2(HEAD
	    "g (bool c, float[2,3] x) => (float[?,3] y) {\n"
	    "  y = If <then_branch = t () => (float[2,3] r) { r = Neg(x) }, else_branch = "
	    "e () => (float[1,3] r) { k = Constant <value_ints = [0]> () r = Gather(x, k) }> "
	    "(c)\n}",
	    "1; 1 2 3 4 5 6", "-1 -2 -3 -4 -5 -6", "0; 1 2 3 4 5 6", "1 2 3");
	/* a branch that cannot run with these sizes */
	computes(HEAD
	    "g (bool c, float[2,3] x) => (float[2,3] y) {\n"
	    "  y = If <then_branch = t () => (float[2,3] r) { r = Neg(x) }, else_branch = e () "
	    "=> (float[2,2] r) { r = MatMul(x, x) }> (c)\n}",
	    "1; 1 2 3 4 5 6", "-1 -2 -3 -4 -5 -6");
}

/* ---- Loop */
#define LOOP_ADD                                                                                   \
	"Loop <body = b (int64 i, bool on, float[2] v) => (bool go, float[2] w, float s) {\n"      \
	"    w = Add(v, x)\n    go = Identity(on)\n    s = ReduceSum <keepdims = 0> (w) }>"

static void
loops_of_known_length(void **state)
{
	(void)state;
	computes(HEAD "g (float[2] x) => (float[2] y, float[?] s) {\n"
		      "  n = Constant <value_int = 3> ()\n  y, s = " LOOP_ADD " (n, , x)\n}",
	    "1 2", "4 8; 6 9 12");
	computes(HEAD "g (float[2] x) => (float[2] y, float[?] s) {\n"
		      "  n = Constant <value_int = 0> ()\n  y, s = " LOOP_ADD " (n, , x)\n}",
	    "1 2", "1 2; ");
	/* without a count: it stops itself, which is known while importing */
	computes(HEAD
	    "g (float[2] x) => (float[2] y) {\n"
	    "  k = Constant <value_int = 1> ()\n"
	    "  j, y = Loop <body = b (int64 i, bool on, int64 j, float[2] v) => (bool go, int64 "
	    "jj, "
	    "float[2] w) { w = Add(v, x)\n jj = Add(j, k) five = Constant <value_int = 5> ()\n"
	    "    go = Less(jj, five) }> ( , , k, x)\n}",
	    "1 2", "5 10");
}

static void
loops_of_run_time_length(void **state)
{
	struct import_opts few = {.max_trips = 6};
	static const char counted[] =
	    HEAD "g (int64 n, float[2] x) => (float[2] y) {\n  y, s = " LOOP_ADD " (n, , x)\n}";
	static const char scanned[] =
	    HEAD "g (int64 n, float[2] x) => (float[2] y, float[?] s) {\n  y, s = " LOOP_ADD
		 " (n, , x)\n}";
	/* doubles until a threshold that the run gives */
	static const char until[] =
	    HEAD "g (float top, float x, int64 n) => (float y) {\n"
		 "  yes = Less(x, top)\n"
		 "  y = Loop <body = b (int64 i, bool on, float v) => (bool go, float w) {\n"
		 "    w = Add(v, v)\n    go = Less(w, top) }> (n, yes, x)\n}";
	/* grows; divides by a number that would be zero past the end */
	static const char grows[] =
	    HEAD "g (int64 n, int64[1] x) => (int64[?] y) {\n  left = Add(n, x)\n"
		 "  y = Loop <body = b (int64 i, bool on, int64[?] v) => (bool go, int64[?] w) {\n"
		 "    d = Sub(left, i)\n    q = Div(x, d)\n    w = Concat <axis = 0> (v, q)\n    "
		 "go = Identity(on) }> (n, , x)\n}";

	/* a counter that the loop carries decides what is cut out */
	static const char counter[] = HEAD
	    "g (int64 n, float[9] x, float[1] z) => (float[1] y, int64[1] k) {\n"
	    "  one = Constant <value_ints = [1]> ()\n  start = Constant <value_ints = [2]> ()\n"
	    "  k, y = Loop <body = b (int64 i, bool on, int64[1] j, float[1] v) => (bool go, "
	    "int64[1] jj, float[1] w) {\n"
	    "    jj = Add(j, one)\n    c = Slice(x, j, jj)\n    w = Add(v, c)\n    go = "
	    "Identity(on) }> (n, , start, z)\n}";

	(void)state;
	computes_with(&few, counter, 2,
	    (const char *const[]){
		"3; 0 1 2 3 4 5 6 7 8; 0.5", "9.5; 5", "0; 0 1 2 3 4 5 6 7 8; 0.5", "0.5; 2"});
	computes_with(&few, counted, 3,
	    (const char *const[]){"0; 1 2", "1 2", "2; 1 2", "3 6", "6; 1 2", "7 14"});
	computes_with(&few, scanned, 3,
	    (const char *const[]){
		"0; 1 2", "1 2; ", "2; 1 2", "3 6; 6 9", "6; 1 2", "7 14; 6 9 12 15 18 21"});
	computes_with(&few, until, 3,
	    (const char *const[]){"10; 3; 5", "12", "10; 11; 5", "11", "100; 1; 2", "4"});
	computes_with(&few, grows, 2, (const char *const[]){"2; 1", "1 0 0", "0; 1", "1"});
}

static void
loops_nest(void **state)
{
	struct import_opts few = {.max_trips = 5};

	(void)state;
	/* sum over i < n of i * (number of j <= i), by an inner loop of run-time length */
	computes_with(&few,
	    HEAD "g (int64 n, int64 z) => (int64 y) {\n  one = Constant <value_int = 1> ()\n"
		 "  y = Loop <body = b (int64 i, bool on, int64 v) => (bool go, int64 w) {\n"
		 "    m = Add(i, one)\n    on2 = Less(v, n)\n"
		 "    t = If <then_branch = t () => (int64 r) { r = Add(v, i) }, else_branch = e "
		 "() => (int64 r) "
		 "{ r = Add(v, one) }> (on2)\n"
		 "    w = Loop <body = c (int64 j, bool on, int64 v) => (bool go, int64 w) { w = "
		 "Add(v, i) go = "
		 "Identity(on) }> (m, , t)\n    go = Identity(on) }> (n, , z)\n}",
	    2, (const char *const[]){"3; 0", "10", "0; 4", "4"});
}

/* ---- Scan */
static void
scans(void **state)
{
	(void)state;
	computes(HEAD9
	    "g (float[2] s, float[3,2] x) => (float[2] t, float[3,2] y) {\n"
	    "  t, y = Scan <num_scan_inputs = 1, body = b (float[2] a, float[2] r) => (float[2] b, "
	    "float[2] c) { b = Add(a, r) c = Identity(b) }> (s, x)\n}",
	    "10 20; 1 2 3 4 5 6", "19 32; 11 22 14 26 19 32");
	/* along the last axis, backwards, written backwards along the last axis */
	computes(HEAD
	    "g (float[2] s, float[2,3] x) => (float[2] t, float[2,3] y) {\n"
	    "  t, y = Scan <num_scan_inputs = 1, scan_input_axes = [-1], scan_input_directions = "
	    "[1], scan_output_axes = [-1], scan_output_directions = [1], body = b (float[2] a, "
	    "float[2] "
	    "r) => (float[2] b, float[2] c) { b = Add(a, r) c = Identity(b) }> (s, x)\n}",
	    "0 0; 1 2 3 4 5 6", "6 15; 6 5 3 15 11 6");
	/* no rows */
	computes(HEAD
	    "g (float[2] s, float[0,2] x) => (float[2] t, float[0,2] y) {\n"
	    "  t, y = Scan <num_scan_inputs = 1, body = b (float[2] a, float[2] r) => (float[2] b, "
	    "float[2] c) { b = Add(a, r) c = Identity(b) }> (s, x)\n}",
	    "1 2; ", "1 2; ");
	/* version 8: a batch, with lengths of the run */
	computes2(HEAD8
	    "g (int64[2] n, float[2,1] s, float[2,3,1] x) => (float[2,1] t, float[2,3,1] y) {\n"
	    "  t, y = Scan <num_scan_inputs = 1, body = b (float[1] a, float[1] r) => (float[1] b, "
	    "float[1] c) { b = Add(a, r) c = Identity(b) }> (n, s, x)\n}",
	    "3 1; 0 10; 1 2 3 4 5 6", "6 14; 1 3 6 14 0 0", "0 2; 0 10; 1 2 3 4 5 6",
	    "0 19; 0 0 0 14 19 0");
}

/* ---- sequences */
static void
sequences(void **state)
{
	(void)state;
	computes2(HEAD
	    "g (int64 p, float[2] a, float[2] b) => (float[2] y, float[2] z, int64 n, float[2,3] "
	    "w) {\n"
	    "  last = Constant <value_int = -1> ()\n  one = Constant <value_int = 1> ()\n"
	    "  s = SequenceConstruct(a, b)\n  c = Add(a, b)\n  t = SequenceInsert(s, c, one)\n"
	    "  y = SequenceAt(t, p)\n  u = SequenceErase(t, p)\n  z = SequenceAt(u, last)\n"
	    "  v = SequenceInsert(u, c, p)\n  n = SequenceLength(v)\n"
	    "  w = ConcatFromSequence <axis = 1, new_axis = 1> (v)\n}",
	    "0; 1 2; 3 4", "1 2; 3 4; 3; 4 4 3 6 6 4", "-1; 1 2; 3 4", "3 4; 4 6; 3; 1 4 4 2 6 6");
	/* elements of other shapes; every form of a split */
	computes(HEAD
	    "g (float[5,2] x) => (float[2,2] a, float[1,2] b, float[2] c, int64 n, float[5,2] d) "
	    "{\n"
	    "  two = Constant <value_int = 2> ()\n  parts = Constant <value_ints = [3, 0, 2]> ()\n"
	    "  p = SplitToSequence(x, two)\n  zero = Constant <value_int = 0> ()\n"
	    "  a = SequenceAt(p, zero)\n  b = SequenceAt(p, two)\n"
	    "  q = SplitToSequence <keepdims = 0> (x)\n  c = SequenceAt(q, two)\n"
	    "  r = SplitToSequence <axis = -2> (x, parts)\n  n = SequenceLength(r)\n"
	    "  d = ConcatFromSequence <axis = 0> (r)\n}",
	    "0 1 2 3 4 5 6 7 8 9", "0 1 2 3; 8 9; 4 5; 3; 0 1 2 3 4 5 6 7 8 9");
	computes(HEAD
	    "g (float[3,2] x, float[2] k) => (float[2] y, float[1,2] z, int64[2] n) {\n"
	    "  parts = Constant <value_ints = [2, 1]> ()\n  zero = Constant <value_int = 0> ()\n"
	    "  one = Constant <value_int = 1> ()\n  s = SplitToSequence(x, parts)\n"
	    "  t, u, m = SequenceMap <body = b (float[?,2] e, float[2] k) => (float[2] a, "
	    "float[?,2] c, "
	    "int64[2] h) { a = ReduceSum <keepdims = 0> (e, zero1) zero1 = Constant <value_ints = "
	    "[0]> () "
	    "c = Mul(e, k) h = Shape(e) }> (s, k)\n"
	    "  y = SequenceAt(t, zero)\n  z = SequenceAt(u, one)\n  n = SequenceAt(m, one)\n}",
	    "1 2 3 4 5 6; 10 100", "4 6; 50 600; 1 2");
}

static void
sequences_under_conditions(void **state)
{
	struct import_opts few = {.max_trips = 4};

	(void)state;
	computes2(HEAD
	    "g (bool c, float[2] a, float[2] b) => (int64 n, float[2] y, seq(float[2]) s) {\n"
	    "  s = If <then_branch = t () => (seq(float[2]) r) { r = SequenceConstruct(a, b) }, "
	    "else_branch = e () => (seq(float[2]) r) { r = SequenceConstruct(b) }> (c)\n"
	    "  last = Constant <value_int = -1> ()\n  n = SequenceLength(s)\n  y = SequenceAt(s, "
	    "last)\n}",
	    "1; 1 2; 3 4", "2; 3 4; 1 2; 3 4; 2", "0; 1 2; 3 4", "1; 3 4; 3 4; 3 4; 1");
	/* carried by a loop, read as a whole behind it */
	computes_with(&few,
	    HEAD "g (int64 n, float[1] x) => (int64 m, float[?] y) {\n"
		 "  s = SequenceConstruct(x)\n"
		 "  t = Loop <body = b (int64 i, bool on, seq(float[1]) s) => (bool go, "
		 "seq(float[1]) u) {\n"
		 "    f = Cast <to = 1> (i)\n    e = Add(x, f)\n    u = SequenceInsert(s, e)\n    "
		 "go = Identity(on) }> (n, , s)\n"
		 "  m = SequenceLength(t)\n  y = ConcatFromSequence <axis = 0> (t)\n}",
	    2, (const char *const[]){"2; 7", "3; 7 7 8", "0; 7", "1; 7"});
}

static void
sequences_and_optionals_in_and_out(void **state)
{
	static const char model[] =
	    HEAD "g (seq(float[2]) s, optional(float[2]) o) => (seq(float[2]) t, float[2] y) {\n"
		 "  has = OptionalHasElement(o)\n  zero = Constant <value_int = 0> ()\n"
		 "  y = If <then_branch = t () => (float[2] r) { r = OptionalGetElement(o) }, "
		 "else_branch = e () "
		 "=> (float[2] r) { r = SequenceAt(s, zero) }> (has)\n"
		 "  t = SequenceInsert(s, y, zero)\n}";
	static const struct input_list lists[] = {{"s", 2}, {"o", -1}},
				       with[] = {{"s", 1}, {"o", 1}};
	struct import_opts absent = {.nlists = 2, .lists = lists},
			   given = {.nlists = 2, .lists = with};
	struct graph *g;

	(void)state;
	computes_with(&absent, model, 1, (const char *const[]){"1 2; 3 4", "1 2; 1 2; 3 4; 1 2"});
	computes_with(&given, model, 1, (const char *const[]){"1 2; 8 9", "8 9; 1 2; 8 9"});
	g = imported(model, &given);
	assert_string_equal(g->inputs.v[0]->name, "s.0");
	assert_string_equal(g->inputs.v[1]->name, "o");
	assert_string_equal(g->output_names.v[1], "t.1");
	refused(model, "--dim s=3 gives it three elements");
	/* an optional that a condition fills */
	computes2(HEAD
	    "g (bool c, float[2] x) => (bool h, optional(float[2]) o) {\n"
	    "  o = If <then_branch = t () => (optional(float[2]) r) { r = Optional(x) }, "
	    "else_branch = e "
	    "() => (optional(float[2]) none) { none = Optional <type = float[2]> () }> (c)\n"
	    "  h = OptionalHasElement(o)\n}",
	    "1; 1 2", "1; 1 2; 1", "0; 1 2", "0; 1 2; 0");
}

/* ---- functions */
static void
functions(void **state)
{
	(void)state;
	/* an attribute of the function read in a branch, overloads, a body of another opset */
	computes2("<ir_version: 10, opset_import: [\"\" : 18, \"my\" : 1]>\n"
		  "g (bool c, float[2] x) => (float[2] y) { y = my.f <alpha = 0.5> (c, x) }\n"
		  "<opset_import: [\"\" : 18, \"my\" : 1], domain: \"my\">\n"
		  "f <alpha> (c, x) => (z) {\n"
		  "  z = If <then_branch = t () => (float[2] r) { r = LeakyRelu <alpha : float = "
		  "@alpha> (x) }, "
		  "else_branch = e () => (float[2] r) { r = my.h(x) }> (c) }\n"
		  "<opset_import: [\"\" : 9], domain: \"my\">\n"
		  "h (x) => (y) { s = Slice <axes = [0], starts = [1], ends = [2]> (x)  y = Sub(x, "
		  "s) }\n",
	    "1; -2 4", "-1 4", "0; -2 4", "-6 0");
}

/* ---- gradients */
static void
gradients(void **state)
{
	(void)state;
	differentiates(HEAD
	    "g (bool c, float[2] x) => (float[2] y) {\n"
	    "  y = If <then_branch = t () => (float[2] r) { r = Exp(x) }, else_branch = e () => "
	    "(float[2] r) { r = Mul(x, x) }> (c)\n}",
	    "0; 0.5 -1.5");
	differentiates(HEAD
	    "g (int64 n, float[2] x, float[2] z) => (float[2] y) {\n"
	    "  y = Loop <body = b (int64 i, bool on, float[2] v) => (bool go, float[2] w) {\n"
	    "    p = Mul(v, x)\n    w = Tanh(p)\n    go = Identity(on) }> (n, , z)\n}",
	    "3; 0.5 -1.5; 0.75 0.25");
	differentiates(HEAD
	    "g (float[2] s, float[3,2] x) => (float[2] t, float[3,2] y) {\n"
	    "  t, y = Scan <num_scan_inputs = 1, scan_input_directions = [1], body = b (float[2] "
	    "a, "
	    "float[2] r) => (float[2] b, float[2] c) { m = Mul(a, r) b = Sigmoid(m) c = Sin(b) }> "
	    "(s, x)\n}",
	    "0.5 -0.25; 1 2 -1 0.5 0.25 -0.75");
}

/* ---- what is wrong is named */
static void
mistakes(void **state)
{
	(void)state;
	refused(HEAD "g (bool c, float[2] x) => (float[2] y) {\n"
		     "  y = If <then_branch = t () => (float[2] r) { r = Neg(w) }, else_branch = e "
		     "() => (float[2] r) "
		     "{ r = Abs(x) }> (c)\n}",
	    "input 0 is \"w\", which nothing makes in its then_branch nor around it");
	refused(HEAD "g (bool c, float[2] x) => (float[2] y) {\n"
		     "  y = If <then_branch = t () => (float[2] r) { r = Neg(x) }, else_branch = e "
		     "() => (int64[2] r) "
		     "{ r = Shape(x) }> (c)\n}",
	    "output \"y\" is f32[2] one way and i64[1] the other");
	refused(HEAD "g (float[1] c, float[2] x) => (float[2] y) {\n"
		     "  y = If <then_branch = t () => (float[2] x) { }, else_branch = e () => "
		     "(float[2] x) { }> (c)\n}",
	    "its condition is f32[1], not one bool");
	refused(HEAD "g (bool c, float[2] x) => (float[2] y) {\n"
		     "  y = If <then_branch = t () => (float[2] r) { q = Neg(x) }, else_branch = e "
		     "() => (float[2] r) "
		     "{ r = Neg(x) }> (c)\n}",
	    "then_branch does not make its output \"r\"");
	refused(HEAD "g (float[2] x) => (float[2] y) {\n  y = Loop <body = b (int64 i, bool on, "
		     "float[2] v) => (bool "
		     "go) { go = Identity(on) }> ( , , x)\n}",
	    "its body takes 3 values and makes 1");
	refused(HEAD "g (float[2] x) => (float[2] y) {\n"
		     "  y = Loop <body = b (int64 i, bool on, float[2] v) => (bool go, float[2] w) "
		     "{ w = Neg(v) go = "
		     "Identity(on) }> ( , , x)\n}",
	    "inlining makes more than");
	refused(HEAD "g (float[2] x) => (float y) {\n  y, s = Scan <num_scan_inputs = 3, body = b "
		     "(float r) => (float c) "
		     "{ c = Neg(r) }> (x)\n}",
	    "\"num_scan_inputs\" is 3 of 1");
	refused(HEAD "g (float[2] x) => (float[2] y) {\n  k = Constant <value_int = 2> ()\n  s = "
		     "SequenceConstruct(x, x)\n"
		     "  y = SequenceAt(s, k)\n}",
	    "position 2 is not in a sequence of 2");
	refused(HEAD
	    "g (float[2] x, int64[2] z) => (float[2] y) {\n  s = SequenceConstruct(x, z)\n}",
	    "input 1 is i64, the sequence holds f32");
	refused(HEAD
	    "g (float[2] x) => (float[2] y) {\n  s = SequenceConstruct(x)\n  y = Neg(s)\n}",
	    "\"s\" is a sequence, it takes a tensor");
	refused(HEAD "g (float[2] x) => (float[2] y) { o = Optional <type = seq(float[2])> () y = "
		     "OptionalGetElement(o) }",
	    "the optional holds no element");
}

/* ---- a detector of speech: its branch by the sampling rate, LSTM inside, state in and out */
static void
voice_detector(void **state)
{
	static const char model[] = HEAD
	    "g (int64 sr, float[1,8] x, float[2,1,2] st) => (float[1,1] p, float[2,1,2] stn) {\n"
	    "  k16 = Constant <value_int = 16000> ()\n  wide = Equal(sr, k16)\n"
	    "  p, stn = If <then_branch = hi () => (float[1,1] p, float[2,1,2] stn) {\n"
	    "    f = Reshape(x, s16)\n    s16 = Constant <value_ints = [1, 1, 8]> ()\n"
	    "    p, stn = my.tail <> (f, st, w16)\n    w16 = Constant <value = float[1,8,8] {"
	    "0.1,0.2,-0.1,0.3,0.2,0.1,-0.2,0.1, 0.1,0.2,-0.1,0.3,0.2,0.1,-0.2,0.1, "
	    "0.3,0.1,-0.1,0.2,0.2,0.1,-0.2,0.1, "
	    "0.1,0.2,-0.1,0.3,0.2,0.4,-0.2,0.1, 0.1,0.2,-0.1,0.3,0.2,0.1,-0.2,0.1, "
	    "0.1,0.5,-0.1,0.3,0.2,0.1,-0.2,0.1, "
	    "0.1,0.2,-0.1,0.3,0.2,0.1,-0.2,0.1, 0.1,0.2,-0.1,0.3,0.2,0.1,-0.2,0.6}> () },\n"
	    "  else_branch = lo () => (float[1,1] p, float[2,1,2] stn) {\n"
	    "    k8 = Constant <value_int = 8000> ()\n    narrow = Equal(sr, k8)\n"
	    "    p, stn = If <then_branch = t () => (float[1,1] p, float[2,1,2] stn) {\n"
	    "      s8 = Constant <value_ints = [2, 1, 4]> ()\n      f = Reshape(x, s8)\n"
	    "      p, stn = my.tail <> (f, st, w8)\n      w8 = Constant <value = float[1,8,4] {"
	    "0.1,0.2,-0.1,0.3, 0.1,0.2,-0.1,0.3, 0.3,0.1,-0.1,0.2, 0.1,0.2,-0.1,0.3, "
	    "0.1,0.2,-0.1,0.3, "
	    "0.1,0.5,-0.1,0.3, 0.1,0.2,-0.1,0.3, 0.1,0.2,-0.1,0.3}> () },\n"
	    "    else_branch = e () => (float[1,1] p, float[2,1,2] stn) { stn = Neg(st) one = "
	    "Constant <value_ints = "
	    "[1, 1]> () p = ConstantOfShape(one) }> (narrow) }> (wide)\n}\n"
	    "<opset_import: [\"\" : 18], domain: \"my\">\n"
	    "tail (f, st, w) => (p, stn) {\n"
	    "  h, c = Split <axis = 0, num_outputs = 2> (st)\n"
	    "  r = Constant <value = float[1,8,2] "
	    "{0.1,0.2,0.3,0.1,0.2,0.3,0.1,0.2,0.3,0.1,0.2,0.3,0.1,0.2,0.3,0.4}> ()\n"
	    "  y, hn, cn = LSTM <hidden_size = 2> (f, w, r, , , h, c)\n"
	    "  stn = Concat <axis = 0> (hn, cn)\n"
	    "  ax = Constant <value_ints = [-1]> ()\n  q = ReduceMean(hn, ax)\n  s = Sigmoid(q)\n"
	    "  sh = Constant <value_ints = [1, 1]> ()\n  p = Reshape(s, sh)\n}\n";
	struct str text = {0};
	struct import_opts o = {0};

	(void)state;
	str_addf(&text, "<ir_version: 8, opset_import: [\"\" : 18, \"my\" : 1]>\n%s",
	    model + strlen(HEAD));
	computes_with(&o, text.s, 3,
	    (const char *const[]){"16000; 0.5 -0.25 0.125 1 -1 0.75 -0.5 0.25; 0.1 -0.2 0.3 0.4",
		"0.5518630; 0.1727563 0.2436451 0.3142579 0.4165645",
		"8000; 0.5 -0.25 0.125 1 -1 0.75 -0.5 0.25; 0.1 -0.2 0.3 0.4",
		"0.5433681; 0.1443436 0.2034756 0.3024874 0.3827487",
		"4000; 0.5 -0.25 0.125 1 -1 0.75 -0.5 0.25; 0.1 -0.2 0.3 0.4",
		"0; -0.1 0.2 -0.3 -0.4"});
	str_free(&text);
}

/* Two hundred turns are one kernel called two hundred times. */
static void
many_turns(void **state)
{
	(void)state;
	computes(HEAD "g (float[2] x) => (float[2] y, float[?] s) {\n"
		      "  n = Constant <value_int = 200> ()\n  y, t = " LOOP_ADD
		      " (n, , x)\n  k = Constant "
		      "<value_ints = [199]> ()\n  s = Gather(t, k)\n}",
	    "1 2", "201 402; 603");
}

int
main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, help_setup, help_teardown)
	const struct CMUnitTest tests[] = {
	    T(branches),
	    T(branches_of_other_sizes),
	    T(loops_of_known_length),
	    T(loops_of_run_time_length),
	    T(loops_nest),
	    T(scans),
	    T(sequences),
	    T(sequences_under_conditions),
	    T(sequences_and_optionals_in_and_out),
	    T(functions),
	    T(gradients),
	    T(mistakes),
	    T(voice_detector),
	    T(many_turns),
	};
	struct target_opts to = {.opt_level = 2};
	struct diag d;
	int failed;

	diag_init(&d, stderr);
	target = target_open(&to, &d);
	if (!target)
		return 1;
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	target_close(target);
	diag_free(&d);
	return failed;
}
