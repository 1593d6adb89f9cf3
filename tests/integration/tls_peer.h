/*
 * tls_peer.h - programs to speak TLS with, over loopback, for the integration tests of the tls room
 *
 * Blocking sockets and child processes with a time limit; nothing here outlives the test.
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "gateway/tls/tls.h"

#define VECTORS "tests/vectors/tls/"
#define PEER_PATIENCE_MS 20000

static inline struct buf file_read(const char *path)
{
	char chunk[4096];
	struct buf b;
	size_t n;
	FILE *f = fopen(path, "r");

	assert_non_null(f);
	buf_init(&b, 1 << 20);
	while ((n = fread(chunk, 1, sizeof(chunk), f)) > 0)
		assert_int_equal(buf_append(&b, bytes_of(chunk, n)), ERR_OK);
	(void)fclose(f);
	return b;
}

static inline bool have_program(const char *name)
{
	char cmd[128];

	(void)snprintf(cmd, sizeof(cmd), "command -v %s >/dev/null 2>&1", name);
	return system(cmd) == 0;
}

/* sh -c cmd, its output on *out (may be NULL); in its own process group. */
static inline pid_t spawn_sh(const char *cmd, int *out)
{
	int fds[2] = { -1, -1 };
	pid_t pid;

	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		(void)setpgid(0, 0);
		(void)dup2(fds[1], 1);
		(void)dup2(fds[1], 2);
		(void)execl("/bin/sh", "sh", "-c", cmd, (char *)NULL);
		_exit(127);
	}
	(void)setpgid(pid, pid);
	(void)close(fds[1]);
	if (out)
		*out = fds[0];
	else
		(void)close(fds[0]);
	return pid;
}

static inline void stop_peer(pid_t pid, int out)
{
	(void)kill(-pid, SIGKILL);
	(void)waitpid(pid, NULL, 0);
	if (out >= 0)
		(void)close(out);
}

/* What the child says until its end (cut to cap); returns its exit status. */
static inline int finish_peer(pid_t pid, int out, char *text, size_t cap)
{
	size_t have = 0;
	int status;

	for (;;) {
		struct pollfd p = { .fd = out, .events = POLLIN };
		char drop[512];
		ssize_t n;

		if (poll(&p, 1, PEER_PATIENCE_MS) <= 0) {
			stop_peer(pid, out);
			fail_msg("the peer hangs");
		}
		n = have + 1 < cap ? read(out, text + have, cap - 1 - have) :
				     read(out, drop, sizeof(drop));
		if (n <= 0)
			break;
		if (have + 1 < cap)
			have += (size_t)n;
	}
	text[have] = '\0';
	(void)close(out);
	(void)waitpid(pid, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

/* Runs to its end; fails the test with its output when it fails. */
static inline void must_run(const char *cmd)
{
	char text[4096];
	int out;
	pid_t pid = spawn_sh(cmd, &out);

	if (finish_peer(pid, out, text, sizeof(text)) != 0)
		fail_msg("%s\n%s", cmd, text);
}

static inline int loopback_connect(uint16_t port)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(port),
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	if (connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0)
		return fd;
	(void)close(fd);
	return -1;
}

static inline int loopback_listen(uint16_t *port)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t n = sizeof(a);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(listen(fd, 16), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &n), 0);
	*port = ntohs(a.sin_port);
	return fd;
}

/* Sends what stands in `out`; false when the peer is gone. */
static inline bool flush_out(int fd, struct buf *out)
{
	while (buf_len(out)) {
		ssize_t n = send(fd, out->data + out->start, buf_len(out), MSG_NOSIGNAL);

		if (n <= 0)
			return false;
		buf_consume(out, (size_t)n);
	}
	return true;
}

/* Waits for bytes and lends them to the engine; `chunk` must live until settle(). */
static inline void feed_from(int fd, struct tls_engine *e, uint8_t *chunk, size_t cap)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	ssize_t n = -1;

	if (poll(&p, 1, PEER_PATIENCE_MS) > 0)
		n = read(fd, chunk, cap);
	if (n <= 0)
		tls_engine_feed_eof(e);
	else
		assert_int_equal(tls_engine_feed(e, bytes_of(chunk, (size_t)n)), ERR_OK);
}

static inline enum err shake_hands(int fd, struct tls_engine *e, struct buf *out)
{
	uint8_t chunk[4096];
	enum err err;

	while ((err = tls_engine_handshake(e)) == ERR_AGAIN) {
		if (!flush_out(fd, out))
			tls_engine_feed_eof(e);
		else
			feed_from(fd, e, chunk, sizeof(chunk));
		err = tls_engine_handshake(e);
		assert_int_equal(tls_engine_settle(e), ERR_OK);
		if (err != ERR_AGAIN)
			break;
	}
	(void)flush_out(fd, out);
	return err;
}

/* Reads until `upto` was seen or the end; returns how it ended (ERR_OK: seen). */
static inline enum err read_until(int fd, struct tls_engine *e, struct buf *out, struct buf *got,
				  const char *upto)
{
	uint8_t chunk[4096], plain[4096];

	for (;;) {
		enum err err;
		size_t n;

		while ((err = tls_engine_read(e, plain, sizeof(plain), &n)) == ERR_OK)
			assert_int_equal(buf_append(got, bytes_of(plain, n)), ERR_OK);
		assert_int_equal(tls_engine_settle(e), ERR_OK);
		(void)flush_out(fd, out);
		if (upto && bytes_find(buf_bytes(got), bytes_str(upto)) < buf_len(got))
			return ERR_OK;
		if (err != ERR_AGAIN)
			return err;
		feed_from(fd, e, chunk, sizeof(chunk));
	}
}
