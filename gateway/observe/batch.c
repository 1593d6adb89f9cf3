/*
 * batch.c - audit lines gathered on their way to the master
 *
 * After a quiet while a line leaves at the end of the loop turn; under load at most one write per
 * 20 ms or per 32 KiB. What the sink does not take is offered again; past OBSERVE_BATCH_MAX lines
 * are lost, which is counted and for the owner to make visible.
 */
#include "gateway/observe/observe_internal.h"

void observe_batch_init(struct observe_batch *b, const struct observe_sink *sink)
{
	*b = (struct observe_batch){ .sink = *sink };
	buf_init(&b->lines, OBSERVE_BATCH_MAX);
}

void observe_batch_release(struct observe_batch *b)
{
	buf_release(&b->lines);
}

enum err observe_batch_add(struct observe_batch *b, const struct observe_event *ev)
{
	enum err e = observe_event_write(ev, &b->lines);

	if (e != ERR_OK)
		b->lost++;
	return e;
}

uint64_t observe_batch_due(const struct observe_batch *b, uint64_t now_us)
{
	uint64_t since = now_us > b->flushed_us ? now_us - b->flushed_us : 0;

	if (buf_len(&b->lines) == 0)
		return UINT64_MAX;
	/* A sink that is full is not helped by trying at every turn. */
	if (!b->stuck && buf_len(&b->lines) >= OBSERVE_BATCH_BYTES)
		return 0;
	return since >= OBSERVE_BATCH_US ? 0 : OBSERVE_BATCH_US - since;
}

enum err observe_batch_flush(struct observe_batch *b, uint64_t now_us)
{
	size_t len = buf_len(&b->lines);
	size_t n;

	if (len == 0)
		return ERR_OK;
	n = b->sink.write(b->sink.owner, buf_bytes(&b->lines));
	buf_consume(&b->lines, n < len ? n : len);
	b->flushed_us = now_us;
	b->stuck = n < len;
	return b->stuck ? ERR_AGAIN : ERR_OK;
}
