/*
 * nft_check.c - nftables in the kernel against the plan
 *
 * Compared: the table's flags (a dormant table looks complete and does nothing), chains with hook,
 * priority and policy, every rule expression by expression and in order, every set's type, flags
 * and elements, and that there is nothing besides: no further chain, rule, set, object or
 * flowtable. Handles and what counters counted are ignored.
 *
 * Rules are aligned by their longest common subsequence, so that one deleted rule is one finding,
 * not a cascade.
 */
#include <errno.h>
#include <netinet/in.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <stdlib.h>

#include "netpolicy/nft_internal.h"

#define READ_TRIES 5
#define COMPARED_RULES_MAX 2048	/* of one chain; above that every rule is listed as it comes */

/* ---- table and chains ---- */

static void check_table(const struct np_kernel *k, struct np_report *report)
{
	if (k->table_flags)
		np_report_add(report, NP_DRIFT, "nft table " NP_TABLE_NAME, "no flags",
			      "flags 0x%x%s", k->table_flags,
			      k->table_flags & NFT_TABLE_F_DORMANT
				      ? " (dormant: no rule is in force)"
				      : "");
	if (k->n_objects)
		np_report_add(report, NP_DRIFT, "nft table " NP_TABLE_NAME, "no stateful objects",
			      "%zu", k->n_objects);
	for (size_t i = 0; i < k->n_flowtables; i++)
		np_report_add(report, NP_DRIFT, "nft flowtable", "none",
			      "%s (flows could pass by the chains)", k->flowtables[i]);
}

static const struct nftnl_chain *kernel_chain(const struct np_kernel *k, const char *name)
{
	for (size_t i = 0; i < k->n_chains; i++)
		if (strcmp(nftnl_chain_get_str(k->chains[i], NFTNL_CHAIN_NAME), name) == 0)
			return k->chains[i];
	return NULL;
}

static const char *policy_text(uint32_t policy)
{
	return policy == NF_DROP ? "drop" : policy == NF_ACCEPT ? "accept" : "unknown";
}

static void check_base_chain(const struct np_chain *want, const struct nftnl_chain *c,
			     struct np_report *report)
{
	char object[64], expected[96];
	uint32_t policy = nftnl_chain_get_u32(c, NFTNL_CHAIN_POLICY);
	uint32_t hook = nftnl_chain_get_u32(c, NFTNL_CHAIN_HOOKNUM);
	int32_t priority = nftnl_chain_get_s32(c, NFTNL_CHAIN_PRIO);
	const char *type = nftnl_chain_get_str(c, NFTNL_CHAIN_TYPE);

	snprintf(object, sizeof(object), "nft chain %s", want->name);
	if (!nftnl_chain_is_set(c, NFTNL_CHAIN_HOOKNUM)) {
		np_report_add(report, NP_DRIFT, object, "a base chain",
			      "one that hangs on no hook");
		return;
	}
	if (hook != want->hook || priority != want->priority || !type ||
	    strcmp(type, "filter") != 0) {
		snprintf(expected, sizeof(expected), "type filter hook %s priority %d",
			 want->hook_text, want->priority);
		np_report_add(report, NP_DRIFT, object, expected,
			      "type %s hook number %u priority %d", type ? type : "?", hook,
			      priority);
	}
	if (policy != want->policy) {
		snprintf(expected, sizeof(expected), "policy %s", policy_text(want->policy));
		np_report_add(report, NP_DRIFT, object, expected, "policy %s", policy_text(policy));
	}
}

static const struct np_chain *planned_chain(const struct np_plan *plan, const char *name)
{
	for (size_t i = 0; i < NP_N_CHAINS; i++)
		if (strcmp(plan->chains[i].name, name) == 0)
			return &plan->chains[i];
	return NULL;
}

static size_t rules_in(const struct np_kernel *k, const char *chain)
{
	size_t n = 0;

	for (size_t i = 0; i < k->n_rules; i++)
		n += strcmp(k->rules[i].chain, chain) == 0;
	return n;
}

static void check_chains(const struct np_plan *plan, const struct np_kernel *k,
			 struct np_report *report)
{
	char object[64];

	for (size_t i = 0; i < NP_N_CHAINS; i++) {
		const struct nftnl_chain *c = kernel_chain(k, plan->chains[i].name);

		if (c) {
			check_base_chain(&plan->chains[i], c, report);
			continue;
		}
		snprintf(object, sizeof(object), "nft chain %s", plan->chains[i].name);
		np_report_add(report, NP_DRIFT, object, "to be there", "nothing");
	}
	for (size_t i = 0; i < k->n_chains; i++) {
		const char *name = nftnl_chain_get_str(k->chains[i], NFTNL_CHAIN_NAME);

		if (planned_chain(plan, name))
			continue;
		snprintf(object, sizeof(object), "nft chain %.40s", name);
		np_report_add(report, NP_DRIFT, object, "not to be there",
			      "an added %schain with %zu rule(s)",
			      nftnl_chain_is_set(k->chains[i], NFTNL_CHAIN_HOOKNUM) ? "base " : "",
			      rules_in(k, name));
	}
}

/* ---- rules of one chain ---- */

struct rule_row {
	const char *nft;	/* borrowed; spelling of a planned rule, or NULL */
	char *text;		/* comparable form; owned if nft */
	bool matched;
};

struct rule_rows {
	struct rule_row *rows;	/* owned */
	size_t n;
};

static void rows_release(struct rule_rows *rows)
{
	for (size_t i = 0; i < rows->n; i++)
		if (rows->rows[i].nft)
			free(rows->rows[i].text);
	free(rows->rows);
}

static bool rows_planned(const struct np_plan *plan, const char *chain, struct rule_rows *out)
{
	out->n = 0;
	out->rows = calloc(plan->n_rules + 1, sizeof(*out->rows));
	if (!out->rows)
		return false;
	for (size_t i = 0; i < plan->n_rules; i++) {
		struct nftnl_rule *wire;
		char *text;

		if (strcmp(plan->rules[i].chain, chain) != 0)
			continue;
		wire = np_wire_rule(plan, &plan->rules[i]);
		text = wire ? np_wire_rule_text(wire) : NULL;
		if (wire)
			nftnl_rule_free(wire);
		if (!text)
			return false;
		out->rows[out->n++] = (struct rule_row){ .nft = plan->rules[i].text, .text = text };
	}
	return true;
}

static bool rows_kernel(const struct np_kernel *k, const char *chain, struct rule_rows *out)
{
	out->n = 0;
	out->rows = calloc(k->n_rules + 1, sizeof(*out->rows));
	if (!out->rows)
		return false;
	for (size_t i = 0; i < k->n_rules; i++)
		if (strcmp(k->rules[i].chain, chain) == 0)
			out->rows[out->n++] = (struct rule_row){ .text = k->rules[i].text };
	return true;
}

/* Marks the rows of a longest common subsequence; false when out of memory. */
static bool rows_align(struct rule_rows *want, struct rule_rows *have)
{
	size_t w = want->n, h = have->n > COMPARED_RULES_MAX ? COMPARED_RULES_MAX : have->n;
	/* The longest for the suffixes from (i, j). */
	uint16_t *best = calloc((w + 1) * (h + 1), sizeof(*best));
	size_t i, j;

	if (!best)
		return false;
	for (i = w; i-- > 0;)
		for (j = h; j-- > 0;) {
			uint16_t down = best[(i + 1) * (h + 1) + j],
				 right = best[i * (h + 1) + j + 1];

			if (strcmp(want->rows[i].text, have->rows[j].text) == 0)
				best[i * (h + 1) + j] =
					(uint16_t)(best[(i + 1) * (h + 1) + j + 1] + 1);
			else
				best[i * (h + 1) + j] = down > right ? down : right;
		}
	for (i = 0, j = 0; i < w && j < h;) {
		if (strcmp(want->rows[i].text, have->rows[j].text) == 0) {
			want->rows[i++].matched = true;
			have->rows[j++].matched = true;
		} else if (best[(i + 1) * (h + 1) + j] >= best[i * (h + 1) + j + 1]) {
			i++;
		} else {
			j++;
		}
	}
	free(best);
	return true;
}

static const char *spelling(const struct rule_rows *want, const char *text)
{
	for (size_t i = 0; i < want->n; i++)
		if (strcmp(want->rows[i].text, text) == 0)
			return want->rows[i].nft;
	return NULL;
}

static void rules_tell(const char *chain, const struct rule_rows *want,
		       const struct rule_rows *have, struct np_report *report)
{
	char object[96];

	for (size_t i = 0; i < want->n; i++) {
		if (want->rows[i].matched)
			continue;
		snprintf(object, sizeof(object), "nft chain %.40s, planned rule %zu", chain, i + 1);
		np_report_add(report, NP_DRIFT, object, want->rows[i].nft,
			      "it missing at this place");
	}
	for (size_t j = 0; j < have->n; j++) {
		const char *nft = spelling(want, have->rows[j].text);

		if (have->rows[j].matched)
			continue;
		snprintf(object, sizeof(object), "nft chain %.40s, rule %zu in the kernel", chain,
			 j + 1);
		np_report_add(report, NP_DRIFT, object, "not to be there", "%s",
			      nft ? nft : have->rows[j].text);
	}
}

static void check_rules(const struct np_plan *plan, const struct np_kernel *k, const char *chain,
			struct np_report *report)
{
	struct rule_rows want = { 0 }, have = { 0 };

	if (rows_planned(plan, chain, &want) && rows_kernel(k, chain, &have) &&
	    rows_align(&want, &have))
		rules_tell(chain, &want, &have, report);
	else
		np_report_errno(report, "comparing rules", ENOMEM, "");
	rows_release(&want);
	rows_release(&have);
}

/* ---- all ---- */

static void check_all(const struct np_plan *plan, struct np_kernel *k, struct np_report *report)
{
	check_table(k, report);
	if (!k->table_present) {
		np_report_add(report, NP_DRIFT, "nft table " NP_TABLE_NAME, "to be there",
			      "nothing (agents are not captured; forwarding is not blocked)");
		return;
	}
	check_chains(plan, k, report);
	for (size_t i = 0; i < NP_N_CHAINS; i++)
		if (kernel_chain(k, plan->chains[i].name))
			check_rules(plan, k, plan->chains[i].name, report);
	np_nft_check_sets(plan, k, report);
}

void np_nft_check(const struct np_plan *plan, struct np_report *report)
{
	struct np_nl nl;
	struct np_kernel kernel = { 0 };
	int code = np_nl_open(&nl, NETLINK_NETFILTER);

	/* Someone may change the ruleset while it is read; a consistent reading or none. */
	for (int i = 0; code == 0 || (code == EINTR && i < READ_TRIES); i++) {
		np_kernel_release(&kernel);
		code = np_kernel_read(&nl, &kernel);
		if (code == 0)
			break;
	}
	if (code)
		np_report_errno(report, "reading nftables", code, nl.detail);
	else
		check_all(plan, &kernel, report);
	np_kernel_release(&kernel);
	np_nl_close(&nl);
}
