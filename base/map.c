/* map -- open addressing over string keys, and interned strings.  Nothing is ever
 * removed; tables grow in the arena. */
#include "base/base.h"

#include <string.h>

struct slot { const char *key; uint64_t hash; void *value; };
struct map {
	struct arena *arena;
	struct slot *slots;
	size_t n, cap; /* cap: power of two */
};

struct intern { struct map map; };

static uint64_t
hash_string(const char *s) /* FNV-1a */
{
	uint64_t h = 14695981039346656037u;

	for (; *s; s++)
		h = (h ^ (unsigned char)*s) * 1099511628211u;
	return h ^ h >> 32;
}

static void
map_init(struct map *m, struct arena *a)
{
	m->arena = a;
	m->cap = 32;
	m->slots = arena_array(a, struct slot, m->cap);
}

struct map *
map_create(struct arena *a)
{
	struct map *m = arena_new(a, struct map);

	map_init(m, a);
	return m;
}

/* The slot that holds key, or the free one where it belongs. */
static struct slot *
find(const struct map *m, const char *key, uint64_t h)
{
	size_t i;
	struct slot *s;

	for (i = h & (m->cap - 1);; i = (i + 1) & (m->cap - 1)) {
		s = &m->slots[i];
		if (!s->key || (s->hash == h && strcmp(s->key, key) == 0))
			return s;
	}
}

void *
map_get(const struct map *m, const char *key)
{
	return find(m, key, hash_string(key))->value;
}

static struct slot *
insert(struct map *m, const char *key, uint64_t h)
{
	struct slot *old = m->slots, *s;
	size_t oldcap = m->cap, i;

	if (m->n * 4 >= m->cap * 3) {
		m->cap *= 2;
		m->slots = arena_array(m->arena, struct slot, m->cap);
		for (i = 0; i < oldcap; i++)
			if (old[i].key)
				*find(m, old[i].key, old[i].hash) = old[i];
	}
	s = find(m, key, h);
	s->key = key;
	s->hash = h;
	m->n++;
	return s;
}

void
map_put(struct map *m, const char *key, void *value)
{
	uint64_t h = hash_string(key);
	struct slot *s = find(m, key, h);

	if (!s->key)
		s = insert(m, key, h);
	s->value = value;
}

struct intern *
intern_create(struct arena *a)
{
	struct intern *in = arena_new(a, struct intern);

	map_init(&in->map, a);
	return in;
}

const char *
intern(struct intern *in, const char *s)
{
	uint64_t h = hash_string(s);
	struct slot *slot = find(&in->map, s, h);

	if (!slot->key)
		slot = insert(&in->map, arena_strdup(in->map.arena, s), h);
	return slot->key;
}
