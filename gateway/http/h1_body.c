/*
 * h1_body.c - where an HTTP/1 body ends (RFC 9112 6, 7.1)
 *
 * A body passes through by reference: feed() never copies data. Chunked is a machine over bytes:
 *
 *   SIZE --CR--> SIZE_LF --LF--> DATA --all--> DATA_CR -> DATA_LF -> SIZE
 *     \--;--> EXT --CR--/     \--size 0--> TRAILER --empty line--> done
 *
 * Only framing bytes are looked at one by one. Trailer lines are the one thing kept: in memory of
 * the body's own, capped, wiped, since an upstream may put a real token there.
 *
 * Chunk extensions are skipped (7.1.1 allows it), 1 KiB per chunk at most. White space around a
 * chunk size is refused: readers disagree about it.
 */
#include "gateway/http/http_internal.h"

#define EXT_MAX 1024
#define SIZE_DIGITS 16

enum state { SIZE, EXT, SIZE_LF, DATA, DATA_CR, DATA_LF, TRAILER };

void h1_body_init(struct h1_body *b, enum http_side side, enum http_framing framing,
		  uint64_t length, const struct h1_limits *lim)
{
	struct http_fields trailers = b->trailers;
	struct buf bytes = b->trailer_bytes;

	bytes.max = lim->trailer_bytes;
	bytes.secret = true;
	buf_clear(&bytes);
	http_fields_reset(&trailers);
	*b = (struct h1_body){
		.side = side,
		.framing = framing,
		.left = framing == HTTP_BODY_LENGTH ? length : 0,
		.done = framing == HTTP_BODY_NONE || (framing == HTTP_BODY_LENGTH && length == 0),
		.max_fields = lim->fields,
		.trailer_bytes = bytes,
		.trailers = trailers,
	};
}

void h1_body_release(struct h1_body *b)
{
	buf_release(&b->trailer_bytes);
	http_fields_release(&b->trailers);
}

const struct http_fields *h1_body_trailers(const struct h1_body *b)
{
	return &b->trailers;
}

static int hex_value(uint8_t c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static enum err feed_size(struct h1_body *b, uint8_t c)
{
	int v = hex_value(c);

	if (v >= 0) {
		b->left = b->left << 4 | (uint64_t)v;
		/* 16 digits cannot overflow 64 bits; the sign bit is refused on top */
		return ++b->digits > SIZE_DIGITS || b->left > INT64_MAX ? ERR_HTTP_SYNTAX : ERR_OK;
	}
	if (b->digits == 0)
		return ERR_HTTP_SYNTAX;
	b->ext = 0;
	if (c == '\r')
		b->state = SIZE_LF;
	else if (c == ';')
		b->state = EXT;
	else
		return ERR_HTTP_SYNTAX;
	return ERR_OK;
}

static enum err feed_ext(struct h1_body *b, uint8_t c)
{
	if (c == '\r')
		b->state = SIZE_LF;
	else if (!http_text_ok(bytes_of(&c, 1)) || ++b->ext > EXT_MAX)
		return ERR_HTTP_SYNTAX;
	return ERR_OK;
}

/* One byte of framing between chunks. */
static enum err feed_framing(struct h1_body *b, uint8_t c)
{
	switch ((enum state)b->state) {
	case SIZE:
		return feed_size(b, c);
	case EXT:
		return feed_ext(b, c);
	case SIZE_LF:
		b->state = b->left ? DATA : TRAILER;
		return c == '\n' ? ERR_OK : ERR_HTTP_SYNTAX;
	case DATA_CR:
		b->state = DATA_LF;
		return c == '\r' ? ERR_OK : ERR_HTTP_SYNTAX;
	case DATA_LF:
		b->state = SIZE;
		b->digits = 0;
		return c == '\n' ? ERR_OK : ERR_HTTP_SYNTAX;
	case DATA:
	case TRAILER:
		break;
	}
	return ERR_INTERNAL;
}

/* The section is complete: take it apart, keep what may be a trailer. */
static enum err end_trailers(struct h1_body *b)
{
	struct bytes in = buf_bytes(&b->trailer_bytes);
	size_t at = 0;

	while (in.p[at] != '\r') {
		struct http_field f;

		TRY(h1_parse_field(in, &at, &f));
		if (http_trailer_allowed(f.name))
			TRY(http_fields_add(&b->trailers, f.name, f.value));
	}
	if (in.n - at != 2)
		return ERR_HTTP_SYNTAX;
	b->done = true;
	return ERR_OK;
}

/* Takes one line at most. */
static enum err feed_trailer(struct h1_body *b, struct bytes in, size_t *used)
{
	size_t n = bytes_index(in, '\n'), held = buf_len(&b->trailer_bytes);
	bool whole = n < in.n;
	struct bytes line;
	enum err e;

	if (held == 0 && bytes_starts(in, BYTES_LIT("\r\n"))) {	/* nearly always */
		*used = 2;
		b->done = true;
		return ERR_OK;
	}
	n += whole;
	*used = n;
	e = buf_append(&b->trailer_bytes, bytes_first(in, n));
	if (e != ERR_OK)
		return e == ERR_AGAIN ? ERR_HTTP_HEADER_TOO_LARGE : e;
	if (!whole)
		return ERR_OK;
	line = bytes_from(buf_bytes(&b->trailer_bytes), b->line);
	if (!bytes_ends(line, BYTES_LIT("\r\n")))
		return ERR_HTTP_SYNTAX;
	if (line.n == 2)
		return end_trailers(b);
	b->line += line.n;
	return ++b->lines > b->max_fields ? ERR_HTTP_HEADER_TOO_LARGE : ERR_OK;
}

static enum err feed_chunked(struct h1_body *b, struct bytes in, size_t *used, struct bytes *data)
{
	while (*used < in.n && !b->done) {
		struct bytes rest = bytes_from(in, *used);
		size_t n = 1;

		if (b->state == DATA) {
			if (data->n)
				return ERR_OK;
			*data = rest.n > b->left ? bytes_first(rest, (size_t)b->left) : rest;
			n = data->n;
			b->left -= n;
			if (b->left == 0)
				b->state = DATA_CR;
		} else if (b->state == TRAILER) {
			TRY(feed_trailer(b, rest, &n));
		} else {
			TRY(feed_framing(b, rest.p[0]));
		}
		*used += n;
	}
	return ERR_OK;
}

enum err h1_body_feed(struct h1_body *b, struct bytes in, size_t *used, struct bytes *data)
{
	enum err e;

	*used = 0;
	*data = BYTES_NONE;
	if (b->done || in.n == 0)
		return ERR_OK;
	switch (b->framing) {
	case HTTP_BODY_CHUNKED:
		e = feed_chunked(b, in, used, data);
		if (e != ERR_OK) {
			*used = 0;
			*data = BYTES_NONE;
		}
		return h1_side_err(b->side, e);
	case HTTP_BODY_LENGTH:
		*data = in.n > b->left ? bytes_first(in, (size_t)b->left) : in;
		b->left -= data->n;
		b->done = b->left == 0;
		break;
	case HTTP_BODY_CLOSE:
		*data = in;
		break;
	case HTTP_BODY_NONE:
		break;
	}
	*used = data->n;
	return ERR_OK;
}

enum err h1_body_eof(struct h1_body *b)
{
	if (b->framing == HTTP_BODY_CLOSE)
		b->done = true;
	if (b->done)
		return ERR_OK;
	return b->side == HTTP_REQUEST ? ERR_CLOSED : ERR_UPSTREAM_CLOSED;
}
