/*
 * rig_peer.c - the ends that a test plays: sockets moved by hand, with TLS or without
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/lib/rig.h"

#define WIRE_LOW (64u * 1024)	/* more is sealed when less than this waits */
#define HOLD_TURNS 4		/* quiet turns before what follows a cut is sent */

void rig_peer_open(struct rig_peer *p, struct rig *r, int fd)
{
	int one = 1;

	*p = (struct rig_peer){ .rig = r, .fd = fd };
	(void)fcntl(fd, F_SETFL, O_NONBLOCK);
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	buf_init(&p->out, 64u << 20);
	buf_init(&p->wire, 64u << 20);
	buf_init(&p->in, RIG_KEEP_MAX);
}

void rig_peer_release(struct rig_peer *p)
{
	if (p->fd >= 0)
		close(p->fd);
	p->fd = -1;
	tls_engine_free(p->tls);
	tls_leaf_unref(p->leaf);
	p->tls = NULL;
	p->leaf = NULL;
	buf_release(&p->out);
	buf_release(&p->wire);
	buf_release(&p->in);
}

void rig_end(struct rig_peer *p, enum rig_then how)
{
	struct linger reset = { .l_onoff = 1 };

	if (p->fd < 0 || how == RIG_KEEP)
		return;
	p->rig->moved = true;
	if (how == RIG_FIN) {
		if (p->tls) {
			tls_engine_close(p->tls);
			(void)!send(p->fd, p->wire.data + p->wire.start, buf_len(&p->wire),
				    MSG_NOSIGNAL);
			buf_clear(&p->wire);
		}
		(void)shutdown(p->fd, SHUT_WR);
		return;
	}
	if (how == RIG_RESET)
		(void)setsockopt(p->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
	close(p->fd);
	p->fd = -1;
}

bool rig_peer_has(const struct rig_peer *p, const char *text)
{
	return bytes_find(buf_bytes(&p->in), bytes_str(text)) < buf_len(&p->in);
}

bool rig_peer_leaked(const struct rig_peer *p)
{
	return rig_peer_has(p, RIG_REAL) || rig_peer_has(p, RIG_REAL_SAME) ||
	       rig_peer_has(p, RIG_REAL_OTHER) || rig_peer_has(p, RIG_REAL_TLS);
}

void rig_say_bytes(struct rig_peer *p, struct bytes b)
{
	RIG_NEED(buf_append(&p->out, b) == ERR_OK);
}

void rig_say(struct rig_peer *p, const char *text)
{
	rig_say_bytes(p, bytes_str(text));
}

/* Plain bytes into what the socket gets. */
static void peer_seal(struct rig_peer *p)
{
	while (buf_len(&p->out) && buf_len(&p->wire) < WIRE_LOW) {
		struct bytes part = bytes_first(buf_bytes(&p->out), TLS_RECORD_PLAIN_MAX);

		if (!p->tls) {
			RIG_NEED(buf_append(&p->wire, part) == ERR_OK);
		} else {
			if (!tls_engine_is_done(p->tls))
				return;
			if (tls_engine_write(p->tls, part) != ERR_OK)
				return;
		}
		buf_consume(&p->out, part.n);
	}
}

static void peer_send(struct rig_peer *p)
{
	struct bytes b = buf_bytes(&p->wire);
	ssize_t n;

	if (p->cut && p->sent < p->cut)
		b = bytes_first(b, p->cut - p->sent);
	else if (p->cut && p->sent == p->cut && p->rig->quiet < HOLD_TURNS)
		return;
	if (p->step)
		b = bytes_first(b, p->step);
	if (b.n == 0)
		return;
	n = send(p->fd, b.p, b.n, MSG_NOSIGNAL);
	if (n > 0) {
		p->sent += (uint64_t)n;
		buf_consume(&p->wire, (size_t)n);
		p->rig->moved = true;
	} else if (n < 0 && errno != EAGAIN) {
		p->dead = true;
		buf_clear(&p->wire);
		buf_clear(&p->out);
	}
}

static void peer_keep(struct rig_peer *p, struct bytes in)
{
	p->received += in.n;
	if (!p->count_only)
		RIG_NEED(buf_append(&p->in, in) == ERR_OK);
}

static void peer_open_tls(struct rig_peer *p, struct bytes in)
{
	uint8_t plain[TLS_RECORD_PLAIN_MAX];
	size_t n;

	if (in.n)
		RIG_NEED(tls_engine_feed(p->tls, in) == ERR_OK);
	if (tls_engine_handshake(p->tls) == ERR_OK)
		while (tls_engine_read(p->tls, plain, sizeof(plain), &n) == ERR_OK)
			peer_keep(p, bytes_of(plain, n));
	RIG_NEED(tls_engine_settle(p->tls) == ERR_OK);
}

static void peer_receive(struct rig_peer *p)
{
	uint8_t in[16384];

	for (int i = 0; i < 8 && !p->eof && !p->dead; i++) {
		ssize_t n = recv(p->fd, in, sizeof(in), 0);

		if (n < 0 && errno == EAGAIN)
			return;
		p->rig->moved = true;
		if (n == 0)
			p->eof = true;
		else if (n < 0)
			p->dead = true;
		else if (p->tls)
			peer_open_tls(p, bytes_of(in, (size_t)n));
		else
			peer_keep(p, bytes_of(in, (size_t)n));
	}
}

void rig_peer_move(struct rig_peer *p)
{
	if (p->fd < 0)
		return;
	if (p->tls && !tls_engine_is_done(p->tls))
		(void)!tls_engine_handshake(p->tls);
	if (!p->deaf)
		peer_receive(p);
	peer_seal(p);
	peer_send(p);
	if (p->then != RIG_KEEP && !buf_len(&p->out) && !buf_len(&p->wire)) {
		rig_end(p, p->then);
		p->then = RIG_KEEP;
	}
}

/* ---- upstream ---- */

void rig_upstream_open(struct rig_upstream *u, struct rig *r)
{
	(void)r;
	u->at = (struct addr){ .family = AF_INET, .ip = { 127, 0, 0, 1 } };
	RIG_NEED(net_listen_tcp(&u->at, &u->fd) == ERR_OK);
}

void rig_upstream_stop(struct rig_upstream *u)
{
	if (u->fd >= 0)
		close(u->fd);
	u->fd = -1;
}

static void upstream_take(struct rig_upstream *u, struct rig *r)
{
	int fd;

	while ((fd = accept4(u->fd, NULL, NULL, SOCK_CLOEXEC)) >= 0) {
		struct rig_peer *p = &u->conns[u->n_conns];

		RIG_NEED(u->n_conns < RIG_CONNS);
		rig_peer_open(p, r, fd);
		p->index = u->n_conns++;
		p->cut = u->cut;
		p->step = u->step;
		p->deaf = u->deaf;
		p->count_only = u->count_only;
		r->moved = true;
		if (u->tls) {
			struct buf der;
			const char *host = u->cert_host ? u->cert_host : "api.test";

			buf_init(&der, TLS_CERT_MAX);
			RIG_NEED(tls_minter_sign(r->minter, host,
						 tls_server_pubkey(r->upstream_tls), 3600,
						 &der) == ERR_OK);
			RIG_NEED(tls_leaf_new(r->upstream_tls, host, buf_bytes(&der), &p->leaf) ==
				 ERR_OK);
			buf_release(&der);
			p->tls = tls_engine_new_server(r->upstream_tls, p->leaf, "http/1.1",
						       &p->wire);
			RIG_NEED(p->tls);
		}
	}
}

/* Answers every request that is complete. */
static void upstream_serve(struct rig_upstream *u, struct rig_peer *p)
{
	while (p->fd >= 0 && u->n_replies && p->then == RIG_KEEP) {
		size_t last = u->n_replies - 1, i = u->served < last ? u->served : last;
		const struct rig_reply *reply = &u->replies[i];
		size_t n = rig_http_length(bytes_from(buf_bytes(&p->in), p->taken), reply->early);

		if (n == 0)
			return;
		p->taken += n;
		u->served++;
		rig_say(p, reply->text);
		p->then = reply->then;
		/* Whatever else comes on this connection is the rest of that request. */
		if (reply->early)
			p->taken = SIZE_MAX;
	}
}

void rig_upstream_move(struct rig_upstream *u, struct rig *r)
{
	upstream_take(u, r);
	for (size_t i = 0; i < u->n_conns; i++) {
		rig_peer_move(&u->conns[i]);
		upstream_serve(u, &u->conns[i]);
		if (u->conns[i].fd >= 0 && buf_len(&u->conns[i].out))
			rig_peer_move(&u->conns[i]);
	}
}
