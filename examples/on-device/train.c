/* train -- trains the recipe's network in a loop, saves what it has learned, and goes
 * on from there. */
#include "shapes.h"
#include "synthetic.h"

#include <stdio.h>
#include <string.h>

enum { STEPS = 400 };

static _Alignas(SHAPES_WORKSPACE_ALIGN) unsigned char work[SHAPES_WORKSPACE_SIZE];
static uint8_t image[SHAPES_BATCH][PIXELS], label[SHAPES_BATCH];
static unsigned char saved[sizeof work];

static void
batch(uint64_t *state)
{
	for (int i = 0; i < SHAPES_BATCH; i++)
		label[i] = draw(state, image[i]);
}

/* half a cosine from the recipe's rate down to nothing */
static float
rate(int step)
{
	return SHAPES_LR * (float)(1 + cos(3.14159265358979 * step / STEPS)) / 2;
}

static int
check(int status)
{
	if (status != SHAPES_OK)
		fprintf(stderr, "%s\n", shapes_strerror(status));
	return status != SHAPES_OK;
}

int
main(void)
{
	uint64_t data = 7;
	float loss, logits[SHAPES_BATCH][CLASSES];
	int right = 0;

	if (check(shapes_init(work, sizeof work, 1)))
		return 1;
	for (int step = 0; step < STEPS; step++) {
		batch(&data);
		if (check(shapes_step(work, &image[0][0], label, rate(step), &loss)))
			return 1;
		if (step % 50 == 0)
			printf("step %3d  loss %.4f  accuracy %.3f\n", step, loss,
			    shapes_value(work, SHAPES_VALUE_METRIC_CLS_ACCURACY));
		if (step == STEPS / 2) {
			/* power off and on again: the state goes to flash and comes back */
			size_t size = shapes_state_size();

			if (size > sizeof saved || check(shapes_state_save(work, saved, size)))
				return 1;
			memset(work, 0, sizeof work);
			if (check(shapes_init(work, sizeof work, 1)) || check(shapes_state_load(work, saved, size)))
				return 1;
		}
	}
	batch(&data); /* pictures not seen before */
	if (check(shapes_infer(work, &image[0][0], &logits[0][0])) ||
	    check(shapes_eval(work, &image[0][0], label, SHAPES_BATCH, &loss)))
		return 1;
	for (int i = 0; i < SHAPES_BATCH; i++) {
		int best = 0;

		for (int c = 1; c < CLASSES; c++)
			if (logits[i][c] > logits[i][best])
				best = c;
		right += best == label[i];
	}
	printf("new pictures: loss %.4f, %d of %d right\n", loss, right, SHAPES_BATCH);
	puts(right >= SHAPES_BATCH * 3 / 4 ? "learned" : "not learned");
	return 0;
}
