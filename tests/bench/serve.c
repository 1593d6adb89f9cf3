/*
 * serve.c - the benchmark's upstream: one epoll loop with HTTPS on port 443 and names on UDP 53
 *
 * GET /1k, /100k: a body from memory, one write. GET /bulk/N: the block N times, so that a gigabyte
 * costs no disk. Any method on /sink: the body is counted, and the count is the answer.
 * GET /seen: which token the authorization field held, as a word. Every name resolves to ADDRESS.
 *
 * usage: serve ADDRESS CERT KEY BODIES DUMMY REAL     (BODIES: a folder with 1k, 100k, block)
 * Prints "ready". Lasts until it is told to end.
 */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "wire.h"

struct block {
	char *data;
	size_t n;
};

struct conn {
	SSL *ssl;
	struct wire in;
	struct block out;	/* borrowed: what is being written, then repeated */
	size_t out_at;
	struct block again;	/* borrowed: repeated after out */
	unsigned times;
	bool writing, last;
	char small[256];	/* an answer made for this request */
};

static struct server {
	SSL_CTX *tls;
	struct in_addr address;
	int epoll, listener, names;
	struct block small, medium, bulk;
	const char *dummy, *real;
	char io[WIRE_IO];
} server;

/* ---- answers ----------------------------------------------------------------------------- */

static struct block file_read(const char *folder, const char *name)
{
	char path[512];
	struct block b;
	FILE *f;
	long n;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	f = fopen(path, "rb");
	if (f == NULL || fseek(f, 0, SEEK_END) != 0)
		wire_die(path);
	n = ftell(f);
	rewind(f);
	b = (struct block){ malloc((size_t)n), (size_t)n };
	if (b.data == NULL || fread(b.data, 1, b.n, f) != b.n)
		wire_die(path);
	fclose(f);
	return b;
}

static size_t head_write(char *out, size_t cap, uint64_t length)
{
	return (size_t)snprintf(out, cap, "HTTP/1.1 200 OK\r\nServer: bench\r\n"
				"Content-Type: application/json\r\nContent-Length: %llu\r\n\r\n",
				(unsigned long long)length);
}

/* Head and body in one. */
static struct block answer_make(struct block body)
{
	struct block b = { malloc(256 + body.n), 0 };

	if (b.data == NULL)
		wire_die("malloc");
	b.n = head_write(b.data, 256, body.n);
	memcpy(b.data + b.n, body.data, body.n);
	b.n += body.n;
	return b;
}

static void answer_text(struct conn *c, const char *text)
{
	int n = snprintf(c->small, sizeof(c->small), "HTTP/1.1 200 OK\r\n"
			"Content-Type: text/plain\r\nContent-Length: %zu\r\n\r\n%s",
			strlen(text), text);

	c->out = (struct block){ c->small, (size_t)n };
}

static void answer_seen(struct conn *c)
{
	const char *value = wire_field(&c->in, "authorization");

	if (value == NULL)
		answer_text(c, "none");
	else if (strncmp(value, "Bearer ", 7) == 0 &&
		 strncmp(value + 7, server.real, strlen(server.real)) == 0)
		answer_text(c, "real");
	else if (strncmp(value, "Bearer ", 7) == 0 &&
		 strncmp(value + 7, server.dummy, strlen(server.dummy)) == 0)
		answer_text(c, "dummy");
	else
		answer_text(c, "other");
}

static void answer_choose(struct conn *c)
{
	const char *path = strchr(c->in.head, ' '), *value = wire_field(&c->in, "connection");
	char count[32];

	c->out_at = c->times = 0;
	c->writing = true;
	c->last = value != NULL && strncmp(value, "close", 5) == 0;
	if (path == NULL)
		answer_text(c, "?");
	else if (strncmp(path, " /1k ", 5) == 0)
		c->out = server.small;
	else if (strncmp(path, " /100k ", 7) == 0)
		c->out = server.medium;
	else if (strncmp(path, " /seen ", 7) == 0)
		answer_seen(c);
	else if (strncmp(path, " /bulk/", 7) == 0) {
		c->again = server.bulk;
		c->times = (unsigned)strtoul(path + 7, NULL, 10);
		c->out = (struct block){ c->small, head_write(c->small, sizeof(c->small),
							      (uint64_t)c->times * c->again.n) };
	} else {
		snprintf(count, sizeof(count), "%llu", (unsigned long long)c->in.body);
		answer_text(c, count);
	}
}

/* ---- connections ------------------------------------------------------------------------- */

static void conn_close(struct conn *c)
{
	wire_close(c->ssl);
	free(c);
}

static enum wire_io conn_write(struct conn *c)
{
	for (;;) {
		size_t n;
		enum wire_io rc = wire_write(c->ssl, c->out.data + c->out_at,
					     c->out.n - c->out_at, &n);

		c->out_at += n;
		if (rc != WIRE_OK)
			return rc;
		if (c->times == 0)
			return WIRE_OK;
		c->times--;
		c->out = c->again;
		c->out_at = 0;
	}
}

/* Runs until it would block. After an answer it waits: the next request is a new event. */
static void conn_on_event(struct conn *c)
{
	enum wire_io rc = WIRE_OK;
	size_t n;

	while (rc == WIRE_OK) {
		if (c->writing) {
			rc = conn_write(c);
			if (rc != WIRE_OK)
				break;
			c->writing = false;
			wire_begin(&c->in, false);
			rc = c->last ? WIRE_END : SSL_has_pending(c->ssl) ? WIRE_OK : WIRE_WAIT;
			continue;
		}
		rc = wire_read(c->ssl, server.io, sizeof(server.io), &n);
		if (rc != WIRE_OK)
			break;
		wire_feed(&c->in, server.io, n);
		if (c->in.bad)
			rc = WIRE_END;
		else if (c->in.done)
			answer_choose(c);
	}
	if (rc == WIRE_END)
		conn_close(c);
}

static void listener_on_event(void)
{
	int fd, one = 1;

	while ((fd = accept4(server.listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
		struct conn *c = calloc(1, sizeof(*c));
		struct epoll_event e = { .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
					 .data.ptr = c };

		if (c == NULL || (c->ssl = SSL_new(server.tls)) == NULL)
			wire_die("connection");
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		SSL_set_fd(c->ssl, fd);
		SSL_set_accept_state(c->ssl);
		wire_begin(&c->in, false);
		if (epoll_ctl(server.epoll, EPOLL_CTL_ADD, fd, &e) != 0)
			wire_die("epoll_ctl");
	}
}

/* ---- names ------------------------------------------------------------------------------- */

/* RFC 1035 4.1: the question sent back; for A with one record, else without any. */
static void names_on_event(void)
{
	static const uint8_t record[12] = { 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4 };
	struct sockaddr_in from;
	socklen_t from_n = sizeof(from);
	uint8_t m[512 + sizeof(record) + 4];
	ssize_t got;

	while ((got = recvfrom(server.names, m, 512, 0, (void *)&from, &from_n)) > 0) {
		size_t n = (size_t)got, at = 12;
		bool is_a;

		while (at < n && m[at] != 0 && m[at] < 64)
			at += m[at] + 1u;
		at += 5;
		if (n < 12 || at > n)
			continue;
		is_a = m[at - 4] == 0 && m[at - 3] == 1;
		m[2] = (uint8_t)(0x84 | (m[2] & 1));
		m[3] = 0x80;
		memset(m + 6, 0, 6);
		m[7] = is_a;
		if (is_a) {
			memcpy(m + at, record, sizeof(record));
			memcpy(m + at + sizeof(record), &server.address, 4);
			at += sizeof(record) + 4;
		}
		sendto(server.names, m, at, 0, (void *)&from, from_n);
		from_n = sizeof(from);
	}
}

/* ---- start ------------------------------------------------------------------------------- */

static int bound(int type, uint16_t port)
{
	struct sockaddr_in sa = { .sin_family = AF_INET, .sin_port = htons(port),
				  .sin_addr = server.address };
	struct epoll_event e = { .events = EPOLLIN };
	int one = 1, fd = socket(AF_INET, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(fd, (void *)&sa, sizeof(sa)) != 0)
		wire_die("bind");
	if (type == SOCK_STREAM && listen(fd, 4096) != 0)
		wire_die("listen");
	/* told apart from connections by where the pointer points */
	e.data.ptr = type == SOCK_STREAM ? &server.listener : &server.names;
	if (epoll_ctl(server.epoll, EPOLL_CTL_ADD, fd, &e) != 0)
		wire_die("epoll_ctl");
	return fd;
}

static void start(char **v)
{
	server.tls = SSL_CTX_new(TLS_server_method());
	SSL_CTX_set_min_proto_version(server.tls, TLS1_2_VERSION);
	SSL_CTX_set_mode(server.tls, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_RELEASE_BUFFERS |
			 SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	SSL_CTX_set_session_cache_mode(server.tls, SSL_SESS_CACHE_OFF);
	if (SSL_CTX_use_certificate_chain_file(server.tls, v[2]) != 1 ||
	    SSL_CTX_use_PrivateKey_file(server.tls, v[3], SSL_FILETYPE_PEM) != 1)
		wire_die("certificate");
	server.small = file_read(v[4], "1k");
	server.small = answer_make(server.small);
	server.medium = file_read(v[4], "100k");
	server.medium = answer_make(server.medium);
	server.bulk = file_read(v[4], "block");
	server.dummy = v[5];
	server.real = v[6];
	if (inet_pton(AF_INET, v[1], &server.address) != 1)
		wire_die("address");
	server.epoll = epoll_create1(EPOLL_CLOEXEC);
	server.listener = bound(SOCK_STREAM, 443);
	server.names = bound(SOCK_DGRAM, 53);
}

int main(int argc, char **argv)
{
	struct epoll_event events[256];

	if (argc != 7) {
		fprintf(stderr, "usage: serve ADDRESS CERT KEY BODIES DUMMY REAL\n");
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	start(argv);
	puts("ready");
	fflush(stdout);
	for (;;) {
		int n = epoll_wait(server.epoll, events, 256, -1);

		for (int i = 0; i < n; i++) {
			if (events[i].data.ptr == &server.listener)
				listener_on_event();
			else if (events[i].data.ptr == &server.names)
				names_on_event();
			else
				conn_on_event(events[i].data.ptr);
		}
	}
}
