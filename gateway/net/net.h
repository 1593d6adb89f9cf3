/*
 * net.h - sockets and time for one worker's loop: listeners, acceptor, connections, cheap timers
 *
 * One struct net_loop per worker wraps its uv loop and lends ONE read buffer to every connection,
 * so an idle connection costs its struct and nothing else. A connection tells its owner what
 * happened through a table of callbacks and never decides anything itself.
 *
 * Order of callbacks of one connection: [on_connected] (on_data | on_drained)* [on_eof]
 * (on_drained)* [on_error], then, once the owner has asked for it, on_closed, which is always the
 * last and comes from a later loop turn. on_eof and on_error come at most once each; after on_error
 * or net_conn_close() only on_closed follows. No function below calls back before it returns, so an
 * owner is never re-entered from its own call.
 */
#pragma once

#include "base/base.h"

#include <uv.h>

/* ---- listeners: made by the master, which may, and inherited by the workers ------------- */

/*
 * A TCP listener that accepts what TPROXY hands to `port`, whatever its destination was; the
 * accepted socket's local address is that destination. Non-blocking, close-on-exec, SO_REUSEPORT:
 * one per worker. Needs CAP_NET_ADMIN (or CAP_NET_RAW). ERR_IO with errno set on failure.
 */
enum err net_listen_tproxy(int family, uint16_t port, int *fd) WARN_UNUSED;
/* The same for datagrams; recvmsg() tells the original destination (IP_ORIGDSTADDR,
 * IPV6_ORIGDSTADDR). */
enum err net_listen_udp_tproxy(int family, uint16_t port, int *fd) WARN_UNUSED;
/*
 * A socket that only sends: datagrams from any address (named per message by IP_PKTINFO or
 * IPV6_PKTINFO) and from `port`, so that the answer to a captured question comes from where the
 * question went. A socket filter drops whatever is sent to it. Needs CAP_NET_ADMIN (or
 * CAP_NET_RAW).
 */
enum err net_udp_reply_socket(int family, uint16_t port, int *fd) WARN_UNUSED;
/* An ordinary TCP listener (tests, the admin endpoint); port 0 lets the kernel choose, *at then
 * holds the choice. */
enum err net_listen_tcp(struct addr *at, int *fd) WARN_UNUSED;
/* Clears close-on-exec, for handing a descriptor to a child. */
enum err net_fd_inherit(int fd) WARN_UNUSED;

/* ---- timers: one coarse wheel for thousands of idle timers ------------------------------ */

#define NET_TICK_MS 100
#define NET_WHEEL_SLOTS 512

/* Embedded in its owner. Fires once, at or up to two ticks after its time, never early. */
struct net_timer {
	struct list link; /* in a slot of the wheel while armed; NULLs otherwise */
	struct net_loop *loop; /* borrowed */
	uint64_t due_ms; /* loop time; may be later than the slot: then the wheel moves it on */
	uint64_t slot_tick; /* the tick at which the wheel looks at it */
	void (*fire)(struct net_timer *t);
};

/* ---- loop ------------------------------------------------------------------------------- */

#define NET_READ_SIZE (64 * 1024)

struct net_loop {
	uv_loop_t *uv; /* borrowed */
	uint8_t *read_buf; /* owned, NET_READ_SIZE, not in core dumps; lent during on_data only */
	uv_timer_t tick; /* runs while a timer is armed */
	uint64_t tick_done; /* ticks the wheel has gone through */
	size_t armed;
	struct list slots[NET_WHEEL_SLOTS];
	void (*on_closed)(void *owner);
	void *owner;
};

enum err net_loop_init(struct net_loop *loop, uv_loop_t *uv) WARN_UNUSED;
/* Every connection, acceptor and timer must be closed or stopped first. on_closed (may be NULL)
 * comes in a later turn. */
void net_loop_close(struct net_loop *loop, void (*on_closed)(void *owner), void *owner);
/* Milliseconds of the loop's clock, as old as the turn. */
static inline uint64_t net_loop_now(const struct net_loop *loop)
{
	return uv_now(loop->uv);
}

void net_timer_init(struct net_timer *t, struct net_loop *loop, void (*fire)(struct net_timer *t));
/* Arms, or moves: moving later costs one store, so it may be done at every read. ms is capped at 24
 * h. */
void net_timer_start(struct net_timer *t, uint64_t ms);
/* Any number of times, also from within fire(). */
void net_timer_stop(struct net_timer *t);
static inline bool net_timer_armed(const struct net_timer *t)
{
	return t->link.next != NULL;
}

/* ---- connections ------------------------------------------------------------------------ */

struct net_conn_ops {
	/* Dialled connections only; at most once, before anything else. May be NULL for accepted
	 * ones. */
	void (*on_connected)(void *owner);
	/* `in` is lent for the duration of the call (copy what is kept); at most NET_READ_SIZE
	 * bytes. */
	void (*on_data)(void *owner, struct bytes in);
	/* The peer sends no more; our side may still send. */
	void (*on_eof)(void *owner);
	/* The connection is dead (or never came up); close it. ERR_CONNECT_* while dialling; then
	 * ERR_CLOSED, ERR_TIMEOUT, ERR_IO. */
	void (*on_error)(void *owner, enum err e);
	/* Output that had to wait is now all in the kernel. May be NULL. */
	void (*on_drained)(void *owner);
	/* The last callback: nothing refers to the connection any more, its memory may be freed. */
	void (*on_closed)(void *owner);
};

/* Ceiling on output that waits; an owner stops feeding long before (see net_conn_pending). */
#define NET_PENDING_MAX (1024 * 1024)

enum net_conn_state {
	NET_CONN_IDLE, /* zeroed, or on_closed was called */
	NET_CONN_DIALLING,
	NET_CONN_OPEN,
	NET_CONN_FAILED, /* on_error was called; waits for net_conn_close() */
	NET_CONN_LINGERING, /* net_conn_linger(): flush, half-close, drop input */
	NET_CONN_CLOSING, /* on_closed is on its way */
};

/* Embedded in its owner; all fields private. */
struct net_conn {
	uv_poll_t poll;
	struct net_loop *loop; /* borrowed */
	const struct net_conn_ops *ops; /* borrowed; static */
	void *owner; /* borrowed */
	struct buf pending; /* owned; output that waits for room in the kernel */
	struct net_timer timer; /* dialling, then lingering */
	int fd;
	enum net_conn_state state;
	int events; /* what the poll handle listens for */
	enum err failed; /* a write failed; told by on_error from the next turn */
	bool want_read;
	bool got_eof;
	bool want_shutdown, did_shutdown;
	bool sensitive;
	size_t discarded; /* while lingering */
	uint64_t bytes_in, bytes_out;
};

struct net_dial_opts {
	uint32_t timeout_ms; /* 0: 10 s */
	uint32_t mark; /* SO_MARK, 0: none; needs CAP_NET_ADMIN */
};

/*
 * Takes over a connected, non-blocking socket (any stream socket; TCP gets TCP_NODELAY). The fd is
 * owned from here on, also on failure, when it is closed and no callback comes. Reading begins with
 * net_conn_read_start().
 */
enum err net_conn_accept(struct net_conn *c, struct net_loop *loop, int fd,
			 const struct net_conn_ops *ops, void *owner) WARN_UNUSED;
/* Connects; on_connected or on_error tells how it went. On an error returned here no callback
 * comes. */
enum err net_conn_dial(struct net_conn *c, struct net_loop *loop, const struct addr *to,
		       const struct net_dial_opts *opts, const struct net_conn_ops *ops,
		       void *owner) WARN_UNUSED;

/* Back-pressure towards the peer: both are cheap and may be called at any time, any number of
 * times. */
void net_conn_read_start(struct net_conn *c);
void net_conn_read_stop(struct net_conn *c);

/*
 * Sends all of `out`: at once as far as the kernel takes it (one system call), the rest by moving
 * the memory out of `out`, which is left empty. ERR_AGAIN when more than NET_PENDING_MAX would
 * wait, or ERR_NOMEM: `out` is then as it was. A failing socket is told by on_error, never here; a
 * connection that failed or is closing eats everything. Waiting bytes are wiped when written if
 * out->secret is set.
 */
enum err net_conn_send(struct net_conn *c, struct buf *out) WARN_UNUSED;
/* The same for borrowed bytes that hold no secret; what has to wait is copied. */
enum err net_conn_send_bytes(struct net_conn *c, struct bytes out) WARN_UNUSED;
/* Bytes that wait. The owner chooses its high-water mark and resumes at on_drained. */
static inline size_t net_conn_pending(const struct net_conn *c)
{
	return buf_len(&c->pending);
}
static inline bool net_conn_is_open(const struct net_conn *c)
{
	return c->state == NET_CONN_OPEN;
}

/* Half-close once what waits is written. */
void net_conn_shutdown(struct net_conn *c);
/*
 * Close politely: flush, half-close, read and drop until the peer ends (so that unread input does
 * not turn a last answer into a reset), for at most `ms` and 2 MiB; then as net_conn_close().
 * Only on_closed follows.
 */
void net_conn_linger(struct net_conn *c, uint32_t ms);
/* Drops what waits. Any number of times, from any callback; on_closed comes once (if accept or dial
 * succeeded). */
void net_conn_close(struct net_conn *c);
/* As net_conn_close(), but the peer sees a reset. */
void net_conn_reset(struct net_conn *c);
/* Plaintext that may hold secrets is read here: the shared buffer is wiped after each on_data
 * (REQ-7.2). */
static inline void net_conn_set_sensitive(struct net_conn *c)
{
	c->sensitive = true;
}
/* The other end's address; false when the socket has none. */
bool net_conn_peer(const struct net_conn *c, struct addr *out);

/* ---- acceptor --------------------------------------------------------------------------- */

struct net_acceptor_ops {
	/*
	 * A connection: `fd` is the owner's now (net_conn_accept() or close() it), `local` is the
	 * original destination, `peer` the agent. The owner may pause or close the acceptor from
	 * here.
	 */
	void (*on_accept)(void *owner, int fd, const struct addr *local, const struct addr *peer);
	/* One was turned away because no descriptor was left. May be NULL. */
	void (*on_shed)(void *owner, const struct addr *peer);
	void (*on_closed)(void *owner); /* may be NULL */
};

/* Embedded in its owner; all fields private. */
struct net_acceptor {
	uv_poll_t poll;
	struct net_loop *loop; /* borrowed */
	const struct net_acceptor_ops *ops; /* borrowed; static */
	void *owner; /* borrowed */
	int fd; /* owned */
	int reserve_fd; /* given up for a moment to turn a connection away */
	bool paused, closing;
};

/* Takes over a listening socket (closed on failure too) and starts accepting. */
enum err net_acceptor_open(struct net_acceptor *a, struct net_loop *loop, int fd,
			   const struct net_acceptor_ops *ops, void *owner) WARN_UNUSED;
/* Connections wait in the kernel's backlog meanwhile. */
void net_acceptor_pause(struct net_acceptor *a);
void net_acceptor_resume(struct net_acceptor *a);
/* Any number of times; on_closed once, in a later turn. */
void net_acceptor_close(struct net_acceptor *a);
