/*
 * area.c - memory for secrets, shared by descriptor (REQ-7.2)
 *
 * memfd_secret(2) pages are taken out of the kernel's direct map, are never swapped and never
 * dumped. The creator maps them read-write; whoever inherits the descriptor maps them read-only and
 * closes it. Where the kernel lacks it (before 5.14, or secretmem off) a sealed-size memfd is
 * locked instead: the same interface, one guarantee less, said once in the log.
 * Wiping overwrites the shared pages, so it also blinds every process that still maps them: only
 * the creator does it, when the last user is gone.
 */
#include "gateway/secret/secret.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SYS_memfd_secret
#define SYS_memfd_secret 447
#endif

static size_t area_round(size_t size)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);

	if (size == 0)
		size = 1;
	if (size > SIZE_MAX - page)
		return 0;
	return (size + page - 1) / page * page;
}

static void area_shield(void *p, size_t size)
{
	/* Neither matters for memfd_secret pages of the creator; both do for the fallback. */
	(void)madvise(p, size, MADV_DONTDUMP);
	(void)madvise(p, size, MADV_DONTFORK);
}

static void *area_try_map(int fd, size_t size, int prot)
{
	void *p = mmap(NULL, size, prot, MAP_SHARED, fd, 0);

	return p == MAP_FAILED ? NULL : p;
}

static int area_open_kernel(size_t size, void **p)
{
	int fd = (int)syscall(SYS_memfd_secret, (unsigned)O_CLOEXEC);

	if (fd < 0)
		return -1;
	if (ftruncate(fd, (off_t)size) == 0) {
		*p = area_try_map(fd, size, PROT_READ | PROT_WRITE);
		if (*p)
			return fd;
	}
	close(fd);
	return -1;
}

static int area_open_fallback(size_t size, void **p)
{
	int fd = memfd_create("slapenir-secrets", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd < 0)
		return -1;
	if (ftruncate(fd, (off_t)size) != 0 ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW) != 0)
		goto close_fd;
	*p = area_try_map(fd, size, PROT_READ | PROT_WRITE);
	if (!*p)
		goto close_fd;
	if (mlock(*p, size) != 0)
		LOG_EVENT(LOG_LEVEL_WARN, "secret.not_locked", KV("why", strerror(errno)));
	return fd;
close_fd:
	close(fd);
	return -1;
}

enum err secret_area_create(struct secret_area *a, size_t size)
{
	*a = SECRET_AREA_NONE;
	size = area_round(size);
	if (size == 0)
		return ERR_NOMEM;
	a->fd = area_open_kernel(size, &a->p);
	a->sealed_kernel = a->fd >= 0;
	if (a->fd < 0) {
		LOG_EVENT(LOG_LEVEL_WARN, "secret.no_memfd_secret",
			  KV("meaning", "secrets are in locked memory the kernel can read"));
		a->fd = area_open_fallback(size, &a->p);
	}
	if (a->fd < 0)
		return ERR_IO;
	a->size = size;
	area_shield(a->p, size);
	return ERR_OK;
}

enum err secret_area_map(struct secret_area *a, int fd, size_t size)
{
	struct stat st;
	void *p = NULL;

	*a = SECRET_AREA_NONE;
	if (fstat(fd, &st) != 0 || st.st_size <= 0)
		size = 0;
	else if (size == 0)
		size = (size_t)st.st_size;
	else	/* mapped past its end, the first touch would be a SIGBUS */
		size = area_round(size) <= (size_t)st.st_size ? area_round(size) : 0;
	if (size != 0)
		p = area_try_map(fd, size, PROT_READ);
	close(fd);
	if (!p)
		return ERR_IO;
	(void)mlock(p, size);
	area_shield(p, size);
	a->p = p;
	a->size = size;
	return ERR_OK;
}

enum err secret_area_protect(struct secret_area *a)
{
	if (a->p && mprotect(a->p, a->size, PROT_READ) != 0)
		return ERR_IO;
	return ERR_OK;
}

void secret_area_close(struct secret_area *a)
{
	if (a->p)
		munmap(a->p, a->size);
	if (a->fd >= 0)
		close(a->fd);
	*a = SECRET_AREA_NONE;
}

void secret_area_wipe(struct secret_area *a)
{
	if (a->p && mprotect(a->p, a->size, PROT_READ | PROT_WRITE) == 0)
		explicit_bzero(a->p, a->size);
	secret_area_close(a);
}
