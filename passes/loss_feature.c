/* loss_feature -- features and numbers compared element by element; s, t: student, teacher
 * or target, layer by layer (several: the sum of their means), after the term's adaptor;
 * n2(x) = x / |x|_2 of the flattened sample; T: temperature.
 *
 *   mse           (s/T - t/T)^2
 *   smooth_l1     |d| < beta: d^2 / (2 beta), else |d| - beta/2;  d = s - t
 *   cosine        1 - <n2(s), n2(t)>
 *   hint          (s - t)^2                              Romero et al. 2015 (FitNet)
 *   at            (q(s) - q(t))^2, q = n2(mean over channels of |x|^p)
 *                 paper: |q(s) - q(t)|_2 of a sample     Zagoruyko, Komodakis 2017
 *   kd_mtl        |n2(s) - n2(t)|^2 of a sample          Li, Bilen 2020
 *   feature_norm  |s|_p of a sample, or of the batch (whole); with a teacher (|s|_p - |t|_p)^2
 *   gram          (G(s) - G(t))^2, G = H1' H2 / positions of consecutive layers (channels)
 *                 or H1 H2' / channels (positions)       TextBrewer's gram and mmd
 *   consistency   (softmax(s/T) - softmax(t/T))^2, or T^2 KL(t / s); Tarvainen, Valpola 2017
 *   vib           (mu^2 + e^v - v - 1)/2 summed over a sample; students mu and v = log sigma^2,
 *                 or one with both, half of the channels each   Alemi et al. 2017 */
#include "passes/loss_module.h"

#include <math.h>

/* The sum of the layers' means: one layer as rows, which the caller masks. */
static bool
sum_layers(const struct loss_in *in, int n, struct value **row, struct loss *out)
{
	out->row = n == 1 ? row[0] : NULL;
	for (int i = 0; i < n && n > 1; i++) {
		struct value *mean = loss_mean(in, row[i]);

		out->total = i ? b_add(in->b, out->total, mean) : mean;
	}
	return out->row || out->total;
}

typedef struct value *formula(const struct loss_in *, struct value *s, struct value *t);

static bool
each_pair(const struct loss_in *in, formula *f, struct loss *out)
{
	struct loss_pair *p;
	struct value **row;
	int n;

	if (!adapt_pairs(in, &n, &p))
		return false;
	row = arena_array(in->b->g->arena, struct value *, n);
	for (int i = 0; i < n; i++)
		row[i] = f(in, p[i].s, p[i].t);
	return sum_layers(in, n, row, out);
}

/* With the target, or with teachers: of equal shapes unless the term has an adaptor. */
static bool
teacher_or_target(const struct loss_in *in, formula *f, struct loss *out)
{
	struct value *t;

	if (in->nteachers == 0) {
		t = loss_float_target(in);
		out->row = t ? f(in, in->student, t) : NULL;
		return out->row != NULL;
	}
	if (in->term->adaptor.kind == ADAPTOR_UNSAID && in->nstudents < 2 && !loss_same_shapes(in))
		return false;
	return each_pair(in, f, out);
}

static struct value *
squared(const struct loss_in *in, struct value *s, struct value *t)
{
	return b_square(in->b, b_sub(in->b, s, t));
}

bool
loss_hint(const struct loss_in *in, struct loss *out)
{
	return each_pair(in, squared, out);
}

/* ---- mse */
static struct value *
softened_square(const struct loss_in *in, struct value *s, struct value *t)
{
	struct value *tau = loss_dial(in, "temperature"), *row = squared(in, s, t);
	double v;

	if (loss_is_fixed(in, "temperature", &v))
		return v == 1 ? row : b_muls(in->b, row, 1 / (v * v));
	return b_div(in->b, row, b_square(in->b, tau));
}

bool
loss_mse(const struct loss_in *in, struct loss *out)
{
	return teacher_or_target(in, softened_square, out);
}

/* ---- smooth_l1 */
static struct value *
huber(const struct loss_in *in, struct value *s, struct value *t)
{
	struct build *b = in->b;
	struct value *d = b_sub(b, s, t), *a = d ? b1(b, OP_abs, d) : NULL;
	double beta = loss_number(in, "beta");

	if (!a)
		return NULL;
	return b_select(b, b2(b, OP_lt, a, b_scalar(b, DT_f32, beta)),
	    b_muls(b, b_square(b, d), 0.5 / beta), b_adds(b, a, -0.5 * beta));
}

bool
loss_smooth_l1(const struct loss_in *in, struct loss *out)
{
	return teacher_or_target(in, huber, out);
}

/* ---- cosine */
static struct value *
angle(const struct loss_in *in, struct value *s, struct value *t)
{
	struct build *b = in->b;
	struct value *st, *ss, *tt, *norm;

	s = b_rows_flat(b, s);
	t = b_rows_flat(b, t);
	st = b_sum_classes(b, b_mul(b, s, t));
	ss = b_sum_classes(b, b_mul(b, s, s));
	tt = b_sum_classes(b, b_mul(b, t, t));
	norm = b_sqrt(b, b_max(b, b_mul(b, ss, tt), b_scalar(b, DT_f32, 1e-24)));
	return b_sub(b, b_scalar(b, DT_f32, 1), b_div(b, st, norm));
}

bool
loss_cosine(const struct loss_in *in, struct loss *out)
{
	return teacher_or_target(in, angle, out);
}

/* ---- attention transfer */
static struct value *
attention_of(struct build *b, struct value *x, double p)
{
	x = b_mean(b, b_power(b, x, p), 1, (const int64_t[]){1}, false);
	return x ? b_unit(b, b_rows_flat(b, x)) : NULL;
}

bool
loss_at(const struct loss_in *in, struct loss *out)
{
	struct build *b = in->b;
	struct arena *a = b->g->arena;
	double p = loss_number(in, "p");
	struct loss_pair *pair;
	struct value **row;
	int n;

	if (!loss_pairs(in, &n, &pair))
		return false;
	row = arena_array(a, struct value *, n);
	for (int i = 0; i < n; i++) {
		struct value *s = pair[i].s, *t = pair[i].t, *d;

		if (s->rank < 3 || s->rank != t->rank)
			return diag_invalid(b->diag, in->term->loc,
			    "%s is %s, %s is %s: loss at compares maps [N,C,H,W] position by "
			    "position",
			    pair[i].s_name, dims_text(a, s), pair[i].t_name, dims_text(a, t));
		if (!b_same_sizes(b, &s, &t))
			return false;
		d = b_sub(b, attention_of(b, s, p), attention_of(b, t, p));
		row[i] = loss_choice(in, "mode") ? b_norm(b, d) : b_square(b, d);
	}
	return sum_layers(in, n, row, out);
}

/* ---- kd_mtl */
static struct value *
unit_distance(const struct loss_in *in, struct value *s, struct value *t)
{
	struct build *b = in->b;
	struct value *d = b_sub(b, b_unit(b, b_rows_flat(b, s)), b_unit(b, b_rows_flat(b, t)));

	return b_sum_classes(b, b_square(b, d));
}

bool
loss_kd_mtl(const struct loss_in *in, struct loss *out)
{
	return each_pair(in, unit_distance, out);
}

/* ---- feature_norm */
static struct value *
p_norm(const struct loss_in *in, struct value *x, bool whole)
{
	struct build *b = in->b;
	double p = loss_number(in, "p");

	x = b_rows_flat(b, x);
	if (x && whole && in->valid)
		x = b_mul(b, x, b_reshape(b, in->valid, 2, (const int64_t[]){x->dims[0], 1}));
	if (x && whole)
		x = b_reshape(b, x, 2, (const int64_t[]){1, dims_count(2, x->dims)});
	if (p == 2)
		return b_norm(b, x);
	x = b_sum_classes(b, b_power(b, x, p));
	if (!x || p == 1)
		return x;
	return b2(b, OP_pow, b_max(b, b_scalar(b, DT_f32, 1e-24), x), b_scalar(b, DT_f32, 1 / p));
}

bool
loss_feature_norm(const struct loss_in *in, struct loss *out)
{
	struct build *b = in->b;
	bool whole = loss_choice(in, "mode") == 1;
	struct value *v = p_norm(in, in->student, whole), *t;

	if (in->nteachers) {
		t = loss_mean_teacher(in);
		v = t ? b_square(b, b_sub(b, v, p_norm(in, t, whole))) : NULL;
	}
	if (whole)
		out->total = v ? b_reshape(b, v, 0, NULL) : NULL;
	else
		out->row = v;
	return v != NULL;
}

/* ---- gram */
static struct value *
gram_of(const struct loss_in *in, struct value *x, struct value *y)
{
	struct build *b = in->b;
	bool positions = loss_choice(in, "of") == 1, map;
	int64_t dims[2][3], count;

	if (!x || !y || !b_same_sizes(b, &x, &y))
		return NULL;
	map = x->rank > 3;
	for (int i = 0; map && i < 2; i++) {
		struct value **v = i ? &y : &x;

		dims[i][0] = (*v)->dims[0];
		dims[i][1] = (*v)->dims[1];
		dims[i][2] = dims_count((*v)->rank - 2, (*v)->dims + 2);
		*v = b_reshape(b, *v, 3, dims[i]);
	}
	if (!x || !y)
		return NULL;
	count = x->dims[map == positions ? 1 : 2];
	return b_muls(b,
	    b_contract(b,
		positions ? (map ? "ncl,ncm->nlm" : "nlc,nmc->nlm")
			  : (map ? "ncl,ndl->ncd" : "nlc,nld->ncd"),
		x, y),
	    1 / (double)count);
}

bool
loss_gram(const struct loss_in *in, struct loss *out)
{
	struct arena *a = in->b->g->arena;
	struct loss_pair *p;
	struct value **row;
	int n, grams;

	if (!adapt_pairs(in, &n, &p))
		return false;
	for (int i = 0; i < n; i++)
		if (p[i].s->rank < 3 || p[i].s->rank != p[0].s->rank)
			return diag_invalid(in->b->diag, in->term->loc,
			    "%s is %s: loss gram is about states [N,T,C] or maps [N,C,H,W], all of "
			    "one kind",
			    p[i].s_name, dims_text(a, p[i].s));
	grams = n > 1 ? n - 1 : 1;
	row = arena_array(a, struct value *, grams);
	for (int i = 0; i < grams; i++) {
		int k = n > 1 ? i + 1 : i;

		row[i] = squared(in, gram_of(in, p[i].s, p[k].s), gram_of(in, p[i].t, p[k].t));
	}
	return sum_layers(in, grams, row, out);
}

/* ---- consistency */
static struct value *
divided(const struct loss_in *in, struct value *z)
{
	double v;

	if (loss_is_fixed(in, "temperature", &v))
		return v == 1 ? z : b_muls(in->b, z, 1 / v);
	return b_div(in->b, z, loss_dial(in, "temperature"));
}

bool
loss_consistency(const struct loss_in *in, struct loss *out)
{
	struct build *b = in->b;
	struct value *t = loss_mean_teacher(in), *s = in->student, *ls, *lt, *tau;

	if (!t || !loss_same_shapes(in))
		return false;
	if (s->rank < 2)
		return diag_invalid(b->diag, in->term->loc, "%s is %s: it has no class axis",
		    in->student_name, dims_text(b->g->arena, s));
	s = divided(in, s);
	t = divided(in, t);
	if (loss_choice(in, "mode") == 0) {
		out->row = squared(in, b_softmax(b, s, CLASS_AXIS), b_softmax(b, t, CLASS_AXIS));
		return out->row != NULL;
	}
	ls = b_log_softmax(b, s, CLASS_AXIS);
	lt = b_log_softmax(b, t, CLASS_AXIS);
	out->row = b_sum_classes(b, b_mul(b, b_exp(b, lt), b_sub(b, lt, ls)));
	tau = loss_dial(in, "temperature");
	if (in->term->tau_squared)
		out->row = b_mul(b, out->row, b_square(b, tau));
	return out->row != NULL;
}

/* ---- vib */
bool
loss_vib(const struct loss_in *in, struct loss *out)
{
	struct build *b = in->b;
	struct value *mu = b_rows_flat(b, in->student), *v;

	if (!mu)
		return false;
	if (in->nstudents > 2 || (in->nstudents < 2 && mu->dims[1] % 2))
		return diag_invalid(b->diag, in->term->loc,
		    "loss vib takes two tensors, mu and log sigma^2, or one with both in its "
		    "halves; "
		    "there are %d, the first is %s",
		    in->nstudents, dims_text(b->g->arena, in->student));
	if (in->nstudents == 2) {
		v = b_rows_flat(b, in->students[1]);
	} else {
		int64_t start[2] = {0, 0}, count[2] = {mu->dims[0], mu->dims[1] / 2},
			step[2] = {1, 1};

		v = mu;
		mu = b_slice(b, v, start, count, step);
		start[1] = count[1];
		v = b_slice(b, v, start, count, step);
	}
	if (!mu || !v)
		return false;
	if (mu->dims[1] != v->dims[1])
		return diag_invalid(b->diag, in->term->loc,
		    "%s is %s, %s is %s: mu and log sigma^2 need equal shapes",
		    in->student_names[0], dims_text(b->g->arena, in->students[0]),
		    in->student_names[1], dims_text(b->g->arena, in->students[1]));
	v = b_sub(b, b_adds(b, b_add(b, b_square(b, mu), b_exp(b, v)), -1), v);
	out->row = b_muls(b, b_sum_classes(b, v), 0.5);
	return out->row != NULL;
}
