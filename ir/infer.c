/* infer -- one node's types through its row, and what the shape rules share. */
#include "ir/ir.h"

#include <string.h>

static const char *const kind_name[] = {
    [ATTR_NONE] = "nothing", [ATTR_INT] = "an integer", [ATTR_FLOAT] = "a float",
    [ATTR_STRING] = "a string", [ATTR_INTS] = "a list of integers",
    [ATTR_FLOATS] = "a list of floats", [ATTR_STRINGS] = "a list of strings",
    [ATTR_TENSOR] = "a tensor", [ATTR_GRAPH] = "a graph"};

static const char *
spelled(const struct node *n)
{
	const struct op_info *row = &op_info[n->op];

	return row->onnx ? row->onnx : row->id;
}

static bool
arity(const struct node *n, struct diag *d, const char *what, int given, int min, int max)
{
	if (given >= min && (max < 0 || given <= max))
		return true;
	if (min == max)
		return diag_invalid(d, n->loc, "%s has %d %s%s, takes %d", spelled(n), given, what,
		    given == 1 ? "" : "s", min);
	if (max < 0)
		return diag_invalid(d, n->loc, "%s has %d %s%s, takes at least %d", spelled(n), given,
		    what, given == 1 ? "" : "s", min);
	return diag_invalid(d, n->loc, "%s has %d %s%s, takes %d to %d", spelled(n), given, what,
	    given == 1 ? "" : "s", min, max);
}

static bool
attributes(const struct node *n, struct diag *d)
{
	const struct op_info *row = &op_info[n->op];
	const char *names[64], *near;
	int i, k = 0;

	for (i = 0; i < n->nattr; i++) {
		const struct attr_info *info = op_attr(n->op, n->attr[i].name);

		if (info && info->kind == n->attr[i].kind)
			continue;
		if (info)
			return diag_invalid(d, n->loc, "attribute \"%s\" is %s, must be %s",
			    info->name, kind_name[n->attr[i].kind], kind_name[info->kind]);
		for (k = 0; k < row->nattr && k < 64; k++)
			names[k] = row->attrs[k].name;
		near = str_nearest(n->attr[i].name, names, k);
		return diag_invalid(d, n->loc, "%s has no attribute \"%s\"%s%s%s", spelled(n),
		    n->attr[i].name, near ? "; did you mean \"" : "", near ? near : "",
		    near ? "\"?" : "");
	}
	for (i = 0; i < row->nattr; i++)
		if (row->attrs[i].required && !attr_has(n, row->attrs[i].name))
			return diag_invalid(d, n->loc, "attribute \"%s\" of %s is missing",
			    row->attrs[i].name, spelled(n));
	return true;
}

bool
node_infer(struct graph *g, struct node *n, struct diag *d)
{
	const struct op_info *row = &op_info[n->op];
	int i;

	if (n->op <= OP_none || n->op >= NOP)
		die("node %d has operator %d", n->id, (int)n->op);
	if (!arity(n, d, "input", n->nin, row->in_min, row->in_max) ||
	    !arity(n, d, "output", n->nout, row->out_min, row->out_max) || !attributes(n, d))
		return false;
	for (i = 0; i < n->nin; i++) {
		if (!n->in[i] && (i < row->in_min || row->in_max < 0))
			return diag_invalid(d, n->loc, "input %d of %s is missing", i, spelled(n));
		if (n->in[i] && n->in[i]->dtype == DT_none)
			return false; /* its own rule failed and reported */
	}
	return row->infer(g, n, d);
}

bool
infer_broadcast_dims(struct graph *g, struct node *n, struct diag *d, int *rank, int64_t *dims)
{
	int i, k, r = 0;

	for (i = 0; i < n->nin; i++)
		if (n->in[i] && n->in[i]->rank > r)
			r = n->in[i]->rank;
	for (k = 0; k < r; k++)
		dims[k] = 1;
	for (i = 0; i < n->nin; i++) {
		const struct value *v = n->in[i];

		for (k = 0; v && k < v->rank; k++) {
			int64_t *to = &dims[r - v->rank + k], x = v->dims[k];

			if (*to == x || x == 1)
				continue;
			if (*to == 1) {
				*to = x;
				continue;
			}
			if (dim_const(*to) && dim_const(x))
				return diag_invalid(d, n->loc,
				    "input %d has size %lld along axis %d, which does not broadcast with %lld",
				    i, (long long)x, k, (long long)*to);
			return diag_invalid(d, n->loc,
			    "input %d has size %s along axis %d, which may differ from %s; fix the "
			    "symbol with --dim NAME=SIZE",
			    i, dim_text(g, x), k, dim_text(g, *to));
		}
	}
	*rank = r;
	return true;
}

int
axis_normal(const struct node *n, struct diag *d, int64_t axis, int rank)
{
	if (axis < -(int64_t)rank || axis >= rank) {
		diag_invalid(d, n->loc, "axis %lld is out of range for rank %d", (long long)axis, rank);
		return -1;
	}
	return (int)(axis < 0 ? axis + rank : axis);
}

int
value_ints(const struct value *v, struct arena *a, int64_t **out)
{
	int64_t n, i;

	if (!v || v->kind != VAL_CONST || !dtype_is_int(v->dtype))
		return -1;
	n = tensor_count(v->data);
	if (n > INT32_MAX)
		return -1;
	*out = arena_array(a, int64_t, n ? n : 1);
	for (i = 0; i < n; i++)
		(*out)[i] = dtype_get_i(v->dtype, v->data->data, i);
	return (int)n;
}

/* ---- expansions in f32.  An operator of f16 or bf16 operands computes in f32 and is
 * rounded once, at its end, if it would be rounded more often otherwise.  Of a few operators
 * the specification says where they round. */
static bool
is_narrow(enum dtype t)
{
	return t == DT_f16 || t == DT_bf16;
}

static bool
rounds_as_specified(enum op op)
{
	return op == OP_Attention || op == OP_FlexScores || op == OP_QuantizeLinear;
}

/* How often results are rounded by the nodes from `first` on; long sums count twice. */
static int
roundings(const struct graph *g, int first)
{
	int count = 0;

	for (int i = first; i < g->nodes.n; i++) {
		const struct node *n = g->nodes.v[i];

		if (n->dead || !n->nout || !n->out[0] || !is_narrow(n->out[0]->dtype))
			continue;
		switch (op_info[n->op].class) {
		case OC_map:
			count += n->op != OP_neg && n->op != OP_abs && n->op != OP_max && n->op != OP_min &&
			         n->op != OP_select && n->op != OP_sign;
			break;
		case OC_contract:
		case OC_conv:
			count += 2;
			break;
		case OC_pool:
			count += n->op == OP_max_pool || n->op == OP_max_pool_grad ? 0 : 2;
			break;
		case OC_reduce:
			count += n->op == OP_reduce_sum || n->op == OP_reduce_prod;
			break;
		case OC_composite:
			count++;
			break;
		default:
			break;
		}
	}
	return count;
}

bool
op_widens(const struct node *n)
{
	for (int i = 0; i < n->nin && !rounds_as_specified(n->op); i++)
		if (n->in[i] && is_narrow(n->in[i]->dtype))
			return true;
	return false;
}

bool
op_expand(struct build *b, const struct node *n, struct value **outs)
{
	struct node wide = *n;
	int first = b->g->nodes.n, sizes = b->g->sizes.n;

	if (!op_info[n->op].expand(b, n, outs))
		return false;
	if (!op_widens(n) || roundings(b->g, first) < 2)
		return true;
	b->g->nodes.n = first;
	b->g->sizes.n = sizes;
	wide.in = arena_array(b->g->arena, struct value *, n->nin);
	for (int i = 0; i < n->nin; i++)
		wide.in[i] = n->in[i] && is_narrow(n->in[i]->dtype) ? b_cast(b, n->in[i], DT_f32) : n->in[i];
	memset(outs, 0, sizeof *outs * (size_t)n->nout);
	if (!op_info[n->op].expand(b, &wide, outs))
		return false;
	for (int i = 0; i < n->nout; i++)
		if (outs[i] && n->out[i] && outs[i]->dtype != n->out[i]->dtype &&
		    !(outs[i] = b_cast(b, outs[i], n->out[i]->dtype)))
			return false;
	return true;
}

bool
node_expand(struct graph *g, struct node *n, struct diag *d)
{
	struct value **outs = arena_array(g->arena, struct value *, n->nout + 1);
	struct build b = build_at(g, d, n->loc, NULL);
	struct node **made;
	int at, first = g->nodes.n, count, i;

	if (!op_expand(&b, n, outs)) {
		g->nodes.n = first;
		return false;
	}
	/* What was appended goes to where the node stood. */
	for (at = first - 1; at >= 0 && g->nodes.v[at] != n; at--)
		;
	if (at < 0)
		die("node %d is not in the list of graph %s", n->id, g->name);
	count = g->nodes.n - first;
	if (count) {
		made = arena_dup(g->arena, g->nodes.v + first, (size_t)count * sizeof *made);
		memmove(g->nodes.v + at + count, g->nodes.v + at, (size_t)(first - at) * sizeof *made);
		memcpy(g->nodes.v + at, made, (size_t)count * sizeof *made);
	}
	for (i = 0; i < n->nout; i++) {
		if (!n->out[i] || !outs[i])
			continue;
		value_agrees(g, n, n->out[i], outs[i]);
		if (!outs[i]->name && outs[i]->kind == VAL_NODE)
			outs[i]->name = n->out[i]->name;
		graph_replace(g, n->out[i], outs[i]);
	}
	n->dead = true;
	return true;
}

void
value_agrees(struct graph *g, const struct node *n, const struct value *want, const struct value *got)
{
	if (want->dtype == got->dtype && dims_equal(want->rank, want->dims, got->rank, got->dims))
		return;
	die("%s \"%s\": replaced by a value of another type: %s, was %s", op_info[n->op].id,
	    n->loc.name ? n->loc.name : "", value_type_text(g, got), value_type_text(g, want));
}

const char *
value_type_text(struct graph *g, const struct value *v)
{
	struct str s = {0};
	const char *p;
	int i;

	str_add(&s, dtype_info[v->dtype].name);
	if (v->rank < 0)
		str_add(&s, "[?]");
	else if (v->rank > 0) {
		for (i = 0; i < v->rank; i++)
			str_addf(&s, "%s%s", i ? "," : "[", dim_text(g, v->dims[i]));
		str_add(&s, "]");
	}
	p = arena_strdup(g->arena, s.s);
	str_free(&s);
	return p;
}
