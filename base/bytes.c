/*
 * bytes.c - views of memory: comparing, searching, reading numbers. No view ever owns what it
 * shows.
 */
#include "base/base.h"

#include <stdlib.h>

bool bytes_eq(struct bytes a, struct bytes b)
{
	return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

bool bytes_ieq(struct bytes a, struct bytes b)
{
	if (a.n != b.n)
		return false;
	for (size_t i = 0; i < a.n; i++)
		if (ascii_lower(a.p[i]) != ascii_lower(b.p[i]))
			return false;
	return true;
}

bool bytes_starts(struct bytes b, struct bytes prefix)
{
	return b.n >= prefix.n && bytes_eq(bytes_first(b, prefix.n), prefix);
}

bool bytes_istarts(struct bytes b, struct bytes prefix)
{
	return b.n >= prefix.n && bytes_ieq(bytes_first(b, prefix.n), prefix);
}

bool bytes_ends(struct bytes b, struct bytes suffix)
{
	return b.n >= suffix.n && bytes_eq(bytes_of(b.p + (b.n - suffix.n), suffix.n), suffix);
}

size_t bytes_index(struct bytes b, uint8_t c)
{
	const uint8_t *at = b.n ? memchr(b.p, c, b.n) : NULL;

	return at ? (size_t)(at - b.p) : b.n;
}

size_t bytes_find(struct bytes b, struct bytes needle)
{
	const uint8_t *at;

	if (needle.n == 0)
		return 0;
	if (b.n < needle.n)
		return b.n;
	at = memmem(b.p, b.n, needle.p, needle.n);
	return at ? (size_t)(at - b.p) : b.n;
}

static bool is_blank(uint8_t c)
{
	return c == ' ' || c == '\t';
}

struct bytes bytes_trim(struct bytes b)
{
	while (b.n && is_blank(b.p[0])) {
		b.p++;
		b.n--;
	}
	while (b.n && is_blank(b.p[b.n - 1]))
		b.n--;
	return b;
}

enum err bytes_to_u64(struct bytes b, uint64_t *out)
{
	uint64_t v = 0;

	if (b.n == 0)
		return ERR_BAD_VALUE;
	for (size_t i = 0; i < b.n; i++) {
		if (b.p[i] < '0' || b.p[i] > '9')
			return ERR_BAD_VALUE;
		if (__builtin_mul_overflow(v, 10u, &v) ||
		    __builtin_add_overflow(v, b.p[i] - '0', &v))
			return ERR_BAD_VALUE;
	}
	*out = v;
	return ERR_OK;
}

char *bytes_dup_str(struct bytes b)
{
	char *s = malloc(b.n + 1);

	if (!s)
		return NULL;
	if (b.n)
		memcpy(s, b.p, b.n);
	s[b.n] = '\0';
	return s;
}

bool bytes_to_str(struct bytes b, char *dst, size_t cap)
{
	if (b.n >= cap || (b.n && memchr(b.p, 0, b.n)))
		return false;
	if (b.n)
		memcpy(dst, b.p, b.n);
	dst[b.n] = '\0';
	return true;
}
