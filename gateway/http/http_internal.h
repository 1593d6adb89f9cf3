/*
 * http_internal.h - what the files of this room share: characters, known names, lines of a head
 *
 * Inside, every fault carries the request's code; h1_side_err() turns it into the upstream's when
 * the message is a response.
 */
#pragma once

#include "gateway/http/http.h"

/* ---- characters (chars.c) -------------------------------------------------------------------- */

#define HTTP_CHAR_TOKEN 1	/* RFC 9110 5.6.2 tchar */
#define HTTP_CHAR_PATH 2	/* may stand in the path of a target */
#define HTTP_CHAR_QUERY 4	/* may stand in its query */
#define HTTP_CHAR_HEX 8
#define HTTP_CHAR_NAME 16	/* may stand in a host name */

extern const uint8_t http_chars[256];

/* How many leading bytes have that class; how many are field content: no control byte but HTAB. */
size_t http_run(struct bytes b, uint8_t class);
size_t http_text_run(struct bytes b);

static inline bool http_token_ok(struct bytes b)
{
	return b.n && http_run(b, HTTP_CHAR_TOKEN) == b.n;
}

static inline bool http_text_ok(struct bytes b)
{
	return http_text_run(b) == b.n;
}

/* ---- names the codec acts on (fields.c) ------------------------------------------------------ */

enum http_known {
	HTTP_OTHER,
	HTTP_HOST,
	HTTP_CONTENT_LENGTH,
	HTTP_TRANSFER_ENCODING,
	HTTP_CONNECTION,
	HTTP_UPGRADE,
	HTTP_EXPECT,
	HTTP_TE,
	HTTP_AUTHORIZATION,
	HTTP_CONTENT_TYPE,
	HTTP_FRAMING_TWIN,	/* content_length: to a CGI-like server the same variable */
};

/* `name` is a token. */
enum http_known http_name_known(struct bytes name);
/* RFC 9110 6.5.1: nothing that frames, routes, authenticates or describes the content. */
bool http_trailer_allowed(struct bytes name);

/* ---- heads (h1_head.c) ----------------------------------------------------------------------- */

/* What the fields of one head say about the message itself. */
struct h1_facts {
	unsigned hosts, lengths, codings, types, logins, upgrades, expects;	/* lines of each */
	unsigned options;	/* members of all Connection lines */
	bool close, keep_alive, upgrade, twin;
	struct bytes host, length, coding, proto, expect;	/* the last of each */
};

enum err h1_side_err(enum http_side side, enum err e);
/* The next line, without CRLF. ERR_AGAIN, ERR_HTTP_SYNTAX (bare LF), ERR_HTTP_HEADER_TOO_LARGE. */
enum err h1_scan_line(struct h1_scan *s, struct bytes in, size_t max,
		      struct bytes *line) WARN_UNUSED;
/* Up to and with the empty line. */
enum err h1_scan_fields(struct h1_scan *s, struct bytes in,
			const struct h1_limits *lim) WARN_UNUSED;
/* One field line at in.p[*at]; moves *at past it. */
enum err h1_parse_field(struct bytes in, size_t *at, struct http_field *out) WARN_UNUSED;
/* All field lines up to the empty one. */
enum err h1_parse_fields(struct bytes in, struct http_fields *out,
			 struct h1_facts *facts) WARN_UNUSED;
/* A Content-Length: digits, at most 2^63 - 1. */
enum err h1_parse_length(struct bytes value, uint64_t *out) WARN_UNUSED;

/* ---- targets (h1_target.c) ------------------------------------------------------------------- */

/* Takes out->target apart into scheme, authority, path and query; out->method is set. */
enum err h1_parse_target(struct http_request *out) WARN_UNUSED;
