/*
 * conn.c - one stream socket with back-pressure, over a poll handle
 *
 * The socket is read and written directly; libuv only says when. That keeps a small answer at one
 * system call, moves waiting output instead of copying it, and lends one buffer to all readers.
 *
 * Output: sent at once; what the kernel does not take waits in `pending` until the socket is
 *   writable. An owner that sees net_conn_pending() grow stops its source until on_drained.
 * Input: reading stops lazily: net_conn_read_stop() is a store, and only when bytes do arrive is
 *   the poll handle told. A pause and a resume within one turn cost nothing.
 * Failure modes: connect refused or timed out -> on_error(ERR_CONNECT_*). A read error -> on_error.
 *   A write error is remembered and told from the next turn, after what the peer sent before it
 *   died was delivered (an early answer to a large upload is not lost), unless reading is paused.
 * Closing: the handle is closed and the descriptor with it; on_closed comes in a later turn, once.
 */
#include "gateway/net/net_internal.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <unistd.h>

/* Full buffers read from one connection before the others get their turn. */
#define READS_PER_TURN 4
/* Full buffers read from a dead connection: more than a receive buffer holds. */
#define READS_WHEN_DEAD 256
/* A client that sends a megabyte of header still gets its answer. */
#define LINGER_DISCARD_MAX (2u * 1024 * 1024)
#define DIAL_TIMEOUT_MS 10000

static void conn_on_poll(uv_poll_t *poll, int status, int events);

enum err net_error_of(int error)
{
	switch (error) {
	case ECONNRESET:
	case EPIPE:
	case ENOTCONN:
		return ERR_CLOSED;
	case ETIMEDOUT:
	case EHOSTUNREACH:
	case ENETUNREACH:
		return ERR_TIMEOUT;
	case ENOMEM:
	case ENOBUFS:
		return ERR_NOMEM;
	default:
		return ERR_IO;
	}
}

enum err net_dial_error_of(int error)
{
	switch (error) {
	case ECONNREFUSED:
	case ECONNRESET:
		return ERR_CONNECT_REFUSED;
	case ETIMEDOUT:
		return ERR_CONNECT_TIMEOUT;
	case EMFILE:
	case ENFILE:
		return ERR_IO;
	case ENOMEM:
	case ENOBUFS:
		return ERR_NOMEM;
	default:
		return ERR_CONNECT_UNREACHABLE;
	}
}

/* What the poll handle has to listen for now. */
static int conn_wanted(const struct net_conn *c)
{
	int events = 0;

	switch (c->state) {
	case NET_CONN_DIALLING:
		return UV_WRITABLE;
	case NET_CONN_OPEN:
	case NET_CONN_LINGERING:
		if (c->want_read && !c->got_eof)
			events |= UV_READABLE;
		if (net_conn_pending(c) > 0 || c->failed != ERR_OK)
			events |= UV_WRITABLE;
		return events;
	case NET_CONN_IDLE:
	case NET_CONN_FAILED:
	case NET_CONN_CLOSING:
		break;
	}
	return 0;
}

static void conn_listen(struct net_conn *c, int events)
{
	if (c->events == events)
		return;
	c->events = events;
	if (events)
		uv_poll_start(&c->poll, events, conn_on_poll);
	else
		uv_poll_stop(&c->poll);
}

/* Listens for more; for less only when it comes to that. */
static void conn_listen_more(struct net_conn *c)
{
	int events = conn_wanted(c);

	if (events & ~c->events)
		conn_listen(c, events);
}

static void conn_fail(struct net_conn *c, enum err e)
{
	net_timer_stop(&c->timer);
	buf_release(&c->pending);
	if (c->state == NET_CONN_LINGERING) {
		net_conn_close(c);
		return;
	}
	c->state = NET_CONN_FAILED;
	conn_listen(c, 0);
	c->ops->on_error(c->owner, e);
}

static void conn_half_close(struct net_conn *c)
{
	if (!c->want_shutdown || c->did_shutdown || net_conn_pending(c) > 0)
		return;
	c->did_shutdown = true;
	if (shutdown(c->fd, SHUT_WR) != 0 && c->failed == ERR_OK)
		c->failed = net_error_of(errno);
}

/* How much of `out` the kernel took; a socket that died takes all, and `failed` says so. */
static size_t conn_write(struct net_conn *c, struct bytes out)
{
	ssize_t n;

	do {
		n = send(c->fd, out.p, out.n, MSG_NOSIGNAL);
	} while (n < 0 && errno == EINTR);
	if (n >= 0) {
		c->bytes_out += (uint64_t)n;
		return (size_t)n;
	}
	if (errno == EAGAIN || errno == EWOULDBLOCK)
		return 0;
	c->failed = net_error_of(errno);
	return out.n;
}

/* Writes what waits; true when that was the last of it. */
static bool conn_flush(struct net_conn *c)
{
	if (net_conn_pending(c) == 0)
		return false;
	buf_consume(&c->pending, conn_write(c, buf_bytes(&c->pending)));
	if (net_conn_pending(c) > 0)
		return false;
	buf_release(&c->pending);
	c->pending.secret = false;
	conn_half_close(c);
	return c->failed == ERR_OK;
}

static bool conn_may_read(const struct net_conn *c)
{
	return (c->state == NET_CONN_OPEN || c->state == NET_CONN_LINGERING) && c->want_read &&
	       !c->got_eof;
}

static void conn_deliver(struct net_conn *c, size_t n)
{
	c->bytes_in += n;
	if (c->state == NET_CONN_LINGERING) {
		c->discarded += n;
		if (c->discarded > LINGER_DISCARD_MAX)
			net_conn_close(c);
	} else {
		c->ops->on_data(c->owner, bytes_of(c->loop->read_buf, n));
	}
	if (c->sensitive)
		explicit_bzero(c->loop->read_buf, n);
}

static void conn_end(struct net_conn *c)
{
	/* The error of a dead socket is given once; reads that follow see an end that is none. */
	if (c->failed != ERR_OK) {
		conn_fail(c, c->failed);
		return;
	}
	c->got_eof = true;
	if (c->state != NET_CONN_LINGERING)
		c->ops->on_eof(c->owner);
}

/* One read; true when there may be more. */
static bool conn_read(struct net_conn *c)
{
	ssize_t n;

	do {
		n = recv(c->fd, c->loop->read_buf, NET_READ_SIZE, 0);
	} while (n < 0 && errno == EINTR);
	if (n > 0) {
		conn_deliver(c, (size_t)n);
		return n == NET_READ_SIZE;
	}
	if (n == 0)
		conn_end(c);
	else if (errno != EAGAIN && errno != EWOULDBLOCK)
		conn_fail(c, net_error_of(errno));
	return false;
}

static void conn_on_dialled(struct net_conn *c)
{
	int error = 0;
	socklen_t len = sizeof(error);

	if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0)
		error = errno;
	if (error != 0) {
		conn_fail(c, net_dial_error_of(error));
		return;
	}
	net_timer_stop(&c->timer);
	c->state = NET_CONN_OPEN;
	if (c->ops->on_connected)
		c->ops->on_connected(c->owner);
	if (c->state == NET_CONN_OPEN && net_conn_pending(c) == 0)
		conn_half_close(c);
}

static void conn_on_ready(struct net_conn *c, int events)
{
	if ((events & UV_WRITABLE) && conn_flush(c) && c->state == NET_CONN_OPEN &&
	    c->ops->on_drained)
		c->ops->on_drained(c->owner);
	if (events & UV_READABLE || c->failed != ERR_OK) {
		int max = c->failed == ERR_OK ? READS_PER_TURN : READS_WHEN_DEAD;

		while (max-- > 0 && conn_may_read(c))
			if (!conn_read(c))
				break;
	}
	if (c->state == NET_CONN_OPEN && c->failed != ERR_OK)
		conn_fail(c, c->failed);
	if (c->state == NET_CONN_LINGERING &&
	    (c->failed != ERR_OK || (c->got_eof && net_conn_pending(c) == 0)))
		net_conn_close(c);
}

static void conn_on_poll(uv_poll_t *poll, int status, int events)
{
	struct net_conn *c = container_of(poll, struct net_conn, poll);

	if (status < 0) {
		/* The descriptor reports an error, and libuv has stopped the handle. */
		c->events = 0;
		events = UV_READABLE | UV_WRITABLE;
	}
	if (c->state == NET_CONN_DIALLING)
		conn_on_dialled(c);
	else if (c->state == NET_CONN_OPEN || c->state == NET_CONN_LINGERING)
		conn_on_ready(c, events);
	if (c->state != NET_CONN_CLOSING)
		conn_listen(c, conn_wanted(c));
}

static void conn_on_timer(struct net_timer *t)
{
	struct net_conn *c = container_of(t, struct net_conn, timer);

	if (c->state == NET_CONN_DIALLING)
		conn_fail(c, ERR_CONNECT_TIMEOUT);
	else
		net_conn_close(c);
}

/* Takes over fd, also on failure. */
static enum err conn_open(struct net_conn *c, struct net_loop *loop, int fd,
			  const struct net_conn_ops *ops, void *owner)
{
	int one = 1;

	*c = (struct net_conn){ .loop = loop, .ops = ops, .owner = owner, .fd = fd };
	/* The ceiling is looked after by conn_keep(). */
	buf_init(&c->pending, SIZE_MAX / 2);
	net_timer_init(&c->timer, loop, conn_on_timer);
	if (uv_poll_init(loop->uv, &c->poll, fd) != 0) {
		close(fd);
		return ERR_IO;
	}
	/* No TCP, no delay: then this fails, and rightly so. */
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	return ERR_OK;
}

enum err net_conn_accept(struct net_conn *c, struct net_loop *loop, int fd,
			 const struct net_conn_ops *ops, void *owner)
{
	TRY(conn_open(c, loop, fd, ops, owner));
	c->state = NET_CONN_OPEN;
	return ERR_OK;
}

enum err net_conn_dial(struct net_conn *c, struct net_loop *loop, const struct addr *to,
		       const struct net_dial_opts *opts, const struct net_conn_ops *ops,
		       void *owner)
{
	struct sockaddr_storage ss;
	socklen_t len = addr_to_sockaddr(to, &ss);
	int fd = socket(to->family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int one = 1;
	int error;

	if (fd < 0)
		return net_dial_error_of(errno);
	if (opts && opts->mark &&
	    setsockopt(fd, SOL_SOCKET, SO_MARK, &opts->mark, sizeof(opts->mark)) != 0) {
		close(fd);
		return ERR_IO;
	}
	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
	if (connect(fd, (const struct sockaddr *)&ss, len) != 0 && errno != EINPROGRESS) {
		error = errno;
		close(fd);
		return net_dial_error_of(error);
	}
	TRY(conn_open(c, loop, fd, ops, owner));
	c->state = NET_CONN_DIALLING;
	net_timer_start(&c->timer, opts && opts->timeout_ms ? opts->timeout_ms : DIAL_TIMEOUT_MS);
	conn_listen_more(c);
	return ERR_OK;
}

void net_conn_read_start(struct net_conn *c)
{
	if (c->state == NET_CONN_LINGERING || c->want_read)
		return;
	c->want_read = true;
	conn_listen_more(c);
}

void net_conn_read_stop(struct net_conn *c)
{
	if (c->state != NET_CONN_LINGERING)
		c->want_read = false;
}

/* May output still be taken, at once or later? */
static bool conn_takes_output(const struct net_conn *c)
{
	return (c->state == NET_CONN_OPEN || c->state == NET_CONN_DIALLING) &&
	       c->failed == ERR_OK && !c->want_shutdown;
}

/* May it be written now, nothing waiting before it? */
static bool conn_writes_now(const struct net_conn *c)
{
	return c->state == NET_CONN_OPEN && net_conn_pending(c) == 0;
}

static enum err conn_keep(struct net_conn *c, struct bytes rest)
{
	if (rest.n > NET_PENDING_MAX || net_conn_pending(c) > NET_PENDING_MAX - rest.n)
		return ERR_AGAIN;
	return buf_append(&c->pending, rest);
}

enum err net_conn_send(struct net_conn *c, struct buf *out)
{
	struct buf *p = &c->pending;

	if (buf_len(out) == 0)
		return ERR_OK;
	if (!conn_takes_output(c)) {
		buf_clear(out);
		return ERR_OK;
	}
	if (conn_writes_now(c)) {
		buf_consume(out, conn_write(c, buf_bytes(out)));
		if (buf_len(out) == 0) {
			conn_listen_more(c);
			return ERR_OK;
		}
	}
	p->secret |= out->secret;
	if (net_conn_pending(c) > 0) {
		TRY(conn_keep(c, buf_bytes(out)));
		buf_clear(out);
		return ERR_OK;
	}
	/* The memory changes hands; each buffer keeps its own ceiling. */
	buf_release(p);
	buf_hand_over(out, p);
	conn_listen_more(c);
	return ERR_OK;
}

enum err net_conn_send_bytes(struct net_conn *c, struct bytes out)
{
	if (out.n == 0 || !conn_takes_output(c))
		return ERR_OK;
	if (!conn_writes_now(c))
		return conn_keep(c, out);
	out = bytes_from(out, conn_write(c, out));
	/* What was begun must be finished: a rest that cannot be kept ends the connection. */
	if (out.n > 0 && buf_append(&c->pending, out) != ERR_OK)
		c->failed = ERR_NOMEM;
	conn_listen_more(c);
	return ERR_OK;
}

void net_conn_shutdown(struct net_conn *c)
{
	if (c->state != NET_CONN_OPEN && c->state != NET_CONN_DIALLING)
		return;
	c->want_shutdown = true;
	if (c->state == NET_CONN_OPEN) {
		conn_half_close(c);
		conn_listen_more(c);
	}
}

void net_conn_linger(struct net_conn *c, uint32_t ms)
{
	if (c->state == NET_CONN_LINGERING)
		return;
	if (c->state != NET_CONN_OPEN || c->failed != ERR_OK) {
		net_conn_close(c);
		return;
	}
	c->state = NET_CONN_LINGERING;
	c->want_shutdown = true;
	c->want_read = true;
	conn_half_close(c);
	if (c->failed != ERR_OK || (c->got_eof && net_conn_pending(c) == 0)) {
		net_conn_close(c);
		return;
	}
	net_timer_start(&c->timer, ms);
	conn_listen_more(c);
}

static void conn_on_closed(uv_handle_t *h)
{
	struct net_conn *c = container_of((uv_poll_t *)(void *)h, struct net_conn, poll);

	c->state = NET_CONN_IDLE;
	c->ops->on_closed(c->owner);
}

void net_conn_close(struct net_conn *c)
{
	if (c->state == NET_CONN_IDLE || c->state == NET_CONN_CLOSING)
		return;
	c->state = NET_CONN_CLOSING;
	c->events = 0;
	net_timer_stop(&c->timer);
	buf_release(&c->pending);
	uv_close((uv_handle_t *)&c->poll, conn_on_closed);
	close(c->fd);
	c->fd = -1;
}

void net_conn_reset(struct net_conn *c)
{
	struct linger reset = { .l_onoff = 1, .l_linger = 0 };

	if (c->state == NET_CONN_IDLE || c->state == NET_CONN_CLOSING)
		return;
	setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
	net_conn_close(c);
}

bool net_conn_peer(const struct net_conn *c, struct addr *out)
{
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);

	return c->fd >= 0 && getpeername(c->fd, (struct sockaddr *)&ss, &len) == 0 &&
	       addr_from_sockaddr(out, (const struct sockaddr *)&ss);
}
