/* distill_input -- pictures of one field as each model wants them: colour or grey, in
 * the size of its input.  Computed in the step, so models may differ. */
#include "passes/distill_int.h"

#include <math.h>
#include <string.h>

/* grey = 0.299 R + 0.587 G + 0.114 B (ITU-R BT.601, as Pillow and torchvision) */
static const double luma[3] = {0.299, 0.587, 0.114};

static bool
bad(struct build *b, const struct distill_input *in, const struct value *v, const char *what)
{
	return diag_invalid(b->diag, b->loc, "%s of input \"%s\": field \"%s\" is %s, samples [H,W] or [C,H,W] are expected",
	    what, in->value->name, in->field ? in->field : "", dims_text(b->g->arena, v));
}

/* [N,H,W,C] -> [N,C,H,W] */
static struct value *
channels_first(struct build *b, const struct distill_input *in, struct value *v)
{
	if (v->rank == 4)
		return b_transpose(b, v, (const int64_t[]){0, 3, 1, 2});
	diag_invalid(b->diag, b->loc, "layout: hwc of input \"%s\": field \"%s\" is %s, samples [H,W,C] are expected",
	    in->value->name, in->field ? in->field : "", dims_text(b->g->arena, v));
	return NULL;
}

/* [N,3,..], the last channel first */
static struct value *
reversed(struct build *b, struct value *v)
{
	int64_t start[4] = {0}, count[4], step[4] = {1, 1, 1, 1};
	struct value *part[3];

	memcpy(count, v->dims, sizeof count);
	count[1] = 1;
	for (int i = 0; i < 3; i++) {
		start[1] = 2 - i;
		part[i] = b_slice(b, v, start, count, step);
	}
	return part[0] && part[1] && part[2] ? b_concat(b, 3, part, 1) : NULL;
}

/* [N,H,W] or [N,1,H,W] -> three times the same; [N,3,H,W] -> [N,1,H,W], or backwards. */
static struct value *
recolored(struct build *b, const struct distill_input *in, struct value *v)
{
	int64_t dims[4], axis = 1;
	struct tensor *w;
	struct value *sum;

	if (v->rank == 3)
		v = b_reshape(b, v, 4, (const int64_t[]){v->dims[0], 1, v->dims[1], v->dims[2]});
	if (v->rank != 4 || (v->dims[1] != 1 && v->dims[1] != 3)) {
		bad(b, in, v, in->channels == 1 ? "channels: grey" : in->bgr ? "channels: bgr" : "channels: rgb");
		return NULL;
	}
	if (v->dims[1] == in->channels)
		return in->bgr ? reversed(b, v) : v;
	memcpy(dims, v->dims, sizeof dims);
	if (in->channels == 3) {
		dims[1] = 3;
		return b_expand(b, v, 4, dims);
	}
	w = tensor_new(b->g->arena, v->dtype, 4, (const int64_t[]){1, 3, 1, 1});
	for (int i = 0; i < 3; i++)
		dtype_put_f(v->dtype, w->data, i, luma[i]);
	sum = b_mul(b, v, graph_const(b->g, "luma", w));
	return b_reduce(b, OP_reduce_sum, sum, 1, &axis, true);
}

/* R [to, from]: row i is a triangle around (i + 1/2) from/to of half-width max(1, from/to),
 * cut off at the edges, of sum 1: what `resize` of a field does (runtime/resample.c). */
static struct value *
triangles(struct build *b, enum dtype type, int64_t to, int64_t from)
{
	struct tensor *t = tensor_new(b->g->arena, type, 2, (const int64_t[]){to, from});
	double scale = (double)from / (double)to, width = scale > 1 ? scale : 1;

	for (int64_t i = 0; i < to; i++) {
		double centre = ((double)i + 0.5) * scale, sum = 0;

		for (int pass = 0; pass < 2; pass++)
			for (int64_t k = 0; k < from; k++) {
				double x = 1 - fabs(((double)k + 0.5 - centre) / width);

				x = x > 0 ? x : 0;
				if (pass == 0)
					sum += x;
				else
					dtype_put_f(type, t->data, i * from + k, x / sum);
			}
	}
	return graph_const(b->g, "resize", t);
}

/* y = Rh x Rw' over the last two axes */
static struct value *
resized(struct build *b, const struct distill_input *in, struct value *v)
{
	const int64_t *size = v->dims + v->rank - 2;
	bool planes = v->rank == 4;

	if (v->rank != 3 && !planes) {
		bad(b, in, v, "resize");
		return NULL;
	}
	if (size[0] != in->resize[0])
		v = b_contract(b, planes ? "nchw,yh->ncyw" : "nhw,yh->nyw", v, triangles(b, v->dtype, in->resize[0], size[0]));
	if (v && v->dims[v->rank - 1] != in->resize[1])
		v = b_contract(b, planes ? "nchw,xw->nchx" : "nhw,xw->nhx", v,
		    triangles(b, v->dtype, in->resize[1], v->dims[v->rank - 1]));
	return v;
}

struct value *
distill_picture(struct build *b, const struct distill_input *in, struct value *v)
{
	if (v && in->hwc)
		v = channels_first(b, in, v);
	if (v && in->channels)
		v = recolored(b, in, v);
	if (v && in->resize[0])
		v = resized(b, in, v);
	return v;
}
