/*
 * test_flow_tls.c - TLS on both sides: cut anywhere, cut off, named wrongly, denied
 * links: room_flow
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/lib/rig.h"

#define REQUEST "GET /x HTTP/1.1\r\nHost: api.test\r\nX: " RIG_DUMMY_TLS "\r\n\r\n"
#define SENT                                                                                       \
	"GET /x HTTP/1.1\r\nHost: api.test\r\nX: " RIG_REAL_TLS                                    \
	"\r\nAccept-Encoding: identity\r\n\r\n"
#define REPLY                                                                                      \
	"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nf\r\n" RIG_REAL_TLS "\r\n0\r\n\r\n"
#define GOT "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\na\r\n[REDACTED]\r\n0\r\n\r\n"

static const struct rig_spec secure = { .tls = true };
static const struct rig_reply reply = { REPLY, RIG_KEEP, false };
static struct rig rig;

static void open_with(const struct rig_reply *r)
{
	rig_open(&rig, &secure);
	rig.up.replies = r;
	rig.up.n_replies = 1;
}

static bool answered(struct rig *r)
{
	return rig_count_events(r, "exchange") == 1;
}

/* An agent that believes to speak to `host`. */
static struct rig_peer *agent_for(const char *host, const char *request)
{
	struct rig_peer *a = rig_agent_at(&rig, "10.9.0.7", &rig.up.at);

	rig_agent_tls(a, host);
	rig_say(a, request);
	return a;
}

static void assert_all(const struct rig_peer *p, const char *text)
{
	assert_true(bytes_eq(buf_bytes(&p->in), bytes_str(text)));
}

static void play(size_t cut_agent, size_t cut_upstream, size_t step, size_t sent[2])
{
	struct rig_peer *a;

	rig.up.cut = cut_upstream;
	rig.up.step = step;
	a = rig_agent(&rig, 0);
	a->cut = cut_agent;
	a->step = step;
	rig_say(a, REQUEST);
	assert_true(rig_until(&rig, answered));
	rig_settle(&rig);
	assert_all(a, GOT);
	assert_int_equal(rig.up.n_conns, 1);
	assert_all(&rig.up.conns[0], SENT);
	sent[0] = a->sent;
	sent[1] = rig.up.conns[0].sent;
	assert_true(rig_reset(&rig));
}

/* Hello, handshake and records, in pieces. */
static void test_cuts(void **state)
{
	size_t sent[2], first[2];

	(void)state;
	open_with(&reply);
	play(0, 0, 0, first);
	play(0, 0, 1, sent);
	for (size_t cut = 1; cut < first[0]; cut += 5)
		play(cut, 0, 0, sent);
	for (size_t cut = 1; cut < first[1]; cut += 11)
		play(0, cut, 0, sent);
	/* Minted once; resumed on both sides after that. */
	assert_true(rig_counter(&rig, OBSERVE_leaf_cache_hits_total) > 100);
	assert_true(rig_counter(&rig, OBSERVE_tls_agent_resumed_total) > 100);
	assert_true(rig_counter(&rig, OBSERVE_tls_upstream_resumed_total) > 100);
	assert_true(rig_close(&rig));
}

/* RFC 9112 9.8: an end that TLS does not confirm is no end of a body. */
static void test_truncation(void **state)
{
	static const struct {
		enum rig_then then;
		bool whole;
	} rows[] = { { RIG_FIN, true }, { RIG_CLOSE, false }, { RIG_RESET, false } };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		const struct rig_reply r = { "HTTP/1.1 200 OK\r\n\r\nto the end", rows[i].then,
					     false };
		struct rig_peer *a;
		bool whole;

		open_with(&r);
		a = agent_for("api.test", REQUEST);
		assert_true(rig_until(&rig, answered));
		rig_settle(&rig);
		whole = buf_len(&a->in) > 0 &&
			rig_http_length(buf_bytes(&a->in), false) == buf_len(&a->in);
		assert_int_equal(whole, rows[i].whole);
		assert_int_equal(a->eof || a->dead, !rows[i].whole);
		assert_string_equal(rig_event(&rig, "exchange", 0)->reason,
				    whole ? "" : "upstream_closed");
		assert_true(rig_close(&rig));
	}
}

/* Whom the agent named, whom the request names, whom the upstream's certificate names. */
static void test_names(void **state)
{
	static const struct {
		const char *sni, *host, *certificate;
		const char *reason; /* NULL: answered */
		unsigned status;
		bool reaches; /* the upstream sees the request */
	} rows[] = {
		{ "api.test", "api.test", "api.test", NULL, 200, true },
		{ "api.test", "API.test", "api.test", NULL, 200, true },
		{ "other.test", "other.test", "api.test", "upstream_cert_name", 502, false },
		{ "other.test", "api.test", "api.test", "http_host_mismatch", 421, false },
		{ "other.test", "api.test", "other.test", "http_host_mismatch", 421, false },
		{ "api.test", "other.test", "api.test", "http_host_mismatch", 421, false },
		{ "api.test", "api.test:1", "api.test", "http_host_mismatch", 421, false },
		{ "bad.test", "bad.test", "bad.test", "deny_host", 403, false },
		{ "bad.test", "api.test", "api.test", "http_host_mismatch", 421, false },
		/* no SNI: the address is the name */
		{ "127.0.0.1", "127.0.0.1", "127.0.0.1", NULL, 200, true },
		{ "127.0.0.1", "127.0.0.1", "api.test", "upstream_cert_name", 502, false },
		{ "127.0.0.1", "api.test", "api.test", "http_host_mismatch", 421, false },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		char request[256], status[32];
		struct rig_peer *a;

		(void)snprintf(request, sizeof(request),
			       "GET / HTTP/1.1\r\nHost: %s\r\nX: %s %s\r\n\r\n", rows[i].host,
			       RIG_DUMMY_TLS, RIG_DUMMY_OTHER);
		(void)snprintf(status, sizeof(status), "HTTP/1.1 %u ", rows[i].status);
		open_with(&reply);
		rig.up.cert_host = rows[i].certificate;
		a = agent_for(rows[i].sni, request);
		assert_true(rig_until(&rig, answered));
		rig_settle(&rig);
		if (!bytes_starts(buf_bytes(&a->in), bytes_str(status))) {
			print_error("row %zu: %.*s\n", i, (int)buf_len(&a->in),
				    (const char *)a->in.data);
			fail();
		}
		assert_string_equal(rig_event(&rig, "exchange", 0)->reason,
				    rows[i].reason ? rows[i].reason : "");
		for (size_t k = 0; k < rig.up.n_conns; k++) {
			const struct rig_peer *p = &rig.up.conns[k];

			assert_int_equal(p->received > 0, rows[i].reaches);
			assert_false(rig_peer_has(p, RIG_REAL_OTHER));
			assert_int_equal(rig_peer_has(p, RIG_REAL_TLS),
					 rows[i].reaches && strcmp(rows[i].sni, "api.test") == 0);
		}
		assert_true(rig_close(&rig));
	}
}

/* An agent that does not know the gateway's authority says so, and nothing was sent for it. */
static void test_alert(void **state)
{
	uint8_t pem[8192];
	FILE *f = fopen("tests/vectors/tls/other.crt", "r");
	struct tls_client *stranger;
	struct rig_peer *a;
	enum err e;

	(void)state;
	assert_non_null(f);
	stranger = tls_client_new(bytes_of(pem, fread(pem, 1, sizeof(pem), f)), &e);
	(void)fclose(f);
	assert_non_null(stranger);
	open_with(&reply);
	a = rig_agent_at(&rig, "10.9.0.7", &rig.up.at);
	a->tls = tls_engine_new_client(stranger, "api.test", 443, "http/1.1", &a->wire);
	assert_non_null(a->tls);
	rig_say(a, REQUEST);
	rig_settle(&rig);
	assert_false(tls_engine_is_done(a->tls));
	assert_int_equal(rig.n_events, 1);
	assert_string_equal(rig_event(&rig, "flow.refused", 0)->reason, "tls_alert");
	assert_true(rig_close(&rig));
	tls_client_free(stranger);
}

/* An agent that leaves before its handshake is over; the connection made ahead for it may stay. */
static void test_gone(void **state)
{
	struct rig_peer *a;

	(void)state;
	open_with(&reply);
	a = agent_for("api.test", "");
	a->step = 100;
	for (int i = 0; i < 3; i++)
		rig_turn(&rig);
	rig_end(a, RIG_CLOSE);
	rig_settle(&rig);
	assert_int_equal(rig.n_events, 1);
	assert_int_equal(rig_count_events(&rig, "flow.refused"), 1);
	assert_true(rig_close(&rig));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cuts),  cmocka_unit_test(test_truncation),
		cmocka_unit_test(test_names), cmocka_unit_test(test_alert),
		cmocka_unit_test(test_gone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
