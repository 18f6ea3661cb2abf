/* images -- a folder CLASS/X.png|jpg, or a tar of one, as u8 [N,C,H,W] and i64
 * class numbers.  Classes are the folder names in byte order, samples go by
 * class, then by file name.  One colour image makes all of them colour. */
#include "runtime/rt_int.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <png.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <jpeglib.h>

#define MAX_SIDE 16384

struct item {
	char *name; /* CLASS/FILE below the root */
	size_t class_len;
	const unsigned char *bytes; /* in the tar; NULL: to be read */
	size_t n;
};
struct set {
	struct rt_source source;
	char *path, *root; /* root NULL: none */
	char *dir;	   /* folders: where names start */
	unsigned char *tar;
	struct item *items;
	int64_t n, cap;
	int64_t dims[3]; /* of a row */
	bool resize;	 /* to them; else all files have them */
	bool mask;
	struct rt_msg *m; /* while it is opened */
};

static bool
is_image(const char *s)
{
	const char *dot = strrchr(s, '.');

	return dot && (strcasecmp(dot, ".png") == 0 || strcasecmp(dot, ".jpg") == 0 ||
			  strcasecmp(dot, ".jpeg") == 0);
}

static bool
add(struct set *s, const char *name, const unsigned char *bytes, size_t n)
{
	const char *slash = strchr(name, '/');

	if (s->n == s->cap) {
		int64_t cap = s->cap ? 2 * s->cap : 1024;
		struct item *v = realloc(s->items, (size_t)cap * sizeof *v);

		if (!v)
			return rt_fail(s->m, RT_INTERNAL, "%s: out of memory", s->path);
		s->items = v;
		s->cap = cap;
	}
	char *copy = strdup(name);

	if (!copy)
		return rt_fail(s->m, RT_INTERNAL, "%s: out of memory", s->path);
	s->items[s->n++] = (struct item){copy, (size_t)(slash - name), bytes, n};
	return true;
}

static bool
list_class(struct set *s, const char *class)
{
	char *dir = rt_join(s->dir, class);
	DIR *d = dir ? opendir(dir) : NULL;
	struct dirent *e;
	bool ok = true;

	free(dir);
	while (d && ok && (e = readdir(d))) {
		if (!is_image(e->d_name))
			continue;
		char *name = rt_join(class, e->d_name);

		ok = name && add(s, name, NULL, 0);
		free(name);
	}
	if (d)
		closedir(d);
	return ok;
}

static bool
list_folder(struct set *s)
{
	DIR *d = opendir(s->dir);
	struct dirent *e;
	bool ok = true;

	if (!d)
		return rt_fail(s->m, RT_IO, "%s: %s", s->dir, strerror(errno));
	while (ok && (e = readdir(d)))
		if (e->d_name[0] != '.')
			ok = list_class(s, e->d_name);
	closedir(d);
	return ok;
}

/* ---- tar: 512-byte headers; ustar prefixes, GNU long names, pax path */
static bool
octal(const unsigned char *p, int n, uint64_t *v)
{
	*v = 0;
	if (p[0] & 0x80) { /* GNU: base 256 */
		for (int i = n - 8 > 0 ? n - 8 : 1; i < n; i++)
			*v = *v << 8 | p[i];
		return true;
	}
	while (n > 0 && *p == ' ')
		p++, n--;
	for (; n > 0 && *p >= '0' && *p <= '7'; p++, n--)
		*v = *v << 3 | (uint64_t)(*p - '0');
	return n == 0 || *p == 0 || *p == ' ';
}

/* path=... of a pax header, or NULL; heap */
static char *
pax_path(const unsigned char *p, size_t n)
{
	while (n > 0) {
		size_t len = 0, digits = 0;

		while (digits < n && digits < 10 && isdigit(p[digits]))
			len = len * 10 + (size_t)(p[digits++] - '0');
		if (len <= digits + 1 || len > n || p[digits] != ' ')
			return NULL;
		const char *key = (const char *)p + digits + 1;
		size_t rest = len - digits - 1;

		if (rest > 6 && memcmp(key, "path=", 5) == 0)
			return strndup(key + 5, rest - 6);
		p += len;
		n -= len;
	}
	return NULL;
}

/* Strips "./"; below root; then CLASS/FILE, where a tar without root may have
 * any folders above: the last two parts count. */
static const char *
below(const char *name, const char *root)
{
	while (strncmp(name, "./", 2) == 0)
		name += 2;
	if (root) {
		size_t n = strlen(root);

		while (n > 0 && root[n - 1] == '/')
			n--;
		if (strncmp(name, root, n) != 0 || name[n] != '/')
			return NULL;
		name += n + 1;
		const char *slash = strchr(name, '/');

		return slash && !strchr(slash + 1, '/') ? name : NULL;
	}
	const char *last = strrchr(name, '/');

	if (!last || last == name)
		return NULL;
	while (last > name && last[-1] != '/')
		last--;
	return last;
}

static bool
list_tar(struct set *s, size_t n)
{
	size_t at = 0;
	char *longname = NULL;
	bool ok = true;

	while (ok && n - at >= 512 && s->tar[at]) {
		const unsigned char *h = s->tar + at;
		uint64_t size;
		char name[260];

		if (!octal(h + 124, 12, &size) || size > n - at - 512 ||
		    memcmp(h + 257, "ustar", 5) != 0) {
			ok = rt_fail(s->m, RT_INVALID,
			    "%s: the tar is damaged or truncated at byte %zu", s->path, at);
			break;
		}
		const unsigned char *data = h + 512;

		if (h[156] == 'L' || h[156] == 'x') {
			free(longname);
			longname = h[156] == 'L' ? strndup((const char *)data, size)
						 : pax_path(data, size);
		} else {
			if (h[345] && h[262] == 0)
				snprintf(name, sizeof name, "%.155s/%.100s", (const char *)h + 345,
				    (const char *)h);
			else
				snprintf(name, sizeof name, "%.100s", (const char *)h);
			const char *path = below(longname ? longname : name, s->root);

			if ((h[156] == '0' || h[156] == 0) && path && is_image(path))
				ok = add(s, path, data, size);
			free(longname);
			longname = NULL;
		}
		uint64_t step = 512 + (size + 511) / 512 * 512;

		at = step > n - at ? n : at + step;
	}
	free(longname);
	return ok;
}

/* ---- decoding: header first, for the common shape, then the pixels */
struct jpeg_error {
	struct jpeg_error_mgr mgr;
	jmp_buf out;
	char text[JMSG_LENGTH_MAX];
};

static void
jpeg_fail(j_common_ptr j)
{
	struct jpeg_error *e = (struct jpeg_error *)j->err;

	j->err->format_message(j, e->text);
	longjmp(e->out, 1);
}

static void
jpeg_quiet(j_common_ptr j, int level)
{
	if (level < 0)
		j->err->num_warnings++;
}

/* planes: C, H, W are filled in when NULL; else decoded to C planes. */
static bool
jpeg(const struct item *it, int64_t *dims, unsigned char *planes, unsigned char *line,
    struct rt_msg *m)
{
	struct jpeg_decompress_struct j;
	struct jpeg_error e;

	j.err = jpeg_std_error(&e.mgr);
	e.mgr.error_exit = jpeg_fail;
	e.mgr.emit_message = jpeg_quiet;
	if (setjmp(e.out)) {
		jpeg_destroy_decompress(&j);
		return rt_fail(m, RT_INVALID, "%s: %s", it->name, e.text);
	}
	jpeg_create_decompress(&j);
	jpeg_mem_src(&j, it->bytes, it->n);
	jpeg_read_header(&j, TRUE);
	if (!planes) {
		dims[0] = j.num_components == 1 ? 1 : 3;
		dims[1] = j.image_height;
		dims[2] = j.image_width;
		jpeg_destroy_decompress(&j);
		return true;
	}
	j.out_color_space = dims[0] == 1 ? JCS_GRAYSCALE : JCS_RGB;
	jpeg_start_decompress(&j);
	int64_t c = dims[0], plane = dims[1] * dims[2];

	while (j.output_scanline < j.output_height) {
		unsigned char *row = planes + (int64_t)j.output_scanline * dims[2];

		jpeg_read_scanlines(&j, &line, 1);
		for (int64_t x = 0; x < dims[2]; x++)
			for (int64_t k = 0; k < c; k++)
				row[k * plane + x] = line[x * c + k];
	}
	jpeg_finish_decompress(&j);
	bool cut = e.mgr.num_warnings > 0;

	jpeg_destroy_decompress(&j);
	return !cut ||
	       rt_fail(m, RT_INVALID, "%s: the JPEG data is damaged or truncated", it->name);
}

static bool
png(const struct item *it, int64_t *dims, unsigned char *planes, unsigned char *pixels,
    struct rt_msg *m)
{
	png_image p = {.version = PNG_IMAGE_VERSION};
	bool ok;

	if (!png_image_begin_read_from_memory(&p, it->bytes, it->n))
		return rt_fail(m, RT_INVALID, "%s: %s", it->name, p.message);
	if (!planes) {
		dims[0] = p.format & PNG_FORMAT_FLAG_COLOR ? 3 : 1;
		dims[1] = p.height;
		dims[2] = p.width;
		png_image_free(&p);
		return true;
	}
	p.format = dims[0] == 1 ? PNG_FORMAT_GRAY : PNG_FORMAT_RGB;
	png_color black = {0, 0, 0};

	ok = png_image_finish_read(&p, &black, pixels, 0, NULL);
	if (!ok)
		rt_fail(m, RT_INVALID, "%s: %s", it->name, p.message);
	png_image_free(&p);
	int64_t c = dims[0], plane = dims[1] * dims[2];

	for (int64_t i = 0; ok && i < plane; i++)
		for (int64_t k = 0; k < c; k++)
			planes[k * plane + i] = pixels[i * c + k];
	return ok;
}

static bool
decode(const struct item *it, int64_t *dims, unsigned char *planes, unsigned char *scratch,
    struct rt_msg *m)
{
	if (it->n >= 8 && png_sig_cmp(it->bytes, 0, 8) == 0)
		return png(it, dims, planes, scratch, m);
	if (it->n >= 3 && memcmp(it->bytes, "\xff\xd8\xff", 3) == 0)
		return jpeg(it, dims, planes, scratch, m);
	return rt_fail(m, RT_INVALID, "%s: neither PNG nor JPEG", it->name);
}

/* The item with its bytes; those of a folder are read and belong to *heap. */
static bool
bytes(const struct set *s, int64_t i, struct item *it, void **heap, struct rt_msg *m)
{
	*it = s->items[i];
	*heap = NULL;
	if (s->tar)
		return true;
	char *path = rt_join(s->dir, it->name);

	*heap = path ? rt_read_file(path, &it->n, m) : NULL;
	it->bytes = *heap;
	free(path);
	return *heap != NULL;
}

/* C, H, W as the file says */
static bool
header(const struct item *it, int64_t *d, struct rt_msg *m)
{
	if (!decode(it, d, NULL, NULL, m))
		return false;
	return (d[1] <= MAX_SIDE && d[2] <= MAX_SIDE && d[1] > 0 && d[2] > 0) ||
	       rt_fail(m, RT_INVALID, "%s: %lldx%lld pixels, %d a side at most", it->name,
		   (long long)d[2], (long long)d[1], MAX_SIDE);
}

/* An image of dims d, decoded and brought to the row's size. */
static bool
resized(const struct set *s, const struct item *it, const int64_t *d, unsigned char *to,
    struct rt_msg *m)
{
	int64_t dims[3] = {s->dims[0], d[1], d[2]};
	struct rt_planes a = {RT_U8, dims[0], dims[1], dims[2], NULL},
			 b = {RT_U8, s->dims[0], s->dims[1], s->dims[2], to};
	size_t n = (size_t)(dims[0] * dims[1] * dims[2]);
	unsigned char *scratch = malloc(n);
	void *tmp = malloc(rt_resample_room(&a, &b));
	bool ok;

	a.p = malloc(n);
	ok = (a.p && tmp && scratch) || rt_fail(m, RT_INTERNAL, "%s: out of memory", it->name);
	ok = ok && decode(it, dims, a.p, scratch, m);
	if (ok)
		rt_resample(&a, (int64_t[]){0, 0, a.h, a.w}, &b, s->mask, tmp);
	free(a.p);
	free(tmp);
	free(scratch);
	return ok;
}

/* A file that changed since its header was read must not overrun the row. */
static bool
image_row(const struct rt_source *source, int64_t i, unsigned char *to, struct rt_msg *m)
{
	const struct set *s = (const struct set *)source;
	int64_t d[3];
	struct item it;
	void *heap;
	bool ok = bytes(s, i, &it, &heap, m) && header(&it, d, m);

	if (ok && s->resize) {
		ok = resized(s, &it, d, to, m);
	} else if (ok) {
		unsigned char *scratch = malloc((size_t)(s->dims[0] * s->dims[1] * s->dims[2]));

		ok = (d[1] == s->dims[1] && d[2] == s->dims[2]) ||
		     rt_fail(m, RT_IO, "%s: changed while read", it.name);
		ok = ok && (scratch || rt_fail(m, RT_INTERNAL, "%s: out of memory", it.name));
		ok = ok && decode(&it, (int64_t[]){s->dims[0], d[1], d[2]}, to, scratch, m);
		free(scratch);
	}
	free(heap);
	return ok;
}

/* One size for all, from the headers; one colour image makes all of them colour. */
static bool
common_size(struct set *s, const struct rt_want *w)
{
	int64_t d[3];
	struct item it;
	void *heap;
	bool ok = true;

	for (int64_t i = 0; ok && i < s->n; i++) {
		ok = bytes(s, i, &it, &heap, s->m) && header(&it, d, s->m);
		free(heap);
		if (ok && w->size[0])
			d[1] = w->size[0], d[2] = w->size[1];
		if (ok && i > 0 && (d[1] != s->dims[1] || d[2] != s->dims[2]))
			ok = rt_fail(s->m, RT_INVALID,
			    "%s: %s is %lldx%lld, %s is %lldx%lld; all images must have one size, "
			    "or give the field `resize: [HEIGHT, WIDTH]`",
			    s->path, it.name, (long long)d[2], (long long)d[1], s->items[0].name,
			    (long long)s->dims[2], (long long)s->dims[1]);
		if (ok && (i == 0 || d[0] > s->dims[0]))
			memcpy(s->dims, d, sizeof d);
	}
	s->resize = w->size[0] > 0;
	s->mask = w->mask;
	return ok;
}

static int
by_name(const void *a, const void *b)
{
	const struct item *x = a, *y = b;
	size_t n = x->class_len < y->class_len ? x->class_len : y->class_len;
	int c = memcmp(x->name, y->name, n);

	if (c == 0 && x->class_len != y->class_len)
		return x->class_len < y->class_len ? -1 : 1;
	return c ? c : strcmp(x->name, y->name);
}

static bool
classes(struct set *s, struct rt_array *a, int64_t *label)
{
	a->classes = calloc((size_t)s->n, sizeof *a->classes);
	if (!a->classes)
		return rt_fail(s->m, RT_INTERNAL, "%s: out of memory", s->path);
	for (int64_t i = 0; i < s->n; i++) {
		const struct item *it = &s->items[i], *last = i ? it - 1 : NULL;

		if (!last || last->class_len != it->class_len ||
		    memcmp(last->name, it->name, it->class_len) != 0) {
			a->classes[a->nclasses] = strndup(it->name, it->class_len);
			if (!a->classes[a->nclasses++])
				return rt_fail(s->m, RT_INTERNAL, "%s: out of memory", s->path);
		}
		label[i] = a->nclasses - 1;
	}
	return true;
}

static bool
list(struct set *s)
{
	size_t n;

	if (rt_is_dir(s->path)) {
		s->dir = s->root ? rt_join(s->path, s->root) : strdup(s->path);
		if (!s->dir || !list_folder(s))
			return false;
	} else {
		s->tar = rt_read_gz(s->path, &n, s->m);
		if (!s->tar || !list_tar(s, n))
			return false;
	}
	if (s->n == 0)
		return rt_fail(s->m, RT_INVALID, "%s: has no CLASS/X.png or CLASS/X.jpg%s%s",
		    s->path, s->root ? " below " : "", s->root ? s->root : "");
	qsort(s->items, (size_t)s->n, sizeof *s->items, by_name);
	return true;
}

static bool
open_labels(struct set *s, struct rt_array *a)
{
	int64_t *label = malloc((size_t)s->n * sizeof *label);

	if (!label)
		return rt_fail(s->m, RT_INTERNAL, "%s: out of memory", s->path);
	a->heap = label;
	a->data = a->heap;
	a->dtype = RT_I64;
	a->rank = 1;
	a->dims[0] = s->n;
	return classes(s, a, label) &&
	       rt_array_sizes(a, (uint64_t)s->n * sizeof *label, s->path, s->m);
}

static bool
open_pixels(struct set *s, struct rt_array *a, const struct rt_want *w)
{
	if (!common_size(s, w))
		return false;
	a->dtype = RT_U8;
	a->rank = 4;
	a->dims[0] = s->n;
	memcpy(a->dims + 1, s->dims, sizeof s->dims);
	return rt_array_sizes(a, UINT64_MAX, s->path, s->m);
}

static void
close_set(struct rt_source *source)
{
	struct set *s = (struct set *)source;

	for (int64_t i = 0; i < s->n; i++)
		free(s->items[i].name);
	free(s->items);
	free(s->dir);
	free(s->tar);
	free(s->path);
	free(s->root);
	free(s);
}

bool
rt_open_images(struct rt_array *a, const char *path, const char *sub, enum rt_role role,
    const struct rt_want *w, struct rt_msg *m)
{
	struct set *s = calloc(1, sizeof *s);
	bool ok, named = sub && *sub;

	if (!s)
		return rt_fail(m, RT_INTERNAL, "%s: out of memory", path);
	s->source = (struct rt_source){image_row, close_set};
	s->path = strdup(path);
	s->root = named ? strdup(sub) : NULL;
	s->m = m;
	ok = (s->path && (s->root || !named)) || rt_fail(m, RT_INTERNAL, "%s: out of memory", path);
	ok = ok && list(s) && (role == RT_ROLE_LABELS ? open_labels(s, a) : open_pixels(s, a, w));
	s->m = NULL;
	if (ok && role == RT_ROLE_IMAGES)
		a->source = &s->source;
	else
		close_set(&s->source);
	return ok;
}
