/*
 * mint_codec.c - the messages between worker and minter, as pure functions
 *
 *	request:  'Q' id:4 length:2  host_len:1 host  public key:91
 *	response: 'R' id:4 length:2  err:1  certificate (only with ERR_OK)
 *
 * Numbers are big-endian; `length` counts what follows it. Every field is checked here: the host is
 * a host name or address, the key looks like a P-256 key, the error is one of ours. A stream that
 * is once wrong stays wrong: ERR_BAD_VALUE, hang up.
 */
#include "gateway/tls/tls_internal.h"

#define HEADER 7

/* SubjectPublicKeyInfo of an uncompressed P-256 point up to the point (RFC 5480 2) */
static const uint8_t p256_spki[] = {
	0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06,
	0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00, 0x04,
};

static enum err put_header(struct buf *out, char type, uint32_t id, size_t length)
{
	const uint8_t h[HEADER] = {
		(uint8_t)type, (uint8_t)(id >> 24), (uint8_t)(id >> 16), (uint8_t)(id >> 8),
		(uint8_t)id, (uint8_t)(length >> 8), (uint8_t)length,
	};

	if (buf_room(out) < HEADER + length)
		return ERR_AGAIN;
	return buf_append(out, bytes_of(h, HEADER));
}

static enum err get_header(struct bytes in, char type, size_t max, uint32_t *id, struct bytes *body)
{
	size_t length;

	if (in.n && in.p[0] != (uint8_t)type)
		return ERR_BAD_VALUE;
	if (in.n < HEADER)
		return ERR_AGAIN;
	*id = (uint32_t)in.p[1] << 24 | (uint32_t)in.p[2] << 16 | (uint32_t)in.p[3] << 8 | in.p[4];
	length = (size_t)in.p[5] << 8 | in.p[6];
	if (length == 0 || length + HEADER > max)
		return ERR_BAD_VALUE;
	if (in.n - HEADER < length)
		return ERR_AGAIN;
	*body = bytes_of(in.p + HEADER, length);
	return ERR_OK;
}

static bool key_looks_right(const uint8_t key[TLS_PUBKEY_LEN])
{
	return memcmp(key, p256_spki, sizeof(p256_spki)) == 0;
}

enum err tls_mint_request_encode(const struct tls_mint_request *r, struct buf *out)
{
	struct bytes host = bytes_str(r->host);
	uint8_t n = (uint8_t)host.n;

	if (host_kind_of(host, NULL) == HOST_INVALID || !key_looks_right(r->pubkey))
		return ERR_BAD_VALUE;
	TRY(put_header(out, 'Q', r->id, 1 + host.n + TLS_PUBKEY_LEN));
	TRY(buf_append(out, bytes_of(&n, 1)));
	TRY(buf_append(out, host));
	return buf_append(out, bytes_of(r->pubkey, TLS_PUBKEY_LEN));
}

enum err tls_mint_request_decode(struct bytes in, struct tls_mint_request *r, size_t *used)
{
	struct bytes body, host;

	TRY(get_header(in, 'Q', TLS_MINT_REQUEST_MAX, &r->id, &body));
	if (body.n != 1u + body.p[0] + TLS_PUBKEY_LEN)
		return ERR_BAD_VALUE;
	host = bytes_of(body.p + 1, body.p[0]);
	if (host_kind_of(host, NULL) == HOST_INVALID ||
	    !bytes_to_str(host, r->host, sizeof(r->host)))
		return ERR_BAD_VALUE;
	memcpy(r->pubkey, body.p + 1 + host.n, TLS_PUBKEY_LEN);
	if (!key_looks_right(r->pubkey))
		return ERR_BAD_VALUE;
	*used = HEADER + body.n;
	return ERR_OK;
}

enum err tls_mint_response_encode(const struct tls_mint_response *r, struct buf *out)
{
	uint8_t code = (uint8_t)r->err;

	if ((r->err == ERR_OK) != (r->cert.n > 0) || r->cert.n > TLS_CERT_MAX)
		return ERR_BAD_VALUE;
	TRY(put_header(out, 'R', r->id, 1 + r->cert.n));
	TRY(buf_append(out, bytes_of(&code, 1)));
	return r->cert.n ? buf_append(out, r->cert) : ERR_OK;
}

enum err tls_mint_response_decode(struct bytes in, struct tls_mint_response *r, size_t *used)
{
	struct bytes body;

	TRY(get_header(in, 'R', TLS_MINT_RESPONSE_MAX, &r->id, &body));
	if (body.p[0] >= ERR_COUNT || (body.p[0] == ERR_OK) != (body.n > 1))
		return ERR_BAD_VALUE;
	r->err = (enum err)body.p[0];
	r->cert = bytes_from(body, 1);
	*used = HEADER + body.n;
	return ERR_OK;
}
