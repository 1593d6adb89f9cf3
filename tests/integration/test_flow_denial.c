/*
 * test_flow_denial.c - what is refused, what fails, what takes too long: the answer and the audit
 * line of each
 * links: room_flow
 *
 * Times are small and waited for; none is measured.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/lib/rig.h"

#define SHORT 150
#define OK_REPLY { "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", RIG_KEEP, false }

struct row {
	const char *name;
	const char *request;
	const char *replies;		/* one answer; NULL: never any */
	enum rig_then then;
	const char *event;		/* NULL: "exchange" */
	const char *reason;
	const char *rule;
	unsigned status;		/* 0: no answer, the connection ends */
	size_t requests;		/* that reached the upstream */
	unsigned agent;
	struct rig_spec spec;
	const char *leak;		/* the upstream must not have got this */
	bool begun;			/* the answer had begun and is cut */
	bool deaf;			/* the upstream does not read */
	bool no_upstream;		/* nobody listens */
};

#define GET "GET / HTTP/1.1\r\nHost: api.test\r\n\r\n"

static const struct row rows[] = {
	{ .name = "a host no rule allows",
	  .request = "GET / HTTP/1.1\r\nHost: bad.test\r\nX: " RIG_DUMMY "\r\n\r\n",
	  .reason = "deny_host", .rule = "egress.default", .status = 403 },
	{ .name = "a path a rule denies",
	  .request = "GET /denied/x HTTP/1.1\r\nHost: other.test\r\n\r\n",
	  .reason = "deny_rule", .rule = "no", .status = 403 },
	{ .name = "a real value in a field",
	  .request = "GET / HTTP/1.1\r\nHost: api.test\r\nX: " RIG_REAL_OTHER "\r\n\r\n",
	  .event = "secret.leak", .reason = "secret_leak", .status = 403 },
	{ .name = "a real value in a small body",
	  .request = "PUT / HTTP/1.1\r\nHost: api.test\r\nContent-Length: 16\r\n\r\n" RIG_REAL_SAME,
	  .event = "secret.leak", .reason = "secret_leak", .status = 403 },
	{ .name = "a real value in a streamed body",
	  .request = "PUT / HTTP/1.1\r\nHost: api.test\r\nTransfer-Encoding: chunked\r\n\r\n10\r\n"
		     RIG_REAL_SAME
		     "\r\n0\r\n\r\n",
	  .event = "secret.leak", .reason = "secret_leak", .status = 403, .leak = RIG_REAL_SAME },
	{ .name = "no HTTP", .request = "\x01\x02garbage\r\n\r\n", .event = "flow.refused",
	  .reason = "not_http" },
	{ .name = "two lengths",
	  .request = "PUT / HTTP/1.1\r\nHost: api.test\r\nContent-Length: 1\r\n"
		     "Content-Length: 2\r\n\r\nab",
	  .reason = "http_ambiguous", .status = 400 },
	{ .name = "a broken chunk while the upstream is asked",
	  .request = "PUT / HTTP/1.1\r\nHost: api.test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n"
		     "abc\r\nzz\r\n",
	  .reason = "http_syntax", .status = 400 },
	{ .name = "CONNECT",
	  .request = "CONNECT api.test:443 HTTP/1.1\r\nHost: api.test:443\r\n\r\n",
	  .reason = "http_host_mismatch", .status = 421 },
	{ .name = "nobody's source address", .request = GET, .event = "flow.refused",
	  .reason = "deny_agent", .agent = 9 },
	{ .name = "nobody listens", .request = GET, .reason = "connect_refused", .status = 502,
	  .no_upstream = true },
	{ .name = "the upstream says nothing", .request = GET, .reason = "upstream_timeout",
	  .status = 504, .requests = 1,
	  .spec = { .first_byte_ms = SHORT } },
	{ .name = "the upstream stops within a measured body", .request = GET,
	  .replies = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
	.reason = "upstream_timeout", .status = 504,
	  .requests = 1, .spec = { .idle_ms = SHORT } },
	{ .name = "the upstream stops within a streamed body", .request = GET,
	  .replies = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
	.reason = "upstream_timeout",
	  .status = 200, .requests = 1, .spec = { .idle_ms = SHORT }, .begun = true },
	{ .name = "the upstream closes within a streamed body", .request = GET,
	  .replies = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
	.then = RIG_CLOSE,
	  .reason = "upstream_closed", .status = 200, .requests = 1, .begun = true },
	{ .name = "the upstream answers no HTTP", .request = GET, .replies = "hello there\r\n\r\n",
	  .reason = "upstream_http", .status = 502, .requests = 1 },
	{ .name = "the upstream answers with both framings", .request = GET,
	  .replies = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n"
		     "3\r\nabc\r\n0\r\n\r\n",
	  .reason = "upstream_http", .status = 502, .requests = 1 },
	{ .name = "a coding nobody asked for", .request = GET,
	  .replies = "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc",
	  .reason = "upstream_coding", .status = 502, .requests = 1 },
	{ .name = "an upgrade nobody asked for", .request = GET,
	  .replies = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n"
		     "Connection: upgrade\r\n\r\n",
	  .reason = "upstream_http", .status = 502, .requests = 1 },
	{ .name = "a head that does not end", .request = "GET / HTTP/1.1\r\nHost: ap",
	  .reason = "timeout", .status = 408,
	  .spec = { .head_ms = SHORT } },
	{ .name = "a body that does not come",
	  .request = "PUT / HTTP/1.1\r\nHost: api.test\r\nContent-Length: 5\r\n\r\nab",
	.reason = "timeout", .status = 408,
	  .spec = { .idle_ms = SHORT } },
	{ .name = "not a byte", .request = "", .event = "flow.refused", .reason = "timeout",
	  .spec = { .head_ms = SHORT } },
	{ .name = "a ClientHello that does not end", .request = "\x16\x03\x01\x02\x01",
	  .event = "flow.refused",
	  .reason = "timeout", .spec = { .head_ms = SHORT } },
	{ .name = "an upstream that does not read the body",
	  .request = "PUT / HTTP/1.1\r\nHost: other.test\r\nContent-Length: 40000000\r\n\r\n",
	  .reason = "upstream_timeout", .status = 504, .requests = 1, .spec = { .idle_ms = SHORT },
	.deaf = true },
};

static struct rig rig;
static struct rig_peer *agent;
static const struct row *row;

static bool said(struct rig *r)
{
	return rig_count_events(r, row->event ? row->event : "exchange") == 1;
}

static void check_answer(void)
{
	char line[32];

	(void)snprintf(line, sizeof(line), "HTTP/1.1 %u ", row->status);
	if (!row->status) {
		assert_int_equal(buf_len(&agent->in), 0);
		assert_true(agent->eof || agent->dead);
		return;
	}
	assert_true(bytes_starts(buf_bytes(&agent->in), bytes_str(line)));
	if (row->begun) {
		/* Not an orderly end: what came so far must not pass for all. */
		assert_true(agent->eof || agent->dead);
		assert_int_equal(rig_http_length(buf_bytes(&agent->in), false), 0);
		return;
	}
	(void)snprintf(line, sizeof(line), "\"reason\":\"%s\"", row->reason);
	assert_true(rig_peer_has(agent, line));
	assert_int_equal(rig_http_length(buf_bytes(&agent->in), false), buf_len(&agent->in));
}

static void check_upstream(void)
{
	size_t requests = 0;

	for (size_t i = 0; i < rig.up.n_conns; i++) {
		requests += rig_http_length(buf_bytes(&rig.up.conns[i].in), true) != 0;
		if (row->leak)
			assert_false(rig_peer_has(&rig.up.conns[i], row->leak));
	}
	if (!row->leak && !row->deaf)
		assert_true(requests <= 1 && requests >= row->requests);
}

static void play(void)
{
	const struct rig_reply reply = { row->replies, row->then, false };
	const struct rig_event *ev;
	struct addr nowhere;

	rig_open(&rig, &row->spec);
	rig.up.replies = &reply;
	rig.up.n_replies = row->replies ? 1 : 0;
	rig.up.deaf = row->deaf;
	nowhere = rig.up.at;
	nowhere.port = 1;
	agent = rig_agent_at(&rig, row->agent == 9 ? "10.99.0.1" : "10.9.0.7",
			     row->no_upstream ? &nowhere : &rig.up.at);
	rig_say(agent, row->request);
	if (row->deaf) {
		static uint8_t zeros[20000000];

		rig_say_bytes(agent, bytes_of(zeros, sizeof(zeros)));
		rig_say_bytes(agent, bytes_of(zeros, sizeof(zeros)));
	}
	if (!rig_until(&rig, said)) {
		print_error("%s: nothing was audited\n", row->name);
		fail();
	}
	rig_settle(&rig);
	ev = rig_event(&rig, row->event ? row->event : "exchange", 0);
	if (strcmp(ev->reason, row->reason) != 0 ||
	    ev->status != (row->status ? (int64_t)row->status : -1)) {
		print_error("%s: %s %lld, got %.*s\n", row->name, ev->reason, (long long)ev->status,
			    (int)buf_len(&agent->in), (const char *)agent->in.data);
		fail();
	}
	if (row->rule)
		assert_string_equal(ev->rule, row->rule);
	check_answer();
	check_upstream();
	assert_int_equal(rig.n_events, 1);
	assert_true(rig_close(&rig));
}

static void test_denials(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		row = &rows[i];
		print_message("%s\n", row->name);
		play();
	}
}

/* The rate limit, and the connection that stays for the next request. */
static void test_rate(void **state)
{
	static const struct rig_reply reply = OK_REPLY;

	(void)state;
	rig_open(&rig, NULL);
	rig.up.replies = &reply;
	rig.up.n_replies = 1;
	agent = rig_agent(&rig, 2);
	rig_say(agent, GET GET);
	rig_settle(&rig);
	assert_true(rig_peer_has(agent, "HTTP/1.1 200 "));
	assert_true(rig_peer_has(agent, "HTTP/1.1 429 "));
	assert_true(rig_peer_has(agent, "Retry-After: "));
	assert_false(agent->eof);
	assert_string_equal(rig_event(&rig, "exchange", 1)->rule, "agents.rate");
	assert_true(rig_close(&rig));
}

/* One more than limits.flows is turned away; the others go on. */
static void test_flood(void **state)
{
	static const struct rig_reply reply = OK_REPLY;
	const struct rig_spec spec = { .flows_max = 2 };
	struct rig_peer *third;

	(void)state;
	rig_open(&rig, &spec);
	rig.up.replies = &reply;
	rig.up.n_replies = 1;
	agent = rig_agent(&rig, 0);
	(void)rig_agent(&rig, 0);
	third = rig_agent(&rig, 0);
	rig_say(agent, GET);
	rig_settle(&rig);
	assert_true(third->eof || third->dead);
	assert_string_equal(rig_event(&rig, "flow.refused", 0)->reason, "limit_flows");
	assert_true(rig_peer_has(agent, "HTTP/1.1 200 "));
	assert_true(rig_close(&rig));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_denials),
		cmocka_unit_test(test_rate),
		cmocka_unit_test(test_flood),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
