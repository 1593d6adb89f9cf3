/*
 * kernel_internal.h - what the parts that talk to the kernel share
 */
#pragma once

#include <libmnl/libmnl.h>

#include "netpolicy/netpolicy.h"

/* ---- report ---- */

void np_report_add(struct np_report *report, enum np_finding_kind kind, const char *object,
		   const char *expected, const char *fmt, ...) PRINTF_LIKE(5, 6);
/*
 * A failure told by errno, with what privilege is missing when that is the reason; `detail` may be
 * "".
 */
void np_report_errno(struct np_report *report, const char *object, int code, const char *detail);

/* ---- netlink: one socket, numbered requests, every answer checked ---- */

#define NP_NL_DETAIL_MAX 128
#define NP_NL_BUF (64 * 1024)

struct np_nl {
	struct mnl_socket *socket;	/* owned */
	uint32_t portid;
	uint32_t seq;			/* of the last request */
	char detail[NP_NL_DETAIL_MAX];	/* the kernel's own words on the last error, or "" */
	char *rx;			/* owned; NP_NL_BUF */
};

/*
 * `bus` is NETLINK_ROUTE or NETLINK_NETFILTER. Returns 0 or an errno; np_nl_close() is safe in both
 * cases.
 */
int np_nl_open(struct np_nl *nl, int bus);
void np_nl_close(struct np_nl *nl);
/* Header of a request in `buf`; NLM_F_REQUEST is added, the sequence number is the next one. */
struct nlmsghdr *np_nl_request(struct np_nl *nl, void *buf, uint16_t type, uint16_t flags);
/* Sends one request with NLM_F_ACK and waits for its ack. Returns 0 or an errno. */
int np_nl_do(struct np_nl *nl, struct nlmsghdr *nlh);
/*
 * Sends one dump request and calls `each` per message. Returns 0 or an errno (EINTR: it changed
 * meanwhile).
 */
int np_nl_dump(struct np_nl *nl, struct nlmsghdr *nlh, mnl_cb_t each, void *arg);
/* Sends one request that is answered by one message, then the ack. Returns 0 or an errno. */
int np_nl_get(struct np_nl *nl, struct nlmsghdr *nlh, mnl_cb_t each, void *arg);
/* The kernel's words in an error message (NLMSGERR_ATTR_MSG), into nl->detail. */
void np_nl_detail(struct np_nl *nl, const struct nlmsghdr *nlh);

/* ---- the parts of apply, check, remove ---- */

/* apply and remove return 0 or the errno of a failure that is in the report. */
int np_nft_apply(const struct np_plan *plan, struct np_report *report);
int np_nft_remove(struct np_report *report);
void np_nft_check(const struct np_plan *plan, struct np_report *report);

void np_sysctl_apply(const struct np_plan *plan, struct np_report *report);
void np_sysctl_check(const struct np_plan *plan, struct np_report *report);
/* Forwarding only: it stays off when the rest goes. */
void np_sysctl_close(const struct np_plan *plan, struct np_report *report);

void np_rtnl_apply(const struct np_plan *plan, struct np_report *report);
void np_rtnl_check(const struct np_plan *plan, struct np_report *report);
void np_rtnl_remove(const struct np_plan *plan, struct np_report *report);
