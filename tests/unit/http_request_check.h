/*
 * http_request_check.h - one request head, parsed in every way it can arrive
 *
 * Each vector is parsed whole, cut in two at every byte, and byte by byte, each time in a copy that
 * ends at an unmapped page and moves between calls. All ways must agree on error and result.
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>

#include "gateway/http/http.h"
#include "tests/lib/guard.h"

#define DUMP_MAX 4096

struct vector {
	const char *in;
	size_t n;
	enum err want;
	const char *dump;	/* what was understood; NULL: not compared */
	size_t after;		/* bytes at the end that belong to the next message */
};

#define REQ(in, dump) { in, sizeof(in) - 1, ERR_OK, dump, 0 }
#define BAD(in, err) { in, sizeof(in) - 1, ERR_##err, NULL, 0 }
#define H "Host: a.example\r\n"
#define E "\r\n"

static const struct h1_limits limits = {
	.header_bytes = 2048, .fields = 20, .target_bytes = 100, .trailer_bytes = 100,
};

static const char *framing_text[] = { "none", "length", "chunked", "close" };

/* method authority path ?query minor framing length flags [field|field] */
static void dump_request(char *dst, const struct http_request *r)
{
	size_t n = (size_t)snprintf(dst, DUMP_MAX, "%.*s %s%.*s %.*s %s%.*s 1.%u %s:%llu%s%s%s%s [",
		(int)r->method.n, r->method.p ? (const char *)r->method.p : "",
		r->scheme.n ? "abs:" : "", (int)r->authority.n, (const char *)r->authority.p,
		(int)r->path.n, (const char *)r->path.p, r->has_query ? "?" : "", (int)r->query.n,
		(const char *)r->query.p, r->minor, framing_text[r->framing],
		(unsigned long long)r->length, r->keep_alive ? " keep" : "",
		r->expect_continue ? " expect" : "", r->upgrade ? " upgrade=" : "",
		r->upgrade ? "yes" : "");

	for (size_t i = 0; i < r->fields.n; i++)
		n += (size_t)snprintf(dst + n, DUMP_MAX - n, "%s%.*s=%.*s", i ? "|" : "",
			(int)r->fields.v[i].name.n, (const char *)r->fields.v[i].name.p,
			(int)r->fields.v[i].value.n, (const char *)r->fields.v[i].value.p);
	snprintf(dst + n, DUMP_MAX - n, "]");
}

/* One call on the first n bytes, in memory of their own. Dumps on success. */
static enum err parse_prefix(const struct vector *v, size_t n, struct h1_scan *scan,
			     struct http_request *req, char *dump)
{
	uint8_t *copy = guard_copy(v->in, n);
	size_t used = 99;
	enum err e = h1_parse_request(scan, bytes_of(copy, n), &limits, req, &used);

	if (e == ERR_OK) {
		assert_int_equal(used, v->n - v->after);
		dump_request(dump, req);
	} else {
		assert_int_equal(used, 0);
	}
	guard_free(copy);
	return e;
}

static void check(const struct vector *v, size_t index)
{
	char whole[DUMP_MAX] = "", split[DUMP_MAX] = "";
	struct http_request req = { 0 };
	struct h1_scan scan = { 0 };
	enum err e = parse_prefix(v, v->n, &scan, &req, whole);

	if (e != v->want)
		fail_msg("vector %zu: %s, wanted %s: %s", index, err_name(e), err_name(v->want),
			 v->in);
	if (v->dump)
		assert_string_equal(whole, v->dump);
	for (size_t cut = 0; cut < v->n; cut++) {
		scan = (struct h1_scan){ 0 };
		split[0] = '\0';
		e = parse_prefix(v, cut, &scan, &req, split);
		if (v->want == ERR_OK && cut < v->n - v->after)
			assert_int_equal(e, ERR_AGAIN);
		if (e == ERR_AGAIN)
			e = parse_prefix(v, v->n, &scan, &req, split);
		if (e != v->want)
			fail_msg("vector %zu cut at %zu: %s", index, cut, err_name(e));
		assert_string_equal(split, whole);
	}
	scan = (struct h1_scan){ 0 };
	split[0] = '\0';
	e = ERR_AGAIN;
	for (size_t n = 0; n <= v->n && e == ERR_AGAIN; n++)
		e = parse_prefix(v, n, &scan, &req, split);
	if (e != v->want)
		fail_msg("vector %zu byte by byte: %s", index, err_name(e));
	assert_string_equal(split, whole);
	http_request_release(&req);
}
