/*
 * test_base_list.c - the intrusive list: order, removal of whatever stands where, moving on
 */
#include "base/base.h"

#include <setjmp.h>
#include <cmocka.h>

struct item {
	int value;
	struct list link;
};

static void check(struct list *head, const char *expected)
{
	char forth[16] = "", back[16] = "";
	size_t n = 0, m = 0;

	for (struct list *l = head->next; l != head; l = l->next)
		forth[n++] = (char)('0' + container_of(l, struct item, link)->value);
	for (struct list *l = head->prev; l != head; l = l->prev)
		back[m++] = (char)('0' + container_of(l, struct item, link)->value);
	assert_string_equal(forth, expected);
	assert_int_equal(n, m);
	for (size_t i = 0; i < n; i++)
		assert_int_equal(forth[i], back[n - 1 - i]);
	assert_int_equal(list_empty(head), n == 0);
}

static void test_order(void **state)
{
	struct item it[4] = { { .value = 0 }, { .value = 1 }, { .value = 2 }, { .value = 3 } };
	struct list head;

	(void)state;
	list_init(&head);
	check(&head, "");
	list_append(&head, &it[1].link);
	list_append(&head, &it[2].link);
	list_prepend(&head, &it[0].link);
	list_append(&head, &it[3].link);
	check(&head, "0123");
	assert_true(list_linked(&it[3].link));
}

static void test_remove(void **state)
{
	static const char *const left[] = { "12", "02", "01" };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(left); i++) {
		struct item it[3] = { { .value = 0 }, { .value = 1 }, { .value = 2 } };
		struct list head;

		list_init(&head);
		for (size_t j = 0; j < ARRAY_SIZE(it); j++)
			list_append(&head, &it[j].link);
		list_remove(&it[i].link);
		assert_false(list_linked(&it[i].link));
		check(&head, left[i]);
		list_remove(&it[i].link);	/* in no list: left alone */
		check(&head, left[i]);
		list_append(&head, &it[i].link);
		assert_true(head.prev == &it[i].link);
	}
}

static void test_move(void **state)
{
	struct item it[2] = { { .value = 0 }, { .value = 1 } };
	struct list from, to;

	(void)state;
	list_init(&from);
	list_move(&from, &to);
	check(&from, "");
	check(&to, "");
	list_append(&from, &it[0].link);
	list_append(&from, &it[1].link);
	list_move(&from, &to);
	check(&from, "");
	check(&to, "01");
	list_remove(&it[0].link);
	check(&to, "1");
	list_append(&from, &it[0].link);
	check(&from, "0");
}

/* A buffer that has no memory has no bytes either, whatever its offsets say. */
static void test_buf_bytes_without_memory(void **state)
{
	struct buf b;

	(void)state;
	buf_init(&b, 16);
	assert_null(buf_bytes(&b).p);
	assert_int_equal(buf_bytes(&b).n, 0);
	b.end = 4;
	assert_int_equal(buf_bytes(&b).n, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_order),
		cmocka_unit_test(test_remove),
		cmocka_unit_test(test_move),
		cmocka_unit_test(test_buf_bytes_without_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
