/*
 * nft_apply.c - the table into the kernel, in one atomic transaction
 *
 * One batch: add table, delete table, add table, chains, sets, elements, rules. Adding first makes
 * the deletion succeed on an empty kernel too; the kernel commits all or nothing, so there is no
 * moment without rules. Every message asks for an ack; a missing ack is a failure like an error is,
 * and each failure names its object.
 *
 * Removing is the same batch without what follows the deletion.
 */
#include <errno.h>
#include <netinet/in.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <stdlib.h>

#include "netpolicy/nft_internal.h"

#define MESSAGE_MAX (64 * 1024)		/* far above the largest message that is built here */
#define ELEMENTS_PER_MESSAGE 256

struct batch_entry {
	uint32_t seq;
	bool acked;
	char object[192];
};

struct batch {
	struct np_nl *nl;		/* borrowed */
	struct np_report *report;	/* borrowed */
	char *data;			/* owned */
	size_t n, cap;
	struct batch_entry *entries;	/* owned */
	size_t n_entries, cap_entries;
	bool failed;			/* out of memory, reported */
	int code;			/* errno of the last failure, or 0 */
};

static void batch_fail(struct batch *b)
{
	if (!b->failed)
		np_report_errno(b->report, "nftables transaction", ENOMEM, "");
	b->failed = true;
	b->code = ENOMEM;
}

static bool batch_room(struct batch *b)
{
	if (b->cap - b->n < MESSAGE_MAX) {
		size_t cap = b->cap ? b->cap * 2 : (size_t)4 * MESSAGE_MAX;
		char *data = realloc(b->data, cap);

		if (!data)
			return false;
		b->data = data;
		b->cap = cap;
	}
	if (b->n_entries == b->cap_entries) {
		size_t cap = b->cap_entries ? b->cap_entries * 2 : 64;
		struct batch_entry *entries = realloc(b->entries, cap * sizeof(*entries));

		if (!entries)
			return false;
		b->entries = entries;
		b->cap_entries = cap;
	}
	return true;
}

/* Opens a message; batch_commit() closes it. NULL: out of memory, reported. */
static struct nlmsghdr *batch_message(struct batch *b, uint16_t type, uint16_t flags,
				      const char *object)
{
	struct batch_entry *entry;

	if (b->failed || !batch_room(b)) {
		batch_fail(b);
		return NULL;
	}
	entry = &b->entries[b->n_entries++];
	memset(entry, 0, sizeof(*entry));
	entry->seq = ++b->nl->seq;
	snprintf(entry->object, sizeof(entry->object), "%s", object);
	return nftnl_nlmsg_build_hdr(b->data + b->n, type, NFPROTO_INET,
				     (uint16_t)(flags | NLM_F_ACK), entry->seq);
}

static void batch_commit(struct batch *b, const struct nlmsghdr *nlh)
{
	b->n += MNL_ALIGN(nlh->nlmsg_len);
}

static void batch_mark(struct batch *b, uint16_t type)
{
	struct nlmsghdr *nlh;

	if (b->failed || !batch_room(b)) {
		batch_fail(b);
		return;
	}
	nlh = type == NFNL_MSG_BATCH_BEGIN ? nftnl_batch_begin(b->data + b->n, ++b->nl->seq) :
					     nftnl_batch_end(b->data + b->n, ++b->nl->seq);
	b->n += MNL_ALIGN(nlh->nlmsg_len);
}

static void batch_table(struct batch *b, uint16_t type, uint16_t flags, const char *object)
{
	struct nftnl_table *t = np_wire_table();
	struct nlmsghdr *nlh = t ? batch_message(b, type, flags, object) : NULL;

	if (nlh) {
		nftnl_table_nlmsg_build_payload(nlh, t);
		batch_commit(b, nlh);
	} else {
		batch_fail(b);
	}
	if (t)
		nftnl_table_free(t);
}

static void batch_chain(struct batch *b, const struct np_chain *chain)
{
	struct nftnl_chain *c = np_wire_chain(chain);
	struct nlmsghdr *nlh;
	char object[64];

	snprintf(object, sizeof(object), "nft chain %s", chain->name);
	nlh = c ? batch_message(b, NFT_MSG_NEWCHAIN, NLM_F_CREATE, object) : NULL;
	if (nlh) {
		nftnl_chain_nlmsg_build_payload(nlh, c);
		batch_commit(b, nlh);
	} else {
		batch_fail(b);
	}
	if (c)
		nftnl_chain_free(c);
}

static void batch_elements(struct batch *b, const struct np_set *set, uint32_t id)
{
	char object[64];

	snprintf(object, sizeof(object), "nft set %s: elements", set->name);
	for (size_t from = 0; from < set->n && !b->failed; from += ELEMENTS_PER_MESSAGE) {
		size_t to = set->n - from > ELEMENTS_PER_MESSAGE ? from + ELEMENTS_PER_MESSAGE
								 : set->n;
		struct nftnl_set *s = np_wire_set(set, id);
		struct nlmsghdr *nlh = NULL;

		if (s && np_wire_elements(set, from, to, s))
			nlh = batch_message(b, NFT_MSG_NEWSETELEM, NLM_F_CREATE | NLM_F_EXCL,
					    object);
		if (nlh) {
			nftnl_set_elems_nlmsg_build_payload(nlh, s);
			batch_commit(b, nlh);
		} else {
			batch_fail(b);
		}
		if (s)
			nftnl_set_free(s);
	}
}

static void batch_set(struct batch *b, const struct np_set *set, uint32_t id)
{
	struct nftnl_set *s = np_wire_set(set, id);
	struct nlmsghdr *nlh;
	char object[64];

	snprintf(object, sizeof(object), "nft set %s", set->name);
	nlh = s ? batch_message(b, NFT_MSG_NEWSET, NLM_F_CREATE, object) : NULL;
	if (nlh) {
		nftnl_set_nlmsg_build_payload(nlh, s);
		batch_commit(b, nlh);
	} else {
		batch_fail(b);
	}
	if (s)
		nftnl_set_free(s);
	batch_elements(b, set, id);
}

static void batch_rule(struct batch *b, const struct np_plan *plan, const struct np_rule *rule)
{
	struct nftnl_rule *r = np_wire_rule(plan, rule);
	struct nlmsghdr *nlh;
	char object[192];

	snprintf(object, sizeof(object), "nft rule in chain %s: %s", rule->chain, rule->text);
	nlh = r ? batch_message(b, NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND, object) : NULL;
	if (nlh) {
		nftnl_rule_nlmsg_build_payload(nlh, r);
		batch_commit(b, nlh);
	} else {
		batch_fail(b);
	}
	if (r)
		nftnl_rule_free(r);
}

static int batch_send(struct batch *b)
{
	int fd = mnl_socket_get_fd(b->nl->socket);
	/* The acks come back all at once and count with their bookkeeping. */
	int room_out = (int)(b->n + MESSAGE_MAX);
	int room_in = (int)(b->n_entries * 4096 + 1024 * 1024);

	/*
	 * Beyond the limit only with CAP_NET_ADMIN, without which the batch fails with better
	 * words.
	 */
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &room_out, sizeof(room_out));
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room_in, sizeof(room_in));
	return mnl_socket_sendto(b->nl->socket, b->data, b->n) < 0 ? errno : 0;
}

static void batch_answer(struct batch *b, const struct nlmsghdr *nlh, size_t *left)
{
	const struct nlmsgerr *error = mnl_nlmsg_get_payload(nlh);
	struct batch_entry *entry = NULL;

	if (nlh->nlmsg_type != NLMSG_ERROR || mnl_nlmsg_get_payload_len(nlh) < sizeof(*error))
		return;
	for (size_t i = 0; i < b->n_entries && !entry; i++)
		if (b->entries[i].seq == nlh->nlmsg_seq)
			entry = &b->entries[i];
	if (error->error == 0) {
		if (entry && !entry->acked) {
			entry->acked = true;
			(*left)--;
		}
		return;
	}
	b->nl->detail[0] = '\0';
	np_nl_detail(b->nl, nlh);
	if (error->error == -ENOENT && entry && strncmp(entry->object, "nft rule", 8) == 0 &&
	    !b->nl->detail[0])
		snprintf(b->nl->detail, sizeof(b->nl->detail),
			 "the kernel has no such expression (nft_tproxy, nft_fib_inet, "
			 "nft_reject_inet)");
	b->code = -error->error;
	np_report_errno(b->report, entry ? entry->object : "nftables transaction", b->code,
			b->nl->detail);
	/*
	 * The kernel has undone everything; the acks that are still to come say nothing any more.
	 */
	*left = 0;
}

/* Several messages may fail at once; what is in the buffer with the first failure is told too. */
static void batch_wait(struct batch *b)
{
	size_t left = b->n_entries;

	while (left > 0) {
		ssize_t n = mnl_socket_recvfrom(b->nl->socket, b->nl->rx, NP_NL_BUF);
		const struct nlmsghdr *nlh = (const struct nlmsghdr *)(const void *)b->nl->rx;
		int rest = (int)n;

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			b->code = n == 0 || errno == EAGAIN ? ETIMEDOUT : errno;
			np_report_errno(b->report, "nftables transaction", b->code,
					"an answer is missing");
			return;
		}
		for (; mnl_nlmsg_ok(nlh, rest); nlh = mnl_nlmsg_next(nlh, &rest))
			batch_answer(b, nlh, &left);
	}
}

static void batch_run(struct batch *b)
{
	batch_mark(b, NFNL_MSG_BATCH_END);
	if (b->failed)
		return;
	b->code = batch_send(b);
	if (b->code)
		np_report_errno(b->report, "nftables transaction", b->code, "");
	else
		batch_wait(b);
}

static int batch_open(struct batch *b, struct np_nl *nl, struct np_report *report)
{
	int code = np_nl_open(nl, NETLINK_NETFILTER);

	memset(b, 0, sizeof(*b));
	b->nl = nl;
	b->report = report;
	if (code) {
		np_report_errno(report, "netfilter netlink socket", code, "");
		np_nl_close(nl);
		return code;
	}
	batch_mark(b, NFNL_MSG_BATCH_BEGIN);
	batch_table(b, NFT_MSG_NEWTABLE, NLM_F_CREATE, "nft table " NP_TABLE_NAME);
	batch_table(b, NFT_MSG_DELTABLE, 0, "nft table " NP_TABLE_NAME " (older one)");
	return 0;
}

static int batch_close(struct batch *b)
{
	np_nl_close(b->nl);
	free(b->data);
	free(b->entries);
	return b->code;
}

int np_nft_apply(const struct np_plan *plan, struct np_report *report)
{
	struct np_nl nl;
	struct batch b;
	int code = batch_open(&b, &nl, report);

	if (code)
		return code;
	batch_table(&b, NFT_MSG_NEWTABLE, NLM_F_CREATE, "nft table " NP_TABLE_NAME);
	for (size_t i = 0; i < NP_N_CHAINS; i++)
		batch_chain(&b, &plan->chains[i]);
	for (size_t i = 0; i < NP_N_SETS; i++)
		batch_set(&b, &plan->sets[i], (uint32_t)i + 1);
	for (size_t i = 0; i < plan->n_rules; i++)
		batch_rule(&b, plan, &plan->rules[i]);
	batch_run(&b);
	return batch_close(&b);
}

int np_nft_remove(struct np_report *report)
{
	struct np_nl nl;
	struct batch b;
	int code = batch_open(&b, &nl, report);

	if (code)
		return code;
	batch_run(&b);
	return batch_close(&b);
}
