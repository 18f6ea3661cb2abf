/* export -- the trained models as ONNX: the compiler left the files' bytes and
 * where each state's values stand in them. */
#include "runtime/trainer.h"

#include <stdlib.h>
#include <string.h>

int64_t
parameter_count(const struct run *r)
{
	int64_t n = 0;

	for (int i = 0; r->t->nmodels > 0 && i < r->t->models[0].npatches; i++) {
		const struct state *s = states_find(&r->states, r->t->models[0].patches[i].state);

		if (s)
			n += s->bytes / rt_dtype_bytes(s->dtype);
	}
	return n;
}

static bool
export_onnx(struct run *r, const struct rt_model *m, const unsigned char *states, const char *path)
{
	unsigned char *p = malloc((size_t)m->onnx_bytes + 1);
	bool ok = true;

	if (!p)
		return rt_fail(&r->msg, RT_INTERNAL, "out of memory");
	memcpy(p, m->onnx, (size_t)m->onnx_bytes);
	for (int i = 0; ok && i < m->npatches; i++) {
		const struct rt_patch *x = &m->patches[i];
		const struct state *s = states_find(&r->states, x->state);

		if (!s || s->bytes != x->bytes || x->offset < 0 ||
		    x->offset > m->onnx_bytes - x->bytes)
			ok = rt_fail(&r->msg, RT_INTERNAL,
			    "initializer %s of %s does not fit its state", x->state, m->name);
		else
			memcpy(p + x->offset, states + s->at, (size_t)s->bytes);
	}
	struct rt_iov iov = {p, (size_t)m->onnx_bytes};

	ok = ok && rt_write_file(path, &iov, 1, true, &r->msg);
	free(p);
	return ok;
}

bool
export_models(struct run *r, const unsigned char *states, const char *path)
{
	bool ok = true;

	for (int i = 0; ok && i < r->t->nmodels; i++) {
		const struct rt_model *m = &r->t->models[i];
		const char *to = i == 0 ? path : region_printf(&r->region, "%s/%s.onnx", r->out, m->name);

		ok = to ? export_onnx(r, m, states, to) : rt_fail(&r->msg, RT_INTERNAL, "out of memory");
	}
	return ok;
}
