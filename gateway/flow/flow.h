/*
 * flow.h - one TCP connection of an agent, from accept to close
 *
 * acceptor -> original destination -> first bytes peeked -> policy -> leaf -> TLS -> requests ->
 * exchange. One struct flow_server per worker; it owns its flows.
 */
#pragma once

#include "base/base.h"
#include "gateway/dns/dns.h"
#include "gateway/exchange/exchange.h"
#include "gateway/leg/leg.h"
#include "gateway/net/net.h"
#include "gateway/tls/tls.h"

struct flow_server;

struct flow_env {
	struct exchange_env exchange;		/* copied */
	struct leg_pool *legs;			/* borrowed */
	struct tls_server *tls;			/* borrowed, like all below */
	struct tls_leaf_cache *leaves;
	struct dns_server *dns;			/* NULL: TCP port 53 is refused */
	/* Ask the minter for a leaf; the answer comes by flow_server_minted(). */
	enum err (*mint)(void *owner, const char *host);
	void *mint_owner;
	size_t flows_max;			/* this worker's share of limits.flows */
	size_t header_bytes;
	/* ClientHello, handshake or request head must be complete by then. */
	unsigned head_ms;
	unsigned idle_ms;
};

/* NULL: out of memory. */
struct flow_server *flow_server_new(const struct flow_env *env);
/* Takes an accepted connection (fd is owned from here on, also on failure). */
void flow_server_accept(struct flow_server *s, int fd, const struct addr *peer,
			const struct addr *original);
/* A connection was turned away unopened for want of a descriptor: counted and audited. */
void flow_server_shed(struct flow_server *s, const struct addr *peer);
/*
 * The minter has answered for `host`. ERR_OK: the caller has put the certificate into the leaf
 * cache, which woke its waiters; otherwise they are failed here.
 */
void flow_server_minted(struct flow_server *s, const char *host, enum err e);
/* Stop keep-alive: idle flows close now, busy ones after their exchange (SIGTERM, reload). */
void flow_server_drain(struct flow_server *s);
/* Close every flow now. */
void flow_server_abort(struct flow_server *s);
size_t flow_server_count(const struct flow_server *s);
/* flow_server_count() must be 0. */
void flow_server_free(struct flow_server *s);
