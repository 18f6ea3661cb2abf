/* memory -- what the process's memory is for: the compiler's plan of a step, and what
 * the runtime adds to it.  What the plan names is brought into memory before the
 * first step, so that what is printed is what is resident. */
#include "runtime/trainer.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Of the executable, by the linker: from its start to the end of its code. */
extern const char __executable_start[] __attribute__((weak)), etext[] __attribute__((weak));

static void
touch(const void *p, size_t bytes)
{
	const volatile char *c = p;

	for (size_t i = 0; i < bytes; i += 4096)
		(void)c[i];
}

/* A field of /proc/self/status in bytes; 0: not known. */
static int64_t
status_field(const char *key)
{
	FILE *f = fopen("/proc/self/status", "r");
	char line[200];
	long long kib = 0;

	while (f && fgets(line, sizeof line, f))
		if (strncmp(line, key, strlen(key)) == 0)
			sscanf(line + strlen(key), ": %lld", &kib);
	if (f)
		fclose(f);
	return 1024 * (int64_t)kib;
}

/* Programs that run, one by one; NULL: no more. */
static const struct rt_program *
program(const struct run *r, int i)
{
	bool evaluates = dataset_has(&r->data, SPLIT_VAL) || dataset_has(&r->data, SPLIT_TEST);

	for (int k = 0; k < r->t->nstages; k++) {
		const struct rt_stage *s = &r->t->stages[k];

		if (i <= s->nmore)
			return i ? s->more[i - 1] : s->train;
		i -= s->nmore + 1;
	}
	return i == 0 && evaluates ? r->t->eval : NULL;
}

/* The one with most work memory. */
static const struct rt_program *
largest(const struct run *r)
{
	const struct rt_program *p = program(r, 0), *x;

	for (int i = 1; (x = program(r, i)) != NULL; i++)
		if (x->work_bytes > p->work_bytes)
			p = x;
	return p;
}

/* Does an earlier program read these constants too? */
static bool
read_before(const struct run *r, int program_index, const int64_t *stretch)
{
	for (int i = 0; i < program_index; i++) {
		const struct rt_program *p = program(r, i);

		for (int k = 0; k < p->nreads; k++)
			if (p->reads[2 * k] <= stretch[0] && stretch[1] <= p->reads[2 * k + 1])
				return true;
	}
	return false;
}

/* Bytes of the constants, which come into memory if they are touched. */
static int64_t
constants(const struct run *r, bool touched)
{
	const struct rt_program *p;
	int64_t sum = 0;

	for (int i = 0; (p = program(r, i)) != NULL; i++)
		for (int k = 0; k < p->nreads; k++) {
			const int64_t *x = &p->reads[2 * k];

			if (read_before(r, i, x))
				continue;
			sum += x[1] - x[0];
			if (touched)
				touch((const char *)p->constants + x[0], (size_t)(x[1] - x[0]));
		}
	return sum;
}

static void
touch_batch(struct exec *e)
{
	for (int i = 0; e->p && i < e->p->ninputs + e->p->noutputs; i++) {
		const struct rt_tensor *t = i < e->p->ninputs ? &e->p->inputs[i] : &e->p->outputs[i - e->p->ninputs];

		for (int64_t k = 0; e->own[i] && k < t->bytes; k += 4096)
			((volatile char *)e->own[i])[k] = 0;
	}
	for (int i = 0; i < e->nmore; i++)
		touch_batch(&e->more[i]);
}

/* Code and constants; work memory and batches where they are allocated. */
void
memory_settle(struct run *r)
{
	volatile char *work = r->work;

	if (__executable_start)
		touch(__executable_start, (size_t)((uintptr_t)etext - (uintptr_t)__executable_start));
	constants(r, true);
	for (int64_t i = 0; work && i < r->work_bytes; i += 4096)
		work[i] = 0;
	for (int i = 0; work && i < r->t->nstages; i++)
		touch_batch(&r->train[i]);
	if (work)
		touch_batch(&r->eval);
	r->settled = true;
}

static int64_t
tensor_bytes(const struct rt_tensor *t, int n)
{
	int64_t sum = 0;

	for (int i = 0; i < n; i++)
		sum += (t[i].bytes / RT_ALIGN + 1) * RT_ALIGN;
	return sum;
}

/* What the program has allocated for itself. */
static int64_t
own_bytes(const struct exec *e)
{
	int64_t sum = 0;

	for (int i = 0; e->p && i < e->p->ninputs; i++)
		sum += e->own[i] ? tensor_bytes(&e->p->inputs[i], 1) : 0;
	sum += e->p ? tensor_bytes(e->p->outputs, e->p->noutputs) : 0;
	for (int i = 0; i < e->nmore; i++)
		sum += own_bytes(&e->more[i]);
	return sum;
}

struct data_bytes { int64_t decoded, batch, mapped; }; /* batch: of what is mapped */

static struct data_bytes
data_bytes(const struct run *r)
{
	struct data_bytes d = {0};

	for (int s = 0; s < r->data.nsets; s++)
		for (int k = 0; k < NSPLITS; k++)
			for (int f = 0; r->data.sets[s].arrays[k] && f < r->cfg.sets[s].nfields; f++) {
				const struct rt_array *a = &r->data.sets[s].arrays[k][f];

				*(a->map ? &d.mapped : &d.decoded) += a->held * a->row_bytes;
				d.batch += a->map && k == SPLIT_TRAIN ? r->cfg.sets[s].batch * a->row_bytes : 0;
			}
	return d;
}

/* Rows that have nothing are left out. */
static void
add(struct memory_plan *m, const char *what, int64_t bytes)
{
	if (bytes > 0 && m->n < MEMORY_PLAN_ROWS)
		m->row[m->n++] = (struct rt_memory){what, bytes};
	m->bytes += bytes;
}

/* The last row is what the process has besides: code, libraries, tables, stacks. */
void
memory_plan(const struct run *r, struct memory_plan *m)
{
	const struct rt_program *p = largest(r);
	struct data_bytes data = data_bytes(r);
	int64_t slots = 0, own = 0, kept = 0, io, there;

	*m = (struct memory_plan){.mapped = data.mapped};
	for (int i = 0; i < r->t->nstages && r->work; i++)
		own += own_bytes(&r->train[i]);
	own += own_bytes(&r->eval);
	/* the inputs of a step come when it is filled */
	io = tensor_bytes(p->inputs, p->ninputs) + (own ? own : tensor_bytes(p->outputs, p->noutputs));
	for (int i = 0; i < r->states.n; i++)
		slots += r->states.v[i].slot ? r->states.v[i].bytes : 0;
	add(m, "student weights", r->states.bytes - slots);
	add(m, "optimiser slots", slots);
	add(m, "best epoch's states", r->best ? r->states.bytes : 0);
	add(m, "averaged weights", r->averaged ? r->states.bytes : 0);
	for (int i = 0; i < p->nmemory; i++)
		add(m, p->memory[i].what, p->memory[i].bytes);
	if (p->nmemory == 0)
		add(m, "work", p->work_bytes);
	add(m, "another program's work", r->work_bytes - p->work_bytes);
	add(m, "constants", constants(r, false));
	add(m, "batch buffers", io);
	add(m, "data", data.decoded + data.batch);
	for (int i = 0; i < r->answers.n; i++)
		kept += r->answers.v[i].tally.bytes;
	add(m, "rows kept for metrics", kept);
	there = r->states.bytes + data.decoded;
	if (r->settled)
		there += constants(r, false) + (r->work ? r->work_bytes + own : 0);
	add(m, "runtime", status_field("VmRSS") - there);
}

void
memory_print(FILE *f, const struct memory_plan *m)
{
	fprintf(f, "  memory of a step  %lld bytes\n", (long long)m->bytes);
	for (int i = 0; i < m->n; i++)
		fprintf(f, "    %12lld  %s\n", (long long)m->row[i].bytes, m->row[i].what);
	if (m->mapped)
		fprintf(f, "    %12lld  more of mapped data files, while nothing else needs the room\n", (long long)m->mapped);
}

/* "memory_bytes": {...}, for the object that a benchmark prints */
void
memory_json(FILE *f, const struct memory_plan *m)
{
	fprintf(f, "\"memory_bytes\": {");
	for (int i = 0; i < m->n; i++)
		fprintf(f, "\"%s\": %lld, ", m->row[i].what, (long long)m->row[i].bytes);
	fprintf(f, "\"planned\": %lld, \"resident\": %lld}", (long long)m->bytes, (long long)status_field("VmHWM"));
}
