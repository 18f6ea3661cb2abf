/* loss -- the table of losses: the only place that sees every column of loss.def. */
#include "ir/loss.h"

#include <math.h>
#include <string.h>

const char *const dial_curve_names[] = {"fixed", "linear", "cosine", "exponential", "step", NULL};

const char *const adaptor_names[] = {
    "auto", "none", "linear", "conv1x1", "fitnet", "connector", NULL};
const char *const resize_names[] = {"smaller", "avg", "nearest", "bilinear", NULL};

/* As in op.c: a row's settings counted and placed at compile time. */
struct count_none {
	char self;
#define LOSS(id, ...)                                                                              \
	}                                                                                          \
	;                                                                                          \
	struct count_##id {                                                                        \
		char self;
#define LOSS_SETTING(id, key, ...) char s_##key;
#include "ir/loss.def"
};
enum {
#define LOSS(id, ...) FIRST_##id, BEFORE_##id = FIRST_##id - 1,
#define LOSS_SETTING(id, key, ...) AT_##id##_##key,
#include "ir/loss.def"
	NSETTINGS
};

static const struct loss_setting settings[NSETTINGS + 1] = {
#define LOSS_SETTING(id, key_, otherwise_, least_, most_, kind_, words_)                           \
	[AT_##id##_##key_] = {.key = #key_,                                                        \
	    .otherwise = otherwise_,                                                               \
	    .least = least_,                                                                       \
	    .most = most_,                                                                         \
	    .kind = SETTING_##kind_,                                                               \
	    .words = words_},
#include "ir/loss.def"
};

const struct loss_info loss_info[NLOSSES] = {
#define LOSS(id, teachers_, target_, temperature_, features_)                                      \
	[LOSS_##id] = {.name = #id,                                                                \
	    .teachers = LOSS_##teachers_,                                                          \
	    .target = LOSS_##target_,                                                              \
	    .temperature = temperature_,                                                           \
	    .features = features_,                                                                 \
	    .nsettings = (int)sizeof(struct count_##id) - 1,                                       \
	    .settings = settings + FIRST_##id},
#include "ir/loss.def"
};

int
loss_find(const char *name)
{
	for (int i = 0; i < NLOSSES; i++)
		if (strcmp(loss_info[i].name, name) == 0)
			return i;
	return -1;
}

int
loss_setting_find(const struct loss_info *l, const char *key)
{
	for (int i = 0; i < l->nsettings; i++)
		if (strcmp(l->settings[i].key, key) == 0)
			return i;
	return -1;
}
