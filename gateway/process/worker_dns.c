/*
 * worker_dns.c - what the DNS room asks of a worker: policy, resolution, audit
 */
#include "gateway/process/worker_internal.h"

#include <stdlib.h>

/* One question on its way through the resolver. */
struct dns_lookup {
	void (*done)(void *cookie, const struct dns_result *result);
	void *cookie;
};

static enum err dns_allowed(void *owner, const struct addr *source, const char *name)
{
	const struct worker *w = owner;
	char host[POLICY_HOST_MAX];
	int agent = policy_agent_by_address(w->policy, source);

	if (agent < 0)
		return ERR_DENY_AGENT;
	if (!policy_host_normalise(bytes_str(name), host))
		return ERR_DENY_NAME;
	return policy_name(w->policy, agent, host).reason;
}

static void lookup_on_resolved(void *owner, enum err e, const struct upstream_addrs *addrs)
{
	struct dns_lookup *l = owner;
	struct dns_result result = { .err = e };

	if (e == ERR_OK && addrs) {
		result.addrs = addrs->v;
		result.n = addrs->n;
		result.ttl = addrs->ttl;
	}
	l->done(l->cookie, &result);
	free(l);
}

static void dns_resolve(void *owner, const char *name, int family,
			void (*done)(void *cookie, const struct dns_result *result), void *cookie)
{
	struct worker *w = owner;
	struct dns_lookup *l = malloc(sizeof(*l));

	if (l) {
		*l = (struct dns_lookup){ done, cookie };
		if (upstream_resolve(w->resolver, name, family, lookup_on_resolved, l))
			return;
		free(l);
	}
	done(cookie, &(struct dns_result){ .err = ERR_NOMEM });
}

static void dns_audit(void *owner, const struct addr *source, const char *name, uint16_t type,
		      enum err decision)
{
	struct worker *w = owner;
	struct observe_event ev = OBSERVE_EVENT_INIT("dns.refused");
	const char *agent;

	(void)type;
	observe_add(w->counters, OBSERVE_dns_queries_total, 1);
	if (decision == ERR_OK)
		return;
	if (err_class(decision) != ERR_CLASS_POLICY) {
		observe_add(w->counters, OBSERVE_dns_failed_total, 1);
		return;
	}
	observe_add(w->counters, OBSERVE_dns_refused_total, 1);
	agent = policy_agent_name(w->policy, policy_agent_by_address(w->policy, source));
	if (agent)
		ev.agent = bytes_str(agent);
	ev.host = bytes_str(name);
	ev.address = source;
	ev.protocol = "dns";
	ev.decision = "deny";
	ev.reason = err_name(decision);
	worker_audit_add(w, &ev);
}

const struct dns_server_ops worker_dns_ops = {
	.allowed = dns_allowed,
	.resolve = dns_resolve,
	.audit = dns_audit,
};
