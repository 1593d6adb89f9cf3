/*
 * fuzz_tls_x509.c - any bytes are a certificate as we read it, or refused
 *
 * Views point into the input, and no name stands for two hosts it cannot. links: room_tls
 */
#include <stdlib.h>

#include "gateway/tls/tls_internal.h"
#include "tests/lib/guard.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define HOLDS(x)                    \
	do {                        \
		if (!(x))           \
			abort();    \
	} while (0)

static void inside(struct bytes whole, struct bytes part)
{
	HOLDS(part.n == 0 || (part.p >= whole.p && part.n <= whole.n &&
			      (size_t)(part.p - whole.p) <= whole.n - part.n));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *g = guard_copy(data, size);
	struct bytes in = bytes_of(g, size);
	struct x509_view v;

	if (x509_parse(in, &v) == ERR_OK) {
		inside(in, v.tbs);
		inside(in, v.issuer);
		inside(in, v.subject);
		inside(in, v.spki);
		inside(in, v.key_bits);
		inside(in, v.san);
		inside(in, v.skid);
		(void)!x509_verify_host(&v, "leaf.test");
		(void)!x509_verify_host(&v, "192.0.2.1");
		(void)!x509_verify_host(&v, "2001:db8::1");
		HOLDS(x509_verify_host(&v, "*") != ERR_OK);
		HOLDS(x509_verify_host(&v, "*.test") != ERR_OK);
		HOLDS(x509_verify_host(&v, "") != ERR_OK);
	}
	guard_free(g);
	return 0;
}
