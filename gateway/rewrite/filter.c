/*
 * filter.c - from the root, find the next place where a pattern may begin
 *
 * The text is sampled at each stride; see rewrite_internal.h for why no beginning is missed. What
 * is sampled is inside the text given: nothing is read past its end. In a stream the last bytes may
 * begin a pattern that goes on in the next chunk; there each byte that begins any pattern is tried
 * by the machine itself.
 */
#include "gateway/rewrite/rewrite_internal.h"

#if defined(__x86_64__) && !defined(REWRITE_PORTABLE)
#define WITH_BMI2 1
#endif
#define ALWAYS_INLINE inline __attribute__((always_inline))

/* Bit 0: may the gram be in a pattern? */
static ALWAYS_INLINE uint64_t bloom_test(const uint64_t *bloom, unsigned shift, uint64_t gram)
{
	uint64_t hash = hash_bloom(gram), bit = hash >> shift, word = bloom[bit / 64];

	return word >> (bit % 64) & word >> BLOOM_SECOND(hash);
}

/* Four samples at once, as long as they can be loaded whole; *t is the first that hits, or where
 * the loop ended. */
static ALWAYS_INLINE bool skip_fours(const struct rewrite_set *set, struct bytes in, size_t *t,
				     const unsigned q)
{
	const uint64_t *bloom = set_section(set, SECTION_BLOOM);
	const unsigned shift = set->bloom_shift, up = 8 * (8 - q);
	const size_t stride = set->stride;
	const ptrdiff_t reach = (ptrdiff_t)(3 * stride + 8);
	const uint8_t *p = in.p + *t, *end = in.p + in.n;

	for (; end - p >= reach; p += 4 * stride) {
		uint64_t a = bloom_test(bloom, shift, load_u64(p) << up);
		uint64_t b = bloom_test(bloom, shift, load_u64(p + stride) << up);
		uint64_t c = bloom_test(bloom, shift, load_u64(p + 2 * stride) << up);
		uint64_t d = bloom_test(bloom, shift, load_u64(p + 3 * stride) << up);

		if (UNLIKELY((a | b | c | d) & 1)) {
			unsigned hits = (a & 1) | (b & 1) << 1 | (c & 1) << 2 | 8;

			*t = (size_t)(p - in.p) + (size_t)__builtin_ctz(hits) * stride;
			return true;
		}
	}
	*t = (size_t)(p - in.p);
	return false;
}

/* The first sample at or after t whose gram may be in a pattern, or one whose gram is not all
 * inside `in`. */
static ALWAYS_INLINE size_t skip_samples(const struct rewrite_set *set, struct bytes in, size_t t,
					 const unsigned q)
{
	const uint64_t *bloom = set_section(set, SECTION_BLOOM);

	if (t <= in.n && skip_fours(set, in, &t, q))
		return t;
	for (; t + q <= in.n; t += set->stride)
		if (bloom_test(bloom, set->bloom_shift, load_gram(in, t, q)) & 1)
			return t;
	return t;
}

#ifdef WITH_BMI2
/* The same with the three-operand shifts of BMI2: a fifth fewer instructions. */
__attribute__((target("bmi2"))) static size_t skip_samples_bmi2(const struct rewrite_set *set,
								struct bytes in, size_t t)
{
	return skip_samples(set, in, t, 8);
}
#endif

size_t filter_skip(const struct rewrite_set *set, struct bytes in, size_t t)
{
	if (UNLIKELY(set->gram != 8))
		return skip_samples(set, in, t, set->gram);
#ifdef WITH_BMI2
	if (LIKELY(__builtin_cpu_supports("bmi2")))
		return skip_samples_bmi2(set, in, t);
#endif
	return skip_samples(set, in, t, 8);
}

/* The node after the one byte at p. */
static inline bool enter(const struct rewrite_set *set, struct bytes in, size_t p,
			 struct set_state *at)
{
	uint32_t pattern = 0;

	if (!set->first[in.p[p]])
		return false;
	if (set_texts(set)[0] != in.p[p])
		pattern = edge_find(set_section(set, SECTION_EDGES), set->edge_shift, 0, in.p[p]);
	if (pattern == SET_NONE)
		return false;
	*at = state_at(set, pattern, 1);
	return true;
}

/* The sample at t hit: tries the beginnings it can belong to, the leftmost first. Returns where to
 * read on, 0: none. */
static inline size_t try_sample(const struct rewrite_set *set, struct bytes in, size_t t,
				bool whole, struct set_state *at)
{
	const uint16_t *offsets = set_section(set, SECTION_OFFSETS);
	uint64_t gram = load_gram(in, t, set->gram);
	unsigned mask =
		offsets[hash_offset(gram) >> set->offset_shift] & ((2u << (set->stride - 1)) - 1);

	while (mask) {
		unsigned o = 31 - (unsigned)__builtin_clz(mask);
		size_t p = t - o;

		mask &= ~(1u << o);
		if (LIKELY(p + set->prefix <= in.n)) {
			if (filter_jump(set, in, p, at))
				return p + set->prefix;
		} else if (!whole && enter(set, in, p, at)) {
			return p + 1;
		}
	}
	return 0;
}

size_t filter_find(const struct rewrite_set *set, struct bytes in, size_t i, bool whole,
		   struct set_state *at)
{
	size_t stride = set->stride, q = set->gram, t = i + stride - 1;

	for (;; t += stride) {
		size_t next;

		t = filter_skip(set, in, t);
		if (t + q > in.n)
			break;
		next = try_sample(set, in, t, whole, at);
		if (next)
			return next;
	}
	*at = SET_ROOT;
	if (whole)
		return in.n;
	for (size_t p = t - (stride - 1); p < in.n; p++)
		if (enter(set, in, p, at))
			return p + 1;
	*at = SET_ROOT;
	return in.n;
}
