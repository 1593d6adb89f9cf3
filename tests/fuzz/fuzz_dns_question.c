/*
 * fuzz_dns_question.c - any bytes as a question, by datagram and by stream
 *
 * What is read must be within bounds, a name policy sees must be one, and the answer to whatever
 * was read must be a well-formed message within its limit.
 */
#include "gateway/dns/dns.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds)
{
	if (!holds)
		abort();
}

static void check_name(const struct dns_query *q)
{
	size_t n = strlen(q->name);

	must(n > 0 && n < DNS_NAME_MAX);
	for (size_t i = 0; i < n; i++) {
		char c = q->name[i];

		must((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_' ||
		     c == '.' || (c == '?' && q->odd_name));
	}
}

static void check_answers(const struct dns_query *q)
{
	struct addr addrs[DNS_ADDRS_MAX + 1] = { { .family = AF_INET }, { .family = AF_INET6 } };
	struct dns_answer a = { .rcode = DNS_NOERROR, .addrs = addrs, .n = ARRAY_SIZE(addrs) };
	struct buf out;

	for (size_t i = 2; i < ARRAY_SIZE(addrs); i++)
		addrs[i].family = AF_INET6;
	buf_init(&out, UINT16_MAX);
	must(dns_build_answer(q, &a, q->udp_size, &out) == ERR_OK);
	must(buf_len(&out) >= 12 && buf_len(&out) <= q->udp_size);
	must(buf_bytes(&out).p[2] & 0x80);
	buf_release(&out);
}

static void check_stream(struct bytes in)
{
	struct dns_stream s;
	struct bytes msg;
	struct dns_query q;
	size_t eaten;

	dns_stream_init(&s);
	while (in.n > 0) {
		/* In pieces of odd lengths. */
		struct bytes piece = bytes_first(in, 1 + in.p[0] % 7);
		enum err e = dns_stream_feed(&s, piece, &eaten, &msg);

		must(eaten <= piece.n);
		if (e == ERR_OK && dns_parse_query(msg, &q) == ERR_OK)
			check_name(&q);
		else if (e != ERR_OK && e != ERR_AGAIN)
			return;
		in = bytes_from(in, eaten);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct dns_query q;
	enum err e = dns_parse_query(bytes_of(data, size), &q);

	if (e == ERR_OK)
		check_name(&q);
	if (e != ERR_CLOSED)
		check_answers(&q);
	check_stream(bytes_of(data, size));
	return 0;
}
