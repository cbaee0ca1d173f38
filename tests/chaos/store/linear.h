/* Is there an order of the operations on one key that agrees with real time and in which every answer is right? Searched as Wing
 * and Gong do, with Lowe's memory of (operations placed so far, state), so that no configuration is tried twice. */
#pragma once
#include "tests/chaos/store/history.h"

enum linear_result { LINEAR_YES, LINEAR_NO, LINEAR_GAVE_UP };

/* ops: puts, gets, compare-and-swaps and deletes of one key, in any order; what certainly had no effect is left out. mod_of tells the mod revision that a value was seen
 * with, 0 if it never was seen. On LINEAR_NO *stuck is the operation that could not be placed when most others were. */
enum linear_result linear_check(const struct hist_record *const *ops, size_t n, int64_t (*mod_of)(void *data, int64_t value),
                                void *data, const struct hist_record **stuck);
