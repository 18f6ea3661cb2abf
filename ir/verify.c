/* verify -- the form every pass must leave: definitions before uses, lists and
 * back pointers in step, types known and equal to what the row infers. */
#include "ir/ir.h"


struct verify {
	struct graph *g;
	const char *after;
	unsigned char *seen; /* by value id */
};

#define broken(v, ...) (broken_at((v), arena_printf((v)->g->arena, __VA_ARGS__)))

static _Noreturn void
broken_at(struct verify *v, const char *what)
{
	die("graph %s after %s: %s", v->g->name, v->after, what);
}

static void
see(struct verify *v, const struct value *x, enum value_kind kind)
{
	if (!x)
		broken(v, "NULL in a list of values");
	if (x->id < 0 || x->id >= v->g->nvalue)
		broken(v, "value id %d of %d", x->id, v->g->nvalue);
	if (x->kind != kind)
		broken(v, "value %d \"%s\" has kind %d in a list of kind %d", x->id,
		    x->name ? x->name : "", x->kind, kind);
	if (v->seen[x->id])
		broken(v, "value %d \"%s\" is defined twice", x->id, x->name ? x->name : "");
	v->seen[x->id] = 1;
	if (x->dtype == DT_none || x->rank < 0 || x->rank > MAX_RANK)
		broken(v, "value %d \"%s\" has no type", x->id, x->name ? x->name : "");
	if ((kind == VAL_CONST || kind == VAL_STATE) &&
	    (!x->data || x->data->dtype != x->dtype ||
	        !dims_equal(x->rank, x->dims, x->data->rank, x->data->dims)))
		broken(v, "constant %d \"%s\" does not match its data", x->id, x->name ? x->name : "");
}

static void
use(struct verify *v, const struct value *x, const char *user, int i)
{
	if (!x)
		return;
	if (x->id < 0 || x->id >= v->g->nvalue)
		broken(v, "%s uses value id %d of %d", user, x->id, v->g->nvalue);
	if (!v->seen[x->id])
		broken(v, "operand %d of %s, value %d \"%s\" (%s), is not defined before", i, user,
		    x->id, x->name ? x->name : "",
		    x->kind == VAL_NODE ? (x->def->dead ? "of a dead node" : op_info[x->def->op].id) : "not listed");
}

/* The row's rule run again must give the same types. */
static void
types(struct verify *v, struct node *n)
{
	struct arena *scratch = arena_create();
	struct value *was = arena_array(scratch, struct value, n->nout);
	struct diag d;
	int i;

	for (i = 0; i < n->nout; i++)
		if (n->out[i])
			was[i] = *n->out[i];
	diag_init(&d, NULL);
	if (!node_infer(v->g, n, &d))
		broken(v, "node %d is invalid: %s", n->id, d.text.s ? d.text.s : "(untyped operand)");
	diag_free(&d);
	for (i = 0; i < n->nout; i++) {
		if (!n->out[i])
			continue;
		if (was[i].dtype != n->out[i]->dtype ||
		    !dims_equal(was[i].rank, was[i].dims, n->out[i]->rank, n->out[i]->dims))
			broken(v, "output %d of node %d (%s \"%s\") is %s, its operands give %s", i,
			    n->id, op_info[n->op].id, n->loc.name ? n->loc.name : "",
			    value_type_text(v->g, &was[i]), value_type_text(v->g, n->out[i]));
		*n->out[i] = was[i];
	}
	arena_destroy(scratch);
}

/* A measured size is known before a dim names it. */
struct naming { struct verify *v; const struct node *n; };

static void
size_known(void *ctx, int64_t symbol)
{
	const struct naming *at = ctx;
	const struct value *s = graph_size_of(at->v->g, symbol);

	if (s && s->kind == VAL_NODE && !at->v->seen[s->id])
		broken(at->v, "node %d (%s) has size %s, which is measured after it", at->n->id,
		    op_info[at->n->op].id, dim_text(at->v->g, symbol));
}

static void
sizes(struct verify *v, const struct node *n, int rank, const int64_t *dims)
{
	struct naming at = {v, n};
	int i;

	for (i = 0; v->g->sizes.n && i < rank; i++)
		dim_each_symbol(v->g, dims[i], size_known, &at);
}

static void
check_node(struct verify *v, struct node *n)
{
	int i;

	if (n->id < 0 || n->id >= v->g->nnode)
		broken(v, "node id %d of %d", n->id, v->g->nnode);
	if (n->op <= OP_none || n->op >= NOP)
		broken(v, "node %d has operator %d", n->id, (int)n->op);
	for (i = 0; i < n->nin; i++)
		use(v, n->in[i], op_info[n->op].id, i);
	for (i = 0; i < n->nout; i++) {
		if (!n->out[i])
			continue;
		if (n->out[i]->def != n || n->out[i]->out != i)
			broken(v, "output %d of node %d (%s) does not point back", i, n->id,
			    op_info[n->op].id);
		see(v, n->out[i], VAL_NODE);
	}
	for (i = 0; i < n->nout; i++)
		if (n->out[i])
			sizes(v, n, n->out[i]->rank, n->out[i]->dims);
	for (i = 0; i < n->nattr; i++)
		if (n->attr[i].kind == ATTR_INTS && op_info[n->op].class != OC_composite &&
		    attr_holds_dims(n->op, n->attr[i].name))
			sizes(v, n, n->attr[i].n, n->attr[i].ints);
	types(v, n);
}

void
graph_verify(struct graph *g, const char *after)
{
	struct arena *scratch = arena_create();
	struct verify v = {g, after, arena_array(scratch, unsigned char, g->nvalue + 1)};
	int i;

	for (i = 0; i < g->inputs.n; i++)
		see(&v, g->inputs.v[i], VAL_INPUT);
	for (i = 0; i < g->states.n; i++)
		see(&v, g->states.v[i], VAL_STATE);
	for (i = 0; i < g->consts.n; i++)
		see(&v, g->consts.v[i], VAL_CONST);
	for (i = 0; i < g->nodes.n; i++)
		if (!g->nodes.v[i]->dead)
			check_node(&v, g->nodes.v[i]);
	if (g->outputs.n != g->output_names.n)
		broken(&v, "%d outputs, %d names", g->outputs.n, g->output_names.n);
	for (i = 0; i < g->outputs.n; i++)
		use(&v, g->outputs.v[i], "an output", i);
	for (i = 0; i < g->updates.n; i++) {
		struct update *u = &g->updates.v[i];

		use(&v, u->state, "an update", i);
		use(&v, u->next, "an update", i);
		if (u->state->kind != VAL_STATE)
			broken(&v, "update %d is not of a state", i);
		if (u->state->dtype != u->next->dtype ||
		    !dims_equal(u->state->rank, u->state->dims, u->next->rank, u->next->dims))
			broken(&v, "update of \"%s\" has type %s, the state %s",
			    u->state->name ? u->state->name : "", value_type_text(g, u->next),
			    value_type_text(g, u->state));
	}
	for (i = 0; i < g->sizes.n; i++) {
		use(&v, g->sizes.v[i].value, "a size", i);
		if (!dim_is_symbol(g, g->sizes.v[i].dim))
			broken(&v, "size %d is not of a symbol", i);
		if (g->sizes.v[i].value->dtype != DT_i64 || g->sizes.v[i].value->rank != 0)
			broken(&v, "size %s has type %s", dim_text(g, g->sizes.v[i].dim),
			    value_type_text(g, g->sizes.v[i].value));
	}
	arena_destroy(scratch);
}
