/*
 * rtnl_internal.h - ip rules, routes and links, as the kernel lists them
 *
 * Each record keeps the message it came in: sent back with another type it deletes exactly that
 * rule or route.
 */
#pragma once

#include "netpolicy/kernel_internal.h"

struct np_ip_rule {
	uint8_t family;
	uint8_t action;		/* FR_ACT_* */
	uint32_t pref, mark, mask, table;
	bool narrowed;		/* selects by more than the mark, or inverted */
	struct nlmsghdr *raw;	/* owned */
};

struct np_ip_route {
	uint8_t family;
	uint8_t type;		/* RTN_* */
	uint8_t bits;		/* of the destination */
	uint8_t dst[16];
	uint32_t table, metric;
	uint32_t oif;		/* 0: none or several */
	struct addr via;	/* family 0: none */
	bool multipath;
	struct nlmsghdr *raw;	/* owned */
};

struct np_ip_rules {
	struct np_ip_rule *items;	/* owned */
	size_t n;
	uint8_t family;
};

struct np_ip_routes {
	struct np_ip_route *items;	/* owned */
	size_t n;
	uint8_t family;
	bool (*wanted)(const struct np_ip_route *route, const void *arg);	/* NULL: all */
	const void *arg;
};

/* All return 0 or an errno, with the kernel's words in nl->detail. */
int np_rtnl_rules(struct np_nl *nl, uint8_t family, struct np_ip_rules *out);
/* out->wanted chooses which; release in any case. */
int np_rtnl_routes(struct np_nl *nl, uint8_t family, struct np_ip_routes *out);
int np_rtnl_rule_add(struct np_nl *nl, uint8_t family, const struct np_plan *plan);
int np_rtnl_local_route_add(struct np_nl *nl, uint8_t family, uint32_t table, uint32_t oif);
int np_rtnl_default_add(struct np_nl *nl, const struct addr *via, uint32_t oif);
/* Deletes what `raw` lists; one that is gone already is no error. */
int np_rtnl_delete(struct np_nl *nl, const struct nlmsghdr *raw, uint16_t type);
int np_rtnl_link_up(struct np_nl *nl, uint32_t index);
bool np_rtnl_link_is_up(const char *name);
void np_ip_rules_release(struct np_ip_rules *rules);
void np_ip_routes_release(struct np_ip_routes *routes);

#define NP_ROUTE_TEXT_MAX 256
/* As `ip rule` and `ip route` would say it; returns dst. */
const char *np_ip_rule_text(const struct np_ip_rule *rule, char dst[NP_ROUTE_TEXT_MAX]);
const char *np_ip_route_text(const struct np_ip_route *route, char dst[NP_ROUTE_TEXT_MAX]);
/* Whether lo speaks IPv6 in this network namespace. */
bool np_ipv6_is_on(void);
