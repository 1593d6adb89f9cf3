/*
 * h1_chunks.c - body bytes to chunks, gathered
 *
 * A rewriter hands over its text in pieces; a chunk for each would cost bytes and, worse, cut an
 * event in two. Small pieces of one batch become one chunk; large ones are not copied.
 */
#include "gateway/http/http.h"

#define CHUNK_GATHER 16384u
#define CHUNK_DIRECT 4096u	/* from here on copying costs more than a chunk head */

void h1_chunks_init(struct h1_chunks *c, bool secret)
{
	if (secret)
		buf_init_secret(&c->gathered, CHUNK_GATHER);
	else
		buf_init(&c->gathered, CHUNK_GATHER);
}

void h1_chunks_release(struct h1_chunks *c)
{
	buf_release(&c->gathered);
}

static enum err chunk_write(struct bytes data, h1_chunk_sink *sink, void *owner)
{
	uint8_t text[H1_CHUNK_OVERHEAD];
	struct buf head = { .data = text, .cap = sizeof(text), .max = sizeof(text) };

	TRY(h1_write_chunk_head(&head, data.n));
	TRY(sink(owner, buf_bytes(&head)));
	TRY(sink(owner, data));
	return sink(owner, BYTES_LIT("\r\n"));
}

enum err h1_chunks_flush(struct h1_chunks *c, h1_chunk_sink *sink, void *owner)
{
	enum err e;

	if (buf_len(&c->gathered) == 0)
		return ERR_OK;
	e = chunk_write(buf_bytes(&c->gathered), sink, owner);
	buf_release(&c->gathered);
	return e;
}

enum err h1_chunks_add(struct h1_chunks *c, struct bytes data, h1_chunk_sink *sink, void *owner)
{
	if (data.n == 0)
		return ERR_OK;
	if (data.n > buf_room(&c->gathered) ||
	    (data.n >= CHUNK_DIRECT && buf_len(&c->gathered) == 0))
		TRY(h1_chunks_flush(c, sink, owner));
	if (data.n >= CHUNK_DIRECT && buf_len(&c->gathered) == 0)
		return chunk_write(data, sink, owner);
	return buf_append(&c->gathered, data);
}
