/*
 * test_process_parts.c - the parts of the process room that need no second process: channel, job,
 * audit file, resolver settings, policy spelled from a configuration
 */
#include "gateway/process/process_internal.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- channel --------------------------------------------------------------------------------- */

static uint8_t buffer[CHANNEL_MESSAGE_MAX];

static void messages_arrive_whole_and_in_order(void **state)
{
	static const size_t sizes[] = { 0, 1, 100, 65536, CHANNEL_MESSAGE_MAX - 1 };
	static uint8_t body[CHANNEL_MESSAGE_MAX];
	struct channel_message m;
	int fds[2];

	(void)state;
	memset(body, 'x', sizeof(body));
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		struct channel_message out = { .type = CHANNEL_AUDIT,
					       .body = bytes_of(body, sizes[i]) };

		assert_int_equal(channel_pair(fds), ERR_OK);
		assert_int_equal(channel_receive(fds[0], buffer, sizeof(buffer), &m), ERR_AGAIN);
		assert_int_equal(channel_send(fds[1], &out), ERR_OK);
		assert_int_equal(channel_receive(fds[0], buffer, sizeof(buffer), &m), ERR_OK);
		assert_int_equal(m.type, CHANNEL_AUDIT);
		assert_int_equal(m.body.n, sizes[i]);
		assert_int_equal(m.n_fds, 0);
		close(fds[1]);
		assert_int_equal(channel_receive(fds[0], buffer, sizeof(buffer), &m), ERR_CLOSED);
		assert_int_equal(channel_send(fds[0], &out), ERR_CLOSED);
		close(fds[0]);
	}
}

static void a_message_that_does_not_fit_is_refused(void **state)
{
	struct channel_message out = { .type = CHANNEL_AUDIT }, m;
	uint8_t small[16];
	int fds[2], sent = 0;
	enum err e;

	(void)state;
	assert_int_equal(channel_pair(fds), ERR_OK);
	out.body = bytes_of(buffer, CHANNEL_MESSAGE_MAX);
	assert_int_equal(channel_send(fds[1], &out), ERR_TOO_LONG);
	/* Cut by the receiver's buffer: nonsense, and no descriptor is leaked. */
	out.body = bytes_of(buffer, 100);
	out.fds[0] = fds[0];
	out.n_fds = 1;
	assert_int_equal(channel_send(fds[1], &out), ERR_OK);
	assert_int_equal(channel_receive(fds[0], small, sizeof(small), &m), ERR_BAD_VALUE);
	assert_int_equal(m.n_fds, 0);
	/* Nobody reads: the sender is told, and blocks never. */
	out.n_fds = 0;
	out.body = bytes_of(buffer, 65536);
	while ((e = channel_send(fds[1], &out)) == ERR_OK)
		assert_in_range(++sent, 1, 1000);
	assert_int_equal(e, ERR_AGAIN);
	close(fds[0]);
	close(fds[1]);
}

static void descriptors_travel_and_stay_private(void **state)
{
	struct channel_message out = { .type = CHANNEL_SERVE, .n_fds = CHANNEL_FDS_MAX }, m;
	int fds[2], pipes[2];

	(void)state;
	assert_int_equal(channel_pair(fds), ERR_OK);
	assert_int_equal(pipe(pipes), 0);
	for (size_t i = 0; i < CHANNEL_FDS_MAX; i++)
		out.fds[i] = pipes[1];
	assert_int_equal(channel_send(fds[1], &out), ERR_OK);
	assert_int_equal(channel_receive(fds[0], buffer, sizeof(buffer), &m), ERR_OK);
	assert_int_equal(m.n_fds, CHANNEL_FDS_MAX);
	for (size_t i = 0; i < m.n_fds; i++) {
		assert_true(fcntl(m.fds[i], F_GETFD) & FD_CLOEXEC);
		assert_int_equal(write(m.fds[i], "x", 1), 1);
	}
	channel_close_fds(&m);
	out.n_fds = CHANNEL_FDS_MAX + 1;
	assert_int_equal(channel_send(fds[1], &out), ERR_TOO_LONG);
	close(pipes[0]);
	close(pipes[1]);
	close(fds[0]);
	close(fds[1]);
}

/* ---- job ------------------------------------------------------------------------------------- */

static void a_job_is_read_as_it_was_written(void **state)
{
	struct job_head head = { .uid = 7, .gid = 8, .page_slots = 9, .leaf_lifetime_s = 10 };
	struct bytes sections[JOB_SECTIONS] = {
		[JOB_CONFIG] = BYTES_LIT("version: 1"),
		[JOB_CONFIG_NAME] = BYTES_LIT("/etc/x"),
		[JOB_HOSTS] = BYTES_LIT("127.0.0.1 localhost\n"),
	};
	int fd = job_make(&head, sections);
	struct job j;

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(write(fd, "x", 1), -1);	/* sealed */
	assert_int_equal(ftruncate(fd, 1), -1);
	assert_int_equal(job_open(&j, fd), ERR_OK);
	assert_int_equal(j.head->uid, 7);
	assert_int_equal(j.head->leaf_lifetime_s, 10);
	for (int i = 0; i < JOB_SECTIONS; i++)
		assert_true(bytes_eq(job_section(&j, (enum job_section)i), sections[i]));
	job_close(&j);
}

static void what_is_no_job_is_refused(void **state)
{
	struct job_head head = { 0 };
	struct job j;
	int fd = memfd_create("x", MFD_CLOEXEC);

	(void)state;
	assert_int_equal(job_open(&j, fd), ERR_IO);
	fd = memfd_create("x", MFD_CLOEXEC);
	assert_int_equal(write(fd, &head, sizeof(head)), sizeof(head));
	assert_int_equal(job_open(&j, fd), ERR_INTERNAL);
	/* A section that points outside is empty. */
	j = (struct job){ &head, sizeof(head) };
	head.sections[JOB_TRUST].off = 8;
	head.sections[JOB_TRUST].len = 0xffffffffu;
	assert_int_equal(job_section(&j, JOB_TRUST).n, 0);
	head.sections[JOB_TRUST].off = 0xfffffff0u;
	head.sections[JOB_TRUST].len = 0x20;
	assert_int_equal(job_section(&j, JOB_TRUST).n, 0);
}

/* ---- audit ----------------------------------------------------------------------------------- */

static void read_all(const char *path, char *text, size_t cap)
{
	FILE *f = fopen(path, "r");
	size_t n;

	assert_non_null(f);
	n = fread(text, 1, cap - 1, f);
	text[n] = '\0';
	fclose(f);
}

static void audit_lines_are_appended_and_losses_stay_single(void **state)
{
	char dir[] = "/tmp/audit-test-XXXXXX", path[64], moved[80], text[256];
	struct observe_page *page = aligned_alloc(64, observe_page_size(1));
	struct stat st;
	struct audit a;
	int fd;

	(void)state;
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/new/audit", dir);
	snprintf(moved, sizeof(moved), "%s.1", path);
	observe_page_init(page, 1);
	assert_int_equal(audit_open(&a, path), ERR_OK);		/* makes the last directory */
	a.slot = &page->slots[0];
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0640);
	audit_write(&a, BYTES_LIT("one\ntwo\n"));
	/* A disk that is full: /dev/full stands in for it. */
	fd = a.fd;
	a.fd = open("/dev/full", O_WRONLY | O_CLOEXEC);
	audit_write(&a, BYTES_LIT("lost\nlost\n"));
	close(a.fd);
	a.fd = fd;
	a.torn = true;		/* as after a write that was cut in a line */
	audit_write(&a, BYTES_LIT("three\n"));
	read_all(path, text, sizeof(text));
	assert_string_equal(text, "one\ntwo\n\nthree\n");
	assert_false(a.torn);
	assert_int_equal(observe_sum(page, OBSERVE_audit_lines_total), 3);
	assert_int_equal(observe_sum(page, OBSERVE_audit_lost_total), 2);
	/* Rotation. */
	assert_int_equal(rename(path, moved), 0);
	audit_reopen(&a, path);
	audit_write(&a, BYTES_LIT("four\n"));
	read_all(path, text, sizeof(text));
	assert_string_equal(text, "four\n");
	/* What cannot be opened leaves the old one in place. */
	audit_reopen(&a, "/nonexistent/a/b");
	audit_write(&a, BYTES_LIT("five\n"));
	read_all(path, text, sizeof(text));
	assert_string_equal(text, "four\nfive\n");
	audit_close(&a);
	unlink(path);
	unlink(moved);
	path[strlen(dir) + 4] = '\0';
	rmdir(path);
	rmdir(dir);
	free(page);
}

/* ---- settings -------------------------------------------------------------------------------- */

static void resolvers_are_read_as_the_system_does(void **state)
{
	static const struct {
		const char *text, *want;
	} t[] = {
		{ "", "127.0.0.1:53" },
		{ "nameserver 10.0.0.1\n", "10.0.0.1:53" },
		{ "nameserver 10.0.0.1", "10.0.0.1:53" },
		{ "# nameserver 9.9.9.9\n;nameserver 9.9.9.9\nsearch x\nnameserver\t10.0.0.1 # c\n",
		  "10.0.0.1:53" },
		{ "nameserver fd00::53\r\n", "127.0.0.1:53" },
		{ "nameserver fd00::53\nnameserver 10.0.0.2\n", "[fd00::53]:53,10.0.0.2:53" },
		{ "nameserver 1.1.1.1\nnameserver 1.1.1.2\nnameserver 1.1.1.3\n"
		  "nameserver 1.1.1.4\n",
		  "1.1.1.1:53,1.1.1.2:53,1.1.1.3:53" },
		{ "nameserver fe80::1%eth0\nnameserver x\nnameserver\nnameservers 1.1.1.1\n"
		  "nameserver 2.2.2.2\n",
		  "2.2.2.2:53" },
	};
	struct config cfg = { .gateway.dns.system = true };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
		struct buf out;

		buf_init(&out, 4096);
		assert_int_equal(settings_dns_servers(&cfg, bytes_str(t[i].text), &out), ERR_OK);
		if (!bytes_eq(buf_bytes(&out), bytes_str(t[i].want)))
			fail_msg("row %zu: %.*s", i, (int)buf_len(&out),
				 (const char *)buf_bytes(&out).p);
		buf_release(&out);
	}
}

static void a_policy_says_what_the_configuration_says(void **state)
{
	static const char text[] = "version: 1\n"
				   "agents:\n"
				   "  - { name: a, sources: [10.0.0.0/24] }\n"
				   "  - { name: b, sources: [10.0.1.0/24], rate: { requests: 5/s, "
				   "burst: 7 } }\n"
				   "egress:\n"
				   "  allow_special: [192.168.7.0/24]\n"
				   "  rules:\n"
				   "    - deny: { hosts: [bad.example.com] }\n"
				   "    - allow: { hosts: [\"*.example.com\"], methods: [GET], "
				   "paths: [\"/v1/**\"], "
				   "agents: [b], name: rule-b }\n"
				   "    - passthrough: { hosts: [pinned.org] }\n"
				   "    - allow: { addresses: [192.168.7.0/24], ports: [5432], "
				   "protocol: tcp }\n";
	struct config_error problems;
	struct config *cfg = config_parse(bytes_str(text), "/x.yaml", &problems);
	struct policy_request get = { "x.example.com", 443, BYTES_LIT("GET"), BYTES_LIT("/v1/a") };
	struct addr a4 = { .family = AF_INET, .ip = { 10, 0, 1, 9 } }, db;
	struct policy_verdict v;
	struct policy *p;
	char why[CONFIG_PROBLEM_TEXT_MAX];

	(void)state;
	if (!cfg)
		fail_msg("%s", config_problem_text("x", &problems.problems[0], why));
	assert_true(addr_parse_ip(&db, BYTES_LIT("192.168.7.1")));
	p = settings_policy(cfg, &db, 1);
	assert_non_null(p);
	assert_int_equal(policy_agent_by_address(p, &a4), 1);
	assert_int_equal(policy_agent_rate(p, 1)->requests, 5);
	assert_int_equal(policy_agent_rate(p, 1)->burst, 7);
	v = policy_request(p, 1, &get);
	assert_int_equal(v.action, POLICY_ALLOW);
	assert_string_equal(v.rule, "rule-b");
	assert_int_equal(policy_request(p, 0, &get).action, POLICY_DENY);
	get.method = BYTES_LIT("POST");
	assert_int_equal(policy_request(p, 1, &get).reason, ERR_DENY_METHOD);
	assert_int_equal(policy_connect(p, 1, "bad.example.com", NULL, 443).reason, ERR_DENY_RULE);
	assert_int_equal(policy_connect(p, 0, "pinned.org", NULL, 443).action, POLICY_PASSTHROUGH);
	assert_int_equal(policy_connect(p, 0, "", &db, 5432).action, POLICY_TCP);
	assert_int_equal(policy_connect(p, 0, "", &db, 5433).action, POLICY_DENY);
	/* Its own address stays out of reach, although the range is allowed. */
	assert_int_equal(policy_address(p, &db), ERR_DENY_ADDRESS);
	db.ip[3] = 2;
	assert_int_equal(policy_address(p, &db), ERR_OK);
	policy_free(p);
	config_free(cfg);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(messages_arrive_whole_and_in_order),
		cmocka_unit_test(a_message_that_does_not_fit_is_refused),
		cmocka_unit_test(descriptors_travel_and_stay_private),
		cmocka_unit_test(a_job_is_read_as_it_was_written),
		cmocka_unit_test(what_is_no_job_is_refused),
		cmocka_unit_test(audit_lines_are_appended_and_losses_stay_single),
		cmocka_unit_test(resolvers_are_read_as_the_system_does),
		cmocka_unit_test(a_policy_says_what_the_configuration_says),
	};

	log_init("test", LOG_LEVEL_OFF);
	return cmocka_run_group_tests_name("process parts", tests, NULL, NULL);
}
