/* export -- the trained student as ONNX: the compiler left the file's bytes and
 * where each state's values stand in it. */
#include "runtime/trainer.h"

#include <stdlib.h>
#include <string.h>

int64_t
parameter_count(const struct run *r)
{
	int64_t n = 0;

	for (int i = 0; i < r->t->npatches; i++) {
		const struct state *s = states_find(&r->states, r->t->patches[i].state);

		if (s)
			n += s->bytes / rt_dtype_bytes(s->dtype);
	}
	return n;
}

bool
export_onnx(struct run *r, const unsigned char *states, const char *path)
{
	const struct rt_trainer *t = r->t;
	unsigned char *p = malloc((size_t)t->onnx_bytes + 1);
	bool ok = true;

	if (!p)
		return rt_fail(&r->msg, RT_INTERNAL, "out of memory");
	memcpy(p, t->onnx, (size_t)t->onnx_bytes);
	for (int i = 0; ok && i < t->npatches; i++) {
		const struct rt_patch *x = &t->patches[i];
		const struct state *s = states_find(&r->states, x->state);

		if (!s || s->bytes != x->bytes || x->offset < 0 ||
		    x->offset > t->onnx_bytes - x->bytes)
			ok = rt_fail(&r->msg, RT_INTERNAL,
			    "the student's initializer %s does not fit its state", x->state);
		else
			memcpy(p + x->offset, states + s->at, (size_t)s->bytes);
	}
	struct rt_iov iov = {p, (size_t)t->onnx_bytes};

	ok = ok && rt_write_file(path, &iov, 1, true, &r->msg);
	free(p);
	return ok;
}
