/*
 * dns_internal.h - shared by the files of the dns room
 *
 * dgram.c moves datagrams, server.c decides about questions; a question knows where its answer goes
 * only by `reply` and `cookie`.
 */
#pragma once

#include "gateway/dns/dns.h"

/* AF_INET for A, AF_INET6 for AAAA, 0 for any other type. */
int dns_family_of(uint16_t type);

/* The sockets of one family. */
struct dns_dgram {
	uv_poll_t poll;
	struct dns_server *server; /* borrowed */
	int family;
	int recv_fd, send_fd; /* owned */
};

/* Where a datagram came from and was meant for. */
struct dns_path {
	const struct dns_dgram *dgram; /* NULL: the question came by a stream */
	struct addr source;
	struct addr local; /* the original destination: the answer's source */
};

/* Takes over both sockets, also on failure. */
enum err dns_dgram_open(struct dns_dgram *d, uv_loop_t *uv,
			const struct dns_sockets *sockets) WARN_UNUSED;
/* dns_server_on_dgram_closed() comes in a later turn. */
void dns_dgram_close(struct dns_dgram *d);
void dns_sockets_close(const struct dns_sockets *sockets);
/* An answer that cannot be sent is lost, as datagrams may be. */
void dns_dgram_send(const struct dns_path *path, struct bytes answer);

/* server.c, called by dgram.c */
void dns_server_on_datagram(struct dns_server *s, const struct dns_path *path, struct bytes msg);
void dns_server_on_dgram_closed(struct dns_server *s);
