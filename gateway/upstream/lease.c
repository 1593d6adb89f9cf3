/*
 * lease.c - one exchange on one connection, spoken in HTTP/1.1
 *
 * Happy path: upstream_open() -> on_ready (or warm at once) -> send_head, send_body*, send_end ->
 * on_head, on_body*, on_end -> upstream_close(), which gives the connection back when both messages
 * are complete and both sides keep it.
 * Failure: on_error once; the connection is closed, never reused.
 */
#include "gateway/upstream/upstream_internal.h"

#include <stdlib.h>

/*
 * A request that cannot be sent twice goes on a warm connection only this soon after its last use.
 */
#define RECENT_MS 2000
/* Interim responses to one request; more are no way to answer it. */
#define INTERIM_MAX 64

/* ---- opening ---- */

static void lease_attach(struct upstream *u, struct upstream_conn *c)
{
	u->conn = c;
	c->lease = u;
	c->scan = (struct h1_scan){ 0 };
	c->response = RESPONSE_NONE;
	c->interim = 0;
	c->request_done = false;
	c->chunked = false;
	c->keep = true;
}

static struct upstream_conn *lease_take_warm(struct upstream_key *k, enum upstream_want want)
{
	struct upstream_conn *c;

	if (want == UPSTREAM_FRESH || list_empty(&k->idle))
		return NULL;
	c = container_of(k->idle.next, struct upstream_conn, link);
	if (want == UPSTREAM_RECENT &&
	    net_loop_now(c->pool->spec.legs->net) - c->used_ms > RECENT_MS)
		return NULL;
	pool_take_idle(c);
	net_timer_stop(&c->timer);
	c->state = CONN_LEASED;
	return c;
}

static struct upstream_conn *lease_take_pending(struct upstream_key *k)
{
	struct upstream_conn *c;

	if (list_empty(&k->pending))
		return NULL;
	c = container_of(k->pending.next, struct upstream_conn, link);
	list_remove(&c->link);
	return c;
}

struct upstream *upstream_open(struct upstream_pool *p, const struct upstream_target *t,
			       enum upstream_want want, const struct upstream_ops *ops, void *owner)
{
	struct upstream *u = calloc(1, sizeof(*u));
	struct upstream_key *k = u ? key_get(p, t) : NULL;
	struct upstream_conn *c;

	if (!k) {
		free(u);
		return NULL;
	}
	c = lease_take_warm(k, want);
	if (!c)
		c = lease_take_pending(k);
	if (!c)
		c = conn_new(p, t);
	key_unref(p, k);
	if (!c) {
		free(u);
		return NULL;
	}
	u->ops = ops;
	u->owner = owner;
	lease_attach(u, c);
	u->facts = c->facts;
	return u;
}

bool upstream_is_ready(const struct upstream *u)
{
	return u->conn && u->conn->state == CONN_LEASED;
}

const struct upstream_facts *upstream_facts(const struct upstream *u)
{
	return u->conn ? &u->conn->facts : &u->facts;
}

void lease_ready(struct upstream *u)
{
	u->ops->on_ready(u->owner);
}

void lease_failed(struct upstream *u, enum err e)
{
	u->ops->on_error(u->owner, e);
}

/* The connection cannot be trusted to be in step any more. */
static void lease_break(struct upstream_conn *c, enum err e)
{
	struct upstream *u = c->lease;

	conn_close(c);
	lease_failed(u, e);
}

void upstream_close(struct upstream *u)
{
	struct upstream_conn *c = u->conn;

	free(u);
	if (!c)
		return;
	c->lease = NULL;
	if (c->state != CONN_LEASED || !c->keep || !c->request_done ||
	    c->response != RESPONSE_DONE || c->pool->freeing) {
		conn_close(c);
		return;
	}
	leg_resume(&c->leg);
	c->state = CONN_IDLE;
	c->used_ms = net_loop_now(c->pool->spec.legs->net);
	/* What the next exchange reports: no phase happened for it. */
	c->facts.resolve_us = c->facts.connect_us = c->facts.tls_us = -1;
	c->facts.reused = true;
	c->facts.answered = false;
	net_timer_start(&c->timer, c->pool->spec.idle_ms);
	pool_put_idle(c);
}

/* ---- sending ---- */

static enum err lease_write_scratch(struct upstream_conn *c, enum err e)
{
	struct buf *scratch = &c->pool->scratch;

	if (e == ERR_OK)
		e = leg_write(&c->leg, buf_bytes(scratch));
	buf_clear(scratch);
	return e;
}

enum err upstream_send_head(struct upstream *u, const struct http_request *req)
{
	struct upstream_conn *c = u->conn;

	if (!c || c->state != CONN_LEASED || c->response != RESPONSE_NONE || c->key->target.raw)
		return ERR_UPSTREAM_CLOSED;
	/* Longer than any method whose responses are framed in a special way. */
	if (!bytes_to_str(bytes_first(req->method, UPSTREAM_METHOD_MAX - 1), c->method,
			  sizeof(c->method)))
		return ERR_BAD_VALUE;
	c->response = RESPONSE_HEAD;
	c->chunked = req->framing == HTTP_BODY_CHUNKED;
	return lease_write_scratch(c, h1_write_request(&c->pool->scratch, req));
}

static enum err lease_chunk_sink(void *owner, struct bytes out)
{
	struct upstream_conn *c = owner;

	return leg_write(&c->leg, out);
}

enum err upstream_send_body(struct upstream *u, struct bytes data)
{
	struct upstream_conn *c = u->conn;

	if (!c)
		return ERR_UPSTREAM_CLOSED;
	if (data.n == 0)
		return ERR_OK;
	if (!c->chunked)
		return leg_write(&c->leg, data);
	return h1_chunks_add(&c->chunks, data, lease_chunk_sink, c);
}

enum err upstream_send_end(struct upstream *u, const struct http_fields *trailers)
{
	struct upstream_conn *c = u->conn;

	if (!c)
		return ERR_UPSTREAM_CLOSED;
	c->request_done = true;
	if (c->key->target.raw)
		leg_shutdown(&c->leg);
	if (!c->chunked)
		return ERR_OK;
	TRY(h1_chunks_flush(&c->chunks, lease_chunk_sink, c));
	return lease_write_scratch(c, h1_write_last_chunk(&c->pool->scratch, trailers));
}

void upstream_flush(struct upstream *u)
{
	struct upstream_conn *c = u->conn;

	/* A failing socket is told by on_error. */
	if (c && (h1_chunks_flush(&c->chunks, lease_chunk_sink, c) != ERR_OK ||
		  leg_flush(&c->leg) != ERR_OK))
		leg_reset(&c->leg);
}

bool upstream_full(const struct upstream *u)
{
	return u->conn && leg_full(&u->conn->leg);
}

size_t upstream_pending(const struct upstream *u)
{
	return u->conn ? net_conn_pending(&u->conn->leg.net) : 0;
}

void upstream_pause(struct upstream *u, bool paused)
{
	if (!u->conn)
		return;
	if (paused)
		leg_pause(&u->conn->leg);
	else
		leg_resume(&u->conn->leg);
}

/* ---- receiving ---- */

static void lease_finish(struct upstream_conn *c, bool leftover)
{
	struct upstream *u = c->lease;

	c->response = RESPONSE_DONE;
	/* More bytes than the response had: the next answer could not be told from them. */
	if (leftover)
		c->keep = false;
	u->ops->on_end(u->owner,
		       c->body.framing == HTTP_BODY_CHUNKED ? h1_body_trailers(&c->body) : NULL);
}

static enum err lease_take_head(struct upstream_conn *c, struct bytes in, size_t *used)
{
	struct upstream *u = c->lease;
	struct http_response *head = &c->pool->head;

	TRY(h1_parse_response(&c->scan, in, &c->pool->limits, bytes_str(c->method), head, used));
	if (head->status == 101)
		return ERR_UPSTREAM_HTTP;	/* nothing was offered to be upgraded to */
	if (head->status < 200 && ++c->interim > INTERIM_MAX)
		return ERR_UPSTREAM_HTTP;
	if (head->status >= 200) {
		c->keep = c->keep && head->keep_alive && head->framing != HTTP_BODY_CLOSE;
		h1_body_init(&c->body, HTTP_RESPONSE, head->framing, head->length,
			     &c->pool->limits);
		c->response = RESPONSE_BODY;
	}
	u->ops->on_head(u->owner, head);
	return ERR_OK;
}

static enum err lease_take_body(struct upstream_conn *c, struct bytes in, size_t *used)
{
	struct upstream *u = c->lease;
	struct bytes data;

	TRY(h1_body_feed(&c->body, in, used, &data));
	if (data.n)
		u->ops->on_body(u->owner, data);
	return ERR_OK;
}

size_t lease_on_data(struct upstream_conn *c, struct bytes in)
{
	struct upstream *u = c->lease;
	size_t total = in.n, used;

	c->facts.answered = true;
	if (c->key->target.raw) {
		u->ops->on_body(u->owner, in);
		return total;
	}
	if (c->response == RESPONSE_NONE) {
		lease_break(c, ERR_UPSTREAM_HTTP);	/* an answer before the question */
		return total;
	}
	while (c->lease == u && c->response != RESPONSE_DONE) {
		enum err e = ERR_OK;

		used = 0;
		if (c->response == RESPONSE_BODY && h1_body_done(&c->body)) {
			lease_finish(c, in.n > 0);
			return total;
		}
		if (in.n == 0)
			return total;
		if (c->response == RESPONSE_HEAD)
			e = lease_take_head(c, in, &used);
		else
			e = lease_take_body(c, in, &used);
		if (e == ERR_AGAIN)
			return total - in.n;
		if (e != ERR_OK) {
			if (c->lease == u)
				lease_break(c, e);
			return total;
		}
		in = bytes_from(in, used);
	}
	if (c->lease == u && in.n)
		c->keep = false;
	return total;
}

void lease_on_eof(struct upstream_conn *c, bool clean)
{
	struct upstream *u = c->lease;

	c->keep = false;
	if (c->response == RESPONSE_DONE)
		return;
	if (c->key->target.raw) {
		u->ops->on_end(u->owner, NULL);
		return;
	}
	/* RFC 9112 9.8: without close_notify an end of input is no end of the body. */
	if (c->response == RESPONSE_BODY && clean && h1_body_eof(&c->body) == ERR_OK) {
		lease_finish(c, false);
		return;
	}
	if (u)
		lease_break(c, ERR_UPSTREAM_CLOSED);
}
