/*
 * ranges.c - sets of addresses as sorted, disjoint, inclusive ranges
 *
 * Sources of agents may overlap; the kernel's interval sets may not. Here they are sorted and
 * merged once, so that render, apply and check all speak of the same ranges. Interface names are
 * ranges of one key and never merged.
 */
#include <arpa/inet.h>
#include <stdlib.h>

#include "netpolicy/plan_internal.h"

size_t np_set_key_len(enum np_set_type type)
{
	return type == NP_SET_IPV4 ? 4 : 16;
}

bool np_key_next(uint8_t *key, size_t len)
{
	while (len-- > 0)
		if (++key[len] != 0)
			return true;
	return false;
}

void np_key_prev(uint8_t *key, size_t len)
{
	while (len-- > 0)
		if (key[len]-- != 0)
			return;
}

static int range_compare(const void *a, const void *b)
{
	const struct np_range *x = a, *y = b;
	int order = memcmp(x->from, y->from, NP_DATA_MAX);

	return order ? order : memcmp(x->to, y->to, NP_DATA_MAX);
}

void np_ranges_normalize(struct np_set *set)
{
	size_t len = np_set_key_len(set->type);
	size_t kept = 0;

	if (set->n == 0)
		return;
	qsort(set->ranges, set->n, sizeof(*set->ranges), range_compare);
	for (size_t i = 1; i < set->n; i++) {
		struct np_range *last = &set->ranges[kept];
		const struct np_range *next = &set->ranges[i];
		uint8_t after[NP_DATA_MAX];
		bool open_end;

		memcpy(after, last->to, sizeof(after));
		open_end = !np_key_next(after, len);
		if (set->type == NP_SET_IFNAME) {
			if (memcmp(last->from, next->from, len) == 0)
				continue;
		} else if (open_end || memcmp(next->from, after, len) <= 0) {
			if (memcmp(next->to, last->to, len) > 0)
				memcpy(last->to, next->to, sizeof(last->to));
			continue;
		}
		set->ranges[++kept] = *next;
	}
	set->n = kept + 1;
}

static void range_from_cidr(const struct cidr *cidr, struct np_range *range)
{
	size_t len = cidr->family == AF_INET ? 4 : 16;

	memset(range, 0, sizeof(*range));
	memcpy(range->from, cidr->ip, len);
	memcpy(range->to, cidr->ip, len);
	for (size_t bit = cidr->bits; bit < len * 8; bit++) {
		range->from[bit / 8] &= (uint8_t)~(0x80u >> (bit % 8));
		range->to[bit / 8] |= (uint8_t)(0x80u >> (bit % 8));
	}
}

enum err np_ranges_from_cidrs(const struct cidr *cidrs, size_t n, uint8_t family,
			      struct np_set *set)
{
	size_t count = 0;

	for (size_t i = 0; i < n; i++)
		count += cidrs[i].family == family;
	set->n = 0;
	set->ranges = NULL;
	if (count == 0)
		return ERR_OK;
	set->ranges = calloc(count, sizeof(*set->ranges));
	if (!set->ranges)
		return ERR_NOMEM;
	for (size_t i = 0; i < n; i++)
		if (cidrs[i].family == family)
			range_from_cidr(&cidrs[i], &set->ranges[set->n++]);
	np_ranges_normalize(set);
	return ERR_OK;
}

/* Prefix length if the range is exactly one prefix, else -1. */
static int range_prefix(const struct np_range *range, size_t len)
{
	size_t bits = 0;

	while (bits < len * 8) {
		uint8_t bit = (uint8_t)(0x80u >> (bits % 8));

		if ((range->from[bits / 8] ^ range->to[bits / 8]) & bit)
			break;
		bits++;
	}
	for (size_t i = bits; i < len * 8; i++) {
		uint8_t bit = (uint8_t)(0x80u >> (i % 8));

		if ((range->from[i / 8] & bit) || !(range->to[i / 8] & bit))
			return -1;
	}
	return (int)bits;
}

const char *np_range_text(enum np_set_type type, const struct np_range *range,
			  char dst[NP_RANGE_TEXT_MAX])
{
	int family = type == NP_SET_IPV4 ? AF_INET : AF_INET6;
	size_t len = np_set_key_len(type);
	char from[INET6_ADDRSTRLEN], to[INET6_ADDRSTRLEN];
	int prefix;

	if (type == NP_SET_IFNAME) {
		snprintf(dst, NP_RANGE_TEXT_MAX, "\"%.15s\"", (const char *)range->from);
		return dst;
	}
	inet_ntop(family, range->from, from, sizeof(from));
	inet_ntop(family, range->to, to, sizeof(to));
	prefix = range_prefix(range, len);
	if (prefix == (int)len * 8)
		snprintf(dst, NP_RANGE_TEXT_MAX, "%s", from);
	else if (prefix >= 0)
		snprintf(dst, NP_RANGE_TEXT_MAX, "%s/%d", from, prefix);
	else
		snprintf(dst, NP_RANGE_TEXT_MAX, "%s-%s", from, to);
	return dst;
}
