/*
 * render_json.c - the plan for programs
 *
 * {"table":{family,name},"sets":[{name,type,interval,elements[]}],
 *  "chains":[{name,hook,priority,policy,rules:[{"rule","why"}]}],
 *  "ip_rules":[{family,pref,fwmark,table}],"routes":[{family,type,destination,device,table}],
 *  "sysctls":[{path,value,why,optional,covered}]}
 */
#include <netinet/in.h>
#include <linux/netfilter.h>

#include "netpolicy/plan_internal.h"

/* Appends "key":"value", quoted as JSON wants it. */
static enum err pair(struct buf *out, const char *key, const char *value)
{
	TRY(buf_printf(out, "\"%s\":", key));
	return json_append_string(out, bytes_str(value));
}

static enum err json_sets(const struct np_plan *plan, struct buf *out)
{
	static const char *const types[] = { "ifname", "ipv4_addr", "ipv6_addr" };
	char text[NP_RANGE_TEXT_MAX];

	TRY(buf_append_str(out, "\"sets\":["));
	for (size_t i = 0; i < NP_N_SETS; i++) {
		const struct np_set *set = &plan->sets[i];

		TRY(buf_printf(out,
			       "%s{\"name\":\"%s\",\"type\":\"%s\",\"interval\":%s,\"elements\":[",
			       i ? "," : "", set->name, types[set->type],
			       set->type == NP_SET_IFNAME ? "false" : "true"));
		for (size_t k = 0; k < set->n; k++) {
			const char *element = set->type == NP_SET_IFNAME ?
				(const char *)set->ranges[k].from :
				np_range_text(set->type, &set->ranges[k], text);

			TRY(buf_append_str(out, k ? "," : ""));
			TRY(json_append_string(out, bytes_str(element)));
		}
		TRY(buf_append_str(out, "]}"));
	}
	return buf_append_str(out, "]");
}

static enum err json_rules(const struct np_plan *plan, const char *chain, struct buf *out)
{
	const char *comma = "";

	for (size_t i = 0; i < plan->n_rules; i++) {
		const struct np_rule *rule = &plan->rules[i];

		if (strcmp(rule->chain, chain) != 0)
			continue;
		TRY(buf_printf(out, "%s{", comma));
		TRY(pair(out, "rule", rule->text));
		TRY(buf_append_str(out, ","));
		TRY(pair(out, "why", rule->why));
		TRY(buf_append_str(out, "}"));
		comma = ",";
	}
	return ERR_OK;
}

static enum err json_chains(const struct np_plan *plan, struct buf *out)
{
	TRY(buf_append_str(out, ",\"chains\":["));
	for (size_t i = 0; i < NP_N_CHAINS; i++) {
		const struct np_chain *chain = &plan->chains[i];

		TRY(buf_printf(out,
			       "%s{\"name\":\"%s\",\"hook\":\"%s\",\"priority\":%d,\"policy\":"
			       "\"%s\",\"rules\":[",
			       i ? "," : "", chain->name, chain->hook_text, chain->priority,
			       chain->policy == NF_DROP ? "drop" : "accept"));
		TRY(json_rules(plan, chain->name, out));
		TRY(buf_append_str(out, "]}"));
	}
	return buf_append_str(out, "]");
}

static enum err json_routing(const struct np_plan *plan, struct buf *out)
{
	TRY(buf_append_str(out, ",\"ip_rules\":["));
	for (int v = 4; v <= 6; v += 2)
		TRY(buf_printf(out,
			       "%s{\"family\":\"ipv%d\",\"pref\":%d,\"fwmark\":%u,\"table\":%u}",
			       v == 6 ? "," : "", v, NP_RULE_PREF, plan->mark, plan->table));
	TRY(buf_append_str(out, "],\"routes\":["));
	for (int v = 4; v <= 6; v += 2)
		TRY(buf_printf(out,
			       "%s{\"family\":\"ipv%d\",\"type\":\"local\","
			       "\"destination\":\"default\",\"device\":\"lo\",\"table\":%u}",
			       v == 6 ? "," : "", v, plan->table));
	return buf_append_str(out, "]");
}

static enum err json_sysctls(const struct np_plan *plan, struct buf *out)
{
	TRY(buf_append_str(out, ",\"sysctls\":["));
	for (size_t i = 0; i < plan->n_sysctls; i++) {
		const struct np_sysctl *s = &plan->sysctls[i];

		TRY(buf_append_str(out, i ? ",{" : "{"));
		TRY(pair(out, "path", s->path));
		TRY(buf_append_str(out, ","));
		TRY(pair(out, "value", s->value));
		TRY(buf_append_str(out, ","));
		TRY(pair(out, "why", s->why));
		TRY(buf_printf(out, ",\"optional\":%s,\"covered\":%s}",
			       s->optional ? "true" : "false", s->covered ? "true" : "false"));
	}
	return buf_append_str(out, "]");
}

enum err np_render_json(const struct np_plan *plan, struct buf *out)
{
	TRY(buf_printf(out, "{\"table\":{\"family\":\"inet\",\"name\":\"%s\"},", NP_TABLE_NAME));
	TRY(json_sets(plan, out));
	TRY(json_chains(plan, out));
	TRY(json_routing(plan, out));
	TRY(json_sysctls(plan, out));
	return buf_append_str(out, "}\n");
}
