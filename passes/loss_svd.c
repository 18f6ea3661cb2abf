/* loss_svd -- what the strongest directions of the layers of a model have to do with each other.
 *
 *   kdsvd   of each layer and sample X [P, C] = U S V^T: the first k columns of V of the
 *           teacher; for each of them that of the student's first k+3 that is nearest to it in
 *           angle, turned to its side; both times S of the teacher, its k numbers of length 1.
 *           Between layers R = exp(-(v_a - v'_b)^2 / 8) for all channels a, b:
 *           sum over layers of sum (Rs - Rt)^2 / n        Lee, Kim, Song 2018, as RepDistiller
 *
 * A direction is known up to its sign, and the sum is not: of the teacher's the one whose
 * channels add up to more than 0 is taken (RepDistiller: whatever the library returns).
 *
 * V by simultaneous iteration from columns of a cosine basis: V = orthonormal columns of
 * (X^T X)^2 V, `rounds` times.  A direction has error (s'/s)^(4 rounds), s and s' singular
 * values that follow each other.  Gradients are those of the rounds. */
#include "passes/loss_module.h"

#include <math.h>

enum { MORE = 3 }; /* directions of the student that are looked at beyond k */

/* [1, C, k]: the first cosines over channels, orthonormal */
static struct value *
basis(struct build *b, int64_t c, int64_t k)
{
	struct tensor *t = tensor_new(b->g->arena, DT_f32, 3, (int64_t[]){1, c, k});

	for (int64_t i = 0; i < c; i++)
		for (int64_t j = 0; j < k; j++)
			dtype_put_f(DT_f32, t->data, i * k + j,
			    sqrt((j ? 2 : 1) / (double)c) *
				cos(M_PI * ((double)i + 0.5) * (double)j / (double)c));
	return graph_const(b->g, "cosines", t);
}

static struct value *
column_of(struct build *b, struct value *v, int64_t j)
{
	int64_t start[3] = {0, 0, j}, count[3] = {v->dims[0], v->dims[1], 1}, step[3] = {1, 1, 1};

	return b_slice(b, v, start, count, step);
}

/* <x, y> over channels, [rows, 1, 1] */
static struct value *
inner(struct build *b, struct value *x, struct value *y)
{
	return b_reduce(b, OP_reduce_sum, b_mul(b, x, y), 1, (const int64_t[]){1}, true);
}

static struct value *
unit(struct build *b, struct value *x)
{
	return b_mul(b, x, b1(b, OP_rsqrt, b_max(b, inner(b, x, x), b_scalar(b, DT_f32, 1e-24))));
}

/* Gram and Schmidt, one column after the other, each twice: the second time takes out what
 * rounding left of the columns before where little is left of this one. */
static struct value *
orthonormal(struct build *b, struct value *v)
{
	int64_t k = v->dims[2];
	struct value **q = arena_array(b->g->arena, struct value *, k);

	for (int64_t j = 0; j < k; j++) {
		q[j] = unit(b, column_of(b, v, j));
		for (int again = 0; again < 2 && j > 0; again++) {
			for (int64_t i = 0; i < j; i++)
				q[j] = b_sub(b, q[j], b_mul(b, q[i], inner(b, q[i], q[j])));
			q[j] = unit(b, q[j]);
		}
	}
	return b_concat(b, (int)k, q, 2);
}

/* V [rows, C, k]; *size: [rows, 1, k], the k singular values */
static struct value *
directions(const struct loss_in *in, struct value *x, int64_t k, struct value **size)
{
	struct build *b = in->b;
	const int64_t both[2] = {1, 2}, channels = 1;
	struct value *a, *power, *v, *trace;

	trace = b_reduce(b, OP_reduce_sum, b_square(b, x), 2, both, true);
	a = b_contract(b, "ncp,ndp->ncd", x, x);
	power = b_div(b, a, b_max(b, trace, b_scalar(b, DT_f32, 1e-24)));
	power = b_contract(b, "ncd,nde->nce", power, power);
	v = b_expand(b, basis(b, x->dims[1], k), 3, (const int64_t[]){x->dims[0], x->dims[1], k});
	for (int i = 0; v && i < (int)loss_number(in, "rounds"); i++)
		v = orthonormal(b, b_contract(b, "ncd,ndk->nck", power, v));
	*size = b_mul(b, v, b_contract(b, "ncd,ndk->nck", a, v));
	*size = b_reduce(b, OP_reduce_sum, *size, 1, &channels, true);
	*size = b_sqrt(b, b_max(b, *size, b_scalar(b, DT_f32, 1e-24)));
	return v;
}

/* One layer of both, times the teacher's singular values: [rows, C, k]. */
static bool
aligned(const struct loss_in *in, struct value **s, struct value **t)
{
	struct build *b = in->b;
	int64_t c, k = (int64_t)loss_number(in, "k"), most;
	struct value *size, *unused, *cosine, *nearest;
	const int64_t channels = 1, last = 2;

	*s = loss_channels(in, *s);
	*t = loss_channels(in, *t);
	if (!*s || !*t)
		return false;
	c = (*t)->dims[1];
	most = c < (*t)->dims[2] ? c : (*t)->dims[2];
	if (k + MORE > most)
		return diag_invalid(b->diag, in->term->loc,
		    "loss kdsvd looks at %lld directions of a layer, k: %lld and %d more; %s "
		    "(rows, channels, positions) "
		    "has at most %lld",
		    (long long)(k + MORE), (long long)k, MORE, dims_text(b->g->arena, *t),
		    (long long)most);
	*s = directions(in, *s, k + MORE, &unused);
	*t = directions(in, *t, k + MORE, &size);
	size = b_slice(b, size, (int64_t[3]){0}, (const int64_t[]){size->dims[0], 1, k},
	    (const int64_t[]){1, 1, 1});
	*t = b_slice(b, *t, (int64_t[3]){0}, (const int64_t[]){size->dims[0], c, k},
	    (const int64_t[]){1, 1, 1});
	*t = b_mul(b, *t, b1(b, OP_sign, b_reduce(b, OP_reduce_sum, *t, 1, &channels, true)));
	cosine = b_contract(b, "ncs,nct->nst", *s, *t);
	nearest = b1(b, OP_abs, cosine);
	nearest = b2(b, OP_eq, nearest, b_reduce(b, OP_reduce_max, nearest, 1, &channels, true));
	nearest = b_select(b, nearest, b1(b, OP_sign, cosine), b_scalar(b, DT_f32, 0));
	*s = b_contract(b, "ncs,nst->nct", *s, nearest);
	cosine = b_reduce(b, OP_reduce_sum, b_square(b, size), 1, &last, true);
	size = b_mul(b, size, b1(b, OP_rsqrt, b_max(b, cosine, b_scalar(b, DT_f32, 1e-24))));
	*s = b_mul(b, *s, size);
	*t = b_mul(b, *t, size);
	return *s && *t;
}

/* exp(-(x_a - y_b)^2 / 8): [rows, Ca, Cb, k] */
static struct value *
radial(struct build *b, struct value *x, struct value *y)
{
	struct value *d = b_sub(b, b_unsqueeze(b, x, 2), b_unsqueeze(b, y, 1));

	return b_exp(b, b_muls(b, b_square(b, d), -1.0 / 8));
}

bool
loss_kdsvd(const struct loss_in *in, struct loss *out)
{
	struct build *b = in->b;
	struct loss_pair *p;
	int n;

	if (in->nstudents < 2)
		return diag_invalid(b->diag, in->term->loc,
		    "loss kdsvd is about layers that follow each other: student: [A, B, ..], "
		    "teacher: [T.A, T.B, ..]");
	if (!adapt_pairs(in, &n, &p))
		return false;
	for (int i = 0; i < n; i++) {
		struct value *d;

		if (!aligned(in, &p[i].s, &p[i].t))
			return false;
		if (i == 0)
			continue;
		d = b_square(
		    b, b_sub(b, radial(b, p[i].s, p[i - 1].s), radial(b, p[i].t, p[i - 1].t)));
		d = d ? b_muls(b, loss_mean(in, d),
			    (double)(dims_count(d->rank, d->dims) / d->dims[0]))
		      : NULL;
		out->total = i > 1 ? b_add(b, out->total, d) : d;
	}
	return out->total != NULL;
}
