/* table -- the functions by name, and what a status means. */
#include "host/host.h"

#include <stdbool.h>
#include <string.h>

static const struct {
	const char *symbol;
	rt_host_fn *fn;
	bool images;
} table[] = {
#define HOST(id, images) {"rt_host_" #id, rt_host_##id, images},
#include "host/host.def"
};

rt_host_fn *
host_function(const char *symbol)
{
	for (size_t i = 0; i < sizeof table / sizeof *table; i++)
		if (strcmp(table[i].symbol, symbol) == 0)
			return table[i].fn;
	return NULL;
}

bool
host_needs_images(const char *symbol)
{
	for (size_t i = 0; i < sizeof table / sizeof *table; i++)
		if (strcmp(table[i].symbol, symbol) == 0)
			return table[i].images;
	return false;
}
