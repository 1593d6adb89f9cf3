/*
 * decode.c - from nodes to structs, driven by the schema
 *
 * Every key of a map is looked up in its table and read into the struct at the key's offset; what
 * is absent gets its default through the same readers, so that a default and its spelling in the
 * file cannot differ. A problem never stops the reading: the rest of the file is looked at too.
 */
#include "config/config_internal.h"

static void decode_map(struct reader *r, const struct schema_map *map, struct where where,
		       void *target);

static struct where below(struct where where, const struct path *path, const struct node *node,
			  bool hide)
{
	return (struct where){ .path = path, .node = node, .hide = where.hide || hide };
}

/* ---- nearest key -------------------------------------------------------- */

/* Edit distance; long words are no typing slips of a key. */
static size_t distance(const char *a, const char *b)
{
	size_t n = strlen(a), m = strlen(b), row[33];

	if (n > 32 || m > 32)
		return SIZE_MAX;
	for (size_t j = 0; j <= m; j++)
		row[j] = j;
	for (size_t i = 1; i <= n; i++) {
		size_t diagonal = row[0];

		row[0] = i;
		for (size_t j = 1; j <= m; j++) {
			size_t best = diagonal + (ascii_lower((uint8_t)a[i - 1]) !=
						  ascii_lower((uint8_t)b[j - 1]));

			diagonal = row[j];
			if (row[j - 1] + 1 < best)
				best = row[j - 1] + 1;
			if (diagonal + 1 < best)
				best = diagonal + 1;
			row[j] = best;
		}
	}
	return row[m];
}

static const char *nearest_key(const struct schema_map *map, const char *word)
{
	size_t best = SIZE_MAX;
	const char *name = NULL;

	for (size_t i = 0; i < map->n; i++) {
		size_t d = distance(word, map->keys[i].name);

		if (d < best) {
			best = d;
			name = map->keys[i].name;
		}
	}
	return name && best <= 1 + strlen(name) / 2 ? name : NULL;
}

/* ---- lists -------------------------------------------------------------- */

static bool list_is_valid(struct reader *r, const struct schema_key *key, struct where where)
{
	const struct node *node = where.node;

	if (node->kind != NODE_LIST) {
		config_fail(r, where, "expected a list%s",
			    node->kind == NODE_MAP ? ", found a map" : "; write [ ... ] around it");
		return false;
	}
	if (node->n < (size_t)key->min) {
		config_fail(r, where, "the list must not be empty");
		return false;
	}
	if (key->max && node->n > (size_t)key->max) {
		config_fail(r, where, "too many entries: at most %lld", (long long)key->max);
		return false;
	}
	return true;
}

static void decode_list(struct reader *r, const struct schema_key *key, struct where where,
			char *target)
{
	size_t size = key->child ? key->child->size : config_scalar_size(key->item), i = 0;
	char *items;

	if (!list_is_valid(r, key, where))
		return;
	items = config_alloc(r, where.node->n, size);
	if (!items)
		return;
	for (const struct node *node = where.node->first; node; node = node->next, i++) {
		struct path path = { .up = where.path, .index = i };
		struct where item = below(where, &path, node, false);

		if (key->child && key->child->place)
			memcpy(items + i * size + key->child->place,
			       (unsigned[2]){ node->line, node->column }, sizeof(unsigned[2]));
		if (key->child)
			decode_map(r, key->child, item, items + i * size);
		else
			config_scalar_read(r, key, key->item, item, items + i * size);
	}
	memcpy(target, &items, sizeof(items));
	memcpy(target + sizeof(items), &where.node->n, sizeof(size_t));
}

static void decode_surfaces(struct reader *r, const struct schema_key *key, struct where where,
			    char *target)
{
	unsigned bits = 0;
	size_t i = 0;

	if (!list_is_valid(r, key, where))
		return;
	for (const struct node *node = where.node->first; node; node = node->next, i++) {
		struct path path = { .up = where.path, .index = i };
		int choice = 0;

		if (config_scalar_read(r, key, VALUE_CHOICE, below(where, &path, node, false),
				       &choice))
			bits |= 1u << choice;
	}
	memcpy(target, &bits, sizeof(bits));
}

/* ---- values ------------------------------------------------------------- */

static void decode_source_kind(struct config_source *source)
{
	source->kind = source->env ? CONFIG_SOURCE_ENV : source->file ? CONFIG_SOURCE_FILE :
		       source->exec.n ? CONFIG_SOURCE_EXEC : CONFIG_SOURCE_NONE;
}

static void decode_real(struct reader *r, struct where where, struct config_secret *secret)
{
	if (config_node_get(where.node, "id") || config_node_get(where.node, "secret")) {
		decode_map(r, &config_schema_real_pair, where, secret);
		return;
	}
	if (where.node->kind != NODE_MAP) {
		config_fail(r, where,
			    "expected a source such as { env: NAME }; the value itself never "
			    "belongs in this file");
		return;
	}
	decode_map(r, &config_schema_source, where, &secret->real);
	decode_source_kind(&secret->real);
}

static void decode_value(struct reader *r, const struct schema_key *key, struct where where,
			 char *target)
{
	switch (key->type) {
	case VALUE_MAP:
		decode_map(r, key->child, where, target);
		if (key->child == &config_schema_source)
			decode_source_kind((struct config_source *)(void *)target);
		break;
	case VALUE_RULE:
		((struct config_rule *)(void *)target)->action = (enum config_action)key->choice;
		decode_map(r, key->child, where, target);
		break;
	case VALUE_LIST:
		decode_list(r, key, where, target);
		break;
	case VALUE_SURFACES:
		decode_surfaces(r, key, where, target);
		break;
	case VALUE_DUMMY:
		if (where.node->kind == NODE_MAP)
			decode_map(r, &config_schema_dummy_pair, where, target);
		else
			config_scalar_read(r, key, VALUE_STRING, where,
					   target + offsetof(struct config_secret, dummy));
		break;
	case VALUE_REAL:
		decode_real(r, where, (struct config_secret *)(void *)target);
		break;
	default:
		config_scalar_read(r, key, key->type, where, target);
	}
}

/* "[x]" is a list of x. */
static void decode_fallback(struct reader *r, const struct schema_key *key, struct where where,
			    char *target)
{
	size_t n = strlen(key->fallback);
	bool is_list = key->type == VALUE_LIST || key->type == VALUE_SURFACES;
	struct node item = { .kind = NODE_SCALAR },
		    list = { .kind = NODE_LIST, .first = &item, .n = 1 };
	struct path path = { .up = where.path, .key = key->name };

	item.text = config_alloc_str(r, key->fallback + is_list, is_list ? n - 2 : n);
	if (item.text)
		decode_value(r, key, below(where, &path, is_list ? &list : &item, false), target);
}

static void decode_absent(struct reader *r, const struct schema_key *key, struct where where,
			  char *target)
{
	static const struct node nothing = { .kind = NODE_MAP };
	struct path path = { .up = where.path, .key = key->name };

	if (key->required)
		config_fail(r, below(where, &path, where.node, true), "this key is required");
	else if (key->fallback)
		decode_fallback(r, key, where, target);
	else if (key->type == VALUE_MAP && !key->optional)
		decode_map(r, key->child, below(where, &path, &nothing, false), target);
}

/* ---- maps --------------------------------------------------------------- */

static const struct schema_key *find_key(const struct schema_map *map, const char *name)
{
	for (size_t i = 0; i < map->n; i++)
		if (strcmp(map->keys[i].name, name) == 0)
			return &map->keys[i];
	return NULL;
}

static const char *key_names(const struct schema_map *map, char dst[128])
{
	dst[0] = '\0';
	for (size_t i = 0; i < map->n; i++) {
		size_t n = strlen(dst);

		snprintf(dst + n, 128 - n, "%s%s", i ? ", " : "", map->keys[i].name);
	}
	return dst;
}

/* What stands below a hidden key could be a secret, also as a key. */
static void fail_unknown(struct reader *r, const struct schema_map *map, struct where where,
			 const struct node *pair)
{
	struct path path = { .up = where.path, .key = pair->text };
	const char *nearest = where.hide ? NULL : nearest_key(map, pair->text);
	char names[128];

	if (where.hide)
		path = *where.path;
	where = below(where, &path, pair, true);
	if (nearest)
		config_fail_unknown(r, where, nearest);
	else
		config_fail(r, where, "unknown key, expected %s", key_names(map, names));
}

static void decode_pair(struct reader *r, const struct schema_map *map, struct where where,
			const struct node *pair, char *target)
{
	const struct schema_key *key = find_key(map, pair->text);
	struct path path = { .up = where.path, .key = pair->text };

	if (!key)
		fail_unknown(r, map, where, pair);
	else if (config_node_is_null(pair->value) && !key->required &&
		 (key->type == VALUE_MAP || key->type == VALUE_LIST))
		/* all below it is commented out */
		decode_absent(r, key, where, target + key->offset);
	else if (config_node_is_null(pair->value))
		config_fail(r, below(where, &path, pair->value, key->hide), "the value is missing");
	else
		decode_value(r, key, below(where, &path, pair->value, key->hide),
			     target + key->offset);
}

static void decode_map(struct reader *r, const struct schema_map *map, struct where where,
		       void *target)
{
	char names[128];

	if (where.node->kind != NODE_MAP) {
		config_fail(r, where, "expected a map%s",
			    where.node->kind == NODE_LIST ? ", found a list" : "");
		return;
	}
	if (map->exactly_one && where.node->n != 1)
		config_fail(r, where, "expected exactly one of %s", key_names(map, names));
	for (const struct node *pair = where.node->first; pair; pair = pair->next)
		decode_pair(r, map, where, pair, target);
	for (size_t i = 0; i < map->n; i++)
		if (!config_node_get(where.node, map->keys[i].name))
			decode_absent(r, &map->keys[i], where,
				      (char *)target + map->keys[i].offset);
}

void config_decode(struct reader *r, const struct node *root, struct config *cfg)
{
	const struct where top = { .node = root };

	decode_map(r, &config_schema_root, top, cfg);
	cfg->identity.present = config_node_get(root, "identity") != NULL;
}
