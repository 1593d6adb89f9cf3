/*
 * process_internal.h - what the files of this room share
 *
 * The hand-over. A child is started with exec and finds:
 *   argv	slapenir-gateway --role worker --slot 3
 *   fd 3	channel to the master, SOCK_SEQPACKET
 *   fd 4	the job: a sealed memfd, struct job_head and its sections
 *   fd 5	worker: the secret area; minter: the CA's key file, open for reading
 *   fd 6	worker: the page of counters
 *   fd 7	worker: the agents' rate-limit buckets
 * Everything else is closed. Sockets come later over the channel, once the child has said that it
 * is set up and sandboxed, so a configuration that cannot be served never takes a connection:
 *   child -> master	R		ready
 *   worker -> master	A lines...	whole audit lines, written as they are
 *   master -> worker	M +fd		a socket to the minter (again when the minter was replaced)
 *   master -> worker	S mask +fds	serve on these listeners
 *   master -> worker	D		drain: accept no more, finish, exit 0
 *   master -> minter	W +fd		a worker's socket
 *   both ways		P		are you there? - yes
 * The end of the channel means that the master is gone: a child exits at once (fail closed).
 */
#pragma once

#include <signal.h>
#include <sys/types.h>

#include "base/base.h"
#include "config/config.h"
#include "gateway/observe/observe.h"
#include "gateway/policy/policy.h"
#include "gateway/secret/secret.h"
#include "gateway/tls/tls.h"

enum process_fd {
	PROCESS_FD_CHANNEL = 3,
	PROCESS_FD_JOB,
	PROCESS_FD_SECRETS,
	PROCESS_FD_KEY = PROCESS_FD_SECRETS,
	PROCESS_FD_PAGE,
	PROCESS_FD_BUCKETS,
	PROCESS_FD_END,
};
#define PROCESS_FDS (PROCESS_FD_END - PROCESS_FD_CHANNEL)

enum process_role { PROCESS_MASTER, PROCESS_MINTER, PROCESS_WORKER };
const char *process_role_name(enum process_role role);

/* ---- channel.c: messages between master and children ----------------------------------------- */

enum channel_type {
	CHANNEL_READY = 'R',
	CHANNEL_AUDIT = 'A',
	CHANNEL_MINTER = 'M',
	CHANNEL_SERVE = 'S',
	CHANNEL_DRAIN = 'D',
	CHANNEL_WORKER = 'W',
	CHANNEL_PING = 'P',
};

#define CHANNEL_MESSAGE_MAX (512u * 1024)	/* type and body */
#define CHANNEL_FDS_MAX 6

struct channel_message {
	enum channel_type type;
	struct bytes body;		/* borrowed: in the receiver's buffer */
	int fds[CHANNEL_FDS_MAX];	/* the receiver's now */
	size_t n_fds;
};

/* A pair of non-blocking, close-on-exec SEQPACKET sockets with room for large messages. */
enum err channel_pair(int fds[2]) WARN_UNUSED;
/* Whole or not at all: ERR_AGAIN when full, ERR_CLOSED when the other end is gone, ERR_TOO_LONG. */
enum err channel_send(int fd, const struct channel_message *m) WARN_UNUSED;
/* ERR_AGAIN, ERR_CLOSED (the end), ERR_BAD_VALUE (cut or empty: treat as the end). */
enum err channel_receive(int fd, uint8_t *buffer, size_t cap,
			 struct channel_message *m) WARN_UNUSED;
void channel_close_fds(struct channel_message *m);

/* ---- job.c: what a child is told ------------------------------------------------------------- */

enum job_section {
	JOB_CONFIG,		/* YAML text */
	JOB_CONFIG_NAME,	/* its file name */
	JOB_TRUST,		/* upstream roots, PEM */
	JOB_CA_CHAIN,		/* interception certificate and intermediates, PEM; public */
	JOB_DNS_SERVERS,	/* "ip:port,ip:port" */
	JOB_HOSTS,		/* text of the hosts file */
	JOB_OWN_ADDRESSES,	/* struct addr x n */
	JOB_SECTIONS
};

struct job_head {
	uint32_t magic;
	uint32_t uid, gid;		/* to become; own ids: stay */
	uint32_t page_slots;
	uint32_t leaf_lifetime_s;
	struct {
		uint32_t off, len;
	} sections[JOB_SECTIONS];
};

/* A sealed memfd; -1 with errno. `head` gives all but the sections. */
int job_make(const struct job_head *head, const struct bytes sections[JOB_SECTIONS]);

struct job {
	const struct job_head *head;
	size_t size;
};
/* Maps and checks; closes fd. */
enum err job_open(struct job *j, int fd) WARN_UNUSED;
struct bytes job_section(const struct job *j, enum job_section s);
void job_close(struct job *j);

/* A memfd of `size` zero bytes mapped shared; NULL on failure. */
void *shared_make(const char *name, size_t size, int *fd);
/* Maps an inherited one; closes fd. */
void *shared_open(int fd, size_t size);
enum err shared_close(void *p, size_t size);

/* ---- settings.c: the configuration in other rooms' words ------------------------------------- */

/* Reads at most `max` bytes of a regular file into a fresh buf. `why` is set on failure. */
enum err settings_read_file(const char *path, size_t max, struct buf *out,
			    char why[SECRET_WHY_MAX]) WARN_UNUSED;
struct policy *settings_policy(const struct config *cfg, const struct addr *own, size_t n_own);
unsigned settings_workers(const struct config *cfg);
/* The account to drop to. False: no such account. */
bool settings_account(const struct config *cfg, uid_t *uid, gid_t *gid);
/* "ip:port,..." from the configuration, or from the text of a resolv.conf. */
enum err settings_dns_servers(const struct config *cfg, struct bytes resolv_conf,
			      struct buf *out) WARN_UNUSED;
/* The gateway's own addresses now, as struct addr. */
enum err settings_own_addresses(struct buf *out) WARN_UNUSED;

/* ---- tokens.c: secrets of configuration and TOKENS_JSON into one area ------------------------ */

#define AREA_MAGIC 0x534c5041u

struct area_head {
	uint32_t magic;
	struct area_part {
		uint32_t off, len;
	} store, outbound, inbound;
	struct tls_ticket_secret ticket;
};

/* What was found on the way, told to a person. */
struct findings {
	FILE *out;		/* NULL: to the log */
	unsigned errors, warnings;
};
void findings_add(struct findings *f, bool error, const char *subject, const char *text);

/*
 * Reads every secret, builds store and rewrite sets, and puts them into a fresh area. A secret
 * without a value is a warning: requests that need it are refused. Errors went to `f`.
 */
enum err tokens_area_make(const struct config *cfg, struct secret_vault *vault, struct findings *f,
			  struct secret_area *area) WARN_UNUSED;
/* A checked part of a mapped area; empty when wrong. */
struct bytes area_part(const struct secret_area *area, const struct area_part *part);
const struct area_head *area_head(const struct secret_area *area);

/* ---- material.c: everything one generation needs, loaded and checked ------------------------- */

struct material {
	struct config *cfg;
	struct secret_area area;
	int job_fd;
	int key_fd;			/* the CA's key */
	int buckets_fd;
	size_t buckets_size;
	unsigned n_workers;
};

#define MATERIAL_NONE                                                                              \
	((struct material){ .area = { .fd = -1 }, .job_fd = -1, .key_fd = -1, .buckets_fd = -1 })

/* Errors went to `f`; on failure *m holds nothing. */
enum err material_load(struct material *m, const char *path, struct secret_vault *vault,
		       uint32_t page_slots, struct findings *f) WARN_UNUSED;
void material_release(struct material *m);

/* ---- sandbox.c: giving up power, in steps ---------------------------------------------------- */

/* Every role, first thing: name, no core, parent-death signal for children. */
void sandbox_begin(enum process_role role);
/* The master's part: keeps only the capabilities it needs to start workers and open listeners. */
enum err sandbox_master(void) WARN_UNUSED;
/* Children: become uid/gid, no capability in any set, no_new_privs. */
enum err sandbox_drop(enum process_role role, uid_t uid, gid_t gid) WARN_UNUSED;
/* Children, last: Landlock without any right, then the role's seccomp list. */
enum err sandbox_lock(enum process_role role) WARN_UNUSED;
/* Does the process hold what listeners need? */
bool sandbox_has_net_admin(void);

/* ---- minter.c -------------------------------------------------------------------------------- */

#define MINTER_KEY_MAX 65536
/* The key file's bytes, into a secret buf with that ceiling. */
enum err minter_read_key(int fd, struct buf *out) WARN_UNUSED;

/* ---- spawn.c --------------------------------------------------------------------------------- */

struct spawn_spec {
	enum process_role role;
	unsigned slot;
	int fds[PROCESS_FDS];		/* in the order of enum process_fd; -1: none */
};
/* -1 with errno. */
pid_t spawn_child(const struct spawn_spec *spec);

/* ---- audit.c: the audit file, the master's alone --------------------------------------------- */

struct audit {
	char *path;
	int fd;
	bool torn;			/* the last write ended inside a line */
	bool failing;
	struct observe_slot *slot;	/* borrowed; lines written and lost */
};

enum err audit_open(struct audit *a, const char *path) WARN_UNUSED;
void audit_reopen(struct audit *a, const char *path);
/* Whole lines, bytes as they are. Never fails its caller: a loss is counted and logged. */
void audit_write(struct audit *a, struct bytes lines);
void audit_event(struct audit *a, const char *name, const char *decision, const char *reason);
void audit_close(struct audit *a);

/* ---- admin.c: the admin endpoint, in the master ---------------------------------------------- */

#define ADMIN_CONNS 16
#define ADMIN_POLLFDS (2 + ADMIN_CONNS)

struct admin_conn {
	int fd;				/* -1: free */
	struct buf in, out;
	bool answering;
	uint64_t until_us;
};

struct admin {
	int unix_fd, tcp_fd;
	char unix_path[108];
	struct addr tcp_addr;
	struct admin_conn conns[ADMIN_CONNS];
	/* Fills in what is asked; borrowed results, valid until the next call. */
	void (*snapshot)(void *owner, struct observe_admin *out);
	void *owner;
};

struct pollfd;
void admin_init(struct admin *a);
/* Opens what the configuration names and differs from what is open; problems are logged. */
void admin_configure(struct admin *a, const char *unix_path, const struct addr *tcp);
/* Appends to fds, at most ADMIN_POLLFDS. */
size_t admin_poll_add(const struct admin *a, struct pollfd *fds);
/* Gives every ready descriptor its turn; the same n entries that admin_poll_add() made. */
void admin_poll_run(struct admin *a, const struct pollfd *fds, size_t n);
void admin_close(struct admin *a);
