/* Patterns in RE2's syntax against whole strings; what is refused; random patterns and
 * programs, which must neither crash nor read outside. */
#include "tests/host/call.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_PROGRAM = 3 * 10000 };

/* 1, 0; -1: refused */
static int
match(const char *pattern, const char *text)
{
	static int64_t program[MAX_PROGRAM];
	int64_t one = 1, len;
	uint8_t yes = 2;
	int n, at;

	if (host_regex_compile(pattern, program, MAX_PROGRAM, &n, &at))
		return -1;
	assert_null(host_regex_check(program, n));
	assert_true(at == (int)strlen(pattern));
	len = n;
	open_room(host_regex_scratch(program, n));
	rt_host_str_match(&room.head, (struct rt_operand[]){vector(&text, 8, &one),
					  vector(&yes, 9, &one), vector(program, 7, &len)});
	assert_int_equal(room.head.status, 0);
	assert_true(yes <= 1);
	return yes;
}

static void
known(void **state)
{
	static const struct {
		const char *pattern, *yes, *no; /* texts, divided by spaces */
	} t[] = {
	    {"a|bc|d*e{2,4}", "a bc ee dddee deeee", "b eeeee ab e"},
	    {"", "", "a"},
	    {"(a|b)*c(?:d|e)?", "c abababc cd abce", "ab cde"},
	    {"(a+)+b", "ab aaaab", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaac"},
	    {"[^a-c\\d]+", "xyz \xC3\xA9", "xay x1"},
	    {"[]a-]+", "]a- -", "b"},
	    {"[[:alpha:]_]\\w*", "_ a1_", "1a \xC3\xA9"},
	    {"[[:^digit:]]", "a", "7"},
	    {"(?i)stra\xC3\x9F"
	     "e|\xC3\x84"
	     "B",
		"STRA\xC3\x9F"
		"E \xC3\xA4"
		"b",
		"strasse"},
	    {"a(?i:b)c", "abc aBc", "Abc abC"},
	    {"(?i)a|(?-i)b", "A a b", "B"},
	    {".", "x \xE6\x97\xA5", "xy"},
	    {"\\x41\\x{1F600}\\102\\.",
		"A\xF0\x9F\x98\x80"
		"B.",
		"A"},
	    {"\\Qa.b*\\E+", "a.b* a.b**", "axb"},
	    {"^a$|\\Ab\\z", "a b", "ab"},
	    {"\\bfoo\\b", "foo", "food"},
	    {"foo\\B.*", "food", "foo"},
	    {"x{0}y|z{0,2}", "y z zz", "x zzz xy"},
	    {"x{2,}", "xx xxxxxxx", "x"},
	    {"a{,2}", "a{,2}", "aa"},
	    {"a{2", "a{2", "aa"},
	    {"a*?b+?c??", "b aabbc", "a"},
	    {"(?P<n>a)(?<m>b)", "ab", "a"},
	    {"[\\w.\\-]{0,25}@(yahoo|gmail)\\.com", "a.b@gmail.com @yahoo.com",
		"a@hotmail.com agmail.com"},
	    {"\\pN?", NULL, NULL},
	    {"(", NULL, NULL},
	    {"a)", NULL, NULL},
	    {"[a", NULL, NULL},
	    {"a**", NULL, NULL},
	    {"*a", NULL, NULL},
	    {"\\1", NULL, NULL},
	    {"(?=a)", NULL, NULL},
	    {"[b-a]", NULL, NULL},
	    {"a{1001}", NULL, NULL},
	    {"a{3,2}", NULL, NULL},
	    {"\\", NULL, NULL},
	    {"\\x{110000}", NULL, NULL},
	    {"[[:foo:]]", NULL, NULL},
	    {"(?P<>a)", NULL, NULL},
	    {"((a{100}){100}){100}", NULL, NULL},
	    {"\\y", NULL, NULL},
	    {"(?z)a", NULL, NULL},
	};

	(void)state;
	for (size_t i = 0; i < sizeof t / sizeof *t; i++)
		for (int k = 0; k < 2; k++) {
			char all[200], *s = all, *end;

			if (!t[i].yes) {
				if (match(t[i].pattern, "") != -1)
					fail_msg("%s is accepted", t[i].pattern);
				continue;
			}
			strcpy(all, k ? t[i].no : t[i].yes);
			do {
				if ((end = strchr(s, ' ')))
					*end = 0;
				if (match(t[i].pattern, s) != !k)
					fail_msg("%s and \"%s\": %d", t[i].pattern, s, k);
				s = end + 1;
			} while (end);
		}
	assert_int_equal(match("(?m)^a$\n^b$", "a\nb"), 1);
	assert_int_equal(match("a.b", "a\nb"), 0);
	assert_int_equal(match("(?s)a.b", "a\nb"), 1);
}

/* A pattern that back-tracking would need 2^40 steps for. */
static void
linear(void **state)
{
	char pattern[300] = "", text[100];

	(void)state;
	for (int i = 0; i < 40; i++)
		strcat(pattern, "a?");
	for (int i = 0; i < 40; i++)
		strcat(pattern, "a");
	memset(text, 'a', 40);
	text[40] = 0;
	assert_int_equal(match(pattern, text), 1);
	text[39] = 0;
	assert_int_equal(match(pattern, text), 0);
}

static void
random_patterns(void **state)
{
	static const char pieces[] = "ab()[]{}*+?|^$.\\-,09:iPQEdwsxz<>\xC3\xA9";
	uint64_t seed = 1;
	int accepted = 0;

	(void)state;
	for (int i = 0; i < 20000; i++) {
		char pattern[24], text[12];
		int n = (int)(next_random(&seed) % 20), m = (int)(next_random(&seed) % 10);

		for (int k = 0; k < n; k++)
			pattern[k] = pieces[next_random(&seed) % (sizeof pieces - 1)];
		for (int k = 0; k < m; k++)
			text[k] = pieces[next_random(&seed) % (sizeof pieces - 1)];
		pattern[n] = text[m] = 0;
		accepted += match(pattern, text) >= 0;
	}
	assert_true(accepted > 500);
}

/* Programs from a file are checked before they run. */
static void
random_programs(void **state)
{
	int64_t program[30], n = 30, one = 1;
	const char *text = "ab";
	uint64_t seed = 7;
	uint8_t yes;
	int good = 0;

	(void)state;
	for (int i = 0; i < 200000; i++) {
		int len = 3 * (1 + (int)(next_random(&seed) % 5));

		for (int k = 0; k < len; k++)
			program[k] =
			    k % 3 ? (int64_t)(next_random(&seed) % 9) - 3 : next_random(&seed) % 6;
		program[len - 3] = 0;
		if (host_regex_check(program, len))
			continue;
		good++;
		n = len;
		open_room(host_regex_scratch(program, len));
		rt_host_str_match(&room.head, (struct rt_operand[]){vector(&text, 8, &one),
						  vector(&yes, 9, &one), vector(program, 7, &n)});
		assert_int_equal(room.head.status, 0);
	}
	assert_true(good > 100);
	assert_non_null(host_regex_check(program, 0));
	assert_non_null(host_regex_check(program, 4));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(known),
	    cmocka_unit_test(linear),
	    cmocka_unit_test(random_patterns),
	    cmocka_unit_test(random_programs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
