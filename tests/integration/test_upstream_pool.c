/*
 * test_upstream_pool.c - warm connections: who may use them, for how long, and when they are not
 * trusted
 * links: room_flow
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/lib/rig.h"

#define GET "GET / HTTP/1.1\r\nHost: api.test\r\n\r\n"
#define OK "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

static const struct rig_reply ok = { OK, RIG_KEEP, false };

static struct rig rig;

static void open_with(const struct rig_spec *spec, const struct rig_reply *replies, size_t n)
{
	rig_open(&rig, spec);
	rig.up.replies = replies;
	rig.up.n_replies = n;
}

/* One request that is answered 200; returns the agent. */
static struct rig_peer *fetch(unsigned agent, const char *request)
{
	struct rig_peer *a = rig_agent(&rig, agent);

	rig_say(a, request);
	rig_settle(&rig);
	assert_true(rig_peer_has(a, "HTTP/1.1 200 OK\r\n"));
	return a;
}

static uint64_t open_now(void)
{
	return rig_counter(&rig, OBSERVE_upstream_connections_open);
}

static void test_reuse(void **state)
{
	struct rig_peer *a;

	(void)state;
	open_with(NULL, &ok, 1);
	a = fetch(0, GET);
	rig_say(a, GET);
	rig_settle(&rig);
	/* Another flow of the same agent, to the same host. */
	(void)fetch(0, GET);
	assert_int_equal(rig.up.n_conns, 1);
	assert_int_equal(rig.up.served, 3);
	assert_int_equal(rig_counter(&rig, OBSERVE_upstream_reused_total), 2);
	/* Another agent, another host: never. */
	(void)fetch(1, GET);
	assert_int_equal(rig.up.n_conns, 2);
	(void)fetch(0, "GET / HTTP/1.1\r\nHost: other.test\r\n\r\n");
	assert_int_equal(rig.up.n_conns, 3);
	assert_int_equal(rig_counter(&rig, OBSERVE_upstream_reused_total), 2);
	assert_true(rig_close(&rig));
}

/* Over TLS too, and there the session is not verified for another name. */
static void test_reuse_tls(void **state)
{
	const struct rig_spec spec = { .tls = true };
	struct rig_peer *a;

	(void)state;
	open_with(&spec, &ok, 1);
	(void)fetch(0, GET);
	(void)fetch(0, GET);
	assert_int_equal(rig.up.n_conns, 1);
	/* The certificate is api.test's. */
	a = rig_agent_at(&rig, "10.9.0.7", &rig.up.at);
	rig_agent_tls(a, "other.test");
	rig_say(a, "GET / HTTP/1.1\r\nHost: other.test\r\nX: " RIG_DUMMY_OTHER "\r\n\r\n");
	rig_settle(&rig);
	assert_true(rig_peer_has(a, "\"reason\":\"upstream_cert_name\""));
	for (size_t i = 0; i < rig.up.n_conns; i++)
		assert_false(rig_peer_leaked(&rig.up.conns[i]));
	assert_true(rig_close(&rig));
}

static bool none_open(struct rig *r)
{
	return rig_counter(r, OBSERVE_upstream_connections_open) == 0;
}

static void test_expiry(void **state)
{
	const struct rig_spec spec = { .warm_ms = 150 };

	(void)state;
	open_with(&spec, &ok, 1);
	(void)fetch(0, GET);
	assert_int_equal(open_now(), 1);
	assert_true(rig_until(&rig, none_open));
	rig_settle(&rig);
	assert_true(rig.up.conns[0].eof || rig.up.conns[0].dead);
	(void)fetch(0, GET);
	assert_int_equal(rig.up.n_conns, 2);
	assert_true(rig_close(&rig));
}

/* What the upstream does to a connection after or with its answer, so that it is not used again. */
static void test_not_kept(void **state)
{
	static const struct {
		const char *name;
		struct rig_reply first;
		const char *later;	/* said on the idle connection */
		enum rig_then end;	/* or done to it */
		bool kept;
	} rows[] = {
		{ "kept", { OK, RIG_KEEP, false }, NULL, RIG_KEEP, true },
		{ "bytes beyond the body",
		  { OK "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil", RIG_KEEP, false }, NULL,
		  RIG_KEEP, false },
		{ "an answer nobody asked for", { OK, RIG_KEEP, false },
		  "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil", RIG_KEEP, false },
		{ "Connection: close",
		  { "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
		    RIG_KEEP, false },
		  NULL, RIG_KEEP, false },
		{ "HTTP/1.0", { "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", RIG_KEEP, false },
		  NULL, RIG_KEEP, false },
		{ "half-closed with the answer", { OK, RIG_FIN, false }, NULL, RIG_KEEP, false },
		{ "half-closed while idle", { OK, RIG_KEEP, false }, NULL, RIG_FIN, false },
		{ "reset while idle", { OK, RIG_KEEP, false }, NULL, RIG_RESET, false },
		{ "bytes beyond the last chunk",
		  { "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\nevil",
		RIG_KEEP, false }, NULL,
		  RIG_KEEP, false },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		const struct rig_reply replies[] = { rows[i].first, ok };
		struct rig_peer *a;

		open_with(NULL, replies, 2);
		a = fetch(0, GET);
		if (rows[i].later)
			rig_say(&rig.up.conns[0], rows[i].later);
		rig_end(&rig.up.conns[0], rows[i].end);
		rig_settle(&rig);
		assert_int_equal(open_now(), rows[i].kept);
		rig_say(a, GET);
		rig_settle(&rig);
		if (rig.up.n_conns != (rows[i].kept ? 1 : 2) || rig.up.served != 2 ||
		    rig_peer_has(a, "evil")) {
			print_error("%s: %zu connections\n", rows[i].name, rig.up.n_conns);
			fail();
		}
		assert_true(rig_close(&rig));
	}
}

static bool second_arrived(struct rig *r)
{
	return rig_http_length(bytes_from(buf_bytes(&r->up.conns[0].in), r->up.conns[0].taken),
			       true) != 0;
}

/* A warm connection dies just as a request is put on it. RFC 9110 9.2.2 */
static void test_retry(void **state)
{
	static const struct {
		const char *request;
		const char *part;	/* of an answer that came before the end */
		bool again;
	} rows[] = {
		{ GET, NULL, true },
		{ "HEAD / HTTP/1.1\r\nHost: api.test\r\n\r\n", NULL, true },
		{ "DELETE /x HTTP/1.1\r\nHost: api.test\r\n\r\n", NULL, true },
		{ GET, "HTTP/1.1 2", false },
		{ "POST / HTTP/1.1\r\nHost: api.test\r\n\r\n", NULL, false },
		{ "POST / HTTP/1.1\r\nHost: api.test\r\nContent-Length: 2\r\n\r\nab", NULL, false },
		{ "PUT / HTTP/1.1\r\nHost: api.test\r\nContent-Length: 2\r\n\r\nab", NULL, false },
		{ "PATCH / HTTP/1.1\r\nHost: api.test\r\nContent-Length: 0\r\n\r\n", NULL, false },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		for (enum rig_then end = RIG_CLOSE; end <= RIG_RESET; end++) {
			struct rig_peer *a;
			struct rig_peer *warm = &rig.up.conns[0];

			open_with(NULL, &ok, 1);
			a = fetch(0, GET);
			rig.up.n_replies = 0;
			rig_say(a, rows[i].request);
			assert_true(rig_until(&rig, second_arrived));
			warm->taken = buf_len(&warm->in);
			if (rows[i].part) {
				rig_say(warm, rows[i].part);
				rig_settle(&rig);
			}
			rig_end(warm, end);
			rig.up.n_replies = 1;
			rig_settle(&rig);
			assert_int_equal(rig.up.n_conns, rows[i].again ? 2 : 1);
			assert_int_equal(rig_peer_has(a, "HTTP/1.1 502 "), !rows[i].again);
			assert_int_equal(rig_count_events(&rig, "exchange"), 2);
			assert_string_equal(rig_event(&rig, "exchange", 1)->reason,
					    rows[i].again ? "" : "upstream_closed");
			assert_true(rig_close(&rig));
		}
	}
}

/* Once, and only what failed on a warm connection. */
static void test_retry_once(void **state)
{
	static const struct rig_reply replies[] = { { OK, RIG_KEEP, false },
						    { "", RIG_CLOSE, false } };
	struct rig_peer *a;

	(void)state;
	open_with(NULL, replies, 2);
	a = fetch(0, GET);
	rig_say(a, GET);
	rig_settle(&rig);
	assert_int_equal(rig.up.n_conns, 2);
	assert_int_equal(rig.up.served, 3);
	assert_true(rig_peer_has(a, "HTTP/1.1 502 "));
	/* A new connection that ends at once is no stale one. */
	rig_say(a, GET);
	rig_settle(&rig);
	assert_int_equal(rig.up.n_conns, 3);
	assert_int_equal(rig.up.served, 4);
	assert_true(rig_close(&rig));
}

/* As many as were needed at once, then as many as may stay. */
static void test_bounds(void **state)
{
	static const char *const hosts[] = { "api.test", "other.test" };
	static const struct {
		struct rig_spec spec;
		size_t n_hosts;
		unsigned left;
	} rows[] = {
		{ { .idle_per_key = 2 }, 1, 2 },
		{ { .idle_per_key = 2 }, 2, 4 },
		{ { .idle_per_key = 2, .idle_total = 3 }, 2, 3 },
		{ { .idle_total = 1 }, 1, 1 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		open_with(&rows[i].spec, &ok, 0);
		for (size_t k = 0; k < 4 * rows[i].n_hosts; k++) {
			char request[64];

			(void)snprintf(request, sizeof(request),
				       "GET / HTTP/1.1\r\nHost: %s\r\n\r\n",
				       hosts[k % rows[i].n_hosts]);
			rig_say(rig_agent(&rig, 0), request);
		}
		rig_settle(&rig);
		assert_int_equal(open_now(), 4 * rows[i].n_hosts);
		rig.up.n_replies = 1;
		rig_settle(&rig);
		assert_int_equal(rig_count_events(&rig, "exchange"), 4 * rows[i].n_hosts);
		assert_int_equal(open_now(), rows[i].left);
		assert_true(rig_close(&rig));
	}
}

/* An answer before the request is whole: what the upstream makes of the rest is not known. */
static void test_early(void **state)
{
	static const struct rig_reply replies[] = { { OK, RIG_KEEP, true },
						    { OK, RIG_KEEP, false } };
	struct rig_peer *a;

	(void)state;
	open_with(NULL, replies, 2);
	a = fetch(0, "PUT / HTTP/1.1\r\nHost: api.test\r\nTransfer-Encoding: "
		     "chunked\r\n\r\n2\r\nab\r\n");
	assert_true(a->eof);
	assert_int_equal(open_now(), 0);
	(void)fetch(0, GET);
	assert_int_equal(rig.up.n_conns, 2);
	assert_true(rig_close(&rig));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_reuse),  cmocka_unit_test(test_reuse_tls),
		cmocka_unit_test(test_expiry), cmocka_unit_test(test_not_kept),
		cmocka_unit_test(test_retry),  cmocka_unit_test(test_retry_once),
		cmocka_unit_test(test_bounds), cmocka_unit_test(test_early),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
