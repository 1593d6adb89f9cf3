/*
 * rtnl.c - ip rules, routes and links through rtnetlink: parse, build, delete
 *
 * Nothing here knows the plan's intent beyond the messages it asks for.
 */
#include <errno.h>
#include <linux/fib_rules.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "netpolicy/rtnl_internal.h"

#define RECORDS_MAX 1000000

static struct nlmsghdr *message_copy(const struct nlmsghdr *nlh)
{
	struct nlmsghdr *copy = malloc(nlh->nlmsg_len);

	if (copy)
		memcpy(copy, nlh, nlh->nlmsg_len);
	return copy;
}

static int no_memory(void)
{
	errno = ENOMEM;
	return MNL_CB_ERROR;
}

/* Arrays double whenever their length is a power of two. */
static void *array_more(void *array, size_t n, size_t size)
{
	if (n > RECORDS_MAX)
		return NULL;
	return n & (n - 1) ? array : reallocarray(array, n ? n * 2 : 1, size);
}

static uint32_t attr_u32(const struct nlattr *attr)
{
	return mnl_attr_validate(attr, MNL_TYPE_U32) < 0 ? 0 : mnl_attr_get_u32(attr);
}

/* ---- rules ---- */

static void rule_attr(struct np_ip_rule *rule, const struct nlattr *attr)
{
	switch (mnl_attr_get_type(attr)) {
	case FRA_PRIORITY:
		rule->pref = attr_u32(attr);
		break;
	case FRA_FWMARK:
		rule->mark = attr_u32(attr);
		break;
	case FRA_FWMASK:
		rule->mask = attr_u32(attr);
		break;
	case FRA_TABLE:
		rule->table = attr_u32(attr);
		break;
	case FRA_SUPPRESS_PREFIXLEN:
		rule->narrowed = rule->narrowed || attr_u32(attr) != UINT32_MAX;
		break;
	case FRA_PROTOCOL:
	case FRA_PAD:
		break;
	default:
		rule->narrowed = true;
	}
}

static int on_rule(const struct nlmsghdr *nlh, void *arg)
{
	struct np_ip_rules *out = arg;
	const struct fib_rule_hdr *hdr = mnl_nlmsg_get_payload(nlh);
	struct np_ip_rule rule = { 0 };
	struct nlattr *attr;
	void *items;

	if (mnl_nlmsg_get_payload_len(nlh) < sizeof(*hdr) || hdr->family != out->family)
		return MNL_CB_OK;
	rule.family = hdr->family;
	rule.action = hdr->action;
	rule.table = hdr->table;
	rule.narrowed = hdr->src_len || hdr->dst_len || hdr->tos || (hdr->flags & FIB_RULE_INVERT);
	mnl_attr_for_each(attr, nlh, sizeof(*hdr))
		rule_attr(&rule, attr);
	items = array_more(out->items, out->n, sizeof(*out->items));
	if (items)
		out->items = items;
	rule.raw = items ? message_copy(nlh) : NULL;
	if (!rule.raw)
		return no_memory();
	out->items[out->n++] = rule;
	return MNL_CB_OK;
}

int np_rtnl_rules(struct np_nl *nl, uint8_t family, struct np_ip_rules *out)
{
	char buf[256];
	struct nlmsghdr *nlh = np_nl_request(nl, buf, RTM_GETRULE, 0);
	struct fib_rule_hdr *hdr = mnl_nlmsg_put_extra_header(nlh, sizeof(*hdr));

	memset(out, 0, sizeof(*out));
	out->family = family;
	hdr->family = family;
	return np_nl_dump(nl, nlh, on_rule, out);
}

void np_ip_rules_release(struct np_ip_rules *rules)
{
	for (size_t i = 0; i < rules->n; i++)
		free(rules->items[i].raw);
	free(rules->items);
	rules->items = NULL;
	rules->n = 0;
}

int np_rtnl_rule_add(struct np_nl *nl, uint8_t family, const struct np_plan *plan)
{
	char buf[256];
	struct nlmsghdr *nlh = np_nl_request(nl, buf, RTM_NEWRULE, NLM_F_CREATE | NLM_F_EXCL);
	struct fib_rule_hdr *hdr = mnl_nlmsg_put_extra_header(nlh, sizeof(*hdr));

	/* ip rule add pref PREF fwmark MARK lookup TABLE */
	hdr->family = family;
	hdr->action = FR_ACT_TO_TBL;
	hdr->table = RT_TABLE_UNSPEC;
	mnl_attr_put_u32(nlh, FRA_PRIORITY, NP_RULE_PREF);
	mnl_attr_put_u32(nlh, FRA_FWMARK, plan->mark);
	mnl_attr_put_u32(nlh, FRA_FWMASK, UINT32_MAX);
	mnl_attr_put_u32(nlh, FRA_TABLE, plan->table);
	mnl_attr_put_u8(nlh, FRA_PROTOCOL, RTPROT_STATIC);
	return np_nl_do(nl, nlh);
}

const char *np_ip_rule_text(const struct np_ip_rule *rule, char dst[NP_ROUTE_TEXT_MAX])
{
	int n = snprintf(dst, NP_ROUTE_TEXT_MAX, "pref %u", rule->pref);

	if (rule->mark || rule->mask)
		n += snprintf(dst + n, NP_ROUTE_TEXT_MAX - (size_t)n, " fwmark 0x%x", rule->mark);
	if (rule->mask && rule->mask != UINT32_MAX)
		n += snprintf(dst + n, NP_ROUTE_TEXT_MAX - (size_t)n, "/0x%x", rule->mask);
	if (rule->action == FR_ACT_TO_TBL)
		n += snprintf(dst + n, NP_ROUTE_TEXT_MAX - (size_t)n, " lookup %u", rule->table);
	else
		n += snprintf(dst + n, NP_ROUTE_TEXT_MAX - (size_t)n, " action %u", rule->action);
	if (rule->narrowed)
		snprintf(dst + n, NP_ROUTE_TEXT_MAX - (size_t)n, " (with further conditions)");
	return dst;
}

/* ---- routes ---- */

static void attr_address(const struct nlattr *attr, uint8_t family, uint8_t out[16])
{
	size_t len = family == AF_INET ? 4 : 16;

	if (mnl_attr_get_payload_len(attr) == len)
		memcpy(out, mnl_attr_get_payload(attr), len);
}

static void route_attr(struct np_ip_route *route, const struct nlattr *attr)
{
	switch (mnl_attr_get_type(attr)) {
	case RTA_DST:
		attr_address(attr, route->family, route->dst);
		break;
	case RTA_GATEWAY:
		route->via.family = route->family;
		attr_address(attr, route->family, route->via.ip);
		break;
	case RTA_VIA: {
		/* IPv4 through an IPv6 gateway (RFC 5549) */
		const struct rtvia *via = mnl_attr_get_payload(attr);

		if (mnl_attr_get_payload_len(attr) == sizeof(*via) + 16) {
			route->via.family = AF_INET6;
			memcpy(route->via.ip, via->rtvia_addr, 16);
		}
		break;
	}
	case RTA_OIF:
		route->oif = attr_u32(attr);
		break;
	case RTA_PRIORITY:
		route->metric = attr_u32(attr);
		break;
	case RTA_TABLE:
		route->table = attr_u32(attr);
		break;
	case RTA_MULTIPATH:
		route->multipath = true;
		break;
	default:
		break;
	}
}

static int on_route(const struct nlmsghdr *nlh, void *arg)
{
	struct np_ip_routes *out = arg;
	const struct rtmsg *hdr = mnl_nlmsg_get_payload(nlh);
	struct np_ip_route route = { 0 };
	struct nlattr *attr;
	void *items;

	if (mnl_nlmsg_get_payload_len(nlh) < sizeof(*hdr) || hdr->rtm_family != out->family ||
	    (hdr->rtm_flags & RTM_F_CLONED))
		return MNL_CB_OK;
	route.family = hdr->rtm_family;
	route.type = hdr->rtm_type;
	route.bits = hdr->rtm_dst_len;
	route.table = hdr->rtm_table;
	mnl_attr_for_each(attr, nlh, sizeof(*hdr))
		route_attr(&route, attr);
	if (out->wanted && !out->wanted(&route, out->arg))
		return MNL_CB_OK;
	items = array_more(out->items, out->n, sizeof(*out->items));
	if (items)
		out->items = items;
	route.raw = items ? message_copy(nlh) : NULL;
	if (!route.raw)
		return no_memory();
	out->items[out->n++] = route;
	return MNL_CB_OK;
}

int np_rtnl_routes(struct np_nl *nl, uint8_t family, struct np_ip_routes *out)
{
	char buf[256];
	struct nlmsghdr *nlh = np_nl_request(nl, buf, RTM_GETROUTE, 0);
	struct rtmsg *hdr = mnl_nlmsg_put_extra_header(nlh, sizeof(*hdr));

	out->items = NULL;
	out->n = 0;
	out->family = family;
	hdr->rtm_family = family;
	return np_nl_dump(nl, nlh, on_route, out);
}

void np_ip_routes_release(struct np_ip_routes *routes)
{
	for (size_t i = 0; i < routes->n; i++)
		free(routes->items[i].raw);
	free(routes->items);
	routes->items = NULL;
	routes->n = 0;
}

int np_rtnl_local_route_add(struct np_nl *nl, uint8_t family, uint32_t table, uint32_t oif)
{
	char buf[256];
	struct nlmsghdr *nlh = np_nl_request(nl, buf, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE);
	struct rtmsg *hdr = mnl_nlmsg_put_extra_header(nlh, sizeof(*hdr));

	/* ip route replace local default dev lo table TABLE */
	hdr->rtm_family = family;
	hdr->rtm_type = RTN_LOCAL;
	hdr->rtm_scope = RT_SCOPE_HOST;
	hdr->rtm_protocol = RTPROT_STATIC;
	hdr->rtm_table = RT_TABLE_UNSPEC;
	mnl_attr_put_u32(nlh, RTA_TABLE, table);
	mnl_attr_put_u32(nlh, RTA_OIF, oif);
	return np_nl_do(nl, nlh);
}

int np_rtnl_default_add(struct np_nl *nl, const struct addr *via, uint32_t oif)
{
	char buf[256];
	struct nlmsghdr *nlh = np_nl_request(nl, buf, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE);
	struct rtmsg *hdr = mnl_nlmsg_put_extra_header(nlh, sizeof(*hdr));

	/* ip route replace default via ADDR [dev IF] */
	hdr->rtm_family = via->family;
	hdr->rtm_type = RTN_UNICAST;
	hdr->rtm_scope = RT_SCOPE_UNIVERSE;
	hdr->rtm_protocol = RTPROT_STATIC;
	hdr->rtm_table = RT_TABLE_MAIN;
	mnl_attr_put(nlh, RTA_GATEWAY, via->family == AF_INET ? 4 : 16, via->ip);
	if (oif)
		mnl_attr_put_u32(nlh, RTA_OIF, oif);
	return np_nl_do(nl, nlh);
}

static const char *route_type(uint8_t type)
{
	switch (type) {
	case RTN_UNICAST: return "";
	case RTN_LOCAL: return "local ";
	case RTN_BLACKHOLE: return "blackhole ";
	case RTN_UNREACHABLE: return "unreachable ";
	case RTN_PROHIBIT: return "prohibit ";
	default: return "other ";
	}
}

const char *np_ip_route_text(const struct np_ip_route *route, char dst[NP_ROUTE_TEXT_MAX])
{
	struct addr to = { .family = route->family };
	char address[ADDR_TEXT_MAX], text[ADDR_TEXT_MAX + 8], dev[IF_NAMESIZE],
		via[ADDR_TEXT_MAX + 8] = "";
	const char *name = route->oif ? if_indextoname(route->oif, dev) : NULL;

	memcpy(to.ip, route->dst, sizeof(to.ip));
	if (route->bits == 0)
		snprintf(text, sizeof(text), "default");
	else
		snprintf(text, sizeof(text), "%s/%u", addr_ip_text(&to, address), route->bits);
	if (route->via.family) {
		char gateway[ADDR_TEXT_MAX];

		snprintf(via, sizeof(via), " via %s", addr_ip_text(&route->via, gateway));
	}
	snprintf(dst, NP_ROUTE_TEXT_MAX, "%s%s%s%s%s table %u metric %u%s", route_type(route->type),
		 text, via, name ? " dev " : "", name ? name : "", route->table, route->metric,
		 route->multipath ? " (several next hops)" : "");
	return dst;
}

/* ---- both ---- */

int np_rtnl_delete(struct np_nl *nl, const struct nlmsghdr *raw, uint16_t type)
{
	struct nlmsghdr *nlh = message_copy(raw);
	int code;

	if (!nlh)
		return ENOMEM;
	nlh->nlmsg_type = type;
	nlh->nlmsg_flags = NLM_F_REQUEST;
	nlh->nlmsg_seq = ++nl->seq;
	nlh->nlmsg_pid = 0;
	code = np_nl_do(nl, nlh);
	free(nlh);
	return code == ENOENT || code == ESRCH ? 0 : code;
}

/* ---- links ---- */

int np_rtnl_link_up(struct np_nl *nl, uint32_t index)
{
	char buf[256];
	struct nlmsghdr *nlh = np_nl_request(nl, buf, RTM_NEWLINK, 0);
	struct ifinfomsg *hdr = mnl_nlmsg_put_extra_header(nlh, sizeof(*hdr));

	hdr->ifi_family = AF_UNSPEC;
	hdr->ifi_index = (int)index;
	hdr->ifi_flags = IFF_UP;
	hdr->ifi_change = IFF_UP;
	return np_nl_do(nl, nlh);
}

bool np_rtnl_link_is_up(const char *name)
{
	struct ifreq request = { 0 };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	bool up;

	if (fd < 0)
		return false;
	snprintf(request.ifr_name, sizeof(request.ifr_name), "%s", name);
	up = ioctl(fd, SIOCGIFFLAGS, &request) == 0 && (request.ifr_flags & IFF_UP);
	close(fd);
	return up;
}

bool np_ipv6_is_on(void)
{
	FILE *f = fopen("/proc/sys/net/ipv6/conf/lo/disable_ipv6", "re");
	int off;

	if (!f)
		return false;
	off = fgetc(f);
	fclose(f);
	return off == '0';
}
