/*
 * test_rewrite_spell.c - spellings of a token, contexts, and Basic credentials
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "gateway/rewrite/rewrite.h"

#define assert_bytes(b, s)                                                                         \
	do {                                                                                       \
		struct bytes got_ = (b), want_ = bytes_str(s);                                     \
		assert_int_equal(got_.n, want_.n);                                                 \
		assert_memory_equal(got_.p, want_.p, want_.n);                                     \
	} while (0)

static void test_encode(void **state)
{
	static const struct {
		enum rewrite_form form;
		const char *in, *want;
	} rows[] = {
		{ REWRITE_RAW, "a b/c\"\\%\n", "a b/c\"\\%\n" },
		{ REWRITE_PERCENT, "", "" },
		{ REWRITE_PERCENT, "AZaz09-._~", "AZaz09-._~" },
		{ REWRITE_PERCENT, "a b+c/d=e&f%*", "a%20b%2Bc%2Fd%3De%26f%25%2A" },
		{ REWRITE_PERCENT, "\xc3\xa9\r\n", "%C3%A9%0D%0A" },
		{ REWRITE_PERCENT_LOWER, "a b+c/d=e", "a%20b%2bc%2fd%3de" },
		{ REWRITE_FORM, "a b+c*~/", "a+b%2Bc*%7E%2F" },
		{ REWRITE_FORM_LOWER, "a b+c*~/", "a+b%2bc*%7e%2f" },
		{ REWRITE_JSON, "a\"b\\c/d", "a\\\"b\\\\c/d" },
		{ REWRITE_JSON, "\b\f\n\r\t\x01\x1f\x7f\xc3\xa9",
		  "\\b\\f\\n\\r\\t\\u0001\\u001f\x7f\xc3\xa9" },
		{ REWRITE_JSON_SLASH, "a/b\"", "a\\/b\\\"" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct buf out, back;

		buf_init(&out, 1000);
		buf_init(&back, 1000);
		assert_int_equal(rewrite_encode(rows[i].form, bytes_str(rows[i].in), &out), ERR_OK);
		assert_bytes(buf_bytes(&out), rows[i].want);
		assert_int_equal(rewrite_decode(rows[i].form, buf_bytes(&out), &back), ERR_OK);
		assert_bytes(buf_bytes(&back), rows[i].in);
		buf_release(&out);
		buf_release(&back);
	}
}

/* Each byte, NUL too, in each form: comes back, and holds nothing the form must not hold. */
static void test_every_byte_comes_back(void **state)
{
	(void)state;
	for (int form = 0; form < REWRITE_FORM_COUNT; form++) {
		for (int c = 0; c < 256; c++) {
			uint8_t in[3] = { 'x', (uint8_t)c, 'y' };
			struct buf out, back;

			buf_init(&out, 100);
			buf_init(&back, 100);
			assert_int_equal(
				rewrite_encode((enum rewrite_form)form, bytes_of(in, 3), &out),
				ERR_OK);
			if (form != REWRITE_RAW)
				assert_true(bytes_index(buf_bytes(&out), '\n') == buf_len(&out) &&
					    bytes_index(buf_bytes(&out), 0) == buf_len(&out) &&
					    bytes_index(buf_bytes(&out), '\r') == buf_len(&out));
			assert_int_equal(
				rewrite_decode((enum rewrite_form)form, buf_bytes(&out), &back),
				ERR_OK);
			assert_int_equal(buf_len(&back), 3);
			assert_memory_equal(back.data + back.start, in, 3);
			buf_release(&out);
			buf_release(&back);
		}
	}
}

static void test_decode(void **state)
{
	static const struct {
		enum rewrite_form form;
		const char *in, *want; /* NULL: refused */
	} rows[] = {
		{ REWRITE_PERCENT, "a%2fB%2Fc+d", "a/B/c+d" },
		{ REWRITE_FORM, "a%2fB%2Fc+d", "a/B/c d" },
		{ REWRITE_PERCENT, "%", NULL },
		{ REWRITE_PERCENT, "%4", NULL },
		{ REWRITE_PERCENT, "a%g0", NULL },
		{ REWRITE_FORM_LOWER, "%0g", NULL },
		{ REWRITE_JSON, "\\u0041\\u00e9\\u20ac", "A\xc3\xa9\xe2\x82\xac" },
		{ REWRITE_JSON, "\\ud83d\\ude00", "\xf0\x9f\x98\x80" },
		{ REWRITE_JSON, "\\/\\\"\\\\\\b\\f\\n\\r\\t", "/\"\\\b\f\n\r\t" },
		{ REWRITE_JSON, "\\ud83d", NULL },
		{ REWRITE_JSON, "\\ud83d\\u0041", NULL },
		{ REWRITE_JSON, "\\ude00", NULL },
		{ REWRITE_JSON, "\\", NULL },
		{ REWRITE_JSON, "\\u", NULL },
		{ REWRITE_JSON, "\\u123", NULL },
		{ REWRITE_JSON, "\\x41", NULL },
		{ REWRITE_JSON, "a\"b", NULL },
		{ REWRITE_JSON, "a\nb", NULL },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct buf out;

		buf_init(&out, 100);
		assert_int_equal(rewrite_decode(rows[i].form, bytes_str(rows[i].in), &out),
				 rows[i].want ? ERR_OK : ERR_BAD_VALUE);
		if (rows[i].want)
			assert_bytes(buf_bytes(&out), rows[i].want);
		buf_release(&out);
	}
}

static void test_full_buffer_is_back_pressure(void **state)
{
	struct buf out;

	(void)state;
	buf_init(&out, 5);
	assert_int_equal(rewrite_encode(REWRITE_PERCENT, BYTES_LIT("a/b/c"), &out), ERR_AGAIN);
	assert_true(buf_len(&out) <= 5);
	buf_release(&out);
}

struct forms {
	char text[512];
	size_t visits, fail_at;
};

static enum err note_form(void *owner, enum rewrite_form form, struct bytes text)
{
	struct forms *f = owner;
	size_t at = strlen(f->text);

	snprintf(f->text + at, sizeof(f->text) - at, "%d:%.*s ", (int)form, (int)text.n,
		 (const char *)text.p);
	return ++f->visits == f->fail_at ? ERR_INTERNAL : ERR_OK;
}

static void test_forms_are_distinct(void **state)
{
	static const struct {
		const char *token, *want;
	} rows[] = {
		{ "sk-dummy-openai", "0:sk-dummy-openai " },
		{ "a/b", "0:a/b 1:a%2Fb 2:a%2fb 6:a\\/b " },
		{ "a b", "0:a b 1:a%20b 3:a+b " },
		{ "a~", "0:a~ 3:a%7E 4:a%7e " },
		{ "q\"", "0:q\" 1:q%22 5:q\\\" " },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct forms f = { .visits = 0 };

		assert_int_equal(rewrite_forms(bytes_str(rows[i].token), note_form, &f), ERR_OK);
		assert_string_equal(f.text, rows[i].want);
		f = (struct forms){ .fail_at = f.visits };
		assert_int_equal(rewrite_forms(bytes_str(rows[i].token), note_form, &f),
				 ERR_INTERNAL);
	}
}

static void test_form_fits_the_context(void **state)
{
	static const enum rewrite_form raw_in[] = {
		[REWRITE_CONTEXT_RAW] = REWRITE_RAW,	  [REWRITE_CONTEXT_QUERY] = REWRITE_PERCENT,
		[REWRITE_CONTEXT_PATH] = REWRITE_PERCENT, [REWRITE_CONTEXT_FORM] = REWRITE_FORM,
		[REWRITE_CONTEXT_JSON] = REWRITE_JSON,	  [REWRITE_CONTEXT_BASIC] = REWRITE_RAW,
	};

	(void)state;
	for (size_t c = 0; c < ARRAY_SIZE(raw_in); c++) {
		assert_int_equal(rewrite_form_in(REWRITE_RAW, (enum rewrite_context)c), raw_in[c]);
		assert_int_equal(rewrite_form_in(REWRITE_PERCENT_LOWER, (enum rewrite_context)c),
				 REWRITE_PERCENT_LOWER);
		assert_int_equal(rewrite_form_in(REWRITE_JSON_SLASH, (enum rewrite_context)c),
				 REWRITE_JSON_SLASH);
	}
}

static void test_context_of_media_type(void **state)
{
	static const struct {
		const char *type;
		enum rewrite_context want;
	} rows[] = {
		{ "application/json", REWRITE_CONTEXT_JSON },
		{ "Application/JSON ; charset=utf-8", REWRITE_CONTEXT_JSON },
		{ "application/vnd.api+json", REWRITE_CONTEXT_JSON },
		{ "application/problem+JSON;x=y", REWRITE_CONTEXT_JSON },
		{ "application/x-ndjson", REWRITE_CONTEXT_JSON },
		{ "application/x-www-form-urlencoded", REWRITE_CONTEXT_FORM },
		{ "application/x-www-form-urlencoded;charset=UTF-8", REWRITE_CONTEXT_FORM },
		{ "text/plain", REWRITE_CONTEXT_RAW },
		{ "text/plain; x=application/json", REWRITE_CONTEXT_RAW },
		{ "application/jsonx", REWRITE_CONTEXT_RAW },
		{ "multipart/form-data; boundary=x", REWRITE_CONTEXT_RAW },
		{ "", REWRITE_CONTEXT_RAW },
		{ ";", REWRITE_CONTEXT_RAW },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		assert_int_equal(rewrite_context_of_media(bytes_str(rows[i].type)), rows[i].want);
}

static void test_header_safe(void **state)
{
	(void)state;
	assert_true(rewrite_header_safe(BYTES_NONE));
	for (int c = 0; c < 256; c++) {
		uint8_t value[3] = { 'a', (uint8_t)c, 'b' };

		assert_int_equal(rewrite_header_safe(bytes_of(value, 3)), c >= 0x20 && c != 0x7f);
	}
}

/* ---- Basic --------------------------------------------------------------------------- */

struct basic_owner {
	unsigned matches;
	uint64_t last_offset;
};

static enum rewrite_verdict on_match(void *owner, uint32_t id, uint64_t offset,
				     struct bytes *replacement)
{
	struct basic_owner *o = owner;

	o->matches++;
	o->last_offset = offset;
	*replacement = BYTES_LIT("real-value");
	return (enum rewrite_verdict)id;
}

static void test_basic(void **state)
{
	static const struct {
		const char *value;
		const char *want; /* NULL: unchanged */
		unsigned matches;
	} rows[] = {
		/* user:dummy-token -> user:real-value */
		{ "Basic dXNlcjpkdW1teS10b2tlbg==", "Basic dXNlcjpyZWFsLXZhbHVl", 1 },
		/* dummy-token:x, dummy-token: and dummy-token alone */
		{ "basic ZHVtbXktdG9rZW46eA==", "basic cmVhbC12YWx1ZTp4", 1 },
		{ "BASIC   ZHVtbXktdG9rZW46", "BASIC   cmVhbC12YWx1ZTo=", 1 },
		{ "Basic ZHVtbXktdG9rZW4=", "Basic cmVhbC12YWx1ZQ==", 1 },
		{ " Basic ZHVtbXktdG9rZW4= ", " Basic cmVhbC12YWx1ZQ==", 1 },
		/* dummy-token:dummy-token */
		{ "Basic ZHVtbXktdG9rZW46ZHVtbXktdG9rZW4=", "Basic cmVhbC12YWx1ZTpyZWFsLXZhbHVl",
		  2 },
		/* user:kept-token: seen, not changed */
		{ "Basic dXNlcjprZXB0LXRva2Vu", NULL, 1 },
		/* user:pass */
		{ "Basic dXNlcjpwYXNz", NULL, 0 },
		/* not base64, no padding, nothing, other schemes */
		{ "Basic dXNlcjpkdW1teS10b2tlbg", NULL, 0 },
		{ "Basic ****", NULL, 0 },
		{ "Basic", NULL, 0 },
		{ "Basic ", NULL, 0 },
		{ "", NULL, 0 },
		{ "Bearer ZHVtbXktdG9rZW4=", NULL, 0 },
		{ "BasicZHVtbXktdG9rZW4=", NULL, 0 },
	};
	static const struct rewrite_ops ops = { .match = on_match };
	struct rewrite_pattern pats[] = { { BYTES_LIT("dummy-token"), REWRITE_REPLACE },
					  { BYTES_LIT("kept-token"), REWRITE_KEEP },
					  { BYTES_LIT("leaked"), REWRITE_STOP } };
	struct basic_owner owner;
	struct buf out;
	size_t size;
	void *blob;
	bool changed;
	const struct rewrite_set *set;

	(void)state;
	assert_int_equal(rewrite_set_build(pats, 3, &blob, &size), ERR_OK);
	set = rewrite_set_open(blob, size);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		owner = (struct basic_owner){ 0 };
		buf_init(&out, 1000);
		assert_int_equal(
			rewrite_basic(bytes_str(rows[i].value), set, &ops, &owner, &out, &changed),
			ERR_OK);
		assert_int_equal(changed, rows[i].want != NULL);
		assert_bytes(buf_bytes(&out), rows[i].want ? rows[i].want : "");
		assert_int_equal(owner.matches, rows[i].matches);
		buf_release(&out);
	}
	/* dummy-token:leaked stops; a full buffer takes nothing */
	buf_init(&out, 1000);
	assert_int_equal(rewrite_basic(BYTES_LIT("Basic ZHVtbXktdG9rZW46bGVha2Vk"), set, &ops,
				       &owner, &out, &changed),
			 ERR_SECRET_LEAK);
	assert_false(changed);
	assert_int_equal(owner.last_offset, 12);
	assert_int_equal(buf_len(&out), 0);
	buf_release(&out);
	for (size_t max = 0; max < 24; max++) {
		buf_init(&out, max);
		assert_int_equal(
			rewrite_basic(bytes_str(rows[0].value), set, &ops, &owner, &out, &changed),
			ERR_AGAIN);
		assert_false(changed);
		assert_int_equal(buf_len(&out), 0);
		buf_release(&out);
	}
	rewrite_blob_free(blob, size);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_encode),
		cmocka_unit_test(test_every_byte_comes_back),
		cmocka_unit_test(test_decode),
		cmocka_unit_test(test_full_buffer_is_back_pressure),
		cmocka_unit_test(test_forms_are_distinct),
		cmocka_unit_test(test_form_fits_the_context),
		cmocka_unit_test(test_context_of_media_type),
		cmocka_unit_test(test_header_safe),
		cmocka_unit_test(test_basic),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
