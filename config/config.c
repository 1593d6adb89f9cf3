/*
 * config.c - reading the file, and the steps from its text to struct config
 *
 * Happy path: text -> tree -> structs -> checks, one arena handed to the result.
 * Failure modes: any problem -> NULL with *e filled; nothing is left behind.
 */
#include "config/config_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static bool read_tree(struct reader *r, const struct node *root, struct config *cfg)
{
	config_decode(r, root, cfg);
	if (r->no_memory || r->error->total)
		return false;
	config_check(r, root, cfg);
	return !r->no_memory && !r->error->total;
}

static struct config *read_config(struct reader *r, struct bytes text, const char *file)
{
	struct config *cfg = config_alloc(r, 1, sizeof(*cfg));
	char *copy = config_alloc_str(r, (const char *)text.p, text.n);
	struct config_arena_block *result, *scratch;
	const struct node *root;
	bool ok;

	if (!cfg || !copy)
		return NULL;
	cfg->file = config_alloc_str(r, file, strlen(file));
	cfg->text = bytes_of(copy, text.n);
	/* the tree is not part of the result */
	result = r->arena;
	r->arena = NULL;
	root = config_tree_read(r, text);
	scratch = r->arena;
	r->arena = result;
	ok = root && cfg->file && read_tree(r, root, cfg);
	config_arena_free(scratch);
	return ok ? cfg : NULL;
}

/* `shown` stands in messages, `file` in the result; relative paths start at file's directory. */
static struct config *parse(struct bytes text, const char *shown, const char *file,
			    struct config_error *e)
{
	const char *slash = strrchr(file, '/');
	struct reader r = { .error = e };
	struct config *cfg = NULL;

	memset(e, 0, sizeof(*e));
	snprintf(e->file, sizeof(e->file), "%.255s", shown);
	r.dir = config_alloc_str(&r, file, slash ? (size_t)(slash - file) + 1 : 0);
	if (r.dir)
		cfg = read_config(&r, text, file);
	if (!cfg) {
		if (r.no_memory)
			config_fail_at(&r, 0, 0, "out of memory");
		config_arena_free(r.arena);
		return NULL;
	}
	cfg->warnings = r.warnings;
	cfg->n_warnings = r.n_warnings;
	cfg->arena = r.arena;
	return cfg;
}

struct config *config_parse(struct bytes text, const char *name, struct config_error *e)
{
	return parse(text, name, name, e);
}

void config_free(struct config *cfg)
{
	if (cfg)
		config_arena_free(cfg->arena);
}

/* ---- files -------------------------------------------------------------- */

static struct config *fail_file(const char *path, const char *why, struct config_error *e)
{
	struct reader r = { .error = e };

	memset(e, 0, sizeof(*e));
	snprintf(e->file, sizeof(e->file), "%.255s", path);
	config_fail_at(&r, 0, 0, why);
	return NULL;
}

/* One byte more than may be, so that too much is seen. */
static bool read_all(int fd, char **text, size_t *n)
{
	size_t cap = CONFIG_FILE_MAX + 1;
	ssize_t got;

	*n = 0;
	*text = malloc(cap);
	if (!*text)
		return false;
	while (*n < cap) {
		got = read(fd, *text + *n, cap - *n);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return false;
		if (got == 0)
			return true;
		*n += (size_t)got;
	}
	return true;
}

/* The file keeps its meaning when the process changes its directory. */
static bool absolute_name(const char *path, char dst[PATH_MAX])
{
	char cwd[PATH_MAX];
	int n;

	if (path[0] == '/')
		n = snprintf(dst, PATH_MAX, "%s", path);
	else if (getcwd(cwd, sizeof(cwd)))
		n = snprintf(dst, PATH_MAX, "%s/%s", strcmp(cwd, "/") == 0 ? "" : cwd, path);
	else
		return false;
	return n > 0 && n < PATH_MAX;
}

struct config *config_load_file(const char *path, struct config_error *e)
{
	struct config *cfg;
	char name[PATH_MAX];
	char *text = NULL;
	struct stat st;
	size_t n = 0;
	int fd;

	if (!absolute_name(path, name))
		return fail_file(path, "the name of the file is too long", e);
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (fd < 0)
		return fail_file(path, strerror(errno), e);
	if (fstat(fd, &st) < 0 || S_ISDIR(st.st_mode)) {
		close(fd);
		return fail_file(path, "is a directory", e);
	}
	if (!read_all(fd, &text, &n)) {
		int saved = errno;

		close(fd);
		free(text);
		return fail_file(path, strerror(saved), e);
	}
	close(fd);
	cfg = parse(bytes_of(text, n), path, name, e);
	free(text);
	return cfg;
}
