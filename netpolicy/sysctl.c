/*
 * sysctl.c - kernel settings below /proc/sys: written only where they differ
 *
 * A `*` in a path stands for every interface there is right now. Containers often see /proc/sys
 * read-only: where the value is right already that is no obstacle; where it is wrong it is a
 * failure that says so, or a note if the rules drop what the setting is about anyway.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "netpolicy/kernel_internal.h"

#define PROC_SYS "/proc/sys/"

typedef void sysctl_fn(const struct np_sysctl *s, const char *path, struct np_report *report);

/* 0 or an errno; `value` without the newline. */
static int value_read(const char *path, char *value, size_t cap)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;
	int code;

	if (fd < 0)
		return errno;
	n = read(fd, value, cap - 1);
	code = n < 0 ? errno : 0;
	close(fd);
	if (code)
		return code;
	value[n] = '\0';
	value[strcspn(value, "\n")] = '\0';
	return 0;
}

static int value_write(const char *path, const char *value)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	ssize_t n;
	int code;

	if (fd < 0)
		return errno;
	n = write(fd, value, strlen(value));
	code = n < 0 ? errno : n == (ssize_t)strlen(value) ? 0 : EIO;
	if (close(fd) < 0 && !code)
		code = errno;
	return code;
}

/* The name people know: "sysctl net/ipv4/ip_forward". */
static const char *object_name(const char *path, char dst[160])
{
	snprintf(dst, 160, "sysctl %s", path + strlen(PROC_SYS));
	return dst;
}

static bool may_be_absent(const struct np_sysctl *s, int code)
{
	return code == ENOENT && s->optional;
}

/* Wrong, and nobody here can set it right. */
static void read_only(const struct np_sysctl *s, const char *path, const char *value,
		      struct np_report *report)
{
	char object[160];

	np_report_add(report, s->covered ? NP_NOTE : NP_FAILURE, object_name(path, object), "",
		      "/proc/sys is read-only here and the value is %s, not %s%s", value, s->value,
		      s->covered ? "; the rules hold without it" : "");
}

static bool is_read_only(const char *path)
{
	return access(path, W_OK) < 0 && errno == EROFS;
}

static void one_apply(const struct np_sysctl *s, const char *path, struct np_report *report)
{
	char value[64], object[160], detail[96];
	int code = value_read(path, value, sizeof(value));

	if (may_be_absent(s, code) || (code == 0 && strcmp(value, s->value) == 0))
		return;
	if (code == 0)
		code = value_write(path, s->value);
	if (code == 0)
		return;
	snprintf(detail, sizeof(detail), "setting it to %s", s->value);
	if (code == ENOENT)
		np_report_add(report, NP_FAILURE, object_name(path, object), "",
			      "not there (does the interface exist?)");
	else if (code == EROFS)
		read_only(s, path, value, report);
	else
		np_report_errno(report, object_name(path, object), code, detail);
}

static void one_check(const struct np_sysctl *s, const char *path, struct np_report *report)
{
	char value[64], object[160];
	int code = value_read(path, value, sizeof(value));

	if (may_be_absent(s, code))
		return;
	object_name(path, object);
	if (code == ENOENT)
		np_report_add(report, NP_DRIFT, object, s->value,
			      "nothing (does the interface exist?)");
	else if (code)
		np_report_errno(report, object, code, "");
	else if (strcmp(value, s->value) != 0 && s->covered && is_read_only(path))
		read_only(s, path, value, report);
	else if (strcmp(value, s->value) != 0)
		np_report_add(report, NP_DRIFT, object, s->value, "%s (%s)", value, s->why);
}

/* For each interface in place of the `*`; one that goes away meanwhile is no finding. */
static void each_interface(const struct np_sysctl *s, const char *star, struct np_report *report,
			   sysctl_fn *fn)
{
	struct np_sysctl one = *s;
	char dir[128], path[384];
	struct dirent *entry;
	DIR *d;

	snprintf(dir, sizeof(dir), PROC_SYS "%.*s", (int)(star - s->path), s->path);
	d = opendir(dir);
	if (!d) {
		if (!may_be_absent(s, errno))
			np_report_errno(report, dir, errno, "");
		return;
	}
	one.optional = true;
	while ((entry = readdir(d)) != NULL) {
		if (entry->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "%s%s%s", dir, entry->d_name, star + 1);
		fn(&one, path, report);
	}
	closedir(d);
}

static void each(const struct np_plan *plan, struct np_report *report, bool forwarding_only,
		 sysctl_fn *fn)
{
	char path[160];

	for (size_t i = 0; i < plan->n_sysctls; i++) {
		const struct np_sysctl *s = &plan->sysctls[i];
		const char *star = strchr(s->path, '*');

		if (forwarding_only && !strstr(s->path, "forward"))
			continue;
		if (star) {
			each_interface(s, star, report, fn);
			continue;
		}
		snprintf(path, sizeof(path), PROC_SYS "%s", s->path);
		fn(s, path, report);
	}
}

void np_sysctl_apply(const struct np_plan *plan, struct np_report *report)
{
	each(plan, report, false, one_apply);
}

void np_sysctl_check(const struct np_plan *plan, struct np_report *report)
{
	each(plan, report, false, one_check);
}

void np_sysctl_close(const struct np_plan *plan, struct np_report *report)
{
	each(plan, report, true, one_apply);
}
