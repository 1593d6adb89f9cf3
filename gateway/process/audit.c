/*
 * audit.c - the audit file, the master's alone
 *
 * Lines come whole from workers and are appended as they are; nothing is parsed. A full disk or a
 * removed directory never stops the gateway: what could not be written is counted
 * (audit_lost_total), said once in the log, and tried again with the next line. A line cut by a
 * full disk is ended with a newline before the next one, so that one loss stays one loss.
 */
#include "gateway/process/process_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* The last directory of the path, if it is missing: /var/log/slapenir on a fresh machine. */
static void make_parent(const char *path)
{
	char dir[4096];
	const char *slash = strrchr(path, '/');

	if (!slash || slash == path ||
	    !bytes_to_str(bytes_of(path, (size_t)(slash - path)), dir, sizeof(dir)))
		return;
	(void)mkdir(dir, 0750);
}

static int open_file(const char *path)
{
	const int flags = O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
	int fd = open(path, flags, 0640);

	if (fd < 0 && errno == ENOENT) {
		make_parent(path);
		fd = open(path, flags, 0640);
	}
	return fd;
}

enum err audit_open(struct audit *a, const char *path)
{
	*a = (struct audit){ .fd = -1 };
	a->path = strdup(path);
	if (!a->path)
		return ERR_NOMEM;
	a->fd = open_file(path);
	if (a->fd < 0) {
		LOG_EVENT(LOG_LEVEL_ERROR, "audit.open_failed", KV("file", path),
			  KV("why", strerror(errno)));
		return ERR_IO;
	}
	return ERR_OK;
}

void audit_reopen(struct audit *a, const char *path)
{
	int fd = open_file(path);

	if (fd < 0) {
		LOG_EVENT(LOG_LEVEL_ERROR, "audit.open_failed", KV("file", path),
			  KV("why", strerror(errno)), KV("kept", "the file that is open"));
		return;
	}
	if (a->fd >= 0)
		close(a->fd);
	a->fd = fd;
	a->torn = false;
	if (strcmp(a->path, path) != 0) {
		char *copy = strdup(path);

		if (copy) {
			free(a->path);
			a->path = copy;
		}
	}
}

static uint64_t count_lines(struct bytes b)
{
	uint64_t n = 0;

	for (size_t i = 0; b.p && i < b.n; i++)
		n += b.p[i] == '\n';
	return n;
}

static void audit_lose(struct audit *a, struct bytes rest)
{
	uint64_t n = count_lines(rest);

	if (a->slot)
		observe_add(a->slot, OBSERVE_audit_lost_total, n);
	if (!a->failing)
		LOG_EVENT(LOG_LEVEL_ERROR, "audit.write_failed", KV("file", a->path),
			  KV("why", strerror(errno)));
	a->failing = true;
}

/* Returns how much was written. */
static size_t write_some(int fd, struct bytes b)
{
	size_t done = 0;

	while (done < b.n) {
		ssize_t n = write(fd, b.p + done, b.n - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		done += (size_t)n;
	}
	return done;
}

void audit_write(struct audit *a, struct bytes lines)
{
	size_t done;

	if (lines.n == 0)
		return;
	if (a->torn && write_some(a->fd, BYTES_LIT("\n")) == 1)
		a->torn = false;
	done = a->torn ? 0 : write_some(a->fd, lines);
	if (done > 0 && lines.p)
		a->torn = lines.p[done - 1] != '\n';
	if (a->slot)
		observe_add(a->slot, OBSERVE_audit_lines_total,
			    count_lines(bytes_first(lines, done)));
	if (done < lines.n) {
		audit_lose(a, bytes_from(lines, done));
	} else if (a->failing) {
		a->failing = false;
		LOG_EVENT(LOG_LEVEL_INFO, "audit.write_recovered", KV("file", a->path));
	}
}

void audit_event(struct audit *a, const char *name, const char *decision, const char *reason)
{
	struct observe_event ev = OBSERVE_EVENT_INIT(name);
	struct buf line;

	ev.decision = decision;
	ev.reason = reason;
	buf_init(&line, 4096);
	if (observe_event_write(&ev, &line) == ERR_OK)
		audit_write(a, buf_bytes(&line));
	buf_release(&line);
}

void audit_close(struct audit *a)
{
	if (a->fd >= 0)
		close(a->fd);
	free(a->path);
	*a = (struct audit){ .fd = -1 };
}
