/* loss -- the losses and their settings as the recipe says them and passes/loss_*.c
 * builds them; and numbers that change in training. */
#ifndef RETORT_LOSS_H
#define RETORT_LOSS_H

#include "base/base.h"

/* A number by time t, in epochs of the stage: `from` until `begin`, `to` after `end`,
 * between them along the curve; x = (t-begin)/(end-begin):
 *   linear       from + (to-from) x
 *   cosine       from + (to-from) (1-cos(pi x))/2
 *   exponential  from (to/from)^x, both positive
 *   step         from
 * FIXED: always from. */
enum dial_curve { DIAL_FIXED, DIAL_LINEAR, DIAL_COSINE, DIAL_EXPONENTIAL, DIAL_STEP };
extern const char *const dial_curve_names[]; /* "fixed" ..., NULL */
struct dial {
	double from, to, begin, end;
	enum dial_curve curve;
};

enum loss_kind {
#define LOSS(id, ...) LOSS_##id,
#include "ir/loss.def"
	NLOSSES
};

enum loss_need { LOSS_NO, LOSS_MAY, LOSS_MUST };
struct loss_setting {
	const char *key;
	double otherwise, least, most;
	enum { SETTING_REAL, SETTING_FIXED, SETTING_COUNT, SETTING_FLAG, SETTING_CHOICE } kind;
	const char *words; /* of a choice, one blank between */
};
struct loss_info {
	const char *name;
	enum loss_need teachers, target;
	double temperature;
	int features; /* 1: of layers that adaptors may join; 2: of layers of any widths */
	int nsettings;
	const struct loss_setting *settings;
};
extern const struct loss_info loss_info[NLOSSES];
int loss_find(const char *name);				/* -1: there is none */
int loss_setting_find(const struct loss_info *, const char *key); /* -1: it has none */

#endif
