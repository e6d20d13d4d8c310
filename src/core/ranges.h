/* ranges: a min-heap of runs of sequence numbers.
 *
 * Requeued messages wait here for their turn. The runs are disjoint, so the run with the lowest
 * first seq holds the lowest of all; a dead consumer's thousand messages in a row are one run. */
#ifndef CORE_RANGES_H
#define CORE_RANGES_H

#include "base/base.h"

struct range {
    uint64_t seq;
    uint64_t count; /* never 0 */
};

struct ranges {
    struct range *heap; /* NULL while empty; the lowest first */
    uint32_t count;
    uint32_t capacity;
};

/* Adds `count` seqs from `seq` on, none of which is in yet. O(log n). */
void ranges_put(struct ranges *ranges, uint64_t seq, uint64_t count);

/* Removes the first `count` seqs of the lowest run, which has as many. O(1), or O(log n) when the
 * run is used up. */
void ranges_take(struct ranges *ranges, uint64_t count);

/* Adds everything in `from` and leaves that empty. O(1) when this one is empty, else O(n log n). */
void ranges_put_all(struct ranges *ranges, struct ranges *from);

/* Forgets everything and gives the memory back. */
void ranges_clear(struct ranges *ranges);

/* Checks the heap's order. */
void ranges_check(const struct ranges *ranges);

static inline bool ranges_empty(const struct ranges *ranges) {
    return ranges->count == 0;
}

/* The lowest run; there must be one. Valid until the heap changes. */
static inline const struct range *ranges_first(const struct ranges *ranges) {
    check(ranges->count != 0);
    return &ranges->heap[0];
}

#endif
