/*
 * guard.h - buffers that end where the address space ends
 *
 * A copy whose last byte is followed by a page that cannot be touched: one byte read or written too
 * far is a crash in every build, also without a sanitizer. guard_copy_front() guards the byte
 * before the first in the same way. Memory is zeroed and returned by guard_free().
 */
#pragma once

#include <stddef.h>

/* A writable copy of n bytes that ends exactly at an unmapped page; n may be 0. Never NULL: a
 * failing mmap ends the test. */
void *guard_copy(const void *bytes, size_t n);

/* n zeroed bytes that end exactly at an unmapped page. */
void *guard_alloc(size_t n);

/* A writable copy that starts exactly after an unmapped page. */
void *guard_copy_front(const void *bytes, size_t n);

/* Gives back what one of the above returned; NULL is fine. */
void guard_free(void *guarded);

/* Gives back everything handed out so far: for a teardown. */
void guard_free_all(void);
