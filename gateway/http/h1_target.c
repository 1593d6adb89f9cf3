/*
 * h1_target.c - the four forms of a request target (RFC 9112 3.2)
 *
 * Which form it is follows from the method and the first byte, never from trying one after the
 * other: CONNECT has an authority, OPTIONS may have "*", '/' begins a path, all else is absolute.
 */
#include "gateway/http/http_internal.h"

static bool authority_ok(struct bytes authority, bool port_needed)
{
	struct bytes host;
	unsigned port;

	return http_host_split(authority, &host, &port) && (port || !port_needed);
}

/* RFC 3986 2.1: in a path, '%' without two hex digits is decoded differently by each reader. */
static bool triplets_ok(struct bytes path)
{
	for (size_t i = bytes_index(path, '%'); i < path.n; i++) {
		if (path.p[i] != '%')
			continue;
		if (path.n - i < 3 || !(http_chars[path.p[i + 1]] & HTTP_CHAR_HEX) ||
		    !(http_chars[path.p[i + 2]] & HTTP_CHAR_HEX))
			return false;
	}
	return true;
}

static enum err parse_path(struct bytes text, struct http_request *out)
{
	size_t mark = http_run(text, HTTP_CHAR_PATH);

	out->path = bytes_first(text, mark);
	if (!triplets_ok(out->path))
		return ERR_HTTP_SYNTAX;
	if (mark >= text.n)
		return ERR_OK;
	if (text.p[mark] != '?')
		return ERR_HTTP_SYNTAX;
	out->has_query = true;
	out->query = bytes_from(text, mark + 1);
	return http_run(out->query, HTTP_CHAR_QUERY) == out->query.n ? ERR_OK : ERR_HTTP_SYNTAX;
}

/* RFC 3986 3.1 */
static bool scheme_ok(struct bytes s)
{
	for (size_t i = 0; i < s.n; i++) {
		uint8_t c = ascii_lower(s.p[i]);
		bool letter = c >= 'a' && c <= 'z';
		bool other = (c >= '0' && c <= '9') || c == '+' || c == '-' || c == '.';

		if (!letter && (i == 0 || !other))
			return false;
	}
	return s.n != 0;
}

static enum err parse_absolute(struct http_request *out)
{
	size_t colon = bytes_find(out->target, BYTES_LIT("://")), end = 0;
	struct bytes rest;

	if (colon == out->target.n)
		return ERR_HTTP_SYNTAX;
	out->scheme = bytes_first(out->target, colon);
	if (!scheme_ok(out->scheme))
		return ERR_HTTP_SYNTAX;
	if (!bytes_ieq(out->scheme, BYTES_LIT("http")) &&
	    !bytes_ieq(out->scheme, BYTES_LIT("https")))
		return ERR_HTTP_UNSUPPORTED;
	rest = bytes_from(out->target, colon + 3);
	while (end < rest.n && rest.p[end] != '/' && rest.p[end] != '?')
		end++;
	out->authority = bytes_first(rest, end);
	if (!authority_ok(out->authority, false))
		return ERR_HTTP_SYNTAX;
	TRY(parse_path(bytes_from(rest, end), out));
	if (out->path.n == 0)	/* RFC 9112 3.2.4, 3.2.1 */
		out->path = bytes_eq(out->method, BYTES_LIT("OPTIONS")) && !out->has_query ?
			    BYTES_LIT("*") : BYTES_LIT("/");
	return ERR_OK;
}

enum err h1_parse_target(struct http_request *out)
{
	if (bytes_eq(out->method, BYTES_LIT("CONNECT"))) {
		out->authority = out->target;
		return authority_ok(out->authority, true) ? ERR_OK : ERR_HTTP_SYNTAX;
	}
	if (out->target.p[0] == '/')
		return parse_path(out->target, out);
	if (bytes_eq(out->target, BYTES_LIT("*"))) {
		out->path = out->target;
		return bytes_eq(out->method, BYTES_LIT("OPTIONS")) ? ERR_OK : ERR_HTTP_SYNTAX;
	}
	return parse_absolute(out);
}
