/* link -- the system's compiler driver and archiver.  They write beside the final
 * name; only a complete file is renamed to it. */
#include "codegen/gen.h"
#include "runtime/link_flags.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

/* What the child says, for the report. */
static int
drain(int fd, struct str *out)
{
	char buf[4096];
	ssize_t n;

	while ((n = read(fd, buf, sizeof buf)) > 0 || (n < 0 && errno == EINTR))
		if (n > 0 && out->n < 1 << 16)
			str_addn(out, buf, (size_t)n);
	return close(fd);
}

bool
link_run(const char *const *argv, struct diag *d)
{
	posix_spawn_file_actions_t fa;
	struct str said = {0};
	int fd[2], err, st = 0;
	pid_t pid;
	bool ok;

	if (pipe2(fd, O_CLOEXEC))
		return diag_io(d, LOC_NONE, "pipe: %s", strerror(errno));
	posix_spawn_file_actions_init(&fa);
	posix_spawn_file_actions_adddup2(&fa, fd[1], 1);
	posix_spawn_file_actions_adddup2(&fa, fd[1], 2);
	err = posix_spawnp(&pid, argv[0], &fa, NULL, (char *const *)(uintptr_t)argv, environ);
	posix_spawn_file_actions_destroy(&fa);
	close(fd[1]);
	if (err) {
		close(fd[0]);
		return diag_io(d, LOC_NONE, "cannot run \"%s\": %s; executables and shared libraries need a C compiler "
		                            "(apt install gcc) or CC set to one", argv[0], strerror(err));
	}
	drain(fd[0], &said);
	while (waitpid(pid, &st, 0) < 0 && errno == EINTR)
		;
	ok = WIFEXITED(st) && WEXITSTATUS(st) == 0;
	if (!ok)
		diag_io(d, LOC_NONE, "%s failed: %s", argv[0], said.s ? said.s : "it said nothing");
	str_free(&said);
	return ok;
}

/* The compiler driver for the target: $CC, else cc here and the GNU cross names. */
static const char *
cc(const struct target *t)
{
	const char *e = getenv("CC");

	if (e && *e && !strchr(e, ' '))
		return e;
	return t->native ? "cc" : t->x86 ? "x86_64-linux-gnu-gcc" : "aarch64-linux-gnu-gcc";
}

static bool
moved(const char *tmp, const char *path, bool ok, struct diag *d)
{
	if (ok && rename(tmp, path))
		ok = diag_io(d, LOC_FILE(path), "cannot write: %s", strerror(errno));
	if (!ok)
		unlink(tmp);
	return ok;
}

static char *
beside(const char *path)
{
	struct str s = {0};

	str_addf(&s, "%s.%ld.tmp", path, (long)getpid());
	return s.s;
}

bool
link_static(struct target *t, const char *object, const char *path, struct diag *d)
{
	const char *e = getenv("AR");
	char *tmp = beside(path);
	const char *ar = e && *e && !strchr(e, ' ') ? e : t->native ? "ar" : t->x86 ? "x86_64-linux-gnu-ar" : "aarch64-linux-gnu-ar";
	bool ok;

	unlink(tmp);
	ok = moved(tmp, path, link_run((const char *[]){ar, "rcsD", tmp, object, NULL}, d), d);
	free(tmp);
	return ok;
}

bool
link_shared(struct target *t, const char *object, const char *path, struct diag *d)
{
	struct str soname = {0};
	char *tmp = beside(path);
	bool ok;

	str_addf(&soname, "-Wl,-soname,%s", path_base(path));
	ok = moved(tmp, path, link_run((const char *[]){cc(t), "-shared", "-o", tmp, object, soname.s, "-Wl,--build-id=none",
	    "-Wl,-z,defs", "-Wl,-z,noexecstack", "-Wl,-z,relro,-z,now", "-Wl,--as-needed", "-lm", NULL}, d), d);
	str_free(&soname);
	free(tmp);
	return ok;
}

/* trainer: with loaders and the trainer's main, else the inference main */
bool
link_exe(struct target *t, const char *object, const char *path, bool trainer, bool blas, struct diag *d)
{
	static const char *const of_trainer[] = {RT_LINK_TRAINER}, *const of_model[] = {RT_LINK_INFER},
	    *const system[] = {RT_LINK_SYSTEM};
	const char *lib = runtime_library(), *argv[40];
	char *tmp = beside(path);
	struct str dir = {0};
	int n = 0;
	bool ok;

	if (!lib) {
		free(tmp);
		return diag_io(d, LOC_FILE(path), "libretort_rt.a is missing beside this compiler; set RETORT_RUNTIME to its path");
	}
	str_add(&dir, "-L");
	str_addn(&dir, lib, (size_t)(path_base(lib) - lib));
	argv[n++] = cc(t);
	argv[n++] = "-o";
	argv[n++] = tmp;
	argv[n++] = object;
	argv[n++] = dir.s;
	argv[n++] = "-Wl,--build-id=none";
	argv[n++] = "-Wl,--gc-sections";
	argv[n++] = "-Wl,-z,noexecstack";
	for (size_t i = 0; i < (trainer ? sizeof of_trainer : sizeof of_model) / sizeof *of_model; i++)
		argv[n++] = trainer ? of_trainer[i] : of_model[i];
	if (blas)
		argv[n++] = RT_LINK_BLAS;
	for (size_t i = 0; i < sizeof system / sizeof *system; i++)
		argv[n++] = system[i];
	argv[n] = NULL;
	ok = moved(tmp, path, link_run(argv, d), d);
	str_free(&dir);
	free(tmp);
	return ok;
}

/* $RETORT_RUNTIME; where the build made it, if that is the compiler running; beside
 * an installed compiler; where it was configured to be installed. */
const char *
runtime_library(void)
{
	static char found[4096];
	static const char *const beside_exe[] = {
		"../runtime/", "runtime/", "../lib/", "../lib/x86_64-linux-gnu/", "../lib/aarch64-linux-gnu/", "../lib64/",
	};
	const char *e = getenv("RETORT_RUNTIME");
	char exe[2048];
	ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);

	if (e && *e) {
		struct stat st;

		snprintf(found, sizeof found, "%s%s", e, stat(e, &st) == 0 && S_ISDIR(st.st_mode) ? "/libretort_rt.a" : "");
		return file_exists(found) ? found : NULL;
	}
	if (n > 0) {
		exe[n] = 0;
		*strrchr(exe, '/') = 0;
		for (size_t i = 0; i < sizeof beside_exe / sizeof *beside_exe; i++) {
			snprintf(found, sizeof found, "%s/%slibretort_rt.a", exe, beside_exe[i]);
			if (file_exists(found))
				return found;
		}
	}
#ifdef RETORT_RUNTIME_BUILT
	if (file_exists(RETORT_RUNTIME_BUILT))
		return RETORT_RUNTIME_BUILT;
#endif
#ifdef RETORT_RUNTIME_INSTALLED
	if (file_exists(RETORT_RUNTIME_INSTALLED))
		return RETORT_RUNTIME_INSTALLED;
#endif
	return NULL;
}
