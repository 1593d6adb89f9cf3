/*
 * fuzz_tls_hello.c - any bytes are a ClientHello, an incomplete one, or refused; the same at every
 * split
 *
 * Whatever is accepted must not depend on how the bytes were cut into records. links: room_tls
 */
#include <stdlib.h>

#include "gateway/tls/tls.h"
#include "tests/lib/guard.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define HOLDS(x)                    \
	do {                        \
		if (!(x))           \
			abort();    \
	} while (0)

static void check_hello(const struct tls_hello *h)
{
	size_t n = strlen(h->sni);

	HOLDS(n == 0 || tls_host_valid(bytes_of(h->sni, n)));
	for (size_t i = 0; i < n; i++)
		HOLDS(h->sni[i] < 'A' || h->sni[i] > 'Z');
	HOLDS(h->alpn_len <= sizeof(h->alpn) && (h->has_alpn || !h->alpn_len));
	(void)tls_hello_offers(h, "h2");
}

static bool same_hello(const struct tls_hello *a, const struct tls_hello *b)
{
	return !strcmp(a->sni, b->sni) && a->has_alpn == b->has_alpn &&
	       bytes_eq(bytes_of(a->alpn, a->alpn_len), bytes_of(b->alpn, b->alpn_len)) &&
	       a->tls12 == b->tls12 && a->tls13 == b->tls13 && a->ech == b->ech;
}

/*
 * The payload of the input's records in records of one byte each; 0 when it is not whole records.
 */
static size_t recut(const uint8_t *in, size_t n, uint8_t *out, size_t cap)
{
	size_t at = 0;

	while (n >= 5) {
		size_t len = (size_t)in[3] << 8 | in[4];

		if (len > n - 5)
			return 0;
		for (size_t i = 0; i < len; i++) {
			const uint8_t record[] = { 22, 3, 1, 0, 1, in[5 + i] };

			if (cap - at < sizeof(record))
				return 0;
			memcpy(out + at, record, sizeof(record));
			at += sizeof(record);
		}
		in += 5 + len;
		n -= 5 + len;
	}
	return n ? 0 : at;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t cut[TLS_PEEK_MAX];
	struct tls_hello h, again;
	void *g = guard_copy(data, size);
	enum err e = tls_peek_hello(bytes_of(g, size), &h);
	size_t n;

	guard_free(g);
	HOLDS(e == ERR_OK || e == ERR_AGAIN || e == ERR_NOT_TLS || e == ERR_TLS_BAD_HELLO);
	HOLDS(tls_looks_like_tls(bytes_of(data, size)) == (size > 0 && e != ERR_NOT_TLS));
	if (e != ERR_OK)
		return 0;
	check_hello(&h);
	for (size_t i = 0; i < size; i += size / 16 + 1) {
		e = tls_peek_hello(bytes_of(data, i), &again);
		HOLDS(e == ERR_AGAIN || (e == ERR_OK && same_hello(&h, &again)));
	}
	n = recut(data, size, cut, sizeof(cut));
	if (n) {
		HOLDS(tls_peek_hello(bytes_of(cut, n), &again) == ERR_OK);
		HOLDS(same_hello(&h, &again));
	}
	return 0;
}
