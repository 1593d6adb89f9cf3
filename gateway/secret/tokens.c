/*
 * tokens.c - the TOKENS_JSON file
 *
 * jansson reads it with an allocator of ours that wipes what it frees: its tree holds real values.
 * Its own messages quote the text near a mistake, which may be a value, so only line, column and
 * kind are taken over.
 */
#include "gateway/secret/secret.h"

#include <jansson.h>
#include <stdlib.h>

#define TOKENS_FILE_MAX (16u << 20)

/* The size stands in front of each block, so that free can wipe it. */
union block_head {
	size_t n;
	max_align_t align;
};

static void *wiping_malloc(size_t n)
{
	union block_head *h;

	if (n > TOKENS_FILE_MAX * 8u)
		return NULL;
	h = malloc(sizeof(*h) + n);
	if (!h)
		return NULL;
	h->n = n;
	return h + 1;
}

static void wiping_free(void *p)
{
	if (p) {
		union block_head *h = (union block_head *)p - 1;

		mem_wipe_free(h, sizeof(*h) + h->n);
	}
}

static enum err why_set(char why[SECRET_WHY_MAX], const char *fmt, ...) PRINTF_LIKE(2, 3);

static enum err why_set(char why[SECRET_WHY_MAX], const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why, SECRET_WHY_MAX, fmt, ap);
	va_end(ap);
	return ERR_CONFIG;
}

static const char *json_kind(const json_error_t *e)
{
	switch (json_error_code(e)) {
	case json_error_duplicate_key:
		return "a key occurs twice";
	case json_error_invalid_utf8:
		return "not UTF-8";
	case json_error_null_character:
	case json_error_null_byte_in_key:
		return "a NUL character";
	case json_error_premature_end_of_input:
		return "it ends too early";
	case json_error_end_of_input_expected:
		return "something follows the object";
	case json_error_stack_overflow:
		return "nested too deeply";
	case json_error_out_of_memory:
		return "out of memory";
	default:
		return "not valid JSON";
	}
}

static enum err token_set_hosts(struct secret_token *t, const json_t *hosts,
				char why[SECRET_WHY_MAX])
{
	size_t n = json_array_size(hosts);

	if (!json_is_array(hosts) || n == 0)
		return why_set(why, "\"%.100s\": hosts must be a list of names", t->dummy);
	t->hosts = calloc(n, sizeof(*t->hosts));
	if (!t->hosts)
		return ERR_NOMEM;
	for (size_t i = 0; i < n; i++) {
		const json_t *h = json_array_get(hosts, i);
		struct bytes b = bytes_of(json_string_value(h), json_string_length(h));
		char *copy;

		if (!json_is_string(h) || !(copy = bytes_dup_str(b)))
			return why_set(why, "\"%.100s\": hosts must be a list of names", t->dummy);
		for (char *c = copy; *c; c++)
			*c = (char)ascii_lower((uint8_t)*c);
		t->hosts[t->n_hosts++] = copy;
		if (!secret_host_pattern_ok(bytes_str(copy)))
			return why_set(why, "\"%.100s\": \"%.100s\" is not a host name", t->dummy,
				       copy);
	}
	return ERR_OK;
}

static enum err token_set_real(struct secret_token *t, const json_t *real, char why[SECRET_WHY_MAX])
{
	struct bytes value = bytes_of(json_string_value(real), json_string_length(real));
	char detail[SECRET_WHY_MAX];

	if (!json_is_string(real))
		return why_set(why, "\"%.100s\": the real value must be a string", t->dummy);
	if (secret_value_check(value, detail) != ERR_OK)
		return why_set(why, "\"%.100s\": %.120s", t->dummy, detail);
	return buf_append(&t->real, value);
}

static enum err token_read(struct secret_token *t, const json_t *value, char why[SECRET_WHY_MAX])
{
	const json_t *item;
	const char *key;

	if (json_is_string(value))
		return token_set_real(t, value, why);
	if (!json_is_object(value))
		return why_set(why, "\"%.100s\": must be a string or an object", t->dummy);
	json_object_foreach((json_t *)(uintptr_t)value, key, item) {
		if (strcmp(key, "real") == 0)
			TRY(token_set_real(t, item, why));
		else if (strcmp(key, "hosts") == 0)
			TRY(token_set_hosts(t, item, why));
		else	/* the key is not quoted: it may be a value put in the wrong place */
			return why_set(why, "\"%.100s\": only \"real\" and \"hosts\" are known",
				       t->dummy);
	}
	if (buf_len(&t->real) == 0)
		return why_set(why, "\"%.100s\": has no \"real\"", t->dummy);
	if (!t->hosts)
		return why_set(why, "\"%.100s\": has no \"hosts\"", t->dummy);
	return ERR_OK;
}

static enum err tokens_read(const json_t *root, struct secret_tokens *out, char why[SECRET_WHY_MAX])
{
	const json_t *value;
	const char *key;

	if (!json_is_object(root))
		return why_set(why, "must be one object, dummy to real");
	if (json_object_size(root) > SECRET_MAX)
		return why_set(why, "more than %d tokens", SECRET_MAX);
	out->v = calloc(json_object_size(root) + 1, sizeof(*out->v));
	if (!out->v)
		return ERR_NOMEM;
	json_object_foreach((json_t *)(uintptr_t)root, key, value) {
		struct secret_token *t = &out->v[out->n++];

		buf_init_secret(&t->real, SECRET_BUF_MAX);
		t->dummy = bytes_dup_str(bytes_str(key));
		if (!t->dummy)
			return ERR_NOMEM;
		TRY(token_read(t, value, why));
	}
	return ERR_OK;
}

enum err secret_tokens_parse(struct bytes json, struct secret_tokens *out, char why[SECRET_WHY_MAX])
{
	json_error_t error;
	json_t *root;
	enum err e;

	*out = (struct secret_tokens){ 0 };
	why[0] = '\0';
	if (json.n > TOKENS_FILE_MAX)
		return why_set(why, "larger than %u bytes", TOKENS_FILE_MAX);
	json_set_alloc_funcs(wiping_malloc, wiping_free);
	root = json_loadb(json.n ? (const char *)json.p : "", json.n, JSON_REJECT_DUPLICATES,
			  &error);
	if (root) {
		e = tokens_read(root, out, why);
		json_decref(root);
	} else {
		e = why_set(why, "line %d, column %d: %s", error.line, error.column,
			    json_kind(&error));
	}
	explicit_bzero(&error, sizeof(error));
	if (e == ERR_NOMEM)
		(void)why_set(why, "%s", err_text(ERR_NOMEM));
	if (e != ERR_OK)
		secret_tokens_release(out);
	return e;
}

void secret_tokens_release(struct secret_tokens *t)
{
	for (size_t i = 0; i < t->n; i++) {
		for (size_t h = 0; h < t->v[i].n_hosts; h++)
			free(t->v[i].hosts[h]);
		free(t->v[i].hosts);
		free(t->v[i].dummy);
		buf_release(&t->v[i].real);
	}
	free(t->v);
	*t = (struct secret_tokens){ 0 };
}
