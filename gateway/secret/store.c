/*
 * store.c - the flat list of secrets
 *
 *   head | record x count | host patterns of all | agent sets of all | text of all
 *
 * Every reference is an offset from the head, so the master builds it anywhere and workers map it
 * where they like. secret_store_open() checks each offset once; afterwards a view costs no check.
 * An agent set is a bitmap; an empty one means every agent.
 */
#include "gateway/secret/secret.h"

#include <stdalign.h>

#define STORE_MAGIC 0x534c5053u		/* "SPLS" */
#define STORE_AGENT_MAX 65535u
#define STORE_HOST_MAX 255u

enum store_flag { STORE_PLAINTEXT = 1 };

struct store_text {
	uint32_t off, len;
};

struct store_record {
	uint32_t type, surfaces, flags;
	uint32_t hosts_off, n_hosts;
	uint32_t agents_off, n_agent_words;
	struct store_text name, dummy, real, dummy_key, real_key;
};

struct store_host {
	struct store_text name;		/* without "*." and port */
	uint16_t port;			/* 0: any */
	uint16_t wild;			/* below name, not name itself */
};

struct secret_store {
	uint32_t magic, count;
	uint32_t size, reserved;
	struct store_record records[];
};

/* ---- host patterns --------------------------------------------------------------------------- */

struct host_pattern {
	struct bytes name;
	uint16_t port;
	bool wild;
};

static bool label_chars_ok(struct bytes name)
{
	size_t label = 0;

	for (size_t i = 0; i < name.n; i++) {
		uint8_t c = name.p[i];

		if (c == '.') {
			if (label == 0)
				return false;
			label = 0;
			continue;
		}
		if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9') && c != '-' && c != '_')
			return false;
		if (++label > 63)
			return false;
	}
	return label > 0;
}

/* "name", "*.name", "v6", "[v6]", each with ":port" (an IPv6 literal then in brackets). */
static bool host_pattern_read(struct bytes in, struct host_pattern *out)
{
	struct bytes port = BYTES_NONE;
	struct addr literal;
	uint64_t number;
	size_t colon;

	*out = (struct host_pattern){ .name = in };
	if (in.n > STORE_HOST_MAX)
		return false;
	if (in.n > 0 && in.p[0] == '[') {
		size_t end = bytes_index(in, ']');

		if (end == in.n)
			return false;
		out->name = bytes_of(in.p + 1, end - 1);
		port = bytes_from(in, end + 1);
		if (!addr_parse_ip(&literal, out->name))
			return false;
	} else if (!addr_parse_ip(&literal, in)) {
		colon = bytes_index(in, ':');
		out->name = bytes_first(in, colon);
		port = bytes_from(in, colon);
		out->wild = bytes_starts(out->name, BYTES_LIT("*."));
		if (out->wild)
			out->name = bytes_from(out->name, 2);
		if (!label_chars_ok(out->name))
			return false;
	}
	if (port.n == 0)
		return true;
	if (port.p[0] != ':' || bytes_to_u64(bytes_from(port, 1), &number) != ERR_OK)
		return false;
	out->port = (uint16_t)number;
	return number > 0 && number <= 65535;
}

bool secret_host_pattern_ok(struct bytes pattern)
{
	struct host_pattern p;

	return host_pattern_read(pattern, &p);
}

static bool host_matches(const struct secret_store *s, const struct store_host *h,
			 struct bytes host, uint16_t port)
{
	struct bytes name = bytes_of((const uint8_t *)s + h->name.off, h->name.len);

	if (h->port != 0 && h->port != port)
		return false;
	if (!h->wild)
		return bytes_eq(name, host);
	return host.n > name.n + 1 && host.p[host.n - name.n - 1] == '.' && bytes_ends(host, name);
}

/* ---- building -------------------------------------------------------------------------------- */

struct build {
	uint8_t *base;
	uint32_t hosts_at, agents_at, text_at;
};

static uint32_t agent_words(const struct secret_spec *s)
{
	unsigned max = 0;

	if (s->n_agents == 0)
		return 0;
	for (size_t i = 0; i < s->n_agents; i++)
		if (s->agents[i] > max)
			max = s->agents[i];
	return max / 32 + 1;
}

static bool spec_ok(const struct secret_spec *s)
{
	struct host_pattern p;

	for (size_t i = 0; i < s->n_hosts; i++)
		if (!host_pattern_read(bytes_str(s->hosts[i]), &p))
			return false;
	for (size_t i = 0; i < s->n_agents; i++)
		if (s->agents[i] > STORE_AGENT_MAX)
			return false;
	return s->name.n > 0 && s->name.n <= SECRET_VALUE_MAX && s->dummy.n > 0 &&
	       s->dummy.n <= SECRET_VALUE_MAX && s->real.n <= SECRET_VALUE_MAX &&
	       s->dummy_key.n <= SECRET_VALUE_MAX && s->real_key.n <= SECRET_VALUE_MAX &&
	       s->n_hosts <= UINT16_MAX;
}

/* A real value that is some dummy would be a value every agent already holds. */
static bool reals_are_no_dummies(const struct secret_spec *specs, size_t n)
{
	for (size_t i = 0; i < n; i++)
		for (size_t j = 0; j < n; j++)
			if ((specs[i].real.n && (bytes_eq(specs[i].real, specs[j].dummy) ||
						 bytes_eq(specs[i].real, specs[j].dummy_key))) ||
			    (specs[i].real_key.n &&
			     (bytes_eq(specs[i].real_key, specs[j].dummy) ||
			      bytes_eq(specs[i].real_key, specs[j].dummy_key))))
				return false;
	return true;
}

static struct store_text put_text(struct build *b, struct bytes text)
{
	struct store_text t = { b->text_at, (uint32_t)text.n };

	if (text.n)
		memcpy(b->base + b->text_at, text.p, text.n);
	b->text_at += (uint32_t)text.n;
	return t;
}

static void put_record(struct build *b, struct store_record *r, const struct secret_spec *s)
{
	uint32_t words = agent_words(s);
	uint32_t *set = (uint32_t *)(void *)(b->base + b->agents_at);

	*r = (struct store_record){
		.type = s->type,
		.surfaces = s->surfaces,
		.flags = s->plaintext ? STORE_PLAINTEXT : 0,
		.hosts_off = b->hosts_at,
		.n_hosts = (uint32_t)s->n_hosts,
		.agents_off = b->agents_at,
		.n_agent_words = words,
		.name = put_text(b, s->name),
		.dummy = put_text(b, s->dummy),
		.real = put_text(b, s->real),
		.dummy_key = put_text(b, s->dummy_key),
		.real_key = put_text(b, s->real_key),
	};
	for (size_t i = 0; i < s->n_agents; i++)
		set[s->agents[i] / 32] |= 1u << (s->agents[i] % 32);
	b->agents_at += words * (uint32_t)sizeof(uint32_t);
	for (size_t i = 0; i < s->n_hosts; i++) {
		struct store_host *h = (struct store_host *)(void *)(b->base + b->hosts_at);
		struct host_pattern p;

		if (host_pattern_read(bytes_str(s->hosts[i]), &p))
			*h = (struct store_host){ put_text(b, p.name), p.port, p.wild };
		b->hosts_at += (uint32_t)sizeof(*h);
	}
}

enum err secret_store_build(const struct secret_spec *specs, size_t n, struct buf *out)
{
	uint64_t hosts = 0, words = 0, text = 0, records = sizeof(struct secret_store);
	struct secret_store *s;
	struct build b;
	uint64_t total;

	if (n > SECRET_MAX || !reals_are_no_dummies(specs, n))
		return ERR_CONFIG;
	for (size_t i = 0; i < n; i++) {
		const struct secret_spec *p = &specs[i];

		if (!spec_ok(p))
			return ERR_CONFIG;
		hosts += p->n_hosts * sizeof(struct store_host);
		words += agent_words(p) * sizeof(uint32_t);
		text += p->name.n + p->dummy.n + p->real.n + p->dummy_key.n + p->real_key.n;
		for (size_t h = 0; h < p->n_hosts; h++)
			text += strlen(p->hosts[h]);
	}
	records += n * sizeof(struct store_record);
	total = (records + hosts + words + text + 7) & ~(uint64_t)7;
	if (total > INT32_MAX)
		return ERR_CONFIG;
	TRY(buf_reserve(out, total, &b.base));
	memset(b.base, 0, total);
	s = (struct secret_store *)(void *)b.base;
	s->magic = STORE_MAGIC;
	s->count = (uint32_t)n;
	s->size = (uint32_t)total;
	b.hosts_at = (uint32_t)records;
	b.agents_at = (uint32_t)(records + hosts);
	b.text_at = (uint32_t)(records + hosts + words);
	for (size_t i = 0; i < n; i++)
		put_record(&b, &s->records[i], &specs[i]);
	buf_commit(out, total);
	return ERR_OK;
}

/* ---- reading --------------------------------------------------------------------------------- */

static bool range_ok(const struct secret_store *s, uint32_t off, uint64_t len)
{
	return off <= s->size && len <= s->size - off;
}

static bool text_ok(const struct secret_store *s, struct store_text t)
{
	return range_ok(s, t.off, t.len);
}

static const struct store_host *record_hosts(const struct secret_store *s,
					     const struct store_record *r)
{
	return (const struct store_host *)(const void *)((const uint8_t *)s + r->hosts_off);
}

static bool record_ok(const struct secret_store *s, const struct store_record *r)
{
	const struct store_host *h = record_hosts(s, r);

	if (r->hosts_off % alignof(struct store_host) || r->agents_off % alignof(uint32_t) ||
	    !range_ok(s, r->hosts_off, (uint64_t)r->n_hosts * sizeof(*h)) ||
	    !range_ok(s, r->agents_off, (uint64_t)r->n_agent_words * sizeof(uint32_t)) ||
	    !text_ok(s, r->name) || !text_ok(s, r->dummy) || !text_ok(s, r->real) ||
	    !text_ok(s, r->dummy_key) || !text_ok(s, r->real_key))
		return false;
	for (uint32_t i = 0; i < r->n_hosts; i++)
		if (!text_ok(s, h[i].name))
			return false;
	return true;
}

const struct secret_store *secret_store_open(const void *p, size_t size)
{
	const struct secret_store *s = p;

	if (!p || (uintptr_t)p % alignof(uint64_t) || size < sizeof(*s) ||
	    s->magic != STORE_MAGIC || s->size > size || s->size < sizeof(*s) ||
	    s->count > SECRET_MAX || !range_ok(s, sizeof(*s), s->count * sizeof(s->records[0])))
		return NULL;
	for (uint32_t i = 0; i < s->count; i++)
		if (!record_ok(s, &s->records[i]))
			return NULL;
	return s;
}

unsigned secret_store_count(const struct secret_store *s)
{
	return s->count;
}

static struct bytes text_view(const struct secret_store *s, struct store_text t)
{
	return bytes_of((const uint8_t *)s + t.off, t.len);
}

struct secret secret_get(const struct secret_store *s, unsigned i)
{
	const struct store_record *r = &s->records[i];

	if (i >= s->count)
		return (struct secret){ 0 };
	return (struct secret){
		.type = (enum secret_type)r->type,
		.name = text_view(s, r->name),
		.dummy = text_view(s, r->dummy),
		.real = text_view(s, r->real),
		.dummy_key = text_view(s, r->dummy_key),
		.real_key = text_view(s, r->real_key),
		.surfaces = r->surfaces,
		.resolved = r->real.len > 0 &&
			    (r->type != SECRET_AWS_SIGV4 || r->real_key.len > 0),
		.plaintext = (r->flags & STORE_PLAINTEXT) != 0,
	};
}

static bool agent_in(const struct secret_store *s, const struct store_record *r, unsigned agent)
{
	const uint32_t *set = (const uint32_t *)(const void *)((const uint8_t *)s + r->agents_off);

	if (r->n_agent_words == 0)
		return true;
	return agent / 32 < r->n_agent_words && (set[agent / 32] >> (agent % 32) & 1);
}

static bool host_in(const struct secret_store *s, const struct store_record *r, struct bytes host,
		    uint16_t port)
{
	const struct store_host *h = record_hosts(s, r);

	for (uint32_t i = 0; i < r->n_hosts; i++)
		if (host_matches(s, &h[i], host, port))
			return true;
	return false;
}

bool secret_bound(const struct secret_store *s, unsigned i, unsigned agent, struct bytes host,
		  uint16_t port)
{
	if (i >= s->count || host.n == 0)
		return false;
	return agent_in(s, &s->records[i], agent) && host_in(s, &s->records[i], host, port);
}

bool secret_host_known(const struct secret_store *s, struct bytes host, uint16_t port)
{
	for (uint32_t i = 0; i < s->count && host.n > 0; i++)
		if (host_in(s, &s->records[i], host, port))
			return true;
	return false;
}
