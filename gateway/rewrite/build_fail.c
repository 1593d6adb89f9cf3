/*
 * build_fail.c - where a node goes when no byte continues it
 *
 * Failing from node u settles its first bytes: the pattern pending there, or else one byte. The
 * rest of the path is then read from the root; that this reading is a machine run on known text
 * makes fail(u) follow from fail of u's parent and one more byte, as in Knuth-Morris-Pratt. Reading
 * the rest may fail in its turn and so settle matches: these are u's items. The items of a child
 * extend those of its parent, so they are kept as chains that share their beginnings, and are
 * flattened at the end, one run for each pattern.
 *
 * Nodes are taken by depth, since fail() always leads to a lesser depth. Cost: linear in the length
 * of all texts.
 */
#include <stdlib.h>

#include "gateway/rewrite/rewrite_internal.h"

struct link {
	uint32_t before; /* + 1; 0: none */
	uint32_t count;	 /* links up to and with this one */
	struct set_item item;
};

struct node {
	uint32_t pattern;
	uint16_t depth;
	uint32_t chain; /* last link, + 1; 0: none */
};

struct maker {
	struct builder *b;
	const struct set_pattern *pats;
	const uint8_t *texts;
	const struct set_edge *edges;
	const uint32_t *lcp, *parent;
	struct vec nodes;  /* struct node for each place */
	struct vec links;  /* struct link */
	struct vec active; /* uint32_t: patterns by lcp, then those that reach the depth in hand */
	struct vec copied; /* uint32_t for each item: its link */
};

static struct node *node_at(struct maker *m, struct set_node s)
{
	return (struct node *)(void *)m->nodes.data + m->pats[s.pattern].place + s.depth;
}

static struct link *link_at(struct maker *m, uint32_t link)
{
	return (struct link *)(void *)m->links.data + (link - 1);
}

static uint32_t chain_count(struct maker *m, uint32_t chain)
{
	return chain ? link_at(m, chain)->count : 0;
}

static bool step(const struct maker *m, struct set_node *s, uint8_t byte)
{
	const struct set_pattern *p = &m->pats[s->pattern];
	uint32_t to;

	if (s->depth == 0)
		p = &m->pats[s->pattern = 0];
	if (s->depth < p->length && m->texts[p->place + s->depth] == byte) {
		s->depth++;
		return true;
	}
	to = edge_find(m->edges, m->b->head.edge_shift, p->place + s->depth, byte);
	if (to == SET_NONE)
		return false;
	*s = (struct set_node){ to, s->depth + 1 };
	return true;
}

static enum err chain_add(struct maker *m, uint32_t *chain, uint32_t at, uint32_t pattern)
{
	uint32_t count = chain_count(m, *chain);
	struct link *l;
	void *out;

	TRY(vec_grow(&m->links, sizeof(*l), &out));
	l = out;
	l->before = *chain;
	l->count = count + 1;
	l->item = (struct set_item){ .pattern = pattern, .at = at };
	*chain = (uint32_t)(m->links.n / sizeof(*l));
	return ERR_OK;
}

/* Appends the links of `other`, moved by `shift`, in their order. */
static enum err chain_append(struct maker *m, uint32_t *chain, uint32_t other, uint32_t shift)
{
	uint32_t more = chain_count(m, other), have = chain_count(m, *chain);
	uint32_t base = (uint32_t)(m->links.n / sizeof(struct link));
	void *out;

	if (more == 0)
		return ERR_OK;
	TRY(vec_grow(&m->links, more * sizeof(struct link), &out));
	for (uint32_t i = more; i > 0; i--) {
		struct link *from = link_at(m, other), *to = link_at(m, base + i);

		to->before = i > 1 ? base + i - 1 : *chain;
		to->count = have + i;
		to->item = from->item;
		to->item.at += shift;
		other = from->before;
	}
	*chain = base + more;
	return ERR_OK;
}

/* fail() of the node at `depth` of pattern j, from that of its parent. */
static enum err make_node(struct maker *m, uint32_t j, uint32_t depth)
{
	struct set_node u = { j, depth }, up = { j, depth - 1 }, v = { 0, 0 };
	uint8_t byte = m->texts[m->pats[j].place + depth - 1];
	uint32_t chain = 0;
	struct node *n;

	if (depth == m->pats[j].length)
		return ERR_OK; /* settles as a whole: fails to the root */
	if (up.depth == m->lcp[j])
		up.pattern = m->parent[j];
	if (up.depth == 0)
		return ERR_OK; /* one byte, settled: the root */
	if (up.depth != m->pats[up.pattern].length) {
		n = node_at(m, up);
		v = (struct set_node){ n->pattern, n->depth };
		chain = n->chain;
	}
	while (!step(m, &v, byte)) {
		uint32_t at = depth - 1 - v.depth,
			 pending = pattern_pending(m->pats, v.pattern, v.depth);

		if (v.depth == 0)
			break;
		if (pending)
			TRY(chain_add(m, &chain, at, pending - 1));
		n = node_at(m, v);
		TRY(chain_append(m, &chain, n->chain, at));
		v = (struct set_node){ n->pattern, n->depth };
	}
	if (v.depth && v.depth == m->pats[v.pattern].length && !m->pats[v.pattern].has_child) {
		TRY(chain_add(m, &chain, depth - v.depth, v.pattern));
		v = (struct set_node){ 0, 0 };
	}
	*node_at(m, u) =
		(struct node){ .pattern = v.pattern, .depth = (uint16_t)v.depth, .chain = chain };
	return ERR_OK;
}

/* Patterns in the order of their lcp: pattern j joins at depth lcp + 1, where its own nodes begin.
 */
static enum err sort_by_lcp(struct maker *m, uint32_t *first)
{
	uint32_t n = m->b->head.n, longest = m->b->head.longest;
	uint32_t *active;
	void *out;

	TRY(vec_grow(&m->active, 2 * n * sizeof(uint32_t), &out));
	active = out;
	for (uint32_t i = 0; i < n; i++)
		first[m->lcp[i] + 1]++;
	for (uint32_t d = 0; d < longest; d++)
		first[d + 1] += first[d];
	for (uint32_t i = 0; i < n; i++)
		active[first[m->lcp[i]]++] = i;
	for (uint32_t d = longest; d > 0; d--)
		first[d] = first[d - 1];
	first[0] = 0;
	return ERR_OK;
}

static enum err make_nodes(struct maker *m)
{
	uint32_t n = m->b->head.n, longest = m->b->head.longest, live = 0;
	uint32_t first[REWRITE_PATTERN_MAX + 2] = { 0 };
	uint32_t *by_lcp, *active;

	TRY(sort_by_lcp(m, first));
	by_lcp = (uint32_t *)(void *)m->active.data;
	active = by_lcp + n;
	for (uint32_t depth = 1; depth <= longest; depth++) {
		uint32_t kept = 0;

		for (uint32_t i = first[depth - 1]; i < first[depth]; i++)
			active[live++] = by_lcp[i];
		for (uint32_t i = 0; i < live; i++) {
			if (m->pats[active[i]].length < depth)
				continue;
			active[kept++] = active[i];
			TRY(make_node(m, active[i], depth));
		}
		live = kept;
	}
	explicit_bzero(first, sizeof(first));
	return ERR_OK;
}

/* Index of the chain's first item, shared with the run copied last when it is a beginning of that.
 */
static enum err copy_items(struct maker *m, uint32_t chain, uint32_t *run, uint32_t *items)
{
	struct vec *section = &m->b->section[SECTION_ITEMS];
	uint32_t count = chain_count(m, chain);
	uint32_t *copied;
	struct set_item *to;
	void *out;

	*items = *run;
	if (count == 0)
		return ERR_OK;
	copied = (uint32_t *)(void *)m->copied.data;
	if (*run + count <= m->copied.n / sizeof(*copied) && copied[*run + count - 1] == chain)
		return ERR_OK;
	*items = *run = (uint32_t)(section->n / sizeof(*to));
	TRY(vec_grow(section, count * sizeof(*to), &out));
	to = out;
	TRY(vec_grow(&m->copied, count * sizeof(*copied), &out));
	copied = out;
	for (uint32_t i = count; i > 0; i--) {
		to[i - 1] = link_at(m, chain)->item;
		copied[i - 1] = chain;
		chain = link_at(m, chain)->before;
	}
	return ERR_OK;
}

/* Entries are made from each pattern's end, where its chain is longest, and turned round
 * afterwards. */
static enum err copy_pattern(struct maker *m, uint32_t j)
{
	struct vec *section = &m->b->section[SECTION_FAILS];
	struct set_mark *marks = (void *)m->b->section[SECTION_MARKS].data;
	size_t start = section->n / sizeof(struct set_fail), end;
	uint32_t run = 0;
	struct set_fail *f;

	for (uint32_t depth = m->pats[j].length; --depth > m->lcp[j];) {
		struct node *n = node_at(m, (struct set_node){ j, depth });
		uint32_t place = m->pats[j].place + depth, items;
		void *out;

		if (n->depth == 0 && n->chain == 0)
			continue;
		TRY(copy_items(m, n->chain, &run, &items));
		TRY(vec_grow(section, sizeof(*f), &out));
		f = out;
		*f = (struct set_fail){ n->pattern, n->depth, (uint16_t)chain_count(m, n->chain),
					n->chain ? items : 0 };
		marks[place / 64].fails |= UINT64_C(1) << (place % 64);
	}
	f = (struct set_fail *)(void *)section->data;
	end = section->n / sizeof(*f);
	for (; start + 1 < end; start++, end--) {
		struct set_fail t = f[start];

		f[start] = f[end - 1];
		f[end - 1] = t;
	}
	return ERR_OK;
}

static enum err make_fails(struct maker *m)
{
	size_t places = m->b->section[SECTION_TEXTS].n;
	size_t n_marks = m->b->section[SECTION_MARKS].n / sizeof(struct set_mark);
	struct set_mark *marks = (void *)m->b->section[SECTION_MARKS].data;
	uint64_t rank = 0;
	void *out;

	TRY(vec_grow(&m->nodes, places * sizeof(struct node), &out));
	TRY(make_nodes(m));
	for (uint32_t j = 0; j < m->b->head.n; j++)
		TRY(copy_pattern(m, j));
	for (size_t i = 0; i < n_marks; i++) {
		marks[i].rank = rank;
		rank += (uint64_t)__builtin_popcountll(marks[i].fails);
	}
	return ERR_OK;
}

enum err build_fails(struct builder *b)
{
	struct maker m = {
		.b = b,
		.pats = (const void *)b->section[SECTION_PATTERNS].data,
		.texts = b->section[SECTION_TEXTS].data,
		.edges = (const void *)b->section[SECTION_EDGES].data,
		.lcp = (const void *)b->lcp.data,
		.parent = (const void *)b->parent.data,
	};
	enum err e = make_fails(&m);

	vec_release(&m.nodes);
	vec_release(&m.links);
	vec_release(&m.active);
	vec_release(&m.copied);
	return e;
}
