/*
 * test_observe_admin.c - counters summed over workers, and the admin endpoint's answers
 */
#include "gateway/observe/observe.h"
#include "tests/lib/guard.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

struct world {
	struct observe_page *page;
	struct observe_process processes[2];
	struct observe_admin admin;
};

static int world_open(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	assert_non_null(w);
	w->page = aligned_alloc(64, observe_page_size(3));
	assert_non_null(w->page);
	memset(w->page, 0xA5, observe_page_size(3));
	observe_page_init(w->page, 3);
	w->processes[0] =
		(struct observe_process){ .role = "minter", .state = "running", .pid = 7 };
	w->processes[1] = (struct observe_process){
		.role = "worker", .state = "draining", .pid = 8, .restarts = 2, .up_s = 9
	};
	w->admin = (struct observe_admin){
		.version = "1.2",
		.healthy = true,
		.up_s = 10,
		.generation = 3,
		.page = w->page,
		.processes = w->processes,
		.n_processes = 2,
	};
	*state = w;
	return 0;
}

static int world_close(void **state)
{
	struct world *w = *state;

	free(w->page);
	free(w);
	return 0;
}

static bool holds(const struct buf *b, const char *text)
{
	return bytes_find(buf_bytes(b), bytes_str(text)) < buf_len(b);
}

static void test_counters(void **state)
{
	struct world *w = *state;
	struct buf out;

	observe_add(&w->page->slots[0], OBSERVE_flows_open, 2);
	observe_add(&w->page->slots[2], OBSERVE_flows_open, 5);
	observe_sub(&w->page->slots[2], OBSERVE_flows_open, 1);
	observe_add(&w->page->slots[1], OBSERVE_audit_lost_total, UINT64_C(1) << 40);
	observe_add(&w->page->slots[2], OBSERVE_audit_lost_total, 1);
	assert_true(observe_sum(w->page, OBSERVE_flows_open) == 6);
	buf_init(&out, 1 << 20);
	assert_int_equal(observe_counters_json(w->page, &out), ERR_OK);
	assert_true(bytes_starts(buf_bytes(&out), BYTES_LIT("{\"flows_open\":6,")));
	assert_true(bytes_ends(buf_bytes(&out), BYTES_LIT("\"audit_lost_total\":1099511627777}")));
	buf_clear(&out);
	assert_int_equal(observe_counters_text(w->page, &out), ERR_OK);
	assert_true(bytes_starts(buf_bytes(&out),
				 BYTES_LIT("# HELP slapenir_flows_open agent connections open now\n"
					   "# TYPE slapenir_flows_open gauge\n"
					   "slapenir_flows_open 6\n")));
	assert_true(holds(&out, "# TYPE slapenir_audit_lost_total counter\n"
				"slapenir_audit_lost_total 1099511627777\n"));
	/* A dead worker holds nothing open; what it did stays done. */
	observe_slot_reset_gauges(&w->page->slots[2]);
	assert_true(observe_sum(w->page, OBSERVE_flows_open) == 2);
	assert_true(observe_sum(w->page, OBSERVE_audit_lost_total) == (UINT64_C(1) << 40) + 1);
	buf_release(&out);
}

static void respond(struct world *w, struct bytes request, struct buf *out)
{
	uint8_t *copy = guard_copy(request.p, request.n);

	buf_init(out, 1 << 20);
	assert_int_equal(observe_admin_respond(bytes_of(copy, request.n), &w->admin, out), ERR_OK);
	guard_free(copy);
}

static void test_answers(void **state)
{
	static const struct {
		struct bytes request;
		const char *status, *body_end;
		bool unhealthy;
	} rows[] = {
		{ BYTES_LIT("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"), "200 OK", "\r\n\r\nok\n",
		  false },
		{ BYTES_LIT("GET /healthz?x=1 HTTP/1.0\n\n"), "200 OK", "\r\n\r\nok\n", false },
		{ BYTES_LIT("GET /healthz HTTP/1.1\r\n\r\n"), "503 Service Unavailable",
		  "\r\n\r\nnot ready\n", true },
		{ BYTES_LIT("HEAD /healthz HTTP/1.1\r\n\r\n"), "200 OK",
		  "Content-Length: 3\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n",
		  false },
		{ BYTES_LIT("POST /healthz HTTP/1.1\r\n\r\n"), "405 Method Not Allowed", "",
		  false },
		{ BYTES_LIT("GET / HTTP/1.1\r\n\r\n"), "404 Not Found", "", false },
		{ BYTES_LIT("GET /healthzz HTTP/1.1\r\n\r\n"), "404 Not Found", "", false },
		{ BYTES_LIT("GET /healthz\r\n\r\n"), "400 Bad Request", "", false },
		{ BYTES_LIT("\r\n\r\n"), "400 Bad Request", "", false },
		{ BYTES_LIT("\n\n"), "400 Bad Request", "", false },
		{ BYTES_LIT("GET /status HTTP/1.1\r\n\r\n"), "200 OK", "\"audit_lost_total\":0}}\n",
		  false },
		{ BYTES_LIT("GET /metrics HTTP/1.1\r\n\r\n"), "200 OK",
		  "slapenir_audit_lost_total 0\n", false },
	};
	struct world *w = *state;
	struct buf out;

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		w->admin.healthy = !rows[i].unhealthy;
		respond(w, rows[i].request, &out);
		assert_true(bytes_starts(buf_bytes(&out), BYTES_LIT("HTTP/1.1 ")));
		assert_true(
			bytes_starts(bytes_from(buf_bytes(&out), 9), bytes_str(rows[i].status)));
		assert_true(bytes_ends(buf_bytes(&out), bytes_str(rows[i].body_end)));
		buf_release(&out);
	}
}

static void test_status(void **state)
{
	struct world *w = *state;
	struct buf out;

	respond(w, BYTES_LIT("GET /status HTTP/1.1\r\n\r\n"), &out);
	assert_true(holds(&out,
			  "{\"version\":\"1.2\",\"healthy\":true,\"up_s\":10,\"generation\":3,"
			  "\"processes\":[{\"role\":\"minter\",\"pid\":7,"
			  "\"state\":\"running\",\"restarts\":0,\"up_s\":0},"
			  "{\"role\":\"worker\",\"pid\":8,\"state\":\"draining\","
			  "\"restarts\":2,\"up_s\":9}],\"counters\":{\"flows_open\":0,"));
	buf_release(&out);
}

/* Nothing is answered before the head is whole, wherever it is cut. */
static void test_every_cut(void **state)
{
	struct bytes request = BYTES_LIT("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
	struct world *w = *state;
	struct buf out;

	buf_init(&out, 1 << 20);
	for (size_t n = 0; n < request.n; n++) {
		uint8_t *copy = guard_copy(request.p, n);

		assert_int_equal(observe_admin_respond(bytes_of(copy, n), &w->admin, &out),
				 ERR_AGAIN);
		assert_int_equal(buf_len(&out), 0);
		guard_free(copy);
	}
	buf_release(&out);
}

static void test_endless_head(void **state)
{
	struct world *w = *state;
	uint8_t head[OBSERVE_ADMIN_REQUEST_MAX + 10];
	struct buf out;

	memset(head, 'a', sizeof(head));
	respond(w, bytes_of(head, OBSERVE_ADMIN_REQUEST_MAX), &out);
	assert_true(bytes_starts(buf_bytes(&out), BYTES_LIT("HTTP/1.1 431 ")));
	buf_release(&out);
	/* An end that comes too late does not count. */
	memcpy(head + OBSERVE_ADMIN_REQUEST_MAX, "\r\n\r\n", 4);
	respond(w, bytes_of(head, sizeof(head)), &out);
	assert_true(bytes_starts(buf_bytes(&out), BYTES_LIT("HTTP/1.1 431 ")));
	buf_release(&out);
}

#define T(f) cmocka_unit_test_setup_teardown(f, world_open, world_close)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_counters),  T(test_answers),	 T(test_status),
		T(test_every_cut), T(test_endless_head),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
