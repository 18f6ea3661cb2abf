/* data -- which loader reads a file, by its suffix, and what all of them share. */
#include "runtime/rt_int.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

enum rt_role
rt_data_role(const char *field, bool has_classes)
{
	static const char *const names[] = {"label", "labels", "class", "target", "y"};

	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		if (strcmp(field, names[i]) == 0)
			has_classes = true;
	return has_classes ? RT_ROLE_LABELS : RT_ROLE_IMAGES;
}

void
rt_data_close(struct rt_array *a)
{
	if (a->source)
		a->source->close(a->source);
	free(a->heap);
	if (a->map)
		munmap(a->map, a->map_bytes);
	for (int i = 0; i < a->nclasses; i++)
		free(a->classes[i]);
	free(a->classes);
	memset(a, 0, sizeof *a);
}

static bool
ends(const char *s, const char *suffix)
{
	size_t n = strlen(s), k = strlen(suffix);

	return n >= k && strcmp(s + n - k, suffix) == 0;
}

static bool
is_tar(const char *s)
{
	return ends(s, ".tar") || ends(s, ".tar.gz") || ends(s, ".tgz");
}

/* Cuts FILE:REST at the colon after one of the suffixes; NULL: none there. */
static char *
cut(char *s)
{
	static const char *const suffixes[] = {
	    ".npz", ".csv", ".tar", ".tar.gz", ".tgz", ".csv.gz"};

	for (char *p = strchr(s, ':'); p; p = strchr(p + 1, ':'))
		for (size_t i = 0; i < sizeof suffixes / sizeof *suffixes; i++) {
			*p = 0;
			if (ends(s, suffixes[i]))
				return p + 1;
			*p = ':';
		}
	return NULL;
}

static bool
open_cut(struct rt_array *a, const char *path, const char *rest, enum rt_role role,
    const struct rt_want *w, struct rt_msg *m)
{
	if (is_tar(path) || rt_is_dir(path))
		return rt_open_images(a, path, rest, role, w, m);
	if (ends(path, ".npz"))
		return rt_open_npz(a, path, rest, m);
	if (ends(path, ".csv") || ends(path, ".csv.gz"))
		return rt_open_csv(a, path, rest, w->dtype, m);
	if (ends(path, ".npy"))
		return rt_open_npy(a, path, m);
	if (ends(path, "-ubyte") || ends(path, "-ubyte.gz") || ends(path, ".idx") ||
	    ends(path, ".idx.gz"))
		return rt_open_idx(a, path, m);
	struct stat st;

	if (stat(path, &st) != 0)
		return rt_fail(m, RT_IO, "%s: %s", path, strerror(errno));
	return rt_fail(m, RT_INVALID,
	    "%s: no loader for this suffix (-ubyte .idx .npy .npz .csv, an image folder, .tar "
	    ".tar.gz .tgz)",
	    path);
}

static bool
open_file(struct rt_array *a, const struct rt_want *w, struct rt_msg *m)
{
	char *s = strdup(w->file), *hash, *rest;
	enum rt_role role = w->role;
	bool ok;

	if (!s)
		return rt_fail(m, RT_INTERNAL, "%s: out of memory", w->file);
	hash = strrchr(s, '#');
	if (hash && (strcmp(hash, "#images") == 0 || strcmp(hash, "#labels") == 0)) {
		role = hash[1] == 'l' ? RT_ROLE_LABELS : RT_ROLE_IMAGES;
		*hash = 0;
	}
	rest = rt_is_dir(s) ? NULL : cut(s);
	ok = open_cut(a, s, rest, role, w, m);
	free(s);
	if (ok && !a->source)
		a->held = a->rows;
	if (ok && w->dtype && a->dtype != w->dtype)
		ok = rt_fail(m, RT_INVALID,
		    "%s: holds %s, the compiled program reads %s; compile again for this file",
		    w->file, rt_dtype_name(a->dtype), rt_dtype_name(w->dtype));
	return ok;
}

bool
rt_data_want(struct rt_array *a, const struct rt_want *w, struct rt_msg *m)
{
	bool ok;

	memset(a, 0, sizeof *a);
	ok = open_file(a, w, m) && (!w->lengths || rt_array_ragged(a, w, m)) &&
	     (!w->size[0] || rt_array_resize(a, w, m));
	if (!ok)
		rt_data_close(a);
	return ok;
}

bool
rt_data_open(
    struct rt_array *a, const char *spec, enum rt_role role, int32_t dtype, struct rt_msg *m)
{
	struct rt_want w = {.file = spec, .role = role, .dtype = dtype};
	int64_t all = INT64_MAX;

	if (!rt_data_want(a, &w, m))
		return false;
	if (rt_array_load(a, &all, 1, m))
		return true;
	rt_data_close(a);
	return false;
}
