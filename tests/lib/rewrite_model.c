/*
 * rewrite_model.c - leftmost-longest by trying everything
 */
#include "tests/lib/rewrite_model.h"

#include <stdio.h>

void model_reset(struct model_trace *t)
{
	t->out_n = t->matches = t->emits = t->error_at = 0;
	t->stop_id = -1;
	t->overflow = false;
}

static void put(struct model_trace *t, const uint8_t *p, size_t n)
{
	if (n > sizeof(t->out) - t->out_n) {
		t->overflow = true;
		return;
	}
	if (n)
		memcpy(t->out + t->out_n, p, n);
	t->out_n += n;
}

static void note(struct model_trace *t, uint64_t at, uint32_t id)
{
	if (t->matches == MODEL_MATCHES_MAX) {
		t->overflow = true;
		return;
	}
	t->match[t->matches].at = at;
	t->match[t->matches].id = id;
	t->matches++;
}

enum rewrite_verdict model_verdict(uint32_t id, char text[16], struct bytes *replacement)
{
	if (id % 3 == 1)
		return REWRITE_KEEP;
	*replacement = BYTES_NONE;
	if (id % 3 == 0)
		*replacement = bytes_of(text, (size_t)snprintf(text, 16, "<%u>", id));
	return REWRITE_REPLACE;
}

static enum err record_emit(void *owner, struct bytes out)
{
	struct model_trace *t = owner;

	t->emits++;
	if (t->emits == t->error_at)
		return ERR_IO;
	if (out.n == 0)
		t->overflow = true; /* nobody wants an empty emit */
	put(t, out.p, out.n);
	return ERR_OK;
}

static enum rewrite_verdict record_match(void *owner, uint32_t id, uint64_t offset,
					 struct bytes *replacement)
{
	static char text[16];
	struct model_trace *t = owner;

	note(t, offset, id);
	if (t->stop_id >= 0 && id == (uint32_t)t->stop_id)
		return REWRITE_STOP;
	return model_verdict(id, text, replacement);
}

const struct rewrite_ops model_ops = { .emit = record_emit, .match = record_match };

/* The longest pattern at a place, first of equals; NULL: none. */
static const struct rewrite_pattern *longest_at(const struct rewrite_pattern *pats, size_t n,
						struct bytes in, size_t at)
{
	const struct rewrite_pattern *best = NULL;

	for (size_t i = 0; i < n; i++)
		if (pats[i].text.n <= in.n - at && (!best || pats[i].text.n > best->text.n) &&
		    memcmp(pats[i].text.p, in.p + at, pats[i].text.n) == 0)
			best = &pats[i];
	return best;
}

void model_run(struct model_trace *t, const struct rewrite_pattern *pats, size_t n, struct bytes in)
{
	model_reset(t);
	for (size_t at = 0; at < in.n;) {
		const struct rewrite_pattern *p = longest_at(pats, n, in, at);
		struct bytes replacement;
		char text[16];

		if (!p) {
			put(t, in.p + at++, 1);
			continue;
		}
		note(t, at, p->id);
		if (model_verdict(p->id, text, &replacement) == REWRITE_KEEP)
			put(t, in.p + at, p->text.n);
		else
			put(t, replacement.p, replacement.n);
		at += p->text.n;
	}
}

bool model_same(const struct model_trace *a, const struct model_trace *b)
{
	if (a->overflow || b->overflow || a->out_n != b->out_n || a->matches != b->matches)
		return false;
	for (size_t i = 0; i < a->matches; i++)
		if (a->match[i].at != b->match[i].at || a->match[i].id != b->match[i].id)
			return false;
	return memcmp(a->out, b->out, a->out_n) == 0;
}

size_t model_may_hold(const struct rewrite_pattern *pats, size_t n, struct bytes in)
{
	size_t at = 0;

	while (at < in.n) {
		const struct rewrite_pattern *p;

		/* A longer pattern may still come of the text from here on. */
		for (size_t i = 0; i < n; i++)
			if (pats[i].text.n > in.n - at &&
			    memcmp(pats[i].text.p, in.p + at, in.n - at) == 0)
				return in.n - at;
		p = longest_at(pats, n, in, at);
		at += p ? p->text.n : 1;
	}
	return 0;
}
