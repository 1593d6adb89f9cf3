/*
 * wire.h - what the benchmark's client and server share: HTTP/1.1 framing and a TLS socket
 *
 * Both ends are the benchmark's own and see only what they wrote or what a proxy made of it, so
 * the framing here counts and does not judge. Nothing in the product uses it.
 */
#pragma once

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WIRE_HEAD_MAX 8192u
#define WIRE_IO 65536u

enum wire_io { WIRE_OK, WIRE_WAIT, WIRE_END };

/* One message being read. head stays readable (a string) until the next wire_begin(). */
struct wire {
	char head[WIRE_HEAD_MAX];
	size_t head_n;
	uint64_t body;	/* body bytes so far, without chunk framing */
	uint64_t left;	/* of the body, or of the chunk */
	int chunk;	/* where in a chunk's framing; see wire.c */
	bool answer;	/* a response: without a length it lasts until the connection ends */
	bool in_body, chunked, until_end, done, bad;
};

void wire_begin(struct wire *w, bool answer);

/* Eats up to the end of the message; returns how much it ate. Afterwards look at done and bad. */
size_t wire_feed(struct wire *w, const char *data, size_t n);

/* The value of a header field, or NULL; points into head and is not terminated. */
const char *wire_field(const struct wire *w, const char *name);

/* Edge-triggered, non-blocking. *n is how much went; less than wanted only with WIRE_WAIT. */
enum wire_io wire_read(SSL *ssl, char *buf, size_t cap, size_t *n);
enum wire_io wire_write(SSL *ssl, const char *data, size_t want, size_t *n);

/* Says good-bye where that is still possible, closes the socket, frees ssl. */
void wire_close(SSL *ssl);

double wire_now(void);	/* seconds, monotonic */
_Noreturn void wire_die(const char *what);
