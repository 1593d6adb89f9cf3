/*
 * test_flow_close.c - somebody closes after k turns of the loop, for every k until all is over
 * links: room_flow
 *
 * Agent and upstream close, reset or half-close, the worker drains or aborts: whenever that is,
 * every exchange is audited once, no real value gets where it may not, and flow, exchange and
 * connection are let go of.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/lib/rig.h"

struct row {
	const char *name;
	const char *request;
	struct rig_reply replies[2];
	size_t step;			/* bytes per turn, of both sides */
	size_t exchanges;		/* when nobody closes */
	bool tls, raw;
};

static const struct row rows[] = {
	{
		.name = "measured",
		.request = "POST /x HTTP/1.1\r\nHost: api.test\r\nContent-Length: 14\r\n\r\n"
			   RIG_DUMMY,
		.replies = { { "HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\n" RIG_REAL_SAME,
		RIG_KEEP, false } },
		.step = 9,
		.exchanges = 1,
	},
	{
		.name = "streamed",
		.request = "PUT /x HTTP/1.1\r\nHost: api.test\r\nTransfer-Encoding: chunked\r\n\r\n"
			   "e\r\n" RIG_DUMMY "\r\n0\r\n\r\n",
		.replies = { { "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
			       "10\r\n" RIG_REAL_SAME "\r\n0\r\nT: " RIG_REAL_SAME "\r\n\r\n",
			RIG_KEEP, false } },
		.step = 9,
		.exchanges = 1,
	},
	{
		.name = "two in a row, sent at once",
		.request = "GET /1 HTTP/1.1\r\nHost: api.test\r\n\r\nGET /2 HTTP/1.1\r\n"
			   "Host: api.test\r\n\r\n",
		.replies = { { "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1", RIG_KEEP, false },
			     { "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n2\r\n"
			       "0\r\n\r\n", RIG_CLOSE, false } },
		.step = 13,
		.exchanges = 2,
	},
	{
		.name = "denied while the body is coming",
		.request = "PUT /denied/x HTTP/1.1\r\nHost: other.test\r\n"
			   "Content-Length: 30\r\n\r\n0123456789",
		.replies = { { "HTTP/1.1 200 OK\r\n\r\n", RIG_KEEP, false } },
		.step = 9,
		.exchanges = 1,
	},
	{
		.name = "over TLS",
		.request = "GET /x HTTP/1.1\r\nHost: api.test\r\nX: " RIG_DUMMY_TLS "\r\n\r\n",
		.replies = { { "HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n" RIG_REAL_TLS,
		RIG_KEEP, false } },
		.step = 200,
		.exchanges = 1,
		.tls = true,
	},
	{
		.name = "a tunnel",
		.request = "GET / HTTP/1.1\r\n\r\n",
		.replies = { { "raw " RIG_REAL_SAME " raw", RIG_FIN, false } },
		.step = 5,
		.raw = true,
	},
};

enum who { AGENT, UPSTREAM, DRAIN, ABORT };

static const struct {
	const char *name;
	enum who who;
	enum rig_then how;
} ends[] = {
	{ "the agent closes", AGENT, RIG_CLOSE },
	{ "the agent resets", AGENT, RIG_RESET },
	{ "the agent half-closes", AGENT, RIG_FIN },
	{ "the upstream closes", UPSTREAM, RIG_CLOSE },
	{ "the upstream resets", UPSTREAM, RIG_RESET },
	{ "the upstream half-closes", UPSTREAM, RIG_FIN },
	{ "the worker drains", DRAIN, RIG_KEEP },
	{ "the worker aborts", ABORT, RIG_KEEP },
};

static struct rig rig;
static struct rig_peer *agent;
static const struct row *row;

static void strike(size_t how)
{
	struct rig_upstream *u = row->raw ? &rig.raw : &rig.up;

	switch (ends[how].who) {
	case AGENT:
		rig_end(agent, ends[how].how);
		break;
	case UPSTREAM:
		for (size_t i = 0; i < u->n_conns; i++)
			rig_end(&u->conns[i], ends[how].how);
		break;
	case DRAIN:
		flow_server_drain(rig.flows);
		break;
	case ABORT:
		flow_server_abort(rig.flows);
		break;
	}
}

/* Whole requests that reached the upstream. */
static size_t requests_upstream(void)
{
	size_t n = 0, len;

	for (size_t i = 0; i < rig.up.n_conns; i++) {
		struct bytes in = buf_bytes(&rig.up.conns[i].in);

		for (; (len = rig_http_length(in, false)) != 0; n++)
			in = bytes_from(in, len);
	}
	return n;
}

/* Everything that happened was said once, in the way that fits. */
static void check_events(void)
{
	size_t exchanges = rig_count_events(&rig, "exchange"),
	       flows = rig_count_events(&rig, "flow.refused");
	size_t tunnels = rig_count_events(&rig, "tunnel"), heads = 0;
	struct bytes in = buf_bytes(&agent->in);

	assert_int_equal(exchanges + flows + tunnels, rig.n_events);
	assert_true(flows <= 1 && tunnels <= 1 &&
		    exchanges <= (row->exchanges ? row->exchanges : 1));
	assert_int_equal(rig_counter(&rig, OBSERVE_exchanges_total), exchanges);
	/* What the agent was answered is in the audit. */
	for (size_t n; (n = rig_http_length(in, true)) != 0; in = bytes_from(in, n), heads++)
		while (in.n > n && !bytes_starts(bytes_from(in, n), BYTES_LIT("HTTP/1.1 ")))
			n++;
	if (row->raw)
		assert_int_equal(tunnels + flows, 1);
	else
		assert_true(heads <= exchanges && requests_upstream() <= exchanges);
	for (size_t i = 0; i < exchanges; i++) {
		const struct rig_event *e = rig_event(&rig, "exchange", i);

		assert_true(strcmp(e->decision, "allow") == 0 || e->reason[0]);
	}
}

/* True when the end came after everything was over anyway. */
static bool play(size_t how, size_t turns)
{
	const struct rig_spec spec = { .tls = row->tls };
	bool over;

	rig_open(&rig, &spec);
	rig.up.replies = rig.raw.replies = row->replies;
	rig.up.n_replies = rig.raw.n_replies = row->replies[1].text ? 2 : 1;
	rig.up.step = rig.raw.step = row->step;
	agent = row->raw ? rig_agent_raw(&rig, 0) : rig_agent(&rig, 0);
	agent->step = row->step;
	rig_say(agent, row->request);
	for (size_t i = 0; i < turns; i++)
		rig_turn(&rig);
	over = rig.quiet > 6;
	strike(how);
	rig_settle(&rig);
	if (!rig_let_go(&rig)) {
		print_error("%s, %s after %zu turns: not let go of\n", row->name, ends[how].name,
			    turns);
		fail();
	}
	if (rig_peer_leaked(agent)) {
		print_error("%s, %s after %zu turns: the agent got\n%.*s\n", row->name,
			    ends[how].name, turns, (int)buf_len(&agent->in),
			    (const char *)agent->in.data);
		fail();
	}
	check_events();
	assert_true(rig_close(&rig));
	return over;
}

static void test_every_turn(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		row = &rows[i];
		for (size_t how = 0; how < ARRAY_SIZE(ends); how++) {
			size_t turns = 0;

			while (!play(how, turns))
				turns++;
			/* It was more than a few, or nothing was tried. */
			assert_true(turns > 8);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_turn),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
