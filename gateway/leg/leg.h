/*
 * leg.h - one end of a flow: a TCP connection with TLS on it, or without
 *
 * Both legs of a flow are this: the agent's and the upstream's. A leg turns the network's bytes
 * into plain bytes and back, gathers small writes into full TLS records and one system call, and
 * carries back-pressure in both directions. It knows no HTTP.
 *
 * No function here calls back before it returns; resuming and starting TLS take effect in the next
 * loop turn.
 */
#pragma once

#include "base/base.h"
#include "gateway/net/net.h"
#include "gateway/tls/tls.h"

/* What the legs of one loop share. */
struct leg_pool {
	struct net_loop *net;		/* borrowed */
	/* Owned; one record's plain text, wiped after use (REQ-7.2). */
	uint8_t *scratch;
	size_t scratch_used;		/* high-water mark since the last wipe */
	/* Memory for a leg's `plain` and `out`, which hold some only while it writes. */
	struct buf spare_plain, spare_out;
	uv_idle_t idle;			/* runs while a leg is kicked */
	struct list kicked;		/* legs to pump in the next turn */
};

enum err leg_pool_init(struct leg_pool *p, struct net_loop *net) WARN_UNUSED;
/* Every leg must be closed first. The loop must run once more. */
void leg_pool_close(struct leg_pool *p);

struct leg_ops {
	/*
	 * The TCP connection of a dialled leg is up; TLS may be started now. May be NULL for
	 * accepted ones.
	 */
	void (*on_connected)(void *owner);
	/* The TLS handshake is complete and, on the upstream's side, the peer verified. */
	void (*on_secure)(void *owner);
	/*
	 * Plain bytes; returns how many were used up. The rest is kept and offered again with what
	 * comes next, or after leg_resume(). Borrowed until the call returns.
	 */
	size_t (*on_data)(void *owner, struct bytes in);
	/* A batch of on_data calls is over: flush what was made of it. May be NULL. */
	void (*on_batch)(void *owner);
	/*
	 * The peer sends no more, and all it sent was offered. clean: said so by TLS (always true
	 * without).
	 */
	void (*on_eof)(void *owner, bool clean);
	/* leg_full() became false. May be NULL. */
	void (*on_room)(void *owner);
	/* Dead; leg_close() it. Once. */
	void (*on_error)(void *owner, enum err e);
	/* Last callback: the memory may go. */
	void (*on_closed)(void *owner);
};

/* Output that may wait before leg_full(). */
#define LEG_HIGH_WATER (256u * 1024)

/* Embedded in its owner; fields private. */
struct leg {
	struct net_conn net;
	struct list kick;		/* in pool->kicked, or NULLs */
	struct leg_pool *pool;		/* borrowed */
	const struct leg_ops *ops;	/* borrowed; static */
	void *owner;
	struct tls_engine *tls;		/* owned; NULL: plain */
	struct buf rest;		/* plain bytes the owner did not use yet */
	struct buf plain;		/* plain bytes gathered for sending */
	struct buf out;			/* what goes to the network next */
	bool secure;			/* handshake done */
	bool paused;			/* owner wants no on_data */
	bool offer_rest;		/* offer `rest` again even without new bytes */
	bool pumping;			/* inside leg_pump() */
	bool eof, eof_clean, eof_told;
	bool was_full;			/* on_room is owed */
	bool dead;			/* error told or closed: nothing but on_closed follows */
};

struct leg_spec {
	struct leg_pool *pool;
	const struct leg_ops *ops;
	void *owner;
	size_t rest_max;	/* most the owner may leave unused (a head's limit, say) */
	/* Plain bytes of this leg may hold real tokens: wipe their buffers. */
	bool secret;
	bool clear_wire;	/* and no TLS will hide them from the network's buffers */
};

/* Takes over a connected socket (owned from here on, also on failure). Reading starts at once. */
enum err leg_accept(struct leg *l, const struct leg_spec *spec, int fd) WARN_UNUSED;
enum err leg_dial(struct leg *l, const struct leg_spec *spec, const struct addr *to,
		  unsigned timeout_ms) WARN_UNUSED;
/* Where engines made for this leg must put their output. */
static inline struct buf *leg_out(struct leg *l)
{
	return &l->out;
}
/*
 * Speaks TLS from now on. `engine` is owned by the leg from here on, also on failure. Unused plain
 * bytes are taken as the beginning of the handshake.
 */
enum err leg_start_tls(struct leg *l, struct tls_engine *engine) WARN_UNUSED;
/* The TLS library's words for what went wrong, "" when there are none; valid until on_closed. */
const char *leg_detail(const struct leg *l);
/*
 * Takes all of it, whatever leg_full() says (bounded by the caller's own batch). Sent by
 * leg_flush().
 */
enum err leg_write(struct leg *l, struct bytes plain) WARN_UNUSED;
enum err leg_flush(struct leg *l) WARN_UNUSED;
/* Too much waits: stop writing until on_room. */
bool leg_full(struct leg *l);
void leg_pause(struct leg *l);
void leg_resume(struct leg *l);
static inline bool leg_paused(const struct leg *l)
{
	return l->paused;
}
/* Send what waits and half-close (TLS: close_notify). Reading goes on. */
void leg_shutdown(struct leg *l);
/* Polite end after a last answer; then as leg_close(). */
void leg_linger(struct leg *l, unsigned ms);
/* Any number of times; on_closed comes once, from a later turn (if accept or dial succeeded). */
void leg_close(struct leg *l);
void leg_reset(struct leg *l);
