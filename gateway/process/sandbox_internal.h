/*
 * sandbox_internal.h - between sandbox.c and seccomp.c
 */
#pragma once

#include "gateway/process/process_internal.h"

#ifdef SLAPENIR_SANITIZED
#define SANDBOX_SANITIZED 1
#else
#define SANDBOX_SANITIZED 0
#endif

#define SANDBOX_FILES 65536	/* descriptors a process may have */
#define SANDBOX_LOCKED (1u << 30) /* bytes of secret memory it may map, without CAP_IPC_LOCK */

/* Early, before anything can make a ring. */
enum err sandbox_without_uring(void) WARN_UNUSED;
enum err sandbox_seccomp(enum process_role role) WARN_UNUSED;
