/*
 * host.c - which texts are host names, and which names a certificate's names stand for
 *
 * One definition for all of the room: what peek accepts from an agent, what the minter signs, and
 * what an upstream's certificate is compared with. Nothing outside ASCII: IDNs travel as A-labels.
 */
#include "gateway/tls/tls_internal.h"

#define HOST_TEXT_MAX 253	/* RFC 1035 2.3.4, as text without the final dot */
#define HOST_LABEL_MAX 63

static bool is_host_char(uint8_t c)
{
	c = ascii_lower(c);
	/* '_' is no LDH, yet names with it are in use */
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

static bool is_all_digits(struct bytes b)
{
	for (size_t i = 0; i < b.n; i++)
		if (b.p[i] < '0' || b.p[i] > '9')
			return false;
	return b.n > 0;
}

bool tls_host_valid(struct bytes host)
{
	struct bytes rest = host, label;

	if (host.n == 0 || host.n > HOST_TEXT_MAX)
		return false;
	for (;;) {
		size_t dot = bytes_index(rest, '.');

		label = bytes_first(rest, dot);
		if (label.n == 0 || label.n > HOST_LABEL_MAX)
			return false;
		for (size_t i = 0; i < label.n; i++)
			if (!is_host_char(label.p[i]))
				return false;
		if (dot == rest.n)
			break;
		rest = bytes_of(rest.p + dot + 1, rest.n - dot - 1);
	}
	/* No TLD is a number: "1.2.3.4", "127.1" and the like are addresses to some resolvers. */
	return !is_all_digits(label);
}

enum host_kind host_kind_of(struct bytes host, struct addr *ip)
{
	struct addr a;

	if (host.n > 0 && host.n < ADDR_TEXT_MAX && host.p[0] != '[' && addr_parse_ip(&a, host)) {
		if (ip)
			*ip = a;
		return HOST_IP;
	}
	return tls_host_valid(host) ? HOST_NAME : HOST_INVALID;
}

/*
 * RFC 9525 6.3: a wildcard is the whole left-most label, stands for exactly one label, and (as
 * browsers and the CA rules have it) not directly above a top-level domain.
 */
bool host_matches(struct bytes pattern, struct bytes host)
{
	struct bytes tail;
	size_t dot;

	if (!tls_host_valid(host))
		return false;
	if (tls_host_valid(pattern))
		return bytes_ieq(pattern, host);
	if (!bytes_starts(pattern, BYTES_LIT("*.")))
		return false;
	tail = bytes_from(pattern, 2);
	if (!tls_host_valid(tail) || bytes_index(tail, '.') == tail.n)
		return false;
	dot = bytes_index(host, '.');
	return dot < host.n && bytes_ieq(tail, bytes_from(host, dot + 1));
}
