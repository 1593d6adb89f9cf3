/*
 * tunnel.c - flows that are not opened: pass-through TLS and allowed TCP
 *
 * Bytes go as they are; towards the agent those of a TCP rule pass the inbound set (REQ-2.5), those
 * of a pass-through are sealed by a TLS the gateway does not hold. The address is the gateway's own
 * resolution of the name, checked when it is dialled; the original destination only where no name
 * is known.
 */
#include "gateway/flow/flow_internal.h"

#include <stdlib.h>

struct flow_tunnel {
	struct flow *f;			/* borrowed: the owner */
	struct upstream *up;
	struct rewrite_stream down;
	const char *rule;		/* the policy's */
	bool redact;
	bool agent_done, upstream_done;
	uint64_t bytes_up, bytes_down, redactions;
	struct upstream_facts facts;
	enum err why;
};

static const struct upstream_ops tunnel_upstream_ops;

static enum err down_emit(void *owner, struct bytes out)
{
	struct flow_tunnel *t = owner;

	t->bytes_down += out.n;
	return leg_write(&t->f->leg, out);
}

static enum rewrite_verdict down_match(void *owner, uint32_t id, uint64_t offset,
				       struct bytes *replacement)
{
	struct flow_tunnel *t = owner;

	(void)id;
	(void)offset;
	t->redactions++;
	observe_add(t->f->server->env.exchange.counters, OBSERVE_redactions_total, 1);
	*replacement = EXCHANGE_REDACTED;
	return REWRITE_REPLACE;
}

static const struct rewrite_ops down_ops = { .emit = down_emit, .match = down_match };

void flow_tunnel_begin(struct flow *f, const struct policy_verdict *v)
{
	const struct exchange_env *env = &f->server->env.exchange;
	struct flow_tunnel *t = calloc(1, sizeof(*t));
	struct upstream_target target = {
		.port = f->facts.original.port,
		.raw = true,
		.agent = f->facts.agent,
		.fallback = f->facts.original,
	};

	flow_move(f, FLOW_TUNNEL);
	f->tunnel = t;
	if (!t) {
		flow_refuse(f, ERR_NOMEM, v->rule);
		return;
	}
	t->f = f;
	t->rule = v->rule;
	t->redact = v->action == POLICY_TCP;
	t->facts = (struct upstream_facts){ .resolve_us = -1, .connect_us = -1, .tls_us = -1 };
	snprintf(target.host, sizeof(target.host), "%s", f->facts.host);
	rewrite_stream_init(&t->down, env->inbound, &down_ops, t);
	t->up = upstream_open(env->pool, &target, UPSTREAM_FRESH, &tunnel_upstream_ops, t);
	if (!t->up) {
		t->why = ERR_NOMEM;
		flow_reset(f);
		return;
	}
	net_timer_stop(&f->timer);
	leg_pause(&f->leg);	/* until there is somewhere to send to */
}

static void tunnel_audit(struct flow_tunnel *t, enum err why)
{
	struct flow *f = t->f;
	const struct exchange_env *env = &f->server->env.exchange;
	struct observe_event ev = OBSERVE_EVENT_INIT("tunnel");

	ev.flow = f->facts.id;
	ev.agent = bytes_str(policy_agent_name(env->policy, f->facts.agent));
	ev.host = bytes_str(f->facts.host);
	ev.address = t->facts.address.family ? &t->facts.address : &f->facts.original;
	ev.port = f->facts.original.port;
	ev.protocol = t->redact ? "tcp" : "passthrough";
	ev.bytes_up = (int64_t)t->bytes_up;
	ev.bytes_down = (int64_t)t->bytes_down;
	ev.redactions = (int64_t)t->redactions;
	ev.decision = why == ERR_OK ? "allow" :
		      err_class(why) == ERR_CLASS_POLICY ? "deny" : "error";
	ev.reason = why == ERR_OK ? NULL : err_name(why);
	ev.rule = t->rule;
	ev.duration_us = (int64_t)(time_mono_us() - f->accepted_us);
	ev.phases_us[OBSERVE_PEEK] = f->facts.peek_us;
	ev.phases_us[OBSERVE_RESOLVE] = t->facts.resolve_us;
	ev.phases_us[OBSERVE_CONNECT] = t->facts.connect_us;
	env->audit(env->audit_owner, &ev);
}

void flow_tunnel_end(struct flow *f, enum err why)
{
	struct flow_tunnel *t = f->tunnel;

	if (!t)
		return;
	f->tunnel = NULL;
	if (t->up) {
		t->facts = *upstream_facts(t->up);
		upstream_close(t->up);
	}
	if (t->why == ERR_OK && !(t->agent_done && t->upstream_done))
		t->why = why;
	tunnel_audit(t, t->why);
	rewrite_stream_release(&t->down);
	free(t);
}

/* ---- the agent's side ---- */

size_t flow_tunnel_data(struct flow *f, struct bytes in)
{
	struct flow_tunnel *t = f->tunnel;

	if (!t || !t->up)
		return in.n;
	if (!upstream_is_ready(t->up))
		return 0;
	if (upstream_send_body(t->up, in) != ERR_OK) {
		flow_reset(f);
		return in.n;
	}
	t->bytes_up += in.n;
	upstream_flush(t->up);
	if (upstream_full(t->up))
		leg_pause(&f->leg);
	net_timer_start(&f->timer, f->server->env.idle_ms);
	return in.n;
}

static void tunnel_maybe_done(struct flow_tunnel *t)
{
	if (t->agent_done && t->upstream_done)
		flow_close(t->f);
}

void flow_tunnel_eof(struct flow *f)
{
	struct flow_tunnel *t = f->tunnel;

	if (!t || !t->up)
		return;
	t->agent_done = true;
	if (upstream_send_end(t->up, NULL) != ERR_OK)
		flow_reset(f);
	else
		tunnel_maybe_done(t);
}

void flow_tunnel_room(struct flow *f)
{
	if (f->tunnel && f->tunnel->up)
		upstream_pause(f->tunnel->up, false);
}

/* ---- the upstream's side ---- */

static void tunnel_on_ready(void *owner)
{
	struct flow_tunnel *t = owner;

	leg_resume(&t->f->leg);
	net_timer_start(&t->f->timer, t->f->server->env.idle_ms);
}

static void tunnel_on_body(void *owner, struct bytes data)
{
	struct flow_tunnel *t = owner;
	struct flow *f = t->f;
	enum err e = t->redact ? rewrite_feed(&t->down, data) : down_emit(t, data);

	if (e != ERR_OK) {
		flow_reset(f);
		return;
	}
	if (leg_full(&f->leg))
		upstream_pause(t->up, true);
	net_timer_start(&f->timer, f->server->env.idle_ms);
}

static void tunnel_on_batch(void *owner)
{
	struct flow_tunnel *t = owner;

	if (leg_flush(&t->f->leg) != ERR_OK)
		flow_reset(t->f);
}

static void tunnel_on_end(void *owner, const struct http_fields *trailers)
{
	struct flow_tunnel *t = owner;

	(void)trailers;
	if (t->redact && rewrite_end(&t->down) != ERR_OK) {
		flow_reset(t->f);
		return;
	}
	t->upstream_done = true;
	leg_shutdown(&t->f->leg);
	tunnel_maybe_done(t);
}

static void tunnel_on_room(void *owner)
{
	struct flow_tunnel *t = owner;

	leg_resume(&t->f->leg);
}

static void tunnel_on_error(void *owner, enum err e)
{
	struct flow_tunnel *t = owner;

	t->why = e;
	flow_reset(t->f);
}

static const struct upstream_ops tunnel_upstream_ops = {
	.on_ready = tunnel_on_ready,
	.on_body = tunnel_on_body,
	.on_end = tunnel_on_end,
	.on_batch = tunnel_on_batch,
	.on_room = tunnel_on_room,
	.on_error = tunnel_on_error,
};
