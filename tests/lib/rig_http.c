/*
 * rig_http.c - where messages end, for peers that tests play
 *
 * Written without the product's parser, so that one mistake is not made on both sides of a
 * comparison.
 */
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "tests/lib/rig.h"

/* What a head says about the body. */
struct framing {
	bool chunked, has_length, no_body;
	size_t length;
};

/*
 * The line at `at` without its end; *next is where the following one begins. False: no whole line.
 */
static bool line_at(struct bytes in, size_t at, struct bytes *line, size_t *next)
{
	size_t n = bytes_find(bytes_from(in, at), BYTES_LIT("\r\n"));

	if (at >= in.n || n == in.n - at)
		return false;
	*line = bytes_of(in.p + at, n);
	*next = at + n + 2;
	return true;
}

static void framing_take(struct framing *f, struct bytes line)
{
	if (bytes_istarts(line, BYTES_LIT("transfer-encoding:")))
		f->chunked = bytes_find(line, BYTES_LIT("chunked")) < line.n;
	if (bytes_istarts(line, BYTES_LIT("content-length:"))) {
		f->has_length = true;
		f->length = strtoul((const char *)line.p + 15, NULL, 10);
	}
}

/* Length of the head with its empty line; 0: incomplete. */
static size_t head_length(struct bytes in, struct framing *f)
{
	struct bytes line;
	size_t at = 0;

	*f = (struct framing){ 0 };
	for (bool first = true; line_at(in, at, &line, &at); first = false) {
		if (line.n == 0)
			return at;
		if (first && bytes_starts(line, BYTES_LIT("HTTP/1.1 ")))
			f->no_body = line.p[9] == '1' ||
				     bytes_starts(bytes_from(line, 9), BYTES_LIT("204")) ||
				     bytes_starts(bytes_from(line, 9), BYTES_LIT("304"));
		framing_take(f, line);
	}
	return 0;
}

/*
 * Length of a chunked body; data and trailers go to `out` if there is one. 0: incomplete or broken.
 */
static size_t chunked_length(struct bytes in, struct buf *out)
{
	struct bytes line;
	size_t at = 0;

	while (line_at(in, at, &line, &at)) {
		size_t n = strtoul((const char *)line.p, NULL, 16);

		if (line.n == 0)
			return 0;
		if (n == 0)
			break;
		if (n > in.n - at || in.n - at - n < 2 || memcmp(in.p + at + n, "\r\n", 2) != 0)
			return 0;
		if (out)
			RIG_NEED(buf_append(out, bytes_of(in.p + at, n)) == ERR_OK);
		at += n + 2;
	}
	while (line_at(in, at, &line, &at)) {
		if (line.n == 0)
			return at;
		if (out)
			RIG_NEED(buf_append(out, bytes_of(line.p, line.n + 2)) == ERR_OK);
	}
	return 0;
}

size_t rig_http_length(struct bytes in, bool head_only)
{
	struct framing f;
	size_t head = head_length(in, &f), body;

	if (!head || head_only)
		return head;
	if (f.chunked) {
		body = chunked_length(bytes_from(in, head), NULL);
		return body ? head + body : 0;
	}
	return in.n - head >= f.length ? head + f.length : 0;
}

bool rig_http_join(struct bytes in, bool no_body, struct buf *out)
{
	while (in.n) {
		struct framing f;
		size_t head = head_length(in, &f), body = 0;

		if (!head)
			return false;
		RIG_NEED(buf_append(out, bytes_first(in, head)) == ERR_OK);
		in = bytes_from(in, head);
		if (no_body || f.no_body)
			continue;
		if (f.chunked) {
			body = chunked_length(in, out);
			if (!body)
				return false;
		} else {
			bool request = bytes_find(bytes_first(bytes_of(out->data, out->end), 5),
						  BYTES_LIT("HTTP/")) != 0;

			body = f.has_length ? f.length : request ? 0 : in.n;
			if (body > in.n)
				return false;
			RIG_NEED(buf_append(out, bytes_first(in, body)) == ERR_OK);
		}
		in = bytes_from(in, body);
	}
	return true;
}
