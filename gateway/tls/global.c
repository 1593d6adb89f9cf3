/*
 * global.c - wolfSSL's start, its memory, and what it says of itself
 *
 * Memory that wolfSSL gives back has held keys and decrypted records (real tokens among them), so
 * it is wiped on every free and whenever it moves (REQ-7.2). That costs about 2 % of the decryption
 * itself. Randomness comes from getrandom(2) only: the sandboxed roles can open no file, and the
 * packaged library would open /dev/urandom for each connection.
 */
#include "gateway/tls/tls_internal.h"

#include <wolfssl/options.h>
#include <wolfssl/ssl.h>
#include <wolfssl/wolfcrypt/error-crypt.h>
#include <wolfssl/wolfcrypt/memory.h>
#include <wolfssl/wolfcrypt/random.h>

#include <errno.h>
#include <malloc.h>
#include <stdlib.h>
#include <sys/random.h>
#include <time.h>

#ifndef SLAPENIR_WOLFSSL_ORIGIN
#define SLAPENIR_WOLFSSL_ORIGIN "packaged"
#endif

static void *wiping_malloc(size_t n)
{
	return malloc(n);
}

static void wiping_free(void *p)
{
	if (!p)
		return;
	explicit_bzero(p, malloc_usable_size(p));
	free(p);
}

static void *wiping_realloc(void *p, size_t n)
{
	size_t old = p ? malloc_usable_size(p) : 0;
	void *q;

	if (p && n <= old)
		return p;
	q = malloc(n);
	if (!q)
		return NULL;
	if (p) {
		memcpy(q, p, old);
		wiping_free(p);
	}
	return q;
}

#ifndef WOLFSSL_GETRANDOM
/* Stands before the shared library's function of this name. */
int wc_GenerateSeed(OS_Seed *os, byte *output, word32 sz)
{
	(void)os;
	return tls_random(output, sz) == ERR_OK ? 0 : RNG_FAILURE_E;
}
#endif

enum err tls_global_init(void)
{
	wolfSSL_Malloc_cb m;
	wolfSSL_Free_cb f;
	wolfSSL_Realloc_cb r;

	/* Never under memory that another allocator gave. */
	if (wolfSSL_GetAllocators(&m, &f, &r) != 0)
		return ERR_INTERNAL;
	if (!f && wolfSSL_SetAllocators(wiping_malloc, wiping_free, wiping_realloc) != 0)
		return ERR_INTERNAL;
	return wolfSSL_Init() == WOLFSSL_SUCCESS ? ERR_OK : ERR_INTERNAL;
}

void tls_global_cleanup(void)
{
	(void)wolfSSL_Cleanup();
}

enum err tls_random(uint8_t *dst, size_t n)
{
	while (n) {
		ssize_t got = getrandom(dst, n, 0);

		if (got < 0 && errno != EINTR)
			return ERR_INTERNAL;
		if (got > 0) {
			dst += got;
			n -= (size_t)got;
		}
	}
	return ERR_OK;
}

uint64_t tls_unix_now(void)
{
	return (uint64_t)time(NULL);
}

static bool has_aes(void)
{
#if defined(WOLFSSL_AESNI) && defined(__x86_64__)
	return __builtin_cpu_supports("aes") && __builtin_cpu_supports("pclmul");
#elif defined(WOLFSSL_ARMASM) && !defined(WOLFSSL_ARMASM_NO_HW_CRYPTO)
	return true;
#else
	return false;
#endif
}

static bool has_sp_asm(void)
{
#if defined(WOLFSSL_SP_ASM) || defined(WOLFSSL_SP_X86_64_ASM) || defined(WOLFSSL_SP_ARM64_ASM)
	return true;
#else
	return false;
#endif
}

/* Forward secret and AEAD only; without AES instructions ChaCha20 is many times faster. */
#define AES128_13 "TLS13-AES128-GCM-SHA256"
#define AES256_13 "TLS13-AES256-GCM-SHA384"
#define CHACHA_13 "TLS13-CHACHA20-POLY1305-SHA256"
#define AES_12 "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:" \
	"ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384"
#define CHACHA_12 "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305"

const char *tls_suites(void)
{
	return has_aes() ? AES128_13 ":" AES256_13 ":" CHACHA_13 ":" AES_12 ":" CHACHA_12 :
			   CHACHA_13 ":" AES128_13 ":" AES256_13 ":" CHACHA_12 ":" AES_12;
}

const char *tls_library_text(void)
{
	static char text[160];

	(void)snprintf(text, sizeof(text), "wolfSSL %s (%s), AES-NI %s, SP assembly %s",
		       wolfSSL_lib_version(), SLAPENIR_WOLFSSL_ORIGIN, has_aes() ? "yes" : "no",
		       has_sp_asm() ? "yes" : "no");
	return text;
}
