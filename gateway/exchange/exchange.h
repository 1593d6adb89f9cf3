/*
 * exchange.h - one HTTP request and its answer: policy, substitution, redaction, framing, audit
 *
 * The way of a request: exchange_request() -> policy -> dummy to real -> upstream; of its answer:
 * upstream -> real to [REDACTED] -> exchange_ops. It knows neither the agent's connection nor the
 * HTTP version either leg speaks.
 *
 * Callbacks run from the loop or from inside exchange_request()/exchange_body(); an owner may close
 * the exchange from on_end only, or from its own event handlers.
 */
#pragma once

#include "base/base.h"
#include "gateway/http/http.h"
#include "gateway/observe/observe.h"
#include "gateway/policy/policy.h"
#include "gateway/rewrite/rewrite.h"
#include "gateway/secret/secret.h"
#include "gateway/upstream/upstream.h"

/* Bodies up to this size are measured and sent with their new length (design decision 5). */
#define EXCHANGE_MEASURED_MAX (64u * 1024)

/* Stands for a real value in whatever reaches an agent (REQ-2.5). */
#define EXCHANGE_REDACTED BYTES_LIT("[REDACTED]")

/* Read-only after set-up, one per worker; everything borrowed. */
struct exchange_env {
	struct net_loop *loop;
	const struct policy *policy;
	const struct secret_store *secrets;
	/* Spellings of dummies, and real values to catch leaks. */
	const struct rewrite_set *outbound;
	const struct rewrite_set *inbound;	/* every form of every real value */
	struct upstream_pool *pool;
	struct observe_slot *counters;
	struct policy_bucket *buckets;		/* one per agent, shared by all workers */
	/* One finished audit event. */
	void (*audit)(void *owner, const struct observe_event *ev);
	void *audit_owner;
	/* The upstream may stay silent this long after the request. */
	unsigned first_byte_ms;
	unsigned idle_ms;			/* and this long between bytes */
};

/* What the flow knows of itself; borrowed, outlives its exchanges. */
struct exchange_flow {
	uint64_t id;			/* as in audit lines */
	int agent;			/* index in policy */
	struct addr peer;		/* the agent's address */
	struct addr original;		/* original destination */
	char host[UPSTREAM_HOST_MAX];	/* the name the agent's TLS was made for (SNI), or "" */
	bool tls;			/* the agent's leg is TLS */
	int64_t peek_us;		/* accept to ClientHello or first byte */
};

struct exchange;

struct exchange_ops {
	/*
	 * The final response head, ready to be framed: framing/length say how the body will come.
	 */
	void (*on_head)(void *owner, const struct http_response *head);
	void (*on_body)(void *owner, struct bytes data);
	/*
	 * Complete, answered in full (a denial too). trailers may be NULL. The owner closes the
	 * exchange.
	 */
	void (*on_end)(void *owner, const struct http_fields *trailers);
	/*
	 * The response broke off after its head: the agent's leg must be cut so that it cannot be
	 * taken for complete.
	 */
	void (*on_abort)(void *owner, enum err why);
	/* A batch was handed over: flush. */
	void (*on_batch)(void *owner);
	/* exchange_full() has become false: more of the request's body may come. */
	void (*on_room)(void *owner);
};

/* NULL: out of memory. */
struct exchange *exchange_new(const struct exchange_env *env, const struct exchange_flow *flow,
			      const struct exchange_ops *ops, void *owner);
/* Takes a request; req is borrowed until the call returns. Denials are answered through the ops. */
void exchange_request(struct exchange *x, const struct http_request *req);
/*
 * Body bytes, framing removed; any number of calls, then exchange_body_end(). Ignored once answered
 * early.
 */
void exchange_body(struct exchange *x, struct bytes data);
void exchange_body_end(struct exchange *x, const struct http_fields *trailers);
/* Instead of exchange_request(): what came was no acceptable request. Answered and audited. */
void exchange_reject(struct exchange *x, enum err why);
/* Send what has been gathered for the upstream. */
void exchange_flush(struct exchange *x);
/* Do not bring more body now; on_room follows. */
bool exchange_full(const struct exchange *x);
/* The agent's leg is full (true) or has room again (false). */
void exchange_pause(struct exchange *x, bool paused);
/*
 * Ends it; an unfinished one is audited as cut by `why` (ERR_CLOSED when the agent went away).
 * Frees x.
 */
void exchange_close(struct exchange *x, enum err why);

/* The HTTP status that answers an error: 403, 502, ... */
unsigned exchange_status_of(enum err e);
