/* ngrams -- how often each n-gram of a vocabulary stands in rows of whole numbers. */
#include "host/host_int.h"

/* < 0, 0, > 0 as gram[0..n) comes before, is, or comes after x[0], x[step], ... */
static int
compare(const int64_t *gram, const int64_t *x, int64_t n, int64_t step)
{
	for (int64_t k = 0; k < n; k++)
		if (gram[k] != x[k * step])
			return gram[k] < x[k * step] ? -1 : 1;
	return 0;
}

/* x [rows, n]; out f32 [rows, width]; pool: the grams of every length, one after the
 * other, each length in lexicographic order; first: where each length (from 1) begins
 * in it, and its end; slot: of every gram the column that counts it, -1: none;
 * min, max: lengths counted; skip: at most so many left out between two items */
void
rt_host_ngrams(struct rt_bytes *b, const struct rt_operand *arg)
{
	const int64_t *x = arg[0].data, *pool = arg[2].data, *first = arg[3].data,
		      *slot = arg[4].data;
	int64_t min = op_int(&arg[5]), max = op_int(&arg[6]), skip = op_int(&arg[7]),
		rows = arg[0].dims[0], n = arg[0].dims[1], width = arg[1].dims[1],
		lengths = op_count(&arg[3]) - 1, gram0 = 0;
	float *out = arg[1].data;

	(void)b;
	for (int64_t i = 0; i < rows * width; i++)
		out[i] = 0;
	for (int64_t len = 1; len <= lengths && len <= max; len++) {
		int64_t grams = (first[len] - first[len - 1]) / len;

		for (int64_t step = 1; len >= min && step <= (len == 1 ? 1 : skip + 1); step++)
			for (int64_t r = 0; r < rows; r++)
				for (int64_t at = 0; at + (len - 1) * step < n; at++) {
					int64_t lo = 0, hi = grams;

					while (lo < hi) {
						int64_t mid = lo + (hi - lo) / 2;

						if (compare(pool + first[len - 1] + mid * len,
							x + r * n + at, len, step) < 0)
							lo = mid + 1;
						else
							hi = mid;
					}
					if (lo < grams &&
					    compare(pool + first[len - 1] + lo * len,
						x + r * n + at, len, step) == 0 &&
					    slot[gram0 + lo] >= 0 && slot[gram0 + lo] < width)
						out[r * width + slot[gram0 + lo]]++;
				}
		gram0 += grams;
	}
}
