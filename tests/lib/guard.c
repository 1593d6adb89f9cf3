/*
 * guard.c - one mapping per buffer: inaccessible page, data pages, inaccessible page
 *
 * The list of mappings is kept apart from the data, so that an overrun cannot harm it. Tests have
 * one thread; there is no lock.
 */
#include "tests/lib/guard.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

struct guard_map {
	struct guard_map *next;
	void *user;  /* what the caller holds */
	void *base;  /* what munmap takes */
	size_t size;
};

static struct guard_map *guard_maps;

static void guard_die(const char *what)
{
	perror(what);
	abort();
}

static void *guard_map_new(size_t n, int at_end)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	size_t data = (n + page - 1) / page * page;
	struct guard_map *map = malloc(sizeof(*map));
	uint8_t *base;

	if (!map)
		guard_die("guard: malloc");
	if (data == 0)
		data = page;
	base = mmap(NULL, data + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (base == MAP_FAILED)
		guard_die("guard: mmap");
	if (mprotect(base + page, data, PROT_READ | PROT_WRITE) != 0)
		guard_die("guard: mprotect");
	map->base = base;
	map->size = data + 2 * page;
	map->user = at_end ? base + page + data - n : base + page;
	map->next = guard_maps;
	guard_maps = map;
	return map->user;
}

void *guard_alloc(size_t n)
{
	return guard_map_new(n, 1);
}

void *guard_copy(const void *bytes, size_t n)
{
	void *user = guard_map_new(n, 1);

	if (n)
		memcpy(user, bytes, n);
	return user;
}

void *guard_copy_front(const void *bytes, size_t n)
{
	void *user = guard_map_new(n, 0);

	if (n)
		memcpy(user, bytes, n);
	return user;
}

void guard_free(void *guarded)
{
	for (struct guard_map **at = &guard_maps; guarded && *at; at = &(*at)->next) {
		struct guard_map *map = *at;

		if (map->user != guarded)
			continue;
		*at = map->next;
		munmap(map->base, map->size);
		free(map);
		return;
	}
}

void guard_free_all(void)
{
	while (guard_maps)
		guard_free(guard_maps->user);
}
