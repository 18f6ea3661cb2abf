/* str, helpers on C strings, sha256 (the vectors of FIPS 180-4's examples). */
#include "base/base.h"
#include "tests/unit.h"

#include <stdlib.h>
#include <string.h>

static void
growing(void **state)
{
	struct str s = {0};
	int i;

	(void)state;
	str_add(&s, "");
	assert_string_equal(s.s, "");
	for (i = 0; i < 1000; i++)
		str_addf(&s, "%d,", i);
	assert_int_equal(s.n, strlen(s.s));
	assert_true(str_starts(s.s, "0,1,2,"));
	assert_true(str_ends(s.s, "998,999,"));
	str_free(&s);
	assert_null(s.s);
	str_addn(&s, "a\0b", 3);
	assert_int_equal(s.n, 3);
	assert_memory_equal(s.s, "a\0b", 4);
	str_free(&s);
}

static void
prefixes(void **state)
{
	(void)state;
	assert_true(str_starts("abc", ""));
	assert_false(str_starts("ab", "abc"));
	assert_true(str_ends("abc", "bc"));
	assert_false(str_ends("c", "bc"));
}

static void
nearest(void **state)
{
	const char *const words[] = {"teacher", "student", "epochs", NULL, "lr"};

	(void)state;
	assert_string_equal(str_nearest("teachr", words, 5), "teacher");
	assert_string_equal(str_nearest("Student", words, 5), "student");
	assert_string_equal(str_nearest("epohcs", words, 5), "epochs");
	assert_string_equal(str_nearest("lt", words, 5), "lr");
	assert_null(str_nearest("completely", words, 5));
	assert_null(str_nearest("", words, 0));
}

static void
globs(void **state)
{
	(void)state;
	assert_true(str_glob("*", ""));
	assert_true(str_glob("*.onnx", "a.b.onnx"));
	assert_true(str_glob("layer?.*w", "layer3.raw"));
	assert_false(str_glob("a*b", "acd"));
	assert_false(str_glob("?", ""));
	assert_true(str_glob("**a**", "bab"));
	assert_false(str_glob("*a*a*a*a*a*a*b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"));
}

static void
json(void **state)
{
	struct str s = {0};

	(void)state;
	str_json(&s, "a\"b\\c\n\t\001\xc3\xa9");
	assert_string_equal(s.s, "\"a\\\"b\\\\c\\n\\t\\u0001\xc3\xa9\"");
	str_free(&s);
}

static void
sha256(void **state)
{
	char hex[65], *million = malloc(1000000);

	(void)state;
	sha256_hex("", 0, hex);
	assert_string_equal(hex, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
	sha256_hex("abc", 3, hex);
	assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
	sha256_hex("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 56, hex);
	assert_string_equal(hex, "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
	memset(million, 'a', 1000000);
	sha256_hex(million, 1000000, hex);
	assert_string_equal(hex, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
	free(million);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(growing), cmocka_unit_test(prefixes), cmocka_unit_test(nearest),
	    cmocka_unit_test(globs),   cmocka_unit_test(json),     cmocka_unit_test(sha256),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
