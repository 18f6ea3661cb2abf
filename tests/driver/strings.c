/* A library with strings, called: what it gives, and what it says when its room for
 * strings ends.  No memory of its own but the workspace. */
#include "words.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int failed;

static void
check(int ok, const char *what)
{
	if (!ok) {
		printf("FAIL: %s\n", what);
		failed = 1;
	}
}

int
main(void)
{
	size_t size = words_workspace_size();
	void *work = aligned_alloc(WORDS_WORKSPACE_ALIGN, (size + 63) / 64 * 64);
	const char *x[3] = {"ab", "bc", NULL}, *y[1] = {"!"}, *z[3], *label[3];
	uint8_t match[3], same[3];
	int64_t place[3];
	char *long_one = malloc(100001);

	for (int run = 0; run < 2; run++) {
		check(words_run(x, y, z, match, same, place, label, work, size) == WORDS_OK,
		    "the run");
		check(
		    strcmp(z[0], "ab!") == 0 && strcmp(z[1], "bc!") == 0 && strcmp(z[2], "!") == 0,
		    "concatenation");
		check(match[0] && match[1] && !match[2], "pattern");
		check(!same[0] && same[1] && same[2], "equality");
		check(place[0] == -1 && place[1] == 1 && place[2] == 0, "places");
		check(strcmp(label[0], "none") == 0 && strcmp(label[1], "two") == 0 &&
			  strcmp(label[2], "none") == 0,
		    "labels");
	}
	memset(long_one, 'a', 100000);
	long_one[100000] = 0;
	x[0] = long_one;
	check(words_run(x, y, z, match, same, place, label, work, size) == WORDS_E_STRINGS,
	    "the room ends");
	check(strlen(z[0]) == 0 && strcmp(z[1], "bc!") == 0, "valid results all the same");
	check(strstr(words_strerror(WORDS_E_STRINGS), "room") != NULL, "a text for it");
	free(work);
	free(long_one);
	return failed;
}
