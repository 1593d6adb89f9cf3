/*
 * h1_write.c - heads and chunks of HTTP/1 from the model
 *
 * A head is measured first, then written into one reservation: so it is there as a whole or not at
 * all, and costs one bounds check. What frames the message, routes it or rules the connection comes
 * from members of the model alone. Every part is checked for bytes that would end it, also those
 * that a parser checked before: a rewriter or a later codec stood in between.
 */
#include "gateway/http/http_internal.h"

/* More than all that is written besides the caller's own parts. */
#define HEAD_FIXED 256

struct out {
	uint8_t *p;
};

static void put(struct out *o, struct bytes b)
{
	if (b.n)
		memcpy(o->p, b.p, b.n);
	o->p += b.n;
}

#define PUT(o, s) put(o, BYTES_LIT(s))

static void put_field(struct out *o, struct bytes name, struct bytes value)
{
	put(o, name);
	PUT(o, ": ");
	put(o, value);
	PUT(o, "\r\n");
}

static void put_length(struct out *o, uint64_t n)
{
	char text[20];	/* as many digits as 2^64 has */
	size_t at = sizeof(text);

	do {
		text[--at] = (char)('0' + n % 10);
		n /= 10;
	} while (n);
	put_field(o, BYTES_LIT("Content-Length"), bytes_of(text + at, sizeof(text) - at));
}

/* Written from the model, never from the list. */
static bool from_model(struct bytes name)
{
	switch (http_name_known(name)) {
	case HTTP_HOST:
	case HTTP_CONTENT_LENGTH:
	case HTTP_TRANSFER_ENCODING:
	case HTTP_CONNECTION:
	case HTTP_UPGRADE:
	case HTTP_EXPECT:
	case HTTP_FRAMING_TWIN:
		return true;
	default:
		return false;
	}
}

/* Adds what the fields will take to *size; notes whether TE is among them. */
static enum err measure_fields(const struct http_fields *f, size_t *size, bool *te)
{
	for (size_t i = 0; i < f->n; i++) {
		if (!http_token_ok(f->v[i].name) || !http_text_ok(f->v[i].value))
			return ERR_BAD_VALUE;
		*size += f->v[i].name.n + f->v[i].value.n + 4;
		*te |= http_name_known(f->v[i].name) == HTTP_TE;
	}
	return ERR_OK;
}

static void put_fields(struct out *o, const struct http_fields *f)
{
	for (size_t i = 0; i < f->n; i++)
		if (!from_model(f->v[i].name))
			put_field(o, f->v[i].name, f->v[i].value);
	PUT(o, "\r\n");
}

/* What the message says about its connection (RFC 9110 7.6.1, 7.8, 10.1.4). */
struct connection {
	bool close, keep_alive, te;
	struct bytes upgrade;	/* protocol, or none */
};

static void put_connection(struct out *o, const struct connection *c)
{
	struct bytes sep = BYTES_LIT("Connection: ");

	if (c->close) {
		put(o, sep);
		PUT(o, "close");
		sep = BYTES_LIT(", ");
	} else if (c->keep_alive) {
		put(o, sep);
		PUT(o, "keep-alive");
		sep = BYTES_LIT(", ");
	}
	if (c->upgrade.n) {
		put(o, sep);
		PUT(o, "Upgrade");
		sep = BYTES_LIT(", ");
	}
	if (c->te) {
		put(o, sep);
		PUT(o, "TE");
		sep = BYTES_LIT(", ");
	}
	if (sep.n == 2)
		PUT(o, "\r\n");
	if (c->upgrade.n)
		put_field(o, BYTES_LIT("Upgrade"), c->upgrade);
}

static bool is_connect(const struct http_request *req)
{
	return bytes_eq(req->method, BYTES_LIT("CONNECT"));
}

/* RFC 9112 3.2: origin-form, or what the two special methods ask for */
static bool target_ok(const struct http_request *req)
{
	if (http_run(req->path, HTTP_CHAR_PATH) != req->path.n ||
	    http_run(req->query, HTTP_CHAR_QUERY) != req->query.n)
		return false;
	if (is_connect(req))
		return req->path.n == 0 && !req->has_query;
	if (bytes_eq(req->path, BYTES_LIT("*")))
		return bytes_eq(req->method, BYTES_LIT("OPTIONS")) && !req->has_query;
	return req->path.n && req->path.p[0] == '/';
}

static enum err measure_request(const struct http_request *req, size_t *size, bool *te)
{
	struct bytes host;
	unsigned port;

	if (req->authority.n == 0 || req->framing == HTTP_BODY_CLOSE)
		return ERR_INTERNAL;
	if (!http_token_ok(req->method) || !http_host_split(req->authority, &host, &port) ||
	    !target_ok(req) || (req->upgrade && !http_text_ok(req->upgrade_proto)))
		return ERR_BAD_VALUE;
	*size = HEAD_FIXED + req->method.n + 2 * req->authority.n + req->path.n + req->query.n +
		req->upgrade_proto.n;
	return measure_fields(&req->fields, size, te);
}

static void put_target(struct out *o, const struct http_request *req)
{
	if (is_connect(req)) {
		put(o, req->authority);
		return;
	}
	put(o, req->path);
	if (req->has_query) {
		PUT(o, "?");
		put(o, req->query);
	}
}

enum err h1_write_request(struct buf *out, const struct http_request *req)
{
	struct connection c = { .close = !req->keep_alive };
	struct out o;
	uint8_t *begin;
	size_t size;

	TRY(measure_request(req, &size, &c.te));
	if (req->upgrade)
		c.upgrade = req->upgrade_proto;
	TRY(buf_reserve(out, size, &begin));
	o.p = begin;
	put(&o, req->method);
	PUT(&o, " ");
	put_target(&o, req);
	PUT(&o, " HTTP/1.1\r\n");
	put_field(&o, BYTES_LIT("Host"), req->authority);
	if (req->framing == HTTP_BODY_CHUNKED)
		PUT(&o, "Transfer-Encoding: chunked\r\n");
	else if (req->framing == HTTP_BODY_LENGTH)
		put_length(&o, req->length);
	if (req->expect_continue)
		PUT(&o, "Expect: 100-continue\r\n");
	put_connection(&o, &c);
	put_fields(&o, &req->fields);
	buf_commit(out, (size_t)(o.p - begin));
	return ERR_OK;
}

/* Three digits, as was checked, and the space that stands there even without a reason. */
static void put_status(struct out *o, unsigned status)
{
	const uint8_t text[] = { (uint8_t)('0' + status / 100), (uint8_t)('0' + status / 10 % 10),
				 (uint8_t)('0' + status % 10), ' ' };

	put(o, bytes_of(text, sizeof(text)));
}

enum err h1_write_response(struct buf *out, const struct http_response *resp)
{
	struct connection c = {
		.close = !resp->keep_alive && resp->status >= 200,
		.keep_alive = resp->keep_alive && resp->minor == 0,
	};
	size_t size = HEAD_FIXED + resp->reason.n + resp->upgrade_proto.n;
	bool te = false;
	struct out o;
	uint8_t *begin;

	if (resp->status < 100 || resp->status > 999 || !http_text_ok(resp->reason) ||
	    (resp->upgrade && !http_text_ok(resp->upgrade_proto)))
		return ERR_BAD_VALUE;
	TRY(measure_fields(&resp->fields, &size, &te));
	if (resp->upgrade)
		c.upgrade = resp->upgrade_proto;
	TRY(buf_reserve(out, size, &begin));
	o.p = begin;
	PUT(&o, "HTTP/1.1 ");
	put_status(&o, resp->status);
	put(&o, resp->reason);
	PUT(&o, "\r\n");
	if (resp->framing == HTTP_BODY_CHUNKED)
		PUT(&o, "Transfer-Encoding: chunked\r\n");
	else if (resp->framing == HTTP_BODY_LENGTH ||
		 (resp->framing == HTTP_BODY_NONE && resp->has_length))
		put_length(&o, resp->length);
	put_connection(&o, &c);
	put_fields(&o, &resp->fields);
	buf_commit(out, (size_t)(o.p - begin));
	return ERR_OK;
}

enum err h1_write_chunk_head(struct buf *out, uint64_t size)
{
	char text[H1_CHUNK_OVERHEAD];
	int n = snprintf(text, sizeof(text), "%llx\r\n", (unsigned long long)size);

	if (size == 0)
		return ERR_INTERNAL;
	return buf_append(out, bytes_of(text, (size_t)n));
}

enum err h1_write_chunk_tail(struct buf *out)
{
	return buf_append(out, BYTES_LIT("\r\n"));
}

enum err h1_write_last_chunk(struct buf *out, const struct http_fields *trailers)
{
	static const struct http_fields none;
	size_t size = 8;
	bool te = false;
	struct out o;
	uint8_t *begin;

	if (!trailers)
		trailers = &none;
	TRY(measure_fields(trailers, &size, &te));
	TRY(buf_reserve(out, size, &begin));
	o.p = begin;
	PUT(&o, "0\r\n");
	for (size_t i = 0; i < trailers->n; i++)
		if (http_trailer_allowed(trailers->v[i].name))
			put_field(&o, trailers->v[i].name, trailers->v[i].value);
	PUT(&o, "\r\n");
	buf_commit(out, (size_t)(o.p - begin));
	return ERR_OK;
}
