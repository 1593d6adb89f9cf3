/*
 * fields.c - the list of fields, the names the codec acts on, what belongs to one connection only
 *
 * The list is an array in the order of the message, looked through from the front: heads have a
 * dozen fields and a bound on their number, so a hash would cost more than it saves.
 */
#include "gateway/http/http_internal.h"

#include <stdlib.h>

#define FIELDS_FIRST_CAP 16
#define BYTES_ITEM(s) { (const uint8_t *)(s), sizeof(s) - 1 }

enum err http_fields_add(struct http_fields *f, struct bytes name, struct bytes value)
{
	if (UNLIKELY(f->n == f->cap)) {
		size_t cap = f->cap ? f->cap * 2 : FIELDS_FIRST_CAP;
		struct http_field *v = reallocarray(f->v, cap, sizeof(*v));

		if (!v)
			return ERR_NOMEM;
		f->v = v;
		f->cap = cap;
	}
	f->v[f->n++] = (struct http_field){ name, value };
	return ERR_OK;
}

struct http_field *http_fields_find(const struct http_fields *f, struct bytes name)
{
	for (size_t i = 0; i < f->n; i++)
		if (f->v[i].name.n == name.n && bytes_ieq(f->v[i].name, name))
			return &f->v[i];
	return NULL;
}

struct bytes http_fields_value(const struct http_fields *f, struct bytes name)
{
	const struct http_field *field = http_fields_find(f, name);

	return field ? field->value : BYTES_NONE;
}

/* Keeps the first `keep` of that name. */
static size_t remove_after(struct http_fields *f, struct bytes name, size_t keep)
{
	size_t seen = 0, to = 0, removed;

	for (size_t i = 0; i < f->n; i++) {
		if (bytes_ieq(f->v[i].name, name) && seen++ >= keep)
			continue;
		f->v[to++] = f->v[i];
	}
	removed = f->n - to;
	f->n = to;
	return removed;
}

enum err http_fields_set(struct http_fields *f, struct bytes name, struct bytes value)
{
	struct http_field *field = http_fields_find(f, name);

	if (!field)
		return http_fields_add(f, name, value);
	field->value = value;
	remove_after(f, name, 1);
	return ERR_OK;
}

size_t http_fields_remove(struct http_fields *f, struct bytes name)
{
	return remove_after(f, name, 0);
}

size_t http_fields_count(const struct http_fields *f, struct bytes name)
{
	size_t n = 0;

	for (size_t i = 0; i < f->n; i++)
		n += bytes_ieq(f->v[i].name, name);
	return n;
}

void http_fields_reset(struct http_fields *f)
{
	f->n = 0;
}

void http_fields_release(struct http_fields *f)
{
	free(f->v);
	*f = (struct http_fields){ 0 };
}

static inline uint64_t load_u64(const void *p)
{
	uint64_t w;

	memcpy(&w, p, sizeof(w));
	return w;
}

/*
 * `lower` has as many bytes as `name`, a token: setting bit 5 only folds letters there, and '_'.
 * Called with a length known at compile time, it is a comparison or three.
 */
static inline bool name_is(struct bytes name, const char *lower)
{
	size_t i = 0;

	for (; i + 8 <= name.n; i += 8)
		if ((load_u64(name.p + i) | 0x2020202020202020u) != load_u64(lower + i))
			return false;
	for (; i < name.n; i++)
		if ((name.p[i] | 0x20) != (uint8_t)lower[i])
			return false;
	return true;
}

static bool name_is_twin(struct bytes name, struct bytes real)
{
	for (size_t i = 0; i < name.n; i++)
		if (ascii_lower(name.p[i] == '_' ? '-' : name.p[i]) != real.p[i])
			return false;
	return true;
}

static enum http_known known_or_twin(struct bytes name, struct bytes real, enum http_known known)
{
	if (name_is(name, (const char *)real.p))
		return known;
	return name_is_twin(name, real) ? HTTP_FRAMING_TWIN : HTTP_OTHER;
}

enum http_known http_name_known(struct bytes name)
{
	switch (name.n) {
	case 2:
		return name_is(name, "te") ? HTTP_TE : HTTP_OTHER;
	case 4:
		return name_is(name, "host") ? HTTP_HOST : HTTP_OTHER;
	case 6:
		return name_is(name, "expect") ? HTTP_EXPECT : HTTP_OTHER;
	case 7:
		return name_is(name, "upgrade") ? HTTP_UPGRADE : HTTP_OTHER;
	case 10:
		return name_is(name, "connection") ? HTTP_CONNECTION : HTTP_OTHER;
	case 12:
		return name_is(name, "content-type") ? HTTP_CONTENT_TYPE : HTTP_OTHER;
	case 13:
		return name_is(name, "authorization") ? HTTP_AUTHORIZATION : HTTP_OTHER;
	case 14:
		return known_or_twin(name, BYTES_LIT("content-length"), HTTP_CONTENT_LENGTH);
	case 17:
		return known_or_twin(name, BYTES_LIT("transfer-encoding"), HTTP_TRANSFER_ENCODING);
	default:
		return HTTP_OTHER;
	}
}

static bool name_among(struct bytes name, const struct bytes *list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (name.n == list[i].n && bytes_ieq(name, list[i]))
			return true;
	return false;
}

bool http_trailer_allowed(struct bytes name)
{
	static const struct bytes never[] = {
		/* framing and the connection */
		BYTES_ITEM("content-length"), BYTES_ITEM("transfer-encoding"),
		BYTES_ITEM("trailer"), BYTES_ITEM("connection"), BYTES_ITEM("keep-alive"),
		BYTES_ITEM("te"), BYTES_ITEM("upgrade"), BYTES_ITEM("proxy-connection"),
		BYTES_ITEM("content_length"), BYTES_ITEM("transfer_encoding"),
		/* routing */
		BYTES_ITEM("host"),
		/* authentication and state */
		BYTES_ITEM("authorization"), BYTES_ITEM("proxy-authorization"),
		BYTES_ITEM("proxy-authenticate"), BYTES_ITEM("www-authenticate"),
		BYTES_ITEM("cookie"), BYTES_ITEM("set-cookie"),
		/* what changes how the request or the answer is handled */
		BYTES_ITEM("cache-control"), BYTES_ITEM("expect"), BYTES_ITEM("max-forwards"),
		BYTES_ITEM("pragma"), BYTES_ITEM("range"), BYTES_ITEM("if-match"),
		BYTES_ITEM("if-none-match"), BYTES_ITEM("if-modified-since"),
		BYTES_ITEM("if-unmodified-since"), BYTES_ITEM("if-range"), BYTES_ITEM("age"),
		BYTES_ITEM("expires"), BYTES_ITEM("date"), BYTES_ITEM("location"),
		BYTES_ITEM("retry-after"), BYTES_ITEM("vary"),
		/* how to read the content */
		BYTES_ITEM("content-encoding"), BYTES_ITEM("content-type"),
		BYTES_ITEM("content-range"),
	};

	return !name_among(name, never, ARRAY_SIZE(never));
}

static bool is_hop_by_hop(struct bytes name)
{
	static const struct bytes always[] = {
		BYTES_ITEM("connection"), BYTES_ITEM("keep-alive"), BYTES_ITEM("proxy-connection"),
		BYTES_ITEM("proxy-authenticate"), BYTES_ITEM("proxy-authorization"),
		BYTES_ITEM("proxy-authentication-info"), BYTES_ITEM("transfer-encoding"),
		BYTES_ITEM("upgrade"), BYTES_ITEM("http2-settings"),
	};

	return name_among(name, always, ARRAY_SIZE(always));
}

/* Where a message's Connection lines lie; first > last: it has none. */
struct connection_lines {
	size_t first, last;
};

static struct connection_lines find_connection(const struct http_fields *f)
{
	struct connection_lines c = { .first = SIZE_MAX };

	for (size_t i = 0; i < f->n; i++) {
		if (http_name_known(f->v[i].name) != HTTP_CONNECTION)
			continue;
		if (c.first == SIZE_MAX)
			c.first = i;
		c.last = i;
	}
	return c;
}

/* Is the field named by one of the Connection lines? TE is judged by its value instead. */
static bool is_named(const struct http_fields *f, struct connection_lines c, struct bytes name)
{
	for (size_t i = c.first; i <= c.last && i < f->n; i++)
		if (http_name_known(f->v[i].name) == HTTP_CONNECTION &&
		    http_token_list_has(f->v[i].value, name))
			return true;
	return false;
}

static bool keep_field(const struct http_fields *f, struct connection_lines c,
		       struct http_field *field)
{
	switch (http_name_known(field->name)) {
	case HTTP_CONNECTION:
		return true;	/* still to be read */
	case HTTP_TE:
		if (!http_token_list_has(field->value, BYTES_LIT("trailers")))
			return false;
		field->value = BYTES_LIT("trailers");
		return true;
	default:
		return !is_hop_by_hop(field->name) && !is_named(f, c, field->name);
	}
}

void http_strip_hop_by_hop(struct http_fields *f)
{
	struct connection_lines c = find_connection(f);
	size_t to = 0;

	/* judged first, moved afterwards: the Connection lines must stay readable until the end */
	for (size_t i = 0; i < f->n; i++)
		if (!keep_field(f, c, &f->v[i]))
			f->v[i].name.n = 0;
	for (size_t i = 0; i < f->n; i++)
		if (f->v[i].name.n && http_name_known(f->v[i].name) != HTTP_CONNECTION)
			f->v[to++] = f->v[i];
	f->n = to;
}
