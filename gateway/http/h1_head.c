/*
 * h1_head.c - the lines of an HTTP/1 head, and what its fields say about the message
 *
 * A head is looked at twice. The first pass only finds line ends: it runs over each byte once,
 * however the bytes arrive, and refuses bare LF and too much of anything. The second starts when
 * the empty line was seen, so slices never point into input that moved since. Faults are therefore
 * found in the same order whole or split: start line, line ends and limits, field after field.
 *
 * Strict on purpose (RFC 9112 2.2, 5.1, 5.2, 6.3): where two readers of the same bytes could
 * disagree, one of them is the gateway, and the message is refused.
 */
#include "gateway/http/http_internal.h"

/* Members of Connection; a real head has one or two. Bounds the work of stripping. */
#define OPTIONS_MAX 32

enum err h1_side_err(enum http_side side, enum err e)
{
	if (side == HTTP_REQUEST || e == ERR_OK || e == ERR_AGAIN || e == ERR_NOMEM)
		return e;
	return e == ERR_HTTP_HEADER_TOO_LARGE ? ERR_UPSTREAM_HEADER_TOO_LARGE : ERR_UPSTREAM_HTTP;
}

enum err h1_scan_line(struct h1_scan *s, struct bytes in, size_t max, struct bytes *line)
{
	size_t seen = in.n < max ? in.n : max;
	const uint8_t *lf;
	size_t end;

	lf = s->at < seen ? memchr(in.p + s->at, '\n', seen - s->at) : NULL;
	if (!lf) {
		if (in.n >= max)
			return ERR_HTTP_HEADER_TOO_LARGE;
		s->at = seen;
		return ERR_AGAIN;
	}
	end = (size_t)(lf - in.p);
	if (end == s->line || in.p[end - 1] != '\r')
		return ERR_HTTP_SYNTAX;	/* RFC 9112 2.2 lets a bare LF end a line; not here */
	*line = bytes_of(in.p + s->line, end - 1 - s->line);
	s->at = s->line = end + 1;
	s->lines++;
	return ERR_OK;
}

enum err h1_scan_fields(struct h1_scan *s, struct bytes in, const struct h1_limits *lim)
{
	struct bytes line;

	for (;;) {
		TRY(h1_scan_line(s, in, lim->header_bytes, &line));
		if (line.n == 0)
			return ERR_OK;
		if (s->lines - 1 > lim->fields)
			return ERR_HTTP_HEADER_TOO_LARGE;
	}
}

enum err h1_parse_field(struct bytes in, size_t *at, struct http_field *out)
{
	struct bytes rest = bytes_from(in, *at);
	size_t name = http_run(rest, HTTP_CHAR_TOKEN);
	size_t from = name + 1, end;

	/* also refuses folded lines, which begin with white space, and white space before ':' */
	if (name == 0 || name == rest.n || rest.p[name] != ':')
		return ERR_HTTP_SYNTAX;
	while (from < rest.n && (rest.p[from] == ' ' || rest.p[from] == '\t'))
		from++;
	end = from + http_text_run(bytes_from(rest, from));
	if (rest.n - end < 2 || rest.p[end] != '\r' || rest.p[end + 1] != '\n')
		return ERR_HTTP_SYNTAX;
	*at += end + 2;
	while (end > from && (rest.p[end - 1] == ' ' || rest.p[end - 1] == '\t'))
		end--;
	*out = (struct http_field){ bytes_of(rest.p, name), bytes_of(rest.p + from, end - from) };
	return ERR_OK;
}

/* RFC 9110 7.6.1 */
static enum err note_options(struct bytes value, struct h1_facts *facts)
{
	struct bytes item;

	while (http_list_next(&value, &item)) {
		if (!http_token_ok(item) || ++facts->options > OPTIONS_MAX)
			return ERR_HTTP_SYNTAX;
		if (bytes_ieq(item, BYTES_LIT("close")))
			facts->close = true;
		else if (bytes_ieq(item, BYTES_LIT("keep-alive")))
			facts->keep_alive = true;
		else if (bytes_ieq(item, BYTES_LIT("upgrade")))
			facts->upgrade = true;
	}
	return ERR_OK;
}

static enum err note_field(const struct http_field *f, struct h1_facts *facts)
{
	switch (http_name_known(f->name)) {
	case HTTP_HOST:
		facts->hosts++;
		facts->host = f->value;
		break;
	case HTTP_CONTENT_LENGTH:
		facts->lengths++;
		facts->length = f->value;
		break;
	case HTTP_TRANSFER_ENCODING:
		facts->codings++;
		facts->coding = f->value;
		break;
	case HTTP_CONNECTION:
		return note_options(f->value, facts);
	case HTTP_UPGRADE:
		facts->upgrades++;
		facts->proto = f->value;
		break;
	case HTTP_EXPECT:
		facts->expects++;
		facts->expect = f->value;
		break;
	case HTTP_AUTHORIZATION:
		facts->logins++;
		break;
	case HTTP_CONTENT_TYPE:
		facts->types++;
		break;
	case HTTP_FRAMING_TWIN:
		facts->twin = true;
		break;
	case HTTP_TE:
	case HTTP_OTHER:
		break;
	}
	return ERR_OK;
}

enum err h1_parse_fields(struct bytes in, struct http_fields *out, struct h1_facts *facts)
{
	size_t at = 0;

	*facts = (struct h1_facts){ 0 };
	while (at < in.n && in.p[at] != '\r') {
		struct http_field f;

		TRY(h1_parse_field(in, &at, &f));
		TRY(http_fields_add(out, f.name, f.value));
		TRY(note_field(&f, facts));
	}
	/* the first pass ended at an empty line: a lone CR before it is none */
	return in.n - at == 2 ? ERR_OK : ERR_HTTP_SYNTAX;
}

enum err h1_parse_length(struct bytes value, uint64_t *out)
{
	/* RFC 9110 8.6: also "5, 5" is refused, whether or not the members agree */
	if (bytes_to_u64(value, out) != ERR_OK || *out > INT64_MAX)
		return ERR_HTTP_AMBIGUOUS;
	return ERR_OK;
}
