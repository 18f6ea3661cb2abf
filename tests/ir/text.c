/* text: every .rir of the tree prints as it parses; broken text is reported with
 * its line; truncations and flipped bytes never crash. */
#include "ir/ir.h"
#include "tests/unit.h"

#include <glob.h>
#include <stdlib.h>
#include <string.h>

static struct graph *
parse(struct arena *a, const char *text, struct diag *d)
{
	diag_init(d, NULL);
	return graph_parse(a, text, "t.rir", d);
}

static void
round_trip(const char *path)
{
	struct arena *a = arena_create();
	struct diag d;
	struct str one = {0}, two = {0};
	struct graph *g;
	char *text;

	diag_init(&d, stderr);
	text = file_read(&d, path, NULL);
	assert_non_null(text);
	g = graph_parse(a, text, path, &d);
	if (!g)
		fail_msg("%s does not parse", path);
	graph_verify(g, "parse");
	graph_print(g, &one, -1);
	g = graph_parse(a, one.s, "printed", &d);
	if (!g)
		fail_msg("%s does not parse as printed:\n%s", path, one.s);
	graph_verify(g, "parse");
	graph_print(g, &two, -1);
	assert_string_equal(one.s, two.s);
	str_free(&one);
	str_free(&two);
	diag_free(&d);
	free(text);
	arena_destroy(a);
}

static void
all_files_round_trip(void **state)
{
	glob_t found = {0};
	size_t i;

	(void)state;
	glob("tests/*/*.rir", 0, NULL, &found);
	glob("tests/*/*/*.rir", GLOB_APPEND, NULL, &found);
	assert_true(found.gl_pathc >= 5);
	for (i = 0; i < found.gl_pathc; i++)
		round_trip(found.gl_pathv[i]);
	globfree(&found);
}

static void
exact_text(void **state)
{
	struct arena *a = arena_create();
	struct diag d;
	struct str s = {0};
	struct graph *g = parse(a,
	    "graph g { dim N 1..64 %x = input f32[N,2] %w = state trainable f32[2] {1,2.5} @ \"m.onnx\" \"w\"\n"
	    "%\"1\" = mul %x, %w \"m\" @ \"m.onnx\":3 \"m\" op \"Mul\" by \"grad\"\n"
	    "%5 = const i64 {0} %9 = gather %\"1\", %5 (axis=1) output %9 \"y\" }", &d);

	(void)state;
	assert_non_null(g);
	graph_print(g, &s, -1);
	/* constants are numbered first: they stand above the nodes */
	assert_string_equal(s.s,
	    "graph \"g\" {\n"
	    "  dim N 1..64\n"
	    "  %x = input f32[N,2]\n"
	    "  %w = state trainable f32[2] {1, 2.5}  @ \"m.onnx\" \"w\"\n"
	    "  %0 = const i64 {0}\n"
	    "  %\"1\" = mul %x, %w : f32[N,2] \"m\"  @ \"m.onnx\":3 \"m\" op \"Mul\" by \"grad\"\n"
	    "  %1 = gather %\"1\", %0 (axis=1) : f32[N]\n"
	    "  output %1 \"y\"\n"
	    "}\n");
	str_free(&s);
	diag_free(&d);
	arena_destroy(a);
}

static void
large_constants_are_digests(void **state)
{
	struct arena *a = arena_create();
	struct diag d;
	struct str s = {0};
	struct graph *g = parse(a, "graph g {\n %a = const f32[3] {1,2,3}\n output %a \"a\"\n}", &d);

	(void)state;
	graph_print(g, &s, 2);
	assert_non_null(strstr(s.s, "%a = const f32[3] sha256:"));
	assert_null(graph_parse(a, s.s, "t.rir", &d));
	assert_non_null(strstr(d.text.s, "t.rir:2: the data of this constant was left out"));
	str_free(&s);
	diag_free(&d);
	arena_destroy(a);
}

static void
errors_name_the_line(void **state)
{
	static const struct { const char *text, *want; } cases[] = {
	    {"", "t.rir:1: \"graph\" expected"},
	    {"graph g {\n", "t.rir:2: the text ends inside a graph"},
	    {"graph g {\n\n %y = exp %x\n}", "t.rir:3: value %x is not defined"},
	    {"graph g {\n %y = expp %x\n}", "t.rir:2: unknown operator \"expp\""},
	    {"graph g {\n %x = input f33[2]\n}", "t.rir:2: an element type"},
	    {"graph g {\n %x = input f32[2]\n %x = input f32[2]\n}", "t.rir:3: value %x is defined twice"},
	    {"graph g {\n %x = input f32[2]\n %y = input f32[3]\n %z = add %x, %y\n}", "does not broadcast"},
	    {"graph g {\n %x = input f32[2]\n %z = exp %x : f32[3]\n}",
	        "t.rir:3: the type is given as f32[3], the operands give f32[2]"},
	    {"graph g {\n %x = const f32[3] {1,2}\n}", "t.rir:2: ',' expected between elements"},
	    {"graph g {\n %x = const f32[99999999999] splat 1\n}", "at most"},
	    {"graph g {\n %x = const f32[100] {}\n}", "the text ends before"},
	    {"graph g {\n %x = const f32[N] splat 1\n}", "a constant needs constant dims"},
	    {"graph g {\n %x = input f32[2,2,2,2,2,2,2,2,2,2,2,2,2]\n}", "more than 12 dims"},
	    {"graph g {\n dim N 5..2\n}", "t.rir:2: bounds 5..2 of N"},
	    {"graph g {\n %x = input f32[-3]\n}", "t.rir:2: size"},
	    {"graph g {\n %x = const i64 {99999999999999999999999}\n}", "out of range"},
	    {"graph g {\n %x = input f32[2]\n %y = gather %x, %x (axis=0, axis=1)\n}", "given twice"},
	    {"graph g {\n %x = input f32[2]\n update %x = %x\n}", "not a state"},
	    {"graph g {\n output \"unclosed\n}", "t.rir:2: string without its closing quote"},
	    {"graph g {\n}\nmore", "t.rir:3: text after the graph"},
	};
	size_t i;

	(void)state;
	for (i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct arena *a = arena_create();
		struct diag d;

		assert_null(parse(a, cases[i].text, &d));
		assert_int_equal(d.errors, 1);
		assert_int_equal(d.status, STATUS_INVALID);
		if (!strstr(d.text.s, cases[i].want))
			fail_msg("wanted \"%s\", got %s", cases[i].want, d.text.s);
		diag_free(&d);
		arena_destroy(a);
	}
}

/* Nesting of sizes is bounded, and so is how far products multiply out. */
static void
hostile_sizes(void **state)
{
	struct arena *a = arena_create();
	struct diag d;
	struct str s = {0};
	int i;

	(void)state;
	str_add(&s, "graph g { %x = input f32[");
	for (i = 0; i < 100000; i++)
		str_add(&s, "(");
	assert_null(parse(a, s.s, &d));
	diag_free(&d);
	s.n = 0;
	str_add(&s, "graph g { %x = input f32[(a+b+c)*(a+b+c)*(a+b+c)*(a+b+c)*(a+b+c)*(a+b+c)] }");
	assert_null(parse(a, s.s, &d));
	assert_non_null(strstr(d.text.s, "too large"));
	diag_free(&d);
	str_free(&s);
	arena_destroy(a);
}

static void
try(const char *text)
{
	struct arena *a = arena_create();
	struct diag d;
	struct graph *g = parse(a, text, &d);

	/* whatever still parses is well formed */
	if (g)
		graph_verify(g, "parse");
	else
		assert_true(d.errors >= 1);
	diag_free(&d);
	arena_destroy(a);
}

static void
damaged_text_never_crashes(void **state)
{
	static const char *const files[] = {"tests/text/mlp.rir", "tests/text/constants.rir",
	    "tests/text/sizes.rir", "tests/text/conv.rir", "tests/text/strings.rir"};
	static const char noise[] = "%\"{}[](),:=-0129.eNx_<>@/*+ \n#";
	unsigned seed = 7;
	size_t k, n, i;

	(void)state;
	for (k = 0; k < 4; k++) {
		struct diag d;
		char *text, *copy;

		diag_init(&d, stderr);
		text = file_read(&d, files[k], &n);
		assert_non_null(text);
		copy = malloc(n + 1);
		for (i = 0; i < n; i += 3) {
			memcpy(copy, text, n + 1);
			copy[i] = 0;
			try(copy);
		}
		for (i = 0; i < 1500; i++) {
			int flips = 1 + rand_r(&seed) % 3;

			memcpy(copy, text, n + 1);
			while (flips--) {
				size_t at = (size_t)rand_r(&seed) % n;

				copy[at] = rand_r(&seed) % 4 ? noise[(size_t)rand_r(&seed) % (sizeof noise - 1)]
				                             : (char)(rand_r(&seed) % 255 + 1);
			}
			try(copy);
		}
		free(copy);
		free(text);
		diag_free(&d);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(all_files_round_trip),
	    cmocka_unit_test(exact_text),
	    cmocka_unit_test(large_constants_are_digests),
	    cmocka_unit_test(errors_name_the_line),
	    cmocka_unit_test(hostile_sizes),
	    cmocka_unit_test(damaged_text_never_crashes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
