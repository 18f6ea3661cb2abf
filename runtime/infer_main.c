/* infer_main -- the standalone executable of a model: reads .npy inputs, runs,
 * writes .npy outputs, or measures.  A file with another number of rows than
 * the compiled batch is run in chunks, the last one filled up with its own last
 * row, where all inputs and outputs have that leading dim.  Sizes that the program
 * leaves open are those of the files; they must lie within its bounds. */
#include "host/host.h"
#include "runtime/rt_int.h"

#include <math.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { RT_MAX_SYMS = 64 };
#define FLOPS_PER_THREAD 500e6 /* of a run: some milliseconds; less is not worth starting a thread */

struct port {
	const struct rt_tensor *t;
	const char *path;
	void *file; /* the input file's bytes */
	const unsigned char *rows;
	void *buf;	    /* what the program sees */
	unsigned char *all; /* outputs of all chunks */
	int64_t row_bytes;
	int64_t dims[RT_MAX_RANK]; /* inputs: of the file; outputs: of the run */
};

struct infer {
	const struct rt_program *p;
	struct port *in, *out;
	void **base;
	struct rt_pool *pool;
	int threads, bench;
	int64_t batch, rows; /* compiled leading dim (0: none shared); rows of the files */
	bool open;	     /* sizes are the files', of one run */
	int64_t sym[RT_MAX_SYMS];
	bool bound[RT_MAX_SYMS]; /* a file said so */
	struct rt_msg msg;
};

static void
print_shape(FILE *f, const struct rt_program *p, const struct rt_tensor *t)
{
	fprintf(f, "  %-24s %s[", t->name, rt_dtype_name(t->dtype));
	for (int i = 0; i < t->rank; i++)
		if (t->syms && t->syms[i] >= 0)
			fprintf(f, "%s%s", i ? "," : "", p->syms[t->syms[i]].name);
		else
			fprintf(f, "%s%lld", i ? "," : "", (long long)t->dims[i]);
	fprintf(f, "]\n");
}

static void
usage(FILE *f, const char *exe, const struct rt_program *p)
{
	fprintf(f,
	    "usage: %s INPUT=file.npy... [-o OUTPUT=file.npy]... [--threads N] [--bench N]\n", exe);
	fprintf(f,
	    "Runs %s. Without -o every output is written to OUTPUT.npy in the current folder.\n",
	    p->name);
	fprintf(f, "--threads N: by default one for every %g MFLOP of a run, as many as there are CPUs;\n",
	    FLOPS_PER_THREAD / 1e6);
	fprintf(f, "never changes a byte of the result. --bench N times N runs and prints JSON; inputs\n"
		   "not given are zero. Inputs:\n");
	for (int i = 0; i < p->ninputs; i++)
		print_shape(f, p, &p->inputs[i]);
	fprintf(f, "Outputs:\n");
	for (int i = 0; i < p->noutputs; i++)
		print_shape(f, p, &p->outputs[i]);
	for (int i = 0; i < p->nsyms; i++)
		fprintf(f, "%s is %lld to %lld%s\n", p->syms[i].name, (long long)p->syms[i].lo, (long long)p->syms[i].hi,
		    p->syms[i].measured ? ", found by the run" : "");
}

static struct port *
find(struct port *ports, int n, const char *name, size_t len)
{
	for (int i = 0; i < n; i++)
		if (strlen(ports[i].t->name) == len && strncmp(ports[i].t->name, name, len) == 0)
			return &ports[i];
	return NULL;
}

/* NAME=PATH; a program with one port also takes a bare PATH. */
static bool
bind(struct infer *f, struct port *ports, int n, const char *what, const char *arg)
{
	const char *eq = strrchr(arg, '=');
	struct port *p = eq ? find(ports, n, arg, (size_t)(eq - arg)) : n == 1 ? ports : NULL;
	char names[400] = "";

	if (!p && !eq)
		return rt_fail(&f->msg, RT_USAGE, "%s: expected NAME=file.npy", arg);
	if (!p) {
		for (int i = 0;
		    i < n && strlen(names) + strlen(ports[i].t->name) + 3 < sizeof names; i++) {
			strcat(names, " ");
			strcat(names, ports[i].t->name);
		}
		return rt_fail(
		    &f->msg, RT_USAGE, "%s: no %s of that name; there are:%s", arg, what, names);
	}
	if (p->path)
		return rt_fail(
		    &f->msg, RT_USAGE, "%s: %s %s is given twice", arg, what, p->t->name);
	p->path = eq ? eq + 1 : arg;
	return true;
}

static bool
number(const char *s, int lo, int *v)
{
	char *end;
	long n = strtol(s, &end, 10);

	if (end == s || *end || n < lo || n > 1000000000)
		return false;
	*v = (int)n;
	return true;
}

static bool
parse(struct infer *f, int argc, char **argv)
{
	const struct rt_program *p = f->p;

	for (int i = 1; i < argc; i++) {
		const char *a = argv[i], *v = i + 1 < argc ? argv[i + 1] : NULL;
		int *n = strcmp(a, "--threads") == 0 ? &f->threads
			 : strcmp(a, "--bench") == 0 ? &f->bench
						     : NULL;

		if (n) {
			if (!v || !number(v, 1, n))
				return rt_fail(
				    &f->msg, RT_USAGE, "%s: expected a positive number", a);
			i++;
		} else if (strcmp(a, "-o") == 0) {
			if (!v)
				return rt_fail(&f->msg, RT_USAGE, "-o: expected OUTPUT=file.npy");
			if (!bind(f, f->out, p->noutputs, "output", v))
				return false;
			i++;
		} else if (a[0] == '-') {
			return rt_fail(&f->msg, RT_USAGE, "%s: unknown option; see --help", a);
		} else if (!bind(f, f->in, p->ninputs, "input", a)) {
			return false;
		}
	}
	for (int i = 0; i < p->ninputs && !f->bench; i++)
		if (!f->in[i].path)
			return rt_fail(
			    &f->msg, RT_USAGE, "input %s is missing; see --help", f->in[i].t->name);
	return true;
}

/* The leading dim that all inputs and outputs share, or 0. */
static int64_t
shared_batch(const struct rt_program *p)
{
	int64_t n = 0;

	for (int i = 0; i < p->ninputs + p->noutputs; i++) {
		const struct rt_tensor *t =
		    i < p->ninputs ? &p->inputs[i] : &p->outputs[i - p->ninputs];

		if (t->rank < 1 || t->dims[0] < 1 || (n && t->dims[0] != n))
			return 0;
		n = t->dims[0];
	}
	return n;
}

/* Takes open sizes from the file's. */
static bool
bind_sizes(struct infer *f, struct port *in)
{
	const struct rt_tensor *t = in->t;

	for (int i = 0; t->syms && i < t->rank; i++) {
		int k = t->syms[i];
		const struct rt_sym *s;

		if (k < 0)
			continue;
		s = &f->p->syms[k];
		if (in->dims[i] < s->lo || in->dims[i] > s->hi)
			return rt_fail(&f->msg, RT_INVALID, "%s: input %s: axis %d has size %lld, but %s is %lld to %lld", in->path,
			    t->name, i, (long long)in->dims[i], s->name, (long long)s->lo, (long long)s->hi);
		if (f->bound[k] && f->sym[k] != in->dims[i])
			return rt_fail(&f->msg, RT_INVALID, "%s: input %s: axis %d has size %lld, but %s is %lld in another input",
			    in->path, t->name, i, (long long)in->dims[i], s->name, (long long)f->sym[k]);
		f->sym[k] = in->dims[i];
		f->bound[k] = true;
	}
	return true;
}

/* The dims of a run of these sizes: of inputs compared, of outputs noted (when the
 * sizes that the run finds out are known). */
static bool
run_dims(struct infer *f, bool inputs)
{
	const struct rt_program *p = f->p;
	int64_t *all, *d;
	int n = 0;
	bool ok = true;

	for (int i = 0; i < p->ninputs + p->noutputs; i++)
		n += i < p->ninputs ? p->inputs[i].rank : p->outputs[i - p->ninputs].rank;
	if (!(d = all = calloc((size_t)n + 1, sizeof *all)))
		return rt_fail(&f->msg, RT_INTERNAL, "out of memory");
	p->dims(f->sym, all);
	for (int i = 0; ok && i < p->ninputs + p->noutputs; i++) {
		struct port *o = i < p->ninputs ? &f->in[i] : &f->out[i - p->ninputs];

		for (int k = 0; ok && k < o->t->rank; k++, d++)
			if (i >= p->ninputs)
				o->dims[k] = *d;
			else if (inputs && o->path && o->dims[k] != *d)
				ok = rt_fail(&f->msg, RT_INVALID, "%s: dim %d is %lld, input %s has %lld", o->path, k,
				    (long long)o->dims[k], o->t->name, (long long)*d);
	}
	free(all);
	return ok;
}

static bool
load(struct infer *f, struct port *in)
{
	const struct rt_tensor *t = in->t;
	struct rt_npy h;
	size_t n;
	bool chunks = f->batch > 0;

	in->file = rt_read_file(in->path, &n, &f->msg);
	if (!in->file || !rt_npy_parse(&h, in->file, n, in->path, &f->msg))
		return false;
	in->rows = (unsigned char *)in->file + h.offset;
	if (h.dtype != t->dtype)
		return rt_fail(&f->msg, RT_INVALID, "%s: holds %s, input %s is %s", in->path,
		    rt_dtype_name(h.dtype), t->name, rt_dtype_name(t->dtype));
	if (h.rank != t->rank)
		return rt_fail(&f->msg, RT_INVALID, "%s: has %d dims, input %s has %d", in->path,
		    h.rank, t->name, t->rank);
	memcpy(in->dims, h.dims, sizeof *in->dims * (size_t)h.rank);
	if (f->open)
		return bind_sizes(f, in);
	for (int i = 0; i < h.rank; i++)
		if (h.dims[i] != t->dims[i] && !(i == 0 && chunks))
			return rt_fail(&f->msg, RT_INVALID, "%s: dim %d is %lld, input %s has %lld",
			    in->path, i, (long long)h.dims[i], t->name, (long long)t->dims[i]);
	if (!chunks)
		return true;
	if (f->rows >= 0 && f->rows != h.dims[0])
		return rt_fail(&f->msg, RT_INVALID, "%s: has %lld rows, another input has %lld",
		    in->path, (long long)h.dims[0], (long long)f->rows);
	if (h.dims[0] < 1)
		return rt_fail(&f->msg, RT_INVALID, "%s: has no rows", in->path);
	f->rows = h.dims[0];
	return true;
}

static double
run_flops(const struct rt_program *p)
{
	double flops = 0;

	for (int c = 0; p->flops && c < p->ncalls; c++)
		flops += p->flops[c];
	return flops;
}

static int
enough_threads(const struct rt_program *p)
{
	double wanted = run_flops(p) / FLOPS_PER_THREAD;
	int cpus = 1;
	cpu_set_t set;

	if (sched_getaffinity(0, sizeof set, &set) == 0)
		cpus = CPU_COUNT(&set);
	return wanted < 2 ? 1 : wanted < cpus ? (int)wanted : cpus;
}

/* Maps the weights in a few calls: the faults of a first run would take three times as
 * long.  Where the kernel cannot, they come. */
static void
map_weights(const struct rt_program *p)
{
#ifdef MADV_POPULATE_READ
	uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), base = (uintptr_t)p->constants;

	for (int i = 0; i < p->nreads; i++) {
		uintptr_t from = (base + (uintptr_t)p->reads[2 * i]) / page * page;

		madvise((void *)from, base + (uintptr_t)p->reads[2 * i + 1] - from, MADV_POPULATE_READ);
	}
#endif
}

static bool
prepare(struct infer *f)
{
	const struct rt_program *p = f->p;

	f->rows = -1;
	f->open = p->nsyms > 0 && !p->items;
	f->batch = f->open ? 0 : shared_batch(p);
	for (int i = 0; i < p->nsyms; i++)
		f->sym[i] = p->syms[i].hi;
	f->base[0] = rt_alloc((size_t)p->work_bytes);
	f->base[1] = (void *)p->constants;
	f->base[2] = rt_alloc((size_t)p->state_bytes);
	if (!f->base[0] || !f->base[2])
		return rt_fail(&f->msg, RT_INTERNAL, "out of memory for %lld bytes",
		    (long long)(p->work_bytes + p->state_bytes));
	map_weights(p);
	if (p->state_bytes > 0)
		memcpy(f->base[2], p->state_init, (size_t)p->state_bytes);
	for (int i = 0; i < p->ninputs; i++)
		if (f->in[i].path && !load(f, &f->in[i]))
			return false;
	if (f->open && !run_dims(f, true))
		return false;
	if (f->rows < 0)
		f->rows = f->batch ? f->batch : 1;
	for (int i = 0; i < p->ninputs + p->noutputs; i++) {
		struct port *o = i < p->ninputs ? &f->in[i] : &f->out[i - p->ninputs];

		o->buf = f->base[3 + i] = rt_alloc((size_t)o->t->bytes);
		o->row_bytes = f->batch ? o->t->bytes / f->batch : o->t->bytes;
		if (i >= p->ninputs)
			o->all = rt_alloc((size_t)f->rows * (size_t)o->row_bytes);
		if (!o->buf || (i >= p->ninputs && !o->all))
			return rt_fail(&f->msg, RT_INTERNAL, "out of memory");
	}
	f->pool = rt_pool_create(f->threads ? f->threads : enough_threads(p));
	return f->pool || rt_fail(&f->msg, RT_INTERNAL, "%d threads cannot be started", f->threads);
}

static int64_t
dense_bytes(const struct port *o)
{
	int64_t n = 1, most = 1;

	for (int k = 0; k < o->t->rank; k++) {
		n *= o->dims[k];
		most *= o->t->dims[k];
	}
	return most ? o->t->bytes / most * n : 0;
}

/* Rows [at, at+n) of the files to the program's inputs, the last one repeated. */
static void
fill(struct infer *f, int64_t at, int64_t n)
{
	int64_t batch = f->batch ? f->batch : 1;

	for (int i = 0; i < f->p->ninputs; i++) {
		struct port *in = &f->in[i];

		if (!in->rows)
			continue;
		if (f->open) {
			memcpy(in->buf, in->rows, (size_t)dense_bytes(in));
			continue;
		}
		memcpy(in->buf, in->rows + at * in->row_bytes, (size_t)(n * in->row_bytes));
		for (int64_t r = n; r < batch; r++)
			memcpy((char *)in->buf + r * in->row_bytes,
			    in->rows + (at + n - 1) * in->row_bytes, (size_t)in->row_bytes);
	}
}

/* n items of the batch, where its size is the symbol. */
static void
run(struct infer *f, int64_t n)
{
	if (f->p->items)
		f->sym[0] = n;
	rt_run(f->pool, f->p, f->base, f->p->nsyms ? f->sym : NULL);
	if (rt_status(f->p, f->base))
		rt_fail(&f->msg, RT_INVALID, "the run: %s", host_status_text(rt_status(f->p, f->base)));
}

static void
run_all(struct infer *f)
{
	int64_t step = f->batch ? f->batch : 1;

	for (int64_t at = 0; at < f->rows && !f->msg.status; at += step) {
		int64_t n = f->rows - at < step ? f->rows - at : step;

		fill(f, at, n);
		run(f, n);
		for (int i = 0; i < f->p->noutputs; i++) {
			struct port *o = &f->out[i];

			memcpy(o->all + at * o->row_bytes, o->buf, (size_t)(n * o->row_bytes));
		}
	}
}

static bool
save(struct infer *f)
{
	bool chosen = false;

	for (int i = 0; i < f->p->noutputs; i++)
		chosen |= f->out[i].path != NULL;
	for (int i = 0; i < f->p->noutputs; i++) {
		struct port *o = &f->out[i];
		int64_t dims[RT_MAX_RANK];
		char name[256];

		if (chosen && !o->path)
			continue;
		snprintf(name, sizeof name, "%s.npy", o->t->name);
		for (char *c = name; *c; c++)
			*c = *c == '/' ? '_' : *c;
		if (o->t->rank > RT_MAX_RANK)
			return rt_fail(
			    &f->msg, RT_INTERNAL, "output %s has %d dims", o->t->name, o->t->rank);
		for (int d = 0; d < o->t->rank; d++)
			dims[d] = f->open ? o->dims[d] : d == 0 && f->batch ? f->rows : o->t->dims[d];
		if (!rt_npy_write(
			o->path ? o->path : name, o->t->dtype, o->t->rank, dims, o->all, &f->msg))
			return false;
	}
	return true;
}

static int
order(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static bool
bench(struct infer *f)
{
	double *ms = malloc(sizeof *ms * (size_t)f->bench);

	if (!ms)
		return rt_fail(&f->msg, RT_INTERNAL, "out of memory");
	fill(f, 0, f->batch && f->rows < f->batch ? f->rows : f->batch ? f->batch : 1);
	for (int i = 0; i < 3; i++)
		run(f, f->batch);
	for (int i = 0; i < f->bench; i++) {
		double t = rt_seconds();

		run(f, f->batch);
		ms[i] = 1e3 * (rt_seconds() - t);
	}
	qsort(ms, (size_t)f->bench, sizeof *ms, order);
	printf("{\"ms_min\": %.6g, \"ms_median\": %.6g, \"threads\": %d, \"runs\": %d, \"gflop\": "
	       "%.6g, \"arena_bytes\": %lld}\n",
	    ms[0], ms[f->bench / 2], rt_pool_threads(f->pool), f->bench, 1e-9 * run_flops(f->p),
	    (long long)f->p->work_bytes);
	free(ms);
	return true;
}

static void
clean(struct infer *f)
{
	const struct rt_program *p = f->p;

	rt_pool_destroy(f->pool);
	for (int i = 0; f->in && f->out && i < p->ninputs + p->noutputs; i++) {
		struct port *o = i < p->ninputs ? &f->in[i] : &f->out[i - p->ninputs];

		free(o->file);
		rt_free(o->buf);
		rt_free(o->all);
	}
	if (f->base) {
		rt_free(f->base[0]);
		rt_free(f->base[2]);
	}
	free(f->base);
	free(f->in);
	free(f->out);
}

static bool
infer(struct infer *f, int argc, char **argv)
{
	const struct rt_program *p = f->p;

	if (p->abi != RT_ABI)
		return rt_fail(
		    &f->msg, RT_INTERNAL, "compiled for runtime %u, this is %u", p->abi, RT_ABI);
	for (int i = 0; i < p->ninputs + p->noutputs; i++)
		if ((i < p->ninputs ? p->inputs[i].rank : p->outputs[i - p->ninputs].rank) > RT_MAX_RANK)
			return rt_fail(&f->msg, RT_INTERNAL, "more than %d dims", RT_MAX_RANK);
	if (p->nsyms > RT_MAX_SYMS)
		return rt_fail(&f->msg, RT_INTERNAL, "more than %d symbolic dims", RT_MAX_SYMS);
	f->in = calloc((size_t)p->ninputs + 1, sizeof *f->in);
	f->out = calloc((size_t)p->noutputs + 1, sizeof *f->out);
	f->base = calloc((size_t)(3 + p->ninputs + p->noutputs), sizeof *f->base);
	if (!f->in || !f->out || !f->base)
		return rt_fail(&f->msg, RT_INTERNAL, "out of memory");
	for (int i = 0; i < p->ninputs; i++)
		f->in[i].t = &p->inputs[i];
	for (int i = 0; i < p->noutputs; i++)
		f->out[i].t = &p->outputs[i];
	if (!parse(f, argc, argv) || !prepare(f))
		return false;
	if (f->bench && !bench(f))
		return false;
	for (int i = 0; i < p->ninputs; i++)
		if (!f->in[i].path)
			return true;
	if (f->bench)
		return true;
	run_all(f);
	return !f->msg.status && (!f->open || run_dims(f, false)) && save(f);
}

int
rt_infer_main(const struct rt_program *p, int argc, char **argv)
{
	struct infer f = {.p = p};

	for (int i = 1; i < argc; i++)
		if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
			usage(stdout, argv[0], p);
			return RT_OK;
		}
	if (argc < 2) {
		usage(stderr, argv[0], p);
		return RT_USAGE;
	}
	if (!infer(&f, argc, argv))
		fprintf(stderr, "%s: error: %s\n", p->name, f.msg.text);
	clean(&f);
	return f.msg.status;
}
