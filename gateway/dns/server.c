/*
 * server.c - decide about a question, have its name resolved, answer
 *
 * Happy path: question -> parsed -> allowed -> resolve() -> answered where it came from.
 * Failure modes: each is an rcode or silence; the table stands in dns.h.
 * Ownership: a question that waits lives in the server's list until resolve() has called back,
 *   even when nobody wants the answer any more; the server lives until the last one has.
 * Limits: QUESTIONS_MAX wait at once. One source may hold as many as are free, so a lone agent gets
 *   half of them and what is left is always there for the others.
 */
#include "gateway/dns/dns_internal.h"

#include <stdlib.h>

#define QUESTIONS_MAX 256
#define SOCKETS_MAX 2

/* One that waits for its resolution. */
struct question {
	struct question *prev, *next; /* in the server's list */
	struct dns_server *server; /* borrowed */
	struct dns_query query;
	struct dns_path path;
	dns_reply_fn *reply; /* NULL: cancelled, or the answer goes by datagram */
	void *cookie; /* borrowed */
};

struct dns_server {
	const struct dns_server_ops *ops; /* borrowed; static */
	void *owner; /* borrowed */
	struct dns_dgram dgrams[SOCKETS_MAX];
	size_t dgrams_open;
	struct question *waiting; /* owned, newest first */
	size_t n_waiting;
	uv_timer_t anchor; /* never runs; its closing brings on_closed from a later turn */
	bool closing;
	void (*on_closed)(void *owner);
};

/* How an error appears to the asker. */
static enum dns_rcode rcode_of(enum err e)
{
	if (e == ERR_OK)
		return DNS_NOERROR;
	if (e == ERR_RESOLVE_NONE)
		return DNS_NXDOMAIN;
	if (e == ERR_DENY_RATE)
		return DNS_SERVFAIL;
	return err_class(e) == ERR_CLASS_POLICY ? DNS_NXDOMAIN : DNS_SERVFAIL;
}

static void audit(struct dns_server *s, const struct dns_path *path, const struct dns_query *q,
		  enum err decision)
{
	if (s->ops->audit)
		s->ops->audit(s->owner, &path->source, q->name, q->type, decision);
}

/* Sends the answer where the question came from; a == NULL: there is none. */
static void answer(const struct dns_path *path, const struct dns_query *q,
		   const struct dns_answer *a, dns_reply_fn *reply, void *cookie)
{
	size_t max = path->dgram ? q->udp_size : UINT16_MAX;
	struct buf out;

	buf_init(&out, max);
	if (a && dns_build_answer(q, a, max, &out) != ERR_OK)
		buf_clear(&out);
	if (reply)
		reply(cookie, buf_len(&out) ? buf_bytes(&out) : BYTES_NONE);
	else if (path->dgram && buf_len(&out) > 0)
		dns_dgram_send(path, buf_bytes(&out));
	buf_release(&out);
}

static void server_finish(struct dns_server *s);

static void question_free(struct question *w)
{
	struct dns_server *s = w->server;

	if (w->prev)
		w->prev->next = w->next;
	else
		s->waiting = w->next;
	if (w->next)
		w->next->prev = w->prev;
	s->n_waiting--;
	free(w);
	server_finish(s);
}

static void question_on_resolved(void *cookie, const struct dns_result *result)
{
	struct question *w = cookie;
	struct dns_server *s = w->server;
	struct dns_answer a = {
		.rcode = rcode_of(result->err),
		.addrs = result->addrs,
		.n = result->err == ERR_OK ? result->n : 0,
		.ttl = result->ttl < DNS_TTL_MAX ? result->ttl : DNS_TTL_MAX,
	};

	if (!s->closing) {
		audit(s, &w->path, &w->query, result->err);
		answer(&w->path, &w->query, &a, w->reply, w->cookie);
	}
	question_free(w);
}

/* May one more of this source wait? */
static bool server_has_room(const struct dns_server *s, const struct addr *source)
{
	size_t own = 0;

	for (const struct question *w = s->waiting; w; w = w->next)
		own += addr_ip_eq(&w->path.source, source);
	return own < QUESTIONS_MAX - s->n_waiting;
}

static struct question *question_new(struct dns_server *s, const struct dns_path *path,
				     const struct dns_query *q)
{
	struct question *w = malloc(sizeof(*w));

	if (!w)
		return NULL;
	*w = (struct question){ .server = s, .query = *q, .path = *path, .next = s->waiting };
	if (s->waiting)
		s->waiting->prev = w;
	s->waiting = w;
	s->n_waiting++;
	return w;
}

/*
 * What can be said without asking a resolver: true when *rcode is the answer, and *decision why.
 * Otherwise the name is to be looked up.
 */
static bool decide(const struct dns_query *q, enum err parsed, enum err allowed,
		   enum dns_rcode *rcode, enum err *decision)
{
	if (parsed != ERR_OK) {
		*rcode = q->opcode ? DNS_NOTIMP : DNS_FORMERR;
		*decision = parsed;
	} else if (q->has_edns && q->edns_version != 0) {
		*rcode = DNS_BADVERS;
		*decision = ERR_BAD_VALUE;
	} else if (q->class != DNS_CLASS_IN) {
		*rcode = DNS_REFUSED;
		*decision = ERR_DENY_NAME;
	} else {
		/* Never matched against a wildcard with a byte that stands for another. */
		*decision = q->odd_name ? ERR_DENY_NAME : allowed;
		*rcode = rcode_of(*decision);
		return *decision != ERR_OK || dns_family_of(q->type) == 0;
	}
	return true;
}

static void server_ask(struct dns_server *s, const struct dns_path *path, struct bytes msg,
		       dns_reply_fn *reply, void *cookie)
{
	struct dns_query q;
	enum err parsed = dns_parse_query(msg, &q);
	struct dns_answer a = { .rcode = DNS_SERVFAIL };
	struct question *w = NULL;
	enum err allowed, decision;

	if (parsed == ERR_CLOSED) {
		answer(path, &q, NULL, reply, cookie);
		return;
	}
	allowed = s->ops->allowed(s->owner, &path->source, parsed == ERR_OK ? q.name : "");
	if (s->closing) {
		answer(path, &q, NULL, reply, cookie);
		return;
	}
	if (allowed == ERR_DENY_AGENT) {
		audit(s, path, &q, allowed);
		answer(path, &q, NULL, reply, cookie);
		return;
	}
	if (decide(&q, parsed, allowed, &a.rcode, &decision)) {
		audit(s, path, &q, decision);
		answer(path, &q, &a, reply, cookie);
		return;
	}
	decision = ERR_DENY_RATE;
	if (server_has_room(s, &path->source)) {
		decision = ERR_NOMEM;
		w = question_new(s, path, &q);
	}
	if (!w) {
		a.rcode = DNS_SERVFAIL;
		audit(s, path, &q, decision);
		answer(path, &q, &a, reply, cookie);
		return;
	}
	w->reply = reply;
	w->cookie = cookie;
	s->ops->resolve(s->owner, q.name, dns_family_of(q.type), question_on_resolved, w);
}

void dns_server_on_datagram(struct dns_server *s, const struct dns_path *path, struct bytes msg)
{
	server_ask(s, path, msg, NULL, NULL);
}

void dns_server_query(struct dns_server *s, const struct addr *source, struct bytes msg,
		      dns_reply_fn *reply, void *cookie)
{
	struct dns_path path = { .source = *source };

	if (s->closing)
		reply(cookie, BYTES_NONE);
	else
		server_ask(s, &path, msg, reply, cookie);
}

void dns_server_cancel(struct dns_server *s, const void *cookie)
{
	for (struct question *w = s->waiting; w; w = w->next)
		if (w->reply && w->cookie == cookie)
			w->reply = NULL;
}

size_t dns_server_in_flight(const struct dns_server *s)
{
	return s->n_waiting;
}

static void server_on_anchor_closed(uv_handle_t *h)
{
	struct dns_server *s = container_of((uv_timer_t *)(void *)h, struct dns_server, anchor);
	void (*on_closed)(void *owner) = s->on_closed;
	void *owner = s->owner;

	free(s);
	if (on_closed)
		on_closed(owner);
}

/* The last socket or question to go takes the server with it. */
static void server_finish(struct dns_server *s)
{
	if (s->closing && s->dgrams_open == 0 && s->n_waiting == 0)
		uv_close((uv_handle_t *)&s->anchor, server_on_anchor_closed);
}

void dns_server_on_dgram_closed(struct dns_server *s)
{
	s->dgrams_open--;
	server_finish(s);
}

void dns_server_close(struct dns_server *s, void (*on_closed)(void *owner))
{
	if (s->closing)
		return;
	s->closing = true;
	s->on_closed = on_closed;
	for (size_t i = 0; i < s->dgrams_open; i++)
		dns_dgram_close(&s->dgrams[i]);
	server_finish(s);
}

struct dns_server *dns_server_open(uv_loop_t *uv, const struct dns_sockets *sockets, size_t n,
				   const struct dns_server_ops *ops, void *owner)
{
	struct dns_server *s = n <= SOCKETS_MAX ? calloc(1, sizeof(*s)) : NULL;
	size_t taken = 0;

	if (!s || uv_timer_init(uv, &s->anchor) != 0)
		goto fail;
	s->ops = ops;
	s->owner = owner;
	while (taken < n) {
		s->dgrams[taken].server = s;
		if (dns_dgram_open(&s->dgrams[taken], uv, &sockets[taken]) != ERR_OK)
			break;
		taken++;
		s->dgrams_open++;
	}
	if (taken == n)
		return s;
	taken++;
fail:
	for (size_t i = taken; i < n; i++)
		dns_sockets_close(&sockets[i]);
	if (s && s->ops)
		dns_server_close(s, NULL);
	else
		free(s);
	return NULL;
}
