/*
 * test_observe_event.c - audit lines: every key always, in order, valid JSON whatever comes in
 */
#include "gateway/observe/observe.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define NOTHING \
	"\"flow\":null,\"agent\":null,\"host\":null,\"address\":null,\"port\":null," \
	"\"protocol\":null,\"method\":null,\"path\":null,\"status\":null,\"bytes_up\":null," \
	"\"bytes_down\":null,\"secrets\":[],\"redactions\":null,\"decision\":null,\"rule\":null," \
	"\"reason\":null,\"duration_ms\":null,\"phases\":{\"peek\":null,\"resolve\":null," \
	"\"connect\":null,\"tls\":null,\"first_byte\":null}}\n"

static void expect_line(const struct observe_event *ev, const char *want)
{
	struct buf out;

	buf_init(&out, 64 * 1024);
	assert_int_equal(observe_event_write(ev, &out), ERR_OK);
	assert_int_equal(buf_append(&out, bytes_of("", 1)), ERR_OK);
	assert_string_equal((const char *)buf_bytes(&out).p, want);
	buf_release(&out);
}

static void test_nothing_known(void **state)
{
	struct observe_event ev = OBSERVE_EVENT_INIT("flow.refused");

	(void)state;
	ev.time = "T";
	expect_line(&ev, "{\"time\":\"T\",\"event\":\"flow.refused\"," NOTHING);
}

static void test_all_known(void **state)
{
	static const char *const secrets[] = { "openai", "git\"hub" };
	struct observe_event ev = OBSERVE_EVENT_INIT("exchange");
	struct addr address;

	(void)state;
	assert_true(addr_parse_ip(&address, BYTES_LIT("2001:db8::1")));
	ev.time = "2026-01-31T23:59:59.123Z";
	ev.flow = 0x00010000000000afULL;
	ev.agent = BYTES_LIT("coder");
	ev.host = BYTES_LIT("api.example");
	ev.address = &address;
	ev.port = 443;
	ev.protocol = "h1";
	ev.method = BYTES_LIT("GET");
	ev.path = BYTES_LIT("/a\"b\n\xff");
	ev.status = 200;
	ev.bytes_up = 0;
	ev.bytes_down = INT64_MAX;
	ev.secrets = secrets;
	ev.n_secrets = 2;
	ev.redactions = 3;
	ev.decision = "allow";
	ev.rule = "egress.rules[2]";
	ev.reason = "ok";
	ev.duration_us = 1234567;
	ev.phases_us[OBSERVE_PEEK] = 0;
	ev.phases_us[OBSERVE_RESOLVE] = 9;
	ev.phases_us[OBSERVE_CONNECT] = 90;
	ev.phases_us[OBSERVE_TLS] = 1001;
	ev.phases_us[OBSERVE_FIRST_BYTE] = 60000000;
	expect_line(&ev,
		    "{\"time\":\"2026-01-31T23:59:59.123Z\",\"event\":\"exchange\","
		    "\"flow\":\"00010000000000af\",\"agent\":\"coder\",\"host\":\"api.example\","
		    "\"address\":\"2001:db8::1\",\"port\":443,\"protocol\":\"h1\","
		    "\"method\":\"GET\",\"path\":\"/a\\\"b\\n\xEF\xBF\xBD\",\"status\":200,"
		    "\"bytes_up\":0,\"bytes_down\":9223372036854775807,"
		    "\"secrets\":[\"openai\",\"git\\\"hub\"],\"redactions\":3,"
		    "\"decision\":\"allow\",\"rule\":\"egress.rules[2]\",\"reason\":\"ok\","
		    "\"duration_ms\":1234.567,\"phases\":{\"peek\":0.000,\"resolve\":0.009,"
		    "\"connect\":0.090,\"tls\":1.001,\"first_byte\":60000.000}}\n");
}

/* An empty string is known, and not null; so is a number below zero other than OBSERVE_NONE. */
static void test_empty_is_not_null(void **state)
{
	struct observe_event ev = OBSERVE_EVENT_INIT("e");
	struct buf out;

	(void)state;
	ev.path = BYTES_LIT("");
	ev.status = -2;
	buf_init(&out, 64 * 1024);
	assert_int_equal(observe_event_write(&ev, &out), ERR_OK);
	assert_true(bytes_find(buf_bytes(&out), BYTES_LIT("\"path\":\"\"")) < buf_len(&out));
	assert_true(bytes_find(buf_bytes(&out), BYTES_LIT("\"status\":-2")) < buf_len(&out));
	/* The time is the clock's when none is given: 24 characters, in UTC. */
	assert_true(bytes_starts(buf_bytes(&out), BYTES_LIT("{\"time\":\"20")));
	assert_int_equal(bytes_index(buf_bytes(&out), 'Z'), 9 + 23);
	buf_release(&out);
}

/* At every ceiling: a whole line or nothing. */
static void test_all_or_nothing(void **state)
{
	struct observe_event ev = OBSERVE_EVENT_INIT("e");
	struct buf whole, out;

	(void)state;
	ev.time = "T";
	ev.path = BYTES_LIT("/\x01\x02\x03");
	buf_init(&whole, 64 * 1024);
	assert_int_equal(observe_event_write(&ev, &whole), ERR_OK);
	for (size_t max = 3; max < 3 + buf_len(&whole); max++) {
		buf_init(&out, max);
		assert_int_equal(buf_append_str(&out, "abc"), ERR_OK);
		assert_int_equal(observe_event_write(&ev, &out), ERR_AGAIN);
		assert_true(bytes_eq(buf_bytes(&out), BYTES_LIT("abc")));
		buf_release(&out);
	}
	buf_init(&out, 3 + buf_len(&whole));
	assert_int_equal(buf_append_str(&out, "abc"), ERR_OK);
	assert_int_equal(observe_event_write(&ev, &out), ERR_OK);
	buf_release(&out);
	buf_release(&whole);
}

/* ---- batch ---------------------------------------------------------------------------------- */

struct master {
	size_t takes; /* at most so many bytes per write */
	struct buf got;
	unsigned writes;
};

static size_t master_write(void *owner, struct bytes lines)
{
	struct master *m = owner;
	size_t n = lines.n < m->takes ? lines.n : m->takes;

	m->writes++;
	assert_int_equal(buf_append(&m->got, bytes_first(lines, n)), ERR_OK);
	return n;
}

static struct observe_batch batch_for(struct master *m)
{
	struct observe_sink sink = { .write = master_write, .owner = m };
	struct observe_batch b;

	buf_init(&m->got, 8 << 20);
	observe_batch_init(&b, &sink);
	return b;
}

static void test_batch_timing(void **state)
{
	struct master m = { .takes = SIZE_MAX };
	struct observe_batch b = batch_for(&m);
	struct observe_event ev = OBSERVE_EVENT_INIT("e");
	uint64_t now = 1000000;

	(void)state;
	assert_true(observe_batch_due(&b, now) == UINT64_MAX);
	assert_int_equal(observe_batch_flush(&b, now), ERR_OK);
	assert_int_equal(m.writes, 0);
	/* After a quiet while: at once. */
	assert_int_equal(observe_batch_add(&b, &ev), ERR_OK);
	assert_true(observe_batch_due(&b, now) == 0);
	assert_int_equal(observe_batch_flush(&b, now), ERR_OK);
	assert_int_equal(m.writes, 1);
	/* Then 20 ms after the last. */
	assert_int_equal(observe_batch_add(&b, &ev), ERR_OK);
	assert_true(observe_batch_due(&b, now + 5000) == 15000);
	assert_true(observe_batch_due(&b, now + 19999) == 1);
	assert_true(observe_batch_due(&b, now + 20000) == 0);
	/* A clock that seems to go back waits no longer than that. */
	assert_true(observe_batch_due(&b, now - 5) == 20000);
	/* Or at 32 KiB. */
	while (buf_len(&b.lines) < OBSERVE_BATCH_BYTES) {
		assert_true(observe_batch_due(&b, now + 1) > 0);
		assert_int_equal(observe_batch_add(&b, &ev), ERR_OK);
	}
	assert_true(observe_batch_due(&b, now + 1) == 0);
	assert_int_equal(observe_batch_flush(&b, now + 1), ERR_OK);
	assert_true(observe_batch_due(&b, now + 1) == UINT64_MAX);
	assert_int_equal(m.writes, 2);
	observe_batch_release(&b);
	buf_release(&m.got);
}

/* A slow master gets everything in order; one that never reads costs lines, which are counted. */
static void test_batch_slow_master(void **state)
{
	struct master m = { .takes = 100 };
	struct observe_batch b = batch_for(&m);
	struct observe_event ev = OBSERVE_EVENT_INIT("e");
	struct buf want;
	uint64_t now = 1000000;
	unsigned added = 0;

	(void)state;
	buf_init(&want, 8 << 20);
	ev.time = "T";
	while (observe_batch_add(&b, &ev) == ERR_OK) {
		assert_int_equal(observe_event_write(&ev, &want), ERR_OK);
		added++;
	}
	assert_int_equal(b.lost, 1);
	assert_true(buf_len(&b.lines) <= OBSERVE_BATCH_MAX);
	assert_true(added > 1000);
	assert_int_equal(observe_batch_flush(&b, now), ERR_AGAIN);
	/* Full, but not tried again before its time. */
	assert_true(observe_batch_due(&b, now) == OBSERVE_BATCH_US);
	m.takes = SIZE_MAX;
	assert_int_equal(observe_batch_flush(&b, now), ERR_OK);
	assert_true(bytes_eq(buf_bytes(&m.got), buf_bytes(&want)));
	observe_batch_release(&b);
	buf_release(&want);
	buf_release(&m.got);
}

#define T(f) cmocka_unit_test(f)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_nothing_known),	T(test_all_known),    T(test_empty_is_not_null),
		T(test_all_or_nothing), T(test_batch_timing), T(test_batch_slow_master),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
