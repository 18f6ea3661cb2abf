/* export_tool: IN OUT: the exported student (or OUT of a text as binary with -t),
 * for checker.sh. */
#include "frontend/frontend.h"

#include <string.h>

int
main(int argc, char **argv)
{
	struct arena *a = arena_create();
	struct onnx_patch *patch;
	struct diag d;
	void *bytes;
	size_t size;
	int n;
	bool ok = false;

	diag_init(&d, stderr);
	if (argc == 4 && strcmp(argv[1], "-t") == 0)
		ok = onnx_text_to_binary(argv[2], argv[3], &d);
	else if (argc == 3)
		ok = onnx_export_template(argv[1], a, &bytes, &size, &n, &patch, &d) &&
		     file_write(&d, argv[2], bytes, size);
	diag_free(&d);
	arena_destroy(a);
	return !ok;
}
