/*
 * test_secret_source.c - values out of the environment, files and programs; areas of memory;
 * TOKENS_JSON
 */
#include "gateway/secret/secret.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define CANARY "canary-7b1af04c4e8f"

struct world {
	struct secret_vault vault;
	struct buf out;
	char dir[64];
	char file[96];
	char why[SECRET_WHY_MAX];
};

static int world_open(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	assert_non_null(w);
	assert_int_equal(secret_vault_init(&w->vault), ERR_OK);
	buf_init_secret(&w->out, SECRET_BUF_MAX);
	snprintf(w->dir, sizeof(w->dir), "/tmp/secret-test-XXXXXX");
	assert_non_null(mkdtemp(w->dir));
	snprintf(w->file, sizeof(w->file), "%s/value", w->dir);
	*state = w;
	return 0;
}

static int world_close(void **state)
{
	struct world *w = *state;

	secret_vault_wipe(&w->vault);
	buf_release(&w->out);
	unlink(w->file);
	rmdir(w->dir);
	free(w);
	return 0;
}

static void write_file(const char *path, const void *p, size_t n)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	assert_int_equal(fwrite(p, 1, n, f), n);
	assert_int_equal(fclose(f), 0);
}

static enum err read_file(struct world *w)
{
	const struct secret_source s = { .type = SECRET_SOURCE_FILE, .name = w->file };

	return secret_source_read(&w->vault, &s, &w->out, w->why);
}

static void values_are_checked_wherever_they_come_from(void **state)
{
	static const struct {
		const char *text;
		size_t n;
		enum err want;
	} t[] = {
		{ CANARY, 19, ERR_OK },
		{ CANARY "\n", 20, ERR_OK },
		{ CANARY "\r\n", 21, ERR_OK },
		{ CANARY "\n\n", 21, ERR_CONFIG },
		{ CANARY "\nx", 21, ERR_CONFIG },
		{ "canary\rcanary", 13, ERR_CONFIG },
		{ "canary\0canary", 13, ERR_CONFIG },
		{ "canary\tcanary", 13, ERR_CONFIG },
		{ "canary\x7f" "canary", 13, ERR_CONFIG },
		{ "canary\x1b[0mxx", 12, ERR_CONFIG },
		{ "caf\xc3\xa9 with space", 16, ERR_OK },
		{ "1234567", 7, ERR_CONFIG },
		{ "12345678", 8, ERR_OK },
		{ "", 0, ERR_UNRESOLVED_SECRET },
		{ "\n", 1, ERR_UNRESOLVED_SECRET },
	};
	struct world *w = *state;

	for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
		write_file(w->file, t[i].text, t[i].n);
		if (read_file(w) != t[i].want)
			fail_msg("row %zu: %s", i, w->why);
		assert_int_equal(buf_len(&w->out) > 0, t[i].want == ERR_OK);
		assert_null(strstr(w->why, "canary"));
	}
}

static void length_has_a_limit(void **state)
{
	static const struct {
		size_t n;
		bool newline;
		enum err want;
	} t[] = {
		{ SECRET_VALUE_MAX, false, ERR_OK },
		{ SECRET_VALUE_MAX, true, ERR_OK },
		{ SECRET_VALUE_MAX + 1, false, ERR_CONFIG },
		{ SECRET_VALUE_MAX + 1, true, ERR_CONFIG },
		{ SECRET_VALUE_MAX * 3, false, ERR_CONFIG },
	};
	struct world *w = *state;
	char *text = malloc(SECRET_VALUE_MAX * 3 + 1);

	assert_non_null(text);
	for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
		memset(text, 'k', t[i].n);
		text[t[i].n] = '\n';
		write_file(w->file, text, t[i].n + t[i].newline);
		if (read_file(w) != t[i].want)
			fail_msg("row %zu: %s", i, w->why);
		if (t[i].want == ERR_OK)
			assert_int_equal(buf_len(&w->out), t[i].n);
	}
	free(text);
}

static void only_regular_files_are_read(void **state)
{
	struct world *w = *state;
	struct secret_source s = { .type = SECRET_SOURCE_FILE, .name = w->dir };

	assert_int_equal(secret_source_read(&w->vault, &s, &w->out, w->why), ERR_UNRESOLVED_SECRET);
	s.name = "/nonexistent/secret";
	assert_int_equal(secret_source_read(&w->vault, &s, &w->out, w->why), ERR_UNRESOLVED_SECRET);
	assert_non_null(strstr(w->why, "/nonexistent/secret"));
	/* A FIFO nobody writes to must not stop anyone. */
	assert_int_equal(mkfifo(w->file, 0600), 0);
	assert_int_equal(read_file(w), ERR_UNRESOLVED_SECRET);
}

static bool initial_environment_has(const char *text)
{
	static char block[1 << 20];
	FILE *f = fopen("/proc/self/environ", "r");
	size_t n;

	assert_non_null(f);
	n = fread(block, 1, sizeof(block), f);
	fclose(f);
	return memmem(block, n, text, strlen(text)) != NULL;
}

/*
 * Runs itself with the variable in its real initial environment: setenv() would put it elsewhere.
 */
static void environment_is_emptied_and_remembered(void **state)
{
	char self[] = "/proc/self/exe", name[] = "test", arg[] = "environment",
	     env0[] = "KEY_A=" CANARY;
	char env1[] = "PATH=/usr/bin:/bin";
	char *argv[] = { name, arg, NULL }, *envp[] = { env0, env1, NULL };
	int status;
	pid_t pid = fork();

	(void)state;
	if (pid == 0) {
		execve(self, argv, envp);
		_exit(99);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

static int environment_child(void)
{
	const struct secret_source a = { .type = SECRET_SOURCE_ENV, .name = "KEY_A" };
	const struct secret_source b = { .type = SECRET_SOURCE_ENV, .name = "KEY_B" };
	struct secret_vault v;
	char why[SECRET_WHY_MAX];
	struct buf out;

	buf_init_secret(&out, SECRET_BUF_MAX);
	if (secret_vault_init(&v) != ERR_OK || !initial_environment_has(CANARY))
		return 1;
	/* Twice, as on reload. */
	for (int i = 0; i < 2; i++) {
		if (secret_source_read(&v, &a, &out, why) != ERR_OK)
			return 2;
		if (!bytes_eq(buf_bytes(&out), BYTES_LIT(CANARY)))
			return 3;
		if (getenv("KEY_A") || initial_environment_has(CANARY))
			return 4;
	}
	if (secret_source_read(&v, &b, &out, why) != ERR_UNRESOLVED_SECRET || !strstr(why, "KEY_B"))
		return 5;
	/* One that appears later is found, and does not disturb the first. */
	if (setenv("KEY_B", "second-value", 1) != 0 ||
	    secret_source_read(&v, &b, &out, why) != ERR_OK ||
	    !bytes_eq(buf_bytes(&out), BYTES_LIT("second-value")))
		return 6;
	if (secret_source_read(&v, &a, &out, why) != ERR_OK ||
	    !bytes_eq(buf_bytes(&out), BYTES_LIT(CANARY)))
		return 7;
	buf_release(&out);
	secret_vault_wipe(&v);
	return 0;
}

static void programs_are_run_without_a_shell(void **state)
{
	static const struct {
		const char *argv[5];
		enum err want;
		const char *value;
	} t[] = {
		{ { "/bin/echo", CANARY, NULL }, ERR_OK, CANARY },
		{ { "/bin/echo", "$HOME; `id` $(id)", NULL }, ERR_OK, "$HOME; `id` $(id)" },
		{ { "/bin/sh", "-c", "printf canary-; sleep 0.05; printf second", NULL }, ERR_OK,
		  "canary-second" },
		{ { "/bin/sh", "-c", "echo " CANARY "; exit 3", NULL }, ERR_UNRESOLVED_SECRET,
		  NULL },
		{ { "/bin/sh", "-c", "echo " CANARY "; kill -9 $$", NULL }, ERR_UNRESOLVED_SECRET,
		  NULL },
		{ { "/bin/true", NULL }, ERR_UNRESOLVED_SECRET, NULL },
		{ { "/nonexistent/program", NULL }, ERR_UNRESOLVED_SECRET, NULL },
		{ { "echo", CANARY, NULL }, ERR_CONFIG, NULL },
		{ { "/usr/bin/yes", NULL }, ERR_CONFIG, NULL },		/* bounded output */
		{ { "/bin/sh", "-c", "read x || echo no-input-here", NULL }, ERR_OK,
		  "no-input-here" },
	};
	struct world *w = *state;

	for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
		const struct secret_source s = { .type = SECRET_SOURCE_EXEC, .argv = t[i].argv };

		if (secret_source_read(&w->vault, &s, &w->out, w->why) != t[i].want)
			fail_msg("row %zu: %s", i, w->why);
		if (t[i].value)
			assert_true(bytes_eq(buf_bytes(&w->out), bytes_str(t[i].value)));
		assert_null(strstr(w->why, "canary"));
	}
}

static void a_program_that_hangs_is_ended_with_its_children(void **state)
{
	static const char *const silent[] = { "/bin/sh", "-c", "sleep 1000 & sleep 1000", NULL };
	static const char *const closed[] = { "/bin/sh", "-c",
					      "echo " CANARY "; exec 1>&-; sleep 1000", NULL };
	struct secret_source s = { .type = SECRET_SOURCE_EXEC, .argv = silent, .timeout_ms = 100 };
	struct world *w = *state;

	assert_int_equal(secret_source_read(&w->vault, &s, &w->out, w->why), ERR_UNRESOLVED_SECRET);
	assert_non_null(strstr(w->why, "took longer"));
	s.argv = closed;
	assert_int_equal(secret_source_read(&w->vault, &s, &w->out, w->why), ERR_UNRESOLVED_SECRET);
	assert_non_null(strstr(w->why, "took longer"));
	assert_int_equal(buf_len(&w->out), 0);
	/* Nobody is left to wait for. */
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
}

/* ---- areas ----------------------------------------------------------------------------------- */

static void an_area_is_shared_read_only(void **state)
{
	struct secret_area a, b;

	(void)state;
	assert_int_equal(secret_area_create(&a, 5000), ERR_OK);
	assert_true(a.size >= 5000 && a.size % 4096 == 0);
	memcpy(a.p, CANARY, sizeof(CANARY));
	assert_int_equal(secret_area_map(&b, dup(a.fd), 0), ERR_OK);
	assert_int_equal(b.size, a.size);
	assert_int_equal(b.fd, -1);
	assert_memory_equal(b.p, CANARY, sizeof(CANARY));
	/* Wiped for everyone who still looks. */
	secret_area_wipe(&a);
	assert_null(a.p);
	assert_int_equal(((const char *)b.p)[0], 0);
	secret_area_close(&b);
	secret_area_close(&b);
	secret_area_wipe(&a);
}

static void an_area_is_not_mapped_past_its_end(void **state)
{
	struct secret_area a, b;

	(void)state;
	assert_int_equal(secret_area_create(&a, 1), ERR_OK);
	assert_int_equal(secret_area_map(&b, dup(a.fd), a.size + 1), ERR_IO);
	assert_null(b.p);
	secret_area_wipe(&a);
	assert_int_not_equal(secret_area_create(&a, SIZE_MAX), ERR_OK);
}

/* A child that inherits the mapping's address but must not find anything there. */
static void an_area_is_not_inherited_by_fork(void **state)
{
	unsigned char there;
	struct secret_area a;
	int status;
	pid_t pid;

	(void)state;
	assert_int_equal(secret_area_create(&a, 1), ERR_OK);
	assert_int_equal(mincore(a.p, 1, &there), 0);
	pid = fork();
	if (pid == 0)
		_exit(mincore(a.p, 1, &there) == 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	secret_area_wipe(&a);
}

/* ---- TOKENS_JSON ----------------------------------------------------------------------------- */

static void tokens_are_read_in_both_forms(void **state)
{
	static const char text[] = "{\"sk-dummy-1\": \"sk-real-11\",\n"
				   " \"sk-dummy-2\": {\"real\": \"sk-real-22\", \"hosts\": "
				   "[\"API.x.com\", \"*.y.com:443\"]}}\n";
	struct secret_tokens t;
	char why[SECRET_WHY_MAX];

	(void)state;
	assert_int_equal(secret_tokens_parse(bytes_str(text), &t, why), ERR_OK);
	assert_int_equal(t.n, 2);
	for (size_t i = 0; i < t.n; i++) {
		const bool plain = strcmp(t.v[i].dummy, "sk-dummy-1") == 0;

		assert_true(bytes_eq(buf_bytes(&t.v[i].real),
				     bytes_str(plain ? "sk-real-11" : "sk-real-22")));
		assert_int_equal(t.v[i].n_hosts, plain ? 0 : 2);
		if (!plain) {
			assert_string_equal(t.v[i].hosts[0], "api.x.com");
			assert_string_equal(t.v[i].hosts[1], "*.y.com:443");
		}
	}
	secret_tokens_release(&t);
	secret_tokens_release(&t);
}

static void tokens_are_read_strictly(void **state)
{
	static const char *const bad[] = {
		"", "[]", "null", "{\"a", "{} {}", "\"canary-canary\"",
		"{\"dummy-aa\": \"canary-1\", \"dummy-aa\": \"canary-2\"}",
		"{\"dummy-aa\": 5}",
		"{\"dummy-aa\": [\"canary-1\"]}",
		"{\"dummy-aa\": null}",
		"{\"dummy-aa\": \"\"}",
		"{\"dummy-aa\": \"canary\"}",
		"{\"dummy-aa\": \"canary\\ncanary\"}",
		"{\"dummy-aa\": \"canary\\u0000canary\"}",
		"{\"dummy-aa\": {}}",
		"{\"dummy-aa\": {\"real\": \"canary-1\"}}",
		"{\"dummy-aa\": {\"hosts\": [\"a.com\"]}}",
		"{\"dummy-aa\": {\"real\": \"canary-1\", \"hosts\": []}}",
		"{\"dummy-aa\": {\"real\": \"canary-1\", \"hosts\": \"a.com\"}}",
		"{\"dummy-aa\": {\"real\": \"canary-1\", \"hosts\": [5]}}",
		"{\"dummy-aa\": {\"real\": \"canary-1\", \"hosts\": [\"a b\"]}}",
		"{\"dummy-aa\": {\"real\": \"canary-1\", \"hosts\": [\"*\"]}}",
		"{\"dummy-aa\": {\"real\": \"canary-1\", \"hosts\": [\"a.com\"], \"canary-2\": 1}}",
		("{\"dummy-aa\": {\"real\": \"canary-1\", \"real\": \"canary-2\", \"hosts\": "
		 "[\"a.com\"]}}"),
		"{\"dummy-aa\": \"canary-1\",}",
		"{\"dummy-aa\": 'canary-1'}",
		"{\"dummy-aa\": \"canary\xff\xff\"}",
	};
	struct secret_tokens t;
	char why[SECRET_WHY_MAX];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		if (secret_tokens_parse(bytes_str(bad[i]), &t, why) != ERR_CONFIG)
			fail_msg("row %zu was taken", i);
		assert_int_equal(t.n, 0);
		if (strlen(why) == 0 || strstr(why, "canary"))
			fail_msg("row %zu: %s", i, why);
	}
}

/* Deep nesting must not eat the stack. */
static void tokens_nest_only_so_deep(void **state)
{
	size_t n = 200000;
	char *deep = malloc(n + 1);
	struct secret_tokens t;
	char why[SECRET_WHY_MAX];

	(void)state;
	assert_non_null(deep);
	memset(deep, '[', n);
	deep[n] = '\0';
	assert_int_equal(secret_tokens_parse(bytes_of(deep, n), &t, why), ERR_CONFIG);
	free(deep);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(values_are_checked_wherever_they_come_from,
						world_open, world_close),
		cmocka_unit_test_setup_teardown(length_has_a_limit, world_open, world_close),
		cmocka_unit_test_setup_teardown(only_regular_files_are_read,
						world_open, world_close),
		cmocka_unit_test(environment_is_emptied_and_remembered),
		cmocka_unit_test_setup_teardown(programs_are_run_without_a_shell,
						world_open, world_close),
		cmocka_unit_test_setup_teardown(a_program_that_hangs_is_ended_with_its_children,
						world_open, world_close),
		cmocka_unit_test(an_area_is_shared_read_only),
		cmocka_unit_test(an_area_is_not_mapped_past_its_end),
		cmocka_unit_test(an_area_is_not_inherited_by_fork),
		cmocka_unit_test(tokens_are_read_in_both_forms),
		cmocka_unit_test(tokens_are_read_strictly),
		cmocka_unit_test(tokens_nest_only_so_deep),
	};

	if (argc == 2 && strcmp(argv[1], "environment") == 0)
		return environment_child();
	log_init("test", LOG_LEVEL_OFF);
	return cmocka_run_group_tests_name("secret source", tests, NULL, NULL);
}
