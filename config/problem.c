/*
 * problem.c - collecting what is wrong, and memory for the reader
 *
 * A problem is stored in pieces (place, key path, value, text, nearest key) so that the log, the
 * terminal and a test can each use what they need. Values below a key marked `hide` are never
 * copied: a secret pasted in the wrong place must not reach a log.
 */
#include "config/config_internal.h"

#include <stdlib.h>

struct config_arena_block {
	struct config_arena_block *next;
	max_align_t data[];
};

void *config_alloc(struct reader *r, size_t n, size_t size)
{
	struct config_arena_block *block;
	size_t total;

	if (__builtin_mul_overflow(n, size, &total) ||
	    __builtin_add_overflow(total, sizeof(*block), &total) || !(block = calloc(1, total))) {
		r->no_memory = true;
		return NULL;
	}
	block->next = r->arena;
	r->arena = block;
	return block->data;
}

char *config_alloc_str(struct reader *r, const char *s, size_t n)
{
	char *copy = config_alloc(r, n + 1, 1);

	if (copy && n)
		memcpy(copy, s, n);
	return copy;
}

void config_arena_free(struct config_arena_block *arena)
{
	while (arena) {
		struct config_arena_block *next = arena->next;

		free(arena);
		arena = next;
	}
}

/* Whole UTF-8 characters only; "..." when it was cut. */
static void copy_short(char *dst, size_t cap, const char *src)
{
	size_t n = strlen(src);

	if (n < cap) {
		memcpy(dst, src, n + 1);
		return;
	}
	n = cap - 4;
	while (n && ((uint8_t)src[n] & 0xc0) == 0x80)
		n--;
	memcpy(dst, src, n);
	memcpy(dst + n, "...", 4);
}

/* At most 16 steps: the depth of the tree is limited. */
static size_t path_write(char *dst, size_t cap, const struct path *path)
{
	size_t n = path->up ? path_write(dst, cap, path->up) : 0;
	int more;

	if (n >= cap)
		return n;
	if (path->key)
		more = snprintf(dst + n, cap - n, "%s%s", n ? "." : "", path->key);
	else
		more = snprintf(dst + n, cap - n, "[%zu]", path->index);
	return n + (more > 0 ? (size_t)more : 0);
}

static void problem_fill(struct config_problem *p, struct where where)
{
	char key[512];

	*p = (struct config_problem){ 0 };
	if (where.path) {
		path_write(key, sizeof(key), where.path);
		copy_short(p->key, sizeof(p->key), key);
	}
	if (!where.node)
		return;
	p->line = where.node->line;
	p->column = where.node->column;
	if (!where.hide && where.node->kind == NODE_SCALAR && where.node->text)
		copy_short(p->value, sizeof(p->value), where.node->text);
}

static struct config_problem *error_add(struct reader *r)
{
	static const size_t max = CONFIG_PROBLEMS_MAX;

	r->error->total++;
	return r->error->n < max ? &r->error->problems[r->error->n++] : NULL;
}

void config_fail(struct reader *r, struct where where, const char *fmt, ...)
{
	struct config_problem *p = error_add(r);
	char text[512];
	va_list ap;

	if (!p)
		return;
	problem_fill(p, where);
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	copy_short(p->text, sizeof(p->text), text);
}

void config_fail_unknown(struct reader *r, struct where where, const char *nearest)
{
	struct config_problem *p = error_add(r);

	if (!p)
		return;
	problem_fill(p, where);
	copy_short(p->text, sizeof(p->text), "unknown key");
	copy_short(p->nearest, sizeof(p->nearest), nearest);
}

void config_fail_at(struct reader *r, unsigned line, unsigned column, const char *text)
{
	struct config_problem *p = error_add(r);

	if (!p)
		return;
	*p = (struct config_problem){ .line = line, .column = column };
	copy_short(p->text, sizeof(p->text), text);
}

void config_warn(struct reader *r, struct where where, const char *fmt, ...)
{
	struct config_problem *p;
	char text[512];
	va_list ap;

	if (!r->warnings)
		r->warnings = config_alloc(r, CONFIG_PROBLEMS_MAX, sizeof(*r->warnings));
	if (!r->warnings || r->n_warnings == CONFIG_PROBLEMS_MAX)
		return;
	p = &r->warnings[r->n_warnings++];
	problem_fill(p, where);
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	copy_short(p->text, sizeof(p->text), text);
}

const char *config_problem_text(const char *file, const struct config_problem *p,
				char dst[CONFIG_PROBLEM_TEXT_MAX])
{
	char place[32] = "";

	if (p->line)
		snprintf(place, sizeof(place), "%u:%u:", p->line, p->column);
	snprintf(dst, CONFIG_PROBLEM_TEXT_MAX, "%.255s:%s %s%s%s%s%s%s%s%s%s", file, place, p->key,
		 p->key[0] ? ": " : "", p->text, p->value[0] ? ", found \"" : "", p->value,
		 p->value[0] ? "\"" : "", p->nearest[0] ? "; did you mean \"" : "", p->nearest,
		 p->nearest[0] ? "\"?" : "");
	return dst;
}

void config_error_print(const struct config_error *e, FILE *out)
{
	char line[CONFIG_PROBLEM_TEXT_MAX];

	for (size_t i = 0; i < e->n; i++)
		fprintf(out, "%s\n", config_problem_text(e->file, &e->problems[i], line));
	if (e->total > e->n)
		fprintf(out, "%s: and %zu more\n", e->file, e->total - e->n);
}
