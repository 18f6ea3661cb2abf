/* bad: models that break a rule of the specification, each with the report it must
 * give, word for word.  tests/frontend/bad/NAME.onnxtxt stands beside NAME.err;
 * BAD_UPDATE=1 writes those anew.  What text cannot say is built here as messages. */
#include "passes/passes.h"
#include "tests/frontend/help.h"

#include <dirent.h>
#include <sys/stat.h>

static const char dir[] = "tests/frontend/bad";

/* Imported and expanded as `retort check` does; the report. */
static const char *
report(const char *path)
{
	struct import_opts o = {.default_dim = 2, .keep_going = true};
	struct pass_opts po = {.opt_level = 2};
	struct pass_ctx ctx = {.arena = arena, .opts = &po};
	struct graph *g;
	struct diag d;
	const char *text;

	diag_init(&d, NULL);
	ctx.diag = &d;
	g = onnx_import(arena, path, &o, &d);
	if (!g)
		assert_true(d.errors > 0);
	else
		passes_run_named(g, "expand", &ctx);
	text = arena_strdup(arena, d.errors ? d.text.s : "accepted\n");
	diag_free(&d);
	return text;
}

static int
by_name(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void
texts(void **state)
{
	VEC(const char *) names = {0};
	struct dirent *e;
	DIR *f = opendir(dir);
	int bad = 0;

	(void)state;
	assert_non_null(f);
	while ((e = readdir(f)))
		if (str_ends(e->d_name, ".onnxtxt"))
			vec_push(arena, &names, arena_strndup(arena, e->d_name, strlen(e->d_name) - 8));
	closedir(f);
	assert_true(names.n > 60);
	qsort(names.v, (size_t)names.n, sizeof *names.v, by_name);
	for (int i = 0; i < names.n; i++) {
		const char *want = arena_printf(arena, "%s/%s.err", dir, names.v[i]);
		const char *got = report(arena_printf(arena, "%s/%s.onnxtxt", dir, names.v[i]));
		char *said;

		if (getenv("BAD_UPDATE")) {
			assert_true(file_write(&diag, want, got, strlen(got)));
			continue;
		}
		said = file_read(&diag, want, NULL);
		if (!said || strcmp(said, got)) {
			print_error("%s\nsays:\n%sshould say:\n%s", names.v[i], got, said ? said : "(no .err)\n");
			bad++;
		}
		free(said);
	}
	assert_int_equal(bad, 0);
}

/* ---- messages: a model of one node over x [2] and initializer w, edited */
struct model {
	struct onnx_file f;
	Onnx__GraphProto *g;
	Onnx__TensorProto *w;
};

static struct model
model(void)
{
	static const char text[] = "<ir_version: 10, opset_import: [\"\" : 22]>\n"
				   "g (float[2] x) => (float[2] y) <float[2] w = {1, 2}> { [sum] y = Add (x, w) }";
	struct model m;

	assert_true(onnx_open_bytes(&m.f, arena, "m", "m", text, strlen(text), &diag));
	m.g = m.f.m->graph;
	m.w = m.g->initializer[0];
	return m;
}

static void
says(struct model *m, const char *words)
{
	size_t size;
	void *p = onnx_pack(arena, &m->f.m->base, &size);
	const char *text = report(put_file("m.onnx", p, size));

	onnx_close(&m->f);
	if (!strstr(text, words))
		fail_msg("\"%s\" is not in\n%s", words, text);
}

static void
raw(struct model *m, size_t bytes)
{
	m->w->n_float_data = 0;
	m->w->has_raw_data = 1;
	m->w->raw_data.data = arena_alloc(arena, bytes + 1);
	m->w->raw_data.len = bytes;
}

static void
weights(void **state)
{
	struct model m = model();

	(void)state;
	raw(&m, 7);
	says(&m, "m.onnx: \"w\" (initializer): has 7 bytes, its shape needs 8");
	m = model();
	m.w->data_type = 99;
	says(&m, "\"w\" (initializer): element type 99 is not one of ONNX");
	m = model();
	m.w->dims[0] = -2;
	says(&m, "\"w\" (initializer): axis 0 has size -2");
	m = model();
	m.w->dims[0] = 3;
	says(&m, "\"w\" (initializer): has 8 bytes, its shape needs 12");
	m = model();
	m.w->dims[0] = INT64_MAX / 2;
	says(&m, "\"w\" (initializer): its size overflows");
	m = model();
	m.w->name = "";
	says(&m, "initializer 0 has no name");
}

static void
sizes(void **state)
{
	struct model m = model();
	Onnx__TensorShapeProto__Dimension *dim = m.g->input[0]->type->tensor_type->shape->dim[0];

	(void)state;
	dim->dim_value = -7;
	says(&m, "\"x\" (input): axis 0 has size -7: sizes are not negative");
	m = model();
	m.g->input[0]->type->tensor_type->elem_type = 77;
	says(&m, "\"x\" (input): has element type 77, which is not one of ONNX");
	m = model();
	m.g->input[0]->name = "";
	says(&m, "graph input 0 has no name");
	m = model();
	m.g->input[0]->type = NULL;
	says(&m, "\"x\" (input): has no type");
	m = model();
	m.f.m->n_opset_import = 0;
	says(&m, "node 0 \"sum\" (Add): the file imports no opset of domain \"ai.onnx\"");
	m = model();
	m.g->node[0]->op_type = "";
	says(&m, "operator \"\" of domain \"ai.onnx\"");
	m = model();
	m.g->n_node = 0;
	says(&m, "\"y\" (output): no node makes it");
}

/* ---- external data; a file of `size` bytes without content where it matters */
static void
external(const char *location, const char *offset, const char *length, const char *words)
{
	struct model m = model();
	static const char *const keys[] = {"location", "offset", "length"};
	const char *values[] = {location, offset, length};

	m.w->n_float_data = 0;
	m.w->has_data_location = 1;
	m.w->data_location = ONNX__TENSOR_PROTO__DATA_LOCATION__EXTERNAL;
	m.w->external_data = arena_array(arena, Onnx__StringStringEntryProto *, 3);
	for (int i = 0; i < 3; i++) {
		Onnx__StringStringEntryProto *e = arena_new(arena, Onnx__StringStringEntryProto);

		if (!values[i])
			continue;
		onnx__string_string_entry_proto__init(e);
		e->key = arena_strdup(arena, keys[i]);
		e->value = arena_strdup(arena, values[i]);
		m.w->external_data[m.w->n_external_data++] = e;
	}
	says(&m, words);
}

static void
external_data(void **state)
{
	const char *big = file_of("big.bin");
	FILE *f;

	(void)state;
	put_file("w.bin", "12345678", 8);
	external("w.bin", NULL, NULL, "accepted");
	external("w.bin", "4", NULL, "external data \"w.bin\" has 8 bytes, 8 at offset 4 are wanted");
	external("w.bin", "-4", NULL, "offset \"-4\" is not a size");
	external("w.bin", "99999999999999999999", NULL, "offset \"99999999999999999999\" is not a size");
	external("w.bin", "9223372036854775807", NULL, "8 at offset 9223372036854775807 are wanted");
	external("w.bin", "0", "4", "gives 4 bytes, its shape needs 8");
	external("none.bin", NULL, NULL, "external data \"none.bin\": no such file");
	external("/etc/passwd", NULL, NULL, "external data \"/etc/passwd\": leaves the model's directory");
	external("../w.bin", NULL, NULL, "external data \"../w.bin\": leaves the model's directory");
	external("a/../../w.bin", NULL, NULL, "leaves the model's directory");
	external("", NULL, NULL, "external data without a location");
	external(NULL, NULL, NULL, "external data without a location");
	assert_int_equal(mkdir(file_of("sub"), 0700), 0);
	external("sub", NULL, NULL, "not a plain file");
	assert_int_equal(symlink("/etc/hostname", file_of("link.bin")), 0);
	external("link.bin", NULL, NULL, "leaves the model's directory");
	assert_non_null(f = fopen(big, "wb")); /* beyond 4 GB, nearly all of it a hole */
	assert_int_equal(fclose(f), 0);
	assert_int_equal(truncate(big, (off_t)5 << 30), 0);
	external("big.bin", "5368709112", NULL, "accepted");
	external("big.bin", "5368709113", NULL, "has 5368709120 bytes, 8 at offset 5368709113 are wanted");
}

static void
two_gigabytes(void **state)
{
	const char *path = put_file("huge.onnx", "\x08\x08", 2);

	(void)state;
	assert_int_equal(truncate(path, (off_t)3 << 30), 0);
	assert_non_null(strstr(report(path), "has 3221225472 bytes: ONNX files end at 2 GB"));
}

/* If in If in If ... */
static void
deep_branches(void **state)
{
	struct str s = {0};

	(void)state;
	str_add(&s, "<ir_version: 10, opset_import: [\"\" : 22]>\ng (bool c, float[2] x) => (float[2] y0) {\n");
	for (int i = 0; i < 200; i++)
		str_addf(&s, "y%d = If <else_branch = e () => (float[2] r%d) { r%d = Neg (x) }, then_branch = t () => (float[2] y%d) {\n",
		    i, i, i, i + 1);
	str_add(&s, "y200 = Abs (x)\n");
	for (int i = 0; i < 200; i++)
		str_add(&s, "}> (c)\n");
	str_add(&s, "}");
	assert_non_null(strstr(report(put_text("deep.onnxtxt", s.s)), "deep"));
	str_free(&s);
}

#define T(f) cmocka_unit_test_setup_teardown(f, help_setup, help_teardown)
int
main(void)
{
	const struct CMUnitTest tests[] = {
	    T(texts), T(weights), T(sizes), T(external_data), T(two_gigabytes), T(deep_branches)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
