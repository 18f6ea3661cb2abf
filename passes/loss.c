/* loss -- the losses by name, their settings, and what several of them are made of. */
#include "passes/loss.h"

#include "passes/distill_int.h"

#include <math.h>
#include <string.h>

bool
loss_build(const struct loss_in *in, struct loss *out)
{
	static bool (*const build[])(const struct loss_in *, struct loss *) = {
#define LOSS(id, ...) loss_##id,
#include "ir/loss.def"
	};
	const char *names[NLOSSES], *near;
	int i = loss_find(in->term->loss);

	*out = (struct loss){0};
	if (i >= 0)
		return build[i](in, out);
	for (i = 0; i < NLOSSES; i++)
		names[i] = loss_info[i].name;
	near = str_nearest(in->term->loss, names, NLOSSES);
	return diag_invalid(in->b->diag, in->term->loc, "no loss is called \"%s\"%s%s%s",
	    in->term->loss, near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : "");
}

/* ---- settings */

/* What the term says of key; a term without values has the table's defaults. */
static struct dial
setting(const struct loss_in *in, const char *key)
{
	const struct distill_term *t = in->term;
	const struct loss_info *l = &loss_info[loss_find(t->loss)];
	int i;

	if (strcmp(key, "weight") == 0)
		return t->weight;
	if (strcmp(key, "temperature") == 0)
		return t->temperature.from > 0 || t->temperature.curve ? t->temperature
								       : (struct dial){.from = 1};
	i = loss_setting_find(l, key);
	require(i >= 0);
	return t->values ? t->values[i] : (struct dial){.from = l->settings[i].otherwise};
}

double
loss_number(const struct loss_in *in, const char *key)
{
	struct dial d = setting(in, key);

	require(d.curve == DIAL_FIXED);
	return d.from;
}

bool
loss_flag(const struct loss_in *in, const char *key)
{
	return loss_number(in, key) != 0;
}

int
loss_choice(const struct loss_in *in, const char *key)
{
	return (int)loss_number(in, key);
}

bool
loss_is_fixed(const struct loss_in *in, const char *key, double *v)
{
	struct dial d = setting(in, key);

	*v = d.from;
	return d.curve == DIAL_FIXED;
}

struct value *
loss_dial(const struct loss_in *in, const char *key)
{
	struct graph *g = in->b->g;
	double v;

	if (loss_is_fixed(in, key, &v))
		return b_scalar(in->b, DT_f32, v);
	return distill_input(
	    g, arena_printf(g->arena, "$dial.%s.%s", in->term->name, key), DT_f32, 0, NULL);
}

/* ---- means */

struct value *
loss_rows(const struct loss_in *in)
{
	if (in->valid)
		return b_reduce_all(in->b, OP_reduce_sum, in->valid);
	return b_scalar(in->b, DT_f32, (double)in->student->dims[0]);
}

struct value *
loss_mean(const struct loss_in *in, struct value *row)
{
	struct build *b = in->b;
	int64_t dims[MAX_RANK], rows;
	struct value *n;

	if (!row)
		return NULL;
	rows = row->dims[0];
	if (!in->valid) {
		n = b_reduce_all(b, OP_reduce_sum, row);
		return b_muls(b, n, 1 / (double)dims_count(row->rank, row->dims));
	}
	for (int i = 0; i < row->rank; i++)
		dims[i] = i == 0 ? rows : 1;
	n = b_reduce_all(b, OP_reduce_sum, b_mul(b, row, b_reshape(b, in->valid, row->rank, dims)));
	n = b_div(b, n, b_max(b, loss_rows(in), b_scalar(b, DT_f32, 1)));
	return b_muls(b, n, (double)rows / (double)dims_count(row->rank, row->dims));
}

/* ---- operands */

bool
loss_same_shapes(const struct loss_in *in)
{
	struct arena *a = in->b->g->arena;
	const struct value *s = in->student;

	for (int k = 0; k < in->nteachers; k++) {
		const struct value *t = in->teachers[k];

		if (dims_equal(s->rank, s->dims, t->rank, t->dims))
			continue;
		if (s->rank >= 2 && t->rank == s->rank && s->dims[1] != t->dims[1])
			return diag_invalid(in->b->diag, in->term->loc,
			    "%s has %lld classes, %s has %lld: loss %s compares class by class",
			    in->teacher_names[k], (long long)t->dims[1], in->student_name,
			    (long long)s->dims[1], in->term->loss);
		return diag_invalid(in->b->diag, in->term->loc,
		    "%s is %s, %s is %s: loss %s needs equal shapes%s", in->teacher_names[k],
		    dims_text(a, t), in->student_name, dims_text(a, s), in->term->loss,
		    strcmp(in->term->loss, "ce") == 0 ? "" : " (or a hint with adaptor: auto)");
	}
	return true;
}

struct value *
loss_mean_teacher(const struct loss_in *in)
{
	struct arena *a = in->b->g->arena;
	const struct value *t = in->nteachers ? in->teachers[0] : NULL;
	const double *w = in->term->teacher_weights;
	struct value *sum = NULL;
	double all = 0;

	if (!t) {
		diag_invalid(in->b->diag, in->term->loc,
		    "loss %s needs a teacher: teacher: NAME.TAP", in->term->loss);
		return NULL;
	}
	for (int k = 1; k < in->nteachers; k++)
		if (!dims_equal(t->rank, t->dims, in->teachers[k]->rank, in->teachers[k]->dims)) {
			diag_invalid(in->b->diag, in->term->loc,
			    "%s is %s, %s is %s: the mean of teachers needs equal shapes",
			    in->teacher_names[0], dims_text(a, t), in->teacher_names[k],
			    dims_text(a, in->teachers[k]));
			return NULL;
		}
	for (int k = 0; k < in->nteachers; k++) {
		struct value *v = w ? b_muls(in->b, in->teachers[k], w[k]) : in->teachers[k];

		sum = sum ? b_add(in->b, sum, v) : v;
		all += w ? w[k] : 1;
	}
	return in->nteachers == 1 ? in->teachers[0] : b_muls(in->b, sum, 1 / all);
}

bool
loss_pairs(const struct loss_in *in, int *n, struct loss_pair **out)
{
	int count = in->nstudents;
	struct loss_pair *p = arena_array(in->b->g->arena, struct loss_pair, count);

	*n = count;
	*out = p;
	if (count == 1) {
		p[0] = (struct loss_pair){in->student, loss_mean_teacher(in), in->student_name,
		    in->nteachers ? in->teacher_names[0] : ""};
		return p[0].t != NULL;
	}
	if (count != in->nteachers)
		return diag_invalid(in->b->diag, in->term->loc,
		    "term \"%s\" compares %d tensors of the student with %d of the teacher: layer "
		    "i goes with layer i",
		    in->term->name, count, in->nteachers);
	for (int i = 0; i < count; i++)
		p[i] = (struct loss_pair){
		    in->students[i], in->teachers[i], in->student_names[i], in->teacher_names[i]};
	return true;
}

struct value *
loss_index(const struct loss_in *in)
{
	int64_t rows = in->student->dims[0], batch = in->batch ? in->batch : rows, one = 1;
	struct value *all = distill_input(in->b->g, "$index", DT_i64, 1, &batch);

	if (rows != batch)
		all = b_slice(in->b, all, &in->first_row, &rows, &one);
	return in->first_sample ? b_adds(in->b, all, (double)-in->first_sample) : all;
}

/* ---- draws */

static const char *
own_name(const struct loss_in *in, const char *what)
{
	const char *whose = in->term->modules ? in->term->modules : in->term->name;

	return arena_printf(in->b->g->arena, "adaptor.%s.%s", whose, what);
}

/* $step, and in a window of several batches another number for each, as random nodes of
 * the student have it (distill_draws).  Streams of terms have the highest bit. */
struct value *
loss_uniform(const struct loss_in *in, const char *what, int rank, const int64_t *dims)
{
	struct build *b = in->b;
	struct value *draw[2];
	struct attr a[2] = {{.name = "dims", .kind = ATTR_INTS, .n = rank},
	    {.name = "stream", .kind = ATTR_INT}};
	uint32_t h = 2166136261u;
	int64_t *kept;

	for (const char *s = own_name(in, what); *s; s++)
		h = (h ^ (unsigned char)*s) * 16777619u;
	kept = arena_array(b->g->arena, int64_t, rank + 1);
	memcpy(kept, dims, sizeof *dims * (size_t)rank);
	a[0].ints = kept;
	a[1].i = h | 0x80000000u;
	if (in->eval) {
		draw[0] = draw[1] = b_scalar(b, DT_i64, 0);
		return b_op(b, OP_rng, 2, draw, 2, a);
	}
	draw[0] = distill_input(b->g, "$seed", DT_i64, 0, NULL);
	draw[1] = distill_draws(b, in->accumulate, distill_input(b->g, "$step", DT_i64, 0, NULL));
	return b_op(b, OP_rng, 2, draw, 2, a);
}

/* sqrt(-2 log(1 - u)) cos(2 pi v), Box and Muller */
struct value *
loss_normal(const struct loss_in *in, const char *what, int rank, const int64_t *dims)
{
	struct build *b = in->b;
	struct value *u = loss_uniform(in, what, rank, dims), *r;
	struct value *v = loss_uniform(in, arena_printf(b->g->arena, "%s.angle", what), rank, dims);

	if (!u || !v)
		return NULL;
	r = b_sqrt(b, b_muls(b, b_log(b, b_sub(b, b_scalar(b, DT_f32, 1), u)), -2));
	return b_mul(b, r, b1(b, OP_cos, b_muls(b, v, 2 * acos(-1))));
}

/* ---- states of a term */

static uint64_t
splitmix(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15u;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

static struct value *
own(const struct loss_in *in, const char *what, struct tensor *t, bool trained)
{
	struct graph *g = in->b->g;
	const char *name = own_name(in, what);
	struct value *v = graph_state_find(g, name);

	trained &= !in->untrained;
	if (!v) {
		v = graph_state(g, name, t, trained);
		v->loc = in->term->loc;
	} else if (!dims_equal(v->rank, v->dims, t->rank, t->dims)) {
		struct value want = {.rank = t->rank};

		memcpy(want.dims, t->dims, sizeof want.dims);
		diag_invalid(in->b->diag, in->term->loc,
		    "%s would be %s here and is %s in another term of these modules", name,
		    dims_text(g->arena, &want), dims_text(g->arena, v));
		return NULL;
	}
	v->trainable |= trained;
	if (v->trainable) /* an earlier turn may have moved it */
		return state_now(in->b, v);
	return v;
}

struct value *
loss_trained(const struct loss_in *in, const char *what, struct tensor *initial)
{
	return own(in, what, initial, true);
}

struct value *
loss_state(const struct loss_in *in, const char *what, struct tensor *initial)
{
	return own(in, what, initial, false);
}

struct value *
loss_parameter(
    const struct loss_in *in, const char *what, int rank, const int64_t *dims, double bound)
{
	struct tensor *t = tensor_new(in->b->g->arena, DT_f32, rank, dims);
	uint64_t state = (uint64_t)in->seed;

	for (const char *s = own_name(in, what); *s; s++)
		state = (state ^ (unsigned char)*s) * 0x100000001b3u;
	for (int64_t i = 0, n = tensor_count(t); i < n; i++) {
		double u = (double)(splitmix(&state) >> 11) * 0x1p-53;

		dtype_put_f(DT_f32, t->data, i, (2 * u - 1) * bound);
	}
	return own(in, what, t, true);
}

void
loss_update(const struct loss_in *in, struct value *state, struct value *next)
{
	struct update u = {state, next};

	if (!in->eval && next && state && !distill_updated(in->b->g, state))
		vec_push(in->b->g->arena, &in->b->g->updates, u);
}

/* ---- small formulas */

struct value *
b_square(struct build *b, struct value *v)
{
	return b_mul(b, v, v);
}

struct value *
b_sum_classes(struct build *b, struct value *v)
{
	return b_reduce(b, OP_reduce_sum, v, 1, (const int64_t[]){CLASS_AXIS}, false);
}

struct value *
b_rows_flat(struct build *b, struct value *v)
{
	int64_t dims[2] = {v->dims[0], v->dims[0] ? dims_count(v->rank, v->dims) / v->dims[0] : 0};

	return b_reshape(b, v, 2, dims);
}

const char *
dims_text(struct arena *a, const struct value *v)
{
	const char *s = "[";

	for (int i = 0; i < v->rank; i++)
		s = arena_printf(a, "%s%s%lld", s, i ? "," : "", (long long)v->dims[i]);
	return arena_printf(a, "%s]", s);
}
