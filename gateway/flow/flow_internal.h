/* flow_internal.h - one flow as its parts see it; no other room includes this */
#pragma once

#include "gateway/flow/flow.h"

/* name, and the states it may move to */
#define FLOW_STATES(X)                                                            \
	X(PEEK, FLOW_TO(LEAF) | FLOW_TO(HEAD) | FLOW_TO(TUNNEL) | FLOW_TO(DNS))   \
	X(LEAF, FLOW_TO(HANDSHAKE))                                               \
	X(HANDSHAKE, FLOW_TO(HEAD))                                               \
	X(HEAD, FLOW_TO(EXCHANGE))                                                \
	X(EXCHANGE, FLOW_TO(HEAD))                                                \
	X(TUNNEL, 0)                                                              \
	X(DNS, 0)                                                                 \
	X(CLOSING, 0)

enum flow_state {
#define X(name, edges) FLOW_##name,
	FLOW_STATES(X)
#undef X
	FLOW_STATE_COUNT
};

/* Every state may end in CLOSING. */
#define FLOW_TO(name) (1u << FLOW_##name)

struct flow_tunnel;
struct flow_dns;

/* The agent's HTTP/1.1: requests in, responses out. */
struct flow_h1 {
	struct h1_scan scan;
	struct h1_body body;
	struct h1_chunks chunks;	/* of the response */
	bool head_begun;	/* bytes of a head are waiting */
	bool request_done;	/* the request was read to its end */
	bool keep_alive;	/* after this exchange */
	bool chunked;		/* how the response's body is framed */
	unsigned minor;
};

struct flow {
	struct leg leg;
	struct flow_server *server;	/* borrowed */
	struct list link;		/* in server->flows */
	enum flow_state state;
	struct net_timer timer;
	struct exchange_flow facts;
	uint64_t accepted_us;
	struct tls_leaf_waiter waiter;
	struct exchange *x;		/* owned; NULL between exchanges */
	struct flow_h1 h1;
	struct flow_tunnel *tunnel;	/* owned */
	struct flow_dns *dns;		/* owned */
	bool eof;			/* the agent sends no more */
};

struct flow_server {
	struct flow_env env;
	struct list flows;
	size_t count;
	uint64_t next_id;
	struct http_request req;	/* the head being read */
	struct buf scratch;		/* the head being written */
	struct h1_limits limits;
	bool draining;
	struct log_limit tls_log;	/* agents can fail handshakes at will */
};

#define FLOW_LINGER_MS 2000
#define FLOW_LAST_MS 1000	/* while draining: until the last request of an idle connection */

/* flow.c */
void flow_move(struct flow *f, enum flow_state to);
/* Ends it without an answer: reset, audited as flow.refused. */
void flow_refuse(struct flow *f, enum err why, const char *rule);
/*
 * Ends it quietly: what waits is sent, then closed. Any number of times, but not from an exchange's
 * callback.
 */
void flow_close(struct flow *f);
/* Ends it at once, from anywhere. */
void flow_reset(struct flow *f);
void flow_audit(struct flow *f, const char *event, enum err why, const char *rule);

/* hello.c */
size_t flow_peek(struct flow *f, struct bytes in);
void flow_secured(struct flow *f);

/* h1.c */
void flow_h1_begin(struct flow *f);
size_t flow_h1_data(struct flow *f, struct bytes in);
void flow_h1_eof(struct flow *f, bool clean);
void flow_h1_room(struct flow *f);
void flow_h1_timeout(struct flow *f);

/* tunnel.c: bytes as they are, to `host`, or to the original destination when it is "" */
void flow_tunnel_begin(struct flow *f, const struct policy_verdict *v);
size_t flow_tunnel_data(struct flow *f, struct bytes in);
void flow_tunnel_eof(struct flow *f);
void flow_tunnel_room(struct flow *f);
void flow_tunnel_end(struct flow *f, enum err why);

/* dns.c: questions over TCP (RFC 7766) */
void flow_dns_begin(struct flow *f);
size_t flow_dns_data(struct flow *f, struct bytes in);
void flow_dns_end(struct flow *f);
