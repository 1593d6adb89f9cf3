/*
 * worker_mint.c - asking the minter for leaves
 *
 * Happy path: ask -> one message to the minter -> its answer -> done(host, ERR_OK, certificate).
 * Failure modes: no minter yet, or it died: the question waits and is sent again on the next socket
 *   the master brings (well under a second); nothing for MINT_TIMEOUT_MS: done(ERR_MINT). Socket
 *   full: the rest is sent when it is writable again.
 * The minter's answers are decoded as strictly as it decodes our questions.
 */
#include "gateway/process/worker_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#define MINT_WAITING_MAX 4096
#define MINT_TIMEOUT_MS 5000
#define MINT_TICK_MS 500

struct mint_ask {
	struct mint_ask *next;
	uint32_t id;
	bool sent;
	uint64_t since_ms;
	char host[TLS_HOST_MAX + 1];
};

struct mint_socket {
	uv_poll_t poll;
	struct mint_client *client;	/* NULL when it was replaced */
	int fd;
};

static void mint_on_tick(uv_timer_t *timer);

enum err mint_client_init(struct mint_client *c, uv_loop_t *uv)
{
	c->uv = uv;
	return uv_timer_init(uv, &c->timer) == 0 ? ERR_OK : ERR_INTERNAL;
}

static void socket_on_closed(uv_handle_t *handle)
{
	struct mint_socket *s = container_of((uv_poll_t *)handle, struct mint_socket, poll);

	close(s->fd);
	free(s);
}

static void socket_close(struct mint_client *c)
{
	struct mint_socket *s = c->socket;

	if (!s)
		return;
	c->socket = NULL;
	s->client = NULL;
	uv_close((uv_handle_t *)&s->poll, socket_on_closed);
	for (struct mint_ask *a = c->first; a; a = a->next)
		a->sent = false;
}

static enum err ask_send(struct mint_client *c, struct mint_ask *a)
{
	struct tls_mint_request req = { .id = a->id };
	struct buf out;
	enum err e;
	ssize_t n;

	buf_init(&out, TLS_MINT_REQUEST_MAX);
	memcpy(req.host, a->host, sizeof(req.host));
	memcpy(req.pubkey, c->pubkey.p, sizeof(req.pubkey));
	e = tls_mint_request_encode(&req, &out);
	if (e == ERR_OK) {
		n = send(c->socket->fd, buf_bytes(&out).p, buf_len(&out),
			 MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n < 0)
			e = errno == EAGAIN || errno == EINTR ? ERR_AGAIN : ERR_CLOSED;
	}
	buf_release(&out);
	a->sent = e == ERR_OK;
	return e;
}

/* Takes the ask out of the list and tells its owner. */
static void ask_done(struct mint_client *c, struct mint_ask *ask, enum err e, struct bytes cert)
{
	struct mint_ask **at = &c->first, *before = NULL;

	while (*at && *at != ask) {
		before = *at;
		at = &before->next;
	}
	if (!*at)
		return;
	*at = ask->next;
	if (c->last == ask)
		c->last = before;
	c->waiting--;
	if (c->waiting == 0)
		uv_timer_stop(&c->timer);
	c->done(c->owner, ask->host, e, cert);
	free(ask);
}

static void mint_answer(struct mint_client *c, const struct tls_mint_response *resp)
{
	struct mint_ask *a = c->first;

	while (a && a->id != resp->id)
		a = a->next;
	/* Unknown: it came after the time was over. */
	if (a)
		ask_done(c, a, resp->err, resp->cert);
}

/* False: the socket is of no more use. */
static bool socket_read(struct mint_socket *s)
{
	for (int i = 0; i < 32 && s->client; i++) {
		uint8_t in[TLS_MINT_RESPONSE_MAX + 1];
		struct tls_mint_response resp;
		size_t used;
		ssize_t n = recv(s->fd, in, sizeof(in), MSG_DONTWAIT);

		if (n < 0)
			return errno == EAGAIN || errno == EINTR;
		if (n == 0 ||
		    tls_mint_response_decode(bytes_of(in, (size_t)n), &resp, &used) != ERR_OK)
			return false;
		mint_answer(s->client, &resp);
	}
	return true;
}

static void socket_on_event(uv_poll_t *poll, int status, int events);

static void socket_send_waiting(struct mint_client *c)
{
	int events = UV_READABLE;

	for (struct mint_ask *a = c->first; a; a = a->next) {
		enum err e = a->sent ? ERR_OK : ask_send(c, a);

		if (e == ERR_AGAIN) {
			events |= UV_WRITABLE;
			break;
		}
		if (e == ERR_CLOSED) {
			socket_close(c);
			return;
		}
	}
	if (c->socket)
		uv_poll_start(&c->socket->poll, events, socket_on_event);
}

static void socket_on_event(uv_poll_t *poll, int status, int events)
{
	struct mint_socket *s = container_of(poll, struct mint_socket, poll);
	struct mint_client *c = s->client;

	if (!c)
		return;
	if (status < 0 || ((events & UV_READABLE) && !socket_read(s))) {
		if (s->client)
			socket_close(c);
		return;
	}
	if ((events & UV_WRITABLE) && c->socket == s)
		socket_send_waiting(c);
}

void mint_client_connect(struct mint_client *c, int fd)
{
	struct mint_socket *s = calloc(1, sizeof(*s));

	socket_close(c);
	if (!s || uv_poll_init(c->uv, &s->poll, fd) != 0) {
		free(s);
		close(fd);
		return;
	}
	s->fd = fd;
	s->client = c;
	c->socket = s;
	socket_send_waiting(c);
}

enum err mint_client_ask(struct mint_client *c, const char *host)
{
	struct mint_ask *a;

	if (c->waiting >= MINT_WAITING_MAX)
		return ERR_MINT;
	a = calloc(1, sizeof(*a));
	if (!a)
		return ERR_NOMEM;
	if (!bytes_to_str(bytes_str(host), a->host, sizeof(a->host))) {
		free(a);
		return ERR_BAD_VALUE;
	}
	a->id = ++c->last_id;
	a->since_ms = uv_now(c->uv);
	if (c->last)
		c->last->next = a;
	else
		c->first = a;
	c->last = a;
	if (c->waiting++ == 0)
		uv_timer_start(&c->timer, mint_on_tick, MINT_TICK_MS, MINT_TICK_MS);
	if (c->socket)
		socket_send_waiting(c);
	return ERR_OK;
}

static void mint_on_tick(uv_timer_t *timer)
{
	struct mint_client *c = container_of(timer, struct mint_client, timer);

	/* Oldest first: once one is young enough, all that follow are. */
	while (c->first && uv_now(c->uv) - c->first->since_ms >= MINT_TIMEOUT_MS)
		ask_done(c, c->first, ERR_MINT, BYTES_NONE);
}

void mint_client_close(struct mint_client *c)
{
	socket_close(c);
	while (c->first) {
		struct mint_ask *next = c->first->next;

		free(c->first);
		c->first = next;
	}
	c->last = NULL;
	c->waiting = 0;
	uv_close((uv_handle_t *)&c->timer, NULL);
}
