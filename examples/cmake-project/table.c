/* table -- prints the truth table that the compiled network computes. */
#include "xor.h"

#include <stdio.h>
#include <stdlib.h>

enum { ROWS = 4 };

int
main(void)
{
	static const float bits[ROWS * 2] = {0, 0, 0, 1, 1, 0, 1, 1};
	float result[ROWS];
	void *work = aligned_alloc(64, (xor_workspace_size() + 63) / 64 * 64 + 64);
	int status = xor_run(bits, result, work, xor_workspace_size());
	int i;

	if (status != XOR_OK) {
		fprintf(stderr, "xor: %s\n", xor_strerror(status));
		return 1;
	}
	for (i = 0; i < ROWS; i++)
		printf("%g xor %g = %g\n", bits[2 * i], bits[2 * i + 1], result[i]);
	free(work);
	return 0;
}
