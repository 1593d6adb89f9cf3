/* test_http_request.c - request heads that are taken, their limits, and every byte everywhere */
#include "tests/unit/http_request_check.h"

static const struct vector taken[] = {
	REQ("GET / HTTP/1.1\r\n" H E, "GET a.example /  1.1 none:0 keep [Host=a.example]"),
	REQ("\r\nGET / HTTP/1.1\r\n" H E, "GET a.example /  1.1 none:0 keep [Host=a.example]"),
	REQ("GET /a/b?c=d&e HTTP/1.1\r\n" H E,
	    "GET a.example /a/b ?c=d&e 1.1 none:0 keep [Host=a.example]"),
	REQ("GET /a? HTTP/1.1\r\n" H E, "GET a.example /a ? 1.1 none:0 keep [Host=a.example]"),
	REQ("GET /a??b HTTP/1.1\r\n" H E, "GET a.example /a ??b 1.1 none:0 keep [Host=a.example]"),
	REQ("GET //a//b HTTP/1.1\r\n" H E,
	    "GET a.example //a//b  1.1 none:0 keep [Host=a.example]"),
	REQ("GET /%2e%2E/%41 HTTP/1.1\r\n" H E,
	    "GET a.example /%2e%2E/%41  1.1 none:0 keep [Host=a.example]"),
	REQ("GET /a|b^{c}`[1] HTTP/1.1\r\n" H E,
	    "GET a.example /a|b^{c}`[1]  1.1 none:0 keep [Host=a.example]"),
	REQ("GET /?q={\"a\":\"<b>\\\"}|% HTTP/1.1\r\n" H E,
	    "GET a.example / ?q={\"a\":\"<b>\\\"}|% 1.1 none:0 keep [Host=a.example]"),
	REQ("GET /;p=1,2:3@x!$&'()*+= HTTP/1.1\r\n" H E, NULL),
	REQ("M-SEARCH / HTTP/1.1\r\n" H E, NULL),
	REQ("get / HTTP/1.1\r\n" H E, "get a.example /  1.1 none:0 keep [Host=a.example]"),
	REQ("GET / HTTP/1.0\r\n\r\n", "GET  /  1.0 none:0 []"),
	REQ("GET / HTTP/1.0\r\n" H E, "GET a.example /  1.0 none:0 [Host=a.example]"),
	REQ("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n",
	    "GET  /  1.0 none:0 keep [Connection=Keep-Alive]"),
	REQ("GET / HTTP/1.1\r\n" H "Connection: close\r\n\r\n",
	    "GET a.example /  1.1 none:0 [Host=a.example|Connection=close]"),
	REQ("GET / HTTP/1.1\r\n" H "Connection: foo , CLOSE,,\r\n\r\n",
	    "GET a.example /  1.1 none:0 [Host=a.example|Connection=foo , CLOSE,,]"),
	REQ("GET / HTTP/1.1\r\n" H "Connection: a\r\nConnection: close\r\n\r\n",
	    "GET a.example /  1.1 none:0 [Host=a.example|Connection=a|Connection=close]"),
	/* authorities */
	REQ("GET / HTTP/1.1\r\nhOsT: A.Example:8443\r\n\r\n",
	    "GET A.Example:8443 /  1.1 none:0 keep [hOsT=A.Example:8443]"),
	REQ("GET / HTTP/1.1\r\nHost:\t a.example \t\r\n\r\n",
	    "GET a.example /  1.1 none:0 keep [Host=a.example]"),
	REQ("GET / HTTP/1.1\r\nHost:a.example\r\n\r\n", NULL),
	REQ("GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", NULL),
	REQ("GET / HTTP/1.1\r\nHost: 192.0.2.1\r\n\r\n", NULL),
	REQ("GET / HTTP/1.1\r\nHost: my_host\r\n\r\n", NULL),
	REQ("GET http://a.example/x?y HTTP/1.1\r\n" H E,
	    "GET abs:a.example /x ?y 1.1 none:0 keep [Host=a.example]"),
	REQ("GET HTTPS://A.EXAMPLE HTTP/1.1\r\n" H E,
	    "GET abs:A.EXAMPLE /  1.1 none:0 keep [Host=a.example]"),
	REQ("GET http://a.example?y HTTP/1.1\r\n" H E,
	    "GET abs:a.example / ?y 1.1 none:0 keep [Host=a.example]"),
	REQ("OPTIONS http://a.example HTTP/1.1\r\n" H E,
	    "OPTIONS abs:a.example *  1.1 none:0 keep [Host=a.example]"),
	REQ("OPTIONS * HTTP/1.1\r\n" H E, "OPTIONS a.example *  1.1 none:0 keep [Host=a.example]"),
	REQ("CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\n",
	    "CONNECT a.example:443   1.1 none:0 keep [Host=a.example:443]"),
	/* framing */
	REQ("POST / HTTP/1.1\r\n" H "Content-Length: 0\r\n\r\n",
	    "POST a.example /  1.1 length:0 keep [Host=a.example|Content-Length=0]"),
	REQ("POST / HTTP/1.1\r\n" H "content-LENGTH:9223372036854775807\r\n\r\n",
	    "POST a.example /  1.1 length:9223372036854775807 keep "
	    "[Host=a.example|content-LENGTH=9223372036854775807]"),
	REQ("POST / HTTP/1.1\r\n" H "Transfer-Encoding: Chunked\r\n\r\n",
	    "POST a.example /  1.1 chunked:0 keep [Host=a.example|Transfer-Encoding=Chunked]"),
	REQ("POST / HTTP/1.0\r\nContent-Length: 5\r\n\r\n",
	    "POST  /  1.0 length:5 [Content-Length=5]"),
	REQ("PUT / HTTP/1.1\r\n" H "Expect: 100-Continue\r\nContent-Length: 5\r\n\r\n",
	    "PUT a.example /  1.1 length:5 keep expect "
	    "[Host=a.example|Expect=100-Continue|Content-Length=5]"),
	/* no body: nothing to wait for */
	REQ("GET / HTTP/1.1\r\n" H "Expect: 100-continue\r\n\r\n",
	    "GET a.example /  1.1 none:0 keep [Host=a.example|Expect=100-continue]"),
	REQ("PUT / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n",
	    "PUT  /  1.0 length:5 [Expect=100-continue|Content-Length=5]"),
	/* upgrade */
	REQ("GET / HTTP/1.1\r\n" H "Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
	    "GET a.example /  1.1 none:0 keep upgrade=yes "
	    "[Host=a.example|Connection=Upgrade|Upgrade=websocket]"),
	REQ("GET / HTTP/1.1\r\n" H "Upgrade: websocket\r\n\r\n",
	    "GET a.example /  1.1 none:0 keep [Host=a.example|Upgrade=websocket]"),
	REQ("GET / HTTP/1.0\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
	    "GET  /  1.0 none:0 [Connection=Upgrade|Upgrade=websocket]"),
	/* field values */
	REQ("GET / HTTP/1.1\r\n" H "X:\r\nY: \t \r\nZ: a\tb  c\x80\xff \r\n\r\n",
	    "GET a.example /  1.1 none:0 keep [Host=a.example|X=|Y=|Z=a\tb  c\x80\xff]"),
	REQ("GET / HTTP/1.1\r\n" H "!#$%&'*+-.^_`|~09azAZ: :\r\n\r\n",
	    "GET a.example /  1.1 none:0 keep [Host=a.example|!#$%&'*+-.^_`|~09azAZ=:]"),
	REQ("GET / HTTP/1.1\r\n" H "Accept: a\r\nAccept: b\r\ncookie: c\r\ncookie: d\r\n\r\n",
	    NULL),
	REQ("GET / HTTP/1.1\r\n" H "X: 01234567\t89abcdef\t\t\t\t\t\t\t\t\t0123\r\n\r\n", NULL),
	/* what follows is the next message */
	{ "GET / HTTP/1.1\r\n" H E "GET /2 HT", 44, ERR_OK, NULL, 9 },
	{ "GET / HTTP/1.1\r\n" H E "\0\xff\n", 38, ERR_OK, NULL, 3 },
};

static void takes_what_is_valid(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(taken); i++)
		check(&taken[i], i);
}

/* `n` bytes: fill repeated between head and tail. */
static void check_filled(const char *head, char fill, size_t n, const char *tail, enum err want)
{
	size_t h = strlen(head), t = strlen(tail);
	char *text = malloc(h + n + t + 1);
	struct vector v = { .in = text, .n = h + n + t, .want = want };

	assert_non_null(text);
	memcpy(text, head, h);
	memset(text + h, fill, n);
	memcpy(text + h + n, tail, t + 1);
	check(&v, n);
	free(text);
}

static void keeps_its_limits(void **state)
{
	static const char get[] = "GET /", rest[] = " HTTP/1.1\r\n" H E;
	static const char x[] = "GET / HTTP/1.1\r\n" H "X: ";
	size_t fixed = sizeof(x) - 1 + 4;

	(void)state;
	check_filled(get, 'a', limits.target_bytes - 1, rest, ERR_OK);
	check_filled(get, 'a', limits.target_bytes, rest, ERR_HTTP_URI_TOO_LONG);
	check_filled(get, 'a', limits.header_bytes, rest, ERR_HTTP_URI_TOO_LONG);
	check_filled(x, 'a', limits.header_bytes - fixed, "\r\n\r\n", ERR_OK);
	check_filled(x, 'a', limits.header_bytes - fixed + 1, "\r\n\r\n",
		     ERR_HTTP_HEADER_TOO_LARGE);
	check_filled(x, 'a', limits.header_bytes - sizeof(x), "", ERR_AGAIN);
	check_filled(x, 'a', limits.header_bytes - sizeof(x) + 1, "",
		     ERR_HTTP_HEADER_TOO_LARGE);
	check_filled(x, 'a', limits.header_bytes + 100, "", ERR_HTTP_HEADER_TOO_LARGE);
	check_filled(x, 'a', limits.header_bytes - fixed, "\r\n", ERR_AGAIN);
}

static void counts_fields(void **state)
{
	char text[1024] = "GET / HTTP/1.1\r\n" H;
	struct vector v = { .in = text, .want = ERR_OK };

	(void)state;
	for (size_t i = 1; i < limits.fields; i++)
		strcat(text, "a: b\r\n");
	strcat(text, "\r\n");
	v.n = strlen(text);
	check(&v, 0);
	strcpy(text + v.n - 2, "a: b\r\n\r\n");
	v.n = strlen(text);
	v.want = ERR_HTTP_HEADER_TOO_LARGE;
	check(&v, 1);
}

/* Every byte value, in a name, a value, a method, a path and a query. */
static void judges_every_byte(void **state)
{
	static const char *const parts[] = { "GET / HTTP/1.1\r\n" H "a?b: c\r\n\r\n",
		"GET / HTTP/1.1\r\n" H "a: b?c\r\n\r\n", "G?T / HTTP/1.1\r\n" H E,
		"GET /a?b HTTP/1.1\r\n" H E, "GET /!a?b HTTP/1.1\r\n" H E };
	static const char tchars[] = "!#$%&'*+-.^_`|~";

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(parts) * 256; i++) {
		uint8_t c = (uint8_t)i;
		char text[128];
		struct vector v = { .in = text, .n = strlen(parts[i / 256]) };
		bool alnum = (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z');
		bool print = c > 0x20 && c < 0x7f, ok;

		memcpy(text, parts[i / 256], v.n);
		*(char *)memchr(text, '?', v.n) = (char)c;
		if (i / 256 == 4)
			*(char *)memchr(text, '!', v.n) = '?';
		switch (i / 256) {
		case 0:
			ok = alnum || c == ':' || (c && strchr(tchars, c));
			break;
		case 1:
			ok = c == '\t' || (c >= 0x20 && c != 0x7f);
			break;
		case 2:
			ok = alnum || (c && strchr(tchars, c));
			break;
		case 3:
			ok = print && !strchr("#\"<>\\%", c);
			break;
		default:
			ok = print && c != '#';
			break;
		}
		v.want = ok ? ERR_OK : ERR_HTTP_SYNTAX;
		check(&v, i);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(takes_what_is_valid),
		cmocka_unit_test(keeps_its_limits),
		cmocka_unit_test(counts_fields),
		cmocka_unit_test(judges_every_byte),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
