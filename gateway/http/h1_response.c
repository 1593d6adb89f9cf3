/*
 * h1_response.c - the head of an HTTP/1 response, as strictly as a request's
 *
 * The framing depends on the request (RFC 9112 6.3): a HEAD has a length and no body. An upstream
 * that answers ambiguously could make the gateway take one response's body for the next response,
 * and hand one agent what was meant for another: such an answer is refused, its connection closed.
 *
 * Taken although the grammar says otherwise, because servers do it: no space after the status code
 * when there is no reason, status codes 600-999, framing fields in a 204 (ignored, and the
 * connection is not used again).
 */
#include "gateway/http/http_internal.h"

#define STATUS_LINE_MIN 12	/* "HTTP/1.1 200" */

static enum err begin(struct bytes in)
{
	static const char start[] = "HTTP/1.";
	size_t n = in.n < sizeof(start) - 1 ? in.n : sizeof(start) - 1;

	if (n && memcmp(in.p, start, n) != 0)
		return ERR_HTTP_SYNTAX;
	return in.n ? ERR_OK : ERR_AGAIN;
}

static enum err parse_line(struct bytes line, struct http_response *out)
{
	uint64_t status;

	if (line.n < STATUS_LINE_MIN || !bytes_starts(line, BYTES_LIT("HTTP/1.")))
		return ERR_HTTP_SYNTAX;
	if (line.p[7] != '0' && line.p[7] != '1')
		return ERR_HTTP_VERSION;
	out->minor = line.p[7] == '1';
	if (line.p[8] != ' ' || bytes_to_u64(bytes_of(line.p + 9, 3), &status) != ERR_OK ||
	    status < 100)
		return ERR_HTTP_SYNTAX;
	out->status = (unsigned)status;
	if (line.n == STATUS_LINE_MIN)
		return ERR_OK;
	if (line.p[STATUS_LINE_MIN] != ' ')
		return ERR_HTTP_SYNTAX;
	out->reason = bytes_from(line, STATUS_LINE_MIN + 1);
	return http_text_ok(out->reason) ? ERR_OK : ERR_HTTP_SYNTAX;
}

/* What the fields announce, whether or not there is a body. */
static enum err announced_framing(const struct h1_facts *facts, struct http_response *out)
{
	if (facts->lengths + facts->codings > 1)
		return ERR_HTTP_AMBIGUOUS;
	out->framing = HTTP_BODY_CLOSE;
	if (facts->codings) {
		if (out->minor == 0 || !bytes_ieq(facts->coding, BYTES_LIT("chunked")))
			return ERR_HTTP_AMBIGUOUS;
		out->framing = HTTP_BODY_CHUNKED;
	} else if (facts->lengths) {
		TRY(h1_parse_length(facts->length, &out->length));
		out->framing = HTTP_BODY_LENGTH;
	}
	return ERR_OK;
}

static enum err settle(const struct h1_facts *facts, struct bytes method, struct http_response *out)
{
	bool framed;

	TRY(announced_framing(facts, out));
	framed = out->framing == HTTP_BODY_CHUNKED || out->length > 0;
	out->keep_alive = !facts->close && (out->minor == 1 || facts->keep_alive);
	if (!http_has_body(out->status, method)) {
		/* RFC 9112 6.3: no body here, whatever the fields say */
		bool head = bytes_eq(method, BYTES_LIT("HEAD"));

		if (framed && out->status < 200)
			return ERR_HTTP_AMBIGUOUS;
		if (framed && !head && out->status != 304)
			out->keep_alive = false;
		out->has_length = out->framing == HTTP_BODY_LENGTH && out->status >= 200 &&
				  out->status != 204 && (head || out->status == 304);
		out->framing = HTTP_BODY_NONE;
		if (!out->has_length)
			out->length = 0;
	}
	if (out->framing == HTTP_BODY_CLOSE)
		out->keep_alive = false;
	if (out->status == 101) {
		if (!facts->upgrade || facts->upgrades != 1 || facts->proto.n == 0)
			return ERR_HTTP_SYNTAX;
		out->upgrade = true;
		out->upgrade_proto = facts->proto;
	}
	return ERR_OK;
}

static enum err parse_response(struct h1_scan *s, struct bytes in, const struct h1_limits *lim,
			       struct bytes method, struct http_response *out)
{
	bool first = s->lines == 0;
	struct h1_facts facts;
	struct bytes line;

	if (first) {
		TRY(begin(in));
		TRY(h1_scan_line(s, in, lim->header_bytes, &line));
		s->fields = s->line;
		http_response_reset(out);
		TRY(parse_line(line, out));
	}
	TRY(h1_scan_fields(s, in, lim));
	if (!first) {	/* the input may have moved since */
		http_response_reset(out);
		TRY(parse_line(bytes_of(in.p, s->fields - 2), out));
	}
	TRY(h1_parse_fields(bytes_of(in.p + s->fields, s->at - s->fields), &out->fields, &facts));
	return settle(&facts, method, out);
}

enum err h1_parse_response(struct h1_scan *scan, struct bytes in, const struct h1_limits *lim,
			   struct bytes request_method, struct http_response *out, size_t *used)
{
	enum err e = parse_response(scan, in, lim, request_method, out);

	*used = e == ERR_OK ? scan->at : 0;
	if (e != ERR_AGAIN)
		*scan = (struct h1_scan){ 0 };
	return h1_side_err(HTTP_RESPONSE, e);
}
