/*
 * fuzz_config_yaml.c - any bytes are a configuration or a list of problems, and nothing else
 *
 * What is accepted must keep what readers of struct config rely on, and reading its text again
 * must accept it too. links: room_config
 */
#include <stdlib.h>

#include "config/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define HOLDS(x)                    \
	do {                        \
		if (!(x))           \
			abort();    \
	} while (0)

static void check_problems(const struct config_error *e)
{
	char text[CONFIG_PROBLEM_TEXT_MAX];

	HOLDS(e->total > 0 && e->n <= CONFIG_PROBLEMS_MAX && e->n <= e->total);
	for (size_t i = 0; i < e->n; i++) {
		HOLDS(e->problems[i].text[0]);
		config_problem_text(e->file, &e->problems[i], text);
		for (const char *c = text; *c; c++)
			HOLDS((uint8_t)*c >= 0x20 && *c != 0x7f);
	}
}

static void check_config(const struct config *cfg)
{
	HOLDS(cfg->version == 1 && cfg->n_agents > 0);
	HOLDS(cfg->gateway.agent_interfaces.n > 0);
	HOLDS(cfg->gateway.dns.system == (cfg->gateway.dns.n_upstream == 0));
	HOLDS(cfg->gateway.tproxy.port && cfg->gateway.dns.port && cfg->gateway.tproxy.mark);
	HOLDS(cfg->gateway.limits.flows && cfg->gateway.limits.header_bytes >= 1024);
	HOLDS(cfg->tls.ca.certificate && cfg->tls.ca.key);
	for (size_t i = 0; i < cfg->n_agents; i++)
		HOLDS(cfg->agents[i].name[0] && cfg->agents[i].n_sources > 0 &&
		      cfg->agents[i].line);
	for (size_t i = 0; i < cfg->n_secrets; i++) {
		const struct config_secret *secret = &cfg->secrets[i];
		bool aws = secret->type == CONFIG_SECRET_AWS_SIGV4;

		HOLDS(secret->name[0] && strlen(secret->dummy) >= 8 && secret->hosts.n > 0 &&
		      secret->surfaces);
		HOLDS(secret->real.kind != CONFIG_SOURCE_NONE);
		HOLDS((secret->dummy_id != NULL) == aws &&
		      (secret->real_id.kind != CONFIG_SOURCE_NONE) == aws);
	}
	for (size_t i = 0; i < cfg->egress.n_rules; i++) {
		const struct config_rule *rule = &cfg->egress.rules[i];

		/* Without ports: any port. Only a deny may go without hosts and addresses. */
		HOLDS(rule->action == CONFIG_DENY || rule->hosts.n || rule->n_addresses);
		for (size_t j = 0; j < rule->n_ports; j++)
			HOLDS(rule->ports[j].first && rule->ports[j].first <= rule->ports[j].last);
		HOLDS(rule->protocol == CONFIG_HTTP ||
		      (rule->action == CONFIG_ALLOW && !rule->paths.n));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct config_error e;
	struct config *cfg = config_parse(bytes_of(data, size), "etc/fuzz.yaml", &e), *again;

	if (!cfg) {
		check_problems(&e);
		return 0;
	}
	check_config(cfg);
	again = config_parse(cfg->text, cfg->file, &e);
	HOLDS(again && again->n_secrets == cfg->n_secrets &&
	      again->egress.n_rules == cfg->egress.n_rules);
	config_free(again);
	config_free(cfg);
	return 0;
}
