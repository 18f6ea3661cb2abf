/* jit -- a program compiled into this process: the same object a file would get,
 * linked by ORC.  Constants and states stay in the compiler's memory. */
#include "codegen/gen.h"
#include "host/host.h"

#include <stdlib.h>
#include <string.h>

#include <llvm-c/Error.h>
#include <llvm-c/LLJIT.h>
#include <llvm-c/Orc.h>

struct jit {
	struct arena *a;
	LLVMOrcLLJITRef orc;
	struct rt_program p;
	unsigned char *constants, *state;
};

static void
check(const char *what, LLVMErrorRef e)
{
	if (e)
		llvm_die(what, LLVMGetErrorMessage(e));
}

static const struct rt_tensor *
tensors(struct arena *a, const struct graph *g, const struct io *io, int n)
{
	struct rt_tensor *t = arena_array(a, struct rt_tensor, n + 1);

	for (int i = 0; i < n; i++) {
		int64_t *dims = arena_array(a, int64_t, io[i].value->rank + 1);

		for (int k = 0; k < io[i].value->rank; k++)
			dims[k] = dim_hi(g, io[i].value->dims[k]);
		t[i] = (struct rt_tensor){
			.name = arena_strdup(a, io[i].name),
			.dtype = dtype_info[io[i].buffer->dtype].onnx,
			.rank = io[i].value->rank,
			.dims = dims,
			.bytes = io[i].buffer->bytes,
			.offset = io[i].buffer->offset,
		};
	}
	return t;
}

static void
describe(struct jit *j, const struct program *p, const char *manifest)
{
	int64_t *pieces = arena_array(j->a, int64_t, p->calls.n + 1);
	const char **names = arena_array(j->a, const char *, p->calls.n + 1);
	double *flops = arena_array(j->a, double, p->calls.n + 1);

	struct rt_sym *syms = arena_array(j->a, struct rt_sym, p->nsym + 1);

	for (int i = 0; i < p->nsym; i++)
		syms[i] = (struct rt_sym){arena_strdup(j->a, dim_text(p->graph, p->sym[i])), dim_lo(p->graph, p->sym[i]),
		    dim_hi(p->graph, p->sym[i]), i >= p->ngiven};
	for (int i = 0; i < p->calls.n; i++) {
		pieces[i] = call_pieces(&p->calls.v[i]);
		names[i] = call_name(j->a, &p->calls.v[i]);
		flops[i] = call_flops(&p->calls.v[i]);
	}
	j->constants = program_blob(p, SPACE_CONST, p->const_bytes);
	j->state = program_blob(p, SPACE_STATE, p->state_bytes);
	j->p = (struct rt_program){
		.abi = RT_ABI,
		.name = arena_strdup(j->a, p->name ? p->name : ""),
		.ncalls = p->calls.n,
		.ninputs = p->inputs.n,
		.noutputs = p->outputs.n,
		.nstates = p->states.n,
		.nsyms = p->nsym,
		.syms = syms,
		.items = p->items,
		.pieces = pieces,
		.call_names = names,
		.flops = flops,
		.work_bytes = p->work_bytes,
		.const_bytes = p->const_bytes,
		.state_bytes = p->state_bytes,
		.constants = j->constants,
		.state_init = j->state,
		.inputs = tensors(j->a, p->graph, p->inputs.v, p->inputs.n),
		.outputs = tensors(j->a, p->graph, p->outputs.v, p->outputs.n),
		.states = tensors(j->a, p->graph, p->states.v, p->states.n),
		.manifest = arena_strdup(j->a, manifest ? manifest : ""),
		.status_at = program_status_at(p),
	};
}

static void
define(struct jit *j, const char *symbol, uintptr_t address)
{
	LLVMOrcCSymbolMapPair s = {
		.Name = LLVMOrcLLJITMangleAndIntern(j->orc, symbol),
		.Sym = {.Address = (LLVMOrcExecutorAddress)address,
		    .Flags = {LLVMJITSymbolGenericFlagsExported | LLVMJITSymbolGenericFlagsCallable, 0}},
	};

	check(symbol, LLVMOrcJITDylibDefine(LLVMOrcLLJITGetMainJITDylib(j->orc), LLVMOrcAbsoluteSymbols(&s, 1)));
}

/* libm from this process; rt_sgemm from whoever opened the target; host functions */
static void
symbols(struct jit *j, struct target *t, const struct program *p)
{
	LLVMOrcJITDylibRef lib = LLVMOrcLLJITGetMainJITDylib(j->orc);
	LLVMOrcDefinitionGeneratorRef gen;

	if (t->sgemm)
		define(j, "rt_sgemm", (uintptr_t)t->sgemm);
	for (int i = 0; i < p->calls.n; i++) {
		const struct host_call *h = p->calls.v[i].host;
		bool first = h != NULL;

		for (int k = 0; first && k < i; k++)
			first = !p->calls.v[k].host || strcmp(p->calls.v[k].host->symbol, h->symbol) != 0;
		if (first) {
			rt_host_fn *fn = host_function(h->symbol);

			if (!fn)
				die("no host function %s", h->symbol);
			define(j, h->symbol, (uintptr_t)fn);
		}
	}
	check("symbols of this process", LLVMOrcCreateDynamicLibrarySearchGeneratorForProcess(&gen,
	    LLVMOrcLLJITGetGlobalPrefix(j->orc), NULL, NULL));
	LLVMOrcJITDylibAddGenerator(lib, gen);
}

struct jit *
jit_open(struct target *t, const struct program *p, const char *manifest, struct diag *d)
{
	struct module *m;
	struct jit *j;
	LLVMMemoryBufferRef obj;
	LLVMOrcExecutorAddress call;

	if (!t->runs) {
		diag_usage(d, "--%s=%s: this machine cannot run that code in process", t->native ? "cpu" : "target", t->native ? t->cpu : t->triple);
		return NULL;
	}
	m = module_open(t, p->name ? p->name : "retort");
	module_call(m, p, "retort_call", true);
	module_finish(m);
	obj = module_object(m, LLVMObjectFile);
	module_close(m);
	j = xcalloc(1, sizeof *j);
	j->a = arena_create();
	check("ORC", LLVMOrcCreateLLJIT(&j->orc, NULL));
	symbols(j, t, p);
	check("linking code in process", LLVMOrcLLJITAddObjectFile(j->orc, LLVMOrcLLJITGetMainJITDylib(j->orc), obj));
	check("looking up the code", LLVMOrcLLJITLookup(j->orc, &call, "retort_call"));
	describe(j, p, manifest);
	j->p.call = (rt_call_fn *)(uintptr_t)call;
	return j;
}

const struct rt_program *
jit_program(const struct jit *j)
{
	return &j->p;
}

void
jit_close(struct jit *j)
{
	if (!j)
		return;
	check("closing ORC", LLVMOrcDisposeLLJIT(j->orc));
	free(j->constants);
	free(j->state);
	arena_destroy(j->a);
	free(j);
}
