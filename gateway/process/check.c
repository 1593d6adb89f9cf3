/*
 * check.c - slapenir-gateway --check: would it start, and what is worth knowing?
 *
 * Loads exactly what the master would, then also what only children look at: the trust bundle and
 * the CA with its key. Unlike at start, a secret without a value is an error: whoever asks wants to
 * know.
 */
#include "gateway/process/process_internal.h"

#include <stdlib.h>
#include <unistd.h>

#include "gateway/process/process.h"

static void check_trust(const struct job *job, struct findings *f)
{
	enum err e = ERR_OK;
	struct tls_client *c = tls_client_new(job_section(job, JOB_TRUST), &e);
	char text[64];

	if (!c) {
		findings_add(f, true, "tls.upstream_trust", "no usable certificate in it");
		return;
	}
	snprintf(text, sizeof(text), "ok: %zu trusted roots\n", tls_client_roots(c));
	fputs(text, f->out);
	tls_client_free(c);
}

static void check_ca(const struct job *job, int key_fd, struct findings *f)
{
	const char *why = "cannot be read";
	struct tls_minter *minter = NULL;
	struct buf key;

	buf_init_secret(&key, MINTER_KEY_MAX + 16);
	if (minter_read_key(key_fd, &key) == ERR_OK)
		minter = tls_minter_new(job_section(job, JOB_CA_CHAIN), buf_bytes(&key), &why);
	buf_release(&key);
	if (minter)
		fputs("ok: the interception CA can sign\n", f->out);
	else
		findings_add(f, true, "tls.ca", why);
	tls_minter_free(minter);
}

static void check_secrets(const struct material *m, struct findings *f)
{
	const struct area_head *head = area_head(&m->area);
	struct bytes part = head ? area_part(&m->area, &head->store) : BYTES_NONE;
	const struct secret_store *store = secret_store_open(part.p, part.n);
	unsigned missing = 0;

	if (!store) {
		findings_add(f, true, "secrets", err_text(ERR_INTERNAL));
		return;
	}
	for (unsigned i = 0; i < secret_store_count(store); i++)
		missing += !secret_get(store, i).resolved;
	if (missing)
		findings_add(f, true, "secrets", "some have no value (see above)");
	else
		fprintf(f->out, "ok: %u secrets have values\n", secret_store_count(store));
}

int process_check_run(const char *config_path)
{
	struct findings f = { .out = stdout };
	struct secret_vault vault;
	struct material m;
	struct job job;

	if (tls_global_init() != ERR_OK || secret_vault_init(&vault) != ERR_OK)
		return 1;
	if (material_load(&m, config_path, &vault, 1, &f) == ERR_OK) {
		fprintf(stdout, "ok: %s: %zu agents, %zu rules, %u workers\n", config_path,
			m.cfg->n_agents, m.cfg->egress.n_rules, m.n_workers);
		check_secrets(&m, &f);
		if (job_open(&job, dup(m.job_fd)) == ERR_OK) {
			check_trust(&job, &f);
			check_ca(&job, m.key_fd, &f);
			job_close(&job);
		}
		material_release(&m);
	}
	secret_vault_wipe(&vault);
	if (geteuid() != 0 && !sandbox_has_net_admin())
		findings_add(&f, false, "",
			     "not root: the gateway itself needs CAP_NET_ADMIN to start");
	fprintf(stdout, "%u errors, %u warnings\n", f.errors, f.warnings);
	tls_global_cleanup();
	return f.errors ? 2 : 0;
}
