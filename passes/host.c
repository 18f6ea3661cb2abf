/* host -- rows that call a C function, from the graph to the program.
 *
 * pass_host leaves strings as kernels can move them, words of eight bytes: a constant
 * becomes the row str_const, which makes pointers of packed bytes in every run (the
 * constants of a program lie where they are mapped), a comparison becomes str_eq.
 * requires: core operators.  keeps: everything else; what it makes must not be folded. */
#include "host/host.h"
#include "passes/lower.h"

#include <string.h>

/* ---- the pass */
static struct value *
made(struct rewrite *rw, struct value *v)
{
	struct attr a[2] = {{.name = "values", .kind = ATTR_STRINGS},
	    {.name = "dims", .kind = ATTR_INTS, .n = v->rank}};
	const char **s;

	if (v->kind != VAL_CONST || v->dtype != DT_str)
		return v;
	rw->b.fold = false;
	a[0].n = (int)tensor_count(v->data);
	s = arena_array(rw->g->arena, const char *, a[0].n + 1);
	for (int i = 0; i < a[0].n; i++)
		s[i] = ((char *const *)v->data->data)[i] ? ((char *const *)v->data->data)[i] : "";
	a[0].strings = s;
	a[1].ints = v->dims;
	return b_op(&rw->b, OP_str_const, 0, NULL, 2, a);
}

/* Strings padded with "": where a field of ones is padded with zeros. */
static bool
padded(struct rewrite *rw, struct node *n)
{
	struct build *b = &rw->b;
	struct value *x = n->in[0], *y, *inside,
		     *none = graph_const(rw->g, NULL, tensor_new(rw->g->arena, DT_str, 0, NULL));
	const int64_t *lo, *hi;

	attr_ints(n, "lo", &lo);
	attr_ints(n, "hi", &hi);
	b->fold = false;
	inside = b_pad(b, b_expand(b, b_cast(b, b_scalar(b, DT_i64, 1), DT_bool), x->rank, x->dims),
	    lo, hi, 0);
	y = b_select(b, inside, b_pad(b, x, lo, hi, 0), made(rw, none));
	if (!y)
		return false;
	rewrite_node(rw, n, &y);
	return true;
}

static bool
visit(struct rewrite *rw, struct node *n)
{
	struct value *in[2], *y;

	for (int i = 0; i < n->nin; i++)
		if (n->in[i] && !(n->in[i] = made(rw, n->in[i])))
			return false;
	if (n->op == OP_pad && n->in[0]->dtype == DT_str)
		return padded(rw, n);
	if (n->op != OP_eq || n->in[0]->dtype != DT_str)
		return true;
	for (int i = 0; i < 2; i++) {
		in[i] = n->in[i];
		if (!dims_equal(in[i]->rank, in[i]->dims, n->out[0]->rank, n->out[0]->dims))
			in[i] = b_expand(&rw->b, in[i], n->out[0]->rank, n->out[0]->dims);
	}
	y = in[0] && in[1] ? b_op(&rw->b, OP_str_eq, 2, in, 0, NULL) : NULL;
	if (!y)
		return false;
	rewrite_node(rw, n, &y);
	return true;
}

static bool
any_strings(const struct graph *g)
{
	for (int i = 0; i < g->nodes.n; i++) {
		const struct node *n = g->nodes.v[i];

		for (int k = 0; !n->dead && k < n->nin; k++)
			if (n->in[k] && n->in[k]->dtype == DT_str)
				return true;
	}
	for (int i = 0; i < g->outputs.n; i++)
		if (g->outputs.v[i]->dtype == DT_str)
			return true;
	return false;
}

bool
pass_host(struct graph *g, struct pass_ctx *ctx)
{
	struct rewrite rw = {.g = g};

	if (!any_strings(g))
		return true;
	if (!graph_rewrite(g, ctx->diag, "host", false, visit, NULL))
		return false;
	rw.b = build_at(g, ctx->diag, LOC_NONE, "host");
	for (int i = 0; i < g->outputs.n; i++)
		if (!(g->outputs.v[i] = made(&rw, g->outputs.v[i])))
			return false;
	return true;
}

/* ---- lowering */
/* Bytes that a run's new strings may take together, and scratch of one call. */
static void
add_room(const struct pass_opts *o, const struct node *n, int64_t *bytes, int64_t *scratch)
{
	int64_t each = o && o->string_bytes ? o->string_bytes : STRING_BYTES, need = 0;
	const int64_t *program;

	switch (n->op) {
	case OP_str_concat:
	case OP_str_split:
	case OP_str_normalize:
	case OP_str_from:
		if (__builtin_mul_overflow(
			dims_count(n->out[0]->rank, n->out[0]->dims), each, &need))
			need = INT64_MAX / 4;
		*bytes = need > INT64_MAX / 4 - *bytes ? INT64_MAX / 4 : *bytes + need;
		break;
	case OP_str_match:
		need = host_regex_scratch(program, attr_ints(n, "program", &program));
		*scratch = need > *scratch ? need : *scratch;
		break;
	default:
		break;
	}
}

static void
call_host(struct lower *lo, struct kernel *k, const char *symbol, int n,
    const struct tensor *const *type, struct buffer **b)
{
	struct host_call *h = arena_new(lo->a, struct host_call);
	VEC(struct buffer *) args = {0};

	h->symbol = symbol;
	h->narg = n;
	h->arg = arena_array(lo->a, struct host_arg, n + 1);
	for (int i = 0; i < n; i++) {
		h->arg[i].buf = -1;
		if (!type[i])
			continue;
		h->arg[i].dtype = type[i]->dtype;
		h->arg[i].rank = type[i]->rank;
		h->arg[i].dims = type[i]->dims;
		h->arg[i].buf = kernel_buf(lo->a, k, b[i]->dtype, b[i]->space != SPACE_CONST);
		vec_push(lo->tmp, &args, b[i]);
	}
	h->room = kernel_buf(lo->a, k, DT_u8, true);
	vec_push(lo->tmp, &args, lo->p->room);
	kernel_finish(k);
	lower_call(lo, k, args.v);
	lo->p->calls.v[lo->p->calls.n - 1].host = h;
}

static struct tensor *
type_of(struct lower *lo, const struct value *v)
{
	struct tensor *t = arena_new(lo->a, struct tensor);

	t->dtype = v->dtype;
	t->rank = v->rank;
	memcpy(t->dims, v->dims, sizeof t->dims);
	return t;
}

void
lower_host_begin(struct lower *lo)
{
	int64_t bytes = 0, scratch = 0;
	struct tensor *size;
	struct buffer *b;
	bool any = false;

	for (int i = 0; i < lo->g->nodes.n; i++) {
		const struct node *n = lo->g->nodes.v[i];

		if (n->dead || op_info[n->op].class != OC_host)
			continue;
		any = true;
		add_room(lo->ctx->opts, n, &bytes, &scratch);
	}
	if (!any)
		return;
	bytes = (bytes + scratch + 64 + 63) / 64 * 64;
	size = tensor_new(lo->a, DT_i64, 0, NULL);
	*(int64_t *)size->data = bytes;
	lo->p->room = lower_scratch(lo, DT_u8, (int64_t)sizeof(struct rt_bytes) + bytes);
	lo->p->room->keep = true;
	b = lower_data(lo, size);
	call_host(lo, kernel_new(lo->a, "host_begin", LOC_NONE), "rt_host_begin", 1,
	    (const struct tensor *const *)&size, &b);
}

bool
lower_host(struct lower *lo, struct cluster *c)
{
	struct node *n = c->anchor;
	const struct op_info *row = &op_info[n->op];
	int max = row->in_max + row->out_max + row->nattr, k = 0;
	const struct tensor **type = arena_array(lo->a, const struct tensor *, max + 1), **attrs;
	struct buffer **b = arena_array(lo->a, struct buffer *, max + 1);

	for (int i = 0; i < row->in_max; i++, k++)
		if (i < n->nin && n->in[i]) {
			type[k] = type_of(lo, n->in[i]);
			b[k] = lower_buffer(lo, n->in[i]);
		}
	for (int i = 0; i < row->out_max; i++, k++)
		if (i < n->nout && n->out[i]) {
			type[k] = type_of(lo, n->out[i]);
			b[k] = lower_buffer(lo, n->out[i]);
		}
	host_attrs(lo->a, n, &attrs);
	for (int i = 0; i < row->nattr; i++, k++)
		if (attrs[i]) {
			type[k] = attrs[i];
			b[k] = lower_data(lo, attrs[i]);
		}
	call_host(lo, kernel_new(lo->a, row->id, n->loc), host_symbol(lo->a, n), max, type, b);
	return true;
}
