/* help.h -- models from text, evaluated; files in a folder of this run. */
#ifndef FRONTEND_HELP_H
#define FRONTEND_HELP_H

#include "frontend/onnx.h"
#include "tests/unit.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct arena *arena;
static struct diag diag;
static char folder[64];

static inline int
help_setup(void **state)
{
	(void)state;
	arena = arena_create();
	diag_init(&diag, NULL);
	strcpy(folder, "/tmp/retort-frontend-XXXXXX");
	assert_non_null(mkdtemp(folder));
	return 0;
}

static inline int
help_teardown(void **state)
{
	char command[128];

	(void)state;
	snprintf(command, sizeof command, "rm -rf %s", folder);
	assert_int_equal(system(command), 0);
	diag_free(&diag);
	arena_destroy(arena);
	return 0;
}

static inline const char *
file_of(const char *name)
{
	return arena_printf(arena, "%s/%s", folder, name);
}

static inline const char *
put_file(const char *name, const void *bytes, size_t size)
{
	const char *path = file_of(name);
	FILE *f = fopen(path, "wb");

	assert_non_null(f);
	assert_int_equal(fwrite(bytes, 1, size, f), size);
	assert_int_equal(fclose(f), 0);
	return path;
}

static inline const char *
put_text(const char *name, const char *text)
{
	return put_file(name, text, strlen(text));
}

static inline struct graph *
import_text(const char *text, const struct import_opts *o)
{
	return onnx_import(arena, put_text("m.onnxtxt", text), o, &diag);
}

/* Every input i filled with 1, 2, 3... times scale; the outputs as doubles. */
static inline struct etensor **
evaluate(struct graph *g, double scale)
{
	struct eval_opts o = {.arena = arena};
	struct etensor **in = arena_array(arena, struct etensor *, g->inputs.n + 1);
	struct etensor **out = arena_array(arena, struct etensor *, g->outputs.n + 1);

	for (int i = 0; i < g->inputs.n; i++) {
		struct value *v = g->inputs.v[i];

		in[i] = etensor_new(arena, v->dtype, v->rank, v->dims);
		for (int64_t k = 0; k < in[i]->count; k++)
			et_put(in[i], k,
			    dtype_is_float(v->dtype) ? scale * (double)(k + 1) : (double)(k % 2));
	}
	if (!eval_graph(&o, g, in, out, NULL, NULL, &diag))
		return NULL;
	return out;
}

/* Both texts give the same first output. */
static inline void
same_result(const char *old, const char *new)
{
	struct import_opts o = {.default_dim = 2};
	struct graph *a = import_text(old, &o), *b = import_text(new, &o);
	struct etensor **x, **y;

	if (!a || !b)
		fail_msg("%s\n%s", old, diag.text.s);
	x = evaluate(a, 0.25);
	y = evaluate(b, 0.25);
	if (!x || !y)
		fail_msg("%s\n%s", old, diag.text.s ? diag.text.s : "not evaluated");
	assert_int_equal(x[0]->dtype, y[0]->dtype);
	assert_true(dims_equal(x[0]->rank, x[0]->dims, y[0]->rank, y[0]->dims));
	for (int64_t i = 0; i < x[0]->count; i++)
		if (et_get(x[0], i) != et_get(y[0], i))
			fail_msg("%s\nelement %d: %g is not %g", old, (int)i, et_get(x[0], i),
			    et_get(y[0], i));
}

/* The text does not import, and the report holds these words. */
static inline void
refused(const char *text, const char *words)
{
	struct import_opts o = {.default_dim = 2};
	struct graph *g = import_text(text, &o);

	if (g)
		fail_msg("imported: %s", text);
	if (!strstr(diag.text.s, words))
		fail_msg("\"%s\" is not in\n%s", words, diag.text.s);
	diag_free(&diag);
	diag_init(&diag, NULL);
}

/* The shared data, beside the project unless RETORT_SHARED says where; NULL: absent. */
static inline const char *
shared_dir(void)
{
	const char *s = getenv("RETORT_SHARED");

	if (!s)
		s = "../shared";
	return access(s, R_OK) == 0 ? s : NULL;
}

#endif
