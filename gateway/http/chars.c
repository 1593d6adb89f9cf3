/*
 * chars.c - which byte may stand where
 *
 * Field content is looked through eight bytes at a time: heads are mostly values, and nearly all
 * words of a value hold nothing of interest.
 *
 * A request target (RFC 3986) is taken a little more widely than the grammar, because real clients
 * send some printable bytes unescaped: the path also takes ^ ` { | } [ ], the query every printable
 * byte but '#'. The path never takes " < > or backslash (some servers read it as '/'); nothing
 * takes controls, space, DEL, bytes above 0x7e, or a fragment.
 */
#include "gateway/http/http_internal.h"

#define T HTTP_CHAR_TOKEN
#define P HTTP_CHAR_PATH
#define Q HTTP_CHAR_QUERY
#define H HTTP_CHAR_HEX
#define N HTTP_CHAR_NAME

const uint8_t http_chars[256] = {
	['0' ... '9'] = T | P | Q | H | N,
	['A' ... 'F'] = T | P | Q | H | N,
	['G' ... 'Z'] = T | P | Q | N,
	['a' ... 'f'] = T | P | Q | H | N,
	['g' ... 'z'] = T | P | Q | N,
	['-'] = T | P | Q | N,
	['_'] = T | P | Q | N,
	['.'] = T | P | Q,
	['!'] = T | P | Q,
	['$'] = T | P | Q,
	['%'] = T | P | Q,
	['&'] = T | P | Q,
	['\''] = T | P | Q,
	['*'] = T | P | Q,
	['+'] = T | P | Q,
	['~'] = T | P | Q,
	['^'] = T | P | Q,
	['`'] = T | P | Q,
	['|'] = T | P | Q,
	['#'] = T,
	['('] = P | Q,
	[')'] = P | Q,
	[','] = P | Q,
	['/'] = P | Q,
	[':'] = P | Q,
	[';'] = P | Q,
	['='] = P | Q,
	['@'] = P | Q,
	['['] = P | Q,
	[']'] = P | Q,
	['{'] = P | Q,
	['}'] = P | Q,
	['?'] = Q,
	['"'] = Q,
	['<'] = Q,
	['>'] = Q,
	['\\'] = Q,
};

size_t http_run(struct bytes b, uint8_t class)
{
	size_t i = 0;

	while (i < b.n && (http_chars[b.p[i]] & class))
		i++;
	return i;
}

static bool is_text(uint8_t c)
{
	return (c >= 0x20 && c != 0x7f) || c == '\t';
}

#define ONES 0x0101010101010101u
#define HIGH 0x8080808080808080u

/* Non-zero when a byte of w is below 0x20 or is 0x7f. */
static uint64_t word_has_control(uint64_t w)
{
	uint64_t del = w ^ (ONES * 0x7f);

	return (((w - ONES * 0x20) & ~w) | ((del - ONES) & ~del)) & HIGH;
}

size_t http_text_run(struct bytes b)
{
	size_t i = 0;

	for (; i + 8 <= b.n; i += 8) {
		uint64_t w;

		memcpy(&w, b.p + i, 8);
		if (LIKELY(!word_has_control(w)))
			continue;
		for (size_t j = i; j < i + 8; j++)
			if (!is_text(b.p[j]))
				return j;
	}
	while (i < b.n && is_text(b.p[i]))
		i++;
	return i;
}
