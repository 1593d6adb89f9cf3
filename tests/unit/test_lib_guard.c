/*
 * test_lib_guard.c - the guard pages are there: a byte past either end kills a child process
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "tests/lib/guard.h"

/* Does reading this byte end a process? Its complaints go nowhere. */
static int guard_kills(const volatile uint8_t *at)
{
	int status = 0;
	pid_t pid = fork();

	if (pid == 0) {
		close(STDOUT_FILENO);
		close(STDERR_FILENO);
		(void)*at;
		_exit(0);
	}
	assert_true(pid > 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return !WIFEXITED(status) || WEXITSTATUS(status) != 0;
}

static const size_t guard_sizes[] = { 0, 1, 15, 4095, 4096, 4097, 70000 };

static void test_guard_end(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(guard_sizes) / sizeof(*guard_sizes); i++) {
		size_t n = guard_sizes[i];
		uint8_t *p = guard_alloc(n);

		memset(p, 'x', n);
		assert_true(guard_kills(p + n));
		if (n)
			assert_false(guard_kills(p + n - 1));
		guard_free(p);
	}
}

static void test_guard_front(void **state)
{
	(void)state;
	uint8_t *p = guard_copy_front("abc", 3);

	assert_memory_equal(p, "abc", 3);
	assert_true(guard_kills(p - 1));
	assert_false(guard_kills(p));
	guard_free(p);
}

static void test_guard_copies(void **state)
{
	(void)state;
	uint8_t *a = guard_copy("hello", 5);
	uint8_t *b = guard_copy(a, 5);

	guard_free(a);
	assert_true(guard_kills(a));
	assert_memory_equal(b, "hello", 5);
	b[0] = 'j';
	guard_free(NULL);
	guard_free_all();
	assert_true(guard_kills(b));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_guard_end),
		cmocka_unit_test(test_guard_front),
		cmocka_unit_test(test_guard_copies),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
