/*
 * test_net_conn.c - connections on a real loop, over loopback
 *
 * Two ends in one loop. Each end checks the promised order of callbacks on every callback; one end
 * is closed at the n-th callback, for every n, and the n-th allocation fails, for every n.
 */
#include "gateway/net/net.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#define HIGH_WATER (128 * 1024)

struct world;

struct end {
	struct net_conn c;
	struct world *w;
	unsigned connected, eofs, errors, drained, closed;
	enum err error;
	uint64_t received, wanted, sent;
	uint8_t next_in, next_out; /* the pattern: counting octets */
	bool must_be_silent; /* closed or failed: only on_closed may come */
	bool refill; /* sends again at on_drained */
	bool shutdown_when_sent;
	bool greedy; /* keeps going over the high-water mark */
	void (*on_eof)(struct end *e);
};

struct world {
	uv_loop_t uv;
	struct net_loop loop;
	struct end a, b; /* a dialled, b accepted */
	int listener;
	struct addr at;
	unsigned callbacks, close_at;
	bool close_b, reset;
};

/* ---- allocation failure: malloc is ours unless a sanitizer has it ----------------------- */

#ifndef SLAPENIR_SANITIZED
static size_t fail_malloc_at;

void *__libc_malloc(size_t n);

void *malloc(size_t n)
{
	if (fail_malloc_at && --fail_malloc_at == 0) {
		errno = ENOMEM;
		return NULL;
	}
	return __libc_malloc(n);
}
#endif

/* ---- ends ------------------------------------------------------------------------------- */

static void end_close(struct end *e)
{
	e->must_be_silent = true;
	if (e->w->reset)
		net_conn_reset(&e->c);
	else
		net_conn_close(&e->c);
	net_conn_close(&e->c);
}

/* After each callback: is it time to close? */
static void world_count(struct world *w)
{
	if (++w->callbacks == w->close_at)
		end_close(w->close_b ? &w->b : &w->a);
}

/* Sends up to the high-water mark what is still to be sent. */
static void end_pump(struct end *e)
{
	struct buf out;

	buf_init(&out, 64 * 1024);
	while (e->sent < e->wanted && net_conn_is_open(&e->c) &&
	       (e->greedy || net_conn_pending(&e->c) < HIGH_WATER)) {
		uint64_t n = e->wanted - e->sent;
		uint8_t *at;
		enum err err;

		if (n > 20000)
			n = 20000;
		if (buf_reserve(&out, n, &at) != ERR_OK)
			break;
		for (uint64_t i = 0; i < n; i++)
			at[i] = (uint8_t)(e->next_out + i);
		buf_commit(&out, n);
		err = net_conn_send(&e->c, &out);
		if (err != ERR_OK) {
			assert_int_equal(buf_len(&out), n);
			buf_clear(&out);
			break;
		}
		assert_int_equal(buf_len(&out), 0);
		e->next_out = (uint8_t)(e->next_out + n);
		e->sent += n;
	}
	buf_release(&out);
	if (e->sent == e->wanted && e->shutdown_when_sent)
		net_conn_shutdown(&e->c);
}

static void end_on_connected(void *owner)
{
	struct end *e = owner;

	assert_false(e->must_be_silent);
	assert_int_equal(e->connected++, 0);
	assert_true(e->received == 0 && e->eofs == 0 && e->errors == 0);
	world_count(e->w);
}

static void end_on_data(void *owner, struct bytes in)
{
	struct end *e = owner;

	assert_false(e->must_be_silent);
	assert_int_equal(e->eofs, 0);
	assert_true(in.n > 0 && in.n <= NET_READ_SIZE);
	for (size_t i = 0; i < in.n; i++)
		assert_int_equal(in.p[i], (uint8_t)(e->next_in + i));
	e->next_in = (uint8_t)(e->next_in + in.n);
	e->received += in.n;
	world_count(e->w);
}

static void end_on_eof(void *owner)
{
	struct end *e = owner;

	assert_false(e->must_be_silent);
	assert_int_equal(e->eofs++, 0);
	if (e->on_eof)
		e->on_eof(e);
	world_count(e->w);
}

static void end_on_error(void *owner, enum err err)
{
	struct end *e = owner;

	assert_false(e->must_be_silent);
	assert_int_equal(e->errors++, 0);
	assert_int_not_equal(err, ERR_OK);
	e->error = err;
	e->must_be_silent = true;
	world_count(e->w);
	net_conn_close(&e->c);
}

static void end_on_drained(void *owner)
{
	struct end *e = owner;

	assert_false(e->must_be_silent);
	assert_int_equal(net_conn_pending(&e->c), 0);
	e->drained++;
	if (e->refill)
		end_pump(e);
	world_count(e->w);
}

static void end_on_closed(void *owner)
{
	struct end *e = owner;

	assert_int_equal(e->closed++, 0);
	/* Nothing may refer to it any more: whatever touches it from now on is seen. */
	memset(&e->c, 0xA5, sizeof(e->c));
	e->c.state = NET_CONN_IDLE;
}

static const struct net_conn_ops ops = {
	.on_connected = end_on_connected,
	.on_data = end_on_data,
	.on_eof = end_on_eof,
	.on_error = end_on_error,
	.on_drained = end_on_drained,
	.on_closed = end_on_closed,
};

/* ---- world ------------------------------------------------------------------------------ */

static void small_buffers(int fd)
{
	/* Room for several segments, else every write waits for a delayed acknowledgement. */
	int size = 128 * 1024;

	setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
}

static struct world *world_new(void)
{
	struct world *w = calloc(1, sizeof(*w));

	assert_non_null(w);
	assert_int_equal(uv_loop_init(&w->uv), 0);
	assert_int_equal(net_loop_init(&w->loop, &w->uv), ERR_OK);
	assert_true(addr_parse_ip(&w->at, BYTES_LIT("127.0.0.1")));
	assert_int_equal(net_listen_tcp(&w->at, &w->listener), ERR_OK);
	small_buffers(w->listener);
	w->a.w = w->b.w = w;
	return w;
}

/* a dials, b is accepted; both read. */
static void world_connect(struct world *w)
{
	struct pollfd ready = { .fd = w->listener, .events = POLLIN };
	int fd;

	assert_int_equal(net_conn_dial(&w->a.c, &w->loop, &w->at, NULL, &ops, &w->a), ERR_OK);
	small_buffers(w->a.c.fd);
	assert_int_equal(poll(&ready, 1, 5000), 1);
	fd = accept4(w->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	assert_true(fd >= 0);
	assert_int_equal(net_conn_accept(&w->b.c, &w->loop, fd, &ops, &w->b), ERR_OK);
	net_conn_read_start(&w->a.c);
	net_conn_read_start(&w->b.c);
}

/* Turns the loop until nothing is left, or `done` says so. */
static void world_run(struct world *w, bool (*done)(struct world *w))
{
	for (int i = 0; i < 100000 && !(done && done(w)); i++)
		if (!uv_run(&w->uv, UV_RUN_ONCE))
			return;
	assert_true(!done || done(w));
}

static void world_free(struct world *w)
{
	end_close(&w->a);
	end_close(&w->b);
	if (w->listener >= 0)
		close(w->listener);
	net_loop_close(&w->loop, NULL, NULL);
	world_run(w, NULL);
	assert_int_equal(uv_loop_close(&w->uv), 0);
	free(w);
}

static bool a_is_open(struct world *w)
{
	return w->a.connected > 0;
}

static bool b_got_eof(struct world *w)
{
	return w->b.eofs > 0;
}

static bool a_is_closed(struct world *w)
{
	return w->a.closed > 0;
}

static bool both_closed(struct world *w)
{
	return w->a.closed && w->b.closed;
}

static void close_at_eof(struct end *e)
{
	end_close(e);
}

/* ---- tests ------------------------------------------------------------------------------ */

/* Megabytes each way at once, in order, never much over the high-water mark; then an end. */
static void test_both_ways(void **state)
{
	struct world *w = world_new();

	(void)state;
	world_connect(w);
	world_run(w, a_is_open);
	w->a.wanted = 3000000;
	w->b.wanted = 2000000;
	w->a.refill = w->b.refill = true;
	w->a.shutdown_when_sent = w->b.shutdown_when_sent = true;
	w->a.on_eof = w->b.on_eof = NULL;
	end_pump(&w->a);
	end_pump(&w->b);
	assert_true(net_conn_pending(&w->a.c) >= HIGH_WATER);
	assert_true(net_conn_pending(&w->a.c) < HIGH_WATER + 20000);
	world_run(w, b_got_eof);
	while (!w->a.eofs && uv_run(&w->uv, UV_RUN_ONCE))
		;
	assert_int_equal(w->b.received, 3000000);
	assert_int_equal(w->a.received, 2000000);
	assert_true(w->a.drained > 0 && w->b.drained > 0);
	assert_int_equal(w->a.c.bytes_out, 3000000);
	assert_int_equal(w->a.c.bytes_in, 2000000);
	assert_int_equal(w->a.errors + w->b.errors, 0);
	world_free(w);
}

/* A reader that stops stops its writer: what waits stays where the writer left it. */
static void test_back_pressure(void **state)
{
	struct world *w = world_new();
	uint64_t received;
	size_t pending;

	(void)state;
	world_connect(w);
	world_run(w, a_is_open);
	net_conn_read_stop(&w->b.c);
	w->a.wanted = 2000000;
	w->a.shutdown_when_sent = true;
	end_pump(&w->a);
	for (int i = 0; i < 50; i++)
		uv_run(&w->uv, UV_RUN_NOWAIT);
	received = w->b.received;
	pending = net_conn_pending(&w->a.c);
	assert_true(pending > 0);
	assert_true(w->a.sent < 2000000);
	for (int i = 0; i < 50; i++)
		uv_run(&w->uv, UV_RUN_NOWAIT);
	assert_int_equal(w->b.received, received);
	assert_int_equal(received, 0);
	assert_int_equal(w->a.drained, 0);
	/* Nor does the loop spin on bytes that nobody wants. */
	assert_false(w->b.c.events & UV_READABLE);
	w->a.refill = true;
	net_conn_read_start(&w->b.c);
	world_run(w, b_got_eof);
	assert_int_equal(w->b.received, 2000000);
	world_free(w);
}

/* An owner that ignores its high-water mark meets the ceiling, and loses nothing. */
static void test_ceiling(void **state)
{
	struct world *w = world_new();

	(void)state;
	world_connect(w);
	world_run(w, a_is_open);
	net_conn_read_stop(&w->b.c);
	w->a.wanted = 10000000;
	w->a.greedy = true;
	end_pump(&w->a);
	assert_true(w->a.sent < w->a.wanted);
	assert_true(net_conn_pending(&w->a.c) <= NET_PENDING_MAX);
	assert_true(net_conn_pending(&w->a.c) > NET_PENDING_MAX - 20000);
	w->a.wanted = w->a.sent;
	net_conn_shutdown(&w->a.c);
	net_conn_read_start(&w->b.c);
	world_run(w, b_got_eof);
	assert_int_equal(w->b.received, w->a.sent);
	world_free(w);
}

/* Borrowed bytes: what waits is a copy. */
static void test_send_bytes(void **state)
{
	struct world *w = world_new();
	uint8_t out[50000];

	(void)state;
	world_connect(w);
	world_run(w, a_is_open);
	for (int i = 0; i < 10; i++) {
		for (size_t k = 0; k < sizeof(out); k++)
			out[k] = (uint8_t)((size_t)i * sizeof(out) + k);
		assert_int_equal(net_conn_send_bytes(&w->a.c, bytes_of(out, sizeof(out))), ERR_OK);
	}
	memset(out, 0, sizeof(out));
	assert_true(net_conn_pending(&w->a.c) > 0);
	net_conn_shutdown(&w->a.c);
	world_run(w, b_got_eof);
	assert_int_equal(w->b.received, 10 * sizeof(out));
	world_free(w);
}

static void test_dial_refused(void **state)
{
	struct world *w = world_new();
	enum err e;

	(void)state;
	close(w->listener);
	w->listener = -1;
	e = net_conn_dial(&w->a.c, &w->loop, &w->at, NULL, &ops, &w->a);
	if (e == ERR_OK) {
		world_run(w, a_is_closed);
		e = w->a.error;
	}
	assert_int_equal(e, ERR_CONNECT_REFUSED);
	assert_int_equal(w->a.connected, 0);
	world_free(w);
}

/* Nobody answers: a listener whose backlog is full drops what comes. */
static void test_dial_timeout(void **state)
{
	struct net_dial_opts opts = { .timeout_ms = 200 };
	struct world *w = world_new();
	struct sockaddr_storage ss;
	socklen_t len = addr_to_sockaddr(&w->at, &ss);
	int fill[8];

	(void)state;
	assert_int_equal(listen(w->listener, 0), 0);
	for (size_t i = 0; i < ARRAY_SIZE(fill); i++) {
		fill[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
		(void)!connect(fill[i], (struct sockaddr *)&ss, len);
	}
	assert_int_equal(net_conn_dial(&w->a.c, &w->loop, &w->at, &opts, &ops, &w->a), ERR_OK);
	world_run(w, a_is_closed);
	assert_int_equal(w->a.error, ERR_CONNECT_TIMEOUT);
	for (size_t i = 0; i < ARRAY_SIZE(fill); i++)
		close(fill[i]);
	world_free(w);
}

static void test_dial_unreachable(void **state)
{
	struct world *w = world_new();
	struct addr to = { .family = AF_INET, .port = 9, .ip = { 255, 255, 255, 255 } };

	(void)state;
	assert_int_equal(net_conn_dial(&w->a.c, &w->loop, &to, NULL, &ops, &w->a),
			 ERR_CONNECT_UNREACHABLE);
	world_free(w);
}

/* What is sent before the connection is up goes out when it is, and the half-close after it. */
static void test_send_while_dialling(void **state)
{
	struct world *w = world_new();
	uint8_t out[3] = { 0, 1, 2 };

	(void)state;
	world_connect(w);
	assert_int_equal(net_conn_send_bytes(&w->a.c, bytes_of(out, 3)), ERR_OK);
	assert_int_equal(net_conn_pending(&w->a.c), 3);
	net_conn_shutdown(&w->a.c);
	world_run(w, b_got_eof);
	assert_int_equal(w->b.received, 3);
	world_free(w);
}

/* A peer that answers, does not read and goes: the answer arrives before the error. */
static void test_early_answer(void **state)
{
	struct world *w = world_new();
	uint8_t answer[3] = { 0, 1, 2 };

	(void)state;
	world_connect(w);
	world_run(w, a_is_open);
	net_conn_read_stop(&w->b.c);
	w->a.wanted = 500000;
	end_pump(&w->a);
	assert_int_equal(net_conn_send_bytes(&w->b.c, bytes_of(answer, 3)), ERR_OK);
	for (int i = 0; i < 100 && w->a.received == 0; i++) {
		/* b closes while a has not read yet: its unread input makes this a reset. */
		if (!w->b.must_be_silent)
			end_close(&w->b);
		w->a.refill = true;
		end_pump(&w->a);
		uv_run(&w->uv, UV_RUN_ONCE);
	}
	world_run(w, both_closed);
	assert_int_equal(w->a.received, 3);
	assert_int_equal(w->a.errors, 1);
	assert_int_equal(w->a.error, ERR_CLOSED);
	assert_int_equal(w->a.eofs, 0);
	world_free(w);
}

/* The last answer survives a client that is still sending: no reset, an orderly end. */
static void test_linger(void **state)
{
	struct world *w = world_new();
	uint8_t answer[1000];

	(void)state;
	for (size_t i = 0; i < sizeof(answer); i++)
		answer[i] = (uint8_t)i;
	world_connect(w);
	world_run(w, a_is_open);
	net_conn_read_stop(&w->b.c);
	w->a.wanted = 100000;
	w->a.refill = true;
	w->a.on_eof = close_at_eof;
	end_pump(&w->a);
	assert_int_equal(net_conn_send_bytes(&w->b.c, bytes_of(answer, sizeof(answer))), ERR_OK);
	w->b.must_be_silent = true;
	net_conn_linger(&w->b.c, 5000);
	net_conn_linger(&w->b.c, 5000);
	world_run(w, both_closed);
	assert_int_equal(w->a.received, sizeof(answer));
	assert_int_equal(w->a.eofs, 1);
	assert_int_equal(w->a.errors, 0);
	world_free(w);
}

/* A peer that never ends, by silence or by flood, does not hold a lingering connection. */
static void test_linger_is_bounded(void **state)
{
	(void)state;
	for (int flood = 0; flood < 2; flood++) {
		struct world *w = world_new();

		world_connect(w);
		world_run(w, a_is_open);
		w->a.wanted = flood ? 50000000 : 0;
		w->a.refill = true;
		end_pump(&w->a);
		w->b.must_be_silent = true;
		net_conn_linger(&w->b.c, flood ? 3600 * 1000 : 200);
		while (!w->b.closed)
			uv_run(&w->uv, UV_RUN_ONCE);
		assert_int_equal(w->b.received, 0);
		world_free(w);
	}
}

static void test_reset(void **state)
{
	struct world *w = world_new();

	(void)state;
	world_connect(w);
	world_run(w, a_is_open);
	w->b.must_be_silent = true;
	net_conn_reset(&w->b.c);
	world_run(w, both_closed);
	assert_int_equal(w->a.error, ERR_CLOSED);
	assert_int_equal(w->a.eofs, 0);
	world_free(w);
}

/* Plaintext does not stay in the buffer all connections share. */
static void test_sensitive_input_is_wiped(void **state)
{
	struct world *w = world_new();
	uint8_t out[64];

	(void)state;
	for (size_t i = 0; i < sizeof(out); i++)
		out[i] = (uint8_t)i;
	world_connect(w);
	world_run(w, a_is_open);
	net_conn_set_sensitive(&w->b.c);
	assert_int_equal(net_conn_send_bytes(&w->a.c, bytes_of(out, sizeof(out))), ERR_OK);
	net_conn_shutdown(&w->a.c);
	world_run(w, b_got_eof);
	assert_int_equal(w->b.received, sizeof(out));
	for (size_t i = 0; i < NET_READ_SIZE; i++)
		assert_int_equal(w->loop.read_buf[i], 0);
	world_free(w);
}

/* One run of a conversation that has every callback in it; returns how many there were. */
static unsigned conversation(unsigned close_at, bool close_b, bool reset)
{
	struct world *w = world_new();
	unsigned n;

	w->close_at = close_at;
	w->close_b = close_b;
	w->reset = reset;
	w->a.wanted = 300000;
	w->b.wanted = 200000;
	w->a.refill = w->b.refill = true;
	w->a.shutdown_when_sent = w->b.shutdown_when_sent = true;
	w->a.on_eof = w->b.on_eof = NULL;
	world_connect(w);
	end_pump(&w->b);
	for (int i = 0; i < 10000; i++) {
		bool a_over = w->a.eofs || w->a.errors || w->a.closed;
		bool b_over = w->b.eofs || w->b.errors || w->b.closed;

		if (a_over && b_over)
			break;
		if (w->a.connected)
			end_pump(&w->a);
		uv_run(&w->uv, UV_RUN_ONCE);
	}
	n = w->callbacks;
	world_free(w);
	return n;
}

static void test_close_at_every_callback(void **state)
{
	unsigned total = conversation(0, false, false);

	(void)state;
	assert_true(total > 10);
	for (unsigned n = 1; n <= total; n++) {
		conversation(n, false, false);
		conversation(n, true, false);
		conversation(n, false, true);
	}
}

/* Memory that cannot be had is an error to the sender or the connection, never a gap. */
static void test_every_allocation_fails(void **state)
{
	(void)state;
#ifdef SLAPENIR_SANITIZED
	print_message("the sanitizer owns malloc: covered by the other builds\n");
#else
	for (size_t n = 1; n < 40; n++) {
		struct world *w = world_new();

		world_connect(w);
		world_run(w, a_is_open);
		net_conn_read_stop(&w->b.c);
		w->a.wanted = 400000;
		fail_malloc_at = n;
		end_pump(&w->a);
		fail_malloc_at = 0;
		/* The pattern is checked octet by octet on arrival. */
		w->a.refill = true;
		w->a.shutdown_when_sent = true;
		end_pump(&w->a);
		net_conn_read_start(&w->b.c);
		world_run(w, b_got_eof);
		assert_int_equal(w->b.received, w->a.sent);
		assert_int_equal(w->a.sent, 400000);
		world_free(w);
	}
#endif
}

/* Bytes that were partly sent and cannot be kept end the connection: nothing may follow a gap. */
static void test_rest_that_cannot_be_kept(void **state)
{
	(void)state;
#ifdef SLAPENIR_SANITIZED
	print_message("the sanitizer owns malloc: covered by the other builds\n");
#else
	size_t n = 8 * 1000 * 1000;
	uint8_t *out = malloc(n);
	struct world *w = world_new();

	assert_non_null(out);
	for (size_t i = 0; i < n; i++)
		out[i] = (uint8_t)i;
	world_connect(w);
	world_run(w, a_is_open);
	fail_malloc_at = 1;
	assert_int_equal(net_conn_send_bytes(&w->a.c, bytes_of(out, n)), ERR_OK);
	assert_int_equal(fail_malloc_at, 0);
	assert_int_equal(net_conn_send_bytes(&w->a.c, bytes_of(out, 100)), ERR_OK);
	world_run(w, a_is_closed);
	assert_int_equal(w->a.error, ERR_NOMEM);
	world_run(w, b_got_eof);
	assert_true(w->b.received > 0 && w->b.received < n);
	world_free(w);
	free(out);
#endif
}

#define T(f) cmocka_unit_test(f)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_both_ways),
		T(test_back_pressure),
		T(test_ceiling),
		T(test_send_bytes),
		T(test_dial_refused),
		T(test_dial_timeout),
		T(test_dial_unreachable),
		T(test_send_while_dialling),
		T(test_early_answer),
		T(test_linger),
		T(test_linger_is_bounded),
		T(test_reset),
		T(test_sensitive_input_is_wiped),
		T(test_close_at_every_callback),
		T(test_every_allocation_fails),
		T(test_rest_that_cannot_be_kept),
	};

	alarm(120);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
