/*
 * seccomp.c - what a child may still ask of the kernel
 *
 * An allow list per role; anything else kills the process, which the master reports and replaces.
 * Calls that name a file answer EACCES instead, since libraries probe for files and cope with their
 * absence; Landlock refuses them as well. Arguments are checked where a call is much wider than its
 * use: socket(), ioctl(), fcntl(), mmap() and mprotect() (never executable).
 *
 * Worker: an event loop over TCP and UDP sockets. Minter: poll and messages; no socket can be made
 * at all.
 */
#include "gateway/process/sandbox_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <seccomp.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>

/* Memory, time, randomness, ending. */
static const int common[] = {
	SCMP_SYS(read), SCMP_SYS(write), SCMP_SYS(readv), SCMP_SYS(writev), SCMP_SYS(close),
	SCMP_SYS(recvmsg), SCMP_SYS(sendmsg), SCMP_SYS(recvfrom), SCMP_SYS(sendto),
	SCMP_SYS(poll), SCMP_SYS(ppoll), SCMP_SYS(brk), SCMP_SYS(munmap), SCMP_SYS(mremap),
	SCMP_SYS(madvise), SCMP_SYS(futex), SCMP_SYS(clock_gettime), SCMP_SYS(clock_nanosleep),
	SCMP_SYS(nanosleep), SCMP_SYS(gettimeofday), SCMP_SYS(time), SCMP_SYS(getrandom),
	SCMP_SYS(exit), SCMP_SYS(exit_group), SCMP_SYS(rt_sigreturn), SCMP_SYS(rt_sigprocmask),
	SCMP_SYS(rt_sigaction), SCMP_SYS(restart_syscall), SCMP_SYS(getpid), SCMP_SYS(gettid),
	SCMP_SYS(tgkill), SCMP_SYS(sched_yield), SCMP_SYS(fstat), SCMP_SYS(lseek),
	SCMP_SYS(membarrier), SCMP_SYS(getppid), SCMP_SYS(getuid), SCMP_SYS(geteuid),
	SCMP_SYS(getgid),
	SCMP_SYS(getegid), SCMP_SYS(mlock), SCMP_SYS(munlock), SCMP_SYS(shutdown),
	SCMP_SYS(getrusage),
	SCMP_SYS(sched_getaffinity), SCMP_SYS(rseq), SCMP_SYS(set_robust_list),
	SCMP_SYS(clock_getres), SCMP_SYS(getcpu),
};

/* The event loop and its sockets; c-ares binds and names its own. */
static const int worker_only[] = {
	SCMP_SYS(epoll_create1), SCMP_SYS(epoll_ctl), SCMP_SYS(epoll_wait), SCMP_SYS(epoll_pwait),
	SCMP_SYS(epoll_pwait2), SCMP_SYS(eventfd2), SCMP_SYS(pipe2), SCMP_SYS(timerfd_create),
	SCMP_SYS(timerfd_settime), SCMP_SYS(connect), SCMP_SYS(bind), SCMP_SYS(accept),
	SCMP_SYS(accept4), SCMP_SYS(getsockname), SCMP_SYS(getpeername), SCMP_SYS(getsockopt),
	SCMP_SYS(setsockopt), SCMP_SYS(recvmmsg), SCMP_SYS(sendmmsg), SCMP_SYS(dup),
	SCMP_SYS(uname), SCMP_SYS(fadvise64),
};

/* Named files, and what libraries ask out of curiosity: refused, survived. */
static const int refused[] = {
	SCMP_SYS(open), SCMP_SYS(openat), SCMP_SYS(openat2), SCMP_SYS(stat), SCMP_SYS(lstat),
	SCMP_SYS(newfstatat), SCMP_SYS(statx), SCMP_SYS(access), SCMP_SYS(faccessat),
	SCMP_SYS(faccessat2), SCMP_SYS(readlink), SCMP_SYS(readlinkat), SCMP_SYS(getcwd),
	SCMP_SYS(io_uring_setup), SCMP_SYS(prctl), SCMP_SYS(prlimit64), SCMP_SYS(sysinfo),
};

/* With sanitizers everything is allowed but these. */
static const int forbidden_sanitized[] = {
	SCMP_SYS(execve), SCMP_SYS(execveat), SCMP_SYS(mount), SCMP_SYS(bpf), SCMP_SYS(init_module),
	SCMP_SYS(finit_module), SCMP_SYS(kexec_load), SCMP_SYS(setns), SCMP_SYS(unshare),
};

static int add_all(scmp_filter_ctx ctx, uint32_t action, const int *calls, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		/*
		 * Calls this machine does not have get negative numbers; libseccomp skips those it
		 * knows.
		 */
		int r = seccomp_rule_add(ctx, action, calls[i], 0);

		if (r != 0 && r != -EDOM && r != -EEXIST)
			return r;
	}
	return 0;
}

static struct scmp_arg_cmp arg_is(unsigned n, uint64_t value)
{
	return (struct scmp_arg_cmp){ .arg = n, .op = SCMP_CMP_EQ, .datum_a = value, .datum_b = 0 };
}

/* The bits of `mask` are those of `value`. */
static struct scmp_arg_cmp arg_bits(unsigned n, uint64_t mask, uint64_t value)
{
	return (struct scmp_arg_cmp){
		.arg = n,
		.op = SCMP_CMP_MASKED_EQ,
		.datum_a = mask,
		.datum_b = value,
	};
}

static int add_one(scmp_filter_ctx ctx, uint32_t action, int call, struct scmp_arg_cmp arg)
{
	return seccomp_rule_add_array(ctx, action, call, 1, &arg);
}

static int add_memory(scmp_filter_ctx ctx)
{
	int r = add_one(ctx, SCMP_ACT_ALLOW, SCMP_SYS(mmap), arg_bits(2, PROT_EXEC, 0));

	return r ? r : add_one(ctx, SCMP_ACT_ALLOW, SCMP_SYS(mprotect), arg_bits(2, PROT_EXEC, 0));
}

static int add_fcntl(scmp_filter_ctx ctx)
{
	static const unsigned allowed[] = { F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_DUPFD_CLOEXEC };
	int r = 0;

	for (size_t i = 0; i < ARRAY_SIZE(allowed) && r == 0; i++)
		r = add_one(ctx, SCMP_ACT_ALLOW, SCMP_SYS(fcntl), arg_is(1, allowed[i]));
	return r;
}

static int add_sockets(scmp_filter_ctx ctx)
{
	static const int families[] = { AF_INET, AF_INET6 };
	static const int types[] = { SOCK_STREAM, SOCK_DGRAM };
	const uint64_t type_mask = 0xffffffffu & ~(uint64_t)(SOCK_CLOEXEC | SOCK_NONBLOCK);
	int r = 0;

	for (size_t f = 0; f < ARRAY_SIZE(families); f++)
		for (size_t t = 0; t < ARRAY_SIZE(types) && r == 0; t++) {
			const struct scmp_arg_cmp args[2] = {
				arg_is(0, (uint64_t)families[f]),
				arg_bits(1, type_mask, (uint64_t)types[t]),
			};

			r = seccomp_rule_add_array(ctx, SCMP_ACT_ALLOW, SCMP_SYS(socket), 2, args);
		}
	/* A resolver asks for interfaces over netlink or unix sockets; it copes with none. */
	if (r == 0)
		r = add_one(ctx, SCMP_ACT_ERRNO(EAFNOSUPPORT), SCMP_SYS(socket),
			    arg_is(0, AF_UNIX));
	if (r == 0)
		r = add_one(ctx, SCMP_ACT_ERRNO(EAFNOSUPPORT), SCMP_SYS(socket),
			    arg_is(0, AF_NETLINK));
	return r;
}

static int add_worker_arguments(scmp_filter_ctx ctx)
{
	int r = add_sockets(ctx);

	if (r == 0)
		r = add_one(ctx, SCMP_ACT_ALLOW, SCMP_SYS(ioctl), arg_is(1, FIONBIO));
	if (r == 0)
		r = add_one(ctx, SCMP_ACT_ALLOW, SCMP_SYS(ioctl), arg_is(1, FIONREAD));
	return r;
}

static int fill_strict(scmp_filter_ctx ctx, enum process_role role)
{
	int r = add_all(ctx, SCMP_ACT_ALLOW, common, ARRAY_SIZE(common));

	if (r == 0)
		r = add_all(ctx, SCMP_ACT_ERRNO(EACCES), refused, ARRAY_SIZE(refused));
	if (r == 0)
		r = add_memory(ctx);
	if (r == 0)
		r = add_fcntl(ctx);
	if (r == 0 && role == PROCESS_WORKER)
		r = add_all(ctx, SCMP_ACT_ALLOW, worker_only, ARRAY_SIZE(worker_only));
	if (r == 0 && role == PROCESS_WORKER)
		r = add_worker_arguments(ctx);
	return r;
}

/*
 * A ring takes its orders past every other filter, and libuv makes one for its epoll calls as soon
 * as a loop is made (since 1.49, whatever UV_USE_IO_URING says). It copes with a kernel that has
 * none.
 */
enum err sandbox_without_uring(void)
{
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ALLOW);
	int r;

	if (!ctx)
		return ERR_NOMEM;
	r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(io_uring_setup), 0);
	if (r == 0)
		r = seccomp_load(ctx);
	seccomp_release(ctx);
	return r == 0 ? ERR_OK : ERR_IO;
}

enum err sandbox_seccomp(enum process_role role)
{
	scmp_filter_ctx ctx;
	int r;

	ctx = seccomp_init(SANDBOX_SANITIZED ? SCMP_ACT_ALLOW : SCMP_ACT_KILL_PROCESS);
	if (!ctx)
		return ERR_NOMEM;
	/* no_new_privs is set already; a binary tree keeps the hot calls cheap. */
	(void)seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	if (SANDBOX_SANITIZED)
		r = add_all(ctx, SCMP_ACT_KILL_PROCESS, forbidden_sanitized,
			    ARRAY_SIZE(forbidden_sanitized));
	else
		r = fill_strict(ctx, role);
	if (r == 0)
		r = seccomp_load(ctx);
	seccomp_release(ctx);
	if (r != 0) {
		LOG_EVENT(LOG_LEVEL_ERROR, "sandbox.no_seccomp", KV("why", strerror(-r)));
		return ERR_IO;
	}
	return ERR_OK;
}
