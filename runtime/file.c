/* file -- reading and writing whole files, and small services of the system.
 * Nothing is ever written in place: rt_write_file leaves the old file or the new. */
#include "runtime/rt_int.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

bool
rt_fail(struct rt_msg *m, int status, const char *fmt, ...)
{
	va_list ap;

	if (m->status)
		return false;
	m->status = status;
	va_start(ap, fmt);
	vsnprintf(m->text, sizeof m->text, fmt, ap);
	va_end(ap);
	return false;
}

void *
rt_read_file(const char *path, size_t *size, struct rt_msg *m)
{
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	char *p = NULL;
	size_t n = 0;

	if (fd < 0 || fstat(fd, &st) != 0) {
		rt_fail(m, RT_IO, "%s: %s", path, strerror(errno));
		goto fail;
	}
	if (!S_ISREG(st.st_mode)) {
		rt_fail(m, RT_IO, "%s: not a regular file", path);
		goto fail;
	}
	p = malloc((size_t)st.st_size + 1);
	if (!p) {
		rt_fail(m, RT_INTERNAL, "%s: out of memory for %lld bytes", path,
		    (long long)st.st_size);
		goto fail;
	}
	while (n < (size_t)st.st_size) {
		ssize_t k = read(fd, p + n, (size_t)st.st_size - n);

		if (k < 0 && errno == EINTR)
			continue;
		if (k < 0) {
			rt_fail(m, RT_IO, "%s: %s", path, strerror(errno));
			goto fail;
		}
		if (k == 0)
			break;
		n += (size_t)k;
	}
	p[n] = 0;
	*size = n;
	close(fd);
	return p;
fail:
	if (fd >= 0)
		close(fd);
	free(p);
	return NULL;
}

static bool
write_all(int fd, const void *data, size_t n)
{
	const char *p = data;

	while (n > 0) {
		ssize_t k = write(fd, p, n < (1u << 30) ? n : 1u << 30);

		if (k < 0 && errno == EINTR)
			continue;
		if (k < 0)
			return false;
		p += k;
		n -= (size_t)k;
	}
	return true;
}

/* Makes a rename durable; a folder that cannot be synced is no failure. */
static void
sync_folder(const char *path)
{
	char *dir = strdup(path);
	char *slash = dir ? strrchr(dir, '/') : NULL;
	int fd;

	if (!dir)
		return;
	if (slash)
		slash[slash == dir] = 0;
	fd = open(slash ? dir : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd >= 0) {
		fsync(fd);
		close(fd);
	}
	free(dir);
}

bool
rt_write_file(const char *path, const struct rt_iov *iov, int n, bool durable, struct rt_msg *m)
{
	size_t len = strlen(path) + 8;
	char *tmp = malloc(len);
	int fd;
	bool ok;

	if (!tmp)
		return rt_fail(m, RT_INTERNAL, "%s: out of memory", path);
	snprintf(tmp, len, "%s.tmp", path); /* one name: what a killed run left is overwritten */
	fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	ok = fd >= 0;
	for (int i = 0; ok && i < n; i++)
		ok = write_all(fd, iov[i].data, iov[i].bytes);
	ok = ok && (!durable || fsync(fd) == 0);
	if (fd >= 0 && close(fd) != 0)
		ok = false;
	ok = ok && rename(tmp, path) == 0;
	if (!ok) {
		rt_fail(m, RT_IO, "%s: cannot be written: %s", path, strerror(errno));
		if (fd >= 0)
			unlink(tmp);
	} else if (durable) {
		sync_folder(path);
	}
	free(tmp);
	return ok;
}

bool
rt_is_dir(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

bool
rt_make_dirs(const char *path, struct rt_msg *m)
{
	char *p = strdup(path);

	if (!p)
		return rt_fail(m, RT_INTERNAL, "%s: out of memory", path);
	for (char *s = p + 1; *p && *s; s++) {
		if (*s != '/')
			continue;
		*s = 0;
		mkdir(p, 0777);
		*s = '/';
	}
	mkdir(p, 0777);
	free(p);
	if (rt_is_dir(path))
		return true;
	return rt_fail(m, RT_IO, "%s: the folder cannot be made: %s", path, strerror(errno));
}

char *
rt_join(const char *dir, const char *name)
{
	size_t n = strlen(dir) + strlen(name) + 2;
	char *p = malloc(n);

	if (p && (name[0] == '/' || dir[0] == 0))
		strcpy(p, name);
	else if (p)
		snprintf(p, n, "%s%s%s", dir, dir[strlen(dir) - 1] == '/' ? "" : "/", name);
	return p;
}

double
rt_seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

int
rt_cpus(void)
{
	cpu_set_t set;

	if (sched_getaffinity(0, sizeof set, &set) == 0)
		return CPU_COUNT(&set);
	return 1;
}

/* Multiply and rotate over 8-byte words, finished as splitmix64. */
uint64_t
rt_hash(uint64_t h, const void *data, size_t n)
{
	const unsigned char *p = data;

	h ^= n * 0x9e3779b97f4a7c15u;
	while (n > 0) {
		uint64_t w = 0;
		size_t k = n < 8 ? n : 8;

		memcpy(&w, p, k);
		h = (h ^ w) * 0xff51afd7ed558ccdu;
		h = h << 31 | h >> 33;
		p += k;
		n -= k;
	}
	h = (h ^ h >> 30) * 0xbf58476d1ce4e5b9u;
	h = (h ^ h >> 27) * 0x94d049bb133111ebu;
	return h ^ h >> 31;
}
