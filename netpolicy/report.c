/*
 * report.c - findings, and how they are told
 *
 * check, apply, remove and route collect what they have to say here and never print themselves. A
 * finding that could not be kept for want of memory is not forgotten: `lost` makes the report count
 * as a failure.
 */
#include <errno.h>
#include <stdlib.h>

#include "netpolicy/kernel_internal.h"

static bool report_grow(struct np_report *report)
{
	size_t cap = report->cap ? report->cap * 2 : 16;
	struct np_finding *items = realloc(report->items, cap * sizeof(*items));

	if (!items)
		return false;
	report->items = items;
	report->cap = cap;
	return true;
}

void np_report_add(struct np_report *report, enum np_finding_kind kind, const char *object,
		   const char *expected, const char *fmt, ...)
{
	struct np_finding f = { .kind = kind };
	va_list args;
	int n;

	va_start(args, fmt);
	n = vasprintf(&f.found, fmt, args);
	va_end(args);
	if (n < 0)
		f.found = NULL;
	f.object = strdup(object);
	f.expected = strdup(expected);
	if (f.found && f.object && f.expected && (report->n < report->cap || report_grow(report))) {
		report->items[report->n++] = f;
		return;
	}
	free(f.found);
	free(f.object);
	free(f.expected);
	report->lost = true;
}

void np_report_errno(struct np_report *report, const char *object, int code, const char *detail)
{
	if (code == EPERM || code == EACCES)
		np_report_add(report, NP_FAILURE, object, "",
			      "%s%s%s (this needs root or CAP_NET_ADMIN in this network namespace)",
			      strerror(code), detail[0] ? ": " : "", detail);
	else
		np_report_add(report, NP_FAILURE, object, "", "%s%s%s", strerror(code),
			      detail[0] ? ": " : "", detail);
}

void np_report_release(struct np_report *report)
{
	for (size_t i = 0; i < report->n; i++) {
		free(report->items[i].object);
		free(report->items[i].expected);
		free(report->items[i].found);
	}
	free(report->items);
	memset(report, 0, sizeof(*report));
}

size_t np_report_count(const struct np_report *report, enum np_finding_kind kind)
{
	size_t n = kind == NP_FAILURE && report->lost;

	for (size_t i = 0; i < report->n; i++)
		n += report->items[i].kind == kind;
	return n;
}

enum err np_report_text(const struct np_report *report, enum np_finding_kind kind, struct buf *out)
{
	static const char *const labels[] = { "drift", "error", "note" };

	for (size_t i = 0; i < report->n; i++) {
		const struct np_finding *f = &report->items[i];

		if (f->kind != kind)
			continue;
		if (f->expected[0])
			TRY(buf_printf(out, "%s: %s: expected %s, found %s\n", labels[kind],
				       f->object, f->expected, f->found));
		else
			TRY(buf_printf(out, "%s: %s: %s\n", labels[kind], f->object, f->found));
	}
	if (kind == NP_FAILURE && report->lost)
		return buf_append_str(out, "error: out of memory, there was more to say\n");
	return ERR_OK;
}

static enum err json_list(const struct np_report *report, enum np_finding_kind kind,
			  struct buf *out)
{
	const char *comma = "";

	for (size_t i = 0; i < report->n; i++) {
		const struct np_finding *f = &report->items[i];

		if (f->kind != kind)
			continue;
		TRY(buf_printf(out, "%s{\"object\":", comma));
		TRY(json_append_string(out, bytes_str(f->object)));
		TRY(buf_append_str(out, ",\"expected\":"));
		TRY(json_append_string(out, bytes_str(f->expected)));
		TRY(buf_append_str(out, ",\"found\":"));
		TRY(json_append_string(out, bytes_str(f->found)));
		TRY(buf_append_str(out, "}"));
		comma = ",";
	}
	return ERR_OK;
}

enum err np_report_json(const struct np_report *report, struct buf *out)
{
	bool ok = np_report_count(report, NP_DRIFT) == 0 &&
		  np_report_count(report, NP_FAILURE) == 0;

	TRY(buf_printf(out, "{\"ok\":%s,\"drift\":[", ok ? "true" : "false"));
	TRY(json_list(report, NP_DRIFT, out));
	TRY(buf_append_str(out, "],\"failures\":["));
	TRY(json_list(report, NP_FAILURE, out));
	TRY(buf_append_str(out, "],\"notes\":["));
	TRY(json_list(report, NP_NOTE, out));
	return buf_append_str(out, "]}\n");
}
