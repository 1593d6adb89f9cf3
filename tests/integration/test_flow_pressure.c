/*
 * test_flow_pressure.c - a reader that does not read stops the writer, either way, and all arrives
 * in the end
 * links: room_flow
 *
 * Far more is sent than sockets and buffers hold. While one side is deaf the other must come to a
 * stop with only so much under way; once it listens, every byte arrives, none twice.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/lib/rig.h"

#define BODY (48u << 20)
/*
 * Kernel buffers of both hops, the gateway's high-water mark and a batch: generous, and far below
 * BODY.
 */
#define UNDER_WAY (24u << 20)

struct row {
	const char *name;
	bool up; /* the agent sends, the upstream is deaf */
	bool chunked, tls, raw;
};

static const struct row rows[] = {
	{ "down, with length", false, false, false, false },
	{ "down, over TLS", false, false, true, false },
	{ "up, with length", true, false, false, false },
	{ "up, chunked", true, true, false, false },
	{ "up, over TLS", true, false, true, false },
	{ "a tunnel, down", false, false, false, true },
	{ "a tunnel, up", true, false, false, true },
};

static struct rig rig;
static const struct row *row;
static struct rig_peer *reader, *writer;
static uint64_t expected;

static bool body_here(struct rig *r)
{
	(void)r;
	return reader->received >= expected;
}

static bool connected(struct rig *r)
{
	return (row->raw ? r->raw.n_conns : r->up.n_conns) == 1 &&
	       (row->raw || rig_http_length(buf_bytes(&r->up.conns[0].in), true));
}

/*
 * A body in which nothing is to be found; counting lets a lost or doubled piece show as a wrong
 * total.
 */
static uint64_t say_body(struct rig_peer *p, bool chunked)
{
	static uint8_t piece[65536];
	uint64_t n = 0;

	memset(piece, 'x', sizeof(piece));
	while (n < BODY) {
		if (chunked)
			rig_say(p, "10000\r\n");
		rig_say_bytes(p, bytes_of(piece, sizeof(piece)));
		if (chunked)
			rig_say(p, "\r\n");
		n += sizeof(piece);
	}
	if (chunked)
		rig_say(p, "0\r\n\r\n");
	return n;
}

static void begin_up(struct rig_peer *agent)
{
	static const char plain[] =
		"PUT /u HTTP/1.1\r\nHost: other.test\r\nContent-Length: 50331648\r\n\r\n";
	static const char secure[] =
		"PUT /u HTTP/1.1\r\nHost: api.test\r\nContent-Length: 50331648\r\n\r\n";
	static const char chunks[] =
		"PUT /u HTTP/1.1\r\nHost: other.test\r\nTransfer-Encoding: chunked\r\n\r\n";
	struct rig_upstream *u = row->raw ? &rig.raw : &rig.up;

	if (!row->raw)
		rig_say(agent, row->chunked ? chunks : row->tls ? secure : plain);
	assert_true(rig_until(&rig, connected));
	reader = &u->conns[0];
	writer = agent;
	reader->count_only = true;
	expected = reader->received + say_body(agent, row->chunked);
}

static void begin_down(struct rig_peer *agent)
{
	struct rig_upstream *u = row->raw ? &rig.raw : &rig.up;

	if (!row->raw)
		rig_say(agent, "GET /d HTTP/1.1\r\nHost: api.test\r\n\r\n");
	assert_true(rig_until(&rig, connected));
	reader = agent;
	writer = &u->conns[0];
	reader->count_only = true;
	if (!row->raw)
		rig_say(writer, "HTTP/1.1 200 OK\r\nContent-Length: 50331648\r\n\r\n");
	expected = say_body(writer, false);
}

static void play(void)
{
	const struct rig_spec spec = { .tls = row->tls };
	struct rig_peer *agent;
	uint64_t stopped_at;

	rig_open(&rig, &spec);
	agent = row->raw ? rig_agent_raw(&rig, 0) : rig_agent(&rig, 0);
	if (row->up)
		begin_up(agent);
	else
		begin_down(agent);
	reader->deaf = true;
	rig_settle(&rig);
	stopped_at = writer->sent;
	print_message("%s: stopped after %llu bytes\n", row->name, (unsigned long long)stopped_at);
	assert_true(stopped_at < UNDER_WAY);
	for (int i = 0; i < 50; i++)
		rig_turn(&rig);
	assert_int_equal(writer->sent, stopped_at);
	assert_int_equal(rig_counter(&rig, OBSERVE_flows_open), 1);
	reader->deaf = false;
	assert_true(rig_until(&rig, body_here));
	rig_settle(&rig);
	assert_int_equal(buf_len(&writer->out) + buf_len(&writer->wire), 0);
	/* A head and chunk heads come on top, no body byte does. */
	assert_true(reader->received < expected + 1024 + (BODY >> 8));
	assert_true(rig_close(&rig));
}

static void test_pressure(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		row = &rows[i];
		play();
	}
}

static bool audited(struct rig *r)
{
	return r->n_events > 0;
}

/* Who never reads again does not hold a flow for good; nor does the other side have to notice. */
static void test_given_up(void **state)
{
	static const char *const reasons[] = { "closed", "upstream_timeout", "timeout" };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		const struct rig_spec spec = { .tls = rows[i].tls, .idle_ms = 300 };
		struct rig_peer *agent;

		row = &rows[i];
		rig_open(&rig, &spec);
		agent = row->raw ? rig_agent_raw(&rig, 0) : rig_agent(&rig, 0);
		if (row->up)
			begin_up(agent);
		else
			begin_down(agent);
		reader->deaf = true;
		writer->deaf = true;
		if (!rig_until(&rig, audited)) {
			print_error("%s: held for good\n", row->name);
			fail();
		}
		assert_int_equal(rig.n_events, 1);
		assert_string_equal(rig.events[0].reason, reasons[row->raw ? 2 : row->up]);
		assert_true(rig_close(&rig));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pressure),
		cmocka_unit_test(test_given_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
