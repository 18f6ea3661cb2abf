/* files: whole reads, outputs that appear at once or not at all, a full disk. */
#include "base/base.h"
#include "tests/unit.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char dir[] = "/tmp/retort-file-XXXXXX";

static int
count_files(void)
{
	DIR *d = opendir(dir);
	int n = 0;

	while (readdir(d))
		n++;
	closedir(d);
	return n - 2;
}

static void
read_and_write(void **state)
{
	struct arena *a = arena_create();
	struct diag d;
	const char *path = path_join(a, dir, "x.bin");
	size_t n;
	char *p;

	(void)state;
	diag_init(&d, NULL);
	assert_null(file_read(&d, path, &n));
	assert_int_equal(d.status, STATUS_IO);
	assert_non_null(strstr(d.text.s, "x.bin: cannot be opened: no such file"));
	assert_true(file_write(&d, path, "hello\0w", 7));
	p = file_read(&d, path, &n);
	assert_int_equal(n, 7);
	assert_memory_equal(p, "hello\0w", 8);
	free(p);
	assert_true(file_write(&d, path, "", 0));
	p = file_read(&d, path, &n);
	assert_int_equal(n, 0);
	free(p);
	assert_null(file_read(&d, dir, &n));
	assert_non_null(strstr(d.text.s, "is a directory"));
	p = file_read(&d, "/proc/self/status", NULL); /* a file without a size */
	assert_non_null(strstr(p, "Pid:"));
	free(p);
	unlink(path);
	diag_free(&d);
	arena_destroy(a);
}

static void
outputs_are_whole_or_absent(void **state)
{
	struct arena *a = arena_create();
	struct diag d;
	struct outfile o;
	const char *path = path_join(a, dir, "out");

	(void)state;
	diag_init(&d, NULL);
	assert_true(outfile_open(&d, &o, path));
	fputs("half", o.f);
	assert_false(file_exists(path));
	outfile_abort(&o);
	assert_int_equal(count_files(), 0);
	assert_true(outfile_open(&d, &o, path));
	fputs("whole", o.f);
	assert_true(outfile_commit(&d, &o));
	assert_int_equal(count_files(), 1);
	/* through a link: the link stays */
	assert_int_equal(symlink("out", path_join(a, dir, "link")), 0);
	assert_true(file_write(&d, path_join(a, dir, "link"), "new", 3));
	assert_int_equal(count_files(), 2);
	unlink(path_join(a, dir, "link"));
	unlink(path);
	assert_false(file_write(&d, path_join(a, dir, "no/such"), "x", 1));
	assert_false(file_write(&d, dir, "x", 1));
	assert_true(file_write(&d, "/dev/null", "x", 1));
	assert_int_equal(count_files(), 0);
	diag_free(&d);
	arena_destroy(a);
}

static void
full_disk(void **state)
{
	struct diag d;

	(void)state;
	if (access("/dev/full", W_OK) != 0)
		skip();
	diag_init(&d, NULL);
	assert_false(file_write(&d, "/dev/full", "x", 1));
	assert_non_null(strstr(d.text.s, "no space left"));
	assert_int_equal(d.status, STATUS_IO);
	diag_free(&d);
}

static void
directories(void **state)
{
	struct arena *a = arena_create();
	struct diag d;
	const char *deep = path_join(a, dir, "a/b/c/");

	(void)state;
	diag_init(&d, NULL);
	assert_true(dir_make(&d, deep));
	assert_true(dir_make(&d, deep));
	assert_true(file_write(&d, path_join(a, dir, "a/file"), "", 0));
	assert_false(dir_make(&d, path_join(a, dir, "a/file/x")));
	unlink(path_join(a, dir, "a/file"));
	rmdir(deep);
	rmdir(path_join(a, dir, "a/b"));
	rmdir(path_join(a, dir, "a"));
	assert_int_equal(count_files(), 0);
	diag_free(&d);
	arena_destroy(a);
}

static void
paths(void **state)
{
	struct arena *a = arena_create();

	(void)state;
	assert_string_equal(path_join(a, "a", "b"), "a/b");
	assert_string_equal(path_join(a, "a/", "b"), "a/b");
	assert_string_equal(path_join(a, "a", "/b"), "/b");
	assert_string_equal(path_join(a, ".", "b"), "b");
	assert_string_equal(path_dir(a, "b"), ".");
	assert_string_equal(path_dir(a, "/b"), "/");
	assert_string_equal(path_dir(a, "a/b/c"), "a/b");
	assert_string_equal(path_base("a/b/c.x"), "c.x");
	assert_string_equal(path_ident(a, "d/resnet-50.v2.onnx"), "resnet_50_v2");
	assert_string_equal(path_ident(a, "3d.onnx"), "_3d");
	assert_string_equal(path_ident(a, ".hidden"), "_hidden");
	arena_destroy(a);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(read_and_write), cmocka_unit_test(outputs_are_whole_or_absent),
	    cmocka_unit_test(full_disk),      cmocka_unit_test(directories),
	    cmocka_unit_test(paths),
	};
	int failed;

	if (!mkdtemp(dir))
		return 1;
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	rmdir(dir);
	return failed;
}
