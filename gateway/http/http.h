/*
 * http.h - HTTP messages: one model for every version, and the strict HTTP/1.1 codec
 *
 * Sans-I/O: bytes in, messages and bytes out; no socket, no clock. RFC 9110 (semantics), RFC 9112
 * (HTTP/1.1).
 *
 * The model serves every HTTP version. What HTTP/1 says in Host, Content-Length, Transfer-Encoding,
 * Connection, Upgrade and Expect (and HTTP/2 in pseudo-headers and frames) stands in members of the
 * message: `authority`, `framing` and `length`, `keep_alive`, `upgrade`, `expect_continue`. The
 * parsers leave those fields in `fields` too, for whoever wants to read them; the writers skip them
 * there and write them from the members. So the members decide, and framing cannot be smuggled
 * through a field.
 *
 * Ownership: the array behind struct http_fields is owned by the message and reused from message to
 * message; every slice in a message is borrowed, from the parsed input or from wherever the caller
 * put it.
 */
#pragma once

#include "base/base.h"

/* ---- fields ---------------------------------------------------------------------------------- */

struct http_field {
	struct bytes name;	/* borrowed; as sent, any case */
	struct bytes value;	/* borrowed; without surrounding white space */
};

struct http_fields {
	struct http_field *v;	/* owned */
	size_t n, cap;
};

/* Appends; ERR_NOMEM. Borrowed and not checked here: the writer refuses what would inject. */
enum err http_fields_add(struct http_fields *f, struct bytes name, struct bytes value) WARN_UNUSED;
/* Makes `value` the only one of that name: the first is replaced, others go; or appends. */
enum err http_fields_set(struct http_fields *f, struct bytes name, struct bytes value) WARN_UNUSED;
/* The first of that name (any case) or NULL; valid until the next add, set or remove. */
struct http_field *http_fields_find(const struct http_fields *f, struct bytes name);
/* The value of the first, or BYTES_NONE. */
struct bytes http_fields_value(const struct http_fields *f, struct bytes name);
/* Removes all of that name, keeping the order of the rest; returns how many. */
size_t http_fields_remove(struct http_fields *f, struct bytes name);
size_t http_fields_count(const struct http_fields *f, struct bytes name);
/* Empties, keeps the memory. */
void http_fields_reset(struct http_fields *f);
/* Frees; stays usable. */
void http_fields_release(struct http_fields *f);

/* ---- messages -------------------------------------------------------------------------------- */

enum http_side { HTTP_REQUEST, HTTP_RESPONSE };

enum http_framing {
	HTTP_BODY_NONE,		/* no body at all */
	HTTP_BODY_LENGTH,	/* exactly `length` bytes, also 0 */
	HTTP_BODY_CHUNKED,	/* chunks, then perhaps trailers (HTTP/2: until END_STREAM) */
	HTTP_BODY_CLOSE,	/* until the connection closes; responses only */
};

struct http_request {
	struct bytes method;
	struct bytes scheme;	/* of an absolute-form target, else empty: the caller knows */
	struct bytes authority;	/* host[:port], valid; empty only in HTTP/1.0 without Host */
	struct bytes target;	/* as sent; for reading only, the writer builds its own */
	struct bytes path;	/* "/..." ; "*" for OPTIONS *; empty for CONNECT */
	struct bytes query;	/* without '?' */
	bool has_query;		/* tells "/a?" from "/a" */
	unsigned minor;		/* HTTP/1.minor: 0 or 1 */
	struct http_fields fields;	/* owned array */
	enum http_framing framing;
	uint64_t length;	/* for HTTP_BODY_LENGTH */
	bool keep_alive;	/* the sender lets the connection live on after this exchange */
	bool expect_continue;	/* waits for 100 (Continue) before it sends the body */
	bool upgrade;		/* asks to upgrade to upgrade_proto */
	struct bytes upgrade_proto;	/* the value of Upgrade */
};

struct http_response {
	unsigned status;	/* 100..999 */
	struct bytes reason;	/* may be empty */
	unsigned minor;
	struct http_fields fields;	/* owned array */
	enum http_framing framing;
	uint64_t length;	/* for HTTP_BODY_LENGTH; also when has_length */
	bool has_length;	/* HTTP_BODY_NONE, yet a length was announced: HEAD and 304 */
	bool keep_alive;
	bool upgrade;		/* 101: bytes after the head are upgrade_proto */
	struct bytes upgrade_proto;
};

/* Back to all zero, keeping the memory of fields. */
void http_request_reset(struct http_request *req);
void http_response_reset(struct http_response *resp);
/* Frees what the message owns; it stays usable. */
void http_request_release(struct http_request *req);
void http_response_release(struct http_response *resp);

/* ---- HTTP/1 heads ---------------------------------------------------------------------------- */

struct h1_limits {
	size_t header_bytes;	/* the whole head, from the first byte to the empty line */
	size_t fields;		/* field lines in a head, and in trailers */
	size_t target_bytes;	/* request target */
	size_t trailer_bytes;	/* the whole trailer section */
};

#define H1_LIMITS_DEFAULT                                                                 \
	((struct h1_limits){ .header_bytes = 65536, .fields = 200, .target_bytes = 32768, \
			     .trailer_bytes = 8192 })

/* How far the head was looked through: byte-at-a-time input stays linear. Zero at first. */
struct h1_scan {
	size_t at;		/* bytes looked at */
	size_t line;		/* start of the line being looked at */
	size_t lines;		/* complete lines so far, the start line among them */
	size_t start, fields;	/* where the start line and the field lines begin */
};

/*
 * `in` is everything received since the head began, contiguous; it may move between calls.
 * ERR_AGAIN until the head is complete, and scan remembers how far it was seen. ERR_OK: *used bytes
 * were the head, slices in `out` point into `in` (or at static text), and scan is ready for the
 * next head. Any other error is final: answer, close. The outcome does not depend on how the bytes
 * were split. `out` need not be reset between heads.
 *
 * Errors: ERR_HTTP_SYNTAX, _AMBIGUOUS, _VERSION, _UNSUPPORTED, _HEADER_TOO_LARGE, _URI_TOO_LONG,
 * ERR_NOT_HTTP (the very first byte cannot begin a request), ERR_NOMEM.
 */
enum err h1_parse_request(struct h1_scan *scan, struct bytes in, const struct h1_limits *lim,
			  struct http_request *out, size_t *used) WARN_UNUSED;
/*
 * The same for a response to `request_method`. Interim responses (1xx) are returned like any other:
 * the caller goes on parsing until a final one. Errors: ERR_UPSTREAM_HTTP,
 * ERR_UPSTREAM_HEADER_TOO_LARGE, ERR_NOMEM.
 */
enum err h1_parse_response(struct h1_scan *scan, struct bytes in, const struct h1_limits *lim,
			   struct bytes request_method, struct http_response *out,
			   size_t *used) WARN_UNUSED;

/* ---- HTTP/1 bodies --------------------------------------------------------------------------- */

struct h1_body {
	enum http_side side;	/* chooses the error: the agent's or the upstream's fault */
	enum http_framing framing;
	uint8_t state;		/* of the chunk decoder; 0 at first */
	uint8_t digits;		/* of the chunk size seen so far */
	bool done;
	size_t ext;		/* bytes of chunk extension in this chunk */
	uint64_t left;		/* bytes of data still to come, in the body or chunk */
	size_t max_fields;
	size_t line, lines;	/* of the trailer section, as in h1_scan */
	struct buf trailer_bytes;	/* owned; what `trailers` points into */
	struct http_fields trailers;	/* owned array */
};

/* Begins a body; b is zero or was used before (its memory is reused). */
void h1_body_init(struct h1_body *b, enum http_side side, enum http_framing framing,
		  uint64_t length, const struct h1_limits *lim);
/*
 * Eats framing and at most one run of data: *used bytes of `in` are done with, *data (possibly
 * empty) is the data among them, a slice of `in`. Call again with the rest while there is some and
 * !h1_body_done(): each call eats at least one byte. ERR_OK, or a final error (ERR_HTTP_SYNTAX or
 * ERR_UPSTREAM_HTTP, ERR_NOMEM) with *data empty.
 */
enum err h1_body_feed(struct h1_body *b, struct bytes in, size_t *used,
		      struct bytes *data) WARN_UNUSED;
/* All of it was seen; what follows in the input belongs to the next message. */
static inline bool h1_body_done(const struct h1_body *b)
{
	return b->done;
}
/* The sender closed: ERR_OK when the body may end so, else ERR_CLOSED or ERR_UPSTREAM_CLOSED. */
enum err h1_body_eof(struct h1_body *b) WARN_UNUSED;
/*
 * Trailers, once done; slices live until the next init or release. Fields that frame, route,
 * authenticate or describe the content are dropped, not refused: nothing may take them from a
 * trailer (RFC 9110 6.5.1), so none can be smuggled there.
 */
const struct http_fields *h1_body_trailers(const struct h1_body *b);
void h1_body_release(struct h1_body *b);

/* ---- HTTP/1 writer: all or nothing; ERR_AGAIN when `out` has no room ------------------------- */

/*
 * Writes the request line from method, path and query (CONNECT: authority), always as HTTP/1.1,
 * then Host from authority, framing from framing and length, Expect from expect_continue,
 * Connection from keep_alive, upgrade and a TE field, then the other fields in order. Never writes
 * Host, Content-Length, Transfer-Encoding, Connection, Upgrade or Expect from `fields`.
 * ERR_BAD_VALUE when a part holds what could end a line or a token (defence in depth), ERR_INTERNAL
 * without authority or with a framing that requests do not have.
 */
enum err h1_write_request(struct buf *out, const struct http_request *req) WARN_UNUSED;
/*
 * Likewise. HTTP_BODY_NONE writes no framing but an announced has_length: it is for HEAD, 1xx, 204
 * and 304 only.
 */
enum err h1_write_response(struct buf *out, const struct http_response *resp) WARN_UNUSED;

/* Most bytes that head and tail of one chunk take. */
#define H1_CHUNK_OVERHEAD 20
/* A chunk is head, `size` bytes, tail. ERR_INTERNAL for size 0: that would end the body. */
enum err h1_write_chunk_head(struct buf *out, uint64_t size) WARN_UNUSED;
enum err h1_write_chunk_tail(struct buf *out) WARN_UNUSED;
/*
 * Chunks out of pieces: small ones are gathered until flush (or until they make a chunk worth
 * sending). `sink` takes the bytes to send; its error ends the call. Flush at the end of a batch
 * and before the last chunk.
 */
typedef enum err h1_chunk_sink(void *owner, struct bytes out);
struct h1_chunks {
	struct buf gathered;	/* owned */
};
/* secret: the pieces may hold real tokens, so what is gathered is wiped. */
void h1_chunks_init(struct h1_chunks *c, bool secret);
enum err h1_chunks_add(struct h1_chunks *c, struct bytes data, h1_chunk_sink *sink,
		       void *owner) WARN_UNUSED;
enum err h1_chunks_flush(struct h1_chunks *c, h1_chunk_sink *sink, void *owner) WARN_UNUSED;
void h1_chunks_release(struct h1_chunks *c);
/* Ends a chunked body; trailers may be NULL. Fields that may not be trailers are left out. */
enum err h1_write_last_chunk(struct buf *out, const struct http_fields *trailers) WARN_UNUSED;

/* ---- semantics ------------------------------------------------------------------------------- */

/*
 * Takes out what belongs to one connection only (RFC 9110 7.6.1): Connection and the fields it
 * names, Keep-Alive, Proxy-Connection, Proxy-Authenticate, Proxy-Authorization,
 * Proxy-Authentication-Info, Transfer-Encoding, Upgrade, HTTP2-Settings; TE unless it allows
 * trailers, then it becomes "trailers". Trailer stays: trailers are forwarded.
 */
void http_strip_hop_by_hop(struct http_fields *f);
/* "OK" for 200; "" when unknown. Static. */
const char *http_status_reason(unsigned status);
/* May a response of this status to this method have a body? (RFC 9110 6.4.1; CONNECT 2xx: no.) */
bool http_has_body(unsigned status, struct bytes request_method);
/* Safe to send again when no answer came (RFC 9110 9.2.2). */
bool http_method_idempotent(struct bytes method);
/* The next non-empty member of a comma-separated list, trimmed; knows no quoted strings. */
bool http_list_next(struct bytes *rest, struct bytes *item);
/* Is `token` (any case) a member of the list? */
bool http_token_list_has(struct bytes value, struct bytes token);
/* "type/subtype" of a Content-Type value, without parameters. */
struct bytes http_media_type(struct bytes value);
/* No Content-Encoding, or nothing but identity. */
bool http_coding_is_identity(const struct http_fields *f);
/*
 * host[:port], strictly: a name of letters, digits, '-', '_' in labels of 1..63 (253 in all), a
 * dotted quad, or [IPv6]; port 1..65535 in decimal without leading zero. *host is without brackets
 * and without the one trailing dot a name may have; *port is 0 when none is given. No user
 * information, no zone, no percent-encoding. false: not valid.
 */
bool http_host_split(struct bytes authority, struct bytes *host, unsigned *port);
