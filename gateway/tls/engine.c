/*
 * engine.c - one TLS connection end over memory, for either leg
 *
 *	HANDSHAKE --done--> OPEN --close_notify--> CLOSED
 *	    |                |  \--transport ends--> CUT
 *	    +---- failure ---+--------------------> FAILED (final, `why` says it)
 *
 * Ciphertext in: wolfSSL's receive callback reads from the kept bytes first, then from the lent
 *   ones; it copies only what it needs for the record at hand, so nothing is kept twice.
 * Ciphertext out: the send callback appends to `out`; at its ceiling wolfSSL keeps the record and
 *   goes on with it at the next call. write() starts nothing it cannot finish, so it never is half
 *   done.
 * Memory: wolfSSL gives its record buffers back when they are empty; an idle engine keeps none.
 */
#include "gateway/tls/tls_internal.h"

#include <wolfssl/options.h>
#include <wolfssl/ssl.h>
#include <wolfssl/error-ssl.h>
#include <wolfssl/wolfcrypt/error-crypt.h>

#include <stdlib.h>

#define WRITE_RESERVE 256 /* of room in `out` for answers the library puts in before our data */
#define RECORD_ALERT 21
#define WRITE_AT_ONCE (1024 * 1024)

struct tls_engine *engine_of(WOLFSSL *ssl)
{
	return wolfSSL_GetIOReadCtx(ssl);
}

/*
 * Which record wolfSSL failed at: it calls an alert in plain text, which OpenSSL sends for
 * certificates it does not trust, a parse error. For words only; such an alert is not
 * authenticated.
 */
static void note_record(struct tls_engine *e, struct bytes in)
{
	while (in.n) {
		size_t n = 1;

		if (e->record.left == 0 && e->record.have == sizeof(e->record.head))
			e->record.have = 0;
		if (e->record.have < sizeof(e->record.head)) {
			e->record.head[e->record.have++] = in.p[0];
			e->record.left = (size_t)e->record.head[3] << 8 | e->record.head[4];
		} else {
			n = in.n < e->record.left ? in.n : e->record.left;
			e->record.last = in.p[n - 1];
			e->record.left -= n;
		}
		in = bytes_from(in, n);
	}
}

/* RFC 8446 6.2 */
static const char *alert_text(int code)
{
	switch (code) {
	case 40: return "the peer sent handshake_failure";
	case 42: return "the peer sent bad_certificate";
	case 45: return "the peer sent certificate_expired";
	case 46: return "the peer sent certificate_unknown";
	case 48: return "the peer sent unknown_ca";
	case 70: return "the peer sent protocol_version";
	case 80: return "the peer sent internal_error";
	case 112: return "the peer sent unrecognized_name";
	case 120: return "the peer sent no_application_protocol";
	default: return "the peer sent an alert";
	}
}

static void note_alert(struct tls_engine *e, int code)
{
	WOLFSSL_ALERT_HISTORY history;

	if (code == FATAL_ERROR && wolfSSL_get_alert_history(e->ssl, &history) == WOLFSSL_SUCCESS &&
	    history.last_rx.level >= 0)
		e->alert = alert_text(history.last_rx.code);
	else if (e->record.have == sizeof(e->record.head) && e->state == ENGINE_HANDSHAKE &&
		 e->record.head[0] == RECORD_ALERT)
		e->alert = alert_text(e->record.head[4] == 2 && !e->record.left ? e->record.last :
										  -1);
}

/* ---- callbacks ------------------------------------------------------------------------------- */

static int on_receive(WOLFSSL *ssl, char *dst, int want, void *ctx)
{
	struct tls_engine *e = ctx;
	struct bytes from;
	size_t n;

	(void)ssl;
	from = buf_len(&e->kept) ? buf_bytes(&e->kept) : e->lent;
	if (from.n == 0)
		return e->eof ? WOLFSSL_CBIO_ERR_CONN_CLOSE : WOLFSSL_CBIO_ERR_WANT_READ;
	n = from.n < (size_t)want ? from.n : (size_t)want;
	memcpy(dst, from.p, n);
	if (e->state == ENGINE_HANDSHAKE)
		note_record(e, bytes_of(dst, n));
	if (buf_len(&e->kept)) {
		buf_consume(&e->kept, n);
		if (!buf_len(&e->kept))
			buf_release(&e->kept);
	} else {
		e->lent = bytes_of(e->lent.p + n, e->lent.n - n);
	}
	return (int)n;
}

static int on_send(WOLFSSL *ssl, char *src, int len, void *ctx)
{
	struct tls_engine *e = ctx;
	size_t n = buf_room(e->out);

	(void)ssl;
	if (n == 0)
		return WOLFSSL_CBIO_ERR_WANT_WRITE;
	if (n > (size_t)len)
		n = (size_t)len;
	if (buf_append(e->out, bytes_of(src, n)) != ERR_OK)
		return WOLFSSL_CBIO_ERR_GENERAL;
	return (int)n;
}

/* ---- making ---------------------------------------------------------------------------------- */

enum err engine_set_up_ctx(WOLFSSL_CTX *ctx)
{
	int groups[] = { WOLFSSL_ECC_X25519, WOLFSSL_ECC_SECP256R1, WOLFSSL_ECC_SECP384R1 };

	if (wolfSSL_CTX_SetMinVersion(ctx, WOLFSSL_TLSV1_2) != WOLFSSL_SUCCESS ||
	    wolfSSL_CTX_set_cipher_list(ctx, tls_suites()) != WOLFSSL_SUCCESS ||
	    wolfSSL_CTX_set_groups(ctx, groups, ARRAY_SIZE(groups)) != WOLFSSL_SUCCESS)
		return ERR_INTERNAL;
#ifdef SINGLE_THREADED
	/* One generator for all connections: starting one costs more than it is used. */
	if (wolfSSL_CTX_new_rng(ctx) != WOLFSSL_SUCCESS)
		return ERR_NOMEM;
#endif
	wolfSSL_CTX_SetIORecv(ctx, on_receive);
	wolfSSL_CTX_SetIOSend(ctx, on_send);
	return ERR_OK;
}

static bool set_alpn(WOLFSSL *ssl, const char *alpn)
{
	char *list = bytes_dup_str(bytes_str(alpn));	/* wolfSSL wants it writable */
	bool ok;

	if (!list)
		return false;
	ok = wolfSSL_UseALPN(ssl, list, (unsigned int)strlen(list),
			     WOLFSSL_ALPN_CONTINUE_ON_MISMATCH) == WOLFSSL_SUCCESS;
	free(list);
	return ok;
}

struct tls_engine *engine_new(WOLFSSL_CTX *ctx, enum engine_role role, const char *host,
			      const char *alpn, struct buf *out)
{
	size_t n = strlen(host) + 1;
	struct tls_engine *e = calloc(1, sizeof(*e) + n);

	if (!e)
		return NULL;
	memcpy(e->host, host, n);
	e->role = role;
	e->out = out;
	buf_init(&e->kept, TLS_KEEP_MAX);
	e->ssl = wolfSSL_new(ctx);
	if (!e->ssl || (alpn && !set_alpn(e->ssl, alpn))) {
		tls_engine_free(e);
		return NULL;
	}
	wolfSSL_SetIOReadCtx(e->ssl, e);
	wolfSSL_SetIOWriteCtx(e->ssl, e);
	return e;
}

void tls_engine_free(struct tls_engine *e)
{
	if (!e)
		return;
	wolfSSL_free(e->ssl);
	buf_release(&e->kept);
	tls_client_free(e->client);
	tls_leaf_unref(e->leaf);
	tls_server_free(e->server);
	free(e->alpn);
	free(e);
}

/* ---- ciphertext in --------------------------------------------------------------------------- */

enum err tls_engine_feed(struct tls_engine *e, struct bytes cipher)
{
	if (e->lent.n)
		return ERR_INTERNAL;	/* the last loan was not settled */
	if (buf_len(&e->kept) + cipher.n > TLS_KEEP_MAX)
		return ERR_TOO_LONG;
	e->lent = cipher;
	return ERR_OK;
}

enum err tls_engine_settle(struct tls_engine *e)
{
	struct bytes rest = e->lent;
	enum err err;

	e->lent = BYTES_NONE;
	if (!rest.n || e->state > ENGINE_OPEN)
		return ERR_OK;
	err = buf_append(&e->kept, rest);
	return err == ERR_AGAIN ? ERR_TOO_LONG : err;
}

void tls_engine_feed_eof(struct tls_engine *e)
{
	e->eof = true;
}

size_t tls_engine_pending(const struct tls_engine *e)
{
	int plain = e->state == ENGINE_OPEN ? wolfSSL_pending(e->ssl) : 0;

	return buf_len(&e->kept) + e->lent.n + (plain > 0 ? (size_t)plain : 0);
}

/* ---- failures -------------------------------------------------------------------------------- */

static enum err upstream_error(const struct tls_engine *e, int code)
{
	if (e->refused != ERR_OK)
		return e->refused;
	switch (code) {
	case ASN_BEFORE_DATE_E:
	case ASN_AFTER_DATE_E:
		return ERR_UPSTREAM_CERT_EXPIRED;
	case ASN_NO_SIGNER_E:
	case ASN_SELF_SIGNED_E:
		return ERR_UPSTREAM_CERT_ISSUER;
	case DOMAIN_NAME_MISMATCH:
	case IPADDR_MISMATCH:
		return ERR_UPSTREAM_CERT_NAME;
	case CRL_CERT_REVOKED:
	case OCSP_CERT_REVOKED:
		return ERR_UPSTREAM_CERT_REVOKED;
	case VERIFY_CERT_ERROR:
	case NO_PEER_CERT:
	case EXTKEYUSE_AUTH_E:
	case KEYUSE_SIGNATURE_E:
	case KEYUSE_ENCIPHER_E:
	case RSA_KEY_SIZE_E:
	case ECC_KEY_SIZE_E:
	case ASN_SIG_CONFIRM_E:
	case ASN_SIG_HASH_E:
	case ASN_SIG_OID_E:
	case ASN_PATHLEN_SIZE_E:
	case ASN_PATHLEN_INV_E:
	case ASN_NAME_INVALID_E:
	case ASN_PARSE_E:
	case ASN_CRIT_EXT_E:
		return ERR_UPSTREAM_CERT;
	default:
		return ERR_UPSTREAM_TLS;
	}
}

static enum err fail(struct tls_engine *e, enum err why)
{
	e->state = ENGINE_FAILED;
	e->why = why;
	if (e->client)
		client_drop_session(e->client, e);
	return why;
}

/* What a negative result of wolfSSL means; moves the state unless it only waits. */
static enum err settle_result(struct tls_engine *e, int result)
{
	int code = wolfSSL_get_error(e->ssl, result);

	if (code == WOLFSSL_ERROR_WANT_READ || code == WOLFSSL_ERROR_WANT_WRITE)
		return ERR_AGAIN;
	if (e->state == ENGINE_OPEN && code == WOLFSSL_ERROR_ZERO_RETURN) {
		e->state = ENGINE_CLOSED;
		return ERR_CLOSED;
	}
	if (e->state == ENGINE_OPEN && e->eof && (code == SOCKET_PEER_CLOSED_E ||
						  code == SOCKET_ERROR_E)) {
		e->state = ENGINE_CUT;
		return ERR_CLOSED;
	}
	e->detail = code;
	note_alert(e, code);
	if (code == MEMORY_E)
		return fail(e, ERR_NOMEM);
	if (e->role == ENGINE_CLIENT)
		return fail(e, upstream_error(e, code));
	if (e->eof && (code == SOCKET_PEER_CLOSED_E || code == SOCKET_ERROR_E))
		return fail(e, ERR_CLOSED);
	return fail(e, e->alert ? ERR_TLS_ALERT : ERR_TLS_HANDSHAKE);
}

/* ---- running --------------------------------------------------------------------------------- */

/*
 * ALPN names are short; without memory for one there is none, and the caller falls back to
 * HTTP/1.1.
 */
static void note_alpn(struct tls_engine *e)
{
	unsigned short n = 0;
	char *name = NULL;

	if (wolfSSL_ALPN_GetProtocol(e->ssl, &name, &n) == WOLFSSL_SUCCESS && name)
		e->alpn = bytes_dup_str(bytes_of(name, n));
}

enum err tls_engine_handshake(struct tls_engine *e)
{
	int r;

	if (e->state == ENGINE_FAILED)
		return e->why;
	if (e->state != ENGINE_HANDSHAKE)
		return ERR_OK;
	r = e->role == ENGINE_CLIENT ? wolfSSL_connect(e->ssl) : wolfSSL_accept(e->ssl);
	if (r != WOLFSSL_SUCCESS)
		return settle_result(e, r);
	/* Fail closed: whatever the library did, a peer that we did not verify is none. */
	if (e->role == ENGINE_CLIENT && (e->verified_until <= tls_unix_now() ||
					 (!e->checked && !wolfSSL_session_reused(e->ssl))))
		return fail(e, ERR_UPSTREAM_CERT);
	e->state = ENGINE_OPEN;
	note_alpn(e);
	return ERR_OK;
}

static enum err not_open(const struct tls_engine *e)
{
	switch (e->state) {
	case ENGINE_FAILED:
		return e->why;
	case ENGINE_CLOSED:
	case ENGINE_CUT:
		return ERR_CLOSED;
	default:
		return ERR_INTERNAL;
	}
}

enum err tls_engine_read(struct tls_engine *e, uint8_t *dst, size_t cap, size_t *n)
{
	int r;

	*n = 0;
	if (e->state != ENGINE_OPEN)
		return not_open(e);
	r = wolfSSL_read(e->ssl, dst, cap > WRITE_AT_ONCE ? WRITE_AT_ONCE : (int)cap);
	if (r <= 0)
		return settle_result(e, r);
	*n = (size_t)r;
	return ERR_OK;
}

size_t tls_engine_write_room(const struct tls_engine *e)
{
	const size_t record = TLS_RECORD_PLAIN_MAX + TLS_RECORD_OVERHEAD;
	size_t room = buf_room(e->out), rest;

	if (room <= WRITE_RESERVE)
		return 0;
	room -= WRITE_RESERVE;
	rest = room % record;
	return room / record * TLS_RECORD_PLAIN_MAX +
	       (rest > TLS_RECORD_OVERHEAD ? rest - TLS_RECORD_OVERHEAD : 0);
}

enum err tls_engine_write(struct tls_engine *e, struct bytes plain)
{
	/* reading may have ended; the other direction is open until we close it (RFC 8446 6.1) */
	if (e->state != ENGINE_OPEN && e->state != ENGINE_CLOSED)
		return not_open(e);
	if (e->close_sent)
		return ERR_INTERNAL;
	if (plain.n > tls_engine_write_room(e))
		return ERR_AGAIN;
	while (plain.n) {
		size_t n = plain.n < WRITE_AT_ONCE ? plain.n : WRITE_AT_ONCE;
		int r = wolfSSL_write(e->ssl, plain.p, (int)n);

		if (r <= 0) {
			e->detail = wolfSSL_get_error(e->ssl, r);
			return fail(e, ERR_INTERNAL);
		}
		plain = bytes_from(plain, (size_t)r);
	}
	return ERR_OK;
}

void tls_engine_close(struct tls_engine *e)
{
	if (e->close_sent || e->state == ENGINE_HANDSHAKE || e->state == ENGINE_FAILED ||
	    buf_room(e->out) < WRITE_RESERVE)
		return;
	e->close_sent = true;
	(void)wolfSSL_shutdown(e->ssl);
}

/* ---- asking ---------------------------------------------------------------------------------- */

bool tls_engine_is_done(const struct tls_engine *e)
{
	return e->state != ENGINE_HANDSHAKE && e->state != ENGINE_FAILED;
}

bool tls_engine_closed_clean(const struct tls_engine *e)
{
	return e->state == ENGINE_CLOSED;
}

bool tls_engine_resumed(const struct tls_engine *e)
{
	return tls_engine_is_done(e) && wolfSSL_session_reused(e->ssl);
}

const char *tls_engine_alpn(const struct tls_engine *e)
{
	return e->alpn ? e->alpn : "";
}

const char *tls_engine_version(const struct tls_engine *e)
{
	return wolfSSL_get_version(e->ssl);
}

const char *tls_engine_cipher(const struct tls_engine *e)
{
	const char *name = wolfSSL_get_cipher_name(e->ssl);

	return name ? name : "";
}

const char *tls_engine_detail(const struct tls_engine *e)
{
	const char *text;

	if (e->alert)
		return e->alert;
	if (!e->detail)
		return "";
	text = wolfSSL_ERR_reason_error_string((unsigned long)e->detail);
	return text ? text : "";
}
