/* object -- a module to a file: object, assembly or LLVM text, with the constants
 * brought in by the assembler from a side file, never through LLVM's memory. */
#include "codegen/gen.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The blobs of one module: one side file, a symbol each. */
void
blobs_open(struct blobs *b, enum emit kind, const char *path)
{
	*b = (struct blobs){.kept = kind == EMIT_ASM || kind == EMIT_LLVM};
	str_add(&b->path, path);
	if (b->kept)
		str_add(&b->path, ".bin"); /* the text refers to it */
	else
		str_addf(&b->path, ".%ld.bin", (long)getpid());
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

/* `data` as a hidden constant called `symbol`; NULL where there is nothing. */
LLVMValueRef
blobs_add(struct blobs *b, struct module *m, const char *symbol, const void *data, int64_t bytes, struct diag *d)
{
	static const char zero[RT_ALIGN];
	size_t pad = (size_t)(-bytes & (RT_ALIGN - 1));
	LLVMValueRef g;
	struct str s = {0};

	if (!bytes)
		return NULL;
	if (!b->f && !(b->f = fopen(b->path.s, "wb"))) {
		b->failed = true;
		diag_io(d, LOC_FILE(b->path.s), "cannot write: %s", strerror(errno));
		return NULL;
	}
	if (fwrite(data, 1, (size_t)bytes, b->f) != (size_t)bytes || fwrite(zero, 1, pad, b->f) != pad) {
		b->failed = true;
		diag_io(d, LOC_FILE(b->path.s), "cannot write: %s", strerror(errno));
		return NULL;
	}
	str_addf(&s, ".section .rodata.retort,\"a\",@progbits\n.balign %d\n.hidden %s\n.globl %s\n.type %s,@object\n"
	             ".size %s,%" PRId64 "\n%s:\n.incbin ", RT_ALIGN, symbol, symbol, symbol, symbol, bytes, symbol);
	quoted(&s, b->path.s);
	str_addf(&s, ",%" PRId64 ",%" PRId64 "\n.text\n", b->at, bytes);
	LLVMAppendModuleInlineAsm(m->m, s.s, s.n);
	str_free(&s);
	b->at += bytes + (int64_t)pad;
	g = LLVMAddGlobal(m->m, LLVMArrayType2(m->i8, (uint64_t)bytes), symbol);
	LLVMSetVisibility(g, LLVMHiddenVisibility);
	LLVMSetGlobalConstant(g, 1);
	LLVMSetAlignment(g, RT_ALIGN);
	return g;
}

bool
blobs_ready(struct blobs *b, struct diag *d)
{
	if (b->f && fclose(b->f)) {
		b->f = NULL;
		return diag_io(d, LOC_FILE(b->path.s), "cannot write: %s", strerror(errno));
	}
	b->f = NULL;
	return !b->failed;
}

/* done: the module's file stands; the side file goes unless that refers to it. */
void
blobs_close(struct blobs *b, bool done)
{
	if (b->f)
		fclose(b->f);
	if (b->path.s && (!b->kept || !done) && (b->at || b->failed))
		unlink(b->path.s);
	str_free(&b->path);
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
module_write(struct module *m, enum emit kind, const char *path, struct diag *d)
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
	return write_buffer(path, module_object(m, kind == EMIT_ASM ? LLVMAssemblyFile : LLVMObjectFile), d);
}
