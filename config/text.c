/*
 * text.c - small grammars of values: numbers, names, hosts, addresses
 *
 * Hosts come out in the one spelling that the policy compares: lower case, no trailing dot,
 * canonical addresses. What a resolver could take for an address in another notation is no host
 * name.
 */
#include "config/config_internal.h"

bool config_parse_number(struct bytes text, uint64_t *out)
{
	if (text.n > 2 && text.n <= 18 && text.p[0] == '0' && text.p[1] == 'x') {
		*out = 0;
		for (size_t i = 2; i < text.n; i++) {
			uint8_t c = ascii_lower(text.p[i]);

			if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f')))
				return false;
			*out = *out << 4 | (uint64_t)(c <= '9' ? c - '0' : c - 'a' + 10);
		}
		return true;
	}
	if (text.n > 1 && text.p[0] == '0')
		return false;
	return bytes_to_u64(text, out) == ERR_OK;
}

bool config_is_name(const char *text, const char *extra)
{
	for (const char *c = text; *c; c++) {
		uint8_t lower = ascii_lower((uint8_t)*c);

		if (!(lower >= 'a' && lower <= 'z') && !(*c >= '0' && *c <= '9') &&
		    !strchr(extra, *c))
			return false;
	}
	return *text != '\0';
}

/* Cuts ":port" off the end. */
static bool split_port(struct bytes *text, uint16_t *port)
{
	size_t colon = text->n;
	uint64_t value;

	while (colon && text->p[colon - 1] != ':')
		colon--;
	if (colon == 0 || !config_parse_number(bytes_from(*text, colon), &value) || value < 1 ||
	    value > 65535)
		return false;
	*text = bytes_first(*text, colon - 1);
	*port = (uint16_t)value;
	return true;
}

static bool is_bare_ip6(struct bytes text)
{
	return bytes_index(text, ':') < text.n && text.p[0] != '[';
}

bool config_parse_addr_port(struct bytes text, uint16_t port, struct addr *a)
{
	if (!port || !addr_parse_ip(a, text)) {
		if (!split_port(&text, &port) || is_bare_ip6(text) || !addr_parse_ip(a, text))
			return false;
	}
	a->port = port;
	return true;
}

static bool is_label(const char *label, size_t n)
{
	return n >= 1 && n <= 63 && label[0] != '-' && label[n - 1] != '-';
}

static bool is_number(const char *label)
{
	if (strncmp(label, "0x", 2) == 0)
		return label[2 + strspn(label + 2, "0123456789abcdef")] == '\0';
	return label[strspn(label, "0123456789")] == '\0';
}

/* In place, to lower case without trailing dot. */
static bool normalise_name(char *name)
{
	size_t n = strlen(name), start = 0;

	if (n && name[n - 1] == '.')
		name[--n] = '\0';
	if (n == 0 || n > 253 || !config_is_name(name, "-_."))
		return false;
	for (size_t i = 0; i < n; i++) {
		name[i] = (char)ascii_lower((uint8_t)name[i]);
		if (name[i] != '.')
			continue;
		if (!is_label(name + start, i - start))
			return false;
		start = i + 1;
	}
	return is_label(name + start, n - start) && !is_number(name + start);
}

bool config_parse_host(struct bytes text, char dst[CONFIG_HOST_MAX])
{
	char ip[ADDR_TEXT_MAX];
	struct addr a;

	if (addr_parse_ip(&a, text)) {
		snprintf(dst, CONFIG_HOST_MAX, "%s", addr_ip_text(&a, ip));
		return true;
	}
	if (!bytes_to_str(text, dst, CONFIG_HOST_MAX))
		return false;
	return normalise_name(strncmp(dst, "*.", 2) == 0 ? dst + 2 : dst);
}

bool config_parse_host_port(struct bytes text, char dst[CONFIG_HOST_MAX])
{
	char host[CONFIG_HOST_MAX];
	uint16_t port;

	if (!split_port(&text, &port) || is_bare_ip6(text) || !config_parse_host(text, host))
		return false;
	snprintf(dst, CONFIG_HOST_MAX, strchr(host, ':') ? "[%.262s]:%u" : "%.262s:%u", host, port);
	return true;
}
