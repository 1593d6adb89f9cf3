/*
 * counters.c - the shared page of counters, summed and written for people and for Prometheus
 *
 * Each slot has one writer and any number of readers; a reader may see a sum that is a few
 * increments old, never a torn value.
 */
#include "gateway/observe/observe_internal.h"

enum kind { GAUGE, COUNTER };

static const struct {
	const char *name;
	const char *help;
	enum kind kind;
} counters[OBSERVE_COUNTERS] = {
#define X(name, kind, help) [OBSERVE_##name] = { #name, help, kind },
	OBSERVE_TABLE(X)
#undef X
};

size_t observe_page_size(uint32_t n_slots)
{
	return sizeof(struct observe_page) + (size_t)n_slots * sizeof(struct observe_slot);
}

void observe_page_init(struct observe_page *page, uint32_t n_slots)
{
	memset(page, 0, observe_page_size(n_slots));
	page->n_slots = n_slots;
}

void observe_slot_reset_gauges(struct observe_slot *slot)
{
	for (size_t i = 0; i < OBSERVE_COUNTERS; i++)
		if (counters[i].kind == GAUGE)
			atomic_store_explicit(&slot->v[i], 0, memory_order_relaxed);
}

uint64_t observe_sum(const struct observe_page *page, enum observe_counter c)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < page->n_slots; i++)
		sum += atomic_load_explicit(&page->slots[i].v[c], memory_order_relaxed);
	return sum;
}

enum err observe_counters_json(const struct observe_page *page, struct buf *out)
{
	for (size_t i = 0; i < OBSERVE_COUNTERS; i++) {
		TRY(buf_append_str(out, i ? ",\"" : "{\""));
		TRY(buf_append_str(out, counters[i].name));
		TRY(buf_append(out, BYTES_LIT("\":")));
		TRY(observe_put_u64(out, observe_sum(page, (enum observe_counter)i)));
	}
	return buf_append(out, BYTES_LIT("}"));
}

enum err observe_counters_text(const struct observe_page *page, struct buf *out)
{
	for (size_t i = 0; i < OBSERVE_COUNTERS; i++) {
		TRY(buf_printf(out, "# HELP slapenir_%s %s\n# TYPE slapenir_%s %s\nslapenir_%s ",
			       counters[i].name, counters[i].help, counters[i].name,
			       counters[i].kind == GAUGE ? "gauge" : "counter", counters[i].name));
		TRY(observe_put_u64(out, observe_sum(page, (enum observe_counter)i)));
		TRY(buf_append(out, BYTES_LIT("\n")));
	}
	return ERR_OK;
}
