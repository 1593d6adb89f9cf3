/*
 * fuzz_http_head.c - heads: the same result however the bytes arrive; what is taken can be written,
 * and what was written is read back as the same message
 *
 * Byte 0: bit 0 response, bit 1 to a HEAD, bits 2.. where to cut. The rest is the head.
 */
#include <stdlib.h>

#include "gateway/http/http.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CHECK(x)                \
	do {                    \
		if (!(x))       \
			abort();\
	} while (0)

static const struct h1_limits limits = {
	.header_bytes = 512, .fields = 10, .target_bytes = 80, .trailer_bytes = 100,
};

static bool fields_eq(const struct http_fields *a, const struct http_fields *b)
{
	if (a->n != b->n)
		return false;
	for (size_t i = 0; i < a->n; i++)
		if (!bytes_eq(a->v[i].name, b->v[i].name) ||
		    !bytes_eq(a->v[i].value, b->v[i].value))
			return false;
	return true;
}

static bool request_eq(const struct http_request *a, const struct http_request *b)
{
	return bytes_eq(a->method, b->method) && bytes_eq(a->authority, b->authority) &&
	       bytes_eq(a->path, b->path) && bytes_eq(a->query, b->query) &&
	       a->has_query == b->has_query && a->framing == b->framing &&
	       a->expect_continue == b->expect_continue &&
	       a->length == b->length && a->keep_alive == b->keep_alive &&
	       a->upgrade == b->upgrade && bytes_eq(a->upgrade_proto, b->upgrade_proto);
}

static bool response_eq(const struct http_response *a, const struct http_response *b)
{
	return a->status == b->status && bytes_eq(a->reason, b->reason) &&
	       a->framing == b->framing && a->length == b->length &&
	       a->has_length == b->has_length && a->keep_alive == b->keep_alive &&
	       a->upgrade == b->upgrade && bytes_eq(a->upgrade_proto, b->upgrade_proto);
}

/* A prefix first, from memory that is gone when the rest arrives. */
static enum err parse_cut(struct bytes in, size_t cut, struct bytes method,
			  struct http_request *req, struct http_response *resp, size_t *used)
{
	struct h1_scan scan = { 0 };
	uint8_t *copy = malloc(cut + 1);
	struct bytes first = bytes_of(copy, cut);
	enum err e;

	CHECK(copy);
	memcpy(copy, in.p, cut);
	e = req ? h1_parse_request(&scan, first, &limits, req, used) :
		  h1_parse_response(&scan, first, &limits, method, resp, used);
	memset(copy, '#', cut);
	free(copy);
	if (e != ERR_OK && e != ERR_AGAIN)
		return e;
	if (e == ERR_OK)	/* complete before the cut: look again, its memory is gone */
		scan = (struct h1_scan){ 0 };
	return req ? h1_parse_request(&scan, in, &limits, req, used) :
		     h1_parse_response(&scan, in, &limits, method, resp, used);
}

static void fuzz_request(struct bytes in, size_t cut)
{
	struct http_request a = { 0 }, b = { 0 }, c = { 0 };
	size_t used, used_cut, n;
	struct h1_scan scan = { 0 };
	struct buf out;
	enum err e = parse_cut(in, 0, BYTES_NONE, &a, NULL, &used);

	CHECK(parse_cut(in, cut, BYTES_NONE, &b, NULL, &used_cut) == e && used == used_cut);
	if (e == ERR_OK) {
		CHECK(used <= in.n && used <= limits.header_bytes && used >= 4);
		CHECK(memcmp(in.p + used - 4, "\r\n\r\n", 4) == 0);
		CHECK(request_eq(&a, &b) && fields_eq(&a.fields, &b.fields));
		CHECK(a.framing != HTTP_BODY_CLOSE);
		buf_init(&out, 8192);
		http_strip_hop_by_hop(&a.fields);
		e = h1_write_request(&out, &a);
		CHECK(e == (a.authority.n ? ERR_OK : ERR_INTERNAL));
		if (e == ERR_OK) {
			static const struct h1_limits wide = H1_LIMITS_DEFAULT;

			CHECK(h1_parse_request(&scan, buf_bytes(&out), &wide, &c, &n) == ERR_OK);
			CHECK(n == buf_len(&out) && request_eq(&a, &c));
		}
		buf_release(&out);
	}
	http_request_release(&a);
	http_request_release(&b);
	http_request_release(&c);
}

static void fuzz_response(struct bytes in, size_t cut, bool head)
{
	struct bytes method = head ? BYTES_LIT("HEAD") : BYTES_LIT("GET");
	struct http_response a = { 0 }, b = { 0 }, c = { 0 };
	size_t used, used_cut, n;
	struct h1_scan scan = { 0 };
	struct buf out;
	enum err e = parse_cut(in, 0, method, NULL, &a, &used);

	CHECK(parse_cut(in, cut, method, NULL, &b, &used_cut) == e && used == used_cut);
	CHECK(e == ERR_OK || e == ERR_AGAIN || err_class(e) == ERR_CLASS_UPSTREAM);
	if (e == ERR_OK) {
		static const struct h1_limits wide = H1_LIMITS_DEFAULT;

		CHECK(response_eq(&a, &b) && fields_eq(&a.fields, &b.fields));
		CHECK(a.framing == HTTP_BODY_NONE || http_has_body(a.status, method));
		CHECK(a.framing != HTTP_BODY_CLOSE || !a.keep_alive);
		if (a.status < 200)	/* interim: nothing is said about the connection */
			a.keep_alive = true;
		buf_init(&out, 8192);
		http_strip_hop_by_hop(&a.fields);
		CHECK(h1_write_response(&out, &a) == ERR_OK);
		CHECK(h1_parse_response(&scan, buf_bytes(&out), &wide, method, &c, &n) == ERR_OK);
		CHECK(n == buf_len(&out) && response_eq(&a, &c));
		buf_release(&out);
	}
	http_response_release(&a);
	http_response_release(&b);
	http_response_release(&c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct bytes in = bytes_of(data, size);
	size_t cut;

	if (size == 0)
		return 0;
	in.p++;
	in.n--;
	cut = in.n ? (size_t)(data[0] >> 2) * in.n / 63 : 0;
	if (data[0] & 1)
		fuzz_response(in, cut, data[0] & 2);
	else
		fuzz_request(in, cut);
	return 0;
}
