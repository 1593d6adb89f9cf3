/*
 * worker_audit.c - audit lines from this worker to the master
 *
 * Lines gather in the observe room's batch; here it is looked at once per loop turn and written to
 * the channel in messages of whole lines. When the master does not keep up, lines wait, then are
 * lost and counted: an agent's traffic never waits for the audit.
 */
#include "gateway/process/worker_internal.h"

#include <time.h>

#define AUDIT_MESSAGE_MAX (128u * 1024)	/* at most, unless one line is longer */

/* The longest run of whole lines within the limit; one line at least, if there is a whole one. */
static struct bytes whole_lines(struct bytes b)
{
	struct bytes first = bytes_first(b, AUDIT_MESSAGE_MAX);
	size_t n = first.n;

	while (n > 0 && first.p[n - 1] != '\n')
		n--;
	if (n > 0)
		return bytes_first(b, n);
	n = bytes_index(b, '\n');
	return bytes_first(b, n < b.n ? n + 1 : b.n);
}

static size_t audit_write_channel(void *owner, struct bytes lines)
{
	struct worker *w = owner;
	size_t done = 0;

	while (done < lines.n) {
		struct channel_message msg = {
			.type = CHANNEL_AUDIT,
			.body = whole_lines(bytes_from(lines, done)),
		};
		enum err e = channel_send(PROCESS_FD_CHANNEL, &msg);

		if (e == ERR_TOO_LONG)
			observe_add(w->counters, OBSERVE_audit_lost_total, 1);
		else if (e != ERR_OK)
			break;
		done += msg.body.n;
	}
	return done;
}

void worker_audit_add(void *owner, const struct observe_event *ev)
{
	struct worker *w = owner;

	if (observe_batch_add(&w->audit, ev) != ERR_OK)
		observe_add(w->counters, OBSERVE_audit_lost_total, 1);
}

static void audit_on_timer(uv_timer_t *timer)
{
	(void)timer;	/* waking the loop is enough: the turn's end looks again */
}

/* Before the loop blocks: what this turn brought. */
static void audit_on_turn(uv_prepare_t *turn)
{
	struct worker *w = container_of(turn, struct worker, turn);
	uint64_t due = observe_batch_due(&w->audit, time_mono_us());

	if (due == UINT64_MAX)
		return;
	if (due == 0) {
		(void)!observe_batch_flush(&w->audit, time_mono_us());
		due = observe_batch_due(&w->audit, time_mono_us());
		if (due == UINT64_MAX)
			return;
	}
	if (!uv_is_active((uv_handle_t *)&w->audit_timer))
		uv_timer_start(&w->audit_timer, audit_on_timer, due / 1000 + 1, 0);
}

enum err worker_audit_init(struct worker *w)
{
	struct observe_sink sink = { .write = audit_write_channel, .owner = w };

	observe_batch_init(&w->audit, &sink);
	if (uv_prepare_init(&w->uv, &w->turn) != 0 || uv_timer_init(&w->uv, &w->audit_timer) != 0 ||
	    uv_prepare_start(&w->turn, audit_on_turn) != 0)
		return ERR_INTERNAL;
	return ERR_OK;
}

void worker_audit_finish(struct worker *w)
{
	const struct timespec nap = { .tv_nsec = 10000000 };

	uv_close((uv_handle_t *)&w->turn, NULL);
	uv_close((uv_handle_t *)&w->audit_timer, NULL);
	for (int i = 0; i < 50; i++) {
		if (observe_batch_flush(&w->audit, time_mono_us()) == ERR_OK)
			return;
		nanosleep(&nap, NULL);
	}
}
