/*
 * First match wins, what cannot be judged counts against the agent, and a refusal names its reason.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "gateway/policy/policy.h"

#define STRINGS(...) \
	{ (const char *const[]){ __VA_ARGS__ }, ARRAY_SIZE(((const char *const[]){ __VA_ARGS__ })) }
#define CODER 0
#define OTHER 1

static struct policy *p;

static struct cidr cidr(const char *text)
{
	struct cidr c;

	assert_true(cidr_parse(&c, bytes_str(text)));
	return c;
}

static int setup(void **state)
{
	const struct policy_ports https = { 443, 443 }, postgres = { 5432, 5439 },
				  smtp = { 25, 25 };
	const struct cidr ten = cidr("10.20.0.0/16"),
			  coder[] = { cidr("172.30.0.0/24"), cidr("fd00:30::/64") };
	const struct cidr other = cidr("172.31.0.7"), eleven = cidr("11.0.0.0/8");
	const struct policy_agent_spec agents[] = {
		{ "coder", coder, 2, { 50, 1, 100 } },
		{ "other", &other, 1, { 0 } },
	};
	const struct policy_rule_spec rules[] = {
		/* 0 */ { .action = POLICY_DENY, .ports = &smtp, .n_ports = 1, .name = "no-mail" },
		/* 1 */ { .action = POLICY_ALLOW, .hosts = STRINGS("api.openai.com"),
			  .ports = &https, .n_ports = 1,
			  .methods = STRINGS("GET", "POST"), .paths = STRINGS("/v1/**") },
		/* 2 */ { .action = POLICY_DENY, .hosts = STRINGS("secret.github.com") },
		/* 3 */ { .action = POLICY_DENY, .hosts = STRINGS("*.github.com"),
			  .paths = STRINGS("/admin/**") },
		/* 4 */ { .action = POLICY_ALLOW,
			  .hosts = STRINGS("*.github.com", "github.com", "*.github.com"),
			  .ports = &https, .n_ports = 1 },
		/* 5 */ { .action = POLICY_PASSTHROUGH, .hosts = STRINGS("pinned.example.com"),
			  .ports = &https,
			  .n_ports = 1 },
		/* 6 */ { .action = POLICY_TCP, .addresses = &ten, .n_addresses = 1,
			  .ports = &postgres,
			  .n_ports = 1 },
		/* 7 */ { .action = POLICY_ALLOW, .hosts = STRINGS("only.other.example"),
			  .agents = STRINGS("other") },
		/* 8 */ { .action = POLICY_DENY, .hosts = STRINGS("*.mixed.example"),
			  .methods = STRINGS("DELETE") },
		/* 9 */ { .action = POLICY_PASSTHROUGH, .hosts = STRINGS("a.mixed.example") },
		/* 10 */ { .action = POLICY_ALLOW, .hosts = STRINGS("*.mixed.example") },
		/* 11 */ { .action = POLICY_ALLOW, .hosts = STRINGS("9.9.9.9", "2606:4700::1") },
		/* 12 */ { .action = POLICY_ALLOW, .hosts = STRINGS("both.example"),
			   .addresses = &eleven,
			   .n_addresses = 1 },
		/* 13 */ { .action = POLICY_ALLOW, .hosts = STRINGS("*"),
			   .methods = STRINGS("HEAD"),
			   .agents = STRINGS("other") },
	};
	const struct policy_spec spec = { .agents = agents, .n_agents = 2, .rules = rules,
					  .n_rules = ARRAY_SIZE(rules) };

	(void)state;
	p = policy_new(&spec);
	return p ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	policy_free(p);
	return 0;
}

static void agents_are_found_by_address(void **state)
{
	static const struct {
		const char *address;
		int agent;
	} rows[] = {
		{ "172.30.0.0", CODER }, { "172.30.0.255", CODER },	 { "172.30.1.0", -1 },
		{ "fd00:30::9", CODER }, { "fd00:30:0:1::9", -1 },	 { "172.31.0.7", OTHER },
		{ "172.31.0.8", -1 },	 { "::ffff:172.30.0.4", CODER },
	};
	struct addr a;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		assert_true(addr_parse_ip(&a, bytes_str(rows[i].address)));
		assert_int_equal(policy_agent_by_address(p, &a), rows[i].agent);
	}
	assert_int_equal(policy_agent_count(p), 2);
	assert_string_equal(policy_agent_name(p, OTHER), "other");
	assert_null(policy_agent_name(p, -1));
	assert_null(policy_agent_name(p, 2));
	assert_null(policy_agent_rate(p, -1));
	assert_int_equal(policy_agent_rate(p, CODER)->burst, 100);
}

static const struct {
	int agent;
	const char *host, *address;
	uint16_t port;
	enum policy_action action;
	enum err reason;
	const char *rule;
} connects[] = {
	{ CODER, "api.openai.com", NULL, 443, POLICY_ALLOW, ERR_OK, "egress.rules[1]" },
	{ CODER, "api.openai.com", NULL, 80, POLICY_DENY, ERR_DENY_PORT, "egress.default" },
	{ CODER, "api.openai.com", NULL, 25, POLICY_DENY, ERR_DENY_RULE, "no-mail" },
	{ CODER, "xapi.openai.com", NULL, 443, POLICY_DENY, ERR_DENY_HOST, "egress.default" },
	{ CODER, "openai.com", NULL, 443, POLICY_DENY, ERR_DENY_HOST, "egress.default" },
	{ -1, "api.openai.com", NULL, 443, POLICY_DENY, ERR_DENY_AGENT, "agents" },
	{ 2, "api.openai.com", NULL, 443, POLICY_DENY, ERR_DENY_AGENT, "agents" },
	{ CODER, "github.com", NULL, 443, POLICY_ALLOW, ERR_OK, "egress.rules[4]" },
	{ CODER, "a.b.github.com", NULL, 443, POLICY_ALLOW, ERR_OK, "egress.rules[4]" },
	{ CODER, "notgithub.com", NULL, 443, POLICY_DENY, ERR_DENY_HOST, "egress.default" },
	{ CODER, "secret.github.com", NULL, 443, POLICY_DENY, ERR_DENY_RULE, "egress.rules[2]" },
	{ CODER, "pinned.example.com", NULL, 443, POLICY_PASSTHROUGH, ERR_OK, "egress.rules[5]" },
	{ CODER, "", "10.20.3.4", 5432, POLICY_TCP, ERR_OK, "egress.rules[6]" },
	{ CODER, "", "10.20.3.4", 5439, POLICY_TCP, ERR_OK, "egress.rules[6]" },
	{ CODER, "10.20.3.4", NULL, 5432, POLICY_TCP, ERR_OK, "egress.rules[6]" },
	{ CODER, "", "10.20.3.4", 5440, POLICY_DENY, ERR_DENY_PORT, "egress.default" },
	{ CODER, "", "10.21.3.4", 5432, POLICY_DENY, ERR_DENY_HOST, "egress.default" },
	{ CODER, "", NULL, 5432, POLICY_DENY, ERR_DENY_HOST, "egress.default" },
	/* a name must not borrow the permission of the address it was sent to */
	{ CODER, "evil.example", "10.20.3.4", 5432, POLICY_DENY, ERR_DENY_HOST, "egress.default" },
	/* a literal decides by itself */
	{ CODER, "10.21.0.1", "10.20.3.4", 5432, POLICY_DENY, ERR_DENY_HOST, "egress.default" },
	{ CODER, "only.other.example", NULL, 443, POLICY_DENY, ERR_DENY_HOST, "egress.default" },
	{ OTHER, "only.other.example", NULL, 443, POLICY_ALLOW, ERR_OK, "egress.rules[7]" },
	/* the DELETE refusal could not be kept on an unopened connection */
	{ CODER, "a.mixed.example", NULL, 443, POLICY_DENY, ERR_DENY_RULE, "egress.rules[8]" },
	{ CODER, "b.mixed.example", NULL, 443, POLICY_ALLOW, ERR_OK, "egress.rules[10]" },
	{ CODER, "9.9.9.9", NULL, 443, POLICY_ALLOW, ERR_OK, "egress.rules[11]" },
	{ CODER, "", "2606:4700::1", 443, POLICY_ALLOW, ERR_OK, "egress.rules[11]" },
	{ CODER, "both.example", NULL, 1, POLICY_ALLOW, ERR_OK, "egress.rules[12]" },
	{ CODER, "", "11.2.3.4", 1, POLICY_ALLOW, ERR_OK, "egress.rules[12]" },
	{ CODER, "", "12.2.3.4", 1, POLICY_DENY, ERR_DENY_HOST, "egress.default" },
	/* "*" is any name, no address */
	{ OTHER, "any.example", NULL, 1, POLICY_ALLOW, ERR_OK, "egress.rules[13]" },
	{ OTHER, "single", NULL, 1, POLICY_ALLOW, ERR_OK, "egress.rules[13]" },
	{ OTHER, "12.2.3.4", NULL, 1, POLICY_DENY, ERR_DENY_HOST, "egress.default" },
	{ OTHER, "", "12.2.3.4", 1, POLICY_DENY, ERR_DENY_HOST, "egress.default" },
};

static void connections_are_judged(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(connects); i++) {
		struct policy_verdict v;
		struct addr a;

		print_message("%zu: %s %s %u\n", i, connects[i].host,
			      connects[i].address ? connects[i].address : "", connects[i].port);
		if (connects[i].address)
			assert_true(addr_parse_ip(&a, bytes_str(connects[i].address)));
		v = policy_connect(p, connects[i].agent, connects[i].host,
				   connects[i].address ? &a : NULL, connects[i].port);
		assert_int_equal(v.action, connects[i].action);
		assert_string_equal(err_name(v.reason), err_name(connects[i].reason));
		assert_string_equal(v.rule, connects[i].rule);
	}
}

static const struct {
	int agent;
	const char *host;
	enum policy_action action;
	const char *rule;
} names[] = {
	{ CODER, "api.openai.com", POLICY_ALLOW, "egress.rules[1]" },
	{ CODER, "x.openai.com", POLICY_DENY, "egress.default" },
	{ CODER, "secret.github.com", POLICY_DENY, "egress.rules[2]" },
	{ CODER, "x.github.com", POLICY_ALLOW, "egress.rules[4]" },
	{ CODER, "pinned.example.com", POLICY_PASSTHROUGH, "egress.rules[5]" },
	{ CODER, "only.other.example", POLICY_DENY, "egress.default" },
	{ CODER, "9.9.9.9", POLICY_DENY, "egress.default" },
	{ CODER, "", POLICY_DENY, "egress.default" },
	{ -1, "api.openai.com", POLICY_DENY, "agents" },
	{ OTHER, "any.example", POLICY_ALLOW, "egress.rules[13]" },
};

static void names_are_judged(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		struct policy_verdict v = policy_name(p, names[i].agent, names[i].host);
		enum err reason = names[i].agent < 0 ? ERR_DENY_AGENT : ERR_DENY_NAME;

		print_message("%zu: %s\n", i, names[i].host);
		assert_int_equal(v.action, names[i].action);
		assert_int_equal(v.reason, v.action == POLICY_DENY ? reason : ERR_OK);
		assert_string_equal(v.rule, names[i].rule);
	}
}

static const struct {
	int agent;
	const char *host;
	uint16_t port;
	const char *method, *path;
	enum err reason;
	const char *rule;
} requests[] = {
	{ CODER, "api.openai.com", 443, "GET", "/v1/models", ERR_OK, "egress.rules[1]" },
	{ CODER, "api.openai.com", 443, "POST", "/v1/chat?x=1", ERR_OK, "egress.rules[1]" },
	{ CODER, "api.openai.com", 443, "get", "/v1/models", ERR_DENY_METHOD, "egress.default" },
	{ CODER, "api.openai.com", 443, "DELETE", "/v1/models", ERR_DENY_METHOD, "egress.default" },
	{ CODER, "api.openai.com", 443, "GET", "/v2/models", ERR_DENY_PATH, "egress.default" },
	{ CODER, "api.openai.com", 443, "GET", "/v1/../v2/models", ERR_DENY_PATH,
	  "egress.default" },
	{ CODER, "api.openai.com", 443, "GET", "/v1/%2e%2e/v2", ERR_DENY_PATH, "egress.default" },
	{ CODER, "api.openai.com", 443, "GET", "/v1%2f..%2fv2", ERR_DENY_PATH, "egress.default" },
	{ CODER, "api.openai.com", 443, "GET", "*", ERR_DENY_PATH, "egress.default" },
	{ CODER, "api.openai.com", 8443, "GET", "/v1/models", ERR_DENY_PORT, "egress.default" },
	{ CODER, "api.openai.com", 25, "GET", "/v1/models", ERR_DENY_RULE, "no-mail" },
	{ CODER, "other.example", 443, "GET", "/v1/models", ERR_DENY_HOST, "egress.default" },
	{ -1, "api.openai.com", 443, "GET", "/v1/models", ERR_DENY_AGENT, "agents" },
	{ CODER, "x.github.com", 443, "GET", "/repo", ERR_OK, "egress.rules[4]" },
	{ CODER, "x.github.com", 443, "GET", "/admin/x", ERR_DENY_RULE, "egress.rules[3]" },
	/* what a server might read as /admin is refused by the rule that denies it */
	{ CODER, "x.github.com", 443, "GET", "/repo/../admin/x", ERR_DENY_RULE, "egress.rules[3]" },
	{ CODER, "x.github.com", 443, "GET", "//admin/x", ERR_DENY_RULE, "egress.rules[3]" },
	{ CODER, "x.github.com", 443, "GET", "/%61dmin/x", ERR_DENY_RULE, "egress.rules[3]" },
	/* no rule with paths is for github.com itself, so no form of path is refused there */
	{ CODER, "github.com", 443, "GET", "/a%2Fb//c", ERR_OK, "egress.rules[4]" },
	/* pass-through and tcp never speak for a request that was opened */
	{ CODER, "pinned.example.com", 443, "GET", "/", ERR_DENY_HOST, "egress.default" },
	{ CODER, "10.20.3.4", 5432, "GET", "/", ERR_DENY_HOST, "egress.default" },
	{ CODER, "b.mixed.example", 443, "DELETE", "/", ERR_DENY_RULE, "egress.rules[8]" },
	{ CODER, "b.mixed.example", 443, "GET", "/", ERR_OK, "egress.rules[10]" },
	{ CODER, "2606:4700::1", 443, "GET", "/", ERR_OK, "egress.rules[11]" },
	{ CODER, "11.9.9.9", 443, "GET", "/", ERR_OK, "egress.rules[12]" },
	{ OTHER, "any.example", 443, "GET", "/", ERR_DENY_METHOD, "egress.default" },
	{ OTHER, "any.example", 443, "HEAD", "/", ERR_OK, "egress.rules[13]" },
};

static void requests_are_judged(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(requests); i++) {
		const struct policy_request r = { requests[i].host, requests[i].port,
						  bytes_str(requests[i].method),
						  bytes_str(requests[i].path) };
		struct policy_verdict v = policy_request(p, requests[i].agent, &r);

		print_message("%zu: %s %s %s\n", i, r.host, requests[i].method, requests[i].path);
		assert_string_equal(err_name(v.reason), err_name(requests[i].reason));
		assert_int_equal(v.action,
				 requests[i].reason == ERR_OK ? POLICY_ALLOW : POLICY_DENY);
		assert_string_equal(v.rule, requests[i].rule);
	}
}

static void default_can_allow(void **state)
{
	const struct cidr all = cidr("0.0.0.0/0");
	const struct policy_agent_spec agent = { "a", &all, 1, { 0 } };
	const struct policy_rule_spec rules[] = {
		{ .action = POLICY_DENY, .hosts = STRINGS("bad.example") },
		{ .action = POLICY_DENY,
		  .hosts = STRINGS("some.example"),
		  .methods = STRINGS("POST") },
	};
	const struct policy_spec spec = { .agents = &agent,
					  .n_agents = 1,
					  .rules = rules,
					  .n_rules = 2,
					  .allow_by_default = true };
	struct policy *open = policy_new(&spec);
	struct policy_request r = { "some.example", 443, BYTES_LIT("POST"), BYTES_LIT("/") };

	(void)state;
	assert_int_equal(policy_connect(open, 0, "x.example", NULL, 1).action, POLICY_ALLOW);
	assert_int_equal(policy_connect(open, 0, "bad.example", NULL, 1).action, POLICY_DENY);
	assert_int_equal(policy_name(open, 0, "bad.example").action, POLICY_DENY);
	assert_int_equal(policy_name(open, 0, "some.example").action, POLICY_ALLOW);
	assert_int_equal(policy_request(open, 0, &r).reason, ERR_DENY_RULE);
	r.method = BYTES_LIT("GET");
	assert_int_equal(policy_request(open, 0, &r).reason, ERR_OK);
	policy_free(open);
}

static void malformed_specs_are_refused(void **state)
{
	const struct policy_rule_spec rules[] = {
		{ .action = POLICY_ALLOW, .hosts = STRINGS("bad host") },
		{ .action = POLICY_ALLOW, .hosts = STRINGS("*.1.2.3.4") },
		{ .action = POLICY_ALLOW, .hosts = STRINGS("a.*.example") },
		{ .action = POLICY_ALLOW, .hosts = STRINGS("a.example"), .paths = STRINGS("v1") },
		{ .action = POLICY_ALLOW,
		  .hosts = STRINGS("a.example"),
		  .agents = STRINGS("nobody") },
		{ .action = POLICY_PASSTHROUGH,
		  .hosts = STRINGS("a.example"),
		  .paths = STRINGS("/v1") },
		{ .action = POLICY_TCP, .hosts = STRINGS("a.example"), .methods = STRINGS("GET") },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rules); i++) {
		const struct policy_spec spec = { .rules = &rules[i], .n_rules = 1 };

		assert_null(policy_new(&spec));
	}
	policy_free(NULL);
}

/* Many hosts in many rules, against the obvious loop over all patterns. */
#define MANY 3000

static bool naive_matches(const char *pattern, const char *host)
{
	size_t n = strlen(host), m = strlen(pattern);

	if (pattern[0] != '*')
		return strcmp(pattern, host) == 0;
	return n > m - 1 && strcmp(host + n - (m - 1), pattern + 1) == 0;
}

static void many_hosts_keep_their_order(void **state)
{
	static char text[MANY][32];
	static const char *hosts[MANY];
	static struct policy_rule_spec rules[MANY];
	const struct policy_agent_spec agent = { "a", NULL, 0, { 0 } };
	struct policy_spec spec = {
		.agents = &agent, .n_agents = 1, .rules = rules, .n_rules = MANY
	};
	struct policy *many;

	(void)state;
	for (size_t i = 0; i < MANY; i++) {
		snprintf(text[i], sizeof(text[i]), "%sh%zu.z%zu.example", i % 7 == 3 ? "*." : "",
			 i * 31 % 1000, i % 11);
		hosts[i] = text[i];
		rules[i] = (struct policy_rule_spec){ .action = i % 3 ? POLICY_ALLOW : POLICY_DENY,
						      .hosts = { &hosts[i], 1 } };
	}
	many = policy_new(&spec);
	assert_non_null(many);
	for (size_t i = 0; i < MANY; i++) {
		char host[40], expect[40] = "egress.default";

		snprintf(host, sizeof(host), "%sh%zu.z%zu.example", i % 2 ? "www." : "",
			 i * 17 % 1100, i % 13);
		for (size_t j = 0; j < MANY; j++)
			if (naive_matches(text[j], host)) {
				snprintf(expect, sizeof(expect), "egress.rules[%zu]", j);
				break;
			}
		assert_string_equal(policy_connect(many, 0, host, NULL, 443).rule, expect);
	}
	policy_free(many);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(agents_are_found_by_address),
		cmocka_unit_test(connections_are_judged),
		cmocka_unit_test(names_are_judged),
		cmocka_unit_test(requests_are_judged),
		cmocka_unit_test(default_can_allow),
		cmocka_unit_test(malformed_specs_are_refused),
		cmocka_unit_test(many_hosts_keep_their_order),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
