/*
 * event.c - one audit event as one JSON line
 *
 * Every key is always there, in the same order, so that a line can be read by eye, by column and by
 * any JSON parser; what is not known is null. It is written by hand, for there is one per exchange
 * on the data path. A line that does not fit leaves the buffer as it was.
 */
#include "gateway/observe/observe_internal.h"

#define LINE_ROOM 1024

/*
 * A piece of the line on the stack, so that forty small pieces cost forty copies and one append.
 * The first error stays; what comes after it is dropped.
 */
struct line {
	uint8_t text[LINE_ROOM];
	size_t n;
	struct buf *out; /* borrowed */
	enum err err;
};

static void line_flush(struct line *l)
{
	if (l->err == ERR_OK)
		l->err = buf_append(l->out, bytes_of(l->text, l->n));
	l->n = 0;
}

static inline void put(struct line *l, const void *p, size_t n)
{
	if (n > LINE_ROOM - l->n)
		line_flush(l);
	/* Pieces are literals and short numbers; put_bytes() looks after long ones. */
	memcpy(l->text + l->n, p, n);
	l->n += n;
}

#define PUT(l, literal) put(l, "" literal, sizeof(literal) - 1)

/* The last digits of `text` hold v; returns where they begin. */
static size_t digits_of(char text[20], uint64_t v)
{
	size_t at = 20;

	do {
		text[--at] = (char)('0' + v % 10);
		v /= 10;
	} while (v);
	return at;
}

enum err observe_put_u64(struct buf *out, uint64_t v)
{
	char text[20];
	size_t at = digits_of(text, v);

	return buf_append(out, bytes_of(text + at, sizeof(text) - at));
}

enum err observe_put_i64(struct buf *out, int64_t v)
{
	if (v >= 0)
		return observe_put_u64(out, (uint64_t)v);
	TRY(buf_append(out, BYTES_LIT("-")));
	return observe_put_u64(out, 0 - (uint64_t)v);
}

static void put_number(struct line *l, int64_t v)
{
	char text[20];
	size_t at;

	if (v == OBSERVE_NONE) {
		PUT(l, "null");
		return;
	}
	if (v < 0)
		PUT(l, "-");
	at = digits_of(text, v < 0 ? 0 - (uint64_t)v : (uint64_t)v);
	put(l, text + at, sizeof(text) - at);
}

/* Microseconds as milliseconds with three decimals; below zero: null. */
static void put_ms(struct line *l, int64_t us)
{
	char frac[4];

	if (us < 0) {
		PUT(l, "null");
		return;
	}
	put_number(l, us / 1000);
	frac[0] = '.';
	frac[1] = (char)('0' + us / 100 % 10);
	frac[2] = (char)('0' + us / 10 % 10);
	frac[3] = (char)('0' + us % 10);
	put(l, frac, sizeof(frac));
}

/* Does a JSON string hold these bytes as they are? */
static bool plain(struct bytes s)
{
	bool special = false;

	for (size_t i = 0; i < s.n; i++)
		special |= s.p[i] < 0x20 || s.p[i] > 0x7e || s.p[i] == '"' || s.p[i] == '\\';
	return !special;
}

static void put_bytes(struct line *l, struct bytes s)
{
	if (!s.p) {
		PUT(l, "null");
	} else if (s.n <= LINE_ROOM / 2 && plain(s)) {
		PUT(l, "\"");
		put(l, s.p, s.n);
		PUT(l, "\"");
	} else {
		line_flush(l);
		if (l->err == ERR_OK)
			l->err = json_append_string(l->out, s);
	}
}

static void put_str(struct line *l, const char *s)
{
	put_bytes(l, bytes_str(s));
}

static void put_flow(struct line *l, uint64_t flow)
{
	static const char digits[] = "0123456789abcdef";
	char text[18];

	if (!flow) {
		PUT(l, "null");
		return;
	}
	text[0] = text[17] = '"';
	for (int i = 16; i > 0; i--, flow >>= 4)
		text[i] = digits[flow & 15];
	put(l, text, sizeof(text));
}

static void put_address(struct line *l, const struct addr *a)
{
	char text[ADDR_TEXT_MAX];

	put_str(l, a && a->family ? addr_ip_text(a, text) : NULL);
}

static void put_secrets(struct line *l, const struct observe_event *ev)
{
	PUT(l, "[");
	for (size_t i = 0; i < ev->n_secrets; i++) {
		if (i)
			PUT(l, ",");
		put_str(l, ev->secrets[i]);
	}
	PUT(l, "]");
}

/* The next key with what stands before it, then its value. */
#define FIELD(before, key, put_value) \
	do { \
		PUT(l, before "\"" key "\":"); \
		put_value; \
	} while (0)

static void put_phases(struct line *l, const int64_t *us)
{
	FIELD("{", "peek", put_ms(l, us[OBSERVE_PEEK]));
	FIELD(",", "resolve", put_ms(l, us[OBSERVE_RESOLVE]));
	FIELD(",", "connect", put_ms(l, us[OBSERVE_CONNECT]));
	FIELD(",", "tls", put_ms(l, us[OBSERVE_TLS]));
	FIELD(",", "first_byte", put_ms(l, us[OBSERVE_FIRST_BYTE]));
	PUT(l, "}");
}

static void put_event(struct line *l, const struct observe_event *ev)
{
	char now[TIME_TEXT_MAX];

	FIELD("{", "time", put_str(l, ev->time ? ev->time : time_rfc3339(now)));
	FIELD(",", "event", put_str(l, ev->event));
	FIELD(",", "flow", put_flow(l, ev->flow));
	FIELD(",", "agent", put_bytes(l, ev->agent));
	FIELD(",", "host", put_bytes(l, ev->host));
	FIELD(",", "address", put_address(l, ev->address));
	FIELD(",", "port", put_number(l, ev->port));
	FIELD(",", "protocol", put_str(l, ev->protocol));
	FIELD(",", "method", put_bytes(l, ev->method));
	FIELD(",", "path", put_bytes(l, ev->path));
	FIELD(",", "status", put_number(l, ev->status));
	FIELD(",", "bytes_up", put_number(l, ev->bytes_up));
	FIELD(",", "bytes_down", put_number(l, ev->bytes_down));
	FIELD(",", "secrets", put_secrets(l, ev));
	FIELD(",", "redactions", put_number(l, ev->redactions));
	FIELD(",", "decision", put_str(l, ev->decision));
	FIELD(",", "rule", put_str(l, ev->rule));
	FIELD(",", "reason", put_str(l, ev->reason));
	FIELD(",", "duration_ms", put_ms(l, ev->duration_us));
	FIELD(",", "phases", put_phases(l, ev->phases_us));
	PUT(l, "}\n");
}

enum err observe_event_write(const struct observe_event *ev, struct buf *out)
{
	size_t len = buf_len(out);
	struct line l UNINITIALIZED;

	l.n = 0;
	l.out = out;
	l.err = ERR_OK;
	put_event(&l, ev);
	line_flush(&l);
	if (l.err != ERR_OK)
		out->end = out->start + len;
	return l.err;
}
