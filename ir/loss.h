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

/* How a feature of the student is brought to the shape of the teacher's
 * (passes/distill_adapt.c).  DECLARED: by the fields. */
enum adaptor_kind {
	ADAPTOR_UNSAID,
	ADAPTOR_AUTO,
	ADAPTOR_NONE,
	ADAPTOR_LINEAR,
	ADAPTOR_CONV1X1,
	ADAPTOR_FITNET,
	ADAPTOR_CONNECTOR,
	ADAPTOR_DECLARED
};
extern const char *const adaptor_names[]; /* "auto" ..., from ADAPTOR_AUTO on, NULL */
/* of the student's map to the teacher's size; SMALLER: the larger of the two is pooled */
enum resize { RESIZE_SMALLER, RESIZE_AVG, RESIZE_NEAREST, RESIZE_BILINEAR };
extern const char *const resize_names[]; /* "smaller" ..., NULL */
struct adaptor {
	enum adaptor_kind kind;
	int64_t kernel, stride; /* kernel 0: no convolution */
	bool transposed, bias, batch_norm, relu;
	bool tokens; /* features are [N,T,C], not [N,C,L] */
	enum resize resize;
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
	int features; /* 1: of layers that adaptors may join; 2: of layers of any widths; 3: of the teacher alone */
	int nsettings;
	const struct loss_setting *settings;
};
extern const struct loss_info loss_info[NLOSSES];
int loss_find(const char *name);				/* -1: there is none */
int loss_setting_find(const struct loss_info *, const char *key); /* -1: it has none */

#endif
