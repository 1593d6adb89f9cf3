/*
 * build.c - from patterns to a blob
 *
 * Sort the texts, drop doubles, store them with their edges, then let build_fail.c and
 * build_filter.c add theirs; last the sections are laid out one after the other. Everything made on
 * the way spells secrets or tells of them, and is wiped before it is freed, also on failure.
 */
#include <stdlib.h>

#include "gateway/rewrite/rewrite_internal.h"

static const size_t entry_size[SECTION_COUNT] = {
	[SECTION_TEXTS] = 1,
	[SECTION_PATTERNS] = sizeof(struct set_pattern),
	[SECTION_EDGES] = sizeof(struct set_edge),
	[SECTION_MARKS] = sizeof(struct set_mark),
	[SECTION_FAILS] = sizeof(struct set_fail),
	[SECTION_ITEMS] = sizeof(struct set_item),
	[SECTION_BLOOM] = sizeof(uint64_t),
	[SECTION_OFFSETS] = sizeof(uint16_t),
	[SECTION_JUMPS] = sizeof(struct set_jump),
};

enum err vec_grow(struct vec *v, size_t n, void **out)
{
	if (n > v->cap - v->n) {
		size_t cap = v->cap ? v->cap : 256;
		uint8_t *data;

		while (cap - v->n < n) {
			if (cap > SIZE_MAX / 2)
				return ERR_NOMEM;
			cap *= 2;
		}
		data = malloc(cap);
		if (!data)
			return ERR_NOMEM;
		if (v->n)
			memcpy(data, v->data, v->n);
		mem_wipe_free(v->data, v->cap);
		v->data = data;
		v->cap = cap;
	}
	memset(v->data + v->n, 0, n);
	*out = v->data + v->n;
	v->n += n;
	return ERR_OK;
}

void vec_release(struct vec *v)
{
	mem_wipe_free(v->data, v->cap);
	*v = (struct vec){ 0 };
}

/* ---- texts and edges ----------------------------------------------------------------- */

static int compare_texts(struct bytes a, struct bytes b)
{
	int c = memcmp(a.p, b.p, a.n < b.n ? a.n : b.n);

	return c ? c : (a.n > b.n) - (a.n < b.n);
}

/* By text; of equal texts the caller's first comes first. */
static int compare_patterns(const void *va, const void *vb)
{
	const struct rewrite_pattern *const *a = va, *const *b = vb;
	int c = compare_texts((*a)->text, (*b)->text);

	return c ? c : (*a > *b) - (*a < *b);
}

static enum err check_patterns(const struct rewrite_pattern *pats, size_t n)
{
	size_t total = 0;

	for (size_t i = 0; i < n; i++) {
		if (pats[i].text.n == 0)
			return ERR_BAD_VALUE;
		if (pats[i].text.n > REWRITE_PATTERN_MAX)
			return ERR_TOO_LONG;
		total += pats[i].text.n + 1;
		if (total > REWRITE_TEXT_MAX)
			return ERR_TOO_LONG;
	}
	return ERR_OK;
}

static enum err add_text(struct builder *b, const struct rewrite_pattern *pat)
{
	struct set_pattern *p;
	void *out;
	size_t place = b->section[SECTION_TEXTS].n;

	TRY(vec_grow(&b->section[SECTION_TEXTS], pat->text.n + 1, &out));
	memcpy(out, pat->text.p, pat->text.n);
	TRY(vec_grow(&b->section[SECTION_PATTERNS], sizeof(*p), &out));
	p = out;
	p->place = (uint32_t)place;
	p->length = (uint16_t)pat->text.n;
	p->id = pat->id;
	b->head.n++;
	if (b->head.longest < pat->text.n)
		b->head.longest = (uint32_t)pat->text.n;
	if (b->head.shortest == 0 || b->head.shortest > pat->text.n)
		b->head.shortest = (uint32_t)pat->text.n;
	return ERR_OK;
}

static enum err add_texts(struct builder *b, const struct rewrite_pattern *pats, size_t n)
{
	const struct rewrite_pattern **order = malloc(n * sizeof(*order));
	enum err e = ERR_OK;
	void *pad;

	if (!order)
		return ERR_NOMEM;
	for (size_t i = 0; i < n; i++)
		order[i] = &pats[i];
	qsort(order, n, sizeof(*order), compare_patterns);
	for (size_t i = 0; e == ERR_OK && i < n; i++)
		if (i == 0 || !bytes_eq(order[i]->text, order[i - 1]->text))
			e = add_text(b, order[i]);
	mem_wipe_free(order, n * sizeof(*order));
	return e == ERR_OK ? vec_grow(&b->section[SECTION_TEXTS], SET_TEXT_PAD, &pad) : e;
}

static uint8_t log2_at_least(uint64_t n)
{
	uint8_t bits = 1;

	while ((UINT64_C(1) << bits) < n)
		bits++;
	return bits;
}

static void edge_add(struct builder *b, uint32_t place, uint8_t byte, uint32_t pattern)
{
	struct set_edge *edges = (void *)b->section[SECTION_EDGES].data;
	struct set_mark *marks = (void *)b->section[SECTION_MARKS].data;
	uint64_t mask = (UINT64_C(1) << (64 - b->head.edge_shift)) - 1;
	uint64_t i = hash_edge(place, byte) >> b->head.edge_shift;

	while (edges[i].to != 0)
		i = (i + 1) & mask;
	edges[i].place = place;
	edges[i].to = pattern << 8 | byte;
	marks[place / 64].edges |= UINT64_C(1) << (place % 64);
}

/* How far each pattern runs along the one before it, and which node it leaves there. */
static enum err add_edges(struct builder *b)
{
	struct set_pattern *pats = (void *)b->section[SECTION_PATTERNS].data;
	uint8_t bits = log2_at_least((uint64_t)b->head.n * 4);
	uint32_t *lcp, *parent;
	void *out;

	b->head.edge_shift = (uint8_t)(64 - bits);
	TRY(vec_grow(&b->section[SECTION_EDGES], sizeof(struct set_edge) << bits, &out));
	TRY(vec_grow(&b->section[SECTION_MARKS],
		     (b->section[SECTION_TEXTS].n / 64 + 1) * sizeof(struct set_mark), &out));
	TRY(vec_grow(&b->lcp, b->head.n * sizeof(*lcp), &out));
	lcp = out;
	TRY(vec_grow(&b->parent, b->head.n * sizeof(*parent), &out));
	parent = out;
	for (uint32_t i = 1; i < b->head.n; i++) {
		struct bytes prev = builder_text(b, i - 1), text = builder_text(b, i);
		uint32_t l = 0, from = i - 1;

		while (l < prev.n && l < text.n && prev.p[l] == text.p[l])
			l++;
		while (from > 0 && lcp[from] >= l)
			from = parent[from];
		lcp[i] = l;
		parent[i] = from;
		if (l > 0 && pats[from].length == l) {
			pats[from].has_child = 1;
			pats[i].within = from + 1;
		} else {
			pats[i].within = l > 0 ? pats[from].within : 0;
		}
		edge_add(b, pats[from].place + l, text.p[l], i);
	}
	return ERR_OK;
}

/* ---- the blob ------------------------------------------------------------------------ */

static size_t round_up(size_t n)
{
	return (n + SET_ALIGN - 1) / SET_ALIGN * SET_ALIGN;
}

static enum err lay_out(struct builder *b, void **blob, size_t *size)
{
	size_t at = round_up(sizeof(struct rewrite_set));
	uint8_t *out;

	for (int i = 0; i < SECTION_COUNT; i++) {
		b->head.span[i].offset = at;
		b->head.span[i].count = b->section[i].n / entry_size[i];
		at += round_up(b->section[i].n);
	}
	out = aligned_alloc(SET_ALIGN, at);
	if (!out)
		return ERR_NOMEM;
	memset(out, 0, at);
	b->head.magic = SET_MAGIC;
	b->head.size = at;
	memcpy(out, &b->head, sizeof(b->head));
	for (int i = 0; i < SECTION_COUNT; i++)
		if (b->section[i].n)
			memcpy(out + b->head.span[i].offset, b->section[i].data, b->section[i].n);
	*blob = out;
	*size = at;
	return ERR_OK;
}

static enum err build(struct builder *b, const struct rewrite_pattern *pats, size_t n)
{
	TRY(add_texts(b, pats, n));
	TRY(add_edges(b));
	TRY(build_fails(b));
	return build_filter(b);
}

enum err rewrite_set_build(const struct rewrite_pattern *pats, size_t n, void **blob, size_t *size)
{
	struct builder b = { 0 };
	enum err e = check_patterns(pats, n);

	*blob = NULL;
	*size = 0;
	if (e == ERR_OK && n > 0)
		e = build(&b, pats, n);
	if (e == ERR_OK)
		e = lay_out(&b, blob, size);
	for (int i = 0; i < SECTION_COUNT; i++)
		vec_release(&b.section[i]);
	vec_release(&b.lcp);
	vec_release(&b.parent);
	explicit_bzero(&b, sizeof(b));
	return e;
}

void rewrite_blob_free(void *blob, size_t size)
{
	mem_wipe_free(blob, size);
}
