/*
 * pem.c - PEM blocks (RFC 7468) out of a text that may hold anything else between them
 */
#include "gateway/tls/tls_internal.h"

#define PEM_DER_MAX (64 * 1024)

bool pem_next(struct bytes *text, struct pem_block *block)
{
	static const struct bytes dashes = { (const uint8_t *)"-----", 5 };
	struct bytes rest = *text;
	size_t at;

	for (;;) {
		at = bytes_find(rest, BYTES_LIT("-----BEGIN "));
		if (at == rest.n)
			break;
		rest = bytes_from(rest, at + 11);
		at = bytes_find(rest, dashes);
		if (at == rest.n)
			break;
		block->label = bytes_first(rest, at);
		rest = bytes_from(rest, at + dashes.n);
		at = bytes_find(rest, BYTES_LIT("-----END "));
		if (at == rest.n)
			break;
		block->body = bytes_first(rest, at);
		rest = bytes_from(rest, at + 9);
		if (!bytes_starts(rest, block->label))
			continue;
		*text = bytes_from(rest, block->label.n);
		return true;
	}
	*text = BYTES_NONE;
	return false;
}

enum err pem_decode(const struct pem_block *block, struct buf *der)
{
	struct buf plain;
	enum err e = ERR_OK;

	buf_init_secret(&plain, PEM_DER_MAX);
	for (size_t i = 0; i < block->body.n && e == ERR_OK; i++) {
		uint8_t c = block->body.p[i];

		if (c != '\n' && c != '\r' && c != ' ' && c != '\t')
			e = buf_append(&plain, bytes_of(&c, 1));
	}
	if (e == ERR_OK)
		e = base64_decode(buf_bytes(&plain), der);
	buf_release(&plain);
	return e == ERR_AGAIN ? ERR_BAD_VALUE : e;
}
