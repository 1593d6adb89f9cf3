/*
 * leaf_cache.c - leaves by host, one mint at a time per name
 *
 *	(none) --get--> MINTING --put--> READY --get at 2/3 of life--> READY and minting
 *	   ^               |               |
 *	   +----- fail ----+               +-- end of life: as (none), keeping its place
 *
 * An entry stays while somebody waits for it or its mint is under way; of the others the least
 * recently used goes when the cache is full. When all are minting, further names are refused
 * (ERR_MINT): the minter is the bottleneck then, and an agent that makes up names must not grow our
 * memory. `done` may call anything here, get() for the same host included: the line is taken off
 * first.
 */
#include "gateway/tls/tls_internal.h"

#include <stdlib.h>

/* A mint that was asked for is asked for again after this long without an answer. */
#define MINT_PATIENCE 5

struct entry {
	struct lru_entry lru;
	struct tls_leaf *leaf;		/* referenced; NULL: none yet */
	uint64_t renew_at;		/* Unix seconds, with a leaf */
	uint64_t minting_since;		/* Unix seconds; 0: no mint is under way */
	struct list line;		/* those who wait for the leaf */
	char host[];
};

struct tls_leaf_cache {
	struct lru entries;
	struct tls_server *server;	/* referenced */
	size_t capacity;
};

/* ---- the line -------------------------------------------------------------------------------- */

void tls_leaf_waiter_cancel(struct tls_leaf_waiter *w)
{
	list_remove(&w->link);
}

/* A line is moved before it is woken: who cancels meanwhile leaves it as before. */
static void wake_all(struct list *line, enum err e, struct tls_leaf *leaf)
{
	while (!list_empty(line)) {
		struct tls_leaf_waiter *w = container_of(line->next, struct tls_leaf_waiter, link);

		tls_leaf_waiter_cancel(w);
		w->done(w, e, leaf);
	}
}

/* ---- entries --------------------------------------------------------------------------------- */

static struct entry *find(struct tls_leaf_cache *c, const char *host)
{
	struct lru_entry *e = lru_find(&c->entries, host);

	return e ? container_of(e, struct entry, lru) : NULL;
}

static void drop(struct tls_leaf_cache *c, struct entry *en)
{
	lru_remove(&c->entries, &en->lru);
	tls_leaf_unref(en->leaf);
	free(en);
}

static bool in_use(const struct entry *en)
{
	return en->minting_since || !list_empty(&en->line);
}

static bool make_room(struct tls_leaf_cache *c)
{
	struct lru_entry *e = c->entries.oldest;

	if (c->entries.count < c->capacity)
		return true;
	while (e && in_use(container_of(e, struct entry, lru)))
		e = e->newer;
	if (!e)
		return false;
	drop(c, container_of(e, struct entry, lru));
	return true;
}

static enum err add(struct tls_leaf_cache *c, const char *host, struct entry **out)
{
	size_t n = strlen(host) + 1;
	struct entry *en;

	if (!make_room(c))
		return ERR_MINT;
	en = calloc(1, sizeof(*en) + n);
	if (!en)
		return ERR_NOMEM;
	memcpy(en->host, host, n);
	en->lru.key = en->host;
	list_init(&en->line);
	lru_insert(&c->entries, &en->lru);
	*out = en;
	return ERR_OK;
}

/* Should a mint be asked for now? Marks it as under way. */
static bool start_mint(struct entry *en, uint64_t now)
{
	if (en->minting_since && now < en->minting_since + MINT_PATIENCE)
		return false;
	en->minting_since = now ? now : 1;
	return true;
}

/* ---- public ---------------------------------------------------------------------------------- */

struct tls_leaf_cache *tls_leaf_cache_new(struct tls_server *s, size_t capacity)
{
	struct tls_leaf_cache *c = calloc(1, sizeof(*c));
	uint64_t seed;

	if (!c)
		return NULL;
	if (tls_random((uint8_t *)&seed, sizeof(seed)) != ERR_OK ||
	    lru_init(&c->entries, capacity, seed) != ERR_OK) {
		free(c);
		return NULL;
	}
	c->capacity = capacity ? capacity : 1;
	c->server = server_ref(s);
	return c;
}

void tls_leaf_cache_free(struct tls_leaf_cache *c)
{
	if (!c)
		return;
	while (c->entries.oldest) {
		struct entry *en = container_of(c->entries.oldest, struct entry, lru);
		struct list line;

		list_move(&en->line, &line);
		drop(c, en);
		wake_all(&line, ERR_SHUTTING_DOWN, NULL);
	}
	lru_release(&c->entries);
	tls_server_free(c->server);
	free(c);
}

enum err tls_leaf_cache_get(struct tls_leaf_cache *c, const char *host, uint64_t unix_now,
			    struct tls_leaf_waiter *w, bool *mint, struct tls_leaf **leaf)
{
	struct entry *en;

	*mint = false;
	*leaf = NULL;
	if (host_kind_of(bytes_str(host), NULL) == HOST_INVALID)
		return ERR_BAD_VALUE;
	en = find(c, host);
	if (!en)
		TRY(add(c, host, &en));
	if (en->leaf && tls_leaf_not_after(en->leaf) > unix_now) {
		*mint = unix_now >= en->renew_at && start_mint(en, unix_now);
		*leaf = tls_leaf_ref(en->leaf);
		return ERR_OK;
	}
	*mint = start_mint(en, unix_now);
	list_append(&en->line, &w->link);
	return ERR_AGAIN;
}

void tls_leaf_cache_put(struct tls_leaf_cache *c, const char *host, struct bytes cert_der)
{
	struct entry *en = find(c, host);
	struct list line;
	struct tls_leaf *leaf = NULL;
	uint64_t now = tls_unix_now();
	enum err e;

	if (!en)
		return;		/* nobody asked, or not any more */
	e = tls_leaf_new(c->server, host, cert_der, &leaf);
	if (e == ERR_OK && tls_leaf_not_after(leaf) <= now) {
		tls_leaf_unref(leaf);
		e = ERR_MINT;
	}
	if (e != ERR_OK) {
		tls_leaf_cache_fail(c, host, e);
		return;
	}
	en->minting_since = 0;
	en->renew_at = now + (tls_leaf_not_after(leaf) - now) / 3 * 2;
	tls_leaf_unref(en->leaf);
	en->leaf = tls_leaf_ref(leaf);
	list_move(&en->line, &line);
	wake_all(&line, ERR_OK, leaf);
	tls_leaf_unref(leaf);
}

void tls_leaf_cache_fail(struct tls_leaf_cache *c, const char *host, enum err e)
{
	struct entry *en = find(c, host);
	struct list line;

	if (!en)
		return;
	en->minting_since = 0;
	list_move(&en->line, &line);
	if (!en->leaf)
		drop(c, en);	/* with a leaf: it serves until its end */
	wake_all(&line, e, NULL);
}

size_t tls_leaf_cache_count(const struct tls_leaf_cache *c)
{
	return c->entries.count;
}
