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

enum err arena_copy(struct arena *a, struct bytes in, struct bytes *out)
{
	struct arena_block *b;

	*out = BYTES_NONE;
	if (in.n == 0)
		return ERR_OK;
	b = arena_room(a, in.n);
	if (!b)
		return ERR_NOMEM;
	memcpy(b->data + b->used, in.p, in.n);
	*out = bytes_of(b->data + b->used, in.n);
	b->used += in.n;
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
