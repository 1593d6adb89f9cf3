/*
 * check.c - what no single key can tell
 *
 * Runs when every value has been read, so structs and tree have the same shape and are walked
 * side by side: the struct gives the value, the node its place. Also fills the defaults that
 * depend on other keys.
 */
#include "config/config_internal.h"

#include <stdlib.h>

/* The arena is ours until config_parse() hands it out; readers get const views. */
static void *ours(const void *view)
{
	void *p;

	memcpy(&p, &view, sizeof(p));
	return p;
}

/* "list[i].key" and its node; lives on the caller's stack. */
struct spot {
	struct path list, item, key;
	struct where where;
};

static struct where spot_at(struct spot *s, const char *list, size_t i, const struct node *item,
			    const char *key)
{
	const struct node *node = key ? config_node_get(item, key) : NULL;

	s->list = (struct path){ .key = list };
	s->item = (struct path){ .up = &s->list, .index = i };
	s->key = (struct path){ .up = &s->item, .key = key };
	return (struct where){ .path = key ? &s->key : &s->item, .node = node ? node : item };
}

static const struct node *first_item(const struct node *root, const char *key)
{
	return config_node_at(config_node_get(root, key), 0);
}

/* ---- agents ------------------------------------------------------------- */

static bool is_agent(const struct config *cfg, const char *name)
{
	for (size_t i = 0; i < cfg->n_agents; i++)
		if (strcmp(cfg->agents[i].name, name) == 0)
			return true;
	return false;
}

static void check_agent_names(struct reader *r, struct where list, const struct config *cfg,
			      const struct config_strings *names)
{
	size_t i = 0;

	if (!names->n)
		return;
	for (const struct node *node = list.node->first; node; node = node->next, i++) {
		struct path path = { .up = list.path, .index = i };

		if (!is_agent(cfg, names->items[i]))
			config_fail(r, (struct where){ &path, node, false },
				    "there is no agent of this name");
	}
}

struct source {
	const struct cidr *cidr;
	size_t agent, index;
	const struct node *node;
};

static int source_compare(const void *a, const void *b)
{
	const struct source *x = a, *y = b;
	int order = (x->cidr->family > y->cidr->family) - (x->cidr->family < y->cidr->family);

	if (!order)
		order = memcmp(x->cidr->ip, y->cidr->ip, sizeof(x->cidr->ip));
	if (!order)
		order = (int)x->cidr->bits - (int)y->cidr->bits;
	if (!order)
		order = (x->agent > y->agent) - (x->agent < y->agent);
	return order ? order : (x->index > y->index) - (x->index < y->index);
}

static bool cidr_covers(const struct cidr *outer, const struct cidr *inner)
{
	struct addr a = { .family = inner->family };

	memcpy(a.ip, inner->ip, sizeof(a.ip));
	return outer->bits <= inner->bits && cidr_contains(outer, &a);
}

/* Prefixes nest or are apart: sorted, whoever overlaps another overlaps its right neighbour too. */
static void check_overlaps(struct reader *r, const struct config *cfg, struct source *sources,
			   size_t n)
{
	if (n)
		qsort(sources, n, sizeof(*sources), source_compare);
	for (size_t i = 1; i < n; i++) {
		const struct source *outer = &sources[i - 1], *inner = &sources[i], *late;
		struct path list = { .key = "agents" }, item = { .up = &list };
		struct path key = { .up = &item, .key = "sources" }, at = { .up = &key };
		char text[ADDR_TEXT_MAX];

		if (!cidr_covers(outer->cidr, inner->cidr))
			continue;
		late = outer->agent > inner->agent ? outer : inner;
		item.index = late->agent;
		at.index = late->index;
		outer = late == outer ? inner : outer;
		config_fail(r, (struct where){ &at, late->node, false },
			    "overlaps %s of agent %s: an address must tell who is asking",
			    cidr_text(outer->cidr, text), cfg->agents[outer->agent].name);
	}
}

static void check_agents(struct reader *r, const struct node *root, const struct config *cfg)
{
	const struct node *item = first_item(root, "agents");
	struct source *sources;
	size_t total = 0, at = 0;

	for (size_t i = 0; i < cfg->n_agents; i++)
		total += cfg->agents[i].n_sources;
	sources = config_alloc(r, total, sizeof(*sources));
	if (!sources)
		return;
	for (size_t i = 0; i < cfg->n_agents; i++, item = item->next) {
		struct config_agent *agent = ours(&cfg->agents[i]);
		const struct node *node = first_item(item, "sources");
		struct spot spot;

		if (!agent->rate.burst)
			agent->rate.burst = agent->rate.requests;
		for (size_t j = 0; j < i; j++)
			if (strcmp(cfg->agents[j].name, agent->name) == 0)
				config_fail(r, spot_at(&spot, "agents", i, item, "name"),
					    "there is another agent of this name");
		for (size_t j = 0; j < agent->n_sources; j++, node = node->next)
			sources[at++] = (struct source){ &agent->sources[j], i, j, node };
	}
	check_overlaps(r, cfg, sources, total);
}

/* ---- secrets ------------------------------------------------------------ */

/* Beyond this many secrets the quadratic look for dummies within dummies is left out. */
#define SUBSTRING_CHECK_MAX 1024

static void check_dummies(struct reader *r, struct where where, const struct config *cfg, size_t i,
			  const char *dummy)
{
	const char *known[2];

	where.hide = true;
	for (size_t j = 0; j <= i; j++) {
		known[0] = cfg->secrets[j].dummy;
		known[1] = cfg->secrets[j].dummy_id;
		for (size_t k = 0; k < ARRAY_SIZE(known); k++) {
			if (!known[k] || known[k] == dummy)
				continue;
			if (strcmp(known[k], dummy) == 0)
				config_fail(r, where, "the same dummy as of secret %s",
					    cfg->secrets[j].name);
			else if (cfg->n_secrets <= SUBSTRING_CHECK_MAX &&
				 (strstr(known[k], dummy) || strstr(dummy, known[k])))
				config_warn(r, where,
					    "one dummy contains the other, of secret %s: the "
					    "longer one wins where it stands",
					    cfg->secrets[j].name);
		}
	}
}

static void check_secret_type(struct reader *r, const struct node *item, size_t i,
			      const struct config_secret *secret)
{
	bool aws = secret->type == CONFIG_SECRET_AWS_SIGV4;
	struct where where;
	struct spot spot;

	if ((secret->dummy_id != NULL) != aws) {
		where = spot_at(&spot, "secrets", i, item, "dummy");
		where.hide = true;
		config_fail(r, where, aws ? "type aws-sigv4 needs { id: ..., secret: ... }" :
			    "{ id, secret } is for type aws-sigv4 only");
	}
	if ((secret->real_id.kind != CONFIG_SOURCE_NONE) != aws) {
		where = spot_at(&spot, "secrets", i, item, "real");
		where.hide = true;
		config_fail(r, where, aws ? "type aws-sigv4 needs { id: source, secret: source }" :
			    "{ id, secret } is for type aws-sigv4 only");
	}
}

static void check_secrets(struct reader *r, const struct node *root, const struct config *cfg)
{
	const struct node *item = first_item(root, "secrets");

	for (size_t i = 0; i < cfg->n_secrets; i++, item = item->next) {
		const struct config_secret *secret = &cfg->secrets[i];
		struct spot spot;

		for (size_t j = 0; j < i; j++)
			if (strcmp(cfg->secrets[j].name, secret->name) == 0)
				config_fail(r, spot_at(&spot, "secrets", i, item, "name"),
					    "there is another secret of this name");
		check_secret_type(r, item, i, secret);
		check_dummies(r, spot_at(&spot, "secrets", i, item, "dummy"), cfg, i,
			      secret->dummy);
		if (secret->dummy_id)
			check_dummies(r, spot_at(&spot, "secrets", i, item, "dummy"), cfg, i,
				      secret->dummy_id);
		check_agent_names(r, spot_at(&spot, "secrets", i, item, "agents"), cfg,
				  &secret->agents);
		if (secret->plaintext)
			config_warn(r, spot_at(&spot, "secrets", i, item, "plaintext"),
				    "the real value may be sent unencrypted");
	}
}

/* ---- egress ------------------------------------------------------------- */

static void check_ports(struct reader *r, struct where where, const struct config_rule *rule)
{
	if (rule->n_ports == 0 && rule->protocol == CONFIG_TCP)
		config_warn(r, where,
			    "protocol tcp without `ports`: every port of these addresses is "
			    "relayed unopened");
}

static void check_rule(struct reader *r, struct where where, const struct config *cfg,
		       struct config_rule *rule)
{
	struct path path = { .up = where.path, .key = "agents" };
	const struct node *agents = config_node_get(where.node, "agents");
	bool opened = rule->action != CONFIG_PASSTHROUGH && rule->protocol == CONFIG_HTTP;

	if (rule->action != CONFIG_DENY && !rule->hosts.n && !rule->n_addresses)
		config_fail(r, where,
			    "the rule needs `hosts` or `addresses`; hosts: [\"*\"] is any name");
	if (rule->protocol == CONFIG_TCP && rule->action != CONFIG_ALLOW)
		config_fail(r, where, "protocol tcp is for allow rules only");
	if (!opened && (rule->methods.n || rule->paths.n))
		config_fail(r, where,
			    "methods and paths cannot be seen without opening the connection");
	if (agents)
		check_agent_names(r, (struct where){ &path, agents, false }, cfg, &rule->agents);
	check_ports(r, where, rule);
}

static void check_rule_names(struct reader *r, const struct config *cfg, size_t i,
			     struct where where)
{
	const char *name = cfg->egress.rules[i].name;

	if (!name)
		return;
	if (strncmp(name, "egress.", 7) == 0)
		config_fail(r, where, "names that begin with `egress.` are the gateway's own");
	for (size_t j = 0; j < i; j++)
		if (cfg->egress.rules[j].name && strcmp(cfg->egress.rules[j].name, name) == 0) {
			config_fail(r, where, "there is another rule of this name");
			return;
		}
}

static void check_rules(struct reader *r, const struct node *root, const struct config *cfg)
{
	const struct node *item = first_item(config_node_get(root, "egress"), "rules");

	for (size_t i = 0; i < cfg->egress.n_rules; i++, item = item->next) {
		struct path egress = { .key = "egress" }, rules = { .up = &egress, .key = "rules" };
		struct path at = { .up = &rules, .index = i },
			    path = { .up = &at, .key = item->first->text };
		struct where where = { &path, item->first->value, false };

		check_rule(r, where, cfg, ours(&cfg->egress.rules[i]));
		check_rule_names(r, cfg, i, where);
	}
}

static void check_special(struct reader *r, const struct node *root, const struct config *cfg)
{
	static const struct addr risky[] = {
		{ .family = AF_INET, .ip = { 127, 0, 0, 1 } },
		{ .family = AF_INET, .ip = { 169, 254, 169, 254 } },
		{ .family = AF_INET6, .ip = { [15] = 1 } },
	};
	const struct node *node = first_item(config_node_get(root, "egress"), "allow_special");

	for (size_t i = 0; i < cfg->egress.n_allow_special; i++, node = node->next) {
		struct path egress = { .key = "egress" },
			    list = { .up = &egress, .key = "allow_special" };
		struct path at = { .up = &list, .index = i };

		for (size_t j = 0; j < ARRAY_SIZE(risky); j++)
			if (cidr_contains(&cfg->egress.allow_special[i], &risky[j]))
				config_warn(r, (struct where){ &at, node, false },
					    "opens loopback or a cloud's metadata to agents");
	}
}

static void check_egress(struct reader *r, const struct node *root, const struct config *cfg)
{
	const struct node *egress = config_node_get(root, "egress");
	struct path up = { .key = "egress" }, path = { .up = &up, .key = "default" };
	struct where where = { &path, config_node_get(egress, "default"), false };

	/* the last of choices_default */
	if ((int)cfg->egress.fallback == 2)
		config_fail(r, where, "`learn` is reserved and not there yet: use deny or allow");
	else if (cfg->egress.fallback == CONFIG_ALLOW)
		config_warn(r, where, "agents may reach every host that no rule denies");
	check_rules(r, root, cfg);
	check_special(r, root, cfg);
}

/* ---- gateway ------------------------------------------------------------ */

static struct where gateway_at(struct path paths[3], const struct node *root, const char *section,
			       const char *key)
{
	const struct node *gateway = config_node_get(root, "gateway");

	paths[0] = (struct path){ .key = "gateway" };
	paths[1] = (struct path){ .up = &paths[0], .key = section };
	paths[2] = (struct path){ .up = &paths[1], .key = key };
	return (struct where){ &paths[2], config_node_get(config_node_get(gateway, section), key),
			       false };
}

static void check_resolvers(struct reader *r, struct where where, struct config *cfg)
{
	for (size_t i = 0; i < cfg->gateway.dns.n_upstream; i++)
		cfg->gateway.dns.system |= cfg->gateway.dns.upstream[i].family == 0;
	if (!cfg->gateway.dns.system)
		return;
	if (cfg->gateway.dns.n_upstream > 1)
		config_fail(r, where, "`system` stands alone: name either it or addresses");
	cfg->gateway.dns.upstream = NULL;
	cfg->gateway.dns.n_upstream = 0;
}

static bool is_loopback(const struct addr *a)
{
	static const struct addr v6 = { .family = AF_INET6, .ip = { [15] = 1 } };

	return a->family == AF_INET ? a->ip[0] == 127 : addr_ip_eq(a, &v6);
}

static void check_gateway(struct reader *r, const struct node *root, struct config *cfg)
{
	const struct config_gateway *gateway = &cfg->gateway;
	struct path paths[3];

	check_resolvers(r, gateway_at(paths, root, "dns", "upstream"), cfg);
	if (gateway->dns.port == gateway->tproxy.port) {
		struct where where = gateway_at(paths, root, "dns", "port");

		/* one of the two stands in the file */
		if (!where.node)
			where = gateway_at(paths, root, "tproxy", "port");
		config_fail(r, where, "gateway.tproxy.port and gateway.dns.port must differ");
	}
	/* main, default, local: rt_tables(5) */
	if (gateway->tproxy.table >= 253 && gateway->tproxy.table <= 255)
		config_fail(r, gateway_at(paths, root, "tproxy", "table"),
			    "tables 253 to 255 are the system's");
	if (gateway->admin.listen.family && !is_loopback(&gateway->admin.listen))
		config_warn(r, gateway_at(paths, root, "admin", "listen"),
			    "the admin endpoint can be reached from other machines");
}

void config_check(struct reader *r, const struct node *root, struct config *cfg)
{
	check_gateway(r, root, cfg);
	check_agents(r, root, cfg);
	check_secrets(r, root, cfg);
	check_egress(r, root, cfg);
}
