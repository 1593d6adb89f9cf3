/*
 * nft_internal.h - what nft_wire, nft_apply, nft_read and nft_check share
 */
#pragma once

#include <libnftnl/chain.h>
#include <libnftnl/expr.h>
#include <libnftnl/flowtable.h>
#include <libnftnl/rule.h>
#include <libnftnl/set.h>
#include <libnftnl/table.h>

#include "netpolicy/kernel_internal.h"
#include "netpolicy/plan_internal.h"

/* ---- wire: from the model to libnftnl's objects; NULL when out of memory, the caller frees --- */

struct nftnl_table *np_wire_table(void);
struct nftnl_chain *np_wire_chain(const struct np_chain *chain);
struct nftnl_set *np_wire_set(const struct np_set *set, uint32_t id);
struct nftnl_rule *np_wire_rule(const struct np_plan *plan, const struct np_rule *rule);
/* Adds the wire elements of ranges [from, to) to `wire`; false when out of memory. */
bool np_wire_elements(const struct np_set *set, size_t from, size_t to, struct nftnl_set *wire);

/*
 * A rule's expressions in a form two rules can be compared by: libnftnl's text, one expression
 * after another, with counters' values left out. Caller frees; NULL when out of memory.
 */
char *np_wire_rule_text(const struct nftnl_rule *rule);

/* ---- read: what stands in the kernel ---- */

struct np_kernel_rule {
	char *chain;		/* owned */
	char *text;		/* owned; np_wire_rule_text() */
};

struct np_key {
	uint8_t key[NP_DATA_MAX];
	bool end;		/* first key after an interval */
	bool odd;		/* catch-all, or of another length: nothing we would make */
};

struct np_kernel_set {
	char *name;		/* owned */
	uint32_t flags, key_type, key_len;
	struct np_key *keys;	/* owned; as dumped */
	size_t n_keys;
	struct np_set elements;	/* ranges owned; made from the keys by nft_check */
};

struct np_kernel {
	bool table_present;
	uint32_t table_flags;
	struct nftnl_chain **chains;	/* owned, each too */
	size_t n_chains;
	struct np_kernel_rule *rules;	/* owned */
	size_t n_rules;
	struct np_kernel_set *sets;	/* owned */
	size_t n_sets;
	char **flowtables;		/* owned; "family table name" of every one there is */
	size_t n_flowtables;
	size_t n_objects;		/* stateful objects in our table */
	uint32_t generation;		/* of the whole ruleset */
};

/* Everything of our table; 0 or an errno (detail in nl). Call np_kernel_release() in any case. */
int np_kernel_read(struct np_nl *nl, struct np_kernel *out);
void np_kernel_release(struct np_kernel *kernel);

/* ---- check ---- */

void np_nft_check_sets(const struct np_plan *plan, struct np_kernel *k, struct np_report *report);
