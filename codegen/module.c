/* module -- one LLVM module: kernels shared by their text, the dispatcher of every
 * program, and the tables of runtime/abi.h as constants. */
#include "codegen/gen.h"
#include "host/host.h"

#include "ir/layout.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include <llvm-c/Analysis.h>
#include <llvm-c/Error.h>
#include <llvm-c/Transforms/PassBuilder.h>

_Noreturn void
llvm_die(const char *what, char *message)
{
	die("%s: %s", what, message ? message : "(no message)");
}

struct module *
module_open(struct target *t, const char *name)
{
	struct module *m = xcalloc(1, sizeof *m);
	LLVMTargetDataRef dl = LLVMCreateTargetDataLayout(t->tm);

	m->t = m->base = t;
	m->a = arena_create();
	m->c = LLVMContextCreate();
	m->m = LLVMModuleCreateWithNameInContext(name, m->c);
	m->b = LLVMCreateBuilderInContext(m->c);
	m->kernels = map_create(m->a);
	LLVMSetTarget(m->m, t->triple);
	LLVMSetModuleDataLayout(m->m, dl);
	LLVMDisposeTargetData(dl);
	m->void_ = LLVMVoidTypeInContext(m->c);
	m->i1 = LLVMInt1TypeInContext(m->c);
	m->i8 = LLVMInt8TypeInContext(m->c);
	m->i16 = LLVMInt16TypeInContext(m->c);
	m->i32 = LLVMInt32TypeInContext(m->c);
	m->i64 = LLVMInt64TypeInContext(m->c);
	m->f16 = LLVMHalfTypeInContext(m->c);
	m->f32 = LLVMFloatTypeInContext(m->c);
	m->f64 = LLVMDoubleTypeInContext(m->c);
	m->ptr = LLVMPointerTypeInContext(m->c, 0);
	m->kernel_type = LLVMFunctionType(m->void_, (LLVMTypeRef[]){m->ptr, m->ptr, m->i64, m->i64, m->i64}, 5, 0);
	m->call_type = LLVMFunctionType(m->void_, (LLVMTypeRef[]){m->i32, m->ptr, m->ptr, m->i64, m->i64, m->i64}, 6, 0);
	return m;
}

void
module_close(struct module *m)
{
	if (!m)
		return;
	str_free(&m->text);
	LLVMDisposeBuilder(m->b);
	LLVMDisposeModule(m->m);
	LLVMContextDispose(m->c);
	arena_destroy(m->a);
	free(m);
}

void
module_retarget(struct module *m, struct target *t)
{
	m->t = t;
	m->kernels = map_create(m->a);
}

static void
attribute(struct module *m, LLVMValueRef f, const char *key, const char *value)
{
	LLVMAttributeRef a = LLVMCreateStringAttribute(m->c, key, (unsigned)strlen(key), value, (unsigned)strlen(value));

	LLVMAddAttributeAtIndex(f, LLVMAttributeFunctionIndex, a);
}

LLVMValueRef
module_function(struct module *m, const char *name, LLVMTypeRef type, bool exported)
{
	LLVMValueRef f = LLVMAddFunction(m->m, name, type);
	unsigned nounwind = LLVMGetEnumAttributeKindForName("nounwind", 8);
	char bits[16];

	snprintf(bits, sizeof bits, "%d", m->t->machine.vector_bits);
	attribute(m, f, "prefer-vector-width", bits);
	if (m->t->x86)
		attribute(m, f, "min-legal-vector-width", bits);
	if (m->t != m->base) {
		attribute(m, f, "target-cpu", m->t->cpu);
		attribute(m, f, "target-features", m->t->features);
	}
	attribute(m, f, "no-builtins", ""); /* no memset or memcpy out of our loops */
	LLVMAddAttributeAtIndex(f, LLVMAttributeFunctionIndex, LLVMCreateEnumAttribute(m->c, nounwind, 0));
	if (!exported)
		LLVMSetLinkage(f, LLVMInternalLinkage);
	return f;
}

/* ---- constants */
LLVMValueRef
module_array(struct module *m, LLVMTypeRef t, LLVMValueRef *v, int n, const char *name)
{
	LLVMValueRef g;

	if (n == 0)
		return LLVMConstNull(m->ptr);
	g = LLVMAddGlobal(m->m, LLVMArrayType2(t, (uint64_t)n), name);
	LLVMSetInitializer(g, LLVMConstArray2(t, v, (uint64_t)n));
	LLVMSetLinkage(g, LLVMPrivateLinkage);
	LLVMSetGlobalConstant(g, 1);
	return g;
}

LLVMValueRef
module_string(struct module *m, const char *s)
{
	LLVMValueRef v = LLVMConstStringInContext2(m->c, s, strlen(s), 0), g = LLVMAddGlobal(m->m, LLVMTypeOf(v), "str");

	LLVMSetInitializer(g, v);
	LLVMSetLinkage(g, LLVMPrivateLinkage);
	LLVMSetGlobalConstant(g, 1);
	LLVMSetUnnamedAddress(g, LLVMGlobalUnnamedAddr);
	return g;
}

LLVMValueRef
module_i64s(struct module *m, const int64_t *v, int n, const char *name)
{
	LLVMValueRef *c = arena_array(m->a, LLVMValueRef, n + 1);

	for (int i = 0; i < n; i++)
		c[i] = LLVMConstInt(m->i64, (unsigned long long)v[i], 1);
	return module_array(m, m->i64, c, n, name);
}

/* ---- symbolic dims */
/* The value of a dim, as code. */
struct dim_code { struct module *m; LLVMBuilderRef b; LLVMValueRef sym; };

static void *
dim_number(void *ctx, int64_t v)
{
	struct dim_code *d = ctx;

	return LLVMConstInt(d->m->i64, (unsigned long long)v, 1);
}

static void *
dim_symbol_value(void *ctx, int64_t handle)
{
	struct dim_code *d = ctx;
	const struct program *p = d->m->program;
	LLVMValueRef at;
	int i = 0;

	while (i < p->nsym && p->sym[i] != handle)
		i++;
	if (i == p->nsym)
		die("program %s has no symbol %s", p->name, dim_text(p->graph, handle));
	at = LLVMConstInt(d->m->i64, (unsigned)i, 0);
	return LLVMBuildLoad2(d->b, d->m->i64, LLVMBuildInBoundsGEP2(d->b, d->m->i64, d->sym, &at, 1, ""), "dim");
}

/* All are >= 0 but the differences, which a max with 0 takes. */
static void *
dim_two(void *ctx, char op, void *x, void *y)
{
	struct dim_code *d = ctx;
	LLVMValueRef one = LLVMConstInt(d->m->i64, 1, 0), less;

	switch (op) {
	case '+':
		return LLVMBuildAdd(d->b, x, y, "");
	case '-':
		return LLVMBuildSub(d->b, x, y, "");
	case '*':
		return LLVMBuildMul(d->b, x, y, "");
	case '/':
		less = LLVMBuildICmp(d->b, LLVMIntSLT, y, one, "");
		return LLVMBuildSDiv(d->b, x, LLVMBuildSelect(d->b, less, one, y, ""), "");
	default:
		less = LLVMBuildICmp(d->b, LLVMIntSLT, x, y, "");
		return op == '<' ? LLVMBuildSelect(d->b, less, x, y, "") : LLVMBuildSelect(d->b, less, y, x, "");
	}
}

LLVMValueRef
module_dim(struct module *m, LLVMBuilderRef b, LLVMValueRef sym, int64_t dim)
{
	struct dim_code d = {m, b, sym};
	struct dim_algebra a = {&d, dim_number, dim_symbol_value, dim_two};

	return dim_build(m->program->graph, dim, &a);
}

/* NAME: what rt_program.dims says, or NULL where nothing is symbolic. */
LLVMValueRef
module_dims(struct module *m, const struct program *p, const char *name)
{
	LLVMTypeRef t = LLVMFunctionType(m->void_, (LLVMTypeRef[]){m->ptr, m->ptr}, 2, 0);
	LLVMValueRef f;
	int n = 0;

	if (!p->nsym)
		return LLVMConstNull(m->ptr);
	f = module_function(m, name, t, false);
	LLVMPositionBuilderAtEnd(m->b, LLVMAppendBasicBlockInContext(m->c, f, ""));
	for (int i = 0; i < p->inputs.n + p->outputs.n; i++) {
		const struct value *v = i < p->inputs.n ? p->inputs.v[i].value : p->outputs.v[i - p->inputs.n].value;

		for (int k = 0; k < v->rank; k++) {
			LLVMValueRef at = LLVMConstInt(m->i64, (unsigned)n++, 0);

			LLVMBuildStore(m->b, module_dim(m, m->b, LLVMGetParam(f, 0), v->dims[k]),
			    LLVMBuildInBoundsGEP2(m->b, m->i64, LLVMGetParam(f, 1), &at, 1, ""));
		}
	}
	LLVMBuildRetVoid(m->b);
	return f;
}

/* ---- calls */
/* Kernels often differ only in where in a buffer they begin (the steps of an
 * unrolled recurrence).  The constant of a buffer's first access moves into the
 * call's pointer.  Every address constant of the kernel, add to all of buffer b. */
static void
shift_body(struct body *b, const int64_t *add, int64_t *first, bool *seen)
{
	for (int i = 0; i < b->s.n; i++) {
		struct stmt *s = b->s.v[i];
		struct { struct affine *at; int buf; } use[2] = {{NULL, 0}, {NULL, 0}};

		switch (s->kind) {
		case S_FOR:
			shift_body(&s->body, add, first, seen);
			break;
		case S_LOAD: case S_STORE:
			use[0].at = &s->index;
			use[0].buf = s->buf;
			break;
		case S_TILE:
			use[0].at = &s->tile->a.index;
			use[0].buf = s->tile->a.buf;
			use[1].at = &s->tile->b.index;
			use[1].buf = s->tile->b.buf;
			break;
		default:
			break;
		}
		for (int j = 0; j < 2 && use[j].at; j++) {
			if (first && !seen[use[j].buf]) {
				first[use[j].buf] = use[j].at->c;
				seen[use[j].buf] = true;
			}
			if (add)
				use[j].at->c += add[use[j].buf];
		}
		if (s->kind == S_TILE)
			shift_body(&s->tile->epilogue, add, first, seen);
	}
}

/* offset[b]: elements to add to argument b for the function returned */
static LLVMValueRef
shared_kernel(struct module *m, struct kernel *k, int64_t **offset)
{
	int64_t *back = arena_array(m->a, int64_t, k->nbuf + 1);
	bool *seen = arena_array(m->a, bool, k->nbuf + 1);
	struct str s = {0};
	LLVMValueRef f;
	char name[80];
	int n = 0;

	*offset = arena_array(m->a, int64_t, k->nbuf + 1);
	shift_body(&k->body, NULL, *offset, seen);
	for (int i = 0; i < k->nbuf; i++)
		back[i] = -(*offset)[i];
	shift_body(&k->body, back, NULL, NULL);
	/* handles of symbols mean something within one graph only */
	if (m->program->nsym)
		str_addf(&s, "%p\n", (const void *)m->program);
	kernel_print(k, &s);
	f = map_get(m->kernels, s.s);
	if (!f) {
		for (const char *p = k->name; *p && n < 60; p++)
			name[n++] = (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') || (*p >= '0' && *p <= '9') ? *p : '_';
		snprintf(name + n, sizeof name - (size_t)n, ".%d", m->nkernel++);
		f = kernel_emit(m, k, name);
		map_put(m->kernels, arena_strdup(m->a, s.s), f);
	}
	str_free(&s);
	shift_body(&k->body, *offset, NULL, NULL);
	return f;
}

/* Where a buffer is, `skip` elements into it: base[space] + offset, or the pointer
 * of the input or output. */
static LLVMValueRef
buffer_pointer(struct module *m, LLVMValueRef base, LLVMValueRef sym, const struct buffer *b, int64_t skip)
{
	int64_t bytes = skip < 0 ? -(int64_t)dtype_bytes(b->dtype, -skip) : (int64_t)dtype_bytes(b->dtype, skip);

	if (b->space == SPACE_SYM) {
		LLVMValueRef i = LLVMConstInt(m->i64, (unsigned long long)b->offset, 0);

		return LLVMBuildInBoundsGEP2(m->b, m->i64, sym, &i, 1, "");
	}
	int64_t slot = b->space == SPACE_IO ? 3 + b->offset : b->space == SPACE_WORK ? 0 : b->space == SPACE_CONST ? 1 : 2;
	LLVMValueRef at = LLVMConstInt(m->i64, (unsigned long long)slot, 0), p, off;

	p = LLVMBuildLoad2(m->b, m->ptr, LLVMBuildInBoundsGEP2(m->b, m->ptr, base, &at, 1, ""), "");
	if (b->space == SPACE_CONST && m->const_at)
		bytes += m->const_at[b->id];
	else if (b->space != SPACE_IO)
		bytes += b->offset;
	if (b->skip) {
		LLVMValueRef rows = dim_const(b->skip) ? LLVMConstInt(m->i64, (unsigned long long)b->skip, 0)
		                                       : module_dim(m, m->b, sym, b->skip);

		off = LLVMBuildMul(m->b, rows, LLVMConstInt(m->i64, (unsigned long long)b->skip_bytes, 0), "");
		p = LLVMBuildGEP2(m->b, m->i8, p, &off, 1, "");
	}
	if (!bytes)
		return p;
	off = LLVMConstInt(m->i64, (unsigned long long)bytes, 1);
	return LLVMBuildGEP2(m->b, m->i8, p, &off, 1, "");
}

/* rt_sgemm for batch items begin..end */
static void
blas_call(struct module *m, LLVMValueRef f, const struct call *c, LLVMValueRef *arg, LLVMBasicBlockRef done)
{
	const struct blas_call *s = c->blas;
	LLVMTypeRef t = LLVMFunctionType(m->void_, (LLVMTypeRef[]){m->i32, m->i32, m->i64, m->i64, m->i64,
	    m->ptr, m->i64, m->ptr, m->i64, m->ptr, m->i64}, 11, 0);
	LLVMValueRef sgemm = LLVMGetNamedFunction(m->m, "rt_sgemm"), begin = LLVMGetParam(f, 3), i, next, p[3];
	LLVMBasicBlockRef pre = LLVMGetInsertBlock(m->b), head = LLVMAppendBasicBlockInContext(m->c, f, "gemm"),
	    body = LLVMAppendBasicBlockInContext(m->c, f, "item");
	int64_t stride[3] = {s->sa, s->sb, s->sc};
#define N(v) LLVMConstInt(m->i64, (unsigned long long)(v), 0)

	if (!sgemm)
		sgemm = LLVMAddFunction(m->m, "rt_sgemm", t);
	LLVMBuildBr(m->b, head);
	LLVMPositionBuilderAtEnd(m->b, head);
	i = LLVMBuildPhi(m->b, m->i64, "");
	LLVMBuildCondBr(m->b, LLVMBuildICmp(m->b, LLVMIntSLT, i, LLVMGetParam(f, 4), ""), body, done);
	LLVMPositionBuilderAtEnd(m->b, body);
	for (int k = 0; k < 3; k++) {
		LLVMValueRef off = LLVMBuildMul(m->b, i, N(stride[k]), "");

		p[k] = LLVMBuildGEP2(m->b, m->f32, arg[k], &off, 1, "");
	}
	LLVMBuildCall2(m->b, t, sgemm, (LLVMValueRef[]){LLVMConstInt(m->i32, s->ta, 0), LLVMConstInt(m->i32, s->tb, 0),
	    N(s->m), N(s->n), N(s->k), p[0], N(s->lda), p[1], N(s->ldb), p[2], N(s->ldc)}, 11, "");
	next = LLVMBuildAdd(m->b, i, N(1), "");
	LLVMBuildBr(m->b, head);
	LLVMAddIncoming(i, (LLVMValueRef[]){begin, next}, (LLVMBasicBlockRef[]){pre, body}, 2);
#undef N
}

/* ---- host calls: an array of struct rt_operand on the stack */
static LLVMTypeRef
operand_type(struct module *m)
{
	return LLVMStructTypeInContext(m->c, (LLVMTypeRef[]){m->ptr, m->ptr, m->i32, m->i32}, 4, 0);
}

static void
host_call(struct module *m, LLVMValueRef f, const struct call *c, LLVMValueRef base, LLVMValueRef operands)
{
	LLVMTypeRef t = LLVMFunctionType(m->void_, (LLVMTypeRef[]){m->ptr, m->ptr}, 2, 0), ot = operand_type(m);
	LLVMValueRef fn = LLVMGetNamedFunction(m->m, c->host->symbol), sym = LLVMGetParam(f, 2), room;

	if (!fn)
		fn = LLVMAddFunction(m->m, c->host->symbol, t);
	for (int i = 0; i < c->host->narg; i++) {
		const struct host_arg *a = &c->host->arg[i];
		LLVMValueRef at = LLVMConstInt(m->i64, (unsigned)i, 0), o, v[4];

		o = LLVMBuildInBoundsGEP2(m->b, ot, operands, &at, 1, "");
		v[0] = a->buf < 0 ? LLVMConstNull(m->ptr) : buffer_pointer(m, base, sym, c->arg[a->buf], 0);
		v[1] = a->buf < 0 ? LLVMConstNull(m->ptr) : module_i64s(m, a->dims, a->rank, "dims");
		v[2] = LLVMConstInt(m->i32, a->buf < 0 ? 0 : (unsigned)dtype_info[a->dtype].onnx, 0);
		v[3] = LLVMConstInt(m->i32, (unsigned)a->rank, 0);
		for (unsigned k = 0; k < 4; k++)
			LLVMBuildStore(m->b, v[k], LLVMBuildStructGEP2(m->b, ot, o, k, ""));
	}
	room = buffer_pointer(m, base, sym, c->arg[c->host->room], 0);
	LLVMBuildCall2(m->b, t, fn, (LLVMValueRef[]){room, operands}, 2, "");
}

LLVMValueRef
module_call(struct module *m, const struct program *p, const char *symbol, bool exported)
{
	LLVMValueRef f = module_function(m, symbol, m->call_type, exported), sw, base = LLVMGetParam(f, 1), frame, operands = NULL, *kernel;
	int64_t **offset = arena_array(m->a, int64_t *, p->calls.n + 1);
	LLVMBasicBlockRef entry = LLVMAppendBasicBlockInContext(m->c, f, "entry"), done;
	int most = 1, host = 0;

	m->program = p;
	kernel = arena_array(m->a, LLVMValueRef, p->calls.n + 1);
	for (int i = 0; i < p->calls.n; i++)
		if (p->calls.v[i].host) {
			if (p->calls.v[i].host->narg > host)
				host = p->calls.v[i].host->narg;
		} else if (!p->calls.v[i].provider_blas) {
			kernel[i] = shared_kernel(m, p->calls.v[i].kernel, &offset[i]);
			if (p->calls.v[i].kernel->nbuf > most)
				most = p->calls.v[i].kernel->nbuf;
		}
	done = LLVMAppendBasicBlockInContext(m->c, f, "done");
	LLVMPositionBuilderAtEnd(m->b, entry);
	frame = LLVMBuildArrayAlloca(m->b, m->ptr, LLVMConstInt(m->i64, (unsigned)most, 0), "arg");
	if (host)
		operands = LLVMBuildArrayAlloca(m->b, operand_type(m), LLVMConstInt(m->i64, (unsigned)host, 0), "operands");
	sw = LLVMBuildSwitch(m->b, LLVMGetParam(f, 0), done, (unsigned)p->calls.n);
	for (int i = 0; i < p->calls.n; i++) {
		const struct call *c = &p->calls.v[i];
		LLVMBasicBlockRef bb = LLVMAppendBasicBlockInContext(m->c, f, "call");
		LLVMValueRef arg[3];

		LLVMAddCase(sw, LLVMConstInt(m->i32, (unsigned)i, 0), bb);
		LLVMPositionBuilderAtEnd(m->b, bb);
		if (c->host) {
			host_call(m, f, c, base, operands);
			LLVMBuildBr(m->b, done);
			continue;
		}
		if (c->provider_blas) {
			for (int k = 0; k < 3; k++)
				arg[k] = buffer_pointer(m, base, LLVMGetParam(f, 2), c->arg[k], 0);
			blas_call(m, f, c, arg, done);
			continue;
		}
		for (int k = 0; k < c->kernel->nbuf; k++) {
			LLVMValueRef at = LLVMConstInt(m->i64, (unsigned)k, 0);

			LLVMBuildStore(m->b, buffer_pointer(m, base, LLVMGetParam(f, 2), c->arg[k], offset[i][k]),
			    LLVMBuildInBoundsGEP2(m->b, m->ptr, frame, &at, 1, ""));
		}
		LLVMBuildCall2(m->b, m->kernel_type, kernel[i],
		    (LLVMValueRef[]){frame, LLVMGetParam(f, 2), LLVMGetParam(f, 3), LLVMGetParam(f, 4), LLVMGetParam(f, 5)}, 5, "");
		LLVMBuildBr(m->b, done);
	}
	LLVMPositionBuilderAtEnd(m->b, done);
	LLVMBuildRetVoid(m->b);
	return f;
}

/* ---- struct rt_program */
static LLVMTypeRef
tensor_type(struct module *m)
{
	return LLVMStructTypeInContext(m->c, (LLVMTypeRef[]){m->ptr, m->i32, m->i32, m->ptr, m->ptr, m->i64, m->i64}, 7, 0);
}

static LLVMValueRef
axis_symbols(struct module *m, const struct program *p, const struct value *v)
{
	LLVMValueRef c[MAX_RANK + 1];
	bool any = false;

	for (int k = 0; k < v->rank; k++) {
		int i = 0;

		while (i < p->nsym && p->sym[i] != v->dims[k])
			i++;
		any |= i < p->nsym;
		c[k] = LLVMConstInt(m->i32, i < p->nsym ? (unsigned long long)i : ~0ull, 1);
	}
	return any ? module_array(m, m->i32, c, v->rank, "syms") : LLVMConstNull(m->ptr);
}

static LLVMValueRef
symbol_table(struct module *m, const struct program *p)
{
	LLVMTypeRef t = LLVMStructTypeInContext(m->c, (LLVMTypeRef[]){m->ptr, m->i64, m->i64, m->i32}, 4, 0);
	LLVMValueRef *v = arena_array(m->a, LLVMValueRef, p->nsym + 1);

	for (int i = 0; i < p->nsym; i++)
		v[i] = LLVMConstStructInContext(m->c, (LLVMValueRef[]){
			module_string(m, dim_text(p->graph, p->sym[i])),
			LLVMConstInt(m->i64, (unsigned long long)dim_lo(p->graph, p->sym[i]), 0),
			LLVMConstInt(m->i64, (unsigned long long)dim_hi(p->graph, p->sym[i]), 0),
			LLVMConstInt(m->i32, i >= p->ngiven, 0)}, 4, 0);
	return module_array(m, t, v, p->nsym, "symbols");
}

LLVMValueRef
module_tensors(struct module *m, const struct program *p, const struct io *io, int n, const char *name)
{
	LLVMValueRef *v = arena_array(m->a, LLVMValueRef, n + 1);

	for (int i = 0; i < n; i++) {
		int64_t dims[MAX_RANK];

		for (int k = 0; k < io[i].value->rank; k++)
			dims[k] = dim_hi(p->graph, io[i].value->dims[k]);
		v[i] = LLVMConstStructInContext(m->c, (LLVMValueRef[]){
			module_string(m, io[i].name),
			LLVMConstInt(m->i32, (unsigned)dtype_info[io[i].buffer->dtype].onnx, 0),
			LLVMConstInt(m->i32, (unsigned)io[i].value->rank, 0),
			module_i64s(m, dims, io[i].value->rank, "dims"), axis_symbols(m, p, io[i].value),
			LLVMConstInt(m->i64, (unsigned long long)io[i].buffer->bytes, 0),
			LLVMConstInt(m->i64, (unsigned long long)io[i].buffer->offset, 0)}, 7, 0);
	}
	return module_array(m, tensor_type(m), v, n, name);
}

/* Is the buffer read where data says, not as a whole? */
static bool
gathered(const struct body *b, int buf)
{
	for (int i = 0; i < b->s.n; i++) {
		const struct stmt *s = b->s.v[i];

		if ((s->kind == S_LOAD && s->buf == buf && s->index.reg >= 0) || (s->kind == S_FOR && gathered(&s->body, buf)) ||
		    (s->kind == S_TILE && gathered(&s->tile->epilogue, buf)))
			return true;
	}
	return false;
}

static bool
read_whole(const struct program *p, const struct buffer *b)
{
	for (int i = 0; i < p->calls.n; i++) {
		const struct call *c = &p->calls.v[i];

		for (int k = 0; c->kernel && k < c->kernel->nbuf; k++) {
			const struct buffer *x = c->arg[k];

			while (x->alias)
				x = x->alias;
			if (x == b && gathered(&c->kernel->body, k))
				return false;
		}
	}
	return true;
}

static int
by_first(const void *a, const void *b)
{
	const int64_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

/* Stretches of the constants that a run reads, as pairs; returns how many. */
static int
stretches(struct module *m, const struct program *p, bool all, int64_t *at)
{
	enum { GAP = 4096 };     /* joined across less */
	int n = 0, joined = 0;

	for (int i = 0; i < p->buffers.n; i++) {
		const struct buffer *b = p->buffers.v[i];

		if (b->space != SPACE_CONST || b->alias || !b->data || !b->bytes || !(all || read_whole(p, b)))
			continue;
		at[2 * n] = m->const_at ? m->const_at[b->id] : b->offset;
		at[2 * n + 1] = at[2 * n] + b->bytes;
		n++;
	}
	qsort(at, (size_t)n, 2 * sizeof *at, by_first);
	for (int i = 0; i < n; i++)
		if (joined && at[2 * i] - at[2 * joined - 1] < GAP) {
			if (at[2 * i + 1] > at[2 * joined - 1])
				at[2 * joined - 1] = at[2 * i + 1];
		} else {
			at[2 * joined] = at[2 * i];
			at[2 * joined + 1] = at[2 * i + 1];
			joined++;
		}
	return joined;
}

static LLVMValueRef
memory_table(struct module *m, const struct program *p)
{
	LLVMTypeRef t = LLVMStructTypeInContext(m->c, (LLVMTypeRef[]){m->ptr, m->i64}, 2, 0);
	LLVMValueRef row[MEMORY_ROWS];

	for (int i = 0; i < p->nmemory; i++)
		row[i] = LLVMConstStructInContext(m->c, (LLVMValueRef[]){module_string(m, p->memory[i].what),
			LLVMConstInt(m->i64, (unsigned long long)p->memory[i].bytes, 1)}, 2, 0);
	return module_array(m, t, row, p->nmemory, "memory");
}

/* ---- what every call reads and writes */
struct accesses { LLVMValueRef buffers, args, args_at; };

static int64_t
space_base(const struct buffer *b)
{
	return b->space == SPACE_IO ? 3 + b->offset : b->space == SPACE_WORK ? 0 : b->space == SPACE_CONST ? 1 : 2;
}

static struct accesses
access_tables(struct module *m, const struct program *p)
{
	LLVMTypeRef t = LLVMStructTypeInContext(m->c, (LLVMTypeRef[]){m->ptr, m->i32, m->i32, m->i64, m->i64}, 5, 0);
	LLVMValueRef *buffer = arena_array(m->a, LLVMValueRef, p->buffers.n + 1), *at = arena_array(m->a, LLVMValueRef, p->calls.n + 1), *arg;
	int *place = arena_array(m->a, int, p->buffers.n + 1), n = 0, total = 0;
#define W(x) LLVMConstInt(m->i32, (unsigned long long)(x), 1)
#define D(x) LLVMConstInt(m->i64, (unsigned long long)(x), 1)

	for (int i = 0; i < p->buffers.n; i++) {
		const struct buffer *b = p->buffers.v[i];

		place[b->id] = -1;
		if (b->space == SPACE_SYM)
			continue;
		place[b->id] = n;
		buffer[n++] = LLVMConstStructInContext(m->c, (LLVMValueRef[]){
			module_string(m, b->value && b->value->name ? b->value->name : ""),
			W(dtype_info[b->dtype].onnx), W(space_base(b)),
			D(b->space == SPACE_CONST && m->const_at ? m->const_at[b->id] : b->space == SPACE_IO ? 0 : b->offset), D(b->bytes)}, 5, 0);
	}
	for (int i = 0; i < p->calls.n; i++)
		total += p->calls.v[i].provider_blas ? 3 : p->calls.v[i].kernel->nbuf;
	arg = arena_array(m->a, LLVMValueRef, total + 1);
	total = 0;
	for (int i = 0; i < p->calls.n; i++) {
		const struct call *c = &p->calls.v[i];
		int nbuf = c->provider_blas ? 3 : c->kernel->nbuf;

		at[i] = W(total);
		for (int k = 0; k < nbuf; k++) {
			int b = place[c->arg[k]->id];
			bool written = c->provider_blas ? k == 2 : c->kernel->buf_written[k];

			if (b >= 0)
				arg[total++] = W(written ? ~b : b);
		}
	}
	at[p->calls.n] = W(total);
#undef W
#undef D
	return (struct accesses){module_array(m, t, buffer, n, "buffers"), module_array(m, m->i32, arg, total, "args"),
	                         module_array(m, m->i32, at, p->calls.n + 1, "args_at")};
}

LLVMValueRef
module_program(struct module *m, const struct program *p, LLVMValueRef call, LLVMValueRef constants,
               LLVMValueRef state_init, const char *symbol, const char *manifest, bool traced)
{
	int n = p->calls.n;
	int64_t *pieces = arena_array(m->a, int64_t, n + 1);
	LLVMValueRef *names = arena_array(m->a, LLVMValueRef, n + 1), *flops = arena_array(m->a, LLVMValueRef, n + 1), v, g;
	LLVMValueRef null = LLVMConstNull(m->ptr);
	int64_t *reads = arena_array(m->a, int64_t, 2 * p->buffers.n + 2);
	int nreads = stretches(m, p, traced, reads);
	struct accesses acc = {null, null, null};

	if (traced)
		acc = access_tables(m, p);
	for (int i = 0; i < n; i++) {
		pieces[i] = call_pieces(&p->calls.v[i]);
		names[i] = module_string(m, call_name(m->a, &p->calls.v[i]));
		flops[i] = LLVMConstReal(m->f64, call_flops(&p->calls.v[i]));
	}
#define W(x) LLVMConstInt(m->i32, (unsigned long long)(x), 0)
#define D(x) LLVMConstInt(m->i64, (unsigned long long)(x), 0)
	v = LLVMConstStructInContext(m->c, (LLVMValueRef[]){
		W(RT_ABI), module_string(m, p->name ? p->name : ""), W(n), W(p->inputs.n), W(p->outputs.n), W(p->states.n),
		W(p->nsym),
		module_i64s(m, pieces, n, "pieces"), module_array(m, m->ptr, names, n, "names"),
		module_array(m, m->f64, flops, n, "flops"), call,
		D(p->work_bytes), D(m->const_at ? m->const_bytes : p->const_bytes), D(p->state_bytes),
		constants ? constants : null, module_i64s(m, reads, 2 * nreads, "reads"), W(nreads), state_init ? state_init : null,
		module_tensors(m, p, p->inputs.v, p->inputs.n, "inputs"),
		module_tensors(m, p, p->outputs.v, p->outputs.n, "outputs"),
		module_tensors(m, p, p->states.v, p->states.n, "states"),
		symbol_table(m, p), W(p->items), module_dims(m, p, arena_printf(m->a, "%s_dims", symbol)),
		module_string(m, manifest ? manifest : ""), D(program_status_at(p)), acc.buffers, acc.args, acc.args_at,
		W(traced ? p->nmemory : 0), traced ? memory_table(m, p) : null}, 31, 0);
#undef W
#undef D
	g = LLVMAddGlobal(m->m, LLVMTypeOf(v), symbol);
	LLVMSetInitializer(g, v);
	LLVMSetGlobalConstant(g, 1);
	LLVMSetLinkage(g, LLVMInternalLinkage);
	return g;
}

enum { HUGE_BYTES = 2 << 20 };

unsigned char *
program_blob(const struct program *p, enum space space, int64_t bytes)
{
	size_t align = bytes >= 2 * HUGE_BYTES ? HUGE_BYTES : RT_ALIGN;
	size_t size = ((size_t)bytes + align - 1) / align * align;
	unsigned char *b;

	if (!bytes)
		return NULL;
	b = aligned_alloc(align, size);
	if (!b)
		die("out of memory: %" PRId64 " bytes of constants", bytes);
	if (align == HUGE_BYTES) /* scattered small pages cost more walks than those of a file */
		madvise(b, size, MADV_HUGEPAGE);
	memset(b, 0, size);
	for (int i = 0; i < p->buffers.n; i++) {
		const struct buffer *x = p->buffers.v[i];

		if (x->space != space || !x->data || x->alias)
			continue;
		if (x->offset < 0 || x->bytes > bytes - x->offset)
			die("buffer %d lies outside its space", x->id);
		buffer_content(x, b + x->offset);
	}
	return b;
}

/* What the buffer holds at first: b->bytes of it. */
void
buffer_content(const struct buffer *b, void *to)
{
	if (b->pack)
		layout_pack(b->pack, b->dtype, b->value->rank, b->value->dims, b->data, to);
	else
		memcpy(to, b->data, (size_t)b->bytes);
}

/* ---- what every call says of itself */
int64_t
call_pieces(const struct call *c)
{
	return c->provider_blas ? c->blas->batch : c->kernel->pieces;
}

double
call_flops(const struct call *c)
{
	const struct blas_call *s = c->blas;

	return c->provider_blas ? 2.0 * (double)s->m * (double)s->n * (double)s->k * (double)s->batch : c->kernel->flops;
}

const char *
call_name(struct arena *a, const struct call *c)
{
	const char *k = c->provider_blas ? "sgemm" : c->kernel->name, *n = c->loc.name;

	return n && *n ? arena_printf(a, "%s %s", k, n) : arena_strdup(a, k);
}

int64_t
program_status_at(const struct program *p)
{
	return p->room ? p->room->offset + (int64_t)offsetof(struct rt_bytes, status) : 0;
}

enum host_use
program_host(const struct program *p)
{
	for (int i = 0; i < p->calls.n; i++)
		if (p->calls.v[i].host && host_needs_images(p->calls.v[i].host->symbol))
			return HOST_IMAGES;
	return p->room ? HOST_CALLS : HOST_NONE;
}

/* ---- the end */
static void
run_passes(struct module *m)
{
	LLVMPassBuilderOptionsRef o = LLVMCreatePassBuilderOptions();
	LLVMErrorRef e;

	LLVMPassBuilderOptionsSetLoopUnrolling(o, 0);
	LLVMPassBuilderOptionsSetLoopVectorization(o, 0);
	LLVMPassBuilderOptionsSetSLPVectorization(o, 0);
	e = LLVMRunPasses(m->m, "function(sroa,early-cse<memssa>)", m->t->tm, o);
	if (e)
		llvm_die("LLVM passes", LLVMGetErrorMessage(e));
	LLVMDisposePassBuilderOptions(o);
}

static double
seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void
module_finish(struct module *m)
{
	double start = seconds();
	char *msg = NULL;

	if (m->t->dump_llvm && LLVMPrintModuleToFile(m->m, m->t->dump_llvm, &msg)) {
		fprintf(stderr, "%s: %s\n", m->t->dump_llvm, msg);
		LLVMDisposeMessage(msg);
	}
	msg = NULL;
	if (LLVMVerifyModule(m->m, LLVMReturnStatusAction, &msg)) {
		LLVMPrintModuleToFile(m->m, "retort-broken.ll", NULL);
		llvm_die("broken module (see retort-broken.ll)", msg);
	}
	LLVMDisposeMessage(msg);
	run_passes(m);
	if (m->t->time)
		fprintf(stderr, "%8.1f ms  llvm: verify, sroa, early-cse (%d kernels)\n", 1e3 * (seconds() - start), m->nkernel);
}

LLVMMemoryBufferRef
module_object(struct module *m, LLVMCodeGenFileType type)
{
	LLVMMemoryBufferRef buf = NULL;
	double start = seconds();
	char *msg = NULL;

	if (LLVMTargetMachineEmitToMemoryBuffer(m->t->tm, m->m, type, &msg, &buf))
		llvm_die("emitting code", msg);
	if (m->t->time)
		fprintf(stderr, "%8.1f ms  llvm: machine code, %zu bytes\n", 1e3 * (seconds() - start), LLVMGetBufferSize(buf));
	return buf;
}
