/*
 * log.c - one line of JSON per event on stderr
 *
 * The line is built on the stack and written with one write(2), so lines of several processes do
 * not mix. A line too long is cut at a field. Nothing here can print a secret: KV() has no case for
 * one.
 */
#include "base/base.h"

#include <unistd.h>

static struct {
	const char *role;
	enum log_level level;
} log_state = { "slapenir", LOG_LEVEL_INFO };

static const char *const level_names[] = { "error", "warn", "info", "debug" };

void log_init(const char *role, enum log_level level)
{
	log_state.role = role;
	log_state.level = level;
}

bool log_level_parse(const char *text, enum log_level *out)
{
	if (strcmp(text, "off") == 0) {
		*out = LOG_LEVEL_OFF;
		return true;
	}
	for (size_t i = 0; i < ARRAY_SIZE(level_names); i++) {
		if (strcmp(text, level_names[i]) == 0) {
			*out = (enum log_level)i;
			return true;
		}
	}
	return false;
}

bool log_enabled(enum log_level level)
{
	return (int)level <= (int)log_state.level;
}

static enum err kv_append(struct buf *out, const struct kv *kv)
{
	char text[ADDR_TEXT_MAX];

	TRY(buf_append_str(out, ","));
	TRY(json_append_string(out, bytes_str(kv->key)));
	TRY(buf_append_str(out, ":"));
	switch (kv->type) {
	case KV_STR:
		return kv->s ? json_append_string(out, bytes_str(kv->s))
			     : buf_append_str(out, "null");
	case KV_INT:
		return buf_printf(out, "%lld", (long long)kv->i);
	case KV_UINT:
		return buf_printf(out, "%llu", (unsigned long long)kv->u);
	case KV_HEX:
		return buf_printf(out, "\"%016llx\"", (unsigned long long)kv->u);
	case KV_BOOL:
		return buf_append_str(out, kv->b ? "true" : "false");
	case KV_BYTES:
		return json_append_string(out, bytes_first(kv->bytes, 512));
	case KV_ADDR:
		return json_append_string(out, bytes_str(addr_text(kv->addr, text)));
	}
	return ERR_INTERNAL;
}

void log_write(enum log_level level, const char *event, const struct kv *kvs, size_t n)
{
	uint8_t line[4096];
	struct buf out = { .data = line, .cap = sizeof(line), .max = sizeof(line) - 2 };
	char when[TIME_TEXT_MAX];

	if (level < 0 || (size_t)level >= ARRAY_SIZE(level_names))
		return;
	if (buf_printf(&out,
		       "{\"time\":\"%s\",\"level\":\"%s\",\"role\":\"%s\",\"pid\":%d,"
		       "\"event\":\"%s\"",
		       time_rfc3339(when), level_names[level], log_state.role, (int)getpid(),
		       event) != ERR_OK)
		return;
	for (size_t i = 0; i < n; i++) {
		size_t mark = out.end;

		if (kv_append(&out, &kvs[i]) != ERR_OK) {
			out.end = mark;
			break;
		}
	}
	line[out.end++] = '}';
	line[out.end++] = '\n';
	/* Nowhere to report that stderr is gone. */
	if (write(STDERR_FILENO, line, out.end) < 0)
		return;
}

bool log_allowed(struct log_limit *l, unsigned per_s)
{
	uint64_t second = time_mono_us() / 1000000;

	if (l->second != second)
		*l = (struct log_limit){ .second = second };
	return l->n++ < per_s;
}
