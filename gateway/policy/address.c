/*
 * address.c - which addresses may be dialled
 *
 * Special-purpose ranges (RFC 6890 registries of IANA, both families) are refused unless the
 * configuration names them; the gateway's own addresses always. An IPv6 address that carries an
 * IPv4 address to a translator is judged by the address it carries, so that no spelling reaches
 * what its plain form may not (decision 2).
 */
#include "gateway/policy/policy_internal.h"

struct range {
	uint8_t ip[16];
	uint8_t bits;
};

static const struct range special4[] = {
	{ { 0 }, 8 },				/* "this network", RFC 791 3.2 */
	{ { 10 }, 8 },				/* private, RFC 1918 */
	{ { 100, 64 }, 10 },			/* shared (CGN; some clouds' metadata), RFC 6598 */
	{ { 127 }, 8 },				/* loopback, RFC 1122 3.2.1.3 */
	/* Azure's platform endpoint: not registered, but metadata */
	{ { 168, 63, 129, 16 }, 32 },
	{ { 169, 254 }, 16 },			/* link-local and cloud metadata, RFC 3927 */
	{ { 172, 16 }, 12 },			/* private, RFC 1918 */
	{ { 192, 0, 0 }, 24 },			/* IETF protocol assignments, RFC 6890 2.1 */
	{ { 192, 0, 2 }, 24 },			/* TEST-NET-1, RFC 5737 */
	{ { 192, 31, 196 }, 24 },		/* AS112, RFC 7535 */
	{ { 192, 52, 193 }, 24 },		/* AMT, RFC 7450 */
	{ { 192, 88, 99 }, 24 },		/* 6to4 relays, RFC 7526 */
	{ { 192, 168 }, 16 },			/* private, RFC 1918 */
	{ { 192, 175, 48 }, 24 },		/* AS112 delegation, RFC 7534 */
	{ { 198, 18 }, 15 },			/* benchmarks, RFC 2544 */
	{ { 198, 51, 100 }, 24 },		/* TEST-NET-2, RFC 5737 */
	{ { 203, 0, 113 }, 24 },		/* TEST-NET-3, RFC 5737 */
	{ { 224 }, 4 },				/* multicast, RFC 5771 */
	{ { 240 }, 4 },				/* reserved and broadcast, RFC 1112 4, RFC 919 7 */
};

/*
 * Within 2000::/3; everything outside is not global unicast (RFC 4291 2.4) and refused as a
 * whole.
 */
static const struct range special6[] = {
	/* protocol assignments, RFC 2928: Teredo, ORCHID, benchmarks, ... */
	{ { 0x20, 0x01, 0x00 }, 23 },
	{ { 0x20, 0x01, 0x0d, 0xb8 }, 32 },	/* documentation, RFC 3849 */
	{ { 0x20, 0x02 }, 16 },			/* 6to4, RFC 3056 */
	{ { 0x26, 0x20, 0x00, 0x4f, 0x80 }, 48 },	/* AS112 delegation, RFC 7534 */
	{ { 0x3f, 0xff }, 20 },			/* documentation, RFC 9637 */
};

/* Never a destination of a TCP connection, whatever the configuration says. */
static const struct range never4[] = {
	{ { 0 }, 32 },				/* unspecified: the kernel takes it for loopback */
	{ { 224 }, 4 },				/* multicast */
	{ { 255, 255, 255, 255 }, 32 },		/* broadcast */
};

static const struct range never6[] = {
	{ { 0 }, 128 },				/* unspecified */
	{ { 0xff }, 8 },			/* multicast, RFC 4291 2.7 */
};

/* IPv6 prefixes that carry an IPv4 address, and where. */
static const struct {
	struct range range;
	uint8_t at;
	/* reaches that very address; else the range is refused by itself too */
	bool judged_by_it;
} carriers[] = {
	{ { { [10] = 0xff, [11] = 0xff }, 96 }, 12, true },	/* mapped, RFC 4291 2.5.5.2 */
	{ { { 0x00, 0x64, 0xff, 0x9b }, 96 }, 12, true },	/* NAT64, RFC 6052 */
	{ { { [8] = 0xff, [9] = 0xff }, 96 }, 12, false },	/* translated, RFC 2765 */
	{ { { 0 }, 96 }, 12, false },				/* compatible, RFC 4291 2.5.5.1 */
	{ { { 0x20, 0x02 }, 16 }, 2, false },			/* 6to4, RFC 3056 */
};

static bool range_contains(const struct range *r, const struct addr *a)
{
	struct cidr c = { .family = a->family, .bits = r->bits };

	memcpy(c.ip, r->ip, sizeof(c.ip));
	return cidr_contains(&c, a);
}

static bool in_ranges(const struct range *ranges, size_t n, const struct addr *a)
{
	for (size_t i = 0; i < n; i++)
		if (range_contains(&ranges[i], a))
			return true;
	return false;
}

static bool is_never(const struct addr *a)
{
	return a->family == AF_INET ? in_ranges(never4, ARRAY_SIZE(never4), a) :
				      in_ranges(never6, ARRAY_SIZE(never6), a);
}

static bool is_special(const struct addr *a)
{
	if (a->family == AF_INET)
		return in_ranges(special4, ARRAY_SIZE(special4), a);
	return (a->ip[0] & 0xe0) != 0x20 || in_ranges(special6, ARRAY_SIZE(special6), a);
}

static bool is_allowed_special(const struct policy *p, const struct addr *a)
{
	for (size_t i = 0; i < p->n_allow_special; i++)
		if (cidr_contains(&p->allow_special[i], a))
			return true;
	return false;
}

static bool is_own(const struct policy *p, const struct addr *a)
{
	for (size_t i = 0; i < p->n_own; i++)
		if (addr_ip_eq(&p->own[i], a))
			return true;
	return false;
}

static enum err judge_plain(const struct policy *p, const struct addr *a)
{
	if (is_own(p, a) || is_never(a))
		return ERR_DENY_ADDRESS;
	return is_special(a) && !is_allowed_special(p, a) ? ERR_DENY_ADDRESS : ERR_OK;
}

enum err policy_address(const struct policy *p, const struct addr *a)
{
	if (a->family == AF_INET)
		return judge_plain(p, a);
	if (a->family != AF_INET6)
		return ERR_DENY_ADDRESS;
	for (size_t i = 0; i < ARRAY_SIZE(carriers); i++) {
		struct addr carried = { .family = AF_INET };

		if (!range_contains(&carriers[i].range, a))
			continue;
		memcpy(carried.ip, a->ip + carriers[i].at, 4);
		if (is_own(p, a) || is_own(p, &carried))
			return ERR_DENY_ADDRESS;
		return carriers[i].judged_by_it ? judge_plain(p, &carried) : judge_plain(p, a);
	}
	return judge_plain(p, a);
}
