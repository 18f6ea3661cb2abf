/* files: every teacher and student of the shared data imports in both forms, gives
 * PyTorch's outputs in the fp64 evaluator, and exports to a file that gives them
 * too, also with other weights written at the places the export names. */
#include "tests/frontend/help.h"

#include <dirent.h>
#include <math.h>

enum { ROWS = 2 };

static struct tensor *
first_rows(struct tensor *t)
{
	struct tensor *out;

	t->dims[0] = ROWS;
	out = tensor_new(arena, t->dtype, t->rank, t->dims);
	memcpy(out->data, t->data, out->bytes);
	return out;
}

static void
compare(const struct etensor *got, struct tensor *want, const char *what)
{
	double most = 0, off = 0;

	want = first_rows(want);
	assert_true(dims_equal(got->rank, got->dims, want->rank, want->dims));
	for (int64_t i = 0; i < got->count; i++) {
		double w = dtype_get_f(want->dtype, want->data, i), e = fabs(et_get(got, i) - w);

		most = fabs(w) > most ? fabs(w) : most;
		off = e > off ? e : off;
	}
	if (!(off <= 1e-5 * most))
		fail_msg("%s: off by %g of %g", what, off, most);
}

/* The model at path against the vectors in dir. */
static void
check_vectors(const char *path, const char *dir)
{
	struct eval_opts o = {.arena = arena};
	struct tensor *x = npy_read(arena, arena_printf(arena, "%s/x.npy", dir), &diag);
	struct dim_bind n = {"N", ROWS, ROWS};
	struct import_opts io = {.ndims = 1, .dims = &n};
	struct graph *g = onnx_import(arena, path, &io, &diag);
	struct etensor *in[1], *out[4];

	if (!x || !g)
		fail_msg("%s", diag.text.s);
	assert_int_equal(g->inputs.n, 1);
	in[0] = etensor_from(arena, first_rows(x));
	assert_true(eval_graph(&o, g, in, out, NULL, NULL, &diag));
	for (int i = 0; i < g->outputs.n; i++)
		compare(out[i],
		    npy_read(
			arena, arena_printf(arena, "%s/%s.npy", dir, g->output_names.v[i]), &diag),
		    path);
}

static void
check_states(const char *path)
{
	struct dim_bind n = {"N", ROWS, ROWS};
	struct import_opts io = {.ndims = 1, .dims = &n, .states = true, .training = true};
	struct graph *g = onnx_import(arena, path, &io, &diag);
	struct onnx_patch *patch;
	void *bytes;
	size_t size;
	int npatch = 0;
	float minus = -1;

	if (!g || !onnx_export_template(path, arena, &bytes, &size, &npatch, &patch, &diag))
		fail_msg("%s", diag.text.s);
	graph_verify(g, "import");
	assert_int_equal(npatch, g->states.n);
	for (int i = 0; i < npatch; i++) {
		struct value *v = graph_find(g, patch[i].name);

		assert_non_null(v);
		assert_int_equal(v->kind, VAL_STATE);
		assert_int_equal(patch[i].bytes, v->data->bytes);
		assert_memory_equal((char *)bytes + patch[i].offset, v->data->data, v->data->bytes);
	}
	/* Patched bytes are what an import of the new file sees. */
	memcpy((char *)bytes + patch[0].offset, &minus, sizeof minus);
	g = onnx_import(arena, put_file("s.onnx", bytes, size), &io, &diag);
	assert_non_null(g);
	assert_memory_equal(graph_find(g, patch[0].name)->data->data, &minus, sizeof minus);
}

static void
every_file(const char *kind)
{
	const char *shared = shared_dir(), *dir, *vectors;
	struct dirent *e;
	DIR *d;
	int n = 0;

	if (!shared) {
		print_message("skipped: no shared data\n");
		skip();
	}
	dir = arena_printf(arena, "%s/data/%s", shared, kind);
	d = opendir(dir);
	if (!d) {
		print_message("skipped: no %s\n", dir);
		skip();
	}
	while ((e = readdir(d))) {
		const char *path = arena_printf(arena, "%s/%s", dir, e->d_name);
		const char *base = arena_strndup(
		    arena, e->d_name, strlen(e->d_name) - (strlen(e->d_name) > 5 ? 5 : 0));
		struct onnx_patch *patch;
		void *bytes;
		size_t size;
		int npatch;

		if (!str_ends(e->d_name, ".onnx"))
			continue;
		vectors = arena_printf(arena, "%s/data/vectors/%s", shared, base);
		check_states(path);
		if (strstr(base, "cifar10"))
			continue; /* slow without a compiler */
		check_vectors(path, vectors);
		assert_true(
		    onnx_export_template(path, arena, &bytes, &size, &npatch, &patch, &diag));
		check_vectors(put_file("x.onnx", bytes, size), vectors);
		n++;
	}
	closedir(d);
	print_message("%d files of %s agree\n", n, kind);
}

static void
teachers(void **state)
{
	(void)state;
	every_file("teachers");
}

static void
students(void **state)
{
	(void)state;
	every_file("students");
}

/* ---- export of what the shared files do not have */
static void
export_of_shared_and_dropped(void **state)
{
	static const char text[] =
	    "<ir_version: 3, opset_import: [\"\" : 6]>\n"
	    "g (float[2,3] x, float[3,3] w = {2}) => (float[2,3] y, float[2,3] d)\n"
	    "<float[3] one = {1}, float[3] zero = {0}, float[3] mean = {0}, float[3] var = {1}, "
	    "float[4] far = [\"location\": \"w.bin\"]> {\n"
	    "  own = Identity(w)\n  a = MatMul(x, w)  b = MatMul(a, own)\n"
	    "  n, m1, v1, s1, s2 = BatchNormalization(b, one, zero, mean, var)\n"
	    "  k, m2, v2, s3, s4 = BatchNormalization(n, one, zero, mean, var)\n"
	    "  e = Dropout(k)  f = Dropout(e)  y = Neg(f)  d = Dropout(n)\n}";
	const char *path = put_text("old.onnxtxt", text);
	struct onnx_patch *patch;
	struct onnx_file f;
	void *bytes;
	size_t size;
	int npatch;

	(void)state;
	put_file("w.bin", "0123456789abcdef", 16);
	if (!onnx_export_template(path, arena, &bytes, &size, &npatch, &patch, &diag))
		fail_msg("%s", diag.text.s);
	assert_int_equal(npatch, 10);
	assert_true(onnx_open_bytes(&f, arena, path, NULL, bytes, size, &diag));
	assert_int_equal(f.m->ir_version, 4);
	assert_int_equal(f.m->graph->n_node, 6);
	for (size_t i = 0; i < f.m->graph->n_node; i++) {
		Onnx__NodeProto *n = f.m->graph->node[i];

		assert_int_equal(n->n_output, 1);
		if (strcmp(n->op_type, "Neg") == 0)
			assert_string_equal(n->input[0], "k");
		if (strcmp(n->op_type, "Identity") == 0)
			assert_string_equal(n->output[0], "d");
		if (strcmp(n->op_type, "BatchNormalization") == 0) {
			assert_int_equal(n->n_attribute, 1);
			assert_string_equal(n->attribute[0]->name, "is_test");
		}
	}
	onnx_close(&f);
}

#define T(f) cmocka_unit_test_setup_teardown(f, help_setup, help_teardown)
int
main(void)
{
	const struct CMUnitTest tests[] = {
	    T(export_of_shared_and_dropped), T(teachers), T(students)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
