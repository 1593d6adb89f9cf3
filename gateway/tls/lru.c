/*
 * lru.c - least recently used, found by text key
 *
 * Intrusive: owners embed struct lru_entry and keep the key alive while it is in. The table is
 * sized once for the capacity its owner keeps to; it never grows. The hash is seeded, since agents
 * pick the names; at worst a look-up compares as many hashes as there are entries.
 */
#include "gateway/tls/tls_internal.h"

#include <stdlib.h>

static uint32_t hash_of(const struct lru *l, const char *key)
{
	uint64_t h = 0xcbf29ce484222325u ^ l->seed;

	for (; *key; key++)
		h = (h ^ (uint8_t)*key) * 0x100000001b3u;
	h ^= h >> 33;
	h *= 0xff51afd7ed558ccdu ^ (l->seed << 1);
	h ^= h >> 29;
	return (uint32_t)(h ^ (h >> 32));
}

enum err lru_init(struct lru *l, size_t capacity, uint64_t seed)
{
	size_t n = 16;

	memset(l, 0, sizeof(*l));
	while (n < capacity && n < (size_t)1 << 20)
		n *= 2;
	l->buckets = calloc(n, sizeof(*l->buckets));
	if (!l->buckets)
		return ERR_NOMEM;
	l->mask = n - 1;
	l->seed = seed;
	return ERR_OK;
}

void lru_release(struct lru *l)
{
	free(l->buckets);
	memset(l, 0, sizeof(*l));
}

static void unlink_age(struct lru *l, struct lru_entry *e)
{
	*(e->newer ? &e->newer->older : &l->newest) = e->older;
	*(e->older ? &e->older->newer : &l->oldest) = e->newer;
}

static void link_newest(struct lru *l, struct lru_entry *e)
{
	e->newer = NULL;
	e->older = l->newest;
	*(l->newest ? &l->newest->newer : &l->oldest) = e;
	l->newest = e;
}

struct lru_entry *lru_find(struct lru *l, const char *key)
{
	uint32_t h = hash_of(l, key);

	for (struct lru_entry *e = l->buckets[h & l->mask]; e; e = e->chain) {
		if (e->hash != h || strcmp(e->key, key) != 0)
			continue;
		if (l->newest != e) {
			unlink_age(l, e);
			link_newest(l, e);
		}
		return e;
	}
	return NULL;
}

void lru_insert(struct lru *l, struct lru_entry *e)
{
	struct lru_entry **bucket;

	e->hash = hash_of(l, e->key);
	bucket = &l->buckets[e->hash & l->mask];
	e->chain = *bucket;
	*bucket = e;
	link_newest(l, e);
	l->count++;
}

void lru_remove(struct lru *l, struct lru_entry *e)
{
	struct lru_entry **at = &l->buckets[e->hash & l->mask];

	while (*at != e)
		at = &(*at)->chain;
	*at = e->chain;
	unlink_age(l, e);
	e->chain = e->newer = e->older = NULL;
	l->count--;
}
