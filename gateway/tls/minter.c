/*
 * minter.c - sign leaves with the interception CA
 *
 * Happy path: CA certificate and key checked once -> per leaf: To-Be-Signed part written as DER
 *   here, signed by wolfSSL, about 600 bytes.
 * The leaf's profile is ours alone (RFC 5280, and what strict verifiers ask for): v3, 128-bit
 *   random serial, SAN, CA:FALSE, digitalSignature, serverAuth, both key identifiers. The caller
 *   chooses host and key only.
 * Failure modes: not a host, not a P-256 key -> ERR_BAD_VALUE; CA over -> ERR_MINT.
 */
#include "gateway/tls/tls_internal.h"

#include <wolfssl/options.h>
#include <wolfssl/ssl.h>
#include <wolfssl/wolfcrypt/asn_public.h>
#include <wolfssl/wolfcrypt/ecc.h>
#include <wolfssl/wolfcrypt/random.h>
#include <wolfssl/wolfcrypt/rsa.h>
#include <wolfssl/wolfcrypt/sha256.h>

#include <stdlib.h>

#define CA_DER_MAX (16 * 1024)
#define KEY_ID_LEN 20
#define SERIAL_LEN 16
#define SKEW 3600		/* agents' clocks may be behind */
#define CN_MAX 64		/* ub-common-name, RFC 5280 A.1 */
#define RSA_BYTES_MIN 256
#define KNOWN_KEYS 16 /* workers have one each, and checking one costs more than signing */
#define SIGNATURE_MAX 1100	/* RSA-8192 and its wrapping */

enum key_type { KEY_NONE, KEY_ECC, KEY_RSA };

struct tls_minter {
	struct buf ca_der;
	struct x509_view ca;		/* borrowed from ca_der */
	uint8_t ca_key_id[KEY_ID_LEN];
	struct bytes akid;		/* the CA's own identifier, or ca_key_id */
	struct bytes algorithm;		/* signature AlgorithmIdentifier; static */
	int sig_type;			/* the same for wolfSSL */
	enum key_type type;
	ecc_key ecc;
	RsaKey rsa;
	WC_RNG rng;
	bool has_rng;
	uint8_t known[KNOWN_KEYS][TLS_PUBKEY_LEN];	/* checked before; the oldest is replaced */
	size_t known_at;
};

/* AlgorithmIdentifiers: RFC 5758 3.2, RFC 4055 5 */
static const uint8_t ecdsa_sha256[] = { 0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04,
					0x03, 0x02 };
static const uint8_t ecdsa_sha384[] = { 0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04,
					0x03, 0x03 };
static const uint8_t rsa_sha256[] = { 0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d,
				      0x01, 0x01, 0x0b, 0x05, 0x00 };

/* RFC 7093 2 (1): the left-most 160 bits of SHA-256 over the key's bits */
static enum err key_id(struct bytes key_bits, uint8_t id[KEY_ID_LEN])
{
	uint8_t hash[WC_SHA256_DIGEST_SIZE];

	if (wc_Sha256Hash(key_bits.p, (word32)key_bits.n, hash) != 0)
		return ERR_INTERNAL;
	memcpy(id, hash, KEY_ID_LEN);
	return ERR_OK;
}

/* ---- the CA: certificate, key, and whether they are a pair ----------------------------------- */

static const char *read_certificate(struct tls_minter *m, struct bytes pem)
{
	struct pem_block block;
	uint64_t now = tls_unix_now();

	do {
		if (!pem_next(&pem, &block))
			return "the CA file holds no certificate";
	} while (!bytes_eq(block.label, BYTES_LIT("CERTIFICATE")));
	if (pem_decode(&block, &m->ca_der) != ERR_OK ||
	    x509_parse(buf_bytes(&m->ca_der), &m->ca) != ERR_OK)
		return "the CA certificate cannot be read";
	if (!m->ca.is_ca || (m->ca.has_key_usage && !m->ca.may_sign_certs))
		return "the certificate is not one of a CA";
	if (m->ca.not_after <= now)
		return "the CA certificate is expired";
	if (m->ca.not_before > now)
		return "the CA certificate is not valid yet";
	if (key_id(m->ca.key_bits, m->ca_key_id) != ERR_OK)
		return "out of memory";
	m->akid = m->ca.skid.n ? m->ca.skid : bytes_of(m->ca_key_id, KEY_ID_LEN);
	return NULL;
}

static const char *use_ecc(struct tls_minter *m)
{
	uint8_t point[1 + 2 * 66];
	word32 n = sizeof(point);
	int bytes = wc_ecc_size(&m->ecc);

	if (bytes != 32 && bytes != 48)
		return "the CA key's curve is neither P-256 nor P-384";
	if (m->ecc.type == ECC_PRIVATEKEY_ONLY &&
	    wc_ecc_make_pub_ex(&m->ecc, NULL, &m->rng) != 0)
		return "the CA key cannot be read";
	if (wc_ecc_export_x963(&m->ecc, point, &n) != 0 ||
	    !bytes_eq(bytes_of(point, n), m->ca.key_bits))
		return "the CA key does not belong to the CA certificate";
	m->sig_type = bytes == 32 ? CTC_SHA256wECDSA : CTC_SHA384wECDSA;
	m->algorithm = bytes == 32 ? bytes_of(ecdsa_sha256, sizeof(ecdsa_sha256)) :
				     bytes_of(ecdsa_sha384, sizeof(ecdsa_sha384));
	return NULL;
}

static const char *use_rsa(struct tls_minter *m)
{
	uint8_t der[2048];
	int n;

	if (wc_RsaEncryptSize(&m->rsa) < RSA_BYTES_MIN)
		return "the CA key is an RSA key of less than 2048 bits";
	n = wc_RsaKeyToPublicDer(&m->rsa, der, sizeof(der));
	if (n <= 0 || !bytes_eq(bytes_of(der, (size_t)n), m->ca.spki))
		return "the CA key does not belong to the CA certificate";
#ifdef WC_RSA_BLINDING
	if (wc_RsaSetRNG(&m->rsa, &m->rng) != 0)
		return "the CA key cannot be used";
#endif
	m->sig_type = CTC_SHA256wRSA;
	m->algorithm = bytes_of(rsa_sha256, sizeof(rsa_sha256));
	return NULL;
}

/* SEC1, PKCS#1 or PKCS#8. */
static const char *use_key(struct tls_minter *m, struct bytes der)
{
	word32 at = 0;

	if (wc_ecc_init(&m->ecc) != 0)
		return "out of memory";
	if (wc_EccPrivateKeyDecode(der.p, &at, &m->ecc, (word32)der.n) == 0) {
		m->type = KEY_ECC;
		return use_ecc(m);
	}
	wc_ecc_free(&m->ecc);
	at = 0;
	if (wc_InitRsaKey(&m->rsa, NULL) != 0)
		return "out of memory";
	m->type = KEY_RSA;
	if (wc_RsaPrivateKeyDecode(der.p, &at, &m->rsa, (word32)der.n) == 0)
		return use_rsa(m);
	return "the CA key is neither an EC nor an RSA key";
}

static const char *read_key(struct tls_minter *m, struct bytes pem)
{
	struct pem_block block;
	const char *why;
	struct buf der;

	do {
		if (!pem_next(&pem, &block))
			return "the key file holds no private key";
	} while (!bytes_ends(block.label, BYTES_LIT("PRIVATE KEY")));
	if (bytes_eq(block.label, BYTES_LIT("ENCRYPTED PRIVATE KEY")) ||
	    bytes_find(block.body, BYTES_LIT("ENCRYPTED")) < block.body.n)
		return "the CA key is encrypted; give it without a passphrase";
	buf_init_secret(&der, CA_DER_MAX);
	why = pem_decode(&block, &der) == ERR_OK ? use_key(m, buf_bytes(&der)) :
						   "the CA key cannot be read";
	buf_release(&der);
	return why;
}

struct tls_minter *tls_minter_new(struct bytes ca_cert_pem, struct bytes ca_key_pem,
				  const char **why)
{
	struct tls_minter *m = calloc(1, sizeof(*m));

	*why = "out of memory";
	if (!m)
		return NULL;
	buf_init(&m->ca_der, CA_DER_MAX);
	m->has_rng = wc_InitRng(&m->rng) == 0;
	if (m->has_rng)
		*why = read_certificate(m, ca_cert_pem);
	if (!*why)
		*why = read_key(m, ca_key_pem);
	if (!*why)
		return m;
	tls_minter_free(m);
	return NULL;
}

void tls_minter_free(struct tls_minter *m)
{
	if (!m)
		return;
	if (m->type == KEY_ECC)
		wc_ecc_free(&m->ecc);
	if (m->type == KEY_RSA)
		wc_FreeRsaKey(&m->rsa);
	if (m->has_rng)
		wc_FreeRng(&m->rng);
	buf_release(&m->ca_der);
	mem_wipe_free(m, sizeof(*m));
}

/* ---- the To-Be-Signed part, from its end to its start ---------------------------------------- */

struct leaf_plan {
	struct bytes host;
	enum host_kind kind;
	struct addr ip;
	struct bytes pubkey;
	uint8_t serial[SERIAL_LEN];
	uint8_t skid[KEY_ID_LEN];
	uint64_t not_before, not_after;
};

/* id-ce extension `arc` around what was written since `end`. */
static void wrap_extension(struct der_writer *w, uint8_t arc, bool critical, size_t end)
{
	const uint8_t oid[] = { 0x55, 0x1d, arc };
	static const uint8_t yes = 0xff;

	der_wrap(w, DER_OCTET_STRING, end);
	if (critical)
		der_put_tlv(w, DER_BOOLEAN, bytes_of(&yes, 1));
	der_put_tlv(w, DER_OID, bytes_of(oid, sizeof(oid)));
	der_wrap(w, DER_SEQUENCE, end);
}

static void put_names(struct der_writer *w, const struct leaf_plan *p)
{
	size_t end = w->at;

	if (p->kind == HOST_IP)
		der_put_tlv(w, 0x87, bytes_of(p->ip.ip, p->ip.family == AF_INET ? 4 : 16));
	else
		der_put_tlv(w, 0x82, p->host);
	der_wrap(w, DER_SEQUENCE, end);
	/* RFC 5280 4.2.1.6: critical when the subject is empty */
	wrap_extension(w, 17, p->host.n > CN_MAX, end);
}

static void put_key_ids(struct der_writer *w, const struct leaf_plan *p, struct bytes akid)
{
	size_t end = w->at;

	der_put_tlv(w, 0x80, akid);			/* authorityKeyIdentifier */
	der_wrap(w, DER_SEQUENCE, end);
	wrap_extension(w, 35, false, end);
	end = w->at;
	der_put_tlv(w, DER_OCTET_STRING, bytes_of(p->skid, KEY_ID_LEN));
	wrap_extension(w, 14, false, end);
}

static void put_extensions(struct der_writer *w, const struct leaf_plan *p, struct bytes akid)
{
	static const uint8_t digital_signature[] = { 7, 0x80 };
	static const uint8_t server_auth[] = { 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x01 };
	size_t all = w->at, end;

	put_names(w, p);
	put_key_ids(w, p, akid);
	end = w->at;
	der_put_tlv(w, DER_OID, bytes_of(server_auth, sizeof(server_auth)));
	der_wrap(w, DER_SEQUENCE, end);
	wrap_extension(w, 37, false, end);		/* extKeyUsage */
	end = w->at;
	der_put_tlv(w, DER_BIT_STRING, bytes_of(digital_signature, sizeof(digital_signature)));
	wrap_extension(w, 15, true, end);		/* keyUsage */
	end = w->at;
	der_put_tlv(w, DER_SEQUENCE, BYTES_NONE);	/* CA:FALSE is the default, so left out */
	wrap_extension(w, 19, true, end);		/* basicConstraints */
	der_wrap(w, DER_SEQUENCE, all);
	der_wrap(w, 0xa3, all);
}

static void put_subject(struct der_writer *w, const struct leaf_plan *p)
{
	static const uint8_t common_name[] = { 0x55, 0x04, 0x03 };
	size_t end = w->at;

	if (p->host.n <= CN_MAX) {
		der_put_tlv(w, DER_UTF8, p->host);
		der_put_tlv(w, DER_OID, bytes_of(common_name, sizeof(common_name)));
		der_wrap(w, DER_SEQUENCE, end);
		der_wrap(w, DER_SET, end);
	}
	der_wrap(w, DER_SEQUENCE, end);
}

static void put_tbs(struct der_writer *w, const struct tls_minter *m, const struct leaf_plan *p)
{
	static const uint8_t version3[] = { 0xa0, 0x03, 0x02, 0x01, 0x02 };
	size_t all = w->at, end;

	put_extensions(w, p, m->akid);
	der_put(w, p->pubkey);
	put_subject(w, p);
	end = w->at;
	der_put_time(w, p->not_after);
	der_put_time(w, p->not_before);
	der_wrap(w, DER_SEQUENCE, end);
	der_put(w, m->ca.subject);
	der_put(w, m->algorithm);
	der_put_tlv(w, DER_INTEGER, bytes_of(p->serial, SERIAL_LEN));
	der_put(w, bytes_of(version3, sizeof(version3)));
	der_wrap(w, DER_SEQUENCE, all);
}

/* ---- signing --------------------------------------------------------------------------------- */

/* A point that is on the curve: signing any other would certify nonsense. */
static bool is_p256_key(struct tls_minter *m, struct bytes spki)
{
	ecc_key key;
	word32 at = 0;
	bool ok;

	if (spki.n != TLS_PUBKEY_LEN)
		return false;
	for (size_t i = 0; i < KNOWN_KEYS; i++)
		if (!memcmp(m->known[i], spki.p, TLS_PUBKEY_LEN))
			return true;
	if (wc_ecc_init(&key) != 0)
		return false;
	ok = wc_EccPublicKeyDecode(spki.p, &at, &key, (word32)spki.n) == 0 && at == spki.n &&
	     wc_ecc_size(&key) == 32 && wc_ecc_check_key(&key) == 0;
	wc_ecc_free(&key);
	if (ok) {
		memcpy(m->known[m->known_at], spki.p, TLS_PUBKEY_LEN);
		m->known_at = (m->known_at + 1) % KNOWN_KEYS;
	}
	return ok;
}

static enum err make_plan(struct tls_minter *m, struct leaf_plan *p, uint32_t lifetime_s)
{
	uint64_t now = tls_unix_now();

	if (m->ca.not_after <= now)
		return ERR_MINT;
	p->not_before = now - SKEW > m->ca.not_before ? now - SKEW : m->ca.not_before;
	p->not_after = now + lifetime_s < m->ca.not_after ? now + lifetime_s : m->ca.not_after;
	if (wc_RNG_GenerateBlock(&m->rng, p->serial, SERIAL_LEN) != 0)
		return ERR_INTERNAL;
	/* positive, and always of full length */
	p->serial[0] = (uint8_t)((p->serial[0] & 0x3f) | 0x40);
	return key_id(bytes_from(p->pubkey, TLS_PUBKEY_LEN - 65), p->skid);
}

enum err tls_minter_sign(struct tls_minter *m, const char *host, struct bytes pubkey,
			 uint32_t lifetime_s, struct buf *cert_der)
{
	uint8_t work[TLS_CERT_MAX];
	struct leaf_plan p = { .host = bytes_str(host), .pubkey = pubkey };
	struct der_writer w;
	struct bytes tbs;
	int n;

	p.kind = host_kind_of(p.host, &p.ip);
	if (p.kind == HOST_INVALID || !lifetime_s || !is_p256_key(m, pubkey))
		return ERR_BAD_VALUE;
	TRY(make_plan(m, &p, lifetime_s));
	der_writer_init(&w, work, sizeof(work) - SIGNATURE_MAX);
	put_tbs(&w, m, &p);
	if (w.full)
		return ERR_MINT;
	tbs = der_written(&w);
	memmove(work, tbs.p, tbs.n);
	n = wc_SignCert((int)tbs.n, m->sig_type, work, sizeof(work),
			m->type == KEY_RSA ? &m->rsa : NULL, m->type == KEY_ECC ? &m->ecc : NULL,
			&m->rng);
	if (n <= 0)
		return ERR_MINT;
	return buf_append(cert_der, bytes_of(work, (size_t)n)) == ERR_OK ? ERR_OK : ERR_NOMEM;
}
