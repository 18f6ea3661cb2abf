/* nest_shape -- kinds of loops, decided after a kernel has been emitted with
 * SERIAL ones: adjacent loops merge where every access permits it, the innermost
 * becomes the vector, outer ones the pieces.  Counts depend on shapes alone. */
#include "passes/nest.h"

#include <string.h>

enum {
	MIN_PIECES = 16,
	MAX_PIECES = 1024,
	SMALL_WORK = 4096,
	SHORT_VECTOR = 512,
	RAISED_VECTOR = 64
};

/* ---- over every affine of a body */
typedef bool visit_fn(struct affine *, void *);

static bool
each_affine(struct body *b, visit_fn *f, void *arg)
{
	for (int i = 0; i < b->s.n; i++) {
		struct stmt *s = b->s.v[i];

		if (s->kind == S_FOR && !each_affine(&s->body, f, arg))
			return false;
		if (s->kind == S_INDEX || s->kind == S_LOAD || s->kind == S_STORE) {
			if (!f(&s->index, arg))
				return false;
			for (int g = 0; g < s->nguard; g++)
				if (!f(&s->guard[g].e, arg))
					return false;
		}
		if (s->kind == S_TILE)
			return false;
	}
	return true;
}

static int64_t
coef_of(const struct affine *a, int var)
{
	for (int i = 0; i < a->n; i++)
		if (a->t[i].var == var)
			return a->t[i].coef;
	return 0;
}

struct pair {
	int outer, inner;
	int64_t extent;
};

static bool
mergeable(struct affine *a, void *arg)
{
	const struct pair *p = arg;

	return coef_of(a, p->outer) == coef_of(a, p->inner) * p->extent;
}

static bool
drop_outer(struct affine *a, void *arg)
{
	const struct pair *p = arg;

	affine_add(a, p->outer, -coef_of(a, p->outer));
	return true;
}

static bool
only_loop(const struct body *b)
{
	return b->s.n == 1 && b->s.v[0]->kind == S_FOR && b->s.v[0]->loop == FOR_SERIAL;
}

static void
set_extent(struct emit *e, int var, int64_t n)
{
	while (e->extent.n <= var)
		vec_push(e->lo->tmp, &e->extent, 0);
	e->extent.v[var] = n;
}

static void
collapse_at(struct emit *e, struct stmt *s)
{
	while (s->loop == FOR_SERIAL && only_loop(&s->body)) {
		struct stmt *in = s->body.s.v[0];
		struct pair p = {s->var, in->var, in->extent};

		if (!each_affine(&in->body, mergeable, &p))
			break;
		each_affine(&in->body, drop_outer, &p);
		s->extent *= in->extent;
		s->var = in->var;
		set_extent(e, s->var, s->extent);
		s->body = in->body;
	}
}

void
shape_collapse(struct emit *e, struct body *b)
{
	for (int i = 0; i < b->s.n; i++)
		if (b->s.v[i]->kind == S_FOR) {
			collapse_at(e, b->s.v[i]);
			shape_collapse(e, &b->s.v[i]->body);
		}
}

struct splitting {
	int outer, inner;
	int64_t len;
};

static bool
split_affine(struct affine *a, void *arg)
{
	const struct splitting *p = arg;

	affine_add(a, p->outer, coef_of(a, p->inner) * p->len);
	return true;
}

static void
guard_body(struct body *b, const struct affine *whole, int64_t n)
{
	for (int i = 0; i < b->s.n; i++) {
		struct stmt *s = b->s.v[i];

		if (s->kind == S_FOR)
			guard_body(&s->body, whole, n);
		if (s->kind != S_LOAD && s->kind != S_STORE)
			continue;
		if (s->nguard == 10)
			die("more than 10 guards");
		s->guard[s->nguard++] = (struct guard){*whole, 0, n};
	}
}

struct stmt *
shape_split(struct emit *e, struct stmt *s, int64_t len)
{
	struct stmt *in = arena_new(e->lo->a, struct stmt);
	int64_t n = s->extent;
	struct splitting p = {kernel_var(e->k), s->var, len};

	*in = *s;
	in->extent = len;
	s->var = p.outer;
	s->extent = (n + len - 1) / len;
	memset(&s->body, 0, sizeof s->body);
	vec_push(e->lo->a, &s->body.s, in);
	set_extent(e, p.outer, s->extent);
	set_extent(e, p.inner, len);
	each_affine(&in->body, split_affine, &p);
	if (n % len) {
		struct affine whole = AFFINE(0);

		affine_add(&whole, p.inner, 1);
		affine_add(&whole, p.outer, len);
		guard_body(&in->body, &whole, n);
	}
	return in;
}

int64_t
shape_divisor(int64_t n, int64_t max)
{
	if (max >= n)
		return n;
	for (int64_t d = max; d > 1; d--)
		if (n % d == 0)
			return d;
	return 1;
}

/* Blocks of a loop of n for at least `want` pieces of at least `least` each:
 * an exact divisor if one is near, else a length that leaves a ragged end. */
static int64_t
block_length(int64_t n, int64_t want, int64_t least)
{
	int64_t best = 0;

	if (n < 2 * least)
		return n;
	for (int64_t pieces = want; pieces <= 4 * want && n / pieces >= least; pieces++)
		if (n % pieces == 0) {
			int64_t len = n / pieces;

			if (!best || (len % 16 == 0 && best % 16))
				best = len;
			if (best % 16 == 0)
				break;
		}
	if (best)
		return best;
	best = (n + want - 1) / want;
	if (best < least)
		best = least;
	return (best + 15) / 16 * 16;
}

/* A short vector goes above the SERIAL loops around it: what varies with the lanes
 * only can then be loaded once (hoist), and the loops run over whole vectors. */
static void
raise_vector(struct stmt **nest, int n)
{
	int first = n - 1;

	while (first > 0 && nest[first - 1]->loop == FOR_SERIAL)
		first--;
	if (nest[n - 1]->loop != FOR_VECTOR || nest[n - 1]->extent > RAISED_VECTOR)
		return;
	for (int i = n - 1; i > first; i--) {
		struct stmt *a = nest[i - 1], *b = nest[i];
		int var = a->var;
		int64_t extent = a->extent;

		a->var = b->var;
		a->extent = b->extent;
		a->loop = FOR_VECTOR;
		b->var = var;
		b->extent = extent;
		b->loop = FOR_SERIAL;
	}
}

static void outer_kinds(struct emit *, bool, int64_t);

void
shape_outer(struct emit *e, bool vector, int64_t inside)
{
	struct stmt *nest[MAX_DIGITS + 2];
	struct body *b = &e->k->body;
	int n = 0;

	outer_kinds(e, vector, inside);
	while (b->s.n == 1 && b->s.v[0]->kind == S_FOR && n < MAX_DIGITS + 2) {
		nest[n++] = b->s.v[0];
		if (b->s.v[0]->loop == FOR_VECTOR)
			break;
		b = &b->s.v[0]->body;
	}
	if (n)
		raise_vector(nest, n);
}

static void
outer_kinds(struct emit *e, bool vector, int64_t inside)
{
	struct stmt *nest[MAX_DIGITS];
	struct body *b = &e->k->body;
	int n = 0, last;
	int64_t total = inside, pieces = 1;

	while (only_loop(b) && n < MAX_DIGITS) {
		nest[n++] = b->s.v[0];
		total *= b->s.v[0]->extent;
		b = &b->s.v[0]->body;
	}
	if (!n)
		return;
	last = vector ? n - 1 : n;
	if (vector)
		nest[n - 1]->loop = FOR_VECTOR;
	if (total <= SMALL_WORK)
		return;
	for (int i = 0; i < last && pieces < MIN_PIECES; i++) {
		struct stmt *s = nest[i];

		s->loop = FOR_PARALLEL;
		if (pieces * s->extent > MAX_PIECES) {
			int64_t want = MAX_PIECES / 4 / pieces, len = s->extent;

			if (want > 1)
				len = block_length(s->extent, want, 1);
			if (len < s->extent && s->extent % len == 0)
				shape_split(e, s, len)->loop = FOR_SERIAL;
			pieces *= s->extent;
			break;
		}
		pieces *= s->extent;
	}
	if (pieces < MIN_PIECES && vector && pieces * nest[n - 1]->extent >= 256) {
		struct stmt *s = nest[n - 1];
		int64_t least = 1024 / (total / (pieces * s->extent)), len;
		bool all = true;

		for (int i = 0; i < last; i++)
			all &= nest[i]->loop == FOR_PARALLEL;
		if (!all)
			return;
		if (least < 16)
			least = 16;
		len = block_length(s->extent, (MIN_PIECES + pieces - 1) / pieces, least);
		if (len < s->extent) {
			struct stmt *in = shape_split(e, s, len);

			s->loop = FOR_PARALLEL;
			in->loop = FOR_VECTOR;
		}
	}
}

/* The innermost of a perfect nest of SERIAL loops becomes the vector.  A short one
 * goes outermost, so that lanes are combined once and not for every run of it. */
static void
vector_nest(struct stmt *top)
{
	struct stmt *s = top;

	while (only_loop(&s->body))
		s = s->body.s.v[0];
	if (s->extent > SHORT_VECTOR) {
		s->loop = FOR_VECTOR;
		return;
	}
	{
		int var = s->var;
		int64_t extent = s->extent;

		for (s = top;; s = s->body.s.v[0]) {
			int v = s->var;
			int64_t n = s->extent;

			s->var = var;
			s->extent = extent;
			var = v;
			extent = n;
			if (!only_loop(&s->body))
				break;
		}
	}
	top->loop = FOR_VECTOR;
}

static bool
has_loop(const struct body *b)
{
	for (int i = 0; i < b->s.n; i++)
		if (b->s.v[i]->kind == S_FOR)
			return true;
	return false;
}

void
shape_inner_vector(struct body *b)
{
	for (int i = 0; i < b->s.n; i++) {
		struct stmt *s = b->s.v[i], *in = s;

		if (s->kind != S_FOR || s->loop == FOR_VECTOR)
			continue;
		while (in->loop == FOR_SERIAL && only_loop(&in->body))
			in = in->body.s.v[0];
		if (in->loop == FOR_SERIAL && !has_loop(&in->body))
			vector_nest(s);
		else
			shape_inner_vector(&in->body);
	}
}

/* ---- what a loop computes anew each time goes before it */
enum { MAX_HOISTED = 24 };

struct hoist {
	const struct kernel *k;
	char *local; /* by register: set, or summed up, within the loop */
	VEC(int) marked;
};

static void
mark_locals(struct arena *a, struct hoist *h, const struct body *b)
{
	for (int i = 0; i < b->s.n; i++) {
		const struct stmt *s = b->s.v[i];

		if (s->kind == S_FOR)
			mark_locals(a, h, &s->body);
		if (s->kind == S_TILE) {
			h->local[s->tile->acc] = 1;
			vec_push(a, &h->marked, s->tile->acc);
			mark_locals(a, h, &s->tile->epilogue);
		}
		if (s->dst >= 0) {
			h->local[s->dst] = 1;
			vec_push(a, &h->marked, s->dst);
		}
	}
}

static bool
invariant_affine(const struct hoist *h, const struct affine *a, int var)
{
	return !coef_of(a, var) && (a->reg < 0 || !h->local[a->reg]);
}

static bool
invariant(const struct hoist *h, const struct stmt *s, int var)
{
	if (s->kind != S_CONST && s->kind != S_INDEX && s->kind != S_OP && s->kind != S_LOAD)
		return false;
	if (s->kind == S_LOAD && h->k->buf_written[s->buf])
		return false;
	for (int i = 0; i < 3; i++)
		if (s->src[i] >= 0 && h->local[s->src[i]])
			return false;
	if (!invariant_affine(h, &s->index, var))
		return false;
	for (int g = 0; g < s->nguard; g++)
		if (!invariant_affine(h, &s->guard[g].e, var))
			return false;
	return true;
}

static void
hoist_body(struct arena *a, struct hoist *h, struct body *b)
{
	struct body out = {0};

	for (int i = 0; i < b->s.n; i++) {
		struct stmt *s = b->s.v[i];
		int kept = 0, loads = 0;

		if (s->kind != S_FOR) {
			vec_push(a, &out.s, s);
			continue;
		}
		hoist_body(a, h, &s->body);
		if (s->loop != FOR_PARALLEL) {
			h->marked.n = 0;
			mark_locals(a, h, &s->body);
			for (int k = 0; k < s->body.s.n; k++) {
				struct stmt *t = s->body.s.v[k];

				if (loads < MAX_HOISTED && invariant(h, t, s->var)) {
					loads += t->kind == S_LOAD || t->kind == S_OP;
					h->local[t->dst] = 0;
					vec_push(a, &out.s, t);
				} else {
					s->body.s.v[kept++] = t;
				}
			}
			s->body.s.n = kept;
			for (int k = 0; k < h->marked.n; k++)
				h->local[h->marked.v[k]] = 0;
		}
		vec_push(a, &out.s, s);
	}
	b->s.v = out.s.v;
	b->s.n = out.s.n;
	b->s.cap = out.s.cap;
}

void
shape_hoist(struct emit *e)
{
	struct hoist h = {.k = e->k, .local = arena_array(e->lo->tmp, char, e->k->nreg + 1)};

	hoist_body(e->lo->a, &h, &e->k->body);
}
