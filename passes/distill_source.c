/* distill_source -- inputs of models that are no fields of the data: another model's
 * tensor, and numbers drawn anew each step. */
#include "passes/distill_int.h"

#include <math.h>
#include <string.h>

/* Uniform [0,1) by seed, step and the input's own stream (ir/ops/shape.c). */
static struct value *
uniform(struct distiller *x, struct build *b, const char *draw, int rank, const int64_t *dims)
{
	struct value *from[2] = {distill_input(x->g, "$seed", DT_i64, 0, NULL), distill_input(x->g, "$step", DT_i64, 0, NULL)};
	uint32_t h = 2166136261u;
	struct attr a[2] = {{.name = "dims", .kind = ATTR_INTS, .n = rank, .ints = dims}, {.name = "stream", .kind = ATTR_INT}};

	for (; *draw; draw++)
		h = (h ^ (unsigned char)*draw) * 16777619u;
	if (!x->eval)
		from[1] = distill_step(x, b, from[1]);
	a[1].i = (int64_t)(h >> 2) + 65536; /* models' own count from 0 */
	return b_op(b, OP_rng, 2, from, 2, a);
}

/* sqrt(-2 log(1-u)) cos(2 pi v), Box and Muller */
static struct value *
normal(struct distiller *x, struct build *b, const char *draw, int rank, const int64_t *dims)
{
	int64_t two[MAX_RANK] = {2}, start[MAX_RANK] = {0}, one[MAX_RANK] = {1}, count[MAX_RANK] = {1};
	struct value *u, *part[2], *r;

	for (int i = 0; i < rank; i++) {
		one[i + 1] = 1;
		two[i + 1] = count[i + 1] = dims[i];
	}
	u = uniform(x, b, draw, rank + 1, two);
	for (int i = 0; i < 2; i++) {
		start[0] = i;
		part[i] = b_reshape(b, b_slice(b, u, start, count, one), rank, dims);
	}
	r = b_sqrt(b, b_muls(b, b_log(b, b_sub(b, b_scalar(b, DT_f32, 1), part[0])), -2));
	return b_mul(b, r, b1(b, OP_cos, b_muls(b, part[1], 2 * acos(-1))));
}

static struct value *
noise(struct distiller *x, struct build *b, const struct made *m, const struct distill_input *in)
{
	int rank = 1 + (in->nshape ? in->nshape : in->value->rank - 1);
	int64_t dims[MAX_RANK] = {x->d->batch};

	for (int i = 1; i < rank; i++)
		dims[i] = in->nshape ? in->shape[i - 1] : in->value->dims[i];
	if (rank >= MAX_RANK || in->value->rank < 1) {
		diag_invalid(x->diag, b->loc, "input \"%s\" of %s: noise of %d axes; 1 to %d are possible", in->value->name,
		    m->m->name, rank - 1, MAX_RANK - 2);
		return NULL;
	}
	return strcmp(in->noise, "normal") == 0 ? normal(x, b, in->draw, rank, dims) : uniform(x, b, in->draw, rank, dims);
}

struct value *
distill_source(struct distiller *x, struct build *b, const struct made *m, const struct distill_input *in, struct rows *rows)
{
	struct part p;

	if (in->noise) {
		*rows = (struct rows){0, x->d->batch};
		return noise(x, b, m, in);
	}
	if (!distill_teacher_part(x, in->from, b->loc, &p))
		return NULL;
	*rows = p.rows;
	return in->detach && !x->eval ? distill_detached(b, p.v) : p.v;
}
