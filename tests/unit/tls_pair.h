/*
 * tls_pair.h - both ends of a TLS connection in memory, over a test CA: for the tests of the tls
 * room
 *
 * The bytes of each direction go through `pace`: how many are handed over at a time.
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <time.h>

#include "gateway/tls/tls.h"

#define VECTORS "tests/vectors/tls/"

struct pki {
	struct tls_minter *minter;
	struct tls_server *server;
	struct tls_client *client;
	struct tls_ticket_secret ticket;
};

struct end {
	struct tls_engine *e;
	struct buf out;
	struct buf got;		/* plain text received */
	enum err shake, read;
};

struct pair {
	struct end client, server;
	struct tls_leaf *leaf;
};

static inline struct buf read_vector(const char *name)
{
	char path[256], chunk[4096];
	struct buf b;
	size_t n;
	FILE *f;

	(void)snprintf(path, sizeof(path), "%s%s", VECTORS, name);
	buf_init(&b, 256 * 1024);
	f = fopen(path, "r");
	assert_non_null(f);
	while ((n = fread(chunk, 1, sizeof(chunk), f)) > 0)
		assert_int_equal(buf_append(&b, bytes_of(chunk, n)), ERR_OK);
	(void)fclose(f);
	return b;
}

static inline struct tls_minter *minter_of(const char *cert, const char *key, const char **why)
{
	struct buf c = read_vector(cert), k = read_vector(key);
	struct tls_minter *m = tls_minter_new(buf_bytes(&c), buf_bytes(&k), why);

	buf_release(&c);
	buf_release(&k);
	return m;
}

static inline struct tls_client *client_of(const char *roots)
{
	struct buf b = read_vector(roots);
	enum err e;
	struct tls_client *c = tls_client_new(buf_bytes(&b), &e);

	assert_non_null(c);
	buf_release(&b);
	return c;
}

static inline struct tls_server *server_of(const char *chain, const struct tls_ticket_secret *t)
{
	struct buf b = read_vector(chain);
	enum err e;
	struct tls_server *s = tls_server_new(buf_bytes(&b), t, &e);

	assert_non_null(s);
	buf_release(&b);
	return s;
}

static inline void pki_open(struct pki *p)
{
	const char *why;

	assert_int_equal(tls_global_init(), ERR_OK);
	p->minter = minter_of("inter.crt", "inter.key", &why);
	assert_non_null(p->minter);
	assert_int_equal(tls_ticket_secret_make(&p->ticket, (uint64_t)time(NULL)), ERR_OK);
	p->server = server_of("inter.crt", &p->ticket);
	p->client = client_of("root.crt");
}

static inline void pki_close(struct pki *p)
{
	tls_minter_free(p->minter);
	tls_server_free(p->server);
	tls_client_free(p->client);
}

static inline struct tls_leaf *leaf_for(struct pki *p, struct tls_server *s, const char *host)
{
	struct tls_leaf *leaf = NULL;
	struct buf der;

	buf_init(&der, TLS_CERT_MAX);
	assert_int_equal(tls_minter_sign(p->minter, host, tls_server_pubkey(s), 86400, &der),
			 ERR_OK);
	assert_int_equal(tls_leaf_new(s, host, buf_bytes(&der), &leaf), ERR_OK);
	buf_release(&der);
	return leaf;
}

static inline void end_open(struct end *d, struct tls_engine *e)
{
	assert_non_null(e);
	d->e = e;
	buf_init(&d->got, 1 << 20);
	d->shake = d->read = ERR_AGAIN;
}

/* The client asks for `want`; the server has a leaf for `host`. */
static inline void pair_open_as(struct pair *q, struct pki *p, const char *host, const char *want,
				const char *alpn_c, const char *alpn_s)
{
	memset(q, 0, sizeof(*q));
	q->leaf = leaf_for(p, p->server, host);
	buf_init(&q->client.out, 256 * 1024);
	buf_init(&q->server.out, 256 * 1024);
	end_open(&q->client, tls_engine_new_client(p->client, want, 443, alpn_c, &q->client.out));
	end_open(&q->server, tls_engine_new_server(p->server, q->leaf, alpn_s, &q->server.out));
}

static inline void pair_open(struct pair *q, struct pki *p, const char *host)
{
	pair_open_as(q, p, host, host, "http/1.1", "http/1.1");
}

static inline void end_close(struct end *d)
{
	tls_engine_free(d->e);
	buf_release(&d->out);
	buf_release(&d->got);
}

static inline void pair_close(struct pair *q)
{
	end_close(&q->client);
	end_close(&q->server);
	tls_leaf_unref(q->leaf);
}

/* Lets an end work on what it has: handshake, then reading until there is nothing. */
static inline void end_run(struct end *d)
{
	uint8_t dst[4000];
	size_t n;

	if (d->shake == ERR_AGAIN)
		d->shake = tls_engine_handshake(d->e);
	if (d->shake != ERR_OK)
		return;
	while ((d->read = tls_engine_read(d->e, dst, sizeof(dst), &n)) == ERR_OK)
		assert_int_equal(buf_append(&d->got, bytes_of(dst, n)), ERR_OK);
}

/* Hands over at most `pace` bytes; the buffer they were lent from is overwritten afterwards. */
static inline bool carry(struct end *from, struct end *to, size_t pace)
{
	struct bytes b = bytes_first(buf_bytes(&from->out), pace);
	uint8_t *lent;

	if (!b.n)
		return false;
	lent = malloc(b.n);
	assert_non_null(lent);
	memcpy(lent, b.p, b.n);
	buf_consume(&from->out, b.n);
	if (tls_engine_feed(to->e, bytes_of(lent, b.n)) == ERR_OK) {
		end_run(to);
		(void)!tls_engine_settle(to->e);
	}
	memset(lent, 0xa5, b.n);
	free(lent);
	return true;
}

/* Until both ends are silent. */
static inline void pair_run(struct pair *q, size_t pace)
{
	bool moved = true;

	end_run(&q->client);
	while (moved) {
		moved = carry(&q->client, &q->server, pace);
		moved |= carry(&q->server, &q->client, pace);
	}
}
