/*
 * tls.h - TLS for both legs of a flow, over memory: peek, engine, verification, leaves
 *
 * Sans-I/O: bytes in, bytes out; no socket, no file, no thread. wolfSSL is seen by this room only.
 *
 *	agent leg:	tls_peek_hello() -> leaf from the cache (or minted) ->
 *			tls_engine_new_server()
 *	upstream leg:	tls_engine_new_client(): the peer is verified for the host before a byte
 *			is sent
 *	minter:		tls_mint_request_decode() -> tls_minter_sign() -> tls_mint_response_encode()
 *
 * Ownership: an engine keeps a reference on what made it (client, server, leaf); free in any order.
 * Nothing here may be used by two threads at once.
 */
#pragma once

#include "base/base.h"

#define TLS_HOST_MAX 255		/* a DNS name's text without the final dot is at most 253 */
#define TLS_PUBKEY_LEN 91		/* SubjectPublicKeyInfo of a P-256 key, always */
#define TLS_CERT_MAX 4096		/* a minted leaf is about 600 bytes */
#define TLS_RECORD_PLAIN_MAX 16384	/* RFC 8446 5.1 */
/* What one record costs on the wire beyond its plain text, rounded up (header, IV, tag, type). */
#define TLS_RECORD_OVERHEAD 64

/* ---- process --------------------------------------------------------------------------------- */

/* Once per process before anything else here, while files may still be opened. Idempotent. */
enum err tls_global_init(void) WARN_UNUSED;
void tls_global_cleanup(void);
/* "wolfSSL 5.9.2 (built from source), AES-NI yes, SP assembly yes"; static. */
const char *tls_library_text(void);

/* ---- peek: the ClientHello, before anything is decided --------------------------------------- */

/* A hello may take this much, in records of any size (RFC 8446 5.1); beyond: ERR_TLS_BAD_HELLO. */
#define TLS_PEEK_MAX (64 * 1024 + 4096)
#define TLS_HELLO_ALPN_MAX 256

struct tls_hello {
	char sni[TLS_HOST_MAX + 1];	/* valid host name, lower case; "" when absent */
	/* Length-prefixed names, as many whole ones as fit. */
	uint8_t alpn[TLS_HELLO_ALPN_MAX];
	size_t alpn_len;
	bool has_alpn;
	bool tls12, tls13;		/* offered versions we speak */
	bool ech;			/* carries encrypted_client_hello (a GREASE one as well) */
};

/* By the first bytes (at least one): could this be a TLS handshake record? */
bool tls_looks_like_tls(struct bytes first);
/*
 * Reads the whole ClientHello from the start of the flow. ERR_AGAIN until complete: call again with
 * all bytes so far. ERR_NOT_TLS, ERR_TLS_BAD_HELLO. Nothing is consumed.
 */
enum err tls_peek_hello(struct bytes in, struct tls_hello *out) WARN_UNUSED;
/* Is `protocol` ("h2", "slapenir/1") in the hello's ALPN list? */
bool tls_hello_offers(const struct tls_hello *hello, const char *protocol);

/* A host name we are ready to handle: letters, digits, '-', '_', '.', labels 1-63, no final dot. */
bool tls_host_valid(struct bytes host);

/* ---- upstream context: trust, suites, sessions ----------------------------------------------- */

struct tls_client;

/*
 * `pem_trust`: all root certificates as PEM text, parsed once; blocks that do not parse are skipped
 * (and counted). NULL with *e = ERR_CONFIG when not one root is usable.
 */
struct tls_client *tls_client_new(struct bytes pem_trust, enum err *e);
void tls_client_free(struct tls_client *c);	/* NULL is fine */
size_t tls_client_roots(const struct tls_client *c);

/* ---- agent context: worker's leaf key, tickets ----------------------------------------------- */

/*
 * What tickets are sealed with. The master makes one and gives a copy to each worker; every
 * TLS_TICKET_EPOCH seconds all holders ratchet it forward, so old keys are gone (REQ-7.2) and
 * workers agree without a message. Wipe copies with explicit_bzero.
 */
#define TLS_TICKET_EPOCH (6 * 3600)
struct tls_ticket_secret {
	uint64_t epoch;
	uint8_t key[32];
};
enum err tls_ticket_secret_make(struct tls_ticket_secret *t, uint64_t unix_now) WARN_UNUSED;
/* Master: call right before handing it to a new worker. */
enum err tls_ticket_secret_advance(struct tls_ticket_secret *t, uint64_t unix_now) WARN_UNUSED;

struct tls_server;

/*
 * `ca_chain_pem`: the interception CA's certificate, then further intermediates; all but
 * self-signed ones are sent behind each leaf. Makes a fresh P-256 key for the leaves of this
 * process.
 */
struct tls_server *tls_server_new(struct bytes ca_chain_pem, const struct tls_ticket_secret *t,
				  enum err *e);
void tls_server_free(struct tls_server *s);
/* SubjectPublicKeyInfo, DER, TLS_PUBKEY_LEN bytes: what goes to the minter. */
struct bytes tls_server_pubkey(const struct tls_server *s);

/* ---- leaf: one host's certificate, ready for handshakes -------------------------------------- */

struct tls_leaf;	/* counted references */

/* From a certificate the minter signed for our key; ERR_MINT when it does not fit key or host. */
enum err tls_leaf_new(struct tls_server *s, const char *host, struct bytes cert_der,
		      struct tls_leaf **leaf) WARN_UNUSED;
struct tls_leaf *tls_leaf_ref(struct tls_leaf *leaf);
void tls_leaf_unref(struct tls_leaf *leaf);
const char *tls_leaf_host(const struct tls_leaf *leaf);
uint64_t tls_leaf_not_after(const struct tls_leaf *leaf);	/* Unix seconds */

/*
 * Leaf cache: by host, least recently used goes first, at most `capacity` leaves. One mint at a
 * time per name: further askers wait in line.
 */
struct tls_leaf_cache;
struct tls_leaf_waiter {
	/*
	 * Called once, outside get(): ERR_OK with a borrowed leaf (ref it to keep it), or the
	 * error.
	 */
	void (*done)(struct tls_leaf_waiter *w, enum err e, struct tls_leaf *leaf);
	struct list link;	/* the cache's; linked while waiting */
};

struct tls_leaf_cache *tls_leaf_cache_new(struct tls_server *s, size_t capacity);
/* Waiters still in line get ERR_SHUTTING_DOWN. */
void tls_leaf_cache_free(struct tls_leaf_cache *c);
/*
 * ERR_OK: *leaf is the caller's own reference. ERR_AGAIN: `w` waits in line (its `done` was set).
 * ERR_BAD_VALUE: not a host name. *mint tells the caller to ask the minter for `host` now and to
 * report with put() or fail(); it may be set with ERR_OK too (two thirds of its life are over).
 */
enum err tls_leaf_cache_get(struct tls_leaf_cache *c, const char *host, uint64_t unix_now,
			    struct tls_leaf_waiter *w, bool *mint,
			    struct tls_leaf **leaf) WARN_UNUSED;
/* The minter's answer; wakes all who wait for `host`. An unusable certificate fails them. */
void tls_leaf_cache_put(struct tls_leaf_cache *c, const char *host, struct bytes cert_der);
void tls_leaf_cache_fail(struct tls_leaf_cache *c, const char *host, enum err e);
/* Leave the line; `done` is not called. Harmless when not waiting. */
void tls_leaf_waiter_cancel(struct tls_leaf_waiter *w);
size_t tls_leaf_cache_count(const struct tls_leaf_cache *c);

/* ---- engine: one TLS connection end ---------------------------------------------------------- */

/*
 *	read bytes -> feed() -> handshake() until ERR_OK -> read() until ERR_AGAIN -> settle()
 *
 * After each call send what stands in `out` (borrowed; the flow owns it and caps it, at least
 * TLS_OUT_MIN). Not enough room in `out` shows as ERR_AGAIN too: flush it and call again.
 */
struct tls_engine;
#define TLS_OUT_MIN (TLS_RECORD_PLAIN_MAX + 1024)

/*
 * `host`: the name (or IP literal) the certificate is verified for; `port` only keys the sessions.
 * `alpn`: comma-separated, best first ("h2,http/1.1"); NULL: none. NULL when out of memory, or when
 * `host` is neither a name nor an address.
 */
struct tls_engine *tls_engine_new_client(struct tls_client *c, const char *host, uint16_t port,
					 const char *alpn, struct buf *out);
/* `alpn`: those we accept; the agent's order decides, no overlap means none is selected. */
struct tls_engine *tls_engine_new_server(struct tls_server *s, struct tls_leaf *leaf,
					 const char *alpn, struct buf *out);
void tls_engine_free(struct tls_engine *e);	/* NULL is fine; sends nothing */

/*
 * Lends ciphertext to the engine, until settle(). What an earlier settle() kept comes first.
 * ERR_TOO_LONG when more than TLS_KEEP_MAX is unread: stop reading while tls_engine_pending().
 */
#define TLS_KEEP_MAX (256 * 1024)
enum err tls_engine_feed(struct tls_engine *e, struct bytes cipher) WARN_UNUSED;
/* Copies what is still unread of the lent bytes, so that they may go. ERR_NOMEM, ERR_TOO_LONG. */
enum err tls_engine_settle(struct tls_engine *e) WARN_UNUSED;
/* The transport's end was reached. */
void tls_engine_feed_eof(struct tls_engine *e);
/* Bytes that read() could still work on without another feed(). */
size_t tls_engine_pending(const struct tls_engine *e);

/*
 * ERR_OK when done (and on every call after that), ERR_AGAIN, or why it failed; final. After a
 * failure `out` holds the alert that tells the peer: worth sending before closing.
 */
enum err tls_engine_handshake(struct tls_engine *e) WARN_UNUSED;
/*
 * ERR_OK with *n > 0, ERR_AGAIN: none now. ERR_CLOSED: the end; tls_engine_closed_clean() tells a
 * close_notify from a truncation. Tickets and key updates are handled on the way.
 */
enum err tls_engine_read(struct tls_engine *e, uint8_t *dst, size_t cap, size_t *n) WARN_UNUSED;
bool tls_engine_closed_clean(const struct tls_engine *e);
/* Plain bytes that write() takes now. */
size_t tls_engine_write_room(const struct tls_engine *e);
/* All or nothing: ERR_AGAIN when more than write_room(). Small pieces are worth gathering. */
enum err tls_engine_write(struct tls_engine *e, struct bytes plain) WARN_UNUSED;
/*
 * Puts close_notify into `out`, once; reading goes on. Without room in `out`: flush and call again.
 */
void tls_engine_close(struct tls_engine *e);

bool tls_engine_is_done(const struct tls_engine *e);		/* handshake complete */
bool tls_engine_resumed(const struct tls_engine *e);
const char *tls_engine_alpn(const struct tls_engine *e);	/* "" when none; the engine's */
const char *tls_engine_version(const struct tls_engine *e);	/* "TLSv1.3"; static */
const char *tls_engine_cipher(const struct tls_engine *e);
/* The library's words for the last failure, for logs; "" when none; static. */
const char *tls_engine_detail(const struct tls_engine *e);

/* ---- minter ---------------------------------------------------------------------------------- */

struct tls_minter;

/*
 * Why tls_minter_new() refused, for a person: "the key does not belong to the certificate"; static.
 */
struct tls_minter *tls_minter_new(struct bytes ca_cert_pem, struct bytes ca_key_pem,
				  const char **why);
void tls_minter_free(struct tls_minter *m);	/* key wiped */
/*
 * Signs a leaf for `host` (name or IP literal) and appends its DER. `pubkey` as from
 * tls_server_pubkey(). Ends at the CA's own end if that is earlier. ERR_BAD_VALUE, ERR_MINT.
 */
enum err tls_minter_sign(struct tls_minter *m, const char *host, struct bytes pubkey,
			 uint32_t lifetime_s, struct buf *cert_der) WARN_UNUSED;

/* Messages between worker and minter. The minter believes nothing a worker says. */
#define TLS_MINT_REQUEST_MAX (16 + TLS_HOST_MAX + TLS_PUBKEY_LEN)
#define TLS_MINT_RESPONSE_MAX (16 + TLS_CERT_MAX)

struct tls_mint_request {
	uint32_t id;			/* the worker's, echoed */
	char host[TLS_HOST_MAX + 1];
	uint8_t pubkey[TLS_PUBKEY_LEN];
};

struct tls_mint_response {
	uint32_t id;
	enum err err;			/* ERR_OK with a certificate, else none */
	struct bytes cert;		/* borrowed from the decoded bytes */
};

enum err tls_mint_request_encode(const struct tls_mint_request *r, struct buf *out) WARN_UNUSED;
/* ERR_AGAIN: incomplete; *used: how much the message took. ERR_BAD_VALUE: hang up. */
enum err tls_mint_request_decode(struct bytes in, struct tls_mint_request *r,
				 size_t *used) WARN_UNUSED;
enum err tls_mint_response_encode(const struct tls_mint_response *r, struct buf *out) WARN_UNUSED;
enum err tls_mint_response_decode(struct bytes in, struct tls_mint_response *r,
				  size_t *used) WARN_UNUSED;
