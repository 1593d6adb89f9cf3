/*
 * message.c - DNS questions read, answers built (RFC 1035, RFC 6891)
 *
 * Only what a stub resolver sends is understood: one question, no records but an OPT. Everything
 * else is an error, not a guess. The question is kept as it came, since clients compare its letters
 * (mixed case); the name handed to policy is lower case and holds only what a host name may.
 *
 * An answer is header, the question, address records that point back at its name (0xC00C), and an
 * OPT when the question had one. Nothing of the question but id, RD, CD and the question itself
 * is echoed.
 */
#include "gateway/dns/dns_internal.h"

#define HEADER 12
#define OPT_RECORD 11
#define NAME_POINTER 0xC00C

#define FLAG_QR 0x8000
#define FLAG_TC 0x0200
#define FLAG_RD 0x0100
#define FLAG_RA 0x0080
#define FLAG_CD 0x0010

/* What is left to read. */
struct reader {
	const uint8_t *p;
	size_t n;
};

static bool read_u8(struct reader *r, uint8_t *v)
{
	if (r->n < 1)
		return false;
	*v = r->p[0];
	r->p++;
	r->n--;
	return true;
}

static bool read_u16(struct reader *r, uint16_t *v)
{
	uint8_t hi, lo;

	if (!read_u8(r, &hi) || !read_u8(r, &lo))
		return false;
	*v = (uint16_t)(hi << 8 | lo);
	return true;
}

static bool read_skip(struct reader *r, size_t n)
{
	if (r->n < n)
		return false;
	r->p += n;
	r->n -= n;
	return true;
}

/* RFC 952, RFC 1123, and the underscore of service names. */
static bool host_byte(uint8_t c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

/* The wire name as text. RFC 1035 2.3.4: labels of 63, 255 in all, so 253 characters of text. */
static bool read_name(struct reader *r, struct dns_query *q)
{
	size_t at = 0;
	uint8_t label;

	for (;;) {
		/* A pointer (0xC0) has nothing to point at in a question. */
		if (!read_u8(r, &label) || label > 63 || label > r->n)
			return false;
		if (label == 0)
			break;
		if (at + (at > 0) + label > DNS_NAME_MAX - 1)
			return false;
		if (at > 0)
			q->name[at++] = '.';
		for (uint8_t i = 0; i < label; i++) {
			uint8_t c = ascii_lower(r->p[i]);

			q->odd_name |= !host_byte(c);
			q->name[at++] = (char)(host_byte(c) ? c : '?');
		}
		read_skip(r, label);
	}
	if (at == 0)
		q->name[at++] = '.';
	q->name[at] = '\0';
	return true;
}

static bool read_question(struct reader *r, struct dns_query *q)
{
	const uint8_t *start = r->p;

	if (!read_name(r, q) || !read_u16(r, &q->type) || !read_u16(r, &q->class))
		return false;
	q->question_len = (uint16_t)(r->p - start);
	memcpy(q->question, start, q->question_len);
	return true;
}

/* RFC 6891 6.1.2: root name, type, payload size as class, extended rcode and flags as TTL. */
static bool read_opt(struct reader *r, struct dns_query *q)
{
	uint8_t root, extended_rcode, version;
	uint16_t type, size, flags, length;

	if (!read_u8(r, &root) || root != 0 || !read_u16(r, &type) || type != DNS_TYPE_OPT ||
	    !read_u16(r, &size) || !read_u8(r, &extended_rcode) || !read_u8(r, &version) ||
	    !read_u16(r, &flags) || !read_u16(r, &length) || !read_skip(r, length))
		return false;
	q->has_edns = true;
	q->edns_version = version;
	q->udp_size = size < DNS_UDP_MIN ? DNS_UDP_MIN : size > DNS_UDP_MAX ? DNS_UDP_MAX : size;
	return true;
}

enum err dns_parse_query(struct bytes msg, struct dns_query *q)
{
	struct reader r = { .p = msg.p, .n = msg.n };
	uint16_t flags, questions, answers, authorities, additionals;

	memset(q, 0, sizeof(*q));
	q->udp_size = DNS_UDP_MIN;
	if (!read_u16(&r, &q->id) || !read_u16(&r, &flags) || !read_u16(&r, &questions) ||
	    !read_u16(&r, &answers) || !read_u16(&r, &authorities) || !read_u16(&r, &additionals))
		return ERR_CLOSED;
	/* Answering an answer would let two servers talk to each other for ever. */
	if (flags & FLAG_QR)
		return ERR_CLOSED;
	q->opcode = (flags >> 11) & 15;
	q->rd = flags & FLAG_RD;
	q->cd = flags & FLAG_CD;
	if (q->opcode != 0 || questions != 1 || answers != 0 || authorities != 0 || additionals > 1)
		return ERR_BAD_VALUE;
	if (!read_question(&r, q)) {
		q->question_len = 0;
		q->name[0] = '\0';
		return ERR_BAD_VALUE;
	}
	if ((additionals == 1 && !read_opt(&r, q)) || r.n != 0)
		return ERR_BAD_VALUE;
	return ERR_OK;
}

static void put_u16(uint8_t **p, unsigned v)
{
	*(*p)++ = (uint8_t)(v >> 8);
	*(*p)++ = (uint8_t)v;
}

static void put_address(uint8_t **p, const struct addr *a, uint32_t ttl)
{
	unsigned length = a->family == AF_INET ? 4 : 16;

	put_u16(p, NAME_POINTER);
	put_u16(p, a->family == AF_INET ? DNS_TYPE_A : DNS_TYPE_AAAA);
	put_u16(p, DNS_CLASS_IN);
	put_u16(p, ttl >> 16);
	put_u16(p, ttl & 0xFFFF);
	put_u16(p, length);
	memcpy(*p, a->ip, length);
	*p += length;
}

static void put_opt(uint8_t **p, enum dns_rcode rcode)
{
	*(*p)++ = 0;
	put_u16(p, DNS_TYPE_OPT);
	put_u16(p, DNS_UDP_MAX);
	put_u16(p, (unsigned)rcode >> 4 << 8);
	put_u16(p, 0);
	put_u16(p, 0);
}

/* The family that the question asks for; 0: neither. */
int dns_family_of(uint16_t type)
{
	return type == DNS_TYPE_A ? AF_INET : type == DNS_TYPE_AAAA ? AF_INET6 : 0;
}

enum err dns_build_answer(const struct dns_query *q, const struct dns_answer *a, size_t max_size,
			  struct buf *out)
{
	int family = dns_family_of(q->type);
	size_t record = family == AF_INET ? 12 + 4 : 12 + 16;
	size_t fixed = HEADER + q->question_len + (q->has_edns ? OPT_RECORD : 0);
	size_t n = 0;
	bool truncated;
	uint8_t *start, *p;

	for (size_t i = 0; i < a->n; i++)
		n += family != 0 && a->addrs[i].family == family;
	if (n > DNS_ADDRS_MAX)
		n = DNS_ADDRS_MAX;
	truncated = fixed + n * record > max_size;
	if (truncated)
		n = 0;
	TRY(buf_reserve(out, fixed + n * record, &start));
	p = start;
	put_u16(&p, q->id);
	put_u16(&p, FLAG_QR | (unsigned)q->opcode << 11 | (truncated ? FLAG_TC : 0) |
			    (q->rd ? FLAG_RD : 0) | FLAG_RA | (q->cd ? FLAG_CD : 0) |
			    ((unsigned)a->rcode & 15));
	put_u16(&p, q->question_len ? 1 : 0);
	put_u16(&p, (unsigned)n);
	put_u16(&p, 0);
	put_u16(&p, q->has_edns ? 1 : 0);
	memcpy(p, q->question, q->question_len);
	p += q->question_len;
	for (size_t i = 0; n > 0; i++) {
		if (a->addrs[i].family != family)
			continue;
		put_address(&p, &a->addrs[i], a->ttl);
		n--;
	}
	if (q->has_edns)
		put_opt(&p, a->rcode);
	buf_commit(out, (size_t)(p - start));
	return ERR_OK;
}
