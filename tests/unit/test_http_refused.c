/* test_http_refused.c - request heads that are refused: malformed, ambiguous, smuggled */
#include "tests/unit/http_request_check.h"

static const struct vector refused[] = {
	/* start line */
	BAD("\r\n\r\nGET / HTTP/1.1\r\n" H E, HTTP_SYNTAX),
	BAD("\nGET / HTTP/1.1\r\n" H E, HTTP_SYNTAX),
	BAD("\r \nGET / HTTP/1.1\r\n" H E, HTTP_SYNTAX),
	BAD(" GET / HTTP/1.1\r\n" H E, HTTP_SYNTAX),
	BAD("\tGET / HTTP/1.1\r\n" H E, HTTP_SYNTAX),
	BAD("\x16\x03\x01\x02\x00\x01\x00", NOT_HTTP),
	BAD("\0", NOT_HTTP),
	BAD("\x80", NOT_HTTP),
	BAD("\r\n\x16", NOT_HTTP),
	BAD("GET  / HTTP/1.1\r\n" H E, HTTP_SYNTAX),
	BAD("GET\t/ HTTP/1.1\r\n" H E, HTTP_SYNTAX),
	BAD("GET /  HTTP/1.1\r\n" H E, HTTP_SYNTAX),
	BAD("GET /\tHTTP/1.1\r\n" H E, HTTP_SYNTAX),
	BAD("GET / HTTP/1.1 \r\n" H E, HTTP_SYNTAX),
	BAD("GET / HTTP/1.1\t\r\n" H E, HTTP_SYNTAX),
	BAD("GET /a b HTTP/1.1\r\n" H E, HTTP_SYNTAX),
	BAD("G(T / HTTP/1.1\r\n" H E, HTTP_SYNTAX),
	BAD("GET: / HTTP/1.1\r\n" H E, HTTP_SYNTAX),
	BAD("G\0T / HTTP/1.1\r\n" H E, HTTP_SYNTAX),
	BAD("ABCDEFGHIJKLMNOPQRSTUVWXYZ-ABCDEFG / HTTP/1.1\r\n" H E, HTTP_SYNTAX),
	BAD("GET\r\n\r\n", HTTP_SYNTAX),
	BAD("GET \r\n\r\n", HTTP_SYNTAX),
	BAD("GET / HTTP/1.1\n" H E, HTTP_SYNTAX),
	BAD("GET / HTTP/1.1\r\r\n" H E, HTTP_SYNTAX),
	BAD("GET / HTTP/1.1\rHost: a.example\r\n\r\n", HTTP_SYNTAX),
	/* versions */
	BAD("GET /\r\n", HTTP_VERSION),
	BAD("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", HTTP_VERSION),
	BAD("GET / HTTP/2.0\r\n" H E, HTTP_VERSION),
	BAD("GET / HTTP/0.9\r\n" H E, HTTP_VERSION),
	BAD("GET / HTTP/1.2\r\n" H E, HTTP_VERSION),
	BAD("GET / HTTP/3.0\r\n" H E, HTTP_VERSION),
	BAD("GET / http/1.1\r\n" H E, HTTP_SYNTAX),
	BAD("GET / HTTP/1.10\r\n" H E, HTTP_SYNTAX),
	BAD("GET / HTTP/01.1\r\n" H E, HTTP_SYNTAX),
	BAD("GET / HTTP/1,1\r\n" H E, HTTP_SYNTAX),
	BAD("GET / HTTP/1.\r\n" H E, HTTP_SYNTAX),
	BAD("GET / HTTP/+.1\r\n" H E, HTTP_SYNTAX),
	BAD("GET / HTTPS/1.1\r\n" H E, HTTP_SYNTAX),
	BAD("GET / \r\n" H E, HTTP_SYNTAX),
	/* targets */
	BAD("GET /#f HTTP/1.1\r\n" H E, HTTP_SYNTAX),
	BAD("GET /?a#f HTTP/1.1\r\n" H E, HTTP_SYNTAX),
	BAD("GET /a\\b HTTP/1.1\r\n" H E, HTTP_SYNTAX),
	BAD("GET /a\"b HTTP/1.1\r\n" H E, HTTP_SYNTAX),
	BAD("GET /a<b HTTP/1.1\r\n" H E, HTTP_SYNTAX),
	BAD("GET /a>b HTTP/1.1\r\n" H E, HTTP_SYNTAX),
	BAD("GET /% HTTP/1.1\r\n" H E, HTTP_SYNTAX),
	BAD("GET /%4 HTTP/1.1\r\n" H E, HTTP_SYNTAX),
	BAD("GET /%4g HTTP/1.1\r\n" H E, HTTP_SYNTAX),
	BAD("GET /%%41 HTTP/1.1\r\n" H E, HTTP_SYNTAX),
	BAD("GET /\x7f HTTP/1.1\r\n" H E, HTTP_SYNTAX),
	BAD("GET /\xc3\xa9 HTTP/1.1\r\n" H E, HTTP_SYNTAX),
	BAD("GET /?\xc3\xa9 HTTP/1.1\r\n" H E, HTTP_SYNTAX),
	BAD("GET /\0 HTTP/1.1\r\n" H E, HTTP_SYNTAX),
	BAD("GET /a\rb HTTP/1.1\r\n" H E, HTTP_SYNTAX),
	BAD("GET ?a HTTP/1.1\r\n" H E, HTTP_SYNTAX),
	BAD("GET a.example HTTP/1.1\r\n" H E, HTTP_SYNTAX),
	BAD("GET a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\n", HTTP_SYNTAX),
	BAD("GET * HTTP/1.1\r\n" H E, HTTP_SYNTAX),
	BAD("OPTIONS *a HTTP/1.1\r\n" H E, HTTP_SYNTAX),
	BAD("CONNECT / HTTP/1.1\r\n" H E, HTTP_SYNTAX),
	BAD("CONNECT a.example HTTP/1.1\r\n" H E, HTTP_SYNTAX),
	BAD("CONNECT http://a.example:443 HTTP/1.1\r\n" H E, HTTP_SYNTAX),
	BAD("GET http:///x HTTP/1.1\r\n" H E, HTTP_SYNTAX),
	BAD("GET http://u@a.example/ HTTP/1.1\r\n" H E, HTTP_SYNTAX),
	BAD("GET http://u:p@a.example/ HTTP/1.1\r\n" H E, HTTP_SYNTAX),
	BAD("GET http://a.example:/ HTTP/1.1\r\n" H E, HTTP_SYNTAX),
	BAD("GET http://a.example#f HTTP/1.1\r\n" H E, HTTP_SYNTAX),
	BAD("GET http://a.example\\@b/ HTTP/1.1\r\n" H E, HTTP_SYNTAX),
	BAD("GET ://a.example/ HTTP/1.1\r\n" H E, HTTP_SYNTAX),
	BAD("GET 1http://a.example/ HTTP/1.1\r\n" H E, HTTP_SYNTAX),
	BAD("GET ftp://a.example/ HTTP/1.1\r\n" H E, HTTP_UNSUPPORTED),
	BAD("GET file:///etc/passwd HTTP/1.1\r\n" H E, HTTP_UNSUPPORTED),
	BAD("GET http:/a.example HTTP/1.1\r\n" H E, HTTP_SYNTAX),
	/* Host */
	BAD("GET / HTTP/1.1\r\n\r\n", HTTP_SYNTAX),
	BAD("GET / HTTP/1.1\r\nHost:\r\n\r\n", HTTP_SYNTAX),
	BAD("GET / HTTP/1.1\r\n" H H E, HTTP_AMBIGUOUS),
	BAD("GET / HTTP/1.1\r\n" H "hOST: b.example\r\n\r\n", HTTP_AMBIGUOUS),
	BAD("GET / HTTP/1.0\r\n" H H E, HTTP_AMBIGUOUS),
	BAD("GET http://b.example/ HTTP/1.1\r\n" H E, HTTP_AMBIGUOUS),
	BAD("GET http://a.example:80/ HTTP/1.1\r\n" H E, HTTP_AMBIGUOUS),
	BAD("CONNECT a.example:443 HTTP/1.1\r\n" H E, HTTP_AMBIGUOUS),
	BAD("GET / HTTP/1.1\r\nHost: a.example, b.example\r\n\r\n", HTTP_SYNTAX),
	BAD("GET / HTTP/1.1\r\nHost: a.example b\r\n\r\n", HTTP_SYNTAX),
	BAD("GET / HTTP/1.1\r\nHost: u@a.example\r\n\r\n", HTTP_SYNTAX),
	BAD("GET / HTTP/1.1\r\nHost: a.example/x\r\n\r\n", HTTP_SYNTAX),
	BAD("GET / HTTP/1.1\r\nHost: http://a.example\r\n\r\n", HTTP_SYNTAX),
	BAD("GET / HTTP/1.1\r\nHost: a.example:\r\n\r\n", HTTP_SYNTAX),
	BAD("GET / HTTP/1.1\r\nHost: a.example:0\r\n\r\n", HTTP_SYNTAX),
	BAD("GET / HTTP/1.1\r\nHost: a.example:65536\r\n\r\n", HTTP_SYNTAX),
	BAD("GET / HTTP/1.1\r\nHost: a.example:080\r\n\r\n", HTTP_SYNTAX),
	BAD("GET / HTTP/1.1\r\nHost: a.example:+80\r\n\r\n", HTTP_SYNTAX),
	BAD("GET / HTTP/1.1\r\nHost: a.ex%61mple\r\n\r\n", HTTP_SYNTAX),
	BAD("GET / HTTP/1.1\r\nHost: a..example\r\n\r\n", HTTP_SYNTAX),
	BAD("GET / HTTP/1.1\r\nHost: 0x7f.1\r\n\r\n", HTTP_SYNTAX),
	BAD("GET / HTTP/1.1\r\nHost: 2130706433\r\n\r\n", HTTP_SYNTAX),
	BAD("GET / HTTP/1.1\r\nHost: [::1%25lo]\r\n\r\n", HTTP_SYNTAX),
	BAD("GET / HTTP/1.1\r\nHost : a.example\r\n\r\n", HTTP_SYNTAX),
	/* field lines */
	BAD("GET / HTTP/1.1\r\n" H "X : a\r\n\r\n", HTTP_SYNTAX),
	BAD("GET / HTTP/1.1\r\n" H "X\t: a\r\n\r\n", HTTP_SYNTAX),
	BAD("GET / HTTP/1.1\r\n" H " X: a\r\n\r\n", HTTP_SYNTAX),
	BAD("GET / HTTP/1.1\r\n X: a\r\n" H E, HTTP_SYNTAX),
	BAD("GET / HTTP/1.1\r\n" H "X: a\r\n b\r\n\r\n", HTTP_SYNTAX),
	BAD("GET / HTTP/1.1\r\n" H "X: a\r\n\tb\r\n\r\n", HTTP_SYNTAX),
	BAD("GET / HTTP/1.1\r\n" H "X: a\r\n \r\n\r\n", HTTP_SYNTAX),
	BAD("GET / HTTP/1.1\r\n" H "X\r\n\r\n", HTTP_SYNTAX),
	BAD("GET / HTTP/1.1\r\n" H ": a\r\n\r\n", HTTP_SYNTAX),
	BAD("GET / HTTP/1.1\r\n" H "X Y: a\r\n\r\n", HTTP_SYNTAX),
	BAD("GET / HTTP/1.1\r\n" H "X\xe9: a\r\n\r\n", HTTP_SYNTAX),
	BAD("GET / HTTP/1.1\r\n" H "X(: a\r\n\r\n", HTTP_SYNTAX),
	BAD("GET / HTTP/1.1\r\n" H "X\0: a\r\n\r\n", HTTP_SYNTAX),
	BAD("GET / HTTP/1.1\r\n" H "\"X\": a\r\n\r\n", HTTP_SYNTAX),
	BAD("GET / HTTP/1.1\r\n" H "X: a\0b\r\n\r\n", HTTP_SYNTAX),
	BAD("GET / HTTP/1.1\r\n" H "X: a\x01" "b\r\n\r\n", HTTP_SYNTAX),
	BAD("GET / HTTP/1.1\r\n" H "X: 0123456789abcdef\x1f" "0123456789\r\n\r\n", HTTP_SYNTAX),
	BAD("GET / HTTP/1.1\r\n" H "X: 0123456789abcdef\x7f" "0123456789\r\n\r\n", HTTP_SYNTAX),
	BAD("GET / HTTP/1.1\r\n" H "X: a\x0b" "b\r\n\r\n", HTTP_SYNTAX),
	BAD("GET / HTTP/1.1\r\n" H "X: a\rb\r\n\r\n", HTTP_SYNTAX),
	BAD("GET / HTTP/1.1\r\n" H "X: a\r\r\n\r\n", HTTP_SYNTAX),
	BAD("GET / HTTP/1.1\r\n" H "X: a\nY: b\r\n\r\n", HTTP_SYNTAX),
	BAD("GET / HTTP/1.1\r\n" H "X: a\n\nGET /2 HTTP/1.1\r\n" H E, HTTP_SYNTAX),
	BAD("GET / HTTP/1.1\r\n" H "X: a\r\n\n", HTTP_SYNTAX),
	BAD("GET / HTTP/1.1\r\n" H "\rX: a\r\n\r\n", HTTP_SYNTAX),
	BAD("GET / HTTP/1.1\r\n" H "\r\r\n\r\n", HTTP_SYNTAX),
	BAD("GET / HTTP/1.1\r\n" H "Connection: a b\r\n\r\n", HTTP_SYNTAX),
	BAD("GET / HTTP/1.1\r\n" H "Connection: a;b\r\n\r\n", HTTP_SYNTAX),
	BAD("GET / HTTP/1.1\r\n" H "Connection: 1,2,3,4,5,6,7,8,9,0,1,2,3,4,5,6,7,8,9,0,"
	    "1,2,3,4,5,6,7,8,9,0,1,2,3\r\n\r\n", HTTP_SYNTAX),
	/* what means something where it stands twice */
	BAD("GET / HTTP/1.1\r\n" H "Authorization: a\r\nAuthorization: a\r\n\r\n", HTTP_AMBIGUOUS),
	BAD("GET / HTTP/1.1\r\n" H "Content-Type: a/b\r\nContent-type: c/d\r\n\r\n",
	    HTTP_AMBIGUOUS),
	BAD("PUT / HTTP/1.1\r\n" H "Expect: 200-ok\r\nContent-Length: 1\r\n\r\n", HTTP_UNSUPPORTED),
	BAD("PUT / HTTP/1.1\r\n" H "Expect: 100-continue, x\r\nContent-Length: 1\r\n\r\n",
	    HTTP_UNSUPPORTED),
	BAD("PUT / HTTP/1.1\r\n" H "Expect: 100-continue\r\nExpect: 100-continue\r\n\r\n",
	    HTTP_UNSUPPORTED),
};

/* The many ways to say a length twice. Each stands alone after a valid start. */
static const struct {
	const char *fields;
	size_t n;
} smuggled[] = {
#define F(s) { s, sizeof(s) - 1 }
	F("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"),
	F("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n"),
	F("Transfer-Encoding: chunked\r\nContent-Length: 0\r\n"),
	F("Content-Length: 5\r\nContent-Length: 6\r\n"),
	F("Content-Length: 5\r\nContent-Length: 5\r\n"),
	F("Content-Length: 5\r\nCONTENT-LENGTH: 5\r\n"),
	F("Content-Length: 5, 5\r\n"),
	F("Content-Length: 5,5\r\n"),
	F("Content-Length: 5, 6\r\n"),
	F("Content-Length: ,5\r\n"),
	F("Content-Length: 5,\r\n"),
	F("Content-Length:\r\n"),
	F("Content-Length: +5\r\n"),
	F("Content-Length: -5\r\n"),
	F("Content-Length: -0\r\n"),
	F("Content-Length: 0x5\r\n"),
	F("Content-Length: 5 5\r\n"),
	F("Content-Length: 5;\r\n"),
	F("Content-Length: 5.0\r\n"),
	F("Content-Length: 5e0\r\n"),
	F("Content-Length: 1_0\r\n"),
	F("Content-Length: \"5\"\r\n"),
	F("Content-Length: a\r\n"),
	F("Content-Length: 5\xa0\r\n"),
	F("Content-Length: \xd9\xa5\r\n"),
	F("Content-Length: 9223372036854775808\r\n"),
	F("Content-Length: 18446744073709551615\r\n"),
	F("Content-Length: 18446744073709551616\r\n"),
	F("Content-Length: 18446744073709551621\r\n"),
	F("Content-Length: 99999999999999999999999999\r\n"),
	F("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"),
	F("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n"),
	F("Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n"),
	F("Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n"),
	F("Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n"),
	F("Transfer-Encoding: gzip, chunked\r\n"),
	F("Transfer-Encoding: chunked, gzip\r\n"),
	F("Transfer-Encoding: chunked, chunked\r\n"),
	F("Transfer-Encoding: chunked, identity\r\n"),
	F("Transfer-Encoding: identity, chunked\r\n"),
	F("Transfer-Encoding: chunked,\r\n"),
	F("Transfer-Encoding: ,chunked\r\n"),
	F("Transfer-Encoding: chunked;q=1\r\n"),
	F("Transfer-Encoding: \"chunked\"\r\n"),
	F("Transfer-Encoding: 'chunked'\r\n"),
	F("Transfer-Encoding: xchunked\r\n"),
	F("Transfer-Encoding: chunkedx\r\n"),
	F("Transfer-Encoding: chunked x\r\n"),
	F("Transfer-Encoding: chunk\r\n"),
	F("Transfer-Encoding: identity\r\n"),
	F("Transfer-Encoding: gzip\r\n"),
	F("Transfer-Encoding: cow\r\n"),
	F("Transfer-Encoding:\r\n"),
	F("Transfer-Encoding: chunked\xff\r\n"),
	F("Transfer-Encoding: \xc4\xb1" "chunked\r\n"),
	F("Transfer_Encoding: chunked\r\n"),
	F("Content_Length: 5\r\n"),
	F("Content-Length: 5\r\nTransfer_Encoding: chunked\r\n"),
	F("transfer-encoding_: x\r\nContent-Length: 5\r\nContent_length: 6\r\n"),
	F("X: y\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n"),
	/* these are not fields at all */
	F("Content-Length : 5\r\n"),
	F("Content-Length\t: 5\r\n"),
	F("Transfer-Encoding : chunked\r\n"),
	F("Transfer-Encoding\t: chunked\r\n"),
	F("Transfer-Encoding\x0b: chunked\r\n"),
	F("Transfer-Encoding\0: chunked\r\n"),
	F(" Transfer-Encoding: chunked\r\n"),
	F("\tTransfer-Encoding: chunked\r\n"),
	F("X: y\r\n Transfer-Encoding: chunked\r\n"),
	F("X: y\rTransfer-Encoding: chunked\r\n"),
	F("X: y\nTransfer-Encoding: chunked\r\n"),
	F("X: y\r\rTransfer-Encoding: chunked\r\n"),
	F("X: y\r\n\rTransfer-Encoding: chunked\r\n"),
	F("Transfer-Encoding: \x0b" "chunked\r\n"),
	F("Transfer-Encoding: \x0c" "chunked\r\n"),
	F("Transfer-Encoding: chunked\x0b\r\n"),
	F("Transfer-Encoding: chunked\0\r\n"),
	F("Transfer-Encoding: chunked\x1f\r\n"),
	F("Transfer-Encoding:\r\n chunked\r\n"),
	F("Transfer-Encoding\r\n: chunked\r\n"),
	F("Transfer\r-Encoding: chunked\r\n"),
	F("Transfer Encoding: chunked\r\n"),
	F("Transfer-Encoding=chunked\r\n"),
	F("Content-Length: 5\x0b\r\n"),
	F("Content-Length: 5\0\r\n"),
	F("Content-Length:\r\n 5\r\n"),
	F("Content-Length: 5\r\n 6\r\n"),
#undef F
};

static void refuses_what_is_not(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(refused); i++)
		check(&refused[i], i);
}

/* Before and after Host, in every version and several methods: never a message. */
static void refuses_every_smuggled_length(void **state)
{
	static const char *const lines[] = { "POST / HTTP/1.1\r\n", "GET / HTTP/1.1\r\n" };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(smuggled) * 4; i++) {
		const char *fields = smuggled[i / 4].fields, *line = lines[i & 1];
		char text[512];
		size_t n = strlen(line), len = smuggled[i / 4].n;
		struct vector v = { .in = text };
		struct http_request req = { 0 };
		struct h1_scan scan = { 0 };

		memcpy(text, line, n);
		if (i & 2) {
			memcpy(text + n, H, sizeof(H) - 1);
			n += sizeof(H) - 1;
		}
		memcpy(text + n, fields, len);
		n += len;
		if (!(i & 2)) {
			memcpy(text + n, H, sizeof(H) - 1);
			n += sizeof(H) - 1;
		}
		memcpy(text + n, "\r\n", 2);
		v.n = n + 2;
		v.want = h1_parse_request(&scan, bytes_of(text, v.n), &limits, &req, &n);
		if (v.want != ERR_HTTP_AMBIGUOUS && v.want != ERR_HTTP_SYNTAX)
			fail_msg("%zu: %s: %s", i / 4, err_name(v.want), fields);
		http_request_release(&req);
		check(&v, i / 4);
	}
}

/* A body or a coding with methods that have none, and chunked in HTTP/1.0. */
static void refuses_framing_out_of_place(void **state)
{
	static const struct vector v[] = {
		BAD("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", HTTP_AMBIGUOUS),
		BAD("CONNECT a.example:1 HTTP/1.1\r\nHost: a.example:1\r\n"
		    "Content-Length: 1\r\n\r\n", HTTP_AMBIGUOUS),
		BAD("TRACE / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n", HTTP_AMBIGUOUS),
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(v); i++)
		check(&v[i], i);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(refuses_what_is_not),
		cmocka_unit_test(refuses_every_smuggled_length),
		cmocka_unit_test(refuses_framing_out_of_place),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
