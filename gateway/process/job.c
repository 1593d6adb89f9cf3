/*
 * job.c - what a child is told, as one sealed piece of memory
 *
 * The master writes it once per generation and seals it, so that no child can change what the next
 * one reads. A child maps it, takes what it needs and unmaps it. Nothing in it is secret.
 */
#include "gateway/process/process_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define JOB_MAGIC 0x534c504au

static bool write_all(int fd, const void *p, size_t n)
{
	const uint8_t *at = p;

	while (n > 0) {
		ssize_t w = write(fd, at, n);

		if (w < 0 && errno == EINTR)
			continue;
		if (w <= 0)
			return false;
		at += w;
		n -= (size_t)w;
	}
	return true;
}

int job_make(const struct job_head *head, const struct bytes sections[JOB_SECTIONS])
{
	static const uint8_t pad[8];
	struct job_head h = *head;
	size_t at = sizeof(h);
	int fd;

	h.magic = JOB_MAGIC;
	for (int i = 0; i < JOB_SECTIONS; i++) {
		if (sections[i].n > INT32_MAX - at - 8)
			return -1;
		h.sections[i].off = (uint32_t)at;
		h.sections[i].len = (uint32_t)sections[i].n;
		at += (sections[i].n + 7) & ~(size_t)7;
	}
	fd = memfd_create("slapenir-job", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0)
		return -1;
	if (!write_all(fd, &h, sizeof(h)))
		goto close_fd;
	for (int i = 0; i < JOB_SECTIONS; i++)
		if (!write_all(fd, sections[i].p, sections[i].n) ||
		    !write_all(fd, pad, (8 - sections[i].n % 8) % 8))
			goto close_fd;
	if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) != 0)
		goto close_fd;
	return fd;
close_fd:
	close(fd);
	return -1;
}

enum err job_open(struct job *j, int fd)
{
	struct stat st;
	void *p = MAP_FAILED;

	*j = (struct job){ 0 };
	if (fstat(fd, &st) == 0 && st.st_size >= (off_t)sizeof(struct job_head))
		p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	close(fd);
	if (p == MAP_FAILED)
		return ERR_IO;
	j->head = p;
	j->size = (size_t)st.st_size;
	if (j->head->magic != JOB_MAGIC) {
		job_close(j);
		return ERR_INTERNAL;
	}
	return ERR_OK;
}

struct bytes job_section(const struct job *j, enum job_section s)
{
	uint32_t off = j->head->sections[s].off, len = j->head->sections[s].len;

	if (off > j->size || len > j->size - off)
		return BYTES_NONE;
	return bytes_of((const uint8_t *)j->head + off, len);
}

void job_close(struct job *j)
{
	if (j->head)
		munmap((void *)(uintptr_t)j->head, j->size);
	*j = (struct job){ 0 };
}

void *shared_make(const char *name, size_t size, int *fd)
{
	void *p = MAP_FAILED;

	*fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (*fd < 0)
		return NULL;
	if (ftruncate(*fd, (off_t)size) == 0 &&
	    fcntl(*fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0)
		p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, *fd, 0);
	if (p != MAP_FAILED)
		return p;
	close(*fd);
	*fd = -1;
	return NULL;
}

void *shared_open(int fd, size_t size)
{
	struct stat st;
	void *p = MAP_FAILED;

	if (fstat(fd, &st) == 0 && st.st_size >= 0 && (size_t)st.st_size >= size)
		p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	return p == MAP_FAILED ? NULL : p;
}

enum err shared_close(void *p, size_t size)
{
	return munmap(p, size) == 0 ? ERR_OK : ERR_IO;
}
