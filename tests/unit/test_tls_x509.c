/* Names, DER and certificates as read by ourselves. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "gateway/tls/tls_internal.h"
#include "tests/lib/guard.h"

struct match_case {
	const char *pattern, *host;
	bool want;
};

/* RFC 9525 6.3 */
static void test_wildcards(void **state)
{
	static const struct match_case cases[] = {
		{ "a.example.com", "a.example.com", true },
		{ "A.Example.com", "a.eXample.com", true },
		{ "*.example.com", "a.example.com", true },
		{ "*.EXAMPLE.com", "a.example.com", true },
		{ "*.example.com", "example.com", false },
		{ "*.example.com", "a.b.example.com", false },
		{ "*.example.com", ".example.com", false },
		{ "a.example.com", "b.example.com", false },
		{ "a.example.com", "a.example.com.", false },
		{ "a*.example.com", "ab.example.com", false },
		{ "*a.example.com", "ba.example.com", false },
		{ "a.*.example.com", "a.b.example.com", false },
		{ "*.*.example.com", "a.b.example.com", false },
		{ "*.com", "example.com", false },
		{ "*", "example", false },
		{ "*.", "a.", false },
		{ "", "", false },
		{ "", "a.example.com", false },
		{ "1.2.3.4", "1.2.3.4", false },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		if (host_matches(bytes_str(cases[i].pattern), bytes_str(cases[i].host)) !=
		    cases[i].want)
			fail_msg("%s for %s", cases[i].pattern, cases[i].host);
	/* the name before a NUL is not the name */
	assert_false(
		host_matches(BYTES_LIT("a.example.com\0.evil.test"), BYTES_LIT("a.example.com")));
}

struct time_case {
	uint8_t tag;
	const char *text;
	bool ok;
	uint64_t want;
};

static void test_times(void **state)
{
	static const struct time_case cases[] = {
		{ DER_UTC_TIME, "700101000000Z", true, 0 },
		{ DER_UTC_TIME, "000229120000Z", true, 951825600 },
		{ DER_UTC_TIME, "491231235959Z", true, 2524607999 },
		{ DER_UTC_TIME, "500101000000Z", true, 0 },	/* 1950 */
		{ DER_GENERALIZED_TIME, "20500101000000Z", true, 2524608000 },
		{ DER_GENERALIZED_TIME, "99991231235959Z", true, 253402300799 },
		{ DER_UTC_TIME, "7001010000Z", false, 0 },
		{ DER_UTC_TIME, "700101000000", false, 0 },
		{ DER_UTC_TIME, "700101000000+0100", false, 0 },
		{ DER_UTC_TIME, "701301000000Z", false, 0 },
		{ DER_UTC_TIME, "700100000000Z", false, 0 },
		{ DER_UTC_TIME, "700101240000Z", false, 0 },
		{ DER_GENERALIZED_TIME, "20500101000000.5Z", false, 0 },
		{ DER_INTEGER, "700101000000Z", false, 0 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const struct time_case *c = &cases[i];
		uint64_t t = 0;

		if (der_time(c->tag, bytes_str(c->text), &t) != c->ok || (c->ok && t != c->want))
			fail_msg("%s: %llu", c->text, (unsigned long long)t);
	}
}

/* What is written is read back, at the borders of the forms of length and time. */
static void test_write_and_read(void **state)
{
	static const size_t sizes[] = { 0, 1, 127, 128, 255, 256, 257, 4000 };
	static const uint64_t times[] = { 0, 951825600, 2524607999, 2524608000, 253402300799 };
	static uint8_t zero[4000], room[4096];
	struct bytes in, body, whole;
	struct der_writer w;
	uint64_t back;
	uint8_t tag;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		der_writer_init(&w, room, sizeof(room));
		der_put_tlv(&w, DER_OCTET_STRING, bytes_of(zero, sizes[i]));
		assert_false(w.full);
		in = der_written(&w);
		assert_true(der_next(&in, &tag, &body, &whole));
		assert_int_equal(tag, DER_OCTET_STRING);
		assert_int_equal(body.n, sizes[i]);
		assert_int_equal(in.n, 0);
	}
	for (size_t i = 0; i < ARRAY_SIZE(times); i++) {
		der_writer_init(&w, room, sizeof(room));
		der_put_time(&w, times[i]);
		in = der_written(&w);
		assert_true(der_next(&in, &tag, &body, NULL) && der_time(tag, body, &back));
		assert_true(back == times[i]);
	}
	der_writer_init(&w, room, 10);
	der_put_tlv(&w, DER_OCTET_STRING, bytes_of(zero, 9));
	assert_true(w.full);
}

static void test_refused_lengths(void **state)
{
	static const struct bytes bad[] = {
		{ (const uint8_t *)"\x30", 1 },
		{ (const uint8_t *)"\x30\x01", 2 },
		{ (const uint8_t *)"\x30\x80\0\0", 4 },		/* indefinite */
		{ (const uint8_t *)"\x30\x81\x01\0", 4 },	/* long form of a short length */
		{ (const uint8_t *)"\x30\x82\0\x80", 4 },	/* leading zero */
		{ (const uint8_t *)"\x30\x84\0\0\0\1\0", 7 },
		{ (const uint8_t *)"\x30\x83\xff\xff\xff", 5 },
		{ (const uint8_t *)"\x1f\x01\0", 3 },		/* long tag */
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		void *g = guard_copy(bad[i].p, bad[i].n);
		struct bytes in = bytes_of(g, bad[i].n), body;
		uint8_t tag;

		assert_false(der_next(&in, &tag, &body, NULL));
		guard_free(g);
	}
}

static void load(const char *name, struct buf *der)
{
	struct pem_block block;
	struct bytes text;
	char pem[8192];
	FILE *f = fopen(name, "r");

	assert_non_null(f);
	text = bytes_of(pem, fread(pem, 1, sizeof(pem), f));
	(void)fclose(f);
	buf_init(der, 8192);
	assert_true(pem_next(&text, &block));
	assert_int_equal(pem_decode(&block, der), ERR_OK);
}

/* Every prefix of a certificate, and every byte of it changed: no crash, no read past the end. */
static void test_broken_certificates(void **state)
{
	struct x509_view v;
	struct buf der;
	uint8_t *g;
	size_t n;

	(void)state;
	load("tests/vectors/tls/notca.crt", &der);
	n = buf_len(&der);
	assert_int_equal(x509_parse(buf_bytes(&der), &v), ERR_OK);
	assert_false(v.is_ca);
	assert_int_equal(x509_verify_host(&v, "leaf.test"), ERR_OK);
	assert_int_equal(x509_verify_host(&v, "leaf"), ERR_UPSTREAM_CERT_NAME);	/* that is its CN */
	for (size_t i = 0; i < n; i++) {
		g = guard_copy(der.data + der.start, i);
		assert_int_equal(x509_parse(bytes_of(g, i), &v), ERR_BAD_VALUE);
		guard_free(g);
	}
	g = guard_copy(der.data + der.start, n);
	for (size_t i = 0; i < n; i++) {
		for (unsigned int x = 1; x < 256; x += 7) {
			g[i] ^= (uint8_t)x;
			if (x509_parse(bytes_of(g, n), &v) == ERR_OK)
				(void)!x509_verify_host(&v, "leaf.test");
			g[i] ^= (uint8_t)x;
		}
	}
	guard_free(g);
	buf_release(&der);
}

#define PEM_TEXT \
	"junk\n-----BEGIN A-----\nAAEC\n-----END A-----\n" \
	"-----BEGIN B-----\nAA\n-----END C-----\n" \
	"-----BEGIN D-----\nProc-Type: 4,ENCRYPTED\n\nAAEC\n-----END D-----\n" \
	"-----BEGIN E-----\nAAEC"

static void test_pem(void **state)
{
	struct bytes in = BYTES_LIT(PEM_TEXT);
	struct pem_block b;
	struct buf der;

	(void)state;
	buf_init(&der, 100);
	assert_true(pem_next(&in, &b));
	assert_true(bytes_eq(b.label, BYTES_LIT("A")));
	assert_int_equal(pem_decode(&b, &der), ERR_OK);
	assert_true(bytes_eq(buf_bytes(&der), BYTES_LIT("\0\1\2")));
	assert_true(pem_next(&in, &b));
	assert_true(bytes_eq(b.label, BYTES_LIT("D")));
	assert_int_equal(pem_decode(&b, &der), ERR_BAD_VALUE);
	assert_false(pem_next(&in, &b));
	buf_release(&der);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_wildcards),
		cmocka_unit_test(test_times),
		cmocka_unit_test(test_write_and_read),
		cmocka_unit_test(test_refused_lengths),
		cmocka_unit_test(test_broken_certificates),
		cmocka_unit_test(test_pem),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
