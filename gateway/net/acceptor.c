/*
 * acceptor.c - captured connections, one batch per loop turn
 *
 * Happy path: the listener is readable -> accept4() until empty, at most BATCH, so that a flood
 *   does not starve what is already there -> on_accept(fd, original destination, peer).
 * Failure modes: the peer is gone already: the next one. No descriptor left: the reserve is given
 *   up for a moment, the connection taken and reset, so that a full worker turns away rather than
 *   spins on a listener that stays readable. The reserve is a copy of the listener itself, since
 *   a worker may not open files.
 */
#include "gateway/net/net_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#define BATCH 64

static void acceptor_listen(struct net_acceptor *a);

static void acceptor_shed(struct net_acceptor *a)
{
	struct linger reset = { .l_onoff = 1, .l_linger = 0 };
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);
	struct addr peer = { 0 };
	int fd;

	if (a->reserve_fd < 0)
		return;
	close(a->reserve_fd);
	fd = accept4(a->fd, (struct sockaddr *)&ss, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (fd >= 0) {
		addr_from_sockaddr(&peer, (const struct sockaddr *)&ss);
		setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
		close(fd);
	}
	a->reserve_fd = fcntl(a->fd, F_DUPFD_CLOEXEC, 0);
	if (fd >= 0 && a->ops->on_shed)
		a->ops->on_shed(a->owner, &peer);
}

/* One connection; false when there is none for now. */
static bool acceptor_take(struct net_acceptor *a)
{
	struct sockaddr_storage ss;
	struct addr local = { 0 }, peer = { 0 };
	socklen_t len = sizeof(ss);
	int fd = accept4(a->fd, (struct sockaddr *)&ss, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);

	if (fd < 0) {
		if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
			acceptor_shed(a);
			return false;
		}
		/* accept(2): an error of the connection itself; the next may be fine. */
		return errno != EAGAIN && errno != EINVAL && errno != EBADF;
	}
	addr_from_sockaddr(&peer, (const struct sockaddr *)&ss);
	len = sizeof(ss);
	if (getsockname(fd, (struct sockaddr *)&ss, &len) != 0 ||
	    !addr_from_sockaddr(&local, (const struct sockaddr *)&ss)) {
		close(fd);
		return true;
	}
	a->ops->on_accept(a->owner, fd, &local, &peer);
	return true;
}

static void acceptor_on_readable(uv_poll_t *poll, int status, int events)
{
	struct net_acceptor *a = container_of(poll, struct net_acceptor, poll);

	(void)events;
	for (int i = 0; i < BATCH && !a->paused && !a->closing; i++)
		if (!acceptor_take(a))
			break;
	/* libuv stops a handle whose descriptor reports an error. */
	if (status < 0 && !a->paused && !a->closing)
		acceptor_listen(a);
}

static void acceptor_listen(struct net_acceptor *a)
{
	uv_poll_start(&a->poll, UV_READABLE, acceptor_on_readable);
}

enum err net_acceptor_open(struct net_acceptor *a, struct net_loop *loop, int fd,
			   const struct net_acceptor_ops *ops, void *owner)
{
	*a = (struct net_acceptor){ .loop = loop, .ops = ops, .owner = owner, .fd = fd };
	a->reserve_fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (a->reserve_fd < 0) {
		close(fd);
		return ERR_IO;
	}
	if (uv_poll_init(loop->uv, &a->poll, fd) != 0) {
		close(a->reserve_fd);
		close(fd);
		return ERR_IO;
	}
	acceptor_listen(a);
	return ERR_OK;
}

void net_acceptor_pause(struct net_acceptor *a)
{
	if (a->paused || a->closing)
		return;
	a->paused = true;
	uv_poll_stop(&a->poll);
}

void net_acceptor_resume(struct net_acceptor *a)
{
	if (!a->paused || a->closing)
		return;
	a->paused = false;
	acceptor_listen(a);
}

static void acceptor_on_closed(uv_handle_t *h)
{
	struct net_acceptor *a = container_of((uv_poll_t *)(void *)h, struct net_acceptor, poll);

	if (a->ops->on_closed)
		a->ops->on_closed(a->owner);
}

void net_acceptor_close(struct net_acceptor *a)
{
	if (a->closing)
		return;
	a->closing = true;
	uv_close((uv_handle_t *)&a->poll, acceptor_on_closed);
	close(a->fd);
	if (a->reserve_fd >= 0)
		close(a->reserve_fd);
}
