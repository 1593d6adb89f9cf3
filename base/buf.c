/*
 * buf.c - capped buffers
 *
 * A buffer owns one block. Live bytes slide to the front when the tail runs out, the block doubles
 * up to the ceiling, and an empty buffer keeps its block for the next turn until buf_release(). A
 * secret buffer wipes every byte it stops using: on consume, before a move, before a free; `used`
 * bounds what there is to wipe, so that a large block costs what was written into it.
 */
#include "base/base.h"

#include <stdlib.h>

#define BUF_FIRST_CAP 512

void buf_init(struct buf *b, size_t max)
{
	*b = (struct buf){ .max = max };
}

void buf_init_secret(struct buf *b, size_t max)
{
	*b = (struct buf){ .max = max, .secret = true };
}

void mem_wipe_free(void *p, size_t n)
{
	if (!p)
		return;
	explicit_bzero(p, n);
	free(p);
}

/* All that was ever reserved, committed or not. */
static void buf_wipe(struct buf *b, size_t from)
{
	if (b->secret && b->used > from)
		explicit_bzero(b->data + from, b->used - from);
	b->used = from;
}

void buf_release(struct buf *b)
{
	if (b->data)
		buf_wipe(b, 0);
	free(b->data);
	b->data = NULL;
	b->start = b->end = b->cap = b->used = 0;
}

void buf_hand_over(struct buf *from, struct buf *to)
{
	to->data = from->data;
	to->start = from->start;
	to->end = from->end;
	to->cap = from->cap;
	to->used = from->used;
	to->secret |= from->secret;
	from->data = NULL;
	from->start = from->end = from->cap = from->used = 0;
}

/* Live bytes to the front of the same block. */
static void buf_slide(struct buf *b)
{
	size_t n = buf_len(b);

	if (b->start == 0)
		return;
	memmove(b->data, b->data + b->start, n);
	buf_wipe(b, n);
	b->start = 0;
	b->end = n;
}

static enum err buf_grow(struct buf *b, size_t need)
{
	size_t cap = b->cap ? b->cap : BUF_FIRST_CAP;
	uint8_t *data;

	/* Doubling keeps many small appends linear. need is at most max. */
	while (cap < need)
		cap = cap > SIZE_MAX / 2 ? need : cap * 2;
	if (cap > b->max)
		cap = b->max;
	data = malloc(cap);
	if (!data)
		return ERR_NOMEM;
	if (b->data) {
		memcpy(data, b->data + b->start, buf_len(b));
		buf_wipe(b, 0);
		free(b->data);
	}
	b->end -= b->start;
	b->used = b->end;
	b->start = 0;
	b->data = data;
	b->cap = cap;
	return ERR_OK;
}

enum err buf_reserve(struct buf *b, size_t n, uint8_t **out)
{
	size_t len = buf_len(b);

	if (n > b->max - len)
		return ERR_AGAIN;
	if (b->cap - b->end < n) {
		if (b->cap >= len + n)
			buf_slide(b);
		else
			TRY(buf_grow(b, len + n));
	}
	if (b->used < b->end + n)
		b->used = b->end + n;
	*out = b->data + b->end;
	return ERR_OK;
}

void buf_commit(struct buf *b, size_t n)
{
	b->end += n;
}

enum err buf_append(struct buf *b, struct bytes in)
{
	uint8_t *at;

	if (in.n == 0)
		return ERR_OK;
	TRY(buf_reserve(b, in.n, &at));
	memcpy(at, in.p, in.n);
	buf_commit(b, in.n);
	return ERR_OK;
}

enum err buf_append_str(struct buf *b, const char *s)
{
	return buf_append(b, bytes_str(s));
}

enum err buf_printf(struct buf *b, const char *fmt, ...)
{
	char text[1024] UNINITIALIZED;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (n < 0 || (size_t)n >= sizeof(text))
		return ERR_TOO_LONG;
	return buf_append(b, bytes_of(text, (size_t)n));
}

void buf_consume(struct buf *b, size_t n)
{
	if (b->secret && n)
		explicit_bzero(b->data + b->start, n);
	b->start += n;
	if (b->start < b->end)
		return;
	/* What was reserved and not committed may have been written as well. */
	if (b->secret && b->used > b->end)
		explicit_bzero(b->data + b->end, b->used - b->end);
	b->start = b->end = b->used = 0;
}
