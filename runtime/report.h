/* report -- what the files of report.html share: report.c the page, its curves and
 * tables; report_answers.c what the student says; picture.c samples as images. */
#ifndef RETORT_REPORT_H
#define RETORT_REPORT_H

#include "runtime/trainer.h"

void html(FILE *, const char *text); /* with what HTML would read escaped */
/* report_answers.c: of each task with labels its confusions, classes and samples. */
void report_answers(FILE *, struct run *);

/* picture.c: an image of 8 bits a channel, 1 or 3 of them, interleaved. */
struct picture {
	int64_t h, w, channels;
	unsigned char *p; /* heap */
};
/* A sample as it can be looked at: numbers but u8 are spread from the least to the
 * largest, large images shrunk to at most `side`.  p NULL: it is no image. */
struct picture picture_of(const struct cfg_field *, const unsigned char *row, int64_t side);
/* src of an <img>: a PNG in base64 */
bool picture_write(FILE *, const struct picture *);

#endif
