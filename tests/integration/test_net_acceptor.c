/*
 * test_net_acceptor.c - accepting, pausing, and what happens when descriptors run out
 */
#include "gateway/net/net.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

#define CLIENTS_MAX 200

struct world {
	uv_loop_t uv;
	struct net_loop loop;
	struct net_acceptor acceptor;
	struct addr at;
	int clients[CLIENTS_MAX];
	struct addr client_addr[CLIENTS_MAX];
	size_t n_clients;
	unsigned accepted, shed, closed;
	unsigned pause_at, close_at;
	unsigned in_this_turn;
};

static void world_on_accept(void *owner, int fd, const struct addr *local, const struct addr *peer)
{
	struct world *w = owner;
	bool known = false;
	int value = 0;
	socklen_t len = sizeof(value);

	assert_true(addr_ip_eq(local, &w->at));
	assert_int_equal(local->port, w->at.port);
	for (size_t i = 0; i < w->n_clients; i++)
		known |= w->client_addr[i].port == peer->port;
	assert_true(known);
	assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	assert_int_equal(getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &value, &len), 0);
	assert_int_equal(value, 1);
	assert_int_equal(getsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &value, &len), 0);
	assert_int_equal(value, 1);
	close(fd);
	w->in_this_turn++;
	w->accepted++;
	if (w->accepted == w->pause_at)
		net_acceptor_pause(&w->acceptor);
	if (w->accepted == w->close_at)
		net_acceptor_close(&w->acceptor);
}

static void world_on_shed(void *owner, const struct addr *peer)
{
	struct world *w = owner;

	assert_int_equal(peer->family, AF_INET);
	w->shed++;
}

static void world_on_closed(void *owner)
{
	struct world *w = owner;

	w->closed++;
}

static const struct net_acceptor_ops ops = {
	.on_accept = world_on_accept,
	.on_shed = world_on_shed,
	.on_closed = world_on_closed,
};

static int world_open(void **state)
{
	struct world *w = calloc(1, sizeof(*w));
	int fd;

	assert_non_null(w);
	assert_int_equal(uv_loop_init(&w->uv), 0);
	assert_int_equal(net_loop_init(&w->loop, &w->uv), ERR_OK);
	assert_true(addr_parse_ip(&w->at, BYTES_LIT("127.0.0.1")));
	assert_int_equal(net_listen_tcp(&w->at, &fd), ERR_OK);
	assert_int_not_equal(w->at.port, 0);
	assert_int_equal(net_acceptor_open(&w->acceptor, &w->loop, fd, &ops, w), ERR_OK);
	*state = w;
	return 0;
}

static int world_close(void **state)
{
	struct world *w = *state;

	net_acceptor_close(&w->acceptor);
	net_acceptor_close(&w->acceptor);
	net_loop_close(&w->loop, NULL, NULL);
	uv_run(&w->uv, UV_RUN_DEFAULT);
	assert_int_equal(w->closed, 1);
	assert_int_equal(uv_loop_close(&w->uv), 0);
	for (size_t i = 0; i < w->n_clients; i++)
		close(w->clients[i]);
	free(w);
	return 0;
}

static void connect_client(struct world *w)
{
	struct sockaddr_storage ss;
	socklen_t len = addr_to_sockaddr(&w->at, &ss);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0 && w->n_clients < CLIENTS_MAX);
	assert_int_equal(connect(fd, (struct sockaddr *)&ss, len), 0);
	len = sizeof(ss);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&ss, &len), 0);
	addr_from_sockaddr(&w->client_addr[w->n_clients], (struct sockaddr *)&ss);
	w->clients[w->n_clients++] = fd;
}

static void turn(struct world *w)
{
	w->in_this_turn = 0;
	uv_run(&w->uv, UV_RUN_NOWAIT);
}

static void test_accepts_in_batches(void **state)
{
	struct world *w = *state;

	for (int i = 0; i < 150; i++)
		connect_client(w);
	turn(w);
	assert_int_equal(w->in_this_turn, 64);
	for (int i = 0; i < 10; i++)
		turn(w);
	assert_int_equal(w->accepted, 150);
}

static void test_pause_and_resume(void **state)
{
	struct world *w = *state;

	w->pause_at = 2;
	for (int i = 0; i < 5; i++)
		connect_client(w);
	for (int i = 0; i < 5; i++)
		turn(w);
	assert_int_equal(w->accepted, 2);
	net_acceptor_pause(&w->acceptor);
	net_acceptor_resume(&w->acceptor);
	net_acceptor_resume(&w->acceptor);
	for (int i = 0; i < 5; i++)
		turn(w);
	assert_int_equal(w->accepted, 5);
}

static void test_close_from_within(void **state)
{
	struct world *w = *state;

	w->close_at = 2;
	for (int i = 0; i < 5; i++)
		connect_client(w);
	for (int i = 0; i < 5; i++)
		turn(w);
	assert_int_equal(w->accepted, 2);
	assert_int_equal(w->closed, 1);
	net_acceptor_resume(&w->acceptor);
	net_acceptor_pause(&w->acceptor);
}

/* The peer of a connection that was turned away sees a reset. */
static void expect_reset(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	char c;

	assert_int_equal(poll(&p, 1, 5000), 1);
	assert_int_equal(recv(fd, &c, 1, 0), -1);
	assert_int_equal(errno, ECONNRESET);
}

/* No descriptor left: each is turned away, none waits, and afterwards all is as before. */
static void test_out_of_descriptors(void **state)
{
	struct world *w = *state;
	struct rlimit old, low;
	int probe;

	for (int i = 0; i < 3; i++)
		connect_client(w);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	probe = dup(0);
	assert_true(probe >= 0);
	close(probe);
	low = old;
	low.rlim_cur = (rlim_t)probe;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
	for (int i = 0; i < 10; i++)
		turn(w);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	assert_int_equal(w->accepted, 0);
	assert_int_equal(w->shed, 3);
	for (size_t i = 0; i < 3; i++)
		expect_reset(w->clients[i]);
	connect_client(w);
	for (int i = 0; i < 3; i++)
		turn(w);
	assert_int_equal(w->accepted, 1);
	assert_int_equal(w->shed, 3);
}

/* What a child is to inherit, and only that, loses close-on-exec. */
static void test_inherit(void **state)
{
	struct addr at = { .family = AF_INET6 };
	int fd;

	(void)state;
	at.ip[15] = 1;
	if (net_listen_tcp(&at, &fd) != ERR_OK)
		skip();
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	assert_int_equal(net_fd_inherit(fd), ERR_OK);
	assert_false(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	close(fd);
	assert_int_equal(net_fd_inherit(fd), ERR_IO);
}

#define T(f) cmocka_unit_test_setup_teardown(f, world_open, world_close)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_accepts_in_batches),	T(test_pause_and_resume),
		T(test_close_from_within),	T(test_out_of_descriptors),
		cmocka_unit_test(test_inherit),
	};

	alarm(60);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
