/*
 * response.c - the answer's way to the agent: real to [REDACTED] (REQ-2.4, REQ-2.5), framing
 *
 * Status line, field names, field values, body and trailers all pass the inbound set. Nothing is
 * handed over that did not: what cannot be looked into is refused (design decision 7).
 */
#include "gateway/exchange/exchange_internal.h"

static enum rewrite_verdict redact_match(void *owner, uint32_t id, uint64_t offset,
					 struct bytes *replacement)
{
	struct exchange *x = owner;

	(void)id;
	(void)offset;
	x->redactions++;
	observe_add(x->env->counters, OBSERVE_redactions_total, 1);
	*replacement = EXCHANGE_REDACTED;
	return REWRITE_REPLACE;
}

/* ---- heads ---- */

static enum err text_emit(void *owner, struct bytes out)
{
	struct exchange *x = owner;

	return buf_append(&x->scratch, out);
}

static enum err redact_text(struct exchange *x, struct bytes *text)
{
	static const struct rewrite_ops ops = { .emit = text_emit, .match = redact_match };
	enum err e;

	if (!rewrite_any(x->env->inbound, *text))
		return ERR_OK;
	buf_clear(&x->scratch);
	e = rewrite_whole(x->env->inbound, *text, &ops, x);
	if (e == ERR_OK)
		e = arena_copy(&x->arena, buf_bytes(&x->scratch), text);
	buf_clear(&x->scratch);
	return e;
}

/* `text`: all of them in one piece, as arena_copy_fields() leaves it. */
static enum err redact_fields(struct exchange *x, struct http_fields *f, struct bytes text)
{
	/* Most heads hold nothing: one look at the whole tells. */
	if (!rewrite_any(x->env->inbound, text))
		return ERR_OK;
	for (size_t i = 0; i < f->n; i++) {
		if (rewrite_any(x->env->inbound, f->v[i].name)) {
			/* [REDACTED] is no field name: the whole field goes. */
			f->v[i].name = BYTES_LIT("x-slapenir-redacted");
			f->v[i].value = EXCHANGE_REDACTED;
			x->redactions++;
			continue;
		}
		TRY(redact_text(x, &f->v[i].value));
	}
	return ERR_OK;
}

/* ---- bodies ---- */

static enum err body_emit(void *owner, struct bytes out)
{
	struct exchange *x = owner;

	x->bytes_down += out.n;
	if (x->resp_body.plan == BODY_MEASURE)
		return buf_append(&x->resp_body.measured, out);
	x->ops->on_body(x->owner, out);
	return ERR_OK;
}

static const struct rewrite_ops body_ops = { .emit = body_emit, .match = redact_match };

/* Design decision 5, the other way. */
static void response_plan_body(struct exchange *x, struct http_response *head)
{
	struct body *b = &x->resp_body;

	b->plan = head->framing == HTTP_BODY_NONE ? BODY_NONE : BODY_STREAM;
	if (b->plan == BODY_NONE)
		return;
	rewrite_stream_init(&b->stream, x->env->inbound, &body_ops, x);
	if (rewrite_set_count(x->env->inbound) == 0)
		return;
	if (head->framing == HTTP_BODY_LENGTH && head->length <= EXCHANGE_MEASURED_MAX)
		b->plan = BODY_MEASURE;
	else
		head->framing = HTTP_BODY_CHUNKED;
}

enum err response_head(struct exchange *x, const struct http_response *head)
{
	struct http_response out = *head;
	struct bytes text;

	if (head->framing != HTTP_BODY_NONE && !http_coding_is_identity(&head->fields))
		return ERR_UPSTREAM_CODING;
	x->status = head->status;
	out.fields = (struct http_fields){ 0 };
	TRY(arena_copy_fields(&x->arena, &head->fields, &x->resp.fields, &text));
	http_strip_hop_by_hop(&x->resp.fields);
	/* HTTP/3 would go past the gateway. */
	http_fields_remove(&x->resp.fields, BYTES_LIT("alt-svc"));
	TRY(redact_fields(x, &x->resp.fields, text));
	TRY(arena_copy(&x->arena, head->reason, &out.reason));
	TRY(redact_text(x, &out.reason));
	out.fields = x->resp.fields;
	out.keep_alive = true;
	out.upgrade = false;
	response_plan_body(x, &out);
	x->resp = out;
	if (x->resp_body.plan != BODY_MEASURE)
		x->ops->on_head(x->owner, &x->resp);
	return ERR_OK;
}

enum err response_body(struct exchange *x, struct bytes data)
{
	return rewrite_feed(&x->resp_body.stream, data);
}

static enum err response_trailers(struct exchange *x, const struct http_fields *from,
				  struct http_fields *to)
{
	struct bytes text;

	TRY(arena_copy_fields(&x->arena, from, to, &text));
	return redact_fields(x, to, text);
}

enum err response_end(struct exchange *x, const struct http_fields *trailers)
{
	struct body *b = &x->resp_body;
	struct http_fields own = { 0 };
	enum err e = ERR_OK;

	if (b->plan != BODY_NONE)
		TRY(rewrite_end(&b->stream));
	if (b->plan == BODY_MEASURE) {
		x->resp.framing = HTTP_BODY_LENGTH;
		x->resp.length = buf_len(&b->measured);
		b->plan = BODY_STREAM;	/* handed over: no denial can answer any more */
		x->ops->on_head(x->owner, &x->resp);
		x->ops->on_body(x->owner, buf_bytes(&b->measured));
	}
	if (trailers && trailers->n)
		e = response_trailers(x, trailers, &own);
	if (e == ERR_OK) {
		x->state = EXCHANGE_ANSWERED;
		x->ops->on_end(x->owner, own.n ? &own : NULL);
	}
	http_fields_release(&own);
	return e;
}
