/*
 * fuzz_rewrite_stream.c - any patterns, any text, any cuts: the same as the model
 *
 * Input: number of patterns, then for each its length and bytes; then the size of a piece; the rest
 * is text. Bytes are folded to a few letters when the first byte is odd, so that patterns meet the
 * text and each other.
 */
#include <stdio.h>
#include <stdlib.h>

#include "tests/lib/rewrite_model.h"

#define PATTERNS_MAX 24
#define INPUT_MAX 4096

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct model_trace want, got;

static void expect(bool ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "the rewriter differs from the model: %s\n", what);
	abort();
}

static void compare(const struct rewrite_pattern *pats, size_t n, struct bytes text, size_t piece)
{
	const struct rewrite_set *set;
	struct rewrite_stream s;
	size_t size, fed = 0;
	void *blob;

	expect(rewrite_set_build(pats, n, &blob, &size) == ERR_OK, "build");
	set = rewrite_set_open(blob, size);
	expect(set != NULL, "open");
	model_run(&want, pats, n, text);
	model_reset(&got);
	expect(rewrite_whole(set, text, &model_ops, &got) == ERR_OK && model_same(&want, &got),
	       "whole");
	expect(rewrite_any(set, text) == (want.matches > 0), "any");
	model_reset(&got);
	rewrite_stream_init(&s, set, &model_ops, &got);
	while (fed < text.n) {
		struct bytes next = bytes_first(bytes_from(text, fed), piece);
		uint8_t *copy = malloc(next.n);

		/* Memory of exactly this size: a read past its end is seen. */
		expect(copy != NULL, "memory");
		memcpy(copy, next.p, next.n);
		expect(rewrite_feed(&s, bytes_of(copy, next.n)) == ERR_OK, "feed");
		free(copy);
		fed += next.n;
		if (text.n <= 64 || text.n / piece < 4)
			expect(rewrite_held(&s) == model_may_hold(pats, n, bytes_first(text, fed)),
			       "held");
	}
	expect(rewrite_end(&s) == ERR_OK && model_same(&want, &got), "stream");
	rewrite_stream_release(&s);
	rewrite_blob_free(blob, size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct rewrite_pattern pats[PATTERNS_MAX];
	uint8_t folded[INPUT_MAX];
	size_t n = 0, at = 2, wanted;

	if (size < 4 || size > INPUT_MAX)
		return 0;
	memcpy(folded, data, size);
	for (size_t i = 2; (data[0] & 1) && i < size; i++)
		folded[i] = (uint8_t)('a' + data[i] % 3);
	wanted = data[0] / 2 % (PATTERNS_MAX + 1);
	while (n < wanted && at + 2 < size) {
		size_t len = 1 + data[at++] % 40;

		if (len > size - at)
			len = size - at;
		pats[n] = (struct rewrite_pattern){ bytes_of(folded + at, len), (uint32_t)n };
		at += len;
		n++;
	}
	/* The model tries each pattern at each place for each piece. */
	if (size - at <= 512)
		compare(pats, n, bytes_of(folded + at, size - at), 1 + data[1] % 64);
	return 0;
}
