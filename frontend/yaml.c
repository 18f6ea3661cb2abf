/* yaml -- see yaml.h.  libyaml composes the document; its nodes carry their lines. */
#include "frontend/yaml.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Is there a tab in the white space that line begins with? */
static bool
tab_indents(const char *text, size_t size, size_t line)
{
	const char *end = text + size;

	for (; line > 0; line--) {
		text = memchr(text, '\n', (size_t)(end - text));
		if (!text)
			return false;
		text++;
	}
	while (text < end && *text == ' ')
		text++;
	return text < end && *text == '\t';
}

ynode *
yaml_open(struct ydoc *y, struct arena *a, const char *path, struct diag *d)
{
	yaml_parser_t parser;
	struct loc loc = LOC_FILE(arena_strdup(a, path));
	size_t size;
	unsigned char *text = file_read(d, path, &size);
	ynode *root = NULL;
	bool ok;

	*y = (struct ydoc){.path = loc.file, .arena = a, .diag = d};
	if (!text)
		return NULL;
	if (!yaml_parser_initialize(&parser))
		die("out of memory");
	yaml_parser_set_input_string(&parser, text, size);
	ok = yaml_parser_load(&parser, &y->doc);
	if (!ok) {
		loc.line = (int)parser.problem_mark.line + 1;
		if (tab_indents((const char *)text, size, parser.problem_mark.line))
			diag_invalid(d, loc, "a tab at the start of the line; YAML indents with spaces only");
		else
			diag_invalid(d, loc, "not YAML: %s%s%s",
			    parser.problem ? parser.problem : "unreadable", parser.context ? ", " : "",
			    parser.context ? parser.context : "");
	} else {
		root = yaml_document_get_root_node(&y->doc);
		if (!root || root->type != YAML_MAPPING_NODE) {
			loc.line = root ? yaml_line(root) : 1;
			diag_invalid(
			    d, loc, "a recipe is a mapping that starts with \"retort: 1\"");
			root = NULL;
			yaml_document_delete(&y->doc);
		}
	}
	yaml_parser_delete(&parser);
	free(text);
	return root;
}

void
yaml_close(struct ydoc *y)
{
	yaml_document_delete(&y->doc);
}

int
yaml_line(const ynode *n)
{
	return (int)n->start_mark.line + 1;
}

struct loc
yaml_loc(const struct ydoc *y, const ynode *n)
{
	struct loc loc = LOC_FILE(y->path);

	if (n)
		loc.line = yaml_line(n);
	return loc;
}

bool
yaml_bad(const struct ydoc *y, const ynode *n, const char *fmt, ...)
{
	va_list ap;
	const char *text;

	va_start(ap, fmt);
	text = arena_vprintf(y->arena, fmt, ap);
	va_end(ap);
	return diag_invalid(y->diag, yaml_loc(y, n), "%s", text);
}

/* ---- structure */
static ynode *
node_of(const struct ydoc *y, int index)
{
	return yaml_document_get_node((yaml_document_t *)(uintptr_t)&y->doc, index);
}

int
yaml_count(ynode *n)
{
	if (!n)
		return 0;
	if (n->type == YAML_MAPPING_NODE)
		return (int)(n->data.mapping.pairs.top - n->data.mapping.pairs.start);
	if (n->type == YAML_SEQUENCE_NODE)
		return (int)(n->data.sequence.items.top - n->data.sequence.items.start);
	return 1;
}

ynode *
yaml_item(const struct ydoc *y, ynode *n, int i)
{
	return n->type == YAML_SEQUENCE_NODE ? node_of(y, n->data.sequence.items.start[i]) : n;
}

ynode *
yaml_value(const struct ydoc *y, ynode *n, int i)
{
	return node_of(y, n->data.mapping.pairs.start[i].value);
}

ynode *
yaml_key_node(const struct ydoc *y, ynode *n, int i)
{
	return node_of(y, n->data.mapping.pairs.start[i].key);
}

static const char *
scalar(const struct ydoc *y, const ynode *n)
{
	return arena_strndup(y->arena, (const char *)n->data.scalar.value, n->data.scalar.length);
}

const char *
yaml_key(const struct ydoc *y, ynode *n, int i)
{
	const ynode *k = yaml_key_node(y, n, i);

	return yaml_is_scalar(k) ? scalar(y, k) : "?";
}

static bool
is_null(const ynode *n)
{
	const char *s;

	if (!yaml_is_scalar(n) || n->data.scalar.style != YAML_PLAIN_SCALAR_STYLE)
		return false;
	s = (const char *)n->data.scalar.value;
	return !*s || strcmp(s, "~") == 0 || strcmp(s, "null") == 0;
}

const char *
yaml_hint(const struct ydoc *y, const char *word, int n, const char *const *known)
{
	const char *near = str_nearest(word, known, n);
	struct str s = {0};
	char *text;
	int i;

	if (near)
		return arena_printf(y->arena, "; did you mean \"%s\"?", near);
	if (n == 0)
		return "";
	str_add(&s, "; known: ");
	for (i = 0; i < n && i < 12; i++)
		str_addf(&s, "%s%s", i ? ", " : "", known[i]);
	if (n > 12)
		str_add(&s, ", ...");
	text = arena_strdup(y->arena, s.s);
	str_free(&s);
	return text;
}

bool
yaml_keys(const struct ydoc *y, ynode *map, const char *what, int n, const char *const *keys)
{
	bool ok = true;
	int i, k;

	if (!yaml_is_map(map))
		return yaml_bad(
		    y, map, "%s must be a mapping with keys such as \"%s\"", what, keys[0]);
	for (i = 0; i < yaml_count(map); i++) {
		const char *key = yaml_key(y, map, i);

		for (k = 0; k < n && strcmp(keys[k], key) != 0; k++)
			;
		if (k == n)
			ok = yaml_bad(y, yaml_key_node(y, map, i), "unknown key \"%s\" in %s%s",
			    key, what, yaml_hint(y, key, n, keys));
		for (k = 0; k < i; k++)
			if (strcmp(yaml_key(y, map, k), key) == 0)
				ok = yaml_bad(y, yaml_key_node(y, map, i),
				    "key \"%s\" is given twice in %s", key, what);
	}
	return ok;
}

ynode *
yaml_get(const struct ydoc *y, ynode *map, const char *key)
{
	int i;

	if (!yaml_is_map(map))
		return NULL;
	for (i = 0; i < yaml_count(map); i++) {
		const ynode *k = yaml_key_node(y, map, i);

		if (yaml_is_scalar(k) && strcmp((const char *)k->data.scalar.value, key) == 0) {
			ynode *v = yaml_value(y, map, i);

			return is_null(v) ? NULL : v;
		}
	}
	return NULL;
}

/* ---- scalars */
const char *
yaml_text(const struct ydoc *y, const ynode *n)
{
	if (yaml_is_scalar(n))
		return scalar(y, n);
	yaml_bad(y, n, "a name or text is expected here");
	return NULL;
}

const char *
yaml_string(const struct ydoc *y, ynode *map, const char *key, const char *def)
{
	ynode *v = yaml_get(y, map, key);

	if (!v)
		return def;
	if (yaml_is_scalar(v))
		return scalar(y, v);
	yaml_bad(y, v, "\"%s\" must be text", key);
	return def;
}

bool
yaml_bool(const struct ydoc *y, ynode *map, const char *key, bool def)
{
	static const char *const words[] = {"false", "true", "no", "yes", "off", "on"};
	ynode *v = yaml_get(y, map, key);
	int i;

	if (!v)
		return def;
	for (i = 0; yaml_is_scalar(v) && i < 6; i++)
		if (strcmp(words[i], scalar(y, v)) == 0)
			return i & 1;
	yaml_bad(y, v, "\"%s\" must be true or false", key);
	return def;
}

static bool
parse_number(const char *s, double *v)
{
	char *end;

	*v = strtod(s, &end);
	return end != s && !*end && isfinite(*v) && !strpbrk(s, "xXpP");
}

bool
yaml_scalar_number(const struct ydoc *y, const ynode *n, double *v)
{
	if (yaml_is_scalar(n) && parse_number(scalar(y, n), v))
		return true;
	return yaml_bad(y, n, "a number is expected here%s%s%s",
	    yaml_is_scalar(n) ? ", not \"" : "", yaml_is_scalar(n) ? scalar(y, n) : "",
	    yaml_is_scalar(n) ? "\"" : "");
}

bool
yaml_scalar_int(const struct ydoc *y, const ynode *n, int64_t *v)
{
	const char *s = yaml_is_scalar(n) ? scalar(y, n) : "";
	char *end;

	errno = 0;
	*v = strtoll(s, &end, 10);
	if (*s && !*end && !errno)
		return true;
	return yaml_bad(
	    y, n, "a whole number is expected here%s%s%s", *s ? ", not \"" : "", s, *s ? "\"" : "");
}

double
yaml_number(const struct ydoc *y, ynode *map, const char *key, double def, double lo, double hi)
{
	ynode *n = yaml_get(y, map, key);
	double v;

	if (!n)
		return def;
	if (!yaml_is_scalar(n) || !parse_number(scalar(y, n), &v)) {
		yaml_bad(y, n, "\"%s\" must be a number%s%s%s", key,
		    yaml_is_scalar(n) ? ", not \"" : "", yaml_is_scalar(n) ? scalar(y, n) : "",
		    yaml_is_scalar(n) ? "\"" : "");
		return def;
	}
	if (v < lo || v > hi) {
		if (isinf(hi))
			yaml_bad(y, n, "\"%s\" is %g, must be at least %g", key, v, lo);
		else
			yaml_bad(y, n, "\"%s\" is %g, must be between %g and %g", key, v, lo, hi);
		return def;
	}
	return v;
}

int64_t
yaml_int(const struct ydoc *y, ynode *map, const char *key, int64_t def, int64_t lo, int64_t hi)
{
	ynode *n = yaml_get(y, map, key);
	const char *s = yaml_is_scalar(n) ? scalar(y, n) : "";
	char *end;
	int64_t v;

	if (!n)
		return def;
	errno = 0;
	v = strtoll(s, &end, 10);
	if (!*s || *end || errno) {
		yaml_bad(y, n, "\"%s\" must be a whole number%s%s%s", key, *s ? ", not \"" : "", s,
		    *s ? "\"" : "");
		return def;
	}
	if (v < lo || v > hi) {
		if (hi == INT64_MAX)
			yaml_bad(y, n, "\"%s\" is %lld, must be at least %lld", key, (long long)v,
			    (long long)lo);
		else
			yaml_bad(y, n, "\"%s\" is %lld, must be between %lld and %lld", key,
			    (long long)v, (long long)lo, (long long)hi);
		return def;
	}
	return v;
}

/* ---- lists */
int
yaml_strings(const struct ydoc *y, ynode *map, const char *key, const char ***v)
{
	ynode *n = yaml_get(y, map, key);
	int i, k = 0, count = yaml_count(n);

	*v = arena_array(y->arena, const char *, count + 1);
	if (yaml_is_map(n)) {
		yaml_bad(y, n, "\"%s\" must be a list", key);
		return 0;
	}
	for (i = 0; i < count; i++)
		if (((*v)[k] = yaml_text(y, yaml_item(y, n, i))))
			k++;
	return k;
}

int
yaml_numbers(const struct ydoc *y, ynode *map, const char *key, double **v)
{
	ynode *n = yaml_get(y, map, key);

	*v = NULL;
	if (!yaml_is_map(n))
		return yaml_number_list(y, n, v);
	yaml_bad(y, n, "\"%s\" must be a list of numbers", key);
	return 0;
}

int
yaml_number_list(const struct ydoc *y, ynode *n, double **v)
{
	int i, k = 0, count = yaml_count(n);

	*v = arena_array(y->arena, double, count + 1);
	if (yaml_is_map(n)) {
		yaml_bad(y, n, "a number or a list of numbers is expected here");
		return 0;
	}
	for (i = 0; i < count; i++)
		k += yaml_scalar_number(y, yaml_item(y, n, i), &(*v)[k]);
	return k;
}

int
yaml_int_list(const struct ydoc *y, ynode *n, int64_t **v, int64_t lo, int64_t hi)
{
	int k = 0, count = yaml_count(n);

	*v = arena_array(y->arena, int64_t, count + 1);
	for (int i = 0; i < count; i++) {
		ynode *item = yaml_item(y, n, i);

		if (!yaml_scalar_int(y, item, &(*v)[k]))
			continue;
		if ((*v)[k] < lo || (*v)[k] > hi)
			yaml_bad(y, item, "%lld must lie between %lld and %lld", (long long)(*v)[k], (long long)lo,
			    (long long)hi);
		else
			k++;
	}
	return k;
}

int
yaml_ints(const struct ydoc *y, ynode *map, const char *key, int64_t **v, int64_t lo, int64_t hi)
{
	ynode *n = yaml_get(y, map, key);
	int i, k = 0, count = yaml_count(n);

	*v = arena_array(y->arena, int64_t, count + 1);
	if (yaml_is_map(n)) {
		yaml_bad(y, n, "\"%s\" must be a list of whole numbers", key);
		return 0;
	}
	for (i = 0; i < count; i++) {
		ynode *item = yaml_item(y, n, i);

		if (!yaml_scalar_int(y, item, &(*v)[k]))
			continue;
		if ((*v)[k] < lo || (*v)[k] > hi)
			yaml_bad(y, item, "\"%s\" holds %lld, must be at least %lld", key,
			    (long long)(*v)[k], (long long)lo);
		else
			k++;
	}
	return k;
}
