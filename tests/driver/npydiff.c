/* npydiff GOT.npy WANT.npy LIMIT [MASK.npy MIN] -- f32 arrays: exits 0 when
 * max |got-want| <= LIMIT * max |want|; MASK: only where |mask| > MIN.  A test
 * helper that shares no code with what it tests. */
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static float *
load(const char *path, size_t *n)
{
	FILE *f = fopen(path, "rb");
	unsigned char head[12];
	size_t header, count = 0, cap = 1 << 16;
	char *text;
	float *v;

	if (!f || fread(head, 1, 10, f) != 10 || memcmp(head, "\223NUMPY", 6) != 0) {
		fprintf(stderr, "%s: not a .npy file\n", path);
		exit(2);
	}
	header = head[8] + 256u * head[9];
	text = calloc(1, header + 1);
	if (fread(text, 1, header, f) != header || !strstr(text, "'<f4'") || strstr(text, "'fortran_order': True")) {
		fprintf(stderr, "%s: not a C-ordered float32 array: %s\n", path, text);
		exit(2);
	}
	free(text);
	v = malloc(cap * sizeof *v);
	for (size_t got; (got = fread(v + count, sizeof *v, cap - count, f)) > 0;) {
		count += got;
		if (count == cap)
			v = realloc(v, (cap *= 2) * sizeof *v);
	}
	fclose(f);
	*n = count;
	return v;
}

int
main(int argc, char **argv)
{
	size_t n, m, k = 0;
	float *got, *want, *mask = NULL;
	double worst = 0, scale = 0, limit, least = 0;

	if (argc < 4)
		return 2;
	got = load(argv[1], &n);
	want = load(argv[2], &m);
	limit = atof(argv[3]);
	if (argc > 5) {
		mask = load(argv[4], &k);
		least = atof(argv[5]);
	}
	if (n != m || (mask && k != n)) {
		fprintf(stderr, "%s: %zu numbers, %s: %zu\n", argv[1], n, argv[2], m);
		return 1;
	}
	for (size_t i = 0; i < n; i++) {
		double d = fabs((double)got[i] - want[i]);

		if (fabs(want[i]) > scale)
			scale = fabs(want[i]);
		if (!(mask && fabs(mask[i]) <= least) && !(d <= worst))
			worst = d;
	}
	printf("%s: max difference %.3g of %.3g: relative %.3g\n", argv[1], worst, scale, scale > 0 ? worst / scale : worst);
	free(got);
	free(want);
	free(mask);
	return worst <= limit * scale ? 0 : 1;
}
