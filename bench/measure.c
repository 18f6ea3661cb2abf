/* measure COMMAND...: milliseconds from exec to exit and the peak resident memory of
 * the command and what it starts, as JSON on standard error's last line. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double
now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return 1e3 * (double)t.tv_sec + 1e-6 * (double)t.tv_nsec;
}

int
main(int argc, char **argv)
{
	struct rusage use;
	double start = now_ms();
	pid_t pid = argc > 1 ? fork() : -1;
	int status;

	if (pid == 0) {
		execvp(argv[1], argv + 1);
		fprintf(stderr, "%s: %s\n", argv[1], strerror(errno));
		_exit(127);
	}
	if (pid < 0 || wait4(pid, &status, 0, &use) < 0)
		return 2;
	fprintf(stderr, "{\"ms\": %.3f, \"peak_kb\": %ld}\n", now_ms() - start, use.ru_maxrss);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
