/*
 * rewrite_model.h - what the rewriter must do, in the slowest and plainest way
 *
 * The model tries every pattern at every place. It shares no code with the rewriter. A recorder
 * takes what the rewriter does, so that the two can be compared.
 */
#pragma once

#include "gateway/rewrite/rewrite.h"

#define MODEL_OUT_MAX (1u << 18)
#define MODEL_MATCHES_MAX (1u << 15)

struct model_trace {
	uint8_t out[MODEL_OUT_MAX];
	size_t out_n;
	struct {
		uint64_t at;
		uint32_t id;
	} match[MODEL_MATCHES_MAX];
	size_t matches;
	size_t emits;
	size_t error_at; /* emit() fails at this call, counted from 1; 0: never */
	int stop_id;	 /* match() stops at this id; -1: never */
	bool overflow;
};

extern const struct rewrite_ops model_ops; /* owner is a struct model_trace */

void model_reset(struct model_trace *t);
/* What the recorder answers for an id: one third kept, one replaced by "<id>", one by nothing. */
enum rewrite_verdict model_verdict(uint32_t id, char text[16], struct bytes *replacement);
/* Fills t with what a rewriter must record for the whole of `in`. */
void model_run(struct model_trace *t, const struct rewrite_pattern *pats, size_t n,
	       struct bytes in);
/* Same output, same matches? */
bool model_same(const struct model_trace *a, const struct model_trace *b);
/* The longest end of `in` that begins a pattern, unless an earlier match reaches into it: what may
 * be held. */
size_t model_may_hold(const struct rewrite_pattern *pats, size_t n, struct bytes in);
