/*
 * addr.c - IP addresses and prefixes
 *
 * Strict text only: inet_pton() takes no octal, hex or short spellings. IPv4-mapped IPv6 (RFC 4291
 * 2.5.5.2) is folded to IPv4 at the door, so that no rule can be passed by writing an address in
 * the other family.
 */
#include "base/base.h"

#include <arpa/inet.h>

#define MAPPED_BITS 96
static const uint8_t mapped_prefix[12] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff };

static void addr_fold_mapped(struct addr *a)
{
	if (a->family != AF_INET6 || memcmp(a->ip, mapped_prefix, 12) != 0)
		return;
	a->family = AF_INET;
	memmove(a->ip, a->ip + 12, 4);
	memset(a->ip + 4, 0, 12);
}

bool addr_from_sockaddr(struct addr *a, const struct sockaddr *sa)
{
	*a = (struct addr){ 0 };
	if (sa->sa_family == AF_INET) {
		const struct sockaddr_in *in = (const void *)sa;

		a->family = AF_INET;
		a->port = ntohs(in->sin_port);
		memcpy(a->ip, &in->sin_addr, 4);
		return true;
	}
	if (sa->sa_family == AF_INET6) {
		const struct sockaddr_in6 *in6 = (const void *)sa;

		a->family = AF_INET6;
		a->port = ntohs(in6->sin6_port);
		memcpy(a->ip, &in6->sin6_addr, 16);
		addr_fold_mapped(a);
		return true;
	}
	return false;
}

socklen_t addr_to_sockaddr(const struct addr *a, struct sockaddr_storage *ss)
{
	memset(ss, 0, sizeof(*ss));
	if (a->family == AF_INET) {
		struct sockaddr_in *in = (void *)ss;

		in->sin_family = AF_INET;
		in->sin_port = htons(a->port);
		memcpy(&in->sin_addr, a->ip, 4);
		return sizeof(*in);
	}
	struct sockaddr_in6 *in6 = (void *)ss;

	in6->sin6_family = AF_INET6;
	in6->sin6_port = htons(a->port);
	memcpy(&in6->sin6_addr, a->ip, 16);
	return sizeof(*in6);
}

bool addr_parse_ip(struct addr *a, struct bytes text)
{
	char s[INET6_ADDRSTRLEN + 1];

	*a = (struct addr){ 0 };
	if (text.n >= 2 && text.p[0] == '[' && text.p[text.n - 1] == ']') {
		text = bytes_of(text.p + 1, text.n - 2);
		if (bytes_index(text, ':') == text.n)
			return false;
	}
	if (!bytes_to_str(text, s, sizeof(s)))
		return false;
	if (inet_pton(AF_INET, s, a->ip) == 1) {
		a->family = AF_INET;
		return true;
	}
	if (inet_pton(AF_INET6, s, a->ip) == 1) {
		a->family = AF_INET6;
		addr_fold_mapped(a);
		return true;
	}
	return false;
}

const char *addr_ip_text(const struct addr *a, char dst[ADDR_TEXT_MAX])
{
	if (!a->family || !inet_ntop(a->family, a->ip, dst, ADDR_TEXT_MAX))
		snprintf(dst, ADDR_TEXT_MAX, "none");
	return dst;
}

const char *addr_text(const struct addr *a, char dst[ADDR_TEXT_MAX])
{
	char ip[ADDR_TEXT_MAX];

	addr_ip_text(a, ip);
	snprintf(dst, ADDR_TEXT_MAX, a->family == AF_INET6 ? "[%.46s]:%u" : "%.46s:%u", ip,
		 a->port);
	return dst;
}

bool addr_ip_eq(const struct addr *a, const struct addr *b)
{
	return a->family == b->family && memcmp(a->ip, b->ip, a->family == AF_INET ? 4 : 16) == 0;
}

static bool host_bits_zero(const struct cidr *c)
{
	unsigned total = c->family == AF_INET ? 32 : 128;

	for (unsigned i = c->bits; i < total; i++)
		if (c->ip[i / 8] & (0x80u >> (i % 8)))
			return false;
	return true;
}

bool cidr_parse(struct cidr *c, struct bytes text)
{
	size_t slash = bytes_index(text, '/');
	struct addr a;
	uint64_t bits;

	*c = (struct cidr){ 0 };
	if (!addr_parse_ip(&a, bytes_first(text, slash)))
		return false;
	c->family = a.family;
	memcpy(c->ip, a.ip, 16);
	c->bits = a.family == AF_INET ? 32 : 128;
	if (slash == text.n)
		return true;
	if (bytes_to_u64(bytes_from(text, slash + 1), &bits) != ERR_OK)
		return false;
	/*
	 * ::ffff:10.0.0.0/104 is 10.0.0.0/8; a shorter prefix is of another family than its text.
	 */
	if (a.family == AF_INET && bytes_index(text, ':') < text.n) {
		if (bits < MAPPED_BITS)
			return false;
		bits -= MAPPED_BITS;
	}
	if (bits > c->bits)
		return false;
	c->bits = (uint8_t)bits;
	return host_bits_zero(c);
}

bool cidr_contains(const struct cidr *c, const struct addr *a)
{
	unsigned whole = c->bits / 8, rest = c->bits % 8;

	if (c->family != a->family || memcmp(c->ip, a->ip, whole) != 0)
		return false;
	return rest == 0 || ((c->ip[whole] ^ a->ip[whole]) & (0xff00u >> rest) & 0xff) == 0;
}

const char *cidr_text(const struct cidr *c, char dst[ADDR_TEXT_MAX])
{
	struct addr a = { .family = c->family };
	char ip[ADDR_TEXT_MAX];

	memcpy(a.ip, c->ip, 16);
	snprintf(dst, ADDR_TEXT_MAX, "%.46s/%u", addr_ip_text(&a, ip), c->bits);
	return dst;
}
