/* object -- a module to a file: object, assembly or LLVM text.  The constants never
 * go through LLVM: the assembler makes an empty section and symbols in it, and the
 * section's content is appended to the finished ELF file, whose section header is
 * set to it.  Assembly and LLVM text bring it in from a side file instead. */
#include "codegen/gen.h"

#include "ir/layout.h"

#include <elf.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SECTION ".rodata.retort"
enum { HUGE_BYTES = 2 << 20 };

void
blobs_open(struct blobs *b, enum emit kind, const char *path)
{
	*b = (struct blobs){.kept = kind == EMIT_ASM || kind == EMIT_LLVM, .linked = kind == EMIT_EXE || kind == EMIT_SHARED,
	    .a = arena_create()};
	str_add(&b->path, path);
	str_add(&b->path, ".bin");
}

static void
quoted(struct str *s, const char *path)
{
	str_add(s, "\"");
	for (; *path; path++)
		if ((unsigned char)*path < ' ')
			str_addf(s, "\\%03o", (unsigned char)*path);
		else
			str_addf(s, "%s%c", *path == '"' || *path == '\\' ? "\\" : "", *path);
	str_add(s, "\"");
}

static int64_t
padded(int64_t bytes)
{
	return (bytes + RT_ALIGN - 1) / RT_ALIGN * RT_ALIGN;
}

/* `symbol` for the bytes from at to the end so far */
static LLVMValueRef
symbol_at(struct blobs *b, struct module *m, const char *symbol, int64_t at, int64_t bytes)
{
	LLVMValueRef g;

	if (!bytes)
		return NULL;
	str_addf(&b->symbols, ".hidden %s\n.globl %s\n.type %s,@object\n.size %s,%" PRId64 "\n.set %s,.Lretort_data+%" PRId64 "\n",
	    symbol, symbol, symbol, symbol, bytes, symbol, at);
	g = LLVMAddGlobal(m->m, LLVMArrayType2(m->i8, (uint64_t)bytes), symbol);
	LLVMSetVisibility(g, LLVMHiddenVisibility);
	LLVMSetGlobalConstant(g, 1);
	LLVMSetAlignment(g, RT_ALIGN);
	return g;
}

LLVMValueRef
blobs_add(struct blobs *b, struct module *m, const char *symbol, const void *data, int64_t bytes)
{
	int64_t at = b->at;

	vec_push(b->a, &b->pieces, ((struct piece){.at = at, .bytes = bytes, .data = data}));
	b->at += padded(bytes);
	return symbol_at(b, m, symbol, at, bytes);
}

static struct piece
piece_of(const struct buffer *x, int64_t at)
{
	return (struct piece){.at = at, .bytes = x->bytes, .data = x->data, .pack = x->pack ? x : NULL};
}

static int
by_place(const void *a, const void *b)
{
	const struct piece *x = a, *y = b;

	return (x->at > y->at) - (x->at < y->at);
}

static LLVMValueRef
space_until(struct blobs *b, struct module *m, const char *symbol, const struct program *p, enum space space, int64_t bytes)
{
	int64_t at = b->at;
	int first = b->pieces.n;

	for (int i = 0; i < p->buffers.n; i++) {
		const struct buffer *x = p->buffers.v[i];

		if (x->space != space || !x->data || x->alias || !x->bytes || x->offset >= bytes)
			continue;
		if (x->offset < 0 || x->bytes > bytes - x->offset)
			die("buffer %d lies outside its space", x->id);
		vec_push(b->a, &b->pieces, piece_of(x, at + x->offset));
	}
	if (b->pieces.n > first)
		qsort(b->pieces.v + first, (size_t)(b->pieces.n - first), sizeof *b->pieces.v, by_place);
	b->at += padded(bytes);
	return symbol_at(b, m, symbol, at, bytes);
}

LLVMValueRef
blobs_space(struct blobs *b, struct module *m, const char *symbol, const struct program *p, enum space space)
{
	return space_until(b, m, symbol, p, space, space == SPACE_CONST ? p->const_bytes : p->state_bytes);
}

LLVMValueRef
blobs_states(struct blobs *b, struct module *m, const char *symbol, const struct program *p, int64_t *bytes)
{
	*bytes = 0;
	for (int i = 0; i < p->states.n; i++) {
		const struct buffer *x = p->states.v[i].buffer;
		const char *c = x->data;

		if (x->bytes && (c[0] || memcmp(c, c + 1, (size_t)x->bytes - 1) != 0) && x->offset + x->bytes > *bytes)
			*bytes = x->offset + x->bytes;
	}
	return space_until(b, m, symbol, p, SPACE_STATE, *bytes);
}

/* ---- sharing */
static uint64_t
mix(uint64_t h, const void *p, size_t n)
{
	const unsigned char *c = p;

	for (size_t i = 0; i < n; i++)
		h = (h ^ c[i]) * 0x100000001b3u;
	return h;
}

/* Of large data a few places only: equal bytes are compared anyway. */
static uint64_t
piece_hash(const struct piece *x, size_t from)
{
	enum { PIECE = 128, PLACES = 16 };
	uint64_t h = mix(0xcbf29ce484222325u, &x->bytes, sizeof x->bytes);
	const char *bytes = x->data;

	if (from <= (size_t)PIECE * PLACES)
		return mix(h, bytes, from);
	for (size_t i = 0; i < PLACES; i++)
		h = mix(h, bytes + (from - PIECE) / (PLACES - 1) * i, PIECE);
	return h;
}

/* bytes that the piece is made from */
static size_t
source_bytes(const struct piece *x)
{
	const struct value *v = x->pack ? x->pack->value : NULL;

	return v ? dtype_bytes(x->pack->dtype, dims_count(v->rank, v->dims)) : (size_t)x->bytes;
}

static bool
same_piece(const struct piece *a, const struct piece *b)
{
	if (a->hash != b->hash || a->bytes != b->bytes || !a->pack != !b->pack)
		return false;
	if (a->pack && (!layout_equal(a->pack->pack, b->pack->pack) || a->pack->dtype != b->pack->dtype ||
	        !dims_equal(a->pack->value->rank, a->pack->value->dims, b->pack->value->rank, b->pack->value->dims)))
		return false;
	return a->data == b->data || memcmp(a->data, b->data, source_bytes(a)) == 0;
}

const int64_t *
blobs_share(struct blobs *b, const struct program *p, int64_t *end)
{
	int64_t *place = arena_array(b->a, int64_t, p->buffers.n + 1);

	*end = 0;
	for (int i = 0; i < p->buffers.n; i++) {
		const struct buffer *x = p->buffers.v[i];
		struct piece n;
		int k;

		if (x->space != SPACE_CONST || x->alias || !x->data || !x->bytes)
			continue;
		n = piece_of(x, b->at);
		n.hash = piece_hash(&n, source_bytes(&n));
		for (k = b->bucket[n.hash % BLOB_BUCKETS]; k && !same_piece(&b->pieces.v[k - 1], &n); k = b->pieces.v[k - 1].next)
			;
		if (k) {
			n.at = b->pieces.v[k - 1].at;
		} else {
			n.next = b->bucket[n.hash % BLOB_BUCKETS];
			vec_push(b->a, &b->pieces, n);
			b->bucket[n.hash % BLOB_BUCKETS] = b->pieces.n;
			b->at += padded(n.bytes);
		}
		place[x->id] = n.at;
		if (n.at + padded(n.bytes) > *end)
			*end = n.at + padded(n.bytes);
	}
	for (int i = 0; i < p->buffers.n; i++) {
		const struct buffer *x = p->buffers.v[i], *h = x;

		while (h->alias)
			h = h->alias;
		if (x->space == SPACE_CONST && h != x)
			place[x->id] = place[h->id] + (x->offset - h->offset);
	}
	return place;
}

LLVMValueRef
blobs_shared(struct blobs *b, struct module *m, const char *symbol)
{
	return symbol_at(b, m, symbol, 0, b->at);
}

/* ---- writing */
static bool
zeros(FILE *f, int64_t n)
{
	static const char zero[4096];

	for (; n > 0; n -= (int64_t)sizeof zero) {
		size_t part = n < (int64_t)sizeof zero ? (size_t)n : sizeof zero;

		if (fwrite(zero, 1, part, f) != part)
			return false;
	}
	return true;
}

static bool
write_pieces(const struct blobs *b, FILE *f)
{
	int64_t at = 0, most = 0;
	char *packed;
	bool ok = true;

	for (int i = 0; i < b->pieces.n; i++)
		if (b->pieces.v[i].pack && b->pieces.v[i].bytes > most)
			most = b->pieces.v[i].bytes;
	packed = xmalloc((size_t)most + 1);
	for (int i = 0; ok && i < b->pieces.n; i++) {
		const struct piece *x = &b->pieces.v[i];
		const void *data = x->data;

		if (x->pack) {
			buffer_content(x->pack, packed);
			data = packed;
		}
		ok = zeros(f, x->at - at) && fwrite(data, 1, (size_t)x->bytes, f) == (size_t)x->bytes;
		at = x->at + x->bytes;
	}
	free(packed);
	return ok && zeros(f, b->at - at);
}

static bool
write_error(const char *path, struct diag *d)
{
	return diag_io(d, LOC_FILE(path), "cannot write: %s", strerror(errno));
}

/* The section and its symbols; the side file where one is kept. */
bool
blobs_ready(struct blobs *b, struct module *m, struct diag *d)
{
	struct str s = {0};
	bool ok = true;
	FILE *f;

	if (!b->at)
		return true;
	/* pages of 2 MB, where the page cache has them, map and walk faster */
	int align = b->linked && b->at >= 4 * HUGE_BYTES ? HUGE_BYTES : RT_ALIGN;
	str_addf(&s, ".section " SECTION ",\"a\",@progbits\n.balign %d\n.Lretort_data:\n", align);
	if (b->kept) {
		str_add(&s, ".incbin ");
		quoted(&s, b->path.s);
		str_add(&s, "\n");
		f = fopen(b->path.s, "wb");
		ok = f && write_pieces(b, f);
		if (f && fclose(f))
			ok = false;
		if (!ok)
			write_error(b->path.s, d);
	}
	str_addn(&s, b->symbols.s, b->symbols.n);
	str_add(&s, ".text\n");
	LLVMAppendModuleInlineAsm(m->m, s.s, s.n);
	str_free(&s);
	return ok;
}

/* done: the module's file stands; the side file goes unless that refers to it. */
void
blobs_close(struct blobs *b, bool done)
{
	if (b->kept && !done && b->at)
		unlink(b->path.s);
	str_free(&b->path);
	str_free(&b->symbols);
	arena_destroy(b->a);
}

/* The object's section header for the constants gets their place in the file. */
static void
set_section(char *object, size_t size, int64_t at, int64_t bytes)
{
	Elf64_Ehdr h;
	Elf64_Shdr names, s;

	require(size >= sizeof h);
	memcpy(&h, object, sizeof h);
	require(memcmp(h.e_ident, ELFMAG, SELFMAG) == 0 && h.e_ident[EI_CLASS] == ELFCLASS64 && h.e_shentsize == sizeof s && h.e_shnum);
	memcpy(&names, object + h.e_shoff + (size_t)h.e_shstrndx * sizeof s, sizeof names);
	for (int i = 0; i < h.e_shnum; i++) {
		memcpy(&s, object + h.e_shoff + (size_t)i * sizeof s, sizeof s);
		if (strcmp(object + names.sh_offset + s.sh_name, SECTION) == 0) {
			s.sh_offset = (uint64_t)at;
			s.sh_size = (uint64_t)bytes;
			memcpy(object + h.e_shoff + (size_t)i * sizeof s, &s, sizeof s);
			return;
		}
	}
	die("the object has no section " SECTION);
}

/* With the constants behind what LLVM made; in lib, if there is one. */
static bool
write_object(LLVMMemoryBufferRef buf, const struct blobs *b, struct archive *lib, const char *name, const char *path, struct diag *d)
{
	size_t size = LLVMGetBufferSize(buf), at = b->at ? (size_t)padded((int64_t)size) : size, full = at + (size_t)b->at;
	char *object = xmalloc(size + 1);
	bool ok;
	FILE *f;

	memcpy(object, LLVMGetBufferStart(buf), size);
	LLVMDisposeMemoryBuffer(buf);
	if (b->at)
		set_section(object, size, (int64_t)at, b->at);
	f = fopen(path, "wb");
	ok = f && (!lib || archive_begin(lib, f, name, object, size, full)) && fwrite(object, 1, size, f) == size &&
	     zeros(f, (int64_t)(at - size)) && write_pieces(b, f) && zeros(f, lib ? (int64_t)(full % 2) : 0);
	if (f && fclose(f))
		ok = false;
	free(object);
	if (!ok) {
		write_error(path, d);
		unlink(path);
	}
	return ok;
}

static bool
write_buffer(const char *path, LLVMMemoryBufferRef buf, struct diag *d)
{
	bool ok = file_write(d, path, LLVMGetBufferStart(buf), LLVMGetBufferSize(buf));

	LLVMDisposeMemoryBuffer(buf);
	return ok;
}

/* The finished module as what `kind` says; linked kinds come as their object. */
bool
module_write(struct module *m, const struct blobs *b, enum emit kind, struct archive *lib, const char *name, const char *path,
    struct diag *d)
{
	char *text;
	bool ok;

	module_finish(m);
	if (kind == EMIT_LLVM) {
		text = LLVMPrintModuleToString(m->m);
		ok = file_write(d, path, text, strlen(text));
		LLVMDisposeMessage(text);
		return ok;
	}
	if (kind == EMIT_ASM)
		return write_buffer(path, module_object(m, LLVMAssemblyFile), d);
	return write_object(module_object(m, LLVMObjectFile), b, lib, name, path, d);
}
