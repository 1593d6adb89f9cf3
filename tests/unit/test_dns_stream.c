/*
 * test_dns_stream.c - messages over a stream, cut at every byte
 */
#include "gateway/dns/dns.h"
#include "tests/lib/guard.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

/* Feeds one piece; appends each message and a bar to `seen`. */
static enum err feed(struct dns_stream *s, struct bytes piece, struct buf *seen)
{
	uint8_t *copy = guard_copy(piece.p, piece.n);
	struct bytes in = bytes_of(copy, piece.n);
	enum err e = ERR_OK;

	while (in.n > 0 && e == ERR_OK) {
		struct bytes msg;
		size_t eaten;

		e = dns_stream_feed(s, in, &eaten, &msg);
		assert_true(eaten <= in.n);
		if (e == ERR_AGAIN)
			assert_int_equal(eaten, in.n);
		in = bytes_from(in, eaten);
		if (e == ERR_OK) {
			assert_int_equal(buf_append(seen, msg), ERR_OK);
			assert_int_equal(buf_append_str(seen, "|"), ERR_OK);
		}
	}
	guard_free(copy);
	return e == ERR_AGAIN ? ERR_OK : e;
}

static const struct {
	struct bytes in;
	const char *seen;
	enum err err;
} vectors[] = {
	{ BYTES_LIT("\0\3abc"), "abc|", ERR_OK },
	{ BYTES_LIT("\0\1a\0\2bc\0\3def"), "a|bc|def|", ERR_OK },
	{ BYTES_LIT("\0\3ab"), "", ERR_OK },
	{ BYTES_LIT("\0"), "", ERR_OK },
	{ BYTES_LIT("\0\1a\0\0"), "a|", ERR_BAD_VALUE },
	{ BYTES_LIT("\0\1a\4\1"), "a|", ERR_TOO_LONG },
	{ BYTES_LIT("\xff\xff"), "", ERR_TOO_LONG },
};

/* Each vector in two pieces, cut at every byte. */
static void test_every_split(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(vectors); i++) {
		for (size_t cut = 0; cut <= vectors[i].in.n; cut++) {
			struct dns_stream s;
			struct buf seen;
			enum err e;

			dns_stream_init(&s);
			buf_init(&seen, 1000);
			e = feed(&s, bytes_first(vectors[i].in, cut), &seen);
			if (e == ERR_OK)
				e = feed(&s, bytes_from(vectors[i].in, cut), &seen);
			assert_int_equal(e, vectors[i].err);
			assert_true(bytes_eq(buf_bytes(&seen), bytes_str(vectors[i].seen)));
			buf_release(&seen);
		}
	}
}

static void test_longest(void **state)
{
	uint8_t in[2 + DNS_STREAM_QUERY_MAX] = { DNS_STREAM_QUERY_MAX >> 8,
						 DNS_STREAM_QUERY_MAX & 255 };
	struct dns_stream *s = guard_alloc(sizeof(*s));
	struct bytes msg;
	size_t eaten;

	(void)state;
	dns_stream_init(s);
	assert_int_equal(dns_stream_feed(s, bytes_of(in, sizeof(in)), &eaten, &msg), ERR_OK);
	assert_int_equal(eaten, sizeof(in));
	assert_int_equal(msg.n, DNS_STREAM_QUERY_MAX);
	guard_free(s);
}

static void test_frame(void **state)
{
	static const uint8_t big[65536];
	struct buf out;

	(void)state;
	buf_init(&out, 1 << 20);
	assert_int_equal(dns_stream_frame(BYTES_LIT("abc"), &out), ERR_OK);
	assert_int_equal(dns_stream_frame(BYTES_LIT(""), &out), ERR_OK);
	assert_true(bytes_eq(buf_bytes(&out), BYTES_LIT("\0\3abc\0\0")));
	assert_int_equal(dns_stream_frame(bytes_of(big, 65536), &out), ERR_TOO_LONG);
	assert_int_equal(dns_stream_frame(bytes_of(big, 65535), &out), ERR_OK);
	assert_int_equal(buf_len(&out), 7 + 2 + 65535);
	buf_release(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_split),
		cmocka_unit_test(test_longest),
		cmocka_unit_test(test_frame),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
