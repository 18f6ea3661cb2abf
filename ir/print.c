/* print -- the graph as text; docs/ir.md has the grammar.  Values are printed
 * under their names where they have one (made unique), else by number in order of
 * printing, so the text does not depend on ids and parses back to itself. */
#include "ir/ir.h"
#include "ir/layout.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

struct named { const struct value *v; const char *name; };
struct printer {
	struct graph *g;
	struct str *s;
	struct arena *scratch;
	struct map *taken;          /* names printed so far, in this graph and around it -> next suffix */
	VEC(struct named) name;     /* by value id of this graph */
	const struct printer *outer;
	int64_t limit;
	int *number;                /* of the next unnamed value */
	int depth;
};

/* Names that need no quotes: they do not start like a number. */
static bool
plain_name(const char *s)
{
	if (!isalpha((unsigned char)*s) && *s != '_' && *s != '/')
		return false;
	for (; *s; s++)
		if (!isalnum((unsigned char)*s) && !strchr("_./-", *s))
			return false;
	return true;
}

static void
quoted(struct str *s, const char *p)
{
	str_json(s, p ? p : "");
}

static void
indent(struct printer *p)
{
	int i;

	for (i = 0; i < p->depth; i++)
		str_add(p->s, "  ");
}

static const char *
name_value(struct printer *p, const struct value *v)
{
	struct str t = {0};
	const char *name;
	intptr_t i;

	while (p->name.n <= v->id)
		vec_push(p->scratch, &p->name, ((struct named){0}));
	if (p->name.v[v->id].name)
		return p->name.v[v->id].name;
	if (!v->name) {
		str_addf(&t, "%%%d", (*p->number)++);
	} else {
		name = v->name;
		if ((i = (intptr_t)map_get(p->taken, name))) {
			do
				name = arena_printf(p->scratch, "%s.%d", v->name, (int)i++);
			while (map_get(p->taken, name));
			map_put(p->taken, v->name, (void *)i);
		}
		map_put(p->taken, name, (void *)1);
		str_add(&t, "%");
		if (plain_name(name))
			str_add(&t, name);
		else
			quoted(&t, name);
	}
	name = arena_strdup(p->scratch, t.s);
	str_free(&t);
	p->name.v[v->id] = (struct named){v, name};
	return name;
}

static void
print_use(struct printer *p, const struct value *v)
{
	const struct printer *o;

	if (!v) {
		str_add(p->s, "_");
		return;
	}
	for (o = p; o; o = o->outer) {
		if (v->id < o->name.n && o->name.v[v->id].v == v) {
			str_add(p->s, o->name.v[v->id].name);
			return;
		}
	}
	str_addf(p->s, "%%?%d", v->id); /* only in a broken graph being looked at */
}

static void
print_type(struct printer *p, const struct value *v)
{
	str_add(p->s, value_type_text(p->g, v));
	if (v->layout)
		str_addf(p->s, " layout%s", layout_text(p->scratch, v->layout));
}

static void
print_float(struct str *s, double f, bool single)
{
	if (isnan(f))
		str_add(s, "nan");
	else if (isinf(f))
		str_add(s, f > 0 ? "inf" : "-inf");
	else
		str_addf(s, single ? "%.9g" : "%.17g", f);
}

/* Attributes are self-describing: floats have a point, an exponent, inf or nan. */
static void
print_attr_float(struct str *s, double f)
{
	size_t at = s->n;

	print_float(s, f, (double)(float)f == f);
	if (!strpbrk(s->s + at, ".ein"))
		str_add(s, ".0");
}

static void
print_element(struct str *s, const struct tensor *t, int64_t i)
{
	switch (dtype_info[t->dtype].class) {
	case DC_STRING:
		quoted(s, ((char *const *)t->data)[i]);
		break;
	case DC_FLOAT:
		print_float(s, dtype_get_f(t->dtype, t->data, i), t->dtype != DT_f64);
		break;
	case DC_COMPLEX:
		print_float(s, dtype_get_f(t->dtype, t->data, 2 * i), t->dtype == DT_c64);
		str_add(s, " ");
		print_float(s, dtype_get_f(t->dtype, t->data, 2 * i + 1), t->dtype == DT_c64);
		break;
	case DC_UINT:
		str_addf(s, "%llu", (unsigned long long)dtype_get_i(t->dtype, t->data, i));
		break;
	default:
		str_addf(s, "%lld", (long long)dtype_get_i(t->dtype, t->data, i));
	}
}

static bool
all_equal(const struct tensor *t, int64_t n)
{
	size_t size = dtype_bytes(t->dtype, 1);

	return n > 1 && dtype_info[t->dtype].bits >= 8 && t->dtype != DT_str &&
	       memcmp(t->data, (const char *)t->data + size, t->bytes - size) == 0;
}

static void
print_data(struct str *s, const struct tensor *t, int64_t limit)
{
	int64_t n = tensor_count(t), i;
	char hex[65];

	if (all_equal(t, n)) {
		str_add(s, " splat ");
		print_element(s, t, 0);
		return;
	}
	if (limit >= 0 && n > limit && t->dtype != DT_str) {
		sha256_hex(t->data, t->bytes, hex);
		str_addf(s, " sha256:%.16s", hex);
		return;
	}
	str_add(s, " {");
	for (i = 0; i < n; i++) {
		if (i)
			str_add(s, ", ");
		print_element(s, t, i);
	}
	str_add(s, "}");
}

static void
print_tensor(struct str *s, const struct tensor *t, int64_t limit)
{
	int i;

	str_add(s, dtype_info[t->dtype].name);
	for (i = 0; i < t->rank; i++)
		str_addf(s, "%s%lld", i ? "," : "[", (long long)t->dims[i]);
	if (t->rank)
		str_add(s, "]");
	print_data(s, t, limit);
}

static void print_graph(struct printer *);

static void
print_list(struct printer *p, const struct node *n, const struct attr *a)
{
	static const char *const empty[] = {
	    [ATTR_INTS] = "ints", [ATTR_FLOATS] = "floats", [ATTR_STRINGS] = "strings"};
	bool dims = a->kind == ATTR_INTS && attr_holds_dims(n->op, a->name);
	int i;

	if (!a->n)
		str_add(p->s, empty[a->kind]);
	str_add(p->s, "[");
	for (i = 0; i < a->n; i++) {
		if (i)
			str_add(p->s, ",");
		if (a->kind == ATTR_FLOATS)
			print_attr_float(p->s, a->floats[i]);
		else if (a->kind == ATTR_STRINGS)
			quoted(p->s, a->strings[i]);
		else if (dims && p->g)
			str_add(p->s, dim_text(p->g, a->ints[i]));
		else
			str_addf(p->s, "%lld", (long long)a->ints[i]);
	}
	str_add(p->s, "]");
}

static void
print_attr(struct printer *p, const struct node *n, const struct attr *a)
{
	str_addf(p->s, "%s=", a->name);
	switch (a->kind) {
	case ATTR_INT:
		if (strcmp(a->name, "to") == 0 && op_info[n->op].class != OC_composite && a->i > 0 &&
		    a->i < NDTYPE)
			str_add(p->s, dtype_info[a->i].name);
		else
			str_addf(p->s, "%lld", (long long)a->i);
		break;
	case ATTR_FLOAT:
		print_attr_float(p->s, a->f);
		break;
	case ATTR_STRING:
		quoted(p->s, a->s);
		break;
	case ATTR_TENSOR:
		print_tensor(p->s, a->t, p->limit);
		break;
	case ATTR_GRAPH:
		if (!p->g) {
			str_addf(p->s, "graph %p", (void *)a->g);
		} else {
			struct printer q = {.g = a->g, .s = p->s, .scratch = p->scratch,
			    .taken = p->taken, .outer = p, .limit = p->limit,
			    .number = p->number, .depth = p->depth + 1};

			print_graph(&q);
		}
		break;
	case ATTR_INTS:
	case ATTR_FLOATS:
	case ATTR_STRINGS:
		print_list(p, n, a);
		break;
	case ATTR_NONE:
		str_add(p->s, "none");
	}
}

/* In the order of the row, whatever order they were given in. */
static void
print_attrs(struct printer *p, const struct node *n)
{
	const struct op_info *row = &op_info[n->op];
	const struct attr *a;
	const char *sep = " (";
	int i;

	for (i = 0; i < row->nattr; i++) {
		a = attr_find(n, row->attrs[i].name);
		if (!a)
			continue;
		str_add(p->s, sep);
		print_attr(p, n, a);
		sep = ", ";
	}
	for (i = 0; i < n->nattr; i++) {
		if (op_attr(n->op, n->attr[i].name))
			continue;
		str_add(p->s, sep);
		print_attr(p, n, &n->attr[i]);
		sep = ", ";
	}
	if (*sep == ',')
		str_add(p->s, ")");
}

void
node_print_attrs(const struct node *n, struct str *s)
{
	struct printer p = {.s = s, .limit = -1};

	print_attrs(&p, n);
}

static void
print_loc(struct printer *p, const struct loc *l)
{
	if (!l->file && l->node < 0 && !l->name && !l->op && !l->maker)
		return;
	str_add(p->s, "  @ ");
	quoted(p->s, l->file);
	if (l->line > 0)
		str_addf(p->s, " line %d", l->line);
	if (l->node >= 0)
		str_addf(p->s, ":%d", l->node);
	if (l->name) {
		str_add(p->s, " ");
		quoted(p->s, l->name);
	}
	if (l->op) {
		str_add(p->s, " op ");
		quoted(p->s, l->op);
	}
	if (l->maker) {
		str_add(p->s, " by ");
		quoted(p->s, l->maker);
	}
}

static void
print_node(struct printer *p, const struct node *n)
{
	int i;

	indent(p);
	for (i = 0; i < n->nout; i++) {
		if (i)
			str_add(p->s, ", ");
		str_add(p->s, n->out[i] ? name_value(p, n->out[i]) : "_");
	}
	str_addf(p->s, " = %s", op_info[n->op].id);
	for (i = 0; i < n->nin; i++) {
		str_add(p->s, i ? ", " : " ");
		print_use(p, n->in[i]);
	}
	print_attrs(p, n);
	for (i = 0; i < n->nout; i++) {
		str_add(p->s, i ? ", " : " : ");
		if (!n->out[i])
			str_add(p->s, "_");
		else
			print_type(p, n->out[i]);
	}
	if (n->name) {
		str_add(p->s, " ");
		quoted(p->s, n->name);
	}
	print_loc(p, &n->loc);
	str_add(p->s, "\n");
}

static void
print_given(struct printer *p, const struct value *v, const char *what)
{
	indent(p);
	str_addf(p->s, "%s = %s ", name_value(p, v), what);
	print_type(p, v);
	if (v->data)
		print_data(p->s, v->data, p->limit);
	print_loc(p, &v->loc);
	str_add(p->s, "\n");
}

static void
print_symbols(struct printer *p)
{
	int64_t few[64], *d = few, lo, hi;
	int n = dim_symbols(p->g, few, 64), i;

	if (n > 64) {
		d = arena_array(p->scratch, int64_t, n);
		dim_symbols(p->g, d, n);
	}
	for (i = 0; i < n; i++) {
		lo = dim_lo(p->g, d[i]);
		hi = dim_hi(p->g, d[i]);
		indent(p);
		if (hi == INT64_MAX)
			str_addf(p->s, "dim %s %lld..*\n", dim_text(p->g, d[i]), (long long)lo);
		else
			str_addf(p->s, "dim %s %lld..%lld\n", dim_text(p->g, d[i]), (long long)lo,
			    (long long)hi);
	}
}

static void
print_graph(struct printer *p)
{
	struct graph *g = p->g;
	int *uses = graph_use_counts(p->scratch, g), i, depth = p->depth;

	str_add(p->s, "graph ");
	quoted(p->s, g->name);
	str_add(p->s, " {\n");
	p->depth = depth + 1;
	print_symbols(p);
	for (i = 0; i < g->inputs.n; i++)
		print_given(p, g->inputs.v[i], "input");
	for (i = 0; i < g->states.n; i++)
		print_given(p, g->states.v[i], g->states.v[i]->trainable ? "state trainable" : "state");
	for (i = 0; i < g->consts.n; i++)
		if (uses[g->consts.v[i]->id])
			print_given(p, g->consts.v[i], "const");
	for (i = 0; i < g->nodes.n; i++)
		if (!g->nodes.v[i]->dead)
			print_node(p, g->nodes.v[i]);
	for (i = 0; i < g->outputs.n; i++) {
		indent(p);
		str_add(p->s, "output ");
		print_use(p, g->outputs.v[i]);
		str_add(p->s, " ");
		quoted(p->s, g->output_names.v[i]);
		str_add(p->s, "\n");
	}
	for (i = 0; i < g->sizes.n; i++) {
		indent(p);
		str_addf(p->s, "size %s = ", dim_text(g, g->sizes.v[i].dim));
		print_use(p, g->sizes.v[i].value);
		str_add(p->s, "\n");
	}
	for (i = 0; i < g->updates.n; i++) {
		indent(p);
		str_add(p->s, "update ");
		print_use(p, g->updates.v[i].state);
		str_add(p->s, " = ");
		print_use(p, g->updates.v[i].next);
		str_add(p->s, "\n");
	}
	p->depth = depth;
	indent(p);
	str_add(p->s, "}");
}

void
graph_print(struct graph *g, struct str *s, int64_t limit)
{
	struct arena *scratch = arena_create();
	int number = 0;
	struct printer p = {.g = g, .s = s, .scratch = scratch, .taken = map_create(scratch),
	    .limit = limit, .number = &number};

	print_graph(&p);
	str_add(s, "\n");
	arena_destroy(scratch);
}
