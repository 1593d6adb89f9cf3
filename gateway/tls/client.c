/*
 * client.c - the upstream side: trust, verification for one host, sessions to resume
 *
 * Happy path: roots parsed once -> engine per connection -> wolfSSL verifies chain, validity and
 *   purpose, then on_verify() the name -> handshake done -> sessions kept under "host:port".
 * Failure modes: on_verify() says which of our rules the certificate broke (engine.refused); a
 *   handshake that fails with a kept session forgets it.
 * A resumed session shows no certificate: it stands for the verification made when it began, so it
 *   is found only under the same host and port, and only until that certificate ends or
 *   SESSION_TRUST is over.
 */
#include "gateway/tls/tls_internal.h"

#include <wolfssl/options.h>
#include <wolfssl/ssl.h>

#include <stdlib.h>

#define SESSIONS_MAX 1024
#define SESSION_TRUST (12 * 3600)
#define SESSION_KEY_MAX (TLS_HOST_MAX + 8)
#define RSA_BITS_MIN 2048
#define ECC_BITS_MIN 256

struct session {
	struct lru_entry lru;
	WOLFSSL_SESSION *session;	/* owned; never in use by a connection, those get copies */
	uint64_t until;			/* Unix seconds */
	char key[];
};

struct tls_client {
	WOLFSSL_CTX *ctx;		/* owned */
	struct lru sessions;		/* owns its entries */
	size_t roots;
	unsigned int refs;
};

/* ---- sessions -------------------------------------------------------------------------------- */

static void session_key(char key[SESSION_KEY_MAX], const struct tls_engine *e)
{
	(void)snprintf(key, SESSION_KEY_MAX, "%s:%u", e->host, e->port);
}

static void session_remove(struct tls_client *c, struct lru_entry *entry)
{
	struct session *s = container_of(entry, struct session, lru);

	lru_remove(&c->sessions, entry);
	wolfSSL_SESSION_free(s->session);
	free(s);
}

static struct session *session_find(struct tls_client *c, const struct tls_engine *e)
{
	char key[SESSION_KEY_MAX];
	struct lru_entry *entry;

	session_key(key, e);
	entry = lru_find(&c->sessions, key);
	return entry ? container_of(entry, struct session, lru) : NULL;
}

void client_drop_session(struct tls_client *c, const struct tls_engine *e)
{
	struct session *s = session_find(c, e);

	if (s)
		session_remove(c, &s->lru);
}

static void session_keep(struct tls_client *c, const struct tls_engine *e, WOLFSSL_SESSION *session)
{
	char key[SESSION_KEY_MAX];
	struct session *s;
	size_t n;

	session_key(key, e);
	client_drop_session(c, e);
	n = strlen(key) + 1;
	s = calloc(1, sizeof(*s) + n);
	if (!s)
		return;
	/* A copy: the connection goes on writing to its own when further tickets come. */
	s->session = wolfSSL_SESSION_dup(session);
	if (!s->session) {
		free(s);
		return;
	}
	s->until = e->verified_until;
	memcpy(s->key, key, n);
	s->lru.key = s->key;
	if (c->sessions.count >= SESSIONS_MAX)
		session_remove(c, c->sessions.oldest);
	lru_insert(&c->sessions, &s->lru);
}

/* wolfSSL has a session to offer. 0: it keeps its reference. */
static int on_new_session(WOLFSSL *ssl, WOLFSSL_SESSION *session)
{
	struct tls_engine *e = engine_of(ssl);

	if (e && e->client && e->verified_until > tls_unix_now())
		session_keep(e->client, e, session);
	return 0;
}

static void session_offer(struct tls_client *c, struct tls_engine *e)
{
	struct session *s = session_find(c, e);
	WOLFSSL_SESSION *copy;

	if (!s)
		return;
	if (s->until <= tls_unix_now()) {
		session_remove(c, &s->lru);
		return;
	}
	copy = wolfSSL_SESSION_dup(s->session);
	if (!copy)
		return;
	if (wolfSSL_set_session(e->ssl, copy) == WOLFSSL_SUCCESS)
		e->verified_until = s->until;
	wolfSSL_SESSION_free(copy);
}

/* ---- verification ---------------------------------------------------------------------------- */

/* The rules that wolfSSL does not apply, or not as strictly. Sets verified_until. */
static enum err check_peer(struct tls_engine *e, const WOLFSSL_BUFFER_INFO *certs, int n)
{
	uint64_t now = tls_unix_now();
	struct x509_view leaf, v;

	if (n < 1 || !certs)
		return ERR_UPSTREAM_CERT;
	for (int i = n - 1; i >= 0; i--) {
		if (x509_parse(bytes_of(certs[i].buffer, certs[i].length), &v) != ERR_OK)
			return ERR_UPSTREAM_CERT;
		/* what signs a root says nothing: it is trusted by itself */
		if (v.sha1 && !bytes_eq(v.issuer, v.subject))
			return ERR_UPSTREAM_CERT;
		leaf = v;
	}
	TRY(x509_verify_host(&leaf, e->host));
	e->checked = true;
	e->verified_until = leaf.not_after < now + SESSION_TRUST ? leaf.not_after :
								  now + SESSION_TRUST;
	return ERR_OK;
}

/*
 * Called for every failure and, when all went well, for the peer's own certificate. Never
 * overrides.
 */
static int on_verify(int ok, WOLFSSL_X509_STORE_CTX *store)
{
	struct tls_engine *e = store->userCtx;

	if (!e)
		return 0;
	e->verified_until = 0;
	if (!ok || store->error_depth != 0)
		return ok;
	e->refused = check_peer(e, store->certs, store->totalCerts);
	return e->refused == ERR_OK;
}

/* ---- context --------------------------------------------------------------------------------- */

static size_t load_roots(WOLFSSL_CTX *ctx, struct bytes pem)
{
	struct pem_block block;
	size_t n = 0;

	while (pem_next(&pem, &block)) {
		struct buf der;

		if (!bytes_eq(block.label, BYTES_LIT("CERTIFICATE")) &&
		    !bytes_eq(block.label, BYTES_LIT("X509 CERTIFICATE")))
			continue;
		buf_init(&der, 64 * 1024);
		if (pem_decode(&block, &der) == ERR_OK &&
		    wolfSSL_CTX_load_verify_buffer_ex(ctx, der.data + der.start,
						      (long)buf_len(&der), WOLFSSL_FILETYPE_ASN1, 0,
						      WOLFSSL_LOAD_FLAG_DATE_ERR_OKAY) ==
			    WOLFSSL_SUCCESS)
			n++;
		buf_release(&der);
	}
	return n;
}

static enum err set_up(struct tls_client *c, struct bytes pem_trust)
{
	uint64_t seed;

	TRY(tls_random((uint8_t *)&seed, sizeof(seed)));
	TRY(lru_init(&c->sessions, SESSIONS_MAX, seed));
	c->ctx = wolfSSL_CTX_new(wolfTLS_client_method());
	if (!c->ctx)
		return ERR_NOMEM;
	TRY(engine_set_up_ctx(c->ctx));
	if (wolfSSL_CTX_SetMinRsaKey_Sz(c->ctx, RSA_BITS_MIN) != WOLFSSL_SUCCESS ||
	    wolfSSL_CTX_SetMinEccKey_Sz(c->ctx, ECC_BITS_MIN) != WOLFSSL_SUCCESS ||
	    wolfSSL_CTX_UseSessionTicket(c->ctx) != WOLFSSL_SUCCESS)
		return ERR_INTERNAL;
	wolfSSL_CTX_set_verify(c->ctx, WOLFSSL_VERIFY_PEER, on_verify);
	/* Sessions are ours to keep: wolfSSL's own table knows no host. */
	(void)wolfSSL_CTX_set_session_cache_mode(c->ctx, WOLFSSL_SESS_CACHE_NO_INTERNAL);
	wolfSSL_CTX_sess_set_new_cb(c->ctx, on_new_session);
	c->roots = load_roots(c->ctx, pem_trust);
	return c->roots ? ERR_OK : ERR_CONFIG;
}

struct tls_client *tls_client_new(struct bytes pem_trust, enum err *e)
{
	struct tls_client *c = calloc(1, sizeof(*c));

	*e = ERR_NOMEM;
	if (!c)
		return NULL;
	c->refs = 1;
	*e = set_up(c, pem_trust);
	if (*e == ERR_OK)
		return c;
	tls_client_free(c);
	return NULL;
}

struct tls_client *client_ref(struct tls_client *c)
{
	c->refs++;
	return c;
}

void tls_client_free(struct tls_client *c)
{
	if (!c || --c->refs)
		return;
	while (c->sessions.oldest)
		session_remove(c, c->sessions.oldest);
	lru_release(&c->sessions);
	wolfSSL_CTX_free(c->ctx);
	free(c);
}

size_t tls_client_roots(const struct tls_client *c)
{
	return c->roots;
}

struct tls_engine *tls_engine_new_client(struct tls_client *c, const char *host, uint16_t port,
					 const char *alpn, struct buf *out)
{
	enum host_kind kind = host_kind_of(bytes_str(host), NULL);
	struct tls_engine *e;

	if (kind == HOST_INVALID)
		return NULL;
	e = engine_new(c->ctx, ENGINE_CLIENT, host, alpn, out);
	if (!e)
		return NULL;
	e->client = client_ref(c);
	e->port = port;
	/* RFC 6066 3: no literal addresses in SNI */
	if (kind == HOST_NAME &&
	    wolfSSL_UseSNI(e->ssl, WOLFSSL_SNI_HOST_NAME, host, (unsigned short)strlen(host)) !=
		    WOLFSSL_SUCCESS) {
		tls_engine_free(e);
		return NULL;
	}
	wolfSSL_SetCertCbCtx(e->ssl, e);
	session_offer(c, e);
	return e;
}
