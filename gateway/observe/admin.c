/*
 * admin.c - health, metrics and status over one small HTTP request
 *
 * One request per connection, the response says Connection: close. The endpoint reads and never
 * changes anything; whoever may connect to its socket may know all it says. Requests come from the
 * operator's side only, yet are parsed as if from anyone: a bounded head, a method, a path.
 */
#include "gateway/observe/observe_internal.h"

#define BODY_MAX (256 * 1024)

struct response {
	const char *status;
	const char *type;
	struct buf body;
};

#define TYPE_TEXT "text/plain; charset=utf-8"
#define TYPE_JSON "application/json"
#define TYPE_METRICS "text/plain; version=0.0.4; charset=utf-8"

static enum err put_key_str(struct buf *out, const char *key, const char *value)
{
	TRY(buf_append_str(out, key));
	return json_append_string(out, bytes_str(value));
}

static enum err put_key_u64(struct buf *out, const char *key, uint64_t value)
{
	TRY(buf_append_str(out, key));
	return observe_put_u64(out, value);
}

static enum err put_process(struct buf *out, const struct observe_process *p)
{
	TRY(put_key_str(out, "{\"role\":", p->role));
	TRY(buf_append(out, BYTES_LIT(",\"pid\":")));
	TRY(observe_put_i64(out, p->pid));
	TRY(put_key_str(out, ",\"state\":", p->state));
	TRY(put_key_u64(out, ",\"restarts\":", p->restarts));
	TRY(put_key_u64(out, ",\"up_s\":", p->up_s));
	return buf_append(out, BYTES_LIT("}"));
}

static enum err respond_status(const struct observe_admin *admin, struct response *r)
{
	struct buf *out = &r->body;

	r->type = TYPE_JSON;
	TRY(put_key_str(out, "{\"version\":", admin->version));
	TRY(buf_append_str(out, admin->healthy ? ",\"healthy\":true" : ",\"healthy\":false"));
	TRY(put_key_u64(out, ",\"up_s\":", admin->up_s));
	TRY(put_key_u64(out, ",\"generation\":", admin->generation));
	TRY(buf_append(out, BYTES_LIT(",\"processes\":[")));
	for (size_t i = 0; i < admin->n_processes; i++) {
		if (i)
			TRY(buf_append(out, BYTES_LIT(",")));
		TRY(put_process(out, &admin->processes[i]));
	}
	TRY(buf_append(out, BYTES_LIT("],\"counters\":")));
	TRY(observe_counters_json(admin->page, out));
	return buf_append(out, BYTES_LIT("}\n"));
}

static enum err respond_health(const struct observe_admin *admin, struct response *r)
{
	if (!admin->healthy)
		r->status = "503 Service Unavailable";
	return buf_append_str(&r->body, admin->healthy ? "ok\n" : "not ready\n");
}

static enum err respond_metrics(const struct observe_admin *admin, struct response *r)
{
	r->type = TYPE_METRICS;
	TRY(buf_printf(&r->body,
		       "# HELP slapenir_healthy every process is up\n"
		       "# TYPE slapenir_healthy gauge\nslapenir_healthy %d\n",
		       admin->healthy ? 1 : 0));
	return observe_counters_text(admin->page, &r->body);
}

static const struct {
	const char *path;
	enum err (*respond)(const struct observe_admin *admin, struct response *r);
} routes[] = {
	{ "/healthz", respond_health },
	{ "/metrics", respond_metrics },
	{ "/status", respond_status },
};

static enum err respond_error(struct response *r, const char *status)
{
	r->status = status;
	TRY(buf_append_str(&r->body, status));
	return buf_append(&r->body, BYTES_LIT("\n"));
}

/* Fills in `r` from the request line. */
static enum err route(struct bytes line, const struct observe_admin *admin, struct response *r,
		      bool *head)
{
	size_t sp = bytes_index(line, ' ');
	struct bytes method = bytes_first(line, sp);
	struct bytes path = bytes_from(line, sp + 1);
	struct bytes version;

	sp = bytes_index(path, ' ');
	version = bytes_from(path, sp + 1);
	path = bytes_first(path, sp);
	if (!bytes_starts(version, BYTES_LIT("HTTP/1.")))
		return respond_error(r, "400 Bad Request");
	*head = bytes_eq(method, BYTES_LIT("HEAD"));
	if (!*head && !bytes_eq(method, BYTES_LIT("GET")))
		return respond_error(r, "405 Method Not Allowed");
	path = bytes_first(path, bytes_index(path, '?'));
	for (size_t i = 0; i < ARRAY_SIZE(routes); i++)
		if (bytes_eq(path, bytes_str(routes[i].path)))
			return routes[i].respond(admin, r);
	return respond_error(r, "404 Not Found");
}

/* Length of the head with its empty line; 0 when that has not come yet. Bare LF is fine here. */
static size_t head_length(struct bytes in)
{
	for (size_t i = 1; i < in.n; i++) {
		if (in.p[i] != '\n')
			continue;
		if (in.p[i - 1] == '\n' || (i >= 2 && in.p[i - 1] == '\r' && in.p[i - 2] == '\n'))
			return i + 1;
	}
	return 0;
}

static enum err answer(struct bytes request, const struct observe_admin *admin, struct response *r,
		       struct buf *out)
{
	size_t n = head_length(bytes_first(request, OBSERVE_ADMIN_REQUEST_MAX));
	struct bytes line = bytes_first(request, bytes_index(request, '\n'));
	bool head = false;

	if (n == 0 && request.n < OBSERVE_ADMIN_REQUEST_MAX)
		return ERR_AGAIN;
	if (n == 0)
		TRY(respond_error(r, "431 Request Header Fields Too Large"));
	else
		TRY(route(line, admin, r, &head));
	TRY(buf_printf(out,
		       "HTTP/1.1 %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\n"
		       "Cache-Control: no-store\r\nConnection: close\r\n\r\n",
		       r->status, r->type, buf_len(&r->body)));
	return head ? ERR_OK : buf_append(out, buf_bytes(&r->body));
}

enum err observe_admin_respond(struct bytes request, const struct observe_admin *admin,
			       struct buf *out)
{
	struct response r = { .status = "200 OK", .type = TYPE_TEXT };
	enum err e;

	buf_init(&r.body, BODY_MAX);
	e = answer(request, admin, &r, out);
	buf_release(&r.body);
	return e;
}
