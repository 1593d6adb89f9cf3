/*
 * test_rewrite_stream.c - the rewriter against the model, at every split
 *
 * Every text lies against an unmapped page, so that reading one byte too far ends the test.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/lib/guard.h"
#include "tests/lib/rewrite_model.h"

struct made {
	void *blob;
	size_t size;
	const struct rewrite_set *set;
};

static struct model_trace want, got;
static uint8_t *page_end; /* what lies before it can be read, what follows cannot */

#define PAGE_ROOM 8192

static struct bytes against_page(struct bytes in)
{
	if (in.n)
		memcpy(page_end - in.n, in.p, in.n);
	return bytes_of(page_end - in.n, in.n);
}

static struct made make(const struct rewrite_pattern *pats, size_t n)
{
	struct made m;

	assert_int_equal(rewrite_set_build(pats, n, &m.blob, &m.size), ERR_OK);
	m.set = rewrite_set_open(m.blob, m.size);
	assert_non_null(m.set);
	return m;
}

static void unmake(struct made *m)
{
	rewrite_blob_free(m->blob, m->size);
}

/* Feeds in pieces that end at the cuts; each piece lies at the end of a page. */
static void feed_cut(const struct made *m, struct bytes in, const size_t *cuts, size_t n)
{
	struct rewrite_stream s;
	size_t at = 0;

	model_reset(&got);
	rewrite_stream_init(&s, m->set, &model_ops, &got);
	for (size_t i = 0; i <= n; i++) {
		size_t end = i < n ? cuts[i] : in.n;

		assert_int_equal(rewrite_feed(&s, against_page(bytes_of(in.p + at, end - at))),
				 ERR_OK);
		at = end;
		assert_true(rewrite_held(&s) == 0 ||
			    rewrite_held(&s) < rewrite_set_longest(m->set));
	}
	assert_int_equal(rewrite_end(&s), ERR_OK);
	assert_int_equal(rewrite_held(&s), 0);
	rewrite_stream_release(&s);
}

static void expect_same(const char *what, size_t a, size_t b, struct bytes in)
{
	if (model_same(&want, &got))
		return;
	printf("%s: cut at %zu and %zu of '%.*s'\n want %zu matches '%.*s'\n got  %zu matches "
	       "'%.*s'\n",
	       what, a, b, (int)in.n, (const char *)in.p, want.matches, (int)want.out_n,
	       (const char *)want.out, got.matches, (int)got.out_n, (const char *)got.out);
	fail();
}

/* Whole, every split, every pair of splits when short, and byte by byte. */
static void check_text(const struct rewrite_pattern *pats, size_t n, const struct made *m,
		       struct bytes in)
{
	size_t *all = calloc(in.n + 1, sizeof(*all));

	assert_non_null(all);
	model_run(&want, pats, n, in);
	model_reset(&got);
	assert_int_equal(rewrite_whole(m->set, against_page(in), &model_ops, &got), ERR_OK);
	expect_same("whole", 0, 0, in);
	assert_int_equal(rewrite_any(m->set, against_page(in)), want.matches > 0);
	for (size_t a = 0; a <= in.n; a++) {
		feed_cut(m, in, &a, 1);
		expect_same("split", a, a, in);
		for (size_t b = a; in.n <= 40 && b <= in.n; b++) {
			feed_cut(m, in, (size_t[]){ a, b }, 2);
			expect_same("splits", a, b, in);
		}
		all[a] = a;
	}
	feed_cut(m, in, all, in.n);
	expect_same("bytes", 0, 0, in);
	free(all);
}

/* ---- vectors ------------------------------------------------------------------------- */

struct vector {
	const char *patterns[8];
	const char *texts[10];
};

static const struct vector vectors[] = {
	{ { "he", "she", "his", "hers" },
	  { "ushers", "hishershe", "shis", "h", "s", "", "sheshehers" } },
	{ { "a" }, { "a", "aaaa", "b", "bab" } },
	{ { "a", "aaaab" }, { "aaaa", "aaaab", "aaaaaaaab", "aaab", "aaaaaaaaaaaa" } },
	{ { "ab", "abcd", "abcdef" },
	  { "abcdefabcdeabcdabcab", "abcdeabcdef", "ababcdab", "abcde" } },
	{ { "abcdx", "bc", "cdy" }, { "abcdx", "abcdy", "abcd", "abcabcdx", "bcdy" } },
	{ { "bb", "abbabbabbz" },
	  { "abbabbabbz", "abbabbabbabbz", "abbabbabbb", "abbabbabb", "bbbabb" } },
	{ { "b", "xbbbbbz" }, { "xbbbbbz", "xbbbbbb", "xbbxbbbbbz", "xbb", "xbbbbb" } },
	{ { "sk-dummy-openai" },
	  { "sk-dummy-openai", "sk-dummy-opena", "sk-sk-dummy-openai", "Bearer sk-dummy-openai",
	    "sk-dummy-openaisk-dummy-openai", "xsk-dummy-sk-dummy-openaix",
	    "sk-dummy-openax sk-dummy-openai" } },
	{ { "token-0123456789", "token-0123456789abcdef", "0123456789" },
	  { "token-0123456789abcdef", "token-0123456789abcde", "x0123456789",
	    "token-0123456789token-0123456789abcdef", "token-012345678" } },
	{ { "0123456789abcdefghij", "abcdefghijklmnopqrst" },
	  { "0123456789abcdefghijklmnopqrst", "0123456789abcdefghiabcdefghijklmnopqrst",
	    "0123456789abcdefghij0123456789abcdefghij" } },
	{ { "abab", "babb" }, { "ababb", "abababb", "bababb", "babab", "babbabab" } },
	{ { "aab", "aabaabaac", "baa" }, { "aabaabaac", "aabaabaab", "aabaabaa", "baabaabaac" } },
};

static void test_vectors_at_every_split(void **state)
{
	(void)state;
	for (size_t v = 0; v < ARRAY_SIZE(vectors); v++) {
		struct rewrite_pattern pats[8];
		size_t n = 0;

		while (n < 8 && vectors[v].patterns[n]) {
			pats[n] = (struct rewrite_pattern){ bytes_str(vectors[v].patterns[n]), 0 };
			n++;
		}
		/* Each verdict at each pattern. */
		for (uint32_t turn = 0; turn < 3; turn++) {
			struct made m;

			for (uint32_t i = 0; i < n; i++)
				pats[i].id = i * 4 + turn;
			m = make(pats, n);
			for (size_t t = 0; t < 10 && vectors[v].texts[t]; t++)
				check_text(pats, n, &m, bytes_str(vectors[v].texts[t]));
			unmake(&m);
		}
	}
}

/* ---- random sets over small alphabets ------------------------------------------------ */

static uint64_t seed = 7;

static uint32_t chance(uint32_t n)
{
	seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return n ? (uint32_t)(seed >> 33) % n : 0;
}

struct pool {
	struct rewrite_pattern pats[64];
	uint8_t text[64][64];
	size_t n;
};

/* Half of the patterns grow out of others, so that beginnings, ends and insides are shared. */
static void random_patterns(struct pool *p, uint32_t alphabet, uint32_t least, uint32_t most)
{
	p->n = 1 + chance(12);
	for (size_t i = 0; i < p->n; i++) {
		size_t len = least + chance(most - least + 1), from = 0;

		for (size_t k = 0; k < len; k++)
			p->text[i][k] = (uint8_t)('a' + chance(alphabet));
		if (i > 0 && chance(2)) {
			const struct rewrite_pattern *other = &p->pats[chance((uint32_t)i)];
			size_t copy =
				1 + chance((uint32_t)(other->text.n < len ? other->text.n : len));

			from = chance(2) ? 0 : chance((uint32_t)(len - copy + 1));
			memcpy(p->text[i] + from,
			       other->text.p + chance((uint32_t)(other->text.n - copy + 1)), copy);
		}
		p->pats[i] = (struct rewrite_pattern){ bytes_of(p->text[i], len), (uint32_t)i };
	}
}

/* Patterns, beginnings of patterns and noise, one after the other. */
static size_t random_text(const struct pool *p, uint32_t alphabet, uint8_t *out, size_t cap)
{
	size_t n = 0;

	while (n + 70 < cap) {
		const struct bytes *text = &p->pats[chance((uint32_t)p->n)].text;
		size_t take = chance(3) ? 1 + chance((uint32_t)text->n) : text->n;

		if (chance(4) == 0) {
			out[n++] = (uint8_t)('a' + chance(alphabet));
			continue;
		}
		memcpy(out + n, text->p + (chance(4) ? 0 : text->n - take), take);
		n += take;
	}
	return n;
}

static void test_random_sets_equal_the_model(void **state)
{
	static const struct {
		uint32_t alphabet, least, most;
	} kinds[] = { { 1, 1, 6 },   { 2, 1, 5 },  { 2, 3, 12 },   { 3, 1, 8 }, { 2, 14, 24 },
		      { 3, 18, 40 }, { 20, 4, 9 }, { 20, 20, 50 }, { 2, 8, 8 }, { 2, 1, 40 } };
	struct pool p = { .n = 0 };
	uint8_t text[400] = { 0 };

	(void)state;
	for (int round = 0; round < 40; round++) {
		for (size_t k = 0; k < ARRAY_SIZE(kinds); k++) {
			struct made m;

			random_patterns(&p, kinds[k].alphabet, kinds[k].least, kinds[k].most);
			m = make(p.pats, p.n);
			for (int t = 0; t < 2; t++)
				check_text(p.pats, p.n, &m,
					   bytes_of(text, random_text(&p, kinds[k].alphabet, text,
								      t ? 110 : 330)));
			unmake(&m);
		}
	}
}

/* ---- promises of the stream ---------------------------------------------------------- */

static void test_holds_only_what_may_become_a_token(void **state)
{
	struct pool p = { .n = 0 };
	uint8_t text[160] = { 0 };

	(void)state;
	for (int round = 0; round < 60; round++) {
		size_t n;
		struct made m;

		random_patterns(&p, 2, 2, round % 2 ? 9 : 30);
		m = make(p.pats, p.n);
		n = random_text(&p, 2, text, sizeof(text));
		for (size_t cut = 0; cut <= n; cut++) {
			struct rewrite_stream s;

			model_reset(&got);
			rewrite_stream_init(&s, m.set, &model_ops, &got);
			assert_int_equal(rewrite_feed(&s, bytes_of(text, cut)), ERR_OK);
			assert_int_equal(rewrite_held(&s),
					 model_may_hold(p.pats, p.n, bytes_of(text, cut)));
			rewrite_stream_release(&s);
		}
		unmake(&m);
	}
}

static void test_untouched_chunk_is_one_emit_of_the_input(void **state)
{
	struct rewrite_pattern pat = { BYTES_LIT("sk-dummy-openai-000"), 0 };
	struct made m = make(&pat, 1);
	struct rewrite_stream s;

	(void)state;
	model_reset(&got);
	rewrite_stream_init(&s, m.set, &model_ops, &got);
	for (size_t i = 1; i <= 4; i++) {
		assert_int_equal(
			rewrite_feed(
				&s,
				BYTES_LIT(
					"data: {\"delta\": \"nothing to see, no key here\"}\n\n")),
			ERR_OK);
		assert_int_equal(got.emits, i);
		assert_int_equal(rewrite_held(&s), 0);
	}
	assert_int_equal(rewrite_end(&s), ERR_OK);
	assert_int_equal(got.emits, 4);
	unmake(&m);
}

static void test_empty_set_passes_everything(void **state)
{
	struct made m = make(NULL, 0);

	(void)state;
	assert_int_equal(rewrite_set_count(m.set), 0);
	assert_int_equal(rewrite_set_longest(m.set), 0);
	check_text(NULL, 0, &m, BYTES_LIT("anything at all"));
	check_text(NULL, 0, &m, BYTES_NONE);
	unmake(&m);
}

static void test_stop_ends_the_feed(void **state)
{
	struct rewrite_pattern pats[] = { { BYTES_LIT("dummy"), 0 },
					  { BYTES_LIT("real-secret"), 1 } };
	struct made m = make(pats, 2);
	struct bytes in = BYTES_LIT("a dummy and a real-secret and more");

	(void)state;
	for (size_t cut = 0; cut <= in.n; cut++) {
		struct rewrite_stream s;
		enum err e;

		model_reset(&got);
		got.stop_id = 1;
		rewrite_stream_init(&s, m.set, &model_ops, &got);
		e = rewrite_feed(&s, bytes_first(in, cut));
		if (e == ERR_OK)
			e = rewrite_feed(&s, bytes_from(in, cut));
		assert_int_equal(e, ERR_SECRET_LEAK);
		assert_int_equal(got.matches, 2);
		assert_int_equal(bytes_find(bytes_of(got.out, got.out_n), BYTES_LIT("real-secret")),
				 got.out_n);
	}
	model_reset(&got);
	got.stop_id = 1;
	assert_int_equal(rewrite_whole(m.set, in, &model_ops, &got), ERR_SECRET_LEAK);
	unmake(&m);
}

static void test_error_of_emit_is_returned(void **state)
{
	struct rewrite_pattern pats[] = { { BYTES_LIT("dummy"), 0 },
					  { BYTES_LIT("dummy-long"), 3 } };
	struct made m = make(pats, 2);
	struct bytes in = BYTES_LIT("one dummy two dummy-long three dummy");

	(void)state;
	for (size_t cut = 0; cut <= in.n; cut++) {
		for (size_t at = 1;; at++) {
			struct rewrite_stream s;
			enum err e;

			model_reset(&got);
			got.error_at = at;
			rewrite_stream_init(&s, m.set, &model_ops, &got);
			e = rewrite_feed(&s, bytes_first(in, cut));
			if (e == ERR_OK)
				e = rewrite_feed(&s, bytes_from(in, cut));
			if (e == ERR_OK)
				e = rewrite_end(&s);
			assert_int_equal(e, got.emits >= at ? ERR_IO : ERR_OK);
			assert_true(got.emits <= at);
			if (e == ERR_OK)
				break;
		}
	}
	unmake(&m);
}

static void test_offsets_count_over_the_whole_stream(void **state)
{
	struct rewrite_pattern pat = { BYTES_LIT("token-0123456789-abcdef"), 1 };
	struct made m = make(&pat, 1);
	struct rewrite_stream s;
	static const uint8_t noise[5000];

	(void)state;
	model_reset(&got);
	rewrite_stream_init(&s, m.set, &model_ops, &got);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(rewrite_feed(&s, bytes_of(noise, sizeof(noise))), ERR_OK);
		assert_int_equal(rewrite_feed(&s, bytes_first(pat.text, 10)), ERR_OK);
		assert_int_equal(rewrite_held(&s), 10);
		assert_int_equal(rewrite_feed(&s, bytes_from(pat.text, 10)), ERR_OK);
		assert_int_equal(got.match[i].at, (i + 1) * 5000 + i * 23);
	}
	assert_int_equal(got.matches, 3);
	unmake(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_vectors_at_every_split),
		cmocka_unit_test(test_random_sets_equal_the_model),
		cmocka_unit_test(test_holds_only_what_may_become_a_token),
		cmocka_unit_test(test_untouched_chunk_is_one_emit_of_the_input),
		cmocka_unit_test(test_empty_set_passes_everything),
		cmocka_unit_test(test_stop_ends_the_feed),
		cmocka_unit_test(test_error_of_emit_is_returned),
		cmocka_unit_test(test_offsets_count_over_the_whole_stream),
	};
	uint8_t *guarded = guard_alloc(PAGE_ROOM);
	int failed;

	page_end = guarded + PAGE_ROOM;
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	guard_free(guarded);
	return failed;
}
