/*
 * The n-th allocation of the TLS library fails, for every n: an error, no crash, nothing left
 * behind.
 */
#include "tests/unit/tls_pair.h"

#include <wolfssl/options.h>
#include <wolfssl/wolfcrypt/memory.h>

static long live, countdown = -1;

static bool fails_now(void)
{
	if (countdown < 0)
		return false;
	return countdown-- == 0;
}

static void *counting_malloc(size_t n)
{
	void *p = fails_now() ? NULL : malloc(n);

	live += p != NULL;
	return p;
}

static void counting_free(void *p)
{
	live -= p != NULL;
	free(p);
}

static void *counting_realloc(void *p, size_t n)
{
	void *q = fails_now() ? NULL : realloc(p, n);

	live += q && !p;
	return q;
}

/* Makes everything there is and uses it once; true when all went well. */
static bool whole_life(void)
{
	struct buf cert = read_vector("root.crt"), key = read_vector("root.key"), der;
	struct tls_ticket_secret t = { .epoch = 0 };
	struct tls_minter *m;
	struct tls_server *s;
	struct tls_client *c;
	struct pair q;
	const char *why;
	enum err e;
	bool ok = false;

	memset(&q, 0, sizeof(q));
	buf_init(&der, TLS_CERT_MAX);
	buf_init(&q.client.out, 256 * 1024);
	buf_init(&q.server.out, 256 * 1024);
	m = tls_minter_new(buf_bytes(&cert), buf_bytes(&key), &why);
	c = tls_client_new(buf_bytes(&cert), &e);
	s = tls_ticket_secret_make(&t, (uint64_t)time(NULL)) == ERR_OK ?
		    tls_server_new(buf_bytes(&cert), &t, &e) : NULL;
	if (m && s && c &&
	    tls_minter_sign(m, "oom.test", tls_server_pubkey(s), 3600, &der) == ERR_OK &&
	    tls_leaf_new(s, "oom.test", buf_bytes(&der), &q.leaf) == ERR_OK) {
		q.client.e = tls_engine_new_client(c, "oom.test", 443, "http/1.1", &q.client.out);
		q.server.e = tls_engine_new_server(s, q.leaf, "http/1.1", &q.server.out);
	}
	if (q.client.e && q.server.e) {
		end_open(&q.client, q.client.e);
		end_open(&q.server, q.server.e);
		pair_run(&q, 1 << 20);
		if (q.client.shake == ERR_OK && q.server.shake == ERR_OK &&
		    tls_engine_write(q.client.e, BYTES_LIT("hello")) == ERR_OK) {
			pair_run(&q, 1 << 20);
			ok = bytes_eq(buf_bytes(&q.server.got), BYTES_LIT("hello"));
			/* what does arrive is what was sent */
			assert_true(ok || buf_len(&q.server.got) == 0);
		}
	}
	pair_close(&q);
	tls_client_free(c);
	tls_server_free(s);
	tls_minter_free(m);
	buf_release(&cert);
	buf_release(&key);
	buf_release(&der);
	return ok;
}

static void test_every_allocation(void **state)
{
	long before, n, passed = 0;

	(void)state;
	if (strstr(tls_library_text(), "wolfSSL 5.5."))
		skip();		/* leaks by itself then */
	assert_int_equal(wolfSSL_SetAllocators(counting_malloc, counting_free, counting_realloc),
			 0);
	assert_int_equal(tls_global_init(), ERR_OK);
	assert_true(whole_life());
	before = live;
	for (n = 0; ; n++) {
		bool ok;

		countdown = n;
		ok = whole_life();
		if (countdown >= 0) {	/* it never came to the n-th */
			assert_true(ok);
			break;
		}
		passed += ok;
		if (live != before)
			fail_msg("allocation %ld: %ld left behind", n, live - before);
	}
	countdown = -1;
	assert_true(n > 100);
	assert_true(passed < n / 2);	/* some are for sessions and words only */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_allocation),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
