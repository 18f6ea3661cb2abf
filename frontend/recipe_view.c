/* recipe_view -- FIELD@K, K from 2: the same samples of FIELD with a draw of the
 * augmentation of their own.  Whoever reads such a name makes it a field of the data. */
#include "frontend/recipe_int.h"

#include <stdlib.h>

/* K of NAME@K; 0: no such name. */
static int64_t
view_of(const char *name, size_t *base)
{
	const char *at = name ? strrchr(name, '@') : NULL;
	char *end;
	long k = at ? strtol(at + 1, &end, 10) : 0;

	if (!at || at == name || at[1] < '1' || at[1] > '9' || *end || k < 2 || k > 1000)
		return 0;
	*base = (size_t)(at - name);
	return k;
}

static void
add_to(struct arena *a, struct recipe_split *s, const char *name, size_t base, int64_t view)
{
	const struct recipe_field *of = NULL;
	struct recipe_field *f;

	for (int i = 0; i < s->n; i++) {
		if (strcmp(s->fields[i].name, name) == 0)
			return;
		if (strncmp(s->fields[i].name, name, base) == 0 && !s->fields[i].name[base])
			of = &s->fields[i];
	}
	if (!of)
		return; /* recipe_check says so */
	f = arena_array(a, struct recipe_field, s->n + 1);
	memcpy(f, s->fields, sizeof *f * (size_t)s->n);
	f[s->n] = *of;
	f[s->n].name = name;
	f[s->n++].view = view;
	s->fields = f;
}

static void
name(struct arena *a, struct recipe *r, const char *field)
{
	size_t base;
	int64_t view = view_of(field, &base);

	if (!view)
		return;
	add_to(a, &r->train, field, base, view);
	add_to(a, &r->val, field, base, view);
	add_to(a, &r->test, field, base, view);
	for (int i = 0; i < r->nsets; i++) {
		add_to(a, &r->sets[i].train, field, base, view);
		add_to(a, &r->sets[i].val, field, base, view);
		add_to(a, &r->sets[i].test, field, base, view);
	}
}

void
recipe_views(struct arena *a, struct recipe *r)
{
	for (int k = 0; k < recipe_nmodels(r); k++) {
		const struct recipe_model *m = recipe_model_at(r, k);

		for (int i = 0; i < m->ninputs; i++)
			name(a, r, m->inputs[i].field);
	}
	for (int i = 0; i < r->ntasks; i++)
		name(a, r, r->tasks[i].target);
}
