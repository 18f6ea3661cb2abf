/* distill_teacher -- what becomes of logits before a soft-label loss compares them.  Of each
 * teacher, in this order, where the term asks for it:
 *
 *   class_map          distill_classes.c; classes of the student that no teacher has are left
 *                      out of its softmax too
 *   noise s, noise_p   z <- (1 + n) z, n ~ N(0, s^2) an element, for a row with chance noise_p
 *                      (Sau and Balasubramanian 2016); training only
 *   probability_shift  the largest logit and the label's change places (KA-PS, Wen et al. 2019)
 *   standardize        z <- (z - mean) / (std + 1e-7), unbiased (Sun et al. 2024); the student's
 *                      too
 *   temperature        u = z / T
 *
 * then all of them by fusion, p = sum_k a_k softmax(u_k), or with fuse: logits softmax of
 * sum_k a_k u_k:
 *
 *   mean               a_k = 1/K
 *   teacher_weights    a_k = w_k / sum w
 *   confidence         a = softmax_k(sharpness max_c p_k),   p_k = softmax(z_k)
 *   entropy            a = softmax_k(-sharpness H(p_k))
 *   label              a_k = (1 - softmax_k(CE_k)) / (K - 1) (CA-MKD, Zhang et al. 2022)
 *   learned            a = softmax(w), w trained with the student from zeros
 *
 * and last annealing l: p <- l onehot(label) + (1 - l) p (BAM, Clark et al. 2019).
 *
 * dynamic_temperature, of both sides, w without gradient, w~ its mean over the rows that count
 * (Wen et al. 2019 as TextBrewer has it), not below 0.1:
 *   flsw  T + tau_beta (w~ - w), w = (1 - cos(zs, zt))^tau_gamma
 *   cwsm  T + tau_beta (w~ - w), w = 1 / (max softmax(zs) + 1e-3) */
#include "passes/loss_soft.h"

#include <math.h>
#include <string.h>

enum { DYNAMIC_NONE, DYNAMIC_FLSW, DYNAMIC_CWSM };
enum { FUSE_CLASSES, FUSE_LOGITS };
enum { FUSION_MEAN, FUSION_CONFIDENCE, FUSION_ENTROPY, FUSION_LABEL, FUSION_LEARNED };

/* What the steps share. */
struct steps {
	const struct loss_in *in;
	struct soft *s;
	struct classes *c; /* by teacher */
};

struct value *
sum_kept(struct build *b, struct value *v)
{
	return b_reduce(b, OP_reduce_sum, v, 1, (const int64_t[]){CLASS_AXIS}, true);
}

static struct value *
max_kept(struct build *b, struct value *v)
{
	return b_reduce(b, OP_reduce_max, v, 1, (const int64_t[]){CLASS_AXIS}, true);
}

struct value *
soft_log(struct build *b, struct value *p)
{
	return b_log(b, b_max(b, p, b_scalar(b, DT_f32, 1e-37)));
}

static bool
is_zero(const struct loss_in *in, const char *key)
{
	double v;

	return loss_is_fixed(in, key, &v) && v == 0;
}

/* ---- labels */

bool
soft_labels(const struct loss_in *in, struct soft *s)
{
	struct value *y;

	if (s->hot)
		return true;
	y = labels_of(in, &s->counted);
	s->hot = y ? one_hot(in->b, in->student, y) : NULL;
	if (s->counted)
		s->counted = b_unsqueeze(in->b, s->counted, CLASS_AXIS);
	return s->hot != NULL;
}

struct value *
soft_weight(const struct loss_in *in, const struct soft *s)
{
	return loss_flag(in, "masked") ? s->counted : NULL;
}

/* ---- one teacher */

static struct value *
noisy(const struct loss_in *in, int k, struct value *z)
{
	struct build *b = in->b;
	const char *what = arena_printf(b->g->arena, "noise%d", k);
	struct value *n, *hit;
	int64_t dims[MAX_RANK];

	if (in->eval || is_zero(in, "noise"))
		return z;
	for (int i = 0; i < z->rank; i++)
		dims[i] = i == 0 ? z->dims[0] : 1;
	n = b_mul(b, loss_normal(in, what, z->rank, z->dims), loss_dial(in, "noise"));
	hit = loss_uniform(in, arena_printf(b->g->arena, "%s.p", what), z->rank, dims);
	hit = b2(b, OP_lt, hit, loss_dial(in, "noise_p"));
	return b_select(b, hit, b_add(b, z, b_mul(b, z, n)), z);
}

static struct value *
shifted(const struct steps *x, struct value *z)
{
	struct build *b = x->in->b;
	const struct soft *s = x->s;
	struct attr at[2] = {{.name = "axis", .kind = ATTR_INT, .i = CLASS_AXIS},
	    {.name = "keep", .kind = ATTR_INT, .i = 1}};
	struct value *largest, *is_largest, *of_label, *out, *known;
	int64_t dims[MAX_RANK];

	for (int i = 0; i < z->rank; i++)
		dims[i] = i == CLASS_AXIS ? z->dims[i] : 1;
	largest = b_op(b, OP_argmax, 1, &z, 2, at);
	is_largest = b2(b, OP_eq, b_iota(b, DT_i64, z->rank, dims, CLASS_AXIS), largest);
	of_label = sum_kept(b, b_select(b, s->hot, z, b_scalar(b, DT_f32, 0)));
	out = b_select(b, s->hot, max_kept(b, z), b_select(b, is_largest, of_label, z));
	/* a label that is ignored, or a class that the teacher has not, changes nothing */
	known = b2(b, OP_lt, b_scalar(b, DT_f32, NO_CLASS / 2), of_label);
	if (s->counted)
		known = b2(b, OP_and, known, b2(b, OP_lt, b_scalar(b, DT_f32, 0), s->counted));
	return b_select(b, known, out, z);
}

/* (z - mean) / (std + 1e-7) over the classes that it has */
static struct value *
standardized(struct build *b, const struct classes *c, struct value *z)
{
	struct value *d, *var;

	d = b_sub(b, z, b_muls(b, sum_kept(b, classes_only(b, c, z, 0)), 1 / (double)c->n));
	var = sum_kept(b, classes_only(b, c, b_square(b, d), 0));
	var = b_muls(b, var, 1 / (double)(c->n > 1 ? c->n - 1 : 1));
	var = b_sqrt(b, b_max(b, var, b_scalar(b, DT_f32, 1e-24)));
	return classes_only(b, c, b_div(b, d, b_adds(b, var, 1e-7)), NO_CLASS);
}

/* Its logits before the temperature. */
static struct value *
prepared(const struct steps *x, int k)
{
	struct value *z = class_mapped(x->in, k, &x->c[k]);

	if (z)
		z = noisy(x->in, k, z);
	if (z && loss_flag(x->in, "probability_shift"))
		z = shifted(x, z);
	return z && loss_flag(x->in, "standardize") ? standardized(x->in->b, &x->c[k], z) : z;
}

/* ---- temperatures */

struct value *
tau_divide(struct build *b, struct value *z, struct tau t)
{
	if (t.v)
		return b_div(b, z, t.v);
	return t.number == 1 ? z : b_muls(b, z, 1 / t.number);
}

struct value *
tau_scale(const struct loss_in *in, struct value *v, struct tau s, struct tau t)
{
	if (!in->term->tau_squared)
		return v;
	for (int i = 0; i < 2; i++) {
		if ((i ? t : s).v)
			v = b_mul(in->b, v, (i ? t : s).v);
	}
	if (!s.v && !t.v)
		return s.number * t.number == 1 ? v : b_muls(in->b, v, s.number * t.number);
	if (!s.v || !t.v)
		return b_muls(in->b, v, s.v ? t.number : s.number);
	return v;
}

struct tau
tau_of(const struct loss_in *in, const char *key)
{
	struct tau t = {0};

	if (!loss_is_fixed(in, key, &t.number))
		t.v = loss_dial(in, key);
	return t;
}

struct tau
tau_of_teacher(const struct loss_in *in, struct tau of_student)
{
	struct tau t;

	if (is_zero(in, "teacher_temperature"))
		return of_student;
	t = tau_of(in, "teacher_temperature");
	if (t.v) /* a curve may come from 0 */
		t.v = b_max(in->b, t.v, b_scalar(in->b, DT_f32, 1e-6));
	return t;
}

static struct value *
norm(struct build *b, struct value *z)
{
	return b_sqrt(b, sum_kept(b, b_square(b, z)));
}

/* w of dynamic_temperature, [rows, 1, d..]; t: the teachers' logits */
static struct value *
hardness(const struct loss_in *in, int how, struct value *s, struct value *t)
{
	struct build *b = in->b;
	struct value *cos, *eps = b_scalar(b, DT_f32, 1e-4), *w;

	s = b_stop_gradient(b, s);
	if (how == DYNAMIC_CWSM) {
		w = b_adds(b, max_kept(b, b_softmax(b, s, CLASS_AXIS)), 1e-3);
		return b_div(b, b_scalar(b, DT_f32, 1), w);
	}
	cos = b_div(b, s, b_add(b, norm(b, s), eps));
	cos = sum_kept(b, b_mul(b, cos, b_div(b, t, b_add(b, norm(b, t), eps))));
	w = b_max(b, b_sub(b, b_scalar(b, DT_f32, 1), cos), b_scalar(b, DT_f32, 0));
	return b2(b, OP_pow, w, loss_dial(in, "tau_gamma"));
}

static void
temperatures(const struct loss_in *in, struct value *const *z, struct soft *s)
{
	struct build *b = in->b;
	int how = loss_choice(in, "dynamic_temperature");
	struct value *t = NULL, *w;

	s->ts = tau_of(in, "temperature");
	if (how != DYNAMIC_NONE) {
		for (int k = 0; k < in->nteachers && how == DYNAMIC_FLSW; k++)
			t = t ? b_add(b, t, z[k]) : z[k];
		w = hardness(in, how, in->student, t);
		w = b_mul(b, b_sub(b, loss_mean(in, w), w), loss_dial(in, "tau_beta"));
		w = b_add(b, w, loss_dial(in, "temperature"));
		s->ts = (struct tau){1, b_max(b, w, b_scalar(b, DT_f32, 0.1))};
	}
	s->tt = tau_of_teacher(in, s->ts);
}

/* ---- several teachers */

/* a_k of teacher k before they are brought to the sum 1 */
static struct value *
score(const struct steps *x, int how, int k, struct value *z)
{
	struct build *b = x->in->b;
	struct value *l = b_log_softmax(b, z, CLASS_AXIS), *v;

	if (how == FUSION_LABEL)
		return b_neg(b, sum_kept(b, b_select(b, x->s->hot, l, b_scalar(b, DT_f32, 0))));
	if (how == FUSION_CONFIDENCE)
		v = b_exp(b, max_kept(b, l));
	else
		v = sum_kept(b, classes_only(b, &x->c[k], b_mul(b, b_exp(b, l), l), 0));
	return b_mul(b, v, loss_dial(x->in, "sharpness"));
}

/* a[k]: rank 0 or [rows, 1, d..], their sum 1 */
static bool
shares(const struct steps *x, int how, struct value *const *z, struct value **a)
{
	const struct loss_in *in = x->in;
	struct build *b = in->b;
	int n = in->nteachers;
	int64_t dims[1] = {n}, one = 1;
	struct value *all;
	double sum = 0;

	if (how == FUSION_MEAN) {
		for (int k = 0; k < n; k++)
			sum += in->term->teacher_weights ? in->term->teacher_weights[k] : 1;
		for (int k = 0; k < n; k++)
			a[k] = b_scalar(b, DT_f32,
			    (in->term->teacher_weights ? in->term->teacher_weights[k] : 1) / sum);
		return true;
	}
	if (how == FUSION_LEARNED) {
		all = b_softmax(b, loss_parameter(in, "fusion", 1, dims, 0), 0);
		for (int64_t k = 0; k < n; k++)
			a[k] = all ? b_reshape(b, b_slice(b, all, &k, &one, &one), 0, NULL) : NULL;
		return a[n - 1] != NULL;
	}
	for (int k = 0; k < n; k++)
		a[k] = score(x, how, k, z[k]);
	all = b_softmax(b, b_concat(b, n, a, CLASS_AXIS), CLASS_AXIS);
	for (int64_t k = 0; k < n && all; k++) {
		int64_t start[MAX_RANK] = {0}, count[MAX_RANK], step[MAX_RANK];

		for (int i = 0; i < all->rank; i++) {
			count[i] = i == CLASS_AXIS ? 1 : all->dims[i];
			step[i] = 1;
		}
		start[CLASS_AXIS] = k;
		a[k] = b_slice(b, all, start, count, step);
		if (how == FUSION_LABEL)
			a[k] = b_muls(b, b_sub(b, b_scalar(b, DT_f32, 1), a[k]), 1.0 / (n - 1));
	}
	return all != NULL;
}

/* sum_k a_k softmax(z_k / t) */
static struct value *
mixture(const struct steps *x, struct value *const *z, struct value *const *a, struct tau t)
{
	struct build *b = x->in->b;
	struct value *p = NULL;

	for (int k = 0; k < x->in->nteachers; k++) {
		struct value *v = b_softmax(b, tau_divide(b, z[k], t), CLASS_AXIS);

		v = b_mul(b, v, a[k]);
		p = p ? b_add(b, p, v) : v;
	}
	return p;
}

/* sum_k a_k z_k; the teachers must have the same classes.  NULL: reported. */
static struct value *
mean_logits(const struct steps *x, struct value *const *z, struct value *const *a)
{
	const struct loss_in *in = x->in;
	struct build *b = in->b;
	struct value *sum = NULL;

	for (int k = 0; k < in->nteachers; k++) {
		struct value *v = b_mul(b, classes_only(b, &x->c[k], z[k], 0), a[k]);

		sum = sum ? b_add(b, sum, v) : v;
		if (x->c[k].n != x->s->c.n) {
			diag_invalid(b->diag, in->term->loc,
			    "%s has other classes than %s: their logits have no mean; use kd with "
			    "fuse: classes",
			    in->teacher_names[k], in->teacher_names[0]);
			return NULL;
		}
	}
	return classes_only(b, &x->s->c, sum, NO_CLASS);
}

static bool
fused(const struct steps *x, bool logits, struct value *const *z)
{
	const struct loss_in *in = x->in;
	struct build *b = in->b;
	struct soft *s = x->s;
	int n = in->nteachers;
	struct value **a = arena_array(b->g->arena, struct value *, n);

	if (n > 1 && !shares(x, loss_choice(in, "fusion"), z, a))
		return false;
	if (n > 1 && !logits) {
		s->p = mixture(x, z, a, s->tt);
		s->logp = soft_log(b, s->p);
		s->t = soft_log(b, mixture(x, z, a, (struct tau){.number = 1}));
		return s->t != NULL;
	}
	s->t = n == 1 ? z[0] : mean_logits(x, z, a);
	if (!s->t)
		return false;
	s->logp = b_log_softmax(b, tau_divide(b, s->t, s->tt), CLASS_AXIS);
	s->p = b_exp(b, s->logp);
	return s->p != NULL;
}

static void
annealed(const struct loss_in *in, struct soft *s)
{
	struct build *b = in->b;
	struct value *l = loss_dial(in, "annealing"), *hot = b_cast(b, s->hot, DT_f32);

	if (s->counted) /* an ignored label leaves the teachers' word as it is */
		l = b_mul(b, l, s->counted);
	s->p = b_add(b, s->p, b_mul(b, l, b_sub(b, hot, s->p)));
	s->logp = soft_log(b, s->p);
}

bool
has_classes(const struct loss_in *in)
{
	return in->student->rank >= 2 ||
	       diag_invalid(in->b->diag, in->term->loc, "%s is %s: it has no class axis",
		   in->student_name, dims_text(in->b->g->arena, in->student));
}

bool
soft_logits(const struct loss_in *in, unsigned how, struct soft *s)
{
	struct arena *a = in->b->g->arena;
	struct steps x = {.in = in, .s = s, .c = arena_array(a, struct classes, in->nteachers + 1)};
	struct value **z = arena_array(a, struct value *, in->nteachers + 1);
	bool anneals = !is_zero(in, "annealing"), labels = how & SOFT_LABELS;

	*s = (struct soft){0};
	if (!has_classes(in))
		return false;
	if (in->nteachers == 0)
		return diag_invalid(in->b->diag, in->term->loc,
		    "loss %s needs a teacher: teacher: NAME.OUTPUT", in->term->loss);
	labels |= anneals || loss_flag(in, "probability_shift") || loss_flag(in, "masked") ||
		  loss_choice(in, "fusion") == FUSION_LABEL;
	if (labels && !soft_labels(in, s))
		return false;
	for (int k = 0; k < in->nteachers; k++) {
		if (!(z[k] = prepared(&x, k)))
			return false;
		s->merged |= x.c[k].merged;
	}
	s->c = classes_of_all(in);
	if (s->c.n < 2)
		return diag_invalid(in->b->diag, in->term->loc,
		    "%s has one class to compare, whose softmax is always 1; of yes and no use bce",
		    in->student_name);
	temperatures(in, z, s);
	s->z = classes_only(in->b, &s->c, in->student, NO_CLASS);
	if (loss_flag(in, "standardize"))
		s->z = standardized(in->b, &s->c, s->z);
	s->z = tau_divide(in->b, s->z, s->ts);
	s->ls = b_log_softmax(in->b, s->z, CLASS_AXIS);
	if (!s->ls ||
	    !fused(&x, how & SOFT_MEAN_LOGITS || loss_choice(in, "fuse") == FUSE_LOGITS, z))
		return false;
	if (anneals)
		annealed(in, s);
	return s->logp != NULL;
}
