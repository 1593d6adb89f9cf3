/*
 * leaf.c - one host's certificate, ready for handshakes
 *
 * A leaf is a wolfSSL context with certificate, chain and key loaded once; connections borrow all
 * of it.
 * It is believed only if it was made for our key and this host: a confused or hostile minter can at
 * worst deny service.
 */
#include "gateway/tls/tls_internal.h"

#include <wolfssl/options.h>
#include <wolfssl/ssl.h>

#include <stdlib.h>

struct tls_leaf {
	WOLFSSL_CTX *ctx;		/* owned */
	struct tls_server *server;	/* referenced */
	uint64_t not_after;
	unsigned int refs;
	char host[];
};

static enum err load(struct tls_leaf *leaf, struct bytes cert_der)
{
	struct bytes chain = server_chain(leaf->server), key = server_key_der(leaf->server);
	struct buf all;
	enum err e;

	leaf->ctx = wolfSSL_CTX_new(wolfTLS_server_method());
	if (!leaf->ctx)
		return ERR_NOMEM;
	TRY(engine_set_up_ctx(leaf->ctx));
	TRY(server_set_up_tickets(leaf->server, leaf->ctx));
	wolfSSL_CTX_set_verify(leaf->ctx, WOLFSSL_VERIFY_NONE, NULL);
	(void)wolfSSL_CTX_set_session_cache_mode(leaf->ctx, WOLFSSL_SESS_CACHE_OFF);
	buf_init(&all, cert_der.n + chain.n);
	e = buf_append(&all, cert_der);
	if (e == ERR_OK)
		e = buf_append(&all, chain);
	if (e == ERR_OK && wolfSSL_CTX_use_certificate_chain_buffer_format(
				   leaf->ctx, all.data + all.start, (long)buf_len(&all),
				   WOLFSSL_FILETYPE_ASN1) != WOLFSSL_SUCCESS)
		e = ERR_MINT;
	if (e == ERR_OK &&
	    wolfSSL_CTX_use_PrivateKey_buffer(leaf->ctx, key.p, (long)key.n,
					      WOLFSSL_FILETYPE_ASN1) != WOLFSSL_SUCCESS)
		e = ERR_MINT;
	buf_release(&all);
	return e;
}

enum err tls_leaf_new(struct tls_server *s, const char *host, struct bytes cert_der,
		      struct tls_leaf **out)
{
	struct tls_leaf *leaf;
	struct x509_view v;
	size_t n = strlen(host) + 1;
	enum err e;

	if (cert_der.n > TLS_CERT_MAX || x509_parse(cert_der, &v) != ERR_OK ||
	    !bytes_eq(v.spki, tls_server_pubkey(s)) || x509_verify_host(&v, host) != ERR_OK)
		return ERR_MINT;
	leaf = calloc(1, sizeof(*leaf) + n);
	if (!leaf)
		return ERR_NOMEM;
	memcpy(leaf->host, host, n);
	leaf->refs = 1;
	leaf->server = server_ref(s);
	leaf->not_after = v.not_after;
	e = load(leaf, cert_der);
	if (e != ERR_OK) {
		tls_leaf_unref(leaf);
		return e;
	}
	*out = leaf;
	return ERR_OK;
}

struct tls_leaf *tls_leaf_ref(struct tls_leaf *leaf)
{
	leaf->refs++;
	return leaf;
}

void tls_leaf_unref(struct tls_leaf *leaf)
{
	if (!leaf || --leaf->refs)
		return;
	wolfSSL_CTX_free(leaf->ctx);
	tls_server_free(leaf->server);
	free(leaf);
}

const char *tls_leaf_host(const struct tls_leaf *leaf)
{
	return leaf->host;
}

uint64_t tls_leaf_not_after(const struct tls_leaf *leaf)
{
	return leaf->not_after;
}

struct tls_engine *tls_engine_new_server(struct tls_server *s, struct tls_leaf *leaf,
					 const char *alpn, struct buf *out)
{
	struct tls_engine *e = engine_new(leaf->ctx, ENGINE_SERVER, leaf->host, alpn, out);

	if (!e)
		return NULL;
	e->server = server_ref(s);
	e->leaf = tls_leaf_ref(leaf);
	return e;
}
