/*
 * blob.c - is this region a set?
 *
 * A blob comes from the process that built it, by way of an inherited descriptor. Everything the
 * scanner follows without looking is checked here once: the sections' places, the tables' sizes,
 * and every index in them. A damaged blob can then give wrong matches, but not make the scanner
 * leave the region or run for ever.
 */
#include "gateway/rewrite/rewrite_internal.h"

static const struct {
	size_t entry;
	size_t align;
} layout[SECTION_COUNT] = {
	[SECTION_TEXTS] = { 1, 1 },
	[SECTION_PATTERNS] = { sizeof(struct set_pattern), _Alignof(struct set_pattern) },
	[SECTION_EDGES] = { sizeof(struct set_edge), _Alignof(struct set_edge) },
	[SECTION_MARKS] = { sizeof(struct set_mark), _Alignof(struct set_mark) },
	[SECTION_FAILS] = { sizeof(struct set_fail), _Alignof(struct set_fail) },
	[SECTION_ITEMS] = { sizeof(struct set_item), _Alignof(struct set_item) },
	[SECTION_BLOOM] = { sizeof(uint64_t), _Alignof(uint64_t) },
	[SECTION_OFFSETS] = { sizeof(uint16_t), _Alignof(uint16_t) },
	[SECTION_JUMPS] = { sizeof(struct set_jump), _Alignof(struct set_jump) },
};

static bool check_spans(const struct rewrite_set *set, size_t size)
{
	for (int i = 0; i < SECTION_COUNT; i++) {
		const struct set_span *span = &set->span[i];

		if (span->offset < sizeof(*set) || span->offset > size ||
		    span->offset % layout[i].align)
			return false;
		if (span->count > (size - span->offset) / layout[i].entry)
			return false;
	}
	return true;
}

static bool check_table(const struct rewrite_set *set, enum set_section which, unsigned shift)
{
	unsigned bits = 64 - shift;

	/* The bloom table counts words of 64 bits. */
	if (which == SECTION_BLOOM)
		return shift >= 32 && shift <= 58 &&
		       set->span[which].count == UINT64_C(1) << (bits - 6);
	return shift >= 32 && shift <= 63 && set->span[which].count == UINT64_C(1) << bits;
}

static bool check_header(const struct rewrite_set *set)
{
	if (set->n != set->span[SECTION_PATTERNS].count || set->shortest == 0 ||
	    set->shortest > set->longest || set->longest > REWRITE_PATTERN_MAX)
		return false;
	if (set->gram == 0 || set->gram > 8 || set->stride == 0 || set->stride > SET_STRIDE_MAX ||
	    set->gram + set->stride - 1 > set->shortest)
		return false;
	if (set->prefix == 0 || set->prefix > SET_PREFIX_MAX || set->prefix > set->shortest)
		return false;
	return check_table(set, SECTION_EDGES, set->edge_shift) &&
	       check_table(set, SECTION_BLOOM, set->bloom_shift) &&
	       check_table(set, SECTION_OFFSETS, set->offset_shift) &&
	       check_table(set, SECTION_JUMPS, set->jump_shift) &&
	       set->span[SECTION_MARKS].count > set->span[SECTION_TEXTS].count / 64;
}

static bool check_patterns(const struct rewrite_set *set)
{
	const struct set_pattern *pats = set_patterns(set);
	uint64_t next = 0;

	for (uint32_t i = 0; i < set->n; i++) {
		const struct set_pattern *p = &pats[i];

		if (p->length < set->shortest || p->length > set->longest || p->place != next)
			return false;
		if (p->within > i || (p->within && pats[p->within - 1].length >= p->length))
			return false;
		next += p->length + 1u;
	}
	return next + SET_TEXT_PAD == set->span[SECTION_TEXTS].count;
}

/* The depth of the node at a place. */
static uint32_t depth_of(const struct rewrite_set *set, uint32_t place)
{
	const struct set_pattern *pats = set_patterns(set);
	uint32_t low = 0, high = set->n;

	while (high - low > 1) {
		uint32_t middle = low + (high - low) / 2;

		if (pats[middle].place <= place)
			low = middle;
		else
			high = middle;
	}
	return place - pats[low].place;
}

/* Edges lead one deeper. Both tables need an empty slot, where a search ends. */
static bool check_tables(const struct rewrite_set *set)
{
	const struct set_edge *edges = set_section(set, SECTION_EDGES);
	const struct set_jump *jumps = set_section(set, SECTION_JUMPS);
	const struct set_pattern *pats = set_patterns(set);
	uint64_t used = 0;

	for (uint64_t i = 0; i < set->span[SECTION_EDGES].count; i++) {
		const struct set_edge *e = &edges[i];
		uint32_t to = e->to >> 8;

		if (e->to == 0)
			continue;
		used++;
		if (to == 0 || to >= set->n || e->place >= set->span[SECTION_TEXTS].count ||
		    depth_of(set, e->place) >= pats[to].length)
			return false;
	}
	if (used >= set->span[SECTION_EDGES].count)
		return false;
	used = 0;
	for (uint64_t i = 0; i < set->span[SECTION_JUMPS].count; i++) {
		if (jumps[i].pattern > set->n ||
		    (jumps[i].pattern && jumps[i].place != pats[jumps[i].pattern - 1].place))
			return false;
		used += jumps[i].pattern != 0;
	}
	return used < set->span[SECTION_JUMPS].count;
}

/* Failing must lead to a lesser depth, and to a node that exists. */
static bool check_fails_of(const struct rewrite_set *set, uint32_t pattern, uint64_t *fails)
{
	const struct set_pattern *pats = set_patterns(set), *p = &pats[pattern];
	const struct set_mark *marks = set_section(set, SECTION_MARKS);
	const struct set_fail *fail = set_section(set, SECTION_FAILS);
	const struct set_item *items = set_section(set, SECTION_ITEMS);

	for (uint32_t depth = 0; depth <= p->length; depth++) {
		uint32_t place = p->place + depth;
		const struct set_fail *f;

		if (!(marks[place / 64].fails >> (place % 64) & 1))
			continue;
		if (*fails >= set->span[SECTION_FAILS].count)
			return false;
		f = &fail[(*fails)++];
		if (f->depth >= depth || f->pattern >= set->n || f->depth > pats[f->pattern].length)
			return false;
		if (f->n_items > set->span[SECTION_ITEMS].count ||
		    f->items > set->span[SECTION_ITEMS].count - f->n_items)
			return false;
		for (uint32_t i = 0; i < f->n_items; i++) {
			const struct set_item *item = &items[f->items + i];

			if (item->pattern >= set->n || item->at >= depth ||
			    pats[item->pattern].length > depth - item->at)
				return false;
		}
	}
	return true;
}

static bool check_fails(const struct rewrite_set *set)
{
	const struct set_mark *marks = set_section(set, SECTION_MARKS);
	uint64_t rank = 0, fails = 0;

	for (uint64_t i = 0; i < set->span[SECTION_MARKS].count; i++) {
		if (marks[i].rank != rank)
			return false;
		rank += (uint64_t)__builtin_popcountll(marks[i].fails);
	}
	if (rank != set->span[SECTION_FAILS].count)
		return false;
	for (uint32_t i = 0; i < set->n; i++)
		if (!check_fails_of(set, i, &fails))
			return false;
	return fails == rank;
}

const struct rewrite_set *rewrite_set_open(const void *blob, size_t size)
{
	const struct rewrite_set *set = blob;

	if (!blob || (uintptr_t)blob % SET_ALIGN || size < sizeof(*set))
		return NULL;
	if (set->magic != SET_MAGIC || set->size != size)
		return NULL;
	if (set->n == 0)
		return set;
	if (!check_spans(set, size) || !check_header(set) || !check_patterns(set) ||
	    !check_tables(set) || !check_fails(set))
		return NULL;
	return set;
}

size_t rewrite_set_count(const struct rewrite_set *set)
{
	return set->n;
}

size_t rewrite_set_longest(const struct rewrite_set *set)
{
	return set->longest;
}
