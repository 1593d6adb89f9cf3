/* Our minted leaves and server side against what agents use: openssl, Python, GnuTLS, curl, Go. */
#include "tests/integration/tls_peer.h"

#define HOST "api.agent.test"

static char dir[] = "/tmp/slapenir-tls-XXXXXX";
static struct tls_minter *minter;
static struct tls_server *server;
static struct tls_leaf *leaf;

static struct tls_leaf *mint(const char *host, const char *file)
{
	struct tls_leaf *l = NULL;
	struct buf der;
	char path[256];
	FILE *f;

	buf_init(&der, TLS_CERT_MAX);
	assert_int_equal(tls_minter_sign(minter, host, tls_server_pubkey(server), 86400, &der),
			 ERR_OK);
	assert_int_equal(tls_leaf_new(server, host, buf_bytes(&der), &l), ERR_OK);
	(void)snprintf(path, sizeof(path), "%s/%s.der", dir, file);
	f = fopen(path, "w");
	assert_non_null(f);
	assert_int_equal(fwrite(der.data + der.start, 1, buf_len(&der), f), buf_len(&der));
	(void)fclose(f);
	buf_release(&der);
	return l;
}

static int open_all(void **state)
{
	struct buf cert = file_read(VECTORS "inter.crt"), key = file_read(VECTORS "inter.key");
	struct tls_ticket_secret t;
	const char *why;
	enum err e;

	(void)state;
	assert_int_equal(tls_global_init(), ERR_OK);
	assert_non_null(mkdtemp(dir));
	minter = tls_minter_new(buf_bytes(&cert), buf_bytes(&key), &why);
	assert_non_null(minter);
	assert_int_equal(tls_ticket_secret_make(&t, (uint64_t)time(NULL)), ERR_OK);
	server = tls_server_new(buf_bytes(&cert), &t, &e);
	assert_non_null(server);
	leaf = mint(HOST, "name");
	buf_release(&cert);
	buf_release(&key);
	return 0;
}

static int close_all(void **state)
{
	char cmd[128];

	(void)state;
	tls_leaf_unref(leaf);
	tls_server_free(server);
	tls_minter_free(minter);
	(void)snprintf(cmd, sizeof(cmd), "rm -rf '%s'", dir);
	must_run(cmd);
	return 0;
}

struct visit {
	bool resumed;
	enum err shake;
	char alpn[16], version[16];
};

#define ANSWER "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\npong\n"

static void serve_one(int listener, struct visit *v)
{
	struct pollfd p = { .fd = listener, .events = POLLIN };
	struct buf out, got;
	struct tls_engine *e;
	int fd;

	assert_int_equal(poll(&p, 1, PEER_PATIENCE_MS), 1);
	fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	assert_true(fd >= 0);
	buf_init(&out, 64 * 1024);
	buf_init(&got, 64 * 1024);
	e = tls_engine_new_server(server, leaf, "http/1.1", &out);
	assert_non_null(e);
	v->shake = shake_hands(fd, e, &out);
	v->resumed = tls_engine_resumed(e);
	(void)snprintf(v->alpn, sizeof(v->alpn), "%s", tls_engine_alpn(e));
	(void)snprintf(v->version, sizeof(v->version), "%s", tls_engine_version(e));
	if (v->shake == ERR_OK && read_until(fd, e, &out, &got, "\n") == ERR_OK) {
		assert_int_equal(tls_engine_write(e, BYTES_LIT(ANSWER)), ERR_OK);
		tls_engine_close(e);
		(void)flush_out(fd, &out);
		(void)shutdown(fd, SHUT_WR);
		(void)read_until(fd, e, &out, &got, NULL);
	}
	tls_engine_free(e);
	buf_release(&out);
	buf_release(&got);
	(void)close(fd);
}

/* Runs `format` with ($PORT, $ROOT, $DIR set); what it did and said. */
static int visit_by(const char *script, struct visit *v, char *text, size_t cap)
{
	uint16_t port;
	int listener = loopback_listen(&port), out, status;
	char cmd[4096], cwd[512];
	pid_t pid;

	assert_non_null(getcwd(cwd, sizeof(cwd)));
	(void)snprintf(cmd, sizeof(cmd), "PORT=%u ROOT='%s/" VECTORS "root.crt' HOST=" HOST "; "
		       "export PORT ROOT HOST; cd '%s'; %s", port, cwd, dir, script);
	pid = spawn_sh(cmd, &out);
	memset(v, 0, sizeof(*v));
	serve_one(listener, v);
	status = finish_peer(pid, out, text, cap);
	(void)close(listener);
	return status;
}

struct agent_case {
	const char *program, *script, *version, *alpn;
};

#define S_CLIENT "(printf 'GET / HTTP/1.0\\n'; sleep 0.3) | openssl s_client "\
	"-connect 127.0.0.1:$PORT -servername $HOST -CAfile $ROOT -verify_return_error "\
	"-verify_hostname $HOST -x509_strict "\
	"-quiet -ign_eof "

static const struct agent_case agents[] = {
	{ "openssl", S_CLIENT "-alpn h2,http/1.1 2>/dev/null", "TLSv1.3", "http/1.1" },
	{ "openssl", S_CLIENT "-tls1_2 2>/dev/null", "TLSv1.2", "" },
	{ "openssl", S_CLIENT "-groups P-256 2>/dev/null", "TLSv1.3", "" },
	/* Retried. */
	{ "openssl", S_CLIENT "-groups P-521:P-384 2>/dev/null", "TLSv1.3", "" },
	{ "openssl", S_CLIENT "-ciphersuites TLS_CHACHA20_POLY1305_SHA256 2>/dev/null", "TLSv1.3",
	  "" },
	{ "python3",
	  "python3 -c '\n"
	  "import ssl, socket, os\n"
	  "c = ssl.create_default_context(cafile=os.environ[\"ROOT\"])\n"
	  "c.verify_flags |= ssl.VERIFY_X509_STRICT\n"
	  "c.set_alpn_protocols([\"http/1.1\"])\n"
	  "s = socket.create_connection((\"127.0.0.1\", int(os.environ[\"PORT\"])))\n"
	  "with c.wrap_socket(s, server_hostname=os.environ[\"HOST\"]) as t:\n"
	  "    t.sendall(b\"GET / HTTP/1.0\\n\")\n"
	  "    while True:\n"
	  "        b = t.recv(100)\n"
	  "        if not b: break\n"
	  "        print(b.decode(), end=\"\")\n'", "TLSv1.3", "http/1.1" },
	{ "curl",
	  "curl -sS --noproxy '*' --http1.1 --cacert $ROOT --resolve $HOST:$PORT:127.0.0.1 "
	  "https://$HOST:$PORT/", "TLSv1.3", "http/1.1" },
	{ "gnutls-cli",
	  "(printf 'GET / HTTP/1.0\\n'; sleep 0.5) | gnutls-cli --x509cafile $ROOT -p $PORT "
	  "--sni-hostname $HOST --verify-hostname $HOST 127.0.0.1", "TLSv1.3", "" },
};

static void test_agents(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(agents); i++) {
		const struct agent_case *a = &agents[i];
		char text[8192];
		struct visit v;

		if (!have_program(a->program)) {
			print_message("%s is not here: not tried\n", a->program);
			continue;
		}
		(void)visit_by(a->script, &v, text, sizeof(text));
		if (v.shake != ERR_OK || !strstr(text, "pong"))
			fail_msg("%s: %s\n%s", a->script, err_name(v.shake), text);
		assert_string_equal(v.version, a->version);
		assert_string_equal(v.alpn, a->alpn);
	}
}

/* Agents that do not trust the interception CA, or want another host, say so with an alert. */
static void test_refusing_agents(void **state)
{
	static const char *const scripts[] = {
		"ROOT=${ROOT%root.crt}other.crt; " S_CLIENT,
		"openssl s_client -connect 127.0.0.1:$PORT -servername $HOST -CAfile $ROOT "
		"-verify_return_error -verify_hostname other.test -quiet </dev/null",
	};
	char text[8192];
	struct visit v;

	(void)state;
	if (!have_program("openssl"))
		skip();
	for (size_t i = 0; i < ARRAY_SIZE(scripts); i++) {
		assert_int_not_equal(visit_by(scripts[i], &v, text, sizeof(text)), 0);
		assert_int_equal(v.shake, ERR_TLS_ALERT);
	}
}

static void test_resumption(void **state)
{
	static const char *const options[] = { "-tls1_3", "-tls1_2" };
	char text[8192], script[1024];
	struct visit v;

	(void)state;
	if (!have_program("openssl"))
		skip();
	for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
		(void)snprintf(script, sizeof(script), S_CLIENT "%s -sess_out s.pem 2>&1",
			       options[i]);
		(void)visit_by(script, &v, text, sizeof(text));
		assert_int_equal(v.shake, ERR_OK);
		assert_false(v.resumed);
		(void)snprintf(script, sizeof(script), S_CLIENT "%s -sess_in s.pem 2>&1",
			       options[i]);
		(void)visit_by(script, &v, text, sizeof(text));
		assert_int_equal(v.shake, ERR_OK);
		assert_true(v.resumed);
		assert_non_null(strstr(text, "pong"));
	}
}

static void must_verify(const char *program, const char *command)
{
	char cmd[2048], cwd[512];

	if (!have_program(program)) {
		print_message("%s is not here: not tried\n", program);
		return;
	}
	assert_non_null(getcwd(cwd, sizeof(cwd)));
	(void)snprintf(cmd, sizeof(cmd), "set -e; V='%s/" VECTORS "'; cd '%s'; %s", cwd, dir,
		       command);
	must_run(cmd);
}

static void test_strict_verifiers(void **state)
{
	static const char long_host[] =
		"a-rather-long-first-label-to-get-over-the-limit.of-a-common-name.agent.test";

	(void)state;
	tls_leaf_unref(mint("192.0.2.1", "ip4"));
	tls_leaf_unref(mint("2001:db8::1", "ip6"));
	tls_leaf_unref(mint(long_host, "long"));
	must_verify("openssl",
		    "v() { openssl x509 -inform DER -in $1.der -out $1.crt; "
		    "openssl verify -x509_strict -purpose sslserver -CAfile $V/root.crt "
		    "-untrusted $V/inter.crt $2 $3 $1.crt; }\n"
		    "v name -verify_hostname " HOST "; v ip4 -verify_ip 192.0.2.1\n"
		    "v ip6 -verify_ip 2001:db8::1\n"
		    "v long -verify_hostname a-rather-long-first-label-to-get-over-the-limit"
		    ".of-a-common-name.agent.test\n"
		    "! v name -verify_hostname other.test");
	must_verify("certtool",
		    "certtool --inder -i --infile name.der --outfile n.crt\n"
		    "cat n.crt $V/inter.crt > chain.crt\n"
		    "certtool --verify --load-ca-certificate $V/root.crt --infile chain.crt "
		    "--verify-hostname " HOST " --verify-purpose 1.3.6.1.5.5.7.3.1");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_agents),
		cmocka_unit_test(test_refusing_agents),
		cmocka_unit_test(test_resumption),
		cmocka_unit_test(test_strict_verifiers),
	};

	return cmocka_run_group_tests(tests, open_all, close_all);
}
