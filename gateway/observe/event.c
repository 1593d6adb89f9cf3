/*
 * event.c - one audit event as one JSON line
 *
 * Every key is always there, in the same order, so that a line can be read by eye, by column and by
 * any JSON parser; what is not known is null. Numbers are written by hand: a line costs about
 * a microsecond. A line that does not fit leaves the buffer as it was.
 */
#include "gateway/observe/observe_internal.h"

enum err observe_put_u64(struct buf *out, uint64_t v)
{
	char text[20];
	size_t at = sizeof(text);

	do {
		text[--at] = (char)('0' + v % 10);
		v /= 10;
	} while (v);
	return buf_append(out, bytes_of(text + at, sizeof(text) - at));
}

enum err observe_put_i64(struct buf *out, int64_t v)
{
	if (v >= 0)
		return observe_put_u64(out, (uint64_t)v);
	TRY(buf_append(out, BYTES_LIT("-")));
	return observe_put_u64(out, 0 - (uint64_t)v);
}

static enum err put_null(struct buf *out)
{
	return buf_append(out, BYTES_LIT("null"));
}

static enum err put_number(struct buf *out, int64_t v)
{
	return v == OBSERVE_NONE ? put_null(out) : observe_put_i64(out, v);
}

/* Microseconds as milliseconds with three decimals; below zero: null. */
static enum err put_ms(struct buf *out, int64_t us)
{
	char frac[4];

	if (us < 0)
		return put_null(out);
	TRY(observe_put_u64(out, (uint64_t)us / 1000));
	frac[0] = '.';
	frac[1] = (char)('0' + us / 100 % 10);
	frac[2] = (char)('0' + us / 10 % 10);
	frac[3] = (char)('0' + us % 10);
	return buf_append(out, bytes_of(frac, sizeof(frac)));
}

static enum err put_bytes(struct buf *out, struct bytes s)
{
	return s.p ? json_append_string(out, s) : put_null(out);
}

static enum err put_str(struct buf *out, const char *s)
{
	return put_bytes(out, bytes_str(s));
}

static enum err put_flow(struct buf *out, uint64_t flow)
{
	static const char digits[] = "0123456789abcdef";
	char text[18];

	if (!flow)
		return put_null(out);
	text[0] = text[17] = '"';
	for (int i = 16; i > 0; i--, flow >>= 4)
		text[i] = digits[flow & 15];
	return buf_append(out, bytes_of(text, sizeof(text)));
}

static enum err put_address(struct buf *out, const struct addr *a)
{
	char text[ADDR_TEXT_MAX];

	if (!a || !a->family)
		return put_null(out);
	return json_append_string(out, bytes_str(addr_ip_text(a, text)));
}

static enum err put_secrets(struct buf *out, const struct observe_event *ev)
{
	TRY(buf_append(out, BYTES_LIT("[")));
	for (size_t i = 0; i < ev->n_secrets; i++) {
		if (i)
			TRY(buf_append(out, BYTES_LIT(",")));
		TRY(put_str(out, ev->secrets[i]));
	}
	return buf_append(out, BYTES_LIT("]"));
}

static enum err put_phases(struct buf *out, const struct observe_event *ev)
{
	static const char *const keys[OBSERVE_PHASES] = {
		[OBSERVE_PEEK] = "{\"peek\":",
		[OBSERVE_RESOLVE] = ",\"resolve\":",
		[OBSERVE_CONNECT] = ",\"connect\":",
		[OBSERVE_TLS] = ",\"tls\":",
		[OBSERVE_FIRST_BYTE] = ",\"first_byte\":",
	};

	for (size_t i = 0; i < OBSERVE_PHASES; i++) {
		TRY(buf_append_str(out, keys[i]));
		TRY(put_ms(out, ev->phases_us[i]));
	}
	return buf_append(out, BYTES_LIT("}"));
}

/* The next key, then its value. */
#define FIELD(key, put) \
	do { \
		TRY(buf_append(out, BYTES_LIT("," key ":"))); \
		TRY(put); \
	} while (0)

static enum err put_event(struct buf *out, const struct observe_event *ev)
{
	char now[TIME_TEXT_MAX];

	TRY(buf_append(out, BYTES_LIT("{\"time\":")));
	TRY(put_str(out, ev->time ? ev->time : time_rfc3339(now)));
	FIELD("\"event\"", put_str(out, ev->event));
	FIELD("\"flow\"", put_flow(out, ev->flow));
	FIELD("\"agent\"", put_bytes(out, ev->agent));
	FIELD("\"host\"", put_bytes(out, ev->host));
	FIELD("\"address\"", put_address(out, ev->address));
	FIELD("\"port\"", put_number(out, ev->port));
	FIELD("\"protocol\"", put_str(out, ev->protocol));
	FIELD("\"method\"", put_bytes(out, ev->method));
	FIELD("\"path\"", put_bytes(out, ev->path));
	FIELD("\"status\"", put_number(out, ev->status));
	FIELD("\"bytes_up\"", put_number(out, ev->bytes_up));
	FIELD("\"bytes_down\"", put_number(out, ev->bytes_down));
	FIELD("\"secrets\"", put_secrets(out, ev));
	FIELD("\"redactions\"", put_number(out, ev->redactions));
	FIELD("\"decision\"", put_str(out, ev->decision));
	FIELD("\"rule\"", put_str(out, ev->rule));
	FIELD("\"reason\"", put_str(out, ev->reason));
	FIELD("\"duration_ms\"", put_ms(out, ev->duration_us));
	FIELD("\"phases\"", put_phases(out, ev));
	return buf_append(out, BYTES_LIT("}\n"));
}

enum err observe_event_write(const struct observe_event *ev, struct buf *out)
{
	size_t len = buf_len(out);
	enum err e = put_event(out, ev);

	if (e != ERR_OK)
		out->end = out->start + len;
	return e;
}
