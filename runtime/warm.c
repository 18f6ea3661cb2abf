/* warm -- the weights that a run begins with, from a file: a checkpoint of any trainer,
 * state by state of the same name, type and size, or a student.onnx that this trainer or
 * another of the same student left.  Optimiser slots begin anew. */
#include "runtime/trainer.h"

#include <stdlib.h>
#include <string.h>

struct taking {
	struct run *r;
	int n, other; /* taken; of this name, but another type or size */
	char first[80];
};

static void
take(void *ctx, const struct saved_state *s)
{
	struct taking *t = ctx;
	const struct state *mine = states_find(&t->r->states, s->name);

	if (!mine || mine->slot)
		return;
	if (mine->dtype != s->dtype || mine->bytes != s->bytes) {
		if (!t->other++)
			snprintf(t->first, sizeof t->first, "%s", s->name);
		return;
	}
	memcpy(t->r->states.data + mine->at, s->data, (size_t)s->bytes);
	t->n++;
}

/* The compiler's file with other numbers in the places of the parameters. */
static bool
take_onnx(struct run *r, const unsigned char *file, size_t n, const char *path, int *taken)
{
	const struct rt_model *t = r->t->models; /* the student */
	int64_t at = 0;
	bool same = r->t->nmodels > 0 && (int64_t)n == t->onnx_bytes;

	while (same && at < t->onnx_bytes) {
		const struct rt_patch *next = NULL;
		int64_t end;

		for (int i = 0; i < t->npatches; i++)
			if (t->patches[i].offset >= at &&
			    (!next || t->patches[i].offset < next->offset))
				next = &t->patches[i];
		end = next ? next->offset : t->onnx_bytes;
		same =
		    memcmp(file + at, (const unsigned char *)t->onnx + at, (size_t)(end - at)) == 0;
		at = next ? next->offset + next->bytes : t->onnx_bytes;
	}
	if (!same)
		return rt_fail(&r->msg, RT_INVALID,
		    "--init-from %s: neither a checkpoint nor a student that a trainer of this "
		    "model "
		    "has left; another ONNX file is the recipe's models.student.onnx",
		    path);
	for (int i = 0; i < t->npatches; i++) {
		const struct state *s = states_find(&r->states, t->patches[i].state);

		if (s && s->bytes == t->patches[i].bytes) {
			memcpy(
			    r->states.data + s->at, file + t->patches[i].offset, (size_t)s->bytes);
			++*taken;
		}
	}
	return true;
}

bool
warm_start(struct run *r, const char *path)
{
	struct taking t = {.r = r};
	size_t n = 0;
	unsigned char *file = rt_read_file(path, &n, &r->msg);
	const char *wrong = NULL;
	bool ok = file != NULL;
	int weights = 0;

	if (ok && n >= 8 && memcmp(file, "RTCKPT\r\n", 8) == 0)
		wrong = checkpoint_states(file, n, take, &t);
	else if (ok)
		ok = take_onnx(r, file, n, path, &t.n);
	free(file);
	if (wrong)
		return rt_fail(&r->msg, RT_INVALID, "--init-from %s: %s", path, wrong);
	for (int i = 0; i < r->states.n; i++)
		weights += !r->states.v[i].slot;
	if (ok && t.other)
		return rt_fail(&r->msg, RT_INVALID,
		    "--init-from %s: \"%s\" and %d others have another shape or type there; it "
		    "belongs to "
		    "another student",
		    path, t.first, t.other - 1);
	if (ok && !t.n)
		return rt_fail(&r->msg, RT_INVALID,
		    "--init-from %s: it has none of this trainer's weights", path);
	if (ok)
		progress_note(r, "%d of %d weights from %s", t.n, weights, path);
	return ok;
}
