/*
 * h1.c - HTTP/1.1 with the agent: requests to exchanges, answers back in the framing the agent can
 * read
 *
 * One exchange at a time; pipelined bytes wait in the leg. Back-pressure: exchange_full() pauses
 * the agent's leg, leg_full() pauses the exchange.
 * Failure: a bad head is answered by exchange_reject() and the connection ends after it, because
 * where the next request would begin is not known.
 */
#include "gateway/flow/flow_internal.h"

static const struct exchange_ops h1_exchange_ops;

static void h1_await_head(struct flow *f)
{
	f->h1.head_begun = false;
	f->h1.scan = (struct h1_scan){ 0 };
	net_timer_start(&f->timer, f->server->env.idle_ms);
}

void flow_h1_begin(struct flow *f)
{
	flow_move(f, FLOW_HEAD);
	h1_await_head(f);
	/*
	 * The first request is due soon; later ones may take as long as the connection may be idle.
	 */
	net_timer_start(&f->timer, f->server->env.head_ms);
}

static bool h1_open_exchange(struct flow *f)
{
	flow_move(f, FLOW_EXCHANGE);
	net_timer_stop(&f->timer);
	f->x = exchange_new(&f->server->env.exchange, &f->facts, &h1_exchange_ops, f);
	if (!f->x)
		flow_reset(f);
	return f->x != NULL;
}

static void h1_reject(struct flow *f, enum err e)
{
	f->h1.keep_alive = false;
	f->h1.request_done = false;
	f->h1.minor = 1;
	if (h1_open_exchange(f))
		exchange_reject(f->x, e);
}

/* ---- requests ---- */

static void h1_send_continue(struct flow *f)
{
	if (leg_write(&f->leg, BYTES_LIT("HTTP/1.1 100 Continue\r\n\r\n")) != ERR_OK ||
	    leg_flush(&f->leg) != ERR_OK)
		flow_reset(f);
}

static void h1_begin_request(struct flow *f, const struct http_request *req)
{
	bool body = req->framing != HTTP_BODY_NONE &&
		    !(req->framing == HTTP_BODY_LENGTH && req->length == 0);
	bool expects = req->expect_continue && body && req->minor == 1;

	f->h1.keep_alive = req->keep_alive && !f->server->draining;
	f->h1.minor = req->minor;
	f->h1.request_done = !body;
	if (body)
		h1_body_init(&f->h1.body, HTTP_REQUEST, req->framing, req->length,
			     &f->server->limits);
	if (!h1_open_exchange(f))
		return;
	exchange_request(f->x, req);
	if (f->x && expects)
		h1_send_continue(f);
	if (f->x && !body)
		exchange_body_end(f->x, NULL);
	else if (f->x)
		net_timer_start(&f->timer, f->server->env.idle_ms);
}

static size_t h1_take_head(struct flow *f, struct bytes in)
{
	struct flow_server *s = f->server;
	bool first = !f->h1.head_begun;
	size_t used = 0;
	enum err e;

	e = h1_parse_request(&f->h1.scan, in, &s->limits, &s->req, &used);
	if (e == ERR_AGAIN) {
		/* One deadline for the whole head: a byte a second does not move it. */
		if (first)
			net_timer_start(&f->timer, s->env.head_ms);
		f->h1.head_begun = true;
		return 0;
	}
	if (e == ERR_NOT_HTTP && !f->facts.tls) {
		flow_refuse(f, e, NULL);
		return in.n;
	}
	if (e != ERR_OK) {
		h1_reject(f, e);
		return in.n;
	}
	h1_begin_request(f, &s->req);
	return used;
}

/* Body bytes to the exchange until they, or its room, run out; returns how many were used. */
static size_t h1_take_body(struct flow *f, struct bytes in)
{
	size_t total = 0;

	while (f->x && !f->h1.request_done && total < in.n && !exchange_full(f->x)) {
		struct bytes data;
		size_t used;
		enum err e = h1_body_feed(&f->h1.body, bytes_from(in, total), &used, &data);

		if (e != ERR_OK) {
			exchange_reject(f->x, e);
			return in.n;
		}
		total += used;
		exchange_body(f->x, data);
		if (f->x && h1_body_done(&f->h1.body)) {
			f->h1.request_done = true;
			net_timer_stop(&f->timer);
			exchange_body_end(f->x, h1_body_trailers(&f->h1.body));
		}
	}
	return total;
}

/* May the rest of the input be looked at now? */
static bool h1_must_wait(struct flow *f)
{
	if (f->state != FLOW_EXCHANGE || !f->x)
		return false;
	return f->h1.request_done || exchange_full(f->x);
}

size_t flow_h1_data(struct flow *f, struct bytes in)
{
	size_t total = 0;

	while (total < in.n) {
		struct bytes rest = bytes_from(in, total);
		size_t used;

		if (f->state == FLOW_HEAD && !leg_full(&f->leg))
			used = h1_take_head(f, rest);
		else if (f->state == FLOW_EXCHANGE && !h1_must_wait(f))
			used = h1_take_body(f, rest);
		else
			break;
		total += used;
		if (used == 0)
			break;
	}
	if (f->state == FLOW_CLOSING)
		return in.n;
	/* Answers wait for an agent that goes on asking: flow_on_room() takes the next request. */
	if (f->state == FLOW_HEAD && total < in.n && leg_full(&f->leg))
		leg_pause(&f->leg);
	if (h1_must_wait(f) && (total < in.n || !f->h1.request_done)) {
		/* The upstream's pace is not the agent's fault. */
		net_timer_stop(&f->timer);
		leg_pause(&f->leg);
	} else if (f->state == FLOW_EXCHANGE && !f->h1.request_done) {
		net_timer_start(&f->timer, f->server->env.idle_ms);
	}
	return total;
}

void flow_h1_eof(struct flow *f, bool clean)
{
	/* A half-close after a whole request waits for its answer; anything else is an end. */
	if (f->state == FLOW_EXCHANGE && f->h1.request_done && clean) {
		f->h1.keep_alive = false;
		return;
	}
	flow_close(f);
}

void flow_h1_timeout(struct flow *f)
{
	if (f->state == FLOW_HEAD && f->h1.head_begun)
		h1_reject(f, ERR_TIMEOUT);
	else if (f->state == FLOW_HEAD)
		flow_close(f);
	else if (f->x && !leg_full(&f->leg))
		exchange_reject(f->x, ERR_TIMEOUT);
	else
		flow_reset(f);
}

/* ---- answers ---- */

static void h1_write(struct flow *f, struct bytes out)
{
	if (f->state != FLOW_CLOSING && leg_write(&f->leg, out) != ERR_OK)
		flow_reset(f);
}

static void h1_write_scratch(struct flow *f, enum err e)
{
	struct buf *scratch = &f->server->scratch;

	if (e == ERR_OK)
		h1_write(f, buf_bytes(scratch));
	else
		flow_reset(f);
	buf_clear(scratch);
}

static void h1_on_head(void *owner, const struct http_response *head)
{
	struct flow *f = owner;
	struct http_response out = *head;

	/* HTTP/1.0 knows no chunks; there the end of the connection is the end of the body. */
	if (out.framing == HTTP_BODY_CHUNKED && f->h1.minor == 0)
		out.framing = HTTP_BODY_CLOSE;
	else if (out.framing == HTTP_BODY_CLOSE && f->h1.minor == 1)
		out.framing = HTTP_BODY_CHUNKED;
	f->h1.chunked = out.framing == HTTP_BODY_CHUNKED;
	if (out.framing == HTTP_BODY_CLOSE || !f->h1.request_done || f->server->draining)
		f->h1.keep_alive = false;
	out.keep_alive = f->h1.keep_alive;
	out.minor = f->h1.minor;	/* to HTTP/1.0 keep-alive must be said (RFC 9112 C.2.2) */
	h1_write_scratch(f, h1_write_response(&f->server->scratch, &out));
}

static enum err h1_chunk_sink_leg(void *owner, struct bytes out)
{
	struct flow *f = owner;

	return leg_write(&f->leg, out);
}

static void h1_on_body(void *owner, struct bytes data)
{
	struct flow *f = owner;

	if (data.n == 0 || f->state == FLOW_CLOSING)
		return;
	if (!f->h1.chunked)
		h1_write(f, data);
	else if (h1_chunks_add(&f->h1.chunks, data, h1_chunk_sink_leg, f) != ERR_OK)
		flow_reset(f);
	if (f->x && f->state == FLOW_EXCHANGE && leg_full(&f->leg)) {
		exchange_pause(f->x, true);
		net_timer_start(&f->timer, f->server->env.idle_ms);
	}
}

static void h1_flush(struct flow *f)
{
	if (f->state == FLOW_CLOSING)
		return;
	if (h1_chunks_flush(&f->h1.chunks, h1_chunk_sink_leg, f) != ERR_OK ||
	    leg_flush(&f->leg) != ERR_OK)
		flow_reset(f);
}

static void h1_on_end(void *owner, const struct http_fields *trailers)
{
	struct flow *f = owner;
	struct exchange *x = f->x;

	if (f->state == FLOW_CLOSING)
		return;
	/*
	 * Without what was gathered there is no end either: flow_reset() shows that the answer is
	 * not whole.
	 */
	if (f->h1.chunked && h1_chunks_flush(&f->h1.chunks, h1_chunk_sink_leg, f) != ERR_OK)
		flow_reset(f);
	else if (f->h1.chunked)
		h1_write_scratch(f, h1_write_last_chunk(&f->server->scratch, trailers));
	h1_flush(f);
	if (f->state == FLOW_CLOSING)
		return;
	f->x = NULL;
	exchange_close(x, ERR_OK);
	if (!f->h1.keep_alive || !f->h1.request_done || f->eof) {
		flow_close(f);
		return;
	}
	flow_move(f, FLOW_HEAD);
	h1_await_head(f);
	leg_resume(&f->leg);
}

static void h1_on_abort(void *owner, enum err why)
{
	struct flow *f = owner;

	(void)why;
	/* A reset: an orderly end could be taken for the end of the body. */
	flow_reset(f);
}

static void h1_on_batch(void *owner)
{
	h1_flush(owner);
}

static void h1_on_room(void *owner)
{
	struct flow *f = owner;

	if (f->state == FLOW_EXCHANGE && f->x && !f->h1.request_done)
		leg_resume(&f->leg);
}

void flow_h1_room(struct flow *f)
{
	if (!f->x)
		return;
	net_timer_stop(&f->timer);
	exchange_pause(f->x, false);
}

static const struct exchange_ops h1_exchange_ops = {
	.on_head = h1_on_head,
	.on_body = h1_on_body,
	.on_end = h1_on_end,
	.on_abort = h1_on_abort,
	.on_batch = h1_on_batch,
	.on_room = h1_on_room,
};
