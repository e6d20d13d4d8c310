/* counters: plain numbers of one shard, written by its thread and read by anyone.
 *
 * They are relaxed atomics with one writer: adding is a load and a store, not a locked instruction.
 */
#ifndef SHARD_COUNTERS_H
#define SHARD_COUNTERS_H

#include <stdatomic.h>

#include "base/base.h"
#include "base/durations.h"

struct counters {
#define COUNTER(name, kind, metric, text) _Atomic uint64_t name;
#include "shard/counters.def"
#undef COUNTER
    _Atomic uint64_t message_bytes;    /* gauge: memory of messages made here that live */
    _Atomic uint64_t spill_file_bytes; /* gauge: of spill files that there are */
    _Atomic uint64_t connections;      /* gauges, set once per turn when they changed */
    _Atomic uint64_t queues;
    _Atomic uint64_t commit_since_ms; /* when the oldest one under way was sent; 0: there is none */
    _Atomic uint64_t journal_slow;    /* 1 while commits take too long */
#define HISTOGRAM(name, metric, text) struct durations name;
#include "shard/histograms.def"
#undef HISTOGRAM
};

static inline void counter_add(_Atomic uint64_t *counter, uint64_t amount) {
    uint64_t value = atomic_load_explicit(counter, memory_order_relaxed);
    atomic_store_explicit(counter, value + amount, memory_order_relaxed);
}

static inline void counter_set(_Atomic uint64_t *counter, uint64_t value) {
    atomic_store_explicit(counter, value, memory_order_relaxed);
}

static inline uint64_t counter_read(const _Atomic uint64_t *counter) {
    return atomic_load_explicit(counter, memory_order_relaxed);
}

#endif
