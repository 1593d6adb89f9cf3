/*
 * tls_internal.h - shared inside the tls room
 *
 * Only global.c, client.c, server.c, leaf.c, engine.c and minter.c know wolfSSL; peek.c, der.c,
 * pem.c, x509.c, host.c, lru.c, leaf_cache.c and mint_codec.c do not.
 */
#pragma once

#include "gateway/tls/tls.h"

/* ---- host.c: names --------------------------------------------------------------------------- */

enum host_kind { HOST_INVALID, HOST_NAME, HOST_IP };

/* `ip` is set for HOST_IP; may be NULL. */
enum host_kind host_kind_of(struct bytes host, struct addr *ip);
/* RFC 9525 6.3: does the DNS-ID `pattern` (perhaps "*.example.com") stand for `host`? */
bool host_matches(struct bytes pattern, struct bytes host);

/* ---- der.c: strict DER, forwards for reading, backwards for writing -------------------------- */

enum {
	DER_BOOLEAN = 0x01, DER_INTEGER = 0x02, DER_BIT_STRING = 0x03, DER_OCTET_STRING = 0x04,
	DER_OID = 0x06, DER_UTF8 = 0x0c, DER_UTC_TIME = 0x17, DER_GENERALIZED_TIME = 0x18,
	DER_SEQUENCE = 0x30, DER_SET = 0x31,
};

/* Takes one element off the front of *in; `whole` (may be NULL) includes its header. */
bool der_next(struct bytes *in, uint8_t *tag, struct bytes *body, struct bytes *whole);
/* As der_next, but only an element with this tag. */
bool der_take(struct bytes *in, uint8_t tag, struct bytes *body);
/* As der_take when the next element has this tag; false and untouched otherwise. */
bool der_take_if(struct bytes *in, uint8_t tag, struct bytes *body);
/* UTCTime or GeneralizedTime as RFC 5280 4.1.2.5 wants them, in Unix seconds. */
bool der_time(uint8_t tag, struct bytes body, uint64_t *unix_time);

/* Writes from the end of a block towards its start, so that lengths are known when they are due. */
struct der_writer {
	uint8_t *base;		/* borrowed */
	size_t at;		/* base[at..cap) is written */
	size_t cap;
	bool full;		/* did not fit; everything after is ignored */
};

void der_writer_init(struct der_writer *w, uint8_t *base, size_t cap);
void der_put(struct der_writer *w, struct bytes raw);
void der_put_u8(struct der_writer *w, uint8_t v);
/* Closes an element whose content is everything written since `end` (an earlier w->at). */
void der_wrap(struct der_writer *w, uint8_t tag, size_t end);
void der_put_tlv(struct der_writer *w, uint8_t tag, struct bytes body);
void der_put_time(struct der_writer *w, uint64_t unix_time);
static inline struct bytes der_written(const struct der_writer *w)
{
	return bytes_of(w->base + w->at, w->cap - w->at);
}

/* ---- pem.c ----------------------------------------------------------------------------------- */

struct pem_block {
	struct bytes label;	/* "CERTIFICATE"; borrowed */
	struct bytes body;	/* base64 with line ends (and headers, if any); borrowed */
};

/* Takes the next block off the front of *text; false: no more. */
bool pem_next(struct bytes *text, struct pem_block *block);
/* ERR_BAD_VALUE when it is not base64 (headers, as of encrypted keys, included). */
enum err pem_decode(const struct pem_block *block, struct buf *der) WARN_UNUSED;

/* ---- x509.c: the little we read of a certificate ourselves ----------------------------------- */

struct x509_view {		/* all borrowed from the DER */
	struct bytes tbs;
	struct bytes issuer, subject;	/* whole Name elements */
	struct bytes spki;		/* whole SubjectPublicKeyInfo */
	struct bytes key_bits;		/* its BIT STRING without the count of unused bits */
	struct bytes san;		/* content of the GeneralNames; empty when absent */
	struct bytes skid;		/* subject key identifier; empty when absent */
	uint64_t not_before, not_after;
	bool is_ca;			/* basicConstraints cA */
	bool has_key_usage, may_sign_certs, may_sign;
	bool sha1;			/* signed over SHA-1 */
};

enum err x509_parse(struct bytes der, struct x509_view *v) WARN_UNUSED;
/* RFC 9525: by subjectAltName only, never by CN. ERR_OK or ERR_UPSTREAM_CERT_NAME. */
enum err x509_verify_host(const struct x509_view *v, const char *host) WARN_UNUSED;

/* ---- lru.c: least recently used, found by text key ------------------------------------------- */

struct lru_entry {
	struct lru_entry *chain;		/* same bucket */
	struct lru_entry *newer, *older;
	uint32_t hash;
	const char *key;			/* the entry owner's */
};

struct lru {
	struct lru_entry **buckets;		/* owned */
	size_t mask, count;
	struct lru_entry *newest, *oldest;
	uint64_t seed;				/* keys come from agents: no guessing of buckets */
};

enum err lru_init(struct lru *l, size_t capacity, uint64_t seed) WARN_UNUSED;
void lru_release(struct lru *l);
struct lru_entry *lru_find(struct lru *l, const char *key);	/* and makes it the newest */
void lru_insert(struct lru *l, struct lru_entry *e);
void lru_remove(struct lru *l, struct lru_entry *e);

/* ---- global.c: wolfSSL's start and what all contexts share ----------------------------------- */

enum err tls_random(uint8_t *dst, size_t n) WARN_UNUSED;
uint64_t tls_unix_now(void);
/* Suites for wolfSSL_CTX_set_cipher_list, best first for this machine and build. */
const char *tls_suites(void);

/* ---- what engine.c shares with its two makers (client.c, server.c) --------------------------- */

struct WOLFSSL;
struct WOLFSSL_CTX;
struct WOLFSSL_X509_STORE_CTX;

enum engine_role { ENGINE_CLIENT, ENGINE_SERVER };
enum engine_state { ENGINE_HANDSHAKE, ENGINE_OPEN, ENGINE_CLOSED, ENGINE_CUT, ENGINE_FAILED };

struct tls_engine {
	struct WOLFSSL *ssl;		/* owned */
	struct buf *out;		/* borrowed; the flow's */
	struct bytes lent;		/* borrowed until settle(); unread ciphertext */
	struct buf kept;		/* unread ciphertext from before; read first */
	enum engine_role role;
	enum engine_state state;
	enum err why;			/* ENGINE_FAILED */
	int detail;			/* wolfSSL's code of the last failure */
	const char *alert;		/* the alert that ended it; NULL: none. Static */
	struct {			/* the record being received, during the handshake */
		uint8_t head[5];
		uint8_t have;		/* of head */
		uint8_t last;		/* the latest byte of its body */
		size_t left;		/* of its body */
	} record;
	bool eof;			/* the transport will bring no more */
	bool close_sent;
	char *alpn;			/* owned; NULL until known */

	struct tls_client *client;	/* referenced; ENGINE_CLIENT */
	uint16_t port;
	enum err refused;		/* why the peer's certificate was refused by us */
	/* Its certificate was shown and passed, in this handshake. */
	bool checked;
	uint64_t verified_until;	/* Unix seconds; 0: the peer is not verified */

	struct tls_server *server;	/* referenced; ENGINE_SERVER */
	struct tls_leaf *leaf;		/* referenced; ENGINE_SERVER */
	uint8_t ticket_generation;	/* of the ticket it resumed from; 0: none */
	/* Whom the client verifies; for whom the server sealed tickets. */
	char host[];
};

/* An engine around a new connection of `ctx`; the maker fills in its references. */
struct tls_engine *engine_new(struct WOLFSSL_CTX *ctx, enum engine_role role, const char *host,
			      const char *alpn, struct buf *out);
/* What both kinds of context have in common: versions, suites, groups, I/O through the engine. */
enum err engine_set_up_ctx(struct WOLFSSL_CTX *ctx) WARN_UNUSED;
struct tls_engine *engine_of(struct WOLFSSL *ssl);

struct tls_client *client_ref(struct tls_client *c);
/* The session that was set on `e` led to a failure: forget it. */
void client_drop_session(struct tls_client *c, const struct tls_engine *e);

struct tls_server *server_ref(struct tls_server *s);
/* Certificates to send behind each leaf, DER back to back. */
struct bytes server_chain(const struct tls_server *s);
struct bytes server_key_der(const struct tls_server *s);
/* Tickets of `ctx` are sealed and opened by `s`. */
enum err server_set_up_tickets(struct tls_server *s, struct WOLFSSL_CTX *ctx) WARN_UNUSED;
