/*
 * netpolicy.c - apply, check and remove: the parts in the order that fails closed
 *
 * apply: nftables first, since its batch closes everything at once (forward drops, agents meet rules); then the
 * settings; rule and route last, since only they open the one way there is. A part that fails does not keep the others
 * from being done: more of the policy in force is never worse. remove goes the other way round, forwarding stays off.
 */
#include <net/if.h>

#include "netpolicy/kernel_internal.h"

static void interfaces_check(const struct np_plan *plan, enum np_finding_kind kind, struct np_report *report)
{
	const struct np_set *set = &plan->sets[NP_SET_INTERFACES];
	char object[64];

	for (size_t i = 0; i < set->n; i++) {
		const char *name = (const char *)set->ranges[i].from;

		if (if_nametoindex(name))
			continue;
		snprintf(object, sizeof(object), "interface %s", name);
		if (kind == NP_DRIFT)
			np_report_add(report, kind, object, "to be there", "nothing of that name");
		else
			np_report_add(report, kind, object, "",
				      "there is none of that name (gateway.agent_interfaces)");
	}
}

void np_apply(const struct np_plan *plan, struct np_report *report)
{
	interfaces_check(plan, NP_FAILURE, report);
	np_nft_apply(plan, report);
	np_sysctl_apply(plan, report);
	np_rtnl_apply(plan, report);
}

void np_check(const struct np_plan *plan, struct np_report *report)
{
	interfaces_check(plan, NP_DRIFT, report);
	np_nft_check(plan, report);
	np_sysctl_check(plan, report);
	np_rtnl_check(plan, report);
}

void np_remove(const struct np_plan *plan, struct np_report *report)
{
	np_sysctl_close(plan, report);
	np_rtnl_remove(plan, report);
	np_nft_remove(report);
}
