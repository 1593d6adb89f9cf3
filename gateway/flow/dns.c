/*
 * dns.c - questions over TCP port 53 (RFC 7766), answered like those over UDP
 *
 * One question at a time: while one is being answered the leg is paused, so a flood waits in the
 * kernel.
 */
#include "gateway/flow/flow_internal.h"

#include <stdlib.h>

struct flow_dns {
	struct dns_stream stream;
	bool waiting;
};

void flow_dns_begin(struct flow *f)
{
	flow_move(f, FLOW_DNS);
	if (!f->server->env.dns) {
		flow_refuse(f, ERR_DENY_PORT, NULL);
		return;
	}
	f->dns = calloc(1, sizeof(*f->dns));
	if (!f->dns) {
		flow_refuse(f, ERR_NOMEM, NULL);
		return;
	}
	dns_stream_init(&f->dns->stream);
	net_timer_start(&f->timer, f->server->env.head_ms);
}

static void dns_on_reply(void *cookie, struct bytes answer)
{
	struct flow *f = cookie;
	struct buf framed;

	f->dns->waiting = false;
	if (answer.n == 0) {
		flow_close(f);
		return;
	}
	buf_init(&framed, 65536 + 2);
	if (dns_stream_frame(answer, &framed) != ERR_OK ||
	    leg_write(&f->leg, buf_bytes(&framed)) != ERR_OK || leg_flush(&f->leg) != ERR_OK)
		flow_reset(f);
	buf_release(&framed);
	leg_resume(&f->leg);
}

size_t flow_dns_data(struct flow *f, struct bytes in)
{
	size_t total = 0;

	while (f->state == FLOW_DNS && !f->dns->waiting && total < in.n) {
		struct bytes msg;
		size_t eaten = 0;
		enum err e = dns_stream_feed(&f->dns->stream, bytes_from(in, total), &eaten, &msg);

		total += eaten;
		if (e == ERR_AGAIN)
			break;
		if (e != ERR_OK) {
			flow_refuse(f, e, NULL);
			return in.n;
		}
		f->dns->waiting = true;
		net_timer_start(&f->timer, f->server->env.head_ms);
		dns_server_query(f->server->env.dns, &f->facts.peer, msg, dns_on_reply, f);
	}
	if (f->state != FLOW_DNS)
		return in.n;
	if (f->dns->waiting)
		leg_pause(&f->leg);
	return total;
}

void flow_dns_end(struct flow *f)
{
	if (!f->dns)
		return;
	if (f->server->env.dns)
		dns_server_cancel(f->server->env.dns, f);
	free(f->dns);
	f->dns = NULL;
}
