/*
 * nft_check_sets.c - sets in the kernel against the plan
 *
 * The kernel holds an interval as two keys. They are put together to ranges again, so that a
 * finding names 10.9.0.0/16 and not a key that starts and another that ends something.
 */
#include <errno.h>
#include <linux/netfilter/nf_tables.h>
#include <stdlib.h>

#include "netpolicy/nft_internal.h"

static int key_compare(const void *a, const void *b)
{
	const struct np_key *x = a, *y = b;
	int order = memcmp(x->key, y->key, NP_DATA_MAX);

	/* At the same key one interval ends before the next starts. */
	return order ? order : (int)y->end - (int)x->end;
}

/*
 * An end without a start is what nft puts before the first interval; a start without an end runs to
 * the last key.
 */
static bool ranges_from_keys(struct np_kernel_set *set)
{
	struct np_set *out = &set->elements;
	size_t len = np_set_key_len(out->type);
	bool interval = set->flags & NFT_SET_INTERVAL, open = false;

	free(out->ranges);
	out->n = 0;
	out->ranges = calloc(set->n_keys + 1, sizeof(*out->ranges));
	if (!out->ranges)
		return false;
	if (set->n_keys)
		qsort(set->keys, set->n_keys, sizeof(*set->keys), key_compare);
	for (size_t i = 0; i < set->n_keys; i++) {
		const struct np_key *key = &set->keys[i];
		struct np_range *range = &out->ranges[out->n];

		if (key->odd)
			continue;
		if (key->end) {
			if (open)
				np_key_prev(memcpy(range[-1].to, key->key, NP_DATA_MAX), len);
			open = false;
			continue;
		}
		memcpy(range->from, key->key, NP_DATA_MAX);
		memcpy(range->to, key->key, NP_DATA_MAX);
		if (interval)
			memset(range->to, 0xff, len);
		open = interval;
		out->n++;
	}
	return true;
}

static void tell(const struct np_set *set, const struct np_range *range, bool wanted,
		 struct np_report *report)
{
	char object[64], text[NP_RANGE_TEXT_MAX];

	snprintf(object, sizeof(object), "nft set %s", set->name);
	np_range_text(set->type, range, text);
	if (wanted)
		np_report_add(report, NP_DRIFT, object, text, "it missing");
	else
		np_report_add(report, NP_DRIFT, object, "not to hold it", "%s", text);
}

/* Both are sorted. */
static void compare_ranges(const struct np_set *want, const struct np_set *have,
			   struct np_report *report)
{
	size_t i = 0, j = 0;

	while (i < want->n || j < have->n) {
		int order = i == want->n ? 1 : j == have->n ? -1 :
			memcmp(&want->ranges[i], &have->ranges[j], sizeof(want->ranges[i]));

		if (order == 0) {
			i++;
			j++;
		} else if (order < 0) {
			tell(want, &want->ranges[i++], true, report);
		} else {
			tell(want, &have->ranges[j++], false, report);
		}
	}
}

static void check_set(const struct np_set *want, struct np_kernel_set *have,
		      struct np_report *report)
{
	uint32_t flags = want->type == NP_SET_IFNAME ? 0 : NFT_SET_INTERVAL;
	size_t odd = 0;
	char object[64];

	snprintf(object, sizeof(object), "nft set %s", want->name);
	if (have->flags != flags || have->key_len != np_set_key_len(want->type)) {
		np_report_add(report, NP_DRIFT, object, "the planned type and flags",
			      "flags 0x%x, keys of %u bytes", have->flags, have->key_len);
		return;
	}
	have->elements.type = want->type;
	for (size_t i = 0; i < have->n_keys; i++)
		odd += have->keys[i].odd;
	if (odd)
		np_report_add(report, NP_DRIFT, object, "plain elements only",
			      "%zu that match more than a key (catch-all or unknown)", odd);
	if (ranges_from_keys(have))
		compare_ranges(want, &have->elements, report);
	else
		np_report_errno(report, object, ENOMEM, "");
}

void np_nft_check_sets(const struct np_plan *plan, struct np_kernel *k, struct np_report *report)
{
	bool planned;
	char object[64];

	for (size_t i = 0; i < NP_N_SETS; i++) {
		struct np_kernel_set *have = NULL;

		for (size_t j = 0; j < k->n_sets && !have; j++)
			if (strcmp(k->sets[j].name, plan->sets[i].name) == 0)
				have = &k->sets[j];
		if (have) {
			check_set(&plan->sets[i], have, report);
			continue;
		}
		snprintf(object, sizeof(object), "nft set %s", plan->sets[i].name);
		np_report_add(report, NP_DRIFT, object, "to be there", "nothing");
	}
	for (size_t j = 0; j < k->n_sets; j++) {
		planned = false;
		for (size_t i = 0; i < NP_N_SETS; i++)
			planned = planned || strcmp(k->sets[j].name, plan->sets[i].name) == 0;
		if (!planned) {
			snprintf(object, sizeof(object), "nft set %.40s", k->sets[j].name);
			np_report_add(report, NP_DRIFT, object, "not to be there", "an added set");
		}
	}
}
