/*
 * settings.c - the configuration in other rooms' words
 *
 * The config room knows no other room and the craft rooms know no configuration; here one is
 * spelled as the other. Strings are borrowed from the configuration during the call only.
 */
#include "gateway/process/process_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <pwd.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define WORKERS_MAX 64

enum err settings_read_file(const char *path, size_t max, struct buf *out, char why[SECRET_WHY_MAX])
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	struct stat st;
	enum err e = ERR_OK;

	if (fd < 0) {
		snprintf(why, SECRET_WHY_MAX, "%.180s: %s", path, strerror(errno));
		return ERR_IO;
	}
	if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
		snprintf(why, SECRET_WHY_MAX, "%.180s: not a regular file", path);
		close(fd);
		return ERR_IO;
	}
	for (;;) {
		uint8_t *p;
		ssize_t n;

		e = buf_reserve(out, 16384, &p);
		if (e != ERR_OK)
			break;
		n = read(fd, p, 16384);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			e = ERR_IO;
		if (n <= 0)
			break;
		buf_commit(out, (size_t)n);
		if (buf_len(out) > max)
			e = ERR_TOO_LONG;
		if (e != ERR_OK)
			break;
	}
	close(fd);
	if (e == ERR_AGAIN || e == ERR_TOO_LONG)
		snprintf(why, SECRET_WHY_MAX, "%.180s: larger than %zu bytes", path, max);
	else if (e != ERR_OK)
		snprintf(why, SECRET_WHY_MAX, "%.180s: %s", path, err_text(e));
	return e;
}

unsigned settings_workers(const struct config *cfg)
{
	cpu_set_t set;
	int n = 1;

	if (cfg->gateway.workers > 0)
		n = (int)cfg->gateway.workers;
	else if (sched_getaffinity(0, sizeof(set), &set) == 0)
		n = CPU_COUNT(&set);
	if (n < 1)
		n = 1;
	return n > WORKERS_MAX ? WORKERS_MAX : (unsigned)n;
}

bool settings_account(const struct config *cfg, uid_t *uid, gid_t *gid)
{
	const char *wanted = cfg->gateway.user;
	const struct passwd *p;

	*uid = getuid();
	*gid = getgid();
	if (geteuid() != 0)
		return true;
	p = getpwnam(wanted ? wanted : "slapenir");
	if (!p && !wanted)
		p = getpwnam("nobody");
	if (p) {
		*uid = p->pw_uid;
		*gid = p->pw_gid;
	} else if (!wanted) {
		*uid = *gid = 65534;	/* an image without /etc/passwd */
	}
	return p || !wanted;
}

/* ---- policy ---------------------------------------------------------------------------------- */

static struct policy_strings strings_of(struct config_strings s)
{
	return (struct policy_strings){ s.items, s.n };
}

static enum policy_action action_of(const struct config_rule *r)
{
	switch (r->action) {
	case CONFIG_ALLOW:
		return r->protocol == CONFIG_TCP ? POLICY_TCP : POLICY_ALLOW;
	case CONFIG_PASSTHROUGH:
		return POLICY_PASSTHROUGH;
	case CONFIG_DENY:
		break;
	}
	return POLICY_DENY;
}

static size_t count_ports(const struct config *cfg)
{
	size_t n = 0;

	for (size_t i = 0; i < cfg->egress.n_rules; i++)
		n += cfg->egress.rules[i].n_ports;
	return n;
}

static void spell_rules(const struct config *cfg, struct policy_rule_spec *rules,
			struct policy_ports *ports)
{
	for (size_t i = 0; i < cfg->egress.n_rules; i++) {
		const struct config_rule *r = &cfg->egress.rules[i];

		rules[i] = (struct policy_rule_spec){
			.action = action_of(r),
			.name = r->name,
			.hosts = strings_of(r->hosts),
			.addresses = r->addresses,
			.n_addresses = r->n_addresses,
			.ports = ports,
			.n_ports = r->n_ports,
			.methods = strings_of(r->methods),
			.paths = strings_of(r->paths),
			.agents = strings_of(r->agents),
		};
		for (size_t p = 0; p < r->n_ports; p++)
			*ports++ = (struct policy_ports){ r->ports[p].first, r->ports[p].last };
	}
}

static void spell_agents(const struct config *cfg, struct policy_agent_spec *agents)
{
	for (size_t i = 0; i < cfg->n_agents; i++) {
		const struct config_agent *a = &cfg->agents[i];

		agents[i] = (struct policy_agent_spec){
			.name = a->name,
			.sources = a->sources,
			.n_sources = a->n_sources,
			.rate = { a->rate.requests, a->rate.per_s, a->rate.burst },
		};
	}
}

struct policy *settings_policy(const struct config *cfg, const struct addr *own, size_t n_own)
{
	struct policy_agent_spec *agents = calloc(cfg->n_agents + 1, sizeof(*agents));
	struct policy_rule_spec *rules = calloc(cfg->egress.n_rules + 1, sizeof(*rules));
	struct policy_ports *ports = calloc(count_ports(cfg) + 1, sizeof(*ports));
	struct policy *policy = NULL;

	if (agents && rules && ports) {
		struct policy_spec spec = {
			.agents = agents,
			.n_agents = cfg->n_agents,
			.rules = rules,
			.n_rules = cfg->egress.n_rules,
			.allow_by_default = cfg->egress.fallback == CONFIG_ALLOW,
			.allow_special = cfg->egress.allow_special,
			.n_allow_special = cfg->egress.n_allow_special,
			.own_addresses = own,
			.n_own_addresses = n_own,
		};

		spell_agents(cfg, agents);
		spell_rules(cfg, rules, ports);
		policy = policy_new(&spec);
	}
	free(agents);
	free(rules);
	free(ports);
	return policy;
}

enum err settings_own_addresses(struct buf *out)
{
	struct ifaddrs *all;
	enum err e = ERR_OK;

	if (getifaddrs(&all) != 0)
		return ERR_IO;
	for (const struct ifaddrs *i = all; i && e == ERR_OK; i = i->ifa_next) {
		struct addr a;

		if (!i->ifa_addr || !addr_from_sockaddr(&a, i->ifa_addr))
			continue;
		a.port = 0;
		e = buf_append(out, bytes_of(&a, sizeof(a)));
	}
	freeifaddrs(all);
	return e;
}

/* ---- resolvers ------------------------------------------------------------------------------- */

static enum err add_server(struct buf *out, const struct addr *a)
{
	char text[ADDR_TEXT_MAX];

	if (buf_len(out) > 0)
		TRY(buf_append_str(out, ","));
	return buf_append_str(out, addr_text(a, text));
}

/*
 * resolv.conf(5): "nameserver" and an address; the first three count. A scope (%eth0) is not
 * understood.
 */
static enum err servers_of_text(struct bytes text, struct buf *out)
{
	const struct bytes keyword = BYTES_LIT("nameserver");
	unsigned found = 0;

	while (text.n > 0 && found < 3) {
		struct bytes line = bytes_first(text, bytes_index(text, '\n'));
		struct addr a;

		text = bytes_from(text, line.n + 1);
		if (!bytes_starts(line, keyword) || line.n <= keyword.n ||
		    (line.p[keyword.n] != ' ' && line.p[keyword.n] != '\t'))
			continue;
		line = bytes_trim(bytes_from(line, keyword.n));
		line = bytes_first(line, bytes_index(line, ' '));
		line = bytes_first(line, bytes_index(line, '\t'));
		if (!addr_parse_ip(&a, line))
			continue;
		a.port = 53;
		TRY(add_server(out, &a));
		found++;
	}
	return ERR_OK;
}

enum err settings_dns_servers(const struct config *cfg, struct bytes resolv_conf, struct buf *out)
{
	if (cfg->gateway.dns.system) {
		TRY(servers_of_text(resolv_conf, out));
		/* resolv.conf(5): no nameserver means the one on this machine. */
		return buf_len(out) > 0 ? ERR_OK : buf_append_str(out, "127.0.0.1:53");
	}
	for (size_t i = 0; i < cfg->gateway.dns.n_upstream; i++)
		TRY(add_server(out, &cfg->gateway.dns.upstream[i]));
	return buf_len(out) > 0 ? ERR_OK : ERR_CONFIG;
}
