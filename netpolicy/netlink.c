/*
 * netlink.c - one netlink socket, numbered requests, every answer checked
 *
 * np_nl_do(): request with NLM_F_ACK -> the ack with its number, or an error. np_nl_dump(): request
 * -> messages -> done. Answers to other numbers are skipped (left over from a request that failed
 * half-way). The kernel's own words, where it has any (NLMSGERR_ATTR_MSG), stand in nl->detail
 * afterwards.
 */
#include <errno.h>
#include <linux/netlink.h>
#include <stdlib.h>
#include <sys/time.h>

#include "netpolicy/kernel_internal.h"

#define ANSWER_TIMEOUT_S 10	/* the kernel answers at once; a bug must not hang the caller */

int np_nl_open(struct np_nl *nl, int bus)
{
	struct timeval timeout = { .tv_sec = ANSWER_TIMEOUT_S };
	int on = 1;

	memset(nl, 0, sizeof(*nl));
	nl->rx = malloc(NP_NL_BUF);
	if (!nl->rx)
		return ENOMEM;
	nl->socket = mnl_socket_open2(bus, SOCK_CLOEXEC);
	if (!nl->socket)
		return errno;
	if (mnl_socket_bind(nl->socket, 0, MNL_SOCKET_AUTOPID) < 0)
		return errno;
	if (setsockopt(mnl_socket_get_fd(nl->socket), SOL_SOCKET, SO_RCVTIMEO, &timeout,
		       sizeof(timeout)) < 0)
		return errno;
	/* Absent on old kernels: then there are no words, only numbers. */
	(void)mnl_socket_setsockopt(nl->socket, NETLINK_EXT_ACK, &on, sizeof(on));
	nl->portid = mnl_socket_get_portid(nl->socket);
	return 0;
}

void np_nl_close(struct np_nl *nl)
{
	if (nl->socket)
		mnl_socket_close(nl->socket);
	free(nl->rx);
	memset(nl, 0, sizeof(*nl));
}

struct nlmsghdr *np_nl_request(struct np_nl *nl, void *buf, uint16_t type, uint16_t flags)
{
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);

	nlh->nlmsg_type = type;
	nlh->nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags);
	nlh->nlmsg_seq = ++nl->seq;
	return nlh;
}

void np_nl_detail(struct np_nl *nl, const struct nlmsghdr *nlh)
{
	const struct nlmsgerr *error = mnl_nlmsg_get_payload(nlh);
	size_t skip = sizeof(*error);
	struct nlattr *attr;

	if (!(nlh->nlmsg_flags & NLM_F_ACK_TLVS) || mnl_nlmsg_get_payload_len(nlh) < sizeof(*error))
		return;
	if (!(nlh->nlmsg_flags & NLM_F_CAPPED) && error->msg.nlmsg_len >= sizeof(error->msg))
		skip += error->msg.nlmsg_len - sizeof(error->msg);
	if (skip >= mnl_nlmsg_get_payload_len(nlh))
		return;
	mnl_attr_for_each(attr, nlh, (unsigned)skip)
		if (mnl_attr_get_type(attr) == NLMSGERR_ATTR_MSG &&
		    mnl_attr_validate(attr, MNL_TYPE_NUL_STRING) >= 0)
			snprintf(nl->detail, sizeof(nl->detail), "%s", mnl_attr_get_str(attr));
}

/* A dump that broke off says so in its last message. */
static int dump_end(const struct nlmsghdr *nlh)
{
	int code = 0;

	if (mnl_nlmsg_get_payload_len(nlh) >= sizeof(code))
		memcpy(&code, mnl_nlmsg_get_payload(nlh), sizeof(code));
	return code < 0 ? code : 0;
}

/* Takes what stands in the receive buffer. 1: more to come; 0: done; negative: an errno. */
static int answers_take(struct np_nl *nl, size_t n, mnl_cb_t each, void *arg)
{
	const struct nlmsghdr *nlh = (const struct nlmsghdr *)(const void *)nl->rx;
	int left = (int)n;

	for (; mnl_nlmsg_ok(nlh, left); nlh = mnl_nlmsg_next(nlh, &left)) {
		if (nlh->nlmsg_seq != nl->seq)
			continue;
		if (nlh->nlmsg_flags & NLM_F_DUMP_INTR)
			return -EINTR;
		if (nlh->nlmsg_type == NLMSG_ERROR) {
			const struct nlmsgerr *error = mnl_nlmsg_get_payload(nlh);

			if (mnl_nlmsg_get_payload_len(nlh) < sizeof(*error))
				return -EBADMSG;
			np_nl_detail(nl, nlh);
			return error->error;
		}
		if (nlh->nlmsg_type == NLMSG_DONE)
			return dump_end(nlh);
		if (nlh->nlmsg_type >= NLMSG_MIN_TYPE && each && each(nlh, arg) < MNL_CB_OK)
			return errno ? -errno : -EBADMSG;
	}
	return 1;
}

static int answers_wait(struct np_nl *nl, mnl_cb_t each, void *arg)
{
	for (;;) {
		ssize_t n = mnl_socket_recvfrom(nl->socket, nl->rx, NP_NL_BUF);
		int result;

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN ? ETIMEDOUT : errno;
		if (n == 0)
			return ECONNRESET;
		errno = 0;
		result = answers_take(nl, (size_t)n, each, arg);
		if (result <= 0)
			return -result;
	}
}

static int ask(struct np_nl *nl, struct nlmsghdr *nlh, uint16_t flags, mnl_cb_t each, void *arg)
{
	nl->detail[0] = '\0';
	nlh->nlmsg_flags |= flags;
	if (mnl_socket_sendto(nl->socket, nlh, nlh->nlmsg_len) < 0)
		return errno;
	return answers_wait(nl, each, arg);
}

int np_nl_do(struct np_nl *nl, struct nlmsghdr *nlh)
{
	return ask(nl, nlh, NLM_F_ACK, NULL, NULL);
}

int np_nl_get(struct np_nl *nl, struct nlmsghdr *nlh, mnl_cb_t each, void *arg)
{
	return ask(nl, nlh, NLM_F_ACK, each, arg);
}

int np_nl_dump(struct np_nl *nl, struct nlmsghdr *nlh, mnl_cb_t each, void *arg)
{
	return ask(nl, nlh, NLM_F_DUMP, each, arg);
}
