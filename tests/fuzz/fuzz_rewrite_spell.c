/*
 * fuzz_rewrite_spell.c - what is spelled in a form reads back as it was; what is read never
 * overruns
 *
 * Input: one byte names the form, the rest is the text, once as bytes to spell and once as a
 * spelling.
 */
#include <stdio.h>
#include <stdlib.h>

#include "gateway/rewrite/rewrite.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static enum rewrite_verdict on_match(void *owner, uint32_t id, uint64_t offset,
				     struct bytes *replacement)
{
	(void)owner;
	(void)id;
	(void)offset;
	*replacement = BYTES_LIT("another");
	return REWRITE_REPLACE;
}

static void must(bool ok)
{
	if (!ok)
		abort();
}

static void basic(struct bytes value)
{
	static const struct rewrite_ops ops = { .match = on_match };
	struct rewrite_pattern pat = { BYTES_LIT("a"), 0 };
	bool changed;
	size_t size;
	struct buf out;
	void *blob;

	must(rewrite_set_build(&pat, 1, &blob, &size) == ERR_OK);
	buf_init(&out, 1 << 16);
	must(rewrite_basic(value, rewrite_set_open(blob, size), &ops, NULL, &out, &changed) ==
	     ERR_OK);
	must(changed == (buf_len(&out) > 0));
	buf_release(&out);
	rewrite_blob_free(blob, size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct bytes in = bytes_of(data, size);
	enum rewrite_form form;
	struct buf out, back;

	if (size < 1 || size > 4096)
		return 0;
	form = (enum rewrite_form)(data[0] % REWRITE_FORM_COUNT);
	in = bytes_from(in, 1);
	buf_init(&out, 1 << 16);
	buf_init(&back, 1 << 16);
	must(rewrite_encode(form, in, &out) == ERR_OK);
	must(rewrite_decode(form, buf_bytes(&out), &back) == ERR_OK);
	must(bytes_eq(in, buf_bytes(&back)));
	buf_clear(&back);
	if (rewrite_decode(form, in, &back) == ERR_OK)
		must(buf_len(&back) <= in.n);
	rewrite_context_of_media(in);
	basic(in);
	buf_release(&out);
	buf_release(&back);
	return 0;
}
