/*
 * exchange_internal.h - the two directions of an exchange as they see each other; no other room
 * includes this
 */
#pragma once

#include "gateway/exchange/exchange.h"

#define EXCHANGE_NAMES_MAX 16	/* different secrets listed in one audit line */
#define EXCHANGE_PATH_MAX 1024	/* of the path in an audit line */
#define EXCHANGE_METHOD_MAX 32

/* Stable storage for what a message's slices point to; wiped when it goes (REQ-7.2). */
struct arena_block;
struct arena {
	struct arena_block *blocks;
};

enum err arena_copy(struct arena *a, struct bytes in, struct bytes *out) WARN_UNUSED;
/*
 * Appends copies to `to`. They lie in one piece, *text, a newline behind each part: where no
 * pattern is in the whole, none is in any part.
 */
enum err arena_copy_fields(struct arena *a, const struct http_fields *from, struct http_fields *to,
			   struct bytes *text) WARN_UNUSED;
void arena_release(struct arena *a);

enum exchange_state {
	EXCHANGE_NEW,
	EXCHANGE_MEASURING,	/* the request's small body is gathered; nothing was sent */
	EXCHANGE_CONNECTING,	/* waits for a verified connection */
	EXCHANGE_SENDING,	/* the request's head is out */
	/* The final response head was handed over, or is kept until its body is measured. */
	EXCHANGE_ANSWERING,
	EXCHANGE_ANSWERED,	/* complete; nothing but exchange_close() follows */
};

/* How a body's bytes travel after rewriting (design decision 5). */
enum body_plan {
	BODY_NONE,
	BODY_STREAM,	/* handed on as it comes */
	BODY_MEASURE,	/* gathered, then sent with its length */
};

struct body {
	enum body_plan plan;
	struct rewrite_stream stream;
	struct buf measured;	/* BODY_MEASURE */
	bool coded;		/* no text: nothing is put in */
	bool fixed;		/* a length was promised: */
	uint64_t promised;
	uint64_t sent;		/* bytes handed on */
};

struct exchange {
	const struct exchange_env *env;
	const struct exchange_flow *flow;
	const struct exchange_ops *ops;
	void *owner;
	enum exchange_state state;
	struct arena arena;
	struct buf scratch;		/* one text being rewritten; wiped */
	struct buf replacement;		/* one real value as it is spelled where it goes; wiped */
	struct upstream *up;
	struct upstream_target target;
	struct net_timer timer;
	/* Bytes the upstream had not taken when the timer was started. */
	size_t waiting;
	/* request */
	struct http_request req;	/* slices in the arena */
	struct bytes req_text;		/* all its fields in one piece, as they came */
	enum rewrite_context req_context;
	struct body req_body;
	bool req_ended;			/* the agent has sent all of it */
	bool head_sent;
	bool retried;
	/* response */
	struct http_response resp;	/* kept only for BODY_MEASURE; slices in the arena */
	struct body resp_body;
	bool paused;
	/* verdicts and facts, for the audit line */
	enum err reason;
	enum err stop;			/* why a rewriter was stopped */
	const char *rule;
	unsigned status;
	uint64_t redactions;
	unsigned used[EXCHANGE_NAMES_MAX];
	size_t n_used;
	unsigned misplaced[EXCHANGE_NAMES_MAX];
	size_t n_misplaced;
	uint64_t bytes_up, bytes_down;
	uint64_t begun_us, sent_us;
	int64_t first_byte_us;
	struct upstream_facts facts;
	char method[EXCHANGE_METHOD_MAX];
	char path[EXCHANGE_PATH_MAX];
};

/* request.c */
enum err request_take(struct exchange *x, const struct http_request *req) WARN_UNUSED;
enum err request_send_head(struct exchange *x) WARN_UNUSED;
enum err request_body(struct exchange *x, struct bytes data) WARN_UNUSED;
enum err request_end(struct exchange *x, const struct http_fields *trailers) WARN_UNUSED;

/* substitute.c */
enum err substitute_head(struct exchange *x) WARN_UNUSED;
void substitute_body_begin(struct exchange *x);
/* May any secret be swapped into this request's body, and do all of those keep its length? */
bool substitute_body_possible(const struct exchange *x, bool *same_length);
/* The path for audit lines: no query, every token masked. */
void substitute_mask_path(struct exchange *x, struct bytes path);

/* response.c */
enum err response_head(struct exchange *x, const struct http_response *head) WARN_UNUSED;
enum err response_body(struct exchange *x, struct bytes data) WARN_UNUSED;
/* Hands over the end; x may be gone afterwards when ERR_OK is returned. */
enum err response_end(struct exchange *x, const struct http_fields *trailers) WARN_UNUSED;

/* deny.c: answers with the JSON of design decision 3; x may be gone afterwards. */
void exchange_deny(struct exchange *x, enum err why);

/* audit.c */
void exchange_audit(struct exchange *x);
