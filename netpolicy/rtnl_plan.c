/*
 * rtnl_plan.c - the ip rule and the local route, both families: apply, check, remove
 *
 * Ours is every rule that bears our mark or leads to our table, and every route in our table; there
 * shall be exactly one of each. What is not as planned is deleted and made anew. In between marked
 * packets find no local route and die in the forward chain: closed, not open.
 */
#include <linux/fib_rules.h>
#include <linux/rtnetlink.h>
#include <net/if.h>

#include "netpolicy/rtnl_internal.h"

enum rtnl_job { RTNL_APPLY, RTNL_CHECK, RTNL_REMOVE };

struct rtnl_work {
	struct np_nl nl;
	const struct np_plan *plan;	/* borrowed */
	struct np_report *report;	/* borrowed */
	enum rtnl_job job;
	uint8_t family;
	uint32_t lo;			/* its index */
};

static int family_number(const struct rtnl_work *w)
{
	return w->family == AF_INET ? 4 : 6;
}

static void fail(struct rtnl_work *w, const char *what, int code)
{
	char object[64];

	snprintf(object, sizeof(object), "%s (IPv%d)", what, family_number(w));
	np_report_errno(w->report, object, code, w->nl.detail);
}

static void drift(struct rtnl_work *w, const char *what, const char *expected, const char *found)
{
	char object[64];

	snprintf(object, sizeof(object), "%s (IPv%d)", what, family_number(w));
	np_report_add(w->report, NP_DRIFT, object, expected, "%s", found);
}

/* ---- rule ---- */

static bool rule_is_ours(const struct rtnl_work *w, const struct np_ip_rule *r)
{
	return r->mark == w->plan->mark ||
	       (r->action == FR_ACT_TO_TBL && r->table == w->plan->table);
}

static bool rule_is_planned(const struct rtnl_work *w, const struct np_ip_rule *r)
{
	return r->mark == w->plan->mark && r->mask == UINT32_MAX && r->action == FR_ACT_TO_TBL &&
	       r->table == w->plan->table && r->pref == NP_RULE_PREF && !r->narrowed;
}

/* A rule of others that could take captured packets elsewhere before ours is asked. */
static bool rule_is_in_the_way(const struct np_ip_rule *r)
{
	bool local = r->pref == 0 && r->action == FR_ACT_TO_TBL && r->table == RT_TABLE_LOCAL;

	return r->pref <= NP_RULE_PREF && !local;
}

static void rules_check(struct rtnl_work *w, const struct np_ip_rules *rules)
{
	char expected[NP_ROUTE_TEXT_MAX], found[NP_ROUTE_TEXT_MAX];
	size_t planned = 0;

	snprintf(expected, sizeof(expected), "pref %d fwmark 0x%x lookup %u", NP_RULE_PREF,
		 w->plan->mark, w->plan->table);
	for (size_t i = 0; i < rules->n; i++) {
		const struct np_ip_rule *r = &rules->items[i];

		np_ip_rule_text(r, found);
		if (rule_is_planned(w, r) && planned++ == 0)
			continue;
		if (rule_is_ours(w, r))
			drift(w, "ip rule", "only the planned one for our mark and table", found);
		else if (rule_is_in_the_way(r))
			drift(w, "ip rule", "no other before ours", found);
	}
	if (planned == 0)
		drift(w, "ip rule", expected, "it missing (captured packets are dropped)");
}

static void rules_note_others(struct rtnl_work *w, const struct np_ip_rules *rules)
{
	char found[NP_ROUTE_TEXT_MAX];

	for (size_t i = 0; i < rules->n; i++)
		if (!rule_is_ours(w, &rules->items[i]) && rule_is_in_the_way(&rules->items[i]))
			np_report_add(w->report, NP_NOTE, "ip rule", "",
				      "not ours but asked before ours: %s",
				      np_ip_rule_text(&rules->items[i], found));
}

static void rules_change(struct rtnl_work *w, const struct np_ip_rules *rules)
{
	size_t planned = 0;
	int code;

	for (size_t i = 0; i < rules->n; i++) {
		const struct np_ip_rule *r = &rules->items[i];

		if (!rule_is_ours(w, r))
			continue;
		if (w->job == RTNL_APPLY && rule_is_planned(w, r) && planned++ == 0)
			continue;
		code = np_rtnl_delete(&w->nl, r->raw, RTM_DELRULE);
		if (code)
			fail(w, "ip rule: deleting one", code);
	}
	if (w->job == RTNL_REMOVE || planned)
		return;
	code = np_rtnl_rule_add(&w->nl, w->family, w->plan);
	if (code)
		fail(w, "ip rule: adding it", code);
}

static void rules_do(struct rtnl_work *w)
{
	struct np_ip_rules rules;
	int code = np_rtnl_rules(&w->nl, w->family, &rules);

	if (code) {
		fail(w, "ip rule: listing", code);
	} else if (w->job == RTNL_CHECK) {
		rules_check(w, &rules);
	} else {
		rules_change(w, &rules);
		if (w->job == RTNL_APPLY)
			rules_note_others(w, &rules);
	}
	np_ip_rules_release(&rules);
}

/* ---- route ---- */

static bool route_in_table(const struct np_ip_route *r, const void *arg)
{
	return r->table == ((const struct np_plan *)arg)->table;
}

static bool route_is_planned(const struct rtnl_work *w, const struct np_ip_route *r)
{
	return r->type == RTN_LOCAL && r->bits == 0 && r->oif == w->lo && !r->via.family &&
	       !r->multipath;
}

static void routes_check(struct rtnl_work *w, const struct np_ip_routes *routes)
{
	char expected[NP_ROUTE_TEXT_MAX], found[NP_ROUTE_TEXT_MAX];
	size_t planned = 0;

	snprintf(expected, sizeof(expected), "local default dev lo table %u", w->plan->table);
	for (size_t i = 0; i < routes->n; i++)
		if (!route_is_planned(w, &routes->items[i]) || planned++ > 0)
			drift(w, "route", "only the planned one in our table",
			      np_ip_route_text(&routes->items[i], found));
	if (planned == 0)
		drift(w, "route", expected, "it missing (captured packets are dropped)");
}

static void routes_change(struct rtnl_work *w, const struct np_ip_routes *routes)
{
	size_t planned = 0;
	int code;

	for (size_t i = 0; i < routes->n; i++) {
		if (w->job == RTNL_APPLY && route_is_planned(w, &routes->items[i]) &&
		    planned++ == 0)
			continue;
		code = np_rtnl_delete(&w->nl, routes->items[i].raw, RTM_DELROUTE);
		if (code)
			fail(w, "route: deleting one", code);
	}
	if (w->job == RTNL_REMOVE || planned)
		return;
	code = np_rtnl_local_route_add(&w->nl, w->family, w->plan->table, w->lo);
	if (code)
		fail(w, "route: adding it", code);
}

static void routes_do(struct rtnl_work *w)
{
	struct np_ip_routes routes = { .wanted = route_in_table, .arg = w->plan };
	int code = np_rtnl_routes(&w->nl, w->family, &routes);

	if (code)
		fail(w, "route: listing", code);
	else if (w->job == RTNL_CHECK)
		routes_check(w, &routes);
	else
		routes_change(w, &routes);
	np_ip_routes_release(&routes);
}

/* ---- all ---- */

/* Routes cannot stand on a link that is down. */
static void link_do(struct rtnl_work *w)
{
	int code;

	if (w->job == RTNL_REMOVE || np_rtnl_link_is_up("lo"))
		return;
	if (w->job == RTNL_CHECK) {
		np_report_add(w->report, NP_DRIFT, "link lo", "up", "down");
		return;
	}
	code = np_rtnl_link_up(&w->nl, w->lo);
	if (code)
		np_report_errno(w->report, "link lo: setting it up", code, w->nl.detail);
}

static void rtnl_do(const struct np_plan *plan, struct np_report *report, enum rtnl_job job)
{
	static const uint8_t families[] = { AF_INET, AF_INET6 };
	struct rtnl_work w = { .plan = plan, .report = report, .job = job };
	int code = np_nl_open(&w.nl, NETLINK_ROUTE);

	if (code) {
		np_report_errno(report, "route netlink socket", code, "");
		np_nl_close(&w.nl);
		return;
	}
	w.lo = if_nametoindex("lo");
	link_do(&w);
	for (size_t i = 0; i < ARRAY_SIZE(families); i++) {
		w.family = families[i];
		if (w.family == AF_INET6 && !np_ipv6_is_on()) {
			if (job != RTNL_REMOVE)
				np_report_add(report, NP_NOTE, "IPv6", "",
					      "off on lo: no rule and route, agents' IPv6 packets "
					      "are dropped");
			continue;
		}
		routes_do(&w);
		rules_do(&w);
	}
	np_nl_close(&w.nl);
}

void np_rtnl_apply(const struct np_plan *plan, struct np_report *report)
{
	rtnl_do(plan, report, RTNL_APPLY);
}

void np_rtnl_check(const struct np_plan *plan, struct np_report *report)
{
	rtnl_do(plan, report, RTNL_CHECK);
}

void np_rtnl_remove(const struct np_plan *plan, struct np_report *report)
{
	rtnl_do(plan, report, RTNL_REMOVE);
}
