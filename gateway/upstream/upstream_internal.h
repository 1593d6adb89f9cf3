/*
 * upstream_internal.h - connection, lease and pool as they see each other; no other room includes
 * this
 */
#pragma once

#include "gateway/upstream/upstream.h"

#define UPSTREAM_BUCKETS 4096		/* of the key table */
#define UPSTREAM_METHOD_MAX 32

enum conn_state {
	CONN_RESOLVING,
	CONN_DIALLING,
	CONN_SECURING,
	CONN_LEASED,	/* carries an exchange */
	CONN_IDLE,	/* warm */
	CONN_CLOSING,
};

enum response_state {
	RESPONSE_NONE,	/* no request was sent */
	RESPONSE_HEAD,
	RESPONSE_BODY,
	RESPONSE_DONE,
};

/* All connections and waiting leases for one target. */
struct upstream_key {
	struct upstream_target target;
	struct upstream_key *next;	/* in its bucket */
	struct list idle;		/* warm connections, most recently used first */
	struct list pending;	/* under way without a lease */
	size_t n_idle, n_conns;		/* n_conns: every connection that refers to this key */
};

struct upstream_conn {
	struct leg leg;
	struct upstream_pool *pool;	/* borrowed */
	struct upstream_key *key;	/* counted reference */
	struct upstream *lease;		/* borrowed; NULL when nobody uses it */
	struct list link;		/* in key->idle or key->pending */
	struct list lru;		/* in pool->lru while idle */
	enum conn_state state;
	struct upstream_query *query;
	struct upstream_addrs addrs;
	size_t next_addr;
	enum err last_error;		/* of the last address tried */
	struct net_timer timer;		/* connecting: deadline; idle: expiry */
	uint64_t phase_us;		/* when the current phase began */
	uint64_t used_ms;		/* loop time when it became idle */
	struct upstream_facts facts;
	bool redial;			/* the leg is closing only to try the next address */
	/* HTTP/1.1 of the current exchange */
	struct h1_scan scan;
	struct h1_body body;
	struct h1_chunks chunks;	/* of the request */
	enum response_state response;
	unsigned interim;		/* 1xx responses so far */
	bool request_done;
	bool keep;			/* both sides agree to keep the connection */
	bool chunked;			/* how the request's body is framed */
	char method[UPSTREAM_METHOD_MAX];
};

struct upstream {
	struct upstream_conn *conn;	/* NULL once dead */
	const struct upstream_ops *ops;
	void *owner;
	struct upstream_facts facts;	/* copy, outlives the connection */
};

struct upstream_pool {
	struct upstream_pool_spec spec;
	struct upstream_key *buckets[UPSTREAM_BUCKETS];
	struct list lru;		/* warm connections, least recently used first */
	size_t n_idle, n_conns;
	struct buf scratch;		/* heads being written; wiped */
	struct http_response head;	/* the head being handed over */
	struct h1_limits limits;
	struct log_limit tls_log;
	bool freeing;
};

/* pool.c */
struct upstream_key *key_get(struct upstream_pool *p, const struct upstream_target *t);
void key_unref(struct upstream_pool *p, struct upstream_key *k);
void pool_put_idle(struct upstream_conn *c);
void pool_take_idle(struct upstream_conn *c);
void pool_conn_gone(struct upstream_pool *p);

/* conn.c */
struct upstream_conn *conn_new(struct upstream_pool *p, const struct upstream_target *t);
/* Idempotent; the memory goes in a later turn. */
void conn_close(struct upstream_conn *c);

/* lease.c */
void lease_ready(struct upstream *u);
void lease_failed(struct upstream *u, enum err e);
/* Response bytes; returns how many were used. */
size_t lease_on_data(struct upstream_conn *c, struct bytes in);
void lease_on_eof(struct upstream_conn *c, bool clean);
