/* Which addresses may be dialled, and the token bucket. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "gateway/policy/policy.h"

/*
 * With allow_special 10.20.0.0/16, fd00:20::/32, 224.0.0.0/4 and own addresses 10.20.0.1,
 * 8.8.4.4, 2600::1.
 */
static const struct {
	const char *address;
	bool ok;
} addresses[] = {
	{ "8.8.8.8", true },
	{ "1.1.1.1", true },
	{ "2606:4700:4700::1111", true },
	{ "9.255.255.255", true },
	{ "11.0.0.0", true },
	{ "10.0.0.0", false },
	{ "10.255.255.255", false },
	{ "10.20.0.0", true },
	{ "10.20.255.255", true },
	{ "10.21.0.0", false },
	{ "10.19.255.255", false },
	/* the gateway's own, also when a special range or a carrier covers them */
	{ "10.20.0.1", false },
	{ "8.8.4.4", false },
	{ "2600::1", false },
	{ "2600::2", true },
	{ "64:ff9b::8.8.4.4", false },
	{ "64:ff9b::10.20.0.1", false },
	{ "::ffff:8.8.4.4", false },
	{ "0.0.0.0", false },
	{ "0.1.2.3", false },
	{ "100.63.255.255", true },
	{ "100.64.0.0", false },
	{ "100.100.100.200", false },
	{ "100.127.255.255", false },
	{ "100.128.0.0", true },
	{ "127.0.0.1", false },
	{ "127.255.255.255", false },
	{ "128.0.0.0", true },
	{ "168.63.129.16", false },
	{ "168.63.129.17", true },
	{ "169.254.169.254", false },
	{ "169.253.255.255", true },
	{ "169.255.0.0", true },
	{ "172.15.255.255", true },
	{ "172.16.0.0", false },
	{ "172.31.255.255", false },
	{ "172.32.0.0", true },
	{ "192.0.0.192", false },
	{ "192.0.1.0", true },
	{ "192.0.2.1", false },
	{ "192.31.196.1", false },
	{ "192.52.193.1", false },
	{ "192.88.99.1", false },
	{ "192.168.0.1", false },
	{ "192.169.0.0", true },
	{ "192.175.48.1", false },
	{ "198.17.255.255", true },
	{ "198.18.0.0", false },
	{ "198.19.255.255", false },
	{ "198.20.0.0", true },
	{ "198.51.100.7", false },
	{ "203.0.113.7", false },
	{ "223.255.255.255", true },
	/* multicast and broadcast stay refused although 224/4 is in allow_special */
	{ "224.0.0.1", false },
	{ "239.255.255.255", false },
	{ "240.0.0.1", false },
	{ "255.255.255.255", false },
	{ "::", false },
	{ "::1", false },
	{ "::2", false },
	{ "::8.8.8.8", false },
	{ "::ffff:8.8.8.8", true },
	{ "::ffff:127.0.0.1", false },
	{ "::ffff:169.254.169.254", false },
	{ "::ffff:10.20.0.9", true },
	{ "::ffff:0:8.8.8.8", false },
	{ "64:ff9b::8.8.8.8", true },
	{ "64:ff9b::127.0.0.1", false },
	{ "64:ff9b::169.254.169.254", false },
	{ "64:ff9b::10.20.0.9", true },
	{ "64:ff9b::10.21.0.9", false },
	{ "64:ff9b::0.0.0.0", false },
	{ "64:ff9b:1::8.8.8.8", false },
	{ "64:ff9b:0:1::1", false },
	{ "100::1", false },
	{ "200::1", false },
	{ "1fff:ffff::1", false },
	{ "2001::1", false },
	{ "2001:1ff:ffff::1", false },
	{ "2001:200::1", true },
	{ "2001:db8::1", false },
	{ "2001:db7:ffff::1", true },
	{ "2001:db9::1", true },
	/* 6to4, opened for 8.8/16; 8.8.4.4 inside is the gateway's own */
	{ "2002:808:808::1", true }, { "2002:808:404::1", false }, { "2002:909:909::1", false },
	{ "2003::1", true },
	{ "2620:4f:8000::1", false },
	{ "2620:4f:8001::1", true },
	{ "3fff::1", false },
	{ "3fff:fff::1", false },
	{ "3fff:1000::1", true },
	{ "3ffe::1", true },
	{ "4000::1", false },
	{ "5f00::1", false },
	{ "fc00::1", false },
	{ "fd00:ec2::254", false },
	{ "fd00:20::1", true },
	{ "fd00:21::1", false },
	{ "fe80::1", false },
	{ "fec0::1", false },
	{ "ff02::1", false },
};

static struct policy *address_policy(void)
{
	struct cidr special[4];
	struct addr own[3];
	struct policy_spec spec = { .allow_special = special, .n_allow_special = 4,
				    .own_addresses = own, .n_own_addresses = 3 };

	assert_true(cidr_parse(&special[0], BYTES_LIT("10.20.0.0/16")));
	assert_true(cidr_parse(&special[1], BYTES_LIT("fd00:20::/32")));
	assert_true(cidr_parse(&special[2], BYTES_LIT("224.0.0.0/4")));
	assert_true(cidr_parse(&special[3], BYTES_LIT("2002:808::/32")));
	assert_true(addr_parse_ip(&own[0], BYTES_LIT("10.20.0.1")));
	assert_true(addr_parse_ip(&own[1], BYTES_LIT("8.8.4.4")));
	assert_true(addr_parse_ip(&own[2], BYTES_LIT("2600::1")));
	own[1].port = 7;
	return policy_new(&spec);
}

static void special_addresses_are_refused(void **state)
{
	struct policy *p = address_policy();

	(void)state;
	assert_non_null(p);
	for (size_t i = 0; i < ARRAY_SIZE(addresses); i++) {
		struct addr a;

		print_message("%s\n", addresses[i].address);
		assert_true(addr_parse_ip(&a, bytes_str(addresses[i].address)));
		a.port = 443;
		assert_int_equal(policy_address(p, &a),
				 addresses[i].ok ? ERR_OK : ERR_DENY_ADDRESS);
	}
	policy_free(p);
}

/* Built by hand, past the constructors that fold it: still judged as what it reaches. */
static void unfolded_mapped_address_is_judged(void **state)
{
	struct addr a = { .family = AF_INET6,
			  .ip = { [10] = 0xff, [11] = 0xff, [12] = 127, [15] = 1 } };
	struct addr none = { 0 };
	struct policy *p = address_policy();

	(void)state;
	assert_int_equal(policy_address(p, &a), ERR_DENY_ADDRESS);
	a.ip[12] = 8;
	assert_int_equal(policy_address(p, &a), ERR_OK);
	assert_int_equal(policy_address(p, &none), ERR_DENY_ADDRESS);
	policy_free(p);
}

static void nothing_opens_the_unspecified_address(void **state)
{
	struct cidr all[2];
	struct policy_spec spec = { .allow_special = all, .n_allow_special = 2 };
	struct policy *p;
	struct addr a;

	(void)state;
	assert_true(cidr_parse(&all[0], BYTES_LIT("0.0.0.0/0")));
	assert_true(cidr_parse(&all[1], BYTES_LIT("::/0")));
	p = policy_new(&spec);
	assert_true(addr_parse_ip(&a, BYTES_LIT("0.0.0.0")));
	assert_int_equal(policy_address(p, &a), ERR_DENY_ADDRESS);
	assert_true(addr_parse_ip(&a, BYTES_LIT("::")));
	assert_int_equal(policy_address(p, &a), ERR_DENY_ADDRESS);
	assert_true(addr_parse_ip(&a, BYTES_LIT("127.0.0.1")));
	assert_int_equal(policy_address(p, &a), ERR_OK);
	policy_free(p);
}

/* ---- bucket ------------------------------------------------------------- */

static unsigned take_all(struct policy_bucket *b, const struct policy_rate *rate, uint64_t now)
{
	unsigned n = 0;

	while (n < 100000 && policy_bucket_take(b, rate, now))
		n++;
	return n;
}

static const struct {
	struct policy_rate rate;
	uint64_t advance_us;
	unsigned expect;	/* tokens after `advance_us`, starting from empty */
} buckets[] = {
	{ { 50, 1, 100 }, 0, 0 },
	{ { 50, 1, 100 }, 19999, 0 },
	{ { 50, 1, 100 }, 20000, 1 },
	{ { 50, 1, 100 }, 1000000, 50 },
	{ { 50, 1, 100 }, 2000000, 100 },
	{ { 50, 1, 100 }, 3600000000, 100 },
	{ { 60, 60, 5 }, 1000000, 1 },
	{ { 60, 60, 5 }, 10000000, 5 },
	{ { 1, 3600, 1 }, 3599999999, 0 },
	{ { 1, 3600, 1 }, 3600000000, 1 },
	{ { 1, 1, 0 }, 1000000, 1 },
};

static void bucket_fills_at_its_rate(void **state)
{
	const uint64_t start = 5000000000000;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(buckets); i++) {
		const struct policy_rate *rate = &buckets[i].rate;
		struct policy_bucket b = { 0 };

		assert_int_equal(take_all(&b, rate, start), rate->burst ? rate->burst : 1);
		assert_int_equal(take_all(&b, rate, start + buckets[i].advance_us),
				 buckets[i].expect);
	}
}

static void bucket_edges(void **state)
{
	const struct policy_rate unlimited = { 0, 1, 5 }, slow = { 10, 1, 10 };
	const struct policy_rate huge = { 1, 3600, UINT32_MAX };
	struct policy_bucket b = { 0 };

	(void)state;
	assert_int_equal(take_all(&b, &unlimited, 1), 100000);
	/* a word that makes no sense is an almost empty bucket, which then fills as ever */
	atomic_store(&b.next_ns, UINT64_MAX);
	assert_int_equal(take_all(&b, &slow, 1000000), 1);
	assert_int_equal(take_all(&b, &slow, 1100000), 1);
	/* a clock read a little before the last taker's is no such word */
	assert_false(policy_bucket_take(&b, &slow, 1099999));
	/* no overflow on the way */
	atomic_store(&b.next_ns, 0);
	assert_int_equal(take_all(&b, &huge, 1), 100000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(special_addresses_are_refused),
		cmocka_unit_test(unfolded_mapped_address_is_judged),
		cmocka_unit_test(nothing_opens_the_unspecified_address),
		cmocka_unit_test(bucket_fills_at_its_rate),
		cmocka_unit_test(bucket_edges),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
