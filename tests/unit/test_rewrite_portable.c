/*
 * test_rewrite_portable.c - the same tests on the code that needs no particular processor
 *
 * The scanner is compiled in here without its x86 ways, in the place of the library's.
 */
#define REWRITE_PORTABLE 1

#include "gateway/rewrite/filter.c" /* NOLINT(bugprone-suspicious-include) */
#include "gateway/rewrite/stream.c" /* NOLINT(bugprone-suspicious-include) */

#include "tests/unit/test_rewrite_stream.c" /* NOLINT(bugprone-suspicious-include) */
