/*
 * spawn.c - starting a child: fork, the descriptors to their numbers, exec of ourselves
 *
 * exec gives each role an address-space layout of its own. /proc/self/exe is the program that runs
 * now, whatever has been put at its path since. A child gets a new environment with nothing of the
 * master's but the log level (and sanitizer options in builds that have them).
 */
#include "gateway/process/process_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

#define ENV_MAX 8

static void child_environment(char *env[ENV_MAX])
{
	static const char *const kept[] = { "SLAPENIR_LOG", "ASAN_OPTIONS", "UBSAN_OPTIONS",
					    "LSAN_OPTIONS", "TSAN_OPTIONS" };
	static char no_uring[] = "UV_USE_IO_URING=0";
	size_t n = 0;

	for (size_t i = 0; i < ARRAY_SIZE(kept); i++) {
		char *value = getenv(kept[i]);

		/* getenv() points behind "NAME=" of the very entry. */
		if (value)
			env[n++] = value - strlen(kept[i]) - 1;
	}
	env[n++] = no_uring;
	env[n] = NULL;
}

/*
 * In the child: descriptor i to its number, via numbers above the table so that none is
 * overwritten.
 */
static bool place_fds(const int fds[PROCESS_FDS])
{
	int high[PROCESS_FDS];

	for (int i = 0; i < PROCESS_FDS; i++) {
		high[i] = fds[i] < 0 ? -1 : fcntl(fds[i], F_DUPFD, PROCESS_FD_END + 16);
		if (fds[i] >= 0 && high[i] < 0)
			return false;
	}
	for (int i = 0; i < PROCESS_FDS; i++) {
		if (high[i] < 0)
			close(PROCESS_FD_CHANNEL + i);
		else if (dup2(high[i], PROCESS_FD_CHANNEL + i) < 0)
			return false;
	}
	return close_range(PROCESS_FD_END, ~0u, 0) == 0;
}

static void child_exec(const struct spawn_spec *spec, pid_t master)
{
	char self[] = "/proc/self/exe", name[] = "slapenir-gateway", role_opt[] = "--role";
	char slot_opt[] = "--slot", role[16], slot[16];
	char *argv[] = { name, role_opt, role, slot_opt, slot, NULL };
	char *env[ENV_MAX];
	sigset_t none;

	snprintf(role, sizeof(role), "%s", process_role_name(spec->role));
	snprintf(slot, sizeof(slot), "%u", spec->slot);
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != master)
		_exit(1);
	child_environment(env);
	if (!place_fds(spec->fds))
		_exit(1);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	execve(self, argv, env);
	_exit(127);
}

pid_t spawn_child(const struct spawn_spec *spec)
{
	pid_t master = getpid();
	pid_t pid = fork();

	if (pid == 0)
		child_exec(spec, master);
	return pid;
}
