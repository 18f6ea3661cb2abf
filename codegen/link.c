/* link -- executables and shared libraries by the system's compiler driver, and what
 * goes into a static library.  All is written beside the final name; only a complete
 * file is renamed to it. */
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

/* The archive of host functions, beside the runtime's; NULL: reported. */
static char *
host_library(const char *path, struct diag *d)
{
	const char *lib = runtime_library();
	struct str s = {0};

	if (lib) {
		str_addn(&s, lib, (size_t)(path_base(lib) - lib));
		str_add(&s, "libretort_host.a");
		if (file_exists(s.s))
			return s.s;
	}
	str_free(&s);
	diag_io(d, LOC_FILE(path), "libretort_host.a is missing beside this compiler; set RETORT_RUNTIME to its folder");
	return NULL;
}

/* "libpng16.a:libjpeg.a...": what host/ was built to read images with */
static const char image_archives[] = RETORT_IMAGE_ARCHIVES;

/* "-l:libNAME.a" for each of them, or "-lNAME"; how many */
static int
image_flags(struct arena *a, bool archives, const char **argv)
{
	int n = 0;

	for (const char *s = image_archives; *s; s += *s == ':') {
		size_t len = strcspn(s, ":");

		require(len > 5); /* lib and .a around a name */
		argv[n++] = archives ? arena_printf(a, "-l:%.*s", (int)len, s) : arena_printf(a, "-l%.*s", (int)len - 5, s + 3);
		s += len;
	}
	return n;
}

/* Where the system keeps its archives. */
static const char *
system_archive(struct arena *a, const struct target *t, const char *name, int n)
{
	const char *dirs[] = {t->x86 ? "/usr/lib/x86_64-linux-gnu" : "/usr/lib/aarch64-linux-gnu", "/usr/local/lib", "/usr/lib64",
	    "/usr/lib"};

	for (size_t i = 0; i < sizeof dirs / sizeof *dirs; i++) {
		const char *path = arena_printf(a, "%s/%.*s", dirs[i], n, name);

		if (file_exists(path))
			return path;
	}
	return NULL;
}

/* The module's object, and beside it the members of the host archives: a linker takes of
 * them what the object needs. */
bool
link_static(struct target *t, struct module *m, const struct blobs *b, const char *object, const char *path, enum host_use host,
    struct diag *d)
{
	struct archive *lib = archive_open();
	char *tmp = beside(path), *own = host ? host_library(path, d) : NULL;
	bool ok = !host || (own && archive_add(lib, own, d));

	for (const char *s = image_archives; ok && host == HOST_IMAGES && *s; s += *s == ':') {
		size_t len = strcspn(s, ":");
		const char *archive = system_archive(m->a, t, s, (int)len);

		ok = archive ? archive_add(lib, archive, d)
		    : diag_io(d, LOC_FILE(path), "%.*s, which reads images, is not where the system keeps libraries", (int)len, s);
		s += len;
	}
	ok = ok && module_write(m, b, EMIT_STATIC, lib, object, tmp, d);
	ok = moved(tmp, path, ok, d);
	archive_close(lib);
	free(own);
	free(tmp);
	return ok;
}

bool
link_shared(struct target *t, const char *object, const char *path, enum host_use host, struct diag *d)
{
	struct str soname = {0};
	char *tmp = beside(path), *lib = host ? host_library(path, d) : NULL;
	struct arena *a = arena_create();
	const char *argv[32] = {cc(t), "-shared", "-o", tmp, object};
	int n = 5;
	bool ok = !host || lib;

	str_addf(&soname, "-Wl,-soname,%s", path_base(path));
	argv[n++] = soname.s;
	argv[n++] = "-Wl,--build-id=none";
	argv[n++] = "-Wl,-z,defs";
	argv[n++] = "-Wl,-z,noexecstack";
	argv[n++] = "-Wl,-z,relro,-z,now";
	if (host) { /* its functions stay inside, each library has its own */
		argv[n++] = lib;
		argv[n++] = "-Wl,--exclude-libs,ALL";
		argv[n++] = "-Wl,--gc-sections";
	}
	argv[n++] = "-Wl,--as-needed";
	if (host == HOST_IMAGES) /* their archives are not made for shared libraries */
		n += image_flags(a, false, argv + n);
	argv[n++] = "-lm";
	ok = moved(tmp, path, ok && link_run(argv, d), d);
	free(lib);
	arena_destroy(a);
	str_free(&soname);
	free(tmp);
	return ok;
}

/* trainer: with loaders and the trainer's main, else the inference main */
bool
link_exe(struct target *t, const char *object, const char *path, bool trainer, bool blas, enum host_use host, struct diag *d)
{
	static const char *const of_trainer[] = {RT_LINK_TRAINER}, *const of_model[] = {RT_LINK_INFER},
	    *const system[] = {RT_LINK_SYSTEM};
	const char *lib = runtime_library(), *argv[40];
	char *tmp = beside(path);
	struct str dir = {0};
	struct arena *a = arena_create();
	int n = 0;
	bool ok;

	if (!lib) {
		arena_destroy(a);
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
	if (host == HOST_IMAGES)
		n += image_flags(a, true, argv + n);
	if (blas)
		argv[n++] = RT_LINK_BLAS;
	for (size_t i = 0; i < sizeof system / sizeof *system; i++)
		argv[n++] = system[i];
	argv[n] = NULL;
	ok = moved(tmp, path, link_run(argv, d), d);
	str_free(&dir);
	arena_destroy(a);
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
