/* augment -- the table of augmentations: what a recipe may say of each, and which
 * fields it can act on.  The recipe's reader, the compiler's checks and the trainer read
 * the same rows; what they do is in runtime/augment.c, one function for each row. */
#ifndef RETORT_AUGMENT_H
#define RETORT_AUGMENT_H

#include <stdbool.h>
#include <stdint.h>

enum augment_kind {
#define AUGMENT(id, acts, ...) AUG_##id,
#include "host/augment.def"
	NAUGMENTS
};

/* what it acts on */
enum {
	ACT_PLANES = 1,	  /* samples [H,W] or [C,H,W]; numbers that are no classes */
	ACT_GEOMETRY = 2, /* label maps as well, by the same draw */
	ACT_BLEND = 4,	  /* computes with pixels: u8 or f32 (not of label maps) */
	ACT_COLOUR = 8,	  /* [3,H,W] or [1,H,W] */
	ACT_TOKENS = 16,  /* samples [T] of integers */
	ACT_BATCH = 32,	  /* mixes two samples of a batch */
	ACT_ANY = 64	  /* of any rank */
};

enum param_kind {
	PARAM_END,
	PARAM_REAL,
	PARAM_WHOLE,
	PARAM_AROUND, /* [lo, hi], or x: from middle - x to middle + x */
	PARAM_RANGE,  /* [lo, hi] */
	PARAM_WORD,   /* one of words, by its number */
	PARAM_LIST    /* whole numbers */
};
enum { AUG_PARAMS = 8, AUG_VALUES = 12, AUG_LIST = 16 };

struct augment_param {
	const char *name;
	enum param_kind kind;
	double lo, hi; /* default; hi of the kinds of two numbers */
	double least, most, middle;
	const char *words; /* "zero|reflect" */
	bool required;
};
struct augment_info {
	const char *name;
	int acts;
	struct augment_param params[AUG_PARAMS]; /* the first is what {NAME: X} sets; p is common */
};
extern const struct augment_info augment_table[NAUGMENTS];

int augment_find(const char *name); /* -1: none */
/* Where the values of a parameter start among AUG_VALUES; -1: it is a list. */
int augment_value_at(enum augment_kind, int param);
/* Sets the defaults; v[AUG_VALUES - 1] is p, the chance that it acts at all. */
void augment_defaults(enum augment_kind, double v[AUG_VALUES]);

/* A field as augmentations see it; dtype: the ONNX enumerator. */
struct augment_field {
	int32_t dtype, rank;
	const int64_t *dims;
	bool classes, target; /* has classes; is what a task learns and no model reads */
};
/* NULL: it can act on the field; else what it needs instead. */
const char *augment_refuses(enum augment_kind, const struct augment_field *);

#endif
