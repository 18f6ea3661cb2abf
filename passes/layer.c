/* layer -- what a report says of the kernels that serve one cluster: whose ONNX node
 * they are, by which algorithm, what they read, how long they should take. */
#include "passes/algorithm.h"
#include "passes/lower.h"

#include <string.h>

/* The first register tile of a body; NULL: none. */
static const struct tile *
first_tile(const struct body *b)
{
	const struct tile *t = NULL;

	for (int i = 0; i < b->s.n && !t; i++)
		t = b->s.v[i]->kind == S_TILE ? b->s.v[i]->tile
		    : b->s.v[i]->kind == S_FOR ? first_tile(&b->s.v[i]->body)
					       : NULL;
	return t;
}

static bool
depthwise(const struct node *n)
{
	struct conv_shape s;

	return conv_shape_of(n, &s) && s.group > 1 && s.group == s.ic && s.oc == s.ic;
}

/* The convolution that a window operator's kernel computes as well, found through the
 * maps between; NULL: none. */
static const struct node *
banded(const struct node *n)
{
	const struct node *p = n->in[0]->def;

	while (p && op_info[p->op].class == OC_map)
		p = p->in[0]->def;
	return p && op_info[p->op].class == OC_conv ? p : NULL;
}

static const char *
name_of(const struct node *n, const struct tile *t, const struct decision *d)
{
	if (d)
		return d->candidates[d->chosen].name;
	switch (op_info[n->op].class) {
	case OC_conv:
		return t ? "direct" : depthwise(n) ? "depthwise" : "nest";
	case OC_contract:
		return !t ? "nest" : t->rows[0] * t->rows[1] == 1 ? "gemv" : "gemm";
	default:
		return op_info[n->op].id;
	}
}

/* "direct 14x2": rows and column groups of the tile */
static const char *
algorithm_text(struct lower *lo, const struct cluster *c, const struct node *n, const struct tile *t, const struct decision *d)
{
	const char *name = n ? name_of(n, t, d) : c->rows ? "rows" : c->reduced ? "reduce" : "map";

	if (!n || !t)
		return name;
	name = arena_printf(lo->a, "%s %lldx%lld", name, (long long)(t->rows[0] * t->rows[1]), (long long)t->cblocks);
	return n == c->anchor ? name : arena_printf(lo->a, "%s + %s", name, name_of(c->anchor, NULL, NULL));
}

/* Bytes of constants and states, each once. */
static double
weight_bytes(const struct lower *lo, int first)
{
	double total = 0;

	for (int i = first; i < lo->p->calls.n; i++) {
		const struct call *c = &lo->p->calls.v[i];

		for (int k = 0; k < c->kernel->nbuf; k++) {
			const struct buffer *b = c->arg[k];
			bool seen = b->space != SPACE_CONST && b->space != SPACE_STATE;

			for (int j = first; j <= i && !seen; j++)
				for (int q = 0; q < (j < i ? lo->p->calls.v[j].kernel->nbuf : k) && !seen; q++)
					seen = lo->p->calls.v[j].arg[q] == b;
			total += seen ? 0 : (double)b->bytes;
		}
	}
	return total;
}

void
layer_note(struct lower *lo, const struct cluster *c, int first)
{
	const struct machine *m = &lo->ctx->opts->machine;
	const struct node *n = c->anchor;
	const struct tile *t = NULL;

	for (int i = first; i < lo->p->calls.n && !t; i++)
		t = first_tile(&lo->p->calls.v[i].kernel->body);
	if (n && t && (op_info[n->op].class == OC_pool || (op_info[n->op].class == OC_conv && depthwise(n))) && banded(n))
		n = banded(n);
	const struct decision *d = n ? decision_of(lo->ctx, n) : NULL;
	struct layer l = {.loc = n ? n->loc : c->nodes.v[0]->loc, .time.measured = -1};
	l.algorithm = algorithm_text(lo, c, n, t, d);
	l.weights = weight_bytes(lo, first);
	if (d) {
		l.time = d->candidates[d->chosen];
		l.ncandidates = d->ncandidates;
		l.candidates = d->candidates;
	} else {
		l.time.predicted = cost_calls(m, &lo->p->calls.v[first], lo->p->calls.n - first, (enum residence)lo->ctx->residence) / m->clock;
	}
	l.time.name = l.algorithm;
	vec_push(lo->a, &lo->p->layers, l);
}
