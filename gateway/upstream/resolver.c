/*
 * resolver.c - names to addresses through c-ares on the worker's loop
 *
 * Happy path: upstream_resolve() -> hosts snapshot, else what was answered a moment ago, else
 * ares_getaddrinfo() -> query on the done list -> callback from the next turn. c-ares may answer
 * from inside the call that asks; the done list makes every answer come later.
 * Ownership: a query lives from upstream_resolve() until its callback or until c-ares has let go of
 * a cancelled one. c-ares only looks at DNS ("b"): a sandboxed worker opens no file.
 */
#include "gateway/upstream/resolver_internal.h"

#include <ares.h>
#include <netdb.h>
#include <stdlib.h>
#include <uv.h>

#define RESOLVER_TRIES 3

struct resolver_host {
	char *name;
	struct addr addr;
};

struct resolver_socket {
	uv_poll_t poll;
	struct upstream_resolver *r;
	struct resolver_socket *next;
	ares_socket_t fd;
};

struct upstream_resolver {
	struct net_loop *loop;
	ares_channel ares;
	uv_timer_t timeout;		/* drives c-ares' own time-outs while queries are open */
	uv_timer_t later;		/* zero time-out: reports the done list */
	struct resolver_socket *sockets;
	struct resolver_host *hosts;
	size_t n_hosts;
	struct resolver_cache *cache;
	struct upstream_query *done;
	size_t open;			/* queries c-ares works on */
	size_t handles;			/* uv handles not yet closed */
	bool freeing;
};

struct upstream_query {
	struct upstream_resolver *r;
	upstream_resolve_cb cb;		/* NULL: cancelled */
	void *owner;
	enum err err;
	struct upstream_addrs addrs;
	struct upstream_query *next;
	char name[UPSTREAM_HOST_MAX];	/* "": too long to be kept */
	int family;
	bool listed;			/* on the done list */
};

/* ---- hosts snapshot ---- */

static bool hosts_add(struct upstream_resolver *r, const struct addr *a, struct bytes name)
{
	struct resolver_host *v = reallocarray(r->hosts, r->n_hosts + 1, sizeof(*v));

	if (!v)
		return false;
	r->hosts = v;
	v[r->n_hosts].addr = *a;
	v[r->n_hosts].name = bytes_dup_str(name);
	if (!v[r->n_hosts].name)
		return false;
	r->n_hosts++;
	return true;
}

static struct bytes next_word(struct bytes *line)
{
	struct bytes word;
	size_t n = 0;

	*line = bytes_trim(*line);
	while (n < line->n && line->p[n] != ' ' && line->p[n] != '\t')
		n++;
	word = bytes_first(*line, n);
	*line = bytes_from(*line, n);
	return word;
}

static bool hosts_parse(struct upstream_resolver *r, struct bytes text)
{
	while (text.n) {
		size_t eol = bytes_index(text, '\n');
		struct bytes line = bytes_first(text, eol), name;
		struct addr a;

		text = bytes_from(text, eol + 1);
		line = bytes_first(line, bytes_index(line, '#'));
		if (!addr_parse_ip(&a, next_word(&line)))
			continue;
		while ((name = next_word(&line)).n)
			if (!hosts_add(r, &a, name))
				return false;
	}
	return true;
}

static void addrs_add(struct upstream_addrs *out, const struct addr *a)
{
	for (size_t i = 0; i < out->n; i++)
		if (addr_ip_eq(&out->v[i], a))
			return;
	if (out->n < UPSTREAM_ADDRS_MAX)
		out->v[out->n++] = *a;
}

static void hosts_find(const struct upstream_resolver *r, struct bytes name, int family,
		       struct upstream_addrs *out)
{
	for (size_t i = 0; i < r->n_hosts; i++)
		if (bytes_ieq(bytes_str(r->hosts[i].name), name) &&
		    (family == AF_UNSPEC || family == r->hosts[i].addr.family))
			addrs_add(out, &r->hosts[i].addr);
	out->ttl = 60;
}

/* ---- reporting ---- */

static void resolver_maybe_free(struct upstream_resolver *r);

static void resolver_on_later(uv_timer_t *t)
{
	struct upstream_resolver *r = t->data;
	struct upstream_query *q = r->done;

	r->done = NULL;
	while (q) {
		struct upstream_query *next = q->next;

		q->listed = false;
		if (q->cb)
			q->cb(q->owner, q->err, &q->addrs);
		free(q);
		q = next;
	}
	resolver_maybe_free(r);
}

static void query_finish(struct upstream_query *q, enum err e)
{
	q->err = e;
	q->listed = true;
	q->next = q->r->done;
	q->r->done = q;
	uv_timer_start(&q->r->later, resolver_on_later, 0, 0);
}

/* ---- c-ares on the loop ---- */

static void resolver_on_timeout(uv_timer_t *t)
{
	struct upstream_resolver *r = t->data;

	ares_process_fd(r->ares, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
	if (r->open == 0)
		uv_timer_stop(&r->timeout);
}

static void resolver_on_poll(uv_poll_t *poll, int status, int events)
{
	struct resolver_socket *s = poll->data;
	ares_socket_t fd = s->fd;

	/* An error shows itself when c-ares reads. */
	if (status < 0)
		events = UV_READABLE | UV_WRITABLE;
	ares_process_fd(s->r->ares, events & UV_READABLE ? fd : ARES_SOCKET_BAD,
			events & UV_WRITABLE ? fd : ARES_SOCKET_BAD);
}

static void socket_on_closed(uv_handle_t *h)
{
	struct resolver_socket *s = h->data;
	struct upstream_resolver *r = s->r;

	free(s);
	r->handles--;
	resolver_maybe_free(r);
}

static struct resolver_socket *socket_find(struct upstream_resolver *r, ares_socket_t fd)
{
	struct resolver_socket *s = r->sockets;

	while (s && s->fd != fd)
		s = s->next;
	return s;
}

static void socket_drop(struct upstream_resolver *r, struct resolver_socket *s)
{
	struct resolver_socket **at = &r->sockets;

	while (*at != s)
		at = &(*at)->next;
	*at = s->next;
	uv_close((uv_handle_t *)&s->poll, socket_on_closed);
}

static void resolver_on_socket_state(void *data, ares_socket_t fd, int readable, int writable)
{
	struct upstream_resolver *r = data;
	struct resolver_socket *s = socket_find(r, fd);

	if (!readable && !writable) {
		if (s)
			socket_drop(r, s);
		return;
	}
	if (!s) {
		s = calloc(1, sizeof(*s));
		if (!s)
			return;	/* c-ares times the query out */
		s->r = r;
		s->fd = fd;
		if (uv_poll_init(r->loop->uv, &s->poll, fd) != 0) {
			free(s);
			return;
		}
		r->handles++;
		s->poll.data = s;
		s->next = r->sockets;
		r->sockets = s;
	}
	uv_poll_start(&s->poll, (readable ? UV_READABLE : 0) | (writable ? UV_WRITABLE : 0),
		      resolver_on_poll);
}

/* ---- life ---- */

static void resolver_on_handle_closed(uv_handle_t *h)
{
	struct upstream_resolver *r = h->data;

	r->handles--;
	resolver_maybe_free(r);
}

static void resolver_release(struct upstream_resolver *r)
{
	for (size_t i = 0; i < r->n_hosts; i++)
		free(r->hosts[i].name);
	free(r->hosts);
	resolver_cache_free(r->cache);
	free(r);
}

static void resolver_maybe_free(struct upstream_resolver *r)
{
	if (r->freeing && r->handles == 0 && !r->done)
		resolver_release(r);
}

static bool resolver_init_ares(struct upstream_resolver *r,
			       const struct upstream_resolver_spec *spec)
{
	char lookups[] = "b";
	struct ares_options opt = {
		.flags = ARES_FLAG_NOSEARCH | ARES_FLAG_NOALIASES | ARES_FLAG_STAYOPEN,
		.timeout = (int)(spec->timeout_ms ? spec->timeout_ms : 2000),
		.tries = RESOLVER_TRIES,
		.lookups = lookups,
		.sock_state_cb = resolver_on_socket_state,
		.sock_state_cb_data = r,
	};
	int mask = ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_LOOKUPS |
		   ARES_OPT_SOCK_STATE_CB;

	if (ares_init_options(&r->ares, &opt, mask) != ARES_SUCCESS)
		return false;
	if (ares_set_servers_ports_csv(r->ares, spec->servers) == ARES_SUCCESS)
		return true;
	ares_destroy(r->ares);
	return false;
}

struct upstream_resolver *upstream_resolver_new(const struct upstream_resolver_spec *spec)
{
	struct upstream_resolver *r = calloc(1, sizeof(*r));

	if (!r)
		return NULL;
	r->loop = spec->loop;
	r->cache = resolver_cache_new();
	if (!r->cache || !hosts_parse(r, spec->hosts) || !resolver_init_ares(r, spec)) {
		resolver_release(r);
		return NULL;
	}
	uv_timer_init(spec->loop->uv, &r->timeout);
	uv_timer_init(spec->loop->uv, &r->later);
	r->timeout.data = r->later.data = r;
	r->handles = 2;
	return r;
}

void upstream_resolver_free(struct upstream_resolver *r)
{
	if (!r || r->freeing)
		return;
	r->freeing = true;
	for (struct upstream_query *q = r->done; q; q = q->next)
		q->cb = NULL;
	/* Open queries end with ARES_EDESTRUCTION and are freed there. */
	ares_destroy(r->ares);
	while (r->done) {
		struct upstream_query *q = r->done;

		r->done = q->next;
		free(q);
	}
	uv_close((uv_handle_t *)&r->timeout, resolver_on_handle_closed);
	uv_close((uv_handle_t *)&r->later, resolver_on_handle_closed);
}

/* ---- questions ---- */

static void query_take(struct upstream_query *q, const struct ares_addrinfo *info)
{
	unsigned ttl = 3600;

	/* IPv4 first: a host without IPv6 connectivity must not pay for trying it. */
	for (int pass = 0; pass < 2; pass++) {
		for (const struct ares_addrinfo_node *n = info->nodes; n; n = n->ai_next) {
			struct addr a;

			if (n->ai_family != (pass == 0 ? AF_INET : AF_INET6) ||
			    !addr_from_sockaddr(&a, n->ai_addr))
				continue;
			a.port = 0;
			addrs_add(&q->addrs, &a);
			if (n->ai_ttl >= 0 && (unsigned)n->ai_ttl < ttl)
				ttl = (unsigned)n->ai_ttl;
		}
	}
	q->addrs.ttl = ttl;
}

static enum err query_error(int status)
{
	switch (status) {
	case ARES_ENOTFOUND:
	case ARES_ENODATA:
	case ARES_EBADNAME:
		return ERR_RESOLVE_NONE;
	case ARES_ENOMEM:
		return ERR_NOMEM;
	default:
		return ERR_RESOLVE;
	}
}

static void resolver_on_answer(void *data, int status, int timeouts, struct ares_addrinfo *info)
{
	struct upstream_query *q = data;
	struct upstream_resolver *r = q->r;
	const struct resolver_question asked = { q->name, q->family };
	enum err e;

	(void)timeouts;
	r->open--;
	if (status == ARES_SUCCESS && info)
		query_take(q, info);
	if (info)
		ares_freeaddrinfo(info);
	e = q->addrs.n ? ERR_OK : query_error(status == ARES_SUCCESS ? ARES_ENODATA : status);
	if (q->name[0])
		resolver_cache_put(r->cache, &asked, net_loop_now(r->loop), e, &q->addrs);
	if (!q->cb || r->freeing) {
		free(q);
		return;
	}
	query_finish(q, e);
}

struct upstream_query *upstream_resolve(struct upstream_resolver *r, const char *name, int family,
					upstream_resolve_cb cb, void *owner)
{
	struct ares_addrinfo_hints hints = { .ai_flags = ARES_AI_NOSORT, .ai_family = family,
					     .ai_socktype = SOCK_STREAM };
	const struct resolver_question asked = { name, family };
	struct upstream_query *q = calloc(1, sizeof(*q));
	struct addr literal;
	enum err known;

	if (!q)
		return NULL;
	q->r = r;
	q->cb = cb;
	q->owner = owner;
	if (addr_parse_ip(&literal, bytes_str(name))) {
		addrs_add(&q->addrs, &literal);
		query_finish(q, ERR_OK);
		return q;
	}
	hosts_find(r, bytes_str(name), family, &q->addrs);
	if (q->addrs.n) {
		query_finish(q, ERR_OK);
		return q;
	}
	known = resolver_cache_get(r->cache, &asked, net_loop_now(r->loop), &q->addrs);
	if (known != ERR_AGAIN) {
		query_finish(q, known);
		return q;
	}
	q->family = family;
	if (!bytes_to_str(bytes_str(name), q->name, sizeof(q->name)))
		q->name[0] = '\0';
	r->open++;
	if (!uv_is_active((uv_handle_t *)&r->timeout))
		uv_timer_start(&r->timeout, resolver_on_timeout, 100, 100);
	ares_getaddrinfo(r->ares, name, NULL, &hints, resolver_on_answer, q);
	return q;
}

void upstream_resolve_cancel(struct upstream_query *q)
{
	if (q)
		q->cb = NULL;
}
