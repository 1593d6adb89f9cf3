/*
 * worker_internal.h - the parts of one worker
 */
#pragma once

#include <uv.h>

#include "gateway/dns/dns.h"
#include "gateway/flow/flow.h"
#include "gateway/leg/leg.h"
#include "gateway/net/net.h"
#include "gateway/process/process_internal.h"
#include "gateway/rewrite/rewrite.h"
#include "gateway/upstream/upstream.h"

/* ---- worker_mint.c: asking the minter -------------------------------------------------------- */

struct mint_ask;
struct mint_socket;

struct mint_client {
	uv_loop_t *uv;			/* borrowed */
	struct bytes pubkey;		/* borrowed; TLS_PUBKEY_LEN */
	/*
	 * Once per mint_client_ask() that returned ERR_OK, never from inside it. cert is empty
	 * unless e is ERR_OK.
	 */
	void (*done)(void *owner, const char *host, enum err e, struct bytes cert);
	void *owner;
	struct mint_socket *socket;	/* owned; NULL until the master has brought one */
	struct mint_ask *first, *last;	/* oldest first */
	size_t waiting;
	uint32_t last_id;
	uv_timer_t timer;		/* runs while something waits */
};

enum err mint_client_init(struct mint_client *c, uv_loop_t *uv) WARN_UNUSED;
/* A new connection to the minter; what waits is asked again on it. Takes fd. */
void mint_client_connect(struct mint_client *c, int fd);
enum err mint_client_ask(struct mint_client *c, const char *host) WARN_UNUSED;

/* What waits is forgotten: no callback comes any more. */
void mint_client_close(struct mint_client *c);

/* ---- worker_dns.c ---------------------------------------------------------------------------- */

struct worker;
extern const struct dns_server_ops worker_dns_ops;

/* ---- worker_audit.c -------------------------------------------------------------------------- */

enum err worker_audit_init(struct worker *w) WARN_UNUSED;
void worker_audit_add(void *owner, const struct observe_event *ev);
/* Writes all that waits, as far as the master takes it in a moment, and closes its handles. */
void worker_audit_finish(struct worker *w);

/* ---- the worker ------------------------------------------------------------------------------ */

struct worker {
	unsigned slot;
	uv_loop_t uv;
	struct net_loop net;
	struct leg_pool legs;
	/* what it was given */
	struct config *cfg;
	struct secret_area area;
	const struct secret_store *secrets;
	const struct rewrite_set *outbound, *inbound;
	struct observe_page *page;
	struct observe_slot *counters;
	struct policy_bucket *buckets;
	/* Text of the hosts file, for as long as the resolver lives. */
	struct buf hosts;
	/* what it made of it */
	struct policy *policy;
	struct tls_client *tls_client;
	struct tls_server *tls_server;
	struct tls_leaf_cache *leaves;
	struct upstream_resolver *resolver;
	struct upstream_pool *pool;
	struct mint_client mint;
	struct dns_server *dns_udp;	/* NULL until SERVE and after DRAIN */
	struct dns_server *dns_tcp;	/* questions that flows bring */
	struct flow_server *flows;
	struct net_acceptor acceptors[2];
	size_t n_acceptors;
	/* the master */
	uv_poll_t channel;
	uint8_t *message;
	bool serving, draining, finishing;
	uv_timer_t drain_timer;
	uint64_t drain_until_ms;	/* loop time */
	/* audit */
	struct observe_batch audit;
	uv_prepare_t turn;
	uv_timer_t audit_timer;
};
