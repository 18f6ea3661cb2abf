/* trainer_layout -- where a trainer library's numbers, states and arena lie in the caller's
 * memory, and which entry points run which program; for its code and its header. */
#include "codegen/trainer_library.h"

#include <string.h>

int64_t
trainer_aligned(int64_t n)
{
	return (n + RT_ALIGN - 1) / RT_ALIGN * RT_ALIGN;
}

const struct io *
trainer_io(const struct io *v, int n, const char *name)
{
	for (int i = 0; i < n; i++)
		if (strcmp(v[i].name, name) == 0)
			return &v[i];
	return NULL;
}

int
trainer_programs(const struct trainer_library *l, const struct program **p)
{
	p[0] = l->train;
	p[1] = l->eval;
	p[2] = l->infer;
	return 3;
}

/* The average of a state that the step keeps (ema), which stands for it in evaluations. */
const struct io *
trainer_average(const struct trainer_library *l, const char *name)
{
	for (int i = 0; i < l->train->states.n; i++) {
		const char *s = l->train->states.v[i].name;
		size_t n = strlen(name);

		if (strncmp(s, name, n) == 0 && strcmp(s + n, ":ema") == 0)
			return &l->train->states.v[i];
	}
	return NULL;
}

/* Evaluation and inference read the averages in place of the states. */
void
trainer_read_averages(const struct trainer_library *l, const struct program *p)
{
	for (int i = 0; i < p->states.n; i++) {
		struct buffer *b = p->states.v[i].buffer;
		const struct io *e = trainer_average(l, p->states.v[i].name);
		int64_t move = e ? e->buffer->offset - b->offset : 0;

		for (int k = 0; move && k < p->buffers.n; k++) {
			struct buffer *c = p->buffers.v[k], *root = c;

			while (root->alias)
				root = root->alias;
			if (root == b)
				c->offset += move;
		}
	}
}

struct work_plan
trainer_work(const struct trainer_library *l)
{
	const struct program *p[3];
	struct work_plan w = {.values = HEAD, .magic = 0xcbf29ce484222325u};
	int n = trainer_programs(l, p);
	int64_t work = 0;

	w.states = trainer_output_at(l, true, l->eval->outputs.n);
	for (int i = 0; i < n; i++) {
		work = p[i]->work_bytes > work ? p[i]->work_bytes : work;
		for (int k = 0; k < p[i]->states.n; k++) {
			const struct io *s = &p[i]->states.v[k];
			int64_t end = trainer_aligned(s->buffer->offset + s->buffer->bytes);

			w.state_bytes = end > w.state_bytes ? end : w.state_bytes;
			for (const char *c = s->name; *c; c++)
				w.magic = (w.magic ^ (unsigned char)*c) * 0x100000001b3u;
			w.magic = (w.magic ^ (uint64_t)end) * 0x100000001b3u;
		}
	}
	for (int i = 0; i < l->ncached; i++)
		work = l->cached[i]->work_bytes > work ? l->cached[i]->work_bytes : work;
	w.arena = w.states + w.state_bytes;
	w.total = w.arena + trainer_aligned(work);
	return w;
}

int64_t
trainer_output_at(const struct trainer_library *l, bool eval, int i)
{
	const struct program *p = eval ? l->eval : l->train;
	int64_t at = eval ? trainer_output_at(l, false, l->train->outputs.n) : HEAD;

	for (int k = 0; k < i; k++)
		at += trainer_aligned(p->outputs.v[k].buffer->bytes);
	return at;
}

enum feed
trainer_feed(const struct trainer_library *l, const char *input, int64_t *slot)
{
	static const struct {
		const char *name;
		int at;
	} slots[] = {{"$lr", AT_LR}, {"$momentum", AT_MOMENTUM}, {"$step", AT_STEP},
	    {"$micro", AT_MICRO}, {"$micros", AT_MICROS}, {"$seed", AT_SEED}, {"$valid", AT_VALID}};

	if (input[0] != '$' || str_starts(input, "$teacher.") || str_starts(input, "$dial.") ||
	    str_starts(input, "$task.") || str_starts(input, "$pair.") ||
	    strcmp(input, "$mix") == 0 || strcmp(input, "$index") == 0)
		return FEED_POINTER;
	for (size_t i = 0; i < sizeof slots / sizeof *slots; i++)
		if (strcmp(slots[i].name, input) == 0)
			return *slot = slots[i].at, FEED_SLOT;
	for (int i = 0; str_starts(input, "$valid.") && i < l->nsets; i++)
		if (strcmp(input + strlen("$valid."), l->set[i]) == 0)
			return *slot = AT_VALID + 8 * i, FEED_SLOT;
	return FEED_UNKNOWN;
}

int
trainer_entries(const struct trainer_library *l, struct arena *a, struct trainer_entry **out)
{
	struct trainer_entry *e = *out = arena_array(a, struct trainer_entry, 3 + l->ncached);
	int n = 0;

	e[n++] = (struct trainer_entry){RUN_STEP, l->train, "step"};
	e[n++] = (struct trainer_entry){RUN_EVAL, l->eval, "eval"};
	e[n++] = (struct trainer_entry){RUN_INFER, l->infer, "infer"};
	for (int i = 0; i < l->ncached; i++)
		e[n++] = (struct trainer_entry){RUN_TEACHER, l->cached[i],
		    arena_printf(a, "teacher_%s", header_identifier(a, l->teacher[i], false))};
	return n;
}

bool
trainer_has_momentum(const struct trainer_library *l)
{
	return trainer_io(l->train->inputs.v, l->train->inputs.n, "$momentum") != NULL;
}

static bool
is_scalar(const struct io *o)
{
	return o->buffer->dtype == DT_f32 && o->buffer->count == 1;
}

int
trainer_values(const struct trainer_library *l, struct arena *a, struct trainer_value **out)
{
	struct trainer_value *v = *out =
	    arena_array(a, struct trainer_value, l->train->outputs.n + l->eval->outputs.n + 1);
	int n = 0;

	for (int eval = 0; eval < 2; eval++) {
		const struct program *p = eval ? l->eval : l->train;

		for (int i = 0; i < p->outputs.n; i++) {
			const struct io *o = &p->outputs.v[i], *den;
			const char *name = o->name, *base;

			if (!is_scalar(o) || str_starts(name, "check.") || str_ends(name, ".den"))
				continue;
			base = str_ends(name, ".num") ? arena_strndup(a, name, strlen(name) - 4)
						      : name;
			den = base == name ? NULL
					   : trainer_io(p->outputs.v, p->outputs.n,
						 arena_printf(a, "%s.den", base));
			v[n++] =
			    (struct trainer_value){eval ? arena_printf(a, "eval.%s", base) : base,
				trainer_output_at(l, eval, i),
				den && is_scalar(den)
				    ? trainer_output_at(l, eval, (int)(den - p->outputs.v))
				    : -1};
		}
	}
	return n;
}
