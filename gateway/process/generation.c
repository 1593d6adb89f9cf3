/*
 * generation.c - starting, replacing and ending children
 *
 * Start: minter and workers are spawned; each says READY when set up and sandboxed; only then are
 * listeners opened and handed out, so a configuration that fails has never taken a connection. A
 * child that dies while its generation serves is started again at once, with growing pauses when it
 * keeps dying young. Drain: the master's copies of the listeners are closed, workers are told, and
 * what is left at the deadline is killed.
 */
#include "gateway/process/master_internal.h"

#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define START_LIMIT_US 30000000u
#define DRAIN_GRACE_US 2000000u		/* workers end by themselves at limits.drain */
#define YOUNG_US 2000000u		/* a child that dies before this has not come up properly */
#define END_GRACE_US 100000u		/* between closing its channel and its end */
#define PING_US 2000000u
#define PING_UNANSWERED 5u /* counted, not timed: a machine that slept has asked only once */
#define PAUSE_FIRST_US 50000u
#define PAUSE_LAST_US 5000000u

static struct child child_none(enum process_role role)
{
	struct child c = { .role = role, .channel = -1 };

	listeners_none(c.listeners);
	return c;
}

static enum err slot_take(struct master *m, unsigned *slot)
{
	for (unsigned i = 1; i < PAGE_SLOTS; i++) {
		if (m->slot_used[i])
			continue;
		m->slot_used[i] = true;
		*slot = i;
		return ERR_OK;
	}
	return ERR_NOMEM;
}

static enum err child_spawn(struct master *m, struct generation *g, struct child *c)
{
	struct area_head *head = g->material.area.p;
	const bool worker = c->role == PROCESS_WORKER;
	struct spawn_spec spec = { .role = c->role, .slot = c->slot };
	int pair[2];

	c->respawn_us = c->kill_us = 0;
	c->unanswered = 0;
	c->ready = false;
	if (worker)
		TRY(tls_ticket_secret_advance(&head->ticket, (uint64_t)time(NULL)));
	TRY(channel_pair(pair));
	spec.fds[0] = pair[1];
	spec.fds[PROCESS_FD_JOB - PROCESS_FD_CHANNEL] = g->material.job_fd;
	spec.fds[PROCESS_FD_SECRETS - PROCESS_FD_CHANNEL] =
		worker ? g->material.area.fd : g->material.key_fd;
	spec.fds[PROCESS_FD_PAGE - PROCESS_FD_CHANNEL] = worker ? m->page_fd : -1;
	spec.fds[PROCESS_FD_BUCKETS - PROCESS_FD_CHANNEL] = worker ? g->material.buckets_fd : -1;
	c->pid = spawn_child(&spec);
	close(pair[1]);
	c->started_us = time_mono_us();
	if (c->pid < 0) {
		c->pid = 0;
		close(pair[0]);
		return ERR_IO;
	}
	c->channel = pair[0];
	return ERR_OK;
}

static void child_kill(struct child *c)
{
	if (c->pid > 0)
		kill(c->pid, SIGKILL);
	if (c->channel >= 0)
		close(c->channel);
	c->channel = -1;
	c->ready = false;
}

struct generation *generation_start(struct master *m, struct material *material)
{
	struct generation *g = calloc(1, sizeof(*g));
	bool ok = false;

	if (g)
		g->workers = calloc(material->n_workers, sizeof(*g->workers));
	if (!g || !g->workers) {
		free(g);
		material_release(material);
		return NULL;
	}
	g->id = ++m->last_id;
	g->material = *material;
	*material = MATERIAL_NONE;
	g->n_workers = g->material.n_workers;
	g->deadline_us = time_mono_us() + START_LIMIT_US;
	g->minter = child_none(PROCESS_MINTER);
	for (size_t i = 0; i < g->n_workers; i++)
		g->workers[i] = child_none(PROCESS_WORKER);
	g->next = m->generations;
	m->generations = g;
	ok = child_spawn(m, g, &g->minter) == ERR_OK;
	for (size_t i = 0; i < g->n_workers && ok; i++)
		ok = slot_take(m, &g->workers[i].slot) == ERR_OK &&
		     child_spawn(m, g, &g->workers[i]) == ERR_OK;
	if (ok)
		return g;
	generation_doom(m, g);
	return NULL;
}

struct generation *generation_serving(const struct master *m)
{
	struct generation *g = m->generations;

	while (g && (g->state != GENERATION_SERVING || g->doomed))
		g = g->next;
	return g;
}

void generation_doom(struct master *m, struct generation *g)
{
	(void)m;
	child_kill(&g->minter);
	for (size_t i = 0; i < g->n_workers; i++) {
		child_kill(&g->workers[i]);
		listeners_close(g->workers[i].listeners);
	}
	g->doomed = true;
}

void generation_drain(struct master *m, struct generation *g)
{
	const struct channel_message drain = { .type = CHANNEL_DRAIN };

	if (g->state == GENERATION_STARTING) {
		generation_doom(m, g);
		return;
	}
	g->state = GENERATION_DRAINING;
	g->deadline_us = time_mono_us() + g->material.cfg->gateway.limits.drain_ms * 1000 +
			 DRAIN_GRACE_US;
	for (size_t i = 0; i < g->n_workers; i++) {
		struct child *c = &g->workers[i];

		listeners_close(c->listeners);
		c->respawn_us = 0;
		if (c->pid > 0 && (!c->ready || channel_send(c->channel, &drain) != ERR_OK))
			child_kill(c);
	}
}

/* ---- handing out sockets --------------------------------------------------------------------- */

/* A new pair between the minter and one worker; both must be ready. */
static void connect_minter(struct generation *g, struct child *worker)
{
	struct channel_message msg = { .type = CHANNEL_WORKER, .n_fds = 1 };
	int pair[2];

	if (!g->minter.ready || !worker->ready)
		return;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) != 0)
		return;
	msg.fds[0] = pair[0];
	if (channel_send(g->minter.channel, &msg) == ERR_OK) {
		msg.type = CHANNEL_MINTER;
		msg.fds[0] = pair[1];
		(void)!channel_send(worker->channel, &msg);
	}
	close(pair[0]);
	close(pair[1]);
}

static enum err hand_listeners(struct generation *g, struct child *worker)
{
	struct channel_message msg = { .type = CHANNEL_SERVE };
	uint8_t mask = 0;

	if (worker->listeners[0] < 0)
		TRY(listeners_open(g->material.cfg, worker->listeners));
	for (int i = 0; i < CHANNEL_FDS_MAX; i++) {
		if (worker->listeners[i] < 0)
			continue;
		mask |= (uint8_t)(1u << i);
		msg.fds[msg.n_fds++] = worker->listeners[i];
	}
	msg.body = bytes_of(&mask, 1);
	return channel_send(worker->channel, &msg);
}

static bool all_ready(const struct generation *g)
{
	for (size_t i = 0; i < g->n_workers; i++)
		if (!g->workers[i].ready)
			return false;
	return g->minter.ready;
}

static void generation_promote(struct master *m, struct generation *g)
{
	struct generation *before = generation_serving(m);

	for (size_t i = 0; i < g->n_workers; i++) {
		if (hand_listeners(g, &g->workers[i]) == ERR_OK)
			continue;
		generation_doom(m, g);
		master_generation_failed(m, g, "the listeners could not be opened");
		return;
	}
	g->state = GENERATION_SERVING;
	master_generation_serves(m, g, before);
	if (before)
		generation_drain(m, before);
}

void generation_ready(struct master *m, struct generation *g, struct child *c)
{
	if (c->ready)
		return;
	c->ready = true;
	if (c == &g->minter) {
		for (size_t i = 0; i < g->n_workers; i++)
			connect_minter(g, &g->workers[i]);
	} else {
		connect_minter(g, c);
	}
	if (g->state == GENERATION_STARTING && all_ready(g))
		generation_promote(m, g);
	else if (g->state == GENERATION_SERVING && c != &g->minter &&
		 hand_listeners(g, c) != ERR_OK)
		child_kill(c);
}

/* ---- ends ------------------------------------------------------------------------------------ */

static void schedule_respawn(struct child *c)
{
	uint64_t now = time_mono_us(), pause = PAUSE_FIRST_US;

	if (now - c->started_us >= YOUNG_US)
		c->quick_deaths = 0;
	else
		c->quick_deaths++;
	/*
	 * The first death is made good at once; a child that keeps dying young waits longer each
	 * time.
	 */
	for (unsigned i = 2; i < c->quick_deaths && pause < PAUSE_LAST_US; i++)
		pause *= 2;
	c->respawn_us = c->quick_deaths <= 1
				? now
				: now + (pause < PAUSE_LAST_US ? pause : PAUSE_LAST_US);
	c->restarts++;
}

void generation_child_ended(struct master *m, struct generation *g, struct child *c, int wstatus)
{
	const bool expected = g->doomed || (g->state == GENERATION_DRAINING && wstatus == 0);
	int sig = WIFSIGNALED(wstatus) ? WTERMSIG(wstatus) : 0;
	pid_t pid = c->pid;

	/* Reaped: the number may be another's now. What it said before it died is not lost. */
	c->pid = 0;
	if (c->channel >= 0)
		master_read_channel(m, g, c, ~0u);
	if (!expected) {
		LOG_EVENT(LOG_LEVEL_ERROR,
			  c->role == PROCESS_WORKER ? "worker.died" : "minter.died",
			  KV("pid", (int)pid), KV("signal", sig),
			  KV("status", WIFEXITED(wstatus) ? WEXITSTATUS(wstatus) : -1),
			  KV("why", sig == SIGSYS ? "a system call the sandbox forbids" : ""));
		audit_event(&m->audit, c->role == PROCESS_WORKER ? "worker.died" : "minter.died",
			    NULL, sig ? strsignal(sig) : "exited");
	}
	if (c->channel >= 0)
		close(c->channel);
	c->channel = -1;
	c->ready = false;
	c->kill_us = 0;
	if (c->slot)
		observe_slot_reset_gauges(&m->page->slots[c->slot]);
	if (g->doomed)
		return;
	if (g->state == GENERATION_STARTING) {
		generation_doom(m, g);
		master_generation_failed(m, g, c->role == PROCESS_MINTER ?
						       "the minter ended before it was ready" :
						       "a worker ended before it was ready");
	} else if (g->state == GENERATION_SERVING) {
		schedule_respawn(c);
	}
}

static bool workers_gone(const struct generation *g)
{
	for (size_t i = 0; i < g->n_workers; i++)
		if (g->workers[i].pid > 0)
			return false;
	return true;
}

static void generation_free(struct master *m, struct generation *g)
{
	struct generation **at = &m->generations;

	while (*at != g)
		at = &(*at)->next;
	*at = g->next;
	for (size_t i = 0; i < g->n_workers; i++)
		m->slot_used[g->workers[i].slot] = false;
	m->slot_used[0] = true;
	material_release(&g->material);
	free(g->workers);
	free(g);
}

void generation_channel_closed(struct child *c, bool at_once)
{
	if (c->channel >= 0)
		close(c->channel);
	c->channel = -1;
	c->ready = false;
	if (c->pid <= 0)
		return;
	if (at_once)
		kill(c->pid, SIGKILL);
	else	/* it is most likely ending by itself, and how it ends is worth knowing */
		c->kill_us = time_mono_us() + END_GRACE_US;
}

static void kill_due(struct child *c, uint64_t now)
{
	if (c->kill_us == 0 || c->kill_us > now)
		return;
	c->kill_us = 0;
	if (c->pid > 0)
		kill(c->pid, SIGKILL);
}

/*
 * A child whose loop has stopped turning is as good as dead: its flows hang, and it takes new ones.
 */
static void ping_due(struct child *c, uint64_t now)
{
	const struct channel_message ping = { .type = CHANNEL_PING };

	if (!c->ready || c->channel < 0 || c->ping_us > now)
		return;
	c->ping_us = now + PING_US;
	if (c->unanswered++ >= PING_UNANSWERED) {
		LOG_EVENT(LOG_LEVEL_ERROR, "process.hung", KV("role", process_role_name(c->role)),
			  KV("pid", (int)c->pid));
		kill(c->pid, SIGKILL);
		return;
	}
	(void)!channel_send(c->channel, &ping);
}

static void child_sweep(struct master *m, struct generation *g, struct child *c, uint64_t now)
{
	kill_due(c, now);
	if (g->doomed)
		return;
	ping_due(c, now);
	if (c->respawn_us == 0 || c->respawn_us > now)
		return;
	if (child_spawn(m, g, c) != ERR_OK) {
		LOG_EVENT(LOG_LEVEL_ERROR, "process.spawn_failed",
			  KV("role", process_role_name(c->role)));
		c->respawn_us = now + PAUSE_FIRST_US;
	}
}

static void generation_sweep(struct master *m, struct generation *g, uint64_t now)
{
	if (g->state == GENERATION_STARTING && now >= g->deadline_us && !g->doomed) {
		generation_doom(m, g);
		master_generation_failed(m, g, "not ready in time");
	}
	if (g->state == GENERATION_DRAINING && (now >= g->deadline_us || workers_gone(g)))
		generation_doom(m, g);
	child_sweep(m, g, &g->minter, now);
	for (size_t i = 0; i < g->n_workers; i++)
		child_sweep(m, g, &g->workers[i], now);
}

void generations_sweep(struct master *m)
{
	uint64_t now = time_mono_us();
	struct generation *g = m->generations;
	unsigned n = 0;

	while (g) {
		struct generation *next = g->next;

		/* Newest first: what is beyond the table has drained through several reloads. */
		if (++n > GENERATIONS_MAX && !g->doomed)
			generation_doom(m, g);
		generation_sweep(m, g, now);
		/* Wait for its ends, so that no process outlives its entry. */
		if (g->doomed && workers_gone(g) && g->minter.pid == 0)
			generation_free(m, g);
		g = next;
	}
}

static uint64_t child_due(const struct child *c)
{
	uint64_t due = c->respawn_us ? c->respawn_us : UINT64_MAX;

	if (c->ready && c->ping_us < due)
		due = c->ping_us;
	return c->kill_us && c->kill_us < due ? c->kill_us : due;
}

uint64_t generations_due(const struct master *m)
{
	uint64_t due = UINT64_MAX;

	for (const struct generation *g = m->generations; g; g = g->next) {
		if (g->doomed)
			continue;
		if (g->state != GENERATION_SERVING && g->deadline_us < due)
			due = g->deadline_us;
		if (child_due(&g->minter) < due)
			due = child_due(&g->minter);
		for (size_t i = 0; i < g->n_workers; i++)
			if (child_due(&g->workers[i]) < due)
				due = child_due(&g->workers[i]);
	}
	return due;
}
