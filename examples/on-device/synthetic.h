/* synthetic -- pictures of ten classes: a bright bar at one of ten angles through a
 * noisy middle. */
#ifndef SYNTHETIC_H
#define SYNTHETIC_H

#include <math.h>
#include <stdint.h>

enum { SIDE = 28, PIXELS = SIDE * SIDE, CLASSES = 10 };

static double
uniform(uint64_t *state)
{
	*state = *state * 6364136223846793005u + 1442695040888963407u;
	return (double)(*state >> 11) / 9007199254740992.0;
}

/* One picture and its class. */
static uint8_t
draw(uint64_t *state, uint8_t image[PIXELS])
{
	uint8_t label = (uint8_t)(uniform(state) * CLASSES);
	double angle = 3.14159265358979 * (label + 0.3 * (uniform(state) - 0.5)) / CLASSES;
	double cx = 13.5 + 4 * (uniform(state) - 0.5), cy = 13.5 + 4 * (uniform(state) - 0.5);

	for (int y = 0; y < SIDE; y++)
		for (int x = 0; x < SIDE; x++) {
			double across = fabs((x - cx) * sin(angle) - (y - cy) * cos(angle));
			double v = 220 * exp(-across * across / 3) + 60 * uniform(state);

			image[y * SIDE + x] = (uint8_t)(v > 255 ? 255 : v);
		}
	return label;
}

#endif
