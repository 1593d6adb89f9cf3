/*
 * schema.c - every key there is: type, default, bounds, meaning
 *
 * The only place that knows the keys. decode.c reads by these tables, messages take their
 * "expected" from them, and the lint compares docs/configuration.md with config_schema_walk().
 */
#include "config/config_internal.h"

#define MAP_OF(table, target, ...)                                                                 \
	{                                                                                          \
		.keys = table, .n = ARRAY_SIZE(table), .size = sizeof(target), __VA_ARGS__         \
	}
#define AT(type, field) .offset = offsetof(struct type, field)

#define SECOND 1000
#define MINUTE (60 * SECOND)
#define HOUR (60 * MINUTE)
#define DAY (24 * HOUR)

static const char *const choices_mtls[] = { "off", "required", NULL };
static const char *const choices_type[] = { "static", "aws-sigv4", NULL };
static const char *const choices_surface[] = { "header", "query", "path", "body", NULL };
static const char *const choices_protocol[] = { "http", "tcp", NULL };
static const char *const choices_default[] = { "deny", "allow", "learn", NULL };

static const struct schema_key keys_tproxy[] = {
	{ "port", VALUE_PORT, AT(config_gateway, tproxy.port), "15001",
	  "where captured TCP arrives", 1, 65535 },
	{ "mark", VALUE_UINT, AT(config_gateway, tproxy.mark), "0x534c",
	  "packet mark of captured traffic", 1, UINT32_MAX },
	{ "table", VALUE_UINT, AT(config_gateway, tproxy.table), "0x534c",
	  "routing table that delivers captured traffic locally", 1, UINT32_MAX },
};
static const struct schema_map map_tproxy = MAP_OF(keys_tproxy, struct config_gateway);

static const struct schema_key keys_dns[] = {
	{ "port", VALUE_PORT, AT(config_gateway, dns.port), "15053",
	  "where captured DNS questions arrive", 1, 65535 },
	{ "upstream", VALUE_LIST, AT(config_gateway, dns.upstream), "[system]",
	  "resolvers that are asked: `system` alone, or addresses, each optionally with a port", 1,
	  8, .special = "system", .item = VALUE_RESOLVER },
};
static const struct schema_map map_dns = MAP_OF(keys_dns, struct config_gateway);

static const struct schema_key keys_admin[] = {
	{ "unix", VALUE_FILE, AT(config_gateway, admin.unix_path), "/run/slapenir/admin.sock",
	  "socket of the admin endpoint, or `off`", 1, 107, .special = "off" },
	{ "listen", VALUE_ADDR_PORT, AT(config_gateway, admin.listen), "127.0.0.1:9901",
	  "TCP address of the admin endpoint, or `off`", .special = "off" },
};
static const struct schema_map map_admin = MAP_OF(keys_admin, struct config_gateway);

static const struct schema_key keys_audit[] = {
	{ "file", VALUE_FILE, AT(config_gateway, audit.file), "/var/log/slapenir/audit.jsonl",
	  "the audit log, one JSON object per line" },
};
static const struct schema_map map_audit = MAP_OF(keys_audit, struct config_gateway);

static const struct schema_key keys_limits[] = {
	{ "flows", VALUE_UINT, AT(config_gateway, limits.flows), "4096",
	  "concurrent flows of one worker", 1, 1000000 },
	{ "header_bytes", VALUE_SIZE, AT(config_gateway, limits.header_bytes), "64KiB",
	  "one message head, start line included", 1024, 1024 * 1024 },
	{ "idle", VALUE_DURATION, AT(config_gateway, limits.idle_ms), "300s",
	  "a flow without a byte either way is closed", SECOND, DAY },
	{ "connect", VALUE_DURATION, AT(config_gateway, limits.connect_ms), "10s",
	  "to resolve, dial and verify an upstream", 100, 5 * MINUTE },
	{ "first_byte", VALUE_DURATION, AT(config_gateway, limits.first_byte_ms), "300s",
	  "for an upstream to begin its answer", SECOND, DAY },
	{ "head", VALUE_DURATION, AT(config_gateway, limits.head_ms), "30s",
	  "for an agent to deliver a ClientHello or a request head", SECOND, HOUR },
	{ "drain", VALUE_DURATION, AT(config_gateway, limits.drain_ms), "30s",
	  "for flows to end after SIGTERM or a reload", 0, DAY },
};
static const struct schema_map map_limits = MAP_OF(keys_limits, struct config_gateway);

static const struct schema_key keys_gateway[] = {
	{ "workers", VALUE_UINT, AT(config_gateway, workers), "auto",
	  "worker processes; `auto`: one per CPU the process may use", 1, 64, .special = "auto" },
	{ "agent_interfaces", VALUE_LIST, AT(config_gateway, agent_interfaces), "[eth0]",
	  "interfaces behind which the agents are", 1, 64, .item = VALUE_INTERFACE },
	{ "user", VALUE_NAME, AT(config_gateway, user), NULL,
	  "account the processes run as; without it `slapenir` if it exists, else `nobody`", 1,
	  32 },
	{ "tproxy", VALUE_MAP, 0, NULL, "capture of TCP", .child = &map_tproxy },
	{ "dns", VALUE_MAP, 0, NULL, "name resolution for agents", .child = &map_dns },
	{ "admin", VALUE_MAP, 0, NULL, "admin endpoint", .child = &map_admin },
	{ "audit", VALUE_MAP, 0, NULL, "audit log", .child = &map_audit },
	{ "limits", VALUE_MAP, 0, NULL, "limits", .child = &map_limits },
};
static const struct schema_map map_gateway = MAP_OF(keys_gateway, struct config_gateway);

static const struct schema_key keys_ca[] = {
	{ "certificate", VALUE_FILE, AT(config_tls, ca.certificate), "certs/interception.crt",
	  "the interception CA, PEM" },
	{ "key", VALUE_FILE, AT(config_tls, ca.key), "certs/interception.key",
	  "its key, PEM; only the minter reads it" },
};
static const struct schema_map map_ca = MAP_OF(keys_ca, struct config_tls);

static const struct schema_key keys_tls[] = {
	{ "ca", VALUE_MAP, 0, NULL, "the authority that agents trust", .child = &map_ca },
	{ "upstream_trust", VALUE_FILE, AT(config_tls, upstream_trust), "system",
	  "authorities that upstreams are verified with: `system` or a PEM file",
	  .special = "system" },
	{ "leaf_lifetime", VALUE_DURATION, AT(config_tls, leaf_lifetime_ms), "24h",
	  "validity of minted certificates", 5 * MINUTE, 90LL * DAY },
};
static const struct schema_map map_tls = MAP_OF(keys_tls, struct config_tls);

static const struct schema_key keys_identity[] = {
	{ "mtls", VALUE_CHOICE, AT(config_identity, mtls), "required",
	  "whether agents must come through slapenir-link; `off` when `identity` is absent",
	  .choices = choices_mtls },
	{ "trust", VALUE_FILE, AT(config_identity, trust), "certs/root.crt",
	  "authority of the agents' certificates, PEM" },
	{ "certificate", VALUE_FILE, AT(config_identity, certificate), "certs/gateway.crt",
	  "the gateway's certificate on the link, PEM" },
	{ "key", VALUE_FILE, AT(config_identity, key), "certs/gateway.key", "its key, PEM" },
};
static const struct schema_map map_identity = MAP_OF(keys_identity, struct config_identity);

static const struct schema_key keys_rate[] = {
	{ "requests", VALUE_RATE, AT(config_rate, requests), NULL,
	  "requests per second, minute or hour", 1, 1000000, .required = true },
	{ "burst", VALUE_UINT, AT(config_rate, burst), NULL,
	  "requests that may come at once; without it as many as `requests` counts", 1, 1000000 },
};
static const struct schema_map map_rate = MAP_OF(keys_rate, struct config_rate);

static const struct schema_key keys_agent[] = {
	{ "name", VALUE_NAME, AT(config_agent, name), NULL,
	  "name in rules, secrets and the audit log", 1, 64, .required = true },
	{ "sources", VALUE_LIST, AT(config_agent, sources), NULL,
	  "its addresses; no address may belong to two agents", 1, 256, .item = VALUE_CIDR,
	  .required = true },
	{ "rate", VALUE_MAP, AT(config_agent, rate), NULL, "rate limit; without it none",
	  .child = &map_rate, .optional = true },
};
static const struct schema_map map_agent =
	MAP_OF(keys_agent, struct config_agent, .place = offsetof(struct config_agent, line));

static const struct schema_key keys_source[] = {
	{ "env", VALUE_ENV_NAME, AT(config_source, env), NULL,
	  "environment variable of the gateway" },
	{ "file", VALUE_FILE, AT(config_source, file), NULL,
	  "file; a line break at its end is dropped" },
	{ "exec", VALUE_LIST, AT(config_source, exec), NULL,
	  "program and arguments, no shell; its output is the value", 1, 64, .item = VALUE_STRING },
};
const struct schema_map config_schema_source =
	MAP_OF(keys_source, struct config_source, .exactly_one = true);

static const struct schema_key keys_real_pair[] = {
	{ "id", VALUE_MAP, AT(config_secret, real_id), NULL,
	  "source of the access key id (aws-sigv4), keys as above", .child = &config_schema_source,
	  .required = true, .again = true },
	{ "secret", VALUE_MAP, AT(config_secret, real), NULL,
	  "source of the secret access key (aws-sigv4), keys as above",
	  .child = &config_schema_source, .required = true, .again = true },
};
const struct schema_map config_schema_real_pair = MAP_OF(keys_real_pair, struct config_secret);

static const struct schema_key keys_dummy_pair[] = {
	{ "id", VALUE_STRING, AT(config_secret, dummy_id), NULL,
	  "stand-in for the access key id (aws-sigv4)", 8, 512, .required = true },
	{ "secret", VALUE_STRING, AT(config_secret, dummy), NULL,
	  "stand-in for the secret access key (aws-sigv4)", 8, 4096, .required = true },
};
const struct schema_map config_schema_dummy_pair = MAP_OF(keys_dummy_pair, struct config_secret);

static const struct schema_key keys_secret[] = {
	{ "name", VALUE_NAME, AT(config_secret, name), NULL, "name in the audit log", 1, 64,
	  .required = true },
	{ "type", VALUE_CHOICE, AT(config_secret, type), "static", "how it is used",
	  .choices = choices_type },
	{ "dummy", VALUE_DUMMY, 0, NULL, "what the agent holds instead; 8 bytes at least", 8, 4096,
	  .required = true, .hide = true },
	{ "real", VALUE_REAL, 0, NULL,
	  "where the real value is found: one of `env`, `file`, `exec`", .required = true,
	  .hide = true },
	{ "hosts", VALUE_LIST, AT(config_secret, hosts), NULL,
	  "hosts it may be sent to: name, `*.suffix` or address, optionally with `:port`", 1, 1000,
	  .item = VALUE_SECRET_HOST, .required = true },
	{ "surfaces", VALUE_SURFACES, AT(config_secret, surfaces), "[header]",
	  "where in a request it is put in", 1, 4, .choices = choices_surface },
	{ "agents", VALUE_LIST, AT(config_secret, agents), NULL,
	  "agents that may use it; without it all", 1, 1000, .item = VALUE_NAME },
	{ "plaintext", VALUE_BOOL, AT(config_secret, plaintext), "false",
	  "also over http:// to its hosts: readable by everyone on the way" },
};
static const struct schema_map map_secret =
	MAP_OF(keys_secret, struct config_secret, .place = offsetof(struct config_secret, line));

static const struct schema_key keys_rule_body[] = {
	{ "name", VALUE_NAME, AT(config_rule, name), NULL,
	  "name in denials and the audit log; without it `egress.rules[N]`", 1, 64 },
	{ "hosts", VALUE_LIST, AT(config_rule, hosts), NULL,
	  "names, `*.suffix` (any depth below, not suffix itself), `*` (any name), or addresses", 1,
	  100000, .item = VALUE_RULE_HOST },
	{ "addresses", VALUE_LIST, AT(config_rule, addresses), NULL,
	  "ranges, for destinations that have no name", 1, 10000, .item = VALUE_CIDR },
	{ "ports", VALUE_LIST, AT(config_rule, ports), NULL,
	  "ports or ranges; without it any port", 1, 256,
	  .item = VALUE_PORTS },
	{ "methods", VALUE_LIST, AT(config_rule, methods), NULL, "HTTP methods; without it any", 1,
	  64, .item = VALUE_METHOD },
	{ "paths", VALUE_LIST, AT(config_rule, paths), NULL,
	  "path patterns, `*` within a segment, `**` across; without it any", 1, 1000,
	  .item = VALUE_PATH_GLOB },
	{ "agents", VALUE_LIST, AT(config_rule, agents), NULL, "agents it is for; without it all",
	  1, 1000, .item = VALUE_NAME },
	{ "protocol", VALUE_CHOICE, AT(config_rule, protocol), "http",
	  "`tcp` (allow only, needs ports): bytes are relayed unopened",
	  .choices = choices_protocol },
};
static const struct schema_map map_rule_body = MAP_OF(keys_rule_body, struct config_rule);

static const struct schema_key keys_rule[] = {
	{ "allow", VALUE_RULE, 0, NULL, "let through", .child = &map_rule_body,
	  .choice = CONFIG_ALLOW },
	{ "deny", VALUE_RULE, 0, NULL, "refuse; keys as of `allow`", .child = &map_rule_body,
	  .choice = CONFIG_DENY, .again = true },
	{ "passthrough", VALUE_RULE, 0, NULL,
	  "let through, TLS unopened: no secrets, audited; keys as of `allow` but methods and "
	  "paths",
	  .child = &map_rule_body, .choice = CONFIG_PASSTHROUGH, .again = true },
};
static const struct schema_map map_rule =
	MAP_OF(keys_rule, struct config_rule, .place = offsetof(struct config_rule, line),
	       .exactly_one = true);

static const struct schema_key keys_egress[] = {
	{ "default", VALUE_CHOICE, AT(config_egress, fallback), "deny",
	  "what happens when no rule matches (`learn` is reserved)", .choices = choices_default },
	{ "allow_special", VALUE_LIST, AT(config_egress, allow_special), NULL,
	  "special-purpose ranges (private, test, ...) that may be dialled after all", 0, 1000,
	  .item = VALUE_CIDR },
	{ "rules", VALUE_LIST, AT(config_egress, rules), NULL, "in order, the first match decides",
	  0, 20000, .child = &map_rule },
};
static const struct schema_map map_egress = MAP_OF(keys_egress, struct config_egress);

static const struct schema_key keys_root[] = {
	{ "version", VALUE_UINT, AT(config, version), "1", "version of this format", 1, 1 },
	{ "gateway", VALUE_MAP, AT(config, gateway), NULL, "the gateway itself",
	  .child = &map_gateway },
	{ "tls", VALUE_MAP, AT(config, tls), NULL, "certificates", .child = &map_tls },
	{ "identity", VALUE_MAP, AT(config, identity), NULL, "how agents prove who they are",
	  .child = &map_identity, .optional = true },
	{ "agents", VALUE_LIST, AT(config, agents), NULL, "who may use the gateway", 1, 1000,
	  .child = &map_agent, .required = true },
	{ "secrets", VALUE_LIST, AT(config, secrets), NULL,
	  "credentials that agents use without holding them", 0, 4096, .child = &map_secret },
	{ "egress", VALUE_MAP, AT(config, egress), NULL, "what agents may reach",
	  .child = &map_egress, .required = true },
};
const struct schema_map config_schema_root = MAP_OF(keys_root, struct config);

/* ---- for documents ------------------------------------------------------ */

static const char *const type_names[VALUE_TYPE_COUNT] = {
	[VALUE_MAP] = "map",
	[VALUE_LIST] = "list of maps",
	[VALUE_RULE] = "map",
	[VALUE_DUMMY] = "string, or map",
	[VALUE_REAL] = "map",
	[VALUE_SURFACES] = "list",
	[VALUE_STRING] = "string",
	[VALUE_NAME] = "name",
	[VALUE_ENV_NAME] = "variable name",
	[VALUE_INTERFACE] = "interface",
	[VALUE_FILE] = "file",
	[VALUE_RULE_HOST] = "host",
	[VALUE_SECRET_HOST] = "host",
	[VALUE_METHOD] = "method",
	[VALUE_PATH_GLOB] = "path pattern",
	[VALUE_UINT] = "number",
	[VALUE_PORT] = "port",
	[VALUE_SIZE] = "size",
	[VALUE_DURATION] = "duration",
	[VALUE_BOOL] = "true or false",
	[VALUE_CHOICE] = "",
	[VALUE_ADDR_PORT] = "address:port",
	[VALUE_RESOLVER] = "address",
	[VALUE_CIDR] = "CIDR",
	[VALUE_PORTS] = "port or range",
	[VALUE_RATE] = "rate",
};

const char *config_type_name(const struct schema_key *key, char dst[64])
{
	size_t n = 0;

	if (key->type == VALUE_LIST && !key->child)
		snprintf(dst, 64, "list of %s", type_names[key->item]);
	else
		snprintf(dst, 64, "%s", type_names[key->type]);
	for (size_t i = 0; key->choices && key->choices[i]; i++) {
		n = strlen(dst);
		snprintf(dst + n, 64 - n, "%s%s", i ? " | " : n ? " of " : "", key->choices[i]);
	}
	return dst;
}

struct walker {
	void (*fn)(const struct config_schema_entry *entry, void *arg);
	void *arg;
};

static void walk_key(const struct walker *w, const struct schema_key *key, const char *up);

/* As deep as the tables are. */
static void walk_map(const struct walker *w, const struct schema_map *map, const char *up)
{
	for (size_t i = 0; i < map->n; i++)
		walk_key(w, &map->keys[i], up);
}

static void walk_key(const struct walker *w, const struct schema_key *key, const char *up)
{
	char path[128], type[64];
	struct config_schema_entry entry = { .fallback = key->fallback,
					     .required = key->required,
					     .doc = key->doc };

	snprintf(path, sizeof(path), "%s%s%s%s", up, *up ? "." : "", key->name,
		 key->type == VALUE_LIST && key->child ? "[]" : "");
	entry.path = path;
	entry.type = config_type_name(key, type);
	w->fn(&entry, w->arg);
	if (key->child && !key->again)
		walk_map(w, key->child, path);
	if (key->type == VALUE_REAL) {
		walk_map(w, &config_schema_source, path);
		walk_map(w, &config_schema_real_pair, path);
	}
	if (key->type == VALUE_DUMMY)
		walk_map(w, &config_schema_dummy_pair, path);
}

void config_schema_walk(void (*fn)(const struct config_schema_entry *entry, void *arg), void *arg)
{
	const struct walker w = { fn, arg };

	walk_map(&w, &config_schema_root, "");
}
