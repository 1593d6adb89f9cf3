/*
 * bucket.c - token bucket in one word, shared by all workers
 *
 * The word is the time at which the bucket will be full again (the "theoretical arrival time" of
 * the generic cell rate algorithm): taking a token moves it one interval on, and is refused when
 * that would be more than `burst` intervals ahead. One compare-and-swap, no lock to die with, and
 * memory full of zeros is a full bucket. A word out of any plausible range (a crashed or hostile
 * worker wrote it) is taken for a bucket with one token.
 */
#include "gateway/policy/policy.h"

/*
 * Workers read the clock before they come here; no word is farther ahead than a full bucket and
 * this.
 */
#define CLOCK_SLACK 10000000000u

bool policy_bucket_take(struct policy_bucket *b, const struct policy_rate *rate, uint64_t now_us)
{
	uint64_t interval, tolerance, now = now_us * 1000, next, from;

	if (rate->requests == 0)
		return true;
	interval = (uint64_t)rate->per_s * 1000000000u / rate->requests;
	if (__builtin_mul_overflow(interval, rate->burst ? rate->burst - 1 : 0, &tolerance) ||
	    tolerance > UINT64_MAX / 4)
		tolerance = UINT64_MAX / 4;

	next = atomic_load_explicit(&b->next_ns, memory_order_relaxed);
	do {
		from = next < now ? now : next;
		if (from - now > tolerance + interval + CLOCK_SLACK)
			from = now + tolerance;
		if (from - now > tolerance)
			return false;
	} while (!atomic_compare_exchange_weak_explicit(
		&b->next_ns, &next, from + interval, memory_order_relaxed, memory_order_relaxed));
	return true;
}
