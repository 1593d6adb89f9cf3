/*
 * policy_internal.h - the compiled policy
 *
 * Everything lives in one arena and is immutable once policy_new() returns. Host patterns are
 * found through one hash table of keys ("name", ".suffix" and "." for any name) whose entries are
 * ascending lists of rule numbers, so a question costs the labels of the host and the rules that
 * mention it, not the rules there are.
 */
#pragma once

#include "gateway/policy/policy.h"

/* ---- arena.c: freed as a whole ------------------------------------------ */

struct arena_chunk;

struct arena {
	struct arena_chunk *chunks;
};

/* Zeroed, aligned for any type; NULL when out of memory or when n * size overflows. */
void *policy_arena_alloc(struct arena *a, size_t n, size_t size);
char *policy_arena_str(struct arena *a, const char *s);
void policy_arena_free(struct arena *a);

/* ---- glob.c: path patterns ---------------------------------------------- */

#define POLICY_GLOB_MAX 1024	/* bytes of a pattern */
#define POLICY_PATH_MAX 8192	/* bytes of a path that is judged; a longer one is unsafe */

struct glob {
	const char *text;	/* owned by the arena */
	size_t literal;		/* bytes before the first wildcard */
	size_t n;		/* bytes in all */
};

/* False when the pattern is malformed: see policy_glob_init(). */
bool policy_glob_init(struct glob *g, const char *text);
bool policy_glob_match(const struct glob *g, struct bytes path);

/*
 * Percent-decodes the path once into out[POLICY_PATH_MAX]; a query or fragment is cut off. False
 * when the path is one that a server behind the gateway could read in another way than the
 * gateway does.
 */
bool policy_path_normalise(struct bytes in, uint8_t *out, size_t *n);

/* ---- hosts.c: from a host to the rules that mention it ------------------ */

struct host_list {
	const uint32_t *rules;	/* ascending, without duplicates */
	uint32_t n;
};

struct host_entry {
	const char *key;	/* NULL: free slot */
	uint32_t hash;
	struct host_list list;
};

struct host_index {
	struct host_entry *slots;	/* open addressing, at most half full */
	size_t mask;
};

/* One pattern of one rule, while building. */
struct host_pair {
	const char *key;
	uint32_t rule;
};

/* Sorts pairs. */
bool policy_hosts_build(struct host_index *h, struct arena *a, struct host_pair *pairs, size_t n);
/* Exact, each suffix, any name: writes at most POLICY_LISTS_MAX lists, returns how many. */
#define POLICY_LISTS_MAX (POLICY_HOST_MAX / 2 + 2)
size_t policy_hosts_find(const struct host_index *h, const char *host, bool address,
			 struct host_list lists[POLICY_LISTS_MAX]);
/*
 * The key of a pattern ("*.x" -> ".x", "*" -> "."), in the arena; NULL when malformed or out of
 * memory.
 */
const char *policy_hosts_key(struct arena *a, const char *pattern);

/* ---- the policy --------------------------------------------------------- */

struct rule {
	enum policy_action action;
	const char *name;
	const struct cidr *addresses;
	size_t n_addresses;
	const struct policy_ports *ports;
	size_t n_ports;
	struct policy_strings methods;
	const struct glob *paths;
	size_t n_paths;
	const uint64_t *agents;		/* bitmap; NULL: all */
};

struct agent {
	const char *name;
	const struct cidr *sources;
	size_t n_sources;
	struct policy_rate rate;
};

struct policy {
	struct arena arena;
	struct agent *agents;
	size_t n_agents;
	struct rule *rules;
	size_t n_rules;
	struct host_index hosts;
	struct host_list anywhere;	/* rules with neither hosts nor addresses */
	struct host_list by_address;	/* rules with addresses */
	bool allow_by_default;
	const struct cidr *allow_special;
	size_t n_allow_special;
	const struct addr *own;
	size_t n_own;
};
