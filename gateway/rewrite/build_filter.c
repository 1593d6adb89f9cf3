/*
 * build_filter.c - the tables in front of the root
 *
 * Chooses q, the stride and W from the shortest pattern, then enters each pattern's grams at
 * offsets 0 to stride - 1 (see rewrite_internal.h). A large set gets a shorter stride: fewer grams,
 * so the tables stay in the cache.
 */
#include "gateway/rewrite/rewrite_internal.h"

#define GRAMS_AIM 65536u /* more than this and the stride is cut, down to STRIDE_FLOOR */
#define STRIDE_FLOOR 4u
#define BLOOM_RATIO 32u /* bits for each gram */
#define BLOOM_BITS_MIN 14
#define BLOOM_BITS_MAX 22
#define OFFSET_BITS_MAX 18

static uint32_t min_u32(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

/* The power of two that is at least n, within limits, as its exponent. */
static uint8_t table_bits(uint64_t n, uint8_t least, uint8_t most)
{
	uint8_t bits = least;

	while (bits < most && (UINT64_C(1) << bits) < n)
		bits++;
	return bits;
}

static void choose_windows(struct rewrite_set *head)
{
	uint32_t m = head->shortest;

	head->gram = m < 4 ? m : min_u32(8, (m + 2) / 2);
	head->stride = min_u32(SET_STRIDE_MAX, m - head->gram + 1);
	while (head->stride > STRIDE_FLOOR && (uint64_t)head->stride * head->n > GRAMS_AIM)
		head->stride--;
	head->prefix = min_u32(SET_PREFIX_MAX, m);
	if (head->prefix > 8 && head->prefix < SET_PREFIX_MAX)
		head->prefix = 8;
}

static enum err add_grams(struct builder *b)
{
	struct rewrite_set *head = &b->head;
	uint64_t grams = (uint64_t)head->n * head->stride;
	uint8_t bloom_bits = table_bits(grams * BLOOM_RATIO, BLOOM_BITS_MIN, BLOOM_BITS_MAX);
	uint8_t offset_bits = table_bits(grams * 2, 6, OFFSET_BITS_MAX);
	uint64_t *bloom;
	uint16_t *offsets;
	void *out;

	head->bloom_shift = (uint8_t)(64 - bloom_bits);
	head->offset_shift = (uint8_t)(64 - offset_bits);
	TRY(vec_grow(&b->section[SECTION_BLOOM], sizeof(*bloom) << (bloom_bits - 6), &out));
	bloom = out;
	TRY(vec_grow(&b->section[SECTION_OFFSETS], sizeof(*offsets) << offset_bits, &out));
	offsets = out;
	for (uint32_t i = 0; i < head->n; i++) {
		struct bytes text = builder_text(b, i);

		for (uint32_t o = 0; o < head->stride; o++) {
			uint64_t gram = load_gram(text, o, head->gram);
			uint64_t hash = hash_bloom(gram), bit = hash >> head->bloom_shift;

			bloom[bit / 64] |=
				UINT64_C(1) << (bit % 64) | UINT64_C(1) << BLOOM_SECOND(hash);
			offsets[hash_offset(gram) >> head->offset_shift] |= (uint16_t)(1u << o);
		}
	}
	return ERR_OK;
}

/* Only the first pattern with a given beginning: it is the one that names the node. */
static enum err add_jumps(struct builder *b)
{
	struct rewrite_set *head = &b->head;
	const struct set_pattern *pats = (const void *)b->section[SECTION_PATTERNS].data;
	const uint32_t *lcp = (const void *)b->lcp.data;
	uint8_t bits = table_bits((uint64_t)head->n * 4, 2, 32);
	uint64_t mask = (UINT64_C(1) << bits) - 1;
	struct set_jump *jumps;
	void *out;

	head->jump_shift = (uint8_t)(64 - bits);
	TRY(vec_grow(&b->section[SECTION_JUMPS], sizeof(*jumps) << bits, &out));
	jumps = out;
	for (uint32_t i = 0; i < head->n; i++) {
		uint64_t hash, slot;

		if (i > 0 && lcp[i] >= head->prefix)
			continue;
		hash = hash_window(window_at(builder_text(b, i), 0, head->prefix));
		slot = hash >> head->jump_shift;
		while (jumps[slot].pattern != 0)
			slot = (slot + 1) & mask;
		jumps[slot] = (struct set_jump){ .pattern = i + 1, .place = pats[i].place };
	}
	return ERR_OK;
}

enum err build_filter(struct builder *b)
{
	choose_windows(&b->head);
	for (uint32_t i = 0; i < b->head.n; i++)
		b->head.first[builder_text(b, i).p[0]] = 1;
	TRY(add_grams(b));
	return add_jumps(b);
}
