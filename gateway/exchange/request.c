/*
 * request.c - the request's way to the upstream: whom it is for, policy, head, body
 */
#include "gateway/exchange/exchange_internal.h"

/* ---- whom it is for ---- */

/*
 * Bind to what was verified (design decision 1): over TLS the request must name the host the
 * connection was made for; the port must be the one that was dialled.
 */
static enum err request_host(struct exchange *x, const struct http_request *req)
{
	const struct exchange_flow *f = x->flow;
	char ip[ADDR_TEXT_MAX], host[POLICY_HOST_MAX];
	const char *expected = f->host[0] ? f->host : addr_ip_text(&f->original, ip);
	struct bytes name;
	unsigned port;

	x->target.port = f->original.port;
	x->target.tls = f->tls;
	x->target.agent = f->agent;
	x->target.fallback = f->original;
	if (!bytes_to_str(bytes_str(expected), x->target.host, sizeof(x->target.host)))
		return ERR_INTERNAL;
	if (req->authority.n == 0)
		return ERR_OK;	/* HTTP/1.0 without Host */
	if (!http_host_split(req->authority, &name, &port) || !policy_host_normalise(name, host))
		return ERR_HTTP_SYNTAX;
	if (port && port != f->original.port)
		return ERR_HTTP_HOST_MISMATCH;
	if (f->tls && strcmp(host, expected) != 0)
		return ERR_HTTP_HOST_MISMATCH;
	return bytes_to_str(bytes_str(host), x->target.host, sizeof(x->target.host))
		       ? ERR_OK : ERR_HTTP_SYNTAX;
}

static enum err request_policy(struct exchange *x, const struct http_request *req)
{
	const struct policy_request ask = {
		.host = x->target.host,
		.port = x->target.port,
		.method = req->method,
		.path = req->path,
	};
	struct policy_verdict v = policy_request(x->env->policy, x->flow->agent, &ask);

	x->rule = v.rule;
	if (v.action != POLICY_ALLOW)
		return v.reason == ERR_OK ? ERR_DENY_RULE : v.reason;
	if (!policy_bucket_take(&x->env->buckets[x->flow->agent],
				policy_agent_rate(x->env->policy, x->flow->agent),
				time_mono_us())) {
		x->rule = "agents.rate";
		return ERR_DENY_RATE;
	}
	return ERR_OK;
}

/* ---- head ---- */

static enum err request_copy(struct exchange *x, const struct http_request *req)
{
	struct http_request *own = &x->req;
	struct arena *a = &x->arena;

	own->has_query = req->has_query;
	own->minor = 1;
	own->framing = req->framing;
	own->length = req->length;
	own->keep_alive = true;
	TRY(arena_copy(a, req->method, &own->method));
	TRY(arena_copy(a, req->path, &own->path));
	TRY(arena_copy(a, req->query, &own->query));
	TRY(arena_copy(a, req->authority, &own->authority));
	if (own->authority.n == 0)
		own->authority = bytes_str(x->target.host);
	return arena_copy_fields(a, &req->fields, &own->fields, &x->req_text);
}

/* What belongs to this hop, and what would bring an answer the gateway cannot read. */
static enum err request_adapt(struct exchange *x)
{
	struct http_fields *f = &x->req.fields;

	http_strip_hop_by_hop(f);
	http_fields_remove(f, BYTES_LIT("expect"));	/* answered by the gateway itself */
	/* Design decision 7: a secret must not be read piecewise. */
	if (http_fields_find(f, BYTES_LIT("range")) &&
	    secret_host_known(x->env->secrets, bytes_str(x->target.host), x->target.port)) {
		http_fields_remove(f, BYTES_LIT("range"));
		http_fields_remove(f, BYTES_LIT("if-range"));
	}
	return http_fields_set(f, BYTES_LIT("Accept-Encoding"), BYTES_LIT("identity"));
}

/* Design decision 5. */
static void request_plan_body(struct exchange *x)
{
	struct http_request *req = &x->req;
	struct body *b = &x->req_body;
	bool possible, same;

	b->plan = req->framing == HTTP_BODY_NONE ? BODY_NONE : BODY_STREAM;
	if (b->plan == BODY_NONE)
		return;
	/* What looks like a token in a coded body is none: swapping it would break the coding. */
	b->coded = !http_coding_is_identity(&req->fields);
	possible = !b->coded && substitute_body_possible(x, &same);
	if (possible && req->framing == HTTP_BODY_LENGTH && req->length <= EXCHANGE_MEASURED_MAX)
		b->plan = BODY_MEASURE;
	else if (possible && req->framing == HTTP_BODY_LENGTH && !same)
		req->framing = HTTP_BODY_CHUNKED;
	b->fixed = b->plan == BODY_STREAM && req->framing == HTTP_BODY_LENGTH;
	b->promised = req->length;
	substitute_body_begin(x);
}

enum err request_take(struct exchange *x, const struct http_request *req)
{
	struct bytes scheme = x->flow->tls ? BYTES_LIT("https") : BYTES_LIT("http");

	if (!bytes_to_str(bytes_first(req->method, sizeof(x->method) - 1), x->method,
			  sizeof(x->method)))
		return ERR_HTTP_SYNTAX;
	substitute_mask_path(x, req->path);
	TRY(request_host(x, req));
	if (bytes_eq(req->method, BYTES_LIT("CONNECT")) ||
	    (req->scheme.n && !bytes_ieq(req->scheme, scheme)))
		return ERR_HTTP_UNSUPPORTED;
	TRY(request_policy(x, req));
	TRY(request_copy(x, req));
	x->req_context = rewrite_context_of_media(
		http_fields_value(&x->req.fields, BYTES_LIT("content-type")));
	TRY(request_adapt(x));
	TRY(substitute_head(x));
	request_plan_body(x);
	return ERR_OK;
}

enum err request_send_head(struct exchange *x)
{
	x->head_sent = true;
	return upstream_send_head(x->up, &x->req);
}

/* ---- body ---- */

enum err request_body(struct exchange *x, struct bytes data)
{
	enum err e;

	x->bytes_up += data.n;
	e = rewrite_feed(&x->req_body.stream, data);
	return e == ERR_SECRET_LEAK ? x->stop : e;
}

/* Trailers go on as they are, but a real value in one is a leak. */
static enum err request_trailers(struct exchange *x, const struct http_fields *trailers)
{
	for (size_t i = 0; trailers && i < trailers->n; i++)
		if (rewrite_any(x->env->inbound, trailers->v[i].value) ||
		    rewrite_any(x->env->inbound, trailers->v[i].name))
			return ERR_SECRET_LEAK;
	return ERR_OK;
}

enum err request_end(struct exchange *x, const struct http_fields *trailers)
{
	struct body *b = &x->req_body;
	enum err e;

	TRY(request_trailers(x, trailers));
	if (b->plan != BODY_NONE) {
		e = rewrite_end(&b->stream);
		if (e != ERR_OK)
			return e == ERR_SECRET_LEAK ? x->stop : e;
	}
	if (b->plan == BODY_MEASURE) {
		x->req.length = buf_len(&b->measured);
		return ERR_OK;
	}
	/* Fewer bytes than promised: the upstream must not wait for, or make up, the rest. */
	if (b->fixed && b->sent != b->promised)
		return ERR_INTERNAL;
	return x->up ? upstream_send_end(x->up, trailers) : ERR_OK;
}
