/*
 * pool.c - warm connections by target
 *
 * A key is one target: host, port, TLS, agent (and trust, which is the process's). Keys live as
 * long as a connection refers to them, so thousands of names cost nothing once their connections
 * are gone. Warm connections are bounded per key and in all; the least recently used goes first.
 */
#include "gateway/upstream/upstream_internal.h"

#include <stdlib.h>

static bool target_eq(const struct upstream_target *a, const struct upstream_target *b)
{
	if (a->port != b->port || a->tls != b->tls || a->raw != b->raw || a->agent != b->agent ||
	    strcmp(a->host, b->host) != 0)
		return false;
	return a->host[0] || addr_ip_eq(&a->fallback, &b->fallback);
}

/*
 * FNV-1a; names come from policy-checked agents and keys go with their connections, so floods stay
 * bounded.
 */
static size_t target_bucket(const struct upstream_target *t)
{
	uint32_t h = 2166136261u;

	for (const char *c = t->host; *c; c++)
		h = (h ^ (uint8_t)*c) * 16777619u;
	for (size_t i = 0; !t->host[0] && i < sizeof(t->fallback.ip); i++)
		h = (h ^ t->fallback.ip[i]) * 16777619u;
	h = (h ^ t->port ^ (uint32_t)t->agent << 16) * 16777619u;
	return h % UPSTREAM_BUCKETS;
}

static struct upstream_key *key_find(struct upstream_pool *p, const struct upstream_target *t)
{
	struct upstream_key *k = p->buckets[target_bucket(t)];

	while (k && !target_eq(&k->target, t))
		k = k->next;
	return k;
}

struct upstream_key *key_get(struct upstream_pool *p, const struct upstream_target *t)
{
	struct upstream_key *k = key_find(p, t);

	if (!k) {
		size_t bucket = target_bucket(t);

		k = calloc(1, sizeof(*k));
		if (!k)
			return NULL;
		k->target = *t;
		list_init(&k->idle);
		list_init(&k->pending);
		k->next = p->buckets[bucket];
		p->buckets[bucket] = k;
	}
	k->n_conns++;
	return k;
}

void key_unref(struct upstream_pool *p, struct upstream_key *k)
{
	struct upstream_key **at = &p->buckets[target_bucket(&k->target)];

	if (--k->n_conns)
		return;
	while (*at != k)
		at = &(*at)->next;
	*at = k->next;
	free(k);
}

void pool_take_idle(struct upstream_conn *c)
{
	if (!list_linked(&c->lru))
		return;
	list_remove(&c->link);
	list_remove(&c->lru);
	c->key->n_idle--;
	c->pool->n_idle--;
}

void pool_put_idle(struct upstream_conn *c)
{
	struct upstream_pool *p = c->pool;

	list_prepend(&c->key->idle, &c->link);
	list_append(&p->lru, &c->lru);
	c->key->n_idle++;
	p->n_idle++;
	if (c->key->n_idle > p->spec.idle_per_key)
		conn_close(container_of(c->key->idle.prev, struct upstream_conn, link));
	else if (p->n_idle > p->spec.idle_total)
		conn_close(container_of(p->lru.next, struct upstream_conn, lru));
}

static void pool_release(struct upstream_pool *p)
{
	buf_release(&p->scratch);
	http_response_release(&p->head);
	free(p);
}

void pool_conn_gone(struct upstream_pool *p)
{
	p->n_conns--;
	if (p->freeing && p->n_conns == 0)
		pool_release(p);
}

struct upstream_pool *upstream_pool_new(const struct upstream_pool_spec *spec)
{
	struct upstream_pool *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	p->spec = *spec;
	list_init(&p->lru);
	/* Substitution may lengthen a head; this is a ceiling, not an allocation. */
	buf_init_secret(&p->scratch, spec->header_bytes * 4 + 4096);
	p->limits = H1_LIMITS_DEFAULT;
	p->limits.header_bytes = spec->header_bytes;
	return p;
}

void upstream_pool_free(struct upstream_pool *p)
{
	if (!p || p->freeing)
		return;
	p->freeing = true;
	for (size_t i = 0; i < UPSTREAM_BUCKETS; i++) {
		for (struct upstream_key *k = p->buckets[i]; k; k = k->next) {
			while (!list_empty(&k->idle))
				conn_close(container_of(k->idle.next, struct upstream_conn, link));
			while (!list_empty(&k->pending))
				conn_close(container_of(k->pending.next, struct upstream_conn,
							link));
		}
	}
	if (p->n_conns == 0)
		pool_release(p);
}

void upstream_pool_warm(struct upstream_pool *p, const struct upstream_target *t)
{
	struct upstream_key *k = key_find(p, t);
	struct upstream_conn *c;

	if (k && (!list_empty(&k->idle) || !list_empty(&k->pending)))
		return;
	c = conn_new(p, t);
	if (c)
		list_prepend(&c->key->pending, &c->link);
}
