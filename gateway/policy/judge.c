/*
 * judge.c - the three questions: may this connection, this name, this request go on?
 *
 * All three walk the same candidates: the rules whose destination matches, in the order of the
 * file, merged from the few lists the host index yields. What a question does not know yet
 * decides how a rule counts: see each. A refusal names how far the best allowing rule came, since
 * that is what its reader has to change.
 */
#include "gateway/policy/policy_internal.h"

/* ---- candidates --------------------------------------------------------- */

struct destination {
	const char *host;	/* normalised; empty: known by address alone */
	struct addr address;	/* family 0 when the destination is a name */
};

struct walk {
	const struct policy *policy;
	const struct destination *to;
	int agent;
	size_t n;
	struct host_list lists[POLICY_LISTS_MAX + 2];
	uint32_t by_address;	/* the list of by_address in lists[], to be filtered */
};

static void destination_init(struct destination *to, const char *host, const struct addr *address,
			     char text[ADDR_TEXT_MAX])
{
	*to = (struct destination){ .host = host };
	if (*host) {
		if (!policy_host_is_address(host, &to->address))
			to->address = (struct addr){ 0 };
	} else if (address && address->family) {
		to->address = *address;
		to->host = addr_ip_text(address, text);
	}
}

static void walk_init(struct walk *w, const struct policy *p, int agent,
		      const struct destination *to)
{
	bool is_address = to->address.family != 0;

	w->policy = p;
	w->to = to;
	w->agent = agent;
	w->n = *to->host ? policy_hosts_find(&p->hosts, to->host, is_address, w->lists) : 0;
	w->lists[w->n++] = p->anywhere;
	w->by_address = UINT32_MAX;
	if (is_address) {
		w->by_address = (uint32_t)w->n;
		w->lists[w->n++] = p->by_address;
	}
}

static bool addresses_match(const struct rule *r, const struct addr *a)
{
	for (size_t i = 0; i < r->n_addresses; i++)
		if (cidr_contains(&r->addresses[i], a))
			return true;
	return false;
}

static bool rule_is_for(const struct rule *r, int agent)
{
	return !r->agents || (r->agents[agent / 64] >> (agent % 64) & 1);
}

/* The next rule for this agent and destination, or NULL. */
static const struct rule *walk_next(struct walk *w)
{
	for (;;) {
		uint32_t least = UINT32_MAX;
		bool destined = false;
		const struct rule *rule;

		for (size_t i = 0; i < w->n; i++)
			if (w->lists[i].n && w->lists[i].rules[0] < least)
				least = w->lists[i].rules[0];
		if (least == UINT32_MAX)
			return NULL;
		rule = &w->policy->rules[least];
		for (size_t i = 0; i < w->n; i++) {
			if (!w->lists[i].n || w->lists[i].rules[0] != least)
				continue;
			destined |= i != w->by_address || addresses_match(rule, &w->to->address);
			w->lists[i].rules++;
			w->lists[i].n--;
		}
		if (destined && rule_is_for(rule, w->agent))
			return rule;
	}
}

/* ---- one rule ----------------------------------------------------------- */

static bool port_matches(const struct rule *r, uint16_t port)
{
	for (size_t i = 0; i < r->n_ports; i++)
		if (port >= r->ports[i].first && port <= r->ports[i].last)
			return true;
	return r->n_ports == 0;
}

static bool method_matches(const struct rule *r, struct bytes method)
{
	for (size_t i = 0; i < r->methods.n; i++)
		if (bytes_eq(bytes_str(r->methods.items[i]), method))
			return true;
	return r->methods.n == 0;
}

/* The request's path, normalised when the first rule asks. */
struct judged_path {
	struct bytes raw;
	bool known, safe;
	size_t n;
	uint8_t text[POLICY_PATH_MAX];
};

static bool path_matches(const struct rule *r, struct judged_path *path)
{
	if (r->n_paths == 0)
		return true;
	if (!path->known) {
		path->safe = policy_path_normalise(path->raw, path->text, &path->n);
		path->known = true;
	}
	if (!path->safe)
		return r->action == POLICY_DENY;
	for (size_t i = 0; i < r->n_paths; i++)
		if (policy_glob_match(&r->paths[i], bytes_of(path->text, path->n)))
			return true;
	return false;
}

/* ---- verdicts ----------------------------------------------------------- */

static struct policy_verdict deny(enum err reason, const char *rule)
{
	return (struct policy_verdict){ POLICY_DENY, reason, rule };
}

static struct policy_verdict permit(enum policy_action action, const char *rule)
{
	return (struct policy_verdict){ action, ERR_OK, rule };
}

/* No rule decided. */
static struct policy_verdict by_default(const struct policy *p, enum err reason)
{
	return p->allow_by_default ? permit(POLICY_ALLOW, "egress.default")
				   : deny(reason, "egress.default");
}

static bool is_agent(const struct policy *p, int agent)
{
	return agent >= 0 && (size_t)agent < p->n_agents;
}

struct policy_verdict policy_connect(const struct policy *p, int agent, const char *host,
				     const struct addr *address, uint16_t port)
{
	const struct rule *rule, *unjudged = NULL;
	enum err reason = ERR_DENY_HOST;
	char text[ADDR_TEXT_MAX];
	struct destination to;
	struct walk w UNINITIALIZED;

	if (!is_agent(p, agent))
		return deny(ERR_DENY_AGENT, "agents");
	destination_init(&to, host, address, text);
	walk_init(&w, p, agent, &to);
	while ((rule = walk_next(&w))) {
		if (!port_matches(rule, port)) {
			if (rule->action != POLICY_DENY)
				reason = ERR_DENY_PORT;
			continue;
		}
		if (rule->action == POLICY_ALLOW)
			return permit(POLICY_ALLOW, rule->name);
		if (rule->action == POLICY_DENY) {
			if (rule->methods.n == 0 && rule->n_paths == 0)
				return deny(ERR_DENY_RULE, rule->name);
			unjudged = unjudged ? unjudged : rule;
			continue;
		}
		/* an earlier refusal by method or path could not be kept on an unopened flow */
		return unjudged ? deny(ERR_DENY_RULE, unjudged->name)
				: permit(rule->action, rule->name);
	}
	return by_default(p, reason);
}

struct policy_verdict policy_name(const struct policy *p, int agent, const char *host)
{
	const struct rule *rule;
	char text[ADDR_TEXT_MAX];
	struct destination to;
	struct walk w UNINITIALIZED;

	if (!is_agent(p, agent))
		return deny(ERR_DENY_AGENT, "agents");
	destination_init(&to, host, NULL, text);
	if (!*host || to.address.family)
		return deny(ERR_DENY_NAME, "egress.default");
	walk_init(&w, p, agent, &to);
	while ((rule = walk_next(&w))) {
		if (rule->action != POLICY_DENY)
			return permit(rule->action, rule->name);
		if (rule->n_ports == 0 && rule->methods.n == 0 && rule->n_paths == 0)
			return deny(ERR_DENY_NAME, rule->name);
	}
	return by_default(p, ERR_DENY_NAME);
}

static enum err farther(enum err a, enum err b)
{
	static const enum err order[] = { ERR_DENY_HOST, ERR_DENY_PORT, ERR_DENY_METHOD,
					  ERR_DENY_PATH };

	for (size_t i = ARRAY_SIZE(order); i-- > 0;)
		if (a == order[i] || b == order[i])
			return order[i];
	return ERR_DENY_HOST;
}

struct policy_verdict policy_request(const struct policy *p, int agent,
				     const struct policy_request *r)
{
	const struct rule *rule;
	enum err reason = ERR_DENY_HOST;
	struct judged_path path UNINITIALIZED;
	char text[ADDR_TEXT_MAX];
	struct destination to;
	struct walk w UNINITIALIZED;

	path.raw = r->path;
	path.known = false;
	if (!is_agent(p, agent))
		return deny(ERR_DENY_AGENT, "agents");
	destination_init(&to, r->host, NULL, text);
	walk_init(&w, p, agent, &to);
	while ((rule = walk_next(&w))) {
		enum err miss = ERR_OK;

		if (rule->action == POLICY_PASSTHROUGH || rule->action == POLICY_TCP)
			continue;
		if (!port_matches(rule, r->port))
			miss = ERR_DENY_PORT;
		else if (!method_matches(rule, r->method))
			miss = ERR_DENY_METHOD;
		else if (!path_matches(rule, &path))
			miss = ERR_DENY_PATH;
		if (miss == ERR_OK)
			return rule->action == POLICY_ALLOW ? permit(POLICY_ALLOW, rule->name) :
							      deny(ERR_DENY_RULE, rule->name);
		if (rule->action == POLICY_ALLOW)
			reason = farther(reason, miss);
	}
	return by_default(p, reason);
}
