/* plan -- gives every buffer of a program its place, before anything runs.
 *
 * A work buffer lives from the first call that names it to the last; calls are
 * separated by barriers, so memory may change hands between one call and the
 * next.  Placing goes by size, largest first, each at the lowest offset that is
 * free for its life.  The result of a kernel that stores once, where it loaded,
 * takes over the memory of an operand that dies there. */
#include "passes/memory.h"

#include <stdlib.h>
#include <string.h>

enum { ALIGN = 64 };

static int64_t
aligned(int64_t n)
{
	return (n + ALIGN - 1) / ALIGN * ALIGN;
}

static struct buffer *
holder(struct buffer *b)
{
	while (b->alias)
		b = b->alias;
	return b;
}

/* ---- life */
static void
find_lives(struct program *p)
{
	for (int i = 0; i < p->buffers.n; i++)
		p->buffers.v[i]->first = p->buffers.v[i]->last = -1;
	for (int c = 0; c < p->calls.n; c++)
		for (int k = 0; k < p->calls.v[c].kernel->nbuf; k++) {
			struct buffer *b = p->calls.v[c].arg[k], *h = holder(b);

			if (b->first < 0)
				b->first = c;
			b->last = c;
			if (h->first < 0)
				h->first = c;
			h->last = c;
		}
	for (int i = 0; i < p->buffers.n; i++)
		if (p->buffers.v[i]->keep && p->buffers.v[i]->first >= 0)
			p->buffers.v[i]->last = p->calls.n - 1;
}

/* ---- in place */
struct scan {
	int stores, blocked; /* blocked: tiles and the like */
	const struct stmt *store;
	const struct body *where;
};

static void
find_store(const struct body *b, struct scan *s)
{
	for (int i = 0; i < b->s.n; i++) {
		const struct stmt *t = b->s.v[i];

		if (t->kind == S_FOR)
			find_store(&t->body, s);
		else if (t->kind == S_TILE || t->kind == S_REDUCE)
			s->blocked++;
		else if (t->kind == S_STORE) {
			s->stores++;
			s->store = t;
			s->where = b;
		}
	}
}

static int
count_loads(const struct body *b, int buf)
{
	int n = 0;

	for (int i = 0; i < b->s.n; i++) {
		if (b->s.v[i]->kind == S_FOR)
			n += count_loads(&b->s.v[i]->body, buf);
		n += b->s.v[i]->kind == S_LOAD && b->s.v[i]->buf == buf;
	}
	return n;
}

static bool
same_place(const struct affine *a, const struct affine *b)
{
	if (a->c != b->c || a->n != b->n || a->reg >= 0 || b->reg >= 0)
		return false;
	for (int i = 0; i < a->n; i++) {
		int j = 0;

		while (j < b->n && (b->t[j].var != a->t[i].var || b->t[j].coef != a->t[i].coef))
			j++;
		if (j == b->n)
			return false;
	}
	return true;
}

/* The kernel's one load of buf reads just what its one store writes. */
static bool
loads_at_store(const struct scan *s, const struct kernel *k, int buf)
{
	if (count_loads(&k->body, buf) != 1)
		return false;
	for (int i = 0; i < s->where->s.n; i++) {
		const struct stmt *t = s->where->s.v[i];

		if (t->kind == S_LOAD && t->buf == buf)
			return same_place(&t->index, &s->store->index);
	}
	return false;
}

static void
share_in_place(struct program *p, int c)
{
	struct call *call = &p->calls.v[c];
	const struct kernel *k = call->kernel;
	struct scan s = {0};
	struct buffer *out;

	if (call->provider_blas)
		return;
	find_store(&k->body, &s);
	if (s.stores != 1 || s.blocked)
		return;
	out = call->arg[s.store->buf];
	if (out->space != SPACE_WORK || out->first != c || out->alias)
		return;
	for (int i = 0; i < k->nbuf; i++) {
		struct buffer *in = call->arg[i], *h = holder(in);

		if (i == s.store->buf || k->buf_written[i] || in->space != SPACE_WORK || h == out ||
		    in->at || h->last != c || in->bytes != out->bytes || h->bytes != out->bytes ||
		    !loads_at_store(&s, k, i))
			continue;
		out->alias = h;
		h->last = out->last;
		return;
	}
}

/* ---- places */
static int
by_size(const void *a, const void *b)
{
	const struct buffer *x = *(struct buffer *const *)a, *y = *(struct buffer *const *)b;

	if (x->bytes != y->bytes)
		return x->bytes < y->bytes ? 1 : -1;
	if (x->first != y->first)
		return x->first < y->first ? -1 : 1;
	return x->id < y->id ? -1 : x->id > y->id;
}

static int
by_offset(const void *a, const void *b)
{
	const struct buffer *x = *(struct buffer *const *)a, *y = *(struct buffer *const *)b;

	if (x->offset != y->offset)
		return x->offset < y->offset ? -1 : 1;
	return x->id < y->id ? -1 : x->id > y->id;
}

static int64_t
place_all(struct arena *tmp, struct buffer **b, int n)
{
	struct buffer **placed = arena_array(tmp, struct buffer *, n),
		      **busy = arena_array(tmp, struct buffer *, n);
	int64_t top = 0;

	if (n)
		qsort(b, (size_t)n, sizeof *b, by_size);
	for (int i = 0; i < n; i++) {
		int64_t size = aligned(b[i]->bytes), at = 0, best = -1, waste = INT64_MAX;
		int nbusy = 0;

		for (int k = 0; k < i; k++)
			if (placed[k]->first <= b[i]->last && b[i]->first <= placed[k]->last)
				busy[nbusy++] = placed[k];
		qsort(busy, (size_t)nbusy, sizeof *busy, by_offset);
		for (int k = 0; k < nbusy; k++) {
			int64_t gap = busy[k]->offset - at,
				end = busy[k]->offset + aligned(busy[k]->bytes);

			if (gap >= size && gap - size < waste) {
				best = at;
				waste = gap - size;
			}
			if (end > at)
				at = end;
		}
		b[i]->offset = best >= 0 ? best : at;
		if (b[i]->offset + size > top)
			top = b[i]->offset + size;
		placed[i] = b[i];
	}
	return top;
}

/* Whether two constants are stored as the same bytes. */
static bool
same_content(const struct buffer *a, const struct buffer *b)
{
	size_t n = (size_t)b->bytes;

	if (a->bytes != b->bytes || a->dtype != b->dtype || !a->data || !b->data || !layout_equal(a->pack, b->pack))
		return false;
	if (b->pack) {
		if (!dims_equal(a->value->rank, a->value->dims, b->value->rank, b->value->dims))
			return false;
		n = dtype_bytes(b->dtype, dims_count(b->value->rank, b->value->dims));
	}
	return a->data == b->data || memcmp(a->data, b->data, n) == 0;
}

static int64_t
place_in_order(struct program *p, enum space space)
{
	int64_t at = 0;

	for (int i = 0; i < p->buffers.n; i++) {
		struct buffer *b = p->buffers.v[i];

		if (b->space != space || b->alias)
			continue;
		for (int k = 0; space == SPACE_CONST && k < i; k++) {
			struct buffer *o = p->buffers.v[k];

			if (o->space == space && !o->alias && same_content(o, b)) {
				b->alias = o;
				break;
			}
		}
		if (b->alias)
			continue;
		b->offset = at;
		at += aligned(b->bytes);
	}
	return at;
}

bool
pass_plan(struct graph *g, struct pass_ctx *ctx)
{
	struct program *p = ctx->program;
	struct arena *tmp = arena_create();
	VEC(struct buffer *) work = {0};

	(void)g;
	if (!p)
		die("plan before lower");
	find_lives(p);
	for (int c = 0; c < p->calls.n; c++)
		share_in_place(p, c);
	for (int i = 0; i < p->buffers.n; i++) {
		struct buffer *b = p->buffers.v[i];

		if (b->space == SPACE_WORK && !b->alias && b->first >= 0)
			vec_push(tmp, &work, b);
	}
	p->work_bytes = place_all(tmp, work.v, work.n);
	p->const_bytes = place_in_order(p, SPACE_CONST);
	p->state_bytes = place_in_order(p, SPACE_STATE);
	for (int i = 0; i < p->buffers.n; i++) {
		struct buffer *b = p->buffers.v[i];

		b->offset = b->alias ? holder(b)->offset : b->offset;
		for (const struct buffer *x = b; x->alias; x = x->alias)
			b->offset += x->at;
	}
	memory_rows(p);
	arena_destroy(tmp);
	return true;
}

/* ---- one block of states for several programs */
static bool
all_zero(const struct buffer *b)
{
	const char *x = b->data;

	return b->bytes == 0 || (x[0] == 0 && memcmp(x, x + 1, (size_t)b->bytes - 1) == 0);
}

/* In the order of the programs; last those that begin as zeros, which no file has to hold. */
void
plan_share_states(struct program *const *p, int n)
{
	struct arena *tmp = arena_create();
	struct map *placed = map_create(tmp);
	int64_t at = 0;

	for (int zero = 0; zero < 2; zero++)
		for (int k = 0; k < n; k++)
			for (int i = 0; i < p[k]->states.n; i++) {
				struct buffer *b = p[k]->states.v[i].buffer;
				const char *name = p[k]->states.v[i].name;
				const struct buffer *other = map_get(placed, name);

				if (other && (other->bytes != b->bytes || other->dtype != b->dtype))
					die("state %s has two types", name);
				if (!other && all_zero(b) != zero)
					continue;
				b->offset = other ? other->offset : at;
				if (other)
					continue;
				at += aligned(b->bytes);
				map_put(placed, name, b);
			}
	for (int k = 0; k < n; k++) {
		p[k]->state_bytes = at;
		for (int i = 0; i < p[k]->buffers.n; i++) {
			struct buffer *b = p[k]->buffers.v[i];

			if (b->space != SPACE_STATE || !b->alias)
				continue;
			b->offset = holder(b)->offset;
			for (const struct buffer *x = b; x->alias; x = x->alias)
				b->offset += x->at;
		}
	}
	arena_destroy(tmp);
}

/* ---- report */
static double
mib(int64_t n)
{
	return (double)n / (1 << 20);
}

void
plan_print(const struct program *p, struct str *s)
{
	int64_t live, io = 0, sum = 0;
	int at = memory_peak(p, &live), shown = 0;

	for (int i = 0; i < p->buffers.n; i++) {
		const struct buffer *b = p->buffers.v[i];

		if (b->space == SPACE_IO || b->space == SPACE_SYM)
			io += b->bytes;
		if (b->space == SPACE_WORK)
			sum += b->bytes;
	}
	str_addf(s, "memory of %s\n", p->name ? p->name : "program");
	str_addf(s,
	    "  work      %10.3f MiB in one arena (%.3f MiB without reuse, %.3f MiB alive at the "
	    "peak)\n",
	    mib(p->work_bytes), mib(sum), mib(live));
	str_addf(s, "  constants %10.3f MiB\n", mib(p->const_bytes));
	str_addf(s, "  states    %10.3f MiB\n", mib(p->state_bytes));
	str_addf(s, "  in, out   %10.3f MiB, the caller's\n", mib(io));
	if (!p->calls.n)
		return;
	str_addf(s, "  peak at call %d of %d, %s; its largest:\n", at, p->calls.n,
	    p->calls.v[at].kernel->name);
	for (int64_t below = INT64_MAX; shown < 8; shown++) {
		const struct buffer *big = NULL;

		for (int i = 0; i < p->buffers.n; i++) {
			const struct buffer *b = p->buffers.v[i];

			if (b->space == SPACE_WORK && !b->alias && b->first >= 0 &&
			    b->first <= at && b->last >= at && b->bytes < below &&
			    (!big || b->bytes > big->bytes))
				big = b;
		}
		if (!big)
			break;
		str_addf(s, "    %10.3f MiB  %s\n", mib(big->bytes),
		    big->value && big->value->name ? big->value->name : "scratch");
		below = big->bytes;
	}
}
