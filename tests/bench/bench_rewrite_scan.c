/*
 * bench_rewrite_scan.c - how fast the rewriter reads, in GB/s
 *
 * 5, 50 and 1000 tokens on five kinds of text, streamed in 16 KiB chunks, beside memchr, memcpy
 * and, where its library is there, Hyperscan on the same sets. Also: what one short header value
 * costs, how long sets take to build, and a set made to be slow. The best of several runs counts:
 * what disturbs a run only slows it.
 *
 * usage: bench_rewrite_scan [--json] [--quick]
 */
#include <stdbool.h>
#include <stdlib.h>
#include <time.h>

#if defined(HAVE_HYPERSCAN) && defined(__has_include)
#if __has_include(<hs/hs.h>)
#include <hs/hs.h>
#define WITH_HYPERSCAN 1
#elif __has_include(<hs.h>)
#include <hs.h>
#define WITH_HYPERSCAN 1
#endif
#endif

#include "gateway/rewrite/rewrite.h"
#include "tests/bench/bench_rewrite_gen.h"

#define CHUNK 16384u
#define TOKENS_MAX 5000u

static struct gen_token tokens[TOKENS_MAX];
static struct rewrite_pattern patterns[TOKENS_MAX];
static uint8_t *text, *copy;
static size_t text_n = 8u << 20;
static double least_seconds = 0.15;
static bool json;
static size_t results;
static volatile uint64_t sink;

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* ---- what is measured ---------------------------------------------------------------- */

static enum err on_emit(void *owner, struct bytes out)
{
	*(uint64_t *)owner += out.n;
	return ERR_OK;
}

static enum rewrite_verdict on_match(void *owner, uint32_t id, uint64_t offset,
				     struct bytes *replacement)
{
	(void)owner;
	(void)id;
	(void)offset;
	*replacement = BYTES_LIT("[REDACTED]");
	return REWRITE_REPLACE;
}

static const struct rewrite_ops ops = { .emit = on_emit, .match = on_match };

static void die(const char *what)
{
	fprintf(stderr, "%s\n", what);
	exit(1);
}

static void run_rewrite(void *arg)
{
	struct rewrite_stream s;
	uint64_t out = 0;

	rewrite_stream_init(&s, arg, &ops, &out);
	for (size_t at = 0; at < text_n; at += CHUNK)
		if (rewrite_feed(&s, bytes_of(text + at,
					      text_n - at < CHUNK ? text_n - at : CHUNK)) != ERR_OK)
			die("rewrite_feed failed");
	if (rewrite_end(&s) != ERR_OK)
		die("rewrite_end failed");
	sink += out;
}

static void run_memchr(void *arg)
{
	(void)arg;
	for (size_t at = 0; at < text_n; at += CHUNK)
		sink += memchr(text + at, 0x01, CHUNK) != NULL;
}

static void run_memcpy(void *arg)
{
	(void)arg;
	for (size_t at = 0; at < text_n; at += CHUNK)
		memcpy(copy, text + at, CHUNK);
	sink += copy[0];
}

static double best_rate(void (*run)(void *arg), void *arg)
{
	double best = 0, started = now();
	int runs = 0;

	do {
		double from = now(), rate;

		run(arg);
		rate = (double)text_n / (now() - from) / 1e9;
		if (rate > best)
			best = rate;
	} while (++runs < 3 || now() - started < least_seconds);
	return best;
}

#ifdef WITH_HYPERSCAN
struct hyperscan {
	hs_database_t *db;
	hs_scratch_t *scratch;
};

static int on_hs(unsigned id, unsigned long long from, unsigned long long to, unsigned flags,
		 void *ctx)
{
	(void)id;
	(void)from;
	(void)to;
	(void)flags;
	++*(uint64_t *)ctx;
	return 0;
}

static void run_hyperscan(void *arg)
{
	struct hyperscan *h = arg;
	uint64_t hits = 0;
	hs_stream_t *stream;

	if (hs_open_stream(h->db, 0, &stream) != HS_SUCCESS)
		die("hs_open_stream failed");
	for (size_t at = 0; at < text_n; at += CHUNK)
		hs_scan_stream(stream, (const char *)text + at, CHUNK, 0, h->scratch, on_hs, &hits);
	hs_close_stream(stream, h->scratch, on_hs, &hits);
	sink += hits;
}

static struct hyperscan hyperscan_of(size_t n)
{
	static const char *texts[TOKENS_MAX];
	static size_t lengths[TOKENS_MAX];
	static unsigned ids[TOKENS_MAX], flags[TOKENS_MAX];
	hs_compile_error_t *error;
	struct hyperscan h = { 0 };

	for (size_t i = 0; i < n; i++) {
		texts[i] = tokens[i].text;
		lengths[i] = tokens[i].n;
		ids[i] = (unsigned)i;
	}
	if (hs_compile_lit_multi(texts, flags, ids, lengths, (unsigned)n, HS_MODE_STREAM, NULL,
				 &h.db, &error) != HS_SUCCESS ||
	    hs_alloc_scratch(h.db, &h.scratch) != HS_SUCCESS)
		die("Hyperscan does not compile the tokens");
	return h;
}
#endif

/* ---- report -------------------------------------------------------------------------- */

static void report(const char *what, size_t n, const char *kind, double value, const char *unit)
{
	if (json)
		printf("%s\n  {\"what\": \"%s\", \"tokens\": %zu, \"text\": \"%s\", \"value\": "
		       "%.3f, \"unit\": \"%s\"}",
		       results ? "," : "", what, n, kind, value, unit);
	else
		printf("%-12s %6zu  %-14s %9.3f %s\n", what, n, kind, value, unit);
	fflush(stdout);
	results++;
}

static void bench_texts(size_t n)
{
	const struct rewrite_set *set;
	size_t size;
	void *blob;
#ifdef WITH_HYPERSCAN
	struct hyperscan h = hyperscan_of(n);
#endif

	if (rewrite_set_build(patterns, n, &blob, &size) != ERR_OK ||
	    !(set = rewrite_set_open(blob, size)))
		die("rewrite_set_build failed");
	report("blob", n, "-", (double)size / 1024, "KiB");
	for (int kind = 0; kind < GEN_TEXTS; kind++) {
		gen_fill((enum gen_text)kind, text, text_n, tokens, n);
		report("rewrite", n, gen_names[kind],
		       best_rate(run_rewrite, (void *)(uintptr_t)set), "GB/s");
#ifdef WITH_HYPERSCAN
		report("hyperscan", n, gen_names[kind], best_rate(run_hyperscan, &h), "GB/s");
#endif
	}
#ifdef WITH_HYPERSCAN
	hs_free_scratch(h.scratch);
	hs_free_database(h.db);
#endif
	rewrite_blob_free(blob, size);
}

/* A weak password among the tokens: the shortest pattern rules the stride. */
static void bench_short(size_t n, struct bytes password)
{
	struct rewrite_pattern kept = patterns[n];
	const struct rewrite_set *set;
	char name[24];
	size_t size;
	void *blob;

	patterns[n].text = password;
	if (rewrite_set_build(patterns, n + 1, &blob, &size) != ERR_OK ||
	    !(set = rewrite_set_open(blob, size)))
		die("rewrite_set_build failed");
	patterns[n] = kept;
	snprintf(name, sizeof(name), "json, 1 of %zu", password.n);
	report("rewrite", n + 1, name, best_rate(run_rewrite, (void *)(uintptr_t)set), "GB/s");
	rewrite_blob_free(blob, size);
}

/* A value as browsers and clients send it, no token in it. */
static void bench_header(size_t n)
{
	struct bytes value = BYTES_LIT("application/json, text/plain;q=0.9");
	const struct rewrite_set *set;
	uint64_t out = 0;
	double best = 1e9;
	size_t size;
	void *blob;

	if (rewrite_set_build(patterns, n, &blob, &size) != ERR_OK ||
	    !(set = rewrite_set_open(blob, size)))
		die("rewrite_set_build failed");
	for (int run = 0; run < 20; run++) {
		double from = now(), took;

		for (int i = 0; i < 100000; i++)
			if (rewrite_whole(set, value, &ops, &out) != ERR_OK)
				die("rewrite_whole failed");
		took = (now() - from) / 100000 * 1e9;
		if (took < best)
			best = took;
	}
	sink += out;
	report("header value", n, "34 bytes", best, "ns");
	rewrite_blob_free(blob, size);
}

static void bench_build(size_t n)
{
	double from = now();
	size_t size;
	void *blob;

	if (rewrite_set_build(patterns, n, &blob, &size) != ERR_OK)
		die("rewrite_set_build failed");
	report("build", n, "-", (now() - from) * 1e3, "ms");
	rewrite_blob_free(blob, size);
}

/* a^n b and a, on a^m: every byte starts a long path and every path fails. */
static void bench_hostile(void)
{
	static uint8_t as[4096];
	struct rewrite_pattern pats[2] = { { bytes_of(as, sizeof(as)), 0 },
					   { bytes_of(as, 1), 1 } };
	const struct rewrite_set *set;
	size_t size;
	void *blob;

	memset(as, 'a', sizeof(as));
	as[4095] = 'b';
	memset(text, 'a', text_n);
	for (size_t n = 1; n <= 2; n++) {
		if (rewrite_set_build(pats, n, &blob, &size) != ERR_OK ||
		    !(set = rewrite_set_open(blob, size)))
			die("rewrite_set_build failed");
		report("rewrite", n, n == 1 ? "a^4095 b" : "and a",
		       best_rate(run_rewrite, (void *)(uintptr_t)set), "GB/s");
		rewrite_blob_free(blob, size);
	}
}

int main(int argc, char **argv)
{
	static const size_t sizes[] = { 5, 50, 1000 };

	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--json") == 0) {
			json = true;
		} else if (strcmp(argv[i], "--quick") == 0) {
			text_n = 1u << 20;
			least_seconds = 0.02;
		} else {
			fprintf(stderr, "usage: bench_rewrite_scan [--json] [--quick]\n");
			return 2;
		}
	}
	text = malloc(text_n);
	copy = malloc(CHUNK);
	if (!text || !copy)
		die("out of memory");
	gen_state = 11;
	gen_tokens(tokens, TOKENS_MAX);
	for (size_t i = 0; i < TOKENS_MAX; i++)
		patterns[i] = (struct rewrite_pattern){ bytes_of(tokens[i].text, tokens[i].n),
							(uint32_t)i };
	if (json)
		printf("[");
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++)
		bench_texts(sizes[i]);
	gen_fill(GEN_JSON, text, text_n, tokens, 5);
	bench_short(0, BYTES_LIT("hunter2-hunter2-hunter2-hunter2-"));
	bench_short(50, BYTES_LIT("Tr0ub4d"));
	bench_short(1000, BYTES_LIT("Tr0ub4d"));
	bench_short(1000, BYTES_LIT("Tr0"));
	report("memchr", 0, "json", best_rate(run_memchr, NULL), "GB/s");
	report("memcpy", 0, "json", best_rate(run_memcpy, NULL), "GB/s");
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++)
		bench_header(sizes[i]);
	bench_build(1000);
	bench_build(TOKENS_MAX);
	bench_hostile();
	if (json)
		printf("\n]\n");
	free(text);
	free(copy);
	return 0;
}
