/*
 * test_rewrite_memory.c - building leaves no trace of the patterns, and survives any failed
 * allocation
 *
 * The builder is compiled in here with an allocator that never gives memory twice, so that whatever
 * was not wiped is still there to be found.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/base.h"

static _Alignas(64) uint8_t arena[4u << 20];
static size_t arena_used, arena_calls, arena_fail_at, arena_live;

static void *arena_alloc(size_t n)
{
	void *p = arena + arena_used;

	if (++arena_calls == arena_fail_at)
		return NULL;
	assert_true(n <= sizeof(arena) - arena_used - 64);
	arena_used += (n + 63) / 64 * 64;
	arena_live++;
	return p;
}

static void arena_wipe_free(void *p, size_t n)
{
	if (!p)
		return;
	arena_live--;
	explicit_bzero(p, n);
}

#define malloc(n) arena_alloc(n)
#define aligned_alloc(align, n) arena_alloc(n)
#define mem_wipe_free(p, n) arena_wipe_free(p, n)
#include "gateway/rewrite/build.c"	  /* NOLINT(bugprone-suspicious-include) */
#include "gateway/rewrite/build_fail.c"	  /* NOLINT(bugprone-suspicious-include) */
#include "gateway/rewrite/build_filter.c" /* NOLINT(bugprone-suspicious-include) */
#undef malloc
#undef aligned_alloc
#undef mem_wipe_free

static struct rewrite_pattern pats[300];
static char texts[300][40];

static void arena_reset(size_t fail_at)
{
	memset(arena, 0, arena_used);
	arena_used = arena_calls = arena_live = 0;
	arena_fail_at = fail_at;
}

/* Some nested, so that there are items too. */
static int make_patterns(void **state)
{
	(void)state;
	for (uint32_t i = 0; i < ARRAY_SIZE(pats); i++) {
		int n = snprintf(texts[i], sizeof(texts[i]),
				 i % 5 ? "canary-%u-secret-%u" : "%u-secret-%u", i / 5 % 10,
				 i % 5 ? i : i / 5 % 10);

		pats[i] = (struct rewrite_pattern){ bytes_of(texts[i], (size_t)n), i };
	}
	return 0;
}

static void test_nothing_but_zeros_is_left(void **state)
{
	size_t size, left = 0;
	void *blob;

	(void)state;
	arena_reset(0);
	assert_int_equal(rewrite_set_build(pats, ARRAY_SIZE(pats), &blob, &size), ERR_OK);
	assert_int_equal(arena_live, 1);
	assert_true(bytes_find(bytes_of(blob, size), BYTES_LIT("canary-1-secret-6")) < size);
	rewrite_blob_free(blob, size);
	assert_int_equal(arena_live, 0);
	for (size_t i = 0; i < arena_used; i++)
		left += arena[i] != 0;
	assert_int_equal(left, 0);
}

static void test_any_allocation_may_fail(void **state)
{
	size_t size, failures = 0;
	enum err e;
	void *blob;

	(void)state;
	do {
		arena_reset(failures + 1);
		e = rewrite_set_build(pats, ARRAY_SIZE(pats), &blob, &size);
		if (e == ERR_OK)
			break;
		failures++;
		assert_int_equal(e, ERR_NOMEM);
		assert_null(blob);
		assert_int_equal(size, 0);
		assert_int_equal(arena_live, 0);
		for (size_t i = 0; i < arena_used; i++)
			assert_int_equal(arena[i], 0);
	} while (failures < 1000);
	assert_true(failures > 10 && failures < 1000);
	rewrite_blob_free(blob, size);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nothing_but_zeros_is_left),
		cmocka_unit_test(test_any_allocation_may_fail),
	};

	return cmocka_run_group_tests(tests, make_patterns, NULL);
}
