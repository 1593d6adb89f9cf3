/*
 * glob.c - paths and the patterns they are matched against
 *
 * A path is matched in one form only: percent-decoded once. Whatever a server could fold into
 * another path than the one that was judged is "unsafe", and the caller decides against the
 * agent: dot segments (RFC 3986 5.2.4; also with parameters, "..;x"), encoded slashes,
 * backslashes, empty segments (merged by many servers), double encoding, control bytes, broken
 * escapes, and paths too long to judge. Patterns run as a set of states, so that no pattern costs
 * more than its length times the path's.
 */
#include "gateway/policy/policy_internal.h"

static int hex_value(uint8_t c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = ascii_lower(c);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool escape_at(struct bytes b, size_t i, uint8_t *value)
{
	int high, low;

	if (b.n - i < 3)
		return false;
	high = hex_value(b.p[i + 1]);
	low = hex_value(b.p[i + 2]);
	if (high < 0 || low < 0)
		return false;
	*value = (uint8_t)(high << 4 | low);
	return true;
}

/*
 * "", ".", ".." (whole or before a ';'): what servers remove or resolve. The last segment may be
 * empty.
 */
static bool segment_is_unsafe(struct bytes segment, bool last)
{
	segment = bytes_first(segment, bytes_index(segment, ';'));
	if (segment.n == 0)
		return !last;
	return bytes_eq(segment, BYTES_LIT(".")) || bytes_eq(segment, BYTES_LIT(".."));
}

static bool segments_are_safe(struct bytes path)
{
	size_t at = 1;

	for (;;) {
		struct bytes rest = bytes_from(path, at);
		size_t end = bytes_index(rest, '/');
		bool last = end == rest.n;

		if (segment_is_unsafe(bytes_first(rest, end), last))
			return false;
		if (last)
			return true;
		at += end + 1;
	}
}

bool policy_path_normalise(struct bytes in, uint8_t *out, size_t *n)
{
	size_t len = 0;
	struct bytes done;

	in = bytes_first(in, bytes_index(in, '?'));
	in = bytes_first(in, bytes_index(in, '#'));
	if (in.n == 0 || in.p[0] != '/' || in.n > POLICY_PATH_MAX)
		return false;
	for (size_t i = 0; i < in.n; i++) {
		uint8_t c = in.p[i];

		if (c == '%') {
			if (!escape_at(in, i, &c) || c == '/')
				return false;
			i += 2;
		}
		if (c == '\\' || c < 0x20 || c == 0x7f)
			return false;
		out[len++] = c;
	}
	done = bytes_of(out, len);
	for (size_t i = 0; i < len; i++) {
		uint8_t twice;

		if (out[i] == '%' && escape_at(done, i, &twice))
			return false;
	}
	*n = len;
	return segments_are_safe(done);
}

/* Patterns are written decoded and must themselves be safe paths, "***" is a slip. */
bool policy_glob_init(struct glob *g, const char *text)
{
	struct bytes b = bytes_str(text);

	if (b.n == 0 || b.n > POLICY_GLOB_MAX || b.p[0] != '/')
		return false;
	if (bytes_find(b, BYTES_LIT("***")) < b.n)
		return false;
	g->text = text;
	g->n = b.n;
	g->literal = bytes_index(b, '*');
	return true;
}

struct states {
	uint64_t bits[(POLICY_GLOB_MAX + 64) / 64];
};

static bool is_globstar(const struct glob *g, size_t i)
{
	return i + 1 < g->n && g->text[i] == '*' && g->text[i + 1] == '*';
}

/* Enters state i, and what follows a wildcard that may be empty. */
static void states_enter(const struct glob *g, struct states *s, size_t i)
{
	for (;;) {
		s->bits[i / 64] |= 1ull << (i % 64);
		if (i >= g->n || g->text[i] != '*')
			return;
		i += is_globstar(g, i) ? 2 : 1;
	}
}

static void states_step(const struct glob *g, struct states *to, size_t i, uint8_t c)
{
	if (i >= g->n)
		return;
	if (g->text[i] == '*') {
		if (is_globstar(g, i) || c != '/')
			states_enter(g, to, i);
	} else if ((uint8_t)g->text[i] == c) {
		states_enter(g, to, i + 1);
	}
}

bool policy_glob_match(const struct glob *g, struct bytes path)
{
	size_t words = g->n / 64 + 1;
	struct states now = { { 0 } };

	if (path.n < g->literal || (g->literal && memcmp(path.p, g->text, g->literal) != 0))
		return false;
	if (g->literal == g->n)
		return path.n == g->n;
	if (g->n - g->literal == 2 && is_globstar(g, g->literal))
		return true;
	states_enter(g, &now, g->literal);
	for (size_t at = g->literal; at < path.n; at++) {
		struct states next = { { 0 } };

		for (size_t w = 0; w < words; w++)
			for (uint64_t bits = now.bits[w]; bits; bits &= bits - 1)
				states_step(g, &next, w * 64 + (size_t)__builtin_ctzll(bits),
					    path.p[at]);
		now = next;
	}
	return now.bits[g->n / 64] >> (g->n % 64) & 1;
}
