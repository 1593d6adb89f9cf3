/*
 * rig.c - a worker's data path without the worker: agents let in, loop turned, all torn down
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "tests/lib/rig.h"

#define QUIET_TURNS 8 /* of nothing: all is done that needs no time */
#define PATIENCE_US 10000000 /* for what needs time */

/* ---- agents ---- */

struct rig_peer *rig_agent_at(struct rig *r, const char *peer, const struct addr *original)
{
	struct rig_peer *p = &r->agents[r->n_agents];
	struct addr from;
	int fds[2];

	RIG_NEED(r->n_agents < RIG_AGENTS && addr_parse_ip(&from, bytes_str(peer)));
	RIG_NEED(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) == 0);
	from.port = (uint16_t)(40000 + r->n_agents);
	rig_peer_open(p, r, fds[0]);
	p->index = r->n_agents++;
	if (r->spec.enter)
		r->spec.enter();
	flow_server_accept(r->flows, fds[1], &from, original);
	if (r->spec.leave)
		r->spec.leave();
	r->moved = true;
	return p;
}

static const char *source_of(unsigned agent)
{
	return agent == 0 ? "10.9.0.7" : agent == 1 ? "10.9.1.7" : "10.9.2.7";
}

struct rig_peer *rig_agent(struct rig *r, unsigned agent)
{
	struct rig_peer *p = rig_agent_at(r, source_of(agent), &r->up.at);

	if (r->spec.tls)
		rig_agent_tls(p, "api.test");
	return p;
}

struct rig_peer *rig_agent_raw(struct rig *r, unsigned agent)
{
	return rig_agent_at(r, source_of(agent), &r->raw.at);
}

void rig_agent_tls(struct rig_peer *p, const char *host)
{
	p->tls = tls_engine_new_client(p->rig->agent_trust, host, 443, "http/1.1", &p->wire);
	RIG_NEED(p->tls);
}

/* ---- turning ---- */

/* The minter's part. */
static void mint_move(struct rig *r)
{
	struct buf der;

	if (!r->to_mint[0])
		return;
	buf_init(&der, TLS_CERT_MAX);
	RIG_NEED(tls_minter_sign(r->minter, r->to_mint, tls_server_pubkey(r->tls_server), 3600,
				 &der) == ERR_OK);
	if (r->spec.enter)
		r->spec.enter();
	tls_leaf_cache_put(r->leaves, r->to_mint, buf_bytes(&der));
	flow_server_minted(r->flows, r->to_mint, ERR_OK);
	if (r->spec.leave)
		r->spec.leave();
	buf_release(&der);
	r->to_mint[0] = '\0';
	r->moved = true;
}

void rig_turn(struct rig *r)
{
	r->moved = false;
	r->turns++;
	if (r->spec.enter)
		r->spec.enter();
	uv_run(&r->uv, UV_RUN_NOWAIT);
	if (r->spec.leave)
		r->spec.leave();
	mint_move(r);
	rig_upstream_move(&r->up, r);
	rig_upstream_move(&r->raw, r);
	for (size_t i = 0; i < r->n_agents; i++)
		rig_peer_move(&r->agents[i]);
	r->quiet = r->moved ? 0 : r->quiet + 1;
}

void rig_settle(struct rig *r)
{
	r->quiet = 0;
	while (r->quiet < QUIET_TURNS)
		rig_turn(r);
}

bool rig_until(struct rig *r, bool (*cond)(struct rig *r))
{
	uint64_t end = time_mono_us() + PATIENCE_US;

	r->quiet = 0;
	while (!cond(r)) {
		rig_turn(r);
		if (r->quiet <= QUIET_TURNS)
			continue;
		if (time_mono_us() > end)
			return false;
		usleep(1000);
	}
	return true;
}

uint64_t rig_counter(const struct rig *r, enum observe_counter c)
{
	return atomic_load(&r->slot.v[c]);
}

const struct rig_event *rig_event(const struct rig *r, const char *event, size_t nth)
{
	for (size_t i = 0; i < r->n_events; i++)
		if (strcmp(r->events[i].event, event) == 0 && nth-- == 0)
			return &r->events[i];
	return NULL;
}

size_t rig_count_events(const struct rig *r, const char *event)
{
	size_t n = 0;

	while (rig_event(r, event, n))
		n++;
	return n;
}

/* ---- tearing down ---- */

static bool all_gone(struct rig *r)
{
	return flow_server_count(r->flows) == 0 && rig_counter(r, OBSERVE_flows_open) == 0 &&
	       rig_counter(r, OBSERVE_exchanges_open) == 0 &&
	       rig_counter(r, OBSERVE_upstream_connections_open) == 0;
}

static void forget_peers(struct rig *r)
{
	struct rig_upstream *ups[] = { &r->up, &r->raw };

	for (size_t i = 0; i < r->n_agents; i++)
		rig_peer_release(&r->agents[i]);
	for (size_t u = 0; u < 2; u++) {
		for (size_t i = 0; i < ups[u]->n_conns; i++)
			rig_peer_release(&ups[u]->conns[i]);
		ups[u]->n_conns = ups[u]->served = 0;
	}
	r->n_agents = 0;
}

static void hang_up(struct rig *r)
{
	struct rig_upstream *ups[] = { &r->up, &r->raw };

	for (size_t i = 0; i < r->n_agents; i++)
		rig_end(&r->agents[i], RIG_CLOSE);
	for (size_t u = 0; u < 2; u++)
		for (size_t i = 0; i < ups[u]->n_conns; i++)
			rig_end(&ups[u]->conns[i], RIG_CLOSE);
}

bool rig_let_go(struct rig *r)
{
	bool gone;

	hang_up(r);
	/* What is still on its way to the upstream is taken there and hung up in its turn. */
	do {
		rig_settle(r);
		hang_up(r);
	} while (r->moved);
	gone = rig_until(r, all_gone);
	return gone;
}

bool rig_reset(struct rig *r)
{
	bool gone = rig_let_go(r);

	forget_peers(r);
	r->n_events = 0;
	return gone;
}

bool rig_close(struct rig *r)
{
	bool gone = rig_reset(r);

	upstream_pool_free(r->pool);
	upstream_resolver_free(r->resolver);
	if (gone)
		flow_server_free(r->flows);
	leg_pool_close(&r->legs);
	net_loop_close(&r->net, NULL, NULL);
	for (int i = 0; i < 100; i++)
		uv_run(&r->uv, UV_RUN_NOWAIT);
	gone &= uv_loop_close(&r->uv) == 0;
	tls_leaf_cache_free(r->leaves);
	tls_server_free(r->tls_server);
	tls_server_free(r->upstream_tls);
	tls_client_free(r->tls_client);
	tls_client_free(r->agent_trust);
	tls_minter_free(r->minter);
	policy_free(r->policy);
	rewrite_blob_free(r->out_blob, r->out_size);
	rewrite_blob_free(r->in_blob, r->in_size);
	buf_release(&r->store_bytes);
	rig_upstream_stop(&r->up);
	rig_upstream_stop(&r->raw);
	return gone;
}
