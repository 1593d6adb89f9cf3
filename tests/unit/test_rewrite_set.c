/*
 * test_rewrite_set.c - building a set, moving it, and refusing what is none
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/lib/guard.h"
#include "tests/lib/rewrite_model.h"

static struct model_trace want, got;
static uint64_t seed = 3;

static uint32_t chance(uint32_t n)
{
	seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return n ? (uint32_t)(seed >> 33) % n : 0;
}

static void stream_in_chunks(const struct rewrite_set *set, struct bytes in, size_t chunk)
{
	struct rewrite_stream s;

	model_reset(&got);
	rewrite_stream_init(&s, set, &model_ops, &got);
	for (size_t at = 0; at < in.n; at += chunk)
		assert_int_equal(rewrite_feed(&s, bytes_first(bytes_from(in, at), chunk)), ERR_OK);
	assert_int_equal(rewrite_end(&s), ERR_OK);
}

static void test_patterns_out_of_bounds_are_refused(void **state)
{
	static uint8_t text[REWRITE_PATTERN_MAX + 1];
	static struct rewrite_pattern many[5000];
	const struct {
		struct rewrite_pattern pats[2];
		size_t n;
		enum err want;
	} rows[] = {
		{ { { bytes_of(text, 0), 0 } }, 1, ERR_BAD_VALUE },
		{ { { bytes_of(text, 1), 0 }, { BYTES_NONE, 1 } }, 2, ERR_BAD_VALUE },
		{ { { bytes_of(text, REWRITE_PATTERN_MAX + 1), 0 } }, 1, ERR_TOO_LONG },
		{ { { bytes_of(text, REWRITE_PATTERN_MAX), 0 } }, 1, ERR_OK },
		{ { { bytes_of(text, 1), 0 } }, 0, ERR_OK },
	};
	size_t size;
	void *blob;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		assert_int_equal(rewrite_set_build(rows[i].pats, rows[i].n, &blob, &size),
				 rows[i].want);
		assert_int_equal(blob != NULL, rows[i].want == ERR_OK);
		rewrite_blob_free(blob, size);
	}
	for (size_t i = 0; i < ARRAY_SIZE(many); i++)
		many[i].text = bytes_of(text, REWRITE_PATTERN_MAX);
	assert_int_equal(rewrite_set_build(many, ARRAY_SIZE(many), &blob, &size), ERR_TOO_LONG);
}

static void test_first_of_equal_patterns_wins(void **state)
{
	struct rewrite_pattern pats[] = { { BYTES_LIT("other"), 1 },
					  { BYTES_LIT("same"), 30 },
					  { BYTES_LIT("same"), 4 },
					  { BYTES_LIT("same"), 30 } };
	const struct rewrite_set *set;
	size_t size;
	void *blob;

	(void)state;
	assert_int_equal(rewrite_set_build(pats, 4, &blob, &size), ERR_OK);
	set = rewrite_set_open(blob, size);
	assert_non_null(set);
	assert_int_equal(rewrite_set_count(set), 2);
	assert_int_equal(rewrite_set_longest(set), 5);
	model_reset(&got);
	assert_int_equal(rewrite_whole(set, BYTES_LIT("same other"), &model_ops, &got), ERR_OK);
	assert_memory_equal(got.out, "<30> other", 10);
	rewrite_blob_free(blob, size);
}

/* A blob holds no address: copied elsewhere, with the first one wiped, it does the same. */
static void test_blob_can_be_moved(void **state)
{
	struct rewrite_pattern pats[] = { { BYTES_LIT("token-0123456789-abcdef"), 0 },
					  { BYTES_LIT("token-0123"), 3 },
					  { BYTES_LIT("0123456789-zzz"), 6 } };
	struct bytes in = BYTES_LIT("token-0123456789-zzz token-0123456789-abcdef 0123456789-zzz");
	const struct rewrite_set *set;
	size_t size, other_size;
	void *blob, *other, *moved;

	(void)state;
	assert_int_equal(rewrite_set_build(pats, 3, &blob, &size), ERR_OK);
	assert_int_equal(rewrite_set_build(pats, 3, &other, &other_size), ERR_OK);
	assert_int_equal(size, other_size);
	assert_memory_equal(blob, other, size);
	/* A multiple of 64, so a copy that ends at a page is aligned. */
	assert_int_equal(size % 64, 0);
	moved = guard_copy(blob, size);
	rewrite_blob_free(blob, size);
	rewrite_blob_free(other, other_size);
	set = rewrite_set_open(moved, size);
	assert_non_null(set);
	model_run(&want, pats, 3, in);
	assert_true(want.matches > 0);
	for (size_t chunk = 1; chunk <= in.n; chunk++) {
		stream_in_chunks(set, in, chunk);
		assert_true(model_same(&want, &got));
	}
	guard_free(moved);
}

static void test_what_is_no_blob_is_refused(void **state)
{
	struct rewrite_pattern pats[] = { { BYTES_LIT("hers"), 0 }, { BYTES_LIT("she"), 1 } };
	size_t size;
	void *blob;
	uint8_t *copy;

	(void)state;
	assert_int_equal(rewrite_set_build(pats, 2, &blob, &size), ERR_OK);
	copy = aligned_alloc(64, size + 64);
	assert_non_null(copy);
	memcpy(copy, blob, size);
	assert_non_null(rewrite_set_open(copy, size));
	assert_null(rewrite_set_open(NULL, size));
	assert_null(rewrite_set_open(copy, size + 64));
	for (size_t short_by = 1; short_by <= size; short_by++)
		assert_null(rewrite_set_open(copy, size - short_by));
	copy[0] ^= 1;
	assert_null(rewrite_set_open(copy, size));
	memcpy(copy + 8, blob, size);
	assert_null(rewrite_set_open(copy + 8, size));
	free(copy);
	rewrite_blob_free(blob, size);
}

/* Whatever single byte is wrong: refused, or scanned without leaving the blob or the text, and to
 * an end. */
static void test_damaged_blob_does_no_harm(void **state)
{
	static const char *const texts[] = { "she",	  "hers", "he",
					     "abcabcabd", "abc",  "sheshehers-abcabc" };
	struct bytes in = BYTES_LIT("ushers he sheshehers-abcabcabcabd-abcabcabc-she");
	struct rewrite_pattern pats[6];
	size_t size, opened = 0;
	uint8_t *guarded, *text;
	void *blob;

	(void)state;
	for (uint32_t i = 0; i < 6; i++)
		pats[i] = (struct rewrite_pattern){ bytes_str(texts[i]), i };
	assert_int_equal(rewrite_set_build(pats, 6, &blob, &size), ERR_OK);
	guarded = guard_copy(blob, size);
	text = guard_copy(in.p, in.n);
	for (size_t at = 0; at < size; at++) {
		static const uint8_t flips[] = { 0x01, 0x80, 0xff, 0x10 };

		for (size_t f = 0; f < sizeof(flips); f++) {
			const struct rewrite_set *set;

			guarded[at] ^= flips[f];
			set = rewrite_set_open(guarded, size);
			if (set) {
				opened++;
				stream_in_chunks(set, bytes_of(text, in.n), 7);
				stream_in_chunks(set, bytes_of(text, in.n), in.n);
				model_reset(&got);
				assert_int_equal(
					rewrite_whole(set, bytes_of(text, in.n), &model_ops, &got),
					ERR_OK);
			}
			guarded[at] ^= flips[f];
		}
	}
	assert_true(opened > 0);
	guard_free(guarded);
	guard_free(text);
	rewrite_blob_free(blob, size);
}

/* Thousands of tokens, many of which begin alike; the text holds whole ones and broken ones. */
static void test_thousands_of_patterns(void **state)
{
	enum { N = 5000, TEXT = 60000 };
	static struct rewrite_pattern pats[N];
	static char texts[N][64];
	static uint8_t text[TEXT];
	const struct rewrite_set *set;
	size_t size, n = 0;
	void *blob;

	(void)state;
	for (uint32_t i = 0; i < N; i++) {
		size_t len =
			(size_t)snprintf(texts[i], 64, "%s%u%08x%08x", i % 3 ? "sk-dummy-" : "ghp_",
					 i % 7, chance(UINT32_MAX), chance(UINT32_MAX));

		pats[i] = (struct rewrite_pattern){ bytes_of(texts[i], len), i };
	}
	while (n + 64 < TEXT) {
		const struct bytes *t = &pats[chance(N)].text;
		size_t take = chance(4) ? t->n : chance((uint32_t)t->n);

		memcpy(text + n, t->p, take);
		n += take;
		for (uint32_t noise = chance(20); noise > 0 && n < TEXT; noise--)
			text[n++] = (uint8_t)chance(256);
	}
	assert_int_equal(rewrite_set_build(pats, N, &blob, &size), ERR_OK);
	set = rewrite_set_open(blob, size);
	assert_non_null(set);
	model_run(&want, pats, N, bytes_of(text, n));
	assert_true(want.matches > 500 && !want.overflow);
	for (size_t chunk = 1; chunk < n; chunk = chunk * 5 + 2) {
		stream_in_chunks(set, bytes_of(text, n), chunk);
		assert_true(model_same(&want, &got));
	}
	model_reset(&got);
	assert_int_equal(rewrite_whole(set, bytes_of(text, n), &model_ops, &got), ERR_OK);
	assert_true(model_same(&want, &got));
	rewrite_blob_free(blob, size);
}

/* The longest pattern allowed, short ones inside it, and texts that leave it late. */
static void test_longest_pattern(void **state)
{
	static uint8_t as[REWRITE_PATTERN_MAX], text[3 * REWRITE_PATTERN_MAX];
	struct rewrite_pattern pats[3] = { { bytes_of(as, sizeof(as)), 0 },
					   { BYTES_LIT("aaaaaaaaaaaac"), 3 },
					   { BYTES_LIT("a"), 6 } };
	size_t lengths[] = { 4094, 4095, 4096, 4097, 8192, 12287 };

	(void)state;
	memset(as, 'a', sizeof(as));
	as[sizeof(as) - 1] = 'b';
	for (size_t n_pats = 1; n_pats <= 3; n_pats++) {
		const struct rewrite_set *set;
		size_t size;
		void *blob;

		assert_int_equal(rewrite_set_build(pats, n_pats, &blob, &size), ERR_OK);
		set = rewrite_set_open(blob, size);
		assert_non_null(set);
		for (size_t i = 0; i < ARRAY_SIZE(lengths); i++) {
			memset(text, 'a', sizeof(text));
			text[lengths[i]] = i % 2 ? 'b' : 'c';
			model_run(&want, pats, n_pats, bytes_of(text, lengths[i] + 1));
			for (size_t chunk = 1; chunk < sizeof(text); chunk = chunk * 9 + 1) {
				stream_in_chunks(set, bytes_of(text, lengths[i] + 1), chunk);
				assert_true(model_same(&want, &got));
			}
		}
		rewrite_blob_free(blob, size);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_patterns_out_of_bounds_are_refused),
		cmocka_unit_test(test_first_of_equal_patterns_wins),
		cmocka_unit_test(test_blob_can_be_moved),
		cmocka_unit_test(test_what_is_no_blob_is_refused),
		cmocka_unit_test(test_damaged_blob_does_no_harm),
		cmocka_unit_test(test_thousands_of_patterns),
		cmocka_unit_test(test_longest_pattern),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
