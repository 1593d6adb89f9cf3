/*
 * bench_rewrite_gen.h - token sets and texts for the scan benchmark, always the same for a seed
 *
 * json     chat completions as an API streams them, a token in each megabyte
 * near     the same with strings that begin like tokens and go on differently
 * random   random bytes
 * prefix   beginnings of tokens, half of one or more, back to back
 * suffix   ends of tokens, 8 bytes or more, back to back
 */
#pragma once

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define GEN_TOKEN_MAX 80

enum gen_text { GEN_JSON, GEN_NEAR, GEN_RANDOM, GEN_PREFIX, GEN_SUFFIX, GEN_TEXTS };

static const char *const gen_names[GEN_TEXTS] = { "json", "near", "random", "prefix", "suffix" };

struct gen_token {
	char text[GEN_TOKEN_MAX];
	size_t n;
};

static uint64_t gen_state;

static uint32_t gen_below(uint32_t n)
{
	gen_state ^= gen_state << 13;
	gen_state ^= gen_state >> 7;
	gen_state ^= gen_state << 17;
	return (uint32_t)((gen_state >> 32) * n >> 32);
}

#define GEN_ALNUM "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"

static void gen_tokens(struct gen_token *tokens, size_t n)
{
	static const struct {
		const char *start, *alphabet;
		uint32_t least, most; /* bytes after the start */
	} kinds[] = {
		{ "sk-dummy-", "0123456789abcdef", 32, 48 },
		{ "ghp_", GEN_ALNUM, 36, 36 },
		{ "AKIA", "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", 20, 20 },
		{ "xoxb-", GEN_ALNUM "-", 40, 55 },
		{ "sk-ant-api03-", GEN_ALNUM "-_", 30, 50 },
		{ "glpat-", GEN_ALNUM, 20, 20 },
		{ "AIzaSy", GEN_ALNUM "-_", 33, 33 },
		{ "eyJhbGciOi", GEN_ALNUM, 30, 54 },
	};

	for (size_t i = 0; i < n; i++) {
		size_t k = i % (sizeof(kinds) / sizeof(kinds[0])), start = strlen(kinds[k].start);
		uint32_t more = kinds[k].least + gen_below(kinds[k].most - kinds[k].least + 1);

		memcpy(tokens[i].text, kinds[k].start, start);
		for (uint32_t c = 0; c < more; c++)
			tokens[i].text[start + c] =
				kinds[k].alphabet[gen_below((uint32_t)strlen(kinds[k].alphabet))];
		tokens[i].n = start + more;
	}
}

static size_t gen_string(char *out, const char *alphabet, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		out[i] = alphabet[gen_below((uint32_t)strlen(alphabet))];
	return n;
}

/* One event of at most 2 KB; returns its length. */
static size_t gen_event(char *out, const struct gen_token *near, size_t n_near)
{
	static const char *const words[] = {
		"the",	   "model",  "returned", "list",      "choices", "role",   "assistant",
		"content", "tool",   "call",	 "arguments", "usage",	 "prompt", "completion",
		"error",   "retry",  "stream",	 "delta",     "finish",	 "reason", "stop",
		"length",  "system", "user",	 "function",  "result",	 "skip",   "asking",
		"great",   "key",    "AK",	 "gh",	      "xo",	 "sk"
	};
	char *o = out;

	o += sprintf(o, "{\"id\": \"msg_");
	o += gen_string(o, "0123456789abcdef", 24);
	o += sprintf(o,
		     "\", \"object\": \"chat.completion.chunk\", \"created\": %u, \"content\": \"",
		     gen_below(1u << 31));
	for (int i = 0; i < 50; i++)
		o += sprintf(o, "%s ", words[gen_below(sizeof(words) / sizeof(words[0]))]);
	o += sprintf(o, "\", \"logprobs\": [0.%04u, 0.%04u, 0.%04u], \"b64\": \"", gen_below(10000),
		     gen_below(10000), gen_below(10000));
	o += gen_string(o, GEN_ALNUM, 60);
	for (int i = 0; near && i < 6; i++) {
		const struct gen_token *t = &near[gen_below((uint32_t)n_near)];

		o += sprintf(o, "\", \"k%d\": \"%.*s", i, (int)(4 + gen_below(11)), t->text);
		o += gen_string(o, GEN_ALNUM, 20);
	}
	o += sprintf(o, "\"}\n");
	return (size_t)(o - out);
}

static void gen_fill(enum gen_text kind, uint8_t *out, size_t n, const struct gen_token *tokens,
		     size_t n_tokens)
{
	char piece[4096];
	size_t at = 0;

	while (at < n) {
		const struct gen_token *t = &tokens[gen_below((uint32_t)n_tokens)];
		size_t len = 0, cut;

		switch (kind) {
		case GEN_JSON:
		case GEN_NEAR:
			len = gen_event(piece, kind == GEN_NEAR ? tokens : NULL, n_tokens);
			break;
		case GEN_RANDOM:
			while (len < 512)
				piece[len++] = (char)gen_below(256);
			break;
		case GEN_PREFIX:
			len = t->n / 2 + gen_below((uint32_t)(t->n - t->n / 2));
			memcpy(piece, t->text, len);
			break;
		case GEN_SUFFIX:
			cut = 1 + gen_below((uint32_t)t->n - 8);
			len = t->n - cut;
			memcpy(piece, t->text + cut, len);
			break;
		case GEN_TEXTS:
			return;
		}
		if (len > n - at)
			len = n - at;
		memcpy(out + at, piece, len);
		at += len;
	}
	for (size_t mb = 0; kind == GEN_JSON && (mb << 20) + 8192 < n; mb++)
		memcpy(out + (mb << 20) + 5000, tokens[mb % n_tokens].text,
		       tokens[mb % n_tokens].n);
}
