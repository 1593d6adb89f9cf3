/* Minting: which CAs are taken, what is signed, and the messages about it. */
#include "tests/unit/tls_pair.h"
#include "tests/lib/guard.h"

#include "gateway/tls/tls_internal.h"

static struct pki pki;

static int open_all(void **state)
{
	(void)state;
	pki_open(&pki);
	return 0;
}

static int close_all(void **state)
{
	(void)state;
	pki_close(&pki);
	return 0;
}

struct ca_case {
	const char *cert, *key, *why;	/* why: NULL when it works */
};

static void test_which_ca(void **state)
{
	static const struct ca_case cases[] = {
		{ "inter.crt", "inter.key", NULL },
		{ "inter.crt", "inter.sec1.key", NULL },
		{ "rsa.crt", "rsa.key", NULL },
		{ "rsa.crt", "rsa.pkcs1.key", NULL },
		{ "p384.crt", "p384.key", NULL },
		{ "root.crt", "other.key", "the CA key does not belong to the CA certificate" },
		{ "rsa.crt", "other.key", "the CA key does not belong to the CA certificate" },
		{ "root.crt", "rsa.key", "the CA key does not belong to the CA certificate" },
		{ "notca.crt", "other.key", "the certificate is not one of a CA" },
		{ "expired.crt", "root.key", "the CA certificate is expired" },
		{ "root.key", "root.key", "the CA file holds no certificate" },
		{ "root.crt", "root.crt", "the key file holds no private key" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const char *why = "unset";
		struct tls_minter *m = minter_of(cases[i].cert, cases[i].key, &why);

		if (cases[i].why) {
			assert_null(m);
			assert_string_equal(why, cases[i].why);
		} else {
			assert_non_null(m);
			tls_minter_free(m);
		}
	}
}

static void sign(const char *host, uint32_t lifetime, struct buf *der, struct x509_view *v)
{
	buf_init(der, TLS_CERT_MAX);
	assert_int_equal(tls_minter_sign(pki.minter, host, tls_server_pubkey(pki.server), lifetime,
					 der),
			 ERR_OK);
	assert_int_equal(x509_parse(buf_bytes(der), v), ERR_OK);
}

static void test_what_is_signed(void **state)
{
	uint64_t now = (uint64_t)time(NULL);
	struct x509_view v, w;
	struct buf a, b;

	(void)state;
	sign("api.example.test", 3600, &a, &v);
	assert_false(v.is_ca || v.may_sign_certs || v.sha1);
	assert_true(v.has_key_usage && v.may_sign);
	assert_int_equal(v.skid.n, 20);
	assert_in_range(v.not_after, now + 3599, now + 3700);
	assert_true(v.not_before <= now);
	assert_true(bytes_eq(v.spki, tls_server_pubkey(pki.server)));
	assert_int_equal(x509_verify_host(&v, "api.example.test"), ERR_OK);
	assert_int_equal(x509_verify_host(&v, "API.example.test"), ERR_OK);
	assert_int_equal(x509_verify_host(&v, "example.test"), ERR_UPSTREAM_CERT_NAME);
	sign("api.example.test", 3600, &b, &w);
	/* The serial number, if nothing else. */
	assert_false(bytes_eq(buf_bytes(&a), buf_bytes(&b)));
	buf_release(&a);
	buf_release(&b);
	/* never longer than the CA itself */
	sign("long.example.test", 0xffffffff, &a, &v);
	assert_true(v.not_after < now + 0xffffffff);
	buf_release(&a);
}

static void test_addresses_and_long_names(void **state)
{
	char host[254];
	struct x509_view v;
	struct buf der;

	(void)state;
	sign("192.0.2.7", 3600, &der, &v);
	assert_int_equal(x509_verify_host(&v, "192.0.2.7"), ERR_OK);
	assert_int_equal(x509_verify_host(&v, "192.0.2.8"), ERR_UPSTREAM_CERT_NAME);
	buf_release(&der);
	sign("2001:db8::7", 3600, &der, &v);
	assert_int_equal(x509_verify_host(&v, "2001:db8:0::7"), ERR_OK);
	buf_release(&der);
	for (size_t i = 0; i < 253; i++)
		host[i] = i % 50 == 49 ? '.' : 'x';
	host[253] = '\0';
	sign(host, 3600, &der, &v);
	assert_int_equal(v.subject.n, 2);	/* no common name above 64: an empty subject */
	assert_int_equal(x509_verify_host(&v, host), ERR_OK);
	buf_release(&der);
}

static void test_what_is_not_signed(void **state)
{
	static const char *const hosts[] = { "", "*", "*.example.test", "a b", "a..b", "ex.test.",
					     "a\nb", "1.2.3", "[::1]", "host:443", "a/b" };
	uint8_t key[TLS_PUBKEY_LEN];
	struct buf der;

	(void)state;
	buf_init(&der, TLS_CERT_MAX);
	for (size_t i = 0; i < ARRAY_SIZE(hosts); i++)
		assert_int_equal(tls_minter_sign(pki.minter, hosts[i],
						 tls_server_pubkey(pki.server), 60, &der),
				 ERR_BAD_VALUE);
	assert_int_equal(tls_minter_sign(pki.minter, "a.test", tls_server_pubkey(pki.server), 0,
					 &der),
			 ERR_BAD_VALUE);
	/* a point that is not on the curve */
	memcpy(key, tls_server_pubkey(pki.server).p, sizeof(key));
	key[sizeof(key) - 1] ^= 1;
	assert_int_equal(tls_minter_sign(pki.minter, "a.test", bytes_of(key, sizeof(key)), 60,
					 &der),
			 ERR_BAD_VALUE);
	assert_int_equal(tls_minter_sign(pki.minter, "a.test", bytes_of(key, 90), 60, &der),
			 ERR_BAD_VALUE);
	assert_int_equal(buf_len(&der), 0);
}

/* A leaf is believed for its key and its host only. */
static void test_leaf_must_fit(void **state)
{
	struct tls_server *other = server_of("inter.crt", &pki.ticket);
	struct tls_leaf *leaf = NULL;
	struct x509_view v;
	struct buf der;

	(void)state;
	sign("fit.example.test", 60, &der, &v);
	assert_int_equal(tls_leaf_new(other, "fit.example.test", buf_bytes(&der), &leaf), ERR_MINT);
	assert_int_equal(tls_leaf_new(pki.server, "fat.example.test", buf_bytes(&der), &leaf),
			 ERR_MINT);
	for (size_t n = 0; n < buf_len(&der); n++) {
		void *g = guard_copy(der.data + der.start, n);

		assert_int_equal(tls_leaf_new(pki.server, "fit.example.test", bytes_of(g, n),
					      &leaf),
				 ERR_MINT);
		guard_free(g);
	}
	assert_null(leaf);
	assert_int_equal(tls_leaf_new(pki.server, "fit.example.test", buf_bytes(&der), &leaf),
			 ERR_OK);
	assert_string_equal(tls_leaf_host(leaf), "fit.example.test");
	assert_int_equal(tls_leaf_not_after(leaf), v.not_after);
	tls_leaf_unref(leaf);
	tls_server_free(other);
	buf_release(&der);
}

/* Each CA signs what a client that trusts it takes. */
static void test_every_ca_serves(void **state)
{
	static const char *const names[][2] = { { "root.crt", "root.key" },
						{ "rsa.crt", "rsa.key" },
						{ "p384.crt", "p384.key" } };
	struct pki mine = pki;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		const char *why;
		struct pair q;

		mine.minter = minter_of(names[i][0], names[i][1], &why);
		mine.server = server_of(names[i][0], &pki.ticket);
		mine.client = client_of(names[i][0]);
		pair_open(&q, &mine, "ca.example.test");
		pair_run(&q, 1 << 20);
		assert_int_equal(q.client.shake, ERR_OK);
		assert_int_equal(q.server.shake, ERR_OK);
		pair_close(&q);
		pki_close(&mine);
	}
}

static void test_request_every_split(void **state)
{
	struct tls_mint_request r = { .id = 0x01020304, .host = "codec.example.test" }, back;
	struct buf out;
	size_t used;

	(void)state;
	memcpy(r.pubkey, tls_server_pubkey(pki.server).p, TLS_PUBKEY_LEN);
	buf_init(&out, 2 * TLS_MINT_REQUEST_MAX);
	assert_int_equal(tls_mint_request_encode(&r, &out), ERR_OK);
	for (size_t n = 0; n <= buf_len(&out); n++) {
		void *g = guard_copy(out.data + out.start, n);

		assert_int_equal(tls_mint_request_decode(bytes_of(g, n), &back, &used),
				 n < buf_len(&out) ? ERR_AGAIN : ERR_OK);
		guard_free(g);
	}
	assert_int_equal(used, buf_len(&out));
	assert_int_equal(back.id, r.id);
	assert_string_equal(back.host, r.host);
	assert_memory_equal(back.pubkey, r.pubkey, TLS_PUBKEY_LEN);
	out.data[out.start] = 'R';
	assert_int_equal(tls_mint_request_decode(buf_bytes(&out), &back, &used), ERR_BAD_VALUE);
	out.data[out.start] = 'Q';
	out.data[out.start + 10] = ' ';
	assert_int_equal(tls_mint_request_decode(buf_bytes(&out), &back, &used), ERR_BAD_VALUE);
	out.data[out.start + 10] = 'x';
	out.data[out.start + 7]++;
	assert_int_equal(tls_mint_request_decode(buf_bytes(&out), &back, &used), ERR_BAD_VALUE);
	buf_clear(&out);
	(void)snprintf(r.host, sizeof(r.host), "not a host");
	assert_int_equal(tls_mint_request_encode(&r, &out), ERR_BAD_VALUE);
	buf_release(&out);
}

static void test_response_every_split(void **state)
{
	struct tls_mint_response r = { .id = 7, .cert = BYTES_LIT("certificate") }, back;
	struct buf out;
	size_t used;

	(void)state;
	buf_init(&out, TLS_MINT_RESPONSE_MAX);
	assert_int_equal(tls_mint_response_encode(&r, &out), ERR_OK);
	for (size_t n = 0; n <= buf_len(&out); n++)
		assert_int_equal(tls_mint_response_decode(bytes_first(buf_bytes(&out), n), &back,
							  &used),
				 n < buf_len(&out) ? ERR_AGAIN : ERR_OK);
	assert_int_equal(back.id, 7);
	assert_int_equal(back.err, ERR_OK);
	assert_true(bytes_eq(back.cert, r.cert));
	buf_clear(&out);
	r = (struct tls_mint_response){ .id = 8, .err = ERR_MINT };
	assert_int_equal(tls_mint_response_encode(&r, &out), ERR_OK);
	assert_int_equal(tls_mint_response_decode(buf_bytes(&out), &back, &used), ERR_OK);
	assert_int_equal(back.err, ERR_MINT);
	assert_int_equal(back.cert.n, 0);
	out.data[out.end - 1] = ERR_COUNT;
	assert_int_equal(tls_mint_response_decode(buf_bytes(&out), &back, &used), ERR_BAD_VALUE);
	out.data[out.end - 1] = ERR_OK;
	assert_int_equal(tls_mint_response_decode(buf_bytes(&out), &back, &used), ERR_BAD_VALUE);
	r.cert = BYTES_LIT("x");
	assert_int_equal(tls_mint_response_encode(&r, &out), ERR_BAD_VALUE);
	buf_release(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_which_ca),
		cmocka_unit_test(test_what_is_signed),
		cmocka_unit_test(test_addresses_and_long_names),
		cmocka_unit_test(test_what_is_not_signed),
		cmocka_unit_test(test_leaf_must_fit),
		cmocka_unit_test(test_every_ca_serves),
		cmocka_unit_test(test_request_every_split),
		cmocka_unit_test(test_response_every_split),
	};

	return cmocka_run_group_tests(tests, open_all, close_all);
}
