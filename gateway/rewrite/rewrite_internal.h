/*
 * rewrite_internal.h - the layout of a set, and the machine it describes
 *
 * The machine is Aho-Corasick over the trie of the patterns, packed. Patterns are sorted and their
 * texts stored one after the other. A node of the trie is written (pattern, depth): the first
 * pattern in sorted order that begins with the node's path, and the length of the path. Its number
 * is its place in the texts, so the path of a node, and with it the bytes a stream holds, can be
 * read there. From a node,
 *
 *   - the next byte of its own pattern leads one place further: whole stretches are one comparison
 * of memory;
 *   - any other byte that continues the path leads to another pattern: one entry in a hash table of
 * edges, and there are fewer of them than patterns;
 *   - no byte continues: the fail entry says where to go on. Nodes without an entry fail to the
 * root.
 *
 * Leftmost-longest: a node whose path begins with a whole pattern has that match pending. Failing
 * from it settles the match, and the text after the match is that of the path, known when the set
 * is built; so the fail entry also lists the matches inside the rest of the path ("items") and
 * names the node that reading this rest ends in. Nothing is ever read twice and the machine is
 * linear for any set. A node that ends a pattern and has no child is left for the root at once.
 *
 * In front of the root stands the filter (filter.c). A pattern of at least m bytes covers m - q + 1
 * windows of q bytes ("grams"), so at least one of the windows taken at each stride = m - q + 1
 * bytes of the text lies wholly in it. A bit table of the patterns' grams dismisses most samples; a
 * second table says at which offsets in a pattern the gram stands; and the first W bytes from there
 * on must be those of a pattern: a hash table that leads straight to the node at depth W. So benign
 * text costs one multiplication for each stride, and a false start O(1).
 */
#pragma once

#include "gateway/rewrite/rewrite.h"

#define SET_MAGIC UINT64_C(0x31746573766c7353)
#define SET_ALIGN 64u
#define SET_STRIDE_MAX 16u /* bits in an offset mask */
#define SET_PREFIX_MAX 16u
#define SET_NONE UINT32_MAX
#define SET_TEXT_PAD 32u /* zero bytes after the last text */

enum set_section {
	SECTION_TEXTS,	  /* uint8_t, a zero byte after each text, SET_TEXT_PAD after all */
	SECTION_PATTERNS, /* struct set_pattern, in the order of their texts */
	SECTION_EDGES,	  /* struct set_edge, a power of two, open addressing */
	SECTION_MARKS,	  /* struct set_mark, one for 64 places in the texts */
	SECTION_FAILS,	  /* struct set_fail, in the order of their places */
	SECTION_ITEMS,	  /* struct set_item */
	SECTION_BLOOM,	  /* uint64_t, a power of two: a bit for each gram's hash */
	SECTION_OFFSETS,  /* uint16_t, a power of two: bit o: the gram may stand at offset o */
	SECTION_JUMPS,	  /* struct set_jump, a power of two, open addressing */
	SECTION_COUNT
};

struct set_pattern {
	uint32_t place; /* of the root on this pattern: where its text starts */
	uint16_t length;
	uint16_t has_child; /* some pattern begins with this one */
	uint32_t id;
	uint32_t within; /* longest pattern that this one begins with, + 1; 0: none */
};

struct set_edge {
	uint32_t place; /* of the node it leaves */
	uint32_t to;	/* pattern << 8 | byte; 0: empty slot (nothing leads to pattern 0) */
};

struct set_mark {
	uint64_t fails; /* which of 64 places have a fail entry */
	uint64_t edges; /* from which of them an edge leads to another pattern */
	uint64_t rank;	/* fail entries before these */
};

struct set_fail {
	uint32_t pattern;
	uint16_t depth;
	uint16_t n_items;
	uint32_t items; /* index of the first */
};

struct set_item {
	uint32_t pattern;
	uint32_t at; /* where the match starts in the path that failed */
};

struct set_jump {
	uint32_t pattern; /* + 1; 0: empty slot */
	uint32_t place;	  /* of its text */
};

struct set_span {
	uint64_t offset; /* from the start of the blob */
	uint64_t count;	 /* entries */
};

struct rewrite_set {
	uint64_t magic;
	uint64_t size;
	uint32_t n; /* patterns; 0: everything passes and there are no sections */
	uint32_t longest;
	uint32_t shortest;
	uint32_t gram;	     /* q, 1..8 */
	uint32_t stride;     /* 1..SET_STRIDE_MAX, gram + stride - 1 <= shortest */
	uint32_t prefix;     /* W, 1..SET_PREFIX_MAX, <= shortest */
	uint8_t edge_shift;  /* 64 - log2(entries) of each hash table */
	uint8_t bloom_shift; /* of bits, not words */
	uint8_t offset_shift;
	uint8_t jump_shift;
	uint32_t reserved;
	struct set_span span[SECTION_COUNT];
	uint8_t first[256]; /* does a pattern begin with this byte? */
};

/* A node of the trie. */
struct set_node {
	uint32_t pattern;
	uint32_t depth; /* 0: the root, whatever the pattern */
};

/* The same while scanning, with the place of the pattern's text: one load less where it counts. */
struct set_state {
	uint32_t pattern;
	uint32_t depth;
	uint32_t start;
};

#define SET_ROOT ((struct set_state){ 0, 0, 0 })

static inline const void *set_section(const struct rewrite_set *set, enum set_section which)
{
	return (const char *)set + set->span[which].offset;
}

static inline const uint8_t *set_texts(const struct rewrite_set *set)
{
	return set_section(set, SECTION_TEXTS);
}

static inline const struct set_pattern *set_patterns(const struct rewrite_set *set)
{
	return set_section(set, SECTION_PATTERNS);
}

static inline const struct set_mark *set_mark(const struct rewrite_set *set, uint32_t place)
{
	return (const struct set_mark *)set_section(set, SECTION_MARKS) + place / 64;
}

static inline uint64_t load_u64(const uint8_t *p)
{
	uint64_t x;

	memcpy(&x, p, sizeof(x));
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
	x = __builtin_bswap64(x);
#endif
	return x;
}

/* The bytes in[at..at + q), q <= 8, in the top bytes of a word; the rest zero. Never reads past the
 * end of in. */
static inline uint64_t load_gram(struct bytes in, size_t at, unsigned q)
{
	uint64_t x = 0;

	if (LIKELY(at + 8 <= in.n)) {
		x = load_u64(in.p + at);
	} else if (in.n >= 8) {
		x = load_u64(in.p + in.n - 8) >> (8 * (at - (in.n - 8)));
	} else {
		for (unsigned i = 0; i < q; i++)
			x |= (uint64_t)in.p[at + i] << (8 * i);
	}
	return x << (8 * (8 - q) & 63); /* q is 1 to 8 */
}

static inline uint64_t hash_bloom(uint64_t gram)
{
	return gram * UINT64_C(0x9e3779b97f4a7c15);
}

/* Each gram sets two bits in one word of the bloom table; the second is taken from other bits of
 * the hash. */
#define BLOOM_SECOND(hash) ((hash) >> 32 & 63)

static inline uint64_t hash_offset(uint64_t gram)
{
	return (gram ^ gram >> 29) * UINT64_C(0xbf58476d1ce4e5b9);
}

/* The first W bytes of a path, as they can be loaded: overlapping when W is between 8 and 16. */
struct window {
	uint64_t first, last;
};

/* The `w` bytes at `at`, all inside in. */
static inline struct window window_at(struct bytes in, size_t at, unsigned w)
{
	if (LIKELY(w > 8))
		return (struct window){ load_u64(in.p + at), load_u64(in.p + at + w - 8) };
	return (struct window){ load_gram(in, at, w), 0 };
}

static inline uint64_t hash_window(struct window w)
{
	uint64_t a = (w.first ^ w.first >> 32) * UINT64_C(0x94d049bb133111eb) + w.last;

	return (a ^ a >> 32) * UINT64_C(0xd6e8feb86659fd93);
}

static inline uint64_t hash_edge(uint32_t place, uint8_t byte)
{
	return ((uint64_t)place << 8 | byte) * UINT64_C(0x9e3779b97f4a7c15);
}

/* The pattern that `byte` leads to from a node, when it is another than the node's own; SET_NONE:
 * none. */
static inline uint32_t edge_find(const struct set_edge *edges, unsigned shift, uint32_t place,
				 uint8_t byte)
{
	uint64_t mask = (UINT64_C(1) << (64 - shift)) - 1;

	for (uint64_t i = hash_edge(place, byte) >> shift; edges[i].to != 0; i = (i + 1) & mask)
		if (edges[i].place == place && (uint8_t)edges[i].to == byte)
			return edges[i].to >> 8;
	return SET_NONE;
}

/* The longest pattern that a node's path begins with, + 1; 0: none. */
static inline uint32_t pattern_pending(const struct set_pattern *pats, uint32_t pattern,
				       uint32_t depth)
{
	if (depth == 0)
		return 0;
	return depth == pats[pattern].length ? pattern + 1 : pats[pattern].within;
}

static inline struct set_state state_at(const struct rewrite_set *set, uint32_t pattern,
					uint32_t depth)
{
	if (depth == 0)
		return SET_ROOT;
	return (struct set_state){ pattern, depth, set_patterns(set)[pattern].place };
}

/* Does a path begin with the W bytes at p, which are all inside `in`? If so *at is its node at
 * depth W. */
static inline bool filter_jump(const struct rewrite_set *set, struct bytes in, size_t p,
			       struct set_state *at)
{
	const struct set_jump *jumps = set_section(set, SECTION_JUMPS);
	const uint8_t *texts = set_texts(set);
	const unsigned w = set->prefix;
	uint64_t mask = (UINT64_C(1) << (64 - set->jump_shift)) - 1;
	struct window window = window_at(in, p, w);
	uint64_t hash = hash_window(window);

	for (uint64_t i = hash >> set->jump_shift; jumps[i].pattern != 0; i = (i + 1) & mask) {
		/* The texts are padded: a load past a text's end stays among them. */
		struct window known =
			window_at(bytes_of(texts + jumps[i].place, SET_TEXT_PAD), 0, w);

		if (known.first != window.first || known.last != window.last)
			continue;
		*at = (struct set_state){ jumps[i].pattern - 1, w, jumps[i].place };
		return true;
	}
	return false;
}

/* filter.c: the first sample at or after t that may be in a pattern; none is if its gram ends after
 * in. */
size_t filter_skip(const struct rewrite_set *set, struct bytes in, size_t t);
/* The next place at or after `i` where a path begins; returns where to go on reading and sets *at
 * there, or in.n with *at at the root. With `whole`, nothing follows `in`. */
size_t filter_find(const struct rewrite_set *set, struct bytes in, size_t i, bool whole,
		   struct set_state *at);

/* A growing array that is wiped when it is given back. */
struct vec {
	uint8_t *data; /* owned */
	size_t n, cap; /* bytes */
};

enum err vec_grow(struct vec *v, size_t n,
		  void **out) WARN_UNUSED; /* n zeroed bytes more, at *out */
void vec_release(struct vec *v);

/* build.c: a set in the making. */
struct builder {
	struct rewrite_set head;
	struct vec section[SECTION_COUNT];
	struct vec lcp;	   /* uint32_t for each pattern: bytes it shares with the one before */
	struct vec parent; /* uint32_t for each pattern: the pattern whose node at depth lcp it
			      leaves */
};

static inline struct bytes builder_text(const struct builder *b, uint32_t pattern)
{
	const struct set_pattern *p =
		(const struct set_pattern *)(const void *)b->section[SECTION_PATTERNS].data;

	return bytes_of(b->section[SECTION_TEXTS].data + p[pattern].place, p[pattern].length);
}

enum err build_fails(struct builder *b) WARN_UNUSED; /* build_fail.c: marks, fails, items */
enum err
build_filter(struct builder *b) WARN_UNUSED; /* build_filter.c: bloom, offsets, jumps, first */
