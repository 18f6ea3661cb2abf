/* archive -- a static library in the form of System V and GNU: a table of the symbols
 * that members define, long names, members.  The members of other archives come first,
 * then our own object, which is written through and may be of any size; so the offsets
 * in the table stay small.  No times, owners or folders: the same bytes every time. */
#include "codegen/gen.h"

#include <ar.h>
#include <elf.h>
#include <stdlib.h>
#include <string.h>

struct member { const char *name, *data; size_t head, size; }; /* head: of its bytes at hand */
struct archive {
	struct arena *a;
	VEC(struct member) members;
	VEC(char *) files;       /* that members lie in */
};

struct archive *
archive_open(void)
{
	struct archive *x = xcalloc(1, sizeof *x);

	x->a = arena_create();
	return x;
}

void
archive_close(struct archive *x)
{
	if (!x)
		return;
	for (int i = 0; i < x->files.n; i++)
		free(x->files.v[i]);
	arena_destroy(x->a);
	free(x);
}

/* ---- reading */
static size_t
decimal(const char *s, size_t n)
{
	size_t v = 0;

	for (size_t i = 0; i < n && s[i] >= '0' && s[i] <= '9'; i++)
		v = v * 10 + (size_t)(s[i] - '0');
	return v;
}

bool
archive_add(struct archive *x, const char *path, struct diag *d)
{
	size_t size, at = SARMAG, n, nlong = 0;
	char *file = file_read(d, path, &size);
	const char *names = "";

	if (!file)
		return false;
	vec_push(x->a, &x->files, file);
	if (size < SARMAG || memcmp(file, ARMAG, SARMAG) != 0)
		return diag_invalid(d, LOC_FILE(path), "is no archive");
	for (; at + sizeof(struct ar_hdr) <= size; at += n + n % 2) {
		const struct ar_hdr *h = (const struct ar_hdr *)(file + at);
		const char *name = h->ar_name;
		size_t len = 0, skip;

		at += sizeof *h;
		n = decimal(h->ar_size, sizeof h->ar_size);
		if (n > size - at)
			return diag_invalid(d, LOC_FILE(path), "is an archive that ends within a member");
		if (name[0] == '/' && name[1] == '/') {
			names = file + at;
			nlong = n;
			continue;
		}
		if (name[0] == '/' && (name[1] < '0' || name[1] > '9'))
			continue; /* the table of symbols */
		if (name[0] == '/') {
			skip = decimal(name + 1, sizeof h->ar_name - 1);
			skip = skip < nlong ? skip : nlong;
			name = names + skip;
			while (skip + len < nlong && name[len] != '/' && name[len] != '\n')
				len++;
		} else {
			while (len < sizeof h->ar_name && name[len] != '/')
				len++;
		}
		vec_push(x->a, &x->members, ((struct member){arena_strndup(x->a, name, len), file + at, n, n}));
	}
	return true;
}

/* ---- writing */
/* Appends the names of the symbols that the member defines; how many. */
static uint32_t
defined(const struct member *m, struct str *names)
{
	uint32_t count = 0;
	Elf64_Ehdr h;
	Elf64_Shdr s, text;
	Elf64_Sym y;

	if (m->head < sizeof h)
		return 0;
	memcpy(&h, m->data, sizeof h);
	if (memcmp(h.e_ident, ELFMAG, SELFMAG) != 0 || h.e_ident[EI_CLASS] != ELFCLASS64 ||
	    h.e_shoff + (uint64_t)h.e_shnum * sizeof s > m->head)
		return 0;
	for (int i = 0; i < h.e_shnum; i++) {
		memcpy(&s, m->data + h.e_shoff + (size_t)i * sizeof s, sizeof s);
		if (s.sh_type != SHT_SYMTAB || s.sh_link >= h.e_shnum)
			continue;
		memcpy(&text, m->data + h.e_shoff + s.sh_link * sizeof text, sizeof text);
		if (s.sh_offset + s.sh_size > m->head || text.sh_offset + text.sh_size > m->head)
			return count;
		for (size_t k = s.sh_info; k < s.sh_size / sizeof y; k++) {
			memcpy(&y, m->data + s.sh_offset + k * sizeof y, sizeof y);
			if (y.st_shndx == SHN_UNDEF || y.st_name >= text.sh_size)
				continue;
			str_addn(names, m->data + text.sh_offset + y.st_name, strlen(m->data + text.sh_offset + y.st_name) + 1);
			count++;
		}
	}
	return count;
}

static void
header(struct str *s, const char *name, const char *mode, size_t size)
{
	str_addf(s, "%-16s%-12s%-6s%-6s%-8s%-10zu%s", name, "0", "0", "0", mode, size, ARFMAG);
}

static void
even(struct str *s, size_t n)
{
	if (n % 2)
		str_add(s, "\n");
}

static void
big_endian(struct str *s, size_t v)
{
	unsigned char b[4] = {(unsigned char)(v >> 24), (unsigned char)(v >> 16), (unsigned char)(v >> 8), (unsigned char)v};

	str_addn(s, b, sizeof b);
}

/* Everything up to the bytes of the last member, the object: `head` of its `size` bytes
 * are at hand. */
bool
archive_begin(struct archive *x, FILE *f, const char *name, const char *object, size_t head, size_t size)
{
	struct str out = {0}, symbols = {0}, names = {0};
	uint32_t *count, total = 0;
	size_t at, map;
	bool ok;

	vec_push(x->a, &x->members, ((struct member){name, object, head, size}));
	count = arena_array(x->a, uint32_t, x->members.n);
	for (int i = 0; i < x->members.n; i++) {
		total += count[i] = defined(&x->members.v[i], &symbols);
		if (strlen(x->members.v[i].name) > 15)
			str_addf(&names, "%s/\n", x->members.v[i].name);
	}
	str_add(&out, ARMAG);
	map = 4 + 4 * (size_t)total + symbols.n;
	header(&out, "/", "0", map);
	at = out.n + map + map % 2 + (names.n ? sizeof(struct ar_hdr) + names.n + names.n % 2 : 0);
	big_endian(&out, total);
	for (int i = 0; i < x->members.n; i++) {
		for (uint32_t k = 0; k < count[i]; k++)
			big_endian(&out, at);
		at += sizeof(struct ar_hdr) + x->members.v[i].size + x->members.v[i].size % 2;
	}
	str_addn(&out, symbols.s ? symbols.s : "", symbols.n);
	even(&out, map);
	if (names.n) {
		header(&out, "//", "", names.n);
		str_addn(&out, names.s, names.n);
		even(&out, names.n);
	}
	at = 0; /* in names */
	for (int i = 0; i < x->members.n; i++) {
		const struct member *m = &x->members.v[i];
		bool is_long = strlen(m->name) > 15;
		char field[17];

		if (is_long)
			snprintf(field, sizeof field, "/%zu", at);
		else
			snprintf(field, sizeof field, "%s/", m->name);
		at += is_long ? strlen(m->name) + 2 : 0;
		header(&out, field, "644", m->size);
		if (i + 1 < x->members.n) {
			str_addn(&out, m->data, m->size);
			even(&out, m->size);
		}
	}
	ok = fwrite(out.s, 1, out.n, f) == out.n;
	str_free(&out);
	str_free(&symbols);
	str_free(&names);
	return ok;
}
