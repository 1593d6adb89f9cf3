/*
 * tree.c - YAML text to a tree of nodes that know their place
 *
 * A plain subset of YAML 1.1: one document, maps with scalar keys, lists, scalars. Anchors,
 * aliases and tags are refused (nothing may mean more than it shows), and depth, nodes and keys
 * are limited, so that the work is linear in the text. Failure modes: the first violation ends
 * the reading; libyaml's own messages are kept, with their place.
 */
#include "config/config_internal.h"

#include <yaml.h>

#define DEPTH_MAX 12
#define NODES_MAX 400000
#define MAP_KEYS_MAX 64

struct tree_reader {
	struct reader *r;
	struct bytes text;
	struct node *stack[DEPTH_MAX];	/* open lists and maps */
	struct node *last[DEPTH_MAX];	/* their last child */
	struct node *key[DEPTH_MAX];	/* a map's key that waits for its value */
	size_t depth;
	size_t nodes;
	struct node *root;
	bool started, ended;
};

bool config_node_is_null(const struct node *node)
{
	static const char *const words[] = { "", "~", "null", "Null", "NULL" };

	if (node->kind != NODE_SCALAR || node->quoted)
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		if (strcmp(node->text, words[i]) == 0)
			return true;
	return false;
}

const struct node *config_node_get(const struct node *map, const char *key)
{
	if (!map || map->kind != NODE_MAP)
		return NULL;
	for (const struct node *k = map->first; k; k = k->next)
		if (strcmp(k->text, key) == 0)
			return k->value;
	return NULL;
}

const struct node *config_node_at(const struct node *list, size_t i)
{
	const struct node *item = list && list->kind == NODE_LIST ? list->first : NULL;

	while (item && i--)
		item = item->next;
	return item;
}

static bool fail_mark(struct tree_reader *t, const yaml_mark_t *mark, const char *text)
{
	config_fail_at(t->r, (unsigned)mark->line + 1, (unsigned)mark->column + 1, text);
	return false;
}

static bool fail_offset(struct tree_reader *t, size_t offset, const char *text)
{
	unsigned line = 1, column = 1;

	for (size_t i = 0; i < offset && i < t->text.n; i++) {
		if (t->text.p[i] == '\n') {
			line++;
			column = 1;
		} else if ((t->text.p[i] & 0xc0) != 0x80) {
			column++;
		}
	}
	config_fail_at(t->r, line, column, text);
	return false;
}

static bool fail_parser(struct tree_reader *t, const yaml_parser_t *parser)
{
	char text[160];

	if (parser->error == YAML_MEMORY_ERROR) {
		t->r->no_memory = true;
		return false;
	}
	if (parser->error == YAML_READER_ERROR)
		return fail_offset(t, parser->problem_offset, parser->problem);
	snprintf(text, sizeof(text), "not valid YAML: %s%s%s",
		 parser->problem ? parser->problem : "error", parser->context ? " " : "",
		 parser->context ? parser->context : "");
	return fail_mark(t, &parser->problem_mark, text);
}

static bool attach_key(struct tree_reader *t, struct node *node, const yaml_mark_t *mark)
{
	struct node *map = t->stack[t->depth - 1];

	if (node->kind != NODE_SCALAR)
		return fail_mark(t, mark, "a key must be a plain word");
	for (const struct node *k = map->first; k; k = k->next) {
		if (strcmp(k->text, node->text) == 0) {
			char text[96];

			snprintf(text, sizeof(text), "duplicate key \"%.32s\", first at line %u",
				 k->text, k->line);
			fail_mark(t, mark, text);
			break;
		}
	}
	if (map->n == MAP_KEYS_MAX)
		return fail_mark(t, mark, "too many keys");
	t->key[t->depth - 1] = node;
	return true;
}

static void append(struct tree_reader *t, struct node *child)
{
	size_t top = t->depth - 1;

	if (t->last[top])
		t->last[top]->next = child;
	else
		t->stack[top]->first = child;
	t->last[top] = child;
	t->stack[top]->n++;
}

static bool attach(struct tree_reader *t, struct node *node, const yaml_mark_t *mark)
{
	struct node *key;

	if (t->depth == 0) {
		t->root = node;
		return true;
	}
	if (t->stack[t->depth - 1]->kind == NODE_LIST) {
		append(t, node);
		return true;
	}
	key = t->key[t->depth - 1];
	if (!key)
		return attach_key(t, node, mark);
	key->value = node;
	t->key[t->depth - 1] = NULL;
	append(t, key);
	return true;
}

static struct node *node_new(struct tree_reader *t, enum node_kind kind, const yaml_mark_t *mark)
{
	struct node *node;

	if (++t->nodes > NODES_MAX) {
		fail_mark(t, mark, "too many values in one file");
		return NULL;
	}
	node = config_alloc(t->r, 1, sizeof(*node));
	if (!node)
		return NULL;
	node->kind = kind;
	node->line = (unsigned)mark->line + 1;
	node->column = (unsigned)mark->column + 1;
	return node;
}

static bool is_marked(struct tree_reader *t, const yaml_mark_t *mark, const void *anchor,
		      const void *tag)
{
	if (anchor)
		return !fail_mark(t, mark, "anchors and aliases are not supported");
	if (tag)
		return !fail_mark(t, mark, "tags are not supported");
	return false;
}

static bool on_scalar(struct tree_reader *t, const yaml_event_t *event)
{
	const char *text = (const char *)event->data.scalar.value;
	size_t n = event->data.scalar.length;
	struct node *node;

	if (is_marked(t, &event->start_mark, event->data.scalar.anchor, event->data.scalar.tag))
		return false;
	for (size_t i = 0; i < n; i++)
		if ((uint8_t)text[i] < 0x20 || text[i] == 0x7f)
			return fail_mark(t, &event->start_mark,
					 "control characters and line breaks are "
					 "not allowed in a value");
	node = node_new(t, NODE_SCALAR, &event->start_mark);
	if (!node)
		return false;
	node->quoted = event->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
	node->text = config_alloc_str(t->r, text, n);
	return node->text && attach(t, node, &event->start_mark);
}

static bool on_open(struct tree_reader *t, enum node_kind kind, const yaml_event_t *event,
		    const void *anchor, const void *tag)
{
	struct node *node;

	if (is_marked(t, &event->start_mark, anchor, tag))
		return false;
	if (t->depth == DEPTH_MAX)
		return fail_mark(t, &event->start_mark, "nested too deeply");
	node = node_new(t, kind, &event->start_mark);
	if (!node || !attach(t, node, &event->start_mark))
		return false;
	t->stack[t->depth] = node;
	t->last[t->depth] = NULL;
	t->key[t->depth] = NULL;
	t->depth++;
	return true;
}

static bool on_event(struct tree_reader *t, const yaml_event_t *event)
{
	switch (event->type) {
	case YAML_DOCUMENT_START_EVENT:
		if (t->started)
			return fail_mark(t, &event->start_mark,
					 "only one document is allowed in the file");
		t->started = true;
		return true;
	case YAML_SCALAR_EVENT:
		return on_scalar(t, event);
	case YAML_SEQUENCE_START_EVENT:
		return on_open(t, NODE_LIST, event, event->data.sequence_start.anchor,
			       event->data.sequence_start.tag);
	case YAML_MAPPING_START_EVENT:
		return on_open(t, NODE_MAP, event, event->data.mapping_start.anchor,
			       event->data.mapping_start.tag);
	case YAML_SEQUENCE_END_EVENT:
	case YAML_MAPPING_END_EVENT:
		t->depth--;
		return true;
	case YAML_ALIAS_EVENT:
		return fail_mark(t, &event->start_mark, "anchors and aliases are not supported");
	case YAML_STREAM_END_EVENT:
		t->ended = true;
		return true;
	default:
		return true;
	}
}

static bool read_events(struct tree_reader *t, yaml_parser_t *parser)
{
	while (!t->ended) {
		yaml_event_t event;
		bool ok;

		if (!yaml_parser_parse(parser, &event))
			return fail_parser(t, parser);
		ok = on_event(t, &event);
		yaml_event_delete(&event);
		if (!ok)
			return false;
	}
	return true;
}

struct node *config_tree_read(struct reader *r, struct bytes text)
{
	struct tree_reader t = { .r = r, .text = text };
	size_t nul = bytes_index(text, 0);
	yaml_parser_t parser;
	bool ok;

	if (text.n > CONFIG_FILE_MAX) {
		config_fail_at(r, 0, 0, "the file is larger than 4 MiB");
		return NULL;
	}
	if (nul < text.n) {
		fail_offset(&t, nul, "a NUL byte is not allowed");
		return NULL;
	}
	if (!yaml_parser_initialize(&parser)) {
		r->no_memory = true;
		return NULL;
	}
	yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
	yaml_parser_set_input_string(&parser, text.n ? text.p : (const uint8_t *)"", text.n);
	ok = read_events(&t, &parser);
	yaml_parser_delete(&parser);
	if (!ok)
		return NULL;
	if (!t.root || config_node_is_null(t.root)) {
		config_fail_at(r, 1, 1, "the file is empty: `agents` and `egress` are required");
		return NULL;
	}
	return t.root;
}
