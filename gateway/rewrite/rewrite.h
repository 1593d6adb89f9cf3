/*
 * rewrite.h - find many tokens in a stream and put other bytes in their place
 *
 * A set is built once from patterns and lies in one contiguous region without pointers (the blob),
 * so that it can be copied into a secret area and mapped elsewhere. A stream walks one text through
 * a set. Semantics: leftmost-longest, byte-exact, matches never overlap, identical at any split of
 * the text (risk 1.1 of the specification: a secret split over two packets).
 *
 * A stream consumes all it is fed, emits every byte that cannot belong to a token at once, and
 * holds at most longest - 1 bytes. What it holds is the beginning of a pattern, so it is spelled
 * from the set and needs no buffer: a stream is a few words, allocates nothing and may be embedded
 * and copied freely.
 *
 * Cost is linear in the text for any set and any text; see rewrite_internal.h.
 *
 * Secrets: a blob spells its patterns, and the stream's state tells where in one it stands. Callers
 * keep the blob in secret memory and end a stream with rewrite_stream_release().
 */
#pragma once

#include "base/base.h"

#define REWRITE_PATTERN_MAX 4096 /* bytes in one pattern */
#define REWRITE_TEXT_MAX                                                                           \
	(16u << 20) /* bytes in all patterns of a set, each counted with one more */

/* ---- sets ---------------------------------------------------------------------------- */

struct rewrite_pattern {
	struct bytes text; /* borrowed during build; 1..REWRITE_PATTERN_MAX bytes, any values */
	uint32_t id;	   /* the caller's meaning, handed to match() */
};

/*
 * Builds a set. n == 0 gives a valid set that passes everything through. Of patterns with the same
 * text the first wins: the caller's order is the priority. All temporary memory is wiped.
 * ERR_BAD_VALUE: an empty pattern; ERR_TOO_LONG: over one of the limits above; ERR_NOMEM.
 * *blob is 64-byte aligned, owned by the caller, given back with rewrite_blob_free(). A copy must
 * be 64-byte aligned too.
 */
enum err rewrite_set_build(const struct rewrite_pattern *pats, size_t n, void **blob,
			   size_t *size) WARN_UNUSED;
/* Wipes and frees what rewrite_set_build() gave; blob may be NULL. */
void rewrite_blob_free(void *blob, size_t size);

struct rewrite_set;

/* The set that lies in a blob (borrowed: lives as long as the blob). NULL when the blob is damaged
 * or misaligned. */
const struct rewrite_set *rewrite_set_open(const void *blob, size_t size);
/* Patterns in the set, without doubles. */
size_t rewrite_set_count(const struct rewrite_set *set);
/* Length of the longest pattern; 0 for an empty set. A stream holds less than this. */
size_t rewrite_set_longest(const struct rewrite_set *set);

/* ---- streams ------------------------------------------------------------------------- */

enum rewrite_verdict {
	REWRITE_KEEP,	 /* the text passes unchanged; scanning goes on after it */
	REWRITE_REPLACE, /* *replacement takes its place */
	REWRITE_STOP,	 /* feed and end return ERR_SECRET_LEAK; the stream may only be released */
};

struct rewrite_ops {
	/*
	 * Takes the next output bytes; valid during the call only. An error ends the feed and is
	 * returned by it. A chunk in which nothing matches and nothing is held comes as one call
	 * with the whole chunk, not copied.
	 */
	enum err (*emit)(void *owner, struct bytes out);
	/*
	 * A pattern stands at byte `offset` of the stream's input. The bytes before it may not have
	 * been emitted yet. *replacement is read before the next call of match() and must live
	 * until then.
	 */
	enum rewrite_verdict (*match)(void *owner, uint32_t id, uint64_t offset,
				      struct bytes *replacement);
};

/* Fields are private; embed it anywhere. */
struct rewrite_stream {
	const struct rewrite_set *set; /* borrowed */
	const struct rewrite_ops *ops; /* borrowed */
	void *owner;
	uint64_t offset;  /* input bytes fed so far */
	uint32_t pattern; /* the held bytes are the first `depth` of this pattern */
	uint32_t depth;
};

void rewrite_stream_init(struct rewrite_stream *s, const struct rewrite_set *set,
			 const struct rewrite_ops *ops, void *owner);
/* Consumes all of `in`. ERR_SECRET_LEAK after REWRITE_STOP, or what emit() returned. */
enum err rewrite_feed(struct rewrite_stream *s, struct bytes in) WARN_UNUSED;
/* The text ends here: decides and emits what is held. The stream is then as after init. */
enum err rewrite_end(struct rewrite_stream *s) WARN_UNUSED;
/* Bytes consumed but not yet emitted. */
size_t rewrite_held(const struct rewrite_stream *s);
void rewrite_stream_release(struct rewrite_stream *s);

/*
 * init + feed + end for a text that is there as a whole; cheaper than a stream: a text without a
 * token costs a few nanoseconds and one emit() of all of it (none when the text is empty).
 */
enum err rewrite_whole(const struct rewrite_set *set, struct bytes in,
		       const struct rewrite_ops *ops, void *owner) WARN_UNUSED;
/* Does any pattern occur? */
bool rewrite_any(const struct rewrite_set *set, struct bytes in);

/* ---- spellings: how a token is written where it stands ------------------------------- */

/* Ways to write the same bytes. Only RAW is the bytes themselves. */
enum rewrite_form {
	REWRITE_RAW,
	REWRITE_PERCENT,       /* RFC 3986: all but unreserved as %XX, upper-case hex */
	REWRITE_PERCENT_LOWER, /* the same with lower-case hex */
	REWRITE_FORM,	       /* application/x-www-form-urlencoded: space as +, * stays */
	REWRITE_FORM_LOWER,
	REWRITE_JSON,	    /* inside a JSON string: RFC 8259 7, only what must be escaped */
	REWRITE_JSON_SLASH, /* the same with \/ for / */
	REWRITE_FORM_COUNT
};

/* Where a text stands; says how a raw match must be written. */
enum rewrite_context {
	REWRITE_CONTEXT_RAW, /* header value, plain body */
	REWRITE_CONTEXT_QUERY,
	REWRITE_CONTEXT_PATH,
	REWRITE_CONTEXT_FORM, /* application/x-www-form-urlencoded body */
	REWRITE_CONTEXT_JSON,
	REWRITE_CONTEXT_BASIC, /* decoded Basic credentials: as raw */
};

/* From a Content-Type value (RFC 9110 8.3.1): JSON and its line and +json kin, forms, else raw. */
enum rewrite_context rewrite_context_of_media(struct bytes content_type);
/* The form to write in, for a token found as `found` in `context`: what it was found as, or what a
 * raw one needs there. */
enum rewrite_form rewrite_form_in(enum rewrite_form found, enum rewrite_context context);

/* Appends `in` spelled in `form`. ERR_AGAIN at out's ceiling (out then holds a part), ERR_NOMEM. */
enum err rewrite_encode(enum rewrite_form form, struct bytes in, struct buf *out) WARN_UNUSED;
/*
 * Appends the bytes that `in`, spelled in `form`, stands for. ERR_BAD_VALUE when it is not a
 * spelling (a broken %XX, a bad escape, a lone surrogate), ERR_AGAIN, ERR_NOMEM.
 */
enum err rewrite_decode(enum rewrite_form form, struct bytes in, struct buf *out) WARN_UNUSED;
/*
 * Calls visit() with every distinct spelling of `token` worth searching for, raw first; `text` is
 * valid during the call. Ends at the first error of visit() and returns it.
 */
enum err rewrite_forms(struct bytes token,
		       enum err (*visit)(void *owner, enum rewrite_form form, struct bytes text),
		       void *owner) WARN_UNUSED;

/* No control byte (CR, LF, NUL, tab, DEL, ...): fit to stand raw in a header value (RFC 9110 5.5).
 */
bool rewrite_header_safe(struct bytes value);

/*
 * Rewrites inside `Basic <base64>` (RFC 7617; scheme in any case): decodes, walks user:password
 * through the set, and when something was replaced appends the whole new header value to out and
 * sets *changed. Otherwise, also when the value is not Basic or not base64, out stays as it is and
 * the value passes unchanged. Of ops only match() is called; its offsets count in the decoded text.
 * ERR_SECRET_LEAK after REWRITE_STOP.
 */
enum err rewrite_basic(struct bytes header_value, const struct rewrite_set *set,
		       const struct rewrite_ops *ops, void *owner, struct buf *out,
		       bool *changed) WARN_UNUSED;
