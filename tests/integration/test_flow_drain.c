/*
 * test_flow_drain.c - SIGTERM and reload as flows see them: what was begun is answered, then all
 * ends links: room_flow
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/lib/rig.h"

#define GET "GET / HTTP/1.1\r\nHost: api.test\r\n\r\n"

static const struct rig_reply reply = { "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", RIG_KEEP,
					false };
static struct rig rig;

static struct rig_peer *begin(const char *before)
{
	struct rig_peer *a;

	rig_open(&rig, NULL);
	rig.up.replies = &reply;
	rig.up.n_replies = 1;
	a = rig_agent(&rig, 0);
	rig_say(a, before);
	rig_settle(&rig);
	return a;
}

static bool told_to_leave(struct rig *r)
{
	return r->agents[0].eof;
}

/* Wherever a connection stands, its next answer is its last. */
static void test_last_answer(void **state)
{
	static const struct {
		const char *before, *after;
		size_t exchanges;
	} rows[] = {
		{ "", GET, 1 }, /* nothing yet */
		{ GET, GET, 2 }, /* kept, idle */
		{ "GET / HTTP/1.1\r\nHo", "st: api.test\r\n\r\n", 1 }, /* within a head */
		{ GET "PUT / HTTP/1.1\r\nHost: api.test\r\nContent-Length: 4\r\n\r\nab", "cd", 2 },
		{ "PUT / HTTP/1.1\r\nHost: api.test\r\nTransfer-Encoding: "
		  "chunked\r\n\r\n2\r\nab\r\n",
		  "0\r\n\r\n", 1 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct rig_peer *a = begin(rows[i].before);

		/* An agent that has sent nothing yet is still being looked at. */
		if (!rows[i].before[0]) {
			rig_say(a, "G");
			rig_settle(&rig);
		}
		flow_server_drain(rig.flows);
		rig_settle(&rig);
		assert_false(a->eof || a->dead);
		rig_say(a, rows[i].before[0] ? rows[i].after : rows[i].after + 1);
		rig_settle(&rig);
		assert_true(a->eof);
		assert_true(rig_peer_has(a, "Connection: close"));
		assert_int_equal(rig_count_events(&rig, "exchange"), rows[i].exchanges);
		for (size_t k = 0; k < rows[i].exchanges; k++)
			assert_int_equal(rig_event(&rig, "exchange", k)->status, 200);
		assert_true(rig_close(&rig));
	}
}

/* What stays idle does not hold the worker. */
static void test_idle_ends(void **state)
{
	struct rig_peer *a = begin(GET);

	(void)state;
	flow_server_drain(rig.flows);
	assert_true(rig_until(&rig, told_to_leave));
	assert_false(a->dead);
	assert_int_equal(rig.n_events, 1);
	assert_true(rig_close(&rig));
}

static void test_no_more(void **state)
{
	struct rig_peer *late;

	(void)state;
	(void)begin(GET);
	flow_server_drain(rig.flows);
	late = rig_agent(&rig, 0);
	rig_say(late, GET);
	rig_settle(&rig);
	assert_true(late->dead || late->eof);
	assert_string_equal(rig_event(&rig, "flow.refused", 0)->reason, "shutting_down");
	assert_true(rig_close(&rig));
}

static void test_abort(void **state)
{
	struct rig_peer *a = begin(GET);

	(void)state;
	rig.up.n_replies = 0;
	rig_say(a, GET);
	rig_settle(&rig);
	flow_server_abort(rig.flows);
	rig_settle(&rig);
	assert_int_equal(flow_server_count(rig.flows), 0);
	assert_true(a->dead || a->eof);
	assert_int_equal(rig_count_events(&rig, "exchange"), 2);
	assert_string_equal(rig_event(&rig, "exchange", 1)->reason, "closed");
	assert_true(rig_close(&rig));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_last_answer),
		cmocka_unit_test(test_idle_ends),
		cmocka_unit_test(test_no_more),
		cmocka_unit_test(test_abort),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
