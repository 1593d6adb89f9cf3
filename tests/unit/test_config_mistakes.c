/*
 * Every kind of mistake in the file has its own message, at its place; the value of a secret is
 * never in one.
 *
 * Each row is a whole file and all that is said about it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "config/config.h"
#include "tests/lib/guard.h"

#define AGENTS "agents: [{name: a, sources: [10.0.0.1]}]\n"
#define EGRESS "egress: {}\n"

static const struct {
	struct bytes text;
	const char *said;
} mistakes[] = {
	{ BYTES_LIT(""),
	  "t.yaml:1:1: the file is empty: `agents` and `egress` are required\n" },
	{ BYTES_LIT("# only a comment\n"),
	  "t.yaml:1:1: the file is empty: `agents` and `egress` are required\n" },
	{ BYTES_LIT("a: b: c\n"),
	  "t.yaml:1:5: not valid YAML: mapping values are not allowed in this context\n" },
	{ BYTES_LIT("gateway: [\n"),
	  "t.yaml:2:1: not valid YAML: did not find expected node content while parsing a flow "
	  "node\n" },
	{ BYTES_LIT("\tx: 1\n"),
	  "t.yaml:1:1: not valid YAML: found character that cannot start any token while scanning "
	  "for the next token\n" },
	{ BYTES_LIT("[]\n"),
	  "t.yaml:1:1: expected a map, found a list\n" },
	{ BYTES_LIT("just words\n"),
	  "t.yaml:1:1: expected a map, found \"just words\"\n" },
	{ BYTES_LIT("version: 1\n---\nversion: 1\n"),
	  "t.yaml:2:1: only one document is allowed in the file\n" },
	{ BYTES_LIT("x: &a 1\n"),
	  "t.yaml:1:4: anchors and aliases are not supported\n" },
	{ BYTES_LIT("x: *a\n"),
	  "t.yaml:1:4: anchors and aliases are not supported\n" },
	{ BYTES_LIT("x: !!str 1\n"),
	  "t.yaml:1:4: tags are not supported\n" },
	{ BYTES_LIT("<<: {a: 1}\n"),
	  "t.yaml:1:1: <<: unknown key, expected version, gateway, tls, identity, agents, secrets, "
	  "egress\n"
	  "t.yaml:1:1: agents: this key is required\n"
	  "t.yaml:1:1: egress: this key is required\n" },
	{ BYTES_LIT("version: 1\nversion: 1\n"),
	  "t.yaml:2:1: duplicate key \"version\", first at line 1\n"
	  "t.yaml:1:1: agents: this key is required\n"
	  "t.yaml:1:1: egress: this key is required\n" },
	{ BYTES_LIT("? [a]\n: 1\n"),
	  "t.yaml:1:3: a key must be a plain word\n" },
	{ BYTES_LIT("a: [[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]\n"),
	  "t.yaml:1:15: nested too deeply\n" },
	{ BYTES_LIT("x: \"a\\0b\"\n"),
	  "t.yaml:1:4: control characters and line breaks are not allowed in a value\n" },
	{ BYTES_LIT("x: \"a\\nb\"\n"),
	  "t.yaml:1:4: control characters and line breaks are not allowed in a value\n" },
	{ BYTES_LIT("x: |\n  a\n  b\n"),
	  "t.yaml:1:4: control characters and line breaks are not allowed in a value\n" },
	{ BYTES_LIT("x: \377\n"),
	  "t.yaml:1:4: invalid leading UTF-8 octet\n" },
	{ BYTES_LIT("x: \007\n"),
	  "t.yaml:1:4: control characters are not allowed\n" },
	{ BYTES_LIT("ab: 1\nc: \000"),
	  "t.yaml:2:4: a NUL byte is not allowed\n" },
	{ BYTES_LIT("x: \342\200\n"),
	  "t.yaml:1:5: invalid trailing UTF-8 octet\n" },
	{ BYTES_LIT("gatway: {}\n" AGENTS EGRESS),
	  "t.yaml:1:1: gatway: unknown key; did you mean \"gateway\"?\n" },
	{ BYTES_LIT("version: 2\n" AGENTS EGRESS),
	  "t.yaml:1:10: version: the only value is 1, found \"2\"\n" },
	{ BYTES_LIT("version: one\n" AGENTS EGRESS),
	  "t.yaml:1:10: version: expected a whole number, found \"one\"\n" },
	{ BYTES_LIT("entirely_else: 1\n" AGENTS EGRESS),
	  "t.yaml:1:1: entirely_else: unknown key, expected version, gateway, tls, identity, "
	  "agents, secrets, egress\n" },
	{ BYTES_LIT("version: 1\n"),
	  "t.yaml:1:1: agents: this key is required\n"
	  "t.yaml:1:1: egress: this key is required\n" },
	{ BYTES_LIT(EGRESS),
	  "t.yaml:1:1: agents: this key is required\n" },
	{ BYTES_LIT(AGENTS),
	  "t.yaml:1:1: egress: this key is required\n" },
	{ BYTES_LIT("gateway: []\n" AGENTS EGRESS),
	  "t.yaml:1:10: gateway: expected a map, found a list\n" },
	{ BYTES_LIT("gateway: 5\n" AGENTS EGRESS),
	  "t.yaml:1:10: gateway: expected a map, found \"5\"\n" },
	{ BYTES_LIT("gateway: {limits: {flows: {}}}\n" AGENTS EGRESS),
	  "t.yaml:1:27: gateway.limits.flows: expected a whole number, found a map\n" },
	{ BYTES_LIT("gateway: {workers: 0}\n" AGENTS EGRESS),
	  "t.yaml:1:20: gateway.workers: must be from 1 to 64, found \"0\"\n" },
	{ BYTES_LIT("gateway: {workers: 65}\n" AGENTS EGRESS),
	  "t.yaml:1:20: gateway.workers: must be from 1 to 64, found \"65\"\n" },
	{ BYTES_LIT("gateway: {workers: many}\n" AGENTS EGRESS),
	  "t.yaml:1:20: gateway.workers: expected a whole number, found \"many\"\n" },
	{ BYTES_LIT("gateway: {workers: \"2\"}\n" AGENTS EGRESS),
	  "t.yaml:1:20: gateway.workers: expected a whole number (in quotes it is text), found "
	  "\"2\"\n" },
	{ BYTES_LIT("gateway: {workers: -1}\n" AGENTS EGRESS),
	  "t.yaml:1:20: gateway.workers: expected a whole number, found \"-1\"\n" },
	{ BYTES_LIT("gateway: {workers: }\n" AGENTS EGRESS),
	  "t.yaml:1:20: gateway.workers: the value is missing\n" },
	{ BYTES_LIT("gateway: {workers: 01}\n" AGENTS EGRESS),
	  "t.yaml:1:20: gateway.workers: expected a whole number, found \"01\"\n" },
	{ BYTES_LIT("gateway: {workers: 99999999999999999999999}\n" AGENTS EGRESS),
	  "t.yaml:1:20: gateway.workers: expected a whole number, found "
	  "\"99999999999999999999999\"\n" },
	{ BYTES_LIT("gateway: {tproxy: {mark: 0}}\n" AGENTS EGRESS),
	  "t.yaml:1:26: gateway.tproxy.mark: must be from 1 to 4294967295, found \"0\"\n" },
	{ BYTES_LIT("gateway: {tproxy: {mark: 0x1ffffffff}}\n" AGENTS EGRESS),
	  "t.yaml:1:26: gateway.tproxy.mark: must be from 1 to 4294967295, found "
	  "\"0x1ffffffff\"\n" },
	{ BYTES_LIT("gateway: {tproxy: {table: 254}}\n" AGENTS EGRESS),
	  "t.yaml:1:27: gateway.tproxy.table: tables 253 to 255 are the system's, found "
	  "\"254\"\n" },
	{ BYTES_LIT("gateway: {tproxy: {port: 0}}\n" AGENTS EGRESS),
	  "t.yaml:1:26: gateway.tproxy.port: expected a port from 1 to 65535, found \"0\"\n" },
	{ BYTES_LIT("gateway: {tproxy: {port: 65536}}\n" AGENTS EGRESS),
	  "t.yaml:1:26: gateway.tproxy.port: expected a port from 1 to 65535, found \"65536\"\n" },
	{ BYTES_LIT("gateway: {tproxy: {port: 15053}}\n" AGENTS EGRESS),
	  "t.yaml:1:26: gateway.tproxy.port: gateway.tproxy.port and gateway.dns.port must differ, "
	  "found \"15053\"\n" },
	{ BYTES_LIT("gateway: {agent_interfaces: eth0}\n" AGENTS EGRESS),
	  "t.yaml:1:29: gateway.agent_interfaces: expected a list; write [ ... ] around it, found "
	  "\"eth0\"\n" },
	{ BYTES_LIT("gateway: {agent_interfaces: []}\n" AGENTS EGRESS),
	  "t.yaml:1:29: gateway.agent_interfaces: the list must not be empty\n" },
	{ BYTES_LIT("gateway: {agent_interfaces: [eth0, \"a/b\"]}\n" AGENTS EGRESS),
	  "t.yaml:1:36: gateway.agent_interfaces[1]: expected the name of a network interface, "
	  "found \"a/b\"\n" },
	{ BYTES_LIT("gateway: {agent_interfaces: [averylonginterface]}\n" AGENTS EGRESS),
	  "t.yaml:1:30: gateway.agent_interfaces[0]: expected the name of a network interface, "
	  "found \"averylonginterface\"\n" },
	{ BYTES_LIT("gateway: {dns: {upstream: [system, 1.1.1.1]}}\n" AGENTS EGRESS),
	  "t.yaml:1:27: gateway.dns.upstream: `system` stands alone: name either it or "
	  "addresses\n" },
	{ BYTES_LIT("gateway: {dns: {upstream: [dns.example]}}\n" AGENTS EGRESS),
	  "t.yaml:1:28: gateway.dns.upstream[0]: expected `system` or an IP address, optionally "
	  "with :port, found \"dns.example\"\n" },
	{ BYTES_LIT("gateway: {dns: {upstream: [1.1.1.1:0]}}\n" AGENTS EGRESS),
	  "t.yaml:1:28: gateway.dns.upstream[0]: expected `system` or an IP address, optionally "
	  "with :port, found \"1.1.1.1:0\"\n" },
	{ BYTES_LIT("gateway: {dns: {upstream: [\"2001:db8::1:53x\"]}}\n" AGENTS EGRESS),
	  "t.yaml:1:28: gateway.dns.upstream[0]: expected `system` or an IP address, optionally "
	  "with :port, found \"2001:db8::1:53x\"\n" },
	{ BYTES_LIT("gateway: {admin: {listen: 9901}}\n" AGENTS EGRESS),
	  "t.yaml:1:27: gateway.admin.listen: expected an address with port such as "
	  "127.0.0.1:9901, found \"9901\"\n" },
	{ BYTES_LIT("gateway: {admin: {listen: \"::1:9901\"}}\n" AGENTS EGRESS),
	  "t.yaml:1:27: gateway.admin.listen: expected an address with port such as "
	  "127.0.0.1:9901, found \"::1:9901\"\n" },
	{ BYTES_LIT("gateway: {admin: {unix: "
		    "/xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
		    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx}}\n" AGENTS EGRESS),
	  "t.yaml:1:25: gateway.admin.unix: the whole path is longer than 107 bytes, found "
	  "\"/xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx...\"\n" },
	{ BYTES_LIT("gateway: {limits: {idle: 300}}\n" AGENTS EGRESS),
	  "t.yaml:1:26: gateway.limits.idle: expected a duration such as 300s (ms, s, m, h, d) (a "
	  "unit is missing), found \"300\"\n" },
	{ BYTES_LIT("gateway: {limits: {idle: 5min}}\n" AGENTS EGRESS),
	  "t.yaml:1:26: gateway.limits.idle: expected a duration such as 300s (ms, s, m, h, d), "
	  "found \"5min\"\n" },
	{ BYTES_LIT("gateway: {limits: {idle: 0s}}\n" AGENTS EGRESS),
	  "t.yaml:1:26: gateway.limits.idle: must be from 1s to 1d, found \"0s\"\n" },
	{ BYTES_LIT("gateway: {limits: {idle: 25h}}\n" AGENTS EGRESS),
	  "t.yaml:1:26: gateway.limits.idle: must be from 1s to 1d, found \"25h\"\n" },
	{ BYTES_LIT("gateway: {limits: {idle: 99999999999999999d}}\n" AGENTS EGRESS),
	  "t.yaml:1:26: gateway.limits.idle: expected a duration such as 300s (ms, s, m, h, d), "
	  "found \"99999999999999999d\"\n" },
	{ BYTES_LIT("gateway: {limits: {idle: 1.5s}}\n" AGENTS EGRESS),
	  "t.yaml:1:26: gateway.limits.idle: expected a duration such as 300s (ms, s, m, h, d), "
	  "found \"1.5s\"\n" },
	{ BYTES_LIT("gateway: {limits: {connect: 99ms}}\n" AGENTS EGRESS),
	  "t.yaml:1:29: gateway.limits.connect: must be from 100ms to 5m, found \"99ms\"\n" },
	{ BYTES_LIT("gateway: {limits: {header_bytes: 64KB}}\n" AGENTS EGRESS),
	  "t.yaml:1:34: gateway.limits.header_bytes: expected a size such as 64KiB (B, KiB, MiB, "
	  "GiB), found \"64KB\"\n" },
	{ BYTES_LIT("gateway: {limits: {header_bytes: 1B}}\n" AGENTS EGRESS),
	  "t.yaml:1:34: gateway.limits.header_bytes: must be from 1KiB to 1MiB, found \"1B\"\n" },
	{ BYTES_LIT("gateway: {limits: {header_bytes: 8GiB}}\n" AGENTS EGRESS),
	  "t.yaml:1:34: gateway.limits.header_bytes: must be from 1KiB to 1MiB, found \"8GiB\"\n" },
	{ BYTES_LIT("gateway: {user: \"a b\"}\n" AGENTS EGRESS),
	  "t.yaml:1:17: gateway.user: expected a name of up to 64 letters, digits, '-', '_' and "
	  "'.', found \"a b\"\n" },
	{ BYTES_LIT("gateway: {audit: {file: \"\"}}\n" AGENTS EGRESS),
	  "t.yaml:1:25: gateway.audit.file: expected the name of a file\n" },
	{ BYTES_LIT("tls: {ca: {certificat: x}}\n" AGENTS EGRESS),
	  "t.yaml:1:12: tls.ca.certificat: unknown key; did you mean \"certificate\"?\n" },
	{ BYTES_LIT("identity: {mtls: yes}\n" AGENTS EGRESS),
	  "t.yaml:1:18: identity.mtls: expected one of off, required, found \"yes\"\n" },
	{ BYTES_LIT("agents: []\n" EGRESS),
	  "t.yaml:1:9: agents: the list must not be empty\n" },
	{ BYTES_LIT("agents: {name: a}\n" EGRESS),
	  "t.yaml:1:9: agents: expected a list, found a map\n" },
	{ BYTES_LIT("agents:\n- name: a\n" EGRESS),
	  "t.yaml:2:3: agents[0].sources: this key is required\n" },
	{ BYTES_LIT("agents:\n- {name: a, sources: [10.0.0.0/33]}\n" EGRESS),
	  "t.yaml:2:23: agents[0].sources[0]: expected an address range such as 10.20.0.0/16 (the "
	  "prefix length is wrong, or bits after it are not zero), found \"10.0.0.0/33\"\n" },
	{ BYTES_LIT("agents:\n- {name: a, sources: [10.0.0.1/24]}\n" EGRESS),
	  "t.yaml:2:23: agents[0].sources[0]: expected an address range such as 10.20.0.0/16 (the "
	  "prefix length is wrong, or bits after it are not zero), found \"10.0.0.1/24\"\n" },
	{ BYTES_LIT("agents:\n- {name: a, sources: [host]}\n" EGRESS),
	  "t.yaml:2:23: agents[0].sources[0]: expected an address range such as 10.20.0.0/16, "
	  "found \"host\"\n" },
	{ BYTES_LIT("agents:\n- {name: a, sources: [10.0.0.0/24]}\n"
		    "- {name: b, sources: [10.0.1.0/24, 10.0.0.7]}\n" EGRESS),
	  "t.yaml:3:36: agents[1].sources[1]: overlaps 10.0.0.0/24 of agent a: an address must "
	  "tell who is asking, found \"10.0.0.7\"\n" },
	{ BYTES_LIT("agents:\n- {name: a, sources: [\"fd00::/64\"]}\n"
		    "- {name: a, sources: [\"fd00:1::/64\"]}\n" EGRESS),
	  "t.yaml:3:10: agents[1].name: there is another agent of this name, found \"a\"\n" },
	{ BYTES_LIT("agents:\n- {name: a, sources: [10.0.0.1], rate: {requests: 50}}\n" EGRESS),
	  "t.yaml:2:51: agents[0].rate.requests: expected a rate such as 50/s (/s, /m, /h), found "
	  "\"50\"\n" },
	{ BYTES_LIT("agents:\n- {name: a, sources: [10.0.0.1], rate: {requests: 50/d}}\n" EGRESS),
	  "t.yaml:2:51: agents[0].rate.requests: expected a rate such as 50/s (/s, /m, /h), found "
	  "\"50/d\"\n" },
	{ BYTES_LIT("agents:\n- {name: a, sources: [10.0.0.1], rate: {requests: 0/s}}\n" EGRESS),
	  "t.yaml:2:51: agents[0].rate.requests: must be from 1 to 1000000, found \"0/s\"\n" },
	{ BYTES_LIT("agents:\n- {name: a, sources: [10.0.0.1], rate: {burst: 5}}\n" EGRESS),
	  "t.yaml:2:40: agents[0].rate.requests: this key is required\n" },
	{ BYTES_LIT("agents:\n- {name: \"a b\", sources: [10.0.0.1], sorces: []}\n" EGRESS),
	  "t.yaml:2:10: agents[0].name: expected a name of up to 64 letters, digits, '-', '_' and "
	  "'.', found \"a b\"\n"
	  "t.yaml:2:38: agents[0].sorces: unknown key; did you mean \"sources\"?\n" },
	{ BYTES_LIT("secrets:\n- {name: s, dummy: dummy-one, real: {env: X}, hosts: [h.example]}\n"
		    "- {name: s, dummy: dummy-two, real: {env: X}, hosts: [h.example]}\n"
		    AGENTS EGRESS),
	  "t.yaml:3:10: secrets[1].name: there is another secret of this name, found \"s\"\n" },
	{ BYTES_LIT("secrets:\n- {name: s, dummy: dummy-one, real: {env: X}, hosts: [h.example]}\n"
		    "- {name: t, dummy: dummy-one, real: {env: X}, hosts: [h.example]}\n"
		    AGENTS EGRESS),
	  "t.yaml:3:20: secrets[1].dummy: the same dummy as of secret s\n" },
	{ BYTES_LIT("secrets:\n- {name: s, dummy: dummy-one, real: {env: X}, hosts: [h.example]}\n"
		    "- {name: t, dummy: short, real: {env: X}, hosts: [h.example]}\n"
		    AGENTS EGRESS),
	  "t.yaml:3:20: secrets[1].dummy: too short: 8 bytes at least\n" },
	{ BYTES_LIT("secrets:\n- {name: s, dummy: dummy-one, real: {env: X}, hosts: [h.example]}\n"
		    "- {name: t, dummy: dummy-two, real: sk-live-canary, hosts: [h.example]}\n"
		    AGENTS EGRESS),
	  "t.yaml:3:37: secrets[1].real: expected a source such as { env: NAME }; the value itself "
	  "never belongs in this file\n" },
	{ BYTES_LIT("secrets:\n- {name: s, dummy: dummy-one, real: {env: X}, hosts: [h.example]}\n"
		    "- {name: t, dummy: dummy-two, real: {sk-live-canary: x}, hosts: "
		    "[h.example]}\n" AGENTS EGRESS),
	  "t.yaml:3:38: secrets[1].real: unknown key, expected env, file, exec\n" },
	{ BYTES_LIT("secrets:\n- {name: s, dummy: dummy-one, real: {env: X}, hosts: [h.example]}\n"
		    "- {name: t, dummy: dummy-two, real: {env: sk-live-canary}, hosts: "
		    "[h.example]}\n" AGENTS EGRESS),
	  "t.yaml:3:43: secrets[1].real.env: expected the name of an environment variable\n" },
	{ BYTES_LIT("secrets:\n- {name: s, dummy: dummy-one, real: {env: X}, hosts: [h.example]}\n"
		    "- {name: t, dummy: dummy-two, real: {value: sk-live-canary}, hosts: "
		    "[h.example]}\n" AGENTS EGRESS),
	  "t.yaml:3:38: secrets[1].real: unknown key, expected env, file, exec\n" },
	{ BYTES_LIT("secrets:\n- {name: s, dummy: dummy-one, real: {env: X}, hosts: [h.example]}\n"
		    "- {name: t, dummy: dummy-two, real: [sk-live-canary], hosts: [h.example]}\n"
		    AGENTS EGRESS),
	  "t.yaml:3:37: secrets[1].real: expected a source such as { env: NAME }; the value itself "
	  "never belongs in this file\n" },
	{ BYTES_LIT("secrets:\n- {name: s, dummy: dummy-one, real: {env: X}, hosts: [h.example]}\n"
		    "- {name: t, dummy: dummy-two, real: {env: A, file: b}, hosts: [h.example]}\n"
		    AGENTS EGRESS),
	  "t.yaml:3:37: secrets[1].real: expected exactly one of env, file, exec\n" },
	{ BYTES_LIT("secrets:\n- {name: s, dummy: dummy-one, real: {env: X}, hosts: [h.example]}\n"
		    "- {name: t, dummy: dummy-two, real: {}, hosts: [h.example]}\n" AGENTS EGRESS),
	  "t.yaml:3:37: secrets[1].real: expected exactly one of env, file, exec\n" },
	{ BYTES_LIT("secrets:\n- {name: s, dummy: dummy-one, real: {env: X}, hosts: [h.example]}\n"
		    "- {name: t, dummy: dummy-two, real: {exec: /bin/x}, hosts: [h.example]}\n"
		    AGENTS EGRESS),
	  "t.yaml:3:44: secrets[1].real.exec: expected a list; write [ ... ] around it\n" },
	{ BYTES_LIT("secrets:\n- {name: s, dummy: dummy-one, real: {env: X}, hosts: [h.example]}\n"
		    "- {name: t, dummy: dummy-two, real: {id: {env: A}, secret: {env: B}}, hosts: "
		    "[h.example]}\n" AGENTS EGRESS),
	  "t.yaml:3:37: secrets[1].real: { id, secret } is for type aws-sigv4 only\n" },
	{ BYTES_LIT("secrets:\n- {name: s, dummy: dummy-one, real: {env: X}, hosts: [h.example]}\n"
		    "- {name: t, type: aws-sigv4, dummy: dummy-two, real: {id: {env: A}, secret: "
		    "{env: B}}, hosts: [h.example]}\n" AGENTS EGRESS),
	  "t.yaml:3:37: secrets[1].dummy: type aws-sigv4 needs { id: ..., secret: ... }\n" },
	{ BYTES_LIT("secrets:\n- {name: s, dummy: dummy-one, real: {env: X}, hosts: [h.example]}\n"
		    "- {name: t, type: aws-sigv4, dummy: {id: dummy-id, secret: dummy-key}, real: "
		    "{env: A}, hosts: [h.example]}\n" AGENTS EGRESS),
	  "t.yaml:3:78: secrets[1].real: type aws-sigv4 needs { id: source, secret: source }\n" },
	{ BYTES_LIT("secrets:\n- {name: s, dummy: dummy-one, real: {env: X}, hosts: [h.example]}\n"
		    "- {name: t, type: aws-sigv4, dummy: {id: dummy-id}, real: {id: {env: A}}, "
		    "hosts: [h.example]}\n" AGENTS EGRESS),
	  "t.yaml:3:37: secrets[1].dummy.secret: this key is required\n"
	  "t.yaml:3:59: secrets[1].real.secret: this key is required\n" },
	{ BYTES_LIT("secrets:\n- {name: s, dummy: dummy-one, real: {env: X}, hosts: [h.example]}\n"
		    "- {name: t, type: awssig, dummy: dummy-two, real: {env: X}, hosts: "
		    "[h.example]}\n" AGENTS EGRESS),
	  "t.yaml:3:19: secrets[1].type: expected one of static, aws-sigv4, found \"awssig\"\n" },
	{ BYTES_LIT("secrets:\n- {name: s, dummy: dummy-one, real: {env: X}, hosts: [h.example]}\n"
		    "- {name: t, dummy: dummy-two, real: {env: X}, hosts: []}\n" AGENTS EGRESS),
	  "t.yaml:3:54: secrets[1].hosts: the list must not be empty\n" },
	{ BYTES_LIT("secrets:\n- {name: s, dummy: dummy-one, real: {env: X}, hosts: [h.example]}\n"
		    "- {name: t, dummy: dummy-two, real: {env: X}, hosts: [\"*\"]}\n"
		    AGENTS EGRESS),
	  "t.yaml:3:55: secrets[1].hosts[0]: expected a host name, \"*.suffix\" or an IP address, "
	  "optionally with :port (a secret is bound to named hosts: `*` alone is not allowed), "
	  "found \"*\"\n" },
	{ BYTES_LIT("secrets:\n- {name: s, dummy: dummy-one, real: {env: X}, hosts: [h.example]}\n"
		    "- {name: t, dummy: dummy-two, real: {env: X}, hosts: "
		    "[\"https://h.example/\"]}\n" AGENTS EGRESS),
	  "t.yaml:3:55: secrets[1].hosts[0]: expected a host name, \"*.suffix\" or an IP address, "
	  "optionally with :port (a host name, not a URL), found \"https://h.example/\"\n" },
	{ BYTES_LIT("secrets:\n- {name: s, dummy: dummy-one, real: {env: X}, hosts: [h.example]}\n"
		    "- {name: t, dummy: dummy-two, real: {env: X}, hosts: [\"a.*.example\"]}\n"
		    AGENTS EGRESS),
	  "t.yaml:3:55: secrets[1].hosts[0]: expected a host name, \"*.suffix\" or an IP address, "
	  "optionally with :port, found \"a.*.example\"\n" },
	{ BYTES_LIT("secrets:\n- {name: s, dummy: dummy-one, real: {env: X}, hosts: [h.example]}\n"
		    "- {name: t, dummy: dummy-two, real: {env: X}, hosts: [\"h.example:99999\"]}\n"
		    AGENTS EGRESS),
	  "t.yaml:3:55: secrets[1].hosts[0]: expected a host name, \"*.suffix\" or an IP address, "
	  "optionally with :port, found \"h.example:99999\"\n" },
	{ BYTES_LIT("secrets:\n- {name: s, dummy: dummy-one, real: {env: X}, hosts: [h.example]}\n"
		    "- {name: t, dummy: dummy-two, real: {env: X}, hosts: [h.example], surfaces: "
		    "[headers]}\n" AGENTS EGRESS),
	  "t.yaml:3:78: secrets[1].surfaces[0]: expected one of header, query, path, body, found "
	  "\"headers\"\n" },
	{ BYTES_LIT("secrets:\n- {name: s, dummy: dummy-one, real: {env: X}, hosts: [h.example]}\n"
		    "- {name: t, dummy: dummy-two, real: {env: X}, hosts: [h.example], surfaces: "
		    "[]}\n" AGENTS EGRESS),
	  "t.yaml:3:77: secrets[1].surfaces: the list must not be empty\n" },
	{ BYTES_LIT("secrets:\n- {name: s, dummy: dummy-one, real: {env: X}, hosts: [h.example]}\n"
		    "- {name: t, dummy: dummy-two, real: {env: X}, hosts: [h.example], agents: [a, "
		    "b]}\n" AGENTS EGRESS),
	  "t.yaml:3:79: secrets[1].agents[1]: there is no agent of this name, found \"b\"\n" },
	{ BYTES_LIT("secrets:\n- {name: s, dummy: dummy-one, real: {env: X}, hosts: [h.example]}\n"
		    "- {name: t, dummy: dummy-two, real: {env: X}, hosts: [h.example], plaintext: "
		    "yes}\n" AGENTS EGRESS),
	  "t.yaml:3:78: secrets[1].plaintext: expected true or false, found \"yes\"\n" },
	{ BYTES_LIT("egress: {default: learn}\n" AGENTS),
	  "t.yaml:1:19: egress.default: `learn` is reserved and not there yet: use deny or allow, "
	  "found \"learn\"\n" },
	{ BYTES_LIT("egress: {default: maybe}\n" AGENTS),
	  "t.yaml:1:19: egress.default: expected one of deny, allow, learn, found \"maybe\"\n" },
	{ BYTES_LIT("egress: {allow_special: [10.0.0.0/8, any]}\n" AGENTS),
	  "t.yaml:1:38: egress.allow_special[1]: expected an address range such as 10.20.0.0/16, "
	  "found \"any\"\n" },
	{ BYTES_LIT("egress: {rules: [{permit: {hosts: [a.example]}}]}\n" AGENTS),
	  "t.yaml:1:19: egress.rules[0].permit: unknown key, expected allow, deny, passthrough\n" },
	{ BYTES_LIT("egress: {rules: [{allow: {hosts: [a.example]}, deny: {hosts: "
		    "[b.example]}}]}\n" AGENTS),
	  "t.yaml:1:18: egress.rules[0]: expected exactly one of allow, deny, passthrough\n" },
	{ BYTES_LIT("egress: {rules: [allow]}\n" AGENTS),
	  "t.yaml:1:18: egress.rules[0]: expected a map, found \"allow\"\n" },
	{ BYTES_LIT("egress: {rules: [{allow: }]}\n" AGENTS),
	  "t.yaml:1:26: egress.rules[0].allow: the value is missing\n" },
	{ BYTES_LIT("egress: {rules: [{allow: {}}]}\n" AGENTS),
	  "t.yaml:1:26: egress.rules[0].allow: the rule needs `hosts` or `addresses`; hosts: "
	  "[\"*\"] is any name\n" },
	{ BYTES_LIT("egress: {rules: [{allow: {hosts: [a.example:443]}}]}\n" AGENTS),
	  "t.yaml:1:35: egress.rules[0].allow.hosts[0]: expected a host name, \"*.suffix\", \"*\" "
	  "or an IP address (a port does not belong here: use `ports`), found "
	  "\"a.example:443\"\n" },
	{ BYTES_LIT("egress: {rules: [{allow: {hosts: [\"https://a.example\"]}}]}\n" AGENTS),
	  "t.yaml:1:35: egress.rules[0].allow.hosts[0]: expected a host name, \"*.suffix\", \"*\" "
	  "or an IP address (a host name, not a URL), found \"https://a.example\"\n" },
	{ BYTES_LIT("egress: {rules: [{allow: {hosts: [\"127.1\"]}}]}\n" AGENTS),
	  "t.yaml:1:35: egress.rules[0].allow.hosts[0]: expected a host name, \"*.suffix\", \"*\" "
	  "or an IP address, found \"127.1\"\n" },
	{ BYTES_LIT("egress: {rules: [{allow: {hosts: [\"a..b\"]}}]}\n" AGENTS),
	  "t.yaml:1:35: egress.rules[0].allow.hosts[0]: expected a host name, \"*.suffix\", \"*\" "
	  "or an IP address, found \"a..b\"\n" },
	{ BYTES_LIT("egress: {rules: [{allow: {hosts: [a.example], ports: [0]}}]}\n" AGENTS),
	  "t.yaml:1:55: egress.rules[0].allow.ports[0]: expected a port or a range such as "
	  "8000-8010, found \"0\"\n" },
	{ BYTES_LIT("egress: {rules: [{allow: {hosts: [a.example], ports: [90-80]}}]}\n" AGENTS),
	  "t.yaml:1:55: egress.rules[0].allow.ports[0]: expected a port or a range such as "
	  "8000-8010 (the range is empty), found \"90-80\"\n" },
	{ BYTES_LIT("egress: {rules: [{allow: {hosts: [a.example], ports: 443}}]}\n" AGENTS),
	  "t.yaml:1:54: egress.rules[0].allow.ports: expected a list; write [ ... ] around it, "
	  "found \"443\"\n" },
	{ BYTES_LIT("egress: {rules: [{allow: {hosts: [a.example], methods: [get]}}]}\n" AGENTS),
	  "t.yaml:1:57: egress.rules[0].allow.methods[0]: expected an HTTP method such as GET "
	  "(methods are upper-case), found \"get\"\n" },
	{ BYTES_LIT("egress: {rules: [{allow: {hosts: [a.example], methods: [\"GE T\"]}}]}\n"
		    AGENTS),
	  "t.yaml:1:57: egress.rules[0].allow.methods[0]: expected an HTTP method such as GET, "
	  "found \"GE T\"\n" },
	{ BYTES_LIT("egress: {rules: [{allow: {hosts: [a.example], paths: [v1]}}]}\n" AGENTS),
	  "t.yaml:1:55: egress.rules[0].allow.paths[0]: expected a path pattern that begins with "
	  "'/', such as \"/v1/**\", found \"v1\"\n" },
	{ BYTES_LIT("egress: {rules: [{allow: {hosts: [a.example], paths: [/v1/../x]}}]}\n" AGENTS),
	  "t.yaml:1:55: egress.rules[0].allow.paths[0]: expected a path pattern that begins with "
	  "'/', such as \"/v1/**\" (no path can match: no empty, '.' or '..' segments, no '***'), "
	  "found \"/v1/../x\"\n" },
	{ BYTES_LIT("egress: {rules: [{allow: {hosts: [a.example], paths: [//v1]}}]}\n" AGENTS),
	  "t.yaml:1:55: egress.rules[0].allow.paths[0]: expected a path pattern that begins with "
	  "'/', such as \"/v1/**\" (no path can match: no empty, '.' or '..' segments, no '***'), "
	  "found \"//v1\"\n" },
	{ BYTES_LIT("egress: {rules: [{allow: {hosts: [a.example], paths: [\"/a?b\"]}}]}\n" AGENTS),
	  "t.yaml:1:55: egress.rules[0].allow.paths[0]: expected a path pattern that begins with "
	  "'/', such as \"/v1/**\" (a path pattern has no query, fragment or backslash), found "
	  "\"/a?b\"\n" },
	{ BYTES_LIT("egress: {rules: [{allow: {hosts: [a.example], paths: [/a%20b]}}]}\n" AGENTS),
	  "t.yaml:1:55: egress.rules[0].allow.paths[0]: expected a path pattern that begins with "
	  "'/', such as \"/v1/**\" (path patterns are written decoded, without %), found "
	  "\"/a%20b\"\n" },
	{ BYTES_LIT("egress: {rules: [{allow: {hosts: [a.example], paths: [/***]}}]}\n" AGENTS),
	  "t.yaml:1:55: egress.rules[0].allow.paths[0]: expected a path pattern that begins with "
	  "'/', such as \"/v1/**\" (no path can match: no empty, '.' or '..' segments, no '***'), "
	  "found \"/***\"\n" },
	{ BYTES_LIT("egress: {rules: [{deny: {hosts: [a.example], protocol: tcp}}]}\n" AGENTS),
	  "t.yaml:1:25: egress.rules[0].deny: protocol tcp is for allow rules only\n" },
	{ BYTES_LIT("egress: {rules: [{passthrough: {hosts: [a.example], paths: [/a]}}]}\n" AGENTS),
	  "t.yaml:1:32: egress.rules[0].passthrough: methods and paths cannot be seen without "
	  "opening the connection\n" },
	{ BYTES_LIT("egress: {rules: [{allow: {hosts: [a.example], protocol: tcp, ports: [1], "
		    "methods: [GET]}}]}\n" AGENTS),
	  "t.yaml:1:26: egress.rules[0].allow: methods and paths cannot be seen without opening "
	  "the connection\n" },
	{ BYTES_LIT("egress: {rules: [{allow: {hosts: [a.example], agents: [b]}}]}\n" AGENTS),
	  "t.yaml:1:56: egress.rules[0].allow.agents[0]: there is no agent of this name, found "
	  "\"b\"\n" },
	{ BYTES_LIT("egress: {rules: [{allow: {hosts: [a.example], name: x}}, {deny: {name: "
		    "x}}]}\n" AGENTS),
	  "t.yaml:1:65: egress.rules[1].deny: there is another rule of this name\n" },
	{ BYTES_LIT("egress: {rules: [{deny: {name: egress.default}}]}\n" AGENTS),
	  "t.yaml:1:25: egress.rules[0].deny: names that begin with `egress.` are the gateway's "
	  "own\n" },
};

static char *said_about(struct bytes text, size_t *total)
{
	struct config_error e;
	struct config *cfg;
	char *said = NULL;
	size_t n = 0;
	FILE *out;

	cfg = config_parse(text, "t.yaml", &e);
	*total = e.total;
	if (cfg) {
		config_free(cfg);
		return NULL;
	}
	assert_true(e.total > 0);
	out = open_memstream(&said, &n);
	assert_non_null(out);
	config_error_print(&e, out);
	fclose(out);
	return said;
}

static void mistakes_are_named(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(mistakes); i++) {
		struct bytes text = mistakes[i].text;
		size_t total;
		char *said = said_about(bytes_of(guard_copy(text.p, text.n), text.n), &total);

		print_message("%.*s", (int)text.n, (const char *)text.p);
		assert_non_null(said);
		assert_string_equal(said, mistakes[i].said);
		assert_null(strstr(said, "canary"));
		free(said);
	}
	guard_free_all();
}

/* Cut anywhere, a file is refused or read, never worse. */
static void every_beginning_of_a_file_is_judged(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(mistakes); i++) {
		for (size_t n = 0; n < mistakes[i].text.n; n++) {
			struct config_error e;
			struct config *cfg;

			cfg = config_parse(bytes_of(guard_copy(mistakes[i].text.p, n), n), "t.yaml",
				   &e);
			assert_true((cfg != NULL) == (e.total == 0));
			config_free(cfg);
			guard_free_all();
		}
	}
}

static void only_the_first_problems_are_kept(void **state)
{
	char text[4096] = AGENTS EGRESS "gateway: {agent_interfaces: [";
	size_t total;
	char *said;

	(void)state;
	for (int i = 0; i < 30; i++)
		strcat(text, "a/b,");
	strcat(text, "]}\n");
	said = said_about(bytes_str(text), &total);
	assert_int_equal(total, 30);
	assert_non_null(strstr(said, "agent_interfaces[19]"));
	assert_null(strstr(said, "agent_interfaces[20]"));
	assert_non_null(strstr(said, "\nt.yaml: and 10 more\n"));
	free(said);
}

static void long_names_and_values_are_cut_at_characters(void **state)
{
	char text[8192] = AGENTS EGRESS "gateway: {user: \"";
	struct config_error e;

	(void)state;
	for (int i = 0; i < 40; i++)
		strcat(text, "\xe2\x82\xac");
	strcat(text, "\", ");
	for (int i = 0; i < 100; i++)
		strcat(text, "\xc3\xa4");
	strcat(text, ": 1}\n");
	assert_null(config_parse(bytes_str(text), "t.yaml", &e));
	assert_int_equal(e.n, 2);
	assert_int_equal(strlen(e.problems[0].value), 60 + 3);
	assert_string_equal(e.problems[0].value + 57, "\xe2\x82\xac...");
	assert_string_equal(e.problems[1].key + strlen(e.problems[1].key) - 5, "\xc3\xa4...");
}

static void too_much_is_refused(void **state)
{
	size_t n = CONFIG_FILE_MAX + 1, total;
	char *text = malloc(n), *said;

	(void)state;
	assert_non_null(text);
	memset(text, '#', n);
	said = said_about(bytes_of(text, n), &total);
	assert_string_equal(said, "t.yaml: the file is larger than 4 MiB\n");
	free(said);
	/* many tiny values */
	for (size_t i = 0; i < n; i++)
		text[i] = i % 2 ? ',' : 'a';
	memcpy(text, "x: [", 4);
	said = said_about(bytes_of(text, CONFIG_FILE_MAX), &total);
	assert_non_null(strstr(said, "too many values in one file"));
	free(said);
	/* deeper than any stack, as block and as flow */
	memset(text, '[', n);
	said = said_about(bytes_of(text, CONFIG_FILE_MAX), &total);
	assert_non_null(said);
	free(said);
	for (size_t i = 0; i < n; i++)
		text[i] = i % 2 ? ' ' : '-';
	said = said_about(bytes_of(text, CONFIG_FILE_MAX), &total);
	assert_string_equal(said, "t.yaml:1:25: nested too deeply\n");
	free(said);
	free(text);
}

static void files_that_cannot_be_read(void **state)
{
	struct config_error e;

	(void)state;
	assert_null(config_load_file("/nonexistent/slapenir.yaml", &e));
	assert_string_equal(e.file, "/nonexistent/slapenir.yaml");
	assert_string_equal(e.problems[0].text, "No such file or directory");
	assert_null(config_load_file("/", &e));
	assert_string_equal(e.problems[0].text, "is a directory");
	assert_null(config_load_file("", &e));
	assert_int_equal(e.total, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(mistakes_are_named),
		cmocka_unit_test(every_beginning_of_a_file_is_judged),
		cmocka_unit_test(only_the_first_problems_are_kept),
		cmocka_unit_test(long_names_and_values_are_cut_at_characters),
		cmocka_unit_test(too_much_is_refused),
		cmocka_unit_test(files_that_cannot_be_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
