/*
 * admin.c - the admin endpoint: health, metrics, status
 *
 * A unix socket (mode 0660) and a TCP listener, in the master. The observe room reads the request
 * and writes the answer; here are only the sockets. Few connections, short lives, small buffers:
 * whoever may reach it can fill it, and the gateway does not care.
 */
#include "gateway/process/process_internal.h"

#include <errno.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define ADMIN_LIFE_US 5000000u
#define ADMIN_RESPONSE_MAX (1u << 20)

void admin_init(struct admin *a)
{
	a->unix_fd = a->tcp_fd = -1;
	for (size_t i = 0; i < ADMIN_CONNS; i++)
		a->conns[i] = (struct admin_conn){ .fd = -1 };
}

static void conn_close(struct admin_conn *c)
{
	if (c->fd < 0)
		return;
	close(c->fd);
	buf_release(&c->in);
	buf_release(&c->out);
	*c = (struct admin_conn){ .fd = -1 };
}

static void unix_close(struct admin *a)
{
	if (a->unix_fd < 0)
		return;
	close(a->unix_fd);
	(void)unlink(a->unix_path);
	a->unix_fd = -1;
	a->unix_path[0] = '\0';
}

static int unix_listen(const char *path)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	const char *slash = strrchr(path, '/');
	struct stat st;
	char dir[sizeof(sun.sun_path)];
	int fd;

	if (!bytes_to_str(bytes_str(path), sun.sun_path, sizeof(sun.sun_path))) {
		errno = ENAMETOOLONG;
		return -1;
	}
	if (slash && slash != path &&
	    bytes_to_str(bytes_of(path, (size_t)(slash - path)), dir, sizeof(dir)))
		(void)mkdir(dir, 0755);
	/* Only a socket may be in the way: what a killed master left behind. */
	if (lstat(path, &st) == 0 && S_ISSOCK(st.st_mode))
		(void)unlink(path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -1;
	if (bind(fd, (struct sockaddr *)&sun, sizeof(sun)) != 0 || chmod(path, 0660) != 0 ||
	    listen(fd, 16) != 0) {
		close(fd);
		return -1;
	}
	return fd;
}

static int tcp_listen(const struct addr *at)
{
	struct sockaddr_storage ss;
	socklen_t len = addr_to_sockaddr(at, &ss);
	const int on = 1;
	int fd = socket(at->family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return -1;
	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(fd, (struct sockaddr *)&ss, len) != 0 || listen(fd, 16) != 0) {
		close(fd);
		return -1;
	}
	return fd;
}

void admin_configure(struct admin *a, const char *unix_path, const struct addr *tcp)
{
	char text[ADDR_TEXT_MAX];

	if (!unix_path || strcmp(unix_path, a->unix_path) != 0) {
		unix_close(a);
		if (unix_path)
			a->unix_fd = unix_listen(unix_path);
		if (unix_path && a->unix_fd < 0)
			LOG_EVENT(LOG_LEVEL_WARN, "admin.listen_failed", KV("at", unix_path),
				  KV("why", strerror(errno)));
		else if (unix_path)
			(void)bytes_to_str(bytes_str(unix_path), a->unix_path,
					   sizeof(a->unix_path));
	}
	if (a->tcp_fd >= 0 && addr_ip_eq(&a->tcp_addr, tcp) && a->tcp_addr.port == tcp->port)
		return;
	if (a->tcp_fd >= 0)
		close(a->tcp_fd);
	a->tcp_fd = -1;
	if (tcp->family == 0)
		return;
	a->tcp_addr = *tcp;
	a->tcp_fd = tcp_listen(tcp);
	if (a->tcp_fd < 0)
		LOG_EVENT(LOG_LEVEL_WARN, "admin.listen_failed", KV("at", addr_text(tcp, text)),
			  KV("why", strerror(errno)));
}

size_t admin_poll_add(const struct admin *a, struct pollfd *fds)
{
	size_t n = 0;

	if (a->unix_fd >= 0)
		fds[n++] = (struct pollfd){ .fd = a->unix_fd, .events = POLLIN };
	if (a->tcp_fd >= 0)
		fds[n++] = (struct pollfd){ .fd = a->tcp_fd, .events = POLLIN };
	for (size_t i = 0; i < ADMIN_CONNS; i++)
		if (a->conns[i].fd >= 0)
			fds[n++] = (struct pollfd){
				.fd = a->conns[i].fd,
				.events = a->conns[i].answering ? POLLOUT : POLLIN,
			};
	return n;
}

static void admin_accept(struct admin *a, int listener)
{
	int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd < 0)
		return;
	for (size_t i = 0; i < ADMIN_CONNS; i++) {
		struct admin_conn *c = &a->conns[i];

		if (c->fd >= 0)
			continue;
		c->fd = fd;
		c->answering = false;
		c->until_us = time_mono_us() + ADMIN_LIFE_US;
		buf_init(&c->in, OBSERVE_ADMIN_REQUEST_MAX + 1);
		buf_init(&c->out, ADMIN_RESPONSE_MAX);
		return;
	}
	close(fd);
}

static void conn_write(struct admin_conn *c)
{
	struct bytes b = buf_bytes(&c->out);
	ssize_t n = send(c->fd, b.p, b.n, MSG_NOSIGNAL);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n > 0)
		buf_consume(&c->out, (size_t)n);
	if (n < 0 || buf_len(&c->out) == 0) {
		(void)shutdown(c->fd, SHUT_WR);
		conn_close(c);
	}
}

static void conn_read(struct admin *a, struct admin_conn *c)
{
	struct observe_admin info = { 0 };
	uint8_t *p;
	enum err e;
	ssize_t n;

	if (buf_room(&c->in) == 0 || buf_reserve(&c->in, buf_room(&c->in), &p) != ERR_OK) {
		conn_close(c);
		return;
	}
	n = recv(c->fd, p, buf_room(&c->in), 0);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		conn_close(c);
		return;
	}
	buf_commit(&c->in, (size_t)n);
	a->snapshot(a->owner, &info);
	e = observe_admin_respond(buf_bytes(&c->in), &info, &c->out);
	if (e == ERR_AGAIN)
		return;
	if (e != ERR_OK) {
		conn_close(c);
		return;
	}
	c->answering = true;
	conn_write(c);
}

void admin_poll_run(struct admin *a, const struct pollfd *fds, size_t n)
{
	uint64_t now = time_mono_us();

	for (size_t i = 0; i < n; i++) {
		if (!fds[i].revents)
			continue;
		if (fds[i].fd == a->unix_fd || fds[i].fd == a->tcp_fd) {
			admin_accept(a, fds[i].fd);
			continue;
		}
		for (size_t k = 0; k < ADMIN_CONNS; k++) {
			if (a->conns[k].fd != fds[i].fd)
				continue;
			if (a->conns[k].answering)
				conn_write(&a->conns[k]);
			else
				conn_read(a, &a->conns[k]);
			break;
		}
	}
	for (size_t k = 0; k < ADMIN_CONNS; k++)
		if (a->conns[k].fd >= 0 && now > a->conns[k].until_us)
			conn_close(&a->conns[k]);
}

void admin_close(struct admin *a)
{
	for (size_t k = 0; k < ADMIN_CONNS; k++)
		conn_close(&a->conns[k]);
	unix_close(a);
	if (a->tcp_fd >= 0)
		close(a->tcp_fd);
	a->tcp_fd = -1;
}
