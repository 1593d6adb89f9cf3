/*
 * stream.c - walk the machine over a text and write the output
 *
 * walk() reads from a node until a match is settled, the node fails, or the text ends; the filter
 * takes over at the root. Output is owed from `done` on: nothing is emitted before a replacement or
 * the end of the chunk makes it necessary, so a chunk without matches goes out as it came. Places
 * are counted from the start of the chunk; what was held before it lies at negative places and is
 * read from the set.
 */
/* REWRITE_PORTABLE takes the ways every machine has, so that a test can show both are right. */
#if defined(__SSE2__) && !defined(REWRITE_PORTABLE)
#define WITH_SSE2 1
#include <emmintrin.h>
#endif

#include "gateway/rewrite/rewrite_internal.h"

struct scan {
	const struct rewrite_set *set;
	const struct rewrite_ops *ops;
	void *owner;
	struct bytes in;
	uint64_t base;	     /* offset of in.p[0] in the stream */
	const uint8_t *held; /* the bytes before in.p[0], from place -held_n */
	size_t held_n;
	ptrdiff_t done; /* all before this place is emitted or replaced */
};

static enum err emit_until(struct scan *sc, ptrdiff_t to)
{
	if (sc->done < 0 && sc->done < to) {
		ptrdiff_t end = to < 0 ? to : 0;
		const uint8_t *from = sc->held + sc->held_n + sc->done;

		TRY(sc->ops->emit(sc->owner, bytes_of(from, (size_t)(end - sc->done))));
		sc->done = end;
	}
	if (sc->done < to) {
		TRY(sc->ops->emit(sc->owner,
				  bytes_of(sc->in.p + sc->done, (size_t)(to - sc->done))));
		sc->done = to;
	}
	return ERR_OK;
}

static enum err settle(struct scan *sc, ptrdiff_t at, uint32_t pattern)
{
	const struct set_pattern *p = &set_patterns(sc->set)[pattern];
	struct bytes replacement = BYTES_NONE;

	/* A place before the chunk wraps round and comes out right. */
	switch (sc->ops->match(sc->owner, p->id, sc->base + (uint64_t)(int64_t)at, &replacement)) {
	case REWRITE_KEEP:
		return ERR_OK;
	case REWRITE_REPLACE:
		TRY(emit_until(sc, at));
		sc->done = at + p->length;
		return replacement.n ? sc->ops->emit(sc->owner, replacement) : ERR_OK;
	case REWRITE_STOP:
		break;
	}
	return ERR_SECRET_LEAK;
}

static const struct set_fail *fail_of(const struct rewrite_set *set, uint32_t place)
{
	const struct set_mark *mark = set_mark(set, place);
	const struct set_fail *fails = set_section(set, SECTION_FAILS);
	uint64_t bit = UINT64_C(1) << (place % 64);

	if (LIKELY(!(mark->fails & bit)))
		return NULL;
	return &fails[mark->rank + (uint64_t)__builtin_popcountll(mark->fails & (bit - 1))];
}

/* No byte continues *at, whose path ends before place `end`: settles its matches and goes where it
 * fails to. */
static enum err fail(struct scan *sc, ptrdiff_t end, struct set_state *at)
{
	const struct set_pattern *pats = set_patterns(sc->set);
	const struct set_fail *f = fail_of(sc->set, at->start + at->depth);
	ptrdiff_t start = end - (ptrdiff_t)at->depth;
	uint32_t pending = pattern_pending(pats, at->pattern, at->depth);

	*at = SET_ROOT;
	if (pending)
		TRY(settle(sc, start, pending - 1));
	if (!f)
		return ERR_OK;
	if (f->n_items) {
		const struct set_item *items = set_section(sc->set, SECTION_ITEMS);

		for (uint32_t i = 0; i < f->n_items; i++)
			TRY(settle(sc, start + (ptrdiff_t)items[f->items + i].at,
				   items[f->items + i].pattern));
	}
	*at = state_at(sc->set, f->pattern, f->depth);
	return ERR_OK;
}

/* How many of the first 32 bytes are the same; both can be read. */
static inline size_t same_of_32(const uint8_t *a, const uint8_t *b)
{
#ifdef WITH_SSE2
	__m128i low = _mm_cmpeq_epi8(_mm_loadu_si128((const __m128i *)(const void *)a),
				     _mm_loadu_si128((const __m128i *)(const void *)b));
	__m128i high = _mm_cmpeq_epi8(_mm_loadu_si128((const __m128i *)(const void *)(a + 16)),
				      _mm_loadu_si128((const __m128i *)(const void *)(b + 16)));
	uint64_t same = (uint64_t)(unsigned)_mm_movemask_epi8(low) |
			(uint64_t)(unsigned)_mm_movemask_epi8(high) << 16;

	return (size_t)__builtin_ctzll(~same);
#else
	for (size_t i = 0; i < 32; i += 8) {
		uint64_t x = load_u64(a + i) ^ load_u64(b + i);

		if (x)
			return i + (size_t)__builtin_ctzll(x) / 8;
	}
	return 32;
#endif
}

/* Length of what the text and a pattern's rest have in common; the pattern can be read SET_TEXT_PAD
 * further. */
static inline size_t common_length(struct bytes text, const uint8_t *rest, size_t room)
{
	size_t i = 0, n = text.n < room ? text.n : room;

	for (; i < n && i + 32 <= text.n; i += 32) {
		size_t same = same_of_32(text.p + i, rest + i);

		if (same < 32)
			return i + same < n ? i + same : n;
	}
	while (i < n && text.p[i] == rest[i])
		i++;
	return i < n ? i : n;
}

/*
 * From node *at, with place *i the next to read. Ends at the end of the text, at a settled match,
 * or after failing; in the last two cases *at may be the root, or a node from which to go on.
 */
static enum err walk(struct scan *sc, size_t *i, struct set_state *at)
{
	const struct set_pattern *pats = set_patterns(sc->set);
	const uint8_t *texts = set_texts(sc->set);

	for (;;) {
		const struct set_pattern *p = &pats[at->pattern];
		uint32_t place = at->start + at->depth, to = SET_NONE;
		size_t run =
			common_length(bytes_from(sc->in, *i), texts + place, p->length - at->depth);
		const struct set_mark *mark = set_mark(sc->set, place += (uint32_t)run);

		*i += run;
		at->depth += (uint32_t)run;
		if (at->depth == p->length && !p->has_child) {
			uint32_t pattern = at->pattern;

			*at = SET_ROOT;
			return settle(sc, (ptrdiff_t)*i - p->length, pattern);
		}
		if (*i == sc->in.n)
			return ERR_OK;
		if (mark->edges >> (place % 64) & 1) {
			to = edge_find(set_section(sc->set, SECTION_EDGES), sc->set->edge_shift,
				       place, sc->in.p[*i]);
		} else if (!(mark->fails >> (place % 64) & 1) && !p->within &&
			   at->depth < p->length) {
			*at = SET_ROOT; /* what fail() would do, without looking */
			return ERR_OK;
		}
		if (to == SET_NONE)
			return fail(sc, (ptrdiff_t)*i, at);
		*at = state_at(sc->set, to, at->depth + 1);
		++*i;
	}
}

static enum err scan_text(struct scan *sc, bool whole, struct set_state *at)
{
	const size_t prefix = sc->set->prefix;
	bool walked = false;
	size_t i = 0;

	while (i < sc->in.n) {
		/* Where one beginning breaks off the next often stands: look there first. */
		if (at->depth == 0 && walked && i + prefix <= sc->in.n &&
		    filter_jump(sc->set, sc->in, i, at)) {
			i += prefix;
		} else if (at->depth == 0) {
			i = filter_find(sc->set, sc->in, i, whole, at);
			if (at->depth == 0)
				break;
		}
		TRY(walk(sc, &i, at));
		walked = true;
	}
	return ERR_OK;
}

/* The text ends at `end` with the machine in *at. */
static enum err scan_end(struct scan *sc, ptrdiff_t end, struct set_state *at)
{
	while (at->depth)
		TRY(fail(sc, end, at));
	return emit_until(sc, end);
}

/* ---- streams ------------------------------------------------------------------------- */

void rewrite_stream_init(struct rewrite_stream *s, const struct rewrite_set *set,
			 const struct rewrite_ops *ops, void *owner)
{
	*s = (struct rewrite_stream){ .set = set, .ops = ops, .owner = owner };
}

static struct scan scan_of(const struct rewrite_stream *s, struct bytes in)
{
	struct scan sc = {
		.set = s->set, .ops = s->ops, .owner = s->owner, .in = in, .base = s->offset
	};

	if (s->depth) {
		sc.held = set_texts(s->set) + set_patterns(s->set)[s->pattern].place;
		sc.held_n = s->depth;
		sc.done = -(ptrdiff_t)s->depth;
	}
	return sc;
}

enum err rewrite_feed(struct rewrite_stream *s, struct bytes in)
{
	struct set_state at = state_at(s->set, s->pattern, s->depth);
	struct scan sc;

	if (in.n == 0)
		return ERR_OK;
	sc = scan_of(s, in);
	s->offset += in.n;
	s->depth = 0; /* should it fail */
	if (s->set->n) {
		TRY(scan_text(&sc, false, &at));
		s->pattern = at.pattern;
		s->depth = at.depth;
	}
	return emit_until(&sc, (ptrdiff_t)in.n - (ptrdiff_t)at.depth);
}

enum err rewrite_end(struct rewrite_stream *s)
{
	struct set_state at = state_at(s->set, s->pattern, s->depth);
	struct scan sc = scan_of(s, BYTES_NONE);

	s->depth = 0;
	s->offset = 0;
	return scan_end(&sc, 0, &at);
}

size_t rewrite_held(const struct rewrite_stream *s)
{
	return s->depth;
}

void rewrite_stream_release(struct rewrite_stream *s)
{
	explicit_bzero(s, sizeof(*s));
}

enum err rewrite_whole(const struct rewrite_set *set, struct bytes in,
		       const struct rewrite_ops *ops, void *owner)
{
	struct set_state at = SET_ROOT;
	struct scan sc;

	if (in.n == 0)
		return ERR_OK;
	if (set->n == 0 || filter_skip(set, in, set->stride - 1) + set->gram > in.n)
		return ops->emit(owner, in);
	sc = (struct scan){ .set = set, .ops = ops, .owner = owner, .in = in };
	TRY(scan_text(&sc, true, &at));
	return scan_end(&sc, (ptrdiff_t)in.n, &at);
}

static enum err drop(void *owner, struct bytes out)
{
	(void)owner;
	(void)out;
	return ERR_OK;
}

static enum rewrite_verdict stop(void *owner, uint32_t id, uint64_t offset,
				 struct bytes *replacement)
{
	(void)owner;
	(void)id;
	(void)offset;
	(void)replacement;
	return REWRITE_STOP;
}

bool rewrite_any(const struct rewrite_set *set, struct bytes in)
{
	static const struct rewrite_ops ops = { .emit = drop, .match = stop };

	return rewrite_whole(set, in, &ops, NULL) != ERR_OK;
}
