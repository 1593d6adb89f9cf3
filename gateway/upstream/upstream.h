/*
 * upstream.h - verified connections to the hosts agents mean to reach
 *
 * A lease (struct upstream) is the right to carry one exchange on one connection. It comes from the
 * pool's warm connections or is dialled: resolve -> address policy -> connect -> TLS verified for
 * the host. The room speaks the upstream's HTTP version; its owner sees only the message model.
 *
 * No function here calls back before it returns, so an owner may close the lease from any callback.
 * After upstream_close() no callback comes.
 */
#pragma once

#include "base/base.h"
#include "gateway/http/http.h"
#include "gateway/leg/leg.h"
#include "gateway/net/net.h"
#include "gateway/observe/observe.h"
#include "gateway/policy/policy.h"
#include "gateway/tls/tls.h"

#define UPSTREAM_HOST_MAX 256
#define UPSTREAM_ADDRS_MAX 8

/* ---- resolver: names to addresses, by the gateway itself (design decision 2) ----------------- */

struct upstream_resolver;

struct upstream_resolver_spec {
	struct net_loop *loop;		/* borrowed */
	const char *servers;		/* "ip[:port],ip[:port]"; must name at least one */
	/* Borrowed; text of a hosts file, looked up first; may be empty. */
	struct bytes hosts;
	unsigned timeout_ms;		/* one try */
};

struct upstream_addrs {
	struct addr v[UPSTREAM_ADDRS_MAX];
	size_t n;
	unsigned ttl;			/* seconds */
};

/*
 * err is ERR_OK with at least one address, ERR_RESOLVE_NONE (no such name) or ERR_RESOLVE. Called
 * once per query, later.
 */
typedef void (*upstream_resolve_cb)(void *owner, enum err err, const struct upstream_addrs *addrs);

struct upstream_query;		/* one question under way */

/* Opens no file; sockets are opened as needed. NULL: out of memory or a bad server list. */
struct upstream_resolver *upstream_resolver_new(const struct upstream_resolver_spec *spec);
/*
 * Frees at once when idle, else after the last open query has ended; queries still open are
 * cancelled silently.
 */
void upstream_resolver_free(struct upstream_resolver *r);
/* family: AF_INET, AF_INET6 or AF_UNSPEC for both. NULL when out of memory (no callback then). */
struct upstream_query *upstream_resolve(struct upstream_resolver *r, const char *name, int family,
					upstream_resolve_cb cb, void *owner);
/* The callback will not come. */
void upstream_resolve_cancel(struct upstream_query *q);

/* ---- pool ------------------------------------------------------------------------------------ */

struct upstream_pool;

struct upstream_pool_spec {
	struct leg_pool *legs;			/* borrowed, like all below */
	struct tls_client *tls;
	struct observe_slot *counters;
	struct upstream_resolver *resolver;
	/* Every address is checked right before it is dialled. */
	const struct policy *policy;
	unsigned connect_ms;			/* resolve, connect and TLS together */
	unsigned idle_ms;			/* a warm connection is kept this long */
	size_t idle_per_key;			/* warm connections kept per target */
	size_t idle_total;
	size_t header_bytes;			/* ceiling on a response head */
};

/* Whom to reach. Two targets share warm connections when all fields but `fallback` are equal. */
struct upstream_target {
	char host[UPSTREAM_HOST_MAX];	/* normalised name or IP literal text; "" when unknown */
	uint16_t port;
	bool tls;
	/* Bytes as they are, no HTTP: one lease per connection, never kept warm. */
	bool raw;
	int agent;			/* connections are never shared between agents */
	struct addr fallback;		/* the original destination; dialled only when host is "" */
};

struct upstream_pool *upstream_pool_new(const struct upstream_pool_spec *spec);
/*
 * Closes warm connections; leases must be closed before. Freed when the loop has run the last close
 * callback.
 */
void upstream_pool_free(struct upstream_pool *p);
/* Begins a connection ahead of need, if none is warm or under way for this target. */
void upstream_pool_warm(struct upstream_pool *p, const struct upstream_target *t);

/* ---- lease ----------------------------------------------------------------------------------- */

struct upstream;

struct upstream_ops {
	/* The connection is verified; a request may be sent. */
	void (*on_ready)(void *owner);
	/*
	 * A response head: once per interim (1xx) and once final. Borrowed until the callback
	 * returns.
	 */
	void (*on_head)(void *owner, const struct http_response *head);
	/* Body bytes, framing removed. Borrowed until the callback returns. */
	void (*on_body)(void *owner, struct bytes data);
	/* The response is complete. trailers may be NULL. */
	void (*on_end)(void *owner, const struct http_fields *trailers);
	/* One batch of input has been handed over: a good moment to flush what was made of it. */
	void (*on_batch)(void *owner);
	/* upstream_full() has become false. */
	void (*on_room)(void *owner);
	/*
	 * The lease is dead (before or after on_ready). Last callback; upstream_close() must still
	 * be called.
	 */
	void (*on_error)(void *owner, enum err e);
};

/*
 * What became known on the way; microseconds, -1 when a phase did not happen (e.g. a warm
 * connection).
 */
struct upstream_facts {
	struct addr address;
	int64_t resolve_us, connect_us, tls_us;
	bool reused;			/* the connection had carried an exchange before */
	bool answered;			/* a byte of the response has come */
};

enum upstream_want {
	UPSTREAM_ANY,		/* a warm connection if there is one */
	/* A warm one only if used a moment ago: the request cannot be sent twice. */
	UPSTREAM_RECENT,
	UPSTREAM_FRESH,		/* a new one: the warm one has just failed */
};

/* NULL when out of memory. */
struct upstream *upstream_open(struct upstream_pool *p, const struct upstream_target *t,
			       enum upstream_want want, const struct upstream_ops *ops,
			       void *owner);
/* Right after upstream_open(): already verified (warm), so that on_ready will not come. */
bool upstream_is_ready(const struct upstream *u);
const struct upstream_facts *upstream_facts(const struct upstream *u);

/*
 * A raw lease has no head: send_body and on_body carry the bytes, send_end and on_end half-close.
 * Otherwise one request per lease, after on_ready: head, body slices, end. Bytes are copied or
 * encrypted before the call returns; nothing goes to the wire before upstream_flush().
 * HTTP_BODY_CHUNKED means "length unknown".
 */
enum err upstream_send_head(struct upstream *u, const struct http_request *req) WARN_UNUSED;
enum err upstream_send_body(struct upstream *u, struct bytes data) WARN_UNUSED;
enum err upstream_send_end(struct upstream *u, const struct http_fields *trailers) WARN_UNUSED;
void upstream_flush(struct upstream *u);
/* Output waits above the high-water mark: stop sending until on_room (REQ-6.2). */
bool upstream_full(const struct upstream *u);
/* Bytes that wait for the upstream to take them. */
size_t upstream_pending(const struct upstream *u);
/* Stop or resume handing over response bytes; the network follows. */
void upstream_pause(struct upstream *u, bool paused);
/*
 * Ends the lease. The connection goes back to the pool if request and response are complete, else
 * it is closed.
 */
void upstream_close(struct upstream *u);
