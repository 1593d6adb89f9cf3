/*
 * minter.c - the one process that holds the interception CA's key
 *
 * Set up: job, key file, CA checked, sandbox, ready. Then one poll loop: the master brings workers'
 * sockets, workers send requests of one message each and get one answer each.
 *
 * Workers are not believed: a request is decoded strictly, names are checked, the lifetime is the
 * minter's own. Each worker gets one request per turn and a bounded number per second, so that one
 * that has gone mad neither starves the others nor turns the CPU into a mint; past the bound its
 * requests wait. An answer that the worker does not take away is dropped: it will ask again.
 * After set-up no file and no socket can be opened here (seccomp).
 */
#include "gateway/process/process_internal.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

#include "gateway/process/process.h"

#define MINTER_WORKERS_MAX 512
#define MINTER_RATE 2000u		/* leaves per second and worker */
#define MINTER_BURST 4000u

struct minter_worker {
	int fd;
	uint64_t next_us;		/* token bucket: when the next request is due */
};

struct minter {
	struct tls_minter *tls;
	uint32_t lifetime_s;
	size_t n;
	struct minter_worker workers[MINTER_WORKERS_MAX];
	struct pollfd polls[MINTER_WORKERS_MAX + 1];
};

enum err minter_read_key(int fd, struct buf *out)
{
	off_t at = 0;

	for (;;) {
		uint8_t *p;
		ssize_t n;

		if (buf_reserve(out, 4096, &p) != ERR_OK)
			return ERR_TOO_LONG;
		/*
		 * The descriptor is shared with whoever holds the key open: no file position is
		 * used.
		 */
		n = pread(fd, p, 4096, at);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return ERR_IO;
		if (n == 0)
			return ERR_OK;
		buf_commit(out, (size_t)n);
		at += n;
	}
}

static enum err minter_set_up(struct minter *m)
{
	const char *why = "the key cannot be read";
	struct buf key;
	struct job job;

	TRY(tls_global_init());
	TRY(job_open(&job, PROCESS_FD_JOB));
	buf_init_secret(&key, MINTER_KEY_MAX);
	if (minter_read_key(PROCESS_FD_KEY, &key) == ERR_OK)
		m->tls = tls_minter_new(job_section(&job, JOB_CA_CHAIN), buf_bytes(&key), &why);
	buf_release(&key);
	close(PROCESS_FD_KEY);
	m->lifetime_s = job.head->leaf_lifetime_s;
	if (!m->tls) {
		LOG_EVENT(LOG_LEVEL_ERROR, "minter.no_ca", KV("why", why));
		job_close(&job);
		return ERR_CONFIG;
	}
	TRY(sandbox_drop(PROCESS_MINTER, job.head->uid, job.head->gid));
	job_close(&job);
	return sandbox_lock(PROCESS_MINTER);
}

static void minter_answer(struct minter *m, struct minter_worker *w,
			  const struct tls_mint_request *req)
{
	struct tls_mint_response resp = { .id = req->id };
	struct buf cert, out;

	buf_init(&cert, TLS_CERT_MAX);
	buf_init(&out, TLS_MINT_RESPONSE_MAX);
	resp.err = tls_minter_sign(m->tls, req->host, bytes_of(req->pubkey, sizeof(req->pubkey)),
				   m->lifetime_s, &cert);
	if (resp.err == ERR_OK)
		resp.cert = buf_bytes(&cert);
	if (tls_mint_response_encode(&resp, &out) == ERR_OK)
		(void)!send(w->fd, buf_bytes(&out).p, buf_len(&out), MSG_NOSIGNAL | MSG_DONTWAIT);
	buf_release(&cert);
	buf_release(&out);
}

/* False: hang up. */
static bool minter_serve(struct minter *m, struct minter_worker *w)
{
	uint8_t in[TLS_MINT_REQUEST_MAX + 1];
	struct tls_mint_request req;
	size_t used;
	ssize_t n = recv(w->fd, in, sizeof(in), MSG_DONTWAIT);

	if (n < 0)
		return errno == EAGAIN || errno == EINTR;
	if (n == 0 || tls_mint_request_decode(bytes_of(in, (size_t)n), &req, &used) != ERR_OK ||
	    used != (size_t)n)
		return false;
	minter_answer(m, w, &req);
	return true;
}

static void minter_admit(struct minter *m, struct channel_message *msg)
{
	if (msg->type == CHANNEL_PING)
		(void)!channel_send(PROCESS_FD_CHANNEL,
				    &(struct channel_message){ .type = CHANNEL_PING });
	if (msg->type == CHANNEL_WORKER && msg->n_fds == 1 && m->n < MINTER_WORKERS_MAX) {
		m->workers[m->n++] = (struct minter_worker){ .fd = msg->fds[0] };
		return;
	}
	channel_close_fds(msg);
}

/* False: the master is gone. */
static bool minter_channel(struct minter *m)
{
	struct channel_message msg;
	uint8_t buffer[64];
	enum err e = channel_receive(PROCESS_FD_CHANNEL, buffer, sizeof(buffer), &msg);

	if (e == ERR_AGAIN)
		return true;
	if (e != ERR_OK)
		return false;
	minter_admit(m, &msg);
	return true;
}

/* A token bucket as a time: the worker is ahead of its rate by (next - now), at most the burst. */
static bool minter_may(const struct minter_worker *w, uint64_t now)
{
	return w->next_us <= now + (uint64_t)MINTER_BURST * 1000000 / MINTER_RATE;
}

static void minter_take(struct minter_worker *w, uint64_t now)
{
	if (w->next_us < now)
		w->next_us = now;
	w->next_us += 1000000 / MINTER_RATE;
}

/* Which workers are listened to now. Returns poll's timeout: until the next may be, or for ever. */
static int minter_gather(struct minter *m)
{
	uint64_t now = time_mono_us();
	int timeout = -1;

	m->polls[0] = (struct pollfd){ .fd = PROCESS_FD_CHANNEL, .events = POLLIN };
	for (size_t i = 0; i < m->n; i++) {
		bool ok = minter_may(&m->workers[i], now);

		m->polls[i + 1] = (struct pollfd){ .fd = m->workers[i].fd,
						   .events = ok ? POLLIN : 0 };
		if (!ok)
			timeout = 1;
	}
	return timeout;
}

static void minter_turn(struct minter *m)
{
	uint64_t now = time_mono_us();
	size_t kept = 0;

	for (size_t i = 0; i < m->n; i++) {
		struct minter_worker *w = &m->workers[i];
		short events = m->polls[i + 1].revents;
		bool alive = true;

		if (events & POLLIN) {
			minter_take(w, now);
			alive = minter_serve(m, w);
		} else if (events & (POLLHUP | POLLERR | POLLNVAL)) {
			alive = false;
		}
		if (alive)
			m->workers[kept++] = *w;
		else
			close(w->fd);
	}
	m->n = kept;
}

int process_minter_run(void)
{
	struct minter *m = calloc(1, sizeof(*m));
	struct channel_message ready = { .type = CHANNEL_READY };

	sandbox_begin(PROCESS_MINTER);
	if (!m || minter_set_up(m) != ERR_OK ||
	    channel_send(PROCESS_FD_CHANNEL, &ready) != ERR_OK) {
		free(m);
		return 1;
	}
	for (;;) {
		int timeout = minter_gather(m);
		int n = poll(m->polls, m->n + 1, timeout);

		if (n < 0 && errno != EINTR)
			break;
		if (n <= 0)
			continue;
		minter_turn(m);
		if (m->polls[0].revents && !minter_channel(m))
			break;
	}
	tls_minter_free(m->tls);
	free(m);
	return 0;
}
