/*
 * rig.h - the whole data path of a worker in one loop, between scripted agents and a scripted
 * upstream
 *
 *	rig_open() -> rig_agent() -> rig_say() -> rig_until()/rig_settle() -> look -> rig_close()
 *
 * Everything between the two sockets is the product: legs, pool, exchange, flow, on a real libuv
 * loop. Agents and upstream are plain non-blocking sockets that the rig moves between two turns of
 * the loop, so that a test knows at which turn it stands. What the rig itself cannot do ends the
 * test by abort().
 */
#pragma once

#include "base/base.h"
#include "gateway/flow/flow.h"

#define RIG_AGENTS 8
#define RIG_CONNS 64
#define RIG_EVENTS 64
#define RIG_KEEP_MAX (8u << 20)		/* bytes a peer keeps to be looked at */

/*
 * Hosts that resolve to 127.0.0.1: api.test, other.test (both allowed), pinned.test (pass-through),
 * bad.test (denied).
 */

/* Secrets, all but the last good for plain HTTP and on every surface. */
#define RIG_DUMMY "dummy-token-01"		/* bound to api.test */
#define RIG_REAL "REAL/canary+one:longer than the dummy"
#define RIG_DUMMY_SAME "dummy-token-same"	/* bound to api.test; as long as its real value */
#define RIG_REAL_SAME "REAL-canary-same"
#define RIG_DUMMY_OTHER "dummy-token-other"	/* bound to other.test */
#define RIG_REAL_OTHER "REAL-canary-other"
#define RIG_DUMMY_TLS "dummy-token-tls"		/* bound to api.test, over TLS only */
#define RIG_REAL_TLS "REAL-canary-tls"

struct rig;

/* One end that the test plays: an agent, or a connection the upstream took. */
struct rig_peer {
	struct rig *rig;
	int fd;				/* -1: none, or closed */
	struct tls_engine *tls;		/* owned; NULL: plain */
	struct tls_leaf *leaf;
	struct buf out;			/* plain bytes not yet sealed */
	struct buf wire;		/* bytes for the socket */
	struct buf in;			/* plain bytes received */
	uint64_t received, sent;	/* plain, wire */
	size_t taken;			/* of in: requests answered so far */
	/* Hold what follows this many bytes of wire until all is quiet; 0: no. */
	size_t cut;
	size_t step;			/* most bytes per turn; 0: as many as the socket takes */
	bool deaf;			/* does not read */
	bool count_only;		/* does not keep what it reads */
	bool eof, dead;			/* the gateway half-closed; reset */
	enum rig_then { RIG_KEEP, RIG_FIN, RIG_CLOSE, RIG_RESET } then;	/* when all is sent */
	size_t index;
};

/* The upstream's answer to its n-th request. */
struct rig_reply {
	const char *text;
	enum rig_then then;
	bool early;			/* at the end of the head already */
};

struct rig_upstream {
	int fd;
	struct addr at;
	struct rig_peer conns[RIG_CONNS];
	size_t n_conns;
	const struct rig_reply *replies;	/* the last one repeats */
	size_t n_replies, served;
	size_t cut, step;		/* for every new connection */
	bool tls, deaf, count_only;
	const char *cert_host;		/* whom its certificate names; NULL: api.test */
};

/* A copy of what was audited; secrets are joined by commas. */
struct rig_event {
	char event[32], host[64], method[16], path[128], secrets[128], decision[16], reason[48],
		rule[48];
	int64_t status, redactions, bytes_up, bytes_down;
};

struct rig_spec {
	unsigned first_byte_ms, idle_ms, head_ms, connect_ms, warm_ms;	/* 0: long */
	size_t idle_per_key, idle_total, flows_max, header_bytes;	/* 0: plenty */
	bool tls;			/* agents and upstream speak TLS */
	/* Around every piece of the gateway's own work, once it is set up. */
	void (*enter)(void), (*leave)(void);
};

struct rig {
	struct rig_spec spec;
	uv_loop_t uv;
	struct net_loop net;
	struct leg_pool legs;
	struct policy *policy;
	struct buf store_bytes;
	const struct secret_store *store;
	void *out_blob, *in_blob;
	size_t out_size, in_size;
	struct upstream_resolver *resolver;
	struct upstream_pool *pool;
	struct flow_server *flows;
	struct tls_client *tls_client, *agent_trust;
	struct tls_server *tls_server, *upstream_tls;
	struct tls_leaf_cache *leaves;
	struct tls_minter *minter;
	struct observe_slot slot;
	struct policy_bucket buckets[3];
	struct rig_upstream up, raw;	/* HTTP; what the tcp rule leads to */
	struct rig_peer agents[RIG_AGENTS];
	size_t n_agents;
	struct rig_event events[RIG_EVENTS];
	size_t n_events;
	char to_mint[UPSTREAM_HOST_MAX];
	bool moved;			/* something happened in this turn */
	unsigned quiet;			/* turns since then */
	uint64_t turns;
};

/* Ends the test when it cannot be done. */
void rig_open(struct rig *r, const struct rig_spec *spec);
/*
 * Closes what the test left open and waits for the gateway to let go of everything: no flow, no
 * exchange, no upstream connection, no handle in the loop; false when it does not.
 */
bool rig_close(struct rig *r);
/*
 * Every peer hangs up, and the gateway lets go; what was received and audited can still be looked
 * at.
 */
bool rig_let_go(struct rig *r);
/* The same, and events and peers are forgotten. */
bool rig_reset(struct rig *r);

/*
 * A connection of agent 0 ("coder") or 1 ("guest"), captured on its way to the upstream (or to
 * `raw`).
 */
struct rig_peer *rig_agent(struct rig *r, unsigned agent);
struct rig_peer *rig_agent_raw(struct rig *r, unsigned agent);
/* Makes an agent speak TLS to `host`. */
void rig_agent_tls(struct rig_peer *p, const char *host);
/* A connection whose peer and destination the test makes up. */
struct rig_peer *rig_agent_at(struct rig *r, const char *peer, const struct addr *original);

void rig_say(struct rig_peer *p, const char *text);
void rig_say_bytes(struct rig_peer *p, struct bytes b);
/* From the peer's side, at once. */
void rig_end(struct rig_peer *p, enum rig_then how);

/* One turn of the loop and one of every peer. */
void rig_turn(struct rig *r);
/* Turns until nothing has moved for a few of them. */
void rig_settle(struct rig *r);
/* Turns until cond(r); false when it does not come about in some ten seconds. */
bool rig_until(struct rig *r, bool (*cond)(struct rig *r));
uint64_t rig_counter(const struct rig *r, enum observe_counter c);
/* Events of this kind so far. */
size_t rig_count_events(const struct rig *r, const char *event);
const struct rig_event *rig_event(const struct rig *r, const char *event, size_t nth);

/* rig_peer.c */
void rig_peer_open(struct rig_peer *p, struct rig *r, int fd);
void rig_peer_release(struct rig_peer *p);
void rig_peer_move(struct rig_peer *p);
void rig_upstream_open(struct rig_upstream *u, struct rig *r);
/* Nobody listens any more. */
void rig_upstream_stop(struct rig_upstream *u);
void rig_upstream_move(struct rig_upstream *u, struct rig *r);
bool rig_peer_has(const struct rig_peer *p, const char *text);
/* Did it receive any real value, whole? */
bool rig_peer_leaked(const struct rig_peer *p);

/* rig_http.c: enough HTTP to know where a message ends; not the product's. */

/* Length of the first whole message in `in`, 0 when there is none. head_only: of its head. */
size_t rig_http_length(struct bytes in, bool head_only);
/*
 * Appends the messages in `in` with their chunks joined: heads, bodies and trailers as they are.
 * no_body: answers to HEAD. False when the framing is broken or incomplete.
 */
bool rig_http_join(struct bytes in, bool no_body, struct buf *out);

#define RIG_NEED(cond)                                                                       \
	do {                                                                                 \
		if (!(cond)) {                                                               \
			fprintf(stderr, "rig: %s:%d: %s\n", __FILE__, __LINE__, #cond);      \
			abort();                                                             \
		}                                                                            \
	} while (0)
