/* dispatch -- code for several x86-64 levels in one object.  The first call finds out
 * which level this CPU has (cpuid, and xgetbv for what the system saves) and notes it in
 * one word, atomically; all that find it write the same.  Neither a constructor nor an
 * ifunc is involved, so static libraries and programs without a loader work.  Below the
 * lowest level the lowest is called, as if it were the only one. */
#include "codegen/gen.h"

/* What a level asks for beyond the one below: bits of cpuid's leaf 1 ecx, leaf 7 ebx,
 * leaf 0x80000001 ecx, and of XCR0.  System V ABI for AMD64, table 3.1. */
enum { LEVELS = 4 };
#define BIT(n) (1u << (n))
static const struct { unsigned ecx1, ebx7, ecx81, xcr0; } need[LEVELS] = {
    [1] = {BIT(0) | BIT(9) | BIT(13) | BIT(19) | BIT(20) | BIT(23), 0, BIT(0), 0},
    [2] = {BIT(12) | BIT(22) | BIT(27) | BIT(28) | BIT(29), BIT(3) | BIT(5) | BIT(8), BIT(5), 0x6},
    [3] = {0, BIT(16) | BIT(17) | BIT(28) | BIT(30) | BIT(31), 0, 0xe6},
};
enum { OSXSAVE = 27 };

static LLVMValueRef
n32(struct module *m, unsigned v)
{
	return LLVMConstInt(m->i32, v, 0);
}

/* eax, ebx, ecx, edx of a leaf */
static void
cpuid(struct module *m, LLVMValueRef leaf, LLVMValueRef reg[4])
{
	LLVMTypeRef four = LLVMStructTypeInContext(m->c, (LLVMTypeRef[]){m->i32, m->i32, m->i32, m->i32}, 4, 0),
	            type = LLVMFunctionType(four, (LLVMTypeRef[]){m->i32, m->i32}, 2, 0);
	static char text[] = "cpuid", with[] = "={ax},={bx},={cx},={dx},{ax},{cx},~{dirflag},~{fpsr},~{flags}";
	LLVMValueRef code = LLVMGetInlineAsm(type, text, sizeof text - 1, with, sizeof with - 1, 1, 0, LLVMInlineAsmDialectATT, 0), r;

	r = LLVMBuildCall2(m->b, type, code, (LLVMValueRef[]){leaf, n32(m, 0)}, 2, "");
	for (unsigned i = 0; i < 4; i++)
		reg[i] = LLVMBuildExtractValue(m->b, r, i, "");
}

/* the low half of XCR0 */
static LLVMValueRef
xgetbv(struct module *m)
{
	LLVMTypeRef two = LLVMStructTypeInContext(m->c, (LLVMTypeRef[]){m->i32, m->i32}, 2, 0),
	            type = LLVMFunctionType(two, &m->i32, 1, 0);
	static char text[] = ".byte 0x0f, 0x01, 0xd0", with[] = "={ax},={dx},{cx},~{dirflag},~{fpsr},~{flags}";
	LLVMValueRef code = LLVMGetInlineAsm(type, text, sizeof text - 1, with, sizeof with - 1, 1, 0, LLVMInlineAsmDialectATT, 0), zero = n32(m, 0);

	return LLVMBuildExtractValue(m->b, LLVMBuildCall2(m->b, type, code, &zero, 1, ""), 0, "");
}

/* Has v all bits? */
static LLVMValueRef
all(struct module *m, LLVMValueRef v, unsigned bits)
{
	return LLVMBuildICmp(m->b, LLVMIntEQ, LLVMBuildAnd(m->b, v, n32(m, bits), ""), n32(m, bits), "");
}

/* The level that this CPU has; ends in another block than it began. */
static LLVMValueRef
detect(struct module *m, LLVMValueRef f)
{
	LLVMBasicBlockRef from, saved = LLVMAppendBasicBlockInContext(m->c, f, "saved"), known = LLVMAppendBasicBlockInContext(m->c, f, "known");
	LLVMValueRef r[4], ecx1, ebx7, ecx81, xcr0, has, ok, level = n32(m, 0), deep;

	cpuid(m, n32(m, 0), r);
	deep = LLVMBuildICmp(m->b, LLVMIntUGE, r[0], n32(m, 7), "");
	cpuid(m, n32(m, 7), r);
	ebx7 = LLVMBuildSelect(m->b, deep, r[1], n32(m, 0), "");
	cpuid(m, n32(m, 0x80000001), r);
	ecx81 = r[2];
	cpuid(m, n32(m, 1), r);
	ecx1 = r[2];
	from = LLVMGetInsertBlock(m->b);
	LLVMBuildCondBr(m->b, all(m, ecx1, BIT(OSXSAVE)), saved, known);
	LLVMPositionBuilderAtEnd(m->b, saved);
	has = xgetbv(m);
	LLVMBuildBr(m->b, known);
	LLVMPositionBuilderAtEnd(m->b, known);
	xcr0 = LLVMBuildPhi(m->b, m->i32, "xcr0");
	LLVMAddIncoming(xcr0, (LLVMValueRef[]){n32(m, 0), has}, (LLVMBasicBlockRef[]){from, saved}, 2);
	ok = LLVMConstInt(m->i1, 1, 0);
	for (int i = 1; i < LEVELS; i++) {
		ok = LLVMBuildAnd(m->b, ok, all(m, ecx1, need[i].ecx1), "");
		ok = LLVMBuildAnd(m->b, ok, all(m, ebx7, need[i].ebx7), "");
		ok = LLVMBuildAnd(m->b, ok, all(m, ecx81, need[i].ecx81), "");
		ok = LLVMBuildAnd(m->b, ok, all(m, xcr0, need[i].xcr0), "");
		level = LLVMBuildAdd(m->b, level, LLVMBuildZExt(m->b, ok, m->i32, ""), "");
	}
	return level;
}

/* int which(void): the last variant whose level this CPU has, else the first. */
static LLVMValueRef
which(struct module *m, const struct variant *v, int n)
{
	LLVMValueRef f = LLVMGetNamedFunction(m->m, "retort_cpu"), word, now, level, index = n32(m, 0);
	LLVMBasicBlockRef known, find;

	if (f)
		return f;
	f = module_function(m, "retort_cpu", LLVMFunctionType(m->i32, NULL, 0, 0), false);
	word = LLVMAddGlobal(m->m, m->i32, "retort_cpu_found"); /* 0: not yet; index + 1 */
	LLVMSetInitializer(word, n32(m, 0));
	LLVMSetLinkage(word, LLVMInternalLinkage);
	LLVMPositionBuilderAtEnd(m->b, LLVMAppendBasicBlockInContext(m->c, f, "entry"));
	known = LLVMAppendBasicBlockInContext(m->c, f, "found");
	find = LLVMAppendBasicBlockInContext(m->c, f, "find");
	now = LLVMBuildLoad2(m->b, m->i32, word, "");
	LLVMSetOrdering(now, LLVMAtomicOrderingMonotonic);
	LLVMSetAlignment(now, 4);
	LLVMBuildCondBr(m->b, LLVMBuildICmp(m->b, LLVMIntNE, now, n32(m, 0), ""), known, find);
	LLVMPositionBuilderAtEnd(m->b, known);
	LLVMBuildRet(m->b, LLVMBuildSub(m->b, now, n32(m, 1), ""));
	LLVMPositionBuilderAtEnd(m->b, find);
	level = detect(m, f);
	for (int i = 1; i < n; i++)
		index = LLVMBuildAdd(m->b, index, LLVMBuildZExt(m->b,
		    LLVMBuildICmp(m->b, LLVMIntUGE, level, n32(m, (unsigned)v[i].t->level), ""), m->i32, ""), "");
	now = LLVMBuildStore(m->b, LLVMBuildAdd(m->b, index, n32(m, 1), ""), word);
	LLVMSetOrdering(now, LLVMAtomicOrderingMonotonic);
	LLVMSetAlignment(now, 4);
	LLVMBuildRet(m->b, index);
	return f;
}

/* name: calls fn[k] of the variant for this CPU with its own arguments. */
void
dispatch(struct module *m, const struct variant *v, int n, const char *name, LLVMValueRef *fn)
{
	LLVMTypeRef type = LLVMGlobalGetValueType(fn[0]), which_type = LLVMFunctionType(m->i32, NULL, 0, 0);
	LLVMValueRef choose = which(m, v, n), f = module_function(m, name, type, true), sw, r;
	LLVMValueRef *arg = arena_array(m->a, LLVMValueRef, LLVMCountParams(f) + 1);
	LLVMBasicBlockRef entry = LLVMAppendBasicBlockInContext(m->c, f, "entry"), *to = arena_array(m->a, LLVMBasicBlockRef, n + 1);

	LLVMGetParams(f, arg);
	for (int i = 0; i < n; i++) {
		to[i] = LLVMAppendBasicBlockInContext(m->c, f, v[i].t->cpu);
		LLVMPositionBuilderAtEnd(m->b, to[i]);
		r = LLVMBuildCall2(m->b, type, fn[i], arg, LLVMCountParams(f), "");
		LLVMSetTailCall(r, 1);
		LLVMBuildRet(m->b, r);
	}
	LLVMPositionBuilderAtEnd(m->b, entry);
	sw = LLVMBuildSwitch(m->b, LLVMBuildCall2(m->b, which_type, choose, NULL, 0, ""), to[0], (unsigned)n);
	for (int i = 1; i < n; i++)
		LLVMAddCase(sw, n32(m, (unsigned)i), to[i]);
}
