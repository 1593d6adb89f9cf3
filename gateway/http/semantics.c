/* semantics.c - what values mean, whichever version carried them (RFC 9110) */
#include "gateway/http/http_internal.h"

#include <stdlib.h>

void http_request_reset(struct http_request *req)
{
	struct http_fields fields = req->fields;

	fields.n = 0;
	*req = (struct http_request){ .fields = fields };
}

void http_response_reset(struct http_response *resp)
{
	struct http_fields fields = resp->fields;

	fields.n = 0;
	*resp = (struct http_response){ .fields = fields };
}

void http_request_release(struct http_request *req)
{
	http_fields_release(&req->fields);
	*req = (struct http_request){ 0 };
}

void http_response_release(struct http_response *resp)
{
	http_fields_release(&resp->fields);
	*resp = (struct http_response){ 0 };
}

const char *http_status_reason(unsigned status)
{
	static const struct {
		unsigned status;
		const char *reason;
	} table[] = {
		{ 100, "Continue" }, { 101, "Switching Protocols" }, { 103, "Early Hints" },
		{ 200, "OK" }, { 201, "Created" }, { 202, "Accepted" },
		{ 203, "Non-Authoritative Information" }, { 204, "No Content" },
		{ 205, "Reset Content" }, { 206, "Partial Content" }, { 207, "Multi-Status" },
		{ 300, "Multiple Choices" }, { 301, "Moved Permanently" }, { 302, "Found" },
		{ 303, "See Other" }, { 304, "Not Modified" }, { 307, "Temporary Redirect" },
		{ 308, "Permanent Redirect" }, { 400, "Bad Request" }, { 401, "Unauthorized" },
		{ 402, "Payment Required" }, { 403, "Forbidden" }, { 404, "Not Found" },
		{ 405, "Method Not Allowed" }, { 406, "Not Acceptable" },
		{ 407, "Proxy Authentication Required" }, { 408, "Request Timeout" },
		{ 409, "Conflict" }, { 410, "Gone" }, { 411, "Length Required" },
		{ 412, "Precondition Failed" }, { 413, "Content Too Large" },
		{ 414, "URI Too Long" }, { 415, "Unsupported Media Type" },
		{ 416, "Range Not Satisfiable" }, { 417, "Expectation Failed" },
		{ 418, "I'm a Teapot" }, { 421, "Misdirected Request" },
		{ 422, "Unprocessable Content" }, { 425, "Too Early" },
		{ 426, "Upgrade Required" }, { 428, "Precondition Required" },
		{ 429, "Too Many Requests" }, { 431, "Request Header Fields Too Large" },
		{ 451, "Unavailable For Legal Reasons" }, { 500, "Internal Server Error" },
		{ 501, "Not Implemented" }, { 502, "Bad Gateway" },
		{ 503, "Service Unavailable" }, { 504, "Gateway Timeout" },
		{ 505, "HTTP Version Not Supported" }, { 507, "Insufficient Storage" },
		{ 511, "Network Authentication Required" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(table); i++)
		if (table[i].status == status)
			return table[i].reason;
	return "";
}

bool http_has_body(unsigned status, struct bytes request_method)
{
	if (status < 200 || status == 204 || status == 304)
		return false;
	if (bytes_eq(request_method, BYTES_LIT("HEAD")))
		return false;
	return !(bytes_eq(request_method, BYTES_LIT("CONNECT")) && status < 300);
}

bool http_method_idempotent(struct bytes method)
{
	static const char *const list[] = { "GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE" };

	for (size_t i = 0; i < ARRAY_SIZE(list); i++)
		if (bytes_eq(method, bytes_str(list[i])))
			return true;
	return false;
}

bool http_list_next(struct bytes *rest, struct bytes *item)
{
	while (rest->n) {
		size_t comma = bytes_index(*rest, ',');

		*item = bytes_trim(bytes_first(*rest, comma));
		*rest = bytes_from(*rest, comma + 1);
		if (item->n)
			return true;
	}
	return false;
}

bool http_token_list_has(struct bytes value, struct bytes token)
{
	struct bytes item;

	while (http_list_next(&value, &item))
		if (item.n == token.n && bytes_ieq(item, token))
			return true;
	return false;
}

struct bytes http_media_type(struct bytes value)
{
	return bytes_trim(bytes_first(value, bytes_index(value, ';')));
}

bool http_coding_is_identity(const struct http_fields *f)
{
	for (size_t i = 0; i < f->n; i++) {
		struct bytes rest = f->v[i].value, item;

		if (!bytes_ieq(f->v[i].name, BYTES_LIT("content-encoding")))
			continue;
		while (http_list_next(&rest, &item))
			if (!bytes_ieq(item, BYTES_LIT("identity")))
				return false;
	}
	return true;
}

static bool port_parse(struct bytes text, unsigned *port)
{
	uint64_t v;

	if (text.n == 0 || text.n > 5 || text.p[0] == '0' || bytes_to_u64(text, &v) != ERR_OK)
		return false;
	*port = (unsigned)v;
	return v <= 65535;
}

/* "1234", "0x7f": a resolver would take a name that ends so for an IPv4 address. */
static bool label_is_number(struct bytes label)
{
	if (bytes_istarts(label, BYTES_LIT("0x"))) {
		label = bytes_from(label, 2);
		return http_run(label, HTTP_CHAR_HEX) == label.n;
	}
	for (size_t i = 0; i < label.n; i++)
		if (label.p[i] < '0' || label.p[i] > '9')
			return false;
	return true;
}

static bool name_ok(struct bytes name)
{
	struct bytes rest = name, label;
	struct addr a;

	if (name.n > 253)
		return false;
	do {
		size_t dot = bytes_index(rest, '.');

		label = bytes_first(rest, dot);
		if (label.n == 0 || label.n > 63 || http_run(label, HTTP_CHAR_NAME) != label.n)
			return false;
		if (dot + 1 == rest.n)	/* a second trailing dot */
			return false;
		rest = bytes_from(rest, dot + 1);
	} while (rest.n);
	return !label_is_number(label) || addr_parse_ip(&a, name);
}

bool http_host_split(struct bytes authority, struct bytes *host, unsigned *port)
{
	struct bytes rest;
	struct addr a;
	size_t n;

	*port = 0;
	*host = BYTES_NONE;
	if (authority.n == 0)
		return false;
	if (authority.p[0] == '[') {
		n = bytes_index(authority, ']');
		if (n == authority.n)
			return false;
		*host = bytes_of(authority.p + 1, n - 1);
		if (bytes_index(*host, ':') == host->n || !addr_parse_ip(&a, *host))
			return false;
		rest = bytes_from(authority, n + 1);
	} else {
		n = bytes_index(authority, ':');
		*host = bytes_first(authority, n);
		if (host->n > 1 && host->p[host->n - 1] == '.') {
			host->n--;
			if (addr_parse_ip(&a, *host))
				return false;
		}
		if (!name_ok(*host))
			return false;
		rest = bytes_from(authority, n);
	}
	return rest.n == 0 || (rest.p[0] == ':' && port_parse(bytes_from(rest, 1), port));
}
