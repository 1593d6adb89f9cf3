/*
 * test_http_body.c - where bodies end: every vector whole, cut in two anywhere, byte by byte
 *
 * The data that comes out, the end, the trailers and the error must not depend on the cuts.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>

#include "gateway/http/http.h"
#include "tests/lib/guard.h"

#define DATA_MAX 8192

struct vector {
	const char *in;
	size_t n;
	enum err want;
	const char *data;	/* what comes out, before an error too unless NULL */
	const char *trailers;	/* "name=value|..." */
	size_t after;		/* bytes that belong to the next message */
	bool open;		/* not done when all was eaten */
};

#define FINE(in, data) { in, sizeof(in) - 1, ERR_OK, data, "", 0, false }
#define TRAIL(in, data, trailers) { in, sizeof(in) - 1, ERR_OK, data, trailers, 0, false }
#define NEXT(in, data, after) { in, sizeof(in) - 1, ERR_OK, data, "", after, false }
#define OPEN(in, data) { in, sizeof(in) - 1, ERR_OK, data, "", 0, true }
#define BIG(in) { in, sizeof(in) - 1, ERR_HTTP_HEADER_TOO_LARGE, "", "", 0, false }
#define BAD(in) { in, sizeof(in) - 1, ERR_HTTP_SYNTAX, NULL, "", 0, false }

static const struct h1_limits limits = {
	.header_bytes = 100, .fields = 4, .target_bytes = 100, .trailer_bytes = 60,
};

struct run {
	struct h1_body body;
	enum err e;
	size_t eaten, n;
	char data[DATA_MAX];
};

static void begin(struct run *r, enum http_framing framing, uint64_t length, enum http_side side)
{
	h1_body_init(&r->body, side, framing, length, &limits);
	r->e = ERR_OK;
	r->eaten = r->n = 0;
}

/* Feeds text[0..n) from memory that ends at a guard page, until all is eaten or the body ends. */
static void feed(struct run *r, const char *text, size_t n)
{
	uint8_t *copy = guard_copy(text, n);
	struct bytes in = bytes_of(copy, n);

	while (r->e == ERR_OK && in.n && !h1_body_done(&r->body)) {
		struct bytes data;
		size_t used;

		r->e = h1_body_feed(&r->body, in, &used, &data);
		if (r->e != ERR_OK) {
			assert_int_equal(data.n + used, 0);
			break;
		}
		assert_true(used > 0 && used <= in.n);
		if (data.n) {
			assert_true(data.p >= in.p && data.p + data.n <= in.p + used);
			assert_true(r->n + data.n < DATA_MAX);
			memcpy(r->data + r->n, data.p, data.n);
			r->n += data.n;
		}
		r->eaten += used;
		in = bytes_from(in, used);
	}
	guard_free(copy);
}

static void trailers_text(const struct h1_body *b, char *dst, size_t max)
{
	const struct http_fields *f = h1_body_trailers(b);
	size_t n = 0;

	dst[0] = '\0';
	for (size_t i = 0; i < f->n; i++)
		n += (size_t)snprintf(dst + n, max - n, "%s%.*s=%.*s", i ? "|" : "",
				      (int)f->v[i].name.n, (const char *)f->v[i].name.p,
				      (int)f->v[i].value.n, (const char *)f->v[i].value.p);
}

static void judge(struct run *r, const struct vector *v, size_t index, size_t cut)
{
	char trailers[512];

	if (r->e != v->want)
		fail_msg("vector %zu cut %zu: %s, wanted %s: %s", index, cut, err_name(r->e),
			 err_name(v->want), v->in);
	if (v->data) {
		r->data[r->n] = '\0';
		assert_string_equal(r->data, v->data);
	}
	if (v->want != ERR_OK) {
		assert_false(h1_body_done(&r->body));
		return;
	}
	assert_int_equal(r->eaten, v->n - v->after);
	if (h1_body_done(&r->body) == v->open)
		fail_msg("vector %zu cut %zu: end not where it is", index, cut);
	trailers_text(&r->body, trailers, sizeof(trailers));
	assert_string_equal(trailers, v->trailers);
}

static void check(struct run *r, const struct vector *v, size_t index)
{
	for (size_t cut = 0; cut <= v->n; cut++) {
		begin(r, HTTP_BODY_CHUNKED, 0, HTTP_REQUEST);
		feed(r, v->in, cut);
		feed(r, v->in + cut, v->n - cut);
		judge(r, v, index, cut);
	}
	begin(r, HTTP_BODY_CHUNKED, 0, HTTP_REQUEST);
	for (size_t i = 0; i < v->n; i++)
		feed(r, v->in + i, 1);
	judge(r, v, index, v->n + 1);
}

static const struct vector taken[] = {
	FINE("0\r\n\r\n", ""),
	FINE("5\r\nhello\r\n0\r\n\r\n", "hello"),
	FINE("5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n", "hello world"),
	FINE("1\r\na\r\n1\r\nb\r\n1\r\nc\r\n00\r\n\r\n", "abc"),
	FINE("A\r\n0123456789\r\n0\r\n\r\n", "0123456789"),
	FINE("a\r\n0123456789\r\n0\r\n\r\n", "0123456789"),
	FINE("0000000000000005\r\nhello\r\n0\r\n\r\n", "hello"),
	FINE("5\r\n\r\n0\r\n\r\n0000000000000000\r\n\r\n", "\r\n0\r\n"),
	/* extensions */
	FINE("5;a\r\nhello\r\n0;b=c\r\n\r\n", "hello"),
	FINE("5;a=\"b;c\"\t;d\r\nhello\r\n0\r\n\r\n", "hello"),
	FINE("5;\r\nhello\r\n0;\r\n\r\n", "hello"),
	/* the next message is not touched */
	NEXT("0\r\n\r\nGET /", "", 5),
	NEXT("1\r\na\r\n0\r\n\r\n\r\n\r\n", "a", 4),
	{ "0\r\nx: y\r\n\r\n0\r\n\r\n", 16, ERR_OK, "", "x=y", 5, false },
	/* not there yet */
	OPEN("", ""),
	OPEN("5", ""),
	OPEN("5\r\nhel", "hel"),
	OPEN("5\r\nhello\r\n", "hello"),
	OPEN("0\r\n", ""),
	OPEN("0\r\nx: y\r\n", ""),
	OPEN("0\r\nx: y\r\n\r", ""),
	OPEN("7fffffffffffffff\r\na", "a"),
	OPEN("07fffffffffffff;x\r\na", "a"),
	/* trailers */
	TRAIL("0\r\nx: y\r\n\r\n", "", "x=y"),
	TRAIL("1\r\na\r\n0\r\nGrpc-Status:0\r\ngrpc-message: \r\n\r\n", "a",
	      "Grpc-Status=0|grpc-message="),
	TRAIL("0\r\nContent-Length: 5\r\nx: y\r\n\r\n", "", "x=y"),
	TRAIL("0\r\ntransfer-encoding: chunked\r\nx: y\r\n\r\n", "", "x=y"),
	TRAIL("0\r\nHOST: b.example\r\n\r\n", "", ""),
	TRAIL("0\r\nAuthorization: x\r\nCookie: a\r\nSet-Cookie: b\r\n\r\n", "", ""),
	TRAIL("0\r\nContent-Type: x\r\nContent-Encoding: gzip\r\n\r\n", "", ""),
	TRAIL("0\r\nx: 01234567890123456789012345678901234567890123456789012\r\n\r\n", "",
	      "x=01234567890123456789012345678901234567890123456789012"),
	TRAIL("0\r\na: 1\r\nb: 2\r\nc: 3\r\nd: 4\r\n\r\n", "", "a=1|b=2|c=3|d=4"),
};

static const struct vector refused[] = {
	/* the size */
	BAD("\r\n"),
	BAD("\n"),
	BAD(";a\r\n"),
	BAD(" 5\r\nhello\r\n0\r\n\r\n"),
	BAD("\t5\r\nhello\r\n0\r\n\r\n"),
	BAD("5 \r\nhello\r\n0\r\n\r\n"),
	BAD("5\t\r\nhello\r\n0\r\n\r\n"),
	BAD("5 ;a\r\nhello\r\n0\r\n\r\n"),
	BAD("+5\r\nhello\r\n0\r\n\r\n"),
	BAD("-5\r\nhello\r\n0\r\n\r\n"),
	BAD("-1\r\n"),
	BAD("0x5\r\nhello\r\n0\r\n\r\n"),
	BAD("5h\r\nhello\r\n0\r\n\r\n"),
	BAD("g\r\n"),
	BAD("`\r\n"),
	BAD("@\r\n"),
	BAD("/\r\n"),
	BAD(":\r\n"),
	BAD("5,5\r\nhello\r\n0\r\n\r\n"),
	BAD("5.0\r\nhello\r\n0\r\n\r\n"),
	BAD("\"5\"\r\nhello\r\n0\r\n\r\n"),
	BAD("\0"),
	BAD("5\0\r\nhello\r\n0\r\n\r\n"),
	BAD("\xef\xbc\x95\r\nhello\r\n0\r\n\r\n"),
	BAD("8000000000000000\r\n"),
	BAD("ffffffffffffffff\r\n"),
	BAD("fffffffffffffffff\r\n"),
	BAD("10000000000000000\r\n"),
	BAD("10000000000000005\r\nhello\r\n0\r\n\r\n"),
	BAD("00000000000000005\r\nhello\r\n0\r\n\r\n"),
	/* its line end */
	BAD("5\nhello\r\n0\r\n\r\n"),
	BAD("5\rhello\r\n0\r\n\r\n"),
	BAD("5\r\r\nhello\r\n0\r\n\r\n"),
	BAD("5\rX\nhello\r\n0\r\n\r\n"),
	BAD("0\n\r\n"),
	BAD("0\r\r\n"),
	/* extensions */
	BAD("5;a\nhello\r\n0\r\n\r\n"),
	BAD("5;a\rb\r\nhello\r\n0\r\n\r\n"),
	BAD("5;a=\"\n\"\r\nhello\r\n0\r\n\r\n"),
	BAD("5;a=\"\r\n\"\r\nhello\r\n0\r\n\r\n"),
	BAD("5;a\0\r\nhello\r\n0\r\n\r\n"),
	BAD("5;a\x7f\r\nhello\r\n0\r\n\r\n"),
	BAD("0;a\n\r\n"),
	/* the end of data */
	BAD("5\r\nhello0\r\n\r\n"),
	BAD("5\r\nhello\n0\r\n\r\n"),
	BAD("5\r\nhello\r0\r\n\r\n"),
	BAD("5\r\nhello!\r\n0\r\n\r\n"),
	BAD("5\r\nhell\r\n0\r\n\r\n"),
	BAD("5\r\nhelloXX0\r\n\r\n"),
	BAD("5\r\nhelloX\n0\r\n\r\n"),
	BAD("5\r\nhello\n\n0\r\n\r\n"),
	BAD("5\r\nhello\r\n\r\n0\r\n\r\n"),
	/* trailers */
	BAD("0\r\n\n"),
	BAD("0\r\nx: y\n\r\n"),
	BAD("0\r\nx: y\r\n\n"),
	BAD("0\r\nx : y\r\n\r\n"),
	BAD("0\r\n x: y\r\n\r\n"),
	BAD("0\r\nx: y\r\n z\r\n\r\n"),
	BAD("0\r\nx\r\n\r\n"),
	BAD("0\r\n: y\r\n\r\n"),
	BAD("0\r\nx: \0\r\n\r\n"),
	BAD("0\r\nx: a\rb\r\n\r\n"),
	BAD("0\r\n\rx: y\r\n\r\n"),
	BAD("0\r\n\r\r\n\r\n"),
	BAD("0\r\nHost : y\r\n\r\n"),
	BAD("0\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
	BIG("0\r\na:\r\nb:\r\nc:\r\nd:\r\ne:\r\n\r\n"),
	BIG("0\r\nx: 012345678901234567890123456789012345678901234567890123\r\n\r\n"),
};

static void takes_chunks(void **state)
{
	struct run r = { 0 };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(taken); i++)
		check(&r, &taken[i], i);
	h1_body_release(&r.body);
}

static void refuses_what_is_no_chunk(void **state)
{
	struct run r = { 0 };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(refused); i++)
		check(&r, &refused[i], i);
	h1_body_release(&r.body);
}

static void bounds_extensions(void **state)
{
	char text[2048];
	struct run r = { 0 };

	(void)state;
	for (size_t n = 1024; n <= 1025; n++) {
		memset(text, 'a', sizeof(text));
		memcpy(text, "1;", 2);
		memcpy(text + 2 + n, "\r\nx", 3);
		begin(&r, HTTP_BODY_CHUNKED, 0, HTTP_REQUEST);
		feed(&r, text, n + 5);
		assert_int_equal(r.e, n == 1024 ? ERR_OK : ERR_HTTP_SYNTAX);
	}
	h1_body_release(&r.body);
}

/* One call gives the data and eats the framing after it: the last data comes with the end. */
static void eats_framing_with_data(void **state)
{
	struct h1_body b = { 0 };
	struct bytes data, in = BYTES_LIT("5\r\nhello\r\n0\r\n\r\nnext");
	size_t used;

	(void)state;
	h1_body_init(&b, HTTP_RESPONSE, HTTP_BODY_CHUNKED, 0, &limits);
	assert_int_equal(h1_body_feed(&b, in, &used, &data), ERR_OK);
	assert_int_equal(used, in.n - 4);
	assert_int_equal(data.n, 5);
	assert_ptr_equal(data.p, in.p + 3);
	assert_true(h1_body_done(&b));
	h1_body_release(&b);
}

static void counts_lengths(void **state)
{
	static const char text[] = "hello world";
	struct run r = { 0 };

	(void)state;
	for (size_t length = 0; length < sizeof(text); length++)
		for (size_t cut = 0; cut < sizeof(text) - 1; cut++) {
			begin(&r, HTTP_BODY_LENGTH, length, HTTP_REQUEST);
			feed(&r, text, cut);
			feed(&r, text + cut, sizeof(text) - 1 - cut);
			assert_int_equal(r.eaten, length);
			assert_memory_equal(r.data, text, length);
			assert_true(h1_body_done(&r.body));
		}
	begin(&r, HTTP_BODY_LENGTH, INT64_MAX, HTTP_REQUEST);
	feed(&r, text, 5);
	assert_int_equal(r.n, 5);
	assert_false(h1_body_done(&r.body));
	begin(&r, HTTP_BODY_NONE, 0, HTTP_REQUEST);
	feed(&r, text, 5);
	assert_int_equal(r.eaten, 0);
	assert_true(h1_body_done(&r.body));
}

static void ends_at_eof_only_where_it_may(void **state)
{
	static const struct {
		enum http_framing framing;
		enum http_side side;
		uint64_t length;
		const char *in;
		enum err want;
	} v[] = {
		{ HTTP_BODY_CLOSE, HTTP_RESPONSE, 0, "", ERR_OK },
		{ HTTP_BODY_CLOSE, HTTP_RESPONSE, 0, "abc", ERR_OK },
		{ HTTP_BODY_NONE, HTTP_RESPONSE, 0, "", ERR_OK },
		{ HTTP_BODY_LENGTH, HTTP_RESPONSE, 3, "abc", ERR_OK },
		{ HTTP_BODY_LENGTH, HTTP_RESPONSE, 3, "ab", ERR_UPSTREAM_CLOSED },
		{ HTTP_BODY_LENGTH, HTTP_REQUEST, 3, "ab", ERR_CLOSED },
		{ HTTP_BODY_LENGTH, HTTP_REQUEST, 3, "", ERR_CLOSED },
		{ HTTP_BODY_CHUNKED, HTTP_RESPONSE, 0, "0\r\n\r\n", ERR_OK },
		{ HTTP_BODY_CHUNKED, HTTP_RESPONSE, 0, "0\r\n", ERR_UPSTREAM_CLOSED },
		{ HTTP_BODY_CHUNKED, HTTP_RESPONSE, 0, "0\r\nx: y\r\n", ERR_UPSTREAM_CLOSED },
		{ HTTP_BODY_CHUNKED, HTTP_RESPONSE, 0, "3\r\nabc\r\n", ERR_UPSTREAM_CLOSED },
		{ HTTP_BODY_CHUNKED, HTTP_REQUEST, 0, "3\r\nab", ERR_CLOSED },
	};
	struct run r = { 0 };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(v); i++) {
		begin(&r, v[i].framing, v[i].length, v[i].side);
		feed(&r, v[i].in, strlen(v[i].in));
		assert_int_equal(r.e, ERR_OK);
		assert_int_equal(h1_body_eof(&r.body), v[i].want);
		assert_int_equal(h1_body_done(&r.body), v[i].want == ERR_OK);
	}
	h1_body_release(&r.body);
}

/* The same fault is the agent's in a request and the upstream's in a response. */
static void blames_the_sender(void **state)
{
	struct run r = { 0 };

	(void)state;
	begin(&r, HTTP_BODY_CHUNKED, 0, HTTP_RESPONSE);
	feed(&r, "x", 1);
	assert_int_equal(r.e, ERR_UPSTREAM_HTTP);
	begin(&r, HTTP_BODY_CHUNKED, 0, HTTP_RESPONSE);
	feed(&r, refused[ARRAY_SIZE(refused) - 1].in, refused[ARRAY_SIZE(refused) - 1].n);
	assert_int_equal(r.e, ERR_UPSTREAM_HEADER_TOO_LARGE);
	h1_body_release(&r.body);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(takes_chunks),
		cmocka_unit_test(refuses_what_is_no_chunk),
		cmocka_unit_test(bounds_extensions),
		cmocka_unit_test(eats_framing_with_data),
		cmocka_unit_test(counts_lengths),
		cmocka_unit_test(ends_at_eof_only_where_it_may),
		cmocka_unit_test(blames_the_sender),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
