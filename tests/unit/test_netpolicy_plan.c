/*
 * test_netpolicy_plan.c - the plan is a pure function of its input: sets, rules, settings, refusals
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>

#include "netpolicy/nft_internal.h"

static const char *const one_interface[] = { "eth0" };

static struct np_input input_make(const struct cidr *sources, size_t n)
{
	return (struct np_input){
		.interfaces = one_interface, .n_interfaces = 1, .sources = sources, .n_sources = n,
		.tcp_port = 15001, .dns_port = 15053, .mark = 0x534c, .table = 0x534c,
	};
}

static size_t cidrs_parse(const char *text, struct cidr *out, size_t cap)
{
	char copy[512], *save = NULL;
	size_t n = 0;

	snprintf(copy, sizeof(copy), "%s", text);
	for (char *word = strtok_r(copy, " ", &save); word; word = strtok_r(NULL, " ", &save)) {
		assert_true(n < cap);
		assert_true(cidr_parse(&out[n++], bytes_str(word)));
	}
	return n;
}

static void set_text(const struct np_set *set, char *dst, size_t cap)
{
	char range[NP_RANGE_TEXT_MAX];
	size_t at = 0;

	dst[0] = '\0';
	for (size_t i = 0; i < set->n; i++)
		at += (size_t)snprintf(dst + at, cap - at, "%s%s", i ? " " : "",
				       np_range_text(set->type, &set->ranges[i], range));
}

static void test_ranges(void **state)
{
	static const struct {
		const char *sources, *v4, *v6;
	} table[] = {
		{ "172.30.0.0/24 fd00:30::/64", "172.30.0.0/24", "fd00:30::/64" },
		{ "10.0.0.5", "10.0.0.5", "" },
		{ "::1", "", "::1" },
		{ "10.0.0.0/25 10.0.0.128/25", "10.0.0.0/24", "" },		/* touching */
		{ "10.0.0.128/25 10.0.0.0/25", "10.0.0.0/24", "" },		/* any order */
		{ "10.0.0.0/25 10.0.0.128/26", "10.0.0.0-10.0.0.191", "" },	/* no one prefix */
		{ "10.0.0.0/8 10.1.0.0/16 10.2.3.4", "10.0.0.0/8", "" },	/* inside */
		{ "10.0.0.1 10.0.0.3", "10.0.0.1 10.0.0.3", "" },		/* a gap */
		{ "10.0.0.1 10.0.0.2 10.0.0.3", "10.0.0.1-10.0.0.3", "" },
		{ "10.0.0.1 10.0.0.1", "10.0.0.1", "" },
		{ "10.0.0.255 10.0.1.0", "10.0.0.255-10.0.1.0", "" },		/* carry */
		{ "0.0.0.0/0", "0.0.0.0/0", "" },
		{ "0.0.0.0/1 128.0.0.0/1", "0.0.0.0/0", "" },
		{ "255.255.255.255 0.0.0.0", "0.0.0.0 255.255.255.255", "" },	/* no wrap */
		{ "255.255.255.254 255.255.255.255", "255.255.255.254/31", "" },
		/* Open end swallows. */
		{ "0.0.0.0/0 10.0.0.0/8", "0.0.0.0/0", "" },
		{ "::/0 fd00::/8", "", "::/0" },
		{ "fd00::/65 fd00:0:0:0:8000::/65", "", "fd00::/64" },
		{ "fd00::ffff:ffff:ffff:ffff fd00:0:0:1::", "",
		  "fd00::ffff:ffff:ffff:ffff-fd00:0:0:1::" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		struct cidr sources[8];
		size_t n = cidrs_parse(table[i].sources, sources, ARRAY_SIZE(sources));
		struct np_input in = input_make(sources, n);
		char why[NP_WHY_MAX], text[512];
		struct np_plan plan;

		assert_int_equal(np_plan_build(&in, &plan, why), ERR_OK);
		set_text(&plan.sets[NP_SET_AGENTS4], text, sizeof(text));
		assert_string_equal(text, table[i].v4);
		set_text(&plan.sets[NP_SET_AGENTS6], text, sizeof(text));
		assert_string_equal(text, table[i].v6);
		np_plan_release(&plan);
	}
}

static void test_interfaces(void **state)
{
	static const char *const names[] = { "eth1", "br-agents.7", "eth1", "a" };
	struct np_input in;
	struct np_plan plan;
	struct cidr source;
	char why[NP_WHY_MAX], text[256];

	(void)state;
	assert_int_equal(cidrs_parse("10.0.0.0/8", &source, 1), 1);
	in = input_make(&source, 1);
	in.interfaces = names;
	in.n_interfaces = ARRAY_SIZE(names);
	assert_int_equal(np_plan_build(&in, &plan, why), ERR_OK);
	set_text(&plan.sets[NP_SET_INTERFACES], text, sizeof(text));
	assert_string_equal(text, "\"a\" \"br-agents.7\" \"eth1\"");
	/* Each has its own settings, once. */
	for (size_t i = 0; i < plan.n_sysctls; i++) {
		assert_null(strchr(plan.sysctls[i].path, '%'));
		for (size_t k = i + 1; k < plan.n_sysctls; k++)
			assert_string_not_equal(plan.sysctls[i].path, plan.sysctls[k].path);
	}
	np_plan_release(&plan);
}

static void test_refused(void **state)
{
	static const char *const bad_names[] = {
		"",	"lo",  "all", "default",	  ".",	"..",  "a/b", "../..",	  "eth*",
		"e\"x", "a b", "x\n", "abcdefghijklmnop", "%s", "a;b", "{",   "\xc3\xa4",
	};
	struct cidr source;
	struct np_plan plan;
	char why[NP_WHY_MAX];
	struct np_input good, in;

	(void)state;
	assert_int_equal(cidrs_parse("10.0.0.0/8", &source, 1), 1);
	good = input_make(&source, 1);
	for (size_t i = 0; i < ARRAY_SIZE(bad_names); i++) {
		in = good;
		in.interfaces = &bad_names[i];
		assert_int_equal(np_plan_build(&in, &plan, why), ERR_CONFIG);
		assert_non_null(strstr(why, "agent_interfaces"));
	}
#define REFUSED(field, value)									\
	do {											\
		in = good;									\
		in.field = (value);								\
		assert_int_equal(np_plan_build(&in, &plan, why), ERR_CONFIG);			\
		assert_true(why[0] != '\0');							\
	} while (0)
	REFUSED(n_interfaces, 0);
	REFUSED(n_sources, 0);
	REFUSED(tcp_port, 0);
	REFUSED(dns_port, 0);
	REFUSED(mark, 0);
	REFUSED(table, 0);
	REFUSED(table, 253);
	REFUSED(table, 254);
	REFUSED(table, 255);
#undef REFUSED
	assert_int_equal(np_plan_build(&good, &plan, why), ERR_OK);
	np_plan_release(&plan);
}

static const char *const golden_rules[][2] = {
	{ "prerouting", "iifname != @agent_interfaces return" },
	{ "prerouting", "icmpv6 type nd-neighbor-solicit ip6 hoplimit 255 accept" },
	{ "prerouting", "icmpv6 type nd-neighbor-advert ip6 hoplimit 255 accept" },
	{ "prerouting", "ip saddr != @agents4 counter drop" },
	{ "prerouting", "ip6 saddr != @agents6 counter drop" },
	{ "prerouting", "fib saddr . iif oif missing counter drop" },
	{ "prerouting", "ip daddr @never4 counter drop" },
	{ "prerouting", "ip6 daddr @never6 counter drop" },
	{ "prerouting", "meta l4proto tcp tproxy to :15001 meta mark set 0x0000534c accept" },
	{ "prerouting", "udp dport 53 tproxy to :15053 meta mark set 0x0000534c accept" },
	{ "prerouting", "udp dport 443 counter reject" },
	{ "prerouting", "limit rate 10/second burst 20 packets log prefix \"slapenir drop: \"" },
	{ "prerouting", "counter drop" },
	{ "input", "icmpv6 type nd-neighbor-solicit ip6 hoplimit 255 accept" },
	{ "input", "icmpv6 type nd-neighbor-advert ip6 hoplimit 255 accept" },
	{ "input", "iifname @agent_interfaces meta mark != 0x0000534c counter drop" },
};

static void test_rules(void **state)
{
	struct cidr source;
	struct np_plan plan;
	char why[NP_WHY_MAX];
	struct np_input in;

	(void)state;
	assert_int_equal(cidrs_parse("10.0.0.0/8", &source, 1), 1);
	in = input_make(&source, 1);
	assert_int_equal(np_plan_build(&in, &plan, why), ERR_OK);
	assert_int_equal(plan.n_rules, ARRAY_SIZE(golden_rules));
	for (size_t i = 0; i < plan.n_rules; i++) {
		assert_string_equal(plan.rules[i].chain, golden_rules[i][0]);
		assert_string_equal(plan.rules[i].text, golden_rules[i][1]);
	}
	np_plan_release(&plan);
}

/* Same length and value, or two rules that differ in either would compare equal. */
static void test_rule_text_tells_rules_apart(void **state)
{
	struct np_plan plan = { 0 };
	struct np_rule rule = { .chain = "c", .n_exprs = 1, .exprs = { { .kind = NP_CMP } } };
	char *texts[4];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		struct nftnl_rule *wire;

		rule.exprs[0].data_len = i < 2 ? (uint32_t)(1 + 3 * i) : 4;
		rule.exprs[0].data[0] = i == 2;
		rule.exprs[0].a = i == 3;
		wire = np_wire_rule(&plan, &rule);
		assert_non_null(wire);
		texts[i] = np_wire_rule_text(wire);
		assert_non_null(texts[i]);
		nftnl_rule_free(wire);
	}
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
		for (size_t k = i + 1; k < ARRAY_SIZE(texts); k++)
			assert_string_not_equal(texts[i], texts[k]);
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
		free(texts[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ranges),
		cmocka_unit_test(test_interfaces),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_rules),
		cmocka_unit_test(test_rule_text_tells_rules_apart),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
