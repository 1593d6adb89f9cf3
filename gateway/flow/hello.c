/*
 * hello.c - the first bytes: TLS or plain HTTP, for whom, and with which leaf
 *
 * Happy path: ClientHello -> SNI -> policy_connect() -> upstream dialled ahead while the leaf is
 * fetched or minted -> handshake. A denied host gets its leaf as well, so that the denial can be
 * said over TLS (design decision 3).
 */
#include "gateway/flow/flow_internal.h"

#include <time.h>

static void hello_start_tls(struct flow *f, struct tls_leaf *leaf)
{
	struct tls_engine *engine = tls_engine_new_server(f->server->env.tls, leaf, "http/1.1",
							  leg_out(&f->leg));
	enum err e;

	flow_move(f, FLOW_HANDSHAKE);
	if (!engine) {
		flow_refuse(f, ERR_NOMEM, NULL);
		return;
	}
	e = leg_start_tls(&f->leg, engine);
	if (e != ERR_OK)
		flow_refuse(f, e, NULL);
}

static void hello_on_leaf(struct tls_leaf_waiter *w, enum err e, struct tls_leaf *leaf)
{
	struct flow *f = container_of(w, struct flow, waiter);

	if (f->state != FLOW_LEAF)
		return;
	if (e != ERR_OK)
		flow_refuse(f, e, NULL);
	else
		hello_start_tls(f, leaf);
}

static void hello_get_leaf(struct flow *f)
{
	struct flow_env *env = &f->server->env;
	char ip[ADDR_TEXT_MAX];
	const char *host = f->facts.host[0] ? f->facts.host : addr_ip_text(&f->facts.original, ip);
	struct tls_leaf *leaf = NULL;
	bool mint = false;
	enum err e;

	flow_move(f, FLOW_LEAF);
	f->waiter.done = hello_on_leaf;
	e = tls_leaf_cache_get(env->leaves, host, (uint64_t)time(NULL), &f->waiter, &mint, &leaf);
	if (mint && env->mint(env->mint_owner, host) != ERR_OK)
		tls_leaf_cache_fail(env->leaves, host, ERR_MINT);
	if (e == ERR_OK) {
		observe_add(env->exchange.counters, OBSERVE_leaf_cache_hits_total, 1);
		hello_start_tls(f, leaf);
		tls_leaf_unref(leaf);
	} else if (e != ERR_AGAIN) {
		flow_refuse(f, e, NULL);
	}
}

/* The way to the upstream is begun while the agent's handshake goes on. */
static void hello_warm(struct flow *f)
{
	struct upstream_target t = {
		.port = f->facts.original.port,
		.tls = true,
		.agent = f->facts.agent,
		.fallback = f->facts.original,
	};
	char ip[ADDR_TEXT_MAX];

	snprintf(t.host, sizeof(t.host), "%s",
		 f->facts.host[0] ? f->facts.host : addr_ip_text(&f->facts.original, ip));
	upstream_pool_warm(f->server->env.exchange.pool, &t);
}

static void hello_take(struct flow *f, const struct tls_hello *hello)
{
	const struct addr *original = &f->facts.original;
	struct policy_verdict v;

	f->facts.tls = true;
	f->facts.peek_us = (int64_t)(time_mono_us() - f->accepted_us);
	if (hello->sni[0] && !policy_host_normalise(bytes_str(hello->sni), f->facts.host)) {
		flow_refuse(f, ERR_TLS_BAD_HELLO, NULL);
		return;
	}
	v = policy_connect(f->server->env.exchange.policy, f->facts.agent, f->facts.host, original,
			   original->port);
	if (v.action == POLICY_PASSTHROUGH || v.action == POLICY_TCP) {
		flow_tunnel_begin(f, &v);
		return;
	}
	if (v.action == POLICY_ALLOW)
		hello_warm(f);
	hello_get_leaf(f);
}

size_t flow_peek(struct flow *f, struct bytes in)
{
	struct tls_hello hello;
	enum err e;

	if (!tls_looks_like_tls(in)) {
		f->facts.peek_us = (int64_t)(time_mono_us() - f->accepted_us);
		flow_h1_begin(f);
		return flow_h1_data(f, in);
	}
	e = tls_peek_hello(in, &hello);
	if (e == ERR_OK)
		hello_take(f, &hello);
	else if (e != ERR_AGAIN)
		flow_refuse(f, e, NULL);
	if (f->state == FLOW_TUNNEL)
		return flow_tunnel_data(f, in);
	/* Nothing is used up: the engine reads the same bytes again. */
	return 0;
}

void flow_secured(struct flow *f)
{
	struct observe_slot *c = f->server->env.exchange.counters;

	observe_add(c, OBSERVE_tls_agent_handshakes_total, 1);
	if (tls_engine_resumed(f->leg.tls))
		observe_add(c, OBSERVE_tls_agent_resumed_total, 1);
	flow_h1_begin(f);
}

void flow_server_minted(struct flow_server *s, const char *host, enum err e)
{
	/* A certificate was put into the cache by the caller and has woken its waiters. */
	if (e != ERR_OK)
		tls_leaf_cache_fail(s->env.leaves, host, e);
}
