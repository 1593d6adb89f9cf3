/*
 * base64 (RFC 4648), JSON strings (RFC 8259), time stamps.
 * links: PkgConfig::JANSSON
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/base.h"
#include "tests/lib/guard.h"

static struct bytes guarded(const char *s, size_t n)
{
	return bytes_of(guard_copy(s, n), n);
}

/* RFC 4648 10, and one byte of each kind at the alphabet's ends. */
static void test_base64(void **state)
{
	static const struct {
		const char *plain, *coded;
	} rows[] = {
		{ "", "" },
		{ "f", "Zg==" },
		{ "fo", "Zm8=" },
		{ "foo", "Zm9v" },
		{ "foob", "Zm9vYg==" },
		{ "fooba", "Zm9vYmE=" },
		{ "foobar", "Zm9vYmFy" },
		{ "\xfb\xff\xfe", "+//+" },
		{ "\xff", "/w==" },
	};
	struct buf b;

	(void)state;
	buf_init(&b, 64);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct bytes plain = guarded(rows[i].plain, strlen(rows[i].plain));
		struct bytes coded = guarded(rows[i].coded, strlen(rows[i].coded));

		assert_int_equal(base64_encode(plain, &b), ERR_OK);
		assert_true(bytes_eq(buf_bytes(&b), coded));
		buf_clear(&b);
		assert_int_equal(base64_decode(coded, &b), ERR_OK);
		assert_true(bytes_eq(buf_bytes(&b), plain));
		buf_clear(&b);
	}
	guard_free_all();
	buf_release(&b);
}

static void test_base64_all(void **state)
{
	uint8_t all[256];
	struct buf coded, plain;

	(void)state;
	for (size_t i = 0; i < sizeof(all); i++)
		all[i] = (uint8_t)(i * 7);
	buf_init(&coded, 1024);
	buf_init(&plain, 1024);
	for (size_t n = 0; n <= sizeof(all); n++) {
		assert_int_equal(base64_encode(bytes_of(all, n), &coded), ERR_OK);
		assert_int_equal(base64_decode(buf_bytes(&coded), &plain), ERR_OK);
		assert_true(bytes_eq(buf_bytes(&plain), bytes_of(all, n)));
		buf_clear(&coded);
		buf_clear(&plain);
	}
	buf_release(&coded);
	buf_release(&plain);
}

/* One spelling for each value: everything else would be a way round a comparison. */
static void test_base64_strict(void **state)
{
	static const char *const bad[] = {
		"Zg",	"Zg=",	   "Zg===",    "Z",	   "=",	   "==",   "===",	"====",
		"Z===", "Zm9vYg=", "Zg==Zg==", "Zm8=Zm9v", "Zh==", "Zm9=", "Zm9v\n",	"Zm 9v",
		" Zm9", "Zm9-",	   "Zm9_",     "Zm9\x80",  "Z=9v", "Zm=v", "Zm9vYg=\n",
	};
	struct buf b;

	(void)state;
	buf_init(&b, 64);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		if (base64_decode(guarded(bad[i], strlen(bad[i])), &b) != ERR_BAD_VALUE) {
			print_error("accepted: %s\n", bad[i]);
			fail();
		}
		/* And nothing of it is left behind. */
		assert_int_equal(buf_len(&b), 0);
	}
	assert_int_equal(base64_decode(guarded("Zm\0v", 4), &b), ERR_BAD_VALUE);
	guard_free_all();
	buf_release(&b);
	buf_init(&b, 5);
	assert_int_equal(base64_encode(BYTES_LIT("foob"), &b), ERR_AGAIN);
	assert_int_equal(buf_len(&b), 0);
	buf_release(&b);
}

#define BAD "\xef\xbf\xbd"	/* U+FFFD */

static void test_json(void **state)
{
	static const struct {
		const char *in, *out;
	} rows[] = {
		{ "", "" },
		{ "plain /~", "plain /~" },
		{ "\"\\", "\\\"\\\\" },
		{ "\n\r\t", "\\n\\r\\t" },
		{ "\x01\x1f\x7f\b", "\\u0001\\u001f\\u007f\\u0008" },
		{ "\xc3\xa4\xe2\x82\xac\xf0\x9f\x94\x91", "\xc3\xa4\xe2\x82\xac\xf0\x9f\x94\x91" },
		{ "\xf4\x8f\xbf\xbf", "\xf4\x8f\xbf\xbf" },
		/* continuation without a start; starts without continuation */
		{ "\x80", BAD },
		{ "a\xc3", "a" BAD },
		{ "\xc3(", BAD "(" },
		{ "\xe2\x82", BAD BAD },
		{ "\xe2\x82\"", BAD BAD "\\\"" },
		{ "\xf0\x9f\x94", BAD BAD BAD },
		/* RFC 3629: overlong, surrogates, beyond U+10FFFF, no such byte */
		{ "\xc0\xa2", BAD BAD },
		{ "\xc1\xbf", BAD BAD },
		{ "\xe0\x80\xa2", BAD BAD BAD },
		{ "\xf0\x80\x80\xa2", BAD BAD BAD BAD },
		{ "\xed\xa0\x80", BAD BAD BAD },
		{ "\xf4\x90\x80\x80", BAD BAD BAD BAD },
		{ "\xf8\x88\x80\x80\x80", BAD BAD BAD BAD BAD },
		{ "\xfe\xff", BAD BAD },
	};
	struct buf b;

	(void)state;
	buf_init(&b, 256);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct bytes out;

		assert_int_equal(json_append_string(&b, guarded(rows[i].in, strlen(rows[i].in))),
				 ERR_OK);
		out = buf_bytes(&b);
		assert_true(out.n >= 2 && out.p[0] == '"' && out.p[out.n - 1] == '"');
		if (!bytes_eq(bytes_of(out.p + 1, out.n - 2), bytes_str(rows[i].out))) {
			print_error("row %zu: %.*s\n", i, (int)out.n, (const char *)out.p);
			fail();
		}
		buf_clear(&b);
	}
	assert_int_equal(json_append_string(&b, guarded("a\0b", 3)), ERR_OK);
	assert_true(bytes_eq(buf_bytes(&b), BYTES_LIT("\"a\\u0000b\"")));
	guard_free_all();
	buf_release(&b);
}

/* Whatever goes in, what comes out is JSON, for a parser that is not ours. */
static void test_json_any(void **state)
{
	unsigned seed = 1;
	struct buf b;

	(void)state;
	buf_init(&b, 4096);
	for (int i = 0; i < 20000; i++) {
		static const uint8_t kinds[] = { 'a',  '"',  '\\', 0x00, 0x1f, 0x7f, 0x80,
						 0xbf, 0xc2, 0xe2, 0xed, 0xf0, 0xf4, 0xff };
		uint8_t in[8];
		json_error_t why;
		json_t *v;

		for (size_t k = 0; k < sizeof(in); k++) {
			seed = seed * 1103515245u + 12345u;
			in[k] = seed & 1u << 20 ? kinds[(seed >> 21) % sizeof(kinds)]
						: (uint8_t)(seed >> 22);
		}
		assert_int_equal(json_append_string(&b, bytes_of(in, seed >> 16 & 7)), ERR_OK);
		v = json_loadb((const char *)buf_bytes(&b).p, buf_len(&b),
			       JSON_DECODE_ANY | JSON_ALLOW_NUL, &why);
		assert_non_null(v);
		json_decref(v);
		buf_clear(&b);
	}
	buf_release(&b);
}

static void test_json_full(void **state)
{
	struct buf b;

	(void)state;
	for (size_t max = 0; max < 9; max++) {
		buf_init(&b, max);
		assert_int_equal(json_append_string(&b, BYTES_LIT("a\nb\x01")), ERR_AGAIN);
		assert_true(buf_len(&b) <= max);
		buf_release(&b);
	}
}

static void test_time(void **state)
{
	char text[TIME_TEXT_MAX];
	uint64_t before = time_mono_us();
	struct tm tm = { 0 };
	time_t now = time(NULL), said;

	(void)state;
	assert_ptr_equal(time_rfc3339(text), text);
	assert_int_equal(strlen(text), 24);
	assert_true(text[19] == '.' && text[23] == 'Z');
	assert_non_null(strptime(text, "%Y-%m-%dT%H:%M:%S", &tm));
	said = timegm(&tm);
	assert_true(said >= now && said <= time(NULL));
	assert_true(time_mono_us() >= before);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_base64),	 cmocka_unit_test(test_base64_all),
		cmocka_unit_test(test_base64_strict), cmocka_unit_test(test_json),
		cmocka_unit_test(test_json_any), cmocka_unit_test(test_json_full),
		cmocka_unit_test(test_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
