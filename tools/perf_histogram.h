/* perf_histogram: counts of durations on a scale that is finer than 1.6 % everywhere. */
#ifndef TOOLS_PERF_HISTOGRAM_H
#define TOOLS_PERF_HISTOGRAM_H

#include "base/base.h"

/* Values below HISTOGRAM_STEPS have a bucket each; above, every doubling has HISTOGRAM_STEPS / 2
 * buckets. The last doubling ends at 2^40 ns, 18 minutes; what is longer counts as that. */
enum {
    HISTOGRAM_STEP_BITS = 7,
    HISTOGRAM_STEPS = 1 << HISTOGRAM_STEP_BITS,
    HISTOGRAM_VALUE_BITS = 40,
    HISTOGRAM_BUCKETS =
        HISTOGRAM_STEPS + (HISTOGRAM_VALUE_BITS - HISTOGRAM_STEP_BITS) * (HISTOGRAM_STEPS / 2),
};

/* One thread adds, others may read at the same time. All zeroes is an empty histogram. */
struct histogram {
    uint64_t counts[HISTOGRAM_BUCKETS];
};

/* The place of a value. */
static inline uint32_t histogram_bucket(uint64_t value_ns) {
    if (value_ns < HISTOGRAM_STEPS) return (uint32_t)value_ns;
    if (value_ns >> HISTOGRAM_VALUE_BITS) return HISTOGRAM_BUCKETS - 1;
    uint32_t bits = 64 - (uint32_t)__builtin_clzll(value_ns);
    uint32_t shift = bits - HISTOGRAM_STEP_BITS;
    uint32_t step = (uint32_t)(value_ns >> shift) - HISTOGRAM_STEPS / 2;
    return HISTOGRAM_STEPS + (shift - 1) * (HISTOGRAM_STEPS / 2) + step;
}

/* Counts `times` occurrences of a duration in nanoseconds. */
static inline void histogram_add(struct histogram *histogram, uint64_t value_ns, uint64_t times) {
    uint64_t *count = &histogram->counts[histogram_bucket(value_ns)];
    __atomic_store_n(count, *count + times, __ATOMIC_RELAXED);
}

/* Adds all of `more`, which its thread may be adding to. */
void histogram_merge(struct histogram *histogram, const struct histogram *more);

/* What came after `earlier`, a previous copy of the same histogram. */
void histogram_subtract(struct histogram *histogram, const struct histogram *earlier);

/* How many values there are. */
uint64_t histogram_count(const struct histogram *histogram);

/* The duration in nanoseconds that `permille` of 1000 values do not exceed, rounded up to the end
 * of its bucket; 1000 gives the longest. 0 when there are no values. */
uint64_t histogram_quantile(const struct histogram *histogram, double permille);

#endif
