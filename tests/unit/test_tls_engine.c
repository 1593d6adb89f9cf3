/* Engine against engine, over every fragmentation. */
#include "tests/unit/tls_pair.h"

#include <sys/resource.h>

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

static void send_and_expect(struct end *from, struct end *to, struct pair *q, const char *text,
			    size_t pace)
{
	buf_clear(&to->got);
	assert_int_equal(tls_engine_write(from->e, bytes_str(text)), ERR_OK);
	pair_run(q, pace);
	assert_true(bytes_eq(buf_bytes(&to->got), bytes_str(text)));
}

static void test_every_pace(void **state)
{
	static const size_t paces[] = { 1, 2, 3, 5, 7, 100, 517, 1460, 16384, 1 << 20 };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(paces); i++) {
		struct pair q;

		pair_open(&q, &pki, "host.example.test");
		pair_run(&q, paces[i]);
		assert_int_equal(q.client.shake, ERR_OK);
		assert_int_equal(q.server.shake, ERR_OK);
		assert_string_equal(tls_engine_alpn(q.client.e), "http/1.1");
		assert_string_equal(tls_engine_alpn(q.server.e), "http/1.1");
		assert_string_equal(tls_engine_version(q.client.e), "TLSv1.3");
		send_and_expect(&q.client, &q.server, &q, "GET / HTTP/1.1\r\n\r\n", paces[i]);
		send_and_expect(&q.server, &q.client, &q, "HTTP/1.1 200 OK\r\n\r\n", paces[i]);
		pair_close(&q);
	}
}

/*
 * The first flight of each side in two pieces, at every place; `at` names the host for a full
 * handshake.
 */
static void split_flights(const char *host, size_t at, size_t *hello, size_t *answer)
{
	struct pair q;

	pair_open(&q, &pki, host);
	end_run(&q.client);
	*hello = buf_len(&q.client.out);
	(void)carry(&q.client, &q.server, at);
	(void)carry(&q.client, &q.server, 1 << 20);
	*answer = buf_len(&q.server.out);
	(void)carry(&q.server, &q.client, at);
	pair_run(&q, 1 << 20);
	assert_int_equal(q.client.shake, ERR_OK);
	assert_int_equal(q.server.shake, ERR_OK);
	pair_close(&q);
}

static void test_every_split_of_full_handshake(void **state)
{
	size_t hello = 2, answer = 2;

	(void)state;
	for (size_t at = 1; at < hello || at < answer; at++) {
		char host[64];

		(void)snprintf(host, sizeof(host), "split%zu.example.test", at);
		split_flights(host, at, &hello, &answer);
		assert_true(hello > 100 && answer > 800);
	}
}

static void test_every_split_of_resumption(void **state)
{
	size_t hello = 2, answer = 2;

	(void)state;
	split_flights("resume.example.test", 1, &hello, &answer);
	for (size_t at = 1; at < hello || at < answer; at++) {
		split_flights("resume.example.test", at, &hello, &answer);
		/* no certificate in it, but for the times when the ticket's line was too old */
		assert_true(hello > 300 && (answer < 500 || at > 190));
	}
}

static void test_large_both_ways(void **state)
{
	enum { TOTAL = 3 * TLS_RECORD_PLAIN_MAX + 1234 };
	uint8_t *data = malloc(TOTAL);
	struct pair q;

	(void)state;
	assert_non_null(data);
	for (size_t i = 0; i < TOTAL; i++)
		data[i] = (uint8_t)(i * 2654435761u >> 13);
	pair_open(&q, &pki, "large.example.test");
	pair_run(&q, 1 << 20);
	for (int way = 0; way < 2; way++) {
		struct end *from = way ? &q.client : &q.server, *to = way ? &q.server : &q.client;

		assert_true(tls_engine_write_room(from->e) >= TOTAL);
		assert_int_equal(tls_engine_write(from->e, bytes_of(data, TOTAL)), ERR_OK);
		pair_run(&q, 1000);
		assert_true(bytes_eq(buf_bytes(&to->got), bytes_of(data, TOTAL)));
	}
	pair_close(&q);
	free(data);
}

/* A full `out` is back-pressure: nothing is written then, and nothing is lost. */
static void test_write_at_ceiling(void **state)
{
	uint8_t data[TLS_RECORD_PLAIN_MAX] = { 1, 2, 3 };
	struct pair q;
	size_t room, before, written = 0;

	(void)state;
	pair_open(&q, &pki, "full.example.test");
	pair_run(&q, 1 << 20);
	q.client.out.max = 3 * TLS_OUT_MIN;
	while ((room = tls_engine_write_room(q.client.e)) > 0) {
		room = room < sizeof(data) ? room : sizeof(data);
		assert_int_equal(tls_engine_write(q.client.e, bytes_of(data, room)), ERR_OK);
		written += room;
	}
	assert_true(written >= 3 * TLS_RECORD_PLAIN_MAX);
	assert_true(buf_len(&q.client.out) <= q.client.out.max);
	before = buf_len(&q.client.out);
	assert_int_equal(tls_engine_write(q.client.e, bytes_of(data, 1)), ERR_AGAIN);
	assert_int_equal(buf_len(&q.client.out), before);
	pair_run(&q, 1 << 20);
	assert_int_equal(buf_len(&q.server.got), written);
	assert_int_equal(tls_engine_write(q.client.e, bytes_of(data, 1)), ERR_OK);
	pair_close(&q);
}

/* The handshake as well waits for room in `out`, however little there is. */
static void test_handshake_with_tiny_out(void **state)
{
	struct pair q;

	(void)state;
	/*
	 * That release forgets where it was; flights fit into TLS_OUT_MIN, so it does not matter.
	 */
	if (strstr(tls_library_text(), "wolfSSL 5.5."))
		skip();
	pair_open(&q, &pki, "tiny.example.test");
	q.client.out.max = q.server.out.max = 10;
	for (int i = 0; i < 2000 && (q.client.shake == ERR_AGAIN || q.server.shake == ERR_AGAIN);
	     i++) {
		end_run(&q.client);
		end_run(&q.server);
		pair_run(&q, 1 << 20);
	}
	assert_int_equal(q.client.shake, ERR_OK);
	assert_int_equal(q.server.shake, ERR_OK);
	pair_close(&q);
}

/* Not reading (back-pressure): the rest is kept, in order, and bounded. */
static void test_settle_keeps_unread(void **state)
{
	uint8_t dst[10], *lent;
	struct pair q;
	struct bytes b;
	size_t n, total = 0;

	(void)state;
	pair_open(&q, &pki, "kept.example.test");
	pair_run(&q, 1 << 20);
	for (int i = 0; i < 20; i++)
		assert_int_equal(tls_engine_write(q.client.e, BYTES_LIT("0123456789")), ERR_OK);
	b = buf_bytes(&q.client.out);
	lent = malloc(b.n);
	assert_non_null(lent);
	memcpy(lent, b.p, b.n);
	assert_int_equal(tls_engine_feed(q.server.e, bytes_of(lent, b.n)), ERR_OK);
	assert_int_equal(tls_engine_read(q.server.e, dst, sizeof(dst), &n), ERR_OK);
	assert_int_equal(tls_engine_settle(q.server.e), ERR_OK);
	memset(lent, 0xff, b.n);
	free(lent);
	total += n;
	assert_true(tls_engine_pending(q.server.e) > 0);
	while (tls_engine_read(q.server.e, dst, sizeof(dst), &n) == ERR_OK) {
		assert_memory_equal(dst, "0123456789", n);
		total += n;
	}
	assert_int_equal(total, 200);
	assert_int_equal(tls_engine_pending(q.server.e), 0);
	lent = calloc(1, TLS_KEEP_MAX + 1);
	assert_non_null(lent);
	assert_int_equal(tls_engine_feed(q.server.e, bytes_of(lent, TLS_KEEP_MAX + 1)),
			 ERR_TOO_LONG);
	free(lent);
	buf_clear(&q.client.out);
	pair_close(&q);
}

static void test_close_notify_and_truncation(void **state)
{
	struct pair q;

	(void)state;
	pair_open(&q, &pki, "close.example.test");
	pair_run(&q, 1 << 20);
	tls_engine_close(q.client.e);
	tls_engine_close(q.client.e);
	pair_run(&q, 1);
	assert_int_equal(q.server.read, ERR_CLOSED);
	assert_true(tls_engine_closed_clean(q.server.e));
	/* half-closed: the answer still goes out */
	send_and_expect(&q.server, &q.client, &q, "late answer", 7);
	pair_close(&q);

	pair_open(&q, &pki, "close.example.test");
	pair_run(&q, 1 << 20);
	assert_int_equal(tls_engine_write(q.client.e, BYTES_LIT("cut")), ERR_OK);
	q.client.out.end--;
	pair_run(&q, 1 << 20);
	assert_int_equal(q.server.read, ERR_AGAIN);
	tls_engine_feed_eof(q.server.e);
	end_run(&q.server);
	assert_int_equal(q.server.read, ERR_CLOSED);
	assert_false(tls_engine_closed_clean(q.server.e));
	assert_int_equal(buf_len(&q.server.got), 0);
	pair_close(&q);
}

static void test_garbage(void **state)
{
	struct pair q;
	uint8_t junk[64];

	(void)state;
	memset(junk, 'A', sizeof(junk));
	pair_open(&q, &pki, "junk.example.test");
	assert_int_equal(tls_engine_feed(q.server.e, bytes_of(junk, sizeof(junk))), ERR_OK);
	assert_int_equal(tls_engine_handshake(q.server.e), ERR_TLS_HANDSHAKE);
	assert_int_equal(tls_engine_handshake(q.server.e), ERR_TLS_HANDSHAKE);
	assert_true(*tls_engine_detail(q.server.e));
	assert_int_equal(tls_engine_write(q.server.e, BYTES_LIT("x")), ERR_TLS_HANDSHAKE);
	assert_int_equal(tls_engine_feed(q.client.e, BYTES_NONE), ERR_OK);
	end_run(&q.client);
	assert_int_equal(tls_engine_feed(q.client.e, bytes_of(junk, sizeof(junk))), ERR_OK);
	assert_int_equal(tls_engine_handshake(q.client.e), ERR_UPSTREAM_TLS);
	pair_close(&q);

	/* after the handshake: a record that does not decrypt */
	pair_open(&q, &pki, "junk.example.test");
	pair_run(&q, 1 << 20);
	assert_int_equal(tls_engine_write(q.client.e, BYTES_LIT("good")), ERR_OK);
	q.client.out.data[q.client.out.end - 1] ^= 1;
	pair_run(&q, 1 << 20);
	assert_int_equal(q.server.read, ERR_TLS_HANDSHAKE);
	assert_int_equal(buf_len(&q.server.got), 0);
	pair_close(&q);
}

/* Every single byte of the handshake broken once: never both ends done with different views. */
static void test_every_byte_broken(void **state)
{
	size_t hello = 200;

	(void)state;
	for (size_t at = 0; at < hello; at += 3) {
		struct pair q;

		pair_open(&q, &pki, "flip.example.test");
		end_run(&q.client);
		hello = buf_len(&q.client.out);
		q.client.out.data[q.client.out.start + at] ^= 0x20;
		pair_run(&q, 1 << 20);
		assert_false(q.client.shake == ERR_OK && q.server.shake == ERR_OK);
		pair_close(&q);
	}
}

/*
 * The sandboxed roles open nothing: contexts, leaves and connections work without a new descriptor.
 */
static void test_needs_no_descriptor(void **state)
{
	struct buf cert = read_vector("inter.crt"), key = read_vector("inter.key"),
		   root = read_vector("root.crt");
	struct rlimit was, none;
	struct pki mine = pki;
	struct pair q = { .leaf = NULL };
	const char *why;
	enum err e;

	(void)state;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &was), 0);
	none = was;
	none.rlim_cur = 0;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	mine.minter = tls_minter_new(buf_bytes(&cert), buf_bytes(&key), &why);
	mine.server = tls_server_new(buf_bytes(&cert), &pki.ticket, &e);
	mine.client = tls_client_new(buf_bytes(&root), &e);
	if (mine.minter && mine.server && mine.client) {
		pair_open(&q, &mine, "closed.example.test");
		pair_run(&q, 1 << 20);
	}
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &was), 0);
	assert_true(mine.minter && mine.server && mine.client);
	assert_int_equal(q.client.shake, ERR_OK);
	assert_int_equal(q.server.shake, ERR_OK);
	pair_close(&q);
	pki_close(&mine);
	buf_release(&cert);
	buf_release(&key);
	buf_release(&root);
}

struct alpn_case {
	const char *client, *server, *want;
};

static void test_alpn(void **state)
{
	static const struct alpn_case cases[] = {
		{ "http/1.1", "http/1.1", "http/1.1" },
		{ "h2,http/1.1", "http/1.1", "http/1.1" },
		{ "h2,http/1.1", "h2,http/1.1", "h2" },
		{ "h2", "http/1.1", "" },
		{ NULL, "http/1.1", "" },
		{ "http/1.1", NULL, "" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct pair q;

		pair_open_as(&q, &pki, "alpn.example.test", "alpn.example.test", cases[i].client,
			     cases[i].server);
		pair_run(&q, 1 << 20);
		assert_int_equal(q.client.shake, ERR_OK);
		assert_int_equal(q.server.shake, ERR_OK);
		assert_string_equal(tls_engine_alpn(q.server.e), cases[i].want);
		assert_string_equal(tls_engine_alpn(q.client.e), cases[i].want);
		pair_close(&q);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_pace),
		cmocka_unit_test(test_every_split_of_full_handshake),
		cmocka_unit_test(test_every_split_of_resumption),
		cmocka_unit_test(test_large_both_ways),
		cmocka_unit_test(test_write_at_ceiling),
		cmocka_unit_test(test_handshake_with_tiny_out),
		cmocka_unit_test(test_settle_keeps_unread),
		cmocka_unit_test(test_close_notify_and_truncation),
		cmocka_unit_test(test_garbage),
		cmocka_unit_test(test_every_byte_broken),
		cmocka_unit_test(test_needs_no_descriptor),
		cmocka_unit_test(test_alpn),
	};

	return cmocka_run_group_tests(tests, open_all, close_all);
}
