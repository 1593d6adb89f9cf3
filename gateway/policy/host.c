/*
 * host.c - the one spelling of a host name
 *
 * A name that two parts of the system could read in two ways is no name: numbers in the last
 * label are left to addr_parse_ip(), which takes dotted quads and RFC 4291 text only, so "127.1"
 * and "0x7f.1" are refused.
 */
#include "gateway/policy/policy.h"

static bool is_label_byte(uint8_t c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

/* Some resolvers take such a last label, and with it the whole, for an address. */
static bool label_is_number(const char *label, size_t n)
{
	size_t i = 0;

	if (n >= 2 && label[0] == '0' && label[1] == 'x') {
		for (i = 2; i < n; i++)
			if (!((label[i] >= '0' && label[i] <= '9') ||
			      (label[i] >= 'a' && label[i] <= 'f')))
				return false;
		return true;
	}
	for (i = 0; i < n; i++)
		if (label[i] < '0' || label[i] > '9')
			return false;
	return true;
}

static bool label_is_valid(const char *label, size_t n)
{
	return n >= 1 && n <= 63 && label[0] != '-' && label[n - 1] != '-';
}

bool policy_host_normalise(struct bytes in, char out[POLICY_HOST_MAX])
{
	struct addr a;
	size_t start = 0;

	out[0] = '\0';
	if (in.n == 0)
		return false;
	if (addr_parse_ip(&a, in)) {
		char text[ADDR_TEXT_MAX];

		snprintf(out, POLICY_HOST_MAX, "%s", addr_ip_text(&a, text));
		return true;
	}
	if (in.p[in.n - 1] == '.')
		in.n--;
	if (in.n == 0 || in.n > 253)
		return false;
	for (size_t i = 0; i < in.n; i++) {
		out[i] = (char)ascii_lower(in.p[i]);
		if (out[i] == '.') {
			if (!label_is_valid(out + start, i - start))
				goto bad;
			start = i + 1;
		} else if (!is_label_byte((uint8_t)out[i])) {
			goto bad;
		}
	}
	if (!label_is_valid(out + start, in.n - start) ||
	    label_is_number(out + start, in.n - start))
		goto bad;
	out[in.n] = '\0';
	return true;
bad:
	out[0] = '\0';
	return false;
}

bool policy_host_is_address(const char *host, struct addr *a)
{
	struct addr unused;

	return addr_parse_ip(a ? a : &unused, bytes_str(host));
}
