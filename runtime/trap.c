/* trap -- where a number stopped being finite.  A step is run call by call; after
 * each, what it wrote is compared with what stood there, so that neither padding nor
 * memory that a buffer has from its predecessor counts.  What a call writes in healthy
 * steps too (-inf under a mask, say) is no news: only kinds that the step before did
 * not have.
 *
 * A run that meets a loss that is not finite goes back to its last checkpoint, or to
 * the start, and comes the same way again with the trap set: every step is a function
 * of the one before. */
#include "runtime/trainer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { NOT_A_NUMBER = 1, TOO_LARGE = 2, TOO_SMALL = 4 };

struct found {
	bool is;
	int call, buffer;
	int64_t at; /* element */
	double value;
	char inputs[480];
};
struct trap {
	unsigned char *kinds, *before; /* [calls] what was written in this step and in the last */
	unsigned char *old;	       /* what one call's buffers held before it */
	const struct rt_program *of;   /* whose healthy step `before` is of; NULL: of none */
	/* The first call that wrote a kind that is new: NaN and +inf; any.  Of the first
	 * step the other is rather a mask. */
	struct found strict, any;
};

static int
kind_of(double v)
{
	return isnan(v) ? NOT_A_NUMBER : isinf(v) ? v > 0 ? TOO_LARGE : TOO_SMALL : 0;
}

static bool
is_float(int32_t dtype)
{
	return dtype == RT_F32 || dtype == RT_F64;
}

static double
element(const void *p, int32_t dtype, int64_t i)
{
	return dtype == RT_F32 ? ((const float *)p)[i] : ((const double *)p)[i];
}

static unsigned char *
address(const struct exec *e, const struct rt_buffer *b)
{
	return (unsigned char *)e->base[b->base] + b->offset;
}

/* Argument k of a call that it writes and that holds floats, or NULL. */
static const struct rt_buffer *
written(const struct rt_program *p, int k)
{
	const struct rt_buffer *b = p->args[k] < 0 ? &p->buffers[~p->args[k]] : NULL;

	return b && is_float(b->dtype) ? b : NULL;
}

static void
save_or_restore(struct trap *t, const struct exec *e, int call, bool restore)
{
	const struct rt_program *p = e->p;
	unsigned char *old = t->old;

	for (int k = p->args_at[call]; k < p->args_at[call + 1]; k++) {
		const struct rt_buffer *b = written(p, k);

		if (!b)
			continue;
		memcpy(
		    restore ? address(e, b) : old, restore ? old : address(e, b), (size_t)b->bytes);
		old += b->bytes;
	}
}

/* "conv 0.1 (weights -3e38..2)" of everything that the call reads */
static void
describe_inputs(const struct exec *e, int call, char *out, size_t size)
{
	const struct rt_program *p = e->p;
	size_t n = 0;

	*out = 0;
	for (int k = p->args_at[call]; k < p->args_at[call + 1] && n + 120 < size; k++) {
		const struct rt_buffer *b = p->args[k] < 0 ? NULL : &p->buffers[p->args[k]];
		double lo = INFINITY, hi = -INFINITY;
		int64_t bad = 0, count;

		if (!b || !is_float(b->dtype))
			continue;
		count = b->bytes / rt_dtype_bytes(b->dtype);
		for (int64_t i = 0; i < count; i++) {
			double v = element(address(e, b), b->dtype, i);

			bad += isnan(v);
			lo = fmin(lo, v);
			hi = fmax(hi, v);
		}
		n += (size_t)snprintf(out + n, size - n, "%s%.50s%s%g..%g", n ? ", " : "", b->name,
		    *b->name ? " " : "", lo, hi);
		if (bad)
			n += (size_t)snprintf(out + n, size - n, " and %lld NaN", (long long)bad);
	}
}

static void
note(struct found *f, int call, int buffer, int64_t at, double v)
{
	if (!f->is)
		*f = (struct found){true, call, buffer, at, v, ""};
}

/* What the call wrote that is not finite and was not there before. */
static int
inspect(struct trap *t, const struct exec *e, int call)
{
	const struct rt_program *p = e->p;
	const unsigned char *old = t->old;
	bool healthy = t->of == p;
	int seen = 0;

	for (int k = p->args_at[call]; k < p->args_at[call + 1]; k++) {
		const struct rt_buffer *b = written(p, k);
		int64_t size = b ? rt_dtype_bytes(b->dtype) : 1;

		for (int64_t i = 0; b && i < b->bytes / size; i++) {
			double v = element(address(e, b), b->dtype, i);
			int kind = kind_of(v), news;

			if (!kind ||
			    memcmp(old + i * size, address(e, b) + i * size, (size_t)size) == 0)
				continue;
			news = kind & ~(healthy ? t->before[call] : 0);
			if (news && (healthy || news != TOO_SMALL))
				note(&t->strict, call, ~p->args[k], i, v);
			if (news)
				note(&t->any, call, ~p->args[k], i, v);
			seen |= kind;
		}
		old += b ? b->bytes : 0;
	}
	return seen;
}

/* The most calls of a program, and the most bytes that one call writes. */
static void
measure(const struct rt_program *p, int64_t *calls, int64_t *most)
{
	*calls = p->ncalls > *calls ? p->ncalls : *calls;
	for (int c = 0; p->args_at && c < p->ncalls; c++) {
		int64_t bytes = 0;

		for (int k = p->args_at[c]; k < p->args_at[c + 1]; k++)
			bytes += written(p, k) ? written(p, k)->bytes : 0;
		*most = bytes > *most ? bytes : *most;
	}
}

bool
trap_open(struct run *r)
{
	int64_t most = 0, calls = 0;
	struct trap *t = region_alloc(&r->region, sizeof *t);

	for (int s = 0; s < r->t->nstages; s++)
		for (int k = -1; k < r->t->stages[s].nmore; k++)
			measure(k < 0 ? r->t->stages[s].train : r->t->stages[s].more[k], &calls, &most);
	if (t) {
		t->kinds = region_alloc(&r->region, (size_t)calls + 1);
		t->before = region_alloc(&r->region, (size_t)calls + 1);
		t->old = region_alloc(&r->region, (size_t)most + 1);
	}
	if (!t || !t->kinds || !t->before || !t->old)
		return rt_fail(&r->msg, RT_INTERNAL, "out of memory");
	r->trap = t;
	return true;
}

void
trap_begin(struct run *r)
{
	if (r->trap)
		r->trap->of = NULL;
}

void
trap_run(struct run *r, struct exec *e)
{
	struct trap *t = r->trap;
	const struct rt_program *p = e->p;

	if (!p->args_at) {
		exec_run(e, r);
		return;
	}
	t->strict.is = t->any.is = false;
	for (int c = 0; c < p->ncalls; c++) {
		bool had = t->strict.is, had_any = t->any.is;

		save_or_restore(t, e, c, false);
		p->call(c, e->base, NULL, 0, p->pieces[c], 0);
		t->kinds[c] = (unsigned char)inspect(t, e, c);
		if (t->strict.is == had && t->any.is == had_any)
			continue;
		/* a call may work in place: its inputs as they were, then once more */
		save_or_restore(t, e, c, true);
		if (t->strict.is != had)
			describe_inputs(e, c, t->strict.inputs, sizeof t->strict.inputs);
		if (t->any.is != had_any)
			describe_inputs(e, c, t->any.inputs, sizeof t->any.inputs);
		p->call(c, e->base, NULL, 0, p->pieces[c], 0);
	}
}

/* After a step that was in order. */
void
trap_healthy(struct run *r, const struct rt_program *p)
{
	struct trap *t = r->trap;
	unsigned char *kinds;

	if (!t)
		return;
	kinds = t->kinds;
	t->kinds = t->before;
	t->before = kinds;
	t->of = p;
}

/* "; first in ..." of the step that was run last. */
void
trap_text(const struct run *r, const struct exec *e, char *out, size_t size)
{
	const struct trap *t = r->trap;
	const struct rt_program *p = e->p;
	const struct found *f = !t ? NULL : t->strict.is ? &t->strict : t->any.is ? &t->any : NULL;
	const char *name, *node;

	*out = 0;
	if (!f)
		return;
	name = p->call_names[f->call];
	node = strchr(name, ' ');
	snprintf(out, size,
	    "; the first operator to write one is %.*s%s%.80s%s (kernel %d of %d): element %lld of "
	    "%lld of "
	    "%s%.60s%s is %g%s%s",
	    node ? (int)(node - name) : 80, name, node ? ", node \"" : "", node ? node + 1 : "",
	    node ? "\"" : "", f->call + 1, p->ncalls, (long long)f->at,
	    (long long)(p->buffers[f->buffer].bytes / rt_dtype_bytes(p->buffers[f->buffer].dtype)),
	    *p->buffers[f->buffer].name ? "\"" : "its result", p->buffers[f->buffer].name,
	    *p->buffers[f->buffer].name ? "\"" : "", isnan(f->value) ? fabs(f->value) : f->value,
	    *f->inputs ? "; its inputs were " : "", f->inputs);
}

/* ---- the user's data */
static bool
field_is_finite(const struct feed *f, struct run *r, enum split k)
{
	for (int i = 0; i < f->nparts; i++) {
		const struct part *p = &f->parts[i];
		const struct dset *set = &r->data.sets[p->set];
		const struct cfg_field *c = &set->cfg->fields[p->field];
		int64_t count = is_float(c->dtype) ? f->row_bytes / rt_dtype_bytes(c->dtype) : 0;

		for (int64_t j = 0; j < p->rows * count; j++) {
			double v = element((const unsigned char *)f->buf + p->at, c->dtype, j);

			if (kind_of(v))
				return rt_fail(&r->msg, RT_INVALID,
				    "data: sample %lld of field \"%s\" holds %g (value %lld of the "
				    "sample), in %s",
				    (long long)r->batches.rows[p->set][j / count], c->name,
				    isnan(v) ? fabs(v) : v, (long long)(j % count),
				    c->file[set->split[k].source]);
		}
	}
	return true;
}

bool
trap_data(struct run *r, const struct exec *e, enum split k)
{
	for (int i = 0; i < e->p->ninputs; i++)
		if (e->feeds[i].kind == FEED_FIELD && !field_is_finite(&e->feeds[i], r, k))
			return false;
	return true;
}
