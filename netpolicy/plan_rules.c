/*
 * plan_rules.c - the rules, each in its nft spelling with the kernel's expressions beside it
 *
 * How a packet from an agent fares in `prerouting`: neighbour discovery passes (IPv6 lives on it);
 * a source that is no agent's, or that does not lead back through the same interface, is dropped;
 * so is what is not for one host; TCP goes to the acceptor, DNS to the DNS listener, both by
 * TPROXY; QUIC is refused so that clients fall back to TCP; everything else is logged (bounded) and
 * dropped.
 *
 * Failing closed: `tproxy` that finds no transparent listener ends its rule only, so the packet
 * reaches the last drop; it never gets the mark, hence never the local route, and `input` lets
 * nothing without the mark in. An agent can therefore not talk to the gateway's own services
 * either: those packets meet the acceptor or a drop.
 *
 * Expressions, by kind (a, b, c of struct np_expr):
 *	META_LOAD key; META_SET key; CMP op + data; LOOKUP flags + set;
 *	PAYLOAD base, offset, length; FIB result, flags; IMMEDIATE data; VERDICT code;
 *	LIMIT rate, unit seconds, burst; LOG level + prefix;
 *	REJECT type, code; COUNTER and TPROXY nothing.
 */
#include <arpa/inet.h>
#include <assert.h>
#include <netinet/in.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>

#include "netpolicy/plan_internal.h"

#define LOG_LEVEL_WARNING 4		/* of syslog; nft's default, not printed */
#define IPV4_SADDR_OFFSET 12
#define IPV4_DADDR_OFFSET 16
#define IPV6_HOP_OFFSET 7
#define IPV6_SADDR_OFFSET 8
#define IPV6_DADDR_OFFSET 24
#define TRANSPORT_DPORT 2
#define ICMPV6_ND_SOLICIT 135
#define ICMPV6_ND_ADVERT 136

static struct np_expr *expr_add(struct np_rule *rule, enum np_expr_kind kind)
{
	struct np_expr *e;

	/* The rules are all in this file: too long a one is a mistake made here. */
	assert(rule->n_exprs < NP_EXPRS_MAX);
	e = &rule->exprs[rule->n_exprs++];
	e->kind = kind;
	return e;
}

static void meta_load(struct np_rule *rule, uint32_t key)
{
	expr_add(rule, NP_META_LOAD)->a = key;
}

static void cmp(struct np_rule *rule, uint32_t op, const void *data, uint32_t len)
{
	struct np_expr *e = expr_add(rule, NP_CMP);

	e->a = op;
	e->data_len = len;
	memcpy(e->data, data, len);
}

static void cmp_u8(struct np_rule *rule, uint8_t value)
{
	cmp(rule, NFT_CMP_EQ, &value, sizeof(value));
}

static void payload(struct np_rule *rule, uint32_t base, uint32_t offset, uint32_t len)
{
	struct np_expr *e = expr_add(rule, NP_PAYLOAD);

	e->a = base;
	e->b = offset;
	e->c = len;
}

static void lookup(struct np_rule *rule, const char *set, uint32_t flags)
{
	struct np_expr *e = expr_add(rule, NP_LOOKUP);

	e->text = set;
	e->a = flags;
}

static void immediate(struct np_rule *rule, const void *data, uint32_t len)
{
	struct np_expr *e = expr_add(rule, NP_IMMEDIATE);

	e->data_len = len;
	memcpy(e->data, data, len);
}

static void verdict(struct np_rule *rule, int code)
{
	expr_add(rule, NP_VERDICT)->a = (uint32_t)code;
}

static struct np_rule *rule_add(struct np_plan *plan, int chain, const char *why)
{
	struct np_rule *rule;

	assert(plan->n_rules < NP_RULES_MAX);
	rule = &plan->rules[plan->n_rules++];
	rule->chain = plan->chains[chain].name;
	rule->why = why;
	return rule;
}

/* iifname [!=] @agent_interfaces */
static void match_interface(struct np_plan *plan, struct np_rule *rule, bool inverted)
{
	meta_load(rule, NFT_META_IIFNAME);
	lookup(rule, plan->sets[NP_SET_INTERFACES].name, inverted ? NFT_LOOKUP_F_INV : 0);
}

/* icmpv6 type TYPE ip6 hoplimit 255 accept */
static void rule_neighbour(struct np_plan *plan, int chain, uint8_t type, const char *type_text)
{
	struct np_rule *rule = rule_add(plan, chain,
		"neighbour discovery; hop limit 255 proves it is from the link (RFC 4861 7.1)");

	meta_load(rule, NFT_META_NFPROTO);
	cmp_u8(rule, NFPROTO_IPV6);
	meta_load(rule, NFT_META_L4PROTO);
	cmp_u8(rule, IPPROTO_ICMPV6);
	payload(rule, NFT_PAYLOAD_TRANSPORT_HEADER, 0, 1);
	cmp_u8(rule, type);
	payload(rule, NFT_PAYLOAD_NETWORK_HEADER, IPV6_HOP_OFFSET, 1);
	cmp_u8(rule, 255);
	verdict(rule, NF_ACCEPT);
	snprintf(rule->text, sizeof(rule->text), "icmpv6 type %s ip6 hoplimit 255 accept",
		 type_text);
}

/* ip|ip6 saddr != @agents counter drop, or daddr @never counter drop */
static void rule_address(struct np_plan *plan, int set_index, bool source, const char *why)
{
	const struct np_set *set = &plan->sets[set_index];
	struct np_rule *rule = rule_add(plan, NP_CHAIN_PREROUTING, why);
	bool v4 = set->type == NP_SET_IPV4;
	uint32_t offset;

	if (v4)
		offset = source ? IPV4_SADDR_OFFSET : IPV4_DADDR_OFFSET;
	else
		offset = source ? IPV6_SADDR_OFFSET : IPV6_DADDR_OFFSET;
	meta_load(rule, NFT_META_NFPROTO);
	cmp_u8(rule, v4 ? NFPROTO_IPV4 : NFPROTO_IPV6);
	payload(rule, NFT_PAYLOAD_NETWORK_HEADER, offset, v4 ? 4 : 16);
	lookup(rule, set->name, source ? NFT_LOOKUP_F_INV : 0);
	expr_add(rule, NP_COUNTER);
	verdict(rule, NF_DROP);
	snprintf(rule->text, sizeof(rule->text), "%s %s @%s counter drop", v4 ? "ip" : "ip6",
		 source ? "saddr !=" : "daddr", set->name);
}

/* fib saddr . iif oif missing counter drop */
static void rule_reverse_path(struct np_plan *plan)
{
	struct np_rule *rule = rule_add(plan, NP_CHAIN_PREROUTING,
		"an agent may not use the address of an agent behind another interface");
	struct np_expr *fib = expr_add(rule, NP_FIB);
	uint32_t missing = 0;

	fib->a = NFT_FIB_RESULT_OIF;
	fib->b = NFTA_FIB_F_SADDR | NFTA_FIB_F_IIF | NFTA_FIB_F_PRESENT;
	cmp(rule, NFT_CMP_EQ, &missing, sizeof(missing));
	expr_add(rule, NP_COUNTER);
	verdict(rule, NF_DROP);
	snprintf(rule->text, sizeof(rule->text), "fib saddr . iif oif missing counter drop");
}

static void match_protocol(struct np_rule *rule, uint8_t protocol)
{
	meta_load(rule, NFT_META_L4PROTO);
	cmp_u8(rule, protocol);
}

static void match_dport(struct np_rule *rule, uint16_t port)
{
	uint16_t wire = htons(port);

	payload(rule, NFT_PAYLOAD_TRANSPORT_HEADER, TRANSPORT_DPORT, sizeof(wire));
	cmp(rule, NFT_CMP_EQ, &wire, sizeof(wire));
}

/* MATCH tproxy to :PORT meta mark set MARK accept */
static void capture(struct np_rule *rule, const char *match, uint16_t port, uint32_t mark)
{
	uint16_t wire = htons(port);

	immediate(rule, &wire, sizeof(wire));
	expr_add(rule, NP_TPROXY);
	immediate(rule, &mark, sizeof(mark));
	expr_add(rule, NP_META_SET)->a = NFT_META_MARK;
	verdict(rule, NF_ACCEPT);
	snprintf(rule->text, sizeof(rule->text), "%s tproxy to :%u meta mark set 0x%08x accept",
		 match, port, mark);
}

static void rule_capture_tcp(struct np_plan *plan, const struct np_input *in)
{
	struct np_rule *rule = rule_add(plan, NP_CHAIN_PREROUTING,
		"every TCP flow, whatever its port, meets the acceptor (REQ-1.2)");

	match_protocol(rule, IPPROTO_TCP);
	capture(rule, "meta l4proto tcp", in->tcp_port, in->mark);
}

static void rule_capture_dns(struct np_plan *plan, const struct np_input *in)
{
	struct np_rule *rule = rule_add(plan, NP_CHAIN_PREROUTING,
		"DNS is answered by the gateway, whichever server was asked");

	match_protocol(rule, IPPROTO_UDP);
	match_dport(rule, 53);
	capture(rule, "udp dport 53", in->dns_port, in->mark);
}

/* udp dport 443 counter reject */
static void rule_refuse_quic(struct np_plan *plan)
{
	struct np_rule *rule = rule_add(plan, NP_CHAIN_PREROUTING,
		"QUIC: told at once, clients fall back to TCP");
	struct np_expr *e;

	match_protocol(rule, IPPROTO_UDP);
	match_dport(rule, 443);
	expr_add(rule, NP_COUNTER);
	e = expr_add(rule, NP_REJECT);
	e->a = NFT_REJECT_ICMPX_UNREACH;
	e->b = NFT_REJECT_ICMPX_PORT_UNREACH;
	snprintf(rule->text, sizeof(rule->text), "udp dport 443 counter reject");
}

/* limit rate 10/second burst 20 packets log prefix "slapenir drop: ", then: counter drop */
static void rules_drop_rest(struct np_plan *plan)
{
	struct np_rule *rule = rule_add(plan, NP_CHAIN_PREROUTING,
					"what is dropped is logged, bounded");
	struct np_expr *e = expr_add(rule, NP_LIMIT);

	e->a = 10;
	e->b = 1;
	e->c = 20;
	e = expr_add(rule, NP_LOG);
	e->a = LOG_LEVEL_WARNING;
	e->text = "slapenir drop: ";
	snprintf(rule->text, sizeof(rule->text),
		 "limit rate 10/second burst 20 packets log prefix \"%s\"", e->text);

	rule = rule_add(plan, NP_CHAIN_PREROUTING,
			"every other protocol, and what no listener took");
	expr_add(rule, NP_COUNTER);
	verdict(rule, NF_DROP);
	snprintf(rule->text, sizeof(rule->text), "counter drop");
}

/* iifname @agent_interfaces meta mark != MARK counter drop */
static void rule_input(struct np_plan *plan, const struct np_input *in)
{
	struct np_rule *rule = rule_add(plan, NP_CHAIN_INPUT,
		"from an agent only what was captured; holds even if prerouting is gone");

	match_interface(plan, rule, false);
	meta_load(rule, NFT_META_MARK);
	cmp(rule, NFT_CMP_NEQ, &in->mark, sizeof(in->mark));
	expr_add(rule, NP_COUNTER);
	verdict(rule, NF_DROP);
	snprintf(rule->text, sizeof(rule->text), "iifname @%s meta mark != 0x%08x counter drop",
		 plan->sets[NP_SET_INTERFACES].name, in->mark);
}

void np_plan_rules(struct np_plan *plan, const struct np_input *in)
{
	struct np_rule *rule;

	rule = rule_add(plan, NP_CHAIN_PREROUTING,
			"only agents are captured, not the gateway's own traffic");
	match_interface(plan, rule, true);
	verdict(rule, NFT_RETURN);
	snprintf(rule->text, sizeof(rule->text), "iifname != @%s return",
		 plan->sets[NP_SET_INTERFACES].name);

	rule_neighbour(plan, NP_CHAIN_PREROUTING, ICMPV6_ND_SOLICIT, "nd-neighbor-solicit");
	rule_neighbour(plan, NP_CHAIN_PREROUTING, ICMPV6_ND_ADVERT, "nd-neighbor-advert");
	rule_address(plan, NP_SET_AGENTS4, true, "no spoofed source");
	rule_address(plan, NP_SET_AGENTS6, true, "no spoofed source");
	rule_reverse_path(plan);
	rule_address(plan, NP_SET_NEVER4, false,
		     "not to be dialled: this host, loopback, multicast");
	rule_address(plan, NP_SET_NEVER6, false,
		     "not to be dialled: this host, loopback, multicast");
	rule_capture_tcp(plan, in);
	rule_capture_dns(plan, in);
	rule_refuse_quic(plan);
	rules_drop_rest(plan);

	rule_neighbour(plan, NP_CHAIN_INPUT, ICMPV6_ND_SOLICIT, "nd-neighbor-solicit");
	rule_neighbour(plan, NP_CHAIN_INPUT, ICMPV6_ND_ADVERT, "nd-neighbor-advert");
	rule_input(plan, in);
}
