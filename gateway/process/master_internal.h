/*
 * master_internal.h - the master's tables: generations and their children
 *
 * A generation is one loaded configuration with its secrets, one minter and N workers. It moves
 *	STARTING -> SERVING -> DRAINING -> freed
 * and from STARTING straight to freed when any of its children does not come up. At most one
 * serves.
 */
#pragma once

#include "gateway/process/process_internal.h"

#define PAGE_SLOTS 256u		/* slot 0 is the master's */
/* One is starting, one serving, the others drain; the oldest is cut short. */
#define GENERATIONS_MAX 4

struct child {
	enum process_role role;
	pid_t pid;			/* 0: not running */
	int channel;			/* -1: none */
	bool ready;			/* has said so */
	unsigned slot;			/* of the counters page; workers only */
	unsigned restarts, quick_deaths;
	uint64_t started_us;
	uint64_t respawn_us;		/* when to start it again; 0: not scheduled */
	/* It closed its channel: when to stop waiting for its end; 0: it did not. */
	uint64_t kill_us;
	uint64_t ping_us;		/* when to ask again whether it still turns its loop */
	unsigned unanswered;		/* questions since it last said anything */
	int listeners[CHANNEL_FDS_MAX];	/* the master's copies, for the next worker in this place */
};

enum generation_state { GENERATION_STARTING, GENERATION_SERVING, GENERATION_DRAINING };

struct generation {
	struct generation *next;
	uint64_t id;
	enum generation_state state;
	struct material material;
	struct child minter;
	struct child *workers;		/* owned */
	size_t n_workers;
	uint64_t deadline_us;		/* STARTING: give up; DRAINING: kill */
	bool doomed;			/* to be freed at the end of this turn */
};

struct master {
	const char *config_path;
	int signal_fd;
	bool stopping;
	int status;			/* what to exit with */
	struct audit audit;
	struct admin admin;
	struct secret_vault vault;
	struct observe_page *page;
	int page_fd;
	bool slot_used[PAGE_SLOTS];
	struct generation *generations;	/* newest first */
	uint64_t last_id;
	uint64_t reloads;
	uint64_t started_us;
	uint8_t *message;		/* owned, CHANNEL_MESSAGE_MAX */
	struct observe_process processes[PAGE_SLOTS];
};

/* ---- listeners.c ----------------------------------------------------------------------------- */

/* Once, before any is opened. */
void listeners_prepare(void);
void listeners_none(int fds[CHANNEL_FDS_MAX]);
enum err listeners_open(const struct config *cfg, int fds[CHANNEL_FDS_MAX]) WARN_UNUSED;
void listeners_close(int fds[CHANNEL_FDS_MAX]);

/* ---- generation.c: starting, replacing and ending children ----------------------------------- */

/* Takes over *material and starts its children. NULL: could not (material released). */
struct generation *generation_start(struct master *m, struct material *material);
void generation_drain(struct master *m, struct generation *g);
/* Kills what is left of it; it is freed by generations_sweep(). */
void generation_doom(struct master *m, struct generation *g);
/* A child said READY: sockets are handed out, the generation goes on when it was the last. */
void generation_ready(struct master *m, struct generation *g, struct child *c);
/* waitpid() found it. */
void generation_child_ended(struct master *m, struct generation *g, struct child *c, int wstatus);
/* A child's channel has ended, or brought nonsense (at_once). */
void generation_channel_closed(struct child *c, bool at_once);
/* Respawns, deadlines, freeing. */
void generations_sweep(struct master *m);
/* When generations_sweep() has something to do next; UINT64_MAX: nothing. */
uint64_t generations_due(const struct master *m);
struct generation *generation_serving(const struct master *m);

/* ---- master.c -------------------------------------------------------------------------------- */

/* Reads what waits on a child's channel. */
void master_read_channel(struct master *m, struct generation *g, struct child *c, unsigned limit);
/*
 * The first generation, or a reloaded one, has become the serving one; `before` is the old one or
 * NULL.
 */
void master_generation_serves(struct master *m, struct generation *g, struct generation *before);
/* A starting generation was given up. */
void master_generation_failed(struct master *m, struct generation *g, const char *why);
