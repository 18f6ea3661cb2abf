/* parse -- reads what print.c writes (docs/ir.md).  Types of a node's results may
 * be left out; given or not, they are inferred and must agree.  Nothing in the
 * text is trusted: sizes, names, nesting and numbers are all checked. */
#include "ir/ir.h"
#include "ir/layout.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_NEST = 16, MAX_DIM_NEST = 32, MAX_OPERANDS = 1 << 16 };
static const int64_t MAX_ELEMENTS = INT64_C(1) << 28;

enum token { T_END, T_WORD, T_INT, T_FLOAT, T_STRING, T_VALUE, T_PUNCT };

struct parser {
	struct arena *arena, *scratch;
	struct diag *diag;
	const char *file, *at;
	int line;
	/* the current token */
	enum token tok;
	char punct;
	const char *text; /* T_WORD, T_STRING, T_VALUE (name, NULL: a number), number as written */
	int64_t i;        /* T_INT; T_VALUE without name */
	double f;         /* T_INT and T_FLOAT */
	int tokline, lastline; /* of the token, and of the one before it */
	int stmtline;          /* where the statement being read began */
	bool failed;
	int nest;
};

/* Names seen in a graph; inner graphs see the outer ones. */
struct scope { struct graph *g; struct map *names; const struct scope *outer; };

#define fail(...) (fail_at(__VA_ARGS__), false)
#define fail_stmt(p, ...) ((p)->tokline = (p)->stmtline, fail(p, __VA_ARGS__)) /* of what is behind */
static void fail_at(struct parser *, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* The first mistake is reported, and the rest of the text is not looked at. */
static void
fail_at(struct parser *p, const char *fmt, ...)
{
	va_list ap;

	if (!p->failed) {
		va_start(ap, fmt);
		diag_invalid(p->diag, ((struct loc){.file = p->file, .line = p->tokline, .node = -1}), "%s",
		    arena_vprintf(p->scratch, fmt, ap));
		va_end(ap);
	}
	p->failed = true;
	p->tok = T_END;
}

/* ---- lexer */
static int
hex4(const char *s)
{
	int v = 0, i, d;

	for (i = 0; i < 4; i++) {
		if (!isxdigit((unsigned char)s[i]))
			return -1;
		d = isdigit((unsigned char)s[i]) ? s[i] - '0' : (s[i] | 32) - 'a' + 10;
		v = v * 16 + d;
	}
	return v;
}

static const char *
lex_string(struct parser *p)
{
	struct str s = {0};
	const char *out;
	char c;
	int v;

	str_add(&s, "");
	for (p->at++; *p->at != '"'; p->at++) {
		if (!*p->at || *p->at == '\n') {
			str_free(&s);
			fail_at(p, "string without its closing quote");
			return "";
		}
		c = *p->at;
		if (c == '\\') {
			c = *++p->at;
			if (c == 'n') {
				c = '\n';
			} else if (c == 't') {
				c = '\t';
			} else if (c == 'u') {
				v = hex4(p->at + 1);
				if (v < 1 || v > 127) {
					str_free(&s);
					fail_at(p, "bad \\u escape in a string");
					return "";
				}
				c = (char)v;
				p->at += 4;
			} else if (c != '"' && c != '\\') {
				str_free(&s);
				fail_at(p, "unknown escape in a string");
				return "";
			}
		}
		str_addn(&s, &c, 1);
	}
	p->at++;
	out = arena_strndup(p->scratch, s.s, s.n);
	str_free(&s);
	return out;
}

static bool
name_char(char c)
{
	return isalnum((unsigned char)c) || (c && strchr("_./-", c));
}

static const char *
lex_name(struct parser *p)
{
	const char *from = p->at;

	while (name_char(*p->at))
		p->at++;
	return arena_strndup(p->scratch, from, (size_t)(p->at - from));
}

static void
lex_number(struct parser *p)
{
	const char *from = p->at, *q = from + (*from == '-');
	bool real = false;
	char *end;

	if (str_starts(q, "inf") || str_starts(q, "nan")) {
		p->tok = T_FLOAT;
		p->f = *q == 'n' ? NAN : *from == '-' ? -INFINITY : INFINITY;
		p->at = q + 3;
		p->text = "";
		return;
	}
	while (isdigit((unsigned char)*q))
		q++;
	if (*q == '.' && isdigit((unsigned char)q[1])) {
		real = true;
		for (q++; isdigit((unsigned char)*q);)
			q++;
	}
	if ((*q == 'e' || *q == 'E') &&
	    (isdigit((unsigned char)q[1]) || ((q[1] == '-' || q[1] == '+') && isdigit((unsigned char)q[2])))) {
		real = true;
		for (q += 2; isdigit((unsigned char)*q);)
			q++;
	}
	p->text = arena_strndup(p->scratch, from, (size_t)(q - from));
	p->f = strtod(p->text, &end);
	p->tok = real ? T_FLOAT : T_INT;
	if (!real) {
		errno = 0;
		p->i = strtoll(p->text, &end, 10);
		if (errno) {
			errno = 0;
			p->i = (int64_t)strtoull(p->text, &end, 10);
			if (errno || *p->text == '-')
				fail_at(p, "integer %s is out of range", p->text);
		}
	}
	p->at = q;
}

static void
next(struct parser *p)
{
	char c;

	if (p->failed)
		return;
	p->lastline = p->tokline;
	for (;; p->at++) {
		if (*p->at == '\n')
			p->line++;
		else if (*p->at == '#')
			while (p->at[1] && p->at[1] != '\n')
				p->at++;
		else if (*p->at != ' ' && *p->at != '\t' && *p->at != '\r')
			break;
	}
	p->tokline = p->line;
	c = *p->at;
	if (!c) {
		p->tok = T_END;
	} else if (c == '"') {
		p->tok = T_STRING;
		p->text = lex_string(p);
	} else if (c == '%') {
		p->at++;
		p->tok = T_VALUE;
		p->i = 0;
		if (*p->at == '"') {
			p->text = lex_string(p);
		} else if (isdigit((unsigned char)*p->at)) {
			p->text = NULL;
			for (; isdigit((unsigned char)*p->at) && p->i < INT32_MAX; p->at++)
				p->i = p->i * 10 + (*p->at - '0');
			if (name_char(*p->at))
				fail_at(p, "a value's name that starts with a digit needs quotes");
		} else if (name_char(*p->at)) {
			p->text = lex_name(p);
		} else {
			fail_at(p, "a value's name must follow %%");
		}
	} else if (isdigit((unsigned char)c) ||
	           (c == '-' && (isdigit((unsigned char)p->at[1]) || str_starts(p->at + 1, "inf") ||
	                            str_starts(p->at + 1, "nan"))) ||
	           ((str_starts(p->at, "inf") || str_starts(p->at, "nan")) && !name_char(p->at[3]))) {
		lex_number(p);
	} else if (isalpha((unsigned char)c) || c == '_') {
		const char *from = p->at;

		while (isalnum((unsigned char)*p->at) || *p->at == '_')
			p->at++;
		p->tok = T_WORD;
		p->text = arena_strndup(p->scratch, from, (size_t)(p->at - from));
	} else {
		p->tok = T_PUNCT;
		p->punct = c;
		p->at++;
	}
}

static bool
is(struct parser *p, char c)
{
	return p->tok == T_PUNCT && p->punct == c;
}

static bool
word(struct parser *p, const char *w)
{
	return p->tok == T_WORD && strcmp(p->text, w) == 0;
}

static bool
accept(struct parser *p, char c)
{
	if (!is(p, c))
		return false;
	next(p);
	return true;
}

static bool
accept_word(struct parser *p, const char *w)
{
	if (!word(p, w))
		return false;
	next(p);
	return true;
}

static bool
expect(struct parser *p, char c, const char *where)
{
	return accept(p, c) || fail(p, "'%c' expected %s", c, where);
}

static bool
take_int(struct parser *p, int64_t *v, const char *what)
{
	if (p->tok != T_INT)
		return fail(p, "an integer expected for %s", what);
	*v = p->i;
	next(p);
	return true;
}

static const char *
take_string(struct parser *p, const char *what)
{
	const char *s = p->text;

	if (p->tok != T_STRING) {
		fail_at(p, "a quoted string expected for %s", what);
		return "";
	}
	next(p);
	return s;
}

/* ---- dims: sums of products of numbers, symbols, (..), min(..), max(..) */
static bool dim_sum(struct parser *, struct graph *, int64_t *, int);

static bool
dim_factor(struct parser *p, struct graph *g, int64_t *d, int depth)
{
	int64_t a, b;
	bool min;

	if (depth > MAX_DIM_NEST)
		return fail(p, "size expression nested deeper than %d", MAX_DIM_NEST);
	if (p->tok == T_INT) {
		if (p->i < 0 || *p->text == '-')
			return fail(p, "size %s is negative", p->text);
		*d = p->i;
		next(p);
		return true;
	}
	if (accept(p, '('))
		return dim_sum(p, g, d, depth + 1) && expect(p, ')', "after a size expression");
	if (p->tok == T_WORD && (word(p, "min") || word(p, "max"))) {
		min = word(p, "min");
		next(p);
		if (!expect(p, '(', "after min or max") || !dim_sum(p, g, &a, depth + 1) ||
		    !expect(p, ',', "between two sizes") || !dim_sum(p, g, &b, depth + 1) ||
		    !expect(p, ')', "after two sizes"))
			return false;
		*d = min ? dim_min(g, a, b) : dim_max(g, a, b);
		return true;
	}
	if (p->tok == T_WORD || p->tok == T_STRING) {
		*d = dim_symbol(g, p->text, 0, INT64_MAX);
		next(p);
		return true;
	}
	return fail(p, "a size expected");
}

/* Terms multiply out; what a text may ask for is bounded. */
static bool
dim_bounded(struct parser *p, int *steps)
{
	return ++*steps <= 16 || fail(p, "size expression of more than 16 terms");
}

static bool
dim_product(struct parser *p, struct graph *g, int64_t *d, int depth)
{
	int64_t e;
	int steps = 0;
	bool mul;

	if (!dim_factor(p, g, d, depth))
		return false;
	while (is(p, '*') || is(p, '/')) {
		mul = is(p, '*');
		next(p);
		if (!dim_factor(p, g, &e, depth) || !dim_bounded(p, &steps))
			return false;
		if (!mul && e == 0)
			return fail(p, "size divided by zero");
		if (!dim_fits(g, *d, e))
			return fail(p, "size expression is too large");
		*d = mul ? dim_mul(g, *d, e) : dim_div(g, *d, e);
	}
	return true;
}

static bool
dim_sum(struct parser *p, struct graph *g, int64_t *d, int depth)
{
	int64_t e, plus = 0, minus = 0;
	int steps = 0;
	bool neg = accept(p, '-');

	/* Positive terms first, so that constants do not dip below zero on the way;
	 * "-3" right after a term is lexed as a number. */
	for (;;) {
		if (!dim_product(p, g, &e, depth) || !dim_bounded(p, &steps))
			return false;
		if (!dim_fits(g, neg ? minus : plus, e))
			return fail(p, "size expression is too large");
		if (neg)
			minus = dim_add(g, minus, e);
		else
			plus = dim_add(g, plus, e);
		if (is(p, '+') || is(p, '-')) {
			neg = is(p, '-');
			next(p);
		} else if (p->tok == T_INT && *p->text == '-') {
			neg = true;
			p->i = p->i == INT64_MIN ? INT64_MAX : -p->i;
			p->text++;
		} else {
			break;
		}
	}
	if (!dim_fits(g, plus, minus))
		return fail(p, "size expression is too large");
	*d = dim_sub(g, plus, minus);
	return true;
}

/* ---- types, layouts, data */
static bool
parse_layout(struct parser *p, struct value *v)
{
	struct layout *l = arena_new(p->arena, struct layout);
	int64_t d, e, lo, hi, total = 1;

	if (!expect(p, '<', "after layout"))
		return false;
	while (!is(p, '>') && !is(p, ';')) {
		if (l->n == MAX_PHYS)
			return fail(p, "layout of more than %d dims", MAX_PHYS);
		if (!take_int(p, &d, "a layout's dim") || !expect(p, ':', "in a layout") ||
		    !take_int(p, &e, "a layout's extent"))
			return false;
		l->phys[l->n] = (struct phys){(int)d, e, 1};
		if (accept(p, '/') && !take_int(p, &l->phys[l->n].step, "a layout's step"))
			return false;
		if (d < 0 || d >= v->rank || e < 1 || l->phys[l->n].step < 1 ||
		    __builtin_mul_overflow(total, e, &total) || total > INT64_MAX / 16)
			return fail(p, "layout does not fit a value of rank %d", v->rank);
		l->n++;
		if (!is(p, '>') && !is(p, ';') && !expect(p, ',', "in a layout"))
			return false;
	}
	if (accept(p, ';'))
		do {
			if (!take_int(p, &d, "a halo's dim") || !expect(p, '+', "in a halo") ||
			    !take_int(p, &lo, "a halo") || !expect(p, '+', "in a halo") ||
			    !take_int(p, &hi, "a halo"))
				return false;
			if (d < 0 || d >= v->rank || lo < 0 || hi < 0 || lo > 1 << 20 || hi > 1 << 20)
				return fail(p, "halo does not fit a value of rank %d", v->rank);
			l->lo[d] = lo;
			l->hi[d] = hi;
		} while (accept(p, ','));
	v->layout = l;
	return expect(p, '>', "after a layout");
}

static bool
parse_type(struct parser *p, struct graph *g, enum dtype *dtype, int *rank, int64_t *dims)
{
	if (p->tok != T_WORD || (*dtype = dtype_from_name(p->text)) == DT_none)
		return fail(p, "an element type (f32, i64, ...) expected");
	next(p);
	*rank = 0;
	if (!accept(p, '['))
		return true;
	do {
		if (*rank == MAX_RANK)
			return fail(p, "more than %d dims", MAX_RANK);
		if (!dim_sum(p, g, &dims[(*rank)++], 0))
			return false;
	} while (accept(p, ','));
	return expect(p, ']', "after the dims");
}

static bool
parse_element(struct parser *p, struct tensor *t, int64_t i)
{
	enum dtype_class class = dtype_info[t->dtype].class;
	int part;

	if (class == DC_STRING) {
		((char **)t->data)[i] = arena_strdup(p->arena, take_string(p, "an element"));
		return !p->failed;
	}
	if (class == DC_COMPLEX || class == DC_FLOAT) {
		for (part = 0; part <= (class == DC_COMPLEX); part++) {
			if (p->tok != T_INT && p->tok != T_FLOAT)
				return fail(p, "a number expected");
			dtype_put_f(t->dtype, t->data, class == DC_COMPLEX ? 2 * i + part : i,
			    p->tok == T_INT && *p->text == '-' && p->f == 0 ? -0.0 : p->f);
			next(p);
		}
		return true;
	}
	if (p->tok != T_INT)
		return fail(p, "an integer expected");
	dtype_put_i(t->dtype, t->data, i, p->i);
	next(p);
	return true;
}

static bool
parse_data(struct parser *p, enum dtype dtype, int rank, const int64_t *dims, const struct tensor **out)
{
	int64_t n = dims_count(rank, dims), i;
	size_t size;
	struct tensor *t;

	if (n < 0)
		return fail_stmt(p, "a constant needs constant dims");
	if (n > MAX_ELEMENTS)
		return fail_stmt(p, "constant of %lld elements; at most %lld in text", (long long)n,
		    (long long)MAX_ELEMENTS);
	if (word(p, "sha256"))
		return fail(p, "the data of this constant was left out of the text; print it with all data");
	if (accept_word(p, "splat")) {
		if (n == 0)
			return fail(p, "splat of no elements");
		t = tensor_new(p->arena, dtype, rank, dims);
		if (!parse_element(p, t, 0))
			return false;
		size = dtype_bytes(dtype, 1);
		if (dtype_info[dtype].bits < 8)
			return fail(p, "splat of %s", dtype_info[dtype].name);
		for (i = 1; i < n; i++)
			memcpy((char *)t->data + (size_t)i * size, t->data, size);
		*out = t;
		return true;
	}
	if (!expect(p, '{', "before the data"))
		return false;
	/* at least two characters for each element must be there */
	if (n > 1 && (size_t)n > strlen(p->at) + 2)
		return fail(p, "%lld elements are announced, the text ends before", (long long)n);
	t = tensor_new(p->arena, dtype, rank, dims);
	for (i = 0; i < n; i++)
		if ((i && !expect(p, ',', "between elements")) || !parse_element(p, t, i))
			return false;
	*out = t;
	return expect(p, '}', "after the data");
}

static bool
parse_loc(struct parser *p, struct loc *l)
{
	const char *file;
	int64_t v;

	*l = LOC_NONE;
	if (!accept(p, '@'))
		return true;
	file = take_string(p, "a location's file");
	l->file = *file ? arena_strdup(p->arena, file) : NULL;
	if (accept_word(p, "line")) {
		if (!take_int(p, &v, "a line"))
			return false;
		l->line = (int)v;
	}
	if (accept(p, ':')) {
		if (!take_int(p, &v, "a node's number"))
			return false;
		if (v < 0 || v > INT32_MAX)
			return fail(p, "node number %lld", (long long)v);
		l->node = (int)v;
	}
	if (p->tok == T_STRING && p->tokline == p->lastline)
		l->name = arena_strdup(p->arena, take_string(p, "a name"));
	if (accept_word(p, "op"))
		l->op = arena_strdup(p->arena, take_string(p, "an operator"));
	if (accept_word(p, "by"))
		l->maker = arena_strdup(p->arena, take_string(p, "a maker"));
	return !p->failed;
}

/* ---- values */
static const char *
key(struct parser *p, const char *name, int64_t number)
{
	return name ? arena_printf(p->scratch, "n%s", name) : arena_printf(p->scratch, "#%lld", (long long)number);
}

static struct value *
find(struct parser *p, const struct scope *s)
{
	const char *k = key(p, p->text, p->i);
	struct value *v;

	for (; s; s = s->outer)
		if ((v = map_get(s->names, k)))
			return v;
	fail_at(p, "value %%%s is not defined", k + 1);
	return NULL;
}

static bool
define(struct parser *p, struct scope *s, const char *name, int64_t number, struct value *v)
{
	const char *k = key(p, name, number);
	const struct scope *o;

	for (o = s; o; o = o->outer)
		if (map_get(o->names, k))
			return fail_stmt(p, "value %%%s is defined twice", k + 1);
	map_put(s->names, k, v);
	return true;
}

struct target { bool absent; const char *name; int64_t number; };

static bool
parse_given(struct parser *p, struct scope *s, struct target t)
{
	bool is_input = word(p, "input"), is_state = word(p, "state"), trainable = false;
	enum dtype dtype;
	int rank;
	int64_t dims[MAX_RANK];
	const struct tensor *data = NULL;
	struct value typed = {.rank = 0}, *v;

	next(p);
	if (is_state)
		trainable = accept_word(p, "trainable");
	if (!parse_type(p, s->g, &dtype, &rank, dims))
		return false;
	typed.rank = rank;
	if (accept_word(p, "layout") && !parse_layout(p, &typed))
		return false;
	if (!is_input && !parse_data(p, dtype, rank, dims, &data))
		return false;
	v = is_input ? graph_input(s->g, t.name, dtype, rank, dims)
	             : is_state ? graph_state(s->g, t.name, data, trainable) : graph_const(s->g, t.name, data);
	v->layout = typed.layout;
	return parse_loc(p, &v->loc) && define(p, s, t.name, t.number, v);
}

/* ---- attributes */
static bool parse_graph(struct parser *, struct graph **, const struct scope *);

static bool
parse_list(struct parser *p, struct scope *s, enum op op, struct attr *a, enum attr_kind kind)
{
	VEC(int64_t) ints = {0};
	VEC(double) floats = {0};
	VEC(const char *) strings = {0};
	bool dims = attr_holds_dims(op, a->name);
	int64_t d;

	while (!is(p, ']')) {
		if (kind == ATTR_NONE)
			kind = p->tok == T_STRING && !dims ? ATTR_STRINGS : p->tok == T_FLOAT ? ATTR_FLOATS : ATTR_INTS;
		if (kind == ATTR_STRINGS) {
			vec_push(p->scratch, &strings, take_string(p, "a list element"));
		} else if (kind == ATTR_FLOATS) {
			if (p->tok != T_FLOAT && p->tok != T_INT)
				return fail(p, "a number expected");
			vec_push(p->scratch, &floats, p->f);
			next(p);
		} else {
			if (dims ? !dim_sum(p, s->g, &d, 0) : !take_int(p, &d, "a list element"))
				return false;
			vec_push(p->scratch, &ints, d);
		}
		if (p->failed || (!is(p, ']') && !expect(p, ',', "in a list")))
			return false;
	}
	a->kind = kind == ATTR_NONE ? ATTR_INTS : kind;
	a->n = ints.n + floats.n + strings.n;
	a->ints = ints.v;
	a->floats = floats.v;
	a->strings = strings.v;
	return expect(p, ']', "after a list");
}

static bool
parse_attr_value(struct parser *p, struct scope *s, enum op op, struct attr *a)
{
	enum dtype dtype;
	int rank;
	int64_t dims[MAX_RANK];

	switch (p->tok) {
	case T_INT:
		a->kind = ATTR_INT;
		a->i = p->i;
		next(p);
		return true;
	case T_FLOAT:
		a->kind = ATTR_FLOAT;
		a->f = p->f;
		next(p);
		return true;
	case T_STRING:
		a->kind = ATTR_STRING;
		a->s = p->text;
		next(p);
		return true;
	case T_WORD:
		if (word(p, "graph")) {
			a->kind = ATTR_GRAPH;
			return parse_graph(p, &a->g, s);
		}
		if (word(p, "ints") || word(p, "floats") || word(p, "strings")) {
			enum attr_kind kind = word(p, "ints") ? ATTR_INTS : word(p, "floats") ? ATTR_FLOATS : ATTR_STRINGS;

			next(p);
			return expect(p, '[', "before a list") && parse_list(p, s, op, a, kind);
		}
		if (strcmp(a->name, "to") == 0 && op_info[op].class != OC_composite) {
			a->kind = ATTR_INT;
			a->i = dtype_from_name(p->text);
			if (a->i == DT_none)
				return fail(p, "unknown element type \"%s\"", p->text);
			next(p);
			return true;
		}
		if (!parse_type(p, s->g, &dtype, &rank, dims))
			return false;
		a->kind = ATTR_TENSOR;
		return parse_data(p, dtype, rank, dims, &a->t);
	default:
		if (accept(p, '['))
			return parse_list(p, s, op, a, ATTR_NONE);
		return fail(p, "an attribute's value expected");
	}
}

/* ---- nodes */
static bool
parse_operands(struct parser *p, struct scope *s, void *vec)
{
	VEC(struct value *) *in = vec;
	struct value *v;

	if (p->tok != T_VALUE && !word(p, "_"))
		return true;
	do {
		if (accept_word(p, "_")) {
			v = NULL;
		} else if (p->tok == T_VALUE) {
			v = find(p, s);
			next(p);
		} else {
			return fail(p, "an operand expected");
		}
		if (in->n == MAX_OPERANDS)
			return fail(p, "more than %d operands", MAX_OPERANDS);
		vec_push(p->scratch, in, v);
	} while (!p->failed && accept(p, ','));
	return !p->failed;
}

static bool
same_type(struct parser *p, struct graph *g, const struct value *said, const struct value *v)
{
	if (said->dtype == v->dtype && dims_equal(said->rank, said->dims, v->rank, v->dims))
		return true;
	return fail_stmt(p, "the type is given as %s, the operands give %s", value_type_text(g, said),
	    value_type_text(g, v));
}

static bool
infer(struct parser *p, struct graph *g, struct node *n, int line)
{
	struct loc keep = n->loc;
	bool ok;

	if (!n->loc.file) {
		n->loc.file = p->file;
		n->loc.line = line;
		n->loc.op = op_info[n->op].id;
	}
	ok = node_infer(g, n, p->diag);
	n->loc = keep;
	if (!ok && !p->diag->errors)
		fail_at(p, "the types of %s cannot be inferred", op_info[n->op].id);
	p->failed |= !ok;
	return ok;
}

static bool
parse_node(struct parser *p, struct scope *s, int nout, const struct target *out)
{
	VEC(struct value *) in = {0};
	VEC(struct attr) attrs = {0};
	struct value *said = arena_array(p->scratch, struct value, nout);
	enum op op = p->tok == T_WORD ? op_from_id(p->text) : OP_none;
	const char *name = NULL;
	struct loc loc;
	struct node *n;
	bool typed = false;
	int i, line = p->stmtline;

	if (p->tok != T_WORD)
		return fail(p, "an operator expected");
	if (op == OP_none)
		return fail(p, "unknown operator \"%s\"", p->text);
	next(p);
	if (!parse_operands(p, s, &in))
		return false;
	if (accept(p, '(')) {
		do {
			struct attr a = {0};

			if (p->tok != T_WORD)
				return fail(p, "an attribute's name expected");
			a.name = p->text;
			next(p);
			if (!expect(p, '=', "after an attribute's name") || !parse_attr_value(p, s, op, &a))
				return false;
			vec_push(p->scratch, &attrs, a);
		} while (accept(p, ','));
		if (!expect(p, ')', "after the attributes"))
			return false;
	}
	if (accept(p, ':')) {
		typed = true;
		for (i = 0; i < nout; i++) {
			if (i && !expect(p, ',', "between types"))
				return false;
			if (accept_word(p, "_") || p->failed)
				continue;
			if (!parse_type(p, s->g, &said[i].dtype, &said[i].rank, said[i].dims))
				return false;
			if (accept_word(p, "layout") && !parse_layout(p, &said[i]))
				return false;
		}
	}
	if (p->tok == T_STRING && p->tokline == p->lastline)
		name = take_string(p, "a node's name");
	if (!parse_loc(p, &loc))
		return false;
	n = graph_node(s->g, op, name, loc, in.n, in.v, nout);
	for (i = 0; i < attrs.n; i++) {
		if (attr_has(n, attrs.v[i].name))
			return fail_stmt(p, "attribute \"%s\" is given twice", attrs.v[i].name);
		node_set_attr(s->g, n, &attrs.v[i]);
	}
	for (i = 0; i < nout; i++) {
		if (out[i].absent) {
			n->out[i] = NULL;
			continue;
		}
		n->out[i]->name = out[i].name ? intern(s->g->names, out[i].name) : NULL;
		if (!define(p, s, out[i].name, out[i].number, n->out[i]))
			return false;
	}
	if (!infer(p, s->g, n, line))
		return false;
	for (i = 0; i < nout; i++) {
		if (!n->out[i])
			continue;
		if (n->out[i]->dtype == DT_none)
			return fail_stmt(p, "result %d of %s has no type", i, op_info[op].id);
		if (typed && said[i].dtype != DT_none && !same_type(p, s->g, &said[i], n->out[i]))
			return false;
		n->out[i]->layout = said[i].layout;
	}
	return true;
}

static bool
parse_assignment(struct parser *p, struct scope *s)
{
	VEC(struct target) t = {0};

	do {
		struct target one = {.absent = word(p, "_"), .name = p->text, .number = p->i};

		if (!one.absent && p->tok != T_VALUE)
			return fail(p, "a value expected");
		vec_push(p->scratch, &t, one);
		next(p);
	} while (accept(p, ','));
	if (!expect(p, '=', "after the results"))
		return false;
	if (word(p, "input") || word(p, "state") || word(p, "const")) {
		if (t.n != 1 || t.v[0].absent)
			return fail(p, "one name expected before %s", p->text);
		return parse_given(p, s, t.v[0]);
	}
	return parse_node(p, s, t.n, t.v);
}

static bool
parse_symbol(struct parser *p, struct graph *g)
{
	const char *name = p->text;
	int64_t lo, hi = INT64_MAX;

	if (p->tok != T_WORD && p->tok != T_STRING)
		return fail(p, "a symbol's name expected");
	next(p);
	if (!take_int(p, &lo, "the lower bound"))
		return false;
	if (!expect(p, '.', "between the bounds") || !expect(p, '.', "between the bounds"))
		return false;
	if (!accept(p, '*') && !take_int(p, &hi, "the upper bound"))
		return false;
	if (lo < 0 || hi <= lo)
		return fail_stmt(p, "bounds %lld..%lld of %s", (long long)lo, (long long)hi, name);
	dim_symbol(g, name, lo, hi);
	return true;
}

static bool
parse_size(struct parser *p, struct scope *s)
{
	const char *name = p->text;
	struct graph *g = s->g;
	struct value *v;
	int64_t d;

	if (p->tok != T_WORD && p->tok != T_STRING)
		return fail(p, "a symbol's name expected");
	d = dim_symbol(g, name, 0, INT64_MAX);
	next(p);
	if (!expect(p, '=', "in a size"))
		return false;
	if (p->tok != T_VALUE)
		return fail(p, "a value expected");
	v = find(p, s);
	next(p);
	if (!v)
		return false;
	if (v->dtype != DT_i64 || v->rank != 0)
		return fail_stmt(p, "a size is an i64 scalar, not %s", value_type_text(g, v));
	if (dim_hi(g, d) == INT64_MAX)
		return fail_stmt(p, "measured size %s has no upper bound", name);
	if (graph_size_of(g, d))
		return fail_stmt(p, "size %s is given twice", name);
	graph_measure(g, name, v, dim_lo(g, d), dim_hi(g, d));
	return true;
}

static bool
parse_statement(struct parser *p, struct scope *s)
{
	struct value *v, *w;

	p->stmtline = p->tokline;
	if (p->tok == T_VALUE || word(p, "_"))
		return parse_assignment(p, s);
	if (accept_word(p, "dim"))
		return parse_symbol(p, s->g);
	if (accept_word(p, "output")) {
		if (p->tok != T_VALUE)
			return fail(p, "a value expected after output");
		v = find(p, s);
		next(p);
		if (!v)
			return false;
		graph_output(s->g,
		    p->tok == T_STRING && p->tokline == p->lastline ? take_string(p, "an output's name")
		                                                    : v->name ? v->name : "output", v);
		return !p->failed;
	}
	if (accept_word(p, "size"))
		return parse_size(p, s);
	if (accept_word(p, "update")) {
		if (p->tok != T_VALUE)
			return fail(p, "a value expected after update");
		v = find(p, s);
		next(p);
		if (!v || !expect(p, '=', "in an update"))
			return false;
		if (p->tok != T_VALUE)
			return fail(p, "a value expected");
		w = find(p, s);
		next(p);
		if (!w)
			return false;
		if (v->kind != VAL_STATE)
			return fail_stmt(p, "an update of a value that is not a state");
		if (!same_type(p, s->g, w, v))
			return false;
		vec_push(s->g->arena, &s->g->updates, ((struct update){v, w}));
		return true;
	}
	return fail(p, "%s", p->tok == T_END ? "the text ends inside a graph" : "a statement expected");
}

static bool
parse_graph(struct parser *p, struct graph **out, const struct scope *outer)
{
	struct scope s = {.outer = outer};
	const char *name = "graph";

	if (++p->nest > MAX_NEST)
		return fail(p, "graphs nested deeper than %d", MAX_NEST);
	if (!accept_word(p, "graph"))
		return fail(p, "\"graph\" expected");
	if (p->tok == T_WORD || p->tok == T_STRING) {
		name = p->text;
		next(p);
	}
	s.g = graph_create(p->arena, name);
	s.names = map_create(p->scratch);
	if (!expect(p, '{', "after the graph's name"))
		return false;
	while (!p->failed && !is(p, '}'))
		if (!parse_statement(p, &s))
			return false;
	next(p);
	p->nest--;
	*out = s.g;
	return !p->failed;
}

struct graph *
graph_parse(struct arena *a, const char *text, const char *file, struct diag *d)
{
	struct parser p = {.arena = a, .scratch = arena_create(), .diag = d, .file = file,
	    .at = text, .line = 1, .tokline = 1};
	struct graph *g = NULL;

	next(&p);
	if (parse_graph(&p, &g, NULL) && p.tok != T_END)
		fail_at(&p, "text after the graph");
	arena_destroy(p.scratch);
	return p.failed ? NULL : g;
}
