/*
 * config.h - the one configuration file, from YAML to typed structs
 *
 * Parsing is a pure function of the text and the file's name: it reads no file, no environment,
 * no clock, so a worker that is handed the text a master validated gets the same result. Secrets
 * are never in the file, only where to find them (REQ-2.2); values under `real` are therefore
 * never shown in a message. Everything hangs off struct config and is freed by config_free() at
 * once.
 */
#pragma once

#include "base/base.h"

/* ---- problems: errors and warnings -------------------------------------- */

#define CONFIG_PROBLEMS_MAX 20
#define CONFIG_FILE_MAX (4u << 20)	/* bytes of YAML */

struct config_problem {
	unsigned line, column;	/* from 1; 0: the file as a whole */
	/* path, e.g. "gateway.tproxy.port" or "agents[1].name"; may be empty */
	char key[112];
	char value[64];		/* the bad value, shortened and printable; may be empty */
	char text[176];		/* what is wrong and what was expected */
	char nearest[40];	/* for an unknown key: the nearest known one, or empty */
};

/*
 * All problems found, in the order of the file's sections; more than the array holds are only
 * counted.
 */
struct config_error {
	char file[256];
	size_t n;		/* entries in problems[] */
	size_t total;		/* found in all, >= n */
	struct config_problem problems[CONFIG_PROBLEMS_MAX];
};

#define CONFIG_PROBLEM_TEXT_MAX 768
/* "file:line:column: key: text, found "value"; did you mean "nearest"?"; returns dst. */
const char *config_problem_text(const char *file, const struct config_problem *p,
				char dst[CONFIG_PROBLEM_TEXT_MAX]);
/* One line per problem, then "and N more" when some were only counted. */
void config_error_print(const struct config_error *e, FILE *out);

/* ---- values ------------------------------------------------------------- */

struct config_strings {
	const char *const *items;
	size_t n;
};

struct config_ports {
	uint16_t first, last;	/* inclusive, first <= last */
};

struct config_gateway {
	unsigned workers;			/* 0: one per CPU the process may use */
	struct config_strings agent_interfaces;
	/* account to drop to; NULL: `slapenir` if it exists, else nobody */
	const char *user;
	struct {
		uint16_t port;
		uint32_t mark, table;
	} tproxy;
	struct {
		uint16_t port;
		/* ask the system's resolvers; upstream is empty then */
		bool system;
		const struct addr *upstream;	/* port 53 unless given */
		size_t n_upstream;
	} dns;
	struct {
		const char *unix_path;		/* NULL: off */
		struct addr listen;		/* family 0: off */
	} admin;
	struct {
		const char *file;
	} audit;
	struct {
		uint32_t flows;			/* concurrent flows of one worker */
		uint32_t header_bytes;		/* one message head, start line included */
		uint64_t idle_ms;		/* no byte either way */
		uint64_t connect_ms;		/* resolve, dial and verify an upstream */
		uint64_t first_byte_ms;		/* request sent, upstream silent */
		/* the agent delivers a ClientHello or request head */
		uint64_t head_ms;
		uint64_t drain_ms;		/* after SIGTERM or reload */
	} limits;
};

struct config_tls {
	struct {
		const char *certificate, *key;	/* absolute paths */
	} ca;
	/* absolute path of a PEM file; NULL: the system's */
	const char *upstream_trust;
	uint64_t leaf_lifetime_ms;
};

enum config_mtls { CONFIG_MTLS_OFF, CONFIG_MTLS_REQUIRED };

struct config_identity {
	bool present;				/* the section stands in the file */
	enum config_mtls mtls;
	const char *trust, *certificate, *key;	/* absolute paths; NULL: not given */
};

struct config_rate {
	uint32_t requests;			/* 0: unlimited */
	uint32_t per_s;				/* per this many seconds: 1, 60 or 3600 */
	uint32_t burst;
};

struct config_agent {
	const char *name;
	const struct cidr *sources;
	size_t n_sources;
	struct config_rate rate;
	unsigned line, column;
};

enum config_source_kind {
	CONFIG_SOURCE_NONE,
	CONFIG_SOURCE_ENV,
	CONFIG_SOURCE_FILE,
	CONFIG_SOURCE_EXEC
};

/* Where a real value is found; exactly one is set. */
struct config_source {
	enum config_source_kind kind;
	const char *env;			/* variable name */
	const char *file;			/* absolute path */
	struct config_strings exec;		/* argv, no shell */
};

enum config_secret_type { CONFIG_SECRET_STATIC, CONFIG_SECRET_AWS_SIGV4 };

enum config_surface {
	CONFIG_SURFACE_HEADER = 1 << 0,
	CONFIG_SURFACE_QUERY = 1 << 1,
	CONFIG_SURFACE_PATH = 1 << 2,
	CONFIG_SURFACE_BODY = 1 << 3,
};

struct config_secret {
	const char *name;
	enum config_secret_type type;
	const char *dummy;			/* aws-sigv4: the secret access key's stand-in */
	const char *dummy_id;			/* aws-sigv4 only, else NULL */
	struct config_source real;
	struct config_source real_id;		/* aws-sigv4 only, else kind NONE */
	/* lower-case "name" or "*.suffix" or IP, each optionally with ":port" */
	struct config_strings hosts;
	unsigned surfaces;			/* enum config_surface bits */
	struct config_strings agents;		/* empty: all */
	/* may travel over http:// to its hosts (default: never) */
	bool plaintext;
	unsigned line, column;
};

enum config_action { CONFIG_DENY, CONFIG_ALLOW, CONFIG_PASSTHROUGH };
enum config_protocol { CONFIG_HTTP, CONFIG_TCP };

struct config_rule {
	enum config_action action;
	const char *name;			/* NULL: "egress.rules[i]" */
	struct config_strings hosts;		/* lower-case "name", "*.suffix", "*" or IP */
	const struct cidr *addresses;
	size_t n_addresses;
	/* empty only in deny rules: any. Defaults are filled in */
	const struct config_ports *ports;
	size_t n_ports;
	struct config_strings methods;		/* empty: any */
	struct config_strings paths;		/* empty: any */
	struct config_strings agents;		/* empty: all */
	enum config_protocol protocol;		/* CONFIG_TCP in allow rules only */
	unsigned line, column;
};

struct config_egress {
	enum config_action fallback;		/* `default`: CONFIG_DENY or CONFIG_ALLOW */
	const struct cidr *allow_special;
	size_t n_allow_special;
	const struct config_rule *rules;	/* first match wins */
	size_t n_rules;
};

struct config {
	const char *file;			/* absolute when loaded by config_load_file() */
	struct bytes text;			/* owned; the YAML that was parsed */
	uint32_t version;
	struct config_gateway gateway;
	struct config_tls tls;
	struct config_identity identity;
	const struct config_agent *agents;
	size_t n_agents;
	const struct config_secret *secrets;
	size_t n_secrets;
	struct config_egress egress;
	const struct config_problem *warnings;	/* what is valid but looks like a mistake */
	size_t n_warnings;
	void *arena;				/* owned; everything above lives in it */
};

/*
 * Both return NULL and fill *e when anything is wrong. `name` is the file's name: shown in
 * messages, and relative paths in the text are taken from its directory. Caller frees with
 * config_free().
 */
struct config *config_load_file(const char *path, struct config_error *e) WARN_UNUSED;
struct config *config_parse(struct bytes text, const char *name,
			    struct config_error *e) WARN_UNUSED;
void config_free(struct config *cfg);

/* ---- the schema, for documents and lints -------------------------------- */

struct config_schema_entry {
	const char *path;	/* "agents[].rate.requests" */
	const char *type;	/* "duration" */
	const char *fallback;	/* default as it would stand in the file; NULL: none */
	bool required;
	const char *doc;
};

/* Calls fn for every key, in the order of the tables; strings are valid during the call only. */
void config_schema_walk(void (*fn)(const struct config_schema_entry *entry, void *arg), void *arg);
