/*
 * server.c - the agent side: the worker's leaf key, the chain, tickets
 *
 * Tickets (RFC 5077, RFC 8446 4.6.1) are sealed with AES-256-GCM; the host's name is authenticated
 * with them, so one made for host A opens no connection to host B. Keys come from a secret shared
 * by all workers and move on every TLS_TICKET_EPOCH by a one-way step: the old epoch's key still
 * opens tickets, older ones are out of existence.
 *
 * ticket secret --HMAC "next"--> secret of the next epoch
 *               --HMAC "name"--> key name in the ticket;  --HMAC "seal"--> AES key
 */
#include "gateway/tls/tls_internal.h"

#include <wolfssl/options.h>
#include <wolfssl/ssl.h>
#include <wolfssl/wolfcrypt/aes.h>
#include <wolfssl/wolfcrypt/asn_public.h>
#include <wolfssl/wolfcrypt/ecc.h>
#include <wolfssl/wolfcrypt/hmac.h>

#include <stdlib.h>

#define KEY_DER_MAX 160
#define CHAIN_MAX (32 * 1024)
#define SEAL_IV 12
#define SEAL_TAG 16
/*
 * A ticket got by resuming is its ticket's child. wolfSSL numbers generations in one byte and fails
 * the handshake after the last, so ours stand in a spare byte of the IV field, and an old line ends
 * earlier.
 */
#define GENERATION_AT SEAL_IV
#define GENERATIONS_MAX 200
/* More epochs than that since the secret was made: start over rather than count. */
#define EPOCHS_MAX 100000

struct ticket_key {
	uint8_t name[WOLFSSL_TICKET_NAME_SZ];
	uint8_t seal[32];
	bool usable;
};

struct tls_server {
	uint8_t key_der[KEY_DER_MAX];	/* private key of all leaves */
	size_t key_der_len;
	uint8_t pubkey[TLS_PUBKEY_LEN];
	struct buf chain;		/* DER back to back */
	struct tls_ticket_secret ticket;
	struct ticket_key current, previous;
	unsigned int refs;
};

/* ---- ticket keys ----------------------------------------------------------------------------- */

static enum err derive(const uint8_t key[32], const char *label, uint8_t out[32])
{
	Hmac h;
	int r = wc_HmacInit(&h, NULL, INVALID_DEVID);

	if (r != 0)
		return ERR_INTERNAL;
	r = wc_HmacSetKey(&h, WC_SHA256, key, 32);
	if (r == 0)
		r = wc_HmacUpdate(&h, (const byte *)label, (word32)strlen(label));
	if (r == 0)
		r = wc_HmacFinal(&h, out);
	wc_HmacFree(&h);
	return r == 0 ? ERR_OK : ERR_INTERNAL;
}

enum err tls_ticket_secret_make(struct tls_ticket_secret *t, uint64_t unix_now)
{
	t->epoch = unix_now / TLS_TICKET_EPOCH;
	return tls_random(t->key, sizeof(t->key));
}

static enum err step(struct tls_ticket_secret *t)
{
	uint8_t next[32];

	TRY(derive(t->key, "slapenir ticket next", next));
	memcpy(t->key, next, sizeof(next));
	explicit_bzero(next, sizeof(next));
	t->epoch++;
	return ERR_OK;
}

enum err tls_ticket_secret_advance(struct tls_ticket_secret *t, uint64_t unix_now)
{
	uint64_t want = unix_now / TLS_TICKET_EPOCH;

	/* A clock set back changes nothing: there is no way back. */
	if (want > t->epoch && want - t->epoch > EPOCHS_MAX)
		return tls_ticket_secret_make(t, unix_now);
	while (t->epoch < want)
		TRY(step(t));
	return ERR_OK;
}

static enum err key_of(const struct tls_ticket_secret *t, struct ticket_key *k)
{
	uint8_t name[32];

	k->usable = false;
	TRY(derive(t->key, "slapenir ticket name", name));
	TRY(derive(t->key, "slapenir ticket seal", k->seal));
	memcpy(k->name, name, sizeof(k->name));
	k->usable = true;
	return ERR_OK;
}

/* Brings both keys up to date. */
static enum err keys_advance(struct tls_server *s, uint64_t unix_now)
{
	uint64_t want = unix_now / TLS_TICKET_EPOCH;

	if (s->current.usable && s->ticket.epoch >= want)
		return ERR_OK;
	explicit_bzero(&s->previous, sizeof(s->previous));
	if (s->ticket.epoch < want) {
		TRY(tls_ticket_secret_advance(&s->ticket, (want - 1) * TLS_TICKET_EPOCH));
		TRY(key_of(&s->ticket, &s->previous));
		TRY(tls_ticket_secret_advance(&s->ticket, unix_now));
	}
	return key_of(&s->ticket, &s->current);
}

/* ---- sealing and opening --------------------------------------------------------------------- */

struct ticket_fields {
	uint8_t *name, *iv, *tag, *data;
	int len;
};

/* In place, bound to the engine's host. */
static int seal(const struct ticket_key *k, const struct ticket_fields *f, const char *host,
		bool open)
{
	uint8_t aad[WOLFSSL_TICKET_NAME_SZ + WOLFSSL_TICKET_IV_SZ + TLS_HOST_MAX];
	size_t host_len = strlen(host), fixed = sizeof(aad) - TLS_HOST_MAX;
	size_t aad_len = fixed + host_len;
	Aes aes;
	int r;

	if (aad_len > sizeof(aad))
		return BAD_FUNC_ARG;
	memcpy(aad, k->name, WOLFSSL_TICKET_NAME_SZ);
	memcpy(aad + WOLFSSL_TICKET_NAME_SZ, f->iv, WOLFSSL_TICKET_IV_SZ);
	memcpy(aad + fixed, host, host_len);
	r = wc_AesInit(&aes, NULL, INVALID_DEVID);
	if (r != 0)
		return r;
	r = wc_AesGcmSetKey(&aes, k->seal, sizeof(k->seal));
	if (r == 0 && open)
		r = wc_AesGcmDecrypt(&aes, f->data, f->data, (word32)f->len, f->iv, SEAL_IV, f->tag,
				     SEAL_TAG, aad, (word32)aad_len);
	else if (r == 0)
		r = wc_AesGcmEncrypt(&aes, f->data, f->data, (word32)f->len, f->iv, SEAL_IV, f->tag,
				     SEAL_TAG, aad, (word32)aad_len);
	wc_AesFree(&aes);
	explicit_bzero(&aes, sizeof(aes));
	return r;
}

static int ticket_seal(struct tls_server *s, const struct ticket_fields *f,
		       const struct tls_engine *e)
{
	memcpy(f->name, s->current.name, WOLFSSL_TICKET_NAME_SZ);
	if (tls_random(f->iv, WOLFSSL_TICKET_IV_SZ) != ERR_OK)
		return WOLFSSL_TICKET_RET_FATAL;
	f->iv[GENERATION_AT] = (uint8_t)(e->ticket_generation + 1);
	memset(f->tag, 0, WOLFSSL_TICKET_MAC_SZ);
	return seal(&s->current, f, e->host, false) == 0 ? WOLFSSL_TICKET_RET_OK :
							    WOLFSSL_TICKET_RET_FATAL;
}

static int ticket_open(struct tls_server *s, const struct ticket_fields *f, struct tls_engine *e)
{
	const struct ticket_key *k = NULL;

	if (s->current.usable && !memcmp(f->name, s->current.name, WOLFSSL_TICKET_NAME_SZ))
		k = &s->current;
	else if (s->previous.usable && !memcmp(f->name, s->previous.name, WOLFSSL_TICKET_NAME_SZ))
		k = &s->previous;
	/* Rejected means: a full handshake, as with no ticket. */
	if (!k || f->len <= 0 || f->iv[GENERATION_AT] > GENERATIONS_MAX ||
	    seal(k, f, e->host, true) != 0)
		return WOLFSSL_TICKET_RET_REJECT;
	e->ticket_generation = f->iv[GENERATION_AT];
	return k == &s->current ? WOLFSSL_TICKET_RET_OK : WOLFSSL_TICKET_RET_CREATE;
}

static int on_ticket(WOLFSSL *ssl, unsigned char *name, unsigned char *iv, unsigned char *mac,
		     int enc, unsigned char *data, int in_len, int *out_len, void *ctx)
{
	const struct ticket_fields f = { name, iv, mac, data, in_len };
	struct tls_engine *e = engine_of(ssl);
	struct tls_server *s = ctx;

	if (!e || keys_advance(s, tls_unix_now()) != ERR_OK)
		return enc ? WOLFSSL_TICKET_RET_FATAL : WOLFSSL_TICKET_RET_REJECT;
	*out_len = in_len;
	return enc ? ticket_seal(s, &f, e) : ticket_open(s, &f, e);
}

enum err server_set_up_tickets(struct tls_server *s, WOLFSSL_CTX *ctx)
{
	if (wolfSSL_CTX_set_TicketEncCb(ctx, on_ticket) != WOLFSSL_SUCCESS ||
	    wolfSSL_CTX_set_TicketEncCtx(ctx, s) != WOLFSSL_SUCCESS ||
	    wolfSSL_CTX_set_TicketHint(ctx, TLS_TICKET_EPOCH) != WOLFSSL_SUCCESS)
		return ERR_INTERNAL;
	/* The age that the library itself accepts. */
	(void)wolfSSL_CTX_set_timeout(ctx, TLS_TICKET_EPOCH);
	return ERR_OK;
}

/* ---- key and chain --------------------------------------------------------------------------- */

static enum err make_key(struct tls_server *s)
{
	enum err e = ERR_INTERNAL;
	ecc_key key;
	WC_RNG rng;
	int n;

	if (wc_InitRng(&rng) != 0)
		return ERR_INTERNAL;
	if (wc_ecc_init(&key) != 0) {
		wc_FreeRng(&rng);
		return ERR_INTERNAL;
	}
	if (wc_ecc_make_key_ex(&rng, 32, &key, ECC_SECP256R1) != 0)
		goto out;
	n = wc_EccKeyToDer(&key, s->key_der, sizeof(s->key_der));
	if (n <= 0)
		goto out;
	s->key_der_len = (size_t)n;
	if (wc_EccPublicKeyToDer(&key, s->pubkey, sizeof(s->pubkey), 1) == TLS_PUBKEY_LEN)
		e = ERR_OK;
out:
	wc_ecc_free(&key);
	wc_FreeRng(&rng);
	return e;
}

/* All but self-signed certificates: an agent has the root or must not believe it from us. */
static enum err read_chain(struct tls_server *s, struct bytes pem)
{
	struct pem_block block;
	size_t found = 0;
	enum err e = ERR_OK;

	while (e == ERR_OK && pem_next(&pem, &block)) {
		struct x509_view v;
		struct buf der;

		if (!bytes_eq(block.label, BYTES_LIT("CERTIFICATE")))
			continue;
		found++;
		buf_init(&der, CHAIN_MAX);
		if (pem_decode(&block, &der) != ERR_OK || x509_parse(buf_bytes(&der), &v) != ERR_OK)
			e = ERR_CONFIG;
		else if (!bytes_eq(v.issuer, v.subject))
			e = buf_append(&s->chain, buf_bytes(&der));
		buf_release(&der);
	}
	if (e == ERR_AGAIN || (e == ERR_OK && !found))
		return ERR_CONFIG;
	return e;
}

static enum err set_up(struct tls_server *s, struct bytes pem, const struct tls_ticket_secret *t)
{
	buf_init(&s->chain, CHAIN_MAX);
	s->ticket = *t;
	TRY(keys_advance(s, tls_unix_now()));
	TRY(make_key(s));
	return read_chain(s, pem);
}

struct tls_server *tls_server_new(struct bytes ca_chain_pem, const struct tls_ticket_secret *t,
				  enum err *e)
{
	struct tls_server *s = calloc(1, sizeof(*s));

	*e = ERR_NOMEM;
	if (!s)
		return NULL;
	s->refs = 1;
	*e = set_up(s, ca_chain_pem, t);
	if (*e == ERR_OK)
		return s;
	tls_server_free(s);
	return NULL;
}

struct tls_server *server_ref(struct tls_server *s)
{
	s->refs++;
	return s;
}

void tls_server_free(struct tls_server *s)
{
	if (!s || --s->refs)
		return;
	buf_release(&s->chain);
	mem_wipe_free(s, sizeof(*s));
}

struct bytes tls_server_pubkey(const struct tls_server *s)
{
	return bytes_of(s->pubkey, sizeof(s->pubkey));
}

struct bytes server_chain(const struct tls_server *s)
{
	return buf_bytes(&s->chain);
}

struct bytes server_key_der(const struct tls_server *s)
{
	return bytes_of(s->key_der, s->key_der_len);
}
