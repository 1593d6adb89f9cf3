/*
 * x509.c - the little we read of a certificate ourselves (RFC 5280)
 *
 * Signatures, chains, validity and purposes are wolfSSL's work. Here: names, since its host check
 * falls back to the common name; key identifiers and raw names for minting; times for caches.
 */
#include "gateway/tls/tls_internal.h"

/* id-ce (2.5.29) and the arc below it */
static const uint8_t id_ce[] = { 0x55, 0x1d };
enum { CE_SKID = 14, CE_KEY_USAGE = 15, CE_SAN = 17, CE_BASIC_CONSTRAINTS = 19 };

/* GeneralName (RFC 5280 4.2.1.6) */
enum { GN_DNS = 0x82, GN_IP = 0x87 };

static bool read_basic_constraints(struct bytes in, struct x509_view *v)
{
	struct bytes seq, flag;

	if (!der_take(&in, DER_SEQUENCE, &seq) || in.n)
		return false;
	if (der_take_if(&seq, DER_BOOLEAN, &flag)) {
		if (flag.n != 1)
			return false;
		v->is_ca = flag.p[0] != 0;
	}
	return true;
}

static bool read_key_usage(struct bytes in, struct x509_view *v)
{
	struct bytes bits;

	if (!der_take(&in, DER_BIT_STRING, &bits) || in.n || bits.n < 1)
		return false;
	v->has_key_usage = true;
	v->may_sign = bits.n > 1 && (bits.p[1] & 0x80);		/* digitalSignature (0) */
	v->may_sign_certs = bits.n > 1 && (bits.p[1] & 0x04);	/* keyCertSign (5) */
	return true;
}

static bool read_extension(struct bytes ext, struct x509_view *v)
{
	struct bytes oid, critical, value;

	if (!der_take(&ext, DER_OID, &oid))
		return false;
	(void)der_take_if(&ext, DER_BOOLEAN, &critical);
	if (!der_take(&ext, DER_OCTET_STRING, &value) || ext.n)
		return false;
	if (oid.n != 3 || memcmp(oid.p, id_ce, sizeof(id_ce)) != 0)
		return true;
	switch (oid.p[2]) {
	case CE_SKID:
		return der_take(&value, DER_OCTET_STRING, &v->skid) && !value.n;
	case CE_KEY_USAGE:
		return read_key_usage(value, v);
	case CE_SAN:
		/* once only: which of two would hold? */
		return !v->san.n && der_take(&value, DER_SEQUENCE, &v->san) && !value.n && v->san.n;
	case CE_BASIC_CONSTRAINTS:
		return read_basic_constraints(value, v);
	default:
		return true;
	}
}

static bool read_extensions(struct bytes tbs, struct x509_view *v)
{
	struct bytes wrapped, list, ext;

	while (tbs.n) {
		if (!der_take_if(&tbs, 0xa3, &wrapped)) {
			uint8_t tag;

			/* issuerUniqueID [1], subjectUniqueID [2]: nobody's business */
			if (!der_next(&tbs, &tag, &ext, NULL) || (tag & 0xdf) < 0x81)
				return false;
			continue;
		}
		if (!der_take(&wrapped, DER_SEQUENCE, &list) || wrapped.n)
			return false;
		while (list.n)
			if (!der_take(&list, DER_SEQUENCE, &ext) || !read_extension(ext, v))
				return false;
	}
	return true;
}

static bool read_name(struct bytes *tbs, struct bytes *whole)
{
	struct bytes body;
	uint8_t tag;

	return der_next(tbs, &tag, &body, whole) && tag == DER_SEQUENCE;
}

static bool read_validity(struct bytes *tbs, struct x509_view *v)
{
	struct bytes seq, t;
	uint8_t tag;

	return der_take(tbs, DER_SEQUENCE, &seq) &&
	       der_next(&seq, &tag, &t, NULL) && der_time(tag, t, &v->not_before) &&
	       der_next(&seq, &tag, &t, NULL) && der_time(tag, t, &v->not_after) && !seq.n;
}

static bool read_spki(struct bytes *tbs, struct x509_view *v)
{
	struct bytes spki, algorithm, bits;
	uint8_t tag;

	if (!der_next(tbs, &tag, &spki, &v->spki) || tag != DER_SEQUENCE ||
	    !der_take(&spki, DER_SEQUENCE, &algorithm) ||
	    !der_take(&spki, DER_BIT_STRING, &bits) || spki.n || bits.n < 2 || bits.p[0] != 0)
		return false;
	v->key_bits = bytes_from(bits, 1);
	return true;
}

/* sha1WithRSAEncryption (RFC 8017 A.2.4) and ecdsa-with-SHA1 (RFC 3279 2.2.3) */
static bool is_sha1(struct bytes algorithm)
{
	static const uint8_t rsa[] = { 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x05 };
	static const uint8_t ecdsa[] = { 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x01 };
	struct bytes oid;

	return !der_take(&algorithm, DER_OID, &oid) || bytes_eq(oid, bytes_of(rsa, sizeof(rsa))) ||
	       bytes_eq(oid, bytes_of(ecdsa, sizeof(ecdsa)));
}

static bool read_tbs(struct bytes tbs, struct x509_view *v)
{
	struct bytes skip, algorithm;

	(void)der_take_if(&tbs, 0xa0, &skip);		/* version; v1 has none */
	if (!der_take(&tbs, DER_INTEGER, &skip) ||	/* serial number */
	    !der_take(&tbs, DER_SEQUENCE, &algorithm))
		return false;
	v->sha1 = is_sha1(algorithm);
	return read_name(&tbs, &v->issuer) && read_validity(&tbs, v) &&
	       read_name(&tbs, &v->subject) && read_spki(&tbs, v) && read_extensions(tbs, v);
}

enum err x509_parse(struct bytes der, struct x509_view *v)
{
	struct bytes cert, tbs;
	uint8_t tag;

	memset(v, 0, sizeof(*v));
	if (!der_take(&der, DER_SEQUENCE, &cert) || der.n ||
	    !der_next(&cert, &tag, &tbs, &v->tbs) || tag != DER_SEQUENCE || !read_tbs(tbs, v))
		return ERR_BAD_VALUE;
	return ERR_OK;
}

enum err x509_verify_host(const struct x509_view *v, const char *host)
{
	struct bytes names = v->san, name, want = bytes_str(host);
	struct addr ip;
	enum host_kind kind = host_kind_of(want, &ip);
	uint8_t tag;

	while (names.n && der_next(&names, &tag, &name, NULL)) {
		if (kind == HOST_NAME && tag == GN_DNS && host_matches(name, want))
			return ERR_OK;
		if (kind == HOST_IP && tag == GN_IP &&
		    bytes_eq(name, bytes_of(ip.ip, ip.family == AF_INET ? 4 : 16)))
			return ERR_OK;
	}
	return ERR_UPSTREAM_CERT_NAME;
}
