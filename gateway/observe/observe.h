/*
 * observe.h - what the gateway tells about itself: audit lines, counters, the admin endpoint
 *
 * Audit: one struct observe_event per decision becomes one JSON line with fixed keys. Lines gather
 * in a batch that the worker flushes to the master: at the end of the turn when it has been quiet,
 * at most every 20 ms under load. Counters: a page shared by all workers, one slot each, written by
 * its worker only; the master sums. Admin: request bytes in, response bytes out; the process room
 * owns the socket.
 *
 * No field here may ever hold a secret or a header value: callers give names of secrets and masked
 * paths.
 */
#pragma once

#include "base/base.h"

#include <stdatomic.h>

/* ---- audit events ----------------------------------------------------------------------- */

enum observe_phase {
	OBSERVE_PEEK,
	OBSERVE_RESOLVE,
	OBSERVE_CONNECT,
	OBSERVE_TLS,
	OBSERVE_FIRST_BYTE,
	OBSERVE_PHASES
};

#define OBSERVE_NONE INT64_C(-1) /* an unknown number: null */

/* Start with OBSERVE_EVENT_INIT; strings with p == NULL and numbers that are OBSERVE_NONE become
 * null. */
struct observe_event {
	const char *event; /* "exchange", "flow.refused", "dns.refused", ... */
	const char *time; /* RFC 3339; NULL: now */
	uint64_t flow; /* 0: null; written as 16 hex digits */
	struct bytes agent, host;
	const struct addr *address; /* dialled, or the original destination; ip only. NULL: null */
	int64_t port;
	const char *protocol; /* "h1", "h2", "tls", "tcp", "dns", ...; NULL: null */
	struct bytes method;
	struct bytes path; /* without query, tokens masked: the caller's duty */
	int64_t status;
	int64_t bytes_up, bytes_down;
	const char *const *secrets; /* names swapped in */
	size_t n_secrets;
	int64_t redactions;
	const char *decision; /* "allow", "deny", "error"; NULL: null */
	const char *rule; /* e.g. "egress.rules[2]"; NULL: null */
	const char *reason; /* err_name(); NULL: null */
	int64_t duration_us; /* written in ms */
	int64_t phases_us[OBSERVE_PHASES]; /* written in ms */
};

#define OBSERVE_EVENT_INIT(name) \
	((struct observe_event){ .event = (name), \
				 .port = OBSERVE_NONE, \
				 .status = OBSERVE_NONE, \
				 .bytes_up = OBSERVE_NONE, \
				 .bytes_down = OBSERVE_NONE, \
				 .redactions = OBSERVE_NONE, \
				 .duration_us = OBSERVE_NONE, \
				 .phases_us = { OBSERVE_NONE, OBSERVE_NONE, OBSERVE_NONE, \
						OBSERVE_NONE, OBSERVE_NONE } })

/* Appends one JSON line, newline included; all or nothing. ERR_AGAIN (no room), ERR_NOMEM. */
enum err observe_event_write(const struct observe_event *ev, struct buf *out) WARN_UNUSED;

/* ---- batch: lines on their way to the master -------------------------------------------- */

#define OBSERVE_BATCH_BYTES (32 * 1024)
#define OBSERVE_BATCH_US 20000
/* When the master does not read, lines beyond this are lost and counted. */
#define OBSERVE_BATCH_MAX (1024 * 1024)

/* Where lines go: returns how many bytes were taken (whole lines or not; the rest is offered
 * again). */
struct observe_sink {
	size_t (*write)(void *owner, struct bytes lines);
	void *owner;
};

struct observe_batch {
	struct observe_sink sink;
	struct buf lines;
	uint64_t flushed_us; /* when the last flush was, CLOCK_MONOTONIC */
	uint64_t lost; /* lines that found no room */
	bool stuck; /* the sink did not take all */
};

void observe_batch_init(struct observe_batch *b, const struct observe_sink *sink);
void observe_batch_release(struct observe_batch *b);
/* Writes the event into the batch; an error means that the line is lost, and counted. */
enum err observe_batch_add(struct observe_batch *b, const struct observe_event *ev);
/*
 * Microseconds until a flush is due: 0 = at the end of this turn, UINT64_MAX = nothing waits. Ask
 * at the end of each turn in which lines were added (a uv_prepare, say) and arm a timer for what is
 * not 0.
 */
uint64_t observe_batch_due(const struct observe_batch *b, uint64_t now_us);
/* Offers everything to the sink. ERR_AGAIN when it did not take all. */
enum err observe_batch_flush(struct observe_batch *b, uint64_t now_us);

/* ---- counters --------------------------------------------------------------------------- */

/* name (also the metric's, slapenir_<name>), kind, help */
#define OBSERVE_TABLE(X) \
	X(flows_open, GAUGE, "agent connections open now") \
	X(flows_total, COUNTER, "agent connections accepted") \
	X(flows_refused_total, COUNTER, "agent connections refused") \
	X(exchanges_open, GAUGE, "exchanges under way") \
	X(exchanges_total, COUNTER, "HTTP exchanges finished") \
	X(exchanges_denied_total, COUNTER, "HTTP exchanges denied by policy") \
	X(exchanges_failed_total, COUNTER, "HTTP exchanges failed upstream or here") \
	X(substitutions_total, COUNTER, "dummy tokens replaced by real ones") \
	X(redactions_total, COUNTER, "real tokens redacted in responses") \
	X(tokens_misplaced_total, COUNTER, "dummy tokens that stood where they may not") \
	X(secret_leaks_total, COUNTER, "requests refused for carrying a real secret") \
	X(agent_bytes_in_total, COUNTER, "bytes received from agents") \
	X(agent_bytes_out_total, COUNTER, "bytes sent to agents") \
	X(upstream_bytes_in_total, COUNTER, "bytes received from upstreams") \
	X(upstream_bytes_out_total, COUNTER, "bytes sent to upstreams") \
	X(upstream_connections_open, GAUGE, "upstream connections open now") \
	X(upstream_connections_total, COUNTER, "upstream connections made") \
	X(upstream_reused_total, COUNTER, "exchanges on a warm upstream connection") \
	X(upstream_errors_total, COUNTER, "upstream connections that failed") \
	X(tls_agent_handshakes_total, COUNTER, "TLS handshakes with agents") \
	X(tls_agent_resumed_total, COUNTER, "TLS handshakes with agents that resumed a session") \
	X(tls_upstream_handshakes_total, COUNTER, "TLS handshakes with upstreams") \
	X(tls_upstream_resumed_total, COUNTER, \
	  "TLS handshakes with upstreams that resumed a session") \
	X(leaves_minted_total, COUNTER, "leaf certificates minted") \
	X(leaf_cache_hits_total, COUNTER, "leaf certificates found in the cache") \
	X(dns_queries_total, COUNTER, "DNS questions from agents") \
	X(dns_refused_total, COUNTER, "DNS questions refused by policy") \
	X(dns_failed_total, COUNTER, "DNS questions that failed to resolve") \
	X(audit_lines_total, COUNTER, "audit lines written") \
	X(audit_lost_total, COUNTER, "audit lines lost")

enum observe_counter {
#define X(name, kind, help) OBSERVE_##name,
	OBSERVE_TABLE(X)
#undef X
		OBSERVE_COUNTERS
};

/* One worker's; only that worker writes. */
struct observe_slot {
	_Alignas(64) _Atomic uint64_t v[OBSERVE_COUNTERS];
};

/* Lives in shared memory that the process room maps; zeroed memory with n_slots set is a valid
 * page. */
struct observe_page {
	uint32_t n_slots;
	_Alignas(64) struct observe_slot slots[];
};

size_t observe_page_size(uint32_t n_slots);
void observe_page_init(struct observe_page *page, uint32_t n_slots);
/* When a worker died: its gauges fall to zero, its counters stay. */
void observe_slot_reset_gauges(struct observe_slot *slot);

/* The slot has one writer, so a plain load and store do: no locked instruction on the data path. */
static inline void observe_add(struct observe_slot *slot, enum observe_counter c, uint64_t n)
{
	uint64_t now = atomic_load_explicit(&slot->v[c], memory_order_relaxed);

	atomic_store_explicit(&slot->v[c], now + n, memory_order_relaxed);
}

static inline void observe_sub(struct observe_slot *slot, enum observe_counter c, uint64_t n)
{
	observe_add(slot, c, 0 - n);
}

uint64_t observe_sum(const struct observe_page *page, enum observe_counter c);
/* {"flows_open":0,...}, without newline. */
enum err observe_counters_json(const struct observe_page *page, struct buf *out) WARN_UNUSED;
/* Prometheus text format 0.0.4. */
enum err observe_counters_text(const struct observe_page *page, struct buf *out) WARN_UNUSED;

/* ---- admin endpoint: HTTP/1.0, one request per connection, sans-I/O --------------------- */

#define OBSERVE_ADMIN_REQUEST_MAX 4096

struct observe_process {
	const char *role; /* "minter", "worker" */
	const char *state; /* "running", "draining", "starting" */
	int64_t pid;
	uint32_t restarts;
	uint64_t up_s;
};

struct observe_admin {
	const char *version;
	bool healthy; /* every process is up */
	uint64_t up_s;
	uint64_t generation; /* of the configuration: counts reloads */
	const struct observe_page *page; /* borrowed */
	const struct observe_process *processes; /* borrowed */
	size_t n_processes;
};

/*
 * GET or HEAD of /healthz (200 "ok" or 503), /metrics (Prometheus), /status (JSON). `request` is
 * everything received so far: ERR_AGAIN when its head is not complete; ERR_OK: `out` holds the
 * whole response (also for a bad request), send it and close. ERR_NOMEM.
 */
enum err observe_admin_respond(struct bytes request, const struct observe_admin *admin,
			       struct buf *out) WARN_UNUSED;
