/* memory -- losses that remember embeddings of samples beyond the batch. */
#include "losses.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

/* ir/ops/shape.c: element i of `rng` for this stream, step and seed, below 2^32 each. */
static double
uniform(uint32_t i, uint32_t stream, uint32_t step, uint32_t seed)
{
	uint32_t c[4] = {i, stream, step, 0}, k[2] = {seed, 0};

	for (int r = 0; r < 10; r++) {
		uint64_t p = 0xD2511F53ull * c[0], q = 0xCD9E8D57ull * c[2];

		c[0] = (uint32_t)(q >> 32) ^ c[1] ^ k[0];
		c[1] = (uint32_t)q;
		c[2] = (uint32_t)(p >> 32) ^ c[3] ^ k[1];
		c[3] = (uint32_t)p;
		k[0] += 0x9E3779B9u;
		k[1] += 0xBB67AE85u;
	}
	return (c[0] >> 8) * 0x1p-24;
}

static uint32_t
stream_of(const char *what)
{
	uint32_t h = 2166136261u;

	for (const char *s = what; *s; s++)
		h = (h ^ (unsigned char)*s) * 16777619u;
	return h | 0x80000000u;
}

static void
normalise(double *v, int64_t n)
{
	double sum = 0;

	for (int64_t i = 0; i < n; i++)
		sum += v[i] * v[i];
	for (int64_t i = 0; i < n; i++)
		v[i] /= sqrt(sum);
}

static struct dense
embedding(const struct given *g, const struct dense *x, const char *side)
{
	struct dense e = linear(g, x, side);

	for (int64_t i = 0; i < e.dims[0]; i++)
		normalise(e.v + i * e.dims[1], e.dims[1]);
	return e;
}

static double
dot(const double *a, const double *b, int64_t n)
{
	double sum = 0;

	for (int64_t i = 0; i < n; i++)
		sum += a[i] * b[i];
	return sum;
}

/* Memories as later steps find them: entries of length 1, but for some that no step has reached;
 * 1 + classes. */
static double
start(const char *state, int64_t i)
{
	int64_t row = i / 3, k = i % 3;

	if (strcmp(state, "adaptor.t.labels") == 0)
		return i % 4 == 1 ? 0 : (double)(1 + i * i % 3);
	if (row % 4 == 1)
		return 0;
	return k == 0 ? cos((double)row) : k == 1 ? sin((double)row) * 0.6 : sin((double)row) * 0.8;
}

/* Row i of the anchors against the memory of the other side. */
static double
contrast(const struct given *g, const struct dense *anchor, const struct dense *other,
    const struct dense *memory)
{
	int64_t n = memory->dims[0], dim = memory->dims[1],
		k = (int64_t)number(g, "negatives", 16384);
	bool queue = number(g, "memory", 0) > 0, all = k >= n,
	     training = g->rows == g->c->student[0].dims[0];
	double tau = number(g, "tau", 0.07), sum = 0,
	       z = (double)n * exp(1 / (2 * (double)dim * tau * tau)), c;

	k = all ? n : k;
	c = (double)k / (double)n;
	for (int64_t i = 0; i < g->rows; i++) {
		const double *v = anchor->v + i * dim, *own = other->v + i * dim;
		double rest = 0, count = 0, p;

		if (!queue && training)
			own = memory->v + g->index[i] * dim;
		p = exp(dot(v, own, dim) / tau) / z;
		sum -= log(p / (p + c + 1e-7));
		for (int64_t j = 0; j < k; j++) {
			int64_t e =
			    all ? j
				: (int64_t)floor(
				      (double)n * uniform((uint32_t)j, stream_of("adaptor.t.draw"),
						      training ? (uint32_t)g->step : 0,
						      training ? (uint32_t)g->seed : 0));

			if (g->c->classes ? trained(g, "labels")->v[e] == 1 + g->target.v[i]
					  : !queue && training && g->index[i] == e)
				continue;
			p = exp(dot(v, memory->v + e * dim, dim) / tau) / z;
			rest += log(c / (p + c + 1e-7));
			count++;
		}
		sum -= rest * (double)k / count;
	}
	return sum / g->rows;
}

static double
crd(const struct given *g)
{
	struct dense s = embedding(g, &g->s[0], "student."), t = embedding(g, &g->t[0], "teacher.");

	return contrast(g, &s, &t, trained(g, "memory.teacher")) +
	       contrast(g, &t, &s, trained(g, "memory.student"));
}

static bool
crd_next(const struct given *g, const char *state, struct dense *d)
{
	bool student = strcmp(state, "memory.student") == 0, labels = strcmp(state, "labels") == 0;
	bool queue = number(g, "memory", 0) > 0;
	struct dense e =
	    student ? embedding(g, &g->s[0], "student.") : embedding(g, &g->t[0], "teacher.");
	int64_t dim = e.dims[1];

	if (!student && !labels && strcmp(state, "memory.teacher") != 0)
		return false;
	for (int64_t i = 0; i < g->rows; i++) {
		int64_t at = queue ? ((g->step - 1) * g->rows + i) % d->dims[0] : g->index[i];

		if (labels) {
			d->v[at] = 1 + g->target.v[i];
			continue;
		}
		for (int64_t k = 0; k < dim; k++) {
			double m = number(g, "momentum", 0.5);

			d->v[at * dim + k] =
			    queue ? e.v[i * dim + k]
				  : m * d->v[at * dim + k] + (1 - m) * e.v[i * dim + k];
		}
		if (!queue)
			normalise(d->v + at * dim, dim);
	}
	return true;
}

/* clang-format off */
const struct loss_case memory_cases[] = {
	{"crd", "crd", "dim: 3, tau: 0.5", crd, .student = {SHAPE(5, 4)}, .teacher = {SHAPE(5, 6)}, .samples = 11, .start = start, .next = crd_next},
	{"crd_classes", "crd", "dim: 3, tau: 0.3, momentum: 0.2", crd, .student = {SHAPE(5, 4)}, .teacher = {SHAPE(5, 6)}, .target = SHAPE(5), .classes = 3, .samples = 11, .start = start, .next = crd_next},
	{"crd_drawn", "crd", "dim: 3, tau: 0.5, negatives: 9", crd, .student = {SHAPE(5, 4)}, .teacher = {SHAPE(5, 6)}, .samples = 23, .start = start, .next = crd_next},
	{"crd_queue", "crd", "dim: 3, tau: 0.5, memory: 12", crd, .student = {SHAPE(5, 4)}, .teacher = {SHAPE(5, 6)}, .samples = 23, .start = start, .next = crd_next},
	{"crd_queue_drawn", "crd", "dim: 3, tau: 0.5, memory: 12, negatives: 8", crd, .student = {SHAPE(5, 4)}, .teacher = {SHAPE(5, 6)}, .target = SHAPE(5), .classes = 3, .start = start, .next = crd_next},
	{NULL},
};
const struct loss_refusal memory_refusals[] = {
	{"crd", "", "how many samples there are is not known", .student = {SHAPE(6, 5)}, .teacher = {SHAPE(6, 4)}},
	{"crd", "memory: 5", "a memory of 5 embeddings has no room for the batch of 6", .student = {SHAPE(6, 5)}, .teacher = {SHAPE(6, 4)}},
	{NULL},
};
/* clang-format on */
