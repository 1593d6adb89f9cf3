/*
 * nft_read.c - what stands in the kernel's nftables, as far as it concerns us
 *
 * Everything of our table, and every flowtable there is (one elsewhere can take flows past our
 * chains). The generation of the ruleset is read before and after: if it changed in between, the
 * caller reads again.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <libnftnl/object.h>
#include <netinet/in.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <stdlib.h>

#include "netpolicy/nft_internal.h"

#define RECORDS_MAX 1000000	/* of one kind; far beyond any real ruleset */

/*
 * Room for one more: the array grows whenever n is a power of two. NULL: out of memory or out of
 * reason.
 */
static void *array_more(void *array, size_t n, size_t size)
{
	if (n > RECORDS_MAX)
		return NULL;
	if (n & (n - 1))
		return array;
	return reallocarray(array, n ? n * 2 : 1, size);
}

#define ARRAY_MORE(array, n)									\
	({											\
		void *more_ = array_more(array, n, sizeof(*(array)));				\
		if (more_)									\
			(array) = more_;							\
		more_ != NULL;									\
	})

static int no_memory(void)
{
	errno = ENOMEM;
	return MNL_CB_ERROR;
}

static bool is_our_table(const char *table, uint32_t family)
{
	return table && strcmp(table, NP_TABLE_NAME) == 0 && family == NFPROTO_INET;
}

static int on_table(const struct nlmsghdr *nlh, void *arg)
{
	struct np_kernel *k = arg;
	struct nftnl_table *t = nftnl_table_alloc();

	if (!t)
		return no_memory();
	if (nftnl_table_nlmsg_parse(nlh, t) == 0 &&
	    is_our_table(nftnl_table_get_str(t, NFTNL_TABLE_NAME),
			 nftnl_table_get_u32(t, NFTNL_TABLE_FAMILY))) {
		k->table_present = true;
		k->table_flags = nftnl_table_get_u32(t, NFTNL_TABLE_FLAGS);
	}
	nftnl_table_free(t);
	return MNL_CB_OK;
}

static int on_chain(const struct nlmsghdr *nlh, void *arg)
{
	struct np_kernel *k = arg;
	struct nftnl_chain *c = nftnl_chain_alloc();

	if (!c)
		return no_memory();
	if (nftnl_chain_nlmsg_parse(nlh, c) == 0 && nftnl_chain_is_set(c, NFTNL_CHAIN_NAME) &&
	    is_our_table(nftnl_chain_get_str(c, NFTNL_CHAIN_TABLE),
			 nftnl_chain_get_u32(c, NFTNL_CHAIN_FAMILY))) {
		if (!ARRAY_MORE(k->chains, k->n_chains)) {
			nftnl_chain_free(c);
			return no_memory();
		}
		k->chains[k->n_chains++] = c;
		return MNL_CB_OK;
	}
	nftnl_chain_free(c);
	return MNL_CB_OK;
}

static int on_rule(const struct nlmsghdr *nlh, void *arg)
{
	struct np_kernel *k = arg;
	struct nftnl_rule *r = nftnl_rule_alloc();
	struct np_kernel_rule rule;

	if (!r)
		return no_memory();
	if (nftnl_rule_nlmsg_parse(nlh, r) < 0 || !nftnl_rule_is_set(r, NFTNL_RULE_CHAIN) ||
	    !is_our_table(nftnl_rule_get_str(r, NFTNL_RULE_TABLE),
			  nftnl_rule_get_u32(r, NFTNL_RULE_FAMILY))) {
		nftnl_rule_free(r);
		return MNL_CB_OK;
	}
	rule.chain = strdup(nftnl_rule_get_str(r, NFTNL_RULE_CHAIN));
	rule.text = np_wire_rule_text(r);
	nftnl_rule_free(r);
	if (!rule.chain || !rule.text || !ARRAY_MORE(k->rules, k->n_rules)) {
		free(rule.chain);
		free(rule.text);
		return no_memory();
	}
	k->rules[k->n_rules++] = rule;
	return MNL_CB_OK;
}

static int on_set(const struct nlmsghdr *nlh, void *arg)
{
	struct np_kernel *k = arg;
	struct nftnl_set *s = nftnl_set_alloc();
	struct np_kernel_set set = { 0 };

	if (!s)
		return no_memory();
	if (nftnl_set_nlmsg_parse(nlh, s) < 0 || !nftnl_set_is_set(s, NFTNL_SET_NAME) ||
	    !is_our_table(nftnl_set_get_str(s, NFTNL_SET_TABLE),
			  nftnl_set_get_u32(s, NFTNL_SET_FAMILY))) {
		nftnl_set_free(s);
		return MNL_CB_OK;
	}
	set.name = strdup(nftnl_set_get_str(s, NFTNL_SET_NAME));
	set.flags = nftnl_set_get_u32(s, NFTNL_SET_FLAGS);
	set.key_type = nftnl_set_get_u32(s, NFTNL_SET_KEY_TYPE);
	set.key_len = nftnl_set_get_u32(s, NFTNL_SET_KEY_LEN);
	nftnl_set_free(s);
	if (!set.name || !ARRAY_MORE(k->sets, k->n_sets)) {
		free(set.name);
		return no_memory();
	}
	k->sets[k->n_sets++] = set;
	return MNL_CB_OK;
}

static int on_element(struct nftnl_set_elem *e, void *arg)
{
	struct np_kernel_set *set = arg;
	struct np_key key = { 0 };
	uint32_t len = 0;
	const void *data = nftnl_set_elem_get(e, NFTNL_SET_ELEM_KEY, &len);

	if (!ARRAY_MORE(set->keys, set->n_keys))
		return -1;
	if (nftnl_set_elem_is_set(e, NFTNL_SET_ELEM_FLAGS)) {
		uint32_t flags = nftnl_set_elem_get_u32(e, NFTNL_SET_ELEM_FLAGS);

		key.end = flags & NFT_SET_ELEM_INTERVAL_END;
		key.odd = flags & ~(uint32_t)NFT_SET_ELEM_INTERVAL_END;
	}
	if (!data || len != np_set_key_len(set->elements.type))
		key.odd = true;
	else
		memcpy(key.key, data, len);
	set->keys[set->n_keys++] = key;
	return 0;
}

static int on_elements(const struct nlmsghdr *nlh, void *arg)
{
	struct nftnl_set *s = nftnl_set_alloc();
	int result = MNL_CB_OK;

	if (!s)
		return no_memory();
	if (nftnl_set_elems_nlmsg_parse(nlh, s) == 0 &&
	    nftnl_set_elem_foreach(s, on_element, arg) < 0)
		result = no_memory();
	nftnl_set_free(s);
	return result;
}

static int on_flowtable(const struct nlmsghdr *nlh, void *arg)
{
	struct np_kernel *k = arg;
	struct nftnl_flowtable *f = nftnl_flowtable_alloc();
	char *text = NULL;

	if (!f)
		return no_memory();
	if (nftnl_flowtable_nlmsg_parse(nlh, f) == 0 &&
	    asprintf(&text, "%s in table %s", nftnl_flowtable_get_str(f, NFTNL_FLOWTABLE_NAME),
		     nftnl_flowtable_get_str(f, NFTNL_FLOWTABLE_TABLE)) < 0)
		text = NULL;
	nftnl_flowtable_free(f);
	if (!text || !ARRAY_MORE(k->flowtables, k->n_flowtables)) {
		free(text);
		return no_memory();
	}
	k->flowtables[k->n_flowtables++] = text;
	return MNL_CB_OK;
}

static int on_object(const struct nlmsghdr *nlh, void *arg)
{
	struct np_kernel *k = arg;
	struct nftnl_obj *o = nftnl_obj_alloc();

	if (!o)
		return no_memory();
	if (nftnl_obj_nlmsg_parse(nlh, o) == 0 &&
	    is_our_table(nftnl_obj_get_str(o, NFTNL_OBJ_TABLE),
			 nftnl_obj_get_u32(o, NFTNL_OBJ_FAMILY)))
		k->n_objects++;
	nftnl_obj_free(o);
	return MNL_CB_OK;
}

static int on_generation(const struct nlmsghdr *nlh, void *arg)
{
	struct nlattr *attr;

	mnl_attr_for_each(attr, nlh, sizeof(struct nfgenmsg))
		if (mnl_attr_get_type(attr) == NFTA_GEN_ID &&
		    mnl_attr_validate(attr, MNL_TYPE_U32) >= 0)
			*(uint32_t *)arg = ntohl(mnl_attr_get_u32(attr));
	return MNL_CB_OK;
}

static int dump(struct np_nl *nl, uint16_t type, uint8_t family, mnl_cb_t each, void *arg)
{
	char buf[512];
	struct nlmsghdr *nlh = nftnl_nlmsg_build_hdr(buf, type, family, 0, ++nl->seq);

	return np_nl_dump(nl, nlh, each, arg);
}

static int read_elements(struct np_nl *nl, struct np_kernel_set *set)
{
	char buf[1024];
	struct nlmsghdr *nlh = nftnl_nlmsg_build_hdr(buf, NFT_MSG_GETSETELEM, NFPROTO_INET, 0,
						     ++nl->seq);

	set->elements.name = set->name;
	set->elements.type = set->key_len == 4 ? NP_SET_IPV4 :
			     set->flags & NFT_SET_INTERVAL ? NP_SET_IPV6 : NP_SET_IFNAME;
	mnl_attr_put_strz(nlh, NFTA_SET_ELEM_LIST_TABLE, NP_TABLE_NAME);
	mnl_attr_put_strz(nlh, NFTA_SET_ELEM_LIST_SET, set->name);
	return np_nl_dump(nl, nlh, on_elements, set);
}

static int read_generation(struct np_nl *nl, uint32_t *generation)
{
	char buf[512];
	struct nlmsghdr *nlh = nftnl_nlmsg_build_hdr(buf, NFT_MSG_GETGEN, NFPROTO_UNSPEC, 0,
						     ++nl->seq);

	*generation = 0;
	return np_nl_get(nl, nlh, on_generation, generation);
}

int np_kernel_read(struct np_nl *nl, struct np_kernel *out)
{
	static const struct {
		uint16_t type;
		uint8_t family;
		mnl_cb_t each;
	} dumps[] = {
		{ NFT_MSG_GETTABLE, NFPROTO_INET, on_table },
		{ NFT_MSG_GETCHAIN, NFPROTO_INET, on_chain },
		{ NFT_MSG_GETRULE, NFPROTO_INET, on_rule },
		{ NFT_MSG_GETSET, NFPROTO_INET, on_set },
		{ NFT_MSG_GETOBJ, NFPROTO_INET, on_object },
		{ NFT_MSG_GETFLOWTABLE, NFPROTO_UNSPEC, on_flowtable },
	};
	uint32_t after;
	int code;

	memset(out, 0, sizeof(*out));
	code = read_generation(nl, &out->generation);
	for (size_t i = 0; i < ARRAY_SIZE(dumps) && code == 0; i++)
		code = dump(nl, dumps[i].type, dumps[i].family, dumps[i].each, out);
	for (size_t i = 0; i < out->n_sets && code == 0; i++)
		code = read_elements(nl, &out->sets[i]);
	if (code == 0)
		code = read_generation(nl, &after);
	if (code == 0 && after != out->generation)
		code = EINTR;
	return code;
}

void np_kernel_release(struct np_kernel *kernel)
{
	for (size_t i = 0; i < kernel->n_chains; i++)
		nftnl_chain_free(kernel->chains[i]);
	for (size_t i = 0; i < kernel->n_rules; i++) {
		free(kernel->rules[i].chain);
		free(kernel->rules[i].text);
	}
	for (size_t i = 0; i < kernel->n_sets; i++) {
		free(kernel->sets[i].name);
		free(kernel->sets[i].keys);
		free(kernel->sets[i].elements.ranges);
	}
	for (size_t i = 0; i < kernel->n_flowtables; i++)
		free(kernel->flowtables[i]);
	free(kernel->chains);
	free(kernel->rules);
	free(kernel->sets);
	free(kernel->flowtables);
	memset(kernel, 0, sizeof(*kernel));
}
