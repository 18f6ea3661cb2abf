/* numeric -- filling a graph's inputs, evaluating it, comparing. */
#include "numeric.h"

#include <math.h>
#include <stdlib.h>

double
noise(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15u;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	z ^= z >> 31;
	return ((double)(z >> 11) + 0.5) * 0x1p-52 - 1;
}

struct tensor *
noise_tensor(struct arena *a, enum dtype t, int rank, const int64_t *dims, uint64_t seed,
    double center, double scale)
{
	struct tensor *x = tensor_new(a, t, rank, dims);

	for (int64_t i = 0, n = tensor_count(x); i < n; i++)
		dtype_put_f(t, x->data, i, center + scale * noise(&seed));
	return x;
}

static uint64_t
seed_of(const char *name)
{
	uint64_t h = 1469598103934665603u;

	for (; *name; name++)
		h = (h ^ (unsigned char)*name) * 0x100000001b3u;
	return h;
}

struct run
run_graph(struct arena *a, struct graph *g, bool round_each)
{
	struct eval_opts opts = {.round_each = round_each, .arena = a};
	struct etensor **in = arena_array(a, struct etensor *, g->inputs.n + 1);
	struct run r = {.out = arena_array(a, struct etensor *, g->outputs.n + 1),
	    .next = arena_array(a, struct etensor *, g->updates.n + 1)};
	struct diag d;

	diag_init(&d, stderr);
	for (int i = 0; i < g->inputs.n; i++) {
		const struct value *v = g->inputs.v[i];
		uint64_t seed = seed_of(v->name);

		in[i] = etensor_new(a, v->dtype, v->rank, v->dims);
		for (int64_t k = 0; k < in[i]->count; k++) {
			double x = noise(&seed);

			et_put(in[i], k, dtype_is_float(v->dtype) ? (float)x : floor((x + 1) * 1.5));
		}
	}
	if (!eval_graph(&opts, g, in, r.out, r.next, NULL, &d))
		die("the evaluator failed");
	diag_free(&d);
	return r;
}

double
worst(const struct etensor *a, const struct etensor *b)
{
	double diff = 0, size = 1;

	if (!dims_equal(a->rank, a->dims, b->rank, b->dims))
		return INFINITY;
	for (int64_t i = 0; i < a->count; i++) {
		double x = et_get(a, i), y = et_get(b, i);

		if (isnan(x) != isnan(y))
			return INFINITY;
		if (fabs(y) > size)
			size = fabs(y);
		if (x != y && fabs(x - y) > diff)
			diff = fabs(x - y);
	}
	return diff / size;
}

void
print_graph(struct graph *g)
{
	struct str s = {0};

	graph_print(g, &s, 8);
	fwrite(s.s, 1, s.n, stderr);
	str_free(&s);
}
