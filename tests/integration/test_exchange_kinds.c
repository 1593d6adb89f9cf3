/*
 * test_exchange_kinds.c - every kind of exchange, cut at every byte of either side
 * links: room_flow
 *
 * Each row is played whole, byte by byte, and once for every place where the agent's or the
 * upstream's bytes can be cut in two; what each side received, its chunks joined, must be the same
 * every time.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/lib/rig.h"

#define HOST "Host: api.test\r\n"
#define MORE HOST "Accept-Encoding: identity\r\n"

struct row {
	const char *name;
	const char *request;		/* all the agent sends */
	struct rig_reply replies[3];
	const char *upstream;		/* what the upstream got */
	const char *agent;		/* what the agent got */
	size_t exchanges;		/* 0: 1 */
	int64_t redactions;		/* of the first exchange */
	const char *secrets;		/* of the first exchange */
	bool head;			/* answers have no body */
	bool ends;			/* the gateway closes afterwards */
	bool fin;			/* the agent half-closes behind its bytes */
	/* What of the body reaches the upstream depends on the cut. */
	bool early;
};

static const struct row rows[] = {
	{
		.name = "no body either way",
		.request = "GET / HTTP/1.1\r\n" HOST "\r\n",
		.replies = { { "HTTP/1.1 204 No Content\r\nA: b\r\n\r\n", RIG_KEEP, false } },
		.upstream = "GET / HTTP/1.1\r\n" MORE "\r\n",
		.agent = "HTTP/1.1 204 No Content\r\nA: b\r\n\r\n",
	},
	{
		.name = "tokens in path, query, field and Basic; answer with length",
		.request = "GET /p/" RIG_DUMMY "/x?k=" RIG_DUMMY "&z=1 HTTP/1.1\r\n" HOST
			   "Authorization: Bearer " RIG_DUMMY "\r\nX: Basic\r\n\r\n",
		.replies = { { "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nsome text",
			       RIG_KEEP, false } },
		.upstream = "GET /p/REAL%2Fcanary%2Bone%3Alonger%20than%20the%20dummy/x"
			    "?k=REAL%2Fcanary%2Bone%3Alonger%20than%20the%20dummy&z=1 HTTP/1.1\r\n"
			    HOST "Authorization: Bearer " RIG_REAL "\r\nX: Basic\r\n"
			    "Accept-Encoding: identity\r\n\r\n",
		.agent = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nsome text",
		.secrets = "one",
	},
	{
		.name = "token in a body with length, real value in one",
		.request = "POST /in HTTP/1.1\r\n" HOST "Content-Length: 24\r\n\r\nabc " RIG_DUMMY
			   " xyz..",
		.replies = { { "HTTP/1.1 200 OK\r\nContent-Length: 45\r\n\r\nyou: " RIG_REAL ".\n.",
			       RIG_KEEP, false } },
		.upstream = "POST /in HTTP/1.1\r\n" HOST "Content-Length: 47\r\n"
							 "Accept-Encoding: identity\r\n\r\n"
			    "abc " RIG_REAL " xyz..",
		.agent = "HTTP/1.1 200 OK\r\nContent-Length: 18\r\n\r\nyou: [REDACTED].\n.",
		.redactions = 1,
		.secrets = "one",
	},
	{
		.name = "chunks both ways, trailers back",
		.request = "PUT /c HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n"
			   "3\r\ndum\r\n8\r\nmy-token\r\n1;x=y\r\n-\r\n4\r\n01 !\r\n0\r\n\r\n",
		.replies = { { "HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n"
			       "Trailer: T\r\n\r\n"
			       "6\r\nREAL-c\r\nC\r\nanary-same a\r\n1\r\nb\r\n0\r\nT: "
			       RIG_REAL_SAME "\r\n\r\n",
			       RIG_KEEP, false } },
		.upstream = "PUT /c HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n"
						       "Accept-Encoding: identity\r\n\r\n"
			    RIG_REAL " !",
		.agent = "HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\nTrailer: T\r\n\r\n"
			 "[REDACTED] abT: [REDACTED]\r\n",
		.redactions = 2,
		.secrets = "one",
	},
	{
		.name = "body that ends with the connection; real value in status line and fields",
		.request = "GET /close HTTP/1.1\r\n" HOST "\r\n",
		.replies = { { "HTTP/1.1 200 " RIG_REAL_SAME "\r\nLocation: /?" RIG_REAL_SAME
			       "\r\n\r\n"
			       "to the end " RIG_REAL_SAME, RIG_FIN, false } },
		.upstream = "GET /close HTTP/1.1\r\n" MORE "\r\n",
		.agent = "HTTP/1.1 200 [REDACTED]\r\nTransfer-Encoding: chunked\r\n"
			 "Location: /?[REDACTED]\r\n\r\n"
			 "to the end [REDACTED]",
		.redactions = 3,
	},
	{
		.name = "real value in a field's name",
		.request = "GET /name HTTP/1.1\r\n" HOST "\r\n",
		.replies = { { "HTTP/1.1 200 OK\r\n" RIG_REAL_SAME ": v\r\n"
			       "Content-Length: 0\r\n\r\n",
			       RIG_KEEP, false } },
		.upstream = "GET /name HTTP/1.1\r\n" MORE "\r\n",
		.agent = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n"
			 "x-slapenir-redacted: [REDACTED]\r\n\r\n",
		.redactions = 1,
	},
	{
		.name = "HEAD",
		.request = "HEAD / HTTP/1.1\r\n" HOST "\r\n",
		.replies = { { "HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n",
			       RIG_KEEP, false } },
		.upstream = "HEAD / HTTP/1.1\r\n" MORE "\r\n",
		.agent = "HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n",
		.head = true,
	},
	{
		.name = "304 with a length",
		.request = "GET / HTTP/1.1\r\n" HOST "If-None-Match: \"a\"\r\n\r\n",
		.replies = { { "HTTP/1.1 304 Not Modified\r\nContent-Length: 10\r\n\r\n",
			       RIG_KEEP, false } },
		.upstream = "GET / HTTP/1.1\r\n" HOST "If-None-Match: \"a\"\r\n"
						      "Accept-Encoding: identity\r\n\r\n",
		.agent = "HTTP/1.1 304 Not Modified\r\nContent-Length: 10\r\n\r\n",
	},
	{
		.name = "interim answers before the final one",
		.request = "GET / HTTP/1.1\r\n" HOST "\r\n",
		.replies = { { "HTTP/1.1 103 Early Hints\r\nLink: <" RIG_REAL_SAME
			       ">\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n"
			       "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
			       RIG_KEEP, false } },
		.upstream = "GET / HTTP/1.1\r\n" MORE "\r\n",
		.agent = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
	},
	{
		.name = "the gateway asks for the body",
		.request = "POST / HTTP/1.1\r\n" HOST "Expect: 100-continue\r\n"
						      "Content-Length: 4\r\n\r\nbody",
		.replies = { { "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
			       RIG_KEEP, false } },
		.upstream = "POST / HTTP/1.1\r\n" HOST "Content-Length: 4\r\n"
						       "Accept-Encoding: identity\r\n\r\nbody",
		.agent = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"
			 "ok",
	},
	{
		.name = "a final answer while the body is still coming",
		.request = "POST /e HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n5\r\n"
						       "hello\r\n",
		.replies = { { "HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nno!",
			       RIG_KEEP, true } },
		.upstream = "POST /e HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n"
							"Accept-Encoding: identity\r\n\r\n",
		.agent = "HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\n"
			 "no!",
		.ends = true,
		.early = true,
	},
	{
		.name = "three in a row, sent at once",
		.request = "GET /1 HTTP/1.1\r\n" HOST "\r\n"
			   "POST /2 HTTP/1.1\r\n" HOST "Content-Length: 3\r\n\r\nabc"
			   "GET /3 HTTP/1.1\r\n" HOST "Connection: close\r\n\r\n",
		.replies = {
			{ "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1", RIG_KEEP, false },
			{ "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n2\r\n"
			  "0\r\n\r\n", RIG_KEEP, false },
			{ "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n3", RIG_KEEP, false },
		},
		.upstream = "GET /1 HTTP/1.1\r\n" MORE "\r\n"
			    "POST /2 HTTP/1.1\r\n" HOST "Content-Length: 3\r\n"
							"Accept-Encoding: identity\r\n\r\nabc"
			    "GET /3 HTTP/1.1\r\n" MORE "\r\n",
		.agent = "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1"
			 "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2"
			 "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: close\r\n\r\n3",
		.exchanges = 3,
		.ends = true,
	},
	{
		.name = "HTTP/1.0 gets no chunks",
		.request = "GET /old HTTP/1.0\r\n" HOST "\r\n",
		.replies = { { "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nREAL\r\n"
			       "d\r\n-canary-same.\r\n0\r\n\r\n", RIG_KEEP, false } },
		.upstream = "GET /old HTTP/1.1\r\n" MORE "\r\n",
		.agent = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n[REDACTED].",
		.redactions = 1,
		.ends = true,
	},
	{
		.name = "HTTP/1.0 that asks to be kept is told so",
		.request = "GET /old HTTP/1.0\r\n" HOST "Connection: keep-alive\r\n\r\n",
		.replies = { { "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
			       RIG_KEEP, false } },
		.upstream = "GET /old HTTP/1.1\r\n" MORE "\r\n",
		.agent = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n"
			 "Connection: keep-alive\r\n\r\nok",
	},
	{
		.name = "a half-close behind the request waits for the answer",
		.request = "GET /half HTTP/1.1\r\n" HOST "\r\n",
		.replies = { { "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nhalf",
			       RIG_KEEP, false } },
		.upstream = "GET /half HTTP/1.1\r\n" MORE "\r\n",
		.agent = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nhalf",
		.fin = true,
		.ends = true,
	},
	{
		.name = "a dummy of another host passes unchanged",
		.request = "GET /m HTTP/1.1\r\n" HOST "X: " RIG_DUMMY_OTHER "\r\nY: " RIG_DUMMY_TLS
			   "\r\n\r\n",
		.replies = { { "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", RIG_KEEP, false } },
		.upstream = "GET /m HTTP/1.1\r\n" HOST "X: " RIG_DUMMY_OTHER "\r\nY: " RIG_DUMMY_TLS
			    "\r\n"
			    "Accept-Encoding: identity\r\n\r\n",
		.agent = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
	},
};

static struct rig rig;
static const struct row *row;
static size_t cut_agent, cut_upstream, step;

static bool answered(struct rig *r)
{
	(void)r;
	return rig_count_events(&rig, "exchange") == (row->exchanges ? row->exchanges : 1);
}

static void show(const char *what, struct bytes got, const char *want)
{
	print_error("%s: %s, cuts %zu/%zu, step %zu\n--- got\n%.*s\n--- wanted\n%s\n", row->name,
		    what, cut_agent, cut_upstream, step, (int)got.n, (const char *)got.p, want);
}

static void check_text(const char *what, struct bytes in, bool no_body, const char *want,
		       bool prefix)
{
	struct buf joined;
	bool whole;

	buf_init(&joined, 1 << 20);
	whole = rig_http_join(in, no_body, &joined);
	if (prefix)
		whole = bytes_starts(in, bytes_str(want));
	else
		whole = whole && bytes_eq(buf_bytes(&joined), bytes_str(want));
	buf_release(&joined);
	if (!whole)
		show(what, in, want);
	assert_true(whole);
}

static void check_upstream(void)
{
	struct buf all;

	buf_init(&all, 1 << 20);
	for (size_t i = 0; i < rig.up.n_conns; i++)
		assert_int_equal(buf_append(&all, buf_bytes(&rig.up.conns[i].in)), ERR_OK);
	check_text("upstream", buf_bytes(&all), false, row->upstream, row->early);
	buf_release(&all);
}

/* Plays the row with the cuts that are set; fills how much each side sent. */
static void play(size_t *from_agent, size_t *from_upstream)
{
	struct rig_peer *a;
	const struct rig_event *ev;

	rig.up.replies = row->replies;
	rig.up.n_replies = row->exchanges ? row->exchanges : 1;
	rig.up.cut = cut_upstream;
	rig.up.step = step;
	a = rig_agent(&rig, 0);
	a->cut = cut_agent;
	a->step = step;
	a->then = row->fin ? RIG_FIN : RIG_KEEP;
	rig_say(a, row->request);
	if (!rig_until(&rig, answered))
		show("never answered", buf_bytes(&a->in), row->agent);
	rig_settle(&rig);
	check_text("agent", buf_bytes(&a->in), row->head, row->agent, false);
	check_upstream();
	assert_false(rig_peer_leaked(a));
	assert_int_equal(a->eof, row->ends);
	ev = rig_event(&rig, "exchange", 0);
	assert_string_equal(ev->decision, "allow");
	assert_string_equal(ev->secrets, row->secrets ? row->secrets : "");
	assert_int_equal(ev->redactions, row->redactions);
	*from_agent = a->sent;
	*from_upstream = 0;
	for (size_t i = 0; i < rig.up.n_conns; i++)
		*from_upstream += rig.up.conns[i].sent;
	assert_true(rig_reset(&rig));
}

static void test_kinds(void **state)
{
	size_t agent, upstream, n_agent, n_upstream;

	(void)state;
	rig_open(&rig, NULL);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		row = &rows[i];
		cut_agent = cut_upstream = step = 0;
		play(&n_agent, &n_upstream);
		step = 1;
		play(&agent, &upstream);
		step = 7;
		play(&agent, &upstream);
		step = 0;
		for (cut_agent = 1; cut_agent < n_agent; cut_agent++)
			play(&agent, &upstream);
		cut_agent = 0;
		for (cut_upstream = 1; cut_upstream < n_upstream; cut_upstream++)
			play(&agent, &upstream);
	}
	assert_true(rig_close(&rig));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_kinds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
