/*
 * arena.c - memory of one policy: only grows while it is built, freed as a whole
 *
 * Every allocation is its own zeroed block on a list; policies are built seldom, so simplicity
 * wins.
 */
#include "gateway/policy/policy_internal.h"

#include <stdlib.h>

struct arena_chunk {
	struct arena_chunk *next;
	max_align_t data[];
};

void *policy_arena_alloc(struct arena *a, size_t n, size_t size)
{
	struct arena_chunk *chunk;
	size_t total;

	if (__builtin_mul_overflow(n, size, &total) ||
	    __builtin_add_overflow(total, sizeof(*chunk), &total))
		return NULL;
	chunk = calloc(1, total);
	if (!chunk)
		return NULL;
	chunk->next = a->chunks;
	a->chunks = chunk;
	return chunk->data;
}

char *policy_arena_str(struct arena *a, const char *s)
{
	size_t n = strlen(s);
	char *copy = policy_arena_alloc(a, n + 1, 1);

	if (copy)
		memcpy(copy, s, n);
	return copy;
}

void policy_arena_free(struct arena *a)
{
	struct arena_chunk *chunk = a->chunks;

	while (chunk) {
		struct arena_chunk *next = chunk->next;

		free(chunk);
		chunk = next;
	}
	a->chunks = NULL;
}
