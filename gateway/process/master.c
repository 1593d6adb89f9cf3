/*
 * master.c - the process that holds everything together and touches nothing an agent sent
 *
 * One poll loop over: signals, the children's channels, the admin endpoint. It starts, watches and
 * replaces children, appends their audit lines, reloads and ends.
 *
 *	SIGTERM, SIGINT	drain and exit 0; the second one: at once
 *	SIGHUP		reload; a wrong configuration is reported and the old one stays.
 *			Opens the audit file anew
 *	SIGUSR1		opens the audit file anew (rotation)
 *
 * If it dies, the kernel kills every child (PR_SET_PDEATHSIG) and the listeners vanish: fail
 * closed.
 */
#include "gateway/process/master_internal.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "gateway/process/process.h"

#define MESSAGES_PER_TURN 16u

/* ---- children's words ------------------------------------------------------------------------ */

/* False: the child says what it may not. */
static bool master_message(struct master *m, struct generation *g, struct child *c,
			   struct channel_message *msg)
{
	channel_close_fds(msg);
	c->unanswered = 0;
	switch (msg->type) {
	case CHANNEL_READY:
		generation_ready(m, g, c);
		return true;
	case CHANNEL_AUDIT:
		audit_write(&m->audit, msg->body);
		return c->role == PROCESS_WORKER;
	case CHANNEL_PING:
		return true;
	default:
		return false;
	}
}

void master_read_channel(struct master *m, struct generation *g, struct child *c, unsigned limit)
{
	struct channel_message msg;

	for (unsigned i = 0; i < limit && c->channel >= 0; i++) {
		enum err e = channel_receive(c->channel, m->message, CHANNEL_MESSAGE_MAX, &msg);

		if (e == ERR_AGAIN)
			return;
		if (e == ERR_OK && master_message(m, g, c, &msg))
			continue;
		generation_channel_closed(c, e != ERR_CLOSED);
		return;
	}
}

void master_generation_serves(struct master *m, struct generation *g, struct generation *before)
{
	const struct config *cfg = g->material.cfg;

	admin_configure(&m->admin, cfg->gateway.admin.unix_path, &cfg->gateway.admin.listen);
	if (before) {
		m->reloads++;
		audit_reopen(&m->audit, cfg->gateway.audit.file);
		LOG_EVENT(LOG_LEVEL_INFO, "config.reloaded", KV("generation", g->id),
			  KV("workers", (uint64_t)g->n_workers));
		audit_event(&m->audit, "config.reloaded", NULL, NULL);
		return;
	}
	LOG_EVENT(LOG_LEVEL_INFO, "gateway.ready", KV("workers", (uint64_t)g->n_workers),
		  KV("port", (unsigned)cfg->gateway.tproxy.port),
		  KV("tls", tls_library_text()));
	audit_event(&m->audit, "gateway.started", NULL, NULL);
}

void master_generation_failed(struct master *m, struct generation *g, const char *why)
{
	const bool reload = generation_serving(m) != NULL;

	(void)g;
	LOG_EVENT(LOG_LEVEL_ERROR, reload ? "config.reload_failed" : "gateway.start_failed",
		  KV("why", why));
	audit_event(&m->audit, reload ? "config.reload_failed" : "gateway.start_failed", NULL,
		    err_name(ERR_CONFIG));
	if (!reload) {
		m->stopping = true;
		m->status = 1;
	}
}

/* ---- signals --------------------------------------------------------------------------------- */

static void master_stop(struct master *m)
{
	const bool again = m->stopping;

	LOG_EVENT(LOG_LEVEL_INFO, again ? "gateway.stopping_now" : "gateway.draining");
	if (!again)
		audit_event(&m->audit, "gateway.stopping", NULL, NULL);
	m->stopping = true;
	for (struct generation *g = m->generations; g; g = g->next) {
		if (again)
			generation_doom(m, g);
		else if (g->state != GENERATION_DRAINING && !g->doomed)
			generation_drain(m, g);
	}
}

static void master_reload(struct master *m)
{
	struct findings f = { 0 };
	struct material material;

	if (m->stopping)
		return;
	audit_reopen(&m->audit, m->audit.path);
	/* A reload that has not come up yet is overtaken by this one. */
	for (struct generation *g = m->generations; g; g = g->next)
		if (g->state == GENERATION_STARTING && generation_serving(m))
			generation_doom(m, g);
	if (material_load(&material, m->config_path, &m->vault, PAGE_SLOTS, &f) != ERR_OK) {
		LOG_EVENT(LOG_LEVEL_ERROR, "config.reload_failed", KV("errors", f.errors),
			  KV("kept", "the old configuration"));
		audit_event(&m->audit, "config.reload_failed", NULL, err_name(ERR_CONFIG));
		return;
	}
	if (!generation_start(m, &material))
		master_generation_failed(m, NULL, "processes could not be started");
}

static void master_reap(struct master *m)
{
	int wstatus;
	pid_t pid;

	while ((pid = waitpid(-1, &wstatus, WNOHANG)) > 0) {
		for (struct generation *g = m->generations; g; g = g->next) {
			if (g->minter.pid == pid)
				generation_child_ended(m, g, &g->minter, wstatus);
			for (size_t i = 0; i < g->n_workers; i++)
				if (g->workers[i].pid == pid)
					generation_child_ended(m, g, &g->workers[i], wstatus);
		}
	}
}

static void master_signals(struct master *m)
{
	struct signalfd_siginfo info;

	while (read(m->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
		switch (info.ssi_signo) {
		case SIGTERM:
		case SIGINT:
			master_stop(m);
			break;
		case SIGHUP:
			master_reload(m);
			break;
		case SIGUSR1:
			audit_reopen(&m->audit, m->audit.path);
			break;
		case SIGCHLD:
			master_reap(m);
			break;
		default:
			break;
		}
	}
}

static enum err master_open_signals(struct master *m)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGCHLD);
	if (sigprocmask(SIG_BLOCK, &set, NULL) != 0)
		return ERR_IO;
	signal(SIGPIPE, SIG_IGN);
	m->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return m->signal_fd >= 0 ? ERR_OK : ERR_IO;
}

/* ---- admin ----------------------------------------------------------------------------------- */

static void snapshot_child(struct master *m, size_t *n, const struct generation *g,
			   const struct child *c, uint64_t now)
{
	if (*n >= PAGE_SLOTS || (c->pid == 0 && c->respawn_us == 0))
		return;
	m->processes[(*n)++] = (struct observe_process){
		.role = process_role_name(c->role),
		.state = !c->ready ? "starting" :
			 g->state == GENERATION_DRAINING ? "draining" : "running",
		.pid = c->pid,
		.restarts = c->restarts,
		.up_s = (now - c->started_us) / 1000000,
	};
}

static void master_snapshot(void *owner, struct observe_admin *out)
{
	struct master *m = owner;
	const struct generation *serving = generation_serving(m);
	uint64_t now = time_mono_us();
	size_t n = 0;

	for (const struct generation *g = m->generations; g; g = g->next) {
		snapshot_child(m, &n, g, &g->minter, now);
		for (size_t i = 0; i < g->n_workers; i++)
			snapshot_child(m, &n, g, &g->workers[i], now);
	}
	*out = (struct observe_admin){
		.version = SLAPENIR_VERSION,
		.healthy = serving && serving->minter.ready && !m->stopping,
		.up_s = (now - m->started_us) / 1000000,
		.generation = m->reloads,
		.page = m->page,
		.processes = m->processes,
		.n_processes = n,
	};
	for (size_t i = 0; serving && i < serving->n_workers; i++)
		out->healthy = out->healthy && serving->workers[i].ready;
}

/* ---- loop ------------------------------------------------------------------------------------ */

struct poll_set {
	struct pollfd fds[1 + ADMIN_POLLFDS + PAGE_SLOTS + GENERATIONS_MAX * 2];
	size_t n, admin_at, n_admin, children_at;
};

static void poll_add_child(struct poll_set *s, const struct child *c)
{
	if (c->channel >= 0 && s->n < ARRAY_SIZE(s->fds))
		s->fds[s->n++] = (struct pollfd){ .fd = c->channel, .events = POLLIN };
}

static void poll_fill(const struct master *m, struct poll_set *s)
{
	s->fds[0] = (struct pollfd){ .fd = m->signal_fd, .events = POLLIN };
	s->admin_at = 1;
	s->n_admin = admin_poll_add(&m->admin, s->fds + 1);
	s->n = s->children_at = 1 + s->n_admin;
	for (const struct generation *g = m->generations; g; g = g->next) {
		poll_add_child(s, &g->minter);
		for (size_t i = 0; i < g->n_workers; i++)
			poll_add_child(s, &g->workers[i]);
	}
}

static void child_event(struct master *m, struct generation *g, struct child *c, int fd)
{
	if (c->channel == fd)
		master_read_channel(m, g, c, MESSAGES_PER_TURN);
}

static void poll_run_children(struct master *m, const struct poll_set *s)
{
	for (size_t i = s->children_at; i < s->n; i++) {
		if (!s->fds[i].revents)
			continue;
		for (struct generation *g = m->generations; g; g = g->next) {
			child_event(m, g, &g->minter, s->fds[i].fd);
			for (size_t k = 0; k < g->n_workers; k++)
				child_event(m, g, &g->workers[k], s->fds[i].fd);
		}
	}
}

static int poll_timeout(const struct master *m)
{
	uint64_t due = generations_due(m), now = time_mono_us();

	if (due <= now)
		return 0;
	/* At least once a second: idle admin connections end. */
	return due - now > 1000000 ? 1000 : (int)((due - now + 999) / 1000);
}

static void master_loop(struct master *m)
{
	struct poll_set s;

	while (m->generations || !m->stopping) {
		poll_fill(m, &s);
		if (poll(s.fds, s.n, poll_timeout(m)) < 0 && errno != EINTR) {
			m->status = 1;
			return;
		}
		poll_run_children(m, &s);
		admin_poll_run(&m->admin, s.fds + s.admin_at, s.n_admin);
		if (s.fds[0].revents)
			master_signals(m);
		generations_sweep(m);
	}
}

/* ---- start ----------------------------------------------------------------------------------- */

static enum err master_open(struct master *m, const struct config *cfg)
{
	m->message = malloc(CHANNEL_MESSAGE_MAX);
	if (!m->message)
		return ERR_NOMEM;
	m->page = shared_make("slapenir-counters", observe_page_size(PAGE_SLOTS), &m->page_fd);
	if (!m->page)
		return ERR_IO;
	observe_page_init(m->page, PAGE_SLOTS);
	m->slot_used[0] = true;
	TRY(audit_open(&m->audit, cfg->gateway.audit.file));
	m->audit.slot = &m->page->slots[0];
	m->admin.snapshot = master_snapshot;
	m->admin.owner = m;
	TRY(master_open_signals(m));
	listeners_prepare();
	return sandbox_master();
}

static void master_close(struct master *m)
{
	admin_close(&m->admin);
	audit_close(&m->audit);
	secret_vault_wipe(&m->vault);
	free(m->message);
	free(m);
}

static int master_start(struct master *m)
{
	struct findings f = { 0 };
	struct material material;

	if (!sandbox_has_net_admin()) {
		LOG_EVENT(LOG_LEVEL_ERROR, "gateway.no_privilege",
			  KV("why", "transparent sockets need root or CAP_NET_ADMIN"));
		return 1;
	}
	if (tls_global_init() != ERR_OK || secret_vault_init(&m->vault) != ERR_OK)
		return 1;
	if (material_load(&material, m->config_path, &m->vault, PAGE_SLOTS, &f) != ERR_OK)
		return 2;
	if (master_open(m, material.cfg) != ERR_OK) {
		material_release(&material);
		return 1;
	}
	if (!generation_start(m, &material)) {
		LOG_EVENT(LOG_LEVEL_ERROR, "gateway.start_failed", KV("why", strerror(errno)));
		m->stopping = true;
		m->status = 1;
	}
	master_loop(m);
	return m->status;
}

int process_master_run(const char *config_path)
{
	struct master *m = calloc(1, sizeof(*m));
	int status;

	if (!m)
		return 1;
	m->config_path = config_path;
	m->started_us = time_mono_us();
	m->page_fd = -1;
	m->audit.fd = -1;
	m->vault.area = SECRET_AREA_NONE;
	admin_init(&m->admin);
	sandbox_begin(PROCESS_MASTER);
	status = master_start(m);
	master_close(m);
	tls_global_cleanup();
	return status;
}
