/* try_student -- what a user of the distilled library writes: the test images
 * through student.h and libstudent.a, and how many it gets right.
 *
 *   try_student IMAGES LABELS DIR
 *
 * The first image and what the library makes of it go to DIR/image.npy and
 * DIR/logits.npy, for `retort verify`. */
#include "student.h"

#include <stdio.h>
#include <stdlib.h>

enum { PIXELS = 28 * 28, CLASSES = 10 };

/* f32, C order; dims as Python writes a tuple */
static int
write_npy(const char *dir, const char *name, const char *dims, const float *v, size_t n)
{
	char path[4096], head[118];
	int used = snprintf(head, sizeof head, "{'descr': '<f4', 'fortran_order': False, 'shape': %s, }", dims), bad;
	FILE *f;

	snprintf(path, sizeof path, "%s/%s", dir, name);
	f = fopen(path, "wb");
	if (!f)
		return 1;
	bad = fwrite("\223NUMPY\1\0\166\0", 1, 10, f) != 10; /* 118 bytes of header follow */
	bad |= fprintf(f, "%s%*s\n", head, 117 - used, "") != 118;
	bad |= fwrite(v, sizeof *v, n, f) != n;
	return bad | fclose(f);
}

int
main(int argc, char **argv)
{
	FILE *images = argc > 3 ? fopen(argv[1], "rb") : NULL, *labels = argc > 3 ? fopen(argv[2], "rb") : NULL;
	void *work = aligned_alloc(64, (student_workspace_size() + 63) / 64 * 64 + 64);
	unsigned char pixel[PIXELS];
	float image[PIXELS], logits[CLASSES];
	int right = 0, n = 0, label;

	if (!images || !labels || !work || fseek(images, 16, SEEK_SET) || fseek(labels, 8, SEEK_SET)) {
		fprintf(stderr, "usage: try_student IMAGES LABELS DIR\n");
		return 1;
	}
	while (fread(pixel, 1, PIXELS, images) == PIXELS && (label = fgetc(labels)) != EOF) {
		int best = 0;

		for (int i = 0; i < PIXELS; i++)
			image[i] = pixel[i] / 255.0f;
		if (student_run(image, logits, work, student_workspace_size()) != STUDENT_OK)
			return 1;
		if (n == 0 && (write_npy(argv[3], "image.npy", "(1, 1, 28, 28)", image, PIXELS) ||
		               write_npy(argv[3], "logits.npy", "(1, 10)", logits, CLASSES)))
			return 1;
		for (int i = 1; i < CLASSES; i++)
			if (logits[i] > logits[best])
				best = i;
		right += best == label;
		n++;
	}
	printf("libstudent.a: %d of %d test images right (%.2f %%)\n", right, n, n ? 100.0 * right / n : 0.0);
	free(work);
	fclose(images);
	fclose(labels);
	return n ? 0 : 1;
}
