/*
 * tokens.c - secrets of configuration and TOKENS_JSON into one area
 *
 * read every source -> specs -> store and rewrite sets -> area -> everything on the heap wiped.
 * The sets spell real values, so they are secrets themselves and live in the area too (design
 * section 3).
 *   outbound	what a request is searched for: spellings of dummies, and of real values (leaks)
 *   inbound	what a response is searched for: spellings of real values
 * A secret without a value keeps its dummies in the outbound set: a request that needs it is
 * refused rather than sent with a dummy (fail closed).
 */
#include "gateway/process/process_internal.h"

#include <stdlib.h>
#include <time.h>

#include "gateway/rewrite/rewrite.h"

#define STORE_BYTES_MAX (512u << 20)
#define TOKENS_FILE_MAX (16u << 20)
#define PART_ALIGN 64u

struct token_build {
	const struct config *cfg;
	struct findings *f;
	struct secret_spec *specs;
	struct buf *reals;		/* two per spec: real, real_key */
	unsigned **agents;		/* per spec */
	size_t n, cap;
	struct secret_tokens json;
	const char **exact_hosts;	/* for the plain form of TOKENS_JSON */
	size_t n_exact;
};

void findings_add(struct findings *f, bool error, const char *subject, const char *text)
{
	if (error)
		f->errors++;
	else
		f->warnings++;
	if (f->out)
		fprintf(f->out, "%s: %s%s%s\n", error ? "error" : "warning", subject,
			subject[0] ? ": " : "", text);
	else
		LOG_EVENT(error ? LOG_LEVEL_ERROR : LOG_LEVEL_WARN, "config.problem",
			  KV("subject", subject), KV("text", text));
}

/* ---- sources --------------------------------------------------------------------------------- */

static enum err read_source(struct token_build *b, struct secret_vault *vault,
			    const struct config_source *from, struct buf *out, const char *subject)
{
	struct secret_source s = { 0 };
	const char **argv = NULL;
	char why[SECRET_WHY_MAX];
	enum err e;

	switch (from->kind) {
	case CONFIG_SOURCE_NONE:
		return ERR_OK;
	case CONFIG_SOURCE_ENV:
		s.type = SECRET_SOURCE_ENV;
		s.name = from->env;
		break;
	case CONFIG_SOURCE_FILE:
		s.type = SECRET_SOURCE_FILE;
		s.name = from->file;
		break;
	case CONFIG_SOURCE_EXEC:
		argv = calloc(from->exec.n + 1, sizeof(*argv));
		if (!argv)
			return ERR_NOMEM;
		for (size_t i = 0; i < from->exec.n; i++)
			argv[i] = from->exec.items[i];
		s.type = SECRET_SOURCE_EXEC;
		s.argv = argv;
		break;
	}
	e = secret_source_read(vault, &s, out, why);
	free(argv);
	if (e == ERR_OK)
		return ERR_OK;
	findings_add(b->f, e != ERR_UNRESOLVED_SECRET, subject, why);
	return e == ERR_UNRESOLVED_SECRET ? ERR_OK : e;
}

static int agent_index(const struct config *cfg, const char *name)
{
	for (size_t i = 0; i < cfg->n_agents; i++)
		if (strcmp(cfg->agents[i].name, name) == 0)
			return (int)i;
	return -1;
}

static enum err spell_secret(struct token_build *b, struct secret_vault *vault,
			     const struct config_secret *c)
{
	const bool aws = c->type == CONFIG_SECRET_AWS_SIGV4;
	struct secret_spec *s = &b->specs[b->n];
	struct buf *real = &b->reals[2 * b->n], *key = &b->reals[2 * b->n + 1];
	unsigned *agents = calloc(c->agents.n + 1, sizeof(*agents));
	char subject[160];

	if (!agents)
		return ERR_NOMEM;
	b->agents[b->n] = agents;
	for (size_t i = 0; i < c->agents.n; i++) {
		int index = agent_index(b->cfg, c->agents.items[i]);

		if (index < 0)
			return ERR_CONFIG;	/* the config room has checked */
		agents[i] = (unsigned)index;
	}
	snprintf(subject, sizeof(subject), "secret \"%.120s\"", c->name);
	b->n++;
	TRY(read_source(b, vault, aws ? &c->real_id : &c->real, real, subject));
	if (aws)
		TRY(read_source(b, vault, &c->real, key, subject));
	*s = (struct secret_spec){
		.type = aws ? SECRET_AWS_SIGV4 : SECRET_STATIC,
		.name = bytes_str(c->name),
		.dummy = bytes_str(aws ? c->dummy_id : c->dummy),
		.dummy_key = aws ? bytes_str(c->dummy) : BYTES_NONE,
		.hosts = c->hosts.items,
		.n_hosts = c->hosts.n,
		/*
		 * Requests are not signed anew yet: the dummy stands nowhere and is audited as
		 * misplaced.
		 */
		.surfaces = aws ? 0 : c->surfaces,
		.agents = agents,
		.n_agents = c->agents.n,
		.plaintext = c->plaintext,
	};
	if (aws)
		findings_add(b->f, false, subject,
			     "aws-sigv4 requests are not signed in this version");
	return ERR_OK;
}

/* ---- TOKENS_JSON ----------------------------------------------------------------------------- */

static enum err load_json(struct token_build *b)
{
	const char *path = getenv("TOKENS_JSON");
	char why[SECRET_WHY_MAX];
	struct buf text;
	enum err e;

	if (!path || !path[0])
		return ERR_OK;
	buf_init_secret(&text, TOKENS_FILE_MAX + 16384);
	e = settings_read_file(path, TOKENS_FILE_MAX, &text, why);
	if (e == ERR_OK)
		e = secret_tokens_parse(buf_bytes(&text), &b->json, why);
	buf_release(&text);
	if (e != ERR_OK)
		findings_add(b->f, true, "TOKENS_JSON", why);
	return e == ERR_OK ? ERR_OK : ERR_CONFIG;
}

/* Hosts that some allow rule names exactly: what the plain form of TOKENS_JSON is bound to. */
static enum err collect_exact_hosts(struct token_build *b)
{
	const struct config_egress *egress = &b->cfg->egress;
	size_t n = 0;

	for (size_t i = 0; i < egress->n_rules; i++)
		n += egress->rules[i].hosts.n;
	b->exact_hosts = calloc(n + 1, sizeof(*b->exact_hosts));
	if (!b->exact_hosts)
		return ERR_NOMEM;
	for (size_t i = 0; i < egress->n_rules; i++) {
		const struct config_rule *r = &egress->rules[i];

		if (r->action != CONFIG_ALLOW || r->protocol != CONFIG_HTTP)
			continue;
		for (size_t h = 0; h < r->hosts.n; h++)
			if (!strchr(r->hosts.items[h], '*'))
				b->exact_hosts[b->n_exact++] = r->hosts.items[h];
	}
	return ERR_OK;
}

static bool dummy_taken(const struct token_build *b, struct bytes dummy)
{
	for (size_t i = 0; i < b->n; i++)
		if (bytes_eq(b->specs[i].dummy, dummy) || bytes_eq(b->specs[i].dummy_key, dummy))
			return true;
	return false;
}

static enum err spell_token(struct token_build *b, const struct secret_token *t)
{
	char subject[160], why[SECRET_WHY_MAX];

	snprintf(subject, sizeof(subject), "TOKENS_JSON \"%.120s\"", t->dummy);
	if (secret_value_check(bytes_str(t->dummy), why) != ERR_OK ||
	    dummy_taken(b, bytes_str(t->dummy))) {
		findings_add(b->f, true, subject,
			     "the dummy is shorter than 8 bytes, has control characters, "
			     "or is taken");
		return ERR_CONFIG;
	}
	if (!t->hosts && b->n_exact == 0) {
		findings_add(b->f, true, subject,
			     "names no hosts, and no allow rule names one exactly to bind it to");
		return ERR_CONFIG;
	}
	if (!t->hosts)
		findings_add(b->f, false, subject,
			     "names no hosts; bound to every host that an allow rule names "
			     "exactly");
	TRY(buf_append(&b->reals[2 * b->n], buf_bytes(&t->real)));
	b->specs[b->n] = (struct secret_spec){
		.type = SECRET_STATIC,
		.name = bytes_str(t->dummy),
		.dummy = bytes_str(t->dummy),
		.hosts = t->hosts ? (const char *const *)t->hosts : b->exact_hosts,
		.n_hosts = t->hosts ? t->n_hosts : b->n_exact,
		.surfaces = SECRET_HEADER,
	};
	b->n++;
	return ERR_OK;
}

/* ---- rewrite sets ---------------------------------------------------------------------------- */

struct pattern_list {
	struct rewrite_pattern *v;	/* texts: owned copies, wiped */
	size_t n, cap;
	struct secret_id id;		/* of the token being spelled */
};

static enum err pattern_add(void *owner, enum rewrite_form form, struct bytes text)
{
	struct pattern_list *list = owner;
	struct secret_id id = list->id;
	uint8_t *copy;

	if (list->n == list->cap) {
		size_t cap = list->cap ? list->cap * 2 : 64;
		/* Only pointers move: the texts are elsewhere. */
		struct rewrite_pattern *v = realloc(list->v, cap * sizeof(*v));

		if (!v)
			return ERR_NOMEM;
		list->v = v;
		list->cap = cap;
	}
	copy = malloc(text.n);
	if (!copy)
		return ERR_NOMEM;
	memcpy(copy, text.p, text.n);
	id.form = (unsigned)form;
	list->v[list->n++] = (struct rewrite_pattern){ bytes_of(copy, text.n),
						       secret_id_encode(id) };
	return ERR_OK;
}

static enum err spell_all(struct pattern_list *list, struct bytes token, struct secret_id id)
{
	list->id = id;
	return token.n > 0 ? rewrite_forms(token, pattern_add, list) : ERR_OK;
}

static enum err spell_reals(struct pattern_list *list, const struct token_build *b)
{
	for (unsigned i = 0; i < b->n; i++) {
		struct secret_id id = { .index = i, .real = true };

		TRY(spell_all(list, b->specs[i].real, id));
		id.key = true;
		TRY(spell_all(list, b->specs[i].real_key, id));
	}
	return ERR_OK;
}

static enum err spell_dummies(struct pattern_list *list, const struct token_build *b)
{
	for (unsigned i = 0; i < b->n; i++) {
		struct secret_id id = { .index = i };

		TRY(spell_all(list, b->specs[i].dummy, id));
		id.key = true;
		TRY(spell_all(list, b->specs[i].dummy_key, id));
	}
	return ERR_OK;
}

struct blob {
	void *p;
	size_t n;
};

/* Real values first: of equal texts the first wins, and a leak must never pass for a dummy. */
static enum err make_set(const struct token_build *b, bool dummies, struct blob *out)
{
	struct pattern_list list = { 0 };
	enum err e = spell_reals(&list, b);

	if (e == ERR_OK && dummies)
		e = spell_dummies(&list, b);
	if (e == ERR_OK)
		e = rewrite_set_build(list.v, list.n, &out->p, &out->n);
	for (size_t i = 0; i < list.n; i++)
		mem_wipe_free((void *)(uintptr_t)list.v[i].text.p, list.v[i].text.n);
	free(list.v);
	if (e == ERR_TOO_LONG)
		findings_add(b->f, true, "secrets",
			     "a token is longer than the rewriter can search for");
	return e;
}

/* ---- area ------------------------------------------------------------------------------------ */

static size_t align_part(size_t n)
{
	return (n + PART_ALIGN - 1) / PART_ALIGN * PART_ALIGN;
}

static void put_part(const struct secret_area *area, size_t *at, struct bytes in,
		     struct area_part *part)
{
	*part = (struct area_part){ (uint32_t)*at, (uint32_t)in.n };
	if (in.n)
		memcpy((uint8_t *)area->p + *at, in.p, in.n);
	*at = align_part(*at + in.n);
}

static enum err fill_area(struct secret_area *area, struct bytes store, const struct blob *outbound,
			  const struct blob *inbound)
{
	size_t at = align_part(sizeof(struct area_head));
	size_t size = at + align_part(store.n) + align_part(outbound->n) + align_part(inbound->n);
	struct area_head *head;

	if (size > INT32_MAX)
		return ERR_TOO_LONG;
	TRY(secret_area_create(area, size));
	head = area->p;
	head->magic = AREA_MAGIC;
	put_part(area, &at, store, &head->store);
	put_part(area, &at, bytes_of(outbound->p, outbound->n), &head->outbound);
	put_part(area, &at, bytes_of(inbound->p, inbound->n), &head->inbound);
	return tls_ticket_secret_make(&head->ticket, (uint64_t)time(NULL));
}

static enum err build_area(struct token_build *b, struct secret_area *area)
{
	struct blob outbound = { 0 }, inbound = { 0 };
	struct buf store;
	enum err e;

	buf_init_secret(&store, STORE_BYTES_MAX);
	for (size_t i = 0; i < b->n; i++) {
		b->specs[i].real = buf_bytes(&b->reals[2 * i]);
		b->specs[i].real_key = buf_bytes(&b->reals[2 * i + 1]);
	}
	e = secret_store_build(b->specs, b->n, &store);
	if (e == ERR_CONFIG)
		findings_add(b->f, true, "secrets",
			     "too many of them, a wrong host pattern, or a real value that is "
			     "a dummy");
	if (e == ERR_OK)
		e = make_set(b, true, &outbound);
	if (e == ERR_OK)
		e = make_set(b, false, &inbound);
	if (e == ERR_OK)
		e = fill_area(area, buf_bytes(&store), &outbound, &inbound);
	if (e != ERR_OK)
		secret_area_wipe(area);
	rewrite_blob_free(outbound.p, outbound.n);
	rewrite_blob_free(inbound.p, inbound.n);
	buf_release(&store);
	return e;
}

static enum err read_all(struct token_build *b, struct secret_vault *vault)
{
	enum err worst = ERR_OK;

	TRY(load_json(b));
	b->cap = b->cfg->n_secrets + b->json.n;
	b->specs = calloc(b->cap + 1, sizeof(*b->specs));
	b->agents = calloc(b->cap + 1, sizeof(*b->agents));
	b->reals = calloc(2 * b->cap + 2, sizeof(*b->reals));
	if (!b->specs || !b->agents || !b->reals)
		return ERR_NOMEM;
	for (size_t i = 0; i < 2 * b->cap; i++)
		buf_init_secret(&b->reals[i], SECRET_BUF_MAX);
	TRY(collect_exact_hosts(b));
	/* All of them, so that a person sees every problem at once. */
	for (size_t i = 0; i < b->cfg->n_secrets; i++) {
		enum err e = spell_secret(b, vault, &b->cfg->secrets[i]);

		worst = e != ERR_OK ? e : worst;
	}
	for (size_t i = 0; i < b->json.n && worst == ERR_OK; i++)
		worst = spell_token(b, &b->json.v[i]);
	return worst;
}

enum err tokens_area_make(const struct config *cfg, struct secret_vault *vault, struct findings *f,
			  struct secret_area *area)
{
	struct token_build b = { .cfg = cfg, .f = f };
	enum err e;

	*area = SECRET_AREA_NONE;
	e = read_all(&b, vault);
	if (e == ERR_OK)
		e = build_area(&b, area);
	for (size_t i = 0; b.reals && i < 2 * b.cap; i++)
		buf_release(&b.reals[i]);
	for (size_t i = 0; b.agents && i < b.cap; i++)
		free(b.agents[i]);
	free(b.agents);
	free(b.reals);
	free(b.specs);
	free(b.exact_hosts);
	secret_tokens_release(&b.json);
	if (e != ERR_OK && f->errors == 0)
		findings_add(f, true, "secrets", err_text(e));
	return e;
}

const struct area_head *area_head(const struct secret_area *area)
{
	const struct area_head *head = area->p;

	return head && area->size >= sizeof(*head) && head->magic == AREA_MAGIC ? head : NULL;
}

struct bytes area_part(const struct secret_area *area, const struct area_part *part)
{
	if (part->off > area->size || part->len > area->size - part->off)
		return BYTES_NONE;
	return bytes_of((const uint8_t *)area->p + part->off, part->len);
}
