/*
 * test_dns_server.c - what is answered, to whom, and when
 *
 * Questions go in as from a stream; a resolver made of a list answers at once, later, or not until
 * the server closes.
 */
#include "gateway/dns/dns.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define MAX_PENDING 512

struct pending {
	void (*done)(void *cookie, const struct dns_result *result);
	void *cookie;
	int family;
};

struct world {
	uv_loop_t uv;
	struct dns_server *server;
	bool hold; /* the resolver answers when told to */
	struct pending pending[MAX_PENDING];
	size_t n_pending;
	enum err resolve_err;
	uint32_t ttl;
	/* what was seen */
	unsigned resolves, replies, audits, closed;
	bool silent;
	unsigned rcode, answers, ttl_seen;
	enum err decision;
	char name[DNS_NAME_MAX];
	struct world *close_in_allowed;
};

static enum err world_allowed(void *owner, const struct addr *source, const char *name)
{
	struct world *w = owner;

	if (w->close_in_allowed)
		dns_server_close(w->server, NULL);
	if (source->ip[0] != 10)
		return ERR_DENY_AGENT;
	if (strcmp(name, "busy.example") == 0)
		return ERR_DENY_RATE;
	if (strcmp(name, "ok.example") == 0 || strchr(name, '?') || !name[0])
		return ERR_OK;
	return ERR_DENY_NAME;
}

static void world_resolved(struct world *w, const struct pending *p)
{
	struct addr addrs[2] = {
		{ .family = (uint8_t)p->family, .ip = { 192, 0, 2, 1 } },
		{ .family = (uint8_t)p->family, .ip = { 192, 0, 2, 2 } },
	};
	struct dns_result r = { .err = w->resolve_err, .addrs = addrs, .n = 2, .ttl = w->ttl };

	p->done(p->cookie, &r);
}

static void world_resolve(void *owner, const char *name, int family,
			  void (*done)(void *cookie, const struct dns_result *result), void *cookie)
{
	struct world *w = owner;
	struct pending p = { .done = done, .cookie = cookie, .family = family };

	assert_string_equal(name, "ok.example");
	w->resolves++;
	if (!w->hold) {
		world_resolved(w, &p);
		return;
	}
	assert_true(w->n_pending < MAX_PENDING);
	w->pending[w->n_pending++] = p;
}

static void world_audit(void *owner, const struct addr *source, const char *name, uint16_t type,
			enum err decision)
{
	struct world *w = owner;

	(void)source;
	(void)type;
	w->audits++;
	w->decision = decision;
	snprintf(w->name, sizeof(w->name), "%s", name);
}

static void world_closed(void *owner)
{
	struct world *w = owner;

	w->closed++;
}

static const struct dns_server_ops ops = {
	.allowed = world_allowed,
	.resolve = world_resolve,
	.audit = world_audit,
};

static void world_reply(void *cookie, struct bytes a)
{
	struct world *w = cookie;

	w->replies++;
	w->silent = a.n == 0;
	if (w->silent)
		return;
	assert_true(a.n >= 12);
	w->rcode = a.p[3] & 15;
	w->answers = (unsigned)(a.p[6] << 8 | a.p[7]);
	if (w->answers)
		w->ttl_seen = a.p[12 + 12 + 4 + 9]; /* header, ok.example, type, low octet */
}

/* One question as from 10.0.0.<host> */
static void ask(struct world *w, struct bytes tail, unsigned char net, unsigned char host)
{
	struct addr source = { .family = AF_INET, .port = 5000, .ip = { net, 0, 0, host } };
	uint8_t msg[512] = { 0x12, 0x34, 1, 0, 0, 1 };

	memcpy(msg + 12, tail.p, tail.n);
	dns_server_query(w->server, &source, bytes_of(msg, 12 + tail.n), world_reply, w);
}

static int world_open(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	if (!w || uv_loop_init(&w->uv) != 0)
		return -1;
	w->ttl = 30;
	w->server = dns_server_open(&w->uv, NULL, 0, &ops, w);
	*state = w;
	return w->server ? 0 : -1;
}

static int world_close(void **state)
{
	struct world *w = *state;

	uv_run(&w->uv, UV_RUN_DEFAULT);
	if (uv_loop_close(&w->uv) != 0)
		return -1;
	free(w);
	return 0;
}

#define OK_A BYTES_LIT("\2ok\7example\0\0\1\0\1")
#define OK_AAAA BYTES_LIT("\2OK\7example\0\0\x1c\0\1")

static void test_table(void **state)
{
	static const struct {
		const char *what;
		struct bytes tail;
		unsigned char net;
		bool silent;
		unsigned rcode, answers;
		enum err decision;
		unsigned resolves;
	} rows[] = {
		{ "A", BYTES_LIT("\2ok\7example\0\0\1\0\1"), 10, false, 0, 2, ERR_OK, 1 },
		{ "AAAA", BYTES_LIT("\2OK\7example\0\0\x1c\0\1"), 10, false, 0, 2, ERR_OK, 1 },
		{ "HTTPS", BYTES_LIT("\2ok\7example\0\0\x41\0\1"), 10, false, 0, 0, ERR_OK, 0 },
		{ "ANY", BYTES_LIT("\2ok\7example\0\0\xff\0\1"), 10, false, 0, 0, ERR_OK, 0 },
		{ "denied", BYTES_LIT("\2no\7example\0\0\1\0\1"), 10, false, 3, 0, ERR_DENY_NAME,
		  0 },
		{ "denied TXT", BYTES_LIT("\2no\7example\0\0\x10\0\1"), 10, false, 3, 0,
		  ERR_DENY_NAME, 0 },
		{ "odd, though policy would match it", BYTES_LIT("\3o.k\7example\0\0\1\0\1"), 10,
		  false, 3, 0, ERR_DENY_NAME, 0 },
		{ "class", BYTES_LIT("\2ok\7example\0\0\1\0\3"), 10, false, 5, 0, ERR_DENY_NAME,
		  0 },
		{ "rate", BYTES_LIT("\4busy\7example\0\0\1\0\1"), 10, false, 2, 0, ERR_DENY_RATE,
		  0 },
		{ "malformed", BYTES_LIT("\xc0\x0c\0\1\0\1"), 10, false, 1, 0, ERR_BAD_VALUE, 0 },
		{ "malformed, nobody's", BYTES_LIT("\xc0\x0c\0\1\0\1"), 11, true, 0, 0,
		  ERR_DENY_AGENT, 0 },
		{ "nobody's", BYTES_LIT("\2ok\7example\0\0\1\0\1"), 11, true, 0, 0, ERR_DENY_AGENT,
		  0 },
	};
	struct world *w = *state;

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		print_message("%s\n", rows[i].what);
		w->replies = w->resolves = w->audits = w->answers = w->rcode = 0;
		ask(w, rows[i].tail, rows[i].net, 1);
		assert_int_equal(w->replies, 1);
		assert_int_equal(w->audits, 1);
		assert_int_equal(w->silent, rows[i].silent);
		assert_int_equal(w->rcode, rows[i].rcode);
		assert_int_equal(w->answers, rows[i].answers);
		assert_int_equal(w->decision, rows[i].decision);
		assert_int_equal(w->resolves, rows[i].resolves);
	}
	dns_server_close(w->server, world_closed);
	uv_run(&w->uv, UV_RUN_DEFAULT);
	assert_int_equal(w->closed, 1);
}

static void test_resolver_errors(void **state)
{
	static const struct {
		enum err err;
		unsigned rcode, answers;
	} rows[] = {
		{ ERR_RESOLVE_NONE, 3, 0 }, { ERR_RESOLVE, 2, 0 }, { ERR_CANCELLED, 2, 0 },
		{ ERR_DENY_ADDRESS, 3, 0 }, { ERR_OK, 0, 2 },
	};
	struct world *w = *state;

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		w->resolve_err = rows[i].err;
		ask(w, OK_A, 10, 1);
		assert_int_equal(w->rcode, rows[i].rcode);
		assert_int_equal(w->answers, rows[i].answers);
		assert_int_equal(w->decision, rows[i].err);
	}
	assert_int_equal(w->ttl_seen, 30);
	w->ttl = 86400;
	ask(w, OK_A, 10, 1);
	assert_int_equal(w->ttl_seen, DNS_TTL_MAX);
	dns_server_close(w->server, world_closed);
}

/* One agent alone gets half; the next still gets its share of the rest. */
static void test_bounded_and_fair(void **state)
{
	struct world *w = *state;

	w->hold = true;
	for (int i = 0; i < 300; i++)
		ask(w, OK_A, 10, 1);
	assert_int_equal(dns_server_in_flight(w->server), 128);
	assert_int_equal(w->replies, 300 - 128);
	assert_int_equal(w->rcode, 2);
	assert_int_equal(w->decision, ERR_DENY_RATE);
	for (int i = 0; i < 300; i++)
		ask(w, OK_AAAA, 10, 2);
	assert_int_equal(dns_server_in_flight(w->server), 128 + 64);
	w->replies = 0;
	for (size_t i = 0; i < w->n_pending; i++)
		world_resolved(w, &w->pending[i]);
	assert_int_equal(w->replies, 128 + 64);
	assert_int_equal(dns_server_in_flight(w->server), 0);
	dns_server_close(w->server, world_closed);
}

/* After a cancel nothing is said; other askers are. */
static void test_cancel(void **state)
{
	struct world *w = *state;
	int other;

	w->hold = true;
	ask(w, OK_A, 10, 1);
	ask(w, OK_A, 10, 1);
	dns_server_cancel(w->server, &other);
	world_resolved(w, &w->pending[0]);
	assert_int_equal(w->replies, 1);
	dns_server_cancel(w->server, w);
	world_resolved(w, &w->pending[1]);
	assert_int_equal(w->replies, 1);
	dns_server_close(w->server, world_closed);
}

/* The server outlives its owner's interest until the resolver has called back. */
static void test_close_while_waiting(void **state)
{
	struct world *w = *state;

	w->hold = true;
	ask(w, OK_A, 10, 1);
	ask(w, OK_A, 10, 1);
	dns_server_close(w->server, world_closed);
	dns_server_close(w->server, world_closed);
	uv_run(&w->uv, UV_RUN_DEFAULT);
	assert_int_equal(w->closed, 0);
	world_resolved(w, &w->pending[0]);
	uv_run(&w->uv, UV_RUN_DEFAULT);
	assert_int_equal(w->closed, 0);
	world_resolved(w, &w->pending[1]);
	uv_run(&w->uv, UV_RUN_DEFAULT);
	assert_int_equal(w->closed, 1);
	assert_int_equal(w->replies, 0);
}

static void test_close_inside_a_question(void **state)
{
	struct world *w = *state;

	w->close_in_allowed = w;
	ask(w, OK_A, 10, 1);
	assert_int_equal(w->replies, 1);
	assert_true(w->silent);
	assert_int_equal(w->resolves, 0);
}

#define T(f) cmocka_unit_test_setup_teardown(f, world_open, world_close)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_table),	T(test_resolver_errors),     T(test_bounded_and_fair),
		T(test_cancel), T(test_close_while_waiting), T(test_close_inside_a_question),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
