/*
 * text.c - base64 (RFC 4648 section 4), JSON strings (RFC 8259 section 7), time stamps (RFC 3339)
 */
#include "base/base.h"

#include <time.h>

static const char b64_alphabet[] =
	"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

enum err base64_encode(struct bytes in, struct buf *out)
{
	size_t n = (in.n + 2) / 3 * 4;
	uint8_t *o;
	size_t i;

	if (in.n == 0)
		return ERR_OK;
	TRY(buf_reserve(out, n, &o));
	for (i = 0; i + 2 < in.n; i += 3, o += 4) {
		uint32_t v = (uint32_t)in.p[i] << 16 | (uint32_t)in.p[i + 1] << 8 | in.p[i + 2];

		o[0] = (uint8_t)b64_alphabet[v >> 18];
		o[1] = (uint8_t)b64_alphabet[v >> 12 & 63];
		o[2] = (uint8_t)b64_alphabet[v >> 6 & 63];
		o[3] = (uint8_t)b64_alphabet[v & 63];
	}
	if (i < in.n) {
		uint32_t v = (uint32_t)in.p[i] << 16 |
			     (i + 1 < in.n ? (uint32_t)in.p[i + 1] << 8 : 0);

		o[0] = (uint8_t)b64_alphabet[v >> 18];
		o[1] = (uint8_t)b64_alphabet[v >> 12 & 63];
		o[2] = i + 1 < in.n ? (uint8_t)b64_alphabet[v >> 6 & 63] : '=';
		o[3] = '=';
	}
	buf_commit(out, n);
	return ERR_OK;
}

static int b64_value(uint8_t c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '+' ? 62 : c == '/' ? 63 : -1;
}

/* One quad; `pad` of its last characters are '='. */
static bool b64_quad(const uint8_t *q, size_t pad, uint8_t out[3])
{
	uint32_t v = 0;

	for (size_t i = 0; i < 4 - pad; i++) {
		int d = b64_value(q[i]);

		if (d < 0)
			return false;
		v |= (uint32_t)d << (18 - 6 * i);
	}
	/* RFC 4648 3.5: pad bits must be zero, or two spellings would decode to the same bytes */
	if ((pad == 1 && (v & 0xff)) || (pad == 2 && (v & 0xffff)))
		return false;
	out[0] = (uint8_t)(v >> 16);
	out[1] = (uint8_t)(v >> 8);
	out[2] = (uint8_t)v;
	return true;
}

enum err base64_decode(struct bytes in, struct buf *out)
{
	size_t pad = 0, n;
	uint8_t *o;

	if (in.n % 4)
		return ERR_BAD_VALUE;
	if (in.n == 0)
		return ERR_OK;
	if (in.p[in.n - 1] == '=')
		pad = in.p[in.n - 2] == '=' ? 2 : 1;
	n = in.n / 4 * 3;
	TRY(buf_reserve(out, n, &o));
	for (size_t i = 0; i < in.n; i += 4, o += 3)
		if (!b64_quad(in.p + i, i + 4 == in.n ? pad : 0, o))
			return ERR_BAD_VALUE;
	buf_commit(out, n - pad);
	return ERR_OK;
}

/* Length of the well-formed UTF-8 sequence at s.p[0], 0 when there is none (RFC 3629 section 4). */
static size_t utf8_len(struct bytes s)
{
	static const uint32_t least[5] = { 0, 0, 0x80, 0x800, 0x10000 };
	uint8_t c = s.p[0];
	size_t n = c < 0x80 ? 1 :
		   (c & 0xe0) == 0xc0 ? 2 :
		   (c & 0xf0) == 0xe0 ? 3 :
		   (c & 0xf8) == 0xf0 ? 4 : 0;
	uint32_t v;

	if (n <= 1)
		return n;
	if (s.n < n)
		return 0;
	v = c & (0x7fu >> n);
	for (size_t i = 1; i < n; i++) {
		if ((s.p[i] & 0xc0) != 0x80)
			return 0;
		v = v << 6 | (s.p[i] & 0x3f);
	}
	return v < least[n] || v > 0x10ffff || (v >= 0xd800 && v <= 0xdfff) ? 0 : n;
}

static bool json_plain(uint8_t c)
{
	return c >= 0x20 && c < 0x7f && c != '"' && c != '\\';
}

static enum err json_append_special(struct buf *out, struct bytes s, size_t *used)
{
	uint8_t c = s.p[0];

	*used = 1;
	switch (c) {
	case '"':
		return buf_append_str(out, "\\\"");
	case '\\':
		return buf_append_str(out, "\\\\");
	case '\n':
		return buf_append_str(out, "\\n");
	case '\r':
		return buf_append_str(out, "\\r");
	case '\t':
		return buf_append_str(out, "\\t");
	default:
		break;
	}
	if (c < 0x20 || c == 0x7f)
		return buf_printf(out, "\\u%04x", c);
	*used = utf8_len(s);
	if (*used)
		return buf_append(out, bytes_first(s, *used));
	*used = 1;
	return buf_append_str(out, "\xef\xbf\xbd");
}

enum err json_append_string(struct buf *out, struct bytes s)
{
	TRY(buf_append_str(out, "\""));
	while (s.n) {
		size_t run = 0;

		while (run < s.n && json_plain(s.p[run]))
			run++;
		TRY(buf_append(out, bytes_first(s, run)));
		s = bytes_from(s, run);
		if (s.n) {
			TRY(json_append_special(out, s, &run));
			s = bytes_from(s, run);
		}
	}
	return buf_append_str(out, "\"");
}

uint64_t time_mono_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000u + (uint64_t)t.tv_nsec / 1000u;
}

/* v in n decimal digits. By hand: one per log and audit line. */
static void put_digits(char *dst, int n, int v)
{
	for (; n > 0; v /= 10)
		dst[--n] = (char)('0' + v % 10);
}

const char *time_rfc3339(char dst[TIME_TEXT_MAX])
{
	static const char form[] = "0000-00-00T00:00:00.000Z";
	struct timespec t;
	struct tm tm;

	clock_gettime(CLOCK_REALTIME, &t);
	gmtime_r(&t.tv_sec, &tm);
	memcpy(dst, form, sizeof(form));
	put_digits(dst, 4, tm.tm_year + 1900);
	put_digits(dst + 5, 2, tm.tm_mon + 1);
	put_digits(dst + 8, 2, tm.tm_mday);
	put_digits(dst + 11, 2, tm.tm_hour);
	put_digits(dst + 14, 2, tm.tm_min);
	put_digits(dst + 17, 2, tm.tm_sec);
	put_digits(dst + 20, 3, (int)(t.tv_nsec / 1000000));
	return dst;
}
