/*
 * load.c - the benchmark's client: HTTPS requests from one thread, and how long each took
 *
 * Steps, so that whoever measures can look at the proxy at the right moments: open the connections
 * and send one request on each; print "ready"; wait for a line; run; print the result as one JSON
 * line while the connections are still open; wait for the end of standard input; leave.
 *
 * Closed loop: each connection sends as soon as it has its answer. With -r: requests fall due at
 * fixed times whatever became of those before, and latency counts from the due time. With -k: each
 * request opens a connection of its own, and latency counts from connect().
 *
 * usage: load [-a ADDRESS] [-h HOST] [-p PATH] [-c CONNECTIONS] [-s SECONDS] [-n REQUESTS]
 *             [-r RATE] [-t TOKEN] [-k [-R] [-N FIRST]] [-u FILE -m TIMES]
 *   -t  Authorization: Bearer TOKEN        -u  PUT with FILE as body, TIMES over
 *   -R  resume sessions                    -N  hosts nFIRST.bench.test, nFIRST+1..., each once
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "wire.h"

#define WARM_PATH "/1k"
#define ERRORS_MAX 200u
#define STRAGGLER_SECONDS 30

struct conn {
	SSL *ssl;
	struct wire in;
	char request[1024];
	size_t request_n, sent;
	unsigned blocks;	/* of the body still to be sent */
	size_t block_at;
	double began;
	bool busy;
	struct conn *next_idle;
};

static struct load {
	/* options */
	const char *address, *host, *path, *token, *upload;
	unsigned conns, times;
	double seconds, rate;
	unsigned long requests;
	bool fresh, resume, names;
	/* state */
	SSL_CTX *tls;
	SSL_SESSION *session;
	int epoll, timer;
	struct conn *conn, *idle;
	char *block;
	size_t block_n;
	bool running;
	double start, end, last;
	unsigned long issued, name, busy;
	/* results */
	float *took;
	size_t done, cap;
	unsigned long errors, resumed;
	uint64_t body;
	const char *why;
	char io[WIRE_IO];
} load = { .address = "198.18.2.2", .host = "up.bench.test", .path = "/1k", .conns = 32,
	   .seconds = 3, .times = 1 };

static void conn_step(struct conn *c);

/* ---- connections ------------------------------------------------------------------------- */

static int on_session(SSL *ssl, SSL_SESSION *session)
{
	(void)ssl;
	SSL_SESSION_free(load.session);
	load.session = session;
	return 1;
}

static void conn_close(struct conn *c)
{
	if (c->ssl != NULL)
		wire_close(c->ssl);
	c->ssl = NULL;
}

static void conn_open(struct conn *c, const char *host)
{
	struct sockaddr_in sa = { .sin_family = AF_INET, .sin_port = htons(443) };
	struct epoll_event e = { .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
				 .data.ptr = c };
	int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0 || inet_pton(AF_INET, load.address, &sa.sin_addr) != 1)
		wire_die("socket");
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (connect(fd, (void *)&sa, sizeof(sa)) != 0 && errno != EINPROGRESS)
		wire_die("connect");
	c->ssl = SSL_new(load.tls);
	if (c->ssl == NULL)
		wire_die("SSL_new");
	SSL_set_fd(c->ssl, fd);
	SSL_set_tlsext_host_name(c->ssl, host);
	SSL_set_connect_state(c->ssl);
	if (load.resume && load.session != NULL)
		SSL_set_session(c->ssl, load.session);
	if (epoll_ctl(load.epoll, EPOLL_CTL_ADD, fd, &e) != 0)
		wire_die("epoll_ctl");
}

static void conn_idle(struct conn *c)
{
	c->next_idle = load.idle;
	load.idle = c;
}

static void conn_request(struct conn *c, const char *host, double began)
{
	bool upload = load.upload != NULL && load.running;
	int n = snprintf(c->request, sizeof(c->request), "%s %s HTTP/1.1\r\nHost: %s\r\n"
			 "User-Agent: bench\r\nAccept: */*\r\n", upload ? "PUT" : "GET",
			 load.running ? load.path : WARM_PATH, host);
	size_t at = (size_t)n, cap = sizeof(c->request);

	if (load.token != NULL)
		at += (size_t)snprintf(c->request + at, cap - at, "Authorization: Bearer %s\r\n",
				       load.token);
	if (load.fresh && load.running)
		at += (size_t)snprintf(c->request + at, cap - at, "Connection: close\r\n");
	if (upload)
		at += (size_t)snprintf(c->request + at, cap - at, "Content-Type: application/json"
				       "\r\nContent-Length: %zu\r\n", load.block_n * load.times);
	at += (size_t)snprintf(c->request + at, cap - at, "\r\n");
	c->request_n = at;
	c->sent = c->block_at = 0;
	c->blocks = upload ? load.times : 0;
	c->began = began;
	c->busy = true;
	load.busy++;
	wire_begin(&c->in, true);
}

/* Sends the next request on an idle connection, or on a new one. */
static void conn_begin(struct conn *c, double began)
{
	char name[64];
	const char *host = load.host;

	if (load.running)
		load.issued++;
	if (load.fresh && load.running) {
		if (load.names) {
			snprintf(name, sizeof(name), "n%lu.bench.test", load.name++);
			host = name;
		}
		conn_close(c);
	}
	conn_request(c, host, began);
	if (c->ssl == NULL)
		conn_open(c, host);
	conn_step(c);
}

static bool more(void)
{
	if (!load.running || load.errors >= ERRORS_MAX)
		return false;
	return load.requests != 0 ? load.issued < load.requests : wire_now() < load.end;
}

static void keep(double seconds)
{
	if (load.done == load.cap) {
		load.cap = load.cap != 0 ? load.cap * 2 : 65536;
		load.took = realloc(load.took, load.cap * sizeof(*load.took));
		if (load.took == NULL)
			wire_die("realloc");
	}
	load.took[load.done++] = (float)(seconds * 1e6);
}

static void conn_done(struct conn *c, const char *error)
{
	c->busy = false;
	load.busy--;
	if (error == NULL && strncmp(c->in.head, "HTTP/1.1 2", 10) != 0)
		error = c->in.head;
	if (error != NULL) {
		load.errors++;
		if (load.why == NULL)
			load.why = strndup(error, strcspn(error, "\r\n\""));
		conn_close(c);
	} else if (load.running) {
		load.last = wire_now();
		keep(load.last - c->began);
		load.body = c->in.body;
		load.resumed += SSL_session_reused(c->ssl) == 1;
	}
	conn_idle(c);
}

static enum wire_io conn_send(struct conn *c)
{
	enum wire_io rc;
	size_t n;

	if (c->sent < c->request_n) {
		rc = wire_write(c->ssl, c->request + c->sent, c->request_n - c->sent, &n);
		c->sent += n;
		if (rc != WIRE_OK)
			return rc;
	}
	while (c->blocks != 0) {
		rc = wire_write(c->ssl, load.block + c->block_at, load.block_n - c->block_at, &n);
		c->block_at += n;
		if (rc != WIRE_OK)
			return rc;
		c->block_at = 0;
		c->blocks--;
	}
	return WIRE_OK;
}

/* Runs until it would block or the answer is there. */
static void conn_step(struct conn *c)
{
	enum wire_io rc = conn_send(c);
	size_t n;

	while (rc == WIRE_OK && !c->in.done && !c->in.bad) {
		rc = wire_read(c->ssl, load.io, sizeof(load.io), &n);
		if (rc == WIRE_OK)
			wire_feed(&c->in, load.io, n);
	}
	if (c->in.done || (rc == WIRE_END && c->in.until_end))
		conn_done(c, NULL);
	else if (c->in.bad)
		conn_done(c, "not HTTP");
	else if (rc == WIRE_END)
		conn_done(c, c->sent == 0 ? "no connection" : "connection ended early");
}

/* Something on a connection without a request: only its end matters. */
static void conn_unasked(struct conn *c)
{
	size_t n;

	while (c->ssl != NULL) {
		enum wire_io rc = wire_read(c->ssl, load.io, sizeof(load.io), &n);

		if (rc == WIRE_WAIT)
			break;
		if (rc == WIRE_END)
			conn_close(c);
	}
}

/* ---- the run ----------------------------------------------------------------------------- */

/* Gives idle connections what is due; with a rate, sets the timer for what comes next. */
static void issue(void)
{
	while (load.idle != NULL && more()) {
		double due = load.start + (double)load.issued / load.rate, now = wire_now();
		struct conn *c = load.idle;

		if (load.rate > 0 && due > now) {
			double wait = due - now;
			struct itimerspec t = { .it_value = { .tv_sec = (time_t)wait,
				.tv_nsec = (long)((wait - (double)(time_t)wait) * 1e9) + 1 } };

			timerfd_settime(load.timer, 0, &t, NULL);
			return;
		}
		load.idle = c->next_idle;
		conn_begin(c, load.rate > 0 ? due : now);
	}
}

static void turn(void)
{
	struct epoll_event events[256];
	int n = epoll_wait(load.epoll, events, 256, 100);

	for (int i = 0; i < n; i++) {
		struct conn *c = events[i].data.ptr;
		uint64_t ticks;

		if (c == NULL) {
			if (read(load.timer, &ticks, sizeof(ticks)) < 0 && errno != EAGAIN)
				wire_die("timer");
		} else if (c->busy && c->ssl != NULL) {
			conn_step(c);
		} else {
			conn_unasked(c);
		}
	}
	issue();
}

static void warm_up(void)
{
	double end = wire_now() + STRAGGLER_SECONDS;

	for (unsigned i = 0; i < load.conns; i++)
		conn_begin(&load.conn[i], wire_now());
	while (load.busy != 0 && wire_now() < end)
		turn();
}

static void run(void)
{
	double limit;

	load.running = true;
	load.start = load.last = wire_now();
	load.end = load.start + load.seconds;
	limit = load.requests != 0 ? load.start + 600 : load.end + STRAGGLER_SECONDS;
	issue();
	while ((load.busy != 0 || more()) && wire_now() < limit)
		turn();
	load.errors += load.busy;
	if (load.busy != 0 && load.why == NULL)
		load.why = "no answer in time";
}

static int ascending(const void *a, const void *b)
{
	float x = *(const float *)a, y = *(const float *)b;

	return (x > y) - (x < y);
}

static double percentile(double p)
{
	return load.done != 0 ? (double)load.took[(size_t)((double)(load.done - 1) * p)] : 0;
}

static void report(void)
{
	double seconds = load.last - load.start;

	qsort(load.took, load.done, sizeof(*load.took), ascending);
	printf("{\"n\":%zu,\"errors\":%lu,\"why\":\"%s\",\"seconds\":%.4f,\"per_s\":%.1f,"
	       "\"p50_us\":%.1f,\"p99_us\":%.1f,\"p999_us\":%.1f,\"body\":%llu,\"resumed\":%lu}\n",
	       load.done, load.errors, load.why != NULL ? load.why : "", seconds,
	       seconds > 0 ? (double)load.done / seconds : 0, percentile(0.5), percentile(0.99),
	       percentile(0.999), (unsigned long long)load.body, load.resumed);
	fflush(stdout);
}

/* ---- start ------------------------------------------------------------------------------- */

static void options(int argc, char **argv)
{
	int o;

	while ((o = getopt(argc, argv, "a:h:p:c:s:n:r:t:kRN:u:m:")) != -1) {
		switch (o) {
		case 'a': load.address = optarg; break;
		case 'h': load.host = optarg; break;
		case 'p': load.path = optarg; break;
		case 'c': load.conns = (unsigned)atoi(optarg); break;
		case 's': load.seconds = atof(optarg); break;
		case 'n': load.requests = strtoul(optarg, NULL, 10); break;
		case 'r': load.rate = atof(optarg); break;
		case 't': load.token = optarg; break;
		case 'k': load.fresh = true; break;
		case 'R': load.resume = true; break;
		case 'N': load.names = true; load.name = strtoul(optarg, NULL, 10); break;
		case 'u': load.upload = optarg; break;
		case 'm': load.times = (unsigned)atoi(optarg); break;
		default: exit(2);
		}
	}
}

static void start(void)
{
	struct epoll_event e = { .events = EPOLLIN };
	FILE *f = load.upload != NULL ? fopen(load.upload, "rb") : NULL;

	load.tls = SSL_CTX_new(TLS_client_method());
	SSL_CTX_set_mode(load.tls, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_RELEASE_BUFFERS |
			 SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	SSL_CTX_set_alpn_protos(load.tls, (const unsigned char *)"\x08http/1.1", 9);
	if (load.resume) {
		SSL_CTX_set_session_cache_mode(load.tls, SSL_SESS_CACHE_CLIENT |
					       SSL_SESS_CACHE_NO_INTERNAL);
		SSL_CTX_sess_set_new_cb(load.tls, on_session);
	}
	load.epoll = epoll_create1(EPOLL_CLOEXEC);
	load.timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	if (epoll_ctl(load.epoll, EPOLL_CTL_ADD, load.timer, &e) != 0)
		wire_die("timer");
	load.conn = calloc(load.conns, sizeof(*load.conn));
	if (load.conn == NULL)
		wire_die("calloc");
	if (load.upload != NULL) {
		load.block = malloc(4u << 20);
		if (f == NULL || load.block == NULL)
			wire_die(load.upload);
		load.block_n = fread(load.block, 1, 4u << 20, f);
		fclose(f);
	}
}

int main(int argc, char **argv)
{
	char line[16];

	options(argc, argv);
	signal(SIGPIPE, SIG_IGN);
	start();
	warm_up();
	puts("ready");
	fflush(stdout);
	if (fgets(line, sizeof(line), stdin) == NULL)
		return 1;
	run();
	report();
	while (fgets(line, sizeof(line), stdin) != NULL)
		;
	return 0;
}
