/* tune_cache -- see tune_cache.h. */
#include "driver/tune_cache.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_LINE = 1000, MAX_LINES = 1000000 };
struct entry { const char *key, *times; bool put; };
struct tune_cache {
	struct arena *a;
	const char *path;
	struct map *by_key;
	VEC(struct entry *) entries;
	bool changed;
};

static bool
is_time(const char *s, size_t n)
{
	if (n < 1 || n > 12)
		return false;
	for (size_t i = 0; i < n; i++)
		if (s[i] < '0' || s[i] > '9')
			return false;
	return true;
}

bool
tune_times(const char *text, int n, const char *const *name, double *ns)
{
	for (int i = 0; i < n; i++) {
		size_t length = strlen(name[i]);
		bool found = false;

		for (const char *s = text; *s && !found; s += strcspn(s, " "), s += strspn(s, " "))
			if (strncmp(s, name[i], length) == 0 && s[length] == '=') {
				const char *v = s + length + 1;

				if (!is_time(v, strcspn(v, " ")))
					return false;
				ns[i] = strtod(v, NULL);
				found = ns[i] > 0;
			}
		if (!found)
			return false;
	}
	return true;
}

/* Three words of a key, then at least one ALGORITHM=NS, single spaces between. */
static bool
well_formed(const char *s, size_t n, size_t *key)
{
	int word = 0;
	size_t i = 0;

	if (n > MAX_LINE)
		return false;
	for (size_t from = 0; from <= n; from = i + 1, word++) {
		size_t equals = n;

		for (i = from; i < n && s[i] != ' '; i++) {
			if (s[i] < '!' || s[i] > '~')
				return false;
			if (s[i] == '=' && equals == n)
				equals = i;
		}
		if (i == from)
			return false;
		if (word == 2)
			*key = i;
		if (word > 2 && (equals == n || equals == from || !is_time(s + equals + 1, i - equals - 1)))
			return false;
	}
	return word > 3;
}

static void
put(struct tune_cache *c, const char *key, const char *times, bool ours)
{
	struct entry *e = map_get(c->by_key, key);

	if (!e) {
		e = arena_new(c->a, struct entry);
		e->key = arena_strdup(c->a, key);
		map_put(c->by_key, e->key, e);
		vec_push(c->a, &c->entries, e);
	}
	e->times = arena_strdup(c->a, times);
	e->put |= ours;
}

struct tune_cache *
tune_cache_read(struct arena *a, const char *path, struct diag *d)
{
	struct tune_cache *c = arena_new(a, struct tune_cache);
	int bad = 0;
	size_t size;
	char *text;

	*c = (struct tune_cache){.a = a, .path = arena_strdup(a, path), .by_key = map_create(a)};
	if (!file_exists(path))
		return c;
	if (!(text = file_read(d, path, &size)))
		return NULL;
	for (size_t at = 0, n; at < size && c->entries.n < MAX_LINES; at += n + 1) {
		const char *end = memchr(text + at, '\n', size - at);
		size_t key = 0;

		n = end ? (size_t)(end - (text + at)) : size - at;
		if (n == 0 || text[at] == '#')
			continue;
		if (well_formed(text + at, n, &key))
			put(c, arena_strndup(a, text + at, key), arena_strndup(a, text + at + key + 1, n - key - 1), false);
		else
			bad++;
	}
	if (bad)
		diag_warn(d, LOC_FILE(path), "%d line%s no measurements of --tune; left out", bad, bad == 1 ? " holds" : "s hold");
	free(text);
	return c;
}

const char *
tune_cache_get(const struct tune_cache *c, const char *key)
{
	const struct entry *e = map_get(c->by_key, key);

	return e ? e->times : NULL;
}

void
tune_cache_put(struct tune_cache *c, const char *key, const char *times)
{
	put(c, key, times, true);
	c->changed = true;
}

bool
tune_cache_write(struct tune_cache *c, struct diag *d)
{
	struct str s = {0};
	struct tune_cache *now;
	struct diag quiet;
	bool ok;

	if (!c->changed)
		return true;
	/* another compiler may have added its own meanwhile */
	diag_init(&quiet, NULL);
	now = tune_cache_read(c->a, c->path, &quiet);
	diag_free(&quiet);
	for (int i = 0; now && i < c->entries.n; i++)
		if (c->entries.v[i]->put)
			put(now, c->entries.v[i]->key, c->entries.v[i]->times, true);
	str_add(&s, "# measurements of retort --tune: version, CPU, layer, nanoseconds by algorithm\n");
	for (int i = 0; i < (now ? now : c)->entries.n; i++) {
		const struct entry *e = (now ? now : c)->entries.v[i];

		str_addf(&s, "%s %s\n", e->key, e->times);
	}
	ok = dir_make(d, path_dir(c->a, c->path)) && file_write(d, c->path, s.s, s.n);
	c->changed = !ok;
	str_free(&s);
	return ok;
}
