/*
 * Host names have one spelling, and paths one reading: every form a server could take otherwise
 * is refused.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "gateway/policy/policy_internal.h"
#include "tests/lib/guard.h"

#define LABEL63 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

static const struct {
	const char *in, *out;	/* out NULL: refused */
} hosts[] = {
	{ "example.com", "example.com" },
	{ "EXAMPLE.Com", "example.com" },
	{ "example.com.", "example.com" },
	{ "localhost", "localhost" },
	{ "_dmarc.example.com", "_dmarc.example.com" },
	{ "r3---sn-abc.example", "r3---sn-abc.example" },
	{ "xn--bcher-kva.example", "xn--bcher-kva.example" },
	{ "1.example", "1.example" },
	{ "1.2.3.4.example", "1.2.3.4.example" },
	{ LABEL63 ".com", LABEL63 ".com" },
	{ "1.2.3.4", "1.2.3.4" },
	{ "::1", "::1" },
	{ "[2001:DB8::0:1]", "2001:db8::1" },
	{ "::ffff:10.0.0.1", "10.0.0.1" },
	{ "[::ffff:10.0.0.1]", "10.0.0.1" },
	{ "", NULL },
	{ ".", NULL },
	{ "..", NULL },
	{ ".example.com", NULL },
	{ "example..com", NULL },
	{ "example.com..", NULL },
	{ "-a.example", NULL },
	{ "a-.example", NULL },
	{ "a.-", NULL },
	{ LABEL63 "a.com", NULL },
	{ "exa mple.com", NULL },
	{ "example.com:443", NULL },
	{ "example.com/", NULL },
	{ "user@example.com", NULL },
	{ "*.example.com", NULL },
	{ "ex\xc3\xa4mple.com", NULL },
	{ "ex%61mple.com", NULL },
	{ "127.1", NULL },
	{ "1.2.3.4.", NULL },
	{ "2130706433", NULL },
	{ "0x7f.0.0.1", NULL },
	{ "example.0x7f", NULL },
	{ "example.0x", NULL },
	{ "1.2.3.4.5", NULL },
	{ "256.1.1.1", NULL },
	{ "01.2.3.4", NULL },
	{ "[1.2.3.4]", NULL },
	{ "[::1", NULL },
	{ "::1]", NULL },
	{ "::1%eth0", NULL },
	{ "[::1]:443", NULL },
};

static void hosts_have_one_spelling(void **state)
{
	char out[POLICY_HOST_MAX];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(hosts); i++) {
		size_t n = strlen(hosts[i].in);
		struct bytes in = bytes_of(guard_copy(hosts[i].in, n), n);
		bool ok = policy_host_normalise(in, out);

		print_message("%s\n", hosts[i].in);
		assert_int_equal(ok, hosts[i].out != NULL);
		assert_string_equal(out, ok ? hosts[i].out : "");
	}
	guard_free_all();
}

static void hosts_with_nul_and_of_any_length(void **state)
{
	char out[POLICY_HOST_MAX], name[400];

	(void)state;
	assert_false(policy_host_normalise(BYTES_LIT("a\0b.example"), out));
	assert_false(policy_host_normalise(BYTES_LIT("example.com\0"), out));
	for (size_t n = 1; n < sizeof(name); n++) {
		for (size_t i = 0; i < n; i++)
			name[i] = i % 2 && i + 1 < n ? '.' : 'a';
		assert_int_equal(policy_host_normalise(bytes_of(name, n), out), n <= 253);
	}
}

static void every_byte_is_judged(void **state)
{
	static const char good[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.";
	char out[POLICY_HOST_MAX], name[] = "a?b";

	(void)state;
	for (int c = 0; c < 256; c++) {
		name[1] = (char)c;
		assert_int_equal(policy_host_normalise(bytes_of(name, 3), out),
				 c && strchr(good, c) != NULL);
	}
}

static const struct {
	const char *in, *out;
} paths[] = {
	{ "/", "/" },
	{ "/v1/chat", "/v1/chat" },
	{ "/v1/", "/v1/" },
	{ "/v1?x=/../y", "/v1" },
	{ "/v1#/../y", "/v1" },
	{ "/a%62c", "/abc" },
	{ "/a%20b", "/a b" },
	{ "/%E2%82%AC", "/\xe2\x82\xac" },
	{ "/a%3Ab", "/a:b" },
	{ "/100%25", "/100%" },
	{ "/a.b/..c/...", "/a.b/..c/..." },
	{ "/a;v=1/b", "/a;v=1/b" },
	{ "", NULL },
	{ "*", NULL },
	{ "v1", NULL },
	{ "%2Fv1", NULL },
	{ "/v1/../admin", NULL },
	{ "/v1/..", NULL },
	{ "/v1/.", NULL },
	{ "/./v1", NULL },
	{ "/v1/%2e%2e/admin", NULL },
	{ "/v1/%2E./admin", NULL },
	{ "/v1/.%2e", NULL },
	{ "/v1/..;/admin", NULL },
	{ "/v1/..;x=1/admin", NULL },
	{ "/v1/..%3bx/admin", NULL },
	{ "/v1/;/admin", NULL },
	{ "//v1", NULL },
	{ "/v1//x", NULL },
	{ "/v1%2Fadmin", NULL },
	{ "/v1%2fadmin", NULL },
	{ "/v1%5cadmin", NULL },
	{ "/v1\\admin", NULL },
	{ "/v1/..%5c", NULL },
	{ "/v1/%252e%252e/admin", NULL },
	{ "/v1/%25%32%65", NULL },
	{ "/v1%00", NULL },
	{ "/v1%0a", NULL },
	{ "/v1\x7f", NULL },
	{ "/v1%", NULL },
	{ "/v1%4", NULL },
	{ "/v1%zz", NULL },
	{ "/v1%4?1", NULL },
};

static void paths_have_one_reading(void **state)
{
	static uint8_t out[POLICY_PATH_MAX];
	static char longest[POLICY_PATH_MAX + 1];
	size_t n;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
		size_t len = strlen(paths[i].in);
		bool ok =
			policy_path_normalise(bytes_of(guard_copy(paths[i].in, len), len), out, &n);

		print_message("%s\n", paths[i].in);
		assert_int_equal(ok, paths[i].out != NULL);
		if (ok) {
			assert_int_equal(n, strlen(paths[i].out));
			assert_memory_equal(out, paths[i].out, n);
		}
	}
	memset(longest, 'a', sizeof(longest));
	longest[0] = '/';
	assert_true(policy_path_normalise(bytes_of(longest, POLICY_PATH_MAX), out, &n));
	assert_false(policy_path_normalise(bytes_of(longest, POLICY_PATH_MAX + 1), out, &n));
	guard_free_all();
}

static const struct {
	const char *pattern, *path;
	bool match;
} globs[] = {
	{ "/", "/", true },
	{ "/", "/a", false },
	{ "/v1/chat", "/v1/chat", true },
	{ "/v1/chat", "/v1/cha", false },
	{ "/v1/chat", "/v1/chats", false },
	{ "/v1/**", "/v1/a/b/c", true },
	{ "/v1/**", "/v1/", true },
	{ "/v1/**", "/v1", false },
	{ "/v1/**", "/v11/a", false },
	{ "/v1/*", "/v1/a", true },
	{ "/v1/*", "/v1/a/b", false },
	{ "/v1/*", "/v1/", true },
	{ "/*/info", "/repo/info", true },
	{ "/*/info", "/a/b/info", false },
	{ "/**/info", "/a/b/info", true },
	{ "/**/info", "/info", false },
	{ "/**info", "/info", true },
	{ "/*.git/info/*", "/x.git/info/refs", true },
	{ "/*.git/info/*", "/x/y.git/info/refs", false },
	{ "/a*b*c", "/abbbc", true },
	{ "/a*b*c", "/abbb", false },
	{ "/a**z/*", "/a/b/z/q", true },
	{ "/a**z/*", "/az/z/q/z/w", true },
	{ "/a**z/*", "/az/z/q/w", false },
	{ "/**", "/", true },
	{ "/*", "/", true },
	{ "/V1", "/v1", false },
};

static void globs_match(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(globs); i++) {
		struct glob g;

		print_message("%s %s\n", globs[i].pattern, globs[i].path);
		assert_true(policy_glob_init(&g, globs[i].pattern));
		assert_int_equal(policy_glob_match(&g, bytes_str(globs[i].path)), globs[i].match);
	}
}

/* The obvious recursive matcher, as the model. */
static bool naive(const char *g, const char *s)
{
	if (*g == '\0')
		return *s == '\0';
	if (*g != '*')
		return *g == *s && naive(g + 1, s + 1);
	if (g[1] == '*')
		return naive(g + 2, s) || (*s && naive(g, s + 1));
	return naive(g + 1, s) || (*s && *s != '/' && naive(g, s + 1));
}

static void globs_match_as_the_model(void **state)
{
	static const char pattern_bytes[] = "ab/*", path_bytes[] = "ab/";
	unsigned seed = 7, matches = 0;

	(void)state;
	for (int round = 0; round < 20000; round++) {
		char pattern[12] = "/", path[14] = "/";
		struct glob g;
		size_t n = 1 + (seed = seed * 1103515245 + 12345) / 65536 % 9, m;

		for (size_t i = 1; i <= n; i++)
			pattern[i] = pattern_bytes[(seed = seed * 1103515245 + 12345) / 65536 % 4];
		m = (seed = seed * 1103515245 + 12345) / 65536 % 12;
		for (size_t i = 1; i <= m; i++)
			path[i] = path_bytes[(seed = seed * 1103515245 + 12345) / 65536 % 3];
		if (!policy_glob_init(&g, pattern)) {
			assert_non_null(strstr(pattern, "***"));
			continue;
		}
		matches += naive(pattern, path);
		if (policy_glob_match(&g, bytes_str(path)) != naive(pattern, path))
			fail_msg("%s against %s", pattern, path);
	}
	assert_in_range(matches, 100, 19900);
}

static void bad_patterns_are_refused(void **state)
{
	char text[POLICY_GLOB_MAX + 2];
	struct glob g;

	(void)state;
	assert_false(policy_glob_init(&g, ""));
	assert_false(policy_glob_init(&g, "v1"));
	assert_false(policy_glob_init(&g, "*"));
	assert_false(policy_glob_init(&g, "/***"));
	memset(text, '*', sizeof(text));
	for (size_t i = 0; i < sizeof(text); i += 3)
		text[i] = '/';
	text[POLICY_GLOB_MAX + 1] = '\0';
	assert_false(policy_glob_init(&g, text));
	text[POLICY_GLOB_MAX] = '\0';
	assert_true(policy_glob_init(&g, text));
	assert_false(policy_glob_match(&g, BYTES_LIT("/////////////////////////////////x")));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(hosts_have_one_spelling),
		cmocka_unit_test(hosts_with_nul_and_of_any_length),
		cmocka_unit_test(every_byte_is_judged),
		cmocka_unit_test(paths_have_one_reading),
		cmocka_unit_test(globs_match),
		cmocka_unit_test(globs_match_as_the_model),
		cmocka_unit_test(bad_patterns_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
