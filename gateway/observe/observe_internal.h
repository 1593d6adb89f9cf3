/*
 * observe_internal.h - shared by the files of the observe room
 */
#pragma once

#include "gateway/observe/observe.h"

enum err observe_put_u64(struct buf *out, uint64_t v) WARN_UNUSED;
enum err observe_put_i64(struct buf *out, int64_t v) WARN_UNUSED;
