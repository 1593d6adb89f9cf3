/*
 * loop.c - the loop's shared read buffer and its wheel of coarse timers
 *
 * The wheel has one list per tick of 100 ms. A timer sits in the slot of the tick at which it was
 * last looked at to be due; moving it later only stores the new time, and the wheel moves it on
 * when it gets there. So restarting an idle timer at every read costs one store, and a timer is
 * touched once per turn of the wheel (51.2 s) or when it is really due. Moving it earlier relinks.
 *
 * fire() may stop, start or free any timer: due slots are emptied into a list of their own first,
 * from which a stopped timer takes itself out.
 */
#include "gateway/net/net_internal.h"

#include <sys/mman.h>

#define TIMER_MAX_MS (24u * 60 * 60 * 1000)

/* The first tick at which `due_ms` is over: never early. */
static uint64_t tick_of(uint64_t due_ms)
{
	return (due_ms + NET_TICK_MS - 1) / NET_TICK_MS;
}

static void timer_place(struct net_timer *t)
{
	struct net_loop *loop = t->loop;
	uint64_t tick = tick_of(t->due_ms);

	if (tick <= loop->tick_done)
		tick = loop->tick_done + 1;
	if (tick - loop->tick_done >= NET_WHEEL_SLOTS)
		tick = loop->tick_done + NET_WHEEL_SLOTS - 1;
	t->slot_tick = tick;
	list_append(&loop->slots[tick % NET_WHEEL_SLOTS], &t->link);
}

void net_wheel_turn(struct net_loop *loop, uint64_t tick)
{
	struct list due;

	/* After a long stall every slot is due once. */
	if (tick - loop->tick_done > NET_WHEEL_SLOTS)
		loop->tick_done = tick - NET_WHEEL_SLOTS;
	while (loop->tick_done < tick) {
		loop->tick_done++;
		list_move(&loop->slots[loop->tick_done % NET_WHEEL_SLOTS], &due);
		while (!list_empty(&due)) {
			struct net_timer *t = container_of(due.next, struct net_timer, link);

			list_remove(&t->link);
			if (tick_of(t->due_ms) > tick) {
				timer_place(t);
				continue;
			}
			loop->armed--;
			t->fire(t);
		}
	}
}

static void wheel_on_tick(uv_timer_t *tick)
{
	struct net_loop *loop = container_of(tick, struct net_loop, tick);

	net_wheel_turn(loop, net_loop_now(loop) / NET_TICK_MS);
	if (loop->armed == 0)
		uv_timer_stop(&loop->tick);
}

void net_timer_init(struct net_timer *t, struct net_loop *loop, void (*fire)(struct net_timer *t))
{
	*t = (struct net_timer){ .loop = loop, .fire = fire };
}

void net_timer_start(struct net_timer *t, uint64_t ms)
{
	struct net_loop *loop = t->loop;

	if (ms > TIMER_MAX_MS)
		ms = TIMER_MAX_MS;
	t->due_ms = net_loop_now(loop) + ms;
	if (net_timer_armed(t)) {
		if (tick_of(t->due_ms) >= t->slot_tick)
			return;
		list_remove(&t->link);
		timer_place(t);
		return;
	}
	if (loop->armed++ == 0 && !uv_is_active((uv_handle_t *)&loop->tick)) {
		/* The wheel stood still: nothing is in it, so it may jump. */
		loop->tick_done = net_loop_now(loop) / NET_TICK_MS;
		uv_timer_start(&loop->tick, wheel_on_tick, NET_TICK_MS, NET_TICK_MS);
	}
	timer_place(t);
}

void net_timer_stop(struct net_timer *t)
{
	if (!net_timer_armed(t))
		return;
	list_remove(&t->link);
	t->loop->armed--;
}

enum err net_loop_init(struct net_loop *loop, uv_loop_t *uv)
{
	void *mem;

	*loop = (struct net_loop){ .uv = uv };
	mem = mmap(NULL, NET_READ_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (mem == MAP_FAILED)
		return ERR_NOMEM;
	/* Best effort: the process makes no core dumps anyway. */
	madvise(mem, NET_READ_SIZE, MADV_DONTDUMP);
	loop->read_buf = mem;
	for (size_t i = 0; i < NET_WHEEL_SLOTS; i++)
		list_init(&loop->slots[i]);
	if (uv_timer_init(uv, &loop->tick) != 0) {
		munmap(mem, NET_READ_SIZE);
		loop->read_buf = NULL;
		return ERR_INTERNAL;
	}
	return ERR_OK;
}

static void loop_on_closed(uv_handle_t *h)
{
	struct net_loop *loop = container_of((uv_timer_t *)(void *)h, struct net_loop, tick);

	explicit_bzero(loop->read_buf, NET_READ_SIZE);
	munmap(loop->read_buf, NET_READ_SIZE);
	loop->read_buf = NULL;
	if (loop->on_closed)
		loop->on_closed(loop->owner);
}

void net_loop_close(struct net_loop *loop, void (*on_closed)(void *owner), void *owner)
{
	loop->on_closed = on_closed;
	loop->owner = owner;
	uv_close((uv_handle_t *)&loop->tick, loop_on_closed);
}
