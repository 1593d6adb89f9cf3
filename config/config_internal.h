/*
 * config_internal.h - the steps of reading a configuration
 *
 * text -> tree.c (libyaml events, limits) -> decode.c (schema.c's tables, scalar.c's types) ->
 * check.c (what no single key can tell). Each step collects as many problems as it can; the next
 * runs only when that makes sense.
 */
#pragma once

#include "config/config.h"

/* ---- reading state ------------------------------------------------------ */

struct config_arena_block;

struct reader {
	struct config_error *error;		/* borrowed */
	/* relative paths are taken from here; "" or ends in '/' */
	const char *dir;
	struct config_arena_block *arena;	/* handed to struct config at the end */
	struct config_problem *warnings;	/* in the arena, CONFIG_PROBLEMS_MAX */
	size_t n_warnings;
	bool no_memory;
};

/* Zeroed; NULL (and r->no_memory) when there is no memory. */
void *config_alloc(struct reader *r, size_t n, size_t size);
char *config_alloc_str(struct reader *r, const char *s, size_t n);
void config_arena_free(struct config_arena_block *arena);

/* ---- the tree ----------------------------------------------------------- */

enum node_kind { NODE_SCALAR, NODE_LIST, NODE_MAP };

struct node {
	enum node_kind kind;
	/* a scalar in quotes or a block: never a number, never null */
	bool quoted;
	unsigned line, column;
	/* scalar: NUL-terminated, without NUL inside; in the arena */
	char *text;
	struct node *first;		/* list: items; map: keys, each with its value */
	struct node *value;		/* of a key in a map */
	struct node *next;
	size_t n;			/* children */
};

/* NULL with problems reported. */
struct node *config_tree_read(struct reader *r, struct bytes text);
/* An empty plain scalar, "~" or "null". */
bool config_node_is_null(const struct node *node);
/* The value of a key, or NULL when it or the map is absent. */
const struct node *config_node_get(const struct node *map, const char *key);
/* The i-th child, or NULL. */
const struct node *config_node_at(const struct node *list, size_t i);

/* ---- where we are, for messages ----------------------------------------- */

struct path {
	const struct path *up;
	const char *key;	/* NULL: an index */
	size_t index;
};

/* Without `node`: the file as a whole. `node` lends its place and, unless `hide`, its value. */
struct where {
	const struct path *path;
	const struct node *node;
	bool hide;		/* the value could be a secret put in the wrong place */
};

void config_fail(struct reader *r, struct where where, const char *fmt, ...) PRINTF_LIKE(3, 4);
void config_warn(struct reader *r, struct where where, const char *fmt, ...) PRINTF_LIKE(3, 4);
void config_fail_unknown(struct reader *r, struct where where, const char *nearest);
/* Before there is a node. */
void config_fail_at(struct reader *r, unsigned line, unsigned column, const char *text);

/* ---- the schema --------------------------------------------------------- */

enum value_type {
	VALUE_MAP,		/* `child` describes it */
	/* of `child`, or of scalars as `item`; target: pointer, then size_t */
	VALUE_LIST,
	VALUE_RULE,		/* the body of a rule, `choice` is its action */
	VALUE_DUMMY,		/* string or { id, secret }; target: the struct config_secret */
	/* source or { id, secret } of sources; target: the struct config_secret */
	VALUE_REAL,
	VALUE_SURFACES,		/* list of choices, as bits of an unsigned */
	/* scalars, with their targets */
	VALUE_STRING,		/* const char *; min..max bytes */
	VALUE_NAME,		/* const char *; letters, digits, '-', '_', '.' */
	VALUE_ENV_NAME,		/* const char * */
	VALUE_INTERFACE,	/* const char * */
	VALUE_FILE,		/* const char *, made absolute; `special` leaves NULL */
	VALUE_RULE_HOST,	/* const char * */
	VALUE_SECRET_HOST,	/* const char *, optionally with port */
	VALUE_METHOD,		/* const char * */
	VALUE_PATH_GLOB,	/* const char * */
	VALUE_UINT,		/* uint32_t; `special` leaves 0 */
	VALUE_PORT,		/* uint16_t */
	VALUE_SIZE,		/* uint32_t bytes */
	VALUE_DURATION,		/* uint64_t ms */
	VALUE_BOOL,		/* bool */
	VALUE_CHOICE,		/* int: index in choices */
	VALUE_ADDR_PORT,	/* struct addr; `special` leaves family 0 */
	VALUE_RESOLVER,		/* struct addr, port 53 unless given; `special` leaves family 0 */
	VALUE_CIDR,		/* struct cidr */
	VALUE_PORTS,		/* struct config_ports: 443 or "8000-8010" */
	VALUE_RATE,		/* uint32_t[2], requests and seconds: 50/s, 100/m, 1000/h */
	VALUE_TYPE_COUNT,
};

struct schema_key {
	const char *name;
	enum value_type type;
	size_t offset;			/* in the struct of the map */
	const char *fallback;		/* as it would stand in the file; NULL: the zero value */
	const char *doc;
	/* numbers, ms, bytes of a string, items of a list; max 0: none */
	int64_t min, max;
	const char *special;		/* a word that stands for the zero value */
	const char *const *choices;	/* ends with NULL */
	const struct schema_map *child;
	enum value_type item;
	int choice;
	bool required;
	bool hide;			/* never show a value below this key */
	/* the keys of `child` were listed before (config_schema_walk) */
	bool again;
	/* VALUE_MAP: left zero when absent, without the defaults inside */
	bool optional;
};

struct schema_map {
	const struct schema_key *keys;
	size_t n;
	size_t size;			/* of the struct, for lists of maps */
	size_t place;			/* offset of `line`, with `column` after it; 0: none */
	bool exactly_one;		/* of its keys stands in the file */
};

extern const struct schema_map config_schema_root;
/* `real`: one of env, file, exec; or { id, secret } of such. `dummy`: { id, secret }. */
extern const struct schema_map config_schema_source;
extern const struct schema_map config_schema_real_pair;
extern const struct schema_map config_schema_dummy_pair;

/* "duration", "list of CIDR", ... */
const char *config_type_name(const struct schema_key *key, char dst[64]);

/* ---- values ------------------------------------------------------------- */

/* Decimal without leading zeros, or 0x and hexadecimal. */
bool config_parse_number(struct bytes text, uint64_t *out);
/* Not empty, and only ASCII letters, digits and `extra`. */
bool config_is_name(const char *text, const char *extra);
/* "1.2.3.4:53", "[::1]:53"; the port may be missing when `port`, its default, is not 0. */
bool config_parse_addr_port(struct bytes text, uint16_t port, struct addr *a);
/* "name", "*.suffix" or an address to its one spelling. */
#define CONFIG_HOST_MAX 272
bool config_parse_host(struct bytes text, char dst[CONFIG_HOST_MAX]);
/* The same with ":port" after it. */
bool config_parse_host_port(struct bytes text, char dst[CONFIG_HOST_MAX]);

/* Size of a scalar's target. */
size_t config_scalar_size(enum value_type type);
/* Reads where.node into *target; false with the problem reported. */
bool config_scalar_read(struct reader *r, const struct schema_key *key, enum value_type type,
			struct where where, void *target);

/* Fills *cfg from the tree by the schema. */
void config_decode(struct reader *r, const struct node *root, struct config *cfg);

/* What no single key can tell: names, overlaps, defaults that depend on others. */
void config_check(struct reader *r, const struct node *root, struct config *cfg);
