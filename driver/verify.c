/* retort verify: compiled code against expected outputs.  A case is a folder with
 * model.onnx and test_data_set_N/ (ONNX's layout), or a model with its inputs and
 * --ref outputs.  Every case runs in a forked child under limits of time and
 * memory, so that one that crashes or hangs is one failed case. */
#include "driver/verify.h"

#include <dirent.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

const char *const form_name[NFORM] = {"static", "symbolic", "constants"};
static const char *const outcome_name[NOUTCOME] = {"passed", "failed", "unsupported"};

struct testcase {
	const char *path;           /* folder, or the model itself when dir is false */
	bool dir;
	enum form form;
	pid_t pid;
	int64_t started;
	bool timed_out;
	FILE *report;               /* the child's text */
	struct case_result *result; /* shared with the child */
	bool done;
	enum outcome outcome;
};
struct cases { struct testcase *v; int n, cap; };

/* ---- finding cases */
static int
by_path(const void *a, const void *b)
{
	const struct testcase *x = a, *y = b;
	int c = strcmp(x->path, y->path);

	return c ? c : (int)x->form - (int)y->form;
}

static void
find_cases(struct driver *d, const char *dir, int depth, struct cases *c)
{
	struct dirent *e;
	DIR *dp;

	if (file_exists(arena_printf(d->arena, "%s/model.onnx", dir))) {
		vec_push(d->arena, c, (struct testcase){.path = dir, .dir = true});
		return;
	}
	dp = depth > 0 ? opendir(dir) : NULL;
	while (dp && (e = readdir(dp))) {
		struct stat st;
		const char *sub = arena_printf(d->arena, "%s/%s", dir, e->d_name);

		if (e->d_name[0] != '.' && stat(sub, &st) == 0 && S_ISDIR(st.st_mode))
			find_cases(d, sub, depth - 1, c);
	}
	if (dp)
		closedir(dp);
}

/* ---- children */
#if defined(__SANITIZE_ADDRESS__)
enum { LIMIT_MEMORY = 0 }; /* shadow memory is larger than any limit */
#else
enum { LIMIT_MEMORY = 1 };
#endif

static _Noreturn void
child(struct driver *d, const struct testcase *c)
{
	struct rlimit limit = {(rlim_t)d->o.memory_mib << 20, (rlim_t)d->o.memory_mib << 20};
	struct case_result *r = c->result;
	bool ok;

	if (LIMIT_MEMORY)
		setrlimit(RLIMIT_AS, &limit);
	limit.rlim_cur = limit.rlim_max = 0;
	setrlimit(RLIMIT_CORE, &limit);
	dup2(fileno(c->report), 1);
	dup2(fileno(c->report), 2);
	r->same = true;
	ok = c->dir ? verify_folder(d, c->path, c->form, r) : verify_model(d, c->form, r);
	r->status = ok ? STATUS_OK : d->diag.status;
	r->finished = true;
	fflush(stdout);
	_exit(0);
}

static bool
start_case(struct driver *d, struct testcase *c)
{
	c->report = tmpfile();
	if (!c->report)
		return diag_io(&d->diag, LOC_NONE, "no temporary file can be made");
	c->result = mmap(NULL, sizeof *c->result, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (c->result == MAP_FAILED)
		return diag_io(&d->diag, LOC_NONE, "no memory to share with a case");
	fflush(stdout);
	fflush(stderr);
	c->started = now_ns();
	c->pid = fork();
	if (c->pid < 0)
		return diag_error(&d->diag, STATUS_INTERNAL, LOC_NONE, "cannot fork");
	if (c->pid == 0)
		child(d, c);
	return true;
}

static void
finish_case(struct driver *d, struct testcase *c, int wait_status, struct op_table *table)
{
	struct case_result *r = c->result;
	struct str s = {0};
	char buf[4096];
	size_t n;

	rewind(c->report);
	while ((n = fread(buf, 1, sizeof buf, c->report)) > 0)
		str_addn(&s, buf, n);
	fclose(c->report);
	c->done = true;
	c->outcome = !r->finished                       ? FAILED
	             : r->status == STATUS_UNSUPPORTED  ? UNSUPPORTED
	             : r->status == STATUS_OK && r->same ? PASSED
	                                                : FAILED;
	if (c->timed_out)
		str_addf(&s, "  stopped after %" PRId64 " s (--timeout)\n", d->o.timeout_s);
	else if (!r->finished && WIFSIGNALED(wait_status))
		str_addf(&s, "  crashed: %s\n", strsignal(WTERMSIG(wait_status)));
	if (!c->dir && r->finished && r->status != STATUS_OK && d->diag.status == STATUS_OK)
		d->diag.status = r->status; /* the child has reported it */
	if (c->outcome == PASSED && *r->bound)
		str_addf(&s, "  with %s as constants\n", r->bound);
	if (c->outcome != PASSED || !d->o.quiet) {
		printf("%s %s%s%s (%.2f s)\n", c->outcome == PASSED ? "ok  " : c->outcome == FAILED ? "FAIL" : "none", c->path,
		       c->form == FORM_STATIC ? "" : " as ", c->form == FORM_STATIC ? "" : form_name[c->form],
		       (double)(now_ns() - c->started) / 1e9);
		fputs(s.s ? s.s : "", stdout);
	}
	str_free(&s);
	op_table_add(table, r, c->form, c->outcome);
	munmap(r, sizeof *r);
	c->result = NULL;
}

/* Keeps up to --jobs children going; kills those over time. */
static bool
run_cases(struct driver *d, struct cases *c, struct op_table *table)
{
	int next = 0, running = 0, done = 0;

	while (done < c->n) {
		int status;
		pid_t pid;

		while (next < c->n && running < d->o.jobs) {
			if (!start_case(d, &c->v[next]))
				return false;
			next++;
			running++;
		}
		pid = waitpid(-1, &status, WNOHANG);
		if (pid <= 0) {
			usleep(500);
			for (int i = 0; i < next; i++)
				if (!c->v[i].done && !c->v[i].timed_out && now_ns() - c->v[i].started > d->o.timeout_s * 1000000000) {
					c->v[i].timed_out = true;
					kill(c->v[i].pid, SIGKILL);
				}
			continue;
		}
		for (int i = 0; i < next; i++)
			if (!c->v[i].done && c->v[i].pid == pid) {
				finish_case(d, &c->v[i], status, table);
				running--;
				done++;
			}
	}
	return true;
}

static void
print_json(const struct cases *c, const int *count)
{
	struct str s = {0};

	str_addf(&s, "{\"passed\":%d,\"failed\":%d,\"unsupported\":%d,\"cases\":[", count[PASSED], count[FAILED], count[UNSUPPORTED]);
	for (int i = 0; i < c->n; i++) {
		str_add(&s, i ? ",{\"case\":" : "{\"case\":");
		str_json(&s, c->v[i].path);
		str_addf(&s, ",\"as\":\"%s\",\"outcome\":\"%s\"}", form_name[c->v[i].form], outcome_name[c->v[i].outcome]);
	}
	str_add(&s, "]}");
	puts(s.s);
	str_free(&s);
}

/* --as: bit f for form f. */
static bool
forms_asked(struct driver *d, unsigned *forms)
{
	*forms = 1u << FORM_STATIC;
	if (!d->o.as)
		return true;
	*forms = strcmp(d->o.as, "all") == 0 ? (1u << NFORM) - 1 : 0;
	for (int f = 0; f < NFORM; f++)
		if (strcmp(d->o.as, form_name[f]) == 0)
			*forms = 1u << f;
	if (!*forms)
		return diag_usage(&d->diag, "--as=%s: static, symbolic, constants or all", d->o.as);
	return true;
}

static bool
gather_cases(struct driver *d, struct cases *c)
{
	struct cases found = {0};
	unsigned forms;

	if (!forms_asked(d, &forms))
		return false;
	if (d->o.args.n == 0)
		return diag_usage(&d->diag, "give case folders, or a model with inputs and --ref: retort verify M.onnx x=x.npy --ref y=y.npy");
	if (d->o.refs.n)
		vec_push(d->arena, &found, (struct testcase){.path = d->o.args.v[0]});
	for (int i = 0; !d->o.refs.n && i < d->o.args.n; i++) {
		int before = found.n;

		if (!file_exists(d->o.args.v[i]))
			return diag_io(&d->diag, LOC_FILE(d->o.args.v[i]), "no such file or folder");
		find_cases(d, d->o.args.v[i], 8, &found);
		if (found.n == before)
			return diag_usage(&d->diag, "%s: no case here (a folder with model.onnx and test_data_set_0/); for a model give --ref",
			                  d->o.args.v[i]);
	}
	for (int i = 0; i < found.n; i++)
		for (int f = 0; f < NFORM; f++)
			if (forms >> f & 1) {
				found.v[i].form = (enum form)f;
				vec_push(d->arena, c, found.v[i]);
			}
	qsort(c->v, (size_t)c->n, sizeof *c->v, by_path);
	return true;
}

bool
verb_verify(struct driver *d)
{
	struct op_table table = {.a = d->arena};
	struct cases c = {0};
	int count[NOUTCOME] = {0};

	d->as_file = true;
	if (!gather_cases(d, &c) || !run_cases(d, &c, &table))
		return false;
	for (int i = 0; i < c.n; i++)
		count[c.v[i].outcome]++;
	if (d->o.json)
		print_json(&c, count);
	if (d->o.table && !op_table_print(d, &table))
		return false;
	printf("verify: %d passed, %d failed, %d unsupported\n", count[PASSED], count[FAILED], count[UNSUPPORTED]);
	if (count[FAILED] && (d->diag.status == STATUS_OK || !d->o.refs.n))
		d->diag.status = STATUS_VERIFY;
	return d->diag.status == STATUS_OK;
}
