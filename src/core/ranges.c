/* ranges: a min-heap of runs of sequence numbers. */
#include "core/ranges.h"

#include "base/memory.h"

enum { RANGES_MIN = 8, RANGES_KEPT = 64 };

void ranges_clear(struct ranges *ranges) {
    mem_free(ranges->heap);
    *ranges = (struct ranges){0};
}

void ranges_put(struct ranges *ranges, uint64_t seq, uint64_t count) {
    check(count != 0);
    if (ranges->count == ranges->capacity) {
        ranges->capacity = ranges->capacity ? 2 * ranges->capacity : RANGES_MIN;
        ranges->heap = mem_resize(ranges->heap, ranges->capacity * sizeof *ranges->heap);
    }
    uint32_t at = ranges->count++;
    while (at != 0 && ranges->heap[(at - 1) / 2].seq > seq) {
        ranges->heap[at] = ranges->heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    ranges->heap[at] = (struct range){.seq = seq, .count = count};
}

/* The last run takes the place of the first and sinks to where it belongs. */
static void remove_first(struct ranges *ranges) {
    struct range last = ranges->heap[--ranges->count];
    if (ranges->count == 0) {
        if (ranges->capacity > RANGES_KEPT) ranges_clear(ranges);
        return;
    }
    uint32_t at = 0;
    for (;;) {
        uint32_t child = 2 * at + 1;
        if (child >= ranges->count) break;
        if (child + 1 < ranges->count && ranges->heap[child + 1].seq < ranges->heap[child].seq) {
            child++;
        }
        if (ranges->heap[child].seq >= last.seq) break;
        ranges->heap[at] = ranges->heap[child];
        at = child;
    }
    ranges->heap[at] = last;
}

void ranges_take(struct ranges *ranges, uint64_t count) {
    check(ranges->count != 0);
    struct range *first = &ranges->heap[0];
    check(count <= first->count);
    /* What is left of the run is still the lowest: the runs are disjoint. */
    first->seq += count;
    first->count -= count;
    if (first->count == 0) remove_first(ranges);
}

void ranges_put_all(struct ranges *ranges, struct ranges *from) {
    if (ranges->count == 0) {
        ranges_clear(ranges);
        *ranges = *from;
    } else {
        for (uint32_t i = 0; i < from->count; i++) {
            ranges_put(ranges, from->heap[i].seq, from->heap[i].count);
        }
        mem_free(from->heap);
    }
    *from = (struct ranges){0};
}

void ranges_check(const struct ranges *ranges) {
    check(ranges->count <= ranges->capacity);
    for (uint32_t i = 0; i < ranges->count; i++) {
        check(ranges->heap[i].count != 0);
        if (i != 0) check(ranges->heap[(i - 1) / 2].seq < ranges->heap[i].seq);
    }
}
