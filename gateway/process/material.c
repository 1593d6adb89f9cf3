/*
 * material.c - everything one generation of workers needs, loaded and checked before any is started
 *
 * configuration -> secrets -> policy -> trust, CA, resolver, own addresses -> job, area, buckets.
 * Any error means that nothing of it is used: at start the gateway ends with status 2, at reload
 * the old generation stays. The CA's private key is opened here and read by the minter only.
 */
#include "gateway/process/process_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#define PEM_MAX (16u << 20)
#define SMALL_FILE_MAX (1u << 20)
#define CERT_PATH_MAX 4096

/* What goes into the job, while it is gathered. */
struct gather {
	struct config *cfg;
	struct findings *f;
	struct buf trust, ca_chain, resolv_conf, servers, hosts, own;
	char ca_cert[CERT_PATH_MAX], ca_key[CERT_PATH_MAX];
};

static void gather_init(struct gather *g, struct config *cfg, struct findings *f)
{
	g->cfg = cfg;
	g->f = f;
	buf_init(&g->trust, PEM_MAX + 16384);
	buf_init(&g->ca_chain, SMALL_FILE_MAX + 16384);
	buf_init(&g->resolv_conf, SMALL_FILE_MAX + 16384);
	buf_init(&g->servers, 65536);
	buf_init(&g->hosts, SMALL_FILE_MAX + 16384);
	buf_init(&g->own, SMALL_FILE_MAX);
}

static void gather_release(struct gather *g)
{
	buf_release(&g->trust);
	buf_release(&g->ca_chain);
	buf_release(&g->resolv_conf);
	buf_release(&g->servers);
	buf_release(&g->hosts);
	buf_release(&g->own);
}

static enum err gather_trust(struct gather *g)
{
	static const char *const system_files[] = {
		"/etc/ssl/certs/ca-certificates.crt",
		"/etc/pki/tls/certs/ca-bundle.crt",
		"/etc/ssl/cert.pem",
	};
	char why[SECRET_WHY_MAX];

	if (g->cfg->tls.upstream_trust) {
		enum err e = settings_read_file(g->cfg->tls.upstream_trust, PEM_MAX, &g->trust,
						why);

		if (e != ERR_OK)
			findings_add(g->f, true, "tls.upstream_trust", why);
		return e;
	}
	for (size_t i = 0; i < ARRAY_SIZE(system_files); i++)
		if (access(system_files[i], R_OK) == 0 &&
		    settings_read_file(system_files[i], PEM_MAX, &g->trust, why) == ERR_OK)
			return ERR_OK;
	findings_add(g->f, true, "tls.upstream_trust",
		     "system: no certificate bundle found (package ca-certificates)");
	return ERR_IO;
}

/* CERT_PATH names a directory and goes before tls.ca, as an environment does before a file. */
static enum err gather_ca(struct gather *g)
{
	const char *dir = getenv("CERT_PATH");
	const char *cert = g->cfg->tls.ca.certificate, *key = g->cfg->tls.ca.key;
	char why[SECRET_WHY_MAX];
	enum err e;

	if (dir && dir[0]) {
		snprintf(g->ca_cert, sizeof(g->ca_cert), "%.4000s/interception.crt", dir);
		snprintf(g->ca_key, sizeof(g->ca_key), "%.4000s/interception.key", dir);
	} else {
		snprintf(g->ca_cert, sizeof(g->ca_cert), "%s", cert);
		snprintf(g->ca_key, sizeof(g->ca_key), "%s", key);
	}
	e = settings_read_file(g->ca_cert, SMALL_FILE_MAX, &g->ca_chain, why);
	if (e != ERR_OK)
		findings_add(g->f, true, "tls.ca.certificate", why);
	return e;
}

static enum err gather_resolver(struct gather *g)
{
	char why[SECRET_WHY_MAX];

	/* Both may be missing: then there is no such server and no such host. */
	if (g->cfg->gateway.dns.system && access("/etc/resolv.conf", R_OK) == 0)
		(void)!settings_read_file("/etc/resolv.conf", SMALL_FILE_MAX, &g->resolv_conf, why);
	if (g->cfg->gateway.dns.system && access("/etc/hosts", R_OK) == 0)
		(void)!settings_read_file("/etc/hosts", SMALL_FILE_MAX, &g->hosts, why);
	TRY(settings_dns_servers(g->cfg, buf_bytes(&g->resolv_conf), &g->servers));
	return settings_own_addresses(&g->own);
}

static enum err check_identity(const struct gather *g)
{
	if (g->cfg->identity.present && g->cfg->identity.mtls == CONFIG_MTLS_REQUIRED) {
		findings_add(g->f, true, "identity.mtls",
			     "required needs slapenir-link, which is not part of this version; "
			     "set off");
		return ERR_CONFIG;
	}
	if (!g->cfg->identity.present)
		findings_add(g->f, false, "identity",
			     "not configured: agents are known by their addresses only");
	return ERR_OK;
}

static enum err check_policy(const struct gather *g)
{
	struct policy *p = settings_policy(g->cfg, NULL, 0);

	if (!p)
		findings_add(g->f, true, "egress", "the rules cannot be compiled");
	policy_free(p);
	return p ? ERR_OK : ERR_CONFIG;
}

static enum err make_job(struct gather *g, uint32_t page_slots, int *fd)
{
	struct bytes sections[JOB_SECTIONS] = {
		[JOB_CONFIG] = g->cfg->text,
		[JOB_CONFIG_NAME] = bytes_str(g->cfg->file),
		[JOB_TRUST] = buf_bytes(&g->trust),
		[JOB_CA_CHAIN] = buf_bytes(&g->ca_chain),
		[JOB_DNS_SERVERS] = buf_bytes(&g->servers),
		[JOB_HOSTS] = buf_bytes(&g->hosts),
		[JOB_OWN_ADDRESSES] = buf_bytes(&g->own),
	};
	struct job_head head = {
		.page_slots = page_slots,
		.leaf_lifetime_s = (uint32_t)(g->cfg->tls.leaf_lifetime_ms / 1000),
	};
	uid_t uid;
	gid_t gid;

	if (!settings_account(g->cfg, &uid, &gid)) {
		findings_add(g->f, true, "gateway.user", "no such account");
		return ERR_CONFIG;
	}
	if (geteuid() == 0 && (uid == 0 || gid == 0)) {
		findings_add(g->f, true, "gateway.user", "must not be root nor in root's group");
		return ERR_CONFIG;
	}
	head.uid = uid;
	head.gid = gid;
	*fd = job_make(&head, sections);
	return *fd >= 0 ? ERR_OK : ERR_IO;
}

static enum err open_key(struct gather *g, int *fd)
{
	char why[SECRET_WHY_MAX];

	*fd = open(g->ca_key, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (*fd >= 0)
		return ERR_OK;
	snprintf(why, sizeof(why), "%.180s: %s", g->ca_key, strerror(errno));
	findings_add(g->f, true, "tls.ca.key", why);
	return ERR_IO;
}

static enum err make_buckets(struct material *m)
{
	void *p;

	m->buckets_size = (m->cfg->n_agents + 1) * sizeof(struct policy_bucket);
	p = shared_make("slapenir-buckets", m->buckets_size, &m->buckets_fd);
	if (!p)
		return ERR_IO;
	return shared_close(p, m->buckets_size);
}

static enum err gather_all(struct gather *g)
{
	enum err identity = check_identity(g), policy = check_policy(g);
	enum err trust = gather_trust(g), ca = gather_ca(g);

	/* Each has said what is wrong: a person sees all of it at once. */
	TRY(identity);
	TRY(policy);
	TRY(trust);
	TRY(ca);
	return gather_resolver(g);
}

static struct config *load_config(const char *path, struct findings *f)
{
	struct config_error *problems = calloc(1, sizeof(*problems));
	char text[CONFIG_PROBLEM_TEXT_MAX];
	struct config *cfg;

	if (!problems)
		return NULL;
	cfg = config_load_file(path, problems);
	for (size_t i = 0; !cfg && i < problems->n; i++)
		findings_add(f, true, "",
			     config_problem_text(problems->file, &problems->problems[i], text));
	if (!cfg && problems->total > problems->n)
		findings_add(f, true, path, "more problems follow");
	if (!cfg && f->errors == 0)
		findings_add(f, true, path, "cannot be read");
	for (size_t i = 0; cfg && i < cfg->n_warnings; i++)
		findings_add(f, false, "", config_problem_text(cfg->file, &cfg->warnings[i], text));
	free(problems);
	return cfg;
}

enum err material_load(struct material *m, const char *path, struct secret_vault *vault,
		       uint32_t page_slots, struct findings *f)
{
	enum err e, secrets;
	struct gather g;

	*m = MATERIAL_NONE;
	m->cfg = load_config(path, f);
	if (!m->cfg)
		return ERR_CONFIG;
	m->n_workers = settings_workers(m->cfg);
	gather_init(&g, m->cfg, f);
	e = gather_all(&g);
	secrets = tokens_area_make(m->cfg, vault, f, &m->area);
	if (e == ERR_OK)
		e = secrets;
	if (e == ERR_OK)
		e = open_key(&g, &m->key_fd);
	if (e == ERR_OK)
		e = make_job(&g, page_slots, &m->job_fd);
	if (e == ERR_OK)
		e = make_buckets(m);
	gather_release(&g);
	if (e != ERR_OK && f->errors == 0)
		findings_add(f, true, "", err_text(e));
	if (e != ERR_OK)
		material_release(m);
	return e;
}

void material_release(struct material *m)
{
	config_free(m->cfg);
	secret_area_wipe(&m->area);
	if (m->job_fd >= 0)
		close(m->job_fd);
	if (m->key_fd >= 0)
		close(m->key_fd);
	if (m->buckets_fd >= 0)
		close(m->buckets_fd);
	*m = MATERIAL_NONE;
}
