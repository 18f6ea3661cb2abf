/* the one form of a message. */
#include "base/base.h"
#include "tests/unit.h"

#include <stdlib.h>
#include <string.h>

static void
forms(void **state)
{
	struct diag d;
	struct loc l = {.file = "student.onnx", .node = 37, .name = "encoder.q", .op = "MatMul", .maker = "grad"};

	(void)state;
	diag_init(&d, NULL);
	assert_false(diag_invalid(&d, l, "inner dimension %d does not match %d", 768, 512));
	diag_note(&d, LOC_NONE, "from here");
	diag_warn(&d, ((struct loc){.file = "r.yaml", .line = 12, .node = -1}), "odd");
	diag_io(&d, LOC_FILE("x.npy"), "cannot be opened");
	diag_usage(&d, "what?");
	diag_error(&d, STATUS_VERIFY, ((struct loc){.node = -1, .name = "y"}), "differs");
	assert_string_equal(d.text.s,
	    "error: student.onnx: node 37 \"encoder.q\" (MatMul): inner dimension 768 does not match 512 [grad]\n"
	    "  note: from here\n"
	    "warning: r.yaml:12: odd\n"
	    "error: x.npy: cannot be opened\n"
	    "error: what?\n"
	    "error: \"y\": differs\n");
	assert_int_equal(d.errors, 4);
	assert_int_equal(d.warnings, 1);
	assert_int_equal(d.status, STATUS_INVALID);
	diag_free(&d);
}

static void
colour_and_quiet(void **state)
{
	char *text = NULL;
	size_t n;
	struct diag d;

	(void)state;
	diag_init(&d, open_memstream(&text, &n));
	d.color = true;
	d.quiet = true;
	diag_warn(&d, LOC_NONE, "hidden");
	diag_io(&d, LOC_FILE("f"), "gone");
	fclose(d.out);
	assert_string_equal(text, "\033[1;31merror: \033[0mf: gone\n");
	assert_non_null(strstr(d.text.s, "warning: hidden\n"));
	diag_free(&d);
	free(text);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(forms), cmocka_unit_test(colour_and_quiet)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
