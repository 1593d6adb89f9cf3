/*
 * exchange.c - the life of one exchange: who speaks when
 *
 * Happy path: exchange_request() -> (small body measured) -> upstream opened -> head, body ->
 * response -> on_end -> the owner's exchange_close(). Failure: before the response's head is handed
 * over a denial answers, after it on_abort cuts.
 * Limits: the upstream may be silent for first_byte_ms after the request, idle_ms between bytes
 * either way.
 */
#include "gateway/exchange/exchange_internal.h"

#include <stdlib.h>

/* Room for a head text, or one measured body after substitution. */
#define SCRATCH_MAX (1024u * 1024)
#define MEASURED_GROWTH 16u /* a token of 8 bytes may become one of this many times its length */

static void exchange_on_timer(struct net_timer *t);

struct exchange *exchange_new(const struct exchange_env *env, const struct exchange_flow *flow,
			      const struct exchange_ops *ops, void *owner)
{
	struct exchange *x = calloc(1, sizeof(*x));

	if (!x)
		return NULL;
	x->env = env;
	x->flow = flow;
	x->ops = ops;
	x->owner = owner;
	x->begun_us = time_mono_us();
	x->first_byte_us = -1;
	x->facts = (struct upstream_facts){ .resolve_us = -1, .connect_us = -1, .tls_us = -1 };
	buf_init_secret(&x->scratch, SCRATCH_MAX);
	buf_init_secret(&x->replacement, SCRATCH_MAX);
	buf_init_secret(&x->req_body.measured, EXCHANGE_MEASURED_MAX * MEASURED_GROWTH);
	buf_init_secret(&x->resp_body.measured, EXCHANGE_MEASURED_MAX * MEASURED_GROWTH);
	net_timer_init(&x->timer, env->loop, exchange_on_timer);
	observe_add(env->counters, OBSERVE_exchanges_open, 1);
	return x;
}

void exchange_close(struct exchange *x, enum err why)
{
	if (!x)
		return;
	if (x->state != EXCHANGE_ANSWERED && x->reason == ERR_OK)
		x->reason = why;
	if (x->up) {
		x->facts = *upstream_facts(x->up);
		upstream_close(x->up);
	}
	net_timer_stop(&x->timer);
	exchange_audit(x);
	observe_sub(x->env->counters, OBSERVE_exchanges_open, 1);
	rewrite_stream_release(&x->req_body.stream);
	rewrite_stream_release(&x->resp_body.stream);
	buf_release(&x->scratch);
	buf_release(&x->replacement);
	buf_release(&x->req_body.measured);
	buf_release(&x->resp_body.measured);
	http_request_release(&x->req);
	http_response_release(&x->resp);
	arena_release(&x->arena);
	free(x);
}

/* ---- time ---- */

/* The next sign of life from the upstream is due. */
static void expect(struct exchange *x, unsigned ms)
{
	x->waiting = upstream_pending(x->up);
	net_timer_start(&x->timer, ms);
}

static void exchange_on_timer(struct net_timer *t)
{
	struct exchange *x = container_of(t, struct exchange, timer);

	/* It takes what it is sent, slowly: that is not silence. */
	if (x->state == EXCHANGE_SENDING && upstream_pending(x->up) < x->waiting)
		expect(x, x->req_ended ? x->env->first_byte_ms : x->env->idle_ms);
	else
		exchange_deny(x, ERR_UPSTREAM_TIMEOUT);
}

static void expect_answer(struct exchange *x)
{
	x->sent_us = time_mono_us();
	expect(x, x->env->first_byte_ms);
}

/* ---- towards the upstream ---- */

static const struct upstream_ops upstream_ops;

static enum upstream_want wanted(const struct exchange *x)
{
	if (x->retried)
		return UPSTREAM_FRESH;
	return x->req.framing == HTTP_BODY_NONE && http_method_idempotent(x->req.method)
		       ? UPSTREAM_ANY
		       : UPSTREAM_RECENT;
}

/* The connection is verified: what is known of the request goes out. */
static void exchange_send(struct exchange *x)
{
	enum err e;

	x->state = EXCHANGE_SENDING;
	e = request_send_head(x);
	if (e == ERR_OK && x->req_body.plan == BODY_MEASURE)
		e = upstream_send_body(x->up, buf_bytes(&x->req_body.measured));
	if (e == ERR_OK && (x->req_body.plan == BODY_MEASURE || x->req_body.plan == BODY_NONE))
		e = upstream_send_end(x->up, NULL);
	if (e != ERR_OK) {
		exchange_deny(x, e);
		return;
	}
	buf_release(&x->req_body.measured);
	upstream_flush(x->up);
	if (x->req_body.plan != BODY_STREAM)
		expect_answer(x);
}

static void exchange_connect(struct exchange *x)
{
	x->state = EXCHANGE_CONNECTING;
	x->up = upstream_open(x->env->pool, &x->target, wanted(x), &upstream_ops, x);
	if (!x->up)
		exchange_deny(x, ERR_NOMEM);
	else if (upstream_is_ready(x->up))
		exchange_send(x);
}

void exchange_request(struct exchange *x, const struct http_request *req)
{
	enum err e = request_take(x, req);

	if (e != ERR_OK) {
		exchange_deny(x, e);
		return;
	}
	if (x->req_body.plan == BODY_MEASURE) {
		x->state = EXCHANGE_MEASURING;
		upstream_pool_warm(x->env->pool, &x->target);
		return;
	}
	exchange_connect(x);
}

void exchange_reject(struct exchange *x, enum err why)
{
	exchange_deny(x, why);
}

void exchange_body(struct exchange *x, struct bytes data)
{
	enum err e;

	/* Before the head is out there is nowhere to send it: exchange_full() says so. */
	if (x->state == EXCHANGE_ANSWERED || x->state == EXCHANGE_CONNECTING || !data.n ||
	    x->req_body.plan == BODY_NONE)
		return;
	e = request_body(x, data);
	if (e != ERR_OK)
		exchange_deny(x, e);
}

void exchange_body_end(struct exchange *x, const struct http_fields *trailers)
{
	bool measured = x->state == EXCHANGE_MEASURING;
	enum err e;

	x->req_ended = true;
	if (x->state == EXCHANGE_ANSWERED || x->req_body.plan == BODY_NONE)
		return;
	e = request_end(x, trailers);
	if (e != ERR_OK) {
		exchange_deny(x, e);
		return;
	}
	if (measured)
		exchange_connect(x);
	else if (x->state == EXCHANGE_SENDING)
		expect_answer(x);
}

void exchange_flush(struct exchange *x)
{
	if (!x->up || !x->head_sent)
		return;
	upstream_flush(x->up);
	if (x->state == EXCHANGE_SENDING && !net_timer_armed(&x->timer) && upstream_full(x->up))
		expect(x, x->env->idle_ms);
}

bool exchange_full(const struct exchange *x)
{
	if (x->state == EXCHANGE_CONNECTING)
		return x->req_body.plan == BODY_STREAM;
	return x->up && x->head_sent && upstream_full(x->up);
}

void exchange_pause(struct exchange *x, bool paused)
{
	if (x->paused == paused)
		return;
	x->paused = paused;
	if (x->up)
		upstream_pause(x->up, paused);
	if (x->state != EXCHANGE_ANSWERING)
		return;
	/* While the agent is slow, the upstream's silence is our doing. */
	if (paused)
		net_timer_stop(&x->timer);
	else
		net_timer_start(&x->timer, x->env->idle_ms);
}

/* ---- what the upstream says ---- */

static void exchange_on_ready(void *owner)
{
	struct exchange *x = owner;
	bool waited_for_body = x->req_body.plan == BODY_STREAM;
	const struct exchange_ops *ops = x->ops;
	void *flow = x->owner;

	exchange_send(x);
	if (waited_for_body)
		ops->on_room(flow);
}

static void exchange_on_head(void *owner, const struct http_response *head)
{
	struct exchange *x = owner;
	enum err e;

	if (x->first_byte_us < 0 && x->sent_us)
		x->first_byte_us = (int64_t)(time_mono_us() - x->sent_us);
	if (head->status < 200)
		return;	/* 100 was answered here already; other interim responses are advice */
	x->state = EXCHANGE_ANSWERING;
	/* Until the head is handed over a denial can still answer. */
	x->resp_body.plan = BODY_MEASURE;
	net_timer_start(&x->timer, x->env->idle_ms);
	e = response_head(x, head);
	if (e != ERR_OK)
		exchange_deny(x, e);
}

static void exchange_on_body(void *owner, struct bytes data)
{
	struct exchange *x = owner;
	enum err e = response_body(x, data);

	if (e != ERR_OK)
		exchange_deny(x, e);
}

static void exchange_on_end(void *owner, const struct http_fields *trailers)
{
	struct exchange *x = owner;
	enum err e;

	net_timer_stop(&x->timer);
	x->facts = *upstream_facts(x->up);
	e = response_end(x, trailers);
	if (e != ERR_OK)
		exchange_deny(x, e);
}

static void exchange_on_batch(void *owner)
{
	struct exchange *x = owner;

	if (x->state == EXCHANGE_ANSWERING && !x->paused)
		net_timer_start(&x->timer, x->env->idle_ms);
	x->ops->on_batch(x->owner);
}

static void exchange_on_room(void *owner)
{
	struct exchange *x = owner;

	if (x->state == EXCHANGE_SENDING && !x->req_ended)
		net_timer_stop(&x->timer);
	x->ops->on_room(x->owner);
}

/*
 * A warm connection may have been closed by the upstream just as it was taken. RFC 9110 9.2.2: an
 * idempotent request without body that got no answer may be sent again, once, on a new connection.
 */
static bool may_retry(const struct exchange *x)
{
	const struct upstream_facts *f = upstream_facts(x->up);

	return !x->retried && x->head_sent && f->reused && !f->answered &&
	       wanted(x) == UPSTREAM_ANY;
}

static void exchange_on_error(void *owner, enum err e)
{
	struct exchange *x = owner;

	if (may_retry(x)) {
		upstream_close(x->up);
		x->up = NULL;
		x->retried = true;
		x->head_sent = false;
		net_timer_stop(&x->timer);
		exchange_connect(x);
		return;
	}
	exchange_deny(x, e);
}

static const struct upstream_ops upstream_ops = {
	.on_ready = exchange_on_ready,
	.on_head = exchange_on_head,
	.on_body = exchange_on_body,
	.on_end = exchange_on_end,
	.on_batch = exchange_on_batch,
	.on_room = exchange_on_room,
	.on_error = exchange_on_error,
};
