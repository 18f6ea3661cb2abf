/* loss_gram -- how the channels of a feature relate, and what they attend to.  F: [rows, C, P],
 * channels and positions of a map [rows, C, d..] or of tokens [rows, P, C]; n: rows that count:
 *
 *   nst   channels of length 1, k(a, b) = <a, b>^2:
 *         mean k(t,t) + mean k(s,s) - 2 mean k(s,t) over pairs of channels
 *                                                  Huang, Wang 2017, as RepDistiller
 *   fsp   of consecutive layers G = F1 F2^T / P: sum over them of mean (Gs - Gt)^2
 *                                                  Yim et al. 2017, as RepDistiller
 *   ickd  G = F F^T, rows of length 1: |Gs - Gt|^2 / (C n^2)   Liu et al. 2021, as torchdistill
 *   cwd   p = softmax over positions of F/T: T^2 sum_p pt log(pt/ps), mean over rows and
 *         channels                                 Shu et al. 2021
 *   pkd   channels standardised by mean and (unbiased) deviation over rows and positions:
 *         half the mean square of the difference   Cao et al. 2022, as mmrazor
 *
 * Sizes that differ are brought together first: nst pools the larger map, the layers of one
 * model in fsp too; ickd, cwd, pkd and fsp's sides take the term's adaptor. */
#include "passes/loss_module.h"

#include <string.h>

/* What the recipe calls it. */
static const char *
name_of(const struct loss_in *in, const struct value *f)
{
	for (int i = 0; i < in->nstudents; i++)
		if (in->students[i] == f)
			return in->student_names[i];
	for (int i = 0; i < in->nteachers; i++)
		if (in->teachers[i] == f)
			return in->teacher_names[i];
	return "a feature";
}

struct value *
loss_channels(const struct loss_in *in, struct value *f)
{
	struct build *b = in->b;

	if (!f)
		return NULL;
	if (f->rank < 3) {
		diag_invalid(b->diag, in->term->loc,
		    "loss %s is about channels and positions; %s is %s", in->term->loss,
		    name_of(in, f), dims_text(b->g->arena, f));
		return NULL;
	}
	if (f->rank == 3)
		return b_transpose(b, f, (const int64_t[]){0, 2, 1});
	return b_reshape(b, f, 3,
	    (const int64_t[]){f->dims[0], f->dims[1], dims_count(f->rank - 2, f->dims + 2)});
}

/* Their positions are as many?  False: reported. */
static bool
alike(const struct loss_in *in, const struct value *s, const struct value *t, const char *what)
{
	struct arena *a = in->b->g->arena;

	if (!s || !t)
		return false;
	if (s->dims[2] == t->dims[2])
		return true;
	return diag_invalid(in->b->diag, in->term->loc,
	    "loss %s: %s have %s and %s (rows, channels, positions)", in->term->loss, what,
	    dims_text(a, s), dims_text(a, t));
}

/* Sum of f over the layers, each brought to the teacher's shape by the adaptor. */
static bool
adapted(const struct loss_in *in, struct loss *out,
    struct value *(*f)(const struct loss_in *, struct value *s, struct value *t))
{
	struct loss_pair *p;
	int n;

	if (!adapt_pairs(in, &n, &p))
		return false;
	for (int i = 0; i < n; i++) {
		struct value *v = f(in, loss_channels(in, p[i].s), loss_channels(in, p[i].t));

		out->total = i ? b_add(in->b, out->total, v) : v;
		if (!out->total)
			return false;
	}
	return true;
}

static struct value *
products(struct build *b, struct value *x, struct value *y)
{
	return b_contract(b, "nap,nbp->nab", x, y);
}

/* ---- nst */

static struct value *
kernel(struct build *b, struct value *x, struct value *y)
{
	return b_mean(b, b_square(b, products(b, x, y)), 2, (const int64_t[]){1, 2}, false);
}

static struct value *
nst(const struct loss_in *in, int layer, struct value *s, struct value *t)
{
	struct build *b = in->b;
	struct value *k;

	(void)layer;
	if (s->rank == t->rank && s->rank > 3 && !b_same_sizes(b, &s, &t))
		return NULL;
	s = loss_channels(in, s);
	t = loss_channels(in, t);
	if (!alike(in, s, t, "student and teacher"))
		return NULL;
	s = b_unit(b, s);
	t = b_unit(b, t);
	k = b_add(b, kernel(b, t, t), kernel(b, s, s));
	return loss_mean(in, b_sub(b, k, b_muls(b, kernel(b, s, t), 2)));
}

bool
loss_nst(const struct loss_in *in, struct loss *out)
{
	return loss_each_pair(in, out, nst);
}

/* ---- fsp */

/* [rows, C1, C2] of two layers of a model */
static struct value *
flow(const struct loss_in *in, struct value *x, struct value *y)
{
	struct build *b = in->b;

	if (x->rank == y->rank && x->rank > 3 && !b_same_sizes(b, &x, &y))
		return NULL;
	x = loss_channels(in, x);
	y = loss_channels(in, y);
	if (!alike(in, x, y, "consecutive layers"))
		return NULL;
	return b_muls(b, products(b, x, y), 1 / (double)x->dims[2]);
}

bool
loss_fsp(const struct loss_in *in, struct loss *out)
{
	struct build *b = in->b;
	struct loss_pair *p;
	int n;

	if (in->nstudents < 2)
		return diag_invalid(b->diag, in->term->loc,
		    "loss fsp is about the flow from layer to layer: student: [A, B, ..], teacher: "
		    "[T.A, T.B, ..]");
	if (!adapt_pairs(in, &n, &p))
		return false;
	for (int i = 0; i + 1 < n; i++) {
		struct value *s = flow(in, p[i].s, p[i + 1].s), *t = flow(in, p[i].t, p[i + 1].t);
		struct value *v = s && t ? loss_mean(in, b_square(b, b_sub(b, s, t))) : NULL;

		out->total = i ? b_add(b, out->total, v) : v;
	}
	return out->total != NULL;
}

/* ---- ickd */

static struct value *
ickd(const struct loss_in *in, struct value *s, struct value *t)
{
	struct build *b = in->b;
	struct value *d = b_sub(b, b_unit(b, products(b, s, s)), b_unit(b, products(b, t, t)));

	if (!d)
		return NULL;
	d = b_muls(b, loss_mean(in, b_square(b, d)), (double)d->dims[1]);
	return b_div(b, d, b_max(b, loss_rows(in), b_scalar(b, DT_f32, 1)));
}

bool
loss_ickd(const struct loss_in *in, struct loss *out)
{
	return adapted(in, out, ickd);
}

/* ---- cwd */

static struct value *
attention(const struct loss_in *in, struct value *f)
{
	return b_log_softmax(in->b, b_div(in->b, f, loss_dial(in, "temperature")), 2);
}

static struct value *
cwd(const struct loss_in *in, struct value *s, struct value *t)
{
	struct build *b = in->b;
	struct value *ls = attention(in, s), *lt = attention(in, t), *row;

	row = b_mul(b, b_exp(b, lt), b_sub(b, lt, ls));
	row = loss_mean(in, b_reduce(b, OP_reduce_sum, row, 1, (const int64_t[]){2}, false));
	return in->term->tau_squared ? b_mul(b, row, b_square(b, loss_dial(in, "temperature")))
				     : row;
}

bool
loss_cwd(const struct loss_in *in, struct loss *out)
{
	return adapted(in, out, cwd);
}

/* ---- pkd */

static struct value *
standardised(const struct loss_in *in, struct value *f)
{
	struct build *b = in->b;
	int64_t axes[2] = {0, 2}, column[3] = {0, 1, 1};
	struct value *mask = NULL, *n, *mean, *var, *one = b_scalar(b, DT_f32, 1);

	if (!f)
		return NULL;
	column[0] = f->dims[0];
	mask = in->valid ? b_reshape(b, in->valid, 3, column) : NULL;
	n = b_max(b, b_muls(b, loss_rows(in), (double)f->dims[2]), one);
	mean = b_reduce(b, OP_reduce_sum, mask ? b_mul(b, f, mask) : f, 2, axes, true);
	f = b_sub(b, f, b_div(b, mean, n));
	var = b_reduce(b, OP_reduce_sum, b_square(b, mask ? b_mul(b, f, mask) : f), 2, axes, true);
	var = b_div(b, var, b_max(b, b_adds(b, n, -1), one));
	var = b_sqrt(b, b_max(b, var, b_scalar(b, DT_f32, 1e-24)));
	return b_div(b, f, b_adds(b, var, 1e-6));
}

static struct value *
pkd(const struct loss_in *in, struct value *s, struct value *t)
{
	struct build *b = in->b;
	struct value *d = b_sub(b, standardised(in, s), standardised(in, t));

	return b_muls(b, loss_mean(in, b_square(b, d)), 0.5);
}

bool
loss_pkd(const struct loss_in *in, struct loss *out)
{
	return adapted(in, out, pkd);
}
