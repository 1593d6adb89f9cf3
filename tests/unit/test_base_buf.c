/*
 * Buffers: ceilings, sliding and growing, wiping.
 * wrap: malloc free
 *
 * Memory is ours here, so that it can be looked at when a buffer gives it back.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/base.h"

void *__real_malloc(size_t n);
void __real_free(void *p);
void *__wrap_malloc(size_t n);
void __wrap_free(void *p);

static struct {
	uint8_t *p;
	size_t n;
} blocks[16];
static bool watching, no_memory;
static size_t freed, dirty;	/* blocks given back; those in which something stood */

static bool all_zero(const uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (p[i])
			return false;
	return true;
}

void *__wrap_malloc(size_t n)
{
	void *p = no_memory ? NULL : __real_malloc(n);

	for (size_t i = 0; watching && p && i < ARRAY_SIZE(blocks); i++) {
		if (blocks[i].p)
			continue;
		memset(p, 0, n);
		blocks[i].p = p;
		blocks[i].n = n;
		break;
	}
	return p;
}

void __wrap_free(void *p)
{
	for (size_t i = 0; watching && p && i < ARRAY_SIZE(blocks); i++) {
		if (blocks[i].p != p)
			continue;
		freed++;
		dirty += !all_zero(p, blocks[i].n);
		blocks[i].p = NULL;
	}
	__real_free(p);
}

static int begin(void **state)
{
	(void)state;
	memset(blocks, 0, sizeof(blocks));
	freed = dirty = 0;
	watching = true;
	no_memory = false;
	return 0;
}

static int end(void **state)
{
	(void)state;
	watching = no_memory = false;
	return 0;
}

static void test_ceiling(void **state)
{
	struct buf b;
	uint8_t *at;

	(void)state;
	buf_init(&b, 10);
	assert_null(b.data);
	assert_int_equal(buf_room(&b), 10);
	assert_int_equal(buf_append(&b, BYTES_LIT("12345678")), ERR_OK);
	/* All or nothing. */
	assert_int_equal(buf_append(&b, BYTES_LIT("abc")), ERR_AGAIN);
	assert_true(bytes_eq(buf_bytes(&b), BYTES_LIT("12345678")));
	assert_int_equal(buf_append(&b, BYTES_LIT("ab")), ERR_OK);
	assert_int_equal(buf_room(&b), 0);
	assert_int_equal(buf_reserve(&b, 1, &at), ERR_AGAIN);
	assert_int_equal(buf_reserve(&b, SIZE_MAX, &at), ERR_AGAIN);
	assert_int_equal(buf_append(&b, BYTES_NONE), ERR_OK);
	/* What is taken from the front may be filled again at the back. */
	buf_consume(&b, 4);
	assert_int_equal(buf_append(&b, BYTES_LIT("wxyz")), ERR_OK);
	assert_true(bytes_eq(buf_bytes(&b), BYTES_LIT("5678abwxyz")));
	assert_true(b.cap <= 10);
	buf_release(&b);
	assert_null(b.data);
	assert_int_equal(buf_append(&b, BYTES_LIT("again")), ERR_OK);
	buf_release(&b);
}

/* Against a plain array, with every mix of appending and taking. */
static void test_model(void **state)
{
	static uint8_t model[4096];
	size_t n = 0;
	struct buf b;
	unsigned seed = 7, next = 0;

	(void)state;
	buf_init(&b, sizeof(model));
	for (int i = 0; i < 20000; i++) {
		uint8_t piece[300];
		size_t len;

		seed = seed * 1103515245u + 12345u;
		len = seed >> 16 & 255;
		if (seed >> 30 & 1) {
			for (size_t k = 0; k < len; k++)
				piece[k] = (uint8_t)(next + k);
			if (len > sizeof(model) - n) {
				assert_int_equal(buf_append(&b, bytes_of(piece, len)), ERR_AGAIN);
			} else {
				assert_int_equal(buf_append(&b, bytes_of(piece, len)), ERR_OK);
				memcpy(model + n, piece, len);
				n += len;
				next += (unsigned)len;
			}
		} else {
			len = len < n ? len : n;
			buf_consume(&b, len);
			memmove(model, model + len, n - len);
			n -= len;
		}
		assert_int_equal(buf_len(&b), n);
		if (n)
			assert_memory_equal(buf_bytes(&b).p, model, n);
	}
	buf_release(&b);
}

static void test_nomem(void **state)
{
	struct buf b;
	uint8_t full[512];

	(void)state;
	memset(full, 'x', sizeof(full));
	buf_init(&b, 4096);
	no_memory = true;
	assert_int_equal(buf_append(&b, BYTES_LIT("a")), ERR_NOMEM);
	assert_int_equal(buf_len(&b), 0);
	no_memory = false;
	assert_int_equal(buf_append(&b, bytes_of(full, sizeof(full))), ERR_OK);
	no_memory = true;
	assert_int_equal(buf_append(&b, BYTES_LIT("a")), ERR_NOMEM);
	assert_int_equal(buf_len(&b), sizeof(full));
	no_memory = false;
	buf_release(&b);
}

/* REQ-7.2: whatever a secret buffer stops using is overwritten, at once. */
static void test_wiping(void **state)
{
	struct buf b;
	uint8_t *data;

	(void)state;
	buf_init_secret(&b, 8192);
	assert_int_equal(buf_append(&b, BYTES_LIT("secret one, secret two")), ERR_OK);
	data = b.data;
	/* taken from the front */
	buf_consume(&b, 10);
	assert_true(all_zero(data, 10));
	/* slid to the front: the old place of the tail is wiped */
	while (b.cap - b.end >= 100)
		assert_int_equal(buf_append(&b, BYTES_LIT("0123456789")), ERR_OK);
	buf_consume(&b, buf_len(&b) - 5);
	assert_int_equal(
		buf_append(
			&b,
			bytes_of("----------------------------------------------------------------"
				 "------------------------------------------------------------",
				 110)),
		ERR_OK);
	assert_ptr_equal(b.data, data);
	assert_int_equal(buf_len(&b), 115);
	assert_true(all_zero(data + b.end, b.cap - b.end));
	/* moved: the old block is clean before it goes */
	while (b.data == data)
		assert_int_equal(buf_append(&b, BYTES_LIT("more and more of the secret")), ERR_OK);
	assert_int_equal(freed, 1);
	assert_int_equal(dirty, 0);
	/* emptied: clean while the memory is kept */
	buf_clear(&b);
	assert_true(b.data && all_zero(b.data, b.cap));
	assert_int_equal(buf_append(&b, BYTES_LIT("the last secret")), ERR_OK);
	buf_release(&b);
	assert_int_equal(freed, 2);
	assert_int_equal(dirty, 0);
}

/* REQ-7.2: what is kept for the next use, or goes to another buffer, is overwritten at last. */
static void test_wiped_later(void **state)
{
	struct buf a, b;
	uint8_t *at;

	(void)state;
	buf_init_secret(&a, 8192);
	buf_init(&b, 8192);
	assert_int_equal(buf_append(&a, BYTES_LIT("a longer secret")), ERR_OK);
	buf_rewind(&a);
	assert_int_equal(buf_len(&a), 0);
	assert_int_equal(buf_append(&a, BYTES_LIT("short")), ERR_OK);
	buf_clear(&a);
	assert_true(a.data && all_zero(a.data, a.cap));
	/* reserved and written, never committed */
	assert_int_equal(buf_reserve(&a, 16, &at), ERR_OK);
	memset(at, 'x', 16);
	buf_hand_over(&a, &b);
	assert_null(a.data);
	buf_release(&b);
	assert_int_equal(freed, 1);
	assert_int_equal(dirty, 0);
}

/* That the watch works at all: an ordinary buffer is not wiped. */
static void test_not_wiped(void **state)
{
	struct buf b;

	(void)state;
	buf_init(&b, 8192);
	assert_int_equal(buf_append(&b, BYTES_LIT("no secret")), ERR_OK);
	buf_release(&b);
	assert_int_equal(dirty, 1);
}

static void test_wipe_free(void **state)
{
	char *p = malloc(32);

	(void)state;
	assert_non_null(p);
	memset(p, 's', 32);
	mem_wipe_free(p, 32);
	mem_wipe_free(NULL, 32);
	assert_int_equal(freed, 1);
	assert_int_equal(dirty, 0);
}

static void test_printf(void **state)
{
	struct buf b;
	char text[1100];

	(void)state;
	memset(text, 'a', sizeof(text));
	text[1023] = '\0';
	buf_init(&b, 2048);
	assert_int_equal(buf_printf(&b, "%d-%s", 7, "x"), ERR_OK);
	assert_true(bytes_eq(buf_bytes(&b), BYTES_LIT("7-x")));
	assert_int_equal(buf_printf(&b, "%s", text), ERR_OK);
	assert_int_equal(buf_len(&b), 3 + 1023);
	/* Never a part. */
	assert_int_equal(buf_printf(&b, "%sb", text), ERR_TOO_LONG);
	assert_int_equal(buf_printf(&b, "%s", text), ERR_AGAIN);
	assert_int_equal(buf_len(&b), 3 + 1023);
	assert_int_equal(buf_append_str(&b, "end"), ERR_OK);
	assert_true(bytes_ends(buf_bytes(&b), BYTES_LIT("end")));
	buf_release(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_ceiling, begin, end),
		cmocka_unit_test_setup_teardown(test_model, begin, end),
		cmocka_unit_test_setup_teardown(test_nomem, begin, end),
		cmocka_unit_test_setup_teardown(test_wiping, begin, end),
		cmocka_unit_test_setup_teardown(test_wiped_later, begin, end),
		cmocka_unit_test_setup_teardown(test_not_wiped, begin, end),
		cmocka_unit_test_setup_teardown(test_wipe_free, begin, end),
		cmocka_unit_test_setup_teardown(test_printf, begin, end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
