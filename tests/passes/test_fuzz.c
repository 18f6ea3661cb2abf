/* Random graphs of core operators through the passes: what they compute must stay.
 * Every other graph has parameters, and outputs their gradients as well.
 * RETORT_FUZZ=N draws N graphs, RETORT_FUZZ_SEED=S starts elsewhere, and
 * RETORT_FUZZ_DUMP=DIR writes each as text (for tests/lower/check). */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "numeric.h"

enum { NODES = 24, KEEP = 64 };

struct fuzz {
	struct arena *a;
	struct graph *g;
	struct diag d;
	struct build b;
	uint64_t seed;
	struct value *v[KEEP];
	int n;
	bool trains, large;
	struct value *param[KEEP];
	int nparam;
};

static int
draw(struct fuzz *f, int n)
{
	double x = (noise(&f->seed) + 1) / 2;
	int k = (int)(x * n);

	return k < n ? k : n - 1;
}

static void
keep(struct fuzz *f, struct value *v)
{
	if (v && f->n < KEEP)
		f->v[f->n++] = v;
}

static struct value *
any(struct fuzz *f)
{
	/* later values more often, so that chains grow */
	int k = draw(f, 2) ? f->n - 1 - draw(f, f->n < 5 ? f->n : 5) : draw(f, f->n);

	return f->v[k];
}

/* The extent of a new axis: a third of the graphs is of the size of real vectors. */
static int64_t
extent(struct fuzz *f)
{
	static const int64_t small[] = {1, 2, 3, 4}, large[] = {1, 5, 17, 32};

	return (f->large ? large : small)[draw(f, 4)];
}

/* Constants are numbers, rows of equal ones, or noise. */
static struct value *
constant(struct fuzz *f, int rank, const int64_t *dims)
{
	double center = draw(f, 3) - 1;
	struct tensor *t = noise_tensor(f->a, DT_f32, rank, dims, f->seed++, center, draw(f, 2) ? 0.5 : 0);

	if (!f->trains || f->nparam == KEEP || draw(f, 2))
		return graph_const(f->g, "c", t);
	f->param[f->nparam] = graph_state(f->g, arena_printf(f->a, "w%d", f->nparam), t, true);
	return f->param[f->nparam++];
}

/* A constant that broadcasts to x: some of its axes, some as 1. */
static struct value *
beside(struct fuzz *f, const struct value *x)
{
	int rank = draw(f, x->rank + 1);
	int64_t dims[MAX_RANK];

	for (int i = 0; i < rank; i++)
		dims[i] = draw(f, 2) ? x->dims[x->rank - rank + i] : 1;
	return constant(f, rank, dims);
}

static struct value *
other_like(struct fuzz *f, const struct value *x)
{
	for (int tries = 0; tries < 8; tries++) {
		struct value *y = any(f);

		if (y->rank == x->rank && dims_equal(x->rank, x->dims, y->rank, y->dims))
			return y;
	}
	return beside(f, x);
}

static struct value *
binary(struct fuzz *f)
{
	static const enum op ops[] = {OP_add, OP_sub, OP_mul, OP_mul, OP_add, OP_max, OP_min, OP_div};
	enum op op = ops[draw(f, 8)];
	struct value *x = any(f), *y = draw(f, 3) ? beside(f, x) : other_like(f, x);

	if (op == OP_div) /* away from zero */
		y = b_adds(&f->b, b1(&f->b, OP_abs, y), 0.5);
	return draw(f, 2) || op == OP_div ? b2(&f->b, op, x, y) : b2(&f->b, op, y, x);
}

static struct value *
unary(struct fuzz *f)
{
	static const enum op ops[] = {OP_neg, OP_tanh, OP_Relu, OP_sigmoid, OP_abs, OP_Softmax};
	struct value *x = any(f);
	enum op op = ops[draw(f, 6)];

	if (op == OP_Softmax)
		return x->rank ? b_softmax(&f->b, x, draw(f, x->rank)) : NULL;
	return b1(&f->b, op, x);
}

static struct value *
power(struct fuzz *f)
{
	static const double e[] = {2, 3, 0.5, 1, -1, -0.5};
	struct value *x = b_adds(&f->b, b1(&f->b, OP_abs, any(f)), 0.5);

	return b2(&f->b, OP_pow, x, b_scalar(&f->b, DT_f32, e[draw(f, 6)]));
}

static struct value *
transpose(struct fuzz *f)
{
	struct value *x = any(f);
	int64_t perm[MAX_RANK];

	for (int i = 0; i < x->rank; i++)
		perm[i] = i;
	for (int i = x->rank - 1; i > 0; i--) {
		int j = draw(f, i + 1);
		int64_t t = perm[i];

		perm[i] = perm[j];
		perm[j] = t;
	}
	return b_transpose(&f->b, x, perm);
}

/* Two axes joined, one split in two, or a 1 put somewhere. */
static struct value *
reshape(struct fuzz *f)
{
	struct value *x = any(f);
	int64_t dims[MAX_RANK];
	int rank = x->rank, at = rank ? draw(f, rank) : 0, kind = draw(f, 3);

	memcpy(dims, x->dims, sizeof dims);
	if (kind == 0 && at + 1 < rank) {
		dims[at] *= dims[at + 1];
		memmove(dims + at + 1, dims + at + 2, sizeof dims[0] * (size_t)(rank - at - 2));
		rank--;
	} else if (rank < 5) {
		int64_t inner = kind == 1 && rank && dims[at] % 2 == 0 ? 2 : 1;

		memmove(dims + at + 1, dims + at, sizeof dims[0] * (size_t)(rank - at));
		if (rank && inner == 2) {
			dims[at] /= 2;
			dims[at + 1] = 2;
		} else {
			dims[at] = 1;
		}
		rank++;
	}
	return b_reshape(&f->b, x, rank, dims);
}

static struct value *
slice(struct fuzz *f)
{
	struct value *x = any(f);
	int64_t start[MAX_RANK], count[MAX_RANK], step[MAX_RANK];

	for (int i = 0; i < x->rank; i++) {
		start[i] = draw(f, 2) ? 0 : draw(f, (int)x->dims[i]);
		count[i] = x->dims[i] - start[i];
		step[i] = 1;
		if (draw(f, 4) == 0) {
			start[i] = x->dims[i] - 1;
			step[i] = -1;
			count[i] = x->dims[i];
		} else if (count[i] > 1 && draw(f, 3) == 0) {
			count[i] = 1;
		}
	}
	return b_slice(&f->b, x, start, count, step);
}

static struct value *
pad(struct fuzz *f)
{
	struct value *x = any(f);
	int64_t lo[MAX_RANK], hi[MAX_RANK];

	for (int i = 0; i < x->rank; i++) {
		lo[i] = draw(f, 2);
		hi[i] = draw(f, 3) == 0;
	}
	return x->rank ? b_pad(&f->b, x, lo, hi, draw(f, 2)) : NULL;
}

static struct value *
expand(struct fuzz *f)
{
	struct value *x = any(f);
	int64_t dims[MAX_RANK];
	int more = x->rank < 4 ? draw(f, 2) : 0;

	for (int i = 0; i < x->rank + more; i++) {
		int64_t d = i < more ? 1 : x->dims[i - more];

		dims[i] = d == 1 ? extent(f) : d;
	}
	return b_expand(&f->b, x, x->rank + more, dims);
}

static struct value *
reduce(struct fuzz *f)
{
	static const enum op ops[] = {OP_reduce_sum, OP_reduce_sum, OP_reduce_max, OP_reduce_min};
	struct value *x = any(f);
	int64_t axes[MAX_RANK];
	int n = 0;

	for (int i = 0; i < x->rank; i++)
		if (draw(f, 2))
			axes[n++] = i;
	return b_reduce(&f->b, ops[draw(f, 4)], x, n, axes, draw(f, 2));
}

/* The last axis against a new constant weight, or a sum over a common axis. */
static struct value *
contract(struct fuzz *f)
{
	struct value *x = any(f);
	char in[MAX_RANK + 1] = {0}, out[MAX_RANK + 1] = {0};
	int64_t dims[2];

	if (x->rank < 1 || x->rank > 4)
		return NULL;
	for (int i = 0; i < x->rank; i++)
		in[i] = out[i] = (char)('a' + i);
	int axis = draw(f, x->rank);

	out[axis] = 'z';
	dims[0] = extent(f);
	dims[1] = x->dims[axis];
	if (draw(f, 2))
		return b_contract(&f->b, arena_printf(f->a, "%s,z%c->%s", in, in[axis], out), x, constant(f, 2, dims));
	return b_contract(&f->b, arena_printf(f->a, "z%c,%s->%s", in[axis], in, out), constant(f, 2, dims), x);
}

static struct value *
convolve(struct fuzz *f)
{
	struct value *x = any(f), *in[2];
	int64_t one[2] = {1, 1}, pads[4] = {1, 0, 0, 1}, wdims[4];
	struct attr attr[4] = {{.name = "strides", .kind = ATTR_INTS, .n = 2, .ints = one},
	    {.name = "pads", .kind = ATTR_INTS, .n = 4, .ints = pads},
	    {.name = "dilations", .kind = ATTR_INTS, .n = 2, .ints = one},
	    {.name = "group", .kind = ATTR_INT, .i = 1}};

	if (x->rank != 4)
		return NULL;
	attr[3].i = x->dims[1] % 2 == 0 && draw(f, 2) ? 2 : 1;
	wdims[0] = 2 * (1 + draw(f, f->large ? 12 : 2));
	wdims[1] = x->dims[1] / attr[3].i;
	wdims[2] = x->dims[2] > 1 ? 2 : 1;
	wdims[3] = 1;
	in[0] = x;
	in[1] = constant(f, 4, wdims);
	return b_op(&f->b, OP_conv, 2, in, 4, attr);
}

static struct value *
pool(struct fuzz *f)
{
	struct value *x = any(f);
	int64_t kernel[2], strides[2], pads[4] = {0}, one[2] = {1, 1};
	struct attr attr[4] = {{.name = "kernel", .kind = ATTR_INTS, .n = 2, .ints = kernel},
	    {.name = "strides", .kind = ATTR_INTS, .n = 2, .ints = strides},
	    {.name = "pads", .kind = ATTR_INTS, .n = 4, .ints = pads},
	    {.name = "dilations", .kind = ATTR_INTS, .n = 2, .ints = one}};

	if (x->rank != 4)
		return NULL;
	for (int i = 0; i < 2; i++) {
		kernel[i] = x->dims[2 + i] > 1 ? 2 : 1;
		strides[i] = 1 + draw(f, 2);
		pads[i] = kernel[i] > 1 ? draw(f, 2) : 0;
	}
	return b_op(&f->b, draw(f, 2) ? OP_max_pool : OP_sum_pool, 1, &x, 4, attr);
}

static struct value *
gather(struct fuzz *f)
{
	struct value *x = any(f);
	int64_t index[3];
	int n = 1 + draw(f, 3);

	if (x->rank == 0)
		return NULL;
	int axis = draw(f, x->rank);

	for (int i = 0; i < n; i++)
		index[i] = draw(f, (int)x->dims[axis]);
	return b_gather(&f->b, x, b_ints(&f->b, n, index), axis);
}

static struct value *
concat(struct fuzz *f)
{
	struct value *x = any(f), *y = other_like(f, x), *two[2] = {x, y};

	if (x->rank == 0 || !dims_equal(x->rank, x->dims, y->rank, y->dims))
		return NULL;
	return b_concat(&f->b, 2, two, draw(f, x->rank));
}

static struct value *
choose(struct fuzz *f)
{
	struct value *x = any(f), *y = other_like(f, x);

	return b_select(&f->b, b2(&f->b, OP_lt, x, beside(f, x)), x, y);
}

static void
grow(struct fuzz *f)
{
	static struct value *(*const make[])(struct fuzz *) = {binary, binary, binary, unary, power, transpose,
	    reshape, slice, pad, expand, reduce, contract, contract, convolve, convolve, pool, gather, concat, choose};
	int used = 0;

	while (used < NODES) {
		struct value *v = make[draw(f, sizeof make / sizeof make[0])](f);

		used++;
		if (v && dims_count(v->rank, v->dims) <= (f->large ? 20000 : 2000))
			keep(f, v);
	}
	for (int i = f->n - 1; i >= 0 && i >= f->n - 3; i--)
		graph_output(f->g, "y", f->v[i]);
}

/* The gradient of the sum of all outputs with respect to every parameter. */
static void
append_gradients(struct fuzz *f)
{
	struct value *loss = NULL, *grads[KEEP];

	for (int i = 0; i < f->g->outputs.n; i++) {
		struct value *sum = b_reduce_all(&f->b, OP_reduce_sum, f->g->outputs.v[i]);

		loss = loss ? b_add(&f->b, loss, sum) : sum;
	}
	graph_output(f->g, "loss", loss);
	assert_true(grad_build(f->g, loss, f->nparam, f->param, grads, &f->d));
	for (int i = 0; i < f->nparam; i++)
		if (grads[i])
			graph_output(f->g, arena_printf(f->a, "d.%s", f->param[i]->name), grads[i]);
}

static void
one(uint64_t seed)
{
	static const char passes_of[] = "dce,cse,simplify,fold,expand,simplify,fold,cse,simplify,fold,cse,dce";
	struct fuzz f = {.a = arena_create(), .seed = seed * 1000003, .trains = seed % 2, .large = seed % 6 == 0 || seed % 6 == 5};
	struct pass_opts opts = {.opt_level = 2, .verify_each = true};
	struct pass_ctx ctx = {.arena = f.a, .opts = &opts, .diag = &f.d};
	struct run before, after;
	struct str text = {0};

	diag_init(&f.d, stderr);
	f.g = graph_create(f.a, "fuzz");
	f.b = build_at(f.g, &f.d, LOC_NONE, NULL);
	keep(&f, graph_input(f.g, "x", DT_f32, 4, f.large ? (int64_t[]){2, 20, 9, 7} : (int64_t[]){2, 4, 3, 2}));
	keep(&f, graph_input(f.g, "y", DT_f32, 3, f.large ? (int64_t[]){2, 6, 40} : (int64_t[]){2, 3, 4}));
	keep(&f, graph_input(f.g, "z", DT_f32, 2, f.large ? (int64_t[]){33, 18} : (int64_t[]){3, 4}));
	grow(&f);
	if (f.trains)
		append_gradients(&f);
	graph_print(f.g, &text, -1);
	if (getenv("RETORT_FUZZ_DUMP")) {
		const char *path = arena_printf(f.a, "%s/%d.rir", getenv("RETORT_FUZZ_DUMP"), (int)seed);

		struct str file = {0};

		str_addf(&file, "# passes %s\n%s", passes_of, text.s);
		assert_true(file_write(&f.d, path, file.s, file.n));
		str_free(&file);
	}
	before = run_graph(f.a, f.g, false);
	assert_true(passes_run_named(f.g, passes_of, &ctx));
	after = run_graph(f.a, f.g, false);
	for (int i = 0; i < f.g->outputs.n; i++)
		if (!(worst(after.out[i], before.out[i]) < 1e-5)) {
			fprintf(stderr, "%safter:\n", text.s);
			print_graph(f.g);
			fail_msg("seed %d: output %d differs by %g", (int)seed, i, worst(after.out[i], before.out[i]));
		}
	str_free(&text);
	diag_free(&f.d);
	arena_destroy(f.a);
}

static void
random_graphs(void **state)
{
	const char *count = getenv("RETORT_FUZZ"), *from = getenv("RETORT_FUZZ_SEED");
	int n = count ? atoi(count) : 300, first = from ? atoi(from) : 1;

	(void)state;
	for (int i = 0; i < n; i++)
		one((uint64_t)(first + i));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(random_graphs)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
