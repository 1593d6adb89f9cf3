/* test_upstream_cache.c - what the resolver remembers, and for how long */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "gateway/upstream/resolver_internal.h"

static const struct addr four = { .family = AF_INET, .ip = { 192, 0, 2, 1 } };
static const struct addr six = { .family = AF_INET6, .ip = { 0x20, 1, 0xd, 0xb8 } };

static struct resolver_cache *cache;

static int begin(void **state)
{
	(void)state;
	cache = resolver_cache_new();
	return cache ? 0 : -1;
}

static int end(void **state)
{
	(void)state;
	resolver_cache_free(cache);
	return 0;
}

static void put(const char *name, int family, uint64_t now, enum err e, const struct addr *a,
		unsigned ttl)
{
	struct resolver_question q = { name, family };
	struct upstream_addrs addrs = { .n = a ? 1 : 0, .ttl = ttl };

	if (a)
		addrs.v[0] = *a;
	resolver_cache_put(cache, &q, now, e, &addrs);
}

static struct upstream_addrs got;

static enum err get(const char *name, int family, uint64_t now)
{
	struct resolver_question q = { name, family };

	return resolver_cache_get(cache, &q, now, &got);
}

struct row {
	const char *name;
	enum err err;
	unsigned ttl;		/* of the answer put in at 5000 ms */
	uint64_t at;		/* when it is asked for */
	enum err expected;
	unsigned left;
};

static const struct row rows[] = {
	{ "at once", ERR_OK, 30, 5000, ERR_OK, 30 },
	{ "a while later", ERR_OK, 30, 34999, ERR_OK, 1 },
	{ "at its end", ERR_OK, 30, 35000, ERR_AGAIN, 0 },
	{ "long answers are cut", ERR_OK, 86400, 64999, ERR_OK, 86341 },
	{ "long answers end", ERR_OK, 86400, 65000, ERR_AGAIN, 0 },
	{ "no time to live", ERR_OK, 0, 5000, ERR_AGAIN, 0 },
	{ "a clock that went back", ERR_OK, 30, 4999, ERR_AGAIN, 0 },
	{ "no such name", ERR_RESOLVE_NONE, 0, 5999, ERR_RESOLVE_NONE, 0 },
	{ "no such name, later", ERR_RESOLVE_NONE, 0, 6000, ERR_AGAIN, 0 },
	{ "a failure is not kept", ERR_RESOLVE, 30, 5000, ERR_AGAIN, 0 },
};

static void test_times(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		const struct row *r = &rows[i];

		put(r->name, AF_INET, 5000, r->err, r->err == ERR_OK ? &four : NULL, r->ttl);
		if (get(r->name, AF_INET, r->at) != r->expected)
			fail_msg("%s: not %s", r->name, err_name(r->expected));
		if (r->expected == ERR_OK) {
			assert_int_equal(got.n, 1);
			assert_int_equal(got.ttl, r->left);
			assert_true(addr_ip_eq(&got.v[0], &four));
		}
	}
}

/* Both halves answer for the whole; one does not, nor does the whole for a half. */
static void test_families(void **state)
{
	(void)state;
	put("a.test", AF_INET, 0, ERR_OK, &four, 30);
	assert_int_equal(get("A.Test", AF_INET, 1), ERR_OK);
	assert_int_equal(get("a.test", AF_INET6, 1), ERR_AGAIN);
	assert_int_equal(get("a.test", AF_UNSPEC, 1), ERR_AGAIN);
	put("a.test", AF_INET6, 0, ERR_OK, &six, 20);
	assert_int_equal(get("a.test", AF_UNSPEC, 1), ERR_OK);
	assert_int_equal(got.n, 2);
	assert_int_equal(got.ttl, 20);
	assert_true(addr_ip_eq(&got.v[0], &four) && addr_ip_eq(&got.v[1], &six));
	put("b.test", AF_INET, 0, ERR_RESOLVE_NONE, NULL, 0);
	put("b.test", AF_INET6, 0, ERR_OK, &six, 20);
	assert_int_equal(get("b.test", AF_UNSPEC, 1), ERR_OK);
	assert_int_equal(got.n, 1);
	put("b.test", AF_INET6, 0, ERR_RESOLVE_NONE, NULL, 0);
	assert_int_equal(get("b.test", AF_UNSPEC, 1), ERR_RESOLVE_NONE);
	put("c.test", AF_UNSPEC, 0, ERR_OK, &four, 20);
	assert_int_equal(get("c.test", AF_UNSPEC, 1), ERR_OK);
	assert_int_equal(get("c.test", AF_INET, 1), ERR_AGAIN);
}

/* More names than slots: some are forgotten, none is answered with another's address. */
static void test_many(void **state)
{
	size_t known = 0;

	(void)state;
	for (unsigned i = 0; i < 4 * RESOLVER_CACHE_SLOTS; i++) {
		struct addr a = four;
		char name[32];

		(void)snprintf(name, sizeof(name), "n%u.test", i);
		a.ip[2] = (uint8_t)(i >> 8);
		a.ip[3] = (uint8_t)i;
		put(name, AF_INET, 0, ERR_OK, &a, 30);
	}
	for (unsigned i = 0; i < 4 * RESOLVER_CACHE_SLOTS; i++) {
		char name[32];

		(void)snprintf(name, sizeof(name), "n%u.test", i);
		if (get(name, AF_INET, 1) != ERR_OK)
			continue;
		known++;
		assert_int_equal(got.v[0].ip[2] << 8 | got.v[0].ip[3], i);
	}
	assert_in_range(known, RESOLVER_CACHE_SLOTS / 2, RESOLVER_CACHE_SLOTS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_times, begin, end),
		cmocka_unit_test_setup_teardown(test_families, begin, end),
		cmocka_unit_test_setup_teardown(test_many, begin, end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
