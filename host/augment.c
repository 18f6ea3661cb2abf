/* augment -- the table, and which fields each of its rows fits. */
#include "host/augment.h"

#include <string.h>

/* ONNX enumerators */
enum { F32 = 1, U8 = 2, F16 = 10, F64 = 11 };

const struct augment_info augment_table[NAUGMENTS] = {
#define AUGMENT(id, acts, ...) [AUG_##id] = {#id, acts, {__VA_ARGS__}},
#include "host/augment.def"
};

int
augment_find(const char *name)
{
	for (int i = 0; i < NAUGMENTS; i++)
		if (strcmp(augment_table[i].name, name) == 0)
			return i;
	return strcmp(name, "colour_jitter") == 0 ? AUG_color_jitter : -1;
}

static int
values_of(const struct augment_param *p)
{
	return p->kind == PARAM_LIST				       ? 0
	       : p->kind == PARAM_AROUND || p->kind == PARAM_RANGE ? 2
								       : 1;
}

int
augment_value_at(enum augment_kind k, int param)
{
	int at = 0;

	for (int i = 0; i < param; i++)
		at += values_of(&augment_table[k].params[i]);
	return values_of(&augment_table[k].params[param]) ? at : -1;
}

void
augment_defaults(enum augment_kind k, double v[AUG_VALUES])
{
	memset(v, 0, AUG_VALUES * sizeof *v);
	v[AUG_VALUES - 1] = 1;
	for (int i = 0; i < AUG_PARAMS && augment_table[k].params[i].kind; i++) {
		const struct augment_param *p = &augment_table[k].params[i];
		int at = augment_value_at(k, i);

		if (at < 0)
			continue;
		v[at] = p->lo;
		if (values_of(p) == 2)
			v[at + 1] = p->hi;
	}
}

static bool
is_float(int32_t dtype)
{
	return dtype == F32 || dtype == F16 || dtype == F64;
}

const char *
augment_refuses(enum augment_kind k, const struct augment_field *f)
{
	int acts = augment_table[k].acts;
	bool planes = f->rank == 2 || f->rank == 3;

	if (acts & ACT_TOKENS)
		return f->classes || f->target		? "it acts on what models read, not on labels"
		       : f->rank != 1 || is_float(f->dtype) ? "it needs samples [T] of integers"
							    : NULL;
	if (f->classes && (!planes || (f->rank == 3 && f->dims[0] != 1)))
		return "it does not act on labels";
	if (f->classes || f->target) {
		if (!(acts & ACT_GEOMETRY))
			return "it acts on what models read, not on labels";
		if (!planes)
			return "it needs samples [H,W] or [C,H,W]";
	}
	if (acts & ACT_PLANES && !planes)
		return "it needs samples [H,W] or [C,H,W]";
	if (f->classes)
		return is_float(f->dtype) ? "classes are integers" : NULL;
	if ((acts & ACT_BLEND || k == AUG_cutmix) && f->dtype != U8 && f->dtype != F32)
		return "it computes with numbers of u8 or f32";
	if (acts & ACT_ANY && f->rank < 1)
		return "it needs samples with an axis";
	if (acts & ACT_COLOUR && (f->rank != 3 || (f->dims[0] != 3 && f->dims[0] != 1)))
		return "it needs samples [3,H,W]";
	return NULL;
}
