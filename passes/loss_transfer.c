/* loss_transfer -- features compared through modules of the term; s, t: student, teacher,
 * layer k of K; N rows, C channels; sums over layers.
 *
 *   vid   ((mu - t)^2 / v + log v)/2, mean; mu: three 1x1 convolutions of s with ReLU
 *         between, v = log(1 + e^a) + eps of each channel, trained     Ahn et al. 2019
 *   ab    2^(k-K+1) 3/1000 / N  sum (s+m)^2 [s > -m, t <= 0] + (s-m)^2 [s <= m, t > 0];
 *         s through a convolution by shape and batch norm; plain: 1/N  Heo et al. 2019
 *   ofd   2^(k-K+1) / N  sum (s-m)^2 [s > m, t <= m] + (s-t)^2 [s > t, m < t <= 0]
 *         + (s-t)^2 [t > 0];  s through a 1x1 convolution and batch norm;
 *         m = mu - d phi(mu/d)/Phi(-mu/d), -3 d where Phi <= 0.001: the mean of what is below
 *         0 of a channel with mean mu and deviation d                  Heo et al. 2019
 *   ft    |q(F(s)) - q(P(t))|, mean; F: three 3x3 convolutions, batch norm, LeakyReLU 0.1;
 *         P: the paraphraser's first half; q = n2(mean over channels of x^2), paper: n2(x)
 *   ft_paraphrase  (R(P(t)) - t)^2: what trains the paraphraser        Kim et al. 2018
 *   pad   (t - s)^2 / (1e-6 + e^v) + v, v: batch norm of a 1x1 convolution of s   Zhang et al. 2020
 *   mgd   sum (G(mask s) - t)^2 / N; G: 3x3 convolutions with ReLU between; mask: positions
 *         that are left, each with the chance 1 - lambda               Yang et al. 2022 */
#include "passes/distill_int.h"
#include "passes/loss_module.h"

#include <math.h>

static const char *
layer_name(const struct loss_in *in, int n, int i, const char *part)
{
	if (n == 1)
		return part;
	return arena_printf(in->b->g->arena, "%d%s%s", i, part[0] ? "." : "", part);
}

/* sum over layers of weight * mean over the rows of row[N] or over all elements */
static bool
add_layer(const struct loss_in *in, struct loss *out, struct value *row, double weight)
{
	struct value *mean = loss_mean(in, row);

	if (weight != 1)
		mean = b_muls(in->b, mean, weight);
	out->total = out->total ? b_add(in->b, out->total, mean) : mean;
	return out->total != NULL;
}

static bool
are_maps(const struct loss_in *in, const struct loss_pair *p)
{
	struct arena *a = in->b->g->arena;

	if (p->s->rank >= 2 && p->s->rank == p->t->rank)
		return true;
	return diag_invalid(in->b->diag, in->term->loc,
	    "%s is %s, %s is %s: loss %s compares tensors of equal rank, [N,C] or [N,C,d..]",
	    p->s_name, dims_text(a, p->s), p->t_name, dims_text(a, p->t), in->term->loss);
}

static struct value *
sum_of_rows(struct build *b, struct value *v)
{
	v = b_rows_flat(b, v);
	return v ? b_reduce(b, OP_reduce_sum, v, 1, (const int64_t[]){1}, false) : NULL;
}

static struct value *
constant(struct build *b, int64_t n, const double *v, double fill)
{
	struct tensor *t = tensor_new(b->g->arena, DT_f32, 1, &n);

	for (int64_t i = 0; i < n; i++)
		dtype_put_f(DT_f32, t->data, i, v ? v[i] : fill);
	return graph_const(b->g, NULL, t);
}

/* [C] as [1,C,1..] */
static struct value *
channels(struct build *b, struct value *v, int rank)
{
	int64_t dims[MAX_RANK];

	if (!v)
		return NULL;
	for (int i = 0; i < rank; i++)
		dims[i] = i == 1 ? v->dims[0] : 1;
	return b_reshape(b, v, rank, dims);
}

/* ---- vid */
static struct value *
regressed(const struct loss_in *in, struct value *s, int64_t ct, int n, int i)
{
	struct conv_form f = conv_form(ct, 1, 1, false);

	s = b_relu(in->b, module_conv(in, layer_name(in, n, i, "a"), s, &f));
	s = b_relu(in->b, module_conv(in, layer_name(in, n, i, "b"), s, &f));
	return module_conv(in, layer_name(in, n, i, "c"), s, &f);
}

bool
loss_vid(const struct loss_in *in, struct loss *out)
{
	struct build *b = in->b;
	double eps = loss_number(in, "eps"), init = loss_number(in, "init_var");
	struct loss_pair *p;
	int n;

	if (!loss_pairs(in, &n, &p))
		return false;
	for (int i = 0; i < n; i++) {
		struct value *mu, *v, *row;
		struct tensor *a;
		int64_t ct;

		if (!are_maps(in, &p[i]) || !b_same_sizes(b, &p[i].s, &p[i].t))
			return false;
		ct = p[i].t->dims[1];
		a = tensor_new(b->g->arena, DT_f32, 1, &ct);
		for (int64_t c = 0; c < ct; c++)
			dtype_put_f(DT_f32, a->data, c, init - eps + log(-expm1(eps - init)));
		mu = regressed(in, p[i].s, ct, n, i);
		v = b_softplus(b, loss_trained(in, layer_name(in, n, i, "log_scale"), a));
		v = channels(b, b_adds(b, v, eps), p[i].t->rank);
		row = b_div(b, b_square(b, b_sub(b, mu, p[i].t)), v);
		row = b_muls(b, b_add(b, row, b_log(b, v)), 0.5);
		if (!add_layer(in, out, row, 1))
			return false;
	}
	return true;
}

/* ---- ab */
static struct value *
where(struct build *b, struct value *yes, struct value *also, struct value *v)
{
	return b_select(b, b2(b, OP_and, yes, also), v, b_scalar(b, DT_f32, 0));
}

static struct value *
greater(struct build *b, struct value *x, struct value *y)
{
	return b2(b, OP_lt, y, x);
}

static struct value *
not_greater(struct build *b, struct value *x, struct value *y)
{
	return b2(b, OP_le, x, y);
}

bool
loss_ab(const struct loss_in *in, struct loss *out)
{
	struct build *b = in->b;
	struct loss_in own = *in;
	struct distill_term term = *in->term;
	double m = loss_number(in, "margin");
	bool plain = loss_choice(in, "mode") == 1;
	struct value *zero = b_scalar(b, DT_f32, 0), *hi = b_scalar(b, DT_f32, m),
		     *lo = b_scalar(b, DT_f32, -m);
	struct loss_pair *p;
	int n;

	/* RepDistiller's connector: ConvReg without ReLU, nothing where the shapes are equal */
	own.term = &term;
	if (!loss_pairs(in, &n, &p))
		return false;
	for (int i = 0; i < n; i++) {
		struct value *s, *t, *row;

		term.adaptor = in->term->adaptor;
		if (term.adaptor.kind == ADAPTOR_UNSAID &&
		    !dims_equal(p[i].s->rank, p[i].s->dims, p[i].t->rank, p[i].t->dims))
			term.adaptor.kind = ADAPTOR_CONNECTOR;
		if (!adapt_pair(&own, layer_name(in, n, i, ""), &p[i]))
			return false;
		s = p[i].s;
		t = p[i].t;
		row = where(
		    b, greater(b, s, lo), not_greater(b, t, zero), b_square(b, b_adds(b, s, m)));
		row = b_add(b, row,
		    where(b, not_greater(b, s, hi), greater(b, t, zero),
			b_square(b, b_adds(b, s, -m))));
		if (!add_layer(in, out, sum_of_rows(b, row), plain ? 1 : ldexp(0.003, i - n + 1)))
			return false;
	}
	return true;
}

/* ---- ofd */

/* The mean of what is below 0 of N(mu, d^2). */
static double
mean_below_zero(double mu, double d)
{
	double z = d > 0 ? mu / d : mu > 0 ? INFINITY : -INFINITY, below = 0.5 * erfc(z / sqrt(2));

	if (below <= 0.001)
		return -3 * d;
	return d > 0 ? mu - d * exp(-0.5 * z * z) / sqrt(2 * acos(-1)) / below : mu;
}

/* Of the teacher's last batch normalisation: mean its shift, deviation its |scale|. */
static struct value *
margin_of_norm(const struct loss_in *in, const struct value *origin)
{
	const struct node *n = origin && origin->kind == VAL_NODE ? origin->def : NULL;
	const struct tensor *scale, *shift;
	double *m;
	int64_t c;

	if (!n || n->op != OP_BatchNormalization || n->in[1]->kind != VAL_CONST ||
	    n->in[2]->kind != VAL_CONST)
		return NULL;
	scale = n->in[1]->data;
	shift = n->in[2]->data;
	c = scale->dims[0];
	m = arena_array(in->b->g->arena, double, c);
	for (int64_t i = 0; i < c; i++)
		m[i] = mean_below_zero(dtype_get_f(shift->dtype, shift->data, i),
		    fabs(dtype_get_f(scale->dtype, scale->data, i)));
	return constant(in->b, c, m, 0);
}

/* Phi(-z) = (1 - erf(z/sqrt 2))/2 of the batch's own mean and deviation */
static struct value *
margin_of_batch(const struct loss_in *in, struct value *t)
{
	struct build *b = in->b;
	int64_t axes[MAX_RANK], dims[MAX_RANK], n = 0;
	struct value *mu, *d, *z, *below, *m, *w = NULL, *count;

	for (int i = 0; i < t->rank; i++) {
		dims[i] = i == 0 ? t->dims[0] : 1;
		if (i != 1)
			axes[n++] = i;
	}
	count = b_muls(
	    b, loss_rows(in), (double)(dims_count(t->rank, t->dims) / t->dims[0] / t->dims[1]));
	count = b_max(b, count, b_scalar(b, DT_f32, 1));
	if (in->valid)
		w = b_reshape(b, in->valid, t->rank, dims);
	mu =
	    b_div(b, b_reduce(b, OP_reduce_sum, w ? b_mul(b, t, w) : t, (int)n, axes, true), count);
	d = b_square(b, b_sub(b, t, mu));
	d = b_div(b, b_reduce(b, OP_reduce_sum, w ? b_mul(b, d, w) : d, (int)n, axes, true), count);
	d = b_sqrt(b, b_max(b, b_scalar(b, DT_f32, 1e-24), d));
	z = b_div(b, mu, d);
	below = b_adds(b, b_muls(b, b1(b, OP_erf, b_muls(b, z, sqrt(0.5))), -0.5), 0.5);
	m = b_muls(b, b_exp(b, b_muls(b, b_square(b, z), -0.5)), 1 / sqrt(2 * acos(-1)));
	m = b_div(b, m, b_max(b, b_scalar(b, DT_f32, 0.001), below));
	m = b_sub(b, mu, b_mul(b, d, m));
	return b_select(b, b2(b, OP_le, below, b_scalar(b, DT_f32, 0.001)), b_muls(b, d, -3), m);
}

bool
loss_ofd(const struct loss_in *in, struct loss *out)
{
	struct build *b = in->b;
	struct value *zero = b_scalar(b, DT_f32, 0);
	int how = loss_choice(in, "margin"), n;
	struct loss_pair *p;

	if (!loss_pairs(in, &n, &p))
		return false;
	for (int i = 0; i < n; i++) {
		struct conv_form f;
		struct value *s, *t, *m = NULL, *row, *st;

		if (!are_maps(in, &p[i]) || !b_same_sizes(b, &p[i].s, &p[i].t))
			return false;
		t = p[i].t;
		f = conv_form(t->dims[1], 1, 1, false);
		f.bound = sqrt(6 / (double)t->dims[1]); /* variance 2/channels, as the authors' */
		s = module_norm(in, layer_name(in, n, i, "bn"),
		    module_conv(in, layer_name(in, n, i, ""), p[i].s, &f));
		if (how != 2 && in->teacher_origins && in->nteachers == n)
			m = channels(b, margin_of_norm(in, in->teacher_origins[i]), t->rank);
		if (how == 1 && !m)
			return diag_invalid(b->diag, in->term->loc,
			    "%s is no output of a BatchNormalization: margin: statistics takes it "
			    "from the batch",
			    p[i].t_name);
		if (!m)
			m = margin_of_batch(in, t);
		if (!s || !m)
			return false;
		st = b_square(b, b_sub(b, s, t));
		row = where(b, greater(b, s, m), not_greater(b, t, m), b_square(b, b_sub(b, s, m)));
		row = b_add(b, row,
		    where(b, greater(b, s, t),
			b2(b, OP_and, greater(b, t, m), not_greater(b, t, zero)), st));
		row = b_add(b, row, b_select(b, greater(b, t, zero), st, zero));
		if (!add_layer(in, out, sum_of_rows(b, row), ldexp(1, i - n + 1)))
			return false;
	}
	return true;
}

/* ---- ft */
static struct value *
factors(const struct loss_in *in, const char *what, struct value *x, int64_t c, bool norm)
{
	struct arena *a = in->b->g->arena;
	int64_t first = x ? x->dims[1] : 0;

	for (int i = 0; x && i < 3; i++) {
		struct conv_form f = conv_form(i ? c : first, 3, 1, !norm);

		x = module_conv(in, arena_printf(a, "%s.%d", what, i), x, &f);
		if (norm)
			x = module_norm(in, arena_printf(a, "%s.bn%d", what, i), x);
		x = b_leaky_relu(in->b, x, 0.1);
	}
	return x;
}

static int64_t
factor_channels(const struct loss_in *in, const struct value *t)
{
	int64_t c = (int64_t)((double)t->dims[1] * loss_number(in, "ratio"));

	return c > 0 ? c : 1;
}

static bool
is_map(const struct loss_in *in, const struct value *v, int n, const char *name)
{
	if (n == 1 && v->rank >= 3)
		return true;
	return diag_invalid(in->b->diag, in->term->loc,
	    "%s is %s, one of %d: loss %s is about one map [N,C,H,W] of a model", name,
	    dims_text(in->b->g->arena, v), n, in->term->loss);
}

static bool
one_map(const struct loss_in *in)
{
	if (in->nteachers)
		return is_map(in, in->teachers[0], in->nteachers, in->teacher_names[0]);
	return diag_invalid(in->b->diag, in->term->loc,
	    "loss %s needs a teacher: teacher: NAME.TAP", in->term->loss);
}

bool
loss_ft_paraphrase(const struct loss_in *in, struct loss *out)
{
	struct build *b = in->b;
	struct value *t, *x;
	int64_t c;

	if (!one_map(in))
		return false;
	t = in->teachers[0];
	c = factor_channels(in, t);
	x = factors(in, "paraphraser", t, c, false);
	for (int i = 0; x && i < 3; i++) {
		struct conv_form f = conv_form(i ? t->dims[1] : c, 3, 1, true);

		f.transposed = true;
		x = module_conv(in, arena_printf(b->g->arena, "restorer.%d", i), x, &f);
		x = b_leaky_relu(b, x, 0.1);
	}
	out->row = x ? b_square(b, b_sub(b, x, t)) : NULL;
	return out->row != NULL;
}

static struct value *
factor_row(const struct loss_in *in, struct value *x)
{
	if (loss_choice(in, "mode") == 0)
		x = b_mean(in->b, b_square(in->b, x), 1, (const int64_t[]){1}, false);
	return x ? b_unit(in->b, b_rows_flat(in->b, x)) : NULL;
}

bool
loss_ft(const struct loss_in *in, struct loss *out)
{
	struct build *b = in->b;
	struct loss_in still = *in;
	struct value *s, *t;
	int64_t c;

	still.untrained = true; /* the paraphraser: a stage with ft_paraphrase has trained it */
	if (!one_map(in) || !is_map(in, in->student, in->nstudents, in->student_name))
		return false;
	c = factor_channels(in, in->teachers[0]);
	t = b_stop_gradient(b, factors(&still, "paraphraser", in->teachers[0], c, false));
	s = factors(in, "translator", in->student, c, true);
	if (!s || !t || !b_same_sizes(b, &s, &t))
		return false;
	s = b_sub(b, factor_row(in, s), factor_row(in, t));
	out->row = s ? b1(b, OP_abs, s) : NULL;
	return out->row != NULL;
}

/* ---- pad */
bool
loss_pad(const struct loss_in *in, struct loss *out)
{
	struct build *b = in->b;
	struct loss_pair *p;
	int n;

	if (!adapt_pairs(in, &n, &p))
		return false;
	for (int i = 0; i < n; i++) {
		struct conv_form f;
		struct value *v, *row;

		if (!are_maps(in, &p[i]))
			return false;
		f = conv_form(p[i].t->dims[1], 1, 1, false);
		v = module_norm(in, layer_name(in, n, i, "variance.bn"),
		    module_conv(in, layer_name(in, n, i, "variance"), p[i].s, &f));
		row = v ? b_adds(b, b_exp(b, v), loss_number(in, "eps")) : NULL;
		row = b_div(b, b_square(b, b_sub(b, p[i].t, p[i].s)), row);
		if (!row || !add_layer(in, out, b_add(b, row, v), 1))
			return false;
	}
	return true;
}

/* ---- mgd */
bool
loss_mgd(const struct loss_in *in, struct loss *out)
{
	struct build *b = in->b;
	double lambda = loss_number(in, "lambda");
	struct loss_pair *p;
	int n;

	if (!adapt_pairs(in, &n, &p))
		return false;
	for (int i = 0; i < n; i++) {
		struct value *s = p[i].s, *keep;
		int64_t dims[MAX_RANK];
		struct conv_form f;

		if (!are_maps(in, &p[i]))
			return false;
		f = conv_form(p[i].t->dims[1], 3, 1, true);
		for (int k = 0; k < s->rank; k++)
			dims[k] = k == 1 ? 1 : s->dims[k];
		keep = loss_uniform(in, layer_name(in, n, i, "mask"), s->rank, dims);
		if (!keep)
			return false;
		keep = b2(b, OP_le, b_scalar(b, DT_f32, lambda), keep);
		s = b_select(b, keep, s, b_scalar(b, DT_f32, 0));
		s = b_relu(b, module_conv(in, layer_name(in, n, i, "generate.0"), s, &f));
		s = module_conv(in, layer_name(in, n, i, "generate.1"), s, &f);
		if (!s || !add_layer(in, out, sum_of_rows(b, b_square(b, b_sub(b, s, p[i].t))), 1))
			return false;
	}
	return true;
}
