/*
 * dgram.c - captured questions in, answers out from where the questions went
 *
 * TPROXY hands a datagram that was meant for any server's port 53 to our own port; its original
 * destination comes as ancillary data. The answer must come from that address and from port 53, and
 * a worker has no privilege to bind it; so it leaves by the inherited transparent socket, which
 * is bound to port 53 and takes its source address from the ancillary data of each message.
 */
#include "gateway/dns/dns_internal.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <unistd.h>

/* Not in every libc's headers. */
#ifndef IPV6_ORIGDSTADDR
#define IPV6_ORIGDSTADDR 74
#endif
#ifndef IP_ORIGDSTADDR
#define IP_ORIGDSTADDR 20
#endif

/* Datagrams per wake-up, so that a flood of questions leaves time for the flows. */
#define BATCH 32
#define DNS_PORT 53

union control {
	struct cmsghdr align;
	uint8_t room[CMSG_SPACE(sizeof(struct sockaddr_in6)) + CMSG_SPACE(64)];
};

static bool original_destination(struct msghdr *m, struct addr *out)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c; c = CMSG_NXTHDR(m, c)) {
		bool v4 = c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_ORIGDSTADDR;
		bool v6 = c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_ORIGDSTADDR;
		struct sockaddr_storage ss = { 0 };
		size_t n = v4 ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);

		if ((!v4 && !v6) || c->cmsg_len < CMSG_LEN(n))
			continue;
		memcpy(&ss, CMSG_DATA(c), n);
		return addr_from_sockaddr(out, (const struct sockaddr *)&ss);
	}
	return false;
}

/* One datagram; false when there is none for now. */
static bool dgram_take(struct dns_dgram *d)
{
	uint8_t data[DNS_STREAM_QUERY_MAX];
	struct sockaddr_storage from;
	union control control;
	struct iovec iov = { .iov_base = data, .iov_len = sizeof(data) };
	struct msghdr m = {
		.msg_name = &from,
		.msg_namelen = sizeof(from),
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};
	struct dns_path path = { .dgram = d };
	ssize_t n = recvmsg(d->recv_fd, &m, 0);

	if (n < 0)
		return errno == EINTR;
	/* Longer than any question, or not captured: nobody's. */
	if ((m.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) ||
	    !addr_from_sockaddr(&path.source, (const struct sockaddr *)&from) ||
	    !original_destination(&m, &path.local) || path.local.port != DNS_PORT)
		return true;
	dns_server_on_datagram(d->server, &path, bytes_of(data, (size_t)n));
	return true;
}

static void dgram_on_readable(uv_poll_t *poll, int status, int events);

static void dgram_listen(struct dns_dgram *d)
{
	uv_poll_start(&d->poll, UV_READABLE, dgram_on_readable);
}

static void dgram_on_readable(uv_poll_t *poll, int status, int events)
{
	struct dns_dgram *d = container_of(poll, struct dns_dgram, poll);

	(void)events;
	for (int i = 0; i < BATCH && !uv_is_closing((uv_handle_t *)poll); i++)
		if (!dgram_take(d))
			break;
	/* libuv stops a handle whose descriptor reports an error; reading has cleared it. */
	if (status < 0 && !uv_is_closing((uv_handle_t *)poll))
		dgram_listen(d);
}

/* Puts the source address of an answer into the message's ancillary data. */
static void set_source(struct msghdr *m, const struct addr *local)
{
	struct cmsghdr *c = CMSG_FIRSTHDR(m);

	if (local->family == AF_INET) {
		struct in_pktinfo info = { 0 };

		memcpy(&info.ipi_spec_dst, local->ip, 4);
		c->cmsg_level = IPPROTO_IP;
		c->cmsg_type = IP_PKTINFO;
		c->cmsg_len = CMSG_LEN(sizeof(info));
		memcpy(CMSG_DATA(c), &info, sizeof(info));
		m->msg_controllen = CMSG_SPACE(sizeof(info));
	} else {
		struct in6_pktinfo info = { 0 };

		memcpy(&info.ipi6_addr, local->ip, 16);
		c->cmsg_level = IPPROTO_IPV6;
		c->cmsg_type = IPV6_PKTINFO;
		c->cmsg_len = CMSG_LEN(sizeof(info));
		memcpy(CMSG_DATA(c), &info, sizeof(info));
		m->msg_controllen = CMSG_SPACE(sizeof(info));
	}
}

void dns_dgram_send(const struct dns_path *path, struct bytes answer)
{
	uint8_t data[DNS_UDP_MAX];
	struct sockaddr_storage to;
	union control control;
	struct iovec iov = { .iov_base = data, .iov_len = answer.n };
	struct msghdr m = {
		.msg_name = &to,
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};
	ssize_t n;

	if (answer.n > sizeof(data))
		return;
	memcpy(data, answer.p, answer.n);
	memset(&control, 0, sizeof(control));
	m.msg_namelen = addr_to_sockaddr(&path->source, &to);
	set_source(&m, &path->local);
	do {
		n = sendmsg(path->dgram->send_fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		LOG_EVENT(LOG_LEVEL_DEBUG, "dns.send_failed", KV("to", &path->source),
			  KV("errno", errno));
}

void dns_sockets_close(const struct dns_sockets *sockets)
{
	close(sockets->recv_fd);
	close(sockets->send_fd);
}

enum err dns_dgram_open(struct dns_dgram *d, uv_loop_t *uv, const struct dns_sockets *sockets)
{
	d->family = sockets->family;
	d->recv_fd = sockets->recv_fd;
	d->send_fd = sockets->send_fd;
	if (uv_poll_init(uv, &d->poll, d->recv_fd) != 0) {
		dns_sockets_close(sockets);
		return ERR_IO;
	}
	dgram_listen(d);
	return ERR_OK;
}

static void dgram_on_closed(uv_handle_t *h)
{
	struct dns_dgram *d = container_of((uv_poll_t *)(void *)h, struct dns_dgram, poll);

	dns_server_on_dgram_closed(d->server);
}

void dns_dgram_close(struct dns_dgram *d)
{
	uv_close((uv_handle_t *)&d->poll, dgram_on_closed);
	close(d->recv_fd);
	close(d->send_fd);
	d->recv_fd = d->send_fd = -1;
}
