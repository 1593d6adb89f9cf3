/*
 * main.c - slapenir-gateway: reads the command line, chooses the role, hands over
 *
 * Exit status: 0 done, 1 failed, 2 wrong usage or configuration.
 */
#include <ares.h>
#include <getopt.h>
#include <stdlib.h>
#include <uv.h>

#include "base/base.h"
#include "gateway/process/process.h"
#include "gateway/tls/tls.h"

enum argument {
	OPTION_CONFIG = 1000,
	OPTION_CHECK,
	OPTION_ROLE,
	OPTION_SLOT,
	OPTION_VERSION,
	OPTION_HELP,
};

struct arguments {
	const char *config, *role;
	unsigned slot;
	bool check;
};

static void print_help(FILE *out)
{
	fputs("usage: slapenir-gateway [--config FILE] [--check]\n"
	      "\n"
	      "Gives sandboxed agents a way out that swaps dummy tokens for real ones.\n"
	      "\n"
	      "  --config FILE  configuration (default " PROCESS_CONFIG_DEFAULT ")\n"
	      "  --check        validate configuration, files and secrets, then exit\n"
	      "  --version      print versions, then exit\n"
	      "  --help         print this, then exit\n"
	      "\n"
	      "environment:\n"
	      "  SLAPENIR_LOG   error, warn, info (default), debug or off\n"
	      "  TOKENS_JSON    file with tokens besides those of the configuration\n"
	      "  CERT_PATH      directory with interception.crt and interception.key\n"
	      "\n"
	      "signals: TERM and INT drain and end, HUP reloads, USR1 opens the audit file anew\n"
	      "exit status: 0 done, 1 failed, 2 wrong usage or configuration\n",
	      out);
}

static void print_version(void)
{
	printf("slapenir-gateway %s\n%s\nlibuv %s, c-ares %s\n", SLAPENIR_VERSION,
	       tls_library_text(), uv_version_string(), ares_version(NULL));
}

static bool parse_slot(const char *text, unsigned *slot)
{
	uint64_t n;

	if (bytes_to_u64(bytes_str(text), &n) != ERR_OK || n > 65535)
		return false;
	*slot = (unsigned)n;
	return true;
}

/* -1: go on; else the exit status. */
static int parse(int argc, char **argv, struct arguments *a)
{
	static const struct option options[] = {
		{ "config", required_argument, NULL, OPTION_CONFIG },
		{ "check", no_argument, NULL, OPTION_CHECK },
		{ "role", required_argument, NULL, OPTION_ROLE },
		{ "slot", required_argument, NULL, OPTION_SLOT },
		{ "version", no_argument, NULL, OPTION_VERSION },
		{ "help", no_argument, NULL, OPTION_HELP },
		{ NULL, 0, NULL, 0 },
	};
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c == OPTION_CONFIG)
			a->config = optarg;
		else if (c == OPTION_CHECK)
			a->check = true;
		else if (c == OPTION_ROLE)
			a->role = optarg;
		else if (c == OPTION_VERSION)
			return print_version(), 0;
		else if (c == OPTION_HELP)
			return print_help(stdout), 0;
		else if (c != OPTION_SLOT || !parse_slot(optarg, &a->slot))
			return print_help(stderr), 2;
	}
	if (optind < argc) {
		fprintf(stderr, "slapenir-gateway: unexpected argument: %s\n", argv[optind]);
		return 2;
	}
	return -1;
}

int main(int argc, char **argv)
{
	struct arguments a = { .config = PROCESS_CONFIG_DEFAULT };
	const char *text = getenv("SLAPENIR_LOG");
	enum log_level level = LOG_LEVEL_INFO;
	int status = parse(argc, argv, &a);

	if (status >= 0)
		return status;
	if (text && text[0] && !log_level_parse(text, &level)) {
		fputs("slapenir-gateway: SLAPENIR_LOG must be error, warn, info, debug or off\n",
		      stderr);
		return 2;
	}
	log_init(a.role ? a.role : "master", level);
	if (a.role && strcmp(a.role, "worker") == 0)
		return process_worker_run(a.slot);
	if (a.role && strcmp(a.role, "minter") == 0)
		return process_minter_run();
	if (a.role) {
		fputs("slapenir-gateway: --role is for the gateway's own use\n", stderr);
		return 2;
	}
	return a.check ? process_check_run(a.config) : process_master_run(a.config);
}
