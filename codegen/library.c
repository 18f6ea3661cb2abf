/* library -- the C entry points of an inference library, written in LLVM: nothing
 * is allocated, nothing global is written.  header.c declares them.
 *
 *   int NAME_run([dims,] inputs.., outputs.., void *workspace, size_t workspace_size)
 *   int NAME_run_mt(the same, NAME_parallel_for, void *ctx)
 *   size_t NAME_workspace_size([dims]);  NAME_strerror(int);  NAME_manifest(void)
 *
 * Status: 0 OK, 1 a NULL pointer, 2 a dim out of range, 3 workspace too small,
 * 4 workspace not aligned; from 5 on what host/host.h says. */
#include "codegen/entry.h"

#include <stdlib.h>
#include <string.h>

LLVMBasicBlockRef
entry_block(struct entry *x, const char *name)
{
	return LLVMAppendBasicBlockInContext(x->m->c, x->f, name);
}

void
entry_begin(struct entry *x, const char *suffix, LLVMTypeRef ret, LLVMTypeRef *arg, int n, bool exported)
{
	struct module *m = x->m;

	x->f = module_function(m, arena_printf(m->a, "%s_%s", x->prefix, suffix), LLVMFunctionType(ret, arg, (unsigned)n, 0), exported);
	LLVMPositionBuilderAtEnd(m->b, entry_block(x, "entry"));
}

void
entry_demand(struct entry *x, LLVMValueRef cond, int status)
{
	struct module *m = x->m;
	LLVMBasicBlockRef bad = entry_block(x, "bad"), good = entry_block(x, "good");

	LLVMBuildCondBr(m->b, cond, good, bad);
	LLVMPositionBuilderAtEnd(m->b, bad);
	LLVMBuildRet(m->b, LLVMConstInt(m->i32, (unsigned)status, 0));
	LLVMPositionBuilderAtEnd(m->b, good);
}

static LLVMValueRef
in_range(struct entry *x, int i)
{
	struct module *m = x->m;
	int64_t lo = dim_lo(x->p->graph, x->sym[i]), hi = dim_hi(x->p->graph, x->sym[i]);
	LLVMValueRef off = LLVMBuildSub(m->b, LLVMGetParam(x->f, (unsigned)i), n64(m, lo), "");

	return LLVMBuildICmp(m->b, LLVMIntULE, off, n64(m, hi - lo), "");
}

void
entry_put(struct module *m, LLVMValueRef array, LLVMTypeRef t, int i, LLVMValueRef v)
{
	LLVMValueRef at = n64(m, i);

	LLVMBuildStore(m->b, v, LLVMBuildInBoundsGEP2(m->b, t, array, &at, 1, ""));
}

static LLVMValueRef
pieces_of(struct entry *x, LLVMValueRef call)
{
	struct module *m = x->m;

	return LLVMBuildLoad2(m->b, m->i64, LLVMBuildInBoundsGEP2(m->b, m->i64, x->pieces, &call, 1, ""), "");
}

LLVMTypeRef
entry_job_type(struct module *m)
{
	return LLVMStructTypeInContext(m->c, (LLVMTypeRef[]){m->i32, m->ptr, m->ptr, m->i64, m->i64}, 5, 0);
}

/* body(job, i): slice i of n of the pieces of one call.  Slices do not depend on
 * the number of threads. */
LLVMValueRef
entry_task(struct entry *x)
{
	struct module *m = x->m;
	LLVMValueRef v[5], i, from, to, job;
	LLVMTypeRef t = entry_job_type(m);

	entry_begin(x, "task", m->void_, (LLVMTypeRef[]){m->ptr, m->i32}, 2, false);
	job = LLVMGetParam(x->f, 0);
	for (int k = 0; k < 5; k++)
		v[k] = LLVMBuildLoad2(m->b, LLVMStructGetTypeAtIndex(t, (unsigned)k), LLVMBuildStructGEP2(m->b, t, job, (unsigned)k, ""), "");
	i = LLVMBuildSExt(m->b, LLVMGetParam(x->f, 1), m->i64, "");
	from = LLVMBuildSDiv(m->b, LLVMBuildMul(m->b, v[3], i, ""), v[4], "");
	to = LLVMBuildSDiv(m->b, LLVMBuildMul(m->b, v[3], LLVMBuildAdd(m->b, i, n64(m, 1), ""), ""), v[4], "");
	LLVMBuildCall2(m->b, m->call_type, x->call, (LLVMValueRef[]){v[0], v[1], v[2], from, to, from}, 6, "");
	LLVMBuildRetVoid(m->b);
	return x->f;
}

/* One call through the caller's parallel-for, or straight where it is one piece. */
static void
parallel(struct entry *x, LLVMValueRef i, LLVMValueRef base, LLVMValueRef sym, LLVMValueRef job, LLVMValueRef pf, LLVMValueRef ctx)
{
	struct module *m = x->m;
	LLVMTypeRef t = entry_job_type(m), pft = LLVMFunctionType(m->void_, (LLVMTypeRef[]){m->ptr, m->i32, m->ptr, m->ptr}, 4, 0);
	LLVMValueRef n = pieces_of(x, i), i32 = LLVMBuildTrunc(m->b, i, m->i32, ""), many, tasks, v[5];
	LLVMBasicBlockRef one = entry_block(x, "one"), all = entry_block(x, "all"), next = entry_block(x, "next");

	LLVMBuildCondBr(m->b, LLVMBuildICmp(m->b, LLVMIntSGT, n, n64(m, 1), ""), all, one);
	LLVMPositionBuilderAtEnd(m->b, one);
	LLVMBuildCall2(m->b, m->call_type, x->call, (LLVMValueRef[]){i32, base, sym, n64(m, 0), n, n64(m, 0)}, 6, "");
	LLVMBuildBr(m->b, next);
	LLVMPositionBuilderAtEnd(m->b, all);
	many = LLVMBuildICmp(m->b, LLVMIntSGT, n, n64(m, TASKS), "");
	tasks = LLVMBuildSelect(m->b, many, n64(m, TASKS), n, "");
	v[0] = i32, v[1] = base, v[2] = sym, v[3] = n, v[4] = tasks;
	for (unsigned k = 0; k < 5; k++)
		LLVMBuildStore(m->b, v[k], LLVMBuildStructGEP2(m->b, t, job, k, ""));
	LLVMBuildCall2(m->b, pft, pf, (LLVMValueRef[]){ctx, LLVMBuildTrunc(m->b, tasks, m->i32, ""), x->body, job}, 4, "");
	LLVMBuildBr(m->b, next);
	LLVMPositionBuilderAtEnd(m->b, next);
}

void
entry_calls(struct entry *x, LLVMValueRef base, LLVMValueRef sym, LLVMValueRef job, LLVMValueRef pf, LLVMValueRef ctx)
{
	struct module *m = x->m;
	LLVMBasicBlockRef pre = LLVMGetInsertBlock(m->b), head, done;
	LLVMValueRef i, next;

	if (!x->p->calls.n)
		return;
	head = entry_block(x, "call");
	done = entry_block(x, "done");
	LLVMBuildBr(m->b, head);
	LLVMPositionBuilderAtEnd(m->b, head);
	i = LLVMBuildPhi(m->b, m->i64, "i");
	if (pf)
		parallel(x, i, base, sym, job, pf, ctx);
	else
		LLVMBuildCall2(m->b, m->call_type, x->call, (LLVMValueRef[]){LLVMBuildTrunc(m->b, i, m->i32, ""),
		    base, sym, n64(m, 0), pieces_of(x, i), n64(m, 0)}, 6, "");
	next = LLVMBuildAdd(m->b, i, n64(m, 1), "");
	LLVMAddIncoming(i, (LLVMValueRef[]){n64(m, 0), next}, (LLVMBasicBlockRef[]){pre, LLVMGetInsertBlock(m->b)}, 2);
	LLVMBuildCondBr(m->b, LLVMBuildICmp(m->b, LLVMIntULT, next, n64(m, x->p->calls.n), ""), head, done);
	LLVMPositionBuilderAtEnd(m->b, done);
}

/* The measured size to the caller, who may not want it. */
static void
report(struct entry *x, LLVMValueRef sym, int k, LLVMValueRef to)
{
	struct module *m = x->m;
	LLVMBasicBlockRef wanted = entry_block(x, "wanted"), next = entry_block(x, "next");
	LLVMValueRef at = n64(m, k);

	LLVMBuildCondBr(m->b, LLVMBuildICmp(m->b, LLVMIntNE, to, LLVMConstNull(m->ptr), ""), wanted, next);
	LLVMPositionBuilderAtEnd(m->b, wanted);
	LLVMBuildStore(m->b, LLVMBuildLoad2(m->b, m->i64, LLVMBuildInBoundsGEP2(m->b, m->i64, sym, &at, 1, ""), ""), to);
	LLVMBuildBr(m->b, next);
	LLVMPositionBuilderAtEnd(m->b, next);
}

static LLVMValueRef
run(struct entry *x, bool mt)
{
	struct module *m = x->m;
	int nio = x->p->inputs.n + x->p->outputs.n, n = 0, first = x->nsym, nmeasured = x->p->nsym - x->nsym;
	LLVMTypeRef *arg = arena_array(m->a, LLVMTypeRef, x->p->nsym + nio + 8);
	LLVMValueRef base, sym, job = NULL, ws, size, ok, null = LLVMConstNull(m->ptr);

	for (int k = 0; k < x->nsym; k++)
		arg[n++] = m->i64;
	for (int k = 0; k < nio + nmeasured + 1; k++)
		arg[n++] = m->ptr;
	arg[n++] = m->i64;
	if (mt) {
		arg[n++] = m->ptr;
		arg[n++] = m->ptr;
	}
	entry_begin(x, mt ? "run_mt" : "run", m->i32, arg, n, x->exported);
	base = LLVMBuildArrayAlloca(m->b, m->ptr, n64(m, 3 + nio), "base");
	sym = LLVMBuildArrayAlloca(m->b, m->i64, n64(m, x->p->nsym + 1), "sym");
	if (mt)
		job = LLVMBuildAlloca(m->b, entry_job_type(m), "job");
	ws = LLVMGetParam(x->f, (unsigned)(first + nio + nmeasured));
	size = LLVMGetParam(x->f, (unsigned)(first + nio + nmeasured + 1));
	ok = NULL;
	for (int k = 0; k < nio; k++) {
		LLVMValueRef c = LLVMBuildICmp(m->b, LLVMIntNE, LLVMGetParam(x->f, (unsigned)(first + k)), null, "");

		ok = ok ? LLVMBuildAnd(m->b, ok, c, "") : c;
	}
	if (mt)
		ok = LLVMBuildAnd(m->b, ok, LLVMBuildICmp(m->b, LLVMIntNE, LLVMGetParam(x->f, (unsigned)(n - 2)), null, ""), "");
	if (x->p->work_bytes)
		ok = LLVMBuildAnd(m->b, ok, LLVMBuildICmp(m->b, LLVMIntNE, ws, null, ""), "");
	entry_demand(x, ok, 1);
	for (int k = 0; k < x->nsym; k++) {
		entry_demand(x, in_range(x, k), 2);
		entry_put(m, sym, m->i64, k, LLVMGetParam(x->f, (unsigned)k));
	}
	entry_demand(x, LLVMBuildICmp(m->b, LLVMIntUGE, size, n64(m, x->p->work_bytes), ""), 3);
	ok = LLVMBuildAnd(m->b, LLVMBuildPtrToInt(m->b, ws, m->i64, ""), n64(m, RT_ALIGN - 1), "");
	entry_demand(x, LLVMBuildICmp(m->b, LLVMIntEQ, ok, n64(m, 0), ""), 4);
	entry_put(m, base, m->ptr, 0, ws);
	entry_put(m, base, m->ptr, 1, x->constants ? x->constants : null);
	entry_put(m, base, m->ptr, 2, x->state ? x->state : null);
	for (int k = 0; k < nio; k++)
		entry_put(m, base, m->ptr, 3 + k, LLVMGetParam(x->f, (unsigned)(first + k)));
	entry_calls(x, base, sym, job, mt ? LLVMGetParam(x->f, (unsigned)(n - 2)) : NULL, mt ? LLVMGetParam(x->f, (unsigned)(n - 1)) : NULL);
	for (int k = 0; k < nmeasured; k++)
		report(x, sym, x->nsym + k, LLVMGetParam(x->f, (unsigned)(first + nio + k)));
	if (program_host(x->p)) {
		LLVMValueRef at = n64(m, program_status_at(x->p));

		LLVMBuildRet(m->b, LLVMBuildLoad2(m->b, m->i32, LLVMBuildInBoundsGEP2(m->b, m->i8, ws, &at, 1, ""), "status"));
	} else {
		LLVMBuildRet(m->b, LLVMConstInt(m->i32, 0, 0));
	}
	return x->f;
}

static void
workspace_size(struct entry *x)
{
	struct module *m = x->m;
	LLVMTypeRef arg[MAX_SYMS];
	LLVMValueRef ok = NULL, size = n64(m, x->p->work_bytes);

	for (int k = 0; k < x->nsym; k++)
		arg[k] = m->i64;
	entry_begin(x, "workspace_size", m->i64, arg, x->nsym, true);
	for (int k = 0; k < x->nsym; k++)
		ok = ok ? LLVMBuildAnd(m->b, ok, in_range(x, k), "") : in_range(x, k);
	LLVMBuildRet(m->b, ok ? LLVMBuildSelect(m->b, ok, size, n64(m, 0), "") : size);
}

static LLVMValueRef
manifest_text(struct entry *x, const char *text)
{
	entry_begin(x, "manifest", x->m->ptr, NULL, 0, x->exported);
	LLVMBuildRet(x->m->b, module_string(x->m, text ? text : "{}"));
	return x->f;
}

static void
status_text(struct entry *x)
{
	static const char *const text[] = {
		"ok", "an input, output or workspace pointer is NULL", "a dimension is out of range",
		"the workspace is too small", "the workspace is not aligned", "no room is left for new strings", "a string is no number",
		"a result is larger than its bound", "an image cannot be decoded", "unknown status",
	};
	enum { N = sizeof text / sizeof *text };
	struct module *m = x->m;
	LLVMValueRef s[N], table, i, known;

	for (int k = 0; k < N; k++)
		s[k] = module_string(m, text[k]);
	table = module_array(m, m->ptr, s, N, "status");
	entry_begin(x, "strerror", m->ptr, (LLVMTypeRef[]){m->i32}, 1, true);
	i = LLVMBuildZExt(m->b, LLVMGetParam(x->f, 0), m->i64, "");
	known = LLVMBuildICmp(m->b, LLVMIntULT, i, n64(m, N - 1), "");
	i = LLVMBuildSelect(m->b, known, i, n64(m, N - 1), "");
	LLVMBuildRet(m->b, LLVMBuildLoad2(m->b, m->ptr, LLVMBuildInBoundsGEP2(m->b, m->ptr, table, &i, 1, ""), ""));
}

/* ---- one variant */
void
entry_open(struct entry *x, struct module *m, const struct program *p, const char *prefix)
{
	int64_t *pieces = arena_array(m->a, int64_t, p->calls.n + 1);

	*x = (struct entry){.m = m, .p = p, .prefix = prefix, .nsym = p->ngiven};
	require(p->nsym <= MAX_SYMS);
	if (p->nsym)
		memcpy(x->sym, p->sym, sizeof *p->sym * (size_t)p->nsym);
	for (int i = 0; i < p->calls.n; i++)
		pieces[i] = call_pieces(&p->calls.v[i]);
	x->pieces = module_i64s(m, pieces, p->calls.n, "pieces");
}

/* ---- emission of inference code */
bool
program_uses_blas(const struct program *p)
{
	for (int i = 0; i < p->calls.n; i++)
		if (p->calls.v[i].provider_blas)
			return true;
	return false;
}

static bool
writes_state(const struct program *p)
{
	for (int i = 0; i < p->calls.n; i++) {
		const struct call *c = &p->calls.v[i];

		for (int k = 0; !c->provider_blas && k < c->kernel->nbuf; k++)
			if (c->kernel->buf_written[k] && c->arg[k]->space == SPACE_STATE)
				return true;
	}
	return false;
}

static enum host_use
most(enum host_use a, enum host_use b)
{
	return a > b ? a : b;
}

struct placed
entry_place(struct blobs *b, const struct program *p)
{
	struct placed x;

	x.at = blobs_share(b, p, &x.end);
	return x;
}

/* const struct rt_program *retort_program(void), of one variant */
static LLVMValueRef
program_function(struct entry *x, const char *manifest)
{
	struct module *m = x->m;
	LLVMValueRef rt = module_program(m, x->p, x->call, x->constants, x->state, arena_printf(m->a, "%s_table", x->prefix), manifest, false);

	entry_begin(x, "program", m->ptr, NULL, 0, x->exported);
	LLVMBuildRet(m->b, rt);
	return x->f;
}

enum { RUN, RUN_MT, MANIFEST, NENTRIES };
static const char *const entry_names[NENTRIES] = {"run", "run_mt", "manifest"};

static bool
build(struct module *m, struct blobs *b, const struct variant *v, int n, const char *name, bool exe, struct diag *d)
{
	LLVMValueRef fn[NENTRIES][MAX_VARIANTS], constants;
	struct placed at[MAX_VARIANTS];
	const char *base = exe ? "retort" : name;
	struct entry x;

	for (int k = 0; k < n; k++)
		at[k] = entry_place(b, v[k].p);
	constants = blobs_shared(b, m, arena_printf(m->a, "%s_constants", name));
	for (int k = 0; k < n; k++) {
		const struct program *p = v[k].p;

		module_retarget(m, v[k].t);
		m->const_at = at[k].at;
		m->const_bytes = at[k].end;
		entry_open(&x, m, p, n == 1 ? base : arena_printf(m->a, "%s_%s", base, path_ident(m->a, v[k].t->cpu)));
		x.exported = n == 1;
		x.constants = constants;
		x.state = blobs_space(b, m, arena_printf(m->a, "%s_state", n == 1 ? name : x.prefix), p, SPACE_STATE);
		x.call = module_call(m, p, arena_printf(m->a, "%s_call", n == 1 ? name : x.prefix), false);
		if (exe) {
			fn[0][k] = program_function(&x, v[k].manifest);
			continue;
		}
		x.body = entry_task(&x);
		fn[RUN][k] = run(&x, false);
		fn[RUN_MT][k] = run(&x, true);
		fn[MANIFEST][k] = manifest_text(&x, v[k].manifest);
	}
	module_retarget(m, m->base);
	m->const_at = NULL;
	x.prefix = name;
	if (!exe) {
		workspace_size(&x);
		status_text(&x);
	}
	for (int e = 0; n > 1 && e < (exe ? 1 : NENTRIES); e++)
		dispatch(m, v, n, arena_printf(m->a, "%s_%s", base, exe ? "program" : entry_names[e]), fn[e]);
	return blobs_ready(b, m, d);
}

/* What cannot be emitted so. */
static bool
emittable(const struct program *p, bool exe, const char *path, struct diag *d)
{
	if (p->nsym > MAX_SYMS)
		return diag_unsupported(d, LOC_FILE(path), "%d sizes known at run time; at most %d are possible", p->nsym, MAX_SYMS);
	for (int i = 0; exe && i < p->inputs.n + p->outputs.n; i++)
		if ((i < p->inputs.n ? &p->inputs.v[i] : &p->outputs.v[i - p->inputs.n])->value->dtype == DT_str)
			return diag_unsupported(d, LOC_FILE(path), "an executable reads and writes files of numbers; emit a library for strings, or use retort run");
	if (!exe && program_uses_blas(p))
		return diag_unsupported(d, LOC_FILE(path), "libraries need nothing but libm: compile without --blas, or an executable");
	if (!exe && writes_state(p))
		return diag_unsupported(d, LOC_FILE(path), "the program updates its states; a library keeps none");
	return true;
}

bool
emit_variants(const struct variant *v, int n, const char *name, enum emit kind, const char *path, struct diag *d)
{
	bool exe = kind == EMIT_EXE, linked = exe || kind == EMIT_SHARED, ok, blas = false;
	enum host_use host = HOST_NONE;
	struct target *t = v[0].t;
	struct module *m;
	struct blobs b;
	const char *object = path;

	for (int k = 0; k < n; k++) {
		if (!emittable(v[k].p, exe, path, d))
			return false;
		blas |= program_uses_blas(v[k].p);
		host = most(host, program_host(v[k].p));
	}
	m = module_open(t, name);
	if (linked) /* apart for kinds made at once */
		object = arena_printf(m->a, "%s/%s.retort%s.o", path_dir(m->a, path), name,
		    exe ? "-exe" : kind == EMIT_SHARED ? "-so" : "");
	blobs_open(&b, kind, path);
	ok = build(m, &b, v, n, name, exe, d);
	if (kind == EMIT_STATIC)
		ok = ok && link_static(t, m, &b, arena_printf(m->a, "%s.retort.o", name), path, host, d);
	else
		ok = ok && module_write(m, &b, kind, NULL, NULL, object, d);
	blobs_close(&b, ok);
	if (ok && linked)
		ok = exe ? link_exe(t, object, path, false, blas, host, d) : link_shared(t, object, path, host, d);
	if (linked && !t->keep_temps)
		remove(object);
	module_close(m);
	return ok;
}

bool
emit_library(struct target *t, const struct program *p, const char *name, const char *manifest,
             enum emit kind, const char *path, struct diag *d)
{
	return emit_variants(&(struct variant){t, p, manifest}, 1, name, kind, path, d);
}

/* ---- a trainer: many programs, one object */
static LLVMValueRef
trainer_program(struct module *m, const struct program *p, struct placed at, LLVMValueRef constants, const char *prefix, const char *manifest)
{
	LLVMValueRef call, v;

	m->const_at = at.at;
	m->const_bytes = at.end;
	call = module_call(m, p, arena_printf(m->a, "%s_call", prefix), false);
	v = module_program(m, p, call, constants, NULL, arena_printf(m->a, "%s_program", prefix), manifest, true);
	m->const_at = NULL;
	return v;
}

/* The states of all programs, each once; plan_share_states has placed them. */
static struct program *
all_states(struct module *m, const struct trainer_image *im)
{
	struct program *all = arena_new(m->a, struct program);
	struct map *seen = map_create(m->a);

	int nmore = im->nstages * im->nmore;

	for (int k = 0; k <= im->nstages + nmore; k++) {
		const struct program *p = k < im->nstages	   ? im->train[k]
					  : k < im->nstages + nmore ? im->more[k - im->nstages]
								    : im->eval;

		for (int i = 0; p && i < p->states.n; i++) {
			const struct io *s = &p->states.v[i];

			if (map_get(seen, s->name))
				continue;
			map_put(seen, s->name, s->buffer);
			vec_push(m->a, &all->states, *s);
			vec_push(m->a, &all->buffers, s->buffer);
			all->graph = p->graph;
			all->state_bytes = p->state_bytes;
		}
	}
	return all;
}

/* struct rt_model[]: the files, and where each state's values stand in them. */
static LLVMValueRef
trainer_models(struct module *m, struct blobs *b, const struct trainer_image *im)
{
	LLVMTypeRef patch_type = LLVMStructTypeInContext(m->c, (LLVMTypeRef[]){m->ptr, m->i64, m->i64}, 3, 0),
	    type = LLVMStructTypeInContext(m->c, (LLVMTypeRef[]){m->ptr, m->ptr, m->i64, m->i32, m->ptr}, 5, 0);
	LLVMValueRef *model = arena_array(m->a, LLVMValueRef, im->nmodels + 1);

	for (int k = 0; k < im->nmodels; k++) {
		const struct rt_model *x = &im->models[k];
		LLVMValueRef *patch = arena_array(m->a, LLVMValueRef, x->npatches + 1),
		    onnx = blobs_add(b, m, arena_printf(m->a, "model%d_onnx", k), x->onnx, x->onnx_bytes);

		for (int i = 0; i < x->npatches; i++)
			patch[i] = LLVMConstStructInContext(m->c, (LLVMValueRef[]){module_string(m, x->patches[i].state),
				n64(m, x->patches[i].offset), n64(m, x->patches[i].bytes)}, 3, 0);
		model[k] = LLVMConstStructInContext(m->c, (LLVMValueRef[]){module_string(m, x->name),
			onnx ? onnx : LLVMConstNull(m->ptr), n64(m, x->onnx_bytes), LLVMConstInt(m->i32, (unsigned long long)x->npatches, 0),
			module_array(m, patch_type, patch, x->npatches, arena_printf(m->a, "patches%d", k))}, 5, 0);
	}
	return module_array(m, type, model, im->nmodels, "models");
}

static void
trainer_table(struct module *m, struct blobs *b, const struct trainer_image *im)
{
	LLVMValueRef *stage = arena_array(m->a, LLVMValueRef, im->nstages + 1), *cached = arena_array(m->a, LLVMValueRef, im->ncached + 1),
	    v, g, eval, null = LLVMConstNull(m->ptr);
	LLVMTypeRef stage_type = LLVMStructTypeInContext(m->c, (LLVMTypeRef[]){m->ptr, m->ptr, m->i32, m->ptr, m->ptr}, 5, 0);
	struct placed *at_cached = arena_array(m->a, struct placed, im->ncached + 1), *at_train = arena_array(m->a, struct placed, im->nstages + 1),
	    at_eval = {0};
	const struct program *all = all_states(m, im);
	int nmore = im->nstages * im->nmore;
	struct placed *at_more = arena_array(m->a, struct placed, nmore + 1);
	struct placed *at_share = arena_array(m->a, struct placed, im->nstages + 1);
	LLVMValueRef *more = arena_array(m->a, LLVMValueRef, nmore + 1);
	int64_t init = 0;
	LLVMValueRef constants, states;

	for (int i = 0; i < im->ncached; i++)
		at_cached[i] = entry_place(b, im->cached[i]);
	for (int i = 0; i < im->nstages; i++)
		at_train[i] = entry_place(b, im->train[i]);
	for (int i = 0; i < nmore; i++)
		at_more[i] = entry_place(b, im->more[i]);
	for (int i = 0; i < im->nstages; i++)
		if (im->share[i])
			at_share[i] = entry_place(b, im->share[i]);
	if (im->eval)
		at_eval = entry_place(b, im->eval);
	constants = blobs_shared(b, m, "constants");
	for (int i = 0; i < nmore; i++)
		more[i] = trainer_program(m, im->more[i], at_more[i], constants, arena_printf(m->a, "more%d_program", i), "");
	for (int i = 0; i < im->nstages; i++)
		stage[i] = LLVMConstStructInContext(m->c, (LLVMValueRef[]){
			trainer_program(m, im->train[i], at_train[i], constants, arena_printf(m->a, "train%d", i), ""),
			module_string(m, im->stage_config[i]), LLVMConstInt(m->i32, (unsigned long long)im->nmore, 0),
			module_array(m, m->ptr, more + i * im->nmore, im->nmore, arena_printf(m->a, "more%d", i)),
			im->share[i] ? trainer_program(m, im->share[i], at_share[i], constants, arena_printf(m->a, "share%d", i), "") : null}, 5, 0);
	eval = im->eval ? trainer_program(m, im->eval, at_eval, constants, "eval", "") : null;
	for (int i = 0; i < im->ncached; i++)
		cached[i] = trainer_program(m, im->cached[i], at_cached[i], constants, arena_printf(m->a, "cached%d", i), im->cached_key[i]);
	states = blobs_states(b, m, "all_states_init", all, &init);
#define W(x) LLVMConstInt(m->i32, (unsigned long long)(x), 0)
	v = LLVMConstStructInContext(m->c, (LLVMValueRef[]){W(RT_ABI), module_string(m, im->config), W(im->nstages),
		module_array(m, stage_type, stage, im->nstages, "stages"), eval,
		W(all->states.n), module_tensors(m, all, all->states.v, all->states.n, "states_of_all"), n64(m, all->state_bytes),
		states ? states : null, n64(m, init), W(im->ncached),
		module_array(m, m->ptr, cached, im->ncached, "cached"), W(im->nmodels), trainer_models(m, b, im)}, 14, 0);
#undef W
	g = LLVMAddGlobal(m->m, LLVMTypeOf(v), "retort_trainer");
	LLVMSetInitializer(g, v);
	LLVMSetGlobalConstant(g, 1);
}

bool
emit_trainer(struct target *t, const struct trainer_image *im, const char *path, struct diag *d)
{
	struct module *m = module_open(t, "trainer");
	const char *object = arena_printf(m->a, "%s.retort.o", path);
	bool blas = im->eval && program_uses_blas(im->eval), ok;
	enum host_use host = im->eval ? program_host(im->eval) : HOST_NONE;
	struct blobs b;

	for (int i = 0; i < im->nstages; i++)
		blas |= program_uses_blas(im->train[i]), host = most(host, program_host(im->train[i]));
	for (int i = 0; i < im->nstages * im->nmore; i++)
		blas |= program_uses_blas(im->more[i]), host = most(host, program_host(im->more[i]));
	for (int i = 0; i < im->ncached; i++)
		blas |= program_uses_blas(im->cached[i]), host = most(host, program_host(im->cached[i]));
	for (int i = 0; i < im->nstages; i++)
		if (im->share[i])
			blas |= program_uses_blas(im->share[i]), host = most(host, program_host(im->share[i]));
	blobs_open(&b, EMIT_EXE, path);
	trainer_table(m, &b, im);
	ok = blobs_ready(&b, m, d) && module_write(m, &b, EMIT_OBJECT, NULL, NULL, object, d);
	blobs_close(&b, ok);
	if (ok)
		ok = link_exe(t, object, path, true, blas, host, d);
	if (!t->keep_temps)
		remove(object);
	module_close(m);
	return ok;
}
