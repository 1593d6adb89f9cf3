/*
 * netpolicy.c - apply, check and remove: the parts in the order that fails closed
 *
 * apply: nftables first, since its batch closes everything at once (forward drops, agents meet
 * rules); then the settings; rule and route last, since only they open the one way there is. A part
 * that fails does not keep the others from being done: more of the policy in force is never worse.
 * remove goes the other way round, forwarding stays off.
 */
#include <errno.h>
#include <net/if.h>

#include "netpolicy/kernel_internal.h"

static void interfaces_check(const struct np_plan *plan, enum np_finding_kind kind,
			     struct np_report *report)
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
	/* Without the privilege every other part would only say the same. */
	if (np_nft_apply(plan, report) == EPERM)
		return;
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
	size_t before = np_report_count(report, NP_FAILURE);

	np_sysctl_close(plan, report);
	np_rtnl_remove(plan, report);
	/*
	 * While forwarding could not be switched off the table is what keeps packets in: it stays.
	 */
	if (np_report_count(report, NP_FAILURE) == before)
		(void)np_nft_remove(report);
	else
		np_report_add(report, NP_FAILURE, "nft table " NP_TABLE_NAME, "",
			      "kept, since the rest failed");
}
