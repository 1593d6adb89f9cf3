/*
 * resolver_cache.c - answers kept for a moment
 *
 * An agent asks for a name and then connects to it: the gateway, which resolves again for itself,
 * finds its own answer here. One slot per hash, the later answer wins: bounded, and whoever makes
 * slots collide only makes the gateway ask again. Addresses are judged when they are dialled, so
 * what is kept here decides nothing.
 */
#include "gateway/upstream/resolver_internal.h"

#include <stdlib.h>

struct slot {
	char name[UPSTREAM_HOST_MAX];	/* "": empty */
	int family;
	enum err err;
	uint64_t since_ms, until_ms;
	struct upstream_addrs addrs;
};

struct resolver_cache {
	struct slot slots[RESOLVER_CACHE_SLOTS];
};

struct resolver_cache *resolver_cache_new(void)
{
	return calloc(1, sizeof(struct resolver_cache));
}

void resolver_cache_free(struct resolver_cache *c)
{
	free(c);
}

/* FNV-1a over the name in lower case and the family. */
static size_t slot_of(const struct resolver_question *q)
{
	uint32_t h = 2166136261u ^ (uint32_t)q->family;

	for (const char *s = q->name; *s; s++)
		h = (h ^ ascii_lower((uint8_t)*s)) * 16777619u;
	return (h ^ h >> 16) % RESOLVER_CACHE_SLOTS;
}

static const struct slot *slot_find(const struct resolver_cache *c,
				    const struct resolver_question *q, uint64_t now_ms)
{
	const struct slot *s = &c->slots[slot_of(q)];

	if (!s->name[0] || s->family != q->family || now_ms >= s->until_ms ||
	    now_ms < s->since_ms || !bytes_ieq(bytes_str(s->name), bytes_str(q->name)))
		return NULL;
	return s;
}

/* Appends what the slot knows. */
static void slot_add(const struct slot *s, uint64_t now_ms, struct upstream_addrs *out)
{
	uint64_t age_s = (now_ms - s->since_ms) / 1000;
	unsigned left = s->addrs.ttl > age_s ? s->addrs.ttl - (unsigned)age_s : 0;

	if (s->err != ERR_OK)
		return;
	if (out->n == 0 || left < out->ttl)
		out->ttl = left;
	for (size_t i = 0; i < s->addrs.n && out->n < UPSTREAM_ADDRS_MAX; i++)
		out->v[out->n++] = s->addrs.v[i];
}

enum err resolver_cache_get(const struct resolver_cache *c, const struct resolver_question *q,
			    uint64_t now_ms, struct upstream_addrs *out)
{
	const struct resolver_question v4 = { q->name, AF_INET }, v6 = { q->name, AF_INET6 };
	const struct slot *one = slot_find(c, q, now_ms), *two = NULL;

	*out = (struct upstream_addrs){ 0 };
	if (!one && q->family == AF_UNSPEC) {
		one = slot_find(c, &v4, now_ms);
		two = slot_find(c, &v6, now_ms);
		if (!two)
			return ERR_AGAIN;
	}
	if (!one)
		return ERR_AGAIN;
	slot_add(one, now_ms, out);
	if (two)
		slot_add(two, now_ms, out);
	return out->n ? ERR_OK : ERR_RESOLVE_NONE;
}

void resolver_cache_put(struct resolver_cache *c, const struct resolver_question *q,
			uint64_t now_ms, enum err e, const struct upstream_addrs *addrs)
{
	unsigned ttl = addrs->ttl < RESOLVER_CACHE_S ? addrs->ttl : RESOLVER_CACHE_S;
	uint64_t ms = e == ERR_OK ? ttl * UINT64_C(1000) : RESOLVER_CACHE_NONE_MS;
	struct slot *s = &c->slots[slot_of(q)];

	if ((e != ERR_OK && e != ERR_RESOLVE_NONE) || (e == ERR_OK && !addrs->n) || !ms)
		return;
	*s = (struct slot){ .family = q->family, .err = e, .since_ms = now_ms,
			    .until_ms = now_ms + ms };
	if (e == ERR_OK)
		s->addrs = *addrs;
	if (!bytes_to_str(bytes_str(q->name), s->name, sizeof(s->name)))
		s->name[0] = '\0';
}
