/* Views of memory, numbers, strings, errors: on buffers whose end must not be passed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/base.h"
#include "tests/lib/guard.h"

/* A view that ends at an unmapped page. */
static struct bytes guarded(const char *s)
{
	size_t n = strlen(s);

	return bytes_of(guard_copy(s, n), n);
}

static void test_compare(void **state)
{
	static const struct {
		const char *a, *b;
		bool eq, ieq, starts, istarts, ends;
	} rows[] = {
		{ "", "", true, true, true, true, true },
		{ "a", "", false, false, true, true, true },
		{ "", "a", false, false, false, false, false },
		{ "abc", "abc", true, true, true, true, true },
		{ "aBc", "abC", false, true, false, true, false },
		{ "abcd", "abc", false, false, true, true, false },
		{ "abcd", "bcd", false, false, false, false, true },
		{ "ABcd", "ab", false, false, false, true, false },
		/* ASCII only: '[' is not '{', and no locale's letters are folded. */
		{ "[", "{", false, false, false, false, false },
		{ "@", "`", false, false, false, false, false },
		{ "\xc4", "\xe4", false, false, false, false, false },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct bytes a = guarded(rows[i].a), b = guarded(rows[i].b);

		assert_int_equal(bytes_eq(a, b), rows[i].eq);
		assert_int_equal(bytes_ieq(a, b), rows[i].ieq);
		assert_int_equal(bytes_starts(a, b), rows[i].starts);
		assert_int_equal(bytes_istarts(a, b), rows[i].istarts);
		assert_int_equal(bytes_ends(a, b), rows[i].ends);
	}
	guard_free_all();
	assert_true(bytes_eq(BYTES_NONE, BYTES_NONE) && bytes_ieq(BYTES_NONE, bytes_str(NULL)));
}

static void test_search(void **state)
{
	static const struct {
		const char *in, *needle;
		size_t at, first;
	} rows[] = {
		{ "", "a", 0, 0 },	 { "abc", "a", 0, 0 },	  { "abc", "c", 2, 2 },
		{ "abc", "bc", 1, 1 },	 { "abc", "cd", 3, 2 },	  { "aab", "ab", 1, 0 },
		{ "abc", "abcd", 3, 0 }, { "abc", "x", 3, 3 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct bytes in = guarded(rows[i].in), needle = guarded(rows[i].needle);

		assert_int_equal(bytes_find(in, needle), rows[i].at);
		assert_int_equal(bytes_index(in, needle.p[0]), rows[i].first);
	}
	assert_int_equal(bytes_find(guarded("abc"), BYTES_NONE), 0);
	guard_free_all();
}

static void test_parts(void **state)
{
	static const struct {
		const char *in, *trimmed;
	} rows[] = {
		{ "", "" },   { " ", "" },	     { " \t ", "" },
		{ "a", "a" }, { "\ta b\t ", "a b" }, { "\na\r", "\na\r" },
	};
	struct bytes b = BYTES_LIT("abcdef");

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		assert_true(bytes_eq(bytes_trim(guarded(rows[i].in)), bytes_str(rows[i].trimmed)));
	guard_free_all();
	assert_true(bytes_eq(bytes_from(b, 2), BYTES_LIT("cdef")));
	assert_int_equal(bytes_from(b, 6).n, 0);
	assert_int_equal(bytes_from(b, SIZE_MAX).n, 0);
	assert_true(bytes_eq(bytes_first(b, 2), BYTES_LIT("ab")));
	assert_true(bytes_eq(bytes_first(b, SIZE_MAX), b));
}

static void test_numbers(void **state)
{
	static const struct {
		const char *text;
		bool ok;
		uint64_t value;
	} rows[] = {
		{ "0", true, 0 },
		{ "007", true, 7 },
		{ "18446744073709551615", true, UINT64_MAX },
		{ "18446744073709551616", false, 0 },
		{ "99999999999999999999", false, 0 },
		{ "184467440737095516150", false, 0 },
		{ "", false, 0 },
		{ "+1", false, 0 },
		{ "-1", false, 0 },
		{ " 1", false, 0 },
		{ "1 ", false, 0 },
		{ "0x1", false, 0 },
		{ "1e3", false, 0 },
		{ "\xb2", false, 0 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		uint64_t v = 0;

		assert_int_equal(bytes_to_u64(guarded(rows[i].text), &v),
				 rows[i].ok ? ERR_OK : ERR_BAD_VALUE);
		assert_int_equal(v, rows[i].value);
	}
	guard_free_all();
}

static void test_strings(void **state)
{
	char dst[4];
	char *copy;

	(void)state;
	assert_true(bytes_to_str(guarded("abc"), dst, sizeof(dst)));
	assert_string_equal(dst, "abc");
	assert_true(bytes_to_str(BYTES_NONE, dst, sizeof(dst)));
	assert_string_equal(dst, "");
	assert_false(bytes_to_str(guarded("abcd"), dst, sizeof(dst)));
	assert_false(bytes_to_str(BYTES_NONE, dst, 0));
	assert_false(bytes_to_str(bytes_of("a\0b", 3), dst, sizeof(dst)));
	copy = bytes_dup_str(guarded("abc"));
	assert_string_equal(copy, "abc");
	free(copy);
	copy = bytes_dup_str(BYTES_NONE);
	assert_string_equal(copy, "");
	free(copy);
	guard_free_all();
}

static bool lower_name(const char *s)
{
	for (; *s; s++)
		if (!(*s >= 'a' && *s <= 'z') && !(*s >= '0' && *s <= '9') && *s != '_')
			return false;
	return true;
}

/* Names are stable and told apart whole; sentences fit into other sentences. */
static void test_errors(void **state)
{
	(void)state;
	for (int i = 0; i < ERR_COUNT; i++) {
		const char *name = err_name((enum err)i), *text = err_text((enum err)i);

		assert_true(name[0] && lower_name(name));
		assert_true(text[0] && text[strlen(text) - 1] != '.');
		assert_int_equal(err_class((enum err)i) == ERR_CLASS_NONE, i == ERR_OK);
		assert_int_equal(err_class((enum err)i) == ERR_CLASS_WAIT, i == ERR_AGAIN);
		for (int k = 0; k < i; k++)
			assert_string_not_equal(name, err_name((enum err)k));
	}
	assert_string_equal(err_name(ERR_UPSTREAM_HEADER_TOO_LARGE), "upstream_header_too_large");
	assert_int_equal(err_class(ERR_DENY_HOST), ERR_CLASS_POLICY);
	assert_int_equal(err_class(ERR_RESOLVE), ERR_CLASS_UPSTREAM);
	assert_string_equal(err_name(ERR_COUNT), "unknown");
	assert_string_equal(err_name((enum err)-1), "unknown");
	assert_int_equal(err_class(ERR_COUNT), ERR_CLASS_OURS);
}

static enum err tries(enum err e, bool *went_on)
{
	TRY(e);
	*went_on = true;
	return ERR_OK;
}

static void test_try(void **state)
{
	bool went_on = false;

	(void)state;
	assert_int_equal(tries(ERR_IO, &went_on), ERR_IO);
	assert_false(went_on);
	assert_int_equal(tries(ERR_OK, &went_on), ERR_OK);
	assert_true(went_on);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_compare), cmocka_unit_test(test_search),
		cmocka_unit_test(test_parts),	cmocka_unit_test(test_numbers),
		cmocka_unit_test(test_strings), cmocka_unit_test(test_errors),
		cmocka_unit_test(test_try),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
