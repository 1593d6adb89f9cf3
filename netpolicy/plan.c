/*
 * plan.c - from the few facts of the configuration to the whole plan
 *
 * The input is checked here although the config room checked it too: names become part of paths
 * below /proc/sys and of nft text, so nothing but plain interface names may pass.
 *
 * Sysctls, and why each: TPROXY needs no forwarding at all, since captured packets are delivered
 * locally. The order matters: writing ip_forward resets redirects, so forwarding comes first.
 */
#include <ctype.h>
#include <netinet/in.h>
#include <linux/netfilter.h>
#include <stdlib.h>

#include "netpolicy/plan_internal.h"

static const struct np_chain plan_chains[NP_N_CHAINS] = {
	[NP_CHAIN_PREROUTING] = { "prerouting", NF_INET_PRE_ROUTING, "prerouting", -150, "mangle",
				  NF_ACCEPT },
	[NP_CHAIN_INPUT] = { "input", NF_INET_LOCAL_IN, "input", 0, "filter", NF_ACCEPT },
	[NP_CHAIN_FORWARD] = { "forward", NF_INET_FORWARD, "forward", 0, "filter", NF_DROP },
};

static const struct {
	const char *name;
	enum np_set_type type;
} plan_sets[NP_N_SETS] = {
	[NP_SET_INTERFACES] = { "agent_interfaces", NP_SET_IFNAME },
	[NP_SET_AGENTS4] = { "agents4", NP_SET_IPV4 },
	[NP_SET_AGENTS6] = { "agents6", NP_SET_IPV6 },
	[NP_SET_NEVER4] = { "never4", NP_SET_IPV4 },
	[NP_SET_NEVER6] = { "never6", NP_SET_IPV6 },
};

/*
 * Destinations no agent may mean: this host, loopback, multicast, reserved, broadcast (RFC 6890,
 * RFC 4291 2.5, 2.7).
 */
static const struct cidr never_destinations[] = {
	{ AF_INET, 8, { 0 } },
	{ AF_INET, 8, { 127 } },
	{ AF_INET, 3, { 224 } },
	{ AF_INET6, 127, { 0 } },				/* :: and ::1 */
	{ AF_INET6, 96, { [10] = 0xff, [11] = 0xff } },		/* ::ffff:0.0.0.0/96 */
	{ AF_INET6, 8, { 0xff } },
};

struct sysctl_row {
	const char *path;	/* `%` stands for each agent interface */
	const char *value;
	const char *why;
	unsigned flags;
};

#define OPTIONAL 1u	/* not on every kernel */
#define COVERED 2u	/* the rules drop what it is about; a container cannot always set it */

static const struct sysctl_row plan_sysctls[] = {
	{ "net/ipv4/ip_forward", "0", "nothing is routed past the gateway", 0 },
	{ "net/ipv6/conf/all/forwarding", "0", "nothing is routed past the gateway", OPTIONAL },
	{ "net/ipv4/conf/*/forwarding", "0", "not by one interface either", 0 },
	{ "net/ipv6/conf/*/forwarding", "0", "not by one interface either", OPTIONAL },
	{ "net/ipv6/conf/*/force_forwarding", "0", "not by one interface either", OPTIONAL },
	{ "net/ipv4/conf/all/bc_forwarding", "0", "directed broadcasts do not pass either",
	  OPTIONAL | COVERED },
	{ "net/ipv4/conf/all/route_localnet", "0", "loopback services stay out of reach", 0 },
	{ "net/ipv4/conf/%/route_localnet", "0", "loopback services stay out of reach", 0 },
	{ "net/ipv4/conf/all/accept_source_route", "0", "an agent does not choose the path", 0 },
	{ "net/ipv4/conf/%/accept_source_route", "0", "an agent does not choose the path",
	  COVERED },
	{ "net/ipv6/conf/%/accept_source_route", "0", "an agent does not choose the path",
	  OPTIONAL | COVERED },
	{ "net/ipv4/conf/all/accept_redirects", "0", "an agent does not teach routes", COVERED },
	{ "net/ipv4/conf/%/accept_redirects", "0", "an agent does not teach routes", COVERED },
	{ "net/ipv6/conf/%/accept_redirects", "0", "an agent does not teach routes",
	  OPTIONAL | COVERED },
	{ "net/ipv6/conf/%/accept_ra", "0", "an agent does not become the gateway's router",
	  OPTIONAL | COVERED },
	{ "net/ipv4/conf/all/send_redirects", "0", "no other way is offered to agents", COVERED },
	{ "net/ipv4/conf/%/send_redirects", "0", "no other way is offered to agents", COVERED },
	{ "net/ipv4/conf/all/src_valid_mark", "0",
	  "else the source check looks up the mark's table and drops captured packets", 0 },
	{ "net/ipv4/conf/%/src_valid_mark", "0",
	  "else the source check looks up the mark's table and drops captured packets", 0 },
	{ "net/ipv4/fwmark_reflect", "0", "else answers carry the mark and loop back to lo", 0 },
	{ "net/ipv6/fwmark_reflect", "0", "else answers carry the mark and loop back to lo",
	  OPTIONAL },
	{ "net/ipv4/tcp_fwmark_accept", "0",
	  "else accepted flows carry the mark and loop back to lo", 0 },
};

static bool interface_name_ok(const char *name)
{
	size_t n = strlen(name);

	if (n == 0 || n >= NP_IFNAME_MAX || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return false;
	/*
	 * The kernel's own directories beside the interfaces, and names with a meaning of their
	 * own.
	 */
	if (strcmp(name, "lo") == 0 || strcmp(name, "all") == 0 || strcmp(name, "default") == 0)
		return false;
	for (size_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)name[i];

		if (!isalnum(c) && !strchr("._-@:+", c))
			return false;
	}
	return true;
}

static enum err input_check(const struct np_input *in, char why[NP_WHY_MAX])
{
	if (in->n_interfaces == 0) {
		snprintf(why, NP_WHY_MAX, "gateway.agent_interfaces names no interface");
		return ERR_CONFIG;
	}
	for (size_t i = 0; i < in->n_interfaces; i++) {
		if (interface_name_ok(in->interfaces[i]))
			continue;
		snprintf(why, NP_WHY_MAX,
			 "gateway.agent_interfaces: \"%.40s\" cannot be an agent's interface",
			 in->interfaces[i]);
		return ERR_CONFIG;
	}
	if (in->tcp_port == 0 || in->dns_port == 0) {
		snprintf(why, NP_WHY_MAX, "gateway.tproxy.port and gateway.dns.port must not be 0");
		return ERR_CONFIG;
	}
	if (in->mark == 0) {
		snprintf(why, NP_WHY_MAX,
			 "gateway.tproxy.mark must not be 0: every unmarked packet has it");
		return ERR_CONFIG;
	}
	if (in->table == 0 || (in->table >= 253 && in->table <= 255)) {
		snprintf(why, NP_WHY_MAX,
			 "gateway.tproxy.table %u is one of the kernel's own tables", in->table);
		return ERR_CONFIG;
	}
	if (in->n_sources == 0) {
		snprintf(why, NP_WHY_MAX, "agents: no sources, so every packet would be dropped");
		return ERR_CONFIG;
	}
	return ERR_OK;
}

static enum err interfaces_build(const struct np_input *in, struct np_set *set)
{
	set->ranges = calloc(in->n_interfaces, sizeof(*set->ranges));
	if (!set->ranges)
		return ERR_NOMEM;
	set->n = in->n_interfaces;
	for (size_t i = 0; i < in->n_interfaces; i++) {
		memcpy(set->ranges[i].from, in->interfaces[i], strlen(in->interfaces[i]));
		memcpy(set->ranges[i].to, set->ranges[i].from, NP_DATA_MAX);
	}
	np_ranges_normalize(set);
	return ERR_OK;
}

static enum err sets_build(const struct np_input *in, struct np_plan *plan)
{
	const struct cidr *never = never_destinations;
	size_t n_never = ARRAY_SIZE(never_destinations);

	for (size_t i = 0; i < NP_N_SETS; i++) {
		plan->sets[i].name = plan_sets[i].name;
		plan->sets[i].type = plan_sets[i].type;
	}
	TRY(interfaces_build(in, &plan->sets[NP_SET_INTERFACES]));
	TRY(np_ranges_from_cidrs(in->sources, in->n_sources, AF_INET, &plan->sets[NP_SET_AGENTS4]));
	TRY(np_ranges_from_cidrs(in->sources, in->n_sources, AF_INET6,
				 &plan->sets[NP_SET_AGENTS6]));
	TRY(np_ranges_from_cidrs(never, n_never, AF_INET, &plan->sets[NP_SET_NEVER4]));
	return np_ranges_from_cidrs(never, n_never, AF_INET6, &plan->sets[NP_SET_NEVER6]);
}

static void sysctl_add(struct np_plan *plan, const struct sysctl_row *row, const char *interface)
{
	struct np_sysctl *s = &plan->sysctls[plan->n_sysctls++];
	const char *mark = strchr(row->path, '%');

	if (mark)
		snprintf(s->path, sizeof(s->path), "%.*s%s%s", (int)(mark - row->path), row->path,
			 interface, mark + 1);
	else
		snprintf(s->path, sizeof(s->path), "%s", row->path);
	s->value = row->value;
	s->why = row->why;
	/* Whether the interface is there is told once, not by each of its settings. */
	s->optional = (row->flags & OPTIONAL) || mark;
	s->covered = row->flags & COVERED;
}

static enum err sysctls_build(struct np_plan *plan)
{
	const struct np_set *interfaces = &plan->sets[NP_SET_INTERFACES];

	plan->sysctls = calloc(ARRAY_SIZE(plan_sysctls) * interfaces->n, sizeof(*plan->sysctls));
	if (!plan->sysctls)
		return ERR_NOMEM;
	for (size_t i = 0; i < ARRAY_SIZE(plan_sysctls); i++) {
		const struct sysctl_row *row = &plan_sysctls[i];
		size_t times = strchr(row->path, '%') ? interfaces->n : 1;

		for (size_t k = 0; k < times; k++)
			sysctl_add(plan, row, (const char *)interfaces->ranges[k].from);
	}
	return ERR_OK;
}

enum err np_plan_build(const struct np_input *in, struct np_plan *out, char why[NP_WHY_MAX])
{
	enum err e;

	memset(out, 0, sizeof(*out));
	why[0] = '\0';
	TRY(input_check(in, why));
	out->mark = in->mark;
	out->table = in->table;
	memcpy(out->chains, plan_chains, sizeof(plan_chains));
	e = sets_build(in, out);
	if (e == ERR_OK)
		e = sysctls_build(out);
	if (e != ERR_OK) {
		np_plan_release(out);
		return e;
	}
	np_plan_rules(out, in);
	return ERR_OK;
}

void np_plan_release(struct np_plan *plan)
{
	for (size_t i = 0; i < NP_N_SETS; i++)
		free(plan->sets[i].ranges);
	free(plan->sysctls);
	memset(plan, 0, sizeof(*plan));
}
