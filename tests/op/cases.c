/* cases.c -- graphs and operands from the lines of cases.def. */
#include "tests/op/cases.h"

#include <stdlib.h>
#include <string.h>

static const struct op_case written[] = {
#define CASE(id, nout, operands, attrs, flags, tol) {OP_##id, nout, operands, attrs, flags, tol},
#include "tests/op/cases.def"
#define CASE(id, nout, operands, attrs, flags, tol) {OP_##id, nout, operands, attrs, (flags) | CASE_SWEEP, tol},
#include "tests/op/sweeps.def"
#define KINK(id, operands, attrs, gradients) {OP_##id, 1, operands, attrs, CASE_KINK, 0},
#include "tests/op/kinks.def"
};

/* ---- what kinks.def says of a kink, found by the text of its operands */
const char *
case_gradients(const struct op_case *c)
{
	static const struct {
		enum op op;
		const char *operands, *attrs, *gradients;
	} kinks[] = {
#define KINK(id, operands, attrs, gradients) {OP_##id, operands, attrs, gradients},
#include "tests/op/kinks.def"
	};

	for (size_t i = 0; i < sizeof kinks / sizeof *kinks; i++)
		if (kinks[i].op == c->op && !strcmp(kinks[i].operands, c->operands) && !strcmp(kinks[i].attrs, c->attrs))
			return kinks[i].gradients;
	die("%s is no kink", op_info[c->op].id);
}

/* ---- alternatives: the first word with a | is replaced by each of its choices */
struct expansion {
	struct arena *a;
	VEC(struct op_case) list;
};

/* text with the choice [c,c+n) in place of the word [b,e); the name of an attribute
 * stays before it, and an empty choice leaves the attribute out. */
static const char *
chosen(struct arena *a, const char *text, const char *b, const char *e, const char *c, size_t n, bool attr)
{
	size_t head = attr ? strcspn(b, "=") + 1 : 0;

	if (c == b) {
		c += head;
		n -= head;
	}
	if (!n)
		head = 0;
	return arena_printf(a, "%.*s%.*s%.*s%s", (int)(b - text), text, (int)head, b, (int)n, c, e);
}

static void
expand(struct expansion *x, struct op_case c)
{
	const char *const text[] = {c.operands, c.attrs};

	for (int k = 0; k < 2; k++) {
		const char *bar = strchr(text[k], '|'), *b = bar, *e = bar, *s;

		if (!bar)
			continue;
		while (b > text[k] && b[-1] != ' ')
			b--;
		e += strcspn(e, " ");
		for (s = b; s <= e;) {
			size_t n = strcspn(s, "| ");
			const char *with = chosen(x->a, text[k], b, e, s, n, k);

			if (k)
				c.attrs = with;
			else
				c.operands = with;
			expand(x, c);
			s += n + 1;
		}
		return;
	}
	vec_push(x->a, &x->list, c);
}

const struct op_case *
op_cases(int *n)
{
	static struct expansion x;

	if (!x.a) {
		x.a = arena_create();
		for (size_t i = 0; i < sizeof written / sizeof *written; i++)
			expand(&x, written[i]);
	}
	*n = x.list.n;
	return x.list.v;
}

const struct op_case *
case_retyped(struct arena *a, const struct op_case *c, const char *dtype)
{
	struct op_case *r = arena_dup(a, c, sizeof *c);
	const char *p = c->operands, *q;
	struct str s = {0};

	while ((q = strstr(p, "f32"))) {
		str_addn(&s, p, (size_t)(q - p));
		str_add(&s, dtype);
		p = q + 3;
	}
	if (!s.s)
		return NULL;
	r->operands = arena_printf(a, "%s%s", s.s, p);
	str_free(&s);
	return r;
}

const char *
case_text(struct arena *a, const struct op_case *c)
{
	return arena_printf(a, "%s(%s) %s", op_info[c->op].id, c->operands, c->attrs);
}

/* ---- numbers in (0,1), the same in every run */
static double
draw(uint64_t *state)
{
	*state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (double)(*state >> 40) / (double)(1 << 24);
}

/* By name: a new row does not change what the others are tried with. */
static uint64_t
seed_of(const char *id)
{
	uint64_t h = 12345;

	for (; *id; id++)
		h = h * 977 + (unsigned char)*id;
	return h;
}

static double
sample(const char *how, uint64_t *state, int64_t i, int64_t count)
{
	double u = draw(state);

	if (strcmp(how, "pos") == 0)
		return 0.3 + 2 * u;
	if (strcmp(how, "unit") == 0)
		return (u < 0.5 ? -1 : 1) * (0.1 + 0.8 * draw(state));
	if (strcmp(how, "gt1") == 0)
		return 1.2 + 2 * u;
	if (strcmp(how, "big") == 0)
		return (u < 0.5 ? -1 : 1) * (4 + 4 * draw(state));
	if (strcmp(how, "far") == 0)
		return 64 + (u < 0.5 ? -1 : 1) * (0.2 + 1.8 * draw(state));
	if (strcmp(how, "apart") == 0) /* all different by 0.1 at least, order mixed */
		return ((double)((i * 7 + 3) % (count % 7 ? count : count + 1)) - (double)count / 2) * 0.1 + 0.03;
	if (how[0] == '<')
		return (double)(int64_t)(u * atof(how + 1));
	return (u < 0.5 ? -1 : 1) * (0.2 + 1.8 * draw(state));
}

/* ---- "f32[2,3]:pos", "i64={0,1}" (a vector), "i64[]={3}", "f32[2]={1,2}", "-" */
struct operand {
	enum dtype dtype;
	int rank;
	int64_t dims[MAX_RANK];
	bool absent, constant;
	char how[32];
	int nval;
	double val[256];
	const char *text[256]; /* of strings */
};

static bool
operand_parse(struct arena *a, const char *s, struct operand *o)
{
	char name[16];
	size_t n = strcspn(s, "[:=");
	char *end;

	memset(o, 0, sizeof *o);
	if (strcmp(s, "-") == 0)
		return o->absent = true;
	if (n >= sizeof name)
		return false;
	memcpy(name, s, n);
	name[n] = 0;
	if ((o->dtype = dtype_from_name(name)) == DT_none)
		return false;
	s += n;
	if (*s == '[') {
		s++;
		while (*s && *s != ']') {
			o->dims[o->rank++] = strtoll(s, &end, 10);
			s = *end == ',' ? end + 1 : end;
		}
		s += *s == ']';
	} else if (*s == '=')
		o->rank = -1;
	if (*s == ':' && s[1] != '{')
		snprintf(o->how, sizeof o->how, "%s", s + 1);
	if (*s != '=' && (*s != ':' || s[1] != '{'))
		return true;
	o->constant = *s == '=';
	for (s += 2; o->dtype == DT_str && o->nval < 256; s += n + 1) {
		char *t = arena_strndup(a, s, n = strcspn(s, ",}"));

		for (char *q = t; (q = strchr(q, '~'));)
			*q = ' ';
		o->text[o->nval++] = t;
		if (s[n] != ',')
			break;
	}
	for (; o->dtype != DT_str && *s && *s != '}' && o->nval < 256;
	     s = *end == ',' ? end + 1 : end) {
		o->val[o->nval++] = strtod(s, &end);
		if (end == s)
			return false;
	}
	if (o->rank < 0) {
		o->rank = 1;
		o->dims[0] = o->nval;
	}
	return true;
}

static struct etensor *
operand_content(struct arena *a, const struct operand *o, uint64_t *state)
{
	struct etensor *e = etensor_new(a, o->dtype, o->rank, o->dims);

	for (int64_t i = 0; e->s && i < e->count; i++) {
		static const char *const words[] = {"monday", "", "Bc", "a", "12", "\xC3\xA9t\xC3\xA9", "a~b", "MONDAY"};

		e->s[i] = o->nval ? o->text[i % o->nval] : words[(int)(draw(state) * 8)];
	}
	for (int64_t i = 0; !e->s && i < e->count; i++) {
		double v = o->nval ? o->val[i % o->nval] : sample(o->how, state, i, e->count);

		if (!o->nval && dtype_info[o->dtype].class != DC_FLOAT && o->how[0] != '<')
			v = o->dtype == DT_bool ? v > 0 : (double)(int64_t)(v * 3);
		et_put(e, i, v);
	}
	return etensor_from(a, etensor_to(a, e)); /* as the type holds it */
}

/* ---- attributes: "axis=1 dims=2,3 mode=linear to=f32 value=f32:0.5" */
static bool
attr_parse(struct arena *a, enum op op, char *text, struct attr *at)
{
	char *eq = strchr(text, '='), *s, *end, *p;
	const struct attr_info *info;
	int64_t *ints = arena_array(a, int64_t, 64), one = 1;
	double *floats = arena_array(a, double, 64);
	const char **strings = arena_array(a, const char *, 64);
	struct tensor *t;

	if (!eq)
		return false;
	*eq = 0;
	s = eq + 1;
	if (!(info = op_attr(op, text)))
		return false;
	*at = (struct attr){.name = info->name, .kind = info->kind};
	switch (info->kind) {
	case ATTR_INT:
		at->i = dtype_from_name(s) != DT_none ? (int64_t)dtype_from_name(s) : strtoll(s, NULL, 10);
		return true;
	case ATTR_FLOAT:
		at->f = strtod(s, NULL);
		return true;
	case ATTR_STRING:
		at->s = s;
		return true;
	case ATTR_INTS:
		for (; *s && at->n < 64; s = *end == ',' ? end + 1 : end)
			ints[at->n++] = strtoll(s, &end, 10);
		at->ints = ints;
		return true;
	case ATTR_FLOATS:
		for (; *s && at->n < 64; s = *end == ',' ? end + 1 : end)
			floats[at->n++] = strtod(s, &end);
		at->floats = floats;
		return true;
	case ATTR_STRINGS:
		for (s = strtok(s, ","); s && at->n < 64; s = strtok(NULL, ","))
			strings[at->n++] = s;
		at->strings = strings;
		return true;
	case ATTR_TENSOR:
		if (!(end = strchr(s, ':')))
			return false;
		*end = 0;
		for (one = 1, p = end + 1; *p; p++)
			one += *p == ',';
		t = tensor_new(a, dtype_from_name(s), 1, &one);
		for (int64_t i = 0; i < one; i++, end++)
			dtype_put_f(t->dtype, t->data, i, strtod(end + 1, &end));
		at->t = t;
		return true;
	default:
		return false;
	}
}

/* The words of s, split at spaces. */
static int
words(struct arena *a, const char *s, char **w, int max)
{
	char *copy = arena_strdup(a, s), *save = NULL;
	int n = 0;

	for (char *p = strtok_r(copy, " ", &save); p && n < max; p = strtok_r(NULL, " ", &save))
		w[n++] = p;
	return n;
}

struct graph *
case_build(struct arena *a, const struct op_case *c, struct diag *d, struct etensor **feed)
{
	struct graph *g = graph_create(a, op_info[c->op].id);
	struct value *in[CASE_INPUTS] = {0};
	char *w[CASE_INPUTS];
	uint64_t state = seed_of(op_info[c->op].id);
	int nin = words(a, c->operands, w, CASE_INPUTS), nfeed = 0, na;
	struct node *n;

	for (int i = 0; i < nin; i++) {
		struct operand o;
		struct etensor *e;

		if (!operand_parse(a, w[i], &o)) {
			diag_invalid(d, LOC_NONE, "operand \"%s\" of case %s", w[i], case_text(a, c));
			return NULL;
		}
		if (o.absent)
			continue;
		e = operand_content(a, &o, &state);
		if (o.constant)
			in[i] = graph_const(g, arena_printf(a, "c%d", i), etensor_to(a, e));
		else {
			in[i] = graph_input(g, arena_printf(a, "x%d", i), o.dtype, o.rank, o.dims);
			feed[nfeed++] = e;
		}
	}
	n = graph_node(g, c->op, "it", (struct loc){.file = "cases.def", .node = -1, .op = op_info[c->op].id},
	    nin, in, c->nout);
	na = words(a, c->attrs, w, CASE_INPUTS);
	for (int i = 0; i < na; i++) {
		struct attr at;

		if (!attr_parse(a, c->op, w[i], &at)) {
			diag_invalid(d, LOC_NONE, "attribute \"%s\" of case %s", w[i], case_text(a, c));
			return NULL;
		}
		node_set_attr(g, n, &at);
	}
	if (!node_infer(g, n, d))
		return NULL;
	for (int i = 0; i < c->nout; i++)
		graph_output(g, arena_printf(a, "y%d", i), n->out[i]);
	return g;
}
