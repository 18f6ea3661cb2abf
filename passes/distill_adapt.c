/* distill_adapt -- a student's feature brought to the shape of the teacher's.
 *
 *   equal shapes                 nothing (auto)
 *   [N,C..] against [N,C]        mean over the rest first
 *   [N,T,C] against [N,C,H,W]    tokens as a map, T = H*W; a token in front of them is left out
 *   sizes of axes 2.. differ     adaptive average pooling of the larger to the smaller, or
 *                                the student's resized to the teacher's (resize:)
 *   [N,Cs] -> [N,Ct]             linear
 *   [N,Cs,d..] -> [N,Ct,d..]     1x1 convolution
 *   [N,T,Cs] -> [N,T,Ct]         linear on the last axis; tokens: also where T differ
 *
 * fitnet is the regressor of RepDistiller's FitNet (ConvReg): by shape a 3x3 convolution of
 * stride 2 (Hs = 2 Ht), a transposed 4x4 one (2 Hs = Ht) or one of 1 + Hs - Ht, then batch
 * normalisation and ReLU, whatever the shapes; connector is the same without ReLU.  A
 * declared one is what its fields say.
 *
 * Weights are states adaptor.TERM.weight [Ct,Cs..] and .bias; of several layers
 * adaptor.TERM.0.weight and so on. */
#include "passes/loss_module.h"

#include <math.h>
#include <string.h>

static bool
mismatch(const struct loss_in *in, const struct loss_pair *p, const char *fix)
{
	struct arena *a = in->b->g->arena;

	return diag_invalid(in->b->diag, in->term->loc, "%s is %s, %s is %s: %s", p->s_name,
	    dims_text(a, p->s), p->t_name, dims_text(a, p->t), fix);
}

/* ---- ranks */

/* mean over axes 2.., or over the tokens: [N,C] */
static struct value *
pooled(struct build *b, struct value *x, int64_t channels, bool tokens)
{
	int64_t axes[MAX_RANK];

	if (x->rank == 3 && (tokens || (x->dims[2] == channels && x->dims[1] != channels)))
		return b_mean(b, x, 1, (const int64_t[]){1}, false);
	for (int i = 2; i < x->rank; i++)
		axes[i - 2] = i;
	return b_mean(b, x, x->rank - 2, axes, false);
}

static int64_t
square_root(int64_t n)
{
	int64_t r = (int64_t)llround(sqrt((double)n));

	return r * r == n ? r : 0;
}

/* [N,T,C] as [N,C,h,w]: of the map's size where T (or T-1) is its count, else a square;
 * NULL: it is neither. */
static struct value *
tokens_as_map(struct build *b, struct value *x, const struct value *map)
{
	int64_t n = x->dims[1], h = map->dims[2], w = map->dims[3];
	int64_t start[3] = {0}, count[3] = {x->dims[0], n, x->dims[2]}, step[3] = {1, 1, 1};

	if (n != h * w && n - 1 != h * w)
		h = w = square_root(n) ? square_root(n) : n > 1 ? square_root(n - 1) : 0;
	if (h == 0)
		return NULL;
	if (n == h * w + 1) {
		start[1] = 1;
		count[1] = n - 1;
		x = b_slice(b, x, start, count, step);
	}
	x = b_transpose(b, x, (const int64_t[]){0, 2, 1});
	return x ? b_reshape(b, x, 4, (const int64_t[]){x->dims[0], x->dims[1], h, w}) : NULL;
}

static bool
same_rank(const struct loss_in *in, struct loss_pair *p, bool tokens)
{
	struct build *b = in->b;
	struct loss_pair was = *p;
	struct value **flat = p->s->rank < p->t->rank ? &p->s : &p->t;
	struct value **deep = flat == &p->s ? &p->t : &p->s;

	if (p->s->rank < 2 || p->t->rank < 2)
		return mismatch(in, p, "features need a batch and a channel axis");
	if (p->s->rank != p->t->rank) {
		if ((*flat)->rank == 2)
			*deep = pooled(b, *deep, (*flat)->dims[1], tokens);
		else if ((*flat)->rank == 3 && (*deep)->rank == 4)
			*flat = tokens_as_map(b, *flat, *deep);
		else
			return mismatch(
			    in, &was, "no adaptor joins these ranks; tap tensors of the same rank");
		if (!*flat)
			return mismatch(in, &was,
			    "as many tokens are no map: neither its number of positions nor a "
			    "square, with or without one in front");
		return *deep != NULL;
	}
	return true;
}

/* [N,T,C] as [N,C,T], and back */
static bool
turn(struct build *b, struct loss_pair *p)
{
	p->s = b_transpose(b, p->s, (const int64_t[]){0, 2, 1});
	p->t = b_transpose(b, p->t, (const int64_t[]){0, 2, 1});
	return p->s && p->t;
}

/* ---- layers */

static struct conv_form
by_shape(const struct loss_pair *p)
{
	int64_t ct = p->t->dims[1], hs = p->s->rank > 2 ? p->s->dims[2] : 1,
		ht = p->s->rank > 2 ? p->t->dims[2] : 1;
	struct conv_form f = conv_form(ct, 1, 1, true);

	if (hs == 2 * ht)
		return conv_form(ct, 3, 2, true);
	if (2 * hs == ht) {
		f = conv_form(ct, 4, 2, true);
		f.transposed = true;
		return f;
	}
	for (int i = 2; i < p->s->rank; i++)
		if (p->s->dims[i] > p->t->dims[i])
			f.kernel[i - 2] = 1 + p->s->dims[i] - p->t->dims[i];
	return f;
}

static const char *
joined(const struct loss_in *in, const char *what, const char *part)
{
	return what[0] ? arena_printf(in->b->g->arena, "%s.%s", what, part) : part;
}

static bool
declared(const struct loss_in *in, const char *what, const struct adaptor *a, struct loss_pair *p)
{
	struct conv_form f = conv_form(p->t->dims[1], a->kernel, a->stride, a->bias);
	int sp = p->s->rank - 2;

	if (a->resize != RESIZE_SMALLER)
		p->s = b_resize_like(in->b, p->s, p->t, a->resize);
	if (a->kind != ADAPTOR_DECLARED)
		f = by_shape(p);
	f.transposed |= a->transposed;
	f.bias &= !a->batch_norm; /* which takes it out again */
	if (f.transposed)
		f.pad = f.kernel[0] > f.stride ? (f.kernel[0] - f.stride) / 2 : 0;
	for (int i = 0; p->s && i < sp && f.kernel[0] > 0; i++)
		if (!f.transposed && p->s->dims[2 + i] + 2 * f.pad < f.kernel[i])
			return mismatch(in, p, "the adaptor's kernel is larger than the map");
	if (a->kind != ADAPTOR_DECLARED || a->kernel > 0)
		p->s = module_conv(in, what, p->s, &f);
	if (a->batch_norm)
		p->s = module_norm(in, joined(in, what, "bn"), p->s);
	if (a->relu)
		p->s = b_relu(in->b, p->s);
	if (p->s && p->s->dims[1] != p->t->dims[1])
		return mismatch(in, p,
		    "the adaptor declares no convolution that joins the channels; add conv: 1x1");
	return b_same_sizes(in->b, &p->s, &p->t);
}

static bool
inferred(const struct loss_in *in, const char *what, enum adaptor_kind kind, struct loss_pair *p)
{
	struct conv_form f = conv_form(p->t->dims[1], 1, 1, true);

	if (!b_same_sizes(in->b, &p->s, &p->t))
		return false;
	if (p->s->dims[1] == p->t->dims[1] && kind == ADAPTOR_AUTO)
		return true;
	p->s = p->s->rank == 2 || kind == ADAPTOR_LINEAR
		   ? module_linear(in, what, p->s, 1, p->t->dims[1])
		   : module_conv(in, what, p->s, &f);
	return p->s != NULL;
}

/* ---- by the term's adaptor */

bool
adapt_pair(const struct loss_in *in, const char *what, struct loss_pair *p)
{
	struct adaptor a = in->term->adaptor;
	bool same = dims_equal(p->s->rank, p->s->dims, p->t->rank, p->t->dims);

	if (a.kind == ADAPTOR_UNSAID)
		a.kind = ADAPTOR_AUTO;
	if (a.kind == ADAPTOR_FITNET || a.kind == ADAPTOR_CONNECTOR)
		a = (struct adaptor){.kind = a.kind,
		    .stride = 1,
		    .batch_norm = true,
		    .relu = a.kind == ADAPTOR_FITNET};
	if (same && (a.kind == ADAPTOR_AUTO || a.kind == ADAPTOR_NONE))
		return true;
	if (a.kind == ADAPTOR_NONE)
		return mismatch(in, p, "adaptor: none needs equal shapes; say adaptor: auto");
	if (!same_rank(in, p, a.tokens))
		return false;
	if (p->s->rank == 3) {
		bool aligned = p->s->dims[1] == p->t->dims[1]; /* token by token */

		a.tokens |= aligned && (p->s->dims[2] != p->t->dims[2] || a.kind == ADAPTOR_LINEAR);
		if (a.tokens && aligned && (a.kind == ADAPTOR_AUTO || a.kind == ADAPTOR_LINEAR)) {
			p->s = module_linear(in, what, p->s, 2, p->t->dims[2]);
			return p->s != NULL;
		}
	}
	a.tokens &= p->s->rank == 3;
	if (a.tokens && !turn(in->b, p))
		return false;
	if (!(a.kind >= ADAPTOR_FITNET ? declared(in, what, &a, p) : inferred(in, what, a.kind, p)))
		return false;
	return !a.tokens || turn(in->b, p);
}

bool
adapt_pairs(const struct loss_in *in, int *n, struct loss_pair **pairs)
{
	if (!loss_pairs(in, n, pairs))
		return false;
	for (int i = 0; i < *n; i++)
		if (!adapt_pair(
			in, *n > 1 ? arena_printf(in->b->g->arena, "%d", i) : "", &(*pairs)[i]))
			return false;
	return true;
}

bool
adapt(const struct loss_in *in, struct value *teacher, struct value **s, struct value **t)
{
	struct loss_pair p = {in->student, teacher, in->student_name,
	    in->nteachers ? in->teacher_names[0] : "the target"};

	if (!adapt_pair(in, "", &p))
		return false;
	*s = p.s;
	*t = p.t;
	return true;
}
