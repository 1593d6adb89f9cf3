/*
 * flow.c - the life of one agent connection, and the worker's list of them
 *
 * Happy path (edges in flow_internal.h): PEEK -> LEAF -> HANDSHAKE -> HEAD -> EXCHANGE -> HEAD ...
 * -> CLOSING.
 * Failure: flow_refuse() resets and audits; after TLS a denial answers first (h1.c).
 * Ownership: the server's list owns flows; the leg's on_closed frees one. flow_close() is a request
 * and may be repeated.
 */
#include "gateway/flow/flow_internal.h"

#include <stdlib.h>
#include <sys/random.h>
#include <unistd.h>

static const char *const state_names[] = {
#define X(name, edges) #name,
	FLOW_STATES(X)
#undef X
};

static const unsigned state_edges[] = {
#define X(name, edges) (edges) | FLOW_TO(CLOSING),
	FLOW_STATES(X)
#undef X
};

void flow_move(struct flow *f, enum flow_state to)
{
	if (!(state_edges[f->state] & 1u << to)) {
		LOG_EVENT(LOG_LEVEL_ERROR, "flow.bad_move", kv_hex("flow", f->facts.id),
			  KV("from", state_names[f->state]), KV("to", state_names[to]));
		flow_reset(f);
		return;
	}
	f->state = to;
}

void flow_audit(struct flow *f, const char *event, enum err why, const char *rule)
{
	const struct exchange_env *env = &f->server->env.exchange;
	struct observe_event ev = OBSERVE_EVENT_INIT(event);

	ev.flow = f->facts.id;
	ev.agent = bytes_str(policy_agent_name(env->policy, f->facts.agent));
	ev.host = bytes_str(f->facts.host);
	ev.address = &f->facts.original;
	ev.port = f->facts.original.port;
	ev.protocol = f->facts.tls ? "tls" : "tcp";
	ev.decision = err_class(why) == ERR_CLASS_POLICY ? "deny" : "error";
	ev.rule = rule;
	ev.reason = err_name(why);
	ev.duration_us = (int64_t)(time_mono_us() - f->accepted_us);
	ev.phases_us[OBSERVE_PEEK] = f->facts.peek_us;
	env->audit(env->audit_owner, &ev);
}

/* ---- ending ---- */

static void flow_end_exchange(struct flow *f)
{
	struct exchange *x = f->x;

	f->x = NULL;
	exchange_close(x, ERR_CLOSED);
}

/*
 * Gives back all but leg and exchange; whatever happens on the leg from here on is not looked at.
 */
static void flow_let_go(struct flow *f)
{
	f->state = FLOW_CLOSING;
	net_timer_stop(&f->timer);
	tls_leaf_waiter_cancel(&f->waiter);
	flow_tunnel_end(f, ERR_CLOSED);
	flow_dns_end(f);
}

void flow_close(struct flow *f)
{
	if (f->state == FLOW_CLOSING)
		return;
	flow_let_go(f);
	flow_end_exchange(f);
	leg_linger(&f->leg, FLOW_LINGER_MS);
}

/*
 * May be called from inside an exchange's callback, so the exchange itself ends with the leg, a
 * turn later.
 */
void flow_reset(struct flow *f)
{
	if (f->state == FLOW_CLOSING)
		return;
	flow_let_go(f);
	leg_reset(&f->leg);
}

void flow_refuse(struct flow *f, enum err why, const char *rule)
{
	if (f->state == FLOW_CLOSING)
		return;
	observe_add(f->server->env.exchange.counters, OBSERVE_flows_refused_total, 1);
	flow_audit(f, "flow.refused", why, rule);
	flow_reset(f);
}

/* ---- what the leg says, sent to the part that the state names ---- */

static size_t flow_on_data(void *owner, struct bytes in)
{
	struct flow *f = owner;

	switch (f->state) {
	case FLOW_PEEK:
		return flow_peek(f, in);
	case FLOW_LEAF:
		return 0;	/* early bytes wait for the handshake */
	case FLOW_HEAD:
	case FLOW_EXCHANGE:
		return flow_h1_data(f, in);
	case FLOW_TUNNEL:
		return flow_tunnel_data(f, in);
	case FLOW_DNS:
		return flow_dns_data(f, in);
	default:
		return in.n;
	}
}

static void flow_on_secure(void *owner)
{
	flow_secured(owner);
}

static void flow_on_batch(void *owner)
{
	struct flow *f = owner;

	if (f->x)
		exchange_flush(f->x);
}

static void flow_on_eof(void *owner, bool clean)
{
	struct flow *f = owner;

	f->eof = true;
	switch (f->state) {
	case FLOW_PEEK:
	case FLOW_LEAF:
	case FLOW_HANDSHAKE:
		flow_refuse(f, ERR_CLOSED, NULL);
		break;
	case FLOW_HEAD:
	case FLOW_EXCHANGE:
		flow_h1_eof(f, clean);
		break;
	case FLOW_TUNNEL:
		flow_tunnel_eof(f);
		break;
	default:
		flow_close(f);
		break;
	}
}

static void flow_on_room(void *owner)
{
	struct flow *f = owner;

	if (f->state == FLOW_EXCHANGE)
		flow_h1_room(f);
	else if (f->state == FLOW_HEAD)
		leg_resume(&f->leg);
	else if (f->state == FLOW_TUNNEL)
		flow_tunnel_room(f);
}

static void flow_on_error(void *owner, enum err e)
{
	struct flow *f = owner;

	/* "unknown_ca" here is the first sign of an agent that lacks the interception CA. */
	if (f->state == FLOW_HANDSHAKE && log_allowed(&f->server->tls_log, 10))
		LOG_EVENT(LOG_LEVEL_INFO, "tls.agent_failed", kv_hex("flow", f->facts.id),
			  KV("host", f->facts.host), KV("peer", &f->facts.peer),
			  KV("reason", err_name(e)), KV("why", leg_detail(&f->leg)));
	if (f->state == FLOW_PEEK || f->state == FLOW_LEAF || f->state == FLOW_HANDSHAKE)
		flow_refuse(f, e, NULL);
	else
		flow_reset(f);
}

static void flow_on_closed(void *owner)
{
	struct flow *f = owner;
	struct flow_server *s = f->server;

	flow_let_go(f);
	flow_end_exchange(f);
	list_remove(&f->link);
	s->count--;
	observe_sub(s->env.exchange.counters, OBSERVE_flows_open, 1);
	observe_add(s->env.exchange.counters, OBSERVE_agent_bytes_in_total, f->leg.net.bytes_in);
	observe_add(s->env.exchange.counters, OBSERVE_agent_bytes_out_total, f->leg.net.bytes_out);
	h1_body_release(&f->h1.body);
	h1_chunks_release(&f->h1.chunks);
	free(f);
}

static const struct leg_ops flow_leg_ops = {
	.on_secure = flow_on_secure,
	.on_data = flow_on_data,
	.on_batch = flow_on_batch,
	.on_eof = flow_on_eof,
	.on_room = flow_on_room,
	.on_error = flow_on_error,
	.on_closed = flow_on_closed,
};

static void flow_on_timer(struct net_timer *t)
{
	struct flow *f = container_of(t, struct flow, timer);

	if (f->state == FLOW_HEAD || f->state == FLOW_EXCHANGE) {
		flow_h1_timeout(f);
	} else if (f->state == FLOW_TUNNEL) {
		flow_tunnel_end(f, ERR_TIMEOUT);
		flow_reset(f);
	} else {
		flow_refuse(f, ERR_TIMEOUT, NULL);
	}
}

/* ---- beginning ---- */

/*
 * What can be decided before the first byte: whose it is, and rules by address alone (server-first
 * protocols).
 */
static void flow_begin(struct flow *f)
{
	const struct policy *p = f->server->env.exchange.policy;
	struct policy_verdict v;

	f->facts.agent = policy_agent_by_address(p, &f->facts.peer);
	if (f->facts.agent < 0) {
		flow_refuse(f, ERR_DENY_AGENT, NULL);
		return;
	}
	if (f->server->count > f->server->env.flows_max || f->server->draining) {
		flow_refuse(f, f->server->draining ? ERR_SHUTTING_DOWN : ERR_LIMIT_FLOWS,
			    "gateway.limits.flows");
		return;
	}
	if (f->facts.original.port == 53) {
		flow_dns_begin(f);
		return;
	}
	v = policy_connect(p, f->facts.agent, "", &f->facts.original, f->facts.original.port);
	if (v.action == POLICY_TCP || v.action == POLICY_PASSTHROUGH)
		flow_tunnel_begin(f, &v);
	else
		net_timer_start(&f->timer, f->server->env.head_ms);
}

void flow_server_accept(struct flow_server *s, int fd, const struct addr *peer,
			const struct addr *original)
{
	struct flow *f = calloc(1, sizeof(*f));
	struct leg_spec spec = {
		.pool = s->env.legs,
		.ops = &flow_leg_ops,
		.owner = f,
		.rest_max = s->env.header_bytes > TLS_PEEK_MAX ? s->env.header_bytes : TLS_PEEK_MAX,
	};

	if (!f) {
		close(fd);
		return;
	}
	f->server = s;
	f->state = FLOW_PEEK;
	f->accepted_us = time_mono_us();
	f->facts.id = s->next_id++;
	f->facts.peer = *peer;
	f->facts.original = *original;
	f->facts.peek_us = -1;
	h1_chunks_init(&f->h1.chunks, false);
	net_timer_init(&f->timer, s->env.exchange.loop, flow_on_timer);
	if (leg_accept(&f->leg, &spec, fd) != ERR_OK) {
		free(f);
		return;
	}
	list_append(&s->flows, &f->link);
	s->count++;
	observe_add(s->env.exchange.counters, OBSERVE_flows_open, 1);
	observe_add(s->env.exchange.counters, OBSERVE_flows_total, 1);
	flow_begin(f);
}

void flow_server_shed(struct flow_server *s, const struct addr *peer)
{
	const struct exchange_env *env = &s->env.exchange;
	struct observe_event ev = OBSERVE_EVENT_INIT("flow.refused");
	int agent = policy_agent_by_address(env->policy, peer);

	observe_add(env->counters, OBSERVE_flows_refused_total, 1);
	ev.agent = bytes_str(policy_agent_name(env->policy, agent));
	ev.protocol = "tcp";
	ev.decision = "error";
	ev.rule = "RLIMIT_NOFILE";
	ev.reason = err_name(ERR_LIMIT_FLOWS);
	env->audit(env->audit_owner, &ev);
}

/* ---- server ---- */

struct flow_server *flow_server_new(const struct flow_env *env)
{
	struct flow_server *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->env = *env;
	list_init(&s->flows);
	s->limits = H1_LIMITS_DEFAULT;
	s->limits.header_bytes = env->header_bytes;
	if (s->limits.target_bytes > env->header_bytes)
		s->limits.target_bytes = env->header_bytes;
	buf_init(&s->scratch, env->header_bytes * 2 + 65536);
	/* Ids differ between workers and runs; they name, they do not protect. */
	if (getrandom(&s->next_id, sizeof(s->next_id), 0) != (ssize_t)sizeof(s->next_id))
		s->next_id = time_mono_us() << 20;
	s->next_id &= ~UINT64_C(0xffffffff);
	s->next_id |= 1;
	return s;
}

size_t flow_server_count(const struct flow_server *s)
{
	return s->count;
}

/*
 * On any open connection a request may be under way: it gets its answer, which says that it was the
 * last. What stays idle closes a little later.
 */
void flow_server_drain(struct flow_server *s)
{
	s->draining = true;
	for (struct list *l = s->flows.next; l != &s->flows; l = l->next) {
		struct flow *f = container_of(l, struct flow, link);

		f->h1.keep_alive = false;
		if (f->state == FLOW_HEAD && !f->h1.head_begun)
			net_timer_start(&f->timer, FLOW_LAST_MS);
	}
}

/*
 * Closing only asks: every flow stays in the list until its leg has closed, so walking it is safe.
 */
void flow_server_abort(struct flow_server *s)
{
	s->draining = true;
	for (struct list *l = s->flows.next; l != &s->flows; l = l->next)
		flow_reset(container_of(l, struct flow, link));
}

void flow_server_free(struct flow_server *s)
{
	if (!s)
		return;
	http_request_release(&s->req);
	buf_release(&s->scratch);
	free(s);
}
