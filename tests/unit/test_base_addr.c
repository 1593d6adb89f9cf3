/* Addresses and prefixes: one text for each, IPv4-mapped ones folded. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>
#include <netinet/in.h>

#include "base/base.h"
#include "tests/lib/guard.h"

static struct bytes guarded(const char *s)
{
	return bytes_of(guard_copy(s, strlen(s)), strlen(s));
}

static void test_parse(void **state)
{
	static const struct {
		const char *in, *out;	/* out NULL: refused */
	} rows[] = {
		{ "10.1.2.3", "10.1.2.3" },
		{ "255.255.255.255", "255.255.255.255" },
		{ "::", "::" },
		{ "::1", "::1" },
		{ "[::1]", "::1" },
		{ "FD00::A", "fd00::a" },
		{ "1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7:8" },
		{ "::ffff:10.1.2.3", "10.1.2.3" },
		{ "[::ffff:10.1.2.3]", "10.1.2.3" },
		{ "0:0:0:0:0:FFFF:0a01:0203", "10.1.2.3" },
		/* not mapped, though it looks like it */
		{ "::10.1.2.3", "::10.1.2.3" },
		{ "64:ff9b::10.1.2.3", "64:ff9b::a01:203" },
		{ "", NULL },
		{ "[]", NULL },
		{ "[", NULL },
		{ "[10.1.2.3]", NULL },
		{ "[::1", NULL },
		{ "::1]", NULL },
		{ "[[::1]]", NULL },
		{ "10.1.2", NULL },
		{ "10.1.2.3.4", NULL },
		{ "10.1.2.256", NULL },
		{ "10.1.2.03", NULL },
		{ "0x0a.1.2.3", NULL },
		{ "167838211", NULL },
		{ "10.1.2.3 ", NULL },
		{ " 10.1.2.3", NULL },
		{ "10.1.2.3:80", NULL },
		{ "10.1.2.-3", NULL },
		{ ":::", NULL },
		{ "1::2::3", NULL },
		{ "12345::", NULL },
		{ "fe80::1%eth0", NULL },
		{ "1:2:3:4:5:6:7:8:9", NULL },
		{ "0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0001", NULL },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		char text[ADDR_TEXT_MAX];
		struct addr a;

		if (addr_parse_ip(&a, guarded(rows[i].in)) != (rows[i].out != NULL)) {
			print_error("%s\n", rows[i].in);
			fail();
		}
		if (!rows[i].out)
			continue;
		assert_string_equal(addr_ip_text(&a, text), rows[i].out);
		assert_int_equal(a.family, strchr(rows[i].out, ':') ? AF_INET6 : AF_INET);
		assert_int_equal(a.port, 0);
	}
	assert_false(addr_parse_ip(&(struct addr){ 0 }, bytes_of("1.2.3.4\0", 8)));
	guard_free_all();
}

static void test_text(void **state)
{
	struct addr a = { .family = AF_INET, .port = 65535, .ip = { 255, 255, 255, 255 } };
	struct addr none = { 0 };
	char text[ADDR_TEXT_MAX];

	(void)state;
	assert_string_equal(addr_text(&a, text), "255.255.255.255:65535");
	assert_true(addr_parse_ip(&a, BYTES_LIT("ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe")));
	a.port = 65535;
	assert_string_equal(addr_text(&a, text), "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe]:65535");
	assert_string_equal(addr_ip_text(&none, text), "none");
}

static void test_sockaddr(void **state)
{
	static const char *const ips[] = { "10.1.2.3", "::1", "fd00::7:8" };
	struct sockaddr_storage ss;
	struct sockaddr_in6 *in6 = (void *)&ss;
	struct addr a, b;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(ips); i++) {
		socklen_t len;

		assert_true(addr_parse_ip(&a, bytes_str(ips[i])));
		a.port = 0x1234;
		len = addr_to_sockaddr(&a, &ss);
		assert_int_equal(len, a.family == AF_INET ? sizeof(struct sockaddr_in)
							  : sizeof(struct sockaddr_in6));
		assert_true(addr_from_sockaddr(&b, (struct sockaddr *)&ss));
		assert_true(addr_ip_eq(&a, &b));
		assert_int_equal(b.port, 0x1234);
	}
	/* A dual-stack socket shows IPv4 in IPv6: no rule may be passed by that. */
	memset(&ss, 0, sizeof(ss));
	in6->sin6_family = AF_INET6;
	in6->sin6_port = htons(443);
	memcpy(&in6->sin6_addr, "\0\0\0\0\0\0\0\0\0\0\xff\xff\x0a\1\2\3", 16);
	assert_true(addr_from_sockaddr(&b, (struct sockaddr *)&ss));
	assert_true(addr_parse_ip(&a, BYTES_LIT("10.1.2.3")));
	assert_int_equal(b.family, AF_INET);
	assert_memory_equal(b.ip, a.ip, sizeof(a.ip));
	assert_int_equal(b.port, 443);
	ss.ss_family = AF_UNIX;
	assert_false(addr_from_sockaddr(&b, (struct sockaddr *)&ss));
	assert_int_equal(b.family, 0);
}

static void test_cidr(void **state)
{
	static const struct {
		const char *in, *out;
	} rows[] = {
		{ "10.0.0.0/8", "10.0.0.0/8" },
		{ "0.0.0.0/0", "0.0.0.0/0" },
		{ "10.1.2.3", "10.1.2.3/32" },
		{ "10.1.2.3/32", "10.1.2.3/32" },
		{ "fd00::/8", "fd00::/8" },
		{ "::/0", "::/0" },
		{ "::1", "::1/128" },
		{ "::ffff:10.1.2.3", "10.1.2.3/32" },
		/* the prefix counts in the family the text is written in */
		{ "::ffff:10.0.0.0/104", "10.0.0.0/8" },
		{ "::ffff:0.0.0.0/96", "0.0.0.0/0" },
		{ "::ffff:10.0.0.0/8", NULL },
		{ "::ffff:0.0.0.0/0", NULL },
		{ "::ffff:10.0.0.0/95", NULL },
		{ "::ffff:10.1.0.0/104", NULL },
		{ "::ffff:10.0.0.0/129", NULL },
		{ "10.0.0.1/8", NULL },
		{ "10.128.0.0/8", NULL },
		{ "10.0.0.0/33", NULL },
		{ "10.0.0.0/", NULL },
		{ "10.0.0.0/-1", NULL },
		{ "10.0.0.0/+8", NULL },
		{ "10.0.0.0/ 8", NULL },
		{ "10.0.0.0/8/8", NULL },
		{ "10.0.0.0/264", NULL },
		{ "10.0.0.0/18446744073709551624", NULL },
		{ "/8", NULL },
		{ "10.0.0/8", NULL },
		{ "fd00::1/8", NULL },
		{ "fd00::/129", NULL },
		{ "", NULL },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		char text[ADDR_TEXT_MAX];
		struct cidr c;

		if (cidr_parse(&c, guarded(rows[i].in)) != (rows[i].out != NULL)) {
			print_error("%s\n", rows[i].in);
			fail();
		}
		if (rows[i].out)
			assert_string_equal(cidr_text(&c, text), rows[i].out);
	}
	guard_free_all();
}

static void test_contains(void **state)
{
	static const struct {
		const char *cidr, *ip;
		bool in;
	} rows[] = {
		{ "10.0.0.0/8", "10.0.0.0", true },
		{ "10.0.0.0/8", "10.255.255.255", true },
		{ "10.0.0.0/8", "11.0.0.0", false },
		{ "10.0.0.0/8", "9.255.255.255", false },
		{ "10.0.0.0/8", "::ffff:10.1.2.3", true },
		{ "172.16.0.0/12", "172.31.255.255", true },
		{ "172.16.0.0/12", "172.32.0.0", false },
		{ "172.16.0.0/12", "172.15.255.255", false },
		{ "192.0.2.128/25", "192.0.2.127", false },
		{ "192.0.2.128/25", "192.0.2.128", true },
		{ "192.0.2.4/31", "192.0.2.5", true },
		{ "192.0.2.4/31", "192.0.2.6", false },
		{ "192.0.2.4", "192.0.2.4", true },
		{ "192.0.2.4", "192.0.2.5", false },
		{ "0.0.0.0/0", "255.255.255.255", true },
		{ "0.0.0.0/0", "::", false },
		{ "::/0", "::1", true },
		{ "::/0", "1.2.3.4", false },
		{ "fe80::/10", "febf::1", true },
		{ "fe80::/10", "fec0::1", false },
		{ "2001:db8::/33", "2001:db8:7fff::", true },
		{ "2001:db8::/33", "2001:db8:8000::", false },
		{ "::1", "::1", true },
		{ "::1", "::2", false },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct cidr c;
		struct addr a;

		assert_true(cidr_parse(&c, bytes_str(rows[i].cidr)) &&
			    addr_parse_ip(&a, bytes_str(rows[i].ip)));
		if (cidr_contains(&c, &a) != rows[i].in) {
			print_error("%s %s\n", rows[i].cidr, rows[i].ip);
			fail();
		}
	}
	assert_false(cidr_contains(&(struct cidr){ .family = AF_INET }, &(struct addr){ 0 }));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_parse),	 cmocka_unit_test(test_text),
		cmocka_unit_test(test_sockaddr), cmocka_unit_test(test_cidr),
		cmocka_unit_test(test_contains),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
