/* samples DIR -- one batch as IDX files, for the compiler to see what a sample is. */
#include "synthetic.h"

#include <stdio.h>

enum { N = 32 };

static int
write_idx(const char *dir, const char *name, int rank, const void *data, size_t bytes)
{
	unsigned char head[16] = {0, 0, 8, (unsigned char)rank, 0, 0, 0, N, 0, 0, 0, SIDE, 0, 0, 0, SIDE};
	char path[1000];
	FILE *f;

	snprintf(path, sizeof path, "%s/%s", dir, name);
	f = fopen(path, "wb");
	if (!f)
		return 1;
	fwrite(head, 1, 4 + 4 * (size_t)rank, f);
	fwrite(data, 1, bytes, f);
	return fclose(f) != 0;
}

int
main(int argc, char **argv)
{
	static uint8_t image[N][PIXELS], label[N];
	uint64_t state = 1;

	for (int i = 0; i < N; i++)
		label[i] = draw(&state, image[i]);
	return argc != 2 || write_idx(argv[1], "images-idx3-ubyte", 3, image, sizeof image) ||
	       write_idx(argv[1], "labels-idx1-ubyte", 1, label, sizeof label);
}
