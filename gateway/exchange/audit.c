/*
 * audit.c - one line per exchange, and one per secret that stood in the wrong place
 */
#include "gateway/exchange/exchange_internal.h"

#define NAME_MAX_SHOWN 64

static size_t names_of(const struct exchange *x, const unsigned *list, size_t n,
		       char text[][NAME_MAX_SHOWN], const char **names)
{
	for (size_t i = 0; i < n; i++) {
		struct secret s = secret_get(x->env->secrets, list[i]);

		if (!bytes_to_str(bytes_first(s.name, NAME_MAX_SHOWN - 1), text[i], NAME_MAX_SHOWN))
			text[i][0] = '\0';
		names[i] = text[i];
	}
	return n;
}

static const char *decision_of(enum err e)
{
	if (e == ERR_OK)
		return "allow";
	return err_class(e) == ERR_CLASS_POLICY ? "deny" : "error";
}

static void fill_common(const struct exchange *x, struct observe_event *ev)
{
	ev->flow = x->flow->id;
	ev->agent = bytes_str(policy_agent_name(x->env->policy, x->flow->agent));
	ev->host = bytes_str(x->target.host);
	ev->address = x->facts.address.family ? &x->facts.address : &x->flow->original;
	ev->port = x->flow->original.port;
	ev->protocol = "h1";
	ev->method = bytes_str(x->method);
	ev->path = bytes_str(x->path);
	ev->rule = x->rule;
}

static void audit_misplaced(struct exchange *x)
{
	char text[EXCHANGE_NAMES_MAX][NAME_MAX_SHOWN];
	const char *names[EXCHANGE_NAMES_MAX];
	struct observe_event ev = OBSERVE_EVENT_INIT("token.misplaced");

	fill_common(x, &ev);
	ev.secrets = names;
	ev.n_secrets = names_of(x, x->misplaced, x->n_misplaced, text, names);
	ev.decision = "allow";
	ev.reason = err_name(ERR_SECRET_MISPLACED);
	x->env->audit(x->env->audit_owner, &ev);
	observe_add(x->env->counters, OBSERVE_tokens_misplaced_total, x->n_misplaced);
}

static void count(const struct exchange *x)
{
	struct observe_slot *c = x->env->counters;

	observe_add(c, OBSERVE_exchanges_total, 1);
	if (x->reason == ERR_SECRET_LEAK)
		observe_add(c, OBSERVE_secret_leaks_total, 1);
	if (err_class(x->reason) == ERR_CLASS_POLICY)
		observe_add(c, OBSERVE_exchanges_denied_total, 1);
	else if (x->reason != ERR_OK)
		observe_add(c, OBSERVE_exchanges_failed_total, 1);
	if (x->facts.reused)
		observe_add(c, OBSERVE_upstream_reused_total, 1);
}

void exchange_audit(struct exchange *x)
{
	char text[EXCHANGE_NAMES_MAX][NAME_MAX_SHOWN];
	const char *names[EXCHANGE_NAMES_MAX];
	struct observe_event ev = OBSERVE_EVENT_INIT(x->reason == ERR_SECRET_LEAK ? "secret.leak"
										  : "exchange");

	count(x);
	if (x->n_misplaced)
		audit_misplaced(x);
	fill_common(x, &ev);
	ev.status = x->status ? (int64_t)x->status : OBSERVE_NONE;
	ev.bytes_up = (int64_t)x->bytes_up;
	ev.bytes_down = (int64_t)x->bytes_down;
	ev.secrets = names;
	ev.n_secrets = names_of(x, x->used, x->n_used, text, names);
	ev.redactions = (int64_t)x->redactions;
	ev.decision = decision_of(x->reason);
	ev.reason = x->reason == ERR_OK ? NULL : err_name(x->reason);
	ev.duration_us = (int64_t)(time_mono_us() - x->begun_us);
	ev.phases_us[OBSERVE_PEEK] = x->flow->peek_us;
	ev.phases_us[OBSERVE_RESOLVE] = x->facts.resolve_us;
	ev.phases_us[OBSERVE_CONNECT] = x->facts.connect_us;
	ev.phases_us[OBSERVE_TLS] = x->facts.tls_us;
	ev.phases_us[OBSERVE_FIRST_BYTE] = x->first_byte_us;
	x->env->audit(x->env->audit_owner, &ev);
}
