/*
 * agent_route.c - the agent's side: one default route, through the gateway, or none (REQ-1.1)
 *
 * A container network hands out a default route even when it is internal. All unicast default
 * routes of the network namespace, in whatever table, are deleted unless they are the wanted one;
 * then that one is made if missing. A family without a wanted gateway ends with none. Should adding
 * fail the agent has no way out: closed.
 */
#include <errno.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <unistd.h>

#include "netpolicy/rtnl_internal.h"

/* Unreachable and the like lead nowhere, local ones are the link's own capture. */
static bool route_leads_out(const struct np_ip_route *r, const void *arg)
{
	(void)arg;
	return r->bits == 0 && r->type == RTN_UNICAST;
}

static bool route_is_wanted(const struct np_ip_route *r, const struct addr *via, uint32_t oif)
{
	return via->family && r->table == RT_TABLE_MAIN && !r->multipath &&
	       addr_ip_eq(&r->via, via) && (!oif || r->oif == oif);
}

static void family_set(struct np_nl *nl, uint8_t family, const struct addr *via, uint32_t oif,
		       struct np_report *report)
{
	struct np_ip_routes routes = { .wanted = route_leads_out };
	const char *object = family == AF_INET ? "default route (IPv4)" : "default route (IPv6)";
	int code = np_rtnl_routes(nl, family, &routes);
	char text[NP_ROUTE_TEXT_MAX];
	size_t wanted = 0;

	for (size_t i = 0; i < routes.n && code == 0; i++) {
		if (route_is_wanted(&routes.items[i], via, oif) && wanted++ == 0)
			continue;
		code = np_rtnl_delete(nl, routes.items[i].raw, RTM_DELROUTE);
		if (code == 0)
			np_report_add(report, NP_NOTE, object, "", "removed: %s",
				      np_ip_route_text(&routes.items[i], text));
	}
	np_ip_routes_release(&routes);
	if (code == 0 && via->family && !wanted) {
		code = np_rtnl_default_add(nl, via, oif);
		if (code == 0)
			np_report_add(report, NP_NOTE, object, "", "set: via %s",
				      addr_ip_text(via, text));
	}
	if (code)
		np_report_errno(report, object, code, nl->detail);
}

/* What was just deleted may have hidden another; nothing is taken for granted. */
static void family_verify(struct np_nl *nl, uint8_t family, const struct addr *via, uint32_t oif,
			  struct np_report *report)
{
	struct np_ip_routes routes = { .wanted = route_leads_out };
	int code = np_rtnl_routes(nl, family, &routes);
	char text[NP_ROUTE_TEXT_MAX];

	if (code)
		np_report_errno(report, "default route: listing", code, nl->detail);
	for (size_t i = 0; i < routes.n; i++)
		if (!route_is_wanted(&routes.items[i], via, oif))
			np_report_add(report, NP_FAILURE, "default route", "", "still there: %s",
				      np_ip_route_text(&routes.items[i], text));
	np_ip_routes_release(&routes);
}

/*
 * A router advertisement must not bring another one; where /proc/sys is read-only that can only be
 * said.
 */
static void advertisements_ignore(struct np_report *report)
{
	struct np_sysctl setting = {
		.path = "net/ipv6/conf/*/accept_ra_defrtr",
		.value = "0",
		.why = "a router advertisement could bring another default route",
		.optional = true,
	};
	const struct np_plan plan = { .sysctls = &setting, .n_sysctls = 1 };
	struct np_report own = { 0 };

	np_sysctl_apply(&plan, &own);
	for (size_t i = 0; i < own.n; i++)
		np_report_add(report, NP_NOTE, own.items[i].object, "", "%s: %s", setting.why,
			      own.items[i].found);
	np_report_release(&own);
}

void np_agent_route_set(const struct np_agent_route *want, struct np_report *report)
{
	uint32_t oif = want->dev ? if_nametoindex(want->dev) : 0;
	struct np_nl nl;
	int code;

	if (want->dev && !oif) {
		np_report_add(report, NP_FAILURE, "default route", "", "no interface is named %s",
			      want->dev);
		return;
	}
	code = np_nl_open(&nl, NETLINK_ROUTE);
	if (code) {
		np_report_errno(report, "route netlink socket", code, "");
		np_nl_close(&nl);
		return;
	}
	family_set(&nl, AF_INET, &want->via4, oif, report);
	if (access("/proc/sys/net/ipv6", F_OK) == 0 || want->via6.family) {
		advertisements_ignore(report);
		family_set(&nl, AF_INET6, &want->via6, oif, report);
		family_verify(&nl, AF_INET6, &want->via6, oif, report);
	}
	family_verify(&nl, AF_INET, &want->via4, oif, report);
	np_nl_close(&nl);
}

static enum err routes_show(const struct np_ip_routes *routes, bool json, const char **comma,
			    struct buf *out)
{
	char text[NP_ROUTE_TEXT_MAX];

	for (size_t i = 0; i < routes->n; i++) {
		np_ip_route_text(&routes->items[i], text);
		if (json) {
			TRY(buf_append_str(out, *comma));
			TRY(json_append_string(out, bytes_str(text)));
		} else {
			TRY(buf_printf(out, "%s\n", text));
		}
		*comma = ",";
	}
	return ERR_OK;
}

enum err np_agent_route_show(bool json, struct buf *out, struct np_report *report)
{
	static const uint8_t families[] = { AF_INET, AF_INET6 };
	const char *comma = "";
	struct np_nl nl;
	int code = np_nl_open(&nl, NETLINK_ROUTE);
	enum err e = buf_append_str(out, json ? "{\"default_routes\":[" : "");

	for (size_t i = 0; i < ARRAY_SIZE(families) && code == 0 && e == ERR_OK; i++) {
		struct np_ip_routes routes = { .wanted = route_leads_out };

		code = np_rtnl_routes(&nl, families[i], &routes);
		if (code == 0)
			e = routes_show(&routes, json, &comma, out);
		np_ip_routes_release(&routes);
	}
	if (code)
		np_report_errno(report, "default route: listing", code, nl.detail);
	np_nl_close(&nl);
	if (e == ERR_OK && json)
		e = buf_append_str(out, "]}\n");
	return e;
}
