/*
 * policy.h - who may reach what: egress rules, address classes, rate limits
 *
 * Pure: no I/O, no clock, no allocation after policy_new(); a policy is immutable and may be
 * asked from anywhere. Rules are judged in order, the first that matches decides, else the
 * default. What cannot be judged counts against the agent: an allow rule does not match, a deny
 * rule does.
 *
 *   agents     none listed: all.
 *   hosts      "name": exactly; "*.suffix": any name below suffix at any depth, not suffix
 *              itself; "*": any name, no IP address. Compared in the form of
 *              policy_host_normalise(). An IP address as host matches `addresses` and hosts that
 *              spell that address, never a wildcard.
 *   addresses  judged only when the destination is known by address alone (host empty or an IP
 *              address): a name the agent chose must never borrow the permission of an address
 *              it does not lead to.
 *   neither hosts nor addresses: any destination.
 *   ports, methods, paths: none listed: any.
 *   paths      patterns begin with '/'; '*' is any run within one segment, '**' any run; matched
 *              against the path without query, percent-decoded once. A path that could be read
 *              in two ways (dot segments, encoded or backward slashes, empty segments, double
 *              encoding, control bytes, bad escapes) matches no allow rule that has paths, and
 *              every deny rule that has paths.
 */
#pragma once

#include <stdatomic.h>

#include "base/base.h"

/* ---- hosts -------------------------------------------------------------- */

#define POLICY_HOST_MAX 256

/*
 * The one spelling of a host: lower case, no trailing dot, at most 253 bytes of
 * LDH-and-underscore labels; an IP address (IPv6 with or without brackets) becomes its canonical
 * text without brackets. False for anything else, also for numbers that some resolvers take for
 * addresses ("127.1", "0x7f.0.0.1"). `in` must not carry a port.
 */
bool policy_host_normalise(struct bytes in, char out[POLICY_HOST_MAX]) WARN_UNUSED;
/* Whether a normalised host is an IP address; *a may be NULL. */
bool policy_host_is_address(const char *host, struct addr *a);

/* ---- building ----------------------------------------------------------- */

enum policy_action {
	POLICY_DENY,
	POLICY_ALLOW,		/* as HTTP, opened and judged request by request */
	POLICY_PASSTHROUGH,	/* TLS is not opened */
	POLICY_TCP,		/* bytes are relayed as they are */
};

struct policy_strings {
	const char *const *items;
	size_t n;
};

struct policy_ports {
	uint16_t first, last;	/* inclusive */
};

struct policy_rate {
	uint32_t requests;	/* 0: unlimited */
	uint32_t per_s;		/* per this many seconds */
	uint32_t burst;		/* requests that may come at once; at least 1 is assumed */
};

struct policy_agent_spec {
	const char *name;
	const struct cidr *sources;
	size_t n_sources;
	struct policy_rate rate;
};

struct policy_rule_spec {
	enum policy_action action;
	const char *name;		/* NULL or "": "egress.rules[i]" */
	struct policy_strings hosts;
	const struct cidr *addresses;
	size_t n_addresses;
	const struct policy_ports *ports;
	size_t n_ports;
	struct policy_strings methods;
	struct policy_strings paths;
	struct policy_strings agents;	/* names of policy_agent_spec */
};

struct policy_spec {
	const struct policy_agent_spec *agents;
	size_t n_agents;
	const struct policy_rule_spec *rules;
	size_t n_rules;
	bool allow_by_default;			/* egress.default: allow */
	const struct cidr *allow_special;
	size_t n_allow_special;
	/* the gateway's own: never dialled; ports ignored */
	const struct addr *own_addresses;
	size_t n_own_addresses;
};

struct policy;

/*
 * Copies everything. NULL when out of memory or when the spec is malformed (the config room has
 * checked it).
 */
struct policy *policy_new(const struct policy_spec *spec) WARN_UNUSED;
void policy_free(struct policy *p);

/* ---- asking ------------------------------------------------------------- */

/* Index in spec.agents, or -1: no agent's source (ERR_DENY_AGENT). */
int policy_agent_by_address(const struct policy *p, const struct addr *source);
size_t policy_agent_count(const struct policy *p);
/* NULL for an index out of range. */
const char *policy_agent_name(const struct policy *p, int agent);
const struct policy_rate *policy_agent_rate(const struct policy *p, int agent);

struct policy_verdict {
	enum policy_action action;
	enum err reason;	/* ERR_OK unless action is POLICY_DENY */
	/* "egress.rules[2]", a rule's name, or "egress.default"; lives as long as the policy */
	const char *rule;
};

/*
 * May this connection go on? `host` is normalised or empty; `address`, the original destination
 * or NULL, is looked at only when host is empty. Asked at accept with an empty host, POLICY_TCP
 * or POLICY_PASSTHROUGH means: relay to that very address without waiting for bytes. Asked with
 * the name of the ClientHello or request, POLICY_ALLOW means that some request could be allowed:
 * each is then judged by policy_request(). Reasons: ERR_DENY_AGENT, ERR_DENY_HOST, ERR_DENY_PORT,
 * ERR_DENY_RULE.
 */
struct policy_verdict policy_connect(const struct policy *p, int agent, const char *host,
				     const struct addr *address, uint16_t port);

/* For DNS: could any rule allow this name on some port? Reasons: ERR_DENY_AGENT, ERR_DENY_NAME. */
struct policy_verdict policy_name(const struct policy *p, int agent, const char *host);

struct policy_request {
	const char *host;	/* normalised, not empty */
	uint16_t port;
	struct bytes method;
	struct bytes path;	/* as it stands in the request; a query is ignored */
};

/*
 * Final word on one exchange: POLICY_ALLOW or POLICY_DENY (pass-through and tcp rules allow no
 * request). Reasons: as policy_connect(), and ERR_DENY_METHOD, ERR_DENY_PATH: how far the best
 * allow rule matched.
 */
struct policy_verdict policy_request(const struct policy *p, int agent,
				     const struct policy_request *r);

/*
 * May this address be dialled? Asked for every address after resolution, at dial time (DNS
 * rebinding). ERR_DENY_ADDRESS for special-purpose ranges that allow_special does not cover and,
 * always, for the gateway's own.
 */
enum err policy_address(const struct policy *p, const struct addr *a) WARN_UNUSED;

/* ---- rate limit --------------------------------------------------------- */

/* One agent's bucket; lives in memory shared by the workers. All zero: full. */
struct policy_bucket {
	_Atomic uint64_t next_ns;	/* monotonic time at which the bucket is full again */
};

/* Takes one request's token; false: over the limit (ERR_DENY_RATE). Never blocks. */
bool policy_bucket_take(struct policy_bucket *b, const struct policy_rate *rate,
			uint64_t now_us) WARN_UNUSED;
