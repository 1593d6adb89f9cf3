/*
 * plan_internal.h - the parts of the plan that are built in their own files
 */
#pragma once

#include "netpolicy/netpolicy.h"

/* Appends the rules of all chains; the plan's mark is set, the sets have their names. */
void np_plan_rules(struct np_plan *plan, const struct np_input *in);

/* From the sources of `family`: sorted and merged. Nothing is owned on error. */
enum err np_ranges_from_cidrs(const struct cidr *cidrs, size_t n, uint8_t family,
			      struct np_set *set) WARN_UNUSED;
/* Sorts; merges what overlaps or touches (addresses only). */
void np_ranges_normalize(struct np_set *set);
/* As nft prints it: address, prefix, or a-b; interface names quoted. Returns dst. */
#define NP_RANGE_TEXT_MAX 104
const char *np_range_text(enum np_set_type type, const struct np_range *range,
			  char dst[NP_RANGE_TEXT_MAX]);
/* Bytes of one key. */
size_t np_set_key_len(enum np_set_type type);
/* Big-endian plus one; false when it wraps to zero. */
bool np_key_next(uint8_t *key, size_t len);
void np_key_prev(uint8_t *key, size_t len);
