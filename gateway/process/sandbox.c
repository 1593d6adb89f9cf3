/*
 * sandbox.c - giving up power, in steps
 *
 *   begin	every role: its name, no core dumps; children die with their master
 *   master	keeps what starting workers and opening listeners takes, and nothing else
 *   drop	children: another user, no capability in any set, no way to gain one
 *   lock	children, after set-up: Landlock with no right at all, then the seccomp list
 *
 * The master stays root on purpose: it opens configuration and secrets that only root may read,
 * again at each reload, and makes transparent sockets for respawned workers. It never parses a byte
 * of an agent or an upstream. What it may not do any more is written in MASTER_CAPS.
 *
 * Degrading: a kernel without Landlock, a container that may not change users, cost one log line
 * each; capabilities, no_new_privs and seccomp are not negotiable.
 *
 * With sanitizers: no PR_SET_DUMPABLE 0 (LeakSanitizer traces its own process), no Landlock and a
 * seccomp list that only forbids (the runtime opens /proc files and starts a thread when it
 * reports).
 */
#include "gateway/process/process_internal.h"

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/landlock.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "gateway/process/sandbox_internal.h"

#define CAP_BIT(c) (UINT64_C(1) << (c))

/*
 * NET_ADMIN, NET_RAW	IP_TRANSPARENT; NET_BIND_SERVICE: the socket DNS answers leave by (port 53)
 * SETUID, SETGID, SETPCAP	what children need to drop to nothing
 * KILL			signals to children, which are another user
 * IPC_LOCK		the secret area may be larger than RLIMIT_MEMLOCK
 * DAC_READ_SEARCH	secrets and configuration that belong to another user
 */
#define MASTER_CAPS										\
	(CAP_BIT(CAP_NET_ADMIN) | CAP_BIT(CAP_NET_RAW) | CAP_BIT(CAP_NET_BIND_SERVICE) |	\
	 CAP_BIT(CAP_SETUID) | CAP_BIT(CAP_SETGID) | CAP_BIT(CAP_SETPCAP) | CAP_BIT(CAP_KILL) |	\
	 CAP_BIT(CAP_IPC_LOCK) | CAP_BIT(CAP_DAC_READ_SEARCH))

static enum err caps_get(uint64_t *effective, uint64_t *permitted)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2] = { { 0 }, { 0 } };

	if (syscall(SYS_capget, &head, data) != 0)
		return ERR_IO;
	*effective = (uint64_t)data[1].effective << 32 | data[0].effective;
	*permitted = (uint64_t)data[1].permitted << 32 | data[0].permitted;
	return ERR_OK;
}

static enum err caps_set(uint64_t caps, uint64_t inheritable)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2];

	for (int i = 0; i < 2; i++) {
		data[i].effective = data[i].permitted = (uint32_t)(caps >> (32 * i));
		data[i].inheritable = (uint32_t)(inheritable >> (32 * i));
	}
	return syscall(SYS_capset, &head, data) == 0 ? ERR_OK : ERR_IO;
}

/* Takes everything but `keep` out of the bounding set, as far as the process may (CAP_SETPCAP). */
static void caps_bound(uint64_t keep)
{
	for (int c = 0; prctl(PR_CAPBSET_READ, c, 0, 0, 0) >= 0; c++)
		if (c >= 64 || !(keep & CAP_BIT(c)))
			(void)prctl(PR_CAPBSET_DROP, c, 0, 0, 0);
}

bool sandbox_has_net_admin(void)
{
	uint64_t effective = 0, permitted;

	return caps_get(&effective, &permitted) == ERR_OK &&
	       (effective & CAP_BIT(CAP_NET_ADMIN)) != 0;
}

const char *process_role_name(enum process_role role)
{
	static const char *const names[] = { "master", "minter", "worker" };

	return names[role];
}

/* CAP_SYS_RESOURCE may lift the hard limit too; without it the soft one rises to the hard one. */
static void raise_limit(int what, rlim_t wanted)
{
	const struct rlimit all = { wanted, wanted };
	struct rlimit r;

	/* RLIM_INFINITY is the largest value there is. */
	if (getrlimit(what, &r) != 0 || r.rlim_cur >= wanted)
		return;
	if (r.rlim_max < wanted && setrlimit(what, &all) == 0)
		return;
	r.rlim_cur = r.rlim_max < wanted ? r.rlim_max : wanted;
	(void)setrlimit(what, &r);
}

void sandbox_begin(enum process_role role)
{
	const struct rlimit none = { 0, 0 };
	char name[16];

	snprintf(name, sizeof(name), "slapenir-%s", process_role_name(role));
	(void)prctl(PR_SET_NAME, name, 0, 0, 0);
	(void)setrlimit(RLIMIT_CORE, &none);
	if (!SANDBOX_SANITIZED)
		(void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	if (role == PROCESS_MASTER) {
		raise_limit(RLIMIT_NOFILE, SANDBOX_FILES);
		raise_limit(RLIMIT_MEMLOCK, SANDBOX_LOCKED);
		return;
	}
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	/*
	 * A terminal or service manager signals the whole group; the master alone decides what it
	 * means.
	 */
	signal(SIGTERM, SIG_IGN);
	signal(SIGINT, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	signal(SIGUSR1, SIG_IGN);
}

enum err sandbox_master(void)
{
	uint64_t effective, permitted, keep;

	TRY(caps_get(&effective, &permitted));
	keep = permitted & MASTER_CAPS;
	caps_bound(keep);
	/* Not root, but started with ambient capabilities: children must inherit none of them. */
	(void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	TRY(caps_set(keep, 0));
	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 ? ERR_OK : ERR_IO;
}

static enum err change_user(uid_t uid, gid_t gid)
{
	if (geteuid() != 0)
		return ERR_OK;
	if (setgroups(0, NULL) != 0 || setresgid(gid, gid, gid) != 0 ||
	    setresuid(uid, uid, uid) != 0) {
		if (errno != EPERM && errno != EINVAL)
			return ERR_IO;
		LOG_EVENT(LOG_LEVEL_WARN, "sandbox.user_kept", KV("why", strerror(errno)),
			  KV("meaning", "this container may not change users"));
	}
	return ERR_OK;
}

enum err sandbox_drop(enum process_role role, uid_t uid, gid_t gid)
{
	uint64_t effective, permitted;

	caps_bound(0);
	(void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	TRY(change_user(uid, gid));
	TRY(caps_set(0, 0));
	TRY(caps_get(&effective, &permitted));
	if (effective || permitted)
		return ERR_IO;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
		return ERR_IO;
	/* A change of user undoes both of these. */
	if (!SANDBOX_SANITIZED && prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0)
		return ERR_IO;
	if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) != 0)
		return ERR_IO;
	(void)role;
	return sandbox_without_uring();
}

/* ---- Landlock -------------------------------------------------------------------------------- */

#ifndef LANDLOCK_ACCESS_FS_REFER
#define LANDLOCK_ACCESS_FS_REFER (1ULL << 13)
#endif
#ifndef LANDLOCK_ACCESS_FS_TRUNCATE
#define LANDLOCK_ACCESS_FS_TRUNCATE (1ULL << 14)
#endif
#ifndef LANDLOCK_ACCESS_FS_IOCTL_DEV
#define LANDLOCK_ACCESS_FS_IOCTL_DEV (1ULL << 15)
#endif

/*
 * The newest layout (ABI 6); older kernels take a shorter one, and the headers may be older than
 * both.
 */
struct sandbox_ruleset {
	uint64_t fs, net, scoped;
};

static uint64_t landlock_fs_rights(int abi)
{
	uint64_t rights = (LANDLOCK_ACCESS_FS_MAKE_SYM << 1) - 1;	/* all of ABI 1 */

	if (abi >= 2)
		rights |= LANDLOCK_ACCESS_FS_REFER;
	if (abi >= 3)
		rights |= LANDLOCK_ACCESS_FS_TRUNCATE;
	if (abi >= 5)
		rights |= LANDLOCK_ACCESS_FS_IOCTL_DEV;
	return rights;
}

/* No rule is added: every right that is handled is refused everywhere. */
static bool landlock_nothing(enum process_role role)
{
	int abi = (int)syscall(SYS_landlock_create_ruleset, NULL, 0, 1u /* VERSION */);
	struct sandbox_ruleset r = { 0 };
	size_t size = sizeof(r.fs);
	int fd;
	bool ok;

	if (abi < 1)
		return false;
	r.fs = landlock_fs_rights(abi);
	if (abi >= 4) {
		/* Nobody binds TCP; workers connect, the minter does not. */
		r.net = role == PROCESS_WORKER ? 1u : 3u;
		size = sizeof(r.fs) + sizeof(r.net);
	}
	if (abi >= 6) {
		r.scoped = 3u;	/* abstract unix sockets, signals */
		size = sizeof(r);
	}
	fd = (int)syscall(SYS_landlock_create_ruleset, &r, size, 0u);
	if (fd < 0)
		return false;
	ok = syscall(SYS_landlock_restrict_self, fd, 0u) == 0;
	close(fd);
	return ok;
}

enum err sandbox_lock(enum process_role role)
{
	if (!SANDBOX_SANITIZED && !landlock_nothing(role))
		LOG_EVENT(LOG_LEVEL_WARN, "sandbox.no_landlock",
			  KV("meaning", "the kernel has no Landlock; seccomp alone refuses files"));
	return sandbox_seccomp(role);
}
