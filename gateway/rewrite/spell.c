/*
 * spell.c - the ways a token is written where it stands
 *
 * A dummy found as it is in a JSON string gives way to the real value as a JSON string needs it,
 * and so for queries, paths and forms. A dummy found percent-encoded gives way to a percent-encoded
 * value wherever that was. Encoding never fails on content; decoding is strict.
 *
 * Seam: further forms (base64 at three alignments, hex) are further entries of enum rewrite_form;
 * only encode_byte() and decode() below know what a form is.
 */
#include "gateway/rewrite/rewrite.h"

static const char hex_upper[] = "0123456789ABCDEF";
static const char hex_lower[] = "0123456789abcdef";

/* ---- encode -------------------------------------------------------------------------- */

static bool is_alnum(uint8_t c)
{
	return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

static size_t spell_percent(uint8_t c, const char *hex, uint8_t out[6])
{
	out[0] = '%';
	out[1] = (uint8_t)hex[c >> 4];
	out[2] = (uint8_t)hex[c & 15];
	return 3;
}

/* RFC 8259 7: quotation mark, reverse solidus, and the control characters. */
static size_t spell_json(uint8_t c, uint8_t out[6])
{
	static const char shorts[] = "\bb\ff\nn\rr\tt\"\"\\\\";

	for (size_t i = 0; i + 1 < sizeof(shorts); i += 2) {
		if ((uint8_t)shorts[i] == c) {
			out[0] = '\\';
			out[1] = (uint8_t)shorts[i + 1];
			return 2;
		}
	}
	if (c >= 0x20) {
		out[0] = c;
		return 1;
	}
	memcpy(out, "\\u00", 4);
	out[4] = (uint8_t)hex_lower[c >> 4];
	out[5] = (uint8_t)hex_lower[c & 15];
	return 6;
}

static size_t encode_byte(enum rewrite_form form, uint8_t c, uint8_t out[6])
{
	const char *hex = hex_upper;

	out[0] = c;
	switch (form) {
	case REWRITE_PERCENT_LOWER:
		hex = hex_lower;
		/* fall through */
	case REWRITE_PERCENT: /* RFC 3986 2.3: unreserved */
		return is_alnum(c) || (c && strchr("-._~", c)) ? 1 : spell_percent(c, hex, out);
	case REWRITE_FORM_LOWER:
		hex = hex_lower;
		/* fall through */
	case REWRITE_FORM: /* WHATWG URL 5.2 */
		if (c == ' ') {
			out[0] = '+';
			return 1;
		}
		return is_alnum(c) || (c && strchr("*-._", c)) ? 1 : spell_percent(c, hex, out);
	case REWRITE_JSON_SLASH:
		if (c == '/') {
			memcpy(out, "\\/", 2);
			return 2;
		}
		return spell_json(c, out);
	case REWRITE_JSON:
		return spell_json(c, out);
	case REWRITE_RAW:
	case REWRITE_FORM_COUNT:
		break;
	}
	return 1;
}

enum err rewrite_encode(enum rewrite_form form, struct bytes in, struct buf *out)
{
	if (form == REWRITE_RAW)
		return buf_append(out, in);
	for (size_t i = 0; i < in.n; i++) {
		uint8_t spelled[6];

		TRY(buf_append(out, bytes_of(spelled, encode_byte(form, in.p[i], spelled))));
	}
	return ERR_OK;
}

/* ---- decode -------------------------------------------------------------------------- */

static int hex_value(uint8_t c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = ascii_lower(c);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* n hex digits at the front of `in`; -1: they are not there. */
static long hex_number(struct bytes in, size_t n)
{
	long value = 0;

	if (in.n < n)
		return -1;
	for (size_t i = 0; i < n; i++) {
		int digit = hex_value(in.p[i]);

		if (digit < 0)
			return -1;
		value = value * 16 + digit;
	}
	return value;
}

static enum err append_utf8(struct buf *out, uint32_t c)
{
	uint8_t u[4] = { (uint8_t)c };
	size_t n = 1;

	if (c >= 0x10000) {
		n = 4;
		u[0] = (uint8_t)(0xf0 | c >> 18);
		u[1] = (uint8_t)(0x80 | (c >> 12 & 0x3f));
	} else if (c >= 0x800) {
		n = 3;
		u[0] = (uint8_t)(0xe0 | c >> 12);
	} else if (c >= 0x80) {
		n = 2;
		u[0] = (uint8_t)(0xc0 | c >> 6);
	}
	if (n > 2)
		u[n - 2] = (uint8_t)(0x80 | (c >> 6 & 0x3f));
	if (n > 1)
		u[n - 1] = (uint8_t)(0x80 | (c & 0x3f));
	return buf_append(out, bytes_of(u, n));
}

/* \uXXXX at the front of `in`, or a pair of them for one character (RFC 8259 7). */
static enum err decode_json_unicode(struct bytes in, struct buf *out, size_t *eaten)
{
	long c = hex_number(bytes_from(in, 2), 4);

	if (c < 0 || (c >= 0xdc00 && c <= 0xdfff))
		return ERR_BAD_VALUE;
	*eaten = 6;
	if (c >= 0xd800 && c <= 0xdbff) {
		long low = bytes_starts(bytes_from(in, 6), BYTES_LIT("\\u"))
				   ? hex_number(bytes_from(in, 8), 4)
				   : -1;

		if (low < 0xdc00 || low > 0xdfff)
			return ERR_BAD_VALUE;
		*eaten = 12;
		c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
	}
	return append_utf8(out, (uint32_t)c);
}

static enum err decode_json(struct bytes in, struct buf *out, size_t *eaten)
{
	static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
	const char *at;

	if (in.p[0] == '"' || in.p[0] < 0x20)
		return ERR_BAD_VALUE;
	if (in.p[0] != '\\') {
		*eaten = 1;
		return buf_append(out, bytes_first(in, 1));
	}
	if (in.n < 2 || in.p[1] == 0)
		return ERR_BAD_VALUE;
	if (in.p[1] == 'u')
		return decode_json_unicode(in, out, eaten);
	at = strchr(from, in.p[1]);
	if (!at)
		return ERR_BAD_VALUE;
	*eaten = 2;
	return buf_append(out, bytes_of(to + (at - from), 1));
}

static enum err decode_percent(struct bytes in, bool plus, struct buf *out, size_t *eaten)
{
	uint8_t c = in.p[0];

	*eaten = 1;
	if (c == '%') {
		long value = hex_number(bytes_from(in, 1), 2);

		if (value < 0)
			return ERR_BAD_VALUE;
		*eaten = 3;
		c = (uint8_t)value;
	} else if (c == '+' && plus) {
		c = ' ';
	}
	return buf_append(out, bytes_of(&c, 1));
}

enum err rewrite_decode(enum rewrite_form form, struct bytes in, struct buf *out)
{
	while (in.n) {
		size_t eaten = in.n;

		switch (form) {
		case REWRITE_PERCENT:
		case REWRITE_PERCENT_LOWER:
			TRY(decode_percent(in, false, out, &eaten));
			break;
		case REWRITE_FORM:
		case REWRITE_FORM_LOWER:
			TRY(decode_percent(in, true, out, &eaten));
			break;
		case REWRITE_JSON:
		case REWRITE_JSON_SLASH:
			TRY(decode_json(in, out, &eaten));
			break;
		case REWRITE_RAW:
		case REWRITE_FORM_COUNT:
			TRY(buf_append(out, in));
			break;
		}
		in = bytes_from(in, eaten);
	}
	return ERR_OK;
}

/* ---- forms and contexts -------------------------------------------------------------- */

static enum err visit_distinct(struct bytes token, struct buf spelled[REWRITE_FORM_COUNT],
			       enum err (*visit)(void *owner, enum rewrite_form form,
						 struct bytes text),
			       void *owner)
{
	for (int form = 0; form < REWRITE_FORM_COUNT; form++) {
		bool known = false;

		TRY(rewrite_encode((enum rewrite_form)form, token, &spelled[form]));
		for (int i = 0; i < form; i++)
			known = known ||
				bytes_eq(buf_bytes(&spelled[i]), buf_bytes(&spelled[form]));
		if (!known)
			TRY(visit(owner, (enum rewrite_form)form, buf_bytes(&spelled[form])));
	}
	return ERR_OK;
}

enum err rewrite_forms(struct bytes token,
		       enum err (*visit)(void *owner, enum rewrite_form form, struct bytes text),
		       void *owner)
{
	struct buf spelled[REWRITE_FORM_COUNT];
	enum err e;

	if (token.n > SIZE_MAX / 8)
		return ERR_TOO_LONG;
	for (int i = 0; i < REWRITE_FORM_COUNT; i++)
		buf_init_secret(&spelled[i], token.n * 6);
	e = visit_distinct(token, spelled, visit, owner);
	for (int i = 0; i < REWRITE_FORM_COUNT; i++)
		buf_release(&spelled[i]);
	return e;
}

enum rewrite_form rewrite_form_in(enum rewrite_form found, enum rewrite_context context)
{
	if (found != REWRITE_RAW)
		return found;
	switch (context) {
	case REWRITE_CONTEXT_QUERY:
	case REWRITE_CONTEXT_PATH:
		return REWRITE_PERCENT;
	case REWRITE_CONTEXT_FORM:
		return REWRITE_FORM;
	case REWRITE_CONTEXT_JSON:
		return REWRITE_JSON;
	case REWRITE_CONTEXT_RAW:
	case REWRITE_CONTEXT_BASIC:
		break;
	}
	return REWRITE_RAW;
}

static bool iends(struct bytes b, struct bytes suffix)
{
	return b.n >= suffix.n && bytes_ieq(bytes_from(b, b.n - suffix.n), suffix);
}

enum rewrite_context rewrite_context_of_media(struct bytes content_type)
{
	static const char *const json[] = { "application/json",	     "text/json",
					    "application/x-ndjson",  "application/ndjson",
					    "application/jsonl",     "application/x-jsonlines",
					    "application/jsonlines", "application/json-seq" };
	struct bytes type = bytes_trim(bytes_first(content_type, bytes_index(content_type, ';')));

	if (bytes_ieq(type, BYTES_LIT("application/x-www-form-urlencoded")))
		return REWRITE_CONTEXT_FORM;
	if (iends(type, BYTES_LIT("+json")) || iends(type, BYTES_LIT("+json-seq")))
		return REWRITE_CONTEXT_JSON;
	for (size_t i = 0; i < ARRAY_SIZE(json); i++)
		if (bytes_ieq(type, bytes_str(json[i])))
			return REWRITE_CONTEXT_JSON;
	return REWRITE_CONTEXT_RAW;
}

bool rewrite_header_safe(struct bytes value)
{
	for (size_t i = 0; i < value.n; i++)
		if (value.p[i] < 0x20 || value.p[i] == 0x7f)
			return false;
	return true;
}
