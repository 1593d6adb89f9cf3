/*
 * listeners.c - one worker's sockets: TPROXY listeners and DNS, for both families
 *
 * The master keeps a copy of each, so connections that wait in a queue outlive a worker that
 * crashed: its replacement takes them. When the master dies no copy is left and the kernel drops
 * what arrives (decision 10). A machine without IPv6 is served without.
 *
 * A reload closes listeners whose queues may hold connections. With net.ipv4.tcp_migrate_req (Linux
 * 5.14) the kernel moves those to another listener of the same port, so that none is lost; it is
 * switched on here, for this network namespace, where that is possible.
 */
#include "gateway/process/master_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "gateway/net/net.h"

#define DNS_PORT 53

void listeners_none(int fds[CHANNEL_FDS_MAX])
{
	for (int i = 0; i < CHANNEL_FDS_MAX; i++)
		fds[i] = -1;
}

void listeners_close(int fds[CHANNEL_FDS_MAX])
{
	for (int i = 0; i < CHANNEL_FDS_MAX; i++)
		if (fds[i] >= 0)
			close(fds[i]);
	listeners_none(fds);
}

void listeners_prepare(void)
{
	int fd = open("/proc/sys/net/ipv4/tcp_migrate_req", O_WRONLY | O_CLOEXEC);
	bool ok = fd >= 0 && write(fd, "1\n", 2) == 2;

	if (!ok)
		LOG_EVENT(LOG_LEVEL_DEBUG, "listen.no_migration",
			  KV("meaning", "a reload may reset connections that are being opened"));
	if (fd >= 0)
		close(fd);
}

static enum err open_family(const struct config *cfg, int family, int fds[3], const char **what)
{
	*what = "tproxy";
	TRY(net_listen_tproxy(family, cfg->gateway.tproxy.port, &fds[0]));
	*what = "dns";
	TRY(net_listen_udp_tproxy(family, cfg->gateway.dns.port, &fds[1]));
	*what = "dns answers";
	return net_udp_reply_socket(family, DNS_PORT, &fds[2]);
}

enum err listeners_open(const struct config *cfg, int fds[CHANNEL_FDS_MAX])
{
	static const int families[2] = { AF_INET, AF_INET6 };

	listeners_none(fds);
	for (int i = 0; i < 2; i++) {
		const char *what = "";
		enum err e = open_family(cfg, families[i], fds + i * 3, &what);

		if (e == ERR_OK)
			continue;
		if (families[i] == AF_INET6 && (errno == EAFNOSUPPORT || errno == EADDRNOTAVAIL)) {
			for (int k = 3; k < CHANNEL_FDS_MAX; k++)
				if (fds[k] >= 0)
					close(fds[k]);
			fds[3] = fds[4] = fds[5] = -1;
			LOG_EVENT(LOG_LEVEL_INFO, "listen.no_ipv6", KV("why", strerror(errno)));
			continue;
		}
		LOG_EVENT(LOG_LEVEL_ERROR, "listen.failed", KV("socket", what),
			  KV("family", families[i] == AF_INET ? "ipv4" : "ipv6"),
			  KV("why", strerror(errno)));
		listeners_close(fds);
		return e;
	}
	return ERR_OK;
}
