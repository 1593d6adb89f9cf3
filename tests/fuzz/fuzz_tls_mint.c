/*
 * fuzz_tls_mint.c - messages between worker and minter: any bytes are a message, incomplete, or
 * refused
 *
 * What is decoded encodes to the same bytes again. links: room_tls
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

static void same_bytes(struct buf *out, const uint8_t *data, size_t used)
{
	HOLDS(bytes_eq(buf_bytes(out), bytes_of(data, used)));
	buf_release(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *g = guard_copy(data, size);
	struct bytes in = bytes_of(g, size);
	struct tls_mint_response answer;
	struct tls_mint_request ask;
	struct buf out;
	size_t used = 0;
	enum err e;

	buf_init(&out, TLS_MINT_RESPONSE_MAX);
	e = tls_mint_request_decode(in, &ask, &used);
	HOLDS(e == ERR_OK || e == ERR_AGAIN || e == ERR_BAD_VALUE);
	if (e == ERR_OK) {
		HOLDS(used <= size && tls_mint_request_encode(&ask, &out) == ERR_OK);
		same_bytes(&out, data, used);
	}
	e = tls_mint_response_decode(in, &answer, &used);
	HOLDS(e == ERR_OK || e == ERR_AGAIN || e == ERR_BAD_VALUE);
	if (e == ERR_OK) {
		HOLDS(used <= size && tls_mint_response_encode(&answer, &out) == ERR_OK);
		same_bytes(&out, data, used);
	}
	guard_free(g);
	return 0;
}
