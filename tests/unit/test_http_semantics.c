/* test_http_semantics.c - field lists, hop-by-hop fields, authorities, lists, codings */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "gateway/http/http.h"
#include "tests/lib/guard.h"

static void add(struct http_fields *f, const char *name, const char *value)
{
	assert_int_equal(http_fields_add(f, bytes_str(name), bytes_str(value)), ERR_OK);
}

/* "name=value|name=value" */
static void assert_fields(const struct http_fields *f, const char *want)
{
	char text[2048] = "";
	size_t n = 0;

	for (size_t i = 0; i < f->n; i++)
		n += (size_t)snprintf(text + n, sizeof(text) - n, "%s%.*s=%.*s", i ? "|" : "",
				      (int)f->v[i].name.n, (const char *)f->v[i].name.p,
				      (int)f->v[i].value.n, (const char *)f->v[i].value.p);
	assert_string_equal(text, want);
}

static void keeps_a_list(void **state)
{
	struct http_fields f = { 0 };

	(void)state;
	assert_null(http_fields_find(&f, BYTES_LIT("a")));
	assert_int_equal(http_fields_value(&f, BYTES_LIT("a")).n, 0);
	assert_int_equal(http_fields_remove(&f, BYTES_LIT("a")), 0);
	add(&f, "A", "1");
	add(&f, "b", "2");
	add(&f, "a", "3");
	add(&f, "ab", "4");
	assert_int_equal(http_fields_count(&f, BYTES_LIT("a")), 2);
	assert_true(bytes_eq(http_fields_value(&f, BYTES_LIT("a")), BYTES_LIT("1")));
	assert_int_equal(http_fields_set(&f, BYTES_LIT("a"), BYTES_LIT("5")), ERR_OK);
	assert_fields(&f, "A=5|b=2|ab=4");
	assert_int_equal(http_fields_set(&f, BYTES_LIT("c"), BYTES_LIT("6")), ERR_OK);
	assert_fields(&f, "A=5|b=2|ab=4|c=6");
	assert_int_equal(http_fields_remove(&f, BYTES_LIT("B")), 1);
	assert_fields(&f, "A=5|ab=4|c=6");
	http_fields_reset(&f);
	assert_fields(&f, "");
	for (int i = 0; i < 100; i++)
		add(&f, "x", "y");
	assert_int_equal(http_fields_remove(&f, BYTES_LIT("x")), 100);
	http_fields_release(&f);
	http_fields_release(&f);
}

static void strips_what_is_for_one_hop(void **state)
{
	static const struct {
		const char *in[8][2];
		const char *want;
	} v[] = {
		{ { { "Connection", "close" }, { "X", "y" } }, "X=y" },
		{ { { "X-A", "1" }, { "Connection", "x-a, X-B" }, { "x-b", "2" }, { "x-c", "3" } },
		  "x-c=3" },
		{ { { "Connection", "x-a" }, { "Connection", "x-b" }, { "x-a", "1" },
		    { "x-b", "2" } }, "" },
		{ { { "x-a", "1" }, { "x-b", "2" }, { "Connection", "x-a" },
		    { "connection", "x-b" } }, "" },
		{ { { "Keep-Alive", "5" }, { "Proxy-Connection", "x" }, { "Upgrade", "h2c" },
		    { "Proxy-Authorization", "x" }, { "Proxy-Authenticate", "x" },
		    { "Transfer-Encoding", "chunked" }, { "HTTP2-Settings", "x" } }, "" },
		{ { { "TE", "trailers" } }, "TE=trailers" },
		{ { { "TE", "gzip, Trailers" }, { "Connection", "TE" } }, "TE=trailers" },
		{ { { "TE", "gzip" } }, "" },
		{ { { "Trailer", "x" }, { "Host", "a" }, { "Proxy-Status", "b" } },
		  "Trailer=x|Host=a|Proxy-Status=b" },
		{ { { "Connection", "connection, Cookie" }, { "Cookie", "c" } }, "" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(v); i++) {
		struct http_fields f = { 0 };

		for (size_t j = 0; j < 8 && v[i].in[j][0]; j++)
			add(&f, v[i].in[j][0], v[i].in[j][1]);
		http_strip_hop_by_hop(&f);
		assert_fields(&f, v[i].want);
		http_fields_release(&f);
	}
}

static void splits_authorities(void **state)
{
#define LABEL63 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
	static const struct {
		const char *in;
		const char *host;	/* NULL: refused */
		unsigned port;
	} v[] = {
		{ "a", "a", 0 },
		{ "a.example", "a.example", 0 },
		{ "A.Example:443", "A.Example", 443 },
		{ "a.example.:443", "a.example", 443 },
		{ "a_b-c.d", "a_b-c.d", 0 },
		{ "xn--e1afmkfd.example", "xn--e1afmkfd.example", 0 },
		{ "1a.example", "1a.example", 0 },
		{ "1.2.3.4.example", "1.2.3.4.example", 0 },
		{ "192.0.2.1", "192.0.2.1", 0 },
		{ "192.0.2.1:1", "192.0.2.1", 1 },
		{ "[::1]", "::1", 0 },
		{ "[2001:db8::1]:65535", "2001:db8::1", 65535 },
		{ "[::ffff:192.0.2.1]", "::ffff:192.0.2.1", 0 },
		{ LABEL63 "." LABEL63 "." LABEL63 ".a", LABEL63 "." LABEL63 "." LABEL63 ".a", 0 },
		{ "", NULL, 0 },
		{ ".", NULL, 0 },
		{ ":80", NULL, 0 },
		{ "a:", NULL, 0 },
		{ "a:0", NULL, 0 },
		{ "a:080", NULL, 0 },
		{ "a:65536", NULL, 0 },
		{ "a:100000", NULL, 0 },
		{ "a:-1", NULL, 0 },
		{ "a:8a", NULL, 0 },
		{ "a: 80", NULL, 0 },
		{ "a:80:80", NULL, 0 },
		{ "a b", NULL, 0 },
		{ " a", NULL, 0 },
		{ "a ", NULL, 0 },
		{ "a..b", NULL, 0 },
		{ ".a", NULL, 0 },
		{ "a..", NULL, 0 },
		{ "u@a", NULL, 0 },
		{ "a/b", NULL, 0 },
		{ "a\\b", NULL, 0 },
		{ "a?b", NULL, 0 },
		{ "a#b", NULL, 0 },
		{ "a,b", NULL, 0 },
		{ "a%2eb", NULL, 0 },
		{ "a*b", NULL, 0 },
		{ "\xc3\xa9.example", NULL, 0 },
		{ LABEL63 "a.example", NULL, 0 },
		{ LABEL63 "." LABEL63 "." LABEL63 "." LABEL63, NULL, 0 },
		/* numbers that a resolver would take for an address */
		{ "127.1", NULL, 0 },
		{ "2130706433", NULL, 0 },
		{ "0x7f000001", NULL, 0 },
		{ "0x7f.0.0.1", NULL, 0 },
		{ "a.0x7f", NULL, 0 },
		{ "a.0x", NULL, 0 },
		{ "a.example.1", NULL, 0 },
		{ "256.1.1.1", NULL, 0 },
		{ "1.2.3.4.5", NULL, 0 },
		{ "192.0.2.1.", NULL, 0 },
		{ "::1", NULL, 0 },
		{ "[::1", NULL, 0 },
		{ "[]", NULL, 0 },
		{ "[::1]80", NULL, 0 },
		{ "[::1]]", NULL, 0 },
		{ "[[::1]]", NULL, 0 },
		{ "[192.0.2.1]", NULL, 0 },
		{ "[fe80::1%25eth0]", NULL, 0 },
		{ "[fe80::1%eth0]", NULL, 0 },
		{ "[v1.a:b]", NULL, 0 },
		{ "[::1]:", NULL, 0 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(v); i++) {
		size_t n = strlen(v[i].in);
		uint8_t *copy = guard_copy(v[i].in, n);
		struct bytes host;
		unsigned port;
		bool ok = http_host_split(bytes_of(copy, n), &host, &port);

		if (ok != (v[i].host != NULL))
			fail_msg("%s", v[i].in);
		if (ok) {
			assert_true(bytes_eq(host, bytes_str(v[i].host)));
			assert_int_equal(port, v[i].port);
		}
		guard_free(copy);
	}
	assert_false(http_host_split(bytes_of("a\0b", 3), &(struct bytes){ 0 }, &(unsigned){ 0 }));
}

static void reads_lists(void **state)
{
	static const struct {
		const char *value, *token;
		bool want;
	} v[] = {
		{ "a", "a", true },	       { "A", "a", true },	  { "b, a", "a", true },
		{ " b ,\ta , c", "a", true },  { "a,b", "b", true },	  { ",,a", "a", true },
		{ "", "a", false },	       { ",", "a", false },	  { "ab", "a", false },
		{ "a b", "a", false },	       { "a;q=1", "a", false },	  { "ba", "a", false },
		{ " , ", "", false },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(v); i++)
		if (http_token_list_has(bytes_str(v[i].value), bytes_str(v[i].token)) != v[i].want)
			fail_msg("%s in %s", v[i].token, v[i].value);
}

static void knows_identity(void **state)
{
	static const struct {
		const char *a, *b;
		bool want;
	} v[] = {
		{ NULL, NULL, true },	      { "", NULL, true },
		{ "identity", NULL, true },   { "Identity, identity", NULL, true },
		{ "gzip", NULL, false },      { "identity, gzip", NULL, false },
		{ "identity", "br", false },  { "x", NULL, false },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(v); i++) {
		struct http_fields f = { 0 };

		add(&f, "X", "gzip");
		if (v[i].a)
			add(&f, "content-Encoding", v[i].a);
		if (v[i].b)
			add(&f, "Content-Encoding", v[i].b);
		assert_int_equal(http_coding_is_identity(&f), v[i].want);
		http_fields_release(&f);
	}
}

static void reads_media_types(void **state)
{
	static const char *const v[][2] = {
		{ "application/json", "application/json" },
		{ "text/html; charset=utf-8", "text/html" },
		{ "text/html;charset=utf-8", "text/html" },
		{ " text/html ", "text/html" },
		{ ";x", "" },
		{ "", "" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(v); i++)
		assert_true(bytes_eq(http_media_type(bytes_str(v[i][0])), bytes_str(v[i][1])));
}

static void knows_methods_and_statuses(void **state)
{
	(void)state;
	assert_true(http_method_idempotent(BYTES_LIT("GET")));
	assert_true(http_method_idempotent(BYTES_LIT("DELETE")));
	assert_false(http_method_idempotent(BYTES_LIT("POST")));
	assert_false(http_method_idempotent(BYTES_LIT("PATCH")));
	assert_false(http_method_idempotent(BYTES_LIT("get")));
	assert_true(http_has_body(200, BYTES_LIT("GET")));
	assert_true(http_has_body(404, BYTES_LIT("CONNECT")));
	assert_false(http_has_body(200, BYTES_LIT("HEAD")));
	assert_false(http_has_body(200, BYTES_LIT("CONNECT")));
	assert_false(http_has_body(199, BYTES_LIT("GET")));
	assert_false(http_has_body(204, BYTES_LIT("GET")));
	assert_false(http_has_body(304, BYTES_LIT("GET")));
	assert_string_equal(http_status_reason(502), "Bad Gateway");
	assert_string_equal(http_status_reason(299), "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(keeps_a_list),
		cmocka_unit_test(strips_what_is_for_one_hop),
		cmocka_unit_test(splits_authorities),
		cmocka_unit_test(reads_lists),
		cmocka_unit_test(knows_identity),
		cmocka_unit_test(reads_media_types),
		cmocka_unit_test(knows_methods_and_statuses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
