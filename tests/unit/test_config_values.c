/*
 * What stands in a right file arrives in the structs, and what does not stand there gets its
 * default.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>

#include "config/config.h"

static struct config *parse(const char *text, const char *name)
{
	struct config_error e;
	struct config *cfg = config_parse(bytes_str(text), name, &e);

	if (!cfg)
		config_error_print(&e, stdout);
	assert_non_null(cfg);
	return cfg;
}

static void assert_addr(const struct addr *a, const char *text)
{
	char buf[ADDR_TEXT_MAX];

	assert_string_equal(addr_text(a, buf), text);
}

static void assert_cidr(const struct cidr *c, const char *text)
{
	char buf[ADDR_TEXT_MAX];

	assert_string_equal(cidr_text(c, buf), text);
}

static const char full[] =
	"version: 1\n"
	"gateway:\n"
	"  workers: 3\n"
	"  agent_interfaces: [eth0, veth-a.1]\n"
	"  user: gate\n"
	"  tproxy: { port: 16001, mark: 0x10, table: 77 }\n"
	"  dns: { port: 16053, upstream: [9.9.9.9, \"[2620:fe::fe]:5353\", \"2620:fe::9\"] }\n"
	"  admin: { unix: off, listen: \"[::1]:99\" }\n"
	"  audit: { file: log/audit.jsonl }\n"
	"  limits: { flows: 7, idle: 90m, header_bytes: 16KiB, connect: 1500ms, first_byte: 1h, "
	"head: 5s,\n"
	"            drain: 0s }\n"
	"tls:\n"
	"  ca: { certificate: ca.crt, key: /abs/ca.key }\n"
	"  upstream_trust: trust.pem\n"
	"  leaf_lifetime: 7d\n"
	"identity: { mtls: off, trust: /r.crt }\n"
	"agents:\n"
	"  - name: coder\n"
	"    sources: [172.30.0.0/24, \"fd00:30::/64\"]\n"
	"    rate: { requests: 100/m, burst: 5 }\n"
	"  - { name: other, sources: [172.31.0.9], rate: { requests: 2/h } }\n"
	"secrets:\n"
	"  - name: one\n"
	"    dummy: \"dummy 'one'\"\n"
	"    real: { exec: [/bin/get, --key, one two] }\n"
	"    hosts: [API.Example.com., \"*.example.org:8443\", 10.0.0.1, \"[fd00::1]:443\"]\n"
	"    surfaces: [header, body, path]\n"
	"    agents: [coder]\n"
	"    plaintext: true\n"
	"  - name: aws\n"
	"    type: aws-sigv4\n"
	"    dummy: { id: AKIADUMMY00000000000, secret: dummy/aws/secret }\n"
	"    real: { id: { env: AWS_ID }, secret: { file: aws.key } }\n"
	"    hosts: [\"*.amazonaws.com\"]\n"
	"egress:\n"
	"  default: allow\n"
	"  allow_special: [10.20.0.0/16]\n"
	"  rules:\n"
	"    - allow: { name: models, hosts: [API.openai.com], methods: [GET, M-SEARCH], paths: "
	"[\"/v1/**\", /],\n"
	"               agents: [other] }\n"
	"    - deny: { ports: [25, 6000-6010] }\n"
	"    - passthrough: { hosts: [\"*.pinned.example\"] }\n"
	"    - allow: { addresses: [10.20.0.0/16, \"fd00::/8\"], ports: [5432], protocol: tcp }\n"
	"    - deny:\n"
	"        hosts: [\"*\"]\n";

static void check_gateway(const struct config *cfg)
{
	const struct config_gateway *g = &cfg->gateway;

	assert_int_equal(g->workers, 3);
	assert_int_equal(g->agent_interfaces.n, 2);
	assert_string_equal(g->agent_interfaces.items[1], "veth-a.1");
	assert_string_equal(g->user, "gate");
	assert_int_equal(g->tproxy.port, 16001);
	assert_int_equal(g->tproxy.mark, 16);
	assert_int_equal(g->tproxy.table, 77);
	assert_int_equal(g->dns.port, 16053);
	assert_false(g->dns.system);
	assert_int_equal(g->dns.n_upstream, 3);
	assert_addr(&g->dns.upstream[0], "9.9.9.9:53");
	assert_addr(&g->dns.upstream[1], "[2620:fe::fe]:5353");
	assert_addr(&g->dns.upstream[2], "[2620:fe::9]:53");
	assert_null(g->admin.unix_path);
	assert_addr(&g->admin.listen, "[::1]:99");
	assert_string_equal(g->audit.file, "etc/log/audit.jsonl");
	assert_int_equal(g->limits.flows, 7);
	assert_int_equal(g->limits.header_bytes, 16384);
	assert_int_equal(g->limits.idle_ms, 90 * 60000);
	assert_int_equal(g->limits.connect_ms, 1500);
	assert_int_equal(g->limits.first_byte_ms, 3600000);
	assert_int_equal(g->limits.head_ms, 5000);
	assert_int_equal(g->limits.drain_ms, 0);
}

static void check_secrets(const struct config *cfg)
{
	const struct config_secret *one = &cfg->secrets[0], *aws = &cfg->secrets[1];

	assert_int_equal(cfg->n_secrets, 2);
	assert_string_equal(one->dummy, "dummy 'one'");
	assert_null(one->dummy_id);
	assert_int_equal(one->type, CONFIG_SECRET_STATIC);
	assert_int_equal(one->real.kind, CONFIG_SOURCE_EXEC);
	assert_int_equal(one->real.exec.n, 3);
	assert_string_equal(one->real.exec.items[2], "one two");
	assert_int_equal(one->real_id.kind, CONFIG_SOURCE_NONE);
	assert_int_equal(one->hosts.n, 4);
	assert_string_equal(one->hosts.items[0], "api.example.com");
	assert_string_equal(one->hosts.items[1], "*.example.org:8443");
	assert_string_equal(one->hosts.items[2], "10.0.0.1");
	assert_string_equal(one->hosts.items[3], "[fd00::1]:443");
	assert_int_equal(one->surfaces,
			 CONFIG_SURFACE_HEADER | CONFIG_SURFACE_BODY | CONFIG_SURFACE_PATH);
	assert_int_equal(one->agents.n, 1);
	assert_true(one->plaintext);
	assert_int_equal(one->line, 23);
	assert_int_equal(one->column, 5);
	assert_int_equal(aws->type, CONFIG_SECRET_AWS_SIGV4);
	assert_string_equal(aws->dummy_id, "AKIADUMMY00000000000");
	assert_string_equal(aws->dummy, "dummy/aws/secret");
	assert_int_equal(aws->real_id.kind, CONFIG_SOURCE_ENV);
	assert_string_equal(aws->real_id.env, "AWS_ID");
	assert_int_equal(aws->real.kind, CONFIG_SOURCE_FILE);
	assert_string_equal(aws->real.file, "etc/aws.key");
	assert_int_equal(aws->surfaces, CONFIG_SURFACE_HEADER);
	assert_int_equal(aws->agents.n, 0);
	assert_false(aws->plaintext);
}

static void check_egress(const struct config *cfg)
{
	const struct config_rule *r = cfg->egress.rules;

	assert_int_equal(cfg->egress.fallback, CONFIG_ALLOW);
	assert_int_equal(cfg->egress.n_allow_special, 1);
	assert_cidr(&cfg->egress.allow_special[0], "10.20.0.0/16");
	assert_int_equal(cfg->egress.n_rules, 5);
	assert_int_equal(r[0].action, CONFIG_ALLOW);
	assert_string_equal(r[0].name, "models");
	assert_string_equal(r[0].hosts.items[0], "api.openai.com");
	assert_string_equal(r[0].methods.items[1], "M-SEARCH");
	assert_string_equal(r[0].paths.items[0], "/v1/**");
	assert_string_equal(r[0].paths.items[1], "/");
	assert_string_equal(r[0].agents.items[0], "other");
	assert_int_equal(r[0].n_ports, 0);	/* any port */
	assert_int_equal(r[1].action, CONFIG_DENY);
	assert_null(r[1].name);
	assert_int_equal(r[1].n_ports, 2);
	assert_int_equal(r[1].ports[1].first, 6000);
	assert_int_equal(r[1].ports[1].last, 6010);
	assert_int_equal(r[2].action, CONFIG_PASSTHROUGH);
	assert_int_equal(r[2].n_ports, 0);
	assert_int_equal(r[3].protocol, CONFIG_TCP);
	assert_int_equal(r[3].n_addresses, 2);
	assert_cidr(&r[3].addresses[1], "fd00::/8");
	assert_int_equal(r[4].n_ports, 0);
	assert_string_equal(r[4].hosts.items[0], "*");
	assert_int_equal(r[4].line, 44);
}

static void everything_arrives(void **state)
{
	struct config *cfg = parse(full, "etc/slapenir.yaml");

	(void)state;
	assert_string_equal(cfg->file, "etc/slapenir.yaml");
	assert_int_equal(cfg->text.n, sizeof(full) - 1);
	assert_memory_equal(cfg->text.p, full, sizeof(full) - 1);
	check_gateway(cfg);
	check_secrets(cfg);
	check_egress(cfg);
	assert_string_equal(cfg->tls.ca.certificate, "etc/ca.crt");
	assert_string_equal(cfg->tls.ca.key, "/abs/ca.key");
	assert_string_equal(cfg->tls.upstream_trust, "etc/trust.pem");
	assert_int_equal(cfg->tls.leaf_lifetime_ms, 7 * 86400000);
	assert_true(cfg->identity.present);
	assert_int_equal(cfg->identity.mtls, CONFIG_MTLS_OFF);
	assert_string_equal(cfg->identity.trust, "/r.crt");
	assert_int_equal(cfg->n_agents, 2);
	assert_string_equal(cfg->agents[0].name, "coder");
	assert_cidr(&cfg->agents[0].sources[1], "fd00:30::/64");
	assert_int_equal(cfg->agents[0].rate.requests, 100);
	assert_int_equal(cfg->agents[0].rate.per_s, 60);
	assert_int_equal(cfg->agents[0].rate.burst, 5);
	assert_int_equal(cfg->agents[1].rate.per_s, 3600);
	assert_int_equal(cfg->agents[1].rate.burst, 2);
	config_free(cfg);
}

static void defaults_are_filled_in(void **state)
{
	struct config *cfg = parse("agents: [{name: a, sources: [10.0.0.1]}]\n"
				   "egress: {rules: [{allow: {hosts: [a.example]}}]}\n"
				   "secrets:\n"
				   "identity:\n", "/etc/slapenir/slapenir.yaml");

	(void)state;
	assert_int_equal(cfg->version, 1);
	assert_int_equal(cfg->gateway.workers, 0);
	assert_int_equal(cfg->gateway.agent_interfaces.n, 1);
	assert_string_equal(cfg->gateway.agent_interfaces.items[0], "eth0");
	assert_null(cfg->gateway.user);
	assert_int_equal(cfg->gateway.tproxy.port, 15001);
	assert_int_equal(cfg->gateway.tproxy.mark, 0x534c);
	assert_int_equal(cfg->gateway.tproxy.table, 0x534c);
	assert_int_equal(cfg->gateway.dns.port, 15053);
	assert_true(cfg->gateway.dns.system);
	assert_int_equal(cfg->gateway.dns.n_upstream, 0);
	assert_string_equal(cfg->gateway.admin.unix_path, "/run/slapenir/admin.sock");
	assert_addr(&cfg->gateway.admin.listen, "127.0.0.1:9901");
	assert_string_equal(cfg->gateway.audit.file, "/var/log/slapenir/audit.jsonl");
	assert_int_equal(cfg->gateway.limits.flows, 4096);
	assert_int_equal(cfg->gateway.limits.header_bytes, 65536);
	assert_int_equal(cfg->gateway.limits.idle_ms, 300000);
	assert_int_equal(cfg->gateway.limits.connect_ms, 10000);
	assert_int_equal(cfg->gateway.limits.first_byte_ms, 300000);
	assert_int_equal(cfg->gateway.limits.head_ms, 30000);
	assert_int_equal(cfg->gateway.limits.drain_ms, 30000);
	assert_string_equal(cfg->tls.ca.certificate, "/etc/slapenir/certs/interception.crt");
	assert_string_equal(cfg->tls.ca.key, "/etc/slapenir/certs/interception.key");
	assert_null(cfg->tls.upstream_trust);
	assert_int_equal(cfg->tls.leaf_lifetime_ms, 86400000);
	assert_int_equal(cfg->identity.mtls, CONFIG_MTLS_OFF);
	assert_int_equal(cfg->agents[0].rate.requests, 0);
	assert_int_equal(cfg->n_secrets, 0);
	assert_int_equal(cfg->egress.fallback, CONFIG_DENY);
	assert_int_equal(cfg->egress.rules[0].n_ports, 0);
	assert_int_equal(cfg->n_warnings, 0);
	config_free(cfg);
}

static void identity_means_required(void **state)
{
	struct config *cfg = parse("agents: [{name: a, sources: [10.0.0.1]}]\negress: {}\n"
				   "identity: {}\n", "s.yaml");

	(void)state;
	assert_int_equal(cfg->identity.mtls, CONFIG_MTLS_REQUIRED);
	assert_string_equal(cfg->identity.trust, "certs/root.crt");
	config_free(cfg);
}

static const char *const warnings[] = {
	"gateway.admin.listen: the admin endpoint can be reached from other machines",
	"secrets[0].plaintext: the real value may be sent unencrypted",
	"secrets[1].dummy: one dummy contains the other, of secret s: the longer one wins where it "
	"stands",
	"egress.default: agents may reach every host that no rule denies",
	"egress.rules[0].allow: protocol tcp without `ports`: every port of these addresses is "
	"relayed unopened",
	"egress.allow_special[0]: opens loopback or a cloud's metadata to agents",
};

static void what_looks_wrong_is_warned_of(void **state)
{
	struct config *cfg = parse(
		"agents: [{name: a, sources: [10.0.0.1]}]\n"
		"gateway: {admin: {listen: 0.0.0.0:9901}}\n"
		"secrets: [{name: s, dummy: dummy-one, real: {env: X}, hosts: [h.example],\n"
		"           plaintext: true},\n"
		"          {name: t, dummy: dummy-one-more, real: {env: X}, hosts: [h.example]}]\n"
		"egress: {default: allow, allow_special: [127.0.0.0/8, 10.0.0.0/8],\n"
		"  rules: [{allow: {addresses: [10.0.0.0/8], protocol: tcp}}]}\n",
		"s");

	(void)state;
	assert_int_equal(cfg->n_warnings, ARRAY_SIZE(warnings));
	for (size_t i = 0; i < ARRAY_SIZE(warnings); i++) {
		char got[300];

		snprintf(got, sizeof(got), "%.100s: %.150s", cfg->warnings[i].key,
			 cfg->warnings[i].text);
		assert_string_equal(got, warnings[i]);
		assert_true(cfg->warnings[i].line > 0);
	}
	config_free(cfg);
}

/* A worker reads the text that the master has read, under the name the master gives it. */
static void reading_again_gives_the_same(void **state)
{
	struct config *first = parse(full, "/etc/slapenir.yaml"), *second;
	struct config_error e;

	(void)state;
	second = config_parse(first->text, first->file, &e);
	assert_non_null(second);
	assert_string_equal(second->file, first->file);
	assert_string_equal(second->tls.ca.certificate, first->tls.ca.certificate);
	assert_int_equal(second->n_secrets, first->n_secrets);
	assert_int_equal(second->egress.n_rules, first->egress.n_rules);
	config_free(first);
	config_free(second);
}

static void a_loaded_file_has_an_absolute_name(void **state)
{
	char dir[] = "/tmp/slapenir-test-XXXXXX", path[64], back[4096];
	struct config_error e;
	struct config *cfg;
	FILE *f;

	(void)state;
	assert_non_null(mkdtemp(dir));
	assert_non_null(getcwd(back, sizeof(back)));
	snprintf(path, sizeof(path), "%s/s.yaml", dir);
	f = fopen(path, "w");
	assert_non_null(f);
	fputs("agents: [{name: a, sources: [10.0.0.1]}]\negress: {}\n", f);
	fclose(f);
	assert_int_equal(chdir(dir), 0);
	cfg = config_load_file("s.yaml", &e);
	assert_int_equal(chdir(back), 0);
	unlink(path);
	rmdir(dir);
	assert_non_null(cfg);
	assert_string_equal(cfg->file, path);
	assert_memory_equal(cfg->tls.ca.key, dir, strlen(dir));
	config_free(cfg);
	config_free(NULL);
}

static void count_key(const struct config_schema_entry *entry, void *arg)
{
	assert_true(entry->path[0] && entry->type[0] && entry->doc[0]);
	*(size_t *)arg += strcmp(entry->path, "gateway.tproxy.port") == 0 ||
			  strcmp(entry->path, "secrets[].real.id") == 0 ||
			  strcmp(entry->path, "egress.rules[].allow.paths") == 0;
}

static void the_schema_can_be_walked(void **state)
{
	size_t found = 0;

	(void)state;
	config_schema_walk(count_key, &found);
	assert_int_equal(found, 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(everything_arrives),
		cmocka_unit_test(defaults_are_filled_in),
		cmocka_unit_test(identity_means_required),
		cmocka_unit_test(what_looks_wrong_is_warned_of),
		cmocka_unit_test(reading_again_gives_the_same),
		cmocka_unit_test(a_loaded_file_has_an_absolute_name),
		cmocka_unit_test(the_schema_can_be_walked),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
