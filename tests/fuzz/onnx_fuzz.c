/* onnx_fuzz -- libFuzzer over the model reader, binary and text:
 *   cmake -DCMAKE_C_COMPILER=clang-19 -DRETORT_SANITIZE=ON ... && ninja onnx_fuzz
 *   tests/fuzz/onnx_fuzz -max_len=65536 CORPUS */
#include "frontend/frontend.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *, size_t);

/* The importer reads files: one in memory, made once. */
static const char *
as_file(const uint8_t *data, size_t size)
{
	static char path[32];
	static int fd = -1;

	if (fd < 0) {
		strcpy(path, "/tmp/retort-fuzz-XXXXXX");
		fd = mkstemp(path);
	}
	if (fd < 0 || ftruncate(fd, 0) || pwrite(fd, data, size, 0) != (ssize_t)size)
		abort();
	return path;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct arena *a = arena_create();
	struct import_opts o = {
	    .default_dim = 2, .states = size & 1, .training = size & 2, .keep_going = size & 4};
	struct diag d;
	const char *path = as_file(data, size);
	struct graph *g;

	diag_init(&d, NULL);
	g = onnx_import(a, path, &o, &d);
	if (g)
		graph_verify(g, "import");
	else if (!d.errors)
		die("no graph and no message");
	diag_free(&d);
	arena_destroy(a);
	return 0;
}
