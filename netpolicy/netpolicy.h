/*
 * netpolicy.h - the kernel side of the gateway: what must stand there, and how to put it there
 *
 * np_plan_build() turns the few facts that matter (interfaces, agents' sources, ports, mark, table)
 * into a plan: a plain model of one nftables table, ip rules, routes and sysctls. Everything else
 * walks that model:
 *
 *	np_render_text(), np_render_json()	as a person would type it; needs no privilege
 *	np_apply()				into the kernel, nftables part in one atomic batch
 *	np_check()				kernel against plan; every difference is a finding
 *	np_remove()				what np_apply() made, forwarding stays off
 *
 * The plan is pure: no I/O, the same input gives the same plan. Failing closed is in its rules:
 * whatever an agent sends that no listener takes falls through to a drop (REQ-1.2).
 */
#pragma once

#include "base/base.h"

#define NP_TABLE_NAME "slapenir"
#define NP_RULE_PREF 100	/* of the ip rules: after `local` (0), before everything else */
#define NP_IFNAME_MAX 16
#define NP_WHY_MAX 256
#define NP_EXPRS_MAX 10
#define NP_DATA_MAX 16

/* ---- input ---- */

struct np_input {
	const char *const *interfaces;	/* borrowed; where agents are */
	size_t n_interfaces;
	/* Borrowed; of all agents, both families, any order, may overlap. */
	const struct cidr *sources;
	size_t n_sources;
	uint16_t tcp_port;		/* of the TPROXY acceptor */
	uint16_t dns_port;
	uint32_t mark;			/* on captured packets */
	uint32_t table;			/* routing table that makes them local */
};

/* ---- nftables model ---- */

enum np_set_type { NP_SET_IFNAME, NP_SET_IPV4, NP_SET_IPV6 };

/* Inclusive; network order. Of interface names both ends are the zero-padded name. */
struct np_range {
	uint8_t from[NP_DATA_MAX];
	uint8_t to[NP_DATA_MAX];
};

struct np_set {
	const char *name;		/* static */
	enum np_set_type type;
	struct np_range *ranges;	/* owned; sorted, disjoint, not touching */
	size_t n;
};

struct np_chain {
	const char *name;		/* static */
	uint32_t hook;			/* NF_INET_* */
	const char *hook_text;
	int32_t priority;
	const char *priority_text;
	uint32_t policy;		/* NF_ACCEPT or NF_DROP */
};

/* One step of a rule, as the kernel's virtual machine sees it. Register 1 carries all data. */
enum np_expr_kind {
	NP_META_LOAD, NP_META_SET, NP_CMP, NP_LOOKUP, NP_PAYLOAD, NP_FIB, NP_IMMEDIATE, NP_VERDICT,
	NP_COUNTER, NP_LIMIT, NP_LOG, NP_TPROXY, NP_REJECT,
};

struct np_expr {
	enum np_expr_kind kind;
	uint32_t a, b, c;		/* meaning by kind, see plan_rules.c */
	const char *text;		/* static: set name or log prefix */
	uint8_t data[NP_DATA_MAX];
	uint32_t data_len;
};

struct np_rule {
	const char *chain;		/* static */
	char text[128];			/* nft spelling; `nft -s list` gives it back */
	const char *why;		/* static */
	struct np_expr exprs[NP_EXPRS_MAX];
	size_t n_exprs;
};

enum { NP_CHAIN_PREROUTING, NP_CHAIN_INPUT, NP_CHAIN_FORWARD, NP_N_CHAINS };
enum { NP_SET_INTERFACES, NP_SET_AGENTS4, NP_SET_AGENTS6, NP_SET_NEVER4, NP_SET_NEVER6, NP_N_SETS };
#define NP_RULES_MAX 24

/* ---- the rest of the kernel ---- */

/* `path` below /proc/sys; one `*` stands for every interface there is. */
struct np_sysctl {
	char path[96];
	const char *value;		/* static */
	const char *why;		/* static */
	bool optional;			/* not on every kernel */
	/* The rules hold without it; where it cannot be set, a note will do. */
	bool covered;
};

struct np_plan {
	struct np_set sets[NP_N_SETS];
	struct np_chain chains[NP_N_CHAINS];
	struct np_rule rules[NP_RULES_MAX];
	size_t n_rules;
	struct np_sysctl *sysctls;	/* owned */
	size_t n_sysctls;
	uint32_t mark, table;		/* ip rule and route, both families */
};

/*
 * ERR_CONFIG with a sentence in `why` when the input makes no sense. On error nothing needs
 * release.
 */
enum err np_plan_build(const struct np_input *in, struct np_plan *out,
		       char why[NP_WHY_MAX]) WARN_UNUSED;
void np_plan_release(struct np_plan *plan);

enum err np_render_text(const struct np_plan *plan, struct buf *out) WARN_UNUSED;
enum err np_render_json(const struct np_plan *plan, struct buf *out) WARN_UNUSED;

/* ---- findings: drift for check, failures for apply and remove ---- */

enum np_finding_kind { NP_DRIFT, NP_FAILURE, NP_NOTE };

struct np_finding {
	enum np_finding_kind kind;
	char *object; /* owned; "nft rule", "ip rule", "route", "sysctl ...", ... */
	char *expected;			/* owned; may be empty */
	char *found;			/* owned; what is there, or what went wrong */
};

struct np_report {
	struct np_finding *items;	/* owned */
	size_t n, cap;
	bool lost;			/* out of memory: there was more */
};

void np_report_release(struct np_report *report);
size_t np_report_count(const struct np_report *report, enum np_finding_kind kind);
/* One line per finding of `kind`. */
enum err np_report_text(const struct np_report *report, enum np_finding_kind kind,
			struct buf *out) WARN_UNUSED;
/* {"ok":...,"drift":[...],"failures":[...],"notes":[...]} */
enum err np_report_json(const struct np_report *report, struct buf *out) WARN_UNUSED;

/* ---- kernel; each says everything it has to say in the report ---- */

void np_apply(const struct np_plan *plan, struct np_report *report);
void np_check(const struct np_plan *plan, struct np_report *report);
void np_remove(const struct np_plan *plan, struct np_report *report);

/* ---- the agent's side (REQ-1.1) ---- */

struct np_agent_route {
	struct addr via4, via6;		/* family 0: that family gets no default route */
	const char *dev;		/* NULL: found by the kernel */
};

/* Makes the routes of `want` the only default routes of this network namespace. */
void np_agent_route_set(const struct np_agent_route *want, struct np_report *report);
/* Appends every default route of this network namespace, as text lines or a JSON array. */
enum err np_agent_route_show(bool json, struct buf *out, struct np_report *report) WARN_UNUSED;
