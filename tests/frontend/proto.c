/* proto: frontend/onnx.proto against the system's onnx.proto (Debian's libonnx-dev),
 * which is older: every message, field and enumerator that both have agrees in
 * number, label and type, and ours lacks none of theirs. */
#include "base/base.h"
#include "tests/unit.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

static struct arena *arena;

struct facts {
	struct map *of;
	VEC(const char *) names;
};

/* ---- words and marks of a .proto file */
static const char *
token(const char **p)
{
	const char *s = *p;
	size_t n;

	for (;;) {
		while (isspace((unsigned char)*s))
			s++;
		if (s[0] == '/' && s[1] == '/')
			s += strcspn(s, "\n");
		else if (s[0] == '/' && s[1] == '*')
			s = strstr(s, "*/") ? strstr(s, "*/") + 2 : s + strlen(s);
		else
			break;
	}
	if (!*s)
		return NULL;
	n = strspn(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-");
	if (*s == '"')
		n = 1 + strcspn(s + 1, "\"") + 1;
	*p = s + (n ? n : 1);
	return arena_strndup(arena, s, n ? n : 1);
}

static bool
is(const char *t, const char *word)
{
	return t && strcmp(t, word) == 0;
}

static void
record(struct facts *f, const char *scope, const char *name, const char *fact)
{
	const char *key = arena_printf(arena, "%s.%s", scope, name);

	vec_push(arena, &f->names, key);
	map_put(f->of, key, (void *)(uintptr_t)fact);
}

/* [packed = true] and other options, up to the semicolon */
static const char *
options(const char **p)
{
	const char *t, *packed = "";

	while ((t = token(p)) && !is(t, ";"))
		if (is(t, "packed"))
			packed = " packed";
	return packed;
}

static void
block(struct facts *f, const char *scope, bool enumeration, const char **p)
{
	const char *t;

	while ((t = token(p)) && !is(t, "}")) {
		if (is(t, ";"))
			continue;
		if (is(t, "reserved") || is(t, "option") || is(t, "extensions") ||
		    is(t, "syntax") || is(t, "package")) {
			options(p);
		} else if (is(t, "message") || is(t, "enum")) {
			const char *name = token(p);

			assert_true(is(token(p), "{"));
			record(f, scope, name, t);
			block(f, arena_printf(arena, "%s.%s", scope, name), is(t, "enum"), p);
		} else if (is(t, "oneof")) {
			token(p);
			assert_true(is(token(p), "{"));
			block(f, scope, false, p);
		} else if (enumeration) {
			assert_true(is(token(p), "="));
			/* hexadecimal or decimal */
			record(f, scope, t, arena_printf(arena, "%ld", strtol(token(p), NULL, 0)));
			options(p);
		} else {
			bool labelled = is(t, "optional") || is(t, "repeated") || is(t, "required");
			const char *label = labelled ? t : "oneof", *type = labelled ? token(p) : t,
				   *name = token(p), *number;

			assert_true(is(token(p), "="));
			number = token(p);
			record(f, scope, name,
			    arena_printf(arena, "%s %s %s%s", label, type, number, options(p)));
		}
	}
}

static bool
load(struct facts *f, const char *path)
{
	struct diag d;
	size_t size;
	char *text;
	const char *p;

	f->of = map_create(arena);
	if (!file_exists(path))
		return false;
	diag_init(&d, stderr);
	p = text = file_read(&d, path, &size);
	diag_free(&d);
	if (!text)
		return false;
	block(f, "", false, &p);
	free(text);
	return true;
}

static void
agrees(void **state)
{
	struct facts ours = {0}, theirs = {0};
	int n = 0;

	(void)state;
	assert_true(load(&ours, "frontend/onnx.proto"));
	assert_true(ours.names.n > 150);
	if (!load(&theirs, "/usr/include/onnx/onnx-ml.proto") &&
	    !load(&theirs, "/usr/include/onnx/onnx.proto")) {
		print_message("skipped: no libonnx-dev\n");
		skip();
	}
	for (int i = 0; i < theirs.names.n; i++) {
		const char *key = theirs.names.v[i], *mine = map_get(ours.of, key);

		if (strcmp(key, ".Version.IR_VERSION") == 0)
			continue; /* the newest each knows */
		if (!mine)
			fail_msg("%s is missing in frontend/onnx.proto", key);
		assert_string_equal(mine, map_get(theirs.of, key));
		n++;
	}
	print_message("%d of %d facts compared\n", n, ours.names.n);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(agrees)};
	int rc;

	arena = arena_create();
	rc = cmocka_run_group_tests(tests, NULL, NULL);
	arena_destroy(arena);
	return rc;
}
