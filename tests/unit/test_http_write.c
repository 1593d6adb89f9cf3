/*
 * test_http_write.c - what is written: exact bytes, nothing injected, and read back the same
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "gateway/http/http.h"
#include "tests/lib/guard.h"

#define ROOM 4096
#define GET .method = BYTES_LIT("GET"), .authority = BYTES_LIT("a.example"), \
	    .path = BYTES_LIT("/"), .keep_alive = true

static const struct h1_limits limits = H1_LIMITS_DEFAULT;

static void assert_wrote(struct buf *out, const char *want)
{
	char text[ROOM + 1];

	assert_true(bytes_to_str(buf_bytes(out), text, sizeof(text)));
	assert_string_equal(text, want);
	buf_clear(out);
}

static void writes_requests(void **state)
{
	static const struct {
		struct http_request req;
		const char *want;
	} v[] = {
		{ { GET }, "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n" },
		{ { GET, .has_query = true }, "GET /? HTTP/1.1\r\nHost: a.example\r\n\r\n" },
		{ { GET, .has_query = true, .query = BYTES_LIT("b=c?d") },
		  "GET /?b=c?d HTTP/1.1\r\nHost: a.example\r\n\r\n" },
		{ { GET, .target = BYTES_LIT("/other"), .minor = 0 },
		  "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n" },
		{ { GET, .framing = HTTP_BODY_CHUNKED },
		  "GET / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n" },
		{ { GET, .framing = HTTP_BODY_LENGTH, .length = UINT64_MAX },
		  "GET / HTTP/1.1\r\nHost: a.example\r\n"
		  "Content-Length: 18446744073709551615\r\n\r\n" },
		{ { .method = BYTES_LIT("OPTIONS"), .authority = BYTES_LIT("[::1]:8443"),
		    .path = BYTES_LIT("*") },
		  "OPTIONS * HTTP/1.1\r\nHost: [::1]:8443\r\nConnection: close\r\n\r\n" },
		{ { .method = BYTES_LIT("CONNECT"), .authority = BYTES_LIT("a.example:443"),
		    .keep_alive = true },
		  "CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\n" },
		{ { GET, .framing = HTTP_BODY_LENGTH, .length = 1, .expect_continue = true },
		  "GET / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 1\r\n"
		  "Expect: 100-continue\r\n\r\n" },
		{ { GET, .upgrade = true, .upgrade_proto = BYTES_LIT("websocket") },
		  "GET / HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade\r\n"
		  "Upgrade: websocket\r\n\r\n" },
	};
	struct buf out;

	(void)state;
	buf_init(&out, ROOM);
	for (size_t i = 0; i < ARRAY_SIZE(v); i++) {
		assert_int_equal(h1_write_request(&out, &v[i].req), ERR_OK);
		assert_wrote(&out, v[i].want);
	}
	buf_release(&out);
}

/* What frames or routes comes from the members; such fields in the list are not written. */
static void members_rule_over_fields(void **state)
{
	struct http_field f[] = {
		{ BYTES_LIT("Accept"), BYTES_LIT("*/*") },
		{ BYTES_LIT("HOST"), BYTES_LIT("b.example") },
		{ BYTES_LIT("content-length"), BYTES_LIT("9") },
		{ BYTES_LIT("Transfer-Encoding"), BYTES_LIT("gzip") },
		{ BYTES_LIT("transfer_encoding"), BYTES_LIT("chunked") },
		{ BYTES_LIT("Connection"), BYTES_LIT("x") },
		{ BYTES_LIT("Upgrade"), BYTES_LIT("y") },
		{ BYTES_LIT("Expect"), BYTES_LIT("z") },
		{ BYTES_LIT("TE"), BYTES_LIT("trailers") },
		{ BYTES_LIT("X"), BYTES_LIT("") },
	};
	struct http_request req = { GET, .fields = { f, ARRAY_SIZE(f), ARRAY_SIZE(f) },
				    .framing = HTTP_BODY_LENGTH, .length = 5 };
	struct http_response resp = { .status = 200, .reason = BYTES_LIT("Fine"),
				      .fields = req.fields, .framing = HTTP_BODY_CHUNKED };
	struct buf out;

	(void)state;
	buf_init(&out, ROOM);
	assert_int_equal(h1_write_request(&out, &req), ERR_OK);
	assert_wrote(&out, "GET / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\n"
		     "Connection: TE\r\nAccept: */*\r\nTE: trailers\r\nX: \r\n\r\n");
	assert_int_equal(h1_write_response(&out, &resp), ERR_OK);
	assert_wrote(&out, "HTTP/1.1 200 Fine\r\nTransfer-Encoding: chunked\r\n"
		     "Connection: close\r\nAccept: */*\r\nTE: trailers\r\nX: \r\n\r\n");
	buf_release(&out);
}

static void writes_responses(void **state)
{
	static const struct {
		struct http_response resp;
		const char *want;
	} v[] = {
		{ { .status = 200, .minor = 1, .keep_alive = true, .framing = HTTP_BODY_LENGTH },
		  "HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n" },
		{ { .status = 200, .minor = 0, .keep_alive = true, .framing = HTTP_BODY_LENGTH },
		  "HTTP/1.1 200 \r\nContent-Length: 0\r\nConnection: keep-alive\r\n\r\n" },
		{ { .status = 200, .minor = 1, .framing = HTTP_BODY_CLOSE },
		  "HTTP/1.1 200 \r\nConnection: close\r\n\r\n" },
		{ { .status = 304, .minor = 1, .keep_alive = true, .has_length = true,
		    .length = 7 },
		  "HTTP/1.1 304 \r\nContent-Length: 7\r\n\r\n" },
		{ { .status = 204, .minor = 1, .keep_alive = true }, "HTTP/1.1 204 \r\n\r\n" },
		{ { .status = 100, .minor = 1, .reason = BYTES_LIT("Continue") },
		  "HTTP/1.1 100 Continue\r\n\r\n" },
		{ { .status = 101, .minor = 1, .keep_alive = true, .upgrade = true,
		    .upgrade_proto = BYTES_LIT("websocket") },
		  "HTTP/1.1 101 \r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n" },
	};
	struct buf out;

	(void)state;
	buf_init(&out, ROOM);
	for (size_t i = 0; i < ARRAY_SIZE(v); i++) {
		assert_int_equal(h1_write_response(&out, &v[i].resp), ERR_OK);
		assert_wrote(&out, v[i].want);
	}
	buf_release(&out);
}

static void expect_refused(const struct http_request *req, enum err want)
{
	struct buf out;

	buf_init(&out, ROOM);
	assert_int_equal(buf_append_str(&out, "before"), ERR_OK);
	assert_int_equal(h1_write_request(&out, req), want);
	assert_wrote(&out, "before");
	buf_release(&out);
}

/* Every part with every byte that could end it, and with each whole word of an attack. */
static void injects_nothing_in_requests(void **state)
{
	static const struct bytes evil[] = {
		BYTES_LIT("a\r\nX: y"), BYTES_LIT("a\nb"), BYTES_LIT("a\rb"), BYTES_LIT("\r\n\r\n"),
		BYTES_LIT("a\0b"), BYTES_LIT("\n"), BYTES_LIT("a\x7f"), BYTES_LIT("\x01"),
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(evil); i++) {
		struct http_field f = { BYTES_LIT("X"), BYTES_LIT("y") };
		struct http_request base = { GET, .fields = { &f, 1, 1 } }, req;

		req = base;
		req.method = evil[i];
		expect_refused(&req, ERR_BAD_VALUE);
		req = base;
		req.path = evil[i];
		expect_refused(&req, ERR_BAD_VALUE);
		req = base;
		req.query = evil[i];
		req.has_query = true;
		expect_refused(&req, ERR_BAD_VALUE);
		req = base;
		req.authority = evil[i];
		expect_refused(&req, ERR_BAD_VALUE);
		req = base;
		req.upgrade = true;
		req.upgrade_proto = evil[i];
		expect_refused(&req, ERR_BAD_VALUE);
		f.name = evil[i];
		expect_refused(&base, ERR_BAD_VALUE);
		f = (struct http_field){ BYTES_LIT("X"), evil[i] };
		expect_refused(&base, ERR_BAD_VALUE);
	}
}

static void refuses_what_cannot_be_said(void **state)
{
	static const struct {
		struct http_request req;
		enum err want;
	} v[] = {
		{ { .method = BYTES_LIT("GET"), .path = BYTES_LIT("/") }, ERR_INTERNAL },
		{ { GET, .framing = HTTP_BODY_CLOSE }, ERR_INTERNAL },
		{ { .method = BYTES_LIT(""), .authority = BYTES_LIT("a"), .path = BYTES_LIT("/") },
		  ERR_BAD_VALUE },
		{ { .method = BYTES_LIT("G T"), .authority = BYTES_LIT("a"),
		    .path = BYTES_LIT("/") }, ERR_BAD_VALUE },
		{ { .method = BYTES_LIT("GET"), .authority = BYTES_LIT("a") }, ERR_BAD_VALUE },
		{ { .method = BYTES_LIT("GET"), .authority = BYTES_LIT("a"),
		    .path = BYTES_LIT("b") }, ERR_BAD_VALUE },
		{ { .method = BYTES_LIT("GET"), .authority = BYTES_LIT("a"),
		    .path = BYTES_LIT("/ HTTP/1.1") }, ERR_BAD_VALUE },
		{ { .method = BYTES_LIT("GET"), .authority = BYTES_LIT("a"),
		    .path = BYTES_LIT("*") }, ERR_BAD_VALUE },
		{ { .method = BYTES_LIT("GET"), .authority = BYTES_LIT("a"),
		    .path = BYTES_LIT("/?") }, ERR_BAD_VALUE },
		{ { .method = BYTES_LIT("GET"), .authority = BYTES_LIT("u@a"),
		    .path = BYTES_LIT("/") }, ERR_BAD_VALUE },
		{ { .method = BYTES_LIT("CONNECT"), .authority = BYTES_LIT("a:1"),
		    .path = BYTES_LIT("/") }, ERR_BAD_VALUE },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(v); i++)
		expect_refused(&v[i].req, v[i].want);
}

static void injects_nothing_in_responses(void **state)
{
	struct http_field f = { BYTES_LIT("X"), BYTES_LIT("y\r\nZ: 1") };
	struct http_response v[] = {
		{ .status = 200, .reason = BYTES_LIT("OK\r\nX: y") },
		{ .status = 200, .reason = BYTES_LIT("OK\n") },
		{ .status = 99 },
		{ .status = 1000 },
		{ .status = 200, .fields = { &f, 1, 1 } },
		{ .status = 101, .upgrade = true, .upgrade_proto = BYTES_LIT("a\r\n") },
	};
	struct http_fields trailers = { &f, 1, 1 };
	struct buf out;

	(void)state;
	buf_init(&out, ROOM);
	for (size_t i = 0; i < ARRAY_SIZE(v); i++)
		assert_int_equal(h1_write_response(&out, &v[i]), ERR_BAD_VALUE);
	assert_int_equal(h1_write_last_chunk(&out, &trailers), ERR_BAD_VALUE);
	assert_int_equal(buf_len(&out), 0);
	buf_release(&out);
}

static void writes_chunks(void **state)
{
	struct http_field f[] = {
		{ BYTES_LIT("Content-Length"), BYTES_LIT("5") },
		{ BYTES_LIT("grpc-status"), BYTES_LIT("0") },
	};
	struct http_fields trailers = { f, 2, 2 };
	struct buf out;

	(void)state;
	buf_init(&out, ROOM);
	assert_int_equal(h1_write_chunk_head(&out, 0), ERR_INTERNAL);
	assert_int_equal(h1_write_chunk_head(&out, 255), ERR_OK);
	assert_int_equal(h1_write_chunk_tail(&out), ERR_OK);
	assert_wrote(&out, "ff\r\n\r\n");
	assert_int_equal(h1_write_chunk_head(&out, UINT64_MAX), ERR_OK);
	assert_int_equal(h1_write_chunk_tail(&out), ERR_OK);
	assert_int_equal(buf_len(&out), H1_CHUNK_OVERHEAD);
	assert_wrote(&out, "ffffffffffffffff\r\n\r\n");
	assert_int_equal(h1_write_last_chunk(&out, NULL), ERR_OK);
	assert_wrote(&out, "0\r\n\r\n");
	assert_int_equal(h1_write_last_chunk(&out, &trailers), ERR_OK);
	assert_wrote(&out, "0\r\ngrpc-status: 0\r\n\r\n");
	buf_release(&out);
}

/* A full buffer is back-pressure: nothing is written; the same call works when there is room. */
static void waits_for_room(void **state)
{
	struct http_request req = { GET };
	struct http_response resp = { .status = 200 };
	struct buf out;

	(void)state;
	buf_init(&out, 16);
	assert_int_equal(h1_write_request(&out, &req), ERR_AGAIN);
	assert_int_equal(h1_write_response(&out, &resp), ERR_AGAIN);
	assert_int_equal(buf_len(&out), 0);
	out.max = ROOM;
	assert_int_equal(h1_write_request(&out, &req), ERR_OK);
	buf_release(&out);
}

/* parse, strip, write, parse: the same message, and writing it again gives the same bytes. */
static void reads_back_what_it_wrote(void **state)
{
	static const char *const heads[] = {
		"GET /a%20b?c=d HTTP/1.1\r\nHost: a.example:8443\r\nX: y\r\nX: z\r\n\r\n",
		("POST http://A.example/x HTTP/1.1\r\nHost: a.example\r\n"
		 "Transfer-Encoding: chunked\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\n"
		 "Keep-Alive: 5\r\nX: \xff\ty\r\n\r\n"),
		"PUT /{a}|b HTTP/1.1\r\nhost:a.b\r\ncontent-length:  1 \r\nTE: trailers\r\n\r\n",
		"OPTIONS * HTTP/1.1\r\nHost: [2001:db8::1]\r\n\r\n",
		"GET /? HTTP/1.0\r\nHost: a.example\r\nConnection: keep-alive\r\n\r\n",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(heads); i++) {
		struct http_request a = { 0 }, b = { 0 };
		struct h1_scan scan = { 0 };
		struct buf first, second;
		size_t used;

		buf_init(&first, ROOM);
		buf_init(&second, ROOM);
		assert_int_equal(h1_parse_request(&scan, bytes_str(heads[i]), &limits, &a, &used),
				 ERR_OK);
		http_strip_hop_by_hop(&a.fields);
		assert_null(http_fields_find(&a.fields, BYTES_LIT("x-hop")));
		assert_int_equal(h1_write_request(&first, &a), ERR_OK);
		assert_int_equal(h1_parse_request(&scan, buf_bytes(&first), &limits, &b, &used),
				 ERR_OK);
		assert_int_equal(used, buf_len(&first));
		assert_true(bytes_eq(a.method, b.method) && bytes_eq(a.path, b.path));
		assert_true(bytes_eq(a.query, b.query) && a.has_query == b.has_query);
		assert_true(bytes_eq(a.authority, b.authority) && a.length == b.length);
		assert_true(a.framing == b.framing && a.keep_alive == b.keep_alive);
		assert_int_equal(h1_write_request(&second, &b), ERR_OK);
		assert_true(bytes_eq(buf_bytes(&first), buf_bytes(&second)));
		buf_release(&first);
		buf_release(&second);
		http_request_release(&a);
		http_request_release(&b);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(writes_requests),
		cmocka_unit_test(members_rule_over_fields),
		cmocka_unit_test(writes_responses),
		cmocka_unit_test(injects_nothing_in_requests),
		cmocka_unit_test(refuses_what_cannot_be_said),
		cmocka_unit_test(injects_nothing_in_responses),
		cmocka_unit_test(writes_chunks),
		cmocka_unit_test(waits_for_room),
		cmocka_unit_test(reads_back_what_it_wrote),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
