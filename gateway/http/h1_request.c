/*
 * h1_request.c - the head of an HTTP/1 request, strictly
 *
 * begin -> request line (checked as soon as it ends, so what is not HTTP is told early) -> empty
 * line found -> fields -> settle: host, framing, connection. Refused, not guessed: every case of
 * RFC 9112 11.2 (request smuggling), and what RFC 9110 allows once but means something where it
 * stands twice: Host, Content-Length, Transfer-Encoding; Authorization and Content-Type too, for a
 * token would be put in one while the upstream reads the other.
 */
#include "gateway/http/http_internal.h"

#define METHOD_MAX 32

/* One empty line before the request is skipped (RFC 9112 2.2). */
static enum err begin(struct h1_scan *s, struct bytes in)
{
	uint8_t c;

	if (s->start == 0 && in.n && in.p[0] == '\r') {
		if (in.n < 2)
			return ERR_AGAIN;
		if (in.p[1] != '\n')
			return ERR_HTTP_SYNTAX;
		s->start = s->line = s->at = 2;
	}
	if (in.n <= s->start)
		return ERR_AGAIN;
	c = in.p[s->start];
	if (http_chars[c] & HTTP_CHAR_TOKEN)
		return ERR_OK;
	if ((c >= 0x20 && c < 0x7f) || c == '\t' || c == '\r' || c == '\n')
		return ERR_HTTP_SYNTAX;
	return ERR_NOT_HTTP;
}

static enum err parse_version(struct bytes text, unsigned *minor)
{
	if (text.n != 8 || !bytes_starts(text, BYTES_LIT("HTTP/")) || text.p[6] != '.')
		return ERR_HTTP_SYNTAX;
	if (text.p[5] < '0' || text.p[5] > '9' || text.p[7] < '0' || text.p[7] > '9')
		return ERR_HTTP_SYNTAX;
	if (text.p[5] != '1' || text.p[7] > '1')
		return ERR_HTTP_VERSION;
	*minor = text.p[7] == '1';
	return ERR_OK;
}

static enum err parse_line(struct bytes line, const struct h1_limits *lim,
			   struct http_request *out)
{
	size_t space = http_run(line, HTTP_CHAR_TOKEN);
	struct bytes rest;

	if (space == 0 || space > METHOD_MAX || space == line.n || line.p[space] != ' ')
		return ERR_HTTP_SYNTAX;
	out->method = bytes_first(line, space);
	rest = bytes_from(line, space + 1);
	space = bytes_index(rest, ' ');
	if (space == 0 || rest.n == 0)
		return ERR_HTTP_SYNTAX;
	out->target = bytes_first(rest, space);
	if (space == rest.n)	/* HTTP/0.9 */
		return http_run(rest, HTTP_CHAR_QUERY) == rest.n ? ERR_HTTP_VERSION :
			ERR_HTTP_SYNTAX;
	TRY(parse_version(bytes_from(rest, space + 1), &out->minor));
	if (out->target.n > lim->target_bytes)
		return ERR_HTTP_URI_TOO_LONG;
	return h1_parse_target(out);
}

/* RFC 9112 3.2 */
static enum err settle_host(const struct h1_facts *facts, struct http_request *out)
{
	struct bytes host;
	unsigned port;

	if (facts->hosts > 1)
		return ERR_HTTP_AMBIGUOUS;
	if (facts->hosts == 0)
		return out->minor == 0 ? ERR_OK : ERR_HTTP_SYNTAX;
	if (!http_host_split(facts->host, &host, &port))
		return ERR_HTTP_SYNTAX;
	if (out->authority.n == 0)
		out->authority = facts->host;
	else if (!bytes_ieq(out->authority, facts->host))
		return ERR_HTTP_AMBIGUOUS;
	return ERR_OK;
}

static bool method_has_no_content(struct bytes method)
{
	return bytes_eq(method, BYTES_LIT("CONNECT")) || bytes_eq(method, BYTES_LIT("TRACE"));
}

/* RFC 9112 6.3 */
static enum err settle_framing(const struct h1_facts *facts, struct http_request *out)
{
	if (facts->lengths + facts->codings > 1 || facts->twin)
		return ERR_HTTP_AMBIGUOUS;
	if (facts->codings) {
		/* 6.1: HTTP/1.0 does not know it; any other coding would hide where it ends */
		if (out->minor == 0 || !bytes_ieq(facts->coding, BYTES_LIT("chunked")))
			return ERR_HTTP_AMBIGUOUS;
		out->framing = HTTP_BODY_CHUNKED;
	} else if (facts->lengths) {
		TRY(h1_parse_length(facts->length, &out->length));
		out->framing = HTTP_BODY_LENGTH;
	}
	/* RFC 9110 9.3.6, 9.3.8: these have no content; who announces some means something else */
	if ((facts->codings || out->length) && method_has_no_content(out->method))
		return ERR_HTTP_AMBIGUOUS;
	return ERR_OK;
}

static enum err settle(const struct h1_facts *facts, struct http_request *out)
{
	TRY(settle_host(facts, out));
	TRY(settle_framing(facts, out));
	if (facts->logins > 1 || facts->types > 1)
		return ERR_HTTP_AMBIGUOUS;
	out->keep_alive = !facts->close && (out->minor == 1 || facts->keep_alive);
	if (out->minor == 0)	/* RFC 9110 10.1.1, 7.8: no Expect, no Upgrade in HTTP/1.0 */
		return ERR_OK;
	if (facts->expects) {
		if (facts->expects > 1 || !bytes_ieq(facts->expect, BYTES_LIT("100-continue")))
			return ERR_HTTP_UNSUPPORTED;
		out->expect_continue = out->framing == HTTP_BODY_CHUNKED || out->length > 0;
	}
	if (facts->upgrade && facts->upgrades == 1 && facts->proto.n) {
		out->upgrade = true;
		out->upgrade_proto = facts->proto;
	}
	return ERR_OK;
}

static enum err parse_request(struct h1_scan *s, struct bytes in, const struct h1_limits *lim,
			      struct http_request *out)
{
	bool first = s->lines == 0;
	struct bytes line;
	struct h1_facts facts;
	enum err e;

	if (first) {
		TRY(begin(s, in));
		e = h1_scan_line(s, in, lim->header_bytes, &line);
		if (e != ERR_OK)
			return e == ERR_HTTP_HEADER_TOO_LARGE ? ERR_HTTP_URI_TOO_LONG : e;
		s->fields = s->line;
		http_request_reset(out);
		TRY(parse_line(line, lim, out));
	}
	TRY(h1_scan_fields(s, in, lim));
	if (!first) {	/* the input may have moved since */
		http_request_reset(out);
		TRY(parse_line(bytes_of(in.p + s->start, s->fields - 2 - s->start), lim, out));
	}
	TRY(h1_parse_fields(bytes_of(in.p + s->fields, s->at - s->fields), &out->fields, &facts));
	return settle(&facts, out);
}

enum err h1_parse_request(struct h1_scan *scan, struct bytes in, const struct h1_limits *lim,
			  struct http_request *out, size_t *used)
{
	enum err e = parse_request(scan, in, lim, out);

	*used = e == ERR_OK ? scan->at : 0;
	if (e != ERR_AGAIN)
		*scan = (struct h1_scan){ 0 };
	return e;
}
