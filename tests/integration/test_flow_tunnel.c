/*
 * test_flow_tunnel.c - bytes that are relayed as they are: tcp rules and pass-through
 * links: room_flow
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/lib/rig.h"

#define SHORT 150

static struct rig rig;
static struct rig_peer *agent;

static struct rig_peer *server(void)
{
	assert_int_equal(rig.raw.n_conns, 1);
	return &rig.raw.conns[0];
}

static void open_tunnel(const struct rig_spec *spec)
{
	rig_open(&rig, spec);
	agent = rig_agent_raw(&rig, 0);
	rig_settle(&rig);
}

static void assert_got(const struct rig_peer *p, const char *text)
{
	assert_int_equal(buf_len(&p->in), strlen(text));
	assert_memory_equal(buf_bytes(&p->in).p, text, strlen(text));
}

static const struct rig_event *the_event(const char *name)
{
	assert_int_equal(rig.n_events, 1);
	assert_string_equal(rig.events[0].event, name);
	return &rig.events[0];
}

/* A server may speak first; a dummy stays one, a real value is redacted towards the agent only. */
static void test_redacts(void **state)
{
	static const char banner[] = "220 ready " RIG_REAL_OTHER "\r\n",
			  shown[] = "220 ready [REDACTED]\r\n";

	(void)state;
	for (size_t cut = 1; cut < sizeof(banner) - 1; cut++) {
		open_tunnel(NULL);
		server()->cut = cut;
		rig_say(server(), banner);
		rig_settle(&rig);
		assert_got(agent, shown);
		rig_say(agent, "USER " RIG_DUMMY "\r\n");
		rig_settle(&rig);
		assert_got(server(), "USER " RIG_DUMMY "\r\n");
		assert_true(rig_let_go(&rig));
		assert_int_equal(the_event("tunnel")->redactions, 1);
		assert_int_equal(rig.events[0].bytes_up, sizeof("USER " RIG_DUMMY "\r\n") - 1);
		assert_int_equal(rig.events[0].bytes_down, sizeof(shown) - 1);
		assert_string_equal(rig.events[0].rule, "raw");
		assert_true(rig_close(&rig));
	}
}

/* Each side ends when it likes; the other goes on. */
static void test_half_close(void **state)
{
	(void)state;
	open_tunnel(NULL);
	rig_say(agent, "question");
	agent->then = RIG_FIN;
	rig_settle(&rig);
	assert_got(server(), "question");
	assert_true(server()->eof);
	assert_false(agent->eof);
	rig_say(server(), "answer");
	rig_settle(&rig);
	assert_got(agent, "answer");
	server()->then = RIG_FIN;
	rig_settle(&rig);
	assert_true(agent->eof);
	assert_string_equal(the_event("tunnel")->decision, "allow");
	assert_true(rig_close(&rig));

	open_tunnel(NULL);
	rig_say(server(), "all I have");
	server()->then = RIG_FIN;
	rig_settle(&rig);
	assert_got(agent, "all I have");
	assert_true(agent->eof);
	assert_false(server()->eof);
	rig_say(agent, "thanks");
	rig_settle(&rig);
	assert_got(server(), "thanks");
	agent->then = RIG_FIN;
	rig_settle(&rig);
	assert_true(server()->eof);
	assert_string_equal(the_event("tunnel")->decision, "allow");
	assert_true(rig_close(&rig));
}

/* A prefix of a real value is held back until it is known to be none, or the end. */
static void test_held(void **state)
{
	(void)state;
	open_tunnel(NULL);
	rig_say(server(), "x REAL-canary-o");
	rig_settle(&rig);
	assert_got(agent, "x ");
	rig_say(server(), "!");
	rig_settle(&rig);
	assert_got(agent, "x REAL-canary-o!");
	rig_say(server(), "REAL-");
	server()->then = RIG_FIN;
	rig_settle(&rig);
	assert_got(agent, "x REAL-canary-o!REAL-");
	assert_true(rig_close(&rig));
}

/*
 * A pinned name: the agent's own TLS reaches the upstream, whose certificate the agent sees itself.
 */
static void test_passthrough(void **state)
{
	static const struct rig_reply reply = {
		"HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\n" RIG_REAL_SAME, RIG_KEEP, false
	};

	(void)state;
	for (int wrong = 0; wrong < 2; wrong++) {
		rig_open(&rig, NULL);
		rig.up.replies = &reply;
		rig.up.n_replies = 1;
		rig.up.tls = true;
		rig.up.cert_host = wrong ? "api.test" : "pinned.test";
		agent = rig_agent(&rig, 0);
		rig_agent_tls(agent, "pinned.test");
		rig_say(agent,
			"GET / HTTP/1.1\r\nHost: pinned.test\r\nX: " RIG_DUMMY_TLS "\r\n\r\n");
		rig_settle(&rig);
		/*
		 * Not opened: nothing swapped, nothing redacted, nothing minted, nothing verified
		 * for the agent.
		 */
		assert_int_equal(tls_engine_is_done(agent->tls), !wrong);
		assert_int_equal(rig_peer_has(agent, RIG_REAL_SAME), !wrong);
		if (!wrong)
			assert_true(rig_peer_has(&rig.up.conns[0], RIG_DUMMY_TLS));
		assert_int_equal(tls_leaf_cache_count(rig.leaves), 0);
		assert_true(rig_let_go(&rig));
		assert_string_equal(the_event("tunnel")->host, "pinned.test");
		assert_string_equal(rig.events[0].rule, "pinned");
		assert_true(rig_close(&rig));
	}
}

static bool audited(struct rig *r)
{
	return r->n_events > 0;
}

static void test_idle(void **state)
{
	const struct rig_spec spec = { .idle_ms = SHORT };

	(void)state;
	open_tunnel(&spec);
	rig_say(server(), "hello");
	assert_true(rig_until(&rig, audited));
	rig_settle(&rig);
	assert_string_equal(the_event("tunnel")->reason, "timeout");
	assert_true(agent->dead || agent->eof);
	assert_true(server()->dead || server()->eof);
	assert_int_equal(rig_counter(&rig, OBSERVE_flows_refused_total), 0);
	assert_true(rig_close(&rig));
}

/* Nobody there: told by a reset, with the reason in the audit. */
static void test_refused(void **state)
{
	(void)state;
	rig_open(&rig, NULL);
	rig_upstream_stop(&rig.raw);
	agent = rig_agent_raw(&rig, 0);
	rig_say(agent, "hello");
	rig_settle(&rig);
	assert_string_equal(the_event("tunnel")->reason, "connect_refused");
	assert_true(agent->dead || agent->eof);
	assert_true(rig_close(&rig));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_redacts),
		cmocka_unit_test(test_half_close),
		cmocka_unit_test(test_held),
		cmocka_unit_test(test_passthrough),
		cmocka_unit_test(test_idle),
		cmocka_unit_test(test_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
