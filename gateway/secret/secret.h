/*
 * secret.h - where real tokens live and how a worker looks at them (REQ-2.2, REQ-7.2)
 *
 * Three things, each usable alone:
 *   area    memory the kernel itself does not map (memfd_secret): written once by the master,
 *           mapped read-only by workers, never in a core image, wiped before it is given back;
 *   source  one value out of the environment, a file or a program, and the TOKENS_JSON file;
 *   store   a flat, position-independent list of secrets with what each is bound to.
 *
 * The way of a value: source -> wiped buffer -> secret_store_build() -> area -> struct secret
 * views. A struct secret has no case in KV(): logging one does not compile. No function here logs
 * or returns in a message any part of a value.
 *
 * Depends on base and jansson. No event loop, no global state but the process's own environment.
 */
#pragma once

#include "base/base.h"

/* ---- area: memory for secrets ---------------------------------------------------------------- */

struct secret_area {
	int fd;			/* owned; -1 when none. Workers inherit it */
	void *p;		/* mapping, NULL when not mapped */
	size_t size;		/* bytes, a multiple of the page size */
	bool sealed_kernel;	/* memfd_secret: not even the kernel's own map holds it */
};

#define SECRET_AREA_NONE ((struct secret_area){ .fd = -1 })

/*
 * A fresh zeroed area of at least `size` bytes, mapped read-write. memfd_secret where the kernel
 * has it, else a locked memfd (and one log line). Errors: ERR_NOMEM, ERR_IO.
 */
enum err secret_area_create(struct secret_area *a, size_t size) WARN_UNUSED;
/* Maps an inherited area read-only and closes `fd`, also on failure. size 0: all of it. */
enum err secret_area_map(struct secret_area *a, int fd, size_t size) WARN_UNUSED;
/* From now on this process may only read it. */
enum err secret_area_protect(struct secret_area *a) WARN_UNUSED;
/*
 * Overwrites it (in the creator only: it wipes what every process sees), unmaps and closes. Safe on
 * SECRET_AREA_NONE and twice.
 */
void secret_area_wipe(struct secret_area *a);
/* As above without overwriting: others still use it. */
void secret_area_close(struct secret_area *a);

/* ---- sources: where a value comes from ------------------------------------------------------- */

#define SECRET_VALUE_MAX 65536		/* bytes of one value */
#define SECRET_BUF_MAX (SECRET_VALUE_MAX + 2)	/* ceiling of a buf that receives one */
#define SECRET_VALUE_MIN 8		/* shorter ones would be redacted out of ordinary text */
#define SECRET_WHY_MAX 256
#define SECRET_EXEC_TIMEOUT_MS 10000

enum secret_source_type { SECRET_SOURCE_ENV, SECRET_SOURCE_FILE, SECRET_SOURCE_EXEC };

struct secret_source {
	enum secret_source_type type;
	const char *name;		/* environment variable or file path; borrowed */
	/* EXEC: NULL-terminated, argv[0] an absolute path; borrowed. */
	const char *const *argv;
	unsigned timeout_ms;		/* EXEC: 0 means SECRET_EXEC_TIMEOUT_MS */
};

/*
 * Keeps the values of environment variables after they were taken out of the environment, so that a
 * reload finds them again. Lives in an area of its own; one per master.
 */
struct secret_vault {
	struct secret_area area;
	size_t used;
};

enum err secret_vault_init(struct secret_vault *v) WARN_UNUSED;
void secret_vault_wipe(struct secret_vault *v);

/*
 * Reads one value into `out` (buf_init_secret(out, SECRET_BUF_MAX); emptied first). One trailing
 * newline is dropped. Refused: an empty value, one shorter than SECRET_VALUE_MIN or longer than
 * SECRET_VALUE_MAX, any control byte (CR, LF, NUL, ...). `why` is a sentence for a person that
 * never holds the value.
 * An environment variable is moved into the vault: afterwards neither environ nor the initial
 * environment block (/proc/PID/environ) has it.
 * ERR_UNRESOLVED_SECRET: the source has no value. ERR_CONFIG: it has one that cannot be used.
 */
enum err secret_source_read(struct secret_vault *v, const struct secret_source *s, struct buf *out,
			    char why[SECRET_WHY_MAX]) WARN_UNUSED;

/* The rules of secret_source_read() alone. */
enum err secret_value_check(struct bytes value, char why[SECRET_WHY_MAX]) WARN_UNUSED;

/* ---- TOKENS_JSON ----------------------------------------------------------------------------- */

struct secret_token {
	char *dummy;		/* owned; NUL-terminated */
	struct buf real;	/* owned, wiped */
	char **hosts;		/* owned; NULL: the plain form, which names no hosts */
	size_t n_hosts;
};

struct secret_tokens {
	struct secret_token *v;
	size_t n;
};

/*
 * {"DUMMY": "REAL"} or {"DUMMY": {"real": "REAL", "hosts": ["h", ...]}}, mixed. Strict: duplicate
 * keys, unknown keys, wrong types and unusable values are ERR_CONFIG with a sentence in `why`.
 */
enum err secret_tokens_parse(struct bytes json, struct secret_tokens *out,
			     char why[SECRET_WHY_MAX]) WARN_UNUSED;
void secret_tokens_release(struct secret_tokens *t);

/* ---- store: the flat list -------------------------------------------------------------------- */

enum secret_type { SECRET_STATIC, SECRET_AWS_SIGV4 };

enum secret_surface {
	SECRET_HEADER = 1u << 0,
	SECRET_QUERY = 1u << 1,
	SECRET_PATH = 1u << 2,
	SECRET_BODY = 1u << 3,
};

#define SECRET_MAX 4096			/* secrets in one store */

struct secret_spec {
	enum secret_type type;
	struct bytes name;		/* names it in audit lines */
	struct bytes dummy, real;	/* real empty: unresolved. AWS: the access key id */
	struct bytes dummy_key, real_key;	/* AWS: the secret access key; else empty */
	const char *const *hosts;	/* "h", "*.h", either with ":port"; lower case */
	size_t n_hosts;
	unsigned surfaces;		/* enum secret_surface */
	const unsigned *agents;		/* indexes of agents; n_agents 0: all of them */
	size_t n_agents;
	bool plaintext;			/* may leave over plain HTTP (decision 1) */
};

/* A view into the store; valid as long as the store is. */
struct secret {
	enum secret_type type;
	struct bytes name;
	struct bytes dummy, real;
	struct bytes dummy_key, real_key;
	unsigned surfaces;
	/* False: real is empty, requests that need it are refused. */
	bool resolved;
	bool plaintext;
};

struct secret_store;

/*
 * Appends the store to `out` (a buf made by buf_init_secret). ERR_CONFIG on a bad host pattern, an
 * agent index over 65535, too many secrets, or a real value that equals a dummy.
 */
enum err secret_store_build(const struct secret_spec *specs, size_t n, struct buf *out) WARN_UNUSED;
/* The store in these bytes, every offset checked; NULL when it is none. `p` 8-byte aligned. */
const struct secret_store *secret_store_open(const void *p, size_t size);
unsigned secret_store_count(const struct secret_store *s);
/* i < count; otherwise a view of nothing with no surface, unresolved. */
struct secret secret_get(const struct secret_store *s, unsigned i);
/*
 * Is secret i bound to this agent, host and port? `host` is normalised: lower case, no trailing
 * dot; an IPv6 literal has no brackets. "*.x" matches any name below x and not x itself. Constant
 * in secrets, linear in the patterns of one.
 */
bool secret_bound(const struct secret_store *s, unsigned i, unsigned agent, struct bytes host,
		  uint16_t port);
/* Is any secret at all bound to this host (whatever the agent)? Range is not forwarded to such. */
bool secret_host_known(const struct secret_store *s, struct bytes host, uint16_t port);

/* The syntax of a host pattern, as the store reads it. */
bool secret_host_pattern_ok(struct bytes pattern);

/* ---- pattern ids: what a match of the rewriter means ----------------------------------------- */

/*
 * bit 31: a real value (else a dummy); bit 30: the second half (AWS secret key);
 * bits 4..29: index of the secret; bits 0..3: the form (spelling) that was found.
 */
#define SECRET_ID_REAL 0x80000000u
#define SECRET_ID_KEY 0x40000000u
#define SECRET_ID_FORM_MAX 15u

struct secret_id {
	unsigned index;
	unsigned form;		/* enum rewrite_form, as given when the pattern was made */
	bool real;
	bool key;
};

static inline uint32_t secret_id_encode(struct secret_id id)
{
	return (id.real ? SECRET_ID_REAL : 0) | (id.key ? SECRET_ID_KEY : 0) |
	       ((uint32_t)id.index & 0x03ffffffu) << 4 | (id.form & 15u);
}

static inline struct secret_id secret_id_decode(uint32_t id)
{
	return (struct secret_id){
		.index = (id & ~(SECRET_ID_REAL | SECRET_ID_KEY)) >> 4,
		.form = id & 15u,
		.real = (id & SECRET_ID_REAL) != 0,
		.key = (id & SECRET_ID_KEY) != 0,
	};
}
