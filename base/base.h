/*
 * base.h - what every room stands on: bytes, capped buffers, classed errors, log, addresses
 *
 * Nothing here knows a socket, a clock of the loop, or a protocol. Everything is safe to call from
 * any role.
 */
#pragma once

#include <netinet/in.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define container_of(ptr, type, member) ((type *)(void *)((char *)(ptr) - offsetof(type, member)))
#define WARN_UNUSED __attribute__((warn_unused_result))
#define PRINTF_LIKE(f, a) __attribute__((format(printf, f, a)))
#define LIKELY(x) __builtin_expect(!!(x), 1)
#define UNLIKELY(x) __builtin_expect(!!(x), 0)
/* A large local that is written before it is read, on a hot path: not filled with zeros first. */
#if defined(__has_attribute)
#if __has_attribute(uninitialized)
#define UNINITIALIZED __attribute__((uninitialized))
#endif
#endif
#ifndef UNINITIALIZED
#define UNINITIALIZED
#endif

/* ---- errors: one enum with a class; the class decides what happens --------------------------- */

enum err_class {
	ERR_CLASS_NONE,		/* success */
	ERR_CLASS_WAIT,		/* not now: more bytes or more room are needed */
	ERR_CLASS_AGENT,	/* the agent's fault: answered 4xx or reset */
	ERR_CLASS_POLICY,	/* refused by the configuration: answered 403 */
	ERR_CLASS_UPSTREAM,	/* the upstream's fault: answered 502 / 504 */
	ERR_CLASS_OURS,		/* ours: answered 500 / 503 */
};

/* name (also the stable `reason` in audit lines and denials), class, sentence for a person */
#define ERR_TABLE(X)										\
	X(OK, NONE, "success")									\
	X(AGAIN, WAIT, "more input or more room is needed")					\
	X(NOMEM, OURS, "out of memory")								\
	X(INTERNAL, OURS, "internal error")							\
	X(IO, OURS, "input/output error")							\
	X(CANCELLED, OURS, "cancelled")								\
	X(LIMIT_FLOWS, OURS, "the gateway is at its limit of concurrent flows")			\
	X(SHUTTING_DOWN, OURS, "the gateway is shutting down")					\
	X(CONFIG, OURS, "the configuration is wrong")						\
	X(UNRESOLVED_SECRET, OURS, "a secret bound to this host has no value")			\
	X(MINT, OURS, "no certificate could be minted for this host")				\
	X(TOO_LONG, AGENT, "a value is longer than its limit")					\
	X(BAD_VALUE, AGENT, "a value is malformed")						\
	X(CLOSED, AGENT, "the peer closed the connection")					\
	X(TIMEOUT, AGENT, "nothing arrived in time")						\
	X(NOT_TLS, AGENT, "the first bytes are not a TLS ClientHello")				\
	X(NOT_HTTP, AGENT, "the bytes are not HTTP")						\
	X(TLS_BAD_HELLO, AGENT, "the TLS ClientHello is malformed")				\
	X(TLS_NO_SNI, AGENT, "the TLS ClientHello names no host")				\
	X(TLS_HANDSHAKE, AGENT, "the TLS handshake with the agent failed")			\
	X(TLS_ALERT, AGENT, "the agent ended the TLS connection with an alert")			\
	X(HTTP_SYNTAX, AGENT, "the request is not valid HTTP/1.1")				\
	X(HTTP_AMBIGUOUS, AGENT, "the request can be read in more than one way")		\
	X(HTTP_HEADER_TOO_LARGE, AGENT, "the header is larger than limits.header_bytes")	\
	X(HTTP_URI_TOO_LONG, AGENT, "the request target is too long")				\
	X(HTTP_VERSION, AGENT, "the HTTP version is not supported")				\
	X(HTTP_UNSUPPORTED, AGENT, "the request uses something the gateway does not carry")	\
	X(HTTP_HOST_MISMATCH, AGENT, "Host is not the name the TLS connection was made for")	\
	X(DENY_HOST, POLICY, "no rule allows this host")					\
	X(DENY_PORT, POLICY, "no rule allows this port")					\
	X(DENY_METHOD, POLICY, "no rule allows this method here")				\
	X(DENY_PATH, POLICY, "no rule allows this path")					\
	X(DENY_ADDRESS, POLICY, "the address is in a range that may not be dialled")		\
	X(DENY_AGENT, POLICY, "the source address belongs to no agent")				\
	X(DENY_NAME, POLICY, "no rule allows this name")					\
	X(DENY_RATE, POLICY, "the agent is over its rate limit")				\
	X(DENY_RULE, POLICY, "a rule denies this")						\
	X(SECRET_LEAK, POLICY, "the request carries a real secret")				\
	X(SECRET_MISPLACED, POLICY, "a dummy token stands where it may not")			\
	X(RESOLVE, UPSTREAM, "the host name could not be resolved")				\
	X(RESOLVE_NONE, UPSTREAM, "the host name does not exist")				\
	X(CONNECT_REFUSED, UPSTREAM, "the upstream refused the connection")			\
	X(CONNECT_UNREACHABLE, UPSTREAM, "the upstream cannot be reached")			\
	X(CONNECT_TIMEOUT, UPSTREAM, "the upstream did not answer in time")			\
	X(UPSTREAM_TIMEOUT, UPSTREAM, "the upstream sent nothing in time")			\
	X(UPSTREAM_CLOSED, UPSTREAM, "the upstream closed the connection too early")		\
	X(UPSTREAM_TLS, UPSTREAM, "the TLS handshake with the upstream failed")			\
	X(UPSTREAM_CERT, UPSTREAM, "the upstream's certificate could not be verified")		\
	X(UPSTREAM_CERT_EXPIRED, UPSTREAM,							\
	  "the upstream's certificate is expired or not yet valid")				\
	X(UPSTREAM_CERT_NAME, UPSTREAM, "the upstream's certificate is for another name")	\
	X(UPSTREAM_CERT_ISSUER, UPSTREAM,							\
	  "the upstream's certificate is signed by an unknown authority")			\
	X(UPSTREAM_CERT_REVOKED, UPSTREAM, "the upstream's certificate is revoked")		\
	X(UPSTREAM_HTTP, UPSTREAM, "the upstream's answer is not valid HTTP")			\
	X(UPSTREAM_CODING, UPSTREAM, "the upstream's content coding cannot be opened")		\
	X(UPSTREAM_HEADER_TOO_LARGE, UPSTREAM,							\
	  "the upstream's header is larger than limits.header_bytes")

enum err {
#define X(name, class, text) ERR_##name,
	ERR_TABLE(X)
#undef X
	ERR_COUNT
};

/* Lower-case name with underscores, e.g. "deny_host"; static. */
const char *err_name(enum err e);
/* A sentence for a person, without full stop; static. */
const char *err_text(enum err e);
enum err_class err_class(enum err e);

/* Leave the function with the error of `expr`, if it is one. */
#define TRY(expr)										\
	do {											\
		enum err try_err_ = (expr);							\
		if (UNLIKELY(try_err_ != ERR_OK))						\
			return try_err_;							\
	} while (0)

/* ---- bytes: a borrowed view, never owning, not NUL-terminated -------------------------------- */

struct bytes {
	const uint8_t *p;
	size_t n;
};

#define BYTES_NONE ((struct bytes){ NULL, 0 })
/* Of a string literal (or any NUL-terminated string known at compile time). */
#define BYTES_LIT(s) ((struct bytes){ (const uint8_t *)("" s), sizeof(s) - 1 })

static inline struct bytes bytes_of(const void *p, size_t n)
{
	return (struct bytes){ (const uint8_t *)p, n };
}

static inline struct bytes bytes_str(const char *s)
{
	return (struct bytes){ (const uint8_t *)s, s ? strlen(s) : 0 };
}

static inline struct bytes bytes_from(struct bytes b, size_t off)
{
	return off >= b.n ? BYTES_NONE : (struct bytes){ b.p + off, b.n - off };
}

static inline struct bytes bytes_first(struct bytes b, size_t n)
{
	return n >= b.n ? b : (struct bytes){ b.p, n };
}

bool bytes_eq(struct bytes a, struct bytes b);
/* ASCII case-insensitive. */
bool bytes_ieq(struct bytes a, struct bytes b);
bool bytes_starts(struct bytes b, struct bytes prefix);
bool bytes_istarts(struct bytes b, struct bytes prefix);
bool bytes_ends(struct bytes b, struct bytes suffix);
/* Index of the first `c`, or b.n when absent. */
size_t bytes_index(struct bytes b, uint8_t c);
/* Index of the first `needle`, or b.n when absent. */
size_t bytes_find(struct bytes b, struct bytes needle);
/* Without leading and trailing space and tab. */
struct bytes bytes_trim(struct bytes b);
/* Decimal, digits only, no sign; ERR_BAD_VALUE on anything else or overflow. */
enum err bytes_to_u64(struct bytes b, uint64_t *out) WARN_UNUSED;
/* A NUL-terminated heap copy; NULL when out of memory. Caller frees. */
char *bytes_dup_str(struct bytes b);
/* Copies with NUL into dst[cap]; false when it does not fit or holds a NUL. */
bool bytes_to_str(struct bytes b, char *dst, size_t cap);
static inline uint8_t ascii_lower(uint8_t c)
{
	return c >= 'A' && c <= 'Z' ? (uint8_t)(c | 0x20) : c;
}

/* ---- buf: a buffer born with a ceiling; full is back-pressure, not an error ------------------ */

struct buf {
	uint8_t *data;		/* owned; NULL until first use and after buf_release() */
	size_t start, end;	/* live bytes are data[start..end) */
	size_t cap;		/* allocated */
	size_t max;		/* ceiling on live bytes */
	size_t used;		/* nothing was written behind data[used) since it was wiped */
	bool secret;		/* wiped with explicit_bzero when memory is given back or moved */
};

void buf_init(struct buf *b, size_t max);
/* As buf_init, for bytes that may hold a real token (REQ-7.2). */
void buf_init_secret(struct buf *b, size_t max);
/* Frees the memory (wiped when secret); the buffer stays usable. */
void buf_release(struct buf *b);
static inline size_t buf_len(const struct buf *b)
{
	return b->end - b->start;
}
/* How much may still be appended before the ceiling. */
static inline size_t buf_room(const struct buf *b)
{
	return b->max - (b->end - b->start);
}
static inline struct bytes buf_bytes(const struct buf *b)
{
	return b->data ? (struct bytes){ b->data + b->start, b->end - b->start } : BYTES_NONE;
}
/* All or nothing: ERR_AGAIN at the ceiling, ERR_NOMEM. */
enum err buf_append(struct buf *b, struct bytes in) WARN_UNUSED;
enum err buf_append_str(struct buf *b, const char *s) WARN_UNUSED;
enum err buf_printf(struct buf *b, const char *fmt, ...) PRINTF_LIKE(2, 3) WARN_UNUSED;
/* Room for n more bytes, to be written at *out and then committed; invalid after any other call. */
enum err buf_reserve(struct buf *b, size_t n, uint8_t **out) WARN_UNUSED;
void buf_commit(struct buf *b, size_t n);
/* Drops n bytes from the front (n <= length). Memory of an empty secret buffer is wiped. */
void buf_consume(struct buf *b, size_t n);
static inline void buf_clear(struct buf *b)
{
	buf_consume(b, buf_len(b));
}
/* As buf_clear(), to be written again at once: a secret is wiped only when all is given back. */
static inline void buf_rewind(struct buf *b)
{
	b->start = b->end = 0;
}
/* Gives the memory and what it holds to `to`, which has none; each keeps its own ceiling. */
void buf_hand_over(struct buf *from, struct buf *to);

/* Overwrite and free; p may be NULL. */
void mem_wipe_free(void *p, size_t n);

/* ---- lists: intrusive, circular, the head is a link of its own ------------------------------- */

/*
 * A head after list_init(), or a member; a member in no list is zeroed. Never moved while in use.
 */
struct list {
	struct list *prev, *next;
};

static inline void list_init(struct list *head)
{
	head->prev = head->next = head;
}

static inline bool list_empty(const struct list *head)
{
	return head->next == head;
}

/* Is this member in a list? */
static inline bool list_linked(const struct list *l)
{
	return l->next != NULL;
}

static inline void list_append(struct list *head, struct list *l)
{
	l->prev = head->prev;
	l->next = head;
	l->prev->next = l->next->prev = l;
}

static inline void list_prepend(struct list *head, struct list *l)
{
	list_append(head->next, l);
}

/* A member in no list is left alone. */
static inline void list_remove(struct list *l)
{
	if (!l->next)
		return;
	l->prev->next = l->next;
	l->next->prev = l->prev;
	l->prev = l->next = NULL;
}

/* All members go to `to`, in order; `from` is empty afterwards. What `to` held is forgotten. */
static inline void list_move(struct list *from, struct list *to)
{
	if (list_empty(from)) {
		list_init(to);
		return;
	}
	*to = *from;
	to->next->prev = to->prev->next = to;
	list_init(from);
}

/* ---- base64 (RFC 4648): used by Basic, PEM, tokens ------------------------------------------- */

/* Appends the standard alphabet with padding. */
enum err base64_encode(struct bytes in, struct buf *out) WARN_UNUSED;
/* Strict: padding required, no white space; ERR_BAD_VALUE otherwise. */
enum err base64_decode(struct bytes in, struct buf *out) WARN_UNUSED;

/* ---- JSON out -------------------------------------------------------------------------------- */

/* Appends a quoted string; what is not UTF-8 becomes U+FFFD, control characters are escaped. */
enum err json_append_string(struct buf *out, struct bytes s) WARN_UNUSED;

/* ---- addresses ------------------------------------------------------------------------------- */

/* An IP address and port. IPv4-mapped IPv6 is always normalised to AF_INET by the constructors. */
struct addr {
	uint8_t family;		/* AF_INET, AF_INET6, or 0: none */
	uint16_t port;		/* host order */
	uint8_t ip[16];		/* network order; the first 4 for AF_INET */
};

struct cidr {
	uint8_t family;
	uint8_t bits;
	uint8_t ip[16];
};

#define ADDR_TEXT_MAX 64	/* "[v6]:port" with NUL fits */

bool addr_from_sockaddr(struct addr *a, const struct sockaddr *sa);
/* Returns the length. */
socklen_t addr_to_sockaddr(const struct addr *a, struct sockaddr_storage *ss);
/*
 * Strict textual IP (no port): dotted quad with four decimal parts, or RFC 4291 text; brackets
 * allowed round IPv6.
 */
bool addr_parse_ip(struct addr *a, struct bytes text);
/* IP without port; returns dst. */
const char *addr_ip_text(const struct addr *a, char dst[ADDR_TEXT_MAX]);
/* "ip:port" or "[ip]:port"; returns dst. */
const char *addr_text(const struct addr *a, char dst[ADDR_TEXT_MAX]);
bool addr_ip_eq(const struct addr *a, const struct addr *b);
/* "10.0.0.0/8", "fd00::/8", or a single address. Host bits must be zero: false otherwise. */
bool cidr_parse(struct cidr *c, struct bytes text);
bool cidr_contains(const struct cidr *c, const struct addr *a);
const char *cidr_text(const struct cidr *c, char dst[ADDR_TEXT_MAX]);

/* ---- time ------------------------------------------------------------------------------------ */

/* CLOCK_MONOTONIC in microseconds. */
uint64_t time_mono_us(void);
/* RFC 3339 UTC with milliseconds: "2026-01-31T23:59:59.123Z"; returns dst. */
#define TIME_TEXT_MAX 32
const char *time_rfc3339(char dst[TIME_TEXT_MAX]);

/* ---- log: events with typed fields, JSON Lines or text on stderr ----------------------------- */

enum log_level {
	LOG_LEVEL_OFF = -1,
	LOG_LEVEL_ERROR,
	LOG_LEVEL_WARN,
	LOG_LEVEL_INFO,
	LOG_LEVEL_DEBUG,
};

enum kv_type { KV_STR, KV_INT, KV_UINT, KV_BOOL, KV_BYTES, KV_ADDR, KV_HEX };

struct kv {
	const char *key;
	enum kv_type type;
	union {
		const char *s;
		int64_t i;
		uint64_t u;
		bool b;
		struct bytes bytes;
		const struct addr *addr;
	};
};

static inline struct kv kv_str(const char *k, const char *v)
{
	return (struct kv){ .key = k, .type = KV_STR, .s = v };
}

static inline struct kv kv_int(const char *k, int64_t v)
{
	return (struct kv){ .key = k, .type = KV_INT, .i = v };
}

static inline struct kv kv_uint(const char *k, uint64_t v)
{
	return (struct kv){ .key = k, .type = KV_UINT, .u = v };
}

static inline struct kv kv_bool(const char *k, bool v)
{
	return (struct kv){ .key = k, .type = KV_BOOL, .b = v };
}

static inline struct kv kv_bytes(const char *k, struct bytes v)
{
	return (struct kv){ .key = k, .type = KV_BYTES, .bytes = v };
}

static inline struct kv kv_addr(const char *k, const struct addr *v)
{
	return (struct kv){ .key = k, .type = KV_ADDR, .addr = v };
}

/* Sixteen hex digits, as flow ids stand in audit lines; used as it is, without KV(). */
static inline struct kv kv_hex(const char *k, uint64_t v)
{
	return (struct kv){ .key = k, .type = KV_HEX, .u = v };
}

/* A struct secret has no case here: logging one does not compile. */
#define KV(k, v)										\
	_Generic((v),										\
		char *: kv_str, const char *: kv_str,						\
		bool: kv_bool,									\
		int: kv_int, long: kv_int, long long: kv_int,					\
		unsigned: kv_uint, unsigned long: kv_uint, unsigned long long: kv_uint,		\
		struct bytes: kv_bytes,								\
		struct addr *: kv_addr, const struct addr *: kv_addr)(k, v)

/*
 * Once per process: `role` is put on every line; `level` as in SLAPENIR_LOG (error, warn, info,
 * debug, off).
 */
void log_init(const char *role, enum log_level level);
bool log_level_parse(const char *text, enum log_level *out);
bool log_enabled(enum log_level level);
/* Use LOG_EVENT. Writes one line to stderr with one write(2). */
void log_write(enum log_level level, const char *event, const struct kv *kvs, size_t n);

/* For events that a peer can cause at will: at most `per_s` a second pass. Zeroed at first. */
struct log_limit {
	uint64_t second;
	unsigned n;
};
bool log_allowed(struct log_limit *l, unsigned per_s);

#define LOG_EVENT(level, event, ...)								\
	do {											\
		if (log_enabled(level)) {							\
			const struct kv log_kvs_[] = { __VA_ARGS__ };				\
			log_write(level, event, log_kvs_, ARRAY_SIZE(log_kvs_));		\
		}										\
	} while (0)
