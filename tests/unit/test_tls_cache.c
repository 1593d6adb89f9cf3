/* Leaf cache: one mint per name, waiting, leaving the line, ageing, room. */
#include "tests/unit/tls_pair.h"

static struct pki pki;
static struct tls_leaf_cache *cache;
static uint64_t now;

struct asker {
	struct tls_leaf_waiter w;	/* first: recovered by cast */
	int calls;
	enum err e;
	struct tls_leaf *leaf;
	struct asker *cancels;		/* whom done() takes out of the line */
	bool asks_again;
};

static int open_all(void **state)
{
	(void)state;
	pki_open(&pki);
	return 0;
}

static int close_all(void **state)
{
	(void)state;
	pki_close(&pki);
	return 0;
}

static int open_cache(void **state)
{
	(void)state;
	cache = tls_leaf_cache_new(pki.server, 4);
	assert_non_null(cache);
	now = (uint64_t)time(NULL);
	return 0;
}

static int close_cache(void **state)
{
	(void)state;
	tls_leaf_cache_free(cache);
	return 0;
}

static enum err ask(struct asker *a, const char *host, bool *mint)
{
	struct tls_leaf *leaf;
	enum err e = tls_leaf_cache_get(cache, host, now, &a->w, mint, &leaf);

	if (e == ERR_OK)
		tls_leaf_unref(leaf);
	return e;
}

static void on_done(struct tls_leaf_waiter *w, enum err e, struct tls_leaf *leaf)
{
	struct asker *a = (struct asker *)w;
	bool mint;

	a->calls++;
	a->e = e;
	a->leaf = leaf;
	if (a->cancels)
		tls_leaf_waiter_cancel(&a->cancels->w);
	if (a->asks_again) {
		a->asks_again = false;
		(void)!ask(a, "again.example.test", &mint);
	}
}

static void put(const char *host, uint32_t lifetime)
{
	struct buf der;

	buf_init(&der, TLS_CERT_MAX);
	assert_int_equal(tls_minter_sign(pki.minter, host, tls_server_pubkey(pki.server), lifetime,
					 &der),
			 ERR_OK);
	tls_leaf_cache_put(cache, host, buf_bytes(&der));
	buf_release(&der);
}

#define ASKER { .w = { .done = on_done } }

static void test_one_mint_for_many(void **state)
{
	struct asker a[3] = { ASKER, ASKER, ASKER };
	bool mint;

	(void)state;
	for (int i = 0; i < 3; i++) {
		assert_int_equal(ask(&a[i], "one.example.test", &mint), ERR_AGAIN);
		assert_int_equal(mint, i == 0);
	}
	put("one.example.test", 3600);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(a[i].calls, 1);
		assert_int_equal(a[i].e, ERR_OK);
		assert_ptr_equal(a[i].leaf, a[0].leaf);
	}
	assert_int_equal(ask(&a[0], "one.example.test", &mint), ERR_OK);
	assert_false(mint);
	assert_int_equal(ask(&a[0], "not a host", &mint), ERR_BAD_VALUE);
}

static void test_failure_reaches_all(void **state)
{
	struct asker a[2] = { ASKER, ASKER };
	bool mint;

	(void)state;
	(void)!ask(&a[0], "bad.example.test", &mint);
	(void)!ask(&a[1], "bad.example.test", &mint);
	tls_leaf_cache_fail(cache, "bad.example.test", ERR_MINT);
	assert_int_equal(a[0].e, ERR_MINT);
	assert_int_equal(a[1].e, ERR_MINT);
	assert_int_equal(tls_leaf_cache_count(cache), 0);
	/* a certificate that does not fit is a failure too */
	(void)!ask(&a[0], "bad.example.test", &mint);
	assert_true(mint);
	tls_leaf_cache_put(cache, "bad.example.test", BYTES_LIT("no certificate"));
	assert_int_equal(a[0].calls, 2);
	assert_int_equal(a[0].e, ERR_MINT);
	/* answers nobody asked for */
	tls_leaf_cache_fail(cache, "bad.example.test", ERR_MINT);
	put("unasked.example.test", 60);
	assert_int_equal(tls_leaf_cache_count(cache), 0);
}

static void test_leaving_the_line(void **state)
{
	struct asker a[3] = { ASKER, ASKER, ASKER };
	bool mint;

	(void)state;
	for (int i = 0; i < 3; i++)
		(void)!ask(&a[i], "line.example.test", &mint);
	tls_leaf_waiter_cancel(&a[1].w);
	tls_leaf_waiter_cancel(&a[1].w);
	a[0].cancels = &a[2];
	put("line.example.test", 60);
	assert_int_equal(a[0].calls, 1);
	assert_int_equal(a[1].calls, 0);
	assert_int_equal(a[2].calls, 0);
}

static void test_asking_from_within(void **state)
{
	struct asker a = ASKER;
	bool mint;

	(void)state;
	(void)!ask(&a, "again.example.test", &mint);
	a.asks_again = true;
	tls_leaf_cache_fail(cache, "again.example.test", ERR_MINT);
	assert_int_equal(a.calls, 1);
	assert_true(list_linked(&a.w.link));
	put("again.example.test", 60);
	assert_int_equal(a.calls, 2);
	assert_int_equal(a.e, ERR_OK);
}

static void test_renewal_and_end(void **state)
{
	struct asker a = ASKER;
	bool mint;

	(void)state;
	(void)!ask(&a, "age.example.test", &mint);
	put("age.example.test", 3000);
	now += 1900;
	assert_int_equal(ask(&a, "age.example.test", &mint), ERR_OK);
	assert_false(mint);
	now += 200;
	assert_int_equal(ask(&a, "age.example.test", &mint), ERR_OK);
	assert_true(mint);
	assert_int_equal(ask(&a, "age.example.test", &mint), ERR_OK);
	assert_false(mint);	/* it is under way */
	tls_leaf_cache_fail(cache, "age.example.test", ERR_MINT);
	assert_int_equal(ask(&a, "age.example.test", &mint), ERR_OK);
	assert_true(mint);	/* the old one serves on */
	now += 1000;
	assert_int_equal(ask(&a, "age.example.test", &mint), ERR_AGAIN);
	assert_true(mint);	/* over; and the mint before was never answered */
	tls_leaf_waiter_cancel(&a.w);
}

static void test_room(void **state)
{
	struct asker a[5] = { ASKER, ASKER, ASKER, ASKER, ASKER };
	static const char *const hosts[] = { "a.test", "b.test", "c.test", "d.test", "e.test" };
	bool mint;

	(void)state;
	for (int i = 0; i < 4; i++)
		assert_int_equal(ask(&a[i], hosts[i], &mint), ERR_AGAIN);
	/* all under way: no room for more */
	assert_int_equal(ask(&a[4], hosts[4], &mint), ERR_MINT);
	assert_false(list_linked(&a[4].w.link));
	for (int i = 0; i < 4; i++)
		put(hosts[i], 60);
	assert_int_equal(ask(&a[0], hosts[0], &mint), ERR_OK);	/* now b is the oldest */
	assert_int_equal(ask(&a[4], hosts[4], &mint), ERR_AGAIN);
	put(hosts[4], 60);
	assert_int_equal(tls_leaf_cache_count(cache), 4);
	assert_int_equal(ask(&a[0], hosts[0], &mint), ERR_OK);
	assert_int_equal(ask(&a[1], hosts[1], &mint), ERR_AGAIN);
	tls_leaf_waiter_cancel(&a[1].w);
}

static void test_free_tells_those_who_wait(void **state)
{
	struct tls_leaf_cache *mine = cache;
	struct asker a[2] = { ASKER, ASKER };
	bool mint;

	(void)state;
	cache = tls_leaf_cache_new(pki.server, 4);
	(void)!ask(&a[0], "x.test", &mint);
	(void)!ask(&a[1], "y.test", &mint);
	a[0].cancels = &a[1];
	tls_leaf_cache_free(cache);
	cache = mine;
	assert_int_equal(a[0].calls, 1);
	assert_int_equal(a[0].e, ERR_SHUTTING_DOWN);
	assert_int_equal(a[1].calls, 0);
}

#define WITH_CACHE(f) cmocka_unit_test_setup_teardown(f, open_cache, close_cache)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_CACHE(test_one_mint_for_many),
		WITH_CACHE(test_failure_reaches_all),
		WITH_CACHE(test_leaving_the_line),
		WITH_CACHE(test_asking_from_within),
		WITH_CACHE(test_renewal_and_end),
		WITH_CACHE(test_room),
		WITH_CACHE(test_free_tells_those_who_wait),
	};

	return cmocka_run_group_tests(tests, open_all, close_all);
}
