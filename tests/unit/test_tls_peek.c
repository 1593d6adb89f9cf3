/*
 * ClientHello peek: a hello built from parts, every split, every record size, every way to be
 * wrong.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>

#include "gateway/tls/tls.h"
#include "tests/lib/guard.h"

struct part {
	uint16_t type;
	const char *bytes;	/* the extension's content */
	size_t n;
};

#define PART(type, lit) { type, lit, sizeof(lit) - 1 }
#define SNI_OK PART(0, "\0\x0e\0\0\x0b" "Example.Com")
#define ALPN_OK PART(16, "\0\x0c\x02h2\x08http/1.1")
#define VERSIONS_OK PART(43, "\x06\x1a\x1a\x03\x04\x03\x03")

static void put(uint8_t *dst, size_t *at, const void *src, size_t n)
{
	if (n)
		memcpy(dst + *at, src, n);
	*at += n;
}

/* The handshake message; returns its length. */
static size_t make_message(uint8_t *dst, const struct part *parts, size_t n, bool extensions)
{
	static const uint8_t fixed[] = { 0x00, 0x02, 0x13, 0x01, 0x01, 0x00 };
	size_t at = 4, mark, body;

	put(dst, &at, "\x03\x03", 2);
	memset(dst + at, 7, 32);
	at += 32;
	put(dst, &at, "\0", 1);
	put(dst, &at, fixed, sizeof(fixed));
	mark = at;
	if (extensions)
		at += 2;
	for (size_t i = 0; i < n; i++) {
		const uint8_t head[] = { (uint8_t)(parts[i].type >> 8), (uint8_t)parts[i].type,
					 (uint8_t)(parts[i].n >> 8), (uint8_t)parts[i].n };

		put(dst, &at, head, sizeof(head));
		put(dst, &at, parts[i].bytes, parts[i].n);
	}
	if (extensions) {
		dst[mark] = (uint8_t)((at - mark - 2) >> 8);
		dst[mark + 1] = (uint8_t)(at - mark - 2);
	}
	body = at - 4;
	dst[0] = 1;
	dst[1] = (uint8_t)(body >> 16);
	dst[2] = (uint8_t)(body >> 8);
	dst[3] = (uint8_t)body;
	return at;
}

/* The message in records of at most `size` bytes. */
static size_t make_records(uint8_t *dst, const uint8_t *msg, size_t n, size_t size)
{
	size_t at = 0;

	for (size_t i = 0; i < n; i += size) {
		size_t len = n - i < size ? n - i : size;
		const uint8_t head[] = { 22, 3, 1, (uint8_t)(len >> 8), (uint8_t)len };

		put(dst, &at, head, sizeof(head));
		put(dst, &at, msg + i, len);
	}
	return at;
}

static enum err peek_guarded(const uint8_t *p, size_t n, struct tls_hello *out)
{
	void *g = guard_copy(p, n);
	enum err e = tls_peek_hello(bytes_of(g, n), out);

	guard_free(g);
	return e;
}

static const struct part good[] = { SNI_OK, ALPN_OK, VERSIONS_OK, PART(0xfe0d, "x") };

static void check_good(const struct tls_hello *h)
{
	assert_string_equal(h->sni, "example.com");
	assert_true(h->has_alpn && h->tls12 && h->tls13 && h->ech);
	assert_true(tls_hello_offers(h, "h2") && tls_hello_offers(h, "http/1.1"));
	assert_false(tls_hello_offers(h, "http/1.0") || tls_hello_offers(h, "h") ||
		     tls_hello_offers(h, ""));
}

static void test_every_record_size_every_split(void **state)
{
	uint8_t msg[512], wire[4096];
	size_t n = make_message(msg, good, ARRAY_SIZE(good), true);
	struct tls_hello h;

	(void)state;
	for (size_t size = 1; size <= n; size++) {
		size_t len = make_records(wire, msg, n, size);

		for (size_t at = 0; at < len; at++)
			assert_int_equal(peek_guarded(wire, at, &h), ERR_AGAIN);
		assert_int_equal(peek_guarded(wire, len, &h), ERR_OK);
		check_good(&h);
	}
	/* what follows is none of our business */
	wire[make_records(wire, msg, n, n)] = 0xff;
	assert_int_equal(tls_peek_hello(bytes_of(wire, n + 6), &h), ERR_OK);
	check_good(&h);
}

struct hello_case {
	const char *what;
	struct part parts[3];
	size_t n;
	enum err want;
	const char *sni;
};

static const struct hello_case cases[] = {
	{ "no extensions wanted", { SNI_OK }, 0, ERR_OK, "" },
	{ "name only", { SNI_OK }, 1, ERR_OK, "example.com" },
	{ "two server_name", { SNI_OK, SNI_OK }, 2, ERR_TLS_BAD_HELLO, NULL },
	{ "two of an unknown", { PART(99, ""), PART(99, "") }, 2, ERR_TLS_BAD_HELLO, NULL },
	{ "empty SNI list", { PART(0, "\0\0") }, 1, ERR_TLS_BAD_HELLO, NULL },
	{ "empty SNI", { PART(0, "") }, 1, ERR_TLS_BAD_HELLO, NULL },
	{ "empty name", { PART(0, "\0\3\0\0\0") }, 1, ERR_TLS_BAD_HELLO, NULL },
	{ "two names", { PART(0, "\0\x0a\0\0\2ab\0\0\2cd") }, 1, ERR_TLS_BAD_HELLO, NULL },
	{ "name type 1", { PART(0, "\0\5\1\0\2ab") }, 1, ERR_TLS_BAD_HELLO, NULL },
	{ "bytes behind the list", { PART(0, "\0\5\0\0\2abx") }, 1, ERR_TLS_BAD_HELLO, NULL },
	{ "list too long", { PART(0, "\0\6\0\0\2ab") }, 1, ERR_TLS_BAD_HELLO, NULL },
	{ "name too long", { PART(0, "\0\5\0\0\3ab") }, 1, ERR_TLS_BAD_HELLO, NULL },
	{ "NUL in name", { PART(0, "\0\6\0\0\3a\0b") }, 1, ERR_TLS_BAD_HELLO, NULL },
	{ "final dot", { PART(0, "\0\5\0\0\2a.") }, 1, ERR_TLS_BAD_HELLO, NULL },
	{ "address", { PART(0, "\0\x0a\0\0\7" "1.2.3.4") }, 1, ERR_TLS_BAD_HELLO, NULL },
	{ "space", { PART(0, "\0\6\0\0\3a b") }, 1, ERR_TLS_BAD_HELLO, NULL },
	{ "wildcard", { PART(0, "\0\6\0\0\3*.b") }, 1, ERR_TLS_BAD_HELLO, NULL },
	{ "underscore", { PART(0, "\0\6\0\0\3a_b") }, 1, ERR_OK, "a_b" },
	{ "empty ALPN list", { PART(16, "\0\0") }, 1, ERR_TLS_BAD_HELLO, NULL },
	{ "empty protocol", { PART(16, "\0\1\0") }, 1, ERR_TLS_BAD_HELLO, NULL },
	{ "protocol too long", { PART(16, "\0\3\3h2") }, 1, ERR_TLS_BAD_HELLO, NULL },
	{ "odd versions", { PART(43, "\3\3\4\3") }, 1, ERR_TLS_BAD_HELLO, NULL },
	{ "no versions", { PART(43, "\0") }, 1, ERR_TLS_BAD_HELLO, NULL },
};

static void test_cases(void **state)
{
	uint8_t msg[512], wire[1024];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const struct hello_case *c = &cases[i];
		size_t n = make_message(msg, c->parts, c->n, c->n > 0);
		struct tls_hello h;
		enum err e = peek_guarded(wire, make_records(wire, msg, n, n), &h);

		if (e != c->want)
			fail_msg("%s: %s", c->what, err_name(e));
		if (c->sni)
			assert_string_equal(h.sni, c->sni);
	}
}

static void test_versions(void **state)
{
	static const struct part old = PART(43, "\2\3\3"), new = PART(43, "\2\3\4");
	uint8_t msg[512], wire[1024];
	struct tls_hello h;
	size_t n;

	(void)state;
	n = make_message(msg, &old, 1, true);
	assert_int_equal(peek_guarded(wire, make_records(wire, msg, n, n), &h), ERR_OK);
	assert_true(h.tls12 && !h.tls13);
	n = make_message(msg, &new, 1, true);
	assert_int_equal(peek_guarded(wire, make_records(wire, msg, n, n), &h), ERR_OK);
	assert_true(!h.tls12 && h.tls13);
	n = make_message(msg, NULL, 0, false);
	assert_int_equal(peek_guarded(wire, make_records(wire, msg, n, n), &h), ERR_OK);
	assert_true(h.tls12 && !h.tls13 && !h.has_alpn && !h.ech);
}

/* A shorter message in the same bytes, and every byte changed: never read past the end, never
 * accepted with another name than the one that stands there. */
static void test_every_length_every_flip(void **state)
{
	uint8_t msg[512], wire[1024];
	size_t n = make_message(msg, good, ARRAY_SIZE(good), true), len;
	struct tls_hello h;

	(void)state;
	for (size_t body = 0; body + 4 < n; body++) {
		msg[2] = (uint8_t)(body >> 8);
		msg[3] = (uint8_t)body;
		len = make_records(wire, msg, body + 4, n);
		assert_int_not_equal(peek_guarded(wire, len, &h), ERR_AGAIN);
		if (peek_guarded(wire, len, &h) == ERR_OK)
			assert_string_equal(h.sni, "");	/* cut before the extensions */
	}
	n = make_message(msg, good, ARRAY_SIZE(good), true);
	len = make_records(wire, msg, n, n);
	for (size_t at = 0; at < len; at++) {
		for (int bit = 0; bit < 8; bit++) {
			wire[at] ^= (uint8_t)(1 << bit);
			(void)!peek_guarded(wire, len, &h);
			wire[at] ^= (uint8_t)(1 << bit);
		}
	}
}

static void test_first_bytes(void **state)
{
	struct tls_hello h;

	(void)state;
	assert_true(tls_looks_like_tls(BYTES_LIT("\x16")));
	assert_true(tls_looks_like_tls(BYTES_LIT("\x16\x03")));
	assert_true(tls_looks_like_tls(BYTES_LIT("\x16\x03\x01\x02")));
	assert_false(tls_looks_like_tls(BYTES_NONE));
	assert_false(tls_looks_like_tls(BYTES_LIT("GET /")));
	assert_false(tls_looks_like_tls(BYTES_LIT("\x16\x02")));
	assert_false(tls_looks_like_tls(BYTES_LIT("\x15\x03")));
	assert_int_equal(tls_peek_hello(BYTES_NONE, &h), ERR_AGAIN);
	assert_int_equal(tls_peek_hello(BYTES_LIT("GET / HTTP/1.1\r\n"), &h), ERR_NOT_TLS);
	assert_int_equal(tls_peek_hello(BYTES_LIT("\x16\x03\x01\0\0"), &h), ERR_TLS_BAD_HELLO);
	assert_int_equal(tls_peek_hello(BYTES_LIT("\x16\x03\x01\x40\x01\x01"), &h),
			 ERR_TLS_BAD_HELLO);
	assert_int_equal(tls_peek_hello(BYTES_LIT("\x16\x03\x01\0\x04\x02\0\0\0"), &h),
			 ERR_TLS_BAD_HELLO);
	/* another record type between two pieces */
	assert_int_equal(tls_peek_hello(BYTES_LIT("\x16\x03\x01\0\x01\x01\x17\x03\x03\0\1\0"), &h),
			 ERR_TLS_BAD_HELLO);
	/* a length that can never be met */
	assert_int_equal(tls_peek_hello(BYTES_LIT("\x16\x03\x01\0\x04\x01\x02\0\0"), &h),
			 ERR_TLS_BAD_HELLO);
}

static void test_bounded(void **state)
{
	size_t n = TLS_PEEK_MAX;
	uint8_t *wire = malloc(n), msg[8] = { 1, 0, 0xff, 0xff };
	struct tls_hello h;

	(void)state;
	assert_non_null(wire);
	for (size_t i = 0; i + 6 <= n; i += 6) {
		const uint8_t record[] = { 22, 3, 1, 0, 1, i < 24 ? msg[i / 6] : 0 };

		memcpy(wire + i, record, sizeof(record));
	}
	assert_int_equal(tls_peek_hello(bytes_of(wire, n - n % 6 - 6), &h), ERR_AGAIN);
	assert_int_equal(tls_peek_hello(bytes_of(wire, n), &h), ERR_TLS_BAD_HELLO);
	free(wire);
}

static void test_host_names(void **state)
{
	char label[65], name[300];

	(void)state;
	assert_true(tls_host_valid(BYTES_LIT("localhost")));
	assert_true(tls_host_valid(BYTES_LIT("xn--bcher-kva.example")));
	assert_true(tls_host_valid(BYTES_LIT("a1.b2-c.example")));
	assert_false(tls_host_valid(BYTES_LIT("a..b")));
	assert_false(tls_host_valid(BYTES_LIT(".a")));
	assert_false(tls_host_valid(BYTES_LIT("127.1")));
	assert_false(tls_host_valid(BYTES_LIT("a\xc3\xa4.b")));
	assert_false(tls_host_valid(BYTES_LIT("a/b")));
	memset(label, 'a', 64);
	assert_true(tls_host_valid(bytes_of(label, 63)));
	assert_false(tls_host_valid(bytes_of(label, 64)));
	for (size_t i = 0; i < sizeof(name); i++)
		name[i] = i % 2 ? '.' : 'a';
	assert_true(tls_host_valid(bytes_of(name, 253)));
	assert_false(tls_host_valid(bytes_of(name, 255)));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_record_size_every_split),
		cmocka_unit_test(test_cases),
		cmocka_unit_test(test_versions),
		cmocka_unit_test(test_every_length_every_flip),
		cmocka_unit_test(test_first_bytes),
		cmocka_unit_test(test_bounded),
		cmocka_unit_test(test_host_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
