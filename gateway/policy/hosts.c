/*
 * hosts.c - index from host patterns to rules
 *
 * A host is hashed from its end, so that one pass yields the hash of every suffix at its dot.
 * Keys are the configuration's, never the agent's, so a plain hash does.
 */
#include "gateway/policy/policy_internal.h"

#include <stdlib.h>

#define HASH_START 2166136261u

static uint32_t hash_byte(uint32_t hash, char c)
{
	return (hash ^ (uint8_t)c) * 16777619u;
}

static uint32_t hash_key(const char *key, size_t n)
{
	uint32_t hash = HASH_START;

	while (n)
		hash = hash_byte(hash, key[--n]);
	return hash ^ hash >> 15;
}

static struct host_entry *find_slot(const struct host_index *h, const char *key, uint32_t hash)
{
	for (size_t i = hash & h->mask;; i = (i + 1) & h->mask) {
		struct host_entry *entry = &h->slots[i];

		if (!entry->key || (entry->hash == hash && strcmp(entry->key, key) == 0))
			return entry;
	}
}

static int pair_compare(const void *a, const void *b)
{
	const struct host_pair *x = a, *y = b;
	int order = strcmp(x->key, y->key);

	return order ? order : (x->rule > y->rule) - (x->rule < y->rule);
}

bool policy_hosts_build(struct host_index *h, struct arena *a, struct host_pair *pairs, size_t n)
{
	size_t size = 4;
	uint32_t *rules = policy_arena_alloc(a, n, sizeof(*rules));

	while (size < n * 2)
		size *= 2;
	h->slots = policy_arena_alloc(a, size, sizeof(*h->slots));
	h->mask = size - 1;
	if (!rules || !h->slots)
		return false;
	if (n)
		qsort(pairs, n, sizeof(*pairs), pair_compare);
	for (size_t i = 0; i < n; i++) {
		uint32_t hash = hash_key(pairs[i].key, strlen(pairs[i].key));
		struct host_entry *entry = find_slot(h, pairs[i].key, hash);

		rules[i] = pairs[i].rule;
		if (!entry->key) {
			entry->key = pairs[i].key;
			entry->hash = hash;
			entry->list = (struct host_list){ rules + i, 1 };
		} else if (entry->list.rules[entry->list.n - 1] != pairs[i].rule) {
			/* equal keys are neighbours; the next fills a duplicate's gap */
			rules[(size_t)(entry->list.rules - rules) + entry->list.n++] =
				pairs[i].rule;
		}
	}
	return true;
}

static size_t add_list(const struct host_index *h, const char *key, uint32_t hash,
		       struct host_list *list)
{
	const struct host_entry *entry = find_slot(h, key, hash ^ hash >> 15);

	if (!entry->key)
		return 0;
	*list = entry->list;
	return 1;
}

size_t policy_hosts_find(const struct host_index *h, const char *host, bool address,
			 struct host_list lists[POLICY_LISTS_MAX])
{
	uint32_t hash = HASH_START;
	size_t n = 0;

	if (!address)
		n += add_list(h, ".", hash_byte(HASH_START, '.'), &lists[n]);
	for (size_t i = strlen(host); i-- > 0;) {
		hash = hash_byte(hash, host[i]);
		if (host[i] == '.' && i > 0 && !address && n < POLICY_LISTS_MAX - 1)
			n += add_list(h, host + i, hash, &lists[n]);
	}
	return n + add_list(h, host, hash, &lists[n]);
}

const char *policy_hosts_key(struct arena *a, const char *pattern)
{
	char name[POLICY_HOST_MAX];
	char *key;

	if (strcmp(pattern, "*") == 0)
		return policy_arena_str(a, ".");
	if (strncmp(pattern, "*.", 2) != 0)
		return policy_host_normalise(bytes_str(pattern), name) ? policy_arena_str(a, name)
								       : NULL;
	if (!policy_host_normalise(bytes_str(pattern + 2), name) ||
	    policy_host_is_address(name, NULL))
		return NULL;
	key = policy_arena_alloc(a, strlen(name) + 2, 1);
	if (key) {
		key[0] = '.';
		memcpy(key + 1, name, strlen(name));
	}
	return key;
}
