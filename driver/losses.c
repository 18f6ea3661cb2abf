/* retort losses [LOSS]: the losses a recipe's terms may have and their settings, straight
 * from ir/loss.def; --markdown: docs/losses.md. */
#include "driver/driver.h"
#include "ir/loss.h"

#include <math.h>
#include <string.h>

static const char *
need_name(enum loss_need need)
{
	static const char *const name[] = {"no", "may", "must"};

	return name[need];
}

/* "code", "true", "0.5" */
static const char *
setting_value(struct arena *a, const struct loss_setting *s, double v)
{
	const char *w = s->words;

	if (s->kind == SETTING_FLAG)
		return v != 0 ? "true" : "false";
	if (s->kind != SETTING_CHOICE)
		return isinf(v) ? "any" : arena_printf(a, "%g", v);
	for (int i = 0; i < (int)v; i++) {
		w += strcspn(w, " ");
		w += strspn(w, " ");
	}
	return arena_strndup(a, w, strcspn(w, " "));
}

/* "0 to 1", "code paper", "true or false" */
static const char *
setting_range(struct arena *a, const struct loss_setting *s)
{
	const char *least, *most;

	if (s->kind == SETTING_CHOICE)
		return s->words;
	if (s->kind == SETTING_FLAG)
		return "true false";
	if (isinf(s->most))
		return isinf(s->least) ? "any" : arena_printf(a, "at least %g", s->least);
	least = setting_value(a, s, s->least);
	most = setting_value(a, s, s->most);
	return arena_printf(a, "%s to %s", least, most);
}

static const char *
setting_kind(const struct loss_setting *s)
{
	static const char *const name[] = {[SETTING_REAL] = "number or curve",
	    [SETTING_FIXED] = "number",
	    [SETTING_COUNT] = "count",
	    [SETTING_FLAG] = "flag",
	    [SETTING_CHOICE] = "word"};

	return name[s->kind];
}

static void
markdown(struct arena *a, struct str *s)
{
	str_add(s, "# The losses\n\nWritten by `retort losses --markdown`. What each computes is in docs/distillation.md, "
	           "how terms are written in docs/recipe.md.\n`teacher`, `target`: does a term of it take a teacher's tensors, a "
	           "task with a target; `layers`: is it about features, of\nwhich it takes several.\n\n"
	           "| loss | teacher | target | layers | temperature | settings: default (range) |\n|---|---|---|---|---|---|\n");
	for (int i = 0; i < NLOSSES; i++) {
		const struct loss_info *l = &loss_info[i];

		str_addf(s, "| `%s` | %s | %s | %s | %g |", l->name, need_name(l->teachers), need_name(l->target),
		         l->features ? "yes" : "no", l->temperature);
		for (int k = 0; k < l->nsettings; k++)
			str_addf(s, "%s `%s`: %s (%s)", k ? "," : "", l->settings[k].key,
			         setting_value(a, &l->settings[k], l->settings[k].otherwise),
			         setting_range(a, &l->settings[k]));
		str_add(s, " |\n");
	}
}

static void
one(struct arena *a, const struct loss_info *l, struct str *s)
{
	str_addf(s, "%s\n  teacher %s, target %s, temperature %g%s\n", l->name, need_name(l->teachers), need_name(l->target),
	         l->temperature, l->features ? ", of features: student and teacher may be lists of layers" : "");
	for (int k = 0; k < l->nsettings; k++) {
		const struct loss_setting *t = &l->settings[k];

		str_addf(s, "  %-20s %-16s %s (%s)\n", t->key, setting_kind(t), setting_value(a, t, t->otherwise),
		         setting_range(a, t));
	}
}

bool
verb_losses(struct driver *d)
{
	const char *names[NLOSSES], *near, *word = d->o.args.n ? d->o.args.v[0] : NULL;
	int i = word ? loss_find(word) : 0;
	struct str s = {0};

	for (int k = 0; k < NLOSSES; k++)
		names[k] = loss_info[k].name;
	if (i < 0) {
		near = str_nearest(word, names, NLOSSES);
		return diag_usage(&d->diag, "no loss is called \"%s\"%s%s%s", word, near ? "; did you mean \"" : "",
		                  near ? near : "", near ? "\"?" : "");
	}
	if (d->o.markdown)
		markdown(d->arena, &s);
	for (; i < NLOSSES && !d->o.markdown; i++) {
		one(d->arena, &loss_info[i], &s);
		if (word)
			break;
	}
	fwrite(s.s, 1, s.n, stdout);
	str_free(&s);
	return true;
}
