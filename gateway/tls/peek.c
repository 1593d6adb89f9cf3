/*
 * peek.c - read the ClientHello before anything is decided
 *
 * Happy path: walk the record headers until the whole message is there, then read it once: in place
 *   when it stands in one record, gathered when it was cut into several (RFC 8446 5.1).
 * Failure modes: first bytes no handshake record -> ERR_NOT_TLS; anything malformed, twice there,
 *   or longer than TLS_PEEK_MAX -> ERR_TLS_BAD_HELLO.
 * Cost: an incomplete hello costs its record headers only, so byte-wise senders buy little.
 * Strict on purpose: what we read here decides policy, and wolfSSL reads the same bytes again;
 *   where two readings could differ (a second SNI, trailing bytes) we refuse.
 */
#include "gateway/tls/tls_internal.h"

#include <stdlib.h>

#define RECORD_HEADER 5
#define RECORD_HANDSHAKE 22
#define HANDSHAKE_HEADER 4
#define CLIENT_HELLO 1
#define HELLO_MAX (64 * 1024)
#define EXTENSIONS_MAX 128	/* browsers send about 20 */

enum {
	EXT_SERVER_NAME = 0, EXT_ALPN = 16, EXT_SUPPORTED_VERSIONS = 43,
	EXT_ENCRYPTED_CLIENT_HELLO = 0xfe0d,
};

/* ---- strict reading: each take fails as a whole ---------------------------------------------- */

static bool take(struct bytes *in, size_t n, struct bytes *out)
{
	if (in->n < n)
		return false;
	*out = bytes_of(in->p, n);
	*in = bytes_of(in->p + n, in->n - n);
	return true;
}

static bool take_u8(struct bytes *in, unsigned int *v)
{
	struct bytes b;

	if (!take(in, 1, &b))
		return false;
	*v = b.p[0];
	return true;
}

static bool take_u16(struct bytes *in, unsigned int *v)
{
	struct bytes b;

	if (!take(in, 2, &b))
		return false;
	*v = (unsigned int)b.p[0] << 8 | b.p[1];
	return true;
}

static bool take_vec8(struct bytes *in, struct bytes *out)
{
	unsigned int n;

	return take_u8(in, &n) && take(in, n, out);
}

static bool take_vec16(struct bytes *in, struct bytes *out)
{
	unsigned int n;

	return take_u16(in, &n) && take(in, n, out);
}

/* ---- extensions ------------------------------------------------------------------------------ */

/* RFC 6066 3: one host_name, no address literal, no final dot. */
static bool read_sni(struct bytes ext, struct tls_hello *out)
{
	struct bytes list, name;
	unsigned int type;

	if (!take_vec16(&ext, &list) || ext.n || !take_u8(&list, &type) || type != 0 ||
	    !take_vec16(&list, &name) || list.n)
		return false;
	if (!tls_host_valid(name))
		return false;
	for (size_t i = 0; i < name.n; i++)
		out->sni[i] = (char)ascii_lower(name.p[i]);
	out->sni[name.n] = '\0';
	return true;
}

/* RFC 7301 3.1 */
static bool read_alpn(struct bytes ext, struct tls_hello *out)
{
	struct bytes list, name;

	if (!take_vec16(&ext, &list) || ext.n || !list.n)
		return false;
	out->has_alpn = true;
	while (list.n) {
		if (!take_vec8(&list, &name) || !name.n)
			return false;
		if (out->alpn_len + 1 + name.n > sizeof(out->alpn))
			continue;
		out->alpn[out->alpn_len++] = (uint8_t)name.n;
		memcpy(out->alpn + out->alpn_len, name.p, name.n);
		out->alpn_len += name.n;
	}
	return true;
}

/* RFC 8446 4.2.1 */
static bool read_versions(struct bytes ext, struct tls_hello *out)
{
	struct bytes list;
	unsigned int v;

	if (!take_vec8(&ext, &list) || ext.n || !list.n || list.n % 2)
		return false;
	out->tls12 = out->tls13 = false;
	while (take_u16(&list, &v)) {
		out->tls13 |= v == 0x0304;
		out->tls12 |= v == 0x0303;
	}
	return true;
}

static bool read_extension(unsigned int type, struct bytes ext, struct tls_hello *out)
{
	switch (type) {
	case EXT_SERVER_NAME:
		return read_sni(ext, out);
	case EXT_ALPN:
		return read_alpn(ext, out);
	case EXT_SUPPORTED_VERSIONS:
		return read_versions(ext, out);
	case EXT_ENCRYPTED_CLIENT_HELLO:
		out->ech = true;
		return true;
	default:
		return true;
	}
}

static bool read_extensions(struct bytes in, struct tls_hello *out)
{
	uint16_t seen[EXTENSIONS_MAX];
	size_t n = 0;

	while (in.n) {
		unsigned int type;
		struct bytes ext;

		if (n == EXTENSIONS_MAX || !take_u16(&in, &type) || !take_vec16(&in, &ext))
			return false;
		for (size_t i = 0; i < n; i++)
			if (seen[i] == type)
				return false;	/* RFC 8446 4.2: at most one of each */
		seen[n++] = (uint16_t)type;
		if (!read_extension(type, ext, out))
			return false;
	}
	return true;
}

/* RFC 8446 4.1.2, RFC 5246 7.4.1.2 */
static enum err read_hello(struct bytes in, struct tls_hello *out)
{
	struct bytes skip, suites, compression, extensions = BYTES_NONE;
	unsigned int version;

	memset(out, 0, sizeof(*out));
	if (!take_u16(&in, &version) || version < 0x0300 || !take(&in, 32, &skip) ||
	    !take_vec8(&in, &skip) || skip.n > 32 ||
	    !take_vec16(&in, &suites) || !suites.n || suites.n % 2 ||
	    !take_vec8(&in, &compression) || bytes_index(compression, 0) == compression.n)
		return ERR_TLS_BAD_HELLO;
	out->tls12 = version >= 0x0303;
	if (in.n && (!take_vec16(&in, &extensions) || in.n))
		return ERR_TLS_BAD_HELLO;
	return read_extensions(extensions, out) ? ERR_OK : ERR_TLS_BAD_HELLO;
}

/* ---- records --------------------------------------------------------------------------------- */

bool tls_looks_like_tls(struct bytes first)
{
	static const uint8_t start[] = { RECORD_HANDSHAKE, 0x03 };
	size_t n = first.n < sizeof(start) ? first.n : sizeof(start);

	return n > 0 && !memcmp(first.p, start, n);
}

/* The payload of the next record; ERR_AGAIN with as much of it as is there (perhaps nothing). */
static enum err next_record(struct bytes *in, struct bytes *payload)
{
	struct bytes h;
	size_t n;

	*payload = BYTES_NONE;
	if (in->n && !tls_looks_like_tls(*in))
		return ERR_TLS_BAD_HELLO;
	if (!take(in, RECORD_HEADER, &h))
		return ERR_AGAIN;
	n = (size_t)h.p[3] << 8 | h.p[4];
	/*
	 * RFC 8446 5.1: no empty handshake fragments, 2^14 at most; the minor version says nothing
	 */
	if (h.p[2] > 4 || n == 0 || n > TLS_RECORD_PLAIN_MAX)
		return ERR_TLS_BAD_HELLO;
	if (in->n < n) {
		*payload = *in;
		*in = BYTES_NONE;
		return ERR_AGAIN;
	}
	return take(in, n, payload) ? ERR_OK : ERR_INTERNAL;
}

/*
 * How long the message is with its header, as far as the first `have` of its bytes tell.
 * ERR_AGAIN: they do not yet.
 */
static enum err message_length(const uint8_t head[HANDSHAKE_HEADER], size_t have, size_t *total)
{
	if (have > 0 && head[0] != CLIENT_HELLO)
		return ERR_TLS_BAD_HELLO;
	if (have < HANDSHAKE_HEADER)
		return ERR_AGAIN;
	*total = (size_t)head[1] << 16 | (size_t)head[2] << 8 | head[3];
	if (*total > HELLO_MAX)
		return ERR_TLS_BAD_HELLO;
	*total += HANDSHAKE_HEADER;
	return ERR_OK;
}

/*
 * Walks the records until they hold the message; *whole is set when the first one does by itself.
 */
static enum err find_message(struct bytes in, size_t *total, struct bytes *whole)
{
	uint8_t head[HANDSHAKE_HEADER] = { 0 };
	size_t have = 0;
	bool first = true;

	*whole = BYTES_NONE;
	for (;;) {
		struct bytes payload;
		enum err got = next_record(&in, &payload), known;

		if (got != ERR_OK && got != ERR_AGAIN)
			return got;
		for (size_t i = 0; i < payload.n && have + i < HANDSHAKE_HEADER; i++)
			head[have + i] = payload.p[i];
		have += payload.n;
		known = message_length(head, have, total);
		if (known != ERR_OK && known != ERR_AGAIN)
			return known;
		if (known == ERR_OK && have >= *total) {
			if (first)
				*whole = bytes_first(payload, *total);
			return ERR_OK;
		}
		if (got == ERR_AGAIN)
			return ERR_AGAIN;
		first = false;
	}
}

static enum err read_gathered(struct bytes in, size_t total, struct tls_hello *out)
{
	uint8_t *copy = malloc(total);
	size_t have = 0;
	enum err e;

	if (!copy)
		return ERR_NOMEM;
	while (have < total) {
		struct bytes payload;

		(void)!next_record(&in, &payload);	/* find_message() has been here */
		payload = bytes_first(payload, total - have);
		memcpy(copy + have, payload.p, payload.n);
		have += payload.n;
	}
	e = read_hello(bytes_of(copy + HANDSHAKE_HEADER, total - HANDSHAKE_HEADER), out);
	free(copy);
	return e;
}

enum err tls_peek_hello(struct bytes in, struct tls_hello *out)
{
	struct bytes whole;
	size_t total = 0;
	enum err e;

	if (in.n == 0)
		return ERR_AGAIN;
	if (!tls_looks_like_tls(in))
		return ERR_NOT_TLS;
	e = find_message(in, &total, &whole);
	if (e == ERR_AGAIN && in.n >= TLS_PEEK_MAX)
		return ERR_TLS_BAD_HELLO;
	TRY(e);
	if (whole.n)
		return read_hello(bytes_from(whole, HANDSHAKE_HEADER), out);
	return read_gathered(in, total, out);
}

bool tls_hello_offers(const struct tls_hello *hello, const char *protocol)
{
	struct bytes list = bytes_of(hello->alpn, hello->alpn_len), name;

	while (take_vec8(&list, &name))
		if (bytes_eq(name, bytes_str(protocol)))
			return true;
	return false;
}
