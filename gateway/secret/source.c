/*
 * source.c - one value out of the environment, a file or a program
 *
 * Every way ends in the same check: 8 bytes to 64 KiB, no control byte (a CR or LF in a header
 * value would let whoever holds the source write headers; RFC 9110 5.5). No message holds the
 * value.
 * The environment: a variable is copied to the vault once, then removed from environ and its bytes
 * in the initial block, which /proc/PID/environ shows, are overwritten. Programs started later
 * never see it.
 * A program: no shell, standard input empty, bounded output and time; its process group is killed
 * when the time is over.
 */
#include "gateway/secret/secret.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define VAULT_SIZE (256u << 10)	/* counts against RLIMIT_MEMLOCK as a whole */

static enum err why_set(char why[SECRET_WHY_MAX], enum err e, const char *fmt, ...)
	PRINTF_LIKE(3, 4);

static enum err why_set(char why[SECRET_WHY_MAX], enum err e, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why, SECRET_WHY_MAX, fmt, ap);
	va_end(ap);
	return e;
}

enum err secret_value_check(struct bytes value, char why[SECRET_WHY_MAX])
{
	if (value.n == 0)
		return why_set(why, ERR_UNRESOLVED_SECRET, "the value is empty");
	if (value.n < SECRET_VALUE_MIN)
		return why_set(why, ERR_CONFIG, "the value is shorter than %d bytes",
			       SECRET_VALUE_MIN);
	if (value.n > SECRET_VALUE_MAX)
		return why_set(why, ERR_CONFIG, "the value is longer than %d bytes",
			       SECRET_VALUE_MAX);
	for (size_t i = 0; i < value.n; i++)
		if (value.p[i] < 0x20 || value.p[i] == 0x7f)
			return why_set(why, ERR_CONFIG,
				       "the value has a control character at byte %zu", i + 1);
	return ERR_OK;
}

/* ---- vault ----------------------------------------------------------------------------------- */

struct vault_entry {
	uint32_t name_len, value_len;	/* the bytes follow, then padding to 4 */
};

enum err secret_vault_init(struct secret_vault *v)
{
	v->used = 0;
	return secret_area_create(&v->area, VAULT_SIZE);
}

void secret_vault_wipe(struct secret_vault *v)
{
	/* Only what was used: the rest has no pages, and touching it would make some. */
	if (v->area.p)
		explicit_bzero(v->area.p, v->used);
	secret_area_close(&v->area);
	v->used = 0;
}

static size_t vault_entry_size(size_t name, size_t value)
{
	return (sizeof(struct vault_entry) + name + value + 3) & ~(size_t)3;
}

static bool vault_find(const struct secret_vault *v, const char *name, struct bytes *value)
{
	size_t at = 0;

	while (at < v->used) {
		const uint8_t *p = (const uint8_t *)v->area.p + at;
		struct vault_entry e;

		memcpy(&e, p, sizeof(e));
		p += sizeof(e);
		if (bytes_eq(bytes_of(p, e.name_len), bytes_str(name))) {
			*value = bytes_of(p + e.name_len, e.value_len);
			return true;
		}
		at += vault_entry_size(e.name_len, e.value_len);
	}
	return false;
}

static enum err vault_put(struct secret_vault *v, const char *name, struct bytes value)
{
	size_t name_len = strlen(name);
	struct vault_entry e = { (uint32_t)name_len, (uint32_t)value.n };
	uint8_t *p = (uint8_t *)v->area.p + v->used;

	if (name_len > SECRET_VALUE_MAX || value.n > SECRET_VALUE_MAX ||
	    vault_entry_size(name_len, value.n) > v->area.size - v->used)
		return ERR_NOMEM;
	memcpy(p, &e, sizeof(e));
	memcpy(p + sizeof(e), name, name_len);
	memcpy(p + sizeof(e) + name_len, value.p, value.n);
	v->used += vault_entry_size(name_len, value.n);
	return ERR_OK;
}

static enum err read_env(struct secret_vault *v, const char *name, struct buf *out,
			 char why[SECRET_WHY_MAX])
{
	struct bytes value;

	if (!vault_find(v, name, &value)) {
		char *live = getenv(name);
		size_t n = live ? strlen(live) : 0;

		if (!live)
			return why_set(why, ERR_UNRESOLVED_SECRET,
				       "the environment variable %s is not set", name);
		if (n > SECRET_VALUE_MAX + 1)
			n = SECRET_VALUE_MAX + 1;
		if (n <= SECRET_VALUE_MAX && vault_put(v, name, bytes_of(live, n)) != ERR_OK)
			return why_set(why, ERR_NOMEM, "too many secrets in the environment");
		if (buf_append(out, bytes_of(live, n)) != ERR_OK)
			return why_set(why, ERR_NOMEM, "%s", err_text(ERR_NOMEM));
		/* In place first: this is the block /proc/PID/environ shows. */
		explicit_bzero(live, strlen(live));
		unsetenv(name);
		return ERR_OK;
	}
	if (buf_append(out, value) != ERR_OK)
		return why_set(why, ERR_NOMEM, "%s", err_text(ERR_NOMEM));
	return ERR_OK;
}

/* ---- file ------------------------------------------------------------------------------------ */

/* Reads to the end or one byte past the limit: the check then says it is too long. */
static enum err read_fd(int fd, struct buf *out)
{
	for (;;) {
		size_t room = SECRET_BUF_MAX - buf_len(out);
		uint8_t *p;
		ssize_t n;

		if (room == 0)
			return ERR_OK;
		if (room > 4096)
			room = 4096;
		if (buf_reserve(out, room, &p) != ERR_OK)
			return ERR_NOMEM;
		n = read(fd, p, room);
		if (n == 0)
			return ERR_OK;
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN ? ERR_AGAIN : ERR_IO;
		buf_commit(out, (size_t)n);
	}
}

static enum err read_file(const char *path, struct buf *out, char why[SECRET_WHY_MAX])
{
	/* O_NONBLOCK: a FIFO put there must not stop the gateway from starting. */
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	struct stat st;
	enum err e;

	if (fd < 0)
		return why_set(why, ERR_UNRESOLVED_SECRET, "%.150s: %s", path, strerror(errno));
	if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
		close(fd);
		return why_set(why, ERR_UNRESOLVED_SECRET, "%.150s: not a regular file", path);
	}
	e = read_fd(fd, out);
	close(fd);
	if (e != ERR_OK)
		return why_set(why, ERR_UNRESOLVED_SECRET, "%.150s: cannot be read", path);
	return ERR_OK;
}

/* ---- program --------------------------------------------------------------------------------- */

static void exec_child(const char *const *argv, int out_fd)
{
	sigset_t none;
	int null = open("/dev/null", O_RDONLY);

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_DFL);
	setpgid(0, 0);
	if (null < 0 || dup2(null, 0) < 0 || dup2(out_fd, 1) < 0)
		_exit(127);
	/* Standard error stays ours: the program's own complaint is the best message there is. */
	close_range(3, ~0u, 0);
	execv(argv[0], (char *const *)(uintptr_t)argv);
	_exit(127);
}

static enum err exec_collect(int fd, unsigned timeout_ms, struct buf *out)
{
	uint64_t end = time_mono_us() + (uint64_t)timeout_ms * 1000;

	for (;;) {
		struct pollfd p = { .fd = fd, .events = POLLIN };
		uint64_t now = time_mono_us();
		int n = now >= end ? 0 : poll(&p, 1, (int)((end - now + 999) / 1000));
		enum err e;

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return ERR_TIMEOUT;
		e = read_fd(fd, out);
		if (e != ERR_AGAIN)
			return e;
	}
}

/* The program may close its output and go on: it gets what is left of its time. */
static bool exec_reap(pid_t pid, unsigned timeout_ms, bool kill_now, int *status)
{
	const struct timespec nap = { .tv_nsec = 5000000 };
	uint64_t end = time_mono_us() + (uint64_t)timeout_ms * 1000;

	for (;;) {
		pid_t r;

		if (kill_now || time_mono_us() >= end) {
			kill(-pid, SIGKILL);
			kill(pid, SIGKILL);
			kill_now = true;
		}
		r = waitpid(pid, status, kill_now ? 0 : WNOHANG);
		if (r == pid)
			return !kill_now;
		if (r < 0 && errno != EINTR)
			return false;
		nanosleep(&nap, NULL);
	}
}

static enum err read_exec(const struct secret_source *s, struct buf *out, char why[SECRET_WHY_MAX])
{
	unsigned timeout = s->timeout_ms ? s->timeout_ms : SECRET_EXEC_TIMEOUT_MS;
	const char *program = s->argv && s->argv[0] ? s->argv[0] : "";
	int status = 0, fds[2];
	enum err e;
	pid_t pid;

	if (program[0] != '/')
		return why_set(why, ERR_CONFIG, "exec needs an absolute path");
	if (pipe2(fds, O_CLOEXEC) != 0)
		return why_set(why, ERR_IO, "pipe: %s", strerror(errno));
	pid = fork();
	if (pid < 0) {
		close(fds[0]);
		close(fds[1]);
		return why_set(why, ERR_IO, "fork: %s", strerror(errno));
	}
	if (pid == 0)
		exec_child(s->argv, fds[1]);
	close(fds[1]);
	(void)fcntl(fds[0], F_SETFL, O_NONBLOCK);
	e = exec_collect(fds[0], timeout, out);
	close(fds[0]);
	if (!exec_reap(pid, timeout, e != ERR_OK || buf_len(out) > SECRET_VALUE_MAX + 1, &status) &&
	    e == ERR_OK && buf_len(out) <= SECRET_VALUE_MAX + 1)
		e = ERR_TIMEOUT;
	if (e == ERR_TIMEOUT)
		return why_set(why, ERR_UNRESOLVED_SECRET, "%.150s took longer than %u ms",
			       program, timeout);
	if (e != ERR_OK)
		return why_set(why, ERR_UNRESOLVED_SECRET, "%.150s: its output cannot be read",
			       program);
	if (buf_len(out) > SECRET_VALUE_MAX + 1)
		return ERR_OK;
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
		return why_set(why, ERR_UNRESOLVED_SECRET, "%.150s ended with %s %d", program,
			       WIFEXITED(status) ? "status" : "signal",
			       WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
	return ERR_OK;
}

/* ---- all three ------------------------------------------------------------------------------- */

/* One trailing newline, CR LF too: what an editor or echo leaves behind. */
static void drop_newline(struct buf *b)
{
	if (buf_len(b) > 0 && b->data[b->end - 1] == '\n')
		b->end--;
	if (buf_len(b) > 0 && b->data[b->end - 1] == '\r')
		b->end--;
}

enum err secret_source_read(struct secret_vault *v, const struct secret_source *s, struct buf *out,
			    char why[SECRET_WHY_MAX])
{
	enum err e = ERR_INTERNAL;

	why[0] = '\0';
	buf_clear(out);
	switch (s->type) {
	case SECRET_SOURCE_ENV:
		e = read_env(v, s->name, out, why);
		break;
	case SECRET_SOURCE_FILE:
		e = read_file(s->name, out, why);
		break;
	case SECRET_SOURCE_EXEC:
		e = read_exec(s, out, why);
		break;
	}
	if (e == ERR_OK) {
		drop_newline(out);
		e = secret_value_check(buf_bytes(out), why);
	}
	if (e != ERR_OK)
		buf_clear(out);
	return e;
}
