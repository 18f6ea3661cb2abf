/* weights M.onnx DIR -- every floating-point initializer of a model as DIR/NAME.npy;
 * weights M.onnx DIR BEFORE.onnx LR -- (BEFORE - M) / LR, the gradient of a plain
 * SGD step.  A test helper. */
#include "frontend/frontend.h"

#include <stdlib.h>
#include <string.h>

int
main(int argc, char **argv)
{
	struct arena *a = arena_create();
	struct import_opts io = {.states = true, .training = true, .default_dim = 2};
	struct diag d;
	struct graph *g, *before = NULL;

	diag_init(&d, stderr);
	if (argc < 3)
		return 2;
	g = onnx_import(a, argv[1], &io, &d);
	if (argc > 4)
		before = onnx_import(a, argv[3], &io, &d);
	if (!g || (argc > 4 && !before) || !dir_make(&d, argv[2]))
		return 1;
	for (int i = 0; i < g->states.n; i++) {
		const struct value *v = g->states.v[i];
		struct tensor t = *v->data;
		const struct value *old = before ? graph_find(before, v->name) : NULL;

		if (before && !old)
			continue;
		t.data = arena_alloc(a, t.bytes + 1);
		for (int64_t k = 0; k < tensor_count(v->data); k++) {
			double x = dtype_get_f(t.dtype, v->data->data, k);

			if (old)
				x = (dtype_get_f(t.dtype, old->data->data, k) - x) / atof(argv[4]);
			dtype_put_f(t.dtype, t.data, k, x);
		}
		if (!npy_write(arena_printf(a, "%s/%s.npy", argv[2], v->name), &t, &d))
			return 1;
	}
	diag_free(&d);
	arena_destroy(a);
	return 0;
}
