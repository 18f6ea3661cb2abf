/* Strings and numbers: what no room is left for, letters of other scripts, numbers that
 * are none.  Values of the rows themselves are in tests/op. */
#include "tests/host/call.h"
#include "host/utf8.h"

#include <locale.h>
#include <math.h>
#include <string.h>

static void
room_ends(void **state)
{
	const char *x[3] = {"abcdefgh", "", "ijklmnop"}, *y[3] = {"12345678", "b", "9"}, *z[3];
	int64_t n = 3;

	(void)state;
	open_room(20);
	rt_host_str_concat(&room.head,
	    (struct rt_operand[]){vector(x, 8, &n), vector(y, 8, &n), vector(z, 8, &n)});
	assert_int_equal(room.head.status, RT_HOST_FULL);
	assert_string_equal(z[0], "abcdefgh12345678");
	assert_string_equal(z[1], "b");
	assert_string_equal(z[2], ""); /* valid all the same */
	open_room(27);
	rt_host_str_concat(&room.head,
	    (struct rt_operand[]){vector(x, 8, &n), vector(y, 8, &n), vector(z, 8, &n)});
	assert_int_equal(room.head.status, RT_HOST_OK);
	assert_string_equal(z[2], "ijklmnop9");
}

static void
case_of_letters(void **state)
{
	static const uint32_t pairs[][2] = {{'A', 'a'}, {'Z', 'z'}, {0xC9, 0xE9}, {0xD1, 0xF1},
	    {0x178, 0xFF}, {0x160, 0x161}, {0x17D, 0x17E}, {0x391, 0x3B1}, {0x386, 0x3AC},
	    {0x38F, 0x3CE}, {0x410, 0x430}, {0x401, 0x451}, {0x531, 0x561}};
	static const uint32_t none[] = {'1', '[', 0xD7, 0xF7, 0xDF, 0x65E5, 0x1F600};

	(void)state;
	for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
		assert_int_equal(utf8_lower(pairs[i][0]), pairs[i][1]);
		assert_int_equal(utf8_upper(pairs[i][1]), pairs[i][0]);
		assert_int_equal(utf8_lower(pairs[i][1]), pairs[i][1]);
		assert_int_equal(utf8_upper(pairs[i][0]), pairs[i][0]);
	}
	for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
		assert_int_equal(utf8_lower(none[i]), none[i]);
		assert_int_equal(utf8_upper(none[i]), none[i]);
	}
}

/* Every code point and back; bytes that are no UTF-8 move on one by one. */
static void
utf8(void **state)
{
	static const char *const broken[] = {"\xC3", "\x80", "\xE6\x97", "\xC0\xAF", "\xED\xA0\x80",
	    "\xF5\x80\x80\x80", "\xF0\x80\x80\x80"};
	char text[5];
	const char *s;

	(void)state;
	for (uint32_t c = 1; c <= 0x10FFFF; c += c < 0x3000 ? 1 : 97) {
		int n = utf8_put(text, c);

		text[n] = 0;
		s = text;
		assert_int_equal(utf8_next(&s), c >= 0xD800 && c < 0xE000 ? 0xFFFD : c);
	}
	for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
		s = broken[i];
		assert_int_equal(utf8_next(&s), 0xFFFD);
		assert_ptr_equal(s, broken[i] + 1);
	}
}

static int
to_number(const char *text, int32_t dtype, void *to)
{
	int64_t one = 1;

	open_room(0);
	rt_host_str_to(
	    &room.head, (struct rt_operand[]){vector(&text, 8, &one), vector(to, dtype, &one)});
	return room.head.status;
}

static void
numbers(void **state)
{
	static const char *const none[] = {
	    "", " ", "abc", "1x", "0x10", "1e", "--1", "in", "nanx", "1,5"};
	double f;
	int64_t i;

	(void)state;
	for (size_t k = 0; k < sizeof none / sizeof *none; k++) {
		assert_int_equal(to_number(none[k], 11, &f), RT_HOST_NUMBER);
		assert_true(f == 0);
		assert_int_equal(to_number(none[k], 7, &i), RT_HOST_NUMBER);
	}
	assert_int_equal(to_number("99999999999999999999", 7, &i), RT_HOST_NUMBER);
	assert_int_equal(to_number(" -9223372036854775808 ", 7, &i), 0);
	assert_true(i == INT64_MIN);
	assert_int_equal(to_number("1e300", 7, &i), 0);
	assert_true(i == INT64_MAX);
	assert_int_equal(to_number("-iNf", 11, &f), 0);
	assert_true(isinf(f) && f < 0);
}

/* A program that speaks German writes and reads points all the same. */
static void
other_locale(void **state)
{
	static const char *const names[] = {"de_DE.UTF-8", "de_DE.utf8", "fr_FR.UTF-8"};
	const char *text;
	double f = 2.5;
	int64_t one = 1;

	(void)state;
	for (size_t i = 0; i < sizeof names / sizeof *names && !setlocale(LC_NUMERIC, names[i]);
	    i++)
		;
	assert_int_equal(to_number("1.25", 11, &f), 0);
	assert_true(f == 1.25);
	open_room(100);
	rt_host_str_from(
	    &room.head, (struct rt_operand[]){vector(&f, 11, &one), vector(&text, 8, &one)});
	assert_string_equal(text, "1.25");
	setlocale(LC_NUMERIC, "C");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(room_ends),
	    cmocka_unit_test(case_of_letters),
	    cmocka_unit_test(utf8),
	    cmocka_unit_test(numbers),
	    cmocka_unit_test(other_locale),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
