/* file -- reading whole files, paths, and outputs that appear only when complete. */
#include "base/base.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *
why(int err)
{
	switch (err) {
	case ENOENT:
		return "no such file";
	case EACCES:
	case EPERM:
		return "permission denied";
	case ENOSPC:
	case EDQUOT:
		return "no space left on the device";
	default:
		return strerror(err);
	}
}

/* Pipes and the like have no size: grow as it comes. */
static void *
slurp(int fd, size_t hint, size_t *size)
{
	size_t cap = hint + 1, n = 0;
	char *p = xmalloc(cap);
	ssize_t got;

	for (;;) {
		if (n + 1 >= cap) {
			/* One more byte than expected decides whether it grew. */
			cap = cap < 4096 ? 8192 : cap + cap / 2;
			p = xrealloc(p, cap);
		}
		got = read(fd, p + n, cap - n - 1);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0) {
			free(p);
			return NULL;
		}
		if (got == 0)
			break;
		n += (size_t)got;
		if (n == hint) {
			char c;

			do
				got = read(fd, &c, 1);
			while (got < 0 && errno == EINTR);
			if (got != 1)
				break;
			cap = n + n / 2 + 8192;
			p = xrealloc(p, cap);
			p[n++] = c;
		}
	}
	p[n] = 0;
	*size = n;
	return p;
}

void *
file_read(struct diag *d, const char *path, size_t *size)
{
	struct stat st;
	size_t n;
	void *p;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || fstat(fd, &st) < 0) {
		diag_io(d, LOC_FILE(path), "cannot be opened: %s", why(errno));
		if (fd >= 0)
			close(fd);
		return NULL;
	}
	if (S_ISDIR(st.st_mode)) {
		diag_io(d, LOC_FILE(path), "is a directory, not a file");
		close(fd);
		return NULL;
	}
	p = slurp(fd, S_ISREG(st.st_mode) ? (size_t)st.st_size : 0, &n);
	if (!p)
		diag_io(d, LOC_FILE(path), "cannot be read: %s", why(errno));
	else if (size)
		*size = n;
	close(fd);
	return p;
}

bool
file_exists(const char *path)
{
	return access(path, F_OK) == 0;
}

bool
dir_make(struct diag *d, const char *path)
{
	char *p = xmalloc(strlen(path) + 1), *s;
	struct stat st;
	bool ok = true;

	strcpy(p, path);
	for (s = p; ok && *s; s++) {
		if (s[0] != '/' && (s[1] == '/' || !s[1])) {
			char keep = s[1];

			s[1] = 0;
			if (mkdir(p, 0777) < 0 && errno != EEXIST)
				ok = diag_io(d, LOC_FILE(p), "directory cannot be made: %s", why(errno));
			else if (stat(p, &st) < 0 || !S_ISDIR(st.st_mode))
				ok = diag_io(d, LOC_FILE(p), "exists and is not a directory");
			s[1] = keep;
		}
	}
	free(p);
	return ok;
}

const char *
path_join(struct arena *a, const char *dir, const char *name)
{
	size_t n = strlen(dir);

	if (name[0] == '/' || !n || strcmp(dir, ".") == 0)
		return arena_strdup(a, name);
	return arena_printf(a, "%s%s%s", dir, dir[n - 1] == '/' ? "" : "/", name);
}

const char *
path_dir(struct arena *a, const char *path)
{
	const char *slash = strrchr(path, '/');

	if (!slash)
		return ".";
	return slash == path ? "/" : arena_strndup(a, path, (size_t)(slash - path));
}

const char *
path_base(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

const char *
path_ident(struct arena *a, const char *path)
{
	const char *base = path_base(path), *dot = strrchr(base, '.');
	size_t n = dot && dot != base ? (size_t)(dot - base) : strlen(base), i;
	char *p = arena_alloc(a, n + 2);

	memcpy(p + 1, base, n);
	for (i = 1; i <= n; i++)
		if (!isalnum((unsigned char)p[i]) || (unsigned char)p[i] > 127)
			p[i] = '_';
	if (n && !isdigit((unsigned char)p[1]))
		return p + 1;
	p[0] = '_';
	return p;
}

bool
outfile_open(struct diag *d, struct outfile *o, const char *path)
{
	static int serial;
	struct stat st;
	char *real = NULL;
	int fd;

	*o = (struct outfile){0};
	if (lstat(path, &st) == 0) {
		if (S_ISLNK(st.st_mode)) {
			real = realpath(path, NULL);
			if (real && stat(path, &st) < 0)
				st.st_mode = S_IFREG;
		}
		if (S_ISDIR(st.st_mode)) {
			free(real);
			return diag_io(d, LOC_FILE(path), "is a directory, cannot be written");
		}
	} else {
		st.st_mode = S_IFREG;
	}
	o->path = real ? real : strdup(path);
	if (!o->path)
		die("out of memory");
	if (!S_ISREG(st.st_mode) && !S_ISLNK(st.st_mode)) {
		/* /dev/null, a pipe: nothing to rename */
		o->f = fopen(o->path, "wb");
	} else {
		struct str tmp = {0};

		str_addf(&tmp, "%s.%d-%d.tmp", o->path, (int)getpid(), serial++);
		o->tmp = tmp.s;
		fd = open(o->tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
		if (fd >= 0) {
			o->f = fdopen(fd, "wb");
			if (!o->f)
				close(fd);
		}
	}
	if (!o->f) {
		int err = errno;

		diag_io(d, LOC_FILE(path), "cannot be written: %s",
		    err == ENOENT ? "no such directory" : why(err));
		outfile_abort(o);
		return false;
	}
	return true;
}

bool
outfile_commit(struct diag *d, struct outfile *o)
{
	bool ok;
	int err;

	errno = 0;
	ok = fflush(o->f) == 0 && !ferror(o->f);
	if (ok && o->tmp && fsync(fileno(o->f)) < 0 && errno != EINVAL && errno != ENOTSUP)
		ok = false;
	err = errno;
	if (fclose(o->f) != 0 && ok) {
		ok = false;
		err = errno;
	}
	o->f = NULL;
	if (ok && o->tmp && rename(o->tmp, o->path) < 0) {
		ok = false;
		err = errno;
	}
	if (!ok)
		diag_io(d, LOC_FILE(o->path), "cannot be written: %s",
		    err ? why(err) : "write error (is the disk full?)");
	else
		free(o->tmp), o->tmp = NULL;
	outfile_abort(o);
	return ok;
}

void
outfile_abort(struct outfile *o)
{
	if (o->f)
		fclose(o->f);
	if (o->tmp)
		unlink(o->tmp);
	free(o->tmp);
	free(o->path);
	*o = (struct outfile){0};
}

bool
file_write(struct diag *d, const char *path, const void *p, size_t n)
{
	struct outfile o;

	if (!outfile_open(d, &o, path))
		return false;
	fwrite(p, 1, n, o.f); /* errors show at commit */
	return outfile_commit(d, &o);
}
