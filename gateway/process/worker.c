/*
 * worker.c - one worker: set up, locked in, serving, drained
 *
 * Set up: job, area, page and buckets are mapped -> root is given up -> policy, trust, TLS,
 * resolver, pool and loop are built -> sandbox -> READY. Then the master sends the minter's socket
 * and, last, the listeners.
 * Drain: no more is accepted, idle flows close, busy ones finish; at limits.drain what is left is
 * cut. Ends with status 0. The end of the channel means that the master died: exit at once.
 */
#include "gateway/process/worker_internal.h"

#include <malloc.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "gateway/process/process.h"

#define LEAVES_MAX 4096
#define IDLE_PER_TARGET 128	/* warm connections to one target: as many as are used at once */
#define IDLE_TOTAL 512
#define RESOLVE_TRY_MS 2000
#define DRAIN_ABORT_MS 1000		/* from cutting the last flows to ending without them */

/* ---- set-up ---------------------------------------------------------------------------------- */

/* The text that the master has found right; so is what comes of it here. */
static struct config *worker_config(const struct job *job)
{
	struct bytes name = job_section(job, JOB_CONFIG_NAME);
	struct config_error *problems = calloc(1, sizeof(*problems));
	struct config *cfg = NULL;
	char file[4096];

	if (problems && bytes_to_str(name, file, sizeof(file)))
		cfg = config_parse(job_section(job, JOB_CONFIG), file, problems);
	free(problems);
	return cfg;
}

static enum err worker_map(struct worker *w, struct job *job)
{
	const struct area_head *head;
	struct bytes store, outbound, inbound;

	TRY(job_open(job, PROCESS_FD_JOB));
	w->cfg = worker_config(job);
	w->page = shared_open(PROCESS_FD_PAGE, observe_page_size(job->head->page_slots));
	if (!w->cfg || !w->page || w->slot >= job->head->page_slots)
		return ERR_INTERNAL;
	w->counters = &w->page->slots[w->slot];
	w->buckets = shared_open(PROCESS_FD_BUCKETS, (w->cfg->n_agents + 1) * sizeof(*w->buckets));
	TRY(secret_area_map(&w->area, PROCESS_FD_SECRETS, 0));
	head = area_head(&w->area);
	if (!head || !w->buckets)
		return ERR_INTERNAL;
	store = area_part(&w->area, &head->store);
	outbound = area_part(&w->area, &head->outbound);
	inbound = area_part(&w->area, &head->inbound);
	w->secrets = secret_store_open(store.p, store.n);
	w->outbound = rewrite_set_open(outbound.p, outbound.n);
	w->inbound = rewrite_set_open(inbound.p, inbound.n);
	return w->secrets && w->outbound && w->inbound ? ERR_OK : ERR_INTERNAL;
}

static enum err worker_make_policy(struct worker *w, const struct job *job)
{
	struct bytes own = job_section(job, JOB_OWN_ADDRESSES);

	w->policy = settings_policy(w->cfg, (const struct addr *)(const void *)own.p,
				    own.n / sizeof(struct addr));
	return w->policy ? ERR_OK : ERR_INTERNAL;
}

static enum err worker_make_tls(struct worker *w, const struct job *job)
{
	struct tls_ticket_secret ticket = area_head(&w->area)->ticket;
	enum err e = ERR_OK;

	TRY(tls_global_init());
	w->tls_client = tls_client_new(job_section(job, JOB_TRUST), &e);
	if (w->tls_client)
		w->tls_server = tls_server_new(job_section(job, JOB_CA_CHAIN), &ticket, &e);
	explicit_bzero(&ticket, sizeof(ticket));
	if (!w->tls_server)
		return e == ERR_OK ? ERR_INTERNAL : e;
	w->leaves = tls_leaf_cache_new(w->tls_server, LEAVES_MAX);
	return w->leaves ? ERR_OK : ERR_NOMEM;
}

static enum err worker_make_loop(struct worker *w)
{
	if (uv_loop_init(&w->uv) != 0 || uv_timer_init(&w->uv, &w->drain_timer) != 0)
		return ERR_INTERNAL;
	TRY(net_loop_init(&w->net, &w->uv));
	TRY(leg_pool_init(&w->legs, &w->net));
	return worker_audit_init(w);
}

static enum err worker_make_upstream(struct worker *w, const struct job *job)
{
	const struct config_gateway *g = &w->cfg->gateway;
	struct upstream_resolver_spec resolver = { .loop = &w->net, .timeout_ms = RESOLVE_TRY_MS };
	char *servers = bytes_dup_str(job_section(job, JOB_DNS_SERVERS));
	struct upstream_pool_spec pool = {
		.legs = &w->legs,
		.tls = w->tls_client,
		.counters = w->counters,
		.policy = w->policy,
		.connect_ms = (unsigned)g->limits.connect_ms,
		.idle_ms = (unsigned)g->limits.idle_ms,
		.idle_per_key = IDLE_PER_TARGET,
		.idle_total = IDLE_TOTAL,
		.header_bytes = g->limits.header_bytes,
	};

	buf_init(&w->hosts, 2u << 20);
	if (!servers || buf_append(&w->hosts, job_section(job, JOB_HOSTS)) != ERR_OK) {
		free(servers);
		return ERR_NOMEM;
	}
	resolver.servers = servers;
	resolver.hosts = buf_bytes(&w->hosts);
	w->resolver = upstream_resolver_new(&resolver);
	free(servers);
	if (!w->resolver)
		return ERR_INTERNAL;
	pool.resolver = w->resolver;
	w->pool = upstream_pool_new(&pool);
	return w->pool ? ERR_OK : ERR_NOMEM;
}

static enum err worker_mint(void *owner, const char *host)
{
	return mint_client_ask(owner, host);
}

static void worker_on_minted(void *owner, const char *host, enum err e, struct bytes cert)
{
	struct worker *w = owner;

	if (e == ERR_OK) {
		observe_add(w->counters, OBSERVE_leaves_minted_total, 1);
		tls_leaf_cache_put(w->leaves, host, cert);
	} else {
		LOG_EVENT(LOG_LEVEL_WARN, "mint.failed", KV("host", host), KV("why", err_text(e)));
	}
	flow_server_minted(w->flows, host, e);
}

static enum err worker_make_flows(struct worker *w)
{
	const struct config_gateway *g = &w->cfg->gateway;
	struct flow_env env = {
		.exchange = {
			.loop = &w->net,
			.policy = w->policy,
			.secrets = w->secrets,
			.outbound = w->outbound,
			.inbound = w->inbound,
			.pool = w->pool,
			.counters = w->counters,
			.buckets = w->buckets,
			.audit = worker_audit_add,
			.audit_owner = w,
			.first_byte_ms = (unsigned)g->limits.first_byte_ms,
			.idle_ms = (unsigned)g->limits.idle_ms,
		},
		.legs = &w->legs,
		.tls = w->tls_server,
		.leaves = w->leaves,
		.mint = worker_mint,
		.mint_owner = &w->mint,
		.flows_max = g->limits.flows,
		.header_bytes = g->limits.header_bytes,
		.head_ms = (unsigned)g->limits.head_ms,
		.idle_ms = (unsigned)g->limits.idle_ms,
	};

	w->dns_tcp = dns_server_open(&w->uv, NULL, 0, &worker_dns_ops, w);
	env.dns = w->dns_tcp;
	w->flows = w->dns_tcp ? flow_server_new(&env) : NULL;
	w->mint.pubkey = tls_server_pubkey(w->tls_server);
	w->mint.done = worker_on_minted;
	w->mint.owner = w;
	TRY(mint_client_init(&w->mint, &w->uv));
	return w->flows ? ERR_OK : ERR_NOMEM;
}

/* ---- serving --------------------------------------------------------------------------------- */

static void worker_on_accept(void *owner, int fd, const struct addr *local, const struct addr *peer)
{
	struct worker *w = owner;

	flow_server_accept(w->flows, fd, peer, local);
}

static void worker_on_shed(void *owner, const struct addr *peer)
{
	struct worker *w = owner;

	flow_server_shed(w->flows, peer);
}

static const struct net_acceptor_ops acceptor_ops = {
	.on_accept = worker_on_accept,
	.on_shed = worker_on_shed,
};

static enum err worker_serve(struct worker *w, const int fds[CHANNEL_FDS_MAX])
{
	struct dns_sockets dns[2];
	size_t n_dns = 0;

	for (int i = 0; i < 2; i++) {
		const int *f = fds + i * 3;

		if (f[0] < 0)
			continue;
		TRY(net_acceptor_open(&w->acceptors[w->n_acceptors], &w->net, f[0], &acceptor_ops,
				      w));
		w->n_acceptors++;
		if (f[1] >= 0 && f[2] >= 0)
			dns[n_dns++] = (struct dns_sockets){ i ? AF_INET6 : AF_INET, f[1], f[2] };
	}
	w->dns_udp = dns_server_open(&w->uv, dns, n_dns, &worker_dns_ops, w);
	w->serving = true;
	return w->dns_udp ? ERR_OK : ERR_IO;
}

/*
 * The last flow is gone: everything is closed in the order it depends on, the loop runs until
 * nothing is left in it, and what held keys is freed (which wipes it).
 */
static void worker_close(struct worker *w)
{
	uv_close((uv_handle_t *)&w->drain_timer, NULL);
	uv_close((uv_handle_t *)&w->channel, NULL);
	mint_client_close(&w->mint);
	upstream_pool_free(w->pool);
	upstream_resolver_free(w->resolver);
	dns_server_close(w->dns_tcp, NULL);
}

static void worker_free(struct worker *w)
{
	worker_audit_finish(w);
	uv_run(&w->uv, UV_RUN_DEFAULT);
	flow_server_free(w->flows);
	leg_pool_close(&w->legs);
	net_loop_close(&w->net, NULL, NULL);
	uv_run(&w->uv, UV_RUN_DEFAULT);
	(void)uv_loop_close(&w->uv);
	observe_batch_release(&w->audit);
	tls_leaf_cache_free(w->leaves);
	tls_server_free(w->tls_server);
	tls_client_free(w->tls_client);
	tls_global_cleanup();
	policy_free(w->policy);
	config_free(w->cfg);
	buf_release(&w->hosts);
	secret_area_close(&w->area);
	free(w);
}

static void worker_finish(struct worker *w)
{
	if (w->finishing)
		return;
	w->finishing = true;
	worker_close(w);
	uv_stop(&w->uv);
}

static void drain_on_timer(uv_timer_t *timer)
{
	struct worker *w = container_of(timer, struct worker, drain_timer);
	uint64_t now = uv_now(&w->uv);

	if (flow_server_count(w->flows) == 0) {
		worker_finish(w);
	} else if (now >= w->drain_until_ms + DRAIN_ABORT_MS) {
		worker_audit_finish(w);
		_exit(0);
	} else if (now >= w->drain_until_ms) {
		flow_server_abort(w->flows);
	}
}

static void worker_drain(struct worker *w)
{
	if (w->draining)
		return;
	w->draining = true;
	for (size_t i = 0; i < w->n_acceptors; i++)
		net_acceptor_close(&w->acceptors[i]);
	if (w->dns_udp)
		dns_server_close(w->dns_udp, NULL);
	w->dns_udp = NULL;
	flow_server_drain(w->flows);
	w->drain_until_ms = uv_now(&w->uv) + w->cfg->gateway.limits.drain_ms;
	uv_timer_start(&w->drain_timer, drain_on_timer, 20, 50);
}

/* Descriptors in the order of the mask's bits. */
static bool unpack_listeners(const struct channel_message *msg, int fds[CHANNEL_FDS_MAX])
{
	size_t n = 0;

	if (msg->body.n != 1)
		return false;
	for (int i = 0; i < CHANNEL_FDS_MAX; i++) {
		fds[i] = -1;
		if (!(msg->body.p[0] >> i & 1))
			continue;
		if (n == msg->n_fds)
			return false;
		fds[i] = msg->fds[n++];
	}
	return n == msg->n_fds;
}

static enum err worker_command(struct worker *w, struct channel_message *msg)
{
	int fds[CHANNEL_FDS_MAX];

	switch (msg->type) {
	case CHANNEL_MINTER:
		if (msg->n_fds != 1)
			return ERR_BAD_VALUE;
		mint_client_connect(&w->mint, msg->fds[0]);
		return ERR_OK;
	case CHANNEL_SERVE:
		if (w->serving || !unpack_listeners(msg, fds))
			return ERR_BAD_VALUE;
		return worker_serve(w, fds);
	case CHANNEL_DRAIN:
		worker_drain(w);
		return ERR_OK;
	case CHANNEL_PING: /* a full channel answers as well: the master has something to read */
		(void)!channel_send(PROCESS_FD_CHANNEL,
				    &(struct channel_message){ .type = CHANNEL_PING });
		return ERR_OK;
	default:
		return ERR_BAD_VALUE;
	}
}

static void channel_on_event(uv_poll_t *poll, int status, int events)
{
	struct worker *w = container_of(poll, struct worker, channel);

	(void)events;
	for (int i = 0; i < 16; i++) {
		struct channel_message msg;
		uint8_t buffer[64];
		enum err e = channel_receive(PROCESS_FD_CHANNEL, buffer, sizeof(buffer), &msg);

		if (e == ERR_AGAIN && status == 0)
			return;
		/* The master is gone, or not itself: nothing is served without it. */
		if (e != ERR_OK || worker_command(w, &msg) != ERR_OK)
			_exit(1);
	}
}

static enum err worker_set_up(struct worker *w)
{
	struct channel_message ready = { .type = CHANNEL_READY };
	struct job job;

	TRY(worker_map(w, &job));
	TRY(sandbox_drop(PROCESS_WORKER, job.head->uid, job.head->gid));
	TRY(worker_make_policy(w, &job));
	TRY(worker_make_tls(w, &job));
	TRY(worker_make_loop(w));
	TRY(worker_make_upstream(w, &job));
	TRY(worker_make_flows(w));
	job_close(&job);
	if (uv_poll_init(&w->uv, &w->channel, PROCESS_FD_CHANNEL) != 0 ||
	    uv_poll_start(&w->channel, UV_READABLE, channel_on_event) != 0)
		return ERR_INTERNAL;
	malloc_trim(0);
	TRY(sandbox_lock(PROCESS_WORKER));
	return channel_send(PROCESS_FD_CHANNEL, &ready);
}

int process_worker_run(unsigned slot)
{
	struct worker *w = calloc(1, sizeof(*w));
	enum err e;

	sandbox_begin(PROCESS_WORKER);
	if (!w)
		return 1;
	w->slot = slot;
	w->area = SECRET_AREA_NONE;
	e = worker_set_up(w);
	if (e != ERR_OK) {
		LOG_EVENT(LOG_LEVEL_ERROR, "worker.set_up_failed", KV("why", err_text(e)));
		exit(1);	/* half-built: the kernel takes all of it back */
	}
	uv_run(&w->uv, UV_RUN_DEFAULT);
	worker_free(w);
	return 0;
}
