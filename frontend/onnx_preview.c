/* onnx_preview -- operators of the preview domains that name parts of the graph:
 * FlexAttention, whose subgraphs are inlined between its pieces, and Gradient. */
#include "frontend/onnx_import.h"

#include <inttypes.h>

/* ---- FlexAttention: scores, score_mod, softmax, prob_mod, values */
/* v through the subgraph in attribute `attr`, if there is one. */
static bool
modified(struct job *j, const char *attr, struct value **v)
{
	struct item *in[1] = {item_tensor(j->im, *v)}, *out[1];
	struct value *was = *v;
	struct body b;

	if (!job_attr(j, attr))
		return true;
	if (!import_body(j, attr, &b))
		return false;
	if (b.g->n_input != 1 || b.g->n_output != 1)
		return diag_invalid(j->im->d, j->loc,
		    "%s has %zu inputs and %zu outputs; one of each is expected", attr,
		    b.g->n_input, b.g->n_output);
	if (!import_inline(j, &b, job_prefix(j), in, out) || !item_is_tensor(j, out[0], attr))
		return false;
	*v = out[0]->v;
	if ((*v)->dtype != was->dtype || !dims_equal((*v)->rank, (*v)->dims, was->rank, was->dims))
		return diag_invalid(j->im->d, j->loc, "%s makes %s of %s", attr,
		    value_type_text(j->im->g, *v), value_type_text(j->im->g, was));
	return true;
}

bool
import_flex_attention(struct job *j)
{
	const Onnx__AttributeProto *scale = job_attr(j, "scale");
	struct build *b = &j->im->b;
	struct value *in[3], *v;
	struct attr a[2];
	int n = 0, i;

	if (j->np->n_input != 3 || j->np->n_output != 1)
		return diag_invalid(j->im->d, j->loc, "needs Q, K and V, and makes one output");
	for (i = 0; i < 3; i++) {
		if (!job_operand(j, (size_t)i, &in[i]))
			return false;
		if (!in[i])
			return diag_invalid(j->im->d, j->loc, "input %d is left out, but it is not optional", i);
	}
	if (in[0]->dtype != in[1]->dtype || in[0]->dtype != in[2]->dtype)
		return diag_invalid(j->im->d, j->loc, "Q, K and V are of different types");
	if (scale)
		a[n++] = (struct attr){.name = "scale", .kind = ATTR_FLOAT, .f = scale->f};
	if (job_attr(j, "softmax_precision"))
		a[n++] = (struct attr){.name = "softmax_precision",
		    .kind = ATTR_INT,
		    .i = job_attr_int(j, "softmax_precision", 0)};
	v = b_op(b, OP_FlexScores, 2, in, n, a);
	if (!v || !modified(j, "score_mod", &v))
		return false;
	v = b_softmax(b, v, 3);
	if (!v || !modified(j, "prob_mod", &v))
		return false;
	v = b_op(b, OP_FlexValues, 2, (struct value *[]){v, in[2]}, 0, NULL);
	if (!v)
		return false;
	job_bind(j, 0, item_tensor(j->im, v));
	return true;
}

/* ---- Gradient: of y, as a function of xs (and zs) found by name in the graph, at the
 * values that the node's inputs give them.  That part of the graph is copied into
 * one of its own, differentiated there, and what comes of it is copied back. */
struct part {
	struct job *j;
	struct graph *g;
	struct value **to;      /* by value id of the model's graph */
	VEC(struct value *) at; /* by input of g: the value of the model's graph */
};

static struct value *
part_input(struct part *p, struct value *from, struct value *at)
{
	struct value *v = graph_input(p->g,
	    arena_printf(p->g->arena, "x%d", p->g->inputs.n), from->dtype, from->rank, from->dims);

	p->to[from->id] = v;
	vec_push(p->j->im->f.own, &p->at, at);
	return v;
}

/* What v is in the part; what is neither made in it nor constant is an input. */
static struct value *
part_value(struct part *p, struct value *v)
{
	if (v && !p->to[v->id])
		p->to[v->id] = v->kind == VAL_CONST ? graph_const(p->g, NULL, v->data)
						    : part_input(p, v, v);
	return v ? p->to[v->id] : NULL;
}

static bool
part_copy(struct part *p, const struct value *y)
{
	struct import *im = p->j->im;
	struct graph *from = im->g;
	bool *needed = arena_array(im->f.own, bool, from->nvalue + 1);
	int i, k;

	needed[y->id] = true;
	for (i = from->nodes.n - 1; i >= 0; i--) {
		const struct node *n = from->nodes.v[i];
		bool any = false;

		for (k = 0; k < n->nout && !n->dead; k++)
			any |= n->out[k] && needed[n->out[k]->id] && !p->to[n->out[k]->id];
		for (k = 0; any && k < n->nin; k++)
			if (n->in[k])
				needed[n->in[k]->id] = true;
	}
	for (i = 0; i < from->nodes.n; i++) {
		const struct node *n = from->nodes.v[i];
		struct value **in = arena_array(im->f.own, struct value *, n->nin + 1);
		struct node *m;
		bool any = false;

		for (k = 0; k < n->nout && !n->dead; k++)
			any |= n->out[k] && needed[n->out[k]->id] && !p->to[n->out[k]->id];
		if (!any)
			continue;
		for (k = 0; k < n->nin; k++)
			in[k] = part_value(p, n->in[k]);
		m = graph_node(p->g, n->op, n->name, n->loc, n->nin, in, n->nout);
		for (k = 0; k < n->nattr; k++)
			node_set_attr(p->g, m, &n->attr[k]);
		for (k = 0; k < n->nout; k++) {
			if (!n->out[k])
				m->out[k] = NULL;
			else if (!p->to[n->out[k]->id])
				p->to[n->out[k]->id] = m->out[k];
		}
		if (!node_infer(p->g, m, im->d))
			return false;
	}
	return true;
}

static struct value *
named(struct job *j, const char *what, const char *name)
{
	struct bind *b = import_lookup(j->s, name);
	struct item *it;
	int i;

	if (!b) {
		diag_invalid(j->im->d, j->loc, "%s names \"%s\", which nothing makes", what, name);
		return NULL;
	}
	it = import_item(j->im, b, j->op, 0);
	if (!it || !item_is_tensor(j, it, name))
		return NULL;
	for (i = 0; i < it->v->rank; i++)
		if (!dim_const(it->v->dims[i])) {
			diag_unsupported(j->im->d, j->loc, "\"%s\" has symbolic sizes", name);
			return NULL;
		}
	return it->v;
}

/* The names in attribute xs or zs become inputs of the part, at the node's inputs from
 * `first` on. */
static bool
part_names(struct part *p, const char *attr, size_t first, size_t *n)
{
	const Onnx__AttributeProto *a = job_attr(p->j, attr);
	struct job *j = p->j;
	size_t i;

	*n = a ? a->n_strings : 0;
	for (i = 0; i < *n; i++) {
		const char *name = arena_strndup(
		    j->im->f.own, (const char *)a->strings[i].data, a->strings[i].len);
		struct value *x = named(j, attr, name), *at;

		if (!x || !job_operand(j, first + i, &at))
			return false;
		if (!at || at->dtype != x->dtype || !dims_equal(at->rank, at->dims, x->rank, x->dims))
			return diag_invalid(j->im->d, j->loc, "input %zu is no value for \"%s\", %s",
			    first + i, name, value_type_text(j->im->g, x));
		if (p->to[x->id])
			return diag_invalid(j->im->d, j->loc, "\"%s\" is named twice", name);
		part_input(p, x, at);
	}
	return true;
}

bool
import_gradient(struct job *j)
{
	struct import *im = j->im;
	const Onnx__AttributeProto *ya = job_attr(j, "y"), *xa = job_attr(j, "xs"), *za = job_attr(j, "zs");
	struct part p = {.j = j, .g = graph_create(im->g->arena, "gradient")};
	struct value *y, *loss, **wrt, **dwrt, **back;
	struct build b = build_at(p.g, im->d, j->loc, NULL);
	size_t nx, nz, i;

	if (!im->opts->gradient)
		return diag_unsupported(im->d, j->loc, "gradients inside of a model are not built here");
	if (!ya)
		return diag_invalid(im->d, j->loc, "attribute \"y\" is missing");
	y = named(j, "y", arena_strndup(im->f.own, (const char *)ya->s.data, ya->s.len));
	if (!y)
		return false;
	/* a constant may be made where a name or an input is looked up */
	nx = (xa ? xa->n_strings : 0) + (za ? za->n_strings : 0);
	p.to = arena_array(im->f.own, struct value *, (size_t)im->g->nvalue + 2 * nx + 1);
	if (!part_names(&p, "xs", 0, &nx) || !part_names(&p, "zs", nx, &nz))
		return false;
	if (!nx || j->np->n_input != nx + nz || j->np->n_output > nx || !dtype_is_float(y->dtype))
		return diag_invalid(im->d, j->loc,
		    "%zu inputs and %zu outputs for %zu xs, %zu zs and y %s", j->np->n_input,
		    j->np->n_output, nx, nz, value_type_text(im->g, y));
	wrt = arena_array(im->f.own, struct value *, nx);
	dwrt = arena_array(im->f.own, struct value *, nx);
	for (i = 0; i < nx; i++) {
		wrt[i] = p.g->inputs.v[i];
		if (!dtype_is_float(wrt[i]->dtype))
			return diag_invalid(im->d, j->loc, "x %zu is %s; a float type is expected", i,
			    value_type_text(im->g, wrt[i]));
	}
	if (!part_copy(&p, y))
		return false;
	loss = b_reduce_all(&b, OP_reduce_sum, part_value(&p, y));
	if (!loss || !im->opts->gradient(p.g, loss, (int)nx, wrt, dwrt, im->d))
		return false;
	b = build_at(p.g, im->d, j->loc, NULL);
	for (i = 0; i < nx; i++) {
		if (!dwrt[i])
			dwrt[i] = b_zeros_like(&b, wrt[i]);
		if (!dwrt[i])
			return false;
		graph_output(p.g, arena_printf(p.g->arena, "d%zu", i), dwrt[i]);
	}
	back = arena_array(im->f.own, struct value *, p.g->nvalue + 1);
	for (i = 0; i < (size_t)p.g->inputs.n; i++)
		back[p.g->inputs.v[i]->id] = p.at.v[i];
	graph_clone_into(im->g, p.g, back, "");
	for (i = 0; i < j->np->n_output; i++)
		if (*j->np->output[i])
			job_bind(j, i, item_tensor(im, back[dwrt[i]->id]));
	return true;
}
