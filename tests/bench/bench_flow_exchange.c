/*
 * bench_flow_exchange.c - what one exchange costs in the gateway's own code
 * links: room_flow
 *
 *	bench_flow_exchange [EXCHANGES]
 *
 * The rig's data path with TLS on both legs, one agent that keeps its connection: ns per exchange
 * within the gateway's turns of the loop, system calls and the handshakes left out of the first
 * included in the second figure. `valgrind --tool=callgrind --toggle-collect=uv_run` counts
 * instructions, which other programs on the machine do not disturb.
 */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "tests/lib/rig.h"

#define REQUEST                                                                                    \
	"GET /v1/models HTTP/1.1\r\nHost: api.test\r\nUser-Agent: bench/1.0\r\nAccept: */*\r\n"    \
	"Authorization: Bearer " RIG_DUMMY_SAME "\r\nContent-Type: application/json\r\n\r\n"
#define REPLY                                                                                      \
	"HTTP/1.1 200 OK\r\nServer: bench\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\n"              \
	"Content-Type: application/json\r\nConnection: keep-alive\r\nX-Request-Id: 0123456789\r\n" \
	"Content-Length: %zu\r\n\r\n"

static struct rig rig;
static uint64_t begun_ns, spent_ns;

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void enter(void)
{
	begun_ns = now_ns();
}

static void leave(void)
{
	spent_ns += now_ns() - begun_ns;
}

static char *reply_of(size_t body)
{
	size_t cap = sizeof(REPLY) + 32 + body;
	char *text = malloc(cap);
	int n;

	RIG_NEED(text);
	n = snprintf(text, cap, REPLY, body);
	for (size_t i = 0; i < body; i++)
		text[(size_t)n + i] = (char)('a' + i * 7 % 26);
	text[(size_t)n + body] = '\0';
	return text;
}

static void exchange(struct rig_peer *agent, uint64_t until)
{
	rig_say(agent, REQUEST);
	while (agent->received < until)
		rig_turn(&rig);
	/* Nothing is looked at: the next one begins in the same memory. */
	rig.n_events = 0;
	buf_clear(&agent->in);
	for (size_t i = 0; i < rig.up.n_conns; i++)
		buf_clear(&rig.up.conns[i].in);
	rig.up.conns[0].taken = 0;
}

static void run(size_t body, unsigned n)
{
	struct rig_reply reply = { .text = reply_of(body) };
	struct rig_spec spec = { .tls = true, .enter = enter, .leave = leave };
	struct rig_peer *agent;
	uint64_t first, size;

	rig_open(&rig, &spec);
	rig.up.replies = &reply;
	rig.up.n_replies = 1;
	agent = rig_agent(&rig, 0);
	rig_say(agent, REQUEST);
	rig_settle(&rig);
	first = agent->received;
	RIG_NEED(first > body);
	exchange(agent, first * 2);
	size = agent->received - first;
	spent_ns = 0;
	for (unsigned i = 0; i < n; i++)
		exchange(agent, agent->received + size);
	printf("%7zu bytes: %8.0f ns per exchange\n", body, (double)spent_ns / n);
	RIG_NEED(rig_close(&rig));
	free((void *)(uintptr_t)reply.text);
}

int main(int argc, char **argv)
{
	unsigned n = argc > 1 ? (unsigned)strtoul(argv[1], NULL, 10) : 5000;

	if (n == 0)
		return 2;
	run(1024, n);
	if (argc < 3)
		run(100u << 10, n / 4 + 1);
	return 0;
}
