/*
 * conn.c - one connection to an upstream: resolve, check the address, dial, verify
 *
 * Happy path: conn_new() -> resolve -> policy_address() -> dial -> TLS verified for the host ->
 * lease_ready(), or idle when nobody waits. Failure: the next address is tried for connection
 * errors; a certificate that does not verify is final. Then lease_failed() once.
 * Ownership: a connection frees itself after its leg's on_closed; leases only borrow it.
 * Limits: one deadline (connect_ms) for everything up to the end of the handshake.
 */
#include "gateway/upstream/upstream_internal.h"

#include <stdlib.h>

static void conn_dial_next(struct upstream_conn *c);

static int64_t conn_phase(struct upstream_conn *c)
{
	uint64_t now = time_mono_us();
	int64_t took = (int64_t)(now - c->phase_us);

	c->phase_us = now;
	return took;
}

static void conn_free(struct upstream_conn *c)
{
	struct upstream_pool *p = c->pool;

	h1_body_release(&c->body);
	h1_chunks_release(&c->chunks);
	key_unref(p, c->key);
	observe_add(p->spec.counters, OBSERVE_upstream_bytes_in_total, c->leg.net.bytes_in);
	observe_add(p->spec.counters, OBSERVE_upstream_bytes_out_total, c->leg.net.bytes_out);
	free(c);
	observe_sub(p->spec.counters, OBSERVE_upstream_connections_open, 1);
	pool_conn_gone(p);
}

/* Takes it out of every list and off its lease; the leg may still have to close. */
static void conn_detach(struct upstream_conn *c)
{
	pool_take_idle(c);
	list_remove(&c->link);
	net_timer_stop(&c->timer);
	upstream_resolve_cancel(c->query);
	c->query = NULL;
	if (c->lease) {
		c->lease->facts = c->facts;
		c->lease->conn = NULL;
	}
	c->lease = NULL;
}

/*
 * Closing before anything was dialled still frees from the loop: a zero timer stands in for the
 * leg.
 */
static void conn_on_timer(struct net_timer *t);

void conn_close(struct upstream_conn *c)
{
	bool leg_live = c->state != CONN_RESOLVING;

	if (c->state == CONN_CLOSING)
		return;
	conn_detach(c);
	c->state = CONN_CLOSING;
	if (leg_live)
		leg_close(&c->leg);
	else
		net_timer_start(&c->timer, 0);
}

/* The end of a connection that never became ready, or died: tells whoever leases it. */
static void conn_fail(struct upstream_conn *c, enum err e)
{
	struct upstream *lease = c->lease;

	observe_add(c->pool->spec.counters, OBSERVE_upstream_errors_total, 1);
	conn_close(c);
	if (lease)
		lease_failed(lease, e);
}

static void conn_on_timer(struct net_timer *t)
{
	struct upstream_conn *c = container_of(t, struct upstream_conn, timer);

	switch (c->state) {
	case CONN_CLOSING:
		conn_free(c);
		break;
	case CONN_IDLE:
		conn_close(c);
		break;
	case CONN_RESOLVING:
		conn_fail(c, ERR_RESOLVE);
		break;
	default:
		conn_fail(c, ERR_CONNECT_TIMEOUT);
		break;
	}
}

/* ---- becoming ready ---- */

static void conn_ready(struct upstream_conn *c)
{
	net_timer_stop(&c->timer);
	observe_add(c->pool->spec.counters, OBSERVE_upstream_connections_total, 1);
	if (c->lease) {
		c->state = CONN_LEASED;
		lease_ready(c->lease);
		return;
	}
	list_remove(&c->link);
	c->state = CONN_IDLE;
	c->used_ms = net_loop_now(c->pool->spec.legs->net);
	net_timer_start(&c->timer, c->pool->spec.idle_ms);
	pool_put_idle(c);
}

static void conn_on_connected(void *owner)
{
	struct upstream_conn *c = owner;
	const struct upstream_target *t = &c->key->target;
	char ip[ADDR_TEXT_MAX];
	struct tls_engine *engine;
	const char *host = t->host[0] ? t->host : addr_ip_text(&t->fallback, ip);

	c->facts.connect_us = conn_phase(c);
	if (!t->tls) {
		conn_ready(c);
		return;
	}
	c->state = CONN_SECURING;
	engine = tls_engine_new_client(c->pool->spec.tls, host, t->port, "http/1.1",
				       leg_out(&c->leg));
	if (!engine || leg_start_tls(&c->leg, engine) != ERR_OK)
		conn_fail(c, ERR_NOMEM);
}

static void conn_on_secure(void *owner)
{
	struct upstream_conn *c = owner;

	c->facts.tls_us = conn_phase(c);
	observe_add(c->pool->spec.counters, OBSERVE_tls_upstream_handshakes_total, 1);
	if (tls_engine_resumed(c->leg.tls))
		observe_add(c->pool->spec.counters, OBSERVE_tls_upstream_resumed_total, 1);
	conn_ready(c);
}

/* ---- what the leg says ---- */

static size_t conn_on_data(void *owner, struct bytes in)
{
	struct upstream_conn *c = owner;

	if (c->state == CONN_LEASED && c->lease)
		return lease_on_data(c, in);
	/* Nobody asked: whatever it is, it must not be taken for the answer to a later request. */
	if (c->state == CONN_IDLE)
		conn_close(c);
	return in.n;
}

static void conn_on_batch(void *owner)
{
	struct upstream_conn *c = owner;

	if (c->lease && c->state == CONN_LEASED)
		c->lease->ops->on_batch(c->lease->owner);
}

static void conn_on_eof(void *owner, bool clean)
{
	struct upstream_conn *c = owner;

	if (c->state == CONN_LEASED)
		lease_on_eof(c, clean);
	else if (c->state == CONN_SECURING)
		conn_fail(c, ERR_UPSTREAM_TLS);
	else
		conn_close(c);
}

static void conn_on_room(void *owner)
{
	struct upstream_conn *c = owner;

	if (c->lease && c->state == CONN_LEASED)
		c->lease->ops->on_room(c->lease->owner);
}

static bool worth_another_address(enum err e)
{
	return e == ERR_CONNECT_REFUSED || e == ERR_CONNECT_UNREACHABLE || e == ERR_CONNECT_TIMEOUT;
}

static void conn_on_error(void *owner, enum err e)
{
	struct upstream_conn *c = owner;

	if (c->state == CONN_DIALLING && worth_another_address(e) && c->next_addr < c->addrs.n) {
		c->last_error = e;
		c->redial = true;
		leg_close(&c->leg);
		return;
	}
	if (c->state == CONN_LEASED && err_class(e) != ERR_CLASS_UPSTREAM)
		e = ERR_UPSTREAM_CLOSED;
	else if (c->state == CONN_SECURING && err_class(e) != ERR_CLASS_UPSTREAM)
		e = ERR_UPSTREAM_TLS;
	if (c->state == CONN_SECURING && log_allowed(&c->pool->tls_log, 10))
		LOG_EVENT(LOG_LEVEL_WARN, "tls.upstream_failed", KV("host", c->key->target.host),
			  KV("address", &c->facts.address), KV("reason", err_name(e)),
			  KV("why", leg_detail(&c->leg)));
	conn_fail(c, e);
}

static void conn_on_closed(void *owner)
{
	struct upstream_conn *c = owner;
	struct upstream *lease = c->lease;

	if (c->state != CONN_CLOSING && c->redial) {
		c->redial = false;
		conn_dial_next(c);
		return;
	}
	/* Closed from below (a flush that failed): whoever leases it does not know yet. */
	conn_detach(c);
	if (lease)
		lease_failed(lease, ERR_UPSTREAM_CLOSED);
	conn_free(c);
}

static const struct leg_ops conn_leg_ops = {
	.on_connected = conn_on_connected,
	.on_secure = conn_on_secure,
	.on_data = conn_on_data,
	.on_batch = conn_on_batch,
	.on_eof = conn_on_eof,
	.on_room = conn_on_room,
	.on_error = conn_on_error,
	.on_closed = conn_on_closed,
};

/* ---- resolving and dialling ---- */

/* Fails from a state in which no leg is open. */
static void conn_fail_unopened(struct upstream_conn *c, enum err e)
{
	c->state = CONN_RESOLVING;
	conn_fail(c, e);
}

/*
 * The address is checked here, after resolution and right before it is dialled, so that a name that
 * comes to point at an inner address is refused whatever was decided about it before (DNS
 * rebinding).
 */
static void conn_dial_next(struct upstream_conn *c)
{
	bool tls = c->key->target.tls;
	struct leg_spec spec = {
		.pool = c->pool->spec.legs,
		.ops = &conn_leg_ops,
		.owner = c,
		.rest_max = c->pool->spec.header_bytes,
		.secret = true,
		.clear_wire = !tls,
	};

	while (c->next_addr < c->addrs.n) {
		struct addr a = c->addrs.v[c->next_addr++];
		enum err e = policy_address(c->pool->spec.policy, &a);

		a.port = c->key->target.port;
		c->facts.address = a;
		if (e == ERR_OK) {
			/*
			 * Half of the whole for each try, so that a second address gets its chance.
			 */
			unsigned ms = c->next_addr < c->addrs.n ? c->pool->spec.connect_ms / 2
								: c->pool->spec.connect_ms;

			c->state = CONN_DIALLING;
			e = leg_dial(&c->leg, &spec, &a, ms);
			if (e == ERR_OK)
				return;
		}
		c->last_error = e;
	}
	conn_fail_unopened(c, c->last_error == ERR_OK ? ERR_RESOLVE_NONE : c->last_error);
}

static void conn_on_resolved(void *owner, enum err e, const struct upstream_addrs *addrs)
{
	struct upstream_conn *c = owner;

	c->query = NULL;
	c->facts.resolve_us = conn_phase(c);
	if (e != ERR_OK) {
		conn_fail(c, e);
		return;
	}
	c->addrs = *addrs;
	conn_dial_next(c);
}

struct upstream_conn *conn_new(struct upstream_pool *p, const struct upstream_target *t)
{
	struct upstream_conn *c = calloc(1, sizeof(*c));
	char ip[ADDR_TEXT_MAX];
	const char *name = t->host[0] ? t->host : addr_ip_text(&t->fallback, ip);

	if (!c)
		return NULL;
	c->pool = p;
	c->key = key_get(p, t);
	if (!c->key) {
		free(c);
		return NULL;
	}
	c->facts = (struct upstream_facts){ .resolve_us = -1, .connect_us = -1, .tls_us = -1 };
	c->phase_us = time_mono_us();
	c->state = CONN_RESOLVING;
	h1_chunks_init(&c->chunks, true);
	net_timer_init(&c->timer, p->spec.legs->net, conn_on_timer);
	c->query = upstream_resolve(p->spec.resolver, name, AF_UNSPEC, conn_on_resolved, c);
	if (!c->query) {
		key_unref(p, c->key);
		free(c);
		return NULL;
	}
	p->n_conns++;
	observe_add(p->spec.counters, OBSERVE_upstream_connections_open, 1);
	net_timer_start(&c->timer, p->spec.connect_ms);
	return c;
}
