/* arena.c - copies with stable addresses, wiped together */
#include "gateway/exchange/exchange_internal.h"

#include <stdlib.h>

#define ARENA_BLOCK 4064	/* with its header inside one page of the allocator */

struct arena_block {
	struct arena_block *next;
	size_t used, cap;
	uint8_t data[];
};

static struct arena_block *arena_room(struct arena *a, size_t n)
{
	struct arena_block *b = a->blocks;
	size_t cap = n > ARENA_BLOCK ? n : ARENA_BLOCK;

	if (b && b->cap - b->used >= n)
		return b;
	b = malloc(sizeof(*b) + cap);
	if (!b)
		return NULL;
	b->used = 0;
	b->cap = cap;
	b->next = a->blocks;
	a->blocks = b;
	return b;
}

static uint8_t *arena_take(struct arena *a, size_t n)
{
	struct arena_block *b = arena_room(a, n);

	if (!b)
		return NULL;
	b->used += n;
	return b->data + (b->used - n);
}

enum err arena_copy(struct arena *a, struct bytes in, struct bytes *out)
{
	uint8_t *at;

	*out = BYTES_NONE;
	if (in.n == 0)
		return ERR_OK;
	at = arena_take(a, in.n);
	if (!at)
		return ERR_NOMEM;
	memcpy(at, in.p, in.n);
	*out = bytes_of(at, in.n);
	return ERR_OK;
}

/* Copies and ends the part, so that no pattern runs from one into the next. */
static uint8_t *put_part(uint8_t *at, struct bytes in, struct bytes *out)
{
	*out = BYTES_NONE;
	if (in.n) {
		memcpy(at, in.p, in.n);
		*out = bytes_of(at, in.n);
	}
	at[in.n] = '\n';
	return at + in.n + 1;
}

enum err arena_copy_fields(struct arena *a, const struct http_fields *from, struct http_fields *to,
			   struct bytes *text)
{
	size_t n = 0;
	uint8_t *at;

	*text = BYTES_NONE;
	for (size_t i = 0; i < from->n; i++)
		n += from->v[i].name.n + from->v[i].value.n + 2;
	if (n == 0)
		return ERR_OK;
	at = arena_take(a, n);
	if (!at)
		return ERR_NOMEM;
	*text = bytes_of(at, n);
	for (size_t i = 0; i < from->n; i++) {
		struct bytes name, value;

		at = put_part(at, from->v[i].name, &name);
		at = put_part(at, from->v[i].value, &value);
		TRY(http_fields_add(to, name, value));
	}
	return ERR_OK;
}

void arena_release(struct arena *a)
{
	while (a->blocks) {
		struct arena_block *b = a->blocks;

		a->blocks = b->next;
		explicit_bzero(b->data, b->used);
		free(b);
	}
}
