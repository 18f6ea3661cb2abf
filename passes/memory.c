/* memory -- what the work memory of a planned program is for, at the call where most
 * of it is in use.  What a value is for follows from the graph alone:
 *
 *   forward    an output depends on it; else it is a gradient or an update
 *   frozen     no input is a state: teachers, preparation of data
 *   packed     depends on states and constants only
 *
 * What backward computes again counts as a gradient.  An activation of the student is kept if it is read after the last one is made. */
#include "passes/memory.h"

#include <stdlib.h>

static const char *const row_names[] = {
    [ROLE_TEMPORARY] = "temporaries",
    [ROLE_FROZEN] = "teacher activations",
    [ROLE_STUDENT] = "student activations kept for backward",
    [ROLE_PACKED] = "packed weights",
    [ROLE_GRADIENT] = "gradients",
};
enum { NROLES = sizeof row_names / sizeof *row_names };
_Static_assert(NROLES + 1 <= MEMORY_ROWS, "a row for each");

char *
memory_traits(const struct graph *g)
{
	char *t = xcalloc((size_t)g->nvalue + 1, 1);

	for (int i = 0; i < g->inputs.n; i++)
		t[g->inputs.v[i]->id] = OF_INPUT;
	for (int i = 0; i < g->states.n; i++)
		t[g->states.v[i]->id] = OF_STATE;
	for (int i = 0; i < g->nodes.n; i++) {
		const struct node *n = g->nodes.v[i];
		char all = 0;

		for (int k = 0; k < n->nin && !n->dead; k++)
			all |= n->in[k] ? t[n->in[k]->id] & (OF_STATE | OF_INPUT) : 0;
		for (int o = 0; o < n->nout && !n->dead; o++)
			if (n->out[o])
				t[n->out[o]->id] |= all;
	}
	for (int i = 0; i < g->outputs.n; i++)
		if (!str_starts(g->output_names.v[i], "grad"))
			t[g->outputs.v[i]->id] |= FORWARD;
	for (int i = g->nodes.n - 1; i >= 0; i--) {
		const struct node *n = g->nodes.v[i];
		bool any = false;

		for (int o = 0; o < n->nout && !n->dead; o++)
			any |= n->out[o] && (t[n->out[o]->id] & FORWARD);
		for (int k = 0; any && k < n->nin; k++)
			if (n->in[k])
				t[n->in[k]->id] |= FORWARD;
	}
	return t;
}

enum role
memory_role(const char *traits, const struct buffer *b)
{
	int t;

	if (!b->value || b->value->kind != VAL_NODE)
		return ROLE_TEMPORARY;
	t = traits[b->value->id];
	if ((t & OF_STATE) && !(t & OF_INPUT))
		return ROLE_PACKED;
	if (!(t & FORWARD))
		return ROLE_GRADIENT;
	return t & OF_STATE ? ROLE_STUDENT : ROLE_FROZEN;
}

int
memory_forward_end(const struct program *p, const char *traits)
{
	enum { FEW = 4096 };
	int end = 0;

	for (int i = 0; i < p->buffers.n; i++) {
		const struct buffer *b = p->buffers.v[i];

		if (b->space == SPACE_WORK && b->bytes > FEW && b->first > end && memory_role(traits, b) == ROLE_STUDENT)
			end = b->first;
	}
	return end;
}

int64_t
memory_placed(const struct buffer *b)
{
	return (b->bytes + 63) / 64 * 64;
}

/* The call at which most work bytes are alive. */
int
memory_peak(const struct program *p, int64_t *bytes)
{
	int64_t *live = xcalloc((size_t)p->calls.n + 2, sizeof *live), now = 0;
	int at = 0;

	for (int i = 0; i < p->buffers.n; i++) {
		const struct buffer *b = p->buffers.v[i];

		if (b->space != SPACE_WORK || b->alias || b->first < 0)
			continue;
		live[b->first] += memory_placed(b);
		live[b->last + 1] -= memory_placed(b);
	}
	*bytes = 0;
	for (int c = 0; c < p->calls.n; c++) {
		now += live[c];
		if (now > *bytes) {
			*bytes = now;
			at = c;
		}
	}
	free(live);
	return at;
}

void
memory_rows(struct program *p)
{
	char *t = memory_traits(p->graph);
	int64_t live, role[NROLES] = {0};
	int peak = memory_peak(p, &live), forward = memory_forward_end(p, t);

	for (int i = 0; i < p->buffers.n; i++) {
		struct buffer *b = p->buffers.v[i];
		enum role r;

		if (b->space != SPACE_WORK || b->alias || b->first < 0 || b->first > peak || b->last < peak)
			continue;
		r = memory_role(t, b);
		/* what took the memory over in place decides */
		for (int k = 0; k < p->buffers.n; k++) {
			const struct buffer *x = p->buffers.v[k];

			if (x->alias == b && x->bytes == b->bytes && x->first <= peak && x->last >= peak)
				r = memory_role(t, x);
		}
		if (r == ROLE_GRADIENT && b->first <= forward && b->last > forward)
			r = ROLE_STUDENT; /* a slope that a forward kernel made */
		if (r == ROLE_STUDENT && b->last <= forward)
			r = ROLE_TEMPORARY;
		role[r] += memory_placed(b);
	}
	p->nmemory = 0;
	for (int r = 0; r < NROLES; r++)
		p->memory[p->nmemory++] = (struct memory_row){row_names[r], role[r]};
	p->memory[p->nmemory++] = (struct memory_row){"between them", p->work_bytes - live};
	free(t);
}
