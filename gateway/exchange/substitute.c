/*
 * substitute.c - dummy to real in a request (REQ-2.3), and the look-out for real values in it
 *
 * A dummy becomes its real value only when the secret is bound to this agent, host and port, the
 * surface it stands on is one of the secret's, and the request goes to a verified connection (or
 * the secret says that plain HTTP will do). Elsewhere it passes unchanged and is noted as misplaced
 * (design decision 6). A real value stops the request (decision 8).
 */
#include "gateway/exchange/exchange_internal.h"

/* Where the text under the rewriter stands. */
struct place {
	struct exchange *x;
	enum rewrite_context context;
	enum secret_surface surface;
	bool changed;
};

static void note(unsigned *list, size_t *n, unsigned index)
{
	for (size_t i = 0; i < *n; i++)
		if (list[i] == index)
			return;
	if (*n < EXCHANGE_NAMES_MAX)
		list[(*n)++] = index;
}

static bool may_swap(const struct exchange *x, const struct secret *s, unsigned index,
		     enum secret_surface surface)
{
	return s->type == SECRET_STATIC && (s->surfaces & surface) &&
	       (x->flow->tls || s->plaintext) &&
	       secret_bound(x->env->secrets, index, (unsigned)x->flow->agent,
			    bytes_str(x->target.host), x->target.port);
}

static enum rewrite_verdict stop(struct exchange *x, enum err why)
{
	x->stop = why;
	return REWRITE_STOP;
}

static enum rewrite_verdict place_match(struct place *at, uint32_t pattern,
					struct bytes *replacement)
{
	struct exchange *x = at->x;
	struct secret_id id = secret_id_decode(pattern);
	struct secret s = secret_get(x->env->secrets, id.index);

	if (id.real) {
		note(x->used, &x->n_used, id.index);
		return stop(x, ERR_SECRET_LEAK);
	}
	if (!may_swap(x, &s, id.index, at->surface)) {
		note(x->misplaced, &x->n_misplaced, id.index);
		return REWRITE_KEEP;
	}
	if (!s.resolved)
		return stop(x, ERR_UNRESOLVED_SECRET);
	buf_clear(&x->replacement);
	if (rewrite_encode(rewrite_form_in((enum rewrite_form)id.form, at->context), s.real,
			   &x->replacement) != ERR_OK)
		return stop(x, ERR_NOMEM);
	*replacement = buf_bytes(&x->replacement);
	if (at->surface == SECRET_HEADER && !rewrite_header_safe(*replacement))
		return stop(x, ERR_UNRESOLVED_SECRET);
	note(x->used, &x->n_used, id.index);
	observe_add(x->env->counters, OBSERVE_substitutions_total, 1);
	at->changed = true;
	return REWRITE_REPLACE;
}

/* ---- heads ---- */

static enum err head_emit(void *owner, struct bytes out)
{
	struct place *at = owner;

	return buf_append(&at->x->scratch, out);
}

static enum rewrite_verdict head_match(void *owner, uint32_t id, uint64_t offset,
				       struct bytes *replacement)
{
	(void)offset;
	return place_match(owner, id, replacement);
}

static const struct rewrite_ops head_ops = { .emit = head_emit, .match = head_match };

/* Rewrites *text; what changed is kept in the arena. */
static enum err substitute_text(struct exchange *x, struct bytes *text, struct place *at)
{
	enum err e;

	if (!rewrite_any(x->env->outbound, *text))
		return ERR_OK;
	buf_clear(&x->scratch);
	e = rewrite_whole(x->env->outbound, *text, &head_ops, at);
	if (e == ERR_OK && at->changed)
		e = arena_copy(&x->arena, buf_bytes(&x->scratch), text);
	buf_clear(&x->scratch);
	return e == ERR_SECRET_LEAK ? x->stop : e;
}

static enum err substitute_basic(struct exchange *x, struct bytes *value)
{
	struct place at = { .x = x, .context = REWRITE_CONTEXT_BASIC, .surface = SECRET_HEADER };
	bool changed = false;
	enum err e;

	buf_clear(&x->scratch);
	e = rewrite_basic(*value, x->env->outbound, &head_ops, &at, &x->scratch, &changed);
	if (e == ERR_OK && changed)
		e = arena_copy(&x->arena, buf_bytes(&x->scratch), value);
	buf_clear(&x->scratch);
	return e == ERR_SECRET_LEAK ? x->stop : e;
}

static bool is_basic(const struct http_field *f)
{
	return bytes_ieq(f->name, BYTES_LIT("authorization")) &&
	       bytes_istarts(f->value, BYTES_LIT("basic "));
}

static enum err substitute_field(struct exchange *x, struct http_field *f)
{
	struct place name = { .x = x, .context = REWRITE_CONTEXT_RAW, .surface = 0 };
	struct place value = { .x = x, .context = REWRITE_CONTEXT_RAW, .surface = SECRET_HEADER };

	/* No surface: a name is never changed, but a real value in one is a leak like any other. */
	TRY(substitute_text(x, &f->name, &name));
	if (is_basic(f))
		return substitute_basic(x, &f->value);
	return substitute_text(x, &f->value, &value);
}

enum err substitute_head(struct exchange *x)
{
	struct place path = { .x = x, .context = REWRITE_CONTEXT_PATH, .surface = SECRET_PATH };
	struct place query = { .x = x, .context = REWRITE_CONTEXT_QUERY, .surface = SECRET_QUERY };
	bool any;

	if (rewrite_set_count(x->env->outbound) == 0)
		return ERR_OK;
	TRY(substitute_text(x, &x->req.path, &path));
	TRY(substitute_text(x, &x->req.query, &query));
	/* Most heads hold nothing: one look at the whole tells. Basic hides it in its base64. */
	any = rewrite_any(x->env->outbound, x->req_text);
	for (size_t i = 0; i < x->req.fields.n; i++)
		if (any || is_basic(&x->req.fields.v[i]))
			TRY(substitute_field(x, &x->req.fields.v[i]));
	return ERR_OK;
}

/* ---- bodies ---- */

static enum err body_emit(void *owner, struct bytes out)
{
	struct exchange *x = owner;

	x->req_body.sent += out.n;
	if (x->req_body.plan == BODY_MEASURE)
		return buf_append(&x->req_body.measured, out);
	/* Never more than was promised: the bytes after it would be read as the next request. */
	if (x->req_body.fixed && x->req_body.sent > x->req_body.promised)
		return ERR_INTERNAL;
	return upstream_send_body(x->up, out);
}

static enum rewrite_verdict body_match(void *owner, uint32_t id, uint64_t offset,
				       struct bytes *replacement)
{
	struct exchange *x = owner;
	struct place at = {
		.x = x,
		.context = x->req_context,
		.surface = x->req_body.coded ? 0 : SECRET_BODY,
	};

	(void)offset;
	return place_match(&at, id, replacement);
}

static const struct rewrite_ops body_ops = { .emit = body_emit, .match = body_match };

void substitute_body_begin(struct exchange *x)
{
	rewrite_stream_init(&x->req_body.stream, x->env->outbound, &body_ops, x);
}

/* The same bytes in every spelling, so that the length stays whatever form a token is found in. */
static bool plain_text(struct bytes b)
{
	for (size_t i = 0; i < b.n; i++) {
		uint8_t c = b.p[i];

		if (!((c >= '0' && c <= '9') || (ascii_lower(c) >= 'a' && ascii_lower(c) <= 'z') ||
		      c == '-' || c == '.' || c == '_'))
			return false;
	}
	return true;
}

bool substitute_body_possible(const struct exchange *x, bool *same_length)
{
	bool any = false;

	*same_length = true;
	for (unsigned i = 0; i < secret_store_count(x->env->secrets); i++) {
		struct secret s = secret_get(x->env->secrets, i);

		if (!may_swap(x, &s, i, SECRET_BODY))
			continue;
		any = true;
		if (s.dummy.n != s.real.n || !plain_text(s.dummy) || !plain_text(s.real))
			*same_length = false;
	}
	return any;
}

/* ---- audit ---- */

static enum err mask_emit(void *owner, struct bytes out)
{
	return buf_append(owner, out);
}

static enum rewrite_verdict mask_match(void *owner, uint32_t id, uint64_t offset,
				       struct bytes *replacement)
{
	(void)owner;
	(void)id;
	(void)offset;
	*replacement = BYTES_LIT("***");
	return REWRITE_REPLACE;
}

void substitute_mask_path(struct exchange *x, struct bytes path)
{
	static const struct rewrite_ops ops = { .emit = mask_emit, .match = mask_match };
	struct bytes shown = path;

	buf_clear(&x->scratch);
	if (rewrite_any(x->env->outbound, path)) {
		if (rewrite_whole(x->env->outbound, path, &ops, &x->scratch) != ERR_OK)
			buf_clear(&x->scratch);
		shown = buf_bytes(&x->scratch);
	}
	shown = bytes_first(shown, sizeof(x->path) - 1);
	if (!bytes_to_str(shown, x->path, sizeof(x->path)))
		x->path[0] = '\0';
	buf_clear(&x->scratch);
}
