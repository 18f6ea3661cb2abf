/* recipe_adaptor -- what a term has beside its tensors: adaptor:, modules:, mask:.
 *
 *   adaptor: auto | none | linear | conv1x1 | fitnet | connector
 *   adaptor: {conv: 3x3, stride: 2, transpose: true, bias: false, bn: true, relu: true,
 *             resize: smaller | avg | nearest | bilinear, tokens: true} */
#include "frontend/recipe_int.h"

#include <stdlib.h>

static int
word_of(struct ydoc *y, ynode *at, const char *key, const char *text, const char *const *words)
{
	int n = 0;

	while (words[n] && strcmp(words[n], text) != 0)
		n++;
	if (words[n])
		return n;
	yaml_bad(y, at, "\"%s\" is \"%s\"%s", key, text, yaml_hint(y, text, n, words));
	return 0;
}

/* "3x3", or 3 */
static int64_t
kernel(struct ydoc *y, ynode *map, const char *what)
{
	ynode *n = yaml_get(y, map, "conv");
	const char *text = n ? yaml_text(y, n) : NULL;
	char *end;
	long k;

	if (!text)
		return 0;
	k = strtol(text, &end, 10);
	if (end != text && k >= 1 && k <= 31 &&
	    (!*end || (*end == 'x' && strtol(end + 1, &end, 10) == k && !*end)))
		return k;
	yaml_bad(y, n,
	    "%s.adaptor: \"conv\" is \"%s\"; it is a square kernel, as 1x1 or 3x3, up to 31x31",
	    what, text);
	return 1;
}

static void
declared(struct ydoc *y, ynode *n, const char *what, struct adaptor *a)
{
	const char *where = arena_printf(y->arena, "%s.adaptor", what), *resize;

	*a = (struct adaptor){.kind = ADAPTOR_DECLARED, .stride = 1};
	if (!YAML_KEYS(y, n, where, "conv", "stride", "transpose", "bias", "bn", "relu", "resize",
		"tokens"))
		return;
	a->kernel = kernel(y, n, what);
	a->stride = yaml_int(y, n, "stride", 1, 1, 16);
	a->transposed = yaml_bool(y, n, "transpose", false);
	a->batch_norm = yaml_bool(y, n, "bn", false);
	a->relu = yaml_bool(y, n, "relu", false);
	a->bias = yaml_bool(y, n, "bias", true);
	a->tokens = yaml_bool(y, n, "tokens", false);
	resize = yaml_string(y, n, "resize", resize_names[RESIZE_SMALLER]);
	a->resize =
	    (enum resize)word_of(y, yaml_get(y, n, "resize"), "resize", resize, resize_names);
	if (!a->kernel && (a->transposed || a->stride > 1))
		yaml_bad(y, n, "%s has a stride and no \"conv\", as {conv: 3x3, stride: 2}", where);
}

void
recipe_adaptor(struct ydoc *y, ynode *term, const char *what, struct recipe_term *t)
{
	ynode *n = yaml_get(y, term, "adaptor"), *mask = yaml_get(y, term, "mask");

	if (yaml_is_map(n))
		declared(y, n, what, &t->adaptor);
	else if (n && yaml_text(y, n))
		t->adaptor.kind = (enum adaptor_kind)(
		    ADAPTOR_AUTO + word_of(y, n, "adaptor", yaml_text(y, n), adaptor_names));
	t->modules = yaml_string(y, term, "modules", NULL);
	if (yaml_is_map(mask)) {
		if (YAML_KEYS(y, mask, arena_printf(y->arena, "%s.mask", what), "field", "filler"))
			t->mask = yaml_string(y, mask, "field", NULL);
		if (!t->mask)
			yaml_bad(y, mask,
			    "%s.mask has no \"field\": tokens, those that are not the filler count",
			    what);
		t->mask_filler = yaml_number(y, mask, "filler", 0, -1e15, 1e15);
	} else if (mask) {
		t->mask = yaml_text(y, mask);
	}
}

static const char *
modules_of(const struct recipe_term *t)
{
	return t->modules ? t->modules : t->name;
}

/* A paraphraser that nothing has trained is noise. */
static bool
paraphrased(const struct recipe *r, int stages, const struct recipe_term *t)
{
	for (int i = 0; i <= stages; i++) {
		const struct recipe_stage *st = &r->stages[i];
		const struct recipe_term *terms = st->nterms ? st->terms : r->terms;

		for (int k = 0; k < (st->nterms ? st->nterms : r->nterms); k++)
			if (strcmp(terms[k].loss, "ft_paraphrase") == 0 &&
			    strcmp(modules_of(&terms[k]), modules_of(t)) == 0)
				return true;
	}
	return false;
}

void
recipe_check_modules(const struct recipe *r, struct diag *d)
{
	for (int i = 0; i < r->nstages; i++) {
		const struct recipe_stage *st = &r->stages[i];
		const struct recipe_term *terms = st->nterms ? st->terms : r->terms;

		for (int k = 0; k < (st->nterms ? st->nterms : r->nterms); k++) {
			const struct recipe_term *t = &terms[k];
			struct loc loc = LOC_FILE(r->path);

			loc.line = t->line;
			if (strcmp(t->loss, "ft") == 0 && !paraphrased(r, i, t))
				diag_note(d, loc,
				    "term \"%s\": no term ft_paraphrase trains its paraphraser, in "
				    "this stage or "
				    "before, under the name \"%s\" of its modules",
				    t->name, modules_of(t));
		}
	}
}
