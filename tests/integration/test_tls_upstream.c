/*
 * Our client against openssl s_server: which certificates are taken, resumption, TLS 1.2 and 1.3.
 */
#include "tests/integration/tls_peer.h"

static char dir[] = "/tmp/slapenir-tls-XXXXXX";
static struct tls_client *client;

/* make NAME "subject" "signer options" "extensions..." */
static const char prepare[] =
	"set -e; cd '%s'\n"
	"V=%s/" VECTORS "\n"
	"openssl ecparam -name prime256v1 -genkey -noout -out k.key\n"
	"make() { n=$1; shift; printf '%%s\\n' \"$2\" > $n.ext\n"
	"  openssl req -new -key k.key -subj \"$1\" -out $n.csr 2>/dev/null; shift 2\n"
	"  openssl x509 -req -in $n.csr -extfile $n.ext -set_serial 0x$$1 -out $n.crt \"$@\" "
	"2>/dev/null; }\n"
	"R=\"-CA ${V}root.crt -CAkey ${V}root.key -sha256 -days 30\"\n"
	"S='subjectAltName=DNS:up.test'\n"
	"make good /CN=up.test $S $R\n"
	"make wild /CN=x 'subjectAltName=DNS:*.up.test' $R\n"
	"make ip /CN=x 'subjectAltName=IP:127.0.0.1' $R\n"
	"make dnsip /CN=127.0.0.1 'subjectAltName=DNS:127.0.0.1' $R\n"
	"make cnonly /CN=up.test 'basicConstraints=CA:FALSE' $R\n"
	"make expired /CN=up.test $S -CA ${V}root.crt -CAkey ${V}root.key -sha256 -days -1\n"
	"make selfsigned /CN=up.test $S -signkey k.key -sha256 -days 30\n"
	"make unknown /CN=up.test $S -CA ${V}other.crt -CAkey ${V}other.key -sha256 -days 30\n"
	"make eku /CN=up.test \"$S\nextendedKeyUsage=clientAuth\" $R\n"
	"make sha1 /CN=up.test $S -CA ${V}root.crt -CAkey ${V}root.key -sha1 -days 30\n"
	"make inter /CN=up.test $S -CA ${V}inter.crt -CAkey ${V}inter.key -sha256 -days 30\n"
	"make notca /CN=mid.test 'basicConstraints=CA:FALSE' $R\n"
	"make undernotca /CN=up.test $S -CA notca.crt -CAkey k.key -sha256 -days 30\n"
	"cat inter.crt ${V}inter.crt > interchain.crt; cat undernotca.crt notca.crt > "
	"notcachain.crt\n";

static int open_all(void **state)
{
	char cmd[4096], cwd[512];
	struct buf roots;
	enum err e;

	(void)state;
	if (!have_program("openssl"))
		return 0;
	assert_int_equal(tls_global_init(), ERR_OK);
	assert_non_null(mkdtemp(dir));
	assert_non_null(getcwd(cwd, sizeof(cwd)));
	(void)snprintf(cmd, sizeof(cmd), prepare, dir, cwd);
	must_run(cmd);
	roots = file_read(VECTORS "root.crt");
	client = tls_client_new(buf_bytes(&roots), &e);
	assert_non_null(client);
	buf_release(&roots);
	return 0;
}

static int close_all(void **state)
{
	char cmd[128];

	(void)state;
	tls_client_free(client);
	if (client) {
		(void)snprintf(cmd, sizeof(cmd), "rm -rf '%s'", dir);
		must_run(cmd);
	}
	return 0;
}

static pid_t serve(const char *cert, const char *options, uint16_t *port, int *out)
{
	char cmd[512], line[256];
	unsigned int p = 0;
	FILE *f;
	pid_t pid;

	(void)snprintf(cmd, sizeof(cmd),
		       "cd '%s' && exec openssl s_server -accept 127.0.0.1:0 -rev "
		       "-cert %s.crt -cert_chain %s.crt -key k.key %s",
		       dir, cert, cert, options);
	pid = spawn_sh(cmd, out);
	f = fdopen(dup(*out), "r");
	assert_non_null(f);
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "ACCEPT 127.0.0.1:%u", &p) == 1)
			break;
	(void)fclose(f);
	*port = (uint16_t)p;
	return pid;
}

/* One connection: handshake, a line there and back reversed, close. */
static enum err visit(uint16_t port, const char *host, const char *version, bool *resumed)
{
	struct buf out, got;
	struct tls_engine *e;
	int fd = loopback_connect(port);
	enum err err;

	assert_true(fd >= 0);
	buf_init(&out, 64 * 1024);
	buf_init(&got, 64 * 1024);
	e = tls_engine_new_client(client, host, port, "http/1.1", &out);
	assert_non_null(e);
	err = shake_hands(fd, e, &out);
	if (err == ERR_OK) {
		assert_int_equal(tls_engine_write(e, BYTES_LIT("hello\n")), ERR_OK);
		assert_true(flush_out(fd, &out));
		assert_int_equal(read_until(fd, e, &out, &got, "\n"), ERR_OK);
		assert_true(bytes_eq(buf_bytes(&got), BYTES_LIT("olleh\n")));
		*resumed = tls_engine_resumed(e);
		if (version)
			assert_string_equal(tls_engine_version(e), version);
		tls_engine_close(e);
		(void)flush_out(fd, &out);
	}
	tls_engine_free(e);
	buf_release(&out);
	buf_release(&got);
	(void)close(fd);
	return err;
}

struct upstream_case {
	const char *cert, *host;
	enum err want;
};

static const struct upstream_case cases[] = {
	{ "good", "up.test", ERR_OK },
	{ "good", "UP.test", ERR_OK },
	{ "good", "other.test", ERR_UPSTREAM_CERT_NAME },
	{ "good", "127.0.0.1", ERR_UPSTREAM_CERT_NAME },
	{ "wild", "a.up.test", ERR_OK },
	{ "wild", "up.test", ERR_UPSTREAM_CERT_NAME },
	{ "wild", "a.b.up.test", ERR_UPSTREAM_CERT_NAME },
	{ "ip", "127.0.0.1", ERR_OK },
	{ "ip", "127.0.0.2", ERR_UPSTREAM_CERT_NAME },
	{ "dnsip", "127.0.0.1", ERR_UPSTREAM_CERT_NAME },
	{ "cnonly", "up.test", ERR_UPSTREAM_CERT_NAME },
	{ "expired", "up.test", ERR_UPSTREAM_CERT_EXPIRED },
	{ "selfsigned", "up.test", ERR_UPSTREAM_CERT_ISSUER },
	{ "unknown", "up.test", ERR_UPSTREAM_CERT_ISSUER },
	{ "eku", "up.test", ERR_UPSTREAM_CERT },
	{ "sha1", "up.test", ERR_UPSTREAM_CERT },
	{ "inter", "up.test", ERR_UPSTREAM_CERT_ISSUER },	/* its intermediate is not sent */
	{ "interchain", "up.test", ERR_OK },
};

static void check_case(const struct upstream_case *c, const char *options, const char *version)
{
	uint16_t port;
	bool resumed = true;
	int out;
	pid_t pid = serve(c->cert, options, &port, &out);
	enum err e = visit(port, c->host, version, &resumed);

	stop_peer(pid, out);
	if (e != c->want)
		fail_msg("%s as %s (%s): %s", c->cert, c->host, version, err_name(e));
}

static void test_certificates(void **state)
{
	(void)state;
	if (!client)
		skip();
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		check_case(&cases[i], "-cipher DEFAULT@SECLEVEL=0", "TLSv1.3");
		check_case(&cases[i], "-tls1_2 -cipher DEFAULT@SECLEVEL=0", "TLSv1.2");
	}
}

/* A certificate that is no CA vouches for nobody. */
static void test_leaf_is_no_ca(void **state)
{
	static const struct upstream_case c = { "notcachain", "up.test", ERR_UPSTREAM_CERT_ISSUER };

	(void)state;
	if (!client)
		skip();
	check_case(&c, "", "TLSv1.3");
}

static void test_old_protocols_and_suites(void **state)
{
	static const char *const options[] = {
		"-tls1_1 -cipher ALL@SECLEVEL=0",
		"-tls1_2 -cipher ECDHE-ECDSA-AES128-SHA@SECLEVEL=0",	/* CBC */
		"-tls1_2 -cipher NULL@SECLEVEL=0",
		"-tls1_2 -cipher aNULL@SECLEVEL=0",
	};
	static const struct upstream_case c = { "good", "up.test", ERR_UPSTREAM_TLS };

	(void)state;
	if (!client)
		skip();
	for (size_t i = 0; i < ARRAY_SIZE(options); i++)
		check_case(&c, options[i], "none");
}

static void test_resumption(void **state)
{
	static const char *const options[] = { "-tls1_3", "-tls1_2", "-tls1_2 -no_ticket" };

	(void)state;
	if (!client)
		skip();
	for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
		uint16_t port;
		bool resumed = true;
		int out;
		pid_t pid = serve("good", options[i], &port, &out);

		assert_int_equal(visit(port, "up.test", NULL, &resumed), ERR_OK);
		assert_false(resumed);
		for (int again = 0; again < 3; again++) {
			assert_int_equal(visit(port, "up.test", NULL, &resumed), ERR_OK);
			if (!resumed)
				fail_msg("not resumed with %s", options[i]);
		}
		/* the same server under another name of ours: no session, and its name is wrong */
		assert_int_equal(visit(port, "other.test", NULL, &resumed), ERR_UPSTREAM_CERT_NAME);
		stop_peer(pid, out);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_certificates),
		cmocka_unit_test(test_leaf_is_no_ca),
		cmocka_unit_test(test_old_protocols_and_suites),
		cmocka_unit_test(test_resumption),
	};

	return cmocka_run_group_tests(tests, open_all, close_all);
}
