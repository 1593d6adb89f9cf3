/*
 * deny.c - the gateway's own answers: what was refused, by which rule, and why (design decision 3)
 */
#include "gateway/exchange/exchange_internal.h"

unsigned exchange_status_of(enum err e)
{
	switch (e) {
	case ERR_HTTP_HEADER_TOO_LARGE:
		return 431;
	case ERR_HTTP_URI_TOO_LONG:
		return 414;
	case ERR_HTTP_VERSION:
		return 505;
	case ERR_HTTP_UNSUPPORTED:
		return 501;
	case ERR_HTTP_HOST_MISMATCH:
		return 421;
	case ERR_TIMEOUT:
		return 408;
	case ERR_DENY_RATE:
		return 429;
	case ERR_CONNECT_TIMEOUT:
	case ERR_UPSTREAM_TIMEOUT:
		return 504;
	case ERR_LIMIT_FLOWS:
	case ERR_SHUTTING_DOWN:
	case ERR_UNRESOLVED_SECRET:
		return 503;
	default:
		break;
	}
	switch (err_class(e)) {
	case ERR_CLASS_POLICY:
		return 403;
	case ERR_CLASS_UPSTREAM:
		return 502;
	case ERR_CLASS_AGENT:
		return 400;
	default:
		return 500;
	}
}

static enum err deny_member(struct buf *out, const char *key, struct bytes value, bool first)
{
	TRY(buf_printf(out, "%s\"%s\":", first ? "" : ",", key));
	return value.n ? json_append_string(out, value) : buf_append_str(out, "null");
}

static enum err deny_body(const struct exchange *x, enum err why, struct buf *out)
{
	TRY(buf_append_str(out, "{\"error\":{"));
	TRY(deny_member(out, "type", BYTES_LIT("slapenir_denied"), true));
	TRY(deny_member(out, "reason", bytes_str(err_name(why)), false));
	TRY(deny_member(out, "message", bytes_str(err_text(why)), false));
	TRY(deny_member(out, "rule", bytes_str(x->rule), false));
	TRY(deny_member(out, "host", bytes_str(x->target.host), false));
	TRY(deny_member(out, "method", bytes_str(x->method), false));
	TRY(deny_member(out, "path", bytes_str(x->path), false));
	TRY(buf_printf(out, ",\"flow\":\"%016llx\"", (unsigned long long)x->flow->id));
	return buf_append_str(out, "}}\n");
}

static enum err deny_head(struct exchange *x, enum err why, size_t length)
{
	struct http_response *r = &x->resp;

	http_response_reset(r);
	r->status = x->status;
	r->reason = bytes_str(http_status_reason(x->status));
	r->minor = 1;
	r->keep_alive = true;
	r->framing = HTTP_BODY_LENGTH;
	r->length = length;
	/* RFC 9110 9.3.2: the answer to HEAD announces its length and has no content. */
	if (strcmp(x->method, "HEAD") == 0) {
		r->framing = HTTP_BODY_NONE;
		r->has_length = true;
	}
	TRY(http_fields_add(&r->fields, BYTES_LIT("Content-Type"), BYTES_LIT("application/json")));
	TRY(http_fields_add(&r->fields, BYTES_LIT("Cache-Control"), BYTES_LIT("no-store")));
	if (x->status == 429)
		TRY(http_fields_add(&r->fields, BYTES_LIT("Retry-After"), BYTES_LIT("1")));
	return http_fields_add(&r->fields, BYTES_LIT("X-Slapenir-Reason"),
			       bytes_str(err_name(why)));
}

/* Whatever is said to the agent passes the inbound set, our own words too (REQ-2.5). */
static enum err deny_emit(void *owner, struct bytes out)
{
	return buf_append(owner, out);
}

static enum rewrite_verdict deny_match(void *owner, uint32_t id, uint64_t offset,
				       struct bytes *replacement)
{
	(void)owner;
	(void)id;
	(void)offset;
	*replacement = EXCHANGE_REDACTED;
	return REWRITE_REPLACE;
}

void exchange_deny(struct exchange *x, enum err why)
{
	static const struct rewrite_ops ops = { .emit = deny_emit, .match = deny_match };
	bool started = x->state == EXCHANGE_ANSWERING && x->resp_body.plan != BODY_MEASURE;
	struct buf *body = &x->resp_body.measured;

	if (x->state == EXCHANGE_ANSWERED)
		return;
	x->reason = why;
	net_timer_stop(&x->timer);
	if (x->up) {
		x->facts = *upstream_facts(x->up);
		upstream_close(x->up);
		x->up = NULL;
	}
	x->state = EXCHANGE_ANSWERED;
	if (started) {
		x->ops->on_abort(x->owner, why);
		return;
	}
	x->status = exchange_status_of(why);
	buf_clear(body);
	buf_clear(&x->scratch);
	if (deny_body(x, why, &x->scratch) != ERR_OK ||
	    rewrite_whole(x->env->inbound, buf_bytes(&x->scratch), &ops, body) != ERR_OK ||
	    deny_head(x, why, buf_len(body)) != ERR_OK) {
		x->ops->on_abort(x->owner, why);
		return;
	}
	x->bytes_down = x->resp.framing == HTTP_BODY_NONE ? 0 : buf_len(body);
	x->ops->on_head(x->owner, &x->resp);
	if (x->resp.framing != HTTP_BODY_NONE)
		x->ops->on_body(x->owner, buf_bytes(body));
	x->ops->on_end(x->owner, NULL);
}
