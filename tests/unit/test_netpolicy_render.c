/*
 * test_netpolicy_render.c - the rendered text, the JSON, the report, and sets compared with a
 * kernel's
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <linux/netfilter/nf_tables.h>
#include <stdlib.h>

#include "netpolicy/nft_internal.h"

static const char *const interfaces[] = { "eth0", "eth1" };

static void plan_make(struct np_plan *plan)
{
	static const struct cidr sources[] = {
		{ AF_INET, 24, { 172, 30 } },
		{ AF_INET, 32, { 10, 0, 0, 5 } },
		{ AF_INET6, 64, { 0xfd, 0, 0, 0x30 } },
	};
	const struct np_input in = {
		.interfaces = interfaces,
		.n_interfaces = 2,
		.sources = sources,
		.n_sources = ARRAY_SIZE(sources),
		.tcp_port = 1,
		.dns_port = 65535,
		.mark = 1,
		.table = 100,
	};
	char why[NP_WHY_MAX];

	assert_int_equal(np_plan_build(&in, plan, why), ERR_OK);
}

static char *rendered(enum err (*render)(const struct np_plan *, struct buf *))
{
	struct np_plan plan;
	struct buf out;
	char *text;

	plan_make(&plan);
	buf_init(&out, 1 << 20);
	assert_int_equal(render(&plan, &out), ERR_OK);
	text = bytes_dup_str(buf_bytes(&out));
	assert_non_null(text);
	buf_release(&out);
	np_plan_release(&plan);
	return text;
}

/* The parts a person relies on, in this order. */
static void test_text(void **state)
{
	static const char *const parts[] = {
		"table inet slapenir\ndelete table inet slapenir\n\ntable inet slapenir {\n",
		"\tset agent_interfaces {\n\t\ttype ifname\n\t\telements = { \"eth0\",\n"
		"\t\t\t     \"eth1\" }\n\t}\n",
		"\tset agents4 {\n\t\ttype ipv4_addr\n\t\tflags interval\n"
		"\t\telements = { 10.0.0.5,\n",
		"\n\t\t\t     172.30.0.0/24 }\n\t}\n",
		"elements = { fd00:30::/64 }",
		"elements = { 0.0.0.0/8,\n\t\t\t     127.0.0.0/8,\n\t\t\t     224.0.0.0/3 }",
		"elements = { ::/127,\n\t\t\t     ::ffff:0.0.0.0/96,\n\t\t\t     ff00::/8 }",
		"\tchain prerouting {\n"
		"\t\ttype filter hook prerouting priority mangle; policy accept;\n",
		"\t\tiifname != @agent_interfaces return\n",
		"\t\tmeta l4proto tcp tproxy to :1 meta mark set 0x00000001 accept\n",
		"\t\tudp dport 53 tproxy to :65535 meta mark set 0x00000001 accept\n",
		"\t\tcounter drop\n\t}\n",
		"\tchain input {\n\t\ttype filter hook input priority filter; policy accept;\n",
		"\tchain forward {\n\t\ttype filter hook forward priority filter; policy drop;\n"
		"\t}\n}\n",
		"\n# sysctl -w net/ipv4/ip_forward=0\t",
		"\n# ip -4 route replace local default dev lo table 100\n",
		"\n# ip -4 rule add pref 100 fwmark 0x1 lookup 100\n"
		"# ip -6 rule add pref 100 fwmark 0x1 lookup 100\n",
	};
	char *text = rendered(np_render_text);
	const char *at = text;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(parts); i++) {
		const char *found = strstr(at, parts[i]);

		if (found)
			at = found + 1;
		else
			fail_msg("missing or out of order: %s", parts[i]);
	}
	free(text);
}

/*
 * Every ceiling between nothing and enough: an error, never half a policy that is taken for whole.
 */
static void test_text_that_does_not_fit(void **state)
{
	struct np_plan plan;
	char *text = rendered(np_render_text), *json = rendered(np_render_json);

	(void)state;
	plan_make(&plan);
	for (size_t max = 0; max < strlen(text); max++) {
		struct buf out;

		buf_init(&out, max);
		assert_int_not_equal(np_render_text(&plan, &out), ERR_OK);
		buf_release(&out);
		buf_init(&out, max < strlen(json) ? max : strlen(json) - 1);
		assert_int_not_equal(np_render_json(&plan, &out), ERR_OK);
		buf_release(&out);
	}
	np_plan_release(&plan);
	free(text);
	free(json);
}

static void test_report(void **state)
{
	struct np_report report = { 0 };
	struct buf out;

	(void)state;
	np_report_add(&report, NP_DRIFT, "ip rule", "pref \"100\"", "%s", "it missing");
	np_report_add(&report, NP_FAILURE, "x", "", "no\n");
	np_report_add(&report, NP_NOTE, "y", "", "so");
	assert_int_equal(np_report_count(&report, NP_DRIFT), 1);
	assert_int_equal(np_report_count(&report, NP_FAILURE), 1);
	buf_init(&out, 4096);
	assert_int_equal(np_report_text(&report, NP_DRIFT, &out), ERR_OK);
	assert_true(
		bytes_eq(buf_bytes(&out),
			 bytes_str("drift: ip rule: expected pref \"100\", found it missing\n")));
	buf_clear(&out);
	assert_int_equal(np_report_json(&report, &out), ERR_OK);
	assert_true(bytes_eq(
		buf_bytes(&out),
		bytes_str("{\"ok\":false,\"drift\":[{\"object\":\"ip rule\",\"expected\":\"pref "
			  "\\\"100\\\"\","
			  "\"found\":\"it "
			  "missing\"}],\"failures\":[{\"object\":\"x\",\"expected\":\"\",\"found\":"
			  "\"no\\n\"}],"
			  "\"notes\":[{\"object\":\"y\",\"expected\":\"\",\"found\":\"so\"}]}\n")));
	buf_clear(&out);
	np_report_release(&report);
	assert_int_equal(np_report_json(&report, &out), ERR_OK);
	assert_true(
		bytes_eq(buf_bytes(&out),
			 bytes_str("{\"ok\":true,\"drift\":[],\"failures\":[],\"notes\":[]}\n")));
	buf_release(&out);
	/* What could not be kept is not forgotten. */
	report.lost = true;
	assert_int_equal(np_report_count(&report, NP_FAILURE), 1);
}

/* ---- sets as a kernel would list them ---- */

struct kernel_key {
	uint8_t key[4];
	bool end, odd;
};

static void test_kernel_sets(void **state)
{
	/* agents4 is planned as 10.0.0.5, 172.30.0.0/24 */
	static const struct {
		const char *name;
		struct kernel_key keys[8];
		size_t n;
		const char *drift;	/* NULL: none */
	} table[] = {
		{ "as planned, in any order",
		  { { { 172, 30, 1, 0 }, true, false }, { { 10, 0, 0, 5 }, false, false },
		{ { 0 }, true, false },
		    { { 172, 30, 0, 0 }, false, false }, { { 10, 0, 0, 6 }, true, false } }, 5,
		NULL },
		{ "without the leading end",
		  { { { 10, 0, 0, 5 }, false, false }, { { 10, 0, 0, 6 }, true, false },
		    { { 172, 30, 0, 0 }, false, false }, { { 172, 30, 1, 0 }, true, false } }, 4,
		NULL },
		{ "the end missing: open to the last address",
		  { { { 10, 0, 0, 5 }, false, false }, { { 10, 0, 0, 6 }, true, false },
		    { { 172, 30, 0, 0 }, false, false } }, 3, "172.30.0.0-255.255.255.255" },
		{ "a start missing",
		  { { { 10, 0, 0, 5 }, false, false }, { { 10, 0, 0, 6 }, true, false },
		    { { 172, 30, 1, 0 }, true, false } }, 3, "172.30.0.0/24" },
		{ "longer by one",
		  { { { 10, 0, 0, 5 }, false, false }, { { 10, 0, 0, 7 }, true, false },
		    { { 172, 30, 0, 0 }, false, false }, { { 172, 30, 1, 0 }, true, false } }, 4,
		  "10.0.0.5-10.0.0.6" },
		{ "one touching",
		  { { { 10, 0, 0, 5 }, false, false }, { { 10, 0, 0, 6 }, true, false },
		    { { 10, 0, 0, 6 }, false, false }, { { 10, 0, 0, 7 }, true, false },
		    { { 172, 30, 0, 0 }, false, false }, { { 172, 30, 1, 0 }, true, false } }, 6,
		"10.0.0.6" },
		{ "catch-all",
		  { { { 10, 0, 0, 5 }, false, false }, { { 10, 0, 0, 6 }, true, false },
		    { { 172, 30, 0, 0 }, false, false }, { { 172, 30, 1, 0 }, true, false },
		    { { 0 }, false, true } }, 5, "catch-all" },
		{ "empty", { { { 0 }, false, false } }, 0, "10.0.0.5" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		struct np_key keys[8] = { 0 };
		char name[] = "agents4";
		struct np_kernel_set set = { .name = name,
					     .flags = NFT_SET_INTERVAL,
					     .key_len = 4,
					     .keys = keys,
					     .n_keys = table[i].n,
					     .elements.type = NP_SET_IPV4 };
		struct np_kernel kernel = { .sets = &set, .n_sets = 1 };
		struct np_report report = { 0 };
		struct np_plan plan;
		struct buf out;
		bool told = false;

		for (size_t k = 0; k < table[i].n; k++) {
			memcpy(keys[k].key, table[i].keys[k].key, 4);
			keys[k].end = table[i].keys[k].end;
			keys[k].odd = table[i].keys[k].odd;
		}
		plan_make(&plan);
		buf_init(&out, 1 << 16);
		np_nft_check_sets(&plan, &kernel, &report);
		for (size_t k = 0; k < report.n; k++)
			if (strcmp(report.items[k].object, "nft set agents4") == 0)
				told = true;
		assert_int_equal(np_report_text(&report, NP_DRIFT, &out), ERR_OK);
		assert_int_equal(buf_append(&out, bytes_of("", 1)), ERR_OK);
		if (told != (table[i].drift != NULL))
			fail_msg("%s: %s", table[i].name, (const char *)buf_bytes(&out).p);
		if (table[i].drift && !strstr((const char *)buf_bytes(&out).p, table[i].drift))
			fail_msg("%s: %s", table[i].name, (const char *)buf_bytes(&out).p);
		buf_release(&out);
		free(set.elements.ranges);
		np_report_release(&report);
		np_plan_release(&plan);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_text),
		cmocka_unit_test(test_text_that_does_not_fit),
		cmocka_unit_test(test_report),
		cmocka_unit_test(test_kernel_sets),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
