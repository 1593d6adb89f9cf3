/*
 * test_dns_tproxy.c - captured for real: two network namespaces, TPROXY, both families
 *
 * links: room_net room_dns
 *
 * The agent asks servers that do not exist. The gateway makes its sockets, gives up every
 * privilege, and answers; the agent checks that each answer comes from the address and port it
 * asked. The same for a TCP connection: the acceptor must name the destination the agent meant.
 * Namespaces are unnamed and vanish with the test. Skipped (77) without the right to make them.
 */
#include "gateway/dns/dns.h"
#include "gateway/net/net.h"

#include <grp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define SKIP 77
#define TRANSPARENT_PORT 15001
#define DNS_PORT 15053

static void must(bool holds, const char *what)
{
	if (holds)
		return;
	fprintf(stderr, "FAILED: %s\n", what);
	exit(1);
}

static void skip(const char *why)
{
	printf("SKIPPED: %s\n", why);
	exit(SKIP);
}

static void run(const char *script)
{
	must(system(script) == 0, script);
}

static void byte_to(int fd)
{
	must(write(fd, "x", 1) == 1, "telling the other process");
}

static void byte_from(int fd)
{
	char c;

	must(read(fd, &c, 1) == 1, "waiting for the other process");
}

/* ---- the agent -------------------------------------------------------------------------- */

static const char agent_setup[] =
	"ip link set lo up && ip addr add 10.9.0.2/24 dev ag0 &&"
	"ip -6 addr add fd09::2/64 dev ag0 nodad && ip link set ag0 up &&"
	"ip route add default via 10.9.0.1 && ip -6 route add default via fd09::1";

static int agent_socket(const char *ip, uint16_t port, int type, struct addr *to)
{
	struct timeval patience = { .tv_sec = 10 };
	struct sockaddr_storage ss;
	socklen_t len;
	int fd;

	must(addr_parse_ip(to, bytes_str(ip)), "address");
	to->port = port;
	len = addr_to_sockaddr(to, &ss);
	fd = socket(to->family, type, 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	/* A connected datagram socket takes answers from this address and port only. */
	must(fd >= 0 && connect(fd, (struct sockaddr *)&ss, len) == 0, "connect");
	return fd;
}

static void agent_asks(const char *server, uint16_t type, const uint8_t *want, size_t n)
{
	uint8_t question[] = "\x12\x34\1\0\0\1\0\0\0\0\0\0\2ok\7example\0\0\1\0\1";
	uint8_t answer[512];
	struct addr to;
	int fd = agent_socket(server, 53, SOCK_DGRAM, &to);
	ssize_t got;

	question[sizeof(question) - 4] = (uint8_t)type;
	must(send(fd, question, sizeof(question) - 1, 0) == sizeof(question) - 1, "asking");
	got = recv(fd, answer, sizeof(answer), 0);
	must(got > (ssize_t)n && memcmp(answer, "\x12\x34\x81\x80", 4) == 0 &&
		     memcmp(answer + got - n, want, n) == 0,
	     "an answer from where the question went");
	close(fd);
}

static void agent_connects(const char *ip)
{
	struct addr to;
	int fd = agent_socket(ip, 443, SOCK_STREAM, &to);
	char want[ADDR_TEXT_MAX], got[ADDR_TEXT_MAX + 1];
	ssize_t n = recv(fd, got, ADDR_TEXT_MAX, MSG_WAITALL);

	must(n > 0, "the acceptor's answer");
	got[n] = '\0';
	must(strcmp(got, addr_text(&to, want)) == 0, "the acceptor named the destination");
	close(fd);
}

static void agent_main(int go, int ready)
{
	must(unshare(CLONE_NEWNET) == 0, "the agent's namespace");
	byte_to(ready);
	byte_from(go);
	run(agent_setup);
	agent_asks("203.0.113.53", 1, (const uint8_t *)"\xc0\0\2\1", 4);
	agent_asks("8.8.8.8", 28, (const uint8_t *)"\x20\1\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\1", 16);
	agent_asks("2001:db8:53::53", 1, (const uint8_t *)"\xc0\0\2\1", 4);
	/* The gateway's own address is captured like any other. */
	agent_asks("10.9.0.1", 1, (const uint8_t *)"\xc0\0\2\1", 4);
	agent_connects("203.0.113.9");
	agent_connects("2001:db8:9::9");
	exit(0);
}

/* ---- the gateway ------------------------------------------------------------------------ */

static const char gateway_setup[] =
	"ip link set lo up && ip addr add 10.9.0.1/24 dev gw0 &&"
	"ip -6 addr add fd09::1/64 dev gw0 nodad && ip link set gw0 up && "
	"for f in -4 -6; do ip $f rule add fwmark 0x534c lookup 0x534c &&"
	"ip $f route add local default dev lo table 0x534c || exit 1; done; "
	"nft -f - <<'E'\n"
	"table inet t { chain p { type filter hook prerouting priority mangle; policy accept;\n"
	"iifname != \"gw0\" return\n"
	"meta l4proto tcp tproxy to :15001 meta mark set 0x534c accept\n"
	"udp dport 53 tproxy to :15053 meta mark set 0x534c accept\n"
	"meta l4proto icmpv6 accept\n"
	"counter drop; }; }\nE\n";

static enum err gw_allowed(void *owner, const struct addr *source, const char *name)
{
	(void)owner;
	(void)source;
	return strcmp(name, "ok.example") == 0 ? ERR_OK : ERR_DENY_NAME;
}

static void gw_resolve(void *owner, const char *name, int family,
		       void (*done)(void *cookie, const struct dns_result *result), void *cookie)
{
	struct addr a;
	struct dns_result r = { .addrs = &a, .n = 1, .ttl = 5 };

	(void)owner;
	(void)name;
	addr_parse_ip(&a, bytes_str(family == AF_INET ? "192.0.2.1" : "2001:db8::1"));
	done(cookie, &r);
}

static const struct dns_server_ops dns_ops = { .allowed = gw_allowed, .resolve = gw_resolve };

static void gw_accept(void *owner, int fd, const struct addr *local, const struct addr *peer)
{
	char text[ADDR_TEXT_MAX];

	(void)owner;
	(void)peer;
	addr_text(local, text);
	must(write(fd, text, strlen(text)) == (ssize_t)strlen(text), "answering the connection");
	close(fd);
}

static const struct net_acceptor_ops acceptor_ops = { .on_accept = gw_accept };

struct gateway {
	uv_loop_t uv;
	struct net_loop loop;
	struct net_acceptor acceptors[2];
	struct dns_server *dns;
	uv_poll_t agent_gone;
	int agent_fd;
};

static void gw_on_agent_gone(uv_poll_t *p, int status, int events)
{
	struct gateway *g = container_of(p, struct gateway, agent_gone);

	(void)status;
	(void)events;
	uv_close((uv_handle_t *)p, NULL);
	dns_server_close(g->dns, NULL);
	for (size_t i = 0; i < 2; i++)
		net_acceptor_close(&g->acceptors[i]);
	net_loop_close(&g->loop, NULL, NULL);
}

static void drop_privileges(void)
{
	must(setgroups(0, NULL) == 0 && setresgid(65534, 65534, 65534) == 0 &&
		     setresuid(65534, 65534, 65534) == 0 &&
		     prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0,
	     "giving up privileges");
	must(socket(AF_INET, SOCK_RAW, 1) < 0, "privileges are gone");
}

static void gateway_serves(struct gateway *g, int go)
{
	static const int families[] = { AF_INET, AF_INET6 };
	struct dns_sockets dns[2];
	int tcp[2];

	for (size_t i = 0; i < 2; i++) {
		dns[i].family = families[i];
		must(net_listen_tproxy(families[i], TRANSPARENT_PORT, &tcp[i]) == ERR_OK &&
			     net_listen_udp_tproxy(families[i], DNS_PORT, &dns[i].recv_fd) ==
				     ERR_OK &&
			     net_udp_reply_socket(families[i], 53, &dns[i].send_fd) == ERR_OK,
		     "listeners");
	}
	drop_privileges();
	must(uv_loop_init(&g->uv) == 0 && net_loop_init(&g->loop, &g->uv) == ERR_OK, "loop");
	for (size_t i = 0; i < 2; i++)
		must(net_acceptor_open(&g->acceptors[i], &g->loop, tcp[i], &acceptor_ops, NULL) ==
			     ERR_OK,
		     "acceptor");
	g->dns = dns_server_open(&g->uv, dns, 2, &dns_ops, NULL);
	must(g->dns != NULL, "server");
	uv_poll_init(&g->uv, &g->agent_gone, g->agent_fd);
	uv_poll_start(&g->agent_gone, UV_READABLE, gw_on_agent_gone);
	byte_to(go);
	uv_run(&g->uv, UV_RUN_DEFAULT);
	must(uv_loop_close(&g->uv) == 0, "everything is closed");
}

int main(void)
{
	struct gateway g = { .agent_fd = -1 };
	int go[2], ready[2], status;
	char link[128];
	pid_t agent;

	alarm(60);
	if (geteuid() != 0 || unshare(CLONE_NEWNET) != 0)
		skip("making network namespaces needs root");
	if (system("command -v ip nft >/dev/null") != 0)
		skip("ip and nft are needed");
	must(pipe(go) == 0 && pipe(ready) == 0, "pipe");
	agent = fork();
	must(agent >= 0, "fork");
	if (agent == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(ready[0]);
		close(go[1]);
		agent_main(go[0], ready[1]);
	}
	close(ready[1]);
	close(go[0]);
	byte_from(ready[0]);
	snprintf(link, sizeof(link), "ip link add gw0 type veth peer name ag0 netns %d",
		 (int)agent);
	run(link);
	run(gateway_setup);
	g.agent_fd = ready[0];
	gateway_serves(&g, go[1]);
	must(waitpid(agent, &status, 0) == agent, "waiting for the agent");
	must(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the agent saw what it should");
	printf("PASSED: answers and connections keep the destination, both families\n");
	return 0;
}
