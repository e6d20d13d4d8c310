/* perf_counters: what one thread of the load generator has counted, readable by others. */
#ifndef TOOLS_PERF_COUNTERS_H
#define TOOLS_PERF_COUNTERS_H

#include "base/base.h"

/* One thread counts, others may read at the same time. Everything is in messages. */
struct counters {
    uint64_t published;
    uint64_t confirmed;
    uint64_t nacked;
    uint64_t returned;
    uint64_t consumed;
    uint64_t redelivered;
    uint64_t reordered;  /* overtook one of the same producer on its way to the same consumer */
    uint64_t duplicates; /* arrived from the same queue before */
    uint64_t foreign;    /* from somebody else, or from an earlier run */
};

/* Counts in the thread that owns the counters. */
static inline void counter_add(uint64_t *counter, uint64_t count) {
    __atomic_store_n(counter, *counter + count, __ATOMIC_RELAXED);
}

/* Reads in any thread. */
static inline uint64_t counter_read(const uint64_t *counter) {
    return __atomic_load_n(counter, __ATOMIC_RELAXED);
}

/* Adds up; `more` may be counting. */
static inline void counters_merge(struct counters *counters, const struct counters *more) {
    uint64_t *to = (uint64_t *)counters;
    const uint64_t *from = (const uint64_t *)more;
    for (size_t i = 0; i < sizeof *counters / sizeof *to; i++) {
        to[i] += counter_read(&from[i]);
    }
}

/* Takes away an earlier copy. */
static inline void counters_subtract(struct counters *counters, const struct counters *earlier) {
    uint64_t *from = (uint64_t *)counters;
    const uint64_t *what = (const uint64_t *)earlier;
    for (size_t i = 0; i < sizeof *counters / sizeof *from; i++) {
        from[i] -= what[i];
    }
}

#endif
