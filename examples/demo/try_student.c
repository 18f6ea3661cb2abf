/* try_student -- what a user of the distilled library writes: the test images
 * through student.h and libstudent.a, and how many it gets right.
 *
 *   try_student test-images-idx3-ubyte test-labels-idx1-ubyte */
#include "student.h"

#include <stdio.h>
#include <stdlib.h>

enum { PIXELS = 28 * 28, CLASSES = 10 };

int
main(int argc, char **argv)
{
	FILE *images = argc > 2 ? fopen(argv[1], "rb") : NULL, *labels = argc > 2 ? fopen(argv[2], "rb") : NULL;
	void *work = aligned_alloc(64, (student_workspace_size() + 63) / 64 * 64 + 64);
	unsigned char pixel[PIXELS];
	float image[PIXELS], logits[CLASSES];
	int right = 0, n = 0, label;

	if (!images || !labels || !work || fseek(images, 16, SEEK_SET) || fseek(labels, 8, SEEK_SET)) {
		fprintf(stderr, "usage: try_student IMAGES LABELS\n");
		return 1;
	}
	while (fread(pixel, 1, PIXELS, images) == PIXELS && (label = fgetc(labels)) != EOF) {
		int best = 0;

		for (int i = 0; i < PIXELS; i++)
			image[i] = pixel[i] / 255.0f;
		if (student_run(image, logits, work, student_workspace_size()) != STUDENT_OK)
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
