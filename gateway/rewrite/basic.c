/*
 * basic.c - tokens inside Basic credentials
 *
 * `Basic` SP base64(user ":" password), RFC 7617. A token may be the user, the password, a part of
 * one, or reach over the colon: the decoded text is rewritten as a whole. What cannot be decoded is
 * not credentials and passes as it is; the caller walks the value itself through the set as it does
 * for every header.
 */
#include "gateway/rewrite/rewrite.h"

struct basic {
	const struct rewrite_ops *ops; /* borrowed; the caller's */
	void *owner;
	struct buf fresh; /* the rewritten credentials */
	bool replaced;
};

static enum err basic_on_emit(void *owner, struct bytes out)
{
	struct basic *b = owner;

	return buf_append(&b->fresh, out);
}

static enum rewrite_verdict basic_on_match(void *owner, uint32_t id, uint64_t offset,
					   struct bytes *replacement)
{
	struct basic *b = owner;
	enum rewrite_verdict verdict = b->ops->match(b->owner, id, offset, replacement);

	b->replaced = b->replaced || verdict == REWRITE_REPLACE;
	return verdict;
}

/* The base64 in a Basic value; empty: it is none. */
static struct bytes credentials_of(struct bytes value)
{
	struct bytes rest = bytes_trim(value);

	if (!bytes_istarts(rest, BYTES_LIT("basic ")))
		return BYTES_NONE;
	return bytes_trim(bytes_from(rest, 6));
}

static enum err rewrite_credentials(struct basic *b, const struct rewrite_set *set,
				    struct bytes text)
{
	static const struct rewrite_ops ops = { .emit = basic_on_emit, .match = basic_on_match };

	return rewrite_whole(set, text, &ops, b);
}

/* All or nothing: the scheme as it came, then the new credentials. */
static enum err append_value(struct bytes scheme, struct bytes fresh, struct buf *out)
{
	if (scheme.n > buf_room(out) || fresh.n / 3 > (buf_room(out) - scheme.n) / 4)
		return ERR_AGAIN;
	if ((fresh.n + 2) / 3 * 4 > buf_room(out) - scheme.n)
		return ERR_AGAIN;
	TRY(buf_append(out, scheme));
	return base64_encode(fresh, out);
}

enum err rewrite_basic(struct bytes header_value, const struct rewrite_set *set,
		       const struct rewrite_ops *ops, void *owner, struct buf *out, bool *changed)
{
	struct bytes coded = credentials_of(header_value);
	struct basic b = { .ops = ops, .owner = owner };
	struct buf plain;
	enum err e;

	*changed = false;
	if (coded.n == 0)
		return ERR_OK;
	buf_init_secret(&plain, coded.n);
	buf_init_secret(&b.fresh, out->max);
	e = base64_decode(coded, &plain);
	if (e == ERR_BAD_VALUE) {
		e = ERR_OK;
	} else if (e == ERR_OK) {
		e = rewrite_credentials(&b, set, buf_bytes(&plain));
		if (e == ERR_OK && b.replaced) {
			size_t scheme = (size_t)(coded.p - header_value.p);

			e = append_value(bytes_first(header_value, scheme), buf_bytes(&b.fresh),
					 out);
			*changed = e == ERR_OK;
		}
	}
	buf_release(&plain);
	buf_release(&b.fresh);
	return e;
}
