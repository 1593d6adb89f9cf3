/*
 * test_flow_nomem.c - the n-th allocation fails, for every n until an exchange needs no more
 * links: room_flow
 * wrap: malloc calloc realloc reallocarray
 *
 * Only the gateway's own work is disturbed, from the accept on, in libuv too. Whatever fails: the
 * agent gets the right answer, a denial of the gateway's, or a connection that ends; no real value
 * reaches it, none reaches the wrong upstream, and everything is let go of. One failure at a time,
 * and everything from the n-th on.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/lib/rig.h"

/* ---- allocation ---- */

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
void *__real_reallocarray(void *p, size_t n, size_t size);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t n);
void *__wrap_reallocarray(void *p, size_t n, size_t size);

static bool inside;		/* the gateway is at work */
static size_t seen, fail_at;	/* allocations so far; the one that fails, 0: none */
static bool fail_on;		/* and all that follow */

static bool fails_now(void)
{
	if (!inside)
		return false;
	seen++;
	if (!fail_at || (fail_on ? seen < fail_at : seen != fail_at))
		return false;
	errno = ENOMEM;
	return true;
}

void *__wrap_malloc(size_t n)
{
	return fails_now() ? NULL : __real_malloc(n);
}

void *__wrap_calloc(size_t n, size_t size)
{
	return fails_now() ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t n)
{
	return fails_now() ? NULL : __real_realloc(p, n);
}

void *__wrap_reallocarray(void *p, size_t n, size_t size)
{
	return fails_now() ? NULL : __real_reallocarray(p, n, size);
}

static void go_in(void)
{
	inside = true;
}

static void go_out(void)
{
	inside = false;
}

/* ---- what is played ---- */

struct row {
	const char *name;
	const char *request;
	struct rig_reply reply;
	const char *upstream;	/* the upstream got this, if it got anything */
	const char *agent;	/* the agent got this, unless it was denied or cut */
	size_t cut;		/* of both sides' bytes */
	bool tls, raw;
	bool agent_fin;
};

static const struct row rows[] = {
	{
		.name = "measured bodies both ways",
		.request = "POST /x?k=" RIG_DUMMY " HTTP/1.1\r\nHost: api.test\r\n"
						  "Authorization: Basic "
			   "OmR1bW15LXRva2VuLTAx\r\nContent-Length: 14\r\n\r\n" RIG_DUMMY,
		.reply = { "HTTP/1.1 200 OK\r\nX: " RIG_REAL_SAME "\r\nContent-Length: 16\r\n\r\n"
			   RIG_REAL_SAME, RIG_KEEP, false },
		.upstream = RIG_REAL,
		.agent = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\nX: [REDACTED]\r\n\r\n[REDACTED]",
	},
	{
		.name = "chunks both ways",
		.request = "PUT /x HTTP/1.1\r\nHost: api.test\r\nTransfer-Encoding: chunked\r\n\r\n"
			   "e\r\n" RIG_DUMMY "\r\n0\r\n\r\n",
		.reply = { "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
			   "10\r\n" RIG_REAL_SAME "\r\n0\r\nT: " RIG_REAL_SAME "\r\n\r\n",
			   RIG_KEEP, false },
		.upstream = RIG_REAL,
		.agent = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
			 "[REDACTED]T: [REDACTED]\r\n",
	},
	{
		.name = "chunks both ways, the body a while after the head",
		.request = "PUT /x HTTP/1.1\r\nHost: api.test\r\nTransfer-Encoding: chunked\r\n\r\n"
			   "e\r\n" RIG_DUMMY "\r\n0\r\n\r\n",
		.reply = { "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
			   "10\r\n" RIG_REAL_SAME "\r\n0\r\nT: " RIG_REAL_SAME "\r\n\r\n",
			   RIG_KEEP, false },
		.upstream = RIG_REAL,
		.agent = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
			 "[REDACTED]T: [REDACTED]\r\n",
		.cut = sizeof("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n") - 1,
	},
	{
		.name = "denied by a rule",
		.request = "GET /denied/x HTTP/1.1\r\nHost: other.test\r\nX: " RIG_DUMMY "\r\n\r\n",
		.reply = { "HTTP/1.1 200 OK\r\n\r\n", RIG_KEEP, false },
		.upstream = "nothing",
		.agent = "nothing else",
	},
	{
		.name = "over TLS",
		.request = "GET /x HTTP/1.1\r\nHost: api.test\r\nX: " RIG_DUMMY_TLS "\r\n\r\n",
		.reply = { "HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n" RIG_REAL_TLS,
			   RIG_KEEP, false },
		.upstream = RIG_REAL_TLS,
		.agent = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n[REDACTED]",
		.tls = true,
	},
	{
		.name = "a tunnel",
		.request = "GET / HTTP/1.1\r\n\r\n",
		.reply = { "raw " RIG_REAL_SAME " raw", RIG_FIN, false },
		.upstream = "GET / HTTP/1.1\r\n\r\n",
		.agent = "raw [REDACTED] raw",
		.raw = true,
		.agent_fin = true,
	},
};

static struct rig rig;
static struct rig_peer *agent;
static const struct row *row;

static bool over(struct rig *r)
{
	(void)r;
	return agent->eof || agent->dead || rig_count_events(&rig, "exchange") ||
	       rig_count_events(&rig, "flow.refused");
}

/* True when it went as if nothing had failed. */
static bool check_agent(void)
{
	struct buf joined;
	struct bytes in = buf_bytes(&agent->in);
	bool right, denied;

	assert_false(rig_peer_leaked(agent));
	buf_init(&joined, 1 << 20);
	right = (row->raw || rig_http_join(in, false, &joined)) &&
		bytes_eq(row->raw ? in : buf_bytes(&joined), bytes_str(row->agent));
	buf_release(&joined);
	denied = bytes_starts(in, BYTES_LIT("HTTP/1.1 4")) ||
		 bytes_starts(in, BYTES_LIT("HTTP/1.1 5"));
	if (denied)
		assert_true(rig_peer_has(agent, "X-Slapenir-Reason"));
	else if (!right)
		assert_true(agent->eof || agent->dead || agent->fd < 0);
	/* A cut answer must not pass for a whole one. */
	if (!right && !denied && agent->eof && !row->raw && in.n)
		assert_int_equal(rig_http_length(in, false), 0);
	return right;
}

static void check_upstream(const struct rig_upstream *u)
{
	for (size_t i = 0; i < u->n_conns; i++) {
		const struct rig_peer *p = &u->conns[i];

		/*
		 * A dummy where the real value belongs would be a request that was not rewritten.
		 */
		assert_false(rig_peer_has(p, RIG_DUMMY));
		if (rig_http_length(buf_bytes(&p->in), false))
			assert_true(rig_peer_has(p, row->upstream));
	}
}

/* One life with the fail_at-th allocation refused; true when there was no such allocation. */
static bool play(bool *right)
{
	const struct rig_spec spec = { .tls = row->tls, .enter = go_in, .leave = go_out };

	rig_open(&rig, &spec);
	rig.up.replies = rig.raw.replies = &row->reply;
	rig.up.n_replies = rig.raw.n_replies = 1;
	seen = 0;
	agent = row->raw ? rig_agent_raw(&rig, 0) : rig_agent(&rig, 0);
	rig_say(agent, row->request);
	rig.up.cut = agent->cut = row->cut;
	agent->then = row->agent_fin ? RIG_FIN : RIG_KEEP;
	if (!rig_until(&rig, over)) {
		print_error("%s: stuck after allocation %zu failed\n", row->name, fail_at);
		fail();
	}
	rig_settle(&rig);
	*right = check_agent();
	check_upstream(&rig.up);
	check_upstream(&rig.raw);
	assert_true(rig.n_events <= 1);
	/* Closing needs no memory either. */
	if (!rig_close(&rig)) {
		print_error("%s: not let go of after allocation %zu failed\n", row->name, fail_at);
		fail();
	}
	return seen < fail_at;
}

static void every_allocation(bool and_on)
{
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		size_t wrong = 0;
		bool right;

		row = &rows[i];
		fail_on = and_on;
		for (fail_at = 1; !play(&right); fail_at++)
			wrong += !right;
		/* With nothing left to fail all is well, except for what is denied anyway. */
		assert_true(right || strncmp(row->agent, "nothing", 7) == 0);
		/* Some failures cannot be survived; if all were, nothing failed. */
		assert_true(wrong > 0);
		print_message("%s: %zu allocations, %zu did without\n", row->name, fail_at - 1,
			      fail_at - 1 - wrong);
		fail_at = 0;
	}
}

static void test_each_alone(void **state)
{
	(void)state;
	every_allocation(false);
}

static void test_from_here_on(void **state)
{
	(void)state;
	every_allocation(true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_alone),
		cmocka_unit_test(test_from_here_on),
	};

	/*
	 * Without realloc: where its table of descriptors cannot grow, libuv aborts, and the master
	 * starts anew.
	 */
	if (uv_replace_allocator(__wrap_malloc, __real_realloc, __wrap_calloc, free) != 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
