/* loss_review -- ReviewKD (Chen et al. 2021), as mdistiller has it.  Student layers f_1..f_K,
 * shallow to deep; from the deepest up, with what is carried y (none for k = K):
 *
 *   x = BN(1x1(f_k)) of M = min(max_channels, channels of f_K) channels
 *   y, brought to x's size by its nearest pixels;  z = sigmoid(1x1([x,y])), two maps
 *   x = x z_1 + y z_2, brought to the teacher's size;  y = x
 *   r_k = BN(3x3(x)) of the teacher's channels
 *
 * Loss: sum over k of the means of (r_k - t_k)^2 as they are, pooled to 4x4, 2x2 and 1x1
 * (sizes below the map's) weighted 1, 1/2, 1/4, 1/8 over the sum of the weights taken. */
#include "passes/loss_module.h"

#include <math.h>

/* [N,C] as [N,C,1,1] */
static struct value *
as_map(struct build *b, struct value *v)
{
	return v->rank == 2 ? b_reshape(b, v, 4, (const int64_t[]){v->dims[0], v->dims[1], 1, 1})
			    : v;
}

static struct value *
plane(struct build *b, struct value *z, int64_t i)
{
	int64_t start[4] = {0, i, 0, 0}, count[4], step[4] = {1, 1, 1, 1};

	if (!z)
		return NULL;
	for (int k = 0; k < 4; k++)
		count[k] = k == 1 ? 1 : z->dims[k];
	return b_slice(b, z, start, count, step);
}

/* x with what is carried from the deeper layer */
static struct value *
fused(const struct loss_in *in, int k, struct value *x, struct value *y)
{
	struct build *b = in->b;
	struct conv_form f = conv_form(2, 1, 1, true);
	struct value *z;

	if (!x || !y)
		return x;
	y = b_resize_like(b, y, x, RESIZE_NEAREST);
	z = b_concat(b, 2, (struct value *[]){x, y}, 1);
	z = module_conv(in, arena_printf(b->g->arena, "%d.gate", k), z, &f);
	z = z ? b1(b, OP_sigmoid, z) : NULL;
	return b_add(b, b_mul(b, x, plane(b, z, 0)), b_mul(b, y, plane(b, z, 1)));
}

/* the hierarchical context loss of a layer */
static struct value *
context(const struct loss_in *in, struct value *r, struct value *t)
{
	struct build *b = in->b;
	struct value *d = b_sub(b, r, t), *sum = loss_mean(in, b_square(b, d));
	double weight = 1, all = 1;

	for (int64_t size = 4; d && size > 0; size /= 2) {
		struct value *v = d; /* pooling is linear */

		if (size >= t->dims[2])
			continue;
		weight /= 2;
		all += weight;
		for (int i = 2; i < 4; i++)
			v = b_resize_axis(
			    b, v, i, size < t->dims[i] ? size : t->dims[i], RESIZE_AVG);
		sum = b_add(b, sum, b_muls(b, loss_mean(in, b_square(b, v)), weight));
	}
	return sum ? b_muls(b, sum, 1 / all) : NULL;
}

bool
loss_reviewkd(const struct loss_in *in, struct loss *out)
{
	struct build *b = in->b;
	struct arena *a = b->g->arena;
	int64_t most = (int64_t)loss_number(in, "max_channels"), mid;
	struct value *y = NULL;
	struct loss_pair *p;
	int n;

	if (!loss_pairs(in, &n, &p))
		return false;
	for (int k = 0; k < n; k++)
		if ((p[k].s->rank != 4 && p[k].s->rank != 2) ||
		    (p[k].t->rank != 4 && p[k].t->rank != 2))
			return diag_invalid(b->diag, in->term->loc,
			    "%s is %s, %s is %s: loss reviewkd takes maps [N,C,H,W], shallow to "
			    "deep, and pooled "
			    "features [N,C] last",
			    p[k].s_name, dims_text(a, p[k].s), p[k].t_name, dims_text(a, p[k].t));
	mid = p[n - 1].s->dims[1] < most ? p[n - 1].s->dims[1] : most;
	for (int k = n - 1; k >= 0; k--) {
		struct conv_form narrow = conv_form(mid, 1, 1, false), wide;
		struct value *x = as_map(b, p[k].s), *t = as_map(b, p[k].t), *r;

		if (!x || !t)
			return false;
		wide = conv_form(t->dims[1], 3, 1, false);
		narrow.bound = sqrt(3 / (double)x->dims[1]); /* its authors' initial scale */
		wide.bound = sqrt(3 / (double)(9 * mid));
		x = module_conv(in, arena_printf(a, "%d.in", k), x, &narrow);
		x = module_norm(in, arena_printf(a, "%d.in.bn", k), x);
		y = b_resize_like(b, fused(in, k, x, y), t, RESIZE_NEAREST);
		r = module_conv(in, arena_printf(a, "%d.out", k), y, &wide);
		r = module_norm(in, arena_printf(a, "%d.out.bn", k), r);
		r = context(in, r, t);
		out->total = out->total ? b_add(b, out->total, r) : r;
		if (!out->total)
			return false;
	}
	return true;
}
