/* Sessions: resumed where they may be, and nowhere else. */
#include "tests/unit/tls_pair.h"

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

/* One connection; was it resumed? Both ends must agree. */
static bool connect_once(const char *host)
{
	struct pair q;
	bool resumed;

	pair_open(&q, &pki, host);
	pair_run(&q, 1 << 20);
	assert_int_equal(q.client.shake, ERR_OK);
	assert_int_equal(q.server.shake, ERR_OK);
	resumed = tls_engine_resumed(q.client.e);
	assert_int_equal(resumed, tls_engine_resumed(q.server.e));
	pair_close(&q);
	return resumed;
}

static void test_resumes_same_host(void **state)
{
	(void)state;
	assert_false(connect_once("a.example.test"));
	assert_true(connect_once("a.example.test"));
	assert_true(connect_once("a.example.test"));
	assert_false(connect_once("b.example.test"));
}

/* More resumptions in one line than a byte counts: each works, few are full. */
static void test_long_line_of_tickets(void **state)
{
	int full = 0;

	(void)state;
	for (int i = 0; i < 600; i++)
		full += !connect_once("line.example.test");
	assert_in_range(full, 2, 4);
}

/*
 * The session of host A shown to the server of host B: full handshake there, and its name is wrong.
 */
static void test_ticket_of_other_host(void **state)
{
	struct pair q;

	(void)state;
	assert_false(connect_once("mine.example.test"));
	assert_true(connect_once("mine.example.test"));
	/* same ALPN: wolfSSL binds tickets to that by itself */
	pair_open_as(&q, &pki, "theirs.example.test", "mine.example.test", "http/1.1", "http/1.1");
	pair_run(&q, 1 << 20);
	assert_false(tls_engine_resumed(q.server.e));
	assert_int_equal(q.client.shake, ERR_UPSTREAM_CERT_NAME);
	pair_close(&q);
	/* and the session that led there is forgotten */
	assert_false(connect_once("mine.example.test"));
}

static void test_other_port_is_other_session(void **state)
{
	struct pair q;

	(void)state;
	assert_false(connect_once("port.example.test"));
	pair_open(&q, &pki, "port.example.test");
	tls_engine_free(q.client.e);
	q.client.e = tls_engine_new_client(pki.client, "port.example.test", 8443, NULL,
					   &q.client.out);
	assert_non_null(q.client.e);
	pair_run(&q, 1 << 20);
	assert_int_equal(q.client.shake, ERR_OK);
	assert_false(tls_engine_resumed(q.client.e));
	pair_close(&q);
}

/* A respawned worker has another leaf key, yet opens its predecessor's tickets. */
static void test_secret_is_shared_by_workers(void **state)
{
	struct tls_server *mine = pki.server;
	struct tls_ticket_secret stranger;

	(void)state;
	assert_false(connect_once("worker.example.test"));
	pki.server = server_of("inter.crt", &pki.ticket);
	assert_true(connect_once("worker.example.test"));
	tls_server_free(pki.server);
	assert_int_equal(tls_ticket_secret_make(&stranger, (uint64_t)time(NULL)), ERR_OK);
	pki.server = server_of("inter.crt", &stranger);
	assert_false(connect_once("worker.example.test"));
	tls_server_free(pki.server);
	pki.server = mine;
}

static void test_secret_advances(void **state)
{
	struct tls_ticket_secret a, b, old;
	uint64_t now = 1000000 * (uint64_t)TLS_TICKET_EPOCH;

	(void)state;
	assert_int_equal(tls_ticket_secret_make(&a, now), ERR_OK);
	b = old = a;
	assert_int_equal(tls_ticket_secret_advance(&a, now + TLS_TICKET_EPOCH - 1), ERR_OK);
	assert_memory_equal(&a, &old, sizeof(a));
	assert_int_equal(tls_ticket_secret_advance(&a, now + 3 * TLS_TICKET_EPOCH), ERR_OK);
	for (int i = 1; i <= 3; i++)
		assert_int_equal(tls_ticket_secret_advance(&b,
							   now + (uint64_t)i * TLS_TICKET_EPOCH),
				 ERR_OK);
	assert_memory_equal(&a, &b, sizeof(a));
	assert_memory_not_equal(a.key, old.key, sizeof(a.key));
	/* a clock set back does not bring old keys back */
	assert_int_equal(tls_ticket_secret_advance(&a, now), ERR_OK);
	assert_memory_equal(&a, &b, sizeof(a));
}

/* A worker that was given the secret an epoch ago is where one given it now is. */
static void test_secret_handed_on_late(void **state)
{
	uint64_t now = (uint64_t)time(NULL);
	struct tls_server *mine = pki.server;
	struct tls_ticket_secret t;

	(void)state;
	assert_int_equal(tls_ticket_secret_make(&t, now - 2 * TLS_TICKET_EPOCH), ERR_OK);
	pki.server = server_of("inter.crt", &t);
	assert_false(connect_once("late.example.test"));
	tls_server_free(pki.server);
	assert_int_equal(tls_ticket_secret_advance(&t, now), ERR_OK);
	pki.server = server_of("inter.crt", &t);
	assert_true(connect_once("late.example.test"));
	tls_server_free(pki.server);
	pki.server = mine;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_resumes_same_host),
		cmocka_unit_test(test_long_line_of_tickets),
		cmocka_unit_test(test_ticket_of_other_host),
		cmocka_unit_test(test_other_port_is_other_session),
		cmocka_unit_test(test_secret_is_shared_by_workers),
		cmocka_unit_test(test_secret_advances),
		cmocka_unit_test(test_secret_handed_on_late),
	};

	return cmocka_run_group_tests(tests, open_all, close_all);
}
