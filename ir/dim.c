/* dim -- symbolic sizes.  A non-constant dim is the handle -1-k of entry k in the
 * graph's table.  An entry is an atom (a symbol, floor(a/b), min, max) or a
 * polynomial of atoms with integer coefficients, kept in a normal form (monomials
 * sorted by their texts, equal ones merged, no zeros), so equal sizes get equal handles:
 * (N+1)-1 is N, (4*N+3)/4 is N, N*T == T*N.
 *
 * Sizes are never negative: a constant result below zero becomes 0. */
#include "ir/ir.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_MONO = 32, MAX_DEG = 8 };
enum kind { SYMBOL, DIV, MIN, MAX, POLY };

struct mono { int64_t coef; int n; int atom[MAX_DEG]; }; /* atoms ascending */
struct poly { int n; struct mono m[MAX_MONO]; };         /* the constant has n = 0 */
struct entry {
	enum kind kind;
	int64_t a, b;      /* DIV, MIN, MAX: dims.  SYMBOL: lo, hi */
	struct poly *poly; /* POLY */
	const char *text;
};
struct dims {
	VEC(struct entry) e;
	struct map *index; /* text -> index + 1 */
	VEC(struct fixed { const char *text; int64_t value; }) fixed;
};

static struct dims *
table(struct graph *g)
{
	if (!g->symbols) {
		g->symbols = arena_new(g->arena, struct dims);
		g->symbols->index = map_create(g->arena);
	}
	return g->symbols;
}

static const struct entry *
entry(const struct graph *g, int64_t d)
{
	if (!g->symbols || -1 - d >= g->symbols->e.n)
		die("dim %lld is not of graph %s", (long long)d, g->name);
	return &g->symbols->e.v[-1 - d];
}

static int64_t
enter(struct graph *g, const char *text, struct entry e)
{
	struct dims *t = table(g);
	intptr_t at = (intptr_t)map_get(t->index, text);

	if (!at) {
		e.text = arena_strdup(g->arena, text);
		if (e.poly)
			e.poly = arena_dup(g->arena, e.poly, sizeof *e.poly);
		vec_push(g->arena, &t->e, e);
		at = t->e.n;
		map_put(t->index, e.text, (void *)at);
	}
	return -at;
}

int64_t
dim_symbol(struct graph *g, const char *name, int64_t lo, int64_t hi)
{
	struct str s = {0};
	const char *p;
	int64_t d;
	struct entry *e;
	bool plain = *name && !(*name >= '0' && *name <= '9') && strcmp(name, "min") && strcmp(name, "max");

	if (lo == hi)
		return lo;
	for (p = name; *p; p++)
		plain &= (*p >= '0' && *p <= '9') || ((*p | 32) >= 'a' && (*p | 32) <= 'z') || *p == '_';
	if (plain)
		str_add(&s, name);
	else
		str_json(&s, name);
	d = enter(g, s.s, (struct entry){.kind = SYMBOL, .a = lo, .b = hi});
	str_free(&s);
	e = &g->symbols->e.v[-1 - d];
	if (lo > e->a)
		e->a = lo;
	if (hi < e->b)
		e->b = hi;
	return d;
}

bool
dim_is_symbol(const struct graph *g, int64_t d)
{
	return d < 0 && entry(g, d)->kind == SYMBOL;
}

int64_t
dim_find(const struct graph *g, const char *text)
{
	intptr_t at = g->symbols ? (intptr_t)map_get(g->symbols->index, text) : 0;

	return at && g->symbols->e.v[at - 1].kind == SYMBOL ? -at : 0;
}

void
dim_each_symbol(const struct graph *g, int64_t d, void (*f)(void *, int64_t), void *ctx)
{
	const struct entry *e;
	int i, j;

	if (d >= 0)
		return;
	e = entry(g, d);
	if (e->kind == SYMBOL) {
		f(ctx, d);
	} else if (e->kind == POLY) {
		for (i = 0; i < e->poly->n; i++)
			for (j = 0; j < e->poly->m[i].n; j++)
				dim_each_symbol(g, -1 - e->poly->m[i].atom[j], f, ctx);
	} else {
		dim_each_symbol(g, e->a, f, ctx);
		dim_each_symbol(g, e->b, f, ctx);
	}
}

int
dim_symbols(const struct graph *g, int64_t *d, int max)
{
	int i, n = 0;

	for (i = 0; g->symbols && i < g->symbols->e.n; i++)
		if (g->symbols->e.v[i].kind == SYMBOL) {
			if (n < max)
				d[n] = -1 - i;
			n++;
		}
	return n;
}

/* ---- bounds: interval arithmetic in 128 bits, clamped */
typedef __int128 wide;

static int64_t
clamp(wide v)
{
	return v > INT64_MAX ? INT64_MAX : v < INT64_MIN ? INT64_MIN : (int64_t)v;
}

static void bounds(const struct graph *, int64_t, int64_t *, int64_t *, int);

static wide
mulsat(wide a, int64_t b)
{
	wide lim = (wide)1 << 100;

	if (b && (a > lim / b || a < -(lim / b)))
		return a > 0 ? lim : -lim;
	return a * b;
}

static void
poly_bounds(const struct graph *g, const struct poly *p, int64_t *lo, int64_t *hi, int depth)
{
	wide l = 0, h = 0;
	int i, j;

	for (i = 0; i < p->n; i++) {
		wide ml = 1, mh = 1;

		for (j = 0; j < p->m[i].n; j++) {
			int64_t al, ah;

			bounds(g, -1 - p->m[i].atom[j], &al, &ah, depth + 1);
			ml = mulsat(ml, al < 0 ? 0 : al);
			mh = mulsat(mh, ah < 0 ? 0 : ah);
			if (ah == INT64_MAX)
				mh = (wide)1 << 100;
		}
		if (p->m[i].coef >= 0) {
			l += mulsat(ml, p->m[i].coef);
			h += mulsat(mh, p->m[i].coef);
		} else {
			l -= mulsat(mh, -p->m[i].coef);
			h -= mulsat(ml, -p->m[i].coef);
		}
	}
	*lo = clamp(l);
	*hi = clamp(h);
}

static void
bounds(const struct graph *g, int64_t d, int64_t *lo, int64_t *hi, int depth)
{
	const struct entry *e;
	int64_t al, ah, bl, bh;

	if (d >= 0) {
		*lo = *hi = d;
		return;
	}
	if (depth > 64) {
		*lo = 0;
		*hi = INT64_MAX;
		return;
	}
	e = entry(g, d);
	if (e->kind == SYMBOL) {
		*lo = e->a;
		*hi = e->b;
		return;
	}
	if (e->kind == POLY) {
		poly_bounds(g, e->poly, lo, hi, depth);
		return;
	}
	bounds(g, e->a, &al, &ah, depth + 1);
	bounds(g, e->b, &bl, &bh, depth + 1);
	switch (e->kind) {
	case DIV:
		*lo = al <= 0 ? 0 : al / (bh < 1 ? 1 : bh);
		*hi = ah == INT64_MAX ? ah : ah / (bl < 1 ? 1 : bl);
		break;
	case MIN:
		*lo = al < bl ? al : bl;
		*hi = ah < bh ? ah : bh;
		break;
	default:
		*lo = al > bl ? al : bl;
		*hi = ah > bh ? ah : bh;
	}
}

int64_t
dim_lo(const struct graph *g, int64_t d)
{
	int64_t lo, hi;

	bounds(g, d, &lo, &hi, 0);
	return lo < 0 ? 0 : lo;
}

int64_t
dim_hi(const struct graph *g, int64_t d)
{
	int64_t lo, hi;

	bounds(g, d, &lo, &hi, 0);
	return hi < 0 ? 0 : hi;
}

/* ---- polynomials */
/* Atoms stand in the order of their texts, which does not depend on when they were
 * made, so that a graph read back from text prints the same. */
static int
atom_order(const struct graph *g, int x, int y)
{
	return x == y ? 0 : strcmp(g->symbols->e.v[x].text, g->symbols->e.v[y].text);
}

static int
mono_order(const struct graph *g, const struct mono *x, const struct mono *y)
{
	int i;

	for (i = 0; i < x->n && i < y->n; i++)
		if (x->atom[i] != y->atom[i])
			return atom_order(g, x->atom[i], y->atom[i]);
	return x->n > y->n ? -1 : x->n < y->n; /* longer first: the constant is last */
}

/* p += coef * m; false when it grows out of bounds. */
static bool
poly_term(const struct graph *g, struct poly *p, const struct mono *m)
{
	int i, c;

	if (!m->coef)
		return true;
	for (i = 0; i < p->n; i++) {
		c = mono_order(g, &p->m[i], m);
		if (c == 0) {
			if (__builtin_add_overflow(p->m[i].coef, m->coef, &p->m[i].coef))
				return false;
			if (!p->m[i].coef) {
				memmove(p->m + i, p->m + i + 1, (size_t)(p->n - i - 1) * sizeof *p->m);
				p->n--;
			}
			return true;
		}
		if (c > 0)
			break;
	}
	if (p->n == MAX_MONO)
		return false;
	memmove(p->m + i + 1, p->m + i, (size_t)(p->n - i) * sizeof *p->m);
	p->m[i] = *m;
	p->n++;
	return true;
}

static struct poly
poly_of(const struct graph *g, int64_t d)
{
	struct poly p = {0};

	if (d > 0)
		poly_term(g, &p, &(struct mono){.coef = d});
	else if (d < 0 && entry(g, d)->kind == POLY)
		return *entry(g, d)->poly;
	else if (d < 0)
		poly_term(g, &p, &(struct mono){.coef = 1, .n = 1, .atom = {(int)(-1 - d)}});
	return p;
}

static int64_t
poly_dim(struct graph *g, struct poly *p)
{
	struct str s = {0};
	int i, j;
	int64_t d;

	if (p->n == 0 || (p->n == 1 && p->m[0].n == 0))
		return p->n && p->m[0].coef > 0 ? p->m[0].coef : 0;
	if (p->n == 1 && p->m[0].n == 1 && p->m[0].coef == 1)
		return -1 - p->m[0].atom[0];
	str_add(&s, "(");
	for (i = 0; i < p->n; i++) {
		const struct mono *m = &p->m[i];
		uint64_t c = m->coef < 0 ? -(uint64_t)m->coef : (uint64_t)m->coef;

		if (m->coef < 0)
			str_add(&s, "-");
		else if (i)
			str_add(&s, "+");
		for (j = 0; j < m->n; j++)
			str_addf(&s, "%s%s", j ? "*" : "", dim_text(g, -1 - m->atom[j]));
		if (m->n == 0)
			str_addf(&s, "%llu", (unsigned long long)c);
		else if (c != 1)
			str_addf(&s, "*%llu", (unsigned long long)c);
	}
	str_add(&s, ")");
	d = enter(g, s.s, (struct entry){.kind = POLY, .poly = p});
	str_free(&s);
	return d;
}

/* Half the room, so that a few more operations by shape rules still fit. */
bool
dim_fits(const struct graph *g, int64_t a, int64_t b)
{
	struct poly p = poly_of(g, a), q = poly_of(g, b);
	int i, deg[2] = {0}, n = (p.n ? p.n : 1) * (q.n ? q.n : 1);
	wide big[2] = {1, 1};

	for (i = 0; i < p.n; i++) {
		deg[0] = p.m[i].n > deg[0] ? p.m[i].n : deg[0];
		big[0] += p.m[i].coef < 0 ? -(wide)p.m[i].coef : p.m[i].coef;
	}
	for (i = 0; i < q.n; i++) {
		deg[1] = q.m[i].n > deg[1] ? q.m[i].n : deg[1];
		big[1] += q.m[i].coef < 0 ? -(wide)q.m[i].coef : q.m[i].coef;
	}
	return n <= MAX_MONO / 2 && p.n + q.n <= MAX_MONO / 2 && deg[0] + deg[1] <= MAX_DEG / 2 &&
	       mulsat(big[0], clamp(big[1])) < (wide)1 << 60;
}

static void
too_big(const struct graph *g)
{
	die("size expression of graph %s grows out of bounds", g->name);
}

int64_t
dim_add(struct graph *g, int64_t a, int64_t b)
{
	struct poly p, q;
	int64_t s;
	int i;

	if (a >= 0 && b >= 0)
		return __builtin_add_overflow(a, b, &s) ? INT64_MAX : s;
	p = poly_of(g, a);
	q = poly_of(g, b);
	for (i = 0; i < q.n; i++)
		if (!poly_term(g, &p, &q.m[i]))
			too_big(g);
	return poly_dim(g, &p);
}

int64_t
dim_sub(struct graph *g, int64_t a, int64_t b)
{
	struct poly p, q;
	int i;

	if (a >= 0 && b >= 0)
		return a > b ? a - b : 0;
	p = poly_of(g, a);
	q = poly_of(g, b);
	for (i = 0; i < q.n; i++) {
		q.m[i].coef = -q.m[i].coef;
		if (!poly_term(g, &p, &q.m[i]))
			too_big(g);
	}
	return poly_dim(g, &p);
}

static bool
mono_mul(const struct graph *g, const struct mono *x, const struct mono *y, struct mono *z)
{
	int i = 0, j = 0;

	*z = (struct mono){0};
	if (__builtin_mul_overflow(x->coef, y->coef, &z->coef) || x->n + y->n > MAX_DEG)
		return false;
	while (i < x->n || j < y->n)
		z->atom[z->n++] = j == y->n || (i < x->n && atom_order(g, x->atom[i], y->atom[j]) <= 0) ? x->atom[i++]
		                                                                      : y->atom[j++];
	return true;
}

int64_t
dim_mul(struct graph *g, int64_t a, int64_t b)
{
	struct poly p, q, r = {0};
	struct mono m;
	int64_t s;
	int i, j;

	if (a >= 0 && b >= 0)
		return __builtin_mul_overflow(a, b, &s) ? INT64_MAX : s;
	p = poly_of(g, a);
	q = poly_of(g, b);
	for (i = 0; i < p.n; i++)
		for (j = 0; j < q.n; j++)
			if (!mono_mul(g, &p.m[i], &q.m[j], &m) || !poly_term(g, &r, &m))
				too_big(g);
	return poly_dim(g, &r);
}

static int64_t
pair(struct graph *g, enum kind kind, int64_t a, int64_t b)
{
	struct str s = {0};
	int64_t d;

	if (kind == DIV)
		str_addf(&s, "(%s/%s)", dim_text(g, a), dim_text(g, b));
	else
		str_addf(&s, "%s(%s,%s)", kind == MIN ? "min" : "max", dim_text(g, a), dim_text(g, b));
	d = enter(g, s.s, (struct entry){.kind = kind, .a = a, .b = b});
	str_free(&s);
	return d;
}

/* x / y where every atom of y is in x and the coefficient divides. */
static bool
mono_div(const struct mono *x, const struct mono *y, struct mono *z)
{
	int i, j = 0;

	*z = (struct mono){0};
	if (x->coef % y->coef)
		return false;
	z->coef = x->coef / y->coef;
	for (i = 0; i < x->n; i++)
		if (j < y->n && x->atom[i] == y->atom[j])
			j++;
		else
			z->atom[z->n++] = x->atom[i];
	return j == y->n;
}

int64_t
dim_div(struct graph *g, int64_t a, int64_t b)
{
	struct poly p, q, quot = {0}, rest = {0};
	struct mono m;
	int64_t r, c;
	int i;

	if (b == 0)
		return 0;
	if (a >= 0 && b >= 0)
		return a / b;
	if (b == 1)
		return a;
	p = poly_of(g, a);
	q = poly_of(g, b);
	if (q.n != 1)
		return a == b ? 1 : pair(g, DIV, a, b);
	for (i = 0; i < p.n; i++) {
		bool exact = mono_div(&p.m[i], &q.m[0], &m);

		if (exact ? !poly_term(g, &quot, &m) : !poly_term(g, &rest, &p.m[i]))
			too_big(g);
	}
	if (rest.n == 0)
		return poly_dim(g, &quot);
	if (rest.n == 1 && rest.m[0].n == 0 && q.m[0].n == 0) {
		/* (c*Q + r) / c = Q + floor(r/c) */
		r = rest.m[0].coef;
		c = q.m[0].coef;
		r = r / c - (r % c < 0);
		if (!poly_term(g, &quot, &(struct mono){.coef = r}))
			too_big(g);
		return poly_dim(g, &quot);
	}
	return pair(g, DIV, a, b);
}

int64_t
dim_ceildiv(struct graph *g, int64_t a, int64_t b)
{
	if (b == 0)
		return 0;
	if (a >= 0 && b >= 0)
		return a / b + (a % b != 0);
	return dim_div(g, dim_add(g, a, dim_sub(g, b, 1)), b);
}

static int64_t
pick(struct graph *g, enum kind kind, int64_t a, int64_t b)
{
	int64_t al, ah, bl, bh;

	if (a == b)
		return a;
	bounds(g, a, &al, &ah, 0);
	bounds(g, b, &bl, &bh, 0);
	if (ah <= bl)
		return kind == MIN ? a : b;
	if (bh <= al)
		return kind == MIN ? b : a;
	return strcmp(dim_text(g, a), dim_text(g, b)) > 0 ? pair(g, kind, b, a) : pair(g, kind, a, b);
}

int64_t
dim_min(struct graph *g, int64_t a, int64_t b)
{
	return pick(g, MIN, a, b);
}

int64_t
dim_max(struct graph *g, int64_t a, int64_t b)
{
	return pick(g, MAX, a, b);
}

const char *
dim_text(struct graph *g, int64_t d)
{
	return d >= 0 ? arena_printf(g->arena, "%lld", (long long)d) : entry(g, d)->text;
}

static int64_t
eval(const struct graph *g, int64_t d, int64_t (*symbol)(void *, const char *, int64_t), void *ctx)
{
	const struct entry *e;
	int64_t a, b, sum = 0, m;
	int i, j;

	if (d >= 0)
		return d;
	e = entry(g, d);
	if (e->kind == SYMBOL)
		return symbol(ctx, e->text, d);
	if (e->kind == POLY) {
		for (i = 0; i < e->poly->n; i++) {
			m = e->poly->m[i].coef;
			for (j = 0; j < e->poly->m[i].n; j++)
				m *= eval(g, -1 - e->poly->m[i].atom[j], symbol, ctx);
			sum += m;
		}
		return sum < 0 ? 0 : sum;
	}
	a = eval(g, e->a, symbol, ctx);
	b = eval(g, e->b, symbol, ctx);
	if (e->kind == DIV)
		return b ? a / b : 0;
	return (e->kind == MIN) == (a < b) ? a : b;
}

void *
dim_build(const struct graph *g, int64_t d, const struct dim_algebra *a)
{
	const struct entry *e;
	void *sum[2] = {NULL, NULL}; /* of what is added, of what is taken away */
	int i, j;

	if (d >= 0)
		return a->number(a->ctx, d);
	e = entry(g, d);
	if (e->kind == SYMBOL)
		return a->symbol(a->ctx, d);
	if (e->kind != POLY)
		return a->two(a->ctx, e->kind == DIV ? '/' : e->kind == MIN ? '<' : '>', dim_build(g, e->a, a),
		    dim_build(g, e->b, a));
	for (i = 0; i < e->poly->n; i++) {
		const struct mono *m = &e->poly->m[i];
		int64_t c = m->coef < 0 ? -m->coef : m->coef;
		void *t = m->n == 0 || c != 1 ? a->number(a->ctx, c) : NULL, **to = &sum[m->coef < 0];

		for (j = 0; j < m->n; j++) {
			void *atom = dim_build(g, -1 - m->atom[j], a);

			t = t ? a->two(a->ctx, '*', atom, t) : atom;
		}
		*to = *to ? a->two(a->ctx, '+', *to, t) : t;
	}
	if (!sum[1])
		return sum[0];
	if (!sum[0])
		return a->number(a->ctx, 0);
	return a->two(a->ctx, '>', a->two(a->ctx, '-', sum[0], sum[1]), a->number(a->ctx, 0));
}

int64_t
dim_eval(const struct graph *g, int64_t d, int64_t (*symbol)(void *, const char *, int64_t), void *ctx)
{
	return eval(g, d, symbol, ctx);
}

void
dim_fix(struct graph *dst, const char *symbol, int64_t dim)
{
	vec_push(dst->arena, &table(dst)->fixed, (struct fixed){arena_strdup(dst->arena, symbol), dim});
}

int64_t
dim_import(struct graph *dst, const struct graph *src, int64_t d)
{
	const struct entry *e;
	int64_t sum = 0, neg = 0, m;
	int i, j;

	if (d >= 0 || dst == src)
		return d;
	e = entry(src, d);
	switch (e->kind) {
	case SYMBOL:
		for (i = dst->symbols ? dst->symbols->fixed.n - 1 : -1; i >= 0; i--)
			if (strcmp(dst->symbols->fixed.v[i].text, e->text) == 0)
				return dst->symbols->fixed.v[i].value;
		return enter(dst, e->text, (struct entry){.kind = SYMBOL, .a = e->a, .b = e->b});
	case POLY:
		for (i = 0; i < e->poly->n; i++) {
			m = e->poly->m[i].coef < 0 ? -e->poly->m[i].coef : e->poly->m[i].coef;
			for (j = 0; j < e->poly->m[i].n; j++)
				m = dim_mul(dst, m, dim_import(dst, src, -1 - e->poly->m[i].atom[j]));
			if (e->poly->m[i].coef < 0)
				neg = dim_add(dst, neg, m);
			else
				sum = dim_add(dst, sum, m);
		}
		return dim_sub(dst, sum, neg);
	case DIV:
		return dim_div(dst, dim_import(dst, src, e->a), dim_import(dst, src, e->b));
	case MIN:
		return dim_min(dst, dim_import(dst, src, e->a), dim_import(dst, src, e->b));
	default:
		return dim_max(dst, dim_import(dst, src, e->a), dim_import(dst, src, e->b));
	}
}
