/*
 * test_process_sandbox.c - what a minter and a worker may still do, tried one call at a time in a
 * child
 *
 * With sanitizers the list of system calls only forbids, as seccomp.c says; the rows that need the
 * strict one are left out there, and run in the other build.
 */
#include "gateway/process/process_internal.h"
#include "gateway/process/sandbox_internal.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define KILLED (-1)
#define FINE 0

static int result(long r)
{
	return r < 0 ? errno : FINE;
}

static int try_open(void)
{
	return result(open("/etc/passwd", O_RDONLY));
}

static int try_create(void)
{
	return result(open("/tmp/slapenir-sandbox-test", O_WRONLY | O_CREAT, 0600));
}

static int try_unlink(void)
{
	return result(unlink("/nonexistent"));
}

static int try_exec(void)
{
	char path[] = "/bin/true";
	char *argv[] = { path, NULL };

	return result(execv(path, argv));
}

static int try_fork(void)
{
	return result(fork());
}

static int try_ptrace(void)
{
	return result(ptrace(PTRACE_TRACEME, 0, NULL, NULL));
}

static int try_kill(void)
{
	return result(kill(getppid(), 0));
}

static int try_setuid(void)
{
	return result(setuid(0));
}

static int try_mount(void)
{
	return result(mount("none", "/tmp", "tmpfs", 0, NULL));
}

static int try_unshare(void)
{
	return result(unshare(CLONE_NEWUSER));
}

static int try_bpf(void)
{
	return result(syscall(SYS_bpf, BPF_MAP_CREATE, NULL, 0));
}

static int try_read_other(void)
{
	char byte;
	struct iovec iov = { &byte, 1 };

	return result(syscall(SYS_process_vm_readv, getppid(), &iov, 1ul, &iov, 1ul, 0ul));
}

static int try_exec_memory(void)
{
	return mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) ==
			       MAP_FAILED
		       ? errno
		       : FINE;
}

static int try_make_exec(void)
{
	void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return result(mprotect(p, 4096, PROT_READ | PROT_EXEC));
}

static int try_memory(void)
{
	void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return p == MAP_FAILED ? errno : result(munmap(p, 4096));
}

static int try_tcp(void)
{
	return result(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
}

static int try_udp6(void)
{
	return result(socket(AF_INET6, SOCK_DGRAM | SOCK_NONBLOCK, 0));
}

static int try_raw(void)
{
	return result(socket(AF_INET, SOCK_RAW, IPPROTO_ICMP));
}

static int try_packet(void)
{
	return result(socket(AF_PACKET, SOCK_RAW, 0));
}

static int try_unix(void)
{
	return result(socket(AF_UNIX, SOCK_STREAM, 0));
}

static int try_netlink(void)
{
	return result(socket(AF_NETLINK, SOCK_RAW, 0));
}

static int try_listen(void)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	return result(listen(fd, 1));
}

static int try_epoll(void)
{
	return result(epoll_create1(EPOLL_CLOEXEC));
}

static int try_clock(void)
{
	struct timespec now;

	return result(syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &now));
}

static int try_dup_fd(void)
{
	return result(fcntl(1, F_DUPFD_CLOEXEC, 0));
}

static int try_own_fd(void)
{
	return result(fcntl(1, F_SETOWN, getppid()));
}

static int try_undo(void)
{
	return result(prctl(PR_SET_DUMPABLE, 1, 0, 0, 0));
}

static const struct {
	const char *name;
	int (*act)(void);
	int worker, minter;
	bool loose;		/* also so with the sanitizers' list */
} rows[] = {
	{ "open a file", try_open, EACCES, EACCES, false },
	{ "create a file", try_create, EACCES, EACCES, false },
	{ "remove a file", try_unlink, KILLED, KILLED, false },
	{ "run a program", try_exec, KILLED, KILLED, true },
	{ "fork", try_fork, KILLED, KILLED, false },
	{ "trace", try_ptrace, KILLED, KILLED, false },
	{ "signal its master", try_kill, KILLED, KILLED, false },
	{ "become root", try_setuid, KILLED, KILLED, false },
	{ "mount", try_mount, KILLED, KILLED, true },
	{ "make a namespace", try_unshare, KILLED, KILLED, true },
	{ "load BPF", try_bpf, KILLED, KILLED, true },
	{ "read another's memory", try_read_other, KILLED, KILLED, false },
	{ "map code", try_exec_memory, KILLED, KILLED, false },
	{ "turn data into code", try_make_exec, KILLED, KILLED, false },
	{ "map data", try_memory, FINE, FINE, true },
	{ "make a TCP socket", try_tcp, FINE, KILLED, false },
	{ "make a UDP socket", try_udp6, FINE, KILLED, false },
	{ "make a raw socket", try_raw, KILLED, KILLED, false },
	{ "make a packet socket", try_packet, KILLED, KILLED, false },
	{ "make a unix socket", try_unix, EAFNOSUPPORT, KILLED, false },
	{ "make a netlink socket", try_netlink, EAFNOSUPPORT, KILLED, false },
	{ "listen", try_listen, KILLED, KILLED, false },
	{ "make an epoll", try_epoll, FINE, KILLED, false },
	{ "read the clock", try_clock, FINE, FINE, true },
	{ "duplicate a descriptor", try_dup_fd, FINE, FINE, true },
	{ "send signals by descriptor", try_own_fd, KILLED, KILLED, false },
	{ "become dumpable", try_undo, EACCES, EACCES, false },
};

/* The status of a child that enters the sandbox and then acts. */
static int in_sandbox(enum process_role role, int (*act)(void))
{
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		const bool root = geteuid() == 0;

		sandbox_begin(role);
		if (sandbox_drop(role, root ? 65534 : getuid(), root ? 65534 : getgid()) !=
			    ERR_OK ||
		    sandbox_lock(role) != ERR_OK)
			_exit(254);
		_exit(act());
	}
	assert_true(pid > 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (WIFSIGNALED(status))
		return WTERMSIG(status) == SIGSYS ? KILLED : 253;
	return WEXITSTATUS(status);
}

static void check_rows(enum process_role role)
{
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		int want = role == PROCESS_WORKER ? rows[i].worker : rows[i].minter;
		int got;

		if (SANDBOX_SANITIZED && !rows[i].loose)
			continue;
		got = in_sandbox(role, rows[i].act);
		if (got != want)
			fail_msg("%s: %s: %d instead of %d", process_role_name(role), rows[i].name,
				 got, want);
	}
}

static void a_worker_can_only_serve(void **state)
{
	(void)state;
	check_rows(PROCESS_WORKER);
}

static void a_minter_can_only_sign(void **state)
{
	(void)state;
	check_rows(PROCESS_MINTER);
}

/* Runs unsandboxed but dropped: what seccomp would hide. */
static int count_powers(void)
{
	uid_t r, e, s;

	if (getresuid(&r, &e, &s) != 0 || r == 0 || e == 0 || s == 0)
		return 1;
	if (setuid(0) == 0)
		return 2;
	if (getgroups(0, NULL) != 0)
		return 3;
	if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1)
		return 4;
	if (!SANDBOX_SANITIZED && prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) != 0)
		return 5;
	for (int c = 0; prctl(PR_CAPBSET_READ, c, 0, 0, 0) >= 0; c++)
		if (prctl(PR_CAPBSET_READ, c, 0, 0, 0) != 0)
			return 6;
	return 0;
}

static void root_is_given_up_for_good(void **state)
{
	int status, signo = 0;
	pid_t pid;

	(void)state;
	if (geteuid() != 0)
		skip();
	pid = fork();
	if (pid == 0) {
		sandbox_begin(PROCESS_WORKER);
		if (sandbox_drop(PROCESS_WORKER, 65534, 65534) != ERR_OK)
			_exit(254);
		(void)prctl(PR_GET_PDEATHSIG, &signo);
		_exit(signo == SIGKILL ? count_powers() : 7);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_worker_can_only_serve),
		cmocka_unit_test(a_minter_can_only_sign),
		cmocka_unit_test(root_is_given_up_for_good),
	};

	log_init("test", LOG_LEVEL_OFF);
	return cmocka_run_group_tests_name("process sandbox", tests, NULL, NULL);
}
