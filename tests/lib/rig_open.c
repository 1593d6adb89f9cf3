/*
 * rig_open.c - what a worker is handed at its start, made up: policy, secrets, authority, pool,
 * flows
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "tests/lib/rig.h"

#define VECTORS "tests/vectors/tls/"
#define LONG_MS 60000

static struct buf read_file(const char *path)
{
	char chunk[4096];
	struct buf b;
	size_t n;
	FILE *f = fopen(path, "r");

	RIG_NEED(f);
	buf_init(&b, 1 << 20);
	while ((n = fread(chunk, 1, sizeof(chunk), f)) > 0)
		RIG_NEED(buf_append(&b, bytes_of(chunk, n)) == ERR_OK);
	(void)fclose(f);
	return b;
}

static void open_policy(struct rig *r)
{
	static const char *const allowed[] = { "api.test", "other.test", "127.0.0.1" };
	static const char *const pinned[] = { "pinned.test" }, *const denied[] = { "/denied/**" };
	static const char *const denied_at[] = { "other.test" };
	struct cidr coder, guest, loopback;
	const struct policy_ports raw_port = { r->raw.at.port, r->raw.at.port };
	const struct policy_agent_spec agents[] = {
		{ .name = "coder", .sources = &coder, .n_sources = 1 },
		{ .name = "guest", .sources = &guest, .n_sources = 1 },
		{ .name = "slow",
		  .sources = &(struct cidr){ AF_INET, 24, { 10, 9, 2, 0 } },
		  .n_sources = 1,
		  .rate = { .requests = 1, .per_s = 3600, .burst = 1 } },
	};
	const struct policy_rule_spec rules[] = {
		{ .action = POLICY_TCP,
		  .name = "raw",
		  .addresses = &loopback,
		  .n_addresses = 1,
		  .ports = &raw_port,
		  .n_ports = 1 },
		{ .action = POLICY_DENY,
		  .name = "no",
		  .hosts = { denied_at, 1 },
		  .paths = { denied, 1 } },
		{ .action = POLICY_PASSTHROUGH, .name = "pinned", .hosts = { pinned, 1 } },
		{ .action = POLICY_ALLOW, .name = "yes", .hosts = { allowed, 3 } },
	};
	const struct policy_spec spec = {
		.agents = agents,
		.n_agents = ARRAY_SIZE(agents),
		.rules = rules,
		.n_rules = ARRAY_SIZE(rules),
		.allow_special = &loopback,
		.n_allow_special = 1,
	};

	RIG_NEED(cidr_parse(&coder, BYTES_LIT("10.9.0.0/24")) &&
		 cidr_parse(&guest, BYTES_LIT("10.9.1.0/24")));
	RIG_NEED(cidr_parse(&loopback, BYTES_LIT("127.0.0.0/8")));
	r->policy = policy_new(&spec);
	RIG_NEED(r->policy);
}

struct pattern_list {
	struct rewrite_pattern v[256];
	size_t n;
	struct secret_id id;
};

static enum err pattern_add(void *owner, enum rewrite_form form, struct bytes text)
{
	struct pattern_list *l = owner;
	uint8_t *copy = malloc(text.n);

	RIG_NEED(copy && l->n < ARRAY_SIZE(l->v));
	memcpy(copy, text.p, text.n);
	l->id.form = (unsigned)form;
	l->v[l->n++] = (struct rewrite_pattern){ bytes_of(copy, text.n), secret_id_encode(l->id) };
	return ERR_OK;
}

/* As the master spells them: real values first, then (outbound only) dummies. */
static void open_set(const struct secret_spec *s, size_t n, bool dummies, void **blob, size_t *size)
{
	struct pattern_list l = { .n = 0 };

	for (unsigned i = 0; i < n; i++) {
		l.id = (struct secret_id){ .index = i, .real = true };
		RIG_NEED(rewrite_forms(s[i].real, pattern_add, &l) == ERR_OK);
	}
	for (unsigned i = 0; dummies && i < n; i++) {
		l.id = (struct secret_id){ .index = i };
		RIG_NEED(rewrite_forms(s[i].dummy, pattern_add, &l) == ERR_OK);
	}
	RIG_NEED(rewrite_set_build(l.v, l.n, blob, size) == ERR_OK);
	for (size_t i = 0; i < l.n; i++)
		free((void *)(uintptr_t)l.v[i].text.p);
}

static void open_secrets(struct rig *r)
{
	static const char *const api[] = { "api.test" }, *const other[] = { "other.test" };
	const unsigned all = SECRET_HEADER | SECRET_QUERY | SECRET_PATH | SECRET_BODY;
	const struct secret_spec s[] = {
		{ .name = BYTES_LIT("one"),
		  .dummy = BYTES_LIT(RIG_DUMMY),
		  .real = BYTES_LIT(RIG_REAL),
		  .hosts = api,
		  .n_hosts = 1,
		  .surfaces = all,
		  .plaintext = true },
		{ .name = BYTES_LIT("same"),
		  .dummy = BYTES_LIT(RIG_DUMMY_SAME),
		  .real = BYTES_LIT(RIG_REAL_SAME),
		  .hosts = api,
		  .n_hosts = 1,
		  .surfaces = all,
		  .plaintext = true },
		{ .name = BYTES_LIT("other"),
		  .dummy = BYTES_LIT(RIG_DUMMY_OTHER),
		  .real = BYTES_LIT(RIG_REAL_OTHER),
		  .hosts = other,
		  .n_hosts = 1,
		  .surfaces = all,
		  .plaintext = true },
		{ .name = BYTES_LIT("tls"),
		  .dummy = BYTES_LIT(RIG_DUMMY_TLS),
		  .real = BYTES_LIT(RIG_REAL_TLS),
		  .hosts = api,
		  .n_hosts = 1,
		  .surfaces = SECRET_HEADER },
	};

	buf_init_secret(&r->store_bytes, 1 << 20);
	RIG_NEED(secret_store_build(s, ARRAY_SIZE(s), &r->store_bytes) == ERR_OK);
	r->store = secret_store_open(buf_bytes(&r->store_bytes).p, buf_len(&r->store_bytes));
	RIG_NEED(r->store);
	open_set(s, ARRAY_SIZE(s), true, &r->out_blob, &r->out_size);
	open_set(s, ARRAY_SIZE(s), false, &r->in_blob, &r->in_size);
}

/* One authority for both sides: the gateway's leaves and the upstream's certificates. */
static void open_tls(struct rig *r)
{
	struct buf root = read_file(VECTORS "root.crt"), cert = read_file(VECTORS "inter.crt");
	struct buf key = read_file(VECTORS "inter.key");
	struct tls_ticket_secret t;
	const char *why;
	enum err e;

	RIG_NEED(tls_global_init() == ERR_OK);
	RIG_NEED(tls_ticket_secret_make(&t, (uint64_t)time(NULL)) == ERR_OK);
	r->minter = tls_minter_new(buf_bytes(&cert), buf_bytes(&key), &why);
	r->tls_client = tls_client_new(buf_bytes(&root), &e);
	r->agent_trust = tls_client_new(buf_bytes(&root), &e);
	r->tls_server = tls_server_new(buf_bytes(&cert), &t, &e);
	r->upstream_tls = tls_server_new(buf_bytes(&cert), &t, &e);
	RIG_NEED(r->minter && r->tls_client && r->agent_trust && r->tls_server && r->upstream_tls);
	r->leaves = tls_leaf_cache_new(r->tls_server, 16);
	RIG_NEED(r->leaves);
	buf_release(&root);
	buf_release(&cert);
	buf_release(&key);
}

static unsigned or_long(unsigned ms)
{
	return ms ? ms : LONG_MS;
}

static size_t or_many(size_t n)
{
	return n ? n : RIG_CONNS;
}

static void open_upstream(struct rig *r)
{
	static const char hosts[] = "127.0.0.1 api.test other.test pinned.test bad.test\n";
	const struct upstream_resolver_spec resolver = {
		.loop = &r->net,
		.servers = "127.0.0.1:1",
		.hosts = bytes_str(hosts),
		.timeout_ms = 100,
	};
	struct upstream_pool_spec pool = {
		.legs = &r->legs,
		.tls = r->tls_client,
		.counters = &r->slot,
		.policy = r->policy,
		.connect_ms = or_long(r->spec.connect_ms),
		.idle_ms = or_long(r->spec.warm_ms),
		.idle_per_key = or_many(r->spec.idle_per_key),
		.idle_total = or_many(r->spec.idle_total),
		.header_bytes = r->spec.header_bytes ? r->spec.header_bytes : 16384,
	};

	r->resolver = upstream_resolver_new(&resolver);
	RIG_NEED(r->resolver);
	pool.resolver = r->resolver;
	r->pool = upstream_pool_new(&pool);
	RIG_NEED(r->pool);
}

static void copy_text(char *dst, size_t cap, const char *src)
{
	(void)snprintf(dst, cap, "%s", src ? src : "");
}

static void copy_bytes(char *dst, size_t cap, struct bytes src)
{
	if (!bytes_to_str(bytes_first(src, cap - 1), dst, cap))
		dst[0] = '\0';
}

static void on_audit(void *owner, const struct observe_event *ev)
{
	struct rig *r = owner;
	struct rig_event *e = &r->events[r->n_events];

	RIG_NEED(r->n_events < RIG_EVENTS);
	r->n_events++;
	*e = (struct rig_event){ .status = ev->status,
				 .redactions = ev->redactions,
				 .bytes_up = ev->bytes_up,
				 .bytes_down = ev->bytes_down };
	copy_text(e->event, sizeof(e->event), ev->event);
	copy_text(e->decision, sizeof(e->decision), ev->decision);
	copy_text(e->reason, sizeof(e->reason), ev->reason);
	copy_text(e->rule, sizeof(e->rule), ev->rule);
	copy_bytes(e->host, sizeof(e->host), ev->host);
	copy_bytes(e->method, sizeof(e->method), ev->method);
	copy_bytes(e->path, sizeof(e->path), ev->path);
	for (size_t i = 0; i < ev->n_secrets; i++) {
		size_t n = strlen(e->secrets);

		(void)snprintf(e->secrets + n, sizeof(e->secrets) - n, "%s%s", i ? "," : "",
			       ev->secrets[i]);
	}
}

static enum err on_mint(void *owner, const char *host)
{
	struct rig *r = owner;

	copy_text(r->to_mint, sizeof(r->to_mint), host);
	return ERR_OK;
}

static void open_flows(struct rig *r)
{
	const struct flow_env env = {
		.exchange = {
			.loop = &r->net,
			.policy = r->policy,
			.secrets = r->store,
			.outbound = rewrite_set_open(r->out_blob, r->out_size),
			.inbound = rewrite_set_open(r->in_blob, r->in_size),
			.pool = r->pool,
			.counters = &r->slot,
			.buckets = r->buckets,
			.audit = on_audit,
			.audit_owner = r,
			.first_byte_ms = or_long(r->spec.first_byte_ms),
			.idle_ms = or_long(r->spec.idle_ms),
		},
		.legs = &r->legs,
		.tls = r->tls_server,
		.leaves = r->leaves,
		.mint = on_mint,
		.mint_owner = r,
		.flows_max = or_many(r->spec.flows_max),
		.header_bytes = r->spec.header_bytes ? r->spec.header_bytes : 16384,
		.head_ms = or_long(r->spec.head_ms),
		.idle_ms = or_long(r->spec.idle_ms),
	};

	RIG_NEED(env.exchange.outbound && env.exchange.inbound);
	r->flows = flow_server_new(&env);
	RIG_NEED(r->flows);
}

void rig_open(struct rig *r, const struct rig_spec *spec)
{
	memset(r, 0, sizeof(*r));
	if (spec)
		r->spec = *spec;
	log_init("rig", LOG_LEVEL_OFF);
	rig_upstream_open(&r->up, r);
	rig_upstream_open(&r->raw, r);
	r->up.tls = r->spec.tls;
	RIG_NEED(uv_loop_init(&r->uv) == 0 && net_loop_init(&r->net, &r->uv) == ERR_OK &&
		 leg_pool_init(&r->legs, &r->net) == ERR_OK);
	open_policy(r);
	open_secrets(r);
	open_tls(r);
	open_upstream(r);
	open_flows(r);
}
