/*
 * fuzz_base_text.c - any bytes as base64, JSON text, address, prefix and number
 *
 * What is accepted must be written again as it was meant: one spelling for each value of base64,
 * an address that its own text gives again, a prefix that contains its own address.
 */
#include <stdlib.h>

#include "base/base.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds)
{
	if (!holds)
		abort();
}

static void check_base64(struct bytes in)
{
	struct buf plain, coded;

	buf_init(&plain, 1 << 16);
	buf_init(&coded, 1 << 17);
	if (base64_decode(in, &plain) == ERR_OK) {
		must(base64_encode(buf_bytes(&plain), &coded) == ERR_OK);
		must(bytes_eq(buf_bytes(&coded), in));
	} else {
		must(buf_len(&plain) == 0);
	}
	buf_clear(&plain);
	buf_clear(&coded);
	must(base64_encode(in, &coded) == ERR_OK);
	must(base64_decode(buf_bytes(&coded), &plain) == ERR_OK);
	must(bytes_eq(buf_bytes(&plain), in));
	buf_release(&plain);
	buf_release(&coded);
}

/* Quoted, no bare quote or control byte within, no escape left open. */
static void check_json(struct bytes in)
{
	struct buf out;
	struct bytes s;

	buf_init(&out, 1 << 18);
	must(json_append_string(&out, in) == ERR_OK);
	s = buf_bytes(&out);
	must(s.n >= 2 && s.p[0] == '"' && s.p[s.n - 1] == '"');
	for (size_t i = 1; i < s.n - 1; i++) {
		must(s.p[i] >= 0x20 && s.p[i] != 0x7f && s.p[i] != '"');
		if (s.p[i] == '\\')
			must(++i < s.n - 1);
	}
	buf_release(&out);
}

static void check_addr(struct bytes in)
{
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };
	char text[ADDR_TEXT_MAX];
	struct addr a, b;
	struct cidr c;

	if (addr_parse_ip(&a, in)) {
		must(a.family == AF_INET || a.family == AF_INET6);
		must(a.family == AF_INET || memcmp(a.ip, mapped, 12) != 0);
		must(addr_parse_ip(&b, bytes_str(addr_ip_text(&a, text))));
		must(addr_ip_eq(&a, &b));
		must(cidr_parse(&c, in) && cidr_contains(&c, &a));
	}
	if (cidr_parse(&c, in)) {
		struct cidr again;

		must(c.bits <= (c.family == AF_INET ? 32 : 128));
		must(cidr_parse(&again, bytes_str(cidr_text(&c, text))));
		must(again.bits == c.bits && again.family == c.family);
		a = (struct addr){ .family = c.family };
		memcpy(a.ip, c.ip, sizeof(a.ip));
		must(cidr_contains(&c, &a) && cidr_contains(&again, &a));
	}
}

static void check_number(struct bytes in)
{
	char text[32];
	uint64_t v;

	if (bytes_to_u64(in, &v) != ERR_OK)
		return;
	(void)snprintf(text, sizeof(text), "%llu", (unsigned long long)v);
	while (in.n > 1 && in.p[0] == '0')
		in = bytes_from(in, 1);
	must(bytes_eq(in, bytes_str(text)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct bytes in = bytes_first(bytes_of(data, size), 4096);

	check_base64(in);
	check_json(in);
	check_addr(in);
	check_number(in);
	return 0;
}
