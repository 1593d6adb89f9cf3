/*
 * scalar.c - one value of the file to one typed value
 *
 * Strict: units are written out, numbers are not quoted, hosts are in their one spelling
 * afterwards. Each type is a row of a table: size of its target, what to say when it is wrong,
 * and its reader, which only answers yes or no.
 */
#include "config/config_internal.h"

struct scalar {
	struct reader *r;
	const struct schema_key *key;
	const struct node *node;
	const char *text;
	const char *why;	/* set when there is more to say than `expected` */
	char buf[96];
};

static bool put_str(struct scalar *s, void *target, const char *text, size_t n)
{
	const char *copy = config_alloc_str(s->r, text, n);

	memcpy(target, &copy, sizeof(copy));
	return copy != NULL;
}

/* ---- numbers ------------------------------------------------------------ */

static bool in_bounds(const struct schema_key *key, uint64_t value)
{
	return value >= (uint64_t)key->min && (key->max == 0 || value <= (uint64_t)key->max);
}

struct unit {
	const char *name;
	uint64_t factor;
};

static const struct unit units_duration[] = {
	{ "ms", 1 },	  { "s", 1000 },     { "m", 60000 },
	{ "h", 3600000 }, { "d", 86400000 }, { NULL, 0 },
};
static const struct unit units_size[] = {
	{ "B", 1 },  { "KiB", 1024 }, { "MiB", 1024 * 1024 }, { "GiB", 1024 * 1024 * 1024 },
	{ NULL, 0 },
};

static bool parse_with_unit(struct scalar *s, const struct unit *units, uint64_t *out)
{
	struct bytes text = bytes_str(s->text);
	size_t digits = 0;

	while (digits < text.n && text.p[digits] >= '0' && text.p[digits] <= '9')
		digits++;
	for (; units->name; units++) {
		if (!bytes_eq(bytes_from(text, digits), bytes_str(units->name)))
			continue;
		return config_parse_number(bytes_first(text, digits), out) &&
		       !__builtin_mul_overflow(*out, units->factor, out);
	}
	if (digits == text.n && digits)
		s->why = "a unit is missing";
	return false;
}

/* In the words of the file. */
static const char *bound_text(uint64_t value, const struct unit *units, char dst[32])
{
	const struct unit *best = units;

	for (const struct unit *u = units; u->name; u++)
		if (value && value % u->factor == 0)
			best = u;
	snprintf(dst, 32, "%llu%s", (unsigned long long)(value / best->factor), best->name);
	return dst;
}

static bool out_of_bounds(struct scalar *s, const struct unit *units)
{
	static const struct unit none[] = { { "", 1 }, { NULL, 0 } };
	char low[32], high[32];

	bound_text((uint64_t)s->key->min, units ? units : none, low);
	bound_text((uint64_t)s->key->max, units ? units : none, high);
	if (s->key->min == s->key->max)
		snprintf(s->buf, sizeof(s->buf), "the only value is %s", low);
	else
		snprintf(s->buf, sizeof(s->buf), "must be from %s to %s", low, high);
	s->why = s->buf;
	return false;
}

static bool is_quoted(struct scalar *s)
{
	if (s->node->quoted)
		s->why = "in quotes it is text";
	return s->node->quoted;
}

static bool read_uint(struct scalar *s, void *target)
{
	uint64_t value;
	uint32_t narrow;

	if (is_quoted(s) || !config_parse_number(bytes_str(s->text), &value))
		return false;
	if (!in_bounds(s->key, value))
		return out_of_bounds(s, NULL);
	narrow = (uint32_t)value;
	memcpy(target, &narrow, sizeof(narrow));
	return true;
}

static bool read_port(struct scalar *s, void *target)
{
	uint64_t value;
	uint16_t port;

	if (is_quoted(s) || !config_parse_number(bytes_str(s->text), &value) || value < 1 ||
	    value > 65535)
		return false;
	port = (uint16_t)value;
	memcpy(target, &port, sizeof(port));
	return true;
}

static bool read_ports(struct scalar *s, void *target)
{
	struct bytes text = bytes_str(s->text);
	size_t dash = bytes_index(text, '-');
	struct config_ports ports;
	uint64_t first, last;

	if (!config_parse_number(bytes_first(text, dash), &first) || first < 1 || first > 65535)
		return false;
	last = first;
	if (dash < text.n &&
	    (!config_parse_number(bytes_from(text, dash + 1), &last) || last > 65535))
		return false;
	if (last < first) {
		s->why = "the range is empty";
		return false;
	}
	ports = (struct config_ports){ (uint16_t)first, (uint16_t)last };
	memcpy(target, &ports, sizeof(ports));
	return true;
}

static bool read_size(struct scalar *s, void *target)
{
	uint64_t value;
	uint32_t narrow;

	if (!parse_with_unit(s, units_size, &value))
		return false;
	if (!in_bounds(s->key, value) || value > UINT32_MAX)
		return out_of_bounds(s, units_size);
	narrow = (uint32_t)value;
	memcpy(target, &narrow, sizeof(narrow));
	return true;
}

static bool read_duration(struct scalar *s, void *target)
{
	uint64_t value;

	if (!parse_with_unit(s, units_duration, &value))
		return false;
	if (!in_bounds(s->key, value))
		return out_of_bounds(s, units_duration);
	memcpy(target, &value, sizeof(value));
	return true;
}

static bool read_rate(struct scalar *s, void *target)
{
	static const struct unit units[] = {
		{ "/s", 1 }, { "/m", 60 }, { "/h", 3600 }, { NULL, 0 }
	};
	struct bytes text = bytes_str(s->text);
	size_t slash = bytes_index(text, '/');
	uint32_t rate[2] = { 0, 0 };
	uint64_t value;

	for (const struct unit *u = units; u->name; u++)
		if (bytes_eq(bytes_from(text, slash), bytes_str(u->name)))
			rate[1] = (uint32_t)u->factor;
	if (!rate[1] || !config_parse_number(bytes_first(text, slash), &value))
		return false;
	if (!in_bounds(s->key, value))
		return out_of_bounds(s, NULL);
	rate[0] = (uint32_t)value;
	memcpy(target, rate, sizeof(rate));
	return true;
}

static bool read_bool(struct scalar *s, void *target)
{
	bool value = strcmp(s->text, "true") == 0;

	if (is_quoted(s) || (!value && strcmp(s->text, "false") != 0))
		return false;
	memcpy(target, &value, sizeof(value));
	return true;
}

static bool read_choice(struct scalar *s, void *target)
{
	size_t n;

	for (int i = 0; s->key->choices[i]; i++) {
		if (strcmp(s->key->choices[i], s->text) == 0) {
			memcpy(target, &i, sizeof(i));
			return true;
		}
	}
	snprintf(s->buf, sizeof(s->buf), "expected one of");
	for (size_t i = 0; s->key->choices[i]; i++) {
		n = strlen(s->buf);
		snprintf(s->buf + n, sizeof(s->buf) - n, "%s %s", i ? "," : "", s->key->choices[i]);
	}
	s->why = s->buf;
	return false;
}

/* ---- strings ------------------------------------------------------------ */

static bool read_string(struct scalar *s, void *target)
{
	size_t n = strlen(s->text),
	       max = s->key->type != VALUE_LIST && s->key->max ? (size_t)s->key->max : 4096;

	if (n == 0)
		return false;
	if (s->key->type != VALUE_LIST && n < (size_t)s->key->min) {
		snprintf(s->buf, sizeof(s->buf), "too short: %lld bytes at least",
			 (long long)s->key->min);
		s->why = s->buf;
		return false;
	}
	if (n > max) {
		snprintf(s->buf, sizeof(s->buf), "too long: %zu bytes at most", max);
		s->why = s->buf;
		return false;
	}
	return put_str(s, target, s->text, n);
}

static bool read_name(struct scalar *s, void *target)
{
	return strlen(s->text) <= 64 && config_is_name(s->text, "-_.") && read_string(s, target);
}

static bool read_env_name(struct scalar *s, void *target)
{
	size_t n = strlen(s->text);

	return n <= 256 && config_is_name(s->text, "_") &&
	       !(s->text[0] >= '0' && s->text[0] <= '9') && put_str(s, target, s->text, n);
}

static bool read_interface(struct scalar *s, void *target)
{
	size_t n = strlen(s->text);

	/* what the kernel takes (dev_valid_name), less what nft would need quoted twice */
	if (n == 0 || n > 15 || strcmp(s->text, ".") == 0 || strcmp(s->text, "..") == 0 ||
	    !config_is_name(s->text, "-_.@+~"))
		return false;
	return put_str(s, target, s->text, n);
}

static bool read_file(struct scalar *s, void *target)
{
	size_t dir = s->text[0] == '/' ? 0 : strlen(s->r->dir), n = strlen(s->text);
	size_t max = s->key->type == VALUE_FILE && s->key->max ? (size_t)s->key->max : 4095;
	char *path;

	if (n == 0)
		return false;
	if (dir + n > max) {
		snprintf(s->buf, sizeof(s->buf), "the whole path is longer than %zu bytes", max);
		s->why = s->buf;
		return false;
	}
	path = config_alloc(s->r, dir + n + 1, 1);
	if (!path)
		return false;
	memcpy(path, s->r->dir, dir);
	memcpy(path + dir, s->text, n);
	memcpy(target, &path, sizeof(path));
	return true;
}

static bool read_method(struct scalar *s, void *target)
{
	for (const char *c = s->text; *c; c++)
		if (*c >= 'a' && *c <= 'z') {
			s->why = "methods are upper-case";
			return false;
		}
	/* RFC 9110 5.6.2: token */
	return strlen(s->text) <= 32 && config_is_name(s->text, "!#$%&'*+-.^_`|~") &&
	       put_str(s, target, s->text, strlen(s->text));
}

static bool path_has_segment(struct bytes path, const char *segment)
{
	while (path.n) {
		size_t end;

		path = bytes_from(path, 1);
		end = bytes_index(path, '/');
		if (bytes_eq(bytes_first(path, end), bytes_str(segment)) &&
		    (*segment || end < path.n))
			return true;
		path = bytes_from(path, end);
	}
	return false;
}

static bool read_path_glob(struct scalar *s, void *target)
{
	struct bytes path = bytes_str(s->text);

	if (path.n == 0 || path.n > 1024 || path.p[0] != '/')
		return false;
	if (strpbrk(s->text, "?#\\")) {
		s->why = "a path pattern has no query, fragment or backslash";
		return false;
	}
	if (bytes_index(path, '%') < path.n) {
		s->why = "path patterns are written decoded, without %";
		return false;
	}
	if (path_has_segment(path, ".") || path_has_segment(path, "..") ||
	    path_has_segment(path, "") || strstr(s->text, "***")) {
		s->why = "no path can match: no empty, '.' or '..' segments, no '***'";
		return false;
	}
	return put_str(s, target, s->text, path.n);
}

/* ---- addresses and hosts ------------------------------------------------ */

static bool read_addr_port(struct scalar *s, void *target)
{
	return config_parse_addr_port(bytes_str(s->text), 0, target);
}

static bool read_resolver(struct scalar *s, void *target)
{
	return config_parse_addr_port(bytes_str(s->text), 53, target);
}

static bool read_cidr(struct scalar *s, void *target)
{
	struct bytes text = bytes_str(s->text);
	struct addr a;

	if (cidr_parse(target, text))
		return true;
	if (addr_parse_ip(&a, bytes_first(text, bytes_index(text, '/'))))
		s->why = "the prefix length is wrong, or bits after it are not zero";
	return false;
}

static bool read_rule_host(struct scalar *s, void *target)
{
	struct bytes text = bytes_str(s->text);
	char host[CONFIG_HOST_MAX];

	if (strcmp(s->text, "*") == 0)
		return put_str(s, target, "*", 1);
	if (config_parse_host(text, host))
		return put_str(s, target, host, strlen(host));
	if (bytes_find(text, BYTES_LIT("://")) < text.n)
		s->why = "a host name, not a URL";
	else if (config_parse_host(bytes_first(text, bytes_index(text, ':')), host))
		s->why = "a port does not belong here: use `ports`";
	return false;
}

static bool read_secret_host(struct scalar *s, void *target)
{
	struct bytes text = bytes_str(s->text);
	char host[CONFIG_HOST_MAX];

	if (config_parse_host(text, host) || config_parse_host_port(text, host))
		return put_str(s, target, host, strlen(host));
	if (strcmp(s->text, "*") == 0)
		s->why = "a secret is bound to named hosts: `*` alone is not allowed";
	else if (bytes_find(text, BYTES_LIT("://")) < text.n)
		s->why = "a host name, not a URL";
	return false;
}

/* ---- the table ---------------------------------------------------------- */

static const struct {
	size_t size;
	bool (*read)(struct scalar *s, void *target);
	const char *expected;
} types[VALUE_TYPE_COUNT] = {
	[VALUE_STRING] = { sizeof(char *), read_string, "expected text" },
	[VALUE_NAME] = { sizeof(char *), read_name,
			 "expected a name of up to 64 letters, digits, '-', '_' and '.'" },
	[VALUE_ENV_NAME] = { sizeof(char *), read_env_name,
			     "expected the name of an environment variable" },
	[VALUE_INTERFACE] = { sizeof(char *), read_interface,
			      "expected the name of a network interface" },
	[VALUE_FILE] = { sizeof(char *), read_file, "expected the name of a file" },
	[VALUE_RULE_HOST] = { sizeof(char *), read_rule_host,
			      "expected a host name, \"*.suffix\", \"*\" or an IP address" },
	[VALUE_SECRET_HOST] = { sizeof(char *), read_secret_host,
				"expected a host name, \"*.suffix\" or an IP address, optionally "
				"with :port" },
	[VALUE_METHOD] = { sizeof(char *), read_method, "expected an HTTP method such as GET" },
	[VALUE_PATH_GLOB] = { sizeof(char *), read_path_glob,
			      "expected a path pattern that begins with '/', such as \"/v1/**\"" },
	[VALUE_UINT] = { sizeof(uint32_t), read_uint, "expected a whole number" },
	[VALUE_PORT] = { sizeof(uint16_t), read_port, "expected a port from 1 to 65535" },
	[VALUE_SIZE] = { sizeof(uint32_t), read_size,
			 "expected a size such as 64KiB (B, KiB, MiB, GiB)" },
	[VALUE_DURATION] = { sizeof(uint64_t), read_duration,
			     "expected a duration such as 300s (ms, s, m, h, d)" },
	[VALUE_BOOL] = { sizeof(bool), read_bool, "expected true or false" },
	[VALUE_CHOICE] = { sizeof(int), read_choice, "" },
	[VALUE_ADDR_PORT] = { sizeof(struct addr), read_addr_port,
			      "expected an address with port such as 127.0.0.1:9901" },
	[VALUE_RESOLVER] = { sizeof(struct addr), read_resolver,
			     "expected `system` or an IP address, optionally with :port" },
	[VALUE_CIDR] = { sizeof(struct cidr), read_cidr,
			 "expected an address range such as 10.20.0.0/16" },
	[VALUE_PORTS] = { sizeof(struct config_ports), read_ports,
			  "expected a port or a range such as 8000-8010" },
	[VALUE_RATE] = { sizeof(uint32_t[2]), read_rate,
			 "expected a rate such as 50/s (/s, /m, /h)" },
};

size_t config_scalar_size(enum value_type type)
{
	return types[type].size;
}

bool config_scalar_read(struct reader *r, const struct schema_key *key, enum value_type type,
			struct where where, void *target)
{
	struct scalar s = { .r = r, .key = key, .node = where.node, .text = where.node->text };

	if (where.node->kind == NODE_SCALAR) {
		if (key->special && !where.node->quoted && strcmp(s.text, key->special) == 0) {
			memset(target, 0, types[type].size);
			return true;
		}
		if (!config_node_is_null(where.node) && types[type].read(&s, target))
			return true;
	}
	if (r->no_memory)
		return false;
	if (where.node->kind != NODE_SCALAR)
		config_fail(r, where, "%s, found a %s", type == VALUE_CHOICE ? "expected one word" :
			    types[type].expected, where.node->kind == NODE_LIST ? "list" : "map");
	else if (s.why && s.why != s.buf && types[type].expected[0])
		config_fail(r, where, "%s (%s)", types[type].expected, s.why);
	else
		config_fail(r, where, "%s", s.why ? s.why : types[type].expected);
	return false;
}
