/*
 * policy.c - compiles a specification into an immutable policy
 *
 * Happy path: policy_new() copies agents, rules and addresses into the arena, then indexes host
 * patterns. Failure: anything malformed or out of memory undoes the whole; there is no half-built
 * policy.
 */
#include "gateway/policy/policy_internal.h"

#include <stdlib.h>

static bool copy_bytes(struct arena *a, const void *from, size_t n, size_t size, void **to)
{
	*to = policy_arena_alloc(a, n, size);
	if (!*to)
		return false;
	if (n)
		memcpy(*to, from, n * size);
	return true;
}

static bool copy_cidrs(struct arena *a, const struct cidr *from, size_t n, const struct cidr **to)
{
	void *copy;
	bool ok = copy_bytes(a, from, n, sizeof(*from), &copy);

	*to = copy;
	return ok;
}

static bool copy_strings(struct arena *a, const struct policy_strings *from,
			 struct policy_strings *to)
{
	const char **items = policy_arena_alloc(a, from->n, sizeof(*items));

	if (!items)
		return false;
	for (size_t i = 0; i < from->n; i++) {
		items[i] = policy_arena_str(a, from->items[i]);
		if (!items[i])
			return false;
	}
	*to = (struct policy_strings){ items, from->n };
	return true;
}

static bool add_agents(struct policy *p, const struct policy_spec *spec)
{
	p->n_agents = spec->n_agents;
	p->agents = policy_arena_alloc(&p->arena, spec->n_agents, sizeof(*p->agents));
	if (!p->agents)
		return false;
	for (size_t i = 0; i < spec->n_agents; i++) {
		const struct policy_agent_spec *from = &spec->agents[i];
		struct agent *to = &p->agents[i];

		to->name = policy_arena_str(&p->arena, from->name);
		to->n_sources = from->n_sources;
		to->rate = from->rate;
		if (!to->name ||
		    !copy_cidrs(&p->arena, from->sources, from->n_sources, &to->sources))
			return false;
	}
	return true;
}

static bool compile_agents(struct policy *p, const struct policy_strings *names,
			   const uint64_t **out)
{
	uint64_t *bitmap;

	*out = NULL;
	if (names->n == 0)
		return true;
	bitmap = policy_arena_alloc(&p->arena, p->n_agents / 64 + 1, sizeof(*bitmap));
	if (!bitmap)
		return false;
	for (size_t i = 0; i < names->n; i++) {
		size_t at = 0;

		while (at < p->n_agents && strcmp(p->agents[at].name, names->items[i]) != 0)
			at++;
		if (at == p->n_agents)
			return false;
		bitmap[at / 64] |= 1ull << (at % 64);
	}
	*out = bitmap;
	return true;
}

static bool compile_paths(struct policy *p, const struct policy_strings *paths, struct rule *to)
{
	struct glob *globs = policy_arena_alloc(&p->arena, paths->n, sizeof(*globs));

	if (!globs)
		return false;
	for (size_t i = 0; i < paths->n; i++) {
		const char *text = policy_arena_str(&p->arena, paths->items[i]);

		if (!text || !policy_glob_init(&globs[i], text))
			return false;
	}
	to->paths = globs;
	to->n_paths = paths->n;
	return true;
}

static bool compile_rule(struct policy *p, const struct policy_rule_spec *from, size_t index)
{
	struct rule *to = &p->rules[index];
	char name[40];
	void *ports;

	/* what is not opened cannot be judged by method or path */
	if ((from->action == POLICY_PASSTHROUGH || from->action == POLICY_TCP) &&
	    (from->methods.n || from->paths.n))
		return false;
	snprintf(name, sizeof(name), "egress.rules[%zu]", index);
	to->action = from->action;
	to->name = policy_arena_str(&p->arena, from->name && *from->name ? from->name : name);
	to->n_addresses = from->n_addresses;
	to->n_ports = from->n_ports;
	if (!to->name ||
	    !copy_bytes(&p->arena, from->ports, from->n_ports, sizeof(*from->ports), &ports))
		return false;
	to->ports = ports;
	return copy_cidrs(&p->arena, from->addresses, from->n_addresses, &to->addresses) &&
	       copy_strings(&p->arena, &from->methods, &to->methods) &&
	       compile_paths(p, &from->paths, to) && compile_agents(p, &from->agents, &to->agents);
}

/* The lists of rules that no host pattern leads to. */
static bool index_unnamed(struct policy *p, const struct policy_spec *spec)
{
	uint32_t *anywhere = policy_arena_alloc(&p->arena, spec->n_rules, sizeof(*anywhere));
	uint32_t *by_address = policy_arena_alloc(&p->arena, spec->n_rules, sizeof(*by_address));

	if (!anywhere || !by_address)
		return false;
	p->anywhere.rules = anywhere;
	p->by_address.rules = by_address;
	for (size_t i = 0; i < spec->n_rules; i++) {
		if (spec->rules[i].n_addresses)
			by_address[p->by_address.n++] = (uint32_t)i;
		else if (spec->rules[i].hosts.n == 0)
			anywhere[p->anywhere.n++] = (uint32_t)i;
	}
	return true;
}

static bool index_hosts(struct policy *p, const struct policy_spec *spec)
{
	struct host_pair *pairs;
	size_t n = 0, at = 0;
	bool ok;

	for (size_t i = 0; i < spec->n_rules; i++)
		n += spec->rules[i].hosts.n;
	pairs = calloc(n ? n : 1, sizeof(*pairs));
	if (!pairs)
		return false;
	for (size_t i = 0; i < spec->n_rules; i++)
		for (size_t j = 0; j < spec->rules[i].hosts.n; j++, at++) {
			pairs[at].key = policy_hosts_key(&p->arena, spec->rules[i].hosts.items[j]);
			pairs[at].rule = (uint32_t)i;
			if (!pairs[at].key) {
				free(pairs);
				return false;
			}
		}
	ok = policy_hosts_build(&p->hosts, &p->arena, pairs, n);
	free(pairs);
	return ok;
}

static bool add_addresses(struct policy *p, const struct policy_spec *spec)
{
	void *own;

	p->n_allow_special = spec->n_allow_special;
	p->n_own = spec->n_own_addresses;
	if (!copy_bytes(&p->arena, spec->own_addresses, spec->n_own_addresses,
			sizeof(*spec->own_addresses), &own))
		return false;
	p->own = own;
	return copy_cidrs(&p->arena, spec->allow_special, spec->n_allow_special, &p->allow_special);
}

static bool add_rules(struct policy *p, const struct policy_spec *spec)
{
	if (spec->n_rules > UINT32_MAX)
		return false;
	p->allow_by_default = spec->allow_by_default;
	p->n_rules = spec->n_rules;
	p->rules = policy_arena_alloc(&p->arena, spec->n_rules, sizeof(*p->rules));
	if (!p->rules)
		return false;
	for (size_t i = 0; i < spec->n_rules; i++)
		if (!compile_rule(p, &spec->rules[i], i))
			return false;
	return index_unnamed(p, spec) && index_hosts(p, spec);
}

struct policy *policy_new(const struct policy_spec *spec)
{
	struct policy *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	if (add_agents(p, spec) && add_addresses(p, spec) && add_rules(p, spec))
		return p;
	policy_free(p);
	return NULL;
}

void policy_free(struct policy *p)
{
	if (!p)
		return;
	policy_arena_free(&p->arena);
	free(p);
}

int policy_agent_by_address(const struct policy *p, const struct addr *source)
{
	for (size_t i = 0; i < p->n_agents; i++)
		for (size_t j = 0; j < p->agents[i].n_sources; j++)
			if (cidr_contains(&p->agents[i].sources[j], source))
				return (int)i;
	return -1;
}

size_t policy_agent_count(const struct policy *p)
{
	return p->n_agents;
}

const char *policy_agent_name(const struct policy *p, int agent)
{
	return agent >= 0 && (size_t)agent < p->n_agents ? p->agents[agent].name : NULL;
}

const struct policy_rate *policy_agent_rate(const struct policy *p, int agent)
{
	return agent >= 0 && (size_t)agent < p->n_agents ? &p->agents[agent].rate : NULL;
}
