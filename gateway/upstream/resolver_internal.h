/*
 * resolver_internal.h - the resolver's memory of what was answered; no other room includes this
 */
#pragma once

#include "gateway/upstream/upstream.h"

#define RESOLVER_CACHE_SLOTS 512
#define RESOLVER_CACHE_S 60		/* an answer is used this long at most */
#define RESOLVER_CACHE_NONE_MS 1000	/* "no such name" is believed this long */

struct resolver_question {
	const char *name;
	int family;			/* AF_INET, AF_INET6, AF_UNSPEC: both */
};

struct resolver_cache;

/* NULL: out of memory. */
struct resolver_cache *resolver_cache_new(void);
void resolver_cache_free(struct resolver_cache *c);
/*
 * What was answered to this question, or to its two halves, and still holds: ERR_OK with addresses
 * and what is left of their time, or ERR_RESOLVE_NONE. ERR_AGAIN: it has to be asked.
 */
enum err resolver_cache_get(const struct resolver_cache *c, const struct resolver_question *q,
			    uint64_t now_ms, struct upstream_addrs *out) WARN_UNUSED;
/* Other errors than ERR_RESOLVE_NONE, and answers without time to live, are not kept. */
void resolver_cache_put(struct resolver_cache *c, const struct resolver_question *q,
			uint64_t now_ms, enum err e, const struct upstream_addrs *addrs);
