/*
 * Log lines: one JSON object each, typed fields, cut at a field when too long.
 * links: PkgConfig::JANSSON
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>
#include <fcntl.h>
#include <jansson.h>
#include <unistd.h>

#include "base/base.h"

static int pipe_fds[2], saved_stderr;
static char line[16384];

static int begin(void **state)
{
	(void)state;
	if (pipe2(pipe_fds, O_NONBLOCK) != 0)
		return -1;
	saved_stderr = dup(STDERR_FILENO);
	return saved_stderr < 0 || dup2(pipe_fds[1], STDERR_FILENO) < 0 ? -1 : 0;
}

static int end(void **state)
{
	(void)state;
	(void)dup2(saved_stderr, STDERR_FILENO);
	close(saved_stderr);
	close(pipe_fds[0]);
	close(pipe_fds[1]);
	log_init("test", LOG_LEVEL_INFO);
	return 0;
}

/* What was written, as one line; NULL: nothing. */
static json_t *read_line(void)
{
	ssize_t n = read(pipe_fds[0], line, sizeof(line) - 1);
	json_error_t why;
	json_t *v;

	if (n <= 0)
		return NULL;
	line[n] = '\0';
	assert_int_equal(line[n - 1], '\n');
	assert_ptr_equal(strchr(line, '\n'), line + n - 1);
	v = json_loads(line, JSON_REJECT_DUPLICATES, &why);
	assert_non_null(v);
	return v;
}

static const char *text_of(json_t *v, const char *key)
{
	return json_string_value(json_object_get(v, key));
}

static void test_types(void **state)
{
	struct addr a = { .family = AF_INET, .port = 80, .ip = { 10, 1, 2, 3 } };
	const char *none = NULL;
	char buffer[] = "array";
	json_t *v;

	(void)state;
	log_init("worker", LOG_LEVEL_INFO);
	LOG_EVENT(LOG_LEVEL_WARN, "some.event", KV("s", "a\"b\n"), KV("none", none),
		  KV("array", buffer + 1), KV("i", -5), KV("long", INT64_MIN), KV("u", 7u),
		  KV("big", (uint64_t)INT64_MAX), KV("yes", (bool)true), KV("no", (bool)false),
		  KV("bytes", BYTES_LIT("\xff\x01z")), KV("addr", &a));
	v = read_line();
	assert_non_null(v);
	assert_string_equal(text_of(v, "level"), "warn");
	assert_string_equal(text_of(v, "role"), "worker");
	assert_string_equal(text_of(v, "event"), "some.event");
	assert_int_equal(json_integer_value(json_object_get(v, "pid")), getpid());
	assert_int_equal(strlen(text_of(v, "time")), 24);
	assert_string_equal(text_of(v, "s"), "a\"b\n");
	assert_true(json_is_null(json_object_get(v, "none")));
	assert_string_equal(text_of(v, "array"), "rray");
	assert_int_equal(json_integer_value(json_object_get(v, "i")), -5);
	assert_int_equal(json_integer_value(json_object_get(v, "long")), INT64_MIN);
	assert_int_equal(json_integer_value(json_object_get(v, "u")), 7);
	assert_true(json_is_true(json_object_get(v, "yes")) &&
		    json_is_false(json_object_get(v, "no")));
	assert_int_equal(json_integer_value(json_object_get(v, "big")), INT64_MAX);
	assert_string_equal(text_of(v, "bytes"), "\xef\xbf\xbd\x01z");
	assert_string_equal(text_of(v, "addr"), "10.1.2.3:80");
	json_decref(v);
}

static void test_levels(void **state)
{
	static const struct {
		const char *text;
		bool ok;
		int lines;	/* of error, warn, info, debug */
	} rows[] = {
		{ "error", true, 1 }, { "warn", true, 2 },   { "info", true, 3 },
		{ "debug", true, 4 }, { "off", true, 0 },    { "", false, 0 },
		{ "INFO", false, 0 }, { "trace", false, 0 }, { "info ", false, 0 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		enum log_level level;

		assert_int_equal(log_level_parse(rows[i].text, &level), rows[i].ok);
		if (!rows[i].ok)
			continue;
		log_init("test", level);
		for (int l = LOG_LEVEL_ERROR; l <= LOG_LEVEL_DEBUG; l++) {
			json_t *v;

			LOG_EVENT((enum log_level)l, "e", KV("k", l));
			v = read_line();
			assert_int_equal(v != NULL, l < rows[i].lines);
			json_decref(v);
		}
	}
}

/* What does not fit goes as whole fields, from the first that does not. */
static void test_long(void **state)
{
	static char text[6000];
	struct bytes many = bytes_of(text, 600);
	json_t *v;

	(void)state;
	log_init("test", LOG_LEVEL_INFO);
	for (size_t n = 3000; n < sizeof(text) - 1; n += 1) {
		memset(text, 'x', sizeof(text));
		text[n] = '\0';
		LOG_EVENT(LOG_LEVEL_INFO, "long", KV("before", 1), KV("text", text),
			  KV("after", 2));
		v = read_line();
		assert_non_null(v);
		assert_true(strlen(line) <= 4096);
		assert_int_equal(json_integer_value(json_object_get(v, "before")), 1);
		assert_true(!json_object_get(v, "text") || strlen(text_of(v, "text")) == n);
		/* What comes after what was left out is left out too: a line never has a hole. */
		assert_true(json_object_get(v, "text") || !json_object_get(v, "after"));
		json_decref(v);
	}
	/* Bytes of a peer are bounded by themselves. */
	LOG_EVENT(LOG_LEVEL_INFO, "long", KV("bytes", many));
	v = read_line();
	assert_int_equal(strlen(text_of(v, "bytes")), 512);
	json_decref(v);
}

/* Control bytes six times as long as they were: still one line that parses. */
static void test_escaped(void **state)
{
	static uint8_t bytes[512];
	json_t *v;

	(void)state;
	log_init("test", LOG_LEVEL_INFO);
	memset(bytes, 1, sizeof(bytes));
	LOG_EVENT(LOG_LEVEL_INFO, "escaped", KV("a", bytes_of(bytes, 512)),
		  KV("b", bytes_of(bytes, 512)));
	v = read_line();
	assert_non_null(v);
	assert_int_equal(strlen(text_of(v, "a")), 512);
	assert_null(json_object_get(v, "b"));
	json_decref(v);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_types, begin, end),
		cmocka_unit_test_setup_teardown(test_levels, begin, end),
		cmocka_unit_test_setup_teardown(test_long, begin, end),
		cmocka_unit_test_setup_teardown(test_escaped, begin, end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
