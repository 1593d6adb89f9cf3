/*
 * test_dns_message.c - questions read and answers built, octet by octet
 *
 * Every vector is also read when cut at every length, behind a guard page: a cut question is never
 * taken for a whole one.
 */
#include "gateway/dns/dns.h"
#include "tests/lib/guard.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

/* id 0x1234, RD; counts follow */
#define HEAD(qd, an, ns, ar) "\x12\x34\x01\x00\0" qd "\0" an "\0" ns "\0" ar
#define Q1 HEAD("\1", "\0", "\0", "\0")
#define Q1_OPT HEAD("\1", "\0", "\0", "\1")
#define EXAMPLE "\7example\3com\0"
#define IN_A "\0\1\0\1"
#define OPT(size, version) "\0\0\x29" size "\0" version "\x80\0"
#define L63 \
	"\x3f" \
	"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define L61 \
	"\x3d" \
	"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define L62 \
	"\x3e" \
	"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

struct vector {
	const char *what;
	struct bytes msg;
	enum err err;
	const char *name; /* NULL: not looked at */
	uint16_t type, class;
	bool odd;
	uint16_t udp_size;
};

static const struct vector vectors[] = {
	{ "plain A", BYTES_LIT(Q1 EXAMPLE IN_A), ERR_OK, "example.com", 1, 1, false, 512 },
	{ "mixed case",
	  BYTES_LIT(Q1 "\7ExAmPlE\3cOm\0"
		       "\0\x1c\0\1"),
	  ERR_OK, "example.com", 28, 1, false, 512 },
	{ "class CH", BYTES_LIT(Q1 EXAMPLE "\0\x10\0\3"), ERR_OK, "example.com", 16, 3, false,
	  512 },
	{ "root",
	  BYTES_LIT(Q1 "\0"
		       "\0\2\0\1"),
	  ERR_OK, ".", 2, 1, false, 512 },
	{ "underscore", BYTES_LIT(Q1 "\4_443\4_tcp\0" IN_A), ERR_OK, "_443._tcp", 1, 1, false,
	  512 },
	{ "dot in a label", BYTES_LIT(Q1 "\3a.b\0" IN_A), ERR_OK, "a?b", 1, 1, true, 512 },
	{ "NUL in a label", BYTES_LIT(Q1 "\3a\0b\0" IN_A), ERR_OK, "a?b", 1, 1, true, 512 },
	{ "8-bit label", BYTES_LIT(Q1 "\2\xc3\xa4\0" IN_A), ERR_OK, "??", 1, 1, true, 512 },
	{ "star", BYTES_LIT(Q1 "\1*\0" IN_A), ERR_OK, "?", 1, 1, true, 512 },
	{ "EDNS 4096 is clamped", BYTES_LIT(Q1_OPT EXAMPLE IN_A OPT("\x10\0", "\0") "\0\0"), ERR_OK,
	  "example.com", 1, 1, false, 1232 },
	{ "EDNS 0 is raised", BYTES_LIT(Q1_OPT EXAMPLE IN_A OPT("\0\0", "\0") "\0\0"), ERR_OK,
	  "example.com", 1, 1, false, 512 },
	{ "EDNS 1000, a cookie",
	  BYTES_LIT(Q1_OPT EXAMPLE IN_A "\0\0\x29\x03\xe8\0\0\0\0\0\x0c"
					"\0\x0a\0\x08"
					"12345678"),
	  ERR_OK, "example.com", 1, 1, false, 1000 },
	{ "253 characters", BYTES_LIT(Q1 L63 L63 L63 L61 "\0" IN_A), ERR_OK, NULL, 1, 1, false,
	  512 },
	{ "254 characters", BYTES_LIT(Q1 L63 L63 L63 L62 "\0" IN_A), ERR_BAD_VALUE, "", 0, 0, false,
	  512 },
	{ "compression pointer", BYTES_LIT(Q1 "\xc0\x0c" IN_A), ERR_BAD_VALUE, "", 0, 0, false,
	  512 },
	{ "label of 64",
	  BYTES_LIT(Q1 "\x40"
		       "aaaa" IN_A),
	  ERR_BAD_VALUE, "", 0, 0, false, 512 },
	{ "label past the end",
	  BYTES_LIT(Q1 "\x3f"
		       "abc"),
	  ERR_BAD_VALUE, "", 0, 0, false, 512 },
	{ "bytes after", BYTES_LIT(Q1 EXAMPLE IN_A "x"), ERR_BAD_VALUE, NULL, 1, 1, false, 512 },
	{ "no question", BYTES_LIT(HEAD("\0", "\0", "\0", "\0")), ERR_BAD_VALUE, "", 0, 0, false,
	  512 },
	{ "two questions", BYTES_LIT(HEAD("\2", "\0", "\0", "\0") EXAMPLE IN_A EXAMPLE IN_A),
	  ERR_BAD_VALUE, "", 0, 0, false, 512 },
	{ "an answer record counted", BYTES_LIT(HEAD("\1", "\1", "\0", "\0") EXAMPLE IN_A),
	  ERR_BAD_VALUE, "", 0, 0, false, 512 },
	{ "an authority counted", BYTES_LIT(HEAD("\1", "\0", "\1", "\0") EXAMPLE IN_A),
	  ERR_BAD_VALUE, "", 0, 0, false, 512 },
	{ "two OPTs",
	  BYTES_LIT(HEAD("\1", "\0", "\0", "\2")
			    EXAMPLE IN_A OPT("\2\0", "\0") "\0\0" OPT("\2\0", "\0") "\0\0"),
	  ERR_BAD_VALUE, "", 0, 0, false, 512 },
	{ "additional that is no OPT",
	  BYTES_LIT(Q1_OPT EXAMPLE IN_A "\0\0\1\0\1\0\0\0\0\0\4"
					"abcd"),
	  ERR_BAD_VALUE, NULL, 1, 1, false, 512 },
	{ "OPT with a name", BYTES_LIT(Q1_OPT EXAMPLE IN_A "\1a" OPT("\2\0", "\0") "\0\0"),
	  ERR_BAD_VALUE, NULL, 1, 1, false, 512 },
	{ "OPT data past the end", BYTES_LIT(Q1_OPT EXAMPLE IN_A OPT("\2\0", "\0") "\0\1"),
	  ERR_BAD_VALUE, NULL, 1, 1, false, 512 },
	{ "an answer", BYTES_LIT("\x12\x34\x81\x80\0\1\0\0\0\0\0\0" EXAMPLE IN_A), ERR_CLOSED, NULL,
	  0, 0, false, 512 },
	{ "opcode 4", BYTES_LIT("\x12\x34\x20\0\0\1\0\0\0\0\0\0" EXAMPLE IN_A), ERR_BAD_VALUE, "",
	  0, 0, false, 512 },
	{ "empty", BYTES_LIT(""), ERR_CLOSED, NULL, 0, 0, false, 512 },
};

static void test_parse(void **state)
{
	struct dns_query q;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(vectors); i++) {
		const struct vector *v = &vectors[i];
		uint8_t *copy = guard_copy(v->msg.p, v->msg.n);
		enum err e = dns_parse_query(bytes_of(copy, v->msg.n), &q);

		if (e != v->err)
			fail_msg("%s: %s", v->what, err_name(e));
		guard_free(copy);
		if (e == ERR_CLOSED)
			continue;
		assert_int_equal(q.id, 0x1234);
		if (v->name)
			assert_string_equal(q.name, v->name);
		assert_true(q.type == v->type && q.class == v->class);
		if (e != ERR_OK)
			continue;
		assert_int_equal(q.odd_name, v->odd);
		assert_int_equal(q.udp_size, v->udp_size);
		assert_true(q.rd);
	}
}

/* Cut anywhere: never ERR_OK, never a byte past the end; without a header nobody to answer. */
static void test_parse_cut(void **state)
{
	struct dns_query q;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(vectors); i++) {
		const struct vector *v = &vectors[i];

		for (size_t n = 0; n < v->msg.n; n++) {
			uint8_t *copy = guard_copy(v->msg.p, n);
			enum err e = dns_parse_query(bytes_of(copy, n), &q);

			if (n < 12)
				assert_int_equal(e, ERR_CLOSED);
			else if (v->err == ERR_OK)
				assert_int_equal(e, ERR_BAD_VALUE);
			guard_free(copy);
		}
	}
}

static void test_longest_name(void **state)
{
	struct dns_query q;

	(void)state;
	assert_int_equal(dns_parse_query(BYTES_LIT(Q1 L63 L63 L63 L61 "\0" IN_A), &q), ERR_OK);
	assert_int_equal(strlen(q.name), 253);
	assert_int_equal(q.question_len, DNS_QUESTION_MAX);
}

static struct addr ip(const char *text)
{
	struct addr a;

	assert_true(addr_parse_ip(&a, bytes_str(text)));
	return a;
}

static void expect_answer(struct bytes question, const struct dns_answer *a, size_t max,
			  struct bytes want)
{
	struct dns_query q;
	struct buf out;

	buf_init(&out, 65535);
	/* What is read of a malformed question is enough to say so. */
	(void)!dns_parse_query(question, &q);
	assert_int_equal(dns_build_answer(&q, a, max, &out), ERR_OK);
	assert_int_equal(buf_len(&out), want.n);
	assert_memory_equal(buf_bytes(&out).p, want.p, want.n);
	buf_release(&out);
}

static void test_answers(void **state)
{
	struct addr addrs[3];
	struct dns_answer two = { .rcode = DNS_NOERROR, .addrs = addrs, .n = 3, .ttl = 60 };
	struct dns_answer none = { .rcode = DNS_NXDOMAIN };
	struct dns_answer badvers = { .rcode = DNS_BADVERS };
	struct dns_answer formerr = { .rcode = DNS_FORMERR };

	(void)state;
	addrs[0] = ip("192.0.2.1");
	addrs[1] = ip("2001:db8::1");
	addrs[2] = ip("192.0.2.2");
	/* Letters as asked; the other family's address is left out. */
	expect_answer(BYTES_LIT(Q1 "\7ExAmPlE\3cOm\0" IN_A), &two, 512,
		      BYTES_LIT("\x12\x34\x81\x80\0\1\0\2\0\0\0\0"
				"\7ExAmPlE\3cOm\0" IN_A "\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4\xc0\0\2\1"
				"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4\xc0\0\2\2"));
	expect_answer(BYTES_LIT(Q1 EXAMPLE "\0\x1c\0\1"), &two, 512,
		      BYTES_LIT("\x12\x34\x81\x80\0\1\0\1\0\0\0\0" EXAMPLE "\0\x1c\0\1"
				"\xc0\x0c\0\x1c\0\1\0\0\0\x3c\0\x10"
				"\x20\1\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\1"));
	/* Too small for the records: none, and TC. 29 is header and question. */
	expect_answer(BYTES_LIT(Q1 EXAMPLE IN_A), &two, 29 + 31,
		      BYTES_LIT("\x12\x34\x83\x80\0\1\0\0\0\0\0\0" EXAMPLE IN_A));
	expect_answer(BYTES_LIT(Q1 EXAMPLE IN_A), &none, 512,
		      BYTES_LIT("\x12\x34\x81\x83\0\1\0\0\0\0\0\0" EXAMPLE IN_A));
	/* No type but A and AAAA has records. */
	expect_answer(BYTES_LIT(Q1 EXAMPLE "\0\x41\0\1"), &two, 512,
		      BYTES_LIT("\x12\x34\x81\x80\0\1\0\0\0\0\0\0" EXAMPLE "\0\x41\0\1"));
	/* RFC 6891 6.1.3: 16 is split between header and OPT. */
	expect_answer(BYTES_LIT(Q1_OPT EXAMPLE IN_A OPT("\2\0", "\1") "\0\0"), &badvers, 512,
		      BYTES_LIT("\x12\x34\x81\x80\0\1\0\0\0\0\0\1" EXAMPLE IN_A
				"\0\0\x29\x04\xd0\1\0\0\0\0\0"));
	/* A question that could not be read is not echoed; CD is. */
	expect_answer(BYTES_LIT("\x12\x34\x01\x10\0\1\0\0\0\0\0\0\xc0\x0c" IN_A), &formerr, 512,
		      BYTES_LIT("\x12\x34\x81\x91\0\0\0\0\0\0\0\0"));
}

static void test_answer_is_bounded(void **state)
{
	struct addr addrs[DNS_ADDRS_MAX + 4];
	struct dns_answer a = { .addrs = addrs, .n = ARRAY_SIZE(addrs), .ttl = 1 };
	struct dns_query q;
	struct buf out;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(addrs); i++)
		addrs[i] = ip("192.0.2.1");
	assert_int_equal(dns_parse_query(BYTES_LIT(Q1 EXAMPLE IN_A), &q), ERR_OK);
	buf_init(&out, 40);
	assert_int_equal(dns_build_answer(&q, &a, 512, &out), ERR_AGAIN);
	assert_int_equal(buf_len(&out), 0);
	buf_release(&out);
	buf_init(&out, 65535);
	assert_int_equal(dns_build_answer(&q, &a, 65535, &out), ERR_OK);
	assert_int_equal(buf_len(&out), 29 + DNS_ADDRS_MAX * 16);
	buf_release(&out);
}

#define T(f) cmocka_unit_test(f)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_parse),	 T(test_parse_cut),	    T(test_longest_name),
		T(test_answers), T(test_answer_is_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
