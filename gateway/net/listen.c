/*
 * listen.c - sockets that need a privilege, made by the master before it is given up
 *
 * TCP: the listener is transparent (tcp(7), ip(7) IP_TRANSPARENT), so TPROXY may hand it
 * connections to any address and the accepted sockets answer from there. UDP: the same, and the
 * original destination comes as ancillary data. What accepted sockets inherit from the listener (no
 * delay, keep-alive) is set once here.
 *
 * A process without privilege can neither set IP_TRANSPARENT nor bind port 53, so the socket for
 * DNS answers is made here too: bound to port 53 of every address, sending from whichever one
 * IP_PKTINFO names. It never receives: a one-instruction filter drops everything.
 */
#include "gateway/net/net_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/in6.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <unistd.h>

#define BACKLOG 4096
#define UDP_RCVBUF (1024 * 1024)

#define KEEPALIVE_IDLE_S 60
#define KEEPALIVE_INTERVAL_S 15
#define KEEPALIVE_COUNT 4

static bool set_int(int fd, int level, int option, int value)
{
	return setsockopt(fd, level, option, &value, sizeof(value)) == 0;
}

static bool set_transparent(int fd, int family)
{
	if (family == AF_INET)
		return set_int(fd, IPPROTO_IP, IP_TRANSPARENT, 1);
	return set_int(fd, IPPROTO_IPV6, IPV6_TRANSPARENT, 1);
}

static bool set_keepalive(int fd)
{
	return set_int(fd, IPPROTO_TCP, TCP_NODELAY, 1) &&
	       set_int(fd, SOL_SOCKET, SO_KEEPALIVE, 1) &&
	       set_int(fd, IPPROTO_TCP, TCP_KEEPIDLE, KEEPALIVE_IDLE_S) &&
	       set_int(fd, IPPROTO_TCP, TCP_KEEPINTVL, KEEPALIVE_INTERVAL_S) &&
	       set_int(fd, IPPROTO_TCP, TCP_KEEPCNT, KEEPALIVE_COUNT);
}

static bool bind_to(int fd, const struct addr *at)
{
	struct sockaddr_storage ss;
	socklen_t len = addr_to_sockaddr(at, &ss);

	return bind(fd, (const struct sockaddr *)&ss, len) == 0;
}

/* A socket with the options all of them share; -1 with errno. */
static int open_socket(int family, int type)
{
	int fd = socket(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -1;
	if (set_int(fd, SOL_SOCKET, SO_REUSEADDR, 1) && set_int(fd, SOL_SOCKET, SO_REUSEPORT, 1) &&
	    (family != AF_INET6 || set_int(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1)))
		return fd;
	close(fd);
	return -1;
}

static enum err close_failed(int fd)
{
	int error = errno;

	if (fd >= 0)
		close(fd);
	errno = error;
	return ERR_IO;
}

static struct addr any_address(int family, uint16_t port)
{
	return (struct addr){ .family = (uint8_t)family, .port = port };
}

enum err net_listen_tproxy(int family, uint16_t port, int *out)
{
	struct addr any = any_address(family, port);
	int fd = open_socket(family, SOCK_STREAM);

	if (fd < 0 || !set_transparent(fd, family) || !set_keepalive(fd) || !bind_to(fd, &any) ||
	    listen(fd, BACKLOG) != 0)
		return close_failed(fd);
	*out = fd;
	return ERR_OK;
}

enum err net_listen_udp_tproxy(int family, uint16_t port, int *out)
{
	struct addr any = any_address(family, port);
	int fd = open_socket(family, SOCK_DGRAM);
	int level = family == AF_INET ? IPPROTO_IP : IPPROTO_IPV6;
	int option = family == AF_INET ? IP_RECVORIGDSTADDR : IPV6_RECVORIGDSTADDR;

	if (fd < 0 || !set_transparent(fd, family) || !set_int(fd, level, option, 1) ||
	    !bind_to(fd, &any))
		return close_failed(fd);
	/* A burst should survive one busy turn; what the system grants is good enough. */
	set_int(fd, SOL_SOCKET, SO_RCVBUF, UDP_RCVBUF);
	*out = fd;
	return ERR_OK;
}

enum err net_udp_reply_socket(int family, uint16_t port, int *out)
{
	struct sock_filter drop = BPF_STMT(BPF_RET | BPF_K, 0);
	struct sock_fprog filter = { .len = 1, .filter = &drop };
	struct addr any = any_address(family, port);
	int fd = open_socket(family, SOCK_DGRAM);

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof(filter)) != 0 ||
	    !set_transparent(fd, family) || !bind_to(fd, &any))
		return close_failed(fd);
	*out = fd;
	return ERR_OK;
}

enum err net_listen_tcp(struct addr *at, int *out)
{
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);
	int fd = open_socket(at->family, SOCK_STREAM);

	if (fd < 0 || !set_keepalive(fd) || !bind_to(fd, at) || listen(fd, BACKLOG) != 0 ||
	    getsockname(fd, (struct sockaddr *)&ss, &len) != 0)
		return close_failed(fd);
	addr_from_sockaddr(at, (const struct sockaddr *)&ss);
	*out = fd;
	return ERR_OK;
}

enum err net_fd_inherit(int fd)
{
	int flags = fcntl(fd, F_GETFD);

	if (flags < 0 || fcntl(fd, F_SETFD, flags & ~FD_CLOEXEC) != 0)
		return ERR_IO;
	return ERR_OK;
}
