/*
 * main.c - the netpolicy command: arguments, configuration, and what is told on which stream
 *
 * stdout carries what was asked for (the rendered plan, the drift, the JSON); stderr carries errors
 * and notes.
 * Exit codes: 0 done, 1 failed, 2 wrong usage or configuration, 3 check found drift.
 */
#include <getopt.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/base.h"
#include "config/config.h"
#include "netpolicy/netpolicy.h"

#ifndef SLAPENIR_VERSION
#define SLAPENIR_VERSION "unknown"
#endif

#define CONFIG_DEFAULT "/etc/slapenir/slapenir.yaml"
#define OUTPUT_MAX (64u << 20)

enum { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_USAGE = 2, EXIT_DRIFT = 3 };

static const char usage_text[] =
	"Usage: netpolicy COMMAND [--config FILE] [--json]\n"
	"       netpolicy route [--via ADDRESS] [--via6 ADDRESS] [--dev INTERFACE] [--json]\n"
	"\n"
	"The kernel side of the gateway: nftables, ip rules, routes and settings that bring every "
	"packet of\n"
	"an agent to the gateway and let none pass by it.\n"
	"\n"
	"Commands:\n"
	"  render   print the policy in nft syntax, ip and sysctl commands as comments; needs no "
	"privilege\n"
	"  apply    put it into this network namespace, in one atomic transaction; repeat at will\n"
	"  check    compare the kernel with the policy and name each difference\n"
	"  remove   take away what apply made; forwarding stays off, so nothing passes unfiltered\n"
	"  route    in the agent's network namespace: make the given gateway the only default "
	"route;\n"
	"           a family not named ends without one. Without --via: list default routes\n"
	"\n"
	"Options:\n"
	"  -c, --config FILE   configuration (default " CONFIG_DEFAULT ")\n"
	"  -j, --json          answer in JSON\n"
	"      --via ADDRESS   IPv4 address of the gateway\n"
	"      --via6 ADDRESS  IPv6 address of the gateway\n"
	"      --dev INTERFACE interface that leads to it\n"
	"  -h, --help          this text\n"
	"  -V, --version       version\n"
	"\n"
	"Exit codes: 0 done, 1 failed, 2 wrong usage or configuration, 3 check found drift.\n";

struct options {
	const char *command;
	const char *config;
	struct np_agent_route route;
	bool json;
};

static int usage_error(const char *what, const char *value)
{
	fprintf(stderr, "netpolicy: %s%s%s\nTry: netpolicy --help\n", what, value ? ": " : "",
		value ? value : "");
	return EXIT_USAGE;
}

static bool print_buf(const struct buf *out, FILE *to)
{
	size_t n = buf_len(out);

	return (n == 0 || fwrite(buf_bytes(out).p, 1, n, to) == n) && fflush(to) == 0;
}

/* ---- arguments ---- */

enum { OPT_VIA = 256, OPT_VIA6, OPT_DEV };

static const struct option long_options[] = {
	{ "config", required_argument, NULL, 'c' }, { "json", no_argument, NULL, 'j' },
	{ "via", required_argument, NULL, OPT_VIA }, { "via6", required_argument, NULL, OPT_VIA6 },
	{ "dev", required_argument, NULL, OPT_DEV }, { "help", no_argument, NULL, 'h' },
	{ "version", no_argument, NULL, 'V' }, { NULL, 0, NULL, 0 },
};

static bool parse_via(const char *text, uint8_t family, struct addr *out)
{
	return addr_parse_ip(out, bytes_str(text)) && out->family == family;
}

/* -1: go on; else the exit code. */
static int option_take(int c, struct options *o)
{
	switch (c) {
	case 'c':
		o->config = optarg;
		return -1;
	case 'j':
		o->json = true;
		return -1;
	case OPT_VIA:
		return parse_via(optarg, AF_INET, &o->route.via4) ? -1 :
			usage_error("--via wants an IPv4 address", optarg);
	case OPT_VIA6:
		return parse_via(optarg, AF_INET6, &o->route.via6) ? -1 :
			usage_error("--via6 wants an IPv6 address", optarg);
	case OPT_DEV:
		o->route.dev = optarg;
		return -1;
	case 'h':
		fputs(usage_text, stdout);
		return EXIT_DONE;
	case 'V':
		puts("netpolicy " SLAPENIR_VERSION);
		return EXIT_DONE;
	default:
		fputs("Try: netpolicy --help\n", stderr);
		return EXIT_USAGE;
	}
}

static int options_parse(int argc, char **argv, struct options *o)
{
	int c, code;

	while ((c = getopt_long(argc, argv, "c:jhV", long_options, NULL)) != -1) {
		code = option_take(c, o);
		if (code >= 0)
			return code;
	}
	if (optind == argc)
		return usage_error("a command is missing (render, apply, check, remove, route)",
				   NULL);
	o->command = argv[optind++];
	if (optind < argc)
		return usage_error("one command is enough, not also", argv[optind]);
	return -1;
}

/* ---- configuration to plan ---- */

static size_t sources_count(const struct config *cfg)
{
	size_t n = 0;

	for (size_t i = 0; i < cfg->n_agents; i++)
		n += cfg->agents[i].n_sources;
	return n;
}

static enum err plan_from_config(const struct config *cfg, struct np_plan *plan,
				 char why[NP_WHY_MAX])
{
	struct cidr *sources = calloc(sources_count(cfg) + 1, sizeof(*sources));
	struct np_input in = {
		.interfaces = cfg->gateway.agent_interfaces.items,
		.n_interfaces = cfg->gateway.agent_interfaces.n,
		.sources = sources,
		.tcp_port = cfg->gateway.tproxy.port,
		.dns_port = cfg->gateway.dns.port,
		.mark = cfg->gateway.tproxy.mark,
		.table = cfg->gateway.tproxy.table,
	};
	enum err e;

	if (!sources)
		return ERR_NOMEM;
	for (size_t i = 0; i < cfg->n_agents; i++)
		for (size_t k = 0; k < cfg->agents[i].n_sources; k++)
			sources[in.n_sources++] = cfg->agents[i].sources[k];
	e = np_plan_build(&in, plan, why);
	free(sources);
	return e;
}

static int plan_load(const struct options *o, struct np_plan *plan)
{
	struct config_error *problems = calloc(1, sizeof(*problems));
	struct config *cfg = problems ? config_load_file(o->config, problems) : NULL;
	char why[NP_WHY_MAX] = "";
	enum err e;

	if (!cfg) {
		if (problems)
			config_error_print(problems, stderr);
		free(problems);
		return EXIT_USAGE;
	}
	e = plan_from_config(cfg, plan, why);
	if (e != ERR_OK)
		fprintf(stderr, "%s: %s\n", o->config, why[0] ? why : err_text(e));
	config_free(cfg);
	free(problems);
	if (e == ERR_OK)
		return EXIT_DONE;
	return e == ERR_CONFIG ? EXIT_USAGE : EXIT_FAILED;
}

/* ---- commands ---- */

static int report_print(const struct options *o, const struct np_report *report, const char *done)
{
	size_t drift = np_report_count(report, NP_DRIFT),
	       failures = np_report_count(report, NP_FAILURE);
	struct buf out, err;
	enum err e;
	bool ok;

	buf_init(&out, OUTPUT_MAX);
	buf_init(&err, OUTPUT_MAX);
	if (o->json) {
		e = np_report_json(report, &out);
	} else {
		e = np_report_text(report, NP_NOTE, &err);
		if (e == ERR_OK)
			e = np_report_text(report, NP_FAILURE, &err);
		if (e == ERR_OK)
			e = np_report_text(report, NP_DRIFT, &out);
		if (e == ERR_OK && !drift && !failures)
			e = buf_printf(&out, "%s\n", done);
	}
	ok = e == ERR_OK && print_buf(&err, stderr) && print_buf(&out, stdout);
	buf_release(&out);
	buf_release(&err);
	if (!ok || failures)
		return EXIT_FAILED;
	return drift ? EXIT_DRIFT : EXIT_DONE;
}

static int command_render(const struct options *o, const struct np_plan *plan)
{
	struct buf out;
	enum err e;
	bool ok;

	buf_init(&out, OUTPUT_MAX);
	e = o->json ? np_render_json(plan, &out) : np_render_text(plan, &out);
	ok = e == ERR_OK && print_buf(&out, stdout);
	buf_release(&out);
	if (!ok)
		fputs("netpolicy: the plan could not be written\n", stderr);
	return ok ? EXIT_DONE : EXIT_FAILED;
}

static int command_kernel(const struct options *o, const struct np_plan *plan,
			  void (*run)(const struct np_plan *, struct np_report *), const char *done)
{
	struct np_report report = { 0 };
	int code;

	run(plan, &report);
	code = report_print(o, &report, done);
	np_report_release(&report);
	return code;
}

static int command_route(const struct options *o)
{
	struct np_report report = { 0 };
	struct buf out;
	int code = EXIT_FAILED;

	buf_init(&out, OUTPUT_MAX);
	if (o->route.via4.family || o->route.via6.family) {
		np_agent_route_set(&o->route, &report);
		code = report_print(o, &report, "done: the gateway is the only default route");
	} else if (o->route.dev) {
		code = usage_error("--dev goes with --via or --via6", NULL);
	} else if (np_agent_route_show(o->json, &out, &report) == ERR_OK) {
		if (np_report_count(&report, NP_FAILURE))
			code = report_print(o, &report, "");
		else
			code = print_buf(&out, stdout) ? EXIT_DONE : EXIT_FAILED;
	}
	buf_release(&out);
	np_report_release(&report);
	return code;
}

static int command_run(const struct options *o)
{
	static const struct {
		const char *name;
		void (*run)(const struct np_plan *, struct np_report *);
		const char *done;
	} commands[] = {
		{ "render", NULL, NULL },
		{ "apply", np_apply, "done: the policy is in force" },
		{ "check", np_check, "no drift: the kernel is as planned" },
		{ "remove", np_remove, "done: the policy is gone, forwarding stays off" },
	};
	struct np_plan plan;
	int code;

	if (strcmp(o->command, "route") == 0)
		return command_route(o);
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
		if (strcmp(o->command, commands[i].name) != 0)
			continue;
		if (o->route.via4.family || o->route.via6.family || o->route.dev)
			return usage_error("--via, --via6 and --dev belong to route, not to",
					   o->command);
		code = plan_load(o, &plan);
		if (code != EXIT_DONE)
			return code;
		code = commands[i].run ? command_kernel(o, &plan, commands[i].run, commands[i].done)
				       : command_render(o, &plan);
		np_plan_release(&plan);
		return code;
	}
	return usage_error("no such command", o->command);
}

int main(int argc, char **argv)
{
	struct options o = { .config = CONFIG_DEFAULT };
	int code = options_parse(argc, argv, &o);

	return code >= 0 ? code : command_run(&o);
}
