/* durations: how often something took how long: a histogram with the bounds of durations.def.
 *
 * One thread counts, anyone may read: relaxed atomics, so that counting is a load and a store. */
#ifndef BASE_DURATIONS_H
#define BASE_DURATIONS_H

#include <stdatomic.h>

#include "base/base.h"

enum durations_bucket {
#define BUCKET(ns, seconds) DURATIONS_TO_##ns,
#include "base/durations.def"
#undef BUCKET
    DURATIONS_ABOVE, /* longer than all of them */
    DURATIONS_BUCKETS
};

struct durations {
    _Atomic uint64_t counts[DURATIONS_BUCKETS];
    _Atomic uint64_t sum_ns;
};

static inline void durations_raise(_Atomic uint64_t *figure, uint64_t amount) {
    uint64_t value = atomic_load_explicit(figure, memory_order_relaxed);
    atomic_store_explicit(figure, value + amount, memory_order_relaxed);
}

/* The bucket of a duration. Nearly all are in the first: the search begins there. */
static inline enum durations_bucket durations_bucket_of(uint64_t ns) {
#define BUCKET(limit_ns, seconds)                                                                  \
    if (ns <= limit_ns) return DURATIONS_TO_##limit_ns;
#include "base/durations.def"
#undef BUCKET
    return DURATIONS_ABOVE;
}

/* Counts one; the writing thread. */
static inline void durations_put(struct durations *durations, uint64_t ns) {
    durations_raise(&durations->counts[durations_bucket_of(ns)], 1);
    durations_raise(&durations->sum_ns, ns);
}

#endif
