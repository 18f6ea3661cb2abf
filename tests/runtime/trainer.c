/* The trainer main end to end, in children: fake_trainer.c's programs on data made
 * here.  What counts is that a run killed at any moment and resumed ends with the
 * bytes of one that was left alone. */
#include "runtime/trainer.h"
#include "tests/runtime/tfevents.h"
#include "tests/runtime/tmp.h"

#include <fcntl.h>
#include <math.h>
#include <pty.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

static char output[65536]; /* what the last child said, stdout and stderr */

struct child {
	const char *env[6]; /* NAME=VALUE */
	const char *args[16];
	long kill_ms; /* > 0: signalled then */
	int signal;
	rlim_t file_limit;
	int tty; /* > 0: in place of a file */
};

static void
start(const struct child *c, const char *out)
{
	char *argv[24];
	int n = 0, fd = c->tty > 0 ? c->tty : open(tmp_path("said"), O_WRONLY | O_CREAT | O_TRUNC, 0666);

	dup2(fd, 1);
	dup2(fd, 2);
	argv[n++] = (char *)FAKE_TRAINER;
	argv[n++] = (char *)"--data";
	argv[n++] = tmp_dir;
	argv[n++] = (char *)"--out";
	argv[n++] = (char *)tmp_path(out);
	for (int i = 0; c->args[i]; i++)
		argv[n++] = (char *)c->args[i];
	argv[n] = NULL;
	for (int i = 0; i < 6 && c->env[i]; i++)
		putenv((char *)c->env[i]);
	if (c->file_limit) {
		struct rlimit l = {c->file_limit, c->file_limit};

		signal(SIGXFSZ, SIG_IGN);
		setrlimit(RLIMIT_FSIZE, &l);
	}
	execv(FAKE_TRAINER, argv);
	_exit(99);
}

/* Exit status, or 256 + the signal that ended it. */
static int
run_child(struct child c, const char *out)
{
	pid_t pid = fork();
	int status;
	struct rt_msg m = {0};
	size_t n;

	assert_true(pid >= 0);
	if (pid == 0)
		start(&c, out);
	if (c.kill_ms > 0) {
		nanosleep(&(struct timespec){c.kill_ms / 1000, c.kill_ms % 1000 * 1000000}, NULL);
		kill(pid, c.signal ? c.signal : SIGKILL);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	char *text = rt_read_file(tmp_path("said"), &n, &m);

	snprintf(output, sizeof output, "%s", text ? text : "");
	free(text);
	return WIFSIGNALED(status) ? 256 + WTERMSIG(status) : WEXITSTATUS(status);
}
#define run(out, ...) run_child((struct child){__VA_ARGS__}, out)
#define ARGS(...) .args = {__VA_ARGS__ __VA_OPT__(, ) NULL}

static void
ok(int status)
{
	if (status != 0)
		fail_msg("status %d: %s", status, output);
}

static void
says(const char *part)
{
	if (!strstr(output, part))
		fail_msg("expected \"%s\" in: %s", part, output);
}

static char *
slurp(const char *out, const char *name, size_t *n)
{
	struct rt_msg m = {0};
	char path[200], *p;

	snprintf(path, sizeof path, "%s/%s", out, name);
	p = rt_read_file(tmp_path(path), n, &m);
	if (!p)
		fail_msg("%s", m.text);
	return p;
}

static void
same(const char *a, const char *b, const char *name)
{
	size_t n, k;
	char *p = slurp(a, name, &n), *q = slurp(b, name, &k);

	assert_int_equal(n, k);
	assert_memory_equal(p, q, n);
	free(p);
	free(q);
}

static bool
exists(const char *out, const char *name)
{
	char path[200];

	snprintf(path, sizeof path, "%s/%s", out, name);
	return access(tmp_path(path), F_OK) == 0;
}

/* A linear teacher's classes over random points. */
static void
write_set(const char *x_name, const char *y_name, int rows, uint64_t seed)
{
	float *x = malloc(sizeof *x * 6 * (size_t)rows);
	int64_t *y = malloc(sizeof *y * (size_t)rows), dx[] = {rows, 2, 3}, dy[] = {rows};
	struct rt_msg m = {0};

	for (int r = 0; r < rows; r++) {
		double z[3] = {0};

		for (int d = 0; d < 6; d++) {
			x[6 * r + d] =
			    (float)(rt_draw(seed, (uint64_t)(6 * r + d)) % 2001) / 1000 - 1;
			for (int c = 0; c < 3; c++)
				z[c] += x[6 * r + d] * sin(3 * d + 7 * c);
		}
		y[r] = z[0] > z[1] ? z[0] > z[2] ? 0 : 2 : z[1] > z[2] ? 1 : 2;
	}
	assert_true(rt_npy_write(tmp_path(x_name), RT_F32, 3, dx, x, &m));
	assert_true(rt_npy_write(tmp_path(y_name), RT_I64, 1, dy, y, &m));
	free(x);
	free(y);
}

static int
setup(void **s)
{
	if (tmp_make(s))
		return -1;
	write_set("train_x.npy", "train_y.npy", 700, 1);
	write_set("test_x.npy", "test_y.npy", 103, 2);
	return 0;
}

static double
number(const char *text, const char *key)
{
	const char *p = strstr(text, key);

	return p ? strtod(p + strlen(key), NULL) : NAN;
}

static struct tf_file
events(const char *out)
{
	size_t n;
	char *p = slurp(out, "events.out.tfevents.0.retort", &n);
	struct tf_file t = tf_read(p, n);

	free(p);
	return t;
}

/* The same values with the same tags at the same steps, whenever they were written. */
static void
same_events(const char *a, const char *b)
{
	struct tf_file p = events(a), q = events(b);

	assert_int_equal(p.nrecords, q.nrecords);
	assert_int_equal(p.n, q.n);
	for (int i = 0; i < p.n; i++) {
		assert_string_equal(p.v[i].tag, q.v[i].tag);
		assert_int_equal(p.v[i].step, q.v[i].step);
		if (strcmp(p.v[i].tag, "train/seconds") != 0 && !strstr(p.v[i].tag, "data_")) /* times */
			assert_true(p.v[i].scalar == q.v[i].scalar && p.v[i].sum == q.v[i].sum);
	}
	tf_free(&p);
	tf_free(&q);
}

/* 6 epochs of 43 steps, every tenth of them shown; what they say is what metrics.jsonl says. */
static void
check_events(const char *out, const char *last_line)
{
	struct tf_file t = events(out);
	const struct tf_value *v = NULL, *h = NULL;
	double in_buckets = 0;

	assert_int_equal(t.nrecords, 2 + 25 + 6 * (1 + 1));
	assert_int_equal(tf_count(&t, "recipe/text_summary", &v), 1);
	assert_string_equal(v->text, "```yaml\nretort: 1\nname: fake\n\n```");
	assert_int_equal(tf_count(&t, "step/loss", &v), 25);
	assert_int_equal(v->step, 250);
	assert_int_equal(tf_count(&t, "step/term.hard", NULL), 25);
	assert_int_equal(tf_count(&t, "step/lr", NULL), 25);
	assert_int_equal(tf_count(&t, "train/lr", NULL), 6);
	assert_int_equal(tf_count(&t, "train/term.hard", NULL), 6);
	assert_int_equal(tf_count(&t, "test/cls.accuracy", &v), 6);
	assert_true(v->scalar == (float)number(last_line, "\"test.cls.accuracy\": "));
	assert_int_equal(tf_count(&t, "train/loss", &v), 6);
	assert_true(fabs(v->scalar - number(last_line, "\"loss\": ")) < 1e-6);
	assert_int_equal(v->step, 6 * 43);
	assert_int_equal(tf_count(&t, "weights/w", &h), 6);
	assert_int_equal(tf_count(&t, "weights/w:momentum", NULL), 0);
	assert_true(h->kind == TF_HISTOGRAM && h->num == 21 && h->nlimits == h->nbuckets && h->nlimits > 10);
	for (int i = 0; i < h->nbuckets; i++) {
		in_buckets += h->bucket[i];
		assert_true(h->limit[i] > (i ? h->limit[i - 1] : h->min));
	}
	assert_true(in_buckets == 21 && h->limit[h->nlimits - 1] == h->max && h->bucket[h->nbuckets - 1] >= 1);
	assert_true(h->squares > h->sum * h->sum / 21);
	tf_free(&t);
}

/* The array of a key: its numbers, and how many they are. */
static int
list(const char *line, const char *key, double *v)
{
	const char *p = strstr(line, key);
	int n = 0, depth = 0;
	char *end;

	assert_non_null(p);
	p += strlen(key);
	do {
		depth += (*p == '[') - (*p == ']');
		if (*p >= '0' && *p <= '9') {
			v[n++] = strtod(p, &end);
			p = end;
		} else {
			p++;
		}
	} while (depth > 0);
	return n;
}

/* What is counted from the rows agrees with itself and with the programs' sums: 103
 * samples in batches of 16. */
static void
check_rows(const char *out)
{
	size_t n;
	char *text = slurp(out, "metrics.jsonl", &n), *last = text;
	double m[9], f1[3], all = 0, mean = 0;

	for (char *p = text; (p = strchr(p, '\n')) && p[1]; last = ++p)
		;
	assert_int_equal(list(last, "\"test.cls.confusion\": ", m), 9);
	assert_int_equal(list(last, "\"test.cls.f1_per_class\": ", f1), 3);
	for (int c = 0; c < 3; c++) {
		double row = m[3 * c] + m[3 * c + 1] + m[3 * c + 2], column = m[c] + m[3 + c] + m[6 + c];

		assert_true(fabs(f1[c] - 2 * m[4 * c] / (row + column)) < 1e-8);
		mean += f1[c] / 3;
		all += row;
	}
	assert_true(all == 103);
	assert_true(fabs(number(last, "\"test.cls.accuracy\": ") - (m[0] + m[4] + m[8]) / 103) < 1e-8);
	assert_true(fabs(number(last, "\"test.cls.f1_macro\": ") - mean) < 1e-8);
	assert_true(number(last, "\"test.cls.roc_auc\": ") > 0.9 && number(last, "\"test.cls.roc_auc\": ") <= 1);
	free(text);
}

static void
learns(void **s)
{
	size_t n;

	(void)s;
	ok(run("a", ARGS("--threads", "1")));
	char *text = slurp("a", "metrics.jsonl", &n), *last = strrchr(text, '{'), *line = text;
	int lines = 0;

	while (line && *line) {
		char *end = strchr(line, '\n');

		lines++;
		line = end ? end + 1 : NULL;
	}
	assert_int_equal(lines, 6);
	/* the last '{' opens the terms of the last line */
	while (last > text && last[-1] != '\n')
		last--;
	assert_true(number(last, "\"loss\": ") < 0.6 * number(text, "\"loss\": "));
	assert_true(number(last, "\"hard\": ") > 0);
	assert_true(number(last, "\"train.cls.accuracy\": ") > 0.9);
	assert_true(number(last, "\"test.cls.accuracy\": ") > 0.85);
	assert_true(number(last, "\"seconds\": ") >= 0 && number(last, "\"lr\": ") > 0);
	assert_true(number(last, "\"epoch\": ") == 6);
	check_events("a", last);
	free(text);
	assert_true(exists("a", "checkpoints/last.ckpt") && exists("a", "checkpoints/best.ckpt"));
	text = slurp("a", "report.html", &n);
	assert_non_null(strstr(text, "<polyline"));
	assert_non_null(strstr(text, "sgd &quot;momentum&quot; 0.9"));
	assert_null(strstr(text, "http"));
	assert_non_null(strstr(text, "class=\"confusion\""));
	assert_non_null(strstr(text, "<img alt=\"sample "));
	free(text);
	check_rows("a");

	ok(run("b", ARGS("--threads", "3")));
	same("a", "b", "student.onnx");
	ok(run("c", ARGS("--seed", "8")));
	text = slurp("c", "student.onnx", &n);
	last = slurp("a", "student.onnx", &n);
	assert_memory_not_equal(text, last, n);
	free(text);
	free(last);
	ok(run("d", ARGS("--no-shuffle", "--epochs", "1", "--export", tmp_path("here.onnx"),
			"--quiet", "--log", tmp_path("log"))));
	assert_int_equal(output[0], 0);
	assert_true(exists(".", "here.onnx") && !exists("d", "student.onnx"));
	text = slurp(".", "log", &n);
	assert_non_null(strstr(text, "epoch 1/1"));
	free(text);
}

static void
kill_and_resume(void **s)
{
	static const long when[] = {15, 40, 90, 130, 170, 220, 280, 330};
	int kills = 0;

	(void)s;
	ok(run("whole", ARGS()));
	for (size_t i = 0; i < sizeof when / sizeof *when; i++) {
		char out[20];
		int status = 256 + SIGKILL;

		snprintf(out, sizeof out, "k%zu", i);
		status =
		    run(out, ARGS("--resume"), .env = {"FAKE_STEP_US=1000"}, .kill_ms = when[i]);
		kills += status != 0;
		if (i % 2 && status) /* once more, on the way */
			run(out, ARGS("--resume", "--threads", "2"), .env = {"FAKE_STEP_US=1000"},
			    .kill_ms = 60);
		ok(run(out, ARGS("--resume")));
		same("whole", out, "student.onnx");
		same_events("whole", out);
		size_t n;
		char *text = slurp(out, "metrics.jsonl", &n);
		int lines = 0;

		for (size_t k = 0; k < n; k++)
			lines += text[k] == '\n';
		assert_int_equal(lines, 6);
		free(text);
	}
	assert_true(kills >= 4);
	ok(run("k0", ARGS("--resume"))); /* done already: leaves the same again */
	same("whole", "k0", "student.onnx");
}

static void
validation_and_stages(void **s)
{
	size_t n;

	(void)s;
	ok(run("v", ARGS("--epochs", "12"), .env = {"FAKE_VAL=1"}));
	char *text = slurp("v", "metrics.jsonl", &n);

	assert_true(number(text, "\"exported_epoch\": ") >= 1);
	assert_true(number(text, "\"val.cls.accuracy\": ") > 0.5);
	assert_non_null(strstr(text, "test.cls.accuracy"));
	free(text);
	for (int i = 0; i < 3; i++) {
		char out[8] = {'v', (char)('0' + i), 0};

		run(out, ARGS("--epochs", "12"), .env = {"FAKE_VAL=1", "FAKE_STEP_US=1000"},
		    .kill_ms = 60 + 70 * i);
		ok(run(out, ARGS("--epochs", "12", "--resume"), .env = {"FAKE_VAL=1"}));
		same("v", out, "student.onnx");
	}
	ok(run("s", ARGS(), .env = {"FAKE_STAGES=1"}));
	says("(warm)");
	for (int i = 0; i < 3; i++) {
		char out[8] = {'s', (char)('0' + i), 0};

		run(out, ARGS(), .env = {"FAKE_STAGES=1", "FAKE_STEP_US=1000"},
		    .kill_ms = 50 + 60 * i);
		ok(run(out, ARGS("--resume"), .env = {"FAKE_STAGES=1"}));
		same("s", out, "student.onnx");
	}
}

/* What a terminal of that many columns is shown; env: one more NAME=VALUE. */
static void
on_terminal(const char *out, int columns, const char *env)
{
	struct winsize w = {.ws_row = 24, .ws_col = (unsigned short)columns};
	int master, slave;
	size_t n = 0;
	ssize_t k;
	pid_t pid;

	assert_int_equal(openpty(&master, &slave, NULL, NULL, &w), 0);
	pid = fork();
	if (pid == 0) {
		struct child c = {.env = {"FAKE_STEP_US=4000", "TERM=xterm", env}, .args = {NULL}, .tty = slave};

		close(master);
		start(&c, out);
	}
	close(slave);
	while ((k = read(master, output + n, sizeof output - 1 - n)) > 0)
		n += (size_t)k;
	output[n] = 0;
	close(master);
	ok(waitpid(pid, &columns, 0) == pid ? columns : -1);
}

static int
count(const char *part)
{
	int n = 0;

	for (const char *p = output; (p = strstr(p, part)); p++)
		n++;
	return n;
}

/* 258 steps of 4 ms: a bar redrawn about ten times a second, as wide as there is room. */
static void
bar(void **s)
{
	(void)s;
	on_terminal("b1", 100, NULL);
	says("epoch 2/6 [");
	says(" %  ");
	says(" steps/s  loss ");
	says("left 0:0");
	says("in all 0:0");
	assert_true(count("\r") > 4 && count("\r") < 40);
	for (char *p = strtok(output, "\r\n"); p; p = strtok(NULL, "\r\n"))
		if (strstr(p, "steps/s"))
			assert_true(strcspn(p, "\033") < 100);
	on_terminal("b2", 40, NULL);
	says("epoch 1/6 [");
	for (char *p = strtok(output, "\r\n"); p; p = strtok(NULL, "\r\n"))
		if (strstr(p, " ["))
			assert_true(strcspn(p, "\033") < 40);
	on_terminal("b3", 100, "NO_COLOR=1");
	assert_null(strstr(output, "\033"));
	says("epoch 6/6  loss");
	on_terminal("b4", 100, "TERM=dumb");
	assert_null(strstr(output, "\033"));
	says("epoch 6/6  loss");
}

static void
cached_teachers(void **s)
{
	(void)s;
	ok(run("t", ARGS(), .env = {"FAKE_CACHE=1", "FAKE_TEACHER_SAYS=1"}));
	says("teacher at work");
	says("teacher outputs of the train data cached");
	assert_true(exists("t", "cache/big.train.rtc"));
	ok(run("t", ARGS(), .env = {"FAKE_CACHE=1", "FAKE_TEACHER_SAYS=1"}));
	assert_null(strstr(output, "teacher at work")); /* read again */
	write_set("train_x.npy", "train_y.npy", 700, 5);
	ok(run("t", ARGS(), .env = {"FAKE_CACHE=1", "FAKE_TEACHER_SAYS=1"}));
	says("teacher at work"); /* other data, other cache */
	tmp_write("t/cache/big.train.rtc", "damaged", 7);
	ok(run("t", ARGS(), .env = {"FAKE_CACHE=1", "FAKE_TEACHER_SAYS=1"}));
	says("teacher at work");
	assert_int_equal(run("t", ARGS(), .env = {"FAKE_CACHE=1", "FAKE_AUGMENT=1"}), RT_INVALID);
	says("cannot be cached while training data is augmented");
}

static void
interrupt(void **s)
{
	(void)s;
	ok(run("whole", ARGS()));
	assert_int_equal(
	    run("i", ARGS(), .env = {"FAKE_STEP_US=1000"}, .kill_ms = 120, .signal = SIGINT), 130);
	says("--resume");
	says("checkpoint");
	assert_false(exists("i", "student.onnx"));
	ok(run("i", ARGS("--resume")));
	same("whole", "i", "student.onnx");
	ok(run("st", ARGS("--steps", "100")));
	assert_true(exists("st", "student.onnx"));
	says("100 updates");
	ok(run("st", ARGS("--steps", "100", "--resume")));
	ok(run("st", ARGS("--resume")));
	same("whole", "st", "student.onnx");
}

static void
goes_wrong(void **s)
{
	size_t n, k;

	(void)s;
	assert_int_equal(run("n", ARGS(), .env = {"FAKE_NAN=100"}), RT_DIVERGED);
	says("epoch 3 step 14 (update 100); terms: hard");
	assert_false(exists("n", "student.onnx"));
	ok(run("g", ARGS("--steps", "60")));
	char *before = slurp("g", "checkpoints/last.ckpt", &n);

	assert_int_equal(run("g", ARGS("--resume"), .env = {"FAKE_NAN=61"}), RT_DIVERGED);
	char *after = slurp("g", "checkpoints/last.ckpt", &k);

	assert_int_equal(n, k);
	assert_memory_equal(before, after, n);
	/* a checkpoint of another run, cut, and changed */
	assert_int_equal(run("g", ARGS("--resume", "--seed", "99")), RT_INVALID);
	says("made by another recipe");
	before[n - 5] ^= 1;
	tmp_write("g/checkpoints/last.ckpt", before, n);
	assert_int_equal(run("g", ARGS("--resume")), RT_INVALID);
	says("checksum");
	tmp_write("g/checkpoints/last.ckpt", before, n - 1);
	assert_int_equal(run("g", ARGS("--resume")), RT_INVALID);
	says("truncated");
	tmp_write("g/checkpoints/last.ckpt", before, 5);
	assert_int_equal(run("g", ARGS("--resume")), RT_INVALID);
	free(before);
	free(after);
	/* no room: the files may not grow beyond a few bytes */
	assert_int_equal(run("full", ARGS(), .file_limit = 400), RT_IO);
	says("cannot be written");
	assert_false(exists("full", "student.onnx"));
	assert_false(exists("full", "checkpoints/last.ckpt"));
	assert_int_equal(run("u", ARGS("--batch", "32")), RT_USAGE);
	says("compiled for a batch of 16");
	ok(run("u", ARGS("--batch", "16", "--dry-run")));
	says("everything is in order");
	assert_false(exists("u", "metrics.jsonl"));
	ok(run("u", ARGS("--bench-steps", "5")));
	assert_true(
	    number(output, "\"step_ms_min\": ") >= 0 && number(output, "\"threads\": ") >= 1);
	assert_false(exists("u", "metrics.jsonl"));
	int64_t label[700] = {[12] = 3};
	struct rt_msg m = {0};

	assert_true(rt_npy_write(tmp_path("train_y.npy"), RT_I64, 1, (int64_t[]){700}, label, &m));
	assert_int_equal(run("l", ARGS()), RT_INVALID);
	says("train_y.npy: sample 12 of field label is 3, outside the 3 classes 0..2");
	unlink(tmp_path("train_y.npy"));
	assert_int_equal(run("l", ARGS()), RT_IO);
	says("train_y.npy: No such file");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(learns, setup, tmp_clean),
	    cmocka_unit_test_setup_teardown(kill_and_resume, setup, tmp_clean),
	    cmocka_unit_test_setup_teardown(validation_and_stages, setup, tmp_clean),
	    cmocka_unit_test_setup_teardown(bar, setup, tmp_clean),
	    cmocka_unit_test_setup_teardown(cached_teachers, setup, tmp_clean),
	    cmocka_unit_test_setup_teardown(interrupt, setup, tmp_clean),
	    cmocka_unit_test_setup_teardown(goes_wrong, setup, tmp_clean),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
