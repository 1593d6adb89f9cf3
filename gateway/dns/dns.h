/*
 * dns.h - the agent's questions: parsed, decided, answered from the gateway's own resolution
 *
 * Nothing an agent asks ever travels on. A question is parsed here, its name goes to policy, and
 * only for an allowed name is an address looked up by the gateway itself and put in an answer that
 * is built from scratch; so DNS carries nothing out but names that policy knows.
 *
 *   source belongs to no agent             no answer
 *   not a DNS question, or itself an answer no answer
 *   malformed                              FORMERR
 *   another opcode                         NOTIMP
 *   class other than IN                    REFUSED
 *   name not allowed                       NXDOMAIN: a resolver library stops there at once, where
 * REFUSED sends it on to the next server and a person waits for a time-out A, AAAA of an allowed
 * name             the addresses, TTL capped; NODATA when there are none any other type (HTTPS,
 * SVCB, TXT, ...) NODATA resolver failed, or over the limits    SERVFAIL
 *
 * The parser and the stream framing are sans-I/O; the server does the UDP and hands questions that
 * came over TCP (the flow room's connections) through the same way.
 */
#pragma once

#include "base/base.h"

#include <uv.h>

/* ---- messages, sans-I/O (RFC 1035, RFC 6891) -------------------------------------------- */

#define DNS_NAME_MAX 254 /* 253 characters and NUL */
#define DNS_QUESTION_MAX (255 + 4) /* wire name, type, class */
#define DNS_UDP_MIN 512
#define DNS_UDP_MAX 1232 /* fits any path unfragmented */
#define DNS_ADDRS_MAX 16

enum dns_type { DNS_TYPE_A = 1, DNS_TYPE_AAAA = 28, DNS_TYPE_OPT = 41 };
enum dns_class { DNS_CLASS_IN = 1 };
enum dns_rcode {
	DNS_NOERROR = 0,
	DNS_FORMERR = 1,
	DNS_SERVFAIL = 2,
	DNS_NXDOMAIN = 3,
	DNS_NOTIMP = 4,
	DNS_REFUSED = 5,
	DNS_BADVERS = 16,
};

struct dns_query {
	uint16_t id;
	bool rd; /* recursion desired: echoed */
	bool cd; /* checking disabled: echoed */
	uint8_t opcode;
	bool has_edns;
	uint8_t edns_version;
	uint16_t udp_size; /* what the asker takes, clamped to DNS_UDP_MIN..DNS_UDP_MAX */
	bool odd_name; /* a byte no host name holds: such names are denied unasked */
	uint16_t type, class;
	char name[DNS_NAME_MAX]; /* lower case, no final dot; "." for the root; odd bytes are '?' */
	uint16_t question_len; /* of question[]; 0 when the question could not be read */
	uint8_t question[DNS_QUESTION_MAX]; /* as asked: echoed letter by letter */
};

/*
 * ERR_OK: one question. ERR_BAD_VALUE: a query, but malformed or of another opcode: id, opcode, rd
 * and cd are set, so that an error can be sent. ERR_CLOSED: not a query at all (too short, or an
 * answer): say nothing.
 */
enum err dns_parse_query(struct bytes msg, struct dns_query *out) WARN_UNUSED;

/*
 * Appends an answer of at most max_size bytes: addresses of the asked type's family (others are
 * skipped), in the order given; TC set and no address at all when they do not fit. ERR_AGAIN when
 * `out` has no room, ERR_NOMEM.
 */
struct dns_answer {
	enum dns_rcode rcode;
	const struct addr *addrs; /* borrowed */
	size_t n;
	uint32_t ttl; /* seconds */
};
enum err dns_build_answer(const struct dns_query *q, const struct dns_answer *a, size_t max_size,
			  struct buf *out) WARN_UNUSED;

/* ---- DNS over a stream (RFC 7766): two bytes of length before each message -------------- */

#define DNS_STREAM_QUERY_MAX 1024 /* no question needs more; a longer one ends the connection */

struct dns_stream {
	uint8_t len[2];
	uint16_t have_len; /* bytes of len[] seen */
	uint16_t have; /* bytes of msg[] seen */
	uint8_t msg[DNS_STREAM_QUERY_MAX];
};

void dns_stream_init(struct dns_stream *s);
/*
 * Eats bytes up to the end of one message. ERR_OK: *msg is one (valid until the next call);
 * ERR_AGAIN: all was eaten and more is needed; ERR_TOO_LONG or ERR_BAD_VALUE (empty): close.
 */
enum err dns_stream_feed(struct dns_stream *s, struct bytes in, size_t *eaten,
			 struct bytes *msg) WARN_UNUSED;
/* Appends a message with its length. */
enum err dns_stream_frame(struct bytes msg, struct buf *out) WARN_UNUSED;

/* ---- server ----------------------------------------------------------------------------- */

struct dns_result {
	enum err err; /* ERR_OK (n may be 0), ERR_RESOLVE_NONE, anything else */
	const struct addr *addrs; /* borrowed for the call */
	size_t n;
	uint32_t ttl; /* seconds; capped to DNS_TTL_MAX in answers */
};

#define DNS_TTL_MAX 60 /* policy and addresses change: clients ask again soon */

struct dns_server_ops {
	/*
	 * ERR_OK, ERR_DENY_AGENT (no answer at all), ERR_DENY_RATE (SERVFAIL) or another error
	 * (NXDOMAIN when it is of policy's class, else SERVFAIL). `name` is "" when it could not be
	 * read: then only the source counts.
	 */
	enum err (*allowed)(void *owner, const struct addr *source, const char *name);
	/*
	 * Looks `name` up in one family. Calls done(cookie, result) exactly once, before it returns
	 * or later; also when the resolver is shut down. `name` is valid during the call only.
	 */
	void (*resolve)(void *owner, const char *name, int family,
			void (*done)(void *cookie, const struct dns_result *result), void *cookie);
	/* Once per question that came from an agent or nobody: how it was decided. name is "" when
	 * unreadable. May be NULL. */
	void (*audit)(void *owner, const struct addr *source, const char *name, uint16_t type,
		      enum err decision);
};

/* One address family's inherited sockets: questions come in on `recv_fd`, answers leave by
 * `send_fd`. */
struct dns_sockets {
	int family;
	int recv_fd; /* net_listen_udp_tproxy() */
	int send_fd; /* net_udp_reply_socket(family, 53) */
};

struct dns_server;

/*
 * Takes over the sockets (n may be 0: TCP questions only), closed on failure too. NULL when out of
 * memory or descriptors; ops and owner are borrowed until on_closed.
 */
struct dns_server *dns_server_open(uv_loop_t *uv, const struct dns_sockets *sockets, size_t n,
				   const struct dns_server_ops *ops, void *owner);
/*
 * Stops at once; questions in flight get no answer. on_closed (may be NULL) comes in a later turn,
 * after the last resolve() has called back; the server frees itself.
 */
void dns_server_close(struct dns_server *s, void (*on_closed)(void *owner));

/* One question from a stream of the agent at `source`. `answer` is lent for the call; it is empty
 * when there is none. */
typedef void dns_reply_fn(void *cookie, struct bytes answer);
/*
 * reply() is called exactly once, maybe before this returns, unless dns_server_cancel() comes
 * first. `msg` is copied.
 */
void dns_server_query(struct dns_server *s, const struct addr *source, struct bytes msg,
		      dns_reply_fn *reply, void *cookie);
/* No reply will be made to any question with this cookie. */
void dns_server_cancel(struct dns_server *s, const void *cookie);
/* Questions waiting for a resolution. */
size_t dns_server_in_flight(const struct dns_server *s);
