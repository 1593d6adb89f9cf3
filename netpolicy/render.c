/*
 * render.c - the plan as a person would type it
 *
 * The whole output is one valid nft file: `netpolicy render | nft -f -` sets up the table
 * (atomically: the table is made, deleted and made again, so that it also replaces an older one).
 * The ip and sysctl commands stand behind it as comments, ready to be copied.
 */
#include <netinet/in.h>
#include <linux/netfilter.h>

#include "netpolicy/plan_internal.h"

static enum err render_set(const struct np_set *set, struct buf *out)
{
	static const char *const types[] = { "ifname", "ipv4_addr", "ipv6_addr" };
	char text[NP_RANGE_TEXT_MAX];

	TRY(buf_printf(out, "\tset %s {\n\t\ttype %s\n", set->name, types[set->type]));
	if (set->type != NP_SET_IFNAME)
		TRY(buf_append_str(out, "\t\tflags interval\n"));
	for (size_t i = 0; i < set->n; i++)
		TRY(buf_printf(out, "%s%s", i == 0 ? "\t\telements = { " : ",\n\t\t\t     ",
			       np_range_text(set->type, &set->ranges[i], text)));
	if (set->n > 0)
		TRY(buf_append_str(out, " }\n"));
	return buf_append_str(out, "\t}\n\n");
}

static enum err render_chain(const struct np_plan *plan, const struct np_chain *chain,
			     struct buf *out)
{
	const char *why = NULL;

	TRY(buf_printf(out, "\tchain %s {\n\t\ttype filter hook %s priority %s; policy %s;\n",
		       chain->name, chain->hook_text, chain->priority_text,
		       chain->policy == NF_DROP ? "drop" : "accept"));
	for (size_t i = 0; i < plan->n_rules; i++) {
		const struct np_rule *rule = &plan->rules[i];

		if (strcmp(rule->chain, chain->name) != 0)
			continue;
		/* Literals the linker may or may not merge: compare what they say. */
		if (!why || strcmp(why, rule->why) != 0)
			TRY(buf_printf(out, "\t\t# %s\n", rule->why));
		why = rule->why;
		TRY(buf_printf(out, "\t\t%s\n", rule->text));
	}
	return buf_append_str(out, "\t}\n");
}

static enum err render_nft(const struct np_plan *plan, struct buf *out)
{
	TRY(buf_printf(out, "# Replaces an older table of this name in the same transaction.\n"
			    "table inet %s\ndelete table inet %s\n\ntable inet %s {\n",
		       NP_TABLE_NAME, NP_TABLE_NAME, NP_TABLE_NAME));
	for (size_t i = 0; i < NP_N_SETS; i++)
		TRY(render_set(&plan->sets[i], out));
	for (size_t i = 0; i < NP_N_CHAINS; i++) {
		if (i > 0)
			TRY(buf_append_str(out, "\n"));
		TRY(render_chain(plan, &plan->chains[i], out));
	}
	return buf_append_str(out, "}\n");
}

static enum err render_sysctls(const struct np_plan *plan, struct buf *out)
{
	TRY(buf_append_str(out, "\n# Kernel settings; forwarding first, it resets others.\n"));
	for (size_t i = 0; i < plan->n_sysctls; i++) {
		const struct np_sysctl *s = &plan->sysctls[i];

		if (strchr(s->path, '*'))
			TRY(buf_printf(out,
				       "# for f in /proc/sys/%s; do echo %s > \"$f\"; done\t# %s\n",
				       s->path, s->value, s->why));
		else
			TRY(buf_printf(out, "# sysctl -w %s=%s\t# %s\n", s->path, s->value,
				       s->why));
	}
	return ERR_OK;
}

static enum err render_routing(const struct np_plan *plan, struct buf *out)
{
	TRY(buf_append_str(out,
			   "\n# Marked packets are for this host, whatever their destination.\n"
			   "# ip link set lo up\n"));
	for (int v = 4; v <= 6; v += 2)
		TRY(buf_printf(out, "# ip -%d route replace local default dev lo table %u\n", v,
			       plan->table));
	for (int v = 4; v <= 6; v += 2)
		TRY(buf_printf(out, "# ip -%d rule add pref %d fwmark 0x%x lookup %u\n", v,
			       NP_RULE_PREF, plan->mark, plan->table));
	return ERR_OK;
}

enum err np_render_text(const struct np_plan *plan, struct buf *out)
{
	TRY(render_nft(plan, out));
	TRY(render_sysctls(plan, out));
	return render_routing(plan, out);
}
