/*
 * test_net_timer.c - the wheel: never early, at most two ticks late, restart is lazy, fire() may do
 * anything. Time is the loop's own clock, set by the test.
 */
#include "gateway/net/net_internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

struct item {
	struct net_timer timer;
	uint64_t fired_ms; /* 0: not yet */
	unsigned count;
	struct item *stops; /* stopped by fire() */
	uint64_t again_ms; /* restarted by fire(), once */
};

struct world {
	uv_loop_t uv;
	struct net_loop loop;
};

static void item_fire(struct net_timer *t)
{
	struct item *it = container_of(t, struct item, timer);

	it->count++;
	it->fired_ms = net_loop_now(t->loop);
	if (it->stops)
		net_timer_stop(&it->stops->timer);
	if (it->again_ms) {
		net_timer_start(t, it->again_ms);
		it->again_ms = 0;
	}
}

static int world_open(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	if (!w || uv_loop_init(&w->uv) != 0 || net_loop_init(&w->loop, &w->uv) != ERR_OK)
		return -1;
	w->uv.time = 1000 * 1000 + 37;
	*state = w;
	return 0;
}

static int world_close(void **state)
{
	struct world *w = *state;

	net_loop_close(&w->loop, NULL, NULL);
	uv_run(&w->uv, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&w->uv), 0);
	free(w);
	return 0;
}

/* Goes through time in steps of `step_ms`, turning the wheel at each. */
static void pass(struct world *w, uint64_t ms, uint64_t step_ms)
{
	uint64_t end = w->uv.time + ms;

	while (w->uv.time < end) {
		w->uv.time += step_ms;
		net_wheel_turn(&w->loop, w->uv.time / NET_TICK_MS);
	}
}

static void test_on_time(void **state)
{
	static const uint64_t delays[] = {
		0, 1, 99, 100, 101, 5000, 51099, 51100, 51200, 51300, 300 * 1000, 3600 * 1000,
	};
	struct world *w = *state;

	for (size_t i = 0; i < ARRAY_SIZE(delays); i++) {
		struct item it = { .count = 0 };
		uint64_t start = w->uv.time;

		net_timer_init(&it.timer, &w->loop, item_fire);
		assert_false(net_timer_armed(&it.timer));
		net_timer_start(&it.timer, delays[i]);
		assert_true(net_timer_armed(&it.timer));
		pass(w, delays[i] + 300, 33);
		assert_int_equal(it.count, 1);
		assert_true(it.fired_ms >= start + delays[i]);
		assert_true(it.fired_ms <= start + delays[i] + 2 * NET_TICK_MS + 33);
		assert_false(net_timer_armed(&it.timer));
		assert_int_equal(w->loop.armed, 0);
	}
}

/* An idle timer restarted at every read fires once, after the last restart, and is not moved. */
static void test_restart_later_is_lazy(void **state)
{
	struct world *w = *state;
	struct item it = { .count = 0 };
	struct list *prev, *next;
	uint64_t slot;

	net_timer_init(&it.timer, &w->loop, item_fire);
	net_timer_start(&it.timer, 1000);
	slot = it.timer.slot_tick;
	prev = it.timer.link.prev;
	next = it.timer.link.next;
	for (int i = 0; i < 9; i++) {
		pass(w, 50, 50);
		net_timer_start(&it.timer, 1000);
		assert_int_equal(it.timer.slot_tick, slot);
		assert_ptr_equal(it.timer.link.prev, prev);
		assert_ptr_equal(it.timer.link.next, next);
	}
	pass(w, 900, 100);
	assert_int_equal(it.count, 0);
	pass(w, 300, 100);
	assert_int_equal(it.count, 1);
}

static void test_restart_earlier(void **state)
{
	struct world *w = *state;
	struct item it = { .count = 0 };

	net_timer_init(&it.timer, &w->loop, item_fire);
	net_timer_start(&it.timer, 60 * 1000);
	net_timer_start(&it.timer, 200);
	assert_int_equal(w->loop.armed, 1);
	pass(w, 500, 100);
	assert_int_equal(it.count, 1);
	pass(w, 61 * 1000, 100);
	assert_int_equal(it.count, 1);
}

static void test_stop(void **state)
{
	struct world *w = *state;
	struct item it = { .count = 0 };

	net_timer_init(&it.timer, &w->loop, item_fire);
	net_timer_stop(&it.timer);
	net_timer_start(&it.timer, 200);
	net_timer_stop(&it.timer);
	net_timer_stop(&it.timer);
	assert_int_equal(w->loop.armed, 0);
	pass(w, 1000, 100);
	assert_int_equal(it.count, 0);
}

/* Two in one slot: the first to fire stops the other, whichever it is. */
static void test_fire_stops_other(void **state)
{
	struct world *w = *state;
	struct item a = { .count = 0 }, b = { .count = 0 };

	a.stops = &b;
	b.stops = &a;
	net_timer_init(&a.timer, &w->loop, item_fire);
	net_timer_init(&b.timer, &w->loop, item_fire);
	net_timer_start(&a.timer, 200);
	net_timer_start(&b.timer, 200);
	pass(w, 1000, 100);
	assert_int_equal(a.count + b.count, 1);
	assert_int_equal(w->loop.armed, 0);
}

static void test_fire_restarts_itself(void **state)
{
	struct world *w = *state;
	struct item it = { .again_ms = 300 };

	net_timer_init(&it.timer, &w->loop, item_fire);
	net_timer_start(&it.timer, 100);
	pass(w, 2000, 100);
	assert_int_equal(it.count, 2);
}

/* A loop that stood still for longer than the wheel: all that is due fires, the rest stays. */
static void test_stall(void **state)
{
	struct world *w = *state;
	struct item near = { .count = 0 }, mid = { .count = 0 }, far = { .count = 0 };

	net_timer_init(&near.timer, &w->loop, item_fire);
	net_timer_init(&mid.timer, &w->loop, item_fire);
	net_timer_init(&far.timer, &w->loop, item_fire);
	net_timer_start(&near.timer, 100);
	net_timer_start(&mid.timer, 100 * 1000);
	net_timer_start(&far.timer, 300 * 1000);
	pass(w, 120 * 1000, 120 * 1000);
	assert_int_equal(near.count, 1);
	assert_int_equal(mid.count, 1);
	assert_int_equal(far.count, 0);
	pass(w, 179 * 1000, 1000);
	assert_int_equal(far.count, 0);
	pass(w, 2 * 1000, 1000);
	assert_int_equal(far.count, 1);
}

/* The uv timer that drives the wheel runs only while something is armed. */
static void test_quiet_loop_sleeps(void **state)
{
	struct world *w = *state;
	struct item it = { .count = 0 };

	uv_update_time(&w->uv);
	net_timer_init(&it.timer, &w->loop, item_fire);
	assert_false(uv_is_active((uv_handle_t *)&w->loop.tick));
	net_timer_start(&it.timer, 1);
	assert_true(uv_is_active((uv_handle_t *)&w->loop.tick));
	uv_run(&w->uv, UV_RUN_DEFAULT);
	assert_int_equal(it.count, 1);
	assert_false(uv_is_active((uv_handle_t *)&w->loop.tick));
}

#define T(f) cmocka_unit_test_setup_teardown(f, world_open, world_close)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_on_time), T(test_restart_later_is_lazy), T(test_restart_earlier),
		T(test_stop),	 T(test_fire_stops_other),	T(test_fire_restarts_itself),
		T(test_stall),	 T(test_quiet_loop_sleeps),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
