/*
 * nft_wire.c - from the model to libnftnl's objects, and rules to comparable text
 *
 * Each model expression becomes exactly one kernel expression; what the kernel would fill in by
 * itself is given explicitly, so that a rule read back has the same text as the one that was sent.
 */
#include <arpa/inet.h>
#include <libnftnl/udata.h>
#include <netinet/in.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <stdlib.h>

#include "netpolicy/nft_internal.h"

/* nft's own numbers for data types; they only matter to who prints the set. */
#define TYPE_IPV4_ADDR 7
#define TYPE_IPV6_ADDR 8
#define TYPE_IFNAME 41
/* nft's user data, see there include/expression.h: byte order, and "this interval has no end". */
#define UDATA_BYTEORDER_HOST 1
#define UDATA_BYTEORDER_NETWORK 2
#define UDATA_ELEM_OPEN_INTERVAL 1

struct nftnl_table *np_wire_table(void)
{
	struct nftnl_table *t = nftnl_table_alloc();

	if (!t)
		return NULL;
	nftnl_table_set_u32(t, NFTNL_TABLE_FAMILY, NFPROTO_INET);
	if (nftnl_table_set_str(t, NFTNL_TABLE_NAME, NP_TABLE_NAME) == 0)
		return t;
	nftnl_table_free(t);
	return NULL;
}

struct nftnl_chain *np_wire_chain(const struct np_chain *chain)
{
	struct nftnl_chain *c = nftnl_chain_alloc();

	if (!c)
		return NULL;
	nftnl_chain_set_u32(c, NFTNL_CHAIN_FAMILY, NFPROTO_INET);
	nftnl_chain_set_u32(c, NFTNL_CHAIN_HOOKNUM, chain->hook);
	nftnl_chain_set_s32(c, NFTNL_CHAIN_PRIO, chain->priority);
	nftnl_chain_set_u32(c, NFTNL_CHAIN_POLICY, chain->policy);
	if (nftnl_chain_set_str(c, NFTNL_CHAIN_TABLE, NP_TABLE_NAME) == 0 &&
	    nftnl_chain_set_str(c, NFTNL_CHAIN_NAME, chain->name) == 0 &&
	    nftnl_chain_set_str(c, NFTNL_CHAIN_TYPE, "filter") == 0)
		return c;
	nftnl_chain_free(c);
	return NULL;
}

static bool set_userdata(struct nftnl_set *s, enum np_set_type type)
{
	struct nftnl_udata_buf *udata = nftnl_udata_buf_alloc(64);
	bool ok;

	if (!udata)
		return false;
	ok = nftnl_udata_put_u32(udata, NFTNL_UDATA_SET_KEYBYTEORDER,
				 type == NP_SET_IFNAME ? UDATA_BYTEORDER_HOST
						       : UDATA_BYTEORDER_NETWORK) &&
	     nftnl_set_set_data(s, NFTNL_SET_USERDATA, nftnl_udata_buf_data(udata),
				nftnl_udata_buf_len(udata)) == 0;
	nftnl_udata_buf_free(udata);
	return ok;
}

struct nftnl_set *np_wire_set(const struct np_set *set, uint32_t id)
{
	static const uint32_t types[] = { TYPE_IFNAME, TYPE_IPV4_ADDR, TYPE_IPV6_ADDR };
	struct nftnl_set *s = nftnl_set_alloc();

	if (!s)
		return NULL;
	nftnl_set_set_u32(s, NFTNL_SET_FAMILY, NFPROTO_INET);
	nftnl_set_set_u32(s, NFTNL_SET_ID, id);
	nftnl_set_set_u32(s, NFTNL_SET_FLAGS, set->type == NP_SET_IFNAME ? 0 : NFT_SET_INTERVAL);
	nftnl_set_set_u32(s, NFTNL_SET_KEY_TYPE, types[set->type]);
	nftnl_set_set_u32(s, NFTNL_SET_KEY_LEN, (uint32_t)np_set_key_len(set->type));
	if (nftnl_set_set_str(s, NFTNL_SET_TABLE, NP_TABLE_NAME) == 0 &&
	    nftnl_set_set_str(s, NFTNL_SET_NAME, set->name) == 0 && set_userdata(s, set->type))
		return s;
	nftnl_set_free(s);
	return NULL;
}

static bool elem_mark_open(struct nftnl_set_elem *e)
{
	struct nftnl_udata_buf *udata = nftnl_udata_buf_alloc(64);
	bool ok;

	if (!udata)
		return false;
	ok = nftnl_udata_put_u32(udata, NFTNL_UDATA_SET_ELEM_FLAGS, UDATA_ELEM_OPEN_INTERVAL) &&
	     nftnl_set_elem_set(e, NFTNL_SET_ELEM_USERDATA, nftnl_udata_buf_data(udata),
				nftnl_udata_buf_len(udata)) == 0;
	nftnl_udata_buf_free(udata);
	return ok;
}

static struct nftnl_set_elem *elem_add(struct nftnl_set *wire, const uint8_t *key, size_t len,
				       bool end)
{
	struct nftnl_set_elem *e = nftnl_set_elem_alloc();

	if (!e)
		return NULL;
	if (nftnl_set_elem_set(e, NFTNL_SET_ELEM_KEY, key, (uint32_t)len) < 0) {
		nftnl_set_elem_free(e);
		return NULL;
	}
	if (end)
		nftnl_set_elem_set_u32(e, NFTNL_SET_ELEM_FLAGS, NFT_SET_ELEM_INTERVAL_END);
	nftnl_set_elem_add(wire, e);
	return e;
}

/*
 * An interval goes as its first key and, marked as end, the first key after it; the last may be
 * open.
 */
bool np_wire_elements(const struct np_set *set, size_t from, size_t to, struct nftnl_set *wire)
{
	static const uint8_t zero[NP_DATA_MAX];
	size_t len = np_set_key_len(set->type);

	for (size_t i = from; i < to; i++) {
		const struct np_range *range = &set->ranges[i];
		struct nftnl_set_elem *e;
		uint8_t after[NP_DATA_MAX];

		/* As nft does: what lies before the first interval is outside. */
		if (i == 0 && set->type != NP_SET_IFNAME && memcmp(range->from, zero, len) != 0 &&
		    !elem_add(wire, zero, len, true))
			return false;
		e = elem_add(wire, range->from, len, false);
		if (!e)
			return false;
		if (set->type == NP_SET_IFNAME)
			continue;
		memcpy(after, range->to, sizeof(after));
		if (np_key_next(after, len) ? !elem_add(wire, after, len, true)
					    : !elem_mark_open(e))
			return false;
	}
	return true;
}

static const char *const expr_names[] = {
	[NP_META_LOAD] = "meta", [NP_META_SET] = "meta", [NP_CMP] = "cmp", [NP_LOOKUP] = "lookup",
	[NP_PAYLOAD] = "payload", [NP_FIB] = "fib", [NP_IMMEDIATE] = "immediate",
	[NP_VERDICT] = "immediate", [NP_COUNTER] = "counter", [NP_LIMIT] = "limit",
	[NP_LOG] = "log", [NP_TPROXY] = "tproxy",
	[NP_REJECT] = "reject",
};

static uint32_t set_id(const struct np_plan *plan, const char *name)
{
	for (uint32_t i = 0; i < NP_N_SETS; i++)
		if (strcmp(plan->sets[i].name, name) == 0)
			return i + 1;
	return 0;
}

static void expr_fill_statement(const struct np_expr *m, struct nftnl_expr *e)
{
	switch (m->kind) {
	case NP_VERDICT:
		nftnl_expr_set_u32(e, NFTNL_EXPR_IMM_DREG, NFT_REG_VERDICT);
		nftnl_expr_set_u32(e, NFTNL_EXPR_IMM_VERDICT, m->a);
		break;
	case NP_COUNTER:
		nftnl_expr_set_u64(e, NFTNL_EXPR_CTR_PACKETS, 0);
		nftnl_expr_set_u64(e, NFTNL_EXPR_CTR_BYTES, 0);
		break;
	case NP_LIMIT:
		nftnl_expr_set_u64(e, NFTNL_EXPR_LIMIT_RATE, m->a);
		nftnl_expr_set_u64(e, NFTNL_EXPR_LIMIT_UNIT, m->b);
		nftnl_expr_set_u32(e, NFTNL_EXPR_LIMIT_BURST, m->c);
		nftnl_expr_set_u32(e, NFTNL_EXPR_LIMIT_TYPE, NFT_LIMIT_PKTS);
		nftnl_expr_set_u32(e, NFTNL_EXPR_LIMIT_FLAGS, 0);
		break;
	case NP_LOG:
		nftnl_expr_set_str(e, NFTNL_EXPR_LOG_PREFIX, m->text);
		nftnl_expr_set_u32(e, NFTNL_EXPR_LOG_LEVEL, m->a);
		break;
	case NP_TPROXY:
		nftnl_expr_set_u32(e, NFTNL_EXPR_TPROXY_FAMILY, NFPROTO_UNSPEC);
		nftnl_expr_set_u32(e, NFTNL_EXPR_TPROXY_REG_PORT, NFT_REG_1);
		break;
	case NP_REJECT:
		nftnl_expr_set_u32(e, NFTNL_EXPR_REJECT_TYPE, m->a);
		nftnl_expr_set_u8(e, NFTNL_EXPR_REJECT_CODE, (uint8_t)m->b);
		break;
	default:
		break;
	}
}

static void expr_fill(const struct np_plan *plan, const struct np_expr *m, struct nftnl_expr *e)
{
	switch (m->kind) {
	case NP_META_LOAD:
		nftnl_expr_set_u32(e, NFTNL_EXPR_META_KEY, m->a);
		nftnl_expr_set_u32(e, NFTNL_EXPR_META_DREG, NFT_REG_1);
		break;
	case NP_META_SET:
		nftnl_expr_set_u32(e, NFTNL_EXPR_META_KEY, m->a);
		nftnl_expr_set_u32(e, NFTNL_EXPR_META_SREG, NFT_REG_1);
		break;
	case NP_CMP:
		nftnl_expr_set_u32(e, NFTNL_EXPR_CMP_SREG, NFT_REG_1);
		nftnl_expr_set_u32(e, NFTNL_EXPR_CMP_OP, m->a);
		nftnl_expr_set(e, NFTNL_EXPR_CMP_DATA, m->data, m->data_len);
		break;
	case NP_LOOKUP:
		nftnl_expr_set_u32(e, NFTNL_EXPR_LOOKUP_SREG, NFT_REG_1);
		nftnl_expr_set_str(e, NFTNL_EXPR_LOOKUP_SET, m->text);
		nftnl_expr_set_u32(e, NFTNL_EXPR_LOOKUP_SET_ID, set_id(plan, m->text));
		nftnl_expr_set_u32(e, NFTNL_EXPR_LOOKUP_FLAGS, m->a);
		break;
	case NP_PAYLOAD:
		nftnl_expr_set_u32(e, NFTNL_EXPR_PAYLOAD_DREG, NFT_REG_1);
		nftnl_expr_set_u32(e, NFTNL_EXPR_PAYLOAD_BASE, m->a);
		nftnl_expr_set_u32(e, NFTNL_EXPR_PAYLOAD_OFFSET, m->b);
		nftnl_expr_set_u32(e, NFTNL_EXPR_PAYLOAD_LEN, m->c);
		break;
	case NP_FIB:
		nftnl_expr_set_u32(e, NFTNL_EXPR_FIB_DREG, NFT_REG_1);
		nftnl_expr_set_u32(e, NFTNL_EXPR_FIB_RESULT, m->a);
		nftnl_expr_set_u32(e, NFTNL_EXPR_FIB_FLAGS, m->b);
		break;
	case NP_IMMEDIATE:
		nftnl_expr_set_u32(e, NFTNL_EXPR_IMM_DREG, NFT_REG_1);
		nftnl_expr_set(e, NFTNL_EXPR_IMM_DATA, m->data, m->data_len);
		break;
	default:
		expr_fill_statement(m, e);
	}
}

struct nftnl_rule *np_wire_rule(const struct np_plan *plan, const struct np_rule *rule)
{
	struct nftnl_rule *r = nftnl_rule_alloc();

	if (!r)
		return NULL;
	nftnl_rule_set_u32(r, NFTNL_RULE_FAMILY, NFPROTO_INET);
	if (nftnl_rule_set_str(r, NFTNL_RULE_TABLE, NP_TABLE_NAME) < 0 ||
	    nftnl_rule_set_str(r, NFTNL_RULE_CHAIN, rule->chain) < 0)
		goto no_memory;
	for (size_t i = 0; i < rule->n_exprs; i++) {
		struct nftnl_expr *e = nftnl_expr_alloc(expr_names[rule->exprs[i].kind]);

		if (!e)
			goto no_memory;
		expr_fill(plan, &rule->exprs[i], e);
		nftnl_rule_add_expr(r, e);
	}
	return r;
no_memory:
	nftnl_rule_free(r);
	return NULL;
}

/* libnftnl prints data in whole words; one byte compared is not four compared. */
static uint32_t expr_data_len(const struct nftnl_expr *e, const char *name)
{
	uint32_t len = 0;

	if (strcmp(name, "cmp") == 0)
		nftnl_expr_get(e, NFTNL_EXPR_CMP_DATA, &len);
	else if (strcmp(name, "immediate") == 0 && nftnl_expr_is_set(e, NFTNL_EXPR_IMM_DATA))
		nftnl_expr_get(e, NFTNL_EXPR_IMM_DATA, &len);
	return len;
}

static int expr_to_text(struct nftnl_expr *e, void *arg)
{
	struct buf *out = arg;
	const char *name = nftnl_expr_get_str(e, NFTNL_EXPR_NAME);
	uint32_t len = expr_data_len(e, name);
	char text[512] = "", bytes[24] = "";

	/* What was counted is no part of the policy. */
	if (strcmp(name, "counter") == 0)
		return buf_append_str(out, "[ counter ] ") == ERR_OK ? 0 : -1;
	nftnl_expr_snprintf(text, sizeof(text), e, NFTNL_OUTPUT_DEFAULT, 0);
	if (len)
		snprintf(bytes, sizeof(bytes), "(%u bytes) ", len);
	return buf_printf(out, "[ %s %s%s] ", name, text, bytes) == ERR_OK ? 0 : -1;
}

char *np_wire_rule_text(const struct nftnl_rule *rule)
{
	struct buf out;
	char *text = NULL;

	buf_init(&out, 64 * 1024);
	if (nftnl_expr_foreach((struct nftnl_rule *)(uintptr_t)rule, expr_to_text, &out) >= 0)
		text = bytes_dup_str(bytes_trim(buf_bytes(&out)));
	buf_release(&out);
	return text;
}
