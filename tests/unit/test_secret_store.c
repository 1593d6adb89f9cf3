/*
 * test_secret_store.c - what a secret is bound to, and a store that survives being moved and
 * damaged
 */
#include "gateway/secret/secret.h"
#include "tests/lib/guard.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static const char *const openai_hosts[] = { "api.openai.com" };
static const char *const git_hosts[] = { "github.com:443", "*.github.com", "10.1.2.3",
					 "[fd00::1]:8443", "fd00::2" };
static const unsigned only_agent_40[] = { 40, 3 };

static const struct secret_spec specs[] = {
	{
		.name = { (const uint8_t *)"openai", 6 },
		.dummy = { (const uint8_t *)"sk-dummy-openai", 15 },
		.real = { (const uint8_t *)"sk-real-canary", 14 },
		.hosts = openai_hosts,
		.n_hosts = 1,
		.surfaces = SECRET_HEADER | SECRET_BODY,
	},
	{
		.name = { (const uint8_t *)"git", 3 },
		.dummy = { (const uint8_t *)"ghp_dummy", 9 },
		.hosts = git_hosts,
		.n_hosts = ARRAY_SIZE(git_hosts),
		.surfaces = SECRET_HEADER,
		.agents = only_agent_40,
		.n_agents = 2,
		.plaintext = true,
	},
	{
		.type = SECRET_AWS_SIGV4,
		.name = { (const uint8_t *)"aws", 3 },
		.dummy = { (const uint8_t *)"AKIADUMMY0000", 13 },
		.dummy_key = { (const uint8_t *)"dummy/aws/key", 13 },
		.real = { (const uint8_t *)"AKIAREAL00000", 13 },
		.hosts = openai_hosts,
		.n_hosts = 1,
	},
};

static void build(struct buf *out)
{
	buf_init_secret(out, 1u << 20);
	assert_int_equal(secret_store_build(specs, ARRAY_SIZE(specs), out), ERR_OK);
}

static void assert_bytes(struct bytes got, const char *want)
{
	assert_int_equal(got.n, strlen(want));
	assert_memory_equal(got.p, want, got.n);
}

static void reads_back_what_was_put_in(void **state)
{
	const struct secret_store *s;
	struct secret v;
	struct buf b;

	(void)state;
	build(&b);
	s = secret_store_open(buf_bytes(&b).p, buf_len(&b));
	assert_non_null(s);
	assert_int_equal(secret_store_count(s), 3);
	v = secret_get(s, 0);
	assert_bytes(v.name, "openai");
	assert_bytes(v.dummy, "sk-dummy-openai");
	assert_bytes(v.real, "sk-real-canary");
	assert_int_equal(v.surfaces, SECRET_HEADER | SECRET_BODY);
	assert_true(v.resolved);
	assert_false(v.plaintext);
	v = secret_get(s, 1);
	assert_false(v.resolved);
	assert_true(v.plaintext);
	v = secret_get(s, 2);
	assert_int_equal(v.type, SECRET_AWS_SIGV4);
	assert_bytes(v.dummy_key, "dummy/aws/key");
	/* Half of the pair is no credential. */
	assert_false(v.resolved);
	v = secret_get(s, 3);
	assert_false(v.resolved);
	assert_int_equal(v.surfaces, 0);
	buf_release(&b);
}

static void is_bound_to_its_hosts_ports_and_agents_only(void **state)
{
	static const struct {
		unsigned secret, agent;
		const char *host;
		uint16_t port;
		bool bound;
	} t[] = {
		{ 0, 0, "api.openai.com", 443, true },
		{ 0, 0, "api.openai.com", 80, true },
		{ 0, 70000, "api.openai.com", 443, true },
		{ 0, 0, "api.openai.com.evil.com", 443, false },
		{ 0, 0, "evilapi.openai.com", 443, false },
		{ 0, 0, "x.api.openai.com", 443, false },
		{ 0, 0, "openai.com", 443, false },
		{ 0, 0, "API.openai.com", 443, false },	/* callers normalise */
		{ 0, 0, "", 443, false },
		{ 1, 40, "github.com", 443, true },
		{ 1, 40, "github.com", 80, false },
		{ 1, 40, "api.github.com", 80, true },
		{ 1, 40, "a.b.github.com", 80, true },
		{ 1, 40, ".github.com", 80, false },
		{ 1, 40, "evilgithub.com", 443, false },
		{ 1, 40, "10.1.2.3", 1, true },
		{ 1, 40, "10.1.2.30", 1, false },
		{ 1, 40, "fd00::1", 8443, true },
		{ 1, 40, "fd00::1", 443, false },
		{ 1, 40, "fd00::2", 443, true },
		{ 1, 3, "github.com", 443, true },
		{ 1, 4, "github.com", 443, false },
		{ 1, 8, "github.com", 443, false },	/* 40 % 32 */
		{ 1, 72, "github.com", 443, false },
		{ 1, 4000000000u, "github.com", 443, false },
		{ 3, 0, "api.openai.com", 443, false },
	};
	const struct secret_store *s;
	struct buf b;

	(void)state;
	build(&b);
	s = secret_store_open(buf_bytes(&b).p, buf_len(&b));
	assert_non_null(s);
	for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
		struct bytes host = bytes_str(t[i].host);

		if (secret_bound(s, t[i].secret, t[i].agent, host, t[i].port) != t[i].bound)
			fail_msg("row %zu: %s:%u", i, t[i].host, t[i].port);
	}
	assert_true(secret_host_known(s, BYTES_LIT("x.github.com"), 1));
	assert_false(secret_host_known(s, BYTES_LIT("example.com"), 1));
	buf_release(&b);
}

/* Another address, ending at an unmapped page: nothing may be read behind it. */
static void works_wherever_it_lies(void **state)
{
	const struct secret_store *s;
	struct bytes all;
	struct buf b;
	uint8_t *copy;

	(void)state;
	build(&b);
	all = buf_bytes(&b);
	copy = guard_copy(all.p, all.n);
	s = secret_store_open(copy, all.n);
	assert_non_null(s);
	assert_bytes(secret_get(s, 1).dummy, "ghp_dummy");
	assert_true(secret_bound(s, 1, 40, BYTES_LIT("api.github.com"), 1));
	guard_free(copy);
	buf_release(&b);
}

static void refuses_damage(void **state)
{
	struct bytes all;
	struct buf b;
	uint8_t *copy;
	unsigned refused = 0;

	(void)state;
	build(&b);
	all = buf_bytes(&b);
	for (size_t n = 0; n < all.n; n++) {
		copy = guard_copy(all.p, n);
		assert_null(secret_store_open(n ? copy : NULL, n));
		guard_free(copy);
	}
	/* A byte changed anywhere: refused, or every view still lies inside. */
	for (size_t i = 0; i < all.n; i++) {
		const struct secret_store *s;

		copy = guard_copy(all.p, all.n);
		copy[i] ^= 0xff;
		s = secret_store_open(copy, all.n);
		refused += !s;
		for (unsigned k = 0; s && k < secret_store_count(s); k++) {
			struct secret v = secret_get(s, k);
			const struct bytes texts[] = { v.name, v.dummy, v.real, v.dummy_key,
						       v.real_key };

			for (size_t x = 0; x < ARRAY_SIZE(texts); x++)
				assert_true(texts[x].p >= copy && texts[x].n <= all.n &&
					    texts[x].p + texts[x].n <= copy + all.n);
			(void)secret_bound(s, k, 40, BYTES_LIT("api.github.com"), 443);
		}
		guard_free(copy);
	}
	assert_in_range(refused, 100, all.n);
	buf_release(&b);
}

static void refuses_what_cannot_be_right(void **state)
{
	static const char *const bad[] = {
		"a b",	   "",	     "*",	   "*.",	"a..b",
		".a",	   "a.",     "A.com",	   "a.com:0",	"a.com:65536",
		"a.com:x", "a.com:", "[fd00::1",   "[a.com]:1", "[fd00::1]x",
		"*.*.com", "a*.com", "[fd00::1]:", "a/b"
	};
	struct secret_spec s = specs[0];
	struct secret_spec two[2] = { specs[0], specs[1] };
	unsigned huge = 65536;
	struct buf b;

	(void)state;
	buf_init_secret(&b, 1u << 20);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		s.hosts = &bad[i];
		if (secret_host_pattern_ok(bytes_str(bad[i])) ||
		    secret_store_build(&s, 1, &b) != ERR_CONFIG)
			fail_msg("\"%s\" was taken", bad[i]);
	}
	s = specs[0];
	s.agents = &huge;
	s.n_agents = 1;
	assert_int_equal(secret_store_build(&s, 1, &b), ERR_CONFIG);
	s = specs[0];
	s.name = BYTES_NONE;
	assert_int_equal(secret_store_build(&s, 1, &b), ERR_CONFIG);
	/* A real value that is some dummy is a value that agents hold. */
	two[0].real = two[1].dummy;
	assert_int_equal(secret_store_build(two, 2, &b), ERR_CONFIG);
	assert_int_equal(buf_len(&b), 0);
	buf_release(&b);
}

static void an_empty_store_is_a_store(void **state)
{
	const struct secret_store *s;
	struct buf b;

	(void)state;
	buf_init_secret(&b, 4096);
	assert_int_equal(secret_store_build(NULL, 0, &b), ERR_OK);
	s = secret_store_open(buf_bytes(&b).p, buf_len(&b));
	assert_non_null(s);
	assert_int_equal(secret_store_count(s), 0);
	assert_false(secret_bound(s, 0, 0, BYTES_LIT("a.com"), 1));
	buf_release(&b);
}

static void ids_keep_all_their_parts(void **state)
{
	(void)state;
	for (unsigned bits = 0; bits < 64; bits++) {
		struct secret_id in = {
			.index = bits * 65 % 4096,
			.form = bits & 15,
			.real = (bits & 16) != 0,
			.key = (bits & 32) != 0,
		};
		struct secret_id out = secret_id_decode(secret_id_encode(in));

		assert_int_equal(in.index, out.index);
		assert_int_equal(in.form, out.form);
		assert_int_equal(in.real, out.real);
		assert_int_equal(in.key, out.key);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_back_what_was_put_in),
		cmocka_unit_test(is_bound_to_its_hosts_ports_and_agents_only),
		cmocka_unit_test(works_wherever_it_lies),
		cmocka_unit_test(refuses_damage),
		cmocka_unit_test(refuses_what_cannot_be_right),
		cmocka_unit_test(an_empty_store_is_a_store),
		cmocka_unit_test(ids_keep_all_their_parts),
	};

	return cmocka_run_group_tests_name("secret store", tests, NULL, NULL);
}
