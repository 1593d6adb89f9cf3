/*
 * leg.c - plain bytes in, plain bytes out, whatever the wire is
 *
 * Reading: net on_data -> (engine) -> scratch -> owner's on_data. What the owner leaves goes to
 * `rest` and comes back in front of the next bytes. A paused leg stops the socket; the engine keeps
 * the ciphertext it was lent.
 * Writing: leg_write() gathers in `plain`, full records are sealed into `out` at once, the
 * remainder at leg_flush(), then one system call.
 * Ownership: the leg lives inside its owner; on_closed is the owner's sign that it may free both.
 */
#include "gateway/leg/leg.h"

#include <stdlib.h>
#include <sys/mman.h>

#define LEG_SCRATCH (2 * TLS_RECORD_PLAIN_MAX)
#define LEG_OUT_MAX (512u * 1024)
#define LEG_SPARE_MAX (256u * 1024)
#define LEG_SEND_AT (128u * 1024) /* enough for one system call; more would only sit in memory */

static void leg_pump(struct leg *l);

/* ---- pool ---- */

static void leg_pool_on_idle(uv_idle_t *idle)
{
	struct leg_pool *p = idle->data;
	struct list now;

	/* What is kicked from here on waits for the next turn, so that I/O gets its share. */
	list_move(&p->kicked, &now);
	while (!list_empty(&now)) {
		struct leg *l = container_of(now.next, struct leg, kick);

		list_remove(&l->kick);
		leg_pump(l);
	}
	if (list_empty(&p->kicked))
		uv_idle_stop(&p->idle);
}

enum err leg_pool_init(struct leg_pool *p, struct net_loop *net)
{
	*p = (struct leg_pool){ .net = net };
	list_init(&p->kicked);
	buf_init_secret(&p->spare_plain, 0);
	buf_init(&p->spare_out, 0);
	p->scratch = malloc(LEG_SCRATCH);
	if (!p->scratch)
		return ERR_NOMEM;
	if (uv_idle_init(net->uv, &p->idle) != 0) {
		free(p->scratch);
		p->scratch = NULL;
		return ERR_INTERNAL;
	}
	p->idle.data = p;
	return ERR_OK;
}

void leg_pool_close(struct leg_pool *p)
{
	mem_wipe_free(p->scratch, LEG_SCRATCH);
	p->scratch = NULL;
	buf_release(&p->spare_plain);
	buf_release(&p->spare_out);
	uv_close((uv_handle_t *)&p->idle, NULL);
}

static void leg_pool_wipe(struct leg_pool *p)
{
	explicit_bzero(p->scratch, p->scratch_used);
	p->scratch_used = 0;
}

/* Memory for an empty buffer, if some lies ready. */
static void leg_borrow(struct buf *own, struct buf *spare)
{
	if (!own->data && spare->data)
		buf_hand_over(spare, own);
}

/* `own` is empty: what it held is wiped if it was secret, and its memory kept for the next leg. */
static void leg_give_back(struct buf *own, struct buf *spare)
{
	buf_clear(own);
	if (own->data && !spare->data && own->cap <= LEG_SPARE_MAX && own->secret <= spare->secret)
		buf_hand_over(own, spare);
	else
		buf_release(own);
}

static void leg_kick(struct leg *l)
{
	if (list_linked(&l->kick) || l->dead)
		return;
	list_append(&l->pool->kicked, &l->kick);
	uv_idle_start(&l->pool->idle, leg_pool_on_idle);
}

/* ---- failing and closing ---- */

static void leg_release(struct leg *l)
{
	list_remove(&l->kick);
	tls_engine_free(l->tls);
	l->tls = NULL;
	buf_release(&l->rest);
	buf_release(&l->plain);
	buf_release(&l->out);
}

static void leg_fail(struct leg *l, enum err e)
{
	if (l->dead)
		return;
	l->dead = true;
	list_remove(&l->kick);
	net_conn_read_stop(&l->net);
	/* A TLS alert may stand in `out`: the peer deserves to know. */
	if (buf_len(&l->out) && net_conn_send(&l->net, &l->out) != ERR_OK)
		buf_clear(&l->out);
	l->ops->on_error(l->owner, e);
}

/*
 * Nothing is worked on from here on; the engine stays until on_closed, for whoever still stands on
 * the stack.
 */
static void leg_die(struct leg *l)
{
	l->dead = true;
	list_remove(&l->kick);
}

void leg_close(struct leg *l)
{
	leg_die(l);
	net_conn_close(&l->net);
}

void leg_reset(struct leg *l)
{
	leg_die(l);
	net_conn_reset(&l->net);
}

void leg_shutdown(struct leg *l)
{
	if (l->dead)
		return;
	if (leg_flush(l) != ERR_OK)
		return;
	if (l->tls && l->secure) {
		tls_engine_close(l->tls);
		if (net_conn_send(&l->net, &l->out) != ERR_OK)
			buf_clear(&l->out);
	}
	net_conn_shutdown(&l->net);
}

void leg_linger(struct leg *l, unsigned ms)
{
	if (!l->dead)
		leg_shutdown(l);
	leg_die(l);
	net_conn_linger(&l->net, ms);
}

/* ---- reading ---- */

/* Hands `in` to the owner behind what it left last time. */
static enum err leg_offer(struct leg *l, struct bytes in)
{
	bool kept = buf_len(&l->rest) > 0, plain_before = !l->tls;
	size_t used;

	if (kept) {
		enum err e = buf_append(&l->rest, in);

		if (e != ERR_OK)
			return e == ERR_AGAIN ? ERR_TOO_LONG : e;
		in = buf_bytes(&l->rest);
	}
	used = l->ops->on_data(l->owner, in);
	if (l->dead)
		return ERR_OK;
	/*
	 * The leg became TLS meanwhile: leg_start_tls() has fed what was kept, what is lent follows
	 * here.
	 */
	if (plain_before && l->tls) {
		if (kept)
			return ERR_OK;
		TRY(tls_engine_feed(l->tls, bytes_from(in, used)));
		return tls_engine_settle(l->tls);
	}
	if (kept) {
		buf_consume(&l->rest, used);
		if (buf_len(&l->rest) == 0)
			buf_release(&l->rest);
		return ERR_OK;
	}
	if (used < in.n) {
		enum err e = buf_append(&l->rest, bytes_from(in, used));

		return e == ERR_AGAIN ? ERR_TOO_LONG : e;
	}
	return ERR_OK;
}

/* One step of the engine: ERR_OK when something was offered, ERR_AGAIN when nothing is left. */
static enum err leg_step_tls(struct leg *l)
{
	struct leg_pool *p = l->pool;
	size_t n = 0;

	if (!l->secure) {
		TRY(tls_engine_handshake(l->tls));
		l->secure = true;
		l->ops->on_secure(l->owner);
		return ERR_OK;
	}
	TRY(tls_engine_read(l->tls, p->scratch, LEG_SCRATCH, &n));
	if (n > p->scratch_used)
		p->scratch_used = n;
	return leg_offer(l, bytes_of(p->scratch, n));
}

static void leg_note_eof(struct leg *l, bool clean)
{
	l->eof = true;
	l->eof_clean = clean;
}

static enum err leg_pump_input(struct leg *l)
{
	if (l->offer_rest && !l->paused && buf_len(&l->rest) && (!l->tls || l->secure)) {
		l->offer_rest = false;
		TRY(leg_offer(l, BYTES_NONE));
	}
	while (l->tls && !l->dead && (!l->paused || !l->secure) && !(l->eof && l->secure)) {
		enum err e = leg_step_tls(l);

		if (e == ERR_AGAIN)
			return ERR_OK;
		if (e == ERR_CLOSED) {
			leg_note_eof(l, tls_engine_closed_clean(l->tls));
			return ERR_OK;
		}
		TRY(e);
	}
	return ERR_OK;
}

/* Everything that can be done with the bytes at hand; the one place input is worked on. */
static void leg_pump(struct leg *l)
{
	enum err e;

	if (l->dead || l->pumping)
		return;
	l->pumping = true;
	e = leg_pump_input(l);
	leg_pool_wipe(l->pool);
	if (e == ERR_OK && !l->dead && l->tls)
		e = tls_engine_settle(l->tls);
	if (e != ERR_OK) {
		l->pumping = false;
		leg_fail(l, e);
		return;
	}
	if (!l->dead && l->ops->on_batch)
		l->ops->on_batch(l->owner);
	/* Handshake messages, key updates and tickets. */
	if (!l->dead && buf_len(&l->out))
		e = leg_flush(l);
	l->pumping = false;
	if (l->dead)
		return;
	if (e != ERR_OK) {
		leg_fail(l, e);
		return;
	}
	if (!l->paused && !l->eof)
		net_conn_read_start(&l->net);
	if (l->eof && !l->eof_told && !l->paused) {
		l->eof_told = true;
		net_conn_read_stop(&l->net);
		l->ops->on_eof(l->owner, l->eof_clean);
	}
}

static void leg_on_net_data(void *owner, struct bytes in)
{
	struct leg *l = owner;
	enum err e;

	if (l->dead)
		return;
	if (l->tls) {
		e = tls_engine_feed(l->tls, in);
	} else {
		l->pumping = true;
		e = leg_offer(l, in);
		l->pumping = false;
	}
	if (l->dead)
		return;
	if (e != ERR_OK) {
		leg_fail(l, e);
		return;
	}
	leg_pump(l);
}

static void leg_on_net_eof(void *owner)
{
	struct leg *l = owner;

	if (l->dead)
		return;
	if (l->tls)
		tls_engine_feed_eof(l->tls);
	else
		leg_note_eof(l, true);
	leg_pump(l);
}

static void leg_on_net_error(void *owner, enum err e)
{
	struct leg *l = owner;

	leg_fail(l, e);
}

static void leg_on_net_connected(void *owner)
{
	struct leg *l = owner;

	net_conn_read_start(&l->net);
	if (l->ops->on_connected)
		l->ops->on_connected(l->owner);
}

static void leg_on_net_drained(void *owner)
{
	struct leg *l = owner;

	if (l->dead || !l->was_full)
		return;
	l->was_full = false;
	if (l->ops->on_room)
		l->ops->on_room(l->owner);
}

static void leg_on_net_closed(void *owner)
{
	struct leg *l = owner;

	leg_release(l);
	l->ops->on_closed(l->owner);
}

static const struct net_conn_ops leg_net_ops = {
	.on_connected = leg_on_net_connected,
	.on_data = leg_on_net_data,
	.on_eof = leg_on_net_eof,
	.on_error = leg_on_net_error,
	.on_drained = leg_on_net_drained,
	.on_closed = leg_on_net_closed,
};

void leg_pause(struct leg *l)
{
	if (l->paused)
		return;
	l->paused = true;
	/* A handshake goes on whatever the owner wants of the plain bytes. */
	if (!l->tls || l->secure)
		net_conn_read_stop(&l->net);
}

static bool leg_keeps(const struct leg *l)
{
	return buf_len(&l->rest) || (l->tls && tls_engine_pending(l->tls));
}

void leg_resume(struct leg *l)
{
	if (!l->paused || l->dead)
		return;
	l->paused = false;
	l->offer_rest = true;
	/* What is kept goes first: bytes that came before it is offered would only be kept too. */
	if (!l->eof && !leg_keeps(l))
		net_conn_read_start(&l->net);
	leg_kick(l);
}

/* ---- starting ---- */

static void leg_init(struct leg *l, const struct leg_spec *spec)
{
	*l = (struct leg){ .pool = spec->pool, .ops = spec->ops, .owner = spec->owner };
	/* Room for one more read behind what the owner may leave. */
	buf_init(&l->rest, spec->rest_max + NET_READ_SIZE);
	buf_init(&l->plain, TLS_RECORD_PLAIN_MAX);
	buf_init(&l->out, LEG_OUT_MAX);
	l->rest.secret = l->plain.secret = spec->secret;
	l->out.secret = spec->secret && spec->clear_wire;
}

enum err leg_accept(struct leg *l, const struct leg_spec *spec, int fd)
{
	leg_init(l, spec);
	TRY(net_conn_accept(&l->net, spec->pool->net, fd, &leg_net_ops, l));
	if (l->out.secret)
		net_conn_set_sensitive(&l->net);
	net_conn_read_start(&l->net);
	return ERR_OK;
}

enum err leg_dial(struct leg *l, const struct leg_spec *spec, const struct addr *to,
		  unsigned timeout_ms)
{
	struct net_dial_opts opts = { .timeout_ms = timeout_ms };

	leg_init(l, spec);
	TRY(net_conn_dial(&l->net, spec->pool->net, to, &opts, &leg_net_ops, l));
	if (l->out.secret)
		net_conn_set_sensitive(&l->net);
	return ERR_OK;
}

enum err leg_start_tls(struct leg *l, struct tls_engine *engine)
{
	l->tls = engine;
	l->paused = false;
	if (buf_len(&l->rest)) {
		enum err e = tls_engine_feed(engine, buf_bytes(&l->rest));

		if (e == ERR_OK)
			e = tls_engine_settle(engine);
		buf_release(&l->rest);
		TRY(e);
	}
	net_conn_read_start(&l->net);
	leg_kick(l);
	return ERR_OK;
}

const char *leg_detail(const struct leg *l)
{
	return l->tls ? tls_engine_detail(l->tls) : "";
}

/* ---- writing ---- */

static enum err leg_send_out(struct leg *l)
{
	if (buf_len(&l->out) == 0)
		return ERR_OK;
	return net_conn_send(&l->net, &l->out);
}

static enum err leg_seal(struct leg *l, struct bytes record)
{
	if (!l->out.secret)
		leg_borrow(&l->out, &l->pool->spare_out);
	if (!l->tls)
		return buf_append(&l->out, record);
	return tls_engine_write(l->tls, record);
}

static enum err leg_seal_record(struct leg *l, struct bytes record)
{
	TRY(leg_seal(l, record));
	return buf_len(&l->out) >= LEG_SEND_AT ? leg_send_out(l) : ERR_OK;
}

enum err leg_write(struct leg *l, struct bytes in)
{
	if (l->dead)
		return ERR_OK;
	while (in.n) {
		size_t gathered = buf_len(&l->plain);
		struct bytes part = bytes_first(in, TLS_RECORD_PLAIN_MAX - gathered);

		if (gathered == 0 && part.n == TLS_RECORD_PLAIN_MAX) {
			TRY(leg_seal_record(l, part));
		} else {
			leg_borrow(&l->plain, &l->pool->spare_plain);
			TRY(buf_append(&l->plain, part));
			if (buf_len(&l->plain) == TLS_RECORD_PLAIN_MAX) {
				TRY(leg_seal_record(l, buf_bytes(&l->plain)));
				buf_rewind(&l->plain);
			}
		}
		in = bytes_from(in, part.n);
	}
	return ERR_OK;
}

enum err leg_flush(struct leg *l)
{
	if (l->dead)
		return ERR_OK;
	if (buf_len(&l->plain)) {
		TRY(leg_seal(l, buf_bytes(&l->plain)));
		buf_clear(&l->plain);
	}
	leg_give_back(&l->plain, &l->pool->spare_plain);
	TRY(leg_send_out(l));
	leg_give_back(&l->out, &l->pool->spare_out);
	return ERR_OK;
}

bool leg_full(struct leg *l)
{
	if (net_conn_pending(&l->net) < LEG_HIGH_WATER)
		return false;
	l->was_full = true;
	return true;
}
