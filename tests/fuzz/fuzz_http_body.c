/*
 * fuzz_http_body.c - bodies: the same data, end, trailers and error however the bytes arrive
 *
 * Byte 0: bit 0 response, bits 1-2 framing, bits 3.. size of the pieces. Byte 1: length. The rest
 * is the body. What was read is also written as chunks and read again.
 */
#include <stdlib.h>

#include "gateway/http/http.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CHECK(x)                \
	do {                    \
		if (!(x))       \
			abort();\
	} while (0)

static const struct h1_limits limits = {
	.header_bytes = 512, .fields = 5, .target_bytes = 80, .trailer_bytes = 100,
};

struct result {
	struct h1_body body;
	struct buf data;
	size_t eaten;
	enum err e, eof;
};

/* In pieces of `piece` bytes, each in memory of its own. */
static void run(struct result *r, struct bytes in, size_t piece)
{
	buf_init(&r->data, 1 << 20);
	while (in.n && r->e == ERR_OK && !h1_body_done(&r->body)) {
		size_t n = in.n < piece ? in.n : piece;
		uint8_t *copy = malloc(n);
		struct bytes part = bytes_of(copy, n), data;
		size_t used;

		CHECK(copy);
		memcpy(copy, in.p, n);
		while (part.n && !h1_body_done(&r->body)) {
			r->e = h1_body_feed(&r->body, part, &used, &data);
			if (r->e != ERR_OK)
				break;
			CHECK(used > 0 && used <= part.n && data.n <= used);
			CHECK(buf_append(&r->data, data) == ERR_OK);
			r->eaten += used;
			part = bytes_from(part, used);
		}
		free(copy);
		in = bytes_from(in, n);
	}
	r->eof = r->e == ERR_OK ? h1_body_eof(&r->body) : r->e;
}

static bool trailers_eq(const struct http_fields *a, const struct http_fields *b)
{
	if (a->n != b->n)
		return false;
	for (size_t i = 0; i < a->n; i++)
		if (!bytes_eq(a->v[i].name, b->v[i].name) ||
		    !bytes_eq(a->v[i].value, b->v[i].value))
			return false;
	return true;
}

static void write_and_read(const struct result *r)
{
	static const struct h1_limits wide = H1_LIMITS_DEFAULT;
	struct result again = { 0 };
	struct buf out;

	buf_init(&out, 1 << 20);
	if (buf_len(&r->data)) {
		CHECK(h1_write_chunk_head(&out, buf_len(&r->data)) == ERR_OK);
		CHECK(buf_append(&out, buf_bytes(&r->data)) == ERR_OK);
		CHECK(h1_write_chunk_tail(&out) == ERR_OK);
	}
	CHECK(h1_write_last_chunk(&out, h1_body_trailers(&r->body)) == ERR_OK);
	h1_body_init(&again.body, HTTP_RESPONSE, HTTP_BODY_CHUNKED, 0, &wide);
	run(&again, buf_bytes(&out), 7);
	CHECK(again.e == ERR_OK && h1_body_done(&again.body) && again.eaten == buf_len(&out));
	CHECK(bytes_eq(buf_bytes(&again.data), buf_bytes(&r->data)));
	CHECK(trailers_eq(h1_body_trailers(&again.body), h1_body_trailers(&r->body)));
	buf_release(&again.data);
	h1_body_release(&again.body);
	buf_release(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct result whole = { 0 }, split = { 0 };
	enum http_side side;
	enum http_framing framing;
	struct bytes in;

	if (size < 2)
		return 0;
	side = data[0] & 1 ? HTTP_RESPONSE : HTTP_REQUEST;
	framing = (enum http_framing)(data[0] >> 1 & 3);
	in = bytes_of(data + 2, size - 2);
	h1_body_init(&whole.body, side, framing, data[1], &limits);
	h1_body_init(&split.body, side, framing, data[1], &limits);
	run(&whole, in, in.n ? in.n : 1);
	run(&split, in, (size_t)(data[0] >> 3) + 1);
	CHECK(whole.e == split.e && whole.eof == split.eof);
	if (whole.e == ERR_OK) {
		CHECK(whole.eaten == split.eaten);
		CHECK(h1_body_done(&whole.body) == h1_body_done(&split.body));
		CHECK(bytes_eq(buf_bytes(&whole.data), buf_bytes(&split.data)));
		CHECK(trailers_eq(h1_body_trailers(&whole.body), h1_body_trailers(&split.body)));
		if (whole.eof == ERR_OK)
			write_and_read(&whole);
	}
	buf_release(&whole.data);
	buf_release(&split.data);
	h1_body_release(&whole.body);
	h1_body_release(&split.body);
	return 0;
}
