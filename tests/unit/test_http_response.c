/* test_http_response.c - response heads: framing by status and method, refusals, every split */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "gateway/http/http.h"
#include "tests/lib/guard.h"

#define DUMP_MAX 1024

struct vector {
	const char *method;
	const char *in;
	size_t n;
	enum err want;
	const char *dump;
};

#define OK(method, in, dump) { method, in, sizeof(in) - 1, ERR_OK, dump }
#define BAD(method, in) { method, in, sizeof(in) - 1, ERR_UPSTREAM_HTTP, "" }
#define L5 "Content-Length: 5\r\n"
#define CHUNKED "Transfer-Encoding: chunked\r\n"

static const struct h1_limits limits = {
	.header_bytes = 400, .fields = 8, .target_bytes = 100, .trailer_bytes = 100,
};

/* status reason minor framing length flags fields */
static void dump_response(char *dst, const struct http_response *r)
{
	static const char *const framing[] = { "none", "length", "chunked", "close" };

	snprintf(dst, DUMP_MAX, "%u (%.*s) 1.%u %s:%llu%s%s%s%.*s %zu", r->status,
		 (int)r->reason.n, (const char *)r->reason.p, r->minor, framing[r->framing],
		 (unsigned long long)r->length, r->has_length ? " announced" : "",
		 r->keep_alive ? " keep" : "", r->upgrade ? " upgrade=" : "",
		 (int)r->upgrade_proto.n, (const char *)r->upgrade_proto.p, r->fields.n);
}

static enum err parse_prefix(const struct vector *v, size_t n, struct h1_scan *scan,
			     struct http_response *resp, char *dump)
{
	uint8_t *copy = guard_copy(v->in, n);
	size_t used = 99;
	enum err e = h1_parse_response(scan, bytes_of(copy, n), &limits, bytes_str(v->method), resp,
				       &used);

	assert_int_equal(used, e == ERR_OK ? v->n : 0);
	if (e == ERR_OK)
		dump_response(dump, resp);
	guard_free(copy);
	return e;
}

static void check(const struct vector *v, size_t index)
{
	char whole[DUMP_MAX] = "", split[DUMP_MAX] = "";
	struct http_response resp = { 0 };
	struct h1_scan scan = { 0 };
	enum err e = parse_prefix(v, v->n, &scan, &resp, whole);

	if (e != v->want)
		fail_msg("vector %zu: %s: %s", index, err_name(e), v->in);
	assert_string_equal(whole, v->dump);
	for (size_t cut = 0; cut < v->n; cut++) {
		scan = (struct h1_scan){ 0 };
		split[0] = '\0';
		e = parse_prefix(v, cut, &scan, &resp, split);
		if (v->want == ERR_OK)
			assert_int_equal(e, ERR_AGAIN);
		if (e == ERR_AGAIN)
			e = parse_prefix(v, v->n, &scan, &resp, split);
		if (e != v->want)
			fail_msg("vector %zu cut at %zu: %s", index, cut, err_name(e));
		assert_string_equal(split, whole);
	}
	scan = (struct h1_scan){ 0 };
	e = ERR_AGAIN;
	for (size_t n = 0; n <= v->n && e == ERR_AGAIN; n++)
		e = parse_prefix(v, n, &scan, &resp, split);
	assert_int_equal(e, v->want);
	assert_string_equal(split, whole);
	http_response_release(&resp);
}

static const struct vector taken[] = {
	OK("GET", "HTTP/1.1 200 OK\r\n" L5 "\r\n", "200 (OK) 1.1 length:5 keep 1"),
	OK("GET", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "200 (OK) 1.1 length:0 keep 1"),
	OK("GET", "HTTP/1.1 200 OK\r\n" CHUNKED "\r\n", "200 (OK) 1.1 chunked:0 keep 1"),
	OK("GET", "HTTP/1.1 200 OK\r\n\r\n", "200 (OK) 1.1 close:0 0"),
	OK("GET", "HTTP/1.1 200 OK\r\nConnection: keep-alive\r\n\r\n", "200 (OK) 1.1 close:0 1"),
	OK("GET", "HTTP/1.1 200 OK\r\nConnection: close\r\n" L5 "\r\n", "200 (OK) 1.1 length:5 2"),
	OK("GET", "HTTP/1.0 200 OK\r\n" L5 "\r\n", "200 (OK) 1.0 length:5 1"),
	OK("GET", "HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\n" L5 "\r\n",
	   "200 (OK) 1.0 length:5 keep 2"),
	OK("GET", "HTTP/1.1 200 \r\n" L5 "\r\n", "200 () 1.1 length:5 keep 1"),
	OK("GET", "HTTP/1.1 200\r\n" L5 "\r\n", "200 () 1.1 length:5 keep 1"),
	OK("GET", "HTTP/1.1 200 a  b\t\xe9 \r\n" L5 "\r\n",
	   "200 (a  b\t\xe9 ) 1.1 length:5 keep 1"),
	OK("GET", "HTTP/1.1 999 No\r\n" L5 "\r\n", "999 (No) 1.1 length:5 keep 1"),
	OK("POST", "HTTP/1.1 404 Not Found\r\n" L5 "\r\n", "404 (Not Found) 1.1 length:5 keep 1"),
	/* no body whatever the fields say */
	OK("HEAD", "HTTP/1.1 200 OK\r\n" L5 "\r\n", "200 (OK) 1.1 none:5 announced keep 1"),
	OK("HEAD", "HTTP/1.1 200 OK\r\n" CHUNKED "\r\n", "200 (OK) 1.1 none:0 keep 1"),
	OK("HEAD", "HTTP/1.1 200 OK\r\n\r\n", "200 (OK) 1.1 none:0 keep 0"),
	OK("GET", "HTTP/1.1 304 Not Modified\r\n" L5 "\r\n",
	   "304 (Not Modified) 1.1 none:5 announced keep 1"),
	OK("GET", "HTTP/1.1 304 Not Modified\r\n\r\n", "304 (Not Modified) 1.1 none:0 keep 0"),
	OK("GET", "HTTP/1.1 204 No Content\r\n\r\n", "204 (No Content) 1.1 none:0 keep 0"),
	OK("GET", "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n",
	   "204 (No Content) 1.1 none:0 keep 1"),
	OK("GET", "HTTP/1.1 204 No Content\r\n" L5 "\r\n", "204 (No Content) 1.1 none:0 1"),
	OK("GET", "HTTP/1.1 204 No Content\r\n" CHUNKED "\r\n", "204 (No Content) 1.1 none:0 1"),
	OK("PUT", "HTTP/1.1 100 Continue\r\n\r\n", "100 (Continue) 1.1 none:0 keep 0"),
	OK("GET", "HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\n",
	   "103 (Early Hints) 1.1 none:0 keep 1"),
	OK("GET", "HTTP/1.1 101 S\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
	   "101 (S) 1.1 none:0 keep upgrade=websocket 2"),
	OK("CONNECT", "HTTP/1.1 200 OK\r\n\r\n", "200 (OK) 1.1 none:0 keep 0"),
	OK("CONNECT", "HTTP/1.1 200 OK\r\n" L5 "\r\n", "200 (OK) 1.1 none:0 1"),
	OK("CONNECT", "HTTP/1.1 403 No\r\n" L5 "\r\n", "403 (No) 1.1 length:5 keep 1"),
	OK("GET", "HTTP/1.1 205 Reset\r\nContent-Length: 0\r\n\r\n",
	   "205 (Reset) 1.1 length:0 keep 1"),
};

static const struct vector refused[] = {
	/* status line */
	BAD("GET", "\r\nHTTP/1.1 200 OK\r\n\r\n"),
	BAD("GET", " HTTP/1.1 200 OK\r\n\r\n"),
	BAD("GET", "\x15\x03\x01"),
	BAD("GET", "HTTX"),
	BAD("GET", "SSH-2.0-OpenSSH\r\n"),
	BAD("GET", "http/1.1 200 OK\r\n\r\n"),
	BAD("GET", "HTTP/2.0 200 OK\r\n\r\n"),
	BAD("GET", "HTTP/1.2 200 OK\r\n\r\n"),
	BAD("GET", "HTTP/1.1200 OK\r\n\r\n"),
	BAD("GET", "HTTP/1.1  200 OK\r\n\r\n"),
	BAD("GET", "HTTP/1.1\t200 OK\r\n\r\n"),
	BAD("GET", "HTTP/1.1 20 OK\r\n\r\n"),
	BAD("GET", "HTTP/1.1 2000 OK\r\n\r\n"),
	BAD("GET", "HTTP/1.1 099 OK\r\n\r\n"),
	BAD("GET", "HTTP/1.1 000 OK\r\n\r\n"),
	BAD("GET", "HTTP/1.1 +20 OK\r\n\r\n"),
	BAD("GET", "HTTP/1.1 2x0 OK\r\n\r\n"),
	BAD("GET", "HTTP/1.1 200\tOK\r\n\r\n"),
	BAD("GET", "HTTP/1.1 200OK\r\n\r\n"),
	BAD("GET", "HTTP/1.1\r\n\r\n"),
	BAD("GET", "HTTP/1.1 200 O\0K\r\n\r\n"),
	BAD("GET", "HTTP/1.1 200 O\x01K\r\n\r\n"),
	BAD("GET", "HTTP/1.1 200 O\rK\r\n\r\n"),
	BAD("GET", "HTTP/1.1 200 OK\n\n"),
	/* fields */
	BAD("GET", "HTTP/1.1 200 OK\r\nX: a\n\r\n"),
	BAD("GET", "HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n"),
	BAD("GET", "HTTP/1.1 200 OK\r\nX : a\r\n\r\n"),
	BAD("GET", "HTTP/1.1 200 OK\r\nX: a\0\r\n\r\n"),
	BAD("GET", "HTTP/1.1 200 OK\r\nX\r\n\r\n"),
	BAD("GET", "HTTP/1.1 200 OK\r\n: a\r\n\r\n"),
	/* framing: also where there is no body, a liar is not believed in anything */
	BAD("GET", "HTTP/1.1 200 OK\r\n" L5 CHUNKED "\r\n"),
	BAD("GET", "HTTP/1.1 200 OK\r\n" CHUNKED L5 "\r\n"),
	BAD("GET", "HTTP/1.1 200 OK\r\n" L5 L5 "\r\n"),
	BAD("GET", "HTTP/1.1 200 OK\r\n" L5 "Content-Length: 6\r\n\r\n"),
	BAD("GET", "HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\n"),
	BAD("GET", "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"),
	BAD("GET", "HTTP/1.1 200 OK\r\nContent-Length: 9223372036854775808\r\n\r\n"),
	BAD("GET", "HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\n"),
	BAD("GET", "HTTP/1.1 200 OK\r\n" CHUNKED CHUNKED "\r\n"),
	BAD("GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n"),
	BAD("GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n"),
	BAD("GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\n"),
	BAD("GET", "HTTP/1.0 200 OK\r\n" CHUNKED "\r\n"),
	BAD("HEAD", "HTTP/1.1 200 OK\r\n" L5 CHUNKED "\r\n"),
	BAD("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"),
	BAD("GET", "HTTP/1.1 304 N\r\n" L5 L5 "\r\n"),
	BAD("GET", "HTTP/1.1 100 Continue\r\n" L5 "\r\n"),
	BAD("GET", "HTTP/1.1 103 Early\r\n" CHUNKED "\r\n"),
	BAD("GET", "HTTP/1.1 101 S\r\n\r\n"),
	BAD("GET", "HTTP/1.1 101 S\r\nUpgrade: websocket\r\n\r\n"),
	BAD("GET", "HTTP/1.1 101 S\r\nConnection: upgrade\r\n\r\n"),
	BAD("GET", "HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: a\r\nUpgrade: b\r\n\r\n"),
};

static void takes_what_is_valid(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(taken); i++)
		check(&taken[i], i);
}

static void refuses_what_is_not(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(refused); i++)
		check(&refused[i], i);
}

static void keeps_its_limits(void **state)
{
	char text[512] = "HTTP/1.1 200 OK\r\nX: ";
	struct vector v = { "GET", text, limits.header_bytes, ERR_OK, "200 (OK) 1.1 close:0 1" };

	(void)state;
	memset(text + strlen(text), 'a', sizeof(text) - 1 - strlen(text));
	memcpy(text + v.n - 4, "\r\n\r\n", 4);
	check(&v, 0);
	memcpy(text + v.n - 4, "aaa\r\n\r\n", 7);
	v.n++;
	v.want = ERR_UPSTREAM_HEADER_TOO_LARGE;
	v.dump = "";
	check(&v, 1);
	strcpy(text, "HTTP/1.1 200 OK\r\na:\r\nb:\r\nc:\r\nd:\r\ne:\r\nf:\r\ng:\r\nh:\r\n\r\n");
	v.n = strlen(text);
	v.want = ERR_OK;
	v.dump = "200 (OK) 1.1 close:0 8";
	check(&v, 2);
	strcpy(text + v.n - 2, "i:\r\n\r\n");
	v.n = strlen(text);
	v.want = ERR_UPSTREAM_HEADER_TOO_LARGE;
	v.dump = "";
	check(&v, 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(takes_what_is_valid),
		cmocka_unit_test(refuses_what_is_not),
		cmocka_unit_test(keeps_its_limits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
