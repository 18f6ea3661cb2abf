/* recipe_search -- search: of a recipe: values to try, by the path of what they replace
 *
 *   search:
 *     grid: {terms.soft.temperature: [2, 4, 8], train.optimizer.adam.lr: [0.01, 0.001], ratio.soft.hard: [0.5, 0.9]}
 *
 * A point is a choice of one value for every path.  The recipe of a point is the same
 * document with these nodes in place of what stands at the paths, read as any other. */
#include "frontend/recipe_int.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- a document with other values */
static int
index_of(const struct ydoc *y, const ynode *n)
{
	return (int)(n - y->doc.nodes.start) + 1;
}

/* The pair of a key; NULL: absent. */
static yaml_node_pair_t *
pair_of(struct ydoc *y, ynode *map, const char *key)
{
	for (int i = 0; i < yaml_count(map); i++)
		if (strcmp(yaml_key(y, map, i), key) == 0)
			return &map->data.mapping.pairs.start[i];
	return NULL;
}

static int
add_scalar(struct ydoc *y, const char *text, const ynode *where)
{
	yaml_mark_t mark = where->start_mark;
	int i = yaml_document_add_scalar(&y->doc, NULL, (const yaml_char_t *)text, (int)strlen(text), YAML_PLAIN_SCALAR_STYLE);
	ynode *n = yaml_document_get_node(&y->doc, i);

	if (!n)
		die("out of memory");
	n->start_mark = n->end_mark = mark;
	return i;
}

/* What `word` leads to from n: a key of a mapping, a number or a name in a list. */
static ynode *
step(struct ydoc *y, ynode *n, const char *word)
{
	char *end;
	long i;

	if (yaml_is_map(n))
		return yaml_get(y, n, word);
	if (!yaml_is_list(n))
		return NULL;
	i = strtol(word, &end, 10);
	if (*word && !*end)
		return i >= 0 && i < yaml_count(n) ? yaml_item(y, n, (int)i) : NULL;
	for (int k = 0; k < yaml_count(n); k++) {
		ynode *item = yaml_item(y, n, k), *name = yaml_is_map(item) ? yaml_get(y, item, "name") : NULL;

		if (yaml_is_scalar(name) && strcmp(yaml_text(y, name), word) == 0)
			return item;
	}
	return NULL;
}

static bool
nothing_there(struct ydoc *y, const ynode *at, const char *path, const char *word, ynode *n)
{
	const char **known = arena_array(y->arena, const char *, yaml_count(n) + 1);
	int count = 0;

	for (int i = 0; yaml_is_map(n) && i < yaml_count(n); i++)
		known[count++] = yaml_key(y, n, i);
	return yaml_bad(y, at, "search.grid: \"%s\" leads nowhere: there is no \"%s\"%s", path, word,
	    count ? yaml_hint(y, word, count, known) : "");
}

/* Puts node `value` (by index) at the path; the last word may be new. */
static bool
replace(struct ydoc *y, const ynode *at, const char *path, int value)
{
	ynode *n = yaml_document_get_root_node(&y->doc);
	const char *p = path, *dot;
	yaml_mark_t mark = at->start_mark;

	for (; (dot = strchr(p, '.')); p = dot + 1) {
		const char *word = arena_strndup(y->arena, p, (size_t)(dot - p));
		ynode *next = step(y, n, word);

		if (!next)
			return nothing_there(y, at, path, word, n);
		n = next;
	}
	if (!yaml_is_map(n))
		return nothing_there(y, at, path, p, n);
	yaml_node_pair_t *pair = pair_of(y, n, p);

	if (!pair) {
		int map = index_of(y, n), key = add_scalar(y, p, &(ynode){.start_mark = mark});

		return yaml_document_append_mapping_pair(&y->doc, map, key, value) || yaml_bad(y, at, "out of memory");
	}
	pair->value = value;
	return true;
}

/* ratio.A.B: V is the weight V of term A and 1 - V of term B */
static bool
replace_ratio(struct ydoc *y, const ynode *at, const char *path, int value)
{
	const char *a = path + strlen("ratio."), *dot = strchr(a, '.');
	ynode *v = yaml_document_get_node(&y->doc, value);
	double x;
	int rest;

	if (!dot || strchr(dot + 1, '.'))
		return yaml_bad(y, at, "search.grid: \"%s\": a ratio names two terms: ratio.TERM.OTHER", path);
	if (!yaml_scalar_number(y, v, &x))
		return false;
	if (x < 0 || x > 1)
		return yaml_bad(y, v, "search.grid: a ratio of %g; it lies between 0 and 1", x);
	rest = add_scalar(y, arena_printf(y->arena, "%.15g", 1 - x), v);
	return replace(y, at, arena_printf(y->arena, "terms.%.*s.weight", (int)(dot - a), a), value) &&
	       replace(y, at, arena_printf(y->arena, "terms.%s.weight", dot + 1), rest);
}

bool
recipe_choose(struct ydoc *y, const int *choice)
{
	ynode *grid = yaml_get(y, yaml_get(y, yaml_document_get_root_node(&y->doc), "search"), "grid");

	for (int i = 0; i < yaml_count(grid); i++) {
		/* by index: nodes move when one is added */
		ynode at = *yaml_key_node(y, grid, i);
		const char *path = yaml_key(y, grid, i);
		int value = index_of(y, yaml_item(y, yaml_value(y, grid, i), choice[i]));

		if (!(str_starts(path, "ratio.") ? replace_ratio : replace)(y, &at, path, value))
			return false;
		grid = yaml_get(y, yaml_get(y, yaml_document_get_root_node(&y->doc), "search"), "grid");
	}
	return true;
}

/* ---- the block */
/* A value as the table shows it: as in the file, in one line. */
static const char *
text_of(struct ydoc *y, ynode *n)
{
	struct str s = {0};
	const char *text;

	if (yaml_is_scalar(n))
		return yaml_text(y, n);
	str_add(&s, yaml_is_map(n) ? "{" : "[");
	for (int i = 0; i < yaml_count(n); i++) {
		str_add(&s, i ? ", " : "");
		if (yaml_is_map(n))
			str_addf(&s, "%s: %s", yaml_key(y, n, i), text_of(y, yaml_value(y, n, i)));
		else
			str_add(&s, text_of(y, yaml_item(y, n, i)));
	}
	str_add(&s, yaml_is_map(n) ? "}" : "]");
	text = arena_strdup(y->arena, s.s);
	str_free(&s);
	return text;
}

static void
grid(struct ydoc *y, ynode *search, struct recipe_search *s)
{
	ynode *n = yaml_get(y, search, "grid");

	if (!yaml_is_map(n) || !yaml_count(n)) {
		yaml_bad(y, n ? n : search, "search needs a \"grid\": {PATH: [VALUE, ...]}, such as {terms.soft.temperature: [2, 4, 8]}");
		return;
	}
	s->keys = arena_array(y->arena, struct recipe_search_key, yaml_count(n));
	s->npoints = 1;
	for (int i = 0; i < yaml_count(n); i++) {
		struct recipe_search_key *k = &s->keys[s->nkeys];
		ynode *list = yaml_value(y, n, i);

		*k = (struct recipe_search_key){.path = yaml_key(y, n, i)};
		if (!yaml_is_list(list) || !yaml_count(list)) {
			yaml_bad(y, yaml_key_node(y, n, i), "search.grid: \"%s\" takes a list of values", k->path);
			continue;
		}
		if (str_starts(k->path, "search") || str_starts(k->path, "emit") || strcmp(k->path, "retort") == 0)
			yaml_bad(y, yaml_key_node(y, n, i), "search.grid: \"%s\" is nothing to search over", k->path);
		k->nvalues = yaml_count(list);
		k->text = arena_array(y->arena, const char *, k->nvalues);
		for (int v = 0; v < k->nvalues; v++)
			k->text[v] = text_of(y, yaml_item(y, list, v));
		s->nkeys++;
		if (s->npoints * k->nvalues > 1000000) {
			yaml_bad(y, n, "search.grid has more than a million points");
			return;
		}
		s->npoints *= k->nvalues;
	}
}

void
recipe_search(struct ydoc *y, ynode *root, struct recipe *r)
{
	static const char *const words[] = {"best", "last"};
	ynode *n = yaml_get(y, root, "search"), *budget, *halving;
	const char *judge;
	struct recipe_search *s;

	if (!n || (!YAML_KEYS(y, n, "search", "grid", "random", "seed", "budget", "monitor", "halving", "judge") && !yaml_is_map(n)))
		return;
	s = r->search = arena_new(y->arena, struct recipe_search);
	s->line = yaml_line(n);
	grid(y, n, s);
	s->random = yaml_int(y, n, "random", 0, 1, 1000000);
	s->seed = yaml_int(y, n, "seed", 0, 0, INT64_MAX);
	s->monitor = yaml_string(y, n, "monitor", NULL);
	judge = yaml_string(y, n, "judge", words[0]);
	s->last = strcmp(judge, words[1]) == 0;
	if (!s->last && strcmp(judge, words[0]) != 0)
		yaml_bad(y, yaml_get(y, n, "judge"), "search.judge is \"%s\"%s", judge, yaml_hint(y, judge, 2, words));
	budget = yaml_get(y, n, "budget");
	if (budget && (YAML_KEYS(y, budget, "search.budget", "epochs", "minutes", "runs") || yaml_is_map(budget))) {
		s->epochs = yaml_int(y, budget, "epochs", 0, 1, 1 << 24);
		s->minutes = yaml_number(y, budget, "minutes", 0, 0, 1e9);
		s->runs = yaml_int(y, budget, "runs", 0, 1, 1 << 24);
	}
	halving = yaml_get(y, n, "halving");
	if (halving && (YAML_KEYS(y, halving, "search.halving", "eta", "rounds") || yaml_is_map(halving))) {
		s->eta = yaml_int(y, halving, "eta", 3, 2, 100);
		s->rounds = yaml_int(y, halving, "rounds", 3, 2, 20);
	}
	if (s->monitor && str_starts(s->monitor, "test"))
		yaml_bad(y, yaml_get(y, n, "monitor"), "search chooses by the val split, never by \"%s\"", s->monitor);
	if (!r->nsets && !r->val.from && !r->val.n)
		yaml_bad(y, n, "search chooses by a val split: add `val: {from: train, fraction: 0.1}` to data");
	if (s->monitor && !r->early_monitor)
		r->early_monitor = s->monitor;
}

/* ---- the best point as a recipe of its own */
static void
set_path(struct ydoc *y, const char *path, const char *file)
{
	ynode at = *yaml_document_get_root_node(&y->doc);

	replace(y, &at, path, add_scalar(y, file, &at));
}

static int
write_out(void *file, unsigned char *data, size_t n)
{
	return fwrite(data, 1, n, file) == n;
}

bool
recipe_write_point(struct arena *a, const struct recipe *r, const int *choice, const char *root, const char *models, const char *out, struct diag *d)
{
	struct ydoc y;
	yaml_emitter_t e;
	char *text = NULL;
	size_t size = 0;
	ynode *top = yaml_open(&y, a, r->path, d);
	FILE *f = top ? open_memstream(&text, &size) : NULL;
	bool ok = f && recipe_choose(&y, choice);

	if (ok) {
		yaml_node_pair_t *pair;

		set_path(&y, "data.root", root);
		set_path(&y, "models.student.onnx", path_join(a, models, r->student.path));
		for (int i = 0; i < r->nteachers; i++)
			if (r->teachers[i].path)
				set_path(&y, arena_printf(a, "models.teachers.%s.onnx", r->teachers[i].name),
				    path_join(a, models, r->teachers[i].path));
		top = yaml_document_get_root_node(&y.doc);
		pair = pair_of(&y, top, "search");
		memmove(pair, pair + 1, (size_t)((char *)top->data.mapping.pairs.top - (char *)(pair + 1)));
		top->data.mapping.pairs.top--;
		yaml_emitter_initialize(&e);
		yaml_emitter_set_output(&e, write_out, f);
		yaml_emitter_set_width(&e, 120);
		ok = yaml_emitter_open(&e) && yaml_emitter_dump(&e, &y.doc) && yaml_emitter_close(&e);
		yaml_emitter_delete(&e); /* and the document with it */
	} else if (top) {
		yaml_close(&y);
	}
	if (f && fclose(f) != 0)
		ok = false;
	ok = ok && file_write(d, out, text, size);
	free(text);
	return ok || diag_io(d, LOC_FILE(out), "cannot be written");
}
